"""Messages with signed URLs in the place of their media, in the fields that each API has for URLs."""

import io
import json
import random
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest

from fsmedia import MediaMetadata, MediaStore
from fsmedia.errors import InvalidMediaError, MediaNotFoundError, StorageError
from fsmedia.format import json_stream
from tests.conftest import storages
from tests.contract.specimens import get, raised
from tests.golden.test_messages import EXAMPLES
from tests.messages import DOCUMENTS, PNG, WAV, b64, block, url
from tests.protocol.wire import costs
from tests.storages import ALL_STORAGES, AZURE, LOCAL, S3_RCLONE, WITHOUT_URLS
from tests.transfers import opened

R1 = MediaMetadata(run_id="r1")
PDF = b"%PDF-1.7 of a paper"
HERE = "?"
"""Where the URL stands."""
OPENAI_FILE = {"type": "input_file", "filename": "a.pdf", "file_data": url(PDF, "application/pdf")}
IN_PLACE = {
    "chat": (
        {"type": "image_url", "image_url": {"url": url(PNG), "detail": "low"}},
        {"type": "image_url", "image_url": {"url": HERE, "detail": "low"}},
    ),
    "responses": (
        {"type": "input_image", "image_url": url(PNG), "n": 1.50},
        {"type": "input_image", "image_url": HERE, "n": 1.50},
    ),
    "file of responses": (OPENAI_FILE, {"type": "input_file", "file_url": HERE}),
    "anthropic": (
        block("image", "base64", "image/png", b64(PNG)),
        {"type": "image", "source": {"type": "url", "url": HERE}},
    ),
    "anthropic, type in the middle": (
        {"source": {"data": b64(PNG), "media_type": "image/png", "type": "base64"}, "type": "image"},
        {"source": {"url": HERE, "type": "url"}, "type": "image"},
    ),
    "anthropic, type at the end": (
        {"source": {"data": b64(PNG), "type": "base64", "media_type": "image/png"}},
        {"source": {"url": HERE, "type": "url"}},
    ),
    "gemini": (
        {"inline_data": {"mime_type": "image/png", "data": b64(PNG)}},
        {"file_data": {"mime_type": "image/png", "file_uri": HERE}},
    ),
    "gemini, camel": (
        {"inlineData": {"data": b64(PNG), "mimeType": "image/png"}, "thought": False},
        {"fileData": {"fileUri": HERE, "mimeType": "image/png"}, "thought": False},
    ),
    "gemini interactions": (
        {"type": "document", "data": b64(PDF), "mime_type": "application/pdf"},
        {"type": "document", "uri": HERE, "mime_type": "application/pdf"},
    ),
    "langchain": (
        {"type": "image", "base64": b64(PNG), "mime_type": "image/png"},
        {"type": "image", "url": HERE, "mime_type": "image/png"},
    ),
    "langchain v0": (
        {"type": "image", "source_type": "base64", "data": b64(PNG), "mime_type": "image/png"},
        {"type": "image", "source_type": "url", "url": HERE, "mime_type": "image/png"},
    ),
    "mistral": (
        {"type": "input_audio", "input_audio": b64(WAV)},
        {"type": "input_audio", "input_audio": HERE},
    ),
    "qwen": (
        {"type": "input_audio", "input_audio": {"data": f"data:;base64,{b64(WAV)}", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": HERE, "format": "wav"}},
    ),
    "a2a": ({"raw": b64(PNG), "mediaType": "image/png"}, {"url": HERE, "mediaType": "image/png"}),
    "a2a before 1.0": (
        {"kind": "file", "file": {"mimeType": "image/png", "bytes": b64(PNG)}},
        {"kind": "file", "file": {"mimeType": "image/png", "uri": HERE}},
    ),
    "opentelemetry": (
        {"type": "blob", "mime_type": "image/png", "modality": "image", "content": b64(PNG)},
        {"type": "uri", "mime_type": "image/png", "modality": "image", "uri": HERE},
    ),
    "promptkit": (
        {"media": {"data": b64(PNG), "mime_type": "image/png"}},
        {"media": {"url": HERE, "mime_type": "image/png"}},
    ),
    "text in a tool message": (
        {"role": "tool", "content": json.dumps({"x": [block("image", "base64", "image/png", b64(PNG))]}, indent=1)},
        {"role": "tool", "content": {"x": [{"type": "image", "source": {"type": "url", "url": HERE}}]}},
    ),
}
STAYS = {
    "sound of chat": {"type": "input_audio", "input_audio": {"data": b64(WAV), "format": "wav"}},
    "file of chat": {"type": "file", "file": {"filename": "a.pdf", "file_data": url(PDF, "application/pdf")}},
    "bedrock": {"image": {"format": "png", "source": {"bytes": b64(PNG)}}},
    "mcp": {"type": "image", "data": b64(PNG), "mimeType": "image/png"},
    "ollama": {"role": "user", "images": [b64(PNG)]},
    "both": {"source": {"type": "base64", "media_type": "image/png", "data": b64(PNG), "url": "https://example.org"}},
    "both of Gemini": {"inline_data": {"mime_type": "image/png", "data": b64(PNG)}, "file_data": {}},
    # Stored as WAV: a URL would give other bytes than stood there.
    "raw sound": {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": b64(bytes(range(200)))}},
}

# A local disk is not for others to open.
storage = storages(S3_RCLONE, of=tuple(each for each in ALL_STORAGES if each not in (LOCAL, *WITHOUT_URLS)))


@pytest.fixture
def store(storage):
    return opened(storage)


def urls_of(made, wanted):
    """Return what stands in a message where a URL is wanted; all else must be as it is wanted."""
    if wanted == HERE:
        return [made]
    if isinstance(made, str) and isinstance(wanted, dict):
        made = json.loads(made)
    if not isinstance(made, (dict, list)):
        assert made == wanted
        return []
    pairs = list(made.items() if isinstance(made, dict) else enumerate(made))
    assert [name for name, _ in pairs] == list(wanted if isinstance(wanted, dict) else range(len(wanted)))
    return [found for name, each in pairs for found in urls_of(each, wanted[name])]


def inlined(store, small):
    return "".join(store.inline_stream(io.BytesIO(small.encode()), urls=True))


def unsigned(text):
    """Read a message whose URLs have lost their signatures, which are others each second."""
    return json.loads(re.sub(r"\?(X-Amz|se=)[^\"\\]*", "", text))


@pytest.mark.parametrize("indent", [None, 2], ids=["dense", "indented"])
@pytest.mark.parametrize("name", IN_PLACE)
def test_a_url_stands_where_the_api_takes_one(name, indent, store):
    message, wanted = IN_PLACE[name]
    document, wanted = {"messages": [message, message]}, {"messages": [wanted, wanted]}
    text = json.dumps(document, indent=indent)
    small = store.externalize_text(text, R1).text
    made = store.inline_text(small, urls=True)
    found = urls_of(json.loads(made), wanted)
    assert len(found) == 2
    assert get(found[0])[2] in (PNG, PDF, WAV)
    for other in (
        inlined(store, small), json.dumps(store.inline(json.loads(small), urls=True)),
        json.dumps(store.inline(store.externalize(document, R1), urls=True)),
    ):  # fmt: skip
        assert len(urls_of(json.loads(other), wanted)) == 2
    assert store.inline_text(small) == text


@pytest.mark.parametrize("name", STAYS)
def test_base64_stands_where_the_api_takes_no_url(name, store):
    text = json.dumps([STAYS[name], {"plain": "text"}])
    small = store.externalize_text(text, R1).text
    assert small != text
    assert store.inline_text(small, urls=True) == text == inlined(store, small)


@pytest.mark.parametrize("name", ["all", *DOCUMENTS])
def test_of_every_document_nothing_else_changes(name, store, monkeypatch):
    """In pieces that cut it anywhere, with long media in it, as in the whole."""
    rest = {"x": [{"mimeType": "image/png", "data": b64(PNG + random.Random(1).randbytes(300_000))}]}
    inner = {
        "source_type": "base64",
        "extra": {"image_url": url(PNG)},
        "data": b64(PDF),
        "mime_type": "application/pdf",
    }
    documents = [*EXAMPLES.values(), inner, rest] if name == "all" else [DOCUMENTS[name][0], inner, rest]
    text = json.dumps({"messages": documents})
    small = store.externalize_text(text, R1).text
    whole = unsigned(store.inline_text(small, urls=True))
    assert whole["messages"][-1] == rest
    assert set(whole["messages"][-2]) == {"source_type", "extra", "url", "mime_type"}
    assert unsigned(inlined(store, small)) == whole
    assert unsigned(json.dumps(store.inline(json.loads(small), urls=True))) == whole
    monkeypatch.setattr(json_stream, "WHOLE", 1000)
    monkeypatch.setattr(json_stream, "LONG", 200_000)
    monkeypatch.setattr(json_stream, "PIECE", 16_000)
    assert unsigned(inlined(store, small)) == whole
    monkeypatch.setattr(json_stream, "PIECE", 1_000)  # of an object in parts less is known: there is base64
    made = unsigned(inlined(store, small))
    assert made["messages"][-1] == rest
    assert "media://" not in json.dumps(made)


def test_urls_live_as_long_as_is_said(storage, store):
    (message, _) = IN_PLACE["chat"]
    small = store.externalize(message, R1)
    made = json.dumps(store.inline(small, urls=True, expiry=timedelta(minutes=10)))
    if storage.name == AZURE:  # it signs when they end
        end = datetime.fromisoformat(unquote(re.search(r"[?&]se=([^&]*)", made)[1]))
        assert timedelta(minutes=9) < end - datetime.now(UTC) <= timedelta(minutes=10)
    else:
        assert "Expires=600" in made
    raised(InvalidMediaError, store.inline, small, urls=True, expiry=timedelta(days=8), match="7 days")
    raised(InvalidMediaError, store.inline, small, expiry=timedelta(1), match="signed URLs")
    raised(InvalidMediaError, store.inline, small, urls=True, at_most=20, match="20 characters")
    (reference,) = store.list()
    store.delete_media(reference)
    raised(MediaNotFoundError, store.inline, small, urls=True, match="no such media")


def test_a_url_costs_five_small_requests_and_is_none_of_what_a_stranger_names(store, storage):
    """A document that names a media, and not its digest, gets nothing of it."""
    small = store.externalize([IN_PLACE["chat"][0], IN_PLACE["anthropic"][0], IN_PLACE["responses"][0]], R1)
    (reference,) = store.list()
    costs(storage, lambda: store.inline(small, urls=True), get=3, head=2)
    marker = small[0]["image_url"]["url"]
    guessed = re.sub("sha256=[0-9a-f]{64}", f"sha256={'ab' * 32}", marker)
    error = raised(StorageError, store.inline, {"image_url": {"url": guessed}}, urls=True, match="not those that stood")
    assert reference in str(error)
    assert "http" not in str(error)


def test_storages_without_urls_are_named(memory_storage, tmp_path):
    for store in (opened(memory_storage), MediaStore(tmp_path / "media")):
        small = store.externalize(IN_PLACE["chat"][0], R1)
        error = raised(StorageError, store.inline, small, urls=True)
        assert "url" in str(error).lower()
        stays = store.externalize(STAYS["mcp"], R1)
        assert store.inline(stays, urls=True) == STAYS["mcp"]
