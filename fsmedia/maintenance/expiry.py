"""One window of a sweep: read the sidecars, decide with a reason for each, look at the holds, delete, answer.

The sidecar is the truth, an entry of the due index only a hint. What can't be read is not deleted, and everything
that went wrong stands in the answer. Plain functions over picklable values, so any executor can run them.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.core import commit, holds, lifetime, promptkit, records
from fsmedia.core.parallel import JobResult, run_windows, windows
from fsmedia.errors import CorruptSidecarError, InvalidMediaError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import Deletion, EnforcementReport, RebuildReport
from fsmedia.storage import Backend, Entry, Write
from fsmedia.storage.port import storage_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from fsmedia.core.lifetime import DeletionLog
    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Backend

LATER = timedelta(days=1)
"""When a sweep looks again at what is due and must stay."""
_SHARED = "PromptKit's index names it: runs that left no trace may share it; delete it by delete_media"


@dataclass(frozen=True, slots=True)
class SweepContext:
    """What a window needs to know.

    Attributes
    ----------
    now
        What expires up to here is due.
    storage_now
        The storage's clock, by which leftovers are judged; None: none are.
    """

    backend: Backend
    configuration: Configuration
    now: datetime
    storage_now: datetime | None
    dry_run: bool
    delete_shared: bool


@dataclass(slots=True)
class SweepResult(JobResult):
    """What became of a window of a sweep."""

    deleted: list[Deletion] = field(default_factory=list)


@dataclass(slots=True)
class _Item:
    """One media of the window, with all its entries in it."""

    reference: str
    due_keys: list[str]
    written: datetime | None


@dataclass(slots=True)
class _Plan:
    """What is to be done: media that go, entries that have had their time, entries that must be written first."""

    going: dict[str, tuple[_Item, Deletion, str | None]] = field(default_factory=dict)
    """Media that go, with the marker of those that share their bytes."""
    spent: dict[str, tuple[str, ...]] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    """Entry to write -> its media."""
    kept: set[str] = field(default_factory=set)
    """Media that were due and stay; they are looked at again the next day, whatever else happens."""


def sweep_window(context: SweepContext, candidates: Sequence[Candidate]) -> SweepResult:
    """Sweep some media."""
    result = SweepResult()
    items = _merged(candidates)
    plan = _Plan()
    missing = _judge(context, items, plan, result)
    _keep_held(context, plan, result)
    _keep_shared(context, plan, result)
    if context.dry_run:
        result.deleted = [deletion for _, deletion, _ in plan.going.values()]
        return result
    _clear_leftovers(context, missing, plan, result)
    _move(context, plan, result)
    _delete(context, plan, result)
    _look_again(context, plan, result)
    return result


def _merged(candidates: Sequence[Candidate]) -> dict[str, _Item]:
    items: dict[str, _Item] = {}
    for each in candidates:
        item = items.setdefault(each.reference, _Item(each.reference, [], each.written))
        if each.due_key is not None:
            item.due_keys.append(each.due_key)
    return items


def _judge(context: SweepContext, items: dict[str, _Item], plan: _Plan, result: SweepResult) -> list[_Item]:
    """Sort the media by what their sidecars say now; return those without one."""
    missing: list[_Item] = []
    for item, data in zip(items.values(), records.read_sidecars(context.backend, list(items)), strict=True):
        reference = item.reference
        result.examined += 1
        if isinstance(data, MediaError):
            result.fail(reference, data)
            continue
        if data is None:
            missing.append(item)
            continue
        try:
            sidecar = Sidecar.parse(data, reference)
            expires_at = _expiry(context, sidecar, item)
        except MediaError as error:
            result.fail(reference, error)
            continue
        if expires_at is not None and expires_at <= context.now:
            policy = sidecar.values.get("policy_name")
            why = f"policy {policy} let it go at {expires_at:%Y-%m-%d %H:%M:%S} UTC"
            deletion = lifetime.deletion_of(reference, sidecar, expires_at, why)
            item.due_keys.append(keys.due_key(expires_at, reference))
            gone = deletion.model_copy(update={"deleted_at": context.now})
            plan.going[reference] = (item, gone, sidecar.marker(reference))
        elif item.due_keys:
            if expires_at is not None:
                plan.moved[keys.due_key(expires_at, reference)] = reference
            plan.spent[reference] = tuple(item.due_keys)
    return missing


def _expiry(context: SweepContext, sidecar: Sidecar, item: _Item) -> datetime | None:
    """Return when the media may go; the time of its bytes is only asked for where the sidecar has none."""
    written = None if item.due_keys else item.written
    expires_at = records.expiry_of(sidecar, item.reference, context.configuration, written)
    if expires_at is None and item.due_keys and sidecar.values.get("policy_name"):
        # Of shared bytes the time says nothing about this media.
        shared = keys.pointer_of(item.reference) is not None
        head = context.backend.head(keys.sidecar_key(item.reference) if shared else item.reference)
        written = None if head is None else head.modified
        expires_at = records.expiry_of(sidecar, item.reference, context.configuration, written)
    return expires_at


def _keep(context: SweepContext, plan: _Plan, reference: str) -> None:
    """Take a media out of the plan, and its entries to the next day."""
    item, _, _ = plan.going.pop(reference)
    later = _later(context.now)
    due_keys = tuple(key for key in dict.fromkeys(item.due_keys) if key != keys.due_key(later, reference))
    plan.moved[keys.due_key(later, reference)] = reference
    plan.spent[reference] = due_keys
    plan.kept.add(reference)


def _later(now: datetime) -> datetime:
    """Return when to look again; who asks at the end of time gets that."""
    try:
        return now + LATER
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _keep_held(context: SweepContext, plan: _Plan, result: SweepResult) -> None:
    """Look at the holds once the sidecars are read: as late as can be."""
    if not plan.going:
        return
    try:
        held = holds.held(context.backend)
    except MediaError as error:
        for reference in list(plan.going):
            del plan.going[reference]
            result.fail(reference, error)
        return
    for reference in holds.among(held, list(plan.going)):
        result.skip(reference, "held")
        _keep(context, plan, reference)


def _keep_shared(context: SweepContext, plan: _Plan, result: SweepResult) -> None:
    """Keep what PromptKit may have given to several runs."""
    foreign = [each for each in plan.going if not keys.is_own_name(each)]
    if not foreign:
        return
    try:
        shared = promptkit.named(context.backend, foreign)
        if context.delete_shared and shared and not context.dry_run:
            promptkit.forget(context.backend, shared)
    except MediaError as error:
        for reference in foreign:
            del plan.going[reference]
            result.fail(reference, error)
        return
    if not context.delete_shared:
        for reference in sorted(shared):
            result.skip(reference, _SHARED)
            _keep(context, plan, reference)


def _clear_leftovers(context: SweepContext, missing: list[_Item], plan: _Plan, result: SweepResult) -> None:
    """Finish what a crash left: an entry without a sidecar, and bytes of our own form that it is about.

    Only once both are older than the grace: before that a store may be on its way.
    """
    for item in missing:
        reference = item.reference
        if not _is_old(context, _touched(context, item)):
            continue
        try:
            plain = keys.is_own_name(reference) and keys.pointer_of(reference) is None
            entry = context.backend.head(reference) if plain else None
            if entry is not None:
                if not _is_old(context, context.backend.touched(entry)):
                    continue
                again = context.backend.fetch(reads=[keys.sidecar_key(reference), keys.hold_key(reference)]).reads
                if again != [None, None]:
                    continue
                failed = context.backend.delete([reference])
                if failed:
                    raise failed[reference]
        except MediaError as error:
            result.fail(reference, error)
            continue
        plan.spent[reference] = tuple(item.due_keys)


def _touched(context: SweepContext, item: _Item) -> datetime | None:
    """Return when the entry was last touched."""
    return context.backend.touched(Entry(item.due_keys[0], 0, item.written)) if item.due_keys else item.written


def _is_old(context: SweepContext, written: datetime | None) -> bool:
    if context.storage_now is None or written is None:
        return False
    return context.storage_now - written > context.configuration.orphan_grace


def _move(context: SweepContext, plan: _Plan, result: SweepResult) -> None:
    """Write the entries for other instants; where that fails, the old ones stay."""
    if not plan.moved:
        return
    wanted = list(plan.moved)
    for index, error in context.backend.write_many([Write(key, b"", commit.DUE_TYPE) for key in wanted]).items():
        reference = plan.moved[wanted[index]]
        plan.spent.pop(reference, None)
        result.fail(reference, error)
    for key, reference in plan.moved.items():
        if reference in plan.spent:
            plan.spent[reference] = tuple(each for each in plan.spent[reference] if each != key)


def _delete(context: SweepContext, plan: _Plan, result: SweepResult) -> None:
    """Delete what goes, and the entries that have had their time with the last step."""
    backend = context.backend
    leaving = [
        commit.DeleteOperation(backend, reference, due_keys=tuple(dict.fromkeys(item.due_keys)), marker=marker)
        for reference, (item, _, marker) in plan.going.items()
    ]
    leaving += [
        commit.DeleteOperation(backend, reference, due_keys=due_keys, stays=True)
        for reference, due_keys in plan.spent.items()
        if due_keys
    ]
    half: list[str] = []
    for deleting, error in zip(leaving, commit.delete(leaving), strict=True):
        if error is not None:
            result.fail(deleting.reference, error)
            half += [] if deleting.stays else [deleting.reference]
        elif not deleting.stays:
            result.deleted.append(plan.going[deleting.reference][1])
    # Without its sidecar a media is gone, and no later sweep could say what it was; what is left of it is reported too.
    for reference, sidecar in zip(half, records.read_sidecars(backend, half), strict=True):
        if sidecar is None:
            result.deleted.append(plan.going[reference][1])


def _look_again(context: SweepContext, plan: _Plan, result: SweepResult) -> None:
    """Put an entry back that somebody needed again while it was removed: its sidecar names that very minute now."""
    removed = {each: due_keys for each, due_keys in plan.spent.items() if due_keys and each not in plan.kept}
    needed: dict[str, str] = {}
    for reference, data in zip(removed, records.read_sidecars(context.backend, list(removed)), strict=True):
        try:
            if isinstance(data, MediaError):
                raise data
            expires_at = None if data is None else _said(context, data, reference)
        except MediaError as error:
            result.fail(reference, error)
            continue
        if expires_at is not None and (key := keys.due_key(expires_at, reference)) in removed[reference]:
            needed[key] = reference
    if needed:
        writes = [Write(key, b"", commit.DUE_TYPE) for key in needed]
        for index, failure in context.backend.write_many(writes).items():
            result.fail(needed[writes[index].key], failure)


def _said(context: SweepContext, data: bytes, reference: str) -> datetime | None:
    return records.expiry_of(Sidecar.parse(data, reference), reference, context.configuration)


class Candidate(NamedTuple):
    """A media that may be due.

    Attributes
    ----------
    due_key
        Its entry in the due index; None if its sidecar was met in a walk.
    written
        When the entry, or the media's bytes, were written, by the storage's clock; None where that is unknown.
    """

    reference: str
    due_key: str | None
    written: datetime | None


def due_entries(backend: Backend, now: datetime) -> Iterator[Candidate]:
    """Give the entries of all minutes up to an instant, in no particular order."""
    day, hour, minute = keys.due_folders(now)
    past = chain(
        _before(backend, keys.DUE, day),
        _before(backend, day, hour),
        _before(backend, hour, minute, including=True),
    )
    for folder in past:
        for entry in backend.entries(folder):
            found = keys.parse_due(entry.key)
            if found is not None:
                yield Candidate(found.reference, entry.key, entry.modified)


def media_with_sidecar(backend: Backend) -> Iterator[Candidate]:
    """Give every media that has a sidecar, by one walk over the store."""
    for item in records.listed(backend.entries()):
        if item.has_sidecar and records.is_reference(item.entry.key):
            yield Candidate(item.entry.key, None, item.entry.modified)


def _before(backend: Backend, folder: str, limit: str, *, including: bool = False) -> list[str]:
    """List the folders in one whose names are lower; a level is only listed when the one above was gone through."""
    found = backend.children(folder, until=limit).folders
    return sorted(each for each in found if each < limit or (including and each == limit))


LONGEST_CLOCK_DIFFERENCE = timedelta(minutes=5)
"""Between this machine and the storage; with more, nothing is deleted."""
_WINDOW = 1000
"""Media decided on together: the keys of each step of their deletion fill one bulk request."""
_log = logging.getLogger("fsmedia.retention")


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """What a sweep is told.

    Attributes
    ----------
    now
        What decides what is due; None is the clock of the machine, checked against the storage's.
    delete_shared
        Also delete media that PromptKit's deduplication index names.
    executor
        Does the windows, at once.
    stopped
        Asked before each window; True ends the sweep.
    progress
        Called with the number of media examined so far.
    """

    clock: Callable[[], datetime]
    now: datetime | None = None
    dry_run: bool = False
    delete_shared: bool = False
    executor: Executor | None = None
    stopped: Callable[[], bool] = bool
    progress: Callable[[int], object] | None = None
    log: DeletionLog = None

    def run(self, backend: Backend, settings_file: SettingsFile) -> EnforcementReport:
        """Sweep once.

        Raises
        ------
        StorageError
            The due index can't be listed, or the clocks differ; what was deleted until then stays deleted.
        """
        begun = time.monotonic()
        now = _instant(self.clock() if self.now is None else self.now)
        configuration = settings_file.configuration
        if configuration.due_index != "complete" or not settings_file.is_settled:
            configuration = settings_file.reload()
        partial = configuration.due_index != "complete" or not settings_file.is_settled
        candidates = due_entries(backend, now)
        if partial or self._seeks_shared(backend):
            candidates = chain(candidates, media_with_sidecar(backend))
        total = SweepResult()
        try:
            self._sweep(backend, configuration, now, candidates, total)
        except MediaError as error:
            if not total.examined:
                raise
            broken = SweepResult()
            broken.fail(error.reference or error.key or keys.DUE, error)
            _log_result(broken)
            total.add(broken)
        return EnforcementReport.model_construct(
            now=now,
            dry_run=self.dry_run,
            due_index="partial" if partial else "complete",
            examined=total.examined,
            deleted=tuple(_unique(total.deleted)),
            skipped=tuple(_unique(total.skipped)),
            failed=tuple(total.failed),
            stopped=self.stopped(),
            took=timedelta(seconds=time.monotonic() - begun),
        )

    def _seeks_shared(self, backend: Backend) -> bool:
        """Tell whether media may be due that sweeps without `delete_shared` have put off."""
        return self.delete_shared and backend.read(keys.DEDUP_INDEX_KEY) is not None

    def _sweep(
        self,
        backend: Backend,
        configuration: Configuration,
        now: datetime,
        candidates: Iterator[Candidate],
        total: SweepResult,
    ) -> None:
        """Sweep all windows; nothing is written, not even to compare clocks, where nothing may be due."""
        first = next(candidates, None)
        if first is None:
            return
        context = SweepContext(
            backend=backend,
            configuration=configuration,
            now=now,
            storage_now=None if self.dry_run else self._storage_time(backend),
            dry_run=self.dry_run,
            delete_shared=self.delete_shared,
        )

        def record(result: SweepResult) -> None:
            if self.dry_run:
                return
            for reference, error in lifetime.record(backend, self.log, result.deleted).items():
                result.fail(reference, error)
            _log_result(result)

        run_windows(
            sweep_window,
            context,
            windows(chain([first], candidates), _WINDOW),
            total,
            backends=[backend],
            key=lambda each: each.reference,
            again="sweep again",
            executor=self.executor,
            stopped=self.stopped,
            handle=record,
            progress=self.progress,
        )

    def _storage_time(self, backend: Backend) -> datetime | None:
        """Write a small object and read its time; compare, unless the caller said what time it is.

        Raises
        ------
        StorageError
            The clocks differ: who is wrong can't be told, so nothing is deleted.
        """
        found = storage_time(backend)
        if found is None:
            _log.warning("%s tells no times: clocks were not compared, and no leftovers are mended", backend.url)
            return None
        difference = abs(_instant(self.clock()) - found)
        if self.now is None and difference > LONGEST_CLOCK_DIFFERENCE:
            raise StorageError(
                f"the clocks here and of {backend.url} are {_rounded(difference)} apart, so nothing was deleted",
                next_step="set the clock, or say what time it is: enforce_policy(now=...)",
            )
        return found


def _instant(value: object) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidMediaError(f"now must be an aware datetime, not {value!r}", next_step="e.g. datetime.now(UTC)")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidMediaError(f"{value!r} is out of range in UTC", next_step="e.g. datetime.now(UTC)") from None


def _rounded(difference: timedelta) -> str:
    return str(timedelta(seconds=round(difference.total_seconds())))


def _unique(items: Iterable[Any]) -> Iterator[Any]:
    """Give each media once; it may have been met by its entry and by its sidecar."""
    seen: set[str] = set()
    for each in items:
        if each.reference not in seen:
            seen.add(each.reference)
            yield each


def _log_result(result: SweepResult) -> None:
    for deletion in result.deleted:
        _log.info("%s: deleted, %s (%d bytes)", deletion.reference, deletion.reason, deletion.size_bytes)
    for failure in result.failed:
        _log.warning("sweep: %s", failure.error)


_REBUILD_WINDOW = 500


@dataclass(frozen=True, slots=True)
class RebuildContext:
    """What a window needs to know."""

    backend: Backend
    configuration: Configuration


@dataclass(slots=True)
class RebuildResult(JobResult):
    """What became of a window of a rebuild of the due index."""

    written: int = 0


def rebuild_due_index(
    backend: Backend,
    settings_file: SettingsFile,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
) -> RebuildReport:
    """Write the missing entries of all media, then, if every sidecar was reached, say that the index is complete.

    A sidecar that is damaged is reported and does not keep the index from being complete: nothing can be known of it.
    """
    begun = time.monotonic()
    settings_file.refresh()
    settings_file.settle()
    configuration = settings_file.reload()

    def log(result: RebuildResult) -> None:
        for failure in result.failed:
            _log.warning("rebuilding the due index: %s", failure.error)

    total = run_windows(
        rebuild_window,
        RebuildContext(backend, configuration),
        windows(media_with_sidecar(backend), _REBUILD_WINDOW),
        RebuildResult(),
        backends=[backend],
        key=lambda each: each.reference,
        again="rebuild again",
        executor=executor,
        handle=log,
        progress=progress,
    )
    if all(isinstance(each.error, CorruptSidecarError) for each in total.failed):
        configuration = settings_file.complete_due_index()
    return RebuildReport.model_construct(
        examined=total.examined,
        written=total.written,
        failed=tuple(total.failed),
        due_index=configuration.due_index,
        took=timedelta(seconds=time.monotonic() - begun),
    )


def rebuild_window(context: RebuildContext, candidates: Sequence[Candidate]) -> RebuildResult:
    """Write the missing due entries of some media."""
    backend, result = context.backend, RebuildResult(examined=len(candidates))
    found = records.read_sidecars(backend, [each.reference for each in candidates])
    wanted: dict[str, str] = {}
    for each, data in zip(candidates, found, strict=True):
        if data is None:
            continue  # deleted since it was listed
        try:
            if isinstance(data, MediaError):
                raise data
            sidecar = Sidecar.parse(data, each.reference)
            instant = records.expiry_of(sidecar, each.reference, context.configuration, each.written)
        except MediaError as error:
            result.fail(each.reference, error)
            continue
        if instant is not None:
            wanted[keys.due_key(instant, each.reference)] = each.reference
    if not wanted:
        return result
    try:
        there = backend.fetch(heads=list(wanted)).heads
    except MediaError:
        there = [None] * len(wanted)  # writing one that is there does no harm
    writes = [Write(key, b"", commit.DUE_TYPE) for key, entry in zip(wanted, there, strict=True) if entry is None]
    failures = backend.write_many(writes) if writes else {}
    for index, failure in failures.items():
        result.fail(wanted[writes[index].key], failure)
    result.written = len(writes) - len(failures)
    return result
