"""Fixtures for the filesystem's tests: a store that is made, and the filesystem over it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from fsmedia import MediaStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsmedia import MediaFileSystem
    from tests.storages import Storage


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run tests that are coroutines, each on a loop of its own; zarr's suite has such tests."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no configuration and no cached instance to the next test."""
    before = dict(fsspec.config.conf)
    yield
    fsspec.config.conf.clear()
    fsspec.config.conf.update(before)
    fsspec.get_filesystem_class("media").clear_instance_cache()


def made(storage: Storage) -> MediaStore:
    """Make a store in a storage."""
    return MediaStore(storage.url, storage_options=storage.options, durability="rename").create()


def opened(storage: Storage, **options: Any) -> MediaFileSystem:
    """Open a storage as a filesystem."""
    return fsspec.filesystem("media", root=storage.url, storage_options=storage.options, **options)


@pytest.fixture
def fs(storage: Storage) -> MediaFileSystem:
    """Give the filesystem over each storage in turn, its store made."""
    made(storage)
    return opened(storage)
