"""How the command line reads durations, instants and KEY=VALUE."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fsmedia.cli import app, commands

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("5min", timedelta(minutes=5)),
        ("12h", timedelta(hours=12)),
        ("2d", timedelta(days=2)),
        ("1d12h", timedelta(days=1.5)),
        ("1 day 12 hours", timedelta(days=1.5)),
        ("3 weeks", timedelta(weeks=3)),
        (" 2D ", timedelta(days=2)),
    ],
)
def test_durations(text: str, wanted: timedelta) -> None:
    assert app.parse_duration(text, "--x") == wanted


@pytest.mark.parametrize("text", ["", " ", "2", "d", "2y", "-2d", "2 d x", "1.5h", "٣d", "2months", "9" * 12 + "w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="not a duration"):
        app.parse_duration(text, "--x")


@given(st.integers(1, 10**9))
def test_a_duration_is_spelled_as_it_is_read(seconds: int) -> None:
    assert app.parse_duration(app.spell_duration(seconds), "--x") == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("now", NOW),
        ("2d", NOW - timedelta(days=2)),
        ("2d ago", NOW - timedelta(days=2)),
        ("in 2d", NOW + timedelta(days=2)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01 12:30Z", datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        ("2026-03-01T12:30:00+02:00", datetime(2026, 3, 1, 10, 30, tzinfo=UTC)),
    ],
)
def test_instants(text: str, wanted: datetime) -> None:
    assert app.parse_instant(text, "--x", now=NOW) == wanted


def test_a_bare_duration_may_look_ahead() -> None:
    assert app.parse_instant("2d", "--x", now=NOW, ahead=True) == NOW + timedelta(days=2)
    assert app.parse_instant("2d ago", "--x", now=NOW, ahead=True) == NOW - timedelta(days=2)
    assert app.parse_instant(None, "--x", now=NOW) is None


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "999999999d", "in ", " ago", "0001-01-01T00:00+14:00"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="ISO 8601"):
        app.parse_instant(text, "--x", now=NOW)


def test_storage_options_are_json_where_they_parse_as_such() -> None:
    given_words = ["key=abc", "anon=true", 'client_kwargs={"region_name": "x"}', "token=a=b", "empty=", 'pin="123"']
    assert app.parse_storage_options(given_words) == {
        "key": "abc",
        "anon": True,
        "client_kwargs": {"region_name": "x"},
        "token": "a=b",
        "empty": "",
        "pin": "123",
    }


def helps(group: Any, *above: str) -> Iterator[tuple[list[str], str]]:
    """Give the words of each command and the help that its file holds."""
    for name, command in group.commands.items():
        yield [*above, name], command.help
        if hasattr(command, "commands"):
            yield from helps(command, *above, name)


def test_no_help_loses_brackets_or_shows_a_flag_as_a_value() -> None:
    """`pip install 'fsmedia[catalog]'` stood there without `[catalog]`, and `--json` as `<bool>`."""
    found = []
    for words, _ in helps(typer.main.get_command(commands.typer_app)):
        shown = CliRunner().invoke(commands.typer_app, [*words, "--help"]).stdout
        assert "<bool>" not in shown, words
        module = sys.modules[f"fsmedia.cli.cmd_{words[0].replace('-', '_')}"]
        text = getattr(module, f"{words[-1].upper().replace('-', '_')}_HELP", getattr(module, "HELP", ""))
        for bracketed in re.findall(r"\[[a-z]+\]", text):
            assert bracketed in shown, words
            found.append(bracketed)
    assert found.count("[catalog]") >= 3
