"""Two programs that change the settings of one store at once: what each was told stays, on every kind of storage."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest

from fsmedia.core import settings_file
from fsmedia.core.settings_file import SettingsFile
from fsmedia.format import keys
from fsmedia.format.settings import Configuration, Settings
from fsmedia.storage import Exclusion
from tests.interleavings.cells import Cells, SteppingBackend
from tests.interleavings.schedules import Bounded, Dice
from tests.interleavings.turns import Chooser, Fault, How, Run

PARTIAL = replace(Configuration(), adopted=True, due_index="partial")
CHANGES = (SettingsFile.share_bytes, SettingsFile.complete_due_index, SettingsFile.share_bytes)


class Loss(AssertionError):  # noqa: N818 - what the tests are about
    """An acknowledged switch is off."""


def meet(exclusion: Exclusion, choose: Chooser) -> None:
    """Let three programs change the settings at once."""
    cells = Cells()
    cells.put(keys.CONFIGURATION_KEY, PARTIAL.dump())
    backends = [SteppingBackend(cells, exclusion) for _ in CHANGES]
    files = [SettingsFile(backend, Settings()) for backend in backends]
    works = [lambda change=change, file=file: change(file) for change, file in zip(CHANGES, files, strict=True)]
    run = Run(works, choose)
    for backend, process in zip(backends, run.processes, strict=True):
        backend.process = process
    run.go()
    assert [process.error for process in run.processes] == [None] * len(CHANGES), run.trace
    found = Configuration.parse(cells.objects[keys.CONFIGURATION_KEY].data)
    if found != replace(PARTIAL, deduplicate=True, due_index="complete"):
        raise Loss(f"{run.schedule}: {found.deduplicate}, {found.due_index}")


def meet_always(exclusion: Exclusion, most: int = 400) -> None:
    schedules = Bounded(2)
    for _ in range(most):
        if not schedules.another():
            break
        meet(exclusion, schedules)
    for seed in range(most):
        meet(exclusion, Dice(seed))


@pytest.mark.parametrize("exclusion", Exclusion)
def test_all_that_was_turned_on_stays_on(exclusion: Exclusion, full_run: bool) -> None:
    meet_always(exclusion, 20_000 if full_run else 400)


def test_without_a_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SteppingBackend.put
    monkeypatch.setattr(SteppingBackend, "put", lambda self, *args, **_: real(self, *args))
    with pytest.raises(Loss):
        meet_always(Exclusion.CONDITIONS)


def test_without_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SteppingBackend, "lock", lambda *_: nullcontext())
    with pytest.raises(Loss):
        meet_always(Exclusion.LOCK)


def test_with_settings_read_back_instead_of_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that have read, the second to write takes back what the first has read back already."""

    def add(self: SettingsFile, switch: str) -> None:
        while self._write_with([switch]):
            pass

    monkeypatch.setattr(SettingsFile, "_add", add)
    with pytest.raises(Loss):
        meet_always(Exclusion.NONE)


# -- one of them dies ------------------------------------------------------------------------------------------

TWO = CHANGES[:2]
STEPS = 20
"""More than one change takes."""


def meet_a_death(exclusion: Exclusion, choose: Chooser, fault: Fault) -> None:
    """Let two programs change the settings at once, of which one dies; look at what a third finds."""
    cells = Cells()
    cells.put(keys.CONFIGURATION_KEY, PARTIAL.dump())
    backends = [SteppingBackend(cells, exclusion) for _ in TWO]
    files = [SettingsFile(backend, Settings()) for backend in backends]
    works = [lambda change=change, file=file: change(file) for change, file in zip(TWO, files, strict=True)]
    run = Run(works, choose, fault)
    for backend, process in zip(backends, run.processes, strict=True):
        backend.process = process
    run.go()
    found = SettingsFile(SteppingBackend(cells, exclusion), Settings()).configuration
    for process, change in zip(run.processes, TWO, strict=True):
        is_on = found.deduplicate if change is SettingsFile.share_bytes else found.due_index == "complete"
        if process.succeeded and not is_on:
            raise Loss(f"{run.schedule}, {fault}: {found.deduplicate}, {found.due_index}")


def meet_deaths(exclusion: Exclusion, switches: int = 1) -> None:
    for number in range(len(TWO)):
        for step in range(1, STEPS):
            schedules = Bounded(switches)
            while schedules.another():
                meet_a_death(exclusion, schedules, Fault(number, step, How.CRASH))


@pytest.mark.parametrize("exclusion", Exclusion)
def test_all_that_was_turned_on_stays_on_whoever_dies(exclusion: Exclusion, full_run: bool) -> None:
    meet_deaths(exclusion, 2 if full_run else 1)


def test_with_switches_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_file, "_may_have_switches", lambda _: False)
    with pytest.raises(Loss):
        meet_deaths(Exclusion.NONE)
