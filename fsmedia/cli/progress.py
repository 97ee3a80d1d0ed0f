"""Progress of long work, on standard error and only on a terminal; gone when the work is done."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from fsmedia.cli.output import Screen, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN_FROM_BYTES = 8 * 2**20
"""Smaller work is over before anybody could read a bar."""

_LONGEST_NAME = 30


class Meter:
    """Counts bytes; shows them where somebody looks.

    Parameters
    ----------
    progress
        What shows them; None: nobody looks.
    task
        Its task.
    """

    def __init__(self, progress: Progress | None = None, task: TaskID | None = None) -> None:
        self._progress = progress
        self._task = task

    def advance(self, size: int) -> None:
        """Count bytes."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, size)

    def reach(self, count: int) -> None:
        """Say how many are counted in all, where work tells that and no steps."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=count)

    def finish(self, word: str) -> None:
        """Say that all bytes are counted and what is done with them now takes a while."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=word, total=None)


@contextmanager
def meter(name: str, total: int | None) -> Iterator[Meter]:
    """Show the progress of one file, if it is large (or of unknown size) and standard error is a terminal.

    Parameters
    ----------
    name
        Of the file, as a stranger wrote it.
    total
        Its size in bytes; None where nobody knows.
    """
    screen = Screen(stderr=True)
    if not screen.is_terminal or (total is not None and total < SHOWN_FROM_BYTES):
        yield Meter()
        return
    shown = visible(name)
    shown = shown if len(shown) <= _LONGEST_NAME else "..." + shown[3 - _LONGEST_NAME :]
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with _bar(screen, columns) as progress:
        yield Meter(progress, progress.add_task(shown, total=total))


@contextmanager
def counter(word: str, total: int | None) -> Iterator[Meter]:
    """Show how many of many things are done, if standard error is a terminal.

    Parameters
    ----------
    total
        How many there are; None where nobody knows.
    """
    screen = Screen(stderr=True)
    if not screen.is_terminal:
        yield Meter()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with _bar(screen, columns) as progress:
        yield Meter(progress, progress.add_task(word, total=total))


class Carrier:
    """Counts media and bytes; shows them, and bytes a second, where somebody looks."""

    def __init__(self, progress: Progress | None = None, task: TaskID | None = None) -> None:
        self._progress = progress
        self._task = task

    def reach(self, media: int, size: int) -> None:
        """Say how many media were looked at, and how many bytes came over, in all."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=size, media=f"{media:,}")


@contextmanager
def carrier(word: str) -> Iterator[Carrier]:
    """Show how many media and bytes were brought over and how fast, if standard error is a terminal."""
    screen = Screen(stderr=True)
    if not screen.is_terminal:
        yield Carrier()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[media]} media", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    with _bar(screen, columns) as progress:
        yield Carrier(progress, progress.add_task(word, total=None, media="0"))


def _bar(screen: Screen, columns: tuple[ProgressColumn, ...]) -> Progress:
    # Redirecting would send standard output to standard error.
    return Progress(*columns, console=screen, transient=True, redirect_stdout=False, redirect_stderr=False)
