"""A scenario, and what must hold at every step of it, at rest, and after orphan sweeps came by.

A scenario is built once: media stored, processes named. Each run begins with a copy of those objects.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

from fsmedia import InvalidMediaError, MediaNotFoundError, StorageError, StoreConflictError
from fsmedia.format import keys
from tests.interleavings.cells import Cells
from tests.interleavings.schedules import straight_on
from tests.interleavings.turns import Chooser, Crash, Fault, Process, Run, Watch
from tests.interleavings.worlds import GRACE, Actor, World

_RANDOM_BITS = 80


class _Uuids:
    """Counts, where the package asks for time-ordered ids: a schedule that is run again meets the same names."""

    def __init__(self, cells: Cells) -> None:
        self._cells, self._numbers = cells, count(1)

    def uuid7(self) -> SimpleNamespace:
        milliseconds = int(self._cells.now.timestamp() * 1000)
        return SimpleNamespace(int=milliseconds << _RANDOM_BITS | next(self._numbers))


class Loss(AssertionError):  # noqa: N818 - what the tests are about, and no error of theirs
    """Something that must hold does not; the text tells the schedule, and how to run it again."""


@dataclass
class Scenario:
    """Operations that meet; `run` lets them do so once, under one schedule."""

    name: str
    build: Callable[[World], None]
    allows: tuple[str, ...] = ()  # beginnings of problems that are known, and left
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        with self.names():
            self.build(self.world)
        self.janitor = self.world.open()[0]
        self.world.image = dict(self.world.cells.objects)
        self._begin = self.world.cells.now

    @contextmanager
    def names(self) -> Iterator[None]:
        """Let ids be numbers, the same in every run."""
        real = keys.uuid_utils, keys.token_hex
        uuids = _Uuids(self.world.cells)
        keys.uuid_utils, keys.token_hex = uuids, lambda size: f"{uuids.uuid7().int:0{2 * size}x}"[-2 * size :]
        try:
            yield
        finally:
            keys.uuid_utils, keys.token_hex = real

    @property
    def most_steps(self) -> list[int]:
        """How many steps each process takes when nobody is in its way: where faults can be."""
        return [process.steps for process in self.run(straight_on).run.processes]

    def run(self, choose: Chooser, fault: Fault | None = None) -> "Meeting":
        """Run once; nothing is checked yet but what was seen on the way."""
        meeting = Meeting(self, fault)
        meeting.run = self.begun(choose, fault, meeting.watch)
        self.end(meeting.run)
        return meeting

    def begun(self, choose: Chooser, fault: Fault | None = None, watch: Watch | None = None) -> Run:
        """Return a run that is about to begin, with the objects of the scenario."""
        world = self.world
        world.cells.objects, world.cells.locks = dict(world.image), {}
        world.cells.now = self._begin + timedelta(milliseconds=1)  # no id of a run is one of the time before
        for file in world.settings:
            file._read_at = world.cells.now  # as if the stores were opened for each run
        run = Run([actor.work for actor in world.actors], choose, fault, watch)
        for actor, process in zip(world.actors, run.processes, strict=True):
            actor.backend.process = process
        return run

    def end(self, run: Run) -> None:
        with self.names():
            run.go()
        for actor in self.world.actors:
            actor.backend.process = None


def _short(key: str) -> str:
    return re.sub(r"[0-9a-f]{64}", "<digest>", re.sub(r"01k[0-9a-z]{7}0{6,}", "", key))


def _may_go_on(process: Process) -> bool:
    """Tell whether a process is on its way, or died on it: then nobody finished what it was about."""
    return not process.ended or isinstance(process.error, Crash | StorageError)


class Meeting:
    """One run of a scenario, and what is wrong with it."""

    run: Run

    def __init__(self, scenario: Scenario, fault: Fault | None) -> None:
        self.scenario, self.world, self.fault = scenario, scenario.world, fault
        self.wrong: list[str] = []
        self._writers: dict[str, tuple[Process, Any]] = {}

    # -- at every step -------------------------------------------------------------------------------------
    def watch(self, process: Process, kind: str, key: str) -> None:
        """Look after a change; only sidecars and data can make a visible media unreadable."""
        if keys.is_sidecar(key):
            self._writers[key] = (process, self.world.cells.now)
        elif "/data/" not in key:
            return
        if not self.wrong:
            self.wrong += [f"lost: {each} is visible and has no bytes" for each in self.lost()]

    def lost(self) -> list[str]:
        world = self.world
        return [each for each in world.visible() if not world.readable(each) and not self._may_be_half(each)]

    def _may_be_half(self, reference: str) -> bool:
        """Tell whether whoever wrote a sidecar has yet to look, or has looked, said so and left it to verify.

        A rewrite may only find its bytes gone if somebody deletes that very media; a store and a copy only if they
        were so slow that a sweep took them for dead. None of them removes the sidecar: one absence may be a wrong
        answer. So that a sidecar without bytes stays is right only if its writer has raised. A confirmation takes its
        own back: whose URL lives could put other bytes beside it.
        """
        process, written = self._writers.get(keys.sidecar_key(reference), (None, None))
        if process is None:
            return False
        what = self.world.actors[process.number].what
        # A rewrite that ends by saying that the media is gone leaves its sidecar.
        gone = what == "policy" and isinstance(process.error, MediaNotFoundError)
        if what in ("policy", "confirm"):
            # The delete removes the sidecar once more, after the marker.
            deletes = [each for actor, each in self._pairs() if reference in actor.deletes and each.begun]
            if deletes or what == "policy":
                return bool(deletes) and (gone or any(map(_may_go_on, (process, *deletes))))
        if not (gone or _may_go_on(process)):
            return False
        slow = written - self.scenario._begin > GRACE / 2
        return slow and any(each.what == "sweep" for each in self.world.actors)

    def deleted(self) -> set[str]:
        return {each for actor, process in self._pairs() if process.begun for each in actor.deletes}

    def _pairs(self) -> list[tuple[Actor, Process]]:
        return list(zip(self.world.actors, self.run.processes, strict=True))

    # -- at rest -------------------------------------------------------------------------------------------
    def problems(self) -> list[str]:
        """Say what is wrong now that all processes have ended."""
        world, found = self.world, list(self.wrong)
        found += [f"lost at rest: {each}" for each in self.lost()]
        found += self._missing()
        visible = set(world.visible())
        makers = {actor.target for actor in world.actors if actor.what in ("copy", "move", "confirm")}
        for actor, process in self._pairs():
            found += self._answers(actor, process)
            back = sorted(actor.deletes & visible - makers) if process.succeeded else []
            back = [each for each in back if not self._rewriter_failed(each)]
            found += [f"still there though its deletion was answered: {each}" for each in back]
        if not self.run.hit:
            found += [f"left: {each}" for each in world.leftovers()]
        return [each for each in found if not each.startswith(self.scenario.allows)]

    def _missing(self) -> list[str]:
        """Give the references that were there, or whose store was answered, and that nobody deleted."""
        deleted = self.deleted()
        purged = any(actor.what == "purge" for actor in self.world.actors)
        stays = {each for each in self.world.kept if each not in deleted}
        for actor, process in self._pairs():
            if process.succeeded and actor.what == "store" and not purged:
                stays.add(process.result)
            if process.succeeded and actor.what in ("copy", "move", "confirm") and actor.target not in deleted:
                stays.add(actor.target)
        return [f"gone though nobody deleted it: {each}" for each in sorted(stays - set(self.world.visible()))]

    def _rewriter_failed(self, reference: str) -> bool:
        rewriters = [process for actor, process in self._pairs() if (actor.what, actor.target) == ("policy", reference)]
        return any(not each.succeeded for each in rewriters)

    def _answers(self, actor: Actor, process: Process) -> list[str]:
        """Refuse errors that nothing explains."""
        error = process.error
        if error is None:
            return []
        struck = self.fault is not None and self.fault.process == process.number and self.run.hit
        if struck and isinstance(error, Crash | StorageError):
            return []
        copied: tuple[type[BaseException], ...] = (StoreConflictError, MediaNotFoundError, FileNotFoundError)
        gone: tuple[type[BaseException], ...] = (MediaNotFoundError,)
        expected = {"copy": copied, "move": copied, "policy": gone, "confirm": gone}.get(actor.what, ())
        if any(each.what == "clock" for each in self.world.actors):
            # So slow that it was taken for dead, or gave up.
            expected += (InvalidMediaError if actor.what == "confirm" else StorageError,)
        return [] if isinstance(error, expected) else [f"{actor.what} raised {type(error).__name__}: {error}"]

    def problems_later(self) -> list[str]:
        """Say what is wrong after everything got old and orphan sweeps came by, whatever went wrong before.

        Two of them: bytes whose condemned mark a crash left go with the first, the mark with the second.
        """
        found = self.problems()
        for _ in range(2):
            self.world.cells.advance(2 * GRACE)
            swept = self.scenario.janitor.verify(repair="leftovers")
            found += [f"the sweep failed: {each.error}" for each in swept.failed]
        found += self._missing()
        found += [f"lost later: {each}" for each in self.lost()]
        found += [f"left for ever: {each}" for each in self.world.leftovers() if not self._stays(each)]
        return [each for each in found if not each.startswith(self.scenario.allows)]

    def _stays(self, leftover: str) -> bool:
        """Tell whether a sweep leaves it: a mark on living bytes, a marker of an overwritten sidecar."""
        kind, key, *rest = leftover.split()
        blob = keys.parse_blob_key(key)
        if kind == "mark" and blob is not None:
            return f"{keys.blob_folder(blob.digest)}/data/{blob.generation}" in self.world.cells.objects
        return kind == "marker" and rest[-1] in self.world.visible()

    def check(self, *, later: bool = False) -> None:
        """Raise if anything is wrong, with all that is needed to run it again."""
        found = self.problems_later() if later else self.problems()
        if found:
            raise Loss("\n".join([*found, *self.story()]))

    def story(self) -> list[str]:
        run, actors = self.run, self.world.actors
        fault = f", {self.fault}" if self.fault else ""
        again = f"replay({self.scenario.name!r}, {run.schedule!r}{fault})"
        who = {number: f"{number} {actor.what}" for number, actor in enumerate(actors)}
        steps = [f"  {who.get(number, 'request'):<10} {kind:<14} {_short(key)}" for number, kind, key in run.trace]
        return [f"again: {again}", *steps]
