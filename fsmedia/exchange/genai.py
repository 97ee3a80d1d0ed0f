"""A completion hook for OpenTelemetry's GenAI instrumentations: `OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK=fsmedia`.

Inputs, outputs, system instructions and tool definitions become JSON media, the pictures and sounds in them media of
their own, which the JSON names by URL: blob and uri parts, and what stands in the results and arguments of tools. Span
and event get `gen_ai.input.messages_ref` and its like, as from the hook that the instrumentations bring along. The
interface is that of opentelemetry-util-genai.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from opentelemetry.util.genai.completion_hook import CompletionHook
from opentelemetry.util.genai.types import BlobPart, InputMessage, MessagePart, OutputMessage, ToolDefinition, UriPart
from opentelemetry.util.genai.utils import gen_ai_json_dumps

from fsmedia.errors import InvalidMediaError, MediaError
from fsmedia.exchange.uploader import BackgroundUploader, logged_failure, span_metadata, timeout_of
from fsmedia.format import messages
from fsmedia.format.messages import Change
from fsmedia.models.urls import read_data_url

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from os import PathLike

    from opentelemetry._logs import LogRecord
    from opentelemetry.trace import Span

    from fsmedia.models import MediaMetadata

_REFERENCES = {
    "inputs": "gen_ai.input.messages_ref", "outputs": "gen_ai.output.messages_ref",
    "system_instruction": "gen_ai.system_instructions_ref", "tool_definitions": "gen_ai.tool.definitions_ref",
}  # fmt: skip


class StoreCompletionHook(CompletionHook):
    """Stores the inputs and outputs of LLM calls; a `CompletionHook` that takes what `BackgroundUploader` takes.

    MediaError if the store can't be opened. Later trouble is logged and reaches nobody.
    """

    def __init__(self, url: str | PathLike[str] | None = None, **options: Any) -> None:
        self._uploader = BackgroundUploader(url, **options)

    def on_completion(
        self,
        *,
        inputs: list[InputMessage],
        outputs: list[OutputMessage],
        system_instruction: list[MessagePart],
        tool_definitions: list[ToolDefinition] | None = None,
        span: Span | None = None,
        log_record: LogRecord | None = None,
        **_: Any,
    ) -> None:
        """Queue everything and name it on span and event; what was refused is not named."""
        with logged_failure("a completion was not kept"):
            call = _Call(self._uploader, span_metadata(span, getattr(log_record, "attributes", None)))
            documents = {
                "inputs": call.messages(inputs, 0),
                "outputs": call.messages(outputs, len(inputs or ())),
                "system_instruction": call.parts(system_instruction, 0),
                "tool_definitions": [call.named(asdict(each), 0, 0) for each in tool_definitions or ()],
            }
            found = {_REFERENCES[name]: call.document(value) for name, value in documents.items() if value}
            references = {name: url for name, url in found.items() if url is not None}
            if span is not None:
                span.set_attributes(references)
            if log_record is not None:
                log_record.attributes = {**(log_record.attributes or {}), **references}

    def flush(self, timeout: timedelta) -> bool:
        """Wait until all is stored; False if that took longer."""
        return self._uploader.flush(timeout)

    def shutdown(self, *, timeout_sec: float = 10.0) -> None:
        """Store what is queued, within the timeout, and take nothing any more."""
        self._uploader.shutdown(timeout_of(timeout_sec))


class _Call:
    def __init__(self, uploader: BackgroundUploader, metadata: MediaMetadata) -> None:
        self._uploader = uploader
        self._metadata = metadata

    def messages(self, messages: Sequence[InputMessage | OutputMessage] | None, first: int) -> list[dict[str, Any]]:
        """Return messages with their media handed over; `first` is the index of the first of them."""
        return [
            {**asdict(replace(each, parts=[])), "parts": self.parts(each.parts, index)}
            for index, each in enumerate(messages or (), first)
        ]

    def parts(self, parts: Sequence[MessagePart] | None, message_idx: int) -> list[dict[str, Any]]:
        """Return the parts of a message with their media handed over; what is refused stays as it is."""
        numbered = enumerate(parts or ())
        return [
            self.named(asdict(self._kept(each, message_idx, index)), message_idx, index) for index, each in numbered
        ]

    def named(self, part: dict[str, Any], message_idx: int, part_idx: int) -> dict[str, Any]:
        """Return a part whose media, of a tool's result say, are handed over and named by their URLs."""
        changes = []
        try:
            # What the part itself holds was looked at already.
            found = [] if part.get("type") in ("blob", "uri") else list(messages.media_fields(part))
        except InvalidMediaError:  # nested too deeply
            return part
        for place in found:
            content = None if place.marker is not None else place.content()
            if content is not None and (url := self._sent(content.data, content.mime_type, message_idx, part_idx)):
                changes.append(Change(place, place.field.key, url))
        named: dict[str, Any] = messages.rewritten(part, changes)
        return named

    def _kept(self, part: MessagePart, message_idx: int, part_idx: int) -> MessagePart:
        if isinstance(part, BlobPart):
            data, mime_type = part.content, part.mime_type
        elif isinstance(part, UriPart) and part.uri[:5].lower() == "data:":
            try:
                mime_type, data = read_data_url(part.uri, max_size=None)
            except MediaError:
                return part
        else:
            return part
        url = self._sent(data, mime_type or "application/octet-stream", message_idx, part_idx)
        return part if url is None else UriPart(mime_type=mime_type, modality=part.modality, uri=url)

    def _sent(self, data: bytes, mime_type: str, message_idx: int, part_idx: int) -> str | None:
        metadata = self._metadata.model_copy(update={"message_idx": message_idx, "part_idx": part_idx})
        return self._uploader.send(data, mime_type, metadata, digest=hashlib.sha256(data).hexdigest())

    def document(self, value: list[dict[str, Any]]) -> str | None:
        """Hand over a JSON document, which is made in the background of what is already a copy."""

        def made() -> bytes:
            return bytes(gen_ai_json_dumps(value), "utf-8", "surrogatepass")

        return self._uploader.make(made, _weight(value), "application/json", self._metadata)


def _weight(value: object) -> int:
    """Return about how many bytes a value holds: its texts, and what stayed inline."""
    if isinstance(value, dict):
        return sum(_weight(each) for each in value.values())
    if isinstance(value, list | tuple):
        return sum(_weight(each) for each in value)
    return len(value) if isinstance(value, str | bytes) else 8


def completion_hook() -> StoreCompletionHook:
    """Return a hook to the store of `$FSMEDIA_URL`; found as entry point `fsmedia`."""
    return StoreCompletionHook()
