"""Old names of media that a sync renamed, or version 0.1 in place: nobody deletes by one unheard."""

import pickle
import urllib.request

import pytest

from fsmedia import BulkError, HeldMediaError, MediaContent, MediaMetadata, MediaNotFoundError
from fsmedia.format import keys
from tests.conftest import on, storages
from tests.storages import LOCAL, MEMORY, S3_RCLONE, LocalStorage
from tests.transfers import opened, shared_in_place, synced

storage = storages(LOCAL, S3_RCLONE)


def put(store, data=b"text", **fields):
    return store.store_media(MediaContent.from_bytes(data, "text/plain"), MediaMetadata(run_id="r1", **fields))


@pytest.fixture
def there(tmp_path):
    return LocalStorage(LOCAL, str(tmp_path / "there"))


def refused(there, old, present):
    """Look that no way of deleting takes an old name for one of nothing."""
    store = opened(there)
    with pytest.raises(MediaNotFoundError) as caught:
        store.delete_media(old)
    with pytest.raises(BulkError) as bulk:
        store.delete_many([old])
    assert present in str(caught.value)
    assert present in str(bulk.value.errors[0])
    for delete in (store.fs.rm, store.fs.rm_file):
        with pytest.raises(FileNotFoundError):
            delete(old)
    assert present in set(store.list())


@pytest.mark.parametrize("shared", [(False, False), (False, True), (True, False), (True, True)])
def test_the_old_name_of_what_a_sync_brought_into_other_folders_deletes_nothing_unheard(storage, there, shared):
    """Renamed in place after that it has two old names."""
    old = put(opened(storage, deduplicate=shared[0]), session_id="s1")
    ((_, new),) = synced(storage, there, organization="by-session", deduplicate=shared[1]).moved
    refused(there, old, new)
    present = new
    if not any(shared):
        (present,) = shared_in_place(there).values()
        refused(there, old, present)
    opened(there).delete_media(new)
    opened(there).delete_media(old)  # nothing of it is left under any name
    assert list(opened(there).list()) == []


def test_the_name_of_shared_bytes_where_a_sync_made_them_plain(storage, there):
    old = put(opened(storage, deduplicate=True))
    ((_, new),) = synced(storage, there, deduplicate=False).moved
    assert new == keys.plain_reference(old)
    refused(there, old, new)
    for key in sorted(there.keys()):
        if key.startswith(keys.REFERENCES):  # a crash may lose the line
            there.remove(key)
    refused(there, old, new)


def test_a_name_that_a_client_chose_and_a_sync_renamed(there, memory_storage):
    source = opened(memory_storage, organization="by-session").create()
    source.fs.pipe_file("sessions/s1/x.txt", b"text")
    ((old, new),) = synced(memory_storage, there, organization="by-run", missing_id="r9").moved
    refused(there, old, new)


def test_shared_bytes_under_another_generation_go_by_their_old_names(storage, there):
    source = opened(storage, deduplicate=True)
    first, second = put(source), put(source)
    target = opened(there, deduplicate=True)
    put(target)
    (other,) = target.list()
    synced(storage, there)
    target.delete_media(first)
    target.delete_many([second])
    assert list(target.list()) == [other]


def test_lines_that_are_none_are_passed_over(memory_storage):
    store = opened(memory_storage)
    kept = put(store)
    lines = [b"[1]", b"no json", b'{"old": ["x"], "new": "y"}', b'{"old": "runs/r1/x", "new": ".fsmedia/x"}']
    lines += [b'{"old": "runs/r1/a", "new": "runs/r1/b"}', b'{"old": "runs/r1/b", "new": "runs/r1/a"}']
    memory_storage.write(f"{keys.REFERENCES}/2026-01-01/000000-x.jsonl", b"\n".join(lines))
    for name in ("runs/r1/x", "runs/r1/a", "runs/r1/b"):
        store.delete_media(name)
    assert list(store.list()) == [kept]


@on(LOCAL, MEMORY, S3_RCLONE)
def test_old_references_still_lead_to_the_media(storage, clock):
    before = opened(storage, clock)
    old, gone, other = put(before, b"bytes"), put(before, b"will be deleted"), put(before, b"bytes")
    new = shared_in_place(storage)[old]
    for store in (pickle.loads(pickle.dumps(opened(storage, clock))), opened(storage, clock)):
        assert store.retrieve_media(old).read_bytes() == store.read(old) == b"bytes"
        assert store.exists(old)
        assert (store.info(old).reference, store.info(old).run_id) == (new, "r1")
        with store.open(old) as file:
            assert file.read() == b"bytes"
    if storage.name != MEMORY:
        with urllib.request.urlopen(store.get_url(old)) as answer:
            assert answer.read() == b"bytes"
    copy = store.store_media(MediaContent(storage_reference=old, mime_type="text/plain"), MediaMetadata(run_id="c"))
    assert store.retrieve_media(copy).read_bytes() == b"bytes"
    store.apply_policy(old, "retain-1days")
    assert store.info(new).policy_name == "retain-1days"
    store.hold(old, "auditors")
    assert store.info(new).hold == "auditors"
    store.release(old)
    assert store.info(new).hold is None
    for each in (gone, old, old):
        store.delete_media(each)
    assert not store.exists(old)
    assert new not in list(store.list())
    assert store.exists(other)
    for ask in (store.info, store.open, store.retrieve_media):
        with pytest.raises(MediaNotFoundError):
            ask(old)


def test_bulk_deletes_know_old_references(memory_storage):
    old = [put(opened(memory_storage), session_id=f"s{number % 2}") for number in range(4)]
    shared_in_place(memory_storage)
    store = opened(memory_storage)
    new = sorted(store.list())
    store.hold(old[3], "wait")
    with pytest.raises(BulkError) as caught:
        opened(memory_storage).delete_many([*old, "runs/r0/other.png"])
    assert {index: type(error) for index, error in caught.value.errors.items()} == {3: HeldMediaError}
    assert [each for each in new if store.exists(each)] == list(store.list())
    assert len(list(store.list())) == 1


def test_another_media_of_the_folder_is_no_answer_to_an_old_reference(memory_storage):
    old = put(opened(memory_storage))
    new = shared_in_place(memory_storage)[old]
    store = opened(memory_storage)
    unknown = f"runs/r1/{keys.plain_name(0, 0, keys.new_unique())}.txt"
    for wrong in (old.replace("/0000_00_", "/0001_00_"), old.replace(".txt", ".png"), unknown, "runs/r1/table.csv"):
        assert not store.exists(wrong)
        with pytest.raises(MediaNotFoundError):
            store.info(wrong)
        store.delete_media(wrong)
    assert list(store.list()) == [new]
