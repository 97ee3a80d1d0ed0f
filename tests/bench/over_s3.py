"""Bulk calls, `media://`, syncs and a gallery over S3 (rclone, in its own process), against raw s3fs and obstore."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.bench.rounds import compare, repeated, s3_server, scratch
from tests.servers import RcloneServer
from tests.surfaces.specimens import picture

BULK = 1000
DATA = b"\x89PNG\r\n\x1a\n" + os.urandom(20_472)


def objects() -> None:
    with s3_server() as server:
        _compare_objects(server)


def _compare_objects(server: RcloneServer) -> None:
    url, options = server.new_root(direct=True)
    store = MediaStore(url, storage_options=options).create()
    raw = fsspec.filesystem("s3", use_listings_cache=False, **options)
    root = url.removeprefix("s3://")
    first = store.store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="first"))
    sidecar = raw.cat_file(f"{root}/{first}.meta")
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

    puts: dict[str, Callable[[], object]] = {"s3fs pipe, the same objects": s3fs_put, "fsmedia store_many": ours}
    if find_spec("obstore") is None:  # no extra brings it along
        print("obstore is not installed: its row is left out")
    else:
        puts["obstore, 32 at once"] = _obstore_put(server, root.partition("/")[0], objects)
    compare(f"S3: store {BULK} x 20 KB with sidecars", puts, "s3fs pipe, the same objects", BULK, "<= 1.15 x")

    gets = {
        "s3fs cat of the bytes": lambda: raw.cat([f"{root}/{reference}" for reference in stored]),
        "s3fs cat of the sidecars": lambda: raw.cat([f"{root}/{reference}.meta" for reference in stored]),
        "fsmedia retrieve_many": lambda: [content.mime_type for content in store.retrieve_many(stored)],
    }
    compare(f"S3: look at {BULK} media (a GET and a HEAD each)", gets, "s3fs cat of the bytes", BULK)

    def ours_delete() -> None:
        store.delete_many(stored)
        ours()

    both = {"fsmedia store_many + delete_many": ours_delete, "fsmedia store_many": ours}
    compare("S3: delete_many, beside store_many", both, "fsmedia store_many", BULK, rounds=1)


def _obstore_put(server: RcloneServer, bucket: str, objects: Callable[[str], dict[str, bytes]]) -> Callable[[], None]:
    import obstore
    from obstore.store import S3Store

    login = {"access_key_id": server.key, "secret_access_key": server.secret, "region": "us-east-1"}
    far = S3Store(bucket, endpoint=server.direct_url, client_options={"allow_http": True}, **login)
    turn = itertools.count()

    async def put() -> None:
        gate = asyncio.Semaphore(32)

        async def one(key: str, data: bytes) -> None:
            async with gate:
                await obstore.put_async(far, key, data)

        await asyncio.gather(*(one(key, data) for key, data in objects(f"far{next(turn)}").items()))

    return lambda: asyncio.run(put())


CALLS = 1000
FOLDER = 10_000


def filesystem() -> None:
    with scratch() as folder:
        for root, protocol in ((str(folder / "m"), "file"), ("memory://bench", "memory")):
            _single(root, fsspec.filesystem(protocol))
    with s3_server() as server:
        _bulk(server)


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
        places = {"raw": (raw, f"{below}/{reference}"), "media://": (fs, "runs/r1/x.png")}
        places["media://, own name"] = (fs, reference)
        calls = {name: partial(repeated, partial(call, *place), CALLS) for name, place in places.items()}
        compare(f"{title}: {what}", calls, "raw", CALLS, "<= 1.2 x or + 5 us")
    raw.makedirs(f"{below}/runs/many")
    for number in range(FOLDER):
        raw.pipe_file(f"{below}/runs/many/{number:05d}.png", b"x")
        raw.pipe_file(f"{below}/runs/many/{number:05d}.png.meta", b"{}")
    both = {"raw": lambda: raw.ls(f"{below}/runs/many"), "media://": lambda: fs.ls("runs/many")}
    compare(f"{title}: ls of {FOLDER} media (raw lists the sidecars too)", both, "raw", FOLDER)


def _bulk(server: RcloneServer) -> None:
    url, options = server.new_root(direct=True)
    store = MediaStore(url, storage_options=options).create()
    pairs = ((MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1")) for _ in range(BULK))
    references = store.store_many(pairs)
    raw = fsspec.filesystem("s3", use_listings_cache=False, **options)
    root = url.removeprefix("s3://")
    fs = store.fs
    paths = [f"{root}/{reference}" for reference in references]
    cats: dict[str, Callable[[], object]] = {
        "raw": lambda: raw.cat(paths),
        "raw, one request each": lambda: raw.cat(paths, max_concurrency=1),
        "media://": lambda: fs.cat(references),
    }
    compare(f"S3 (rclone): cat of {BULK} x 20 KB", cats, "raw", BULK)
    lists = {"raw": lambda: raw.ls(f"{root}/runs/r1", detail=True), "media://": lambda: fs.ls("runs/r1")}
    compare(f"S3 (rclone): ls of {BULK} media", lists, "raw", BULK)


SYNCED = 500
LARGE = 64 * 2**20


def sync() -> None:
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
    _fill(source, SYNCED, 20_000)
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

    puts = {"s3fs put -r": put, "fsmedia sync": ours, "fsmedia sync, nothing new": again}
    compare(f"local -> S3: {SYNCED} x 20 KB with sidecars", puts, "s3fs put -r", SYNCED, "<= 1.5 x")

    def get() -> None:
        raw.get(f"{bucket}/far/runs", str(folder / f"raw{next(turn)}"), recursive=True)

    def ours_back() -> None:
        store = MediaStore(far, storage_options=options, durability="rename")
        assert store.sync_to(folder / f"ours{next(turn)}").copied == SYNCED

    gets = {"s3fs get -r": get, "fsmedia sync": ours_back}
    compare(f"S3 -> local: {SYNCED} x 20 KB with sidecars", gets, "s3fs get -r", SYNCED, "<= 1.5 x")

    def copy() -> None:
        raw.copy(f"{bucket}/far/runs", f"{bucket}/raw{next(turn)}", recursive=True)

    def ours_copy() -> None:
        store = MediaStore(far, storage_options=options)
        assert store.sync_to(f"{url}/ours{next(turn)}", storage_options=options).copied == SYNCED

    copies = {"s3fs cp -r": copy, "fsmedia sync": ours_copy}
    compare(f"S3 -> S3, in the storage: {SYNCED} x 20 KB", copies, "s3fs cp -r", SYNCED, "<= 1.5 x")


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

    puts = {"s3fs put -r": put, "fsmedia sync": ours}
    compare("local -> S3: 3 x 64 MiB", puts, "s3fs put -r", 3, "<= 1.5 x", rounds=3)


PICTURES = int(os.environ.get("FSMEDIA_BENCH_PICTURES", "1000"))
_SIDES = (1024, 768)


def gallery() -> None:
    with s3_server() as server, scratch() as cache:
        url, options = server.new_root()
        store = MediaStore(url, storage_options=options)
        os.environ["FSMEDIA_CACHE"] = str(cache)
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
