"""Damage: corrupt sidecars, halves of media, a store.json that can't be read. Said readably, and never made worse."""

import json
import logging
from datetime import UTC, datetime

import pytest

from fsmedia import MediaContent, MediaMetadata, errors
from tests.conftest import storages
from tests.contract.specimens import PNG, R1, STORE_JSON, png, raised, traces, with_sidecars
from tests.storages import LOCAL, MEMORY, S3_RCLONE

storage = storages(LOCAL, MEMORY, S3_RCLONE)
GOOD = {"run_id": "r1", "message_idx": 0, "part_idx": 0, "mime_type": "image/png", "size_bytes": 4, "fsmedia": 1}
SIDECARS = {
    "garbage": b"\x00\xff\xfe garbage", "empty": b"", "truncated": json.dumps(GOOD).encode()[:-20],
    "a list": b"[]", "null": b"null", "a number": b"5", "text": b'"text"', "two documents": b"{}{}",
    "latin-1": '{"run_id": "é"}'.encode("latin-1"),
    "not a number": b'{"run_id": "r1", "content": {"duration": NaN}}',
    "deep": b'{"xattrs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a newer format": {"fsmedia": 2}, "no format": {"fsmedia": "one"}, "run_id a number": {"run_id": 5},
    "index a text": {"message_idx": "three"}, "index negative": {"part_idx": -1},
    "MIME type none": {"mime_type": "image\r\nX: 1"}, "timestamp none": {"timestamp": "yesterday"},
    "timestamp without zone": {"timestamp": "2026-01-01T00:00:00"}, "expires_at a list": {"expires_at": []},
    "content a list": {"content": [1]}, "width a text": {"content": {"width": "wide"}},
    "xattrs a list": {"xattrs": [1]},
}  # fmt: skip
"""What is damaged, or what stands in an otherwise good sidecar."""


def test_a_corrupt_sidecar_names_its_media_and_hides_no_bytes(storage, store, caplog):
    neighbour = store.store_media(png(), R1)
    damaged = {}
    for number, (name, data) in enumerate(SIDECARS.items()):
        reference = f"runs/r1/0000_00_u{number:026}.png"
        storage.write(reference, PNG)
        storage.write(f"{reference}.meta", data if isinstance(data, bytes) else json.dumps({**GOOD, **data}).encode())
        damaged[reference] = name
    before = storage.keys()
    for reference, name in damaged.items():
        for read in (store.info, store.retrieve_media):
            error = raised(errors.CorruptSidecarError, read, reference)
            assert error.reference == reference, name
            assert reference in str(error), name
            assert "; " in str(error), name
            assert len(str(error)) < 500, name
            assert isinstance(error, ValueError)
        assert store.exists(reference) is True
        with store.open(reference) as file:
            assert file.read() == PNG
    everything = sorted([neighbour, *damaged])
    assert list(store.list()) == list(store.list(run_id="r1")) == everything
    with caplog.at_level(logging.WARNING, "fsmedia"):
        assert list(store.list(mime_type="image/png")) == everything  # by their names
    assert all(any(reference in message for message in caplog.messages) for reference in damaged)
    assert storage.keys() == before
    for reference in damaged:
        store.delete_media(reference)
    assert storage.keys() == {STORE_JSON, *with_sidecars(neighbour)}


def test_a_sidecar_of_megabytes_is_not_one_of_ours(storage, store):
    key = "runs/r1/x.png"
    storage.write(key, PNG)
    storage.write(f"{key}.meta", b'{"run_id": "' + b"x" * (5 << 20) + b'"}')
    assert len(str(raised(errors.CorruptSidecarError, store.info, key, match=r"runs/r1/x\.png: .*larger"))) < 500
    assert list(store.list()) == [key]
    with store.open(key) as file:
        assert file.read() == PNG


def test_what_promptkit_left_out_is_no_damage(storage, store):
    store.create()
    theirs = {name: value for name, value in GOOD.items() if name != "fsmedia"}
    sidecars = {
        "runs/r1/none.wav": {},
        "runs/r1/nulls.wav": dict.fromkeys([*theirs, "timestamp", "content", "xattrs"]),
        "runs/r1/zeros.wav": {"run_id": "r1", "size_bytes": 0, "timestamp": "0001-01-01T00:00:00Z"},
        "runs/r1/unknown.wav": {"run_id": "r1", "policy_name": "retain-5weeks", "colour": "red", "content": {"a": 1}},
        "runs/r1/nanoseconds.wav": {"run_id": "r1", "timestamp": "2026-01-02T03:04:05.123456789+02:00"},
        "runs/r1/a.png": {**theirs, "timestamp": "2026-01-02T03:04:05Z", "policy_name": "retain-1days"},
    }
    for key, values in sidecars.items():
        storage.write(key, PNG)
        storage.write(f"{key}.meta", json.dumps(values).encode())
        record = store.info(key)
        assert (record.mime_type, record.size_bytes) == ("image/png" if "png" in key else "audio/wav", len(PNG))
        assert record.timestamp is not None
    exact = datetime(2026, 1, 2, 1, 4, 5, 123456, tzinfo=UTC)
    assert store.info("runs/r1/nanoseconds.wav").timestamp == exact
    assert store.info("runs/r1/unknown.wav").expires_at is None
    # And what it wrote expires by its policy.
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
        for read in (store.info, store.retrieve_media, *reads):
            assert raised(errors.MediaNotFoundError, read, reference).reference == reference
    assert storage.read(bare) == PNG
    raised(errors.MediaNotFoundError, content.read_bytes)


SETTINGS = {
    "empty": b"", "garbage": b"\xff\x00", "truncated": b'{"fsmedia": 1, "organ', "a list": b"[1]",
    "another program's": b'{"name": "store"}', "version a text": {"fsmedia": "1"}, "deep": b"[" * 100_000,
    "organization unknown": {"organization": "by-user"}, "organization a number": {"organization": 5},
    "layouts a list": {"layouts": ["x"]},
    "layouts out of the root": {"layouts": {"by-run": "../{run_id}/{name}{ext}"}},
    "layouts of an unknown mode": {"layouts": {"by-user": "u/{run_id}/{name}{ext}"}},
    "policies a list": {"policies": ["x"]}, "policy without duration": {"policies": {"audit": {}}},
    "policy of no time": {"policies": {"audit": {"keep_for_seconds": 0}}},
    "policy of a text": {"policies": {"audit": {"keep_for_seconds": "long"}}},
    "policy for too long": {"policies": {"audit": {"keep_for_seconds": 1e300}}},
    "policy that means something else": {"policies": {"retain-1days": {"keep_for_seconds": 5}}},
    "default policy unknown": {"default_policy": "audit"}, "default policy a list": {"default_policy": []},
}  # fmt: skip
NEWER = {
    "a newer format": {"fsmedia": 2, "organization": "by-run"},
    "a setting of tomorrow": {"organization": "by-run", "encryption": "aes"},
}
UPGRADE = "pip install --upgrade fsmedia"
KINDS = [(SETTINGS, errors.StorageError, "restore it"), (NEWER, errors.StoreConflictError, UPGRADE)]


@pytest.mark.parametrize(("cases", "kind", "step"), KINDS, ids=["damaged", "newer"])
def test_settings_that_can_not_be_read_are_said_and_left_as_they_are(storage, open_store, cases, kind, step):
    for name, data in cases.items():
        storage.write(STORE_JSON, data if isinstance(data, bytes) else json.dumps({"fsmedia": 1, **data}).encode())
        before = traces(storage)
        error = raised(kind, open_store)
        assert traces(storage) == before
        assert error.key == STORE_JSON
        assert str(error).startswith(f"{STORE_JSON}: "), name
        assert "; " in str(error), name
        assert step in str(error), name
        assert len(str(error)) < 500, name


def test_a_moved_away_store_json_leaves_the_media_readable(storage, open_store):
    reference = open_store().store_media(png(), R1)
    storage.write(STORE_JSON, b"garbage")
    raised(errors.MediaError, open_store)
    storage.remove(STORE_JSON)
    store = open_store()
    assert list(store.list()) == [reference]
    second = store.store_media(MediaContent.from_text("x"), MediaMetadata(run_id="r1"))
    assert list(store.list(run_id="r1")) == sorted([reference, second])
    assert json.loads(storage.read(STORE_JSON))["fsmedia"] == 1
