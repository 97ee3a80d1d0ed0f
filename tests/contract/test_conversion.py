"""`deduplicate()`: a plain store becomes one whose media share equal bytes; old names lead there."""

from __future__ import annotations

import hashlib
import json
import pickle
import urllib.request
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import (
    AsyncMediaStore,
    CorruptSidecarError,
    MediaContent,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    ReadOnlyStoreError,
)
from fsmedia.format import keys
from tests.conftest import Clock, make_storage
from tests.contract.specimens import traces
from tests.storages import LOCAL, MEMORY, S3_MOTO

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.storages import MemoryStorage, Storage

PLACES = pytest.mark.parametrize("some_storage", [LOCAL, MEMORY, S3_MOTO], indirect=True)
DATA = bytes(range(256)) * 5000  # more than one read


def opened(storage: Storage, **settings: Any) -> MediaStore:
    return MediaStore(storage.url, storage_options=storage.options, **settings)


def put(store: MediaStore, data: bytes = DATA, run: str = "r1", kind: str = "text/plain", **fields: Any) -> str:
    return store.store_media(MediaContent.from_bytes(data, kind), MediaMetadata(run_id=run, **fields))


def sidecar(storage: Storage, reference: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(storage.read(f"{reference}.meta"))
    return found


def lying(storage: Storage) -> set[str]:
    return storage.keys()


def blobs(storage: Storage) -> set[str]:
    return {key for key in lying(storage) if "/data/" in key}


@PLACES
def test_a_store_is_converted_and_can_be_used_on(some_storage: Storage, clock: Clock) -> None:
    storage, store = some_storage, opened(some_storage, now=clock)
    first = put(store, message_idx=3, part_idx=1)
    again = put(store, run="r2", kind="image/png")
    other = put(store, b"alone", policy_name="retain-3days")
    before = {each: (sidecar(storage, each), store.info(each)) for each in (first, again, other)}
    seen: list[int] = []
    report = store.deduplicate(progress=seen.append)
    assert (report.examined, report.converted, seen) == (3, 3, [3])
    assert (report.bytes_before, report.bytes_saved) == (2 * len(DATA) + 5, len(DATA))
    assert (report.failed, report.skipped) == ((), ())
    moved = dict(report.moved)
    assert sorted(store.list()) == sorted(moved.values())
    assert len(blobs(storage)) == 2
    for old, new in moved.items():
        pointer = keys.pointer_of(new)
        assert pointer is not None
        assert keys.moved_name(old, pointer) == new
        assert {old, f"{old}.meta", new} & lying(storage) == set()
        values = sidecar(storage, new)
        marker = values.pop("marker")
        assert pointer.marker_key(marker) in lying(storage)
        assert values == before[old][0]
        assert store.info(new) == before[old][1].model_copy(update={"reference": new})
        assert hashlib.sha256(store.retrieve_media(new).read_bytes()).hexdigest() == values["sha256"]
    assert json.loads(storage.read(".fsmedia/store.json"))["deduplicate"] is True
    # what was stored since shares too; a second conversion finds nothing to do
    put(opened(storage), run="r3")
    assert len(blobs(storage)) == 2
    assert store.deduplicate().examined == 0
    # the last reference takes the bytes along, the due entry follows the policy
    assert store.sweep_orphans(grace=timedelta(0), nobody_writes=True).mended == ()
    clock.advance(timedelta(days=4))
    assert [each.reference for each in store.enforce_policy(now=clock()).deleted] == [moved[other]]
    store.delete_many(list(store.list()))
    assert {key.split("/")[1] for key in lying(storage)} == {"store.json", "references"}


@PLACES
def test_what_moved_stands_in_the_store(some_storage: Storage) -> None:
    store = opened(some_storage)
    old = [put(store, run=f"r{number}") for number in range(3)]
    report = store.deduplicate()
    (key,) = report.mappings
    assert key.startswith(f"{keys.REFERENCES}/")
    lines = [json.loads(line) for line in some_storage.read(key).splitlines()]
    assert lines == [{"old": pair.old, "new": pair.new} for pair in report.moved]
    assert sorted(line["old"] for line in lines) == sorted(old)
    assert store.sweep_orphans(grace=timedelta(0), nobody_writes=True).kept == ()
    assert key in lying(some_storage)


@PLACES
def test_old_references_still_lead_to_the_media(some_storage: Storage, clock: Clock) -> None:
    storage = some_storage
    before = opened(storage, now=clock)  # knows nothing of the conversion by another process
    old, gone = put(before, b"bytes"), put(before, b"will be deleted")
    other = put(before, b"bytes")
    report = opened(storage, now=clock).deduplicate()
    new = dict(report.moved)[old]
    for store in (before, opened(storage, now=clock), pickle.loads(pickle.dumps(before))):
        assert store.retrieve_media(old).read_bytes() == b"bytes"
        assert store.exists(old)  # `before` knows since the line above
        assert store.info(old).reference == new
        assert store.metadata(old).run_id == "r1"
        with store.open(old) as file:
            assert file.read() == b"bytes"
    store = opened(storage, now=clock)
    if storage.name != MEMORY:
        with urllib.request.urlopen(store.get_url(old)) as answer:
            assert answer.read() == b"bytes"
    copy = store.store_media(MediaContent(storage_reference=old, mime_type="text/plain"), MediaMetadata(run_id="c"))
    assert store.retrieve_media(copy).read_bytes() == b"bytes"
    store.apply_policy(old, "retain-1days")
    assert store.info(new).policy_name == "retain-1days"
    store.hold(old, "auditors")
    assert store.info(new).hold == "auditors"
    store.release(old)
    assert store.info(new).hold is None
    store.delete_media(gone)
    store.delete_media(old)
    store.delete_media(old)
    assert not store.exists(old)
    assert new not in list(store.list())
    assert store.exists(other)
    for ask in (store.info, store.open, store.retrieve_media):
        with pytest.raises(MediaNotFoundError):
            ask(old)


@PLACES
def test_a_dry_run_changes_nothing_and_says_what_would_be_saved(some_storage: Storage) -> None:
    store = opened(some_storage)
    for number in range(4):
        put(store, run=f"r{number}")
    before = traces(some_storage)
    report = opened(some_storage, read_only=True).deduplicate(dry_run=True)
    assert traces(some_storage) == before
    assert (report.converted, report.bytes_before, report.bytes_saved) == (4, 4 * len(DATA), 3 * len(DATA))
    assert report.dry_run
    assert str(report).startswith("4 examined, would convert 4")
    with pytest.raises(ReadOnlyStoreError):
        opened(some_storage, read_only=True).deduplicate()


def test_a_dry_run_knows_what_is_shared_already(memory_storage: MemoryStorage) -> None:
    plain = opened(memory_storage)
    put(plain)
    plain.deduplicate()
    late = plain.info(next(plain.list()))
    # as somebody wrote it who opened the store before it was converted
    reference = f"runs/r9/{keys.plain_name(0, 0, keys.new_unique())}.txt"
    memory_storage.write(reference, DATA)
    values = {name: value for name, value in sidecar(memory_storage, late.reference).items() if name != "marker"}
    memory_storage.write(f"{reference}.meta", json.dumps(values).encode())
    assert plain.deduplicate(dry_run=True).bytes_saved == len(DATA)
    assert plain.deduplicate().bytes_saved == len(DATA)
    assert len(blobs(memory_storage)) == 1


@PLACES
def test_policies_attributes_and_unknown_keys_are_kept(some_storage: Storage, clock: Clock) -> None:
    storage = some_storage
    store = opened(storage, now=clock, policies={"audit": timedelta(days=9)})
    old = put(store, policy_name="audit", conversation_id="c", provider_id="p")
    store.fs.setxattrs(old, **{"user.colour": "red"})
    values = {**sidecar(storage, old), "of_the_future": [1, {"a": None}]}
    storage.write(f"{old}.meta", json.dumps(values).encode())
    expires = store.info(old).expires_at
    assert expires is not None
    ((_, new),) = store.deduplicate().moved
    found = sidecar(storage, new)
    del found["marker"]
    assert found == values
    assert store.fs.getxattr(new, "user.colour") in ("red", b"red")
    assert keys.due_key(expires, new) in lying(storage)
    assert keys.due_key(expires, old) not in lying(storage)


@PLACES
def test_what_is_held_stays_as_it_is(some_storage: Storage) -> None:
    store = opened(some_storage)
    held, free = put(store), put(store)
    store.hold(held, "auditors")
    report = store.deduplicate()
    assert [(each.reference, each.reason) for each in report.skipped] == [(held, "is held")]
    assert [pair.old for pair in report.moved] == [free]
    assert some_storage.read(held) == DATA
    assert store.info(held).hold == "auditors"
    store.release(held)
    assert [pair.old for pair in store.deduplicate().moved] == [held]


@PLACES
def test_foreign_names_are_counted_and_left_alone(some_storage: Storage) -> None:
    storage, store = some_storage, opened(some_storage)
    put(store)
    with store.fs.open("runs/r1/table.csv", "wb") as file:
        file.write(b"a,b\n")
    storage.write("sessions/s/stranger.png", b"no sidecar")
    leftover = f"runs/r1/{keys.plain_name(0, 0, keys.new_unique())}.png"
    storage.write(leftover, b"no media yet")
    report = store.deduplicate()
    assert (report.examined, report.converted) == (3, 1)
    assert [str(each.reference) for each in report.skipped] == ["runs/r1/table.csv", "sessions/s/stranger.png"]
    assert storage.read("runs/r1/table.csv") == b"a,b\n"
    assert storage.read("sessions/s/stranger.png") == b"no sidecar"
    assert storage.read(leftover) == b"no media yet"


@PLACES
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda storage, key: storage.write(key, b"x" + DATA[1:]), id="other bytes"),
        pytest.param(lambda storage, key: storage.write(key, DATA[:-1]), id="cut off"),
        pytest.param(lambda storage, key: storage.write(f"{key}.meta", b"{"), id="no json"),
        pytest.param(lambda storage, key: storage.write(f"{key}.meta", b"{}"), id="no digest"),
    ],
)
def test_damage_is_reported_and_left_alone(some_storage: Storage, damage: Callable[[Storage, str], None]) -> None:
    storage, store = some_storage, opened(some_storage)
    bad, good = put(store), put(store)
    damage(storage, bad)
    before = (storage.read(bad), storage.read(f"{bad}.meta"))
    report = store.deduplicate()
    assert [str(each.reference) for each in report.failed] == [bad]
    assert isinstance(report.failed[0].error, CorruptSidecarError)
    assert bad in str(report.failed[0].error)
    assert (storage.read(bad), storage.read(f"{bad}.meta")) == before
    assert [pair.old for pair in report.moved] == [good]
    assert store.retrieve_media(good).read_bytes() == DATA


# -- large stores ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor, ProcessPoolExecutor])
def test_windows_and_executors(tmp_path: Path, pool: Any, request: pytest.FixtureRequest) -> None:
    storage = make_storage(LOCAL, request, tmp_path)
    store = opened(storage)
    old = store.store_many(
        (MediaContent.from_bytes(b"%d" % (n % 7), "text/plain"), MediaMetadata(run_id="r")) for n in range(450)
    )
    if pool is None:
        report = store.deduplicate()
    else:
        with pool(2) as executor:
            report = store.deduplicate(executor=executor)
    assert (report.converted, len(report.mappings), report.failed) == (450, 3, ())
    assert sorted(pair.old for pair in report.moved) == sorted(old)
    assert sorted(store.list()) == sorted(pair.new for pair in report.moved)
    assert {store.retrieve_media(pair.new).read_bytes() for pair in report.moved} == {b"%d" % n for n in range(7)}
    assert report.bytes_saved == 450 - len(blobs(storage))


def test_what_one_process_alone_sees_is_not_given_to_others(memory_storage: MemoryStorage) -> None:
    store = opened(memory_storage)
    old = put(store)
    with ProcessPoolExecutor(1) as executor:
        report = store.deduplicate(executor=executor)
    assert [str(each.reference) for each in report.failed] == [old]
    assert list(store.list()) == [old]


async def converted(url: str) -> tuple[int, bool]:
    async with AsyncMediaStore(url) as store:
        metadata = MediaMetadata(run_id="r1")
        reference = await store.store_media(MediaContent.from_bytes(b"x", "text/plain"), metadata)
        report = await store.deduplicate()
        return report.converted, await store.exists(reference)


def test_the_asynchronous_twin(memory_storage: MemoryStorage) -> None:
    import asyncio

    assert asyncio.run(converted(memory_storage.url)) == (1, True)
