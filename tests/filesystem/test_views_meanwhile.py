"""What happens to media while a view shows them as they were: no wrong bytes; and how many requests views ask for."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaNotFoundError, MediaStore, StorageError
from tests.catalogs import old_enough
from tests.filesystem.conftest import EVERYWHERE, made, opened
from tests.filesystem.viewed import below, expected, filled
from tests.transfers import shared_in_place

LOOKS = {
    "cat_file": lambda fs, path, _: fs.cat_file(path),
    "a part": lambda fs, path, _: fs.cat_file(path, 1, 2),
    "cat": lambda fs, path, _: fs.cat([path]),
    "cat_ranges": lambda fs, path, _: fs.cat_ranges([path], [0], [2], on_error="raise"),
    "open": lambda fs, path, _: fs.open(path),
    "get_file": lambda fs, path, local: fs.get_file(path, local),
    "get": lambda fs, path, local: fs.get(path, local),
    "info": lambda fs, path, _: fs.info(path, metadata=True),
    "metadata": lambda fs, path, _: fs.metadata(path),
    "getxattr": lambda fs, path, _: fs.getxattr(path, "fsmedia.run_id"),
    "cp": lambda fs, path, _: fs.cp_file(path, "runs/r9/x.txt"),
    "head": lambda fs, path, _: fs.head(path, 2),
}


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
def test_a_media_that_was_deleted_since_is_not_found(storage, deduplicate, tmp_path):
    store, stored = filled(storage, deduplicate=deduplicate)
    wanted = expected(stored)
    fs = opened(storage, view_max_age=None, skip_instance_cache=True)
    assert len(fs.find("by-run")) == len(stored)
    path = below(wanted, "by-run")[0]
    others = {each for each in wanted if wanted[each] == wanted[path]}
    store.delete_media(wanted[path])
    for way, look in LOOKS.items():
        fs._views._shown[os.getpid()]._made.rows._gone.clear()  # each way comes first
        with pytest.raises(MediaNotFoundError) as caught:
            look(fs, path, str(tmp_path / "x"))
        assert caught.value.reference == path, way
        assert wanted[path] in str(caught.value)
    # Since somebody looked it is shown no more, in no view.
    for other in others:
        assert not fs.exists(other)
        assert other not in fs.find(other.partition("/")[0])
    assert fs.find("by-run") == below(wanted, "by-run")[1:]


def test_a_media_that_was_deleted_and_stored_again_is_another(storage):
    """Names that the store gives are fresh, so an old path never means a new media."""
    store, stored = filled(storage, deduplicate=True)
    fs = opened(storage, view_max_age=0)
    path = below(expected(stored), "by-run")[0]
    reference = expected(stored)[path]
    store.delete_media(reference)
    each = stored[reference]
    again = store.store_media(MediaContent(data=b"other bytes", mime_type=each.mime_type), each.metadata)
    assert not fs.exists(path)
    with pytest.raises(MediaNotFoundError):
        fs.cat_file(path)
    assert again in {fs.info(found)["reference"] for found in fs.find("by-run")}


def written(storage, data=b"the old version"):
    fs = opened(storage, view_max_age=None)
    if not storage.keys():
        made(storage)
    fs._views._shown.clear()
    fs.pipe_file("runs/r1/table.csv", data)
    assert fs.info("by-run/r1/table.csv")["size"] == len(data)
    return fs, "by-run/r1/table.csv"


@pytest.mark.parametrize("new", [b"a new version, longer", b"short", b""])
def test_a_media_that_was_overwritten_since_is_read_whole(storage, new):
    fs, path = written(storage)
    opened(storage).pipe_file("runs/r1/table.csv", new)
    assert fs.info(path)["size"] == 15
    assert fs.cat_file(path) == new
    assert fs.info(path)["size"] == fs.du("by-run") == len(new)  # who looked knows
    fs, path = written(storage)
    opened(storage).pipe_file("runs/r1/table.csv", new)
    with fs.open(path) as file:
        assert (file.size, file.read()) == (len(new), new)
    assert fs.info(path)["size"] == len(new)


@pytest.mark.parametrize("new", [b"a new version, longer", b"short"])
def test_no_part_of_another_version_is_given_out(storage, new):
    """Who asks for a part goes by the size of before: a footer of a Parquet file, a chunk of a table."""
    for read in (
        lambda fs, path: fs.cat_file(path, 4, 15),
        lambda fs, path: fs.cat_file(path, start=4),
        lambda fs, path: fs.cat_file(path, end=5),
        lambda fs, path: fs.cat_ranges([path], [4], [15], on_error="raise"),
    ):
        fs, path = written(storage)
        read(fs, path)
        opened(storage).pipe_file("runs/r1/table.csv", new)
        with pytest.raises(StorageError, match="was overwritten since this view was made") as caught:
            read(fs, path)
        assert caught.value.reference == path
        assert fs.info(path)["size"] == len(new)
        assert fs.cat_file(path, 0, fs.info(path)["size"]) == new


@EVERYWHERE
def test_a_version_of_the_same_size_is_told_by_its_token(storage):
    with old_enough():
        fs, path = written(storage)
    assert fs.cat_file(path, 4, 7) == b"old"
    opened(storage).pipe_file("runs/r1/table.csv", b"the new version")
    with pytest.raises(StorageError, match="was overwritten"):
        fs.cat_file(path, 4, 7)
    assert fs.cat_file(path, 4, 7) == b"new"


def test_a_version_of_the_same_size_is_told_by_its_time(local_storage):
    fs, path = written(local_storage)  # so young that its token is not trusted
    opened(local_storage).pipe_file("runs/r1/table.csv", b"the new version")
    with pytest.raises(StorageError, match="was overwritten"):
        fs.cat_file(path, 4, 7)
    assert fs.cat_file(path, 4, 7) == b"new"


def test_renamed_media_keep_their_paths(storage):
    """Media that share bytes have other references, under which the views show the same paths."""
    _, stored = filled(storage)
    wanted = expected(stored)
    shared_in_place(storage)
    fs = opened(storage, view_max_age=0)
    for path in below(wanted, "by-session"):
        assert fs.cat_file(path) == stored[wanted[path]].data
        assert fs.info(path)["reference"] != wanted[path]
    assert fs.find("by-session") == below(wanted, "by-session")


def test_requests(moto_storage):
    _, stored = filled(moto_storage)
    run = below(expected(stored), "by-run")
    fs = opened(moto_storage, view_max_age=0, skip_instance_cache=True)
    with moto_storage.counted() as requests:
        assert fs.find("by-run") == run
    # The settings; the snapshots, the root, one folder in it; each sidecar, for there is no catalog.
    assert requests == {"list": 3, "get": 1 + len(stored)}
    fs = opened(moto_storage, skip_instance_cache=True)
    fs.find("by-run")
    with moto_storage.counted() as requests:
        for view in ("by-session", "by-day/2026-03-04", "by-run/r1"):
            for look in (fs.ls, fs.find, lambda view: list(fs.walk(view))):
                look(view)
        fs.glob("by-run/*/*.png")
        looks = [fs.exists(run[0]), fs.isdir("by-run/r1"), fs.isfile(run[0]), fs.exists("by-run/r9")]
        assert looks == [True, True, True, False]
        for look in (fs.info, fs.du, fs.modified):
            look(run[0])
    assert requests == {}
    with moto_storage.counted() as requests, fs.open(run[0]) as file:
        file.read()
    assert requests == {"head": 1, "get": 2}
    for call, wanted in (
        (lambda: fs.cat_file(run[0]), {"get": 2}),
        (lambda: fs.cat_file(run[0], 2, 5), {"get": 1}),
        (lambda: fs.cat(run), {"get": len(run)}),
        (lambda: fs.info(run[0], metadata=True), {"head": 1, "get": 1}),
    ):
        with moto_storage.counted() as requests:
            call()
        assert requests == wanted
    fs.pipe_file("runs/r1/named.txt", b"somebody's")
    fs = opened(moto_storage, skip_instance_cache=True)
    fs.ls("by-run")
    with moto_storage.counted() as requests:
        fs.cat_file("by-run/r1/named.txt", 2, 5)
    assert requests == {"get": 1, "head": 1}


def test_requests_of_deduplicated_media(moto_storage):
    _, stored = filled(moto_storage, deduplicate=True)
    fs = opened(moto_storage, skip_instance_cache=True)
    run = fs.find("by-run")
    with moto_storage.counted() as requests:
        fs.cat_file(run[0])
    assert requests == {"head": 1, "get": 1}
    with moto_storage.counted() as requests, fs.open(run[0]) as file:
        file.read()
    assert sum(requests.values()) <= 2, requests
    with moto_storage.counted() as requests:
        assert len(fs.cat(run)) == len(stored)
    assert sum(requests.values()) == 2 * len(run), requests


def test_later_looks_read_only_what_changed(moto_storage, clock):
    """With or without a snapshot in the store: what was loaded before is the ground of the next look."""
    store, stored = filled(moto_storage)
    fs = opened(moto_storage, now=clock, skip_instance_cache=True)
    with old_enough():
        fs.find("by-run")
    with old_enough(), moto_storage.counted() as requests:
        clock.advance(timedelta(minutes=2))
        fs.find("by-run")
    assert requests == {"list": 3}
    store.store_media(MediaContent.from_text("one more"), MediaMetadata(run_id="r1"))
    with old_enough(), moto_storage.counted() as requests:
        clock.advance(timedelta(minutes=2))
        assert len(fs.find("by-run")) == len(stored) + 1
    assert requests == {"list": 3, "get": 1}


def test_a_snapshot_is_taken_as_it_is_while_it_is_young(moto_storage, clock):
    store, stored = filled(moto_storage)
    writer = MediaStore(moto_storage.url, storage_options=moto_storage.options, now=clock)
    writer.catalog()
    clock.advance(timedelta(seconds=30))
    fs = opened(moto_storage, now=clock, skip_instance_cache=True)
    with moto_storage.counted() as requests:
        assert len(fs.find("by-run")) == len(stored)
    assert requests == {"list": 1, "get": 2}  # the settings, the snapshot
    clock.advance(timedelta(minutes=5))
    store.store_media(MediaContent.from_text("one more"), MediaMetadata(run_id="r1"))
    writer.catalog()
    with moto_storage.counted() as requests:
        assert len(fs.find("by-run")) == len(stored) + 1
    assert requests == {"list": 1, "get": 1}


def test_threads_that_begin_together_look_once(moto_storage):
    _, stored = filled(moto_storage)
    fs = opened(moto_storage, skip_instance_cache=True)
    fs.ls("")  # the settings are read
    gate = threading.Barrier(8)

    def look(_: int) -> int:
        gate.wait(30)
        return len(fs.find("by-run"))

    with moto_storage.counted() as requests, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(8))) == [len(stored)] * 8
    assert requests == {"list": 3, "get": len(stored)}


def test_many_threads(storage):
    store, stored = filled(storage)
    wanted = expected(stored)
    paths = below(wanted, "by-session")
    fs = opened(storage, view_max_age=0, skip_instance_cache=True)

    def read(_: int) -> dict[str, bytes]:
        return {path: fs.cat_file(path) for path in paths}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(4))) == [{path: stored[wanted[path]].data for path in paths}] * 4
    store.close()
