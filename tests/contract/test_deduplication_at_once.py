"""Many hands on the same few contents at once: nothing dangles, nothing is lost, nothing is left at rest."""

from __future__ import annotations

import random
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaNotFoundError, MediaStore, StoreConflictError
from tests.deduplicated import settled, told
from tests.storages import MEMORY, S3_MOTO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storages import Storage

CONTENTS = [bytes([number]) * (number * 1000) for number in range(5)]


def opened(url: str, options: dict[str, Any]) -> MediaStore:
    return MediaStore(url, storage_options=options, durability="rename", deduplicate=True)


def come_and_go(store: MediaStore, who: int, rounds: int) -> dict[str, int]:
    """Store, copy, move, change and delete at random; return what is left of one's own: reference -> content.

    Everybody keeps to references of their own, so each must be there, whole, whatever the others do to the bytes.
    """
    chance = random.Random(who)
    mine: dict[str, int] = {}
    for number in range(rounds):
        act = chance.random()
        if act < 0.4 or not mine:
            which = chance.randrange(len(CONTENTS))
            content = MediaContent.from_bytes(CONTENTS[which], "text/plain")
            mine[store.store_media(content, MediaMetadata(run_id=f"w{who}", message_idx=number))] = which
            continue
        reference = chance.choice(sorted(mine))
        if act < 0.55:
            target = f"runs/w{who}-{number}/{reference.rpartition('/')[2]}"
            try:
                (store.fs.cp if act < 0.5 else store.fs.mv)(reference, target)
            except StoreConflictError:
                continue  # a mark of somebody's release that found markers after all: said, and nothing happened
            mine[target] = mine[reference]
            if act >= 0.5:
                del mine[reference]
        elif act < 0.6:
            store.apply_policy(reference, "retain-30days")
        elif act < 0.7:
            assert store.retrieve_media(reference).read_bytes() == CONTENTS[mine[reference]]
        else:
            store.delete_media(reference)
            del mine[reference]
            with pytest.raises(MediaNotFoundError):
                store.retrieve_media(reference)
    return mine


def check(storage: Storage, kept: dict[str, int]) -> None:
    store = opened(storage.url, storage.options)
    assert list(store.list()) == sorted(kept)
    for reference, which in kept.items():
        assert storage.read(told(reference).data) == CONTENTS[which], "dangles"
    assert settled(storage, kept)
    store.delete_many(kept)
    assert settled(storage, [])


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads take turns a thousand times more often than they do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize(("some_storage", "rounds"), [(MEMORY, 60), (S3_MOTO, 10)], indirect=["some_storage"])
def test_threads(some_storage: Storage, rounds: int, full_run: bool) -> None:
    store = opened(some_storage.url, some_storage.options).create()
    kept: dict[str, int] = {}
    with ThreadPoolExecutor(8) as threads:
        todo = rounds * (20 if full_run else 1)
        for mine in threads.map(lambda who: come_and_go(store, who, todo), range(8)):
            kept |= mine
    check(some_storage, kept)


def work(url: str, who: int, rounds: int) -> dict[str, int]:
    """Run by a process of its own."""
    return come_and_go(opened(url, {}), who, rounds)


def test_processes(local_storage: Storage, full_run: bool) -> None:
    opened(local_storage.url, {}).create()
    kept: dict[str, int] = {}
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for left in [pool.submit(work, local_storage.url, who, 2000 if full_run else 100) for who in range(4)]:
            kept |= left.result()
    check(local_storage, kept)


@pytest.mark.parametrize("some_storage", [MEMORY], indirect=True)
@pytest.mark.usefixtures("hasty_threads")
def test_sweeps_of_orphans_among_them_take_nothing(some_storage: Storage, full_run: bool) -> None:
    """With the grace that is theirs: nothing is old, so whatever is under way stays."""
    store = opened(some_storage.url, some_storage.options).create()
    kept: dict[str, int] = {}
    with ThreadPoolExecutor(5) as threads:
        writers = [threads.submit(come_and_go, store, who, 600 if full_run else 60) for who in range(4)]
        while not all(each.done() for each in writers):
            assert {each.kind for each in store.verify(repair="leftovers").findings} <= {"unmarked"}
        for each in writers:
            kept |= each.result()
    check(some_storage, kept)


def test_a_release_without_its_second_look_is_caught(
    request: pytest.FixtureRequest, memory_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above can fail: here the data go although somebody has just put a marker."""
    from fsmedia.core import blobs

    store = opened(memory_storage.url, {}).create()
    content = MediaContent.from_bytes(b"x", "text/plain")
    first = store.store_media(content, MediaMetadata(run_id="r1"))
    second: list[str] = []

    def hasty(backend: Any, pointer: Any) -> bool:
        if backend.holds(pointer.refs_folder):
            return False
        if not second:
            second.append(store.store_media(content, MediaMetadata(run_id="r2")))  # between the look and the removal
        backend.delete([pointer.data_key])
        return True

    monkeypatch.setattr(blobs, "release", hasty)
    store.delete_media(first)
    with pytest.raises(FileNotFoundError):
        check(memory_storage, dict.fromkeys(second, 1))
