"""Fixtures for the filesystem's tests: a store that is made, and the filesystem over it."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from fsmedia import MediaFileSystem, MediaStore
from tests.conftest import on, storages
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, Storage

QUICK = on(LOCAL, MEMORY, of=())
"""For what no object store has a part in."""
EVERYWHERE = on(LOCAL, MEMORY, S3_MOTO, S3_RCLONE, GCS)
"""For what each kind of object store does its own way: conditions, signatures, times, files."""
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000080000000608020000001e5d1b1b0000000049454e44ae426082")
DATA = bytes(range(256)) * 4096
"""1 MiB: several blocks of a seek."""

OWN = "runs/r2/own.txt"
"""What the ways below write a copy of, or take along."""


def written(fs: Any, name: str, mode: str, data: bytes | str = b"other", **options: Any) -> None:
    with fs.open(name, mode, **options) as file:
        file.write(data)


WRITE: dict[str, Callable[[Any, str, str], Any]] = {
    "open wb": lambda fs, name, _: written(fs, name, "wb"),
    "open ab": lambda fs, name, _: written(fs, name, "ab"),
    "open xb": lambda fs, name, _: written(fs, name, "xb"),
    "open text": lambda fs, name, _: written(fs, name, "w", "other"),
    "open gzip": lambda fs, name, _: written(fs, name, "wt", "other", compression="gzip"),
    "pipe_file": lambda fs, name, _: fs.pipe_file(name, b"other"),
    "pipe": lambda fs, name, _: fs.pipe({name: b"other"}),
    "pipe many": lambda fs, name, _: fs.pipe({name: b"other", "runs/r1/free.txt": b"free"}),
    "create": lambda fs, name, _: fs.pipe_file(name, b"other", mode="create"),
    "touch": lambda fs, name, _: fs.touch(name, truncate=True),
    "put_file": lambda fs, name, local: fs.put_file(local, name),
    "put": lambda fs, name, local: fs.put(local, name),
    "mkdir": lambda fs, name, _: fs.mkdir(name),
    "makedirs": lambda fs, name, _: fs.makedirs(name),
    "cp onto": lambda fs, name, _: fs.cp(OWN, name),
    "cp_file onto": lambda fs, name, _: fs.cp_file(OWN, name),
    "mv onto": lambda fs, name, _: fs.mv(OWN, name),
}
"""Ways to make a file, or a folder; the third argument is a file of this machine."""
TAKE: dict[str, Callable[[Any, str, str], Any]] = {
    "rm": lambda fs, name, _: fs.rm(name),
    "rm of several": lambda fs, name, _: fs.rm([OWN, name]),
    "rm_file": lambda fs, name, _: fs.rm_file(name),
    "rm the folder": lambda fs, name, _: fs.rm(name.rpartition("/")[0], recursive=True),
    "mv away": lambda fs, name, _: fs.mv(name, "runs/r3/away.txt"),
    "mv the folder": lambda fs, name, _: fs.mv(name.rpartition("/")[0], "runs/r3", recursive=True),
}

storage = storages(LOCAL, MEMORY, S3_RCLONE)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run tests that are coroutines, each on a loop of its own; zarr's suite has such tests."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}))
    return True


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no configuration and no cached instance to the next test."""
    before = dict(fsspec.config.conf)
    yield
    fsspec.config.conf.clear()
    fsspec.config.conf.update(before)
    fsspec.get_filesystem_class("media").clear_instance_cache()


def made(storage: Storage, **settings: Any) -> MediaStore:
    return MediaStore(storage.url, storage_options=storage.options, durability="rename", **settings).create()


def opened(storage: Storage, **options: Any) -> MediaFileSystem:
    return fsspec.filesystem("media", root=storage.url, storage_options=storage.options, **options)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def fs(storage: Storage) -> MediaFileSystem:
    made(storage)
    return opened(storage)


@pytest.fixture
def moto_fs(moto_storage: Storage) -> MediaFileSystem:
    made(moto_storage)
    return opened(moto_storage)
