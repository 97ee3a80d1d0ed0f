"""Jobs over a whole store: windows of work, here or on an executor, bounded, with every failure accounted for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import islice, takewhile
from typing import Any, Final, NotRequired, Self, TypedDict, TypeVar

from fsmedia.errors import ForeignCall, MediaError, StorageError
from fsmedia.models import Failed, Reference, Skipped
from fsmedia.storage import Backend

Context = TypeVar("Context")
Item = TypeVar("Item")
Answer = TypeVar("Answer")
Result = TypeVar("Result", bound="JobResult")

PER_WINDOW: Final = {"per_window": True}
"""Metadata of a field that `JobResult.add` leaves out: it is handled window by window, and would fill memory."""
_MAX_PENDING = 32  # windows submitted at once: more only fill memory


@dataclass(slots=True)
class JobResult:
    """What became of a window or, added up, of all windows so far."""

    examined: int = 0  # items that were looked at; what `progress` is told
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def skip(self, key: str, reason: str) -> None:
        """Note that an item stays as it is, and why."""
        self.skipped.append(Skipped(reference=Reference(key), reason=reason))

    def fail(self, key: str, error: MediaError) -> None:
        """Note what went wrong with an item."""
        self.failed.append(Failed(reference=Reference(key), error=error))

    def fail_each(self, errors: Mapping[str, MediaError]) -> None:
        """Note what went wrong with several items."""
        for key, error in errors.items():
            self.fail(key, error)

    @contextmanager
    def guard(self, key: str) -> Iterator[None]:
        """Do something about one item; what goes wrong is noted, and the rest goes on behind the block."""
        try:
            yield
        except MediaError as error:
            self.fail(key, error)

    def facts(self) -> dict[str, Any]:
        """Return all but what is handled window by window, as reports have it: lists as tuples."""
        found = {each.name: getattr(self, each.name) for each in fields(self) if not each.metadata.get("per_window")}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}

    def add(self, other: Self) -> None:
        """Add another window's numbers and lists, except for fields marked `PER_WINDOW`."""
        for each in fields(self):
            if not each.metadata.get("per_window"):
                value = getattr(self, each.name)
                value += getattr(other, each.name)  # a list grows in place: there may be many windows
                setattr(self, each.name, value)


def windows(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut into lists of at most `size`."""
    remaining = iter(items)
    while window := list(islice(remaining, size)):
        yield window


def map_threads(work: Callable[[Item], Answer], items: Sequence[Item], threads: int) -> list[Answer]:
    """Apply a function to each item, in so many threads where that gains anything; answers in order."""
    threads = min(len(items), threads)
    if threads < 2:
        return [work(each) for each in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def attempt(work: Callable[[Item], Answer], item: Item | MediaError) -> Answer | MediaError:
    """Apply a function, and return what goes wrong in place of the result; an error that comes stays as it is."""
    if isinstance(item, MediaError):
        return item
    try:
        return work(item)
    except MediaError as error:
        return error


def attempt_each(
    work: Callable[[Item], Answer], items: Sequence[Item], backend: Backend, most: int = 32
) -> list[Answer | MediaError]:
    """Apply a function to each item, up to `most` at once where the storage gains from it; errors in their places."""
    return map_threads(partial(attempt, work), items, min(backend.concurrency, most))


class WindowOptions(TypedDict):
    """What `run_windows` takes by keyword, for those who give the same to several jobs."""

    backends: Sequence[Backend]
    again: str
    executor: Executor | None
    stopped: NotRequired[Callable[[], bool]]


def _name_of(item: Any) -> str:
    return str(item.reference if hasattr(item, "reference") else item.key)


def run_windows(
    work: Callable[[Context, list[Item]], Result],
    context: Context,
    parts: Iterable[list[Item]],
    total: Result,
    *,
    backends: Sequence[Backend],
    again: str,
    key: Callable[[Any], str] = _name_of,
    executor: Executor | None = None,
    stopped: Callable[[], bool] = bool,
    handle: Callable[[Result], object] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Result:
    """Do a job window by window, and return `total` with all results added.

    `work`, `context`: both can be pickled, and so can items and results: an executor may have processes, here or
    elsewhere. `parts`: the windows, in any number; they are taken as workers become free. `backends`: storages that the
    work needs; one that only this process sees is refused in any other. `key`: what the report calls an item whose
    window was lost, because its worker died or raised. `again`: the next step that such a failure names, such as `sweep
    again`. `stopped`: asked before each window; True begins no more of them. `handle`: called with each result in this
    process, before it is added. `progress`: called with the number of items examined so far, after each window.
    """

    def lost(part: list[Item], error: Exception) -> Result:
        result = type(total)(examined=len(part))
        if not isinstance(error, MediaError):
            error = StorageError(f"its worker failed ({type(error).__name__}: {str(error)[:200]})", next_step=again)
        for item in part:
            result.fail(key(item), error)
        return result

    # A storage that only one process sees, such as a memory store, with that process.
    only = next(((each.url, os.getpid()) for each in backends if each.in_one_process), None)
    results: Iterator[Result] = (work(context, part) for part in takewhile(lambda _: not stopped(), parts))
    if executor is not None:
        results = _submitted(executor, partial(_work_in_worker, work, context, only), parts, stopped, lost)
    for result in results:
        if handle is not None:
            handle(result)
        total.add(result)
        if progress is not None:
            progress(total.examined)
    return total


def _submitted(
    executor: Executor,
    call: Callable[[list[Item]], Result],
    parts: Iterable[list[Item]],
    stopped: Callable[[], bool],
    lost: Callable[[list[Item], Exception], Result],
) -> Iterator[Result]:
    """Submit windows and give results as they come."""
    pending: dict[Future[Result], list[Item]] = {}
    remaining, reading = iter(parts), ForeignCall()
    while not stopped():
        part: list[Item] | None = None
        with reading:
            part = next(remaining, None)
        if part is None:
            break
        with ForeignCall() as submission:
            pending[executor.submit(call, part)] = part
        # A broken pool refuses whatever comes.
        if submission.error is not None:
            yield lost(part, submission.error)
        yield from _finished(pending, _MAX_PENDING, lost)
    # What is under way has answers that count, also where the listing that makes the windows has failed: its error
    # comes last.
    yield from _finished(pending, 1, lost)
    if reading.error is not None:
        raise reading.error


def _finished(
    pending: dict[Future[Result], list[Item]], most: int, lost: Callable[[list[Item], Exception], Result]
) -> Iterator[Result]:
    """Wait until fewer than `most` windows are under way, and give the results of the others."""
    while len(pending) >= most:
        for future in wait(pending, return_when=FIRST_COMPLETED).done:
            part = pending.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            if isinstance(error, Exception):
                yield lost(part, error)
            else:
                # Raises what is no error but ends the process, such as an interrupt in a thread.
                yield future.result()


def _work_in_worker(
    work: Callable[[Context, list[Item]], Result], context: Context, only: tuple[str, int] | None, part: list[Item]
) -> Result:
    """Do a window in a worker, unless the worker is in a process that can't see the storage.

    A memory store unpickled elsewhere would look empty there: a sweep would find nothing and report that all is well.
    """
    if only is not None and only[1] != os.getpid():
        raise StorageError(f"{only[0]} is seen by one process only", next_step="give an executor of threads, or none")
    return work(context, part)
