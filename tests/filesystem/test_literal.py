"""Names that look like patterns, and targets of bulk calls; each test named after its story."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from tests.filesystem.conftest import made, opened

if TYPE_CHECKING:
    from pathlib import Path

ODD = ["a[1].png", "b?.png", "c*.png"]


def test_names_with_glob_characters_are_names(storage, fs, tmp_path: Path) -> None:
    around = {"a1.png": b"!", "bb.png": b"!", "cc.png": b"!", "runs/a1.png": b"!"}
    fs.pipe({**around, **{name: name.encode() for name in ODD}, **{f"runs/{name}": name.encode() for name in ODD}})
    for name in ODD:
        for key in (name, f"runs/{name}"):
            assert fs.cat(key) == name.encode()
            assert fs.cat([key]) == {key: name.encode()}
            assert fs.expand_path(key) == [key]
            fs.cp(key, f"out/{name}.copy")
            assert fs.cat_file(f"out/{name}.copy") == name.encode()
            fs.get(key, str(tmp_path / "got.png"))
            assert (tmp_path / "got.png").read_bytes() == name.encode()
    assert fs.find("out") == sorted(f"out/{name}.copy" for name in ODD)
    assert fs.cat("?1.png") == {"a1.png": b"!"}
    assert fs.cat(["a[1].png", "?1.png"]) == {"a[1].png": b"a[1].png", "a1.png": b"!"}
    assert fs.cat(["a[1].png", "no*"]) == {"a[1].png": b"a[1].png"}
    with pytest.raises(FileNotFoundError):
        fs.cat("no*")


def test_folders_with_glob_characters_are_copied_and_got(storage, fs, tmp_path: Path) -> None:
    fs.pipe({"d[1]/x": b"x", "d[1]/s/y": b"y", "d1/z": b"z"})
    fs.cp("d[1]", "e", recursive=True)
    assert fs.find("e") == ["e/s/y", "e/x"]
    fs.get("d[1]", str(tmp_path / "out"), recursive=True)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == ["x", "y"]


def test_a_name_at_the_top_is_copied_into_a_folder(storage, fs, tmp_path: Path) -> None:
    fs.pipe({"a.png": b"1", "d/x": b"2", "out/there": b"3"})
    fs.cp("a.png", "out/")
    fs.cp("a.png", "out")
    fs.cp("a.p*", "glob")
    fs.cp("d", "out", recursive=True)
    fs.cp("d/", "flat", recursive=True)
    fs.cp("a.png", "named")
    assert fs.find("") == ["a.png", "d/x", "flat/x", "glob/a.png", "named", "out/a.png", "out/d/x", "out/there"]
    (tmp_path / "there").mkdir()
    fs.get("a.png", f"{tmp_path}/new/")
    fs.get("a.png", str(tmp_path / "there"))
    fs.get("d", f"{tmp_path}/there/", recursive=True)
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert [name for name in found if not name.startswith("m")] == ["new/a.png", "there/a.png", "there/d/x"]


def test_names_without_glob_characters_cost_no_look_more(moto_storage) -> None:
    made(moto_storage)
    fs = opened(moto_storage)
    fs.pipe({"runs/a.png": b"1", "runs/b[1].png": b"2"})
    with moto_storage.counted() as requests:
        fs.cat("runs/a.png")
    assert requests == {"get": 2}  # its sidecar, to check the bytes by
    with moto_storage.counted() as requests:
        fs.expand_path(["runs/a.png"])
    assert requests == {}
    with moto_storage.counted() as requests:
        assert fs.cat("runs/b[1].png") == b"2"
    assert requests == {"head": 1, "get": 1}  # a pattern means many, whose lengths are checked


def test_the_start_and_the_end_and_blocks_are_read(tmp_path: Path) -> None:
    for url in (str(tmp_path / "m"), f"memory://{tmp_path.name}"):
        fs = MediaStore(url).create().fs
        fs.pipe_file("a.txt", b"one\ntwo\nthree\n")
        assert fs.head("a.txt", 3) == b"one"
        assert fs.tail("a.txt", 6) == b"three\n"
        assert fs.tail("a.txt", 100) == b"one\ntwo\nthree\n"
        assert fs.read_block("a.txt", 0, 5) == b"one\nt"
        assert fs.read_block("a.txt", 1, 5, b"\n") == b"two\n"
        with fs.open("a.txt") as file:
            assert file.size == 14
            assert file.seek(-2, 2) == 12
            assert file.readline() == b"e\n"


def test_names_of_this_machine_with_glob_characters_are_put(storage, fs, tmp_path: Path) -> None:
    source = tmp_path / "source" / "d[1]"
    (source / "s").mkdir(parents=True)
    (source / "a[1].png").write_bytes(b"[1]")
    (source / "a1.png").write_bytes(b"1")
    (source / "s" / "x").write_bytes(b"x")
    fs.put(str(source / "a[1].png"), "named")
    fs.put(str(source / "a[1].png"), "into/")
    fs.put(str(source), "tree", recursive=True)
    fs.put(f"{source}/", "into/", recursive=True)
    assert fs.cat_file("named") == fs.cat_file("into/a[1].png") == b"[1]"
    tree = ["a1.png", "a[1].png", "s/x"]
    assert fs.find("tree") == [f"tree/{name}" for name in tree]
    assert fs.find("into") == [f"into/{name}" for name in tree]


def test_lists_of_other_lengths_are_refused(fs, tmp_path: Path) -> None:
    fs.pipe({"a": b"1", "b": b"2"})
    calls = [
        lambda: fs.cp(["a", "b"], ["c"]),
        lambda: fs.get(["a", "b"], [str(tmp_path / "c")]),
        lambda: fs.put([str(tmp_path / "x"), str(tmp_path / "y")], ["c"]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="as many targets as sources"):
            call()
    assert fs.find("") == ["a", "b"]
