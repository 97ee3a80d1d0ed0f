"""Selections: the words that `list` understands, and which records they mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia.errors import InvalidMediaError
from fsmedia.models import MediaRecord, OrganizationMode
from fsmedia.models.selection import Selection

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RECORD = MediaRecord(
    reference="runs/r1/x.png",
    run_id="r1",
    conversation_id="c1",
    session_id="s1",
    provider_id="openai",
    mime_type="Image/PNG; x=1",
    policy_name="retain-30days",
    timestamp=NOON,
    expires_at=NOON + 30 * 24 * HOUR,
)
BARE = MediaRecord(reference="x.bin")
IDS = ["run_id", "conversation_id", "session_id", "provider_id", "policy_name"]
SOME = st.sampled_from(["", "a", "b"])


def means(record: MediaRecord, **words: Any) -> bool:
    """Whether a selection of these words means a record."""
    return Selection(**words).matches(record)


def test_nothing_asked_means_everything() -> None:
    assert means(RECORD)
    assert means(BARE)
    assert not Selection().asks()


@pytest.mark.parametrize("name", IDS)
def test_an_id_means_that_id_only(name: str) -> None:
    value = getattr(RECORD, name)
    assert means(RECORD, **{name: value})
    for other in (value.upper(), value[:-1], value + "x", "*", "", "?"):
        assert not means(RECORD, **{name: other})
    assert not means(BARE, **{name: value})
    assert means(BARE, **{name: ""})


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("image/png", True), ("IMAGE/png", True), ("image/*", True), ("*/png", True), ("*", True), ("image/???", True),
        ("image/[jp]*", True), ("image/jpeg", False), ("image", True), ("Image/", True), ("video", False),
        ("image/png; x=1", False), ("video/*", False),
    ],
)  # fmt: skip
def test_mime_types_are_patterns_of_the_type_without_parameters(pattern: str, expected: bool) -> None:
    assert means(RECORD, mime_type=pattern) is expected


@pytest.mark.parametrize(
    ("word", "spelling"), [("png", "image/png"), (".jpg", "image/jpeg"), ("pictures", "image/\\*"), ("", "image/\\*")]
)
def test_a_word_that_is_no_type_is_refused(word: str, spelling: str) -> None:
    """`mime_type="png"` gave nothing without a word."""
    with pytest.raises(InvalidMediaError, match=f"no MIME type; use .*{spelling}"):
        Selection(mime_type=word)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"since": NOON}, True), ({"since": NOON + timedelta(microseconds=1)}, False), ({"until": NOON}, False),
        ({"until": NOON + timedelta(microseconds=1)}, True), ({"since": NOON - HOUR, "until": NOON + HOUR}, True),
        ({"since": NOON + HOUR, "until": NOON - HOUR}, False), ({"expires_before": NOON + 30 * 24 * HOUR}, False),
        ({"expires_before": NOON + 31 * 24 * HOUR}, True),
    ],
    ids=str,
)  # fmt: skip
def test_instants(words: dict[str, datetime], expected: bool) -> None:
    assert means(RECORD, **words) is expected
    assert not means(BARE, **words)  # it has no time, and never expires


@given(st.fixed_dictionaries(dict.fromkeys(IDS, SOME)), st.fixed_dictionaries({}, optional=dict.fromkeys(IDS, SOME)))
def test_all_conditions_must_be_met(fields: dict[str, str], words: dict[str, str]) -> None:
    record = MediaRecord(reference="x", **fields)
    assert means(record, **words) == all(fields[name] == wanted for name, wanted in words.items())


@pytest.mark.parametrize("name", [*IDS, "mime_type"])
@pytest.mark.parametrize("value", [5, b"r1", ["r1"], True], ids=repr)
def test_words_that_are_no_text_are_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidMediaError, match=f"{name} must be a str"):
        Selection(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["since", "until", "expires_before"])
@pytest.mark.parametrize("value", [datetime(2026, 3, 4), "2026-03-04T00:00:00Z", 0, NOON.date()], ids=repr)
def test_instants_that_are_none_are_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidMediaError, match=f"{name} must be an aware datetime") as info:
        Selection(**{name: value})  # type: ignore[arg-type]
    assert "UTC" in info.value.next_step


def test_a_selection_knows_what_it_asks_beyond_the_folder() -> None:
    assert Selection(run_id="r1").asks()
    assert not Selection(run_id="r1").asks(beyond=OrganizationMode.BY_RUN)
    assert Selection(run_id="r1").asks(beyond=OrganizationMode.BY_SESSION)
    assert Selection(run_id="r1", mime_type="image/*").asks(beyond=OrganizationMode.BY_RUN)
    assert Selection(run_id="").asks()
    assert not Selection().asks(beyond=OrganizationMode.BY_RUN)


def test_a_selection_takes_words_by_name_and_does_not_change() -> None:
    with pytest.raises(TypeError):
        Selection("r1")  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Selection().words = {}  # type: ignore[misc]
    assert Selection(run_id="r1") == Selection(run_id="r1")
