"""Text and compression over a media: all of it is stored, or nothing; each test named after its story."""

from __future__ import annotations

import bz2
import gc
import gzip
import lzma
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore, MediaTooLargeError

if TYPE_CHECKING:
    from pathlib import Path

UNPACK = {"gzip": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "m") if request.param == "local" else f"memory://{tmp_path.name}"


@pytest.fixture
def fs(url: str):
    return MediaStore(url).create().fs


@pytest.mark.parametrize("mode", ["w", "wt", "x", "a", "wb"])
@pytest.mark.parametrize("compression", [None, "gzip", "infer"])
def test_half_a_file_is_not_stored_when_its_block_raises(fs, mode: str, compression: str | None) -> None:
    half = b"half" * 10_000
    with pytest.raises(ZeroDivisionError), fs.open("a.txt.gz", mode, compression=compression) as file:  # noqa: PT012
        file.write(half if "b" in mode else half.decode())
        file.flush()
        raise ZeroDivisionError
    assert file.closed
    file.close()
    assert fs.find("") == []


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_half_a_text_leaves_what_was_there(fs, compression: str | None) -> None:
    fs.pipe_file("a.txt", b"whole")
    for mode in ("w", "a"):
        with pytest.raises(ZeroDivisionError), fs.open("a.txt", mode, compression=compression) as file:  # noqa: PT012
            file.write("half")
            raise ZeroDivisionError
    assert fs.cat_file("a.txt") == b"whole"


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
    file.close()
    file.close()
    assert UNPACK[compression](fs.cat_file("a.bin")) == b"whole" * 1000
    assert UNPACK[compression](fs.cat_file("b.txt")).decode("latin-1") == "grün\r\n"
    assert UNPACK[compression](fs.cat_file("c.bin")) == b"closed"


def test_a_transaction_takes_compressed_files_and_texts(fs) -> None:
    with fs.transaction:
        with fs.open("a.gz", "wb", compression="gzip") as file:
            file.write(b"a")
        with fs.open("b.txt", "w") as file:
            file.write("b")
        with pytest.raises(ZeroDivisionError), fs.open("c.txt.gz", "w", compression="infer") as file:  # noqa: PT012
            file.write("c")
            raise ZeroDivisionError
        assert fs.find("") == []
    assert fs.find("") == ["a.gz", "b.txt"]
    assert gzip.decompress(fs.cat_file("a.gz")) == b"a"
    assert fs.read_text("b.txt") == "b"


def test_a_compression_or_encoding_nobody_knows_leaves_nothing(fs) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        fs.open("a", "wb", compression="nonsense")
    with pytest.raises(LookupError):
        fs.open("a", "w", encoding="nonsense")
    assert fs.find("") == []


def test_a_text_over_the_limit_leaves_nothing(url: str) -> None:
    MediaStore(url).create()
    fs = MediaStore(url, max_file_size=10).fs
    with pytest.raises(MediaTooLargeError), fs.open("a.txt", "w") as file:
        file.write("x" * 11)
    with pytest.raises(MediaTooLargeError), fs.open("a.txt", "w", compression="gzip") as file:
        file.write("x" * 11)
    assert fs.find("") == []
