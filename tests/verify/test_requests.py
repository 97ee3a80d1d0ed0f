"""What a look over a store costs at the wire: section 10 of the contract, on rclone's S3 and on moto."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.storages import S3Storage, switch_looks

PNG = b"\x89PNG\r\n\x1a\n" + bytes(2_000)


def seeded(storage: S3Storage, count: int, *, shared: bool, holds: int = 0) -> list[str]:
    """Put media with a policy there, past S3, as files in the folder that rclone serves."""
    bucket: Path = storage.server.data_folder / storage.bucket
    store = MediaStore(bucket, durability="rename", deduplicate=shared).create()
    now = datetime.now(UTC)
    references = store.store_many(
        (MediaContent.from_bytes(PNG + number.to_bytes(4, "big"), "image/png"),
         MediaMetadata(run_id=f"r{number % 7}", policy_name="retain-30days", timestamp=now))
        for number in range(count)
    )  # fmt: skip
    for each in references[:holds]:
        store.hold(each, "court")
    return references


def opened(storage: S3Storage) -> MediaStore:
    """Open the store as a fresh process would, and warm the connection."""
    store = MediaStore(storage.url, storage_options=storage.options)
    store.exists("runs/none/none.png")
    return store


@pytest.mark.parametrize("shared", [False, True], ids=["plain", "shared"])
def test_a_look_over_a_store(shared: bool, rclone_storage: S3Storage, full_run: bool) -> None:
    count, holds = (2_500, 20) if full_run else (300, 5)
    seeded(rclone_storage, count, shared=shared, holds=holds)
    store = opened(rclone_storage)
    most = -(-4 * count // 1000) + 8
    with rclone_storage.counted() as n:
        report = store.verify()
    assert (report.whole, report.media, report.counts, report.failed) == (True, count, {}, ())
    assert n["list"] <= most, n
    assert n["get"] <= count + holds + 1, n  # the last one: store.json is still there
    # A hold is read, and looked at with the media it speaks of: three requests each.
    # The settings are read twice.
    assert sum(n.values()) - n["list"] - n["get"] <= 3 * holds + 2 * sum(switch_looks(store).values()), n
    with rclone_storage.counted() as n:
        report = store.verify(deep=True)
    assert (report.whole, report.media, report.bytes_read) == (True, count, count * (len(PNG) + 4))
    assert n["list"] <= most, n
    assert n["get"] <= 2 * count + holds + 1, n


def test_shared_bytes_are_read_once(rclone_storage: S3Storage) -> None:
    bucket: Path = rclone_storage.server.data_folder / rclone_storage.bucket
    local = MediaStore(bucket, durability="rename", deduplicate=True).create()
    for number in range(20):
        local.store_media(MediaContent.from_bytes(PNG, "image/png"), MediaMetadata(run_id=f"r{number}"))
    store = opened(rclone_storage)
    with rclone_storage.counted() as n:
        report = store.verify(deep=True)
    assert (report.whole, report.media, report.bytes_read) == (True, 20, len(PNG))
    assert n["get"] == 22, n  # sidecars, bytes, and store.json once more


@pytest.mark.parametrize("shared", [False, True], ids=["plain", "shared"])
def test_nothing_is_written_where_nothing_is_asked_for(shared: bool, moto_storage: S3Storage) -> None:
    options = {"storage_options": moto_storage.options}
    store = MediaStore(moto_storage.url, deduplicate=shared, **options).create()
    for number in range(5):
        store.store_media(MediaContent.from_bytes(PNG, "image/png"), MediaMetadata(run_id=f"r{number}"))
    moto_storage.write("runs/r1/x.png", PNG)
    moto_storage.write("runs/r1/lonely.png.meta", b"{")
    store = MediaStore(moto_storage.url, read_only=True, **options)
    for asked in ({}, {"deep": True}, {"repair": True, "adopt": True, "dry_run": True}):
        with moto_storage.counted() as n:
            report = store.verify(**asked)
        assert report.counts == {"file": 1, "missing-bytes": 1}
        assert set(n) <= {"get", "head", "list"}, n


def test_the_seeded_files_are_those_of_a_store(rclone_storage: S3Storage) -> None:
    """The oracle of these tests: what is counted is really there."""
    references = seeded(rclone_storage, 12, shared=False)
    names = rclone_storage.keys()
    assert {f"{each}.meta" for each in references} <= names
    assert len(names) == 3 * 12 + 1
    assert os.fspath(rclone_storage.url)
