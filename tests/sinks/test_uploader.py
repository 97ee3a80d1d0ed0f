"""The queue: what waits is bounded, what is refused or fails is named, and an end comes in a bounded time."""

import hashlib
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from fsmedia import MediaStore
from fsmedia.exchange.uploader import _REMEMBERED, BackgroundUploader, timeout_of
from tests.contract.specimens import PNG, R1
from tests.protocol.wire import costs
from tests.style.project import run_python

MINUTE = timedelta(minutes=1)
ENDING = """
import threading
from datetime import timedelta
from fsmedia import MediaMetadata
from fsmedia.exchange.uploader import BackgroundUploader
uploader = BackgroundUploader("store", patience=timedelta(seconds=0.3))
for _ in range(9):
    uploader.make(lambda: threading.Event().wait(1000), 1, "image/png", MediaMetadata(run_id="r1"))
print("the end")
"""


@pytest.fixture
def gate():
    """Give an event that lets the threads go on; the test's end does too."""
    event = threading.Event()
    yield event
    event.set()


def waiting(gate):
    """Bytes that come once the gate is open."""

    def produce():
        assert gate.wait(60)
        return PNG

    return produce


def test_what_does_not_fit_is_refused_but_a_single_media_may_be_larger(local_storage, gate, caplog):
    uploader = BackgroundUploader(local_storage.url, most=3, most_bytes=1000)
    urls = [uploader.make(waiting(gate), 10, "image/png", R1) for _ in range(5)]
    assert [url is None for url in urls] == [False, False, False, True, True]
    assert caplog.text.count("dropped, 3 media wait already") == 2
    assert not uploader.flush(timedelta(0))
    gate.set()
    assert uploader.flush(MINUTE)
    store = MediaStore(local_storage.url)
    assert sorted(store.media_url(each) for each in store.list()) == sorted(urls[:3])
    uploader.shutdown(MINUTE)
    gate.clear()
    uploader = BackgroundUploader(local_storage.url, most_bytes=1000)
    assert uploader.make(waiting(gate), 5000, "image/png", R1)
    assert uploader.make(waiting(gate), 1, "image/png", R1) is None
    gate.set()
    assert uploader.shutdown(MINUTE)


def test_an_end_that_takes_too_long_gives_up(local_storage, gate, caplog):
    uploader = BackgroundUploader(local_storage.url)
    for _ in range(6):
        uploader.make(waiting(gate), 1, "image/png", R1)
    assert uploader.shutdown(timedelta(0)) is False
    assert "6 media were not stored in time" in caplog.text
    assert uploader.send(PNG, "image/png", R1, digest="d") is None
    gate.set()


def test_bytes_that_could_not_be_stored_are_tried_again(local_storage, caplog):
    uploader = BackgroundUploader(local_storage.url, max_file_size=len(PNG))
    digest = hashlib.sha256(PNG).hexdigest()
    too_large = uploader.send(PNG + b"x", "image/png", R1, digest=digest)
    assert uploader.flush(MINUTE)
    assert "not stored, MediaTooLargeError" in caplog.text
    urls = [uploader.send(PNG, "image/png", R1, digest=digest) for _ in range(2)]
    assert urls[0] == urls[1] != too_large
    assert uploader.shutdown(MINUTE)
    store = MediaStore(local_storage.url)
    assert list(store.list()) == [store.info(urls[0]).reference]
    # Instrumented clients are quiet about what a sink does.
    uploader = BackgroundUploader(local_storage.url)
    seen = []
    uploader.make(lambda: seen.append(is_instrumentation_enabled()) or PNG, 1, "image/png", R1)
    assert uploader.shutdown(MINUTE)
    assert (seen, is_instrumentation_enabled()) == ([False], True)


@pytest.mark.parametrize("gone", ["deleted", "expired"])
def test_what_is_gone_is_stored_again_and_what_was_sent_just_now_is_not(gone, local_storage):
    """A picture that was deleted or had expired was never stored again, and new documents named nothing."""
    at = [datetime.now(UTC)]
    uploader = BackgroundUploader(local_storage.url, default_policy="delete-after-2min", now=lambda: at[0])
    store = MediaStore(local_storage.url, now=lambda: at[0])

    def send():
        url = uploader.send(PNG, "image/png", R1, digest="d")
        assert uploader.flush(MINUTE)
        assert store.read(url) == PNG
        return url

    first = send()
    at[0] += MINUTE
    assert send() == first
    if gone == "deleted":
        store.apply_policy(first, None)
        store.delete_media(first)
        at[0] += 4 * MINUTE
    else:
        at[0] += 2 * MINUTE
        assert len(store.enforce_policy(now=at[0]).deleted) == 1
    second = send()
    assert second != first
    at[0] -= timedelta(days=1)  # a clock that is set back forgets too
    assert send() not in (first, second)
    assert uploader.shutdown(MINUTE)


def test_what_is_remembered_is_bounded(local_storage, gate):
    uploader = BackgroundUploader(local_storage.url, most=10**6)
    for number in range(_REMEMBERED + 9):
        uploader.make(waiting(gate), 1, "image/png", R1, same=("r1", str(number), "image/png"))
    assert len(uploader._queue._known) == _REMEMBERED
    uploader.shutdown(timedelta(0))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_a_queue_of_its_own(local_storage, gate):
    uploader = BackgroundUploader(local_storage.url, most=1)
    uploader.make(waiting(gate), 1, "image/png", R1)
    child = os.fork()
    if child == 0:
        done = uploader.send(PNG, "image/png", R1, digest="d") is not None and uploader.shutdown(MINUTE)
        os._exit(0 if done else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store = MediaStore(local_storage.url)
    assert len(list(store.list())) == 1
    gate.set()
    assert uploader.shutdown(MINUTE)
    assert len(list(store.list())) == 2


def test_naming_a_media_asks_the_storage_nothing_and_no_secret_is_in_a_url_or_a_log(moto_storage, gate, caplog):
    uploader = BackgroundUploader(moto_storage.url, storage_options=moto_storage.options)
    assert costs(moto_storage, lambda: uploader.make(waiting(gate), 1, "image/png", R1))
    gate.set()
    assert uploader.shutdown(MINUTE)
    caplog.set_level("DEBUG", logger="fsmedia")
    uploader = BackgroundUploader(moto_storage.url, storage_options={**moto_storage.options, "secret": "5ec4e7"})
    url = uploader.send(PNG, "image/png", R1, digest="d")
    uploader.shutdown(MINUTE)
    assert "5ec4e7" not in f"{url} {uploader!r} {caplog.text}"


def test_settings_that_others_change_are_read_in_the_background(moto_storage, clock):
    """Once a minute, as before any write: the instrumented program does not wait for it."""
    uploader = BackgroundUploader(moto_storage.url, storage_options=moto_storage.options, now=clock)
    other = MediaStore(moto_storage.url, storage_options=moto_storage.options, now=clock)
    other.change_settings(default_policy="retain-2days")
    clock.advance(MINUTE)
    for policy in (None, "retain-2days"):
        gate = threading.Event()
        url = costs(moto_storage, lambda gate=gate: uploader.make(waiting(gate), 1, "image/png", R1))
        gate.set()
        assert uploader.flush(MINUTE)
        assert other.info(url).policy_name == policy
    assert uploader.shutdown(MINUTE)


def test_the_end_of_a_program_waits_a_bounded_time_also_where_others_give_it(tmp_path):
    done = run_python(ENDING, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["the end", "9 media were not stored in time"])
    assert [timeout_of(given).total_seconds() for given in (1.5, -1, float("inf"))] == [1.5, 0, 365 * 86400]
