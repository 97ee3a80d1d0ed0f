"""Damage: corrupt sidecars, halves of media, a store.json that can't be read. Said readably, and never made worse."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

import pytest

from fsmedia import (
    CorruptSidecarError,
    MediaContent,
    MediaError,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    StorageError,
    StoreConflictError,
)
from tests.conftest import storages
from tests.contract.specimens import PNG, R1, STORE_JSON, png, traces
from tests.storages import LOCAL, MEMORY, S3_RCLONE

storage = storages(LOCAL, MEMORY, S3_RCLONE)
GOOD = {"run_id": "r1", "message_idx": 0, "part_idx": 0, "mime_type": "image/png", "size_bytes": 4, "fsmedia": 1}
SIDECARS = {
    "garbage": b"\x00\xff\xfe garbage",
    "empty": b"",
    "truncated": json.dumps(GOOD).encode()[:-20],
    "a list": b"[]",
    "null": b"null",
    "a number": b"5",
    "text": b'"text"',
    "two documents": b"{}{}",
    "latin-1": '{"run_id": "é"}'.encode("latin-1"),
    "not a number": b'{"run_id": "r1", "content": {"duration": NaN}}',
    "deep": b'{"xattrs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a newer format": json.dumps({**GOOD, "fsmedia": 2}).encode(),
    "no format": json.dumps({**GOOD, "fsmedia": "one"}).encode(),
    "run_id a number": json.dumps({**GOOD, "run_id": 5}).encode(),
    "index a text": json.dumps({**GOOD, "message_idx": "three"}).encode(),
    "index negative": json.dumps({**GOOD, "part_idx": -1}).encode(),
    "MIME type none": json.dumps({**GOOD, "mime_type": "image\r\nX: 1"}).encode(),
    "timestamp none": json.dumps({**GOOD, "timestamp": "yesterday"}).encode(),
    "timestamp without zone": json.dumps({**GOOD, "timestamp": "2026-01-01T00:00:00"}).encode(),
    "expires_at a list": json.dumps({**GOOD, "expires_at": []}).encode(),
    "content a list": json.dumps({**GOOD, "content": [1]}).encode(),
    "width a text": json.dumps({**GOOD, "content": {"width": "wide"}}).encode(),
    "xattrs a list": json.dumps({**GOOD, "xattrs": [1]}).encode(),
}


def test_a_corrupt_sidecar_names_its_media_and_hides_no_bytes(storage, caplog):
    store = MediaStore(storage.url, storage_options=storage.options).create()
    neighbour = store.store_media(png(), R1)
    damaged = {}
    for number, name in enumerate(SIDECARS):
        reference = f"runs/r1/0000_00_u{number:026}.png"
        storage.write(reference, PNG)
        storage.write(f"{reference}.meta", SIDECARS[name])
        damaged[reference] = name
    before = storage.keys()
    for reference, name in damaged.items():
        for read in (store.info, store.metadata, store.retrieve_media):
            with pytest.raises(CorruptSidecarError) as caught:
                read(reference)
            assert caught.value.reference == reference, name
            assert reference in str(caught.value), name
            assert "; " in str(caught.value), name
            assert len(str(caught.value)) < 500, name
            assert isinstance(caught.value, ValueError)
        assert store.exists(reference) is True
        with store.open(reference) as file:
            assert file.read() == PNG
    assert list(store.list()) == sorted([neighbour, *damaged])
    assert list(store.list(run_id="r1")) == sorted([neighbour, *damaged])
    with caplog.at_level(logging.WARNING, "fsmedia"):
        assert list(store.list(mime_type="image/png")) == sorted([neighbour, *damaged])  # by their names
    assert all(any(reference in message for message in caplog.messages) for reference in damaged)
    assert storage.keys() == before
    for reference in damaged:
        store.delete_media(reference)
    assert storage.keys() == {STORE_JSON, neighbour, f"{neighbour}.meta"}


def test_a_sidecar_of_megabytes_is_not_one_of_ours(storage, store):
    storage.write("runs/r1/x.png", PNG)
    storage.write("runs/r1/x.png.meta", b'{"run_id": "' + b"x" * (5 << 20) + b'"}')
    with pytest.raises(CorruptSidecarError, match=r"runs/r1/x\.png: .*larger") as caught:
        store.info("runs/r1/x.png")
    assert len(str(caught.value)) < 500
    assert list(store.list()) == ["runs/r1/x.png"]
    with store.open("runs/r1/x.png") as file:
        assert file.read() == PNG


def test_what_promptkit_left_out_is_no_damage(storage, store):
    store.create()
    sidecars = {
        "runs/r1/none.wav": {},
        "runs/r1/nulls.wav": dict.fromkeys(GOOD) | {"timestamp": None, "content": None, "xattrs": None},
        "runs/r1/zeros.wav": {"run_id": "r1", "size_bytes": 0, "timestamp": "0001-01-01T00:00:00Z"},
        "runs/r1/unknown.wav": {"run_id": "r1", "policy_name": "retain-5weeks", "colour": "red", "content": {"a": 1}},
        "runs/r1/nanoseconds.wav": {"run_id": "r1", "timestamp": "2026-01-02T03:04:05.123456789+02:00"},
    }
    for key, values in sidecars.items():
        values.pop("fsmedia", None)
        storage.write(key, PNG)
        storage.write(f"{key}.meta", json.dumps(values).encode())
    for key in sidecars:
        record = store.info(key)
        assert (record.mime_type, record.size_bytes) == ("audio/wav", len(PNG))
        assert record.timestamp is not None
    exact = datetime(2026, 1, 2, 1, 4, 5, 123456, tzinfo=UTC)
    assert store.info("runs/r1/nanoseconds.wav").timestamp == exact
    assert store.info("runs/r1/unknown.wav").expires_at is None
    # And what it wrote expires by its policy.
    values = {**GOOD, "timestamp": "2026-01-02T03:04:05Z", "policy_name": "retain-1days"}
    del values["fsmedia"]
    storage.write("runs/r1/a.png", PNG)
    storage.write("runs/r1/a.png.meta", json.dumps(values).encode())
    assert store.info("runs/r1/a.png").expires_at == datetime(2026, 1, 3, 3, 4, 5, tzinfo=UTC)
    assert list(store.list(expires_before=datetime(2026, 2, 1, tzinfo=UTC))) == ["runs/r1/a.png"]


def test_half_a_media_is_none(storage, store):
    """Bytes of our own form without a sidecar, a sidecar without bytes, and bytes that go while they are read."""
    bare, told, going = (store.store_media(png(), R1) for _ in range(3))
    storage.remove(f"{bare}.meta")
    storage.remove(told)
    content = store.retrieve_media(going)
    storage.remove(going)
    for words in ({}, {"run_id": "r1"}, {"mime_type": "image/*"}):
        assert list(store.list(**words)) == []
    for reference, reads in ((bare, ()), (told, (store.open,))):
        assert store.exists(reference) is False
        for read in (store.info, store.metadata, store.retrieve_media, *reads):
            with pytest.raises(MediaNotFoundError) as caught:
                read(reference)
            assert caught.value.reference == reference
    assert storage.read(bare) == PNG
    with pytest.raises(MediaNotFoundError):
        content.read_bytes()


SETTINGS = {
    "empty": b"",
    "garbage": b"\xff\x00",
    "truncated": b'{"fsmedia": 1, "organ',
    "a list": b"[1]",
    "another program's": b'{"name": "store"}',
    "version a text": b'{"fsmedia": "1"}',
    "organization unknown": b'{"fsmedia": 1, "organization": "by-user"}',
    "organization a number": b'{"fsmedia": 1, "organization": 5}',
    "layouts a list": b'{"fsmedia": 1, "layouts": ["x"]}',
    "layouts out of the root": b'{"fsmedia": 1, "layouts": {"by-run": "../{run_id}/{name}{ext}"}}',
    "layouts of an unknown mode": b'{"fsmedia": 1, "layouts": {"by-user": "u/{run_id}/{name}{ext}"}}',
    "policies a list": b'{"fsmedia": 1, "policies": ["x"]}',
    "policy without duration": b'{"fsmedia": 1, "policies": {"audit": {}}}',
    "policy of no time": b'{"fsmedia": 1, "policies": {"audit": {"keep_for_seconds": 0}}}',
    "policy of a text": b'{"fsmedia": 1, "policies": {"audit": {"keep_for_seconds": "long"}}}',
    "policy for too long": b'{"fsmedia": 1, "policies": {"audit": {"keep_for_seconds": 1e300}}}',
    "policy that means something else": b'{"fsmedia": 1, "policies": {"retain-1days": {"keep_for_seconds": 5}}}',
    "default policy unknown": b'{"fsmedia": 1, "default_policy": "audit"}',
    "default policy a list": b'{"fsmedia": 1, "default_policy": []}',
    "deep": b"[" * 100_000,
}
NEWER = {
    "a newer format": b'{"fsmedia": 2, "organization": "by-run"}',
    "a setting of tomorrow": b'{"fsmedia": 1, "organization": "by-run", "encryption": "aes"}',
}


@pytest.mark.parametrize(
    ("cases", "error", "step"),
    [(SETTINGS, StorageError, "restore it"), (NEWER, StoreConflictError, "pip install --upgrade fsmedia")],
    ids=["damaged", "newer"],
)
def test_settings_that_can_not_be_read_are_said_and_left_as_they_are(storage, cases, error, step):
    for name, data in cases.items():
        storage.write(STORE_JSON, data)
        before = traces(storage)
        with pytest.raises(error) as caught:
            MediaStore(storage.url, storage_options=storage.options)
        assert traces(storage) == before
        assert caught.value.key == STORE_JSON
        text = str(caught.value)
        assert text.startswith(f"{STORE_JSON}: ")
        assert "; " in text
        assert step in text, name
        assert len(text) < 500


def test_a_moved_away_store_json_leaves_the_media_readable(storage, open_store):
    reference = open_store().store_media(png(), R1)
    storage.write(STORE_JSON, b"garbage")
    with pytest.raises(MediaError):
        open_store()
    storage.remove(STORE_JSON)
    store = open_store()
    assert list(store.list()) == [reference]
    second = store.store_media(MediaContent.from_text("x"), MediaMetadata(run_id="r1"))
    assert list(store.list(run_id="r1")) == sorted([reference, second])
    assert json.loads(storage.read(STORE_JSON))["fsmedia"] == 1
