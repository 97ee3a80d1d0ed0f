"""`fsmedia enforce`: what went, what stayed and what failed; again and again until a signal."""

from __future__ import annotations

import json
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from fsmedia.cli.signals import StopSignal
from tests.surfaces.test_cli import HOSTILE, fsmedia, put, refused
from tests.surfaces.test_cli_bulk import options_of
from tests.surfaces.test_cli_process import DEADLINE, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storages import LocalStorage, Storage

LONG_AGO = datetime.now(UTC) - timedelta(days=3)


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    return local_storage.url


def put_due(url: str, **fields: object) -> str:
    """Store a media that was due two days ago."""
    return put(url, timestamp=LONG_AGO, policy_name="retain-1days", **fields)


def make_partial(url: str) -> None:
    settings = Path(url, ".fsmedia/store.json")
    settings.write_text(settings.read_text().replace("complete", "partial"))


# -- one sweep -----------------------------------------------------------------------------------------------


def test_help_teaches_with_examples() -> None:
    text = fsmedia("enforce", "-h")
    assert text.exit_code == 0
    assert "fsmedia enforce" in text.stdout
    assert "Examples:" in text.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--every", "1minute!"], "is not a duration such as 90s, 30m"),
        (["--every", "5"], "is not a duration"),
        (["--every", "-5m"], "is not a duration"),
        (["--every", "0s"], "longer than nothing"),
        (["--now", "soonish"], "ISO 8601"),
        (["--now", "2026-01-01", "--every", "1m"], "stands still"),
        (["--now", "9999-01-01T00:00:00Z"], "lies ahead"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_wrong_usage_is_one_line_and_changes_nothing(words: list[str], said: str, url: str) -> None:
    assert said in refused(fsmedia("enforce", *words, "-s", url), 2)
    assert not Path(url).exists()


def test_a_dry_run_says_what_a_sweep_then_does(storage: Storage) -> None:
    words = ["-s", storage.url, *options_of(storage)]
    file = Path(__file__)
    gone, held, kept = (
        fsmedia("store", file, "--run", "r1", "--policy", policy, *words).stdout.strip()
        for policy in ("delete-after-1min", "delete-after-1min", "retain-30days")
    )
    fsmedia("policy", "hold", held, "--reason", "case", *words)
    later = ["--now", (datetime.now(UTC) + timedelta(minutes=4)).isoformat()]
    keys = storage.keys()
    for dry, verb in ((["--dry-run"], "would delete"), ([], "deleted")):
        done = fsmedia("enforce", *dry, *later, *words)
        assert (done.exit_code, done.stderr) == (0, "")
        first, second, total = done.stdout.splitlines()
        assert first.startswith(verb)
        assert first.endswith(gone)
        assert "delete-after-1min  20" in first
        assert second.split() == ["skipped", held, "held"]
        assert f"2 examined, {verb} 1 (" in total
        assert "1 skipped, 0 failed" in total
        if dry:
            assert storage.keys() == keys
    assert {held, kept} <= storage.keys()
    assert gone not in set(storage.keys())


def test_json_is_one_document_with_all_media(url: str) -> None:
    references = {put_due(url) for _ in range(3)}
    report = json.loads(fsmedia("enforce", "--dry-run", "--json", "-s", url).stdout)
    assert {each["reference"] for each in report["deleted"]} == references
    assert report["bytes_freed"] == 3 * len(b"some bytes")
    assert (report["dry_run"], report["due_index"], report["examined"]) == (True, "complete", 3)
    assert report["deleted"][0]["reason"].startswith("policy retain-1days let it go at ")
    assert report["took"] >= 0
    assert set(MediaStore(url).list()) == references


def test_a_dry_run_tells_of_another_time(url: str) -> None:
    reference = put(url, policy_name="retain-30days")
    assert reference in fsmedia("enforce", "-n", "--now", "in 31d", "-s", url).stdout
    assert reference not in fsmedia("enforce", "-n", "--now", "in 29d", "-s", url).stdout
    assert "would delete 0" in fsmedia("enforce", "-n", "--now", "2001-01-01T00:00:00Z", "-s", url).stdout


def test_what_fails_is_told_once_with_its_name_and_the_rest_goes(url: str) -> None:
    broken, fine = put_due(url), put_due(url)
    Path(url, f"{broken}.meta").write_bytes(b"{")
    for dry in (["--dry-run"], []):
        done = fsmedia("enforce", *dry, "-s", url)
        assert done.exit_code == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.count(broken) == 1
        assert done.stderr.count("\n") == 1
        assert fine in done.stdout
        assert "1 failed" in done.stdout
    assert list(MediaStore(url).list()) == [broken]
    assert json.loads(fsmedia("enforce", "--json", "-s", url).stdout)["failed"][0]["reference"] == broken


def test_a_partial_index_names_the_command_that_completes_it(url: str) -> None:
    put_due(url)
    make_partial(url)
    done = fsmedia("enforce", "--dry-run", "-s", url)
    assert done.exit_code == 0
    assert "fsmedia verify --repair" in done.stderr
    fsmedia("verify", "--repair", "-s", url)
    assert fsmedia("enforce", "-s", url).stderr == ""


def test_what_promptkit_may_share_stays_unless_told(url: str) -> None:
    reference = "runs/r1/shared.png"
    MediaStore(url).create()
    Path(url, reference).parent.mkdir(parents=True)
    Path(url, reference).write_bytes(b"x")
    sidecar = {
        "run_id": "r1",
        "mime_type": "image/png",
        "policy_name": "retain-1days",
        "timestamp": f"{LONG_AGO:%FT%TZ}",
    }
    Path(url, f"{reference}.meta").write_text(json.dumps(sidecar))
    Path(url, ".dedup_index.json").write_text(json.dumps({"0" * 64: reference}))
    make_partial(url)
    done = fsmedia("enforce", "-s", url)
    assert f"skipped  {reference}  PromptKit's index names it" in done.stdout
    assert Path(url, reference).exists()
    assert reference in fsmedia("enforce", "--delete-shared", "-s", url).stdout
    assert not Path(url, reference).exists()


@pytest.mark.parametrize("threads", [[], ["--threads", "4"]])
def test_long_tables_end_with_how_many_more(threads: list[str], url: str) -> None:
    store = MediaStore(url)
    references = sorted(put_due(url) for _ in range(53))
    for reference in references[:2]:
        store.hold(reference, "case")
    done = fsmedia("enforce", "--dry-run", *threads, "-s", url).stdout.splitlines()
    assert len(done) == 50 + 1 + 2 + 1
    assert "and 1 more would delete; --all shows them" in done
    assert "--all" not in fsmedia("enforce", "--dry-run", "--all", "-s", url).stdout
    assert len(json.loads(fsmedia("enforce", *threads, "--json", "-s", url).stdout)["deleted"]) == 51
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
    done = fsmedia("enforce", "--dry-run", "-s", url)
    assert "would delete 1" in done.stdout
    assert "1 failed" in done.stdout
    assert "\x1b" not in done.output
    assert "\u202e" not in done.output
    assert "\ninjected" not in done.output


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
    done = fsmedia("enforce", "-s", url)
    assert done.exit_code == code
    assert ", stopped early" in done.stdout.splitlines()[-1]
    assert list(MediaStore(url).list()) == [reference]


# -- again and again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_every_sweeps_at_once_and_ends_at_a_signal(number: signal.Signals, url: str, tmp_path: Path) -> None:
    reference = put_due(url)
    words = ["enforce", "--every", "1h", "-s", url]
    with started(*words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert reference in process.stdout.readline().decode()
        assert b"1 examined, deleted 1" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(DEADLINE) == 0
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"stopped\n")
    assert not Path(url, reference).exists()


def test_every_goes_on_with_a_line_of_json_for_each_sweep(url: str, tmp_path: Path) -> None:
    broken = put_due(url)
    sidecar = Path(url, f"{broken}.meta")
    good = sidecar.read_bytes()
    sidecar.write_bytes(b"{")
    make_partial(url)
    words = ["enforce", "--every", "1s", "--dry-run", "--json", "-s", url]
    with started(*words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(process.stdout.readline())
        assert (len(first["failed"]), first["deleted"]) == (1, [])
        sidecar.write_bytes(good)
        assert any(json.loads(line)["deleted"] for line in process.stdout)  # in one of the next sweeps
        process.send_signal(signal.SIGTERM)
        process.stdout.close()
        assert process.wait(DEADLINE) in (0, 141)  # a line may have been on its way
        assert process.stderr.read().count(b"verify --repair") == 1


def test_every_goes_on_past_a_sweep_that_fails(url: str, tmp_path: Path) -> None:
    put_due(url)
    settings = Path(url, ".fsmedia/store.json")
    make_partial(url)
    good = settings.read_bytes()
    with started(
        "enforce", "--every", "1s", "--dry-run", "--json", "-s", url, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert "error" not in json.loads(process.stdout.readline())
        settings.write_bytes(b"{")  # a partial store reads its settings for each sweep
        assert any("store.json" in json.loads(line).get("error", "") for line in process.stdout)
        settings.write_bytes(good)
        assert any("error" not in json.loads(line) for line in process.stdout)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 0


def test_every_ends_when_nobody_reads_any_more(url: str, tmp_path: Path) -> None:
    put_due(url)
    words = ["enforce", "--every", "1s", "--dry-run", "-s", url]
    with started(*words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
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
