"""Where the bytes of a preview come from: a media in a storage, or a content in somebody's hands; never more than told.

A source tells its size and reads ranges. Reading stops at a limit, so that looking never costs more than it shows.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from fsmedia.storage import Backend

_BLOCK = 2**20


class Source(Protocol):
    """Bytes of one media."""

    size: int

    def part(self, start: int, end: int) -> bytes:
        """Read from start to before end, less where it ends before; `FileNotFoundError` where it is gone."""

    def whole(self, most: int) -> bytes:
        """Read all, or if it is more than that the first `most + 1` bytes."""


class StoredSource:
    """A media in a storage; one request for each read."""

    def __init__(self, backend: Backend, key: str, size: int) -> None:
        self._backend, self._key, self.size = backend, key, size

    def part(self, start: int, end: int) -> bytes:
        """See `Source.part`."""
        return self._there(self._backend.read_range(self._key, start, end))

    def whole(self, most: int) -> bytes:
        """See `Source.whole`."""
        if self.size > most:
            return self.part(0, most + 1)
        return self._there(self._backend.read_range(self._key, None, None))[: most + 1]

    def _there(self, data: bytes | None) -> bytes:
        if data is None:
            raise FileNotFoundError(self._key)
        return data


class OpenedSource:
    """A file object that can seek."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)

    def part(self, start: int, end: int) -> bytes:
        """See `Source.part`."""
        self._file.seek(start)
        return self._file.read(end - start)

    def whole(self, most: int) -> bytes:
        """See `Source.whole`."""
        return self.part(0, most + 1)


class RangedFile(io.RawIOBase, BinaryIO):
    """A large media as a file object that reads blocks of 1 MiB, keeps them, and ends after so many.

    Raises
    ------
    OSError
        At the read that would be one block too many.
    """

    def __init__(self, source: Source, most_blocks: int) -> None:
        self._source = source
        self._size = source.size
        self._blocks: dict[int, bytes] = {}
        self._left = most_blocks
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read on, within one block at a time."""
        size = self._size if size is None or size < 0 else size
        number, inside = divmod(self._position, _BLOCK)
        if size == 0 or self._position >= self._size:
            return b""
        data = self._block(number)[inside : inside + size]
        self._position += len(data)
        return data

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if self._left == 0:
                raise OSError("more of the file would have to be read than a preview is worth")
            self._left -= 1
            self._blocks[number] = self._source.part(number * _BLOCK, min((number + 1) * _BLOCK, self._size))
        return self._blocks[number]

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move; nothing is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """Tell where it stands."""
        return self._position

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be moved in."""
        return True
