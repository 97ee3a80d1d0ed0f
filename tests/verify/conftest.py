"""Fixtures of the tests that look over whole stores: the storages that the contract names, and an open store."""

from collections.abc import Callable
from functools import partial

import pytest

from fsmedia import MediaStore
from tests.conftest import storages
from tests.storages import LOCAL, MEMORY, S3_MOTO, Storage
from tests.transfers import opened

storage = storages(LOCAL, of=(LOCAL, MEMORY, S3_MOTO))


@pytest.fixture
def open_store(storage: Storage) -> Callable[..., MediaStore]:
    """Open a store over the storage."""
    return partial(opened, storage)
