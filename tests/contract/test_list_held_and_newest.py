"""What is held, and what is newest: by `list`, by `info_many`, on the command line, and what it costs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from fsmedia import InvalidMediaError, MediaContent, MediaMetadata, MediaStore
from fsmedia.cli import typer_app
from fsmedia.format import keys
from tests.catalogs import old_enough
from tests.storages import ObjectStorage

if TYPE_CHECKING:
    from tests.storages import Storage

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def opened(storage: Storage, **settings: object) -> MediaStore:
    return MediaStore(storage.url, storage_options=storage.options, **settings)  # type: ignore[arg-type]


def put(store: MediaStore, number: int, run: str = "r1") -> str:
    made = MediaMetadata(run_id=run, timestamp=NOON + timedelta(hours=number))
    return store.store_media(MediaContent.from_text(f"{number}"), made)


@pytest.mark.parametrize("deduplicate", [False, True])
def test_what_is_held_can_be_asked_for(storage: Storage, deduplicate: bool) -> None:
    store = opened(storage, deduplicate=deduplicate)
    made = [put(store, number, f"r{number % 2}") for number in range(6)]
    assert list(store.list(held=True)) == []
    for number in (1, 4, 5):
        store.hold(made[number], f"case {number}")
    held = sorted(made[number] for number in (1, 4, 5))
    assert list(store.list(held=True)) == held
    assert list(store.list(held=False)) == sorted(set(made) - set(held))
    assert list(store.list(held=True, run_id="r1")) == sorted([made[1], made[5]])
    assert list(store.list(held=True, limit=1)) == held[:1]
    store.release(made[4])
    assert made[4] not in list(store.list(held=True))
    storage.write(keys.hold_key(made[2]), b'{"reference": "' + made[2].encode() + b'", "rea')
    assert made[2] in list(store.list(held=True)), "its hold is damaged, and holds"
    store.delete_many([made[0]])
    storage.remove(f"{made[5]}.meta")
    assert list(store.list(held=True)) == sorted([made[1], made[2]])


@pytest.mark.parametrize("deduplicate", [False, True])
def test_many_records_tell_what_is_held(storage: Storage, deduplicate: bool) -> None:
    """`info_many` said `hold=None` of media that nothing may delete."""
    store = opened(storage, deduplicate=deduplicate)
    made = [put(store, number) for number in range(4)]
    store.hold(made[2], "case 4711")
    assert store.info_many(made) == [store.info(each) for each in made]
    assert [each.hold for each in store.info_many(made)] == [None, None, "case 4711", None]
    answers = store.info_many([*made, "runs/r1/none.txt"], on_error="return")
    assert [getattr(each, "hold", "missing") for each in answers] == [None, None, "case 4711", None, "missing"]


def test_what_holds_cost(object_storage: ObjectStorage) -> None:
    """One listing of the holds in all, and a read of each that matters."""
    store = opened(object_storage)
    made = [put(store, number) for number in range(10)]
    for each in made[:2]:
        store.hold(each, "case")
    with object_storage.counted() as n:
        assert len(store.info_many(made)) == 10
    assert n == {"list": 1, "get": 12, "head": 10}, n
    with object_storage.counted() as n:
        assert len(list(store.list(held=True))) == 2
    assert n == {"list": 1, "get": 4, "head": 2}, n
    with object_storage.counted() as n:
        assert len(list(store.list(held=False))) == 8
    assert n == {"list": 2}, n


def test_the_newest_come_first(storage: Storage) -> None:
    store = opened(storage)
    order = [3, 0, 5, 1, 4, 2]
    made = {number: put(store, number, f"r{number % 2}") for number in order}
    assert list(store.list(newest=3)) == [made[5], made[4], made[3]]
    assert list(store.list(newest=2, run_id="r0")) == [made[4], made[2]]
    assert list(store.list(newest=99, until=NOON + timedelta(hours=2))) == [made[1], made[0]]
    assert list(store.list(newest=0)) == []
    for words in ({"newest": -1}, {"newest": True}, {"newest": 2, "limit": 1}, {"newest": 2, "held": True}):
        with pytest.raises(InvalidMediaError, match="newest"):
            list(store.list(**words))


@pytest.mark.parametrize("some_storage", ["local", "s3-moto"], indirect=True)
def test_a_catalog_answers_what_is_newest(some_storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with and without one, also for what came after it."""
    monkeypatch.setattr("fsmedia.catalog.snapshots._WORTH", {False: 1, True: 1})
    store = opened(some_storage)
    made = [put(store, (number * 37) % 101) for number in range(101)]
    without = list(store.list(newest=5))
    with old_enough():
        store.catalog()
    later = put(store, 1000)
    store.delete_media(without[0])
    assert list(store.list(newest=5)) == [later, *without[1:]]
    assert set(without) < set(made)
    if isinstance(some_storage, ObjectStorage):
        with some_storage.counted() as n:
            list(store.list(newest=5))
        assert n["get"] < 70, "the first 64 sidecars and the catalog"


def test_the_command_line_lists_both(storage: Storage) -> None:
    store = opened(storage)
    made = [put(store, number) for number in range(4)]
    store.hold(made[1], "case 4711")
    given = [word for key, value in storage.options.items() for word in ("--option", f"{key}={json.dumps(value)}")]

    def ls(*words: str) -> list[str]:
        done = CliRunner().invoke(typer_app, ["--store", storage.url, *given, "ls", *words])
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()

    assert ls("--held") == [made[1]]
    assert json.loads(ls("--held", "--json")[0])["hold"] == "case 4711"
    assert ls("--not-held") == sorted({*made} - {made[1]})
    assert ls("--newest", "2") == [made[3], made[2]]
    refused = CliRunner().invoke(typer_app, ["--store", storage.url, *given, "ls", "--newest", "2", "--held"])
    assert (refused.exit_code, "stands without" in refused.stderr) == (2, True)
