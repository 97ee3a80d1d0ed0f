"""What child processes run; it imports little, since each of them imports it."""

from __future__ import annotations

from typing import Any

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.contract.specimens import PNG


def put_shared(store: MediaStore, run: str, number: int = 0) -> str:
    """Store one of seven contents, so that runs share them; every third may go at once."""
    data = PNG + bytes([number % 7])
    policy = "retain-2hours" if number % 3 == 0 else None
    metadata = MediaMetadata(run_id=run, message_idx=number, policy_name=policy)
    return store.store_media(MediaContent(data=data, mime_type="image/png"), metadata)


def erase_or_store(url: str, options: dict[str, Any], run: str | None) -> int:
    """Erase, or store for somebody; return how many failed."""
    store = MediaStore(url, storage_options=options)
    if run is None:
        return len(store.erase(run_id="alice").failed)
    for number in range(1, 13):
        put_shared(store, run, number)
    return 0
