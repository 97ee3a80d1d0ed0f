"""Requests of names that clients choose: an overwrite costs none more where there are conditions, a delete one PUT."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.storage import Exclusion
from tests.conftest import make_storage
from tests.storages import S3_MOTO, S3_RCLONE, S3_SEAWEED, ObjectStorage

NAME, OTHER = "runs/r1/report.bin", "runs/r1/moved.bin"
MANY = 20


@pytest.fixture(params=[S3_MOTO, S3_SEAWEED, S3_RCLONE])
def s3(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    made = make_storage(request.param, request, tmp_path)
    assert isinstance(made, ObjectStorage)
    return made


@pytest.fixture
def store(s3: ObjectStorage) -> MediaStore:
    """Give a store with one media, over a server that was asked what it keeps."""
    opened = MediaStore(s3.url, storage_options=s3.options).create()
    opened.fs.pipe_file(NAME, b"bytes")
    return opened


def keeps(store: MediaStore) -> bool:
    return store._backend.exclusion is Exclusion.CONDITIONS


def test_a_write_costs_what_it_did_or_one_look_more(s3: ObjectStorage, store: MediaStore) -> None:
    """Sidecar, hold, PromptKit's index and bytes are looked at in one round trip, then two PUTs."""
    look = 0 if keeps(store) else 1
    for name in (NAME, OTHER):
        with s3.counted() as n:
            store.fs.pipe_file(name, b"new bytes")
        assert n == {"get": 3 + look, "head": 1 + look, "put": 2}, n


def test_a_change_of_attributes_costs_what_it_did(s3: ObjectStorage, store: MediaStore) -> None:
    with s3.counted() as n:
        store.fs.setxattrs(NAME, {"user.a": "1"})
    assert n == {"get": 1, "head": 2, "put": 1}, n


def test_a_delete_costs_one_put_more_or_one_look(s3: ObjectStorage, store: MediaStore) -> None:
    with s3.counted() as n:
        store.delete_media(NAME)
    assert n == {"get": 3, "delete": 2, **({"put": 1} if keeps(store) else {"head": 1})}, n


def test_many_deletes_are_still_bulk_requests(s3: ObjectStorage, store: MediaStore) -> None:
    names = [f"runs/r1/{number}.bin" for number in range(MANY)]
    store.fs.pipe(dict.fromkeys(names, b"bytes"))
    with s3.counted() as n:
        store.delete_many(names)
    assert n == {"list": 1, "get": MANY + 1, "bulk_delete": 2, "put" if keeps(store) else "head": MANY}, n


def test_a_move_costs_one_put_more(s3: ObjectStorage, store: MediaStore) -> None:
    """It took 16: the source is compared and looked at again, and what was read before is not read a second time."""
    with s3.counted() as n:
        store.fs.mv(NAME, OTHER)
    assert n["copy"] == 1
    assert n["delete"] == 2
    assert sum(n.values()) <= (17 if keeps(store) else 21), n


def test_names_of_our_own_form_cost_nothing_more(s3: ObjectStorage, store: MediaStore) -> None:
    with s3.counted() as n:
        reference = store.store_media(MediaContent.from_bytes(b"bytes", "text/plain"), MediaMetadata(run_id="r1"))
    assert n == {"put": 2}, n
    with s3.counted() as n:
        store.delete_media(reference)
    assert n == {"get": 2, "delete": 2}, n
