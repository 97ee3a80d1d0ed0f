"""`fsmedia verify --repair=leftovers`, and what `fsmedia init` says of it and of shared bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from fsmedia.format import keys
from tests.contract.specimens import traces
from tests.surfaces.test_cli import fsmedia, put, refused
from tests.surfaces.test_cli_process import on_terminal

if TYPE_CHECKING:
    from tests.storages import LocalStorage, Storage

DATA = b"twice" * 1000


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    return local_storage.url


def options_of(storage: Storage) -> list[str]:
    return [word for name, value in storage.options.items() for word in ("--option", f"{name}={json.dumps(value)}")]


# -- verify --repair=leftovers ----------------------------------------------------------------------------


@pytest.fixture
def littered(url: str, local_storage: LocalStorage) -> tuple[str, str]:
    """A store with a media, bytes that no sidecar names, and a file of nobody's in `.fsmedia/`."""
    leftover = f"runs/r1/{keys.plain_name(0, 0, keys.new_unique())}.png"
    kept = put(url)
    local_storage.write(leftover, bytes(2048))
    local_storage.write(".fsmedia/what/is\x1b[31mthis", b"x")
    return leftover, kept


def test_leftovers_shows_what_it_did(url: str, local_storage: LocalStorage, littered: tuple[str, str]) -> None:
    leftover, kept = littered
    young = fsmedia("verify", "--repair=leftovers", "-s", url)
    assert young.exit_code == 0, young.output
    assert leftover not in young.stdout
    short = ("verify", "--repair=leftovers", "-s", url, "--grace", "0s")
    assert "shorter than the store's" in refused(fsmedia(*short), 1)
    before = traces(local_storage)
    dry = fsmedia(*short, "--nobody-writes", "--dry-run")
    assert dry.exit_code == 4, dry.output
    assert "to do: removed: no sidecar names them" in dry.stdout
    assert "0 mended (to free: 2.0 KiB), 1 left" in dry.stdout
    assert traces(local_storage) == before
    done = fsmedia(*short, "--nobody-writes", "--yes")
    assert done.exit_code == 0, done.output
    rows = done.stdout.splitlines()
    (row,) = [row for row in rows if leftover in row]
    assert row.startswith("bytes: ")
    assert "done: removed: no sidecar names them" in row
    assert any(row.startswith("foreign (harmless)") for row in rows)
    assert "\x1b" not in done.output
    assert "1 mended (2.0 KiB), 0 left" in done.stdout
    assert list(MediaStore(url).list()) == [kept]
    assert "nothing was" not in done.output


def test_leftovers_as_json(url: str, littered: tuple[str, str]) -> None:
    result = fsmedia("verify", "--repair=leftovers", "-s", url, "--grace", "0s", "--nobody-writes", "--json")
    report = json.loads(result.stdout)
    assert [(each["kind"], each["key"]) for each in report["findings"] if each["done"]] == [("bytes", littered[0])]
    assert report["bytes_freed"] == 2048


def test_leftovers_fails_where_something_failed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsmedia import StorageError
    from fsmedia.models import Failed, VerifyReport

    put(url)
    error = StorageError("gave no answer", next_step="verify again", key="a/b")
    report = VerifyReport(failed=(Failed(reference="a/b", error=error),))  # type: ignore[arg-type]
    monkeypatch.setattr(MediaStore, "verify", lambda *_, **__: report)
    result = fsmedia("verify", "--repair=leftovers", "-s", url)
    assert result.exit_code == 1
    assert "gave no answer" in result.stderr
    assert "1 failed" in result.stdout


@pytest.mark.parametrize(("answer", "goes"), [(b"n\n", False), (b"y\n", True)])
def test_leftovers_asks_whether_nobody_writes(
    url: str, tmp_path: Path, littered: tuple[str, str], answer: bytes, goes: bool
) -> None:
    words = ("verify", "--repair=leftovers", "-s", url, "--grace", "0s", "--nobody-writes")
    code, shown = on_terminal(*words, cwd=tmp_path, answer=answer)
    assert b"stopped?" in shown
    assert (code == 0) == goes
    assert (Path(url) / littered[0]).exists() != goes
    assert (b"nothing was changed" in shown) != goes


# -- init --------------------------------------------------------------------------------------------------


def test_init_takes_both_settings(url: str) -> None:
    made = fsmedia("init", "-s", url, "--deduplicate", "--orphan-grace", "2d12h")
    assert made.exit_code == 0, made.output
    assert "shared" in made.stdout
    assert "2d12h" in made.stdout
    shown = json.loads(fsmedia("init", "-s", url, "--json").stdout)
    assert (shown["deduplicate"], shown["orphan_grace"]) == (True, 216_000)
    assert keys.pointer_of(put(url)) is not None
    assert "orphan_grace" in refused(fsmedia("init", "-s", url, "--orphan-grace", "3d"), 1)
    assert "--orphan-grace" in refused(fsmedia("init", "-s", url, "--orphan-grace", "soon"), 2)
