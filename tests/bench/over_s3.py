"""Bulk calls, `media://`, syncs and a gallery over S3 (rclone, in its own process), against raw s3fs and obstore."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fsspec

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.bench.rounds import interleaved, s3_server, scratch, show
from tests.servers import RcloneServer
from tests.surfaces.specimens import picture

BULK = 1000
DATA = b"\x89PNG\r\n\x1a\n" + os.urandom(20_472)


def objects() -> None:
    """Print the ratios."""
    with s3_server() as server:
        _compare_objects(server)


def _compare_objects(server: RcloneServer) -> None:
    import obstore
    from obstore.store import S3Store

    url, options = server.new_root(direct=True)
    store = MediaStore(url, storage_options=options).create()
    raw = fsspec.filesystem("s3", use_listings_cache=False, **options)
    root = url.removeprefix("s3://")
    first = store.store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="first"))
    sidecar = raw.cat_file(f"{root}/{first}.meta")
    far = S3Store(
        root.partition("/")[0],
        endpoint=server.direct_url,
        access_key_id=server.key,
        secret_access_key=server.secret,
        region="us-east-1",
        client_options={"allow_http": True},
    )
    turn = itertools.count()
    stored: list[str] = []

    def ours() -> None:
        run_id = f"r{next(turn)}"
        pairs = ((MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id=run_id)) for _ in range(BULK))
        stored[:] = store.store_many(pairs)

    def objects(prefix: str) -> dict[str, bytes]:
        both = ((f"{prefix}/{i}", DATA) for i in range(BULK)), ((f"{prefix}/{i}.meta", sidecar) for i in range(BULK))
        return dict(itertools.chain(*both))

    def s3fs_put() -> None:
        raw.pipe(objects(f"{root}/raw{next(turn)}"))

    def obstore_put() -> None:
        async def put() -> None:
            gate = asyncio.Semaphore(32)

            async def one(key: str, data: bytes) -> None:
                async with gate:
                    await obstore.put_async(far, key, data)

            await asyncio.gather(*(one(key, data) for key, data in objects(f"far{next(turn)}").items()))

        asyncio.run(put())

    puts = interleaved(
        {"s3fs pipe, the same objects": s3fs_put, "fsmedia store_many": ours, "obstore, 32 at once": obstore_put}
    )
    show(f"S3: store {BULK} x 20 KB with sidecars", puts, "s3fs pipe, the same objects", BULK, "<= 1.15 x")

    def s3fs_get() -> None:
        raw.cat([f"{root}/{reference}" for reference in stored])

    def ours_get() -> None:
        for content in store.retrieve_many(stored):
            assert content.mime_type

    def s3fs_sidecars() -> None:
        raw.cat([f"{root}/{reference}.meta" for reference in stored])

    gets = interleaved(
        {
            "s3fs cat of the bytes": s3fs_get,
            "s3fs cat of the sidecars": s3fs_sidecars,
            "fsmedia retrieve_many": ours_get,
        }
    )
    show(f"S3: look at {BULK} media (a GET and a HEAD each)", gets, "s3fs cat of the bytes", BULK)

    def ours_delete() -> None:
        store.delete_many(stored)
        ours()

    begun = interleaved({"fsmedia store_many + delete_many": ours_delete, "fsmedia store_many": ours}, rounds=1)
    show("S3: delete_many, beside store_many", begun, "fsmedia store_many", BULK)


CALLS = 1000
FOLDER = 10_000
GOAL = "<= 1.2 x or + 5 us"


def filesystem() -> None:
    """Print the ratios."""
    with scratch() as folder:
        for root, protocol in ((str(folder / "m"), "file"), ("memory://bench", "memory")):
            _single(root, fsspec.filesystem(protocol))
    with s3_server() as server:
        _bulk(server)


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


SYNCED = 500
SYNCED_SIZE = 20_000
LARGE = 64 * 2**20


def sync() -> None:
    """Print the ratios."""
    with s3_server() as server, scratch() as folder:
        _small(server, folder)
        _large(server, folder)


def _fill(store: MediaStore, count: int, size: int) -> None:
    store.store_many(
        (MediaContent(data=os.urandom(size), mime_type="image/png"), MediaMetadata(run_id="r1")) for _ in range(count)
    )


def _small(server: RcloneServer, folder: Path) -> None:
    turn = itertools.count()
    source = MediaStore(folder / "source", durability="rename").create()
    _fill(source, SYNCED, SYNCED_SIZE)
    url, options = server.new_root(direct=True)
    raw = fsspec.filesystem("s3", use_listings_cache=False, **options)
    bucket = url.removeprefix("s3://")

    def put() -> None:
        raw.put(f"{source.url}/runs", f"{bucket}/raw{next(turn)}", recursive=True)

    def ours() -> None:
        report = source.sync_to(f"{url}/ours{next(turn)}", storage_options=options)
        assert report.copied == SYNCED, report

    far = f"{url}/far"
    source.sync_to(far, storage_options=options)

    def again() -> None:
        assert source.sync_to(far, storage_options=options).unchanged == SYNCED

    found = interleaved({"s3fs put -r": put, "fsmedia sync": ours, "fsmedia sync, nothing new": again})
    show(f"local -> S3: {SYNCED} x {SYNCED_SIZE // 1000} KB with sidecars", found, "s3fs put -r", SYNCED, "<= 1.5 x")

    def get() -> None:
        raw.get(f"{bucket}/far/runs", str(folder / f"raw{next(turn)}"), recursive=True)

    def ours_back() -> None:
        store = MediaStore(far, storage_options=options, durability="rename")
        assert store.sync_to(folder / f"ours{next(turn)}").copied == SYNCED

    found = interleaved({"s3fs get -r": get, "fsmedia sync": ours_back})
    show(f"S3 -> local: {SYNCED} x {SYNCED_SIZE // 1000} KB with sidecars", found, "s3fs get -r", SYNCED, "<= 1.5 x")

    def copy() -> None:
        raw.copy(f"{bucket}/far/runs", f"{bucket}/raw{next(turn)}", recursive=True)

    def ours_copy() -> None:
        store = MediaStore(far, storage_options=options)
        assert store.sync_to(f"{url}/ours{next(turn)}", storage_options=options).copied == SYNCED

    found = interleaved({"s3fs cp -r": copy, "fsmedia sync": ours_copy})
    show(f"S3 -> S3, in the storage: {SYNCED} x {SYNCED_SIZE // 1000} KB", found, "s3fs cp -r", SYNCED, "<= 1.5 x")


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


PICTURES = int(os.environ.get("FSMEDIA_BENCH_PICTURES", "1000"))
_SIDES = (1024, 768)


def gallery() -> None:
    """Print the figures."""
    server = RcloneServer().start()
    url, options = server.new_root()
    with scratch() as cache, MediaStore(url, storage_options=options) as store:
        os.environ["FSMEDIA_CACHE"] = cache
        data = picture(_SIDES, "JPEG")
        store.store_many(
            (MediaContent.from_bytes(data, "image/jpeg"), MediaMetadata(run_id="r1", message_idx=index))
            for index in range(PICTURES)
        )
        print(f"\nA gallery of {PICTURES:,} JPEGs of {_SIDES[0]} x {_SIDES[1]} ({len(data):,} bytes) on rclone's S3")
        for name in ("first", "again"):
            begun = time.perf_counter()
            with server.counted() as requests:
                html = store.gallery(run_id="r1", limit=PICTURES, progress=False).html()
            took = time.perf_counter() - begun
            print(f"  {name:<10}{took:>8.1f} s  {dict(requests)}, a page of {len(html.encode()):,} bytes")
    server.stop()
