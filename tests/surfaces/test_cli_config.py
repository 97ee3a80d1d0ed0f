"""`fsmedia config`: settings shown and changed, and `policy apply`, which makes a redefined policy count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fsmedia import MediaStore
from fsmedia.format.settings import CHANGEABLE
from tests.storages import Storage
from tests.surfaces.commands import HOSTILE, answers, exits, fsmedia, harmless, put, refused, tells

DAY = timedelta(days=1)
VIEW = "{timestamp:%Y-%m-%d}/{name}{ext}"
SETTINGS = ".fsmedia/store.json"


def test_settings_are_shown_and_changed(storage: Storage, at: list[str]) -> None:
    exits(0, "init", *at, "--policy", "audit=365d", "--default-policy", "audit")
    tells(exits(0, "config", "show", *at).stdout, "policies.audit", "365d", "layouts.by-run", "permissions", "private")
    words = ["config", "set", "default_policy=", "policies.audit=30d", "policies.legal=forever", "policies.none="]
    words += [f"views.by-day={VIEW}", "orphan_grace=48h", *at]
    before = storage.read(SETTINGS)
    plan = exits(0, *words, "--dry-run").stdout
    assert storage.read(SETTINGS) == before
    done = exits(0, *words)
    assert done.stdout == plan
    assert sorted(done.stdout.splitlines()) == [
        "default_policy: audit -> none", "orphan_grace: 1d -> 2d", "policies.audit: 365d -> 30d",
        "policies.legal: none -> for ever", f"views.by-day: none -> {VIEW}",
    ]  # fmt: skip
    tells(done.stderr, "keep the times", "fsmedia policy apply audit --policy audit")
    (shown,) = answers("config", "show", *at)
    assert (shown["made"], shown["policies"], shown["orphan_grace"]) == (
        True,
        {"audit": 30 * 86400, "legal": None},
        172800,
    )
    again = exits(0, *words)
    assert (again.stdout, "so already" in again.stderr) == ("", True)
    (told,) = answers("config", "set", "default_policy=retain-2days", *at)
    assert (told["before"]["default_policy"], told["after"]["default_policy"]) == (None, "retain-2days")
    assert MediaStore(storage.url, storage_options=storage.options).settings.default_policy == "retain-2days"


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("organization=by-session", 2, "fsmedia sync --organization"), ("layouts.by-run=x", 2, "fsmedia sync --layout"),
        ("deduplicate=true", 2, "sync_to(new_root, deduplicate=True)"), ("permissions=shared", 2, "--permissions"),
        ("orphan=1d", 2, "orphan_grace, policies.NAME, views.NAME"), ("policies.=1d", 2, "policies.NAME"),
        ("due_index=complete", 2, "keys are"), ("default_policy", 2, "KEY=VALUE"), ("orphan_grace=", 2, "a duration"),
        ("policies.audit=soon", 2, "a duration"), ("orphan_grace=1h", 1, "can't be lowered from 1 day to 1:00:00"),
        ("policies.audit=", 1, "is the store's default policy"), ("default_policy=nope", 1, "unknown policy 'nope'"),
        ("policies.retain-1days=2d", 1, "begins like"), ("views.photos={name}{ext}", 1, "hide"),
    ],
)  # fmt: skip
def test_what_can_t_be_set_is_one_line_that_says_what_can(word: str, code: int, said: str, url: str) -> None:
    exits(0, "init", "-s", url, "--policy", "audit=365d", "--default-policy", "audit")
    MediaStore(url).fs.pipe_file("photos/a.txt", b"x")
    before = Path(url, SETTINGS).read_bytes()
    for dry in ([], ["--dry-run"]):
        assert said in refused(fsmedia("config", "set", word, *dry, "-s", url), code)
    assert Path(url, SETTINGS).read_bytes() == before
    tells(exits(0, "config", "set", "--help", env={"COLUMNS": "200"}).stdout, *CHANGEABLE)


def test_a_store_that_another_program_wrote_has_no_settings_yet(url: str) -> None:
    assert "no store at" in refused(fsmedia("config", "set", "default_policy=retain", "-s", url), 3)
    Path(url, "runs/r1").mkdir(parents=True)
    Path(url, "runs/r1/x.txt").write_text("PromptKit's")
    tells(exits(0, "config", "show", "-s", url).stderr, "has no settings")
    exits(0, "config", "set", "default_policy=retain", "-n", "-s", url)
    assert answers("config", "show", "-s", url)[0]["made"] is False
    exits(0, "config", "set", "default_policy=retain", "-s", url)
    assert answers("config", "show", "-s", url)[0]["adopted"] is True


def test_names_of_strangers_command_no_terminal(url: str) -> None:
    exits(0, "init", "-s", url)
    harmless(exits(0, "config", "set", f"policies.{HOSTILE}=1d", "-s", url).output)
    for words in (["show"], ["set", f"policies.{HOSTILE}=2d"], ["set", f"{HOSTILE}=1"], ["set", f"views.{HOSTILE}=x"]):
        harmless(fsmedia("config", *words, "-s", url).output)


def test_init_makes_a_shared_store(url: str) -> None:
    tells(exits(0, "init", "-s", url, "--permissions", "shared").stdout, "permissions", "shared")
    assert answers("init", "-s", url)[0]["permissions"] == "shared"
    assert "use private, shared" in refused(fsmedia("init", "-s", url + "2", "--permissions", "group"), 1)


def test_applying_a_redefined_policy_tells_how_many_become_due(url: str) -> None:
    exits(0, "init", "-s", url, "--policy", "audit=365d")
    old, new = (put(url, policy_name="audit", timestamp=datetime.now(UTC) - age) for age in (9 * DAY, DAY))
    exits(0, "config", "set", "policies.audit=7d", "-s", url)
    times = [MediaStore(url).info(each).expires_at for each in (old, new)]
    assert min(times) > datetime.now(UTC) + 300 * DAY, "what is stored stays"
    words = ["policy", "apply", "audit", "--policy", "audit", "-s", url]
    tells(exits(0, *words, "--dry-run").stderr, "1 of 2 media would be due already")
    assert [MediaStore(url).info(each).expires_at for each in (old, new)] == times
    tells(exits(0, *words).stderr, "1 of 2 media are due already")
    assert [each.reference for each in MediaStore(url).enforce_policy(dry_run=True).deleted] == [old]
    tells(exits(0, "policy", "apply", "--forever", new, "-n", "-s", url).stderr, "0 of 1 media would be due")
