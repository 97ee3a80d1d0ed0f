"""Each kind of damage: found, told before anything is done, mended as told, and then the store is whole.

And a repair that dies, or whose storage fails, at every step of every kind: repairing again ends it, nothing is lost.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaNotFoundError, MediaStore, StorageError
from fsmedia.format import keys
from fsmedia.maintenance import repair
from fsmedia.storage import local, memory
from tests.contract.specimens import AT_ONCE, PNG, raised, traces
from tests.protocol.faults import Fault
from tests.protocol.worlds import World, each_fault, fresh_world, run
from tests.storages import LOCAL, MEMORY, Storage
from tests.transfers import opened
from tests.verify.damages import ANYWHERE, OTHER, PLAIN, PLAIN_DEEP, REPAIR, SHARED, SHARED_DEEP, Made, Media, damaged

# How the store keeps its bytes, and how it is looked at.
CASES: list[Any] = [
    *((name, "plain") for name in (*ANYWHERE, *PLAIN)),
    *((name, "plain, deep") for name in (*PLAIN, *PLAIN_DEEP)),
    *((name, "shared") for name in SHARED),
    *((name, "shared, deep") for name in (*SHARED, *SHARED_DEEP)),
    *(pytest.param(name, "shared", marks=pytest.mark.full) for name in ANYWHERE),
]


@pytest.mark.parametrize(("name", "how"), CASES)
def test_damage_is_found_planned_mended_and_gone(
    name: str, how: str, storage: Storage, open_store: Callable[..., MediaStore]
) -> None:
    media, made = damaged(storage, name, shared="shared" in how)
    before = traces(storage)
    store, deep = open_store(), "deep" in how

    report = store.verify(deep=deep)
    assert report.failed == ()
    assert {(each.kind, each.key) for each in report.findings} >= made.found
    dry = store.verify(deep=deep, repair=True, dry_run=True, **AT_ONCE)
    assert {(each.kind, each.key) for each in dry.findings} == made.found
    # A catalog that is behind is nothing wrong: whoever asks it brings it up to date.
    assert dry.whole == (not made.found or name == "catalog_that_is_behind")
    assert traces(storage) == before, "a look or a plan wrote something"

    mended = store.verify(deep=deep, repair=True, **AT_ONCE)
    assert mended.failed == ()
    told, done = ({(each.kind, each.key, each.detail, each.repair) for each in of.findings} for of in (dry, mended))
    assert done >= told, "what was done is not what was told"
    assert all(each.done for each in mended.findings), mended.findings
    assert mended.whole
    again = store.verify(deep=True, repair=True, dry_run=True, **AT_ONCE)
    assert (again.counts, again.whole) == ({}, True), again.findings
    # Every media but those that went is there, whole.
    store = open_store()
    listed = set(store.list())
    assert listed & set(media) == set(media) - made.gone
    for reference, data in zip(media, (PNG, PNG, OTHER, PNG + b"named"), strict=True):
        if reference in made.gone:
            raised(MediaNotFoundError, store.retrieve_media, reference)
        else:
            assert store.retrieve_media(reference).read_bytes() == data or reference == media.named
            assert store.info(reference).run_id == reference.split("/")[1]
    hidden = {key for key in sorted(storage.keys()) if key.startswith(keys.QUARANTINE)}
    assert not hidden & listed
    # What went out of sight lies in quarantine: no bytes are lost that anybody could still read.
    if made.gone and any(kind in ("size", "digest", "sidecar") for kind, _ in made.found):
        saved = [storage.read(key) for key in hidden]
        for reference in made.gone:
            assert before[keys.bytes_key(reference)] in saved
            assert before[keys.sidecar_key(reference)] in saved


@pytest.mark.parametrize(
    ("name", "how"),
    [("upload_that_nobody_finished", "plain"), ("sidecar_torn", "plain"), ("bytes_cut", "plain"),
     ("shared_bytes_gone", "shared")],
)  # fmt: skip
def test_damage_on_s3(name: str, how: str, moto_storage: Storage) -> None:
    """Of what storages share one of each kind of repair is enough here; the rest at full size."""
    test_damage_is_found_planned_mended_and_gone(name, how, moto_storage, partial(opened, moto_storage))


@pytest.mark.parametrize(("name", "how"), CASES)
def test_what_is_young_stays(name: str, how: str, memory_storage: Storage) -> None:
    """A repair that keeps to the store's grace only adds what is missing; it moves and removes nothing."""
    media, _ = damaged(memory_storage, name, shared="shared" in how)
    before = traces(memory_storage)
    report = MediaStore(memory_storage.url).verify(deep="deep" in how, repair=True)
    after = traces(memory_storage)
    changed = {key for key in before if after.get(key) != before[key]}
    # Facts of a sidecar, and the bytes of another copy, may be given at once: nothing is taken away by that.
    assert changed <= {f"{each}.meta" for each in media} | {keys.bytes_key(media.one)}
    assert before.keys() <= after.keys()
    assert all(each.done or each.harmless or "grace" in each.repair for each in report.findings if each.repair)


# -- a repair that dies, or gets no answer -------------------------------------------------------------------

SOME = [*((name, False) for name in (*PLAIN, *PLAIN_DEEP)), *((name, True) for name in (*SHARED, *SHARED_DEEP))]
"""What a repair moves: for what is asked with every kind of missing answer."""
ALL: list[Any] = [
    *((name, False) for name in ANYWHERE if name != "upload_that_nobody_finished"),
    *SOME,
    *(pytest.param(name, True, marks=pytest.mark.full) for name in ANYWHERE if name != "upload_that_nobody_finished"),
]


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another: which call is the fifth must be the same each time."""
    monkeypatch.setattr(local.LocalBackend, "concurrency", 1)


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


def repaired(place: str, level: str, fault: Fault, name: str, shared: bool, tmp_path: Path, look: Any = None) -> None:
    """Repair one damage with a fault at call 1, 2, 3, ...; what died before it was done, repair again."""
    for faults in each_fault(fault):
        world = fresh_world(place, tmp_path, first=True, durability="rename")
        media, made = damaged(world.storage, name, shared=shared)
        before = {key: data for key, data in traces(world.storage).items() if data != b"folder"}
        with suppress(*([StorageError] if look else [])):  # the look at the storage's clock
            report = run(world, faults, level, lambda store: store.verify(**REPAIR))
            if look:
                look(world, report, faults)
        check(world, media, made, before)
        # What a repair removed that died may need one more, as leftovers of it.
        for _ in range(2):
            report = world.open().verify(**REPAIR)
            assert report.failed == (), report.failed
            assert report.whole, report.findings
        report = world.open().verify(dry_run=True, **REPAIR)
        assert report.counts == {}, report.findings
        check(world, media, made, before)
        assert set(world.open().list()) & set(media) == set(media) - made.gone


@pytest.mark.usefixtures("in_order")
@pytest.mark.parametrize(("name", "shared"), ALL)
def test_a_repair_that_is_killed(name: str, shared: bool, tmp_path: Path) -> None:
    repaired(MEMORY, "calls", Fault.CRASH_AFTER, name, shared, tmp_path)


@pytest.mark.full
@pytest.mark.usefixtures("in_order")
@pytest.mark.parametrize(("name", "shared"), ALL)
def test_a_repair_that_is_killed_on_disk(name: str, shared: bool, tmp_path: Path) -> None:
    repaired(LOCAL, "syscalls", Fault.TORN, name, shared, tmp_path)


@pytest.mark.usefixtures("in_order")
@pytest.mark.parametrize(
    "fault", [Fault.LOST, *(pytest.param(each, marks=pytest.mark.full) for each in (Fault.FAIL, Fault.BROKEN))]
)
@pytest.mark.parametrize(("name", "shared"), SOME)
def test_a_repair_without_an_answer(name: str, shared: bool, fault: Fault, tmp_path: Path) -> None:
    """What was not answered is in the report, or the whole call fails; nothing is said to be done that is not."""

    def look(world: World, report: Any, faults: Any) -> None:
        assert not report.whole or world.open().verify(deep=True).whole
        assert report.failed or report.whole or not faults.hit

    repaired(MEMORY, "calls", fault, name, shared, tmp_path, look)


# -- these tests can fail ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_order")
def test_a_copy_that_comes_too_late_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quarantine after the delete: who dies between loses the bytes."""
    real = repair.Repairer._set_aside_whole

    def late(self: Any, reference: str, look: Any, content: Any, why: str) -> None:
        repair._delete_media(self.context, reference, look.sidecar, self.result)
        real(self, reference, look, content, why)

    monkeypatch.setattr(repair.Repairer, "_set_aside_whole", late)
    with pytest.raises(AssertionError, match=r"bytes are lost|went while it was copied"):
        test_a_repair_that_is_killed("bytes_cut", False, tmp_path)


def test_a_copy_that_is_not_compared_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that copies half: the original must stay, and the failure is told."""
    world = fresh_world(MEMORY, tmp_path, first=True, durability="rename")
    media, _ = damaged(world.storage, "bytes_cut", shared=False)
    monkeypatch.setattr(memory.MemoryBackend, "copy", lambda self, _, target, kind: self.write(target, b"half", kind))
    report = world.open().verify(**REPAIR)
    assert [str(each.reference) for each in report.failed] == [media.one]
    assert world.storage.read(media.one) == PNG[:-1]
