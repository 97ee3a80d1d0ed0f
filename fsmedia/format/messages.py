"""Messages of LLM APIs: the fields that hold media, base64 in its usual spellings, and references in their place.

From the bottom up: the table of the fields that hold base64 (`_SHAPES`) and what is media elsewhere (`fields_of`),
base64 that is written again as it was (`decoded`, `encoded`), the reference that stands in its place
(`InlineReference`), the walk over a document and the JSON text in its strings (`media_fields`), and the document, or
its text, with other fields and everything else as it was (`rewritten`). Nothing is recursive, so no depth of nesting
breaks it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from hashlib import sha256
from itertools import chain, pairwise
from operator import getitem
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from fsmedia.errors import InvalidMediaError
from fsmedia.format import wav
from fsmedia.models import mime
from fsmedia.models.urls import valid_mime_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    _Text = str | bytes | bytearray | memoryview | list[int]

LARGE = 10_000
"""Characters of base64 from which a field of an unknown shape is media, and what stays is reported."""
STORED = "storage_reference"
_PROMPTKIT = "media"
_OCTETS = "application/octet-stream"
_SOUND = "input_audio output_audio audio"
_TYPE_FIELDS = ("media_type", "mime_type", "mimeType", "MIMEType", "mediaType")
_AUDIO_FORMATS = {
    "wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "opus": "audio/ogg", "aac": "audio/aac",
    "ogg": "audio/ogg", "m4a": "audio/mp4", "webm": "audio/webm", "pcm16": "audio/pcm", "pcm": "audio/pcm",
}  # fmt: skip


class _Shape(NamedTuple):
    """Fields of one name that hold base64: how they are told from others, and their type where nothing else says it.

    `types` are values of `type` beside the field, `under` names of the field that their object is the value of; one of
    both must fit where any is given. `typed`: a MIME type must stand beside it. `marked`: the bytes must begin with a
    magic number, for the field holds names and addresses too. A string in a list has the name `*`.
    """

    name: str
    types: str = ""
    under: str = ""
    typed: bool = False
    marked: bool = False
    fallback: str = _OCTETS


# What holds a data: URL needs no row, and neither does what stands beside a MIME type and begins with a magic number.
_SHAPES = (
    # Gemini, Anthropic, MCP, LangChain v0, pydantic-ai, Vercel AI SDK, PromptKit
    _Shape("data", typed=True),
    # OpenAI Chat and Responses, of which Qwen has the first too
    _Shape("data", types=_SOUND, under=_SOUND, fallback="audio/pcm"),
    _Shape("file_data"),
    _Shape("result", types="image_generation_call", fallback="image/png"),
    # Realtime of OpenAI (24 kHz mono if nothing else is said), Qwen and Mistral; OpenAI's speech; Nova Sonic
    _Shape("audio", types=f"{_SOUND} input_audio_buffer.append session.input_audio_buffer.append input_audio.append "
           "session.input_audio.append speech.audio.delta", fallback="audio/pcm"),
    _Shape("delta", types="response.audio.delta response.output_audio.delta session.output_audio.delta",
           fallback="audio/pcm"),
    _Shape("content", under="audioInput audioOutput", fallback="audio/pcm"),
    # OpenAI Images, Vertex AI, Gemini
    _Shape("b64_json", fallback="image/png"), _Shape("partial_image_b64", fallback="image/png"),
    _Shape("bytesBase64Encoded"), _Shape("imageBytes", typed=True), _Shape("image_bytes", typed=True),
    _Shape("videoBytes", typed=True), _Shape("video_bytes", typed=True),
    # MCP; LangChain v1, Claude Code; Bedrock Converse and A2A before 1.0; A2A; OTel GenAI
    _Shape("blob"), _Shape("base64"), _Shape("bytes", under="source file"), _Shape("raw", typed=True),
    _Shape("content", types="blob"),
    # Mistral; ElevenLabs, Google
    _Shape("input_audio", types=_SOUND), _Shape("audio_data"), _Shape("image_base64"), _Shape("audio_base64"),
    _Shape("audioContent"),
    # Vercel AI SDK, Qwen; Ollama, Titan
    _Shape("image", types="image input_image_buffer.append", marked=True),
    _Shape("*", under="images", marked=True),
)  # fmt: skip
_BY_NAME: dict[str, list[_Shape]] = {}
for _shape in _SHAPES:
    _BY_NAME.setdefault(_shape.name, []).append(_shape)


class _UrlShape(NamedTuple):
    """How a field that holds base64 is written with a URL in it.

    `name` becomes `url`. `beside` is a field beside it, with the values it may have and the one that it gets (the same
    if none is given); `typed` one that must be there too, and `without` one that goes. An object that is the value of
    `under` gets the name `renamed`.
    """

    name: str
    url: str
    beside: str = ""
    values: str = ""
    value: str = ""
    typed: str = ""
    without: str = ""
    under: str = ""
    renamed: str = ""


_BLOCKS = "image audio video file document"
# The first that fits counts. What holds a data: URL takes another URL, but for `file_data`; Bedrock, Ollama, MCP and
# sound of OpenAI take none.
_URL_SHAPES = (
    _UrlShape("data", "file_uri", under="inline_data", renamed="file_data"),  # Gemini
    _UrlShape("data", "fileUri", under="inlineData", renamed="fileData"),
    _UrlShape("data", "url", "type", "base64", "url", typed="media_type", without="media_type"),  # Anthropic
    _UrlShape("data", "url", "source_type", "base64", "url"),  # LangChain v0
    _UrlShape("data", "uri", "type", _BLOCKS, typed="mime_type"),  # Gemini Interactions
    _UrlShape("base64", "url", "type", _BLOCKS),  # LangChain v1
    _UrlShape("file_data", "file_url", "type", "input_file", without="filename"),  # OpenAI Responses
    _UrlShape("input_audio", "input_audio", "type", "input_audio"),  # Mistral
    _UrlShape("bytes", "uri", under="file"), _UrlShape("raw", "url", typed="mediaType"),  # A2A before 1.0, A2A
    _UrlShape("content", "uri", "type", "blob", "uri"),  # OTel GenAI
    _UrlShape(STORED, "url", under=_PROMPTKIT),
)  # fmt: skip


class Field(NamedTuple):
    """One field that may hold a media item: its name or index, and the MIME type that stands beside it, if any.

    A `known` one holds media by its name, others by what they hold. `replaced` is the name that it gets with a
    reference in it, where that is another; `fallback` the type where neither the object nor the bytes tell. One that is
    `left` stays as it is: its name stands twice, and nobody can tell which is meant, or it is a list of numbers.
    """

    key: str | int
    mime_type: str = ""
    known: bool = True
    marked: bool = False
    replaced: str | None = None
    fallback: str = _OCTETS
    left: bool = False


class _Said(NamedTuple):
    """What an object says of its fields: its `type`, and a MIME type, in a field that is for one or in any."""

    type: str
    typed: str | None
    beside: str


_TYPE_LIKE = re.compile(r"(?:image|audio|video|application|text|font|model)/[!-~][ -~]{0,200}")


def fields_of(
    values: Mapping[str, Any] | Sequence[Any], under: str | None, above: Mapping[str, Any]
) -> Iterator[Field]:
    """List the fields of an object, or the items of a list, that may hold media.

    It is the value of the field `under`, in the object `above`.
    """
    named = values if isinstance(values, Mapping) else {}
    said = _said(named)
    if said.type == "Buffer" and isinstance(named.get("data"), list):  # as Node.js writes bytes
        yield Field("data", left=True)
    for key, text in named.items() or enumerate(values):
        if not isinstance(text, _TEXTS) or (named and not isinstance(key, str)):
            continue
        if getattr(values, "repeats", False):
            if _is_large(text):
                yield Field(key, left=True)
            continue
        field = _promptkit(key, values, under, said) or _known(key, values, under, above, said)
        if field is not None and not field.marked:
            yield field
        elif _may_be_media(text, told=field is not None or said.typed is not None or said.beside != ""):
            yield Field(key, said.typed or said.beside, known=False)


def _said(values: Mapping[str, Any]) -> _Said:
    kind = values.get("type")
    typed: str | None = next((said for key in _TYPE_FIELDS if isinstance(said := values.get(key), str) and said), None)
    if typed is not None:
        typed = "" if typed.endswith("/*") else _valid(typed)  # the Vercel AI SDK lets image/* stand for any
    texts = [text for text in values.values() if isinstance(text, str) and _TYPE_LIKE.fullmatch(text)]
    return _Said(kind if isinstance(kind, str) else "", typed, next((text for text in texts if _valid(text)), ""))


def _valid(said: str) -> str | None:
    try:
        return mime.check(said)
    except InvalidMediaError:
        return None


def _is_part(values: Any) -> bool:
    return isinstance(values, JsonObject) and values.is_part


def _promptkit(key: str | int, values: Any, under: str | None, said: _Said) -> Field | None:
    """Return the field of PromptKit's `media` that holds base64, or its reference, under either name."""
    fits = said.typed and key in ("data", STORED) and ("data" in values) != (STORED in values)
    # Of an object that is read in parts, media are taken out under their own name, but put back from the other.
    fits = under == _PROMPTKIT and (key == STORED if _is_part(values) else fits)
    return Field(key, said.typed or "", replaced=STORED) if fits else None


def _known(key: str | int, values: Any, under: str | None, above: Mapping[str, Any], said: _Said) -> Field | None:
    """Return the field if the table has it."""
    for shape in _BY_NAME.get(key if isinstance(key, str) else "*", ()):
        told = shape.types or shape.under
        if told and said.type not in shape.types.split() and under not in shape.under.split():
            continue
        if not shape.typed or (said.typed is not None and said.type != "text"):
            kind = said.typed or _named_type(shape, values, above if under == "source" else {}) or said.beside
            return Field(key, kind, marked=shape.marked, fallback=shape.fallback)
    return None


def _named_type(shape: _Shape, values: Any, above: Mapping[str, Any]) -> str:
    """Return the MIME type that a format or the name of a file says; Bedrock has the format one level up."""
    for each in (values, above) if isinstance(values, Mapping) else ():
        for name in ("format", "output_format"):
            if isinstance(form := each.get(name), str):
                sound = _AUDIO_FORMATS.get(form.lower()) if shape.fallback == "audio/pcm" else None
                if found := sound or mime.guess_from_name(f".{form}"):
                    return found
    file = values.get("filename") if isinstance(values, Mapping) else None
    return (mime.guess_from_name(file) if isinstance(file, str) else None) or ""


def _may_be_media(text: _Text, *, told: bool) -> bool:
    """Return whether a field that no table knows is worth a look: a large one, a URL, or a magic number if `told`."""
    if _is_large(text):
        return True
    if not isinstance(text, str):
        return told and _is_marked(bytes(text[:64]))
    if text[:5].lower() == "data:" or text.startswith("media://"):
        return True
    if not told or len(text) < 16 or not _LOOKS.fullmatch(text):
        return False
    try:
        start = text[:96].translate(_PLAIN)
        return _is_marked(base64.b64decode(start[: len(start) // 4 * 4]))
    except binascii.Error:
        return False


def _is_large(text: _Text) -> bool:
    return len(text) * (3 if isinstance(text, str) else 4) >= LARGE * 3


def _is_marked(head: bytes) -> bool:
    """Return whether bytes begin with a magic number that random ones would not begin with."""
    # Two bytes are too few, but frames of MP3 and AAC all begin with the same two.
    is_sure = head[:2] not in _SHORT_MAGIC or (head[:1] == b"\xff" and head.count(head[:2]) >= _FRAMES)
    return is_sure and mime.detect(head) is not None


_FRAMES = 3
_TEXTS = (str, bytes, bytearray, memoryview)
_PLAIN = str.maketrans("-_", "+/", "\r\n")
_SHORT_MAGIC = {b"\xff" + bytes([each]) for each in (0x0A, *range(0xE0, 0x100))}
_SHORT_MAGIC |= {b"MZ", b"%!", b"\x0bw", b"\x1f\x9d", b"\x1f\xa0"}


# -- base64 ------------------------------------------------------------------------------------------------

_QUOTED = {"quoted": "", "path": "/", "component": "!*'()", "uri": ";,/?:@&=+$!*'()#"}  # what is left as it is
_PERCENT = rf"\+(?:{'|'.join(_QUOTED)})"
SPELLING = re.compile(
    r"(?:raw|text|percent" + _PERCENT + r"|b64(?:url)?(?:\+bare)?(?:\+[1-9][0-9]{0,3}[nr])?(?:\+end)?"
    r"(?:" + _PERCENT + r")?(?:\+any)?)(?:\+(?:slash|plus|equals)[1-4]?)*"
)
_LONGEST_PERCENT = 1_000_000  # urllib takes many times the text
RAW = "raw"
"""Bytes in a parsed document, as SDKs hand them over."""
_ANY = "+any"  # stood in a field of no known name
_LOOKS = re.compile(r"[A-Za-z0-9+/_\-\r\n]+={0,2}(?:\r?\n)?")
_LONGEST_LINE = 9999


class DecodedText(NamedTuple):
    """Bytes that were read from base64, and its spelling."""

    data: bytes
    spelling: str


def decoded(text: str) -> DecodedText | None:
    """Read base64 in any usual spelling; None for what is none, or would not be the same when written again."""
    if not text or not _LOOKS.fullmatch(text):
        return None
    url = "-" in text or "_" in text
    lines = text.replace("\r\n", "\n")
    body = lines.replace("\n", "")
    if not body or "\r" in body:
        return None
    bare = body.rstrip("=")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_" if url else None, validate=True)
    except (binascii.Error, ValueError):
        return None
    spelling = "b64url" if url else "b64"
    if len(bare) % 4 and body == bare:
        spelling += "+bare"
    width = lines.find("\n")
    if 0 < width < len(body) and width <= _LONGEST_LINE:
        spelling += f"+{width}{'r' if chr(13) in text else 'n'}"
    elif "\r" in text:
        spelling += f"+{_LONGEST_LINE}r" if len(body) <= _LONGEST_LINE else ""
    if lines.endswith("\n"):
        spelling += "+end"
    return DecodedText(data, spelling) if encoded(data, spelling) == text else None


def encoded(data: bytes, spelling: str) -> str:
    """Write bytes in a spelling; that of slashes in JSON text is left to whoever writes JSON."""
    kind, *odd = spelling.split("+")
    if kind == "text":
        return data.decode("utf-8", "surrogatepass")
    safe = next((_QUOTED[each] for each in odd if each in _QUOTED), None)
    if kind == "percent":
        return quote(data, safe=safe or "")
    text = (base64.urlsafe_b64encode if kind == "b64url" else base64.b64encode)(data).decode("ascii")
    if "bare" in odd:
        text = text.rstrip("=")
    ending = "\n"
    for each in odd:
        if each[0].isdigit():
            ending = "\r\n" if each[-1] == "r" else "\n"
            width = int(each[:-1])
            text = ending.join(text[start : start + width] for start in range(0, len(text), width))
    text = text + ending if "end" in odd else text
    return text if safe is None else quote(text, safe=safe)


def decoded_url(body: str, *, is_base64: bool) -> DecodedText | None:
    """Read what stands behind the comma of a data: URL, base64 or text, percent-encoded or not; None as `decoded`."""
    if "%" not in body:
        return decoded(body) if is_base64 else DecodedText(body.encode("utf-8", "surrogatepass"), "text")
    if len(body) > _LONGEST_PERCENT or not body.isascii():
        return None
    found = decoded(unquote(body)) if is_base64 else DecodedText(unquote_to_bytes(body), "percent")
    spelled = [found._replace(spelling=f"{found.spelling}+{name}") for name in _QUOTED] if found is not None else []
    return next((each for each in spelled if encoded(*each) == body), None)


# -- references in the place of media ----------------------------------------------------------------------

_HEAD = r"data:[ -\"$-+\--~]{0,250}"  # printable ASCII but comma and hash, so that nothing is read two ways
_MARKER = re.compile(
    rf"media://(?P<reference>.+)#fsmedia=1;sha256=(?P<digest>[0-9a-f]{{64}});as=(?P<spelling>{SPELLING.pattern})"
    rf"(?:;head=(?P<head>(?i:{_HEAD})))?",
    re.DOTALL,
)
HEAD = re.compile(_HEAD, re.IGNORECASE)


class InlineReference(NamedTuple):
    """Reference to a stored media item in the place of its bytes, with their SHA-256 and spelling.

    `head` is that of a data: URL, up to its comma; None where the text was base64 alone.
    """

    reference: str
    digest: str
    spelling: str
    head: str | None = None

    def __str__(self) -> str:
        head = "" if self.head is None else f";head={self.head}"
        return f"media://{self.reference}#fsmedia=1;sha256={self.digest};as={self.spelling}{head}"

    @classmethod
    def parse(cls, text: str) -> InlineReference | None:
        """Read one; None for every other text."""
        if not text.startswith("media://") or "#fsmedia=1;" not in text:
            return None
        if (found := _MARKER.fullmatch(text)) is None:
            return None
        marker = cls(found["reference"], found["digest"], found["spelling"], found["head"])
        return marker if str(marker) == text else None


# -- documents ---------------------------------------------------------------------------------------------

DEEPEST = 256
"""Levels of nesting; deeper ones are no messages, or an object that holds itself."""
_MESSAGE_LISTS = {"messages", "Messages", "input", "output", "contents", "items", "history", "conversation"}
_HEAD_BYTES = 4096
Path = tuple[str | int, ...]


class JsonText:
    """JSON text: that of a document, or that in a string of one, and of one in that."""

    def __init__(self, text: str, outer: JsonText | None = None, path: Path = (), depth: int = 0) -> None:
        self.text, self.outer, self.path, self.depth = text, outer, path, depth

    @cached_property
    def _escapes(self) -> tuple[array[int], array[int]]:
        """Where each escape ends in this text, and how many characters more all up to it take outside."""
        ends, shifts, shift = array("q"), array("q"), 0
        if self.outer is not None and isinstance(self.text, JsonString):
            first = self.text.start + 1
            for found in _ESCAPE.finditer(self.outer.text, first, self.text.end - 1):
                shift += len(found[0]) - 1
                ends.append(found.end() - first - shift)
                shifts.append(shift)
        return ends, shifts

    def outward(self, position: int) -> int:
        """Return where a position of this text stands in the one that it is a string of."""
        ends, shifts = self._escapes
        count = bisect_right(ends, position)
        first = self.text.start + 1 if isinstance(self.text, JsonString) else 0
        return first + position + (shifts[count - 1] if count else 0)

    @property
    def chain(self) -> list[JsonText]:
        """Itself and the texts around it, the outermost last."""
        found = [self]
        while (outer := found[-1].outer) is not None:
            found.append(outer)
        return found


_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)")


class InlineMedia(NamedTuple):
    """The media item in a field: its bytes, their MIME type, and how to write them again."""

    data: bytes
    mime_type: str
    spelling: str
    head: str | None

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class MediaField:
    """One field of a document that may hold a media item, or a reference in its place: its object and what it holds.

    `source` is the JSON text that it stands in; None in a parsed document. `above` is the object that its object is in.
    """

    path: Path
    values: Mapping[str, Any] | Sequence[Any]
    field: Field
    text: _Text
    source: JsonText | None
    above: Mapping[str, Any]

    @property
    def where(self) -> str:
        """The place as people write it: `$.messages[3].content[1].source.data`; in JSON text in a string behind a >."""
        return " > ".join(map(json_path, self.paths))

    @property
    def paths(self) -> list[Path]:
        """The path, after those of the strings whose JSON text it is in, the outermost first."""
        around = self.source.chain if self.source is not None else []
        # A document's text has no place of its own; that in a string of a parsed document has.
        return [*(each.path for each in reversed(around) if each.path), self.path]

    @property
    def marker(self) -> InlineReference | None:
        """The reference that stands here; None if none does."""
        found = InlineReference.parse(self.text) if isinstance(self.text, str) else None
        if found is None or self.field.left:
            return None
        # Base64 alone was only taken out of a field of another name with a word about it: others may quote a reference.
        told = self.field.known or found.head is not None or _ANY in found.spelling or found.spelling == RAW
        # What else stands in the object may be in another part of it.
        told = told or (_is_part(self.values) and self.field.key in _BY_NAME)
        return found if told else None

    def content(self) -> InlineMedia | None:
        """Return the media item in the field; None if there is none, or one that could not be put back as it is."""
        text = self.text
        if self.field.left or not text or (self.field.key != "data" and self.field.replaced is not None):
            return None  # the last is PromptKit's own reference
        if not isinstance(text, str):
            return self._accepted(DecodedText(text, RAW)) if isinstance(text, bytes) else None
        head, comma, body = text.partition(",") if text[:5].lower() == "data:" else ("", "", text)
        if head == "":
            return self._accepted(decoded(text))
        if not comma or not HEAD.fullmatch(head):
            return None
        is_base64 = head[-7:].lower() == ";base64"
        kind = unquote(head[len("data:") : -7 if is_base64 else None])
        found = decoded_url(body, is_base64=is_base64) if is_base64 or "/" in kind else None
        if found is None or not found.data:
            return None
        if kind[:1] in ("", ";"):
            told = kind == "" and (self.field.mime_type or mime.detect(found.data[:_HEAD_BYTES]))
            kind = told or f"text/plain{kind}"
        said = valid_mime_type(kind) or valid_mime_type(kind.partition(";")[0])
        return self._typed(found, said or self.field.mime_type, head) if said or is_base64 else None

    def _accepted(self, found: DecodedText | None) -> InlineMedia | None:
        """Return what a field holds that is no URL, if its name or its content says that it is a media item."""
        if found is None or (self.field.known and not _is_part(self.values)):
            return found and self._typed(found, self.field.mime_type, None)
        told = self.field.known or (self.field.mime_type and _is_large(self.text))
        if not told and not _is_marked(found.data[:_HEAD_BYTES]):
            return None
        spelling = found.spelling if found.spelling == RAW else f"{found.spelling}{_ANY}"
        return self._typed(found._replace(spelling=spelling), self.field.mime_type, None)

    def _typed(self, found: DecodedText, said: str, head: str | None) -> InlineMedia | None:
        mime_type = said or mime.detect(found.data[:_HEAD_BYTES]) or self.field.fallback
        try:
            wav.pcm_format(mime_type, None)
        except InvalidMediaError:
            return None  # raw sound with parameters that mean nothing: no store would take it
        return InlineMedia(found.data, mime_type, found.spelling, head)

    @property
    def is_large(self) -> bool:
        """Whether so much of the field is base64, or bytes, that it is worth a word where it stays."""
        text = self.text
        if not _is_large(text):
            return False
        return not isinstance(text, str) or text[:5].lower() == "data:" or _LONG_RUN.search(text) is not None

    @property
    def escapes(self) -> str | None:
        """How JSON text spells the field's string: empty if plainly; None if it could not be written again."""
        if self.source is None or not isinstance(self.text, JsonString):
            return ""
        start, end, made, flags = self.text.start + 1, self.text.end - 1, str(self.text), ""
        for level, each in enumerate(self.source.chain):
            raw, made = each.text[start:end], json.dumps(made)[1:-1]
            if raw != made:
                for name, (plain, escaped) in _SPELLED.items():
                    if escaped in raw:
                        flags += f"+{name}{level or ''}"
                        made = made.replace(plain, escaped)
            if raw != made:
                return None
            if each.outer is not None:
                start, end = each.outward(start), each.outward(end)
        return flags

    @property
    def has_plain_name(self) -> bool:
        """Whether the field's name, where it will be another, is spelled plainly."""
        if self.field.replaced is None or self.source is None or not isinstance(self.values, JsonObject):
            return True
        name = self.values.names[str(self.field.key)]
        return replace(self, text=name).escapes == ""

    @property
    def indices(self) -> tuple[int | None, int | None]:
        """Which message and which part it is in, as far as the path says so."""
        message = part = None
        path: Path = tuple(chain.from_iterable(self.paths))
        for name, number in pairwise(path):
            if not isinstance(number, int):
                continue
            if message is None and name in _MESSAGE_LISTS:
                message = number
            elif part is None and isinstance(name, str):
                part = number
        if message is None and path and isinstance(path[0], int):
            message = path[0]
        return message, part


# From the start of a run only: else each of its characters would be a new start, and the search quadratic.
_LONG_RUN = re.compile(rf"(?<![A-Za-z0-9+/_=\r\n-])[A-Za-z0-9+/_=\r\n-]{{{LARGE}}}")
_EMBEDDED = 4  # levels of JSON text in strings, of which each escapes anew


def json_path(path: Path) -> str:
    """Return a path in the notation of JSONPath, shortened for messages."""
    parts = [f"[{each}]" if isinstance(each, int) else f".{each}" for each in path]
    text = "".join(part if part[0] == "[" or part[1:].isidentifier() else f"[{json.dumps(part[1:])}]" for part in parts)
    return f"${text}" if len(text) <= 300 else f"$...{text[-250:]}"


class Node(NamedTuple):
    """An object or list of a document, its place, and what is told by what it is in."""

    path: Path | None  # None for the list that holds the document
    value: Any
    under: str | None = None
    above: Mapping[str, Any] = MappingProxyType({})
    source: JsonText | None = None
    first: int = 0  # the index that the first item of a list has, of which others went before

    def at(self, key: str | int) -> Path:
        """Return the place of a field or item in it."""
        return () if self.path is None else (*self.path, key if isinstance(key, str) else self.first + key)


def media_fields(document: Any, source: JsonText | None = None) -> Iterator[MediaField]:
    """List the fields of a document that may hold media, in its order; InvalidMediaError if it is nested too deeply.

    `source` is the text that it was read from. JSON text in its strings is looked through too.
    """
    yield from fields_under(Node(None, [document], source=source))


def fields_under(node: Node) -> Iterator[MediaField]:
    """List the fields of one object or list, and of all in it, as `media_fields` does those of a document."""
    waiting: list[Iterator[Node | MediaField]] = [_contents(node)]
    while waiting:
        if (found := next(waiting[-1], None)) is None:
            waiting.pop()
        elif isinstance(found, MediaField):
            yield found
        elif found.path is not None and len(found.path) > DEEPEST:
            raise InvalidMediaError(f"the document is nested over {DEEPEST} levels deep, or holds itself")
        else:
            waiting.append(_contents(found))


_CONTAINERS = (dict, list, tuple)


def _contents(node: Node) -> Iterator[Node | MediaField]:
    """Give what is in an object or list: JSON text in its strings, its fields, and the objects and lists in it."""
    value = node.value
    above = value if isinstance(value, dict) else {}
    read = set()
    # One after the other: the paths of all at once would be many times the text.
    for key, each in above.items() or enumerate(value):
        if isinstance(each, str) and (inner := _embedded(each, node, key)) is not None:
            read.add(key)
            yield inner
    for field in fields_of(value, node.under, node.above):
        if field.key not in read:
            yield MediaField(node.at(field.key), value, field, value[field.key], node.source, node.above)
    for key, each in above.items() or enumerate(value):
        if isinstance(each, _CONTAINERS) and (not above or isinstance(key, str)):
            # Strings of a list are told by its name, objects in it are not.
            yield Node(node.at(key), each, str(key) if above else None, above, node.source)


def _embedded(text: str, node: Node, key: str | int) -> Node | None:
    """Return the document in a string that is JSON text, None where it is none."""
    if not _LOOKS_LIKE_JSON.match(text) or text.rstrip(" \t\r\n")[-1] not in "}]":
        return None
    depth = 1 if node.source is None else node.source.depth + 1
    # One that went with a piece before has no place in this one.
    if depth > _EMBEDDED or (node.source is not None and not isinstance(text, JsonString)):
        return None
    try:
        return Node((), parse_json(text), source=JsonText(text, node.source, node.at(key), depth))
    except InvalidMediaError:
        return None


_LOOKS_LIKE_JSON = re.compile(r"[ \t\r\n]*[\[{]")


class Change(NamedTuple):
    """What a field is to be called, None if it is to go, what it is to hold, and in JSON text the spelling of that."""

    place: MediaField
    name: str | int | None
    value: str | bytes
    spelling: str = ""


def takes_url(place: MediaField) -> Callable[[str], list[Change]] | None:
    """Return what puts a URL in the place of a reference; None where the API of the message takes none there."""
    values, key, marker = place.values, place.field.key, place.marker
    named = values if isinstance(values, dict) and not _is_part(values) else {}
    for shape in _URL_SHAPES if named else ():
        if shape.renamed and (_is_part(place.above) or shape.renamed in place.above):
            continue  # the name is there twice then, or went with the piece before
        if shape.url != key and shape.url in named:
            continue
        told = (not shape.beside or named.get(shape.beside) in shape.values.split()) and (
            not shape.typed or isinstance(named.get(shape.typed), str)
        )
        if key == shape.name and told and (not shape.under or place.path[-2:-1] == (shape.under,)):
            return partial(_with_url, place, shape)
    if marker is not None and marker.head is not None and key != "file_data":
        return lambda url: [Change(place, key, url)]
    return None


def _with_url(place: MediaField, shape: _UrlShape, url: str) -> list[Change]:
    changes = [Change(place, shape.url, url)]
    for name, called, value in ((shape.beside, shape.beside, shape.value), (shape.without, None, "")):
        text = place.values.get(name) if isinstance(place.values, Mapping) else None
        if isinstance(text, str) and (value or called is None):
            field = replace(place, path=(*place.path[:-1], name), field=Field(name), text=text)
            changes.append(Change(field, called, value))
    if shape.renamed:
        around = replace(place, path=place.path[:-1], values=place.above, field=Field(shape.under), text="")
        changes.append(Change(around, shape.renamed, place.above[shape.under]))
    return changes


def rewritten(document: Any, changes: Iterable[Change], source: JsonText | None = None) -> Any:
    """Return the document, or its text if that is given, with other fields and all else as it was."""
    edits: dict[JsonText, list[Edit]] = {}
    paths: dict[Path, tuple[str | int | None, Any]] = {}
    for change in changes:
        place = change.place
        if place.source is None:
            paths[place.path] = change.name, change.value
        else:
            edits.setdefault(place.source.chain[-1], []).extend(edits_of(change))
    if source is not None:
        return spliced(source.text, edits.get(source, ()))
    for text, found in edits.items():
        paths[text.path] = text.path[-1] if text.path else "", spliced(text.text, found)
    return edited(document, paths)


def edits_of(change: Change) -> Iterator[Edit]:
    """Give the edits of a field's string, and of its name where that is another, in the outermost text."""
    place, key = change.place, change.place.field.key
    pieces: list[tuple[object, object, str]] = [(place.text, change.value, change.spelling)]
    names = place.values.names if isinstance(place.values, JsonObject) else {}
    if change.name is None:
        pieces = [(_member(place, names[str(key)]), "", "")]
    elif change.name != key and names:
        pieces.append((names[str(key)], str(change.name), ""))
    for old, new, spelling in pieces:
        if not isinstance(old, JsonString) or not isinstance(new, str) or place.source is None:
            continue
        start, end, made = old.start + 1, old.end - 1, new
        for level, each in enumerate(place.source.chain):
            made = token(made, spelling, level)
            if each.outer is not None:
                start, end = each.outward(start), each.outward(end)
        yield Edit(start, end, made)


def _member(place: MediaField, name: JsonString) -> JsonString | None:
    """Return a field with the comma behind it, or before it, as what stands between the quotes of a string."""
    if place.source is None or not isinstance(place.text, JsonString):
        return None
    text, found = place.source.text, JsonString()
    start, end = name.start, place.text.end
    if behind := _COMMA.match(text, end):
        end = behind.end()
    else:
        start = text.rindex(",", 0, start)
    found.start, found.end = start - 1, end + 1
    return found


def edited(document: Any, edits: Mapping[Path, tuple[str | int | None, Any]]) -> Any:
    """Return the document with other fields: path -> name and value of the field that takes its place.

    One whose name is None goes.

    What is not on the way to a field is the same object as before; nothing is changed in place.
    """
    if () in edits:
        return edits[()][1]
    # The changes by the depth, and the path, of the object that they are in.
    levels: list[dict[Path, dict[str | int, tuple[str | int | None, Any]]]] = [
        {} for _ in range(max(map(len, edits), default=0))
    ]
    for path, edit in edits.items():
        levels[len(path) - 1].setdefault(path[:-1], {})[path[-1]] = edit
    # From the inside out: an object that changed is a change of the one that it is in.
    for changed in reversed(levels):
        for head, fields in changed.items():
            original = reduce(getitem, head, document)
            pairs = original.items() if isinstance(original, dict) else enumerate(original)
            made: Any = [fields.get(key, (key, value)) for key, value in pairs]
            if isinstance(original, dict):
                made = {name: value for name, value in made if name is not None}
            else:
                made = (tuple if type(original) is tuple else list)(value for _, value in made)
            if not head:
                return made
            outer = levels[len(head) - 1].setdefault(head[:-1], {})
            outer[head[-1]] = (outer.get(head[-1], head[-1:])[0], made)
    return document


# -- JSON text ---------------------------------------------------------------------------------------------

BOM = "\ufeff"
_SPELLED = {"slash": ("/", "\\/"), "plus": ("+", "\\u002B"), "equals": ("=", "\\u003d")}  # as PHP, .NET and Gson write
CHARACTERS = re.compile(r'[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*')
"""What may stand between the quotes of a string."""
TOKEN = re.compile(
    r"[ \t\n\r]*(?:([{}\[\]:,])"
    rf'|("{CHARACTERS.pattern}")'
    r"|(-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|Infinity)|true|false|null|NaN)(?![A-Za-z0-9_.+-]))"
)
BLANK = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")


class JsonString(str):
    """A string of a document, and where its token begins and ends."""

    __slots__ = ("end", "start")

    start: int
    end: int


class JsonObject(dict[str, Any]):
    """An object of a document, the tokens of its names, whether a name stands in it twice, and whether it is a part."""

    __slots__ = ("is_part", "names", "repeats")

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, JsonString] = {}
        self.repeats = self.is_part = False


class Edit(NamedTuple):
    """A piece of a text and its replacement."""

    start: int
    end: int
    text: str


def parse_json(text: str) -> Any:
    """Read JSON text: the document, or, where there are several, a list of them. Numbers and the like are None.

    InvalidMediaError says where it is no JSON, or nested too deeply.
    """
    reader = JsonBuilder()
    position = len(BOM) if text.startswith(BOM) else 0
    while found := TOKEN.match(text, position):
        position = found.end()
        if not reader.token(found):
            raise _broken(text, found.end() - 1, "does not fit here")
    rest = BLANK.match(text, position)
    end = rest.end() if rest else position
    if end < len(text) or reader.open or not reader.documents:
        raise _broken(text, end, "ends too early" if end == len(text) else "can't be read")
    return reader.documents[0] if len(reader.documents) == 1 else reader.documents


def _broken(text: str, position: int, problem: str) -> InvalidMediaError:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return InvalidMediaError(f"no JSON: line {line}, column {column} {problem}", next_step="give a JSON document")


class JsonBuilder:
    """Documents that are made of tokens, one after the other."""

    def __init__(self) -> None:
        self.documents: list[Any] = []
        self.open: list[JsonObject | list[Any]] = []
        self._name: JsonString | None = None
        self._wants = "value"  # also: first (value or ]), name, first name (or }), colon, comma

    def token(self, found: re.Match[str]) -> bool:
        """Take what `TOKEN` found; False where it may not stand, InvalidMediaError where it nests too deeply."""
        mark, string, _ = found.groups()
        if string is not None:
            value = JsonString(json.loads(string) if "\\" in string else string[1:-1])
            value.start, value.end = found.span(2)
            return self.take(value)
        fits = self.mark(mark) if mark is not None else self.take(None)
        if len(self.open) > DEEPEST:
            raise InvalidMediaError(f"the document is nested over {DEEPEST} levels deep", next_step="it is no message")
        return fits

    def take(self, value: Any) -> bool:
        """Take a string, or another value; False where none may stand."""
        if self._wants in ("name", "first name") and isinstance(value, JsonString):
            self._name, self._wants = value, "colon"
            return True
        if self._wants not in ("value", "first"):
            return False
        self._put(value)
        self._wants = "comma" if self.open else "value"
        return True

    def mark(self, mark: str) -> bool:
        """Take a brace, bracket, colon or comma; False where it may not stand."""
        if mark in "{[":
            container: JsonObject | list[Any] = JsonObject() if mark == "{" else []
            fits = self.take(container)
            self.open.append(container)
            self._wants = "first name" if mark == "{" else "first"
            return fits
        if mark == ":":
            fits, self._wants = self._wants == "colon", "value"
            return fits
        if mark == ",":
            fits = self._wants == "comma"
            self._wants = "name" if self.open and isinstance(self.open[-1], JsonObject) else "value"
            return fits
        kind, empty = (JsonObject, "first name") if mark == "}" else (list, "first")
        if not self.open or not isinstance(self.open[-1], kind) or self._wants not in ("comma", empty):
            return False
        self.open.pop()
        self._wants = "comma" if self.open else "value"
        return True

    def _put(self, value: Any) -> None:
        if not self.open:
            self.documents.append(value)
            return
        inner = self.open[-1]
        if isinstance(inner, list):
            inner.append(value)
        elif self._name is not None:
            name = str(self._name)
            inner.repeats = inner.repeats or name in inner
            inner.names[name] = self._name
            inner[name] = value


def token(text: str, spelling: str, level: int = 0) -> str:
    """Return what stands between the quotes of a string, spelled as it was so many levels out."""
    made, flags = json.dumps(text)[1:-1], spelling.split("+")
    for name, (plain, escaped) in _SPELLED.items():
        if f"{name}{level or ''}" in flags:
            made = made.replace(plain, escaped)
    return made


def spliced(source: str, edits: Iterable[Edit]) -> str:
    """Return a text with pieces of it replaced; they must not overlap."""
    parts, position = [], 0
    for edit in sorted(edits):
        parts += [source[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, source[position:]])
