"""From a catalog to rows: the newest snapshot, brought up to date in memory; nothing is written.

What was loaded before is the ground of the next time, so that only what changed since is read: with or without
snapshots in the store, whoever writes them.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fsmedia.catalog import Catalog, snapshots
from fsmedia.catalog.refreshing import refresh
from fsmedia.catalog.schema import arrow
from fsmedia.catalog.views.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from fsmedia.format.configuration import Configuration
    from fsmedia.storage import Backend

_INSTANTS: Final = frozenset({"timestamp", "modified"})
_NOTHING = timedelta(0)


class Loaded(NamedTuple):
    """Rows, and when the listing began that they show."""

    rows: Rows
    since: datetime


class Loading:
    """Looks for the rows of a store, again and again; one call at a time.

    Parameters
    ----------
    configuration
        Gives the store's settings.
    max_age
        How old a snapshot may be that is taken as it is; None takes any.
    now
        The clock.
    """

    def __init__(
        self,
        backend: Backend,
        configuration: Callable[[], Configuration],
        max_age: timedelta | None,
        now: Callable[[], datetime],
    ) -> None:
        self._backend = backend
        self._configuration = configuration
        self._max_age = max_age
        self._now = now
        self._newest: str | None = None
        self._catalog: Catalog | None = None
        self._rows: Rows | None = None

    def __call__(self) -> Loaded:
        """Return the rows of now; the same object as before if they are the same.

        Raises
        ------
        StorageError
            pyarrow is not installed, or the store can't be listed.
        """
        arrow()
        now = self._now()
        before = self._catalog
        found = self._later(before)
        if found is None or not self._is_fresh(found, now):
            previous = None if found is None else found.to_arrow()
            found = Catalog(refresh(self._backend, self._configuration(), previous, now=now).table)
        same = before is not None and before.to_arrow().equals(found.to_arrow())
        if self._rows is None or not same:
            self._rows = Rows(partial(_column, found.to_arrow()))
        self._catalog = found
        return Loaded(self._rows, found.refreshed_at)

    def _later(self, before: Catalog | None) -> Catalog | None:
        """Return the newest snapshot if it is newer than what was loaded before, else that."""
        entries = snapshots.names(self._backend)
        newest = entries[-1].key if entries else None
        if newest is None or newest == self._newest:
            return before
        self._newest = newest
        found = snapshots.newest(self._backend, entries, tolerant=True)
        if found is None or (before is not None and found.facts.refreshed_at <= before.refreshed_at):
            return before
        return Catalog(found.table)

    def _is_fresh(self, found: Catalog, now: datetime) -> bool:
        if self._max_age is None:
            return True
        return self._max_age > _NOTHING and _NOTHING <= now - found.refreshed_at <= self._max_age


def _column(table: Any, name: str) -> list[Any]:
    column = table.column(name)
    values: list[Any] = (column.cast("int64") if name in _INSTANTS else column).to_pylist()
    return values
