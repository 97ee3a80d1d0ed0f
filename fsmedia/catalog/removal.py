"""Removing media from all snapshots: a new one without their rows is written, the older ones that hold any are deleted.

A catalog can always be made again from the sidecars, so a snapshot that can't be read is deleted too: it may hold
anything. Readers that have an older one open go on, or are told that it is gone.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.catalog import snapshots
from fsmedia.catalog.schema import arrow
from fsmedia.catalog.snapshots import refreshed
from fsmedia.errors import MediaError
from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from concurrent.futures import Executor
    from datetime import datetime

    import pyarrow as pa

    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.storage import Backend, Entry

_ATTEMPTS = 3
"""How often to look whether a refresh that was under way has written such rows again."""


class ForgetResult(NamedTuple):
    """Result of removing media from the catalog.

    Attributes
    ----------
    gone
        Keys of the snapshots that were deleted, or in a dry run would be.
    """

    gone: frozenset[str] = frozenset()
    failed: Mapping[str, MediaError] = {}


class _SnapshotScan(NamedTuple):
    """Keys of the snapshots: those that can be read, those of them with rows to remove, and the others."""

    readable: list[str]
    holding: list[str]
    unreadable: list[str]


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

    Parameters
    ----------
    references
        Media that are gone.
    words
        Ids; rows that have all of them go too, unless their media is still there.

    Raises
    ------
    StorageError
        The catalog can't be listed or written. Older snapshots may hold the rows then.
    """
    gone: set[str] = set()
    failed: dict[str, MediaError] = {}
    for _ in range(_ATTEMPTS):
        entries = snapshots.names(backend)
        if not entries:
            break
        if find_spec("pyarrow") is None:
            scan = _SnapshotScan([], [], [entry.key for entry in entries])
        else:
            scan = _scan(backend, entries, references, words)
        if not scan.holding and not scan.unreadable:
            break
        if dry_run:
            return ForgetResult(frozenset([*scan.holding, *scan.unreadable]))
        answers = dict(backend.delete(scan.unreadable, keep_folders=True)) if scan.unreadable else {}
        if scan.readable:
            refreshed(backend, settings_file, now=now, executor=executor)
        if scan.holding:
            answers |= backend.delete(scan.holding, keep_folders=True)
        failed |= answers
        gone |= {*scan.holding, *scan.unreadable} - set(answers)
        if answers:
            break
    return ForgetResult(frozenset(gone), failed)


def _scan(
    backend: Backend, entries: list[Entry], references: Collection[str], words: Mapping[str, str]
) -> _SnapshotScan:
    """Read all snapshots, and tell which have rows to remove."""
    scan = _SnapshotScan([], [], [])
    for entry in entries:
        try:
            table = snapshots.table_of(backend, entry.key)
        except (MediaError, ValueError, TypeError, OSError, KeyError, OverflowError, arrow().ArrowException):
            scan.unreadable.append(entry.key)
            continue
        if table is None:
            continue
        scan.readable.append(entry.key)
        if _holds(backend, table, references, words):
            scan.holding.append(entry.key)
    return scan


def _holds(backend: Backend, table: pa.Table, references: Collection[str], words: Mapping[str, str]) -> bool:
    named = table.column("reference").to_pylist()
    if any(each in references for each in named):
        return True
    columns = [(table.column(name).to_pylist(), value) for name, value in words.items()]
    suspects = [
        reference
        for number, reference in enumerate(named)
        if all(values[number] == wanted for values, wanted in columns)
    ]
    if not suspects:
        return False
    heads = backend.fetch(heads=[*suspects, *map(keys.sidecar_key, suspects)]).heads
    return any(
        data is None and sidecar is None
        for data, sidecar in zip(heads[: len(suspects)], heads[len(suspects) :], strict=True)
    )


def rows_of(backend: Backend, references: Collection[str]) -> dict[str, str]:
    """Return which snapshots hold rows of these media: key -> one of them.

    Raises
    ------
    StorageError
        pyarrow is not installed, or a snapshot can't be read.
    """
    found: dict[str, str] = {}
    entries = snapshots.names(backend)
    if entries:
        arrow()
    for entry in entries:
        try:
            table = snapshots.table_of(backend, entry.key)
        except (ValueError, TypeError, OSError, KeyError, OverflowError, arrow().ArrowException):
            found[entry.key] = ""
            continue
        named = [] if table is None else table.column("reference").to_pylist()
        first = next((each for each in named if each in references), None)
        if first is not None:
            found[entry.key] = first
    return found
