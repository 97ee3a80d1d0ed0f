"""Sweeps in the background: started and stopped any way a program may, and never left behind."""

import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from queue import Queue

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, PolicyHandler, TimeBasedPolicyHandler
from fsmedia.errors import InvalidMediaError, StorageError
from fsmedia.maintenance import expiry
from fsmedia.models import EnforcementReport
from fsmedia.store import utc_now
from tests.contract.specimens import raised

SOON, NEVER = timedelta(microseconds=1), timedelta(days=10**6)
PATIENCE = 30


def put(store, number=1):
    """Store media that are due; return the last."""
    metadata = MediaMetadata(run_id="r1", policy_name="retain-2hours", timestamp=utc_now() - timedelta(days=2))
    return [store.store_media(MediaContent.from_text("x"), metadata) for _ in range(number)][-1]


@pytest.fixture
def store(memory_storage):
    return MediaStore(memory_storage.url).create()


@pytest.fixture
def swept():
    """Take what becomes of each sweep."""
    return Queue()


class Gate:
    """A deletion log that stops at the first media until it is told to go on."""

    def __init__(self):
        self.reached, self.open, self.seen = threading.Event(), threading.Event(), []

    def __call__(self, deletion):
        self.seen.append(deletion)
        self.reached.set()
        assert self.open.wait(PATIENCE)


def gated(storage, media, monkeypatch, swept):
    """Give a gate, a store with a window for each of so many due media, and a handler at work on the first."""
    monkeypatch.setattr(expiry, "_WINDOW", 1)
    gate = Gate()
    store = MediaStore(storage.url, deletion_log=gate)
    put(store, media)
    handler = TimeBasedPolicyHandler(store, NEVER, on_sweep=swept.put).start()
    assert gate.reached.wait(PATIENCE)
    return gate, store, handler


def test_the_first_sweep_comes_at_once_and_then_others(store, swept):
    reference = put(store)
    with TimeBasedPolicyHandler(store, SOON, on_sweep=swept.put) as handler:
        assert [each.reference for each in swept.get(timeout=PATIENCE).deleted] == [reference]
        again = put(store)
        while not (report := swept.get(timeout=PATIENCE)).deleted:
            assert report.failed == ()
        assert [each.reference for each in report.deleted] == [again]
        assert handler.is_running
    assert not handler.is_running
    assert handler.last_error is None
    assert isinstance(handler.last_report, EnforcementReport)


def running():
    return sum(thread.name == "fsmedia-retention" for thread in threading.enumerate())


def test_start_and_stop_may_be_called_any_number_of_times(store, swept):
    handler = TimeBasedPolicyHandler(store, NEVER, on_sweep=swept.put)
    assert handler.stop()
    assert not handler.is_running
    for _ in range(3):
        assert handler.start() is handler
        assert handler.start() is handler
        assert handler.is_running
        assert running() == 1
        assert swept.get(timeout=PATIENCE).examined == 0
        assert handler.stop()
        assert handler.stop()
        assert not handler.is_running
    assert swept.empty(), "a start swept twice"


def test_many_threads_start_and_stop_it(store):
    handler = TimeBasedPolicyHandler(store, SOON)
    gate = threading.Barrier(8)

    def work(number):
        gate.wait()
        for _ in range(20):
            handler.start() if number % 2 else handler.stop()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert handler.stop()
    assert running() == 0


def test_a_stop_in_the_middle_of_a_big_sweep(memory_storage, monkeypatch, swept):
    gate, store, handler = gated(memory_storage, 5, monkeypatch, swept)
    assert not handler.stop(timedelta(0)), "it is at work"
    assert handler.is_running
    gate.open.set()
    assert handler.stop()
    report = swept.get(timeout=PATIENCE)
    assert (report.stopped, len(report.deleted), len(gate.seen)) == (True, 1, 1)
    assert len(list(store.list())) == 4
    with TimeBasedPolicyHandler(store, NEVER, on_sweep=swept.put):
        assert len(swept.get(timeout=PATIENCE).deleted) == 4


def test_a_start_while_the_stopped_sweep_is_still_at_work(memory_storage, monkeypatch, swept):
    """The start counts: the last word was to sweep."""
    gate, _, handler = gated(memory_storage, 3, monkeypatch, swept)
    handler.stop(timedelta(0))
    handler.start()
    assert handler.is_running
    gate.open.set()
    reports = [swept.get(timeout=PATIENCE) for _ in range(2)]
    assert [len(each.deleted) for each in reports] == [1, 2], "one after the other, never both at once"
    assert [each.stopped for each in reports] == [True, False]
    assert handler.is_running
    assert handler.stop()


def test_a_sweep_that_fails_is_told_and_the_next_one_comes(store, swept, monkeypatch, caplog):
    outcomes = [StorageError("no answer"), RuntimeError("a defect")]
    real = store.enforce_policy

    def enforce(**options):
        if outcomes:
            raise outcomes.pop(0)
        return real(**options)

    monkeypatch.setattr(store, "enforce_policy", enforce)
    caplog.set_level(logging.WARNING, "fsmedia.retention")
    with TimeBasedPolicyHandler(store, SOON, on_sweep=swept.put) as handler:
        for expected in (StorageError, RuntimeError, EnforcementReport):
            assert isinstance(swept.get(timeout=PATIENCE), expected)
    assert handler.last_error is None
    said = [record.getMessage() for record in caplog.records if "failed" in record.getMessage()]
    assert said == ["sweep failed: no answer", "sweep failed: a defect"]


def test_a_listener_that_fails_stops_nothing_and_may_stop_and_start_it(store):
    heard, told, handlers = Queue(), [], []

    def fails(report):
        heard.put(report)
        raise ZeroDivisionError

    def starts_again(_):
        told.append(len(told))
        handlers[0].stop()
        if len(told) < 3:
            handlers[0].start()
        heard.put(told[-1])

    with TimeBasedPolicyHandler(store, SOON, on_sweep=fails):
        for _ in range(3):
            heard.get(timeout=PATIENCE)
    heard = Queue()
    handlers.append(TimeBasedPolicyHandler(store, NEVER, on_sweep=starts_again))
    handlers[0].start()
    for _ in range(3):
        heard.get(timeout=PATIENCE)
    assert handlers[0].stop(timedelta(seconds=PATIENCE))
    assert heard.empty()


def test_it_is_a_policy_handler_and_its_interval_is_positive(store):
    handler = TimeBasedPolicyHandler(store)
    assert isinstance(handler, PolicyHandler)
    reference = put(store)
    handler.apply_policy(reference, "retain-9days")
    assert store.info(reference).policy_name == "retain-9days"
    assert handler.enforce_policy().deleted == ()
    assert repr(handler) == f"<TimeBasedPolicyHandler stopped, every 0:01:00 over {store!r}>"
    for interval in (timedelta(0), timedelta(seconds=-1), 60, None):
        raised(InvalidMediaError, TimeBasedPolicyHandler, store, interval, match="interval")


# The end of the process, and its children.
STARTED = """
import os, sys, threading
from datetime import timedelta
from fsmedia import MediaStore, TimeBasedPolicyHandler
from tests.contract.specimens import raised
swept = threading.Event()
handler = TimeBasedPolicyHandler(MediaStore(sys.argv[1]).create(), timedelta(days=1), on_sweep=lambda _: swept.set())
handler.start()
assert swept.wait(30)
"""
AT_EXIT = f"""
import atexit, threading
@atexit.register  # before fsmedia's own, so it runs after it
def look():
    print("LEFT", [each.name for each in threading.enumerate() if "retention" in each.name], flush=True)
{STARTED}
if sys.argv[2] == "fails":
    raise ZeroDivisionError
"""
FORKED = f"""{STARTED}
child = os.fork()
if child == 0:
    assert not handler.is_running
    assert handler.stop()
    swept.clear()
    handler.start()
    assert swept.wait(30)
    assert handler.is_running and handler.stop()
    handler.start()  # left to the exit
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert handler.is_running
print("LEFT", handler.stop())
"""


@pytest.mark.parametrize(
    ("script", "ending", "said", "code"),
    [(AT_EXIT, "plain", [], 0), (AT_EXIT, "fails", [], 1), (FORKED, "", True, 0)],
    ids=["no thread outlives the interpreter", "nor one that fails", "a forked child has a handler of its own"],
)
def test_the_end_of_a_process(local_storage, script, ending, said, code):
    command = [sys.executable, "-W", "ignore", "-c", script, local_storage.url, ending]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 2, check=False)
    assert (done.stdout, done.returncode) == (f"LEFT {said}\n", code), done.stderr
    assert "ZeroDivisionError" in done.stderr if code else done.stderr == ""
