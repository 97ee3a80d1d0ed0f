"""`AsyncMediaStore`: the same store for asyncio, each call in a worker thread; no logic of its own.

A call that is cancelled has happened whole or not at all by the time the cancellation comes out: one that waits for
a thread is taken back, one that has begun is awaited first.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from fsmedia.errors import InvalidMediaError
from fsmedia.store import Durability, MediaStore, OnError, utc_now

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from datetime import datetime
    from os import PathLike
    from types import TracebackType
    from typing import BinaryIO

    from fsmedia.draft import MediaWriter
    from fsmedia.filesystem import MediaFileSystem
    from fsmedia.filesystem.naming import NestedOptions
    from fsmedia.models import (
        MediaContent,
        MediaMetadata,
        MediaRecord,
        OrganizationMode,
        Reference,
        RetentionPolicy,
    )

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 32
_LARGEST_BATCH = 256


class _Workers:
    """Threads that make blocking calls for a loop; made at first use, anew in a forked child."""

    def __init__(self) -> None:
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _Workers, ()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a thread. A cancellation takes the call back, or comes out when it has ended if it had begun."""
        return await self._call(function, args, kwargs, take_back=True)

    async def finish(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a thread, whatever happens: for what must not be left open."""
        return await self._call(function, args, kwargs, take_back=False)

    async def _call(
        self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], *, take_back: bool
    ) -> T:
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="fsmedia"))
        future = self._pool[1].submit(partial(function, *args, **kwargs))
        waiter = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            if not (take_back and future.cancel()):
                await _ended(waiter)
            raise

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool[1].shutdown(wait=False)
            self._pool = None


async def _ended(waiter: asyncio.Future[Any]) -> None:
    """Wait until a begun call has ended, however often the task is cancelled meanwhile."""
    while not waiter.done():
        try:
            await asyncio.wait([waiter])
        except asyncio.CancelledError:
            continue
    if not waiter.cancelled():
        waiter.exception()


def _taken(items: Iterator[T], size: int) -> list[T]:
    return list(islice(items, size))


class AsyncMediaWriter:
    """What `AsyncMediaStore.create_media` hands out; see `MediaWriter`."""

    def __init__(self, workers: _Workers, begin: Callable[[], MediaWriter]) -> None:
        self._workers = workers
        self._begin = begin
        self._writer: MediaWriter | None = None

    async def __aenter__(self) -> Self:
        def enter() -> None:
            writer = self._begin()
            writer.__enter__()
            self._writer = writer

        try:
            await self._workers.call(enter)
        except asyncio.CancelledError as error:
            if self._writer is not None:  # entered, and nobody will leave it
                await self._workers.finish(self._writer.__exit__, type(error), error, None)
            raise
        return self

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes and return how many.

        A write that is cancelled once it has begun gives the media up: whether its bytes arrived can't be told.
        """
        writer = self._opened()
        try:
            return await self._workers.call(writer.write, data)
        except asyncio.CancelledError:
            await self.give_up()
            raise

    async def give_up(self) -> None:
        """Let go of what was written; nothing will be stored. Does nothing to what is stored."""
        await self._workers.finish(self._opened().give_up)

    def writable(self) -> bool:
        """Tell that this is for writing, as file objects do."""
        return self._writer is not None and self._writer.writable()

    @property
    def reference(self) -> Reference:
        """The reference, once the media is stored."""
        return self._opened().reference

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._workers.finish(self._opened().__exit__, kind, error, trace)

    def _opened(self) -> MediaWriter:
        if self._writer is None:
            raise InvalidMediaError("is not open", next_step="use it in an `async with` statement")
        return self._writer


class AsyncMediaStore:
    """`MediaStore` for asyncio: same constructor, same methods as coroutines, iterators are asynchronous.

    The root is opened by the first call (or `async with`), so that the constructor never blocks the loop; what a
    constructor of `MediaStore` raises for what is in the root is raised there.
    """

    def __init__(  # noqa: PLR0913 - as MediaStore
        self,
        url: str | PathLike[str] | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        organization: OrganizationMode | str | None = None,
        layouts: Mapping[str, str] | None = None,
        policies: Mapping[str, RetentionPolicy | timedelta] | Iterable[RetentionPolicy] | None = None,
        default_policy: str | None = None,
        max_file_size: int | None = 1 << 30,
        durability: Durability = "fsync",
        read_only: bool = False,
        url_expiry: timedelta = timedelta(hours=1),
        timeout: timedelta = timedelta(seconds=60),
        allow_private_urls: bool = False,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._make = partial(
            MediaStore,
            url,
            storage_options=storage_options,
            organization=organization,
            layouts=layouts,
            policies=policies,
            default_policy=default_policy,
            max_file_size=max_file_size,
            durability=durability,
            read_only=read_only,
            url_expiry=url_expiry,
            timeout=timeout,
            allow_private_urls=allow_private_urls,
            now=now,
        )
        self._store: MediaStore | None = None
        self._workers = _Workers()

    def _opened(self) -> MediaStore:
        """Open the store in the calling thread; two at once both open it, and one of the two is kept."""
        if self._store is None:
            self._store = self._make()
        return self._store

    async def _call(self, method: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self._workers.call(lambda: method(self._opened(), *args, **kwargs))

    async def create(self) -> Self:
        """Write the store's settings now; see `MediaStore.create`."""
        await self._call(MediaStore.create)
        return self

    async def store_media(self, content: MediaContent, metadata: MediaMetadata) -> Reference:
        """Store a media and return the reference to keep; see `MediaStore.store_media`."""
        return await self._call(MediaStore.store_media, content, metadata)

    def create_media(self, metadata: MediaMetadata, mime_type: str) -> AsyncMediaWriter:
        """Return an asynchronous context manager to write bytes as they come; see `MediaStore.create_media`."""
        return AsyncMediaWriter(self._workers, lambda: self._opened().create_media(metadata, mime_type))

    async def retrieve_media(self, reference: str) -> MediaContent:
        """Return a stored media, its bytes not loaded; see `MediaStore.retrieve_media`."""
        return await self._call(MediaStore.retrieve_media, reference)

    async def get_url(self, reference: str, expiry: timedelta | None = None) -> str:
        """Return a URL under which other programs get the bytes; see `MediaStore.get_url`."""
        return await self._call(MediaStore.get_url, reference, expiry)

    async def store_many(
        self, pairs: Iterable[tuple[MediaContent, MediaMetadata]], *, on_error: OnError = "raise"
    ) -> builtins.list[Reference]:
        """Store many media; see `MediaStore.store_many`."""
        return await self._call(MediaStore.store_many, pairs, on_error=on_error)

    async def retrieve_many(
        self, references: Iterable[str], *, on_error: OnError = "raise"
    ) -> builtins.list[MediaContent]:
        """Return many stored media, their bytes not loaded; see `MediaStore.retrieve_many`."""
        return await self._call(MediaStore.retrieve_many, references, on_error=on_error)

    async def delete_many(self, references: Iterable[str], *, on_error: OnError = "raise") -> builtins.list[None]:
        """Delete many media; see `MediaStore.delete_many`."""
        return await self._call(MediaStore.delete_many, references, on_error=on_error)

    async def delete_media(self, reference: str) -> None:
        """Delete a media; see `MediaStore.delete_media`."""
        await self._call(MediaStore.delete_media, reference)

    async def info(self, reference: str) -> MediaRecord:
        """Return all that the store knows of a media; see `MediaStore.info`."""
        return await self._call(MediaStore.info, reference)

    async def metadata(self, reference: str) -> MediaMetadata:
        """Return a media's metadata; see `MediaStore.metadata`."""
        return await self._call(MediaStore.metadata, reference)

    async def exists(self, reference: str) -> bool:
        """Tell whether there is such a media; see `MediaStore.exists`."""
        return await self._call(MediaStore.exists, reference)

    async def open(self, reference: str) -> BinaryIO:
        """Open a media's bytes; reading from the file blocks, so do it in a thread. See `MediaStore.open`."""
        return await self._call(MediaStore.open, reference)

    async def list(  # noqa: PLR0913 - as MediaStore
        self,
        *,
        run_id: str | None = None,
        conversation_id: str | None = None,
        session_id: str | None = None,
        provider_id: str | None = None,
        mime_type: str | None = None,
        policy_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        expires_before: datetime | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Reference]:
        """List references, in the order of their keys; see `MediaStore.list`."""
        references = await self._call(
            MediaStore.list,
            run_id=run_id,
            conversation_id=conversation_id,
            session_id=session_id,
            provider_id=provider_id,
            mime_type=mime_type,
            policy_name=policy_name,
            since=since,
            until=until,
            expires_before=expires_before,
            limit=limit,
        )
        async for reference in self._through(references):
            yield reference

    async def _through(self, items: Iterator[T]) -> AsyncIterator[T]:
        """Take items from a blocking iterator: few at first, for an early answer, then many."""
        size = 8
        while batch := await self._workers.call(partial(_taken, items, size)):
            for item in batch:
                yield item
            size = min(2 * size, _LARGEST_BATCH)

    async def folder(
        self, *, run_id: str | None = None, conversation_id: str | None = None, session_id: str | None = None
    ) -> str:
        """Return the path in which the media of one id lie; see `MediaStore.folder`."""
        return await self._call(
            MediaStore.folder, run_id=run_id, conversation_id=conversation_id, session_id=session_id
        )

    @property
    def fs(self) -> MediaFileSystem:
        """The store as an fsspec filesystem, see `MediaStore.fs`; opens the store if no call did yet."""
        return self._opened().fs

    @property
    def url_options(self) -> NestedOptions:
        """Storage options to give along with `media_url`, see `MediaStore.url_options`."""
        return self._opened().url_options

    def media_url(self, reference: str) -> str:
        """Return the URL under which any fsspec client opens a media; see `MediaStore.media_url`."""
        return self._opened().media_url(reference)

    async def close(self) -> None:
        """Let go of what the store holds open; see `MediaStore.close`."""
        if self._store is not None:
            await self._workers.call(self._store.close)
        self._workers.close()

    async def __aenter__(self) -> Self:
        await self._workers.call(self._opened)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncMediaStore({self._store.url!r})" if self._store else "AsyncMediaStore(not open yet)"
