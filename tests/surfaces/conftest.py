"""What the tests of commands and displays share: places to work in, and the storages they run over."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaStore
from fsmedia.display import decoders
from tests.conftest import storages
from tests.storages import LOCAL, S3_RCLONE, LocalStorage, Storage
from tests.surfaces.commands import places
from tests.surfaces.hosts import chromium

storage = storages(LOCAL, S3_RCLONE)
"""A folder and a bucket: words and pictures are the same over any storage."""


@pytest.fixture
def at(storage: Storage) -> list[str]:
    """Give the words that name the storage and open it."""
    return places(storage)


@pytest.fixture
def opened(storage: Storage) -> MediaStore:
    """Give the store in the storage, which nobody has made yet."""
    return MediaStore(storage.url, storage_options=storage.options)


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    return local_storage.url


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder in which previews are cached from now on."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FSMEDIA_CACHE", str(folder))
    return folder / "previews"


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> decoders._State:
    """Give the processes that decode from now on, which are those of this test alone."""
    monkeypatch.setattr(decoders, "_state", decoders._State())
    return decoders._state


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give a browser; skip, or fail where one is required, without."""
    yield from chromium()
