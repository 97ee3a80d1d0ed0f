"""The part of an asynchronous store that describes many media."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.aio.opening import AsyncRoot
from fsmedia.store import MediaStore, OnError

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable

    from fsmedia.errors import MediaError
    from fsmedia.models import MediaRecord


class AsyncDescribing(AsyncRoot):
    """The method of `AsyncMediaStore` that tells what it knows of many media."""

    async def info_many(
        self, references: Iterable[str], *, on_error: OnError = "raise"
    ) -> builtins.list[MediaRecord | MediaError]:
        """Return all that the store knows of many media; see `MediaStore.info_many`."""
        return await self._call(MediaStore.info_many, references, on_error=on_error)
