"""Writes the examples beside this file with the SDKs themselves; the tests read the files, and need none of them.

`pip install openai anthropic google-genai langchain-core mcp pydantic-ai-slim mistralai boto3 a2a-sdk ollama` in an
environment of its own, then `python tests/golden/messages/make.py`. Each file has the version that wrote it.
"""

import base64
import io
import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGP8z8DAwMDAxMDAwMDAAAANHQEDasKb6QAAAABJRU5ErkJggg=="
)
WAV = b"RIFF" + (76).to_bytes(4, "little") + b"WAVEfmt " + bytes.fromhex("1000000001000100c05d000080bb000002001000")
WAV += b"data" + (40).to_bytes(4, "little") + bytes(range(200, 240))
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF>>>???\n"
PCM = bytes(range(256))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{b64(data)}"


def openai() -> dict[str, Any]:
    from openai.types import Image, ImagesResponse
    from openai.types.chat import ChatCompletion
    from openai.types.realtime import InputAudioBufferAppendEvent, ResponseAudioDeltaEvent
    from openai.types.realtime.realtime_conversation_item_user_message import RealtimeConversationItemUserMessage
    from openai.types.responses import Response, ResponseInputItem
    from pydantic import TypeAdapter

    message = {"role": "assistant", "audio": {"id": "a", "data": b64(WAV), "expires_at": 1, "transcript": "hi"}}
    chat = {
        "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-audio",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
    }  # fmt: skip
    picture = {"type": "input_image", "detail": "auto", "image_url": url(PNG)}
    file = {"type": "input_file", "filename": "a.pdf", "file_data": url(PDF, "application/pdf")}
    mcp = json.dumps({"content": [{"type": "image", "data": b64(PNG), "mimeType": "image/png"}]})
    output: list[dict[str, Any]] = [
        {"type": "image_generation_call", "id": "ig", "status": "completed", "result": b64(PNG)},
        {"type": "mcp_call", "id": "m", "name": "shot", "arguments": "{}", "server_label": "s", "output": mcp},
    ]
    response = {
        "id": "r", "object": "response", "created_at": 1, "model": "gpt", "output": output, "tools": [],
        "parallel_tool_calls": True, "tool_choice": "auto",
    }  # fmt: skip
    inputs = [
        {"type": "message", "role": "user", "content": [picture, file]},
        {"type": "function_call_output", "call_id": "c", "output": [picture]},
        {"type": "computer_call_output", "call_id": "c",
         "output": {"type": "computer_screenshot", "image_url": url(PNG)}},
    ]  # fmt: skip
    said = RealtimeConversationItemUserMessage.model_validate(
        {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": b64(PCM)}, picture]}
    )
    delta = ResponseAudioDeltaEvent(
        type="response.output_audio.delta", event_id="e", response_id="r", item_id="i", output_index=0,
        content_index=0, delta=b64(PCM),
    )  # fmt: skip
    adapter: TypeAdapter[Any] = TypeAdapter(list[ResponseInputItem])
    return {
        "chat": ChatCompletion.model_validate(chat),
        "responses output": Response.model_validate(response),
        "responses input": adapter.dump_python(adapter.validate_python(inputs), mode="json", exclude_none=True),
        "images": ImagesResponse(created=1, data=[Image(b64_json=b64(PNG))], output_format="png"),
        "realtime item": said,
        "realtime server event": delta,
        "realtime client event": InputAudioBufferAppendEvent(type="input_audio_buffer.append", audio=b64(PCM)),
    }


def anthropic() -> dict[str, Any]:
    import httpx2 as httpx
    from anthropic import Anthropic, APIConnectionError

    def block(kind: str, media_type: str, data: bytes) -> dict[str, Any]:
        return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": io.BytesIO(data)}}

    def refused(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        raise httpx.ConnectError("enough")

    picture = block("image", "image/png", PNG)
    result = {"type": "tool_result", "tool_use_id": "t", "content": [picture]}
    content = [picture, block("document", "application/pdf", PDF), result]
    sent: list[dict[str, Any]] = []
    http_client = httpx.Client(transport=httpx.MockTransport(refused))
    client = Anthropic(api_key="x", max_retries=0, http_client=http_client)
    with suppress(APIConnectionError):
        client.messages.create(model="claude", max_tokens=9, messages=[{"role": "user", "content": content}])
    return {"request": sent[0]}


def google_genai() -> dict[str, Any]:
    from google.genai import types

    parts = [
        types.Part.from_bytes(data=PNG, mime_type="image/png"),
        types.Part.from_bytes(data=PCM, mime_type="audio/L16;codec=pcm;rate=24000"),
    ]
    content = types.Content(role="user", parts=parts)
    image = types.Image(image_bytes=PNG, mime_type="image/png")
    video = types.Video(video_bytes=PDF, mime_type="video/mp4")
    live = types.LiveClientRealtimeInput(audio=types.Blob(data=PCM, mime_type="audio/pcm;rate=16000"))
    return {
        "content": content,
        "content, camel case": json.loads(content.model_dump_json(by_alias=True)),
        "images": types.GenerateImagesResponse(generated_images=[types.GeneratedImage(image=image)]),
        "videos": types.GenerateVideosResponse(generated_videos=[types.GeneratedVideo(video=video)]),
        "live": json.loads(live.model_dump_json(by_alias=True, exclude_none=True)),
    }


def langchain_core() -> dict[str, Any]:
    from langchain_core.load import dumpd
    from langchain_core.messages import HumanMessage, ToolMessage, messages_to_dict
    from langchain_core.messages.content import create_audio_block, create_file_block, create_image_block

    blocks: list[Any] = [
        create_image_block(base64=b64(PNG), mime_type="image/png"),
        create_audio_block(base64=b64(WAV), mime_type="audio/wav"),
        create_file_block(base64=b64(PDF), mime_type="application/pdf"),
    ]
    old: list[Any] = [
        {"type": "image", "source_type": "base64", "data": b64(PNG), "mime_type": "image/png"},
        {"type": "image_url", "image_url": {"url": url(PNG)}},
        {"type": "image_url", "image_url": url(PNG)},
    ]
    tool = ToolMessage(json.dumps([{"type": "image", "data": b64(PNG), "mimeType": "image/png"}]), tool_call_id="t")
    return {
        "v1": messages_to_dict([HumanMessage(content_blocks=blocks)]),
        "v0": messages_to_dict([HumanMessage(old)]),
        "serialized": dumpd(HumanMessage(content_blocks=blocks)),
        "tool message with JSON text": messages_to_dict([tool]),
    }


def mcp() -> dict[str, Any]:
    from mcp import types

    blob = types.BlobResourceContents(uri="file:///a.pdf", mime_type="application/pdf", blob=b64(PDF))
    content = [
        types.ImageContent(type="image", data=b64(PNG), mime_type="image/png"),
        types.AudioContent(type="audio", data=b64(WAV), mime_type="audio/wav"),
        types.EmbeddedResource(type="resource", resource=blob),
    ]
    icons = [types.Icon(src=url(PNG), mime_type="image/png", sizes=["48x48"])]
    tool = types.Tool(name="draw", input_schema={"type": "object"}, icons=icons)
    results = {
        "tool result": types.CallToolResult(content=content),
        "resource": types.ReadResourceResult(contents=[blob]),
        "icons": types.ListToolsResult(tools=[tool]),
    }
    return {name: each.model_dump(mode="json", by_alias=True, exclude_none=True) for name, each in results.items()}


def pydantic_ai_slim() -> dict[str, Any]:
    from pydantic_ai.messages import (
        BinaryContent,
        FilePart,
        ModelMessagesTypeAdapter,
        ModelRequest,
        ModelResponse,
        ToolReturnPart,
        UserPromptPart,
    )

    picture = BinaryContent(PNG, media_type="image/png")
    request = ModelRequest([
        UserPromptPart(["look", picture, BinaryContent(PDF, media_type="application/pdf")]),
        ToolReturnPart("shot", [picture], tool_call_id="t"),
    ])  # fmt: skip
    history = [request, ModelResponse([FilePart(picture)])]
    return {"history": json.loads(ModelMessagesTypeAdapter.dump_json(history))}


def mistralai() -> dict[str, Any]:
    from mistralai.client import models

    message = models.UserMessage(content=[
        models.AudioChunk(input_audio=b64(WAV)),
        models.DocumentURLChunk(document_url=url(PDF, "application/pdf")),
        models.ImageURLChunk(image_url=url(PNG)),
    ])  # fmt: skip
    corners = {"top_left_x": 0, "top_left_y": 0, "bottom_right_x": 1, "bottom_right_y": 1}
    return {
        "message": message,
        "speech": models.SpeechStreamAudioDelta(audio_data=b64(WAV)),
        "realtime": models.RealtimeTranscriptionInputAudioAppend(audio=b64(PCM)),
        "ocr": models.OCRImageObject(id="i", image_base64=b64(PNG), **corners),
    }


def boto3() -> dict[str, Any]:
    import boto3
    from botocore.awsrequest import AWSRequest

    client = boto3.client("bedrock-runtime", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    content = [
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {"document": {"format": "pdf", "name": "a", "source": {"bytes": PDF}}},
        {"toolResult": {"toolUseId": "t", "content": [{"image": {"format": "png", "source": {"bytes": PNG}}}]}},
    ]
    caught: list[AWSRequest] = []

    def before_send(request: AWSRequest, **_: Any) -> None:
        caught.append(request)
        raise ConnectionAbortedError

    client.meta.events.register("before-send.bedrock-runtime.Converse", before_send)
    with suppress(ConnectionAbortedError):
        client.converse(modelId="m", messages=[{"role": "user", "content": content}])
    return {"converse": json.loads(caught[0].body)}


def a2a_sdk() -> dict[str, Any]:
    from a2a.types import Message, Part
    from google.protobuf.json_format import MessageToDict

    message = Message(message_id="m", parts=[Part(raw=PNG, media_type="image/png", filename="a.png")])
    old = {"kind": "message", "parts": [{"kind": "file", "file": {"bytes": b64(PNG), "mimeType": "image/png"}}]}
    return {"message": MessageToDict(message), "message, before 1.0 (as its JSON schema has it)": old}


def ollama() -> dict[str, Any]:
    from ollama import Image, Message

    return {"message": Message(role="user", content="?", images=[Image(value=PNG)])}


if __name__ == "__main__":
    for make in (
        openai, anthropic, google_genai, langchain_core, mcp, pydantic_ai_slim, mistralai, boto3, a2a_sdk, ollama,
    ):  # fmt: skip
        package = make.__name__.replace("_", "-")
        made = {f"{package} {version(package)}": make()}
        text = json.dumps(made, indent=1, default=lambda model: model.model_dump(mode="json", exclude_none=True))
        Path(__file__).with_name(f"{package}.json").write_text(text + "\n", encoding="utf-8")
