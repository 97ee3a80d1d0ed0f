"""What a repair set aside of somebody goes with the erasure, and whoever checks the receipt finds what stays."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.format import keys
from fsmedia.storage.memory import MemoryBackend
from tests.contract.specimens import PNG
from tests.contract.test_erasure import edited, no_trace, stored
from tests.deduplicated import below
from tests.transfers import shared_in_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.storages import Storage

NOW: dict[str, Any] = {"grace": timedelta(0), "nobody_writes": True}
OURS, CLIENTS = "our name", "a client's name"


class Damage:
    """What a repair sets aside; where it is a hold, it says why and who."""

    @staticmethod
    def hold_cut_off(storage: Storage, reference: str) -> None:
        storage.write(keys.hold_key(reference), storage.read(keys.hold_key(reference))[:-20])

    @staticmethod
    def hold_cut_off_in_its_name(storage: Storage, reference: str) -> None:
        storage.write(keys.hold_key(reference), storage.read(keys.hold_key(reference))[:35])

    @staticmethod
    def hold_without_a_name(storage: Storage, reference: str) -> None:
        storage.write(keys.hold_key(reference), storage.read(keys.hold_key(reference)).replace(b'"reference"', b"?"))

    @staticmethod
    def hold_of_nothing(storage: Storage, reference: str) -> None:
        storage.remove(keys.bytes_key(reference))
        storage.remove(keys.sidecar_key(reference))

    @staticmethod
    def hold_cut_off_of_nothing(storage: Storage, reference: str) -> None:
        Damage.hold_cut_off_in_its_name(storage, reference)
        Damage.hold_of_nothing(storage, reference)

    @staticmethod
    def sidecar_with_a_wrong_value(storage: Storage, reference: str) -> None:
        edited(storage, reference, message_idx="seven")

    @staticmethod
    def sidecar_cut_off(storage: Storage, reference: str) -> None:
        storage.write(keys.sidecar_key(reference), storage.read(keys.sidecar_key(reference))[:-20])

    @staticmethod
    def sidecar_without_bytes(storage: Storage, reference: str) -> None:
        storage.remove(keys.bytes_key(reference))

    @staticmethod
    def other_bytes(storage: Storage, reference: str) -> None:
        if keys.pointer_of(reference) is None:
            edited(storage, reference, message_idx="seven")
        storage.write(keys.bytes_key(reference), storage.read(keys.bytes_key(reference)) + b"!")


KINDS = [name for name in vars(Damage) if not name.startswith("_")]
CASES = [(name, OURS, shared) for name in KINDS for shared in (False, True)]
CASES += [(name, CLIENTS, False) for name in ("hold_cut_off", "hold_without_a_name", "sidecar_with_a_wrong_value")]


def media(store: MediaStore, run: str, *, held: bool, at: str | None = None) -> str:
    """Store what only this run has, under a name of ours or at a path that says nothing."""
    content = MediaContent.from_bytes(PNG + run.encode(), "image/png")
    reference = store.store_media(content, MediaMetadata(run_id=run))
    if at is not None:
        store.fs.cp_file(reference, at)
        store.delete_media(reference)
        reference = at
    if held:
        store.hold(reference, f"{run} against the lab", who=f"counsel of {run}")
    return reference


def repaired(store: MediaStore) -> None:
    report = store.verify(deep=True, repair=True, **NOW)
    assert (report.whole, report.failed) == (True, ())
    assert report.mended


@pytest.mark.parametrize(("damage", "name", "shared"), CASES)
def test_it_goes_and_what_stays_is_found(
    damage: str, name: str, shared: bool, storage: Storage, open_store: Callable[..., MediaStore]
) -> None:
    store = open_store(deduplicate=shared)
    held = damage.startswith("hold")
    for number, run in enumerate(("alice", "bob")):
        reference = media(store, run, held=held, at=f"pictures/{number}.png" if name == CLIENTS else None)
        getattr(Damage, damage)(storage, reference)
    store = open_store()
    repaired(store)
    for reference in store.list() if held else ():
        store.release(reference)
    aside = {key: storage.read(key) for key in below(storage, "quarantine")}
    planned = store.erase(run_id="alice", dry_run=True)
    receipt = store.erase(run_id="alice")
    assert (receipt.is_complete, receipt.cleaned) == (True, planned.cleaned)
    no_trace(storage, "alice")
    left = below(storage, "quarantine")
    hers = aside.keys() - left
    assert len(hers) == len(left) == receipt.cleaned.quarantined > 1  # what was bob's is still there
    assert store.check_receipt(receipt).holds
    assert store.erase(run_id="alice").cleaned.quarantined == 0

    for key in hers if receipt.erased else ():
        storage.write(key, aside[key])
        found = {(each.kind, each.key) for each in store.check_receipt(receipt).traces}
        assert found == {("quarantine", key)}
        storage.remove(key)


@pytest.mark.parametrize("noted", [True, False], ids=["with its note", "the repair died before its note"])
@pytest.mark.parametrize("damage", ["hold_cut_off", "hold_without_a_name", "sidecar_with_a_wrong_value"])
def test_what_had_too_long_a_key_goes(damage: str, noted: bool, memory_storage: Storage, monkeypatch) -> None:
    store = MediaStore(memory_storage.url)
    reference = media(store, "alice", held=damage.startswith("hold"), at="pictures/1.png")
    getattr(Damage, damage)(memory_storage, reference)
    monkeypatch.setattr("fsmedia.format.keys.MAX_KEY", 60)
    repaired(store)
    store.release(reference)
    note, copy = sorted(below(memory_storage, "quarantine"))
    assert len(copy.rpartition("/")[2]) == 64
    if not noted:
        memory_storage.remove(note)
    data = memory_storage.read(copy)
    receipt = store.erase(run_id="alice")
    assert receipt.cleaned.quarantined == 1 + noted
    no_trace(memory_storage, "alice")
    memory_storage.write(copy, data)
    assert [each.key for each in store.check_receipt(receipt).traces] == [copy]


def test_a_note_is_read_by_either_name_of_its_subject(memory_storage: Storage) -> None:
    store = MediaStore(memory_storage.url)
    reference = media(store, "alice", held=False, at="pictures/1.png")
    Damage.sidecar_with_a_wrong_value(memory_storage, reference)
    repaired(store)
    note, copy = sorted(below(memory_storage, "quarantine"))
    memory_storage.remove(copy)
    values = json.loads(memory_storage.read(note))
    text = json.dumps({"reference": values.pop("subject"), **values}).encode()
    memory_storage.write(note, text)
    receipt = store.erase(run_id="alice")
    assert receipt.cleaned.quarantined == 1
    memory_storage.write(note, text)
    assert [each.key for each in store.check_receipt(receipt).traces] == [note]


def test_a_hold_that_lies_under_anothers_key_goes(memory_storage: Storage) -> None:
    store = MediaStore(memory_storage.url)
    hers, his = media(store, "alice", held=True), media(store, "bob", held=False)
    memory_storage.write(keys.hold_key(his), memory_storage.read(keys.hold_key(hers)))
    repaired(store)
    store.release(hers)
    receipt = store.erase(run_id="alice")
    assert receipt.cleaned.quarantined == 2
    assert store.info(his).hold is not None
    no_trace(memory_storage, "alice")


def test_the_words_of_a_hold_stay_with_what_is_held(storage: Storage, store: MediaStore) -> None:
    reference = media(store, "alice", held=True)
    Damage.hold_cut_off(storage, reference)
    repaired(store)
    receipt = store.erase(run_id="alice")
    assert [each.reference for each in receipt.held] == [reference]
    assert any(b"alice against the lab" in storage.read(key) for key in below(storage, "quarantine"))
    store.release(reference)
    assert store.erase(run_id="alice").is_complete
    no_trace(storage, "alice")


def test_so_do_those_of_a_hold_whose_media_is_gone(memory_storage: Storage) -> None:
    store = MediaStore(memory_storage.url)
    reference = media(store, "alice", held=True)
    Damage.hold_cut_off(memory_storage, reference)
    repaired(store)
    Damage.hold_of_nothing(memory_storage, reference)
    receipt = store.erase(run_id="alice")
    assert [each.reference for each in receipt.held] == [reference]
    assert any(b"against the lab" in memory_storage.read(key) for key in below(memory_storage, "quarantine"))
    store.release(reference)
    assert store.erase(run_id="alice").is_complete
    no_trace(memory_storage, "alice")


def test_a_damaged_hold_of_what_is_not_there_is_told_until_it_is_set_aside(memory_storage: Storage) -> None:
    store = MediaStore(memory_storage.url)
    reference = media(store, "alice", held=True)
    Damage.hold_cut_off_of_nothing(memory_storage, reference)
    (told,) = store.erase(run_id="alice").held
    assert reference.startswith(told.reference)
    assert "verify" in told.reason
    repaired(store)
    assert store.erase(run_id="alice").is_complete
    no_trace(memory_storage, "alice")


def test_what_was_set_aside_under_a_name_before_it_was_renamed_goes(storage: Storage, store: MediaStore) -> None:
    old = stored(store, run_id="r1", session_id="alice")
    store.hold(old, "alice against the lab")
    Damage.hold_cut_off(storage, old)
    repaired(store)
    aside = {key: storage.read(key) for key in below(storage, "quarantine")}
    store.release(old)
    shared_in_place(storage)
    store = MediaStore(storage.url, storage_options=storage.options)
    receipt = store.erase(session_id="alice")
    assert [each.reference for each in receipt.erased] != [old]
    assert receipt.cleaned.quarantined == len(aside) == 2
    no_trace(storage, "alice")
    for key, data in aside.items():
        storage.write(key, data)
    assert {each.key for each in store.check_receipt(receipt).traces} == set(aside)


def test_a_sidecar_in_quarantine_tells_whose_a_hold_there_was(memory_storage: Storage) -> None:
    """Nothing is left of the media itself, and its path says nothing of the session."""
    store = MediaStore(memory_storage.url)
    reference = stored(store, run_id="r1", session_id="alice")
    store.hold(reference, "alice against the lab")
    Damage.hold_cut_off(memory_storage, reference)
    repaired(store)
    store.release(reference)
    Damage.sidecar_without_bytes(memory_storage, reference)
    repaired(store)
    receipt = store.erase(session_id="alice")
    assert (receipt.erased, receipt.cleaned.quarantined) == ((), 4)
    no_trace(memory_storage, "alice")


def test_what_is_set_aside_of_others_stays(memory_storage: Storage) -> None:
    """Another session of the same run, and whoever had the name before."""
    store = MediaStore(memory_storage.url)
    stored(store, run_id="r1", session_id="alice")
    other = stored(store, run_id="r1", session_id="bob")
    store.hold(other, "bob against the lab")
    Damage.hold_cut_off(memory_storage, other)
    before = media(store, "bob", held=False, at="pictures/1.png")
    Damage.sidecar_with_a_wrong_value(memory_storage, before)
    repaired(store)
    store.release(other)
    store.delete_media(before)
    store.fs.cp_file(stored(store, run_id="r2", session_id="alice"), before)
    aside = below(memory_storage, "quarantine")
    assert len(aside) == 4
    for words in ({"run_id": "r1", "session_id": "alice"}, {"run_id": "r2"}):
        receipt = store.erase(**words)
        assert (receipt.is_complete, len(receipt.erased)) == (True, 2 if words == {"run_id": "r2"} else 1)
        assert below(memory_storage, "quarantine") == aside
        assert store.check_receipt(receipt).holds


def test_what_tells_whose_it_is_stays_with_what_can_not_go(memory_storage: Storage, monkeypatch) -> None:
    store = MediaStore(memory_storage.url)
    reference = stored(store, run_id="r1", session_id="alice")
    Damage.other_bytes(memory_storage, reference)
    repaired(store)
    delete = MemoryBackend.delete

    def refusing(self: MemoryBackend, gone: Any, **options: Any) -> Any:
        left = [key for key in gone if key.startswith(keys.QUARANTINE) and not key.endswith((".json", ".meta"))]
        failed = {key: StorageError("is locked", key=key) for key in left}
        return {**delete(self, [key for key in gone if key not in left], **options), **failed}

    with monkeypatch.context() as patched:
        patched.setattr(MemoryBackend, "delete", refusing)
        receipt = store.erase(session_id="alice")
    assert (len(receipt.failed), receipt.cleaned.quarantined) == (1, 0)
    receipt = store.erase(session_id="alice")
    assert (receipt.is_complete, receipt.cleaned.quarantined) == (True, 3)
    assert below(memory_storage, "quarantine") == set()


def test_a_repair_of_a_cut_off_sidecar_hides_nobody(storage: Storage, store: MediaStore) -> None:
    """Its ids stand before the cut: without them the media would be nobody's, and stay."""
    copied = store.store_media(
        MediaContent.from_bytes(b"alice's voice", mime_type="text/plain"), MediaMetadata(run_id="alice")
    )
    store.fs.cp_file(copied, "pictures/1.txt")
    store.delete_media(copied)
    sidecar = keys.sidecar_key("pictures/1.txt")
    storage.write(sidecar, storage.read(sidecar)[:-20])
    repaired(store)
    assert store.info("pictures/1.txt").run_id == "alice"
    receipt = store.erase(run_id="alice")
    assert receipt.is_complete
    assert [str(each.reference) for each in receipt.erased] == ["pictures/1.txt"]
    no_trace(storage, "alice")
    assert not store.check_receipt(receipt).traces
