"""Where bytes come from: one pass from a source to a stage, counted, hashed and looked at on the way.

Nothing is held in memory but one chunk; a source that turns out too large leaves nothing behind.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fsmedia.errors import InvalidMediaError, MediaNotFoundError, MediaTooLargeError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsmedia.backends import Stage
    from fsmedia.models import MediaContent

CHUNK_BYTES = 2**20
"""Bytes read at once from a source."""

HEAD_BYTES = 8192
"""Bytes kept from the beginning, to tell what they are."""


class Intake:
    """Takes bytes as they come: counts, hashes, keeps the first, passes them on.

    Parameters
    ----------
    stage
        Where they go; None only looks at them.
    max_size
        Most bytes to take; None takes any number.
    """

    def __init__(self, stage: Stage | None, max_size: int | None) -> None:
        self._stage = stage
        self._max_size = max_size
        self._digest = hashlib.sha256()
        self.size = 0
        self.head = b""

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes.

        Raises
        ------
        MediaTooLargeError
            They are too many.
        """
        self.size += len(data)
        if self._max_size is not None and self.size > self._max_size:
            raise too_large(self._max_size)
        self._digest.update(data)
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(data[: HEAD_BYTES - len(self.head)])
        if self._stage is not None:
            self._stage.write(data)

    @property
    def sha256(self) -> str:
        """Digest of what was taken so far, as lower-case hex."""
        return self._digest.hexdigest()


def too_large(max_size: int) -> MediaTooLargeError:
    """Say that a media is over the limit."""
    return MediaTooLargeError(
        f"larger than the store's max_file_size of {max_size} bytes", next_step="open the store with a larger one"
    )


def small_bytes(content: MediaContent) -> bytes | None:
    """Return the bytes if the source has them in memory anyway."""
    return content.data if isinstance(content.data, bytes) else None


def chunks_of(content: MediaContent, max_size: int | None) -> Iterator[bytes | memoryview]:
    """Open a source and read it piece by piece; what it can tell of its size is checked before.

    Raises
    ------
    InvalidMediaError
        The source can't be read as bytes.
    MediaNotFoundError
        The file does not exist.
    MediaTooLargeError
        It says that it is too large.
    """
    if isinstance(content.data, bytes):
        yield from _slices(content.data)
    elif content.data is not None:
        yield from _stream(content.data)
    elif content.file_path is not None:
        with _file(content.file_path, max_size) as file:
            yield from _stream(file)
    else:
        with content.open() as file:
            yield from _stream(file)


def _slices(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(data), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]


def _stream(stream: BinaryIO) -> Iterator[bytes]:
    while True:
        try:
            data = stream.read(CHUNK_BYTES)
        except (OSError, ValueError) as error:
            raise InvalidMediaError(
                f"the source can't be read ({type(error).__name__}: {str(error)[:200]})",
                next_step="open it in binary mode, and keep it open",
            ) from error
        if data is None or isinstance(data, str):
            kind = "text" if isinstance(data, str) else "nothing (it does not block)"
            raise InvalidMediaError(f"the source gives {kind}, not bytes", next_step="open it in binary mode")
        if not data:
            return
        yield data


def _file(path: str, max_size: int | None) -> BinaryIO:
    """Open a caller's file, refusing what is no file before anything is written."""
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - the caller closes it
    except (FileNotFoundError, NotADirectoryError):
        raise MediaNotFoundError("no such file to store", next_step="check file_path", key=path) from None
    except IsADirectoryError:
        raise InvalidMediaError("is a folder, not a file", next_step="store its files one by one", key=path) from None
    except (OSError, ValueError) as error:
        reason = errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__)
        raise StorageError(f"can't be read ({reason})", next_step="check file_path", key=path) from error
    found = os.fstat(file.fileno())
    if max_size is not None and stat.S_ISREG(found.st_mode) and found.st_size > max_size:
        file.close()
        raise too_large(max_size)
    return file
