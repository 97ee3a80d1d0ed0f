"""What a sync costs at the wire, and what it makes of a wire that spoils bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError
from tests.servers import FakeGcsServer, S3Server
from tests.storages import GcsStorage, LocalStorage, ObjectStorage, S3Storage
from tests.transfers import media_of, opened, synced

COUNT = 30


def fill(storage: Any, count: int = COUNT, **settings: Any) -> MediaStore:
    """Store so many media, a third of them with a policy."""
    store = opened(storage, **settings).create()
    store.store_many(
        (
            MediaContent.from_bytes(b"text %d" % at, "text/plain"),
            MediaMetadata(run_id="r1", policy_name="retain-9days" if at % 3 == 0 else None),
        )
        for at in range(count)
    )
    return store


# -- requests ----------------------------------------------------------------------------------------------


def test_to_s3(local_storage: LocalStorage, moto_storage: S3Storage) -> None:
    """Two listings, of media and of holds; then two PUT a media, three with a policy. Again: a GET each."""
    fill(local_storage)
    with moto_storage.counted() as n:
        assert synced(local_storage, moto_storage).copied == COUNT
    # The settings: looked at when the root is opened and in the two folders above, made under a condition, read back;
    # nothing lies there yet.
    assert n == {"get": 4, "head": 1, "list": 3, "put": 1 + 2 * COUNT + COUNT // 3}, n
    with moto_storage.counted() as n:
        assert synced(local_storage, moto_storage).unchanged == COUNT
    assert n == {"get": 1 + COUNT, "list": 2}, n
    with moto_storage.counted() as n:
        assert synced(local_storage, moto_storage, run_id="r1", dry_run=True, delete=True).unchanged == COUNT
    # A listing of one run does not show whether the folder of all runs is another store's.
    assert n == {"get": 1 + COUNT, "head": 1, "list": 2}, n


def test_from_s3(moto_storage: S3Storage, local_storage: LocalStorage) -> None:
    """A GET for each sidecar, and one for the bytes of what is copied."""
    store = fill(moto_storage)
    with moto_storage.counted() as n:
        assert store.sync_to(local_storage.url).copied == COUNT
    assert n == {"get": 2 * COUNT, "list": 2}, n
    with moto_storage.counted() as n:
        assert store.sync_to(local_storage.url).unchanged == COUNT
    assert n == {"get": COUNT, "list": 2}, n


def test_within_one_storage(moto_storage: S3Storage, moto: S3Server) -> None:
    """S3 copies the bytes: a copy and a look each, none of them passes here."""
    store = fill(moto_storage)
    target = S3Storage("s3-moto", *moto.new_root("lab/other"), moto)
    with moto_storage.counted() as n:
        assert synced(moto_storage, target).failed == ()
    assert n["copy"] == COUNT, n
    assert n["get"] == COUNT + 5, n  # the sidecars, and the settings of both and of the two folders above
    assert n["head"] == COUNT + 1, n
    assert n["put"] == 1 + COUNT + COUNT // 3, n
    assert media_of(target) == media_of(moto_storage)
    first = next(store.list())
    assert target.content_type(first) == moto_storage.content_type(first) == "text/plain"


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "shared"])
def test_shared_bytes_are_copied_within_one_storage(deduplicate: bool, object_storage: ObjectStorage) -> None:
    store = opened(object_storage, deduplicate=True)
    for at in range(9):
        store.store_media(MediaContent.from_bytes(b"text %d" % (at % 3), "text/plain"), MediaMetadata(run_id="r1"))
    target = type(object_storage)(
        object_storage.name, *object_storage.server.new_root("lab/other"), object_storage.server
    )
    with object_storage.counted() as n:
        assert synced(object_storage, target, deduplicate=deduplicate).failed == ()
    assert n["copy"] == (3 if deduplicate else 9), n
    assert not [call for call in n.calls if call.kind == "get" and "/data/" in call.key and "?alt" in call.target], n
    assert media_of(target) == media_of(object_storage)


def test_within_gcs(gcs_storage: GcsStorage, fake_gcs: FakeGcsServer) -> None:
    store = fill(gcs_storage)
    target = GcsStorage("gcs", *fake_gcs.new_root("lab/other"), fake_gcs)
    with gcs_storage.counted() as n:
        assert synced(gcs_storage, target).failed == ()
    assert n["copy"] == COUNT, n
    assert media_of(target) == media_of(gcs_storage)
    assert target.content_type(next(store.list())) == "text/plain"


def test_shared_bytes_go_once(object_storage: ObjectStorage, local_storage: LocalStorage) -> None:
    """What the target has already is neither read nor sent."""
    store = opened(object_storage, deduplicate=True)
    for run in ("r1", "r2", "r3"):
        store.store_media(MediaContent.from_bytes(b"the same", "text/plain"), MediaMetadata(run_id=run))
    with object_storage.counted() as n:
        assert store.sync_to(local_storage.url).copied == 3
    assert len([call for call in n.calls if "/data/" in call.key and call.kind == "get"]) == 1, n.calls


# -- a wrong byte on the way -------------------------------------------------------------------------------


@contextmanager
def spoiling(server: S3Server, sound: bytes, spoiled: bytes, *, answers: bool) -> Iterator[str]:
    """Stand before a server, and change bytes in its answers, or in what is sent to it; gives the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = server.direct_url.removeprefix("http://").split(":")

    def pump(source: socket.socket, sink: socket.socket, *, spoil: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data.replace(sound, spoiled) if spoil else data)
            sink.shutdown(socket.SHUT_WR)

    opened: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                client = listener.accept()[0]
                there = socket.create_connection((host, int(port)))
                opened.extend((client, there))
                for pair, spoil in (((client, there), not answers), ((there, client), answers)):
                    threading.Thread(target=pump, args=pair, kwargs={"spoil": spoil}, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for each in opened:
            each.close()


SOUND, SPOILED = b"these bytes travel", b"these bytes travol"


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "shared"])
def test_what_is_read_wrong_is_not_stored(
    deduplicate: bool, rclone_storage: S3Storage, local_storage: LocalStorage
) -> None:
    store = fill(rclone_storage, 2)
    reference = store.store_media(MediaContent.from_bytes(SOUND, "text/plain"), MediaMetadata(run_id="r1"))
    with spoiling(rclone_storage.server, SOUND, SPOILED, answers=True) as url:
        far = MediaStore(rclone_storage.url, storage_options={**rclone_storage.options, "endpoint_url": url})
        report = far.sync_to(local_storage.url, deduplicate=deduplicate)
    assert [each.reference for each in report.failed] == [reference]
    assert "other bytes" in str(report.failed[0].error)
    assert len(media_of(local_storage)) == report.copied == 2
    assert synced(rclone_storage, local_storage).copied == 1
    assert media_of(local_storage) == media_of(rclone_storage)


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "shared"])
def test_what_is_sent_wrong_is_seen_when_all_is_read_again(
    deduplicate: bool, moto_storage: S3Storage, local_storage: LocalStorage
) -> None:
    store = fill(local_storage, 2)
    reference = store.store_media(MediaContent.from_bytes(SOUND, "text/plain"), MediaMetadata(run_id="r1"))
    with spoiling(moto_storage.server, SOUND, SPOILED, answers=False) as url:
        options = {**moto_storage.options, "endpoint_url": url}
        report = store.sync_to(moto_storage.url, storage_options=options, verify_copies="read", deduplicate=deduplicate)
    assert [each.reference for each in report.failed] == [reference]
    assert isinstance(report.failed[0].error, StorageError)
    assert "the target has" in str(report.failed[0].error)
    assert len(media_of(moto_storage)) == report.copied == 2
    assert synced(local_storage, moto_storage).copied == 1
    assert media_of(moto_storage) == media_of(local_storage)


def test_a_copy_within_the_storage_can_be_read(moto_storage: S3Storage, moto: S3Server) -> None:
    store = fill(moto_storage, 2)
    wrong = next(store.list())
    moto_storage.write(wrong, b"text X")
    for check, failed in (("size", 0), ("read", 1)):
        target = S3Storage("s3-moto", *moto.new_root("lab/other"), moto)
        report = synced(moto_storage, target, verify_copies=check)
        assert len(report.failed) == failed, "a copy that nobody reads can't be told"
        assert report.copied == 2 - failed
    assert len(media_of(target)) == 1
