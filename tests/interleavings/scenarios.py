"""What meets what. Each scenario is built when it is first asked for, and again where something is patched."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from fsmedia import MediaStore
from fsmedia.format import keys
from tests.interleavings.meetings import Scenario
from tests.interleavings.schedules import Written
from tests.interleavings.turns import Fault
from tests.interleavings.worlds import World, complete, media

_BUILDERS: dict[str, tuple[Callable[[World], None], tuple[str, ...]]] = {}


def scenario(
    name: str, *, allows: tuple[str, ...] = ()
) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    def register(build: Callable[[World], None]) -> Callable[[World], None]:
        _BUILDERS[name] = build, allows
        return build

    return register


def made(name: str) -> Scenario:
    """Build a scenario."""
    build, allows = _BUILDERS[name]
    return Scenario(name, build, allows)


def names() -> list[str]:
    return list(_BUILDERS)


def replay(name: str, schedule: str, fault: Fault | None = None) -> None:
    """Run one schedule of a scenario again, and print it: what a failure shows can be pasted here."""
    meeting = made(name).run(Written(schedule), fault)
    print("\n".join([*meeting.problems(), *meeting.story()]))


def beside(reference: str, run: str) -> str:
    """Return the name of a copy in the folder of another run."""
    return f"runs/{run}/{reference.rpartition('/')[2]}"


# -- stores, deletes, copies, rewrites ---------------------------------------------------------------------


@scenario("two stores, a delete of the last reference")
def _(world: World) -> None:
    old = world.stored()
    world.stores("r1")
    world.stores("r2")
    world.deletes(old)


@scenario("a store, a delete of the last reference")
def _(world: World) -> None:
    old = world.stored()
    world.stores("r1")
    world.deletes(old)


@scenario("a streamed store, who deletes what he sees, a delete of the last reference")
def _(world: World) -> None:
    old = world.stored()
    world.streams("r1")
    world.deletes_all_of("r1")
    world.deletes(old)


@scenario("two stores of new bytes, who deletes what he sees of one")
def _(world: World) -> None:
    world.stores("r1")
    world.streams("r2")
    world.deletes_all_of("r2")


@scenario("a store, two deletes of one reference")
def _(world: World) -> None:
    old = world.stored()
    world.stores("r1")
    world.deletes(old)
    world.deletes(old)


@scenario("a store, two deletes of two references")
def _(world: World) -> None:
    first, second = world.stored("first"), world.stored("second")
    world.stores("r1")
    world.deletes(first)
    world.deletes(second)


@scenario("two copies to one name, a delete of their source", allows=("left: marker", "left: data"))
def _(world: World) -> None:
    # The marker of the copy that was overwritten is left to the orphan sweep.
    old = world.stored()
    target = beside(old, "copy")
    world.copies(old, target)
    world.copies(old, target)
    world.deletes(old)


@scenario("a copy onto what is deleted, a delete of its source", allows=("left: marker", "left: data"))
def _(world: World) -> None:
    old = world.stored()
    target = beside(old, "copy")
    store, _ = world.open()
    store.fs.cp_file(old, target)
    world.copies(old, target)
    world.deletes(target)
    world.deletes(old)


@scenario("a move, a store, a delete of the moved", allows=("left: marker", "left: data"))
def _(world: World) -> None:
    # A delete that saw no sidecar removes one that comes meanwhile, but knows no marker; the orphan sweep does.
    old = world.stored()
    target = beside(old, "moved")
    world.moves(old, target)
    world.stores("r1")
    world.deletes(target)


@scenario("two policies, a delete of the same, a delete of the other", allows=("left: due",))
def _(world: World) -> None:
    # A due entry is a hint: that of a policy which came too late stays until its minute.
    one, other = world.stored("one"), world.stored("other")
    world.applies(one, "retain-3days")
    world.applies(one, "retain-5days")
    world.deletes(one)
    world.deletes(other)


@scenario("a policy, a delete of the same, a delete of the other", allows=("left: due",))
def _(world: World) -> None:
    one, other = world.stored("one"), world.stored("other")
    world.applies(one, "retain-3days")
    world.deletes(one)
    world.deletes(other)


@scenario("a policy, a delete of the last reference, a store", allows=("left: due",))
def _(world: World) -> None:
    old = world.stored()
    world.applies(old, "retain-3days")
    world.deletes(old)
    world.stores("r1")


@scenario("a retention sweep, a store with a policy, a delete", allows=("left: due",))
def _(world: World) -> None:
    # A store that withdrew leaves the due entry of the name that it did not take; it goes at its minute.
    due, other = world.stored("due", policy="delete-after-5min"), world.stored("other")
    world.cells.advance(timedelta(minutes=7))
    world.enforces(due)
    world.stores("r1", policy="retain-3days")
    world.deletes(other)


@scenario(
    "a retention sweep of two that share, a store, a policy",
    allows=("left: due", "still there though its deletion was answered: runs/two"),
)
def _(world: World) -> None:
    # The policy may come before the sweep, and then keeps the media.
    one, two = world.stored("one", policy="delete-after-5min"), world.stored("two", policy="delete-after-5min")
    world.cells.advance(timedelta(minutes=7))
    world.enforces(one, two)
    world.stores("r1")
    world.applies(two, "retain-3days")


@scenario("a delete of two that share, a delete of one of them, a store")
def _(world: World) -> None:
    one, two = world.stored("one"), world.stored("two")
    world.deletes_many(one, two)
    world.deletes(two)
    world.stores("r1")


# -- orphan sweeps -----------------------------------------------------------------------------------------


def orphans(world: World) -> None:
    """Leave what crashes leave: a marker alone, bytes with a marker, a marker whose sidecar was removed."""
    for steps in (2, 3):
        world.crashed(lambda store, steps=steps: store.store_media(*media(f"dead{steps}", b"%d" % steps)), after=steps)
    gone = world.stored("gone")
    world.crashed(lambda store: store.delete_media(gone), after=3)
    world.kept.remove(gone)


def unmarked(world: World, run: str = "unmarked") -> str:
    """Store a media whose marker is gone: a delete and a rewrite died together."""
    reference = world.stored(run)
    marker = world.marker_of(reference)
    pointer = keys.pointer_of(reference)
    assert marker is not None
    assert pointer is not None
    del world.cells.objects[pointer.marker_key(marker)]
    return reference


@scenario("a store, a delete of the last reference, an orphan sweep")
def _(world: World) -> None:
    old = world.stored()
    orphans(world)
    world.ages()
    world.stores("r1")
    world.deletes(old)
    world.sweeps()


@scenario("a store, two orphan sweeps, of leftovers alone")
def _(world: World) -> None:
    old = world.stored()
    world.crashed(lambda store: store.delete_media(old), after=3)
    world.kept.remove(old)
    world.ages()
    world.stores("r1")
    world.sweeps()
    world.sweeps()


@scenario("a slow store, an orphan sweep, a delete", allows=("left: marker", "left: data"))
def _(world: World) -> None:
    old = world.stored()
    world.stores("r1")
    world.sweeps()
    world.deletes(old)
    world.time_passes(timedelta(hours=13), timedelta(hours=13))


@scenario("a slow copy, two orphan sweeps", allows=("left: marker", "left: data"))
def _(world: World) -> None:
    old = world.stored()
    world.copies(old, beside(old, "copy"))
    world.sweeps()
    world.sweeps()
    world.time_passes(timedelta(hours=26))


@scenario("an orphan sweep, a policy, a delete of one without a marker", allows=("left:", "still there"))
def _(world: World) -> None:
    # Who deletes a media whose marker a sweep restores in that moment may find that a rewrite brought it back.
    old = unmarked(world)
    world.ages()
    world.sweeps()
    world.applies(old, "retain-3days")
    world.deletes(old)


@scenario("an orphan sweep, a copy onto what is there, a policy", allows=("left: marker",))
def _(world: World) -> None:
    old = world.stored()
    target = beside(old, "copy")
    world.kept.append(target)
    world.open()[0].fs.cp_file(old, target)
    world.ages()
    world.copies(old, target)
    world.applies(target, "retain-3days")
    world.sweeps()


@scenario("an orphan sweep and then a delete, a store, of one without a marker")
def _(world: World) -> None:
    unmarked(world)
    other = world.stored("other")
    world.ages()

    def both(store: MediaStore) -> None:
        complete(store.verify(repair="leftovers"))
        store.delete_media(other)

    world.act("delete", both, target=other)
    world.stores("r1")


@scenario("two orphan sweeps, a store, of one without a marker and one half deleted")
def _(world: World) -> None:
    unmarked(world)
    gone = world.stored("gone")
    world.crashed(lambda store: store.delete_media(gone), after=3)
    world.kept.remove(gone)
    world.ages()
    world.sweeps()
    world.sweeps()
    world.stores("r1")


@scenario("two stores, two deletes, a copy, an orphan sweep")
def _(world: World) -> None:
    first, second = world.stored("first"), world.stored("second")
    orphans(world)
    world.ages()
    world.stores("r1")
    world.stores("r2")
    world.deletes(first)
    world.deletes(second)
    world.copies(first, beside(first, "copy"))
    world.sweeps()
