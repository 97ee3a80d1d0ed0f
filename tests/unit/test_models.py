"""Models: what metadata, records, references, policies and selections take, refuse, mean and come back as."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from fsmedia.errors import InvalidMediaError
from fsmedia.models import (
    CONTENT_FIELDS,
    ContentFields,
    MediaContent,
    MediaMetadata,
    MediaRecord,
    OrganizationMode,
    Reference,
    RetentionPolicy,
)
from fsmedia.models.selection import Selection
from tests.unit.templates import TEXTS, metadata

NOON = datetime(2026, 3, 4, 12, 30, 5, 890123, tzinfo=UTC)
SECRET = "c2VjcmV0LXNlY3JldA"
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1), timezones=st.timezones())
METADATA = metadata(st.none() | INSTANTS)


def refused(model: type[BaseModel], **fields: Any) -> str:
    """The text with which a constructor refuses fields."""
    with pytest.raises(InvalidMediaError) as info:
        model(**fields)
    assert info.value.__cause__ is None
    assert info.value.__suppress_context__
    assert "\n" not in str(info.value)
    return str(info.value)


@given(METADATA, INSTANTS, st.sampled_from([None, NOON]), st.dictionaries(TEXTS, st.none() | st.booleans() | TEXTS))
def test_metadata_and_records_come_back_from_json_and_timestamps_become_utc(
    metadata: MediaMetadata, instant: datetime, expires_at: Any, xattrs: dict[str, Any]
) -> None:
    facts = {"sha256": "0" * 64, "expires_at": expires_at, "caption": "é", "xattrs": xattrs}
    record = MediaRecord(**dict(metadata), reference="runs/r1/x.png", **facts)
    assert MediaRecord.model_validate_json(record.model_dump_json()) == record
    assert type(record.reference) is Reference
    assert MediaMetadata.model_validate_json(metadata.model_dump_json()) == metadata
    assert MediaMetadata.model_validate(metadata.model_dump()) == metadata
    assert pickle.loads(pickle.dumps(metadata)) == metadata
    timestamp = MediaMetadata(timestamp=instant).timestamp
    assert timestamp is not None
    assert timestamp.timestamp() == instant.timestamp()  # == is never true for a time in a zone's repeated hour
    assert timestamp.tzinfo is UTC


def test_metadata_has_promptkits_keys_in_its_order_and_none_is_required() -> None:
    assert list(MediaMetadata.model_fields) == [
        "run_id", "conversation_id", "session_id", "message_idx", "part_idx", "mime_type", "size_bytes", "provider_id",
        "timestamp", "policy_name",
    ]  # fmt: skip
    metadata = MediaMetadata()
    assert (metadata.run_id, metadata.message_idx, metadata.timestamp, metadata.policy_name) == ("", 0, None, None)
    assert MediaMetadata(policy_name="").policy_name is None
    assert MediaRecord(reference="a", policy_name="").policy_name is None
    modes = {"by-session": "session_id", "by-conversation": "conversation_id", "by-run": "run_id"}
    assert {str(mode): mode.id_field for mode in OrganizationMode} == modes
    assert OrganizationMode("by-run") == "by-run"
    assert all(mode.id_field in MediaMetadata.model_fields for mode in OrganizationMode)


def test_timestamps_mean_an_instant_or_that_none_was_given() -> None:
    for value, instant in [
        ("2026-03-04T12:30:05.890123Z", NOON), ("2026-03-04T12:30:05.890123456Z", NOON),  # Go writes nanoseconds
        ("2026-03-04T12:30:05.890123999Z", NOON), ("2026-03-04T14:30:05.890123456+02:00", NOON),
        ("2026-03-04T05:00:05.890123-07:30", NOON), (NOON.astimezone(timezone(timedelta(hours=-7))), NOON),
        ("1969-12-31T23:59:59Z", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ]:  # fmt: skip
        assert MediaMetadata(timestamp=value).timestamp == instant
    for value in [
        None, 0, 0.0, "0001-01-01T00:00:00Z",  # Go's zero time
        "0001-01-01T02:00:00+02:00", datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1,
        tzinfo=timezone(timedelta(hours=14))),
        "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000000Z", "1970-01-01T01:00:00+01:00",
        datetime(1970, 1, 1, tzinfo=UTC),
    ]:  # fmt: skip
        assert MediaMetadata(timestamp=value).timestamp is None
    for value in ["x" * 4096, "", "..", "a/b\0\n", "😀é"]:
        assert MediaMetadata(run_id=value).run_id == value


REFUSED: dict[tuple[type[BaseModel], str, str], list[Any]] = {
    (MediaMetadata, "timestamp", "time zone"): [datetime(2026, 3, 4), "2026-03-04T12:30:05", date(2026, 3, 4)],
    (MediaMetadata, "timestamp", ""): ["yesterday", "", float("nan"), 1e30, True, "2026-02-30T00:00:00Z"],
    (MediaMetadata, "timestamp", "9999"): ["9999-12-31T23:59:59-05:00"],
    **{
        (MediaMetadata, name, ""): ["\ud800", "a\udce9b", None, 5, True, "x" * 4097, ["r1"]]
        for name in ("run_id", "conversation_id", "session_id", "provider_id")
    },
    **{(MediaMetadata, name, ""): [-1, True, False, "1", 1.0, 10**9, None] for name in ("message_idx", "part_idx")},
    (MediaMetadata, "size_bytes", ""): [-1],
    (MediaMetadata, "mime_type", ""): ["nonsense", "image/png\r\nX-Evil: 1", None],
    (MediaMetadata, "policy_name", ""): ["x" * 256, 5],
    (MediaMetadata, "reference", ""): ["runs/r1/x.png"],  # a field of the record only
    (MediaMetadata, "bogus", ""): [SECRET],
    (ContentFields, "width", ""): [-1],
    (ContentFields, "height", ""): [1.5],
    (ContentFields, "bit_rate", ""): [-1],
    (ContentFields, "channels", ""): ["many"],
    (ContentFields, "duration", ""): [-0.5, float("nan")],
    (ContentFields, "fps", ""): [float("inf")],
    (ContentFields, "caption", ""): ["x" * 65537, "\ud800"],
    (ContentFields, "format", ""): ["x" * 4097],
    (ContentFields, "detail", ""): [5],
    # They would delete at once; a bare number is meant as days, and would delete after six minutes.
    (RetentionPolicy, "keep_for", ""): [
        timedelta(0), timedelta(seconds=-1), timedelta(days=-1), timedelta(milliseconds=999), timedelta(seconds=1.5),
        "x", 365, 30.0, True,
    ],
    (RetentionPolicy, "name", ""): ["", "x" * 256, None, 5, "\ud800"],
}  # fmt: skip


@pytest.mark.parametrize(("model", "name", "said"), REFUSED)
def test_fields_that_are_refused(model: type[BaseModel], name: str, said: str) -> None:
    for value in REFUSED[model, name, said]:
        text = refused(model, **({"name": "audit"} if model is RetentionPolicy else {}) | {name: value})
        assert text.startswith(f"{model.__name__}: {name}: "), value
        assert said in text
        assert SECRET not in text
        text.encode()
    assert MediaMetadata(message_idx=10**9 - 1, part_idx=10**9 - 1).part_idx == 10**9 - 1


def test_all_that_is_wrong_is_said_at_once_in_one_line_without_quoting() -> None:
    text = refused(MediaMetadata, run_id=5, message_idx=-1, bogus=1)
    assert all(f"{name}: " in text for name in ("run_id", "message_idx", "bogus"))
    with pytest.raises(InvalidMediaError, match="Invalid JSON") as info:
        MediaMetadata.model_validate_json('{"run_id": "' + SECRET)
    assert SECRET not in str(info.value)
    # Field names come from documents, and errors end in logs.
    for name in ("a\nERROR b", "\x1b[31mred", "\u2028"):
        assert refused(MediaMetadata, **{name: 1}).isprintable()
    for validate in (MediaMetadata.model_validate, TypeAdapter(MediaMetadata).validate_python):
        with pytest.raises(ValueError, match="valid dictionary") as wrong:
            validate(SECRET)
        assert SECRET not in str(wrong.value)


@pytest.mark.parametrize("model", [MediaMetadata(run_id="r"), RetentionPolicy(name="a"), MediaRecord(reference="a")])
def test_models_are_frozen_and_hashable_where_they_can(model: BaseModel) -> None:
    name = next(iter(type(model).model_fields))
    before = model.model_dump()
    for change in (partial(setattr, model, name, "other"), partial(delattr, model, name)):
        with pytest.raises(ValidationError, match="frozen"):
            change()
    assert model.model_dump() == before
    if not isinstance(model, MediaRecord):  # its xattrs are a dict
        assert hash(model) == hash(model.model_copy())


def test_a_reference_is_a_str_that_pickles_and_stands_in_models() -> None:
    reference = Reference("runs/r1/x.png")
    assert (reference, {reference: 1}["runs/r1/x.png"]) == ("runs/r1/x.png", 1)
    assert (str(reference), f"{reference}", repr(reference)) == (reference, "runs/r1/x.png", "'runs/r1/x.png'")
    assert not hasattr(reference, "__dict__")

    class Note(BaseModel):
        reference: Reference
        others: list[Reference] = []

    note = Note(reference="runs/r1/x.png", others=["a", Reference("b")])
    assert type(note.reference) is Reference
    assert [type(other) for other in note.others] == [Reference, Reference]
    again = Note.model_validate_json(note.model_dump_json())
    assert again == note
    assert type(again.reference) is Reference
    assert type(note.model_dump(mode="json")["reference"]) is str
    assert type(pickle.loads(pickle.dumps(note.reference))) is Reference
    assert Note.model_json_schema()["properties"]["reference"]["type"] == "string"
    with pytest.raises(ValidationError, match="valid string"):
        Note(reference=7)


def test_policies_and_records_are_metadata_and_content_fields_and_facts() -> None:
    for keep_for in [None, timedelta(seconds=1), timedelta(days=365), timedelta(days=999999999)]:
        policy = RetentionPolicy(name="audit", keep_for=keep_for)
        assert policy.keep_for == keep_for
        assert RetentionPolicy.model_validate_json(policy.model_dump_json()) == policy
    own = set(MediaRecord.model_fields) - set(MediaMetadata.model_fields) - set(CONTENT_FIELDS)
    assert own == {"reference", "sha256", "expires_at", "detected_mime_type", "xattrs", "hold"}
    assert "reference: " in refused(MediaRecord)
    assert MediaRecord(reference="a").xattrs is not MediaRecord(reference="a").xattrs
    assert tuple(ContentFields.model_fields) == CONTENT_FIELDS
    assert set(CONTENT_FIELDS) < set(MediaContent.model_fields)


HOUR = timedelta(hours=1)
RECORD = MediaRecord(
    reference="runs/r1/x.png", run_id="r1", conversation_id="c1", session_id="s1", provider_id="openai",
    mime_type="Image/PNG; x=1", policy_name="retain-30days", timestamp=NOON, expires_at=NOON + 30 * 24 * HOUR,
)  # fmt: skip
BARE = MediaRecord(reference="x.bin")
IDS = ["run_id", "conversation_id", "session_id", "provider_id", "policy_name"]
SOME = st.sampled_from(["", "a", "b"])


def means(record: MediaRecord, **words: Any) -> bool:
    """Whether a selection of these words means a record."""
    return Selection(**words).matches(record)


def test_a_selection_means_ids_instants_and_patterns_of_types() -> None:
    for name in IDS:
        value = getattr(RECORD, name)
        assert means(RECORD, **{name: value})
        for other in (value.upper(), value[:-1], value + "x", "*", "", "?"):
            assert not means(RECORD, **{name: other})
        assert not means(BARE, **{name: value})
        assert means(BARE, **{name: ""})
    for words, expected in [
        ({"since": NOON}, True), ({"since": NOON + timedelta(microseconds=1)}, False), ({"until": NOON}, False),
        ({"until": NOON + timedelta(microseconds=1)}, True), ({"since": NOON - HOUR, "until": NOON + HOUR}, True),
        ({"since": NOON + HOUR, "until": NOON - HOUR}, False), ({"expires_before": NOON + 30 * 24 * HOUR}, False),
        ({"expires_before": NOON + 31 * 24 * HOUR}, True),
    ]:  # fmt: skip
        assert means(RECORD, **words) is expected
        assert not means(BARE, **words)  # it has no time, and never expires
    for pattern, expected in [
        ("image/png", True), ("IMAGE/png", True), ("image/*", True), ("*/png", True), ("*", True), ("image/???", True),
        ("image/[jp]*", True), ("image/jpeg", False), ("image", True), ("Image/", True), ("video", False),
        ("image/png; x=1", False), ("video/*", False),
    ]:  # fmt: skip
        assert means(RECORD, mime_type=pattern) is expected
    assert means(RECORD)
    assert means(BARE)
    assert not Selection().asks()
    assert Selection(run_id="r1").asks()
    assert not Selection(run_id="r1").asks(beyond=OrganizationMode.BY_RUN)
    assert Selection(run_id="r1").asks(beyond=OrganizationMode.BY_SESSION)
    assert Selection(run_id="r1", mime_type="image/*").asks(beyond=OrganizationMode.BY_RUN)
    assert Selection(run_id="").asks()
    assert not Selection().asks(beyond=OrganizationMode.BY_RUN)
    with pytest.raises(TypeError):
        Selection("r1")  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Selection().words = {}  # type: ignore[misc]
    assert Selection(run_id="r1") == Selection(run_id="r1")


def test_words_of_a_selection_that_are_refused() -> None:
    for name in (*IDS, "mime_type"):
        for value in (5, b"r1", ["r1"], True):
            with pytest.raises(InvalidMediaError, match=f"{name} must be a str"):
                Selection(**{name: value})  # type: ignore[arg-type]
    for name in ("since", "until", "expires_before"):
        for instant in (datetime(2026, 3, 4), "2026-03-04T00:00:00Z", 0, NOON.date()):
            with pytest.raises(InvalidMediaError, match=f"{name} must be an aware datetime") as info:
                Selection(**{name: instant})  # type: ignore[arg-type]
            assert "UTC" in info.value.next_step
    # `mime_type="png"` gave nothing without a word.
    spellings = {"png": "image/png", ".jpg": "image/jpeg", "pictures": "image/\\*", "": "image/\\*"}
    for word, spelling in spellings.items():
        with pytest.raises(InvalidMediaError, match=f"no MIME type; use .*{spelling}"):
            Selection(mime_type=word)


@given(st.fixed_dictionaries(dict.fromkeys(IDS, SOME)), st.fixed_dictionaries({}, optional=dict.fromkeys(IDS, SOME)))
def test_all_conditions_must_be_met(fields: dict[str, str], words: dict[str, str]) -> None:
    record = MediaRecord(reference="x", **fields)
    assert means(record, **words) == all(fields[name] == wanted for name, wanted in words.items())
