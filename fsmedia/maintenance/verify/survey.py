"""One listing of a whole store: media come out as they are met, what lies in `.fsmedia/` is taken down. Reads only.

`.fsmedia/` sorts before nearly all media, so it is known when they are looked at; the few names that sort before it
wait until then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.core import promptkit
from fsmedia.errors import MediaError
from fsmedia.format import keys
from fsmedia.maintenance.verify.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsmedia.maintenance.verify.cataloged import CatalogWatch
    from fsmedia.storage import Backend, Entry

_KNOWN = tuple(f"{folder}/" for folder in (keys.DELETIONS, keys.REFERENCES, keys.ERASURES, keys.CATALOG))
_HOLD = re.compile(rf"{re.escape(keys.HOLDS)}/[0-9a-f]{{64}}")
_AFTER = f"{keys.INTERNAL}0"
"""Sorts after everything in `.fsmedia/`."""


class Pair(NamedTuple):
    """What lies at one name outside `.fsmedia/`: bytes, a sidecar, or both.

    Attributes
    ----------
    data
        The bytes at the name itself; those of deduplicated media lie elsewhere.
    """

    reference: str
    data: Entry | None
    sidecar: Entry | None

    @property
    def key(self) -> str:
        """What a report calls it."""
        return self.reference


@dataclass(slots=True)
class Survey:
    """What a listing showed besides media.

    Attributes
    ----------
    data, markers, due
        What lies there, to be struck off by the media that name it: data by key and size, the others by key.
    absent
        Keys of shared bytes that are not there, or not of the right size -> media that name them.
    marks
        Condemned marks.
    holds
        Keys of holds -> the name that each holds, if anything of that name was met.
    lone
        Temporary files and what this format does not know.
    sidecars
        Hashes of the references that have one, where anything was taken down that may need them.
    index
        Endings of the paths in PromptKit's index -> their digests; `index_met` are those that lead somewhere.
    """

    catalog: CatalogWatch
    examined: int = 0
    settings: bool = False
    own: bool = False
    quarantined: int = 0
    data: Ledger = field(default_factory=Ledger)
    markers: Ledger = field(default_factory=Ledger)
    due: Ledger = field(default_factory=Ledger)
    absent: dict[str, list[str]] = field(default_factory=dict)
    marks: list[Entry] = field(default_factory=list)
    holds: dict[str, str | None] = field(default_factory=dict)
    lone: Ledger = field(default_factory=Ledger)
    sidecars: set[int] = field(default_factory=set)
    index: dict[str, list[str]] = field(default_factory=dict)
    index_met: set[str] = field(default_factory=set)
    index_size: int = 0
    index_error: MediaError | None = None

    def pairs(self, backend: Backend, progress: Callable[[int], object] | None) -> Iterator[Pair]:
        """List everything once."""
        early: list[Pair] | None = []
        for pair in _paired(self._outside(backend, progress)):
            if early is not None and pair.reference > _AFTER:
                for each in early:
                    self._meet(each)
                yield from early
                early = None
            if early is None:
                self._meet(pair)
                yield pair
            else:
                early.append(pair)
        for each in early or ():
            self._meet(each)
        yield from early or ()

    def _outside(self, backend: Backend, progress: Callable[[int], object] | None) -> Iterator[Entry]:
        """Give what does not lie in `.fsmedia/`, and take down the rest."""
        for entry in backend.entries():
            self.examined += 1
            if progress is not None and self.examined % 1000 == 0:
                progress(self.examined)
            if keys.is_internal(entry.key):
                self._inside(entry)
            elif keys.is_temporary(entry.key):
                self.lone.add(entry.key, entry)
            elif entry.key == keys.DEDUP_INDEX_KEY:
                self._read_index(backend)
            else:
                yield entry

    def _inside(self, entry: Entry) -> None:
        """Take down what lies in `.fsmedia/`."""
        key = entry.key
        blob = keys.parse_blob_key(key)
        if blob is not None:
            if blob.kind == "data":
                self.data.add(f"{key}\0{entry.size}", entry)
            elif blob.kind == "refs":
                self.markers.add(key, entry)
            else:
                self.marks.append(entry)
        elif keys.parse_due(key) is not None:
            self.due.add(key, entry)
        elif _HOLD.fullmatch(key):
            self.holds[key] = None
        elif key == keys.CONFIGURATION_KEY:
            self.settings = True
        else:
            self._rest(entry)

    def _rest(self, entry: Entry) -> None:
        key = entry.key
        if keys.parse_snapshot(key) is not None:
            self.catalog.entries.append(entry)
        elif key.startswith(f"{keys.QUARANTINE}/"):
            self.quarantined += 1
        elif keys.is_temporary(key) or not key.startswith(_KNOWN):
            self.lone.add(key, entry)

    def _meet(self, pair: Pair) -> None:
        """Note what other things may need to know of a media, as far as there are any."""
        reference = pair.reference
        self.catalog.meet(pair)
        if pair.sidecar is not None:
            if len(self.due) or len(self.markers):
                self.sidecars.add(hash(reference))
            # Whatever the sidecar says, its name alone keeps the bytes.
            pointer = keys.pointer_of(reference)
            if pointer is not None and not self.data.strike(f"{pointer.data_key}\0{pointer.size}"):
                self.absent.setdefault(pointer.data_key, []).append(reference)
        if self.holds:
            key = keys.hold_key(reference)
            if key in self.holds:
                self.holds[key] = reference
        if keys.is_own_name(reference):
            self.own = self.own or pair.sidecar is not None
        elif self.index and pair.data is not None:
            self.index_met.update(self.index.get(reference, ()))

    def has_sidecar(self, reference: str) -> bool:
        """Tell whether a sidecar of that name was listed; known only if entries or markers were taken down."""
        return hash(reference) in self.sidecars

    def _read_index(self, backend: Backend) -> None:
        try:
            found = promptkit.read_index(backend.read(keys.DEDUP_INDEX_KEY))
        except MediaError as error:
            self.index_error = error
            return
        self.index_size = len(found)
        for digest, path in found.items():
            for ending in promptkit.endings(path):
                self.index.setdefault(ending, []).append(digest)


def _paired(entries: Iterator[Entry]) -> Iterator[Pair]:
    """Pair bytes with sidecars in key order; holds only the few names whose sidecar may still come.

    `x` and `x.meta` need not be neighbours (`x-y` sorts between them), but nothing that sorts after `x.meta` lies
    between them.
    """
    waiting: dict[str, Entry] = {}
    for entry in entries:
        if keys.is_sidecar(entry.key):
            name = keys.media_key(entry.key)
            yield Pair(name, waiting.pop(name, None), entry)
        else:
            waiting[entry.key] = entry
        while waiting:
            first = next(iter(waiting))
            if keys.sidecar_key(first) >= entry.key:
                break  # its sidecar may still come
            yield Pair(first, waiting.pop(first), None)
    for name, entry in waiting.items():
        yield Pair(name, entry, None)
