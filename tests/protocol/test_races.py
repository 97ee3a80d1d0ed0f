"""Many at once in one store: nobody loses anything, nobody is told of an error, nobody sees a part."""

import json
import multiprocessing
import random
import threading
from collections import ChainMap
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaNotFoundError, MediaStore
from tests.conftest import make_storage
from tests.protocol.worlds import STORE_JSON, empty_folders, fresh_world
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE, Storage
from tests.transfers import opened

THREADS, ROUNDS = 8, 20
SPAWN = multiprocessing.get_context("spawn")


def content(text: str) -> MediaContent:
    return MediaContent.from_bytes(text.encode(), "text/plain")


def at_once(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Let threads begin at the same time; what one raises comes out."""
    gate = threading.Barrier(number)

    def begin(who: int) -> Any:
        gate.wait()
        return work(who)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(begin, range(number)))


def come_and_go(store: MediaStore, who: int, rounds: int, runs: list[str]) -> dict[str, str]:
    """Store, look, delete most of it; return what is left."""
    kept = {}
    dice = random.Random(who)
    for number in range(rounds):
        text = f"{who}-{number}"
        run = dice.choice(runs)
        if number % 4 == 1:
            with store.create_media(MediaMetadata(run_id=run), "text/plain") as writer:
                writer.write(text.encode())
            reference = writer.reference
        else:
            reference = store.store_media(content(text), MediaMetadata(run_id=run))
        assert store.retrieve_media(reference).read_bytes() == text.encode()
        if number % 5 == 0:
            kept[reference] = text
        else:
            store.delete_media(reference)
            assert not store.exists(reference)
    return kept


def check_left(storage: Storage, store: MediaStore, kept: dict[str, str]) -> None:
    assert list(store.list()) == sorted(kept)
    assert storage.keys() == {STORE_JSON, *kept, *(f"{reference}.meta" for reference in kept)}
    for reference, text in kept.items():
        assert storage.read(reference) == text.encode()
    assert empty_folders(storage) == set()


@pytest.mark.parametrize("kind", [LOCAL, MEMORY])
@pytest.mark.parametrize("runs", [["r1"], ["r1", "r2", "r3/x"]], ids=["one-folder", "folders"])
def test_threads_store_and_delete(kind: str, runs: list[str], tmp_path: Path) -> None:
    """A delete removes the folder it emptied while a store is about to write there."""
    world = fresh_world(kind, tmp_path, first=True)
    store = world.open()
    left = at_once(THREADS, lambda who: come_and_go(store, who, ROUNDS, runs))
    check_left(world.storage, store, dict(ChainMap(*left)))


@pytest.mark.parametrize("durability", ["fsync", "rename"])
def test_an_empty_folder_that_comes_and_goes(durability: str, tmp_path: Path) -> None:
    """Each delete empties the folder: of store and delete the folder's removal is the whole race."""
    world = fresh_world(LOCAL, tmp_path, first=True, durability=durability)
    stores = [world.open().create() for _ in range(4)]

    def work(who: int) -> None:
        for _ in range(60):
            stores[who].delete_media(stores[who].store_media(content("x"), MediaMetadata(run_id="only")))

    at_once(4, work)
    check_left(world.storage, world.open(), {})


def test_deletes_of_one_media(tmp_path: Path) -> None:
    for kind in (LOCAL, MEMORY):
        world = fresh_world(kind, tmp_path)
        store = world.open()
        for _ in range(8):
            reference = store.store_media(content("x"), MediaMetadata(run_id="shared"))
            at_once(4, lambda _, store=store, reference=reference: store.delete_media(reference))
            assert not store.exists(reference)
        assert world.check() == []
        assert empty_folders(world.storage) == set()


def test_processes_store_and_delete(tmp_path: Path) -> None:
    world = fresh_world(LOCAL, tmp_path, first=True)
    store = world.open()
    with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        left = [pool.submit(come_and_go, store, who, 60, ["r1", "r2"]) for who in range(2)]
        kept = dict(ChainMap(*(each.result() for each in left)))
    assert len(kept) == 24
    check_left(world.storage, world.open(), kept)


# -- the first write ---------------------------------------------------------------------------------------
def check_founded(storage: Storage) -> None:
    """Check the settings: one file, whole, and of a root in which nobody else had put anything."""
    settings = json.loads(storage.read(STORE_JSON))
    assert settings["fsmedia"] == 1
    assert settings["organization"] == "by-run"
    assert [key for key in storage.keys() if key.startswith(".fsmedia/")] == [STORE_JSON]  # noqa: SIM118
    assert not settings.get("adopted"), "our own writers were taken for strangers"


def found(store: MediaStore, who: int) -> str:
    if who % 2:
        return store.store_media(content(f"{who}"), MediaMetadata(run_id="r1"))
    with store.create_media(MediaMetadata(run_id="r1"), "text/plain") as writer:
        writer.write(f"{who}".encode())
    return writer.reference


@pytest.mark.parametrize("name", [LOCAL, MEMORY, S3_MOTO, S3_RCLONE])
def test_threads_found_a_store(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    for number in range(6 if name in (LOCAL, MEMORY) else 1):
        storage = make_storage(name, request, tmp_path / str(number))
        stores = [opened(storage) for _ in range(8)]
        references = at_once(8, lambda who, stores=stores: found(stores[who], who))
        assert list(stores[0].list(run_id="r1")) == sorted(references)
        check_founded(storage)


def test_processes_found_a_store(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=SPAWN) as pool:
        list(pool.map(abs, range(3)))  # all are there and idle
        for _ in range(6):
            world = fresh_world(LOCAL, tmp_path, first=True)
            references = [f.result() for f in [pool.submit(found, world.open(), who) for who in range(3)]]
            assert list(world.open().list()) == sorted(references)
            check_founded(world.storage)


# -- readers among writers ---------------------------------------------------------------------------------
def read_while(store: MediaStore, done: threading.Event, deleted: set[str]) -> int:
    """List and read until the writers are done; what can't be read must have been deleted."""
    seen = 0
    while not (done.is_set() and seen):  # what the writers leave can be read, by whoever had no turn before
        for reference in store.list():
            try:
                record = store.info(reference)
                with store.open(reference) as file:
                    data = file.read()
            except MediaNotFoundError:
                assert reference in deleted, f"{reference} was listed and is not there"
                continue
            assert len(data) == record.size_bytes == 3000, "a part"
            seen += 1
    return seen


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize("kind", [LOCAL, MEMORY])
def test_a_listing_shows_no_part(kind: str, tmp_path: Path) -> None:
    world = fresh_world(kind, tmp_path, first=True, durability="rename")
    store = world.open().create()
    done, deleted = threading.Event(), set()

    def write(who: int) -> None:
        mine: list[str] = []
        for number in range(60):
            data = bytes([number]) * 3000
            mine.append(store.store_media(MediaContent.from_bytes(data, "text/plain"), MediaMetadata(run_id="r1")))
            if len(mine) > 5:
                deleted.add(mine[0])
                store.delete_media(mine.pop(0))

    with ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(read_while, world.open(), done, deleted) for _ in range(2)]
        try:
            at_once(3, write)
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in reading)
    assert len(list(store.list())) == 15


def test_a_listing_by_sidecars_among_deletes(tmp_path: Path) -> None:
    """What is deleted between its listing and the reading of its sidecar is not listed, and is no error."""
    for kind in (LOCAL, MEMORY):
        world = fresh_world(kind, tmp_path, first=True)
        store = world.open()
        references = sorted(store.store_media(content("x"), MediaMetadata(run_id="r1")) for _ in range(100))
        listing = store.list(mime_type="text/*")
        first = [next(listing) for _ in range(10)]
        for reference in references[:90]:
            store.delete_media(reference)
        assert first == references[:10]
        rest = list(listing)
        assert set(references[90:]) <= set(rest) <= set(references[10:])


@pytest.mark.parametrize("kind", [LOCAL, MEMORY])
def test_a_reader_that_was_there_before_the_settings(kind: str, tmp_path: Path) -> None:
    """It assumed a mode while there was no store; who founds it in another mode must not hide media from it."""
    world = fresh_world(kind, tmp_path, first=True)
    reader = world.open()
    assert list(reader.list()) == []
    writer = MediaStore(world.storage.url, organization="by-session")
    reference = writer.store_media(content("x"), MediaMetadata(session_id="s1", run_id="r1"))
    assert list(reader.list()) == [reference]
    assert list(reader.list(session_id="s1")) == [reference]
    assert list(reader.list(run_id="r1")) == [reference]
    assert list(world.open().list(run_id="r1")) == [reference]
