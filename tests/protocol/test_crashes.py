"""A process dies at every step of a store and a delete, or the power fails; the next one finds whole media only.

Seen from outside the order of writes shows in one thing: there is never a sidecar without bytes. What
`durability="fsync"` promises is proved on the recorded order of system calls, whatever the disk keeps back.
"""

from collections.abc import Callable
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

from fsmedia.core import commit, ingest
from fsmedia.storage import local
from tests.protocol.disk import check_delete, check_store
from tests.protocol.faults import Fault, Faults, faulty_os
from tests.protocol.worlds import DATA, STORE_JSON, WAYS, Place, World, each_fault, empty_folders, fresh_world, put, run
from tests.storages import LOCAL, MEMORY

PLACES = [
    pytest.param((MEMORY, "calls"), id="memory"),
    pytest.param((LOCAL, "calls"), id="local"),
    pytest.param((LOCAL, "syscalls", {"durability": "fsync"}), id="local-syscalls-fsync"),
    # What a rename alone does is among the calls of an fsync.
    pytest.param((LOCAL, "syscalls", {"durability": "rename"}), marks=pytest.mark.full, id="local-syscalls-rename"),
]
PLACE = pytest.mark.parametrize("place", PLACES, indirect=True)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small sources come in several pieces."""
    monkeypatch.setattr(ingest, "CHUNK_BYTES", 1000)


def delete_and_crash(place: Place, *, first: bool) -> None:
    """Delete with a crash, look at what is there, then delete again: it leaves nothing."""
    for faults in place.crashes():
        world = place.world(first=first)
        reference = put(world.open(), "bytes", place.tmp_path)
        before = world.storage.keys()
        place.run(world, faults, methodcaller("delete_media", reference))
        assert world.check(besides=DATA["bytes"]) in ([reference], [])
        if faults.hit is None:
            assert world.check() == []
        world.open().delete_media(reference)
        assert world.check() == []
        assert world.storage.keys() == before - {reference, f"{reference}.meta"}
        assert empty_folders(world.storage) == set()


@pytest.mark.parametrize("first", [True, False], ids=["first-write", "later-write"])
@pytest.mark.parametrize("way", WAYS)
@PLACE
def test_a_store_that_is_killed(place: Place, way: str, first: bool) -> None:
    """Look at what is there, then store again."""
    for faults in place.crashes():
        world = place.world(first=first)
        reference = place.run(world, faults, lambda store: put(store, way, place.tmp_path))
        extra = world.check(besides=DATA[way])
        assert len(extra) <= 1
        if reference is not None:
            assert extra == [reference], "the store answered"
        again = put(world.open(), way, place.tmp_path)
        assert sorted(world.check(besides=DATA[way])) == sorted([*extra, again])
        assert world.storage.read(STORE_JSON)
        for left in (*extra, again):
            world.open().delete_media(left)
        assert world.check() == []


@PLACE
def test_a_delete_that_is_killed(place: Place) -> None:
    delete_and_crash(place, first=False)


@pytest.mark.parametrize("place", [(LOCAL, "syscalls"), (MEMORY, "calls")], indirect=True, ids=[LOCAL, MEMORY])
def test_a_delete_of_the_last_media_that_is_killed(place: Place) -> None:
    delete_and_crash(place, first=True)


@PLACE
def test_a_creation_that_is_killed(place: Place) -> None:
    for faults in place.crashes():
        world = place.world(first=True)
        place.run(world, faults, lambda store: store.create())
        assert world.check() == []
        world.open().create()
        assert {key for key in sorted(world.storage.keys()) if ".tmp-" not in key} == {STORE_JSON}


@pytest.mark.parametrize("way", WAYS)
@PLACE
def test_a_crash_of_the_first_write_does_not_make_the_root_a_strangers(place: Place, way: str) -> None:
    """An adopted store reads every sidecar for `list(run_id=...)`, for ever; a leftover of ours is no stranger's."""
    for faults in each_fault(Fault.CRASH_AFTER):
        world = place.world(first=True)
        place.run(world, faults, lambda store: put(store, way, place.tmp_path))
        put(world.open(), way, place.tmp_path)
        assert b"adopted" not in world.storage.read(STORE_JSON), f"after {faults.hit}"


# -- these tests can fail ----------------------------------------------------------------------------------
@pytest.mark.parametrize(("kind", "level"), [(MEMORY, "calls"), (LOCAL, "syscalls")])
@pytest.mark.parametrize("steps", ["STORE", "DELETE"])
def test_a_wrong_order_is_caught(
    steps: str, kind: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, steps, getattr(commit, steps)[::-1])
    killed = {
        "STORE": partial(test_a_store_that_is_killed, way="bytes", first=False),
        "DELETE": test_a_delete_that_is_killed,
    }
    with pytest.raises(AssertionError, match="sidecar without bytes"):
        killed[steps](Place(kind, level, tmp_path))


def test_a_write_in_place_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if bytes did not go to a temporary name first."""
    names = iter(range(10**6))
    monkeypatch.setattr(local.keys, "temporary_name", lambda: f"visible-{next(names)}.txt")
    with pytest.raises(AssertionError, match="assert b"):
        test_a_store_that_is_killed(Place(LOCAL, "syscalls", tmp_path), "bytes", first=False)


def test_the_dead_tidy_nothing_up(tmp_path: Path) -> None:
    """The temporary file of a killed process stays: these crashes are not mere exceptions."""
    left = 0
    for faults in each_fault(Fault.CRASH_AFTER):
        world = fresh_world(LOCAL, tmp_path)
        run(world, faults, "syscalls", lambda store: put(store, "stream", tmp_path))
        keys = world.storage.keys()
        left += any("/.tmp-" in key for key in keys)
    assert left > 3


# -- a power cut ------------------------------------------------------------------------------------------------
def recorded(world: World, operation: Callable[[Any], Any]) -> tuple[list[tuple[str, ...]], Any]:
    """Return the system calls of an operation, and what it returned."""
    faults = Faults(fault=Fault.NONE)
    with faulty_os(faults):
        answer = operation(world.open())
    return faults.done, answer


def stored(tmp_path: Path, way: str = "bytes", durability: str = "fsync") -> tuple[World, list[tuple[str, ...]], str]:
    """Store the first media; return its store, the system calls, and its name."""
    world = fresh_world(LOCAL, tmp_path, first=True, durability=durability)
    return world, *recorded(world, lambda store: put(store, way, tmp_path))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_store_survives_a_power_cut(way: str, first: bool, tmp_path: Path) -> None:
    world = fresh_world(LOCAL, tmp_path, first=first, durability="fsync")
    calls, reference = recorded(world, lambda store: put(store, way, tmp_path))
    assert check_store(calls, world.storage.url, reference) == []


def test_the_settings_survive_a_power_cut(tmp_path: Path) -> None:
    world, calls, reference = stored(tmp_path)
    names = [(call[0], call[-1].removeprefix(f"{world.storage.url}/")) for call in calls]
    made = names.index(("link", STORE_JSON))
    assert calls[made - 1] == ("fsync", calls[made][1])
    assert names[made + 1] == ("fsync", ".fsmedia")
    assert made + 1 < names.index(("rename", reference)), "media appear in a store without settings"


def test_a_folder_is_synced_where_it_was_made(tmp_path: Path) -> None:
    world, calls, _ = stored(tmp_path)
    root = world.storage.url
    made = {call[1]: number for number, call in enumerate(calls) if call[0] == "mkdir"}
    assert {path.removeprefix(root) for path in made} == {"", "/.fsmedia", "/runs", "/runs/r1"}
    for folder, number in made.items():
        synced = calls.index(("fsync", folder.rpartition("/")[0]), number)
        used = next(n for n, call in enumerate(calls) if call[0] in ("rename", "link") and call[-1].startswith(folder))
        assert synced < used, f"{folder} held something before its own name was durable"


def test_a_delete_survives_a_power_cut(tmp_path: Path) -> None:
    world = fresh_world(LOCAL, tmp_path, durability="fsync")
    reference = put(world.open(), "bytes", tmp_path)
    calls, _ = recorded(world, lambda store: store.delete_media(reference))
    assert check_delete(calls, world.storage.url, reference) == []


def test_rename_does_not_sync(tmp_path: Path) -> None:
    world, calls, reference = stored(tmp_path, "stream", "rename")
    more, _ = recorded(world, lambda store: store.delete_media(reference))
    assert "fsync" not in {call[0] for call in calls + more}
    assert ("rename", f"{world.storage.url}/{reference}") in [(call[0], call[-1]) for call in calls]


@pytest.mark.parametrize("forgotten", ["files", "folders"])
def test_forgotten_syncs_are_caught(forgotten: str, tmp_path: Path) -> None:
    """The model of a disk sees each fsync that is not made: take them out of the record one by one."""
    world, calls, reference = stored(tmp_path)
    root = world.storage.url
    mine = [
        number
        for number, call in enumerate(calls)
        if call[0] == "fsync" and ("/.tmp-" in call[1]) == (forgotten == "files") and "/.fsmedia" not in call[1]
    ]
    caught = [number for number in mine if check_store(calls[:number] + calls[number + 1 :], root, reference)]
    # The root's parent is synced for the root's own name, which lies outside of what is modelled here.
    outside = {number for number in mine if len(calls[number][1]) < len(root)}
    assert set(mine) - set(caught) <= outside | {number for number in mine if calls[number][1] == root}
    assert len(caught) >= 2
    if forgotten == "folders":
        deleted, _ = recorded(world, lambda store: store.delete_media(reference))
        first = next(number for number, call in enumerate(deleted) if call[0] == "fsync")
        assert check_delete(deleted[:first] + deleted[first + 1 :], root, reference)


def test_wrong_orders_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "STORE", commit.STORE[::-1])
    monkeypatch.setattr(commit, "DELETE", commit.DELETE[::-1])
    world, calls, reference = stored(tmp_path, "stream")
    assert check_store(calls, world.storage.url, reference)
    calls, _ = recorded(world, lambda store: store.delete_media(reference))
    assert check_delete(calls, world.storage.url, reference)


def test_a_folder_that_the_dead_left_unsynced_survives_a_power_cut(tmp_path: Path) -> None:
    """A process is killed between making a folder and syncing its name; the next one only finds that it is there."""
    for number in range(1, 30):
        world = fresh_world(LOCAL, tmp_path, first=True, durability="fsync")
        faults = Faults(number, Fault.CRASH_AFTER)
        run(world, faults, "syscalls", lambda store: put(store, "bytes", tmp_path))
        calls, reference = recorded(world, lambda store: put(store, "bytes", tmp_path))
        assert check_store([*faults.done, *calls], world.storage.url, reference) == [], f"after {faults.hit}"
        if faults.hit is None:
            break
