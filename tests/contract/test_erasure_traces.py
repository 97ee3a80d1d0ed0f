"""Erasing what else names a subject: leftovers, due entries, conversions, records of deletions, quarantine.

What a repair set aside of somebody by name: see `test_set_aside_then_erased.py`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from tests.contract.leftovers import Leftover, put
from tests.contract.specimens import PNG
from tests.contract.test_erasure import HOUR, no_trace, stored
from tests.deduplicated import below
from tests.storages import MEMORY
from tests.transfers import shared_in_place


def test_leftovers_go_if_they_are_old_and_wait_if_not(storage, open_store) -> None:
    store = open_store(deduplicate=True, orphan_grace=timedelta(minutes=10))
    put(store, "bob")
    young = [f"runs/alice/0000_00_{keys.new_unique()}.png", f"runs/alice/{keys.temporary_name()}"]
    for key in young:
        storage.write(key, PNG)
    due = keys.due_key(datetime(2026, 3, 4, tzinfo=UTC), f"runs/alice/0000_00_{keys.new_unique()}.png")
    storage.write(due, b"")
    receipt = store.erase(run_id="alice")
    assert {each.reference for each in receipt.waiting} == {*young, due}
    assert not receipt.is_complete
    assert storage.keys() >= {*young, due}
    if storage.name == MEMORY:
        from tests.protocol.retained import aged

        with aged(storage):
            receipt = store.erase(run_id="alice")
        assert receipt.is_complete
        assert (receipt.cleaned.leftovers, receipt.cleaned.due_entries) == (2, 1)
        no_trace(storage, "alice")


def test_old_markers_of_the_subject_go_and_its_bytes_with_them(memory_storage) -> None:
    from fsmedia import MediaStore
    from tests.protocol.retained import aged

    store = MediaStore(memory_storage.url, deduplicate=True)
    stays = put(store, "r1")
    Leftover.generation_with_a_dead_storers_marker(memory_storage, stays)
    Leftover.orphan_marker(memory_storage, stays)  # of run r9
    with aged(memory_storage):
        receipt = store.erase(run_id="r9")
        assert receipt.cleaned.leftovers == 1
        receipt = store.erase(run_id="r1")
    assert receipt.cleaned.leftovers == 2
    assert below(memory_storage, "blobs") == set()


def test_stale_due_entries_of_what_went_go_at_once(storage, store, clock) -> None:
    reference = stored(store, run_id="alice", policy_name="retain-1days")
    store.apply_policy(reference, "retain-2days")
    store.apply_policy(reference, None)
    stays = stored(store, run_id="bob", policy_name="retain-1days")
    assert len(below(storage, "due")) == 3
    receipt = store.erase(run_id="alice")
    assert receipt.cleaned.due_entries == 2
    assert below(storage, "due") == {keys.due_key(clock.now + 24 * HOUR, stays)}


def test_old_names_of_renamed_media_go(storage, open_store) -> None:
    plain = [put(open_store(), run) for run in ("alice", "bob", "alice")]
    shared_in_place(storage)
    store = open_store()
    receipt = store.erase(run_id="alice")
    assert receipt.cleaned.mappings == 2
    assert len(receipt.erased) == 2
    no_trace(storage, "alice")
    (mapping,) = below(storage, "references")
    assert json.loads(storage.read(mapping))["old"] == plain[1]
    assert store.retrieve_media(plain[1]).read_bytes() == PNG
    store.erase(run_id="bob")
    assert below(storage, "references") == set()


def test_a_media_under_its_old_name_and_its_new_one_loses_both(storage, open_store, clock) -> None:
    store = open_store()
    plain = put(store, "alice")
    copy = {key: storage.read(key) for key in sorted(storage.keys()) if "alice" in key}
    shared_in_place(storage)
    store = open_store()
    for key, data in copy.items():
        storage.write(key, data)
    assert len(list(store.list())) == 2
    receipt = open_store().erase(run_id="alice")
    assert plain in {each.reference for each in receipt.erased}
    assert len(receipt.erased) == 2
    no_trace(storage, "alice")


def test_records_of_deletions_are_evidence_and_stay_unless_told(storage, open_store) -> None:
    store = open_store(deletion_log="store")
    store.delete_media(put(store, "alice"))
    store.delete_many([put(store, "alice"), put(store, "bob")])
    put(store, "alice", b"3")
    receipt = store.erase(run_id="alice")
    lines = [json.loads(line) for key in below(storage, "deletions") for line in storage.read(key).splitlines()]
    assert sorted(line["reason"] for line in lines) == ["deleted by request"] * 3 + ["erased by request"]
    no_trace(storage, "alice", ".fsmedia/deletions/")
    assert store.check_receipt(receipt).holds
    receipt = store.erase(run_id="alice", forget_log=True)
    assert receipt.cleaned.log_lines == 3
    no_trace(storage, "alice")
    (left,) = below(storage, "deletions")
    assert b"bob" in storage.read(left)


def test_a_hold_of_what_is_not_there_is_told(storage, store) -> None:
    """It names the subject, and nothing but `release` takes a hold away."""
    gone = put(store, "alice")
    store.hold(gone, "a lawsuit")
    for key in (gone, f"{gone}.meta"):
        storage.remove(key)
    store.hold(put(store, "bob"), "another")
    receipt = store.erase(run_id="alice")
    assert [each.reference for each in receipt.held] == [gone]
    assert "not there" in receipt.held[0].reason
    assert store.erase(run_id="bob2").held == ()
    store.release(gone)
    assert store.erase(run_id="alice").is_complete
    no_trace(storage, "alice")


@pytest.mark.parametrize("others", [False, True], ids=["alone", "shared"])
def test_shared_bytes_in_quarantine_go_with_the_last_who_had_them(others: bool) -> None:
    """Damaged bytes are set aside by themselves, so no sidecar beside them tells whose they were."""
    store = MediaStore(f"memory://set-aside-{others}", deduplicate=True).create()
    content = MediaContent.from_bytes(b"a picture", "text/plain")
    one = store.store_media(content, MediaMetadata(run_id="r1"))
    if others:
        store.store_media(content, MediaMetadata(run_id="r2"))
    pointer = keys.pointer_of(one)
    assert pointer is not None
    store._backend.write(pointer.data_key, b"a pictur?", "text/plain")
    store.verify(deep=True, repair=True, grace=timedelta(0), nobody_writes=True)

    def quarantined() -> list[bytes | None]:
        return [store._backend.read(entry.key) for entry in store._backend.entries(keys.QUARANTINE)]

    assert b"a pictur?" in quarantined()
    assert store.erase(run_id="r1", dry_run=True).cleaned.quarantined == (2 if others else 4)
    assert store.erase(run_id="r1").cleaned.quarantined == (2 if others else 4)
    assert (b"a pictur?" in quarantined()) == others
    if others:
        assert store.erase(run_id="r2").cleaned.quarantined == 4
        assert quarantined() == []
