"""What one listing shows of a store: what may be media, what belongs to them, and the catalog compared.

`.fsmedia/` sorts before nearly all media, so what lies in it is known when they are looked at; the few names that sort
before it wait until then.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypedDict, Unpack

from fsmedia.catalog import refreshed, row_count, snapshots
from fsmedia.catalog.refresh import PreviousRows
from fsmedia.catalog.schema import tokens
from fsmedia.core import promptkit
from fsmedia.core.named import ContentDigest, read_digest
from fsmedia.core.parallel import PER_WINDOW, JobResult, attempt_each
from fsmedia.core.records import ListedPair, paired
from fsmedia.core.settings_file import SettingsFile
from fsmedia.errors import InvalidMediaError, MediaError, StorageError, StoreConflictError
from fsmedia.format import keys
from fsmedia.format.settings import Configuration
from fsmedia.models import Finding, FindingKind
from fsmedia.storage import Backend, Entry
from fsmedia.storage.listing import NestedStores

HELD = "it is held, and stays as it is"
YOUNG = "younger than the grace: it may be on its way"
_CHUNK = 512  # bytes of one request, as many as one PUT stores
_AT_ONCE = 4
KNOWN = tuple(
    f"{folder}/"
    for folder in (keys.DELETIONS, keys.REFERENCES, keys.ERASURES, keys.CATALOG, keys.LOCKS, keys.SWITCHES, keys.ASIDE)
)
_RESOLUTION = timedelta(seconds=1)
"""By so much the storage's clock may seem slow, for answers about one object tell whole seconds."""
_HOLD = re.compile(rf"{re.escape(keys.HOLDS)}/[0-9a-f]{{64}}")
_AFTER = f"{keys.INTERNAL}0"  # sorts after everything in `.fsmedia/`


def check_listing(
    backend: Backend, settings_file: SettingsFile, shown: int, *, whole: bool, force: bool, beside: str = ""
) -> None:
    """Refuse to delete by a listing that shows so little that it may be wrong; `force` says that it is right.

    Only one of the whole store is compared with the catalog; `beside` tells what there is though nothing was listed.
    That `store.json` is gone is refused also with `force`.
    """
    settings_file.look_again()
    if force:
        return
    rows = row_count(backend) if whole else None
    step = "look at the storage; if the listing is right, say so: force=True, --force"
    if rows is not None and shown * 2 < rows:
        raise StorageError(
            f"{backend.url} lists {shown:,} media and the newest catalog has {rows:,}: stopped before anything is "
            "deleted by that",
            next_step=f"{step}, or bring the catalog up to date: fsmedia catalog refresh",
            key=keys.CATALOG,
        )
    if not shown and beside:
        raise StorageError(
            f"{backend.url} lists no media, and {beside}: stopped before anything is deleted by that", next_step=step
        )


@dataclass(frozen=True, slots=True)
class VerifyContext:
    """Settings of a verification that its windows share."""

    backend: Backend
    configuration: Configuration
    before: datetime  # objects last touched before this instant are old
    now: datetime  # the time that repairs write
    deep: bool = False
    repairs: bool = False  # whether to do what is planned
    measure: bool = False  # whether sizes and lengths that sidecars lack are read from the bytes
    completing: bool = False  # whether the due index is partial and a repair is planned that makes it complete

    def is_old(self, entry: Entry | None) -> bool:
        """Tell whether an object is older than the grace, by the storage's own times."""
        touched = None if entry is None else self.backend.touched(entry)
        return touched is not None and touched < self.before


@dataclass(slots=True)
class MediaNeeds:
    """Objects that a media needs besides its bytes and its sidecar: keys of its due entry and its marker."""

    key: str  # its reference
    due: str | None = None
    marker: str | None = None


class RepairOutcome(TypedDict, total=False):
    """What a finding says of its repair, besides what it is."""

    done: bool
    harmless: bool
    size_bytes: int


@dataclass(slots=True)
class VerifyResult(JobResult):
    """Result of a window of a verification."""

    findings: list[Finding] = field(default_factory=list, metadata=PER_WINDOW)
    needs: list[MediaNeeds] = field(default_factory=list, metadata=PER_WINDOW)
    removed: list[str] = field(default_factory=list, metadata=PER_WINDOW)  # references whose sidecar a repair removed
    broken: list[str] = field(default_factory=list)  # keys of shared bytes that are not what they are called
    media: int = 0
    bytes: int = 0
    bytes_read: int = 0

    def find(
        self, kind: FindingKind, key: str, detail: str, repair: str = "", **outcome: Unpack[RepairOutcome]
    ) -> None:
        """Report something that is not as docs/format.md says."""
        self.findings.append(Finding(kind=kind, key=key, detail=detail, repair=repair, **outcome))


class EntryTable:
    """Entries of a listing, compressed, in order; each has a name, by which it is marked as used."""

    def __init__(self) -> None:
        self._used: dict[int, bool] = {}
        self._chunks: list[bytes] = []
        self._open: list[tuple[int, str, int, float | None]] = []

    def __len__(self) -> int:
        return len(self._used)

    def add(self, name: str, entry: Entry) -> None:
        """Add an entry under a name."""
        # Hashes take eight bytes each; two names that share one only keep an unused object longer.
        digest = hash(name)
        self._used.setdefault(digest, False)
        modified = None if entry.modified is None else entry.modified.timestamp()
        self._open.append((digest, entry.key, entry.size, modified))
        if len(self._open) >= _CHUNK:
            # Names of a disk may hold what is no UTF-8; as ASCII with escapes they come back as they were.
            self._chunks.append(zlib.compress(json.dumps(self._open).encode(), 1))
            self._open = []

    def mark_used(self, name: str) -> bool:
        """Mark an entry as used by something; False if there is none of that name."""
        digest = hash(name)
        if digest not in self._used:
            return False
        self._used[digest] = True
        return True

    def entries(self, *, used: bool) -> Iterator[Entry]:
        """Yield the entries that something uses, or those that nothing uses, in the order of the listing."""
        if used not in self._used.values():
            return
        for rows in (*(json.loads(zlib.decompress(chunk)) for chunk in self._chunks), self._open):
            for digest, key, size, modified in rows:
                if self._used[digest] is used:
                    yield Entry(key, size, None if modified is None else datetime.fromtimestamp(modified, UTC))


@dataclass(slots=True, kw_only=True)
class Listing:
    """One listing of a whole store."""

    examined: int = 0
    sidecars: set[int] = field(default_factory=set)  # hashes of references; two that share one keep a leftover longer
    nested: NestedStores = field(default_factory=NestedStores)  # stores below this one, which nothing is known of

    def entries(self, backend: Backend, progress: Callable[[int], object] | None) -> Iterator[Entry]:
        """List the store."""
        for entry in self.nested.entries(backend):
            self.examined += 1
            if progress is not None and self.examined % 1000 == 0:
                progress(self.examined)
            yield entry

    def has_sidecar(self, reference: str) -> bool:
        """Tell whether a sidecar of that name was listed; `Survey` knows only if there are due entries or markers."""
        return hash(reference) in self.sidecars

    def forget(self, reference: str) -> None:
        """Note that a sidecar which was listed is gone: what else names its media is left over."""
        self.sidecars.discard(hash(reference))


@dataclass(slots=True)
class Survey(Listing):
    """One listing of a store: yields what may be media, and keeps what lies in `.fsmedia/`."""

    catalog: CatalogComparison
    settings: bool = False
    own: bool = False
    quarantined: int = 0
    data: EntryTable = field(default_factory=EntryTable)  # by key and size
    markers: EntryTable = field(default_factory=EntryTable)
    due: EntryTable = field(default_factory=EntryTable)
    absent: dict[str, list[str]] = field(default_factory=dict)  # shared bytes not as named -> their media
    marks: list[Entry] = field(default_factory=list)
    holds: dict[str, str | None] = field(default_factory=dict)  # key -> held name, if it was listed
    strays: EntryTable = field(default_factory=EntryTable)  # temporary files and what this format does not know
    index: dict[str, list[str]] = field(default_factory=dict)  # PromptKit's: endings of paths -> digests
    index_met: set[str] = field(default_factory=set)  # digests whose path leads somewhere
    index_error: MediaError | None = None

    def pairs(self, backend: Backend, progress: Callable[[int], object] | None) -> Iterator[ListedPair]:
        """List the store once, and yield what lies outside `.fsmedia/`."""
        # The few names that sort before `.fsmedia/` wait until all that lies there was listed.
        early: list[ListedPair] | None = []
        for pair in paired(self._outside(backend, progress)):
            if early is not None and pair.key > _AFTER:
                for each in early:
                    self._note(each)
                yield from early
                early = None
            if early is None:
                self._note(pair)
                yield pair
            else:
                early.append(pair)
        for each in early or ():
            self._note(each)
        yield from early or ()

    def _outside(self, backend: Backend, progress: Callable[[int], object] | None) -> Iterator[Entry]:
        """Yield entries outside `.fsmedia/`, and keep the rest."""
        for entry in self.entries(backend, progress):
            if keys.is_internal(entry.key):
                self._inside(entry)
            elif keys.is_temporary(entry.key):
                self.strays.add(entry.key, entry)
            elif entry.key == keys.DEDUP_INDEX_KEY:
                self._read_index(backend)
            else:
                yield entry

    def _inside(self, entry: Entry) -> None:
        """Keep an entry of `.fsmedia/`."""
        key = entry.key
        blob = keys.parse_blob_key(key)
        if blob is not None and blob.kind == "data":
            self.data.add(f"{key}\0{entry.size}", entry)
        elif blob is not None and blob.kind == "refs":
            self.markers.add(key, entry)
        elif blob is not None:
            self.marks.append(entry)
        elif keys.parse_due(key) is not None:
            self.due.add(key, entry)
        elif _HOLD.fullmatch(key):
            self.holds[key] = None
        elif key == keys.CONFIGURATION_KEY:
            self.settings = True
        elif keys.parse_snapshot(key) is not None:
            self.catalog.entries.append(entry)
        elif key.startswith(f"{keys.QUARANTINE}/"):
            self.quarantined += 1
        # What was set aside of PromptKit's index is nobody's truth any more, but says what sweeps keep.
        elif key != keys.INDEX_ASIDE_KEY and (keys.is_temporary(key) or not key.startswith(KNOWN)):
            self.strays.add(key, entry)

    def _note(self, pair: ListedPair) -> None:
        """Mark what a media uses, and note its name where other objects may need it."""
        reference = pair.key
        self.catalog.compare(pair)
        if pair.sidecar is not None:
            if len(self.due) or len(self.markers):
                self.sidecars.add(hash(reference))
            # Whatever the sidecar says, its name alone keeps the bytes.
            pointer = keys.pointer_of(reference)
            if pointer is not None and not self.data.mark_used(f"{pointer.data_key}\0{pointer.size}"):
                self.absent.setdefault(pointer.data_key, []).append(reference)
        if self.holds and (key := keys.hold_key(reference)) in self.holds:
            self.holds[key] = reference
        if keys.is_own_name(reference):
            self.own = self.own or pair.sidecar is not None
        elif self.index and pair.data is not None:
            self.index_met.update(self.index.get(reference, ()))

    def _read_index(self, backend: Backend) -> None:
        try:
            found = promptkit.read_index(backend.read(keys.DEDUP_INDEX_KEY))
        except MediaError as error:
            self.index_error = error
            return
        for digest, path in found.items():
            for ending in promptkit.endings(path):
                self.index.setdefault(ending, []).append(digest)


@dataclass(slots=True)
class CatalogComparison:
    """Compares a listing with the newest snapshot of the catalog, which is read before the first media."""

    backend: Backend
    settings_file: SettingsFile
    young: datetime  # objects written from then on may change and keep their token
    entries: list[Entry] = field(default_factory=list)  # the snapshots that the listing showed
    _rows: PreviousRows | None = None
    _begun: bool = False
    _problem: str = ""
    _unreadable: bool = False
    _met: int = 0
    _differ: int = 0

    def compare(self, pair: ListedPair) -> None:
        """Compare a media with its row."""
        if not self._begun:
            self._begin()
        item = pair.item
        if self._rows is None or item is None:
            return
        row = self._rows.tokens(pair.key)
        if row is None:
            self._differ += 1
            return
        self._met += 1
        if None not in row:
            now = tokens(item, self.young)
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
            self._rows = None if found is None else PreviousRows(found.table)

    def report(self, result: VerifyResult, *, repairs: bool, now: datetime) -> None:
        """Report a catalog that is behind, and refresh it if that is asked for."""
        if not self._begun:
            self._begin()
        if not self.entries:
            return
        key = self.entries[-1].key
        if self._problem:
            result.find("catalog", key, self._problem, harmless=True)
            return
        gone = 0 if self._rows is None else len(self._rows.table) - self._met
        if not (self._unreadable or gone or self._differ):
            return
        detail = "the newest snapshot can't be read"
        if not self._unreadable:
            behind = f"{self._differ:,} media are new or changed, {gone:,} of its rows are of media that are gone"
            detail = f"it is behind: {behind}"
        with result.guard(key):
            if repairs:
                refreshed(self.backend, self.settings_file, now=now)
            result.find("catalog", key, detail, "brought up to date", done=repairs, harmless=not self._unreadable)


def read_digests(backend: Backend, entries: Sequence[Entry]) -> list[ContentDigest | MediaError | None]:
    """Read several listed objects, some at once; an error stands in the place of its object."""

    def one(entry: Entry) -> ContentDigest | None:
        # Twice before it counts as deleted since it was listed: nothing would be said of its bytes.
        found = read_digest(backend, entry.key, entry.size)
        return read_digest(backend, entry.key, entry.size) if found is None else found

    return attempt_each(one, entries, backend, _AT_ONCE)


def check_grace(asked: timedelta | None, grace: timedelta, *, nobody_writes: bool) -> timedelta:
    """Return the grace that counts: the one asked for, or the store's."""
    if asked is None:
        return grace
    if not isinstance(asked, timedelta) or asked < timedelta(0):
        raise InvalidMediaError(f"grace must be a timedelta from 0, not {asked!r}")
    # A slow store looks after its sidecar once half of its own grace has passed; it does not know of a shorter one.
    if asked < grace and not nobody_writes:
        raise InvalidMediaError(
            f"a grace of {asked} is shorter than the store's {grace}: a store under way could lose its bytes",
            next_step="wait, or stop all writers and say so: nobody_writes=True, --nobody-writes",
        )
    return asked


def before(now: datetime, grace: timedelta) -> datetime:
    """Return the instant before which objects are older than the grace; a grace longer than all of time means never."""
    try:
        return now + _RESOLUTION - grace
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
