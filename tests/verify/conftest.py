"""Fixtures of the tests that look over whole stores: the storages that the contract names, and an open store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaStore
from tests.conftest import make_storage
from tests.storages import LOCAL, MEMORY, S3_MOTO, Storage


@pytest.fixture(params=[LOCAL, *(pytest.param(each, marks=pytest.mark.full) for each in (MEMORY, S3_MOTO))])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Give a folder; at full size memory and S3 too."""
    return make_storage(request.param, request, tmp_path)


@pytest.fixture
def open_store(storage: Storage) -> Callable[..., MediaStore]:
    """Open a store over the storage."""

    def opened(**settings: Any) -> MediaStore:
        return MediaStore(storage.url, **{"storage_options": storage.options, **settings})

    return opened
