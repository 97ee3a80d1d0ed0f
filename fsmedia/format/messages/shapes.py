"""The parts of messages that hold media: which field of an object, and what its MIME type is.

OpenAI: `image_url` (an object with `url`, or a text), `input_audio`, `file`, `audio`, `image_generation_call`,
Realtime's `audio`, images' `b64_json`. Anthropic: `source`. Gemini: `inlineData` and `inline_data`. PromptKit:
`media`. Whatever else has `data` beside its MIME type (MCP, Gemini's newer parts) is of the same form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.errors import InvalidMediaError
from fsmedia.models import mime

if TYPE_CHECKING:
    from collections.abc import Mapping

URL_FIELDS = ("url", "uri", "image_url", "video_url", "audio_url", "file_url")
_TYPE_FIELDS = ("media_type", "mime_type", "mimeType", "MIMEType")
_ENCODED_FIELDS = {"b64_json": "image/png", "partial_image_b64": "image/png", "bytesBase64Encoded": "", "blob": ""}
_AUDIO_FORMATS = {
    "wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "opus": "audio/ogg", "aac": "audio/aac",
    "ogg": "audio/ogg", "m4a": "audio/mp4", "webm": "audio/webm", "pcm16": "audio/pcm", "pcm": "audio/pcm",
}  # fmt: skip
_AUDIO_PARTS = ("input_audio", "output_audio", "audio")
_PROMPTKIT = "media"
STORED = "storage_reference"


class Field(NamedTuple):
    """One field that may hold a media.

    Attributes
    ----------
    key
        Its name in the object.
    mime_type
        What the object says of it; empty where it says nothing.
    is_url
        Whether it holds a data: URL; else base64 alone.
    is_bare
        Whether it may hold base64 alone too.
    replaced
        The name that the field gets with a reference in it, where that is another.
    fallback
        The type to take where neither the object nor the bytes tell.
    """

    key: str
    mime_type: str = ""
    is_url: bool = False
    is_bare: bool = False
    replaced: str | None = None
    fallback: str = "application/octet-stream"


def fields_of(values: Mapping[str, Any], under: str | None) -> list[Field]:
    """Return the fields of an object that may hold media.

    Parameters
    ----------
    under
        The name of the field that the object is the value of; None for others.
    """
    found = [Field(key, is_url=True) for key in URL_FIELDS if isinstance(values.get(key), str)]
    if isinstance(values.get("file_data"), str):
        name = values.get("filename")
        said = mime.guess_from_name(name) if isinstance(name, str) else None
        found.append(Field("file_data", said or "", is_url=True, is_bare=True))
    data = _data_field(values, under)
    if data is not None:
        found.append(data)
    kind = values.get("type")
    if kind == "image_generation_call" and isinstance(values.get("result"), str):
        output = values.get("output_format")
        named = f"image/{output}" if isinstance(output, str) and output in ("png", "jpeg", "webp") else ""
        found.append(Field("result", named, fallback="image/png"))
    if kind in _AUDIO_PARTS and isinstance(values.get("audio"), str):
        found.append(Field("audio", fallback="audio/pcm"))  # Realtime: its default, 24 kHz mono
    for key, fallback in _ENCODED_FIELDS.items():
        if isinstance(values.get(key), str):
            said = _type_of(values)
            found.append(Field(key, said, fallback=fallback or "application/octet-stream"))
    return found


def _data_field(values: Mapping[str, Any], under: str | None) -> Field | None:
    """Return the field `data`, if something beside it says that it is a media; under PromptKit's other name too."""
    said = _type_of(values)
    if under == _PROMPTKIT and said and ("data" in values) != (STORED in values):
        key = "data" if "data" in values else STORED
        return Field(key, said, replaced=STORED) if isinstance(values[key], str) else None
    if not isinstance(values.get("data"), str) or values.get("type") == "text":
        return None
    if said:
        return Field("data", said)
    form = values.get("format")
    if isinstance(form, str) and form.lower() in _AUDIO_FORMATS and under in _AUDIO_PARTS:
        return Field("data", _AUDIO_FORMATS[form.lower()])
    if under in _AUDIO_PARTS or values.get("type") in _AUDIO_PARTS:
        return Field("data", fallback="audio/pcm")
    return None


def _type_of(values: Mapping[str, Any]) -> str:
    """Return the MIME type that an object says, if it is one."""
    for key in _TYPE_FIELDS:
        said = values.get(key)
        if isinstance(said, str) and said:
            try:
                return mime.check(said)
            except InvalidMediaError:
                return ""
    return ""
