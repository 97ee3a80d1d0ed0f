"""Leftovers of crashes: found by a listing, looked at once more, and removed.

They go in the order of docs/format.md. Missing markers are restored first, and no generation that a listed sidecar
names is released, so a sweep beside stores, deletes and other sweeps never takes bytes that a visible media needs.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from fsmedia.core import blobs, commit, records
from fsmedia.format import keys
from fsmedia.format.keys import Pointer
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance.survey import KNOWN, Listing, VerifyContext, VerifyResult
from fsmedia.models import FindingKind
from fsmedia.storage import Backend, Entry
from fsmedia.storage.port import delete_one

_OURS = (*KNOWN, f"{keys.HOLDS}/", f"{keys.QUARANTINE}/", f"{keys.PROMPTKIT}/")
_SWEEPER = ".fsmedia/orphans"
"""Text of the sweep's own markers, where others have their reference: no media can have this name."""
DETAILS: dict[FindingKind, str] = {
    "marker": "it holds bytes for a media that is not there",
    "generation": "shared bytes that nothing uses",
    "mark": "it says that bytes are about to go, and they are gone",
    "bytes": "bytes without a sidecar: a store or a delete that died",
    "temporary": "bytes on their way, whose process died",
    "due": "there is no such media",
    "unmarked": "the marker that its sidecar names is not there, so its bytes could go with another's",
    "foreign": "nothing that this format knows",
}
"""Kinds of leftovers, and what a finding says of each."""
_LIVING = "it says that bytes are about to go that are there: no new reference takes them, and that is all"


_SPOOLED = re.compile(r"fsmedia-(?:([1-9][0-9]{0,9})-)?[a-z0-9_]{8}(?:\.[^/]*)?")
SPOOL_GRACE = timedelta(days=1)
UNSIGNED_GRACE = timedelta(days=7)
"""Age from which a file in the machine's temporary folder counts as left behind; the second where its name tells no
process, as those of version 0.1."""


def spooled(grace: timedelta) -> Iterator[tuple[str, int]]:
    """Yield path and size of each file that a dead process of this user left in the machine's temporary folder.

    Only plain files with one name, of this user, 0600, and called as this package calls them. Raises `OSError`.
    """
    with os.scandir(tempfile.gettempdir()) as items:
        for item in items:
            if (name := _SPOOLED.fullmatch(item.name)) is None:
                continue
            wait = SPOOL_GRACE if name[1] else UNSIGNED_GRACE
            try:
                found = item.stat(follow_symlinks=False)
            except FileNotFoundError:  # its process is done with it; many share this folder
                continue
            ours = found.st_uid == os.geteuid() and found.st_mode == stat.S_IFREG | 0o600 and found.st_nlink == 1
            # Of some age too: to a container that shares the folder, the number of a living process may mean none.
            is_old = time.time() - found.st_mtime > max(grace, wait).total_seconds()
            if ours and is_old and not (name[1] and _lives(int(name[1]))):
                yield item.path, found.st_size


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@dataclass(slots=True)
class Generation:
    """Objects of one generation of a blob: its data, markers of references, condemned marks."""

    data: Entry | None = None
    markers: list[Entry] = field(default_factory=list)
    marks: list[Entry] = field(default_factory=list)


class MissingMarkerItem(NamedTuple):
    """A deduplicated media for which the listing showed no marker."""

    key: str  # its reference


class GenerationItem(NamedTuple):
    """A generation, with the listed media that name it."""

    pointer: Pointer
    parts: Generation
    named: dict[str, str]  # prefix of the markers that these media must have -> their reference

    @classmethod
    def of(cls, place: tuple[str, str], parts: Generation, named: dict[str, str]) -> GenerationItem:
        """Return what lies at a digest and a generation."""
        return cls(Pointer(0 if parts.data is None else parts.data.size, *place), parts, named)

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.pointer.data_key

    @property
    def unused(self) -> Entry | None:
        """Its data, if neither a marker nor a sidecar holds them."""
        return None if self.parts.markers or self.named else self.parts.data


class ObjectItem(NamedTuple):
    """An object that may belong to no media."""

    kind: FindingKind
    entry: Entry

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.entry.key


LeftoverItem = MissingMarkerItem | GenerationItem | ObjectItem


def entries_of(item: LeftoverItem) -> list[tuple[FindingKind, Entry]]:
    """Return the objects of a leftover that may be removed."""
    if isinstance(item, MissingMarkerItem):
        return []
    if isinstance(item, ObjectItem):
        return [(item.kind, item.entry)]
    found: list[tuple[FindingKind, Entry]] = [("marker", each) for each in item.parts.markers]
    found += [("mark", each) for each in item.parts.marks]
    return found if item.unused is None else [*found, ("generation", item.unused)]


@dataclass(slots=True)
class LeftoverListing(Listing):
    """What a listing of the whole store showed, where no sidecar is read."""

    generations: dict[tuple[str, str], Generation] = field(default_factory=dict)  # by digest and generation
    named: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)  # same -> marker prefix -> reference
    bytes_without: list[Entry] = field(default_factory=list)  # bytes of our own form without a sidecar
    temporary: list[Entry] = field(default_factory=list)
    due: list[tuple[Entry, str]] = field(default_factory=list)
    foreign: list[Entry] = field(default_factory=list)

    def add_internal(self, entry: Entry) -> None:
        """Keep an object of `.fsmedia/`."""
        key = entry.key
        blob, due = keys.parse_blob_key(key), keys.parse_due(key)
        if blob is not None:
            generation = self.generations.setdefault((blob.digest, blob.generation), Generation())
            if blob.kind == "data":
                generation.data = entry
            else:
                (generation.markers if blob.kind == "refs" else generation.marks).append(entry)
        elif due is not None:
            self.due.append((entry, due.reference))
        elif key != keys.CONFIGURATION_KEY and not key.startswith(_OURS):
            self.foreign.append(entry)

    def add_sidecar(self, reference: str) -> None:
        """Note a media by its sidecar."""
        self.sidecars.add(hash(reference))
        pointer = keys.pointer_of(reference)
        if pointer is not None:
            named = self.named.setdefault((pointer.digest, pointer.generation), {})
            named[keys.marker_prefix(reference)] = reference

    def unmarked(self) -> Iterator[LeftoverItem]:
        """Yield the media whose marker the listing did not show."""
        for key, named in self.named.items():
            markers = self.generations.get(key, Generation()).markers
            there = {marker_prefix_of(entry) for entry in markers}
            yield from (MissingMarkerItem(reference) for prefix, reference in named.items() if prefix not in there)

    def items(self) -> Iterator[LeftoverItem]:
        """Yield all that may belong to no media."""
        for key, parts in self.generations.items():
            yield GenerationItem.of(key, parts, self.named.get(key, {}))
        yield from (ObjectItem("temporary", entry) for entry in self.temporary)
        yield from (ObjectItem("bytes", entry) for entry in self.bytes_without)
        yield from (ObjectItem("due", entry) for entry, reference in self.due if not self.has_sidecar(reference))
        yield from (ObjectItem("foreign", entry) for entry in self.foreign)


def find_leftovers(backend: Backend, progress: Callable[[int], object] | None = None) -> LeftoverListing:
    """List the store once."""
    found = LeftoverListing()
    own: list[Entry] = []
    for entry in found.entries(backend, progress):
        if keys.is_left_over(entry.key):
            found.temporary.append(entry)
        elif keys.is_internal(entry.key):
            found.add_internal(entry)
        elif keys.is_sidecar(entry.key):
            found.add_sidecar(keys.media_key(entry.key))
        elif keys.is_own_name(entry.key):
            own.append(entry)
    # Only now: a sidecar sorts after its bytes, but other names may lie between them.
    found.bytes_without = [entry for entry in own if not found.has_sidecar(entry.key)]
    return found


def mend_window(context: VerifyContext, items: Sequence[LeftoverItem]) -> VerifyResult:
    """Report a window of old leftovers, and remove them where that is asked for; one that fails is reported."""
    cleaner = Cleaner(context, VerifyResult())
    for item in items:
        cleaner.clean(item)
    return cleaner.result


@dataclass(slots=True)
class Cleaner:
    """Looks at leftovers again and removes them."""

    context: VerifyContext
    result: VerifyResult

    @property
    def backend(self) -> Backend:
        """Where they lie."""
        return self.context.backend

    def clean(self, item: LeftoverItem) -> None:
        """Deal with one item."""
        if isinstance(item, MissingMarkerItem):
            with self.result.guard(item.key):
                self._restore(item.key)
        elif isinstance(item, GenerationItem):
            # Markers first, then the bytes that they held, then marks that are only needed while there are bytes.
            self._remove_markers(item)
            if item.unused is not None:
                self._attempt("generation", item.unused, "removed: nothing uses it", lambda _: self._release(item))
            for entry in item.parts.marks:
                with self.result.guard(entry.key):
                    self._remove_mark(item, entry)
        elif item.kind in self._ways:
            self._attempt(item.kind, item.entry, *self._ways[item.kind])
        else:
            self._keep(item.kind, item.entry)

    # -- markers -------------------------------------------------------------------------------------------

    def _restore(self, reference: str) -> None:
        """Write the marker that the sidecar of a media names, if there is none."""
        pointer = keys.pointer_of(reference)
        data = self.backend.read(keys.sidecar_key(reference))
        marker = None if data is None else Sidecar.parse(data, reference).marker(reference)
        if pointer is None or marker is None or self.backend.head(pointer.data_key) is None:
            return
        # The marker may have come after the blobs were listed, and the sidecar may have gone since it was read.
        there = self.backend.head(pointer.marker_key(marker)) is not None
        if there or self.backend.head(keys.sidecar_key(reference)) is None:
            return
        if self.context.repairs:
            # If the sidecar goes now, the marker stays for a later sweep: a rewrite may have found it already, and
            # without it would have written a sidecar whose bytes this would let go.
            blobs.put_named_marker(self.backend, pointer, marker, reference)
        self._note("unmarked", pointer.marker_key(marker), 0, "its marker was restored")

    def _remove_markers(self, item: GenerationItem) -> None:
        """Remove old markers whose reference has no sidecar.

        One of a media whose sidecar names another stays, however old: a rewrite that read the sidecar before a copy
        replaced it may be about to name this marker again, and would take the media away if it were gone.
        """
        for entry in item.parts.markers:
            if marker_prefix_of(entry) not in item.named:
                self._attempt("marker", entry, "removed: its media is gone", partial(self._remove_marker, item))

    def _remove_marker(self, item: GenerationItem, entry: Entry) -> bool:
        """Remove an orphan's marker, unless its sidecar is there after all; tell whether it is gone.

        A marker of the sweep's own keeps the bytes meanwhile: between the removal and the look for the sidecar the
        generation would be without one, and another sweep could release it.
        """
        pointer = item.pointer
        body = self.backend.read(entry.key)
        if body is None:
            return False
        reference = body.decode(errors="replace")
        named = reference == _SWEEPER or records.is_reference(reference)  # no other text is looked up on a disk
        if not named or not marker_name(entry).startswith(keys.marker_prefix(reference)):
            return False  # who wrote it can't be told
        own = blobs.put_marker(self.backend, pointer, _SWEEPER)
        self._remove(entry)
        # A sidecar that comes after this look is a writer's that still looks for its marker, and finds it gone.
        back = reference != _SWEEPER and self.backend.head(keys.sidecar_key(reference)) is not None
        if back:
            blobs.put_named_marker(self.backend, pointer, marker_name(entry), reference)
        # The sweep's own marker last: until here no other sweep could find the generation without one.
        delete_one(self.backend, pointer.marker_key(own))
        if self._release(item):
            self._note("generation", pointer.data_key, pointer.size, "removed: nothing uses it any more")
        return not back

    def _release(self, item: GenerationItem) -> bool:
        """Release a generation, unless a listed sidecar names it; tell whether it is gone.

        A named one stays in this pass even without a marker: restoring it may have failed.
        """
        return not item.named and blobs.release(self.backend, item.pointer)

    # -- marks and the rest --------------------------------------------------------------------------------

    def _remove_mark(self, item: GenerationItem, entry: Entry) -> None:
        """Remove an old condemned mark whose data are gone; one on living data only keeps new references away."""
        # Asked now: this very sweep may have released the data that the listing showed.
        if self.backend.head(item.pointer.data_key) is not None:
            self._keep("mark", entry)
        else:
            self._attempt("mark", entry, "removed: its bytes are gone", self._remove)

    @property
    def _ways(self) -> dict[FindingKind, tuple[str, Callable[[Entry], bool]]]:
        """What is done with single objects, by kind."""
        return {
            "temporary": ("removed: its process died", self._remove),
            "bytes": ("removed: no sidecar names them", lambda entry: remove_lone_bytes(self.backend, entry.key)),
            "due": ("removed: there is no such media", self._remove_due),
        }

    def _remove_due(self, entry: Entry) -> bool:
        """Remove a due entry, and put it back if its media came just now."""
        due = keys.parse_due(entry.key)
        if due is None or self.backend.head(keys.sidecar_key(due.reference)) is not None:
            return False
        self._remove(entry)
        if self.backend.head(keys.sidecar_key(due.reference)) is None:
            return True
        # A store put its entry before this removal and its sidecar after the look above: no sweep would find it.
        self.backend.write(entry.key, b"", commit.DUE_TYPE)
        return False

    def _remove(self, entry: Entry) -> bool:
        delete_one(self.backend, entry.key)
        return True

    def _attempt(self, kind: FindingKind, entry: Entry, action: str, act: Callable[[Entry], bool]) -> None:
        """Act on an old object; note what was done, or what went wrong."""
        with self.result.guard(entry.key):
            # By the storage's own times (on disks the later of mtime and ctime): clocks of this machine may be wrong.
            if self.context.is_old(entry) and (not self.context.repairs or act(entry)):
                self._note(kind, entry.key, entry.size, action)

    def _note(self, kind: FindingKind, key: str, size: int, action: str) -> None:
        self.result.find(kind, key, DETAILS[kind], action, done=self.context.repairs, size_bytes=size)

    def _keep(self, kind: FindingKind, entry: Entry) -> None:
        detail = _LIVING if kind == "mark" else DETAILS[kind]
        self.result.find(kind, entry.key, detail, harmless=True, size_bytes=entry.size)


def remove_lone_bytes(backend: Backend, key: str) -> bool:
    """Remove bytes of our own form, if there is still neither sidecar nor hold; tell whether they are gone."""
    # Right before they go: a store slower than the grace may have written its sidecar since the listing.
    if backend.fetch(reads=[keys.sidecar_key(key), keys.hold_key(key)]).reads != [None, None]:
        return False
    delete_one(backend, key)
    return True


def place_of(key: str) -> tuple[str, str]:
    """Return digest and generation in the key of data, a marker or a mark."""
    blob = keys.parse_blob_key(key)
    return ("", "") if blob is None else (blob.digest, blob.generation)


def marker_name(entry: Entry) -> str:
    """Return the name of a marker."""
    return entry.key.rpartition("/")[2]


def marker_prefix_of(entry: Entry) -> str:
    """Return what the names of all markers of one reference begin with."""
    return f"{marker_name(entry).partition('-')[0]}-"
