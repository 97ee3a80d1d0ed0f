"""Snapshots of the catalog: a crash at every step, several refreshers, readers of old ones, and what they cost."""

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from pyarrow import parquet

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.catalog import refresh, schema
from fsmedia.catalog import snapshots as opening
from fsmedia.format import keys
from fsmedia.format.settings import ORPHAN_GRACE
from fsmedia.storage.local import LocalBackend
from tests.catalogs import PNG, check, filled, old_enough, opened, snapshots
from tests.protocol import wire
from tests.protocol.faults import CRASHES, Fault
from tests.protocol.wire import costs, seed
from tests.protocol.worlds import Place, each_fault, fresh_world, run
from tests.storages import LOCAL, MEMORY, LocalStorage, S3Storage, Storage


def whole(storage: Storage) -> list[pa.Table]:
    """Read every snapshot past the package: each must be whole, whoever died."""
    return [parquet.read_table(pa.BufferReader(storage.read(key))) for key in snapshots(storage)]


@pytest.mark.parametrize("fault", CRASHES)
@pytest.mark.parametrize("place", [(LOCAL, "calls"), (LOCAL, "syscalls"), (MEMORY, "calls")], indirect=True)
def test_a_refresher_that_is_killed(place: Place, fault: Fault) -> None:
    """At every step: readers have the old snapshot or the new one, whole; the next refresh finishes it."""
    for faults in each_fault(fault):
        world = place.world()
        with old_enough():
            old = world.open().catalog()
        world.open().store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="r3"))
        place.run(world, faults, methodcaller("catalog"))
        assert {len(each) for each in whole(world.storage)} <= {2, 3}
        seen = world.open().catalog(refresh=False)
        assert seen.files == old.files or len(seen) == 3
        check(world.open(), world.open().catalog())
        assert len(world.open().catalog(refresh=False)) == 3
        assert len(parquet.read_table(old.files[0])) == 2 if place.kind == LOCAL else True


@pytest.mark.parametrize("fault", CRASHES)
def test_a_first_refresher_that_is_killed(fault: Fault, tmp_path: Path) -> None:
    """A root of another writer: its first snapshot also makes the settings."""
    for faults in each_fault(fault):
        world = fresh_world(LOCAL, tmp_path, first=True)
        world.storage.write("runs/r1/foreign.png", PNG)
        run(world, faults, "calls", methodcaller("catalog"))
        assert all(len(each) == 1 for each in whole(world.storage))
        check(world.open(), world.open().catalog())


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOST, Fault.BROKEN])
def test_a_storage_that_fails(fault: Fault, tmp_path: Path) -> None:
    for faults in each_fault(fault):
        world = fresh_world(LOCAL, tmp_path)
        try:
            run(world, faults, "calls", methodcaller("catalog"))
        except StorageError as error:
            assert error.key, error  # noqa: PT017 - it may be the removal that fails, which only warns
        check(world.open(), world.open().catalog())


def test_two_refreshers_at_once(local_storage: LocalStorage) -> None:
    """Each writes all of it; what counts is the one whose listing began later, whichever is written last."""
    store, references = filled(local_storage)
    real, meet = opening.refresh, threading.Barrier(2, timeout=30)

    def slow(*args: Any, **kwargs: Any) -> Any:
        made = real(*args, **kwargs)
        meet.wait()  # both have listed, none has written
        return made

    def run(_: int) -> None:
        check(opened(local_storage), opened(local_storage).catalog())

    with patch.object(opening, "refresh", slow), ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    assert len(snapshots(local_storage)) == 2
    assert all(len(each) == len(references) for each in whole(local_storage))
    check(store, store.catalog())


def test_who_listed_first_and_wrote_last_does_not_count(local_storage: LocalStorage) -> None:
    store, references = filled(local_storage)
    real = opening.publish

    def slow(*args: Any) -> Any:
        with patch.object(opening, "publish", real):
            store.delete_media(references[0])
            assert len(opened(local_storage).catalog()) == 11
        return real(*args)

    with patch.object(opening, "publish", slow):
        assert len(store.catalog()) == 12
    assert len(snapshots(local_storage)) == 2
    assert len(store.catalog(refresh=False)) == 11


def test_clocks_that_differ_do_not_hide_what_is_newer(local_storage: LocalStorage) -> None:
    ahead = datetime.now(UTC) + timedelta(days=300)
    _, references = filled(local_storage)
    opened(local_storage, now=lambda: ahead).catalog()
    store = opened(local_storage)
    store.delete_media(references[0])
    assert len(store.catalog()) == 11
    assert len(store.catalog(refresh=False)) == 11


def test_a_reader_of_an_old_snapshot_goes_on(local_storage: LocalStorage) -> None:
    store, references = filled(local_storage)
    old = store.catalog()
    file = parquet.ParquetFile(old.files[0])
    store.delete_many(references[:6])
    assert len(store.catalog()) == 6
    assert (len(file.read()), len(parquet.read_table(old.files[0])), len(old)) == (12, 12, 12)


def test_old_snapshots_go_after_the_grace_that_followed_them(local_storage: LocalStorage) -> None:
    store, references = filled(local_storage)
    local_storage.write(".fsmedia/catalog/notes.parquet", b"somebody's")
    for reference in references[:4]:
        store.delete_media(reference)
        store.catalog()
    made = snapshots(local_storage)
    ages = {key: (len(made) - number) * timedelta(hours=20) for number, key in enumerate(made)}
    now = datetime.now(UTC)

    def touched(_: LocalBackend, entry: Any) -> datetime:
        return now - ages.get(entry.key, timedelta(0))

    store.delete_media(references[4])
    with patch.object(LocalBackend, "touched", touched):
        newest = store.catalog().report.snapshot
    # 80, 60, 40 and 20 hours old: those were followed 60, 40, 20 and 0 hours ago.
    assert snapshots(local_storage) == [*made[2:], newest]
    assert local_storage.read(".fsmedia/catalog/notes.parquet") == b"somebody's"
    assert timedelta(hours=24) == ORPHAN_GRACE
    assert store.verify(repair="leftovers", dry_run=True).findings == ()


def test_media_that_come_and_go_while_it_is_refreshed(local_storage: LocalStorage) -> None:
    store, references = filled(local_storage)
    real, done = schema.records.read_sidecars, []

    def meanwhile(*args: Any) -> Any:
        if not done:
            done.append(store.store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="r0")))
            store.delete_many(references[::2])
            store.apply_policy(references[1], "retain-9days")
        return real(*args)

    with patch.object(schema.records, "read_sidecars", meanwhile):
        found = store.catalog().to_arrow().column("reference").to_pylist()
    assert set(found) == set(references[1::2])
    assert done[0] not in found
    with old_enough():
        check(store, store.catalog())


def test_a_part_that_fails_is_no_smaller_catalog(local_storage: LocalStorage) -> None:
    store, _ = filled(local_storage)
    real = refresh.compared

    def failing(context: Any, part: Any) -> Iterator[Any]:
        if part.folders:
            raise RuntimeError("the worker was killed")
        yield from real(context, part)

    failed = pytest.raises(StorageError, match="worker was killed")
    with patch.object(refresh, "compared", failing), ThreadPoolExecutor(2) as executor, failed:
        store.catalog(executor=executor)
    assert snapshots(local_storage) == []


# -- what it costs -----------------------------------------------------------------------------------------------
def test_a_refresh_costs_a_listing_and_what_changed(rclone_storage: S3Storage, full_run: bool) -> None:
    """Section 10: ceil(2n/1000) + 1 + top-level folders LIST + c GET + 8."""
    stored = 10_000 if full_run else 550
    references = seed(rclone_storage, [None] * stored)
    bucket: Path = rclone_storage.server.data_folder / rclone_storage.bucket
    (bucket / ".fsmedia/due/2020-01-01/00/00").mkdir(parents=True)
    for number in range(1_500):  # what is in .fsmedia costs nothing
        (bucket / f".fsmedia/due/2020-01-01/00/00/{number}").touch()
    store = wire.opened(rclone_storage)
    pages = -(-2 * stored // 1000)
    lists = pages + 1  # of the root's own level
    with old_enough():
        assert len(store.catalog()) == stored
        # The listing; the snapshots, and the newest.
        again = costs(rclone_storage, store.catalog, list=lists + 1, get=1)
        assert (again.report.read, again.report.written) == (0, False)
        for reference in references[:3]:
            sidecar = bucket / f"{reference}.meta"
            said = {**json.loads(sidecar.read_text()), "caption": "changed"}
            sidecar.unlink()  # it is linked to all others
            sidecar.write_text(json.dumps(said))
        third = costs(rclone_storage, store.catalog, list=lists + 2, get=1 + 3, put=1)
        assert third.report.read == 3
        assert lists + 2 + 1 + 3 + 1 <= pages + 1 + 1 + 3 + 8
    # The listing is that of the whole store; 64 sidecars are read before a catalog is worth looking for.
    budget = {"list": -(-(2 * stored + 1_500 + 3) // 1000) + 1, "get": 64 + 1}
    costs(rclone_storage, lambda: list(store.list(mime_type="audio/*")), **budget)


def test_a_refresh_of_a_deduplicated_store(rclone_storage: S3Storage) -> None:
    store = MediaStore(rclone_storage.url, storage_options=rclone_storage.options, deduplicate=True)
    references = store.store_many([(MediaContent.from_bytes(PNG), MediaMetadata(run_id="r")) for _ in range(20)])
    with old_enough():
        store.catalog()
        store.delete_media(references[0])
        assert len(costs(rclone_storage, store.catalog, list=2 + 2, get=1, put=1)) == 19


def test_the_name_of_a_snapshot() -> None:
    instant = datetime(2026, 3, 4, 5, 6, 7, 890_123, tzinfo=UTC)
    key = keys.snapshot_key(instant)
    assert keys.parse_snapshot(key) == instant.replace(microsecond=890_000)
    assert key.startswith(".fsmedia/catalog/20260304T050607890Z-u")
    assert keys.snapshot_key(instant + timedelta(milliseconds=1)) > key
    others = [key[1:], f"{key}x", f"{key}\n", key.upper(), key.replace("0304", "1399"), key.replace("parquet", "csv")]
    assert set(map(keys.parse_snapshot, others)) == {None}
    assert os.path.dirname(key) == keys.CATALOG
