"""Reads with and without checks, 20 KB and 500 MB, on local disk and on S3 (rclone, in its own process)."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from typing import Any

from fsmedia import MediaContent, MediaMetadata, MediaStore, Reference
from tests.bench.rounds import interleaved, show
from tests.servers import RcloneServer


def run() -> None:
    """Print the ratios."""
    server = RcloneServer().start()
    try:
        url, options = server.new_root(direct=True)
        _compare_reads("S3", url, options)
    finally:
        server.stop()
    with tempfile.TemporaryDirectory() as folder:
        _compare_reads("local disk, in the page cache", folder, {})


def _compare_reads(where: str, url: str, options: dict[str, Any]) -> None:
    """Read the same media with and without checks."""
    stores = {
        "unchecked": MediaStore(url, storage_options=options, verify_reads=False),
        "checked": MediaStore(url, storage_options=options),
    }
    for size, times in ((20_000, 100), (500_000_000, 1)):
        content = MediaContent.from_bytes(os.urandom(size), "application/x-bench")
        reference = stores["checked"].store_media(content, MediaMetadata(run_id="reads"))

        def read_bytes(store: MediaStore, reference: Reference = reference, times: int = times) -> None:
            for _ in range(times):
                store.retrieve_media(reference).read_bytes()

        def in_pieces(store: MediaStore, reference: Reference = reference, times: int = times) -> None:
            for _ in range(times):
                with store.open(reference) as file:
                    while file.read(2**20):
                        pass

        for way in (read_bytes, in_pieces):
            found = interleaved({name: partial(way, store) for name, store in stores.items()})
            show(f"{where}: {way.__name__}, {size:,} bytes", found, "unchecked", times, "at most 1.15 x")
