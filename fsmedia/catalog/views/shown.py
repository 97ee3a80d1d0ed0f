"""What the views of a store show now: trees in memory, made anew when they are older than they may be.

One thread at a time makes them; others go on with the old ones meanwhile. Nothing is written.
"""

from __future__ import annotations

from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.catalog.views.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from fsmedia.catalog.views.loading import Loaded
    from fsmedia.catalog.views.rows import Rows
    from fsmedia.format.layout import View

_NOTHING = timedelta(0)


class _Made(NamedTuple):
    """Rows, from when until when they will do, and the trees over them by view."""

    rows: Rows
    begun: datetime
    until: datetime | None
    trees: dict[View, Tree]


class Shown:
    """The trees of one store; safe with any number of threads.

    Parameters
    ----------
    load
        Gives the rows of now; it may hand out those it gave before if nothing changed.
    max_age
        How old what is shown may be; 0 looks each time, None never looks again. Where looking takes longer than that,
        what was found will do for as long as it took.
    now
        The clock.
    """

    def __init__(self, load: Callable[[], Loaded], max_age: timedelta | None, now: Callable[[], datetime]) -> None:
        self._load = load
        self._max_age = max_age
        self._now = now
        self._made: _Made | None = None
        self._loading = Lock()
        self._planting = Lock()

    def tree(self, view: View) -> Tree:
        """Return the tree of a view."""
        made = self._current()
        found = made.trees.get(view)
        if found is None:
            with self._planting:
                found = made.trees.get(view)
                if found is None:
                    found = made.trees[view] = Tree(view, made.rows)
        return found

    def _current(self) -> _Made:
        made = self._made
        if made is not None and self._is_fresh(made):
            return made
        # What may not be old at all, and what was never looked at, is waited for.
        if not self._loading.acquire(blocking=made is None or self._max_age == _NOTHING):
            return made  # type: ignore[return-value] # it is there, or this had waited
        try:
            made = self._made
            if made is None or not self._is_fresh(made):
                begun = self._now()
                rows, since = self._load()
                trees = made.trees if made is not None and made.rows is rows else {}
                self._made = made = _Made(rows, begun, self._until(begun, since), trees)
            return made
        finally:
            self._loading.release()

    def _until(self, begun: datetime, since: datetime) -> datetime | None:
        if self._max_age is None:
            return None
        ended = self._now()
        return max(since + self._max_age, ended + (ended - begun))

    def _is_fresh(self, made: _Made) -> bool:
        if made.until is None:
            return True
        # A clock that was set back must not keep the old for ever.
        return self._max_age != _NOTHING and made.begun <= self._now() <= made.until
