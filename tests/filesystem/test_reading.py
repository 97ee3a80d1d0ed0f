"""What `media://` shows of a store, what it hides, what it costs, and that it shows it fresh."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import fsspec
import pytest

from fsmedia import MediaContent, MediaMetadata, MediaNotFoundError, MediaStore
from fsmedia.format.keys import VIEWS
from fsmedia.storage import SEEK_BLOCK
from tests.filesystem.conftest import made, opened

OWN = "runs/r1/0000_00_u01m836r9g7eygaqez4kbe8w012.png"


def stored(storage, run="r1", data=b"hey", **fields):
    store = MediaStore(storage.url, storage_options=storage.options, durability="rename")
    return store.store_media(
        MediaContent(data=data, mime_type="image/png", caption="c"), MediaMetadata(run_id=run, **fields)
    )


def test_sidecars_and_the_stores_own_folder_are_hidden(storage, fs):
    reference = stored(storage)
    storage.write(OWN, b"a store under way")
    storage.write("runs/r1/foreign.txt", b"somebody's")
    storage.write("runs/r1/gone.png.meta", b"{}")
    storage.write(".dedup_index.json", b"{}")
    shown = sorted([reference, "runs/r1/foreign.txt"])
    assert fs.ls("", detail=False) == [*sorted(VIEWS), "runs"]
    assert fs.ls("runs/r1", detail=False) == shown
    assert fs.find("") == fs.find("runs/r1") == fs.glob("runs/*/*") == fs.glob("**/*.*") == shown
    assert sorted(f"{path}/{name}" for path, _, names in fs.walk("") for name in names) == shown
    assert fs.du("") == 3 + 10
    ours = (".fsmedia/store.json", ".fsmedia", ".dedup_index.json")
    for hidden in (OWN, f"{reference}.meta", *ours, "runs/r1/gone.png"):
        assert not fs.exists(hidden), hidden
        assert not fs.isfile(hidden)
        assert not fs.isdir(hidden)
        for look in (fs.info, fs.ls):
            with pytest.raises(FileNotFoundError):
                look(hidden)
    for hidden in (f"{reference}.meta", ".fsmedia/store.json"):
        with pytest.raises(FileNotFoundError):
            fs.cat_file(hidden)
        with pytest.raises(FileNotFoundError):
            fs.open(hidden)


def test_info(storage, fs):
    reference = stored(storage, session_id="s1", policy_name="retain-5days")
    info = fs.info(reference)
    assert (info["name"], info["size"], info["type"], info["mime_type"]) == (reference, 3, "file", "image/png")
    for when in (fs.modified(reference), fs.created(reference)):
        assert abs((datetime.now(UTC) - when).total_seconds()) < 120
    assert info["mtime"] == info["created"] == fs.modified(reference).timestamp()  # floats, as of a local file
    full = fs.info(reference, metadata=True)
    assert (full["run_id"], full["session_id"]) == ("r1", "s1")
    assert (full["policy_name"], full["caption"]) == ("retain-5days", "c")
    assert {"sha256", "expires_at", "timestamp"} <= set(full)
    assert fs.metadata(reference)["sha256"] == full["sha256"]
    assert fs.info("runs/r1") == {"name": "runs/r1", "size": 0, "type": "directory"}
    assert fs.info("")["type"] == "directory"
    [listed] = fs.ls("runs/r1")
    for name in ("name", "size", "type", "mime_type"):
        assert listed[name] == info[name]
    assert abs(listed["mtime"] - info["mtime"]) < 1  # a HEAD on S3 knows no milliseconds


def test_object_stores_tell_all_of_our_own_names_without_being_asked(object_storage):
    made(object_storage)
    reference = stored(object_storage, session_id="s1")
    assert opened(object_storage).info(reference)["session_id"] == "s1"


@pytest.mark.parametrize(
    ("start", "end"), [(None, None), (0, 4), (2, None), (-3, None), (2, -2), (4, 4), (3, 99), (50, 60)]
)
def test_ranges(storage, fs, start, end):
    data = b"0123456789"
    fs.pipe_file("runs/r1/x.txt", data)
    assert fs.cat_file("runs/r1/x.txt", start, end) == data[start:end]
    assert fs.cat_ranges(["runs/r1/x.txt"] * 2, [1, 3], [2, 5]) == [b"1", b"34"]


def test_an_empty_file(storage, fs):
    fs.touch("runs/r1/x.txt")
    assert fs.cat_file("runs/r1/x.txt") == b""
    with fs.open("runs/r1/x.txt") as file:
        assert file.read() == b""
    assert fs.cat_file("runs/r1/x.txt", 0, 5) == b""


def test_missing_files_and_folders(storage, fs):
    fs.pipe_file("runs/r1/x.txt", b"x")
    for call in (fs.cat_file, fs.open, fs.info, fs.ls, fs.ukey, fs.rm_file):
        with pytest.raises(MediaNotFoundError):
            call("runs/r1/no.txt")
    with pytest.raises(OSError):
        fs.cat_file("runs/r1")
    with pytest.raises(IsADirectoryError):
        fs.open("runs/r1")
    assert fs.find("runs/no") == []
    assert fs.find("runs/r1/x.txt") == ["runs/r1/x.txt"]
    assert fs.ls("runs/r1/x.txt", detail=False) == ["runs/r1/x.txt"]
    assert fs.cat(["runs/r1/x.txt", "runs/r1/no.txt"], on_error="omit") == {"runs/r1/x.txt": b"x"}


def test_find_knows_its_arguments(storage, fs):
    fs.pipe({"runs/r1/a.txt": b"1", "runs/r1/sub/b.txt": b"2", "runs/r2/c.txt": b"3"})
    assert fs.find("runs", maxdepth=2) == ["runs/r1/a.txt", "runs/r2/c.txt"]
    assert fs.find("runs", withdirs=True) == [
        "runs",
        "runs/r1",
        "runs/r1/a.txt",
        "runs/r1/sub",
        "runs/r1/sub/b.txt",
        "runs/r2",
        "runs/r2/c.txt",
    ]
    assert fs.find("runs", maxdepth=1, withdirs=True) == ["runs", "runs/r1", "runs/r2"]
    assert fs.glob("runs/r*/?.txt") == ["runs/r1/a.txt", "runs/r2/c.txt"]
    assert fs.glob("runs/*") == ["runs/r1", "runs/r2"]
    assert fs.du("runs", total=False) == {"runs/r1/a.txt": 1, "runs/r1/sub/b.txt": 1, "runs/r2/c.txt": 1}


def test_what_others_do_is_seen_at_once(storage, fs):
    other = opened(storage, skip_instance_cache=True)
    assert fs.find("") == []
    other.pipe_file("runs/r1/x.txt", b"one")
    assert fs.ls("runs/r1", detail=False) == ["runs/r1/x.txt"]
    assert (fs.cat_file("runs/r1/x.txt"), fs.info("runs/r1/x.txt")["size"]) == (b"one", 3)
    key = fs.ukey("runs/r1/x.txt")
    other.pipe_file("runs/r1/x.txt", b"another")
    assert (fs.cat_file("runs/r1/x.txt"), fs.info("runs/r1/x.txt")["size"]) == (b"another", 7)
    with fs.open("runs/r1/x.txt") as file:
        assert file.read() == b"another"
    assert fs.ukey("runs/r1/x.txt") != key
    other.rm_file("runs/r1/x.txt")
    assert not fs.exists("runs/r1/x.txt")
    assert fs.find("") == []
    storage.write("runs/r2/y.txt", b"behind its back")
    assert fs.ls("runs/r2", detail=False) == ["runs/r2/y.txt"]


def test_sign(storage, fs):
    reference = stored(storage)
    if storage.name in ("memory", "gcs"):
        with pytest.raises(OSError, match="URL"):
            fs.sign(reference)
    else:
        assert reference.rpartition("/")[2] in fs.sign(reference, expiration=60)
        with pytest.raises(FileNotFoundError):
            fs.sign("runs/r1/no.png")


# -- threads, loops ----------------------------------------------------------------------------------------------


def test_many_threads(storage, fs):
    names = [f"runs/r{number}/x.txt" for number in range(16)]
    gate = threading.Barrier(8)

    def work(name):
        if int(name[6:].partition("/")[0]) < 8:
            gate.wait(30)
        fs.pipe_file(name, name.encode())
        return fs.cat_file(name)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, names)) == [name.encode() for name in names]
    assert len(fs.find("runs")) == 16


def test_inside_a_running_loop(storage, fs):
    async def cell():
        fs.pipe_file("runs/r1/x.txt", b"hey")
        return fs.cat(["runs/r1/x.txt"]), fs.ls("runs/r1", detail=False), fs.glob("runs/*/*")

    assert asyncio.run(cell()) == ({"runs/r1/x.txt": b"hey"}, ["runs/r1/x.txt"], ["runs/r1/x.txt"])


def test_asynchronous(storage):
    made(storage)

    async def work():
        fs = opened(storage, asynchronous=True, skip_instance_cache=True)
        await fs._pipe_file("runs/r1/x.txt", b"hey")
        await fs._pipe({"runs/r1/y.txt": b"you"})
        async with await fs.open_async("runs/r1/z.txt", "wb") as file:
            await file.write(b"them")
        assert await fs._cat(["runs/r1/x.txt", "runs/r1/y.txt"]) == {"runs/r1/x.txt": b"hey", "runs/r1/y.txt": b"you"}
        assert await fs._cat_ranges(["runs/r1/x.txt"], [1], [2]) == [b"e"]
        assert (await fs._info("runs/r1/x.txt"))["size"] == 3
        assert await fs._glob("runs/r1/*") == ["runs/r1/x.txt", "runs/r1/y.txt", "runs/r1/z.txt"]
        async with await fs.open_async("runs/r1/z.txt") as file:
            assert await file.read(2) == b"th"
        await fs._cp_file("runs/r1/x.txt", "runs/r2/x.txt")
        await fs._rm("runs/r1", recursive=True)
        assert fs.find("runs") == ["runs/r2/x.txt"]  # the plain calls work too

    asyncio.run(work())


def test_no_loop_over_local_and_memory(tmp_path):
    for root in (str(tmp_path / "m"), "memory://no-loop"):
        MediaStore(root).create()
        fs = fsspec.filesystem("media", root=root, durability="rename")
        assert not fs.async_impl
        fs.pipe({"runs/r1/x.txt": b"hey"})
        assert fs.cat(["runs/r1/x.txt"]) == {"runs/r1/x.txt": b"hey"}
        assert fs._workers is None


def test_a_file_comes_into_a_folder_that_is_not_there_yet(moto_storage, tmp_path):
    made(moto_storage)
    fs = opened(moto_storage)
    fs.pipe_file("runs/r1/x.txt", b"hey")
    fs.get_file("runs/r1/x.txt", tmp_path / "new" / "x.txt")
    assert (tmp_path / "new" / "x.txt").read_bytes() == b"hey"
    fs.get_file("runs/r1", tmp_path / "folder")
    assert (tmp_path / "folder").is_dir()
    with pytest.raises(MediaNotFoundError):
        fs.get_file("runs/r1/y.txt", tmp_path / "y.txt")
    assert not (tmp_path / "y.txt").exists()


# -- requests ----------------------------------------------------------------------------------------------------


def test_requests(moto_storage):
    made(moto_storage)
    fs = opened(moto_storage)
    references = [stored(moto_storage, data=b"x" * 20) for _ in range(5)]
    fs.info(references[0])
    with moto_storage.counted() as requests, fs.open(references[0]) as file:
        file.read()
    # The sidecar says what the bytes are; they are looked at in the same round trip.
    assert requests == {"get": 2, "head": 1}
    with moto_storage.counted() as requests:
        fs.cat_file(references[0])
    assert requests == {"get": 2}
    with moto_storage.counted() as requests:
        assert len(fs.cat(references)) == 5
    assert requests == {"get": 5}
    with moto_storage.counted() as requests:
        fs.cat_ranges(references, [0] * 5, [5] * 5)
    assert requests == {"get": 5}
    with moto_storage.counted() as requests:
        fs.info(references[0])
    assert requests == {"head": 1, "get": 1}
    with moto_storage.counted() as requests:
        assert len(fs.ls("runs/r1")) == 5
    assert requests == {"list": 1}
    with moto_storage.counted() as requests:
        assert len(fs.find("")) == 5
    assert requests == {"list": 1}
    with moto_storage.counted() as requests:
        fs.pipe_file("runs/r1/x.txt", b"x")
    # In one round trip: what it replaces, its hold, PromptKit's index, which may name what goes.
    assert requests == {"get": 3, "head": 1, "put": 2}
    with moto_storage.counted() as requests:
        fs.rm(references)
    # A look at each, its sidecar, the holds; then all sidecars and all bytes by one request each.
    assert requests["bulk_delete"] == 2, requests
    assert sum(requests.values()) <= 2 + 3 * 5 + 1, requests


def test_a_long_folder_costs_a_listing_per_thousand_keys(rclone_storage):
    folder = rclone_storage.server.data_folder / rclone_storage.bucket / "runs" / "r1"
    folder.mkdir(parents=True)
    for number in range(600):
        (folder / f"{number:04d}.txt").write_bytes(b"x")
        (folder / f"{number:04d}.txt.meta").write_bytes(b"{}")
    made(rclone_storage)
    with rclone_storage.counted() as requests:
        assert len(opened(rclone_storage).ls("runs/r1")) == 600
    assert requests == {"list": 2}


def test_seeks_fetch_blocks_of_256_kib(moto_storage):
    made(moto_storage)
    fs = opened(moto_storage)
    fs.pipe_file("runs/r1/x.bin", bytes(4 * 2**20))
    with moto_storage.counted() as requests, fs.open("runs/r1/x.bin") as file:
        file.seek(3 * 2**20)
        file.read(10)
        assert file._file._file.cache.total_requested_bytes <= SEEK_BLOCK + 10
        file.seek(2**20)
        file.read(10)
        assert file._file._file.cache.total_requested_bytes <= 2 * (SEEK_BLOCK + 10)
    # Sidecar and a look in one round trip, then the blocks.
    assert requests == {"head": 1, "get": 3}
