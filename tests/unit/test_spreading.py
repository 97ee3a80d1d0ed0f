"""Jobs over windows of work: every window is accounted for, also where workers die or the windows run out."""

from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import pytest

from fsmedia.core.parallel import PER_WINDOW, JobResult, run_windows, windows
from fsmedia.errors import MediaNotFoundError, StorageError
from fsmedia.storage import open_backend


@dataclass(slots=True)
class Sums(JobResult):
    """What adds up, and what is dealt with window by window."""

    sums: list[int] = field(default_factory=list)
    windows: list[list[int]] = field(default_factory=list, metadata=PER_WINDOW)


def work(context: int, part: list[int]) -> Sums:
    if 13 in part:
        raise ValueError("unlucky")
    if 404 in part:
        raise MediaNotFoundError("no such media", reference="404")
    return Sums(examined=len(part), sums=[context + sum(part)], windows=[part])


class Broken(Executor):
    def submit(self, *_: object, **__: object) -> Future:
        raise RuntimeError("the pool is broken")


def run(parts: Any, executor: Executor | None = None, context: int = 0, **options: Any) -> Sums:
    given = {"work": work, "total": Sums(), "backends": (), "key": str, "again": "add again"} | options
    return run_windows(context=context, parts=parts, executor=executor, **given)


def in_threads(count: int) -> AbstractContextManager[Executor | None]:
    return ThreadPoolExecutor(count) if count else nullcontext()


def texts(result: JobResult) -> list[tuple[str, str]]:
    return sorted((each.reference, str(each.error)) for each in result.failed)


def test_windows_hold_everything_once_and_a_result_is_handled_before_it_is_counted() -> None:
    assert (list(windows(range(5), 2)), list(windows([], 2))) == ([[0, 1], [2, 3], [4]], [])
    # Whoever handles a window may still add a failure to it.
    total = run([[1], [2]], handle=lambda result: result.fail("late", StorageError("it was not recorded")))
    assert [each.reference for each in total.failed] == ["late", "late"]


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_every_window_is_worked_on_and_added_up(threads: int) -> None:
    parts = list(windows(range(200, 400), 3))
    wanted = sorted(1 + sum(part) for part in parts)
    handled: list[list[int]] = []
    seen: list[int] = []

    def handle(result: Sums) -> None:
        handled.extend(result.windows)

    with in_threads(threads) as executor:
        total = run(parts, executor, context=1, handle=handle, progress=seen.append)
    assert (sorted(total.sums), sorted(handled)) == (wanted, parts)
    assert total.windows == []  # it would fill memory
    assert (total.examined, seen[-1], len(seen), seen) == (200, 200, len(parts), sorted(seen))


def test_workers_that_fail_broken_pools_and_listings_that_break_answer_for_their_windows_only() -> None:
    with ThreadPoolExecutor(2) as executor:
        total = run([[1], [12, 13], [2], [404]], executor)
    assert (sorted(total.sums), total.examined) == ([1, 2], 5)
    lost = "its worker failed (ValueError: unlucky); add again"
    assert [(name, lost in text) for name, text in texts(total)] == [("12", True), ("13", True), ("404", False)]
    assert "no such media" in texts(total)[2][1]  # our own errors stay what they are
    total = run([[1], [2, 3]], Broken())
    assert [name for name, text in texts(total) if "RuntimeError: the pool is broken" in text] == ["1", "2", "3"]
    assert (total.examined, total.sums) == (3, [])

    def parts():
        yield [1]
        yield [2]
        raise OSError("the listing broke")

    total = Sums()
    with ThreadPoolExecutor(2) as executor, pytest.raises(OSError, match="listing"):
        run(parts(), executor, total=total)
    assert sorted(total.sums) == [1, 2]


@pytest.mark.parametrize("threads", [0, 2])
def test_no_window_is_begun_once_it_is_told_to_stop(threads: int) -> None:
    begun: list[int] = []

    def counting(_: int, part: list[int]) -> Sums:
        begun.append(part[0])
        return Sums(examined=1)

    parts = ([number] for number in range(1000))
    with in_threads(threads) as executor:
        done = run(parts, executor, work=counting, stopped=lambda: len(begun) >= 3)
    assert 3 <= done.examined == len(begun) <= 40


def test_a_process_that_can_not_see_the_storage_does_no_work() -> None:
    """A memory store would look empty there, and every job would report that all is well."""
    backend = open_backend("memory://one-process", timeout=timedelta(minutes=1))
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        unseen = run([[1], [2]], executor, backends=[backend])
        total = run([[1], [2]], executor)
    assert (unseen.sums, sorted(total.sums), total.failed) == ([], [1, 2], [])
    said = [text for _, text in texts(unseen)]
    assert ["memory://one-process is seen by one process only" in text for text in said] == [True, True]
