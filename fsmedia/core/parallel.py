"""Doing many windows of work with an executor, or without: bounded, in any order, every failure in its place."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ContextT = TypeVar("ContextT")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_MAX_PENDING = 32
"""Windows handed out at once: more only fill memory."""


def windows(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    """Cut into lists of at most `size`."""
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
    """Do the work for each part; begin none once `stopped` says so.

    Parameters
    ----------
    work, ground
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
    yield from _ExecutorRun(executor, work, context, failed).through(parts, stopped)


class _ExecutorRun(Generic[ContextT, ItemT, ResultT]):
    """An executor at work on the parts."""

    def __init__(
        self,
        executor: Executor,
        work: Callable[[ContextT, list[ItemT]], ResultT],
        context: ContextT,
        failed: Callable[[list[ItemT], Exception], ResultT],
    ) -> None:
        self._executor, self._work, self._ground, self._failed = executor, work, context, failed
        self._waiting: dict[Future[ResultT], list[ItemT]] = {}

    def through(self, parts: Iterable[list[ItemT]], stopped: Callable[[], bool]) -> Iterator[ResultT]:
        """Hand out parts and give results; if no more parts can be had, first what is under way, then the error."""
        broken: Exception | None = None
        remaining = iter(parts)
        while not stopped():
            try:
                part = next(remaining)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - told when all that is under way has answered
                broken = error
                break
            try:
                self._waiting[self._executor.submit(self._work, self._ground, part)] = part
            except Exception as error:  # noqa: BLE001 - a broken pool takes nothing any more
                yield self._failed(part, error)
            yield from self._finished(_MAX_PENDING)
        yield from self._finished(1)
        if broken is not None:
            raise broken

    def _finished(self, most: int) -> Iterator[ResultT]:
        """Wait until fewer than `most` are under way."""
        while len(self._waiting) >= most:
            for future in wait(self._waiting, return_when=FIRST_COMPLETED).done:
                part = self._waiting.pop(future)
                try:
                    yield future.result()
                except Exception as error:  # noqa: BLE001 - a worker may die of anything
                    yield self._failed(part, error)
