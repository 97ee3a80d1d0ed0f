"""`AsyncMediaStore` over each storage: every method once, side by side with what a `MediaStore` sees; cancelled calls.

Nothing here sleeps.
"""

import asyncio
import io
import pickle
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import wait
from contextlib import aclosing, suppress
from datetime import timedelta
from inspect import iscoroutine
from pathlib import Path
from types import SimpleNamespace

import pytest

from fsmedia import AsyncMediaStore, MediaContent, MediaMetadata, aio, errors
from fsmedia.format import keys
from tests.conftest import on, storages
from tests.contract.specimens import PNG, R1, STORE_JSON, of_size, png, raised, refused, traces, with_sidecars, written
from tests.storages import ALL_STORAGES, LOCAL, MEMORY, S3_RCLONE, SFTP
from tests.transfers import shared_in_place

storage = storages(LOCAL, MEMORY, S3_RCLONE)
pytestmark = pytest.mark.anyio
PATIENCE = 30
THREADS = 32


class Gate:
    """Stops the first call of an object's method whose arguments pass, until it is let through."""

    def __init__(self, owner, method, passes=lambda *_: True):
        self._call, self._passes = getattr(owner, method), passes
        self.reached, self.open = threading.Event(), threading.Event()
        setattr(owner, method, self)

    def __call__(self, *arguments, **options):
        if not self.reached.is_set() and self._passes(*arguments):
            self.reached.set()
            assert self.open.wait(PATIENCE)
        return self._call(*arguments, **options)

    async def arrived(self):
        assert await asyncio.to_thread(self.reached.wait, PATIENCE)


@pytest.fixture
def open_async(storage, clock):
    def opened(**settings):
        return AsyncMediaStore(storage.url, **{"storage_options": storage.options, "now": clock, **settings})

    return opened


@pytest.fixture
async def store(open_async):
    async with open_async() as store:
        yield await store.create()


async def every(items):
    return [each async for each in items]


@on(*ALL_STORAGES)
async def test_every_method_does_what_the_synchronous_one_does(storage, store, open_store):
    plain = open_store()
    reference = await store.store_media(png(caption="a bear"), MediaMetadata(run_id="r1", session_id="s1"))
    assert storage.keys() == {STORE_JSON, *with_sidecars(reference)}
    assert storage.read(reference) == PNG
    content = await store.retrieve_media(reference)
    assert content.model_dump() == plain.retrieve_media(reference).model_dump()
    assert await asyncio.to_thread(content.read_bytes) == PNG
    assert await store.info(reference) == plain.info(reference)
    assert await store.exists(reference) is True
    assert await store.folder(run_id="r1") == "runs/r1"
    async with await store.open(reference) as file:
        assert await file.read() == PNG
    assert await store.read(reference) == plain.read(reference) == PNG
    assert await every(store.stream(reference)) == list(plain.stream(reference)) == [PNG]
    for words in ({}, {"run_id": "r1", "mime_type": "image/*"}):
        assert await every(store.list(**words)) == [reference]
    for words in ({"run_id": "r2"}, {"limit": 0}):
        assert await every(store.list(**words)) == []
    for _ in range(2):
        await store.delete_media(reference)
    assert await store.exists(reference) is False
    assert await store.create() is store
    assert storage.keys() == {STORE_JSON}


async def test_media_are_written_as_they_come_and_read_by_a_file_path(storage, store, spool):
    data = of_size(9 * 2**20)
    async with store.create_media(R1, "video/mp4") as writer:
        for start in range(0, len(data), 2_000_000):
            assert await writer.write(data[start : start + 2_000_000]) == len(data[start : start + 2_000_000])
        assert await every(store.list()) == []
    assert storage.read(writer.reference) == data
    assert list(spool.iterdir()) == []
    content = await store.retrieve_media(writer.reference, local_copy=True)
    assert await asyncio.to_thread(Path(content.file_path).read_bytes) == data
    assert len(list(spool.iterdir())) == (storage.name != LOCAL)


@pytest.mark.parametrize(("limit", "error"), [({}, RuntimeError), ({"max_file_size": 10}, errors.MediaTooLargeError)])
async def test_a_writer_that_is_given_up_stores_nothing(open_async, unchanged, limit, error):
    async def given_up(store):
        async with store.create_media(R1, "image/png") as writer:
            await writer.write(PNG)
            raise RuntimeError("mine")

    with unchanged():
        async with open_async(**limit) as store:
            await refused(error, given_up(store))


async def test_many_at_once(storage, store):
    stored = await asyncio.gather(*(store.store_media(png(), MediaMetadata(run_id=f"r{n % 3}")) for n in range(16)))
    assert await every(store.list()) == sorted(stored)
    contents = await asyncio.gather(*map(store.retrieve_media, stored))
    assert all(content.size_kb == 2 for content in contents)
    await asyncio.gather(*map(store.delete_media, stored))
    assert storage.keys() == {STORE_JSON}


async def test_no_call_blocks_the_loop(store, open_store):
    """A call goes on only when the loop has said so, which it can't while it waits itself."""
    reference = open_store().store_media(png(), R1)

    async def opened():
        async with await store.open(reference) as file:
            return await file.read()

    async def streamed():
        return b"".join(await every(store.stream(reference)))

    async def stored():
        return await store.read(await store.store_media(png(), MediaMetadata(run_id="r2")))

    backend = store._store._backend
    for method, call in (("open", opened()), ("open", streamed()), ("write", stored())):
        real, gate = getattr(backend, method), Gate(backend, method)
        task = asyncio.create_task(call)
        await gate.arrived()
        assert not task.done()
        assert await every(store.list()) == [reference]
        gate.open.set()
        setattr(backend, method, real)
        assert await task == PNG
    async with await store.open(reference) as file:
        threads, read = set(), file._file.read
        file._file.read = lambda size=-1: threads.add(threading.get_ident()) or read(size)
        await file.read(3)
        await file.read()
    assert threads
    assert threading.get_ident() not in threads


async def test_errors_come_out_as_they_are(open_store, open_async, unchanged):
    open_store().create()
    missing = "runs/r1/nothing.png"
    with unchanged():
        async with open_async(read_only=True) as store:
            writes = (lambda _: store.store_media(png(), R1), store.delete_media, lambda _: in_pieces(store))
            for error, *calls in (
                (errors.MediaNotFoundError, store.retrieve_media, store.info, store.open, store.read),
                (errors.MediaNotFoundError, lambda key: every(store.stream(key))),
                (errors.InvalidReferenceError, lambda _: store.exists("../x")),
                (errors.ReadOnlyStoreError, *writes),
                (errors.InvalidMediaError, lambda _: every(store.list(limit=-1)), lambda _: store.folder()),
            ):
                for call in calls:
                    await refused(error, call(missing))
        # The constructor blocks nothing, and the first call opens.
        other = open_async(organization="by-session")
        for call in (lambda: other.info(missing), other.__aenter__):
            await refused(errors.StoreConflictError, call())
        await other.close()


def test_one_store_and_its_pickle_serve_one_loop_after_another_and_show_no_secret(storage):
    store = AsyncMediaStore(storage.url, storage_options=storage.options, timeout=timedelta(seconds=30))
    shown = [repr(store)]
    references = [asyncio.run(store.store_media(png(), R1)) for _ in range(2)]
    asyncio.run(store.close())
    references.append(asyncio.run(store.store_media(png(), R1)))
    assert storage.keys() == {STORE_JSON, *with_sidecars(*references)}
    again = pickle.loads(pickle.dumps(store))
    assert asyncio.run(again.retrieve_media(references[0])).read_bytes() == PNG
    assert "secret" not in "".join([*shown, repr(store), repr(again)])
    for each in (store, again):
        asyncio.run(each.close())


async def test_a_synchronous_store_works_inside_a_running_loop(storage, open_store):
    store = open_store()
    reference = store.store_media(png(), R1)
    other = written(store, PNG)
    assert store.retrieve_media(reference).read_bytes() == PNG
    with store.open(reference) as file:
        file.seek(3)
        assert file.read(4) == PNG[3:7]
    assert sorted(store.list()) == sorted([reference, other])
    store.delete_media(other)
    assert storage.keys() == {STORE_JSON, *with_sidecars(reference)}


MIB = 2**20
LINES = [b"line %d\n" % n for n in range(20_000)]
RANGES = [(None, None), (0, 10), (10, None), (None, 10), (-10, None), (5, -5), (MIB - 1, 2 * MIB + 1), (7, 7), (9, 3)]
RANGES += [(-(10**9), 5), (5, 10**9), (10**9, None)]


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
async def test_bytes_are_read_whole_and_in_part(open_async, open_store, deduplicate):
    data = of_size(2 * MIB + 500_000)
    plain = open_store(deduplicate=deduplicate)
    reference = plain.store_media(MediaContent(data=data, mime_type="video/mp4"), R1)
    async with open_async() as store:
        for start, end in RANGES:
            wanted = data[start:end]
            assert await store.read(reference, start, end) == wanted, (start, end)
            chunks = await every(store.stream(reference, start, end))
            assert b"".join(chunks) == wanted, (start, end)
            assert all(0 < len(chunk) <= MIB for chunk in chunks)
            assert plain.read(reference, start, end) == b"".join(plain.stream(reference, start, end)) == wanted


async def test_an_open_file_is_awaited(store, open_store):
    reference = open_store().store_media(MediaContent.from_text(b"".join(LINES).decode()), R1)
    data = b"".join(LINES)
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
        await refused(ValueError, call(), match="closed")
    await file.close()


async def test_tasks_that_share_a_file_come_one_after_another(store):
    data, size = of_size(MIB), MIB // 64
    reference = await store.store_media(MediaContent(data=data, mime_type="video/mp4"), R1)
    async with await store.open(reference) as file:
        parts = await asyncio.gather(*(file.read(size) for _ in range(64)))
    assert sorted(parts) == sorted(data[start : start + size] for start in range(0, MIB, size))


async def ways(store, reference):
    yield await store.read(reference)
    async with await store.open(reference) as file:
        yield await file.read()
    for options in ((), (0, len(PNG))):
        yield b"".join(await every(store.stream(reference, *options)))
    async with await store.open(reference) as file:
        yield b"".join(await every(file))


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
async def test_damaged_bytes_are_no_media_for_coroutines_either(storage, open_store, open_async, deduplicate):
    reference = open_store(deduplicate=deduplicate).store_media(png(), R1)
    damaged = PNG[:-1] + bytes([PNG[-1] ^ 1])
    storage.write(keys.bytes_key(reference), damaged)
    async with open_async(verify_reads=False) as store:
        assert await every(ways(store, reference)) == [damaged] * 5
    async with open_async() as store:
        for read in (lambda: store.read(reference), lambda: anext(aiter(store.stream(reference, 0, len(PNG))))):
            assert (await refused(errors.CorruptMediaError, read())).reference == reference
        async with await store.open(reference) as file:
            await refused(errors.CorruptMediaError, file.read())
            await file.seek(0)
        async with await store.open(reference) as file:
            await refused(errors.CorruptMediaError, every(file))
        storage.write(keys.bytes_key(reference), PNG[:-1])  # a part of what was cut short is an error
        for start, end in [(None, None), (10, None), (10, len(PNG)), (-5, None)]:
            for read in (store.read, lambda *part: every(store.stream(*part))):
                await refused(errors.CorruptMediaError, read(reference, start, end))


async def test_the_old_name_of_a_renamed_media_is_read(storage, open_store, open_async):
    old = open_store().store_media(png(), R1)
    shared_in_place(storage)
    async with open_async() as store:
        assert await every(ways(store, old)) == [PNG] * 5


async def test_a_stream_that_is_left_closes_the_file(store, open_store):
    reference = open_store().store_media(MediaContent(data=of_size(3 * MIB), mime_type="video/mp4"), R1)
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


async def test_who_takes_a_method_for_another_kind_is_told_what_to_write(memory_storage):
    async with AsyncMediaStore(memory_storage.url) as store:
        listing, call, writer = store.list(), store.exists("runs/r1/x.png"), store.create_media(R1, "image/png")
        assert isinstance(listing, AsyncGenerator)
        assert iscoroutine(call)
        assert await call is False
        await refused(TypeError, listing, match=r"\[each async for each in store\.list\(\)\]")
        raised(TypeError, list, listing, match=r"\[each async for each in store\.list\(\)\]")
        with pytest.raises(TypeError, match=r"async for chunk in store\.stream.*await store\.read"):
            await store.stream("runs/r1/x.png")
        await refused(errors.InvalidMediaError, writer.write(b"x"), match="not open")
        raised(errors.InvalidMediaError, getattr, writer, "reference", match="not open")


# Cancelled calls have happened whole or not at all when the cancellation comes out.
class Crowd:
    """Blocking calls that keep all threads of an asynchronous store busy until they are let go."""

    def __init__(self, store):
        self._store, self._calls = store, []
        self._inside, self.release = threading.Barrier(THREADS + 1), threading.Event()

    def _busy(self):
        self._inside.wait(PATIENCE)
        assert self.release.wait(PATIENCE)

    async def arrived(self):
        self._calls = [asyncio.create_task(self._store._workers.call(self._busy)) for _ in range(THREADS)]
        await asyncio.to_thread(self._inside.wait, PATIENCE)

    async def left(self):
        self.release.set()
        await asyncio.gather(*self._calls)


async def cancelled_at(gate, call, times=1):
    """Cancel a call that stands before a gate; the cancellation must not come out while it is under way."""
    task = asyncio.ensure_future(call)
    await gate.arrived()
    for _ in range(times):
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
    gate.open.set()
    await refused(asyncio.CancelledError, task)


def is_sidecar(key, *_):
    return key.endswith(".meta")


def is_bytes(key, *_):
    return key.startswith("runs/") and not is_sidecar(key)


async def in_pieces(store):
    async with store.create_media(R1, "image/png") as writer:
        await writer.write(PNG)


STEPS = pytest.mark.parametrize("step", [is_bytes, is_sidecar], ids=["bytes", "sidecar"])


@STEPS
@pytest.mark.parametrize(("way", "times"), [("store", 1), ("store", 3), ("writer on its way out", 1)])
async def test_what_had_begun_to_store_is_whole(storage, store, spool, step, way, times):
    renamed = step is is_bytes and way != "store" and storage.name == LOCAL  # its stage renames, nothing is put
    gate = Gate(store._store._backend, *(["sync_file"] if renamed else ["write", step]))
    await cancelled_at(gate, store.store_media(png(), R1) if way == "store" else in_pieces(store), times)
    there = storage.keys()  # as soon as the cancellation is out
    (reference,) = (key for key in there if key.endswith(".png"))
    assert there == {STORE_JSON, *with_sidecars(reference)}
    await store.close()
    assert storage.keys() == there
    assert storage.read(reference) == PNG
    assert list(spool.iterdir()) == []


@STEPS
async def test_a_delete_that_had_begun_is_whole(storage, store, step):
    kept, gone = await store.store_media(png(), R1), await store.store_media(png(), R1)
    gate = Gate(store._store._backend, "delete", lambda keys: step(next(iter(keys))))
    await cancelled_at(gate, store.delete_media(gone))
    await store.close()
    assert storage.keys() == {STORE_JSON, *with_sidecars(kept)}


async def test_a_call_that_waits_for_a_thread_is_taken_back(storage, store):
    crowd = Crowd(store)
    await crowd.arrived()
    storing = asyncio.create_task(store.store_media(png(), R1))
    await asyncio.sleep(0)
    storing.cancel()
    await refused(asyncio.CancelledError, storing)
    await crowd.left()
    assert not await store.exists("runs/r1/x.png")
    await store.close()
    assert storage.keys() == {STORE_JSON}


async def test_a_timeout_waits_for_what_has_begun(storage, store):
    gate = Gate(store._store._backend, "write", is_sidecar)
    storing = asyncio.create_task(store.store_media(png(), R1))
    await gate.arrived()
    waiting = asyncio.create_task(asyncio.wait_for(storing, 0))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    gate.open.set()
    with suppress(TimeoutError):
        await waiting
    assert len(storage.keys()) == 3


# Writers: cancelled on the way in, in the block, on the way out.
async def test_a_writer_cancelled_on_its_way_in_in_its_block_or_in_a_write_leaves_nothing(store, unchanged):
    backend, reached, gates, staged = store._store._backend, asyncio.Event(), [], threading.Event()
    stage = backend.stage

    async def stuck():
        async with store.create_media(R1, "image/png") as writer:
            await writer.write(PNG)
            reached.set()
            await asyncio.Event().wait()

    def gated(key):
        made = stage(key)
        gates.append(Gate(made, "write"))
        staged.set()
        return made

    with unchanged():
        await cancelled_at(Gate(backend, "stage", is_bytes), in_pieces(store))
    with unchanged():
        task = asyncio.create_task(stuck())
        await reached.wait()
        task.cancel()
        await refused(asyncio.CancelledError, task)
    backend.stage = gated
    with unchanged():
        task = asyncio.create_task(in_pieces(store))
        assert await asyncio.to_thread(staged.wait, PATIENCE)
        await cancelled_at(gates[0], task)


async def test_a_writer_cancelled_before_its_way_out_began_leaves_nothing(storage, store, spool):
    """All threads are busy when the block ends, so the end itself must be taken back, and clean up all the same."""
    if storage.name == SFTP:
        pytest.skip("9 MiB may take longer than a cancelled call is waited for: it ends afterwards")
    before = traces(storage)
    crowd, at_the_end = Crowd(store), asyncio.Event()

    async def ended():
        async with store.create_media(R1, "image/png") as writer:
            await writer.write(of_size(9 * 2**20))  # more than is held in memory
            await crowd.arrived()
            at_the_end.set()

    task = asyncio.create_task(ended())
    await at_the_end.wait()
    await asyncio.sleep(0)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    crowd.release.set()
    await refused(asyncio.CancelledError, task)
    await crowd.left()
    left = traces(storage)
    stored = [key for key in left if key.endswith(".meta")]
    assert left == before or len(stored) == 1
    assert not any(".tmp-" in key for key in left)
    assert list(spool.iterdir()) == []


async def test_a_listing_that_is_cancelled_or_left_can_be_asked_again(store):
    references = sorted([await store.store_media(png(), R1) for _ in range(3)])
    await cancelled_at(Gate(store._store._backend, "entries"), every(store.list()))
    assert await every(store.list()) == references
    async for reference in store.list():
        assert reference == references[0]
        break


# Readers: whatever is cancelled, no file stays open.
@pytest.mark.parametrize("times", [1, 3])
async def test_an_open_a_read_or_a_stream_that_is_cancelled_closes_the_file(store, times):
    """Where it stands then nobody knows: who read on would miss some bytes."""
    reference = await store.store_media(png(), R1)
    backend, opened, files, gates, made = store._store._backend, store._store.open, [], [], threading.Event()

    def gated(reference):
        files.append(opened(reference))
        gates.append(Gate(files[-1], "read"))
        made.set()
        return files[-1]

    store._store.open = gated
    real, gate = backend.open, Gate(backend, "open")
    await cancelled_at(gate, store.open(reference), times)
    assert [file.closed for file in files] == [True]
    backend.open = real
    file = await store.open(reference)
    await cancelled_at(gates[1], file.read(3), times)
    assert files[1].closed
    await refused(ValueError, file.read(), match="closed")
    made.clear()
    task = asyncio.create_task(every(store.stream(reference)))
    assert await asyncio.to_thread(made.wait, PATIENCE)
    await cancelled_at(gates[2], task, times)
    assert files[2].closed


async def test_a_local_copy_that_is_cancelled_leaves_no_file(store, spool):
    reference = await store.store_media(png(), R1)
    await cancelled_at(Gate(store._store._backend, "fetch"), store.retrieve_media(reference, local_copy=True))
    assert list(spool.iterdir()) == []


# A storage that hangs: what was cancelled comes out soon, goes on in its thread, and is told of.
async def given_up(gate, call):
    """Give a call up that stands before a gate; it must not be waited for."""
    task = asyncio.ensure_future(call)
    await gate.arrived()
    begun = time.monotonic()
    await refused(TimeoutError, asyncio.wait_for(task, 0))
    assert time.monotonic() - begun < 5
    assert len(aio._ABANDONED) == 1


async def all_ended():
    while aio._ABANDONED:
        await asyncio.to_thread(wait, [*aio._ABANDONED], PATIENCE)
        await asyncio.sleep(0)


@STEPS
@pytest.mark.parametrize("way", ["store", "writer", "writer in a write", "shared"])
async def test_a_store_on_a_storage_that_hung_was_waited_for_and_is_told_of(storage, open_async, step, way, caplog):
    """`wait_for(store_media, 1)` took as long as the storage liked; who is told in a second must know what may come."""
    told = []
    async with open_async(hooks=[told.append], deduplicate=way == "shared") as store:
        await store.create()
        if way == "writer in a write":
            gate = gate_of_writes(store._store, store._store.create_media)
        elif storage.name == LOCAL and step is is_bytes:
            gate = Gate(store._store._backend, "sync_file")
        else:
            gate = Gate(store._store._backend, "write", lambda key, *_: way == "shared" or step(key))
        await given_up(gate, in_pieces(store) if way.startswith("writer") else store.store_media(png(), R1))
        [event] = [each for each in told if each.operation == "cancel"] or [None]
        if way == "writer in a write":
            assert event is None, "it will not be stored"
        else:
            assert (event.within, event.name) == ("store", "media.cancel")
            assert event.reference.startswith("runs/r1/")
            [line] = [each.getMessage() for each in caplog.records if "may still happen" in each.getMessage()]
            assert line.startswith(f"{event.reference}: store was cancelled")
        assert not await store.exists("runs/r1/x.png"), "others have threads"
        gate.open.set()
        await all_ended()
        references = [each async for each in store.list()]
        if way == "writer in a write":
            assert references == []
        else:
            [reference] = references
            assert keys.file_name(reference) == keys.file_name(event.reference)
            assert way == "shared" or reference == event.reference
            assert [each.operation for each in told if each.operation != "exists"] == ["cancel", "store"]


def gate_of_writes(store, real):
    gate = Gate(SimpleNamespace(write=len), "write")

    def made(*arguments):
        writer = real(*arguments)
        writer.write = gate
        return writer

    store.create_media = made
    return gate


async def test_a_store_that_was_cancelled_before_it_had_a_name_never_happens(storage, store, caplog):
    gate = Gate(store._store, "_write_context")
    await given_up(gate, store.store_media(png(), R1))
    assert "store was cancelled" in caplog.text
    gate.open.set()
    await all_ended()
    assert storage.keys() == {STORE_JSON}


async def test_reads_of_a_storage_that_hangs_are_left_and_close_their_files(store):
    reference = await store.store_media(png(), R1)
    opened, files, gates = store._store.open, [], []

    def gated(reference):
        files.append(opened(reference))
        gates.append(Gate(files[-1], "read"))
        return files[-1]

    gate = Gate(store._store._backend, "open")
    await given_up(gate, store.open(reference))
    gate.open.set()
    await all_ended()
    store._store.open = gated
    file = await store.open(reference)
    await given_up(gates[0], file.read())
    assert file.closed
    await refused(ValueError, file.read(), match="closed")
    await file.close()
    gates[-1].open.set()
    await all_ended()
    made = threading.Event()
    store._store.open = lambda reference: (gated(reference), made.set())[0]
    task = asyncio.create_task(every(store.stream(reference)))
    assert await asyncio.to_thread(made.wait, PATIENCE)
    await given_up(gates[1], task)
    gates[-1].open.set()
    await all_ended()
    assert [each.closed for each in files] == [True, True]


async def test_only_so_many_cancelled_calls_wait_for_their_storages(storage, store, monkeypatch):
    monkeypatch.setattr(aio, "MOST_ABANDONED", 1)
    reference = await store.store_media(png(), R1)
    gate = Gate(store._store._backend, "delete")
    await given_up(gate, store.delete_media(reference))
    await refused(errors.StorageError, store.info(reference), match="1 calls that were cancelled still wait")
    gate.open.set()
    await all_ended()
    assert not await store.exists(reference)
