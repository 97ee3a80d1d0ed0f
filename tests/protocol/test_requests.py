"""What operations cost at the wire, counted by the relay before the servers: section 10 of the contract."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fsmedia import InvalidReferenceError, MediaContent, MediaMetadata, MediaNotFoundError, MediaStore
from fsmedia.storage import SEEK_BLOCK
from tests.servers import Requests
from tests.storages import GCS, ObjectStorage, S3Storage, switch_looks

MANY = 1_200
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20_000)


def opened(storage: ObjectStorage, **options: Any) -> MediaStore:
    """Open a store that has its settings, and warm the connection."""
    store = MediaStore(storage.url, storage_options=storage.options, **options).create()
    store.exists("runs/none/none.png")
    return store


def picture() -> tuple[MediaContent, MediaMetadata]:
    return MediaContent.from_bytes(PNG), MediaMetadata(run_id="r1")


def within(counted: Requests, storage: ObjectStorage, **budget: int) -> bool:
    """Tell whether exactly these requests were made; on GCS no more than these and nothing else."""
    if storage.name != GCS:
        return counted == budget
    return set(counted) <= set(budget) and all(counted[kind] <= number for kind, number in budget.items())


def test_store(object_storage: ObjectStorage) -> None:
    store = opened(object_storage)
    with object_storage.counted() as n:
        reference = store.store_media(*picture())
    assert within(n, object_storage, put=2), n
    if object_storage.name != GCS:
        prefix = object_storage.prefix
        assert [call.key for call in n.calls] == [f"{prefix}{reference}", f"{prefix}{reference}.meta"]


def test_store_by_pieces(object_storage: ObjectStorage, tmp_path: Path) -> None:
    """A stream, a file and a writer cost what bytes cost."""
    store = opened(object_storage)
    source = tmp_path / "a.png"
    source.write_bytes(PNG)
    with object_storage.counted() as n:
        store.store_media(MediaContent.from_path(source), MediaMetadata(run_id="r1"))
    assert within(n, object_storage, put=2), n
    with object_storage.counted() as n, source.open("rb") as file:
        store.store_media(MediaContent.from_stream(file), MediaMetadata(run_id="r1"))
    assert within(n, object_storage, put=2), n
    with object_storage.counted() as n, store.create_media(MediaMetadata(run_id="r1"), "image/png") as writer:
        writer.write(PNG)
    assert within(n, object_storage, put=2), n


def test_store_in_a_store_opened_anew(object_storage: ObjectStorage) -> None:
    opened(object_storage)
    store = MediaStore(object_storage.url, storage_options=object_storage.options)
    with object_storage.counted() as n:
        store.store_media(*picture())
    assert within(n, object_storage, put=2), n


def test_store_of_a_refused_media_asks_nothing(object_storage: ObjectStorage) -> None:
    store = opened(object_storage, max_file_size=100)
    with object_storage.counted() as n, pytest.raises(ValueError, match="larger than"):
        store.store_media(*picture())
    assert n == {}


def test_retrieve(object_storage: ObjectStorage) -> None:
    store = opened(object_storage)
    reference = store.store_media(*picture())
    with object_storage.counted() as n:
        content = store.retrieve_media(reference)
    assert within(n, object_storage, get=1, head=1), n
    with object_storage.counted() as n:
        assert content.read_bytes() == PNG
    assert sum(n.values()) <= 2, n


def test_read_and_stream(object_storage: ObjectStorage) -> None:
    store = opened(object_storage)
    reference = store.store_media(*picture())
    with object_storage.counted() as n:
        assert store.read(reference) == PNG
    assert within(n, object_storage, get=2), n
    with object_storage.counted() as n:
        assert store.read(reference, 5, 50) == PNG[5:50]
    assert within(n, object_storage, get=1), n
    with object_storage.counted() as n:
        assert b"".join(store.stream(reference)) == PNG
        assert b"".join(store.stream(reference, 5, 50)) == PNG[5:50]
    # Each opens a file: its sidecar and a look at it in one round trip, and then the bytes.
    assert sum(n.values()) <= 6, n


def test_retrieve_with_a_local_copy(object_storage: ObjectStorage) -> None:
    store = opened(object_storage)
    reference = store.store_media(*picture())
    with object_storage.counted() as n:
        content = store.retrieve_media(reference, local_copy=True)
        assert content.read_bytes() == PNG
        assert content.local_path().read_bytes() == PNG
    assert within(n, object_storage, get=2, head=1), n


@pytest.mark.parametrize(("ask", "reads"), [("info", 2), ("metadata", 1)])
def test_info(ask: str, reads: int, object_storage: ObjectStorage) -> None:
    """Only `info` asks for the hold."""
    store = opened(object_storage)
    reference = store.store_media(*picture())
    with object_storage.counted() as n:
        getattr(store, ask)(reference)
    assert within(n, object_storage, get=reads, head=1), n


def test_exists(object_storage: ObjectStorage) -> None:
    store = opened(object_storage)
    reference = store.store_media(*picture())
    with object_storage.counted() as n:
        assert store.exists(reference)
        assert not store.exists(f"{reference}x")
    assert within(n, object_storage, head=4), n


def test_delete(object_storage: ObjectStorage) -> None:
    store = opened(object_storage)
    reference = store.store_media(*picture())
    with object_storage.counted() as n:
        store.delete_media(reference)
    assert n["delete"] == 2, n
    assert n["get"] + n["head"] <= 2, n
    assert set(n) <= {"delete", "get", "head"}, n
    assert [call.key.rpartition("/")[2] for call in n.calls if call.kind == "delete"] == [
        f"{reference.rpartition('/')[2]}.meta",
        reference.rpartition("/")[2],
    ]


def test_delete_of_what_is_gone(object_storage: ObjectStorage) -> None:
    store = opened(object_storage)
    reference = store.store_media(*picture())
    store.delete_media(reference)
    with object_storage.counted() as n:
        store.delete_media(reference)
    assert n["delete"] <= 2, n
    # Sidecar, hold, a look whether it is a folder, two deletes, and whether anything is written down about media that
    # got other names.
    assert sum(n.values()) <= 6, n


def test_read_all(object_storage: ObjectStorage) -> None:
    store = opened(object_storage)
    reference = store.store_media(*picture())
    with object_storage.counted() as n, store.open(reference) as file:
        assert file.read() == PNG
    # The sidecar beside the look at the bytes, in one round trip.
    assert sum(n.values()) <= 3, n
    with object_storage.counted() as n:
        assert store.fs.cat_file(reference) == PNG
    assert within(n, object_storage, get=2), n
    with object_storage.counted() as n:
        assert store.fs.cat_file(reference, 5, 50) == PNG[5:50]
    assert within(n, object_storage, get=1), n


def test_bulk_cat_reads_no_sidecars_unless_told(object_storage: ObjectStorage) -> None:
    store = opened(object_storage)
    references = [store.store_media(*picture()) for _ in range(3)]
    with object_storage.counted() as n:
        assert set(store.fs.cat(references).values()) == {PNG}
    assert within(n, object_storage, get=3), n
    always = opened(object_storage, verify_reads="always")
    with object_storage.counted() as n:
        assert set(always.fs.cat(references).values()) == {PNG}
    assert within(n, object_storage, get=6), n


class Sent:
    """Byte counts of the answers, seen by the client's own library: the relay notes requests only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from aiohttp import StreamReader

        self.bytes = 0
        real = StreamReader.feed_data

        def feed(reader: Any, data: bytes, *args: Any) -> Any:
            self.bytes += len(data)
            return real(reader, data, *args)

        monkeypatch.setattr(StreamReader, "feed_data", feed)


def test_seek(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One seek in 10 MB brings about two blocks of 256 KiB, not all of it."""
    data = bytes(range(256)) * 40_000
    store = opened(object_storage)
    reference = store.store_media(MediaContent.from_bytes(data, "video/mp4"), MediaMetadata(run_id="r1"))
    sent = Sent(monkeypatch)
    with object_storage.counted() as n, store.open(reference) as file:
        file.seek(5_000_001)
        assert file.read(10) == data[5_000_001:5_000_011]
    assert sum(n.values()) <= 3, n
    assert 10 <= sent.bytes <= 2 * SEEK_BLOCK + 20_000


def test_reading_on_asks_for_blocks(rclone_storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 4096
    store = opened(rclone_storage)
    reference = store.store_media(MediaContent.from_bytes(data, "video/mp4"), MediaMetadata(run_id="r1"))
    sent = Sent(monkeypatch)
    with rclone_storage.counted() as n, store.open(reference) as file:
        assert b"".join(iter(lambda: file.read(10_000), b"")) == data
    assert n["get"] <= len(data) // SEEK_BLOCK + 1, n
    assert sent.bytes < 1.1 * len(data)


def test_the_count_of_bytes_sees_them(moto_storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail: what is read whole is counted whole."""
    moto_storage.write("a", bytes(2_000_000))
    sent = Sent(monkeypatch)
    moto_storage.filesystem().cat_file(moto_storage.path("a"))
    assert sent.bytes >= 2_000_000


# -- listings ----------------------------------------------------------------------------------------------


def seed(storage: S3Storage, **runs: int) -> MediaStore:
    """Put media where rclone serves files from, before it looks there for the first time; open the store over S3."""
    bucket = storage.server.data_folder / storage.bucket
    folder = MediaStore(bucket, durability="rename")
    for run, number in runs.items():
        reference = folder.store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id=run))
        unique, ext = reference.rpartition("/")[2][8:35], reference.rpartition(".")[2]
        for index in range(1, number):
            copy = f"runs/{run}/{index:04d}_00_{unique}.{ext}"
            shutil.copy(bucket / reference, bucket / copy)
            shutil.copy(bucket / f"{reference}.meta", bucket / f"{copy}.meta")
    return opened(storage)


def test_list_by_the_id_of_the_folder(rclone_storage: S3Storage) -> None:
    store = seed(rclone_storage, r1=MANY, r2=2)
    with rclone_storage.counted() as n:
        found = list(store.list(run_id="r1"))
    assert len(found) == MANY
    assert n == {"list": -(-2 * MANY // 1000)}, n
    with rclone_storage.counted() as n:
        assert len(list(store.list())) == MANY + 2
    assert set(n) == {"list"}, n
    assert n["list"] <= -(-2 * (MANY + 3) // 1000), n
    with rclone_storage.counted() as n:
        assert len(list(store.list(run_id="r1", limit=5))) == 5
    assert n == {"list": 1}, n


def test_list_by_what_sidecars_say(rclone_storage: S3Storage) -> None:
    """n reads of sidecars for n media, several at a time; past the first 64 one look whether there is a catalog."""
    from s3fs import S3FileSystem

    number = 200
    store = seed(rclone_storage, r1=number)
    under_way, most = 0, 0
    real = S3FileSystem._call_s3

    async def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await real(self, *args, **kwargs)
        finally:
            under_way -= 1

    with pytest.MonkeyPatch.context() as patched, rclone_storage.counted() as n:
        patched.setattr(S3FileSystem, "_call_s3", watched)
        assert len(list(store.list(mime_type="image/*"))) == number
    assert n == {"get": number, "list": 2}, n
    assert ["catalog" in call.target for call in n.calls if call.kind == "list"] == [False, True], n.calls
    assert {call.key[-5:] for call in n.calls if call.kind == "get"} == {".meta"}
    assert most >= 8


def test_opening_a_store(object_storage: ObjectStorage) -> None:
    """It reads the settings and writes nothing; where it is known that nothing keeps two apart, two heads go along."""
    store = opened(object_storage)
    store.store_media(*picture())
    assert store._backend.exclusion is not None  # asks
    before = object_storage.keys()
    with object_storage.counted() as n:
        MediaStore(object_storage.url, storage_options=object_storage.options, read_only=True)
    assert within(n, object_storage, get=1, **switch_looks(store)), n
    assert object_storage.keys() == before


def test_a_key_that_looks_like_a_version_is_a_key(object_storage: ObjectStorage) -> None:
    """s3fs cuts `?versionId=` off a key: deleting a media that is not there removed another's bytes."""
    store = opened(object_storage)
    reference = store.store_media(*picture())
    before = object_storage.keys()
    for ending in ("?versionId=1", "?versionId="):
        for refused in (store.delete_media, store.retrieve_media, store.open, store.exists):
            with pytest.raises(InvalidReferenceError, match="versionId"):
                refused(f"{reference}{ending}")
        assert object_storage.keys() == before, ending
    for ending in ("#1", "?generation=1"):
        store.delete_media(f"{reference}{ending}")
        assert object_storage.keys() == before, ending
        assert not store.exists(f"{reference}{ending}"), ending
        with pytest.raises(MediaNotFoundError):
            store.retrieve_media(f"{reference}{ending}")
        with pytest.raises(MediaNotFoundError), store.open(f"{reference}{ending}") as file:
            file.read()
    assert json.loads(object_storage.read(f"{reference}.meta"))["run_id"] == "r1"
    assert store.retrieve_media(reference).read_bytes() == PNG


def test_the_counts_see_a_request_too_many(moto_storage: S3Storage) -> None:
    """These tests can fail."""
    store = opened(moto_storage)
    with moto_storage.counted() as n:
        store.store_media(*picture())
        store._backend.head("anything")
    assert not within(n, moto_storage, put=2)
