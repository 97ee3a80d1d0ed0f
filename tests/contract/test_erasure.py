"""Erasing a subject: all of it wherever it lies, nothing of anybody else, and a receipt that says what went.

What a repair set aside of somebody by name: see `test_set_aside_then_erased.py`.
"""

import asyncio
import io
import json
import re
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from multiprocessing import get_context
from threading import Event
from typing import Any

import pytest
from pyarrow import parquet

from fsmedia import AsyncMediaStore, MediaStore, errors
from fsmedia.catalog import snapshots
from fsmedia.format import keys
from fsmedia.maintenance import erase
from fsmedia.models import Receipt
from tests.conftest import on, storages
from tests.contract.children import erase_or_store, put_shared
from tests.contract.leftovers import Leftover
from tests.contract.specimens import AT_ONCE, PNG, edited, put, raised, traces
from tests.deduplicated import below, data_keys, settled, told
from tests.protocol.retained import aged
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE, Storage
from tests.transfers import opened, shared_in_place

HOUR = timedelta(hours=1)
FULL = pytest.mark.full
BOTH = pytest.mark.parametrize("deduplicate", [False, True])
NO_SERVER = on(LOCAL, MEMORY)
storage = storages(LOCAL, MEMORY, S3_RCLONE)
OLD_RECEIPT = {
    "receipt": 1, "fsmedia": "0.1.0", "store": "memory://old-receipt", "words": {"run_id": "alice"}, "dry_run": False,
    "begun": "2026-03-04T05:06:07Z", "finished": "2026-03-04T05:06:07Z", "examined": 1,
    "erased": [{
        "reference": "runs/alice/0000_00_u01kjvktcgre9xsht16gcz743bk.txt",
        "sha256": "339f694afaae46da6ea82f200af9b636304d534bc92054419f5688ea53171240",
        "size_bytes": 7, "freed_bytes": 7, "data": "gone", "shared_by": 0, "note": "",
    }],
    "held": [], "waiting": [], "unclear": [], "failed": [],
    "cleaned": dict.fromkeys((
        "due_entries", "snapshots", "mappings", "index_entries", "log_lines", "quarantined", "leftovers", "previews",
    ), 0),
    "digest": "8579d6a16dae789fba8db4bd209d77a420d9a6d996e69f4c6aa16d438011da95",
}  # fmt: skip


def names(items: Any) -> list[str]:
    return [each.reference for each in items]


def no_trace(storage: Storage, word: str, *besides: str) -> None:
    """See that neither a key nor a byte in the whole storage names somebody."""
    for key in sorted(storage.keys()):
        if not key.startswith(besides or ("\0",)):
            assert word not in key
            assert word.encode() not in storage.read(key), key


@BOTH
def test_all_of_a_subject_goes_and_nothing_else(storage, open_store, clock, deduplicate) -> None:
    store = open_store(deduplicate=deduplicate)
    dated = {"policy_name": "retain-1days"}
    gone = [put(store, "alice", **dated), put(store, "alice", b"other", message_idx=3), put(store, "alice")]
    stays = [put(store, "bob", **dated), put(store, "alice2", b"his")]
    before = {each: store.retrieve_media(each).read_bytes() for each in stays}
    planned = store.erase(run_id="alice", dry_run=True)
    assert sorted(store.list()) == sorted(gone + stays)
    receipt = store.erase(run_id="alice")
    assert receipt.is_complete
    assert (names(planned.erased), planned.cleaned) == (names(receipt.erased), receipt.cleaned)
    assert planned.bytes_freed == receipt.bytes_freed == len(b"other") + (0 if deduplicate else 2 * len(PNG))
    assert sorted(names(receipt.erased)) == sorted(gone)
    assert sorted(store.list()) == sorted(stays)
    assert {each: store.retrieve_media(each).read_bytes() for each in stays} == before
    no_trace(storage, "alice/")
    assert len(below(storage, "due")) == 1
    told_of = {each.reference: (each.data, each.shared_by) for each in receipt.erased}
    assert [told_of[each] for each in gone] == [("shared", 1), ("gone", 0), ("shared", 1)]
    (other,) = (each for each in receipt.erased if each.reference == gone[1])
    assert (other.sha256, other.size_bytes) == (sha256(b"other").hexdigest(), 5)
    assert receipt.cleaned.due_entries == 1
    assert (receipt.words, receipt.begun, receipt.finished) == ({"run_id": "alice"}, clock.now, clock.now)
    assert receipt.store == store.url
    if deduplicate:
        assert settled(storage, stays)
    assert store.check_receipt(receipt).holds


def test_a_dry_run_and_a_subject_nobody_knows_change_nothing(storage, open_store, unchanged) -> None:
    store = open_store(deduplicate=True)
    put(store, "alice")
    store.hold(put(store, "alice", b"held"), "a reason")
    with unchanged():
        receipt = open_store(read_only=True).erase(run_id="alice", dry_run=True)
        nobody = store.erase(run_id="nobody", dry_run=True)
    assert receipt.dry_run
    assert (len(receipt.erased), len(receipt.held)) == (1, 1)
    assert (nobody.erased, nobody.is_complete, nobody.examined) == ((), True, 2)
    raised(errors.InvalidMediaError, store.check_receipt, receipt, match="dry run")
    raised(errors.ReadOnlyStoreError, open_store(read_only=True).erase, run_id="alice")
    before = traces(storage)
    assert store.erase(run_id="nobody").erased == ()
    assert traces(storage) == before


def test_nobody_is_erased_by_accident_and_all_ids_that_are_given_must_fit(memory_storage) -> None:
    store = opened(memory_storage)
    both, *_ = [put(store, run, provider_id=of) for run, of in (("r1", "p1"), ("r1", "p2"), ("r2", "p1"))]
    for words in ({}, {"run_id": ""}, {"run_id": "r1", "session_id": ""}, {"run_id": 7}):
        raised(errors.InvalidMediaError, store.erase, match="id", **words)
    assert len(list(store.list())) == 3
    receipt = store.erase(run_id="r1", provider_id="p1")
    assert (names(receipt.erased), receipt.is_complete) == ([both], True)


@pytest.mark.parametrize("organization", ["by-run", "by-conversation", "by-session"])
@pytest.mark.parametrize("some_storage", [LOCAL, pytest.param(S3_MOTO, marks=FULL)], indirect=True)
def test_ids_in_sidecars_alone_are_found_in_any_organization(some_storage, clock, organization) -> None:
    store = opened(some_storage, clock, organization=organization)
    ids = {"run_id": "r", "conversation_id": "c", "session_id": "s", "provider_id": "p"}
    for name in ids:
        gone = [put(store, **{**ids, name: "ada ~ \u00e9/x"}) for _ in range(2)]
        stays = put(store, **ids)
        assert sorted(names(store.erase(**{name: "ada ~ \u00e9/x"}).erased)) == sorted(gone)
        assert store.exists(stays)


def test_held_media_stay_with_their_reason_and_a_hold_of_nothing_is_told(storage, store) -> None:
    """The hold of what is not there names the subject, and nothing but `release` takes a hold away."""
    held = [put(store, "alice"), put(store, "alice", b"2")]
    gone = put(store, "alice")
    for each in held:
        store.hold(each, "a lawsuit", who="the court")
    receipt = store.erase(run_id="alice")
    assert names(receipt.held) == sorted(held)
    assert all("a lawsuit" in each.reason and "the court" in each.reason for each in receipt.held)
    assert not receipt.is_complete
    assert names(receipt.erased) == [gone]
    assert receipt.erased[0].shared_by == 1, "what is held has the same bytes"
    assert store.info(held[0]).hold == "a lawsuit"
    assert below(storage, "erasures") == set()
    assert store.check_receipt(receipt).holds
    for key in (held[0], f"{held[0]}.meta"):
        storage.remove(key)
    store.release(held[1])
    store.hold(put(store, "bob"), "another")
    receipt = store.erase(run_id="alice")
    assert (names(receipt.erased), names(receipt.held)) == ([held[1]], [held[0]])
    assert "not there" in receipt.held[0].reason
    assert store.erase(run_id="bob2").held == ()
    store.release(held[0])
    assert store.erase(run_id="alice").is_complete
    no_trace(storage, "alice")


@BOTH
@pytest.mark.parametrize("some_storage", [LOCAL, MEMORY, pytest.param(S3_MOTO, marks=FULL)], indirect=True)
def test_damaged_sidecars_are_included_where_anything_tells_whose_they_are(some_storage, clock, deduplicate) -> None:
    store = opened(some_storage, clock, deduplicate=deduplicate)
    mine, cut, theirs, lost = (put(store, run, run.encode()) for run in ("alice", "alice", "bob", "carol"))
    whole = some_storage.read(f"{cut}.meta")
    for reference, data in ((mine, b"\xff\0 no JSON"), (cut, whole[: len(whole) // 2]), (theirs, b"{")):
        some_storage.write(f"{reference}.meta", data)
    if not deduplicate:  # outside every layout, cut off behind its ids, or before them
        for name, sidecar in {"a": b'{"run_id": "alice", "mime_type": "ima', "b": b'{"run_id": "ali'}.items():
            some_storage.write(f"odd/{name}.png", PNG)
            some_storage.write(f"odd/{name}.png.meta", sidecar)
    receipt = store.erase(run_id="alice")
    erased = {each.reference: each.note for each in receipt.erased}
    assert {mine, cut} <= set(erased)
    assert erased[mine] == erased[cut] == "its sidecar could not be read"
    if not deduplicate:
        assert "odd/a.png" in erased
        assert names(receipt.unclear) == ["odd/b.png"]
        assert not receipt.is_complete
    assert [store.exists(each) for each in (theirs, lost, mine, cut)] == [True, True, False, False]


def test_markers_of_the_subject_go_once_they_are_old_and_its_bytes_with_them(memory_storage) -> None:
    """Of a media whose sidecar is damaged; of a storer that died; of none."""
    store = opened(memory_storage, deduplicate=True)
    reference = put(store, "alice")
    memory_storage.write(f"{reference}.meta", b"{")
    receipt = store.erase(run_id="alice")
    assert receipt.erased[0].data == "kept"
    blobs = below(memory_storage, f"blobs/{told(reference).digest[:2]}")
    assert names(receipt.waiting) == list(blobs - {told(reference).data})
    with aged(memory_storage):
        receipt = store.erase(run_id="alice")
    assert receipt.cleaned.leftovers == 2
    assert receipt.is_complete
    assert data_keys(memory_storage) == []
    stays = put(store, "r1")
    Leftover.generation_with_a_dead_storers_marker(memory_storage, stays)
    Leftover.orphan_marker(memory_storage, stays)  # of run r9
    with aged(memory_storage):
        assert store.erase(run_id="r9").cleaned.leftovers == 1
        assert store.erase(run_id="r1").cleaned.leftovers == 2
    assert below(memory_storage, "blobs") == set()


def test_sidecars_that_disagree_with_their_path_files_of_others_and_lone_sidecars(storage, store) -> None:
    """The sidecar is the truth: on a disk that ignores case two runs share a folder."""
    hers, not_hers = put(store, "bob"), put(store, "alice")
    edited(storage, hers, run_id="alice")
    edited(storage, not_hers, run_id="bob")
    storage.write("runs/alice/scan.pdf", b"%PDF-1.7 alice's")
    storage.write("runs/alice/gone.png.meta", b'{"run_id": "alice", "caption": "x"}')
    storage.write("runs/alice2/scan.pdf", b"somebody else's")
    receipt = store.erase(run_id="alice")
    erased = {each.reference: each.note for each in receipt.erased}
    assert erased == {hers: "", "runs/alice/scan.pdf": "it had no sidecar", "runs/alice/gone.png": ""}
    assert names(receipt.unclear) == [not_hers]
    assert "another" in receipt.unclear[0].reason
    assert store.exists(not_hers)
    left = {key for key in storage.keys() if key.startswith("runs/alice")}  # noqa: SIM118 - no dict
    assert left == {not_hers, f"{not_hers}.meta", "runs/alice2/scan.pdf"}
    assert storage.read("runs/alice2/scan.pdf") == b"somebody else's"


@NO_SERVER
def test_ids_that_are_too_long_for_a_path_and_what_no_reference_can_name(storage, store) -> None:
    long = "a" * 300
    gone, stays = put(store, long), put(store, f"{long}b")
    leftover = f"{gone.rpartition('/')[0]}/0000_00_{keys.new_unique()}.png"
    storage.write(leftover, PNG)
    receipt = store.erase(run_id=long)
    assert (names(receipt.erased), names(receipt.waiting)) == ([gone], [leftover])
    assert store.exists(stays)
    if storage.name == LOCAL:
        storage.write("runs/alice/a::b.png", PNG)
        assert names(store.erase(run_id="alice").unclear) == ["runs/alice/a::b.png"]


@NO_SERVER
def test_leftovers_go_if_they_are_old_and_wait_if_not(storage, open_store) -> None:
    store = open_store(deduplicate=True, orphan_grace=timedelta(minutes=10))
    put(store, "bob")
    young = [f"runs/alice/0000_00_{keys.new_unique()}.png", f"runs/alice/{keys.temporary_name()}"]
    for key in young:
        storage.write(key, PNG)
    due = keys.due_key(datetime(2026, 3, 4, tzinfo=UTC), f"runs/alice/0000_00_{keys.new_unique()}.png")
    storage.write(due, b"")
    receipt = store.erase(run_id="alice")
    assert set(names(receipt.waiting)) == {*young, due}
    assert not receipt.is_complete
    assert storage.keys() >= {*young, due}
    if storage.name == MEMORY:
        with aged(storage):
            receipt = store.erase(run_id="alice")
        assert receipt.is_complete
        assert (receipt.cleaned.leftovers, receipt.cleaned.due_entries) == (2, 1)
        no_trace(storage, "alice")


@NO_SERVER
def test_stale_due_entries_of_what_went_go_at_once(storage, store, clock) -> None:
    reference = put(store, "alice", policy_name="retain-1days")
    store.apply_policy(reference, "retain-2days")
    store.apply_policy(reference, None)
    stays = put(store, "bob", policy_name="retain-1days")
    assert len(below(storage, "due")) == 3
    assert store.erase(run_id="alice").cleaned.due_entries == 2
    assert below(storage, "due") == {keys.due_key(clock.now + 24 * HOUR, stays)}


@NO_SERVER
@pytest.mark.parametrize("both", [False, True], ids=["renamed", "under both names"])
def test_old_names_of_renamed_media_go(storage, open_store, both) -> None:
    plain = [put(open_store(), run) for run in ("alice", "bob", "alice")]
    copy = {key: storage.read(key) for key in sorted(storage.keys()) if "alice" in key}
    shared_in_place(storage)
    for key, data in copy.items() if both else ():
        storage.write(key, data)
    store = open_store()
    assert len(list(store.list())) == (5 if both else 3)
    receipt = store.erase(run_id="alice")
    assert len(receipt.erased) == (4 if both else 2)
    assert {plain[0], plain[2]} <= set(names(receipt.erased)) or not both
    assert receipt.cleaned.mappings == 2
    no_trace(storage, "alice")
    (mapping,) = below(storage, "references")
    assert json.loads(storage.read(mapping))["old"] == plain[1]
    assert store.retrieve_media(plain[1]).read_bytes() == PNG
    store.erase(run_id="bob")
    assert below(storage, "references") == set()


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


@pytest.mark.parametrize("others", [False, True], ids=["alone", "shared"])
def test_shared_bytes_in_quarantine_go_with_the_last_who_had_them(memory_storage, others) -> None:
    """Damaged bytes are set aside by themselves, so no sidecar beside them tells whose they were."""
    store = opened(memory_storage, deduplicate=True).create()
    one = put(store, "r1")
    if others:
        put(store, "r2")
    store._backend.write(keys.pointer_of(one).data_key, b"a pictur?", "text/plain")
    store.verify(deep=True, repair=True, **AT_ONCE)

    def quarantined() -> list[bytes | None]:
        return [store._backend.read(entry.key) for entry in store._backend.entries(keys.QUARANTINE)]

    assert b"a pictur?" in quarantined()
    assert store.erase(run_id="r1", dry_run=True).cleaned.quarantined == (2 if others else 4)
    assert store.erase(run_id="r1").cleaned.quarantined == (2 if others else 4)
    assert (b"a pictur?" in quarantined()) == others
    if others:
        assert store.erase(run_id="r2").cleaned.quarantined == 4
        assert quarantined() == []


def test_a_receipt_survives_json_and_a_move_of_its_store_and_shows_a_change(memory_storage, local_storage, tmp_path):
    store = opened(memory_storage)
    put(store, "alice")
    receipt = store.erase(run_id="alice")
    text = receipt.model_dump_json()
    assert Receipt.model_validate_json(text) == receipt
    assert re.fullmatch("[0-9a-f]{64}", receipt.checksum)
    changed = json.loads(text)
    assert (changed["receipt"], "checksum" in changed, "digest" in changed) == (2, True, False)
    file = tmp_path / "receipt.json"
    file.write_text(text)
    assert store.check_receipt(file).holds
    assert store.check_receipt(json.loads(text)).holds
    changed["erased"][0]["size_bytes"] += 1
    raised(errors.InvalidMediaError, store.check_receipt, changed, match="changed")
    for wrong in ({}, {"receipt": 99}, {"receipt": 1}, {**changed, "erased": 3}):
        raised(errors.InvalidMediaError, store.check_receipt, wrong)
    file.write_text("[" * 100_000)
    raised(errors.InvalidMediaError, store.check_receipt, file, match="no receipt")
    report = opened(local_storage).check_receipt(receipt)
    assert (report.holds, report.same_store) == (True, False)
    again = put(store, "bob")  # the same bytes under another name
    assert traced(store, receipt) == [("bytes", again)]


def test_a_receipt_that_called_its_checksum_a_digest_still_checks(memory_storage) -> None:
    """One of format 1, as 0.1.0 wrote it: without what came later."""
    store = opened(memory_storage)
    receipt = Receipt.model_validate(OLD_RECEIPT)
    assert (receipt.checksum, receipt.is_unchanged) == (OLD_RECEIPT["digest"], True)
    assert store.check_receipt(OLD_RECEIPT).holds
    assert Receipt.model_validate_json(receipt.model_dump_json()).is_unchanged
    for change in ({"examined": 2}, {"versions": [{"reference": "a", "reason": "b"}], "receipt": 2}):
        raised(errors.InvalidMediaError, store.check_receipt, {**OLD_RECEIPT, **change}, match="changed")


@BOTH
def test_checking_finds_each_kind_of_trace(storage, open_store, deduplicate) -> None:
    store = open_store(deduplicate=deduplicate)
    reference = put(store, "alice", policy_name="retain-1days")
    there = {key: storage.read(key) for key in sorted(storage.keys() - {".fsmedia/store.json"})}
    receipt = store.erase(run_id="alice")
    assert store.check_receipt(receipt).holds
    kinds = set()
    for key, data in there.items():
        storage.write(key, data)
        report = store.check_receipt(receipt)
        assert bool(report.traces) != ("/refs/" in key), key
        kinds |= {each.kind for each in report.traces}
        storage.remove(key)
    storage.write(f"{reference}.meta", there[f"{reference}.meta"])
    store.verify(repair=True, **AT_ONCE)
    assert not storage.keys() >= {f"{reference}.meta"}
    storage.write(keys.hold_key(reference), b"{}")
    kinds |= {each.kind for each in store.check_receipt(receipt).traces}
    assert kinds == {"due", "sidecar", "bytes", "hold", "quarantine"} | (set() if deduplicate else {"reference"})


# No snapshot of the catalog holds a row of the subject, and the newest one is right.
def traced(store: MediaStore, receipt: Receipt) -> list[tuple[str, str]]:
    return [(each.kind, each.key) for each in store.check_receipt(receipt).traces]


def snapshot_keys(storage: Storage) -> set[str]:
    return {key for key in below(storage, "catalog") if not keys.is_erasure_mark(key)}


def rows(storage: Storage) -> list[list[str]]:
    """Read the runs in all snapshots, past the package."""
    tables = [parquet.read_table(io.BytesIO(storage.read(key))) for key in snapshot_keys(storage)]
    return sorted(sorted(set(table.column("run_id").to_pylist())) for table in tables)


def taken_stock(storage: Storage, *runs: str) -> tuple[MediaStore, list[str], str]:
    """Give a store with a media of each run, their references, and the key of its only snapshot."""
    store = opened(storage)
    references = [put(store, run) for run in runs]
    store.catalog()
    (key,) = snapshot_keys(storage)
    return store, references, key


@BOTH
def test_no_snapshot_holds_a_row_of_what_went(storage, open_store, deduplicate, clock) -> None:
    store = open_store(deduplicate=deduplicate)
    bob = put(store, "bob")
    store.catalog()
    put(store, "alice")
    clock.advance(timedelta(minutes=1))
    older = store.catalog()
    put(store, "carol")
    clock.advance(timedelta(minutes=1))
    store.catalog()
    assert len(rows(storage)) == 3
    assert store.erase(run_id="alice", dry_run=True).cleaned.snapshots == 2
    assert len(rows(storage)) == 3
    receipt = store.erase(run_id="alice")
    assert receipt.cleaned.snapshots == 2
    assert rows(storage) == [["bob"], ["bob", "carol"]]
    assert set(store.catalog(refresh=False).to_arrow().column("run_id").to_pylist()) == {"bob", "carol"}
    assert len(older.to_arrow()) == 2, "who has an older one goes on"
    assert store.check_receipt(receipt).holds
    assert bob in set(store.list())
    assert store.erase(run_id="alice").cleaned.snapshots == 0


def test_rows_of_media_that_went_before_go_too_and_what_is_held_keeps_its_row(memory_storage) -> None:
    store, (_, gone, held), _ = taken_stock(memory_storage, "bob", "alice", "carol")
    store.delete_media(gone)
    receipt = store.erase(run_id="alice")
    assert (receipt.erased, receipt.cleaned.snapshots) == ((), 1)
    assert rows(memory_storage) == [["bob", "carol"]]
    store.hold(held, "a lawsuit")
    assert store.erase(run_id="carol").cleaned.snapshots == 0
    assert rows(memory_storage) == [["bob", "carol"]]


@pytest.mark.parametrize("data", [b"no parquet", b"PAR1", None], ids=["no parquet", "cut", "a row that comes back"])
def test_a_snapshot_that_can_not_be_read_may_hold_anything_and_a_row_that_comes_back_is_found(memory_storage, data):
    """A refresh that listed before the erasure may publish after it."""
    store, (_, gone), key = taken_stock(memory_storage, "bob", "alice")
    later = data or memory_storage.read(key)
    if data is not None:
        memory_storage.write(key.replace("catalog/2", "catalog/1"), data)
    receipt = store.erase(run_id="alice")
    assert receipt.cleaned.snapshots == (1 if data is None else 2)
    assert rows(memory_storage) == [["bob"]]
    memory_storage.write(key, later)
    found = [(each.kind, each.key, gone in each.reason) for each in store.check_receipt(receipt).traces]
    assert found == [("catalog", key, data is None)]
    assert store.erase(run_id="alice").cleaned.snapshots == 1
    assert store.check_receipt(receipt).holds
    assert gone not in set(store.list())


def test_without_pyarrow_all_snapshots_go(memory_storage, monkeypatch) -> None:
    store, _, _ = taken_stock(memory_storage, "bob", "alice")
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pyarrow", None)
        receipt = store.erase(run_id="alice")
    assert receipt.cleaned.snapshots == 1
    assert snapshot_keys(memory_storage) == set()
    store.catalog()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    raised(errors.StorageError, store.check_receipt, receipt, match="not installed")


def test_a_refresh_that_listed_before_an_erasure_brings_no_rows_back(memory_storage, monkeypatch) -> None:
    """It publishes after the erasure is done; the snapshot it began with is gone then, so it looks again."""
    store, _, _ = taken_stock(memory_storage, "r1", "r2")
    put(store, "r2")
    publish, receipts = snapshots.publish, []

    def publish_late(*args: Any) -> str:
        if not receipts:
            receipts.append(None)
            receipts[0] = MediaStore(store.url).erase(run_id="r1")
        return publish(*args)

    monkeypatch.setattr(snapshots, "publish", publish_late)
    assert set(store.catalog().to_arrow().column("run_id").to_pylist()) == {"r2"}
    assert receipts[0].is_complete
    assert set(map(tuple, rows(memory_storage))) == {("r2",)}


# At work: while others store, sweep and erase, in threads and in processes; with executors; by asyncio.
def check(storage: Storage, store: MediaStore, *, deduplicate: bool) -> None:
    """See that every media is whole, that nothing else lies there, and nothing of alice's after one more erasure."""
    # A store that met bytes on their way out gave up a name, whose due entry stays; for an erasure it is too young.
    swept = store.verify(repair="leftovers", **AT_ONCE)
    assert swept.failed == ()
    assert {each.kind for each in swept.findings} <= {"due"}
    receipt = store.erase(run_id="alice")
    assert receipt.is_complete, receipt.model_dump_json()
    assert not [key for key in sorted(storage.keys()) if "alice" in key]
    assert below(storage, "erasures") == set()
    listed = list(store.list())
    for reference in listed:
        assert PNG in store.retrieve_media(reference).read_bytes()
    if deduplicate:
        assert settled(storage, listed)


def cases(usual: list[tuple[str, bool]], full: list[tuple[str, bool]]) -> Any:
    """Run a test on these storages, plain or deduplicated, and on others in the full run."""
    parameters = [*usual, *(pytest.param(*case, marks=FULL) for case in full)]
    return pytest.mark.parametrize(("some_storage", "deduplicate"), parameters, indirect=["some_storage"])


@cases([(LOCAL, False), (LOCAL, True), (MEMORY, True), (S3_MOTO, True)], [(MEMORY, False), (S3_MOTO, False)])
def test_threads_store_and_sweep_while_two_erase(some_storage: Storage, deduplicate: bool, full_run: bool) -> None:
    rounds = 25 if full_run and some_storage.name != S3_MOTO else 4
    media = 20 if full_run else 10
    store = opened(some_storage, deduplicate=deduplicate).create()
    first = [put_shared(store, "alice", number) for number in range(media)]
    bobs = [put_shared(store, "bob", number) for number in range(1, media, 3)]
    done = Event()

    def storing(run: str) -> list[str]:
        mine = opened(some_storage)
        return [put_shared(mine, run, number) for number in range(rounds)]

    def sweeping() -> None:
        mine = opened(some_storage)
        while not done.is_set():
            assert mine.enforce_policy(now=mine._now() + timedelta(hours=23)).failed == ()
            assert mine.verify(repair="leftovers").failed == ()

    def erasing() -> Any:
        return opened(some_storage).erase(run_id="alice")

    with ThreadPoolExecutor(6) as threads:
        sweep = threads.submit(sweeping)
        storers = [threads.submit(storing, run) for run in ("alice", "bob")]
        receipts = [each.result() for each in [threads.submit(erasing), threads.submit(erasing)]]
        _, of_bob = (each.result() for each in storers)
        done.set()
        sweep.result()
    assert all(receipt.failed == () for receipt in receipts)
    assert not set(first) & set(store.list())
    assert {*bobs, *(each for number, each in enumerate(of_bob) if number % 3)} <= set(store.list())
    check(some_storage, store, deduplicate=deduplicate)


@cases([(LOCAL, False), (LOCAL, True)], [(S3_MOTO, False), (S3_MOTO, True)])
def test_processes_store_and_erase_at_once(some_storage: Storage, deduplicate: bool) -> None:
    store = opened(some_storage, deduplicate=deduplicate).create()
    first = [put_shared(store, "alice", number) for number in range(12)]
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        runs = (None, "bob", "alice", None)
        work = [pool.submit(erase_or_store, store.url, some_storage.options, run) for run in runs]
        assert [each.result() for each in work] == [0, 0, 0, 0]
    assert not set(first) & set(store.list())
    assert len(list(store.list(run_id="bob"))) == 12
    check(some_storage, store, deduplicate=deduplicate)


@on(LOCAL, S3_RCLONE)
def test_threads_do_the_windows_and_coroutines_the_rest(storage: Storage, monkeypatch: Any) -> None:
    monkeypatch.setattr(erase, "SEARCH_WINDOW", 5)
    monkeypatch.setattr(erase, "WINDOW", 4)
    store = opened(storage, deduplicate=True)
    gone = [put_shared(store, "alice", number) for number in range(10)]
    stays = [put_shared(store, "bob", number) for number in range(3)]
    seen: list[int] = []
    with ThreadPoolExecutor(3) as threads:
        receipt = store.erase(run_id="alice", executor=threads, progress=seen.append)
        assert sorted(names(receipt.erased)) == sorted(gone)
        assert store.check_receipt(receipt, executor=threads).holds
    assert seen == sorted(seen)
    assert seen[-1] == receipt.examined == 13
    assert list(store.list()) == sorted(stays)

    async def erased() -> Any:
        async with AsyncMediaStore(storage.url, storage_options=storage.options) as store:
            receipt = await store.erase(run_id="bob")
            return receipt, await store.check_receipt(receipt)

    put_shared(store, "carol")
    receipt, report = asyncio.run(erased())
    assert (sorted(names(receipt.erased)), report.holds) == (sorted(stays), True)
    assert len(list(store.list())) == 1


@pytest.mark.parametrize("some_storage", [LOCAL, MEMORY], indirect=True)
def test_processes_do_them_where_they_see_the_storage(some_storage: Storage) -> None:
    store = opened(some_storage, deduplicate=True)
    gone = [put_shared(store, "alice", number) for number in range(5)]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        receipt = store.erase(run_id="alice", executor=pool)
        if some_storage.name == LOCAL:
            assert sorted(names(receipt.erased)) == sorted(gone)
            assert store.check_receipt(receipt, executor=pool).holds
        else:
            assert receipt.erased == ()
            assert "one process only" in receipt.failed[0].reason
            receipt = store.erase(run_id="alice")
            put_shared(store, "bob")
            raised(errors.StorageError, store.check_receipt, receipt, match="one process", executor=pool)


def test_a_worker_that_dies_is_told(memory_storage: Storage) -> None:
    store, pool = opened(memory_storage), ThreadPoolExecutor(1)
    gone = put_shared(store, "alice")
    pool.shutdown()
    receipt = store.erase(run_id="alice", executor=pool)
    assert names(receipt.failed) == [gone]
    assert "worker failed" in receipt.failed[0].reason
    assert store.exists(gone)
