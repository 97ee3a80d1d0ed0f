"""The record of deletions: a line for each media that is gone, whoever took it away, and word of what is missing."""

import json
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from fsmedia import BulkError, Deletion, InvalidMediaError, MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.storage.memory import MemoryBackend
from tests.conftest import storages
from tests.contract.specimens import raised
from tests.storages import LOCAL, MEMORY, S3_MOTO

DELETIONS = ".fsmedia/deletions/"
NOW = datetime.now(UTC)
DUE = NOW - timedelta(days=1)
storage = storages(LOCAL, MEMORY, of=(LOCAL, MEMORY))


def opened(storage, log="store"):
    return MediaStore(storage.url, storage_options=storage.options, deletion_log=log, now=lambda: NOW)


def put(store, policy="retain-1days", text="some bytes"):
    metadata = MediaMetadata(run_id="r1", policy_name=policy, timestamp=NOW - timedelta(days=2))
    return store.store_media(MediaContent.from_bytes(text.encode(), "text/plain"), metadata)


def recorded(storage):
    files = sorted(key for key in sorted(storage.keys()) if key.startswith(DELETIONS))
    return [json.loads(line) for key in files for line in storage.read(key).splitlines()]


WAYS = {
    "sweep": lambda store, _: store.enforce_policy(now=NOW),
    "delete": lambda store, refs: [store.delete_media(each) for each in refs],
    "delete-many": lambda store, refs: store.delete_many(refs),
    "rm-one": lambda store, refs: [store.fs.rm_file(each) for each in refs],
    "rm": lambda store, _: store.fs.rm("runs/r1", recursive=True),
    "mv": lambda store, refs: [store.fs.mv(each, f"runs/r2/{number}.txt") for number, each in enumerate(refs)],
}


@pytest.mark.parametrize(
    ("storage", "way", "log"),
    [*product((LOCAL, MEMORY), WAYS, ("store", "call")), *product((S3_MOTO,), ("sweep", "delete-many"), ("store",))],
    indirect=["storage"],
)
def test_a_line_in_the_store_or_a_call_for_each_that_goes(storage, way, log):
    """A file of another program's is a media without a sidecar, and its deletion one, too."""
    seen = []
    store = opened(storage, log if log == "store" else seen.append)
    refs = [put(store, text=f"bytes {number}") for number in range(3)]
    records = {each: store.info(each) for each in refs}
    theirs = {} if way in ("sweep", "mv") else {"runs/r1/theirs.png": b"\x89PNG\r\n\x1a\n", "runs/r1/too.png": b""}
    before = storage.keys()
    for key, data in theirs.items():
        storage.write(key, data)
    WAYS[way](store, [*refs, *theirs])
    after = storage.keys()
    assert bool(recorded(storage)) == (log == "store")
    found = [Deletion.model_validate(line) for line in recorded(storage)] if log == "store" else seen
    assert sorted(each.reference for each in found) == sorted([*refs, *theirs])
    for each in found:
        assert isinstance(each, Deletion)
        assert each.deleted_at == NOW
        if each.reference in theirs:
            size = len(theirs[each.reference])
            assert (each.size_bytes, each.sha256, each.reason) == (size, None, "deleted by request")
        else:
            digest = records[each.reference].sha256
            assert (each.sha256, each.size_bytes, each.policy_name) == (digest, 7, "retain-1days")
            assert each.expires_at == DUE
            assert ("retain-1days let it go" in each.reason) == (way == "sweep")
    days = {key.split("/")[2] for key in after if key.startswith(DELETIONS)}
    assert days == ({NOW.date().isoformat()} if log == "store" else set())
    aside = (DELETIONS, "runs/", ".fsmedia/due/")
    assert {key for key in after if not key.startswith(aside)} == {key for key in before if not key.startswith(aside)}
    assert not {key for key in after if key.startswith("runs/r1/")}
    # The record is no media.
    left = sorted(key for key in after if key.startswith("runs/") and key[-5:] != ".meta")
    assert list(opened(storage).list()) == store.fs.find("") == left
    assert store.verify(repair=True).media == len(left)


def test_what_is_not_deleted_is_not_recorded(memory_storage):
    seen = []
    store = opened(memory_storage, seen.append)
    held, staying, gone = put(store), put(store, "retain-30days"), put(store)
    store.hold(held, "a reason")
    store.enforce_policy(now=NOW, dry_run=True)
    assert seen == []
    store.enforce_policy(now=NOW)
    assert [each.reference for each in seen] == [gone]
    raised(BulkError, store.delete_many, [held])
    store.delete_media(gone)
    assert len(seen) == 1, "what is gone already is not deleted again"
    store.delete_media(staying)
    assert [each.reference for each in seen] == [gone, staying]


@pytest.mark.parametrize(
    ("kind", "way"), [*product(["call", "store"], ["sweep", "delete-many"]), ("store", "one by one")]
)
def test_a_record_that_fails_is_told_of(memory_storage, monkeypatch, kind, way):
    """The media are gone either way, and whoever deleted them hears which stand in no record."""
    missing, real = set(), MemoryBackend.write

    def log(deletion):
        if deletion.reference in missing:
            raise ConnectionError("the log's server is gone")

    def write(backend, key, data, content_type):
        if key.startswith(DELETIONS):
            raise StorageError("no answer", key=key)
        real(backend, key, data, content_type)

    store = opened(memory_storage, log if kind == "call" else "store")
    refs = [put(store) for _ in range(3)]
    missing.update(refs[1:2] if kind == "call" else refs)
    monkeypatch.setattr(MemoryBackend, "write", write)
    if way == "sweep":
        report = store.enforce_policy(now=NOW)
        assert {each.reference for each in report.deleted} == set(refs)
        assert {each.reference for each in report.failed} == missing
        assert all("its record could not be written" in str(each.error) for each in report.failed)
    elif way == "delete-many":
        caught = raised(BulkError, store.delete_many, refs)
        assert {refs[index] for index in caught.errors} == missing
        assert {error.reference for error in caught.errors.values()} == missing
    else:
        for delete, each in zip((store.delete_media, store.fs.rm_file, store.delete_media), refs, strict=True):
            assert raised(StorageError, delete, each, match="was deleted, but its record").reference == each
    assert list(store.list()) == []


def test_what_can_keep_no_record_is_refused(memory_storage):
    for log in ("elsewhere", 5, ["store"]):
        raised(InvalidMediaError, opened, memory_storage, log, match="deletion_log")


@pytest.mark.parametrize("way", ["delete", "delete-many"])
def test_a_delete_that_is_finished_later_is_recorded(memory_storage, monkeypatch, way):
    """The first attempt lost its way after the sidecar: only the second knows that the media is gone."""
    seen = []
    store = opened(memory_storage, seen.append)
    reference = put(store)
    real = MemoryBackend.delete

    def delete(backend, names, **options):
        wanted = list(names)
        if reference in wanted:
            return {key: StorageError("no answer", key=key) for key in wanted}
        return real(backend, wanted, **options)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryBackend, "delete", delete)
        raised((StorageError, BulkError), WAYS[way], store, [reference])
    assert seen == []
    WAYS[way](store, [reference])
    assert [each.reference for each in seen] == [reference]
    WAYS[way](store, [reference])
    assert len(seen) == 1
