"""Stores that nothing is wrong with are whole, whatever was done to them; files of others are told, and adopted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from fsmedia import AsyncMediaStore, InvalidMediaError, MediaStore, ReadOnlyStoreError
from fsmedia.format import keys
from fsmedia.models import VerifyReport
from tests.contract.specimens import PNG, traces
from tests.golden.conftest import STORES, adopt
from tests.storages import LOCAL, LocalStorage, Storage
from tests.transfers import shared_in_place
from tests.verify.damages import OTHER, Anywhere, filled, put

NOW: dict[str, Any] = {"grace": timedelta(0), "nobody_writes": True}


def spotless(report: VerifyReport) -> bool:
    assert report.findings == ()
    assert report.failed == ()
    return report.whole and report.counts == {}


@pytest.mark.parametrize("shared", [False, True], ids=["plain", "shared"])
def test_a_store_that_was_used(shared: bool, storage: Storage, open_store: Callable[..., MediaStore]) -> None:
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
    store.store_media(*_sound())
    store.enforce_policy()
    store.verify(repair="leftovers")
    for deep in (False, True):
        assert spotless(open_store().verify(deep=deep, repair=True, dry_run=True, **NOW))
    before = traces(storage)
    assert spotless(open_store().verify(deep=True, repair=True, adopt=True))
    assert traces(storage) == before


def _sound() -> Any:
    from fsmedia import MediaContent, MediaMetadata

    return MediaContent.from_bytes(bytes(4_800), "audio/pcm"), MediaMetadata(run_id="r9")


def test_a_store_whose_media_were_renamed(storage: Storage, open_store: Callable[..., MediaStore]) -> None:
    store = open_store().create()
    filled(store)
    shared_in_place(storage)
    assert spotless(open_store().verify(deep=True, repair=True, dry_run=True, **NOW))


def test_an_empty_root(storage: Storage, open_store: Callable[..., MediaStore]) -> None:
    report = open_store().verify(deep=True)
    assert (report.examined, report.media, report.whole) == (0, 0, True)
    assert storage.keys() == set()


@pytest.mark.parametrize("name", STORES)
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
    local_storage.write("runs/r1/a.png", PNG)
    index = {"1" * 64: "/data/runs/r1/a.png", "2" * 64: "/data/runs/r1/gone.png"}
    local_storage.write(keys.DEDUP_INDEX_KEY, json.dumps(index).encode())
    report = MediaStore(local_storage.url).verify()
    assert report.whole
    assert {(each.kind, each.key) for each in report.findings} == {
        ("file", "runs/r1/a.png"), ("index", f"{keys.DEDUP_INDEX_KEY}#{'2' * 64}"),
    }  # fmt: skip
    local_storage.write(keys.DEDUP_INDEX_KEY, b"[")
    assert not MediaStore(local_storage.url).verify().whole


# -- files of others -----------------------------------------------------------------------------------------


def test_files_of_others_are_told_and_adopted(storage: Storage, open_store: Callable[..., MediaStore]) -> None:
    files = {
        "runs/lab 1/photo.png": PNG, "runs/r1/noname": PNG, "deep/in/some/folder/words.txt": b"text",
        "-early.png": OTHER, ".hidden": b"x",
    }  # fmt: skip
    store = open_store().create()
    mine = put(store, "r1")
    for key, data in files.items():
        storage.write(key, data)
    strange = {".fsmedia/notes.txt", ".fsmedia/holds/readme", ".fsmedia/blobs/x"}
    for key in strange:
        storage.write(key, b"x")
    before = traces(storage)
    for asked in ({}, {"adopt": True, "dry_run": True}, {"repair": True, **NOW}):
        report = store.verify(**asked)
        assert report.whole
        assert {each.key for each in report.findings if each.kind == "file"} == set(files)
        assert {each.key for each in report.findings if each.kind == "foreign"} == strange
        assert traces(storage) == before
    report = store.verify(adopt=True)
    assert (report.mended, report.failed, report.dry_run) == (len(files), (), False)
    after = traces(storage)
    assert {key: after[key] for key in before} == before
    for key, data in files.items():
        record = open_store().info(key)
        assert record.sha256 is not None
        assert record.policy_name is record.expires_at is None
        assert record.size_bytes == len(data)
    assert store.info("runs/lab 1/photo.png").run_id in ("lab 1", "")
    assert store.info("runs/r1/noname").mime_type == "image/png"
    assert store.info("runs/r1/noname").run_id == "r1"
    assert set(store.verify(deep=True).counts) == {"foreign"}
    assert store.info(mine).conversation_id == "c1"


def test_a_sidecar_that_comes_meanwhile_wins(local_storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsmedia.maintenance import repair

    store = MediaStore(local_storage.url).create()
    local_storage.write("runs/r1/a.png", PNG)
    real = repair.new_sidecar

    def slow(*args: Any) -> Any:
        local_storage.write("runs/r1/a.png.meta", b'{"run_id": "theirs"}')
        return real(*args)

    monkeypatch.setattr(repair, "new_sidecar", slow)
    store.verify(adopt=True)
    assert local_storage.read("runs/r1/a.png.meta") == b'{"run_id": "theirs"}'


# -- what is asked -------------------------------------------------------------------------------------------


def test_a_repair_needs_a_store_that_may_be_written(storage: Storage, open_store: Callable[..., MediaStore]) -> None:
    filled(open_store().create())
    store = open_store(read_only=True)
    assert store.verify(repair=True, adopt=True, dry_run=True).dry_run
    for asked in ({"repair": True}, {"adopt": True}):
        with pytest.raises(ReadOnlyStoreError):
            store.verify(**asked)
    with pytest.raises(InvalidMediaError, match="nobody_writes"):
        store.verify(grace=timedelta(0))


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
    report = store.verify(deep=True, repair=True, **NOW)
    assert {each.key for each in report.findings} == set(media)
    assert {each.repair for each in report.findings} == {"it is held, and stays as it is"}
    assert (report.whole, report.left, report.mended) == (False, 4, 0)
    assert traces(storage) == before


def test_every_finding_is_counted_and_streamed_and_no_kind_hides_another(local_storage: LocalStorage) -> None:
    from fsmedia.maintenance import verify

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
    store = MediaStore(local_storage.url, durability="rename", deduplicate=True).create()
    store.store_many([_many(number) for number in range(600)])
    media = filled(store)
    Anywhere.sidecar_torn(local_storage, media)
    Anywhere.due_entry_missing(local_storage, media)
    alone = store.verify(deep=True)
    pool = ThreadPoolExecutor(3) if kind == "threads" else ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    with pool as executor:
        spread = store.verify(deep=True, executor=executor)
        assert (spread.counts, spread.media, spread.bytes) == (alone.counts, alone.media, alone.bytes)
        mended = store.verify(repair=True, executor=executor, **NOW)
    assert mended.whole
    assert spotless(store.verify(deep=True))


def _many(number: int) -> Any:
    from fsmedia import MediaContent, MediaMetadata

    return MediaContent.from_bytes(number.to_bytes(4, "big"), "text/plain"), MediaMetadata(run_id=f"r{number % 9}")


def test_a_worker_that_dies_is_told(local_storage: LocalStorage) -> None:
    media = filled(MediaStore(local_storage.url).create())
    with ProcessPoolExecutor(1) as executor:
        executor.submit(int).result()
    report = MediaStore(local_storage.url).verify(executor=executor)
    assert {str(each.reference) for each in report.failed} == set(media)
    assert not report.whole


def test_asynchronously(local_storage: LocalStorage) -> None:
    async def look() -> VerifyReport:
        async with AsyncMediaStore(local_storage.url) as store:
            return await store.verify(deep=True)

    filled(MediaStore(local_storage.url).create())
    assert spotless(asyncio.run(look()))


def test_a_sidecar_without_times_is_dated_by_itself_where_bytes_are_shared(local_storage: LocalStorage) -> None:
    """An index was called complete that left it out: no sweep would ever have seen it."""
    reference = put(MediaStore(local_storage.url, deduplicate=True), "r1", policy="retain-7days")
    for key, gone in ((keys.sidecar_key(reference), ("timestamp", "expires_at")), (keys.CONFIGURATION_KEY, ())):
        values = {name: value for name, value in json.loads(local_storage.read(key)).items() if name not in gone}
        local_storage.write(key, json.dumps({**values, **({} if gone else {"due_index": "partial"})}).encode())
    for key in [each for each in local_storage.contents() if each.startswith(keys.DUE)]:
        local_storage.remove(key)
    report = MediaStore(local_storage.url).verify(repair=True)
    assert (report.due_index, report.counts) == ("complete", {"missing-due": 1})
    assert spotless(MediaStore(local_storage.url).verify())
    later = datetime.now(UTC) + timedelta(days=8)
    swept = MediaStore(local_storage.url).enforce_policy(now=later, dry_run=True)
    assert [each.reference for each in swept.deleted] == [reference]


def test_media_without_settings(local_storage: LocalStorage) -> None:
    filled(MediaStore(local_storage.url).create())
    local_storage.remove(keys.CONFIGURATION_KEY)
    report = MediaStore(local_storage.url).verify()
    assert [each.kind for each in report.findings] == ["settings"]
    assert not report.whole
    MediaStore(local_storage.url).create()
    assert spotless(MediaStore(local_storage.url).verify())
