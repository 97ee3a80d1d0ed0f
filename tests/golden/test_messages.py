"""Messages as SDKs emit them: their media go out, and the very same text comes back. `messages/make.py` wrote them."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from fsmedia import MediaMetadata
from tests.golden.messages.make import PCM, PDF, PNG, WAV, b64
from tests.transfers import opened

R1 = MediaMetadata(run_id="r1")
TYPES = {PNG: "image/png", WAV: "audio/wav", PDF: "application/pdf", PCM: "audio/"}
DIGESTS = {sha256(data).hexdigest(): kind for data, kind in TYPES.items()}
EXAMPLES = {
    f"{sdk}: {name}": document
    for file in sorted(Path(__file__).with_name("messages").glob("*.json"))
    for sdk, documents in json.loads(file.read_text(encoding="utf-8")).items()
    for name, document in documents.items()
}


def media_in(text):
    return sum(text.count(b64(data)[:12]) for data in TYPES)


def gson(document):
    return json.dumps(document).replace("=", "\\u003d").replace("+", "\\u002B")


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_sdks_emit_goes_out_and_comes_back_byte_for_byte(name, memory_storage):
    store, document = opened(memory_storage), EXAMPLES[name]
    plain = json.dumps(document)
    assert media_in(plain) > 0
    for text in (plain, json.dumps(document, indent=2, ensure_ascii=False), plain.replace("/", "\\/"), gson(document)):
        answer = store.externalize_text(text, R1)
        assert (len(answer.taken_out), answer.kept) == (media_in(text), ())
        assert media_in(answer.text) == 0
        for each in answer.taken_out:
            assert each.mime_type.startswith((DIGESTS[each.sha256], "video/mp4")), each
        assert store.inline_text(answer.text) == text
        assert json.loads(store.inline_text(json.dumps(json.loads(answer.text)))) == document
    made = store.externalize(document, R1)
    assert media_in(json.dumps(made)) == 0
    assert json.dumps(store.inline(made)) == plain
