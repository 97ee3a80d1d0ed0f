"""What a write through `media://` leaves in the store, what it refuses, and that it never takes what is held."""

import json
from datetime import UTC, datetime, timedelta

import fsspec
import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, errors
from tests.contract.specimens import png, put, raised
from tests.exchange.test_folder import plant
from tests.filesystem.conftest import EVERYWHERE, OWN, PNG, TAKE, WRITE, files_in, made, opened, written

IMPOSSIBLE = [
    ".fsmedia/store.json", ".FSMEDIA/x", "runs/r1/x.meta", "@lab/x.txt", "runs//x.txt", "runs/../x.txt", "n" * 251,
    ".dedup_index.json", "runs/a::b.txt", "media://runs/x.txt::memory://elsewhere", "media://@other/x.txt",
    # What no listing would show.
    "x.meta/y", "x.meta", "a/.fsmedia/x", "a/.fsmedia", "a/.FSMedia/x", "a/.FSMedia", f"a/.tmp-u{'a' * 26}/x",
    f"a/.tmp-u{'a' * 26}", "a/x.meta/b/y", "a/x.meta/b",
]  # fmt: skip


@pytest.fixture
def source(tmp_path) -> str:
    (tmp_path / "source").write_bytes(b"x")
    return str(tmp_path / "source")


def media(storage):
    return {key for key in storage.keys() if not key.startswith(".fsmedia/")}  # noqa: SIM118 - no dict


@EVERYWHERE
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
    with fsspec.open("media://notes/today.txt", "w", root=storage.url, storage_options=storage.options) as file:
        file.write("grün")
    assert fs.read_text("notes/today.txt") == "grün"
    info = fs.info("notes/today.txt", metadata=True)
    assert info["mime_type"] == "text/plain"
    assert "run_id" not in info  # a path of no layout has no ids


def test_overwriting_keeps_ids_policy_and_attributes_and_takes_new_facts(storage):
    store = made(storage, default_policy="retain-30days")
    fs = opened(storage)
    fs.pipe_file("runs/r1/x.txt", b"hey")
    info = fs.info("runs/r1/x.txt", metadata=True)
    assert (info["policy_name"], info["expires_at"] - info["timestamp"]) == ("retain-30days", timedelta(days=30))
    ids = {"session_id": "s1", "provider_id": "p", "message_idx": 3}
    reference = put(store, content=png(data=PNG, caption="old"), policy_name="retain-5days", **ids)
    fs.setxattrs(reference, {"user.color": "red"})
    fs.pipe_file(reference, b"not a picture")
    record = store.info(reference)
    kept = (record.session_id, record.provider_id, record.message_idx, record.policy_name, record.xattrs)
    assert kept == ("s1", "p", 3, "retain-5days", {"user.color": "red"})
    assert (record.size_bytes, record.width, record.caption) == (13, None, None)
    assert record.sha256 != json.loads(storage.read(f"{reference}.meta")).get("marker")
    assert fs.cat_file(reference) == b"not a picture"


def test_copies_take_their_sidecar_along_and_the_ids_of_their_new_place(storage, fs):
    store = MediaStore(storage.url, storage_options=storage.options)
    reference = put(store, content=png(data=PNG, caption="kept"), session_id="s1", policy_name="retain-5days")
    fs.setxattrs(reference, {"user.color": "red"})
    before = store.info(reference)
    for how in ("cp_file", "copy", "mv"):
        target = f"runs/r2/{how}.png"
        getattr(fs, how)(reference, target)
        record = store.info(target)
        assert record.model_dump(exclude={"reference"}) == {**before.model_dump(exclude={"reference"}), "run_id": "r2"}
        assert (record.xattrs, record.policy_name) == ({"user.color": "red"}, "retain-5days")
        assert storage.read(target) == PNG
        assert (reference in media(storage)) == (f"{reference}.meta" in media(storage)) == (how != "mv")


def test_rm_takes_sidecars_along_and_literal_names_literally(storage, fs):
    fs.pipe({"runs/r1/a[1].txt": b"1", "runs/r1/a1.txt": b"2", "runs/r1/sub/c.txt": b"3", "runs/r2/d.txt": b"4"})
    fs.rm("runs/r1/a[1].txt")
    assert fs.find("runs") == ["runs/r1/a1.txt", "runs/r1/sub/c.txt", "runs/r2/d.txt"]
    raised(IsADirectoryError, fs.rm, "runs/r1")
    fs.rm("runs/r1", recursive=True)
    assert media(storage) == {"runs/r2/d.txt", "runs/r2/d.txt.meta"}
    raised(FileNotFoundError, fs.rm, "runs/r1/a1.txt")


@EVERYWHERE
def test_create_only_takes_free_names(storage, fs):
    fs.pipe_file("runs/r1/x.txt", b"first", mode="create")
    raised(FileExistsError, fs.pipe_file, "runs/r1/x.txt", b"second", mode="create")
    raised(FileExistsError, fs.open, "runs/r1/x.txt", "xb")
    written(fs, "runs/r1/y.txt", "xb", b"y")
    assert fs.exists("runs/r1/y.txt")
    # One that lost a race is refused at its end.
    file = fs.open("runs/r1/z.txt", "xb")
    file.write(b"late")
    fs.pipe_file("runs/r1/z.txt", b"early")
    raised(FileExistsError, file.close)
    assert fs.cat("runs/r1/*.txt") == {"runs/r1/x.txt": b"first", "runs/r1/y.txt": b"y", "runs/r1/z.txt": b"early"}


def test_appending_rewrites_the_whole_and_nothing_appears_before_the_end(storage, fs):
    written(fs, "runs/r1/x.txt", "ab", b"one")
    written(fs, "runs/r1/x.txt", "ab", b" two")
    assert (fs.cat_file("runs/r1/x.txt"), fs.info("runs/r1/x.txt", metadata=True)["size"]) == (b"one two", 7)
    # Nothing appears before the end, nor after an error; what nobody closes is stored, see test_unclosed.py.
    before = storage.keys()
    with pytest.raises(ZeroDivisionError), fs.open("runs/r1/y.txt", "wb") as file:  # noqa: PT012
        file.write(b"half")
        assert not fs.exists("runs/r1/y.txt")
        raise ZeroDivisionError
    assert storage.keys() == before


def test_transactions_commit_at_their_end_or_not_at_all(storage, fs):
    with fs.transaction:
        fs.pipe_file("runs/r1/a.txt", b"a")
        written(fs, "runs/r1/b.txt", "wb", b"b")
        assert fs.find("runs") == []
    assert fs.find("runs") == ["runs/r1/a.txt", "runs/r1/b.txt"]
    with pytest.raises(ZeroDivisionError), fs.transaction:  # noqa: PT012
        fs.pipe_file("runs/r1/c.txt", b"c")
        raise ZeroDivisionError
    assert fs.find("runs") == ["runs/r1/a.txt", "runs/r1/b.txt"]
    assert media(storage) == {"runs/r1/a.txt", "runs/r1/a.txt.meta", "runs/r1/b.txt", "runs/r1/b.txt.meta"}


def test_reserved_and_impossible_names_are_refused(storage, fs, source):
    fs.pipe_file(OWN, b"own")
    before = storage.contents()
    for path in IMPOSSIBLE:
        for call in WRITE.values():
            raised((errors.InvalidReferenceError, errors.InvalidLayoutError), call, fs, path, source)
        assert storage.contents() == before, path
    assert fs.find("", withdirs=True) == ["runs", "runs/r2", OWN]


def test_a_root_without_a_store_is_refused_and_left_as_it_is(storage, source):
    storage.write(OWN, b"somebody's")
    before = storage.keys()
    fs = opened(storage)
    calls = [*((way, "runs/r2/y.txt") for way in WRITE.values()), *((way, OWN) for way in TAKE.values())]
    for call, name in [*calls, (lambda *_: fs.rmdir("runs/r2"), ""), (lambda *_: fs.mkdir("runs/r3"), "")]:
        raised(PermissionError, call, fs, name, source, match=r"create\(\).*fsmedia init")
    assert (storage.keys(), fs.cat_file(OWN)) == (before, b"somebody's")
    made(storage)  # meanwhile: it is seen
    fs.pipe_file("runs/r2/y.txt", b"x")
    assert fs.cat_file("runs/r2/y.txt") == b"x"


def test_what_is_read_only_or_too_large_leaves_nothing(storage):
    made(storage)
    before = storage.keys()
    raised(PermissionError, opened(storage, read_only=True).pipe_file, "runs/r1/y.txt", b"x", match="read-only")
    fs = opened(storage, max_file_size=10)
    for write in (lambda name: written(fs, name, "wb", b"x" * 11), lambda name: fs.pipe_file(name, b"x" * 11)):
        raised(ValueError, write, "runs/r1/y.txt", match="max_file_size")
    assert storage.keys() == before


def test_attributes_never_make_a_media_unreadable(storage, fs):
    fs.pipe_file("runs/r1/x.txt", b"hey")
    fs.setxattrs("runs/r1/x.txt", {"user.color": "red", "user.rank": 3})
    fs.setxattrs("runs/r1/x.txt", {"user.rank": None})
    assert fs.getxattr("runs/r1/x.txt", "user.color") == "red"
    assert fs.getxattr("runs/r1/x.txt", "fsmedia.run_id") == "r1"
    assert {"user.color", "fsmedia.sha256", "fsmedia.mime_type"} <= set(fs.listxattr("runs/r1/x.txt"))
    assert json.loads(storage.read("runs/r1/x.txt.meta"))["xattrs"] == {"user.color": "red"}
    raised(PermissionError, fs.setxattrs, "runs/r1/x.txt", {"fsmedia.run_id": "r2"})
    raised(ValueError, fs.setxattrs, "runs/r1/x.txt", {"color": "red"}, match="user")
    # A sidecar that can't be read again is one for ever: no attribute could be taken away, no policy would end it.
    for value in (float("nan"), [float("inf")], 10**5000, "x" * (4 * 2**20), "\udc80"):
        raised(errors.InvalidMediaError, fs.setxattrs, "runs/r1/x.txt", {"user.b": value})
        assert fs.getxattr("runs/r1/x.txt", "user.color") == "red"
    fs.removexattr("runs/r1/x.txt", "user.color")
    raised(KeyError, fs.getxattr, "runs/r1/x.txt", "user.color")


def test_empty_folders_where_they_are_kept(storage, fs):
    fs.mkdir("runs/r1/empty")
    kept = fs._backend.keeps_folders
    assert fs.isdir("runs/r1/empty") == kept
    if kept:
        raised(FileExistsError, fs.mkdir, "runs/r1/empty")
        assert "runs/r1/empty" in fs.find("runs", withdirs=True)
        fs.pipe_file("runs/r1/empty/x.txt", b"x")
        raised(OSError, fs.rmdir, "runs/r1/empty", match="not empty")
        fs.rm_file("runs/r1/empty/x.txt")
        fs.rmdir("runs/r1/empty")
        assert not fs.exists("runs/r1/empty")


def test_get_and_put_trees(storage, fs, tmp_path):
    plant(tmp_path / "in", {"a.txt": b"a", "sub/b.txt": b"b"})
    fs.put(f"{tmp_path}/in/", "runs/r1/", recursive=True)
    assert fs.find("runs") == ["runs/r1/a.txt", "runs/r1/sub/b.txt"]
    fs.get("runs/r1/", f"{tmp_path}/out/", recursive=True)
    assert files_in(tmp_path / "out") == {"a.txt": b"a", "sub/b.txt": b"b"}
    fs.mv("runs/r1", "runs/r9", recursive=True)
    assert fs.find("runs") == ["runs/r9/a.txt", "runs/r9/sub/b.txt"]
    assert fs.info("runs/r9/a.txt", metadata=True)["run_id"] == "r9"


# -- what is held ------------------------------------------------------------------------------------------------
def test_no_client_takes_what_is_held(storage, source) -> None:
    store = made(storage)
    store.fs.pipe({"runs/r1/held.txt": b"held", OWN: b"other"})
    store.hold("runs/r1/held.txt", "case 7", who="auditors")
    # These take free names only; this takes what is not held, of several.
    elsewhere = {"open xb", "create", "mkdir", "makedirs", "rm of several"}
    for way, take in (WRITE | TAKE).items():
        if way in elsewhere:
            continue
        before = storage.contents()
        raised(errors.HeldMediaError, take, store.fs, "runs/r1/held.txt", source, match=r"case 7|is held")
        after = storage.contents()
        assert {key: after.get(key) for key in before} == before, way
        assert set(after) - set(before) <= {"runs/r1/free.txt", "runs/r1/free.txt.meta"}, way
        if way == "pipe many":
            store.delete_many(each for each in store.list() if each.endswith("free.txt"))
    store.release("runs/r1/held.txt")
    assert store.fs.cat("runs/r1/held.txt") == b"held"


def test_no_call_of_the_store_takes_what_is_held(storage) -> None:
    store = made(storage)
    past = datetime.now(UTC) - timedelta(days=1)
    metadata = MediaMetadata(run_id="r1", policy_name="delete-after-5min", timestamp=past)
    own = store.store_media(MediaContent.from_bytes(b"held", "text/plain"), metadata)
    other = store.store_media(MediaContent.from_bytes(b"free", "text/plain"), MediaMetadata(run_id="r1"))
    store.hold(own, "case 7", who="auditors")
    assert store.info(own).hold == "case 7"
    raised(errors.HeldMediaError, store.delete_media, own, match="auditors: 'case 7'")
    assert isinstance(raised(errors.BulkError, store.delete_many, [own, other]).errors[0], errors.HeldMediaError)
    assert [(each.reference, each.reason) for each in store.enforce_policy().skipped] == [(own, "held")]
    assert storage.read(own) == b"held"
    assert not store.exists(other)
    store.release(own)
    assert [each.reference for each in store.enforce_policy().deleted] == [own]
