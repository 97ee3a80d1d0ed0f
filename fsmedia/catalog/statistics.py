"""What a catalog adds up to: media and bytes by run, type, policy and age, what expires, what sharing saves."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fsmedia.catalog.schema import arrow
from fsmedia.errors import InvalidMediaError
from fsmedia.models import StoreStatistics, Tally, mime

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pyarrow as pa

    from fsmedia.catalog.table import Catalog

DAY = timedelta(days=1)
_AGES = (
    ("under a day", DAY),
    ("a day to a week", 7 * DAY),
    ("a week to 30 days", 30 * DAY),
    ("30 days to a year", 365 * DAY),
)
_OLDEST, _UNKNOWN = "over a year", "unknown"

Counts = dict[Any, tuple[int, int]]
"""Name -> media and bytes."""


def statistics(catalog: Catalog, *, now: datetime, top: int) -> StoreStatistics:
    """Add up a catalog.

    Parameters
    ----------
    now
        What ages and expiries are counted from, aware.
    top
        Most names of runs, types and policies that are told apart, the largest first; the rest stands in one sum.

    Raises
    ------
    InvalidMediaError
        `top` is no number from 1.
    """
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise InvalidMediaError(f"top must be a number from 1, not {top!r}")
    table = _numbers(catalog.to_arrow())
    whole = _tally(None, table)
    types: Counts = defaultdict(lambda: (0, 0))
    for kind, (media, size) in _grouped(table, "mime_type").items():
        essence = mime.essence(kind or "")
        types[essence] = (types[essence][0] + media, types[essence][1] + size)
    runs, other_runs = _largest(_grouped(table, "run_id"), top)
    kinds, other_kinds = _largest(types, top)
    policies, other_policies = _largest(_grouped(table, "policy_name"), top)
    expired, within_day, within_week = (_expiring(table, name, now, until) for name, until in _horizons(now))
    return StoreStatistics(
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
    from pyarrow import compute

    return Tally(name=name, media=len(table), bytes=int(compute.sum(table.column("bytes")).as_py() or 0))


def _grouped(table: pa.Table, name: str) -> Counts:
    found = table.select([name, "bytes"]).group_by(name).aggregate([("bytes", "sum"), ([], "count_all")])
    columns = (found.column(each).to_pylist() for each in (name, "count_all", "bytes_sum"))
    return {value: (media, int(size or 0)) for value, media, size in zip(*columns, strict=True)}


def _largest(counts: Mapping[Any, tuple[int, int]], top: int) -> tuple[tuple[Tally, ...], Tally | None]:
    """Return the names with most bytes, and the sum of the others; None if there are no others."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1][1], -item[1][0], item[0] or ""))
    named = tuple(Tally(name=name or None, media=media, bytes=size) for name, (media, size) in ordered[:top])
    rest = ordered[top:]
    if not rest:
        return named, None
    media, size = (sum(counted[index] for _, counted in rest) for index in (0, 1))
    return named, Tally(name=f"{len(rest)} other{'s' if len(rest) > 1 else ''}", media=media, bytes=size)


def _between(table: pa.Table, name: str, begin: datetime | None, end: datetime | None) -> pa.Table:
    """Return rows with an instant at or after, and before; those without one are in none."""
    pa = arrow()
    from pyarrow import compute

    column = table.column(name)
    met = compute.is_valid(column)
    if begin is not None:
        met = compute.and_(met, compute.greater_equal(column, pa.scalar(begin, column.type)))
    if end is not None:
        met = compute.and_(met, compute.less(column, pa.scalar(end, column.type)))
    return table.filter(met)


def _ages(table: pa.Table, now: datetime) -> tuple[Tally, ...]:
    from pyarrow import compute

    found: list[Tally] = []
    end: datetime | None = None  # what claims to be of the future counts as new
    for name, age in _AGES:
        begin = now - age
        found.append(_tally(name, _between(table, "timestamp", begin, end)))
        end = begin
    found.append(_tally(_OLDEST, _between(table, "timestamp", None, end)))
    found.append(_tally(_UNKNOWN, table.filter(compute.is_null(table.column("timestamp")))))
    return tuple(each for each in found if each.media)


def _horizons(now: datetime) -> tuple[tuple[str, datetime | None], ...]:
    return ("expired", None), ("within a day", now + DAY), ("within a week", now + 7 * DAY)


def _expiring(table: pa.Table, name: str, now: datetime, until: datetime | None) -> Tally:
    if until is None:
        return _tally(name, _between(table, "expires_at", None, now + timedelta(microseconds=1)))  # due: at or before
    return _tally(name, _between(table, "expires_at", now + timedelta(microseconds=1), until))


def _saved(table: pa.Table) -> int:
    """Return how many bytes less lie in the store than its references add up to."""
    from pyarrow import compute

    shared = table.filter(compute.not_equal(table.column("key"), table.column("reference")))
    if not len(shared):
        return 0
    once = shared.group_by("key").aggregate([("bytes", "max")]).column("bytes_max")
    return int(compute.sum(shared.column("bytes")).as_py()) - int(compute.sum(once).as_py())
