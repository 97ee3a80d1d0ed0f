"""The part of an asynchronous store that finds, describes and reads media."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.aio.opening import AsyncRoot
from fsmedia.store import MediaStore, OnError

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterator, Iterable
    from datetime import datetime, timedelta
    from typing import BinaryIO

    from fsmedia.models import MediaContent, MediaMetadata, MediaRecord, Reference


class AsyncReading(AsyncRoot):
    """Methods of `AsyncMediaStore` that leave the store as it is."""

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

    async def folder(
        self, *, run_id: str | None = None, conversation_id: str | None = None, session_id: str | None = None
    ) -> str:
        """Return the path in which the media of one id lie; see `MediaStore.folder`."""
        return await self._call(
            MediaStore.folder, run_id=run_id, conversation_id=conversation_id, session_id=session_id
        )
