"""Views at the top of `media://`: folders that show all media in another order, read-only, out of a catalog in memory.

What a path is, and what a folder holds, is answered without a request. Bytes, attributes and `info(metadata=True)` are
read from the media that the path means, under its own reference. A media that is gone meanwhile is not found, and no
part of a media that was overwritten meanwhile is passed off as one of the old.
"""

from __future__ import annotations

import errno
import math
import os
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from fsspec.utils import stringify_path

from fsmedia.catalog.views import FOLDER, Loading, Rows, Shown, Tree
from fsmedia.errors import InvalidMediaError, MediaNotFoundError, ReadOnlyStoreError, StorageError
from fsmedia.filesystem.base import Opening, folder_info, not_found
from fsmedia.format import keys
from fsmedia.format.views import DEFAULT_VIEWS, PLAIN_FOLDERS, may_be_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from fsmedia.format.views import View

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
        settled = self._settings_file is not None and self._settings_file.is_settled
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


class Viewing(Sighting):
    """Methods of `MediaFileSystem` where a path may be one of a view; any other path goes to the storage."""

    # -- looking and listing -------------------------------------------------------------------------------

    def info(self, path: str, *, metadata: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Describe a file or folder, see `Reading.info`; in a view with the media's own path, as `reference`."""
        key = self._key(path)
        view = self._view_of(key)
        if view is None:
            return super().info(path, metadata=metadata, **kwargs)
        if key == view.name and view in self._views():
            return folder_info(key)  # without a look at what is in it
        tree, found = self._found_in(view, key)
        if found is None:
            raise not_found(key)
        if found == FOLDER:
            return folder_info(key)
        seen = Seen(key, tree.rows, found)
        if not metadata:
            return seen.info()
        with seen:
            described = self._described(seen.reference, metadata=True)
            if described is None:
                raise not_found(seen.reference)
        return {**described, "name": key, "reference": seen.reference}

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Tell whether there is a file or folder."""
        view = self._view_of(self._key(path))
        return super().exists(path, **kwargs) if view is None else self._kind(path) is not None

    def isfile(self, path: str) -> bool:
        """Tell whether there is a file."""
        view = self._view_of(self._key(path))
        return super().isfile(path) if view is None else self._kind(path) == "file"

    def isdir(self, path: str) -> bool:
        """Tell whether there is a folder."""
        view = self._view_of(self._key(path))
        return super().isdir(path) if view is None else self._kind(path) == "directory"

    def _kind(self, path: str) -> str | None:
        try:
            kind: str = self.info(path)["type"]
        except MediaNotFoundError:
            return None
        return kind

    def ls(self, path: str, detail: bool = True, *, views: bool = True, **kwargs: Any) -> list[Any]:
        """List a folder, see `Reading.ls`; the top shows views too, unless told not to."""
        key = self._key(path)
        view = self._view_of(key)
        if view is not None:
            found = self._listed_in(view, key)
        elif key or not views:
            return super().ls(path, detail, **kwargs)
        else:
            found = super().ls(path, detail=True, **kwargs)
            there = {info["name"] for info in found}
            found += [folder_info(each.name) for each in self._views() if each.name not in there]
        return found if detail else sorted(info["name"] for info in found)

    def _listed_in(self, view: View, key: str) -> list[dict[str, Any]]:
        tree, found = self._found_in(view, key)
        if found is None:
            raise not_found(key)
        if found != FOLDER:
            return [Seen(key, tree.rows, found).info()]
        inner = key[len(view.name) + 1 :]
        return [_described_at(f"{key}/{name}", tree, each) for name, each in tree.children(inner)]

    def walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: Any = "omit",
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Walk over folders; from the top not into views, which show the same media again."""
        return super().walk(path, maxdepth, topdown, on_error, **{"views": False, **kwargs})  # type: ignore[no-any-return]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: Any,
    ) -> Any:
        """List all files below a folder, see `Reading.find`; from the top not those of views."""
        key = self._key(path)
        view = self._view_of(key)
        if view is None:
            return super().find(path, maxdepth, withdirs, detail, **kwargs)
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        tree, found = self._found_in(view, key)
        result: dict[str, dict[str, Any]] = {}
        if found == FOLDER:
            inner = key[len(view.name) + 1 :]
            below = {f"{view.name}/{name}": each for name, each in tree.below(inner, maxdepth)}
            if withdirs:
                below[key] = FOLDER
            begin = f"{key}/{kwargs.get('prefix', '')}"
            names = sorted(
                name
                for name, each in below.items()
                if (withdirs or each != FOLDER) and (name.startswith(begin) or name == key)
            )
            if not detail:
                return names
            result = {name: _described_at(name, tree, below[name]) for name in names}
        elif found is not None:
            result = {key: Seen(key, tree.rows, found).info()}
        return result if detail else list(result)

    # -- reading -------------------------------------------------------------------------------------------

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """Return the bytes of a file, or a part of them, see `Contents.cat_file`.

        Raises
        ------
        StorageError
            A part was asked for, of a media that was overwritten since the view was made: the part may not be what
            was meant. The view shows the new media now.
        """
        seen = self._seen(path)
        if seen is None:
            return super().cat_file(path, start, end, **kwargs)
        with seen:
            data = super().cat_file(seen.reference, start, end, **kwargs)
            if not seen.may_change:
                return data
            if start is None and end is None:
                seen.rows.renew(seen.row, len(data))
                return data
            entry = self._backend.head(seen.reference)
            if entry is None:
                raise not_found(seen.reference)
        if not seen.rows.is_as_shown(seen.row, entry):
            seen.rows.renew(seen.row, entry.size, entry.modified)
            raise StorageError(
                f"{seen.reference} was overwritten since this view was made, so a part of it means something else",
                next_step="look at it again: the view shows what it is now",
                reference=seen.path,
            )
        return data

    def _opened(self, path: str, block_size: int | None = None) -> BinaryIO:
        seen = self._seen(path)
        if seen is None:
            return super()._opened(path, block_size)
        with seen:
            file = super()._opened(seen.reference, block_size)
        if seen.may_change:  # the file tells its true size, and so does the view from now on
            seen.rows.renew(seen.row, file.seek(0, os.SEEK_END))
            file.seek(0)
        return file

    def sign(self, path: str, expiration: int = 3600, **kwargs: Any) -> str:
        """Return a URL under which other programs get the bytes, see `Reading.sign`."""
        return self._through(path, partial(super().sign, expiration=expiration, **kwargs))  # type: ignore[no-any-return]

    def metadata(self, path: str) -> dict[str, Any]:
        """Return all that the store knows of a media, see `Attributes.metadata`."""
        return self._through(path, super().metadata)  # type: ignore[no-any-return]

    def _attributes(self, path: str) -> dict[str, Any]:
        return self._through(path, super()._attributes)  # type: ignore[no-any-return]

    def _through(self, path: str, read: Callable[[str], Any]) -> Any:
        seen = self._seen(path)
        if seen is None:
            return read(path)
        with seen:
            return read(seen.reference)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Copy a media, see `Copying.cp_file`; out of a view too."""
        try:
            seen = self._seen(path1)
        except IsADirectoryError:
            self.makedirs(path2, exist_ok=True)
            return
        if seen is None:
            super().cp_file(path1, path2, **kwargs)
            return
        with seen:
            super().cp_file(seen.reference, path2, **kwargs)

    # -- writing -------------------------------------------------------------------------------------------

    def _refuse_view(self, *paths: Any) -> None:
        """Refuse to change anything in a view.

        Raises
        ------
        ReadOnlyStoreError
            One of the paths is in one.
        """
        for path in paths:
            for each in [path] if isinstance(path, str | os.PathLike) else path:
                key = self._key(stringify_path(each))
                view = self._view_of(key)
                if view is not None:
                    raise ReadOnlyStoreError(
                        f"the view {view.name}/ shows the store in another order and can't be written to",
                        next_step="change a media under its own reference, which info(path)['reference'] tells",
                        reference=key,
                    )

    def _free_key(self, path: str, *, is_folder: bool = False) -> str:
        self._refuse_view(path)
        return super()._free_key(path, is_folder=is_folder)

    def rm_file(self, path: str) -> None:
        """Delete one media, see `Writing.rm_file`."""
        self._refuse_view(path)
        super().rm_file(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete media, see `Writing.rm`."""
        self._refuse_view(path)
        super().rm(path, recursive, maxdepth)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """Move media, see `Copying.mv`; out of a view they can only be copied."""
        self._refuse_view(path1, path2)
        super().mv(path1, path2, recursive, maxdepth, **kwargs)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Make an empty file, see `Writing.touch`."""
        self._refuse_view(path)
        super().touch(path, truncate, **kwargs)

    def setxattrs(self, path: str, attributes: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set attributes of a media, see `Attributes.setxattrs`."""
        self._refuse_view(path)
        super().setxattrs(path, attributes, **more)


def _described_at(path: str, tree: Tree, found: int) -> dict[str, Any]:
    return folder_info(path) if found == FOLDER else Seen(path, tree.rows, found).info()
