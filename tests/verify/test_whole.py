"""Stores that nothing is wrong with are whole, whatever was done to them; files of others are told, and adopted."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fsmedia import AsyncMediaStore, InvalidMediaError, MediaContent, MediaMetadata, MediaStore, ReadOnlyStoreError
from fsmedia.format import keys
from fsmedia.maintenance import verify
from fsmedia.models import VerifyReport
from tests.contract.specimens import AT_ONCE, PNG, raised, traces
from tests.golden.conftest import ORGANIZATIONS, adopt
from tests.protocol.wire import counted
from tests.storages import LOCAL, MEMORY, LocalStorage, MemoryStorage, S3Storage, Storage, switch_looks
from tests.transfers import opened, shared_in_place
from tests.verify.damages import OTHER, changed, damage, filled, put


def spotless(report: VerifyReport) -> bool:
    assert report.findings == ()
    assert report.failed == ()
    return report.whole and report.counts == {}


@pytest.mark.parametrize("shared", [False, True], ids=["plain", "shared"])
def test_a_repair_leaves_nothing_for_the_next(
    shared: bool, storage: Storage, open_store: Callable[..., MediaStore]
) -> None:
    """Entries of policies before were left over once their media had gone: a store was not whole after its repair."""
    store = open_store(deduplicate=shared).create()
    gone, torn = "runs/r1/a.png", put(store, "r1")
    store.fs.pipe_file(gone, PNG)
    for policy in ("retain-3days", "retain-7days", "retain-9days"):
        store.apply_policy(gone, policy)
        store.apply_policy(torn, policy)
    for key in (gone, torn):
        storage.write(keys.due_key(datetime.now(UTC) + timedelta(days=5), key), b"")  # of one that died in between
    storage.remove(gone)
    storage.write(keys.bytes_key(torn), OTHER)
    assert not store.verify(deep=True).whole
    report = store.verify(deep=True, repair=True, **AT_ONCE)
    assert (report.left, report.failed) == (0, ())
    assert spotless(store.verify(deep=True, grace=timedelta(0), nobody_writes=True))


@pytest.mark.parametrize("shared", [False, True], ids=["plain", "shared"])
def test_a_store_that_was_used(shared: bool, storage: Storage, open_store: Callable[..., MediaStore]) -> None:
    """Then one whose media were renamed, too; and before that a root in which nothing is."""
    report = open_store().verify(deep=True)
    assert (report.examined, report.media, report.whole) == (0, 0, True)
    assert storage.keys() == set()
    store = open_store(deduplicate=shared).create()
    media = filled(store)
    store.fs.pipe_file(media.named, OTHER)
    store.fs.pipe_file("runs/r5/note.txt", b"text")
    store.fs.cp(media.one, "runs/r6/copy.png")
    store.fs.cp(media.one, f"runs/r7/{media.one.rpartition('/')[2]}")
    store.fs.mv("runs/r5/note.txt", "runs/r5/moved.txt")
    store.fs.setxattrs(media.two, {"user.rating": 5})
    store.apply_policy(media.two, "retain-7days")
    store.apply_policy(media.two, "retain-9days")
    store.apply_policy(media.dated, None)
    store.hold(media.dated, "court")
    store.delete_media(put(store, "r8"))
    store.store_media(MediaContent.from_bytes(bytes(4_800), "audio/pcm"), MediaMetadata(run_id="r9"))
    store.enforce_policy()
    store.verify(repair="leftovers")
    for deep in (False, True):
        assert spotless(open_store().verify(deep=deep, repair=True, dry_run=True, **AT_ONCE))
    before = traces(storage)
    assert spotless(open_store().verify(deep=True, repair=True))
    assert traces(storage) == before
    if not shared:
        shared_in_place(storage)
        assert spotless(open_store().verify(deep=True, repair=True, dry_run=True, **AT_ONCE))


@pytest.mark.parametrize("name", ORGANIZATIONS)
def test_stores_of_promptkit(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """They are whole as they are; media without sidecar are told, and its index where it leads nowhere."""
    adopted = adopt(name, LOCAL, request, tmp_path)
    store = adopted.open(read_only=True)
    before = traces(adopted.storage)
    for deep in (False, True):
        report = store.verify(deep=deep)
        assert report.whole, report.findings
        assert set(report.counts) <= {"file", "type", "index"}, report.findings
        assert all(each.harmless for each in report.findings)
        assert report.media == len(list(store.list()))
    assert traces(adopted.storage) == before


def test_an_index_that_leads_nowhere(local_storage: LocalStorage) -> None:
    index = {"1" * 64: "/data/runs/r1/a.png", "2" * 64: "/data/runs/r1/gone.png"}
    for key, data in {"runs/r1/a.png": PNG, keys.DEDUP_INDEX_KEY: json.dumps(index).encode()}.items():
        local_storage.write(key, data)
    report = MediaStore(local_storage.url).verify()
    found = {("file", "runs/r1/a.png"), ("index", f"{keys.DEDUP_INDEX_KEY}#{'2' * 64}")}
    assert (report.whole, {(each.kind, each.key) for each in report.findings}) == (True, found)
    local_storage.write(keys.DEDUP_INDEX_KEY, b"[")
    assert not MediaStore(local_storage.url).verify().whole


# -- files of others -----------------------------------------------------------------------------------------


def test_files_of_others_are_told_and_adopted(storage: Storage, open_store: Callable[..., MediaStore]) -> None:
    files = {
        "runs/lab 1/photo.png": PNG, "runs/r1/noname": PNG, "deep/in/some/folder/words.txt": b"text",
        "-early.png": OTHER,
    }  # fmt: skip
    store = open_store().create()
    mine = put(store, "r1")
    strange = dict.fromkeys((".fsmedia/notes.txt", ".fsmedia/holds/readme", ".fsmedia/blobs/x"), b"x")
    for key, data in (files | strange | {".hidden": b"x"}).items():
        storage.write(key, data)
    before = traces(storage)
    told = {("file", key) for key in (*files, ".hidden")} | {("foreign", key) for key in strange}
    for asked in ({}, {"repair": True, "dry_run": True}, {"repair": True, **AT_ONCE}):
        report = store.verify(**asked)
        assert report.whole
        assert {(each.kind, each.key) for each in report.findings} == told
        assert traces(storage) == before
    report = store.adopt()
    assert ({each.reference for each in report.stored}, report.failed) == (files.keys(), ())
    assert [each.source for each in report.skipped] == [".hidden"]
    after = traces(storage)
    assert {key: after[key] for key in before} == before
    for key, data in files.items():
        record = open_store().info(key)
        assert record.sha256 is not None
        assert (record.policy_name, record.expires_at, record.size_bytes) == (None, None, len(data))
    assert store.info("runs/lab 1/photo.png").run_id in ("lab 1", "")
    named = store.info("runs/r1/noname")
    assert (named.mime_type, named.run_id) == ("image/png", "r1")
    assert store.verify(deep=True).counts == {"foreign": len(strange), "file": 1}
    assert store.info(mine).conversation_id == "c1"


# -- what is asked -------------------------------------------------------------------------------------------


def test_a_repair_needs_a_store_that_may_be_written(storage: Storage, open_store: Callable[..., MediaStore]) -> None:
    filled(open_store().create())
    store = open_store(read_only=True)
    assert store.verify(repair=True, dry_run=True).dry_run
    raised(ReadOnlyStoreError, store.verify, repair=True)
    raised(InvalidMediaError, store.verify, match="nobody_writes", grace=timedelta(0))


def test_what_is_held_stays(storage: Storage, open_store: Callable[..., MediaStore]) -> None:
    """Whatever is wrong with it: it is told, and the store is not whole."""
    store = open_store().create()
    media = filled(store)
    for each in media:
        store.hold(each, "court")
    storage.write(media.one, OTHER)
    storage.remove(media.two)
    storage.write(f"{media.dated}.meta", b"{")
    storage.remove(media.named)
    before = traces(storage)
    report = store.verify(deep=True, repair=True, **AT_ONCE)
    assert {each.key for each in report.findings} == set(media)
    assert {each.repair for each in report.findings} == {"it is held, and stays as it is"}
    assert (report.whole, report.left, report.mended) == (False, 4, 0)
    assert traces(storage) == before


def test_every_finding_is_counted_and_streamed_and_no_kind_hides_another(local_storage: LocalStorage) -> None:
    store = MediaStore(local_storage.url, durability="rename").create()
    count = verify.KEPT + 7
    for number in range(count):
        local_storage.write(f"runs/r1/{number:05d}.png", b"x")
    media = filled(store)
    local_storage.write(f"{media.one}.meta", b"{")
    streamed, reached = [], []
    report = store.verify(found=streamed.append, progress=reached.append)
    assert report.counts == {"file": count, "sidecar": 1}
    assert len(streamed) == count + 1
    assert len(report.findings) == verify.KEPT + 1
    assert {each.kind for each in report.findings} == {"file", "sidecar"}
    assert reached == [1000]
    assert f"{count:,}" in repr(report)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_executor_sees_the_same(kind: str, local_storage: LocalStorage) -> None:
    """And a caller that awaits it."""
    store = MediaStore(local_storage.url, durability="rename", deduplicate=True).create()
    numbers = ((MediaContent.from_text(f"{at}"), MediaMetadata(run_id=f"r{at % 9}")) for at in range(600))
    store.store_many(numbers)
    media = filled(store)
    for name in ("sidecar_torn", "due_entry_missing"):
        damage(local_storage, name, media)
    alone = store.verify(deep=True)

    async def look() -> VerifyReport:
        async with AsyncMediaStore(local_storage.url) as there:
            return await there.verify(deep=True)

    pool = ThreadPoolExecutor(3) if kind == "threads" else ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    with pool as executor:
        for spread in (store.verify(deep=True, executor=executor), asyncio.run(look())):
            assert (spread.counts, spread.media, spread.bytes) == (alone.counts, alone.media, alone.bytes)
        mended = store.verify(repair=True, executor=executor, **AT_ONCE)
    assert mended.whole
    assert spotless(store.verify(deep=True))


def test_a_repair_leaves_the_due_entry_that_a_sync_has_just_written_again() -> None:
    """It went by the time that the listing had told, and an expiring media was left that no sweep would find."""
    storage = MemoryStorage(MEMORY, f"memory://due-{keys.new_unique()}")
    store = opened(storage).create()
    reference = put(store, "r1", policy="retain-7days")
    put(store, "r2")
    (entry,) = (key for key in storage.keys() if key.startswith(keys.DUE))  # noqa: SIM118 - no dict
    storage.remove(reference)
    for file in MemoryFileSystem.store.values():
        file.modified = datetime.now(UTC) - timedelta(days=3)
    synced = {"missing-bytes": lambda: storage.write(entry, b"")}
    report = store.verify(repair=True, found=lambda each: synced.get(each.kind, bool)())
    assert (report.counts, report.left) == ({"missing-bytes": 1, "due": 1}, 0)
    assert entry in storage.keys()  # noqa: SIM118 - no dict
    storage.clear()


def test_a_worker_that_dies_is_told(local_storage: LocalStorage) -> None:
    media = filled(MediaStore(local_storage.url).create())
    with ProcessPoolExecutor(1) as executor:
        executor.submit(int).result()
    report = MediaStore(local_storage.url).verify(executor=executor)
    assert {str(each.reference) for each in report.failed} == set(media)
    assert not report.whole


def test_a_sidecar_without_times_is_dated_by_itself_where_bytes_are_shared(local_storage: LocalStorage) -> None:
    """An index was called complete that left it out: no sweep would ever have seen it."""
    store = MediaStore(local_storage.url, deduplicate=True)
    reference = put(store, "r1", policy="retain-7days")
    for key, values in (
        (keys.sidecar_key(reference), {"timestamp": None, "expires_at": None}),
        (keys.CONFIGURATION_KEY, {"due_index": "partial"}),
    ):
        local_storage.write(key, changed(local_storage.read(key), **values))
    for key in [each for each in local_storage.contents() if each.startswith(keys.DUE)]:
        local_storage.remove(key)
    store = MediaStore(local_storage.url)
    report = store.verify(repair=True)
    assert (report.due_index, report.counts) == ("complete", {"missing-due": 1})
    assert spotless(store.verify())
    swept = store.enforce_policy(now=datetime.now(UTC) + timedelta(days=8), dry_run=True)
    assert [each.reference for each in swept.deleted] == [reference]


def test_media_without_settings(local_storage: LocalStorage) -> None:
    filled(MediaStore(local_storage.url).create())
    local_storage.remove(keys.CONFIGURATION_KEY)
    report = MediaStore(local_storage.url).verify()
    assert ([each.kind for each in report.findings], report.whole) == (["settings"], False)
    assert spotless(MediaStore(local_storage.url).create().verify())


# -- what it costs, on rclone's S3 and on moto ---------------------------------------------------------------


def warm(storage: S3Storage) -> MediaStore:
    """Open the store as a fresh process would, and warm the connection."""
    store = opened(storage)
    store.exists("runs/none/none.png")
    return store


def in_folder(storage: S3Storage, *, shared: bool) -> MediaStore:
    """Open the store past S3, in the folder that rclone serves."""
    bucket: Path = storage.server.data_folder / storage.bucket
    return MediaStore(bucket, durability="rename", deduplicate=shared).create()


@pytest.mark.parametrize("shared", [False, True], ids=["plain", "shared"])
def test_a_look_over_a_store(shared: bool, rclone_storage: S3Storage, full_run: bool) -> None:
    count, holds = (2_500, 20) if full_run else (300, 5)
    seeded = in_folder(rclone_storage, shared=shared)
    policy = {"policy_name": "retain-30days", "timestamp": datetime.now(UTC)}
    contents = (MediaContent(data=PNG + at.to_bytes(4, "big"), mime_type="image/png") for at in range(count))
    made = seeded.store_many((each, MediaMetadata(run_id=f"r{at % 7}", **policy)) for at, each in enumerate(contents))
    for each in made[:holds]:
        seeded.hold(each, "court")
    if not shared:  # what is counted is really there
        assert len(rclone_storage.keys()) == 3 * count + holds + 1
    store = warm(rclone_storage)
    most = -(-4 * count // 1000) + 8
    report, n = counted(rclone_storage, store.verify)
    assert (report.whole, report.media, report.counts, report.failed) == (True, count, {}, ())
    assert n["list"] <= most, n
    assert n["get"] <= count + holds + 1, n  # the last one: store.json is still there
    # A hold is read, and looked at with the media it speaks of: three requests each.
    # The settings are read twice.
    assert sum(n.values()) - n["list"] - n["get"] <= 3 * holds + 2 * sum(switch_looks(store).values()), n
    report, n = counted(rclone_storage, lambda: store.verify(deep=True))
    assert (report.whole, report.media, report.bytes_read) == (True, count, count * (len(PNG) + 4))
    assert n["list"] <= most, n
    assert n["get"] <= 2 * count + holds + 1, n


def test_shared_bytes_are_read_once(rclone_storage: S3Storage) -> None:
    store = in_folder(rclone_storage, shared=True)
    for number in range(20):
        put(store, f"r{number}")
    store = warm(rclone_storage)
    report, n = counted(rclone_storage, lambda: store.verify(deep=True))
    assert (report.whole, report.media, report.bytes_read) == (True, 20, len(PNG))
    assert n["get"] == 22, n  # sidecars, bytes, and store.json once more


@pytest.mark.parametrize("shared", [False, True], ids=["plain", "shared"])
def test_nothing_is_written_where_nothing_is_asked_for(shared: bool, moto_storage: S3Storage) -> None:
    store = opened(moto_storage, deduplicate=shared).create()
    for number in range(5):
        put(store, f"r{number}")
    moto_storage.write("runs/r1/x.png", PNG)
    moto_storage.write("runs/r1/lonely.png.meta", b"{")
    store = opened(moto_storage, read_only=True)
    for asked in ({}, {"deep": True}, {"repair": True, "dry_run": True}):
        report, n = counted(moto_storage, partial(store.verify, **asked))
        assert report.counts == {"file": 1, "missing-bytes": 1}
        assert set(n) <= {"get", "head", "list"}, n
