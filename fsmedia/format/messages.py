"""Messages of LLM APIs: the fields that hold media, base64 in its usual spellings, and references in their place.

From the bottom up: the fields of an object that may hold a media item (`fields_of`), base64 that is written again as it
was (`decoded`, `encoded`), the reference that stands in its place (`InlineReference`), the walk over a document
(`media_fields`, `edited`), and JSON text whose other parts stay as they are (`parse_json`, `spliced`). Nothing is
recursive, so no depth of nesting breaks it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from operator import getitem
from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.errors import InvalidMediaError
from fsmedia.format import wav
from fsmedia.models import mime
from fsmedia.models.urls import valid_mime_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
    """One field that may hold a media item: its name in the object, and the MIME type that the object says, if any.

    It holds base64 alone, or (`is_url`) a data: URL, or (`is_bare` too) either. `replaced` is the name that it gets
    with a reference in it, where that is another; `fallback` the type where neither the object nor the bytes tell.
    """

    key: str
    mime_type: str = ""
    is_url: bool = False
    is_bare: bool = False
    replaced: str | None = None
    fallback: str = "application/octet-stream"


def fields_of(values: Mapping[str, Any], under: str | None) -> list[Field]:
    """Return the fields of an object, which is the value of the field `under`, that may hold media."""
    found = [Field(key, is_url=True) for key in URL_FIELDS if isinstance(values.get(key), str)]
    if isinstance(values.get("file_data"), str):
        name = values.get("filename")
        said = mime.guess_from_name(name) if isinstance(name, str) else None
        found.append(Field("file_data", said or "", is_url=True, is_bare=True))
    if (data := _data_field(values, under)) is not None:
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
            found.append(Field(key, _type_of(values), fallback=fallback or "application/octet-stream"))
    return found


def _data_field(values: Mapping[str, Any], under: str | None) -> Field | None:
    """Return the field `data` if something beside it says that it holds media; under PromptKit's other name too."""
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
    is_sound = under in _AUDIO_PARTS or values.get("type") in _AUDIO_PARTS
    return Field("data", fallback="audio/pcm") if is_sound else None


def _type_of(values: Mapping[str, Any]) -> str:
    """Return the MIME type that an object names, if it is valid."""
    said = next((said for key in _TYPE_FIELDS if isinstance(said := values.get(key), str) and said), "")
    try:
        return said and mime.check(said)
    except InvalidMediaError:
        return ""


# -- base64 ------------------------------------------------------------------------------------------------

SPELLING = re.compile(r"b64(?:url)?(?:\+bare)?(?:\+[1-9][0-9]{0,3}[nr])?(?:\+end)?(?:\+slash)?")
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
    text = (base64.urlsafe_b64encode if kind == "b64url" else base64.b64encode)(data).decode("ascii")
    if "bare" in odd:
        text = text.rstrip("=")
    ending = "\n"
    for each in odd:
        if each[0].isdigit():
            ending = "\r\n" if each[-1] == "r" else "\n"
            width = int(each[:-1])
            text = ending.join(text[start : start + width] for start in range(0, len(text), width))
    return text + ending if "end" in odd else text


# -- references in the place of media ----------------------------------------------------------------------

_HEAD = r"data:[!-\"$-+\--~]{0,250};base64"  # printable ASCII but comma and hash, so that nothing is read two ways
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
    """One field of a document that may hold a media item, or a reference in its place: its object and its text."""

    path: Path
    values: Mapping[str, Any]
    field: Field
    text: str

    @property
    def where(self) -> str:
        """The place as people write it: `$.messages[3].content[1].source.data`."""
        return json_path(self.path)

    @property
    def marker(self) -> InlineReference | None:
        """The reference that stands here; None if none does."""
        found = InlineReference.parse(self.text)
        fits = found and ((found.head is not None) == self.field.is_url or (self.field.is_bare and found.head is None))
        return found if fits else None

    def content(self) -> InlineMedia | None:
        """Return the media item in the field; None if there is none, or one that could not be put back as it is."""
        if self.field.key != "data" and self.field.replaced is not None:
            return None  # PromptKit's own reference
        if not self.field.is_url or (self.field.is_bare and self.text[:5].lower() != "data:"):
            found = decoded(self.text)
            return None if found is None else self._typed(found, self.field.mime_type, None)
        head, comma, body = self.text.partition(",")
        if not comma or not HEAD.fullmatch(head):
            return None
        kind = head[len("data:") : -len(";base64")]
        said = valid_mime_type(f"text/plain{kind}" if kind[:1] in ("", ";") else kind)
        found = decoded(body)
        return None if found is None or said is None else self._typed(found, said, head)

    def _typed(self, found: DecodedText, said: str, head: str | None) -> InlineMedia | None:
        mime_type = said or mime.detect(found.data[:_HEAD_BYTES]) or self.field.fallback
        try:
            wav.pcm_format(mime_type, None)
        except InvalidMediaError:
            return None  # raw sound with parameters that mean nothing: no store would take it
        return InlineMedia(found.data, mime_type, found.spelling, head)

    @property
    def indices(self) -> tuple[int | None, int | None]:
        """Which message and which part it is in, as far as the path says so."""
        message = part = None
        for name, number in zip(self.path, self.path[1:], strict=False):
            if not isinstance(number, int):
                continue
            if message is None and name in _MESSAGE_LISTS:
                message = number
            elif part is None and isinstance(name, str):
                part = number
        if message is None and self.path and isinstance(self.path[0], int):
            message = self.path[0]
        return message, part


def json_path(path: Path) -> str:
    """Return a path in the notation of JSONPath, shortened for messages."""
    parts = [f"[{each}]" if isinstance(each, int) else f".{each}" for each in path]
    text = "".join(part if part[0] == "[" or part[1:].isidentifier() else f"[{json.dumps(part[1:])}]" for part in parts)
    return f"${text}" if len(text) <= 300 else f"$...{text[-250:]}"


def media_fields(document: Any) -> Iterator[MediaField]:
    """List the fields of a document that may hold media, in its order; InvalidMediaError if it is nested too deeply."""
    waiting: list[Iterator[tuple[Path, Any, str | None]]] = [iter([((), document, None)])]
    while waiting:
        if (found := next(waiting[-1], None)) is None:
            waiting.pop()
            continue
        path, value, under = found
        if len(path) > DEEPEST:
            raise InvalidMediaError(f"the document is nested over {DEEPEST} levels deep, or holds itself")
        if isinstance(value, dict):
            yield from _fields_in(path, value, under)
        waiting.append(_children(path, value))


def _children(path: Path, value: Any) -> Iterator[tuple[Path, Any, str | None]]:
    # One after the other: the paths of all at once would be many times the text.
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, dict | list | tuple) and isinstance(key, str):
                yield (*path, key), each, key
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            if isinstance(each, dict | list | tuple):
                yield (*path, number), each, None


def _fields_in(path: Path, values: dict[str, Any], under: str | None) -> Iterator[MediaField]:
    if getattr(values, "repeats", False):
        return  # which of two fields of one name is meant, nobody can tell
    for field in fields_of(values, under):
        if text := values[field.key]:
            yield MediaField((*path, field.key), values, field, text)


def edited(document: Any, edits: Mapping[Path, tuple[str, str]]) -> Any:
    """Return the document with other fields: path -> name and text of the field that takes its place.

    What is not on the way to a field is the same object as before; nothing is changed in place.
    """
    # The changes by the depth, and the path, of the object that they are in.
    levels: list[dict[Path, dict[str | int, tuple[str | int, Any]]]] = [
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
                made = dict(made)
            else:
                made = (tuple if type(original) is tuple else list)(value for _, value in made)
            if not head:
                return made
            levels[len(head) - 1].setdefault(head[:-1], {})[head[-1]] = (head[-1], made)
    return document


# -- JSON text ---------------------------------------------------------------------------------------------

_BOM = "\ufeff"
_SLASH = "+slash"
_TOKEN = re.compile(
    r"[ \t\n\r]*(?:([{}\[\]:,])"
    r'|("[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*")'
    r"|(-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|Infinity)|true|false|null|NaN)(?![A-Za-z0-9_.+-]))"
)
_BLANK = re.compile(r"[ \t\n\r]*")


class JsonString(str):
    """A string of a document, and where its token begins and ends."""

    __slots__ = ("end", "start")

    start: int
    end: int


class JsonObject(dict[str, Any]):
    """An object of a document, the tokens of its names, and whether a name stands in it twice."""

    __slots__ = ("names", "repeats")

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, JsonString] = {}
        self.repeats = False


class Edit(NamedTuple):
    """A piece of a text and its replacement."""

    start: int
    end: int
    text: str


def parse_json(text: str) -> Any:
    """Read JSON text: the document, or, where there are several, a list of them. Numbers and the like are None.

    InvalidMediaError says where it is no JSON, or nested too deeply.
    """
    reader = _JsonBuilder()
    position = len(_BOM) if text.startswith(_BOM) else 0
    while found := _TOKEN.match(text, position):
        position = found.end()
        mark, string, _ = found.groups()
        if string is not None:
            value = JsonString(json.loads(string) if "\\" in string else string[1:-1])
            value.start, value.end = found.span(2)
            fits = reader.take(value)
        else:
            fits = reader.mark(mark) if mark is not None else reader.take(None)
        if not fits:
            raise _broken(text, found.end() - 1, "does not fit here")
        if len(reader.open) > DEEPEST:
            raise InvalidMediaError(f"the document is nested over {DEEPEST} levels deep", next_step="it is no message")
    rest = _BLANK.match(text, position)
    end = rest.end() if rest else position
    if end < len(text) or reader.open or not reader.documents:
        raise _broken(text, end, "ends too early" if end == len(text) else "can't be read")
    return reader.documents[0] if len(reader.documents) == 1 else reader.documents


def _broken(text: str, position: int, problem: str) -> InvalidMediaError:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return InvalidMediaError(f"no JSON: line {line}, column {column} {problem}", next_step="give a JSON document")


class _JsonBuilder:
    def __init__(self) -> None:
        self.documents: list[Any] = []
        self.open: list[JsonObject | list[Any]] = []
        self._name: JsonString | None = None
        self._wants = "value"  # also: first (value or ]), name, first name (or }), colon, comma

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


def slashed(text: str, source: str) -> str | None:
    """Return how a string's token is spelled: empty as in plain JSON, `+slash` with escaped slashes; else None."""
    if not isinstance(text, JsonString):
        return ""
    raw, plain = source[text.start : text.end], json.dumps(str(text))
    if raw == plain:
        return ""
    return _SLASH if raw == plain.replace("/", "\\/") else None


def token(text: str, spelling: str) -> str:
    """Return the token of a string, spelled as it was."""
    plain = json.dumps(text)
    return plain.replace("/", "\\/") if spelling.endswith(_SLASH) else plain


def spliced(source: str, edits: Iterable[Edit]) -> str:
    """Return a text with pieces of it replaced; they must not overlap."""
    parts, position = [], 0
    for edit in sorted(edits):
        parts += [source[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, source[position:]])
