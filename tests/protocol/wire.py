"""What tests of requests share: stores that have their settings, stores of thousands, and what something costs."""

import json
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from tests.servers import Requests
from tests.storages import GCS, ObjectStorage, S3Storage

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20_000)


def opened(storage: ObjectStorage, **options: Any) -> MediaStore:
    """Open a store that has its settings, and warm the connection."""
    store = MediaStore(storage.url, storage_options=storage.options, **options).create()
    store.exists("runs/none/none.png")
    store._backend.read_range(keys.CONFIGURATION_KEY, 0, 1)  # rclone answers it by 200, of which obstore makes nothing
    return store


def put(store: MediaStore, run: str = "r1", data: bytes = PNG, kind: str = "image/png", **fields: Any) -> str:
    return store.store_media(MediaContent.from_bytes(data, kind), MediaMetadata(run_id=run, **fields))


def seed(storage: S3Storage, ends: Iterable[datetime | None], *, run: str = "r1") -> list[str]:
    """Put media there that expire at these instants, None never.

    Past the package and past S3: as files in the folder that rclone serves, before it looks there for the first time.
    """
    bucket: Path = storage.server.data_folder / storage.bucket
    folder = MediaStore(bucket, durability="rename").create()
    first = put(folder, run)
    sidecar = json.loads((bucket / f"{first}.meta").read_text())
    unique, ext = first.rpartition("/")[2][8:35], first.rpartition(".")[2]
    references = []
    for number, end in enumerate(ends, 1):
        reference = f"runs/{run}/{number:04d}_00_{unique}.{ext}"
        os.link(bucket / first, bucket / reference)
        if end is None:
            os.link(bucket / f"{first}.meta", bucket / f"{reference}.meta")
        else:
            said = {**sidecar, "policy_name": "audit", "expires_at": end.isoformat()}
            (bucket / f"{reference}.meta").write_text(json.dumps(said))
            entry = bucket / keys.due_key(end, reference)
            entry.parent.mkdir(parents=True, exist_ok=True)
            entry.touch()
        references.append(reference)
    folder.delete_media(first)
    return references


def counted(storage: ObjectStorage, act: Callable[[], Any]) -> tuple[Any, Requests]:
    with storage.counted() as n:
        answer = act()
    return answer, n


def within(n: Requests, storage: ObjectStorage, **budget: int) -> bool:
    """Tell whether exactly these requests were made; on GCS no more than these and nothing else."""
    return n == budget if storage.name != GCS else is_at_most(n, **budget)


def is_at_most(n: Requests, **budget: int) -> bool:
    return set(n) <= set(budget) and all(n[kind] <= number for kind, number in budget.items())


def costs(storage: ObjectStorage, act: Callable[[], Any], **budget: int) -> Any:
    """Do something that may cost just this; return what it returns."""
    answer, n = counted(storage, act)
    assert within(n, storage, **budget), n
    return answer


def costs_at_most(storage: ObjectStorage, number: int, act: Callable[[], Any]) -> Any:
    answer, n = counted(storage, act)
    assert sum(n.values()) <= number, n
    return answer
