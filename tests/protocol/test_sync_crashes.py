"""A sync dies, or its target fails, at every step; nothing half is listed, and syncing again finishes it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia import store as transferring
from fsmedia.core import commit
from fsmedia.maintenance import sync, sync_copy
from fsmedia.storage import local
from tests.protocol.faults import Crash, Fault, Faults, FaultyBackend, faulty_os
from tests.protocol.worlds import Place, crashes, each_fault, fresh_world
from tests.storages import LOCAL, MEMORY, Storage
from tests.transfers import media_of, opened, synced

PLACES = [
    pytest.param((MEMORY, "calls"), id="memory"),
    pytest.param((MEMORY, "calls", {"deduplicate": True}), id="memory-shared"),
    pytest.param((LOCAL, "calls", {"organization": "by-session"}), id="local-relaid"),
    pytest.param((LOCAL, "syscalls", {"deduplicate": True}), id="local-syscalls-shared"),
]


@pytest.fixture(autouse=True)
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another: which call is the fifth must be the same each time. And little is large."""
    monkeypatch.setattr(local.LocalBackend, "concurrency", 1)
    monkeypatch.setattr(sync_copy, "SMALL", 2000)


@pytest.fixture
def source(tmp_path: Path) -> Storage:
    """Give a plain store: two media with the same bytes, one large, one that goes, one that is held."""
    world = fresh_world(MEMORY, tmp_path, first=True)
    store = world.open()
    for run, data, policy in (("r1", b"same", None), ("r2", b"same", "retain-9days"), ("r3", b"large" * 900, None)):
        metadata = MediaMetadata(run_id=run, session_id="s", policy_name=policy)
        found = store.store_media(MediaContent.from_bytes(data, "text/plain"), metadata)
    store.hold(found, "stays")
    return world.storage


@contextmanager
def failing(faults: Faults, level: str) -> Iterator[None]:
    """Let the target of a sync have faults; its source is only read."""
    real = transferring.open_backend

    def spoiled(*args: Any, **kwargs: Any) -> FaultyBackend:
        return FaultyBackend(real(*args, **kwargs), faults)

    above = patch.object(transferring, "open_backend", spoiled) if level == "calls" else nullcontext()
    below = faulty_os(faults) if level == "syscalls" else nullcontext()
    with above, below:
        yield


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
    for faults in each_fault(*crashes(place.level, place.full_run and place.level == "calls")):
        target = fresh_world(place.kind, place.tmp_path, first=True).storage
        with failing(faults, place.level), suppress(Crash):
            synced(source, target, **place.options)
        check(source, target)
        finish(source, target, place.options)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.FAIL, Fault.BROKEN])
@pytest.mark.parametrize("settings", [{}, {"deduplicate": True}], ids=["plain", "shared"])
def test_a_sync_without_an_answer(fault: Fault, settings: dict[str, Any], source: Storage, tmp_path: Path) -> None:
    references = set(opened(source).list())
    for faults in each_fault(fault):
        target = fresh_world(MEMORY, tmp_path, first=True).storage
        with failing(faults, "calls"), suppress(StorageError):  # where the settings can't be written
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
            with failing(faults, "calls"), suppress(Crash):
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
