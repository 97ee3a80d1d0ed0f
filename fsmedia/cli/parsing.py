"""Parsing of what the command line takes: durations, instants, sizes, `KEY=VALUE`; what has no meaning is refused.

Instants are UTC: what `ls --long` shows can be given back. The values of `--option` are secrets and stand in no text.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from fsmedia.models import RetentionPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_DURATION_PART = re.compile(
    r"(\d{1,12})\s*(s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)(?![a-z])\s*", re.ASCII
)
_DURATION_FORMS = "a duration such as 90s, 30m, 12h, 2d, 1d12h or 3 weeks"
_FOREVER = {"forever", "for ever", "never"}
_SIZE = re.compile(r"(\d+) *([kMGT]?)(i?)B?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_duration(text: str, option: str) -> timedelta:
    """Read a duration.

    Raises
    ------
    typer.BadParameter
        It is none.
    """
    found = _read_duration(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not {_DURATION_FORMS}", param_hint=option)
    return found


def parse_instant(text: str | None, option: str, *, now: datetime, ahead: bool = False) -> datetime | None:
    """Read an instant: ISO 8601, a duration (before now, or `ahead` of it), `2d ago`, `in 2d`, `now`.

    Raises
    ------
    typer.BadParameter
        It is none.
    """
    if text is None:
        return None
    words = text.strip()
    try:
        if words.lower() == "now":
            return now
        for before, after, sign in (("", " ago", -1), ("in ", "", 1), ("", "", 1 if ahead else -1)):
            if words.lower().startswith(before) and words.lower().endswith(after):
                found = _read_duration(words[len(before) : len(words) - len(after)])
                if found is not None:
                    return now + sign * found
        read = datetime.fromisoformat(words)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither an ISO 8601 time such as 2026-03-04 or 2026-03-04T05:06Z nor {_DURATION_FORMS}",
            param_hint=option,
        ) from None


def parse_size(text: str, option: str) -> int:
    """Read a size in bytes: `500MB`, `1GiB`.

    Raises
    ------
    typer.BadParameter
        It is none.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise typer.BadParameter("is no size: write 500MB or 1GiB", param_hint=option)
    base = 1024 if found[3] else 1000
    count: int = int(found[1]) * base ** _POWERS[found[2].lower()]
    if count < 1:
        raise typer.BadParameter("must be at least one byte", param_hint=option)
    return count


def parse_pairs(words: Iterable[str] | None, option: str, form: str) -> dict[str, str]:
    """Read repeated `NAME=VALUE`; the first `=` cuts, and no value is shown.

    Raises
    ------
    typer.BadParameter
        One has no name or no `=`, or a name comes twice.
    """
    found: dict[str, str] = {}
    for word in words or ():
        name, sign, value = word.partition("=")
        name = name.strip()
        if not sign or not name:
            raise typer.BadParameter(f"must be {form}", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        found[name] = value
    return found


def parse_storage_options(words: Iterable[str] | None) -> dict[str, Any]:
    """Read `--option KEY=VALUE`: a value is JSON if it parses as such, else text."""
    return {name: _value(text) for name, text in parse_pairs(words, "--option", "KEY=VALUE").items()}


def parse_policies(words: Iterable[str] | None) -> list[RetentionPolicy] | None:
    """Read `--policy NAME=DURATION`; `forever` keeps for ever. None if there are none."""
    given = parse_pairs(words, "--policy", "NAME=DURATION, e.g. audit=365d or legal=forever")
    return [
        RetentionPolicy(
            name=name, keep_for=None if text.strip().lower() in _FOREVER else parse_duration(text, f"--policy {name}")
        )
        for name, text in given.items()
    ] or None


def spell_duration(seconds: int) -> str:
    """Return a duration as `parse_duration` reads it: `365d`, `1d12h`."""
    text = ""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _read_duration(text: str) -> timedelta | None:
    rest = text.strip().lower()
    total = timedelta(0)
    if not rest:
        return None
    while rest:
        piece = _DURATION_PART.match(rest)
        if piece is None:
            return None
        try:
            total += int(piece[1]) * _UNITS[piece[2][0]]
        except OverflowError:
            return None
        rest = rest[piece.end() :]
    return total


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
