"""Media that share their bytes, under every schedule with few preemptions, by dice, and with a fault somewhere.

Most defects of a protocol need only one or two preemptions; dice find what many processes and long delays need. With
one clause of the protocol taken away the same scenarios must lose something, or these tests would see nothing.
"""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice, product
from math import factorial
from typing import Any

import pytest

from fsmedia.core import blobs, commit, named
from fsmedia.format import keys
from fsmedia.format.keys import Pointer
from fsmedia.maintenance.leftovers import LeftoverListing
from fsmedia.storage import Backend, Entry
from fsmedia.store import MediaStore
from tests.interleavings.meetings import Meeting
from tests.interleavings.scenarios import SCENARIOS, made
from tests.interleavings.schedules import Bounded, Dice, Written, by_turns
from tests.interleavings.turns import Fault, How

CROWD = "two stores, two deletes, a copy, an orphan sweep"  # alone the orders in which they end are hundreds
FEW, SMALL = 50, 200
"""Where no more have one preemption, all with two are tried each time; of more, so many, about."""
STORE_AND_DELETE = "a store, a delete of the last reference"
ALWAYS = "two stores, a delete of the last reference"
"""Tried whole each time, however many they are."""
_MORE_STEPS = 6  # than without others in the way: who must withdraw takes some more
NAME = pytest.mark.parametrize("name", SCENARIOS)


# -- few preemptions ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [each for each in SCENARIOS if each != CROWD])
def test_two_preemptions(name: str, full_run: bool) -> None:
    scenario = made(name)
    # So many have one preemption, about, for it may be at any step in any order; a second has as many places.
    many = factorial(len(scenario.most_steps)) * sum(scenario.most_steps)
    few = full_run or name == ALWAYS or many < FEW
    # All that have one, and these are among those with two, are tried each time.
    for schedule in Bounded(2, keep=1 if few else SMALL / many**2).each():
        scenario.run(schedule).check()


@NAME
def test_one_preemption_and_a_fault(name: str, full_run: bool) -> None:
    """A process dies at a step, or gets no answer, while another comes between."""
    scenario = made(name)
    places = [(number, step) for number, most in enumerate(scenario.most_steps) for step in range(1, most + 1)]
    for (number, step), how in product(places, How):
        for schedule in Bounded(1).each(120 if full_run else 2):
            scenario.run(schedule, Fault(number, step, how)).check(later=True)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("how", list(How))
def test_every_preemption_and_every_fault(number: int, how: How) -> None:
    """All of the meeting, wherever one of the two dies or hears nothing."""
    scenario = made(STORE_AND_DELETE)
    hit = 0
    for step in range(1, 20):
        before = hit
        for schedule in Bounded(2).each():
            meeting = scenario.run(schedule, Fault(number, step, how))
            meeting.check(later=True)
            hit += meeting.run.hit
        if hit == before:
            return  # it never takes so many steps
    pytest.fail("there are more steps")


# -- dice --------------------------------------------------------------------------------------------------
def some_fault(most: list[int], seed: int) -> Fault:
    """Choose where and how one process fails; it may end before."""
    dice = random.Random(seed)
    number = dice.randrange(len(most))
    return Fault(number, dice.randint(1, most[number] + _MORE_STEPS), dice.choice(list(How)))


@NAME
def test_by_dice_and_perhaps_with_a_fault(name: str, full_run: bool) -> None:
    """What a failure prints must lead to the same steps; else nobody could look into it."""
    scenario, hit = made(name), 0
    most = scenario.most_steps
    few, many = (5_000, 20_000) if full_run else (25, 400)
    for seed in range(many if name == CROWD else few):
        scenario.run(Dice(seed)).check(later=seed < few)
        spoiled = some_fault(most, seed)
        meeting = scenario.run(Dice(seed), spoiled)
        hit += meeting.run.hit
        assert seed > 1 or made(name).run(Written(meeting.run.schedule), spoiled).run.trace == meeting.run.trace
        meeting.check(later=True)
    assert hit > 100 or name != CROWD


LOST_ONCE = {
    # A policy reads the sidecar, a copy replaces it, the sweep meets the marker that the policy will look for.
    "a_sweep_leaves_a_marker_that_a_rewrite_may_name_again":
        ("an orphan sweep, a copy onto what is there, a policy", "bbbbaaaaaaacccccccccc"),
    # The media is deleted meanwhile, and a policy writes its sidecar again because the restored marker is there.
    "a_sweep_does_not_take_back_a_marker_that_it_restored":
        ("an orphan sweep, a policy, a delete of one without a marker", "bbbaaaaaaaaacccccacabbbb"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "schedule"), LOST_ONCE.values(), ids=LOST_ONCE)
def test_a_schedule_that_lost_something_once(name: str, schedule: str) -> None:
    made(name).run(Written(schedule)).check(later=True)


# -- with one clause taken away ----------------------------------------------------------------------------
MOST = 5000
BYTES = ("lost", "gone")
"""How a problem begins that means bytes: not only a deletion that was undone, or something left."""


def meetings(name: str, fault: tuple[int, How] | None = None) -> Iterator[Meeting]:
    """Run a scenario under few preemptions, then by dice; with a fault at any step of one process."""
    scenario = made(name)
    if fault is not None:
        number, how = fault
        # Alone it takes fewer steps: with a store before it, it does not delete the last reference.
        for seed, step in product(range(MOST), range(1, scenario.most_steps[number] + 6)):
            yield scenario.run(Dice(seed), Fault(number, step, how))
    yield from map(scenario.run, by_turns(MOST))


def remove(backend: Backend, key: str) -> None:
    for error in backend.delete([key]).values():
        raise error


def data(backend: Backend, pointer: Pointer) -> Entry | None:
    found = backend.head(pointer.data_key)
    return found if found is not None and found.size == pointer.size else None


def release_unmarked(backend: Backend, pointer: Pointer) -> bool:
    used = backend.holds(pointer.refs_folder)
    if not used:
        remove(backend, pointer.data_key)
    return not used


def release_after_one_look(backend: Backend, pointer: Pointer) -> bool:
    used = backend.holds(pointer.refs_folder)
    if not used:
        mark = pointer.condemned_key()
        backend.write(mark, b"", "text/plain")
        remove(backend, pointer.data_key)
        remove(backend, mark)
    return not used


def release_that_always_unmarks(backend: Backend, pointer: Pointer) -> bool:
    """The request is still under way when somebody finds the bytes there, and no mark."""
    if backend.holds(pointer.refs_folder):
        return False
    mark = pointer.condemned_key()
    backend.write(mark, b"", "text/plain")
    try:
        if backend.holds(pointer.refs_folder):
            return False
        remove(backend, pointer.data_key)
    finally:
        remove(backend, mark)
    return True


def live_before_marks(backend: Backend, pointer: Pointer) -> Entry | None:
    found = data(backend, pointer)
    return None if backend.holds(pointer.condemned_folder) else found


def live_by_some_other_marker(backend: Backend, pointer: Pointer) -> Entry | None:
    """Two stores that come too late take each other for somebody who holds the bytes."""
    held = len(list(islice(backend.entries(pointer.refs_folder), 2))) == 2
    return data(backend, pointer) if held else None


def any_generation(backend: Backend, digest: str, size: int) -> Pointer | None:
    parsed = (keys.parse_blob_key(entry.key) for entry in backend.entries(f"{keys.blob_folder(digest)}/data"))
    return next((Pointer(size, digest, each.generation) for each in parsed if each), None)


put_marker = commit._put_marker


def data_before_their_marker(sharing: commit.SharedStoreOperation, pointer: Pointer) -> None:
    sharing.backend.write(pointer.data_key, bytes(sharing.data), sharing.mime_type)
    put_marker(sharing, pointer)


def look_before_the_marker(sharing: commit.SharedStoreOperation, pointer: Pointer) -> Entry | None:
    found = blobs.live_data(sharing.backend, pointer)
    if found is not None:
        put_marker(sharing, pointer)
    return found


def reserve_nothing(sharing: commit.SharedStoreOperation) -> None:
    """The ticket names bytes and does not hold them."""
    pointer = blobs.find_generation(sharing.backend, sharing.digest, sharing.size)
    sharing.reference = sharing.name_of(pointer or Pointer(sharing.size, sharing.digest, keys.new_generation()))
    sharing.marker = keys.new_marker(sharing.reference)


def steps_with(step: Callable[..., Any], place: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    return tuple(step if each is place else each for each in commit.DELETE_SHARED)


def remove_all_markers(deletings: list[commit.DeleteOperation]) -> dict[int, Any]:
    for item in deletings:
        pointer = keys.pointer_of(item.reference)
        for entry in list(item.backend.entries(pointer.refs_folder)):
            if entry.key.startswith(pointer.marker_key(keys.marker_prefix(item.reference))):
                remove(item.backend, entry.key)
    return {}


verify = MediaStore.verify


def sweep_without_grace(self: MediaStore, **words: Any) -> object:
    """What is young may be a store on its way; only the clock tells."""
    return verify(self, **words, grace=timedelta(0), nobody_writes=True)


POLICY_AND_DELETES = "a policy, a delete of the same, a delete of the other"
MUTANTS: dict[str, tuple[Any, ...]] = {  # the scenario, and what is patched
    "no condemned mark": (STORE_AND_DELETE, (blobs, "release", release_unmarked)),
    "no second look for markers": (STORE_AND_DELETE, (blobs, "release", release_after_one_look)),
    "the mark removed though the deletion was not answered":
        (STORE_AND_DELETE, (blobs, "release", release_that_always_unmarks)),
    "data looked for before condemned marks": (STORE_AND_DELETE, (blobs, "live_data", live_before_marks)),
    "some other marker in place of condemned marks": (
        ALWAYS, (blobs, "find_generation", any_generation), (blobs, "live_data", live_by_some_other_marker),
    ),
    "marker names that two attempts share": (
        "two copies to one name, a delete of their source",
        (keys, "new_marker", lambda reference: f"{keys.marker_prefix(reference)}0"),
    ),
    "generations that come again": (STORE_AND_DELETE, (keys, "new_generation", lambda: "0" * 26)),
    "data before their marker": (
        "two stores of new bytes, who deletes what he sees of one",
        (commit, "_start_generation", data_before_their_marker),
    ),
    "a delete that removes markers its sidecar did not name": (
        "a copy onto what is deleted, a delete of its source",
        (commit, "DELETE_SHARED", steps_with(remove_all_markers, commit.remove_marker)),
    ),
    "a rewrite that looks only at the data":
        (POLICY_AND_DELETES, (blobs, "is_kept", lambda backend, pointer, _: data(backend, pointer) is not None)),
    "a delete that removes the sidecar only once":
        (POLICY_AND_DELETES, (commit, "DELETE_SHARED", steps_with(lambda _: {}, commit.remove_sidecar_again))),
    "a sweep that does not restore missing markers first": (
        "an orphan sweep and then a delete, a store, of one without a marker",
        (LeftoverListing, "unmarked", lambda _: iter(())),
    ),
    "a ticket that looks before it holds": (
        "an upload by ticket, a store, a delete of the last reference",
        (commit, "_join_generation", look_before_the_marker),
    ),
    "a ticket that holds nothing": (
        "a confirmation, a delete of the last reference",
        (commit, "reserve", reserve_nothing), (blobs, "has_marker", lambda *_: True),
    ),
    "a late confirmation that leaves its sidecar": (
        "two confirmations, a delete of the same, a store", (named, "drop_sidecar", lambda *_: None),
    ),
    "a sweep without a grace":
        ("a store, a delete of the last reference, an orphan sweep", (MediaStore, "verify", sweep_without_grace)),
    "a slow store that does not look":
        ("a slow store, an orphan sweep, a delete", (blobs, "is_used", lambda *_: True)),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_with_a_clause_taken_away(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, *patches = MUTANTS[mutant]
    for patch in patches:
        monkeypatch.setattr(*patch)
    fault = (1, How.LATE) if "not answered" in mutant else None
    for meeting in islice(meetings(name, fault), MOST):
        if any(problem.startswith(BYTES) for problem in meeting.problems()):
            return
    pytest.fail(f"nothing was lost in {MOST} schedules: these tests do not see what they are for")
