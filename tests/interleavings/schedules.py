"""Who goes next: as written down, by dice, or every schedule with few preemptions, one after another."""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.interleavings.turns import LETTERS


def straight_on(current: int | None, able: list[int]) -> int:
    """Let who runs go on to its end, then the next."""
    return current if current is not None else able[0]


class Written:
    """A schedule as a failure printed it; after its end, straight on."""

    def __init__(self, letters: str) -> None:
        self._left = [LETTERS.index(letter) for letter in reversed(letters)]

    def __call__(self, current: int | None, able: list[int]) -> int:
        if self._left and self._left[-1] in able:
            return self._left.pop()
        self._left.clear()
        return straight_on(current, able)


class Dice:
    """Seeded: some runs switch at nearly every step, some seldom, for long delays find other things than short ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._stay = self._random.choice((0.0, 0.5, 0.8, 0.9))

    def __call__(self, current: int | None, able: list[int]) -> int:
        if current is not None and self._random.random() < self._stay:
            return current
        return able[int(self._random.random() * len(able))]


@dataclass
class _Choice:
    """One choice of the current schedule: what may be chosen there, and which it is now."""

    options: list[int]
    spent: int  # preemptions before it
    costs: bool  # whether all but the first option are preemptions
    at: int = 0


@dataclass
class Bounded:
    """All schedules with at most so many preemptions, depth first; ask `another` before each run.

    `keep` is the part of the second and later preemptions that are tried, drawn by a seed: a smaller set that is the
    same every time.
    """

    preemptions: int
    keep: float = 1.0
    seed: int = 0
    _path: list[_Choice] = field(default_factory=list)
    _depth: int = 0
    _begun: bool = False

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def another(self) -> bool:
        """Go to the next schedule; False after the last one."""
        self._depth = 0
        if not self._begun:
            self._begun = True
            return True
        while self._path:
            last = self._path[-1]
            last.at += 1
            if last.at < len(last.options):
                return True
            self._path.pop()
        return False

    def each(self, most: int = sys.maxsize) -> Iterator["Bounded"]:
        """Yield this once for each schedule, at most so many times."""
        for _ in range(most):
            if not self.another():
                return
            yield self

    def __call__(self, current: int | None, able: list[int]) -> int:
        if self._depth == len(self._path):
            self._path.append(self._choice(current, able))
        choice = self._path[self._depth]
        self._depth += 1
        return choice.options[choice.at]

    def _choice(self, current: int | None, able: list[int]) -> _Choice:
        spent = 0
        if self._path:
            last = self._path[-1]
            spent = last.spent + (last.costs and last.at > 0)
        first = straight_on(current, able)
        others = [each for each in able if each != first]
        if current is not None and (
            spent >= self.preemptions or (spent and self.keep < 1 and self._random.random() >= self.keep)
        ):
            others = []
        return _Choice([first, *others], spent, costs=current is not None)


def by_turns(most: int) -> Iterator[Bounded | Dice]:
    """Yield schedules with two preemptions and dice in turn: what one finds late the other may find soon."""
    bounded = Bounded(2)
    for seed in range(most):
        if bounded.another():
            yield bounded
        yield Dice(seed)
