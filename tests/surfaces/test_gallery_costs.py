"""What a gallery costs on S3, counted at the wire: requests and bytes, the first time and the second."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from fsmedia.display.previewer import StoredSource
from tests.surfaces import specimens
from tests.surfaces.specimens import put

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import Requests
    from tests.storages import S3Storage

FEW, MANY = 40, 1_000


def filled(storage: S3Storage, count: int, data: bytes) -> None:
    """Copy one stored picture in the storage: a store call for each would only test the server."""
    store = MediaStore(storage.url, storage_options=storage.options).create()
    first = put(store, data, "image/png")
    sidecar = json.loads(storage.read(f"{first}.meta"))
    for index in range(1, count):
        key = first.replace("/0000_00_", f"/{index:04d}_00_")
        storage.write(key, data)
        storage.write(f"{key}.meta", json.dumps({**sidecar, "message_idx": index}).encode())


def originals(counted: Requests) -> int:
    """How many requests asked for bytes of media."""
    return sum(call.kind in ("get", "head") and not call.key.endswith((".meta", ".json")) for call in counted.calls)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all that was read of originals."""
    sizes: list[int] = []
    passed = StoredSource._there

    def watched(self: StoredSource, data: bytes | None) -> bytes:
        sizes.append(len(data or b""))
        return passed(self, data)

    monkeypatch.setattr(StoredSource, "_there", watched)
    return sizes


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.full)])
def test_a_gallery_reads_each_original_once_and_then_none(
    count: int, moto_storage: S3Storage, cache_folder: Path
) -> None:
    data = specimens.noise()
    filled(moto_storage, count, data)
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    listings = -(-2 * count // 1000) + 1  # and one of the holds
    for seen_before in (False, True):
        with moto_storage.counted() as n:
            gallery = store.gallery(run_id="r1", limit=count, progress=False)
        assert len(gallery) == gallery.totals.media == count
        assert n["list"] <= listings, n["list"]
        assert originals(n) == (0 if seen_before else count)
        # One sidecar and, the first time, one read of the whole: two requests a media.
        assert n["get"] <= (1 if seen_before else 2) * count
        assert set(n) <= {"get", "list"}
        assert len(gallery.html().encode()) <= 2 * 2**20
    assert len([path for path in cache_folder.rglob("*") if path.is_file()]) == 2 * count
    other = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    with moto_storage.counted() as n:
        small = other.gallery(run_id="r1", limit=5, progress=False)
    assert originals(n) == 0  # larger pictures of fewer media come out of the cache too
    assert all(preview.image for preview in small.previews)


def test_bytes_read_are_bounded(moto_storage: S3Storage, cache_folder: Path, received: list[int]) -> None:
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options).create()
    picture, text = specimens.noise(), b"line\n" * 100_000
    put(store, picture, "image/png")
    put(store, text, "text/plain", message_idx=1)
    put(store, bytes(21 * 2**20), "audio/mpeg", message_idx=2)
    put(store, specimens.jpeg_with_preview() + bytes(21 * 2**20), "image/jpeg", message_idx=3)
    put(store, b"PK\x03\x04" + bytes(10_000), "application/zip", message_idx=4)
    gallery = store.gallery(progress=False)
    assert sorted(received) == sorted([len(picture), 4097, 2**20])
    assert [preview.kind for preview in gallery.previews] == ["picture", "text", "sound", "picture", "none"]
    received.clear()
    store.gallery(progress=False)
    assert received == []


def test_what_was_written_anew_is_looked_at_anew(moto_storage: S3Storage, cache_folder: Path) -> None:
    """The cache goes by what the storage says of the bytes, never by what a sidecar says of them."""
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    moto_storage.write("runs/r1/a.png", specimens.picture())
    first = store.gallery().previews[0]
    moto_storage.write("runs/r1/a.png", specimens.picture(mode="L"))
    assert store.gallery().previews[0] != first
    # A sidecar that claims the digest of another media's bytes gets no preview of them, nor of its own.
    shown = put(store, specimens.noise(), "image/png", run_id="r2")
    store.gallery(run_id="r2")
    liar = put(store, specimens.picture((9, 9)), "image/png", run_id="r3")
    sidecar = json.loads(moto_storage.read(f"{liar}.meta"))
    sidecar["sha256"] = store.info(shown).sha256
    moto_storage.write(f"{liar}.meta", json.dumps(sidecar).encode())
    assert "its bytes are damaged" in store.gallery(run_id="r3").previews[0].reason
    unchecked = MediaStore(moto_storage.url, storage_options=moto_storage.options, verify_reads=False)
    assert unchecked.gallery(run_id="r3").previews[0].width == 9


def test_a_summary_of_a_store_asks_a_bounded_number_of_requests(moto_storage: S3Storage) -> None:
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options, default_policy="retain-1hours").create()
    filled(moto_storage, 30, b"\x89PNG\r\n\x1a\n")
    with moto_storage.counted() as n:
        html = store._repr_html_()
    assert html is not None
    assert n["list"] <= 4, n
    assert set(n) == {"list"}


def test_deduplicated_media_are_read_once_whoever_refers_to_them(moto_storage: S3Storage, cache_folder: Path) -> None:
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options, deduplicate=True).create()
    put(store, specimens.noise(), "image/png")
    store.gallery()
    put(store, specimens.noise(), "image/png", run_id="r2")
    with moto_storage.counted() as n:
        store.gallery(run_id="r2")
    assert n["get"] == 1, n
