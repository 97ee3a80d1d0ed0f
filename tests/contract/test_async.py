"""`AsyncMediaStore` over each storage: every method once, side by side with what a `MediaStore` sees."""

from __future__ import annotations

import asyncio
import io
import pickle
import threading
from datetime import timedelta
from inspect import isasyncgen, iscoroutine

import pytest

from fsmedia import (
    AsyncMediaStore,
    InvalidMediaError,
    InvalidReferenceError,
    MediaContent,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    MediaTooLargeError,
    ReadOnlyStoreError,
    StoreConflictError,
)
from tests.contract.specimens import PNG, R1, STORE_JSON, of_size, png, traces


@pytest.fixture
def open_async(storage, clock):
    """Open an asynchronous store over the storage, with the test's clock."""

    def opened(**settings):
        return AsyncMediaStore(storage.url, **{"storage_options": storage.options, "now": clock, **settings})

    return opened


def test_every_method_does_what_the_synchronous_one_does(storage, open_store, open_async):
    plain = open_store()

    async def session():
        async with open_async() as store:
            reference = await store.store_media(png(caption="a bear"), MediaMetadata(run_id="r1", session_id="s1"))
            assert storage.keys() == {reference, f"{reference}.meta", STORE_JSON}
            assert storage.read(reference) == PNG
            content = await store.retrieve_media(reference)
            assert content.model_dump() == plain.retrieve_media(reference).model_dump()
            assert await asyncio.to_thread(content.read_bytes) == PNG
            assert await store.info(reference) == plain.info(reference)
            assert await store.metadata(reference) == plain.metadata(reference)
            assert await store.exists(reference) is True
            assert await store.folder(run_id="r1") == "runs/r1"
            with await store.open(reference) as file:
                assert file.read() == PNG
            assert [found async for found in store.list()] == [reference]
            assert [found async for found in store.list(run_id="r1", mime_type="image/*")] == [reference]
            assert [found async for found in store.list(run_id="r2")] == []
            assert [found async for found in store.list(limit=0)] == []
            await store.delete_media(reference)
            await store.delete_media(reference)
            assert await store.exists(reference) is False
            assert await store.create() is store
        assert storage.keys() == {STORE_JSON}

    asyncio.run(session())


def test_media_are_written_as_they_come(storage, open_async):
    data = of_size(9 * 2**20)

    async def session():
        async with open_async() as store:
            async with store.create_media(R1, "video/mp4") as writer:
                for start in range(0, len(data), 2_000_000):
                    assert await writer.write(data[start : start + 2_000_000]) == len(data[start : start + 2_000_000])
                assert [found async for found in store.list()] == []
            return writer.reference

    reference = asyncio.run(session())
    assert storage.read(reference) == data


def test_an_exception_in_the_block_stores_nothing(storage, open_async, unchanged):
    async def session():
        async with open_async() as store, store.create_media(R1, "image/png") as writer:
            await writer.write(PNG)
            raise RuntimeError("mine")

    with unchanged(), pytest.raises(RuntimeError, match="mine"):
        asyncio.run(session())


def test_a_writer_that_gets_too_much_is_given_up(storage, open_async, unchanged):
    async def session():
        async with open_async(max_file_size=10) as store, store.create_media(R1, "image/png") as writer:
            await writer.write(PNG)

    with unchanged(), pytest.raises(MediaTooLargeError):
        asyncio.run(session())


def test_a_writer_outside_of_its_block_says_so(memory_storage):
    async def session():
        store = AsyncMediaStore(memory_storage.url)
        writer = store.create_media(R1, "image/png")
        with pytest.raises(InvalidMediaError, match="not open"):
            await writer.write(b"x")
        with pytest.raises(InvalidMediaError, match="not open"):
            _ = writer.reference
        await store.close()

    asyncio.run(session())


def test_many_at_once(storage, open_async):
    async def session():
        async with open_async() as store:
            stored = await asyncio.gather(
                *(store.store_media(png(), MediaMetadata(run_id=f"r{n % 3}")) for n in range(16))
            )
            listed = [reference async for reference in store.list()]
            assert listed == sorted(stored)
            contents = await asyncio.gather(*(store.retrieve_media(reference) for reference in stored))
            assert all(content.size_kb == 2 for content in contents)
            await asyncio.gather(*(store.delete_media(reference) for reference in stored))

    asyncio.run(session())
    assert storage.keys() == {STORE_JSON}


def test_the_loop_goes_on_while_a_call_waits(memory_storage):
    """A call blocks only its own task: here the loop itself feeds the source that the store reads."""
    asked, answered = threading.Event(), threading.Event()

    class Slow(io.RawIOBase):
        def read(self, size=-1):
            asked.set()
            assert answered.wait(30)
            return b""

    async def session():
        async with AsyncMediaStore(memory_storage.url) as store:
            storing = asyncio.create_task(store.store_media(MediaContent(data=Slow(), mime_type="image/png"), R1))
            await asyncio.to_thread(asked.wait, 30)
            assert not storing.done()
            assert [reference async for reference in store.list()] == []
            answered.set()
            return await storing

    assert memory_storage.read(asyncio.run(session())) == b""


def test_errors_come_out_as_they_are(storage, open_store, open_async):
    open_store().create()

    async def session():
        store = open_async(read_only=True)
        for call in (store.retrieve_media, store.info, store.metadata, store.open):
            with pytest.raises(MediaNotFoundError):
                await call("runs/r1/nothing.png")
        with pytest.raises(InvalidReferenceError):
            await store.exists("../x")
        with pytest.raises(ReadOnlyStoreError):
            await store.store_media(png(), R1)
        with pytest.raises(ReadOnlyStoreError):
            await store.delete_media("runs/r1/nothing.png")
        with pytest.raises(ReadOnlyStoreError):
            async with store.create_media(R1, "image/png"):
                pass
        with pytest.raises(InvalidMediaError):
            [reference async for reference in store.list(limit=-1)]
        with pytest.raises(InvalidMediaError):
            await store.folder()
        await store.close()

    before = traces(storage)
    asyncio.run(session())
    assert traces(storage) == before


def test_the_constructor_blocks_nothing_and_the_first_call_opens(storage, open_async, open_store):
    async def session():
        store = open_async(organization="by-session")
        open_store(organization="by-run").create()
        with pytest.raises(StoreConflictError):
            await store.info("runs/r1/x.png")
        with pytest.raises(StoreConflictError):
            async with store:
                pass
        await store.close()

    asyncio.run(session())


def test_what_it_returns_is_awaited_or_iterated(memory_storage):
    store = AsyncMediaStore(memory_storage.url)
    listing, call = store.list(), store.exists("runs/r1/x.png")
    assert isasyncgen(listing)
    assert iscoroutine(call)
    call.close()


def test_one_store_serves_one_loop_after_another(storage, open_async):
    store = open_async()
    first = asyncio.run(store.store_media(png(), R1))
    second = asyncio.run(store.store_media(png(), R1))
    asyncio.run(store.close())
    third = asyncio.run(store.store_media(png(), R1))
    asyncio.run(store.close())
    assert storage.keys() == {STORE_JSON, *(f"{r}{end}" for r in (first, second, third) for end in ("", ".meta"))}


def test_a_pickled_store_works_and_shows_no_secret(storage):
    store = AsyncMediaStore(storage.url, storage_options=storage.options, timeout=timedelta(seconds=30))
    reference = asyncio.run(store.store_media(png(), R1))
    again = pickle.loads(pickle.dumps(store))
    content = asyncio.run(again.retrieve_media(reference))
    assert content.read_bytes() == PNG
    for shown in (repr(store), repr(again), repr(AsyncMediaStore(storage.url, storage_options=storage.options))):
        assert "secret" not in shown
    asyncio.run(store.close())
    asyncio.run(again.close())


def test_a_synchronous_store_works_inside_a_running_loop(storage, open_store):
    async def session():
        store = open_store()
        reference = store.store_media(png(), R1)
        with store.create_media(R1, "image/png") as writer:
            writer.write(PNG)
        assert store.retrieve_media(reference).read_bytes() == PNG
        with store.open(reference) as file:
            file.seek(3)
            assert file.read(4) == PNG[3:7]
        assert sorted(store.list()) == sorted([reference, writer.reference])
        store.delete_media(writer.reference)
        return reference

    reference = asyncio.run(session())
    assert storage.keys() == {reference, f"{reference}.meta", STORE_JSON}


def test_an_asynchronous_store_is_a_store_for_typing(memory_storage):
    from fsmedia import MediaStorageService

    assert isinstance(MediaStore(memory_storage.url), MediaStorageService)
