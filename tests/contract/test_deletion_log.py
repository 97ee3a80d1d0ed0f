"""The record of deletions: a line for each media that is gone, whoever took it away, and word of what is missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from fsmedia import BulkError, Deletion, InvalidMediaError, MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.storage.memory import MemoryBackend
from tests.conftest import storages
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
    """Return all lines in the store, in order."""
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
    ("storage", "way"),
    [*((name, way) for name in (LOCAL, MEMORY) for way in WAYS), (S3_MOTO, "sweep"), (S3_MOTO, "delete-many")],
    indirect=["storage"],
)
def test_a_line_for_each_in_the_store(storage, way):
    store = opened(storage)
    refs = [put(store, text=f"bytes {number}") for number in range(3)]
    records = {each: store.info(each) for each in refs}
    before = storage.keys()
    WAYS[way](store, refs)
    lines, after = recorded(storage), storage.keys()
    assert sorted(line["reference"] for line in lines) == sorted(refs)
    for line in lines:
        found, record = Deletion.model_validate(line), records[line["reference"]]
        assert (found.sha256, found.size_bytes, found.policy_name) == (record.sha256, 7, "retain-1days")
        assert (found.expires_at, found.deleted_at) == (DUE, NOW)
        assert ("retain-1days let it go" in found.reason) == (way == "sweep")
    assert {key.split("/")[2] for key in after if key.startswith(DELETIONS)} == {NOW.date().isoformat()}
    aside = (DELETIONS, "runs/", ".fsmedia/due/")
    assert {key for key in after if not key.startswith(aside)} == {key for key in before if not key.startswith(aside)}
    assert not {key for key in after if key.startswith("runs/r1/")}
    # The record is no media.
    left = sorted(key for key in after if key.startswith("runs/") and key[-5:] != ".meta")
    assert list(opened(storage).list()) == store.fs.find("") == left
    assert store.verify(repair=True).media == len(left)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_for_each(storage, way):
    seen = []
    store = opened(storage, seen.append)
    refs = [put(store) for _ in range(3)]
    WAYS[way](store, refs)
    assert sorted(each.reference for each in seen) == sorted(refs)
    assert all(isinstance(each, Deletion) and each.deleted_at == NOW for each in seen)
    assert recorded(storage) == []


def test_what_is_not_deleted_is_not_recorded(memory_storage):
    seen = []
    store = opened(memory_storage, seen.append)
    held, staying, gone = put(store), put(store, "retain-30days"), put(store)
    store.hold(held, "a reason")
    store.enforce_policy(now=NOW, dry_run=True)
    assert seen == []
    store.enforce_policy(now=NOW)
    assert [each.reference for each in seen] == [gone]
    with pytest.raises(BulkError):
        store.delete_many([held])
    store.delete_media(gone)
    assert len(seen) == 1, "what is gone already is not deleted again"
    store.delete_media(staying)
    assert [each.reference for each in seen] == [gone, staying]


def failing(storage, monkeypatch, kind):
    """Give a store whose record fails for the second media, or in the store for all; and that media."""
    if kind == "call":
        refused = []

        def log(deletion):
            if deletion.reference in refused:
                raise ConnectionError("the log's server is gone")

        store = opened(storage, log)
        refs = [put(store) for _ in range(3)]
        refused.append(refs[1])
        return store, refs, {refs[1]}
    store = opened(storage)
    refs = [put(store) for _ in range(3)]
    real = MemoryBackend.write

    def write(backend, key, data, content_type):
        if key.startswith(DELETIONS):
            raise StorageError("no answer", key=key)
        real(backend, key, data, content_type)

    monkeypatch.setattr(MemoryBackend, "write", write)
    return store, refs, set(refs)


@pytest.mark.parametrize("kind", ["call", "store"])
@pytest.mark.parametrize("way", ["sweep", "delete-many"])
def test_a_record_that_fails_is_told_of(memory_storage, monkeypatch, kind, way):
    """The media are gone either way, and whoever deleted them hears which stand in no record."""
    store, refs, missing = failing(memory_storage, monkeypatch, kind)
    if way == "sweep":
        report = store.enforce_policy(now=NOW)
        assert {each.reference for each in report.deleted} == set(refs)
        assert {each.reference for each in report.failed} == missing
        assert all("its record could not be written" in str(each.error) for each in report.failed)
    else:
        with pytest.raises(BulkError) as caught:
            store.delete_many(refs)
        assert {refs[index] for index in caught.value.errors} == missing
        assert {error.reference for error in caught.value.errors.values()} == missing
    assert list(store.list()) == []


def test_a_record_that_fails_is_told_of_by_one_delete(memory_storage, monkeypatch):
    store, refs, _ = failing(memory_storage, monkeypatch, "store")
    for delete in (store.delete_media, store.fs.rm_file):
        reference = refs.pop()
        with pytest.raises(StorageError, match="was deleted, but its record") as caught:
            delete(reference)
        assert caught.value.reference == reference
        assert not store.exists(reference)


def test_what_can_keep_no_record_is_refused(memory_storage):
    for log in ("elsewhere", 5, ["store"]):
        with pytest.raises(InvalidMediaError, match="deletion_log"):
            opened(memory_storage, log)


@pytest.mark.parametrize("way", ["delete", "delete-many", "rm-one", "rm"])
def test_what_has_no_sidecar_is_recorded_too(storage, way):
    """A file of another program's is a media, and so is its deletion."""
    seen = []
    store = opened(storage, seen.append).create()
    storage.write("runs/r1/theirs.png", b"\x89PNG\r\n\x1a\n")
    storage.write("runs/r1/too.png", b"")
    WAYS[way](store, ["runs/r1/theirs.png", "runs/r1/too.png"])
    assert sorted((each.reference, each.size_bytes, each.sha256) for each in seen) == [
        ("runs/r1/theirs.png", 8, None),
        ("runs/r1/too.png", 0, None),
    ]
    assert {each.reason for each in seen} == {"deleted by request"}


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
        with pytest.raises((StorageError, BulkError)):
            WAYS[way](store, [reference])
    assert seen == []
    WAYS[way](store, [reference])
    assert [each.reference for each in seen] == [reference]
    WAYS[way](store, [reference])
    assert len(seen) == 1
