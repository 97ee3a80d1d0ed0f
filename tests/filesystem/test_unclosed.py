"""Files being written: closed, left open, broken off, compressed, as texts, in transactions; by their stories."""

import asyncio
import bz2
import csv
import gc
import gzip
import io
import json
import logging
import lzma
import os
import pickle
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import fsspec
import pytest
from fsspec.asyn import get_loop
from PIL import Image

from fsmedia import InvalidMediaError, MediaStore, MediaTooLargeError, StorageError
from tests.conftest import on, storages
from tests.contract.specimens import raised
from tests.filesystem.conftest import made, opened, written
from tests.protocol.faults import files_of_at_most
from tests.storages import LOCAL, MEMORY, S3_RCLONE

storage = storages(LOCAL, MEMORY, of=())
UNPACK = {"gzip": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}
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


# -- text and compression over a media: all of it is stored, or nothing ------------------------------------------
def test_half_a_file_is_not_stored_when_its_block_raises_and_leaves_what_was_there(fs) -> None:
    half = b"half" * 10_000
    fs.pipe_file("there.txt.gz", b"whole")
    for mode, compression in product(("w", "wt", "x", "a", "wb"), (None, "gzip", "infer")):
        for name in ("a.txt.gz", "there.txt.gz")[: 1 if mode == "x" else 2]:
            with pytest.raises(ZeroDivisionError), fs.open(name, mode, compression=compression) as file:  # noqa: PT012
                file.write(half if "b" in mode else half.decode())
                file.flush()
                raise ZeroDivisionError
            assert file.closed
            file.close()
        assert fs.cat("*") == {"there.txt.gz": b"whole"}, (mode, compression)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_text_that_nobody_closed_is_stored_whole(fs, compression: str | None) -> None:
    file = fs.open("a.txt", "w", compression=compression)
    file.write("whole")
    # In a cycle the file below may be collected before the text above it, which holds the bytes still.
    file.itself = file
    del file
    with pytest.warns(ResourceWarning, match=r"a\.txt.*bytes were stored"):
        gc.collect()
    assert fs.open("a.txt", compression=compression).read() == b"whole"


def test_a_text_whose_file_was_taken_out_is_closed_by_that_file(fs) -> None:
    text = fs.open("a.txt", "w")
    text.write("whole")
    file = text.detach()
    del text
    gc.collect()
    assert fs.find("") == []
    file.write(b"!")
    with pytest.warns(ResourceWarning, match="6 bytes"):
        del file
    assert fs.cat_file("a.txt") == b"whole!"


@pytest.mark.parametrize("compression", UNPACK)
def test_a_compressed_file_is_stored_when_it_is_closed(fs, compression: str) -> None:
    with fs.open("a.bin", "wb", compression=compression) as file:
        file.write(b"whole" * 1000)
    with fs.open("b.txt", "w", compression=compression, encoding="latin-1", newline="\r\n") as file:
        file.write("grün\n")
    file = fs.open("c.bin", "wb", compression=compression)
    file.write(b"closed")
    for _ in range(2):
        file.close()
    found = {name: UNPACK[compression](data) for name, data in fs.cat("*").items()}
    assert found == {"a.bin": b"whole" * 1000, "b.txt": "grün\r\n".encode("latin-1"), "c.bin": b"closed"}


def test_a_transaction_takes_compressed_files_and_texts(fs) -> None:
    with fs.transaction:
        written(fs, "a.gz", "wb", b"a", compression="gzip")
        written(fs, "b.txt", "w", "b")
        with pytest.raises(ZeroDivisionError), fs.open("c.txt.gz", "w", compression="infer") as file:  # noqa: PT012
            file.write("c")
            raise ZeroDivisionError
        assert fs.find("") == []
    assert fs.find("") == ["a.gz", "b.txt"]
    assert (gzip.decompress(fs.cat_file("a.gz")), fs.read_text("b.txt")) == (b"a", "b")


def test_what_nobody_knows_or_is_over_the_limit_leaves_nothing_also_once_it_is_collected(storage) -> None:
    made(storage)
    fs = opened(storage, max_file_size=10)
    raised(ValueError, fs.open, "a", "wb", match="nonsense", compression="nonsense")
    raised(LookupError, fs.open, "a", "w", encoding="nonsense")
    for compression in (None, "gzip"):
        raised(MediaTooLargeError, written, fs, "a.txt", "w", "x" * 11, compression=compression)
    # A write that failed is never stored.
    file = fs.open("a", "wb")
    file.write(b"12345678")
    raised(ValueError, file.write, b"9012", match="10")
    del file
    gc.collect()
    assert fs.find("") == []


# -- what nobody closed is stored when it is collected, as on other filesystems ----------------------------------
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


@on(LOCAL, MEMORY, S3_RCLONE)
def test_what_programs_leave_open_is_stored_whole(storage, fs) -> None:
    """json.dump(x, fs.open(p, "w")), Pillow, with gzip.open(fs.open(p, "wb")): thrown away without a word."""

    def leave_open() -> None:
        for name, (write, _) in LEFT_OPEN.items():
            write(fs, f"runs/r1/{name}")

    with pytest.warns(ResourceWarning, match="bytes were stored") as told:
        left_open(leave_open)
    texts = "\n".join(str(each.message) for each in told)
    for name, (_, read) in LEFT_OPEN.items():
        path = f"runs/r1/{name}"
        assert re.search(rf"{path}.*[0-9]+ bytes were stored", texts), name
        with fs.open(path) as file:
            read(file)
        assert fs.metadata(path)["run_id"] == "r1"


def test_a_block_that_raised_stores_nothing_through_a_layer_either(fs, caplog: pytest.LogCaptureFixture) -> None:
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


def test_what_is_written_because_of_an_error_is_stored_and_what_an_error_elsewhere_lets_go(fs) -> None:
    files = [begun(fs)]

    def report() -> None:
        try:
            _ = 1 / 0
        except ZeroDivisionError as error:
            json.dump(str(error), fs.open("runs/r1/report.json", "w"))
            files.clear()

    with pytest.warns(ResourceWarning, match="bytes were stored") as told:
        left_open(report)
    assert re.search("report.*x.txt.*11 bytes", " ".join(sorted(str(each.message) for each in told)))
    assert json.loads(fs.cat_file("runs/r1/report.json")) == "division by zero"
    assert fs.cat_file("runs/r1/x.txt") == b"whole bytes"


def begun(fs: Any) -> Any:
    file = fs.open("runs/r1/x.txt", "wb")
    file.write(b"whole bytes")
    return file


def test_what_cannot_be_stored_is_an_error_in_the_log(storage, fs, caplog: pytest.LogCaptureFixture) -> None:
    fs.pipe_file("runs/r1/x.txt", b"held")
    made(storage).hold("runs/r1/x.txt", "trial")
    file = begun(fs)
    with caplog.at_level(logging.ERROR, logger="fsmedia"):
        del file
        gc.collect()
    [said] = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert all(word in said for word in ("runs/r1/x.txt", "11 bytes", "held"))
    assert fs.cat_file("runs/r1/x.txt") == b"held"


def test_a_transaction_takes_what_nobody_holds_any_more(fs) -> None:
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
def test_the_thread_that_object_stores_answer_on_hands_the_storing_over(moto_fs) -> None:
    """The collector runs in any thread, this one too; waiting there for an answer would never end."""
    files = [begun(moto_fs)]
    cleared = threading.Event()
    get_loop().call_soon_threadsafe(lambda: (files.clear(), cleared.set()))
    assert cleared.wait(60)
    for thread in threading.enumerate():
        if thread.name == "fsmedia-close":
            thread.join(60)
    assert moto_fs.cat_file("runs/r1/x.txt") == b"whole bytes"


def test_a_coroutine_that_never_awaited_the_close_is_told(fs) -> None:
    async def write() -> None:
        file = await fs.open_async("a", "wb")
        await file.write(b"half")

    with pytest.warns(ResourceWarning, match="'a'.* 4 bytes are not stored"):
        left_open(asyncio.run, write())
    assert fs.find("") == []


@pytest.mark.parametrize("end", ["exit", "fork"])
def test_neither_the_exit_nor_a_child_stores_what_is_open(tmp_path: Path, end: str) -> None:
    store = MediaStore(tmp_path / "m").create()
    command = [sys.executable, "-c", ENDS, str(tmp_path / "m"), end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    if end == "fork":
        assert store.fs.cat_file("runs/r1/x.txt") == b"whole bytes, all of them"
        assert not done.stderr
    else:
        assert "runs/r1/x.txt: 11 bytes were not stored" in done.stderr
        assert store.fs.find("") == []
    assert [name for _, _, names in os.walk(tmp_path) for name in names if name.startswith(".tmp-")] == []


# -- transactions, and what they and writes once lost ------------------------------------------------------------
def test_a_transaction_that_fails_swallows_nothing_later_and_an_interrupted_write_is_not_stored(fs, monkeypatch):
    with pytest.raises(StorageError, match="the disk fails"), fs.transaction:  # noqa: PT012
        fs.pipe_file("a", b"1")
        monkeypatch.setattr(type(fs._backend), "lock", Mock(side_effect=StorageError("the disk fails")))
    monkeypatch.undo()
    fs.pipe_file("later", b"x")
    # An interrupted write is not stored.
    file = fs.open("a", "wb")
    file.write(b"one")
    monkeypatch.setattr(file._upload, "write", Mock(side_effect=KeyboardInterrupt))
    raised(KeyboardInterrupt, file.write, b"two")
    file.close()
    assert (fs.find(""), os.path.exists("a")) == (["later"], False)


def test_a_file_given_up_in_a_transaction_does_not_drop_the_others_and_another_within_forgets_nothing(fs) -> None:
    with fs.transaction:
        fs.pipe_file("a", b"1")
        with pytest.raises(InvalidMediaError), fs.open("b", "wb") as file:  # noqa: PT012
            file.write(b"part")
            raise InvalidMediaError("the caller's own")
        for begin in (fs.transaction.__enter__, fs.start_transaction):
            raised(InvalidMediaError, begin, match="under way")
        fs.pipe_file("c", b"3")
    assert fs.find("") == ["a", "c"]
    fs.start_transaction()
    fs.pipe_file("d", b"4")
    raised(InvalidMediaError, fs.start_transaction, match="under way")
    assert fs.find("") == ["a", "c"]
    fs.end_transaction()
    fs.pipe_file("e", b"5")
    assert fs.find("") == ["a", "c", "d", "e"]


@pytest.mark.parametrize("first", ["ab", "wb", "a"])
def test_an_append_to_what_the_transaction_has_not_stored_is_refused(fs, first: str) -> None:
    fs.pipe_file("a", b"1")
    with fs.transaction:
        written(fs, "a", first, "2" if first == "a" else b"2")
        for mode in ("ab", "a"):
            raised(InvalidMediaError, fs.open, "a", mode, match="a: was written in this transaction")
        written(fs, "b", "ab", b"3")
    assert fs.cat("*") == {"a": b"2" if first == "wb" else b"12", "b": b"3"}
    written(fs, "a", "ab", b"4")
    assert fs.cat_file("a").endswith(b"24")
    # A file object takes what a coroutine gets; it was taken for the path of a folder.
    fs.pipe_file("a", b"1")
    target = io.BytesIO()
    asyncio.run(fs._get_file("a", target))
    assert target.getvalue() == b"1"


@pytest.mark.parametrize("full", ["no folder", "no space"])
def test_a_copy_that_the_temporary_disk_does_not_take_names_its_media(tmp_path: Path, monkeypatch, full: str) -> None:
    store = MediaStore(f"memory://{tmp_path.name}").create()
    store.fs.pipe_file("runs/r1/a.txt", b"1" * 100_000)
    content = store.retrieve_media("runs/r1/a.txt")
    temporary = tmp_path / "temporary"
    if full == "no space":
        temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with files_of_at_most(1000), pytest.raises(StorageError, match=r"runs/r1/a\.txt: no temporary copy") as caught:
        content.local_path()
    assert caught.value.reference == "runs/r1/a.txt"
    assert not temporary.exists() or not list(temporary.iterdir())
    temporary.mkdir(exist_ok=True)
    assert content.local_path().read_bytes() == b"1" * 100_000


def test_a_number_is_not_stored_as_that_many_zeros(fs) -> None:
    for value in (5, "text", [1, 2], None):
        raised(TypeError, fs.pipe_file, "a", value)
        raised(TypeError, fs.pipe, {"a": value})
    assert fs.find("") == []
    fs.pipe({"a": memoryview(b"1"), "b": bytearray(b"2")})
    assert fs.cat("*") == {"a": b"1", "b": b"2"}
