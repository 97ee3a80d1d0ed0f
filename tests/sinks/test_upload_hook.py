"""The upload hook that OpenTelemetry's GenAI instrumentations bring along, writing into a store by `media://`."""

from __future__ import annotations

import json

import pytest
from opentelemetry.util.genai._upload.completion_hook import UploadCompletionHook
from opentelemetry.util.genai.types import InputMessage, TextPart

from fsmedia import InvalidMediaError, MediaStore


@pytest.mark.parametrize(("form", "mime_type"), [("json", "application/json"), ("jsonl", "application/jsonl")])
def test_its_base_path_may_be_a_run_of_a_store(storage, monkeypatch, exported, form, mime_type):
    store = MediaStore(storage.url, storage_options=storage.options).create()
    monkeypatch.setenv("FSMEDIA_URL", storage.url)
    monkeypatch.setattr("fsspec.config.conf", {"media": {"storage_options": storage.options}}, raising=True)
    hook = UploadCompletionHook(base_path="media://runs/llm", upload_format=form)
    with exported.tracers.get_tracer("program").start_as_current_span("chat") as span:
        hook.on_completion(
            inputs=[InputMessage("user", [TextPart("hello")])], outputs=[], system_instruction=[], span=span
        )
    hook.shutdown()
    url = exported.named("chat")[0].attributes["gen_ai.input.messages_ref"]
    (reference,) = store.list(run_id="llm")
    assert url == f"media://{reference}"
    assert store.info(reference).mime_type == mime_type
    first = json.loads(store.retrieve_media(reference).read_bytes().splitlines()[0])
    assert (first[0] if form == "json" else first)["parts"] == [{"type": "text", "content": "hello"}]


def test_a_content_type_is_checked_and_wins_over_the_name(local_storage):
    store = MediaStore(local_storage.url).create()
    with store.fs.open("runs/r1/a.bin", "wb", content_type="audio/wav") as file:
        file.write(b"x")
    assert store.info("runs/r1/a.bin").mime_type == "audio/wav"
    with store.fs.open("runs/r1/a.bin", "w", content_type="text/plain") as file:
        file.write("x")
    assert store.info("runs/r1/a.bin").mime_type == "text/plain"
    with pytest.raises(InvalidMediaError):
        store.fs.open("runs/r1/b.bin", "wb", content_type="text/plain\r\nX: y")
    with store.fs.open("runs/r1/a.bin", "rb", content_type="x") as file:
        assert file.read() == b"x"
