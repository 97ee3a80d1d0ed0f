"""Erasing and the catalog: no snapshot holds a row of the subject, the newest one is right, readers go on."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError, catalog
from fsmedia.catalog import snapshots
from fsmedia.format import keys
from tests.contract.leftovers import put
from tests.deduplicated import below

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.storages import Storage


def snapshot_keys(storage: Storage) -> set[str]:
    """Return the keys of all snapshots."""
    return {key for key in below(storage, "catalog") if not keys.is_erasure_mark(key)}


def rows(storage: Storage) -> dict[str, set[str]]:
    """Read all snapshots past the package: key -> runs."""
    from pyarrow import parquet

    return {
        key: set(parquet.read_table(io.BytesIO(storage.read(key))).column("run_id").to_pylist())
        for key in snapshot_keys(storage)
    }


@pytest.mark.parametrize("deduplicate", [False, True])
def test_no_snapshot_holds_a_row_of_what_went(
    storage: Storage, open_store: Callable[..., MediaStore], deduplicate: bool, clock: Any
) -> None:
    from datetime import timedelta

    store = open_store(deduplicate=deduplicate)
    bob = put(store, "bob")
    store.catalog()
    put(store, "alice")
    clock.advance(timedelta(minutes=1))
    opened = store.catalog()
    put(store, "carol")
    clock.advance(timedelta(minutes=1))
    store.catalog()
    assert len(rows(storage)) == 3
    assert store.erase(run_id="alice", dry_run=True).cleaned.snapshots == 2
    assert len(rows(storage)) == 3
    receipt = store.erase(run_id="alice")
    assert receipt.cleaned.snapshots == 2
    assert sorted(map(sorted, rows(storage).values())) == [["bob"], ["bob", "carol"]]
    assert set(store.catalog(refresh=False).to_arrow().column("run_id").to_pylist()) == {"bob", "carol"}
    assert len(opened.to_arrow()) == 2, "who has an older one goes on"
    assert store.check_receipt(receipt).holds
    assert bob in set(store.list())
    assert store.erase(run_id="alice").cleaned.snapshots == 0


def test_rows_of_media_that_went_before_go_too(memory_storage: Storage) -> None:
    store = MediaStore(memory_storage.url)
    put(store, "bob")
    gone = put(store, "alice")
    store.catalog()
    store.delete_media(gone)
    receipt = store.erase(run_id="alice")
    assert (receipt.erased, receipt.cleaned.snapshots) == ((), 1)
    assert list(rows(memory_storage).values()) == [{"bob"}]


def test_what_is_held_keeps_its_row(memory_storage: Storage) -> None:
    store = MediaStore(memory_storage.url)
    store.hold(put(store, "alice"), "a lawsuit")
    store.catalog()
    assert store.erase(run_id="alice").cleaned.snapshots == 0
    assert list(rows(memory_storage).values()) == [{"alice"}]


@pytest.mark.parametrize("data", [b"no parquet", b"PAR1"])
def test_a_snapshot_that_can_not_be_read_may_hold_anything(memory_storage: Storage, data: bytes) -> None:
    store = MediaStore(memory_storage.url)
    put(store, "bob")
    gone = put(store, "alice")
    store.catalog()
    (key,) = snapshot_keys(memory_storage)
    memory_storage.write(key.replace("catalog/2", "catalog/1"), data)
    receipt = store.erase(run_id="alice")
    assert receipt.cleaned.snapshots == 2
    assert list(rows(memory_storage).values()) == [{"bob"}]
    memory_storage.write(key, data)
    report = store.check_receipt(receipt)
    assert [(each.kind, each.key) for each in report.traces] == [("catalog", key)]
    assert gone not in set(store.list())


def test_a_row_that_comes_back_is_found_by_a_check(memory_storage: Storage) -> None:
    """A refresh that listed before the erasure may publish after it."""
    store = MediaStore(memory_storage.url)
    reference = put(store, "alice")
    store.catalog()
    (key,) = snapshot_keys(memory_storage)
    data = memory_storage.read(key)
    receipt = store.erase(run_id="alice")
    memory_storage.write(key, data)
    report = store.check_receipt(receipt)
    assert [(each.kind, each.key, reference in each.reason) for each in report.traces] == [("catalog", key, True)]
    assert store.erase(run_id="alice").cleaned.snapshots == 1
    assert store.check_receipt(receipt).holds


def test_without_pyarrow_all_snapshots_go(memory_storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsmedia.catalog import schema, snapshots

    store = MediaStore(memory_storage.url)
    put(store, "bob")
    put(store, "alice")
    store.catalog()

    def missing() -> None:
        raise StorageError("the catalog needs a package that is not installed")

    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "find_spec", lambda _: None)
        receipt = store.erase(run_id="alice")
    assert receipt.cleaned.snapshots == 1
    assert snapshot_keys(memory_storage) == set()
    store.catalog()
    monkeypatch.setattr(snapshots, "arrow", missing)
    with pytest.raises(StorageError, match="not installed"):
        store.check_receipt(receipt)
    assert schema.arrow() is not None
    assert catalog.VERSION == 1


def test_a_refresh_that_listed_before_an_erasure_brings_no_rows_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It publishes after the erasure is done; the snapshot it began with is gone then, so it looks again."""
    store = MediaStore("memory://refresh-meets-erasure").create()
    for run in ("r1", "r2"):
        store.store_media(MediaContent.from_bytes(b"text", "text/plain", caption=run), MediaMetadata(run_id=run))
    store.catalog()
    store.store_media(MediaContent.from_bytes(b"text", "text/plain"), MediaMetadata(run_id="r2"))
    publish, receipts = snapshots.publish, []

    def publish_late(*args: Any) -> str:
        if not receipts:
            receipts.append(None)
            receipts[0] = MediaStore(store.url).erase(run_id="r1")
        return publish(*args)

    monkeypatch.setattr(snapshots, "publish", publish_late)
    found = store.catalog()
    assert set(found.to_arrow().column("run_id").to_pylist()) == {"r2"}
    for entry in snapshots.names(store._backend):
        table = snapshots.table_of(store._backend, entry.key)
        assert table is not None
        assert set(table.column("run_id").to_pylist()) == {"r2"}
