"""The part of an asynchronous store that keeps and lets go: policies, holds, sweeps, shared bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.aio.opening import AsyncRoot
from fsmedia.store import MediaStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from datetime import datetime, timedelta

    from fsmedia.models import DeduplicationReport, EnforcementReport, OrphanReport, RebuildReport
    from fsmedia.store.retaining import Progress


class AsyncRetaining(AsyncRoot):
    """Methods of `AsyncMediaStore` about how long media stay."""

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
