"""Snapshots of the catalog in the store: whole Parquet files that never change, of which the last name counts.

A snapshot appears by one atomic write, so a reader sees all of it or an older one; nobody locks. One that was followed
by another stays for the grace, so that who began to read it can go on.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from fsmedia import models  # its reports are loaded when one is made
from fsmedia.catalog.refresh import PreviousRows, is_sorted, refresh
from fsmedia.catalog.schema import (
    ATTRIBUTES,
    ROW_GROUP,
    VERSION,
    TableHeader,
    arrow,
    by_dictionary,
    conform,
    settings_digest,
    version_of,
)
from fsmedia.catalog.table import Catalog, mask
from fsmedia.errors import MediaError, MediaNotFoundError, StoreConflictError
from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    import pyarrow as pa

    from fsmedia.core.records import ListedItem
    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.format.settings import Configuration
    from fsmedia.models.selection import Selection
    from fsmedia.storage import Backend, Entry

CONTENT_TYPE = "application/vnd.apache.parquet"
_CHUNK = 2**20
_PUBLISHED = 3
"""How often a refresh publishes, where erasures keep coming between; after that the catalog stays as it was."""
_TAIL = 2**16  # bytes read first of a snapshot's end, where Parquet has its metadata: enough for some 100 row groups
_MAGIC = b"PAR1"
_REPEATED = ("run_id", "conversation_id", "session_id", "provider_id", "mime_type", "policy_name", "format", "detail")
_log = logging.getLogger("fsmedia")


def current(backend: Backend, configuration: Configuration, *, max_age: timedelta | None, now: datetime) -> Catalog:
    """Return a catalog that is at most so old; writes nothing.

    An older snapshot, or none, is brought up to date in memory. Without a `max_age` the newest one will do, however
    old: MediaNotFoundError if there is none, StoreConflictError if it is of a newer version.
    """
    arrow()
    found = newest(backend, names(backend))
    if max_age is None or (found is not None and timedelta(0) <= now - found.header.refreshed_at <= max_age):
        return opened(backend, found)
    return Catalog(refresh(backend, configuration, None if found is None else found.table, now=now).table)


def newest_catalog(backend: Backend) -> Catalog:
    """Return the newest snapshot, however old; MediaNotFoundError if there is none."""
    arrow()
    return opened(backend, newest(backend, names(backend)))


def refreshed(
    backend: Backend,
    settings_file: SettingsFile,
    *,
    now: datetime,
    read_only: bool = False,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
) -> Catalog:
    """Bring the catalog up to date, and write a snapshot if it changed.

    StorageError where the store can't be listed or the snapshot not be written, StoreConflictError where the newest one
    is of a newer version: readers have the older one.
    """
    arrow()
    begun = time.monotonic()
    configuration = settings_file.current()
    # Before the store is listed: marks of erasures that are here now stand for media which that listing can't show.
    before = backend.children(keys.CATALOG).entries
    entries = _snapshots(before)
    found = newest(backend, entries)
    instant = time_for(now, entries)
    previous = None if found is None else found.table
    made = refresh(backend, configuration, previous, now=now, executor=executor, progress=progress)
    same = found is not None and found.is_newest and _same(found, made.table)
    # Nothing is written where nothing is: a mistyped URL must not leave a folder behind.
    wanted = not (same or read_only or (found is None and not entries and not len(made.table)))
    key = found.key if found is not None and same else None
    if wanted:
        settings_file.settle()
        known = frozenset(entry.key for entry in before)
        began_with = frozenset() if found is None else frozenset([found.key])
        for attempt in range(_PUBLISHED):
            key = publish(backend, made.table, instant + timedelta(milliseconds=attempt))
            listed = prune(backend, key, configuration.orphan_grace)
            # Published first and looked after it; an erasure writes its mark and looks for snapshots after that: one of
            # the two sees the other. The other order would let both pass. A snapshot that went tells of an erasure of
            # a version that wrote no marks.
            if not any(map(keys.is_erasure_mark, listed - known)) and began_with <= listed:
                break
            # The listing may have shown what was erased since: these rows must not stay.
            for error in backend.delete([key], keep_folders=True).values():
                raise error
            key, known, began_with = None, listed, frozenset()
            made = refresh(backend, configuration, made.table, now=now, executor=executor)
    report = models.CatalogRefresh.model_construct(
        media=len(made.table),
        read=made.read,
        removed=made.removed,
        snapshot=key,
        written=wanted and key is not None,
        nested_stores=made.nested_stores,
        took=timedelta(seconds=time.monotonic() - begun),
    )
    return Catalog(made.table, file=None if key is None else place(backend, key), report=report)


class Snapshot(NamedTuple):
    """One snapshot with our columns and types; if it is not the newest, newer ones can't be read."""

    key: str
    table: pa.Table
    header: TableHeader
    root: str  # of the store when it was written
    is_newest: bool = True


def names(backend: Backend) -> list[Entry]:
    """List the snapshots, the oldest name first."""
    return _snapshots(backend.children(keys.CATALOG).entries)


def _snapshots(entries: Iterable[Entry]) -> list[Entry]:
    """Return which of the entries are snapshots, the oldest name first."""
    return sorted(entry for entry in entries if keys.parse_snapshot(entry.key) is not None)


def newest(
    backend: Backend, entries: list[Entry], *, tolerant: bool = False, only: Sequence[str] | None = None
) -> Snapshot | None:
    """Read the newest snapshot that can be read, all columns or some; None if there is none.

    One of a newer version is StoreConflictError or, where that is tolerated, counts as none.
    """
    for entry in reversed(entries):
        data = backend.read_range(entry.key, None, None)
        if data is None:
            continue  # went with the grace since it was listed
        try:
            table, header, root = _read(data, entry.key, backend.url, only)
        except StoreConflictError as error:
            if not tolerant:
                raise
            _log.info("reading without the catalog: %s", error)
            return None
        except _unreadable() as error:
            _log.warning("%s can't be read (%s): an older one is looked for", entry.key, type(error).__name__)
            continue
        return Snapshot(entry.key, table, header, root, entry is entries[-1])
    return None


def _unreadable(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return what reading a damaged snapshot may raise."""
    return (*others, ValueError, TypeError, OSError, KeyError, OverflowError, arrow().ArrowException)


def row_count(backend: Backend) -> int | None:
    """Return the number of rows of the newest snapshot, from the end of its file; None where nobody can tell.

    One listing, and a read of the last bytes where there is a snapshot.
    """
    entries = names(backend)
    if not entries or find_spec("pyarrow") is None:
        return None
    pa, parquet = arrow(), arrow().parquet
    last = entries[-1]
    tail = backend.read_range(last.key, max(0, last.size - _TAIL), last.size)
    if tail is None:
        return None
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > len(tail):
        tail = backend.read_range(last.key, max(0, last.size - length), last.size) or b""
    try:
        # Only the end is looked at, so the file may begin with it.
        return int(parquet.read_metadata(pa.BufferReader(_MAGIC + tail[-length:])).num_rows)
    except (ValueError, OSError, pa.ArrowException):
        return None  # a damaged one says nothing; verify reports it


def table_of(backend: Backend, key: str) -> pa.Table | None:
    """Read one snapshot, also an old one; None if it is gone. What a damaged one makes pyarrow raise comes out."""
    data = backend.read_range(key, None, None)
    return None if data is None else _read(data, key, backend.url)[0]


def publish(backend: Backend, table: pa.Table, time: datetime) -> str:
    """Write a snapshot and return its key; where it can't be written, the older ones are as they were."""
    pa, parquet = arrow(), arrow().parquet
    key, sink = keys.snapshot_key(time), pa.BufferOutputStream()
    parquet.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        compression="zstd",
        use_dictionary=list(_REPEATED),
        sorting_columns=[parquet.SortingColumn(table.column_names.index("reference"))],
    )
    data = memoryview(sink.getvalue())
    stage = backend.stage(key)
    try:
        for start in range(0, len(data), _CHUNK):
            stage.write(data[start : start + _CHUNK])
        stage.commit(CONTENT_TYPE)
    finally:
        stage.discard()
    return key


def prune(backend: Backend, own: str, grace: timedelta) -> frozenset[str]:
    """Remove snapshots that another one has followed for longer than the grace, by the storage's own times.

    Marks of erasures go when they are as old: no refresh that began before them is under way any more. `own` is the
    snapshot that was written just now: its time is the storage's. Returns all keys that were there.
    """
    everything = backend.children(keys.CATALOG).entries
    entries = _snapshots(everything)
    listed = frozenset(entry.key for entry in everything)
    now = next((backend.touched(entry) for entry in entries if entry.key == own), None)
    if now is None:
        return listed
    old = [
        entry.key
        for entry, next_one in pairwise(entries)
        if (since := backend.touched(next_one)) is not None and since < now - grace and entry.key != own
    ]
    old += _old_marks(backend, everything, now - grace)
    for error in _delete(backend, old).values():
        _log.warning("an old object of the catalog stays: %s", error)
    return listed


def _delete(backend: Backend, objects: list[str]) -> dict[str, MediaError]:
    """Delete objects of the catalog, if there are any, and return what went wrong."""
    return dict(backend.delete(objects, keep_folders=True)) if objects else {}


def _old_marks(backend: Backend, entries: Iterable[Entry], before: datetime) -> list[str]:
    """Return the keys of marks that no refresh under way can have missed."""
    marks = [entry for entry in entries if keys.is_erasure_mark(entry.key)]
    return [entry.key for entry in marks if (since := backend.touched(entry)) is not None and since < before]


def time_for(now: datetime, entries: list[Entry]) -> datetime:
    """Return the time that a new snapshot's name says: after those that are there, whatever clock wrote them."""
    last = max(filter(None, (keys.parse_snapshot(entry.key) for entry in entries)), default=now)
    try:
        return max(now, last + timedelta(milliseconds=1))
    except OverflowError:
        return now


def opened(backend: Backend, found: Snapshot | None) -> Catalog:
    """Return a snapshot as a catalog; MediaNotFoundError if there is none."""
    if found is None:
        raise MediaNotFoundError(
            "there is no catalog yet", next_step="store.catalog(), or: fsmedia catalog refresh", key=keys.CATALOG
        )
    return Catalog(found.table, file=place(backend, found.key))


def place(backend: Backend, key: str) -> str:
    """Return where other programs find an object of the store: a path of this machine, else a URL."""
    return backend.local_path(key) or f"{backend.url}/{key}"


def _read(data: bytes, key: str, root: str, only: Sequence[str] | None = None) -> tuple[pa.Table, TableHeader, str]:
    """Read a snapshot of the store at a root; returns its rows, its header with that root, and the root it names."""
    pa, parquet = arrow(), arrow().parquet
    with parquet.ParquetFile(pa.BufferReader(data)) as file:
        metadata = file.schema_arrow.metadata
        version = version_of(metadata)
        if version > VERSION:
            raise StoreConflictError(
                f"the catalog is of version {version}, this fsmedia reads up to {VERSION}",
                next_step="pip install --upgrade fsmedia",
                key=key,
            )
        header, texts = TableHeader.read(metadata), sorted(by_dictionary(file) - {ATTRIBUTES})
    written, header = header.root, header._replace(root=root)
    with parquet.ParquetFile(pa.BufferReader(data), read_dictionary=texts) as file:
        table = conform(file, header, root, len(data), only)
    if not is_sorted(table):
        raise ValueError("its rows are not sorted")
    return table, TableHeader.read(table.schema.metadata), written


def _same(found: Snapshot, table: pa.Table) -> bool:
    """Tell whether a snapshot has the rows and the metadata of a table, except for its time."""
    header = TableHeader.read(table.schema.metadata)
    return found.root == header.root and found.header.settings == header.settings and found.table.equals(table)


_WORTH: Final = {False: 4096, True: 64}
"""Sidecars after which a catalog is looked for, by whether the storage is asked over a network.

On a disk so many are read in the time that importing pyarrow takes."""


@dataclass(frozen=True, slots=True)
class CatalogAnswers:
    """Answers to a selection from the newest catalog; see `fsmedia.core.records.SelectionIndexLoader`."""

    backend: Backend
    configuration: Configuration
    selection: Selection

    @property
    def after(self) -> int:
        """Number of sidecars after which a catalog is looked for."""
        return _WORTH[self.backend.asynchronous]

    def load(self) -> RowAnswers | None:
        """Read the newest snapshot; None without pyarrow, without a catalog, or with one that can't be read."""
        if self.backend.in_one_process:
            return None  # memory tells no tokens, and is as fast
        found = _if_readable(self.backend)
        if found is None or found.header.settings != settings_digest(self.configuration):
            return None
        try:
            return RowAnswers(found.table, self.selection)
        except _unreadable() as error:
            _log.warning("listing without the catalog: %s can't be read (%s)", found.key, type(error).__name__)
            return None


def _if_readable(backend: Backend, only: Sequence[str] | None = None) -> Snapshot | None:
    """Read the newest snapshot for a listing, which goes on without it: None without pyarrow, or where that fails."""
    if find_spec("pyarrow") is None:
        return None
    try:
        return newest(backend, names(backend), tolerant=True, only=only)
    except MediaError as error:
        _log.warning("listing without the catalog: %s", error)
        return None


def rows_of_digest(backend: Backend, digest: str) -> list[str] | None:
    """Return the references of rows with bytes of a digest in the newest snapshot; None where none can be read."""
    found = _if_readable(backend, ("reference", "sha256"))
    if found is None:
        return None
    meets = arrow().compute.equal(found.table.column("sha256"), digest)
    rows: list[str] = found.table.column("reference").filter(meets).to_pylist()
    return rows


class RowAnswers:
    """Rows of a catalog, matched against a selection all at once."""

    def __init__(self, table: pa.Table, selection: Selection) -> None:
        self._before = PreviousRows(table)
        self._timestamps = table.column("timestamp")
        chunks = mask(table, selection).cast("uint8").chunks
        self._met = b"".join(
            memoryview(each.buffers()[1]).cast("B")[each.offset : each.offset + len(each)]
            for each in chunks
            if len(each)
        )

    def meets(self, item: ListedItem) -> bool | None:
        """Tell whether a media meets the selection; None: its sidecar or its bytes changed."""
        number = self._before.unchanged(item, _ANY_TIME)
        return None if number is None else bool(self._met[number])

    def timestamp(self, item: ListedItem) -> datetime | None:
        """Return when a media was made; None: its sidecar or its bytes changed, or the row does not tell."""
        number = self._before.unchanged(item, _ANY_TIME)
        found: datetime | None = None if number is None else self._timestamps[number].as_py()
        return found


_ANY_TIME = datetime.max.replace(tzinfo=UTC)
"""A row that has tokens was old enough when it was made, so what shows the same now is."""
_ATTEMPTS = 3  # how often to look whether a refresh that was under way has written such rows again


class ForgetResult(NamedTuple):
    """Keys of the snapshots that were deleted, or in a dry run would be, and what went wrong with others."""

    gone: frozenset[str] = frozenset()
    failed: Mapping[str, MediaError] = {}


def forget(
    backend: Backend,
    settings_file: SettingsFile,
    references: Collection[str],
    words: Mapping[str, str],
    *,
    now: datetime,
    dry_run: bool = False,
    executor: Executor | None = None,
) -> ForgetResult:
    """Remove the rows of media from all snapshots.

    That is, of the media named, which are gone, and rows that have all ids of `words`, unless their media is still
    there. Where it fails, older snapshots may hold the rows.
    """
    gone: set[str] = set()
    failed: dict[str, MediaError] = {}
    mark = None
    # Who erased nothing writes nothing: neither to a store without the subject nor to a mistyped URL.
    if references and not dry_run:
        # When the media are gone and before the snapshots are looked through: a refresh that has listed the media
        # publishes before the look below, which finds its rows, or after it, and then sees this mark.
        mark = keys.erasure_mark(now)
        backend.write(mark, b"", "application/octet-stream")
    for _ in range(_ATTEMPTS):
        everything = backend.children(keys.CATALOG).entries
        written = next((backend.touched(entry) for entry in everything if entry.key == mark), None)
        if written is not None:
            old = _old_marks(backend, everything, written - settings_file.configuration.orphan_grace)
            failed |= _delete(backend, old)
        entries = _snapshots(everything)
        if not entries:
            break
        readable, holding, unreadable = _scan(backend, entries, references, words)
        if not holding and not unreadable:
            break
        if dry_run:
            return ForgetResult(frozenset([*holding, *unreadable]))
        answers = _delete(backend, unreadable)
        if readable:
            refreshed(backend, settings_file, now=now, executor=executor)
        answers |= _delete(backend, holding)
        failed |= answers
        gone |= {*holding, *unreadable} - set(answers)
        if answers:
            break
    return ForgetResult(frozenset(gone), failed)


def _scan(
    backend: Backend, entries: list[Entry], references: Collection[str], words: Mapping[str, str]
) -> tuple[list[str], list[str], list[str]]:
    """Return the keys of the snapshots: those that can be read, those of them with rows to remove, and the others."""
    if find_spec("pyarrow") is None:
        return [], [], [entry.key for entry in entries]
    readable, holding, unreadable = list[str](), list[str](), list[str]()
    for key, table in _tables(backend, entries, MediaError):
        if table is None:
            unreadable.append(key)
            continue
        readable.append(key)
        if _holds(backend, table, references, words):
            holding.append(key)
    return readable, holding, unreadable


def _tables(backend: Backend, entries: list[Entry], *others: type[Exception]) -> Iterator[tuple[str, pa.Table | None]]:
    """Read the snapshots that are still there; None for one that can't be read."""
    for entry in entries:
        try:
            table = table_of(backend, entry.key)
        except _unreadable(*others):
            yield entry.key, None
        else:
            if table is not None:
                yield entry.key, table


def _holds(backend: Backend, table: pa.Table, references: Collection[str], words: Mapping[str, str]) -> bool:
    named = table.column("reference").to_pylist()
    if any(each in references for each in named):
        return True
    columns = (table.column(name).to_pylist() for name in words)
    wanted = tuple(words.values())
    suspects = [reference for reference, *values in zip(named, *columns, strict=True) if tuple(values) == wanted]
    if not suspects:
        return False
    heads = backend.fetch(heads=[*suspects, *map(keys.sidecar_key, suspects)]).heads
    return any(pair == (None, None) for pair in zip(heads[: len(suspects)], heads[len(suspects) :], strict=True))


def rows_of(backend: Backend, references: Collection[str]) -> dict[str, str]:
    """Return which snapshots hold rows of these media: key -> one of them, empty for a snapshot that can't be read."""
    found: dict[str, str] = {}
    entries = names(backend)
    if entries:
        arrow()
    for key, table in _tables(backend, entries):
        named = [] if table is None else table.column("reference").to_pylist()
        first = "" if table is None else next((each for each in named if each in references), None)
        if first is not None:
            found[key] = first
    return found
