"""Where bytes come from: memory, a file, a stream, a URL, a media of the same store; opened for one pass.

Nothing is read here but what is asked for, and nothing is held in memory but one chunk.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from fsmedia.core.downloads import open_url
from fsmedia.core.intake import too_large
from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, StorageError
from fsmedia.models.data_urls import read_data_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import timedelta

    from fsmedia.models import MediaContent

CHUNK_BYTES = 2**20
"""Bytes read at once from a source."""

_UNTOLD = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class SourceRules:
    """What a store allows its sources.

    Attributes
    ----------
    max_size
        Most bytes of one media; None takes any number.
    timeout
        Longest wait for a connection to a URL, and for each of its answers.
    allow_private
        Whether a URL may lead to this machine or its own network.
    open_stored
        Opens a media of the same store.
    """

    max_size: int | None
    timeout: timedelta
    allow_private: bool
    open_stored: Callable[[str], BinaryIO]


class Source(NamedTuple):
    """An opened source.

    Attributes
    ----------
    chunks
        The bytes, to be taken once.
    data
        The bytes, if they are in memory anyway.
    size
        How many there will be, where the source can tell; a hint, not a promise.
    mime_type
        What the source says they are, where that tells more than the content does.
    """

    chunks: Iterable[bytes]
    data: bytes | None = None
    size: int | None = None
    mime_type: str | None = None


def small_bytes(content: MediaContent) -> bytes | None:
    """Return the bytes if the content has them in memory."""
    return content.data if isinstance(content.data, bytes) else None


def is_small_file(content: MediaContent, most: int) -> bool:
    """Tell whether the content names a regular file of at most so many bytes; a pipe is not even opened."""
    try:
        found = Path(content.file_path or "").stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size <= most


@contextmanager
def opened(content: MediaContent, rules: SourceRules) -> Iterator[Source]:
    """Open the source of a content; what it can tell of its size is checked before it is read.

    Raises
    ------
    InvalidMediaError
        The source can't be read as bytes, or leads where it must not.
    MediaNotFoundError
        The file or the stored media does not exist.
    MediaTooLargeError
        It says that it is too large.
    StorageError
        It can't be read now.
    """
    if content.data is not None:
        data = small_bytes(content)
        yield Source(_stream(content.data), None, _size_of(content)) if data is None else Source((data,), data)
    elif content.file_path is not None:
        with _file(content.file_path, rules.max_size) as file:
            yield Source(_stream(file), None, _left_of(file))
    elif content.url is not None:
        with _opened_url(content.url, content.mime_type, rules) as source:
            yield source
    else:
        with _stored(content, rules) as file:
            yield Source(_stream(file))


def _stored(content: MediaContent, rules: SourceRules) -> BinaryIO:
    """Open by the content's own way to its bytes, which may lead to another store; else in this one."""
    if content.is_attached:
        return content.open()
    return rules.open_stored(content.storage_reference or "")


@contextmanager
def _opened_url(url: str, mime_type: str, rules: SourceRules) -> Iterator[Source]:
    if url[:5].lower() == "data:":
        kind, data = read_data_url(url, max_size=rules.max_size)
        yield Source((data,), data, len(data), kind if mime_type == _UNTOLD else None)
        return
    with open_url(url, timeout=rules.timeout, max_size=rules.max_size, allow_private=rules.allow_private) as download:
        yield Source(download.chunks(), None, download.size, download.mime_type if mime_type == _UNTOLD else None)


def _size_of(content: MediaContent) -> int | None:
    """Return how many bytes a source will give, where it can tell without being read or moved.

    A stranger's stream is never moved to ask it: some (gzip over a pipe) say that they can seek, and lose what they
    pass.
    """
    stream = content.data
    if isinstance(stream, bytes):
        return len(stream)
    try:
        if isinstance(stream, io.BytesIO):
            return max(0, stream.getbuffer().nbytes - stream.tell())
        if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO):
            return _left_of(stream)
    except Exception:  # noqa: BLE001 - only a hint: a stream that can't tell is read all the same
        return None
    return None


def _left_of(file: BinaryIO) -> int | None:
    """Return the bytes left in a regular file; None for a pipe and the like."""
    try:
        found = os.fstat(file.fileno())
        return max(0, found.st_size - file.tell()) if stat.S_ISREG(found.st_mode) else None
    except (OSError, ValueError):
        return None


def _stream(stream: BinaryIO) -> Iterator[bytes]:
    while True:
        try:
            data = stream.read(CHUNK_BYTES)
        except MediaError:
            raise
        except Exception as error:  # a codec's, an archive's: streams raise what they like
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
