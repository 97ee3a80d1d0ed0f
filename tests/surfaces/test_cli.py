"""The command line: stores made and looked at, times, exit codes, one-line errors, names of strangers."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.cli import output, typer_app
from tests.style.project import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.storages import LocalStorage, Storage

ROOT = Path(__file__).parents[2]
HOSTILE = "[red]x[/red] \x1b[31m\u202e\ninjected"


def fsmedia(*words: str | os.PathLike[str], stdin: bytes = b"", env: dict[str, str] | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(
        typer_app, [os.fspath(word) for word in words], input=stdin, env=env, catch_exceptions=False
    )


def child(
    *words: str | os.PathLike[str], cwd: Path, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fsmedia.cli", *map(os.fspath, words)],
        cwd=cwd, input=stdin, env=environment(env), capture_output=True, check=False, timeout=60,
    )  # fmt: skip


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child that finds this package, wherever it runs."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "", **(more or {})}


def refused(result: Result, code: int) -> str:
    """Check that a command failed with one line, and return that line."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.endswith("\n")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    return str(result.stderr)


def put(url: str, *, now: Callable[[], datetime] | None = None, data: bytes = b"some bytes", **fields: object) -> str:
    """Store a media of run r1, unless told otherwise."""
    clock = {} if now is None else {"now": now}
    store = MediaStore(url, **clock)  # type: ignore[arg-type]
    kind = str(fields.pop("mime_type", "text/plain"))
    caption = fields.pop("caption", None)
    metadata = MediaMetadata(**{"run_id": "r1", **fields})  # type: ignore[arg-type]
    return store.store_media(MediaContent.from_bytes(data, kind, caption=caption), metadata)


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    return local_storage.url


# -- help, version, usage ----------------------------------------------------------------------------------


def test_the_commands_stand_in_groups() -> None:
    first = fsmedia("--help", env={"COLUMNS": "100"}).stdout
    places = [first.index(f" {group} ") for group in ("Store and look", "Keep and let go", "Operate", "Exchange")]
    assert places == sorted(places)
    assert " Commands " not in first  # every command is in one of them


def test_each_command_of_the_help_has_a_file_of_its_own() -> None:
    shown = re.findall(r"^\u2502 ([a-z][a-z-]*) +\S", fsmedia("--help", env={"COLUMNS": "100"}).stdout, re.MULTILINE)
    files = [path.stem.removeprefix("cmd_") for path in (PACKAGE / "cli").glob("cmd_*.py")]
    assert len(shown) > 20
    assert sorted(name.replace("-", "_") for name in shown) == sorted(files)


def test_help_teaches_with_examples_and_exit_codes() -> None:
    first = fsmedia("--help")
    assert first.exit_code == 0
    for word in ("demo", "init", "store", "ls", "info", "get", "rm", "FSMEDIA_URL", "AWS_ENDPOINT_URL", "Exit codes"):
        assert word in first.stdout
    assert fsmedia().exit_code == 0
    assert "Usage" in fsmedia().stdout
    assert "fsmedia[notebook]" in fsmedia("gallery", "-h").stdout
    for command in ("demo", "init", "store", "ls", "info", "get", "rm"):
        text = fsmedia(command, "-h")
        assert text.exit_code == 0
        assert f"fsmedia {command}" in text.stdout
        assert "--store" in text.stdout


def test_version() -> None:
    assert fsmedia("--version").stdout.startswith("fsmedia")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lst"], "Did you mean 'ls'?"),
        (["ls", "--stor", "x"], "--store"),
        (["ls", "-s", "x", "--limit", "-1"], "--limit"),
        (["ls", "-s", "x", "--since", "yesterdayish"], "yesterdayish"),
        (["ls", "-s", "x", "--json", "--long"], "choose one"),
        (["ls", "-s", ""], "--store"),
        (["ls"], "no store is named"),
        (["info"], "REF"),
        (["store", "-", "--run", "r"], "no store is named"),
        (["init", "-s", "x", "--policy", "audit"], "NAME=DURATION"),
        (["init", "-s", "x", "--policy", "audit=1y"], "1y"),
        (["init", "-s", "x", "--policy", "a=1d", "--policy", "a=2d"], "twice"),
        (["init", "-s", "x", "--layout", "by-run"], "MODE=TEMPLATE"),
        (["get", "-s", "x", "y", "-o", "-", "--json"], "--json"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(fsmedia(*words), 2)
    assert list(tmp_path.iterdir()) == []


# -- init --------------------------------------------------------------------------------------------------


def test_init_says_what_it_made_and_can_be_repeated(storage: Storage) -> None:
    words = ["init", "--store", storage.url]
    for name, value in storage.options.items():
        words += ["--option", f"{name}={json.dumps(value)}"]
    settings = ["--organization", "by-session", "--policy", "audit=365d", "--policy", "legal=forever"]
    first = fsmedia(*words, *settings, "--default-policy", "audit")
    assert first.exit_code == 0, first.output
    assert first.stdout.startswith("made a store in")
    assert storage.keys() == {".fsmedia/store.json"}
    made = storage.read(".fsmedia/store.json")
    for again in ([], settings):
        result = fsmedia(*words, *again)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("there was a store already in")
        for fact in ("by-session", "sessions/", "audit (365d)", "legal (for ever)"):
            assert fact in result.stdout
    assert storage.read(".fsmedia/store.json") == made
    document = json.loads(fsmedia(*words, "--json").stdout)
    assert document["created"] is False
    assert document["policies"] == {"audit": 365 * 86400, "legal": None}
    assert "leave organization out" in refused(fsmedia(*words, "--organization", "by-run"), 1)


def test_init_takes_layouts(url: str) -> None:
    template = "by-run=by/{run_id}/{name}{ext}"
    result = fsmedia("init", "-s", url, "--layout", template, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["layouts"]["by-run"] == "by/{run_id}/{name}{ext}"
    assert put(url).startswith("by/r1/")
    refused(fsmedia("init", "-s", url + "2", "--layout", "by-run={run_id.__class__}"), 1)


def test_init_takes_views(url: str) -> None:
    template = "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}"
    words = ("init", "-s", url, "--view", f"by-day={template}", "--view", "flat={name}{ext}")
    result = fsmedia(*words, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["views"] == {"by-day": template, "flat": "{name}{ext}"}
    assert "by-session, by-conversation, by-run, by-day, flat" in " ".join(fsmedia("init", "-s", url).stdout.split())
    assert "leave views out" in refused(fsmedia("init", "-s", url, "--view", "flat=x/{name}{ext}"), 1)
    refused(fsmedia("init", "-s", url + "2", "--view", "by-day={user}/{name}{ext}"), 1)
    assert "NAME=TEMPLATE" in refused(fsmedia("init", "-s", url + "2", "--view", "by-day"), 2)


# -- ls ----------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(url: str) -> dict[str, str]:
    """Four media by a short name."""
    old = datetime.now(UTC) - timedelta(days=10)
    return {
        "text": put(url, caption="a caption"),
        "old": put(url, timestamp=old, message_idx=1, provider_id="openai"),
        "image": put(url, run_id="r2", mime_type="image/png", data=b"\x89PNG\r\n\x1a\n", conversation_id="c"),
        "short": put(url, run_id="r2", message_idx=2, policy_name="retain-12hours", session_id="s"),
    }


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], "text old image short"),
        (["--run", "r1"], "text old"),
        (["--conversation", "c"], "image"),
        (["--session", "s"], "short"),
        (["--provider", "openai"], "old"),
        (["--mime", "image/*"], "image"),
        (["--policy", "retain-12hours"], "short"),
        (["--since", "2d"], "text image short"),
        (["--since", "2 days ago", "--run", "r1"], "text"),
        (["--until", "3 days"], "old"),
        (["--until", "2001-01-01"], ""),
        (["--since", "2001-01-01T00:00+02:00"], "text old image short"),
        (["--expires-before", "1d"], "short"),
        (["--expires-before", "in 1h"], ""),
        (["--limit", "1"], "text"),
        (["--limit", "0"], ""),
    ],
)
def test_ls_takes_the_words_of_list(words: list[str], names: str, url: str, filled: dict[str, str]) -> None:
    result = fsmedia("ls", "--store", url, *words)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [filled[name] for name in names.split()]
    told = result.stderr != ""
    assert told == (not names and "--limit" not in words)


def test_the_store_stands_before_the_command_or_after_it_or_in_the_environment(
    url: str, filled: dict[str, str], tmp_path: Path
) -> None:
    everything = list(filled.values())
    elsewhere = str(tmp_path / "elsewhere")
    assert fsmedia("--store", url, "ls").stdout.split() == everything
    assert fsmedia("-s", elsewhere, "ls", "-s", url).stdout.split() == everything
    assert fsmedia("ls", env={"FSMEDIA_URL": url}).stdout.split() == everything
    assert fsmedia("ls", "-s", elsewhere, env={"FSMEDIA_URL": url}).stdout == ""
    assert not Path(elsewhere).exists()


def test_ls_json_is_a_record_per_line(url: str, filled: dict[str, str]) -> None:
    records = [json.loads(line) for line in fsmedia("ls", "-s", url, "--json").stdout.splitlines()]
    assert [record["reference"] for record in records] == list(filled.values())
    assert records[0]["caption"] == "a caption"
    assert records == [MediaStore(url).info(r).model_dump(mode="json") for r in filled.values()]


def test_ls_long_shows_size_type_time_policy_expiry_and_the_whole_reference(url: str, filled: dict[str, str]) -> None:
    lines = fsmedia("ls", "-s", url, "-l").stdout.splitlines()
    assert [line.split()[-1] for line in lines] == list(filled.values())
    assert lines[0].split()[:3] == ["10", "B", "text/plain"]
    assert "keep" in lines[0]
    assert "retain-12hours" in lines[3]
    expires = MediaStore(url).info(filled["short"]).expires_at
    assert f"{expires:%Y-%m-%d %H:%M}Z" in lines[3]


def test_ls_goes_on_past_a_damaged_sidecar_and_says_so(url: str, filled: dict[str, str]) -> None:
    Path(url, filled["old"] + ".meta").write_bytes(b"{")
    result = fsmedia("ls", "-s", url, "--json")
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == len(filled) - 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert fsmedia("ls", "-s", url).stdout.split() == list(filled.values())


def test_ls_of_nothing_tells_an_empty_store_from_none(url: str) -> None:
    assert "no store at" in refused(fsmedia("ls", "-s", url), 3)
    assert not Path(url).exists()
    fsmedia("init", "-s", url)
    result = fsmedia("ls", "-s", url)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no media in" in result.stderr


# -- info --------------------------------------------------------------------------------------------------


def test_info_shows_what_is_known(url: str, filled: dict[str, str]) -> None:
    result = fsmedia("info", "-s", url, filled["text"], filled["short"])
    assert result.exit_code == 0
    for fact in (filled["text"], "10 bytes", "a caption", MediaStore(url).info(filled["text"]).sha256, "in 11 hours"):
        assert str(fact) in result.stdout
    documents = [
        json.loads(line) for line in fsmedia("info", "-s", url, "--json", *filled.values()).stdout.splitlines()
    ]
    assert [document["reference"] for document in documents] == list(filled.values())


def test_info_tells_what_is_missing_and_shows_the_rest(url: str, filled: dict[str, str]) -> None:
    assert "no such media" in refused(fsmedia("info", "-s", url, "runs/r1/none.png"), 3)
    both = fsmedia("info", "-s", url, "runs/r1/none.png", filled["text"])
    assert both.exit_code == 3
    assert filled["text"] in both.stdout
    refused(fsmedia("info", "-s", url, "runs/r1"), 1)
    refused(fsmedia("info", "-s", url, "../x"), 1)


# -- strangers and secrets ---------------------------------------------------------------------------------


def test_names_of_strangers_are_neither_markup_nor_commands(url: str) -> None:
    reference = put(url, run_id=HOSTILE, caption=HOSTILE, provider_id=HOSTILE)
    foreign = Path(url, "runs/r1") / HOSTILE.replace("/", "")
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"x")
    outputs = [
        fsmedia("ls", "-s", url).stdout,
        fsmedia("ls", "-s", url, "-l").stdout,
        fsmedia("info", "-s", url, reference, f"runs/r1/{foreign.name}").output,
        fsmedia("info", "-s", url, reference, "--json").stdout,
        fsmedia("rm", "-n", "-s", url, f"runs/r1/{foreign.name}", HOSTILE).output,
        fsmedia("info", "-s", url, HOSTILE).output,
        fsmedia("store", "-s", url, HOSTILE, "--run", "r").output,
        fsmedia("ls", "-s", HOSTILE, "--since", HOSTILE).output,
        fsmedia(HOSTILE).output,
    ]
    for number, text in enumerate(outputs):
        assert text.strip()
        assert "\x1b" not in text
        assert number < 2 or "\u202e" not in text  # a pipe gets names as they are, but for control characters
        assert "\ninjected" not in text
    assert "[red]x[/red]" in outputs[2]
    assert json.loads(outputs[3])["caption"] == HOSTILE
    assert fsmedia("ls", "-s", url, "-0").stdout.split("\0")[0] == f"runs/r1/{foreign.name}"


def test_the_secrets_of_options_are_shown_nowhere(url: str) -> None:
    secret = "hunter22hunter22"
    for words in (
        ["ls", "-s", url, "--option", f"secret={secret}"],
        ["ls", "-s", url, "--option", secret],
        ["ls", "-s", url, "--option", f"={secret}"],
        ["ls", "-s", "s3://bucket/x", "--option", f"secrt={secret}"],
        ["--option", f"a={secret}", "--option", f"a={secret}", "ls", "-s", url],
    ):
        assert secret not in refused(fsmedia(*words), 1 if "=" in words[-1][1:] and words[0] == "ls" else 2)


def test_warnings_of_the_package_are_warnings_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_warnings()
    output.show_warnings()
    logging.getLogger("fsmedia.retention").warning("a \x1b[31m%s", "word")
    assert capsys.readouterr().err == "warning: a \\x1b[31mword\n"


def test_sizes_and_json_are_readable() -> None:
    assert [output.size_text(n) for n in (0, 1023, 1024, 10**7)] == ["0 B", "1023 B", "1.0 KiB", "9.5 MiB"]
    assert output.exact_size_text(1) == "1 byte"
    text = output.json_text({"a": "é\x9b\U000e0001"})
    assert "é" in text
    assert text.isprintable()
    assert json.loads(text) == {"a": "é\x9b\U000e0001"}
