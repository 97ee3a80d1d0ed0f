"""The part of an asynchronous store that brings its media elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsmedia.aio.opening import AsyncRoot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor
    from datetime import datetime
    from os import PathLike

    from fsmedia.maintenance.transfer import Check
    from fsmedia.models import OrganizationMode, SyncReport


class AsyncTransferring(AsyncRoot):
    """Methods of `AsyncMediaStore` that bring media to another root."""

    async def sync_to(  # noqa: PLR0913 - those of the synchronous store
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
