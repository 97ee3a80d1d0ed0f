"""Cancelled calls have happened whole or not at all when the cancellation comes out. Nothing here sleeps."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Barrier, Event

import pytest

from fsmedia import AsyncMediaStore
from tests.conftest import storages
from tests.contract.specimens import PNG, R1, STORE_JSON, of_size, png, traces
from tests.storages import LOCAL, MEMORY, S3_RCLONE

storage = storages(LOCAL, MEMORY, S3_RCLONE)
PATIENCE = 30
THREADS = 32


class Gate:
    """Stops the first call of a backend's method whose key passes, until it is let through."""

    def __init__(self, backend, method, passes):
        self._call = getattr(backend, method)
        self._passes = passes
        self.reached, self.open = Event(), Event()
        setattr(backend, method, self)

    def __call__(self, *arguments, **options):
        """Do what the method does, when the gate is open."""
        if not self.reached.is_set() and self._passes(*arguments):
            self.reached.set()
            assert self.open.wait(PATIENCE)
        return self._call(*arguments, **options)


class Crowd:
    """Blocking calls that keep all threads of an asynchronous store busy until they are let go."""

    def __init__(self, store):
        self._store = store
        self._inside, self.release = Barrier(THREADS + 1), Event()
        self._calls = []

    def _busy(self):
        self._inside.wait(PATIENCE)
        assert self.release.wait(PATIENCE)

    async def arrived(self):
        """Return when no thread is free any more."""
        self._calls = [asyncio.create_task(self._store._workers.call(self._busy)) for _ in range(THREADS)]
        await asyncio.to_thread(self._inside.wait, PATIENCE)

    async def left(self):
        """Return when all threads are free again."""
        self.release.set()
        await asyncio.gather(*self._calls)


@pytest.fixture
def run(storage, clock):
    """Run a coroutine function with an asynchronous store that is open and made."""

    def run(session):
        async def opened():
            async with AsyncMediaStore(storage.url, storage_options=storage.options, now=clock) as store:
                return await session(await store.create())

        return asyncio.run(opened())

    return run


async def cancelled_at(gate, task, times=1):
    """Cancel a task that stands before a gate; the cancellation must not come out while the call is under way."""
    assert await asyncio.to_thread(gate.reached.wait, PATIENCE)
    for _ in range(times):
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task


def is_sidecar(key, *_):
    return key.endswith(".meta")


def is_bytes(key, *_):
    return key.startswith("runs/") and not is_sidecar(key)


STEPS = pytest.mark.parametrize("step", [is_bytes, is_sidecar], ids=["bytes", "sidecar"])
TIMES = pytest.mark.parametrize("times", [1, 3])


@STEPS
@TIMES
def test_a_store_that_had_begun_is_whole(storage, run, step, times):
    async def session(store):
        gate = Gate(store._store._backend, "write", step)
        await cancelled_at(gate, asyncio.create_task(store.store_media(png(), R1)), times)
        return storage.keys()  # as soon as the cancellation is out

    keys = run(session)
    (reference,) = (key for key in keys if key.endswith(".png"))
    assert keys == {STORE_JSON, reference, f"{reference}.meta"} == storage.keys()
    assert storage.read(reference) == PNG


@STEPS
def test_a_delete_that_had_begun_is_whole(storage, run, step):
    async def session(store):
        kept, gone = await store.store_media(png(), R1), await store.store_media(png(), R1)
        gate = Gate(store._store._backend, "delete", lambda keys: step(next(iter(keys))))
        await cancelled_at(gate, asyncio.create_task(store.delete_media(gone)))
        return kept

    kept = run(session)
    assert storage.keys() == {STORE_JSON, kept, f"{kept}.meta"}


def test_a_call_that_waits_for_a_thread_is_taken_back(storage, run):
    async def session(store):
        crowd = Crowd(store)
        await crowd.arrived()
        storing = asyncio.create_task(store.store_media(png(), R1))
        await asyncio.sleep(0)
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
        await crowd.left()
        return await store.exists("runs/r1/x.png")

    run(session)
    assert storage.keys() == {STORE_JSON}


def test_a_timeout_waits_for_what_has_begun(storage, run):
    async def session(store):
        gate = Gate(store._store._backend, "write", is_sidecar)
        storing = asyncio.create_task(store.store_media(png(), R1))
        assert await asyncio.to_thread(gate.reached.wait, PATIENCE)
        waiting = asyncio.create_task(asyncio.wait_for(storing, 0))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()
        gate.open.set()
        with suppress(TimeoutError):
            await waiting

    run(session)
    assert len(storage.keys()) == 3


# -- writers: cancelled on the way in, in the block, on the way out ----------------------------------------


async def written(store):
    async with store.create_media(R1, "image/png") as writer:
        await writer.write(PNG)


def test_a_writer_cancelled_on_its_way_in_leaves_nothing(storage, run, spool):
    async def session(store):
        before = traces(storage)
        gate = Gate(store._store._backend, "stage", is_bytes)
        await cancelled_at(gate, asyncio.create_task(written(store)))
        assert traces(storage) == before

    run(session)
    assert storage.keys() == {STORE_JSON}
    assert list(spool.iterdir()) == []


def test_a_writer_cancelled_in_its_block_leaves_nothing(run, unchanged):
    async def session(store):
        reached = asyncio.Event()

        async def stuck():
            async with store.create_media(R1, "image/png") as writer:
                await writer.write(PNG)
                reached.set()
                await asyncio.Event().wait()

        with unchanged():
            task = asyncio.create_task(stuck())
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(session)


def test_a_writer_cancelled_in_the_middle_of_a_write_leaves_nothing(run, unchanged):
    async def session(store):
        stage, gates, staged = store._store._backend.stage, [], Event()

        def gated(key):
            made = stage(key)
            gates.append(Gate(made, "write", lambda _: True))
            staged.set()
            return made

        store._store._backend.stage = gated
        with unchanged():
            task = asyncio.create_task(written(store))
            assert await asyncio.to_thread(staged.wait, PATIENCE)
            await cancelled_at(gates[0], task)

    run(session)


@STEPS
def test_a_writer_cancelled_on_its_way_out_is_whole(storage, run, spool, step):
    async def session(store):
        gate = Gate(store._store._backend, "write", step)
        if step is is_bytes and storage.name == "local":
            gate = Gate(store._store._backend, "sync_file", lambda *_: True)  # its stage renames, nothing is put
        await cancelled_at(gate, asyncio.create_task(written(store)))
        return storage.keys()

    keys = run(session)
    (reference,) = (key for key in keys if key.endswith(".png"))
    assert keys == {STORE_JSON, reference, f"{reference}.meta"} == storage.keys()
    assert storage.read(reference) == PNG
    assert list(spool.iterdir()) == []


def test_a_writer_cancelled_before_its_way_out_began_leaves_nothing(storage, run, spool):
    """All threads are busy when the block ends, so the end itself must be taken back, and clean up all the same."""

    async def session(store):
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
        with pytest.raises(asyncio.CancelledError):
            await task
        await crowd.left()
        left = traces(storage)
        stored = [key for key in left if key.endswith(".meta")]
        assert left == before or len(stored) == 1
        assert not any(".tmp-" in key for key in left)

    run(session)
    assert list(spool.iterdir()) == []


def test_a_listing_that_is_cancelled_or_left_can_be_asked_again(run):
    async def session(store):
        references = sorted([await store.store_media(png(), R1) for _ in range(3)])
        gate = Gate(store._store._backend, "entries", lambda *_: True)

        async def listed():
            return [reference async for reference in store.list()]

        await cancelled_at(gate, asyncio.create_task(listed()))
        assert await listed() == references
        async for reference in store.list():
            assert reference == references[0]
            break

    run(session)


# -- readers: whatever is cancelled, no file stays open ----------------------------------------------------


class Opened:
    """The files that a store opens for reading, each with a gate before its first read."""

    def __init__(self, store):
        self._real = store._store.open
        self.files, self.gates, self.made = [], [], Event()
        store._store.open = self

    def __call__(self, reference):
        """Open, and keep the file."""
        file = self._real(reference)
        self.files.append(file)
        self.gates.append(Gate(file, "read", lambda *_: True))
        self.made.set()
        return file


@TIMES
def test_an_open_a_read_or_a_stream_that_is_cancelled_closes_the_file(run, times):
    """Where it stands then nobody knows: who read on would miss some bytes."""

    async def streamed(store, reference):
        return [chunk async for chunk in store.stream(reference)]

    async def session(store):
        reference = await store.store_media(png(), R1)
        kept, backend = Opened(store), store._store._backend
        real, gate = backend.open, Gate(backend, "open", lambda *_: True)
        await cancelled_at(gate, asyncio.create_task(store.open(reference)), times)
        assert [file.closed for file in kept.files] == [True]
        backend.open = real
        file = await store.open(reference)
        await cancelled_at(kept.gates[1], asyncio.create_task(file.read(3)), times)
        assert kept.files[1].closed
        with pytest.raises(ValueError, match="closed"):
            await file.read()
        kept.made.clear()
        task = asyncio.create_task(streamed(store, reference))
        assert await asyncio.to_thread(kept.made.wait, PATIENCE)
        await cancelled_at(kept.gates[2], task, times)
        assert kept.files[2].closed

    run(session)


def test_a_local_copy_that_is_cancelled_leaves_no_file(run, spool):
    async def session(store):
        reference = await store.store_media(png(), R1)
        gate = Gate(store._store._backend, "fetch", lambda *_, **__: True)
        task = asyncio.create_task(store.retrieve_media(reference, local_copy=True))
        await cancelled_at(gate, task)
        assert list(spool.iterdir()) == []

    run(session)
