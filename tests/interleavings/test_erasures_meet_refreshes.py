"""A refresh of the catalog beside an erasure: no schedule of the two leaves a row of what the receipt calls erased."""

import io
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from fsmedia import MediaStore, catalog
from fsmedia.catalog import snapshots
from fsmedia.format import keys
from tests.interleavings.meetings import Scenario
from tests.interleavings.schedules import Bounded, Dice, straight_on
from tests.interleavings.turns import Chooser, Fault, How, Run
from tests.interleavings.worlds import World

RUNS = ("alice", "bob")
ERASED, REFRESHED, AGAIN = range(3)


def rows(world: World) -> set[str]:
    """Return the runs of which any snapshot has a row, read past the package."""
    from pyarrow import parquet

    found: set[str] = set()
    for key, cell in world.cells.objects.items():
        if keys.parse_snapshot(key) is not None:
            found |= set(parquet.read_table(io.BytesIO(cell.data)).column("run_id").to_pylist())
    return found


def run_ids(store: MediaStore) -> list[str]:
    return store.catalog().to_arrow().column("run_id").to_pylist()


class Town(Scenario):
    """A store of two, one of whom is erased while one refresh or two come by."""

    def __init__(self, *, before: str, refreshes: int = 1, erased_last: bool = False) -> None:
        def build(world: World) -> None:
            for run in RUNS:
                if run == "alice" and before == "a catalog without her":
                    world.open()[0].catalog()
                world.stored(run, data=run.encode())
            if before == "a catalog with her":
                world.open()[0].catalog()
            acts = [lambda store: store.erase(run_id="alice"), *[run_ids] * refreshes]
            for act in reversed(acts) if erased_last else acts:
                world.act("erase or refresh", act)

        super().__init__("an erasure, refreshes", build)

    def met(self, choose: Chooser, fault: Fault | None = None) -> Run:
        run = self.begun(choose, fault)
        self.end(run)
        return run

    def each(self, preemptions: int, keep: float = 1.0) -> Iterator[Run]:
        return map(self.met, Bounded(preemptions, keep=keep).each())


def check(town: Town, run: Run) -> None:
    """Look that the receipt is right, and that what the refreshes returned is what lies there."""
    receipt = run.processes[ERASED].result
    story = [run.schedule, *map(str, run.trace)]
    for process in run.processes:
        assert process.error is None, (process.error, *story)
    assert receipt.is_complete, story
    assert "alice" not in rows(town.world), story
    assert town.world.open()[0].check_receipt(receipt).holds, story
    assert run_ids(town.world.open()[0]) == ["bob"], story


@pytest.mark.parametrize("before", ["no catalog", "a catalog without her", "a catalog with her"])
def test_a_refresh_beside_an_erasure_leaves_no_row_of_what_went(before: str, full_run: bool) -> None:
    town, count = Town(before=before), 0
    for run in town.each(2, keep=1.0 if full_run else 0.015):
        check(town, run)
        count += 1
    assert count > 50, "all the places where one preempts the other"


def test_two_refreshes_beside_an_erasure(full_run: bool) -> None:
    town = Town(before="no catalog", refreshes=2)
    schedules = town.each(2, keep=0.1) if full_run else (town.met(Dice(seed)) for seed in range(60))
    for run in schedules:
        check(town, run)


def test_an_erasure_that_died_blocks_no_refresh_and_is_finished() -> None:
    """Wherever it died, and whatever was listed before: who erases again takes the rows too."""
    town = Town(before="no catalog")
    steps = town.met(straight_on).processes[ERASED].steps
    for step in range(1, steps + 1):
        for first in (ERASED, REFRESHED):
            run = town.met(
                lambda _, able, first=first: first if first in able else able[0], Fault(ERASED, step, How.CRASH)
            )
            assert run.processes[REFRESHED].error is None, run.trace
            store = town.world.open()[0]
            assert store.catalog().report.written or store.catalog().report.snapshot is not None
            receipt = store.erase(run_id="alice")
            assert receipt.is_complete, (step, first)
            assert rows(town.world) == {"bob"}, (step, first)
            assert not any(key.startswith(f"{keys.ERASURES}/") for key in town.world.cells.objects)


def test_a_mark_goes_after_the_grace() -> None:
    town = Town(before="a catalog with her")
    town.met(straight_on)
    assert sum(map(keys.is_erasure_mark, town.world.cells.objects)) == 1
    town.world.ages()
    town.world.stored("carol", data=b"carol")
    store = town.world.open()[0]
    store.catalog()
    assert sum(map(keys.is_erasure_mark, town.world.cells.objects)) == 0
    assert store.verify().whole


# -- these tests can fail ----------------------------------------------------------------------------------
@pytest.mark.parametrize("mutant", ["no mark", "the mark after the look", "no look", "a look before it publishes"])
def test_without_a_clause_rows_come_back(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget, publish, prune = catalog.forget, snapshots.publish, snapshots.prune
    if mutant == "no look":
        monkeypatch.setattr(keys, "is_erasure_mark", lambda _: False)
    elif mutant == "a look before it publishes":
        seen: list[frozenset[str]] = []

        def late(backend: Any, *args: Any) -> str:
            seen.append(frozenset(entry.key for entry in backend.children(keys.CATALOG).entries))
            return publish(backend, *args)

        monkeypatch.setattr(snapshots, "publish", late)
        monkeypatch.setattr(snapshots, "prune", lambda *args: (prune(*args), seen.pop())[1])
    else:

        def without(backend: Any, *args: Any, **options: Any) -> Any:
            write, marks = backend.write, []
            backend.write = lambda key, *rest: marks.append(key) if keys.is_erasure_mark(key) else write(key, *rest)
            try:
                return forget(backend, *args, **options)
            finally:
                del backend.write
                if mutant == "the mark after the look":
                    backend.write(marks[0], b"", "text/plain")

        monkeypatch.setattr(catalog, "forget", without)
    town = Town(before="no catalog", erased_last=True)  # where what they need comes soon
    found = ("alice" in rows(town.world) for _ in chain(town.each(1), town.each(2)))
    assert any(found), "these tests do not see what they are for"
