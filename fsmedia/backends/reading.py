"""An opened object whose errors are of this package, also those that come in the middle of reading."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from fsmedia.backends.failures import explained

if TYPE_CHECKING:
    from collections.abc import Iterator


class TranslatedFile(io.BufferedIOBase, BinaryIO):
    """A binary file for reading that passes everything on to fsspec's and explains what goes wrong."""

    def __init__(self, file: Any, key: str, secrets: frozenset[str]) -> None:
        self._file = file
        self._key = key
        self._secrets = secrets

    def __repr__(self) -> str:
        return f"<media {self._key!r}{' closed' if self.closed else ''}>"

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, all by default."""
        self._check()
        with explained(self._key, self._secrets):
            return cast("bytes", self._file.read(-1 if size is None else size))

    read1 = read

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer."""
        self._check()
        with explained(self._key, self._secrets):
            return cast("int", self._file.readinto(buffer))

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move; nothing is fetched before the next read."""
        self._check()
        return cast("int", self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the position."""
        self._check()
        return cast("int", self._file.tell())

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
