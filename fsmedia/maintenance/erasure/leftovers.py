"""What crashes left of a subject: bytes without a sidecar, markers without a media, temporary files, due entries.

Whatever is younger than the grace may be a store under way: it stays and is reported. What is older goes the way that
a sweep of orphans takes, which looks once more at each thing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fsmedia.core import records
from fsmedia.core.parallel import windows
from fsmedia.errors import InvalidReferenceError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.maintenance.orphans.finding import Blob, Findings, Generation, Lone, Task, find_leftovers
from fsmedia.maintenance.orphans.mending import Ground, mend_window
from fsmedia.models import Remaining
from fsmedia.storage.clocks import storage_time

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from fsmedia.maintenance.erasure.subject import Subject
    from fsmedia.storage import Backend, Entry

_WINDOW = 500
_RESOLUTION = timedelta(seconds=1)
"""By so much the storage's clock may seem slow: answers about one object tell whole seconds."""
_YOUNG = "belongs to no media and is younger than the grace, so a store may be under way; erase again once it is older"


@dataclass(slots=True)
class Cleared:
    """What became of the leftovers."""

    due_entries: int = 0
    leftovers: int = 0
    waiting: list[Remaining] = field(default_factory=list)
    failed: list[Remaining] = field(default_factory=list)

    def fail(self, key: str, error: MediaError) -> None:
        """Note what went wrong."""
        self.failed.append(Remaining(reference=key, reason=str(error)))  # type: ignore[arg-type]


def clear_leftovers(
    backend: Backend, subject: Subject, erased: Collection[str], grace: timedelta, *, dry_run: bool
) -> Cleared:
    """List the store once more, and remove what is left of the subject.

    Parameters
    ----------
    erased
        References that are gone, or in a dry run would be: whatever names them may go at once.
    """
    cleared = Cleared()
    try:
        findings = find_leftovers(backend)
        tasks = [*_lone(backend, subject, findings, erased), *_markers(backend, subject, findings, erased)]
        cleared.due_entries = _clear_due(backend, findings, erased, cleared, dry_run=dry_run)
        if not tasks:
            return cleared
        now = datetime.now(UTC) if dry_run else storage_time(backend)
        if now is None:
            raise StorageError(f"{backend.url} tells no times, so it can't be told what is old")
    except MediaError as error:
        cleared.fail(keys.INTERNAL, error)
        return cleared
    before = _before(now, grace)
    old: list[Task] = []
    for task in tasks:
        young = [entry for entry in _entries(task) if not _is_before(backend, entry, before)]
        cleared.waiting += [Remaining(reference=entry.key, reason=_YOUNG) for entry in young]  # type: ignore[arg-type]
        if len(young) < len(list(_entries(task))):
            old.append(task)
    process = os.getpid() if backend.in_one_process else None
    outcome = mend_window(Ground(backend, before, dry_run, process), old)
    cleared.leftovers = len([each for each in outcome.mended if each.kind != "due"])
    cleared.due_entries += len([each for each in outcome.mended if each.kind == "due"])
    for each in outcome.failed:
        cleared.fail(each.reference, each.error)
    return cleared


def _before(now: datetime, grace: timedelta) -> datetime:
    try:
        return now + _RESOLUTION - grace
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _is_before(backend: Backend, entry: Entry, before: datetime) -> bool:
    touched = backend.touched(entry)
    return touched is not None and touched < before


def _entries(task: Task) -> Iterator[Entry]:
    if isinstance(task, Lone):
        yield task.entry
    elif isinstance(task, Blob):
        yield from task.parts.markers


def _lone(backend: Backend, subject: Subject, findings: Findings, erased: Collection[str]) -> Iterator[Task]:
    """Give bytes, temporary files and due entries of the subject that belong to no media."""
    for entry in findings.temporary:
        if entry.key.startswith(f"{keys.ERASURES}/") and subject.digest.encode() in (backend.read(entry.key) or b""):
            yield Lone("temporary", entry)  # a page of the journal, on a disk
    for kind, entries in (("temporary", findings.temporary), ("bytes", findings.bytes_without)):
        for entry in entries:
            if entry.key not in erased and subject.lies_in(entry.key):
                yield Lone(kind, entry)  # type: ignore[arg-type]
    for entry, reference in findings.due:
        if reference not in erased and not findings.has_sidecar(reference) and subject.lies_in(reference):
            yield Lone("due", entry)


def _markers(backend: Backend, subject: Subject, findings: Findings, erased: Collection[str]) -> Iterator[Task]:
    """Give the generations that a marker of the subject holds though no media names it; reads such markers only."""
    lonely: list[tuple[tuple[str, str], Entry]] = []
    for key, parts in findings.generations.items():
        named = findings.named.get(key, {})
        lonely += [(key, entry) for entry in parts.markers if f"{_name(entry).partition('-')[0]}-" not in named]
    for window in windows(lonely, _WINDOW):
        bodies = backend.fetch(reads=[entry.key for _, entry in window]).reads
        for (key, entry), body in zip(window, bodies, strict=True):
            if body is None or not _is_subjects(subject, body, erased):
                continue
            parts = findings.generations[key]
            size = 0 if parts.data is None else parts.data.size
            alone = Generation(parts.data, [entry], [])
            yield Blob(keys.Pointer(size, *key), alone, findings.named.get(key, {}))


def _name(entry: Entry) -> str:
    return entry.key.rpartition("/")[2]


def _is_subjects(subject: Subject, body: bytes, erased: Collection[str]) -> bool:
    try:
        reference = keys.check_reference(body.decode())
    except (UnicodeDecodeError, InvalidReferenceError):
        return False
    return reference in erased or subject.lies_in(reference)


def _clear_due(
    backend: Backend, findings: Findings, erased: Collection[str], cleared: Cleared, *, dry_run: bool
) -> int:
    """Remove all due entries of the media that went, old hints too; who has stored one anew keeps its own."""
    spent = {entry.key: reference for entry, reference in findings.due if reference in erased}
    if dry_run:
        return len(spent)
    removed = 0
    for window in windows(spent.items(), _WINDOW):
        sidecars = records.read_sidecars(backend, [reference for _, reference in window])
        going = [key for (key, _), sidecar in zip(window, sidecars, strict=True) if sidecar is None]
        failed = backend.delete(going) if going else {}
        removed += len(going) - len(failed)
        for key, error in failed.items():
            cleared.fail(key, error)
    return removed
