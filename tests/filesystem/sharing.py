"""Media that share bytes, for the tests of `media://`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia import MediaContent, MediaMetadata

if TYPE_CHECKING:
    from fsmedia import MediaStore

DATA = bytes(range(256)) * 40
LARGE = bytes(range(251)) * 4000


def shared(store: MediaStore) -> dict[str, bytes]:
    """Three that share their bytes, one of other bytes."""
    pairs = [
        (MediaContent(data=data, mime_type=kind), MediaMetadata(run_id=run, message_idx=number))
        for number, (run, data, kind) in enumerate(
            [
                ("r1", DATA, "image/png"),
                ("r1", DATA, "image/gif"),
                ("r1", LARGE, "video/mp4"),
                ("r2", DATA, "image/png"),
            ]
        )
    ]
    return dict(zip(store.store_many(pairs), (DATA, DATA, LARGE, DATA), strict=True))


def in_run(media: dict[str, bytes], run: str = "r1") -> list[str]:
    return sorted(each for each in media if each.startswith(f"runs/{run}/"))


def elsewhere(reference: str, folder: str = "runs/r9") -> str:
    return f"{folder}/{reference.rpartition('/')[2]}"
