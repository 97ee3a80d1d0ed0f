"""A store behaves as fsspec's own filesystems do, where programs count on it; each test named after its story."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import wave
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from fsmedia import CorruptMediaError, InvalidMediaError, MediaContent, MediaMetadata, MediaNotFoundError, MediaStore
from tests.filesystem.conftest import made, opened

if TYPE_CHECKING:
    from pathlib import Path

DATA = bytes(range(256)) * 4096
"""1 MiB: several blocks of a seek."""
FSSPEC_LEAVES_ITS_CACHE_OPEN = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


def stored(storage: Any, **settings: Any) -> str:
    """Store DATA as a media, so that the name is the store's."""
    store = MediaStore(storage.url, storage_options=storage.options, durability="rename", **settings).create()
    content = MediaContent.from_bytes(DATA, mime_type="application/octet-stream")
    return store.store_media(content, MediaMetadata(run_id="r1"))


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
def test_open_takes_what_only_tunes_a_cache(storage, deduplicate: bool) -> None:
    """Dask reads Parquet with default_cache="none", and was refused."""
    reference = stored(storage, deduplicate=deduplicate)
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
    with fs.open("runs/r1/new.txt", "wb", fill_cache=False, cache_type="none", block_size=5) as file:
        file.write(b"1")


def test_open_still_refuses_what_would_change_a_result(storage, fs) -> None:
    fs.pipe_file("runs/r1/x.txt", b"x")
    for words in ({"content_typ": "image/png"}, {"version_id": "3"}, {"acl": "public-read"}):
        with pytest.raises(InvalidMediaError, match=next(iter(words))):
            fs.open("runs/r1/x.txt", **words)


def test_a_cache_asked_for_by_name_still_checks_what_it_reads_whole(storage, fs) -> None:
    fs.pipe_file("runs/r1/x.bin", DATA)
    with pytest.raises(MediaNotFoundError):
        fs.open("runs/r1/y.bin", cache_type="all")
    with pytest.raises(IsADirectoryError):
        fs.open("runs/r1", cache_type="all")
    storage.write("runs/r1/x.bin", DATA[:-1] + b"?")
    storage.write("runs/r1/x.bin.meta", storage.read("runs/r1/x.bin.meta"))  # else the bytes count as newer
    for name in ("all", "none"):
        with pytest.raises(CorruptMediaError), fs.open("runs/r1/x.bin", cache_type=name) as file:
            file.read()


@FSSPEC_LEAVES_ITS_CACHE_OPEN
@pytest.mark.parametrize("cache", ["blockcache", "cached", "filecache", "simplecache"])
def test_each_of_fsspecs_caches_reads_through_a_store(storage, fs, tmp_path: Path, cache: str) -> None:
    """Block caches ask a file for its block size and for ranges, which ours had not."""
    fs.pipe_file("runs/r1/x.bin", DATA)
    url = f"{cache}::media://runs/r1/x.bin::{storage.url}"
    protocol = storage.url.partition("://")[0] if "://" in storage.url else "file"
    options = {cache: {"cache_storage": str(tmp_path / "cache")}, protocol: storage.options}
    for _ in range(2):
        with fsspec.open(url, **options) as file:
            file.seek(2**19)
            assert file.read(10) == DATA[2**19 :][:10]
            file.seek(0)
            assert file.read() == DATA


@FSSPEC_LEAVES_ITS_CACHE_OPEN
def test_a_block_cache_asks_for_no_block_twice(moto_storage, tmp_path: Path) -> None:
    made(moto_storage)
    fs = opened(moto_storage)
    fs.pipe_file("runs/r1/x.bin", DATA)
    cached = fsspec.filesystem("blockcache", fs=fs, cache_storage=str(tmp_path / "cache"))
    with moto_storage.counted() as requests, cached.open("runs/r1/x.bin", block_size=2**18) as file:
        file.seek(2**18)
        assert file.read(2**17) == DATA[2**18 :][: 2**17]
    assert requests["get"] == 2, requests  # the sidecar at the opening, one block
    with moto_storage.counted() as requests, cached.open("runs/r1/x.bin", block_size=2**18) as file:
        file.seek(2**18)
        assert file.read(2**18 - 1) == DATA[2**18 : 2**19 - 1]
    assert requests["get"] == 1, requests  # the sidecar alone


@pytest.mark.parametrize("verify_reads", [True, False])
def test_a_file_tells_of_itself_what_other_filesystems_files_tell(storage, verify_reads: bool) -> None:
    reference = stored(storage)
    for name in (reference, "runs/r1/foreign.bin"):
        storage.write("runs/r1/foreign.bin", DATA)
        fs = opened(storage, verify_reads=verify_reads)
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


def test_wave_reads_sound_from_every_storage(storage, fs) -> None:
    """A file on S3 had the mode None, which wave believed."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(1600))
    fs.pipe_file("runs/r1/x.wav", buffer.getvalue())
    for name in ("runs/r1/x.wav", "by-run/r1/x.wav"):
        with fs.open(name) as file, wave.open(file) as sound:
            assert (sound.getnframes(), sound.getframerate()) == (800, 8000)


def test_times_are_numbers_as_those_of_local_files(storage, fs, tmp_path: Path) -> None:
    """jupyter-fs makes dates of them, and could list no folder."""
    (tmp_path / "x").write_bytes(b"")
    local = fsspec.filesystem("file").info(str(tmp_path / "x"))
    fs.pipe_file("runs/r1/x.txt", b"x")
    for info in (
        fs.info("runs/r1/x.txt"),
        *fs.ls("runs/r1"),
        *fs.find("runs", detail=True).values(),
        *fs.ls("by-run/r1"),
    ):
        assert {type(info[name]) for name in ("created", "mtime")} == {type(local["mtime"])} == {float}
        assert abs(info["mtime"] - local["mtime"]) < 300


ODD_NAMES = ("runs/r1//x.png", "runs//r2/x.png", "//x.png", "runs/r1/a::b.png", "runs/a::b/x.png", "runs/r1/./x.png")


@pytest.mark.parametrize("name", [*ODD_NAMES, "runs/r1/x?versionId=3"])
def test_a_foreign_name_that_no_reference_can_have_is_not_listed(storage, fs, tmp_path: Path, name: str) -> None:
    """One such name, and no folder could be copied or read as a whole; `d` was listed in `d` on S3 and GCS."""
    if storage.name in ("local", "s3-rclone") and ("//" in name or "/./" in name):
        return  # a disk has no such names
    fs.pipe({"runs/r1/good.png": b"1", "runs/r1/deep/good.png": b"2"})
    storage.write(name, b"foreign")
    good = ["runs/r1/deep/good.png", "runs/r1/good.png"]
    assert fs.ls("runs/r1", detail=False) == ["runs/r1/deep", "runs/r1/good.png"]
    for found in (fs.ls("runs", detail=False), fs.ls("", detail=False)):
        assert not [each for each in found if "::" in each or each in ("", "runs/")], found
    assert fs.ls("runs", detail=False) == ["runs/r1"]
    assert fs.find("runs") == fs.find("") == good
    assert fs.find("runs", withdirs=True) == ["runs", "runs/r1", "runs/r1/deep", *good]
    assert fs.find("runs/r1", maxdepth=1) == good[1:]
    assert fs.glob("runs/**/*.png") == good
    assert sorted(f"{path}/{each}" for path, _, names in fs.walk("") for each in names) == good
    assert fs.cat("runs/**/*.png") == fs.cat(fs.find("runs")) == {good[0]: b"2", good[1]: b"1"}
    fs.get("runs", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out" / "r1" / "deep" / "good.png").read_bytes() == b"2"
    assert sorted(MediaStore(storage.url, storage_options=storage.options).list()) == good


def test_files_of_two_stores_never_count_as_one_to_caches_that_ask(tmp_path: Path) -> None:
    """Two stores in memory, the same path, size and time: only the store differs."""
    stores = [MediaStore(f"memory://{tmp_path.name}/{name}").create() for name in ("a", "b")]
    for store in stores:
        store.fs.pipe_file("runs/r1/x.txt", b"same")
    memory = stores[0].fs._backend.fs.store
    paths = [f"/{tmp_path.name}/{name}/runs/r1/x.txt" for name in ("a", "b")]
    memory[paths[1]].modified = memory[paths[0]].modified
    first, second = (store.fs for store in stores)
    assert first.info("runs/r1/x.txt") == second.info("runs/r1/x.txt")
    assert first.checksum("runs/r1/x.txt") == first.checksum("runs/r1/x.txt") != second.checksum("runs/r1/x.txt")
    assert first.fsid != second.fsid


def test_what_a_full_disk_does_not_take_is_named(storage, fs, tmp_path: Path) -> None:
    """It said "No space left on device", and not where; a limit on the size of files stands for the disk."""
    fs.pipe_file("runs/r1/x.bin", DATA)
    target = str(tmp_path / "x.bin")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        for get in (fs.get_file, fs.get):
            with pytest.raises(OSError, match=rf"File too large.*{target}"):
                get("runs/r1/x.bin", target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if storage.name == "local":
        done = subprocess.run(
            ["/bin/sh", "-c", 'ulimit -f 1; exec "$0" -m fsmedia.cli get -s "$1" runs/r1/x.bin -o "$2" --force',
             sys.executable, storage.url, target], capture_output=True, text=True, timeout=100, check=False
        )  # fmt: skip
        assert done.returncode != 0
        assert f"{target}: File too large" in done.stderr
