"""`AsyncMediaStore` over each storage: every method once, side by side with what a `MediaStore` sees."""

from __future__ import annotations

import asyncio
import io
import pickle
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from inspect import iscoroutine
from pathlib import Path

import pytest

from fsmedia import (
    AsyncMediaStore,
    CorruptMediaError,
    InvalidMediaError,
    InvalidReferenceError,
    MediaContent,
    MediaMetadata,
    MediaNotFoundError,
    MediaTooLargeError,
    ReadOnlyStoreError,
    StoreConflictError,
)
from fsmedia.format import keys
from tests.conftest import on, storages
from tests.contract.specimens import PNG, R1, STORE_JSON, of_size, png
from tests.storages import ALL_STORAGES, LOCAL, MEMORY, S3_RCLONE
from tests.transfers import shared_in_place

storage = storages(LOCAL, MEMORY, S3_RCLONE)


@pytest.fixture
def open_async(storage, clock):
    """Open an asynchronous store over the storage, with the test's clock."""

    def opened(**settings):
        return AsyncMediaStore(storage.url, **{"storage_options": storage.options, "now": clock, **settings})

    return opened


@pytest.fixture
def run(open_async):
    """Run a coroutine function with an open asynchronous store."""

    def run(session, **settings):
        async def opened():
            async with open_async(**settings) as store:
                return await session(store)

        return asyncio.run(opened())

    return run


@on(*ALL_STORAGES)
def test_every_method_does_what_the_synchronous_one_does(storage, run, open_store):
    plain = open_store()

    async def session(store):
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
        async with await store.open(reference) as file:
            assert await file.read() == PNG
        assert await store.read(reference) == plain.read(reference) == PNG
        assert [chunk async for chunk in store.stream(reference)] == list(plain.stream(reference)) == [PNG]
        assert [found async for found in store.list()] == [reference]
        assert [found async for found in store.list(run_id="r1", mime_type="image/*")] == [reference]
        assert [found async for found in store.list(run_id="r2")] == []
        assert [found async for found in store.list(limit=0)] == []
        await store.delete_media(reference)
        await store.delete_media(reference)
        assert await store.exists(reference) is False
        assert await store.create() is store

    run(session)
    assert storage.keys() == {STORE_JSON}


def test_media_are_written_as_they_come(storage, run):
    data = of_size(9 * 2**20)

    async def session(store):
        async with store.create_media(R1, "video/mp4") as writer:
            for start in range(0, len(data), 2_000_000):
                assert await writer.write(data[start : start + 2_000_000]) == len(data[start : start + 2_000_000])
            assert [found async for found in store.list()] == []
        return writer.reference

    reference = run(session)
    assert storage.read(reference) == data


@pytest.mark.parametrize(
    ("limit", "error"), [(None, RuntimeError), (10, MediaTooLargeError)], ids=["an exception in the block", "too much"]
)
def test_a_writer_that_is_given_up_stores_nothing(run, unchanged, limit, error):
    async def session(store):
        async with store.create_media(R1, "image/png") as writer:
            await writer.write(PNG)
            raise RuntimeError("mine")

    with unchanged(), pytest.raises(error):
        run(session, **({} if limit is None else {"max_file_size": limit}))


def test_many_at_once(storage, run):
    async def session(store):
        stored = await asyncio.gather(*(store.store_media(png(), MediaMetadata(run_id=f"r{n % 3}")) for n in range(16)))
        listed = [reference async for reference in store.list()]
        assert listed == sorted(stored)
        contents = await asyncio.gather(*(store.retrieve_media(reference) for reference in stored))
        assert all(content.size_kb == 2 for content in contents)
        await asyncio.gather(*(store.delete_media(reference) for reference in stored))

    run(session)
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


def test_errors_come_out_as_they_are(run, open_store, open_async, unchanged):
    open_store().create()
    missing = "runs/r1/nothing.png"

    async def entered(store):
        async with store.create_media(R1, "image/png"):
            pass

    async def all_of(items):
        return [each async for each in items]

    async def session(store):
        for call in (store.retrieve_media, store.info, store.metadata, store.open, store.read):
            with pytest.raises(MediaNotFoundError):
                await call(missing)
        for error, call in (
            (MediaNotFoundError, lambda: all_of(store.stream(missing))),
            (InvalidReferenceError, lambda: store.exists("../x")),
            (ReadOnlyStoreError, lambda: store.store_media(png(), R1)),
            (ReadOnlyStoreError, lambda: store.delete_media(missing)),
            (ReadOnlyStoreError, lambda: entered(store)),
            (InvalidMediaError, lambda: all_of(store.list(limit=-1))),
            (InvalidMediaError, store.folder),
        ):
            with pytest.raises(error):
                await call()

    async def another_root():
        """The constructor blocks nothing, and the first call opens."""
        store = open_async(organization="by-session")
        with pytest.raises(StoreConflictError):
            await store.info(missing)
        with pytest.raises(StoreConflictError):
            await store.__aenter__()
        await store.close()

    with unchanged():
        run(session, read_only=True)
        asyncio.run(another_root())


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


def test_a_synchronous_store_works_inside_a_running_loop(storage, store):
    async def session():
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


# -- reading bytes -----------------------------------------------------------------------------------------

MIB = 2**20
LINES = [b"line %d\n" % n for n in range(20_000)]
RANGES = [(None, None), (0, 10), (10, None), (None, 10), (-10, None), (5, -5), (MIB - 1, 2 * MIB + 1), (7, 7), (9, 3)]
BEYOND = [(-(10**9), 5), (5, 10**9), (10**9, None)]


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
def test_bytes_are_read_whole_and_in_part(run, open_store, deduplicate):
    data = of_size(2 * MIB + 500_000)
    plain = open_store(deduplicate=deduplicate)
    reference = plain.store_media(MediaContent(data=data, mime_type="video/mp4"), R1)

    async def session(store):
        for start, end in [*RANGES, *BEYOND]:
            wanted = data[start:end]
            assert await store.read(reference, start, end) == wanted, (start, end)
            chunks = [chunk async for chunk in store.stream(reference, start, end)]
            assert b"".join(chunks) == wanted, (start, end)
            assert all(0 < len(chunk) <= MIB for chunk in chunks)
            assert plain.read(reference, start, end) == b"".join(plain.stream(reference, start, end)) == wanted

    run(session)


def test_an_open_file_is_awaited(run, open_store):
    reference = open_store().store_media(MediaContent.from_text(b"".join(LINES).decode()), R1)
    data = b"".join(LINES)

    async def session(store):
        async with await store.open(reference) as file:
            assert await file.read(5) == data[:5]
            assert (await file.seek(-3, io.SEEK_END), await file.tell()) == (len(data) - 3, len(data) - 3)
            assert await file.read() == data[-3:]
            assert (await file.seek(0), await file.readline()) == (0, LINES[0])
            assert [line async for line in file] == LINES[1:]
            assert await file.seek(0) == 0
            async for line in file:
                assert line == LINES[0]
                break
            # Lines are fetched together, and nobody notices.
            assert await file.tell() == len(LINES[0])
            assert await file.readline() == LINES[1]
            assert await file.__anext__() == LINES[2]
            assert await file.read() == b"".join(LINES[3:])
            assert not file.closed
        assert file.closed
        for call in (file.read, file.tell, file.__anext__):
            with pytest.raises(ValueError, match="closed"):
                await call()
        await file.close()

    run(session)


def test_tasks_that_share_a_file_come_one_after_another(run):
    data, size = of_size(MIB), MIB // 64

    async def session(store):
        reference = await store.store_media(MediaContent(data=data, mime_type="video/mp4"), R1)
        async with await store.open(reference) as file:
            return await asyncio.gather(*(file.read(size) for _ in range(64)))

    assert sorted(run(session)) == sorted(data[start : start + size] for start in range(0, MIB, size))


def test_no_read_blocks_the_loop(run, open_store):
    """The file lets a read go on only when the loop has said so, which it can't while it waits itself."""
    reference = open_store().store_media(png(), R1)

    async def while_read(store, reading):
        """Return what is read, once the loop has seen the read under way and let it go."""
        asked, answered, real = threading.Event(), threading.Event(), store._store._backend.open

        def opened(*args, **options):
            asked.set()
            assert answered.wait(30)
            return real(*args, **options)

        store._store._backend.open = opened
        task = asyncio.create_task(reading)
        await asyncio.to_thread(asked.wait, 30)
        assert not task.done()
        answered.set()
        store._store._backend.open = real
        return await task

    async def opened(store):
        async with await store.open(reference) as file:
            return await file.read()

    async def streamed(store):
        return b"".join([chunk async for chunk in store.stream(reference)])

    async def threads(store):
        """Return in which threads the file's calls run."""
        async with await store.open(reference) as file:
            used, real = set(), file._file.read
            file._file.read = lambda size=-1: used.add(threading.get_ident()) or real(size)
            await file.read(3)
            await file.read()
        return used

    async def session(store):
        assert await while_read(store, opened(store)) == PNG
        assert await while_read(store, streamed(store)) == PNG
        assert threading.get_ident() not in await threads(store)

    run(session)


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
def test_damaged_bytes_are_no_media_for_coroutines_either(storage, run, open_store, deduplicate):
    reference = open_store(deduplicate=deduplicate).store_media(png(), R1)
    damaged = PNG[:-1] + bytes([PNG[-1] ^ 1])
    storage.write(keys.bytes_key(reference), damaged)

    async def ways(store):
        yield await store.read(reference)
        async with await store.open(reference) as file:
            yield await file.read()
        yield b"".join([chunk async for chunk in store.stream(reference)])
        yield b"".join([chunk async for chunk in store.stream(reference, 0, len(PNG))])
        async with await store.open(reference) as file:
            yield b"".join([line async for line in file])

    async def unchecked(store):
        assert [found async for found in ways(store)] == [damaged] * 5

    async def checked(store):
        for read in (lambda: store.read(reference), lambda: anext(aiter(store.stream(reference, 0, len(PNG))))):
            with pytest.raises(CorruptMediaError) as caught:
                await read()
            assert caught.value.reference == reference
        async with await store.open(reference) as file:
            with pytest.raises(CorruptMediaError):
                await file.read()
            await file.seek(0)
        async with await store.open(reference) as file:
            with pytest.raises(CorruptMediaError):
                [line async for line in file]
        storage.write(keys.bytes_key(reference), PNG[:-1])  # a part of what was cut short is an error
        for start, end in [(None, None), (10, None), (10, len(PNG)), (-5, None)]:
            with pytest.raises(CorruptMediaError):
                await store.read(reference, start, end)
            with pytest.raises(CorruptMediaError):
                [chunk async for chunk in store.stream(reference, start, end)]

    run(unchecked, verify_reads=False)
    run(checked)


def test_the_old_name_of_a_renamed_media_is_read(storage, run, open_store):
    old = open_store().store_media(png(), R1)
    shared_in_place(storage)

    async def session(store):
        assert await store.read(old) == await store.read(old, 0, None) == PNG
        assert b"".join([chunk async for chunk in store.stream(old)]) == PNG
        async with await store.open(old) as file:
            assert await file.read() == PNG

    run(session)


def test_a_stream_that_is_left_closes_the_file(run, open_store):
    reference = open_store().store_media(MediaContent(data=of_size(3 * MIB), mime_type="video/mp4"), R1)

    async def session(store):
        files, real = [], store._store.open
        store._store.open = lambda reference: files.append(real(reference)) or files[-1]
        async with aclosing(store.stream(reference)) as chunks:
            async for _ in chunks:
                assert not files[0].closed
                break
        assert files[0].closed
        async for _ in store.stream(reference):
            pass
        assert files[1].closed

    run(session)


def test_a_file_path_for_coroutines(storage, run, spool):
    async def session(store):
        reference = await store.store_media(png(), R1)
        return await store.retrieve_media(reference, local_copy=True)

    content = run(session)
    assert Path(content.file_path).read_bytes() == PNG
    assert len(list(spool.iterdir())) == (storage.name != "local")


def test_who_takes_a_method_for_another_kind_is_told_what_to_write(memory_storage):
    async def session():
        async with AsyncMediaStore(memory_storage.url) as store:
            listing, call, writer = store.list(), store.exists("runs/r1/x.png"), store.create_media(R1, "image/png")
            assert isinstance(listing, AsyncGenerator)
            assert iscoroutine(call)
            assert await call is False
            with pytest.raises(TypeError, match=r"\[each async for each in store\.list\(\)\]"):
                await listing
            with pytest.raises(TypeError, match=r"\[each async for each in store\.list\(\)\]"):
                list(listing)
            with pytest.raises(TypeError, match=r"async for chunk in store\.stream.*await store\.read"):
                await store.stream("runs/r1/x.png")
            with pytest.raises(InvalidMediaError, match="not open"):
                await writer.write(b"x")
            with pytest.raises(InvalidMediaError, match="not open"):
                _ = writer.reference

    asyncio.run(session())
