"""The command line: help, wrong usage, stores made, named and looked at, times, exit codes, names of strangers."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import fsspec
import pytest
import typer
from fsspec.config import conf
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fsmedia import AsyncMediaStore, InvalidMediaError, InvalidReferenceError, MediaContent, MediaMetadata, MediaStore
from fsmedia.cli import app, commands, output, typer_app
from fsmedia.exchange import export_webdataset, import_folder
from fsmedia.format import keys
from fsmedia.models.text import size_text
from tests.storages import LocalStorage, Storage
from tests.style.project import PACKAGE
from tests.surfaces.commands import HOSTILE, answers, exits, fsmedia, harmless, on_terminal, put, refused, tells

# -- help, version, usage ----------------------------------------------------------------------------------


@cache
def help_of(line: str) -> str:
    """Return what `--help` shows."""
    return str(exits(0, *line.split(), "--help", env={"COLUMNS": "100"}).stdout)


def test_the_commands_stand_in_groups_and_each_has_a_file_of_its_own() -> None:
    first = help_of("")
    groups = [first.index(f" {group} ") for group in ("Store and look", "Keep and let go", "Operate", "Exchange")]
    assert groups == sorted(groups)
    assert " Commands " not in first  # every command is in one of them
    shown = re.findall(r"^\u2502 ([a-z][a-z-]*) +\S", first, re.MULTILINE)
    files = [path.stem.removeprefix("cmd_") for path in (PACKAGE / "cli").glob("cmd_*.py")]
    assert len(shown) > 20
    assert sorted(name.replace("-", "_") for name in shown) == sorted(files)
    assert fsmedia("--version").stdout.startswith("fsmedia")
    tells(first, "FSMEDIA_URL", "AWS_ENDPOINT_URL", "Exit codes")
    tells(exits(0).stdout, "Usage")
    for group in ("policy", "catalog", "import", "export"):
        assert fsmedia(group, env={"COLUMNS": "100"}).stdout == help_of(group)


HELPS = {
    "demo": [], "init": [], "config show": [], "config set": ["--dry-run", "orphan_grace=48h"], "store": [],
    "ls": ["'model=gpt-*'", "Quote"], "info": [], "get": [], "rm": [], "annotate": ["--set"], "gallery": ["notebook"],
    "policy list": ["Examples:"], "policy apply": ["Examples:"], "policy hold": ["Examples:"],
    "policy release": ["Examples:"], "adopt": ["--dry-run", "--pattern"], "policy enforce": ["Examples:"],
    "catalog refresh": [], "catalog show": [], "catalog query": [], "stats": [],
    "erase": ["--dry-run", "--receipt", "--check", "--forget-log", "--versions", "fsmedia erase --run r1 --dry-run"],
    "sync": ["fsmedia sync ./media s3://bucket/media --dry-run", "--delete", "--run", "--mapping", "--option",
             "--to-option", "--json"],
    "import promptarena": ["--dry-run"], "import folder": ["--dry-run"], "import inspect": ["--dry-run"],
    "import claude-code": ["--dry-run", "base64"], "import codex": ["--dry-run", "base64"],
    "export imagefolder": ["--dry-run"], "export audiofolder": ["--dry-run"], "export webdataset": ["--dry-run"],
    "check-storage": ["--json", "handled", "Exits with"],
    "upload-url": ["$FSMEDIA_TICKET_KEY", "--form"], "confirm-upload": ["$FSMEDIA_TICKET_KEY"],
    "messages externalize": ["--in-place"], "messages inline": ["--in-place"],
}  # fmt: skip


@pytest.mark.parametrize("command", HELPS)
def test_help_teaches_with_examples(command: str) -> None:
    group, _, inner = command.partition(" ")
    tells(help_of(command), f"fsmedia {command} ", *(["--store"] if command != "sync" else []), *HELPS[command])
    tells(help_of(""), group)
    tells(help_of(group), inner)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lst", "Did you mean 'ls'?"),
        ("ls --stor x", "--store"),
        ("ls -s x --limit -1", "--limit"),
        ("ls -s x --since yesterdayish", "yesterdayish"),
        ("ls -s x --json --long", "choose one"),
        ("ls -s ''", "--store"),
        ("ls", "no store is named"),
        ("info", "REF"),
        ("store - --run r", "no store is named"),
        ("init -s x --policy audit", "NAME=DURATION"),
        ("init -s x --policy audit=1y", "1y"),
        ("init -s x --policy a=1d --policy a=2d", "twice"),
        ("init -s x --layout by-run", "MODE=TEMPLATE"),
        ("init -s x --view by-day", "NAME=TEMPLATE"),
        ("get -s x y -o - --json", "--json"),
        ("gallery -s x --limit 0", "--limit"),
        ("gallery -s x --sort random", "--sort"),
        ("verify -s x --repair=bogus", "for '--repair': 'bogus' is not one of 'all', 'leftovers'; see:"),
        ("policy aply", "Did you mean 'apply'?"),
        ("policy apply -s x", "it stands first"),
        ("policy apply retain -s x", "name media, or say which by conditions"),
        ("rm -s x", "name media, or say which by conditions"),
        ("rm -s x ref --run r1", "beside conditions"),
        ("enforce -s x", "is called: fsmedia policy enforce"),
        ("policy apply retain y", "no store is named"),
        ("policy hold x -s y", "--reason"),
        ("policy enforce -s x --every 1minute!", "is not a duration such as 90s, 30m"),
        ("policy enforce -s x --every 5", "is not a duration"),
        ("policy enforce -s x --every -5m", "is not a duration"),
        ("policy enforce -s x --every 0s", "longer than nothing"),
        ("policy enforce -s x --now soonish", "ISO 8601"),
        ("policy enforce -s x --now 2026-01-01 --every 1m", "stands still"),
        ("policy enforce -s x --now 9999-01-01T00:00:00Z", "lies ahead"),
        ("policy enforce -s x --threads 0", "--threads"),
    ],
)
def test_wrong_usage_is_one_line(line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(fsmedia(*shlex.split(line)), 2)
    assert list(tmp_path.iterdir()) == []


# -- init --------------------------------------------------------------------------------------------------


def test_init_says_what_it_made_and_can_be_repeated(storage: Storage, at: list[str]) -> None:
    words = ["init", *at]
    settings = ["--organization", "by-session", "--policy", "audit=365d", "--policy", "legal=forever"]
    first = exits(0, *words, *settings, "--default-policy", "audit")
    assert first.stdout.startswith("made a store in")
    assert storage.keys() == {".fsmedia/store.json"}
    made = storage.read(".fsmedia/store.json")
    for again in ([], settings):
        result = exits(0, *words, *again)
        assert result.stdout.startswith("there was a store already in")
        tells(result.stdout, "by-session", "sessions/", "audit (365d)", "legal (for ever)")
    assert storage.read(".fsmedia/store.json") == made
    (facts,) = answers(*words)
    assert (facts["created"], facts["policies"]) == (False, {"audit": 365 * 86400, "legal": None})
    assert "leave organization out" in refused(fsmedia(*words, "--organization", "by-run"), 1)


def test_init_takes_the_settings_of_bytes_layouts_and_views(url: str) -> None:
    tells(exits(0, "init", "-s", url, "--deduplicate", "--orphan-grace", "2d12h").stdout, "shared", "2d12h")
    (shown,) = answers("init", "-s", url)
    assert (shown["deduplicate"], shown["orphan_grace"]) == (True, 216_000)
    assert keys.pointer_of(put(url)) is not None
    for grace, code in (("3d", 1), ("soon", 2)):
        assert "orphan" in refused(fsmedia("init", "-s", url, "--orphan-grace", grace), code)
    url += "2"
    template, other = "by/{run_id}/{name}{ext}", "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}"
    views = ("--view", f"by-day={other}", "--view", "flat={name}{ext}")
    (made,) = answers("init", "-s", url, "--layout", f"by-run={template}", *views)
    assert (made["layouts"]["by-run"], made["views"]) == (template, {"by-day": other, "flat": "{name}{ext}"})
    assert put(url).startswith("by/r1/")
    tells(" ".join(fsmedia("init", "-s", url).stdout.split()), "by-session, by-conversation, by-run, by-day, flat")
    assert "leave views out" in refused(fsmedia("init", "-s", url, "--view", "flat=x/{name}{ext}"), 1)
    for wrong in ("--layout=by-run={run_id.__class__}", "--view=by-day={user}/{name}{ext}"):
        refused(fsmedia("init", "-s", url + "3", wrong), 1)


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


def test_ls_takes_the_words_of_list(url: str, filled: dict[str, str]) -> None:
    for line, names in {
        "": "text old image short",
        "--run r1": "text old",
        "--conversation c": "image",
        "--session s": "short",
        "--provider openai": "old",
        "--mime image/*": "image",
        "--policy retain-12hours": "short",
        "--since 2d": "text image short",
        "--since '2 days ago' --run r1": "text",
        "--until '3 days'": "old",
        "--until 2001-01-01": "",
        "--since 2001-01-01T00:00+02:00": "text old image short",
        "--expires-before 1d": "short",
        "--expires-before 'in 1h'": "",
        "--limit 1": "text",
        "--limit 0": "",
    }.items():
        result = fsmedia("ls", "--store", url, *shlex.split(line))
        assert result.exit_code == 0, line
        assert result.stdout.splitlines() == [filled[name] for name in names.split()], line
        assert (result.stderr != "") == (not names and "--limit" not in line), line


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


def test_ls_shows_a_record_a_line_as_json_and_all_that_matters_when_long(url: str, filled: dict[str, str]) -> None:
    records = answers("ls", "-s", url)
    assert records == [MediaStore(url).info(r).model_dump(mode="json") for r in filled.values()]
    assert records[0]["caption"] == "a caption"
    lines = fsmedia("ls", "-s", url, "-l").stdout.splitlines()
    assert [line.split()[-1] for line in lines] == list(filled.values())
    assert lines[0].split()[:3] == ["10", "B", "text/plain"]
    expires = MediaStore(url).info(filled["short"]).expires_at
    tells(lines[0], "keep")
    tells(lines[3], "retain-12hours", f"{expires:%Y-%m-%d %H:%M}Z")


def test_ls_goes_on_past_a_damaged_sidecar_and_says_so(url: str, filled: dict[str, str]) -> None:
    Path(url, filled["old"] + ".meta").write_bytes(b"{")
    result = exits(1, "ls", "-s", url, "--json")
    assert len(result.stdout.splitlines()) == len(filled) - 1
    assert (result.stderr[:7], result.stderr.count("\n")) == ("error: ", 1)
    assert fsmedia("ls", "-s", url).stdout.split() == list(filled.values())


def test_ls_of_nothing_tells_an_empty_store_from_none(url: str) -> None:
    assert "no store at" in refused(fsmedia("ls", "-s", url), 3)
    assert not Path(url).exists()
    fsmedia("init", "-s", url)
    result = exits(0, "ls", "-s", url)
    assert (result.stdout, "no media in" in result.stderr) == ("", True)


def test_info_shows_what_is_known_and_tells_what_is_missing(url: str, filled: dict[str, str]) -> None:
    shown = exits(0, "info", "-s", url, filled["text"], filled["short"]).stdout
    tells(shown, filled["text"], "10 bytes", "a caption", MediaStore(url).info(filled["text"]).sha256, "in 11 hours")
    assert [each["reference"] for each in answers("info", "-s", url, *filled.values())] == list(filled.values())
    assert "no such media" in refused(fsmedia("info", "-s", url, "runs/r1/none.png"), 3)
    tells(exits(3, "info", "-s", url, "runs/r1/none.png", filled["text"]).stdout, filled["text"])
    for wrong in ("runs/r1", "../x"):
        refused(fsmedia("info", "-s", url, wrong), 1)


# -- strangers and secrets ---------------------------------------------------------------------------------


def test_names_of_strangers_are_neither_markup_nor_commands(url: str, local_storage: LocalStorage) -> None:
    reference = put(url, run_id=HOSTILE, caption=HOSTILE, provider_id=HOSTILE)
    foreign = f"runs/r1/{HOSTILE.replace('/', '')}"
    local_storage.write(foreign, b"x")
    for words in ([], ["-l"]):  # a pipe gets names as they are, but for control characters
        named = fsmedia("ls", "-s", url, *words).stdout
        assert ("\x1b" in named, "\ninjected" in named) == (False, False)
    lines = (
        ["info", "-s", url, reference, foreign], ["info", "-s", url, reference, "--json"], ["info", "-s", url, HOSTILE],
        ["rm", "-n", "-s", url, foreign, HOSTILE], ["store", "-s", url, HOSTILE, "--run", "r"],
        ["ls", "-s", HOSTILE, "--since", HOSTILE], [HOSTILE],
    )  # fmt: skip
    shown, record, *_ = (harmless(fsmedia(*words).output) for words in lines)
    assert "[red]x[/red]" in shown
    assert json.loads(record)["caption"] == HOSTILE
    assert fsmedia("ls", "-s", url, "-0").stdout.split("\0")[0] == foreign


def test_the_secrets_of_options_are_shown_nowhere(url: str) -> None:
    secret = "hunter22hunter22"
    for code, *words in (
        (1, "ls", "-s", url, "--option", f"secret={secret}"),
        (2, "ls", "-s", url, "--option", secret),
        (2, "ls", "-s", url, "--option", f"={secret}"),
        (1, "ls", "-s", "s3://bucket/x", "--option", f"secrt={secret}"),
        (2, "--option", f"a={secret}", "--option", f"a={secret}", "ls", "-s", url),
    ):
        assert secret not in refused(fsmedia(*words), code)


def test_warnings_of_the_package_are_warnings_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_warnings()
    output.show_warnings()
    logging.getLogger("fsmedia.retention").warning("a \x1b[31m%s", "word")
    assert capsys.readouterr().err == "warning: a \\x1b[31mword\n"


def test_sizes_and_json_are_readable() -> None:
    assert [size_text(n) for n in (0, 1023, 1024, 10**7)] == ["0 B", "1023 B", "1.0 KiB", "9.5 MiB"]
    assert output.exact_size_text(1) == "1 byte"
    text = output.json_text({"a": "é\x9b\U000e0001"})
    assert ("é" in text, text.isprintable()) == (True, True)
    assert json.loads(text) == {"a": "é\x9b\U000e0001"}


# -- names of stores ------------------------------------------------------------------------------------------


def run(*words: str) -> tuple[int, list[str], str]:
    result = fsmedia(*words)
    return result.exit_code, result.stdout.splitlines(), result.stderr


def test_names_come_from_the_environment_and_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines, errors = run("stores")
    assert (code, lines, "no store has a name" in errors) == (0, [], True)
    monkeypatch.setenv("FSMEDIA_STORE_LAB", "s3://key-77:secret-77@bucket/media")
    stores = {"cold": {"url": "gs://b/m", "storage_options": {"token": "secret-88"}}}
    monkeypatch.setitem(conf, "media", {"stores": stores})
    assert run("stores") == (0, ["@cold  gs://b/m", "@lab  s3://bucket/media"], "")
    cold, lab = answers("stores")
    assert lab == {"name": "lab", "url": "s3://bucket/media", "opens": "media://@lab/"}
    assert "secret" not in f"{cold}{lab}"
    monkeypatch.setitem(conf, "media", {"stores": {"cold": 5}})
    refused(fsmedia("stores"), 1)  # an entry of another form is one line


@pytest.fixture
def lab(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a store with one media, which is called @lab from now on; return its reference."""
    stores = {"lab": {"url": storage.url, "storage_options": storage.options}}
    monkeypatch.setitem(conf, "media", {"stores": stores})
    made = MediaStore(storage.url, storage_options=storage.options)
    return made.store_media(MediaContent.from_text("hello"), MediaMetadata(run_id="r1"))


def test_a_named_store_is_named_everywhere(lab: str, storage: Storage, tmp_path: Path) -> None:
    """`MediaStore("@lab")` made a folder of that name."""
    named = MediaStore("@lab")
    assert named.url == MediaStore(storage.url, storage_options=storage.options).url
    assert list(named.list()) == [lab]
    assert named.fs.cat_file(lab) == b"hello"
    assert dict(named.url_options) == dict(MediaStore(storage.url, storage_options=storage.options).url_options)

    async def found() -> bool:
        async with AsyncMediaStore("@lab") as store:
            return await store.exists(lab)

    assert asyncio.run(found())
    assert run("ls", "--store", "@lab") == (0, [lab], "")
    assert run("policy", "list", "-s", "@lab")[0] == 0
    copy = tmp_path / "copy"
    assert run("sync", "@lab", str(copy))[0] == 0
    assert run("sync", str(copy), "@lab")[1][-1].startswith("1 examined, copied 0")
    assert MediaStore(copy).sync_to("@lab").unchanged == 1
    with pytest.raises(InvalidMediaError, match="can't go into a store"):
        export_webdataset(MediaStore(copy), "@lab")
    with pytest.raises(InvalidMediaError, match="can't import itself"):
        import_folder(named, "@lab")


def test_a_name_that_is_none_lists_those_that_are(lab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = run("ls", "-s", "@lap")
    assert (code, "no store is called @lap; known: @lab" in errors) == (1, True), errors
    with pytest.raises(InvalidReferenceError, match=r"@name alone; a folder of that name is \./@lab/runs"):
        MediaStore("@lab/runs")
    assert list(tmp_path.glob("@*")) == []
    assert MediaStore("./@lap").create().url == str(tmp_path / "@lap"), "a folder may be called so all the same"


def test_the_environment_may_give_a_name_too(lab: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSMEDIA_URL", "@lab")
    assert run("ls") == (0, [lab], "")
    assert list(MediaStore().list()) == [lab]
    assert fsspec.filesystem("media").cat_file(lab) == b"hello"


@pytest.mark.parametrize(
    ("url", "spelling"),
    [
        ("media://@lab", "write @lab"),
        ("media://@lab/runs/r1", "write @lab"),
        ("media://runs/r1::memory://lab", "write what stands behind ::"),
        ("media://runs/r1", "write the store's own URL"),
    ],
)
def test_media_is_no_root(url: str, spelling: str, tmp_path: Path) -> None:
    """A store behind media:// lost its sidecars to itself."""
    with pytest.raises(InvalidReferenceError, match="is no root of a store") as caught:
        MediaStore(url)
    assert spelling in str(caught.value)
    assert spelling in run("ls", "-s", url)[2]
    made = MediaStore(tmp_path / "media").create()
    made.store_media(MediaContent.from_text("hello"), MediaMetadata(run_id="r1"))
    with pytest.raises(InvalidReferenceError, match="is no root of a store"):
        made.sync_to(url)


# -- durations, instants, KEY=VALUE ---------------------------------------------------------------------------


NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
DURATIONS = {
    "90s": 90, "30m": 1800, "5min": 300, "12h": 43_200, "2d": 172_800, "1d12h": 129_600, "1 day 12 hours": 129_600,
    "3 weeks": 1_814_400, " 2D ": 172_800,
}  # fmt: skip


@pytest.mark.parametrize("text", DURATIONS)
def test_durations(text: str) -> None:
    assert app.parse_duration(text, "--x") == timedelta(seconds=DURATIONS[text])


@pytest.mark.parametrize("text", ["", " ", "2", "d", "2y", "-2d", "2 d x", "1.5h", "٣d", "2months", "9" * 12 + "w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="not a duration"):
        app.parse_duration(text, "--x")


@given(st.integers(1, 10**9))
def test_a_duration_is_spelled_as_it_is_read(seconds: int) -> None:
    assert app.parse_duration(app.spell_duration(seconds), "--x") == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "ahead", "wanted"),
    [
        ("now", False, NOW),
        ("2d", False, NOW - timedelta(days=2)),
        ("2d", True, NOW + timedelta(days=2)),
        ("2d ago", False, NOW - timedelta(days=2)),
        ("2d ago", True, NOW - timedelta(days=2)),
        ("in 2d", False, NOW + timedelta(days=2)),
        ("2026-03-01", False, datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01 12:30Z", False, datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
        ("2026-03-01T12:30:00+02:00", False, datetime(2026, 3, 1, 10, 30, tzinfo=UTC)),
        (None, False, None),
    ],
)
def test_instants(text: str | None, ahead: bool, wanted: datetime | None) -> None:
    """A bare duration looks back, or ahead where that is meant."""
    assert app.parse_instant(text, "--x", now=NOW, ahead=ahead) == wanted


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "999999999d", "in ", " ago", "0001-01-01T00:00+14:00"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="ISO 8601"):
        app.parse_instant(text, "--x", now=NOW)


def test_storage_options_are_json_where_they_parse_as_such() -> None:
    given_words = ["key=abc", "anon=true", 'client_kwargs={"region_name": "x"}', "token=a=b", "empty=", 'pin="123"']
    wanted = {"key": "abc", "anon": True, "client_kwargs": {"region_name": "x"}, "token": "a=b", "empty": ""}
    assert app.parse_storage_options(given_words) == {**wanted, "pin": "123"}


def leaves() -> Iterator[tuple[list[str], Any]]:
    """Give the words of each command that does something, and the command."""
    for name in typer.main.get_command(typer_app).commands:  # type: ignore[attr-defined]
        loaded = commands.load(name)
        inner = getattr(loaded, "commands", {})
        yield from (([name, each], command) for each, command in inner.items())
        if not inner:
            yield [name], loaded


def test_no_help_loses_words_or_shows_a_flag_as_a_value() -> None:
    """`pip install 'fsmedia[catalog]'` stood there without `[catalog]`, and `--json` as `<bool>`."""
    for words, command in leaves():
        shown = help_of(" ".join(words))
        assert "<bool>" not in shown, words
        # Each takes the same words for the same: one document a line for programs, nothing but results for scripts.
        assert {"--json", "--quiet"} <= {option for each in command.params for option in each.opts}, words
        module = sys.modules[f"fsmedia.cli.cmd_{words[0].replace('-', '_')}"]
        text = getattr(module, f"{words[-1].upper().replace('-', '_')}_HELP", getattr(module, "HELP", ""))
        examples = text.partition("Examples:\n")[2].split()
        assert examples, words
        assert "".join(examples) in "".join(shown.split()), words


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_options_and_names_of_stores(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"FSMEDIA_STORE_LAB": "s3://bucket/lab", "FSMEDIA_STORE_LOCAL": "/media"}
    named["_FSMEDIA_COMPLETE"] = f"complete_{shell}"
    for typed, wanted in {
        "po": ["policy"], "policy en": ["enforce"], "ls --mi": ["--mime"], "ann": ["annotate"],
        "annotate --dis": ["--discard"], "rm --att": ["--attribute"], "ls -s @l": ["@lab", "@local"],
    }.items():  # fmt: skip
        line = f"fsmedia {typed}"
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_TYPER_COMPLETE_ARGS": line,
                 "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # fmt: skip
        shown = CliRunner().invoke(typer_app, [], env={**named, **asked}, prog_name="fsmedia").stdout
        assert all(each in shown for each in wanted), (typed, shown)
    # Typer asks which of the processes above this one is a shell: with each of these, and also where there is none.
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    script = CliRunner().invoke(typer_app, ["--show-completion"], prog_name="fsmedia").stdout
    assert f"_FSMEDIA_COMPLETE=complete_{shell}" in script


def test_a_reference_is_never_broken_over_two_lines(url: str, tmp_path: Path) -> None:
    reference = put(url, run_id="a-run-with-a-very-long-name-" * 3)
    for words in (["info", reference], ["init"], ["policy", "list"]):
        _, shown = on_terminal(*words, "-s", url, cwd=tmp_path, width=40)
        whole = reference if words[0] == "info" else url
        assert whole in shown.decode().replace("\x1b[1m", "").replace("\x1b[0m", "")
