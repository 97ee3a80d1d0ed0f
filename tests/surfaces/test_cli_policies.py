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
from tests.surfaces.commands import DEADLINE, HOSTILE, answers, exits, fsmedia, harmless, put, refused, started, tells

DAY = timedelta(days=1)


@pytest.fixture
def known(local_storage: LocalStorage) -> str:
    """Give a store that knows policies by name."""
    MediaStore(local_storage.url, policies={"audit": 365 * DAY, "scratch": timedelta(hours=12)}).create()
    return local_storage.url


def due_keys(known: str) -> list[str]:
    return sorted(str(path.relative_to(known)) for path in Path(known, ".fsmedia/due").rglob("*") if path.is_file())


def make_partial(url: str) -> None:
    settings = Path(url, ".fsmedia/store.json")
    settings.write_text(settings.read_text().replace("complete", "partial"))


def test_list_shows_names_default_grammar_and_the_due_index(known: str, tmp_path: Path) -> None:
    text = exits(0, "policy", "list", "-s", known).stdout
    tells(text, "audit", "365d", "scratch", "12h", "retain-<n>days", "none: media", "complete")
    for words in (["-s", known, "policy", "list"], ["-s", "else", "policy", "-s", known, "list"]):
        assert fsmedia(*words).stdout == text  # the store stands before or after each word
    (facts,) = answers("policy", "list", "-s", known)
    assert facts["policies"] == {"audit": 365 * 86400, "scratch": 12 * 3600}
    assert (facts["made"], facts["default_policy"], facts["due_index"]) == (True, None, "complete")
    assert "retain-<n>days" in facts["grammar"]
    bare = tmp_path / "bare"
    assert "no store at" in refused(fsmedia("policy", "list", "-s", bare), 3)
    assert not bare.exists()
    Path(bare, "runs", "r1").mkdir(parents=True)
    Path(bare, "runs", "r1", "x.txt").write_text("PromptKit's")
    tells(exits(0, "policy", "list", "-s", bare).stderr, "has no settings")
    assert answers("policy", "list", "-s", bare)[0]["made"] is False


def test_apply_puts_several_under_a_policy_and_takes_it_away(known: str) -> None:
    references = [put(known), put(known)]
    lines = exits(0, "policy", "apply", "retain-30days", *references, "-s", known).stdout.splitlines()
    assert [line.split()[-1] for line in lines] == references
    assert all(line.startswith("retain-30days, until ") for line in lines)
    records = [MediaStore(known).info(reference) for reference in references]
    assert all(each.expires_at - each.timestamp == 30 * DAY for each in records)
    assert len(due_keys(known)) == 2
    for word in ("--forever", "--none"):
        tells(fsmedia("policy", "apply", word, *references, "-s", known).stdout, "no policy, kept for ever")
        assert all(MediaStore(known).info(reference).expires_at is None for reference in references)
    tells(fsmedia("policy", "apply", "retain", references[0], "-s", known).stdout, "retain, kept for ever")


def test_apply_says_what_the_next_sweep_will_delete(known: str) -> None:
    reference = put(known, timestamp=datetime.now(UTC) - 3 * DAY)
    for policy, said in (("audit", "audit, until"), ("scratch", "due since")):
        tells(fsmedia("policy", "apply", policy, reference, "-s", known).stdout, said)
    facts = answers("policy", "apply", "audit", reference, "-s", known)
    record = MediaStore(known).info(reference).model_dump(mode="json")
    assert facts == [{"reference": reference, "policy_name": "audit", "expires_at": record["expires_at"]}]


def test_apply_goes_on_past_what_fails_and_refuses_an_unknown_policy_once(known: str) -> None:
    reference = put(known)
    unknown = refused(fsmedia("policy", "apply", "no-such", reference, reference, "-s", known), 1)
    tells(unknown, "unknown policy 'no-such'", "audit")
    assert "stands before" in refused(fsmedia("policy", "apply", reference, "audit", "-s", known), 1)
    assert due_keys(known) == []
    Path(known, "runs/r1/foreign.png").write_bytes(b"x")
    words = ["policy", "apply", "audit", "-s", known, "runs/r1/none.png"]
    done = exits(1, *words, "runs/r1/foreign.png", reference)
    assert done.stdout.split()[-1] == reference
    tells(done.stderr, "no such media", "no sidecar")
    exits(3, *words)


# -- hold and release ----------------------------------------------------------------------------------------


def test_a_hold_is_shown_refuses_rm_and_is_released(at: list[str], opened: MediaStore) -> None:
    reference = exits(0, "store", __file__, "--run", "r1", "--policy", "retain-1hours", *at).stdout.strip()
    done = exits(0, "policy", "hold", reference, "--reason", "case 4711", "--who", "legal", *at)
    assert done.stdout == f"held  {reference}\n"
    tells(fsmedia("info", reference, *at).stdout, "case 4711", "expires")
    assert answers("info", reference, *at)[0]["hold"] == "case 4711"
    for dry in ([], ["--dry-run"]):
        tells(refused(fsmedia("rm", reference, *dry, *at), 1), "is held", "case 4711")
    with pytest.raises(HeldMediaError):
        opened.delete_media(reference)
    for said in ("released", "was not held"):
        assert fsmedia("policy", "release", reference, *at).stdout == f"{said}  {reference}\n"
    exits(0, "rm", reference, *at)


def test_a_second_hold_says_what_it_replaces_and_what_can_t_be_held_is_told(known: str) -> None:
    reference = put(known)
    hold = ["policy", "hold", "-s", known, reference, "--reason"]
    assert exits(3, *hold, "one", "runs/r1/none.png").stdout == f"held  {reference}\n"
    tells(exits(0, *hold, "two").stdout, "in place of: one")
    assert "reason" in refused(fsmedia(*hold, " "), 1)
    assert answers(*hold, "three") == [{"reference": reference, "held": True, "reason": "three", "before": "two"}]
    released = {"reference": reference, "held": False, "before": "three"}
    assert answers("policy", "release", reference, "-s", known) == [released]
    exits(3, "policy", "release", "runs/r1/none.png", "-s", known)


def test_damaged_sidecars_and_left_holds_can_be_held_and_released(known: str) -> None:
    reference, other = put(known), put(known)
    Path(known, f"{reference}.meta").write_bytes(b"{")
    exits(0, "policy", "hold", reference, other, "--reason", "look", "-s", known)
    assert len(list(Path(known, ".fsmedia/holds").iterdir())) == 2
    Path(known, other).unlink()
    Path(known, f"{other}.meta").unlink()
    exits(3, "policy", "release", reference, other, "-s", known)
    assert not list(Path(known, ".fsmedia/holds").glob("*"))


def test_words_of_strangers_command_no_terminal(known: str) -> None:
    reference = put(known, run_id=HOSTILE)
    hold = ["policy", "hold", reference, "--reason", HOSTILE]
    apply = [["policy", "apply", HOSTILE, reference], ["policy", "apply", "audit", HOSTILE]]
    for words in (hold, hold, ["info", reference], ["rm", "-n", reference], ["rm", reference], *apply):
        harmless(fsmedia(*words, "-s", known).output)


@pytest.mark.parametrize("threads", [[], ["--threads", "3"]])
def test_a_repair_completes_the_index(threads: list[str], known: str) -> None:
    put(known, policy_name="audit")
    put(known)
    (entry,) = due_keys(known)
    Path(known, entry).unlink()
    make_partial(known)
    tells(fsmedia("policy", "list", "-s", known).stdout, "fsmedia verify --repair")
    looked = exits(0, "verify", "-s", known)  # a partial index is nothing wrong
    tells(looked.stderr, "to make it complete: fsmedia verify --repair")
    plan = exits(0, "verify", "--repair", "--dry-run", "-s", known)
    tells(plan.stdout, "the partial due index does not name it")
    assert due_keys(known) == []
    done = exits(0, "verify", "--repair", *threads, "-s", known)
    assert (done.stderr, "1 mended, 0 left" in done.stdout) == ("", True)
    assert due_keys(known) == [entry]
    (facts,) = answers("verify", "--repair", "-s", known)
    assert (facts["media"], facts["findings"], facts["failed"], facts["due_index"]) == (2, [], [], "complete")


# -- sweeps ---------------------------------------------------------------------------------------------------
LONG_AGO = datetime.now(UTC) - timedelta(days=3)


def put_due(url: str, **fields: object) -> str:
    """Store a media that was due two days ago."""
    return put(url, timestamp=LONG_AGO, policy_name="retain-1days", **fields)


def test_a_dry_run_says_what_a_sweep_then_does(storage: Storage, at: list[str]) -> None:
    gone, held, kept = (
        exits(0, "store", __file__, "--run", "r1", "--policy", policy, *at).stdout.strip()
        for policy in ("delete-after-1min", "delete-after-1min", "retain-30days")
    )
    fsmedia("policy", "hold", held, "--reason", "case", *at)
    later = ["--now", (datetime.now(UTC) + timedelta(minutes=4)).isoformat()]
    keys = storage.keys()
    for dry, verb in ((["--dry-run"], "would delete"), ([], "deleted")):
        done = exits(0, "policy", "enforce", *dry, *later, *at)
        assert done.stderr == ""
        first, second, total = done.stdout.splitlines()
        assert (first.startswith(verb), first.endswith(gone)) == (True, True)
        tells(first, "delete-after-1min  expired 20")
        assert second.split() == ["skipped", held, "held"]
        tells(total, f"2 examined, {verb} 1 (", "1 skipped, 0 failed")
        assert not dry or storage.keys() == keys
    assert {held, kept} <= storage.keys()
    assert gone not in set(storage.keys())
    for now, goes in (("in 31d", True), ("in 29d", False), ("2001-01-01T00:00:00Z", False)):
        assert (kept in fsmedia("policy", "enforce", "-n", "--now", now, *at).stdout) == goes


def test_json_is_one_document_with_all_media(url: str) -> None:
    references = {put_due(url) for _ in range(3)}
    (report,) = answers("policy", "enforce", "--dry-run", "-s", url)
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
        assert (done.stderr[:7], done.stderr.count(broken), done.stderr.count("\n")) == ("error: ", 1, 1)
        tells(done.stdout, fine, "1 failed")
    assert list(MediaStore(url).list()) == [broken]
    assert answers("policy", "enforce", "-s", url, code=1)[0]["failed"][0]["reference"] == broken


def test_a_partial_index_names_the_command_that_completes_it(url: str) -> None:
    put_due(url)
    make_partial(url)
    tells(exits(0, "policy", "enforce", "--dry-run", "-s", url).stderr, "fsmedia verify --repair")
    fsmedia("verify", "--repair", "-s", url)
    assert fsmedia("policy", "enforce", "-s", url).stderr == ""


def test_what_promptkit_may_share_stays_unless_told(url: str, local_storage: LocalStorage) -> None:
    reference = "runs/r1/shared.png"
    MediaStore(url).create()
    sidecar = {"run_id": "r1", "mime_type": "image/png", "policy_name": "retain-1days"}
    local_storage.write(reference, b"x")
    local_storage.write(f"{reference}.meta", json.dumps({**sidecar, "timestamp": f"{LONG_AGO:%FT%TZ}"}).encode())
    local_storage.write(".dedup_index.json", json.dumps({"0" * 64: reference}).encode())
    make_partial(url)
    tells(fsmedia("policy", "enforce", "-s", url).stdout, f"skipped  {reference}  PromptKit's index names it")
    assert Path(url, reference).exists()
    tells(fsmedia("policy", "enforce", "--delete-shared", "-s", url).stdout, reference)
    assert not Path(url, reference).exists()


@pytest.mark.parametrize("threads", [[], ["--threads", "4"]])
def test_long_tables_end_with_how_many_more(threads: list[str], url: str) -> None:
    store = MediaStore(url)
    references = sorted(put_due(url) for _ in range(54))
    for reference in references[:2]:
        store.hold(reference, "case")
    done = fsmedia("policy", "enforce", "--dry-run", *threads, "-s", url).stdout.splitlines()
    assert len(done) == 50 + 1 + 2 + 1
    assert "and 2 more would delete; --all shows them" in done
    assert "--all" not in fsmedia("policy", "enforce", "--dry-run", "--all", "-s", url).stdout
    assert len(answers("policy", "enforce", *threads, "-s", url)[0]["deleted"]) == 52
    assert list(store.list()) == references[:2]


def test_names_of_strangers_command_no_terminal(url: str, local_storage: LocalStorage) -> None:
    reference = put_due(url)
    place = Path(url, "runs/r1") / HOSTILE.replace("/", "")
    Path(url, reference).rename(place)
    Path(url, f"{reference}.meta").rename(f"{place}.meta")
    for end, data in (("", b"x"), (".meta", b"{")):
        local_storage.write(f"runs/r1/broken{HOSTILE.replace('/', '')}{end}", data)
    make_partial(url)
    tells(harmless(fsmedia("policy", "enforce", "--dry-run", "-s", url).output), "would delete 1", "1 failed")


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
