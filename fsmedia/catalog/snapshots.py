"""Snapshots of the catalog in the store: whole Parquet files that never change, of which the last name counts.

A snapshot appears by one atomic write, so a reader sees all of it or an older one; nobody locks. One that was followed
by another stays for the grace, so that who began to read it can go on.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.catalog.refreshing import is_sorted
from fsmedia.catalog.schema import ROW_GROUP, VERSION, Facts, arrow, conform, version_of
from fsmedia.errors import StoreConflictError
from fsmedia.format import keys

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from fsmedia.storage import Backend, Entry

CONTENT_TYPE = "application/vnd.apache.parquet"
_CHUNK = 2**20
_REPEATED = ("run_id", "conversation_id", "session_id", "provider_id", "mime_type", "policy_name", "format", "detail")
_log = logging.getLogger("fsmedia")


class Snapshot(NamedTuple):
    """One snapshot, read.

    Attributes
    ----------
    table
        Our columns and types, whatever it was written with.
    is_newest
        False: newer ones are there that can't be read.
    """

    key: str
    table: pa.Table
    facts: Facts
    is_newest: bool = True


def names(backend: Backend) -> list[Entry]:
    """List the snapshots, the oldest name first."""
    found = backend.children(keys.CATALOG).entries
    return sorted(entry for entry in found if keys.parse_snapshot(entry.key) is not None)


def newest(backend: Backend, entries: list[Entry], *, tolerant: bool = False) -> Snapshot | None:
    """Read the newest snapshot that can be read; None if there is none.

    Parameters
    ----------
    tolerant
        One of a newer version counts as one that can't be read.

    Raises
    ------
    StoreConflictError
        It is of a newer version.
    """
    for entry in reversed(entries):
        data = backend.read_range(entry.key, None, None)
        if data is None:
            continue  # went with the grace since it was listed
        try:
            table, facts = _read(data, entry.key)
        except StoreConflictError as error:
            if not tolerant:
                raise
            _log.info("reading without the catalog: %s", error)
            return None
        except (ValueError, TypeError, OSError, KeyError, OverflowError, arrow().ArrowException) as error:
            _log.warning("%s can't be read (%s): an older one is looked for", entry.key, type(error).__name__)
            continue
        return Snapshot(entry.key, table, facts, entry is entries[-1])
    return None


def table_of(backend: Backend, key: str) -> pa.Table | None:
    """Read one snapshot, also an old one; None if it is gone. What a damaged one makes pyarrow raise comes out."""
    data = backend.read_range(key, None, None)
    return None if data is None else _read(data, key)[0]


def _read(data: bytes, key: str) -> tuple[pa.Table, Facts]:
    pa = arrow()
    from pyarrow import parquet  # noqa: PLC0415

    with parquet.ParquetFile(pa.BufferReader(data)) as file:
        metadata = file.schema_arrow.metadata
        version = version_of(metadata)
        if version > VERSION:
            raise StoreConflictError(
                f"the catalog is of version {version}, this fsmedia reads up to {VERSION}",
                next_step="pip install --upgrade fsmedia",
                key=key,
            )
        facts = Facts.read(metadata)
        table = conform(file.read()).replace_schema_metadata(facts.dump())
    if not is_sorted(table):
        raise ValueError("its rows are not sorted")
    return table, facts


def time_for(now: datetime, entries: list[Entry]) -> datetime:
    """Return the time that a new snapshot's name says: after those that are there, whatever clock wrote them."""
    last = max((found.time for entry in entries if (found := keys.parse_snapshot(entry.key))), default=now)
    try:
        return max(now, last + timedelta(milliseconds=1))
    except OverflowError:
        return now


def publish(backend: Backend, table: pa.Table, time: datetime) -> str:
    """Write a snapshot and return its key.

    Raises
    ------
    StorageError
        It could not be written; the older ones are as they were.
    """
    pa = arrow()
    from pyarrow import parquet  # noqa: PLC0415

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

    Parameters
    ----------
    own
        Key of the snapshot that was written just now: its time is the storage's.

    Returns
    -------
    frozenset of str
        Keys of the snapshots that were there.
    """
    entries = names(backend)
    listed = frozenset(entry.key for entry in entries)
    now = next((backend.touched(entry) for entry in entries if entry.key == own), None)
    if now is None:
        return listed
    old = [
        entry.key
        for entry, next_one in pairwise(entries)
        if (since := backend.touched(next_one)) is not None and since < now - grace and entry.key != own
    ]
    if old:
        for error in backend.delete(old, keep_folders=True).values():
            _log.warning("an old snapshot of the catalog stays: %s", error)
    return listed
