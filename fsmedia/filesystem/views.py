"""Views at the top of `media://`: read-only folders that show all media in another order, from a catalog in memory.

What a path is and what a folder holds is answered without a request. Bytes, attributes and `info(metadata=True)` are
read from the media that the path stands for, under its own reference. A media that was deleted meanwhile is not found,
and a part of one that was overwritten meanwhile is never returned as a part of the old one.
"""

from __future__ import annotations

import errno
import os
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.catalog.views import FOLDER, CatalogRows, RowsLoader, Tree, ViewTrees
from fsmedia.core.settings_file import SettingsFile
from fsmedia.errors import MediaNotFoundError, ReadOnlyStoreError, StorageError
from fsmedia.filesystem.files import folder_info, not_found, times_of
from fsmedia.format import keys
from fsmedia.format.layout import DEFAULT_VIEWS, PLAIN_FOLDERS, may_be_view
from fsmedia.format.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from fsmedia.format.layout import View
    from fsmedia.storage import Backend, Entry

_DEFAULTS = {view.name: view for view in DEFAULT_VIEWS}


class LazySettingsFile:
    """The settings of a root, read on first use: most reads need none."""

    def __init__(self, backend: Backend, now: Callable[[], datetime]) -> None:
        self._backend = backend
        self._now = now
        self.opened: SettingsFile | None = None

    def open(self) -> SettingsFile:
        """Return the settings file; reads it the first time."""
        # Two threads may both read it: they read the same, and the one that is kept does not matter.
        if self.opened is None:
            self.opened = SettingsFile(self._backend, Settings(), self._now)
        return self.opened


class ViewEntry(NamedTuple):
    """A file of a view: the row of the media that it stands for."""

    path: str
    rows: CatalogRows
    row: int

    @property
    def reference(self) -> str:
        """The media's own path."""
        return self.rows.references[self.row]

    @property
    def may_change(self) -> bool:
        """Whether the media can be overwritten: a client chose its name."""
        return not keys.is_own_name(self.reference)

    def info(self) -> dict[str, Any]:
        """Return the `info()` of the file as the catalog knows it."""
        summary = self.rows.summary(self.row)
        return {
            "name": self.path,
            "size": summary.size,
            "type": "file",
            **times_of(summary.modified),
            "ETag": None,
            "mime_type": summary.mime_type,
            "reference": summary.reference,
        }

    def renew(self, size: int) -> None:
        """Show the size that a read found."""
        self.rows.renew(self.row, size)

    def refuse_replaced(self, current: Entry) -> None:
        """Refuse a media that was overwritten since the catalog saw it; the view shows the new one from now on."""
        if self.rows.is_as_shown(self.row, current):
            return
        # Before the error: who looks again after it sees the new size.
        self.rows.renew(self.row, current.size, current.modified)
        problem = f"{self.reference} was overwritten since this view was made, so a part of it means something else"
        raise StorageError(problem, next_step="look at it again: the view shows what it is now", reference=self.path)

    @contextmanager
    def media(self) -> Iterator[str]:
        """Give the media's reference; if it is gone, the view drops the row, and the error names the path here."""
        try:
            yield self.reference
        except MediaNotFoundError:
            # All views of a process share the rows: none of them shows the media any more, until the catalog differs.
            self.rows.forget(self.row)
            problem = f"the media it stands for is gone ({self.reference})"
            raise MediaNotFoundError(problem, next_step="list its folder", reference=self.path) from None


class Views:
    """The views of one store; their data are at most `max_age` old, None never looks again."""

    def __init__(
        self, backend: Backend, settings: LazySettingsFile, max_age: timedelta | None, now: Callable[[], datetime]
    ) -> None:
        self.max_age = max_age
        self._backend = backend
        self._settings = settings
        self._now = now
        # By process: a forked child must not use locks that a thread of its parent may hold.
        self._shown: dict[int, ViewTrees] = {}

    def of(self, key: str) -> ViewReader | None:
        """Return the view that a key is in, or is; None for the path of a media or of a plain folder."""
        first = key.partition("/")[0]
        # The folders of the default layouts come first: reading a media there costs this one look.
        if first in PLAIN_FOLDERS:
            return None
        found = _DEFAULTS.get(first)
        if found is None and may_be_view(first):
            found = self._settings.open().views.get(first)
        return None if found is None else ViewReader(self, found)

    def may_hold(self, key: str) -> bool:
        """Return whether `of` could find a view; unlike `of` this never reads the settings."""
        first, opened = key.partition("/")[0], self._settings.opened
        if opened is not None and opened.is_settled:
            return first in _DEFAULTS or first in opened.views
        return first in _DEFAULTS or may_be_view(first)

    def all(self) -> list[View]:
        """Return all views; none where there is neither a store nor any media."""
        settings = self._settings.open()
        # `views` looks again for settings that somebody made meanwhile, so it comes before `is_settled`.
        own = list(settings.views.values())
        if not settings.is_settled and next(iter(self._backend.entries()), None) is None:
            return []
        return [*DEFAULT_VIEWS, *own]

    def media_at(self, key: str) -> AbstractContextManager[str]:
        """Return a context that gives the reference of the media at a path; outside of views that is the path."""
        view = self.of(key)
        return nullcontext(key) if view is None else view.resolve(key).media()

    def refuse(self, keys: Iterable[str]) -> None:
        """Refuse to change anything in a view."""
        for key in keys:
            if (view := self.of(key)) is not None:
                problem = f"the view {view.name}/ shows the store in another order and can't be written to"
                step = "change a media under its own reference, which info(path)['reference'] tells"
                raise ReadOnlyStoreError(problem, next_step=step, reference=key)

    def tree(self, view: View) -> Tree:
        """Return the folders and files of a view, loaded anew when they are too old."""
        process = os.getpid()
        # setdefault: of threads that begin together all use one object, and look at the store once.
        shown = self._shown.get(process) or self._shown.setdefault(process, self._begin())
        return shown.tree(view)

    def _begin(self) -> ViewTrees:
        load = RowsLoader(self._backend, lambda: self._settings.open().configuration, self.max_age, self._now)
        return ViewTrees(load, self.max_age, self._now)


class ViewReader:
    """One view of a store, to be read; its keys begin with the view's name."""

    __slots__ = ("_view", "_views", "name")

    def __init__(self, views: Views, view: View) -> None:
        self.name = view.name
        self._views = views
        self._view = view

    def resolve(self, key: str) -> ViewEntry:
        """Return the file at a key; `MediaNotFoundError` or `IsADirectoryError` for anything else."""
        tree, found = self._look_up(key)
        if found == FOLDER:
            raise IsADirectoryError(errno.EISDIR, "is a folder, not a media; list it", key)
        return ViewEntry(key, tree.rows, found)

    def info(self, key: str) -> dict[str, Any]:
        """Describe a file or folder; a file with its media's own path, as `reference`."""
        # Whether the view itself exists is known without loading what is in it.
        if key == self.name and self._view in self._views.all():
            return folder_info(key)
        return _info_of(key, *self._look_up(key))

    def kind(self, key: str) -> str | None:
        """Return "file", "directory", or None for what does not exist."""
        try:
            return str(self.info(key)["type"])
        except MediaNotFoundError:
            return None

    def ls(self, key: str) -> list[dict[str, Any]]:
        """List a folder, or a file alone."""
        tree, found = self._look_up(key)
        if found != FOLDER:
            return [ViewEntry(key, tree.rows, found).info()]
        return [_info_of(f"{key}/{name}", tree, each) for name, each in tree.children(self._inside(key))]

    def find(self, key: str, maxdepth: int | None, *, withdirs: bool, detail: bool, prefix: str) -> Any:
        """List all files below a folder, with folders if asked; sorted names, or with `detail` name -> info."""
        try:
            tree, found = self._look_up(key)
        except MediaNotFoundError:
            return {} if detail else []
        if found != FOLDER:
            return {key: ViewEntry(key, tree.rows, found).info()} if detail else [key]
        below = {f"{self.name}/{name}": each for name, each in tree.below(self._inside(key), maxdepth)}
        if withdirs:
            below[key] = FOLDER
        begin = f"{key}/{prefix}"
        names = sorted(
            name
            for name, each in below.items()
            if (withdirs or each != FOLDER) and (name.startswith(begin) or name == key)
        )
        # Names alone are many times quicker than their descriptions.
        return {name: _info_of(name, tree, below[name]) for name in names} if detail else names

    def _look_up(self, key: str) -> tuple[Tree, int]:
        """Return the view's tree, and what a key is in it; `MediaNotFoundError` where it is nothing."""
        # A view that does not exist: a root without settings and media has none, and no catalog is made for it.
        if key != self.name or self._view in self._views.all():
            tree = self._views.tree(self._view)
            if (found := tree.find(self._inside(key))) is not None:
                return tree, found
        raise not_found(key)

    def _inside(self, key: str) -> str:
        return key[len(self.name) + 1 :]


def _info_of(path: str, tree: Tree, found: int) -> dict[str, Any]:
    return folder_info(path) if found == FOLDER else ViewEntry(path, tree.rows, found).info()
