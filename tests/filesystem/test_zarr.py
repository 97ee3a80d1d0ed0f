"""zarr's own suite for stores, on a chained `media://` URL."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import zarr.testing.store
from zarr.core.buffer import Buffer, cpu
from zarr.storage import FsspecStore

from fsmedia import MediaStore

NUMBERS = itertools.count(1)


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

    @pytest.fixture
    def store_not_open(self, store_kwargs: dict[str, Any]) -> FsspecStore:
        return self.store_cls(**store_kwargs)

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
