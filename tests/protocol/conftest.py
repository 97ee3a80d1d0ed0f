"""What the protocol tests share: folders where a sync costs nothing, and the object stores that are asked each time."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import storages
from tests.protocol.worlds import Place
from tests.storages import AZURE, GCS, OBJECT_STORAGES, S3_RCLONE

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in memory where the machine has such: these tests make thousands of stores."""
    if not (SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK)):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="fsmedia-", dir=SHARED_MEMORY))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def place(request: pytest.FixtureRequest, full_run: bool, tmp_path: Path) -> Place:
    """Give the place that is asked for by kind and level, and by options of its stores."""
    kind, level, *options = request.param
    return Place(kind, level, tmp_path, *options, full_run=full_run)


object_storage = storages(
    S3_RCLONE, GCS, AZURE, of=OBJECT_STORAGES
)  # at full size the others: the same code asks all of S3
