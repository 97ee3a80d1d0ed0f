"""Media out of LLM messages and back: the same object, the same text, whatever stands around them."""

import base64
import copy
import json
import random
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia import AsyncMediaStore, MediaContent, MediaMetadata, MediaStore, errors
from fsmedia.format import keys, messages
from fsmedia.format.messages import InlineReference, media_fields
from tests.conftest import on, storages
from tests.contract.specimens import raised
from tests.messages import (
    ANTHROPIC,
    DOCUMENTS,
    GEMINI,
    JSON,
    OPENAI_CHAT,
    PARTS,
    PNG,
    PROMPTKIT,
    WAV,
    b64,
    json_texts,
    url,
)
from tests.storages import LOCAL, S3_RCLONE
from tests.transfers import opened

storage = storages(LOCAL, S3_RCLONE)
R1 = MediaMetadata(run_id="r1", provider_id="p")
DIGEST = "ab" * 32


@pytest.fixture
def store(memory_storage):
    return opened(memory_storage)


def text_of(document):
    return json.dumps(document, ensure_ascii=False)


def markers(document):
    return [place.marker for place in media_fields(document) if place.marker]


def references(document):
    return {marker.reference for marker in markers(document)}


def picture(data):
    return {"mimeType": "image/png", "data": data}


@on(LOCAL)
@pytest.mark.parametrize("deduplicate", [False, True])
def test_each_shape_goes_out_and_comes_back(storage, deduplicate):
    store = opened(storage, deduplicate=deduplicate)
    for document, count in DOCUMENTS.values():
        before = copy.deepcopy(document)
        made = store.externalize(document, R1)
        assert document == before
        assert len(markers(made)) == count
        assert b64(PNG) not in text_of(made)
        assert text_of(store.inline(made)) == text_of(document), "with the keys in the same order"
        for marker in markers(made):
            record = store.info(marker.reference)
            assert (record.run_id, record.provider_id) == ("r1", "p")
            assert store.info(str(marker)) == record, "the text that stands there is a reference"
        text = json.dumps(document, indent=1)
        answer = store.externalize_text(text, R1)
        assert len(answer.taken_out) == count
        assert store.inline_text(answer.text) == text
        assert json.loads(store.inline_text(json.dumps(made))) == document


def test_types_and_places_are_kept_and_promptkits_media_name_their_reference_as_promptkit_does(store):
    # One type can't be that of all: each has what its message says.
    made = store.externalize(ANTHROPIC, MediaMetadata(run_id="r1", message_idx=10, mime_type="image/gif"))
    records = map(store.info, store.list())
    types = {(record.message_idx, record.part_idx): record.mime_type for record in records}
    assert types == {(10, 0): "image/jpeg", (10, 2): "image/png"}
    assert made["messages"][0]["content"][1] == ANTHROPIC["messages"][0]["content"][1]
    sound = store.externalize(GEMINI, R1)["candidates"][0]["content"]["parts"][0]["inlineData"]["data"]
    record = store.info(sound)
    assert (record.mime_type, record.size_bytes) == ("audio/wav", 244), "raw sound can be played"
    parts = store.externalize(PROMPTKIT, R1)["Messages"][0]["parts"]
    assert list(parts[0]["media"]) == ["storage_reference", "mime_type", "detail"]
    assert parts[1] == PROMPTKIT["Messages"][0]["parts"][1], "its own stays"
    again = store.store_media(MediaContent.from_promptkit(parts[0]["media"]), R1)
    assert store.retrieve_media(again).read_bytes() == PNG


def test_the_same_media_is_stored_once_for_a_document(store):
    document = {"messages": [{"content": [{"image_url": url(PNG)}, {"image_url": {"url": url(PNG)}}]}] * 3}
    made = store.externalize(document, R1)
    assert len(references(made)) == 1
    assert len(list(store.list())) == 1
    other = {"a": {"data": b64(PNG), "mime_type": "image/webp"}, "b": {"data": b64(PNG), "mime_type": "image/png"}}
    assert len(references(store.externalize(other, R1))) == 2, "of another type"


def test_small_media_may_stay_and_a_dry_run_stores_nothing(memory_storage, store):
    text = text_of(OPENAI_CHAT)
    answer = store.externalize_text(text, R1, dry_run=True)
    assert (answer.text, len(answer.taken_out), answer.dry_run) == (text, 6, True)
    assert {each.reference for each in answer.taken_out} == {""}
    assert memory_storage.keys() == set()
    answer = store.externalize_text(text, R1, at_least=len(PNG))
    assert [each.size_bytes >= len(PNG) for each in answer.taken_out] == [True]
    assert len(answer.kept) == 5
    assert store.externalize({"x": 1}, R1) == {"x": 1}
    raised(errors.InvalidMediaError, store.externalize, {}, R1, match="at_least", at_least=0)


@pytest.fixture(scope="module")
def lasting():
    return MediaStore("memory://externalized", deduplicate=True)


@contextmanager
def large(least):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "LARGE", least)
        yield


@given(document=st.lists(PARTS, min_size=1, max_size=6) | JSON, least=st.sampled_from([24, messages.LARGE]))
def test_whatever_goes_out_comes_back(lasting, document, least):
    before = copy.deepcopy(document)
    with large(least):
        made = lasting.externalize(document, R1)
    assert document == before
    assert not [place for place in media_fields(made) if place.content() and not place.marker]
    assert text_of(lasting.inline(made)) == text_of(document)
    assert json.loads(json.dumps(made)) == made


@given(text=json_texts(), least=st.sampled_from([24, messages.LARGE]))
def test_whatever_text_goes_out_comes_back(lasting, text, least):
    with large(least):
        answer = lasting.externalize_text(text, R1)
        again = lasting.externalize_text(answer.text, R1)
    assert lasting.inline_text(answer.text) == text
    assert (again.text, again.already) == (answer.text, len(answer.taken_out)), "a second time changes nothing"


PICTURE = PNG + random.Random(1).randbytes(9_000)  # as base64, as bytes and in any spelling over 10,000 characters
FRAME = b"\xff\xf3\xe4\xc4" + random.Random(3).randbytes(476)
NOISE = random.Random(2).randbytes(9_000)
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><circle r="9" fill="#f00"/></svg>'
SAFE = base64.urlsafe_b64encode(PICTURE).decode().rstrip("=")


@pytest.mark.parametrize(
    "document",
    [
        {"screenshot": b64(PICTURE)}, [b64(PICTURE)], {"a": [[{"b": SAFE}]]}, b64(PICTURE), {"raw": bytes(PICTURE)},
        {"kind": "video/mp4", "payload": b64(NOISE)}, {"type": "application/x-mine", "payload": NOISE},
        {"type": "text", "text": b64(PICTURE)}, {"text": url(PNG)}, {"a": {"b": [url(PNG)]}}, url(PNG),
        {"out": json.dumps({"text": json.dumps([SAFE])})}, json.dumps([url(PNG)]), {"mime": "image/png", "x": b64(PNG)},
        {"speech": b64(FRAME * 20)}, {"u": f"data:png;base64,{b64(PNG)}"}, {"text": "data:image/png;BASE64," + SAFE},
        {"text": f"data:image/png;name=a%20b.png;base64,{b64(PNG)}"},
        {"input_audio": {"data": f"data:;base64,{b64(WAV)}", "format": "wav"}},
        [f"data:image/png;base64,{quote(b64(PNG), safe=safe)}" for safe in ("", "/", "!*'()")],
        [f"data:image/svg+xml;utf8,{SVG}", *(f"data:image/svg+xml,{quote(SVG, safe)}" for safe in ("", "/", "#=:/"))],
    ],
    ids=lambda document: str(document)[:50],
)  # fmt: skip
def test_media_of_unknown_shapes_go_out_and_come_back(store, document, caplog):
    made = store.externalize(document, R1)
    (reference,) = references(made)
    assert {store.info(str(marker)).reference for marker in markers(made)} == {reference}
    assert store.retrieve_media(reference).read_bytes() in (PICTURE, NOISE, PNG, WAV, FRAME * 20, SVG.encode())
    assert store.info(reference).mime_type != "text/plain"
    back = store.inline(made)
    assert (back, str(back)) == (document, str(document))
    assert store.externalize(made, R1) == made
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("document", "large"),
    [
        ({"encrypted_content": b64(NOISE)}, True), ({"sample": b64(b"\xff\xf3" + NOISE)}, True),
        ({"data": [{"embedding": b64(bytes(range(1, 256)) * 48)}]}, True),
        ({"signature": b64(NOISE)[:8_000]}, False), ({"sha256": DIGEST, "mime_type": "image/png"}, False),
        ({"token": "e" * 9_000, "access_token": b64(NOISE).replace("=", "") + ".x"}, True),
        ({"mime_type": "image/png", "name": "images/cat", "text": "iVBORw0KGgo"}, False),
        ({"content": f"![x]({url(PICTURE)})"}, True), ({"image": b64(PICTURE) + "!"}, True),
        ({"type": "Buffer", "data": list(PICTURE)}, True), ({"type": "Buffer", "data": [1]}, False),
        ({"a": bytearray(PICTURE)}, True), ({"type": "image", "image": "photos/of/cats"}, False),
        ({"mediaType": "image/png", "image": "cat", "file": "photos/cat"}, False),
        ({"images": ["photos/cat", "abcd"]}, False), ({"text": "word " * 5_000}, False),
        ({"text": "[" * 20_000}, False), ({"text": ("a" * 9_999 + " ") * 1_000}, False),
        ({"url": "data:image/svg+xml," + "%3csvg%20" * 2_000}, True), ({"text": "data: one, two"}, False),
        ({"text": "data:,x", "a": "data:image/png;base64,", "b": "data:image/png,"}, False),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_what_is_none_stays_and_is_told_if_it_is_large(store, document, large, caplog):
    assert store.externalize(document, R1) == document
    assert [" at 1 places of a document: $" in each for each in caplog.messages] == [True] * large
    assert list(store.list()) == []
    if not isinstance(document.get("a"), bytearray):
        answer = store.externalize_text(json.dumps(document), R1)
        assert (len(answer.kept), ", 1 stay" in str(answer)) == (large, large)
        assert all(where.startswith("$.") for where in answer.kept)


def test_bytes_come_back_into_a_document_and_are_refused_in_text(store):
    made = store.externalize({"inline_data": {"mime_type": "image/png", "data": PNG}}, R1)
    assert store.inline(made)["inline_data"]["data"] == PNG
    raised(errors.InvalidMediaError, store.inline_text, json.dumps(made), match=r"inline_data.data stood bytes")


def test_json_text_in_strings_is_told_by_both_places(store):
    document = {
        "messages": [{"content": "?"}, {"content": json.dumps({"content": [GEMINI["contents"][0]["parts"][1]]})}]
    }
    answer = store.externalize_text(json.dumps(document), R1)
    assert answer.taken_out[0].where == "$.messages[1].content > $.content[0].inline_data.data"
    record = store.info(answer.taken_out[0].reference)
    assert (record.message_idx, record.part_idx) == (1, 0)


def test_everything_else_in_a_text_and_odd_tokens_stay(store):
    text = (
        '\ufeff{"n": 1.10, "big": 123456789012345678901234567890, "e": -0E+2, "n": NaN,\r\n "s": "\\ud800\\u00e9\\/",'
        ' "messages": [ {"content":[{"image_url":"' + url(PNG).replace("/", "\\/") + '"} ] }]}\n{"more": []}\n\n'
    )
    answer = store.externalize_text(text, R1)
    (taken,) = answer.taken_out
    assert store.inline_text(answer.text) == text
    head, _, tail = text.partition(url(PNG).replace("/", "\\/"))
    assert answer.text.startswith(head)
    assert answer.text.endswith(tail)
    assert taken.where == "$[0].messages[0].content[0].image_url"
    for odd in (
        '{"inlineData": {"mimeType": "image/png", "data": "\\u0061GVsbG8="}}',
        '{"media": {"d\\u0061ta": "aGVsbG8=", "mime_type": "image/png"}}',
        '{"media": {"data": "aGVsbG8=", "mime_type": "image/png", "data": "aGVsbG8="}}',
    ):
        answer = store.externalize_text(odd, R1)
        assert (answer.text, answer.taken_out) == (odd, ())


def test_a_media_that_is_gone_is_named(storage):
    store = opened(storage)
    made = store.externalize(OPENAI_CHAT, R1)
    gone = markers(made)[1].reference
    store.delete_media(gone)
    where = r"messages\[1\].content\[1\].image_url.url"
    assert raised(errors.MediaNotFoundError, store.inline, made, match=where).reference == gone


def test_other_bytes_are_not_put_in(memory_storage, store):
    made = store.externalize(PROMPTKIT, R1)
    (marker,) = markers(made)
    memory_storage.write(marker.reference, b"somebody else's")
    raised(errors.CorruptMediaError, store.inline, made)
    raised(errors.StorageError, opened(memory_storage, verify_reads=False).inline, made, match="not those")


def test_metadata_must_fit_the_store(memory_storage):
    store = opened(memory_storage, organization="by-session")
    raised(errors.BulkError, store.externalize, PROMPTKIT, R1, match="session")
    assert all(map(keys.is_internal, memory_storage.keys()))


def test_a_text_that_only_looks_like_a_reference_is_refused_and_one_that_has_other_bytes(store):
    stored = store.store_media(MediaContent.from_bytes(PNG), R1)
    fake = {"inlineData": picture(str(InlineReference(stored, DIGEST, "b64")))}
    raised(errors.InvalidMediaError, store.externalize, fake, R1, match="not those")
    for reference in ("runs/r1/none.png", "../../x", ".fsmedia/store.json", "/etc/passwd", "s3://b/x"):
        marker = str(InlineReference(reference, DIGEST, "b64"))
        fake = {"messages": [{"content": [{"inlineData": picture(marker)}]}]}
        raised(errors.InvalidMediaError, store.externalize, fake, R1, match="looks like a reference")
        kinds = (errors.MediaNotFoundError, errors.InvalidMediaError, ValueError)
        assert raised(kinds, store.inline, fake).reference == reference
        in_text = {"text": marker, "content": [{"type": "text", "text": str(InlineReference("x", DIGEST, "b64"))}]}
        assert store.inline(store.externalize(in_text, R1)) == in_text


def test_a_conversation_that_grew_keeps_its_references(store):
    made = store.externalize(GEMINI, R1)
    grown = {**made, "contents": [*made["contents"], {"parts": [{"inlineData": picture(b64(b"new"))}]}]}
    again = store.externalize(grown, R1)
    assert markers(again)[:1] == markers(made)[:1]
    assert len(markers(again)) == 3
    assert store.inline(again) == {**GEMINI, "contents": [*GEMINI["contents"], grown["contents"][-1]]}


def test_a_small_document_can_not_become_huge(store):
    document = {"data": b64(bytes(10_000)), "mime_type": "image/png"}
    many = [store.externalize({"a": document}, R1)["a"]] * 1000
    for inline, asked in ((store.inline, many), (store.inline_text, json.dumps(many))):
        raised(errors.InvalidMediaError, inline, asked, match="grow by more than 1000000", at_most=1_000_000)
    assert store.inline(many) == [document] * 1000


def test_what_was_stored_before_a_failure_is_told(store, monkeypatch):
    real = store._backend.write_many

    def failing(writes):
        bad = {number for number, write in enumerate(writes) if write.key.endswith((".wav", ".wav.meta"))}
        done = real([write for number, write in enumerate(writes) if number not in bad])
        assert done == {}
        return {number: errors.StorageError("no answer") for number in bad}

    monkeypatch.setattr(store._backend, "write_many", failing)
    error = raised(errors.BulkError, store.externalize, OPENAI_CHAT, R1)
    monkeypatch.undo()
    assert len(error.errors) == 2
    assert sorted(error.results.values()) == sorted(store.list())


@pytest.mark.anyio
async def test_coroutines(memory_storage):
    async with AsyncMediaStore(memory_storage.url) as store:
        assert await store.inline(await store.externalize(GEMINI, R1)) == GEMINI
        text = json.dumps(GEMINI)
        assert await store.inline_text((await store.externalize_text(text, R1)).text) == text
