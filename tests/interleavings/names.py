"""Names that clients choose: who changes one of them at once, and what must be true of it at rest.

As in `meetings`, each process is real code whose every request is one step. What is compared is the real order of
operations: one that was answered before another began came before it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any

from fsmedia import InvalidMediaError, MediaStore, StorageError, StoreConflictError
from fsmedia.errors import MediaNotFoundError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.storage import Exclusion
from tests.interleavings.meetings import Loss, Scenario
from tests.interleavings.turns import Chooser, Crash, Fault, Process, Run
from tests.interleavings.worlds import World, complete

N, K = "runs/r1/n.txt", "runs/r1/k.txt"
OLD, OTHER = b"the old bytes", b"the bytes at k"
DUE = "delete-after-5min"
REFUSED = (StoreConflictError, MediaNotFoundError, FileNotFoundError, InvalidMediaError)
"""What a change may answer that another one made impossible; nothing was acknowledged then."""


@dataclass(frozen=True)
class Change:
    what: str
    work: Callable[[MediaStore], Any]
    writes: dict[str, bytes | None] = field(default_factory=dict)  # what lies at a name if it succeeds; None: nothing
    sets: str | None = None  # an attribute that must stay
    keeps: bool = False  # whether a sweep must leave the media alone afterwards


def write(data: bytes, name: str = N) -> Change:
    return Change("write", lambda store: store.fs.pipe_file(name, data), {name: data})


def delete(name: str = N) -> Change:
    return Change("delete", lambda store: store.delete_media(name), {name: None})


def sweep() -> Change:
    return Change("sweep", lambda store: complete(store.enforce_policy()))


def attribute(word: str) -> Change:
    return Change("attribute", lambda store: store.fs.setxattrs(N, {f"user.{word}": "1"}), sets=f"user.{word}")


def policy() -> Change:
    return Change("policy", lambda store: store.apply_policy(N, None), keeps=True)


def move(source: str, target: str, data: bytes) -> Change:
    return Change("move", lambda store: store.fs.mv(source, target), {source: None, target: data})


@dataclass
class Names:
    """Changes that meet over one or two names, each of which may lie there before."""

    exclusion: Exclusion
    changes: tuple[Change, ...]
    there: dict[str, bytes]  # before; what lies at `N` may go since two minutes

    def __post_init__(self) -> None:
        def build(world: World) -> None:
            world.exclusion = self.exclusion
            store, _ = world.open()
            for name, data in self.there.items():
                store.fs.pipe_file(name, data)
                if name == N:
                    store.apply_policy(name, DUE)
            world.cells.advance(timedelta(minutes=7))
            for change in self.changes:
                world.act(change.what, lambda store, change=change: self._timed(change, store))

        self._numbers = {id(change): number for number, change in enumerate(self.changes)}
        self.scenario = Scenario("names", build)
        self.world = self.scenario.world

    def _timed(self, change: Change, store: MediaStore) -> None:
        number = self._numbers[id(change)]
        self.began[number] = len(self.run_.trace)
        try:
            change.work(store)
        finally:
            self.ended[number] = len(self.run_.trace)

    def run(self, choose: Chooser, fault: Fault | None = None) -> Run:
        self.began: dict[int, int] = {}
        self.ended: dict[int, int] = {}
        self.run_ = self.scenario.begun(choose, fault)
        self.scenario.end(self.run_)
        return self.run_

    def check(self, choose: Chooser, fault: Fault | None = None) -> None:
        """Let them meet once, repair what a crash left, and raise if something is wrong."""
        self.run(choose, fault)
        found = [*self._unexplained()]
        if self.run_.hit:
            before = {name for name in (N, K) if name in self.world.cells.objects}
            self.world.cells.advance(timedelta(days=3))
            with self.scenario.names():
                # A crash may leave no media and a due entry: without `force` a repair stops there, and asks.
                report = self.scenario.janitor.verify(repair=True, deep=True, force=True)
            found += [f"repair failed: {each.error}" for each in report.failed]
            found += [f"repair removed the bytes at {name}" for name in before if name not in self.world.cells.objects]
        found += [problem for name in (N, K) for problem in (*self._torn(name), *self._lost(name))]
        found += self._lost_on_the_way()
        if found:
            steps = [f"  {number} {kind:<10} {key[-60:]}" for number, kind, key in self.run_.trace]
            ends = [f"{change.what}: {process.error!r}" for change, process in self._pairs()]
            raise Loss("\n".join([*found, f"{self.run_.schedule!r}, {fault}", *ends, *steps]))

    def _pairs(self) -> list[tuple[Change, Process]]:
        return list(zip(self.changes, self.run_.processes, strict=True))

    def _unexplained(self) -> list[str]:
        explained = (*REFUSED, type(None), *((Crash, StorageError) if self.run_.hit else ()))
        pairs = [(change.what, process.error) for change, process in self._pairs()]
        return [f"{what} raised {type(e).__name__}: {e}" for what, e in pairs if not isinstance(e, explained)]

    def _torn(self, name: str) -> list[str]:
        cells = self.world.cells.objects
        data, sidecar = cells.get(name), cells.get(keys.sidecar_key(name))
        deleted = any(change.writes.get(name, b"") is None for change in self.changes)
        if sidecar is None:
            # A first writer that died leaves what looks like another program's file: known, and left.
            return [] if data is None or self.run_.hit else [f"{name}: bytes alone"]
        if data is None:
            # A change whose look found no bytes raised and left the sidecar (one absence may be a wrong answer), and
            # a delete that overlaps a first write may leave one: no media. A repair, once it is old, clears it.
            return [] if deleted and not self.run_.hit else [f"{name}: a sidecar alone"]
        said = Sidecar.parse(sidecar.data, name).values
        torn = said["sha256"] != sha256(data.data).hexdigest()
        marked = ["a deletion's mark is left"] if "leaving" in said and not self.run_.hit else []
        return [f"{name}: {each}" for each in [*([f"{data.data!r} under another's sidecar"] if torn else []), *marked]]

    def _lost(self, name: str) -> list[str]:  # noqa: PLR0911 - one answer for each thing that may be wrong
        pairs = list(enumerate(self._pairs()))
        done = {number for number, (_, process) in pairs if process.succeeded}
        writers = [number for number, (change, _) in pairs if change.writes.get(name) is not None]
        takers = [number for number, (change, _) in pairs if change.writes.get(name, b"") is None]
        sweeps = any(change.what == "sweep" for change in self.changes)
        cell = self.world.cells.objects.get(name)
        if cell is None:
            kept = [number for number in writers if number in done]
            if sweeps and any(self.changes[number].what == "move" for number in kept):
                return []  # its policy came along
            if kept and not any(not any(self._before(taker, each) for each in kept) for taker in takers):
                return [f"{name}: an acknowledged write is gone"]
            keeps = any(change.keeps and number in done for number, (change, _) in pairs)
            if sweeps and keeps and not takers and name == N:
                return [f"{name}: swept though an acknowledged policy keeps it"]
            if name in self.there and not takers and not (sweeps and name == N):
                return [f"{name}: gone, and nobody took it away"]
            return []
        mine = [number for number in writers if cell.data in self._may_be(number, name)]
        over = {number for number in (*writers, *takers) if number in done}
        if mine:
            if all(any(self._before(each, later) for later in over - set(mine)) for each in mine):
                return [f"{name}: {cell.data!r} stands over what was acknowledged later"]
        elif cell.data != self.there.get(name):
            return [f"{name}: {cell.data!r} is nobody's"]
        elif over and not self.run_.hit:
            return [f"{name}: the old bytes stand over {sorted(over)}"]
        return self._lost_words(name, done) if name == N else []

    def _may_be(self, number: int, name: str) -> set[bytes]:
        """What may lie at a name because of a change: a move takes along what others wrote over its source."""
        change = self.changes[number]
        found = {change.writes[name]}
        if change.what == "move":
            [source] = [each for each, data in change.writes.items() if data is None]
            found |= {other.writes[source] for other in self.changes if other.writes.get(source) is not None}
        return found

    def _lost_on_the_way(self) -> list[str]:
        """A move is no delete: what was written over its source is somewhere."""
        moved = any(change.what == "move" for change in self.changes)
        written = [change for change, process in self._pairs() if change.what == "write" and process.succeeded]
        if not moved or len(written) != 1 or any(change.what in ("delete", "sweep") for change in self.changes):
            return []
        [(name, data)] = written[0].writes.items()
        there = {cell.data for key, cell in self.world.cells.objects.items() if key in (N, K)}
        over = any(change.what == "move" and change.writes.get(name) is not None for change in self.changes)
        return [] if data in there or over else [f"{name}: {data!r} was acknowledged, and lost by a move"]

    def _lost_words(self, name: str, done: set[int]) -> list[str]:
        if any(change.what in ("delete", "move", "sweep") for change in self.changes):
            return []
        if self.exclusion not in (Exclusion.CONDITIONS, Exclusion.LOCK):
            return []  # the last writer wins there
        sidecar = self.world.cells.objects.get(keys.sidecar_key(name))
        said = {} if sidecar is None else Sidecar.parse(sidecar.data, name).values.get("xattrs") or {}
        wanted = [change.sets for number, change in enumerate(self.changes) if number in done and change.sets]
        return [f"{name}: the acknowledged attribute {each} is lost" for each in wanted if each not in said]

    def _before(self, first: int, second: int) -> bool:
        return first in self.ended and second in self.began and self.ended[first] <= self.began[second]
