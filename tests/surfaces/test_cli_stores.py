"""`fsmedia stores`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fsspec.config import conf
from typer.testing import CliRunner

from fsmedia.cli import typer_app

if TYPE_CHECKING:
    import pytest


def run(*words: str) -> tuple[int, list[str], str]:
    result = CliRunner().invoke(typer_app, list(words))
    return result.exit_code, result.stdout.splitlines(), result.stderr


def test_names_come_from_the_environment_and_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSMEDIA_STORE_LAB", "s3://key-77:secret-77@bucket/media")
    monkeypatch.setitem(
        conf, "media", {"stores": {"cold": {"url": "gs://b/m", "storage_options": {"token": "secret-88"}}}}
    )
    code, lines, errors = run("stores")
    assert (code, lines, errors) == (0, ["@cold  gs://b/m", "@lab  s3://bucket/media"], "")
    code, lines, _ = run("stores", "--json")
    assert code == 0
    assert json.loads(lines[1]) == {"name": "lab", "url": "s3://bucket/media", "opens": "media://@lab/"}
    assert "secret" not in "".join(lines)


def test_no_names_are_said() -> None:
    code, lines, errors = run("stores")
    assert (code, lines) == (0, [])
    assert "no store has a name" in errors


def test_an_entry_of_another_form_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(conf, "media", {"stores": {"cold": 5}})
    code, _, errors = run("stores")
    assert code == 1
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
