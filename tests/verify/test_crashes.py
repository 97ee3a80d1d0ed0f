"""A repair dies, or its storage fails, at every step of every kind; repairing again ends it, and nothing is lost."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fsmedia import StorageError
from fsmedia.format import keys
from fsmedia.maintenance import repair
from tests.contract.specimens import PNG, traces
from tests.protocol.faults import Fault
from tests.protocol.worlds import World, each_fault, fresh_world, run
from tests.storages import LOCAL, MEMORY
from tests.verify.damages import Anywhere, Made, Media, Plain, PlainDeep, Shared, SharedDeep, kinds
from tests.verify.damages import damaged as damage

CASES: list[Any] = [
    *((kind, name, False) for kind, name in kinds(Anywhere, Plain, PlainDeep)),
    *((kind, name, True) for kind, name in kinds(Anywhere, Shared, SharedDeep)),
]
SAYS_NOTHING = {"upload_that_nobody_finished"}
CASES = [
    pytest.param(case, marks=pytest.mark.full) if case[2] and case[0] is Anywhere else case
    for case in CASES
    if case[1] not in SAYS_NOTHING
]
SOME = [case for case in CASES if isinstance(case, tuple) and case[0] is not Anywhere]
"""What a repair moves: for what is asked with every kind of missing answer."""
REPAIR: dict[str, Any] = {"deep": True, "repair": True, "grace": timedelta(0), "nobody_writes": True}


def named(case: object) -> str:
    return case.__name__ if isinstance(case, type) else {True: "shared", False: ""}.get(case, str(case))  # type: ignore[call-overload]


@pytest.fixture(autouse=True)
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another: which call is the fifth must be the same each time."""
    from fsmedia.storage import local

    monkeypatch.setattr(local.LocalBackend, "concurrency", 1)


def damaged(kind: str, tmp_path: Path, case: tuple[type, str, bool]) -> tuple[World, Media, Made]:
    """Return a store with one damage."""
    world = fresh_world(kind, tmp_path, first=True, durability="rename")
    return world, *damage(world.storage, case[0], case[1], shared=case[2])


def check(world: World, media: Media, made: Made, before: dict[str, bytes]) -> None:
    """Whatever was done: what was whole is, and bytes that could be read lie at their place or in quarantine."""
    listed, now = set(world.open().list()), traces(world.storage)
    kept = [data for key, data in now.items() if key.startswith((keys.QUARANTINE, keys.BLOBS, "runs/"))]
    for reference in media:
        assert reference in listed or reference in made.gone, f"a media is lost: {reference}"
        key, sidecar = keys.bytes_key(reference), f"{reference}.meta"
        if key in before:
            assert before[key] in kept, f"bytes are lost: {reference}"
            # Of a client's sidecar without bytes nothing is kept: a delete that died left it.
            assert before[sidecar] in kept or reference not in made.gone, f"a sidecar is lost: {reference}"


def finish(world: World, media: Media, made: Made, before: dict[str, bytes]) -> None:
    """Repair again; what a repair removed that died may need one more, as leftovers of it."""
    for _ in range(2):
        report = world.open().verify(**REPAIR)
        assert report.failed == (), report.failed
        assert report.whole, report.findings
    report = world.open().verify(deep=True, repair=True, dry_run=True, grace=timedelta(0), nobody_writes=True)
    assert report.counts == {}, report.findings
    check(world, media, made, before)
    listed = set(world.open().list())
    assert listed & set(media) == set(media) - made.gone


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(named, case)))
def test_a_repair_that_is_killed(case: tuple[type, str, bool], tmp_path: Path) -> None:
    for faults in each_fault(Fault.CRASH_AFTER):
        world, media, made = damaged(MEMORY, tmp_path, case)
        before = traces(world.storage)
        run(world, faults, "calls", lambda store: store.verify(**REPAIR))
        check(world, media, made, before)
        finish(world, media, made, before)


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(named, case)))
def test_a_repair_that_is_killed_on_disk(case: tuple[type, str, bool], tmp_path: Path) -> None:
    for faults in each_fault(Fault.TORN):
        world, media, made = damaged(LOCAL, tmp_path, case)
        before = {key: data for key, data in traces(world.storage).items() if data != b"folder"}
        run(world, faults, "syscalls", lambda store: store.verify(**REPAIR))
        check(world, media, made, before)
        finish(world, media, made, before)


@pytest.mark.parametrize(
    "fault", [Fault.LOST, *(pytest.param(each, marks=pytest.mark.full) for each in (Fault.FAIL, Fault.BROKEN))]
)
@pytest.mark.parametrize("case", SOME, ids=lambda case: "-".join(map(named, case)))
def test_a_repair_without_an_answer(case: tuple[type, str, bool], fault: Fault, tmp_path: Path) -> None:
    """What was not answered is in the report, or the whole call fails; nothing is said to be done that is not."""
    for faults in each_fault(fault):
        world, media, made = damaged(MEMORY, tmp_path, case)
        before = traces(world.storage)
        with suppress(StorageError):  # the look at the storage's clock
            report = run(world, faults, "calls", lambda store: store.verify(**REPAIR))
            left = world.open().verify(deep=True)
            assert not report.whole or left.whole
            assert report.failed or report.whole or not faults.hit
        check(world, media, made, before)
        finish(world, media, made, before)


# -- these tests can fail ----------------------------------------------------------------------------------


def test_a_copy_that_comes_too_late_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quarantine after the delete: who dies between loses the bytes."""
    real = repair.Repairer._set_aside_whole

    def late(self: Any, reference: str, look: Any, content: Any, why: str) -> None:
        repair._delete_media(self.context, reference, look.sidecar)
        real(self, reference, look, content, why)

    monkeypatch.setattr(repair.Repairer, "_set_aside_whole", late)
    with pytest.raises(AssertionError, match=r"bytes are lost|went while it was copied"):
        test_a_repair_that_is_killed((Plain, "bytes_cut", False), tmp_path)


def test_a_copy_that_is_not_compared_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that copies half: the original must stay, and the failure is told."""
    from fsmedia.storage import memory

    world, media, _ = damaged(MEMORY, tmp_path, (Plain, "bytes_cut", False))
    monkeypatch.setattr(memory.MemoryBackend, "copy", lambda self, _, target, kind: self.write(target, b"half", kind))
    report = world.open().verify(**REPAIR)
    assert [str(each.reference) for each in report.failed] == [media.one]
    assert world.storage.read(media.one) == PNG[:-1]
