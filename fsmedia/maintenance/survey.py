"""One listing of a whole store: media come out as they are met, what lies in `.fsmedia/` is taken down. Reads only.

`.fsmedia/` sorts before nearly all media, so it is known when they are looked at; the few names that sort before it
wait until then.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.catalog import refreshed, snapshots
from fsmedia.catalog.refresh import Before
from fsmedia.catalog.schema import tokens
from fsmedia.core import promptkit
from fsmedia.core.ingest import HEAD_BYTES
from fsmedia.core.parallel import PER_WINDOW, JobResult
from fsmedia.core.records import ListedItem, paired
from fsmedia.errors import MediaError, StoreConflictError
from fsmedia.format import keys
from fsmedia.models import Finding
from fsmedia.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fsmedia.core.records import ListedPair
    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.format.settings import Configuration
    from fsmedia.models import FindingKind
    from fsmedia.storage import Backend

_CHUNK = 512


class Ledger:
    """Entries of a listing, in its order, each known by a text that whoever names it can tell."""

    def __init__(self) -> None:
        self._struck: dict[int, bool] = {}
        self._chunks: list[bytes] = []
        self._open: list[tuple[int, str, int, float | None]] = []

    def __len__(self) -> int:
        return len(self._struck)

    def add(self, text: str, entry: Entry) -> None:
        """Take an entry down under a text."""
        name = hash(text)
        self._struck.setdefault(name, False)
        modified = None if entry.modified is None else entry.modified.timestamp()
        self._open.append((name, entry.key, entry.size, modified))
        if len(self._open) >= _CHUNK:
            # Names of a disk may hold what is no UTF-8; as ASCII with escapes they come back as they were.
            self._chunks.append(zlib.compress(json.dumps(self._open).encode(), 1))
            self._open = []

    def strike(self, text: str) -> bool:
        """Say that something names it; False if it was never taken down."""
        name = hash(text)
        if name not in self._struck:
            return False
        self._struck[name] = True
        return True

    def struck(self) -> Iterator[Entry]:
        """Give the entries that something names, in the order of the listing."""
        return self._entries(struck=True)

    def left(self) -> Iterator[Entry]:
        """Give the entries that nothing names."""
        return self._entries(struck=False)

    def _entries(self, *, struck: bool) -> Iterator[Entry]:
        if struck not in self._struck.values():
            return
        for rows in (*map(_read, self._chunks), self._open):
            for name, key, size, modified in rows:
                if self._struck[name] is struck:
                    yield Entry(key, size, None if modified is None else datetime.fromtimestamp(modified, UTC))


def _read(chunk: bytes) -> list[tuple[int, str, int, float | None]]:
    rows: list[tuple[int, str, int, float | None]] = json.loads(zlib.decompress(chunk))
    return rows


_KNOWN = tuple(f"{folder}/" for folder in (keys.DELETIONS, keys.REFERENCES, keys.ERASURES, keys.CATALOG))
_HOLD = re.compile(rf"{re.escape(keys.HOLDS)}/[0-9a-f]{{64}}")
_AFTER = f"{keys.INTERNAL}0"
"""Sorts after everything in `.fsmedia/`."""


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

    def pairs(self, backend: Backend, progress: Callable[[int], object] | None) -> Iterator[ListedPair]:
        """List everything once."""
        early: list[ListedPair] | None = []
        for pair in paired(self._outside(backend, progress)):
            if early is not None and pair.key > _AFTER:
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

    def _meet(self, pair: ListedPair) -> None:
        """Note what other things may need to know of a media, as far as there are any."""
        reference = pair.key
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


HELD = "it is held, and stays as it is"
YOUNG = "younger than the grace: it may be on its way"


@dataclass(frozen=True, slots=True)
class VerifyContext:
    """What everybody who looks at a part of the store must know.

    Attributes
    ----------
    before
        What was last touched before this instant is old.
    now
        The time of what is written.
    repairs, adopts
        Whether to do what is planned.
    adopting
        Whether adoption is planned; without it files without sidecar are only told.
    """

    backend: Backend
    configuration: Configuration
    before: datetime
    now: datetime
    deep: bool = False
    repairs: bool = False
    adopting: bool = False
    adopts: bool = False

    def is_old(self, entry: Entry | None) -> bool:
        """Tell whether something lies there for longer than the grace, by the storage's own times."""
        touched = None if entry is None else self.backend.touched(entry)
        return touched is not None and touched < self.before


@dataclass(slots=True)
class Fact:
    """What a media needs besides its bytes and its sidecar, as far as the sidecar says."""

    reference: str
    due: str | None = None
    marker: str | None = None


@dataclass(slots=True)
class VerifyResult(JobResult):
    """What came of a window; findings and what media need are dealt with window by window.

    Attributes
    ----------
    broken
        Keys of shared bytes that are not what they are called.
    """

    findings: list[Finding] = field(default_factory=list, metadata=PER_WINDOW)
    facts: list[Fact] = field(default_factory=list, metadata=PER_WINDOW)
    broken: list[str] = field(default_factory=list)
    media: int = 0
    bytes: int = 0
    bytes_read: int = 0

    def find(
        self, kind: FindingKind, key: str, detail: str, repair: str = "", *, done: bool = False, harmless: bool = False
    ) -> None:
        """Note what is not as it should be."""
        found = Finding(kind=kind, key=key, detail=detail, repair=repair, done=done, harmless=harmless)
        self.findings.append(found)


PIECE = 10 * 2**20
"""Bytes of one request: what was stored by one PUT is read by one GET."""
_AT_ONCE = 4


class Content(NamedTuple):
    """What bytes say of themselves."""

    size: int
    sha256: str
    head: bytes


def read(backend: Backend, key: str, size: int) -> Content | None:
    """Read bytes whole; None if they are gone.

    Parameters
    ----------
    size
        As the storage told it: spares the look for more where that is all.
    """
    digest, start, head = hashlib.sha256(), 0, b""
    while True:
        piece = backend.read_range(key, start, start + PIECE)
        if piece is None:
            return None
        if not start:
            head = piece[:HEAD_BYTES]
        digest.update(piece)
        start += len(piece)
        if len(piece) < PIECE or start == size:
            return Content(start, digest.hexdigest(), head)


def read_many(backend: Backend, entries: Sequence[Entry]) -> list[Content | MediaError | None]:
    """Read several; what went wrong with one stands in its place."""

    def one(entry: Entry) -> Content | MediaError | None:
        try:
            return read(backend, entry.key, entry.size)
        except MediaError as error:
            return error

    if len(entries) < 2 or backend.concurrency < 2:
        return [one(entry) for entry in entries]
    with ThreadPoolExecutor(min(len(entries), backend.concurrency, _AT_ONCE)) as threads:
        return list(threads.map(one, entries))


@dataclass(slots=True)
class CatalogWatch:
    """Compares a listing with the newest snapshot of the catalog; reads that once, when the first media is met.

    Attributes
    ----------
    entries
        The snapshots that the listing showed.
    young
        Objects written from then on may change and show the same.
    """

    backend: Backend
    settings_file: SettingsFile
    young: datetime
    entries: list[Entry] = field(default_factory=list)
    _rows: Before | None = None
    _begun: bool = False
    _problem: str = ""
    _unreadable: bool = False
    _met: int = 0
    _differ: int = 0

    def meet(self, pair: ListedPair) -> None:
        """Compare a media with its row."""
        if not self._begun:
            self._begin()
        pointer = keys.pointer_of(pair.key)
        is_media = pair.sidecar is not None and (pair.data is not None or pointer is not None)
        if self._rows is None or not (is_media or (pair.data is not None and not keys.is_own_name(pair.key))):
            return
        row = self._rows.marks(pair.key)
        if row is None:
            self._differ += 1
            return
        self._met += 1
        entry = pair.data
        if pointer is not None and pair.sidecar is not None:
            entry = Entry(pair.key, pointer.size, pair.sidecar.modified, pointer.generation)
        if entry is not None and None not in row:
            now = tokens(ListedItem(entry, pair.sidecar), self.young)
            self._differ += None not in now and now != row

    def _begin(self) -> None:
        self._begun = True
        if not self.entries:
            return
        self.entries.sort()
        try:
            found = snapshots.newest(self.backend, self.entries)
        except StoreConflictError as error:
            self._problem = error.problem
        except MediaError as error:
            self._problem = f"it could not be looked at: {error.problem}"
        else:
            self._unreadable = found is None or not found.is_newest
            self._rows = None if found is None else Before(found.table)

    def tell(self, outcome: VerifyResult, *, repairs: bool, now: datetime) -> None:
        """Tell of the catalog, and bring it up to date where that is asked for."""
        if not self._begun:
            self._begin()
        if not self.entries:
            return
        key = self.entries[-1].key
        if self._problem:
            outcome.find("catalog", key, self._problem, harmless=True)
            return
        gone = 0 if self._rows is None else len(self._rows.table) - self._met
        if not (self._unreadable or gone or self._differ):
            return
        detail = (
            f"it is behind: {self._differ:,} media are new or changed, {gone:,} of its rows are of media that are gone"
        )
        if self._unreadable:
            detail = "the newest snapshot can't be read"
        if repairs:
            try:
                refreshed(self.backend, self.settings_file, now=now)
            except MediaError as error:
                outcome.fail(key, error)
                return
        outcome.find("catalog", key, detail, "brought up to date", done=repairs, harmless=not self._unreadable)
