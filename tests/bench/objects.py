"""1,000 media of 20 KB on S3 (rclone, in its own process): bulk calls against raw s3fs and obstore."""

from __future__ import annotations

import asyncio
import itertools
import os

import fsspec
import obstore
from obstore.store import S3Store

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.bench.rounds import interleaved, show
from tests.servers import RcloneServer

COUNT = 1000
DATA = b"\x89PNG\r\n\x1a\n" + os.urandom(20_472)


def run() -> None:
    """Print the ratios."""
    server = RcloneServer().start()
    try:
        _compare(server)
    finally:
        server.stop()


def _compare(server: RcloneServer) -> None:
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
        pairs = ((MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id=run_id)) for _ in range(COUNT))
        stored[:] = store.store_many(pairs)

    def objects(prefix: str) -> dict[str, bytes]:
        both = ((f"{prefix}/{i}", DATA) for i in range(COUNT)), ((f"{prefix}/{i}.meta", sidecar) for i in range(COUNT))
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
    show(f"S3: store {COUNT} x 20 KB with sidecars", puts, "s3fs pipe, the same objects", COUNT, "<= 1.15 x")

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
    show(f"S3: look at {COUNT} media (a GET and a HEAD each)", gets, "s3fs cat of the bytes", COUNT)

    def ours_delete() -> None:
        store.delete_many(stored)
        ours()

    begun = interleaved({"fsmedia store_many + delete_many": ours_delete, "fsmedia store_many": ours}, rounds=1)
    show("S3: delete_many, beside store_many", begun, "fsmedia store_many", COUNT)
