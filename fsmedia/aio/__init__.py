"""`AsyncMediaStore`: the same store for asyncio, each call in a worker thread; no logic of its own.

A call that is cancelled has happened whole or not at all by the time the cancellation comes out: one that waits for
a thread is taken back, one that has begun is awaited first.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeVar

from fsmedia.aio.workers import Workers
from fsmedia.aio.writer import AsyncMediaWriter
from fsmedia.store import Durability, MediaStore, OnError, utc_now

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Executor
    from datetime import datetime
    from os import PathLike
    from types import TracebackType
    from typing import BinaryIO

    from fsmedia.deletions import DeletionLog
    from fsmedia.filesystem import MediaFileSystem
    from fsmedia.filesystem.naming import NestedOptions
    from fsmedia.models import (
        EnforcementReport,
        MediaContent,
        MediaMetadata,
        MediaRecord,
        OrganizationMode,
        OrphanReport,
        RebuildReport,
        Reference,
        RetentionPolicy,
    )
    from fsmedia.store.retaining import Progress

__all__ = ["AsyncMediaStore", "AsyncMediaWriter"]

T = TypeVar("T")

_LARGEST_BATCH = 256


def _taken(items: Iterator[T], size: int) -> list[T]:
    return list(islice(items, size))


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
        deduplicate: bool | None = None,
        orphan_grace: timedelta | None = None,
        max_file_size: int | None = 1 << 30,
        durability: Durability = "fsync",
        read_only: bool = False,
        url_expiry: timedelta = timedelta(hours=1),
        timeout: timedelta = timedelta(seconds=60),
        allow_private_urls: bool = False,
        deletion_log: DeletionLog = None,
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
            deduplicate=deduplicate,
            orphan_grace=orphan_grace,
            max_file_size=max_file_size,
            durability=durability,
            read_only=read_only,
            url_expiry=url_expiry,
            timeout=timeout,
            allow_private_urls=allow_private_urls,
            deletion_log=deletion_log,
            now=now,
        )
        self._store: MediaStore | None = None
        self._workers = Workers()

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

    async def apply_policy(self, reference: str, policy_name: str | None) -> None:
        """Put a media under a policy; see `MediaStore.apply_policy`."""
        await self._call(MediaStore.apply_policy, reference, policy_name)

    async def hold(self, reference: str, reason: str, *, who: str | None = None) -> None:
        """Keep a media from being deleted, replaced or moved; see `MediaStore.hold`."""
        await self._call(MediaStore.hold, reference, reason, who=who)

    async def release(self, reference: str) -> None:
        """Take the hold from a media; see `MediaStore.release`."""
        await self._call(MediaStore.release, reference)

    async def enforce_policy(
        self,
        *,
        now: datetime | None = None,
        dry_run: bool = False,
        executor: Executor | None = None,
        delete_shared: bool = False,
        stopped: Callable[[], bool] = bool,
        progress: Progress = None,
    ) -> EnforcementReport:
        """Delete every media whose policy let it go; see `MediaStore.enforce_policy`.

        A cancellation comes out once the sweep has done the media it has in hand.
        """

        def sweep(cancelled: Callable[[], bool]) -> EnforcementReport:
            return self._opened().enforce_policy(
                now=now,
                dry_run=dry_run,
                executor=executor,
                delete_shared=delete_shared,
                stopped=lambda: cancelled() or stopped(),
                progress=progress,
            )

        return await self._workers.stoppable(sweep)

    async def sweep_orphans(
        self,
        *,
        grace: timedelta | None = None,
        nobody_writes: bool = False,
        dry_run: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
    ) -> OrphanReport:
        """Remove what crashes left and nothing needs; see `MediaStore.sweep_orphans`."""
        return await self._call(
            MediaStore.sweep_orphans,
            grace=grace,
            nobody_writes=nobody_writes,
            dry_run=dry_run,
            executor=executor,
            progress=progress,
        )

    async def rebuild_due_index(self, *, executor: Executor | None = None, progress: Progress = None) -> RebuildReport:
        """Read all sidecars, and write the due entries that are missing; see `MediaStore.rebuild_due_index`."""
        return await self._call(MediaStore.rebuild_due_index, executor=executor, progress=progress)

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
