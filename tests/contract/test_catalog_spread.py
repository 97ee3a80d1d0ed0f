"""Refreshing the catalog with an executor gives what one alone does; without pyarrow the error says what to install."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from fsmedia import StorageError
from tests.catalogs import PNG, check, filled, old_enough, opened, snapshots
from tests.storages import GCS, MEMORY, S3_SEAWEED

if TYPE_CHECKING:
    from tests.storages import LocalStorage, MemoryStorage, Storage


@pytest.mark.parametrize("shared", [False, True], ids=["plain", "deduplicated"])
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_executor_gives_the_same(storage: Storage, shared: bool, kind: str) -> None:
    if storage.name == S3_SEAWEED:
        pytest.skip("SeaweedFS lists folder by folder: r0/ before r0-x/, which is not the order of keys")
    if kind == "processes" and storage.name in (MEMORY, GCS):
        return  # memory is seen by one process, see below; GCS is as S3
    store, references = filled(storage, deduplicate=shared)
    storage.write("runs/r0-x/foreign.png", PNG)
    storage.write("loose.txt", b"at the root")
    storage.write("runs/loose.txt", b"beside the runs")
    storage.write("runs.txt/deep/er.txt", b"sorts between")
    pool = ThreadPoolExecutor(4) if kind == "threads" else ProcessPoolExecutor(2, get_context("spawn"))
    with pool as executor, old_enough():
        spread = store.catalog(executor=executor)
        check(store, spread)
        again = store.catalog()
        assert again.to_arrow().equals(opened(storage, read_only=True).catalog().to_arrow())
        assert len(spread) == len(references) + 4
        store.delete_media(references[0])
        assert store.catalog(executor=executor).to_arrow().equals(opened(storage, read_only=True).catalog().to_arrow())
        if kind == "threads" and storage.name != MEMORY:
            assert store.catalog(executor=executor).report.read == 0


def test_processes_can_not_see_memory(memory_storage: MemoryStorage) -> None:
    store, _ = filled(memory_storage)
    with ProcessPoolExecutor(1, get_context("spawn")) as executor, pytest.raises(StorageError, match="one process"):
        store.catalog(executor=executor)
    assert snapshots(memory_storage) == []


def test_progress_is_told(local_storage: LocalStorage) -> None:
    store, _ = filled(local_storage)
    told: list[int] = []
    store.catalog(progress=told.append)
    assert told[-1] == 12


# -- without pyarrow -----------------------------------------------------------------------------------------------


def test_without_pyarrow_the_error_names_the_extra(local_storage: LocalStorage) -> None:
    filled(local_storage)[0].catalog()
    script = (
        "import sys\n"
        "sys.modules['pyarrow'] = None\n"
        "from fsmedia import MediaStore, MediaError\n"
        "store = MediaStore(sys.argv[1])\n"
        "for asked in (store.catalog, lambda: store.catalog(refresh=False), store.stats):\n"
        "    try:\n"
        "        asked()\n"
        "    except MediaError as error:\n"
        "        print(error)\n"
        "print(len(list(store.list(mime_type='image/*'))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, local_storage.url], capture_output=True, text=True, check=True, timeout=60
    )
    *errors, count = done.stdout.splitlines()
    assert len(errors) == 3
    assert all("pip install 'fsmedia[catalog]'" in each for each in errors)
    assert count == "6"
