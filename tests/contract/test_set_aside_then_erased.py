"""What a repair set aside of somebody goes with the erasure, and whoever checks the receipt finds what stays."""

import json

import pytest

from fsmedia import StorageError
from fsmedia.format import keys
from fsmedia.storage.memory import MemoryBackend
from tests.conftest import on, storages
from tests.contract.specimens import AT_ONCE, PNG, edited, put
from tests.contract.test_erasure import no_trace
from tests.deduplicated import below
from tests.storages import LOCAL, MEMORY, S3_RCLONE
from tests.transfers import opened, shared_in_place

storage = storages(MEMORY)
OURS, CLIENTS = "our name", "a client's name"


def change(key_of, how):
    """Return what changes a file that is about a media."""
    return lambda storage, media: storage.write(key_of(media), how(storage.read(key_of(media))))


def wrong_value(storage, media):
    edited(storage, media, message_idx="seven")


def other_bytes(storage, media):
    if keys.pointer_of(media) is None:
        wrong_value(storage, media)
    change(keys.bytes_key, lambda data: data + b"!")(storage, media)


CUT_OFF = change(keys.hold_key, lambda text: text[:35])
BYTES_GONE = lambda storage, media: storage.remove(keys.bytes_key(media))  # noqa: E731
GONE = [BYTES_GONE, lambda storage, media: storage.remove(keys.sidecar_key(media))]
# What a repair sets aside; where it is a hold, it says why and who.
DAMAGE = {
    "hold_cut_off": [change(keys.hold_key, lambda text: text[:-20])],
    "hold_cut_off_in_its_name": [CUT_OFF],
    "hold_without_a_name": [change(keys.hold_key, lambda text: text.replace(b'"reference"', b"?"))],
    "hold_of_nothing": GONE,
    "hold_cut_off_of_nothing": [CUT_OFF, *GONE],
    "sidecar_with_a_wrong_value": [wrong_value],
    "sidecar_cut_off": [change(keys.sidecar_key, lambda text: text[:-20])],
    "sidecar_without_bytes": [BYTES_GONE],
    "other_bytes": [other_bytes],
}
CASES = [(name, OURS, shared) for name in DAMAGE for shared in (False, True)]
CASES += [(name, CLIENTS, False) for name in ("hold_cut_off", "hold_without_a_name", "sidecar_with_a_wrong_value")]


def media(store, run, *, held=False, at=None):
    """Store what only this run has, under a name of ours or at a path that says nothing."""
    reference = put(store, run, PNG + run.encode())
    if at is not None:
        store.fs.cp_file(reference, at)
        store.delete_media(reference)
        reference = at
    if held:
        store.hold(reference, f"{run} against the lab", who=f"counsel of {run}")
    return reference


def repaired(store):
    report = store.verify(deep=True, repair=True, **AT_ONCE)
    assert (report.whole, report.failed) == (True, ())
    assert report.mended


def damage_to(storage, kind, reference):
    for step in DAMAGE[kind]:
        step(storage, reference)


def damaged(storage, store, kind, reference):
    """Damage what is about a media, and set it aside."""
    damage_to(storage, kind, reference)
    repaired(store)
    return below(storage, "quarantine")


def traced(store, receipt):
    return [each.key for each in store.check_receipt(receipt).traces]


def goes(storage, store, aside=None, **subject):
    """Erase somebody; see that nothing of them is left, and how many files lay aside."""
    receipt = store.erase(**subject)
    assert receipt.is_complete
    assert receipt.cleaned.quarantined == aside or aside is None
    no_trace(storage, *subject.values())
    return receipt


@pytest.mark.parametrize(("damage", "name", "shared"), CASES)
def test_it_goes_and_what_stays_is_found(damage, name, shared, storage, open_store):
    store = open_store(deduplicate=shared)
    held = damage.startswith("hold")
    for number, run in enumerate(("alice", "bob")):
        reference = media(store, run, held=held, at=f"pictures/{number}.png" if name == CLIENTS else None)
        damage_to(storage, damage, reference)
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
def test_what_had_too_long_a_key_goes(damage, noted, memory_storage, monkeypatch):
    store = opened(memory_storage)
    reference = media(store, "alice", held=damage.startswith("hold"), at="pictures/1.png")
    monkeypatch.setattr("fsmedia.format.keys.MAX_KEY", 60)
    note, copy = sorted(damaged(memory_storage, store, damage, reference))
    store.release(reference)
    assert len(copy.rpartition("/")[2]) == 64
    if not noted:
        memory_storage.remove(note)
    data = memory_storage.read(copy)
    receipt = goes(memory_storage, store, 1 + noted, run_id="alice")
    memory_storage.write(copy, data)
    assert traced(store, receipt) == [copy]


def test_a_note_is_read_by_either_name_of_its_subject(storage, store):
    reference = media(store, "alice", at="pictures/1.png")
    note, copy = sorted(damaged(storage, store, "sidecar_with_a_wrong_value", reference))
    storage.remove(copy)
    values = json.loads(storage.read(note))
    text = json.dumps({"reference": values.pop("subject"), **values}).encode()
    storage.write(note, text)
    receipt = store.erase(run_id="alice")
    assert receipt.cleaned.quarantined == 1
    storage.write(note, text)
    assert traced(store, receipt) == [note]


def test_a_hold_that_lies_under_anothers_key_goes(storage, store):
    hers, his = media(store, "alice", held=True), media(store, "bob")
    storage.write(keys.hold_key(his), storage.read(keys.hold_key(hers)))
    repaired(store)
    store.release(hers)
    goes(storage, store, 2, run_id="alice")
    assert store.info(his).hold is not None


@on(LOCAL, MEMORY, S3_RCLONE)
@pytest.mark.parametrize("gone", [False, True], ids=["the media is there", "it is gone"])
def test_the_words_of_a_hold_stay_with_what_is_held(gone, storage, store):
    reference = media(store, "alice", held=True)
    damaged(storage, store, "hold_cut_off", reference)
    if gone:
        damage_to(storage, "hold_of_nothing", reference)
    receipt = store.erase(run_id="alice")
    assert [each.reference for each in receipt.held] == [reference]
    assert any(b"alice against the lab" in storage.read(key) for key in below(storage, "quarantine"))
    store.release(reference)
    goes(storage, store, run_id="alice")


def test_a_damaged_hold_of_what_is_not_there_is_told_until_it_is_set_aside(storage, store):
    reference = media(store, "alice", held=True)
    damage_to(storage, "hold_cut_off_of_nothing", reference)
    (told,) = store.erase(run_id="alice").held
    assert reference.startswith(told.reference)
    assert "verify" in told.reason
    repaired(store)
    goes(storage, store, run_id="alice")


@on(LOCAL, MEMORY, S3_RCLONE)
def test_what_was_set_aside_under_a_name_before_it_was_renamed_goes(storage, store):
    old = put(store, session_id="alice")
    store.hold(old, "alice against the lab")
    aside = {key: storage.read(key) for key in damaged(storage, store, "hold_cut_off", old)}
    store.release(old)
    shared_in_place(storage)
    store = opened(storage)
    receipt = goes(storage, store, len(aside), session_id="alice")
    assert [each.reference for each in receipt.erased] != [old]
    assert len(aside) == 2
    for key, data in aside.items():
        storage.write(key, data)
    assert set(traced(store, receipt)) == set(aside)


def test_a_sidecar_in_quarantine_tells_whose_a_hold_there_was(storage, store):
    """Nothing is left of the media itself, and its path says nothing of the session."""
    reference = put(store, session_id="alice")
    store.hold(reference, "alice against the lab")
    damaged(storage, store, "hold_cut_off", reference)
    store.release(reference)
    damaged(storage, store, "sidecar_without_bytes", reference)
    assert goes(storage, store, 4, session_id="alice").erased == ()


def test_what_is_set_aside_of_others_stays(storage, store):
    """Another session of the same run, and whoever had the name before."""
    put(store, session_id="alice")
    other = put(store, session_id="bob")
    store.hold(other, "bob against the lab")
    damage_to(storage, "hold_cut_off", other)
    before = media(store, "bob", at="pictures/1.png")
    aside = damaged(storage, store, "sidecar_with_a_wrong_value", before)
    store.release(other)
    store.delete_media(before)
    store.fs.cp_file(put(store, "r2", session_id="alice"), before)
    assert len(aside) == 4
    for words, erased in (({"run_id": "r1", "session_id": "alice"}, 1), ({"run_id": "r2"}, 2)):
        receipt = store.erase(**words)
        assert (receipt.is_complete, len(receipt.erased)) == (True, erased)
        assert below(storage, "quarantine") == aside
        assert store.check_receipt(receipt).holds


def test_what_tells_whose_it_is_stays_with_what_can_not_go(memory_storage, monkeypatch):
    store = opened(memory_storage)
    reference = put(store, session_id="alice")
    damaged(memory_storage, store, "other_bytes", reference)
    delete = MemoryBackend.delete

    def refusing(self, gone, **options):
        left = [key for key in gone if key.startswith(keys.QUARANTINE) and not key.endswith((".json", ".meta"))]
        failed = {key: StorageError("is locked", key=key) for key in left}
        return {**delete(self, [key for key in gone if key not in left], **options), **failed}

    monkeypatch.setattr(MemoryBackend, "delete", refusing)
    receipt = store.erase(session_id="alice")
    assert (len(receipt.failed), receipt.cleaned.quarantined) == (1, 0)
    monkeypatch.undo()
    goes(memory_storage, store, 3, session_id="alice")
    assert below(memory_storage, "quarantine") == set()


@on(LOCAL, MEMORY, S3_RCLONE)
def test_a_repair_of_a_cut_off_sidecar_hides_nobody(storage, store):
    """Its ids stand before the cut: without them the media would be nobody's, and stay."""
    reference = media(store, "alice", at="pictures/1.txt")
    damaged(storage, store, "sidecar_cut_off", reference)
    assert store.info(reference).run_id == "alice"
    receipt = goes(storage, store, run_id="alice")
    assert [each.reference for each in receipt.erased] == [reference]
    assert not store.check_receipt(receipt).traces
