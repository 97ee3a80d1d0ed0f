"""One folder of a template: rendered from metadata, and read again from a path.

A segment is made of literals and fields. It trusts that the template was checked: that neighbours can be told apart,
and that no literal alone reaches what is not for media. What a value could reach is prevented here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn

from fsmedia.errors import InvalidMediaError
from fsmedia.format.escapes import PLAIN, escape_id, read_id
from fsmedia.format.keys import DEDUP_INDEX_KEY, INTERNAL, MAX_NAME, VIEWS, is_temporary

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RESERVED", "Kind", "Piece", "Segment", "required_id"]

Kind = Literal["literal", "text", "index", "time"]
_INDEX_DIGITS = 18
_DIGITS = frozenset("0123456789")
_TEXT = frozenset(character for character in map(chr, range(128)) if re.fullmatch(f"[~{PLAIN}]", character))
_TIME_PATTERNS = {
    "%Y": "[0-9]{4}",
    "%m": "(?:0[1-9]|1[0-2])",
    "%d": "(?:0[1-9]|[12][0-9]|3[01])",
    "%H": "(?:[01][0-9]|2[0-3])",
    "%M": "[0-5][0-9]",
    "%S": "[0-5][0-9]",
    "%j": "(?:00[1-9]|0[1-9][0-9]|[12][0-9]{2}|3[0-5][0-9]|36[0-6])",
}
RESERVED = frozenset({INTERNAL, DEDUP_INDEX_KEY, *VIEWS})
"""What the first segment may not be, in any case: it is not media, or media:// shows something else there."""
_FORCED = re.compile(rf"~([0-9a-f]{{2}})([{PLAIN}]*)")


class Piece(NamedTuple):
    """A literal or a field of a segment: `name` is the text or the field, `spec` what stands after the colon."""

    kind: Kind
    name: str
    spec: str = ""

    @property
    def width(self) -> int:
        """The most bytes it can render to; 0 for text, which shares what the others leave."""
        if self.kind == "time":
            return len(self.spec) + 2 * self.spec.count("%Y") + self.spec.count("%j")
        return {"literal": len(self.name), "text": 0, "index": _INDEX_DIGITS}[self.kind]

    @property
    def alphabet(self) -> frozenset[str]:
        """The characters that it can render."""
        if self.kind == "text":
            return _TEXT
        return _DIGITS if self.kind == "index" else _DIGITS | (set(self.spec) & set("-_."))

    def pattern(self, *, alone: bool) -> str:
        """Return the regular expression that parses it; a field other than a time is one group."""
        if self.kind == "literal":
            return re.escape(self.name)
        if self.kind == "time":
            tokens = re.findall(r"%.|.", self.spec)
            return "".join([_TIME_PATTERNS.get(token) or re.escape(token) for token in tokens])
        if self.kind == "text":  # alone, it may also be an id that PromptKit wrote as it is
            return "([^/]+)" if alone else f"([~{PLAIN}]+)"
        if not self.spec:
            return f"(0|[1-9][0-9]{{0,{_INDEX_DIGITS - 1}}})"
        digits = int(self.spec[1:-1])
        longer = f"|[1-9][0-9]{{{digits},{_INDEX_DIGITS - 1}}}" if digits < _INDEX_DIGITS else ""
        return f"([0-9]{{{digits}}}{longer})"


class Segment:
    """One folder of a template.

    Parameters
    ----------
    pieces
        What it is made of, checked.
    first
        Whether it is the first segment of the path, which must keep away from reserved names.

    Attributes
    ----------
    fields
        The fields in it, in order.
    pattern
        The regular expression that parses it, a group for each field but times.
    share
        The bytes that each text field may take; negative where not even the rest fits.
    """

    __slots__ = ("_first", "_pieces", "_single", "fields", "pattern", "share")

    def __init__(self, pieces: tuple[Piece, ...], *, first: bool) -> None:
        self._pieces = pieces
        self._first = first
        texts = [piece.name for piece in pieces if piece.kind == "text"]
        self.share = (MAX_NAME - sum(piece.width for piece in pieces)) // max(1, len(texts))
        self.fields = tuple(piece.name for piece in pieces if piece.kind != "literal")
        # Only literals around one text can render a reserved name: the other fields have digits, or '+', '@', ','.
        self._single = len(self.fields) == len(texts) == 1
        self.pattern = "".join([piece.pattern(alone=len(pieces) == 1) for piece in pieces])

    def render(self, fields: Mapping[str, object]) -> str:
        """Return the segment for these values."""
        rendered = [self._render(piece, fields) for piece in self._pieces]
        segment = "".join(rendered)
        if self._single and self._is_reserved(segment):
            at = next(index for index, piece in enumerate(self._pieces) if piece.kind == "text")
            value = rendered[at]
            rendered[at] = f"~{ord(value[0]):02x}{value[1:]}"
            return "".join(rendered)
        return segment

    def _render(self, piece: Piece, fields: Mapping[str, object]) -> str:
        """Return one piece for these values."""
        value = fields.get(piece.name)
        if piece.kind == "literal":
            return piece.name
        if piece.kind == "text":
            if value is not None and not isinstance(value, str):
                _refuse_value(piece.name, f"is text, not {type(value).__name__}")
            return escape_id(value or "", limit=self.share)
        if piece.kind == "index":
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**_INDEX_DIGITS:
                _refuse_value(piece.name, f"stands in this layout, and {value!r} is not a whole number from 0")
            return format(value, piece.spec)
        if not isinstance(value, datetime) or value.tzinfo is None:
            _refuse_value(piece.name, f"stands in this layout, and {value!r} is not an aware datetime")
        try:
            instant = value.astimezone(UTC)
        except OverflowError:
            _refuse_value(piece.name, f"{value!r} has no form in UTC")
        return instant.strftime(piece.spec.replace("%Y", f"{instant.year:04d}"))  # libc does not pad early years

    def read(self, values: list[str], fields: dict[str, str | int]) -> bool:
        """Take this segment's groups off the front of `values`, and put what they mean into `fields`.

        Returns
        -------
        bool
            False where the layout never renders this.
        """
        for piece in self._pieces:
            if piece.kind == "index":
                fields[piece.name] = int(values.pop(0))
            elif piece.kind == "text":
                value = values.pop(0)
                if self._single and self._is_reserved(self._around(value)):
                    return False
                fields[piece.name] = self._read_text(value)
        return True

    def _read_text(self, value: str) -> str:
        """Return the id that a text field rendered, undoing the one escape more that `render` may have made."""
        forced = _FORCED.fullmatch(value) if self._single else None
        if forced:
            plain = chr(int(forced[1], 16)) + forced[2]
            if self._is_reserved(self._around(plain)) and escape_id(plain, limit=self.share) == plain:
                return plain
        return read_id(value, limit=self.share)

    def _around(self, value: str) -> str:
        """Return the segment with this in the place of its single text field."""
        return "".join([piece.name if piece.kind == "literal" else value for piece in self._pieces])

    def _is_reserved(self, segment: str) -> bool:
        """Return whether no folder may have this name here."""
        folded = segment.casefold()
        return (self._first and folded in RESERVED) or is_temporary(folded)


def _refuse_value(name: str, problem: str) -> NoReturn:
    """Raise the error for a field of the metadata."""
    raise InvalidMediaError(f"{name} {problem}", next_step=f"give MediaMetadata({name}=...)")


def required_id(name: str, mode: str, value: object) -> str:
    """Return the id of the mode, or raise InvalidMediaError where there is none."""
    if value is None or value == "":
        step = f"give MediaMetadata({name}=...), or open the store with another organization"
        raise InvalidMediaError(f"{name} is required: this store is organized {mode}", next_step=step)
    if not isinstance(value, str):
        _refuse_value(name, f"is text, not {type(value).__name__}")
    return value
