"""Running one function over many windows of items, with an executor or without: bounded, every failure in its place."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

from fsmedia.errors import ForeignCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ContextT = TypeVar("ContextT")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# Windows handed out at once: more only fill memory, with their items here and with their results there.
_MAX_PENDING = 32


def windows(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    """Split items into lists of at most `size`."""
    remaining = iter(items)
    while window := list(islice(remaining, size)):
        yield window


def spread(
    work: Callable[[ContextT, list[ItemT]], ResultT],
    context: ContextT,
    parts: Iterable[list[ItemT]],
    executor: Executor | None,
    stopped: Callable[[], bool],
    failed: Callable[[list[ItemT], Exception], ResultT],
) -> Iterator[ResultT]:
    """Run the work on each part and give the results in any order; begin none once `stopped` says so.

    Parameters
    ----------
    work, context
        Both can be pickled: an executor may have processes, on this machine or others.
    failed
        Makes a result of a part whose worker died or raised.
    """
    if executor is None:
        for part in parts:
            if stopped():
                return
            yield work(context, part)
        return
    yield from _ExecutorRun(executor, work, context, failed).run(parts, stopped)


class _ExecutorRun(Generic[ContextT, ItemT, ResultT]):
    """One run of an executor over all parts."""

    def __init__(
        self,
        executor: Executor,
        work: Callable[[ContextT, list[ItemT]], ResultT],
        context: ContextT,
        failed: Callable[[list[ItemT], Exception], ResultT],
    ) -> None:
        self._executor, self._work, self._context, self._failed = executor, work, context, failed
        self._pending: dict[Future[ResultT], list[ItemT]] = {}

    def run(self, parts: Iterable[list[ItemT]], stopped: Callable[[], bool]) -> Iterator[ResultT]:
        """Submit the parts and give the results."""
        remaining = iter(parts)
        reading = ForeignCall()
        while not stopped():
            part: list[ItemT] | None = None
            with reading:
                part = next(remaining, None)
            if part is None:
                break
            with ForeignCall() as submission:
                self._pending[self._executor.submit(self._work, self._context, part)] = part
            # A broken pool takes nothing any more.
            if submission.error is not None:
                yield self._failed(part, submission.error)
            yield from self._finished(_MAX_PENDING)
        # What is under way has an answer that counts, also where the listing that makes the parts has failed: that
        # error comes last.
        yield from self._finished(1)
        if reading.error is not None:
            raise reading.error

    def _finished(self, most: int) -> Iterator[ResultT]:
        """Wait until fewer than `most` are under way, and give the results of the others."""
        while len(self._pending) >= most:
            for future in wait(self._pending, return_when=FIRST_COMPLETED).done:
                part = self._pending.pop(future)
                error = CancelledError() if future.cancelled() else future.exception()
                if isinstance(error, Exception):
                    yield self._failed(part, error)
                else:
                    # Raises what is no error but ends the process, such as an interrupt in a thread.
                    yield future.result()
