"""Getting a catalog: the newest snapshot, or one brought up to date in memory, or in the store."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from fsmedia.catalog import snapshots
from fsmedia.catalog.refreshing import refresh
from fsmedia.catalog.schema import Facts, arrow
from fsmedia.catalog.table import Catalog
from fsmedia.errors import MediaNotFoundError
from fsmedia.format import keys
from fsmedia.models import CatalogRefresh

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from datetime import datetime

    from fsmedia.catalog.snapshots import Snapshot
    from fsmedia.core.settings_file import Founding
    from fsmedia.format.configuration import Configuration
    from fsmedia.storage import Backend

    Progress = Callable[[int], object] | None


def current(backend: Backend, configuration: Configuration, *, max_age: timedelta | None, now: datetime) -> Catalog:
    """Return what the store holds, at most so old; writes nothing.

    Parameters
    ----------
    max_age
        An older snapshot, or none, is brought up to date in memory; None takes the newest snapshot, however old.
    now
        The clock that ages are counted by, aware.

    Raises
    ------
    MediaNotFoundError
        There is no snapshot, and `max_age` is None.
    StoreConflictError
        The snapshot is of a newer version.
    StorageError
        pyarrow is not installed, or the store can't be listed.
    """
    arrow()
    found = snapshots.newest(backend, snapshots.names(backend))
    if max_age is None or (found is not None and timedelta(0) <= now - found.facts.refreshed_at <= max_age):
        return opened(backend, found)
    made = refresh(backend, configuration, None if found is None else found.table, now=now)
    return Catalog(made.table)


def newest(backend: Backend) -> Catalog:
    """Return the newest snapshot, however old.

    Raises
    ------
    MediaNotFoundError
        There is none.
    StoreConflictError
        It is of a newer version.
    StorageError
        pyarrow is not installed, or the store can't be listed.
    """
    arrow()
    return opened(backend, snapshots.newest(backend, snapshots.names(backend)))


def opened(backend: Backend, found: Snapshot | None) -> Catalog:
    """Return a snapshot as a catalog.

    Raises
    ------
    MediaNotFoundError
        There is none.
    """
    if found is None:
        raise MediaNotFoundError(
            "there is no catalog yet", next_step="store.catalog(), or: fsmedia catalog refresh", key=keys.CATALOG
        )
    return Catalog(found.table, file=place(backend, found.key))


def place(backend: Backend, key: str) -> str:
    """Return where other programs find an object of the store: a path of this machine, else a URL."""
    return backend.local_path(key) or f"{backend.url}/{key}"


def refreshed(
    backend: Backend,
    founding: Founding,
    *,
    now: datetime,
    read_only: bool = False,
    executor: Executor | None = None,
    progress: Progress = None,
) -> Catalog:
    """Bring the catalog up to date, and write a snapshot if it changed.

    Raises
    ------
    StorageError
        The store can't be listed, or the snapshot could not be written; readers have the older one.
    StoreConflictError
        The newest snapshot is of a newer version.
    """
    arrow()
    begun = time.monotonic()
    configuration = founding.refresh()
    entries = snapshots.names(backend)
    found = snapshots.newest(backend, entries)
    instant = snapshots.time_for(now, entries)
    previous = None if found is None else found.table
    made = refresh(backend, configuration, previous, now=now, executor=executor, progress=progress)
    same = found is not None and found.is_newest and _same(found, made.table)
    # Nothing is written where nothing is: a mistyped URL must not leave a folder behind.
    wanted = not (same or read_only or (found is None and not entries and not len(made.table)))
    key = found.key if found is not None and same else None
    if wanted:
        founding.settle()
        key = snapshots.publish(backend, made.table, instant)
        listed = snapshots.prune(backend, key, configuration.orphan_grace)
        if found is not None and found.key not in listed:
            # Who took the one before away may have erased media that the listing still showed.
            made = refresh(backend, configuration, made.table, now=now, executor=executor)
            first, key = key, snapshots.publish(backend, made.table, instant + timedelta(milliseconds=1))
            for error in backend.delete([first], keep_folders=True).values():
                raise error
    report = CatalogRefresh.model_construct(
        media=len(made.table),
        read=made.read,
        removed=made.removed,
        snapshot=key,
        written=wanted,
        took=timedelta(seconds=time.monotonic() - begun),
    )
    return Catalog(made.table, file=None if key is None else place(backend, key), report=report)


def _same(found: Snapshot, table: object) -> bool:
    """Tell whether a snapshot says what a table does, but for its time."""
    facts = Facts.read(table.schema.metadata)  # type: ignore[attr-defined]
    return found.facts.root == facts.root and found.facts.settings == facts.settings and found.table.equals(table)
