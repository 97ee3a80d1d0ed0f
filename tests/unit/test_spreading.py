"""Handing windows of work to an executor: every part is answered for, also where workers die or the parts run out."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from fsmedia.core.parallel import spread, windows


def work(context: int, part: list[int]) -> int:
    if 13 in part:
        raise ValueError("unlucky")
    return context + sum(part)


def failed(part: list[int], error: Exception) -> str:
    return f"{part}: {error}"


class Broken(Executor):
    """Takes nothing any more."""

    def submit(self, *_: object, **__: object) -> Future:
        raise RuntimeError("the pool is broken")


def test_windows_hold_everything_once() -> None:
    assert list(windows(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(windows([], 2)) == []


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_every_part_is_worked_on(threads: int) -> None:
    parts = list(windows(range(200, 400), 3))
    wanted = sorted(work(1, part) for part in parts)
    if not threads:
        assert sorted(spread(work, 1, parts, None, bool, failed)) == wanted
        return
    with ThreadPoolExecutor(threads) as executor:
        assert sorted(spread(work, 1, parts, executor, bool, failed)) == wanted


def test_a_worker_that_fails_answers_for_its_part_only() -> None:
    with ThreadPoolExecutor(2) as executor:
        answers = set(spread(work, 0, [[1], [13], [2]], executor, bool, failed))
    assert answers == {1, 2, "[13]: unlucky"}


def test_a_broken_pool_is_told_for_every_part() -> None:
    answers = list(spread(work, 0, [[1], [2]], Broken(), bool, failed))
    assert answers == ["[1]: the pool is broken", "[2]: the pool is broken"]


def test_what_is_under_way_is_given_before_the_parts_error_comes_out() -> None:
    def parts():
        yield [1]
        yield [2]
        raise OSError("the listing broke")

    with ThreadPoolExecutor(2) as executor:
        answers = spread(work, 0, parts(), executor, bool, failed)
        assert sorted([next(answers), next(answers)]) == [1, 2]
        with pytest.raises(OSError, match="listing"):
            next(answers)


@pytest.mark.parametrize("threads", [0, 2])
def test_no_part_is_begun_once_it_is_told_to_stop(threads: int) -> None:
    begun: list[int] = []

    def counting(context: int, part: list[int]) -> int:
        begun.append(part[0])
        return context

    def stopped() -> bool:
        return len(begun) >= 3

    parts = ([number] for number in range(1000))
    if threads:
        with ThreadPoolExecutor(threads) as executor:
            done = list(spread(counting, 0, parts, executor, stopped, failed))
    else:
        done = list(spread(counting, 0, parts, None, stopped, failed))
    assert 3 <= len(done) == len(begun) <= 40
