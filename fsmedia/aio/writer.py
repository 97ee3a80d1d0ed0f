"""Writing a media's bytes as they come, from a coroutine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from fsmedia.errors import InvalidMediaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from fsmedia.aio.workers import Workers
    from fsmedia.core.draft import MediaWriter
    from fsmedia.models import Reference


class AsyncMediaWriter:
    """What `AsyncMediaStore.create_media` hands out; see `MediaWriter`."""

    def __init__(self, workers: Workers, begin: Callable[[], MediaWriter]) -> None:
        self._workers = workers
        self._begin = begin
        self._writer: MediaWriter | None = None

    async def __aenter__(self) -> Self:
        def enter() -> None:
            writer = self._begin()
            writer.__enter__()
            self._writer = writer

        try:
            await self._workers.call(enter)
        except asyncio.CancelledError as error:
            if self._writer is not None:  # entered, and nobody will leave it
                await self._workers.finish(self._writer.__exit__, type(error), error, None)
            raise
        return self

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes and return how many.

        A write that is cancelled once it has begun gives the media up: whether its bytes arrived can't be told.
        """
        writer = self._opened()
        try:
            return await self._workers.call(writer.write, data)
        except asyncio.CancelledError:
            await self.give_up()
            raise

    async def give_up(self) -> None:
        """Let go of what was written; nothing will be stored. Does nothing to what is stored."""
        await self._workers.finish(self._opened().give_up)

    def writable(self) -> bool:
        """Tell that this is for writing, as file objects do."""
        return self._writer is not None and self._writer.writable()

    @property
    def reference(self) -> Reference:
        """The reference, once the media is stored."""
        return self._opened().reference

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._workers.finish(self._opened().__exit__, kind, error, trace)

    def _opened(self) -> MediaWriter:
        if self._writer is None:
            raise InvalidMediaError("is not open", next_step="use it in an `async with` statement")
        return self._writer
