"""Fixtures of the contract suite: a store over each storage, and a watch that nothing changed in it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fsmedia import MediaMetadata, MediaStore
from tests.conftest import make_storage
from tests.contract.specimens import LIMIT, png, traces


@pytest.fixture
def anyio_backend():
    """Run tests that are coroutines by asyncio."""
    return "asyncio"


@pytest.fixture
def open_store(storage, clock):
    """Open a store over the storage, with the test's clock; called with further settings."""

    def opened(**settings: Any) -> MediaStore:
        return MediaStore(storage.url, **{"storage_options": storage.options, "now": clock, **settings})

    return opened


@pytest.fixture
def store(open_store):
    """Give a store over the storage, by-run."""
    return open_store()


@pytest.fixture(params=["new root", "new root of shared bytes", "root in use"])
def limited(request, open_store):
    """Give a store that takes 3 MiB: over a root where nothing is yet, and over one that has a media."""
    store = open_store(max_file_size=LIMIT, deduplicate=request.param == "new root of shared bytes")
    if request.param == "root in use":
        store.store_media(png(), MediaMetadata(run_id="neighbour"))
    return store


@pytest.fixture
def some_storage(request, tmp_path):
    """Give the storage that a test names by indirect parameters: for what is slow, and not about all of them."""
    return make_storage(request.param, request, tmp_path)


@pytest.fixture
def spool(tmp_path, monkeypatch):
    """Give the folder that temporary files go to; empty at first, and nobody else's."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def unchanged(storage, spool):
    """Give a context manager that fails if its block leaves any trace: a byte, a folder, a temporary file."""

    @contextmanager
    def watch() -> Iterator[None]:
        before = traces(storage)
        yield
        assert traces(storage) == before
        assert list(spool.iterdir()) == []

    return watch
