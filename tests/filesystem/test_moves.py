"""Moves, copies and other bulk calls: no bytes are lost, names are names; each test named after its story."""

from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest

from fsmedia import InvalidReferenceError, MediaError, MediaNotFoundError, MediaStore, StoreConflictError
from fsmedia.format import keys
from tests.contract.specimens import raised
from tests.exchange.test_folder import plant
from tests.filesystem.conftest import QUICK, files_in
from tests.protocol.wire import costs
from tests.storages import SMB, WEBDAV

MOVES = [
    (["d/a"], ("d/a", "d/"), {}), (["d/a"], ("d/a", "d"), {}), (["d/a", "d/b"], ("d/*", "d/"), {}),
    (["d/a", "d/b"], ("d", "d/sub"), {"recursive": True}), (["a", "b"], (["a", "b"], ["a", "c"]), {}),
    (["a", "b"], (["a", "b"], ["c"]), {}), (["a"], ("?", "c"), {}), (["x/a", "y/a"], (["x/a", "y/a"], "dir/"), {}),
    (["d/a", "d/s/a"], (["d"], "out/"), {"recursive": True}), (["a[1]", "a1"], (["a[1]"], "dir/"), {}),
    (["d/a", "e/a"], (["d", "e"], "out/"), {"recursive": True}),
    (["d1/a", "d1/s/b"], ("d*", "out/"), {"recursive": True, "maxdepth": 1}),
    (["d1/a", "d1/s/b"], ("d*", "out/"), {"recursive": True, "maxdepth": 2}),
]  # fmt: skip


@QUICK
@pytest.mark.parametrize(("files", "arguments", "options"), MOVES, ids=str)
def test_no_move_loses_bytes(fs, files, arguments, options) -> None:
    fs.pipe({name: name.encode() for name in files})
    with suppress(MediaError, OSError):
        fs.mv(*arguments, **options)
    assert sorted(fs.cat_file(name).decode() for name in fs.find("")) == sorted(files)


@QUICK
def test_a_folder_keeps_its_name_when_it_moves_into_another_and_empty_ones_move_too(fs) -> None:
    fs.pipe({"d/a": b"1", "d/s/b": b"2", "other/x": b"3"})
    fs.mkdir("d/empty")
    fs.mv("d", "other", recursive=True)
    assert fs.find("", withdirs=True) == [
        "other", "other/d", "other/d/a", "other/d/empty", "other/d/s", "other/d/s/b", "other/x",
    ]  # fmt: skip
    fs.mv("other/d", "new", recursive=True)
    assert fs.find("", withdirs=True) == ["new", "new/a", "new/empty", "new/s", "new/s/b", "other", "other/x"]
    fs.mv("new/a", "new/c")
    assert fs.cat_file("new/c") == b"1"
    fs.mv("new/empty", "alone", recursive=True)
    assert (fs.isdir("alone"), fs.exists("new/empty")) == (True, False)
    fs.mkdir("new/into")
    fs.mv("alone", "new/into", recursive=True)
    assert fs.isdir("new/into/alone")
    assert fs.find("") == ["new/c", "new/s/b", "other/x"]


def test_a_move_onto_itself_does_nothing(fs) -> None:
    fs.pipe({"a": b"1", "d/b": b"2", "d/s/c": b"3"})
    fs.mkdir("d/empty")
    before = fs.find("", withdirs=True)
    names = [("d", "d"), ("d", "d/"), ("d/", "/d"), ("d", ""), ("d", "/"), ("a", "a/"), ("media://a", "a"), ("a", "/a")]
    for pair in names:
        fs.mv(*pair, recursive=True)
        assert fs.find("", withdirs=True) == before, pair
    fs.cp_file("media://a", "a")
    assert fs.cat(fs.find("")) == {"a": b"1", "d/b": b"2", "d/s/c": b"3"}
    raised(MediaNotFoundError, fs.mv, "none", "none")


@QUICK
def test_the_root_moves_into_a_folder_and_names_that_a_generator_gives_are_removed(fs) -> None:
    """A look whether they are in views used them up, and nothing was removed."""
    fs.pipe({"a": b"1", "d/b": b"2", "d/s/c": b"3"})
    fs.mv("", "new", recursive=True)
    assert fs.cat(fs.find("")) == {"new/a": b"1", "new/d/b": b"2", "new/d/s/c": b"3"}
    fs.rm(name for name in ("new/a", "new/d/b"))
    assert fs.find("") == ["new/d/s/c"]
    fs.mv((name for name in ("new/d/s/c",)), "d/")
    assert fs.find("") == ["d/c"]


# -- names that look like patterns -------------------------------------------------------------------------------
def test_names_with_glob_characters_are_names(storage, fs, tmp_path: Path) -> None:
    # What a server would take for another name is refused.
    refused = {WEBDAV: "?", SMB: "?*"}.get(storage.name, "")
    odd = [name for name in ("a[1].png", "b?.png", "c*.png") if not {*refused} & {*name}]
    around = {"a1.png": b"!", "bb.png": b"!", "cc.png": b"!", "runs/a1.png": b"!"}
    fs.pipe({**around, **{f"{folder}{name}": name.encode() for name in odd for folder in ("", "runs/")}})
    for name in odd:
        for key in (name, f"runs/{name}"):
            assert (fs.cat(key), fs.cat([key])) == (name.encode(), {key: name.encode()})
            assert fs.expand_path(key) == [key]
            fs.cp(key, f"out/{name}.copy")
            fs.get(key, str(tmp_path / "got.png"))
            assert fs.cat_file(f"out/{name}.copy") == (tmp_path / "got.png").read_bytes() == name.encode()
    assert fs.find("out") == sorted(f"out/{name}.copy" for name in odd)
    assert fs.cat("?1.png") == {"a1.png": b"!"}
    assert fs.cat(["a[1].png", "?1.png"]) == {"a[1].png": b"a[1].png", "a1.png": b"!"}
    assert fs.cat(["a[1].png", "no*"]) == {"a[1].png": b"a[1].png"}
    raised(FileNotFoundError, fs.cat, "no*")
    # Folders with such names are copied, got and moved.
    fs.rm(fs.find(""))
    fs.pipe({"d[1]/x": b"x", "d[1]/s/y": b"y", "d1/z": b"z", "a[1].txt": b"[1]", "a1.txt": b"1"})
    fs.cp("d[1]", "e", recursive=True)
    assert fs.find("e") == ["e/s/y", "e/x"]
    fs.get("d[1]", str(tmp_path / "out"), recursive=True)
    assert files_in(tmp_path / "out") == {"x": b"x", "s/y": b"y"}
    fs.mv("a[1].txt", "b.txt")
    assert fs.cat_file("b.txt") == b"[1]"
    fs.mv("d[1]", "f", recursive=True)
    assert fs.cat_file("f/x") == b"x"
    assert fs.find("") == ["a1.txt", "b.txt", "d1/z", "e/s/y", "e/x", "f/s/y", "f/x"]


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


def test_names_without_glob_characters_cost_no_look_more(moto_storage, moto_fs) -> None:
    moto_fs.pipe({"runs/a.png": b"1", "runs/b[1].png": b"2"})
    for call, wanted in (
        (lambda: moto_fs.cat("runs/a.png") == b"1", {"get": 2}),  # its sidecar, to check the bytes by
        (lambda: moto_fs.expand_path(["runs/a.png"]) == ["runs/a.png"], {}),
        # A pattern means many, whose lengths are checked.
        (lambda: moto_fs.cat("runs/b[1].png") == b"2", {"head": 1, "get": 1}),
    ):
        assert costs(moto_storage, call, **wanted)


def test_names_of_this_machine_with_glob_characters_are_put_and_lists_are_as_long(storage, fs, tmp_path: Path) -> None:
    source = plant(tmp_path / "source" / "d[1]", {"a[1].png": b"[1]", "a1.png": b"1", "s/x": b"x"})
    fs.put(str(source / "a[1].png"), "named")
    fs.put(str(source / "a[1].png"), "into/")
    fs.put(str(source), "tree", recursive=True)
    fs.put(f"{source}/", "into/", recursive=True)
    assert fs.cat_file("named") == fs.cat_file("into/a[1].png") == b"[1]"
    tree = ["a1.png", "a[1].png", "s/x"]
    assert fs.find("tree") == [f"tree/{name}" for name in tree]
    assert fs.find("into") == [f"into/{name}" for name in tree]
    # Lists of other lengths are refused.
    before = fs.find("")
    for call in (fs.cp, fs.get, fs.put):
        there = str(tmp_path) if call == fs.put else ""
        into = [f"{tmp_path}/c" if call == fs.get else "c"]
        raised(ValueError, call, [f"{there}a", f"{there}b"], into, match="as many targets as sources")
    assert fs.find("") == before


# -- links below a local root: what lies behind them is neither destroyed nor shown as what it is not --------------
@pytest.fixture
def linked(tmp_path: Path):
    root = tmp_path / "m"
    fs = MediaStore(root).create().fs
    fs.pipe({"d/a": b"1", "d/s/b": b"2", "x": b"3"})
    fs.setxattrs("d/a", {"user.color": "red"})
    (root / "link").symlink_to("d")
    return fs


@pytest.fixture
def root(linked) -> Path:
    return Path(linked._backend.url)


def test_a_link_to_a_folder_is_not_removed_with_what_lies_behind_it(linked, root: Path) -> None:
    before = files_in(root)
    calls = [
        linked.rmdir, lambda name: linked.rm(name, recursive=True),
        lambda name: linked.rm([name, "x"], recursive=True), lambda name: linked.mv(name, "elsewhere", recursive=True),
    ]  # fmt: skip
    for name, call in product(("link", "link/", "/link"), calls):
        raised(InvalidReferenceError, call, name, match=r"link.*symlink")
    assert files_in(root) == before
    assert (root / "link").is_symlink()
    linked.rm("", recursive=True)
    assert [each for each in files_in(root) if not each.startswith(keys.LOCKS)] == [".fsmedia/store.json"]


def test_a_copy_onto_itself_through_a_link_changes_nothing_and_a_move_is_refused(linked, root: Path) -> None:
    before = files_in(root)
    for source, target in (("d/a", "link/a"), ("link/s/b", "d/s/b")):
        linked.cp_file(source, target)
    copies = [("link/a", "d/"), ("d/", "link/"), ("link/", "d/"), (["d/a", "d/s/b"], ["link/a", "link/s/b"])]
    for source, target in copies:
        linked.cp(source, target, recursive=True)
        assert files_in(root) == before, source
    raised(StoreConflictError, linked.mv, "d/a", "link/a", match="one place")
    assert files_in(root) == before
    # Ids are kept, too.
    linked.pipe_file("runs/r1/a", b"1")
    (root / "runs" / "r2").symlink_to("r1")
    linked.cp_file("runs/r1/a", "runs/r2/a")
    linked.cp("runs/r1", "runs/r2/", recursive=True)
    assert linked.info("runs/r1/a", metadata=True)["run_id"] == "r1"
    (root / "runs" / "r1" / "foreign").write_bytes(b"2")
    linked.cp_file("runs/r1/foreign", "runs/r2/foreign")
    assert not (root / "runs" / "r1" / "foreign.meta").exists()


def test_a_link_to_what_is_hidden_is_no_media(linked, root: Path) -> None:
    temporary = ".tmp-u" + "a" * 26
    (root / temporary).write_bytes(b"half")
    links = {"d/shown.png": "a.meta", "settings.json": ".fsmedia/store.json", "half.png": temporary}
    for name, target in {**links, "x.png": "x", "secret.meta": "x"}.items():
        (root / name).symlink_to(target)
    assert linked.find("") == list(MediaStore(root).list()) == ["d/a", "d/s/b", "x", "x.png"]
    assert linked.ls("d", detail=False) == ["d/a", "d/s"]
    assert not linked.exists("secret.meta")
    for hidden in links:
        raised(InvalidReferenceError, linked.cat_file, hidden, match="symlink")
    # A linked media keeps its linked sidecar.
    (root / "linked").symlink_to("d/a")
    (root / "linked.meta").symlink_to("d/a.meta")
    assert linked.getxattr("linked", "user.color") == "red"
    linked.rm("linked")
    assert (linked.cat_file("d/a"), linked.getxattr("d/a", "user.color")) == (b"1", "red")
