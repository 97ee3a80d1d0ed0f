"""The handler of an async store: one task, started and stopped any way a program may."""

import asyncio
from datetime import timedelta

import pytest

from fsmedia import AsyncMediaStore, AsyncTimeBasedPolicyHandler, MediaStore, errors
from fsmedia.maintenance import expiry
from fsmedia.models import EnforcementReport
from tests.contract.specimens import raised
from tests.contract.test_handlers import NEVER, PATIENCE, SOON, Gate, put

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def no_task_is_left(anyio_backend):
    before = len(asyncio.all_tasks())  # those of whoever runs the test
    yield
    assert len(asyncio.all_tasks()) == before


@pytest.fixture
def gate(monkeypatch):
    """Give a gate before the second of due media, each of which is a window."""
    monkeypatch.setattr(expiry, "_WINDOW", 1)
    return Gate()


@pytest.fixture
async def store(memory_storage, request):
    log = request.getfixturevalue("gate") if "gate" in request.fixturenames else None
    async with AsyncMediaStore(memory_storage.url, deletion_log=log) as store:
        yield store


@pytest.fixture
def swept():
    return asyncio.Queue()


async def test_the_first_sweep_comes_at_once_and_then_others(memory_storage, store, swept):
    reference = put(MediaStore(memory_storage.url))
    async with AsyncTimeBasedPolicyHandler(store, SOON, on_sweep=swept.put_nowait) as handler:
        assert [each.reference for each in (await swept.get()).deleted] == [reference]
        assert (await swept.get()).examined == 0
        assert handler.is_running
    assert not handler.is_running
    assert isinstance(handler.last_report, EnforcementReport)


async def test_start_and_stop_may_be_called_any_number_of_times(store, swept):
    handler = AsyncTimeBasedPolicyHandler(store, NEVER, on_sweep=swept.put_nowait)
    assert "stopped" in repr(handler)
    assert (await handler.enforce_policy()).deleted == ()
    assert await handler.stop()
    for _ in range(3):
        assert await handler.start() is await handler.start() is handler
        await swept.get()
        assert await handler.stop()
        assert await handler.stop()
        assert not handler.is_running
    assert swept.empty()
    raised(errors.InvalidMediaError, AsyncTimeBasedPolicyHandler, store, timedelta(0))


async def test_a_stop_in_the_middle_and_a_start_before_it_ends(memory_storage, store, swept, gate):
    put(MediaStore(memory_storage.url), 3)
    handler = await AsyncTimeBasedPolicyHandler(store, NEVER, on_sweep=swept.put_nowait).start()
    assert await asyncio.to_thread(gate.reached.wait, PATIENCE)
    assert not await handler.stop(timedelta(0))
    await handler.start()
    gate.open.set()
    reports = [await swept.get() for _ in range(2)]
    assert [(each.stopped, len(each.deleted)) for each in reports] == [(True, 1), (False, 2)]
    assert handler.is_running
    assert await handler.stop()


async def test_a_sweep_that_fails_is_told_and_the_next_one_comes(store, swept, monkeypatch):
    real, failures = MediaStore.enforce_policy, [errors.StorageError("no answer")]

    def enforce(self, **options):
        if failures:
            raise failures.pop()
        return real(self, **options)

    monkeypatch.setattr(MediaStore, "enforce_policy", enforce)
    async with AsyncTimeBasedPolicyHandler(store, SOON, on_sweep=swept.put_nowait) as handler:
        assert isinstance(await swept.get(), errors.StorageError)
        assert isinstance(await swept.get(), EnforcementReport)
        assert handler.last_error is None


async def test_a_listener_that_fails_stops_nothing_and_may_stop_it(store):
    heard, stopping = [], asyncio.get_running_loop().create_future()

    def listen(report):
        heard.append(report)
        if len(heard) == 3:
            stopping.set_result(asyncio.get_running_loop().create_task(handler.stop()))
        raise ZeroDivisionError

    handler = await AsyncTimeBasedPolicyHandler(store, SOON, on_sweep=listen).start()
    assert await (await stopping)
    assert len(heard) == 3


async def test_a_cancelled_program_leaves_no_task(store, swept):
    async def serve():
        async with AsyncTimeBasedPolicyHandler(store, NEVER, on_sweep=swept.put_nowait):
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await swept.get()
    serving.cancel()
    await asyncio.wait([serving])
    assert serving.cancelled()


def test_a_second_loop_may_start_it_again(memory_storage):
    store = AsyncMediaStore(memory_storage.url)
    handler = AsyncTimeBasedPolicyHandler(store, NEVER)

    async def left_running():
        await handler.start()
        assert handler.is_running

    async def again():
        await handler.start()
        assert handler.is_running
        assert await handler.stop()
        await store.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(left_running())
    assert not handler.is_running, "its loop is gone"
    asyncio.run(again())


@pytest.mark.parametrize("by_handler", [False, True])
async def test_a_sweep_that_is_cancelled_ends_after_what_it_has_in_hand(memory_storage, store, gate, by_handler):
    """Else a program that ends, or a timeout, would wait for a million media."""
    put(MediaStore(memory_storage.url), 5)
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
