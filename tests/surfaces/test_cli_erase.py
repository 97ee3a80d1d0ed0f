"""`fsmedia erase`: what it tells and asks, receipts that are kept and checked, exit codes, hostile names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from tests.contract.specimens import traces
from tests.surfaces.test_cli import HOSTILE, fsmedia, put, refused
from tests.surfaces.test_cli_deduplication import options_of
from tests.surfaces.test_cli_process import on_terminal

if TYPE_CHECKING:
    from tests.storages import LocalStorage, S3Storage, Storage


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    return local_storage.url


def test_help_teaches_with_examples() -> None:
    text = fsmedia("erase", "--help").stdout
    for word in (
        "--dry-run",
        "--receipt",
        "--check",
        "--forget-log",
        "--versions",
        "fsmedia erase --run r1 --dry-run",
        "--store",
    ):
        assert word in text
    assert "erase" in fsmedia("--help").stdout


def test_it_says_what_would_go_and_what_went(storage: Storage, tmp_path: Path) -> None:
    options, file = options_of(storage), tmp_path / "receipt.json"
    store = MediaStore(storage.url, storage_options=storage.options)
    mine, his = (
        store.store_media(MediaContent.from_bytes(b"x" * 2000, "text/plain"), MediaMetadata(run_id=run))
        for run in ("r1", "r2")
    )
    before = traces(storage)
    dry = fsmedia("erase", "--run", "r1", "-n", "-s", storage.url, *options)
    assert dry.exit_code == 0, dry.output
    assert "would erase" in dry.stdout
    assert mine in dry.stdout
    assert his not in dry.stdout
    assert traces(storage) == before
    done = fsmedia("erase", "--run", "r1", "--receipt", file, "-s", storage.url, *options)
    assert done.exit_code == 0, done.output
    assert "erased 1 (2.0 KiB)" in done.stdout
    assert "shared by 1" in done.stdout
    assert f"receipt: {file}" in done.stdout
    assert json.loads(file.read_text())["erased"][0]["reference"] == mine
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(store.list()) == [his]
    checked = fsmedia("erase", "--check", file, "-s", storage.url, *options)
    assert checked.exit_code == 0
    assert checked.stdout.startswith("1 media were erased: none of it is there")


def test_json_is_the_receipt_and_what_stays_makes_it_fail(url: str) -> None:
    held = put(url)
    fsmedia("policy", "hold", held, "--reason", "a lawsuit", "-s", url)
    put(url, data=b"2")
    done = fsmedia("erase", "--run", "r1", "--json", "--threads", "2", "-s", url)
    assert done.exit_code == 1
    receipt = json.loads(done.stdout)
    assert [each["reference"] for each in receipt["held"]] == [held]
    assert MediaStore(url).check_receipt(receipt).holds
    shown = fsmedia("erase", "--run", "r1", "-s", url)
    assert (shown.exit_code, "a lawsuit" in shown.stdout) == (1, True)


def test_each_id_is_a_word(url: str) -> None:
    put(url, conversation_id="c", session_id="s", provider_id="p")
    for word in ("--run r1", "--conversation c", "--session s", "--provider p"):
        assert "would erase 1 " in fsmedia("erase", *word.split(), "-n", "-s", url).stdout
    assert "would erase 0 " in fsmedia("erase", "--run", "r1", "--session", "other", "-n", "-s", url).stdout


def test_where_no_store_is_nothing_was_erased(tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    said = refused(fsmedia("erase", "--run", "r1", "--receipt", file, "-s", str(tmp_path / "mistyped")), 3)
    assert "no store" in said
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_is_refused(url: str, tmp_path: Path) -> None:
    put(url)
    assert "must name" in refused(fsmedia("erase", "-s", url), 2)
    assert "must be an id" in refused(fsmedia("erase", "--run", "", "-s", url), 1)
    file = tmp_path / "receipt.json"
    file.write_text("mine")
    assert "replaces nothing" in refused(fsmedia("erase", "--run", "r1", "--receipt", file, "-s", url), 1)
    refused(fsmedia("erase", "--run", "r1", "--receipt", tmp_path / "no" / "folder.json", "-s", url), 1)
    assert "erases nothing" in refused(fsmedia("erase", "--run", "r1", "--check", file, "-s", url), 2)
    assert "no receipt" in refused(fsmedia("erase", "--check", file, "-s", url), 1)
    for words in (["erase", "--check"], ["verify", "--receipt"]):
        assert "none.json: no such file" in refused(fsmedia(*words, tmp_path / "none.json", "-s", url), 3)
    assert len(list(MediaStore(url).list())) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["media", "receipt.json"]


def test_a_check_tells_what_is_there_again(url: str, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    reference = put(url)
    sidecar = Path(url, f"{reference}.meta").read_bytes()
    assert fsmedia("erase", "--run", "r1", "--receipt", file, "-s", url).exit_code == 0
    Path(url, "runs", "r1").mkdir(parents=True)
    Path(url, f"{reference}.meta").write_bytes(sidecar)
    found = fsmedia("erase", "--check", file, "-s", url)
    assert found.exit_code == 1
    assert f"sidecar  {reference}.meta" in found.stdout
    answer = json.loads(fsmedia("erase", "--check", file, "--json", "-s", url).stdout)
    assert answer["holds"] is False
    assert answer["traces"][0]["kind"] in ("sidecar", "bytes")
    assert "no store at" in refused(fsmedia("erase", "--check", file, "-s", str(tmp_path / "elsewhere")), 3)
    MediaStore(tmp_path / "elsewhere").create()
    other = fsmedia("erase", "--check", file, "-s", str(tmp_path / "elsewhere"))
    assert other.exit_code == 0
    assert "another URL" in other.stderr


def test_hostile_names_reach_no_terminal(url: str) -> None:
    put(url, run_id=HOSTILE)
    Path(url, "runs", "r2").mkdir()
    Path(url, "runs", "r2", "\x1b[31m.png").write_bytes(b"x")
    for run in (HOSTILE, "r2"):
        shown = fsmedia("erase", "--run", run, "-s", url)
        assert shown.exit_code == 0
        assert "\x1b" not in shown.output


def test_a_person_is_asked(url: str, tmp_path: Path) -> None:
    put(url)
    code, shown = on_terminal("erase", "--run", "r1", "-s", url, cwd=tmp_path, answer=b"n\n", width=200)
    assert code == 1
    assert b"Erase 1 media (10 B) from" in shown
    assert len(list(MediaStore(url).list())) == 1
    code, _ = on_terminal("erase", "--run", "r1", "-s", url, cwd=tmp_path, answer=b"y\n", width=200)
    assert code == 0
    assert list(MediaStore(url).list()) == []
    put(url)
    assert on_terminal("erase", "--run", "r1", "--yes", "-s", url, cwd=tmp_path, width=200)[0] == 0


def test_a_receipt_that_can_not_be_written_is_shown(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(url)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    done = fsmedia("erase", "--run", "r1", "--receipt", tmp_path / "r.json", "-s", url)
    assert done.exit_code == 1
    assert "No space left" in done.stderr
    assert json.loads(done.stdout)["erased"]
    assert not [path for path in tmp_path.iterdir() if keys.is_temporary(path.name)]


def test_older_versions_that_the_bucket_keeps(moto_storage: S3Storage, tmp_path: Path) -> None:
    rules = {"Status": "Enabled"}
    moto_storage.server.client.put_bucket_versioning(Bucket=moto_storage.bucket, VersioningConfiguration=rules)
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    store.store_media(MediaContent.from_bytes(b"hers", "text/plain"), MediaMetadata(run_id="alice"))
    words = ["erase", "--run", "alice", "--store", moto_storage.url, *options_of(moto_storage)]
    done = fsmedia(*words)
    assert done.exit_code == 1, done.output
    assert "3 with older versions" in done.stdout  # bytes, sidecar, and the page of the journal
    assert "--versions" in done.stdout.replace("\n", " ")
    planned = fsmedia(*words, "--versions", "--dry-run", "--json")
    assert (planned.exit_code, json.loads(planned.stdout)["cleaned"]["versions"] > 0) == (0, True), planned.output
    file = tmp_path / "receipt.json"
    done = fsmedia(*words, "--versions", "--receipt", file)
    assert done.exit_code == 0, done.output
    assert "versions" in done.stdout
    at = ["--store", moto_storage.url, *options_of(moto_storage)]
    assert fsmedia("erase", "--check", file, *at).exit_code == 0
    assert fsmedia("erase", "--check", file, "--versions", *at).exit_code == 2
