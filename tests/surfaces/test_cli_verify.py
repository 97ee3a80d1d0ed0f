"""`fsmedia verify` and `fsmedia erase`: what they tell, ask, mend and take, receipts, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.cli import output
from fsmedia.format import keys
from fsmedia.models import Failed, VerifyReport
from tests.contract.specimens import traces
from tests.storages import LocalStorage, S3Storage, Storage
from tests.surfaces.commands import HOSTILE, exits, fsmedia, on_terminal, places, put, refused

NOW = ("--grace", "0s", "--nobody-writes", "--yes")


@pytest.fixture
def damaged(url: str, local_storage: LocalStorage) -> tuple[str, str]:
    """A store with a media whose bytes were cut, one that is well, and a file of nobody's."""
    cut, well = put(url, data=b"some bytes"), put(url)
    local_storage.write(cut, b"some")
    local_storage.write("runs/r1/\x1b[31mstranger.txt", b"x")
    return cut, well


@pytest.fixture
def littered(url: str, local_storage: LocalStorage) -> tuple[str, str]:
    """A store with a media, bytes that no sidecar names, and a file of nobody's in `.fsmedia/`."""
    leftover = f"runs/r1/{keys.plain_name(0, 0, keys.new_unique())}.png"
    kept = put(url)
    local_storage.write(leftover, bytes(2048))
    local_storage.write(".fsmedia/what/is\x1b[31mthis", b"x")
    return leftover, kept


def test_a_whole_store(storage: Storage) -> None:
    store = MediaStore(storage.url, storage_options=storage.options).create()
    store.store_media(MediaContent.from_bytes(b"text", "text/plain"), MediaMetadata(run_id="r1"))
    for words in ([], ["--deep", "--threads", "2"]):
        result = exits(0, "verify", *words, *places(storage))
        assert result.stdout.startswith("whole: 1 media (4 B")
    text = fsmedia("verify", "--help").stdout
    for said in ("fsmedia verify --repair --dry-run", "--store", "4"):
        assert said in text
    assert "4 the store is not whole" in fsmedia("--help").stdout.replace("\n", " ")


def test_damage_is_told_planned_and_mended(url: str, local_storage: LocalStorage, damaged: tuple[str, str]) -> None:
    cut, well = damaged
    before = traces(local_storage)
    told = exits(4, "verify", "-s", url)
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("size: ")]
    assert cut in line
    assert "--repair: once they are older than the grace" in line
    assert "fsmedia adopt" in told.stderr
    plan = exits(4, "verify", "-s", url, "--repair", "--dry-run", *NOW)
    assert "to do: bytes and sidecar move to quarantine" in plan.stdout
    assert traces(local_storage) == before
    done = exits(0, "verify", "-s", url, "--repair", *NOW)
    assert "done: bytes and sidecar move to quarantine" in done.stdout
    assert "1 mended, 0 left, 0 failed" in done.stdout.splitlines()[-1]
    assert fsmedia("adopt", "-s", url).exit_code == 0
    again = exits(0, "verify", "-s", url, "--deep")
    assert "3 objects lie in .fsmedia/quarantine/" in again.stderr
    assert sorted(MediaStore(url).list()) == sorted([well, "runs/r1/\x1b[31mstranger.txt"])
    for result in (told, plan, done, again):
        assert "\x1b" not in result.output


def test_what_a_repair_leaves_decides_the_end(url: str, damaged: tuple[str, str]) -> None:
    MediaStore(url).hold(damaged[0], HOSTILE)
    result = exits(4, "verify", "-s", url, "--repair", *NOW)
    assert "it is held, and stays as it is" in result.stdout


def test_as_json(url: str, damaged: tuple[str, str]) -> None:
    result = exits(4, "verify", "-s", url, "--deep", "--json")
    (document,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert document["counts"] == {"size": 1, "file": 1}
    assert (document["whole"], document["media"], document["left"]) == (False, 3, 1)
    assert {each["key"] for each in document["findings"] if each["kind"] == "size"} == {damaged[0]}
    *lines, last = [json.loads(line) for line in fsmedia("verify", "-s", url, "--json", "--all").stdout.splitlines()]
    assert sorted(each["kind"] for each in lines) == ["file", "size"]
    assert "findings" not in last  # they stand before it; an empty list would say that there are none


def test_many_findings_are_counted_and_shown_when_asked(url: str, local_storage: LocalStorage) -> None:
    put(url)
    for number in range(60):
        local_storage.write(f"runs/r1/{number:03d}.png", b"x")
    few, every = fsmedia("verify", "-s", url), fsmedia("verify", "-s", url, "--all")
    assert few.exit_code == every.exit_code == 0
    assert len([line for line in few.stdout.splitlines() if line.startswith("file")]) == 50
    assert "and 10 more of file; --all shows them" in few.stdout
    assert len([line for line in every.stdout.splitlines() if line.startswith("file")]) == 60


@pytest.mark.parametrize("words", [[], ["--repair=leftovers"]])
def test_what_failed_is_told(words: list[str], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(url)
    error = StorageError("gave no answer", next_step="verify again", key="a/b")
    report = VerifyReport(examined=1, failed=(Failed(reference="a/b", error=error),))  # type: ignore[arg-type]
    monkeypatch.setattr(MediaStore, "verify", lambda *_, **__: report)
    result = exits(1, "verify", *words, "-s", url)
    assert "gave no answer" in result.stderr
    assert "1 failed" in result.stdout


def test_wrong_words_are_refused(url: str, tmp_path: Path) -> None:
    assert "no store at" in refused(fsmedia("verify", "-s", tmp_path / "typo"), 3)
    assert list(tmp_path.iterdir()) == []
    put(url)
    assert "shorter than the store's" in refused(fsmedia("verify", "-s", url, "--repair", "--grace", "0s"), 1)
    assert "--grace" in refused(fsmedia("verify", "-s", url, "--grace", "soon"), 2)
    assert "--threads" in refused(fsmedia("verify", "-s", url, "--threads", "0"), 2)


@pytest.mark.parametrize("repair", ["--repair", "--repair=leftovers"])
@pytest.mark.parametrize(("answer", "goes"), [(b"n\n", False), (b"y\n", True)])
def test_it_asks_whether_nobody_writes(
    repair: str, url: str, tmp_path: Path, littered: tuple[str, str], answer: bytes, goes: bool
) -> None:
    code, shown = on_terminal("verify", "-s", url, repair, *NOW[:3], cwd=tmp_path, answer=answer)
    assert b"stopped?" in shown
    assert (code == 0) == goes
    assert (Path(url) / littered[0]).exists() != goes
    assert (b"nothing was changed" in shown) != goes


# -- leftovers ------------------------------------------------------------------------------------------------


# -- verify --repair=leftovers ----------------------------------------------------------------------------


def test_leftovers_shows_what_it_did(url: str, local_storage: LocalStorage, littered: tuple[str, str]) -> None:
    leftover, kept = littered
    young = exits(0, "verify", "--repair=leftovers", "-s", url)
    assert leftover not in young.stdout
    short = ("verify", "--repair=leftovers", "-s", url, "--grace", "0s")
    assert "shorter than the store's" in refused(fsmedia(*short), 1)
    assert " media" not in young.stdout  # none was counted
    assert "looks at no media" in refused(fsmedia(*short, "--deep"), 2)
    before = traces(local_storage)
    dry = exits(4, *short, "--nobody-writes", "--dry-run")
    assert "to do: removed: no sidecar names them" in dry.stdout
    assert "0 mended (to free: 2.0 KiB), 1 left" in dry.stdout
    assert traces(local_storage) == before
    done = exits(0, *short, "--nobody-writes", "--yes")
    rows = done.stdout.splitlines()
    (row,) = [row for row in rows if leftover in row]
    assert row.startswith("bytes: ")
    assert "done: removed: no sidecar names them" in row
    assert any(row.startswith("foreign (harmless)") for row in rows)
    assert "\x1b" not in done.output
    assert "1 mended (2.0 KiB), 0 left" in done.stdout
    assert list(MediaStore(url).list()) == [kept]
    assert "nothing was" not in done.output
    local_storage.write(leftover, bytes(2048))
    report = json.loads(fsmedia(*short, "--nobody-writes", "--json").stdout)
    assert [(each["kind"], each["key"]) for each in report["findings"] if each["done"]] == [("bytes", leftover)]
    assert report["bytes_freed"] == 2048


# -- erase ----------------------------------------------------------------------------------------------------


def test_it_says_what_would_go_and_what_went(storage: Storage, tmp_path: Path) -> None:
    at, file = places(storage), tmp_path / "receipt.json"
    store = MediaStore(storage.url, storage_options=storage.options)
    mine, his = (
        store.store_media(MediaContent.from_bytes(b"x" * 2000, "text/plain"), MediaMetadata(run_id=run))
        for run in ("r1", "r2")
    )
    before = traces(storage)
    dry = exits(0, "erase", "--run", "r1", "-n", *at)
    assert "would erase" in dry.stdout
    assert (mine in dry.stdout, his in dry.stdout) == (True, False)
    assert traces(storage) == before
    done = exits(0, "erase", "--run", "r1", "--receipt", file, *at)
    for said in ("erased 1 (2.0 KiB)", "shared by 1", f"receipt: {file}"):
        assert said in done.stdout
    assert json.loads(file.read_text())["erased"][0]["reference"] == mine
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(store.list()) == [his]
    checked = exits(0, "erase", "--check", file, *at)
    assert checked.stdout.startswith("1 media were erased: none of it is there")


def test_json_is_the_receipt_and_what_stays_makes_it_fail(url: str) -> None:
    held = put(url, conversation_id="c", session_id="s", provider_id="p")
    for word in ("--run r1", "--conversation c", "--session s", "--provider p"):
        assert "would erase 1 " in fsmedia("erase", *word.split(), "-n", "-s", url).stdout
    assert "would erase 0 " in fsmedia("erase", "--run", "r1", "--session", "other", "-n", "-s", url).stdout
    fsmedia("policy", "hold", held, "--reason", "a lawsuit", "-s", url)
    put(url, data=b"2")
    done = exits(1, "erase", "--run", "r1", "--json", "--threads", "2", "-s", url)
    receipt = json.loads(done.stdout)
    assert [each["reference"] for each in receipt["held"]] == [held]
    assert MediaStore(url).check_receipt(receipt).holds
    shown = fsmedia("erase", "--run", "r1", "-s", url)
    assert (shown.exit_code, "a lawsuit" in shown.stdout) == (1, True)


def test_what_is_not_shown_of_an_erasure_is_in_its_receipt(url: str, tmp_path: Path) -> None:
    for number in range(output.ROWS + 2):
        put(url, data=b"%d" % number, message_idx=number)
    dry = fsmedia("erase", "--run", "r1", "--dry-run", "-s", url)
    assert "and 2 more would erase; --json shows them" in dry.stdout
    done = fsmedia("erase", "--run", "r1", "--receipt", tmp_path / "kept.json", "-s", url)
    assert f"and 2 more erased; {tmp_path / 'kept.json'} shows them" in done.stdout


def test_the_receipt_of_another_url_is_a_warning(url: str, tmp_path: Path) -> None:
    file, other = tmp_path / "receipt.json", tmp_path / "other"
    put(url)
    put(str(other))
    assert fsmedia("erase", "--run", "r1", "--receipt", file, "-s", url).exit_code == 0
    said = fsmedia("erase", "--check", file, "-s", other).stderr
    assert said.startswith("warning: the receipt is that of another URL")


def test_wrong_usage_is_refused(url: str, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    said = refused(fsmedia("erase", "--run", "r1", "--receipt", file, "-s", str(tmp_path / "mistyped")), 3)
    assert "no store" in said
    assert list(tmp_path.iterdir()) == []
    put(url)
    assert "must name" in refused(fsmedia("erase", "-s", url), 2)
    assert "must be an id" in refused(fsmedia("erase", "--run", "", "-s", url), 1)
    file.write_text("mine")
    assert "replaces nothing" in refused(fsmedia("erase", "--run", "r1", "--receipt", file, "-s", url), 1)
    refused(fsmedia("erase", "--run", "r1", "--receipt", tmp_path / "no" / "folder.json", "-s", url), 1)
    assert "erases nothing" in refused(fsmedia("erase", "--run", "r1", "--check", file, "-s", url), 2)
    assert "no receipt" in refused(fsmedia("erase", "--check", file, "-s", url), 1)
    assert "none.json: no such file" in refused(fsmedia("erase", "--check", tmp_path / "none.json", "-s", url), 3)
    assert len(list(MediaStore(url).list())) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["media", "receipt.json"]


def test_a_check_tells_what_is_there_again(url: str, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    reference = put(url)
    sidecar = Path(url, f"{reference}.meta").read_bytes()
    assert fsmedia("erase", "--run", "r1", "--receipt", file, "-s", url).exit_code == 0
    Path(url, "runs", "r1").mkdir(parents=True)
    Path(url, f"{reference}.meta").write_bytes(sidecar)
    found = exits(1, "erase", "--check", file, "-s", url)
    assert f"sidecar  {reference}.meta" in found.stdout
    answer = json.loads(fsmedia("erase", "--check", file, "--json", "-s", url).stdout)
    assert answer["holds"] is False
    assert answer["traces"][0]["kind"] in ("sidecar", "bytes")
    assert "no store at" in refused(fsmedia("erase", "--check", file, "-s", str(tmp_path / "elsewhere")), 3)
    MediaStore(tmp_path / "elsewhere").create()
    other = exits(0, "erase", "--check", file, "-s", str(tmp_path / "elsewhere"))
    assert "another URL" in other.stderr


def test_hostile_names_reach_no_terminal(url: str) -> None:
    put(url, run_id=HOSTILE)
    Path(url, "runs", "r2").mkdir()
    Path(url, "runs", "r2", "\x1b[31m.png").write_bytes(b"x")
    for run in (HOSTILE, "r2"):
        shown = fsmedia("erase", "--run", run, "-s", url)
        assert (shown.exit_code, "\x1b" in shown.output) == (0, False)


def test_a_person_is_asked(url: str, tmp_path: Path) -> None:
    words = ("erase", "--run", "r1", "-s", url)
    for answer, yes, left in ((b"n\n", [], 1), (b"y\n", [], 0), (b"", ["--yes"], 0)):
        put(url)
        code, shown = on_terminal(*words, *yes, cwd=tmp_path, answer=answer, width=200)
        assert (code, b"Erase 1 media (10 B) from" in shown) == (left, not yes)
        assert len(list(MediaStore(url).list())) == left
        fsmedia("erase", "--run", "r1", "-s", url)


def test_a_receipt_that_can_not_be_written_is_shown(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(url)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    done = exits(1, "erase", "--run", "r1", "--receipt", tmp_path / "r.json", "-s", url)
    assert "No space left" in done.stderr
    assert json.loads(done.stdout)["erased"]
    assert not [path for path in tmp_path.iterdir() if keys.is_temporary(path.name)]


def test_older_versions_that_the_bucket_keeps(moto_storage: S3Storage, tmp_path: Path) -> None:
    rules = {"Status": "Enabled"}
    moto_storage.server.client.put_bucket_versioning(Bucket=moto_storage.bucket, VersioningConfiguration=rules)
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    store.store_media(MediaContent.from_bytes(b"hers", "text/plain"), MediaMetadata(run_id="alice"))
    file, at = tmp_path / "receipt.json", places(moto_storage)
    words = ["erase", "--run", "alice", *at]
    done = exits(1, *words)
    assert "3 with older versions" in done.stdout  # bytes, sidecar, and the page of the journal
    assert "--versions" in done.stdout.replace("\n", " ")
    planned = fsmedia(*words, "--versions", "--dry-run", "--json")
    assert (planned.exit_code, json.loads(planned.stdout)["cleaned"]["versions"] > 0) == (0, True), planned.output
    done = exits(0, *words, "--versions", "--receipt", file)
    assert "versions" in done.stdout
    assert fsmedia("erase", "--check", file, *at).exit_code == 0
    assert fsmedia("erase", "--check", file, "--versions", *at).exit_code == 2
