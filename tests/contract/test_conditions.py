"""What keeps two writers of one name apart: conditions of a PUT, or a lock that dies with its holder."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore, StoreConflictError
from fsmedia.format import keys
from fsmedia.storage import Exclusion, PreconditionFailed, fsspec_backend, local, memory, open_backend
from tests.servers import WrongAnswer
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, S3_SEAWEED

if TYPE_CHECKING:
    from pathlib import Path

    from fsmedia.storage import Backend
    from tests.storages import GcsStorage, ObjectStorage, Storage

KEPT = {
    LOCAL: Exclusion.LOCK,
    MEMORY: Exclusion.LOCK,
    S3_MOTO: Exclusion.CONDITIONS,
    S3_SEAWEED: Exclusion.CONDITIONS,
    GCS: Exclusion.CONDITIONS,
    S3_RCLONE: Exclusion.NONE,
}
CONDITIONAL = [name for name, kept in KEPT.items() if kept is Exclusion.CONDITIONS]
LOCKING = [name for name, kept in KEPT.items() if kept is Exclusion.LOCK]
TYPE = "application/json"
REFUSAL = b'{"error": {"code": 412, "message": "conditionNotMet"}}'


def opened(storage: Storage) -> Backend:
    return open_backend(storage.url, storage.options, timeout=timedelta(seconds=30))


@pytest.fixture
def backend(some_storage: Storage) -> Backend:
    return opened(some_storage)


conditional = pytest.mark.parametrize("some_storage", CONDITIONAL, indirect=True)
locking = pytest.mark.parametrize("some_storage", LOCKING, indirect=True)


@pytest.mark.parametrize("some_storage", list(KEPT), indirect=True)
def test_each_storage_states_what_it_keeps(some_storage: Storage, backend: Backend) -> None:
    assert backend.exclusion is KEPT[some_storage.name]
    assert {key for key in some_storage.keys() if not key.startswith(keys.LOCKS)} == set()  # noqa: SIM118 - no dict


@pytest.mark.parametrize("some_storage", [S3_MOTO, S3_RCLONE], indirect=True)
def test_a_server_is_asked_once_in_a_process(
    some_storage: ObjectStorage, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsspec_backend, "_EXCLUSIONS", {})
    with some_storage.counted() as first:
        found = backend.exclusion
    assert first["put"] == 1
    with some_storage.counted() as later:
        assert backend.exclusion is opened(some_storage).exclusion is found
    assert not later


@conditional
def test_a_put_replaces_what_it_was_told_is_there_and_nothing_else(some_storage: Storage, backend: Backend) -> None:
    first = backend.put("a", b"1", TYPE, if_absent=True)
    with pytest.raises(PreconditionFailed) as refused:
        backend.put("a", b"2", TYPE, if_absent=True)
    assert refused.value.key == "a"
    second = backend.put("a", b"3", TYPE, if_token=first)
    with pytest.raises(PreconditionFailed):
        backend.put("a", b"4", TYPE, if_token=first)
    assert some_storage.read("a") == b"3"
    assert some_storage.content_type("a") == TYPE
    found = backend.fetch(reads=["a", "b"])
    assert found.reads == [b"3", None]
    assert found.tokens == [second, None]
    assert backend.put("a", b"5", TYPE) not in (None, second)


@conditional
def test_a_put_over_what_is_gone_is_refused(some_storage: Storage, backend: Backend) -> None:
    token = backend.put("a", b"1", TYPE)
    some_storage.remove("a")
    with pytest.raises(PreconditionFailed):
        backend.put("a", b"2", TYPE, if_token=token)
    assert some_storage.keys() == set()


@pytest.mark.parametrize("some_storage", [S3_MOTO, S3_SEAWEED], indirect=True)
def test_a_removal_takes_what_it_was_told_is_there_and_nothing_else(some_storage: Storage, backend: Backend) -> None:
    first = backend.put("a", b"1", TYPE)
    second = backend.put("a", b"2", TYPE)
    with pytest.raises(PreconditionFailed) as refused:
        backend.remove("a", if_token=first)
    assert refused.value.key == "a"
    assert some_storage.read("a") == b"2"
    backend.remove("a", if_token=second)
    assert some_storage.keys() == set()
    backend.remove("a")


def test_a_removal_on_gcs_is_told_the_generation(gcs_storage: GcsStorage) -> None:
    """The emulator ignores it there, so that it is asked for is seen at the wire, and a refusal is answered for it."""
    backend = opened(gcs_storage)
    token = backend.put("a", b"1", TYPE)
    assert token is not None
    refusal = WrongAnswer("DELETE", target=f"ifGenerationMatch={token}", status=412, body=REFUSAL)
    with gcs_storage.server.answering(refusal), pytest.raises(PreconditionFailed):
        backend.remove("a", if_token=token)
    backend.remove("a", if_token=token)
    assert gcs_storage.keys() == set()
    backend.remove("a")


@conditional
def test_of_many_who_create_a_key_at_once_one_succeeds(backend: Backend) -> None:
    def create(number: int) -> bool:
        try:
            backend.put("a", b"%d" % number, TYPE, if_absent=True)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(create, range(16))) == 1


@locking
def test_of_two_who_change_a_name_one_waits(backend: Backend) -> None:
    inside: list[int] = []

    def change(number: int) -> None:
        with backend.lock(["a", "b"] if number % 2 else ["b", "a"]):
            inside.append(number)
            assert len(inside) == 1
            inside.remove(number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(change, range(200)))


@locking
def test_who_waits_too_long_is_told_which_name(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (local, memory):
        monkeypatch.setattr(module, "LOCK_PATIENCE", 0.01)
    failed: list[Exception] = []

    def wait() -> None:
        try:
            with backend.lock(["runs/r1/x.png"]):
                pass
        except StoreConflictError as error:
            failed.append(error)

    with backend.lock(["runs/r1/x.png"]):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join()
    assert "runs/r1/x.png" in str(failed[0])


def hold(root: str, ready: multiprocessing.Queue[str]) -> None:
    """Hold a lock in another process until that is killed."""
    with open_backend(root, timeout=timedelta(seconds=30)).lock(["a"]):
        ready.put("held")
        threading.Event().wait()


def test_a_lock_dies_with_its_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Queue()
    holder = context.Process(target=hold, args=(str(tmp_path), ready))
    holder.start()
    assert ready.get(timeout=60) == "held"
    backend = open_backend(str(tmp_path), timeout=timedelta(seconds=30))
    assert backend.exclusion is Exclusion.LOCK
    monkeypatch.setattr(local, "LOCK_PATIENCE", 0.01)
    with pytest.raises(StoreConflictError), backend.lock(["a"]):
        pass
    holder.kill()
    holder.join()
    with backend.lock(["a"]):
        pass


def test_a_forked_child_does_not_take_its_parents_lock_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record locks go when any descriptor of the file is closed, so the child must make its own way to them."""
    backend = open_backend(str(tmp_path), timeout=timedelta(seconds=30))
    with backend.lock(["a"]):
        monkeypatch.setattr(local, "LOCK_PATIENCE", 0.01)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with backend.lock(["a"]):
                    pass
            except StoreConflictError:
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
    other = open_backend(str(tmp_path), timeout=timedelta(seconds=30))
    with other.lock(["a"]):
        pass


def test_the_locks_of_a_disk_are_at_most_256_empty_files(tmp_path: Path) -> None:
    backend = open_backend(str(tmp_path), timeout=timedelta(seconds=30))
    for number in range(600):
        with backend.lock([f"runs/r1/{number}.png"]):
            pass
    files = list((tmp_path / keys.LOCKS).iterdir())
    assert len(files) <= 256
    assert {file.stat().st_size for file in files} == {0}
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can work for somebody else")
def test_a_sweep_that_root_runs_locks_nobody_out(tmp_path: Path) -> None:
    """Lock files of root could not be opened by the user whose store it is."""
    store = MediaStore(tmp_path / "m").create()
    for path in (tmp_path / "m", *(tmp_path / "m").rglob("*")):
        os.chown(path, 12345, 12345)
    store.fs.pipe_file("runs/r1/a.txt", b"x")
    store.delete_media("runs/r1/a.txt")
    locks = [tmp_path / "m" / ".fsmedia" / "locks", *(tmp_path / "m" / ".fsmedia" / "locks").iterdir()]
    assert len(locks) > 1
    assert {(each.stat().st_uid, each.stat().st_gid) for each in locks} == {(12345, 12345)}
