"""Several who change what is written down of one media under a name that the store gave: nobody's words are lost.

As in `test_names`, with real code whose every request is a step; with a clause taken away something must be lost.
"""

from contextlib import nullcontext
from datetime import timedelta
from itertools import chain, product
from typing import Any

import pytest

from fsmedia import MediaNotFoundError, MediaStore, StorageError, StoreConflictError
from fsmedia.core import commit, named
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.storage import Exclusion
from tests.interleavings.cells import SteppingBackend
from tests.interleavings.meetings import Loss, Scenario
from tests.interleavings.schedules import Bounded, Dice, by_turns, straight_on
from tests.interleavings.turns import Chooser, Crash, Fault, How
from tests.interleavings.worlds import SAME, World, complete

LATER = "retain-9days"
REFUSED = (StoreConflictError, MediaNotFoundError, FileNotFoundError)
CONDITIONS, LOCK = Exclusion.CONDITIONS, Exclusion.LOCK
MEETINGS = {
    "two": ("note a", "note b"),
    "three": ("note a", "note b", "note c"),
    "two on one text": ("note a", "discard old"),
    "a policy": ("note a", "policy"),
    "an attribute of media://": ("note a", "attribute"),
    "a delete": ("note a", "delete"),
    "two, a delete": ("note a", "note b", "delete"),
    "a policy, a delete": ("note a", "policy", "delete"),
    "a move": ("note a", "move"),
    "two, a move": ("note a", "note b", "move"),
}
PLACES = [*product(MEETINGS, (CONDITIONS, LOCK), (False, True))]


class Notes:
    """A meeting over one media, plain or with bytes that another shares."""

    def __init__(self, name: str, exclusion: Exclusion, *, deduplicate: bool) -> None:
        self.words = MEETINGS[name]

        def build(world: World) -> None:
            world.exclusion, world.deduplicate = exclusion, deduplicate
            world.stored("other")
            self.reference = world.stored()
            self.moved = world.named("old@moved")
            world.open()[0].annotate(self.reference, add={"tags": "old"})
            for word in self.words:
                world.act(word, lambda store, word=word: self._work(word, store))

        self.scenario = Scenario("notes", build)

    def _work(self, word: str, store: MediaStore) -> None:
        what, _, text = word.partition(" ")
        if what == "note":
            store.annotate(self.reference, add={"tags": text})
        elif what == "discard":
            store.annotate(self.reference, discard={"tags": text})
        elif what == "policy":
            store.apply_policy(self.reference, LATER)
        elif what == "move":
            store.fs.mv(self.reference, self.moved)
        elif what == "attribute":
            store.fs.setxattrs(self.reference, {"user.attribute": 1})
        else:
            store.delete_media(self.reference)

    def check(self, choose: Chooser, fault: Fault | None = None) -> None:
        run = self.scenario.begun(choose, fault)
        self.scenario.end(run)
        world = self.scenario.world
        done = {word for word, process in zip(self.words, run.processes, strict=True) if process.error is None}
        allowed = (*REFUSED, *((Crash, StorageError) if run.hit else ()))
        wrong = [repr(each.error) for each in run.processes if each.error and not isinstance(each.error, allowed)]
        places = [each for each in (self.reference, self.moved) if world.readable(each)]
        records = [
            Sidecar.parse(sidecar.data, each).record(each, 0)
            for each in places
            if (sidecar := world.cells.objects.get(f"{each}.meta")) is not None
        ]
        if "delete" not in self.words:
            said = records[0] if records else None
            texts = set() if said is None else {*said.attributes.get("tags", ())}
            wrong += [f"{word} is lost" for word in done if word.startswith("note ") and word[5:] not in texts]
            wrong += ["what was there is lost"] if "old" not in texts and "discard old" not in self.words else []
            wrong += ["what was discarded is back"] if "discard old" in done and "old" in texts else []
            kept = {} if said is None else {"policy": said.policy_name == LATER, **said.attributes}
            wrong += [f"the {each} is lost" for each in ("policy", "attribute") if each in done and not kept.get(each)]
        elif "delete" in done and records:
            wrong.append("it is there though its deletion was answered")
        if wrong:
            steps = [f"  {number} {kind:<10} {key[-40:]}" for number, kind, key in run.trace]
            raise Loss("\n".join([*wrong, f"{run.schedule!r}, {fault}", *steps]))


@pytest.mark.parametrize(("name", "exclusion", "deduplicate"), PLACES)
def test_nobodys_words_are_lost(name: str, exclusion: Exclusion, deduplicate: bool, full_run: bool) -> None:
    meeting = Notes(name, exclusion, deduplicate=deduplicate)
    for schedule in chain(Bounded(2).each(20_000 if full_run else 60), map(Dice, range(5_000 if full_run else 30))):
        meeting.check(schedule)


@pytest.mark.parametrize("deduplicate", [False, True])
@pytest.mark.parametrize("exclusion", [CONDITIONS, LOCK])
def test_what_expires_has_its_due_entry(exclusion: Exclusion, deduplicate: bool, full_run: bool) -> None:
    """Annotating writes none: beside a sync that brings another policy, and a sweep that met the entry of the old."""

    def build(world: World) -> None:
        world.exclusion, world.deduplicate = exclusion, deduplicate
        reference = world.stored(policy="delete-after-5min")
        world.ages(timedelta(minutes=7))
        before = Sidecar.parse(world.cells.objects[f"{reference}.meta"].data, reference)
        later = world.cells.now + timedelta(days=3)
        brought = named.Rewritten(before.with_policy("retain-3days", later, None).dump(), later)
        world.act("annotate", lambda store: store.annotate(reference, {"a": 1}))
        world.act("sweep", lambda store: complete(store.enforce_policy()))
        world.act(
            "sync",
            lambda store: commit.rewrite_sidecar(store._backend, reference, *brought, change=lambda _: brought),
        )

    scenario = Scenario("due", build)
    (reference,), objects = scenario.world.kept, scenario.world.cells
    for schedule in chain(Bounded(2).each(20_000 if full_run else 600), map(Dice, range(300))):
        run = scenario.begun(schedule)
        scenario.end(run)
        sidecar = objects.objects.get(f"{reference}.meta")
        if sidecar is not None and scenario.world.readable(reference):
            instant = Sidecar.parse(sidecar.data, reference).record(reference, 0).expires_at
            assert instant is not None
            assert keys.due_key(instant, reference) in objects.objects, (run.schedule, run.trace)


@pytest.mark.parametrize("deduplicate", [False, True])
def test_a_repair_that_has_locked_nothing_yet(
    deduplicate: bool, full_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes to quarantine takes along what was written down of it, or stays: nothing is left without bytes."""
    monkeypatch.setattr(SteppingBackend, "known_exclusion", None)
    monkeypatch.setattr(SteppingBackend, "looking_is_free", True)

    def build(world: World) -> None:
        world.exclusion, world.deduplicate = LOCK, deduplicate
        reference = world.stored()
        world.cells.put(keys.bytes_key(reference), b"something else")
        world.ages()
        world.act("note", lambda store: store.annotate(reference, {"noted": 1}))
        world.act("repair", lambda store: store.verify(deep=True, repair=True))

    scenario = Scenario("repair", build)
    (reference,), cells = scenario.world.kept, scenario.world.cells
    for schedule in chain(Bounded(2).each(20_000 if full_run else 2_500), map(Dice, range(300))):
        run = scenario.begun(schedule)
        scenario.end(run)
        shown = f"{reference}.meta" in cells.objects
        assert shown == (keys.bytes_key(reference) in cells.objects), (run.schedule, run.trace)
        texts = [each.data for key, each in cells.objects.items() if key.endswith(".meta")]
        if run.processes[0].error is None:
            assert any(b"user.noted" in each for each in texts), (run.schedule, run.trace)


@pytest.mark.parametrize(("exclusion", "notes"), [(CONDITIONS, False), (LOCK, False), (LOCK, True)])
def test_a_repair_of_what_a_sync_brings_back(exclusion: Exclusion, notes: bool, full_run: bool) -> None:
    """It takes neither the due entry that the sync has just written, nor what somebody annotated since."""

    def build(world: World) -> None:
        world.exclusion, world.deduplicate = exclusion, False
        reference = world.stored(policy="retain-30days")
        del world.cells.objects[reference]
        text = world.cells.objects[f"{reference}.meta"].data
        rest = (
            SAME,
            "text/plain",
            text,
            world.cells.clock,
            Sidecar.parse(text, reference).record(reference, 0).expires_at,
        )
        world.ages()

        def sync(store: MediaStore) -> None:
            commit.raise_first(commit.store([commit.StoreOperation(store._backend, reference, *rest)]))

        world.act("repair", lambda store: store.verify(deep=True, repair=True))
        world.act("sync", sync)
        if notes:
            world.act("note", lambda store: store.annotate(reference, {"noted": 1}))

    scenario = Scenario("back", build)
    (reference,), cells = scenario.world.kept, scenario.world.cells
    for schedule in chain(Bounded(2).each(20_000 if full_run else 2_500), map(Dice, range(300))):
        run = scenario.begun(schedule)
        scenario.end(run)
        record = Sidecar.parse(cells.objects[f"{reference}.meta"].data, reference).record(reference, 0)
        assert record.expires_at is not None
        assert keys.due_key(record.expires_at, reference) in cells.objects, (run.schedule, run.trace)
        wrote = [number for number, kind, key in run.trace if key == f"{reference}.meta" and kind in ("write", "put")]
        # The source's wins over what was written before it.
        if notes and run.processes[2].error is None and wrote[-1] != 1:
            assert "noted" in record.attributes, (run.schedule, run.trace)


@pytest.mark.parametrize(("name", "exclusion", "deduplicate"), PLACES)
def test_a_process_dies_or_hears_nothing(name: str, exclusion: Exclusion, deduplicate: bool, full_run: bool) -> None:
    meeting = Notes(name, exclusion, deduplicate=deduplicate)
    steps = [process.steps for process in meeting.scenario.run(straight_on).run.processes]
    # Whoever holds a lock waits for the disk: nothing of a dead process lands later.
    faults = [*How] if exclusion is CONDITIONS else [How.CRASH, How.FAIL]
    for number, most in enumerate(steps):
        for step, how, seed in product(range(1, most + 3), faults, range(20 if full_run else 1)):
            meeting.check(Dice(seed), Fault(number, step, how))


def rewrite_without_a_condition(backend: Any, reference: str, seen: named.Seen, beside: Any, _: int) -> object:
    return named.write_and_look(backend, reference, beside(seen.text))


MUTANTS: dict[str, tuple[Any, str, Any, tuple[tuple[str, Exclusion], ...]]] = {
    "no condition": (
        named, "_rewrite_conditionally", rewrite_without_a_condition,
        (("two", CONDITIONS), ("a policy", CONDITIONS), ("an attribute of media://", CONDITIONS)),
    ),
    "no lock": (
        SteppingBackend, "lock", lambda *_: nullcontext(), (("two", LOCK), ("a policy", LOCK), ("a move", LOCK)),
    ),
    "no mark of a move": (named, "mark_leaving", lambda _: {}, (("a move", CONDITIONS),)),
}  # fmt: skip


@pytest.mark.parametrize("deduplicate", [False, True])
@pytest.mark.parametrize("mutant", MUTANTS)
def test_with_a_clause_taken_away(mutant: str, deduplicate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, broken, losing = MUTANTS[mutant]
    monkeypatch.setattr(place, name, broken)
    for meeting, exclusion in losing:
        with pytest.raises(Loss):  # noqa: PT012 - whichever schedule shows it
            for schedule in by_turns(3_000):
                Notes(meeting, exclusion, deduplicate=deduplicate).check(schedule)
