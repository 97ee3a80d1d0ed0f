"""Acting on what a listing showed, in the order FORMAT.md gives; every step looks once more before it removes.

Missing markers are restored first, and no generation that a listed sidecar names is let go, so a sweep that meets
stores, deletes and other sweeps never takes bytes that a visible media needs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from fsmedia.core import blobs, commit
from fsmedia.errors import InvalidReferenceError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance.orphans.finding import Blob, Lone, Task, Unmarked
from fsmedia.models import Failed, Leftover

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from fsmedia.models import LeftoverKind
    from fsmedia.storage import Backend, Entry

_SWEEPER = ".fsmedia/orphans"
"""What stands in a marker of the sweep's own, where others have their reference: no media can be called so."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a window of tasks needs to know.

    Attributes
    ----------
    before
        What was last touched before this instant is old.
    process
        The process that the sweep began in, where only that one sees the storage.
    """

    backend: Backend
    before: datetime
    dry_run: bool
    process: int | None = None


@dataclass(slots=True)
class Mended:
    """What became of a window."""

    mended: list[Leftover] = field(default_factory=list)
    kept: list[Leftover] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


def mend_window(ground: Ground, tasks: Sequence[Task]) -> Mended:
    """Do some tasks; one that fails is reported and the rest goes on."""
    if ground.process is not None and ground.process != os.getpid():
        raise StorageError(
            f"{ground.backend.url} is seen by one process only", next_step="give an executor of threads, or none"
        )
    mender = _Mender(ground.backend, ground.before, dry_run=ground.dry_run)
    for task in tasks:
        mender.do(task)
    return mender.outcome


@dataclass(slots=True)
class _Mender:
    backend: Backend
    before: datetime
    dry_run: bool
    outcome: Mended = field(default_factory=Mended)

    def do(self, task: Task) -> None:
        """Do one task."""
        if isinstance(task, Unmarked):
            self._guarded(task.reference, partial(self._restore, task.reference))
        elif isinstance(task, Blob):
            self._free_markers(task)
            self._free_generation(task)
            self._clear_marks(task)
        else:
            self._lone(task)

    # -- markers -------------------------------------------------------------------------------------------

    def _restore(self, reference: str) -> None:
        """Give a media that the listing showed without a marker the one that its sidecar names."""
        pointer = keys.pointer_of(reference)
        data = self.backend.read(keys.sidecar_key(reference))
        marker = None if data is None else Sidecar.parse(data, reference).marker(reference)
        if pointer is None or marker is None or self.backend.head(pointer.data_key) is None:
            return
        if self.backend.head(pointer.marker_key(marker)) is not None:
            return  # it came after the blobs were listed
        if self.backend.head(keys.sidecar_key(reference)) is None:
            return  # and this went
        if not self.dry_run:
            # If the sidecar goes now, the marker stays for a later sweep: a rewrite may have found it already, and
            # without it would have written a sidecar whose bytes this would let go.
            blobs.put_named_marker(self.backend, pointer, marker, reference)
        self._note("unmarked", pointer.marker_key(marker), 0, "its marker was restored")

    def _free_markers(self, task: Blob) -> None:
        """Take away old markers whose reference has no sidecar.

        One of a media whose sidecar names another stays, however old: a rewrite that read the sidecar before a copy
        replaced it may be about to name this marker again, and would take the media away if it were gone.
        """
        for entry in task.parts.markers:
            if _prefix(entry) not in task.named:
                self._attempt("marker", entry, "removed: its media is gone", partial(self._free_marker, task))

    def _free_marker(self, task: Blob, entry: Entry) -> bool:
        """Hold the generation by a marker of one's own while the orphan's goes and its sidecar is looked for."""
        pointer = task.pointer
        body = self.backend.read(entry.key)
        if body is None:
            return False
        reference = body.decode(errors="replace")
        if not _name(entry).startswith(keys.marker_prefix(reference)) or not _names_media(reference):
            return False  # who wrote it can't be told
        own = blobs.put_marker(self.backend, pointer, _SWEEPER)
        self._remove(entry)
        back = reference != _SWEEPER and self.backend.head(keys.sidecar_key(reference)) is not None
        if back:
            blobs.put_named_marker(self.backend, pointer, _name(entry), reference)
        self._remove_key(pointer.marker_key(own))
        if self._let_go(task):
            size = 0 if task.parts.data is None else task.parts.data.size
            self._note("generation", pointer.data_key, size, "removed: nothing uses it any more")
        return not back

    def _let_go(self, task: Blob) -> bool:
        """Release a generation, unless a listed sidecar names it."""
        return not task.named and blobs.release(self.backend, task.pointer)

    # -- generations and marks -----------------------------------------------------------------------------

    def _free_generation(self, task: Blob) -> None:
        """Let go of old bytes that no marker holds."""
        if task.parts.data is not None and not task.parts.markers and not task.named:
            self._attempt("generation", task.parts.data, "removed: nothing uses it", lambda _: self._let_go(task))

    def _clear_marks(self, task: Blob) -> None:
        """Remove old condemned marks once their data are gone; one on living data only takes no new references."""
        for entry in task.parts.marks:
            self._guarded(entry.key, partial(self._clear_mark, task, entry))

    def _clear_mark(self, task: Blob, entry: Entry) -> None:
        """Clear one; whether there are data is asked now: this very sweep may have let go of what was listed."""
        if self.backend.head(task.pointer.data_key) is not None:
            self._keep("mark", entry)
        else:
            self._attempt("mark", entry, "removed: its bytes are gone", self._remove)

    # -- the rest ------------------------------------------------------------------------------------------

    def _lone(self, task: Lone) -> None:
        if task.kind == "temporary":
            self._attempt("temporary", task.entry, "removed: its process died", self._remove)
        elif task.kind == "bytes":
            self._attempt("bytes", task.entry, "removed: no sidecar names them", self._remove_bytes)
        elif task.kind == "due":
            self._attempt("due", task.entry, "removed: there is no such media", self._remove_due)
        else:
            self._keep(task.kind, task.entry)

    def _remove_bytes(self, entry: Entry) -> bool:
        """Remove bytes of our own form, if there is still neither sidecar nor hold."""
        wanted = [keys.sidecar_key(entry.key), keys.hold_key(entry.key)]
        return self.backend.fetch(reads=wanted).reads == [None, None] and self._remove(entry)

    def _remove_due(self, entry: Entry) -> bool:
        """Remove a due entry, and put it back if its media came just now."""
        due = keys.parse_due(entry.key)
        if due is None or self.backend.head(keys.sidecar_key(due.reference)) is not None:
            return False
        self._remove(entry)
        if self.backend.head(keys.sidecar_key(due.reference)) is None:
            return True
        self.backend.write(entry.key, b"", commit.DUE_TYPE)
        return False

    def _remove(self, entry: Entry) -> bool:
        self._remove_key(entry.key)
        return True

    def _remove_key(self, key: str) -> None:
        for error in self.backend.delete([key]).values():
            raise error

    def _attempt(self, kind: LeftoverKind, entry: Entry, action: str, act: Callable[[Entry], bool]) -> None:
        """Act on what is old; note what was done, or what went wrong."""

        def acted() -> None:
            touched = self.backend.touched(entry)
            if touched is not None and touched < self.before and (self.dry_run or act(entry)):
                self._note(kind, entry.key, entry.size, action)

        self._guarded(entry.key, acted)

    def _guarded(self, key: str, act: Callable[[], None]) -> None:
        try:
            act()
        except MediaError as error:
            self.outcome.failed.append(Failed(reference=key, error=error))  # type: ignore[arg-type]

    def _note(self, kind: LeftoverKind, key: str, size: int, action: str) -> None:
        self.outcome.mended.append(Leftover(kind=kind, key=key, size_bytes=size, action=action))

    def _keep(self, kind: LeftoverKind, entry: Entry) -> None:
        self.outcome.kept.append(Leftover(kind=kind, key=entry.key, size_bytes=entry.size))


def _names_media(reference: str) -> bool:
    """Tell whether a marker's text is a reference, or the sweep's own; anything else is never looked for on a disk."""
    try:
        return reference == _SWEEPER or bool(keys.check_reference(reference))
    except InvalidReferenceError:
        return False


def _name(entry: Entry) -> str:
    return entry.key.rpartition("/")[2]


def _prefix(entry: Entry) -> str:
    return f"{_name(entry).partition('-')[0]}-"
