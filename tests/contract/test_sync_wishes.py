"""What one may ask of a sync: deleting what is too many, a part of a store, executors, mapping files."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import AsyncMediaStore, InvalidMediaError, MediaContent, MediaMetadata, ReadOnlyStoreError, StorageError
from fsmedia.format import keys
from tests.conftest import make_storage
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, S3_SEAWEED, LocalStorage, Storage
from tests.transfers import LARGE, media_of, opened, synced

if TYPE_CHECKING:
    from pathlib import Path

    from fsmedia import MediaStore

NEXT = {LOCAL: MEMORY, MEMORY: S3_MOTO, S3_MOTO: S3_RCLONE, S3_RCLONE: GCS, GCS: S3_SEAWEED, S3_SEAWEED: LOCAL}


@pytest.fixture
def target(storage: Storage, request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Give another storage, of the next kind."""
    return make_storage(NEXT[storage.name], request, tmp_path / "target")


@pytest.fixture
def here(tmp_path: Path) -> Storage:
    """Give a folder: for what no storage does otherwise."""
    return LocalStorage(LOCAL, str(tmp_path / "here"))


@pytest.fixture
def there(tmp_path: Path) -> Storage:
    """Give another one."""
    return LocalStorage(LOCAL, str(tmp_path / "there"))


def put(store: MediaStore, data: bytes = b"text", run: str = "r1", **fields: Any) -> str:
    return store.store_media(MediaContent.from_bytes(data, "text/plain"), MediaMetadata(run_id=run, **fields))


# -- what is too many --------------------------------------------------------------------------------------


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "shared"])
def test_deleting_what_the_source_has_not(deduplicate: bool, storage: Storage, target: Storage) -> None:
    store, far = opened(storage), opened(target, deduplicate=deduplicate).create()
    kept, gone, other = put(store), put(store, b"goes", policy_name="retain-9days"), put(store, b"other", "r2")
    synced(storage, target)
    held = put(far, b"held there")
    far.hold(held, "theirs")
    extra = put(far, b"text", policy_name="retain-9days")
    target.write("runs/r1/stranger.bin", b"foreign")
    store.delete_media(gone)
    store.delete_media(other)
    before = {key: target.read(key) for key in target.keys()}  # noqa: SIM118
    planned = synced(storage, target, delete=True, dry_run=True, run_id="r1")
    assert {key: target.read(key) for key in target.keys()} == before  # noqa: SIM118
    report = synced(storage, target, delete=True, run_id="r1")
    assert planned.model_copy(update={"dry_run": False, "took": report.took}) == report
    plain = {keys.plain_reference(each) or each for each in report.deleted}
    assert plain == {gone, keys.plain_reference(extra) or extra}
    assert {each.reference for each in report.skipped} == {held, "runs/r1/stranger.bin"}
    rest = {keys.plain_reference(each) or each for each in far.list()}
    assert rest == {kept, other, keys.plain_reference(held) or held, "runs/r1/stranger.bin"}
    assert not [key for key in target.keys() if key.startswith(keys.DUE)]  # noqa: SIM118
    assert {keys.plain_reference(each) or each for each in synced(storage, target, delete=True).deleted} == {other}


def test_nothing_is_deleted_when_the_source_can_t_be_told(here: Storage, there: Storage) -> None:
    store = opened(here)
    reference = put(store, session_id="s")
    synced(here, there, organization="by-session")
    here.write(f"{reference}.meta", b"{")
    report = synced(here, there, delete=True)
    assert report.deleted == ()
    assert len(report.skipped) == len(report.failed) == 1
    assert len(list(opened(there).list())) == 1


@pytest.mark.parametrize("settings", [{}, {"organization": "by-session", "deduplicate": True}], ids=["same", "other"])
def test_what_is_meant_no_more_is_not_gone(settings: dict[str, Any], here: Storage, there: Storage) -> None:
    """A condition may be about what changes: the source still has the media whose policy changed."""
    store = opened(here)
    changed, gone, kept = (put(store, session_id="s", policy_name="retain-3days") for _ in range(3))
    synced(here, there, **settings)
    store.apply_policy(changed, "retain-4days")
    store.delete_media(gone)
    report = synced(here, there, policy_name="retain-3days", delete=True)
    assert [keys.file_name(each) for each in report.deleted] == [keys.file_name(gone)]
    assert [keys.file_name(each.reference) for each in report.skipped] == [keys.file_name(changed)]
    left = {keys.file_name(each) for each in opened(there).list()}
    assert left == {keys.file_name(each) for each in (changed, kept)}


def test_what_two_syncs_brought_twice_is_deleted_once(here: Storage, there: Storage) -> None:
    reference = put(opened(here))
    synced(here, there, deduplicate=True)
    (first,) = opened(there).list()
    sidecar = json.loads(there.read(f"{first}.meta"))
    pointer = keys.pointer_of(first)
    assert pointer is not None
    other = keys.moved_name(reference, pointer._replace(generation=keys.new_generation()))
    twin = keys.pointer_of(other)
    assert twin is not None
    marker = keys.new_marker(other)
    there.write(twin.marker_key(marker), other.encode())
    there.write(twin.data_key, b"text")
    there.write(f"{other}.meta", json.dumps({**sidecar, "marker": marker}).encode())
    assert synced(here, there).unchanged == 1
    report = synced(here, there, delete=True)
    assert len(report.deleted) == 1
    assert len(list(opened(there).list())) == 1
    assert media_of(there) == media_of(here)


def test_an_early_end_deletes_nothing(here: Storage, there: Storage) -> None:
    put(opened(here))
    put(opened(there))
    report = synced(here, there, delete=True, stopped=lambda: True)
    assert report.stopped
    assert report.deleted == ()
    assert "stopped early" in str(report)


# -- ways to ask -------------------------------------------------------------------------------------------


def test_a_part_of_a_store(storage: Storage, target: Storage) -> None:
    store = opened(storage)
    first, second = put(store, provider_id="p"), put(store, b"other", "r2")
    assert synced(storage, target, run_id="r1").copied == 1
    assert synced(storage, target, provider_id="p").unchanged == 1
    assert set(opened(target).list()) == {first}
    assert synced(storage, target, run_id="r2", mime_type="text/*").copied == 1
    assert set(opened(target).list()) == {first, second}


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_executor(kind: str, here: Storage, there: Storage) -> None:
    store = opened(here, durability="rename")
    store.store_many(
        (MediaContent.from_bytes(b"%d" % at, "text/plain"), MediaMetadata(run_id="r")) for at in range(300)
    )
    pool = ThreadPoolExecutor(3) if kind == "threads" else ProcessPoolExecutor(2, get_context("spawn"))
    told: list[tuple[int, int]] = []
    with pool:
        report = store.sync_to(there.url, executor=pool, progress=lambda *now: told.append(now), deduplicate=True)
    assert (report.copied, report.failed) == (300, ())
    assert told[-1] == (300, report.bytes_copied)
    assert media_of(there) == media_of(here)


def test_processes_can_t_see_memory(memory_storage: Storage, there: Storage) -> None:
    reference = put(opened(memory_storage))
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        report = synced(memory_storage, there, executor=pool)
    assert [each.reference for each in report.failed] == [reference]
    assert "one process only" in str(report.failed[0].error)


def test_a_mapping_file_and_progress(here: Storage, there: Storage, tmp_path: Path) -> None:
    store = opened(here)
    put(store, LARGE)
    put(store)
    told: list[tuple[int, int]] = []
    file = tmp_path / "moved.jsonl"
    report = synced(here, there, deduplicate=True, mapping=file, progress=lambda *now: told.append(now))
    assert [json.loads(line) for line in file.read_text().splitlines()] == [pair._asdict() for pair in report.moved]
    assert len(report.moved) == 2
    assert told[-1] == (2, report.bytes_copied)
    assert len(told) > 3  # while the large one came, too
    assert report.mappings
    assert "2 examined, copied 2" in repr(report)
    assert json.loads(report.model_dump_json())["copied"] == 2


def test_asynchronously(here: Storage, there: Storage) -> None:
    put(opened(here))

    async def work() -> int:
        async with AsyncMediaStore(here.url, read_only=True) as store:
            return (await store.sync_to(there.url)).copied

    assert asyncio.run(work()) == 1


def test_wrong_words(here: Storage, there: Storage) -> None:
    put(opened(here))
    for wishes in ({"missing_id": ""}, {"verify_copies": "never"}, {"run_id": 3}, {"organization": "by-colour"}):
        with pytest.raises(InvalidMediaError):
            synced(here, there, **wishes)
    with pytest.raises(StorageError, match="mapping file"):
        synced(here, there, mapping=there.url + "/no/such/folder")
    assert there.keys() == set()
    with pytest.raises(ReadOnlyStoreError):
        opened(here, read_only=True).create()


def test_delete_spares_what_the_source_has_without_an_id(here: Storage, there: Storage) -> None:
    """An earlier sync gave it one; this one was told none, so it can't say what it is called there."""
    store = opened(here, organization="by-session").create()
    content = MediaContent.from_bytes(b"text", "text/plain")
    store.store_media(content, MediaMetadata(session_id="s1"))
    assert synced(here, there, organization="by-run", missing_id="none").copied == 1
    report = synced(here, there, delete=True)
    assert report.deleted == ()
    assert any("the source has it" in each.reason for each in report.skipped)
    assert len(media_of(there)) == 1
