"""Retention: sweeps that delete expired media.

The sidecar is the truth, an entry of the due index only a hint. Media whose sidecar can't be read are not deleted, and
all errors are in the report. Windows are plain functions over picklable values, so any executor can run them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from fsmedia.core import commit, holds, lifetime, promptkit, records
from fsmedia.core.lifetime import DeletionLog
from fsmedia.core.named import Overtaken, Seen
from fsmedia.core.parallel import JobResult, WindowOptions, run_windows, windows
from fsmedia.core.settings_file import SettingsFile
from fsmedia.errors import InvalidMediaError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.format.layout import parse_any
from fsmedia.format.settings import Configuration
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance.leftovers import remove_lone_bytes
from fsmedia.models import Deletion, EnforcementReport
from fsmedia.storage import Backend, Entry, Write
from fsmedia.storage.listing import NestedStores
from fsmedia.storage.port import storage_time

LATER = timedelta(days=1)  # how long the due entry of a media that must stay, because it is held or shared, is put off
LONGEST_CLOCK_DIFFERENCE = timedelta(minutes=5)
"""Between this machine's clock and the storage's; with more, nothing is deleted."""
FARTHEST_AHEAD = timedelta(days=1)
"""A caller's `now` may be so far ahead of this machine's clock, should that be slow; more is another time."""
_WINDOW = 1000  # media decided on together: the keys of each step of their deletion fill one bulk request
_SHARED = "PromptKit's index names it: runs that left no trace may share it; delete it by delete_media"
_log = logging.getLogger("fsmedia.retention")


class SweepItem(NamedTuple):
    """A media that may be due."""

    reference: str
    due_key: str | None  # its entry in the due index; None if it was listed with its sidecar
    written: datetime | None  # when entry or bytes were written, by the storage's clock; None: unknown


@dataclass(frozen=True, slots=True)
class SweepContext:
    """Settings of a sweep that its windows share."""

    backend: Backend
    configuration: Configuration
    now: datetime  # media that expire up to this instant are due
    dry_run: bool
    delete_shared: bool
    storage_now: datetime | None = None  # tells the age of leftovers; None leaves all of them alone


@dataclass(slots=True)
class SweepResult(JobResult):
    """Result of a window of a sweep."""

    deleted: list[Deletion] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """Options of a sweep, and the sweep."""

    clock: Callable[[], datetime]
    now: datetime | None = None  # decides what is due; None: this machine's clock, compared with the storage's
    dry_run: bool = False
    delete_shared: bool = False  # also delete media that PromptKit's deduplication index names
    executor: Executor | None = None
    stopped: Callable[[], bool] = bool  # asked before each window; True ends the sweep
    progress: Callable[[int], object] | None = None
    log: DeletionLog = None

    def run(self, backend: Backend, settings_file: SettingsFile) -> EnforcementReport:
        """Sweep once; what was deleted before an error stays deleted."""
        begun = time.monotonic()
        now = _aware_utc(self.clock() if self.now is None else self.now)
        if self.now is not None and not self.dry_run and now - _aware_utc(self.clock()) > FARTHEST_AHEAD:
            raise InvalidMediaError(
                f"{now:%Y-%m-%d %H:%M}Z lies ahead, and what is to be kept until then would be deleted",
                next_step="use dry_run to see what a sweep would take then",
            )
        # Read again each time only where another process may have made the store or rebuilt the index meanwhile; else
        # as before any write, for a policy that the store knows by name may be longer now.
        configuration = settings_file.configuration
        is_known = settings_file.is_settled and configuration.due_index == "complete"
        configuration = settings_file.current() if is_known else settings_file.reload()
        partial = configuration.due_index != "complete" or not settings_file.is_settled
        nested = NestedStores()
        items = due_entries(backend, now)
        # A partial index lacks entries, and no past entry names what sweeps without `delete_shared` have put off to the
        # next day, because PromptKit may share it: all are read.
        if partial or (self.delete_shared and promptkit.whole_index(backend)):
            items = chain(items, media_with_sidecar(backend, nested))
        context, total = SweepContext(backend, configuration, now, self.dry_run, self.delete_shared), SweepResult()
        try:
            self._sweep(context, items, total)
        except MediaError as error:
            # The listing broke. What was deleted until then must not be lost with an exception.
            if not total.examined:
                raise
            total.fail(error.reference or error.key or keys.DUE, error)
            _log.warning("sweep: %s", error)
        return EnforcementReport.model_construct(
            now=now,
            dry_run=self.dry_run,
            due_index="partial" if partial else "complete",
            **{**total.facts(), "deleted": _unique(total.deleted), "skipped": _unique(total.skipped)},
            stopped=self.stopped(),
            nested_stores=nested.told(backend),
            versions_kept=bool(total.deleted) and backend.keeps_versions,
            took=timedelta(seconds=time.monotonic() - begun),
        )

    def _sweep(self, context: SweepContext, items: Iterator[SweepItem], total: SweepResult) -> None:
        first = next(items, None)
        if first is None:
            return  # nothing is written, not even to compare clocks, where nothing may be due
        backend = context.backend
        if not self.dry_run:
            context = replace(context, storage_now=self._storage_time(backend))

        def record(result: SweepResult) -> None:
            if self.dry_run:
                return
            result.fail_each(lifetime.record(backend, self.log, result.deleted))
            for deletion in result.deleted:
                _log.info("%s: deleted, %s (%d bytes)", deletion.reference, deletion.reason, deletion.size_bytes)
            for failure in result.failed:
                _log.warning("sweep: %s", failure.error)

        options = WindowOptions(backends=[backend], again="sweep again", executor=self.executor, stopped=self.stopped)
        parts = windows(chain([first], items), _WINDOW)
        run_windows(sweep_window, context, parts, total, handle=record, progress=self.progress, **options)

    def _storage_time(self, backend: Backend) -> datetime | None:
        """Return the storage's time, read off a small object; raise if it differs and the caller gave no `now`."""
        found = storage_time(backend)
        if found is None:
            _log.warning("%s tells no times: clocks were not compared, and no leftovers are mended", backend.url)
            return None
        difference = abs(_aware_utc(self.clock()) - found)
        if self.now is None and difference > LONGEST_CLOCK_DIFFERENCE:
            apart = timedelta(seconds=round(difference.total_seconds()))
            raise StorageError(
                f"the clocks here and of {backend.url} are {apart} apart, so nothing was deleted",
                next_step="set the clock, or say what time it is: enforce_policy(now=...)",
            )
        return found


def due_entries(backend: Backend, now: datetime) -> Iterator[SweepItem]:
    """Yield the due entries of all minutes up to an instant, in no particular order."""
    day, hour, minute = keys.due_folders(now)
    # When nothing is due these are three listings, whatever the store holds: days, today's hours, this hour's minutes.
    past = chain(
        _folders_up_to(backend, keys.DUE, day),
        _folders_up_to(backend, day, hour),
        _folders_up_to(backend, hour, minute, including=True),
    )
    for folder in past:
        for entry in backend.entries(folder):
            found = keys.parse_due(entry.key)
            if found is not None:
                yield SweepItem(found.reference, entry.key, entry.modified)


def media_with_sidecar(backend: Backend, nested: NestedStores) -> Iterator[SweepItem]:
    """Yield every media that has a sidecar, by one listing of the store."""
    for item in records.listed(nested.entries(backend)):
        if item.has_sidecar and records.is_reference(item.entry.key):
            yield SweepItem(item.entry.key, None, item.entry.modified)


def _folders_up_to(backend: Backend, folder: str, limit: str, *, including: bool = False) -> list[str]:
    """Return the folders in one whose names sort before a limit."""
    found = backend.children(folder, until=limit).folders
    return sorted(each for each in found if each < limit or (including and each == limit))


def sweep_window(context: SweepContext, items: Sequence[SweepItem]) -> SweepResult:
    """Sweep a window of media: read sidecars, decide, look at holds, delete."""
    result, plan = SweepResult(), _SweepPlan()
    media: dict[str, _DueMedia] = {}
    for each in items:
        found = media.setdefault(each.reference, _DueMedia(each.reference, [], each.written))
        found.due_keys += [] if each.due_key is None else [each.due_key]
    missing = _leave_other_stores(context, _judge(context, media, plan, result), plan, result)
    # Holds are read after the sidecars, as late as can be: a hold that was answered before the sweep began is seen.
    _keep_held(context, plan, result)
    _keep_shared(context, plan, result)
    if context.dry_run:
        result.deleted = [deletion for _, deletion, _ in plan.going.values()]
        return result
    _clear_leftovers(context, missing, plan, result)
    # New entries are written before old ones go: whoever dies between leaves one entry too many, never a media that
    # no sweep would find again.
    _move(context, plan, result)
    _delete(context, plan, result)
    _restore_entries(context, plan, result)
    return result


@dataclass(slots=True)
class _DueMedia:
    """One media of a window, with all its due entries in it."""

    reference: str
    due_keys: list[str]
    written: datetime | None
    seen: Seen | None = None


@dataclass(slots=True)
class _SweepPlan:
    going: dict[str, tuple[_DueMedia, Deletion, str | None]] = field(default_factory=dict)  # with markers
    spent: dict[str, tuple[str, ...]] = field(default_factory=dict)  # due entries to remove of media that stay
    moved: dict[str, str] = field(default_factory=dict)  # due entry to write -> its media
    kept: set[str] = field(default_factory=set)  # media that are due and stay; the next sweep looks at them a day later


def _judge(
    context: SweepContext, items: dict[str, _DueMedia], plan: _SweepPlan, result: SweepResult
) -> list[_DueMedia]:
    """Plan what happens to each media by what its sidecar says now; return those without one."""
    missing: list[_DueMedia] = []
    for item, seen in zip(items.values(), records.see_sidecars(context.backend, list(items)), strict=True):
        reference = item.reference
        result.examined += 1
        try:
            if isinstance(seen, MediaError):
                raise seen
            if seen.text is None:
                missing.append(item)
                continue
            item.seen = seen
            # The sidecar decides: the policy may have been changed since the entry was written.
            sidecar = Sidecar.parse(seen.text, reference)
            expires_at = _expiry(context, sidecar, item)
        except MediaError as error:
            result.fail(reference, error)
            continue
        if expires_at is not None and expires_at <= context.now:
            policy = sidecar.values.get("policy_name")
            why = f"policy {policy} let it go at {expires_at:%Y-%m-%d %H:%M:%S} UTC"
            # Its own entry goes with it, also where another entry or the walk over all sidecars led here.
            item.due_keys.append(keys.due_key(expires_at, reference))
            deletion = lifetime.deletion_of(reference, sidecar, expires_at, why)
            gone = deletion.model_copy(update={"deleted_at": context.now})
            plan.going[reference] = (item, gone, sidecar.marker(reference))
        elif item.due_keys:
            if expires_at is not None:
                plan.moved[keys.due_key(expires_at, reference)] = reference
            plan.spent[reference] = tuple(item.due_keys)
    return missing


def _expiry(context: SweepContext, sidecar: Sidecar, item: _DueMedia) -> datetime | None:
    """Return when a media expires; the storage is asked for a time only where the sidecar has none."""
    # The time of an entry is none of the media's: a policy change writes a new entry.
    written = None if item.due_keys else item.written
    expires_at = records.expiry_of(sidecar, item.reference, context.configuration, written)
    if expires_at is None and item.due_keys and sidecar.values.get("policy_name"):
        # Shared bytes may be much older than this media.
        shared = keys.pointer_of(item.reference) is not None
        head = context.backend.head(keys.sidecar_key(item.reference) if shared else item.reference)
        written = None if head is None else head.modified
        expires_at = records.expiry_of(sidecar, item.reference, context.configuration, written)
    return expires_at


def _leave_other_stores(
    context: SweepContext, missing: list[_DueMedia], plan: _SweepPlan, result: SweepResult
) -> list[_DueMedia]:
    """Leave what lies in a store below this one; return the rest of what has no sidecar.

    The due index of an older version may name it. Who stores here takes a layout, so nothing is asked for its names.
    """
    layouts = context.configuration.ordered_layouts
    going = [item for item, _, _ in plan.going.values()]
    ours = {each.reference for each in (*going, *missing) if keys.is_own_name(each.reference)}
    ours = {each for each in ours if parse_any(layouts, each)}
    asked = [item for item in (*going, *missing) if item.reference not in ours]
    nested = NestedStores()
    try:
        nested.look_above(context.backend, [item.reference for item in asked])
    except MediaError as error:
        # Without an answer nobody knows whose they are, so none of them is deleted.
        for item in asked:
            plan.going.pop(item.reference, None)
            result.fail(item.reference, error)
        return [item for item in missing if item not in asked]
    others = {item.reference: item for item in asked if nested.covers(item.reference)}
    for reference, item in others.items():
        plan.going.pop(reference, None)
        # The entry is this store's own, and about nothing of it.
        plan.spent[reference] = tuple(dict.fromkeys(item.due_keys))
        plan.kept.add(reference)
        result.skip(reference, "lies in another store, below this one")
    return [item for item in missing if item.reference not in others]


def _keep_held(context: SweepContext, plan: _SweepPlan, result: SweepResult) -> None:
    if not plan.going:
        return
    try:
        held = holds.held(context.backend)
    except MediaError as error:
        # Without an answer nobody knows what is held, so nothing of this window is deleted.
        result.fail_each(dict.fromkeys(plan.going, error))
        plan.going.clear()
        return
    for reference in holds.among(held, list(plan.going)):
        result.skip(reference, "held")
        _keep(context, plan, reference)


def _keep_shared(context: SweepContext, plan: _SweepPlan, result: SweepResult) -> None:
    """Keep what PromptKit's deduplication index names, for several runs may share it."""
    foreign = [each for each in plan.going if not keys.is_own_name(each)]
    if not foreign:
        return
    try:
        shared = promptkit.named(context.backend, foreign)
        if context.delete_shared and shared and not context.dry_run:
            # Before the media: with an entry left, PromptKit would answer its next store of these bytes with nothing.
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


def _keep(context: SweepContext, plan: _SweepPlan, reference: str) -> None:
    """Do not delete a media after all, and move its due entry to the next day."""
    item, _, _ = plan.going.pop(reference)
    later = keys.due_key(context.now + min(LATER, datetime.max.replace(tzinfo=UTC) - context.now), reference)
    # Moved rather than left, or every sweep would read this sidecar again for as long as the media stays.
    plan.moved[later] = reference
    plan.spent[reference] = tuple(key for key in dict.fromkeys(item.due_keys) if key != later)
    plan.kept.add(reference)


def _clear_leftovers(context: SweepContext, missing: list[_DueMedia], plan: _SweepPlan, result: SweepResult) -> None:
    """Remove what a crash left: a due entry without a sidecar, and the bytes of our own form that it names.

    Only once both are older than the grace: before that a store may be under way between its due entry and its sidecar.
    """
    for item in missing:
        reference = item.reference
        # Where it fails the entry stays, so the next sweep tries again.
        with result.guard(reference):
            if not _is_old(context, item.written, item.due_keys[0] if item.due_keys else None):
                continue
            plain = keys.is_own_name(reference) and keys.pointer_of(reference) is None
            entry = context.backend.head(reference) if plain else None
            gone = entry is None or (
                _is_old(context, entry.modified, reference) and remove_lone_bytes(context.backend, reference)
            )
            if gone:
                plan.spent[reference] = tuple(item.due_keys)


def _is_old(context: SweepContext, written: datetime | None, key: str | None) -> bool:
    """Tell whether an object was last touched before the grace, by all that the storage tells (on disks also ctime)."""
    touched = written if key is None else context.backend.touched(Entry(key, 0, written))
    if context.storage_now is None or touched is None:
        return False
    return context.storage_now - touched > context.configuration.orphan_grace


def _move(context: SweepContext, plan: _SweepPlan, result: SweepResult) -> None:
    """Write the due entries for other instants; where that fails, the old ones stay."""
    for reference, error in _written(context, plan.moved).items():
        plan.spent.pop(reference, None)
        result.fail(reference, error)
    for key, reference in plan.moved.items():
        if reference in plan.spent:
            # An entry that the sidecar still names has just been written again, and must not be removed.
            plan.spent[reference] = tuple(each for each in plan.spent[reference] if each != key)


def _delete(context: SweepContext, plan: _SweepPlan, result: SweepResult) -> None:
    """Delete the due media, and in the last step the due entries that have had their time."""
    backend = context.backend
    leaving = [
        commit.DeleteOperation(
            backend,
            reference,
            due_keys=tuple(dict.fromkeys(item.due_keys)),
            marker=marker,
            seen=item.seen,
            still=partial(_is_due, context, item),
        )
        for reference, (item, _, marker) in plan.going.items()
    ]
    leaving += [
        commit.DeleteOperation(backend, reference, due_keys=due_keys, stays=True)
        for reference, due_keys in plan.spent.items()
        if due_keys
    ]
    # In one call, so that the keys of each step fill bulk requests together.
    half: list[str] = []
    for deleting, error in zip(leaving, commit.delete(leaving), strict=True):
        if isinstance(error, Overtaken):
            # Written anew, or kept by another policy, since it was judged: its entry leads the next sweep to it.
            result.skip(deleting.reference, error.problem)
        elif error is not None:
            result.fail(deleting.reference, error)
            half += [] if deleting.stays else [deleting.reference]
        elif not deleting.stays:
            result.deleted.append(plan.going[deleting.reference][1])
    # Without its sidecar a media is gone, and no later sweep could report it; what is left of it is in `failed` too.
    for reference, sidecar in zip(half, records.read_sidecars(backend, half), strict=True):
        if sidecar is None:
            result.deleted.append(plan.going[reference][1])


def _is_due(context: SweepContext, item: _DueMedia, text: bytes | None) -> bool:
    """Tell whether a sidecar that was written since the window was judged lets the media go too."""
    if text is None:
        return True
    try:
        instant = _expiry(context, Sidecar.parse(text, item.reference), item)
    except MediaError:
        return False
    return instant is not None and instant <= context.now


def _restore_entries(context: SweepContext, plan: _SweepPlan, result: SweepResult) -> None:
    """Write a removed due entry again if the sidecar names that very minute now.

    Whoever changes a policy writes the entry before the sidecar: this sweep may have read the old sidecar and removed
    an entry that was written for the new one.
    """
    removed = {each: due_keys for each, due_keys in plan.spent.items() if due_keys and each not in plan.kept}
    needed: dict[str, str] = {}
    for reference, data in zip(removed, records.read_sidecars(context.backend, list(removed)), strict=True):
        with result.guard(reference):
            if isinstance(data, MediaError):
                raise data
            sidecar = None if data is None else Sidecar.parse(data, reference)
            expires_at = None if sidecar is None else records.expiry_of(sidecar, reference, context.configuration)
            if expires_at is not None and (key := keys.due_key(expires_at, reference)) in removed[reference]:
                needed[key] = reference
    result.fail_each(_written(context, needed))


def _written(context: SweepContext, entries: Mapping[str, str]) -> dict[str, MediaError]:
    """Write due entries, each for a media; return the errors by reference."""
    wanted = list(entries)
    failed = context.backend.write_many([Write(key, b"", commit.DUE_TYPE) for key in wanted]) if wanted else {}
    return {entries[wanted[index]]: error for index, error in failed.items()}


def _aware_utc(value: object) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidMediaError(f"now must be an aware datetime, not {value!r}", next_step="e.g. datetime.now(UTC)")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidMediaError(f"{value!r} is out of range in UTC", next_step="e.g. datetime.now(UTC)") from None


def _unique(items: Iterable[Any]) -> tuple[Any, ...]:
    """Return each media once; it may have been found by its due entry and by its sidecar."""
    found: dict[str, Any] = {}
    for each in items:
        found.setdefault(each.reference, each)
    return tuple(found.values())
