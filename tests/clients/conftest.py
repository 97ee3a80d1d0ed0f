"""Stores for clients: how each form of URL names one, with the options that go with it."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from upath.registry import get_upath_class, register_implementation

from fsmedia import MediaStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storages import S3Storage


@pytest.fixture(autouse=True)
def no_leftovers() -> Iterator[None]:
    before = dict(fsspec.config.conf)
    yield
    fsspec.config.conf.clear()
    fsspec.config.conf.update(before)


@pytest.fixture
def media_paths() -> None:
    """Let universal_pathlib find the class that the project declares, as where it is installed anew."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    group = "universal_pathlib.implementations"
    for name, value in project["entry-points"][group].items():
        register_implementation(name, EntryPoint(name, value, group).load(), clobber=True)
    get_upath_class.cache_clear()


class Lab:
    """A store on S3 that clients get at by chain, or by environment."""

    def __init__(self, storage: S3Storage) -> None:
        self.storage = storage
        self.root = storage.url
        self.options: dict[str, Any] = {"s3": storage.options}
        self.store = MediaStore(storage.url, storage_options=storage.options).create()

    def url(self, path: str) -> str:
        """Return the chained URL of a path."""
        return f"media://{path}::{self.root}"

    @property
    def fs(self) -> Any:
        return fsspec.filesystem("media", root=self.root, storage_options=self.storage.options)

    def server_keys(self) -> set[str]:
        """Return every key of the whole bucket, also outside of the root."""
        names = self.storage.server.client.list_objects_v2(Bucket=self.storage.bucket).get("Contents", ())
        return {name["Key"] for name in names}

    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let plain URLs mean this store, in this process and its children."""
        options = self.storage.options
        monkeypatch.setenv("FSMEDIA_URL", self.root)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["key"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["secret"])
        monkeypatch.setenv("AWS_ENDPOINT_URL", options["endpoint_url"])


@pytest.fixture
def lab(moto_storage: S3Storage) -> Lab:
    return Lab(moto_storage)
