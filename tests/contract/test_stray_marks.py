"""A condemned mark that a crash left on bytes in use: it takes no new references, and nothing else happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from tests.contract.specimens import PNG

if TYPE_CHECKING:
    from tests.storages import Storage


@pytest.fixture
def store(storage: Storage) -> MediaStore:
    return MediaStore(storage.url, storage_options=storage.options, deduplicate=True).create()


def marked(store: MediaStore, storage: Storage) -> str:
    reference = store.store_media(MediaContent.from_bytes(PNG, "image/png"), MediaMetadata(run_id="r1"))
    pointer = keys.pointer_of(reference)
    assert pointer is not None
    storage.write(pointer.condemned_key(), b"")
    return reference


def test_a_policy_takes_no_media_away(store: MediaStore, storage: Storage) -> None:
    reference = marked(store, storage)
    store.apply_policy(reference, "retain-9days")
    assert store.info(reference).policy_name == "retain-9days"
    assert store.retrieve_media(reference).read_bytes() == PNG


def test_an_attribute_takes_no_media_away(store: MediaStore, storage: Storage) -> None:
    reference = marked(store, storage)
    store.fs.setxattrs(reference, **{"user.stars": "5"})
    assert [*store.list()] == [reference]
    assert store.retrieve_media(reference).read_bytes() == PNG
