"""Schedules by dice: many processes, long delays, and a fault somewhere."""

from __future__ import annotations

import random

import pytest

from tests.interleavings.meetings import Scenario
from tests.interleavings.scenarios import made, names
from tests.interleavings.schedules import Dice, Written
from tests.interleavings.turns import Fault, How

CROWD = "two stores, two deletes, a copy, an orphan sweep"
_MORE_STEPS = 6  # than without others in the way: who must withdraw takes some more


def fault(scenario: Scenario, most: list[int], seed: int) -> Fault:
    """Choose where and how one process fails; it may end before."""
    dice = random.Random(seed)
    number = dice.randrange(len(most))
    return Fault(number, dice.randint(1, most[number] + _MORE_STEPS), dice.choice(list(How)))


def test_a_crowd(full_run: bool) -> None:
    scenario = made(CROWD)
    for seed in range(20_000 if full_run else 1_000):
        scenario.run(Dice(seed)).check()


def test_a_crowd_and_a_fault(full_run: bool) -> None:
    scenario = made(CROWD)
    most = scenario.most_steps
    hit = 0
    for seed in range(20_000 if full_run else 1_000):
        meeting = scenario.run(Dice(seed), fault(scenario, most, seed))
        meeting.check(later=True)
        hit += meeting.run.hit
    assert hit > 100


@pytest.mark.parametrize("name", names())
def test_a_few_and_perhaps_a_fault(name: str, full_run: bool) -> None:
    scenario = made(name)
    most = scenario.most_steps
    for seed in range(5_000 if full_run else 60):
        scenario.run(Dice(seed)).check(later=True)
        scenario.run(Dice(seed), fault(scenario, most, seed)).check(later=True)


@pytest.mark.parametrize("name", names())
def test_a_schedule_can_be_run_again(name: str) -> None:
    """What a failure prints leads to the same steps; else nobody could look into it."""
    scenario = made(name)
    most = scenario.most_steps
    for seed in range(3):
        spoiled = fault(scenario, most, seed)
        first = scenario.run(Dice(seed), spoiled).run
        again = made(name).run(Written(first.schedule), spoiled).run
        assert again.trace == first.trace
