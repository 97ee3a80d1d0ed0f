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
from rich.text import Text

from fsmedia.display.text import distance_text, duration_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from fsmedia.models import MediaRecord

__all__ = ["distance_text", "duration_text", "size_text"]  # so that commands find all they print with here

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
