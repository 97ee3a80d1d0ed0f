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
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fsmedia.errors import MediaError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.progress import Progress, TaskID

    from fsmedia.models import AttributeValue, MediaRecord
    from fsmedia.models.base import Model, Report

ROWS = 50
"""So many lines of each kind are printed unless all are asked for."""
SHOWN_FROM_BYTES = 8 * 2**20
"""Smaller work is over before anybody could read a bar."""

_ANY = re.compile(r".", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # also what other programs may take for the end of a line
_WIDE_ENOUGH = 100_000
_LONGEST_NAME = 30
_LONGEST_VALUE = 80
_quiet = False


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
    return text if text.isprintable() else _ANY.sub(_escape, text)


def unwrapped(text: str) -> str:
    """Return a help text with each paragraph on one line, but for those that show commands; it holds no markup."""
    paragraphs = escape(text.strip()).split("\n\n")
    return "\n\n".join(each if "\n  " in each else each.replace("\n", " ") for each in paragraphs)


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
    """Return JSON on one line, with escapes in the place of everything that is not printable."""
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
    """Print something about the work, unless `--quiet` was said."""
    if not _quiet:
        _print_message("", "", text)


def be_quiet(quiet: bool) -> None:
    """Print no notes and show no progress from now on; or, at the beginning of a command line, do so again."""
    global _quiet  # noqa: PLW0603 - one process, one terminal
    _quiet = quiet


def is_quiet() -> bool:
    """Tell whether only results and errors are printed."""
    return _quiet


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

    def is_no_failure(record: logging.LogRecord) -> bool:
        return record.msg not in ("sweep: %s", "rebuilding the due index: %s")

    log.addFilter(is_no_failure)
    try:
        yield
    finally:
        log.removeFilter(is_no_failure)


def error_text(error: BaseException) -> str:
    """Return what an error says, in one line and without Python's own ornaments."""
    if isinstance(error, OSError) and not isinstance(error, MediaError):
        reason = error.strerror or str(error) or type(error).__name__
        return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"
    return str(error) or type(error).__name__


def print_report(
    report: Report,
    *,
    as_json: bool = False,
    rows: int | None = ROWS,
    all_by: str = "--json",
    notes: bool = True,
    without: Collection[str] = (),
    **more: object,
) -> None:
    """Print a report: one JSON document, or its tables and its line; on standard error what failed, and the notes.

    `rows`: at most so many of each table; None prints all. `all_by`: the option that shows all. `without`: fields
    that the document leaves out; `more`: what belongs into it beside the fields.
    """
    from fsmedia.models.text import shown_of

    told = report._view()
    for table in () if as_json else told.tables:
        shown = [[table.title, *cells] for cells in table.rows(rows)]
        print_columns(shown, right={place + 1 for place in table.numbers})
        if table.count > len(shown):
            line(f"and {table.count - len(shown):,} more {table.title}; {all_by} shows them")
    failed = told.failed if rows is None else told.failed[: shown_of(len(told.failed), rows)]
    for name, reason in failed:
        text = visible(error_text(reason) if isinstance(reason, Exception) else reason)
        error(text if visible(name) in text else f"{name}: {text}")
    if left := len(told.failed) - len(failed):
        error(f"and {left:,} more failed; {all_by} shows them")
    if as_json:
        json_line({name: value for name, value in {**document_of(report), **more}.items() if name not in without})
    else:
        line(told.facts)
    for text in told.warnings:
        warning(text)
    for text in told.notes if notes else ():
        note(text)


def document_of(report: Model) -> dict[str, Any]:
    """Return a report as JSON has it: named values as objects, durations in seconds."""
    document = report.model_dump(mode="json")
    for name, value in report:
        if isinstance(value, timedelta):
            document[name] = value.total_seconds()
        elif isinstance(value, tuple) and hasattr(next(iter(value), None), "_asdict"):
            document[name] = [each._asdict() for each in value]
    return document


def print_columns(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> None:
    """Print rows as lines whose columns stand below each other; nothing is cut, and nothing stands behind the last.

    Columns of which none has text are left out; those at the places `right` stand to the right.
    """
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    places = [place for place, width in enumerate(widths) if width]
    for row in shown:
        cells = [
            row[place].rjust(widths[place]) if place in right else (row[place] or "-").ljust(widths[place])
            for place in places[:-1]
        ]
        line("  ".join([*cells, *(row[place] or "-" for place in places[-1:])]))


def print_facts(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns; a value stands whole on its line, for whoever copies it."""
    shown = list(rows)
    width = max((len(name) for name, _ in shown), default=0)
    screen = Screen()
    for name, value in shown:
        screen.print(Text.assemble((name.ljust(width), "dim"), "  ", value), soft_wrap=True)


def list_table() -> Table:
    """Return a table for lists, without columns yet: a head, no lines around it."""
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")


def exact_size_text(size: int) -> str:
    """Return a number of bytes both ways: `95.9 KiB (98,201 bytes)`."""
    from fsmedia.models.text import size_text

    exact = f"{size:,} byte{'s' if size != 1 else ''}"
    return exact if size_text(size).endswith(" B") else f"{size_text(size)} ({exact})"


def attribute_text(name: str, value: AttributeValue | None) -> str:
    """Return an attribute for a column, as it is set: `score=5`; cut where it is long, empty for none."""
    from fsmedia.models.attributes import value_text
    from fsmedia.models.text import sentence

    return "" if value is None else sentence(f"{name}={value_text(value)}", most=_LONGEST_VALUE)


def time_text(instant: datetime | None) -> str:
    """Return an instant to the minute, in UTC; `-` for none."""
    from fsmedia.models.text import minute_text

    return minute_text(instant) or "-"


class ProgressMeter:
    """Counts bytes or things, and moves the bar of a task, where there is one."""

    def __init__(self, progress: Progress | None = None, task: TaskID | None = None) -> None:
        self._progress = progress
        self._task = task

    def advance(self, size: int) -> None:
        """Count bytes."""
        self._update(advance=size)

    def reach(self, count: int, size: int | None = None) -> None:
        """Say how many things are counted in all, where work tells that and no steps; and how many bytes they have."""
        self._update(completed=count if size is None else size, media=f"{count:,}")

    def finish(self, word: str) -> None:
        """Say that all bytes are counted and what is done with them now takes a while."""
        self._update(description=word, total=None)

    def _update(self, **changes: Any) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, **changes)


def byte_progress(name: str, total: int | None) -> AbstractContextManager[ProgressMeter]:
    """Show the progress of one file, if it is large (or of unknown size) and standard error is a terminal."""
    shown = visible(name)
    shown = shown if len(shown) <= _LONGEST_NAME else "..." + shown[3 - _LONGEST_NAME :]
    return _progress(shown, total, "bytes", worth=total is None or total >= SHOWN_FROM_BYTES)


def count_progress(word: str, total: int | None, *, worth: bool = True) -> AbstractContextManager[ProgressMeter]:
    """Show how many of many things (None: nobody knows how many) are done, if standard error is a terminal."""
    return _progress(word, total, "count", worth=worth)


def transfer_progress(word: str) -> AbstractContextManager[ProgressMeter]:
    """Show how many media and bytes were brought over and how fast, if standard error is a terminal."""
    return _progress(word, None, "transfer")


@contextmanager
def _progress(
    word: str, total: int | None, kind: Literal["bytes", "count", "transfer"], *, worth: bool = True
) -> Iterator[ProgressMeter]:
    screen = Screen(stderr=True)
    if _quiet or not (worth and screen.is_terminal):
        yield ProgressMeter()
        return
    from rich import progress as bars

    size = (bars.DownloadColumn(binary_units=True), bars.TransferSpeedColumn())
    columns: dict[str, tuple[bars.ProgressColumn, ...]] = {
        "bytes": (bars.BarColumn(None), *size, bars.TimeRemainingColumn()),
        "count": (bars.BarColumn(None), bars.MofNCompleteColumn(), bars.TimeRemainingColumn()),
        "transfer": (bars.TextColumn("{task.fields[media]} media", markup=False), bars.BarColumn(None), *size),
    }
    description = bars.TextColumn("{task.description}", markup=False)
    # Redirecting would send standard output to standard error.
    with bars.Progress(
        description, *columns[kind], console=screen, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield ProgressMeter(progress, progress.add_task(word, total=total, media="0"))


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def _print_message(label: str, style: str, text: str) -> None:
    sys.stdout.flush()  # so that both streams in one terminal or log stand in order
    with suppress(BrokenPipeError):
        Screen(stderr=True).print(Text.assemble((label, style), visible(text)), soft_wrap=True)
