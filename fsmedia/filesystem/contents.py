"""The part of the filesystem that reads bytes, one call at a time; concurrent forms are in `concurrent.py`."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, BinaryIO

from fsspec.callbacks import DEFAULT_CALLBACK

from fsmedia.core import commit
from fsmedia.core.telemetry import observed
from fsmedia.filesystem.grounds import not_found
from fsmedia.filesystem.reading import Reading
from fsmedia.format import keys
from fsmedia.storage import SEEK_BLOCK

_CHUNK = 2**20


class Contents(Reading):
    """Methods of `MediaFileSystem` that read bytes."""

    def _bytes_key(self, key: str) -> str:
        """Return the key of a file's bytes; a deduplicated file must have its sidecar.

        Raises
        ------
        MediaNotFoundError
            It has none.
        """
        found = keys.bytes_key(key)
        if found != key and self._backend.head(keys.sidecar_key(key)) is None:
            raise not_found(key)
        return found

    @observed("retrieve")
    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return the bytes of a file, or a part of them.

        Raises
        ------
        MediaNotFoundError
            There is no such file.
        """
        key = self._existing_key(path)
        data = self._backend.read_range(self._bytes_key(key), start, end)
        if data is None:
            raise self._absent(key)
        return data

    @observed("retrieve")
    def get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **_: Any) -> None:
        """Copy a file to this machine; of a folder only the folder itself."""
        key = self._key(rpath)
        if outfile is None and hasattr(lpath, "write"):
            outfile = lpath
        try:
            source = self._opened(key)
        except IsADirectoryError:
            os.makedirs(lpath, exist_ok=True)  # noqa: PTH103 - lpath may be anything that os takes
            return
        with source:
            callback.set_size(source.seek(0, os.SEEK_END))
            source.seek(0)
            if outfile is not None:
                self._poured(source, outfile, callback)
                return
            Path(lpath).parent.mkdir(parents=True, exist_ok=True)
            with Path(lpath).open("wb") as target:
                self._poured(source, target, callback)

    @staticmethod
    def _poured(source: BinaryIO, target: Any, callback: Any) -> None:
        while data := source.read(_CHUNK):
            target.write(data)
            callback.relative_update(len(data))

    def _opened(self, path: str, block_size: int | None = None) -> BinaryIO:
        """Open a file for reading; a folder is an `IsADirectoryError`."""
        if self.root_marker == self._key(path):
            raise _folder("")
        key = self._existing_key(path)
        with commit.about(key):
            try:
                pointer = keys.pointer_of(key)
                return self._backend.open(
                    self._bytes_key(key),
                    block_size=block_size or self._block_size or SEEK_BLOCK,
                    size=None if pointer is None else pointer.size,
                )
            except FileNotFoundError:
                error: Exception = self._absent(key, look=True)
        raise error

    def _absent(self, key: str, *, look: bool = False) -> Exception:
        """Return the error for what is no file; where a look at folders costs a request, only if told to look."""
        if (look or self._backend.keeps_folders) and self._backend.is_folder(key):
            return _folder(key)
        return not_found(key)


def _folder(key: str) -> IsADirectoryError:
    return IsADirectoryError(errno.EISDIR, "is a folder, not a media; list it", key)
