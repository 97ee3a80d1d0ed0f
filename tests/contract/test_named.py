"""Names that clients choose, changed by two at once: no media is torn, and nothing acknowledged is undone.

These run real programs at once and count what goes wrong; every order of their steps is in `tests/interleavings`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from fsmedia import (
    BulkError,
    HeldMediaError,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    StorageError,
    StoreConflictError,
)
from fsmedia.core import commit, named, promptkit
from fsmedia.format import keys
from fsmedia.maintenance import sync_copy
from fsmedia.storage import Exclusion, fsspec_backend, local, s3
from tests.contract.specimens import png
from tests.servers import WrongAnswer
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE, S3_SEAWEED, LocalStorage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fsmedia.storage import Backend
    from tests.storages import MemoryStorage, S3Storage, Storage

EXACT = (LOCAL, MEMORY, S3_MOTO, S3_SEAWEED)
NAME = "runs/r1/report.bin"


def together(*works: Callable[[], Any]) -> list[Exception | None]:
    """Do several things at once; return what they raised."""

    def attempt(work: Callable[[], Any]) -> Exception | None:
        try:
            work()
        except Exception as error:
            return error
        return None

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(attempt, works))


def opened(storage: Storage, **options: Any) -> MediaStore:
    return MediaStore(storage.url, storage_options=storage.options, **options)


def torn(storage: Storage) -> set[str]:
    """Names whose sidecar speaks of other bytes, or that have only one of both, as the oracle sees them."""
    there = {key for key in storage.keys() if not key.startswith(keys.INTERNAL)}  # noqa: SIM118 - no dict
    found = set()
    for key in there:
        if key.endswith(keys.SIDECAR_SUFFIX):
            found |= {key.removesuffix(keys.SIDECAR_SUFFIX)} - there
            continue
        said = json.loads(storage.read(f"{key}.meta")) if f"{key}.meta" in there else {}
        if said.get("sha256") != hashlib.sha256(storage.read(key)).hexdigest():
            found.add(key)
    return found


def test_two_writers_of_many_names(storage: Storage, full_run: bool) -> None:
    """10 to 12 of 75 names ended with one writer's bytes under the other's sidecar, and both were told so."""
    dice = random.Random(4)
    store = opened(storage).create()
    for trial in range(25 if full_run else 8):
        names = [f"runs/r1/{trial}-{number}.bin" for number in range(3)]

        def write(tag: bytes, names: list[str] = names) -> None:
            fs = opened(storage).fs
            for name in names:
                fs.pipe_file(name, tag * dice.randrange(10, 3000))

        assert together(lambda: write(b"a"), lambda: write(b"b")) == [None, None]
    wrong = torn(storage)
    assert wrong == set() or storage.name == S3_RCLONE, wrong
    found = store.verify(deep=True)
    assert wrong <= {finding.key for finding in found.findings}
    assert found.whole == (not wrong)


def test_two_moves_onto_one_name(storage: Storage, full_run: bool) -> None:
    """7 of 30 ended with the bytes of one source under the sidecar of the other."""
    store = opened(storage).create()
    for trial in range(30 if full_run else 8):
        for tag in "ab":
            store.fs.pipe_file(f"runs/from/{trial}{tag}", tag.encode() * (10 + 7 * trial + ord(tag)))

        def move(tag: str, trial: int = trial) -> None:
            opened(storage).fs.mv(f"runs/from/{trial}{tag}", f"runs/onto/{trial}")

        assert together(lambda: move("a"), lambda: move("b")) == [None, None]
    wrong = torn(storage)
    assert wrong == set() or storage.name == S3_RCLONE, wrong
    assert wrong <= {finding.key for finding in store.verify(deep=True).findings}
    assert len(store.fs.find("runs/onto")) == (30 if full_run else 8)


def test_a_sync_onto_names_that_a_client_writes(
    storage: Storage, memory_storage: MemoryStorage, full_run: bool
) -> None:
    """A sync wrote its sidecar over that of a client who had written the bytes meanwhile, and the other way round."""
    source, store = opened(memory_storage).create(), opened(storage).create()
    names = [f"runs/r1/{number}.bin" for number in range(30 if full_run else 8)]
    for number, name in enumerate(names):
        source.fs.pipe_file(name, b"s" * (20 + number))
        if number % 2:
            store.fs.pipe_file(name, b"old")

    def write() -> None:
        fs = opened(storage).fs
        for number, name in enumerate(names):
            fs.pipe_file(name, b"c" * (3000 + number))

    errors = together(lambda: source.sync_to(storage.url, storage_options=storage.options), write)
    assert errors == [None, None]
    wrong = torn(storage)
    assert wrong == set() or storage.name == S3_RCLONE, wrong
    assert wrong <= {finding.key for finding in store.verify(deep=True).findings}
    assert len(store.fs.find("runs/r1")) == len(names)


@pytest.mark.parametrize("some_storage", EXACT, indirect=True)
@pytest.mark.parametrize("replaced", [False, True], ids=["new", "replaced"])
def test_a_client_who_writes_between_bytes_and_sidecar_of_a_sync(
    some_storage: Storage, memory_storage: MemoryStorage, replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store = opened(memory_storage).create(), opened(some_storage).create()
    source.fs.pipe_file(NAME, b"of the source")
    if replaced:
        store.fs.pipe_file(NAME, b"old")
    real = sync_copy._put_sidecars

    def later(items: Any) -> Any:
        opened(some_storage).fs.pipe_file(NAME, b"of a client, and more")
        return real(items)

    monkeypatch.setattr(sync_copy, "_put_sidecars", later)
    assert source.sync_to(some_storage.url, storage_options=some_storage.options).failed == ()
    assert torn(some_storage) == set()


@pytest.mark.parametrize("some_storage", EXACT, indirect=True)
def test_a_sync_that_changed_a_sidecar_once_is_done_then(some_storage: Storage, memory_storage: MemoryStorage) -> None:
    """The target's sidecar had another `write` than the source's for ever, and each sync wrote all of them again."""
    source = opened(memory_storage).create()
    source.fs.pipe_file(NAME, b"bytes")
    assert source.sync_to(some_storage.url, storage_options=some_storage.options).copied == 1
    source.fs.setxattrs(NAME, {"user.colour": "red"})
    assert source.sync_to(some_storage.url, storage_options=some_storage.options).updated == 1
    again = source.sync_to(some_storage.url, storage_options=some_storage.options)
    assert (again.updated, again.unchanged) == (0, 1)


@pytest.mark.parametrize("some_storage", EXACT, indirect=True)
def test_a_deletion_under_way_at_the_source_of_a_sync_is_none_at_the_target(
    some_storage: Storage, memory_storage: MemoryStorage
) -> None:
    """The mark came along, and for ten minutes nobody could write the media there."""
    source, store = opened(memory_storage).create(), opened(some_storage).create()
    source.fs.pipe_file(NAME, b"bytes")
    marked = json.loads(memory_storage.read(f"{NAME}.meta")) | {"leaving": "somebody"}
    memory_storage.write(f"{NAME}.meta", json.dumps(marked).encode())
    assert source.sync_to(some_storage.url, storage_options=some_storage.options).failed == ()
    assert "leaving" not in json.loads(some_storage.read(f"{NAME}.meta"))
    store.fs.setxattrs(NAME, {"user.colour": "red"})
    assert store.fs.getxattr(NAME, "user.colour") == "red"


@pytest.mark.parametrize("some_storage", EXACT, indirect=True)
def test_a_client_who_overwrites_what_a_sync_is_about_to_update(
    some_storage: Storage, memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sync had compared the old bytes, and put their sidecar beside the client's."""
    source, store = opened(memory_storage).create(), opened(some_storage).create()
    source.fs.pipe_file(NAME, b"bytes")
    source.sync_to(some_storage.url, storage_options=some_storage.options)
    source.fs.setxattrs(NAME, {"user.colour": "red"})
    real = sync_copy._update

    def later(*args: Any) -> None:
        opened(some_storage).fs.pipe_file(NAME, b"of a client, and more")
        real(*args)

    monkeypatch.setattr(sync_copy, "_update", later)
    report = source.sync_to(some_storage.url, storage_options=some_storage.options)
    assert torn(some_storage) == set()
    assert [str(each.error.reference) for each in report.failed] == [NAME]
    assert store.fs.cat_file(NAME) == b"of a client, and more"


@pytest.mark.parametrize("some_storage", EXACT, indirect=True)
@pytest.mark.parametrize("half", [False, True], ids=["whole", "under way"])
def test_a_client_who_overwrites_what_a_sync_reads_to_heal_it(
    some_storage: Storage, memory_storage: MemoryStorage, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new bytes were taken for rot, and the old ones put under the new sidecar."""
    source, store = opened(memory_storage).create(), opened(some_storage).create()
    source.fs.pipe_file(NAME, b"bytes")
    source.sync_to(some_storage.url, storage_options=some_storage.options)
    real_heal, real_put, real_settle = sync_copy._heal, commit.STORE_CONDITIONAL, named.put_sidecar_conditionally
    synced: list[Any] = []

    def sync() -> None:
        synced.append(source.sync_to(some_storage.url, storage_options=some_storage.options, verify_copies="read"))

    if half:
        if store._backend.exclusion is not Exclusion.CONDITIONS:
            pytest.skip("bytes and sidecar come together under a lock")

        def settle(operations: Any) -> Any:
            monkeypatch.setattr(commit, "STORE_CONDITIONAL", real_put)
            sync()
            return real_settle(operations)

        steps = tuple(settle if step is real_settle else step for step in real_put)
        monkeypatch.setattr(commit, "STORE_CONDITIONAL", steps)
        store.fs.pipe_file(NAME, b"of a client, and more")
    else:

        def later(*args: Any) -> Any:
            opened(some_storage).fs.pipe_file(NAME, b"of a client, and more")
            return real_heal(*args)

        monkeypatch.setattr(sync_copy, "_heal", later)
        sync()
    assert torn(some_storage) == set()


@pytest.mark.parametrize("some_storage", EXACT, indirect=True)
def test_a_client_who_overwrites_what_a_sync_reads_again(
    some_storage: Storage, memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the sync had just written was another's by then: it took that for wrong, and deleted acknowledged bytes."""
    source, store = opened(memory_storage).create(), opened(some_storage).create()
    source.fs.pipe_file(NAME, b"bytes")
    if store._backend.exclusion is not Exclusion.CONDITIONS:
        pytest.skip("they are read again under the lock")
    real = sync_copy.SyncUpload._check_bytes

    def later(upload: Any) -> None:
        opened(some_storage).fs.pipe_file(NAME, b"of a client, and more")
        real(upload)

    monkeypatch.setattr(sync_copy.SyncUpload, "_check_bytes", later)
    source.sync_to(some_storage.url, storage_options=some_storage.options, verify_copies="read")
    assert store.fs.cat_file(NAME) == b"of a client, and more"
    assert torn(some_storage) == set()


@pytest.mark.parametrize("some_storage", EXACT, indirect=True)
@pytest.mark.parametrize("names", [[NAME], [NAME, "runs/r1/more.bin"]], ids=["one", "a folder"])
def test_a_hold_that_comes_while_a_move_copies(
    some_storage: Storage, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Holds were looked at before the copies, which may take hours, and not again: the held media went."""
    store = opened(some_storage).create()
    for name in names:
        store.fs.pipe_file(name, b"bytes")
    real = type(store.fs)._remove_copied

    def later(*args: Any) -> None:
        opened(some_storage).hold(NAME, "a lawsuit")
        real(*args)

    monkeypatch.setattr(type(store.fs), "_remove_copied", later)
    with pytest.raises(HeldMediaError):
        store.fs.mv(names, [f"runs/r2/{number}.bin" for number in range(len(names))])
    assert some_storage.read(NAME) == b"bytes"
    assert torn(some_storage) == set()


@pytest.mark.parametrize("some_storage", EXACT, indirect=True)
def test_a_client_who_writes_over_a_strangers_file_while_it_is_moved_away(
    some_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had no sidecar to mark, so its source was looked at early and deleted late: acknowledged bytes were lost."""
    store = opened(some_storage).create()
    some_storage.write(NAME, b"of a stranger")
    real = commit.remove_bytes_under_mark

    def later(operations: Any) -> Any:
        if any(each.reference == NAME for each in operations):
            written.extend(together(lambda: opened(some_storage).fs.pipe_file(NAME, b"of a client, and more")))
        return real(operations)

    written: list[Exception | None] = []
    order = tuple(later if step is real else step for step in commit.DELETE_MARKED)
    monkeypatch.setattr(commit, "DELETE_MARKED", order)
    with suppress(StoreConflictError):
        store.fs.mv(NAME, "runs/r2/moved.bin")
    if written == [None]:
        assert store.fs.cat_file(NAME) == b"of a client, and more"
    assert store.fs.cat_file("runs/r2/moved.bin") == b"of a stranger"


@pytest.mark.parametrize("some_storage", EXACT, indirect=True)
def test_another_programs_file_that_comes_where_a_sweep_deletes(
    some_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody had deleted the media since it was judged, and the sweep took the file that came after it."""
    store = opened(some_storage).create()
    store.fs.pipe_file(NAME, b"bytes")
    store.apply_policy(NAME, "delete-after-1min")
    real = commit.delete

    def later(operations: Any) -> Any:
        some_storage.remove(f"{NAME}.meta")
        some_storage.write(NAME, b"of another program")
        return real(operations)

    monkeypatch.setattr(commit, "delete", later)
    store.enforce_policy(now=datetime.now(UTC) + timedelta(hours=1))
    assert some_storage.read(NAME) == b"of another program"


def test_more_media_are_deleted_than_files_may_be_open(tmp_path: Path) -> None:
    """A deletion of 500 held all 256 locks at once: more files than some systems let a process open."""
    store = MediaStore(tmp_path / "store").create()
    for number in range(300):
        store.fs.pipe_file(f"runs/r1/{number}.bin", b"bytes")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = len(os.listdir("/dev/fd")) + 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        store.fs.rm("runs/r1", recursive=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert store.fs.find("runs") == []


def test_a_lock_that_is_held_for_too_long_fails_only_those_who_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raised out of the whole deletion, and nobody heard what was gone by then."""
    store = MediaStore(tmp_path / "store").create()
    names = [f"runs/r1/{number}.bin" for number in range(130)]
    for name in names:
        store.fs.pipe_file(name, b"bytes")
    monkeypatch.setattr(local, "LOCK_PATIENCE", 0.01)
    with store._backend.lock([names[-1]]), pytest.raises(BulkError) as caught:
        store.delete_many(names)
    failed = caught.value.errors.values()
    assert {str(each.reference) for each in failed} == set(store.fs.find("runs")) == set(names[128:])
    assert all(isinstance(each, StoreConflictError) for each in failed)


@pytest.mark.parametrize("name", ["runs/link/report.bin", "Runs/r1/REPORT.bin"], ids=["link", "case"])
def test_two_names_of_one_file_have_one_lock(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a link to a folder, or where case does not count, a file has many names: each had a lock of its own."""
    store = MediaStore(tmp_path / "store").create()
    store.fs.pipe_file(NAME, b"bytes")
    (tmp_path / "store/runs/link").symlink_to(tmp_path / "store/runs/r1")
    monkeypatch.setattr(local, "LOCK_PATIENCE", 0.01)
    with (
        store._backend.lock([NAME]),
        pytest.raises(StoreConflictError),
        MediaStore(tmp_path / "store")._backend.lock([name]),
    ):
        pass
    with store._backend.lock([NAME]), MediaStore(tmp_path / "store")._backend.lock(["runs/r1/other.bin"]):
        pass


@pytest.mark.parametrize("some_storage", [S3_MOTO], indirect=True)
def test_deletions_that_the_storage_refuses_in_bulk_leave_no_marks(
    some_storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write and not delete kept everybody from all the media for ten minutes; of a single one he did not."""
    store = opened(some_storage).create()
    names = [f"runs/r1/{number}.bin" for number in range(3)]
    for name in names:
        store.fs.pipe_file(name, b"bytes")
    real = s3.CheckedS3FileSystem._call_s3

    async def denied(fs: Any, method: str, *defaults: Any, **asked: Any) -> Any:
        if method != "delete_objects":
            return await real(fs, method, *defaults, **asked)
        wanted = [each["Key"] for each in asked["Delete"]["Objects"]]
        return {"Errors": [{"Key": key, "Code": "AccessDenied", "Message": "Access Denied"} for key in wanted]}

    monkeypatch.setattr(s3.CheckedS3FileSystem, "_call_s3", denied)
    with pytest.raises(StorageError):
        store.fs.rm("runs/r1", recursive=True)
    assert [name for name in names if b"leaving" in some_storage.read(f"{name}.meta")] == []


@pytest.mark.parametrize("some_storage", [S3_MOTO, S3_SEAWEED], indirect=True)
@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "goes"])
def test_a_hold_that_comes_under_the_mark_of_a_sweep(
    some_storage: Storage, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep had looked for holds before: the media was said to be held, and went."""
    store = opened(some_storage).create()
    store.fs.pipe_file(NAME, b"bytes")
    marked = json.loads(some_storage.read(f"{NAME}.meta")) | {"leaving": "somebody"}
    some_storage.write(f"{NAME}.meta", json.dumps(marked).encode())

    def wait(_: Any, attempt: int) -> None:
        if ends and attempt == 1:
            some_storage.remove(NAME)
            some_storage.remove(f"{NAME}.meta")

    monkeypatch.setattr(type(store._backend), "wait", wait)
    with pytest.raises(MediaNotFoundError if ends else StoreConflictError):
        store.hold(NAME, "a lawsuit")


@pytest.mark.parametrize("some_storage", [LOCAL, S3_RCLONE], indirect=True)
@pytest.mark.parametrize("streamed", [False, True], ids=["bytes", "streamed"])
def test_two_writers_of_as_many_bytes_where_nothing_keeps_them_apart(
    some_storage: Storage, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a write tells no token only sizes were compared: the bytes of one stayed under the sidecar of the other."""
    monkeypatch.setattr(local.LockFiles, "exclusion", property(lambda _: Exclusion.RENAME))  # as on NFS without locks
    store = opened(some_storage).create()
    assert store._backend.exclusion in (Exclusion.RENAME, Exclusion.NONE)

    def write(data: bytes) -> None:
        fs = opened(some_storage).fs
        if streamed:
            with fs.open(NAME, "wb") as file:
                file.write(data)
        else:
            fs.pipe_file(NAME, data)

    write(b"0000")
    real = commit.STORE_NAMED

    def later(operations: Any) -> Any:
        monkeypatch.setattr(commit, "STORE_NAMED", real)
        write(b"BBBB")
        return named.put_sidecar_and_look(operations)

    order = tuple(later if step is named.put_sidecar_and_look else step for step in real)
    monkeypatch.setattr(commit, "STORE_NAMED", order)
    write(b"AAAA")
    assert torn(some_storage) == set()


@pytest.mark.parametrize("some_storage", EXACT, indirect=True)
def test_two_programs_that_set_attributes(some_storage: Storage) -> None:
    store = opened(some_storage).create()
    store.fs.pipe_file(NAME, b"bytes")

    def sets(tag: str) -> None:
        fs = opened(some_storage).fs
        for number in range(5):
            fs.setxattrs(NAME, {f"user.{tag}{number}": "1"})

    assert together(lambda: sets("a"), lambda: sets("b")) == [None, None]
    wanted = {f"user.{tag}{number}" for tag in "ab" for number in range(5)}
    assert wanted <= set(store.fs.listxattr(NAME))


@pytest.mark.parametrize("some_storage", EXACT, indirect=True)
def test_two_programs_that_delete_what_promptkit_indexed(
    some_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25 of 60 entries named deleted bytes: each program wrote back what the other had taken out."""
    monkeypatch.setattr(promptkit, "_index", SimpleNamespace(lock=nullcontext()))  # as between processes
    names = [f"runs/r1/{number}.png" for number in range(60)]
    for number, name in enumerate(names):
        some_storage.write(name, b"%d" % number)
        some_storage.write(f"{name}.meta", b'{"run_id": "r1", "mime_type": "image/png"}')
    index = {hashlib.sha256(b"%d" % number).hexdigest(): name for number, name in enumerate(names)}
    some_storage.write(keys.DEDUP_INDEX_KEY, json.dumps(index).encode())
    opened(some_storage).create()

    def delete(part: list[str]) -> None:
        store = opened(some_storage)
        for name in part:
            store.delete_media(name)

    assert together(lambda: delete(names[0:50:2]), lambda: delete(names[1:50:2])) == [None, None]
    assert keys.DEDUP_INDEX_KEY not in some_storage.keys(), "PromptKit reads it no more"  # noqa: SIM118 - no dict
    left = set(json.loads(some_storage.read(keys.INDEX_ASIDE_KEY)).values())
    assert set(names[50:]) <= left, "what may be shared is known to sweeps"
    # Two that set it aside at once may leave one entry too many there: nobody but sweeps reads it, and they keep more.
    assert left <= {*names[50:], *names[:2]}


def test_many_first_writers(storage: Storage, full_run: bool) -> None:
    """Once, under load, one of them was told that somebody had made the store with other settings."""

    def first(number: int) -> Callable[[], object]:
        return lambda: opened(storage).store_media(png(), MediaMetadata(run_id=f"r{number}"))

    writers = 32 if full_run else 8
    assert together(*map(first, range(writers))) == [None] * writers
    assert len(list(opened(storage).list())) == writers


# -- marks of deletions ------------------------------------------------------------------------------------


@pytest.fixture
def marked(moto_storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> MediaStore:
    """A media whose deletion died before its bytes went."""
    store = opened(moto_storage).create()
    store.fs.pipe_file(NAME, b"bytes")
    text = json.loads(moto_storage.read(f"{NAME}.meta")) | {"leaving": "01m8j2x-of-another"}
    moto_storage.write(f"{NAME}.meta", json.dumps(text).encode())
    monkeypatch.setattr(type(store._backend), "wait", lambda *_: None)
    return store


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.fs.pipe_file(NAME, b"new"),
        lambda store: store.fs.setxattrs(NAME, {"user.a": "1"}),
        lambda store: store.apply_policy(NAME, None),
        lambda store: store.fs.mv(NAME, "runs/r1/other.bin"),
        lambda store: store.delete_media(NAME),
    ],
    ids=["write", "attribute", "policy", "move", "delete"],
)
def test_who_meets_a_deletion_under_way_waits_and_then_says_so(
    marked: MediaStore, change: Callable[[MediaStore], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert marked.fs.cat_file(NAME) == b"bytes", "it is there as long as its bytes are"
    with pytest.raises(StoreConflictError, match=r"deletes it.*10.*old"):
        change(marked)
    assert marked.fs.cat_file(NAME) == b"bytes"
    monkeypatch.setattr(named, "_longest", lambda _: timedelta(seconds=-2))  # that is long ago
    change(marked)
    assert marked.verify(deep=True).whole


def test_a_deletion_that_failed_is_finished_by_the_next(moto_storage: S3Storage) -> None:
    once = {**moto_storage.options, "config_kwargs": {"retries": {"max_attempts": 1}}}
    store = MediaStore(moto_storage.url, storage_options=once).create()
    store.fs.pipe_file(NAME, b"bytes")
    refused = WrongAnswer("DELETE", target=NAME, body=b"<Error><Code>AccessDenied</Code></Error>", status=403)
    with moto_storage.server.answering(refused), pytest.raises(Exception, match="refused access"):
        store.delete_media(NAME)
    assert "leaving" not in json.loads(moto_storage.read(f"{NAME}.meta")), "the storage refused: it was taken back"
    with moto_storage.server.answering(WrongAnswer("DELETE", target=NAME, change="closed")), suppress(Exception):
        store.delete_media(NAME)
    assert "leaving" in json.loads(moto_storage.read(f"{NAME}.meta")), "nobody knows whether it is still under way"
    store.delete_media(NAME)
    assert not {key for key in moto_storage.keys() if key.startswith("runs/")}  # noqa: SIM118 - no dict


def test_a_deletion_that_slept_too_long_takes_nobody_elses_sidecar(
    moto_storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mark had long counted as a dead one, and somebody has written the name meanwhile."""
    store = opened(moto_storage).create()
    store.fs.pipe_file(NAME, b"bytes")
    real = commit.remove_bytes_under_mark

    def sleep(operations: Any) -> Any:
        failed = real(operations)
        with monkeypatch.context() as patched:
            patched.setattr(named, "_longest", lambda _: timedelta(seconds=-2))  # that is long ago
            opened(moto_storage).fs.pipe_file(NAME, b"new bytes")
        return failed

    order = tuple(sleep if step is real else step for step in commit.DELETE_MARKED)
    monkeypatch.setattr(commit, "DELETE_MARKED", order)
    store.delete_media(NAME)
    assert store.fs.cat_file(NAME) == b"new bytes"
    assert torn(moto_storage) == set()


def test_an_unanswered_put_of_a_sidecar_that_was_done_is_a_success(moto_storage: S3Storage) -> None:
    """Asked again, it is refused because of its own first success."""
    store = opened(moto_storage).create()
    store.fs.pipe_file(NAME, b"bytes")
    lost = WrongAnswer("PUT", target=r"\.meta$", field="if-match", times=1, change="closed", after=True)
    with moto_storage.server.answering(lost):
        store.fs.pipe_file(NAME, b"new bytes")
    assert store.fs.cat_file(NAME) == b"new bytes"
    assert torn(moto_storage) == set()
    with moto_storage.server.answering(lost):
        store.fs.setxattrs(NAME, {"user.a": "1"})
    assert store.fs.getxattr(NAME, "user.a") == "1"
    with moto_storage.server.answering(lost):
        store.delete_media(NAME)
    assert store.fs.find("") == []


def test_a_server_that_refuses_conditions_can_found_a_store(
    moto_storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backblaze B2 answers 501 to them."""
    monkeypatch.setattr(fsspec_backend, "_EXCLUSIONS", {})
    body = b"<Error><Code>NotImplemented</Code><Message>A header is not implemented</Message></Error>"
    rules = [WrongAnswer("PUT", field=field, body=body, status=501) for field in ("if-match", "if-none-match")]
    with moto_storage.server.answering(*rules):
        store = opened(moto_storage)
        store.store_media(png(), MediaMetadata(run_id="r1"))
        store.fs.pipe_file(NAME, b"bytes")
        store.fs.pipe_file(NAME, b"new bytes")
        store.fs.mv(NAME, "runs/r1/other.bin")
        store.delete_media("runs/r1/other.bin")
        assert store._backend.exclusion is Exclusion.NONE
        assert store.verify(deep=True).whole


# -- storages that can rename, and nothing else ------------------------------------------------------------


class RenamingFileSystem(LocalFileSystem):
    """A disk under a name that the package does not know, so that it takes it for one that can only rename."""

    protocol = "renaming"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(str(path).removeprefix("renaming://"))


@pytest.fixture
def renaming(tmp_path: Path) -> tuple[MediaStore, LocalStorage]:
    """Give a store with a media that is due, and its disk."""
    fsspec.register_implementation("renaming", RenamingFileSystem, clobber=True)
    store = MediaStore(f"renaming://{tmp_path}/store").create()
    assert store._backend.exclusion is Exclusion.RENAME
    store.fs.pipe_file(NAME, b"bytes")
    store.apply_policy(NAME, "delete-after-1min")
    return store, LocalStorage("renaming", str(tmp_path / "store"))


def aside(storage: LocalStorage) -> list[str]:
    return [key for key in storage.keys() if key.startswith(keys.ASIDE)]  # noqa: SIM118 - no dict


def later() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=3)


def test_a_sweep_by_rename_leaves_nothing(renaming: tuple[MediaStore, LocalStorage]) -> None:
    store, storage = renaming
    assert [each.reference for each in store.enforce_policy(now=later()).deleted] == [NAME]
    assert aside(storage) == []
    assert not {key for key in storage.keys() if key.startswith("runs/")}  # noqa: SIM118 - no dict
    store.fs.pipe_file(NAME, b"new")
    store.fs.mv(NAME, "runs/r1/other.bin")
    store.delete_media("runs/r1/other.bin")
    assert store.verify(deep=True).findings == ()


@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "dies"])
def test_a_sweep_by_rename_gives_back_what_was_written_meanwhile(
    renaming: tuple[MediaStore, LocalStorage], monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    """The write was acknowledged; a sweep beside it used to take its bytes."""
    store, storage = renaming
    real = type(store._backend).rename

    def overwritten(backend: Backend, source: str, target: str) -> bool:
        if source == NAME and not written:
            written.append(NAME)
            MediaStore(store.url).fs.pipe_file(NAME, b"of another, and more")
            MediaStore(store.url).apply_policy(NAME, None)
        if dies and target == NAME:
            raise KeyboardInterrupt
        return real(backend, source, target)

    written: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(type(store._backend), "rename", overwritten)
        with pytest.raises(KeyboardInterrupt) if dies else nullcontext():
            assert [each.reference for each in store.enforce_policy(now=later()).deleted] == []
    assert len(aside(storage)) == dies
    if dies:
        assert {each.kind for each in store.verify().findings} == {"missing-bytes", "bytes"}, "young, and not foreign"
        assert "foreign" not in {each.kind for each in store.verify(repair="leftovers", dry_run=True).findings}
        store.verify(repair=True, grace=timedelta(0), nobody_writes=True, force=True)
    assert aside(storage) == []
    assert store.fs.cat_file(NAME) == b"of another, and more"
    assert store.info(NAME).expires_at is None
    assert torn(storage) == set()
    assert store.verify(deep=True).whole


def test_bytes_that_a_sweep_had_caught_go_to_quarantine_where_others_lie(
    renaming: tuple[MediaStore, LocalStorage],
) -> None:
    store, storage = renaming
    key = keys.aside_key(NAME, store._backend.root_length)
    assert key is not None
    storage.write(key, b"caught")
    plan = store.verify(repair=True, dry_run=True, grace=timedelta(0), nobody_writes=True)
    assert [each.key for each in plan.findings] == [key]
    store.verify(repair=True, grace=timedelta(0), nobody_writes=True)
    assert store.fs.cat_file(NAME) == b"bytes"
    assert aside(storage) == []
    kept = [each for each in storage.keys() if each.startswith(keys.QUARANTINE)]  # noqa: SIM118 - no dict
    assert b"caught" in [storage.read(each) for each in kept]
