"""Acting on what a listing showed, in the order docs/format.md gives; every step looks once more before it removes.

Missing markers are restored first, and no generation that a listed sidecar names is let go, so a sweep that meets
stores, deletes and other sweeps never takes bytes that a visible media needs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.core import blobs, commit
from fsmedia.core.parallel import JobResult, run_windows, windows
from fsmedia.errors import InvalidMediaError, InvalidReferenceError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.format.keys import Pointer
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import Leftover, OrphanReport
from fsmedia.storage.port import storage_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from fsmedia.models import LeftoverKind
    from fsmedia.storage import Backend, Entry

_OURS = (keys.HOLDS, keys.DELETIONS, keys.REFERENCES, keys.ERASURES, keys.CATALOG, keys.QUARANTINE)


@dataclass(slots=True)
class Generation:
    """What lies in one generation of a blob."""

    data: Entry | None = None
    markers: list[Entry] = field(default_factory=list)
    marks: list[Entry] = field(default_factory=list)


class Unmarked(NamedTuple):
    """A deduplicated media without a marker, as far as the listing showed."""

    reference: str

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.reference


class Blob(NamedTuple):
    """One generation, with the listed media that name it: beginning of their markers -> reference."""

    pointer: Pointer
    parts: Generation
    named: dict[str, str]

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.pointer.data_key


class Lone(NamedTuple):
    """One object that may belong to nothing."""

    kind: LeftoverKind
    entry: Entry

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.entry.key


Task = Unmarked | Blob | Lone


@dataclass(slots=True)
class Findings:
    """What a listing showed.

    Attributes
    ----------
    generations
        (digest, generation) -> what lies in it.
    named
        (digest, generation) -> beginnings of the markers that listed sidecars must have, with their references.
    sidecars
        Hashes of the references that have one; two that share a hash only keep a leftover longer.
    """

    examined: int = 0
    generations: dict[tuple[str, str], Generation] = field(default_factory=dict)
    named: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    sidecars: set[int] = field(default_factory=set)
    bytes_without: list[Entry] = field(default_factory=list)
    temporary: list[Entry] = field(default_factory=list)
    due: list[tuple[Entry, str]] = field(default_factory=list)
    foreign: list[Entry] = field(default_factory=list)

    def unmarked(self) -> Iterator[Task]:
        """Give the media whose marker the listing did not show."""
        for key, named in self.named.items():
            markers = self.generations.get(key, Generation()).markers
            there = {f"{entry.key.rpartition('/')[2].partition('-')[0]}-" for entry in markers}
            yield from (Unmarked(reference) for prefix, reference in named.items() if prefix not in there)

    def tasks(self) -> Iterator[Task]:
        """Give all that may belong to no media."""
        for key, parts in self.generations.items():
            size = 0 if parts.data is None else parts.data.size
            yield Blob(Pointer(size, *key), parts, self.named.get(key, {}))
        yield from (Lone("temporary", entry) for entry in self.temporary)
        yield from (Lone("bytes", entry) for entry in self.bytes_without)
        yield from (Lone("due", entry) for entry, reference in self.due if not self.has_sidecar(reference))
        yield from (Lone("foreign", entry) for entry in self.foreign)

    def has_sidecar(self, reference: str) -> bool:
        """Tell whether a sidecar of that name was listed."""
        return hash(reference) in self.sidecars


def find_leftovers(backend: Backend, progress: Callable[[int], object] | None = None) -> Findings:
    """List everything once."""
    found = Findings()
    own: list[Entry] = []
    for entry in backend.entries():
        found.examined += 1
        if progress is not None and found.examined % 1000 == 0:
            progress(found.examined)
        if keys.is_temporary(entry.key):
            found.temporary.append(entry)
        elif keys.is_internal(entry.key):
            _internal(found, entry)
        elif keys.is_sidecar(entry.key):
            _sidecar(found, keys.media_key(entry.key))
        elif keys.is_own_name(entry.key):
            own.append(entry)
    found.bytes_without = [entry for entry in own if not found.has_sidecar(entry.key)]
    return found


def _internal(found: Findings, entry: Entry) -> None:
    key = entry.key
    blob = keys.parse_blob_key(key)
    if blob is not None:
        generation = found.generations.setdefault((blob.digest, blob.generation), Generation())
        if blob.kind == "data":
            generation.data = entry
        else:
            (generation.markers if blob.kind == "refs" else generation.marks).append(entry)
        return
    due = keys.parse_due(key)
    if due is not None:
        found.due.append((entry, due.reference))
    elif key != keys.CONFIGURATION_KEY and not key.startswith(tuple(f"{folder}/" for folder in _OURS)):
        found.foreign.append(entry)


def _sidecar(found: Findings, reference: str) -> None:
    found.sidecars.add(hash(reference))
    pointer = keys.pointer_of(reference)
    if pointer is not None:
        named = found.named.setdefault((pointer.digest, pointer.generation), {})
        named[keys.marker_prefix(reference)] = reference


_SWEEPER = ".fsmedia/orphans"
"""What stands in a marker of the sweep's own, where others have their reference: no media can be called so."""


@dataclass(frozen=True, slots=True)
class LeftoverContext:
    """What a window of tasks needs to know.

    Attributes
    ----------
    before
        What was last touched before this instant is old.
    """

    backend: Backend
    before: datetime
    dry_run: bool


@dataclass(slots=True)
class LeftoverResult(JobResult):
    """What became of a window of leftovers."""

    mended: list[Leftover] = field(default_factory=list)
    kept: list[Leftover] = field(default_factory=list)


def mend_window(context: LeftoverContext, tasks: Sequence[Task]) -> LeftoverResult:
    """Do some tasks; one that fails is reported and the rest goes on."""
    mender = _Mender(context.backend, context.before, dry_run=context.dry_run)
    for task in tasks:
        mender.do(task)
    return mender.outcome


@dataclass(slots=True)
class _Mender:
    backend: Backend
    before: datetime
    dry_run: bool
    outcome: LeftoverResult = field(default_factory=LeftoverResult)

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
            self.outcome.fail(key, error)

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


_WINDOW = 100
_RESOLUTION = timedelta(seconds=1)
"""By so much the storage's clock may seem slow: answers about one object tell whole seconds. A grace of zero is all."""


def sweep_orphans(
    backend: Backend,
    grace: timedelta,
    *,
    dry_run: bool = False,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
) -> OrphanReport:
    """List everything, mend what is older than the grace by the storage's own clock, report the rest.

    Raises
    ------
    StorageError
        The store can't be listed, or tells no times; what failed for single things is in the report.
    """
    begun = time.monotonic()
    # A dry run writes nothing, so it goes by this machine's clock.
    now = datetime.now(UTC) if dry_run else storage_time(backend)
    if now is None:
        raise StorageError(f"{backend.url} tells no times, so it can't be told what is old")
    findings = find_leftovers(backend, progress)
    context = LeftoverContext(backend, before(now, grace), dry_run)
    outcome = LeftoverResult()
    for tasks in (findings.unmarked(), findings.tasks()):  # all markers are restored before any is taken away
        run_windows(
            mend_window,
            context,
            windows(tasks, _WINDOW),
            outcome,
            backends=[backend],
            key=lambda task: task.key,
            again="sweep again",
            executor=executor,
        )
    return OrphanReport(
        dry_run=dry_run,
        examined=findings.examined,
        mended=tuple(outcome.mended),
        kept=tuple(outcome.kept),
        failed=tuple(outcome.failed),
        took=timedelta(seconds=time.monotonic() - begun),
    )


def before(now: datetime, grace: timedelta) -> datetime:
    """Return the instant before which things are old; nothing is where the grace is longer than all of time."""
    try:
        return now + _RESOLUTION - grace
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def check_grace(asked: timedelta | None, grace: timedelta, *, nobody_writes: bool) -> timedelta:
    """Return the grace to go by.

    Raises
    ------
    InvalidMediaError
        It is shorter than the store's, and somebody may be writing.
    """
    if asked is None:
        return grace
    if not isinstance(asked, timedelta) or asked < timedelta(0):
        raise InvalidMediaError(f"grace must be a timedelta from 0, not {asked!r}")
    if asked < grace and not nobody_writes:
        raise InvalidMediaError(
            f"a grace of {asked} is shorter than the store's {grace}: a store under way could lose its bytes",
            next_step="wait, or stop all writers and say so: nobody_writes=True, --nobody-writes",
        )
    return asked
