"""The storages that importers and exporters are tested over: a folder, memory, and S3."""

import pytest

from fsmedia import MediaStore
from tests.conftest import storages
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE, Storage

storage = storages(LOCAL, MEMORY, S3_RCLONE, of=(S3_MOTO,))


@pytest.fixture
def store(storage: Storage) -> MediaStore:
    return MediaStore(storage.url, storage_options=storage.options)


@pytest.fixture
def memory(memory_storage: Storage) -> MediaStore:
    return MediaStore(memory_storage.url)
