"""Files that nobody closed are stored when they are collected, as on other filesystems; each named after its story."""

from __future__ import annotations

import asyncio
import csv
import gc
import gzip
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.asyn import get_loop
from PIL import Image

from fsmedia import InvalidMediaError, MediaStore
from tests.filesystem.conftest import made, opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(params=["local", "memory"])
def quick(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    """Give a store where each call is quick."""
    return MediaStore(str(tmp_path / "m") if request.param == "local" else f"memory://{tmp_path.name}").create()


def gzipped(fs: Any, path: str) -> None:
    with gzip.open(fs.open(path, "wb"), "wt") as file:
        file.write("hello")


def zipped(fs: Any, path: str) -> None:
    with zipfile.ZipFile(fs.open(path, "wb"), "w") as file:
        file.writestr("a", "hello")


def tarred(fs: Any, path: str) -> None:
    with tarfile.open(fileobj=fs.open(path, "wb"), mode="w|gz") as file:
        file.addfile(tarfile.TarInfo("x"), io.BytesIO(b""))


def compressed_by_fsspec(fs: Any, path: str) -> None:
    file = fsspec.core.OpenFile(fs, path, "wt", compression="gzip", encoding="utf-8").open()
    file.write("hello")
    file.close()


LEFT_OPEN: dict[str, tuple[Callable[[Any, str], object], Callable[[Any], object]]] = {
    "a.json": (lambda fs, path: json.dump({"a": 1}, fs.open(path, "w")), json.load),
    "b.pkl": (lambda fs, path: pickle.dump([1], fs.open(path, "wb")), pickle.load),
    "c.png": (lambda fs, path: Image.new("1", (3, 3)).save(fs.open(path, "wb"), "PNG"), Image.open),
    "d.txt": (lambda fs, path: print("hello", file=fs.open(path, "w")), lambda file: file.read().index(b"hello")),
    "e.csv": (lambda fs, path: csv.writer(fs.open(path, "w")).writerow(["hello"]), lambda file: file.read()),
    "f.gz": (gzipped, lambda file: gzip.decompress(file.read()).index(b"hello")),
    "g.zip": (zipped, lambda file: zipfile.ZipFile(file).read("a").index(b"hello")),
    "h.tar.gz": (tarred, lambda file: tarfile.TarFile(fileobj=io.BytesIO(gzip.decompress(file.read()))).getmember("x")),
    "i.gz": (compressed_by_fsspec, lambda file: gzip.decompress(file.read()).index(b"hello")),
}  # fmt: skip


def left_open(write: Callable[..., object], *args: Any) -> None:
    """Let something be written and its file objects be collected."""
    write(*args)
    gc.collect()


def test_what_programs_leave_open_is_stored_whole(storage, fs) -> None:
    """json.dump(x, fs.open(p, "w")), Pillow, with gzip.open(fs.open(p, "wb")): thrown away without a word."""
    for name, (write, read) in LEFT_OPEN.items():
        path = f"runs/r1/{name}"
        with pytest.warns(ResourceWarning, match=rf"{path}.*[0-9]+ bytes were stored"):
            left_open(write, fs, path)
        with fs.open(path) as file:
            read(file)
        assert fs.metadata(path)["run_id"] == "r1"


def test_a_block_that_raised_stores_nothing_through_a_layer_either(quick, caplog: pytest.LogCaptureFixture) -> None:
    fs = quick.fs
    for layer in (gzip.open, lambda file, _: file):
        path, mode, half = ("a.gz", "wb", b"half") if not caplog.records else ("b.txt", "w", "half")
        with pytest.raises(ZeroDivisionError), layer(fs.open(path, mode), "wb") as file:  # noqa: PT012
            file.write(half)
            raise ZeroDivisionError
        del file
        assert fs.find("") == []
    [record] = caplog.records
    assert record.getMessage().startswith("a.gz: ")
    assert "not stored" in record.getMessage()


def test_what_is_written_because_of_an_error_is_stored(quick) -> None:
    fs = quick.fs

    def report() -> None:
        try:
            _ = 1 / 0
        except ZeroDivisionError as error:
            json.dump(str(error), fs.open("runs/r1/report.json", "w"))

    with pytest.warns(ResourceWarning, match="report"):
        left_open(report)
    assert json.loads(fs.cat_file("runs/r1/report.json")) == "division by zero"


def test_an_error_elsewhere_does_not_keep_a_file_from_being_stored(quick) -> None:
    fs = quick.fs
    files = [written(fs)]

    def fail() -> None:
        try:
            raise ValueError
        except ValueError:
            files.clear()

    with pytest.warns(ResourceWarning, match="11 bytes"):
        left_open(fail)
    assert fs.cat_file("runs/r1/x.txt") == b"whole bytes"


def written(fs: Any) -> Any:
    file = fs.open("runs/r1/x.txt", "wb")
    file.write(b"whole bytes")
    return file


def test_a_write_that_failed_is_never_stored(quick, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = MediaStore(quick._backend.url, max_file_size=5).fs
    file = fs.open("a", "wb")
    file.write(b"1234")
    with pytest.raises(ValueError, match="5"):
        file.write(b"5678")
    del file
    gc.collect()
    assert fs.find("") == []


def test_what_cannot_be_stored_is_an_error_in_the_log(quick, caplog: pytest.LogCaptureFixture) -> None:
    fs = quick.fs
    fs.pipe_file("runs/r1/x.txt", b"held")
    quick.hold("runs/r1/x.txt", "trial")
    file = written(fs)
    with caplog.at_level(logging.ERROR, logger="fsmedia"):
        del file
        gc.collect()
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "runs/r1/x.txt" in record.getMessage()
    assert "11 bytes" in record.getMessage()
    assert "held" in record.getMessage()
    assert fs.cat_file("runs/r1/x.txt") == b"held"


def test_a_transaction_takes_what_nobody_holds_any_more(quick) -> None:
    fs = quick.fs
    transaction = fs.start_transaction()
    fs.open("a", "wb").write(b"1")
    with pytest.warns(ResourceWarning, match="'b'"):
        json.dump([2], fs.open("b", "w"))
    assert fs.find("") == []
    with pytest.warns(ResourceWarning, match="'a'"):
        transaction.complete()
    assert (fs.cat_file("a"), fs.cat_file("b")) == (b"1", b"[2]")
    with pytest.raises(InvalidMediaError, match="not written whole"), fs.transaction:  # noqa: PT012
        held = fs.open("c", "wb")
        held.write(b"half")
    assert fs.find("") == ["a", "b"]


@pytest.mark.filterwarnings("ignore:nobody closed:ResourceWarning")
def test_the_thread_that_object_stores_answer_on_hands_the_storing_over(moto_storage) -> None:
    """The collector runs in any thread, this one too; waiting there for an answer would never end."""
    made(moto_storage)
    fs = opened(moto_storage)
    files = [written(fs)]
    cleared = threading.Event()

    def clear() -> None:
        files.clear()
        cleared.set()

    get_loop().call_soon_threadsafe(clear)
    assert cleared.wait(60)
    for thread in threading.enumerate():
        if thread.name == "fsmedia-close":
            thread.join(60)
    assert fs.cat_file("runs/r1/x.txt") == b"whole bytes"


def test_a_coroutine_that_never_awaited_the_close_is_told(quick) -> None:
    fs = quick.fs

    async def write() -> None:
        file = await fs.open_async("a", "wb")
        await file.write(b"half")

    with pytest.warns(ResourceWarning, match="'a'.* 4 bytes are not stored"):
        left_open(asyncio.run, write())
    assert fs.find("") == []


ENDS = """
import os, sys
from fsmedia import MediaStore
fs = MediaStore(sys.argv[1]).fs
file = fs.open("runs/r1/x.txt", "wb")
file.write(b"whole bytes")
if sys.argv[2] == "fork":
    child = os.fork()
    if not child:
        del file
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not fs.exists("runs/r1/x.txt")
    file.write(b", all of them")
    file.close()
"""


@pytest.mark.parametrize("end", ["exit", "fork"])
def test_neither_the_exit_nor_a_child_stores_what_is_open(tmp_path: Path, end: str) -> None:
    store = MediaStore(tmp_path / "m").create()
    done = subprocess.run(
        [sys.executable, "-c", ENDS, str(tmp_path / "m"), end], capture_output=True, text=True, timeout=100, check=True
    )
    if end == "fork":
        assert store.fs.cat_file("runs/r1/x.txt") == b"whole bytes, all of them"
        assert not done.stderr
    else:
        assert "runs/r1/x.txt: 11 bytes were not stored" in done.stderr
        assert store.fs.find("") == []
    left = [name for _, _, names in os.walk(tmp_path) for name in names if name.startswith(".tmp-")]
    assert left == []
