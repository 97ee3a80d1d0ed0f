"""`AsyncMediaStore`: the same store for asyncio, each call in a worker thread; no logic of its own.

A call that is cancelled has happened whole or not at all by the time the cancellation comes out: one that waits for
a thread is taken back, one that has begun is awaited first.
"""

from __future__ import annotations

from fsmedia.aio.cataloging import AsyncCataloging
from fsmedia.aio.describing import AsyncDescribing
from fsmedia.aio.erasing import AsyncErasing
from fsmedia.aio.externalizing import AsyncExternalizing
from fsmedia.aio.reading import AsyncReading
from fsmedia.aio.retaining import AsyncRetaining
from fsmedia.aio.showing import AsyncShowing
from fsmedia.aio.transferring import AsyncTransferring
from fsmedia.aio.verifying import AsyncVerifying
from fsmedia.aio.writer import AsyncMediaWriter
from fsmedia.aio.writing import AsyncWriting

__all__ = ["AsyncMediaStore", "AsyncMediaWriter"]


class AsyncMediaStore(
    AsyncCataloging,
    AsyncDescribing,
    AsyncErasing,
    AsyncExternalizing,
    AsyncShowing,
    AsyncTransferring,
    AsyncVerifying,
    AsyncRetaining,
    AsyncWriting,
    AsyncReading,
):
    """`MediaStore` for asyncio: same constructor, same methods as coroutines, iterators are asynchronous.

    The root is opened by the first call (or `async with`), so that the constructor never blocks the loop; what a
    constructor of `MediaStore` raises for what is in the root is raised there.
    """
