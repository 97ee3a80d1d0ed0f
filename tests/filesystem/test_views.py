"""Views at the top of `media://`: all at once, over every way of writing, on every storage, read-only."""

import asyncio
import multiprocessing
import os
import pickle
import sys
from datetime import timedelta

import fsspec
import pytest

from fsmedia import (
    AsyncMediaStore,
    InvalidMediaError,
    MediaContent,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    ReadOnlyStoreError,
    StoreConflictError,
)
from tests.filesystem.children import found_in
from tests.filesystem.conftest import files_in, made, opened
from tests.filesystem.viewed import HOSTILE, MODES, VIEWS, below, expected, filled, media
from tests.storages import ALL_STORAGES, LOCAL, MEMORY, S3_RCLONE

NAMES = [*MODES, *VIEWS]
EACH_WAY = [
    # Each storage in three ways, the quickest in six.
    pytest.param(name, mode, shared, marks=[] if name in (MEMORY, LOCAL, S3_RCLONE) else pytest.mark.full)
    for name in ALL_STORAGES
    for mode in MODES
    for shared in (False, True)
    if name == MEMORY or shared is (mode == "by-session")
]


@pytest.mark.parametrize(("storage", "mode", "deduplicate"), EACH_WAY, indirect=["storage"])
def test_every_media_stands_in_every_view(storage, mode, deduplicate):
    store, stored = filled(storage, mode=mode, deduplicate=deduplicate)
    wanted = expected(stored)
    fs, before = store.fs, storage.keys()
    assert fs.ls("", detail=False) == sorted([*NAMES, f"{mode.removeprefix('by-')}s"])
    for view in NAMES:
        assert fs.find(view) == below(wanted, view)
    assert fs.cat(list(wanted)) == {path: stored[reference].data for path, reference in wanted.items()}
    for path, reference in list(wanted.items())[::4]:
        info, full = fs.info(path), fs.info(path, metadata=True)
        assert (info["name"], info["size"], info["type"]) == (path, len(stored[reference].data), "file")
        assert (full["name"], info["reference"], full["reference"]) == (path, reference, reference)
        assert full["session_id"] == stored[reference].metadata.session_id
        assert info["mime_type"] == full["mime_type"] == stored[reference].mime_type
        assert fs.modified(path) == fs.created(path)
        assert fs.modified(path).timestamp() == info["mtime"]
        assert fs.getxattr(path, "fsmedia.run_id") == stored[reference].metadata.run_id
        assert fs.metadata(path) == fs.metadata(reference)
        assert fs.listxattr(path) == fs.listxattr(reference)
        assert fs.ukey(path) == fs.ukey(path)
        with fs.open(path) as file:
            assert file.read() == stored[reference].data
    assert storage.keys() == before, "reading views wrote something"


def test_recursive_reads_from_the_top_meet_each_media_once(storage):
    store, stored = filled(storage)
    fs, references = store.fs, sorted(stored)
    assert fs.find("") == fs.glob("**/*.*") == fs.glob("*/*/*") == references
    assert sorted(f"{path}/{name}" for path, _, names in fs.walk("") for name in names) == references
    assert fs.du("") == sum(len(each.data) for each in stored.values())
    assert fs.glob("by-*") == fs.glob("by-*/*") == []
    assert not any(path.startswith("by-") for path in fs.expand_path("", recursive=True))
    assert len(fs.glob("by-run/*/*")) == len(references)


def test_hostile_ids(storage):
    store, stored = filled(storage, some=media(ids=HOSTILE))
    fs, wanted = store.fs, expected(stored)
    for view in NAMES:
        assert fs.find(view) == below(wanted, view)
    for path in below(wanted, "by-session"):
        assert fs.cat_file(path) == stored[wanted[path]].data
        assert fs.isdir(path.rpartition("/")[0])
    for path in ("by-run/../x", "by-run//x", "by-run/r1/../r2", "by-run/.fsmedia/store.json"):
        with pytest.raises(FileNotFoundError):
            fs.cat_file(path)


def test_what_is_not_there(storage):
    store, stored = filled(storage)
    fs = store.fs
    path = below(expected(stored), "by-run")[0]
    for missing in ("by-run/r9", "by-run/r1/x.png", f"{path}/x", "by-day/2026", "by-nothing/x", "by-day/x::y"):
        assert not fs.exists(missing)
        assert not fs.isfile(missing)
        assert not fs.isdir(missing)
        assert fs.find(missing) == []
        for look in (fs.info, fs.ls, fs.cat_file, fs.open, fs.metadata, fs.modified):
            with pytest.raises(MediaNotFoundError):
                look(missing)
    for folder in ("by-run", "by-run/r1"):
        assert fs.isdir(folder)
        assert not fs.isfile(folder)
        for look in (fs.cat_file, fs.open, fs.metadata):
            with pytest.raises(IsADirectoryError):
                look(folder)


WRITES = {
    "pipe_file": lambda fs, path, _: fs.pipe_file(path, b"x"),
    "pipe": lambda fs, path, _: fs.pipe({path: b"x", "runs/r1/other.txt": b"x"}),
    "create": lambda fs, path, _: fs.pipe_file(path, b"x", mode="create"),
    "open wb": lambda fs, path, _: fs.open(path, "wb"),
    "open ab": lambda fs, path, _: fs.open(path, "ab"),
    "open w gzip": lambda fs, path, _: fs.open(path, "wt", compression="gzip"),
    "put": lambda fs, path, local: fs.put(local, path),
    "put_file": lambda fs, path, local: fs.put_file(local, path),
    "touch": lambda fs, path, _: fs.touch(path),
    "touch again": lambda fs, path, _: fs.touch(path, truncate=False),
    "rm": lambda fs, path, _: fs.rm(path),
    "rm of several": lambda fs, path, _: fs.rm(["runs/r1/own.txt", path]),
    "rm recursive": lambda fs, path, _: fs.rm(path.partition("/")[0], recursive=True),
    "rm_file": lambda fs, path, _: fs.rm_file(path),
    "mv from": lambda fs, path, _: fs.mv(path, "runs/r1/other.txt"),
    "mv onto": lambda fs, path, _: fs.mv("runs/r1/own.txt", path),
    "cp onto": lambda fs, path, _: fs.cp("runs/r1/own.txt", path),
    "cp_file onto": lambda fs, path, _: fs.cp_file("runs/r1/own.txt", path),
    "mkdir": lambda fs, path, _: fs.mkdir(f"{path}-folder"),
    "makedirs": lambda fs, path, _: fs.makedirs(path.rpartition("/")[0], exist_ok=True),
    "rmdir": lambda fs, path, _: fs.rmdir(path.partition("/")[0]),
    "setxattrs": lambda fs, path, _: fs.setxattrs(path, {"user.a": 1}),
    "policy": lambda fs, path, _: fs.setxattrs(path, {"fsmedia.policy_name": "retain-1days"}),
    "removexattr": lambda fs, path, _: fs.removexattr(path, "user.a"),
}


def test_writes_are_refused_and_change_nothing(storage, tmp_path):
    store, stored = filled(storage)
    fs, local = store.fs, tmp_path / "x"
    local.write_bytes(b"x")
    fs.pipe_file("runs/r1/own.txt", b"own")
    before = storage.contents()
    for path in (below(expected(stored), "by-run")[0], "by-run/r1/new.txt", "by-day/new.txt", "by-session/x/y/z"):
        for way, write in WRITES.items():
            with pytest.raises(ReadOnlyStoreError, match="can't be written to") as caught:
                write(fs, path, str(local))
            assert caught.value.reference.startswith(path.partition("/")[0]), way
    assert storage.contents() == before


def test_copies_out_of_a_view(storage, tmp_path):
    store, stored = filled(storage)
    fs, wanted = store.fs, expected(stored)
    path = below(wanted, "by-session")[0]
    fs.cp(path, "runs/r9/copy.png")
    record = store.info("runs/r9/copy.png")
    assert (record.run_id, record.session_id) == ("r9", stored[wanted[path]].metadata.session_id)
    assert fs.cat_file("runs/r9/copy.png") == stored[wanted[path]].data
    fs.cp("by-day", "runs/r8", recursive=True)
    assert fs.find("runs/r8") == [f"runs/r8/{each.removeprefix('by-day/')}" for each in below(wanted, "by-day")]
    fs.get("by-run", str(tmp_path / "got"), recursive=True)
    assert files_in(tmp_path / "got") == {
        each.removeprefix("by-run/"): stored[wanted[each]].data for each in below(wanted, "by-run")
    }


def test_roots_without_settings(storage):
    """Where there is nothing, there is no view; media that somebody put there are shown."""
    fs = opened(storage)
    assert fs.ls("") == []
    assert fs.find("by-run") == []
    assert not fs.exists("by-run")
    with pytest.raises(MediaNotFoundError):
        fs.ls("by-run")
    storage.write("runs/r1/x.txt", b"somebody's")
    fs = opened(storage, skip_instance_cache=True, view_max_age=0)
    assert fs.ls("", detail=False) == [*sorted(MODES), "runs"]
    assert fs.find("by-run") == ["by-run/r1/x.txt"]
    assert fs.cat_file("by-session/~_/x.txt") == b"somebody's"
    assert storage.keys() == {"runs/r1/x.txt"}
    # Once somebody has made a store with views here, they are seen by who had opened the root before.
    assert not fs.exists("by-day")
    MediaStore(storage.url, storage_options=storage.options, views=VIEWS).create()
    assert fs.isdir("by-day")
    assert fs.ls("all_of-it", detail=False) == ["all_of-it/x.txt"]


def test_a_folder_of_a_views_name_in_an_adopted_store(storage):
    """What really lies there is lost to nobody: same path, same bytes, once in that view and in all others."""
    storage.write("by-run/r1/x.txt", b"really here")
    storage.write("runs/r1/x.txt", b"of run r1")
    store = MediaStore(storage.url, storage_options=storage.options)
    fs = store.fs
    for _ in range(2):
        assert fs.ls("", detail=False) == [*sorted(MODES), "runs"]
        assert fs.find("") == sorted(store.list()) == ["by-run/r1/x.txt", "runs/r1/x.txt"]
        assert store.retrieve_media("by-run/r1/x.txt").read_bytes() == b"really here"
        assert store.info("by-run/r1/x.txt").size_bytes == 11
        with fs.open("by-run/r1/x.txt") as file:
            assert file.read() == fs.cat_file("by-run/r1/x.txt") == b"really here"
        assert fs.info("by-run/r1/x.txt")["reference"] == "by-run/r1/x.txt"
        [other] = [path for path in fs.find("by-run") if path != "by-run/r1/x.txt"]
        assert fs.cat_file(other) == b"of run r1"
        assert sorted(fs.cat(fs.find("by-session")).values()) == [b"of run r1", b"really here"]
        store.create()
    store.delete_media("by-run/r1/x.txt")
    with pytest.raises(MediaNotFoundError):
        fs.cat_file("by-run/r1/x.txt")


def test_urls(storage):
    store, stored = filled(storage)
    path = below(expected(stored), "by-day")[0]
    data = stored[expected(stored)[path]].data
    url = store.media_url(path)
    assert url == f"media://{path}::{storage.url if '://' in storage.url else 'file://' + storage.url}"
    with fsspec.open(url, **store.url_options) as file:
        assert file.read() == data
    fs, cut = fsspec.url_to_fs(url, **store.url_options)
    assert (cut, fs.unstrip_protocol(cut)) == (path, url)
    assert opened(storage).unstrip_protocol(path) == f"media://{path}"
    files = fsspec.open_files(store.media_url("by-day") and url.replace(path, "by-day/**/*.png"), **store.url_options)
    assert len(files) == 3


def test_a_view_is_made_of_what_the_caller_names(memory_storage):
    with pytest.raises(StoreConflictError, match="views"):
        filled(memory_storage)[0] and MediaStore(memory_storage.url, views={"other": "{name}{ext}"})
    assert MediaStore(memory_storage.url, views=VIEWS).fs.isdir("by-day")
    assert asyncio.run(AsyncMediaStore(memory_storage.url, views=VIEWS).create()).fs.isdir("by-day")


def test_coroutines(storage):
    _, stored = filled(storage)
    wanted = expected(stored)
    paths = below(wanted, "by-session")

    async def work() -> None:
        fs = opened(storage, asynchronous=True)
        assert await fs._find("by-session") == paths
        assert sorted(await fs._ls("", detail=False)) == sorted([*NAMES, "runs"])
        assert await fs._cat(paths) == {path: stored[wanted[path]].data for path in paths}
        assert await fs._cat_ranges(paths, [0] * len(paths), [2] * len(paths)) == [
            stored[wanted[path]].data[:2] for path in paths
        ]
        assert await fs._glob("by-session/r1/*") == [path for path in paths if "/r1/" in path]
        assert await fs._exists(paths[0])
        assert await fs._isdir("by-session/r1")
        assert (await fs._info(paths[0]))["reference"] == wanted[paths[0]]
        assert [each async for each in fs._walk("")] == list(fs.walk(""))
        assert [each async for each in fs._walk("by-session")] == list(fs.walk("by-session"))
        async with await fs.open_async(paths[0]) as file:
            assert await file.read() == stored[wanted[paths[0]]].data
        await fs._cp_file(paths[0], "runs/r9/x.txt")
        for refused in (fs._rm(paths[0]), fs._pipe_file(paths[0], b"x"), fs._rm_file(paths[0]), fs._mkdir("by-run/x")):
            with pytest.raises(ReadOnlyStoreError):
                await refused

    asyncio.run(work())


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_pickles_and_children_begin_without_it(local_storage, start):
    store, stored = filled(local_storage)
    fs, wanted = store.fs, below(expected(stored), "by-run")
    assert fs.find("by-run") == wanted
    again = pickle.loads(pickle.dumps(opened(local_storage, view_max_age=7)))
    assert again == opened(local_storage, view_max_age=7)
    assert again._views.max_age == timedelta(seconds=7)
    with multiprocessing.get_context(start).Pool(1) as pool:
        found, processes = pool.apply(found_in, (opened(local_storage), "by-run"))
    assert found == wanted
    assert os.getpid() not in processes


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_while_a_thread_looks_waits_for_nobody(local_storage):
    _, stored = filled(local_storage)
    fs = opened(local_storage, view_max_age=0, skip_instance_cache=True)
    wanted = below(expected(stored), "by-run")
    assert fs.find("by-run") == wanted
    with fs._views._shown[os.getpid()]._loading:  # as a thread has it that is not there in the child
        child = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(fs.find("by-run") != wanted))
        child.start()
        child.join(30)
    alive = child.is_alive()
    child.kill()
    assert (alive, child.exitcode) == (False, 0)


def test_without_pyarrow_the_error_says_what_to_install(memory_storage, monkeypatch):
    store, _ = filled(memory_storage)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert store.fs.ls("", detail=False) == sorted([*NAMES, "runs"])
    assert store.fs.isdir("by-run")
    assert store.fs.exists("by-day")
    for look in (store.fs.ls, store.fs.find, store.fs.glob):
        with pytest.raises(OSError, match=r"pip install 'fsmedia\[catalog\]'"):
            look("by-run/*" if look == store.fs.glob else "by-run")


def test_bad_ages_are_refused(memory_storage):
    for age in (-1, float("nan"), float("inf"), "1m", True, timedelta(seconds=-1)):
        with pytest.raises(InvalidMediaError, match="view_max_age"):
            opened(memory_storage, view_max_age=age)
        with pytest.raises(InvalidMediaError, match="view_max_age"):
            MediaStore(memory_storage.url, view_max_age=age)


def test_ages(storage, clock):
    made(storage)
    options = {"storage_options": storage.options, "now": clock}
    store = MediaStore(storage.url, view_max_age=timedelta(seconds=30), **options)
    at_once = opened(storage, view_max_age=0)
    once = MediaStore(storage.url, view_max_age=None, **options).fs
    assert store.fs.find("by-run") == at_once.find("by-run") == once.find("by-run") == []
    store.store_media(MediaContent.from_text("x"), MediaMetadata(run_id="r1"))
    assert len(at_once.find("by-run")) == 1
    clock.advance(timedelta(seconds=30))
    assert store.fs.find("by-run") == []
    clock.advance(timedelta(seconds=1))
    assert store.fs.find("by-run") == at_once.find("by-run")
    clock.advance(timedelta(days=9))
    assert once.find("by-run") == []
