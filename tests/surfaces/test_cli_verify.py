"""`fsmedia verify`: what it says, what it writes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from fsmedia.format import keys
from tests.contract.specimens import traces
from tests.surfaces.test_cli import HOSTILE, fsmedia, put, refused
from tests.surfaces.test_cli_deduplication import options_of
from tests.surfaces.test_cli_process import on_terminal

if TYPE_CHECKING:
    from tests.storages import LocalStorage, Storage

NOW = ("--grace", "0s", "--nobody-writes", "--yes")


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    return local_storage.url


@pytest.fixture
def damaged(url: str, local_storage: LocalStorage) -> tuple[str, str]:
    """A store with a media whose bytes were cut, one that is well, and a file of nobody's."""
    cut, well = put(url, data=b"some bytes"), put(url)
    local_storage.write(cut, b"some")
    local_storage.write("runs/r1/\x1b[31mstranger.txt", b"x")
    return cut, well


def test_help_teaches_with_examples() -> None:
    text = fsmedia("verify", "--help").stdout
    assert "fsmedia verify --repair --dry-run" in text
    assert "--store" in text
    assert "4" in text
    assert "verify" in fsmedia("--help").stdout
    assert "4 the store is not whole" in fsmedia("--help").stdout.replace("\n", " ")


def test_a_whole_store(storage: Storage) -> None:
    store = MediaStore(storage.url, storage_options=storage.options).create()
    with store.create_media(_metadata(), "text/plain") as writer:
        writer.write(b"text")
    for words in ([], ["--deep", "--threads", "2"]):
        result = fsmedia("verify", *words, "-s", storage.url, *options_of(storage))
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("whole: 1 media (4 B")


def _metadata():  # type: ignore[no-untyped-def]
    from fsmedia import MediaMetadata

    return MediaMetadata(run_id="r1")


def test_damage_is_told_planned_and_mended(url: str, local_storage: LocalStorage, damaged: tuple[str, str]) -> None:
    cut, well = damaged
    before = traces(local_storage)
    told = fsmedia("verify", "-s", url)
    assert told.exit_code == 4, told.output
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("size: ")]
    assert cut in line
    assert "--repair: once they are older than the grace" in line
    assert "--adopt" in told.stderr
    plan = fsmedia("verify", "-s", url, "--repair", "--adopt", "--dry-run", *NOW)
    assert plan.exit_code == 4
    assert "to do: bytes and sidecar move to quarantine" in plan.stdout
    assert traces(local_storage) == before
    done = fsmedia("verify", "-s", url, "--repair", "--adopt", *NOW)
    assert done.exit_code == 0, done.output
    assert "done: bytes and sidecar move to quarantine" in done.stdout
    assert "done: it is given a sidecar" in done.stdout
    assert "2 mended, 0 left, 0 failed" in done.stdout.splitlines()[-1]
    again = fsmedia("verify", "-s", url, "--deep")
    assert again.exit_code == 0
    assert "3 objects lie in .fsmedia/quarantine/" in again.stderr
    assert sorted(MediaStore(url).list()) == sorted([well, "runs/r1/\x1b[31mstranger.txt"])
    for result in (told, plan, done, again):
        assert "\x1b" not in result.output


def test_what_a_repair_leaves_decides_the_end(url: str, damaged: tuple[str, str]) -> None:
    MediaStore(url).hold(damaged[0], HOSTILE)
    result = fsmedia("verify", "-s", url, "--repair", *NOW)
    assert result.exit_code == 4
    assert "it is held, and stays as it is" in result.stdout


def test_as_json(url: str, damaged: tuple[str, str]) -> None:
    result = fsmedia("verify", "-s", url, "--deep", "--json")
    assert result.exit_code == 4
    (document,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert document["counts"] == {"size": 1, "file": 1}
    assert (document["whole"], document["media"], document["left"]) == (False, 3, 1)
    assert {each["key"] for each in document["findings"] if each["kind"] == "size"} == {damaged[0]}
    lines = [json.loads(line) for line in fsmedia("verify", "-s", url, "--json", "--all").stdout.splitlines()]
    assert [each["kind"] for each in lines[:-1]] == ["size", "file"] or [each["kind"] for each in lines[:-1]] == [
        "file",
        "size",
    ]
    assert lines[-1]["findings"] == []


def test_many_findings_are_counted_and_shown_when_asked(url: str, local_storage: LocalStorage) -> None:
    put(url)
    for number in range(60):
        local_storage.write(f"runs/r1/{number:03d}.png", b"x")
    few, every = fsmedia("verify", "-s", url), fsmedia("verify", "-s", url, "--all")
    assert few.exit_code == every.exit_code == 0
    assert len([line for line in few.stdout.splitlines() if line.startswith("file")]) == 50
    assert "and 10 more of file; --all shows them" in few.stdout
    assert len([line for line in every.stdout.splitlines() if line.startswith("file")]) == 60


def test_what_failed_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsmedia import StorageError, VerifyReport
    from fsmedia.models import Failed

    put(url)
    error = StorageError("gave no answer", next_step="verify again", key="a/b")
    report = VerifyReport(examined=1, failed=(Failed(reference="a/b", error=error),))  # type: ignore[arg-type]
    monkeypatch.setattr(MediaStore, "verify", lambda *_, **__: report)
    result = fsmedia("verify", "-s", url)
    assert result.exit_code == 1
    assert "gave no answer" in result.stderr


def test_where_nothing_lies(tmp_path: Path) -> None:
    assert "no store at" in refused(fsmedia("verify", "-s", tmp_path / "typo"), 3)
    assert list(tmp_path.iterdir()) == []


def test_a_short_grace_is_refused(url: str) -> None:
    put(url)
    assert "shorter than the store's" in refused(fsmedia("verify", "-s", url, "--repair", "--grace", "0s"), 1)
    assert "--grace" in refused(fsmedia("verify", "-s", url, "--grace", "soon"), 2)
    assert "--threads" in refused(fsmedia("verify", "-s", url, "--threads", "0"), 2)


@pytest.mark.parametrize(("answer", "goes"), [(b"n\n", False), (b"y\n", True)])
def test_it_asks_whether_nobody_writes(
    url: str, tmp_path: Path, local_storage: LocalStorage, answer: bytes, goes: bool
) -> None:
    put(url)
    leftover = f"runs/r1/{keys.plain_name(0, 0, keys.new_unique())}.png"
    local_storage.write(leftover, b"x")
    words = ("verify", "-s", url, "--repair", "--grace", "0s", "--nobody-writes")
    code, shown = on_terminal(*words, cwd=tmp_path, answer=answer)
    assert b"stopped?" in shown
    assert (code == 0) == goes
    assert (Path(url) / leftover).exists() != goes


def test_a_receipt_is_held_against_the_store(url: str, tmp_path: Path) -> None:
    put(url)
    kept = tmp_path / "receipt.json"
    fsmedia("erase", "--run", "r1", "--yes", "--receipt", kept, "-s", url)
    assert "none of it is there" in fsmedia("verify", "--receipt", kept, "-s", url).stdout
    (erased,) = json.loads(kept.read_text())["erased"]
    again = Path(url) / erased["reference"]
    again.parent.mkdir(parents=True)
    again.write_bytes(b"back")
    found = fsmedia("verify", "--receipt", kept, "-s", url)
    assert found.exit_code == 1
    assert erased["reference"] in found.stdout
    assert "mends nothing" in refused(fsmedia("verify", "--receipt", kept, "--repair", "-s", url), 2)
