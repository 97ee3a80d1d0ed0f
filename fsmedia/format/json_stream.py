"""JSON text of any length, piece by piece: each with the objects that are whole in it, for `messages.fields_under`.

A piece ends where an object or list begins, or behind a value. Of objects and lists that are open there, what was read
is judged together with the short strings that went before; the innermost that are small wait for the next piece, and
are whole there. A long string is kept in a file: in the piece stand its beginning and its end, enough to judge it.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import re
from hashlib import sha256
from itertools import chain
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from fsmedia.errors import InvalidMediaError
from fsmedia.format import messages
from fsmedia.format.messages import JsonObject, JsonText, Node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

WHOLE = 4 << 20
"""Bytes of text up to which all of it is one piece."""
PIECE = 1 << 20
"""Weight of a piece from which it is cut: its characters, and `_TOKEN` for each token, which is an object in memory."""
LONG = 4 << 20
"""Characters of a string from which it is kept in a file."""
_TOKEN = 64
_READ = 1 << 19
_HEAD, _TAIL = 48 << 10, 64  # of a long string; a multiple of 4, as base64 is
_REMEMBERED, _SHORT = 64, 256  # strings of an object that went before, and their characters
_UNIT = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)|[^\\]", re.DOTALL)
_OPENS_JSON = re.compile(r"(?: |\\[trn])*[\[{]")
_PLAIN = re.compile(r"b64(?:url)?(?:\+(?:bare|any|slash|plus|equals))*")
_SLICE, _LONGEST_ESCAPE = 64 << 10, len("\\u0000")


class LongString(NamedTuple):
    """What stands between the quotes of a long string, in a temporary file."""

    file: IO[bytes]

    def texts(self) -> Iterator[str]:
        """Read it again, in pieces that no character and no escape is cut by."""
        self.file.seek(0)
        decoder, text = codecs.getincrementaldecoder("utf-8")(), ""
        while data := self.file.read(_READ):
            text += decoder.decode(data)
            end = end_of_string(text, 0)
            yield text[:end]
            text = text[end:]

    def decoded(self, head: str | None, spelling: str) -> Decoded | None:
        """Decode base64 behind the head of a data: URL, if there is one; None where this spelling is not that of all.

        `spelling` is that of its beginning and end.
        """
        if not is_plain(spelling):
            return None
        kind, *odd = spelling.split("+")
        plain = f"{kind}+bare" if "bare" in odd else kind
        skip, rest, size, digest = 0 if head is None else len(head) + 1, "", 0, sha256()
        file = TemporaryFile()  # noqa: SIM115 - closed by whoever stores it
        for raw in chain(self.texts(), [None]):
            text = json.loads(f'"{raw}"') if raw is not None else ""
            if raw is not None and messages.token(text, spelling) != raw:
                break
            skipped, text = text[:skip], text[skip:]
            skip -= len(skipped)
            text, rest = rest + text, ""
            if raw is not None:
                cut = max(len(text) - 4, 0) // 4 * 4  # the end may be padded
                text, rest = text[:cut], text[cut:]
            try:
                padded = text + "=" * (-len(text) % 4)
                data = base64.b64decode(padded, altchars=b"-_" if kind == "b64url" else None, validate=True)
            except (binascii.Error, ValueError):
                break
            if messages.encoded(data, plain) != text:
                break
            file.write(data)
            digest.update(data)
            size += len(data)
        else:
            file.seek(0)
            return Decoded(file, digest.hexdigest(), size)
        file.close()
        return None


class Decoded(NamedTuple):
    """The bytes of a long string, in a temporary file."""

    file: IO[bytes]
    digest: str
    size: int


class Piece(NamedTuple):
    """A piece of the text, the objects and lists to judge in it, and its long strings by where they begin."""

    source: JsonText
    nodes: list[Node]
    long: dict[int, LongString]


def pieces(file: BinaryIO) -> Iterator[Piece]:
    """Read JSON text, or JSON Lines, in pieces that are all of it together.

    InvalidMediaError says where it is no JSON, no UTF-8, or nested too deeply.
    """
    reader = _Reader(file)
    try:
        yield from reader.pieces()
    finally:
        reader.close()


def is_plain(spelling: str) -> bool:
    """Return whether base64 of this spelling can be written in pieces: it has no lines, and no percent-encoding."""
    return _PLAIN.fullmatch(spelling) is not None


def end_of_string(text: str, start: int, at_most: int | None = None) -> int:
    """Return where the whole characters and escapes of a string end."""
    found = messages.CHARACTERS.match(text, start, len(text) if at_most is None else at_most)
    return found.end() if found else start


class _Frame(NamedTuple):
    """An object or list that is open: where it begins, what the piece weighed there, and its name."""

    start: int
    weight: int
    name: messages.JsonString | None


class _Reader(messages.JsonBuilder):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file, self._decoder = file, codecs.getincrementaldecoder("utf-8")()
        self._text, self._position, self._tokens = "", 0, 0
        # Lines, and characters of the last of them, that went with pieces before; bytes that were read.
        self._lines = self._columns = self._size = 0
        self._at_end = False
        self._long: dict[int, LongString] = {}
        self._frames: list[_Frame] = []
        # What began in a piece before, and ended in this one.
        self._closed: list[Node] = []
        # How many items of the documents, and of each open list, went with pieces before.
        self._gone: list[int] = [0]

    def close(self) -> None:
        for each in self._long.values():
            each.file.close()

    def pieces(self) -> Iterator[Piece]:
        while self._size <= WHOLE and not self._at_end:
            self._read()
        # One piece is judged as `parse_json` would.
        piece, self._longest = (PIECE, LONG) if self._size > WHOLE else (1 << 62, 1 << 62)
        if self._text.startswith(messages.BOM):
            self._position = len(messages.BOM)
        while self._next():
            is_between = self._wants in ("comma", "first", "first name", "name") or not (
                self._wants == "colon" or (self.open and isinstance(self.open[-1], JsonObject))
            )
            # A single document has another path than the first of many.
            is_told = self.open or self._gone[0] or len(self.documents) > 1
            if self._weight > piece and is_between and is_told:
                yield self._cut(piece // 8)
        self._position = len(self._text)
        if self.open or not (self.documents or self._gone[0]):
            raise self._broken("ends too early")
        yield self._cut(0)

    @property
    def _weight(self) -> int:
        return self._position + _TOKEN * self._tokens

    def _read(self) -> None:
        data = self._file.read(_READ)
        self._at_end = not data
        cut = len(self._decoder.getstate()[0])
        try:
            self._text += self._decoder.decode(data, final=self._at_end)
        except UnicodeDecodeError as error:
            at = self._size - cut + error.start
            raise InvalidMediaError(f"no UTF-8 at byte {at:,}", next_step="give JSON text in UTF-8") from None
        self._size += len(data)

    def _broken(self, problem: str) -> InvalidMediaError:
        lines = self._text.count("\n", 0, self._position)
        column = self._position - self._text.rfind("\n", 0, self._position) + (0 if lines else self._columns)
        return InvalidMediaError(
            f"no JSON: line {self._lines + lines + 1}, column {column} {problem}", next_step="give a JSON document"
        )

    def _next(self) -> bool:
        """Read one token; False at the end."""
        while True:
            blank = messages.BLANK.match(self._text, self._position)
            start = blank.end() if blank else self._position
            found = messages.TOKEN.match(self._text, start)
            if (found.end() if found else len(self._text)) - start > self._longest and self._text[start] == '"':
                self._shorten(start)
                continue
            if found and (found.end() < len(self._text) or self._at_end):
                break
            if self._at_end or len(self._text) - self._position > self._longest:
                self._position = start
                if start < len(self._text) or not self._at_end:
                    raise self._broken("can't be read")
                return False
            self._read()
        opened, name = len(self.open), self._name
        if found[1] in ("}", "]") and self._frames and self._frames[-1].weight < 0:
            self._closed.append(self._node(opened))
        if not self.token(found):
            self._position = found.end() - 1
            raise self._broken("does not fit here")
        if len(self.open) > opened:
            self._frames.append(_Frame(start, self._weight, name))
            self._gone.append(0)
        elif len(self.open) < opened:
            self._frames.pop()
            self._gone.pop()
        self._position = found.end()
        self._tokens += 1
        return True

    def _shorten(self, start: int) -> None:
        """Put the beginning and the end of a long string in its place."""
        file = TemporaryFile()  # noqa: SIM115 - closed with the piece
        self._long[start] = LongString(file)
        text, at, begins, ends = self._text[start + 1 :], 0, list[str](), list[str]()
        length = characters = 0
        self._position = start
        self._text = self._text[: start + 1]
        while text[at : at + 1] != '"':
            end = end_of_string(text, at, at + _SLICE)
            if end == at:
                is_cut = at == len(text) or (text[at] == "\\" and len(text) - at < _LONGEST_ESCAPE)
                if self._at_end or not is_cut:
                    raise self._broken("begins a string that can't be read")
                before, self._text = self._text, text[at:]
                self._read()
                text, self._text, at = self._text, before, 0
                continue
            part = text[at:end]
            units = _UNIT.findall(part) if "\\" in part else part
            begins = begins or list(units[:_HEAD])
            ends = [*ends, *units[-2 * _TAIL :]][-2 * _TAIL :]
            length, characters, at = length + len(units), characters + len(part), end
            file.write(part.encode())
        comma = begins.index(",") + 1 if "".join(begins[:5]).lower() == "data:" and "," in begins else 0
        # As many characters of base64 as are a whole number of bytes stay out between them.
        begins = begins[: comma + (len(begins) - comma) // 4 * 4]
        ends = ends[-(_TAIL + (length - comma) % 4) :]
        # JSON text in a string would be another document without its middle.
        between = ["\\u0000"] if _OPENS_JSON.match("".join(begins)) else []
        shown = "".join([*begins, *between, *ends])
        self._columns += characters - len(shown)
        self._text += shown + text[at:]

    def _cut(self, small: int) -> Piece:
        """End a piece, before the outermost open object or list that is smaller than this."""
        frames = self._frames
        count = next((n for n, each in enumerate(frames) if self._weight - each.weight <= small), len(frames))
        cut = frames[count].start if count < len(frames) else self._position
        source = JsonText(self._text[:cut])
        nodes = [each for each in (*self._closed, *map(self._node, range(count + 1))) if each.value]
        if not self.open and not self._gone[0] and len(self.documents) == 1:
            nodes = [Node(None, self.documents)]
        nodes = [each._replace(source=source) for each in nodes]
        self.documents = list(self.documents)
        for level in range(count + 1):
            self._forget(level, count)
        self._closed = []
        if count < len(frames):
            self._wants, self._name, self._position = "value", frames[count].name, cut
        lines = source.text.count("\n")
        self._lines += lines
        self._columns = cut - source.text.rfind("\n") - 1 + (0 if lines else self._columns)
        self._text = self._text[cut:]
        self._position -= cut
        self._tokens = 0
        self.open, self._gone = self.open[:count], self._gone[: count + 1]
        self._frames = [each._replace(start=0, weight=-(1 << 62)) for each in frames[:count]]
        long = self._long
        self._long = {start - cut: each for start, each in long.items() if start >= cut}
        return Piece(source, nodes, {start: each for start, each in long.items() if start < cut})

    def _forget(self, level: int, count: int) -> None:
        """Let go what was judged of the documents, or of an object or list that stays open, but what tells of more."""
        each = self._containers[level]
        if isinstance(each, JsonObject):
            short = [(k, str(v)) for k, v in each.items() if isinstance(v, str) and len(v) <= _SHORT]
            each.clear()
            each.names.clear()
            each.update(short[:_REMEMBERED])
        else:
            # The one that is open is read again where the piece ends before it.
            self._gone[level] += len(each) - (level == count < len(self.open))
            each.clear()

    @property
    def _containers(self) -> list[Any]:
        return [self.documents, *self.open]

    def _node(self, level: int) -> Node:
        """Return what was read of the documents, or of an open object or list, without what is open in it."""
        path: messages.Path = ()
        containers = self._containers
        for n, each in enumerate(containers[:level]):
            # In a list it is the last, also where it began in a piece before and is in it no more.
            key = str(self._frames[n].name) if isinstance(each, JsonObject) else self._gone[n] + len(each) - 1
            # The first document counts as the only one if it is too long to know.
            path = () if n == 0 and key == 0 else (*path, key)
        is_in_object = level > 0 and isinstance(containers[level - 1], JsonObject)
        under, above = (str(self._frames[level - 1].name), self._values(level - 1)) if is_in_object else (None, {})
        return Node(path, self._values(level), under, above, None, self._gone[level])

    def _values(self, level: int) -> Any:
        each = self._containers[level]
        is_open = level < len(self.open)
        if not isinstance(each, JsonObject):
            return each[: len(each) - 1 if is_open and each else None]
        values = JsonObject()
        values.is_part = True
        values.names, values.repeats = dict(each.names), each.repeats
        values.update({k: v for k, v in each.items() if not (is_open and k == self._frames[level].name)})
        return values
