"""What contract tests store, and how they look at what lies in a storage."""

import io
import json
import os
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.storages import GCS, LOCAL, S3_MOTO, S3_RCLONE, LocalStorage, Storage

STORE_JSON = ".fsmedia/store.json"
UNIQUE = "u[0-9a-z]{26}"
ON_OBJECT_STORES = (S3_MOTO, S3_RCLONE, GCS)
KEEPS_CONTENT_TYPE = (S3_MOTO, GCS)
"""rclone serves plain files and answers with the type that the name suggests."""

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(8) + bytes(range(256)) * 4  # its header tells no size
WAV = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\xc0]\0\0\x80\xbb\0\0\2\0\x10\0data\0\0\0\0"
LIMIT = 3 * 2**20
"""What a limited store takes: above the 1 MiB that a source is read in at once."""
R1 = MediaMetadata(run_id="r1")
GONE = "runs/r1/0000_00_u00000000000000000000000000.png"
"""A name of ours, of a media that never was."""
AT_ONCE: dict[str, Any] = {"grace": timedelta(0), "nobody_writes": True}
"""A look at, or a repair of, what was written just now."""


def png(**fields: object) -> MediaContent:
    """Return a picture; other `data` or another `mime_type` make it something else."""
    return MediaContent(**{"data": PNG, "mime_type": "image/png", **fields})


def put(store: MediaStore, run: str = "r1", content: MediaContent | bytes = PNG, **fields: object) -> str:
    """Store a picture, other bytes or a content in a run, with further words of its metadata; return its reference."""
    content = MediaContent.from_bytes(content) if isinstance(content, bytes) else content
    return store.store_media(content, MediaMetadata(**{"run_id": run, **fields}))


def written(store: MediaStore, *pieces: bytes, run: str = "r1", mime_type: str = "image/png") -> str:
    """Store what comes in pieces through a writer; return its reference."""
    with store.create_media(MediaMetadata(run_id=run), mime_type) as writer:
        for piece in pieces:
            writer.write(piece)
    return writer.reference


def edited(storage: Storage, reference: str, **values: object) -> None:
    """Change a sidecar, past the package."""
    sidecar = json.loads(storage.read(f"{reference}.meta"))
    storage.write(f"{reference}.meta", json.dumps({**sidecar, **values}).encode())


async def refused(kind: Any, awaited: Awaitable[Any], match: str | None = None) -> Any:
    """Return the error of this kind that what is awaited must end with."""
    with pytest.raises(kind, match=match) as caught:
        await awaited
    return caught.value


class Trickle(io.RawIOBase):
    """A stream that can't seek and gives a few bytes at a time, whatever it is asked for."""

    def __init__(self, data: bytes, at_most: int = 7) -> None:
        self._data, self._at_most = io.BytesIO(data), at_most

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._at_most) if size >= 0 else self._at_most)

    def readable(self) -> bool:
        return True


def of_size(size: int) -> bytes:
    """Return bytes in which each 64 KiB differ, so that pieces lost or in the wrong order show."""
    block = bytes(range(251)) * 262
    pieces = (number.to_bytes(4, "big") + block[:65532] for number in range(-(-size // 65536)))
    return b"".join(pieces)[:size]


def traces(storage: Storage) -> dict[str, bytes]:
    """Return all that lies in a storage: key -> bytes, and on a disk each folder, the root too, and each link."""
    keys, found = storage.keys(), {}
    for key in keys:
        is_link = storage.name == LOCAL and (Path(storage.url) / key).is_symlink()
        found[key] = b"link" if is_link else storage.read(key)
    if isinstance(storage, LocalStorage):
        root = Path(storage.url)
        for folder, below, _ in os.walk(root.parent):
            for name in below:
                path = Path(folder) / name
                if path == root or root in path.parents:
                    found[f"{path.relative_to(root.parent)}/"] = b"folder"
    return found


def raised(kind: Any, call: Callable[..., Any], *arguments: Any, match: str | None = None, **options: Any) -> Any:
    """Return the error of this kind that a call must end with."""
    with pytest.raises(kind, match=match) as caught:
        call(*arguments, **options)
    return caught.value


def get(url: str) -> tuple[int, str | None, bytes]:
    """Ask as any program would: status, content type, bytes."""
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status or 200, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None, b""


def with_sidecars(*references: str) -> set[str]:
    """Return the keys of plain media and of their sidecars."""
    return {*references, *(f"{reference}.meta" for reference in references)}
