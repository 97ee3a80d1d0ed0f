"""The part of an asynchronous store that takes media in and lets single ones go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.aio.opening import AsyncRoot
from fsmedia.aio.writer import AsyncMediaWriter
from fsmedia.store import MediaStore, OnError

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable

    from fsmedia.models import MediaContent, MediaMetadata, Reference


class AsyncWriting(AsyncRoot):
    """Methods of `AsyncMediaStore` that store and delete."""

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
