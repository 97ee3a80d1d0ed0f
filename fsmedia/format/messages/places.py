"""Walking over a document: where its media are, in which message and part, and the document with others in place.

Never recursive, so no depth of nesting breaks it; what holds itself is refused by its depth.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.errors import InvalidMediaError
from fsmedia.format import wav
from fsmedia.format.messages.encoding import Decoded, decoded
from fsmedia.format.messages.marker import HEAD, Marker
from fsmedia.format.messages.shapes import Field, fields_of
from fsmedia.models import mime
from fsmedia.models.data_urls import valid_mime_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEEPEST = 256
"""Levels of nesting; deeper ones are no messages, or an object that holds itself."""

_MESSAGE_LISTS = {"messages", "Messages", "input", "output", "contents", "items", "history", "conversation"}
_HEAD_BYTES = 4096

Path = tuple[str | int, ...]


class Content(NamedTuple):
    """The media in a field: its bytes, their MIME type, and how to write them again."""

    data: bytes
    mime_type: str
    spelling: str
    head: str | None

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Place:
    """One field of a document that may hold a media, or a reference in its place.

    Attributes
    ----------
    values
        The object that the field is in.
    text
        What stands in it.
    """

    path: Path
    values: Mapping[str, Any]
    field: Field
    text: str

    @property
    def where(self) -> str:
        """The place as people write it: `$.messages[3].content[1].source.data`."""
        return spelled(self.path)

    @property
    def marker(self) -> Marker | None:
        """The reference that stands here; None if none does."""
        found = Marker.parse(self.text)
        if found is None or (found.head is not None) != self.field.is_url:
            return found if found is not None and self.field.is_bare and found.head is None else None
        return found

    def content(self) -> Content | None:
        """Return the media that stands here; None if none does, or one that could not be put back as it is."""
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

    def _typed(self, found: Decoded, said: str, head: str | None) -> Content | None:
        mime_type = said or mime.detect(found.data[:_HEAD_BYTES]) or self.field.fallback
        try:
            wav.pcm_format(mime_type, None)
        except InvalidMediaError:
            return None  # raw sound with parameters that mean nothing: no store would take it
        return Content(found.data, mime_type, found.spelling, head)

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


def spelled(path: Path) -> str:
    """Write a path as people do."""
    parts = [f"[{each}]" if isinstance(each, int) else f".{each}" for each in path]
    text = "".join(part if part[0] == "[" or part[1:].isidentifier() else f"[{json.dumps(part[1:])}]" for part in parts)
    return f"${text}" if len(text) <= 300 else f"$...{text[-250:]}"  # noqa: PLR2004


def places_of(document: Any) -> Iterator[Place]:
    """Give all places of a document, in its order.

    Raises
    ------
    InvalidMediaError
        It is nested too deeply.
    """
    waiting: list[Iterator[tuple[Path, Any, str | None]]] = [iter([((), document, None)])]
    while waiting:
        found = next(waiting[-1], None)
        if found is None:
            waiting.pop()
            continue
        path, value, under = found
        if len(path) > DEEPEST:
            raise InvalidMediaError(f"the document is nested over {DEEPEST} levels deep, or holds itself")
        if isinstance(value, dict):
            yield from _places_in(path, value, under)
        waiting.append(_inner(path, value))


def _inner(path: Path, value: Any) -> Iterator[tuple[Path, Any, str | None]]:
    """Give what is in an object or list, one after the other: a path of each at once would be many times the text."""
    if isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, dict | list | tuple) and isinstance(key, str):
                yield (*path, key), each, key
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            if isinstance(each, dict | list | tuple):
                yield (*path, number), each, None


def _places_in(path: Path, values: dict[str, Any], under: str | None) -> Iterator[Place]:
    if getattr(values, "repeats", False):
        return  # which of two fields of one name is meant, nobody can tell
    for field in fields_of(values, under):
        text = values[field.key]
        if text:
            yield Place((*path, field.key), values, field, text)


def edited(document: Any, edits: Mapping[Path, tuple[str, str]]) -> Any:
    """Return the document with other fields: path -> name and text of the field that takes its place.

    What is not on the way to a field is the same object as before; nothing is changed in place.
    """
    copies: dict[Path, Any] = {}
    kinds: dict[Path, type] = {}
    for path in edits:
        for length in range(len(path)):
            head = path[:length]
            if head in copies:
                continue
            original = document if not head else copies[head[:-1]][head[-1]]
            kinds[head] = type(original)
            copies[head] = list(original) if isinstance(original, list | tuple) else dict(original)
            if head:
                copies[head[:-1]][head[-1]] = copies[head]
    renamed: dict[Path, dict[str | int, tuple[str, str]]] = {}
    for path, edit in edits.items():
        renamed.setdefault(path[:-1], {})[path[-1]] = edit
    for head, fields in renamed.items():
        items = [fields.get(key, (key, value)) for key, value in copies[head].items()]
        copies[head].clear()
        copies[head].update(items)
    for head in sorted(copies, key=len, reverse=True):
        if kinds[head] is tuple:
            copies[head] = tuple(copies[head])
            if head:
                copies[head[:-1]][head[-1]] = copies[head]
    return copies.get((), document)
