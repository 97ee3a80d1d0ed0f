"""The part of an asynchronous store that people look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.aio.opening import AsyncRoot
from fsmedia.store import MediaStore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from fsmedia.display.comparison import By, Comparison
    from fsmedia.display.gallery import Gallery
    from fsmedia.display.gathering import Sort
    from fsmedia.display.grouping import GroupBy
    from fsmedia.store.showing import Progress


class AsyncShowing(AsyncRoot):
    """Methods of `AsyncMediaStore` whose results a notebook shows."""

    async def gallery(  # noqa: PLR0913 - as MediaStore
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
        progress: Progress = True,
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
        self, run_ids: Iterable[str], *, by: By = "message", limit: int = 200, progress: Progress = True
    ) -> Comparison:
        """Show what several runs made at the same position side by side; see `MediaStore.compare`."""
        return await self._call(MediaStore.compare, run_ids, by=by, limit=limit, progress=progress)
