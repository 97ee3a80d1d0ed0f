"""Spooling for object stores: bytes gather in memory up to a bound, then in a temporary file, then go up at once.

An object is written in one go, so its bytes must all be there, checked, before the first request. The temporary
file has mode 0600 and is gone after `commit` or `discard`.
"""

from __future__ import annotations

import tempfile
import weakref
from contextlib import suppress
from os import getpid
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from fsmedia.storage.errors import explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 2**20

SPOOL_BYTES = 8 * 2**20
"""What a stage holds in memory at most; larger media lie in a temporary file meanwhile."""


class Spool:
    """A stage whose `commit` hands all bytes, or the file that holds them, to the backend."""

    def __init__(
        self,
        key: str,
        put_bytes: Callable[[str, bytes, str], None],
        put_file: Callable[[str, Path, int, str], None],
        create: Callable[[str, bytes | None, str], bool],
    ) -> None:
        self._key = key
        self._create = create
        self._put_bytes = put_bytes
        self._put_file = put_file
        self._buffer = bytearray()
        self._file: BinaryIO | None = None
        self._owner = 0
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        with explained(self._key):
            self._write(data)

    def _write(self, data: bytes | memoryview) -> None:
        self._size += len(data)
        if self._file is None and len(self._buffer) + len(data) <= SPOOL_BYTES:
            self._buffer += data
            return
        if self._file is None:
            self._file = cast("BinaryIO", tempfile.NamedTemporaryFile(prefix="fsmedia-", delete=False))  # noqa: SIM115
            self._owner = getpid()
            weakref.finalize(self, _remove, self._file.name, self._owner)
            self._file.write(self._buffer)
            self._buffer = bytearray()
        self._file.write(data)

    def patch(self, data: bytes) -> None:
        """Replace the first bytes."""
        if self._file is None:
            self._buffer[: len(data)] = data
            return
        with explained(self._key):
            self._file.seek(0)
            self._file.write(data)
            self._file.seek(0, 2)

    def reread(self) -> Iterator[bytes]:
        """Give what was written so far."""
        if self._file is None:
            yield bytes(self._buffer)
            return
        with explained(self._key):
            self._file.seek(0)
            while data := self._file.read(_CHUNK):
                yield data

    def aim(self, key: str) -> None:
        """Choose another key."""
        self._key = key

    def commit(self, content_type: str) -> None:
        """Send everything to the backend; may be called again if it failed."""
        if self._file is None:
            self._put_bytes(self._key, bytes(self._buffer), content_type)
            return
        with explained(self._key):
            self._file.flush()
        self._put_file(self._key, Path(self._file.name), self._size, content_type)

    def commit_new(self, content_type: str) -> bool:
        """Send everything if nothing is at the key; a large file can only look first."""
        if self._file is None:
            return self._create(self._key, bytes(self._buffer), content_type)
        if not self._create(self._key, None, content_type):
            return False
        self.commit(content_type)
        return True

    def discard(self) -> None:
        """Let go of the bytes."""
        self._buffer = bytearray()
        file, self._file = self._file, None
        if file is not None:
            _remove(file.name, self._owner)
            with suppress(OSError):  # it flushes, and the disk may be full; nobody wants these bytes any more
                file.close()


def _remove(name: str, owner: int) -> None:
    """Remove the file, but not in a forked child, whose parent still needs it."""
    if getpid() != owner:
        return
    with suppress(OSError):
        Path(name).unlink(missing_ok=True)
