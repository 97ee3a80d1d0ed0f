"""What meets what. Each scenario is built when it is first asked for, and again where something is patched."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from operator import methodcaller
from typing import Any

from tests.interleavings.meetings import Scenario
from tests.interleavings.schedules import Written
from tests.interleavings.turns import Fault
from tests.interleavings.worlds import World

Step = Callable[[World], Any]


def steps(*methods: str) -> list[Callable[..., Step]]:
    """Return what puts calls of methods of `World` into a scenario."""
    return [partial(methodcaller, each) for each in methods]


# What is there before: media, their copies, and what crashes left.
stored, copied, half_deleted, unmarked = steps("stored", "copied", "half_deleted", "unmarked")
orphans, ages = steps("orphans", "ages")
# Who meets.
stores, streams, copies, moves, applies = steps("stores", "streams", "copies", "moves", "applies")
deletes, deletes_many, deletes_all_of = steps("deletes", "deletes_many", "deletes_all_of")
enforces, sweeps, sweeps_and_deletes, time_passes = steps("enforces", "sweeps", "sweeps_and_deletes", "time_passes")
uploaded, uploads, confirms = steps("uploaded", "uploads", "confirms")
OLD, LATER = stored("old"), "retain-3days"
DUE, MINUTES = "delete-after-5min", ages(timedelta(minutes=7))

SCENARIOS: dict[str, list[Step]] = {
    # -- stores, deletes, copies, rewrites
    "two stores, a delete of the last reference": [OLD, stores("r1"), stores("r2"), deletes("old")],
    "a store, a delete of the last reference": [OLD, stores("r1"), deletes("old")],
    "a streamed store, who deletes what he sees, a delete of the last reference":
        [OLD, streams("r1"), deletes_all_of("r1"), deletes("old")],
    "two stores of new bytes, who deletes what he sees of one": [stores("r1"), streams("r2"), deletes_all_of("r2")],
    "a store, two deletes of one reference": [OLD, stores("r1"), deletes("old"), deletes("old")],
    "a store, two deletes of two references":
        [stored("first"), stored("second"), stores("r1"), deletes("first"), deletes("second")],
    "two copies to one name, a delete of their source":
        [OLD, copies("old", "old@copy"), copies("old", "old@copy"), deletes("old")],
    "a copy onto what is deleted, a delete of its source":
        [OLD, copied("old", "old@copy"), copies("old", "old@copy"), deletes("old@copy"), deletes("old")],
    "a move, a store, a delete of the moved": [OLD, moves("old", "old@moved"), stores("r1"), deletes("old@moved")],
    "two policies, a delete of the same, a delete of the other": [
        stored("one"), stored("other"), applies("one", LATER), applies("one", "retain-5days"), deletes("one"),
        deletes("other"),
    ],
    "a policy, a delete of the same, a delete of the other":
        [stored("one"), stored("other"), applies("one", LATER), deletes("one"), deletes("other")],
    "a policy, a delete of the last reference, a store": [OLD, applies("old", LATER), deletes("old"), stores("r1")],
    "a retention sweep, a store with a policy, a delete": [
        stored("due", policy=DUE), stored("other"), MINUTES, enforces("due"), stores("r1", policy=LATER),
        deletes("other"),
    ],
    "a retention sweep of two that share, a store, a policy": [
        stored("one", policy=DUE), stored("two", policy=DUE), MINUTES, enforces("one", "two"), stores("r1"),
        applies("two", LATER),
    ],
    "a delete of two that share, a delete of one of them, a store":
        [stored("one"), stored("two"), deletes_many("one", "two"), deletes("two"), stores("r1")],
    # -- uploads by ticket
    "an upload by ticket, a store, a delete of the last reference": [OLD, uploads("r1"), stores("r2"), deletes("old")],
    "a confirmation, a delete of the last reference": [OLD, uploaded("r1"), confirms("r1"), deletes("old")],
    "two confirmations, a delete of the same, a store":
        [uploaded("r1"), confirms("r1"), confirms("r1"), deletes("r1"), stores("r2")],
    "two confirmations, a delete of the same, whose bytes another shares":
        [OLD, uploaded("r1"), confirms("r1"), confirms("r1"), deletes("r1")],
    "a confirmation, a store, an orphan sweep, of new bytes":
        [orphans(), ages(), uploaded("r1"), confirms("r1"), stores("r2"), sweeps()],
    "a slow confirmation, an orphan sweep, a delete": [
        OLD, uploaded("r1"), confirms("r1"), sweeps(), deletes("old"),
        time_passes(timedelta(hours=13), timedelta(hours=13)),
    ],
    # -- orphan sweeps
    "a store, a delete of the last reference, an orphan sweep":
        [OLD, orphans(), ages(), stores("r1"), deletes("old"), sweeps()],
    "a store, two orphan sweeps, of leftovers alone": [half_deleted("old"), ages(), stores("r1"), sweeps(), sweeps()],
    "a slow store, an orphan sweep, a delete":
        [OLD, stores("r1"), sweeps(), deletes("old"), time_passes(timedelta(hours=13), timedelta(hours=13))],
    "a slow copy, two orphan sweeps":
        [OLD, copies("old", "old@copy"), sweeps(), sweeps(), time_passes(timedelta(hours=26))],
    "an orphan sweep, a policy, a delete of one without a marker":
        [unmarked("unmarked"), ages(), sweeps(), applies("unmarked", LATER), deletes("unmarked")],
    "an orphan sweep, a copy onto what is there, a policy": [
        OLD, copied("old", "old@copy", kept=True), ages(), copies("old", "old@copy"), applies("old@copy", LATER),
        sweeps(),
    ],
    "an orphan sweep and then a delete, a store, of one without a marker":
        [unmarked("unmarked"), stored("other"), ages(), sweeps_and_deletes("other"), stores("r1")],
    "two orphan sweeps, a store, of one without a marker and one half deleted":
        [unmarked("unmarked"), half_deleted("gone"), ages(), sweeps(), sweeps(), stores("r1")],
    "two stores, two deletes, a copy, an orphan sweep": [
        stored("first"), stored("second"), orphans(), ages(), stores("r1"), stores("r2"), deletes("first"),
        deletes("second"), copies("first", "first@copy"), sweeps(),
    ],
}  # fmt: skip

COPIED, HINTS = ("left: marker", "left: data"), ("left: due",)
UPLOADED = ("left: marker", "left: object", "left: data")
ALLOWED: dict[str, tuple[str, ...]] = {
    # The marker of the copy that was overwritten is left to the orphan sweep.
    "two copies to one name, a delete of their source": COPIED,
    "a copy onto what is deleted, a delete of its source": COPIED,
    # A delete that saw no sidecar removes one that comes meanwhile, but knows no marker; the orphan sweep does.
    "a move, a store, a delete of the moved": COPIED,
    # A due entry is a hint: that of a policy which came too late stays until its minute.
    "two policies, a delete of the same, a delete of the other": HINTS,
    "a policy, a delete of the same, a delete of the other": HINTS,
    "a policy, a delete of the last reference, a store": HINTS,
    # A store that withdrew leaves the due entry of the name that it did not take; it goes at its minute.
    "a retention sweep, a store with a policy, a delete": HINTS,
    # The policy may come before the sweep, and then keeps the media.
    "a retention sweep of two that share, a store, a policy": (
        *HINTS, "still there though its deletion was answered: runs/two",
    ),
    # Who confirms what is deleted meanwhile stops there, and who is too slow has not begun: the sweep takes the upload.
    "two confirmations, a delete of the same, a store": UPLOADED,
    "two confirmations, a delete of the same, whose bytes another shares": UPLOADED,
    "a slow confirmation, an orphan sweep, a delete": UPLOADED,
    "a slow store, an orphan sweep, a delete": COPIED,
    "a slow copy, two orphan sweeps": COPIED,
    # Who deletes a media whose marker a sweep restores in that moment may find that a rewrite brought it back.
    "an orphan sweep, a policy, a delete of one without a marker": ("left:", "still there"),
    "an orphan sweep, a copy onto what is there, a policy": ("left: marker",),
}  # fmt: skip
"""Beginnings of problems that are known, and left."""


def made(name: str) -> Scenario:
    def build(world: World) -> None:
        for each in SCENARIOS[name]:
            each(world)

    return Scenario(name, build, ALLOWED.get(name, ()))


def replay(name: str, schedule: str, fault: Fault | None = None) -> None:
    """Run one schedule of a scenario again, and print it: what a failure shows can be pasted here."""
    meeting = made(name).run(Written(schedule), fault)
    print("\n".join([*meeting.problems(), *meeting.story()]))
