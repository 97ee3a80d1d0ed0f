"""An opened object whose errors are of this package, also those that come in the middle of reading."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from fsmedia.errors import MediaNotFoundError
from fsmedia.storage.errors import explained
from fsmedia.storage.port import SEEK_BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_AHEAD = 8 * 2**20
"""Bytes that a steady reader gets ahead at most."""

_LINE_AHEAD = 8192


class TranslatedFile(io.BufferedIOBase, BinaryIO):
    """A binary file for reading that passes everything on to fsspec's and explains what goes wrong."""

    def __init__(self, file: Any, key: str, secrets: frozenset[str]) -> None:
        self._file = file
        self._key = key
        self._secrets = secrets
        self._position = 0
        self._ahead = memoryview(b"")
        self._window = 0

    def __repr__(self) -> str:
        return f"<media {self._key!r}{' closed' if self.closed else ''}>"

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, all by default.

        Who reads on where the last read ended gets more and more ahead, so that small reads of a large media do not
        cost a request each; a seek starts small again.
        """
        self._check()
        if size is None or size < 0:
            data = bytes(self._ahead) + self._fetch(-1)
            self._ahead = memoryview(b"")
        elif size <= len(self._ahead):
            data, self._ahead = bytes(self._ahead[:size]), self._ahead[size:]
        else:
            head = bytes(self._ahead)
            fetched = memoryview(self._fetch(max(size - len(head), self._window)))
            data, self._ahead = head + bytes(fetched[: size - len(head)]), fetched[size - len(head) :]
            self._window = min(max(2 * self._window, SEEK_BLOCK), MOST_AHEAD)
        self._position += len(data)
        return data

    read1 = read

    def _fetch(self, size: int) -> bytes:
        with explained(self._key, self._secrets):
            with suppress(FileNotFoundError):
                return cast("bytes", self._file.read(size))
            raise MediaNotFoundError(
                "its bytes are gone: somebody deleted it", next_step="list the store", key=self._key
            )

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move; nothing is fetched before the next read."""
        self._check()
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        if whence == io.SEEK_SET and offset < 0:
            raise ValueError(f"negative seek position {offset}")
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        wanted = max(0, (self._end() if start is None else start) + offset)
        skipped = wanted - self._position
        if 0 <= skipped <= len(self._ahead):
            self._ahead = self._ahead[skipped:]
        else:
            self._ahead, self._window = memoryview(b""), 0
            with explained(self._key, self._secrets):
                self._file.seek(wanted)
        self._position = wanted
        return wanted

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self._end()

    def _end(self) -> int:
        """Return the size; files that do not tell it are asked by a seek."""
        size = getattr(self._file, "size", None)
        if isinstance(size, int):
            return size
        with explained(self._key, self._secrets):
            end: int = self._file.seek(0, io.SEEK_END)
            self._file.seek(self._position + len(self._ahead))
            return end

    def peek(self, size: int = 0, /) -> bytes:
        """Return bytes ahead without moving; `readline` looks for the end of the line in them."""
        self._check()
        if not self._ahead:
            self._ahead = memoryview(self._fetch(max(size, self._window, _LINE_AHEAD)))
            self._window = min(max(2 * self._window, SEEK_BLOCK), MOST_AHEAD)
        return bytes(self._ahead[: max(size, _LINE_AHEAD)])

    def tell(self) -> int:
        """Return the position."""
        self._check()
        return self._position

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close; may be called again."""
        if not self.closed:
            self._file.close()
        super().close()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
