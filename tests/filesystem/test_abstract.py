"""fsspec's own suite for implementations, over `media://` on every storage."""

from __future__ import annotations

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests import abstract

from fsmedia import MediaStore
from fsmedia.filesystem import MediaFileSystem
from tests.conftest import make_storage
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO


class Fixtures(abstract.AbstractFixtures):
    name = ""

    @pytest.fixture
    def fs(self, request, tmp_path):
        storage = make_storage(self.name, request, tmp_path)
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
        return "work"

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
for _on in (OnMemory, OnLocal, OnS3, OnGcs):
    for _what, _suite in SUITES.items():
        _name = f"Test{_what}{_on.__name__}"
        globals()[_name] = type(_name, (_on, _suite), {"__module__": __name__})
