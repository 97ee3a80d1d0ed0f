"""fsspec's own suite for implementations, over `media://` on every storage."""

from __future__ import annotations

from itertools import count

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests import abstract

from fsmedia import MediaStore
from fsmedia.filesystem import MediaFileSystem
from tests.conftest import make_storage
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE

NUMBERS = count(1)


class Fixtures(abstract.AbstractFixtures):
    name = ""

    @pytest.fixture(scope="class")
    @classmethod
    def fs(cls, request, tmp_path_factory):
        # One for all tests of a class, as the suite foresees: a new S3 client costs a third of a second.
        storage = make_storage(cls.name, request, tmp_path_factory.mktemp("abstract"))
        MediaStore(storage.url, storage_options=storage.options).create()
        fs = fsspec.filesystem(
            "media", root=storage.url, storage_options=storage.options, durability="rename", skip_instance_cache=True
        )
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


class OnMemory(Fixtures):
    name = MEMORY


class OnLocal(Fixtures):
    name = LOCAL


class OnS3(Fixtures):
    name = S3_RCLONE


class OnMoto(Fixtures):
    name = S3_MOTO


class OnGcs(Fixtures):
    name = GCS


SUITES = {
    "Copy": abstract.AbstractCopyTests,
    "Get": abstract.AbstractGetTests,
    "Put": abstract.AbstractPutTests,
    "Open": abstract.AbstractOpenTests,
    "Pipe": abstract.AbstractPipeTests,
}
# Both servers speak S3, and moto takes twice as long for the same requests. What it alone does, a PUT on a condition,
# is what "Open" and "Pipe" ask for.
FULL = {("Copy", OnMoto), ("Get", OnMoto), ("Put", OnMoto)}
for _on in (OnMemory, OnLocal, OnS3, OnMoto, OnGcs):
    for _what, _suite in SUITES.items():
        _name = f"Test{_what}{_on.__name__}"
        _marks = [pytest.mark.full] if (_what, _on) in FULL else []
        globals()[_name] = type(_name, (_on, _suite), {"__module__": __name__, "pytestmark": _marks})
