"""What belongs to no media: told, and with repair mended as `sweep_orphans` does it, or set aside.

The walk over all media is over by then, so what they name is known; every step looks once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fsmedia.core import commit, holds, records
from fsmedia.errors import MediaError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance.orphans import Blob, Generation, Lone, Task, Unmarked, mend_window
from fsmedia.maintenance.orphans import Ground as OrphanGround
from fsmedia.maintenance.quarantine import set_aside
from fsmedia.maintenance.verify.ground import HELD, YOUNG, Fact, Ground, Outcome
from fsmedia.models import Hold, Reference

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fsmedia.models import FindingKind, LeftoverKind
    from fsmedia.storage import Entry, Upload

_DETAILS: dict[LeftoverKind, tuple[FindingKind, str]] = {
    "marker": ("marker", "it holds bytes for a media that is not there"),
    "generation": ("generation", "shared bytes that nothing uses"),
    "mark": ("mark", "it says that bytes are about to go, and they are gone"),
    "bytes": ("bytes", "bytes without a sidecar: a store or a delete that died"),
    "temporary": ("temporary", "bytes on their way, whose process died"),
    "due": ("due", "there is no such media"),
    "unmarked": ("unmarked", "the marker that its sidecar names is not there, so its bytes could go with another's"),
    "foreign": ("foreign", "nothing that this format knows"),
}


class Dated(NamedTuple):
    """An entry of the due index whose minute is past and whose media does not name it."""

    entry: Entry
    reference: str

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.entry.key


class Held(NamedTuple):
    """A hold, and the name that it holds, if anything of that name was met."""

    hold: str
    met: str | None

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.hold


class Unfinished(NamedTuple):
    """A large upload that nobody finished."""

    upload: Upload

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.upload.key


class Undated(NamedTuple):
    """A media whose due entry the listing did not show."""

    fact: Fact

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.fact.reference


Remainder = Task | Dated | Held | Unfinished | Undated


def mend_leftovers(ground: Ground, tasks: Sequence[Remainder]) -> Outcome:
    """Tell of some things, and mend them where that is asked for."""
    ground.check_process()
    outcome = Outcome()
    for task in tasks:
        try:
            if isinstance(task, Dated):
                _dated(ground, task, outcome)
            elif isinstance(task, Held):
                _hold(ground, task, outcome)
            elif isinstance(task, Unfinished):
                _upload(ground, task.upload, outcome)
            elif isinstance(task, Undated):
                _undated(ground, task.fact, outcome)
            else:
                _orphan(ground, task, outcome)
        except MediaError as error:
            outcome.fail(task.key, error)
    return outcome


def lone_bytes(ground: Ground, entries: Sequence[Entry], outcome: Outcome) -> None:
    """Tell of bytes of our own form that no sidecar names, and remove them where that is asked for."""
    for entry in entries:
        try:
            sidecar, hold = ground.backend.fetch(reads=[keys.sidecar_key(entry.key), keys.hold_key(entry.key)]).reads
            if sidecar is None and hold is not None:
                outcome.find("bytes", entry.key, _DETAILS["bytes"][1], HELD, harmless=True)
            elif sidecar is None:
                _orphan(ground, Lone("bytes", entry), outcome)
        except MediaError as error:
            outcome.fail(entry.key, error)


def _orphan(ground: Ground, found: Task, outcome: Outcome) -> None:
    """Let the sweep of orphans plan or do it, and tell what it leaves because it is young."""
    task = _still_there(ground, found)
    if task is None:
        return
    for kind, entry in _entries(task):
        if kind != "foreign" and not ground.is_old(entry):
            outcome.find(*_named(kind, entry.key), YOUNG, harmless=True)
    if isinstance(task, Lone) and task.kind == "due" and _has_media(ground, task.entry):
        return
    done = mend_window(OrphanGround(ground.backend, ground.before, dry_run=not ground.repairs), [task])
    for left in done.mended:
        outcome.find(*_named(left.kind, left.key), left.action, done=ground.repairs)
    for left in done.kept:
        name, key, detail = _named(left.kind, left.key)
        if name == "mark":
            detail = "it says that bytes are about to go that are there: no new reference takes them, and that is all"
        outcome.find(name, key, detail, harmless=True)
    for failure in done.failed:
        outcome.fail(failure.reference, failure.error)


def _named(kind: LeftoverKind, key: str) -> tuple[FindingKind, str, str]:
    name, detail = _DETAILS[kind]
    return name, key, detail


def _entries(task: Task) -> list[tuple[LeftoverKind, Entry]]:
    if isinstance(task, Unmarked):
        return []
    if isinstance(task, Lone):
        return [(task.kind, task.entry)]
    parts = task.parts
    found: list[tuple[LeftoverKind, Entry]] = [("marker", each) for each in parts.markers]
    found += [("mark", each) for each in parts.marks]
    if parts.data is not None and not parts.markers and not task.named:
        found.append(("generation", parts.data))
    return found


def _still_there(ground: Ground, task: Task) -> Task | None:
    """Return what of a task lies there now; a delete or a sweep may have been under way when it was listed."""
    entries = [entry for _, entry in _entries(task)]
    heads = ground.backend.fetch(heads=[entry.key for entry in entries]).heads if entries else []
    gone = {entry.key for entry, head in zip(entries, heads, strict=True) if head is None}
    if not gone:
        return task
    if not isinstance(task, Blob):
        return None
    parts = task.parts
    markers = [entry for entry in parts.markers if entry.key not in gone]
    marks = [entry for entry in parts.marks if entry.key not in gone]
    data = None if parts.data is None or parts.data.key in gone else parts.data
    # The last marker went: whoever took it is about to release the bytes.
    named = task.named | {"": ""} if parts.markers and not markers else task.named
    return Blob(task.pointer, Generation(data, markers, marks), named)


def _has_media(ground: Ground, entry: Entry) -> bool:
    due = keys.parse_due(entry.key)
    return due is None or ground.backend.head(keys.sidecar_key(due.reference)) is not None


# -- the due index -------------------------------------------------------------------------------------------


def _names(ground: Ground, reference: str, minute: datetime) -> datetime | None:
    """Return when a media goes; the minute where its sidecar can't be read, so that nothing is done."""
    data = ground.backend.read(keys.sidecar_key(reference))
    if data is None:
        return None
    head = ground.backend.head(keys.bytes_key(reference))
    modified = None if head is None else head.modified
    try:
        return records.expiry_of(Sidecar.parse(data, reference), reference, ground.configuration, modified)
    except MediaError:
        return minute


def _dated(ground: Ground, task: Dated, outcome: Outcome) -> None:
    """Remove an entry that has had its time; the one for the media's own instant is there first."""
    due, backend = keys.parse_due(task.entry.key), ground.backend
    if due is None or backend.head(task.entry.key) is None:
        return  # a sweep has dealt with it
    instant = _names(ground, task.reference, due.minute)
    if (instant is not None and keys.due_minute(instant) == due.minute) or _is_held(ground, task.reference):
        return
    detail = "its media names another instant, or none"
    if not ground.is_old(task.entry):
        outcome.find("due", task.key, detail, YOUNG, harmless=True)
        return
    if ground.repairs:
        if instant is not None:
            backend.write(keys.due_key(instant, task.reference), b"", commit.DUE_TYPE)
        _delete(ground, task.entry.key)
        again = _names(ground, task.reference, due.minute)
        if again is not None and keys.due_minute(again) == due.minute:
            backend.write(task.entry.key, b"", commit.DUE_TYPE)
            return
    outcome.find("due", task.key, detail, "removed: it has had its time", done=ground.repairs)


def _undated(ground: Ground, fact: Fact, outcome: Outcome) -> None:
    """Write the due entry of a media that lacks it; the index only gains by it."""
    due = None if fact.due is None else keys.parse_due(fact.due)
    if fact.due is None or due is None or ground.backend.head(fact.due) is not None:
        return
    instant = _names(ground, fact.reference, due.minute)
    if instant is None or keys.due_minute(instant) != due.minute or _is_held(ground, fact.reference):
        return
    if ground.repairs:
        ground.backend.write(fact.due, b"", commit.DUE_TYPE)
    detail = f"no sweep would see that it may go at {due.minute:%Y-%m-%d %H:%M}Z"
    outcome.find("missing-due", fact.reference, detail, "its due entry is written", done=ground.repairs)


# -- holds and uploads ---------------------------------------------------------------------------------------


def _is_held(ground: Ground, reference: str) -> bool:
    return ground.backend.head(keys.hold_key(reference)) is not None


def _hold(ground: Ground, task: Held, outcome: Outcome) -> None:
    """Tell of a hold that can't be read, which holds all the same, and of one that holds nothing."""
    backend, key = ground.backend, task.hold
    data, entry = backend.read(key), backend.head(key)
    if data is None or entry is None:
        return
    reference = holds.reference_of(data, key)
    if reference is not None:
        there = backend.fetch(heads=[keys.bytes_key(reference), keys.sidecar_key(reference)]).heads
        if task.met is not None or any(there):
            return
    detail = "it can't be read" if reference is None else "it holds a media that is not there"
    if not ground.is_old(entry):
        outcome.find("hold", key, detail, YOUNG, harmless=reference is not None)
    elif task.met is not None:
        plan = "it moves to quarantine, and a new one holds the media"
        if ground.repairs:
            set_aside(ground, task.met, detail, texts={key: data})
            reason = "the hold that was placed can't be read any more; it is in quarantine"
            holds.place(
                backend, Hold(reference=Reference(task.met), reason=reason, who="fsmedia verify", when=ground.now)
            )
        outcome.find("hold", key, f"{detail}; it holds {task.met}", plan, done=ground.repairs)
    else:
        if ground.repairs:
            set_aside(ground, reference or key, detail, texts={key: data})
            _delete(ground, key)
        outcome.find("hold", key, detail, "it moves to quarantine", done=ground.repairs)


def _upload(ground: Ground, upload: Upload, outcome: Outcome) -> None:
    """Give up an upload that nobody goes on with."""
    detail = "a large upload that nobody finished: it takes room, and no listing shows it"
    if upload.started is None or upload.started >= ground.before:
        outcome.find("upload", upload.key, detail, YOUNG, harmless=True)
        return
    if ground.repairs:
        ground.backend.abort(upload)
    outcome.find("upload", upload.key, detail, "aborted", done=ground.repairs)


def _delete(ground: Ground, key: str) -> None:
    for error in ground.backend.delete([key]).values():
        raise error
