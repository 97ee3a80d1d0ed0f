"""What commands print: lines, JSON, tables, notes and errors.

Names, ids and captions come from strangers: nothing of them is read as markup, and no control character of theirs
reaches a terminal. Results go to standard output, everything said about the work to standard error.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
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
from rich.table import Table
from rich.text import Text

from fsmedia.errors import MediaError
from fsmedia.models.text import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from fsmedia.models import Failed, MediaRecord

SHOWN_FROM_BYTES = 8 * 2**20
"""Smaller work is over before anybody could read a bar."""

_ANY = re.compile(r".", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # also what other programs may take for the end of a line
_WIDE_ENOUGH = 100_000
_LONGEST_NAME = 30


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


def unwrapped(text: str) -> str:
    """Return a help text with each paragraph on one line, but for those that show commands; it holds no markup."""
    paragraphs = escape(text.strip()).split("\n\n")
    return "\n\n".join(
        paragraph if "\n  " in paragraph else " ".join(paragraph.split("\n")) for paragraph in paragraphs
    )


def line(text: str) -> None:
    """Print one line of result, control characters escaped; a terminal gets nothing else unprintable either."""
    sys.stdout.write((visible(text) if sys.stdout.isatty() else _CONTROL.sub(_escape, text)) + "\n")


def json_line(document: Mapping[str, Any]) -> None:
    """Print one JSON document on one line."""
    sys.stdout.write(json_text(document) + "\n")


def json_record(record: MediaRecord, **more: str) -> None:
    """Print a record as JSON, its reference first, and what else is known of it."""
    json_line({"reference": str(record.reference), **more, **record.model_dump(mode="json")})


def json_text(document: Mapping[str, Any]) -> str:
    r"""Return JSON in which everything that is not printable stands as `\uXXXX`."""
    text = json.dumps(document, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else json.dumps(character).strip('"') for character in text)


def error(text: str) -> None:
    """Print what went wrong."""
    _print_message("error: ", "bold red", text)


def warning(text: str) -> None:
    """Print what looks wrong and did not stop the work."""
    _print_message("warning: ", "bold yellow", text)


def note(text: str) -> None:
    """Print something about the work."""
    _print_message("", "", text)


class WarningPrinter(logging.Handler):
    """Prints log records of the package from WARNING on as warnings of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        warning(record.getMessage())


def show_warnings() -> None:
    """Print the package's warnings; a second call adds nothing."""
    log = logging.getLogger("fsmedia")
    if not any(isinstance(handler, WarningPrinter) for handler in log.handlers):
        log.addHandler(WarningPrinter(logging.WARNING))


@contextmanager
def without_reported_failures() -> Iterator[None]:
    """Leave out of the warnings what the report of the command says too: the log has each media that failed."""
    log = logging.getLogger("fsmedia.retention")
    log.addFilter(_is_no_failure)
    try:
        yield
    finally:
        log.removeFilter(_is_no_failure)


def error_text(error: BaseException) -> str:
    """Return what an error says, in one line and without Python's own ornaments."""
    if isinstance(error, OSError) and not isinstance(error, MediaError):
        reason = error.strerror or str(error) or type(error).__name__
        return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"
    return str(error) or type(error).__name__


def print_failures(failed: Sequence[Failed], rows: int | None = None) -> None:
    """Print an error for each media that failed, at most so many."""
    for each in failed[:rows]:
        text = error_text(each.error)
        named = each.error.reference is not None or each.error.key is not None
        error(text if named else f"{each.reference}: {text}")
    if rows is not None and len(failed) > rows:
        error(f"and {len(failed) - rows:,} more failed; --all shows them")


def print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows as lines whose columns stand below each other; nothing is cut, the last column is not padded."""
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        padded = (cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False))
        line("  ".join([*padded, row[-1]]))


def print_omitted(count: int, rows: int | None, verb: str) -> None:
    """Print how many of so many rows were left out, if any were."""
    if rows is not None and count > rows:
        line(f"and {count - rows:,} more {verb}; --all shows them")


def facts_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Return names and values in two columns; what is not printable in a value must be escaped already."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value, overflow="fold"))
    return table


def list_table() -> Table:
    """Return a table for lists, without columns yet: a head, no lines around it."""
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")


def exact_size_text(size: int) -> str:
    """Return a number of bytes both ways: `95.9 KiB (98,201 bytes)`."""
    exact = f"{size:,} byte{'s' if size != 1 else ''}"
    return exact if size_text(size).endswith(" B") else f"{size_text(size)} ({exact})"


def time_text(instant: datetime | None) -> str:
    """Return an instant to the minute, in UTC; `-` for none."""
    return "-" if instant is None else f"{instant:%Y-%m-%d %H:%M}Z"


class ProgressMeter:
    """Counts bytes or things, and moves a progress bar where there is one.

    Parameters
    ----------
    progress
        The bar; None: there is none.
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
def byte_progress(name: str, total: int | None) -> Iterator[ProgressMeter]:
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
        yield ProgressMeter()
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
        yield ProgressMeter(progress, progress.add_task(shown, total=total))


@contextmanager
def count_progress(word: str, total: int | None) -> Iterator[ProgressMeter]:
    """Show how many of many things are done, if standard error is a terminal.

    Parameters
    ----------
    total
        How many there are; None where nobody knows.
    """
    screen = Screen(stderr=True)
    if not screen.is_terminal:
        yield ProgressMeter()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with _bar(screen, columns) as progress:
        yield ProgressMeter(progress, progress.add_task(word, total=total))


class TransferMeter:
    """Counts media and bytes of a transfer, and moves a progress bar where there is one."""

    def __init__(self, progress: Progress | None = None, task: TaskID | None = None) -> None:
        self._progress = progress
        self._task = task

    def reach(self, media: int, size: int) -> None:
        """Say how many media were looked at, and how many bytes came over, in all."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=size, media=f"{media:,}")


@contextmanager
def transfer_progress(word: str) -> Iterator[TransferMeter]:
    """Show how many media and bytes were brought over and how fast, if standard error is a terminal."""
    screen = Screen(stderr=True)
    if not screen.is_terminal:
        yield TransferMeter()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[media]} media", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    with _bar(screen, columns) as progress:
        yield TransferMeter(progress, progress.add_task(word, total=None, media="0"))


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def _print_message(label: str, style: str, text: str) -> None:
    sys.stdout.flush()  # so that both streams in one terminal or log stand in order
    with suppress(BrokenPipeError):
        Screen(stderr=True).print(Text.assemble((label, style), visible(text)), soft_wrap=True)


def _is_no_failure(record: logging.LogRecord) -> bool:
    return record.msg not in ("sweep: %s", "rebuilding the due index: %s")


def _bar(screen: Screen, columns: tuple[ProgressColumn, ...]) -> Progress:
    # Redirecting would send standard output to standard error.
    return Progress(*columns, console=screen, transient=True, redirect_stdout=False, redirect_stderr=False)
