"""A model of the protocol for names that clients choose, where a storage keeps conditions; checked to the last state.

`test_names.py` steps the real code through some schedules; this goes through all of a small model of it, with a process
that dies anywhere. Bytes and sidecar are one object each, every request is one atomic step, and a condition compares
the whole sidecar, which carries a fresh `write` for that. docs/format.md has the words ("Names that clients choose").
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import pytest

ROUNDS = 3
"""How often a writer tries again; more meetings than that no three processes have."""
Kind = Literal["write", "sweep", "delete", "change"]
Mutant = Literal[
    "", "unconditional sidecar", "loser gives up", "loser describes blindly", "no mark", "no waiting", "bytes first"
]


class Sidecar(NamedTuple):
    """What it speaks of, its `write`, who is deleting the media (-1: nobody), and the attributes that were set."""

    content: str
    write: tuple[int, int]
    leaving: int = -1
    attributes: frozenset[int] = frozenset()


class Process(NamedTuple):
    """One process: what it does, where it stands, what it has seen, and which round it is in."""

    kind: Kind
    at: str = "look"
    seen: Sidecar | None = None
    round: int = 0

    @property
    def ended(self) -> bool:
        return self.at in ("done", "yielded", "dead", "gave up")


@dataclass(frozen=True)
class World:
    data: str | None
    sidecar: Sidecar | None
    processes: tuple[Process, ...]


OLD = Sidecar("old", (-1, 0))


@dataclass(frozen=True)
class Turn:
    world: World
    me: int
    mutant: Mutant

    @property
    def process(self) -> Process:
        return self.world.processes[self.me]

    def then(self, at: str, now: World | None = None, **changes: object) -> World:
        """Return the world in which the process stands somewhere else."""
        now, moved = now or self.world, self.process._replace(at=at, **changes)
        return replace(now, processes=(*now.processes[: self.me], moved, *now.processes[self.me + 1 :]))

    def again(self, at: str, **changes: object) -> World:
        """Go on with the next round, if there is one."""
        number = self.process.round + 1
        return self.then(at, round=number, **changes) if number <= ROUNDS else self.then("gave up")

    def must_wait(self) -> bool:
        """Whether somebody else who is not dead deletes the media."""
        found = self.world.sidecar
        by_another = found is not None and found.leaving not in (-1, self.me)
        return by_another and self.mutant != "no waiting" and self.world.processes[found.leaving].at != "dead"

    def take(self) -> World | None:
        """Return the world after it; None while it waits."""
        return getattr(self, self.process.at.partition(", ")[0].replace(" ", "_"))()

    def look(self) -> World | None:
        found, kind = self.world.sidecar, self.process.kind
        if self.must_wait():
            return self.then("yielded") if kind == "sweep" else None
        if kind == "write":
            return self.then("put bytes", seen=found)
        if found is None or (kind == "sweep" and found.content != "old"):
            return self.then("yielded")
        deletes = "delete bytes" if self.mutant == "no mark" else "mark"
        return self.then("put sidecar" if kind == "change" else deletes, seen=found)

    def put_bytes(self) -> World:
        return self.then("put sidecar", replace(self.world, data=f"new{self.me}"))

    def put_sidecar(self) -> World:
        process, found = self.process, self.world.sidecar
        content, kept = f"new{self.me}", frozenset() if process.seen is None else process.seen.attributes
        if process.kind == "change" and process.seen is not None:
            content, kept = process.seen.content, kept | {self.me}
        if found == process.seen or self.mutant == "unconditional sidecar":
            fresh = Sidecar(content, (self.me, process.round), -1, kept)
            return self.then("done", replace(self.world, sidecar=fresh))
        if process.kind == "change":
            return self.again("look")
        if self.mutant == "loser gives up":
            return self.then("done")
        return self.then("look at bytes" if self.mutant == "bytes first" else "read")

    def read(self) -> World | None:
        """Read the sidecar after a refusal; the mutant has looked at the bytes before."""
        found, lying = self.world.sidecar, self.process.at.partition(", ")[2]
        if self.must_wait():
            return None
        if self.mutant == "loser describes blindly":
            return self.again("put sidecar", seen=found)
        return self.decide(lying, seen=found) if lying else self.again("look at bytes", seen=found)

    def look_at_bytes(self) -> World:
        lying = {None: "nothing", f"new{self.me}": "mine"}.get(self.world.data, "another's")
        return self.then(f"read, {lying}") if self.mutant == "bytes first" else self.decide(lying)

    def decide(self, lying: str, **changes: object) -> World:
        """Overwritten bytes are their writer's to describe; one's own are described, or written again."""
        if lying == "another's":
            return self.then("done")
        at = "put bytes" if lying == "nothing" else "put sidecar"
        return self.again(at, **changes) if changes else self.then(at)

    def mark(self) -> World:
        seen = self.process.seen
        if seen is None or self.world.sidecar != seen:
            return self.again("look")
        marked = seen._replace(leaving=self.me, write=(self.me, self.process.round))
        return self.then("delete bytes", replace(self.world, sidecar=marked), seen=marked)

    def delete_bytes(self) -> World:
        return self.then("delete sidecar", replace(self.world, data=None))

    def delete_sidecar(self) -> World:
        gone = self.world.sidecar == self.process.seen or self.mutant == "no mark"
        return self.then("done", replace(self.world, sidecar=None) if gone else self.world)


def problem(world: World, *, crashed: bool) -> str | None:
    """Say what is wrong with a world at rest."""
    kinds = {each.kind for each in world.processes}
    data, sidecar = world.data, world.sidecar
    if crashed:  # a repair runs alone: it describes bytes, and takes a sidecar without any
        sidecar = None if data is None or sidecar is None else sidecar._replace(content=data, leaving=-1)
    elif sidecar is not None and data is None and "delete" not in kinds:
        return "a sidecar without bytes"
    elif data is not None and (sidecar is None or sidecar.content != data or sidecar.leaving != -1):
        return f"bytes {data} under {sidecar}"
    written = [f"new{me}" for me, each in enumerate(world.processes) if each.kind == "write" and each.at == "done"]
    if written and "delete" not in kinds and (data is None or data == "old"):
        return "an acknowledged write is gone"
    changed = {me for me, each in enumerate(world.processes) if each.kind == "change" and each.at == "done"}
    if sidecar is not None and not kinds & {"delete", "sweep"} and not changed <= sidecar.attributes:
        return "an acknowledged attribute is gone"
    return None


def check(kinds: tuple[Kind, ...], mutant: Mutant = "", *, crashes: int = 0) -> tuple[int, set[str]]:
    """Go through all worlds of a meeting; return how many there are, and what is wrong in any."""
    first = (World("old", OLD, tuple(Process(kind) for kind in kinds)), crashes)
    seen, todo, wrong = {first}, [first], set[str]()
    while todo:
        world, left = todo.pop()
        going = [me for me, each in enumerate(world.processes) if not each.ended]
        answers = [Turn(world, me, mutant).take() for me in going]
        after = [(each, left) for each in answers if each is not None]
        if going and not after:
            wrong.add("they wait for each other for ever")
        after += [(Turn(world, me, mutant).then("dead"), left - 1) for me in going if left]
        if not going:
            told = problem(world, crashed=left < crashes)
            wrong |= set() if told is None else {told}
        for each in after:
            if each not in seen:
                seen.add(each)
                todo.append(each)
    return len(seen), wrong


MEETINGS: list[tuple[Kind, ...]] = [
    ("write", "write"), ("write", "sweep"), ("write", "delete"), ("change", "change"), ("write", "change"),
    ("sweep", "change"), ("sweep", "sweep"), ("write", "write", "sweep"), ("write", "write", "delete"),
    ("write", "sweep", "change"), ("write", "change", "change"), ("write", "sweep", "sweep"),
]  # fmt: skip


@pytest.mark.parametrize("crashes", [0, 1])
@pytest.mark.parametrize("kinds", MEETINGS, ids="-".join)
def test_every_world_at_rest_is_sound(kinds: tuple[Kind, ...], crashes: int) -> None:
    worlds, wrong = check(kinds, crashes=crashes)
    assert not wrong, wrong
    assert worlds > 10


WRITERS, SWEPT = ("write", "write"), ("write", "sweep")
MUTANTS: list[tuple[Mutant, tuple[Kind, ...]]] = [
    ("unconditional sidecar", WRITERS), ("loser gives up", WRITERS), ("loser describes blindly", WRITERS),
    ("no mark", SWEPT), ("no waiting", SWEPT), ("bytes first", ("write", "write", "write")),
    ("unconditional sidecar", ("change", "change")),
]  # fmt: skip


@pytest.mark.parametrize(("mutant", "kinds"), MUTANTS)
def test_without_a_clause_of_it_something_is_lost(mutant: Mutant, kinds: tuple[Kind, ...]) -> None:
    assert check(kinds, mutant)[1]
