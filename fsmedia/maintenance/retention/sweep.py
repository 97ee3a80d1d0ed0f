"""One window of a sweep: read the sidecars, decide with a reason for each, look at the holds, delete, answer.

The sidecar is the truth, an entry of the due index only a hint. What can't be read is not deleted, and everything
that went wrong stands in the answer. Plain functions over picklable values, so any executor can run them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fsmedia.core import commit, deletions, holds, promptkit, records
from fsmedia.errors import MediaError, StorageError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import Deletion, Failed, Skipped
from fsmedia.storage import Backend, Entry, Write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsmedia.format.configuration import Configuration
    from fsmedia.maintenance.retention.due import Candidate

LATER = timedelta(days=1)
"""When a sweep looks again at what is due and must stay."""

_SHARED = "PromptKit's index names it: runs that left no trace may share it; delete it by delete_media"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a window needs to know.

    Attributes
    ----------
    now
        What expires up to here is due.
    storage_now
        The storage's clock, by which leftovers are judged; None: none are.
    process
        The process that the sweep began in, where only that one sees the storage.
    """

    backend: Backend
    configuration: Configuration
    now: datetime
    storage_now: datetime | None
    dry_run: bool
    delete_shared: bool
    process: int | None = None


@dataclass(slots=True)
class Swept:
    """What became of a window."""

    examined: int = 0
    deleted: list[Deletion] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def fail(self, reference: str, error: MediaError) -> None:
        """Note what went wrong with a media."""
        self.failed.append(Failed(reference=reference, error=error))  # type: ignore[arg-type]

    def skip(self, reference: str, reason: str) -> None:
        """Note that a media stays, and why."""
        self.skipped.append(Skipped(reference=reference, reason=reason))  # type: ignore[arg-type]


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


def sweep_window(ground: Ground, candidates: Sequence[Candidate]) -> Swept:
    """Sweep some media."""
    if ground.process is not None and ground.process != os.getpid():
        raise StorageError(
            f"{ground.backend.url} is seen by one process only", next_step="give an executor of threads, or none"
        )
    swept = Swept()
    items = _merged(candidates)
    plan = _Plan()
    missing = _judge(ground, items, plan, swept)
    _keep_held(ground, plan, swept)
    _keep_shared(ground, plan, swept)
    if ground.dry_run:
        swept.deleted = [deletion for _, deletion, _ in plan.going.values()]
        return swept
    _clear_leftovers(ground, missing, plan, swept)
    _move(ground, plan, swept)
    _delete(ground, plan, swept)
    _look_again(ground, plan, swept)
    return swept


def _merged(candidates: Sequence[Candidate]) -> dict[str, _Item]:
    items: dict[str, _Item] = {}
    for each in candidates:
        item = items.setdefault(each.reference, _Item(each.reference, [], each.written))
        if each.due_key is not None:
            item.due_keys.append(each.due_key)
    return items


def _judge(ground: Ground, items: dict[str, _Item], plan: _Plan, swept: Swept) -> list[_Item]:
    """Sort the media by what their sidecars say now; return those without one."""
    missing: list[_Item] = []
    for item, data in zip(items.values(), records.read_sidecars(ground.backend, list(items)), strict=True):
        reference = item.reference
        swept.examined += 1
        if isinstance(data, MediaError):
            swept.fail(reference, data)
            continue
        if data is None:
            missing.append(item)
            continue
        try:
            sidecar = Sidecar.parse(data, reference)
            expires_at = _expiry(ground, sidecar, item)
        except MediaError as error:
            swept.fail(reference, error)
            continue
        if expires_at is not None and expires_at <= ground.now:
            policy = sidecar.values.get("policy_name")
            why = f"policy {policy} let it go at {expires_at:%Y-%m-%d %H:%M:%S} UTC"
            deletion = deletions.deletion_of(reference, sidecar, expires_at, why)
            item.due_keys.append(keys.due_key(expires_at, reference))
            gone = deletion.model_copy(update={"deleted_at": ground.now})
            plan.going[reference] = (item, gone, sidecar.marker(reference))
        elif item.due_keys:
            if expires_at is not None:
                plan.moved[keys.due_key(expires_at, reference)] = reference
            plan.spent[reference] = tuple(item.due_keys)
    return missing


def _expiry(ground: Ground, sidecar: Sidecar, item: _Item) -> datetime | None:
    """Return when the media may go; the time of its bytes is only asked for where the sidecar has none."""
    written = None if item.due_keys else item.written
    expires_at = records.expiry_of(sidecar, item.reference, ground.configuration, written)
    if expires_at is None and item.due_keys and sidecar.values.get("policy_name"):
        # Of shared bytes the time says nothing about this media.
        shared = keys.pointer_of(item.reference) is not None
        head = ground.backend.head(keys.sidecar_key(item.reference) if shared else item.reference)
        written = None if head is None else head.modified
        expires_at = records.expiry_of(sidecar, item.reference, ground.configuration, written)
    return expires_at


def _keep(ground: Ground, plan: _Plan, reference: str) -> None:
    """Take a media out of the plan, and its entries to the next day."""
    item, _, _ = plan.going.pop(reference)
    later = _later(ground.now)
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


def _keep_held(ground: Ground, plan: _Plan, swept: Swept) -> None:
    """Look at the holds once the sidecars are read: as late as can be."""
    if not plan.going:
        return
    try:
        held = holds.held(ground.backend)
    except MediaError as error:
        for reference in list(plan.going):
            del plan.going[reference]
            swept.fail(reference, error)
        return
    for reference in holds.among(held, list(plan.going)):
        swept.skip(reference, "held")
        _keep(ground, plan, reference)


def _keep_shared(ground: Ground, plan: _Plan, swept: Swept) -> None:
    """Keep what PromptKit may have given to several runs."""
    foreign = [each for each in plan.going if not keys.is_own_name(each)]
    if not foreign:
        return
    try:
        shared = promptkit.named(ground.backend, foreign)
        if ground.delete_shared and shared and not ground.dry_run:
            promptkit.forget(ground.backend, shared)
    except MediaError as error:
        for reference in foreign:
            del plan.going[reference]
            swept.fail(reference, error)
        return
    if not ground.delete_shared:
        for reference in sorted(shared):
            swept.skip(reference, _SHARED)
            _keep(ground, plan, reference)


def _clear_leftovers(ground: Ground, missing: list[_Item], plan: _Plan, swept: Swept) -> None:
    """Finish what a crash left: an entry without a sidecar, and bytes of our own form that it is about.

    Only once both are older than the grace: before that a store may be on its way.
    """
    for item in missing:
        reference = item.reference
        if not _is_old(ground, _touched(ground, item)):
            continue
        try:
            plain = keys.is_own_name(reference) and keys.pointer_of(reference) is None
            entry = ground.backend.head(reference) if plain else None
            if entry is not None:
                if not _is_old(ground, ground.backend.touched(entry)):
                    continue
                again = ground.backend.fetch(reads=[keys.sidecar_key(reference), keys.hold_key(reference)]).reads
                if again != [None, None]:
                    continue
                failed = ground.backend.delete([reference])
                if failed:
                    raise failed[reference]
        except MediaError as error:
            swept.fail(reference, error)
            continue
        plan.spent[reference] = tuple(item.due_keys)


def _touched(ground: Ground, item: _Item) -> datetime | None:
    """Return when the entry was last touched."""
    return ground.backend.touched(Entry(item.due_keys[0], 0, item.written)) if item.due_keys else item.written


def _is_old(ground: Ground, written: datetime | None) -> bool:
    if ground.storage_now is None or written is None:
        return False
    return ground.storage_now - written > ground.configuration.orphan_grace


def _move(ground: Ground, plan: _Plan, swept: Swept) -> None:
    """Write the entries for other instants; where that fails, the old ones stay."""
    if not plan.moved:
        return
    wanted = list(plan.moved)
    for index, error in ground.backend.write_many([Write(key, b"", commit.DUE_TYPE) for key in wanted]).items():
        reference = plan.moved[wanted[index]]
        plan.spent.pop(reference, None)
        swept.fail(reference, error)
    for key, reference in plan.moved.items():
        if reference in plan.spent:
            plan.spent[reference] = tuple(each for each in plan.spent[reference] if each != key)


def _delete(ground: Ground, plan: _Plan, swept: Swept) -> None:
    """Delete what goes, and the entries that have had their time with the last step."""
    backend = ground.backend
    leaving = [
        commit.Deleting(backend, reference, due_keys=tuple(dict.fromkeys(item.due_keys)), marker=marker)
        for reference, (item, _, marker) in plan.going.items()
    ]
    leaving += [
        commit.Deleting(backend, reference, due_keys=due_keys, stays=True)
        for reference, due_keys in plan.spent.items()
        if due_keys
    ]
    half: list[str] = []
    for deleting, error in zip(leaving, commit.delete(leaving), strict=True):
        if error is not None:
            swept.fail(deleting.reference, error)
            half += [] if deleting.stays else [deleting.reference]
        elif not deleting.stays:
            swept.deleted.append(plan.going[deleting.reference][1])
    # Without its sidecar a media is gone, and no later sweep could say what it was; what is left of it is reported too.
    for reference, sidecar in zip(half, records.read_sidecars(backend, half), strict=True):
        if sidecar is None:
            swept.deleted.append(plan.going[reference][1])


def _look_again(ground: Ground, plan: _Plan, swept: Swept) -> None:
    """Put an entry back that somebody needed again while it was removed: its sidecar names that very minute now."""
    removed = {each: due_keys for each, due_keys in plan.spent.items() if due_keys and each not in plan.kept}
    needed: dict[str, str] = {}
    for reference, data in zip(removed, records.read_sidecars(ground.backend, list(removed)), strict=True):
        try:
            if isinstance(data, MediaError):
                raise data
            expires_at = None if data is None else _said(ground, data, reference)
        except MediaError as error:
            swept.fail(reference, error)
            continue
        if expires_at is not None and (key := keys.due_key(expires_at, reference)) in removed[reference]:
            needed[key] = reference
    if needed:
        writes = [Write(key, b"", commit.DUE_TYPE) for key in needed]
        for index, failure in ground.backend.write_many(writes).items():
            swept.fail(needed[writes[index].key], failure)


def _said(ground: Ground, data: bytes, reference: str) -> datetime | None:
    return records.expiry_of(Sidecar.parse(data, reference), reference, ground.configuration)
