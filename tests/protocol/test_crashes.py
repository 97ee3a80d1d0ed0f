"""A process dies at every step of a store and a delete, or the power fails; the next one finds whole media only.

Of a storage that fails or loses its answers the caller hears, nothing visible is undone, and repeating helps.

Seen from outside the order of writes shows in one thing: there is never a sidecar without bytes. What
`durability="fsync"` promises is proved on the recorded order of system calls, whatever the disk keeps back.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fsmedia import MediaContent, MediaError, MediaMetadata, StorageError
from fsmedia.core import commit, ingest, named
from fsmedia.storage import local
from tests.protocol.disk import check_delete, check_store
from tests.protocol.faults import Fault, Faults, faulty_os, files_of_at_most, no_answer, os_error
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


@pytest.mark.parametrize("first", [False, True], ids=["of-one", "of-the-last"])
@PLACE
def test_a_delete_that_is_killed(place: Place, first: bool) -> None:
    """Look at what is there, then delete again: it leaves nothing."""
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
    killed = {"STORE": partial(test_a_store_that_is_killed, way="bytes"), "DELETE": test_a_delete_that_is_killed}
    with pytest.raises(AssertionError, match="sidecar without bytes"):
        killed[steps](Place(kind, level, tmp_path), first=False)


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
        left += any("/.tmp-" in key for key in sorted(world.storage.keys()))
    assert left > 3


# -- a power cut ------------------------------------------------------------------------------------------------
def recorded(world: World, operation: Callable[[Any], Any]) -> tuple[list[tuple[str, ...]], Any]:
    """Return the system calls of an operation, and what it returned."""
    faults = Faults()
    with faulty_os(faults):
        answer = operation(world.open())
    return faults.done, answer


def stored(tmp_path: Path, way: str = "bytes", durability: str = "fsync") -> tuple[World, list[tuple[str, ...]], str]:
    """Store the first media; return its store, the system calls, and its name."""
    world = fresh_world(LOCAL, tmp_path, first=True, durability=durability)
    return world, *recorded(world, lambda store: put(store, way, tmp_path))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_store_and_its_delete_survive_a_power_cut(way: str, first: bool, tmp_path: Path) -> None:
    world = fresh_world(LOCAL, tmp_path, first=first, durability="fsync")
    calls, reference = recorded(world, lambda store: put(store, way, tmp_path))
    assert check_store(calls, world.storage.url, reference) == []
    calls, _ = recorded(world, methodcaller("delete_media", reference))
    assert check_delete(calls, world.storage.url, reference) == []


def test_the_settings_and_each_folder_that_is_made_survive_a_power_cut(tmp_path: Path) -> None:
    world, calls, reference = stored(tmp_path)
    names = [(call[0], call[-1].removeprefix(f"{world.storage.url}/")) for call in calls]
    made = names.index(("link", STORE_JSON))
    assert calls[made - 1] == ("fsync", calls[made][1])
    assert names[made + 1] == ("fsync", ".fsmedia")
    assert made + 1 < names.index(("rename", reference)), "media appear in a store without settings"
    made = {call[1]: number for number, call in enumerate(calls) if call[0] == "mkdir"}
    assert {path.removeprefix(world.storage.url) for path in made} == {"", "/.fsmedia", "/runs", "/runs/r1"}
    for folder, number in made.items():
        synced = calls.index(("fsync", folder.rpartition("/")[0]), number)
        used = next(n for n, call in enumerate(calls) if call[0] in ("rename", "link") and call[-1].startswith(folder))
        assert synced < used, f"{folder} held something before its own name was durable"


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
    synced = {number: call[1] for number, call in enumerate(calls) if call[0] == "fsync" and "/.fsmedia" not in call[1]}
    mine = [number for number, path in synced.items() if ("/.tmp-" in path) == (forgotten == "files")]
    caught = [number for number in mine if check_store(calls[:number] + calls[number + 1 :], root, reference)]
    # The root's parent is synced for the root's own name, which lies outside of what is modelled here.
    outside = {number for number in mine if len(synced[number]) < len(root)}
    assert set(mine) - set(caught) <= outside | {number for number in mine if synced[number] == root}
    assert len(caught) >= 2
    if forgotten == "folders":
        deleted, _ = recorded(world, lambda store: store.delete_media(reference))
        folder = f"{root}/{reference.rpartition('/')[0]}"
        first = next(number for number, call in enumerate(deleted) if call[:2] == ("fsync", folder))
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
    for faults in each_fault(Fault.CRASH_AFTER):
        world = fresh_world(LOCAL, tmp_path, first=True, durability="fsync")
        run(world, faults, "syscalls", lambda store: put(store, "bytes", tmp_path))
        calls, reference = recorded(world, lambda store: put(store, "bytes", tmp_path))
        assert check_store([*faults.done, *calls], world.storage.url, reference) == [], f"after {faults.hit}"


# -- a storage that fails or loses its answers ---------------------------------------------------------------
LEVELS = pytest.mark.parametrize(
    "place", [(MEMORY, "calls"), (LOCAL, "calls"), (LOCAL, "syscalls")], indirect=True, ids="-".join
)
BAD = pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOST, Fault.BROKEN])
TIDYING = {"rmdir", "unlink"}
"""An empty folder or a temporary file that stays does no harm: in a store, its removal may fail unheard."""


def each_answer(place: Place, *faults: Fault) -> Iterator[Faults]:
    """Yield faults that raise what the level raises."""
    return each_fault(*faults, error=os_error(errno.EIO) if place.level == "syscalls" else no_answer)


def raised(operation: Callable[..., Any], *args: Any) -> Exception | None:
    try:
        operation(*args)
    except Exception as error:
        return error
    return None


def explains_itself(error: BaseException | None, folder: str) -> None:
    """Check an error of a store: of this package, and it names the media, or the settings on whose account it is."""
    assert isinstance(error, StorageError), f"not of this package: {error!r}"
    assert (error.reference or "").startswith(folder) or error.key == STORE_JSON
    assert error.next_step


@BAD
@pytest.mark.parametrize("first", [True, False], ids=["first-write", "later-write"])
@pytest.mark.parametrize("way", WAYS)
@LEVELS
def test_a_store_without_an_answer(place: Place, way: str, first: bool, fault: Fault, tmp_path: Path) -> None:
    for faults in each_answer(place, fault):
        world = place.world(first=first)
        error = raised(place.run, world, faults, lambda store: put(store, way, tmp_path))
        extra = world.check(besides=DATA[way])
        if faults.hit is None:
            assert error is None
        elif error is None:
            # What needs no answer: tidying up, and what failed anyway (a folder that is not there yet).
            assert faults.in_vain or faults.hit[0] in TIDYING, f"{faults.hit} failed unheard"
            assert len(extra) == 1
        else:
            explains_itself(error, "runs/r1/")
        again = put(world.open(), way, tmp_path)
        assert sorted(world.check(besides=DATA[way])) == sorted([*extra, again])


@BAD
@LEVELS
def test_a_delete_without_an_answer(place: Place, fault: Fault, tmp_path: Path) -> None:
    for faults in each_answer(place, fault):
        world = place.world()
        reference = put(world.open(), "bytes", tmp_path)
        error = raised(place.run, world, faults, methodcaller("delete_media", reference))
        extra = world.check(besides=DATA["bytes"])
        if faults.hit is None or (faults.hit[0] == "rmdir" and error is None):
            assert error is None
            assert extra == []
        else:
            assert isinstance(error, StorageError)
            assert error.reference == reference
        world.open().delete_media(reference)
        assert world.check() == []
        assert not [key for key in sorted(world.storage.keys()) if key.startswith(reference)]


@LEVELS
def test_a_sidecar_that_can_not_be_removed_keeps_its_bytes(place: Place, tmp_path: Path) -> None:
    """Only what is known to be gone lets the next step begin."""
    for faults in each_answer(place, Fault.FAIL):
        world = place.world()
        reference = put(world.open(), "bytes", tmp_path)
        error = raised(place.run, world, faults, methodcaller("delete_media", reference))
        if faults.hit[1].endswith(".meta"):
            break
        # What comes before it is of a lock, without which nothing is removed either.
        assert world.check(besides=DATA["bytes"]) == [reference]
    assert faults.hit[1].endswith(f"{reference}.meta")
    assert len(faults.calls) == 1 or place.level == "syscalls"
    assert error.reference == reference
    assert world.check(besides=DATA["bytes"]) == [reference]


def test_bytes_that_go_before_an_answer_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""

    def careless(deletings: Any) -> dict[int, Any]:
        deletings[0].backend.delete([f"{item.reference}.meta" for item in deletings])
        return {}

    monkeypatch.setattr(named, "remove_under_lock", careless)
    with pytest.raises(AssertionError):
        test_a_sidecar_that_can_not_be_removed_keeps_its_bytes(Place(MEMORY, "calls", tmp_path), tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_fills_up_in_the_middle_of_a_write(way: str, tmp_path: Path) -> None:
    """A part of the write arrives, then ENOSPC: nothing is left of it, not even a temporary file."""
    for faults in each_fault(Fault.FAIL, error=os_error(errno.ENOSPC)):
        world = fresh_world(LOCAL, tmp_path)
        before = world.storage.keys()
        error = raised(run, world, faults, "syscalls", lambda store: put(store, way, tmp_path))
        if faults.hit and faults.hit[0] == "write" and ".fsmedia" not in faults.hit[1]:
            assert isinstance(error, StorageError)
            assert "free some space" in error.next_step
            assert not [key for key in world.storage.keys() - before if "/.tmp-" in key]
            assert world.check() == []


@pytest.mark.parametrize("way", WAYS)
def test_a_descriptor_is_closed_once(way: str, tmp_path: Path) -> None:
    """A close may fail (NFS, a quota), and the number is free all the same: who closes it again closes another's."""
    world = fresh_world(LOCAL, tmp_path, durability="rename")
    store = world.open()
    closed: list[int] = []
    with faulty_os(Faults()) as fake:
        real = fake.close

        def failing(descriptor: int) -> None:
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            real(descriptor)
            if is_folder:  # nothing is written to it
                return
            closed.append(descriptor)
            raise OSError(errno.EDQUOT, "no room for what was written")

        fake.close = failing
        error = raised(put, store, way, tmp_path)
    assert len(closed) == 1
    explains_itself(error, "runs/r1/")
    assert world.check() == []


# -- the spool of an object store --------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [MEMORY, LOCAL])
def test_no_room_for_a_large_media(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary file (of the spool, of the folder) can't grow: an error of this package, and nothing stays."""
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spool))
    monkeypatch.setattr(ingest, "CHUNK_BYTES", 2**20)
    world = fresh_world(kind, tmp_path)
    before = world.storage.keys()
    source = tmp_path / "large"
    with source.open("wb") as file:
        file.truncate(30 * 2**20)
    store = world.open()
    with files_of_at_most(12 * 2**20), pytest.raises(Exception) as caught:
        store.store_media(MediaContent.from_path(source, "video/mp4"), MediaMetadata(run_id="r1"))
    assert isinstance(caught.value, StorageError), f"not of this package: {caught.value!r}"
    assert list(spool.iterdir()) == []
    assert world.storage.keys() == before


def test_a_writer_that_failed_once_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes were counted and hashed that never arrived: who goes on all the same must not get a media of them."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    world = fresh_world(MEMORY, tmp_path)
    store = world.open()
    writer = store.create_media(MediaMetadata(run_id="r1"), "video/mp4")
    with suppress(MediaError), writer:
        writer.write(bytes(8 * 2**20))
        with files_of_at_most(9 * 2**20):
            for _ in range(3):  # a caller's loop that retries
                raised(writer.write, bytes(2**20))
        writer.write(b"end")
    assert world.check() == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError, RuntimeError])
@pytest.mark.parametrize("kind", [MEMORY, LOCAL])
def test_an_interrupted_writer_stores_nothing(kind: str, interruption: type[BaseException], tmp_path: Path) -> None:
    """Ctrl-C in the middle of a write, caught inside the `with` block: the digest is ahead of the bytes."""
    world = fresh_world(kind, tmp_path)
    store = world.open()
    writer = store.create_media(MediaMetadata(run_id="r1"), "text/plain")
    with suppress(MediaError), writer:
        writer.write(b"begin")
        inner = writer._upload._stage.write
        writer._upload._stage.write = lambda _: (_ for _ in ()).throw(interruption("here"))
        with pytest.raises(BaseException):  # noqa: B017
            writer.write(b"lost")
        writer._upload._stage.write = inner
        writer.write(b"end")
    assert world.check() == []


# -- answers that get lost between us and the storage ------------------------------------------------------
@pytest.mark.parametrize("error", [TimeoutError, ConnectionResetError])
@pytest.mark.parametrize("method", ["pipe_file", "rm_file"])
def test_a_step_without_an_answer_is_repeated(
    method: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request is done and its first answer lost: the repetition, with the same key, gets one."""
    real, asked = getattr(MemoryFileSystem, method), []

    def lossy(self: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(path)
        answer = real(self, path, *args, **kwargs)
        if asked.count(path) == 1:
            raise error("no answer")
        return answer

    world = fresh_world(MEMORY, tmp_path)
    monkeypatch.setattr(MemoryFileSystem, method, lossy)
    store = world.open()
    reference = put(store, "bytes", tmp_path)
    store.delete_media(reference)
    assert world.check() == []
    assert {asked.count(path) for path in asked} == {2}
    assert len(set(asked)) == 2


def test_a_storage_that_never_answers_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = fresh_world(MEMORY, tmp_path)
    store = world.open()
    kept = put(store, "bytes", tmp_path)
    world.media[kept] = DATA["bytes"]
    with monkeypatch.context() as patched:
        for method in ("pipe_file", "rm_file"):
            patched.setattr(MemoryFileSystem, method, Mock(side_effect=TimeoutError))
        with pytest.raises(StorageError, match="no answer") as caught:
            put(store, "stream", tmp_path)
        assert caught.value.reference.startswith("runs/r1/")
        with pytest.raises(StorageError, match="no answer") as caught:
            store.delete_media(kept)
        assert caught.value.reference == kept
    assert world.check() == []
