"""Threads that make a blocking store's calls for an event loop.

A call that is cancelled has happened whole or not at all by the time the cancellation comes out: one that waits for
a thread is taken back, one that has begun is awaited first.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 32


class Workers:
    """Threads that make blocking calls for a loop; made at first use, anew in a forked child."""

    def __init__(self) -> None:
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Workers, ()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a thread. A cancellation takes the call back, or comes out when it has ended if it had begun."""
        return await self._call(function, args, kwargs, take_back=True)

    async def finish(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a thread, whatever happens: for what must not be left open."""
        return await self._call(function, args, kwargs, take_back=False)

    async def stoppable(self, function: Callable[[Callable[[], bool]], T]) -> T:
        """Call in a thread what asks from time to time whether to stop; a cancellation also tells it that."""
        told = threading.Event()
        return await self._call(function, (told.is_set,), {}, take_back=True, cancelled=told.set)

    async def _call(
        self,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        take_back: bool,
        cancelled: Callable[[], object] = bool,
    ) -> T:
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="fsmedia"))
        future = self._pool[1].submit(copy_context().run, partial(function, *args, **kwargs))
        waiter = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            cancelled()
            if not (take_back and future.cancel()):
                await _ended(waiter)
            raise

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool[1].shutdown(wait=False)
            self._pool = None


async def _ended(waiter: asyncio.Future[Any]) -> None:
    """Wait until a begun call has ended, however often the task is cancelled meanwhile."""
    while not waiter.done():
        try:
            await asyncio.wait([waiter])
        except asyncio.CancelledError:
            continue
    if not waiter.cancelled():
        waiter.exception()
