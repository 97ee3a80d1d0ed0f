"""Stores for clients: how each form of URL names one, with the options that go with it."""

import os
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec import generic
from fsspec.generic import rsync
from upath.registry import get_upath_class, register_implementation

from fsmedia import MediaStore
from tests.clients.children import Forks, declared
from tests.filesystem.conftest import files_in
from tests.servers import RcloneServer
from tests.storages import S3_RCLONE, S3Storage


@pytest.fixture(autouse=True)
def no_leftovers() -> Iterator[None]:
    before = dict(fsspec.config.conf)
    yield
    fsspec.config.conf.clear()
    fsspec.config.conf.update(before)


@pytest.fixture
def media_paths() -> None:
    """Let universal_pathlib find the class that the project declares, as where it is installed anew."""
    group = "universal_pathlib.implementations"
    for name, value in declared()[group].items():
        register_implementation(name, EntryPoint(name, value, group).load(), clobber=True)
    get_upath_class.cache_clear()


class Lab:
    """A store on S3 that clients get at by chain, or by environment."""

    def __init__(self, storage: S3Storage, **settings: Any) -> None:
        self.storage, self.root = storage, storage.url
        self.options: dict[str, Any] = {"s3": storage.options}
        self.store = MediaStore(self.root, storage_options=storage.options, **settings).create()
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": "endpoint_url"}
        self.environment = {"FSMEDIA_URL": self.root, **{name: storage.options[key] for name, key in keys.items()}}

    def url(self, path: str) -> str:
        return f"media://{path}::{self.root}"

    @property
    def fs(self) -> Any:
        return fsspec.filesystem("media", root=self.root, storage_options=self.storage.options)

    def server_keys(self) -> set[str]:
        names = self.storage.server.client.list_objects_v2(Bucket=self.storage.bucket).get("Contents", ())
        return {name["Key"] for name in names}

    def rsynced(self, url: str, into: Path) -> dict[str, bytes]:
        """Let fsspec's rsync copy what a URL has below it; return the files."""
        generic.set_generic_fs("media", root=self.root, storage_options=self.storage.options)
        generic.set_generic_fs("file")
        try:
            # It maps names as text, so it takes plain URLs; a chain ends with its root and has no names below it.
            rsync(url, into.as_uri(), inst_kwargs={"default_method": "generic"})
        finally:
            generic._generic_fs.clear()
        return files_in(into)

    def named(self, monkeypatch: pytest.MonkeyPatch) -> "Lab":
        """Let plain URLs mean this store, in this process and its children."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        return self


@pytest.fixture(scope="session")
def new_bucket(rclone: RcloneServer) -> Callable[[], S3Storage]:
    return lambda: S3Storage(S3_RCLONE, *rclone.new_root("lab/store"), rclone)


@pytest.fixture
def lab(new_bucket: Callable[[], S3Storage]) -> "Lab":
    return Lab(new_bucket())


@pytest.fixture
def named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> "Lab":
    return lab.named(monkeypatch)


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Forks]]:
    started: dict[str, Forks] = {}
    folder = tmp_path_factory.mktemp("forks")

    def of(library: str) -> Forks:
        if library not in started:
            started[library] = Forks(library, folder / library)
        return started[library]

    yield of
    for each in started.values():
        each.end()


@pytest.fixture
def run(forks: Callable[[str], Forks], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Give what runs a program in a process of its own, with a library imported before."""

    def program_run(program: str, *words: object, library: str = "datasets", **env: str) -> tuple[int, str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        return forks(library).run(program, words, {**inherited, **env}, tmp_path)

    return program_run
