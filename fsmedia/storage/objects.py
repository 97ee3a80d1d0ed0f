"""Any storage that fsspec knows. Promises what the port promises as far as the filesystem behind it can.

Filesystems that fsspec calls asynchronous (object stores) are asked concurrently on fsspec's own loop thread; the
others one call after another. `S3Backend` and the like replace single primitives where the general way costs
requests or loses answers.
"""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar

import fsspec
from fsspec.asyn import sync

from fsmedia.errors import MediaError, StorageError
from fsmedia.models import public_url
from fsmedia.storage.errors import explained, secrets_of, storage_error
from fsmedia.storage.infos import entry_of
from fsmedia.storage.port import SEEK_BLOCK, Entry, Fetched, Write
from fsmedia.storage.reading import TranslatedFile
from fsmedia.storage.staging import Spool
from fsmedia.storage.trees import Trees

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from pathlib import Path

    from fsspec import AbstractFileSystem

T = TypeVar("T")

PATIENCE_BYTES = 2**20
"""An upload may take the timeout once more for each of these: slow lines are slow, not dead."""

CONCURRENCY = 32
"""Requests under way at once for one call on an object store."""

_TRIES = 2


class FsspecBackend(Trees):
    """A root that fsspec opens; see `Backend` for the methods.

    Parameters
    ----------
    url
        The root.
    storage_options
        What fsspec's filesystem takes; may hold secrets, which appear in no text this object makes.
    timeout
        Longest wait for one answer.
    """

    options: ClassVar[dict[str, Any]] = {}
    """Options the filesystem must have to see what others wrote."""

    concurrency = CONCURRENCY

    takes_size: ClassVar[bool] = False
    """Whether the filesystem opens a file of known size without a look at it."""

    def __init__(self, url: str, storage_options: Mapping[str, Any], timeout: timedelta) -> None:
        self._given_url = url
        self._storage_options = dict(storage_options)
        self._timeout = timeout
        self._secrets = secrets_of(storage_options, url)
        self._opened: tuple[int, AbstractFileSystem] | None = None
        self.url = "::".join(public_url(link) if "://" in link else link for link in url.split("::")).rstrip("/")
        self._root: str = self._open_filesystem()[1]
        self.root_length = len(self._key_part().encode())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._given_url, self._storage_options, self._timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    # -- the filesystem ------------------------------------------------------------------------------------

    def _open_filesystem(self) -> tuple[AbstractFileSystem, str]:
        forced = {} if "::" in self._given_url else self._forced_options()
        filesystem, path = fsspec.core.url_to_fs(self._given_url, **{**self._storage_options, **forced})
        self._opened = (os.getpid(), filesystem)
        return filesystem, str(path).rstrip("/")

    def _forced_options(self) -> dict[str, Any]:
        """Return the options that this storage must have, whatever the caller gave."""
        return self.options

    @property
    def fs(self) -> AbstractFileSystem:
        """The filesystem; a forked child makes its own, for sessions and loops do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            return self._open_filesystem()[0]
        return self._opened[1]

    def _key_part(self) -> str:
        """Return the part of the root that is in each object's key."""
        return self._root

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _key(self, path: str) -> str:
        return path.removeprefix("/")[len(self._root.removeprefix("/")) :].removeprefix("/")

    def roots(self) -> Sequence[str]:
        """Return the URL, and the URL with the filesystem's other protocol names."""
        names = self.fs.protocol
        names = (names,) if isinstance(names, str) else names
        bare = self._root.removeprefix("/")
        return [self.url, *(f"{name}://{bare}" for name in names), *(f"{name}:///{bare}" for name in names)]

    def _ask(self, key: str | None, call: Callable[[], T]) -> T:
        """Make one call; a call without an answer is made once more, for all of them can be repeated."""
        with explained(key, self._secrets):
            for left in reversed(range(_TRIES)):
                try:
                    return call()
                except (TimeoutError, ConnectionError):
                    if not left:
                        raise
            raise AssertionError

    def _sync(self, function: Callable[..., Awaitable[T]], *args: Any, size: int = 0, **options: Any) -> T:
        """Run a coroutine function on fsspec's loop and wait, as long as its size allows."""
        patience = self._timeout.total_seconds() * (1 + size // PATIENCE_BYTES)
        answer: T = sync(self.fs.loop, function, *args, timeout=patience, **options)
        return answer

    def _each(self, key: str | None, jobs: Sequence[Callable[[], Any]], size: int = 0) -> list[Any]:
        """Do several things: at once where the filesystem is asynchronous. Jobs return results or coroutines."""
        if not self.fs.async_impl:
            return [self._ask(key, job) for job in jobs]

        async def all_of() -> list[Any]:
            gate = asyncio.Semaphore(CONCURRENCY)

            async def one(job: Callable[[], Awaitable[Any]]) -> Any:
                async with gate:
                    return await job()

            return await asyncio.gather(*(one(job) for job in jobs))

        return self._ask(key, lambda: self._sync(all_of, size=size + len(jobs) // CONCURRENCY * PATIENCE_BYTES))

    # -- writing -------------------------------------------------------------------------------------------

    def _put_options(self, content_type: str) -> dict[str, Any]:
        """Return the keyword with which this filesystem sets a content type."""
        del content_type
        return {}

    def write(self, key: str, data: bytes, content_type: str) -> None:
        """Put bytes."""
        self._ask(key, lambda: self._put(key, data, **self._put_options(content_type)))

    def write_many(self, writes: Sequence[Write]) -> dict[int, MediaError]:
        """Send small objects at once where the filesystem can."""
        if len(writes) == 1 or not self.fs.async_impl or not all(isinstance(write.data, bytes) for write in writes):
            return super().write_many(writes)

        def writer(write: Write) -> Callable[[], Awaitable[MediaError | None]]:
            path, options = self._path(write.key), self._put_options(write.content_type)
            return partial(self._done_async, write.key, lambda: self.fs._pipe_file(path, write.data, **options))

        size = sum(len(write.data) for write in writes if isinstance(write.data, bytes))
        return self._failures([write.key for write in writes], [writer(write) for write in writes], size)

    def _failures(
        self, wanted: Sequence[str], jobs: Sequence[Callable[[], Any]], size: int = 0
    ) -> dict[int, MediaError]:
        """Do several things that answer with an error or None; without any answer, all have failed."""
        try:
            answers = self._each(wanted[0] if wanted else None, jobs, size)
        except MediaError as error:
            answers = [StorageError(error.problem, next_step=error.next_step, key=key) for key in wanted]
        return {index: answer for index, answer in enumerate(answers) if answer is not None}

    def _put(self, key: str, data: bytes, **options: Any) -> None:
        if self.fs.async_impl:
            self._sync(self.fs._pipe_file, self._path(key), data, size=len(data), **options)
        else:
            self.fs.pipe_file(self._path(key), data, **options)

    def _put_file(self, key: str, file: Path, size: int, content_type: str) -> None:
        path, options = self._path(key), self._put_options(content_type)
        if self.fs.async_impl:
            self._ask(key, lambda: self._sync(self.fs._put_file, str(file), path, size=size, **options))
        else:
            self._ask(key, lambda: self.fs.put_file(str(file), path, **options))

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Put bytes unless there are any; here by looking first, which two creators can both pass."""
        if self.head(key) is not None:
            return False
        self.write(key, data, content_type)
        return True

    def stage(self, key: str) -> Spool:
        """Spool; nothing is sent before the commit."""
        return Spool(
            key,
            self.write,
            self._put_file,
            lambda key, data, kind: self.head(key) is None if data is None else self.create(key, data, kind),
        )

    # -- reading -------------------------------------------------------------------------------------------

    def fetch(self, reads: Sequence[str] = (), heads: Sequence[str] = ()) -> Fetched:
        """Read and look, all at once on an object store."""
        jobs = [*(self._reader(key) for key in reads), *(self._looker(key) for key in heads)]
        answers = self._each((*reads, *heads)[0] if jobs else None, jobs)
        return Fetched(answers[: len(reads)], answers[len(reads) :])

    def _reader(self, key: str) -> Callable[[], Any]:
        path = self._path(key)

        def read() -> bytes | None:
            try:
                data: bytes = self.fs.cat_file(path)
            except (FileNotFoundError, IsADirectoryError):
                return None
            return data

        async def read_async() -> bytes | None:
            try:
                data: bytes = await self._cat(path)
            except (FileNotFoundError, IsADirectoryError):
                return None
            return data

        return read_async if self.fs.async_impl else read

    async def _cat(self, path: str) -> bytes:
        data: bytes = await self.fs._cat_file(path)
        return data

    def _looker(self, key: str) -> Callable[[], Any]:
        path = self._path(key)

        def look() -> Entry | None:
            try:
                found = self.fs.info(path)
            except FileNotFoundError:
                return None
            return entry_of(key, found) if found["type"] == "file" else None

        async def look_async() -> Entry | None:
            try:
                found = await self._info(path)
            except FileNotFoundError:
                return None
            return entry_of(key, found) if found["type"] == "file" else None

        return look_async if self.fs.async_impl else look

    async def _info(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.fs._info(path)
        return found

    def open(self, key: str, *, block_size: int = SEEK_BLOCK, size: int | None = None) -> BinaryIO:
        """Open with a block size made for seeking; what goes wrong while reading is explained too."""
        known = {"size": size} if size is not None and self.takes_size else {}
        try:
            file = self.fs.open(self._path(key), "rb", block_size=block_size, cache_type="readahead", **known)
            if known:
                # Else s3fs would ask for them at the first read.
                file.details = {"name": self._path(key), "size": size, "type": "file"}
                return TranslatedFile(file, key, self._secrets)
            if (getattr(file, "details", None) or {}).get("type") == "directory":  # s3fs opens it as an empty file
                file.close()
                raise IsADirectoryError(key)
        except (FileNotFoundError, IsADirectoryError):
            raise FileNotFoundError(errno.ENOENT, "no such object", key) from None
        except Exception as error:  # noqa: BLE001 - clients of storages raise whatever they like
            raised = storage_error(error, key, self._secrets)
            raise raised from raised.__cause__
        if (getattr(file, "details", None) or {}).get("type") == "directory":
            file.close()
            raise FileNotFoundError(errno.ENOENT, "no such object", key)
        return TranslatedFile(file, key, self._secrets)

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """List by fsspec's `find`."""
        folder = self._path(prefix.rstrip("/"))
        with explained(prefix or None, self._secrets):
            self.fs.invalidate_cache()
            found = self.fs.find(folder, detail=True)
        for path in sorted(found):
            key = self._key(path)
            if found[path]["type"] == "file" and path.rstrip("/") != folder and not key.endswith("/"):
                yield entry_of(key, found[path])

    def holds(self, folder: str) -> bool:
        """Tell whether anything is below the folder."""
        return next(self.entries(folder), None) is not None

    # -- removing ------------------------------------------------------------------------------------------

    def delete(self, keys: Iterable[str], *, keep_folders: bool = False) -> dict[str, MediaError]:
        """Remove objects one by one, concurrently where the filesystem can; folders are left to the filesystem."""
        del keep_folders
        wanted = list(keys)
        failed = self._failures(wanted, [self._remover(key) for key in wanted])
        return {wanted[index]: error for index, error in failed.items()}

    def _remover(self, key: str) -> Callable[[], Any]:
        path = self._path(key)
        if self.fs.async_impl:
            return partial(self._done_async, key, lambda: self.fs._rm_file(path))
        return partial(self._done, key, lambda: self.fs.rm_file(path))

    def _done(self, key: str, call: Callable[[], object]) -> MediaError | None:
        """Make a call, once more without an answer, and return what went wrong; what is gone already is done."""

        def done() -> None:
            with suppress(FileNotFoundError):
                call()

        try:
            self._ask(key, done)
        except StorageError as error:
            return error
        return None

    async def _done_async(self, key: str, call: Callable[[], Awaitable[object]]) -> MediaError | None:
        for left in reversed(range(_TRIES)):
            try:
                await call()
            except FileNotFoundError:
                return None
            except (TimeoutError, ConnectionError) as error:
                if not left:
                    return storage_error(error, key, self._secrets)
            except Exception as error:  # noqa: BLE001 - one key's failure must not hide the others'
                return storage_error(error, key, self._secrets)
            else:
                return None
        return None
