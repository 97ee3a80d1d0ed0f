"""Getting media back: contents, records, opened bytes, local copies; and deleting them."""

import copy
import pickle
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.errors import CorruptMediaError, MediaNotFoundError
from fsmedia.format import keys
from tests.conftest import on, storages
from tests.contract.specimens import GONE, PNG, R1, STORE_JSON, png, put, raised, traces
from tests.storages import ALL_STORAGES, LOCAL, MEMORY, S3_RCLONE

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
