"""What keeps two writers of one name apart: conditions of a PUT, or a lock that dies with its holder."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fsmedia import MediaStore, StorageError, StoreConflictError
from fsmedia.core import named, settings_file
from fsmedia.core.commit import DeleteOperation
from fsmedia.core.settings_file import SettingsFile
from fsmedia.format import keys
from fsmedia.format.settings import Configuration, Settings
from fsmedia.format.sidecar import leaving, with_leaving
from fsmedia.storage import Exclusion, PreconditionFailed, fsspec_backend, local, memory, open_backend
from fsmedia.storage.errors import refused, storage_error
from fsmedia.storage.fsspec_backend import FsspecBackend
from fsmedia.storage.port import update_object
from fsmedia.storage.s3 import S3Backend
from tests.contract.specimens import CHANGES, NAME, raised
from tests.protocol.wire import counted
from tests.servers import WrongAnswer
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, S3_SEAWEED
from tests.transfers import opened as store_at

LOCK, CONDITIONS, NONE = Exclusion.LOCK, Exclusion.CONDITIONS, Exclusion.NONE
KEPT = {LOCAL: LOCK, MEMORY: LOCK, **dict.fromkeys((S3_MOTO, S3_SEAWEED, GCS), CONDITIONS), S3_RCLONE: NONE}
TYPE = "application/json"


def opened(storage):
    return open_backend(storage.url, storage.options, timeout=timedelta(seconds=30))


@pytest.fixture
def backend(some_storage):
    return opened(some_storage)


@pytest.fixture
def disk(local_storage):
    return opened(local_storage)


@pytest.fixture
def impatient(monkeypatch):
    """Let nobody wait for a lock, from when this is called."""

    def impatient():
        for module in (local, memory):
            monkeypatch.setattr(module, "LOCK_PATIENCE", 0.01)

    return impatient


def locked(backend, *names):
    with backend.lock(list(names) or ["a"]):
        pass


def over(*names):
    return pytest.mark.parametrize("some_storage", names, indirect=True)


conditional = over(*(name for name, kept in KEPT.items() if kept is CONDITIONS))
locking = over(*(name for name, kept in KEPT.items() if kept is LOCK))


@over(*KEPT)
def test_each_storage_states_what_it_keeps(some_storage, backend):
    assert backend.exclusion is KEPT[some_storage.name]
    assert all(key.startswith(keys.LOCKS) for key in some_storage.keys())  # noqa: SIM118 - no dict


@over(S3_MOTO, S3_RCLONE)
def test_a_server_is_asked_once_in_a_process(some_storage, backend, monkeypatch):
    monkeypatch.setattr(fsspec_backend, "_EXCLUSIONS", {})
    with some_storage.counted() as first:
        found = backend.exclusion
    assert first["put"] == 1
    with some_storage.counted() as later:
        assert backend.exclusion is opened(some_storage).exclusion is found
    assert not later


@conditional
def test_a_put_replaces_what_it_was_told_is_there_and_nothing_else(some_storage, backend):
    first = backend.put("a", b"1", TYPE, if_absent=True)
    assert raised(PreconditionFailed, backend.put, "a", b"2", TYPE, if_absent=True).key == "a"
    second = backend.put("a", b"3", TYPE, if_token=first)
    raised(PreconditionFailed, backend.put, "a", b"4", TYPE, if_token=first)
    assert some_storage.read("a") == b"3"
    assert some_storage.content_type("a") == TYPE
    found = backend.fetch(reads=["a", "b"])
    assert (found.reads, found.tokens) == ([b"3", None], [second, None])
    third = backend.put("a", b"5", TYPE)
    assert third not in (None, second)
    some_storage.remove("a")
    raised(PreconditionFailed, backend.put, "a", b"6", TYPE, if_token=third)
    assert some_storage.keys() == set()

    def create(number):
        with suppress(PreconditionFailed):
            return backend.put("a", b"%d" % number, TYPE, if_absent=True)

    # Of many who create a key at once one succeeds.
    with ThreadPoolExecutor(8) as threads:
        assert sum(token is not None for token in threads.map(create, range(16))) == 1


@over(S3_MOTO, S3_SEAWEED)
def test_a_removal_takes_what_it_was_told_is_there_and_nothing_else(some_storage, backend):
    first, second = (backend.put("a", data, TYPE) for data in (b"1", b"2"))
    assert raised(PreconditionFailed, backend.remove, "a", if_token=first).key == "a"
    assert some_storage.read("a") == b"2"
    backend.remove("a", if_token=second)
    assert some_storage.keys() == set()
    backend.remove("a")


def test_a_removal_on_gcs_is_told_the_generation(gcs_storage):
    """The emulator ignores it there, so that it is asked for is seen at the wire, and a refusal is answered for it."""
    backend = opened(gcs_storage)
    token = backend.put("a", b"1", TYPE)
    assert token is not None
    body = b'{"error": {"code": 412, "message": "conditionNotMet"}}'
    with gcs_storage.server.answering(WrongAnswer("DELETE", f"ifGenerationMatch={token}", status=412, body=body)):
        raised(PreconditionFailed, backend.remove, "a", if_token=token)
    backend.remove("a", if_token=token)
    assert gcs_storage.keys() == set()
    backend.remove("a")


@pytest.mark.usefixtures("hasty_threads")
@locking
def test_of_two_who_change_a_name_one_waits_and_who_waits_too_long_is_told_which(backend, impatient):
    inside, name = [], "runs/r1/x.png"

    def change(number):
        with backend.lock(["a", "b"] if number % 2 else ["b", "a"]):
            inside.append(number)
            os.listdir()  # another thread runs meanwhile
            assert len(inside) == 1
            inside.remove(number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(change, range(200)))
    impatient()
    with backend.lock([name]), ThreadPoolExecutor(1) as threads:
        threads.submit(raised, StoreConflictError, locked, backend, name, match=r"runs/r1/x\.png").result()


HOLD = """
import sys, threading
from datetime import timedelta
from fsmedia.storage import open_backend
with open_backend(sys.argv[1], timeout=timedelta(seconds=30)).lock(["a"]):
    print("held", flush=True)
    threading.Event().wait()
"""


def test_a_lock_dies_with_its_holder(local_storage, disk, impatient):
    command = [sys.executable, "-c", HOLD, local_storage.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        assert disk.exclusion is LOCK
        impatient()
        raised(StoreConflictError, locked, disk)
        holder.kill()
    locked(disk)


def test_a_forked_child_does_not_take_its_parents_lock_away(local_storage, disk, impatient):
    """Record locks go when any descriptor of the file is closed, so the child must make its own way to them."""
    with disk.lock(["a"]):
        impatient()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                locked(disk)
            except StoreConflictError:
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
    locked(opened(local_storage))


def test_the_locks_of_a_disk_are_at_most_256_empty_files(local_storage, disk):
    for number in range(600):
        locked(disk, f"runs/r1/{number}.png")
    files = list((Path(local_storage.url) / keys.LOCKS).iterdir())
    assert len(files) <= 256
    assert {(file.stat().st_size, oct(file.stat().st_mode & 0o777)) for file in files} == {(0, "0o600")}


def test_a_sweep_that_root_runs_locks_nobody_out(tmp_path):
    """Lock files of root could not be opened by the user whose store it is."""
    if os.geteuid() != 0:
        pytest.skip("only root can work for somebody else")
    store = MediaStore(tmp_path / "m").create()
    for path in (tmp_path / "m", *(tmp_path / "m").rglob("*")):
        os.chown(path, 12345, 12345)
    store.fs.pipe_file("runs/r1/a.txt", b"x")
    store.delete_media("runs/r1/a.txt")
    locks = [tmp_path / "m" / ".fsmedia" / "locks", *(tmp_path / "m" / ".fsmedia" / "locks").iterdir()]
    assert len(locks) > 1
    assert {(each.stat().st_uid, each.stat().st_gid) for each in locks} == {(12345, 12345)}


SIDECAR = keys.sidecar_key(NAME)


@pytest.fixture
def tokenless(monkeypatch):
    """Drop the tokens of all that is read from now on, as a proxy does that passes only some headers."""
    real = FsspecBackend.fetch

    def fetch(*args, **kwargs):
        found = real(*args, **kwargs)
        return found._replace(tokens=[None] * len(found.tokens))

    return lambda: monkeypatch.setattr(FsspecBackend, "fetch", fetch)


MORE_CHANGES = {
    "settings": lambda store: store._settings_file.complete_due_index(),
    "drop": lambda store: named.drop_sidecar(store._backend, NAME, named.see(store._backend, NAME)),
    "update": lambda store: update_object(store._backend, SIDECAR, lambda _: b"{}", TYPE),
}


@conditional
def test_what_was_read_without_a_token_is_not_replaced(some_storage, tokenless):
    """An unconditional PUT would go over what others have written meanwhile."""
    some_storage.write(keys.CONFIGURATION_KEY, replace(Configuration(), due_index="partial").dump())
    store = store_at(some_storage)
    store.fs.pipe_file(NAME, b"old")
    places = (NAME, SIDECAR, keys.CONFIGURATION_KEY)
    before = [some_storage.read(key) for key in places]
    tokenless()
    for change, act in (CHANGES | MORE_CHANGES).items():
        raised(StorageError, act, store, match=r"ETag or generation.*proxy")
        assert [some_storage.read(key) for key in places] == before, change


def deletion(storage, text):
    """Return a deletion over a sidecar, which has put its mark."""
    storage.write(NAME, b"bytes")
    storage.write(SIDECAR, text)
    backend = opened(storage)
    item = DeleteOperation(backend, NAME, seen=named.see(backend, NAME))
    assert not named.mark_leaving([item])
    assert leaving(storage.read(SIDECAR)) is not None
    return item


def take_back(item):
    error = storage_error(PermissionError("no"), NAME)
    assert error.__cause__ is not None
    named.take_back(item, error)


def test_a_mark_without_a_token_is_not_taken_back_blindly(moto_storage, caplog):
    item = deletion(moto_storage, b'{"run_id": "r1"}')
    assert item.marked is not None
    item.marked = replace(item.marked, token=None)
    moto_storage.write(SIDECAR, b"another's")
    take_back(item)
    assert moto_storage.read(SIDECAR) == b"another's"
    assert "a deletion's mark stays" in caplog.text


@pytest.mark.parametrize(
    ("text", "left"), [(b'{"run_id": "r1"}', b'{\n  "run_id": "r1"\n}'), (b"{}", None)], ids=["ours", "bare"]
)
def test_a_refused_deletion_leaves_no_dead_ones_mark(moto_storage, monkeypatch, text, left):
    """It went over the mark of a process that had died, and put that back when the storage refused."""
    monkeypatch.setattr(named, "_is_dead", lambda *_: True)
    take_back(deletion(moto_storage, with_leaving(text, "dead-1")))
    assert moto_storage.contents().get(SIDECAR) == left


def test_a_sidecar_is_dropped_whose_mark_got_no_answer(moto_storage, monkeypatch):
    """The mark lay there, was asked for again and refused because of that, and was left as if it were another's."""
    backend = opened(moto_storage)
    moto_storage.write(SIDECAR, b'{"run_id": "r1"}')
    seen, real = named.see(backend, NAME), S3Backend.put

    def put(self, key, *args, **kwargs):
        real(self, key, *args, **kwargs)
        raise refused(key)

    assert backend.exclusion is CONDITIONS
    monkeypatch.setattr(S3Backend, "put", put)
    named.drop_sidecar(backend, NAME, seen)
    assert moto_storage.keys() == set()


def test_a_switch_that_stands_beside_the_settings_is_on(rclone_storage):
    """Of two programs of 0.1 the last to write took back what the other had turned on, and died before it looked."""
    partial = replace(Configuration(), adopted=True, due_index="partial")
    rclone_storage.write(keys.CONFIGURATION_KEY, partial.dump())
    rclone_storage.write(keys.switch_key("deduplicate"), b"")
    assert opened(rclone_storage).exclusion is NONE  # a write has found that out
    found, n = counted(rclone_storage, lambda: SettingsFile(opened(rclone_storage), Settings()))
    assert found.configuration == replace(partial, deduplicate=True)
    # The heads go with the settings, in one round trip.
    assert n == {"get": 1, "head": len(settings_file.SWITCHES)}, n
    assert store_at(rclone_storage).verify(repair=True).due_index == "complete"
    wanted = replace(partial, deduplicate=True, due_index="complete")
    assert Configuration.parse(rclone_storage.read(keys.CONFIGURATION_KEY)) == wanted


@over(S3_MOTO, S3_RCLONE, GCS)
def test_reading_settings_does_not_ask_what_a_server_keeps(some_storage, monkeypatch):
    store_at(some_storage).create()
    monkeypatch.setattr(fsspec_backend, "_EXCLUSIONS", {})
    backend = opened(some_storage)
    for known in (False, True):
        looks = {"head": 2 * len(settings_file.SWITCHES)} if known and backend.exclusion is NONE else {}
        _, n = counted(some_storage, lambda: SettingsFile(backend, Settings()).reload())
        assert n == {"get": 2, **looks}, n
        assert (backend.known_exclusion is not None) == known
        assert (backend.exclusion is NONE) == (some_storage.name == S3_RCLONE)
