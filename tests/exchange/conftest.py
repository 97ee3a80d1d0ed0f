"""The storages that importers and exporters are tested over: a folder, memory, and S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from tests.conftest import make_storage
from tests.storages import LOCAL, MEMORY, S3_MOTO, Storage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=[LOCAL, MEMORY, S3_MOTO])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Each of three storages."""
    return make_storage(request.param, request, tmp_path)


@pytest.fixture
def store(storage: Storage) -> MediaStore:
    """An empty store on it."""
    return MediaStore(storage.url, storage_options=storage.options)


@pytest.fixture
def memory(memory_storage: Storage) -> MediaStore:
    """An empty store in memory."""
    return MediaStore(memory_storage.url)
