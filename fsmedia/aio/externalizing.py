"""The part of an asynchronous store that takes media out of LLM messages and puts them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsmedia.aio.opening import AsyncRoot
from fsmedia.store import MediaStore
from fsmedia.store.externalizing import LARGEST

if TYPE_CHECKING:
    from fsmedia.models import Externalized, MediaMetadata


class AsyncExternalizing(AsyncRoot):
    """Methods of `AsyncMediaStore` about JSON messages."""

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
