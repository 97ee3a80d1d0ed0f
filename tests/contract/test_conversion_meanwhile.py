"""A conversion among others: who overwrites, holds, deletes or stores meanwhile, and what an earlier one left."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import BulkError, HeldMediaError, MediaNotFoundError, MediaStore, StoreConflictError
from fsmedia.format import keys
from fsmedia.maintenance import dedupe
from tests.contract.test_conversion import DATA, blobs, lying, opened, put, sidecar

if TYPE_CHECKING:
    from tests.storages import LocalStorage, MemoryStorage, Storage


def test_what_is_overwritten_while_it_is_read_never_becomes_a_shared_blob(
    local_storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that are copied must be those that were hashed; who wants to share them meanwhile must not."""
    store = opened(local_storage)
    old = put(store)
    backend, looked = store._backend, []
    copy = type(backend).copy

    def late(self: Any, source: str, target: str, content_type: str) -> None:
        local_storage.write(old, bytes(len(DATA)))
        copy(self, source, target, content_type)
        from fsmedia.core import blobs as room

        looked.append(room.find_generation(backend, hashlib.sha256(DATA).hexdigest(), len(DATA)))

    monkeypatch.setattr(type(backend), "copy", late)
    report = store.deduplicate()
    assert looked == [None]
    assert isinstance(report.failed[0].error, StoreConflictError)
    assert local_storage.read(old) == bytes(len(DATA))
    assert {key for key in lying(local_storage) if key.startswith(keys.BLOBS)} == set()
    assert list(store.list()) == [old]


@pytest.mark.parametrize("moment", ["before the new sidecar", "before the old goes"])
@pytest.mark.parametrize("what", ["policy", "hold", "delete"])
def test_what_somebody_does_meanwhile_is_not_undone(
    memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch, what: str, moment: str
) -> None:
    store = opened(memory_storage)
    old = put(store)
    acts = {
        "policy": lambda: store.apply_policy(old, "retain-2days"),
        "hold": lambda: store.hold(old, "wait"),
        "delete": lambda: store.delete_media(old),
    }
    if moment == "before the old goes":
        unchanged = dedupe._unchanged
        monkeypatch.setattr(dedupe, "_unchanged", lambda *args: (acts[what](), unchanged(*args))[1])
    else:
        copy = type(store._backend).copy
        monkeypatch.setattr(type(store._backend), "copy", lambda *args: (copy(*args), acts[what]())[0])
    report = store.deduplicate()
    monkeypatch.undo()
    if what == "policy":
        assert isinstance(report.failed[0].error, StoreConflictError)
        assert store.deduplicate().converted == 1
        assert store.info(next(store.list())).policy_name == "retain-2days"
    elif what == "hold":
        assert "is held" in report.skipped[0].reason
        assert store.retrieve_media(old).read_bytes() == DATA
        store.release(old)
        assert store.deduplicate().converted == 1
    elif moment == "before the new sidecar":
        assert list(store.list()) == []
        assert not blobs(memory_storage)
    assert len(list(store.list())) == (what != "delete")


def test_a_store_object_that_is_open_stores_on(memory_storage: MemoryStorage) -> None:
    """Also one that was asked for plain media: what it stores is taken up by the next conversion."""
    other = opened(memory_storage, deduplicate=False)
    put(other)
    assert opened(memory_storage).deduplicate().converted == 1
    late = put(other)
    assert keys.pointer_of(late) is None
    assert other.deduplicate().converted == 1
    assert keys.pointer_of(put(other)) is not None
    with pytest.raises(StoreConflictError):
        opened(memory_storage, deduplicate=False)


def test_who_held_by_an_old_reference_may_release_by_it(memory_storage: MemoryStorage) -> None:
    """Also with a store that was opened before the conversion: holding finds the new name, so releasing must."""
    store = opened(memory_storage)
    old, stale, late = put(store), opened(memory_storage), opened(memory_storage)
    ((_, new),) = store.deduplicate().moved
    stale.hold(old, "wait")
    assert store.info(new).hold == "wait"
    late.release(old)
    assert store.info(new).hold is None


# -- what an earlier conversion left ---------------------------------------------------------------------------


def stopped(storage: Storage) -> tuple[MediaStore, str, str]:
    """Return a store with a media that is there twice: a conversion died before the old one went."""
    store = opened(storage)
    old = put(store, policy_name="retain-3days")
    was = {key: storage.read(key) for key in (old, f"{old}.meta")}
    ((_, new),) = store.deduplicate().moved
    for key, data in was.items():
        storage.write(key, data)
    assert sorted(store.list()) == sorted([old, new])
    return store, old, new


def test_what_was_stored_again_already_is_not_stored_again(memory_storage: MemoryStorage) -> None:
    store, old, new = stopped(memory_storage)
    before = sidecar(memory_storage, new)
    report = store.deduplicate()
    assert [tuple(pair) for pair in report.moved] == [(old, new)]
    assert (report.converted, report.bytes_before, report.bytes_saved) == (1, len(DATA), 0)
    assert sidecar(memory_storage, new) == before
    assert list(store.list()) == [new]


@pytest.mark.parametrize("many", [False, True])
def test_who_deletes_what_is_there_twice_deletes_both(memory_storage: MemoryStorage, many: bool) -> None:
    """Else the old reference would answer again right after, with what was deleted."""
    _, old, _ = stopped(memory_storage)
    store = opened(memory_storage)
    store.delete_many([old]) if many else store.delete_media(old)
    assert list(store.list()) == []
    assert not store.exists(old)


def test_bulk_deletes_know_old_references(memory_storage: MemoryStorage) -> None:
    store = opened(memory_storage)
    old = [put(store, run=f"r{number % 2}") for number in range(4)]
    store.deduplicate()
    new = sorted(store.list())
    store.hold(old[3], "wait")
    with pytest.raises(BulkError) as caught:
        opened(memory_storage).delete_many([*old, "runs/r0/other.png"])
    assert {index: type(error) for index, error in caught.value.errors.items()} == {3: HeldMediaError}
    assert [each for each in new if store.exists(each)] == list(store.list())
    assert len(list(store.list())) == 1


@pytest.mark.parametrize("last", ["old", "new"])
def test_the_younger_sidecar_counts(memory_storage: MemoryStorage, last: str) -> None:
    store, old, new = stopped(memory_storage)
    store.apply_policy(old if last == "new" else new, "retain-7days")
    store.apply_policy(old if last == "old" else new, "retain-8days")
    assert store.deduplicate().converted == 1
    record = store.info(new)
    assert (record.policy_name, list(store.list())) == ("retain-8days", [new])
    assert record.expires_at is not None
    assert keys.due_key(record.expires_at, new) in lying(memory_storage)


@pytest.mark.parametrize("part", ["data", "refs"])
def test_a_twin_that_is_not_whole_is_none(memory_storage: MemoryStorage, part: str) -> None:
    """Its sidecar alone is no reason to let the old bytes go."""
    store, old, _ = stopped(memory_storage)
    for key in lying(memory_storage):
        if f"/{part}/" in key:
            memory_storage.remove(key)
    assert store.deduplicate().converted == 1
    assert store.retrieve_media(old).read_bytes() == DATA
    whole = [each for each in store.list() if store.exists(each)]  # what lost its bytes is left to verify
    assert {store.retrieve_media(each).read_bytes() for each in whole} == {DATA}


def test_an_old_media_with_other_bytes_than_its_twin_is_for_a_person_to_look_at(memory_storage: MemoryStorage) -> None:
    store, old, new = stopped(memory_storage)
    other = b"somebody wrote it anew"
    values = sidecar(memory_storage, old) | {"sha256": hashlib.sha256(other).hexdigest(), "size_bytes": len(other)}
    memory_storage.write(old, other)
    memory_storage.write(f"{old}.meta", json.dumps(values).encode())
    report = store.deduplicate()
    assert isinstance(report.failed[0].error, StoreConflictError)
    assert new in str(report.failed[0].error)
    assert memory_storage.read(old) == other
    assert store.retrieve_media(new).read_bytes() == DATA


def test_another_media_of_the_folder_is_no_answer_to_an_old_reference(memory_storage: MemoryStorage) -> None:
    store, old, new = stopped(memory_storage)
    store.deduplicate()
    for wrong in (
        old.replace("/0000_00_", "/0001_00_"),
        old.replace(".txt", ".png"),
        f"runs/r1/{keys.plain_name(0, 0, keys.new_unique())}.txt",
        "runs/r1/table.csv",
    ):
        assert not store.exists(wrong)
        with pytest.raises(MediaNotFoundError):
            store.info(wrong)
        store.delete_media(wrong)
    assert list(store.list()) == [new]


def test_a_name_that_would_be_too_long_is_skipped(memory_storage: MemoryStorage) -> None:
    long = opened(memory_storage, layouts={"by-run": "/".join(["x" * 240] * 3) + "/{run_id}/{name}{ext}"})
    old = put(long, run="y" * 140)
    report = long.deduplicate()
    assert [str(each.reference) for each in report.skipped] == [old]
    assert "too long" in report.skipped[0].reason
    assert long.retrieve_media(old).read_bytes() == DATA


def test_a_sweep_takes_what_a_killed_copy_left(memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marker, condemned mark and data of a generation that no media names."""
    store = opened(memory_storage)
    put(store)
    copy = type(store._backend).copy

    def killed(*args: Any) -> None:
        copy(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(type(store._backend), "copy", killed)
    with pytest.raises(KeyboardInterrupt):
        store.deduplicate()
    monkeypatch.undo()
    assert len(blobs(memory_storage)) == 1
    assert store.deduplicate().converted == 1
    assert len(blobs(memory_storage)) == 2, "a condemned generation was shared"
    for _ in range(2):
        store.sweep_orphans(grace=timedelta(0), nobody_writes=True)
    assert len(blobs(memory_storage)) == 1
    assert not [key for key in lying(memory_storage) if "/condemned/" in key]
    assert store.retrieve_media(next(store.list())).read_bytes() == DATA
