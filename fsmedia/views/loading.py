"""From a catalog to rows: the newest one, brought up to date in memory; nothing is written."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fsmedia import catalog
from fsmedia.views.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from fsmedia.backends import Backend
    from fsmedia.configuration import Configuration

_INSTANTS: Final = frozenset({"timestamp", "modified"})


class Loading:
    """Looks for the rows of a store, again and again.

    Parameters
    ----------
    configuration
        Gives the store's settings.
    max_age
        How old a catalog may be; None takes any.
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

    def __call__(self) -> Rows:
        """Return the rows of now.

        Raises
        ------
        StorageError
            pyarrow is not installed, or the storage does not answer.
        """
        found = catalog.current(self._backend, self._configuration(), max_age=self._max_age, now=self._now())
        return Rows(partial(_column, found.to_arrow()))


def _column(table: Any, name: str) -> list[Any]:
    column = table.column(name)
    values: list[Any] = (column.cast("int64") if name in _INSTANTS else column).to_pylist()
    return values
