"""Two who change one name that clients choose: writers, deletes, sweeps, moves, attributes, under every short schedule.

Each meeting runs under all schedules with two preemptions, by dice, and with a process that dies at any step; with
clauses of the protocol taken away, the same meetings must lose something.
"""

from contextlib import nullcontext
from itertools import chain, product
from typing import Any

import pytest

from fsmedia.core import commit, named
from fsmedia.core.lifetime import Deleter
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance import expiry
from fsmedia.storage import Exclusion, PreconditionFailed
from tests.interleavings.cells import SteppingBackend
from tests.interleavings.meetings import Loss, Scenario
from tests.interleavings.names import OLD, OTHER, Change, K, N, Names, attribute, delete, move, policy, sweep, write
from tests.interleavings.schedules import Bounded, Dice, by_turns, straight_on
from tests.interleavings.turns import Fault, How
from tests.interleavings.worlds import World

A, B, C = b"bytes of a", b"bytes of b, which are more", b"bytes of c, of yet another length"
BOTH = {N: OLD, K: OTHER}
MEETINGS: dict[str, tuple[tuple[Change, ...], dict[str, bytes]]] = {
    "two writers": ((write(A), write(B)), {N: OLD}),
    "two writers of a free name": ((write(A), write(B)), {}),
    "three writers": ((write(A), write(B), write(C)), {N: OLD}),
    "two writers of equal sizes": ((write(b"aaaa"), write(b"bbbb")), {N: OLD}),
    "a writer, a delete": ((write(A), delete()), {N: OLD}),
    "a writer, a sweep": ((write(A), sweep()), {N: OLD}),
    "a writer of the same bytes, a sweep": ((write(OLD), sweep()), {N: OLD}),
    "two writers, a delete": ((write(A), write(B), delete()), {N: OLD}),
    "two writers, a sweep": ((write(A), write(B), sweep()), {N: OLD}),
    "two writers, a delete, a sweep": ((write(A), write(B), delete(), sweep()), {N: OLD}),
    "a writer, two sweeps": ((write(A), sweep(), sweep()), {N: OLD}),
    "a writer, an attribute": ((write(A), attribute("x")), {N: OLD}),
    "two attributes": ((attribute("x"), attribute("y")), {N: OLD}),
    "two attributes, a writer": ((attribute("x"), attribute("y"), write(A)), {N: OLD}),
    "a policy, a sweep": ((policy(), sweep()), {N: OLD}),
    "a policy, a writer, a sweep": ((policy(), write(A), sweep()), {N: OLD}),
    "an attribute, a delete": ((attribute("x"), delete()), {N: OLD}),
    "a move away, a writer": ((move(N, K, OLD), write(A)), {N: OLD}),
    "a move onto it, a writer": ((move(K, N, OTHER), write(A)), BOTH),
    "a move onto it, a delete": ((move(K, N, OTHER), delete()), BOTH),
    "a move away, a sweep": ((move(N, K, OLD), sweep()), {N: OLD}),
    "a move away, an attribute": ((move(N, K, OLD), attribute("x")), {N: OLD}),
    "two writers, a sweep, a delete, an attribute": ((write(A), write(B), sweep(), delete(), attribute("x")), {N: OLD}),
}
EXACT = (Exclusion.CONDITIONS, Exclusion.LOCK)


def made(name: str, exclusion: Exclusion) -> Names:
    changes, there = MEETINGS[name]
    return Names(exclusion, changes, there)


# What holds where a storage offers a rename and nothing else; of two changes of attributes one may be lost there,
# and under one in some thousand schedules of two sweeps at once a write beside them.
RENAMING = (
    "two writers", "two writers of a free name", "two writers of equal sizes", "a writer, a delete",
    "a writer, a sweep", "two writers, a sweep", "a move away, a writer", "a move onto it, a writer",
    "a move away, a sweep",
)  # fmt: skip
PLACES = [*product(MEETINGS, EXACT), *product(RENAMING, [Exclusion.RENAME])]


@pytest.mark.parametrize(("name", "exclusion"), PLACES)
def test_at_most_two_preemptions_and_by_dice(name: str, exclusion: Exclusion, full_run: bool) -> None:
    meeting = made(name, exclusion)
    few, dice = (80, 60) if exclusion is Exclusion.RENAME else (50, 30)
    for schedule in chain(Bounded(2).each(20_000 if full_run else few), map(Dice, range(5_000 if full_run else dice))):
        meeting.check(schedule)


@pytest.mark.parametrize("exclusion", EXACT)
@pytest.mark.parametrize("name", MEETINGS)
def test_a_process_dies_or_is_refused(name: str, exclusion: Exclusion, full_run: bool) -> None:
    meeting = made(name, exclusion)
    steps = [process.steps for process in meeting.run(straight_on).processes]
    places = [(number, step) for number, most in enumerate(steps) for step in range(1, most + 3)]
    for (number, step), how in product(places, (How.CRASH, How.FAIL)):
        for seed in range(40 if full_run else 1):
            meeting.check(Dice(seed), Fault(number, step, how))


# -- with one clause taken away ----------------------------------------------------------------------------
def loses(*meetings: str, exclusion: Exclusion = Exclusion.CONDITIONS, most: int = 3_000) -> None:
    """Let some meetings run until one of them loses something."""
    for name in meetings:
        meeting = made(name, exclusion)
        try:
            for each in by_turns(most):
                meeting.check(each)
        except Loss:
            return
    pytest.fail(f"nothing was lost by {meetings}: these tests do not see what they are for")


def settle_by_an_early_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the answer about the sidecar another's bytes may have come, and their sidecar too."""
    real_lying, real_put, real_settle = named._lying, SteppingBackend.put, named._settle
    looked: dict[int, str] = {}
    writing: dict[int, commit.StoreOperation] = {}

    def put(self: SteppingBackend, key: str, *args: Any, **conditions: Any) -> str | None:
        try:
            return real_put(self, key, *args, **conditions)
        except PreconditionFailed:
            item = writing.get(id(self))
            if item is not None:
                looked[id(self)] = real_lying(item)
            raise

    def settle(item: commit.StoreOperation) -> None:
        writing[id(item.backend)] = item
        real_settle(item)

    monkeypatch.setattr(named, "_settle", settle)
    monkeypatch.setattr(SteppingBackend, "put", put)
    monkeypatch.setattr(named, "_lying", lambda item: looked[id(item.backend)])


def rewrite_without_a_condition(backend: Any, reference: str, seen: named.Seen, beside: Any, _: int) -> None:
    named.write_and_look(backend, reference, beside(seen.text))


def commit_once(self: named.CopiedBytes, content_type: str) -> None:
    self.backend.copy(self.source, self.target, content_type)


UNCONDITIONAL = (named.yield_to_deletes, commit.put_due, commit.put_bytes, commit.put_sidecar)
UNMARKED = (commit.remove_bytes, commit.remove_sidecar, commit.remove_due)
CONDITIONS, LOCK, RENAME = Exclusion.CONDITIONS, Exclusion.LOCK, Exclusion.RENAME
WRITERS, SWEPT, POLICY, MOVED = "two writers", "a writer, a sweep", "a policy, a sweep", "a move away, a writer"
TWICE = ("two writers, a sweep, a delete, an attribute", "two writers, a delete, a sweep")
MUTANTS: dict[str, tuple[Any, str, Any, list[tuple[Any, ...]]]] = {  # what is patched; of each of these one loses
    "no condition on the sidecar": (commit, "STORE_CONDITIONAL", UNCONDITIONAL, [(CONDITIONS, WRITERS)]),
    "a refused writer gives up": (named, "_lying", lambda _: "another's", [(CONDITIONS, WRITERS)]),
    "a refused writer does not look whose bytes lie there":
        (named, "_lying", lambda _: "mine", [(CONDITIONS, WRITERS)]),
    "no writing bytes again that a delete took": (named, "_put_again", lambda _: None, [(CONDITIONS, SWEPT)]),
    "no mark before the bytes go": (commit, "DELETE_MARKED", UNMARKED, [(CONDITIONS, POLICY), (CONDITIONS, SWEPT)]),
    "writers and changes go over a mark": (
        named, "at_rest", lambda _, __, seen, **___: seen,
        [(CONDITIONS, "a writer of the same bytes, a sweep", SWEPT, "two writers, a sweep"), (CONDITIONS, POLICY)],
    ),
    "changes of attributes without a condition":
        (named, "_rewrite_conditionally", rewrite_without_a_condition, [(CONDITIONS, "two attributes")]),
    "a sweep does not judge anew": (expiry, "_is_due", lambda *_: True, [(CONDITIONS, POLICY), (LOCK, POLICY)]),
    "a move deletes whatever lies at its source":
        (Deleter, "moved", lambda self, sources: self.many(list(sources)), [(CONDITIONS, MOVED), (LOCK, MOVED)]),
    "a copy of a pair that does not fit": (named, "_is_proven", lambda *_: True, [(CONDITIONS, MOVED)]),
    "a copy does not look at its source again": (named.CopiedBytes, "commit", commit_once, [(CONDITIONS, MOVED)]),
    # Where a token is a digest, a sidecar that came again is taken for the one that was read.
    "a second round under the first id":
        (Sidecar, "with_write", lambda self, _: self.without_leaving(), [(CONDITIONS, *TWICE)]),
    "a sweep does not look what it caught": (commit, "DELETE_CAUGHT", commit.DELETE_NAMED, [(RENAME, SWEPT)]),
    "no lock":
        (SteppingBackend, "lock", lambda *_: nullcontext(), [(LOCK, WRITERS), (LOCK, SWEPT), (LOCK, "two attributes")]),
    "a copy does not look under the lock": (named.CopiedBytes, "is_current", lambda _: True, [(LOCK, MOVED)]),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_with_a_clause_taken_away(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, broken, losing = MUTANTS[mutant]
    monkeypatch.setattr(place, name, broken)
    for exclusion, *meetings in losing:
        loses(*meetings, exclusion=exclusion)


def test_with_the_bytes_looked_at_before_the_sidecar(monkeypatch: pytest.MonkeyPatch) -> None:
    settle_by_an_early_look(monkeypatch)
    loses("two writers", "three writers")


@pytest.mark.parametrize("what", [N, f"{N}.meta"])
def test_a_repair_puts_nothing_back_over_a_write(what: str, full_run: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that knew no locks when a sweep died on it: what that had taken aside goes back under the lock."""
    monkeypatch.setattr(SteppingBackend, "renames", True)

    def build(world: World) -> None:
        world.exclusion, world.deduplicate = Exclusion.LOCK, False
        world.open()[0].fs.pipe_file(N, OLD)
        cells = world.cells
        cells.rename(what, keys.aside_key(what, 0) or "")
        if what != N:
            cells.rename(N, "gone")
        world.ages()
        world.act("repair", lambda store: store.verify(repair=True))
        world.act("write", lambda store: store.fs.pipe_file(N, A))

    scenario = Scenario("aside", build)
    cells = scenario.world.cells
    for schedule in chain(Bounded(2).each(20_000 if full_run else 1_500), map(Dice, range(200))):
        run = scenario.begun(schedule)
        scenario.end(run)
        said = Sidecar.parse(cells.data(f"{N}.meta") or b"", N).values
        assert (cells.data(N), said["size_bytes"]) == (A, len(A)), (run.schedule, run.trace)


def test_a_write_beside_a_delete_keeps_its_due_entry(full_run: bool) -> None:
    """Both name the same minute: what is written anew right after it was written may be deleted in between.

    Under a lock. Where there are conditions only, the entry goes last, for a sweep must find a deletion that died.
    """

    def build(world: World) -> None:
        world.exclusion, world.deduplicate = Exclusion.LOCK, False
        world.open()[0].change_settings(default_policy="retain-30days")
        world.open()[0].fs.pipe_file(N, OLD)
        world.act("write", lambda store: store.fs.pipe_file(N, A))
        world.act("delete", lambda store: store.delete_media(N))

    scenario = Scenario("due", build)
    cells = scenario.world.cells
    for schedule in chain(Bounded(2).each(20_000 if full_run else 2_000), map(Dice, range(500))):
        run = scenario.begun(schedule)
        scenario.end(run)
        text = cells.data(f"{N}.meta")
        if text is None or cells.data(N) is None:
            continue
        instant = Sidecar.parse(text, N).record(N, 0).expires_at
        assert instant is not None
        assert keys.due_key(instant, N) in cells.objects, (run.schedule, run.trace)
