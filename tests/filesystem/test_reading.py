"""What `media://` shows of a store and hides, as fsspec's own filesystems would; named after their stories."""

import asyncio
import subprocess
import sys
import threading
import wave
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

import fsspec
import pytest
from fsspec.asyn import sync
from fsspec.callbacks import NoOpCallback

from fsmedia import MediaStore, errors
from fsmedia.core import records
from fsmedia.filesystem import media_filesystem
from fsmedia.format.keys import VIEWS
from fsmedia.storage import SEEK_BLOCK, Exclusion
from fsmedia.storage.fsspec_backend import FsspecBackend, each_of
from tests.conftest import on
from tests.contract.specimens import R1, png, put, raised
from tests.filesystem.conftest import DATA, EVERYWHERE, QUICK, files_in, made, opened, written
from tests.protocol.faults import files_of_at_most
from tests.protocol.wire import costs, counted
from tests.servers import WrongAnswer
from tests.storages import AZURE, FILE_SERVERS, LOCAL, MEMORY, OBJECT_STORAGES, S3_RCLONE, S3_SEAWEED, SMB, WITHOUT_URLS
from tests.surfaces.specimens import sound

EACH_KIND = pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
OWN = "runs/r1/0000_00_u01m836r9g7eygaqez4kbe8w012.png"
FSSPEC_LEAVES_ITS_CACHE_OPEN = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
ODD_NAMES = (
    "runs/r1//x.png", "runs//r2/x.png", "//x.png", "runs/r1/a::b.png", "runs/a::b/x.png", "runs/r1/./x.png",
    "runs/r1/x?versionId=3",
)  # fmt: skip


def stored(storage, data=b"hey", settings=None, **fields):
    return put(made(storage, **settings or {}), content=png(data=data, caption="c"), **fields)


def test_sidecars_and_the_stores_own_folder_are_hidden(storage, fs):
    reference = stored(storage)
    storage.write(OWN, b"a store under way")
    storage.write("runs/r1/foreign.txt", b"somebody's")
    storage.write("runs/r1/gone.png.meta", b"{}")
    storage.write(".dedup_index.json", b"{}")
    shown = sorted([reference, "runs/r1/foreign.txt"])
    assert (fs.ls("", detail=False), fs.ls("runs/r1", detail=False)) == ([*sorted(VIEWS), "runs"], shown)
    assert fs.find("") == fs.find("runs/r1") == fs.glob("runs/*/*") == fs.glob("**/*.*") == shown
    assert sorted(f"{path}/{name}" for path, _, names in fs.walk("") for name in names) == shown
    assert fs.du("") == 3 + 10
    ours = (".fsmedia/store.json", ".fsmedia", ".dedup_index.json")
    for hidden in (f"{reference}.meta", *ours, OWN, "runs/r1/gone.png"):
        assert not any(look(hidden) for look in (fs.exists, fs.isfile, fs.isdir)), hidden
        for look in (fs.info, fs.ls, *((fs.cat_file, fs.open) if hidden.endswith((".png.meta", "store.json")) else ())):
            raised(FileNotFoundError, look, hidden)


@EVERYWHERE
def test_info(storage, fs):
    reference = stored(storage, session_id="s1", policy_name="retain-5days")
    info = fs.info(reference)
    assert (info["name"], info["size"], info["type"], info["mime_type"]) == (reference, 3, "file", "image/png")
    for when in (fs.modified(reference), fs.created(reference)):
        assert abs((datetime.now(UTC) - when).total_seconds()) < 120
    assert info["mtime"] == info["created"] == fs.modified(reference).timestamp()  # floats, as of a local file
    if storage.name in OBJECT_STORAGES:  # object stores tell all of our own names without being asked
        assert info["session_id"] == "s1"
    full = fs.info(reference, metadata=True)
    assert full.items() >= {"run_id": "r1", "session_id": "s1", "policy_name": "retain-5days", "caption": "c"}.items()
    assert {"sha256", "expires_at", "timestamp"} <= set(full)
    assert fs.metadata(reference)["sha256"] == full["sha256"]
    assert fs.info("runs/r1") == {"name": "runs/r1", "size": 0, "type": "directory"}
    assert fs.info("")["type"] == "directory"
    [listed] = fs.ls("runs/r1")
    assert {name: listed[name] for name in ("name", "size", "type", "mime_type")}.items() <= info.items()
    assert abs(listed["mtime"] - info["mtime"]) < 1  # a HEAD on S3 knows no milliseconds


def test_parts_and_what_is_missing_and_found(storage, fs):
    data = b"one\ntwo\nthree\n"
    fs.pipe_file("runs/r1/x.txt", data)
    for start, end in ((None, None), (0, 4), (2, None), (-3, None), (2, -2), (4, 4), (3, 99), (50, 60)):
        assert fs.cat_file("runs/r1/x.txt", start, end) == data[start:end], (start, end)
    assert fs.cat_ranges(["runs/r1/x.txt"] * 2, [1, 3], [2, 5]) == [b"n", b"\nt"]
    assert fs.head("runs/r1/x.txt", 3) == b"one"
    assert (fs.tail("runs/r1/x.txt", 6), fs.tail("runs/r1/x.txt", 100)) == (b"three\n", data)
    assert fs.read_block("runs/r1/x.txt", 0, 5) == b"one\nt"
    assert fs.read_block("runs/r1/x.txt", 1, 5, b"\n") == b"two\n"
    with fs.open("runs/r1/x.txt") as file:
        assert (file.size, file.seek(-2, 2), file.readline()) == (14, 12, b"e\n")
    fs.touch("runs/r1/empty.txt")
    with fs.open("runs/r1/empty.txt") as file:
        assert fs.cat_file("runs/r1/empty.txt") == fs.cat_file("runs/r1/empty.txt", 0, 5) == file.read() == b""
    # Missing files and folders, and the arguments of find.
    fs.pipe_file("runs/r1/x.txt", b"x")
    for call in (fs.cat_file, fs.open, fs.info, fs.ls, fs.ukey, fs.rm_file):
        raised(errors.MediaNotFoundError, call, "runs/r1/no.txt")
    raised(OSError, fs.cat_file, "runs/r1")
    raised(IsADirectoryError, fs.open, "runs/r1")
    assert fs.find("runs/no") == []
    assert fs.find("runs/r1/x.txt") == fs.ls("runs/r1/x.txt", detail=False) == ["runs/r1/x.txt"]
    both = ["runs/r1/x.txt", "runs/r1/no.txt"]
    for at_once in (1, 2, -1, None):
        assert fs.cat(both, on_error="omit", batch_size=at_once) == {"runs/r1/x.txt": b"x"}
        found = fs.cat(both, on_error="return", batch_size=at_once)
        assert (found[both[0]], type(found[both[1]])) == (b"x", errors.MediaNotFoundError)
        raised(errors.MediaNotFoundError, fs.cat, both, batch_size=at_once)
    fs.rm("runs/r1", recursive=True)
    fs.pipe({"runs/r1/a.txt": b"1", "runs/r1/sub/b.txt": b"2", "runs/r2/c.txt": b"3"})
    files, folders = ["runs/r1/a.txt", "runs/r1/sub/b.txt", "runs/r2/c.txt"], ["runs/r1", "runs/r2"]
    assert fs.find("runs", maxdepth=2) == ["runs/r1/a.txt", "runs/r2/c.txt"]
    assert fs.find("runs", withdirs=True) == sorted([*files, *folders, "runs", "runs/r1/sub"])
    assert fs.find("runs", maxdepth=1, withdirs=True) == ["runs", *folders]
    assert (fs.glob("runs/r*/?.txt"), fs.glob("runs/*")) == (["runs/r1/a.txt", "runs/r2/c.txt"], folders)
    assert fs.du("runs", total=False) == dict.fromkeys(files, 1)


def test_after_an_error_no_other_of_many_reads_begins():
    """Who asked for 10,000 media, and hears of one that is gone, neither waits for the rest nor pays for it."""
    begun = []

    async def read(number):
        begun.append(number)
        await asyncio.sleep(0)
        if number == 3:
            raise OSError("gone")
        return number

    async def both():
        assert await each_of([partial(read, number) for number in (7, 5, 9)], 2) == [7, 5, 9]
        begun.clear()
        with pytest.raises(OSError, match="gone"):
            await each_of([partial(read, number) for number in range(1000)], 4)
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        with pytest.raises(ValueError, match="at least one"):
            await each_of([], -2)

    asyncio.run(both())
    assert len(begun) < 50


@EVERYWHERE
def test_what_others_do_is_seen_at_once(storage, fs):
    other = opened(storage, skip_instance_cache=True)
    assert fs.find("") == []
    seen = set()
    for data in (b"one", b"another"):
        other.pipe_file("runs/r1/x.txt", data)
        assert fs.ls("runs/r1", detail=False) == ["runs/r1/x.txt"]
        assert (fs.cat_file("runs/r1/x.txt"), fs.info("runs/r1/x.txt")["size"]) == (data, len(data))
        with fs.open("runs/r1/x.txt") as file:
            assert file.read() == data
        seen.add(fs.ukey("runs/r1/x.txt"))
    assert len(seen) == 2
    other.rm_file("runs/r1/x.txt")
    assert not fs.exists("runs/r1/x.txt")
    assert fs.find("") == []
    storage.write("runs/r2/y.txt", b"behind its back")
    assert fs.ls("runs/r2", detail=False) == ["runs/r2/y.txt"]


@EVERYWHERE
@EACH_KIND
def test_signed_urls(storage, deduplicate):
    reference = stored(storage, settings={"deduplicate": deduplicate})
    fs = opened(storage)
    if storage.name in WITHOUT_URLS:
        raised(OSError, fs.sign, reference, match="URL")
        return
    url = fs.sign(reference, expiration=60)
    assert url.startswith(("file://", "http://"))
    assert deduplicate or reference.rpartition("/")[2] in url
    for missing in ("runs/r1/no.png", reference.replace("r1/", "r9/")):
        raised(FileNotFoundError, fs.sign, missing)


# -- threads, loops ----------------------------------------------------------------------------------------------
def test_many_threads_and_inside_a_running_loop(storage, fs):
    names = [f"runs/r{number}/x.txt" for number in range(16)]
    gate = threading.Barrier(8)

    def work(name):
        if names.index(name) < 8:
            gate.wait(30)
        fs.pipe_file(name, name.encode())
        return fs.cat_file(name)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, names)) == [name.encode() for name in names]
    assert len(fs.find("runs")) == 16

    async def cell():
        fs.pipe_file("runs/r1/x.txt", b"hey")
        return fs.cat(["runs/r1/x.txt"]), fs.ls("runs/r1", detail=False), fs.glob("runs/*/*")

    assert asyncio.run(cell()) == ({"runs/r1/x.txt": b"hey"}, ["runs/r1/x.txt"], sorted(names))


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


@QUICK
def test_no_loop_over_local_and_memory(storage, fs):
    fs.pipe({"runs/r1/x.txt": b"hey"})
    assert fs.cat(["runs/r1/x.txt"]) == {"runs/r1/x.txt": b"hey"}
    assert (fs.async_impl, fs._workers) == (False, None)


# -- requests ----------------------------------------------------------------------------------------------------
def test_requests(moto_storage, moto_fs):
    fs = moto_fs
    references = made(moto_storage).store_many([(png(data=b"x" * 20), R1)] * 5)
    fs.info(references[0])
    assert fs._backend.exclusion is Exclusion.CONDITIONS  # asked once in a process
    for call, wanted in (
        # The sidecar says what the bytes are; they are looked at in the same round trip.
        (lambda: fs.open(references[0]).read(), {"get": 2, "head": 1}),
        (lambda: fs.cat_file(references[0]), {"get": 2}), (lambda: fs.cat(references), {"get": 5}),
        (lambda: fs.cat_ranges(references, [0] * 5, [5] * 5), {"get": 5}),
        (lambda: fs.info(references[0]), {"head": 1, "get": 1}), (lambda: fs.ls("runs/r1"), {"list": 1}),
        (lambda: fs.find(""), {"list": 1}),
        # In one round trip: what it replaces, its hold, PromptKit's index, which may name what goes.
        (lambda: fs.pipe_file("runs/r1/x.txt", b"x"), {"get": 3, "head": 1, "put": 2}),
    ):  # fmt: skip
        answer = costs(moto_storage, call, **wanted)
        assert not isinstance(answer, list) or len(answer) == 5
    _, requests = counted(moto_storage, lambda: fs.rm(references))
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
    assert len(costs(rclone_storage, lambda: opened(rclone_storage).ls("runs/r1"), list=2)) == 600


def test_seeks_fetch_blocks_of_256_kib(moto_storage, moto_fs):
    moto_fs.pipe_file("runs/r1/x.bin", bytes(4 * 2**20))
    with moto_storage.counted() as requests, moto_fs.open("runs/r1/x.bin") as file:
        for number, start in enumerate((3 * 2**20, 2**20), 1):
            file.seek(start)
            file.read(10)
            assert file._file._file.cache.total_requested_bytes <= number * (SEEK_BLOCK + 10)
    # Sidecar and a look in one round trip, then the blocks.
    assert requests == {"head": 1, "get": 3}


# -- as other filesystems do -------------------------------------------------------------------------------------
@EACH_KIND
def test_open_takes_what_only_tunes_a_cache_and_refuses_what_would_change_a_result(storage, deduplicate: bool) -> None:
    """Dask reads Parquet with default_cache="none", and was refused."""
    reference = stored(storage, data=DATA, settings={"deduplicate": deduplicate})
    fs = opened(storage)
    for options in (
        {"default_cache": "none", "fill_cache": False, "max_blocks": 4, "size": len(DATA)},
        {"block_size": "default", "cache_type": "no such cache", "cache_options": {}},
        *({"cache_type": name, "block_size": 2**16} for name in ("none", "all", "bytes", "first", "readahead")),
        {"cache_type": "parts", "cache_options": {"data": {(7, 9): DATA[7:9]}}},
        {"cache_type": "blockcache", "block_size": 2**16, "cache_options": {"maxblocks": 4}},
    ):
        with fs.open(reference, **options) as file:
            assert (file.seek(7), file.read(2)) == (7, DATA[7:9]), options
            assert (file.seek(-5, 2), file.read()) == (len(DATA) - 5, DATA[-5:]), options
            file.seek(0)
            assert sha256(file.read()).digest() == sha256(DATA).digest(), options
    written(fs, "runs/r1/new.txt", "wb", fill_cache=False, cache_type="none", block_size=5)
    for words in ({"content_typ": "image/png"}, {"version_id": "3"}, {"acl": "public-read"}):
        raised(errors.InvalidMediaError, fs.open, reference, match=next(iter(words)), **words)


def test_a_cache_asked_for_by_name_still_checks_what_it_reads_whole(storage, fs) -> None:
    fs.pipe_file("runs/r1/x.bin", DATA)
    for name, error in (("runs/r1/y.bin", errors.MediaNotFoundError), ("runs/r1", IsADirectoryError)):
        raised(error, fs.open, name, cache_type="all")
    storage.write("runs/r1/x.bin", DATA[:-1] + b"?")
    storage.write("runs/r1/x.bin.meta", storage.read("runs/r1/x.bin.meta"))  # else the bytes count as newer
    for name in ("all", "none"):
        with pytest.raises(errors.CorruptMediaError), fs.open("runs/r1/x.bin", cache_type=name) as file:
            file.read()


@FSSPEC_LEAVES_ITS_CACHE_OPEN
def test_each_of_fsspecs_caches_reads_through_a_store(storage, fs, tmp_path: Path) -> None:
    """Block caches ask a file for its block size and for ranges, which ours had not."""
    fs.pipe_file("runs/r1/x.bin", DATA)
    protocol = storage.url.partition("://")[0] if "://" in storage.url else "file"
    for cache in ["blockcache", "cached", "filecache", "simplecache"] * 2:
        options = {cache: {"cache_storage": str(tmp_path / cache)}, protocol: storage.options}
        with fsspec.open(f"{cache}::media://runs/r1/x.bin::{storage.url}", **options) as file:
            file.seek(2**19)
            assert file.read(10) == DATA[2**19 :][:10]
            file.seek(0)
            assert file.read() == DATA


@FSSPEC_LEAVES_ITS_CACHE_OPEN
def test_a_block_cache_asks_for_no_block_twice(moto_storage, moto_fs, tmp_path: Path) -> None:
    moto_fs.pipe_file("runs/r1/x.bin", DATA)
    cached = fsspec.filesystem("blockcache", fs=moto_fs, cache_storage=str(tmp_path / "cache"))
    # The sidecar at the opening, one block; then the sidecar alone.
    for count, wanted in ((2**17, 2), (2**18 - 1, 1)):
        with moto_storage.counted() as requests, cached.open("runs/r1/x.bin", block_size=2**18) as file:
            file.seek(2**18)
            assert file.read(count) == DATA[2**18 :][:count]
        assert requests["get"] == wanted, requests


@EVERYWHERE
def test_a_file_tells_of_itself_what_other_filesystems_files_tell(storage) -> None:
    reference = stored(storage, data=DATA)
    storage.write("runs/r1/foreign.bin", DATA)
    for verify_reads in (True, False):
        fs = opened(storage, verify_reads=verify_reads)
        for name in (reference, "runs/r1/foreign.bin"):
            with fs.open(name) as file:
                assert (file.size, file.closed, file.path) == (len(DATA), False, name)
                assert file.blocksize > 0
                assert (getattr(file, "mode", "rb"), type(getattr(file, "name", ""))) == ("rb", str)
                buffer = bytearray(10)
                assert (file.readinto(buffer), bytes(buffer), file.tell()) == (10, DATA[:10], 10)
                if storage.name not in ("local", "memory"):
                    assert file.loc == 10
            assert file.closed
        with fs.open("runs/r1/new.bin", "wb") as file:
            file.write(b"12")
            told = (file.mode, file.path, file.name, file.tell(), file.loc)
            assert told == ("wb", "runs/r1/new.bin", "runs/r1/new.bin", 2, 2)


def test_wave_reads_sound_from_every_storage_and_times_are_numbers(storage, fs, tmp_path: Path) -> None:
    """A file on S3 had the mode None, which wave believed."""
    fs.pipe_file("runs/r1/x.wav", sound(0.1))
    for name in ("runs/r1/x.wav", "by-run/r1/x.wav"):
        with fs.open(name) as file, wave.open(file) as heard:
            assert (heard.getnframes(), heard.getframerate()) == (800, 8000)
    # Times are numbers, as those of local files: jupyter-fs makes dates of them, and could list no folder.
    (tmp_path / "x").write_bytes(b"")
    local = fsspec.filesystem("file").info(str(tmp_path / "x"))
    fs.pipe_file("runs/r1/x.txt", b"x")
    told = [fs.info("runs/r1/x.txt"), *fs.ls("runs/r1"), *fs.find("runs", detail=True).values(), *fs.ls("by-run/r1")]
    for info in told:
        assert {type(info[name]) for name in ("created", "mtime")} == {type(local["mtime"])} == {float}
        assert abs(info["mtime"] - local["mtime"]) < 300


@EVERYWHERE
def test_a_foreign_name_that_no_reference_can_have_is_not_listed(storage, fs, tmp_path: Path) -> None:
    """One such name, and no folder could be copied or read as a whole; `d` was listed in `d` on S3 and GCS."""
    fs.pipe({"runs/r1/good.png": b"1", "runs/r1/deep/good.png": b"2"})
    good = ["runs/r1/deep/good.png", "runs/r1/good.png"]
    for number, name in enumerate(ODD_NAMES):
        if storage.name in (LOCAL, S3_RCLONE, S3_SEAWEED, *FILE_SERVERS) and ("//" in name or "/./" in name):
            continue  # a disk has no such names
        if storage.name == SMB and {*"?:"} & {*name}:
            continue  # Samba gives another name
        if storage.name == AZURE and "/./" in name:
            continue  # its client asks for another
        storage.write(name, b"foreign")
        assert fs.ls("runs/r1", detail=False) == ["runs/r1/deep", "runs/r1/good.png"], name
        for found in (fs.ls("runs", detail=False), fs.ls("", detail=False)):
            assert not [each for each in found if "::" in each or each in ("", "runs/")], name
        assert fs.ls("runs", detail=False) == ["runs/r1"], name
        assert fs.find("runs") == fs.find("") == good, name
        assert fs.find("runs", withdirs=True) == ["runs", "runs/r1", "runs/r1/deep", *good], name
        assert fs.find("runs/r1", maxdepth=1) == good[1:], name
        assert fs.glob("runs/**/*.png") == good, name
        assert sorted(f"{path}/{each}" for path, _, names in fs.walk("") for each in names) == good, name
        assert fs.cat("runs/**/*.png") == fs.cat(fs.find("runs")) == {good[0]: b"2", good[1]: b"1"}, name
        fs.get("runs", str(tmp_path / f"out{number}"), recursive=True)
        assert files_in(tmp_path / f"out{number}") == {"r1/deep/good.png": b"2", "r1/good.png": b"1"}, name
        assert sorted(MediaStore(storage.url, storage_options=storage.options).list()) == good, name
        storage.remove(name)


def test_files_of_two_stores_never_count_as_one_to_caches_that_ask(tmp_path: Path) -> None:
    """Two stores in memory, the same path, size and time: only the store differs."""
    first, second = (MediaStore(f"memory://{tmp_path.name}/{name}").create().fs for name in ("a", "b"))
    for fs in (first, second):
        fs.pipe_file("runs/r1/x.txt", b"same")
    files = [first._backend.fs.store[f"/{tmp_path.name}/{name}/runs/r1/x.txt"] for name in ("a", "b")]
    files[1].modified = files[0].modified
    assert first.info("runs/r1/x.txt") == second.info("runs/r1/x.txt")
    assert first.checksum("runs/r1/x.txt") == first.checksum("runs/r1/x.txt") != second.checksum("runs/r1/x.txt")
    assert first.fsid != second.fsid


@QUICK
def test_what_a_full_disk_does_not_take_is_named(storage, fs, tmp_path: Path) -> None:
    """It said "No space left on device", and not where; a limit on the size of files stands for the disk."""
    fs.pipe_file("runs/r1/x.bin", DATA)
    target = str(tmp_path / "x.bin")
    for get in (fs.get_file, fs.get):
        with files_of_at_most(1000), pytest.raises(OSError, match=rf"File too large.*{target}"):
            get("runs/r1/x.bin", target)
    if storage.name == "local":
        done = subprocess.run(
            ["/bin/sh", "-c", 'ulimit -f 1; exec "$0" -B -m fsmedia.cli get -s "$1" runs/r1/x.bin -o "$2" --force',
             sys.executable, storage.url, target], capture_output=True, text=True, timeout=100, check=False
        )  # fmt: skip
        assert done.returncode != 0
        assert f"{target}: File too large" in done.stderr


def test_patterns_in_coroutines_need_one_worker_thread_each(moto_fs, monkeypatch):
    """Each had a thread wait for a coroutine that waited for a thread: more patterns than threads never ended."""
    monkeypatch.setattr(media_filesystem, "_THREADS", 1)
    moto_fs.pipe({"a/x.txt": b"1", "b/x.txt": b"2"})

    async def ask():
        async with asyncio.timeout(30):
            assert await moto_fs._expand_path("a/*") == ["a/x.txt"]
            await moto_fs._rm("b/*")

    asyncio.run(ask())
    assert moto_fs.glob("*/*.txt") == ["a/x.txt"]


def test_a_file_comes_into_a_folder_that_is_not_there_yet_and_not_over_one_of_this_machine(fs, tmp_path):
    """Over S3 nothing was written, and nothing said so."""
    fs.pipe_file("runs/r1/x.txt", b"hey")
    fs.get_file("runs/r1/x.txt", tmp_path / "new" / "x.txt")
    assert files_in(tmp_path / "new") == {"x.txt": b"hey"}
    folder = tmp_path / "folder"
    for _ in range(2):
        fs.get_file("runs/r1", folder)
        assert folder.is_dir()
        raised(IsADirectoryError, fs.get_file, "runs/r1/x.txt", folder)
        assert not files_in(folder)
    raised(errors.MediaNotFoundError, fs.get_file, "runs/r1/y.txt", tmp_path / "y.txt")
    assert not (tmp_path / "y.txt").exists()


@on(MEMORY)
def test_coroutines_take_by_position_what_those_of_fsspec_take(fs, tmp_path):
    """The batch size of `_rm` was taken for a depth: what lay deeper stayed, and `_get` and `_put` refused theirs."""

    async def work():
        await fs._pipe({"a/b/c/deep.txt": b"1", "a/top.txt": b"2"}, None, 8)
        await fs._get("a", str(tmp_path / "a"), True, NoOpCallback(), 1)
        await fs._put(str(tmp_path / "a"), "put/", True, NoOpCallback(), 8, 1)
        await fs._rm("a", True, 1)

    asyncio.run(work())
    assert files_in(tmp_path) == {"a/top.txt": b"2"}
    assert fs.find("") == ["put/top.txt"]


def test_a_whole_read_takes_as_long_as_its_size_allows_and_one_request_no_thread(rclone_storage, monkeypatch):
    """`cat` of one large media ended at the timeout of small requests, and then at none at all."""
    made(rclone_storage)
    data = bytes(3 * 2**20)
    opened(rclone_storage).pipe({"runs/r1/x.txt": b"hey", "runs/r1/large.bin": data})
    asked, patience = [], FsspecBackend._patience
    monkeypatch.setattr(FsspecBackend, "_patience", lambda self, size: asked.append(size) or patience(self, size))
    for verify_reads in (True, False):
        fs = opened(rclone_storage, verify_reads=verify_reads, timeout=timedelta(seconds=2))
        assert fs.cat(["runs/r1/x.txt"]) == {"runs/r1/x.txt": b"hey"}
        assert max(asked) < 2**20
        for read in (fs.cat, partial(records.read_found, fs._backend, start=None, end=None, verify_reads=verify_reads)):
            asked.clear()
            with rclone_storage.server.answering(WrongAnswer("GET", r"large\.bin($|\?)", change="hung", times=1)):
                assert read("runs/r1/large.bin") == data
            assert max(asked) >= len(data)
            assert patience(fs._backend, max(asked)) == 8
        asked.clear()
    # Two changes of threads took a quarter of the time of a small read, of which bulk calls make thousands.
    fs = opened(rclone_storage, skip_instance_cache=True)
    assert sync(fs.loop, fs._cat_file, "runs/r1/x.txt", bulk=True) == b"hey"
    assert fs.cat_ranges(["runs/r1/x.txt"], [1], [3]) == [b"ey"]
    assert fs._workers is None
    raised(errors.MediaNotFoundError, sync, fs.loop, fs._cat_file, "runs/r1/none.txt", bulk=True)
