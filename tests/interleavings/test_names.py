"""Two who change one name that clients choose: writers, deletes, sweeps, moves, attributes, under every short schedule.

Each meeting runs under all schedules with two preemptions, by dice, and with a process that dies at any step; with
clauses of the protocol taken away, the same meetings must lose something.
"""

from __future__ import annotations

from contextlib import nullcontext
from itertools import product
from typing import Any

import pytest

from fsmedia.core import commit, named
from fsmedia.core.lifetime import Deleter
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance import expiry
from fsmedia.storage import Exclusion, PreconditionFailed
from tests.interleavings.cells import SteppingBackend
from tests.interleavings.meetings import Loss
from tests.interleavings.names import (
    OLD,
    OTHER,
    Change,
    K,
    N,
    Names,
    attribute,
    delete,
    move,
    policy,
    sweep,
    write,
)
from tests.interleavings.schedules import Bounded, Dice, straight_on
from tests.interleavings.turns import Fault, How

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


@pytest.mark.parametrize("exclusion", EXACT)
@pytest.mark.parametrize("name", MEETINGS)
def test_at_most_two_preemptions(name: str, exclusion: Exclusion, full_run: bool) -> None:
    meeting = made(name, exclusion)
    schedules = Bounded(2)
    for _ in range(20_000 if full_run else 150):
        if not schedules.another():
            break
        meeting.check(schedules)


@pytest.mark.parametrize("exclusion", EXACT)
@pytest.mark.parametrize("name", MEETINGS)
def test_by_dice(name: str, exclusion: Exclusion, full_run: bool) -> None:
    meeting = made(name, exclusion)
    for seed in range(5_000 if full_run else 100):
        meeting.check(Dice(seed))


@pytest.mark.parametrize("exclusion", EXACT)
@pytest.mark.parametrize("name", MEETINGS)
def test_a_process_dies_or_is_refused(name: str, exclusion: Exclusion, full_run: bool) -> None:
    meeting = made(name, exclusion)
    steps = [process.steps for process in meeting.run(straight_on).processes]
    places = [(number, step) for number, most in enumerate(steps) for step in range(1, most + 3)]
    for (number, step), how in product(places, (How.CRASH, How.FAIL)):
        for seed in range(40 if full_run else 2):
            meeting.check(Dice(seed), Fault(number, step, how))


# What holds where a storage offers a rename and nothing else; of two changes of attributes one may be lost there,
# and under one in some thousand schedules of two sweeps at once a write beside them.
RENAMING = (
    "two writers",
    "two writers of a free name",
    "two writers of equal sizes",
    "a writer, a delete",
    "a writer, a sweep",
    "two writers, a sweep",
    "a move away, a writer",
    "a move onto it, a writer",
    "a move away, a sweep",
)


@pytest.mark.parametrize("name", RENAMING)
def test_with_nothing_but_a_rename(name: str, full_run: bool) -> None:
    meeting = made(name, Exclusion.RENAME)
    schedules = Bounded(2)
    for _ in range(20_000 if full_run else 300):
        if not schedules.another():
            break
        meeting.check(schedules)
    for seed in range(5_000 if full_run else 200):
        meeting.check(Dice(seed))


# -- with one clause taken away ----------------------------------------------------------------------------


def loses(*meetings: str, exclusion: Exclusion = Exclusion.CONDITIONS, most: int = 3_000) -> None:
    """Let some meetings run until one of them loses something."""
    for name in meetings:
        meeting = made(name, exclusion)
        schedules = Bounded(2)
        try:
            for _ in range(most // 2):
                if not schedules.another():
                    break
                meeting.check(schedules)
            for seed in range(most):
                meeting.check(Dice(seed))
        except Loss:
            return
    pytest.fail(f"nothing was lost by {meetings}: these tests do not see what they are for")


def test_without_a_condition_on_the_sidecar(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (named.yield_to_deletes, commit.put_due, commit.put_bytes, commit.put_sidecar)
    monkeypatch.setattr(commit, "STORE_CONDITIONAL", steps)
    loses("two writers")


def test_with_a_refused_writer_who_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "_lying", lambda _: "another's")
    loses("two writers")


def test_with_a_refused_writer_who_does_not_look_whose_bytes_lie_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "_lying", lambda _: "mine")
    loses("two writers")


def test_with_the_bytes_looked_at_before_the_sidecar(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the answer about the sidecar another's bytes may have come, and their sidecar too."""
    real_lying, real_put = named._lying, SteppingBackend.put
    looked: dict[str, str] = {}

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

    writing: dict[int, commit.StoreOperation] = {}
    real_settle = named._settle
    monkeypatch.setattr(named, "_settle", settle)
    monkeypatch.setattr(SteppingBackend, "put", put)
    monkeypatch.setattr(named, "_lying", lambda item: looked[id(item.backend)])
    loses("two writers", "three writers")


def test_without_writing_bytes_again_that_a_delete_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "_put_again", lambda _: None)
    loses("a writer, a sweep")


def test_without_a_mark_before_the_bytes_go(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (commit.remove_bytes, commit.remove_sidecar, commit.remove_due)
    monkeypatch.setattr(commit, "DELETE_MARKED", steps)
    loses("a policy, a sweep")
    loses("a writer, a sweep")


def test_with_writers_and_changes_that_go_over_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "at_rest", lambda _, __, seen, **___: seen)
    loses("a writer of the same bytes, a sweep", "a writer, a sweep", "two writers, a sweep")
    loses("a policy, a sweep")


def test_with_changes_of_attributes_without_a_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    def rewrite(backend: Any, reference: str, seen: named.Seen, beside: Any) -> None:
        named.write_and_look(backend, reference, beside(seen.text))

    monkeypatch.setattr(named, "_rewrite_conditionally", rewrite)
    loses("two attributes")


def test_with_a_sweep_that_does_not_judge_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "_is_due", lambda *_: True)
    loses("a policy, a sweep")
    loses("a policy, a sweep", exclusion=Exclusion.LOCK)


def test_with_a_move_that_deletes_whatever_lies_at_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deleter, "moved", lambda self, sources: self.many(list(sources)))
    loses("a move away, a writer")
    loses("a move away, a writer", exclusion=Exclusion.LOCK)


def test_with_a_copy_of_a_pair_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "_is_proven", lambda *_: True)
    loses("a move away, a writer")


def test_with_a_copy_that_does_not_look_at_its_source_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def commit_once(self: named.CopiedBytes, content_type: str) -> None:
        self.backend.copy(self.source, self.target, content_type)

    monkeypatch.setattr(named.CopiedBytes, "commit", commit_once)
    loses("a move away, a writer")


def test_with_a_second_round_under_the_first_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a token is a digest, a sidecar that came again is taken for the one that was read."""
    monkeypatch.setattr(Sidecar, "with_write", lambda self, _: self.without_leaving())
    loses("two writers, a delete, a sweep", "two writers, a sweep, a delete, an attribute")


def test_with_a_sweep_that_does_not_look_what_it_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "DELETE_CAUGHT", commit.DELETE_NAMED)
    loses("a writer, a sweep", exclusion=Exclusion.RENAME)


def test_without_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SteppingBackend, "lock", lambda *_: nullcontext())
    loses("two writers", exclusion=Exclusion.LOCK)
    loses("a writer, a sweep", exclusion=Exclusion.LOCK)
    loses("two attributes", exclusion=Exclusion.LOCK)


def test_with_a_copy_that_does_not_look_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named.CopiedBytes, "is_current", lambda _: True)
    loses("a move away, a writer", exclusion=Exclusion.LOCK)
