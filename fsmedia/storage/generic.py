"""Any filesystem of fsspec's without a class of its own: SFTP, FTP, SMB, WebDAV, archives, HTTP, caches, ...

Their dialects are met here: what "missing" looks like, how a file is replaced, which can only be read.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import weakref
from contextlib import nullcontext, suppress
from functools import partial
from http import HTTPStatus
from inspect import signature
from threading import RLock
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

from fsspec import AbstractFileSystem
from fsspec.dircache import DirCache
from fsspec.implementations.cached import CachingFileSystem

from fsmedia.errors import CorruptMediaError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.storage.errors import check_absence
from fsmedia.storage.fsspec_backend import CONCURRENCY, FsspecBackend
from fsmedia.storage.port import Backend, Exclusion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager
    from datetime import timedelta
    from pathlib import Path
    from typing import TypeVar

    from fsmedia.storage.obstore_engine import Engine

    T = TypeVar("T")

_LOST = ("EOFError", "SSHException", "error_temp")
"""Errors by which ftplib and paramiko say that a connection is no more."""
READ_ONLY = frozenset({"zip", "tar", "libarchive", "http", "https", "github", "git", "reference", "data", "jar"})
"""Protocols of filesystems that write nothing, or not what fsmedia needs."""
_LEADS_ELSEWHERE = re.compile(r"[?#]|/\.{1,2}/?$")
"""Signs of a link in an index page that names nothing in its folder."""
_REFUSE_FULL = frozenset({"sftp", "ssh", "ftp", "smb"})
"""Protocols whose servers remove no folder in which anything is; WebDAV's remove all of it."""


class GuardedFileSystem:
    """A filesystem that one thread at a time calls, unless it is asynchronous, and that says plainly what is missing.

    Attributes are the filesystem's own.
    """

    def __init__(self, filesystem: AbstractFileSystem, *, is_own: bool) -> None:
        self._filesystem = filesystem
        # Of a connection with one conversation (paramiko, FTP) threads would read each other's answers.
        self._lock: Any = nullcontext() if filesystem.async_impl else RLock()
        client = getattr(filesystem, "client", None) if is_own and not filesystem.async_impl else None
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
                if type(error).__name__ in _LOST or str(error) == "Socket is closed":
                    raise ConnectionError(f"the connection failed: {error}") from error
                if getattr(getattr(error, "response", None), "status_code", None) == HTTPStatus.NOT_FOUND:
                    # It was there a moment before: WebDAV servers show nothing where a file is being replaced. Asked
                    # again it is there, or said to be missing by the look before.
                    raise ConnectionError("it vanished while it was read") from error
                # FTP says 550 of a path that is not there, and of one that is not allowed; archives raise KeyError.
                unclear = isinstance(error, KeyError) or type(error).__name__ == "error_perm"
                absent = not self._is_there(*args) if unclear else getattr(error, "errno", None) == errno.ENOENT
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
        # `tar -cf x.tar .` puts a dot before all names.
        if not path and "tar" in filesystem.protocol and filesystem.isdir("."):
            path = "."
        guarded = cast("AbstractFileSystem", GuardedFileSystem(filesystem, is_own="::" not in self._given_url))
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
        return {"skip_instance_cache": True} | ({"auth": tuple(login)} if isinstance(login, list) else {})

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

    # -- reading -------------------------------------------------------------------------------------------

    def _open_file(self, key: str, **options: Any) -> Any:
        if self._cache is not None and (keys.is_own_name(key) or keys.parse_blob_key(key) is not None):
            return cast("Any", self.fs).call(self._cache.open, self._path(key), "rb", block_size=options["block_size"])
        return super()._open_file(key, **options)

    async def _range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        kind = type(cast("Any", self.fs)._filesystem)
        if self.fs.async_impl and "start" not in signature(kind._cat_file).parameters:
            # sshfs knows ranges in its files alone, which wait for the loop that this runs on.
            return await checked_range(self, self._part_of_file, key, start, end)
        return await checked_range(self, super()._range, key, start, end)

    async def _part_of_file(self, key: str, start: int | None, end: int | None) -> bytes | None:
        try:
            return await asyncio.to_thread(AbstractFileSystem.cat_file, self.fs, self._path(key), start, end)
        except FileNotFoundError:
            return None

    def is_folder(self, key: str) -> bool:
        """Look first: some FTP servers list a file as what lies in it."""
        return self.head(key) is None and super().is_folder(key)

    # -- writing -------------------------------------------------------------------------------------------

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
        if fs.protocol == "smb":
            from fsspec.implementations.smb import _as_unc_path
            from smbclient import replace

            guarded.call(replace, *(_as_unc_path(fs.host, each) for each in (source, target)), port=fs._port)
        elif "webdav" in fs.protocol:
            from webdav4.fsspec import translate_exceptions

            guarded.call(translate_exceptions()(fs.client.move), source, target, overwrite=True)
        elif getattr(fs.mv, "__func__", None) is AbstractFileSystem.mv:
            # Which would take brackets in names for patterns.
            guarded.cp_file(source, target)
            guarded.rm_file(source)
        else:
            guarded.mv(source, target)

    def _make_parent(self, key: str) -> str:
        folder = self._path(key).rpartition("/")[0]
        # Each try that fails, for others make the same folders, finds one more of them.
        for _ in range(folder.count("/")):
            with suppress(Exception):
                self.fs.makedirs(folder, exist_ok=True)
                return folder
        self.fs.makedirs(folder, exist_ok=True)
        return folder

    def _put(self, key: str, data: bytes, **options: Any) -> None:
        self._by_rename(key, lambda path: self.fs.pipe_file(path, data, **options))

    def put_file(self, key: str, file: Path, size: int, content_type: str, *, if_absent: bool = False) -> None:
        """Write a file of this machine aside, then rename it."""
        self._ask(key, lambda: self._by_rename(key, lambda path: self.fs.put_file(str(file), path)))

    def _by_rename(self, key: str, put: Callable[[str], object]) -> None:
        self.check(key)
        # In the same folder: a rename to another one may be a copy, which readers would see half done.
        temporary = "/".join(filter(None, (self._make_parent(key), keys.temporary_name())))
        try:
            put(temporary)
            self._replace(temporary, self._path(key))
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
