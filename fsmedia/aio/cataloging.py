"""The part of an asynchronous store that shows all of it at once: the catalog, and what it adds up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.aio.opening import AsyncRoot
from fsmedia.store import MediaStore

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from fsmedia.catalog import Catalog
    from fsmedia.models import StoreStatistics
    from fsmedia.store.cataloging import Progress


class AsyncCataloging(AsyncRoot):
    """Methods of `AsyncMediaStore` about the catalog."""

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
