"""Schedules that lost something once, as they were found."""

from __future__ import annotations

from tests.interleavings.scenarios import made
from tests.interleavings.schedules import Written


def check(name: str, schedule: str) -> None:
    made(name).run(Written(schedule)).check(later=True)


def test_a_sweep_leaves_a_marker_that_a_rewrite_may_name_again() -> None:
    """A policy reads the sidecar, a copy replaces it, the sweep meets the marker that the policy will look for."""
    check("an orphan sweep, a copy onto what is there, a policy", "bbbbaaaaaaacccccccccc")


def test_a_sweep_does_not_take_back_a_marker_that_it_restored() -> None:
    """The media is deleted meanwhile, and a policy writes its sidecar again because the restored marker is there."""
    schedule = "bbb" + "a" * 9 + "c" * 5 + "aca" + "bbbb"
    check("an orphan sweep, a policy, a delete of one without a marker", schedule)
