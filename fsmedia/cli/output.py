"""What commands print: lines, JSON, tables, notes and errors.

Names, ids and captions come from strangers: nothing of them is read as markup, and no control character of theirs
reaches a terminal. Results go to standard output, everything said about the work to standard error.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console
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
from rich.text import Text

from fsmedia.display.text import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from fsmedia.models import MediaRecord

_ANY = re.compile(r".", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # also what other programs may take for the end of a line
_WIDE_ENOUGH = 100_000


class Screen(Console):
    """A console that tells of a closed pipe instead of leaving, and folds nothing that does not go to a terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)
        if not self.is_terminal:
            self.width = _WIDE_ENOUGH

    def on_broken_pipe(self) -> None:
        """Leave the end to whoever called."""
        raise BrokenPipeError


def visible(text: str) -> str:
    """Return a text in which every character that can't be shown, or would command a terminal, stands escaped."""
    if text.isprintable():
        return text
    return _ANY.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def unwrapped(text: str) -> str:
    """Return a help text with each paragraph on one line, but for those that show commands."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(
        paragraph if "\n  " in paragraph else " ".join(paragraph.split("\n")) for paragraph in paragraphs
    )


def line(text: str) -> None:
    """Write one line of result, control characters escaped; a terminal gets nothing else unprintable either."""
    sys.stdout.write((visible(text) if sys.stdout.isatty() else _CONTROL.sub(_escape, text)) + "\n")


def json_line(document: Mapping[str, Any]) -> None:
    """Write one JSON document on one line."""
    sys.stdout.write(json_text(document) + "\n")


def json_record(record: MediaRecord) -> None:
    """Write a record as JSON, its reference first."""
    json_line({"reference": str(record.reference), **record.model_dump(mode="json")})


def json_text(document: Mapping[str, Any]) -> str:
    r"""Return JSON in which everything that is not printable stands as `\uXXXX`."""
    text = json.dumps(document, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else json.dumps(character).strip('"') for character in text)


def error(text: str) -> None:
    """Say what went wrong."""
    _say("error: ", "bold red", text)


def warning(text: str) -> None:
    """Say what looks wrong and did not stop the work."""
    _say("warning: ", "bold yellow", text)


def note(text: str) -> None:
    """Say something about the work."""
    _say("", "", text)


def _say(label: str, style: str, text: str) -> None:
    sys.stdout.flush()  # so that both streams in one terminal or log stand in order
    with suppress(BrokenPipeError):
        Screen(stderr=True).print(Text.assemble((label, style), visible(text)), soft_wrap=True)


class Warnings(logging.Handler):
    """Shows the package's log records from WARNING on as warnings of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        warning(record.getMessage())


def show_warnings() -> None:
    """Let the package's warnings be seen, once."""
    log = logging.getLogger("fsmedia")
    if not any(isinstance(handler, Warnings) for handler in log.handlers):
        log.addHandler(Warnings(logging.WARNING))


@contextmanager
def told_in_report() -> Iterator[None]:
    """Keep what a report names again from being told twice: the log has a warning for each media that failed."""
    log = logging.getLogger("fsmedia.retention")
    log.addFilter(_is_no_failure)
    try:
        yield
    finally:
        log.removeFilter(_is_no_failure)


def _is_no_failure(record: logging.LogRecord) -> bool:
    return record.msg not in ("sweep: %s", "rebuilding the due index: %s")


def exact_size_text(size: int) -> str:
    """Return a number of bytes both ways: `95.9 KiB (98,201 bytes)`."""
    exact = f"{size:,} byte{'s' if size != 1 else ''}"
    return exact if size_text(size).endswith(" B") else f"{size_text(size)} ({exact})"


def time_text(instant: datetime | None) -> str:
    """Return an instant to the minute, in UTC; `-` for none."""
    return "-" if instant is None else f"{instant:%Y-%m-%d %H:%M}Z"


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
