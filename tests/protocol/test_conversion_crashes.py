"""A conversion dies, or its storage fails, at every step; nothing is lost, and converting again finishes it."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.format import keys
from fsmedia.maintenance import dedupe
from tests.protocol.faults import CRASHES, Fault, Faults
from tests.protocol.worlds import World, each_call, fresh_world, run
from tests.storages import LOCAL, MEMORY

if TYPE_CHECKING:
    from pathlib import Path

PLACES = [
    pytest.param(MEMORY, "calls", {}, id="memory"),
    pytest.param(LOCAL, "calls", {}, id="local"),
    pytest.param(LOCAL, "syscalls", {"durability": "rename"}, id="local-syscalls"),
]
SHARED, ALONE = b"shared" * 400, b"alone" * 300
STEM = len("runs/rN/0000_00_u") + 26


@pytest.fixture(autouse=True)
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another: which call is the fifth must be the same each time."""
    from fsmedia.storage import local

    monkeypatch.setattr(local.LocalBackend, "concurrency", 1)


def filled(kind: str, tmp_path: Path, **options: Any) -> tuple[World, dict[str, bytes], str]:
    """Return a plain store: two media with the same bytes, one with a policy, one that is held."""
    world = fresh_world(kind, tmp_path, first=True, **options)
    store = world.open()
    found = {
        store.store_media(
            MediaContent.from_bytes(data, "text/plain"), MediaMetadata(run_id=name, policy_name=policy)
        ): data
        for name, data, policy in (("r1", SHARED, None), ("r2", SHARED, "retain-9days"), ("r3", ALONE, None))
    }
    held = store.store_media(MediaContent.from_bytes(SHARED, "text/plain"), MediaMetadata(run_id="r4"))
    store.hold(held, "stays")
    return world, found, held


def check(world: World, found: dict[str, bytes], held: str) -> None:
    """Whatever happened: each media is there at least once, whole, under its old name too."""
    store = world.open()
    listed = list(store.list())
    assert held in listed
    by_stem = {old[:STEM]: data for old, data in found.items()}
    assert {each[:STEM] for each in listed if each != held} == set(by_stem), "a media is lost"
    for reference in listed:
        data = SHARED if reference == held else by_stem[reference[:STEM]]
        assert store.retrieve_media(reference).read_bytes() == data
        record = store.info(reference)
        assert record.sha256 == hashlib.sha256(data).hexdigest()
        assert record.policy_name == ("retain-9days" if record.run_id == "r2" else None)
        due = [key for key in world.storage.keys() if key.startswith(keys.DUE) and key.endswith(f"/{reference}")]  # noqa: SIM118
        assert len(due) == (record.run_id == "r2"), "a policy is lost"
    for old, data in found.items():
        # Between two conversions the settings may not say yet that media share.
        assert store.retrieve_media(old).read_bytes() == data


def finish(world: World, found: dict[str, bytes], held: str) -> None:
    """Convert again: each media once, what moved stands in the store, and a sweep leaves nothing else."""
    report = world.open().deduplicate()
    assert report.failed == ()
    check(world, found, held)
    store = world.open()
    listed = list(store.list())
    assert len(listed) == len(found) + 1, "a media is there twice"
    new = {each[:STEM]: each for each in listed if each != held}
    told = {}
    for key in sorted(world.storage.keys()):
        if key.startswith(keys.REFERENCES) and not keys.is_temporary(key):
            told.update({line["old"]: line["new"] for line in map(json.loads, world.storage.read(key).splitlines())})
    assert told == {old: new[old[:STEM]] for old in found}, "nobody knows what a media is called now"
    for _ in range(2):  # marks go once the data are gone
        assert store.sweep_orphans(grace=timedelta(0), nobody_writes=True).failed == ()
    check(world, found, held)
    for each in new.values():
        store.delete_media(each)
    store.release(held)
    store.delete_media(held)
    for _ in range(2):  # markers of an attempt that died go once their media is gone
        assert store.sweep_orphans(grace=timedelta(0), nobody_writes=True).failed == ()
    left = {key.split("/")[1] for key in world.storage.keys()}  # noqa: SIM118
    assert left == {"store.json", "references"}, world.storage.keys()


@pytest.mark.parametrize(("kind", "level", "options"), PLACES)
def test_a_conversion_that_is_killed(kind: str, level: str, options: dict[str, str], tmp_path: Path) -> None:
    # Killed before a call is killed after the one before it; of the many system calls one kind will do.
    for fault in CRASHES if level == "calls" else (Fault.TORN,):
        for faults in each_call(partial(Faults, fault=fault)):
            world, found, held = filled(kind, tmp_path, **options)
            run(world, faults, level, MediaStore.deduplicate)
            check(world, found, held)
            finish(world, found, held)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.FAIL, Fault.BROKEN])
@pytest.mark.parametrize("kind", [MEMORY, LOCAL])
def test_a_conversion_without_an_answer(kind: str, fault: Fault, tmp_path: Path) -> None:
    for faults in each_call(partial(Faults, fault=fault)):
        world, found, held = filled(kind, tmp_path)
        with suppress(StorageError):  # where the settings can't be written
            report = run(world, faults, "calls", MediaStore.deduplicate)
            assert all(str(each.reference) in found for each in report.failed)
        check(world, found, held)
        finish(world, found, held)


def test_a_conversion_that_is_killed_twice(tmp_path: Path) -> None:
    """The second one meets what the first one left."""
    for first in each_call(partial(Faults, fault=Fault.TORN)):
        for faults, second in ((first, 4), (Faults(first.at, Fault.TORN), 11)):
            world, found, held = filled(MEMORY, tmp_path)
            run(world, faults, "calls", MediaStore.deduplicate)
            run(world, Faults(second, Fault.CRASH_AFTER), "calls", MediaStore.deduplicate)
            check(world, found, held)
            finish(world, found, held)


# -- these tests can fail ----------------------------------------------------------------------------------


def test_an_old_media_that_goes_first_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = dedupe._stored

    def too_early(turns: Any, context: Any, outcome: Any) -> Any:
        for turn in turns:
            turn.backend.delete([f"{turn.reference}.meta"])
            monkeypatch.setattr(dedupe.Conversion, "_compare", lambda *_: None)
        return stored(turns, context, outcome)

    monkeypatch.setattr(dedupe, "_stored", too_early)
    with pytest.raises(AssertionError, match=r"lost|nobody knows"):
        test_a_conversion_that_is_killed(MEMORY, "calls", {}, tmp_path)


def test_a_twin_that_nobody_looks_for_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedupe.Conversion, "adopt_twin", lambda _: None)
    from fsmedia.core import blobs

    monkeypatch.setattr(blobs, "find_generation", lambda *_: None)
    with pytest.raises(AssertionError, match="there twice"):
        test_a_conversion_that_is_killed(MEMORY, "calls", {}, tmp_path)


def test_a_mapping_that_comes_too_late_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave, delete = dedupe._remove_old, dedupe.commit.delete

    def late(backend: Any, turns: Any, outcome: Any) -> None:
        delete([turn.leaving() for turn in turns])
        leave(backend, turns, outcome)

    monkeypatch.setattr(dedupe, "_remove_old", late)
    with pytest.raises(AssertionError, match="nobody knows"):
        test_a_conversion_that_is_killed(MEMORY, "calls", {}, tmp_path)
