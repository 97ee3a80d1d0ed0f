"""The part of a store that shows all of it at once: the catalog, and what it adds up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia import catalog
from fsmedia.core.telemetry import observed
from fsmedia.store.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from fsmedia.catalog import Catalog
    from fsmedia.models import StoreStatistics

    Progress = Callable[[int], object] | None


class Cataloging(Root):
    """Methods of `MediaStore` about the catalog; they need pyarrow: ``pip install 'fsmedia[catalog]'``."""

    @observed("catalog")
    def catalog(self, *, refresh: bool = True, executor: Executor | None = None, progress: Progress = None) -> Catalog:
        """Return a table with a row per media, by default brought up to date first.

        A refresh lists the store once and reads the sidecars that changed. It writes a Parquet snapshot below
        `.fsmedia/catalog/` if anything did; a store that was opened read-only is refreshed in memory.

        Parameters
        ----------
        refresh
            False: what the newest snapshot says, however old.
        executor
            Any `concurrent.futures.Executor`, of threads, processes or a cluster; it gets the folders below the
            topmost ones, 32 at a time, which costs a listing for each.
        progress
            Called with the number of media listed so far.

        Raises
        ------
        MediaNotFoundError
            Not to be refreshed, and there is no snapshot yet.
        StorageError
            pyarrow is not installed, the store can't be listed, or the snapshot can't be written: readers have the
            older one. What is wrong with one sidecar stands in its row, in the column `problem`.
        StoreConflictError
            The catalog is of a newer version of this package.
        """
        if not refresh:
            return catalog.newest(self._backend)
        return catalog.refreshed(
            self._backend,
            self._founding,
            now=self._now(),
            read_only=self._read_only,
            executor=executor,
            progress=progress,
        )

    @observed("stats")
    def stats(
        self, *, refresh: bool = True, top: int = 20, executor: Executor | None = None, progress: Progress = None
    ) -> StoreStatistics:
        """Return what the store holds in numbers, from its catalog.

        By run, MIME type, policy and age; what expires soon; what deduplication saves.

        Parameters
        ----------
        refresh
            See `catalog`.
        top
            Most names of runs, types and policies that are told apart, the largest first; the rest is one sum.
        executor, progress
            See `catalog`.

        Raises
        ------
        InvalidMediaError
            `top` is no number from 1.
        MediaError
            As `catalog`.
        """
        found = self.catalog(refresh=refresh, executor=executor, progress=progress)
        return catalog.statistics(found, now=self._now(), top=top)
