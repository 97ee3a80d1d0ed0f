"""What a path of a view means: the view, its tree in memory, the media a path stands for."""

from __future__ import annotations

import errno
import math
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fsmedia.catalog.views import FOLDER, Loading, Rows, Shown, Tree
from fsmedia.errors import InvalidMediaError, MediaNotFoundError
from fsmedia.filesystem.grounds import not_found
from fsmedia.filesystem.opening import Opening
from fsmedia.format import keys
from fsmedia.format.layout import DEFAULT_VIEWS, PLAIN_FOLDERS, may_be_view

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from fsmedia.format.layout import View

VIEW_MAX_AGE: Final = timedelta(minutes=1)
"""How old what views show may be, unless told."""

_NO_TREE = Tree(DEFAULT_VIEWS[0], Rows(lambda _: ()))
_DEFAULTS = {view.name: view for view in DEFAULT_VIEWS}


def as_age(value: float | timedelta) -> timedelta:
    """Read an age: a timedelta or seconds, from 0.

    Raises
    ------
    InvalidMediaError
        It is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise InvalidMediaError(
            f"view_max_age must be a timedelta or seconds from 0, not {value!r}", next_step="None never looks again"
        )
    return value


class Seen(NamedTuple):
    """A media that a view's path means; as a context it tells the tree, and the caller, if the media is gone."""

    path: str
    rows: Rows
    row: int

    @property
    def reference(self) -> str:
        """The media's own path."""
        return self.rows.references[self.row]

    @property
    def may_change(self) -> bool:
        """Whether other bytes may take its name: a client chose it."""
        return not keys.is_own_name(self.reference)

    def info(self) -> dict[str, Any]:
        """Describe it as the catalog does."""
        facts = self.rows.facts(self.row)
        return {
            "name": self.path,
            "size": facts.size,
            "type": "file",
            "mtime": facts.modified,
            "created": facts.modified,
            "ETag": None,
            "mime_type": facts.mime_type,
            "reference": facts.reference,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, MediaNotFoundError):
            self.rows.forget(self.row)
            raise MediaNotFoundError(
                f"the media it stands for is gone ({self.reference})", next_step="list its folder", reference=self.path
            ) from None


class Sighting(Opening):
    """Methods of `MediaFileSystem` that tell what a path of a view means."""

    _view_max_age: timedelta | None
    _shown: dict[int, Shown]
    """By process: a forked child begins anew."""

    def _view_of(self, key: str) -> View | None:
        """Return the view that a key is, or is in; None for a media's own key, or a folder of those."""
        first = key.partition("/")[0]
        if first in PLAIN_FOLDERS:
            return None
        found = _DEFAULTS.get(first)
        if found is None and may_be_view(first):
            found = self._founded().views.get(first)
        return found

    def _may_be_viewed(self, path: str) -> bool:
        """Tell whether `_view_of` may find something; asks nothing of the storage."""
        first = self._key(path).partition("/")[0]
        if first in PLAIN_FOLDERS:
            return False
        settled = self._founding is not None and self._founding.is_settled
        return first in _DEFAULTS or (may_be_view(first) and not (settled and first not in self._founded().views))

    def _views(self) -> list[View]:
        """Return the views of the store; none where there is neither a store nor any media."""
        mine = list(self._founded().views.values())
        if not self._founded().is_settled and next(iter(self._backend.entries()), None) is None:
            return []
        return [*DEFAULT_VIEWS, *mine]

    def _tree(self, view: View) -> Tree:
        process = os.getpid()
        shown = self._shown.get(process) or self._shown.setdefault(process, self._begun())
        return shown.tree(view)

    def _begun(self) -> Shown:
        age = self._view_max_age
        return Shown(Loading(self._backend, self._configuration, age, self._now), age, self._now)

    def _found_in(self, view: View, key: str) -> tuple[Tree, int | None]:
        """Return a view's tree, and what a key is in it."""
        if key == view.name and view not in self._views():
            return _NO_TREE, None
        tree = self._tree(view)
        return tree, tree.find(key[len(view.name) + 1 :])

    def _seen(self, path: str) -> Seen | None:
        """Return the media that a path means in a view; None if the path is in none.

        Raises
        ------
        MediaNotFoundError, IsADirectoryError
            There is none, or a folder.
        """
        key = self._key(path)
        view = self._view_of(key)
        if view is None:
            return None
        tree, found = self._found_in(view, key)
        if found is None:
            raise not_found(key)
        if found == FOLDER:
            raise IsADirectoryError(errno.EISDIR, "is a folder, not a media; list it", key)
        return Seen(key, tree.rows, found)
