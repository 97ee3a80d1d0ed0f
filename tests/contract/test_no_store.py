"""A root without a store: a mistyped URL must look like no empty store, and nobody may be led to make one there."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from fsmedia import (
    AsyncMediaStore,
    InvalidMediaError,
    InvalidReferenceError,
    MediaContent,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    utc_now,
)
from fsmedia.cli import typer_app
from tests.storages import switch_looks

if TYPE_CHECKING:
    from tests.storages import LocalStorage, ObjectStorage, Storage

COMMANDS = (
    "ls", "ls --run r1", "stats", "stats --no-refresh", "catalog refresh", "catalog show", "enforce", "enforce -n",
    "verify", "verify --repair", "verify --repair=leftovers", "policy list", "policy apply audit x",
    "policy hold x --reason y", "info x", "get x", "rm x", "url x", "gallery --run r1 -o g.html", "erase --run r1",
    "export webdataset shards",
)  # fmt: skip


def opened(storage: Storage, **settings: object) -> MediaStore:
    return MediaStore(storage.url, storage_options=storage.options, **settings)  # type: ignore[arg-type]


def fsmedia(words: list[str], storage: Storage) -> tuple[int, str]:
    given = [word for name, value in storage.options.items() for word in ("--option", f"{name}={json.dumps(value)}")]
    result = CliRunner().invoke(typer_app, ["--store", storage.url, *given, *words])
    return result.exit_code, result.stderr


@pytest.mark.parametrize("some_storage", ["local", "s3-moto"], indirect=True)
def test_every_command_says_that_there_is_no_store(
    some_storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`enforce` at a mistyped URL said that nothing was due, and others what would make a store there."""
    monkeypatch.chdir(tmp_path)
    for line in (*COMMANDS, ["query", "select 1"]):
        code, said = fsmedia(line.split() if isinstance(line, str) else line, some_storage)
        assert (code, "no store at" in said) == (3, True), (line, said)
        assert "init" not in said
    assert some_storage.keys() == set()


def test_a_store_that_is_to_be_read_must_be_there(storage: Storage) -> None:
    with pytest.raises(MediaNotFoundError, match="no store at"):
        opened(storage, read_only=True)

    async def listed() -> list[str]:
        async with AsyncMediaStore(storage.url, storage_options=storage.options, read_only=True) as store:
            return [reference async for reference in store.list()]

    with pytest.raises(MediaNotFoundError, match="no store at"):
        asyncio.run(listed())
    assert storage.keys() == set()
    storage.write("runs/r1/picture.png", b"what PromptKit wrote")
    assert list(opened(storage, read_only=True).list()) == ["runs/r1/picture.png"]
    assert asyncio.run(listed()) == ["runs/r1/picture.png"]


def test_an_empty_store_is_one(storage: Storage) -> None:
    opened(storage).create()
    assert list(opened(storage, read_only=True).list()) == []
    assert fsmedia(["ls"], storage)[0] == 0


def test_looking_costs_one_listing_and_only_without_settings(object_storage: ObjectStorage) -> None:
    object_storage.write("runs/r1/picture.png", b"x")
    with object_storage.counted() as n:
        store = opened(object_storage, read_only=True)
    assert n == {"get": 1, "list": 1, **switch_looks(store)}, n


def test_a_folder_above_a_store_is_none(local_storage: LocalStorage) -> None:
    """All files there are the other store's, and it is named."""
    above = Path(local_storage.url)
    MediaStore(above / "media").create().store_media(MediaContent.from_text("x"), MediaMetadata(run_id="r1"))
    with pytest.raises(MediaNotFoundError, match=f"there is one below it: {above}/media"):
        MediaStore(above, read_only=True)


def test_a_file_is_no_root(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(b"x")
    for url in (file, f"file://{file}", f"{file}/"):
        with pytest.raises(InvalidReferenceError, match="a file can't be a store"):
            MediaStore(url)


def test_a_sweep_of_another_time_is_refused(storage: Storage) -> None:
    """In Python it deleted what was to be kept for a year; the command had refused it."""
    now = utc_now()
    store = opened(storage, now=lambda: now)
    kept = store.store_media(MediaContent.from_text("x"), MediaMetadata(run_id="r1", policy_name="retain-30days"))
    with pytest.raises(InvalidMediaError, match="lies ahead"):
        store.enforce_policy(now=now + timedelta(days=31))
    assert [each.reference for each in store.enforce_policy(now=now + timedelta(days=31), dry_run=True).deleted] == [
        kept
    ]
    assert store.exists(kept)
    store.enforce_policy(now=now + timedelta(hours=23))
    then = opened(storage, now=lambda: now + timedelta(days=31))
    assert len(then.enforce_policy(now=now + timedelta(days=31)).deleted) == 1, "by the store's own clock"


def test_a_duration_lies_ahead_in_both_options(storage: Storage) -> None:
    """`--now 31d` was 31 days ago, `--expires-before 2d` in 2 days."""
    kept = opened(storage).store_media(
        MediaContent.from_text("x"), MediaMetadata(run_id="r1", policy_name="retain-30days")
    )
    for words in (["enforce", "-n", "--now", "31d", "--json"], ["ls", "--expires-before", "31d"]):
        given = [word for key, value in storage.options.items() for word in ("--option", f"{key}={json.dumps(value)}")]
        assert kept in CliRunner().invoke(typer_app, ["--store", storage.url, *given, *words]).stdout
