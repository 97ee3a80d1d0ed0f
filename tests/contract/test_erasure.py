"""Erasing a subject: all of it wherever it lies, nothing of anybody else, and a receipt that says what went."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from fsmedia import InvalidMediaError, MediaContent, MediaMetadata, MediaStore, ReadOnlyStoreError, Receipt
from fsmedia.format import keys
from tests.contract.leftovers import put
from tests.contract.specimens import PNG, traces
from tests.deduplicated import below, data_keys, settled, told
from tests.storages import LOCAL, MEMORY, S3_MOTO

if TYPE_CHECKING:
    from tests.storages import MemoryStorage, Storage

HOUR = timedelta(hours=1)


OLD_RECEIPT = {
    "receipt": 1,
    "fsmedia": "0.1.0",
    "store": "memory://old-receipt",
    "words": {"run_id": "alice"},
    "dry_run": False,
    "begun": "2026-03-04T05:06:07Z",
    "finished": "2026-03-04T05:06:07Z",
    "examined": 1,
    "erased": [
        {
            "reference": "runs/alice/0000_00_u01kjvktcgre9xsht16gcz743bk.txt",
            "sha256": "339f694afaae46da6ea82f200af9b636304d534bc92054419f5688ea53171240",
            "size_bytes": 7,
            "freed_bytes": 7,
            "data": "gone",
            "shared_by": 0,
            "note": "",
        }
    ],
    "held": [],
    "waiting": [],
    "unclear": [],
    "failed": [],
    "cleaned": {
        "due_entries": 0,
        "snapshots": 0,
        "mappings": 0,
        "index_entries": 0,
        "log_lines": 0,
        "quarantined": 0,
        "leftovers": 0,
        "previews": 0,
    },
    "digest": "8579d6a16dae789fba8db4bd209d77a420d9a6d996e69f4c6aa16d438011da95",
}


def stored(store: MediaStore, data: bytes = PNG, **fields: object) -> str:
    return store.store_media(MediaContent(data=data, mime_type="image/png"), MediaMetadata(**fields))


def no_trace(storage: Storage, word: str, *besides: str) -> None:
    """See that neither a key nor a byte in the whole storage names somebody."""
    for key in sorted(storage.keys()):
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

    store = MediaStore(some_storage.url, storage_options=some_storage.options, deduplicate=deduplicate, now=clock)
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
    assert [each.reference for each in receipt.waiting] == list(
        below(memory_storage, f"blobs/{told(reference).digest[:2]}") - {told(reference).data}
    )
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


# -- receipts --------------------------------------------------------------------------------------------------


def test_a_receipt_survives_json_and_shows_a_change(storage, store, tmp_path) -> None:
    put(store, "alice")
    receipt = store.erase(run_id="alice")
    text = receipt.model_dump_json()
    assert Receipt.model_validate_json(text) == receipt
    assert re.fullmatch("[0-9a-f]{64}", receipt.checksum)
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


def test_a_receipt_that_called_its_checksum_a_digest_still_checks(memory_storage: MemoryStorage) -> None:
    """One of format 1, as 0.1.0 wrote it: without what came later."""
    store = MediaStore(memory_storage.url)
    assert OLD_RECEIPT["receipt"] == 1
    receipt = Receipt.model_validate(OLD_RECEIPT)
    assert (receipt.checksum, receipt.is_unchanged) == (OLD_RECEIPT["digest"], True)
    assert store.check_receipt(OLD_RECEIPT).holds
    assert Receipt.model_validate_json(receipt.model_dump_json()).is_unchanged
    for change in ({"examined": 2}, {"versions": [{"reference": "a", "reason": "b"}], "receipt": 2}):
        with pytest.raises(InvalidMediaError, match="changed"):
            store.check_receipt({**OLD_RECEIPT, **change})


def test_a_new_receipt_speaks_of_a_checksum(storage, store) -> None:
    put(store, "alice")
    values = json.loads(store.erase(run_id="alice").model_dump_json())
    assert values["receipt"] == 2
    assert "checksum" in values
    assert "digest" not in values


@pytest.mark.parametrize("deduplicate", [False, True])
def test_checking_finds_each_kind_of_trace(storage, open_store, deduplicate) -> None:
    store = open_store(deduplicate=deduplicate)
    reference = stored(store, run_id="alice", policy_name="retain-1days")
    there = {key: storage.read(key) for key in sorted(storage.keys())}
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
    storage.write(f"{reference}.meta", there[f"{reference}.meta"])
    store.verify(repair=True, grace=timedelta(0), nobody_writes=True)
    assert not storage.keys() >= {f"{reference}.meta"}
    storage.write(keys.hold_key(reference), b"{}")
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
