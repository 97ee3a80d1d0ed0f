"""What stands in a sidecar, read as any other program would: exact text, PromptKit's keys first."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, RetentionPolicy
from tests.contract.specimens import PNG, R1, STORE_JSON, png

NOW = "2026-03-04T05:06:07.890123Z"
SHA = hashlib.sha256(PNG).hexdigest()


def sidecar(storage, reference):
    return json.loads(storage.read(f"{reference}.meta"))


def test_a_full_sidecar_letter_by_letter(storage, open_store):
    metadata = MediaMetadata(
        run_id="r/1",
        conversation_id="c1",
        session_id="s1",
        message_idx=3,
        part_idx=1,
        provider_id="openai",
        timestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
        policy_name="retain-7days",
    )
    content = png(
        caption='ein Bär "ü"\n',
        format="png",
        detail="high",
        duration=1.5,
        bit_rate=1,
        channels=2,
        width=640,
        height=480,
        fps=25,
    )
    reference = open_store().store_media(content, metadata)
    expected = f"""{{
  "run_id": "r/1",
  "conversation_id": "c1",
  "session_id": "s1",
  "message_idx": 3,
  "part_idx": 1,
  "mime_type": "image/png",
  "size_bytes": {len(PNG)},
  "provider_id": "openai",
  "timestamp": "2026-01-02T01:04:05Z",
  "policy_name": "retain-7days",
  "sha256": "{SHA}",
  "expires_at": "2026-01-09T01:04:05Z",
  "content": {{
    "format": "png",
    "detail": "high",
    "caption": "ein Bär \\"ü\\"\\n",
    "duration": 1.5,
    "bit_rate": 1,
    "channels": 2,
    "width": 640,
    "height": 480,
    "fps": 25
  }},
  "fsmedia": 1
}}"""
    assert storage.read(f"{reference}.meta").decode() == expected


def test_what_was_not_said_is_left_out(storage, store):
    reference = store.store_media(png(), R1)
    expected = f"""{{
  "run_id": "r1",
  "message_idx": 0,
  "part_idx": 0,
  "mime_type": "image/png",
  "size_bytes": {len(PNG)},
  "timestamp": "{NOW}",
  "sha256": "{SHA}",
  "fsmedia": 1
}}"""
    assert storage.read(f"{reference}.meta").decode() == expected


def test_run_id_stands_in_it_even_where_it_is_empty(memory_storage):
    store = MediaStore(memory_storage.url, organization="by-session")
    reference = store.store_media(png(), MediaMetadata(session_id="s1"))
    assert list(sidecar(memory_storage, reference))[:4] == ["run_id", "session_id", "message_idx", "part_idx"]
    assert sidecar(memory_storage, reference)["run_id"] == ""


def test_a_written_media_has_the_same_sidecar_as_a_stored_one(storage, store):
    metadata = MediaMetadata(run_id="r1", provider_id="p", policy_name="retain-2hours", size_bytes=999)
    stored = store.store_media(png(), metadata)
    with store.create_media(metadata, "image/png") as writer:
        for byte in PNG:
            writer.write(bytes([byte]))
    assert storage.read(f"{stored}.meta") == storage.read(f"{writer.reference}.meta")


def test_size_and_digest_are_measured_not_believed(storage, store):
    reference = store.store_media(png(size_kb=77), MediaMetadata(run_id="r1", size_bytes=12))
    found = sidecar(storage, reference)
    assert (found["size_bytes"], found["sha256"]) == (len(PNG), SHA)


@pytest.mark.parametrize(
    "zero",
    [None, 0, "0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)],
    ids=["None", "0", "Go's zero as text", "year 1", "Unix's zero"],
)
def test_no_timestamp_in_any_spelling_is_the_clock(memory_storage, clock, zero):
    store = MediaStore(memory_storage.url, now=clock)
    reference = store.store_media(png(), MediaMetadata(run_id="r1", timestamp=zero, policy_name="delete-after-90min"))
    found = sidecar(memory_storage, reference)
    assert found["timestamp"] == NOW
    assert found["expires_at"] == "2026-03-04T06:36:07.890123Z"


def test_the_clock_is_asked_for_each_media(storage, store, clock):
    first = store.store_media(png(), R1)
    clock.advance(timedelta(days=1))
    second = store.store_media(png(), R1)
    assert sidecar(storage, first)["timestamp"] == "2026-03-04T05:06:07.890123Z"
    assert sidecar(storage, second)["timestamp"] == "2026-03-05T05:06:07.890123Z"
    assert first < second  # names sort by time


POLICY_ORDER = [
    # metadata, content, default -> the one that counts
    ("retain-1days", "retain-2days", "retain-3days", "retain-1days"),
    (None, "retain-2days", "retain-3days", "retain-2days"),
    ("", "retain-2days", "retain-3days", "retain-2days"),
    (None, None, "retain-3days", "retain-3days"),
    (None, "", "retain-3days", "retain-3days"),
    ("retain-1days", None, None, "retain-1days"),
    (None, None, None, None),
]


@pytest.mark.parametrize("order", POLICY_ORDER, ids=str)
def test_metadata_then_content_then_default_say_the_policy(memory_storage, clock, order):
    of_metadata, of_content, default, counts = order
    store = MediaStore(memory_storage.url, default_policy=default, now=clock)
    reference = store.store_media(png(policy_name=of_content), MediaMetadata(run_id="r1", policy_name=of_metadata))
    found = sidecar(memory_storage, reference)
    assert found.get("policy_name") == counts
    days = int(counts[7]) if counts else None
    assert found.get("expires_at") == (f"2026-03-0{4 + days}T05:06:07.890123Z" if days else None)


def test_a_writer_takes_the_policy_of_metadata_or_the_default(memory_storage):
    store = MediaStore(memory_storage.url, default_policy="retain-3days")
    for asked, counts in (("retain-1days", "retain-1days"), (None, "retain-3days")):
        with store.create_media(MediaMetadata(run_id="r1", policy_name=asked), "image/png") as writer:
            writer.write(PNG)
        assert sidecar(memory_storage, writer.reference)["policy_name"] == counts


def test_named_policies_and_keep_for_ever(storage, open_store):
    store = open_store(
        policies=[RetentionPolicy(name="audit", keep_for=timedelta(days=365)), RetentionPolicy(name="legal")]
    )
    expected = {"audit": "2027-03-04T05:06:07.890123Z", "legal": None, "retain": None}
    for name, expires_at in expected.items():
        reference = store.store_media(png(), MediaMetadata(run_id="r1", policy_name=name))
        found = sidecar(storage, reference)
        assert (found["policy_name"], found.get("expires_at")) == (name, expires_at)
    again = open_store()  # the policies stand in the store
    reference = again.store_media(png(), MediaMetadata(run_id="r1", policy_name="audit"))
    assert sidecar(storage, reference)["expires_at"] == expected["audit"]


def test_the_contents_mime_type_wins_over_the_metadatas(storage, store):
    reference = store.store_media(png(), MediaMetadata(run_id="r1", mime_type="audio/wav"))
    assert reference.endswith(".png")
    assert sidecar(storage, reference)["mime_type"] == "image/png"


@pytest.mark.parametrize(
    ("declared", "data", "detected"),
    [
        ("image/jpeg", PNG, "image/png"),
        ("image/png", b"no picture at all\n", "text/plain"),
        ("image/png", PNG, None),
        ("application/octet-stream", PNG, None),
    ],
)
def test_a_mime_type_that_the_bytes_contradict_is_noted_and_not_refused(memory_storage, declared, data, detected):
    store = MediaStore(memory_storage.url)
    stored = store.store_media(MediaContent(data=data, mime_type=declared), R1)
    with store.create_media(R1, declared) as writer:
        for start in range(len(data)):
            writer.write(data[start : start + 1])
    for reference in (stored, writer.reference):
        found = sidecar(memory_storage, reference)
        assert found["mime_type"] == declared
        assert found.get("detected_mime_type") == detected
        assert store.info(reference).detected_mime_type == detected


def test_detected_mime_type_stands_after_what_promptkit_knows(memory_storage):
    store = MediaStore(memory_storage.url)
    reference = store.store_media(MediaContent(data=PNG, mime_type="image/jpeg", caption="c"), R1)
    assert list(sidecar(memory_storage, reference)) == [
        "run_id",
        "message_idx",
        "part_idx",
        "mime_type",
        "size_bytes",
        "timestamp",
        "sha256",
        "detected_mime_type",
        "content",
        "fsmedia",
    ]


def test_nothing_secret_lies_in_a_store(object_storage):
    store = MediaStore(object_storage.url, storage_options=object_storage.options)
    store.store_media(png(), R1)
    server = object_storage.server
    secrets = [value.encode() for value in (getattr(server, "key", ""), getattr(server, "secret", "")) if value]
    keys = object_storage.keys()
    for key in keys:
        assert not any(secret in object_storage.read(key) for secret in secrets)
    assert STORE_JSON in keys
