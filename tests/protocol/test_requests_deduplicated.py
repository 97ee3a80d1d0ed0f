"""What deduplication costs at the wire: section 10 of the contract."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaNotFoundError, MediaStore
from fsmedia.format import keys
from fsmedia.format.settings import Configuration
from tests.protocol.test_requests import PNG, within
from tests.servers import Requests
from tests.storages import GCS, ObjectStorage, S3Storage, switch_looks


@pytest.fixture
def store(object_storage: ObjectStorage) -> MediaStore:
    made = MediaStore(object_storage.url, storage_options=object_storage.options, deduplicate=True).create()
    made.exists("runs/none/none.png")
    return made


def put(store: MediaStore, run: str = "r1", data: bytes = PNG, **fields: Any) -> str:
    return store.store_media(MediaContent.from_bytes(data, "image/png"), MediaMetadata(run_id=run, **fields))


def test_store_new_bytes(object_storage: ObjectStorage, store: MediaStore) -> None:
    with object_storage.counted() as n:
        put(store)
    assert within(n, object_storage, list=1, put=3), n
    with object_storage.counted() as n:
        put(store, data=b"others", policy_name="retain-2hours")
    assert within(n, object_storage, list=1, put=4), n


def test_store_bytes_that_are_there(object_storage: ObjectStorage, store: MediaStore) -> None:
    for number in range(30):
        put(store, f"r{number}")
    with object_storage.counted() as n:
        put(store)
    assert within(n, object_storage, list=2, head=1, put=2), n
    with object_storage.counted() as n:
        put(store, policy_name="retain-2hours")
    assert within(n, object_storage, list=2, head=1, put=3), n


def test_retrieve_and_read(object_storage: ObjectStorage, store: MediaStore) -> None:
    reference = put(store)
    with object_storage.counted() as n:
        content = store.retrieve_media(reference)
    assert within(n, object_storage, get=1, head=1), n
    with object_storage.counted() as n:
        assert content.read_bytes() == PNG
    assert sum(n.values()) <= 2, n
    for read in (lambda: store.open(reference), lambda: store.fs.open(reference)):
        with object_storage.counted() as n, read() as file:
            assert file.read() == PNG
        assert sum(n.values()) <= 2, n
    with object_storage.counted() as n:
        assert store.fs.cat_file(reference) == PNG
    assert within(n, object_storage, head=1, get=1), n
    with object_storage.counted() as n:
        assert store.exists(reference)
    assert within(n, object_storage, head=2), n


@pytest.mark.parametrize("checked", [True, False])
def test_other_names_are_looked_for_only_where_there_is_nothing(object_storage: ObjectStorage, checked: bool) -> None:
    """A plain media in a store that shares bytes, as sinks write it, is asked for as in any other store: once."""
    url, options = object_storage.url, object_storage.options
    plain = put(MediaStore(url, storage_options=options))
    settings = Configuration.parse(object_storage.read(keys.CONFIGURATION_KEY))

    def requests() -> Requests:
        store = MediaStore(url, storage_options=options, verify_reads=checked)
        with object_storage.counted() as n, store.open(plain) as file:
            assert file.read() == PNG
            assert store.info(plain)
            assert store.exists(plain)
        return n

    wanted = requests()
    object_storage.write(keys.CONFIGURATION_KEY, replace(settings, deduplicate=True).dump())
    assert requests() == wanted
    store = MediaStore(url, storage_options=options, verify_reads=checked)
    with object_storage.counted() as n, pytest.raises(MediaNotFoundError):
        store.info(plain.replace("/0000_", "/0001_"))
    # Bytes, sidecar and hold, whether it is a folder, and the folder that it would lie in; gcsfs asks for folders too.
    assert sum(n.values()) <= 5 + (object_storage.name == GCS), n


def test_bulk_cat(object_storage: ObjectStorage, store: MediaStore) -> None:
    references = [put(store, f"r{number}") for number in range(5)]
    with object_storage.counted() as n:
        assert set(store.fs.cat(references).values()) == {PNG}
    assert within(n, object_storage, head=5, get=5), n


@pytest.mark.parametrize("policy", [None, "retain-2hours"])
def test_delete(policy: str | None, object_storage: ObjectStorage, store: MediaStore) -> None:
    first, second = put(store, policy_name=policy), put(store, "r2", policy_name=policy)
    due = int(policy is not None)
    with object_storage.counted() as n:
        store.delete_media(first)
    assert within(n, object_storage, get=2, list=1, delete=3 + due), n
    with object_storage.counted() as n:
        store.delete_media(second)
    assert within(n, object_storage, get=2, list=2, put=1, delete=5 + due), n


def test_ls(moto_storage: S3Storage) -> None:
    """Sizes come from the names: no look at any blob, and no object beside each sidecar."""
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options, deduplicate=True).create()
    reference = put(store)
    sidecar = moto_storage.read(f"{reference}.meta")
    number = 1100
    for index in range(1, number):
        moto_storage.write(f"{reference.replace('/0000_', f'/{index:04d}_')}.meta", sidecar)
    with moto_storage.counted() as n:
        found = store.fs.ls("runs/r1")
    assert len(found) == number
    assert {info["size"] for info in found} == {len(PNG)}
    assert set(n) == {"list"}, n
    assert n["list"] <= -(-2 * number // 1000), n


def test_copy(object_storage: ObjectStorage, store: MediaStore) -> None:
    """Two reads of the source, the hold, the look for marks and data, marker and sidecar: no bytes."""
    reference = put(store)
    target = reference.replace("r1/", "r2/")
    with object_storage.counted() as n:
        store.fs.cp_file(reference, target)
    assert n["put"] + n["copy"] == 2, n
    assert not [call for call in n.calls if call.kind == "get" and "/data/" in call.key], n
    # Its filesystem reads the settings for itself.
    assert sum(n.values()) <= 8 + sum(switch_looks(store).values()), n


def test_leftovers_are_found_by_a_listing(object_storage: ObjectStorage, store: MediaStore) -> None:
    """Whatever the store holds, no sidecar and no marker is read for that; a repair asks what time it is besides."""
    for number in range(5):
        put(store, f"r{number}")
    with object_storage.counted() as n:
        assert store.verify(repair="leftovers", dry_run=True).examined > 10
    assert within(n, object_storage, list=1), n
    with object_storage.counted() as n:
        assert store.verify(repair="leftovers").whole
    assert not [call for call in n.calls if call.kind in ("get", "head") and ".meta" in call.key], n
    assert within(n, object_storage, list=1, put=1, head=1, delete=1), n


def test_completing_the_due_index_reads_each_sidecar_once(moto_storage: S3Storage) -> None:
    """An entry that is there is known from the listing, so none is looked for."""
    partial = replace(Configuration(), adopted=True, due_index="partial")
    moto_storage.write(keys.CONFIGURATION_KEY, partial.dump())
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    for number in range(5):
        put(store, f"r{number}", policy_name="retain-2hours")
    entries = [key for key in sorted(moto_storage.keys()) if keys.parse_due(key)]
    for key in entries[:3]:
        moto_storage.remove(key)
    with moto_storage.counted() as n:
        report = store.verify(repair=True)
    assert (report.counts, report.due_index, report.failed) == ({"missing-due": 3}, "complete", ())
    assert len([call for call in n.calls if call.kind == "get" and ".meta" in call.key]) == 5, n
    assert not [call for call in n.calls if call.kind == "head" and "/due/" in call.key], n
    assert len([call for call in n.calls if call.kind == "put" and "/due/" in call.key]) == 3, n
