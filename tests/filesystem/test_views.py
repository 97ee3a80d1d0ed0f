"""Views at the top of `media://`: all at once, over every way of writing, read-only, as fsspec's own filesystems are.

What happens to media while a view shows them as they were: no wrong bytes; and how many requests views ask for.
"""

import asyncio
import multiprocessing
import os
import pickle
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, product
from typing import Any, NamedTuple

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fsmedia import AsyncMediaStore, MediaContent, MediaMetadata, MediaStore, errors
from fsmedia.format.layout import escape_id
from tests.catalogs import old_enough
from tests.conftest import make_storage
from tests.contract.specimens import raised
from tests.filesystem.children import found_in
from tests.filesystem.conftest import EVERYWHERE, OWN, TAKE, WRITE, files_in, made, opened
from tests.protocol.wire import costs, costs_at_most, counted
from tests.storages import ALL_STORAGES, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, SFTP, Storage
from tests.transfers import shared_in_place

VIEWS = {"by-day": "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}", "all_of-it": "{name}{ext}"}
FIELDS = {"by-session": "session_id", "by-conversation": "conversation_id", "by-run": "run_id"}
MODES = tuple(FIELDS)
INNER = re.compile(r"\.[0-9]+-[0-9a-f]{64}-[0-9a-z]{26}")
HOSTILE = ["a/../b", "..", ".fsmedia", "by-run", "é 💥", "x" * 300, "50%~_", "*[a]?", "~_"]
NAMES = [*MODES, *VIEWS]
EACH_WAY = [
    # Each storage in three ways, the quickest in six.
    pytest.param(name, mode, shared, marks=[] if name in (MEMORY, LOCAL, S3_RCLONE) else pytest.mark.full)
    for name in ALL_STORAGES
    for mode in MODES
    for shared in (False, True)
    if name == MEMORY or shared is (mode == "by-session")
]
WAYS = (
    WRITE
    | TAKE
    | {
        "touch again": lambda fs, path, _: fs.touch(path, truncate=False),
        "rm the view": lambda fs, path, _: fs.rm(path.partition("/")[0], recursive=True),
        "rmdir": lambda fs, path, _: fs.rmdir(path.partition("/")[0]),
        "mkdir below": lambda fs, path, _: fs.mkdir(f"{path}-folder"),
        "makedirs above": lambda fs, path, _: fs.makedirs(path.rpartition("/")[0], exist_ok=True),
        "setxattrs": lambda fs, path, _: fs.setxattrs(path, {"user.a": 1}),
        "policy": lambda fs, path, _: fs.setxattrs(path, {"fsmedia.policy_name": "retain-1days"}),
        "removexattr": lambda fs, path, _: fs.removexattr(path, "user.a"),
    }
)
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
NUMBERS = count(1)
PATTERNS = [
    "by-run/*", "by-run/*/", "by-run/**", "by-run/**/*.png", "by-run/*/*.txt", "by-run/r1/*", "by-run/r[0-9]/*",
    "by-run/r?/*_00_*", "by-run/none*", "by-day/*/image/png/*", "by-day/**/png/*", "by-day/2026-03-0[45]/*",
    "by-day/*/*", "by-session/a~2fb/*", "by-session/{r1,a~2fb}/*", "all_of-it/000[0-3]*.*", "all_of-it/**",
    "by-run/r~5b1~5d~2a~3f/*",
]  # fmt: skip
GOT = ["by-run", "by-run/", "by-day/2026-03-04", "by-run/r1/*.txt", "by-session/*", "all_of-it"]


class Media(NamedTuple):
    metadata: MediaMetadata
    data: bytes
    mime_type: str


def media(*, ids: list[str] | None = None) -> list[Media]:
    """Some media; every id is there with and without the others, some bytes are equal."""
    names = ids or ["r1", "r2", "r3"]
    found = []
    for number, name in enumerate(names * 2):
        at = datetime(2026, 3, 4 + number % 2, 23, tzinfo=UTC)
        who = {"run_id": name, "session_id": names[number // 2 % len(names)]}
        who["conversation_id"] = name if number % 2 else names[0]
        data = b"equal bytes" if number % 3 == 0 else b"bytes of number %d" % number
        metadata = MediaMetadata(**who, message_idx=number, timestamp=at)
        found.append(Media(metadata, data, "image/png" if number % 2 else "text/plain"))
    return found


def filled(
    storage: Storage, *, mode: str = "by-run", deduplicate: bool = False, some: list[Media] | None = None
) -> tuple[MediaStore, dict[str, Media]]:
    """Make a store with views, and media in it by reference."""
    store = made(storage, organization=mode, deduplicate=deduplicate, views=VIEWS)
    wanted = media() if some is None else some
    pairs = [(MediaContent(data=each.data, mime_type=each.mime_type), each.metadata) for each in wanted]
    return store, dict(zip(store.store_many(pairs), wanted, strict=True))


def expected(stored: dict[str, Media]) -> dict[str, str]:
    """Work out, from what was stored alone, the path of every media in every view, and whose it is."""
    found: dict[str, str] = {}
    for reference, each in stored.items():
        name = INNER.sub("", reference.rpartition("/")[2])
        day = each.metadata.timestamp.strftime("%Y-%m-%d") if each.metadata.timestamp else ""
        found[f"by-day/{day}/{each.mime_type}/{name}"] = reference
        found[f"all_of-it/{name}"] = reference
        for view, field in FIELDS.items():
            folder = escape_id(getattr(each.metadata, field))
            # No part of a path is called as the folder in which stores keep their own files.
            folder = "~2efsmedia" if folder == ".fsmedia" else folder
            found[f"{view}/{folder}/{name}"] = reference
    return found


def below(paths: dict[str, Any], folder: str) -> list[str]:
    return sorted(path for path in paths if path.startswith(f"{folder}/"))


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
        assert fs.modified(path).timestamp() == fs.created(path).timestamp() == info["mtime"]
        assert fs.getxattr(path, "fsmedia.run_id") == stored[reference].metadata.run_id
        assert all(look(path) == look(reference) for look in (fs.metadata, fs.listxattr))
        assert fs.ukey(path) == fs.ukey(path)
        with fs.open(path) as file:
            assert file.read() == stored[reference].data
    assert storage.keys() == before, "reading views wrote something"


def test_recursive_reads_from_the_top_meet_each_media_once_and_urls_name_views(storage):
    store, stored = filled(storage)
    fs, references = store.fs, sorted(stored)
    assert fs.find("") == fs.glob("**/*.*") == fs.glob("*/*/*") == references
    assert sorted(f"{path}/{name}" for path, _, names in fs.walk("") for name in names) == references
    assert fs.du("") == sum(len(each.data) for each in stored.values())
    assert fs.glob("by-*") == fs.glob("by-*/*") == []
    assert not any(path.startswith("by-") for path in fs.expand_path("", recursive=True))
    assert len(fs.glob("by-run/*/*")) == len(references)
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


def test_hostile_ids(storage):
    store, stored = filled(storage, some=media(ids=HOSTILE))
    fs, wanted = store.fs, expected(stored)
    for view in NAMES:
        assert fs.find(view) == below(wanted, view)
    for path in below(wanted, "by-session"):
        assert fs.cat_file(path) == stored[wanted[path]].data
        assert fs.isdir(path.rpartition("/")[0])
    for path in ("by-run/../x", "by-run//x", "by-run/r1/../r2", "by-run/.fsmedia/store.json"):
        raised(FileNotFoundError, fs.cat_file, path)


def test_what_is_not_there_and_writes_are_refused(storage, tmp_path):
    store, stored = filled(storage)
    fs = store.fs
    path = below(expected(stored), "by-run")[0]
    for missing in ("by-run/r9", "by-run/r1/x.png", f"{path}/x", "by-day/2026", "by-nothing/x", "by-day/x::y"):
        assert not any(look(missing) for look in (fs.exists, fs.isfile, fs.isdir, fs.find))
        for look in (fs.info, fs.ls, fs.cat_file, fs.open, fs.metadata, fs.modified):
            raised(errors.MediaNotFoundError, look, missing)
    for folder in ("by-run", "by-run/r1"):
        assert (fs.isdir(folder), fs.isfile(folder)) == (True, False)
        for look in (fs.cat_file, fs.open, fs.metadata):
            raised(IsADirectoryError, look, folder)
    # Writes are refused and change nothing.
    local = tmp_path / "x"
    local.write_bytes(b"x")
    fs.pipe_file(OWN, b"own")
    before = storage.contents()
    for place in (path, "by-run/r1/new.txt", "by-day/new.txt", "by-session/x/y/z"):
        for way, write in WAYS.items():
            caught = raised(errors.ReadOnlyStoreError, write, fs, place, str(local), match="can't be written to")
            assert caught.reference.startswith(place.partition("/")[0]), way
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
    got = {f"by-run/{name}": data for name, data in files_in(tmp_path / "got").items()}
    assert got == {each: stored[wanted[each]].data for each in below(wanted, "by-run")}


def test_roots_without_settings(storage):
    """Where there is nothing, there is no view; media that somebody put there are shown."""
    fs = opened(storage)
    assert not any((fs.ls(""), fs.find("by-run"), fs.exists("by-run")))
    raised(errors.MediaNotFoundError, fs.ls, "by-run")
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
        assert store.info("by-run/r1/x.txt").size_bytes == 11
        with fs.open("by-run/r1/x.txt") as file:
            found = (file.read(), fs.cat_file("by-run/r1/x.txt"), store.retrieve_media("by-run/r1/x.txt").read_bytes())
        assert set(found) == {b"really here"}
        assert fs.info("by-run/r1/x.txt")["reference"] == "by-run/r1/x.txt"
        [other] = [path for path in fs.find("by-run") if path != "by-run/r1/x.txt"]
        assert fs.cat_file(other) == b"of run r1"
        assert sorted(fs.cat(fs.find("by-session")).values()) == [b"of run r1", b"really here"]
        store.create()
    store.delete_media("by-run/r1/x.txt")
    raised(errors.MediaNotFoundError, fs.cat_file, "by-run/r1/x.txt")


def test_a_view_is_made_of_what_the_caller_names(memory_storage):
    with pytest.raises(errors.StoreConflictError, match="views"):
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
        ranges = await fs._cat_ranges(paths, [0] * len(paths), [2] * len(paths))
        assert ranges == [stored[wanted[path]].data[:2] for path in paths]
        assert await fs._glob("by-session/r1/*") == [path for path in paths if "/r1/" in path]
        assert (await fs._exists(paths[0]), await fs._isdir("by-session/r1")) == (True, True)
        assert (await fs._info(paths[0]))["reference"] == wanted[paths[0]]
        for top in ("", "by-session"):
            assert [each async for each in fs._walk(top)] == list(fs.walk(top))
        async with await fs.open_async(paths[0]) as file:
            assert await file.read() == stored[wanted[paths[0]]].data
        await fs._cp_file(paths[0], "runs/r9/x.txt")
        for refused in (fs._rm(paths[0]), fs._pipe_file(paths[0], b"x"), fs._rm_file(paths[0]), fs._mkdir("by-run/x")):
            with pytest.raises(errors.ReadOnlyStoreError):
                await refused

    asyncio.run(work())


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_pickles_and_children_begin_without_it(local_storage, start):
    store, stored = filled(local_storage)
    fs, wanted = store.fs, below(expected(stored), "by-run")
    assert fs.find("by-run") == wanted
    again = pickle.loads(pickle.dumps(opened(local_storage, view_max_age=7)))
    assert (again, again._views.max_age) == (opened(local_storage, view_max_age=7), timedelta(seconds=7))
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
    assert (store.fs.isdir("by-run"), store.fs.exists("by-day")) == (True, True)
    for look in (store.fs.ls, store.fs.find, store.fs.glob):
        with pytest.raises(OSError, match="pip install pyarrow duckdb"):
            look("by-run/*" if look == store.fs.glob else "by-run")


def test_ages(storage, clock):
    made(storage)
    for age in (-1, float("nan"), float("inf"), "1m", True, timedelta(seconds=-1)):
        for open_at in (opened, lambda place, **options: MediaStore(place.url, **options)):
            raised(errors.InvalidMediaError, open_at, storage, match="view_max_age", view_max_age=age)
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


# -- while media change, and requests ---------------------------------------------------------------------------
@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
def test_a_media_that_was_deleted_since_is_not_found_and_stored_again_it_is_another(storage, deduplicate, tmp_path):
    store, stored = filled(storage, deduplicate=deduplicate)
    wanted = expected(stored)
    fs = opened(storage, view_max_age=None, skip_instance_cache=True)
    assert len(fs.find("by-run")) == len(stored)
    path = below(wanted, "by-run")[0]
    others = {each for each in wanted if wanted[each] == wanted[path]}
    store.delete_media(wanted[path])
    for way, look in LOOKS.items():
        fs._views._shown[os.getpid()]._made.rows._gone.clear()  # each way comes first
        caught = raised(errors.MediaNotFoundError, look, fs, path, str(tmp_path / "x"))
        assert caught.reference == path, way
        assert wanted[path] in str(caught)
    # Since somebody looked it is shown no more, in no view.
    for other in others:
        assert not fs.exists(other)
        assert other not in fs.find(other.partition("/")[0])
    assert fs.find("by-run") == below(wanted, "by-run")[1:]
    # Names that the store gives are fresh, so an old path never means a new media.
    each = stored[wanted[path]]
    again = store.store_media(MediaContent(data=b"other bytes", mime_type=each.mime_type), each.metadata)
    fs = opened(storage, view_max_age=0)
    assert not fs.exists(path)
    raised(errors.MediaNotFoundError, fs.cat_file, path)
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
def test_a_media_that_was_overwritten_since_is_read_whole_and_no_part_of_another_version_is_given_out(storage, new):
    fs, path = written(storage)
    opened(storage).pipe_file("runs/r1/table.csv", new)
    assert (fs.info(path)["size"], fs.cat_file(path)) == (15, new)
    assert fs.info(path)["size"] == fs.du("by-run") == len(new)  # who looked knows
    fs, path = written(storage)
    opened(storage).pipe_file("runs/r1/table.csv", new)
    with fs.open(path) as file:
        assert (file.size, file.read()) == (len(new), new)
    assert fs.info(path)["size"] == len(new)
    # Who asks for a part goes by the size of before: a footer of a Parquet file, a chunk of a table.
    for read in (
        lambda fs, path: fs.cat_file(path, 4, 15), lambda fs, path: fs.cat_file(path, start=4),
        lambda fs, path: fs.cat_file(path, end=5), lambda fs, path: fs.cat_ranges([path], [4], [15], on_error="raise"),
    ):  # fmt: skip
        fs, path = written(storage)
        read(fs, path)
        opened(storage).pipe_file("runs/r1/table.csv", new)
        caught = raised(errors.StorageError, read, fs, path, match="was overwritten since this view was made")
        assert caught.reference == path
        assert fs.info(path)["size"] == len(new)
        assert fs.cat_file(path, 0, fs.info(path)["size"]) == new


@EVERYWHERE
def test_a_version_of_the_same_size_is_told_by_its_token_and_while_that_is_too_young_by_its_time(storage):
    if storage.name == SFTP:
        pytest.skip("it tells no token, and times in seconds")
    for told_by in ("token", "time") if storage.name == LOCAL else ("token",):
        with old_enough() if told_by == "token" else nullcontext():
            fs, path = written(storage)
        assert told_by == "time" or fs.cat_file(path, 4, 7) == b"old"
        opened(storage).pipe_file("runs/r1/table.csv", b"the new version")
        raised(errors.StorageError, fs.cat_file, path, 4, 7, match="was overwritten")
        assert fs.cat_file(path, 4, 7) == b"new"


def test_many_threads_read_views_and_renamed_media_keep_their_paths(storage):
    """Media that share bytes have other references, under which the views show the same paths."""
    _, stored = filled(storage)
    wanted = expected(stored)
    paths = below(wanted, "by-session")
    fs = opened(storage, view_max_age=0, skip_instance_cache=True)

    def read(_: int) -> dict[str, bytes]:
        return {path: fs.cat_file(path) for path in paths}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(4))) == [{path: stored[wanted[path]].data for path in paths}] * 4
    shared_in_place(storage)
    fs = opened(storage, view_max_age=0, skip_instance_cache=True)
    assert read(0) == {path: stored[wanted[path]].data for path in paths}
    assert not any(fs.info(path)["reference"] == wanted[path] for path in paths)
    assert fs.find("by-session") == paths


def test_requests_of_views(moto_storage):
    _, stored = filled(moto_storage)
    run = below(expected(stored), "by-run")
    fs = opened(moto_storage, view_max_age=0, skip_instance_cache=True)
    # The settings; the snapshots, the root, one folder in it; each sidecar, for there is no catalog.
    assert costs(moto_storage, partial(fs.find, "by-run"), list=3, get=1 + len(stored)) == run
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
    for call, wanted in (
        (lambda: fs.open(run[0]).read(), {"head": 1, "get": 2}), (lambda: fs.cat_file(run[0]), {"get": 2}),
        (lambda: fs.cat_file(run[0], 2, 5), {"get": 1}), (lambda: fs.cat(run), {"get": len(run)}),
        (lambda: fs.info(run[0], metadata=True), {"head": 1, "get": 1}),
    ):  # fmt: skip
        costs(moto_storage, call, **wanted)
    fs.pipe_file("runs/r1/named.txt", b"somebody's")
    fs = opened(moto_storage, skip_instance_cache=True)
    fs.ls("by-run")
    costs(moto_storage, lambda: fs.cat_file("by-run/r1/named.txt", 2, 5), get=1, head=1)


def test_requests_of_views_of_deduplicated_media(moto_storage):
    _, stored = filled(moto_storage, deduplicate=True)
    fs = opened(moto_storage, skip_instance_cache=True)
    run = fs.find("by-run")
    costs(moto_storage, lambda: fs.cat_file(run[0]), head=1, get=1)
    costs_at_most(moto_storage, 2, lambda: fs.open(run[0]).read())
    found, requests = counted(moto_storage, lambda: fs.cat(run))
    assert (len(found), sum(requests.values())) == (len(stored), 2 * len(run)), requests


def test_later_looks_read_only_what_changed(moto_storage, clock):
    """With or without a snapshot in the store: what was loaded before is the ground of the next look."""
    store, stored = filled(moto_storage)
    fs = opened(moto_storage, now=clock, skip_instance_cache=True)
    with old_enough():
        fs.find("by-run")
        clock.advance(timedelta(minutes=2))
        costs(moto_storage, partial(fs.find, "by-run"), list=3)
    store.store_media(MediaContent.from_text("one more"), MediaMetadata(run_id="r1"))
    clock.advance(timedelta(minutes=2))
    with old_enough():
        assert len(costs(moto_storage, partial(fs.find, "by-run"), list=3, get=1)) == len(stored) + 1


def test_a_snapshot_is_taken_as_it_is_while_it_is_young(moto_storage, clock):
    store, stored = filled(moto_storage)
    writer = MediaStore(moto_storage.url, storage_options=moto_storage.options, now=clock)
    writer.catalog()
    clock.advance(timedelta(seconds=30))
    fs = opened(moto_storage, now=clock, skip_instance_cache=True)
    # The settings, the snapshot.
    assert len(costs(moto_storage, partial(fs.find, "by-run"), list=1, get=2)) == len(stored)
    clock.advance(timedelta(minutes=5))
    store.store_media(MediaContent.from_text("one more"), MediaMetadata(run_id="r1"))
    writer.catalog()
    assert len(costs(moto_storage, partial(fs.find, "by-run"), list=1, get=1)) == len(stored) + 1


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


# -- as a filesystem in memory that holds the same files ---------------------------------------------------------
class Pair:
    """A store's filesystem, and one in memory with the same files as the views show."""

    def __init__(self, fs: Any, files: dict[str, bytes]) -> None:
        self.fs, self.files, self.raw = fs, files, MemoryFileSystem()
        self.root = f"/oracle-{next(NUMBERS)}"
        for path, data in files.items():
            self.raw.pipe_file(f"{self.root}/{path}", data)

    def agree(self, what: str, *arguments: Any, **options: Any) -> None:
        """Ask both the same; names of the one are cut to those of the other."""
        path, *rest = arguments
        mine = self._asked(lambda: getattr(self.fs, what)(path, *rest, **options))
        theirs = self._asked(lambda: getattr(self.raw, what)(f"{self.root}/{path}", *rest, **options))
        assert mine == theirs, f"{what}{arguments} {options}"

    def _asked(self, call: Callable[[], Any]) -> Any:
        try:
            return self._cut(call())
        except (FileNotFoundError, IsADirectoryError) as error:
            return "nothing" if isinstance(error, FileNotFoundError) else "a folder"

    def _cut(self, value: Any) -> Any:
        if isinstance(value, str):
            return value.removeprefix(f"{self.root}/").strip("/")
        if isinstance(value, list | tuple):
            cut = [self._cut(each) for each in value]
            return sorted(cut, key=repr) if isinstance(value, list) else tuple(cut)
        if isinstance(value, dict) and "type" in value and "name" in value:
            return {name: self._cut(value[name]) for name in ("name", "size", "type")}
        if isinstance(value, dict):
            return {self._cut(name): self._cut(each) for name, each in value.items()}
        return value


@pytest.fixture(params=(LOCAL, MEMORY, S3_RCLONE, pytest.param(S3_MOTO, marks=pytest.mark.full)), scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    storage = make_storage(request.param, request, tmp_path_factory.mktemp("oracle"))
    store, stored = filled(storage, deduplicate=request.param == LOCAL, some=media(ids=["r1", "a/b", "r[1]*?", "é"]))
    made = Pair(store.fs, {path: stored[reference].data for path, reference in expected(stored).items()})
    yield made
    made.raw.rm(made.root, recursive=True)


def paths(pair: Pair) -> list[str]:
    files = sorted(pair.files)[::5]
    folders = {file.rsplit("/", depth)[0] for file in files for depth in range(1, file.count("/") + 1)}
    return [*files, *sorted(folders), "by-run/none", "by-day/2026-03-04/image/none/x", f"{files[0]}/below"]


def test_looks_listings_and_walks(pair):
    for path in paths(pair):
        for what in ("exists", "isdir", "isfile", "info", *(["size"] if pair.fs.isfile(path) else [])):
            pair.agree(what, path)
    for path in (each + slash for each in paths(pair) for slash in ("", "/")):
        for detail in (False, True):
            pair.agree("ls", path, detail=detail)
        for total in (True, False):
            pair.agree("du", path, total=total)
        for options in (
            {}, {"maxdepth": 1}, {"maxdepth": 2}, {"withdirs": True}, {"withdirs": True, "maxdepth": 1},
            {"withdirs": True, "maxdepth": 2, "detail": True}, {"detail": True},
        ):  # fmt: skip
            pair.agree("find", path, **options)

    def walked(fs: Any, path: str, **options: Any) -> list[Any]:
        found = fs.walk(path, **options)
        return sorted((pair._cut(top), sorted(folders), sorted(names)) for top, folders, names in found)

    for path in paths(pair):
        for options in ({}, {"maxdepth": 1}, {"maxdepth": 2}, {"topdown": False}):
            if pair.fs.isdir(path):
                assert walked(pair.fs, path, **options) == walked(pair.raw, f"{pair.root}/{path}", **options)


def test_patterns_and_bytes(pair):
    for pattern in PATTERNS:
        for options in ({}, {"detail": True}, {"maxdepth": 1} if "**" in pattern else {}):
            pair.agree("glob", pattern, **options)
        pair.agree("expand_path", pattern)
        pair.agree("expand_path", pattern, recursive=True)
    for path, data in list(pair.files.items())[::3]:
        for part in ((None, None), (0, 3), (2, None), (None, 4), (-3, None), (None, -2), (1, -1), (5, 5), (0, 99)):
            pair.agree("cat_file", path, *part)
        for what in ("head", "tail"):
            pair.agree(what, path, 3)
        pair.agree("read_block", path, 1, 4)
        assert pair.fs.cat_ranges([path] * 2, [0, 2], [2, 4]) == [data[:2], data[2:4]]
        with pair.fs.open(path) as file:
            found = (file.read(2), file.seek(-2, 2), file.read(), file.size)
        assert found == (data[:2], len(data) - 2, data[-2:], len(data))


def test_getting(pair, tmp_path):
    for number, (source, into) in enumerate(product(GOT, ("there", "new", "new/"))):
        got = []
        for fs, root, name in ((pair.fs, "", "mine"), (pair.raw, f"{pair.root}/", "theirs")):
            target = tmp_path / str(number) / name
            (target / "there").mkdir(parents=True)
            fs.get(f"{root}{source}", f"{target}/{into}", recursive=True)
            got.append(files_in(target))
        assert got[0] == got[1] != {}, (source, into)
