"""`fsmedia sync`: what it says, what it writes down, how it ends."""

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
    from tests.storages import LocalStorage, S3Storage


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    return local_storage.url


def test_help_teaches_with_examples() -> None:
    text = fsmedia("sync", "--help").stdout
    assert "fsmedia sync ./media s3://bucket/media --dry-run" in text
    for option in ("--delete", "--run", "--mapping", "--option", "--to-option", "--json"):
        assert option in text
    assert "sync" in fsmedia("--help").stdout


def test_a_dry_run_says_what_a_sync_then_does(url: str, local_storage: LocalStorage, tmp_path: Path) -> None:
    put(url, data=b"x" * 5000)
    extra = put(str(tmp_path / "there"), run_id="r9")
    before = traces(local_storage)
    dry = fsmedia("sync", url, tmp_path / "there", "--delete", "-n")
    assert dry.exit_code == 0, dry.output
    assert "1 examined, would copy 1 (4.9 KiB)" in dry.stdout
    assert f"would delete  {extra}" in dry.stdout
    assert list(MediaStore(tmp_path / "there").list()) == [extra]
    done = fsmedia("sync", url, tmp_path / "there", "--delete")
    assert done.exit_code == 0, done.output
    assert "1 examined, copied 1 (4.9 KiB at " in done.stdout
    assert "/s), updated 0, 0 unchanged, deleted 1, 0 skipped, 0 failed, in " in done.stdout
    assert f"deleted  {extra}" in done.stdout
    assert traces(local_storage) == before
    assert list(MediaStore(tmp_path / "there").list()) == list(MediaStore(url).list())


def test_to_s3_and_back(url: str, rclone_storage: S3Storage, tmp_path: Path) -> None:
    reference = put(url)
    options = options_of(rclone_storage)
    there = [word.replace("--option", "--to-option") for word in options]
    done = fsmedia("sync", url, rclone_storage.url, *there, "--threads", "2", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["copied"], told["target"], told["failed"], told["moved"]) == (1, rclone_storage.url, [], [])
    back = fsmedia("sync", rclone_storage.url, tmp_path / "back", *options, "--verify-copies", "read")
    assert back.exit_code == 0, back.output
    assert MediaStore(tmp_path / "back").retrieve_media(reference).read_bytes() == b"some bytes"
    assert rclone_storage.options["secret"] not in done.output + back.output


def test_runs_and_new_references(url: str, tmp_path: Path) -> None:
    first, second, _ = (put(url, run_id=run, session_id="s") for run in ("r1", "r2", "r3"))
    mapping = tmp_path / "moved.jsonl"
    words = ["sync", url, tmp_path / "there", "--run", "r1", "--run", "r2", "--mapping", mapping]
    done = fsmedia(*words, "--deduplicate", "--organization", "by-session")
    assert done.exit_code == 0, done.output
    assert "2 examined, copied 2" in done.stdout
    assert f"new references  {keys.REFERENCES}" in done.stdout
    pairs = [json.loads(line) for line in mapping.read_text().splitlines()]
    assert [pair["old"] for pair in pairs] == [first, second]
    assert sorted(pair["new"] for pair in pairs) == sorted(MediaStore(tmp_path / "there").list())
    again = json.loads(fsmedia(*words, "--json").stdout)
    assert (again["unchanged"], again["moved"]) == (2, pairs)


def test_what_fails_and_what_is_left_out(url: str, tmp_path: Path) -> None:
    broken, bare = put(url), put(url, data=b"other")
    Path(url, broken).write_bytes(b"SOME BYTES")
    done = fsmedia("sync", url, tmp_path / "there")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {broken}: ")
    assert "1 failed" in done.stdout
    left = fsmedia("sync", url, tmp_path / "sessions", "--organization", "by-session")
    assert left.exit_code == 0, left.output
    assert f"skipped  {bare}  has no session_id" in left.stdout
    with_id = fsmedia("sync", url, tmp_path / "sessions", "--missing-id", "none", "--json")
    assert with_id.exit_code == 1
    assert len(json.loads(with_id.stdout)["failed"]) == 1
    assert with_id.stderr.count(broken) == 1


def test_wrong_words_are_refused(url: str, tmp_path: Path) -> None:
    assert "no store at" in refused(fsmedia("sync", tmp_path / "typo", url, "--delete"), 3)
    put(url)
    assert "one place" in refused(fsmedia("sync", url, Path(url) / "in", "--delete"), 1)
    assert "nothing to hold" in refused(fsmedia("sync", url, tmp_path / "x", "-n", "--mapping", tmp_path / "m"), 2)
    assert "--layout" in refused(fsmedia("sync", url, tmp_path / "x", "--layout", "nothing"), 2)
    assert "verify_copies" in refused(fsmedia("sync", url, tmp_path / "x", "--verify-copies", "never"), 1)
    secret = "hunter22hunter22"
    assert secret not in fsmedia("sync", url, "s3://b/x", "--to-option", f"secrt={secret}").output
    assert not (tmp_path / "x").exists()


def test_hostile_names_command_no_terminal(url: str, tmp_path: Path) -> None:
    put(url, run_id=HOSTILE)
    foreign = Path(url, "runs/r1") / HOSTILE.replace("/", "")
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"x")
    done = fsmedia("sync", url, tmp_path / "s", "--organization", "by-session")
    back = fsmedia("sync", url, tmp_path / "there")
    for text in (done.output, back.output):
        assert "\x1b" not in text
        assert "\ninjected" not in text
    assert "2 skipped" in done.stdout
    assert back.exit_code == 0
    code, shown = on_terminal("sync", url, str(tmp_path / "other"), cwd=tmp_path, width=200)
    assert code == 0
    assert b"syncing" in shown
    assert b"2 examined, copied 2" in shown


def test_removing_by_an_old_name_says_the_present_one(url: str, tmp_path: Path) -> None:
    put(url, run_id="r1", session_id="s")
    report = MediaStore(url).sync_to(str(tmp_path / "there"), organization="by-session")
    ((old, new),) = report.moved
    done = fsmedia("rm", old, "--store", tmp_path / "there")
    assert done.exit_code == 3, done.output
    assert new in done.stderr.replace("\n", "")
    assert "deleted" not in done.stdout
    assert list(MediaStore(tmp_path / "there").list()) == [new]
