"""Names that clients choose, changed by two at once: no media is torn, and nothing acknowledged is undone.

These run real programs at once and count what goes wrong; every order of their steps is in `tests/interleavings`. What
keeps two writers apart comes last: conditions of a PUT, or a lock that dies with its holder.
"""

import hashlib
import json
import os
import random
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from fsmedia import BulkError, HeldMediaError, MediaNotFoundError, MediaStore, StorageError, StoreConflictError
from fsmedia.core import commit, named, promptkit, settings_file
from fsmedia.format import keys
from fsmedia.format.settings import Configuration, Settings
from fsmedia.format.sidecar import leaving, with_leaving
from fsmedia.maintenance import sync_copy
from fsmedia.storage import Exclusion, PreconditionFailed, fsspec_backend, local, memory, open_backend, s3
from fsmedia.storage.errors import refused, storage_error
from fsmedia.storage.port import update_object
from tests.conftest import on
from tests.contract.specimens import AT_ONCE, put, raised
from tests.protocol.wire import counted
from tests.servers import WrongAnswer
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, S3_SEAWEED, LocalStorage
from tests.transfers import opened

EXACT = on(LOCAL, MEMORY, S3_MOTO, of=(LOCAL, MEMORY, S3_MOTO, S3_SEAWEED))
NAME = "runs/r1/report.bin"
CHANGES = {
    "write": lambda store: store.fs.pipe_file(NAME, b"new"),
    "attribute": lambda store: store.fs.setxattrs(NAME, {"user.a": "1"}),
    "policy": lambda store: store.apply_policy(NAME, None),
    "move": lambda store: store.fs.mv(NAME, "runs/r1/other.bin"),
    "delete": lambda store: store.delete_media(NAME),
}
"""What may change a media whose name a client chose."""
NEW = b"of a client, and more"


def together(*works):
    """Do several things at once; return what they raised."""
    with ThreadPoolExecutor(len(works)) as threads:
        return [done.exception() for done in [threads.submit(work) for work in works]]


def keys_in(storage, folder):
    return [key for key in sorted(storage.keys()) if key.startswith(folder)]


def torn(storage):
    """Names whose sidecar speaks of other bytes, or that have only one of both, as the oracle sees them."""
    there = {key for key in sorted(storage.keys()) if not key.startswith(keys.INTERNAL)}
    found = set()
    for name in {key.removesuffix(keys.SIDECAR_SUFFIX) for key in there}:
        whole = {name, f"{name}.meta"} <= there
        said = json.loads(storage.read(f"{name}.meta"))["sha256"] if whole else None
        if not whole or said != hashlib.sha256(storage.read(name)).hexdigest():
            found.add(name)
    return found


def are_told(storage, store):
    """See that whatever is torn is where nothing keeps two apart, and that `verify` finds all of it."""
    wrong, found = torn(storage), store.verify(deep=True)
    assert wrong == set() or storage.name == S3_RCLONE, wrong
    assert wrong <= {finding.key for finding in found.findings}
    return found.whole == (not wrong)


def pipe(storage, files):
    """Write names one by one, as another client does."""
    fs = opened(storage).fs
    for name, data in files.items():
        fs.pipe_file(name, data)


def write(storage, data=NEW):
    pipe(storage, {NAME: data})


def several(store, number):
    """Write so many names; return them."""
    names = [f"runs/r1/{each}.bin" for each in range(number)]
    for name in names:
        store.fs.pipe_file(name, b"bytes")
    return names


def long_ago(monkeypatch):
    """Let the mark of each deletion be one that nobody waits for any more."""
    monkeypatch.setattr(named, "_longest", lambda _: timedelta(seconds=-2))


def mark(storage, by="somebody"):
    """Leave the mark of a deletion that is under way."""
    storage.write(f"{NAME}.meta", json.dumps(json.loads(storage.read(f"{NAME}.meta")) | {"leaving": by}).encode())


def before(monkeypatch, owner, name, act):
    """Let something happen before each call of a function."""
    real = getattr(owner, name)

    def later(*args):
        act()
        return real(*args)

    monkeypatch.setattr(owner, name, later)


def replace_step(monkeypatch, order, step, other):
    """Put another step in the place of one of an order of writes."""
    steps = tuple(other if each is step else each for each in getattr(commit, order))
    monkeypatch.setattr(commit, order, steps)


def once(monkeypatch, order, step, act):
    """Let something happen before one step of the next order of writes."""
    steps = getattr(commit, order)

    def later(operations):
        monkeypatch.setattr(commit, order, steps)
        act()
        return step(operations)

    replace_step(monkeypatch, order, step, later)


def sync(source, storage, **wishes):
    return source.sync_to(storage.url, storage_options=storage.options, **wishes)


@pytest.fixture
def filled(storage):
    """Give a store over the storage with the name in it."""
    store = opened(storage).create()
    store.fs.pipe_file(NAME, b"bytes")
    return store


@pytest.fixture
def source(memory_storage):
    """Give another one in memory, with the name in it too."""
    return filled.__wrapped__(memory_storage)


def test_two_writers_of_many_names(storage, full_run):
    """10 to 12 of 75 names ended with one writer's bytes under the other's sidecar, and both were told so."""
    dice = random.Random(4)
    store = opened(storage).create()
    for trial in range(25 if full_run else 5):
        names = [f"runs/r1/{trial}-{number}.bin" for number in range(3)]
        files = [{name: tag * dice.randrange(10, 3000) for name in names} for tag in (b"a", b"b")]
        assert together(*(partial(pipe, storage, each) for each in files)) == [None, None]
    assert are_told(storage, store)


@on(LOCAL, S3_MOTO, S3_RCLONE, GCS)
def test_two_moves_onto_one_name(storage, full_run):
    """7 of 30 ended with the bytes of one source under the sidecar of the other."""
    store, trials = opened(storage).create(), 30 if full_run else 5
    for trial in range(trials):
        for tag in "ab":
            store.fs.pipe_file(f"runs/{tag}/{trial}", tag.encode() * (10 + 7 * trial + ord(tag)))
        moves = [partial(opened(storage).fs.mv, f"runs/{tag}/{trial}", f"runs/onto/{trial}") for tag in "ab"]
        assert together(*moves) == [None, None]
    are_told(storage, store)
    assert len(store.fs.find("runs/onto")) == trials


@on(LOCAL, MEMORY, S3_MOTO, S3_RCLONE)
def test_a_sync_onto_names_that_a_client_writes(storage, memory_storage, full_run):
    """A sync wrote its sidecar over that of a client who had written the bytes meanwhile, and the other way round."""
    origin, store = opened(memory_storage).create(), opened(storage).create()
    names = [f"runs/r1/{number}.bin" for number in range(30 if full_run else 8)]
    pipe(memory_storage, {name: b"s" * (20 + number) for number, name in enumerate(names)})
    pipe(storage, dict.fromkeys(names[1::2], b"old"))
    theirs = {name: b"c" * (3000 + number) for number, name in enumerate(names)}
    assert together(lambda: sync(origin, storage), lambda: pipe(storage, theirs)) == [None, None]
    are_told(storage, store)
    assert len(store.fs.find("runs/r1")) == len(names)


@EXACT
@pytest.mark.parametrize(
    ("owner", "name", "there"),
    [(sync_copy, "_put_sidecars", "nothing"), (sync_copy, "_put_sidecars", "another"),
     (sync_copy, "_update", "an older sidecar"), (sync_copy, "_heal", "the same"),
     (sync_copy.SyncUpload, "_check_bytes", "nothing")],
    ids=["between bytes and sidecar", "and another was there", "to be updated", "read to heal it", "read again"],
)  # fmt: skip
def test_a_client_who_writes_what_a_sync_is_at(storage, source, owner, name, there, monkeypatch):
    """The sync had compared the old bytes, and put their sidecar beside the client's.

    Read to heal: the new bytes were taken for rot, and the old ones put under the new sidecar. Read again, what the
    sync had just written was another's by then: it took that for wrong, and deleted acknowledged bytes.
    """
    store = opened(storage).create()
    if name == "_check_bytes" and store._backend.exclusion is not Exclusion.CONDITIONS:
        pytest.skip("they are read again under the lock")
    if there == "another":
        write(storage, b"old")
    elif there != "nothing":
        sync(source, storage)
    if there == "an older sidecar":
        source.fs.setxattrs(NAME, {"user.colour": "red"})
    before(monkeypatch, owner, name, lambda: write(storage))
    report = sync(source, storage, verify_copies="read" if name in ("_heal", "_check_bytes") else "size")
    assert torn(storage) == set()
    if name in ("_put_sidecars", "_update"):
        assert [str(each.error.reference) for each in report.failed] == ([NAME] if name == "_update" else [])
    if name in ("_update", "_check_bytes"):
        assert store.fs.cat_file(NAME) == NEW


@EXACT
def test_a_sync_that_changed_a_sidecar_once_is_done_then(storage, memory_storage, source):
    """The target's sidecar had another `write` than the source's for ever, and each sync wrote all of them again.

    A mark of a deletion under way at the source came along, and for ten minutes nobody could write the media there.
    """
    assert sync(source, storage).copied == 1
    source.fs.setxattrs(NAME, {"user.colour": "red"})
    assert sync(source, storage).updated == 1
    again = sync(source, storage)
    assert (again.updated, again.unchanged) == (0, 1)
    opened(storage).delete_media(NAME)
    mark(memory_storage)
    assert sync(source, storage).failed == ()
    assert "leaving" not in json.loads(storage.read(f"{NAME}.meta"))
    opened(storage).fs.setxattrs(NAME, {"user.colour": "blue"})
    assert opened(storage).fs.getxattr(NAME, "user.colour") == "blue"


@on(S3_MOTO, of=(S3_MOTO, S3_SEAWEED))
def test_a_sync_that_heals_what_a_client_has_half_written(storage, source, monkeypatch):
    """Its new bytes were taken for rot, and the old ones put under the new sidecar."""
    sync(source, storage)
    heal = partial(sync, source, storage, verify_copies="read")
    once(monkeypatch, "STORE_CONDITIONAL", named.put_sidecar_conditionally, heal)
    write(storage)
    assert torn(storage) == set()


@EXACT
@pytest.mark.parametrize("target", ["runs/r2/copy.bin", "runs/r2/0000_00_u01m836r9g7eygaqez4kbe8w012.bin"])
@pytest.mark.parametrize("new", [b"BYTES", NEW], ids=["of one size", "of another"])
def test_what_a_writer_left_that_died_is_neither_copied_nor_moved(storage, filled, new, target, monkeypatch):
    """On a disk both went along to the new name, where nothing tells any more that a writer had died."""
    monkeypatch.setattr(type(filled._backend), "wait", lambda *_: None)
    storage.write(NAME, new)
    before_it = storage.contents()
    for act in (filled.fs.cp_file, filled.fs.mv):
        error = raised(StoreConflictError, act, NAME, target, match="or died while writing it")
        assert (error.reference, "verify" in error.next_step) == (NAME, True)
    assert storage.contents() == before_it
    opened(storage).verify(deep=True, repair=True, **AT_ONCE)
    filled.fs.mv(NAME, target)
    assert (storage.read(target), torn(storage)) == (new, set())


@EXACT
@pytest.mark.parametrize("names", [[NAME], [NAME, "runs/r1/more.bin"]], ids=["one", "a folder"])
def test_a_hold_that_comes_while_a_move_copies(storage, filled, names, monkeypatch):
    """Holds were looked at before the copies, which may take hours, and not again: the held media went."""
    for name in names[1:]:
        filled.fs.pipe_file(name, b"bytes")
    before(monkeypatch, type(filled.fs), "_remove_in_batches", lambda: opened(storage).hold(NAME, "a lawsuit"))
    raised(HeldMediaError, filled.fs.mv, names, [f"runs/r2/{number}.bin" for number in range(len(names))])
    assert storage.read(NAME) == b"bytes"
    assert torn(storage) == set()


@EXACT
def test_a_client_who_writes_over_a_strangers_file_while_it_is_moved_away(storage, monkeypatch):
    """It had no sidecar to mark, so its source was looked at early and deleted late: acknowledged bytes were lost."""
    store = opened(storage).create()
    storage.write(NAME, b"of a stranger")
    real, written = commit.remove_bytes_under_mark, []

    def later(operations):
        if any(each.reference == NAME for each in operations):
            written.extend(together(lambda: write(storage)))
        return real(operations)

    replace_step(monkeypatch, "DELETE_MARKED", real, later)
    with suppress(StoreConflictError):
        store.fs.mv(NAME, "runs/r2/moved.bin")
    assert written != [None] or store.fs.cat_file(NAME) == NEW
    assert store.fs.cat_file("runs/r2/moved.bin") == b"of a stranger"


@EXACT
def test_another_programs_file_that_comes_where_a_sweep_deletes(storage, filled, monkeypatch):
    """Somebody had deleted the media since it was judged, and the sweep took the file that came after it."""
    filled.apply_policy(NAME, "delete-after-1min")

    def replaced():
        storage.remove(f"{NAME}.meta")
        storage.write(NAME, b"of another program")

    before(monkeypatch, commit, "delete", replaced)
    filled.enforce_policy(now=datetime.now(UTC) + timedelta(hours=1))
    assert storage.read(NAME) == b"of another program"


def test_more_media_are_deleted_than_files_may_be_open(tmp_path):
    """A deletion of 500 held all 256 locks at once: more files than some systems let a process open."""
    store = MediaStore(tmp_path / "store").create()
    several(store, 300)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 100, limits[1]))
    try:
        store.fs.rm("runs/r1", recursive=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert store.fs.find("runs") == []


def test_a_lock_that_is_held_for_too_long_fails_only_those_who_need_it(tmp_path, monkeypatch):
    """It raised out of the whole deletion, and nobody heard what was gone by then.

    Through a link to a folder, or where case does not count, a file has many names: each had a lock of its own.
    """
    store, other = (MediaStore(tmp_path / "store").create() for _ in range(2))
    names = several(store, 130)
    monkeypatch.setattr(local, "LOCK_PATIENCE", 0.01)
    with store._backend.lock([names[-1]]), pytest.raises(BulkError) as caught:
        store.delete_many(names)
    failed = caught.value.errors.values()
    assert {str(each.reference) for each in failed} == set(store.fs.find("runs")) == set(names[128:])
    assert all(isinstance(each, StoreConflictError) for each in failed)
    (tmp_path / "store/runs/link").symlink_to(tmp_path / "store/runs/r1")
    for name in ("runs/link/129.bin", "Runs/r1/129.BIN"):
        with store._backend.lock([names[129]]), pytest.raises(StoreConflictError), other._backend.lock([name]):
            pass
    with store._backend.lock([names[129]]), other._backend.lock(["runs/r1/other.bin"]):
        pass


def test_deletions_that_the_storage_refuses_in_bulk_leave_no_marks(moto_storage, monkeypatch):
    """Who may write and not delete kept everybody from all the media for ten minutes; of a single one he did not."""
    store = opened(moto_storage).create()
    names = several(store, 3)
    real = s3.CheckedS3FileSystem._call_s3

    async def denied(fs, method, *defaults, **asked):
        if method != "delete_objects":
            return await real(fs, method, *defaults, **asked)
        wanted = [each["Key"] for each in asked["Delete"]["Objects"]]
        return {"Errors": [{"Key": key, "Code": "AccessDenied", "Message": "Access Denied"} for key in wanted]}

    monkeypatch.setattr(s3.CheckedS3FileSystem, "_call_s3", denied)
    raised(StorageError, store.fs.rm, "runs/r1", recursive=True)
    assert [name for name in names if b"leaving" in moto_storage.read(f"{name}.meta")] == []


@on(S3_MOTO, of=(S3_MOTO, S3_SEAWEED))
@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "goes"])
def test_a_hold_that_comes_under_the_mark_of_a_sweep(storage, filled, ends, monkeypatch):
    """The sweep had looked for holds before: the media was said to be held, and went."""
    mark(storage)

    def wait(_, attempt):
        for key in (NAME, f"{NAME}.meta") if ends and attempt == 1 else ():
            storage.remove(key)

    monkeypatch.setattr(type(filled._backend), "wait", wait)
    raised(MediaNotFoundError if ends else StoreConflictError, filled.hold, NAME, "a lawsuit")


@on(LOCAL, S3_RCLONE, of=())
@pytest.mark.parametrize("streamed", [False, True], ids=["bytes", "streamed"])
def test_two_writers_of_as_many_bytes_where_nothing_keeps_them_apart(storage, streamed, monkeypatch):
    """Where a write tells no token only sizes were compared: the bytes of one stayed under the sidecar of the other."""
    monkeypatch.setattr(local.LockFiles, "exclusion", property(lambda _: Exclusion.RENAME))  # as on NFS without locks
    assert opened(storage).create()._backend.exclusion in (Exclusion.RENAME, Exclusion.NONE)

    def writes(data):
        if streamed:
            with opened(storage).fs.open(NAME, "wb") as file:
                file.write(data)
        else:
            write(storage, data)

    writes(b"0000")
    once(monkeypatch, "STORE_NAMED", named.put_sidecar_and_look, lambda: writes(b"BBBB"))
    writes(b"AAAA")
    assert torn(storage) == set()


@on(LOCAL, MEMORY, S3_MOTO, S3_SEAWEED, of=())
def test_two_programs_that_set_attributes(storage, filled):
    names = {tag: [f"user.{tag}{number}" for number in range(5)] for tag in "ab"}

    def sets(tag):
        fs = opened(storage).fs
        for name in names[tag]:
            fs.setxattrs(NAME, {name: "1"})

    assert together(lambda: sets("a"), lambda: sets("b")) == [None, None]
    assert {*names["a"], *names["b"]} <= set(filled.fs.listxattr(NAME))


@EXACT
def test_two_programs_that_delete_what_promptkit_indexed(storage, monkeypatch, full_run):
    """25 of 60 entries named deleted bytes: each program wrote back what the other had taken out."""
    monkeypatch.setattr(promptkit, "_index", SimpleNamespace(lock=nullcontext()))  # as between processes
    media = 60 if full_run or storage.name == LOCAL else 30
    names = [f"runs/r1/{number}.png" for number in range(media)]
    for number, name in enumerate(names):
        storage.write(name, b"%d" % number)
        storage.write(f"{name}.meta", b'{"run_id": "r1", "mime_type": "image/png"}')
    index = {hashlib.sha256(b"%d" % number).hexdigest(): name for number, name in enumerate(names)}
    storage.write(keys.DEDUP_INDEX_KEY, json.dumps(index).encode())
    opened(storage).create()
    gone, stays = names[:-10], names[-10:]
    programs = [lambda part=gone[at::2]: [*map(opened(storage).delete_media, part)] for at in range(2)]
    assert together(*programs) == [None, None]
    assert keys_in(storage, keys.DEDUP_INDEX_KEY) == [], "PromptKit reads it no more"
    left = set(json.loads(storage.read(keys.INDEX_ASIDE_KEY)).values())
    assert set(stays) <= left, "what may be shared is known to sweeps"
    # Two that set it aside at once may leave one entry too many there: nobody but sweeps reads it, and they keep more.
    assert left <= {*stays, *names[:2]}


@on(LOCAL, MEMORY, S3_MOTO, GCS)
def test_many_first_writers(storage, full_run):
    """Once, under load, one of them was told that somebody had made the store with other settings."""
    writers = [lambda run=f"r{number}": put(opened(storage), run) for number in range(32 if full_run else 8)]
    assert together(*writers) == [None] * len(writers)
    assert len(list(opened(storage).list())) == len(writers)


# -- marks of deletions ------------------------------------------------------------------------------------


@on(S3_MOTO, of=())
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_who_meets_a_deletion_under_way_waits_and_then_says_so(storage, filled, change, monkeypatch):
    """The deletion died before the bytes went."""
    mark(storage, "01m8j2x-of-another")
    monkeypatch.setattr(type(filled._backend), "wait", lambda *_: None)
    assert filled.fs.cat_file(NAME) == b"bytes", "it is there as long as its bytes are"
    raised(StoreConflictError, change, filled, match=r"deletes it.*10.*old")
    assert filled.fs.cat_file(NAME) == b"bytes"
    long_ago(monkeypatch)
    change(filled)
    assert filled.verify(deep=True).whole


def test_a_deletion_that_failed_is_finished_by_the_next(moto_storage):
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
    assert keys_in(moto_storage, "runs/") == []


@on(S3_MOTO, of=())
def test_a_deletion_that_slept_too_long_takes_nobody_elses_sidecar(storage, filled, monkeypatch):
    """Its mark had long counted as a dead one, and somebody has written the name meanwhile."""
    real = commit.remove_bytes_under_mark

    def sleep(operations):
        failed = real(operations)
        with monkeypatch.context() as patched:
            long_ago(patched)
            write(storage, b"new bytes")
        return failed

    replace_step(monkeypatch, "DELETE_MARKED", real, sleep)
    filled.delete_media(NAME)
    assert filled.fs.cat_file(NAME) == b"new bytes"
    assert torn(storage) == set()


@on(S3_MOTO, of=())
def test_an_unanswered_put_of_a_sidecar_that_was_done_is_a_success(storage, filled):
    """Asked again, it is refused because of its own first success."""
    lost = WrongAnswer("PUT", target=r"\.meta$", field="if-match", times=1, change="closed", after=True)
    with storage.server.answering(lost):
        filled.fs.pipe_file(NAME, b"new bytes")
    assert filled.fs.cat_file(NAME) == b"new bytes"
    assert torn(storage) == set()
    with storage.server.answering(lost):
        filled.fs.setxattrs(NAME, {"user.a": "1"})
    assert filled.fs.getxattr(NAME, "user.a") == "1"
    with storage.server.answering(lost):
        filled.delete_media(NAME)
    assert filled.fs.find("") == []


def test_a_server_that_refuses_conditions_can_found_a_store(moto_storage, monkeypatch):
    """Backblaze B2 answers 501 to them."""
    monkeypatch.setattr(fsspec_backend, "_EXCLUSIONS", {})
    body = b"<Error><Code>NotImplemented</Code><Message>A header is not implemented</Message></Error>"
    rules = [WrongAnswer("PUT", field=field, body=body, status=501) for field in ("if-match", "if-none-match")]
    with moto_storage.server.answering(*rules):
        store = opened(moto_storage)
        put(store)
        for data in (b"bytes", b"new bytes"):
            store.fs.pipe_file(NAME, data)
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
def renaming(tmp_path):
    """Give a store with a media that is due, and its disk."""
    fsspec.register_implementation("renaming", RenamingFileSystem, clobber=True)
    store = MediaStore(f"renaming://{tmp_path}/store").create()
    assert store._backend.exclusion is Exclusion.RENAME
    store.fs.pipe_file(NAME, b"bytes")
    store.apply_policy(NAME, "delete-after-1min")
    return store, LocalStorage("renaming", str(tmp_path / "store"))


def swept(store):
    return [each.reference for each in store.enforce_policy(now=datetime.now(UTC) + timedelta(minutes=3)).deleted]


def test_a_sweep_by_rename_leaves_nothing_and_what_one_had_caught_goes_to_quarantine_where_others_lie(renaming):
    store, storage = renaming
    key = keys.aside_key(NAME, store._backend.root_length)
    storage.write(key, b"caught")
    assert [each.key for each in store.verify(repair=True, **AT_ONCE, dry_run=True).findings] == [key]
    store.verify(repair=True, **AT_ONCE)
    assert store.fs.cat_file(NAME) == b"bytes"
    assert keys_in(storage, keys.ASIDE) == []
    assert b"caught" in [storage.read(each) for each in keys_in(storage, keys.QUARANTINE)]
    assert swept(store) == [NAME]
    assert keys_in(storage, keys.ASIDE) == keys_in(storage, "runs/") == []
    store.fs.pipe_file(NAME, b"new")
    store.fs.mv(NAME, "runs/r1/other.bin")
    store.delete_media("runs/r1/other.bin")
    assert store.verify(deep=True).findings == ()


@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "dies"])
def test_a_sweep_by_rename_gives_back_what_was_written_meanwhile(renaming, monkeypatch, dies):
    """The write was acknowledged; a sweep beside it used to take its bytes."""
    store, storage = renaming
    real, written = type(store._backend).rename, []

    def overwritten(backend, source, target):
        if source == NAME and not written:
            written.append(NAME)
            MediaStore(store.url).fs.pipe_file(NAME, NEW)
            MediaStore(store.url).apply_policy(NAME, None)
        if dies and target == NAME:
            raise KeyboardInterrupt
        return real(backend, source, target)

    with monkeypatch.context() as patched:
        patched.setattr(type(store._backend), "rename", overwritten)
        with pytest.raises(KeyboardInterrupt) if dies else nullcontext():
            assert swept(store) == []
    assert len(keys_in(storage, keys.ASIDE)) == dies
    if dies:
        assert {each.kind for each in store.verify().findings} == {"missing-bytes", "bytes"}, "young, and not foreign"
        assert "foreign" not in {each.kind for each in store.verify(repair="leftovers", dry_run=True).findings}
        store.verify(repair=True, **AT_ONCE, force=True)
    assert keys_in(storage, keys.ASIDE) == []
    assert store.fs.cat_file(NAME) == NEW
    assert store.info(NAME).expires_at is None
    assert torn(storage) == set()
    assert store.verify(deep=True).whole


# -- what keeps two writers of one name apart: conditions of a PUT, or a lock that dies with its holder ----


LOCK, CONDITIONS, NONE = Exclusion.LOCK, Exclusion.CONDITIONS, Exclusion.NONE
KEPT = {LOCAL: LOCK, MEMORY: LOCK, **dict.fromkeys((S3_MOTO, S3_SEAWEED, GCS), CONDITIONS), S3_RCLONE: NONE}
TYPE = "application/json"


def backend_of(storage):
    return open_backend(storage.url, storage.options, timeout=timedelta(seconds=30))


@pytest.fixture
def backend(some_storage):
    return backend_of(some_storage)


@pytest.fixture
def disk(local_storage):
    return backend_of(local_storage)


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
        assert backend.exclusion is backend_of(some_storage).exclusion is found
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
    backend = backend_of(gcs_storage)
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
    locked(backend_of(local_storage))


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
    real = fsspec_backend.FsspecBackend.fetch

    def fetch(*args, **kwargs):
        found = real(*args, **kwargs)
        return found._replace(tokens=[None] * len(found.tokens))

    return lambda: monkeypatch.setattr(fsspec_backend.FsspecBackend, "fetch", fetch)


MORE_CHANGES = {
    "settings": lambda store: store._settings_file.complete_due_index(),
    "drop": lambda store: named.drop_sidecar(store._backend, NAME, named.see(store._backend, NAME)),
    "update": lambda store: update_object(store._backend, SIDECAR, lambda _: b"{}", TYPE),
}


@conditional
def test_what_was_read_without_a_token_is_not_replaced(some_storage, tokenless):
    """An unconditional PUT would go over what others have written meanwhile."""
    some_storage.write(keys.CONFIGURATION_KEY, replace(Configuration(), due_index="partial").dump())
    store = opened(some_storage)
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
    backend = backend_of(storage)
    item = commit.DeleteOperation(backend, NAME, seen=named.see(backend, NAME))
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
    backend = backend_of(moto_storage)
    moto_storage.write(SIDECAR, b'{"run_id": "r1"}')
    seen, real = named.see(backend, NAME), s3.S3Backend.put

    def put(self, key, *args, **kwargs):
        real(self, key, *args, **kwargs)
        raise refused(key)

    assert backend.exclusion is CONDITIONS
    monkeypatch.setattr(s3.S3Backend, "put", put)
    named.drop_sidecar(backend, NAME, seen)
    assert moto_storage.keys() == set()


def test_a_switch_that_stands_beside_the_settings_is_on(rclone_storage):
    """Of two programs of 0.1 the last to write took back what the other had turned on, and died before it looked."""
    partial = replace(Configuration(), adopted=True, due_index="partial")
    rclone_storage.write(keys.CONFIGURATION_KEY, partial.dump())
    rclone_storage.write(keys.switch_key("deduplicate"), b"")
    assert backend_of(rclone_storage).exclusion is NONE  # a write has found that out
    found, n = counted(rclone_storage, lambda: settings_file.SettingsFile(backend_of(rclone_storage), Settings()))
    assert found.configuration == replace(partial, deduplicate=True)
    # The heads go with the settings, in one round trip.
    assert n == {"get": 1, "head": len(settings_file.SWITCHES)}, n
    assert opened(rclone_storage).verify(repair=True).due_index == "complete"
    wanted = replace(partial, deduplicate=True, due_index="complete")
    assert Configuration.parse(rclone_storage.read(keys.CONFIGURATION_KEY)) == wanted


@over(S3_MOTO, S3_RCLONE, GCS)
def test_reading_settings_does_not_ask_what_a_server_keeps(some_storage, monkeypatch):
    opened(some_storage).create()
    monkeypatch.setattr(fsspec_backend, "_EXCLUSIONS", {})
    backend = backend_of(some_storage)
    for known in (False, True):
        looks = {"head": 2 * len(settings_file.SWITCHES)} if known and backend.exclusion is NONE else {}
        _, n = counted(some_storage, lambda: settings_file.SettingsFile(backend, Settings()).reload())
        assert n == {"get": 2, **looks}, n
        assert (backend.known_exclusion is not None) == known
        assert (backend.exclusion is NONE) == (some_storage.name == S3_RCLONE)
