"""Getting media back: contents, records, opened bytes, local copies; and deleting them."""

import copy
import pickle
import stat
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.errors import CorruptMediaError, MediaNotFoundError
from fsmedia.format import keys
from tests.conftest import on, storages
from tests.contract.specimens import GONE, PNG, R1, STORE_JSON, of_size, png, put, raised, traces
from tests.storages import ALL_STORAGES, GCS, LOCAL, MEMORY, S3_RCLONE
from tests.transfers import opened

DESCRIBED = {"caption": "a bear", "format": "png", "detail": "low", "duration": 2.5, "bit_rate": 64000, "channels": 1}
DESCRIBED |= {"width": 640, "height": 480, "fps": 29.97}
storage = storages(LOCAL, S3_RCLONE)


@on(*ALL_STORAGES)
def test_a_retrieved_content_says_what_was_stored(storage, store):
    reference = store.store_media(png(**DESCRIBED), MediaMetadata(run_id="r1", policy_name="retain-1days"))
    content = store.retrieve_media(reference)
    assert {name: getattr(content, name) for name in DESCRIBED} == DESCRIBED
    assert (content.mime_type, content.policy_name, content.size_kb) == ("image/png", "retain-1days", 2)
    assert content.data is None
    local = storage.name == LOCAL
    assert content.file_path == (f"{storage.url}/{reference}" if local else None)
    assert content.storage_reference == (None if local else reference)
    assert content.read_bytes() == PNG
    assert content.base64() == png().base64()


@on(*ALL_STORAGES)
@pytest.mark.parametrize(
    "run", ["416", "InvalidRange", "Range Not Satisfiable", "not satisfiable", "The specified bucket does not exist"]
)
def test_names_that_read_like_answers_of_a_server_are_names(storage, clock, run):
    """Below a folder named 416 no store could be made: "no such file: /416/..." was taken for the status 416."""
    store = opened(replace(storage, url=f"{storage.url}/{run}/store"), clock).create()
    reference = put(store, run)
    bare, empty, gone = (f"runs/{run}/{run}-{name}.txt" for name in "abc")
    store.fs.pipe({bare: b"without a sidecar", empty: b""})
    assert [store.info(each).size_bytes for each in (reference, bare, empty)] == [len(PNG), 17, 0]
    assert (store.retrieve_media(bare).read_bytes(), store.fs.cat_file(empty)) == (b"without a sidecar", b"")
    assert (store.fs.cat_file(bare, 17, 20), store.fs.cat_file(bare, 8)) == (b"", b"a sidecar")
    raised(MediaNotFoundError, store.info, gone)
    raised(FileNotFoundError, store.fs.cat_file, gone, 5, 9)
    assert store.verify(deep=True).whole


def test_two_contents_of_one_media_are_equal_and_their_readers_have_a_position_each(store):
    reference = put(store)
    assert store.retrieve_media(reference) == store.retrieve_media(reference)
    assert store.retrieve_media(reference) != store.retrieve_media(put(store, "r1", png(caption="other")))
    with store.open(reference) as one, store.retrieve_media(reference).open() as other:
        one.read(100)
        assert other.read(4) == PNG[:4]
        assert one.read(4) == PNG[100:104]
    for size, size_kb in ((0, 0), (1, 1), (1024, 1), (1025, 2)):  # rounded up
        assert store.retrieve_media(put(store, "r1", png(data=bytes(size)))).size_kb == size_kb


@on(LOCAL, MEMORY, S3_RCLONE, GCS)
def test_opened_bytes_can_be_read_in_any_order(store):
    data = of_size(700_000)  # several blocks of what a seek fetches
    reference = store.store_media(MediaContent(data=data, mime_type="video/mp4"), R1)
    with store.open(reference) as file:
        assert (file.readable(), file.seekable()) == (True, True)
        assert file.read(5) == data[:5]
        assert file.seek(600_000) == 600_000
        assert file.read(10) == data[600_000:600_010]
        assert file.tell() == 600_010
        file.seek(-3, 2)
        assert file.read() == data[-3:]
        assert file.read() == b""
        file.seek(1)
        buffer = bytearray(300_000)
        assert file.readinto(buffer) == 300_000
        assert buffer == data[1:300_001]
        file.seek(0)
        assert file.read() == data
    assert file.closed
    raised(ValueError, file.read, match="closed")


def test_an_opened_media_gives_lines_and_an_empty_one_is_a_media(store):
    with store.open(store.store_media(MediaContent.from_text("eins\nzwei\ndrei"), R1)) as file:
        assert list(file) == [b"eins\n", b"zwei\n", b"drei"]
    reference = store.store_media(MediaContent(data=b"", mime_type="text/plain"), R1)
    with store.open(reference) as file:
        assert file.read() == b""
    content = store.retrieve_media(reference)
    assert content.read_bytes() == content.local_path().read_bytes() == b""


def test_a_local_path_is_the_file_or_a_copy_that_goes_with_the_content(storage, store, spool):
    reference = put(store)
    content = store.retrieve_media(reference)
    path = content.local_path()
    assert path.read_bytes() == PNG
    assert content.local_path() == path
    if storage.name == LOCAL:
        assert path == Path(storage.url) / reference
        del content
        assert path.exists()
        return
    assert path.parent == spool
    assert path.suffix == ".png"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    del content
    assert path.exists()  # `store.retrieve_media(reference).local_path()` in one line must not give a path to nothing
    assert path.read_bytes() == PNG
    del path
    assert list(spool.iterdir()) == []


def test_a_copy_whose_download_fails_leaves_nothing(storage, store, spool):
    reference = put(store)
    content = store.retrieve_media(reference)
    store.delete_media(reference)
    with nullcontext() if storage.name == LOCAL else pytest.raises(MediaNotFoundError):
        assert not content.local_path().exists()
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
def test_a_caller_that_wants_a_file_path_gets_one_on_every_storage(storage, open_store, spool, deduplicate):
    """A program that is given another URL needs no other code."""
    store = open_store(deduplicate=deduplicate)
    reference = store.store_media(png(caption="a bear"), R1)
    content = store.retrieve_media(reference, local_copy=True)
    assert Path(content.file_path).read_bytes() == PNG
    assert (content.caption, content.mime_type, content.size_kb) == ("a bear", "image/png", 2)
    assert Path(store.retrieve_media(reference, local_copy=True).file_path).read_bytes() == PNG  # in one line, too
    if storage.name == LOCAL:
        assert content == store.retrieve_media(reference)
        assert list(spool.iterdir()) == []
        return
    assert content.storage_reference == reference
    assert [str(path) for path in spool.iterdir()] == [content.file_path]
    assert content.file_path.endswith(".png")
    # Downloaded once: the rest is read from the copy.
    store.delete_media(reference)
    assert content.read_bytes() == PNG
    with content.open() as file:
        assert file.read() == PNG
    assert content.local_path() == Path(content.file_path)


@pytest.mark.parametrize(
    "keep",
    [lambda content: content, lambda content: content.file_path, lambda content: content.local_path(), copy.deepcopy],
    ids=["content", "file_path", "local_path", "copy"],
)
def test_a_local_copy_goes_with_the_last_who_names_it(memory_storage, spool, keep):
    store = MediaStore(memory_storage.url)
    content = store.retrieve_media(put(store), local_copy=True)
    kept = keep(content)
    del content
    (path,) = spool.iterdir()
    assert path.read_bytes() == PNG
    del kept
    assert list(spool.iterdir()) == []


def test_a_local_copy_that_is_not_what_was_stored_is_an_error_and_leaves_nothing(storage, open_store, spool):
    reference = put(open_store())
    storage.write(keys.bytes_key(reference), b"x" * len(PNG))
    unchecked = open_store(verify_reads=False).retrieve_media(reference, local_copy=True)
    assert Path(unchecked.file_path).read_bytes() == b"x" * len(PNG)
    del unchecked
    # On a disk nothing is copied: who reads it is told.
    read = MediaContent.read_bytes if storage.name == LOCAL else pytest.fail
    store = open_store()
    error = raised(CorruptMediaError, lambda: read(store.retrieve_media(reference, local_copy=True)))
    assert error.reference == reference
    assert list(spool.iterdir()) == []


def test_a_local_copy_stays_with_its_process(memory_storage):
    """Where it is unpickled there may be no such file; the reference is good everywhere."""
    store = MediaStore(memory_storage.url)
    content = store.retrieve_media(put(store), local_copy=True)
    again = pickle.loads(pickle.dumps(content))
    assert (again.file_path, again.storage_reference) == (None, content.storage_reference)
    assert type(pickle.loads(pickle.dumps(content.file_path))) is str


@on(*ALL_STORAGES)
def test_what_is_not_there_is_not_found(store, spool):
    store.create()
    copied = partial(store.retrieve_media, local_copy=True)
    for read in (store.retrieve_media, store.info, store.open, copied):
        error = raised(MediaNotFoundError, read, GONE, match=f"{GONE}: no such media; ")
        assert error.reference == GONE
        assert isinstance(error, FileNotFoundError)
    assert store.exists(GONE) is False
    assert list(spool.iterdir()) == []


def test_references_outlive_a_move_of_the_store(local_storage, tmp_path):
    reference = put(MediaStore(local_storage.url))
    Path(local_storage.url).rename(tmp_path / "moved")
    assert MediaStore(tmp_path / "moved").retrieve_media(reference).read_bytes() == PNG


@on(*ALL_STORAGES)
def test_deleting_takes_bytes_and_sidecar_and_may_be_repeated(storage, store):
    store.delete_media(GONE)  # a store that does not exist is not made
    assert traces(storage) == {}
    kept, gone = put(store), put(store)
    for each in (gone, gone, GONE):
        assert store.delete_media(each) is None
        assert storage.keys() == {kept, f"{kept}.meta", STORE_JSON}
    assert list(store.list()) == [kept]
    for part in (".meta", ""):  # what a crash left
        storage.remove(kept + part)
        store.delete_media(kept)
        assert storage.keys() == {STORE_JSON}
        kept = put(store)


def test_deleting_the_last_media_of_a_run_takes_the_folder_and_no_neighbour(local_storage):
    store, root = MediaStore(local_storage.url), Path(local_storage.url)
    first, second = put(store, "a"), put(store, "b")
    (root / "runs" / "a" / "notes.txt").write_text("mine")
    (root / "elsewhere" / "empty").mkdir(parents=True)
    store.delete_media(first)
    assert (root / "runs" / "a" / "notes.txt").read_text() == "mine"
    (root / "runs" / "a" / "notes.txt").unlink()
    store.delete_media(first)
    assert not (root / "runs" / "a").exists()
    assert (root / second).exists()
    store.delete_media(second)
    assert sorted(path.name for path in root.iterdir()) == [".fsmedia", "elsewhere"]
    assert (root / "elsewhere" / "empty").is_dir()


@on(LOCAL, MEMORY, S3_RCLONE)
def test_a_media_without_sidecar_is_deleted_as_it_is_listed(storage, store):
    storage.write("runs/r1/photo.png", PNG)
    storage.write("runs/r1/photo.png.bak", PNG)
    assert store.exists("runs/r1/photo.png")
    store.delete_media("runs/r1/photo.png")
    assert storage.keys() == {"runs/r1/photo.png.bak"}
