"""Listing a whole store and telling what belongs to no media. Reads only.

Blobs and due entries are listed before the sidecars, for `.fsmedia/` sorts first; a sidecar that came meanwhile is
therefore seen, its marker perhaps not. Every step of `mending.py` looks again before it acts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.format import keys
from fsmedia.format.keys import Pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
