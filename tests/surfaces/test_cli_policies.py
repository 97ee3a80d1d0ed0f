"""`fsmedia policy`: policies listed, applied and taken away, holds, the due index, rules of buckets."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import HeldMediaError, MediaStore
from tests.surfaces.test_cli import HOSTILE, fsmedia, put, refused
from tests.surfaces.test_cli_bulk import options_of

if TYPE_CHECKING:
    from tests.storages import LocalStorage, Storage

DAY = timedelta(days=1)


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    """Give a store that knows policies by name."""
    MediaStore(local_storage.url, policies={"audit": 365 * DAY, "scratch": timedelta(hours=12)}).create()
    return local_storage.url


def due_keys(url: str) -> list[str]:
    return sorted(str(path.relative_to(url)) for path in Path(url, ".fsmedia/due").rglob("*") if path.is_file())


# -- help, usage ---------------------------------------------------------------------------------------------


def test_help_teaches_with_examples() -> None:
    words = ("list", "apply", "hold", "release")
    for first in (fsmedia("policy"), fsmedia("policy", "--help")):
        assert first.exit_code == 0
        assert all(word in first.stdout for word in words)
    for word in words:
        text = fsmedia("policy", word, "-h")
        assert text.exit_code == 0
        assert f"fsmedia policy {word}" in text.stdout
        assert "Examples:" in text.stdout
        assert "--store" in text.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["aply"], "Did you mean 'apply'?"),
        (["apply", "-s", "x"], "REF"),
        (["apply", "retain", "-s", "x"], "give the policy first"),
        (["apply", "retain", "y"], "no store is named"),
        (["hold", "x", "-s", "y"], "--reason"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(fsmedia("policy", *words), 2)
    assert list(tmp_path.iterdir()) == []


def test_the_store_stands_before_or_after_each_word(url: str) -> None:
    for words in (
        ["-s", url, "policy", "list"],
        ["policy", "-s", url, "list"],
        ["policy", "list", "-s", url],
        ["-s", "else", "policy", "-s", url, "list"],
    ):
        assert "audit" in fsmedia(*words).stdout


# -- list ----------------------------------------------------------------------------------------------------


def test_list_shows_names_default_grammar_and_the_due_index(url: str) -> None:
    text = fsmedia("policy", "list", "-s", url)
    assert text.exit_code == 0
    for fact in ("audit", "365d", "scratch", "12h", "retain-<n>days", "none: media", "complete"):
        assert fact in text.stdout
    facts = json.loads(fsmedia("policy", "list", "-s", url, "--json").stdout)
    assert facts["policies"] == {"audit": 365 * 86400, "scratch": 12 * 3600}
    assert (facts["made"], facts["default_policy"], facts["due_index"]) == (True, None, "complete")
    assert "retain-<n>days" in facts["grammar"]


def test_list_of_no_store_writes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "none"
    assert "no store at" in refused(fsmedia("policy", "list", "-s", place), 3)
    assert not place.exists()


def test_list_of_a_store_without_settings_says_so(tmp_path: Path) -> None:
    Path(tmp_path, "runs", "r1").mkdir(parents=True)
    Path(tmp_path, "runs", "r1", "x.txt").write_text("PromptKit's")
    text = fsmedia("policy", "list", "-s", tmp_path)
    assert text.exit_code == 0
    assert "has no settings" in text.stderr
    assert json.loads(fsmedia("policy", "list", "-s", tmp_path, "--json").stdout)["made"] is False


# -- apply ---------------------------------------------------------------------------------------------------


def test_apply_puts_several_under_a_policy_and_takes_it_away(url: str) -> None:
    references = [put(url), put(url)]
    done = fsmedia("policy", "apply", "retain-30days", *references, "-s", url)
    assert done.exit_code == 0, done.output
    assert [line.split()[-1] for line in done.stdout.splitlines()] == references
    assert all(line.startswith("retain-30days, until ") for line in done.stdout.splitlines())
    records = [MediaStore(url).info(reference) for reference in references]
    assert all(each.expires_at - each.timestamp == 30 * DAY for each in records)
    assert len(due_keys(url)) == 2
    for word in ("--forever", "--none"):
        done = fsmedia("policy", "apply", word, *references, "-s", url)
        assert "no policy, kept for ever" in done.stdout
        assert all(MediaStore(url).info(reference).expires_at is None for reference in references)
    assert "retain, kept for ever" in fsmedia("policy", "apply", "retain", references[0], "-s", url).stdout


def test_apply_says_what_the_next_sweep_will_delete(url: str) -> None:
    reference = put(url, timestamp=datetime.now(UTC) - 3 * DAY)
    assert "audit, until" in fsmedia("policy", "apply", "audit", reference, "-s", url).stdout
    assert "due since" in fsmedia("policy", "apply", "scratch", reference, "-s", url).stdout
    facts = json.loads(fsmedia("policy", "apply", "audit", reference, "-s", url, "--json").stdout)
    record = MediaStore(url).info(reference).model_dump(mode="json")
    assert facts == {"reference": reference, "policy_name": "audit", "expires_at": record["expires_at"]}


def test_apply_refuses_an_unknown_policy_once_and_writes_nothing(url: str) -> None:
    references = [put(url), put(url)]
    text = refused(fsmedia("policy", "apply", "no-such", *references, "-s", url), 1)
    assert "unknown policy 'no-such'" in text
    assert "audit" in text
    assert "stands before" in refused(fsmedia("policy", "apply", references[0], "audit", "-s", url), 1)
    assert due_keys(url) == []


def test_apply_goes_on_past_what_fails(url: str) -> None:
    reference = put(url)
    Path(url, "runs/r1/foreign.png").write_bytes(b"x")
    words = ["policy", "apply", "audit", "runs/r1/none.png", "runs/r1/foreign.png", reference, "-s", url]
    done = fsmedia(*words)
    assert done.exit_code == 1
    assert done.stdout.split()[-1] == reference
    assert "no such media" in done.stderr
    assert "no sidecar" in done.stderr
    assert fsmedia("policy", "apply", "audit", "runs/r1/none.png", "-s", url).exit_code == 3


# -- hold and release ----------------------------------------------------------------------------------------


def test_a_hold_is_shown_refuses_rm_and_is_released(storage: Storage) -> None:
    words = ["-s", storage.url, *options_of(storage)]
    store = MediaStore(storage.url, storage_options=storage.options)
    file = Path(__file__)
    reference = fsmedia("store", file, "--run", "r1", "--policy", "retain-1hours", *words).stdout.strip()
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


def test_a_second_hold_says_what_it_replaces(url: str) -> None:
    reference = put(url)
    assert fsmedia("policy", "hold", reference, "--reason", "one", "-s", url).exit_code == 0
    assert "in place of: one" in fsmedia("policy", "hold", reference, "--reason", "two", "-s", url).stdout
    facts = json.loads(fsmedia("policy", "hold", reference, "--reason", "three", "-s", url, "--json").stdout)
    assert facts == {"reference": reference, "held": True, "reason": "three", "before": "two"}
    facts = json.loads(fsmedia("policy", "release", reference, "-s", url, "--json").stdout)
    assert facts == {"reference": reference, "held": False, "before": "three"}


def test_what_can_t_be_held_is_told_and_the_rest_is_held(url: str) -> None:
    reference = put(url)
    done = fsmedia("policy", "hold", "runs/r1/none.png", reference, "--reason", "case", "-s", url)
    assert (done.exit_code, done.stdout) == (3, f"held  {reference}\n")
    assert "reason" in refused(fsmedia("policy", "hold", reference, "--reason", " ", "-s", url), 1)
    assert fsmedia("policy", "release", "runs/r1/none.png", "-s", url).exit_code == 3


def test_damaged_sidecars_and_left_holds_can_be_held_and_released(url: str) -> None:
    reference, other = put(url), put(url)
    Path(url, f"{reference}.meta").write_bytes(b"{")
    assert fsmedia("policy", "hold", reference, other, "--reason", "look", "-s", url).exit_code == 0
    assert len(list(Path(url, ".fsmedia/holds").iterdir())) == 2
    Path(url, other).unlink()
    Path(url, f"{other}.meta").unlink()
    done = fsmedia("policy", "release", reference, other, "-s", url)
    assert done.exit_code == 3
    assert not list(Path(url, ".fsmedia/holds").glob("*"))


def test_words_of_strangers_command_no_terminal(url: str) -> None:
    reference = put(url, run_id=HOSTILE)
    outputs = [
        fsmedia("policy", "hold", reference, "--reason", HOSTILE, "-s", url).output,
        fsmedia("policy", "hold", reference, "--reason", HOSTILE, "-s", url).output,
        fsmedia("info", reference, "-s", url).output,
        fsmedia("rm", "-n", reference, "-s", url).output,
        fsmedia("rm", reference, "-s", url).output,
        fsmedia("policy", "apply", HOSTILE, reference, "-s", url).output,
        fsmedia("policy", "apply", "audit", HOSTILE, "-s", url).output,
    ]
    for text in outputs:
        assert text.strip()
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\ninjected" not in text


# -- the due index -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [[], ["--threads", "3"]])
def test_a_repair_completes_the_index(threads: list[str], url: str) -> None:
    put(url, policy_name="audit")
    put(url)
    (entry,) = due_keys(url)
    Path(url, entry).unlink()
    settings = Path(url, ".fsmedia/store.json")
    settings.write_text(settings.read_text().replace("complete", "partial"))
    assert "fsmedia verify --repair" in fsmedia("policy", "list", "-s", url).stdout
    looked = fsmedia("verify", "-s", url)
    assert looked.exit_code == 0, "a partial index is nothing wrong"
    assert "to make it complete: fsmedia verify --repair" in looked.stderr
    plan = fsmedia("verify", "--repair", "--dry-run", "-s", url)
    assert plan.exit_code == 0
    assert "the partial due index does not name it" in plan.stdout
    assert due_keys(url) == []
    done = fsmedia("verify", "--repair", *threads, "-s", url)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "1 mended, 0 left" in done.stdout
    assert due_keys(url) == [entry]
    facts = json.loads(fsmedia("verify", "--repair", "-s", url, "--json").stdout)
    assert (facts["media"], facts["findings"], facts["failed"], facts["due_index"]) == (2, [], [], "complete")
