"""Erasing a subject: all of it wherever it lies, nothing of anybody else, and a receipt that says what went."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from fsmedia import InvalidMediaError, MediaContent, MediaMetadata, ReadOnlyStoreError, Receipt, keys
from tests.contract.leftovers import Leftover, put
from tests.contract.specimens import PNG, traces
from tests.deduplicated import below, data_keys, settled, told
from tests.storages import LOCAL, MEMORY, S3_MOTO

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsmedia import MediaStore
    from tests.storages import Storage

HOUR = timedelta(hours=1)


def stored(store: MediaStore, data: bytes = PNG, **fields: object) -> str:
    return store.store_media(MediaContent(data=data, mime_type="image/png"), MediaMetadata(**fields))


def no_trace(storage: Storage, word: str, *besides: str) -> None:
    """See that neither a key nor a byte in the whole storage names somebody."""
    for key in storage.keys():
        if not key.startswith(besides or ("\0",)):
            assert word not in key
            assert word.encode() not in storage.read(key), key


def edited(storage: Storage, reference: str, **values: object) -> None:
    sidecar = json.loads(storage.read(f"{reference}.meta"))
    storage.write(f"{reference}.meta", json.dumps({**sidecar, **values}).encode())


@pytest.mark.parametrize("deduplicate", [False, True])
def test_all_of_a_subject_goes_and_nothing_else(storage, open_store, clock, deduplicate) -> None:
    store = open_store(deduplicate=deduplicate)
    gone = [
        stored(store, run_id="alice", policy_name="retain-1days"),
        stored(store, b"other", run_id="alice", message_idx=3),
        stored(store, run_id="alice"),
    ]
    stays = [stored(store, run_id="bob", policy_name="retain-1days"), stored(store, b"his", run_id="alice2")]
    before = {each: store.retrieve_media(each).read_bytes() for each in stays}
    planned = store.erase(run_id="alice", dry_run=True)
    assert sorted(store.list()) == sorted(gone + stays)
    receipt = store.erase(run_id="alice")
    assert receipt.is_complete
    assert [each.reference for each in planned.erased] == [each.reference for each in receipt.erased]
    assert planned.cleaned == receipt.cleaned
    assert planned.bytes_freed == receipt.bytes_freed == len(b"other") + (0 if deduplicate else 2 * len(PNG))
    assert sorted(each.reference for each in receipt.erased) == sorted(gone)
    assert sorted(store.list()) == sorted(stays)
    assert {each: store.retrieve_media(each).read_bytes() for each in stays} == before
    no_trace(storage, "alice/")
    assert len(below(storage, "due")) == 1
    told_of = {each.reference: each for each in receipt.erased}
    assert [told_of[each].data for each in gone] == ["shared", "gone", "shared"]
    assert [told_of[each].shared_by for each in gone] == [1, 0, 1]
    assert told_of[gone[1]].sha256 == sha256(b"other").hexdigest()
    assert told_of[gone[1]].size_bytes == 5
    assert receipt.cleaned.due_entries == 1
    assert (receipt.words, receipt.begun, receipt.finished) == ({"run_id": "alice"}, clock.now, clock.now)
    assert receipt.store == store.url
    if deduplicate:
        assert settled(storage, stays)
    assert store.check_receipt(receipt).holds


def test_nothing_happens_to_a_store_without_the_subject(storage, store, unchanged) -> None:
    put(store)
    with unchanged():
        receipt = store.erase(run_id="nobody", dry_run=True)
    assert (receipt.erased, receipt.is_complete, receipt.examined) == ((), True, 1)
    before = traces(storage)
    assert store.erase(run_id="nobody").erased == ()
    assert traces(storage) == before


def test_a_dry_run_changes_nothing(storage, open_store, unchanged) -> None:
    store = open_store(deduplicate=True)
    put(store, "alice")
    store.hold(put(store, "alice", b"held"), "a reason")
    with unchanged():
        receipt = open_store(read_only=True).erase(run_id="alice", dry_run=True)
    assert receipt.dry_run
    assert (len(receipt.erased), len(receipt.held)) == (1, 1)
    with pytest.raises(InvalidMediaError, match="dry run"):
        store.check_receipt(receipt)
    with pytest.raises(ReadOnlyStoreError):
        open_store(read_only=True).erase(run_id="alice")


@pytest.mark.parametrize("words", [{}, {"run_id": ""}, {"run_id": "a", "session_id": ""}, {"run_id": 7}])
def test_nobody_is_erased_by_accident(memory_storage, words) -> None:
    from fsmedia import MediaStore

    store = MediaStore(memory_storage.url)
    put(store)
    with pytest.raises(InvalidMediaError, match="id"):
        store.erase(**words)
    assert len(list(store.list())) == 1


@pytest.mark.parametrize("organization", ["by-run", "by-conversation", "by-session"])
@pytest.mark.parametrize("some_storage", [LOCAL, S3_MOTO], indirect=True)
def test_ids_in_sidecars_alone_are_found_in_any_organization(some_storage, clock, organization) -> None:
    from fsmedia import MediaStore

    store = MediaStore(some_storage.url, storage_options=some_storage.options, organization=organization, now=clock)
    ids = {"run_id": "r", "conversation_id": "c", "session_id": "s", "provider_id": "p"}
    for name in ids:
        gone = [stored(store, **{**ids, name: "ada ~ \u00e9/x"}) for _ in range(2)]
        stays = stored(store, **ids)
        receipt = store.erase(**{name: "ada ~ \u00e9/x"})
        assert sorted(each.reference for each in receipt.erased) == sorted(gone)
        assert store.exists(stays)


def test_all_ids_that_are_given_must_fit(memory_storage) -> None:
    from fsmedia import MediaStore

    store = MediaStore(memory_storage.url)
    both = stored(store, run_id="r1", provider_id="p1")
    stored(store, run_id="r1", provider_id="p2")
    stored(store, run_id="r2", provider_id="p1")
    receipt = store.erase(run_id="r1", provider_id="p1")
    assert [each.reference for each in receipt.erased] == [both]
    assert receipt.is_complete


def test_held_media_stay_with_their_reason(storage, store) -> None:
    held = [put(store, "alice"), put(store, "alice", b"2")]
    gone = put(store, "alice")
    for each in held:
        store.hold(each, "a lawsuit", who="the court")
    receipt = store.erase(run_id="alice")
    assert [each.reference for each in receipt.held] == sorted(held)
    assert all("a lawsuit" in each.reason and "the court" in each.reason for each in receipt.held)
    assert not receipt.is_complete
    assert [each.reference for each in receipt.erased] == [gone]
    assert receipt.erased[0].shared_by == 1, "what is held has the same bytes"
    assert store.info(held[0]).hold == "a lawsuit"
    assert below(storage, "erasures") == set()
    assert store.check_receipt(receipt).holds
    for each in held:
        store.release(each)
    assert len(store.erase(run_id="alice").erased) == 2
    no_trace(storage, "alice")


# -- odd media -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deduplicate", [False, True])
@pytest.mark.parametrize("some_storage", [LOCAL, MEMORY, S3_MOTO], indirect=True)
def test_damaged_sidecars_are_included_where_anything_tells_whose_they_are(some_storage, clock, deduplicate) -> None:
    from fsmedia import MediaStore

    store = MediaStore(
        some_storage.url, storage_options=some_storage.options, deduplicate=deduplicate, now=clock
    )
    mine, cut, theirs, lost = (put(store, run, run.encode()) for run in ("alice", "alice", "bob", "carol"))
    some_storage.write(f"{mine}.meta", b"\xff\0 no JSON")
    whole = some_storage.read(f"{cut}.meta")
    some_storage.write(f"{cut}.meta", whole[: len(whole) // 2])
    some_storage.write(f"{theirs}.meta", b"{")
    if not deduplicate:  # outside every layout, cut off behind its ids, or before them
        some_storage.write("odd/a.png", PNG)
        some_storage.write("odd/a.png.meta", b'{"run_id": "alice", "mime_type": "ima')
        some_storage.write("odd/b.png", PNG)
        some_storage.write("odd/b.png.meta", b'{"run_id": "ali')
    receipt = store.erase(run_id="alice")
    erased = {each.reference: each.note for each in receipt.erased}
    assert {mine, cut} <= set(erased)
    assert erased[mine] == erased[cut] == "its sidecar could not be read"
    if not deduplicate:
        assert "odd/a.png" in erased
        assert [each.reference for each in receipt.unclear] == ["odd/b.png"]
        assert not receipt.is_complete
    assert store.exists(theirs)
    assert store.exists(lost)
    assert not any(store.exists(each) for each in (mine, cut))


def test_bytes_that_a_damaged_sidecar_shared_go_once_their_marker_is_old(memory_storage) -> None:
    from fsmedia import MediaStore
    from tests.protocol.retained import aged

    store = MediaStore(memory_storage.url, deduplicate=True)
    reference = put(store, "alice")
    memory_storage.write(f"{reference}.meta", b"{")
    receipt = store.erase(run_id="alice")
    assert receipt.erased[0].data == "kept"
    assert [each.reference for each in receipt.waiting] == list(below(memory_storage, f"blobs/{told(reference).digest[:2]}") - {told(reference).data})
    with aged(memory_storage):
        receipt = store.erase(run_id="alice")
    assert receipt.cleaned.leftovers == 2
    assert receipt.is_complete
    assert data_keys(memory_storage) == []


def test_sidecars_that_disagree_with_their_path(storage, store) -> None:
    """The sidecar is the truth: on a disk that ignores case two runs share a folder."""
    hers = put(store, "bob")
    edited(storage, hers, run_id="alice")
    not_hers = put(store, "alice")
    edited(storage, not_hers, run_id="bob")
    receipt = store.erase(run_id="alice")
    assert [each.reference for each in receipt.erased] == [hers]
    assert [each.reference for each in receipt.unclear] == [not_hers]
    assert "another" in receipt.unclear[0].reason
    assert store.exists(not_hers)


def test_files_of_others_and_lone_sidecars_in_the_folder_go(storage, store) -> None:
    put(store, "bob")
    storage.write("runs/alice/scan.pdf", b"%PDF-1.7 alice's")
    storage.write("runs/alice/gone.png.meta", b'{"run_id": "alice", "caption": "x"}')
    storage.write("runs/alice2/scan.pdf", b"somebody else's")
    receipt = store.erase(run_id="alice")
    assert {each.reference: each.note for each in receipt.erased} == {
        "runs/alice/scan.pdf": "it had no sidecar", "runs/alice/gone.png": "",
    }  # fmt: skip
    no_trace(storage, "alice/")
    assert storage.read("runs/alice2/scan.pdf") == b"somebody else's"


def test_what_no_reference_can_name_is_told(local_storage) -> None:
    from fsmedia import MediaStore

    local_storage.write("runs/alice/a::b.png", PNG)
    receipt = MediaStore(local_storage.url).erase(run_id="alice")
    assert [each.reference for each in receipt.unclear] == ["runs/alice/a::b.png"]


def test_ids_that_are_too_long_for_a_path(storage, store) -> None:
    long = "a" * 300
    gone, stays = put(store, long), put(store, f"{long}b")
    leftover = f"{gone.rpartition('/')[0]}/0000_00_{keys.new_unique()}.png"
    storage.write(leftover, PNG)
    receipt = store.erase(run_id=long)
    assert [each.reference for each in receipt.erased] == [gone]
    assert [each.reference for each in receipt.waiting] == [leftover]
    assert store.exists(stays)


# -- what else names the subject --------------------------------------------------------------------------------


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


def test_old_names_of_a_conversion_go(storage, store) -> None:
    plain = [put(store, run) for run in ("alice", "bob", "alice")]
    store.deduplicate()
    receipt = store.erase(run_id="alice")
    assert receipt.cleaned.mappings == 2
    assert len(receipt.erased) == 2
    no_trace(storage, "alice")
    (mapping,) = below(storage, "references")
    assert json.loads(storage.read(mapping))["old"] == plain[1]
    assert store.retrieve_media(plain[1]).read_bytes() == PNG
    store.erase(run_id="bob")
    assert below(storage, "references") == set()


def test_a_half_done_conversion_loses_both_names(storage, open_store, clock) -> None:
    store = open_store()
    plain = put(store, "alice")
    copy = {key: storage.read(key) for key in storage.keys() if "alice" in key}
    store.deduplicate()
    for key, data in copy.items():
        storage.write(key, data)
    assert len(list(store.list())) == 2
    receipt = open_store().erase(run_id="alice")
    assert plain in {each.reference for each in receipt.erased}
    assert len(receipt.erased) == 2
    no_trace(storage, "alice")


def test_a_conversion_meanwhile_hides_nothing(memory_storage, monkeypatch) -> None:
    from fsmedia import MediaStore
    from fsmedia.erasure import erasing

    store = MediaStore(memory_storage.url)
    put(store, "alice")
    other = MediaStore(memory_storage.url)
    real = erasing.Erasure._found

    def found(self, backend, subject):
        answer = real(self, backend, subject)
        other.deduplicate()
        return answer

    monkeypatch.setattr(erasing.Erasure, "_found", found)
    receipt = MediaStore(memory_storage.url, deduplicate=None).erase(run_id="alice")
    monkeypatch.undo()
    if not receipt.is_complete or list(store.list()):
        assert store.erase(run_id="alice").erased
    no_trace(memory_storage, "alice")


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


def test_what_repairs_set_aside_goes(storage, store) -> None:
    put(store, "bob")
    folder = ".fsmedia/quarantine/2026-03-04T050607-u00000000000000000000000001"
    by_path, by_note, by_sidecar, other = (f"{folder[:-1]}{number}" for number in range(4))
    storage.write(f"{by_path}/runs/alice/x.png", PNG)
    storage.write(f"{by_note}/{'0' * 64}", PNG)
    note = {"reference": "runs/alice/long.png", "objects": {f"{by_note}/{'0' * 64}": "runs/alice/long.png"}}
    storage.write(f"{by_note}.json", json.dumps(note).encode())
    storage.write(f"{by_sidecar}/keep/y.png", PNG)
    storage.write(f"{by_sidecar}/keep/y.png.meta", b'{"run_id": "alice", "x": [')
    storage.write(f"{other}/runs/bob/x.png", PNG)
    planned = store.erase(run_id="alice", dry_run=True)
    receipt = store.erase(run_id="alice")
    assert planned.cleaned.quarantined == receipt.cleaned.quarantined == 5
    assert below(storage, "quarantine") == {f"{other}/runs/bob/x.png"}


# -- receipts --------------------------------------------------------------------------------------------------


def test_a_receipt_survives_json_and_shows_a_change(storage, store, tmp_path) -> None:
    put(store, "alice")
    receipt = store.erase(run_id="alice")
    text = receipt.model_dump_json()
    assert Receipt.model_validate_json(text) == receipt
    assert re.fullmatch("[0-9a-f]{64}", receipt.digest)
    file = tmp_path / "receipt.json"
    file.write_text(text)
    assert store.check_receipt(file).holds
    assert store.check_receipt(json.loads(text)).holds
    changed = json.loads(text)
    changed["erased"][0]["size_bytes"] += 1
    with pytest.raises(InvalidMediaError, match="changed"):
        store.check_receipt(changed)
    for wrong in ({}, {"receipt": 99}, {"receipt": 1}, {**changed, "erased": 3}):
        with pytest.raises(InvalidMediaError):
            store.check_receipt(wrong)
    file.write_text("[" * 100_000)
    with pytest.raises(InvalidMediaError, match="no receipt"):
        store.check_receipt(file)


@pytest.mark.parametrize("deduplicate", [False, True])
def test_checking_finds_each_kind_of_trace(storage, open_store, deduplicate) -> None:
    store = open_store(deduplicate=deduplicate)
    reference = stored(store, run_id="alice", policy_name="retain-1days")
    there = {key: storage.read(key) for key in storage.keys()}
    receipt = store.erase(run_id="alice")
    assert store.check_receipt(receipt).holds
    kinds = set()
    for key, data in there.items():
        if key == ".fsmedia/store.json":
            continue
        storage.write(key, data)
        report = store.check_receipt(receipt)
        assert bool(report.traces) != ("/refs/" in key), key
        kinds |= {each.kind for each in report.traces}
        storage.remove(key)
    storage.write(keys.hold_key(reference), b"{}")
    storage.write(f".fsmedia/quarantine/a/{reference}.meta", b"{}")
    kinds |= {each.kind for each in store.check_receipt(receipt).traces}
    assert kinds == {"due", "sidecar", "bytes", "hold", "quarantine"} | (set() if deduplicate else {"reference"})


def test_checking_finds_the_same_bytes_under_another_name(storage, store) -> None:
    put(store, "alice")
    receipt = store.erase(run_id="alice")
    again = put(store, "bob")
    report = store.check_receipt(receipt)
    assert [(each.kind, each.key) for each in report.traces] == [("bytes", again)]


def test_a_store_that_moved_can_be_checked(memory_storage, local_storage) -> None:
    from fsmedia import MediaStore

    put(MediaStore(memory_storage.url), "alice")
    receipt = MediaStore(memory_storage.url).erase(run_id="alice")
    report = MediaStore(local_storage.url).check_receipt(receipt)
    assert (report.holds, report.same_store) == (True, False)
