"""`fsmedia policy` and `fsmedia policy enforce`: policies, holds, the due index, sweeps once and until a signal."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fsmedia import HeldMediaError, MediaStore
from fsmedia.cli.signals import StopSignal
from tests.storages import LocalStorage, Storage
from tests.surfaces.commands import DEADLINE, HOSTILE, exits, fsmedia, harmless, places, put, refused, started

DAY = timedelta(days=1)


@pytest.fixture
def known(local_storage: LocalStorage) -> str:
    """Give a store that knows policies by name."""
    MediaStore(local_storage.url, policies={"audit": 365 * DAY, "scratch": timedelta(hours=12)}).create()
    return local_storage.url


def due_keys(known: str) -> list[str]:
    return sorted(str(path.relative_to(known)) for path in Path(known, ".fsmedia/due").rglob("*") if path.is_file())


# -- list ----------------------------------------------------------------------------------------------------


def test_list_shows_names_default_grammar_and_the_due_index(known: str, tmp_path: Path) -> None:
    text = exits(0, "policy", "list", "-s", known)
    for fact in ("audit", "365d", "scratch", "12h", "retain-<n>days", "none: media", "complete"):
        assert fact in text.stdout
    for words in (["-s", known, "policy", "list"], ["-s", "else", "policy", "-s", known, "list"]):
        assert fsmedia(*words).stdout == text.stdout  # the store stands before or after each word
    facts = json.loads(fsmedia("policy", "list", "-s", known, "--json").stdout)
    assert facts["policies"] == {"audit": 365 * 86400, "scratch": 12 * 3600}
    assert (facts["made"], facts["default_policy"], facts["due_index"]) == (True, None, "complete")
    assert "retain-<n>days" in facts["grammar"]
    bare = tmp_path / "bare"
    assert "no store at" in refused(fsmedia("policy", "list", "-s", bare), 3)
    assert not bare.exists()
    Path(bare, "runs", "r1").mkdir(parents=True)
    Path(bare, "runs", "r1", "x.txt").write_text("PromptKit's")
    text = fsmedia("policy", "list", "-s", bare)
    assert (text.exit_code, "has no settings" in text.stderr) == (0, True)
    assert json.loads(fsmedia("policy", "list", "-s", bare, "--json").stdout)["made"] is False


# -- apply ---------------------------------------------------------------------------------------------------


def test_apply_puts_several_under_a_policy_and_takes_it_away(known: str) -> None:
    references = [put(known), put(known)]
    done = exits(0, "policy", "apply", "retain-30days", *references, "-s", known)
    assert [line.split()[-1] for line in done.stdout.splitlines()] == references
    assert all(line.startswith("retain-30days, until ") for line in done.stdout.splitlines())
    records = [MediaStore(known).info(reference) for reference in references]
    assert all(each.expires_at - each.timestamp == 30 * DAY for each in records)
    assert len(due_keys(known)) == 2
    for word in ("--forever", "--none"):
        done = fsmedia("policy", "apply", word, *references, "-s", known)
        assert "no policy, kept for ever" in done.stdout
        assert all(MediaStore(known).info(reference).expires_at is None for reference in references)
    assert "retain, kept for ever" in fsmedia("policy", "apply", "retain", references[0], "-s", known).stdout


def test_apply_says_what_the_next_sweep_will_delete(known: str) -> None:
    reference = put(known, timestamp=datetime.now(UTC) - 3 * DAY)
    assert "audit, until" in fsmedia("policy", "apply", "audit", reference, "-s", known).stdout
    assert "due since" in fsmedia("policy", "apply", "scratch", reference, "-s", known).stdout
    facts = json.loads(fsmedia("policy", "apply", "audit", reference, "-s", known, "--json").stdout)
    record = MediaStore(known).info(reference).model_dump(mode="json")
    assert facts == {"reference": reference, "policy_name": "audit", "expires_at": record["expires_at"]}


def test_apply_goes_on_past_what_fails_and_refuses_an_unknown_policy_once(known: str) -> None:
    reference = put(known)
    text = refused(fsmedia("policy", "apply", "no-such", reference, reference, "-s", known), 1)
    assert "unknown policy 'no-such'" in text
    assert "audit" in text
    assert "stands before" in refused(fsmedia("policy", "apply", reference, "audit", "-s", known), 1)
    assert due_keys(known) == []
    Path(known, "runs/r1/foreign.png").write_bytes(b"x")
    words = ["policy", "apply", "audit", "runs/r1/none.png", "runs/r1/foreign.png", reference, "-s", known]
    done = exits(1, *words)
    assert done.stdout.split()[-1] == reference
    assert "no such media" in done.stderr
    assert "no sidecar" in done.stderr
    assert fsmedia("policy", "apply", "audit", "runs/r1/none.png", "-s", known).exit_code == 3


# -- hold and release ----------------------------------------------------------------------------------------


def test_a_hold_is_shown_refuses_rm_and_is_released(storage: Storage) -> None:
    words = places(storage)
    store = MediaStore(storage.url, storage_options=storage.options)
    stored = fsmedia("store", Path(__file__), "--run", "r1", "--policy", "retain-1hours", *words)
    reference = stored.stdout.strip()
    done = fsmedia("policy", "hold", reference, "--reason", "case 4711", "--who", "legal", *words)
    assert (done.exit_code, done.stdout) == (0, f"held  {reference}\n")
    shown = fsmedia("info", reference, *words).stdout
    assert "case 4711" in shown
    assert "expires" in shown
    assert json.loads(fsmedia("info", reference, "--json", *words).stdout)["hold"] == "case 4711"
    for dry in ([], ["--dry-run"]):
        text = refused(fsmedia("rm", reference, *dry, *words), 1)
        assert "is held" in text
        assert "case 4711" in text
    with pytest.raises(HeldMediaError):
        store.delete_media(reference)
    assert fsmedia("policy", "release", reference, *words).stdout == f"released  {reference}\n"
    assert fsmedia("policy", "release", reference, *words).stdout == f"was not held  {reference}\n"
    assert fsmedia("rm", reference, *words).exit_code == 0


def test_a_second_hold_says_what_it_replaces_and_what_can_t_be_held_is_told(known: str) -> None:
    reference = put(known)
    done = fsmedia("policy", "hold", "runs/r1/none.png", reference, "--reason", "one", "-s", known)
    assert (done.exit_code, done.stdout) == (3, f"held  {reference}\n")
    assert "in place of: one" in fsmedia("policy", "hold", reference, "--reason", "two", "-s", known).stdout
    assert "reason" in refused(fsmedia("policy", "hold", reference, "--reason", " ", "-s", known), 1)
    facts = json.loads(fsmedia("policy", "hold", reference, "--reason", "three", "-s", known, "--json").stdout)
    assert facts == {"reference": reference, "held": True, "reason": "three", "before": "two"}
    facts = json.loads(fsmedia("policy", "release", reference, "-s", known, "--json").stdout)
    assert facts == {"reference": reference, "held": False, "before": "three"}
    assert fsmedia("policy", "release", "runs/r1/none.png", "-s", known).exit_code == 3


def test_damaged_sidecars_and_left_holds_can_be_held_and_released(known: str) -> None:
    reference, other = put(known), put(known)
    Path(known, f"{reference}.meta").write_bytes(b"{")
    assert fsmedia("policy", "hold", reference, other, "--reason", "look", "-s", known).exit_code == 0
    assert len(list(Path(known, ".fsmedia/holds").iterdir())) == 2
    Path(known, other).unlink()
    Path(known, f"{other}.meta").unlink()
    exits(3, "policy", "release", reference, other, "-s", known)
    assert not list(Path(known, ".fsmedia/holds").glob("*"))


def test_words_of_strangers_command_no_terminal(known: str) -> None:
    reference = put(known, run_id=HOSTILE)
    for words in (
        ["policy", "hold", reference, "--reason", HOSTILE],
        ["policy", "hold", reference, "--reason", HOSTILE],
        ["info", reference],
        ["rm", "-n", reference],
        ["rm", reference],
        ["policy", "apply", HOSTILE, reference],
        ["policy", "apply", "audit", HOSTILE],
    ):
        harmless(fsmedia(*words, "-s", known).output)


# -- the due index -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [[], ["--threads", "3"]])
def test_a_repair_completes_the_index(threads: list[str], known: str) -> None:
    put(known, policy_name="audit")
    put(known)
    (entry,) = due_keys(known)
    Path(known, entry).unlink()
    settings = Path(known, ".fsmedia/store.json")
    settings.write_text(settings.read_text().replace("complete", "partial"))
    assert "fsmedia verify --repair" in fsmedia("policy", "list", "-s", known).stdout
    looked = fsmedia("verify", "-s", known)
    assert looked.exit_code == 0, "a partial index is nothing wrong"
    assert "to make it complete: fsmedia verify --repair" in looked.stderr
    plan = exits(0, "verify", "--repair", "--dry-run", "-s", known)
    assert "the partial due index does not name it" in plan.stdout
    assert due_keys(known) == []
    done = fsmedia("verify", "--repair", *threads, "-s", known)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "1 mended, 0 left" in done.stdout
    assert due_keys(known) == [entry]
    facts = json.loads(fsmedia("verify", "--repair", "-s", known, "--json").stdout)
    assert (facts["media"], facts["findings"], facts["failed"], facts["due_index"]) == (2, [], [], "complete")


# -- sweeps ---------------------------------------------------------------------------------------------------


LONG_AGO = datetime.now(UTC) - timedelta(days=3)


def put_due(url: str, **fields: object) -> str:
    """Store a media that was due two days ago."""
    return put(url, timestamp=LONG_AGO, policy_name="retain-1days", **fields)


def make_partial(url: str) -> None:
    settings = Path(url, ".fsmedia/store.json")
    settings.write_text(settings.read_text().replace("complete", "partial"))


def test_a_dry_run_says_what_a_sweep_then_does(storage: Storage) -> None:
    words = places(storage)
    file = Path(__file__)
    gone, held, kept = (
        fsmedia("store", file, "--run", "r1", "--policy", policy, *words).stdout.strip()
        for policy in ("delete-after-1min", "delete-after-1min", "retain-30days")
    )
    fsmedia("policy", "hold", held, "--reason", "case", *words)
    later = ["--now", (datetime.now(UTC) + timedelta(minutes=4)).isoformat()]
    keys = storage.keys()
    for dry, verb in ((["--dry-run"], "would delete"), ([], "deleted")):
        done = fsmedia("policy", "enforce", *dry, *later, *words)
        assert (done.exit_code, done.stderr) == (0, "")
        first, second, total = done.stdout.splitlines()
        assert first.startswith(verb)
        assert first.endswith(gone)
        assert "delete-after-1min  expired 20" in first
        assert second.split() == ["skipped", held, "held"]
        assert f"2 examined, {verb} 1 (" in total
        assert "1 skipped, 0 failed" in total
        if dry:
            assert storage.keys() == keys
    assert {held, kept} <= storage.keys()
    assert gone not in set(storage.keys())
    for now, goes in (("in 31d", True), ("in 29d", False), ("2001-01-01T00:00:00Z", False)):
        assert (kept in fsmedia("policy", "enforce", "-n", "--now", now, *words).stdout) == goes


def test_json_is_one_document_with_all_media(url: str) -> None:
    references = {put_due(url) for _ in range(3)}
    report = json.loads(fsmedia("policy", "enforce", "--dry-run", "--json", "-s", url).stdout)
    assert {each["reference"] for each in report["deleted"]} == references
    assert report["bytes_freed"] == 3 * len(b"some bytes")
    assert (report["dry_run"], report["due_index"], report["examined"]) == (True, "complete", 3)
    assert report["deleted"][0]["reason"].startswith("policy retain-1days let it go at ")
    assert report["took"] >= 0
    assert set(MediaStore(url).list()) == references


def test_what_fails_is_told_once_with_its_name_and_the_rest_goes(url: str) -> None:
    broken, fine = put_due(url), put_due(url)
    Path(url, f"{broken}.meta").write_bytes(b"{")
    for dry in (["--dry-run"], []):
        done = exits(1, "policy", "enforce", *dry, "-s", url)
        assert done.stderr.startswith("error: ")
        assert done.stderr.count(broken) == 1
        assert done.stderr.count("\n") == 1
        assert fine in done.stdout
        assert "1 failed" in done.stdout
    assert list(MediaStore(url).list()) == [broken]
    assert json.loads(fsmedia("policy", "enforce", "--json", "-s", url).stdout)["failed"][0]["reference"] == broken


def test_a_partial_index_names_the_command_that_completes_it(url: str) -> None:
    put_due(url)
    make_partial(url)
    done = exits(0, "policy", "enforce", "--dry-run", "-s", url)
    assert "fsmedia verify --repair" in done.stderr
    fsmedia("verify", "--repair", "-s", url)
    assert fsmedia("policy", "enforce", "-s", url).stderr == ""


def test_what_promptkit_may_share_stays_unless_told(url: str) -> None:
    reference = "runs/r1/shared.png"
    MediaStore(url).create()
    Path(url, "runs/r1").mkdir(parents=True)
    Path(url, reference).write_bytes(b"x")
    sidecar = {"run_id": "r1", "mime_type": "image/png", "policy_name": "retain-1days"}
    Path(url, f"{reference}.meta").write_text(json.dumps({**sidecar, "timestamp": f"{LONG_AGO:%FT%TZ}"}))
    Path(url, ".dedup_index.json").write_text(json.dumps({"0" * 64: reference}))
    make_partial(url)
    done = fsmedia("policy", "enforce", "-s", url)
    assert f"skipped  {reference}  PromptKit's index names it" in done.stdout
    assert Path(url, reference).exists()
    assert reference in fsmedia("policy", "enforce", "--delete-shared", "-s", url).stdout
    assert not Path(url, reference).exists()


@pytest.mark.parametrize("threads", [[], ["--threads", "4"]])
def test_long_tables_end_with_how_many_more(threads: list[str], url: str) -> None:
    store = MediaStore(url)
    references = sorted(put_due(url) for _ in range(53))
    for reference in references[:2]:
        store.hold(reference, "case")
    done = fsmedia("policy", "enforce", "--dry-run", *threads, "-s", url).stdout.splitlines()
    assert len(done) == 50 + 1 + 2 + 1
    assert "and 1 more would delete; --all shows them" in done
    assert "--all" not in fsmedia("policy", "enforce", "--dry-run", "--all", "-s", url).stdout
    assert len(json.loads(fsmedia("policy", "enforce", *threads, "--json", "-s", url).stdout)["deleted"]) == 51
    assert list(store.list()) == references[:2]


def test_names_of_strangers_command_no_terminal(url: str) -> None:
    reference = put_due(url)
    place = Path(url, "runs/r1") / HOSTILE.replace("/", "")
    Path(url, reference).rename(place)
    Path(url, f"{reference}.meta").rename(f"{place}.meta")
    broken = Path(url, "runs/r1") / f"broken{HOSTILE.replace('/', '')}"
    broken.write_bytes(b"x")
    Path(f"{broken}.meta").write_bytes(b"{")
    make_partial(url)
    done = fsmedia("policy", "enforce", "--dry-run", "-s", url)
    assert "would delete 1" in done.stdout
    assert "1 failed" in done.stdout
    harmless(done.output)


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """Heed Ctrl-C also where the tests themselves run in the background of a shell, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_is_stopped_ends_in_order_and_says_so(
    number: signal.Signals, code: int, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = put_due(url)
    enforce_policy = MediaStore.enforce_policy

    def stopped_at_once(store: MediaStore, **how: object) -> object:
        signal.raise_signal(number)
        return enforce_policy(store, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(MediaStore, "enforce_policy", stopped_at_once)
    done = fsmedia("policy", "enforce", "-s", url)
    assert done.exit_code == code
    assert ", stopped early" in done.stdout.splitlines()[-1]
    assert list(MediaStore(url).list()) == [reference]


# -- again and again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_every_sweeps_at_once_and_ends_at_a_signal(number: signal.Signals, url: str, tmp_path: Path) -> None:
    reference = put_due(url)
    words = ["policy", "enforce", "--every", "1h", "-s", url]
    with started(*words, cwd=tmp_path) as process:
        assert reference in process.stdout.readline().decode()
        assert b"1 examined, deleted 1" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(DEADLINE) == 0
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"stopped\n")
    assert not Path(url, reference).exists()


def test_every_goes_on_with_a_line_of_json_for_each_sweep_also_past_one_that_fails(url: str, tmp_path: Path) -> None:
    broken = put_due(url)
    sidecar, settings = Path(url, f"{broken}.meta"), Path(url, ".fsmedia/store.json")
    make_partial(url)
    good = {path: path.read_bytes() for path in (sidecar, settings)}
    sidecar.write_bytes(b"{")
    with started("policy", "enforce", "--every", "1s", "--dry-run", "--json", "-s", url, cwd=tmp_path) as process:
        first = json.loads(process.stdout.readline())
        assert (len(first["failed"]), first["deleted"]) == (1, [])
        sidecar.write_bytes(good[sidecar])
        assert any(json.loads(line)["deleted"] for line in process.stdout)  # in one of the next sweeps
        settings.write_bytes(b"{")  # a partial store reads its settings for each sweep
        assert any("store.json" in json.loads(line).get("error", "") for line in process.stdout)
        settings.write_bytes(good[settings])
        assert any("error" not in json.loads(line) for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE)
        assert (process.returncode, said.count(b"verify --repair")) == (0, 1)


def test_every_ends_when_nobody_reads_any_more(url: str, tmp_path: Path) -> None:
    put_due(url)
    words = ["policy", "enforce", "--every", "1s", "--dry-run", "-s", url]
    with started(*words, cwd=tmp_path) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLINE) == 141
        assert process.stderr.read() == b""


# -- stopping ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("heeded_signals")
def test_the_first_signal_asks_and_the_second_ends() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopSignal() as stop:
        assert not stop.wait(0)
        signal.raise_signal(signal.SIGINT)
        assert stop.wait(3600)
        assert (stop.asked(), stop.code) == (True, 130)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            signal.raise_signal(signal.SIGTERM)
            assert (stop.asked(), stop.code) == (False, 0)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
