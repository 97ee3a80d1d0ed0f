"""`media://` against the raw fsspec filesystem below it: single reads, a long folder, bulk reads over S3."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fsspec

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.bench.rounds import interleaved, show
from tests.servers import RcloneServer

CALLS = 1000
FOLDER = 10_000
BULK = 1000
DATA = b"\x89PNG\r\n\x1a\n" + os.urandom(20_472)
GOAL = "<= 1.2 x or + 5 us"


def run() -> None:
    """Print the ratios."""
    folder = Path(tempfile.mkdtemp())
    try:
        for root, protocol in ((str(folder / "m"), "file"), ("memory://bench", "memory")):
            _single(root, fsspec.filesystem(protocol))
        server = RcloneServer().start()
        try:
            _bulk(server)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _repeat(call: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        call()


def _opened(fs: Any, path: str) -> bytes:
    with fs.open(path, "rb") as file:
        data: bytes = file.read()
    return data


def _single(root: str, raw: Any) -> None:
    store = MediaStore(root, durability="rename").create()
    fs = store.fs
    reference = store.store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1"))
    fs.pipe_file("runs/r1/x.png", DATA)
    below = root.removeprefix("memory:/")
    title = "memory" if root.startswith("memory") else "local"
    pairs: dict[str, Callable[[Any, str], Any]] = {
        "cat_file": lambda each, path: each.cat_file(path),
        "cat_file of 100 bytes": lambda each, path: each.cat_file(path, 100, 200),
        "open and read": _opened,
        "info": lambda each, path: each.info(path),
        "exists": lambda each, path: each.exists(path),
        "isdir": lambda each, path: each.isdir(path),
        "ls": lambda each, path: each.ls(path.rpartition("/")[0]),
    }
    for what, call in pairs.items():
        taken = interleaved(
            {
                "raw": partial(_repeat, partial(call, raw, f"{below}/{reference}"), CALLS),
                "media://": partial(_repeat, partial(call, fs, "runs/r1/x.png"), CALLS),
                "media://, own name": partial(_repeat, partial(call, fs, reference), CALLS),
            }
        )
        show(f"{title}: {what}", taken, "raw", CALLS, GOAL)
    for number in range(FOLDER):
        if title == "memory":
            raw.pipe_file(f"{below}/runs/many/{number:05d}.png", b"x")
            raw.pipe_file(f"{below}/runs/many/{number:05d}.png.meta", b"{}")
        else:
            Path(below, "runs/many").mkdir(exist_ok=True)
            Path(below, f"runs/many/{number:05d}.png").write_bytes(b"x")
            Path(below, f"runs/many/{number:05d}.png.meta").write_bytes(b"{}")
    taken = interleaved(
        {"raw": lambda: raw.ls(f"{below}/runs/many", detail=True), "media://": lambda: fs.ls("runs/many", detail=True)}
    )
    show(f"{title}: ls of {FOLDER} media (raw lists the sidecars too)", taken, "raw", FOLDER)


def _bulk(server: RcloneServer) -> None:
    url, options = server.new_root(direct=True)
    store = MediaStore(url, storage_options=options).create()
    pairs = ((MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1")) for _ in range(BULK))
    references = store.store_many(pairs)
    raw = fsspec.filesystem("s3", use_listings_cache=False, **options)
    root = url.removeprefix("s3://")
    fs = store.fs
    taken = interleaved(
        {
            "raw": lambda: raw.cat([f"{root}/{reference}" for reference in references]),
            "raw, one request each": lambda: raw.cat(
                [f"{root}/{reference}" for reference in references], max_concurrency=1
            ),
            "media://": lambda: fs.cat(references),
        }
    )
    show(f"S3 (rclone): cat of {BULK} x 20 KB", taken, "raw", BULK)
    listed = interleaved({"raw": lambda: raw.ls(f"{root}/runs/r1", detail=True), "media://": lambda: fs.ls("runs/r1")})
    show(f"S3 (rclone): ls of {BULK} media", listed, "raw", BULK)
