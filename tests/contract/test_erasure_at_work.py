"""Erasing while others store, sweep and erase, in threads and in processes; with executors; by asyncio."""

import asyncio
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from threading import Event
from typing import Any

import pytest

from fsmedia import AsyncMediaStore, MediaMetadata, MediaStore, StorageError
from fsmedia.maintenance import erase
from tests.conftest import on
from tests.contract.children import erase_or_store
from tests.contract.children import put_shared as put
from tests.contract.specimens import PNG, png, raised
from tests.deduplicated import below, settled
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE, Storage
from tests.transfers import opened

SOON = timedelta(hours=-23)
FULL = pytest.mark.full


def check(storage: Storage, store: MediaStore, *, deduplicate: bool) -> None:
    """See that every media is whole, that nothing else lies there, and nothing of alice's after one more erasure."""
    # A store that met bytes on their way out gave up a name, whose due entry stays; for an erasure it is too young.
    swept = store.verify(repair="leftovers", grace=timedelta(0), nobody_writes=True)
    assert swept.failed == ()
    assert {each.kind for each in swept.findings} <= {"due"}
    receipt = store.erase(run_id="alice")
    assert receipt.is_complete, receipt.model_dump_json()
    assert not [key for key in sorted(storage.keys()) if "alice" in key]
    assert below(storage, "erasures") == set()
    listed = list(store.list())
    for reference in listed:
        assert PNG in store.retrieve_media(reference).read_bytes()
    if deduplicate:
        assert settled(storage, listed)


@pytest.mark.parametrize(
    ("some_storage", "deduplicate"),
    [
        (LOCAL, False), (LOCAL, True), (MEMORY, True), (S3_MOTO, True),
        pytest.param(MEMORY, False, marks=FULL), pytest.param(S3_MOTO, False, marks=FULL),
    ],
    indirect=["some_storage"],
)  # fmt: skip
def test_threads_store_and_sweep_while_two_erase(some_storage: Storage, deduplicate: bool, full_run: bool) -> None:
    rounds = 25 if full_run and some_storage.name != S3_MOTO else 4
    media = 20 if full_run else 10
    store = opened(some_storage, deduplicate=deduplicate).create()
    first = [put(store, "alice", number) for number in range(media)]
    bobs = [put(store, "bob", number) for number in range(1, media, 3)]
    done = Event()

    def storing(run: str) -> list[str]:
        mine = opened(some_storage)
        return [put(mine, run, number) for number in range(rounds)]

    def sweeping() -> None:
        mine = opened(some_storage)
        while not done.is_set():
            assert mine.enforce_policy(now=mine._now() - SOON).failed == ()
            assert mine.verify(repair="leftovers").failed == ()

    def erasing() -> Any:
        return opened(some_storage).erase(run_id="alice")

    with ThreadPoolExecutor(6) as threads:
        sweep = threads.submit(sweeping)
        storers = [threads.submit(storing, run) for run in ("alice", "bob")]
        receipts = [each.result() for each in [threads.submit(erasing), threads.submit(erasing)]]
        stored = storers[1].result()
        storers[0].result()
        done.set()
        sweep.result()
    assert all(receipt.failed == () for receipt in receipts)
    assert not set(first) & set(store.list())
    kept = {each for number, each in enumerate(stored) if number % 3}
    assert {*bobs, *kept} <= set(store.list())
    check(some_storage, store, deduplicate=deduplicate)


@pytest.mark.parametrize(
    ("some_storage", "deduplicate"),
    [
        (LOCAL, False), (LOCAL, True),
        pytest.param(S3_MOTO, False, marks=FULL), pytest.param(S3_MOTO, True, marks=FULL),
    ],
    indirect=["some_storage"],
)  # fmt: skip
def test_processes_store_and_erase_at_once(some_storage: Storage, deduplicate: bool) -> None:
    store = opened(some_storage, deduplicate=deduplicate).create()
    first = [put(store, "alice", number) for number in range(12)]
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        work = [
            pool.submit(erase_or_store, store.url, some_storage.options, run) for run in (None, "bob", "alice", None)
        ]
        assert [each.result() for each in work] == [0, 0, 0, 0]
    assert not set(first) & set(store.list())
    assert len(list(store.list(run_id="bob"))) == 12
    check(some_storage, store, deduplicate=deduplicate)


# -- executors -------------------------------------------------------------------------------------------------


@on(LOCAL, S3_RCLONE)
def test_threads_do_the_windows(storage: Storage, monkeypatch: Any) -> None:
    monkeypatch.setattr(erase, "SEARCH_WINDOW", 5)
    monkeypatch.setattr(erase, "WINDOW", 4)
    store = opened(storage, deduplicate=True)
    gone = [put(store, "alice", number) for number in range(10)]
    stays = [put(store, "bob", number) for number in range(3)]
    seen: list[int] = []
    with ThreadPoolExecutor(3) as threads:
        receipt = store.erase(run_id="alice", executor=threads, progress=seen.append)
        assert {each.reference for each in receipt.erased} == set(gone)
        assert store.check_receipt(receipt, executor=threads).holds
    assert seen == sorted(seen)
    assert seen[-1] == receipt.examined == 13
    assert list(store.list()) == sorted(stays)


@pytest.mark.parametrize("some_storage", [LOCAL, MEMORY], indirect=True)
def test_processes_do_them_where_they_see_the_storage(some_storage: Storage) -> None:
    store = opened(some_storage, deduplicate=True)
    gone = [put(store, "alice", number) for number in range(5)]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        receipt = store.erase(run_id="alice", executor=pool)
        if some_storage.name == LOCAL:
            assert {each.reference for each in receipt.erased} == set(gone)
            assert store.check_receipt(receipt, executor=pool).holds
        else:
            assert receipt.erased == ()
            assert "one process only" in receipt.failed[0].reason
            receipt = store.erase(run_id="alice")
            put(store, "bob")
            raised(StorageError, store.check_receipt, receipt, match="one process", executor=pool)


def test_a_worker_that_dies_is_told(memory_storage: Storage) -> None:
    class Broken(Executor):
        def submit(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("cannot schedule new futures")

    store = opened(memory_storage)
    gone = put(store, "alice")
    receipt = store.erase(run_id="alice", executor=Broken())
    assert [each.reference for each in receipt.failed] == [gone]
    assert "worker failed" in receipt.failed[0].reason
    assert store.exists(gone)


@on(LOCAL, S3_RCLONE)
def test_asynchronously(storage: Storage) -> None:
    async def erased() -> Any:
        async with AsyncMediaStore(storage.url, storage_options=storage.options) as store:
            for run in ("alice", "bob"):
                await store.store_media(png(), MediaMetadata(run_id=run))
            receipt = await store.erase(run_id="alice")
            return receipt, await store.check_receipt(receipt), [each async for each in store.list()]

    receipt, report, left = asyncio.run(erased())
    assert len(receipt.erased) == 1
    assert report.holds
    assert [each.split("/")[1] for each in left] == ["bob"]
