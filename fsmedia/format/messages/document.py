"""JSON text read so that pieces of it can be replaced: every string knows where it stands, all else stays as it is.

Several documents one after the other (JSON Lines) are read as well, and a byte order mark. Numbers are not read at all,
so their spelling is nobody's business; `NaN` and `Infinity`, which many programs write, pass.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.errors import InvalidMediaError
from fsmedia.format.messages.places import DEEPEST

if TYPE_CHECKING:
    from collections.abc import Iterable

_BOM = "\ufeff"
_SLASH = "+slash"
_TOKEN = re.compile(
    r"[ \t\n\r]*(?:([{}\[\]:,])"
    r'|("[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*")'
    r"|(-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|Infinity)|true|false|null|NaN)(?![A-Za-z0-9_.+-]))"
)
_BLANK = re.compile(r"[ \t\n\r]*")


class Text(str):
    """A string of a document, and where its token begins and ends."""

    __slots__ = ("end", "start")

    start: int
    end: int


class Members(dict[str, Any]):
    """An object of a document.

    Attributes
    ----------
    names
        The tokens of its names.
    repeats
        Whether a name stands in it twice.
    """

    __slots__ = ("names", "repeats")

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, Text] = {}
        self.repeats = False


class Edit(NamedTuple):
    """A piece of text, and what takes its place."""

    start: int
    end: int
    text: str


def loaded(text: str) -> Any:
    """Read JSON text: the document, or, where there are several, a list of them. Numbers and the like are None.

    Raises
    ------
    InvalidMediaError
        It is no JSON, or nested too deeply; the text says where.
    """
    reader = _Reader()
    position = len(_BOM) if text.startswith(_BOM) else 0
    while found := _TOKEN.match(text, position):
        position = found.end()
        mark, string, _ = found.groups()
        if string is not None:
            value = Text(json.loads(string) if "\\" in string else string[1:-1])
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


class _Reader:
    """Puts tokens together."""

    def __init__(self) -> None:
        self.documents: list[Any] = []
        self.open: list[Members | list[Any]] = []
        self._name: Text | None = None
        self._wants = "value"  # also: first (value or ]), name, first name (or }), colon, comma

    def take(self, value: Any) -> bool:
        """Take a string, or another value; False where none may stand."""
        if self._wants in ("name", "first name"):
            if not isinstance(value, Text):
                return False
            self._name, self._wants = value, "colon"
            return True
        if self._wants not in ("value", "first"):
            return False
        self._put(value)
        self._after()
        return True

    def mark(self, mark: str) -> bool:
        """Take a brace, bracket, colon or comma; False where it may not stand."""
        if mark in "{[":
            return self._opened(Members() if mark == "{" else [])
        if mark == ":":
            fits, self._wants = self._wants == "colon", "value"
            return fits
        if mark == ",":
            fits = self._wants == "comma"
            self._wants = "name" if self.open and isinstance(self.open[-1], Members) else "value"
            return fits
        kind, empty = (Members, "first name") if mark == "}" else (list, "first")
        if not self.open or not isinstance(self.open[-1], kind) or self._wants not in ("comma", empty):
            return False
        self.open.pop()
        self._after()
        return True

    def _opened(self, container: Members | list[Any]) -> bool:
        if self._wants not in ("value", "first"):
            return False
        self._put(container)
        self.open.append(container)
        self._wants = "first name" if isinstance(container, Members) else "first"
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

    def _after(self) -> None:
        self._wants = "comma" if self.open else "value"


def slashed(text: str, source: str) -> str | None:
    """Tell how a string's token is spelled: empty as JSON writes it, `+slash` with escaped slashes; None otherwise."""
    if not isinstance(text, Text):
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
