"""The words of the command line: durations, instants, KEY=VALUE, read at the door; what can't be meant is refused.

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
_PIECE = re.compile(r"(\d{1,12})\s*(s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)(?![a-z])\s*", re.ASCII)
_FORMS = "a duration such as 90s, 30m, 12h, 2d, 1d12h or 3 weeks"
_FOREVER = {"forever", "for ever", "never"}


def duration(text: str, option: str) -> timedelta:
    """Read a duration.

    Raises
    ------
    typer.BadParameter
        It is none.
    """
    found = _duration(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not {_FORMS}", param_hint=option)
    return found


def _duration(text: str) -> timedelta | None:
    rest = text.strip().lower()
    total = timedelta(0)
    if not rest:
        return None
    while rest:
        piece = _PIECE.match(rest)
        if piece is None:
            return None
        try:
            total += int(piece[1]) * _UNITS[piece[2][0]]
        except OverflowError:
            return None
        rest = rest[piece.end() :]
    return total


def instant(text: str | None, option: str, *, now: datetime, ahead: bool = False) -> datetime | None:
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
                found = _duration(words[len(before) : len(words) - len(after)])
                if found is not None:
                    return now + sign * found
        read = datetime.fromisoformat(words)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither an ISO 8601 time such as 2026-03-04 or 2026-03-04T05:06Z nor {_FORMS}",
            param_hint=option,
        ) from None


def pairs(words: Iterable[str] | None, option: str, form: str) -> dict[str, str]:
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


def storage_options(words: Iterable[str] | None) -> dict[str, Any]:
    """Read `--option KEY=VALUE`: a value is JSON if it parses as such, else text."""
    return {name: _value(text) for name, text in pairs(words, "--option", "KEY=VALUE").items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def policies(words: Iterable[str] | None) -> list[RetentionPolicy] | None:
    """Read `--policy NAME=DURATION`; `forever` keeps for ever. None if there are none."""
    given = pairs(words, "--policy", "NAME=DURATION, e.g. audit=365d or legal=forever")
    return [
        RetentionPolicy(
            name=name, keep_for=None if text.strip().lower() in _FOREVER else duration(text, f"--policy {name}")
        )
        for name, text in given.items()
    ] or None


def spelled(seconds: int) -> str:
    """Return a duration as `duration` reads it: `365d`, `1d12h`."""
    text = ""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
