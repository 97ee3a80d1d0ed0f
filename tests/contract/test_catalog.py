"""The catalog over every storage: rows that say what `info` says, refreshed by what changed; reading writes nothing."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet

from fsmedia import (
    InvalidMediaError,
    MediaContent,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    StoreConflictError,
    utc_now,
)
from fsmedia.catalog import COLUMNS, current
from fsmedia.catalog.schema import VERSION, schema
from fsmedia.format import keys
from tests.catalogs import OLD, PNG, check, filled, old_enough, opened, snapshots
from tests.storages import MEMORY

if TYPE_CHECKING:
    from tests.storages import LocalStorage, S3Storage, Storage

HOUR = timedelta(hours=1)


@pytest.fixture(params=[False, True], ids=["plain", "deduplicated"])
def shared(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_rows_say_what_info_says(storage: Storage, shared: bool) -> None:
    store, references = filled(storage, deduplicate=shared)
    storage.write("runs/r9/foreign.png", PNG)
    storage.write("loose.txt", b"at the root")
    store.fs.setxattrs(references[0], {"user.score": "0.5"})
    catalog = store.catalog()
    check(store, catalog)
    assert len(catalog) == len(references) + 2
    rows = {row["reference"]: row for row in catalog.to_arrow().to_pylist()}
    assert json.loads(rows[references[0]]["xattrs"]) == {"user.score": "0.5"}
    assert rows["runs/r9/foreign.png"]["run_id"] == "r9"
    assert rows["loose.txt"]["run_id"] is None
    assert {row["key"] for row in rows.values()} == {keys.bytes_key(each) for each in rows}
    assert catalog.to_arrow().schema.equals(schema())
    assert [each.name for each in COLUMNS] == catalog.to_arrow().column_names


def test_a_refresh_reads_what_changed(storage: Storage, shared: bool) -> None:
    store, references = filled(storage, deduplicate=shared)
    with old_enough():
        first = store.catalog()
        assert (first.report.read, first.report.written) == (12, True)
        again = store.catalog()
        reread = 12 if storage.name == MEMORY else 0  # nothing there tells a change
        assert (again.report.read, again.report.written, again.files) == (reread, False, first.files)
        store.delete_media(references[0])
        store.apply_policy(references[1], None)
        new = store.store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="new"))
        third = store.catalog()
        assert (third.report.read, third.report.removed) == (12 if reread else 2, 1)
        assert third.files != first.files
        check(store, third)
        assert new in third.to_arrow().column("reference").to_pylist()
    check(opened(storage), opened(storage).catalog(refresh=False))


def test_what_was_written_just_now_is_read_again(local_storage: LocalStorage) -> None:
    """Within one tick of the storage's clock a second write could show the same."""
    store, _ = filled(local_storage)
    assert store.catalog().report.read == 12
    assert store.catalog().report.read == 12
    with old_enough():
        assert store.catalog().report.read == 12
        assert store.catalog().report.read == 0


def test_bytes_that_change_below_their_sidecar_are_seen(storage: Storage) -> None:
    store, _ = filled(storage)
    storage.write("runs/r1/foreign.txt", b"short")
    storage.write("runs/r1/foreign.txt.meta", b'{"run_id": "r7"}')
    with old_enough():
        store.catalog()
        storage.write("runs/r1/foreign.txt", b"longer")
        check(store, store.catalog())


def test_opening_reading_and_looking_write_nothing(storage: Storage) -> None:
    store, references = filled(storage)
    before = storage.keys()
    backend, configuration = store._backend, store._settings_file.refresh()
    found = current(backend, configuration, max_age=HOUR, now=utc_now())
    check(store, found)
    with pytest.raises(InvalidMediaError, match="lie in no file"):
        _ = found.files
    with pytest.raises(MediaNotFoundError, match="no catalog yet"):
        store.catalog(refresh=False)
    with pytest.raises(MediaNotFoundError, match="no catalog yet"):
        current(backend, configuration, max_age=None, now=utc_now())
    check(store, opened(storage, read_only=True).catalog())
    assert len(references) == opened(storage, read_only=True).stats().media
    assert storage.keys() == before


def test_how_old_it_may_be(local_storage: LocalStorage) -> None:
    store, references = filled(local_storage)
    made = store.catalog()
    store.delete_media(references[0])
    backend, configuration = store._backend, store._settings_file.refresh()
    now = made.refreshed_at
    assert len(current(backend, configuration, max_age=None, now=now + 999 * HOUR)) == 12
    assert len(current(backend, configuration, max_age=HOUR, now=now + HOUR)) == 12
    assert len(current(backend, configuration, max_age=HOUR, now=now + 1.01 * HOUR)) == 11
    assert len(current(backend, configuration, max_age=HOUR, now=now - HOUR)) == 11  # a clock that went back


def test_an_empty_place_stays_empty(storage: Storage) -> None:
    store = opened(storage)
    assert len(store.catalog()) == 0
    assert store.stats().media == 0
    assert storage.keys() == set()
    assert "0 media" in repr(store.catalog())


def test_the_last_media_goes(local_storage: LocalStorage) -> None:
    store, references = filled(local_storage)
    store.catalog()
    store.delete_many(references)
    assert store.catalog().report.removed == 12
    assert len(store.catalog(refresh=False)) == 0


def test_damaged_sidecars_stand_in_their_rows(storage: Storage, shared: bool) -> None:
    store, references = filled(storage, deduplicate=shared)
    storage.write(f"{references[0]}.meta", b"{")
    storage.write(f"{references[1]}.meta", b'{"fsmedia": 99}')
    storage.write(f"{references[2]}.meta", b'{"mime_type": 7}')
    catalog = store.catalog()
    check(store, catalog)
    assert set(catalog.problems) == set(references[:3])
    assert all(reference in reason for reference, reason in catalog.problems.items())
    assert "upgrade" in catalog.problems[references[1]]
    assert store.stats(refresh=False).problems == 3


def test_a_leftover_is_no_row(storage: Storage) -> None:
    store, references = filled(storage)
    storage.remove(f"{references[0]}.meta")
    storage.remove(references[1])
    check(store, store.catalog())
    assert len(store.catalog(refresh=False)) == 10


def test_hostile_names_and_values(storage: Storage) -> None:
    store = opened(storage)
    size = 9_999_999_999_999_999_999  # more than 64 bits
    name = f"runs/r/0000_00_{keys.new_unique()}.{size}-{'ab' * 32}-{'0' * 26}.png"
    storage.write(f"{name}.meta", json.dumps({"sha256": "ab" * 32, "mime_type": "image/png"}).encode())
    metadata = MediaMetadata(run_id="../%\x1b[31m';drop table media;--\n\0", message_idx=10**9 - 1)
    store.store_media(MediaContent.from_bytes(b"x", "text/plain", caption="\0" * 9, bit_rate=2**63 - 1), metadata)
    storage.write("runs/r/a b'\"#?.txt", b"x")
    catalog = store.catalog()
    assert len(catalog) == 3
    assert catalog.to_arrow().column("size_bytes").to_pylist().count(2**63 - 1) == 1
    assert store.stats(refresh=False).bytes > 2**63
    ours = catalog.filter(run_id=metadata.run_id).to_arrow().to_pylist()
    assert [(row["message_idx"], row["bit_rate"]) for row in ours] == [(10**9 - 1, 2**63 - 1)]


@pytest.mark.parametrize("kind", ["garbage", "empty", "another table", "cut", "unsorted"])
def test_an_unreadable_newest_snapshot_is_passed_over(
    local_storage: LocalStorage, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    store, references = filled(local_storage)
    with old_enough():
        made = store.catalog()
    (key,) = snapshots(local_storage)
    bad = keys.snapshot_key(made.refreshed_at + HOUR)
    local_storage.write(bad, _spoiled(kind, local_storage.read(key)))
    with caplog.at_level(logging.WARNING, "fsmedia"):
        assert len(store.catalog(refresh=False)) == 12  # the older one
    assert bad in caplog.text
    with old_enough():
        mended = store.catalog()
    assert (mended.report.read, mended.report.written) == (0, True)
    assert snapshots(local_storage)[-1] == mended.report.snapshot > bad
    store.delete_media(references[0])
    check(store, store.catalog())


def _spoiled(kind: str, data: bytes) -> bytes:
    if kind == "garbage":
        return b"PAR1 but not really"
    if kind == "empty":
        return b""
    if kind == "cut":
        return data[:-100]
    table = parquet.read_table(pa.BufferReader(data))
    table = pa.table({"a": [1]}) if kind == "another table" else table.take(pa.array(range(len(table)))[::-1])
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def test_only_garbage_is_as_none(local_storage: LocalStorage) -> None:
    store, _ = filled(local_storage)
    local_storage.write(keys.snapshot_key(OLD), b"garbage")
    local_storage.write(".fsmedia/catalog/notes.txt", b"somebody's")
    with pytest.raises(MediaNotFoundError):
        store.catalog(refresh=False)
    check(store, store.catalog())
    assert local_storage.read(".fsmedia/catalog/notes.txt") == b"somebody's"


def test_a_newer_version_asks_for_an_upgrade(local_storage: LocalStorage) -> None:
    store, _ = filled(local_storage)
    store.catalog()
    _rewritten(local_storage, {b"fsmedia.catalog": str(VERSION + 1).encode()})
    for asked in (
        store.catalog,
        lambda: store.catalog(refresh=False),
        store.stats,
        lambda: current(store._backend, store._settings_file.refresh(), max_age=HOUR, now=utc_now()),
    ):
        with pytest.raises(StoreConflictError, match="pip install --upgrade fsmedia"):
            asked()


def test_columns_of_others_are_ignored_and_missing_ones_are_null(local_storage: LocalStorage) -> None:
    store, _ = filled(local_storage)
    with old_enough():
        store.catalog()
        table = _rewritten(local_storage, {}, drop=["caption", "xattrs"], add={"mood": "good"})
        assert "mood" in table.column_names
        found = store.catalog(refresh=False)
        assert found.to_arrow().schema.equals(schema())
        assert set(found.to_arrow().column("caption").to_pylist()) == {None}


def _rewritten(storage: LocalStorage, metadata: dict[bytes, bytes], drop: tuple = (), add: dict | None = None):
    key = snapshots(storage)[-1]
    table = parquet.read_table(pa.BufferReader(storage.read(key)))
    kept = {**table.schema.metadata, **metadata}
    table = table.drop_columns(list(drop))
    for name, value in (add or {}).items():
        table = table.append_column(name, pa.array([value] * len(table)))
    sink = pa.BufferOutputStream()
    parquet.write_table(table.replace_schema_metadata(kept), sink)
    storage.write(key, sink.getvalue().to_pybytes())
    return table


def test_a_moved_store_has_new_urls(local_storage: LocalStorage, tmp_path) -> None:
    store, _ = filled(local_storage)
    with old_enough():
        store.catalog()
        (tmp_path / "media").rename(tmp_path / "elsewhere")
        moved = MediaStore(tmp_path / "elsewhere")
        catalog = moved.catalog()
        assert catalog.report.written
        check(moved, catalog)
        assert "elsewhere" in catalog.files[0]


def test_other_settings_make_other_rows(local_storage: LocalStorage) -> None:
    """What a policy's name means stands in the settings; rows that were made under others are not kept."""
    store, references = filled(local_storage, policies={"audit": timedelta(days=1)})
    said = json.loads(local_storage.read(f"{references[0]}.meta"))
    local_storage.write(f"{references[0]}.meta", json.dumps({**said, "policy_name": "audit"}).encode())
    with old_enough():
        check(store, store.catalog())
        settings = json.loads(local_storage.read(".fsmedia/store.json"))
        settings["policies"]["audit"]["keep_for_seconds"] = 3600
        local_storage.write(".fsmedia/store.json", json.dumps(settings).encode())
        check(opened(local_storage), opened(local_storage).catalog())


def test_secrets_stand_in_no_row(moto_storage: S3Storage) -> None:
    store, references = filled(moto_storage)
    moto_storage.write(f"{references[0]}.meta", b"{")
    catalog = store.catalog()
    data = moto_storage.read(catalog.report.snapshot)
    for secret in (moto_storage.options["key"], moto_storage.options["secret"]):
        assert secret not in repr(catalog) + str(catalog.to_arrow().to_pylist()) + str(catalog.files)
        assert secret.encode() not in data
    assert catalog.files == [f"{moto_storage.url}/{catalog.report.snapshot}"]
    assert moto_storage.content_type(catalog.report.snapshot) == "application/vnd.apache.parquet"
