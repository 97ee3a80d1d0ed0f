"""A gallery of many pictures on an S3 server: seconds, requests and bytes of the page, first and from the cache."""

from __future__ import annotations

import os
import tempfile
import time

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.servers import RcloneServer
from tests.surfaces.specimens import picture

COUNT = int(os.environ.get("FSMEDIA_BENCH_PICTURES", "1000"))
_SIDES = (1024, 768)


def run() -> None:
    """Print the figures."""
    server = RcloneServer().start()
    url, options = server.new_root()
    with (
        tempfile.TemporaryDirectory(prefix="fsmedia-bench-") as cache,
        MediaStore(url, storage_options=options) as store,
    ):
        os.environ["FSMEDIA_CACHE"] = cache
        data = picture(_SIDES, "JPEG")
        store.store_many(
            (MediaContent.from_bytes(data, "image/jpeg"), MediaMetadata(run_id="r1", message_idx=index))
            for index in range(COUNT)
        )
        print(
            f"\nA gallery of {COUNT:,} JPEGs of {_SIDES[0]} x {_SIDES[1]} ({len(data):,} bytes) on rclone's S3 server"
        )
        for name in ("first", "again"):
            begun = time.perf_counter()
            with server.counted() as requests:
                html = store.gallery(run_id="r1", limit=COUNT, progress=False).html()
            took = time.perf_counter() - begun
            print(f"  {name:<10}{took:>8.1f} s  {dict(requests)}, a page of {len(html.encode()):,} bytes")
    server.stop()
