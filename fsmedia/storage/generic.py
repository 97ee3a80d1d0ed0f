"""Any filesystem of fsspec's without a class of its own: SFTP, FTP, SMB, WebDAV, archives, HTTP, caches, ...

Their dialects are met here: what "missing" looks like, how a file is replaced, which can only be read, and what they do
slowly by themselves: paramiko waits for each 32 KB, webdav4 and ftplib's filesystem list folders to look at a file.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
import weakref
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from ftplib import error_perm
from functools import partial
from http import HTTPStatus
from inspect import signature
from math import ceil
from stat import S_ISDIR
from threading import RLock
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote
from uuid import uuid4

from fsspec import AbstractFileSystem
from fsspec.dircache import DirCache
from fsspec.implementations.cached import CachingFileSystem

from fsmedia.errors import CorruptMediaError, InvalidReferenceError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.storage.errors import check_absence
from fsmedia.storage.fsspec_backend import CONCURRENCY, FsspecBackend
from fsmedia.storage.port import Backend, Exclusion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO, Self, TypeVar

    from fsmedia.storage.obstore_engine import Engine

    T = TypeVar("T")

_LOST = frozenset({"EOFError", "SSHException", "error_temp", "SMBConnectionClosed", "TransportError"})
"""Errors by which ftplib, paramiko, smbprotocol and httpx say that a connection is no more, or that nobody answers."""
READ_ONLY = frozenset({"zip", "tar", "libarchive", "http", "https", "github", "git", "reference", "data", "jar"})
"""Protocols of filesystems that write nothing, or not what fsmedia needs."""
_LEADS_ELSEWHERE = re.compile(r"[?#]|/\.{1,2}/?$")
"""Signs of a link in an index page that names nothing in its folder."""
_REFUSE_FULL = frozenset({"sftp", "ssh", "ftp", "smb"})
"""Protocols whose servers remove no folder in which anything is; WebDAV's remove all of it."""
_INVALID_NAME, _ACCESS_DENIED, _SHARING_VIOLATION, _DELETE_PENDING = 0xC0000033, 0xC0000022, 0xC0000043, 0xC0000056
"""NTSTATUS of SMB's answers."""
_NO_SUCH_NAME = (_INVALID_NAME, _DELETE_PENDING)
_IN_USE = (_ACCESS_DENIED, _SHARING_VIOLATION, _DELETE_PENDING)
"""What SMB says, among others, of a file that somebody has open."""
_NOT_ON_WINDOWS = re.compile(
    r'[\x00-\x1f"*:<>?\\|]|[. ](/|$)|(^|/)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])[ ]*(\.[^/]*)?(/|$)',
    re.IGNORECASE,
)
"""What no name of SMB's has: `a:b` is a stream of `a`, a dot at the end is left out, `nul` is a device."""
_NOWHERE = f"{keys.INTERNAL}/no-such-name"
"""A key at which nothing ever lies."""
_CUT = re.compile("[?;]")
_REQUEST = 32768
"""Bytes of a request of paramiko's, for which it waits unless it is told not to."""
_LOOKS = 8
"""How often a file is moved over one that is in use: for about five seconds."""
_AHEAD = 64 * _REQUEST
"""Bytes that are asked for, or sent, at once."""


class GuardedFileSystem:
    """A filesystem that one thread at a time calls, unless it is asynchronous, and that says plainly what is missing.

    Attributes are the filesystem's own.
    """

    def __init__(self, filesystem: AbstractFileSystem) -> None:
        self._filesystem = filesystem
        # Of a connection with one conversation (paramiko, FTP) threads would read each other's answers.
        self._lock: Any = nullcontext() if filesystem.async_impl else RLock()
        client = None if filesystem.async_impl else getattr(filesystem, "client", None)
        close = getattr(getattr(client, "http", client), "close", None)  # of WebDAV, of httpx's client in it
        if close is not None:
            weakref.finalize(self, _close, close, os.getpid())

    def __enter__(self) -> None:
        self._lock.__enter__()

    def __exit__(self, *raised: object) -> None:
        self._lock.__exit__(*raised)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._filesystem, name)
        return partial(self.call, found) if callable(found) and not self._filesystem.async_impl else found

    def call(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """Call something of the filesystem; `FileNotFoundError` however it says that a path is not there."""
        with self:
            try:
                return function(*args, **options)
            except FileNotFoundError:
                raise
            except Exception as error:
                names = {kind.__name__ for kind in type(error).__mro__}
                # Without credits smbprotocol says nothing more: they are gone with answers that did not come.
                if names & _LOST or str(error) == "Socket is closed" or "credits are available" in str(error):
                    raise ConnectionError(f"the connection failed: {error}") from error
                if _status_of(error) == HTTPStatus.NOT_FOUND:
                    # It was there a moment before: WebDAV servers show nothing where a file is being replaced. Asked
                    # again it is there, or said to be missing by the look before.
                    raise ConnectionError("it vanished while it was read") from error
                # FTP says 550 of a path that is not there, and of one that is not allowed; archives raise KeyError.
                unclear = isinstance(error, KeyError) or type(error).__name__ == "error_perm"
                # Nor is anything below a file, under a name that is none for SMB, or under one that goes with a reader.
                status, number = getattr(error, "ntstatus", None), getattr(error, "errno", None)
                missing = number in (errno.ENOENT, errno.ENOTDIR) or status in _NO_SUCH_NAME
                absent = not self._is_there(*args) if unclear else missing
                if not absent:
                    raise
                raise FileNotFoundError(errno.ENOENT, str(error)) from error

    def _is_there(self, path: str, *_: Any) -> bool:
        try:
            self._filesystem.info(path)
        except FileNotFoundError as error:
            check_absence(error)
            return False
        return True


def _own(url: str) -> dict[str, Any]:
    """Return with what a filesystem is opened that nobody else uses; SMB's logs in by itself, see `_Smb`."""
    return {"skip_instance_cache": True, **({"register_session_retries": -1} if url.startswith("smb:") else {})}


def _status_of(error: Exception) -> int | None:
    """Return the status of an answer that webdav4 made an error of."""
    return getattr(getattr(error, "response", None), "status_code", None)


class _Answers:
    """The answers to many requests of paramiko's, by their numbers, in whatever order they come."""

    def __init__(self) -> None:
        self.by_number: dict[int, tuple[int, Any]] = {}

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        self.by_number[number] = kind, message


def _pipelined(client: Any, requests: Iterable[Sequence[object]]) -> list[bytes]:
    """Send requests without waiting for each answer, then wait for all; return the bytes of each, if it has any."""
    from paramiko.sftp import CMD_DATA

    answers, found = _Answers(), []
    numbers = [client._async_request(answers, *request) for request in requests]
    while len(answers.by_number) < len(numbers):
        client._read_response()
    # Only when all are there: what comes after an error would be taken for answers that nobody waits for.
    for kind, message in map(answers.by_number.__getitem__, numbers):
        found.append(message.get_string() if kind == CMD_DATA else b"")
        if kind != CMD_DATA:
            with suppress(EOFError):  # the file ends before this part
                client._convert_status(message)
    return found


class _PipelinedFile:
    """A file of paramiko's to read that asks for many parts at once: by itself it waits for each 32 KB of them.

    Paramiko can do so too (`readv`), by a thread: it waits for ever where a part is missing, or is read once more, and
    keeps parts that were read before they came.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._size: int | None = None
        self._position = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; from the end the server is asked where that is."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        self._position = (self._file.stat().st_size if start is None else start) + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, or all that follow; fewer at the end."""
        if self._size is None and not 0 <= size <= _REQUEST:
            self._size = self._file.stat().st_size or 0
        pieces: list[bytes] = []
        while size:
            # As much as is known to follow, and where nothing is, one request for what came since.
            wanted = max(_REQUEST, min(_AHEAD, (self._size or 0) - self._position))
            data = self._parts(wanted if size < 0 else min(wanted, size))
            if not data:
                break
            pieces.append(data)
            self._position += len(data)
            size -= len(data) if size > 0 else 0
        return b"".join(pieces)

    def _parts(self, size: int) -> bytes:
        """Ask for all of it at once; return what came of it from the begin on, less at the end of the file."""
        starts = range(self._position, self._position + size, _REQUEST)
        wanted = [(start, min(_REQUEST, self._position + size - start)) for start in starts]
        data = bytearray()
        for (start, length), part in zip(wanted, self._answers(wanted), strict=True):
            data += part
            # A server may give less than it is asked for.
            while part and (missing := start + length - self._position - len(data)):
                (rest,) = self._answers([(self._position + len(data), missing)])
                if not rest:
                    return bytes(data)
                data += rest
            if not part:
                break
        return bytes(data)

    def _answers(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        from paramiko.sftp import CMD_READ, int64

        handle = self._file.handle
        return _pipelined(self._file.sftp, [(CMD_READ, handle, int64(start), length) for start, length in wanted])


def _propfind(
    ask: Callable[..., T], path: str, data: str | None = None, headers: Any = None, *, follow_redirects: bool = False
) -> T:
    """Ask about one path by a request that tells of nothing else: webdav4 lists a folder each time it looks at it."""
    depth = {} if follow_redirects else {"Depth": "0"}  # which is what it does where it shall list one
    return ask(path, data=data, headers={**(headers or {}), **depth}, follow_redirects=follow_redirects)


class _Smb:
    """The calls of fsspec's filesystem for SMB, over a connection of its own: smbclient has one for a whole process.

    There whoever logged in first is everybody, with whatever password, after a loss it logs in as nobody and encrypts
    nothing, a forked child speaks in it with its parent's voice, and what is not answered is waited for without end.
    """

    def __init__(self, fs: Any, patience: float) -> None:
        self._fs = fs
        self._patience = patience
        self._connections: dict[str, Any] = {}
        fs.ls, fs.info, fs.makedirs, fs.rmdir = self.ls, self.info, self.makedirs, self.rmdir
        fs._open, fs._rm, fs.replace, fs.client = self.open, self.remove, self.replace, self

    def close(self) -> None:
        """Close the connection without a word: nobody may be there to answer."""
        for each in self._connections.values():
            with suppress(OSError):
                each.transport.close()

    def _options(self) -> dict[str, Any]:
        """Return what each function of smbclient is told, the connection with it."""
        from smbprotocol.connection import Connection

        fs = self._fs
        server = f"{fs.host.lower()}:{fs._port}"
        connection = self._connections.get(server)
        if connection is None or not connection.transport.connected:
            connection = Connection(uuid4(), fs.host, fs._port)
            try:
                connection.connect(timeout=ceil(self._patience))
            except ValueError as error:
                raise ConnectionError(str(error)) from error
            connection.transport._sock.settimeout(self._patience)
            connection.transport.send = partial(self._send, connection.transport)
            connection.receive = partial(self._receive, connection)
            self._connections[server] = connection
            _inherited.add(connection)
        login = {"username": fs.username, "password": fs.password, "encrypt": fs.encrypt}
        return {"port": fs._port, "connection_cache": self._connections, **login}

    def _receive(self, connection: Any, request: Any, *args: Any, **options: Any) -> Any:
        """Wait for an answer as long as the store is told to."""
        try:
            return type(connection).receive(connection, request, *args, **{"timeout": self._patience, **options})
        except Exception as error:
            if request.response_event.is_set():
                raise
            # What follows, such as the end of a file that was to be written, would be waited for as long, each time.
            connection.transport.close()
            raise TimeoutError(str(error)) from error

    def _send(self, transport: Any, message: bytes) -> None:
        try:
            type(transport).send(transport, message)
        except OSError as error:
            transport.close()  # it may have sent a part
            raise ConnectionError(f"the connection failed: {error}") from error

    def _place(self, path: str) -> str:
        return f"\\\\{self._fs.host}{path.replace('/', chr(92))}"

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List a folder by what the server says of all its files at once: fsspec asks about each."""
        from smbclient import scandir

        with scandir(self._place(path), **self._options()) as found:
            named = {f"{path.rstrip('/')}/{each.name}": each for each in found}
            if not detail:
                return [*named]
            return [
                self.info(name) if each.is_symlink() else self._entry(
                    name, each.is_dir(), each.smb_info.end_of_file, each.smb_info.last_write_time, each.inode()
                )
                for name, each in named.items()
            ]  # fmt: skip

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Look at a file; its time is as exact as in a listing, so that a file that did not change looks so."""
        from smbclient import stat

        found = stat(self._place(path), **self._options())
        modified = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=found.st_mtime_ns // 1000)
        return self._entry(path, S_ISDIR(found.st_mode), found.st_size, modified, found.st_ino)

    @staticmethod
    def _entry(path: str, is_folder: bool, size: int, modified: datetime, number: int) -> dict[str, Any]:
        if is_folder:
            return {"name": path, "type": "directory", "size": 0, "mtime": modified}
        # Some servers number no files.
        token = f"{number}-{modified.timestamp():.6f}" if number else None
        return {"name": path, "type": "file", "size": size, "mtime": modified, "ETag": token}

    def open(self, path: str, mode: str = "rb", block_size: int | None = None, **_: Any) -> Any:
        """Open a file; by itself nobody else may read one that is read, nor move another one over it."""
        from smbclient import open_file

        sharing = self._fs.share_access or "rwd"
        buffer = -1 if block_size is None else block_size
        return open_file(self._place(path), mode, buffer, share_access=sharing, **self._options())

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder and those above it."""
        from smbclient import makedirs

        if path.strip("/").count("/"):  # else it is the share
            makedirs(self._place(path), exist_ok=exist_ok, **self._options())

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        from smbclient import rmdir

        rmdir(self._place(path), **self._options())

    def remove(self, path: str) -> None:
        """Remove a file, or an empty folder, as fsspec's does."""
        from smbclient import remove

        try:
            remove(self._place(path), **self._options())
        except OSError as error:
            if error.errno != errno.EISDIR:
                raise
            self.rmdir(path)

    def replace(self, source: str, target: str) -> None:
        """Move a file, over one that is there too."""
        from smbclient import replace

        replace(self._place(source), self._place(target), **self._options())


_inherited: weakref.WeakSet[Any] = weakref.WeakSet()
"""Connections of SMB."""


class _NoTransport:
    """What a forked child has of its parent's connection: nothing, for what it said would be said by its parent."""

    connected = False

    def send(self, _: bytes) -> None:
        raise ConnectionError("this connection is of the parent process")

    def close(self) -> None:
        pass


def _leave_to_parent() -> None:
    for each in [*_inherited]:
        each.transport = _NoTransport()


os.register_at_fork(after_in_child=_leave_to_parent)


def _ftp_info(ftp: Any, look: Callable[..., dict[str, Any]], path: str, **options: Any) -> dict[str, Any]:
    """Ask about one path, by RFC 3659: fsspec lists the whole folder in which it lies."""
    # Whatever else is wrong is raised: an answer that comes after all would be taken for that to the next question.
    with suppress(error_perm, LookupError, ValueError):
        facts, _, name = ftp.sendcmd(f"MLST {path}").splitlines()[1].strip().partition(" ")
        pairs = (fact.split("=", 1) for fact in facts.split(";") if fact)
        told = {word.lower(): value for word, value in pairs}
        kind = {"file": "file", "dir": "directory", "cdir": "directory"}[told["type"].lower()]
        if name.endswith(path.rpartition("/")[2]):
            return {**told, "name": path, "size": int(told["size"]) if kind == "file" else 0, "type": kind}
    return look(path, **options)


def _send(filesystem: Any, source: BinaryIO, path: str) -> None:
    """Write a file by paramiko, many parts at once, and see all answers; its own way to do so drops the last ones."""
    from paramiko.sftp import CMD_WRITE, int64

    size = 0
    with filesystem.open(path, "wb") as file:
        while piece := source.read(_AHEAD):
            starts = range(0, len(piece), _REQUEST)
            parts = [(CMD_WRITE, file.handle, int64(size + start), piece[start : start + _REQUEST]) for start in starts]
            _pipelined(file.sftp, parts)
            size += len(piece)
    # What fails at the end is not told by paramiko.
    if (found := filesystem.ftp.stat(path).st_size) != size:
        raise OSError(errno.EIO, f"{found} bytes are there where {size} were written")


def _close(close: Callable[[], object], owner: int) -> None:
    """Close a connection that nobody uses any more, but not in a forked child, whose parent still does."""
    if os.getpid() == owner:
        with suppress(Exception):
            close()


async def checked_range(
    backend: FsspecBackend,
    read: Callable[[str, int | None, int | None], Awaitable[bytes | None]],
    key: str,
    start: int | None,
    end: int | None,
) -> bytes | None:
    """Read a part, and see that it is one: some filesystems, and servers, give the whole file; None: no such file."""
    if start is None and end is None:
        return await read(key, None, None)
    if start is None or end is None or start < 0 or end < 0:
        # From the end none but files that know their size can count, and paramiko's do not.
        if (found := await backend._look(key)) is None:
            return None
        start, end, _ = slice(start, end).indices(found.size)
    if start >= end:
        return None if await backend._look(key) is None else b""
    data = await read(key, start, end)
    if data is None or len(data) == end - start or (found := await backend._look(key)) is None:
        return data
    if len(data) == found.size:
        return data[start:end]
    if len(data) != (size := len(range(found.size)[start:end])):
        problem = f"{len(data)} bytes came where {size} were asked for"
        raise CorruptMediaError(problem, next_step="read it again; look for a proxy in between", key=key)
    return data


class RenamingBackend(FsspecBackend):
    """A root on a filesystem without a class of its own: bytes are written under a temporary name, then renamed.

    In a chain with one of fsspec's caches only bytes that never change come from the cache.
    """

    renames = True
    _cache: CachingFileSystem | None = None
    _cuts_names: bool | None = None

    def __init__(
        self, url: str, storage_options: Mapping[str, Any], timeout: timedelta, engine: Engine = "fsspec"
    ) -> None:
        super().__init__(url, storage_options, timeout, engine)
        links = [self._cache or cast("Any", self.fs)._filesystem]
        for link in links:
            names = {link.protocol} if isinstance(link.protocol, str) else {*link.protocol}
            self.is_read_only |= bool(names & READ_ONLY)
            below = vars(link).get("fs")
            links += [below] if isinstance(below, AbstractFileSystem) else []

    def _open_filesystem(self) -> tuple[AbstractFileSystem, str]:
        filesystem, path = super()._open_filesystem()
        if isinstance(filesystem, CachingFileSystem):
            self._cache, filesystem = filesystem, filesystem.fs
        # Not by an option: paramiko, for one, is handed all that it does not know.
        filesystem.dircache = DirCache(use_listings_cache=False)
        if "webdav" in filesystem.protocol:
            # webdav4 escapes neither ? and # nor what looks like an escape.
            plain = filesystem.client.join_url
            filesystem.client.join_url = lambda path, *args, **options: plain(quote(path), *args, **options)
            filesystem.client.propfind = partial(_propfind, filesystem.client.propfind)
            if "timeout" not in self._last_options():
                filesystem.client.http.timeout = self.timeout.total_seconds()
        if (channel := getattr(getattr(filesystem, "ftp", None), "get_channel", None)) is not None:
            channel().settimeout(self.timeout.total_seconds())  # paramiko waits for ever
        if filesystem.protocol == "smb":
            _Smb(filesystem, float(self._last_options().get("timeout") or self.timeout.total_seconds()))
        if filesystem.protocol == "ftp":
            filesystem.info = partial(_ftp_info, filesystem.ftp, filesystem.info)
        # `tar -cf x.tar .` puts a dot before all names.
        if not path and "tar" in filesystem.protocol and filesystem.isdir("."):
            path = "."
        guarded = cast("AbstractFileSystem", GuardedFileSystem(filesystem))
        self._opened = (os.getpid(), guarded)
        return guarded, path

    def _reconnect(self) -> None:
        # Servers close a connection on which nobody has said anything for some minutes.
        if not self.fs.async_impl:
            self._opened = None

    def _forced_options(self) -> dict[str, Any]:
        # What others use may list from a cache, and a connection can't be used by two at once.
        # A command line can't write the pair that WebDAV takes.
        login = self._storage_options.get("auth")
        forced = {"auth": tuple(login)} if isinstance(login, list) else {}
        return {**forced, **_own(self._given_url)}

    def _chain_options(self) -> dict[str, Any]:
        # For the first of a chain, and for the last: else stores with the same options would share their connection.
        last = self._given_url.rpartition("::")[2]
        return {"skip_instance_cache": True, last.partition("://")[0]: {**self._last_options(), **_own(last)}}

    def _last_options(self) -> dict[str, Any]:
        """Return the options of the filesystem itself: they may stand under its protocol, in a chain nowhere else."""
        given = self._storage_options.get(self._given_url.rpartition("::")[2].partition("://")[0])
        plain = {} if "::" in self._given_url else self._storage_options
        return {**plain, **(given if isinstance(given, dict) else {})}

    @property
    def guard(self) -> AbstractContextManager[Any]:  # type: ignore[override] # known when the filesystem is
        """The filesystem itself, for its files share its connection."""
        return cast("AbstractContextManager[Any]", self.fs)

    @property
    def concurrency(self) -> int:  # type: ignore[override] # known when the filesystem is
        """One call after another over a connection that knows no other way."""
        return CONCURRENCY if self.fs.async_impl else 1

    @property
    def exclusion(self) -> Exclusion:
        """Whatever it is, it can move what lies there."""
        return Exclusion.RENAME

    def _path(self, key: str) -> str:
        # To be read or removed it is not there: SMB would take it for another, out of the root, or hidden.
        return super()._path(_NOWHERE if self._is_smb and _NOT_ON_WINDOWS.search(key) else key)

    # -- reading -------------------------------------------------------------------------------------------

    def _open_file(self, key: str, **options: Any) -> Any:
        if self._cache is not None and (keys.is_own_name(key) or keys.parse_blob_key(key) is not None):
            return cast("Any", self.fs).call(self._cache.open, self._path(key), "rb", block_size=options["block_size"])
        file = super()._open_file(key, **options)
        return _PipelinedFile(file) if self._is_paramiko else file

    async def _range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        if self._is_paramiko:
            return await checked_range(self, self._part_at_once, key, start, end)
        kind = type(cast("Any", self.fs)._filesystem)
        if self.fs.async_impl and "start" not in signature(kind._cat_file).parameters:
            # sshfs knows ranges in its files alone, which wait for the loop that this runs on.
            return await checked_range(self, self._part_of_file, key, start, end)
        return await checked_range(self, super()._range, key, start, end)

    @property
    def _is_smb(self) -> bool:
        return bool(cast("Any", self.fs)._filesystem.protocol == "smb")

    @property
    def _is_paramiko(self) -> bool:
        return hasattr(getattr(cast("Any", self.fs)._filesystem, "ftp", None), "putfo")

    async def _part_at_once(self, key: str, start: int | None, end: int | None) -> bytes | None:
        def read() -> bytes:
            with _PipelinedFile(self.fs.open(self._path(key), "rb")) as file:
                file.seek(start or 0)
                return file.read(-1 if end is None else end - (start or 0))

        try:
            data: bytes = cast("Any", self.fs).call(read)
        except FileNotFoundError as error:
            self._check_absence(error)
            return None
        return data

    async def _part_of_file(self, key: str, start: int | None, end: int | None) -> bytes | None:
        try:
            return await asyncio.to_thread(AbstractFileSystem.cat_file, self.fs, self._path(key), start, end)
        except FileNotFoundError:
            return None

    def is_folder(self, key: str) -> bool:
        """Look first: some FTP servers list a file as what lies in it."""
        return self.head(key) is None and super().is_folder(key)

    # -- writing -------------------------------------------------------------------------------------------

    def check(self, key: str) -> None:
        """Refuse what can only be read, and names that SMB takes for others."""
        super().check(key)
        if self._is_smb and _NOT_ON_WINDOWS.search(key):
            problem = 'SMB knows no names with any of " * : < > ? \\ |, with a dot or a space at the end, or like nul'
            raise InvalidReferenceError(problem, next_step="choose a name without them", key=key)

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Put bytes unless there are any; a store's settings only where what is there can be replaced later."""
        self.check(key)
        if key == keys.CONFIGURATION_KEY and self.head(key) is None:
            self._check_replaces()
        return super().create(key, data, content_type)

    def _check_replaces(self) -> None:
        """Write a file twice, and look: `StorageError` where the second one is not what lies there then."""
        probe = keys.probe_key()
        try:
            for data in (b"before", b"after"):
                self.write(probe, data, "application/octet-stream")
            said = "" if self.read(probe) == b"after" else "the file is still the one before"
        except StorageError as error:
            said = error.problem
        finally:
            with suppress(MediaError):
                self.delete([probe])
        if said:
            problem = f"{self.url} can't replace a file, so no store can be kept there: {said}"
            raise StorageError(problem, next_step="choose another storage, or another filesystem for this one")

    def rename(self, source: str, target: str) -> bool:
        """Move within the filesystem."""

        def moved() -> bool:
            self._make_parent(target)
            try:
                self._replace(self._path(source), self._path(target))
            except FileNotFoundError:
                # Asked again for want of an answer it may have been moved: by its target, which nobody else knows.
                return bool(self.fs.exists(self._path(target)))
            return True

        self.check(target)
        return self._ask(source, moved)

    def remove_folder(self, key: str) -> None:
        """Remove an empty folder, where servers refuse one that is not: others would take along what came just now."""
        named = cast("Any", self.fs)._filesystem.protocol
        if _REFUSE_FULL & ({named} if isinstance(named, str) else {*named}):
            with suppress(Exception):  # there are many words for one that is not empty
                self.fs.rmdir(self._path(key))

    def _replace(self, source: str, target: str) -> None:
        """Rename, over what lies at the target too, in the words of filesystems whose `mv` does not."""
        guarded = cast("Any", self.fs)
        fs = guarded._filesystem
        if self._is_smb:
            # Whoever has the target open, to read it or to move something there, keeps it from being replaced.
            for attempt in range(_LOOKS - 1):
                try:
                    guarded.replace(source, target)
                except OSError as error:
                    if getattr(error.__cause__ or error, "ntstatus", None) not in _IN_USE:
                        raise
                else:
                    return
                self.wait(attempt)
            guarded.replace(source, target)
        elif "webdav" in fs.protocol:
            from webdav4.fsspec import translate_exceptions

            if _CUT.search(target):
                self._check_names()
            guarded.call(translate_exceptions()(fs.client.move), source, target, overwrite=True)
        elif getattr(fs.mv, "__func__", None) is AbstractFileSystem.mv:
            # Which would take brackets in names for patterns.
            guarded.cp_file(source, target)
            guarded.rm_file(source)
        else:
            guarded.mv(source, target)

    def _check_names(self) -> None:
        """Refuse names with ? and ; where the server cuts them off when it moves a file: WsgiDAV hits another file."""
        from webdav4.client import ResourceAlreadyExists

        if self._cuts_names is None:
            key, client = keys.probe_key(), cast("Any", self.fs).client
            plain, cut = self._path(key), self._path(keys.probe_key())
            odd = f"{cut}?;."
            try:
                self._make_parent(key)
                self._send(io.BytesIO(b""), plain)
                # Over nothing: cut off in the name of the root, it would hit what lies beside that.
                client.move(plain, odd, overwrite=False)
                self._cuts_names = not self.fs.exists(odd)
            except ResourceAlreadyExists:
                self._cuts_names = True
            finally:
                for each in (plain, cut, odd):
                    with suppress(Exception):
                        self.fs.rm_file(each)
        if self._cuts_names:
            problem = "this server cuts names off at ? and ; when it moves a file"
            raise InvalidReferenceError(problem, next_step="choose a name without them")

    def _make_parent(self, key: str) -> None:
        folder = self._path(key).rpartition("/")[0]
        # Each try that fails, for others make the same folders, finds one more of them.
        for _ in range(folder.count("/")):
            with suppress(Exception):
                self.fs.makedirs(folder, exist_ok=True)
                return
        self.fs.makedirs(folder, exist_ok=True)

    def _put(self, key: str, data: bytes, **options: Any) -> None:
        self._by_rename(
            key, lambda path: self._send(io.BytesIO(data), path) or self.fs.pipe_file(path, data, **options)
        )

    def put_file(self, key: str, file: Path, size: int, content_type: str, *, if_absent: bool = False) -> None:
        """Write a file of this machine aside, then rename it."""

        def put(path: str) -> None:
            with file.open("rb") as opened:
                if not self._send(opened, path):
                    self.fs.put_file(str(file), path)

        self._ask(key, lambda: self._by_rename(key, put))

    def _send(self, source: BinaryIO, path: str) -> bool:
        """Write a file where the filesystem's own way is slow; False where it is not, and nothing was written."""
        guarded = cast("Any", self.fs)
        fs = guarded._filesystem
        if self._is_paramiko:
            guarded.call(_send, fs, source, path)
        elif "webdav" in fs.protocol:
            # Its filesystem looks at each folder above, too, whenever it writes.
            guarded.call(fs.client.upload_fileobj, source, path, overwrite=True)
        else:
            return False
        return True

    def _by_rename(self, key: str, put: Callable[[str], object]) -> None:
        self.check(key)
        path = self._path(key)
        folder = path.rpartition("/")[0]

        def aside() -> str:
            # In the same folder: a rename to another one may be a copy, which readers would see half done.
            return "/".join(filter(None, (folder, keys.temporary_name())))

        temporary = aside()
        try:
            try:
                put(temporary)
            except Exception as error:
                # There are many words for a folder that is missing, which it seldom is. WebDAV's is 409, and somebody
                # may have made the folder since.
                said = isinstance(error, FileNotFoundError) or _status_of(error) == HTTPStatus.CONFLICT
                if not said and self.fs.isdir(folder):
                    raise
                self._make_parent(key)
                # By another name: what is under way by the first one, without an answer, may come yet.
                temporary = aside()
                put(temporary)
            self._replace(temporary, path)
        except BaseException:
            with suppress(Exception):
                self.fs.rm_file(temporary)
            raise

    def copy(
        self, source: str, target: str, content_type: str, *, size: int | None = None, version: str | None = None
    ) -> None:
        """Read and write: what such a filesystem copies by itself can be seen half done."""
        Backend.copy(self, source, target, content_type, size=size)

    def reaches(self, other: Backend) -> bool:
        """Say no."""
        return False


class HttpBackend(FsspecBackend):
    """A folder of a web server, to read: its names are escaped, and its listings tell no sizes."""

    is_read_only = True

    async def _range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        return await checked_range(self, super()._range, key, start, end)

    def _path(self, key: str) -> str:
        return super()._path(quote(key))

    def _key(self, path: str) -> str:
        return unquote(super()._key(path))

    def store_above(self) -> str | None:
        """Say nothing: no store is made here."""
        return None

    def _check_absence(self, error: OSError) -> None:
        # fsspec says "not found" of a server that it did not reach, and of one that refused.
        if error.__cause__ is not None and getattr(error.__cause__, "status", None) not in (404, 410):
            raise error.__cause__

    def _check_missing(self, folder: str, error: FileNotFoundError) -> list[dict[str, Any]]:
        """Believe it: a server has said 404."""
        return []

    def _open_file(self, key: str, **options: Any) -> Any:
        try:
            return super()._open_file(key, **options)
        except FileNotFoundError as error:
            self._check_absence(error)
            raise

    def _listed(self, path: str) -> list[dict[str, Any]]:
        # Index pages have links to sort them, and to themselves; in a link to a file these signs are escaped.
        found = [each for each in super()._listed(f"{path}/") if not _LEADS_ELSEWHERE.search(each["name"])]
        sizeless = [each["name"] for each in found if each["type"] == "file" and each["size"] is None]
        looked = dict(zip(sizeless, self._each(None, [partial(self._linked, name) for name in sizeless]), strict=True))
        # A link to nothing is no file, whether it went just now or was never there.
        return [{**each, **told} for each in found if (told := looked.get(each["name"], {})) is not None]

    async def _linked(self, url: str) -> dict[str, Any] | None:
        try:
            return cast("dict[str, Any]", await self.fs._info(url))
        except FileNotFoundError as error:
            self._check_absence(error)
            return None

    def sign(self, key: str, expiry: timedelta, *, mime_type: str | None = None, filename: str | None = None) -> str:
        """Return the URL itself, which needs no signature; the server says what the bytes are called."""
        return self._path(key)
