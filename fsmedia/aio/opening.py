"""What every part of an asynchronous store stands on: its constructor, its worker threads, its life."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeVar

from fsmedia.aio.workers import Workers
from fsmedia.filesystem.sighting import VIEW_MAX_AGE
from fsmedia.store import Durability, MediaStore, utc_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from datetime import datetime
    from os import PathLike
    from types import TracebackType

    from fsmedia.core.deletions import DeletionLog
    from fsmedia.core.telemetry import Hook
    from fsmedia.filesystem import MediaFileSystem
    from fsmedia.models import OrganizationMode, RetentionPolicy
    from fsmedia.storage.naming import NestedOptions

T = TypeVar("T")

_LARGEST_BATCH = 256


def _taken(items: Iterator[T], size: int) -> list[T]:
    return list(islice(items, size))


class AsyncRoot:
    """One root, opened by the first call; `AsyncMediaStore` documents it."""

    def __init__(  # noqa: PLR0913 - as MediaStore
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
