"""The same filesystem for coroutines: plain reads on fsspec's own loop where it can be, the rest in threads.

Orders of writes are sequences of blocking calls, so they run in worker threads and never on the loop. An instance
made with `asynchronous=True` belongs to its caller's loop; there everything runs in threads.
"""

from __future__ import annotations

import asyncio
import os
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from fsspec.asyn import AbstractAsyncStreamedFile, get_loop, sync
from fsspec.callbacks import DEFAULT_CALLBACK

from fsmedia.core.telemetry import observed
from fsmedia.filesystem.base import not_found
from fsmedia.filesystem.views import Viewing
from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from fsmedia.storage.port import OnLoop

P = ParamSpec("P")
T = TypeVar("T")


class Concurrent(Viewing):
    """The coroutines of `MediaFileSystem`."""

    _pid: int

    @property
    def loop(self) -> Any:
        """The loop that coroutines run on; a forked child has fsspec's own of that process."""
        if self._pid != os.getpid() and not self.asynchronous:
            self._pid = os.getpid()
            self._loop = get_loop()
        return self._loop

    async def _aside(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a worker thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads(), copy_context().run, partial(function, *args, **kwargs))

    def _on_loop(self) -> OnLoop | None:
        """Return the storage's own coroutines if they can be awaited here."""
        return None if self.asynchronous else self._backend.on_loop()

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        reads = self._on_loop()
        if reads is None or self._may_be_viewed(path):
            return await self._aside(self.cat_file, path, start, end)
        return await self._cat_on_loop(reads, path, start, end)

    @observed("retrieve")
    async def _cat_on_loop(self, reads: OnLoop, path: str, start: int | None, end: int | None) -> bytes:
        key = self._existing_key(path)
        where = keys.bytes_key(key)
        if where == key:
            data = await reads.read_range(key, start, end)
        else:
            # Deduplicated: it is there as long as its sidecar is. Both in one round trip.
            looked = reads.read_range(keys.sidecar_key(key), 0, 1)
            sidecar, data = await asyncio.gather(looked, reads.read_range(where, start, end))
            data = None if sidecar is None else data
        if data is None:
            raise not_found(key)
        return data

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        if os.path.isdir(lpath):  # noqa: PTH112, ASYNC240 - of this machine, and quick
            return
        reads = self._on_loop()
        elsewhere = kwargs.get("outfile") is not None or hasattr(lpath, "write")
        if reads is None or elsewhere or self._may_be_viewed(rpath):
            await self._aside(self.get_file, rpath, lpath, callback=callback, **kwargs)
            return
        await self._get_on_loop(reads, rpath, lpath, callback)

    @observed("retrieve")
    async def _get_on_loop(self, reads: OnLoop, rpath: str, lpath: Any, callback: Any) -> None:
        key = self._existing_key(rpath)
        where = keys.bytes_key(key)
        if where != key and await reads.read_range(keys.sidecar_key(key), 0, 1) is None:
            raise not_found(key)
        if not await reads.download(where, lpath, callback):
            if await self._aside(self._backend.is_folder, key):
                os.makedirs(lpath, exist_ok=True)  # noqa: PTH103
                return
            raise not_found(key)

    async def _expand_path(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        assume_literal: bool = False,
    ) -> list[str]:
        return await self._aside(self.expand_path, path, recursive, maxdepth, assume_literal)

    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        on_error: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files, and with `recursive` what is below folders; into the target where that is a folder."""
        if self._on_loop() is None:
            super().copy(path1, path2, recursive, maxdepth, on_error, **kwargs)
            return
        sync(self.loop, self._copy, path1, path2, recursive, on_error, maxdepth, **kwargs)

    async def _copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        on_error: str | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        sources, targets = await self._aside(
            self._paired, path1, path2, self.isdir, recursive=recursive, maxdepth=maxdepth
        )
        await super()._copy(sources, targets, recursive, on_error, maxdepth, **kwargs)

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files to this machine, see `copy`."""
        if self._on_loop() is None:
            super().get(rpath, lpath, recursive, callback, maxdepth, **kwargs)
            return
        sync(self.loop, self._get, rpath, lpath, recursive, callback, maxdepth, **kwargs)

    async def _get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        sources, targets = await self._aside(self._fetched, rpath, lpath, recursive=recursive, maxdepth=maxdepth)
        await super()._get(sources, targets, recursive, callback, maxdepth, **kwargs)

    def put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files of this machine, see `copy`."""
        if self._on_loop() is None:
            super().put(lpath, rpath, recursive, callback, maxdepth, **kwargs)
            return
        sync(self.loop, self._put, lpath, rpath, recursive, callback, maxdepth=maxdepth, **kwargs)

    async def _put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        sources, targets = await self._aside(self._sent, lpath, rpath, recursive=recursive, maxdepth=maxdepth)
        await super()._put(sources, targets, recursive, callback, batch_size, maxdepth, **kwargs)

    async def _info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        return await self._aside(self.info, path, **kwargs)

    async def _exists(self, path: str, **kwargs: Any) -> bool:
        return await self._aside(self.exists, path, **kwargs)

    async def _isfile(self, path: str) -> bool:
        return await self._aside(self.isfile, path)

    async def _isdir(self, path: str) -> bool:
        return await self._aside(self.isdir, path)

    async def _ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        return await self._aside(self.ls, path, detail, **kwargs)

    async def _walk(self, path: str, maxdepth: int | None = None, on_error: Any = "omit", **kwargs: Any) -> Any:
        async for each in super()._walk(path, maxdepth, on_error, **{"views": False, **kwargs}):
            yield each

    async def _find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, **kwargs: Any) -> Any:
        return await self._aside(self.find, path, maxdepth, withdirs, **kwargs)

    async def _du(self, path: str, total: bool = True, maxdepth: int | None = None, **kwargs: Any) -> Any:
        return await self._aside(self.du, path, total, maxdepth, **kwargs)

    async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        await self._aside(self.pipe_file, path, value, mode, **kwargs)

    async def _pipe(self, path: Any, value: bytes | None = None, batch_size: int | None = None, **kwargs: Any) -> None:
        del batch_size
        await self._aside(self.pipe, path, value, **kwargs)

    async def _put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **kwargs: Any
    ) -> None:
        await self._aside(self.put_file, lpath, rpath, callback, mode, **kwargs)

    async def _cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        await self._aside(self.cp_file, path1, path2, **kwargs)

    async def _rm_file(self, path: str, **_: Any) -> None:
        await self._aside(self.rm_file, path)

    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **_: Any,
    ) -> None:
        del batch_size
        await self._aside(self.rm, path, recursive, maxdepth)

    async def _mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        await self._aside(self.mkdir, path, create_parents, **kwargs)

    async def _makedirs(self, path: str, exist_ok: bool = False, **_: Any) -> None:
        await self._aside(self.makedirs, path, exist_ok)

    async def _rmdir(self, path: str) -> None:
        await self._aside(self.rmdir, path)

    async def _touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        await self._aside(self.touch, path, truncate, **kwargs)

    async def open_async(self, path: str, mode: str = "rb", **kwargs: Any) -> StreamedMedia:
        """Open for coroutines: `read`, `write`, `seek`, `close` are awaited."""
        if "b" not in mode or kwargs.pop("compression", None):
            raise ValueError("open_async takes binary modes without compression")
        return StreamedMedia(self, await self._aside(self._open, self._key(path), mode, **kwargs), mode)


class StreamedMedia(AbstractAsyncStreamedFile):
    """An open file whose blocking calls run in threads."""

    def __init__(self, fs: Concurrent, file: Any, mode: str) -> None:
        self.fs = fs
        self.mode = mode
        self._file = file
        self._aside = fs._aside

    def __repr__(self) -> str:
        return f"<awaitable {self._file!r}>"

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return bool(self._file.closed)

    def tell(self) -> int:
        """Return the position."""
        return int(self._file.tell())

    async def read(self, length: int = -1) -> bytes:
        """Read up to `length` bytes, all by default."""
        data: bytes = await self._aside(self._file.read, length)
        return data

    async def seek(self, loc: int, whence: int = 0) -> int:
        """Move."""
        return int(self._file.seek(loc, whence))

    async def write(self, data: bytes) -> int:
        """Take bytes."""
        written: int = await self._aside(self._file.write, data)
        return written

    async def flush(self, force: bool = False) -> None:
        """Do nothing: a media exists when it is closed."""

    async def close(self) -> None:
        """Close; what was written exists then."""
        await self._aside(self._file.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._aside(self._file.__exit__, kind, error, trace)
