"""Syncs against raw copies of the same objects, to S3 (rclone, in its own process) and within it."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import fsspec

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.bench.rounds import interleaved, show
from tests.servers import RcloneServer

COUNT = 500
SIZE = 20_000
LARGE = 64 * 2**20


def run() -> None:
    """Print the ratios."""
    server = RcloneServer().start()
    try:
        with tempfile.TemporaryDirectory(prefix="fsmedia-") as folder:
            _small(server, Path(folder))
            _large(server, Path(folder))
    finally:
        server.stop()


def _fill(store: MediaStore, count: int, size: int) -> None:
    store.store_many(
        (MediaContent(data=os.urandom(size), mime_type="image/png"), MediaMetadata(run_id="r1")) for _ in range(count)
    )


def _small(server: RcloneServer, folder: Path) -> None:
    turn = itertools.count()
    source = MediaStore(folder / "source", durability="rename").create()
    _fill(source, COUNT, SIZE)
    url, options = server.new_root(direct=True)
    raw = fsspec.filesystem("s3", use_listings_cache=False, **options)
    bucket = url.removeprefix("s3://")

    def put() -> None:
        raw.put(f"{source.url}/runs", f"{bucket}/raw{next(turn)}", recursive=True)

    def ours() -> None:
        report = source.sync_to(f"{url}/ours{next(turn)}", storage_options=options)
        assert report.copied == COUNT, report

    far = f"{url}/far"
    source.sync_to(far, storage_options=options)

    def again() -> None:
        assert source.sync_to(far, storage_options=options).unchanged == COUNT

    found = interleaved({"s3fs put -r": put, "fsmedia sync": ours, "fsmedia sync, nothing new": again})
    show(f"local -> S3: {COUNT} x {SIZE // 1000} KB with sidecars", found, "s3fs put -r", COUNT, "<= 1.5 x")

    def get() -> None:
        raw.get(f"{bucket}/far/runs", str(folder / f"raw{next(turn)}"), recursive=True)

    def ours_back() -> None:
        store = MediaStore(far, storage_options=options, durability="rename")
        assert store.sync_to(folder / f"ours{next(turn)}").copied == COUNT

    found = interleaved({"s3fs get -r": get, "fsmedia sync": ours_back})
    show(f"S3 -> local: {COUNT} x {SIZE // 1000} KB with sidecars", found, "s3fs get -r", COUNT, "<= 1.5 x")

    def copy() -> None:
        raw.copy(f"{bucket}/far/runs", f"{bucket}/raw{next(turn)}", recursive=True)

    def ours_copy() -> None:
        store = MediaStore(far, storage_options=options)
        assert store.sync_to(f"{url}/ours{next(turn)}", storage_options=options).copied == COUNT

    found = interleaved({"s3fs cp -r": copy, "fsmedia sync": ours_copy})
    show(f"S3 -> S3, in the storage: {COUNT} x {SIZE // 1000} KB with sidecars", found, "s3fs cp -r", COUNT, "<= 1.5 x")


def _large(server: RcloneServer, folder: Path) -> None:
    turn = itertools.count()
    source = MediaStore(folder / "large", durability="rename").create()
    _fill(source, 3, LARGE)
    url, options = server.new_root(direct=True)
    raw = fsspec.filesystem("s3", use_listings_cache=False, **options)

    def put() -> None:
        raw.put(f"{source.url}/runs", f"{url.removeprefix('s3://')}/raw{next(turn)}", recursive=True)

    def ours() -> None:
        assert source.sync_to(f"{url}/ours{next(turn)}", storage_options=options).copied == 3

    found = interleaved({"s3fs put -r": put, "fsmedia sync": ours}, rounds=3)
    show("local -> S3: 3 x 64 MiB", found, "s3fs put -r", 3, "<= 1.5 x")
