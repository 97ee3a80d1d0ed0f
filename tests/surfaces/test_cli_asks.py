"""Commands that delete or rename many: on a terminal they ask first, `--yes` does not ask, a no changes nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, utc_now
from tests.contract.specimens import traces
from tests.surfaces.test_cli import fsmedia
from tests.surfaces.test_cli_process import on_terminal

if TYPE_CHECKING:
    from tests.storages import LocalStorage


@pytest.fixture
def due(local_storage: LocalStorage) -> list[str]:
    """Store two media that are due."""
    store = MediaStore(local_storage.url, now=lambda: utc_now() - timedelta(hours=2))
    made = MediaMetadata(run_id="r1", policy_name="delete-after-5min")
    return [store.store_media(MediaContent.from_text(text), made) for text in ("one", "two")]


ASKED = {
    "enforce": "Delete 2 media (6 B) of",
    "verify --repair": "Repair ",
    "verify --repair=leftovers": "Remove what crashes left in",
    "policy apply retain-30days {0} {1}": "Put 2 media under retain-30days?",
    "sync --delete {empty} {url}": "Delete 2 media of",
}


@pytest.mark.parametrize("line", ASKED)
def test_it_asks_and_a_no_changes_nothing(
    line: str, due: list[str], local_storage: LocalStorage, tmp_path: Path
) -> None:
    """`sync --delete` took a whole mirror, and `enforce` all that was due, without a question."""
    empty = tmp_path / "empty"
    MediaStore(empty).create()
    words = line.format(*due, url=local_storage.url, empty=empty).split()
    if words[0] == "sync":
        words.append("--force")
    else:
        words += ["--store", local_storage.url]
    before = traces(local_storage)
    code, shown = on_terminal(*words, cwd=tmp_path, answer=b"n\n", width=200)
    assert code == 1, shown
    assert ASKED[line].encode() in shown
    assert b"nothing was" in shown
    assert traces(local_storage) == before
    code, shown = on_terminal(*words, "--yes", cwd=tmp_path, width=200)
    assert code == 0, shown
    assert ASKED[line].encode() not in shown
    assert words[0] == "verify" or traces(local_storage) != before


def test_where_nothing_goes_nothing_is_asked(local_storage: LocalStorage, tmp_path: Path) -> None:
    MediaStore(local_storage.url).create()
    code, shown = on_terminal("enforce", "-s", local_storage.url, cwd=tmp_path, width=200)
    assert (code, b"[y/N]" in shown) == (0, False), shown
    words = ["sync", "--delete", local_storage.url, str(tmp_path / "copy")]
    code, shown = on_terminal(*words, cwd=tmp_path, width=200)
    assert (code, b"[y/N]" in shown) == (0, False), shown


def test_a_policy_can_be_tried(due: list[str], local_storage: LocalStorage) -> None:
    before = traces(local_storage)
    words = ["policy", "apply", "retain-30days", *due, "-n", "--json", "-s", local_storage.url]
    planned = [json.loads(line) for line in fsmedia(*words).stdout.splitlines()]
    assert traces(local_storage) == before
    words.remove("-n")
    assert planned == [json.loads(line) for line in fsmedia(*words).stdout.splitlines()]
