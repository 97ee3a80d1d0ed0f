"""`Catalog`: what a store held at one instant, a row per media, as the tools of the trade want it; and its sums.

Statistics tell media and bytes by run, type, policy and age, what expires, and what sharing saves.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from functools import reduce
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Unpack

from fsmedia import models  # its reports are loaded when one is made
from fsmedia.catalog.schema import ATTRIBUTES, MIXED, AttributeColumns, TableHeader, arrow, attributes_of, xattrs_of
from fsmedia.errors import InvalidMediaError, MediaNotFoundError, StorageError
from fsmedia.models import base, mime
from fsmedia.models.attributes import meets, readable
from fsmedia.models.selection import Selection, SelectionWords, fits_pattern, shows_words
from fsmedia.models.text import plural, shown_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import pyarrow as pa

    from fsmedia.models import AttributeValue, CatalogRefresh, Condition, MediaRecord, StoreStatistics, Tally

_INSTANTS = {"since": "timestamp", "until": "timestamp", "expires_before": "expires_at"}
DAY = timedelta(days=1)
_AGES = {
    "under a day": DAY, "a day to a week": 7 * DAY, "a week to 30 days": 30 * DAY, "30 days to a year": 365 * DAY,
}  # fmt: skip
_BATCH = 8192  # rows whose attributes are Python objects together
_MOST_NAMES = 50  # that an error tells
_OLDEST, _UNKNOWN = "over a year", "unknown"

Counts = dict[Any, tuple[int, int]]  # name -> media and bytes


def mask(table: pa.Table, selection: Selection) -> pa.ChunkedArray:
    """Return which rows a selection means, never null."""
    pa, compute = arrow(), arrow().compute
    met: list[Any] = []
    for name, wanted in selection.words.items():
        if name == "attributes":
            met += [_met(table, each, condition) for each, condition in wanted.items()]
            continue
        column = table.column(_INSTANTS.get(name, name))
        if name == "mime_type":
            kinds = [kind for kind in compute.unique(column).to_pylist() if kind is not None]
            fitting = [kind for kind in kinds if fits_pattern(kind, wanted)]
            met.append(compute.is_in(column, pa.array(fitting, pa.string())))
        elif name in _INSTANTS:
            compare = compute.greater_equal if name == "since" else compute.less
            met.append(compare(column, pa.scalar(wanted, column.type)))
        else:
            met.append(compute.equal(column, wanted) if wanted else compute.is_null(column))
    if not met:
        return pa.chunked_array([pa.array([True] * len(table), pa.bool_())])
    return compute.fill_null(reduce(compute.and_, met), False)


def _met(table: pa.Table, name: str, wanted: Condition) -> pa.ChunkedArray:
    """Return in which rows an attribute meets a condition that was checked, never null."""
    pa, compute, columns = arrow(), arrow().compute, AttributeColumns.read(table.schema.metadata)
    kind = columns.kinds.get(name) if columns is not None else MIXED
    if kind == MIXED or (kind is None and columns is not None and columns.others):
        return pa.chunked_array([[meets(row.get(name), wanted) for row in _rows(table)]], pa.bool_())
    if kind is None:
        return pa.chunked_array([pa.repeat(wanted is None, len(table))])
    column = compute.struct_field(table.column(ATTRIBUTES), name)
    if wanted is None:
        return compute.is_null(column)
    values = compute.list_flatten(column) if kind == "list" else column
    # Each value is asked once, by the same rule that a listing asks by.
    fitting = [each for each in compute.unique(values).to_pylist() if each is not None and meets(each, wanted)]
    found = pa.array(fitting, values.type)
    if kind != "list":
        return compute.is_in(column, found)
    return pa.chunked_array([_any_in(chunk, found) for chunk in column.chunks], pa.bool_())


def _any_in(lists: pa.Array, found: pa.Array) -> pa.Array:
    """Return which lists have one of the texts."""
    compute = arrow().compute
    inside = compute.is_in(compute.list_flatten(lists), found)
    return compute.is_in(arrow().array(range(len(lists))), compute.list_parent_indices(lists).filter(inside))


def _rows(table: pa.Table) -> Iterator[dict[str, AttributeValue]]:
    for batch in table.select(["xattrs"]).to_batches(max_chunksize=_BATCH):
        yield from map(attributes_of, batch.column(0).to_pylist())


def _attribute_names(table: pa.Table) -> Collection[str]:
    """Return the names of attributes that rows have."""
    columns = AttributeColumns.read(table.schema.metadata)
    if columns is not None and not columns.others:
        return columns.kinds.keys()
    return {name for row in _rows(table) for name in row}


class Catalog:
    """A table with a row per media (see `fsmedia.catalog.schema.COLUMNS`), as of `refreshed_at`; it never changes.

    Its `report` says what a refresh did to make it; None: it was only read.
    """

    def __init__(self, table: pa.Table, *, file: str | None = None, report: CatalogRefresh | None = None) -> None:
        self._table = table
        self._header = TableHeader.read(table.schema.metadata)
        self._file = file
        self.report = report
        self._origin = base.NOWHERE

    @property
    def refreshed_at(self) -> datetime:
        """When the listing began that it shows, aware, in UTC, by the clock of who made it."""
        return self._header.refreshed_at

    @property
    def url(self) -> str:
        """The store's root, without secrets."""
        return self._header.root

    @property
    def files(self) -> list[str]:
        """Paths or URLs of the Parquet files with these rows, for DuckDB, Spark and others.

        They never change, and stay for the store's grace after a newer snapshot was written. Rows that lie in no file,
        because they were filtered or the store was opened read-only, are InvalidMediaError.
        """
        if self._file is None:
            raise InvalidMediaError(
                "these rows lie in no file (filtered, or refreshed without writing)",
                next_step="use to_arrow(), or store.catalog().files",
            )
        return [self._file]

    def to_arrow(self) -> pa.Table:
        """Return the rows as a `pyarrow.Table`, not copied."""
        return self._table

    def to_pandas(self, *, thumbnails: bool = False) -> Any:
        """Return a `pandas.DataFrame`; texts and numbers that may be missing are Arrow-backed.

        Parameters
        ----------
        thumbnails
            Add a column `thumbnail`, the first, that a notebook shows as small pictures. They are read when the table
            is looked at, of the rows that it shows. Leave it out of what is written into files.

        Raises
        ------
        StorageError
            pandas, or with `thumbnails` what draws them, is not installed.
        """
        frame = self._table.to_pandas(types_mapper=_package("pandas").ArrowDtype)
        return import_module("fsmedia.catalog.frame").pictured(frame, self._origin) if thumbnails else frame

    def to_polars(self) -> Any:
        """Return the rows as a `polars.DataFrame`."""
        return _package("polars").from_arrow(self._table)

    @shows_words(SelectionWords)
    def filter(self, **words: Unpack[SelectionWords]) -> Catalog:
        """Return the rows that a selection means, as `MediaStore.list` understands it.

        Raises
        ------
        InvalidMediaError
            A condition can't be meant, or no row has an attribute of that name.
        """
        selection = Selection(**words)
        for name in selection.words.get("attributes", {}):
            self._check_attribute(name)
        if not selection.asks():
            return self
        found = Catalog(self._table.filter(mask(self._table, selection)))
        found._origin = self._origin
        return found

    def _check_attribute(self, name: str) -> None:
        if self._header.attributes is not None and name in self._header.attributes.kinds:
            return
        there = sorted(_attribute_names(self._table))
        if name not in there:
            shown = shown_of(len(there), _MOST_NAMES)
            more = f" and {len(there) - shown:,} more" if len(there) > shown else ""
            step = f"there are {', '.join(there[:shown])}{more}" if there else "no media has attributes"
            raise InvalidMediaError(f"no media of this catalog has an attribute {name!r}", next_step=step)

    @property
    def problems(self) -> dict[str, str]:
        """References of media whose sidecar could not be read, and why."""
        compute = arrow().compute
        found = self._table.select(["reference", "problem"]).filter(compute.is_valid(self._table.column("problem")))
        return dict(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, which: int | str) -> MediaRecord:
        """Return the record of a row, by its number or its reference.

        Raises
        ------
        IndexError
            There is no row of that number.
        MediaNotFoundError
            There is no row of that reference.
        """
        place = which
        if isinstance(place, str):
            place = arrow().compute.index(self._table.column("reference"), place).as_py()
            if place < 0:
                raise MediaNotFoundError("the catalog has no such media", next_step="refresh it", reference=str(which))
        (row,) = self._table.slice(range(len(self))[place], 1).to_pylist()
        known = {name: row[name] for name in models.MediaRecord.model_fields if row.get(name) is not None}
        xattrs = xattrs_of(known.pop("xattrs", None))
        record = models.MediaRecord(**{**known, "xattrs": xattrs, "attributes": readable(xattrs)})
        record._origin = self._origin
        return record

    def __iter__(self) -> Iterator[MediaRecord]:
        """Iterate over the records of all rows."""
        return map(self.__getitem__, range(len(self)))

    def __repr__(self) -> str:
        at = f"{self.refreshed_at:%Y-%m-%d %H:%M:%S}Z"
        return f"<Catalog of {self.url}: {len(self):,} media, {len(self._table.column_names)} columns, as of {at}>"

    def _repr_html_(self) -> str | None:
        return base.html_of(self)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        step = f"pip install {name}"
        raise StorageError(f"it needs a package that is not installed ({error})", next_step=step) from None


def statistics(catalog: Catalog, *, now: datetime, top: int) -> StoreStatistics:
    """Add up a catalog; ages and expiries are counted from `now`.

    `top` (from 1, else InvalidMediaError) names of runs, types and policies are told apart, the largest first; the rest
    stands in one sum, unless it is one name.
    """
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise InvalidMediaError(f"top must be a number from 1, not {top!r}")
    table = _numbers(catalog.to_arrow())
    whole = _tally(None, table)
    types: Counts = defaultdict(lambda: (0, 0))
    for kind, (media, size) in _grouped(table, "mime_type").items():
        essence = mime.essence(kind or "")
        types[essence] = (types[essence][0] + media, types[essence][1] + size)
    runs, other_runs = _largest(_grouped(table, "run_id"), top, "run")
    kinds, other_kinds = _largest(types, top, "type")
    policies, other_policies = _largest(_grouped(table, "policy_name"), top, "policy")
    after = now + timedelta(microseconds=1)  # due: at or before now
    horizons = (("expired", None, after), ("within a day", after, now + DAY), ("within a week", after, now + 7 * DAY))
    expired, within_day, within_week = (_tally(name, _between(table, "expires_at", *ends)) for name, *ends in horizons)
    return models.StoreStatistics(
        at=now,
        refreshed_at=catalog.refreshed_at,
        media=whole.media,
        bytes=whole.bytes,
        saved_bytes=_saved(table),
        problems=len(catalog.problems),
        by_run=runs,
        other_runs=other_runs,
        by_mime_type=kinds,
        other_mime_types=other_kinds,
        by_policy=policies,
        other_policies=other_policies,
        by_age=_ages(table, now),
        expired=expired,
        expires_within_day=within_day,
        expires_within_week=within_week,
    )


def _numbers(table: pa.Table) -> pa.Table:
    """Return what is counted, bytes as decimals: sums of what strangers' names claim may exceed 64 bits."""
    pa = arrow()
    names = ["reference", "key", "run_id", "mime_type", "policy_name", "timestamp", "expires_at"]
    return table.select(names).append_column("bytes", table.column("size_bytes").cast(pa.decimal128(38, 0)))


def _tally(name: str | None, table: pa.Table) -> Tally:
    return models.Tally(name=name, media=len(table), bytes=int(arrow().compute.sum(table.column("bytes")).as_py() or 0))


def _grouped(table: pa.Table, name: str) -> Counts:
    found = table.select([name, "bytes"]).group_by(name).aggregate([("bytes", "sum"), ([], "count_all")])
    columns = (found.column(each).to_pylist() for each in (name, "count_all", "bytes_sum"))
    return {value: (media, int(size or 0)) for value, media, size in zip(*columns, strict=True)}


def _largest(counts: Mapping[Any, tuple[int, int]], top: int, what: str) -> tuple[tuple[Tally, ...], Tally | None]:
    """Return the names with most bytes, and the sum of the others, called "17 other runs"; None: there are no others.

    One name more than `top` stands for itself: a sum of it alone would only hide what it is called.
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1][1], -item[1][0], item[0] or ""))
    shown = shown_of(len(ordered), top)
    named = tuple(models.Tally(name=name or None, media=media, bytes=size) for name, (media, size) in ordered[:shown])
    rest = ordered[shown:]
    if not rest:
        return named, None
    media, size = (sum(counted[index] for _, counted in rest) for index in (0, 1))
    return named, models.Tally(name=plural(len(rest), f"other {what}"), media=media, bytes=size)


def _between(table: pa.Table, name: str, begin: datetime | None, end: datetime | None) -> pa.Table:
    """Return rows with an instant at or after, and before; those without one are in none."""
    pa, compute = arrow(), arrow().compute
    column = table.column(name)
    met = [compute.is_valid(column)]
    if begin is not None:
        met.append(compute.greater_equal(column, pa.scalar(begin, column.type)))
    if end is not None:
        met.append(compute.less(column, pa.scalar(end, column.type)))
    return table.filter(reduce(compute.and_, met))


def _ages(table: pa.Table, now: datetime) -> tuple[Tally, ...]:
    # What claims to be of the future counts as new.
    limits = pairwise([None, *(now - age for age in _AGES.values()), None])
    names = zip((*_AGES, _OLDEST), limits, strict=True)
    found = [_tally(name, _between(table, "timestamp", begin, end)) for name, (end, begin) in names]
    found.append(_tally(_UNKNOWN, table.filter(arrow().compute.is_null(table.column("timestamp")))))
    return tuple(each for each in found if each.media)


def _saved(table: pa.Table) -> int:
    """Return how many bytes less lie in the store than its references add up to."""
    compute = arrow().compute
    shared = table.filter(compute.not_equal(table.column("key"), table.column("reference")))
    if not len(shared):
        return 0
    once = shared.group_by("key").aggregate([("bytes", "max")]).column("bytes_max")
    return int(compute.sum(shared.column("bytes")).as_py()) - int(compute.sum(once).as_py())
