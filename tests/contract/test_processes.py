"""One store in many hands: threads, pickles, spawned children, forked children."""

import gc
import multiprocessing
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import repeat

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaNotFoundError
from fsmedia.store import utc_now
from tests.conftest import on, storages
from tests.contract.specimens import PNG, R1, STORE_JSON, of_size, png, raised, with_sidecars, written
from tests.storages import GCS, LOCAL, MEMORY, OBJECT_STORAGES, S3_MOTO, S3_RCLONE
from tests.transfers import opened

PATIENCE = 60
THREADS = 16
# Threads meet on any; processes do not see each other's memory.
storage = storages(LOCAL, MEMORY, S3_RCLONE)
SHARED = (LOCAL, S3_RCLONE, S3_MOTO, GCS)


def test_sixteen_threads_store_and_each_media_is_whole(storage):
    store = opened(storage)

    def work(number):
        data = of_size(1000 + number)
        stored = store.store_media(MediaContent(data=data, mime_type="video/mp4"), R1)
        in_pieces = written(store, data[:500], data[500:], run=f"r{number % 4}", mime_type="video/mp4")
        assert store.retrieve_media(stored).read_bytes() == data
        assert stored in list(store.list(run_id="r1"))
        return {stored: data, in_pieces: data}

    with ThreadPoolExecutor(THREADS) as pool:
        expected = {key: data for answer in pool.map(work, range(THREADS)) for key, data in answer.items()}
    assert len(expected) == 2 * THREADS
    assert storage.contents().keys() == {STORE_JSON, *with_sidecars(*expected)}
    assert storage.keys() == {STORE_JSON, *with_sidecars(*expected)}
    assert storage.contents().items() >= expected.items()


def test_threads_read_one_media_each_from_its_own_place_and_then_delete_it(storage):
    store = opened(storage)
    data = of_size(600_000)
    reference = store.store_media(MediaContent(data=data, mime_type="video/mp4"), R1)

    def work(number):
        with store.open(reference) as file:
            file.seek(number * 1000)
            return file.read(1000)

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(work, range(THREADS))) == [data[n * 1000 : n * 1000 + 1000] for n in range(THREADS)]
        assert list(pool.map(store.delete_media, repeat(reference, THREADS))) == [None] * THREADS
    assert storage.keys() == {STORE_JSON}
    raised(MediaNotFoundError, store.info, reference)


@on(LOCAL, MEMORY, S3_RCLONE, GCS)
def test_a_pickled_store_is_the_same_store(storage):
    opened(storage, default_policy="retain-1days").create()
    unused = pickle.loads(pickle.dumps(opened(storage, read_only=True)))
    assert list(unused.list()) == []
    raised(PermissionError, unused.create)
    assert storage.keys() == {STORE_JSON}
    store = opened(storage, default_policy="retain-1days", max_file_size=5000)
    reference = store.store_media(png(), R1)
    again = pickle.loads(pickle.dumps(store))
    assert repr(again) == repr(store) == f"MediaStore({storage.url!r})"
    assert again.retrieve_media(reference).read_bytes() == PNG
    second = again.store_media(png(), R1)
    assert again.info(second).policy_name == "retain-1days"
    assert storage.read(second) == PNG
    with pytest.raises(ValueError, match="max_file_size of 5000"):
        again.store_media(MediaContent(data=of_size(5001), mime_type="video/mp4"), R1)
    if storage.name in OBJECT_STORAGES:  # a content has no way to its bytes then, but says where they are
        content = pickle.loads(pickle.dumps(store.retrieve_media(reference)))
        assert content.storage_reference == reference
        raised(ValueError, content.read_bytes, match="storage_reference")


CHILD = """
import pickle, sys
from fsmedia import MediaContent, MediaMetadata
store, reference = pickle.load(sys.stdin.buffer)
data = store.retrieve_media(reference).read_bytes()
new = store.store_media(MediaContent(data=data[::-1], mime_type="image/png"), MediaMetadata(run_id="child"))
print(new)
"""


@on(S3_RCLONE, of=SHARED)
def test_a_fresh_process_takes_a_pickled_store(storage):
    store = opened(storage, now=utc_now)
    reference = store.store_media(png(), R1)
    handed = pickle.dumps((store, reference))
    new = subprocess.check_output([sys.executable, "-c", CHILD], input=handed, timeout=PATIENCE).decode().strip()
    assert storage.read(new) == PNG[::-1]
    assert sorted(store.list()) == sorted([reference, new])


@on(LOCAL, of=SHARED)
def test_a_pool_of_spawned_processes_stores(storage):
    store = opened(storage)
    first = store.store_media(png(), R1)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        new = list(pool.map(store.store_media, [png()] * 3, [R1] * 3, timeout=PATIENCE))
        assert len({*new, first}) == 4
        assert [record.run_id for record in pool.map(store.info, new, timeout=PATIENCE)] == ["r1"] * 3
        error = raised(MediaNotFoundError, pool.submit(store.info, "runs/r1/nothing.png").result, PATIENCE)
        assert error.reference == "runs/r1/nothing.png"
    assert storage.keys() == {STORE_JSON, *with_sidecars(first, *new)}


def in_a_fork(function):
    """Return what the function returns in a forked child; fail if the child hangs."""
    receiving, sending = multiprocessing.Pipe(duplex=False)

    def run():
        try:
            sending.send((True, function()))
        except BaseException as error:  # it must reach the parent as text, whatever it is
            sending.send((False, repr(error)))

    gc.disable()  # else the child collects what belongs to the parent, and warns
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: that is what this is about
            child = multiprocessing.get_context("fork").Process(target=run)
            child.start()
    finally:
        gc.enable()
    sending.close()
    try:
        assert receiving.poll(PATIENCE), "the forked child hangs"
        good, answer = receiving.recv()
        assert good, answer
        return answer
    finally:
        child.join(5)
        if child.is_alive():
            child.kill()
            child.join()
        receiving.close()


@on(LOCAL, S3_RCLONE, of=SHARED)
def test_a_forked_child_uses_the_store_that_its_parent_used_and_so_does_its_own_child(storage):
    store = opened(storage)
    first = store.store_media(png(), R1)
    content = store.retrieve_media(first)
    assert list(store.list()) == [first]

    def child():
        assert content.read_bytes() == PNG
        with store.open(first) as file:
            file.seek(5)
            assert file.read(5) == PNG[5:10]
        new = store.store_media(png(), MediaMetadata(run_id="child"))
        large = written(store, of_size(9 * 2**20), run="child", mime_type="video/mp4")
        assert sorted(store.list()) == sorted([first, new, large])
        store.delete_media(first)
        return [str(new), str(large), in_a_fork(lambda: str(store.store_media(png(), R1)))]

    new, large, of_a_child = in_a_fork(child)
    assert storage.keys() == {STORE_JSON, *with_sidecars(new, large, of_a_child)}
    assert storage.read(large) == of_size(9 * 2**20)
    last = store.store_media(png(), R1)  # the parent goes on as before
    assert set(store.list()) == {new, large, of_a_child, last}


def test_a_process_forked_in_the_middle_of_a_store_harms_nothing(local_storage):
    """The child inherits an open writer; when the child ends, the parent's temporary file is still there."""
    store = opened(local_storage)
    with store.create_media(R1, "image/png") as writer:
        writer.write(PNG[:100])
        assert in_a_fork(lambda: list(store.list())) == []
        writer.write(PNG[100:])
    assert local_storage.read(writer.reference) == PNG
