"""A root in a bucket that does not exist: the error names the bucket, whatever key was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError

if TYPE_CHECKING:
    from tests.storages import ObjectStorage


def test_a_missing_bucket_is_named(object_storage: ObjectStorage) -> None:
    """It said "runs/r1: the storage does not find it", or named no bucket at all."""
    url = f"{object_storage.url.partition('://')[0]}://no-such-bucket-77/media"
    store = MediaStore(url, storage_options=object_storage.options)
    calls = (
        lambda: list(store.list()),
        lambda: store.fs.ls("runs/r1"),
        lambda: store.store_media(MediaContent.from_text("x"), MediaMetadata(run_id="r")),
        lambda: MediaStore(url, storage_options=object_storage.options, read_only=True),
    )
    for call in calls:
        with pytest.raises(StorageError, match=f"^there is no bucket 'no-such-bucket-77', of the root {url}") as caught:
            call()
        assert caught.value.key is None
