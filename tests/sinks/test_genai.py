"""LLM calls of OpenTelemetry's GenAI instrumentations, kept in a store by the completion hook or their upload hook."""

import base64
import json
from datetime import timedelta

import fsspec
import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.util.genai import types
from opentelemetry.util.genai._upload.completion_hook import UploadCompletionHook
from opentelemetry.util.genai.completion_hook import CompletionHook
from opentelemetry.util.genai.handler import TelemetryHandler

from fsmedia import InvalidMediaError, MediaStore, StorageError
from fsmedia.exchange.genai import StoreCompletionHook
from fsmedia.exchange.uploader import UNTRACED
from tests.clients.children import run_installed
from tests.contract.specimens import PNG, WAV, raised
from tests.transfers import opened, synced

MINUTE = timedelta(minutes=1)
PICTURE, UNTYPED = types.BlobPart("image/png", "image", PNG), types.BlobPart(None, "image", PNG)
SOUND = f"data:audio/wav;base64,{base64.b64encode(WAV).decode()}"
PROGRAM = """
from opentelemetry.util.genai.completion_hook import load_completion_hook
from opentelemetry.util.genai.types import InputMessage, TextPart
for store in ("", "store"):
    os.environ.update({"FSMEDIA_URL": store} if store else {})
    hook = load_completion_hook()
    print("HOOK", type(getattr(hook, "_wrapped", hook)).__name__)
    hook.on_completion(inputs=[InputMessage("user", [TextPart("hello")])], outputs=[], system_instruction=[])
"""


def hook_of(storage, **settings):
    return StoreCompletionHook(storage.url, storage_options=storage.options, **settings)


def read(storage, url):
    with fsspec.open(url, **opened(storage).url_options) as file:
        return file.read()


def call(hook, exported, *parts, answer="a cat", **settings):
    """Make one LLM call as an instrumentation does; return its span."""
    handler = TelemetryHandler(tracer_provider=exported.tracers, completion_hook=hook)
    with handler.inference("openai", request_model="gpt-4o", **settings) as invocation:
        invocation.input_messages = [types.InputMessage("user", [types.TextPart("what is this?"), *parts])]
        invocation.output_messages = [types.OutputMessage("assistant", [types.TextPart(answer)], "stop")]
    return exported.spans[-1]


def test_a_call_its_messages_and_its_media(storage, exported):
    hook = hook_of(storage)
    assert isinstance(hook, CompletionHook)
    span = call(hook, exported, PICTURE, types.UriPart(None, "audio", SOUND), conversation_id="c7")
    assert hook.flush(MINUTE)
    assert [span.name for span in exported.spans] == ["chat gpt-4o"]  # what the sink does makes no spans
    run = f"{span.context.trace_id:032x}"
    references = {name: value for name, value in span.attributes.items() if name.endswith("_ref")}
    assert set(references) == {"gen_ai.input.messages_ref", "gen_ai.output.messages_ref"}
    assert all(url.startswith(f"media://runs/{run}/") for url in references.values())
    (message,) = json.loads(read(storage, references["gen_ai.input.messages_ref"]))
    text, picture, sound = message["parts"]
    assert (message["role"], text) == ("user", {"type": "text", "content": "what is this?"})
    for part, kind, data in ((picture, "image/png", PNG), (sound, "audio/wav", WAV)):
        told = (part["type"], part["mime_type"], part["modality"], read(storage, part["uri"]))
        assert told == ("uri", kind, kind.partition("/")[0], data)
    (answer,) = json.loads(read(storage, references["gen_ai.output.messages_ref"]))
    assert answer["parts"] == [{"type": "text", "content": "a cat"}]
    store = opened(storage)
    records = [store.info(reference) for reference in store.list(run_id=run)]
    assert sorted((each.mime_type, each.message_idx, each.part_idx) for each in records) == [
        ("application/json", 0, 0), ("application/json", 0, 0), ("audio/wav", 0, 2), ("image/png", 0, 1),
    ]  # fmt: skip
    assert {(each.conversation_id, each.provider_id) for each in records} == {("c7", "openai")}
    hook.shutdown()


PICTURE_TEXT = base64.b64encode(PNG).decode()
SHOT = {"type": "image", "data": PICTURE_TEXT, "mimeType": "image/png"}
RESULTS = {
    "MCP": [SHOT],
    "MCP as text": json.dumps({"content": [SHOT]}),
    "Anthropic": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE_TEXT}}],
    "OpenAI as text": json.dumps([{"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE_TEXT}"}]),
    "bytes": {"image": {"format": "png", "source": {"bytes": PNG}}},
    "URL": f"data:image/png;base64,{PICTURE_TEXT}",
}


def test_pictures_in_results_of_tools_are_media_too(storage, exported):
    """Each turn kept all pictures that the turns before had got from tools, as base64."""
    hook = hook_of(storage)
    deep = json.loads("[" * 300 + "]" * 300)
    parts = [*(types.ToolCallResponsePart(each, "id") for each in (*RESULTS.values(), deep))]
    parts += [types.ToolCallRequestPart({"image": RESULTS["URL"]}, "edit", "id")]
    parts += [types.ServerToolCallResponsePart({"type": "shot", "output": RESULTS["MCP"]})]
    span = call(hook, exported, *parts)
    hook.shutdown()
    text = read(storage, span.attributes["gen_ai.input.messages_ref"]).decode()
    assert PICTURE_TEXT not in text
    store = opened(storage)
    (picture,) = [each for each in store.list() if store.info(each).mime_type == "image/png"]
    assert store.retrieve_media(picture).read_bytes() == PNG
    (message,) = json.loads(text)
    assert text.count(store.media_url(picture)) == len(parts) - 1
    assert json.loads(message["parts"][2]["response"])["content"] == [{**SHOT, "data": store.media_url(picture)}]
    assert message["parts"][len(RESULTS) + 1]["response"] == deep


def test_what_made_a_media_is_among_its_attributes(storage, exported):
    hook = hook_of(storage)
    handler = TelemetryHandler(tracer_provider=exported.tracers, completion_hook=hook)
    for number, reasons in enumerate((["stop"], ["stop", "length"], None)):
        with handler.inference("openai", request_model="gpt-4o") as invocation:
            invocation.input_messages = [types.InputMessage("user", [types.BlobPart("image/png", "image", PNG)])]
            invocation.temperature = 0.5
            if reasons is not None:
                invocation.finish_reasons = reasons
                invocation.response_model_name, invocation.response_id = "gpt-4o-2024-11-20", f"resp_{number}"
    hook.shutdown()
    store = opened(storage)
    answered = {"model": "gpt-4o-2024-11-20", "response_id": "resp_0", "finish_reason": "stop"}
    several = {**answered, "response_id": "resp_1", "finish_reason": ["stop", "length"]}
    for span, wanted in zip(exported.spans, (answered, several, {"model": "gpt-4o"}), strict=True):
        records = [store.info(each) for each in store.list(run_id=f"{span.context.trace_id:032x}")]
        assert {each.mime_type for each in records} == {"application/json", "image/png"}
        assert [(each.attributes, each.provider_id) for each in records] == [(wanted, "openai")] * 2
    assert len(list(store.list(attributes={"model": "gpt-4o-*", "finish_reason": "length"}))) == 2


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"gen_ai.response.model": "", "gen_ai.request.model": "m"}, {"model": "m"}),
        ({"gen_ai.response.model": 7, "llm.model_name": "m"}, {"model": "m"}),
        ({"gen_ai.response.id": "x" * 70_000, "gen_ai.request.model": "m"}, {"model": "m"}),
        ({"gen_ai.response.id": "\ud800", "gen_ai.request.model": "a\n\x1b[31m"}, {"model": "a\n\x1b[31m"}),
        ({"gen_ai.response.finish_reasons": []}, {}),
        ({"gen_ai.response.finish_reasons": ["stop", 7, None]}, {}),
        ({"gen_ai.response.finish_reasons": {"a": 1}, "llm.finish_reason": "stop"}, {"finish_reason": "stop"}),
        ({"gen_ai.conversation.id": "x" * 5000, "gen_ai.request.model": "m"}, {"model": "m"}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_strange_values_are_left_out_and_the_media_is_kept(said, kept, local_storage):
    hook = hook_of(local_storage)
    hook.on_completion(
        inputs=[types.InputMessage("user", [PICTURE])], outputs=[], system_instruction=[],
        log_record=LogRecord(attributes=said),
    )  # fmt: skip
    hook.shutdown()
    records = list(map(opened(local_storage).info, opened(local_storage).list()))
    assert [each.attributes for each in records] == [kept] * 2


def test_all_that_the_interface_hands_over(local_storage):
    hook = hook_of(local_storage)
    record = LogRecord(attributes={"gen_ai.conversation.id": "c1", "session.id": "s1"})
    hook.on_completion(
        inputs=[types.InputMessage("tool", [types.ToolCallResponsePart({"n": 1}, "id")])],
        outputs=[types.OutputMessage("assistant", [types.ToolCallRequestPart({"x": "y"}, "f", "id"), UNTYPED])],
        system_instruction=[types.TextPart("be nice"), PICTURE],
        tool_definitions=[types.FunctionToolDefinition("f", "does it", {"type": "object"})],
        span=None,
        log_record=record,
        later_argument=1,
    )
    hook.shutdown()
    said = {name: json.loads(read(local_storage, url)) for name, url in record.attributes.items() if "_ref" in name}
    kinds = ("input.messages", "output.messages", "system_instructions", "tool.definitions")
    assert list(said) == [f"gen_ai.{kind}_ref" for kind in kinds]
    assert said["gen_ai.input.messages_ref"][0]["parts"][0]["response"] == {"n": 1}
    assert said["gen_ai.tool.definitions_ref"][0]["name"] == "f"
    picture = said["gen_ai.output.messages_ref"][0]["parts"][1]
    assert (picture["type"], picture["mime_type"], read(local_storage, picture["uri"])) == ("uri", None, PNG)
    store = opened(local_storage)
    assert {store.info(each).session_id for each in store.list()} == {"s1"}
    assert len(list(store.list(run_id=UNTRACED))) == 6


def test_a_picture_that_is_sent_again_in_a_run_is_kept_once(local_storage, exported):
    hook = hook_of(local_storage)
    with exported.tracers.get_tracer("agent").start_as_current_span("run"):
        for _ in range(3):
            call(hook, exported, PICTURE)
    call(hook, exported, PICTURE)
    hook.shutdown()
    assert len(list(opened(local_storage).list(mime_type="image/png"))) == 2  # one in each trace


@pytest.mark.parametrize(
    ("organization", "expected"), [("by-conversation", "conversations/c7/"), ("by-session", "sessions/{run}/")]
)
def test_stores_that_are_organized_otherwise_and_have_a_policy(organization, expected, local_storage, exported):
    hook = hook_of(local_storage, organization=organization, default_policy="retain-7days")
    span = call(hook, exported, conversation_id="c7")
    hook.shutdown()
    url = span.attributes["gen_ai.input.messages_ref"]
    assert url.startswith("media://" + expected.format(run=f"{span.context.trace_id:032x}"))
    assert json.loads(read(local_storage, url))
    store = opened(local_storage)
    assert {store.info(each).policy_name for each in store.list()} == {"retain-7days"}


def test_a_store_that_shares_bytes_takes_them_and_a_sync_makes_them_shared(storage, memory_storage, exported):
    hook = hook_of(storage, deduplicate=True)
    for _ in range(2):
        call(hook, exported, PICTURE)
    hook.shutdown()
    old = list(opened(storage).list(mime_type="image/png"))
    report = synced(storage, memory_storage)
    assert (len(report.failed), len(report.moved)) == (0, 6)
    assert [opened(memory_storage).retrieve_media(each).read_bytes() for each in old] == [PNG, PNG]


# -- trouble -------------------------------------------------------------------------------------------------------
def test_a_store_that_can_not_be_made_is_told_at_once_and_one_that_breaks_later_is_logged(
    local_storage, exported, tmp_path, caplog
):
    (tmp_path / "file").write_text("")
    raised(StorageError, StoreCompletionHook, tmp_path / "file" / "below")
    hook = hook_of(local_storage)
    (tmp_path / "media").rename(tmp_path / "elsewhere")
    (tmp_path / "media").write_text("a file where the store was")
    span = call(hook, exported, PICTURE)
    hook.shutdown()
    assert span.status.is_unset
    lines = [record.getMessage() for record in caplog.records if record.name == "fsmedia.sinks"]
    assert len(lines) == 3
    assert all("not stored, " in line and line.startswith("runs/") for line in lines)
    (tmp_path / "media").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "media")
    assert "gen_ai.input.messages_ref" in call(hook_of(local_storage), exported, PICTURE).attributes


def test_strange_types_stay_inline_and_what_is_no_message_breaks_nothing(local_storage, exported, caplog):
    hook = hook_of(local_storage)
    strange = types.BlobPart("image/png\r\nX-Evil: 1", "image", PNG)
    span = call(hook, exported, strange, types.UriPart(None, "image", "data:image/png;base64,%%%"))
    hook.shutdown()
    (message,) = json.loads(read(local_storage, span.attributes["gen_ai.input.messages_ref"]))
    assert message["parts"][1]["content"] == base64.b64encode(PNG).decode()
    assert message["parts"][2]["uri"] == "data:image/png;base64,%%%"
    before = len(list(opened(local_storage).list()))
    hook = hook_of(local_storage)
    hook.on_completion(inputs=["not a message"], outputs=[], system_instruction=[])
    hook.on_completion(inputs=[], outputs=[], system_instruction=[])
    hook.on_completion(
        inputs=[types.InputMessage("user", [types.TextPart("x" * 10)])], outputs=None, system_instruction=None
    )
    hook.shutdown()
    assert "a completion was not kept" in caplog.text
    assert len(list(opened(local_storage).list())) == before + 1


def test_a_program_names_the_hook_in_its_environment_and_runs_on_where_that_names_no_store(tmp_path):
    out = run_installed(PROGRAM, tmp_path, OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK="fsmedia")
    assert "CompletionHook fsmedia configuration failed" in out
    hooks = [line for line in out.splitlines() if line.startswith("HOOK")]
    assert hooks == ["HOOK _NoOpCompletionHook", "HOOK StoreCompletionHook"]
    (reference,) = MediaStore(tmp_path / "store").list(run_id=UNTRACED)  # the end of the program waited for it
    assert b"hello" in MediaStore(tmp_path / "store").retrieve_media(reference).read_bytes()


def test_its_base_path_may_be_a_run_of_a_store(storage, monkeypatch, exported):
    store = MediaStore(storage.url, storage_options=storage.options).create()
    monkeypatch.setenv("FSMEDIA_URL", storage.url)
    monkeypatch.setattr("fsspec.config.conf", {"media": {"storage_options": storage.options}}, raising=True)
    for form in ("json", "jsonl"):
        hook = UploadCompletionHook(base_path=f"media://runs/{form}", upload_format=form)
        with exported.tracers.get_tracer("program").start_as_current_span(form) as span:
            said = [types.InputMessage("user", [types.TextPart("hello")])]
            hook.on_completion(inputs=said, outputs=[], system_instruction=[], span=span)
        hook.shutdown()
        url = exported.named(form)[0].attributes["gen_ai.input.messages_ref"]
        (reference,) = store.list(run_id=form)
        assert url == f"media://{reference}"
        assert store.info(reference).mime_type == f"application/{form}"
        first = json.loads(store.retrieve_media(reference).read_bytes().splitlines()[0])
        assert (first[0] if form == "json" else first)["parts"] == [{"type": "text", "content": "hello"}]


def test_a_content_type_is_checked_and_wins_over_the_name(local_storage):
    store = MediaStore(local_storage.url).create()
    for mode, data, kind in (("wb", b"x", "audio/wav"), ("w", "x", "text/plain")):
        with store.fs.open("runs/r1/a.bin", mode, content_type=kind) as file:
            file.write(data)
        assert store.info("runs/r1/a.bin").mime_type == kind
    raised(InvalidMediaError, store.fs.open, "runs/r1/b.bin", "wb", content_type="text/plain\r\nX: y")
    with store.fs.open("runs/r1/a.bin", "rb", content_type="x") as file:
        assert file.read() == b"x"
