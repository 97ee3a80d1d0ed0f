"""The handler of an async store: one task, started and stopped any way a program may."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from fsmedia import AsyncMediaStore, AsyncTimeBasedPolicyHandler, InvalidMediaError, MediaStore, StorageError
from fsmedia.maintenance import expiry
from fsmedia.models import EnforcementReport
from tests.contract.test_handlers import NEVER, PATIENCE, SOON, Gate, put


@pytest.fixture
def run(memory_storage):
    """Run a coroutine function with a store and a queue, no longer than is healthy; no task is left then."""

    def run(main, **settings):
        async def bounded():
            async with asyncio.timeout(PATIENCE), AsyncMediaStore(memory_storage.url, **settings) as store:
                await main(store, asyncio.Queue())
            assert [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

        asyncio.run(bounded())

    return run


def test_the_first_sweep_comes_at_once_and_then_others(memory_storage, run):
    reference = put(MediaStore(memory_storage.url))

    async def main(store, swept):
        async with AsyncTimeBasedPolicyHandler(store, SOON, on_sweep=swept.put_nowait) as handler:
            assert [each.reference for each in (await swept.get()).deleted] == [reference]
            assert (await swept.get()).examined == 0
            assert handler.is_running
        assert not handler.is_running
        assert isinstance(handler.last_report, EnforcementReport)

    run(main)


def test_start_and_stop_may_be_called_any_number_of_times(run):
    async def main(store, swept):
        handler = AsyncTimeBasedPolicyHandler(store, NEVER, on_sweep=swept.put_nowait)
        assert await handler.stop()
        for _ in range(3):
            assert await handler.start() is await handler.start() is handler
            await swept.get()
            assert await handler.stop()
            assert await handler.stop()
            assert not handler.is_running
        assert swept.empty()

    run(main)


def test_a_stop_in_the_middle_and_a_start_before_it_ends(memory_storage, run, monkeypatch):
    monkeypatch.setattr(expiry, "_WINDOW", 1)
    gate = Gate()
    put(MediaStore(memory_storage.url), 3)

    async def main(store, swept):
        handler = await AsyncTimeBasedPolicyHandler(store, NEVER, on_sweep=swept.put_nowait).start()
        assert await asyncio.to_thread(gate.reached.wait, PATIENCE)
        assert not await handler.stop(timedelta(0))
        await handler.start()
        gate.open.set()
        reports = [await swept.get() for _ in range(2)]
        assert [(each.stopped, len(each.deleted)) for each in reports] == [(True, 1), (False, 2)]
        assert handler.is_running
        assert await handler.stop()

    run(main, deletion_log=gate)


def test_a_sweep_that_fails_is_told_and_the_next_one_comes(run, monkeypatch):
    real, failing = MediaStore.enforce_policy, threading.Event()

    def enforce(self, **options):
        if not failing.is_set():
            failing.set()
            raise StorageError("no answer")
        return real(self, **options)

    monkeypatch.setattr(MediaStore, "enforce_policy", enforce)

    async def main(store, swept):
        async with AsyncTimeBasedPolicyHandler(store, SOON, on_sweep=swept.put_nowait) as handler:
            assert isinstance(await swept.get(), StorageError)
            assert isinstance(await swept.get(), EnforcementReport)
            assert handler.last_error is None

    run(main)


def test_a_listener_that_fails_stops_nothing_and_may_stop_it(run):
    async def main(store, _):
        heard, tasks, done = [], [], asyncio.Event()

        def listen(report):
            heard.append(report)
            if len(heard) == 3:
                tasks.append(asyncio.get_running_loop().create_task(handler.stop()))
                done.set()
            raise ZeroDivisionError

        handler = await AsyncTimeBasedPolicyHandler(store, SOON, on_sweep=listen).start()
        await done.wait()
        assert await tasks[0]
        assert len(heard) == 3

    run(main)


def test_a_cancelled_program_leaves_no_task(run):
    async def main(store, swept):
        async def serve():
            async with AsyncTimeBasedPolicyHandler(store, NEVER, on_sweep=swept.put_nowait):
                await asyncio.Event().wait()

        serving = asyncio.create_task(serve())
        await swept.get()
        serving.cancel()
        await asyncio.wait([serving])
        assert serving.cancelled()

    run(main)


def test_a_second_loop_may_start_it_again(memory_storage, run):
    store = AsyncMediaStore(memory_storage.url)
    handler = AsyncTimeBasedPolicyHandler(store, NEVER)

    async def left_running():
        await handler.start()
        assert handler.is_running

    async def again(*_):
        await handler.start()
        assert handler.is_running
        assert await handler.stop()
        await store.close()

    asyncio.run(left_running())
    assert not handler.is_running, "its loop is gone"
    run(again)


def test_what_a_handler_offers(run):
    async def main(store, _):
        handler = AsyncTimeBasedPolicyHandler(store)
        assert "stopped" in repr(handler)
        assert (await handler.enforce_policy()).deleted == ()
        with pytest.raises(InvalidMediaError):
            AsyncTimeBasedPolicyHandler(store, timedelta(0))

    run(main)


@pytest.mark.parametrize("by_handler", [False, True])
def test_a_sweep_that_is_cancelled_ends_after_what_it_has_in_hand(memory_storage, run, monkeypatch, by_handler):
    """Else a program that ends, or a timeout, would wait for a million media."""
    monkeypatch.setattr(expiry, "_WINDOW", 1)
    gate = Gate()
    put(MediaStore(memory_storage.url), 5)

    async def main(store, _):
        if by_handler:
            task = (await AsyncTimeBasedPolicyHandler(store, NEVER).start())._task
        else:
            task = asyncio.create_task(store.enforce_policy())
        assert await asyncio.to_thread(gate.reached.wait, PATIENCE)
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.wait([task])
        assert task.cancelled()
        assert len(gate.seen) == 1
        assert len([each async for each in store.list()]) == 4

    run(main, deletion_log=gate)
