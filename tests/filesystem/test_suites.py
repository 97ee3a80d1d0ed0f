"""The suites of others over `media://`: fsspec's own for implementations on every storage, zarr's for stores."""

from itertools import count
from typing import Any

import pytest
import zarr.testing.store
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests import abstract
from zarr.core.buffer import Buffer, cpu
from zarr.storage import FsspecStore

from fsmedia import MediaStore
from fsmedia.filesystem import MediaFileSystem
from tests.conftest import make_storage
from tests.filesystem.conftest import made, opened
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE

NUMBERS = count(1)
SUITES = ("Copy", "Get", "Put", "Open", "Pipe")
# Trees are copied, got and put alike on all object stores, by calls that memory and a disk have, too. What each does
# its own way, a PUT on a condition, is what "Open" and "Pipe" ask for; whole trees go there in tests of views and bulk.
FULL = {(what, name) for what in ("Copy", "Get", "Put") for name in (S3_MOTO, GCS, S3_RCLONE)}


class Fixtures(abstract.AbstractFixtures):
    name = ""

    @pytest.fixture(scope="class")
    @classmethod
    def fs(cls, request, tmp_path_factory):
        # One for all tests of a class, as the suite foresees: a new S3 client costs a third of a second.
        storage = make_storage(cls.name, request, tmp_path_factory.mktemp("abstract"))
        made(storage)
        fs = opened(storage, durability="rename", skip_instance_cache=True)
        assert isinstance(fs, MediaFileSystem)
        return fs

    @pytest.fixture
    def local_fs(self):  # the suite's own is a class method, which pytest 9 warns about
        return LocalFileSystem(auto_mkdir=True)

    @pytest.fixture
    def fs_path(self):
        return f"work-{next(NUMBERS)}"  # each test its own folder of the store

    @pytest.fixture
    def fs_join(self):
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def supports_empty_directories(self):
        return self.name in (LOCAL, MEMORY)


for _name in (MEMORY, LOCAL, S3_RCLONE, S3_MOTO, GCS):
    for _what in SUITES:
        _title = f"Test{_what}On{_name.title().replace('-', '')}"
        _bases = (Fixtures, getattr(abstract, f"Abstract{_what}Tests"))
        _marks = [pytest.mark.full] if (_what, _name) in FULL else []
        globals()[_title] = type(_title, _bases, {"__module__": __name__, "pytestmark": _marks, "name": _name})


class TestZarrStore(zarr.testing.store.StoreTests[FsspecStore, cpu.Buffer]):
    store_cls = FsspecStore
    buffer_cls = cpu.Buffer

    @pytest.fixture
    def store_kwargs(self) -> dict[str, Any]:
        root = f"memory://zarr-{next(NUMBERS)}"
        MediaStore(root).create()
        store = FsspecStore.from_url(f"media://runs/r1/cube::{root}")
        return {"fs": store.fs, "path": store.path}

    @pytest.fixture
    def store(self, store_kwargs: dict[str, Any]) -> FsspecStore:
        return self.store_cls(**store_kwargs)

    store_not_open = store

    async def set(self, store: FsspecStore, key: str, value: Buffer) -> None:
        await store.fs._pipe_file(f"{store.path}/{key}", value.to_bytes())

    async def get(self, store: FsspecStore, key: str) -> Buffer:
        return self.buffer_cls.from_bytes(await store.fs._cat_file(f"{store.path}/{key}"))

    def test_store_repr(self, store: FsspecStore) -> None:
        assert "runs/r1/cube" in str(store)

    def test_store_supports_writes(self, store: FsspecStore) -> None:
        assert store.supports_writes

    def test_store_supports_listing(self, store: FsspecStore) -> None:
        assert store.supports_listing

    def test_store_supports_partial_writes(self, store: FsspecStore) -> None:
        assert not store.supports_partial_writes
