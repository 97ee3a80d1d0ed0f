"""Any storage that fsspec knows. Promises what the port promises as far as the filesystem behind it can.

Filesystems that fsspec calls asynchronous (object stores) are asked concurrently on fsspec's own loop thread; the
others one call after another. `S3Backend` and the like replace single primitives where the general way costs
requests or loses answers.
"""

# Longer than 1,000 lines: the port is one class, its files and stages serve it alone, and each call has one body here.

from __future__ import annotations

import asyncio
import errno
import io
import math
import os
import re
import weakref
from base64 import b64decode
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from os import getpid
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Self, TypeVar, cast
from urllib.parse import quote

import fsspec
from fsspec.asyn import sync
from fsspec.config import apply_config
from fsspec.utils import get_protocol

from fsmedia.errors import (
    INSTALL,
    CorruptMediaError,
    InvalidMediaError,
    InvalidReferenceError,
    LocalFileContext,
    MediaError,
    MediaNotFoundError,
    ReadOnlyStoreError,
    StorageError,
)
from fsmedia.format import keys
from fsmedia.models import public_url
from fsmedia.models.content import temporary_file
from fsmedia.models.text import content_disposition
from fsmedia.storage.errors import (
    ErrorTranslator,
    PreconditionFailed,
    UnexpectedAnswerError,
    check_absence,
    is_refusal,
    refused,
    secrets_of,
)
from fsmedia.storage.listing import KeyOrder, Page, ahead, depth_first, level
from fsmedia.storage.obstore_engine import LongerAnswerError, is_installed
from fsmedia.storage.port import (
    SEEK_BLOCK,
    Backend,
    Entry,
    Exclusion,
    Fetched,
    Listing,
    ReadableFile,
    StorageClock,
    Uploaded,
    VersionRules,
    Write,
    refuse_larger,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from fsspec import AbstractFileSystem

    from fsmedia.storage.obstore_engine import Body, Engine
    from fsmedia.storage.port import Version

T = TypeVar("T")
PATIENCE_BYTES = 2**20
"""A transfer may take the timeout once more for each of these: slow lines are slow, not dead."""
CONCURRENCY = 32
"""Requests under way at once for one call on an object store."""
SPOOL_BYTES = 8 * 2**20
"""What a stage holds in memory at most; larger media lie in a temporary file meanwhile."""
LONGEST_SIGNATURE = timedelta(days=7)
"""What signature version 4 allows."""
MOST_AHEAD = 8 * 2**20
"""Bytes that a steady reader gets ahead at most."""
_LINE_AHEAD = 8192
_STEADY = 2  # fetches behind each other, of whatever size, before all that follows is asked for
_TAIL = 4096  # bytes that an answer must begin with, for a server may send other bytes than it says
_CHUNK = 2**20
_MODIFIED = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_TOKENS = ("ETag", "etag", "md5Hash", "ino")
MD5 = re.compile("[0-9a-f]{32}")
_BAD_RANGE = ("InvalidRange", "416", "Range Not Satisfiable", "not satisfiable")
_CODES = ("status", "status_code", "code")
"""Where the errors of gcsfs, aiohttp and Azure keep the status of an answer."""


def entry_of(key: str, info: Mapping[str, Any]) -> Entry:
    """Read an fsspec info, whatever the filesystem calls its fields."""
    token = next((str(info[name]) for name in _TOKENS if info.get(name)), None)
    # One object has one token: rclone's S3 puts quotes around an ETag where it is looked at, and none where it lists.
    token = None if token is None else token.strip('"')
    modified = next((info[name] for name in _MODIFIED if info.get(name) is not None), None)
    return Entry(key, int(info.get("size") or 0), _instant(modified), token, _md5_of(info.get("md5Hash"), token))


def _md5_of(told: str | None, token: str | None) -> str | None:
    """Return the MD5 of an object in hex: GCS and Azure tell it in base64, S3 as an ETag, which may be none."""
    try:
        shown = b64decode(told).hex() if told else token or ""
    except ValueError:
        return None
    return shown if MD5.fullmatch(shown) else None


def _instant(value: Any) -> datetime | None:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, int | float):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            return None
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return None


def _is_bad_range(error: Exception, path: str) -> bool:
    """Tell whether a server says that a range begins behind the end of what lies at a path."""
    # Names are strangers' and stand in messages: "no such file: .../u416..." is not the status 416.
    if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError | TimeoutError | ConnectionError):
        return False
    answer = getattr(error.__cause__, "response", None)  # botocore's, which s3fs translates
    codes: list[Any] = [answer.get("Error", {}).get("Code")] if isinstance(answer, dict) else []
    codes.append(next((code for name in _CODES if (code := getattr(error, name, None))), None))
    if told := [str(code) for code in codes if code]:
        return any(code in _BAD_RANGE for code in told)
    return any(word in _without(str(error), path) for word in _BAD_RANGE)


def _without(text: str, path: str) -> str:
    """Cut a path out of a message, as it is and as URLs spell it."""
    for name in (path, quote(path), quote(path, safe="")):
        text = text.replace(name, "")
    return text


def lifetime_of_url(service: str, expiry: timedelta, key: str) -> int:
    """Return for how many seconds a URL is signed."""
    if expiry > LONGEST_SIGNATURE:
        problem = f"{service} signs URLs for at most {LONGEST_SIGNATURE.days} days, not {expiry}"
        raise InvalidMediaError(problem, next_step="ask for a shorter lifetime, and sign again when it ends", key=key)
    # Rounded up: a lifetime of half a second must not be refused as none.
    return max(1, math.ceil(expiry.total_seconds()))


def headers_of_answer(kind: str, mime_type: str | None, disposition: str, filename: str | None) -> dict[str, Any]:
    """Return what to sign so that the answer shows the bytes and names them, whatever characters the name holds."""
    shown = None if filename is None else content_disposition("inline", filename)
    return {name: value for name, value in ((kind, mime_type), (disposition, shown)) if value is not None}


class TranslatedFile(ReadableFile):
    """A binary file for reading over one of fsspec's, with translated errors and a growing read-ahead.

    `stream`: asks for all from a position on, after the bytes that end there; None where it can't be done just now.
    """

    def __init__(
        self,
        file: Any,
        key: str,
        secrets: frozenset[str],
        guard: AbstractContextManager[Any],
        stream: Callable[[int, bytes], _Stream | None] | None = None,
    ) -> None:
        super().__init__(file, key)
        self._stream = stream
        self._is_asked_anywhere = stream is not None  # its own position is left behind where answers are read
        self._answer: _Stream | None = None
        self._answer_from = 0  # its next byte
        self._fetches = 0  # one behind the other
        self._tail = b""  # of the last
        self._secrets = secrets
        self._guard = guard
        self._ahead = memoryview(b"")
        # Of a file that gets no more than it asks for, what fsspec's own cache would get ahead.
        self._least = self.blocksize if getattr(getattr(file, "cache", None), "name", "") == "none" else 0
        self._window = self._least

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, all by default.

        Who reads on where the last read ended gets more and more ahead, so that small reads of a large media do not
        cost a request each, and in the end all that follows by one; a seek starts small again.
        """
        self._check_open()
        if size is None or size < 0:
            self._leave()
            data, ahead = bytes(self._ahead) + self._fetch(self._position + len(self._ahead), -1), memoryview(b"")
        elif size <= len(self._ahead):
            data, ahead = bytes(self._ahead[:size]), self._ahead[size:]
        else:
            pieces, missing = [self._ahead], size - len(self._ahead)
            while missing > 0 and (piece := self._streamed(self._position + size - missing)):
                pieces.append(piece)
                missing -= len(piece)
            if missing > 0:
                pieces.append(memoryview(self._fetch(self._position + size - missing, max(missing, self._window))))
                missing -= len(pieces[-1])
                self._grow()
            end = len(pieces[-1]) - max(0, -missing)
            ahead, pieces[-1] = pieces[-1][end:], pieces[-1][:end]
            data = b"".join(pieces)
        # Last and together, without a call in between: Ctrl-C anywhere before leaves the file where it was.
        self._ahead, self._position = ahead, self._position + len(data)
        return data

    def _grow(self) -> None:
        # Doubled each time: some 40 requests for 300 MB, and at most 8 MiB that nobody reads.
        self._window = min(max(2 * self._window, SEEK_BLOCK), MOST_AHEAD)

    def _streamed(self, start: int) -> memoryview:
        """Return the next bytes of the answer that a steady reader reads on in; nothing where there is none.

        Whatever is wrong with it, parts are asked for from there on: these tell what it is.
        """
        # In this order, for a file that does not tell its size is asked for it.
        if self._stream is None or self._fetches < _STEADY or self._window < MOST_AHEAD or start >= self.size:
            return memoryview(b"")
        if self._answer is not None and self._answer_from != start:
            self._leave()  # somebody broke a read off that had got something of it
            return memoryview(b"")
        answer, self._answer = self._answer, None  # whoever breaks a wait off does not know what has been read
        begun = answer is not None
        try:
            with self._guard:
                answer = answer or self._stream(start, self._tail)
                if answer is None:
                    return memoryview(b"")
                piece = answer.following()
                self._answer, self._answer_from = answer, start + len(piece)
                return piece
        except LongerAnswerError as error:
            if begun:  # what was given out may be other bytes than those that were asked for
                step = "read it again; fsmedia verify --deep tells what is stored"
                raise CorruptMediaError(str(error), next_step=step, key=self.path) from None
        except (OSError, MediaError):
            pass
        finally:
            if self._answer is None and answer is not None:
                answer.close()
                self._fetches = 0  # the tail is older
        self._stream = None
        return memoryview(b"")

    def _leave(self) -> None:
        """Give up the answer that is read on in, if there is one."""
        answer, self._answer, self._fetches = self._answer, None, 0
        if answer is not None:
            answer.close()

    def _fetch(self, start: int, size: int) -> bytes:
        end = getattr(self._file, "size", None)
        with self._guard, ErrorTranslator(self.path, self._secrets):
            try:
                if self._is_asked_anywhere:
                    self._file.seek(start)
                data = cast("bytes", self._file.read(size))
            except FileNotFoundError:
                problem = "its bytes are gone: somebody deleted it"
                raise MediaNotFoundError(problem, next_step="list the store", key=self.path) from None
            except OSError as error:
                # The file ends before the range begins: less is there than its size said.
                if not _is_bad_range(error, self.path):
                    raise
                data = b""
        # A short answer to a range, or a page in its place, is not the end of the file: who reads on would ask for
        # the rest again and again.
        rest = max(0, end - start) if isinstance(end, int) else None
        wanted = rest if rest is None or size < 0 else min(size, rest)
        if wanted is not None and (len(data) < wanted or (size < 0 and len(data) != wanted)):
            problem = f"{len(data)} bytes came where {wanted} were asked for"
            step = "read it again; fsmedia verify --deep tells what is stored"
            raise CorruptMediaError(problem, next_step=step, key=self.path)
        self._fetches, self._tail = self._fetches + 1, data[-_TAIL:]
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move; nothing is fetched before the next read."""
        self._check_open()
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        if whence == io.SEEK_SET and offset < 0:
            raise ValueError(f"negative seek position {offset}")
        start = (0, self._position, None)[whence]
        wanted = max(0, (self.size if start is None else start) + offset)
        skipped = wanted - self._position
        if 0 <= skipped <= len(self._ahead):
            self._ahead = self._ahead[skipped:]
        else:
            self._leave()
            self._ahead, self._window = memoryview(b""), self._least
            with self._guard, ErrorTranslator(self.path, self._secrets):
                self._file.seek(wanted)
        self._position = wanted
        return wanted

    @property
    def size(self) -> int:
        """Bytes of the whole file; files that do not tell it are asked by a seek."""
        size = getattr(self._file, "size", None)
        if isinstance(size, int):
            return size
        with self._guard, ErrorTranslator(self.path, self._secrets):
            self._file.seek(0, io.SEEK_END)
            end: int = self._file.tell()  # paramiko's `seek` does not tell
            self._file.seek(self._position + len(self._ahead))
            return end

    def close(self) -> None:
        """Close; may be called again."""
        self._leave()
        with self._guard:
            super().close()

    def peek(self, size: int = 0, /) -> bytes:
        """Return bytes ahead without moving; `readline` looks for the end of the line in them."""
        self._check_open()
        if not self._ahead:
            self._ahead = self._streamed(self._position)
        if not self._ahead:
            self._ahead = memoryview(self._fetch(self._position, max(size, self._window, _LINE_AHEAD)))
            self._grow()
        return bytes(self._ahead[: max(size, _LINE_AHEAD)])


class _Stream:
    """An answer with all that follows in an object; the process that asked for it can read it."""

    def __init__(self, backend: FsspecBackend, body: Body, size: int, before: bytes) -> None:
        self._backend, self._body, self._before, self._pid = backend, body, before, os.getpid()
        if body.size != size + len(before):
            self.close()
            raise UnexpectedAnswerError(f"{body.size} bytes are told of, not {size + len(before)}")

    def following(self) -> memoryview:
        """Return the next bytes; those after them come meanwhile."""
        if self._pid != os.getpid():
            raise ConnectionError("a forked process asks for itself")
        piece = self._backend._sync(self._body.following, size=PATIENCE_BYTES)
        before, self._before = self._before, b""
        if piece[: len(before)] != before:
            raise UnexpectedAnswerError("these are other bytes than those that were asked for")
        return piece[len(before) :]

    def close(self) -> None:
        """Give up what was not read; any thread may."""
        if self._pid == os.getpid():
            with suppress(RuntimeError):  # the loop is gone, and all that it waited for
                self._backend.fs.loop.call_soon_threadsafe(self._body.close)


class BufferedStage:
    """A stage that buffers in memory, then in a temporary file, and sends everything at `commit`."""

    def __init__(self, backend: FsspecBackend, key: str) -> None:
        self._backend = backend
        self._key = key
        self._buffer = bytearray()
        self._file: BinaryIO | None = None
        self._path = Path()
        self._remove: Callable[[], object] = int  # nothing
        self._size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        with ErrorTranslator(self._key):
            self._size += len(data)
            if self._file is None and len(self._buffer) + len(data) <= SPOOL_BYTES:
                self._buffer += data
                return
            if self._file is None:
                file = temporary_file()
                self._file, self._path = cast("BinaryIO", file), Path(file.name)
                # A killed process leaves nothing where a file is opened by its descriptor, which has a position of its
                # own only on Linux; elsewhere it has a name as long as it is needed.
                unnamed = Path(f"/proc/self/fd/{file.fileno()}")
                if unnamed.exists():
                    self._path.unlink()
                    self._path = unnamed
                else:
                    self._remove = weakref.finalize(self, _remove, file.name, getpid())
                self._file.write(self._buffer)
                self._buffer = bytearray()
            self._file.write(data)

    def patch(self, data: bytes) -> None:
        """Replace the first bytes."""
        if self._file is None:
            self._buffer[: len(data)] = data
            return
        with ErrorTranslator(self._key):
            self._file.seek(0)
            self._file.write(data)
            self._file.seek(0, 2)

    def reread(self) -> Iterator[bytes]:
        """Give what was written so far."""
        if self._file is None:
            yield bytes(self._buffer)
            return
        with ErrorTranslator(self._key):
            self._file.seek(0)
            while data := self._file.read(_CHUNK):
                yield data

    def retarget(self, key: str) -> None:
        """Choose another key."""
        self._key = key

    def ready(self) -> None:
        """Do nothing: all the time goes into the sending."""

    def commit(self, content_type: str) -> None:
        """Send everything to the backend; may be called again if it failed."""
        if self._file is None:
            self._backend.write(self._key, bytes(self._buffer), content_type)
        else:
            self._send(content_type)

    def _send(self, content_type: str, **condition: bool) -> None:
        with ErrorTranslator(self._key):
            cast("BinaryIO", self._file).flush()
        self._backend.put_file(self._key, self._path, self._size, content_type, **condition)

    def commit_new(self, content_type: str) -> bool:
        """Send everything if nothing is at the key."""
        if self._file is None:
            return self._backend.create(self._key, bytes(self._buffer), content_type)
        # Before the bytes are sent: what decides, where the storage keeps conditions, is the end of the upload.
        if self._backend.head(self._key) is not None:
            return False
        try:
            self._send(content_type, if_absent=True)
        except PreconditionFailed:
            return False
        return True

    def discard(self) -> None:
        """Drop the bytes."""
        self._buffer = bytearray()
        file, self._file = self._file, None
        if file is not None:
            self._remove()
            with suppress(OSError):  # it flushes, and the disk may be full; nobody wants these bytes any more
                file.close()


def _remove(name: str, owner: int) -> None:
    """Remove the file, but not in a forked child, whose parent still needs it."""
    if getpid() != owner:
        return
    with suppress(OSError):
        Path(name).unlink(missing_ok=True)


async def read_up_to(read: Callable[..., Awaitable[bytes]], most: int | None) -> bytes:
    """Read an answer as it comes, `most` bytes and one; None: to its end.

    Not asked for by a range: servers may give everything all the same, and an empty object has none.
    """
    if most is None:
        return await read()
    data = bytearray()
    while piece := await read(min(_CHUNK, most + 1 - len(data))):
        data += piece
    return bytes(data)


async def each_of(jobs: Sequence[Callable[[], Coroutine[Any, Any, T]]], most: int) -> list[T]:
    """Do several things, up to so many at once; return what each gives, in their order. After an error none begins."""
    if most <= 0:
        raise ValueError("at least one must be done at once")
    waiting = iter(enumerate(jobs))
    found: dict[int, T] = {}

    # A folder of 10,000 media must not open 10,000 connections; and a task for each of them, with a turn at a
    # semaphore, takes as long as a fifth of a request.
    async def work() -> None:
        for index, job in waiting:
            found[index] = await job()

    try:
        await asyncio.gather(*(work() for _ in range(min(most, len(jobs)))))
    finally:
        for _ in waiting:
            pass
    return [found[index] for index in range(len(jobs))]


async def repeated(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call, and once more if it has no answer."""
    with suppress(TimeoutError, ConnectionError):
        return await call()
    return await call()


def _size_of(start: int | None, end: int | None) -> int | None:
    """Return the most bytes that a range has; None where its object's size decides."""
    if start is None or end is None or (start < 0) != (end < 0):
        return None
    return max(0, end - start)


async def _has_found(call: Callable[[], Awaitable[object]]) -> bool:
    """Make a call; False where what it is about is not there."""
    try:
        await call()
    except FileNotFoundError:
        return False
    return True


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine gives that never waits: its filesystem's calls block."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    coroutine.close()
    raise TypeError("a filesystem that is not asynchronous has waited")


class FsspecBackend(Backend):
    """A root that fsspec opens; see `Backend` for the methods.

    `url`: the root. `storage_options`: what fsspec's filesystem takes; may hold secrets, which appear in no text this
    object makes. `timeout`: longest wait for one answer. `engine`: what reads and writes objects. Raises
    `InvalidReferenceError`: that is "obstore", and it can't.
    """

    options: ClassVar[dict[str, Any]] = {}
    """Options the filesystem must have to see what others wrote."""
    filesystem_class: ClassVar[type[AbstractFileSystem] | None] = None
    """Filesystem to open the root with; None: the one that fsspec knows for the protocol."""
    concurrency = CONCURRENCY
    is_read_only = False
    """Whether all that would change something is refused."""
    guard: AbstractContextManager[Any] = nullcontext()
    """What a call of the filesystem, or of a file of it, is made in."""
    takes_size: ClassVar[bool] = False
    """Whether the filesystem opens a file of known size without a look at it."""
    one_level: ClassVar[dict[str, Any] | None] = None
    """What asks for a page of one folder alone, where `_pages` lists page by page; None: there are no pages."""
    page_size: ClassVar[str | None] = None
    """What asks `_pages` for pages of so many keys."""
    conditional: ClassVar[bool] = False
    """Whether `put` can ask for conditions; whether the server keeps them is found out by asking it."""

    knows_obstore: ClassVar[bool] = False
    """Whether obstore can read and write objects in the filesystem's place."""
    streams: ClassVar[bool] = False
    """Whether `_body` asks for all that follows."""

    def __init__(
        self, url: str, storage_options: Mapping[str, Any], timeout: timedelta, engine: Engine = "fsspec"
    ) -> None:
        self._given_url = url
        self._storage_options = dict(storage_options)
        self.timeout = timeout
        self._why_fsspec = 'asked for by engine="fsspec"' if engine == "fsspec" else self._why_not_obstore()
        if engine == "obstore" and self._why_fsspec:
            step = 'open the store with engine="auto" (or $FSMEDIA_ENGINE), or leave out what is in the way'
            raise InvalidReferenceError(f"obstore can't open {public_url(url)}: {self._why_fsspec}", next_step=step)
        self.wanted: Engine = "fsspec" if self._why_fsspec else engine
        """What reads and writes objects, as far as it was known when the root was opened."""
        self._secrets = secrets_of(storage_options, url)
        self._opened: tuple[int, AbstractFileSystem] | None = None
        self.url = "::".join(public_url(link) if "://" in link else link for link in url.split("::")).rstrip("/")
        self._enter(self._open_filesystem()[1])
        self._key_order = KeyOrder(self.url, unordered=self._lists_unordered())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._given_url, self._storage_options, self.timeout, self.wanted)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def below(self, folder: str) -> Self:
        """Return a client whose filesystem is an instance of its own."""
        options = {**self._storage_options, "skip_instance_cache": True}
        made = type(self)(self._given_url, options, self.timeout, self.wanted)
        made._enter(self._path(folder))
        made.url = f"{self.url}/{folder}"
        return made

    def _enter(self, root: str) -> None:
        """Take a path as the root of all keys."""
        self._root = root.rstrip("/")
        self._begin = f"{self._root}/" if root else ""
        # The part of the root that is in each object's key.
        self.root_length = len((self._root.partition("/")[2] if self.filesystem_class else self._root).encode())

    # -- the filesystem ------------------------------------------------------------------------------------

    def _open_filesystem(self) -> tuple[AbstractFileSystem, str]:
        url, kind = self._given_url, self.filesystem_class
        if "::" in url or kind is None:
            forced = self._chain_options() if "::" in url else self._forced_options()
            given = {**self._storage_options, **forced}
            # Copied, for fsspec writes into what stands under a protocol.
            given = {name: dict(value) if isinstance(value, dict) else value for name, value in given.items()}
            filesystem, path = fsspec.core.url_to_fs(url, **given)
        else:
            filesystem = kind(**{**self._options(), **self._forced_options()})
            path = kind._strip_protocol(url)
        self._opened = (os.getpid(), filesystem)
        return filesystem, str(path)

    def _options(self) -> dict[str, Any]:
        """Return what to open with, as fsspec reads it: with what stands under the protocol's name, and in its conf."""
        given, kind = dict(self._storage_options), self.filesystem_class
        if kind is None or "::" in self._given_url:
            return given
        named = given.pop(get_protocol(self._given_url), {})
        configured: dict[str, Any] = apply_config(
            kind, {**kind._get_kwargs_from_urls(self._given_url), **named, **given}
        )
        return configured

    def _forced_options(self) -> dict[str, Any]:
        """Return the options that this storage must have, whatever the caller gave."""
        return self.options

    def _chain_options(self) -> dict[str, Any]:
        """Return what a chain of URLs must be opened with, whatever the caller gave."""
        return {}

    @property
    def fs(self) -> AbstractFileSystem:
        """The filesystem; a forked child makes its own, for sessions and loops do not survive a fork."""
        # The process that opened it: a fork inherits sockets and a loop whose thread does not exist in it.
        if self._opened is None or self._opened[0] != os.getpid():
            with ErrorTranslator(None, self._secrets):  # it may be asked for outside of any call
                return self._open_filesystem()[0]
        return self._opened[1]

    def _lists_unordered(self) -> bool:
        """Tell whether the storage is known to list in no order of keys; where it is not, that shows by itself."""
        return False

    @property
    def _bucket(self) -> str:
        return self._root.partition("/")[0]

    def _split(self, key: str) -> tuple[str, str]:
        """Return the bucket, and the name of an object in it."""
        bucket, _, name = self._path(key).partition("/")
        return bucket, name

    def _path(self, key: str) -> str:
        return f"{self._begin}{key}" if key else self._root

    def _key(self, path: str) -> str:
        return path.removeprefix("/")[len(self._root.removeprefix("/")) :].removeprefix("/")

    def _named(self, name: str) -> str:
        """Return the key of an object by its name in the bucket."""
        return self._key(f"{self._bucket}/{name}")

    def _why_not_obstore(self) -> str:
        """Return why obstore can't read and write here; empty where it can, as far as this shows without a request."""
        if not self.knows_obstore:
            return "obstore is not used for this protocol"
        if "::" in self._given_url:
            return "a chain of filesystems is opened by fsspec"
        return self.why_not_obstore() if is_installed() else f"obstore is not installed: {INSTALL['fast']}"

    def why_not_obstore(self) -> str:
        """Return what of the URL, the options and the environment obstore has no equal of."""
        raise NotImplementedError(self.url)

    @property
    def engine(self) -> str:  # type: ignore[override] # known when the filesystem is
        """What reads and writes objects, with the reason where it is not obstore."""
        why = self._why_fsspec or self.fs.rust.why_not(self._bucket)
        return f"fsspec ({why})" if why else "obstore"

    @property
    def asynchronous(self) -> bool:
        """Whether the filesystem behind has coroutines."""
        return bool(self.fs.async_impl)

    @property
    def endpoint(self) -> str | None:
        """What the options say; filesystems call it by several names."""
        options = self._options()
        named = (options, options.get("client_kwargs") or {})
        return next((str(each["endpoint_url"]) for each in named if each.get("endpoint_url")), None)

    @property
    def skew(self) -> timedelta:
        """What the dates of answers tell, where the filesystem behind shows them."""
        clock = getattr(self.fs, "clock", None)
        return clock.skew if isinstance(clock, StorageClock) else timedelta(0)

    def roots(self) -> Sequence[str]:
        """Return the URL, and the URL with the filesystem's other protocol names."""
        names = self.fs.protocol
        names = (names,) if isinstance(names, str) else names
        bare = self._root.removeprefix("/")
        return [self.url, *(f"{name}://{bare}" for name in names), *(f"{name}:///{bare}" for name in names)]

    def _ask(self, key: str | None, call: Callable[[], T], *, once: bool = False) -> T:
        """Make one call; a call without an answer is made once more, for all of them can be repeated.

        `once`: it repeats itself.
        """
        with ErrorTranslator(key, self._secrets):
            try:
                # Unanswered, so perhaps done: each call must give the same when it is made again.
                with nullcontext() if once else suppress(TimeoutError, ConnectionError):
                    return call()
                self._reconnect()
                return call()
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error, key)
                raise

    def _reconnect(self) -> None:
        """Open a connection that was lost again, where the filesystem does not."""

    def _refuse_missing_bucket(self, error: FileNotFoundError, key: str | None) -> None:
        """Raise if a storage says "not found" of the whole bucket, which is no fault of the key that was asked for."""
        bucket = self._bucket
        said = _without(str(error), self._path(key or ""))
        if "bucket does not exist" in said or str(error) == f"b/{bucket}/o":  # S3's words, and gcsfs's
            problem = f"there is no bucket {bucket!r}, of the root {self.url}"
            step = "check the URL and the endpoint, or make the bucket with the storage's own tools"
            raise StorageError(problem, next_step=step) from None

    async def _call(self, name: str, *args: Any, **options: Any) -> Any:
        """Make one of the filesystem's calls; one that blocks has happened when this returns."""
        if self.fs.async_impl:
            return await getattr(self.fs, f"_{name}")(*args, **options)
        return getattr(self.fs, name)(*args, **options)

    def _sync(
        self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, size: int | None = 0, **options: Any
    ) -> T:
        """Run a coroutine function on fsspec's loop and wait, as long as its size allows; None: nobody knows it."""
        if not self.fs.async_impl:
            return _run(function(*args, **options))
        patience = None if size is None else self._patience(size)

        async def called() -> tuple[T]:
            return (await function(*args, **options),)

        # fsspec gives None for what somebody cancelled on the loop, as aiohttp does with requests that wait for a
        # connection when its session is closed: that would be taken for a write that was done.
        found: tuple[T] | None = sync(self.fs.loop, called, timeout=patience)
        if found is None:
            raise ConnectionError("the request was broken off")
        return found[0]

    def _patience(self, size: int) -> float:
        # The size counts in whole steps, so that small calls keep exactly the timeout that was asked for.
        return self.timeout.total_seconds() * (1 + size // PATIENCE_BYTES)

    def _read_whole(self, large: Sequence[str], read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Read objects whose sizes nobody knows, see `_read_patiently`."""
        if not self.fs.async_impl:
            return self._ask(large[0], lambda: self._sync(read))
        patiently = partial(self._read_patiently, large, read)
        return self._ask(large[0], lambda: self._sync(patiently, size=None), once=True)

    async def _read_patiently(self, large: Sequence[str], read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Read within the timeout; what does not come in it is asked for once more, as long as the sizes allow.

        So only what is slow, or hangs, costs a look at the sizes.
        """
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(self._patience(0)):
                return await read()
        async with asyncio.timeout(self._patience(0)):
            found = await asyncio.gather(*map(self._look, large))
        size = sum(each.size for each in found if each is not None)
        async with asyncio.timeout(self._patience(size)):
            return await read()

    def _each(
        self,
        key: str | None,
        jobs: Sequence[Callable[[], Coroutine[Any, Any, T]]],
        size: int = 0,
        large: Sequence[str] = (),
    ) -> list[T]:
        """Do several things: at once where the filesystem is asynchronous; `large`: objects of any size are read."""
        if not self.fs.async_impl:
            return [self._ask(key, partial(self._sync, job)) for job in jobs]

        async def all_of() -> list[T]:
            return await each_of(jobs, CONCURRENCY)

        if large:
            return self._read_whole(large, all_of)
        return self._ask(key, lambda: self._sync(all_of, size=size + len(jobs) // CONCURRENCY * PATIENCE_BYTES))

    # -- writing -------------------------------------------------------------------------------------------

    def _put_options(self, content_type: str) -> dict[str, Any]:
        """Return the keyword with which this filesystem sets a content type."""
        return {}

    def _file_options(self, size: int) -> dict[str, Any]:
        """Return what a file of so many bytes is sent with."""
        return {}

    def check(self, key: str) -> None:
        """Refuse what can only be read."""
        if self.is_read_only:
            step = "copy the store to a root that can be written: fsmedia sync"
            raise ReadOnlyStoreError(f"{self.url} can only be read", next_step=step, key=key)

    def write(self, key: str, data: bytes, content_type: str) -> None:
        """Put bytes."""
        self.check(key)
        self._ask(key, lambda: self._put(key, data, **self._put_options(content_type)))

    def write_many(self, writes: Sequence[Write]) -> dict[int, MediaError]:
        """Send small objects at once where the filesystem can."""
        # Stages may be files of many megabytes: those go one after another, each with its own patience. What is sent at
        # once would not be written aside and renamed.
        apart = self.renames or len(writes) == 1 or not self.fs.async_impl
        if apart or not all(isinstance(write.data, bytes) for write in writes):
            return super().write_many(writes)

        def sent(write: Write) -> Callable[[], Coroutine[Any, Any, MediaError | None]]:
            call = partial(self._call, "pipe_file", self._path(write.key), write.data)
            return partial(self._done, write.key, partial(call, **self._put_options(write.content_type)))

        size = sum(len(write.data) for write in writes if isinstance(write.data, bytes))
        return self._failures([write.key for write in writes], [sent(write) for write in writes], size)

    def _failures(
        self, wanted: Sequence[str], jobs: Sequence[Callable[[], Coroutine[Any, Any, MediaError | None]]], size: int = 0
    ) -> dict[int, MediaError]:
        """Do several things that answer with an error or None; without any answer, all have failed."""
        # Each job returns its own error; what is raised here took the answers of all.
        try:
            answers = self._each(wanted[0] if wanted else None, jobs, size)
        except MediaError as error:
            answers = [StorageError(error.problem, next_step=error.next_step, key=key) for key in wanted]
        return {index: answer for index, answer in enumerate(answers) if answer is not None}

    def _put(self, key: str, data: bytes, **options: Any) -> None:
        self._sync(self._call, "pipe_file", self._path(key), data, size=len(data), **options)

    def put_file(self, key: str, file: Path, size: int, content_type: str, *, if_absent: bool = False) -> None:
        """Put the bytes of a file of this machine, so many, at a key, on the condition of `put` if it is asked for.

        Where the storage knows no conditions, none is made.
        """
        self.check(key)
        options = {**self._file_options(size), **self._put_options(content_type)}
        if is_given := if_absent and self.conditional:
            options["mode"] = "create"
        call = partial(self._call, "put_file", str(file), self._path(key), **options)
        put = partial(self._conditioned, key, call, is_given=is_given)
        self._ask(key, lambda: self._sync(put, size=size))

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Put bytes unless there are any; without conditions by looking first, which two creators can both pass."""
        self.check(key)
        if self.conditional:
            try:
                self.put(key, data, content_type, if_absent=True)
            except PreconditionFailed:
                return False
            return True
        # Two creators may both find nothing; the port says so, and callers read back what counts.
        if self.head(key) is not None:
            return False
        self.write(key, data, content_type)
        return True

    def stage(self, key: str) -> BufferedStage:
        """Buffer; nothing is sent before the commit."""
        return BufferedStage(self, key)

    # -- reading -------------------------------------------------------------------------------------------

    def fetch(self, reads: Sequence[str] = (), heads: Sequence[str] = (), *, patient: bool = False) -> Fetched:
        """Read and look, all at once on an object store."""
        jobs: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            partial(self._found, self._path(key), keys.largest(key)) for key in reads
        ]
        jobs += [partial(self._look, key) for key in heads]
        answers = self._each((*reads, *heads)[0] if jobs else None, jobs, large=reads if patient else ())
        found = answers[: len(reads)]
        texts = [refuse_larger(key, data) for key, (data, _) in zip(reads, found, strict=True)]
        return Fetched(texts, answers[len(reads) :], [token for _, token in found])

    def store_above(self) -> str | None:
        """Ask for the settings in every folder above, up to the bucket itself: one round trip where there can be."""
        parts = self._root.split("/")
        parents = ["/".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1)]
        if not parents:
            return None
        found = self._each(None, [partial(self._above, f"{parent}/{keys.CONFIGURATION_KEY}") for parent in parents])
        outer = next((parent for parent, data in zip(parents, found, strict=True) if data is not None), None)
        return None if outer is None else self.url.removesuffix(self._root.strip("/")) + outer.strip("/")

    async def _above(self, path: str) -> bytes | None:
        """Read a file above the root; None where there is none, or it may not be looked at."""
        try:
            return (await self._found(path, keys.MAX_SETTINGS_BYTES))[0]
        except Exception as error:
            # Of FTP its word for whatever it does not do.
            if not is_refusal(error) and type(error).__name__ != "error_perm":
                raise
        return None

    async def _found(self, path: str, most: int | None) -> tuple[bytes | None, str | None]:
        """Do what `_read` does; None, None where there is nothing."""
        try:
            return await self._read(path, most)
        except (FileNotFoundError, IsADirectoryError) as error:
            self._check_absence(error)
            return None, None

    def _check_absence(self, error: OSError) -> None:
        if not self.fs.async_impl:
            check_absence(error)

    async def _read(self, path: str, most: int | None) -> tuple[bytes, str | None]:
        """Read a small object, `most` bytes and one, with its token where the storage knows conditions; None: whole."""
        return await self._cat(path, most), None

    async def _cat(self, path: str, most: int | None = None) -> bytes:
        if most is None:
            return bytes(await self._call("cat_file", path))
        # Without a place to begin at where none is needed: webdav4 asks for a file anew that moves in it.
        begin = 0 if self.fs.async_impl else None
        try:
            return bytes(await self._call("cat_file", path, start=begin, end=most + 1))
        except Exception as error:
            # Of an empty object no range can be served.
            if _is_bad_range(error, path):
                return b""
            raise

    async def _look(self, key: str) -> Entry | None:
        try:
            found = await self._info(self._path(key))
        except FileNotFoundError as error:
            self._check_absence(error)
            return None
        return entry_of(key, found) if found["type"] == "file" else None

    async def _info(self, path: str) -> dict[str, Any]:
        return cast("dict[str, Any]", await self._call("info", path))

    def uploaded(self, key: str) -> Uploaded | None:
        """Look by one request, which tells the type on object stores, and on S3 a checksum."""

        async def look() -> Uploaded | None:
            try:
                found = await self._details(self._path(key))
            except FileNotFoundError as error:
                self._check_absence(error)
                return None
            told = (found.get(name) for name in ("contentType", "sha256", "version_to_copy", "contentEncoding"))
            return Uploaded(entry_of(key, found), *told)

        found: Uploaded | None = self._ask(key, lambda: self._sync(look))
        return found

    async def _details(self, path: str) -> dict[str, Any]:
        return await self._info(path)

    def open(self, key: str, *, block_size: int = SEEK_BLOCK, size: int | None = None) -> BinaryIO:
        """Open with a block size made for seeking; what goes wrong while reading is explained too."""
        # Outside of the block, for there FileNotFoundError would become a StorageError.
        with ErrorTranslator(key, self._secrets), suppress(FileNotFoundError, IsADirectoryError):
            if self.takes_size:
                # Looked up here: an `open` of fsspec's waits for ever for the size.
                found = self.head(key) if size is None else Entry(key, size)
                if found is None:
                    raise FileNotFoundError
                return self._translated(self._open_sized(self._path(key), block_size, found), key)
            file = self._open_file(key, block_size=block_size, cache_type="readahead")
            # s3fs opens a folder as an empty file.
            if (getattr(file, "details", None) or {}).get("type") != "directory":
                return self._translated(file, key)
            file.close()
        raise FileNotFoundError(errno.ENOENT, "no such object", key)

    def _open_file(self, key: str, **options: Any) -> Any:
        return self.fs.open(self._path(key), "rb", **options)

    def _translated(self, file: Any, key: str) -> TranslatedFile:
        def fetch(start: int, end: int) -> bytes:
            with suppress(TimeoutError, ConnectionError):
                return self._sync(self._part, file, key, start, end, size=end - start)
            return self._sync(self._part, file, key, start, end, size=end - start)

        def stream(start: int, before: bytes) -> _Stream | None:
            body = self._sync(self._body, file, start - len(before))
            return None if body is None else _Stream(self, body, file.size - start, before)

        # fsspec's own files wait for ever, and s3fs asks again and again after a minute of silence each.
        if self.asynchronous and hasattr(file, "cache"):
            file.cache.fetcher = fetch
        return TranslatedFile(file, key, self._secrets, self.guard, stream if self.streams else None)

    async def _part(self, file: Any, key: str, start: int, end: int) -> bytes:
        """Fetch a part of an opened file."""
        if hasattr(file, "async_fetch_range"):  # of HTTP, which looks whether the server knows ranges
            return cast("bytes", await file.async_fetch_range(start, end))
        if (data := await self._range(key, start, end)) is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", key)
        return data

    async def _body(self, file: Any, start: int) -> Body | None:
        """Ask for all of an opened file from a position on, where `streams`; None where parts must be asked for now."""
        raise NotImplementedError(file, start)

    def _open_sized(self, path: str, block_size: int, found: Entry) -> Any:
        """Open a file whose size is known, without a request; a token is what its parts must have."""
        # Without a cache of fsspec's, which holds and copies all once more.
        file = self.fs.open(path, "rb", block_size=block_size, cache_type="none", size=found.size)
        # Without its details s3fs would ask for them at the first read.
        file.details = {"name": path, "size": found.size, "type": "file"}
        if found.token is not None:
            file.req_kw["IfMatch"] = f'"{found.token}"'
        return file

    def read_range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        """Read a part, or all of it."""
        if (size := _size_of(start, end)) is None:
            return self._read_whole([key], partial(self._range, key, start, end))
        return self._ask(key, lambda: self._sync(self._range, key, start, end, size=size))

    async def read_on_loop(self, key: str, start: int | None, end: int | None) -> bytes | None:
        """Read a part, or all of it; what got no answer is asked for once more."""
        read, size = partial(self._range, key, start, end), _size_of(start, end)

        async def limited() -> bytes | None:
            async with asyncio.timeout(self._patience(size or 0)):
                return await read()

        with ErrorTranslator(key, self._secrets):
            return await (self._read_patiently([key], read) if size is None else repeated(limited))

    async def _range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        path, served = self._path(key), self.fs.async_impl
        try:
            if start is None and end is None:
                return await self._cat(path)
            # An empty range has no form in HTTP: asked for anyway, a server gives everything.
            if served and start is not None and end is not None and (start == end or 0 <= end < start):
                return b""
            data: bytes = await self._call("cat_file", path, start=start, end=end)
        except (FileNotFoundError, IsADirectoryError) as error:
            self._check_absence(error)
            return None
        except Exception as error:
            # What begins past the end has no bytes; servers call it an error.
            if served and _is_bad_range(error, path):
                return b""
            raise
        return data

    def download(self, key: str, path: str, callback: Any) -> bool:
        """Download by one request."""

        async def download() -> None:
            with LocalFileContext(path):
                await self.fs._get_file(self._path(key), path, callback=callback)

        return self._read_whole([key], partial(_has_found, download))

    def local_path(self, key: str) -> str | None:
        """Nothing of this storage lies on this machine."""
        return None

    # -- listing ----------------------------------------------------------------------------------------------

    def children(self, folder: str = "", *, until: str | None = None) -> Listing:
        """List page by page, else by fsspec's `ls`."""
        if self.one_level is not None:
            return level(self._pages(folder, **self.one_level), until)
        entries: list[Entry] = []
        folders: list[str] = []
        path = self._path(folder)
        for info in self._ask(folder or None, lambda: self._listed(path)):
            name = info["name"].rstrip("/")
            # Of a file `ls` lists the file.
            if name.strip("/") == path.strip("/"):
                continue
            if info["type"] == "directory":
                folders.append(self._key(name))
            elif info["type"] == "file":
                entries.append(entry_of(self._key(name), info))
        return Listing(entries, folders)

    def _listed(self, path: str) -> list[dict[str, Any]]:
        """Return what `ls` says is in a folder; nothing where there is certainly no such folder."""
        found: list[dict[str, Any]] = []
        # An empty answer counts when it comes twice. fsspec's FTP answers so where the connection was closed, and
        # only the next call fails.
        for _ in range(1 if self.fs.async_impl else 2):
            self.fs.invalidate_cache()
            try:
                found = self.fs.ls(path, detail=True)
            except NotADirectoryError:
                return []
            except FileNotFoundError as error:
                return self._check_missing(path, error)
            if found:
                break
        return found

    def _check_missing(self, folder: str, error: FileNotFoundError) -> list[dict[str, Any]]:
        """Raise unless it shows from above, too, that there is no such folder; list one that was made just now.

        Raises `OSError`: the connection is gone, or the folder is listed by the one above; that is asked once more.
        """
        check_absence(error)
        path = folder
        # Up to the top: the folders above a missing root may be missing too.
        while True:
            path, parent = path.strip("/"), self.fs._parent(path)
            if not path or parent.strip("/") == path:
                raise OSError(errno.EIO, "not even the top of the filesystem is found") from error
            try:
                kinds = {info["name"].strip("/"): info["type"] for info in self.fs.ls(parent, detail=True)}
            except PermissionError:
                return []  # who may not list what is above has only the filesystem's word
            except FileNotFoundError as above:
                check_absence(above)
                path = parent
                continue
            if kinds.get(path, "file") != "file":  # of a file, SFTP says "no such file"
                with suppress(FileNotFoundError):
                    return cast("list[dict[str, Any]]", self.fs.ls(folder, detail=True))
                # For a WebDAV server it is so while anything in the folder is being replaced.
                problem = "the folder is listed by the one above, and can't be listed itself"
                raise UnexpectedAnswerError(problem) from error
            return []

    def is_folder(self, key: str) -> bool:
        """Ask whether anything is in it."""
        return self.holds(key)

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """List page by page, and sort what comes in another order than by key; else walk the folders.

        By `ls` and not by fsspec's `find` and `walk`: those leave out a folder that can't be listed, and `on_error`
        does not reach the folders below.
        """
        if self.one_level is not None:
            waiting = Event()
            yield from self._key_order.entries(ahead(self._pages(prefix, waiting), waiting))
            return

        def inside(each: tuple[str, Entry | None]) -> list[tuple[str, Entry | None]] | None:
            if each[1] is not None:
                return None
            listing = self.children(each[0].rstrip("/"))
            found: list[tuple[str, Entry | None]] = [(each.key, each) for each in listing.entries]
            # A folder sorts as the keys in it do: by its name and a slash.
            found += [(f"{each}/", None) for each in listing.folders]
            return sorted(found, key=itemgetter(0))

        top: tuple[str, Entry | None] = (prefix, None)
        yield from (entry for _, entry in depth_first(top, inside) if entry is not None)

    def listed(self, folder: str, most: int) -> list[str] | None:
        """List page by page, where a class says how."""
        if self.page_size is None:
            return None
        return [entry.key for page in self._pages(folder, **{self.page_size: most}) for entry in page.entries]

    def _pages(self, folder: str, waiting: Event | None = None, /, **options: Any) -> Iterator[Page]:
        """List what lies below a folder; `waiting`: is set while somebody has nothing to do but to wait for them."""
        raise NotImplementedError(folder, waiting, options)

    def _page_of(
        self, infos: Iterable[Mapping[str, Any]], name: str, prefixes: Iterable[str], token: str | None
    ) -> Page:
        """Return a page of the infos of objects, whose names stand at `name`, and of the prefixes of folders."""
        # What ends with a slash is some program's mark of a folder.
        entries = [entry_of(self._named(item[name]), item) for item in infos if not item[name].endswith("/")]
        return Page(entries, [self._named(prefix).rstrip("/") for prefix in prefixes], token)

    def holds(self, folder: str) -> bool:
        """Tell whether anything is below the folder."""
        return next(self.entries(folder), None) is not None

    @property
    def hides_absence(self) -> bool:
        """Whether these credentials may not list; asked once."""
        if self._hides is None:
            try:
                self.holds("")
                self._hides = False
            except StorageError as error:
                if error.errno != errno.EACCES:
                    raise
                self._hides = True
        return self._hides

    _hides: bool | None = None

    # -- copying ----------------------------------------------------------------------------------------------

    def copy(
        self, source: str, target: str, content_type: str, *, size: int | None = None, version: str | None = None
    ) -> None:
        """Let the storage copy where it can; the content type comes along."""
        if not self.asynchronous:
            super().copy(source, target, content_type, size=size)
            return
        try:
            self._copied(source, self._path(source), target, size, version)
        except PreconditionFailed:
            raise FileNotFoundError(errno.ENOENT, "another object by now", source) from None

    def reaches(self, other: Backend) -> bool:
        """Tell whether the other root is opened the same way; chains of filesystems are not looked into."""
        # Equal options mean one account: with others the target may not be allowed to read the source.
        if type(self) is not type(other) or not isinstance(other, FsspecBackend) or not self.asynchronous:
            return False
        return "::" not in self.url + other.url and self._storage_options == other._storage_options

    def copy_from(self, other: Backend, source: str, target: str, size: int) -> None:
        """Let the storage copy from another root of its own."""
        self._copied(source, cast("FsspecBackend", other)._path(source), target, size)

    def _copied(self, source: str, path: str, target: str, size: int | None, version: str | None = None) -> None:
        copy = partial(self._copy_object, path, self._path(target), size, version)
        conditioned = partial(self._conditioned, source, copy, is_given=version is not None)
        if not self._ask(target, lambda: self._sync(_has_found, conditioned)):
            raise FileNotFoundError(errno.ENOENT, "no such object", source)

    async def _copy_object(self, path: str, target: str, size: int | None, version: str | None) -> None:
        del size, version  # for those that know them
        await self.fs._cp_file(path, target)

    # -- removing ------------------------------------------------------------------------------------------

    def delete(self, keys: Iterable[str], *, keep_folders: bool = False) -> dict[str, MediaError]:
        """Remove objects one by one, concurrently where the filesystem can; folders are left to the filesystem."""
        wanted = list(keys)
        for key in wanted[:1]:
            self.check(key)
        failed = self._failures(wanted, [partial(self._delete_one, key) for key in wanted])
        return {wanted[index]: error for index, error in failed.items()}

    async def _delete_one(self, key: str) -> MediaError | None:
        return await self._done(key, partial(self._call, "rm_file", self._path(key)))

    async def _done(self, key: str, call: Callable[[], Awaitable[object]]) -> MediaError | None:
        """Make a call, once more without an answer, and return what went wrong; what is gone already is done.

        The error is returned, so that one key's failure does not hide the others'.
        """
        try:
            with ErrorTranslator(key, self._secrets), suppress(FileNotFoundError):
                await repeated(call)
        except MediaError as error:
            return error
        return None

    # -- versions ------------------------------------------------------------------------------------------

    def version_rules(self) -> VersionRules:
        """Say that nobody can tell, of object stores without a class of their own and of chains."""
        if self.asynchronous or "::" in self._given_url:
            return VersionRules(None, unknown=f"fsmedia does not know whether {self.url} keeps older versions")
        return VersionRules()

    async def _read_version(self, version: Version) -> bytes:
        """Read a version; raises FileNotFoundError without one."""
        raise NotImplementedError(version)

    def read_versions(self, versions: Sequence[Version]) -> list[bytes | None]:
        """Read all at once."""

        async def read(version: Version) -> bytes | None:
            try:
                return await self._read_version(version)
            except FileNotFoundError:
                return None

        return self._each(versions[0].key if versions else None, [partial(read, each) for each in versions])

    # -- conditions ----------------------------------------------------------------------------------------

    @property
    def exclusion(self) -> Exclusion:
        """What the server keeps; asked once for each place in a process, by a write that must be refused."""
        if not self.conditional:
            return Exclusion.NONE
        place = self._place()
        if place not in _EXCLUSIONS:
            _EXCLUSIONS[place] = self._probed()
        return _EXCLUSIONS[place]

    @property
    def known_exclusion(self) -> Exclusion | None:
        """What the server was found to keep, if a write of this process has asked it."""
        return _EXCLUSIONS.get(self._place()) if self.conditional else self.exclusion

    async def _conditioned(
        self, key: str, call: Callable[[], Awaitable[Any]], *, is_given: bool, is_removal: bool = False
    ) -> Any:
        """Make a call that may have a condition: `PreconditionFailed` where that does not hold.

        A removal gives None where nothing is: it was asked again for want of an answer, or somebody else removed it.
        """
        try:
            return await call()
        except Exception as error:
            if is_removal and self._is_missing(error):
                return None
            if is_given and self._is_refused(error):
                raise refused(key) from None
            raise

    def _is_missing(self, error: Exception) -> bool:
        return isinstance(error, FileNotFoundError)

    def _is_refused(self, error: Exception) -> bool:
        # gcsfs's word for 412.
        return isinstance(error, FileExistsError)

    def _place(self) -> tuple[object, str, str]:
        return type(self), self.endpoint or "", "" if self.endpoint else self._bucket

    def _probed(self) -> Exclusion:
        """Write over a key that is not there: who keeps conditions refuses, and nothing lies there afterwards."""
        key = keys.probe_key()
        try:
            self.put(key, b"", "application/octet-stream", if_token=self._never_there)
        except PreconditionFailed:
            return Exclusion.CONDITIONS
        except StorageError as error:
            if knows_not(error):
                return Exclusion.NONE
            raise
        for failed in self.delete([key]).values():
            raise failed
        return Exclusion.NONE

    _never_there: ClassVar[str] = '"0"'
    """A token that no object has."""


_EXCLUSIONS: dict[tuple[object, str, str], Exclusion] = {}


def knows_not(error: StorageError) -> bool:
    """Tell whether a server answered that it has no such request; some say 400 to what they do not know."""
    return any(word in error.problem for word in _NOT_IMPLEMENTED)


_NOT_IMPLEMENTED = ("NotImplemented", "not implemented", "MethodNotAllowed", "InvalidArgument", "Not Implemented")
