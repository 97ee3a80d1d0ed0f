"""What `durability="fsync"` promises, proved on the recorded order of system calls, whatever the disk keeps back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsmedia.core import commit
from tests.protocol.disk import check_delete, check_store
from tests.protocol.faults import Fault, Faults, faulty_os
from tests.protocol.worlds import STORE_JSON, WAYS, World, fresh_world, put, run
from tests.storages import LOCAL

Calls = list[tuple[str, ...]]


def recorded(world: World, operation: Callable[[Any], Any]) -> tuple[Calls, Any]:
    """Return the system calls of an operation, and what it returned."""
    faults = Faults(fault=Fault.NONE)
    with faulty_os(faults):
        answer = operation(world.open())
    return faults.done, answer


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_store_survives_a_power_cut(way: str, first: bool, tmp_path: Path) -> None:
    world = fresh_world(LOCAL, tmp_path, first=first, durability="fsync")
    calls, reference = recorded(world, lambda store: put(store, way, tmp_path))
    assert check_store(calls, world.storage.url, reference) == []


def test_the_settings_survive_a_power_cut(tmp_path: Path) -> None:
    world = fresh_world(LOCAL, tmp_path, first=True, durability="fsync")
    calls, reference = recorded(world, lambda store: put(store, "bytes", tmp_path))
    names = [(call[0], call[-1].removeprefix(f"{world.storage.url}/")) for call in calls]
    made = names.index(("link", STORE_JSON))
    assert calls[made - 1] == ("fsync", calls[made][1])
    assert names[made + 1] == ("fsync", ".fsmedia")
    assert made + 1 < names.index(("rename", reference)), "media appear in a store without settings"


def test_a_folder_is_synced_where_it_was_made(tmp_path: Path) -> None:
    world = fresh_world(LOCAL, tmp_path, first=True, durability="fsync")
    calls, _ = recorded(world, lambda store: put(store, "bytes", tmp_path))
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
    world = fresh_world(LOCAL, tmp_path, first=True, durability="rename")
    calls, reference = recorded(world, lambda store: put(store, "stream", tmp_path))
    more, _ = recorded(world, lambda store: store.delete_media(reference))
    assert "fsync" not in {call[0] for call in calls + more}
    assert ("rename", f"{world.storage.url}/{reference}") in [(call[0], call[-1]) for call in calls]


@pytest.mark.parametrize("forgotten", ["files", "folders"])
def test_forgotten_syncs_are_caught(forgotten: str, tmp_path: Path) -> None:
    """The model of a disk sees each fsync that is not made: take them out of the record one by one."""
    world = fresh_world(LOCAL, tmp_path, first=True, durability="fsync")
    root = world.storage.url
    calls, reference = recorded(world, lambda store: put(store, "bytes", tmp_path))
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
    world = fresh_world(LOCAL, tmp_path, first=True, durability="fsync")
    calls, reference = recorded(world, lambda store: put(store, "stream", tmp_path))
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
