"""Syncs: what dies or fails at any step is finished by the next; what they cost; what a wire that spoils bytes does.

Nothing half is ever listed.
"""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.core import commit
from fsmedia.maintenance import sync, sync_copy
from fsmedia.storage import local
from tests.conftest import make_storage
from tests.protocol.faults import Crash, Fault
from tests.protocol.wire import costs, counted
from tests.protocol.worlds import Place, each_fault, faulty, fresh_world
from tests.servers import S3Server
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, LocalStorage, ObjectStorage, S3Storage, Storage
from tests.transfers import media_of, opened, synced

PLACES = [
    pytest.param((MEMORY, "calls"), id="memory"),
    pytest.param((MEMORY, "calls", {"deduplicate": True}), id="memory-shared"),
    pytest.param((LOCAL, "calls", {"organization": "by-session"}), id="local-relaid"),
    pytest.param((LOCAL, "syscalls", {"deduplicate": True}), id="local-syscalls-shared"),
]


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another: which call is the fifth must be the same each time. And little is large."""
    monkeypatch.setattr(local.LocalBackend, "concurrency", 1)
    monkeypatch.setattr(sync_copy, "SMALL", 2000)


@pytest.fixture
def source(in_order: None, tmp_path: Path) -> Storage:
    """Give a plain store: two media with the same bytes, one large, one that goes, one that is held."""
    world = fresh_world(MEMORY, tmp_path, first=True)
    store = world.open()
    for run, data, policy in (("r1", b"same", None), ("r2", b"same", "retain-9days"), ("r3", b"large" * 900, None)):
        metadata = MediaMetadata(run_id=run, session_id="s", policy_name=policy)
        found = store.store_media(MediaContent.from_bytes(data, "text/plain"), metadata)
    store.hold(found, "stays")
    return world.storage


def check(source: Storage, target: Storage) -> None:
    """Whatever happened: what is listed is whole, held where it was, and noticed when its time comes."""
    listed = list(opened(target).list())
    there = media_of(target)  # also compares digests and markers
    wanted = {(data, json.dumps(sidecar)): (hold, len(due)) for data, sidecar, hold, due in media_of(source).values()}
    assert len(there) == len(listed)
    for data, sidecar, hold, due in there.values():
        assert (hold, len(due)) == wanted[data, json.dumps(sidecar)]


def sweep_twice(store: MediaStore) -> None:
    for _ in range(2):  # marks go once the data are gone
        assert store.verify(repair="leftovers", grace=timedelta(0), nobody_writes=True).failed == ()


def finish(source: Storage, target: Storage, settings: dict[str, Any]) -> None:
    """Sync again: each media once, and what the first one left goes with a sweep."""
    report = synced(source, target, **settings)
    assert report.failed == report.skipped == ()
    again = synced(source, target, **settings)
    assert (again.copied, again.updated, again.unchanged) == (0, 0, 3)
    check(source, target)
    assert len(list(opened(target).list())) == 3
    store = opened(target)
    sweep_twice(store)
    check(source, target)
    for each in list(store.list()):
        store.release(each)
        store.delete_media(each)
    sweep_twice(store)
    left = {key.split("/")[1] for key in target.keys()}  # noqa: SIM118
    # A hold for a name that no media ever had may stay: nobody can tell that it is not about to be needed.
    assert left - {"holds"} <= {"store.json", "references"}, target.keys()


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_a_sync_that_is_killed(place: Place, source: Storage) -> None:
    for faults in replace(place, full_run=place.full_run and place.level == "calls").crashes():
        target = fresh_world(place.kind, place.tmp_path, first=True).storage
        with faulty(faults, place.level), suppress(Crash):  # the source is only read
            synced(source, target, **place.options)
        check(source, target)
        finish(source, target, place.options)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.FAIL, Fault.BROKEN])
@pytest.mark.parametrize("settings", [{}, {"deduplicate": True}], ids=["plain", "shared"])
def test_a_sync_without_an_answer(fault: Fault, settings: dict[str, Any], source: Storage, tmp_path: Path) -> None:
    references = set(opened(source).list())
    for faults in each_fault(fault):
        target = fresh_world(MEMORY, tmp_path, first=True).storage
        with faulty(faults, "calls"), suppress(StorageError):  # where the settings can't be written
            report = synced(source, target, **settings)
            assert report.failed or faults.hit is None
            assert {each.reference for each in report.failed} <= references
        check(source, target)
        finish(source, target, settings)


def test_deleting_what_the_source_has_not_is_killed(source: Storage, tmp_path: Path) -> None:
    for settings in ({}, {"deduplicate": True}):
        for faults in each_fault(Fault.TORN):
            target = fresh_world(MEMORY, tmp_path, first=True).storage
            synced(source, target, **settings)
            metadata = MediaMetadata(run_id="r9", policy_name="retain-2days")
            extra = opened(target).store_media(MediaContent.from_bytes(b"same", "text/plain"), metadata)
            with faulty(faults, "calls"), suppress(Crash):
                synced(source, target, delete=True, **settings)
            synced(source, target, delete=True, **settings)
            assert not opened(target).exists(extra)
            finish(source, target, settings)


# -- these tests can fail ----------------------------------------------------------------------------------
ORDERS = [(0, 1, 2, 4, 3, 5), (1, 2, 3, 4, 5, 0), (0, 2, 3, 4, 1, 5)]


@pytest.mark.parametrize("order", ORDERS, ids=["a sidecar before its bytes", "a hold too late", "a due entry too late"])
def test_a_wrong_order_is_caught(
    order: tuple[int, ...], source: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = commit.run_steps

    def wrong(steps: Any, items: Any) -> Any:
        return take([steps[at] for at in order] if len(steps) == len(order) else steps, items)

    monkeypatch.setattr(commit, "run_steps", wrong)
    with pytest.raises((AssertionError, FileNotFoundError)):
        test_a_sync_that_is_killed(Place(MEMORY, "calls", tmp_path), source)


def test_media_that_nobody_looks_for_are_caught(
    source: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "known_media", lambda *_: {})
    with pytest.raises(AssertionError):
        test_a_sync_that_is_killed(Place(MEMORY, "calls", tmp_path, {"deduplicate": True}), source)


# -- requests ----------------------------------------------------------------------------------------------
COUNT = 30


def fill(storage: Any, count: int = COUNT, **settings: Any) -> MediaStore:
    """Store so many media, a third of them with a policy."""
    store = opened(storage, **settings).create()
    metadata = [MediaMetadata(run_id="r1", policy_name=policy) for policy in ("retain-9days", None, None)]
    contents = (MediaContent.from_bytes(b"text %d" % at, "text/plain") for at in range(count))
    store.store_many((content, metadata[at % 3]) for at, content in enumerate(contents))
    return store


def beside(storage: ObjectStorage) -> ObjectStorage:
    """Return another root of the same server."""
    return type(storage)(storage.name, *storage.server.new_root("lab/other"), storage.server)


def test_to_s3(local_storage: LocalStorage, moto_storage: S3Storage) -> None:
    """Two listings, of media and of holds; then two PUT a media, three with a policy. Again: a GET each."""
    fill(local_storage)
    # The settings: looked at when the root is opened and in the two folders above, made under a condition, read back;
    # nothing lies there yet.
    budget = {"get": 4, "head": 1, "list": 3, "put": 1 + 2 * COUNT + COUNT // 3}
    assert costs(moto_storage, lambda: synced(local_storage, moto_storage), **budget).copied == COUNT
    again = costs(moto_storage, lambda: synced(local_storage, moto_storage), get=1 + COUNT, list=2)
    assert again.unchanged == COUNT
    # A listing of one run does not show whether the folder of all runs is another store's.
    wishes = {"run_id": "r1", "dry_run": True, "delete": True}
    plan = costs(moto_storage, lambda: synced(local_storage, moto_storage, **wishes), get=1 + COUNT, head=1, list=2)
    assert plan.unchanged == COUNT


def test_from_s3(moto_storage: S3Storage, local_storage: LocalStorage) -> None:
    """A GET for each sidecar, and one for the bytes of what is copied."""
    store = fill(moto_storage)
    assert costs(moto_storage, lambda: store.sync_to(local_storage.url), get=2 * COUNT, list=2).copied == COUNT
    assert costs(moto_storage, lambda: store.sync_to(local_storage.url), get=COUNT, list=2).unchanged == COUNT


@pytest.mark.parametrize("name", [S3_MOTO, GCS])
def test_within_one_storage(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The storage copies the bytes: a copy and a look each, none of them passes here."""
    storage = make_storage(name, request, tmp_path)
    store, target = fill(storage), beside(storage)
    report, n = counted(storage, lambda: synced(storage, target))
    assert report.failed == ()
    assert n["copy"] == COUNT, n
    if name == S3_MOTO:
        assert n["get"] == COUNT + 5, n  # the sidecars, and the settings of both and of the two folders above
        assert n["head"] == COUNT + 1, n
        assert n["put"] == 1 + COUNT + COUNT // 3, n
    assert media_of(target) == media_of(storage)
    first = next(store.list())
    assert target.content_type(first) == storage.content_type(first) == "text/plain"


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "shared"])
def test_shared_bytes_are_copied_within_one_storage(deduplicate: bool, object_storage: ObjectStorage) -> None:
    store, target = opened(object_storage, deduplicate=True), beside(object_storage)
    for at in range(9):
        store.store_media(MediaContent.from_bytes(b"text %d" % (at % 3), "text/plain"), MediaMetadata(run_id="r1"))
    report, n = counted(object_storage, lambda: synced(object_storage, target, deduplicate=deduplicate))
    assert report.failed == ()
    assert n["copy"] == (3 if deduplicate else 9), n
    assert not [call for call in n.calls if call.kind == "get" and "/data/" in call.key and "?alt" in call.target], n
    assert media_of(target) == media_of(object_storage)


def test_shared_bytes_go_once(object_storage: ObjectStorage, local_storage: LocalStorage) -> None:
    """What the target has already is neither read nor sent."""
    store = opened(object_storage, deduplicate=True)
    for run in ("r1", "r2", "r3"):
        store.store_media(MediaContent.from_bytes(b"the same", "text/plain"), MediaMetadata(run_id=run))
    report, n = counted(object_storage, lambda: store.sync_to(local_storage.url))
    assert report.copied == 3
    assert len([call for call in n.calls if "/data/" in call.key and call.kind == "get"]) == 1, n.calls


# -- a wrong byte on the way -------------------------------------------------------------------------------
@contextmanager
def spoiling(server: S3Server, sound: bytes, spoiled: bytes, *, answers: bool) -> Iterator[str]:
    """Stand before a server, and change bytes in its answers, or in what is sent to it; gives the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = server.direct_url.removeprefix("http://").split(":")

    def pump(source: socket.socket, sink: socket.socket, *, spoil: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data.replace(sound, spoiled) if spoil else data)
            sink.shutdown(socket.SHUT_WR)

    opened: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                client = listener.accept()[0]
                there = socket.create_connection((host, int(port)))
                opened.extend((client, there))
                for pair, spoil in (((client, there), not answers), ((there, client), answers)):
                    threading.Thread(target=pump, args=pair, kwargs={"spoil": spoil}, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for each in opened:
            each.close()


SOUND, SPOILED = b"these bytes travel", b"these bytes travol"


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "shared"])
@pytest.mark.parametrize("sent", [False, True], ids=["read", "sent"])
def test_a_wrong_byte_on_the_way(
    sent: bool, deduplicate: bool, moto_storage: S3Storage, rclone_storage: S3Storage, local_storage: LocalStorage
) -> None:
    """What is read wrong is not stored, and what is sent wrong is seen when all is read again."""
    source, target = (local_storage, moto_storage) if sent else (rclone_storage, local_storage)
    store, far = fill(source, 2), target if sent else source
    reference = store.store_media(MediaContent.from_bytes(SOUND, "text/plain"), MediaMetadata(run_id="r1"))
    with spoiling(far.server, SOUND, SPOILED, answers=not sent) as url:
        options = {**far.options, "endpoint_url": url}
        if sent:
            wishes = {"storage_options": options, "verify_copies": "read"}
        else:
            store, wishes = MediaStore(far.url, storage_options=options), {}
        report = store.sync_to(target.url, deduplicate=deduplicate, **wishes)
    assert [each.reference for each in report.failed] == [reference]
    assert isinstance(report.failed[0].error, StorageError) or not sent
    assert ("the target has" if sent else "other bytes") in str(report.failed[0].error)
    assert len(media_of(target)) == report.copied == 2
    assert synced(source, target).copied == 1
    assert media_of(target) == media_of(source)


def test_a_copy_within_the_storage_can_be_read(moto_storage: S3Storage) -> None:
    store = fill(moto_storage, 2)
    wrong = next(store.list())
    moto_storage.write(wrong, b"text X")
    for check, failed in (("size", 0), ("read", 1)):
        target = beside(moto_storage)
        report = synced(moto_storage, target, verify_copies=check)
        assert len(report.failed) == failed, "a copy that nobody reads can't be told"
        assert report.copied == 2 - failed
    assert len(media_of(target)) == 1
