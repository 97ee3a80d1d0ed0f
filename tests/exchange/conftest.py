"""The storages that importers and exporters are tested over: a folder, memory, and S3."""

import pytest

from fsmedia import MediaStore
from tests.conftest import on
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE, Storage

storage = on(LOCAL, MEMORY, S3_RCLONE, pytest.param(S3_MOTO, marks=pytest.mark.full))


@pytest.fixture
def store(storage: Storage) -> MediaStore:
    """An empty store on it."""
    return MediaStore(storage.url, storage_options=storage.options)


@pytest.fixture
def memory(memory_storage: Storage) -> MediaStore:
    """An empty store in memory."""
    return MediaStore(memory_storage.url)
