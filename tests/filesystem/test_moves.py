"""Moves of whole folders: nothing is mangled, nothing vanishes; each test named after its story."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaNotFoundError, MediaStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["local", "memory"])
def fs(request: pytest.FixtureRequest, tmp_path: Path):
    url = str(tmp_path / "m") if request.param == "local" else f"memory://{tmp_path.name}"
    fs = MediaStore(url).create().fs
    fs.pipe({"a": b"1", "d/b": b"2", "d/s/c": b"3"})
    fs.mkdir("d/empty")
    return fs


@pytest.mark.parametrize(
    "names", [("d", "d"), ("d", "d/"), ("d/", "/d"), ("d", ""), ("d", "/"), ("a", "a/"), ("media://a", "a")]
)
def test_a_move_onto_itself_does_nothing(fs, names: tuple[str, str]) -> None:
    before = fs.find("", withdirs=True)
    fs.mv(*names, recursive=True)
    assert fs.find("", withdirs=True) == before
    with pytest.raises(MediaNotFoundError):
        fs.mv("none", "none")


def test_the_root_moves_into_a_folder_and_not_to_names_that_begin_like_it(fs) -> None:
    fs.mv("", "new", recursive=True)
    assert fs.find("") == ["new/a", "new/d/b", "new/d/s/c"]
    assert fs.cat_file("new/d/s/c") == b"3"


def test_empty_folders_move_too(fs) -> None:
    fs.mv("d", "e", recursive=True)
    assert fs.find("", withdirs=True) == ["a", "e", "e/b", "e/empty", "e/s", "e/s/c"]
    fs.mv("e/empty", "alone", recursive=True)
    assert fs.isdir("alone")
    assert not fs.exists("e/empty")
    fs.mkdir("e/into")
    fs.mv("alone", "e/into", recursive=True)
    assert fs.isdir("e/into/alone")
    assert fs.find("") == ["a", "e/b", "e/s/c"]
