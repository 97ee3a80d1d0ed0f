"""What every part of an asynchronous store stands on: its constructor, its worker threads, its life."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from fsmedia.errors import InvalidMediaError
from fsmedia.filesystem.views import VIEW_MAX_AGE
from fsmedia.store import LARGEST, Durability, MediaStore, OnError, utc_now

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Executor
    from datetime import datetime
    from os import PathLike
    from types import TracebackType
    from typing import BinaryIO

    from fsmedia.catalog import Catalog
    from fsmedia.core.ingest import MediaWriter
    from fsmedia.core.lifetime import DeletionLog
    from fsmedia.core.telemetry import Hook
    from fsmedia.display.comparison import By, Comparison
    from fsmedia.display.gallery import Gallery
    from fsmedia.display.gathering import GroupBy, Sort
    from fsmedia.errors import MediaError
    from fsmedia.filesystem import MediaFileSystem
    from fsmedia.maintenance.sync_copy import Check
    from fsmedia.models import (
        DeduplicationReport,
        EnforcementReport,
        Externalized,
        Finding,
        MediaContent,
        MediaMetadata,
        MediaRecord,
        OrganizationMode,
        OrphanReport,
        RebuildReport,
        Receipt,
        ReceiptReport,
        Reference,
        RetentionPolicy,
        StoreStatistics,
        SyncReport,
        VerifyReport,
    )
    from fsmedia.storage.address import NestedOptions
    from fsmedia.store import Progress, ProgressBar

P = ParamSpec("P")
T = TypeVar("T")
_THREADS = 32


class Workers:
    """Threads that make blocking calls for a loop; made at first use, anew in a forked child."""

    def __init__(self) -> None:
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Workers, ()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a thread. A cancellation takes the call back, or comes out when it has ended if it had begun."""
        return await self._call(function, args, kwargs, take_back=True)

    async def finish(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a thread, whatever happens: for what must not be left open."""
        return await self._call(function, args, kwargs, take_back=False)

    async def stoppable(self, function: Callable[[Callable[[], bool]], T]) -> T:
        """Call in a thread what asks from time to time whether to stop; a cancellation also tells it that."""
        told = threading.Event()
        return await self._call(function, (told.is_set,), {}, take_back=True, cancelled=told.set)

    async def _call(
        self,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        take_back: bool,
        cancelled: Callable[[], object] = bool,
    ) -> T:
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="fsmedia"))
        future = self._pool[1].submit(copy_context().run, partial(function, *args, **kwargs))
        waiter = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            cancelled()
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


_LARGEST_BATCH = 256


def _taken(items: Iterator[T], size: int) -> list[T]:
    return list(islice(items, size))


class AsyncMediaWriter:
    """What `AsyncMediaStore.create_media` hands out; see `MediaWriter`."""

    def __init__(self, workers: Workers, begin: Callable[[], MediaWriter]) -> None:
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

    def __init__(
        self,
        url: str | PathLike[str] | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        organization: OrganizationMode | str | None = None,
        layouts: Mapping[str, str] | None = None,
        views: Mapping[str, str] | None = None,
        policies: Mapping[str, RetentionPolicy | timedelta] | Iterable[RetentionPolicy] | None = None,
        default_policy: str | None = None,
        deduplicate: bool | None = None,
        orphan_grace: timedelta | None = None,
        max_file_size: int | None = 1 << 30,
        durability: Durability = "fsync",
        read_only: bool = False,
        url_expiry: timedelta = timedelta(hours=1),
        view_max_age: timedelta | None = VIEW_MAX_AGE,
        timeout: timedelta = timedelta(seconds=60),
        allow_private_urls: bool = False,
        hooks: Iterable[Hook] = (),
        deletion_log: DeletionLog = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._make = partial(
            MediaStore,
            url,
            storage_options=storage_options,
            organization=organization,
            layouts=layouts,
            views=views,
            policies=policies,
            default_policy=default_policy,
            deduplicate=deduplicate,
            orphan_grace=orphan_grace,
            max_file_size=max_file_size,
            durability=durability,
            read_only=read_only,
            url_expiry=url_expiry,
            view_max_age=view_max_age,
            timeout=timeout,
            allow_private_urls=allow_private_urls,
            hooks=hooks,
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

    async def _through(self, items: Iterator[T]) -> AsyncIterator[T]:
        """Take items from a blocking iterator: few at first, for an early answer, then many."""
        size = 8
        while batch := await self._workers.call(partial(_taken, items, size)):
            for item in batch:
                yield item
            size = min(2 * size, _LARGEST_BATCH)

    async def create(self) -> Self:
        """Write the store's settings now; see `MediaStore.create`."""
        await self._call(MediaStore.create)
        return self

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

    async def catalog(
        self, *, refresh: bool = True, executor: Executor | None = None, progress: Progress = None
    ) -> Catalog:
        """Return a table with a row per media; see `MediaStore.catalog`."""
        return await self._call(MediaStore.catalog, refresh=refresh, executor=executor, progress=progress)

    async def stats(
        self, *, refresh: bool = True, top: int = 20, executor: Executor | None = None, progress: Progress = None
    ) -> StoreStatistics:
        """Return what the store holds in numbers; see `MediaStore.stats`."""
        return await self._call(MediaStore.stats, refresh=refresh, top=top, executor=executor, progress=progress)

    async def info_many(
        self, references: Iterable[str], *, on_error: OnError = "raise"
    ) -> builtins.list[MediaRecord | MediaError]:
        """Return all that the store knows of many media; see `MediaStore.info_many`."""
        return await self._call(MediaStore.info_many, references, on_error=on_error)

    async def erase(
        self,
        *,
        run_id: str | None = None,
        conversation_id: str | None = None,
        session_id: str | None = None,
        provider_id: str | None = None,
        forget_log: bool = False,
        dry_run: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
    ) -> Receipt:
        """Erase everything of a subject, wherever it lies; see `MediaStore.erase`.

        A cancellation comes out once the erasure is done: half of one would have no receipt.
        """
        return await self._call(
            MediaStore.erase,
            run_id=run_id,
            conversation_id=conversation_id,
            session_id=session_id,
            provider_id=provider_id,
            forget_log=forget_log,
            dry_run=dry_run,
            executor=executor,
            progress=progress,
        )

    async def check_receipt(
        self,
        receipt: Receipt | Mapping[str, Any] | str | PathLike[str],
        *,
        executor: Executor | None = None,
        progress: Progress = None,
    ) -> ReceiptReport:
        """Look whether anything is there that a receipt calls erased; see `MediaStore.check_receipt`."""
        return await self._call(MediaStore.check_receipt, receipt, executor=executor, progress=progress)

    async def externalize(self, document: Any, metadata: MediaMetadata, *, at_least: int = 1) -> Any:
        """Store the media in an LLM message, and return it with references; see `MediaStore.externalize`."""
        return await self._call(MediaStore.externalize, document, metadata, at_least=at_least)

    async def externalize_text(
        self, text: str, metadata: MediaMetadata, *, at_least: int = 1, dry_run: bool = False
    ) -> Externalized:
        """Do the same in JSON text, or JSON Lines; see `MediaStore.externalize_text`."""
        return await self._call(MediaStore.externalize_text, text, metadata, at_least=at_least, dry_run=dry_run)

    async def inline(self, document: Any, *, at_most: int = LARGEST) -> Any:
        """Put media back where `externalize` took them out; see `MediaStore.inline`."""
        return await self._call(MediaStore.inline, document, at_most=at_most)

    async def inline_text(self, text: str, *, at_most: int = LARGEST) -> str:
        """Do the same in JSON text; see `MediaStore.inline_text`."""
        return await self._call(MediaStore.inline_text, text, at_most=at_most)

    async def gallery(
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
        group_by: GroupBy | None = "conversation",
        sort: Sort = "position",
        limit: int = 50,
        interactive: bool = False,
        progress: ProgressBar = True,
    ) -> Gallery:
        """Show media as cards; see `MediaStore.gallery`."""
        return await self._call(
            MediaStore.gallery,
            run_id=run_id,
            conversation_id=conversation_id,
            session_id=session_id,
            provider_id=provider_id,
            mime_type=mime_type,
            policy_name=policy_name,
            since=since,
            until=until,
            expires_before=expires_before,
            group_by=group_by,
            sort=sort,
            limit=limit,
            interactive=interactive,
            progress=progress,
        )

    async def compare(
        self, run_ids: Iterable[str], *, by: By = "message", limit: int = 200, progress: ProgressBar = True
    ) -> Comparison:
        """Show what several runs made at the same position side by side; see `MediaStore.compare`."""
        return await self._call(MediaStore.compare, run_ids, by=by, limit=limit, progress=progress)

    async def sync_to(
        self,
        url: str | PathLike[str],
        *,
        storage_options: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        conversation_id: str | None = None,
        session_id: str | None = None,
        provider_id: str | None = None,
        mime_type: str | None = None,
        policy_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        expires_before: datetime | None = None,
        delete: bool = False,
        dry_run: bool = False,
        organization: OrganizationMode | str | None = None,
        layouts: Mapping[str, str] | None = None,
        deduplicate: bool | None = None,
        missing_id: str | None = None,
        mapping: str | PathLike[str] | None = None,
        verify_copies: Check = "size",
        executor: Executor | None = None,
        stopped: Callable[[], bool] = bool,
        progress: Callable[[int, int], object] | None = None,
    ) -> SyncReport:
        """Bring media to another root, in any storage; see `MediaStore.sync_to`.

        A cancellation comes out once the sync has done the media it has in hand.
        """

        def work(cancelled: Callable[[], bool]) -> SyncReport:
            return self._opened().sync_to(
                url,
                storage_options=storage_options,
                run_id=run_id,
                conversation_id=conversation_id,
                session_id=session_id,
                provider_id=provider_id,
                mime_type=mime_type,
                policy_name=policy_name,
                since=since,
                until=until,
                expires_before=expires_before,
                delete=delete,
                dry_run=dry_run,
                organization=organization,
                layouts=layouts,
                deduplicate=deduplicate,
                missing_id=missing_id,
                mapping=mapping,
                verify_copies=verify_copies,
                executor=executor,
                stopped=lambda: cancelled() or stopped(),
                progress=progress,
            )

        return await self._workers.stoppable(work)

    async def verify(
        self,
        *,
        deep: bool = False,
        repair: bool = False,
        adopt: bool = False,
        dry_run: bool = False,
        grace: timedelta | None = None,
        nobody_writes: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
        found: Callable[[Finding], object] | None = None,
    ) -> VerifyReport:
        """Look at everything that lies in the store and tell what is wrong; see `MediaStore.verify`."""
        return await self._call(
            MediaStore.verify,
            deep=deep,
            repair=repair,
            adopt=adopt,
            dry_run=dry_run,
            grace=grace,
            nobody_writes=nobody_writes,
            executor=executor,
            progress=progress,
            found=found,
        )

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

    async def deduplicate(
        self, *, dry_run: bool = False, executor: Executor | None = None, progress: Progress = None
    ) -> DeduplicationReport:
        """Let media with the same bytes share them; see `MediaStore.deduplicate`."""
        return await self._call(MediaStore.deduplicate, dry_run=dry_run, executor=executor, progress=progress)

    async def store_media(self, content: MediaContent, metadata: MediaMetadata) -> Reference:
        """Store a media and return the reference to keep; see `MediaStore.store_media`."""
        return await self._call(MediaStore.store_media, content, metadata)

    def create_media(self, metadata: MediaMetadata, mime_type: str) -> AsyncMediaWriter:
        """Return an asynchronous context manager to write bytes as they come; see `MediaStore.create_media`."""
        return AsyncMediaWriter(self._workers, lambda: self._opened().create_media(metadata, mime_type))

    async def store_many(
        self, pairs: Iterable[tuple[MediaContent, MediaMetadata]], *, on_error: OnError = "raise"
    ) -> builtins.list[Reference]:
        """Store many media; see `MediaStore.store_many`."""
        return await self._call(MediaStore.store_many, pairs, on_error=on_error)

    async def delete_many(self, references: Iterable[str], *, on_error: OnError = "raise") -> builtins.list[None]:
        """Delete many media; see `MediaStore.delete_many`."""
        return await self._call(MediaStore.delete_many, references, on_error=on_error)

    async def delete_media(self, reference: str) -> None:
        """Delete a media; see `MediaStore.delete_media`."""
        await self._call(MediaStore.delete_media, reference)

    async def retrieve_media(self, reference: str) -> MediaContent:
        """Return a stored media, its bytes not loaded; see `MediaStore.retrieve_media`."""
        return await self._call(MediaStore.retrieve_media, reference)

    async def get_url(self, reference: str, expiry: timedelta | None = None) -> str:
        """Return a URL under which other programs get the bytes; see `MediaStore.get_url`."""
        return await self._call(MediaStore.get_url, reference, expiry)

    async def retrieve_many(
        self, references: Iterable[str], *, on_error: OnError = "raise"
    ) -> builtins.list[MediaContent]:
        """Return many stored media, their bytes not loaded; see `MediaStore.retrieve_many`."""
        return await self._call(MediaStore.retrieve_many, references, on_error=on_error)

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

    async def list(
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

    async def folder(
        self, *, run_id: str | None = None, conversation_id: str | None = None, session_id: str | None = None
    ) -> str:
        """Return the path in which the media of one id lie; see `MediaStore.folder`."""
        return await self._call(
            MediaStore.folder, run_id=run_id, conversation_id=conversation_id, session_id=session_id
        )
