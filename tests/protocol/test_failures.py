"""A storage that fails or loses its answers: the caller hears of it, nothing visible is undone, and repeating helps."""

import errno
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fsmedia import MediaContent, MediaError, MediaMetadata, StorageError
from fsmedia.core import commit, ingest
from tests.protocol.faults import Fault, Faults, faulty_os, no_answer, os_error
from tests.protocol.worlds import DATA, STORE_JSON, WAYS, Place, each_fault, fresh_world, put, run
from tests.storages import LOCAL, MEMORY

PLACE = pytest.mark.parametrize(
    "place", [(MEMORY, "calls"), (LOCAL, "calls"), (LOCAL, "syscalls")], indirect=True, ids="-".join
)
BAD = pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOST, Fault.BROKEN])
TIDYING = {"rmdir", "unlink"}
"""An empty folder or a temporary file that stays does no harm: in a store, its removal may fail unheard."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small sources come in several pieces."""
    monkeypatch.setattr(ingest, "CHUNK_BYTES", 1000)


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
@PLACE
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
@PLACE
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


@PLACE
def test_a_sidecar_that_can_not_be_removed_keeps_its_bytes(place: Place, tmp_path: Path) -> None:
    """Only what is known to be gone lets the next step begin."""
    world = place.world()
    reference = put(world.open(), "bytes", tmp_path)
    faults = next(each_answer(place, Fault.FAIL))
    error = raised(place.run, world, faults, methodcaller("delete_media", reference))
    assert faults.hit[1].endswith(f"{reference}.meta")
    assert len(faults.calls) == 1
    assert error.reference == reference
    assert world.check(besides=DATA["bytes"]) == [reference]


def test_bytes_that_go_before_an_answer_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""

    def careless(deletings: Any, keys_of: Any, **_: Any) -> dict[int, Any]:
        deletings[0].backend.delete([key for item in deletings for key in keys_of(item)])
        return {}

    monkeypatch.setattr(commit, "_delete_keys", careless)
    with pytest.raises(AssertionError):
        test_a_sidecar_that_can_not_be_removed_keeps_its_bytes(Place(MEMORY, "calls", tmp_path), tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_fills_up_in_the_middle_of_a_write(way: str, tmp_path: Path) -> None:
    """A part of the write arrives, then ENOSPC: nothing is left of it, not even a temporary file."""
    for number in range(1, 40):
        world = fresh_world(LOCAL, tmp_path)
        before = world.storage.keys()
        faults = Faults(number, Fault.FAIL, os_error(errno.ENOSPC))
        error = raised(run, world, faults, "syscalls", lambda store: put(store, way, tmp_path))
        if faults.hit is None:
            break
        if faults.hit[0] == "write" and ".fsmedia" not in faults.hit[1]:
            assert isinstance(error, StorageError)
            assert "free some space" in error.next_step
            assert not [key for key in world.storage.keys() - before if "/.tmp-" in key]
            assert world.check() == []


@pytest.mark.parametrize("way", WAYS)
def test_a_descriptor_is_closed_once(way: str, tmp_path: Path) -> None:
    """A close may fail (NFS, a quota), and the number is free all the same: who closes it again closes another's."""
    world = fresh_world(LOCAL, tmp_path, durability="rename")  # no folder is opened to sync it
    store = world.open()
    closed: list[int] = []
    with faulty_os(Faults()) as fake:
        real = fake.close

        def failing(descriptor: int) -> None:
            closed.append(descriptor)
            real(descriptor)
            raise OSError(errno.EDQUOT, "no room for what was written")

        fake.close = failing
        error = raised(put, store, way, tmp_path)
    assert len(closed) == 1
    explains_itself(error, "runs/r1/")
    assert world.check() == []


# -- the spool of an object store --------------------------------------------------------------------------
@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """Let the system refuse files that are larger, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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
    with no_file_over(12 * 2**20), pytest.raises(Exception) as caught:
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
        with no_file_over(9 * 2**20):
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

    def silent(*_: Any, **__: Any) -> Any:
        raise TimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "pipe_file", silent)
        patched.setattr(MemoryFileSystem, "rm_file", silent)
        with pytest.raises(StorageError, match="no answer") as caught:
            put(store, "stream", tmp_path)
        assert caught.value.reference.startswith("runs/r1/")
        with pytest.raises(StorageError, match="no answer") as caught:
            store.delete_media(kept)
        assert caught.value.reference == kept
    assert world.check() == []
