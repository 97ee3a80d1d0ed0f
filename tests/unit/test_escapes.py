"""Escapes: every id has one segment of its own, and gets out of it again."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fsmedia.errors import InvalidLayoutError, InvalidMediaError
from fsmedia.format.layout import MINIMUM_LIMIT, escape_id, read_id, unescape_id

TRICKY = ["", ".", "..", "...", "~", "~~", "~_", "~2e", "_", ".meta", "a.meta", "a.META", "a~2emeta", "/", "a/b", "a_b"]
IDS = st.one_of(
    st.text(),
    st.text(alphabet=st.sampled_from("~_2eE.metaA/é%\0 "), max_size=14),
    st.sampled_from(TRICKY),
    st.text(alphabet=st.sampled_from("a~é.😀"), min_size=80, max_size=300),
)
THOROUGH = settings(max_examples=200)
LIMITS = st.integers(MINIMUM_LIMIT, 250)


@pytest.mark.parametrize(
    ("text", "segment"),
    [
        ("run-1_A.b", "run-1_A.b"), ("a b", "a~20b"), ("a/b", "a~2fb"), ("é", "~c3~a9"), ("e\u0301", "e~cc~81"),
        ("~", "~7e"), ("%=*?[#", "~25~3d~2a~3f~5b~23"), ("\0\n", "~00~0a"), ("", "~_"), (".", "~2e"), ("..", "~2e~2e"),
        ("...", "..."), (".fsmedia", ".fsmedia"), (".meta", "~2emeta"), ("a.meta", "a~2emeta"),
        ("a.meta.b", "a.meta.b"), ("a.META", "a.META"),
    ],
)  # fmt: skip
def test_escaped_forms(text: str, segment: str) -> None:
    assert escape_id(text) == segment
    assert unescape_id(segment) == text
    assert read_id(segment) == text


@THOROUGH
@given(IDS)
def test_unescape_is_the_inverse_or_knows_that_it_is_not(text: str) -> None:
    segment = escape_id(text)
    whole = escape_id(text, limit=10**6)
    assert unescape_id(whole, limit=10**6) == text
    assert unescape_id(segment) == (text if len(whole) <= 250 else None)
    assert read_id(segment) == (text if len(whole) <= 250 else "")


@THOROUGH
@given(IDS, LIMITS)
@example("x.meta", 40)
@example("x" * 36 + ".meta", 40)
def test_a_segment_is_a_harmless_name(text: str, limit: int) -> None:
    segment = escape_id(text, limit=limit)
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", segment)
    assert len(segment) <= limit
    assert segment not in {".", ".."}
    assert not segment.endswith(".meta")


@THOROUGH
@given(IDS, IDS, LIMITS)
def test_two_ids_never_share_a_segment(one: str, other: str, limit: int) -> None:
    assume(one != other)
    assert escape_id(one, limit=limit) != escape_id(other, limit=limit)


@THOROUGH
@given(st.text(alphabet=st.sampled_from("~_2eE.metaA3c9"), max_size=12))
def test_only_what_was_escaped_is_unescaped(segment: str) -> None:
    text = unescape_id(segment)
    if text is not None:
        assert escape_id(text) == segment


@pytest.mark.parametrize(
    "segment",
    [
        "", ".", "..", "a.meta", "a b", "é", "~", "~2", "~2E", "~zz", "~41",  # A stands for itself
        "a~2e", "~__", "a~_", "~c3",  # half a character
        "~ed~a0~80",  # a surrogate
        "~2e~2emeta",  # only the last dot is escaped
        "x" * 251,
    ],
)  # fmt: skip
def test_what_escape_never_renders(segment: str) -> None:
    assert unescape_id(segment) is None
    assert read_id(segment) == segment  # PromptKit wrote ids as they are


@THOROUGH
@given(st.text(alphabet=st.sampled_from("ab~é/"), min_size=260, max_size=300), LIMITS)
def test_long_ids_become_prefix_and_digest(text: str, limit: int) -> None:
    segment = escape_id(text, limit=limit)
    prefix, mark, digest = segment.rpartition("~~")
    assert mark
    assert digest == hashlib.sha256(text.encode()).hexdigest()[:32]
    assert re.fullmatch(r"(?:[A-Za-z0-9._-]|~[0-9a-f]{2})*", prefix)  # no escape is cut
    assert escape_id(text, limit=10**6).startswith(prefix)
    assert limit - 2 <= len(segment) <= limit
    assert unescape_id(segment, limit=limit) is None
    assert read_id(segment, limit=limit) == ""


def test_long_ids_with_one_beginning_stay_apart() -> None:
    assert escape_id("x" * 300 + "a") != escape_id("x" * 300 + "b")
    assert escape_id("x" * 250) == "x" * 250
    assert escape_id("x" * 251) == "x" * 216 + "~~" + hashlib.sha256(b"x" * 251).hexdigest()[:32]


def test_ids_that_differ_by_case_have_segments_that_do() -> None:
    assert escape_id("Run") == "Run"
    assert escape_id("run") == "run"
    assert escape_id("É") != escape_id("é")


@pytest.mark.parametrize("text", ["\ud800", "a\udce9b", "\udfff" * 300])
def test_lone_surrogates_are_refused(text: str) -> None:
    with pytest.raises(InvalidMediaError, match="lone surrogate") as caught:
        escape_id(text)
    assert caught.value.next_step
    str(caught.value).encode()  # can be printed


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(InvalidLayoutError, match="39 bytes"):
        escape_id("x", limit=MINIMUM_LIMIT - 1)
