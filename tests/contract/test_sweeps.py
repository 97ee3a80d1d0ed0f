"""Sweeps beside others, in any executor, by any clock: nothing that may stay is lost, all that must go goes."""

import multiprocessing
import os
import threading
import time
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.core import ingest
from fsmedia.errors import ReadOnlyStoreError, StorageError, UnknownPolicyError
from fsmedia.format import keys
from fsmedia.maintenance import expiry, verify
from fsmedia.storage import port
from fsmedia.store import utc_now
from tests.conftest import on, storages
from tests.contract.children import come_and_go, pair, sweep_rounds, work
from tests.contract.specimens import raised
from tests.storages import GCS, LOCAL, MEMORY, S3_RCLONE
from tests.transfers import opened

SPAWN = multiprocessing.get_context("spawn")
storage = storages(LOCAL, MEMORY, S3_RCLONE)


def left(storage):
    """Return what lies there but the settings, and the media that due entries are about."""
    there = {key for key in sorted(storage.keys()) if not key.startswith(".fsmedia/")}
    return there, {entry.reference for key in sorted(storage.keys()) if (entry := keys.parse_due(key))}


@pytest.fixture
def small_windows(monkeypatch):
    """Let a few media be several windows."""
    monkeypatch.setattr(expiry, "_WINDOW", 3)


def sweeping(store, done):
    """Sweep until the others are done, and once more; return how often each media was called deleted."""
    counted = Counter()
    finished = False
    while not finished:
        finished = done.is_set()
        report = store.enforce_policy()
        assert report.failed == ()
        counted.update(each.reference for each in report.deleted)
    return counted


def judge(storage, results, swept, sweepers):
    staying, due = ({each for answer in results for each in answer[part]} for part in range(2))
    store = opened(storage)
    assert set(store.list()) == staying
    there, entries = left(storage)
    assert there == staying | {f"{each}.meta" for each in staying}
    assert {each for each in staying if store.info(each).expires_at is not None} <= entries, "never due"
    total = sum(swept, Counter())
    assert due <= total.keys()
    assert total.keys().isdisjoint(staying)
    assert max(total.values()) <= sweepers


def test_threads_that_sweep_store_and_delete(storage, full_run):
    store, done = opened(storage).create(), threading.Event()
    rounds = 1 if storage.name not in (LOCAL, MEMORY) else 6
    rounds *= 10 if full_run else 1
    with ThreadPoolExecutor(7) as pool:
        sweepers = [pool.submit(sweeping, store, done) for _ in range(3)]
        try:
            results = [each.result() for each in [pool.submit(come_and_go, store, n, rounds) for n in range(4)]]
        finally:
            done.set()
        judge(storage, results, [each.result() for each in sweepers], 3)


def test_processes_that_sweep_store_and_delete(local_storage, full_run):
    opened(local_storage).create()
    rounds = 20 if full_run else 4
    with ProcessPoolExecutor(4, SPAWN) as pool:
        sweepers = [pool.submit(sweep_rounds, local_storage.url, rounds) for _ in range(2)]
        storers = [pool.submit(work, local_storage.url, who, rounds // 4) for who in range(2)]
        results, swept = [each.result() for each in storers], [each.result() for each in sweepers]
    judge(local_storage, results, [*swept, sweep_rounds(local_storage.url, 1)], 3)


def fill(storage, number=10):
    """Put due media there, and two that stay."""
    store = opened(storage).create()
    due = store.store_many([pair("retain-1days", str(n)) for n in range(number)])
    return store, set(due), {store.store_media(*pair("retain-30days")), store.store_media(*pair())}


def names(part):
    return {str(each.reference) for each in part}


def check_swept(storage, store, report, due, staying):
    assert (names(report.deleted), report.failed, report.skipped, report.examined) == (due, (), (), len(due))
    assert set(store.list()) == staying
    assert left(storage)[0] == staying | {f"{each}.meta" for each in staying}


def test_threads_do_the_windows(storage, small_windows):
    store, due, staying = fill(storage)
    with ThreadPoolExecutor(3) as pool:
        report = store.enforce_policy(executor=pool)
    check_swept(storage, store, report, due, staying)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["spawn", pytest.param("fork", marks=pytest.mark.full)])
def test_processes_do_the_windows(local_storage, small_windows, method):
    store, due, staying = fill(local_storage)
    seen = []
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        assert len(store.enforce_policy(executor=pool, dry_run=True).deleted) == len(due)
        report = store.enforce_policy(executor=pool, progress=seen.append)
    check_swept(local_storage, store, report, due, staying)
    assert (sorted(seen), seen[-1]) == (seen, len(due))


def test_processes_complete_the_index(local_storage, monkeypatch):
    monkeypatch.setattr(verify, "_WINDOW", 3)
    store, due, staying = fill(local_storage)
    for key in [key for key in sorted(local_storage.keys()) if keys.parse_due(key)]:
        local_storage.remove(key)
    with ProcessPoolExecutor(2, SPAWN) as pool:
        report = store.verify(repair=True, executor=pool)
    assert (report.media, report.counts["missing-due"], report.failed) == (len(due | staying), len(due) + 1, ())
    check_swept(local_storage, store, store.enforce_policy(), due, staying)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.full)])
def test_processes_do_not_see_this_ones_memory(memory_storage, method):
    store, due, staying = fill(memory_storage)
    before = memory_storage.keys()
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        report = store.enforce_policy(executor=pool)
        raised(StorageError, store.verify, match="stopped before anything is deleted", repair=True, executor=pool)
        rebuilt = store.verify(repair=True, force=True, executor=pool)
    assert (names(report.failed), report.deleted) == (due, ())
    assert all("one process only" in str(each.error) for each in report.failed)
    assert names(rebuilt.failed) >= due | staying
    assert rebuilt.findings == ()
    assert memory_storage.keys() == before


def test_a_worker_that_dies_is_told_of(local_storage, small_windows):
    store, due, staying = fill(local_storage)
    with ProcessPoolExecutor(1, SPAWN, initializer=os._exit, initargs=(1,)) as pool:
        report = store.enforce_policy(executor=pool)
    assert (names(report.failed), report.deleted) == (due, ())
    assert all("BrokenProcessPool" in str(each.error) for each in report.failed)
    check_swept(local_storage, store, store.enforce_policy(), due, staying)


class Deaf(Executor):
    """An executor that does every second window and forgets what came of it."""

    number = 0

    def submit(self, function, /, *args, **options):
        future, answer = Future(), function(*args, **options)
        self.number += 1
        if self.number % 2:
            future.set_exception(ConnectionError("the worker is gone"))
        else:
            future.set_result(answer)
        return future


def test_an_answer_that_a_worker_did_not_give(memory_storage, small_windows):
    """Its media are told to have failed; the next sweep finds that there is nothing to do."""
    store, due, staying = fill(memory_storage)
    report = store.enforce_policy(executor=Deaf())
    assert names(report.failed) | names(report.deleted) == due
    assert len(report.failed) == 6
    assert set(store.list()) == staying
    again = store.enforce_policy()
    assert (again.deleted, again.failed) == ((), ())


def test_a_sweep_that_is_told_to_stop_and_an_executor_that_was_shut_down(memory_storage, small_windows):
    store, due, _ = fill(memory_storage, 7)
    pool = ThreadPoolExecutor(1)
    for executor in (None, pool):
        asked = iter([False, True, True, True])
        report = store.enforce_policy(stopped=lambda asked=asked: next(asked), executor=executor)
        assert (report.stopped, len(report.deleted)) == (True, 3)
        due -= names(report.deleted)
    pool.shutdown()
    assert names(store.enforce_policy(executor=pool).failed) == due != set()


@on(LOCAL, S3_RCLONE)
@pytest.mark.parametrize("sign", [1, -1], ids=["ahead", "behind"])
def test_clocks_that_differ_delete_nothing_unless_by_a_little(sign, storage):
    fill(storage)
    before = storage.contents()
    wrong = opened(storage, now=lambda: utc_now() + timedelta(minutes=10 * sign))
    raised(StorageError, wrong.enforce_policy, match="apart")
    assert storage.contents() == before
    assert len(wrong.enforce_policy(dry_run=True).deleted) == 10
    near = opened(storage, now=lambda: utc_now() + timedelta(minutes=4 * sign))
    assert len(near.enforce_policy().deleted) == 10
    fill(storage)
    assert len(wrong.enforce_policy(now=utc_now()).deleted) == 10, "whoever says what time it is is believed"


@pytest.mark.parametrize("some_storage", [LOCAL, S3_RCLONE, GCS], indirect=True)
def test_a_writer_whose_clock_is_two_hours_slow_loses_nothing_at_the_next_sweep(some_storage, monkeypatch, caplog):
    """What it stored for an hour was due when it was stored; a timestamp or a clock that was given is believed."""

    class Slow(datetime):
        behind = timedelta(hours=2)

        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - cls.behind

    monkeypatch.setattr(ingest, "datetime", Slow)
    monkeypatch.setattr(port, "datetime", Slow)
    hours = 1  # since any test has asked this server
    monkeypatch.setattr(port, "monotonic", lambda: time.monotonic() + 3601 * hours)
    store, options = opened(some_storage, default_policy="retain-1hours"), {"storage_options": some_storage.options}
    with caplog.at_level("WARNING", "fsmedia"):
        store.create()
    assert len([line for line in caplog.messages if "clock is 1:59:5" in line or "clock is 2:00:0" in line]) == 1

    def stored(target=store, **given):
        metadata = MediaMetadata(run_id="r1", **given)
        reference = target.store_media(MediaContent.from_bytes(b"x", "text/plain"), metadata)
        return reference, target.info(reference).timestamp - datetime.now(UTC)

    with some_storage.counted() if some_storage.name != LOCAL else nullcontext() as slow:
        kept, age = stored()
    assert abs(age) < timedelta(minutes=1)
    early = datetime.now(UTC) - timedelta(hours=3)
    assert abs(stored(timestamp=early)[1] + timedelta(hours=3)) < timedelta(minutes=1)
    given = MediaStore(some_storage.url, **options, now=lambda: early)
    assert abs(stored(given)[1] + timedelta(hours=3)) < timedelta(minutes=1)
    store.fs.pipe_file("a.txt", b"text")
    assert abs(store.info("a.txt").timestamp - datetime.now(UTC)) < timedelta(minutes=1)
    gone = {each.reference for each in opened(some_storage, clock=lambda: datetime.now(UTC)).enforce_policy().deleted}
    assert gone
    assert kept not in gone
    # Clocks are compared again every hour, and one that is put right, or ahead, is left alone.
    Slow.behind = timedelta(hours=-2)
    assert abs(stored()[1] - timedelta(hours=4)) < timedelta(minutes=1)
    hours = 2
    stored()
    with some_storage.counted() if some_storage.name != LOCAL else nullcontext() as right:
        assert abs(stored()[1] - timedelta(hours=2)) < timedelta(minutes=1)
    assert slow == right, "no request more"


def test_a_dry_run_changes_nothing(storage):
    store, due, staying = fill(storage, 3)
    held, dated = (store.store_media(*pair("retain-1days")) for _ in range(2))
    store.hold(held, "a reason")
    with pytest.raises(UnknownPolicyError):
        store.apply_policy(dated, "")  # a variable that was never set must not keep a media for ever; None does that
    assert store.info(dated).policy_name == "retain-1days"
    store.apply_policy(dated, "retain-30days")
    before = storage.contents()
    for reader in (store, opened(storage, read_only=True)):
        report = reader.enforce_policy(dry_run=True)
        assert (names(report.deleted), names(report.skipped), report.failed) == (due, {held}, ())
        assert storage.contents() == before
    raised(ReadOnlyStoreError, reader.enforce_policy)
    assert set(store.list()) == due | staying | {held, dated}
