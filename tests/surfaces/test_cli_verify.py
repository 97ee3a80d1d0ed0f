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
from tests.surfaces.commands import HOSTILE, answers, exits, fsmedia, harmless, on_terminal, places, put, refused, tells

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


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    return tmp_path / "receipt.json"


def test_a_whole_store(at: list[str], opened: MediaStore) -> None:
    opened.create().store_media(MediaContent.from_bytes(b"text", "text/plain"), MediaMetadata(run_id="r1"))
    for words in ([], ["--deep", "--threads", "2"]):
        assert exits(0, "verify", *words, *at).stdout.startswith("whole: 1 media (4 B")
    tells(fsmedia("verify", "--help").stdout, "fsmedia verify --repair --dry-run", "--store", "4")
    tells(fsmedia("--help").stdout.replace("\n", " "), "4 the store is not whole")


def test_damage_is_told_planned_and_mended(url: str, local_storage: LocalStorage, damaged: tuple[str, str]) -> None:
    cut, well = damaged
    before = traces(local_storage)
    told = exits(4, "verify", "-s", url)
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("size: ")]
    tells(line, cut, "--repair: once they are older than the grace")
    tells(told.stderr, "fsmedia adopt")
    plan = exits(4, "verify", "-s", url, "--repair", "--dry-run", *NOW)
    tells(plan.stdout, "to do: bytes and sidecar move to quarantine")
    assert traces(local_storage) == before
    done = exits(0, "verify", "-s", url, "--repair", *NOW)
    tells(done.stdout, "done: bytes and sidecar move to quarantine")
    tells(done.stdout.splitlines()[-1], "1 mended, 0 left, 0 failed")
    exits(0, "adopt", "-s", url)
    again = exits(0, "verify", "-s", url, "--deep")
    tells(again.stderr, "3 objects lie in .fsmedia/quarantine/")
    assert sorted(MediaStore(url).list()) == sorted([well, "runs/r1/\x1b[31mstranger.txt"])
    for result in (told, plan, done, again):
        harmless(result.output)


def test_what_a_repair_leaves_decides_the_end(url: str, damaged: tuple[str, str]) -> None:
    MediaStore(url).hold(damaged[0], HOSTILE)
    tells(exits(4, "verify", "-s", url, "--repair", *NOW).stdout, "it is held, and stays as it is")


def test_as_json(url: str, damaged: tuple[str, str]) -> None:
    (report,) = answers("verify", "-s", url, "--deep", code=4)
    assert report["counts"] == {"size": 1, "file": 1}
    assert (report["whole"], report["media"], report["left"]) == (False, 3, 1)
    assert {each["key"] for each in report["findings"] if each["kind"] == "size"} == {damaged[0]}
    *lines, last = answers("verify", "-s", url, "--all", code=4)
    assert sorted(each["kind"] for each in lines) == ["file", "size"]
    assert "findings" not in last  # they stand before it; an empty list would say that there are none


def test_many_findings_are_counted_and_shown_when_asked(url: str, local_storage: LocalStorage) -> None:
    put(url)
    for number in range(60):
        local_storage.write(f"runs/r1/{number:03d}.png", b"x")
    for words, count in (([], 50), (["--all"], 60)):
        shown = exits(0, "verify", "-s", url, *words).stdout
        assert len([line for line in shown.splitlines() if line.startswith("file")]) == count
        assert ("and 10 more of file; --all shows them" in shown) == (count == 50)
    for number in range(9):
        local_storage.remove(f"runs/r1/{number:03d}.png")
    shown = exits(0, "verify", "-s", url).stdout
    assert len([line for line in shown.splitlines() if line.startswith("file")]) == 51
    assert " more of file" not in shown


@pytest.mark.parametrize("words", [[], ["--repair=leftovers"]])
def test_what_failed_is_told(words: list[str], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(url)
    error = StorageError("gave no answer", next_step="verify again", key="a/b")
    report = VerifyReport(examined=1, failed=(Failed(reference="a/b", error=error),))  # type: ignore[arg-type]
    monkeypatch.setattr(MediaStore, "verify", lambda *_, **__: report)
    result = exits(1, "verify", *words, "-s", url)
    assert ("gave no answer" in result.stderr, "1 failed" in result.stdout) == (True, True)


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


def test_leftovers_shows_what_it_did(url: str, local_storage: LocalStorage, littered: tuple[str, str]) -> None:
    leftover, kept = littered
    short = ("verify", "--repair=leftovers", "-s", url, "--grace", "0s")
    young = exits(0, *short[:-2]).stdout
    assert (leftover in young, " media" in young) == (False, False)  # none was counted
    assert "shorter than the store's" in refused(fsmedia(*short), 1)
    assert "looks at no media" in refused(fsmedia(*short, "--deep"), 2)
    before = traces(local_storage)
    dry = exits(4, *short, "--nobody-writes", "--dry-run")
    tells(dry.stdout, "to do: removed: no sidecar names them", "0 mended (to free: 2.0 KiB), 1 left")
    assert traces(local_storage) == before
    done = exits(0, *short, "--nobody-writes", "--yes")
    rows = done.stdout.splitlines()
    (row,) = [row for row in rows if leftover in row]
    assert row.startswith("bytes: ")
    tells(row, "done: removed: no sidecar names them")
    assert any(row.startswith("foreign (harmless)") for row in rows)
    tells(harmless(done.output), "1 mended (2.0 KiB), 0 left")
    assert list(MediaStore(url).list()) == [kept]
    assert "nothing was" not in done.output
    local_storage.write(leftover, bytes(2048))
    (report,) = answers(*short, "--nobody-writes")
    assert [(each["kind"], each["key"]) for each in report["findings"] if each["done"]] == [("bytes", leftover)]
    assert report["bytes_freed"] == 2048


# -- erase ----------------------------------------------------------------------------------------------------


def test_it_says_what_would_go_and_went(storage: Storage, at: list[str], opened: MediaStore, receipt: Path) -> None:
    mine, his = (
        opened.store_media(MediaContent.from_bytes(b"x" * 2000, "text/plain"), MediaMetadata(run_id=run))
        for run in ("r1", "r2")
    )
    before = traces(storage)
    dry = exits(0, "erase", "--run", "r1", "-n", *at).stdout
    assert ("would erase" in dry, mine in dry, his in dry) == (True, True, False)
    assert traces(storage) == before
    done = exits(0, "erase", "--run", "r1", "--receipt", receipt, *at)
    tells(done.stdout, "erased 1 (2.0 KiB)", "shared by 1", f"receipt: {receipt}")
    assert json.loads(receipt.read_text())["erased"][0]["reference"] == mine
    assert receipt.stat().st_mode & 0o777 == 0o600
    assert list(opened.list()) == [his]
    assert exits(0, "erase", "--check", receipt, *at).stdout.startswith("1 media were erased: none of it is there")


def test_json_is_the_receipt_and_what_stays_makes_it_fail(url: str) -> None:
    held = put(url, conversation_id="c", session_id="s", provider_id="p")
    for line, count in {
        "--run r1": 1, "--conversation c": 1, "--session s": 1, "--provider p": 1, "--run r1 --session other": 0,
    }.items():  # fmt: skip
        tells(fsmedia("erase", *line.split(), "-n", "-s", url).stdout, f"would erase {count} ")
    fsmedia("policy", "hold", held, "--reason", "a lawsuit", "-s", url)
    put(url, data=b"2")
    (receipt,) = answers("erase", "--run", "r1", "--threads", "2", "-s", url, code=1)
    assert [each["reference"] for each in receipt["held"]] == [held]
    assert MediaStore(url).check_receipt(receipt).holds
    tells(exits(1, "erase", "--run", "r1", "-s", url).stdout, "a lawsuit")


def test_what_is_not_shown_of_an_erasure_is_in_its_receipt(url: str, receipt: Path) -> None:
    for number in range(output.ROWS + 2):
        put(url, data=b"%d" % number, message_idx=number)
    words = ["erase", "--run", "r1", "-s", url]
    tells(fsmedia(*words, "--dry-run").stdout, "and 2 more would erase; --json shows them")
    tells(fsmedia(*words, "--receipt", receipt).stdout, f"and 2 more erased; {receipt} shows them")


def test_wrong_usage_is_refused(url: str, receipt: Path, tmp_path: Path) -> None:
    said = refused(fsmedia("erase", "--run", "r1", "--receipt", receipt, "-s", str(tmp_path / "mistyped")), 3)
    assert ("no store" in said, list(tmp_path.iterdir())) == (True, [])
    put(url)
    receipt.write_text("mine")
    for code, said, *words in (
        (2, "must name"),
        (1, "must be an id", "--run", ""),
        (1, "replaces nothing", "--run", "r1", "--receipt", receipt),
        (1, "", "--run", "r1", "--receipt", tmp_path / "no" / "folder.json"),
        (2, "erases nothing", "--run", "r1", "--check", receipt),
        (1, "no receipt", "--check", receipt),
        (3, "none.json: no such file", "--check", tmp_path / "none.json"),
    ):
        assert said in refused(fsmedia("erase", *words, "-s", url), code)
    assert len(list(MediaStore(url).list())) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["media", "receipt.json"]


def test_a_check_tells_what_is_there_again_and_warns_of_another_url(
    url: str, receipt: Path, local_storage: LocalStorage
) -> None:
    reference, elsewhere = put(url), f"{url}-elsewhere"
    sidecar = local_storage.read(f"{reference}.meta")
    exits(0, "erase", "--run", "r1", "--receipt", receipt, "-s", url)
    local_storage.write(f"{reference}.meta", sidecar)
    check = ["erase", "--check", receipt, "-s"]
    tells(exits(1, *check, url).stdout, f"sidecar  {reference}.meta")
    (answer,) = answers(*check, url, code=1)
    assert (answer["holds"], answer["traces"][0]["kind"] in ("sidecar", "bytes")) == (False, True)
    assert "no store at" in refused(fsmedia(*check, elsewhere), 3)
    put(elsewhere, data=b"other")
    assert exits(0, *check, elsewhere).stderr.startswith("warning: the receipt is that of another URL")


def test_hostile_names_reach_no_terminal(url: str, local_storage: LocalStorage) -> None:
    put(url, run_id=HOSTILE)
    local_storage.write("runs/r2/\x1b[31m.png", b"x")
    for run in (HOSTILE, "r2"):
        harmless(exits(0, "erase", "--run", run, "-s", url).output)


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


def test_older_versions_that_the_bucket_keeps(moto_storage: S3Storage, receipt: Path) -> None:
    rules = {"Status": "Enabled"}
    moto_storage.server.client.put_bucket_versioning(Bucket=moto_storage.bucket, VersioningConfiguration=rules)
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    store.store_media(MediaContent.from_bytes(b"hers", "text/plain"), MediaMetadata(run_id="alice"))
    at = places(moto_storage)
    words = ["erase", "--run", "alice", *at]
    # bytes, sidecar, and the page of the journal
    tells(exits(1, *words).stdout.replace("\n", " "), "3 with older versions", "--versions")
    (planned,) = answers(*words, "--versions", "--dry-run")
    assert planned["cleaned"]["versions"] > 0
    tells(exits(0, *words, "--versions", "--receipt", receipt).stdout, "versions")
    exits(0, "erase", "--check", receipt, *at)
    exits(2, "erase", "--check", receipt, "--versions", *at)
