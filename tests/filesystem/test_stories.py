"""Bytes that moves and transactions once lost, each named after its story; local disk and memory."""

from __future__ import annotations

import asyncio
import io
import os
import resource
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from fsmedia import InvalidMediaError, InvalidReferenceError, MediaError, MediaStore, StorageError, StoreConflictError

if TYPE_CHECKING:
    from pathlib import Path

MOVES = [
    (["d/a"], ("d/a", "d/"), {}),
    (["d/a"], ("d/a", "d"), {}),
    (["d/a", "d/b"], ("d/*", "d/"), {}),
    (["d/a", "d/b"], ("d", "d/sub"), {"recursive": True}),
    (["a", "b"], (["a", "b"], ["a", "c"]), {}),
    (["a", "b"], (["a", "b"], ["c"]), {}),
    (["a"], ("?", "c"), {}),
    (["x/a", "y/a"], (["x/a", "y/a"], "dir/"), {}),
    (["d/a", "d/s/a"], (["d"], "out/"), {"recursive": True}),
    (["d/a", "e/a"], (["d", "e"], "out/"), {"recursive": True}),
    (["a[1]", "a1"], (["a[1]"], "dir/"), {}),
    (["d1/a", "d1/s/b"], ("d*", "out/"), {"recursive": True, "maxdepth": 1}),
    (["d1/a", "d1/s/b"], ("d*", "out/"), {"recursive": True, "maxdepth": 2}),
]


@pytest.fixture(params=["local", "memory"])
def fs(request: pytest.FixtureRequest, tmp_path: Path):
    url = str(tmp_path / "m") if request.param == "local" else f"memory://{tmp_path.name}"
    return MediaStore(url).create().fs


@pytest.mark.parametrize(("files", "arguments", "options"), MOVES, ids=str)
def test_no_move_loses_bytes(fs, files, arguments, options) -> None:
    fs.pipe({name: name.encode() for name in files})
    with suppress(MediaError, OSError):
        fs.mv(*arguments, **options)
    kept = sorted(fs.cat_file(name).decode() for name in fs.find(""))
    assert kept == sorted(files)


def test_a_move_onto_itself_through_a_link_is_refused(tmp_path: Path) -> None:
    fs = MediaStore(tmp_path / "m").create().fs
    fs.pipe_file("d/a", b"1")
    (tmp_path / "m" / "d2").symlink_to(tmp_path / "m" / "d")
    with pytest.raises(StoreConflictError, match="one place"):
        fs.mv("d/a", "d2/a")
    assert fs.cat_file("d/a") == b"1"


def test_a_folder_keeps_its_name_when_it_moves_into_another(fs) -> None:
    fs.pipe({"d/a": b"1", "d/s/b": b"2", "other/x": b"3"})
    fs.mv("d", "other", recursive=True)
    assert fs.find("") == ["other/d/a", "other/d/s/b", "other/x"]
    fs.mv("other/d", "new", recursive=True)
    assert fs.find("") == ["new/a", "new/s/b", "other/x"]
    fs.mv("new/a", "new/c")
    assert fs.cat_file("new/c") == b"1"


def test_a_transaction_that_fails_swallows_nothing_later(fs, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = type(fs._backend)
    broken = StorageError("the disk fails")

    def fail(*_: object, **__: object) -> None:
        raise broken

    with pytest.raises(StorageError, match="the disk fails"), fs.transaction:  # noqa: PT012
        fs.pipe_file("a", b"1")
        monkeypatch.setattr(backend, "lock", fail)
    monkeypatch.undo()
    fs.pipe_file("later", b"x")
    assert fs.find("") == ["later"]


def test_a_file_given_up_in_a_transaction_does_not_drop_the_others(fs) -> None:
    with fs.transaction:
        fs.pipe_file("a", b"1")
        with pytest.raises(InvalidMediaError), fs.open("b", "wb") as file:  # noqa: PT012
            file.write(b"part")
            raise InvalidMediaError("the caller's own")
        fs.pipe_file("c", b"3")
    assert fs.find("") == ["a", "c"]


def test_an_interrupted_write_is_not_stored(fs, monkeypatch: pytest.MonkeyPatch) -> None:
    file = fs.open("a", "wb")
    file.write(b"one")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(file._upload, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        file.write(b"two")
    file.close()
    assert fs.find("") == []
    assert not os.path.exists("a")


def test_names_that_a_generator_gives_are_removed(fs) -> None:
    """A look whether they are in views used them up, and nothing was removed."""
    fs.pipe({"a": b"1", "b": b"2", "c": b"3"})
    fs.rm(name for name in ("a", "b"))
    assert fs.find("") == ["c"]
    fs.mv((name for name in ("c",)), "d/")
    assert fs.find("") == ["d/c"]


def test_a_file_object_takes_what_a_coroutine_gets(fs) -> None:
    """It was taken for the path of a folder."""
    fs.pipe_file("a", b"1")
    target = io.BytesIO()
    asyncio.run(fs._get_file("a", target))
    assert target.getvalue() == b"1"


@pytest.mark.parametrize("name", ["x.meta/y", "a/.fsmedia/x", "a/.FSMedia/x", f"a/.tmp-u{'a' * 26}/x", "a/x.meta/b/y"])
def test_what_no_listing_would_show_is_not_written(fs, name: str) -> None:
    fs.pipe_file("source", b"1")
    folder = name.rpartition("/")[0] if not name.endswith("b/y") else "a/x.meta/b"
    calls = [
        lambda: fs.pipe_file(name, b"1"),
        lambda: fs.pipe({name: b"1"}),
        lambda: fs.open(name, "wb"),
        lambda: fs.touch(name),
        lambda: fs.cp_file("source", name),
        lambda: fs.mv("source", name),
        lambda: fs.mkdir(folder),
        lambda: fs.makedirs(folder),
    ]
    for call in calls:
        with pytest.raises(InvalidReferenceError):
            call()
    assert fs.find("", withdirs=True) == ["source"]


@pytest.mark.parametrize("first", ["ab", "wb", "a"])
def test_an_append_to_what_the_transaction_has_not_stored_is_refused(fs, first: str) -> None:
    fs.pipe_file("a", b"1")
    with fs.transaction:
        with fs.open("a", first) as file:
            file.write("2" if first == "a" else b"2")
        for mode in ("ab", "a"):
            with pytest.raises(InvalidMediaError, match="a: was written in this transaction"):
                fs.open("a", mode)
        with fs.open("b", "ab") as file:
            file.write(b"3")
    assert fs.cat("*") == {"a": b"2" if first == "wb" else b"12", "b": b"3"}
    with fs.open("a", "ab") as file:
        file.write(b"4")
    assert fs.cat_file("a").endswith(b"24")


@pytest.mark.parametrize("full", ["no folder", "no space"])
def test_a_copy_that_the_temporary_disk_does_not_take_names_its_media(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    store = MediaStore(f"memory://{tmp_path.name}").create()
    store.fs.pipe_file("runs/r1/a.txt", b"1" * 100_000)
    content = store.retrieve_media("runs/r1/a.txt")
    temporary = tmp_path / "temporary"
    if full == "no space":
        temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError, match=r"runs/r1/a\.txt: no temporary copy") as caught:
            content.local_path()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.reference == "runs/r1/a.txt"
    assert not temporary.exists() or not list(temporary.iterdir())
    temporary.mkdir(exist_ok=True)
    assert content.local_path().read_bytes() == b"1" * 100_000


def test_a_transaction_within_another_forgets_nothing(fs) -> None:
    with fs.transaction:
        fs.pipe_file("a", b"1")
        for begin in (fs.transaction.__enter__, fs.start_transaction):
            with pytest.raises(InvalidMediaError, match="under way"):
                begin()
        fs.pipe_file("b", b"2")
    assert fs.find("") == ["a", "b"]
    fs.start_transaction()
    fs.pipe_file("c", b"3")
    with pytest.raises(InvalidMediaError, match="under way"):
        fs.start_transaction()
    assert fs.find("") == ["a", "b"]
    fs.end_transaction()
    fs.pipe_file("d", b"4")
    assert fs.find("") == ["a", "b", "c", "d"]


@pytest.mark.parametrize("value", [5, "text", [1, 2], None])
def test_a_number_is_not_stored_as_that_many_zeros(fs, value: object) -> None:
    for call in (lambda: fs.pipe_file("a", value), lambda: fs.pipe({"a": value})):
        with pytest.raises(TypeError):
            call()
    assert fs.find("") == []
    fs.pipe({"a": memoryview(b"1"), "b": bytearray(b"2")})
    assert fs.cat("*") == {"a": b"1", "b": b"2"}
