"""Refreshing a catalog: the old rows and a listing of the store make a new table. Writes nothing.

The root is listed one level deep, then each folder in it whole, so `.fsmedia/` costs nothing, however much lies there.
Only sidecars whose token changed are read.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.catalog.schema import (
    COARSEST,
    TableHeader,
    arrow,
    completed,
    read_rows,
    schema,
    settings_digest,
    tokens,
)
from fsmedia.core import records
from fsmedia.core.parallel import JobResult, run_windows, windows
from fsmedia.format import keys
from fsmedia.storage.listing import NestedStores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    import pyarrow as pa

    from fsmedia.core.records import ListedItem
    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Backend, Entry

_WINDOW = 8192
_BATCH = 2048  # media compared together
_FOLDERS = 32  # folders of one run each, say, that an executor gets at a time


class RefreshedTable(NamedTuple):
    """The new table of a whole store, how many sidecars were read for it, and how many old rows went."""

    table: pa.Table
    read: int
    removed: int
    nested_stores: tuple[str, ...]


def refresh(
    backend: Backend,
    configuration: Configuration,
    previous: pa.Table | None,
    *,
    now: datetime,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
) -> RefreshedTable:
    """Return the table of what the store holds now.

    `previous` is an earlier table of this store, or of one that was moved here; None reads all sidecars. `now` stands
    in the table's metadata; what is too young is told by the machine's clock. What is wrong with one sidecar stands in
    its row; StorageError if the store can't be listed.
    """
    header = TableHeader(backend.url, now, settings_digest(configuration))
    usable = _usable(previous, header)
    context = RefreshContext(backend, configuration, datetime.now(UTC) - COARSEST)
    total = _compare_all(context, PreviousRows(usable), executor, progress)
    total.tables.sort(key=lambda numbered: numbered[0])  # stable: the rows of each part stay in order
    pa, tables = arrow(), (_unpacked(table) for _, table in total.tables)
    whole = _joined([schema().empty_table(), *tables])
    if not is_sorted(whole):
        whole = whole.sort_by("reference")
    nested = NestedStores()
    for folder in sorted(total.nested):
        nested.add(folder)
    removed = 0
    if previous is not None:
        there = pa.compute.is_in(previous.column("reference"), whole.column("reference"))
        removed = len(previous) - (pa.compute.sum(there).as_py() or 0)
    whole, columns = completed(whole, usable)
    metadata = header._replace(attributes=columns).dump()
    return RefreshedTable(whole.replace_schema_metadata(metadata), total.read, removed, nested.told(backend))


def is_sorted(table: pa.Table) -> bool:
    """Tell whether each reference sorts after the one before it."""
    compute = arrow().compute
    references = table.column("reference")
    if references.null_count or len(table) < 2:
        return not references.null_count
    return bool(compute.all(compute.less(references.slice(0, len(table) - 1), references.slice(1))).as_py())


@dataclass(frozen=True, slots=True)
class RefreshContext:
    """Settings of a refresh that its windows share; `before` is as of `token`."""

    backend: Backend
    configuration: Configuration
    before: datetime


@dataclass(frozen=True, slots=True)
class RefreshItem:
    """A part of the store: folders to list whole, files that were listed already, and the old rows of both.

    Parts are numbered in the order of their keys, except for the files of a folder beside its folders. For a worker the
    rows are an Arrow stream.
    """

    number: int
    folders: tuple[str, ...]
    loose: tuple[Entry, ...]
    rows: pa.Table | bytes


@dataclass(slots=True)
class RefreshResult(JobResult):
    """Rows that are up to date (`examined` of them) by the number of their part, and how many sidecars were read."""

    tables: list[tuple[int, pa.Table | bytes]] = field(default_factory=list)
    read: int = 0
    nested: list[str] = field(default_factory=list)


def refresh_window(context: RefreshContext, parts: list[RefreshItem]) -> RefreshResult:
    """Compare one part of the store in a worker."""
    (part,) = parts
    total = RefreshResult()
    for result in compared(context, part):
        total.add(result)
    tables = [schema().empty_table(), *(_unpacked(table) for _, table in total.tables)]
    total.tables = [(part.number, _packed(_joined(tables)))]
    return total


def compared(context: RefreshContext, part: RefreshItem) -> Iterator[RefreshResult]:
    """Compare a part of the store with its old rows, some media at a time."""
    before = PreviousRows(_unpacked(part.rows))
    nested = NestedStores()
    sources = (iter(part.loose), *(nested.entries(context.backend, folder) for folder in part.folders))
    for source in sources:
        for batch in windows(records.listed(source), _BATCH):
            table, read = _rows_of(context, before, batch)
            yield RefreshResult(examined=len(table), tables=[(part.number, table)], read=read)
    yield RefreshResult(nested=list(nested.folders))


def _usable(previous: pa.Table | None, header: TableHeader) -> pa.Table:
    """Return the old rows that may be kept: none under other settings."""
    if previous is None or TableHeader.read(previous.schema.metadata).settings != header.settings:
        return schema().empty_table()
    return previous


def _compare_all(
    context: RefreshContext, before: PreviousRows, executor: Executor | None, progress: Callable[[int], object] | None
) -> RefreshResult:
    """Compare the whole store with its old rows: some media at a time here, or a part at a time in each worker."""
    top, total = context.backend.children(""), RefreshResult()
    folders = sorted((each for each in top.folders if each and not keys.is_internal(each)), key=_as_prefix)
    if executor is not None:
        return run_windows(
            refresh_window,
            context,
            windows(_parts(context.backend, folders, top.entries, before, total), 1),
            total,
            backends=[context.backend],
            key=lambda part: part.folders[0] if part.folders else "",
            again="refresh again",
            executor=executor,
            handle=_raise_failure,
            progress=progress,
        )
    parts = [RefreshItem(0, (), _loose(context.backend, top.entries), before.table)]
    parts += [RefreshItem(number, (folder,), (), before.below(folder)) for number, folder in enumerate(folders, 1)]
    for part in parts:
        for result in compared(context, part):
            total.add(result)
            if progress is not None:
                progress(total.examined)
    return total


def _raise_failure(result: RefreshResult) -> None:
    """Raise what went wrong: a catalog without a part of the store would say that its media are gone."""
    if result.failed:
        raise result.failed[0].error


def _parts(
    backend: Backend, folders: Sequence[str], loose: Sequence[Entry], before: PreviousRows, total: RefreshResult
) -> Iterator[RefreshItem]:
    """Yield a store in parts: the files at the root, then folder by folder what is in it."""
    numbers, nested = count(), NestedStores()
    yield RefreshItem(next(numbers), (), _loose(backend, loose), _packed(before.table) if loose else b"")
    for folder in folders:
        inside = backend.children(folder)
        if nested.is_root(backend, folder, inside.folders):
            total.nested.append(folder)
            continue
        below = sorted(inside.folders, key=_as_prefix)
        if any(each in ("", folder) for each in below) or not below:
            yield RefreshItem(next(numbers), (folder,), (), _packed(before.below(folder)))
            continue
        rows = _packed(before.below(folder)) if inside.entries else b""
        yield RefreshItem(next(numbers), (), _loose(backend, inside.entries), rows)
        for some in windows(below, _FOLDERS):
            yield RefreshItem(next(numbers), tuple(some), (), _packed(before.below(some[0], some[-1])))


def _as_prefix(folder: str) -> str:
    """Sort folders as the keys in them sort."""
    return f"{folder}/"


def _loose(backend: Backend, entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return files of a folder in the order of keys; a sidecar's token is asked for where the listing has none."""
    found = sorted(each for each in entries if keys.is_sidecar(each.key) or not keys.is_hidden(each.key))
    bare = [each.key for each in found if each.token is None and keys.is_sidecar(each.key)]
    heads = dict(zip(bare, backend.fetch(heads=bare).heads if bare else (), strict=True))
    return tuple(each for each in (heads.get(each.key, each) for each in found) if each is not None)


def _rows_of(context: RefreshContext, before: PreviousRows, batch: Sequence[ListedItem]) -> tuple[pa.Table, int]:
    """Return the rows of some media, and how many sidecars were read for them."""
    kept: list[int] = []
    changed: list[ListedItem] = []
    for item in batch:
        if (number := before.unchanged(item, context.before)) is not None:
            kept.append(number)  # so its name was looked at before
        elif records.is_reference(item.entry.key):
            changed.append(item)
    made = read_rows(context.backend, context.configuration, changed, context.before)
    found = [each for each in (_rows(before.table, kept), made) if len(each)]
    if not found:
        return made, 0
    table = _joined(found)
    if len(found) > 1:
        table = table.sort_by("reference")
    return table, sum(item.sidecar is not None for item in changed)


def _rows(table: pa.Table, numbers: list[int]) -> pa.Table:
    """Take rows whose numbers rise; what lies together is not copied."""
    first, count = (numbers[0], numbers[-1] - numbers[0] + 1) if numbers else (0, 0)
    part = table.slice(first, count)
    return part if count == len(numbers) else part.take(arrow().array([each - first for each in numbers]))


def _joined(tables: Iterable[pa.Table]) -> pa.Table:
    """Return the rows of all; those that were made now have no attributes yet, where others do."""
    return arrow().concat_tables([each.replace_schema_metadata() for each in tables], promote_options="default")


def _packed(table: pa.Table) -> bytes:
    """Return rows as an Arrow stream; a pickle of a slice would take all it was cut from along."""
    pa = arrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _unpacked(rows: pa.Table | bytes) -> pa.Table:
    if not isinstance(rows, bytes):
        return rows
    return arrow().ipc.open_stream(rows).read_all() if rows else schema().empty_table()


class PreviousRows:
    """Rows of an older catalog, sorted by reference; a window of them at a time is held as Python objects."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._references = table.column("reference")
        self._end = 0
        self._first = self._last = ""
        self._window: dict[str, tuple[int, tuple[str | None, str | None]]] = {}

    def unchanged(self, item: ListedItem, before: datetime) -> int | None:
        """Return the number of a listed media's row; None if its sidecar or bytes changed (`before`: see `token`)."""
        number, marks = self._find(item.entry.key) or (None, None)
        return number if marks is not None and None not in marks and marks == tokens(item, before) else None

    def tokens(self, reference: str) -> tuple[str | None, str | None] | None:
        """Return the tokens of a media's row, sidecar's and bytes'; None if it has none."""
        row = self._find(reference)
        return None if row is None else row[1]

    def _find(self, key: str) -> tuple[int, tuple[str | None, str | None]] | None:
        if key > self._last and self._end < len(self.table):
            self._load(self._end)
            if key > self._last:
                self._load(self._bisect(key))
        elif key < self._first:
            self._load(self._bisect(key))  # the listing went back: to the folders after the root's own files
        return self._window.get(key)

    def _bisect(self, key: str) -> int:
        """Return the number of the first row at or after a key."""
        return bisect_left(range(len(self.table)), key, key=lambda number: self._references[number].as_py())

    def _load(self, start: int) -> None:
        part = self.table.slice(start, _WINDOW)
        if not len(part):
            return
        self._end = start + len(part)
        names, *marks = (part.column(name).to_pylist() for name in ("reference", "sidecar_token", "bytes_token"))
        numbered = enumerate(zip(*marks, strict=True), start)
        self._window = dict(zip(names, numbered, strict=True))
        self._first, self._last = names[0], names[-1]

    def below(self, first: str, last: str | None = None) -> pa.Table:
        """Return the rows of media below a folder, or from the first to the last of several, in the order of keys."""
        start, end = self._bisect(f"{first}/"), self._bisect(f"{last or first}0")  # "0" follows "/"
        return self.table.slice(start, max(0, end - start))
