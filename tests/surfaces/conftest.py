"""What the tests of commands and displays share: places to work in, and the storages they run over."""

from pathlib import Path

import pytest

from tests.conftest import storages
from tests.storages import LOCAL, S3_RCLONE, LocalStorage

storage = storages(LOCAL, S3_RCLONE)
"""A folder and a bucket: words and pictures are the same over any storage."""


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
