"""Taking media out of all snapshots: a new one without their rows, then the older ones that hold any go at once.

A catalog can always be made again from the sidecars, so a snapshot that can't be read goes too: it may hold anything.
Who has an older one open goes on, or is told that it is gone.
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
"""So often it is looked whether a refresh that was under way has written such rows again."""


class Forgotten(NamedTuple):
    """What became of the snapshots.

    Attributes
    ----------
    gone
        Keys of those that went, or in a dry run would.
    """

    gone: frozenset[str] = frozenset()
    failed: Mapping[str, MediaError] = {}


class _Kept(NamedTuple):
    """What the snapshots hold."""

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
) -> Forgotten:
    """Let no snapshot hold rows of these media any more.

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
            kept = _Kept([], [], [entry.key for entry in entries])
        else:
            kept = _kept(backend, entries, references, words)
        if not kept.holding and not kept.unreadable:
            break
        if dry_run:
            return Forgotten(frozenset([*kept.holding, *kept.unreadable]))
        answers = dict(backend.delete(kept.unreadable, keep_folders=True)) if kept.unreadable else {}
        if kept.readable:
            refreshed(backend, settings_file, now=now, executor=executor)
        if kept.holding:
            answers |= backend.delete(kept.holding, keep_folders=True)
        failed |= answers
        gone |= {*kept.holding, *kept.unreadable} - set(answers)
        if answers:
            break
    return Forgotten(frozenset(gone), failed)


def _kept(backend: Backend, entries: list[Entry], references: Collection[str], words: Mapping[str, str]) -> _Kept:
    """Read all snapshots, and tell which hold rows that must go; rows of the words count if the newest lacks them."""
    kept = _Kept([], [], [])
    for entry in entries:
        try:
            table = snapshots.table_of(backend, entry.key)
        except (MediaError, ValueError, TypeError, OSError, KeyError, OverflowError, arrow().ArrowException):
            kept.unreadable.append(entry.key)
            continue
        if table is None:
            continue
        kept.readable.append(entry.key)
        if _holds(backend, table, references, words):
            kept.holding.append(entry.key)
    return kept


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
