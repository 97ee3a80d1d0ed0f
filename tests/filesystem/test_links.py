"""Symlinks below a local root: what lies behind them is neither destroyed nor shown as what it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fsmedia import InvalidReferenceError, MediaStore
from fsmedia.format import keys

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "m"


@pytest.fixture
def fs(root: Path):
    fs = MediaStore(root).create().fs
    fs.pipe({"d/a": b"1", "d/s/b": b"2", "x": b"3"})
    fs.setxattrs("d/a", {"user.color": "red"})
    (root / "link").symlink_to("d")
    return fs


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["link", "link/", "/link"])
def test_a_link_to_a_folder_is_not_removed_with_what_lies_behind_it(fs, root: Path, name: str) -> None:
    before = files(root)
    calls = [
        lambda: fs.rm(name, recursive=True),
        lambda: fs.rm([name, "x"], recursive=True),
        lambda: fs.mv(name, "elsewhere", recursive=True),
        lambda: fs.rmdir(name),
    ]
    for call in calls:
        with pytest.raises(InvalidReferenceError, match=r"link.*symlink"):
            call()
    assert files(root) == before
    assert (root / "link").is_symlink()
    fs.rm("", recursive=True)
    assert [each for each in files(root) if not each.startswith(keys.LOCKS)] == [".fsmedia/store.json"]


@pytest.mark.parametrize("recursive", [False, True])
def test_a_copy_onto_itself_through_a_link_changes_nothing(fs, root: Path, recursive: bool) -> None:
    before = {name: (root / name).read_bytes() for name in files(root)}
    if recursive:
        fs.cp("d/", "link/", recursive=True)
        fs.cp("link/", "d/", recursive=True)
        fs.cp(["d/a", "d/s/b"], ["link/a", "link/s/b"])
    else:
        fs.cp_file("d/a", "link/a")
        fs.cp_file("link/s/b", "d/s/b")
        fs.cp("link/a", "d/")
    assert {name: (root / name).read_bytes() for name in files(root)} == before


def test_a_copy_onto_itself_through_a_link_keeps_its_ids(fs, root: Path) -> None:
    fs.pipe_file("runs/r1/a", b"1")
    (root / "runs" / "r2").symlink_to("r1")
    fs.cp_file("runs/r1/a", "runs/r2/a")
    fs.cp("runs/r1", "runs/r2/", recursive=True)
    assert fs.info("runs/r1/a", metadata=True)["run_id"] == "r1"
    (root / "runs" / "r1" / "foreign").write_bytes(b"2")
    fs.cp_file("runs/r1/foreign", "runs/r2/foreign")
    assert not (root / "runs" / "r1" / "foreign.meta").exists()


def test_a_link_to_what_is_hidden_is_no_media(fs, root: Path) -> None:
    (root / "d" / "shown.png").symlink_to("a.meta")
    (root / "settings.json").symlink_to(".fsmedia/store.json")
    (root / "x.png").symlink_to("x")
    (root / "half.png").symlink_to(".tmp-u" + "a" * 26)
    (root / (".tmp-u" + "a" * 26)).write_bytes(b"half")
    (root / "secret.meta").symlink_to("x")
    assert fs.find("") == list(MediaStore(root).list()) == ["d/a", "d/s/b", "x", "x.png"]
    assert fs.ls("d", detail=False) == ["d/a", "d/s"]
    assert not fs.exists("secret.meta")
    for hidden in ("d/shown.png", "settings.json", "half.png"):
        with pytest.raises(InvalidReferenceError, match="symlink"):
            fs.cat_file(hidden)


def test_a_linked_media_keeps_its_linked_sidecar(fs, root: Path) -> None:
    (root / "linked").symlink_to("d/a")
    (root / "linked.meta").symlink_to("d/a.meta")
    assert fs.getxattr("linked", "user.color") == "red"
    fs.rm("linked")
    assert fs.cat_file("d/a") == b"1"
    assert fs.getxattr("d/a", "user.color") == "red"
