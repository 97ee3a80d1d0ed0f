"""What is held stays: no way of writing, copying, moving or removing takes it, and an attempt writes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fsmedia import BulkError, HeldMediaError, MediaContent, MediaMetadata, MediaStore

DATA = b"held"


@pytest.fixture
def store(storage) -> MediaStore:
    return MediaStore(storage.url, storage_options=storage.options).create()


@pytest.fixture
def own(store) -> str:
    """A media under a name of the store's own form."""
    metadata = MediaMetadata(
        run_id="r1", policy_name="delete-after-5min", timestamp=datetime.now(UTC) - timedelta(days=1)
    )
    return store.store_media(MediaContent.from_bytes(DATA, "text/plain"), metadata)


@pytest.fixture
def named(store) -> str:
    """A media under a name that a client chose."""
    store.fs.pipe_file("runs/r1/named.txt", DATA)
    return "runs/r1/named.txt"


def append(fs, name: str) -> None:
    with fs.open(name, "ab") as file:
        file.write(b"more")


def write(fs, name: str) -> None:
    with fs.open(name, "wb") as file:
        file.write(b"other")


WAYS = {
    "pipe": lambda fs, name: fs.pipe_file(name, b"other"),
    "pipe many": lambda fs, name: fs.pipe({name: b"other", "runs/r1/free.txt": b"free"}),
    "open": write,
    "append": append,
    "touch": lambda fs, name: fs.touch(name, truncate=True),
    "copy onto": lambda fs, name: fs.cp("runs/r2/other.txt", name),
    "move onto": lambda fs, name: fs.mv("runs/r2/other.txt", name),
    "move away": lambda fs, name: fs.mv(name, "runs/r3/away.txt"),
    "move the folder": lambda fs, _: fs.mv("runs/r1", "runs/r3", recursive=True),
    "remove": lambda fs, name: fs.rm(name),
    "remove one": lambda fs, name: fs.rm_file(name),
    "remove the folder": lambda fs, _: fs.rm("runs/r1", recursive=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_client_takes_what_is_held(way: str, storage, store, named) -> None:
    store.fs.pipe_file("runs/r2/other.txt", b"other")
    store.hold(named, "case 7", who="auditors")
    before = {key: storage.read(key) for key in sorted(storage.keys())}
    with pytest.raises(HeldMediaError, match=r"case 7|is held"):
        WAYS[way](store.fs, named)
    after = {key: storage.read(key) for key in sorted(storage.keys())}
    assert {key: after.get(key) for key in before} == before
    assert set(after) - set(before) <= {"runs/r1/free.txt", "runs/r1/free.txt.meta"}
    store.release(named)
    assert store.fs.cat(named) == DATA


def test_no_call_of_the_store_takes_what_is_held(storage, store, own) -> None:
    other = store.store_media(MediaContent.from_bytes(b"free", "text/plain"), MediaMetadata(run_id="r1"))
    store.hold(own, "case 7", who="auditors")
    assert store.info(own).hold == "case 7"
    with pytest.raises(HeldMediaError, match="auditors: 'case 7'"):
        store.delete_media(own)
    with pytest.raises(BulkError) as caught:
        store.delete_many([own, other])
    assert isinstance(caught.value.errors[0], HeldMediaError)
    report = store.enforce_policy()
    assert [(each.reference, each.reason) for each in report.skipped] == [(own, "held")]
    assert storage.read(own) == DATA
    assert not store.exists(other)
    store.release(own)
    assert [each.reference for each in store.enforce_policy().deleted] == [own]
