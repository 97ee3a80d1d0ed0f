"""Every schedule with few preemptions: most defects of a protocol need only one or two."""

from __future__ import annotations

from itertools import product

import pytest

from tests.interleavings.scenarios import made, names
from tests.interleavings.schedules import Bounded
from tests.interleavings.turns import Fault, How

CROWD = "two stores, two deletes, a copy, an orphan sweep"  # alone the orders in which they end are hundreds
SMALL = 500
"""Schedules that are all tried each time; of more, a part."""
ALWAYS = ("two stores, a delete of the last reference", "a store, a delete of the last reference, an orphan sweep")
"""Tried whole each time, however many they are."""


@pytest.mark.parametrize("name", [each for each in names() if each != CROWD])
def test_two_preemptions(name: str, full_run: bool) -> None:
    scenario = made(name)
    one = Bounded(1)
    tried = 0
    while one.another():
        tried += 1
        scenario.run(one).check()
    # The second preemption has about as many places as the first.
    few = full_run or name in ALWAYS or tried**2 < SMALL * 10
    two = Bounded(2, keep=1 if few else SMALL / tried**2)
    while two.another():
        scenario.run(two).check()


@pytest.mark.parametrize("name", names())
def test_one_preemption_and_a_fault(name: str, full_run: bool) -> None:
    """A process dies at a step, or gets no answer, while another comes between."""
    scenario = made(name)
    places = [(number, step) for number, most in enumerate(scenario.most_steps) for step in range(1, most + 1)]
    for (number, step), how in product(places, How):
        schedules = Bounded(1)
        for _ in range(120 if full_run else 2):
            if not schedules.another():
                break
            scenario.run(schedules, Fault(number, step, how)).check(later=True)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("how", list(How))
def test_every_preemption_and_every_fault(number: int, how: How) -> None:
    """A store meets the delete of the last reference: all of it, wherever one of them dies or hears nothing."""
    scenario = made("a store, a delete of the last reference")
    hit = 0
    for step in range(1, 20):
        schedules = Bounded(2)
        before = hit
        while schedules.another():
            meeting = scenario.run(schedules, Fault(number, step, how))
            meeting.check(later=True)
            hit += meeting.run.hit
        if hit == before:
            return  # it never takes so many steps
    pytest.fail("there are more steps")
