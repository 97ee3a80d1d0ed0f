"""Messages: spellings of base64 and JSON that come out the same, markers, places, and what is refused readably."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia import InvalidMediaError
from fsmedia.format import messages
from fsmedia.format.messages import DEEPEST, Edit, InlineReference, edited, media_fields, parse_json, spliced
from tests.contract.specimens import raised
from tests.messages import ANTHROPIC, DATA, DOCUMENTS, HEADS, JSON, PROMPTKIT, TEXTS, json_texts, spellings

DIGEST = "ab" * 32
SPELLINGS = ["b64", "b64url+bare", "b64+76n+end+slash"]


@given(DATA.flatmap(lambda data: st.tuples(st.just(data), spellings(data))), st.text(max_size=60))
def test_a_known_spelling_comes_out_the_same_and_other_text_is_left(case: tuple[bytes, str], other: str) -> None:
    data, text = case
    for spelled in (text, other):
        found = messages.decoded(spelled)
        if found is not None:
            assert messages.encoded(found.data, found.spelling) == spelled
            assert messages.SPELLING.fullmatch(found.spelling)
    found = messages.decoded(text)
    if text.strip("\r\n").rstrip("=") == messages.encoded(data, "b64").rstrip("=") and "\n" not in text:
        assert found is None or found.data == data


def test_usual_spellings_have_names_and_other_text_none() -> None:
    data = bytes(range(250))
    text = messages.encoded(data, "b64")
    lines = "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    for spelled, name in (
        (text, "b64"), (text.rstrip("="), "b64+bare"), (messages.encoded(data, "b64url"), "b64url"),
        (lines, "b64+76r"), (lines + "\r\n", "b64+76r+end"), (text + "\n", "b64+end"),
    ):  # fmt: skip
        assert messages.decoded(spelled) == (data, name)
    for text in [
        "", "=", "====", "Zg=", "Zh==", "Zg==Zg==", "Z", "Zg==\n\n", "Zm9v!", "Zm9\u00e9", "-+==", "Zm\r9v", "\n",
    ]:  # fmt: skip
        assert messages.decoded(text) is None
    for text in [
        "media://runs/r1/x.png", "media://runs/r1/x.png::s3://b/m", "x", f"media://#fsmedia=1;sha256={DIGEST};as=b64",
        f"media://x#fsmedia=2;sha256={DIGEST};as=b64", "media://x#fsmedia=1;sha256=ab;as=b64",
        f"media://x#fsmedia=1;sha256={DIGEST};as=rot13", f"media://x#fsmedia=1;sha256={DIGEST};as=b64;head=data:a,b;base64",
        f"media://x#fsmedia=1;sha256={DIGEST};as=b64 ", f" media://x#fsmedia=1;sha256={DIGEST};as=b64",
    ]:  # fmt: skip
        assert InlineReference.parse(text) is None


# -- markers -----------------------------------------------------------------------------------------------------
@given(st.text(st.characters(codec="utf-8"), min_size=1), st.sampled_from(SPELLINGS), st.none() | HEADS)
def test_a_marker_reads_as_it_was_written(reference: str, spelling: str, head: str | None) -> None:
    marker = InlineReference(reference, DIGEST, spelling, head)
    found = InlineReference.parse(str(marker))
    assert found in (marker, None)
    if head in (None, "data:image/png;base64", "DATA:image/png;base64", "data:;base64"):
        assert found == marker


# -- JSON text ---------------------------------------------------------------------------------------------------
@given(json_texts())
def test_text_is_read_as_json_reads_it(text: str) -> None:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        return value if isinstance(value, str) else None

    rest, position, documents = text.removeprefix("\ufeff"), 0, []
    decoder = json.JSONDecoder()
    while (position := len(rest) - len(rest[position:].lstrip(" \t\r\n"))) < len(rest):
        value, position = decoder.raw_decode(rest, position)
        documents.append(plain(value))
    assert plain(parse_json(text)) == (documents[0] if len(documents) == 1 else documents)
    assert spliced(text, []) == text


@given(JSON, TEXTS)
def test_strings_know_where_they_stand_and_editing_nothing_changes_nothing(document: Any, part: str) -> None:
    assert list(media_fields({"type": "text", "text": part, "content": part})) == [], "text parts are never touched"
    text = json.dumps(document)

    def look(value: Any) -> None:
        if isinstance(value, str):
            assert json.loads(text[value.start : value.end]) == value  # type: ignore[attr-defined]
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(each)

    look(parse_json(text))
    assert edited(document, {}) is document


@pytest.mark.parametrize("text", [
    "", " \n", "{", "[1,]", "{,}", '{"a"}', '{"a":}', '{"a":1,}', "[1 2]", "]", '{"a":1]', "{1:2}", "01", "1.", "-",
    "+1", "tru", '"a', '"\n"', '"\\x"', '"\\u12"', "nul", "[1],", "{}}", "'a'", "[1,,2]", '{"a":1 "b":2}', "Infinit",
    "\ufeff", "// c",
])  # fmt: skip
def test_what_is_no_json_is_refused_with_its_place(text: str) -> None:
    raised(InvalidMediaError, parse_json, text, match=r"line \d+, column \d+")


# -- places ------------------------------------------------------------------------------------------------------
def test_each_shape_is_known_and_a_place_says_its_message_and_part() -> None:
    for name, (document, count) in DOCUMENTS.items():
        for read in (document, parse_json(json.dumps(document))):
            assert len([place for place in media_fields(read) if place.content()]) == count, name
    assert {place.where: place.indices for place in media_fields(ANTHROPIC) if place.content()} == {
        "$.messages[0].content[0].source.data": (0, 0),
        "$.messages[0].content[2].content[0].source.data": (0, 2),
    }
    told = [{"role": "user", **each} for each in PROMPTKIT["Messages"]]
    (place,) = [place for place in media_fields(told) if place.content()]
    assert (place.where, place.indices) == ("$[0].parts[0].media.data", (0, 0))


def test_editing_copies_what_it_must_and_depth_is_limited_readably() -> None:
    document = {"a": ({"x": "1", "y": "2"}, {"z": "3"}), "b": {"c": []}}
    made = edited(document, {("a", 0, "x"): ("w", "9")})
    assert (made, list(made["a"][0])) == ({"a": ({"w": "9", "y": "2"}, {"z": "3"}), "b": {"c": []}}, ["w", "y"])
    assert made["b"] is document["b"]
    assert made["a"][1] is document["a"][1]
    assert document["a"][0] == {"x": "1", "y": "2"}
    assert spliced("0123456789", [Edit(7, 8, "x"), Edit(0, 2, ""), Edit(2, 2, "y")]) == "y23456x89"
    text = '{"media": {"data": "aGk=", "data": "aGk=", "mime_type": "image/png"}}'
    assert list(media_fields(parse_json(text))) == []
    for text in ("[" * 100_000, '{"a":' * 100_000):
        raised(InvalidMediaError, parse_json, text, match="levels deep")
    parse_json("[" * DEEPEST + "]" * DEEPEST)
    holds_itself: list[Any] = []
    holds_itself.append(holds_itself)
    raised(InvalidMediaError, list, media_fields(holds_itself), match="holds itself")
