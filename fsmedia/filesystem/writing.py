"""The half of the filesystem that writes, one call at a time: every write commits a media, in the store's order.

New bytes under a name get a sidecar: ids from the path by the store's layouts, MIME type from the name, the default
policy. Bytes that replace others keep their ids, policy and attributes. Copies take their sidecar along, and the ids
that the new path tells.
"""

from __future__ import annotations

import errno
import os
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import stringify_path

from fsmedia.core import commit, holds, promptkit
from fsmedia.core.removals import Removal
from fsmedia.core.telemetry import observed
from fsmedia.errors import InvalidMediaError, StoreConflictError
from fsmedia.filesystem.contents import Contents
from fsmedia.filesystem.grounds import not_found
from fsmedia.filesystem.placement import PlacedFile, Placement
from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


_CHUNK = 2**20
_TOGETHER = 128
_REMOVED_TOGETHER = 500
_MODES = ("overwrite", "create")


class Writing(Contents):
    """Methods of `MediaFileSystem` that change what lies in the store."""

    # -- bytes ---------------------------------------------------------------------------------------------

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,  # noqa: FBT001, FBT002
        cache_options: Any = None,
        content_type: str | None = None,
        **kwargs: Any,
    ) -> BinaryIO:
        """Open a media's bytes: "rb", "wb", "xb" or "ab"; `content_type` says what is written better than its name."""
        del cache_options
        kwargs.pop("cache_type", None)
        kwargs.pop("size", None)
        if kwargs:
            raise InvalidMediaError(f"open takes no {', '.join(sorted(kwargs))}", next_step="leave it out")
        if mode == "rb":
            return self._opened_to_read(path, block_size)
        if mode not in ("wb", "xb", "ab"):
            raise InvalidMediaError(f"media can't be opened with mode {mode!r}", next_step="use rb, wb, xb or ab")
        desk, key = self._desk(), self._free_key(path)
        if mode == "xb" and self.exists(key):
            raise _exists(key)
        self._refuse_folder(key)
        if mode == "ab" and self._transaction is not None:
            self._transaction.refuse_append(key)
        before = self._appended(key) if mode == "ab" else None
        placement = Placement(desk, key, exclusive=mode == "xb", mime_type=content_type)
        return PlacedFile(placement, autocommit=autocommit, before=lambda: before)

    @observed("open")
    def _opened_to_read(self, path: str, block_size: int | None) -> BinaryIO:
        return self._opened(path, block_size)

    def _appended(self, key: str) -> BinaryIO | None:
        try:
            return self._backend.open(key)
        except FileNotFoundError:
            return None

    def _refuse_folder(self, key: str) -> None:
        """Refuse to write a file where folders are kept and one has the name."""
        if self._backend.keeps_folders and self._backend.is_folder(key):
            raise IsADirectoryError(errno.EISDIR, "is a folder: choose another name", key)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Write all bytes of a file.

        Raises
        ------
        StoreConflictError
            `mode="create"`, and there is such a file.
        """
        self._check_mode(mode)
        if self._intrans:
            with self.open(path, "xb" if mode == "create" else "wb") as file:
                file.write(value)
            return
        desk, key = self._desk(), self._free_key(path)
        self._refuse_folder(key)
        Placement(desk, key, exclusive=mode == "create").take(value).commit()

    @observed("store_many")
    def _piped(self, values: Mapping[str, bytes]) -> None:
        """Write many small files, at once where the storage gains from it."""
        desk = self._desk()
        placements = [Placement(desk, self._free_key(path)).take(value) for path, value in values.items()]
        for some in _batches(placements, _TOGETHER):
            there = self._backend.fetch([keys.sidecar_key(item.key) for item in some], [item.key for item in some])
            old = [text if head else None for text, head in zip(there.reads, there.heads, strict=True)]
            holds.refuse(self._backend, *(item.key for item in some))
            promptkit.forget_replaced(self._backend, [item.key for item in some])
            commit.confirmed(commit.store([item.prepare(text) for item, text in zip(some, old, strict=True)]))
            for item in some:
                item.tell()

    def pipe(self, path: Any, value: bytes | None = None, **kwargs: Any) -> None:
        """Write one file, or all of a dict path -> bytes."""
        if isinstance(path, dict):
            if self._intrans or kwargs or not self._backend.asynchronous:
                for each, data in path.items():
                    self.pipe_file(each, data, **kwargs)
            else:
                self._piped(path)
            return
        if value is None:
            raise InvalidMediaError("nothing to write was given", next_step="pipe(path, bytes) or pipe({path: bytes})")
        self.pipe_file(path, value, **kwargs)

    def put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **_: Any
    ) -> None:
        """Copy a file of this machine; of a folder only the folder itself."""
        self._check_mode(mode)
        if os.path.isdir(lpath):  # noqa: PTH112 - lpath may be anything that os takes
            self.makedirs(rpath, exist_ok=True)
            return
        with Path(lpath).open("rb") as source:
            callback.set_size(os.fstat(source.fileno()).st_size)
            with self.open(rpath, "xb" if mode == "create" else "wb") as target:
                while data := source.read(_CHUNK):
                    target.write(data)
                    callback.relative_update(len(data))

    def touch(self, path: str, truncate: bool = True, **_: Any) -> None:  # noqa: FBT001, FBT002
        """Make an empty file, or empty the one that is there; without `truncate` a file stays as it is."""
        if truncate or not self.exists(path):
            self.pipe_file(path, b"")

    @staticmethod
    def _check_mode(mode: str) -> None:
        if mode not in _MODES:
            raise InvalidMediaError(f"unknown mode {mode!r}", next_step=f"use one of {', '.join(_MODES)}")

    # -- removing ------------------------------------------------------------------------------------------

    @observed("delete")
    def rm_file(self, path: str) -> None:
        """Delete one media: its sidecar, then its bytes.

        Raises
        ------
        MediaNotFoundError
            There is none.
        """
        self._desk()
        key = self._existing_key(path)
        if not self._is_file(key):
            raise self._absent(key, look=True)
        self._removed([key])

    @observed("delete_many")
    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:  # noqa: FBT001, FBT002
        """Delete media, and with `recursive` all below folders. A name that exists is never taken for a pattern."""
        self._desk()
        files: dict[str, None] = {}
        folders: dict[str, None] = {}
        for each in [path] if isinstance(path, str | os.PathLike) else path:
            for key, is_folder in self._meant(stringify_path(each), recursive=recursive, maxdepth=maxdepth):
                (folders if is_folder else files)[key] = None
        if folders and not recursive:
            raise IsADirectoryError(errno.EISDIR, "is a folder: remove it with recursive=True", next(iter(folders)))
        self._removed(list(files))
        if maxdepth is None:
            for folder in sorted(folders, reverse=True):
                if folder:
                    self._backend.remove_folder(folder)

    def _meant(self, path: str, *, recursive: bool, maxdepth: int | None) -> Iterator[tuple[str, bool]]:
        """Return the keys that a path or pattern means, and whether each is a folder's."""
        key = self._key(path)
        literal = not has_magic(key) or self.exists(key)
        names = [key] if literal else self.glob(path)
        if not names:
            raise not_found(key)
        for name in names:
            info = self.info(name)
            is_folder = info["type"] == "directory"
            if is_folder:
                self._refuse_link(name)
            yield name, is_folder
            if is_folder and recursive:
                found = self.find(name, maxdepth=maxdepth, withdirs=True, detail=True)
                yield from ((below, each["type"] == "directory") for below, each in found.items())

    def _removed(self, wanted: list[str]) -> None:
        removal = Removal(self._backend, self._configuration(), self._now, self._deletion_log, keep_folders=True)
        if len(wanted) == 1:
            removal.one(wanted[0])
            return
        for some in _batches(wanted, _REMOVED_TOGETHER):
            for error in removal.many(some).values():
                raise error

    # -- folders -------------------------------------------------------------------------------------------

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:  # noqa: FBT001, FBT002
        """Make a folder, where the storage keeps folders without files; elsewhere there is nothing to do.

        Raises
        ------
        StoreConflictError
            Something has the name already.
        """
        key = self._folder_key(path)
        if not self._backend.keeps_folders:
            return
        if self.exists(key):
            raise _exists(key)
        parent = key.rpartition("/")[0]
        if not create_parents and not self.isdir(parent):
            raise not_found(parent)
        self._backend.make_folder(key)

    def makedirs(self, path: str, exist_ok: bool = False, **_: Any) -> None:  # noqa: FBT001, FBT002
        """Make a folder and its parents, see `mkdir`."""
        self._desk()
        if not self._key(path):
            return
        key = self._folder_key(path)
        if not self._backend.keeps_folders:
            return
        if not exist_ok and self.exists(key):
            raise _exists(key)
        self._backend.make_folder(key)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder.

        Raises
        ------
        OSError
            It is not empty (errno ENOTEMPTY).
        """
        key = self._folder_key(path)
        self._refuse_link(key)
        if not self.isdir(key):
            if self._backend.keeps_folders:
                raise not_found(key)
            return
        listing = self._backend.children(key)
        if listing.entries or listing.folders:
            raise OSError(errno.ENOTEMPTY, "is not empty: remove what is in it first", key)
        self._backend.remove_folder(key)

    def _folder_key(self, path: str) -> str:
        self._desk()
        return self._free_key(path, is_folder=True)


def _exists(key: str) -> StoreConflictError:
    return StoreConflictError("exists already", next_step="choose another name, or overwrite it", reference=key)


def _batches(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
