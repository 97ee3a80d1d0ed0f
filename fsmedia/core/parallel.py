"""Doing many windows of work with an executor, or without: bounded, in any order, every failure in its place."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Context = TypeVar("Context")
Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING = 32
"""Windows handed out at once: more only fill memory."""


def windows(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut into lists of at most `size`."""
    remaining = iter(items)
    while window := list(islice(remaining, size)):
        yield window


def spread(
    work: Callable[[Context, list[Item]], Result],
    context: Context,
    parts: Iterable[list[Item]],
    executor: Executor | None,
    stopped: Callable[[], bool],
    failed: Callable[[list[Item], Exception], Result],
) -> Iterator[Result]:
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
    yield from _Hands(executor, work, context, failed).through(parts, stopped)


class _Hands(Generic[Context, Item, Result]):
    """An executor at work on the parts."""

    def __init__(
        self,
        executor: Executor,
        work: Callable[[Context, list[Item]], Result],
        context: Context,
        failed: Callable[[list[Item], Exception], Result],
    ) -> None:
        self._executor, self._work, self._ground, self._failed = executor, work, context, failed
        self._waiting: dict[Future[Result], list[Item]] = {}

    def through(self, parts: Iterable[list[Item]], stopped: Callable[[], bool]) -> Iterator[Result]:
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
            yield from self._finished(_WAITING)
        yield from self._finished(1)
        if broken is not None:
            raise broken

    def _finished(self, most: int) -> Iterator[Result]:
        """Wait until fewer than `most` are under way."""
        while len(self._waiting) >= most:
            for future in wait(self._waiting, return_when=FIRST_COMPLETED).done:
                part = self._waiting.pop(future)
                try:
                    yield future.result()
                except Exception as error:  # noqa: BLE001 - a worker may die of anything
                    yield self._failed(part, error)
