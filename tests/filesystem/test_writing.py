"""What a write through `media://` leaves in the store, and what it refuses."""

from __future__ import annotations

import json
from datetime import timedelta

import fsspec
import pytest

from fsmedia import InvalidMediaError, MediaContent, MediaMetadata, MediaStore
from fsmedia.errors import MediaError
from tests.filesystem.conftest import made, opened

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000080000000608020000001e5d1b1b0000000049454e44ae426082")


def media(storage):
    found = storage.keys()
    return {key for key in found if not key.startswith(".fsmedia/")}


def test_a_written_file_is_a_media_of_the_store(storage, fs):
    with fs.open("runs/r1/x.png", "wb") as file:
        file.write(PNG[:10])
        file.write(PNG[10:])
    store = MediaStore(storage.url, storage_options=storage.options)
    record = store.info("runs/r1/x.png")
    assert (record.run_id, record.mime_type, record.size_bytes, record.width) == ("r1", "image/png", len(PNG), 8)
    assert list(store.list(run_id="r1")) == ["runs/r1/x.png"]
    assert media(storage) == {"runs/r1/x.png", "runs/r1/x.png.meta"}
    assert storage.read("runs/r1/x.png") == PNG
    assert storage.content_type("runs/r1/x.png") in (None, "image/png")


def test_a_path_of_no_layout_has_no_ids(storage, fs):
    fs.pipe_file("notes/today.txt", b"hey")
    info = fs.info("notes/today.txt", metadata=True)
    assert info["mime_type"] == "text/plain"
    assert "run_id" not in info


def test_the_default_policy_holds_for_written_files(storage):
    MediaStore(storage.url, storage_options=storage.options, default_policy="retain-30days").create()
    fs = opened(storage)
    fs.pipe_file("runs/r1/x.txt", b"hey")
    info = fs.info("runs/r1/x.txt", metadata=True)
    assert info["policy_name"] == "retain-30days"
    assert info["expires_at"] - info["timestamp"] == timedelta(days=30)


def test_overwriting_keeps_ids_policy_and_attributes_and_takes_new_facts(storage, fs):
    store = MediaStore(storage.url, storage_options=storage.options)
    reference = store.store_media(
        MediaContent(data=PNG, mime_type="image/png", caption="old"),
        MediaMetadata(run_id="r1", session_id="s1", provider_id="p", message_idx=3, policy_name="retain-5days"),
    )
    fs.setxattrs(reference, {"user.color": "red"})
    fs.pipe_file(reference, b"not a picture")
    record = store.info(reference)
    assert (record.session_id, record.provider_id, record.message_idx) == ("s1", "p", 3)
    assert record.policy_name == "retain-5days"
    assert record.xattrs == {"user.color": "red"}
    assert (record.size_bytes, record.width, record.caption) == (13, None, None)
    assert record.sha256 != json.loads(storage.read(f"{reference}.meta")).get("marker")
    assert fs.cat_file(reference) == b"not a picture"


@pytest.mark.parametrize("how", ["cp_file", "copy", "mv"])
def test_copies_take_their_sidecar_along_and_the_ids_of_their_new_place(storage, fs, how):
    store = MediaStore(storage.url, storage_options=storage.options)
    reference = store.store_media(
        MediaContent(data=PNG, mime_type="image/png", caption="kept"),
        MediaMetadata(run_id="r1", session_id="s1", policy_name="retain-5days"),
    )
    fs.setxattrs(reference, {"user.color": "red"})
    before = store.info(reference)
    getattr(fs, how)(reference, "runs/r2/y.png")
    record = store.info("runs/r2/y.png")
    assert (record.run_id, record.session_id, record.caption) == ("r2", "s1", "kept")
    assert (record.policy_name, record.expires_at) == ("retain-5days", before.expires_at)
    assert record.xattrs == {"user.color": "red"}
    assert record.sha256 == before.sha256
    assert storage.read("runs/r2/y.png") == PNG
    assert (reference in media(storage)) == (how != "mv")
    assert (f"{reference}.meta" in media(storage)) == (how != "mv")


def test_moving_onto_itself_loses_nothing(storage, fs):
    fs.pipe_file("runs/r1/x.txt", b"hey")
    fs.mv("runs/r1/x.txt", "/runs/r1/x.txt")
    fs.cp_file("media://runs/r1/x.txt", "runs/r1/x.txt")
    assert fs.cat_file("runs/r1/x.txt") == b"hey"


def test_mv_takes_literal_names_literally(storage, fs):
    fs.pipe({"runs/r1/a[1].txt": b"[1]", "runs/r1/a1.txt": b"1", "runs/d[1]/x.txt": b"x", "runs/d1/x.txt": b"other"})
    fs.mv("runs/r1/a[1].txt", "runs/r2/b.txt")
    assert fs.cat_file("runs/r2/b.txt") == b"[1]"
    fs.mv("runs/d[1]", "runs/e", recursive=True)
    assert fs.cat_file("runs/e/x.txt") == b"x"
    assert fs.find("runs") == ["runs/d1/x.txt", "runs/e/x.txt", "runs/r1/a1.txt", "runs/r2/b.txt"]


def test_rm_takes_sidecars_along_and_literal_names_literally(storage, fs):
    fs.pipe({"runs/r1/a[1].txt": b"1", "runs/r1/a1.txt": b"2", "runs/r1/sub/c.txt": b"3", "runs/r2/d.txt": b"4"})
    fs.rm("runs/r1/a[1].txt")
    assert fs.find("runs") == ["runs/r1/a1.txt", "runs/r1/sub/c.txt", "runs/r2/d.txt"]
    with pytest.raises(IsADirectoryError):
        fs.rm("runs/r1")
    fs.rm("runs/r1", recursive=True)
    assert media(storage) == {"runs/r2/d.txt", "runs/r2/d.txt.meta"}
    with pytest.raises(FileNotFoundError):
        fs.rm("runs/r1/a1.txt")


def test_create_only_takes_free_names(storage, fs):
    fs.pipe_file("runs/r1/x.txt", b"first", mode="create")
    with pytest.raises(FileExistsError):
        fs.pipe_file("runs/r1/x.txt", b"second", mode="create")
    with pytest.raises(FileExistsError):
        fs.open("runs/r1/x.txt", "xb")
    with fs.open("runs/r1/y.txt", "xb") as file:
        file.write(b"y")
    assert fs.cat(["runs/r1/x.txt", "runs/r1/y.txt"]) == {"runs/r1/x.txt": b"first", "runs/r1/y.txt": b"y"}
    assert fs.exists("runs/r1/y.txt")


def test_an_exclusive_file_that_lost_the_race_is_refused(storage, fs):
    file = fs.open("runs/r1/x.txt", "xb")
    file.write(b"late")
    fs.pipe_file("runs/r1/x.txt", b"early")
    with pytest.raises(FileExistsError):
        file.close()
    assert fs.cat_file("runs/r1/x.txt") == b"early"


def test_appending_rewrites_the_whole(storage, fs):
    with fs.open("runs/r1/x.txt", "ab") as file:
        file.write(b"one")
    with fs.open("runs/r1/x.txt", "ab") as file:
        file.write(b" two")
    assert fs.cat_file("runs/r1/x.txt") == b"one two"
    assert fs.info("runs/r1/x.txt", metadata=True)["size"] == 7


def test_nothing_appears_before_the_end_nor_after_an_error(storage, fs):
    """What nobody closes is stored when it is collected: see test_unclosed.py."""
    before = storage.keys()
    with pytest.raises(ZeroDivisionError), fs.open("runs/r1/x.txt", "wb") as file:  # noqa: PT012
        file.write(b"half")
        assert not fs.exists("runs/r1/x.txt")
        raise ZeroDivisionError
    assert storage.keys() == before


def test_transactions_commit_at_their_end_or_not_at_all(storage, fs):
    with fs.transaction:
        fs.pipe_file("runs/r1/a.txt", b"a")
        with fs.open("runs/r1/b.txt", "wb") as file:
            file.write(b"b")
        assert fs.find("runs") == []
    assert fs.find("runs") == ["runs/r1/a.txt", "runs/r1/b.txt"]
    with pytest.raises(ZeroDivisionError), fs.transaction:  # noqa: PT012
        fs.pipe_file("runs/r1/c.txt", b"c")
        raise ZeroDivisionError
    assert fs.find("runs") == ["runs/r1/a.txt", "runs/r1/b.txt"]
    assert media(storage) == {"runs/r1/a.txt", "runs/r1/a.txt.meta", "runs/r1/b.txt", "runs/r1/b.txt.meta"}


@pytest.mark.parametrize(
    "path",
    [
        ".fsmedia/store.json",
        ".FSMEDIA/x",
        "runs/r1/x.meta",
        "@lab/x.txt",
        "runs//x.txt",
        "runs/../x.txt",
        ".dedup_index.json",
        "runs/a::b.txt",
        "media://runs/x.txt::memory://elsewhere",
        "media://@other/x.txt",
        "n" * 251,
    ],
)
def test_reserved_and_impossible_names_are_refused(storage, fs, path, tmp_path):
    before = storage.keys()
    source = tmp_path / "x"
    source.write_bytes(b"x")
    fs_calls = [
        lambda: fs.pipe_file(path, b"x"),
        lambda: fs.open(path, "wb"),
        lambda: fs.touch(path),
        lambda: fs.put_file(source, path),
        lambda: fs.pipe({path: b"x"}),
        lambda: fs.mkdir(path),
    ]
    for call in fs_calls:
        with pytest.raises(ValueError) as caught:
            call()
        assert isinstance(caught.value, MediaError)
    assert storage.keys() == before


def test_a_root_without_a_store_is_refused_and_left_as_it_is(storage):
    storage.write("runs/r1/x.txt", b"somebody's")
    before = storage.keys()
    fs = opened(storage)
    calls = [
        lambda: fs.pipe_file("runs/r1/y.txt", b"x"),
        lambda: fs.open("runs/r1/y.txt", "wb"),
        lambda: fs.touch("runs/r1/y.txt"),
        lambda: fs.mkdir("runs/r2"),
        lambda: fs.makedirs("runs/r2"),
        lambda: fs.rm("runs/r1/x.txt"),
        lambda: fs.rm("runs", recursive=True),
        lambda: fs.rmdir("runs/r1"),
        lambda: fs.cp_file("runs/r1/x.txt", "runs/r1/y.txt"),
        lambda: fs.mv("runs/r1/x.txt", "runs/r1/y.txt"),
        lambda: fs.pipe({"runs/r1/y.txt": b"x"}),
    ]
    for call in calls:
        with pytest.raises(PermissionError, match=r"create\(\).*fsmedia init"):
            call()
    assert storage.keys() == before
    assert fs.cat_file("runs/r1/x.txt") == b"somebody's"


def test_a_store_made_meanwhile_is_seen(storage):
    fs = opened(storage)
    with pytest.raises(PermissionError):
        fs.pipe_file("runs/r1/y.txt", b"x")
    made(storage)
    fs.pipe_file("runs/r1/y.txt", b"x")
    assert fs.cat_file("runs/r1/y.txt") == b"x"


def test_read_only(storage):
    made(storage)
    with pytest.raises(PermissionError, match="read-only"):
        opened(storage, read_only=True).pipe_file("runs/r1/y.txt", b"x")


def test_too_large_leaves_nothing(storage):
    made(storage)
    fs = opened(storage, max_file_size=10)
    before = storage.keys()
    with pytest.raises(ValueError, match="max_file_size"), fs.open("runs/r1/y.txt", "wb") as file:
        file.write(b"x" * 11)
    with pytest.raises(ValueError, match="max_file_size"):
        fs.pipe_file("runs/r1/y.txt", b"x" * 11)
    assert storage.keys() == before


def test_attributes(storage, fs):
    fs.pipe_file("runs/r1/x.txt", b"hey")
    fs.setxattrs("runs/r1/x.txt", {"user.color": "red", "user.rank": 3})
    fs.setxattrs("runs/r1/x.txt", {"user.rank": None})
    assert fs.getxattr("runs/r1/x.txt", "user.color") == "red"
    assert fs.getxattr("runs/r1/x.txt", "fsmedia.run_id") == "r1"
    assert {"user.color", "fsmedia.sha256", "fsmedia.mime_type"} <= set(fs.listxattr("runs/r1/x.txt"))
    assert json.loads(storage.read("runs/r1/x.txt.meta"))["xattrs"] == {"user.color": "red"}
    with pytest.raises(PermissionError):
        fs.setxattrs("runs/r1/x.txt", {"fsmedia.run_id": "r2"})
    with pytest.raises(ValueError, match="user"):
        fs.setxattrs("runs/r1/x.txt", {"color": "red"})
    fs.removexattr("runs/r1/x.txt", "user.color")
    with pytest.raises(KeyError):
        fs.getxattr("runs/r1/x.txt", "user.color")


def test_empty_folders_where_they_are_kept(storage, fs):
    fs.mkdir("runs/r1/empty")
    kept = fs._backend.keeps_folders
    assert fs.isdir("runs/r1/empty") == kept
    if kept:
        with pytest.raises(FileExistsError):
            fs.mkdir("runs/r1/empty")
        assert "runs/r1/empty" in fs.find("runs", withdirs=True)
        fs.pipe_file("runs/r1/empty/x.txt", b"x")
        with pytest.raises(OSError, match="not empty"):
            fs.rmdir("runs/r1/empty")
        fs.rm_file("runs/r1/empty/x.txt")
        fs.rmdir("runs/r1/empty")
        assert not fs.exists("runs/r1/empty")


def test_get_and_put_trees(storage, fs, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_bytes(b"a")
    (tmp_path / "in" / "sub" / "b.txt").write_bytes(b"b")
    fs.put(f"{tmp_path}/in/", "runs/r1/", recursive=True)
    assert fs.find("runs") == ["runs/r1/a.txt", "runs/r1/sub/b.txt"]
    fs.get("runs/r1/", f"{tmp_path}/out/", recursive=True)
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")) == [
        "a.txt",
        "sub/b.txt",
    ]
    fs.mv("runs/r1", "runs/r9", recursive=True)
    assert fs.find("runs") == ["runs/r9/a.txt", "runs/r9/sub/b.txt"]
    assert fs.info("runs/r9/a.txt", metadata=True)["run_id"] == "r9"


def test_text_mode_and_fsspec_open(storage, fs):
    with fsspec.open("media://runs/r1/x.txt", "w", root=storage.url, storage_options=storage.options) as file:
        file.write("grün")
    assert fs.read_text("runs/r1/x.txt") == "grün"


@pytest.mark.parametrize(
    "value",
    [float("nan"), [float("inf")], 10**5000, "x" * (4 * 2**20), "\udc80"],
    ids=["nan", "infinite", "long number", "large", "surrogate"],
)
def test_an_attribute_never_makes_a_media_unreadable(fs, value):
    """A sidecar that can't be read again is one for ever: no attribute could be taken away, no policy would end it."""
    fs.pipe_file("runs/r1/a.png", b"x")
    fs.setxattrs("runs/r1/a.png", {"user.a": 1})
    with pytest.raises(InvalidMediaError):
        fs.setxattrs("runs/r1/a.png", {"user.b": value})
    assert fs.getxattr("runs/r1/a.png", "user.a") == 1
