"""Processes that take turns: each is a thread running real code, and exactly one of them runs at a time.

Before each request a thread asks whose turn it is; the answer is the schedule. Threads hand over by locks, so
nothing is left to chance, and the same choices give the same run.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fsmedia.errors import StorageError
from fsmedia.storage import PreconditionFailed

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PATIENCE = 60


class Crash(BaseException):
    """The process is killed here; whatever it would still do has no effect."""


class How(StrEnum):
    """What happens at a step instead of its answer."""

    CRASH = "crash"  # before it; the request never left
    CRASH_LATE = "crash-late"  # the request is under way, and lands at any later moment
    FAIL = "fail"  # not done, and the answer is an error
    LATE = "late"  # an error, though the request is under way and lands at any later moment


@dataclass(frozen=True)
class Fault:
    """At the `step`-th step of one process, counted from 1."""

    process: int
    step: int
    how: How

    def __str__(self) -> str:
        return f"Fault({self.process}, {self.step}, How({self.how.value!r}))"


Chooser = Callable[[int | None, list[int]], int]
"""Chooses one of those who are able; the first went last and could go on, None if it can't."""


class _Worker:
    """A thread that is used for one process after another: making one costs as much as ten steps."""

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.job: Callable[[], None] = lambda: None
        threading.Thread(target=self._loop, daemon=True, name="interleavings").start()

    def _loop(self) -> None:
        while True:
            self.gate.acquire()
            self.job()


_workers: list[_Worker] = []


class Process:
    def __init__(self, run: "Run", number: int, work: Callable[[], Any]) -> None:
        self.run, self.number, self.work = run, number, work
        self.granted = self.begun = self.ended = self.dead = False
        self.blocked: Callable[[], bool] = lambda: False
        self.steps = 0
        self.result: Any = None
        self.error: BaseException | None = None
        if number == len(_workers):
            _workers.append(_Worker())
        self.worker = _workers[number]
        self.worker.job = self._live

    def _live(self) -> None:
        self.begun = True
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error
        self.ended = True
        self.run.ended(self)

    @property
    def succeeded(self) -> bool:
        return self.ended and self.error is None

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Let the others go on until something holds; where nobody else can go on, go on all the same."""
        self.blocked = lambda: not ready()

    def step(self, kind: str, key: str, do: Callable[[], Any], *, changes: bool) -> Any:
        """Wait for the turn, then do it, unless this is where something goes wrong."""
        if self.dead:
            raise Crash
        self.run.turn(self)
        self.blocked = lambda: False
        self.steps += 1
        fault = self.run.fault
        if fault is None or fault.process != self.number or fault.step != self.steps:
            self.run.trace.append((self.number, kind, key))
            answer = do()
            if changes:
                self.run.changed(self, kind, key)
            return answer
        self.run.trace.append((self.number, f"{fault.how} {kind}", key))
        self.run.hit = True
        if changes and fault.how in (How.CRASH_LATE, How.LATE):
            self.run.able.append(_Underway(self, kind, key, do))
        if fault.how in (How.CRASH, How.CRASH_LATE):
            self.dead = True
            raise Crash
        raise StorageError(f"no answer to {kind}", next_step="try again", key=key)


@dataclass(eq=False)
class _Underway:
    """A request that nobody waits for any more."""

    process: Process
    kind: str
    key: str
    do: Callable[[], Any]
    number: int = len(LETTERS) - 1

    def land(self) -> None:
        run = self.process.run
        run.able.remove(self)
        run.trace.append((self.number, f"landed {self.kind}", self.key))
        with suppress(PreconditionFailed):  # refused, and nobody hears of it
            self.do()
            run.changed(self.process, self.kind, self.key)


Watch = Callable[[Process, str, str], None]


class Run:
    def __init__(
        self, works: list[Callable[[], Any]], choose: Chooser, fault: Fault | None = None, watch: Watch | None = None
    ) -> None:
        self.choose, self.fault, self._watch = choose, fault, watch
        self.processes = [Process(self, number, work) for number, work in enumerate(works)]
        self.able: list[Process | _Underway] = list(self.processes)
        self.choices: list[int] = []
        self.trace: list[tuple[int, str, str]] = []  # the steps in their order: process, kind, key
        self.hit = False  # whether the fault took place
        self._over = threading.Lock()
        self._over.acquire()

    @property
    def schedule(self) -> str:
        """A letter for each choice that was made; where only one process was left there is none."""
        return "".join(LETTERS[number] for number in self.choices)

    def go(self) -> None:
        self._pass_on()
        assert self._over.acquire(timeout=_PATIENCE), f"stuck after {self.schedule}"

    def changed(self, process: Process, kind: str, key: str) -> None:
        if self._watch is not None:
            self._watch(process, kind, key)

    def turn(self, process: Process) -> None:
        """Return when the process may take a step; called by its thread."""
        if process.blocked():
            process.granted = False  # it has just begun, and must wait at its first step
        while not process.granted:
            chosen = self._chosen(process)
            if isinstance(chosen, _Underway):
                chosen.land()
            elif chosen is process:
                return
            else:
                chosen.granted = True
                chosen.worker.gate.release()
                process.worker.gate.acquire()
        process.granted = False

    def ended(self, process: Process) -> None:
        self.able.remove(process)
        self._pass_on()

    def _pass_on(self) -> None:
        while self.able:
            chosen = self._chosen(None)
            if isinstance(chosen, Process):
                chosen.granted = True
                chosen.worker.gate.release()
                return
            chosen.land()
        self._over.release()

    def _chosen(self, current: Process | None) -> Process | _Underway:
        able = [each for each in self.able if not (isinstance(each, Process) and each.blocked())] or self.able
        if len(able) == 1:
            return able[0]
        going = None if current is None or all(each.number != current.number for each in able) else current.number
        number = self.choose(going, [each.number for each in able])
        self.choices.append(number)
        return next(each for each in able if each.number == number)
