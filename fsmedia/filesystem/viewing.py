"""Views at the top of `media://`: folders that show all media in another order, read-only, out of a catalog in memory.

What a path is, and what a folder holds, is answered without a request. Bytes, attributes and `info(metadata=True)` are
read from the media that the path means, under its own reference. A media that is gone meanwhile is not found, and no
part of a media that was overwritten meanwhile is passed off as one of the old.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from fsspec.utils import stringify_path

from fsmedia.catalog.views import FOLDER
from fsmedia.errors import MediaNotFoundError, ReadOnlyStoreError, StorageError
from fsmedia.filesystem.attributes import folder_info
from fsmedia.filesystem.grounds import not_found
from fsmedia.filesystem.sighting import Seen, Sighting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fsmedia.catalog.views import Tree
    from fsmedia.format.layout import View


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

    def ls(self, path: str, detail: bool = True, *, views: bool = True, **kwargs: Any) -> list[Any]:  # noqa: FBT001, FBT002 - fsspec's signature
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
        topdown: bool = True,  # noqa: FBT001, FBT002 - fsspec's signature
        on_error: Any = "omit",
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Walk over folders; from the top not into views, which show the same media again."""
        return super().walk(path, maxdepth, topdown, on_error, **{"views": False, **kwargs})  # type: ignore[no-any-return]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002 - fsspec's signature
        detail: bool = False,  # noqa: FBT001, FBT002
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

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:  # noqa: FBT001, FBT002
        """Delete media, see `Writing.rm`."""
        self._refuse_view(path)
        super().rm(path, recursive, maxdepth)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:  # noqa: FBT001, FBT002
        """Move media, see `Copying.mv`; out of a view they can only be copied."""
        self._refuse_view(path1, path2)
        super().mv(path1, path2, recursive, maxdepth, **kwargs)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:  # noqa: FBT001, FBT002
        """Make an empty file, see `Writing.touch`."""
        self._refuse_view(path)
        super().touch(path, truncate, **kwargs)

    def setxattrs(self, path: str, attributes: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set attributes of a media, see `Attributes.setxattrs`."""
        self._refuse_view(path)
        super().setxattrs(path, attributes, **more)


def _described_at(path: str, tree: Tree, found: int) -> dict[str, Any]:
    return folder_info(path) if found == FOLDER else Seen(path, tree.rows, found).info()
