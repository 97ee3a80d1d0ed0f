"""Old names of media that a sync or a conversion renamed: nobody deletes by one and hears that it succeeded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import BulkError, MediaContent, MediaMetadata, MediaNotFoundError, MediaStore
from fsmedia.format import keys
from tests.storages import LOCAL, MEMORY, LocalStorage, MemoryStorage, Storage
from tests.transfers import opened, synced

if TYPE_CHECKING:
    from pathlib import Path


def put(store: MediaStore, data: bytes = b"text", **fields: Any) -> str:
    return store.store_media(MediaContent.from_bytes(data, "text/plain"), MediaMetadata(run_id="r1", **fields))


@pytest.fixture
def there(tmp_path: Path) -> Storage:
    """Give another folder."""
    return LocalStorage(LOCAL, str(tmp_path / "there"))


def refused(store: MediaStore, old: str, present: str) -> None:
    """Look that no way of deleting takes an old name for one of nothing."""
    with pytest.raises(MediaNotFoundError) as caught:
        store.delete_media(old)
    assert present in str(caught.value)
    with pytest.raises(BulkError) as bulk:
        store.delete_many([old])
    assert present in str(bulk.value.errors[0])
    with pytest.raises(FileNotFoundError):
        store.fs.rm(old)
    with pytest.raises(FileNotFoundError):
        store.fs.rm_file(old)
    assert present in set(store.list())


def gone_by(store: MediaStore, old: str) -> None:
    """Delete by an old name, one at a time."""
    store.delete_media(old)
    assert list(store.list()) == []


@pytest.mark.parametrize("shared", [(False, False), (False, True), (True, False), (True, True)])
def test_the_old_name_of_what_a_sync_brought_into_other_folders_deletes_nothing_unheard(
    storage: Storage, there: Storage, shared: tuple[bool, bool]
) -> None:
    old = put(opened(storage, deduplicate=shared[0]), session_id="s1")
    ((_, new),) = synced(storage, there, organization="by-session", deduplicate=shared[1]).moved
    refused(opened(there), old, new)
    opened(there).delete_media(new)
    opened(there).delete_media(old)  # nothing of it is left under any name


def test_the_name_of_shared_bytes_where_a_sync_made_them_plain(storage: Storage, there: Storage) -> None:
    old = put(opened(storage, deduplicate=True))
    ((_, new),) = synced(storage, there, deduplicate=False).moved
    assert new == keys.plain_reference(old)
    refused(opened(there), old, new)
    for key in sorted(there.keys()):
        if key.startswith(keys.REFERENCES):  # a crash may lose the line
            there.remove(key)
    refused(opened(there), old, new)


def test_what_was_brought_and_then_converted_has_two_old_names(storage: Storage, there: Storage) -> None:
    old = put(opened(storage), session_id="s1")
    ((_, brought),) = synced(storage, there, organization="by-session").moved
    ((_, present),) = opened(there).deduplicate().moved
    refused(opened(there), old, present)
    gone_by(opened(there), brought)


def test_a_name_that_a_client_chose_and_a_sync_renamed(there: Storage, memory_storage: Storage) -> None:
    source = opened(memory_storage, organization="by-session").create()
    source.fs.pipe_file("sessions/s1/x.txt", b"text")
    ((old, new),) = synced(memory_storage, there, organization="by-run", missing_id="r9").moved
    refused(opened(there), old, new)


def test_shared_bytes_under_another_generation_go_by_their_old_names(storage: Storage, there: Storage) -> None:
    source = opened(storage, deduplicate=True)
    first, second = put(source), put(source)
    target = opened(there, deduplicate=True)
    put(target)
    (other,) = target.list()
    synced(storage, there)
    target.delete_media(first)
    target.delete_many([second])
    assert list(target.list()) == [other]


def test_lines_that_are_none_are_passed_over() -> None:
    storage = MemoryStorage(MEMORY, "memory://lines-that-are-none")
    store = opened(storage)
    kept = put(store)
    lines = [b"[1]", b"no json", b'{"old": ["x"], "new": "y"}', b'{"old": "runs/r1/x", "new": ".fsmedia/x"}']
    lines += [b'{"old": "runs/r1/a", "new": "runs/r1/b"}', b'{"old": "runs/r1/b", "new": "runs/r1/a"}']
    storage.write(f"{keys.REFERENCES}/2026-01-01/000000-x.jsonl", b"\n".join(lines))
    for name in ("runs/r1/x", "runs/r1/a", "runs/r1/b"):
        store.delete_media(name)
    assert list(store.list()) == [kept]
