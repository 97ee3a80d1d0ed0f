"""Sidecars: PromptKit's keys in its order and types, ours after them, unknown ones kept, damage named."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia.errors import CorruptSidecarError
from fsmedia.format.sidecar import _TYPES, FORMAT, MAX_SIDECAR_BYTES, Sidecar, timestamp_text
from fsmedia.models import CONTENT_FIELDS, ContentFields, MediaMetadata, MediaRecord, Reference
from tests.unit.templates import TEXTS, metadata

REFERENCE = "runs/r1/0003_01_u01m8343t30ehsv9fkm039etnz4.png"
NOON = datetime(2026, 3, 4, 12, 30, 5, 890123, tzinfo=UTC)
DIGEST = "ab" * 32

# What PromptKit wrote (store by-run, label png-full), in fewer lines, but for the key that no version of it knows.
PROMPTKIT = b"""{
  "run_id": "run-2026-03-04", "conversation_id": "conv-1", "session_id": "sess-1", "message_idx": 3, "part_idx": 1,
  "mime_type": "image/png", "size_bytes": 0, "provider_id": "openai\\u003cx\\u003e",
  "timestamp": "2026-03-04T05:06:07.890123456+02:00", "policy_name": "retain-30days",
  "later": {"b": [1, 2.50, null], "a": "\\u00e9", "n": 12345678901234567890123}
}"""

INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC))
METADATA = metadata(INSTANTS)
CONTENT = st.builds(
    ContentFields,
    **dict.fromkeys(("format", "detail", "caption"), st.none() | TEXTS),
    **dict.fromkeys(("bit_rate", "channels", "width", "height"), st.none() | st.integers(0, 2**40)),
    duration=st.none() | st.integers(0, 10**6) | st.floats(0, 1e9),
    fps=st.none() | st.floats(0, 1e4),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def built(metadata: MediaMetadata, content: ContentFields, **facts: Any) -> Sidecar:
    return Sidecar.build(dict(metadata), dict(content), sha256=DIGEST, **facts)


def full() -> Sidecar:
    """A sidecar with every key."""
    metadata = MediaMetadata(
        run_id="r1", conversation_id="c1", session_id="s1", message_idx=3, part_idx=1, mime_type="image/png",
        size_bytes=7, provider_id="openai", timestamp=NOON, policy_name="retain-30days",
    )  # fmt: skip
    content = ContentFields(caption="é", width=3, duration=1.5)
    return built(metadata, content, expires_at=NOON + timedelta(days=30), detected_mime_type="image/gif")


def parsed(data: bytes) -> Sidecar:
    return Sidecar.parse(data, REFERENCE)


def refused(data: bytes) -> str:
    """The text with which bytes are refused, by the parser or by the models."""
    with pytest.raises(CorruptSidecarError) as info:
        parsed(data).record(REFERENCE, 7)
    assert info.value.reference == REFERENCE
    assert info.value.next_step
    assert str(info.value).isprintable()
    return str(info.value)


def test_what_is_written_is_promptkits_json_and_ours_after_it() -> None:
    wanted = {
        "run_id": "r1", "conversation_id": "c1", "session_id": "s1", "message_idx": 3, "part_idx": 1,
        "mime_type": "image/png", "size_bytes": 7, "provider_id": "openai", "timestamp": "2026-03-04T12:30:05.890123Z",
        "policy_name": "retain-30days", "sha256": DIGEST, "expires_at": "2026-04-03T12:30:05.890123Z",
        "detected_mime_type": "image/gif", "content": {"caption": "é", "duration": 1.5, "width": 3}, "fsmedia": 1,
    }  # fmt: skip
    assert full().dump().decode() == json.dumps(wanted, indent=2, ensure_ascii=False)
    metadata = MediaMetadata(timestamp=NOON.replace(microsecond=0))
    values = json.loads(built(metadata, ContentFields(), expires_at=None).dump())
    assert values == {
        "run_id": "", "message_idx": 0, "part_idx": 0, "mime_type": "", "size_bytes": 0,
        "timestamp": "2026-03-04T12:30:05Z", "sha256": DIGEST, "fsmedia": FORMAT,
    }  # fmt: skip
    content = ContentFields(**{name: "x" if name in {"format", "detail", "caption"} else 2 for name in CONTENT_FIELDS})
    values = built(MediaMetadata(timestamp=NOON), content, expires_at=None).values
    assert tuple(values["content"]) == CONTENT_FIELDS


@given(METADATA, CONTENT, st.none() | INSTANTS, st.none() | st.just("image/gif"), st.integers(0, 2**50))
def test_a_record_comes_out_of_what_was_built(
    metadata: MediaMetadata, content: ContentFields, expires_at: datetime | None, detected: str | None, size: int
) -> None:
    if expires_at is not None:  # Go reads it too
        text = timestamp_text(expires_at)
        assert (text[-1], datetime.fromisoformat(text)) == ("Z", expires_at)
    made = built(metadata, content, expires_at=expires_at, detected_mime_type=detected)
    read = parsed(made.dump())
    assert read == made
    assert read.metadata(REFERENCE) == metadata
    described = read.content_values(REFERENCE)
    assert ContentFields(**{name: described[name] for name in CONTENT_FIELDS if name in described}) == content
    assert read.record(REFERENCE, size) == MediaRecord(
        **{**dict(metadata), **dict(content), "size_bytes": size}, reference=Reference(REFERENCE), sha256=DIGEST,
        expires_at=expires_at, detected_mime_type=detected,
    )  # fmt: skip


@given(st.dictionaries(TEXTS.filter(lambda name: name not in _TYPES), JSON))
def test_no_key_is_lost_by_a_rewrite(values: dict[str, Any]) -> None:
    values = {**values, "fsmedia": 1}
    data = parsed(json.dumps(values).encode()).dump()
    assert (json.loads(data), list(json.loads(data)), parsed(data).dump()) == (values, list(values), data)


def test_promptkits_sidecars_read_and_survive() -> None:
    sidecar = parsed(PROMPTKIT)
    record = sidecar.record(REFERENCE, 123)
    assert (record.run_id, record.message_idx, record.part_idx) == ("run-2026-03-04", 3, 1)
    assert record.provider_id == "openai<x>"
    assert record.size_bytes == 123  # the storage's word, PromptKit writes 0 for streams
    assert record.timestamp == datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=timezone(timedelta(hours=2)))
    assert (record.sha256, record.expires_at, record.xattrs) == (None, None, {})
    assert json.loads(sidecar.dump()) == json.loads(PROMPTKIT)
    assert list(json.loads(sidecar.dump())) == list(json.loads(PROMPTKIT))
    assert b"2026-03-04T05:06:07.890123456+02:00" in sidecar.dump()
    assert b"12345678901234567890123" in sidecar.dump()
    zero = parsed(b'{"run_id":"r","mime_type":"","size_bytes":0,"timestamp":"0001-01-01T00:00:00Z","policy_name":""}')
    record = zero.record(REFERENCE, 0)
    assert (record.mime_type, record.timestamp, record.policy_name) == ("", None, None)
    assert parsed(b'{"policy_name":"keep-forever"}').record(REFERENCE, 0).policy_name == "keep-forever"
    assert parsed(b"{}").record(REFERENCE, 5) == MediaRecord(reference=REFERENCE, size_bytes=5)
    nulls = parsed(b'{"run_id":null,"timestamp":null,"content":null,"xattrs":null,"sha256":null}')
    assert nulls.record(REFERENCE, 5) == MediaRecord(reference=REFERENCE, size_bytes=5)


def test_the_reference_the_size_and_other_fields_come_from_nowhere_else() -> None:
    data = b'{"run_id":"r","width":1,"content":{"run_id":"evil","reference":"evil","width":2,"bogus":3}}'
    record = parsed(data).record(REFERENCE, 7)
    assert (record.run_id, record.reference, record.width) == ("r", REFERENCE, 2)
    record = parsed(b'{"reference":"runs/other/x.png","size_bytes":99}').record(REFERENCE, 7)
    assert (record.reference, record.size_bytes) == (REFERENCE, 7)
    assert type(record.reference) is Reference
    xattrs = {"user.a": "1", "user.b": {"deep": [1]}}
    assert parsed(json.dumps({"xattrs": xattrs}).encode()).record(REFERENCE, 7).xattrs == xattrs


@pytest.mark.parametrize("data", [
    b"", b"{", b'{"run_id": "r1"',  # cut by a full disk
    b"\x00" * 512, b"\xff\xfe{}", b"\xef\xbb\xbf{}", b'{"a": NaN}', b'{"a": 1}}', b'{"run_id": "\\ud800"}',
    b"[" * 100000, b"\x89PNG\r\n\x1a\n",
], ids=lambda data: repr(data)[:20])  # fmt: skip
def test_what_is_no_json_is_corrupt(data: bytes) -> None:
    assert "is no JSON" in refused(data)


@pytest.mark.parametrize(("name", "value"), [
    ("run_id", 5), ("run_id", "x" * 5000), ("message_idx", -1), ("message_idx", "x"), ("part_idx", 1e3),
    ("timestamp", "yesterday"), ("timestamp", "2026-03-04T05:06:07"), ("mime_type", "image/png\r\nX-Evil: 1"),
    ("policy_name", []), ("sha256", 5), ("expires_at", "never"), ("xattrs", []), ("content", [1]),
    ("content", {"width": -1}), ("content", {"caption": 5}),
])  # fmt: skip
def test_wrong_values_are_corrupt_and_the_field_is_named(name: str, value: object) -> None:
    named = next(iter(value)) if name == "content" and isinstance(value, dict) else name
    assert named in refused(json.dumps({"run_id": "r", name: value}).encode())


def test_parts_are_corrupt_on_their_own_too_and_so_is_what_is_too_large_no_object_or_of_a_newer_format() -> None:
    for data in (b"[]", b"null", b"1", b'"text"'):
        assert "is no JSON object" in refused(data)
    for version in (FORMAT + 1, 10**30, "1", None, 1.5, [1]):
        text = refused(json.dumps({"fsmedia": version}).encode())
        assert [said for said in ("upgrade fsmedia", f"up to {FORMAT}", str(version)) if said not in text] == []
    with pytest.raises(CorruptSidecarError, match="message_idx"):
        parsed(b'{"message_idx":-1}').metadata(REFERENCE)
    with pytest.raises(CorruptSidecarError, match="width"):
        parsed(b'{"content":{"width":-1}}').record(REFERENCE, 7)
    assert "larger than" in refused(b'{"a":"' + b"x" * MAX_SIDECAR_BYTES + b'"}')
    assert parsed(b"{}" + b" " * (MAX_SIDECAR_BYTES - 2)).values == {}


def test_a_number_beyond_floats_does_not_make_a_rewrite_unreadable() -> None:
    """`1e400` reads as infinity, for which JSON has no word."""
    try:
        sidecar = parsed(b'{"run_id":"r","later":1e400}')
    except CorruptSidecarError:
        return
    assert parsed(sidecar.dump()).values["run_id"] == "r"
