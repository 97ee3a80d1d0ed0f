"""Layouts, templates that render metadata to a key and parse a key back; and views, which are only rendered.

Ids are escaped reversibly (`escape_id`). A template that is accepted can be rendered and parsed without loss: within a
segment, pieces of variable width are separated by a character that neither of them can hold. A refusal names the
template and what to write instead.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from itertools import chain, takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn

from fsmedia.errors import InvalidLayoutError, InvalidMediaError, MediaError
from fsmedia.format import keys
from fsmedia.format.keys import INTERNAL, MAX_NAME, SIDECAR_SUFFIX, VIEWS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MINIMUM_LIMIT: Final = 40
"""Smallest limit an id can be escaped to: `~~`, 32 hex digits and a prefix that a reader can tell apart."""
PLAIN: Final = "A-Za-z0-9._-"
"""The characters that stand for themselves, for the END of a class in a regular expression (it ends with `-`)."""
_EMPTY = "~_"
_DIGEST_DIGITS = 32
_MARK = "~~"
# Ids and folders that are remembered: media items of one run come one after the other.
_CACHED_SEGMENTS = 4096
_CACHED_FOLDERS = 64
_PLAIN = re.compile(rf"[{PLAIN}]+")
_ESCAPED = re.compile(rf"(?:[{PLAIN}]|~[0-9a-f]{{2}})+")
_ESCAPE = re.compile(r"~([0-9a-f]{2})")
_SHORTENED = re.compile(rf"[~{PLAIN}]*~~[0-9a-f]{{{_DIGEST_DIGITS}}}")
_OF_BYTE = tuple(chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"~{byte:02x}" for byte in range(256))
_DOTS = {"": _EMPTY, ".": "~2e", "..": "~2e~2e"}


# -- ids ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=_CACHED_SEGMENTS)
def escape_id(text: str, *, limit: int = MAX_NAME) -> str:
    """Render an id, any string, as a path segment or a part of one, of at most `limit` bytes (from `MINIMUM_LIMIT`).

    The result is ASCII, of `[A-Za-z0-9._~-]`, never empty, `.` or `..`, and never ends with `.meta`. An id with a lone
    surrogate, which has no UTF-8 form, is InvalidMediaError.
    """
    if limit < MINIMUM_LIMIT:
        problem = f"an id can't be escaped to {limit} bytes"
        raise InvalidLayoutError(problem, next_step=f"give it at least {MINIMUM_LIMIT}")
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        problem = f"the id {text!r} holds a lone surrogate and has no UTF-8 form"
        raise InvalidMediaError(problem, next_step="decode the id from its true encoding") from None
    escaped = _escape_bytes(raw)
    if len(escaped) <= limit:
        return escaped
    # A prefix that cuts no escape, and the digest of the id.
    end = limit - len(_MARK) - _DIGEST_DIGITS
    cut_escape = escaped.find("~", max(0, end - 2), end)
    prefix = escaped[: end if cut_escape < 0 else cut_escape]
    return f"{prefix}{_MARK}{_short_digest(raw)}"


def _short_digest(raw: bytes) -> str:
    return sha256(raw).hexdigest()[:_DIGEST_DIGITS]


def _escape_bytes(raw: bytes) -> str:
    """Return the escaped form of an id's bytes, however long it becomes."""
    escaped = "".join([_OF_BYTE[byte] for byte in raw])
    if escaped.endswith(".meta"):  # a sidecar's suffix
        return f"{escaped[:-5]}~2emeta"
    return _DOTS.get(escaped, escaped)


@lru_cache(maxsize=_CACHED_SEGMENTS)
def unescape_id(segment: str, *, limit: int = MAX_NAME) -> str | None:
    """Return the id that `escape_id` rendered as this segment with the same limit.

    None for a shortened one (it stands in the sidecar), and for whatever `escape_id` never renders.
    """
    if segment == _EMPTY:
        return ""
    if len(segment) > limit or not _ESCAPED.fullmatch(segment):
        return None
    raw = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), segment).encode("latin-1")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return text if _escape_bytes(raw) == segment else None


def read_id(segment: str, *, limit: int = MAX_NAME) -> str:
    """Return the id of a folder that we or PromptKit named: unescaped; empty where it was shortened.

    What is no escaped form stands for itself, since PromptKit wrote ids as they are.
    """
    plain = "" if _SHORTENED.fullmatch(segment) else segment
    return plain if (text := unescape_id(segment, limit=limit)) is None else text


# -- segments ----------------------------------------------------------------------------------------------

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
RESERVED = frozenset({INTERNAL, keys.DEDUP_INDEX_KEY, *VIEWS})
"""What the first segment may not be, in any case: it is not media, or media:// shows something else there."""
_MERGED = re.compile(r'[<>:"/\\|?*]')
"""What PromptKit writes as `_` in a folder's name."""
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
    """One folder of a template; the first one must keep away from reserved names.

    It has `fields`, in order, the `pattern` that parses it (a group for each field but times), and its `share`: the
    bytes that each text field may take, negative where not even the rest fits.
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
            value = next(text for text, piece in zip(rendered, self._pieces, strict=True) if piece.kind == "text")
            return self._around(f"~{ord(value[0]):02x}{value[1:]}")
        return segment

    def _render(self, piece: Piece, fields: Mapping[str, object]) -> str:
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
        if self._single and (forced := _FORCED.fullmatch(value)):
            plain = chr(int(forced[1], 16)) + forced[2]
            if self._is_reserved(self._around(plain)) and escape_id(plain, limit=self.share) == plain:
                return plain
        return read_id(value, limit=self.share)

    def _around(self, value: str) -> str:
        """Return the segment with this in the place of its single text field."""
        return "".join([piece.name if piece.kind == "literal" else value for piece in self._pieces])

    def _is_reserved(self, segment: str) -> bool:
        folded = segment.casefold()
        # `.fsmedia` nowhere: at any depth it is the mark of a store below this one.
        return folded == INTERNAL or (self._first and folded in RESERVED) or keys.is_temporary(folded)


def _refuse_value(name: str, problem: str) -> NoReturn:
    raise InvalidMediaError(f"{name} {problem}", next_step=f"give MediaMetadata({name}=...)")


def required_id(name: str, mode: str, value: object) -> str:
    """Return the id of the mode, or raise InvalidMediaError where there is none."""
    if value is None or value == "":
        step = f"give MediaMetadata({name}=...), or open the store with another organization"
        raise InvalidMediaError(f"{name} is required: this store is organized {mode}", next_step=step)
    if not isinstance(value, str):
        _refuse_value(name, f"is text, not {type(value).__name__}")
    return value


# -- templates ---------------------------------------------------------------------------------------------

DEFAULT_TEMPLATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "by-session": "sessions/{session_id}/{name}{ext}",
        "by-conversation": "conversations/{conversation_id}/{name}{ext}",
        "by-run": "runs/{run_id}/{name}{ext}",
    }
)
"""Mode -> template: the folders that PromptKit writes."""
MODES: Final = tuple(DEFAULT_TEMPLATES)
ID_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {"by-session": "session_id", "by-conversation": "conversation_id", "by-run": "run_id"}
)
"""Mode -> the field it is about."""
_KINDS: Mapping[str, Kind] = {
    "run_id": "text", "conversation_id": "text", "session_id": "text", "provider_id": "text", "mime_type": "text",
    "message_idx": "index", "part_idx": "index", "timestamp": "time",
}  # fmt: skip
_TOLD = tuple(name for name, kind in _KINDS.items() if kind in ("text", "index") and name != "mime_type")
END = "/{name}{ext}"
"""What a template ends with: the file's name, as the store gave it."""
_TOKEN = re.compile(r"\{([^{}]*)\}|([^{}]+)|[{}]")
_LITERAL = re.compile(r"[A-Za-z0-9._+@,/-]*")
_INDEX_FORMAT = re.compile(r"0([1-9]|1[0-8])d")
_TIME_FORMAT = re.compile(r"[-_.]*(?:%[YmdHMSj][-_.]*)+")


class ParsedTemplate(NamedTuple):
    """A template that was accepted: `leading` of its segments, with a pattern of their own, are up to the mode's id."""

    segments: tuple[Segment, ...]
    prefix: str
    fields: tuple[str, ...]
    pattern: re.Pattern[str]
    leading: int
    leading_pattern: re.Pattern[str]


def read_template(template: str, mode: str) -> ParsedTemplate:
    """Check a template and parse it; InvalidLayoutError says what is wrong and what to write."""
    if mode not in ID_FIELDS:
        raise InvalidLayoutError(f"unknown organization {mode!r}", next_step=f"take one of {', '.join(MODES)}")
    if not isinstance(template, str):
        kind = type(template).__name__
        raise InvalidLayoutError(f"a template is text, not {kind}", next_step=f"like {DEFAULT_TEMPLATES[mode]!r}")
    if not template.endswith(END) or "{name" in template[: -len(END)] or "{ext" in template[: -len(END)]:
        refuse(template, "the file name is not '{name}{ext}'", "end with '/{name}{ext}', and use both only there")
    folders = read_folders(template)
    segments = tuple(_check_segment(template, pieces, first=not index) for index, pieces in enumerate(folders))
    used = [name for segment in segments for name in segment.fields]
    if ID_FIELDS[mode] not in used:
        step = f"put '{{{ID_FIELDS[mode]}}}' into a folder"
        refuse(template, f"{ID_FIELDS[mode]} is not in it, and the mode is {mode}", step)
    for name in set(used) - {"timestamp"}:
        if used.count(name) > 1:
            refuse(template, f"'{{{name}}}' stands in it twice", "use it once")
    literal = next(index for index, segment in enumerate(segments) if segment.fields)
    prefix = "/".join([pieces[0].name for pieces in folders[:literal]])
    patterns = [*(segment.pattern for segment in segments), "([^/]+)"]
    leading = next(index for index, segment in enumerate(segments) if ID_FIELDS[mode] in segment.fields) + 1
    whole, above = re.compile("/".join(patterns)), re.compile("/".join(patterns[:leading]))
    return ParsedTemplate(segments, prefix, tuple(dict.fromkeys(used)), whole, leading, above)


def read_folders(template: str) -> list[tuple[Piece, ...]]:
    """Return the pieces of each folder of a template that ends with `END`."""
    folders: list[list[Piece]] = [[]]
    for token in _TOKEN.finditer(template[: -len(END)]):
        inner, literal = token[1], token[2]
        if inner is not None:
            folders[-1].append(_read_field(template, inner))
            continue
        if literal is None:
            refuse(template, "a brace has no other", "write fields as '{run_id}'; braces stand for nothing else")
        if not _LITERAL.fullmatch(literal):
            refuse(template, f"{literal!r} is more than [A-Za-z0-9._+@,-] and '/'", "leave other characters away")
        here, *below = [[Piece("literal", text)] if text else [] for text in literal.split("/")]
        folders[-1] += here
        folders += below
    if not all(folders):
        refuse(template, "a segment is empty", "write one '/' between segments, and none in front")
    return [tuple(folder) for folder in folders]


def _read_field(template: str, inner: str) -> Piece:
    name, colon, spec = inner.partition(":")
    if (kind := _KINDS.get(name)) is None:
        refuse(
            template, f"'{{{inner}}}' is no field", f"the fields are {', '.join(_KINDS)}, and name and ext at the end"
        )
    if kind == "text" and colon:
        refuse(template, f"'{{{inner}}}' has a format, and text takes none", f"write '{{{name}}}'")
    if kind == "index" and colon and not _INDEX_FORMAT.fullmatch(spec):
        refuse(template, f"{spec!r} is no format for {name}", f"write '{{{name}}}' or '{{{name}:04d}}'")
    if kind == "time" and not _TIME_FORMAT.fullmatch(spec):
        step = "write '{timestamp:%Y-%m-%d}', of %Y %m %d %H %M %S %j and '-', '_', '.'; a '/' goes between two fields"
        refuse(template, f"{spec!r} is no format for timestamp" if spec else "timestamp has no format", step)
    return Piece(kind, name, spec)


def _check_segment(template: str, pieces: tuple[Piece, ...], *, first: bool) -> Segment:
    """Return a folder's segment, if it collides with no reserved name and parses in one way only."""
    head = pieces[0].name if pieces[0].kind == "literal" else ""
    tail = pieces[-1].name if pieces[-1].kind == "literal" else ""
    whole = head if len(pieces) == 1 else ""
    reserved = RESERVED if first else (INTERNAL,)
    if whole in {".", ".."} or head.startswith(keys.TEMPORARY_PREFIX) or whole.casefold() in reserved:
        refuse(template, f"a folder may not be named {head!r} here", "take another name, that is not used by the store")
    if tail.endswith(SIDECAR_SUFFIX) or (tail and not whole and SIDECAR_SUFFIX.endswith(tail)):
        refuse(
            template, "a folder could end with '.meta', as sidecars do", f"put another text than {tail!r} at its end"
        )
    before: Piece | None = None
    between = ""
    for piece in pieces:
        if piece.kind == "literal":
            between = piece.name
            continue
        # The boundary of two neighbours must be seen when they are parsed.
        apart = before is None or {before.kind, piece.kind} == {"time"}
        if before is not None and not apart and set(between) <= before.alphabet | piece.alphabet:
            names = f"'{{{before.name}}}' and '{{{piece.name}}}'"
            problem = f"{names} can't be told apart with {between!r} between them"
            refuse(template, problem, "put '/' or '+' between")
        before, between = piece, ""
    return _fitting_segment(template, pieces, first=first)


def _fitting_segment(template: str, pieces: tuple[Piece, ...], *, first: bool) -> Segment:
    segment = Segment(pieces, first=first)
    if segment.share < (MINIMUM_LIMIT if any(piece.kind == "text" for piece in pieces) else 0):
        refuse(template, f"a folder of it does not fit into {MAX_NAME} bytes", "put '/' between its fields")
    return segment


def refuse(template: str, problem: str, next_step: str) -> NoReturn:
    """Raise the error for a template."""
    raise InvalidLayoutError(problem, next_step=next_step, key=template)


# -- layouts -----------------------------------------------------------------------------------------------

_COMMON_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,249}(?<!\.meta)")


@dataclass(frozen=True, slots=True)
class Layout:
    """A checked template that renders and parses; equal, hashed and pickled by template and mode.

    `template`: segments separated by `/`, the last of them `{name}{ext}`. Fields: `run_id`, `conversation_id`,
    `session_id`, `provider_id`, `mime_type` (any text, escaped), `message_idx`, `part_idx` (as `{message_idx:04d}` if
    wanted), `timestamp` with a format of `%Y %m %d %H %M %S %j` and `-_.` (in UTC). `mode`: `by-session`,
    `by-conversation` or `by-run`: the id of that mode must stand in a folder. Raises `InvalidLayoutError`: the template
    could not be rendered and parsed without loss, or reaches what is not for media.
    """

    template: str
    mode: str
    _parsed: ParsedTemplate = field(init=False, repr=False, compare=False)
    _rendered: Callable[[tuple[object, ...]], str] = field(init=False, repr=False, compare=False)
    folder: Callable[[str], str] = field(init=False, repr=False, compare=False)
    """The longest folder that all media items of one id of the mode lie in, like `runs/r1`, by that id.

    Empty where other fields come first, so that all of the store must be looked through."""

    def __post_init__(self) -> None:
        parts = {
            "_parsed": read_template(self.template, self.mode),
            "mode": str(self.mode),
            "_rendered": lru_cache(maxsize=_CACHED_SEGMENTS)(self._render_folders),
            "folder": lru_cache(maxsize=_CACHED_FOLDERS)(self._render_leading),
        }
        for attribute, value in parts.items():
            object.__setattr__(self, attribute, value)

    @property
    def prefix(self) -> str:
        """The folder that all media items of the layout lie in (`runs`), empty where there is none."""
        return self._parsed.prefix

    @property
    def id_field(self) -> str:
        """The field that the mode is about (`run_id`)."""
        return ID_FIELDS[self.mode]

    def __reduce__(self) -> tuple[Any, ...]:
        return Layout, (self.template, self.mode)

    def render(self, fields: Mapping[str, object], name: str, ext: str) -> str:
        """Return the reference of a media item; see `keys.check_lengths` for how long it may be.

        `fields` are the metadata by field name (`vars(metadata)` will do); ids other than the mode's may be missing,
        None or empty. `ext` is empty or begins with a dot. A field that the template needs and that is missing or of
        the wrong type is InvalidMediaError, a file name that can't be a media item's InvalidLayoutError.
        """
        get = fields.get
        file = name + ext
        if not name or (ext and ext[0] != ".") or not _is_good_file(file):
            raise InvalidLayoutError(
                f"the file name {file[:MAX_NAME]!r} can't stand in a layout",
                next_step=f"give a name, and an extension that begins with a dot, of at most {MAX_NAME} bytes, "
                "without '/' or '.meta'",
                key=self.template,
            )
        return self._rendered(tuple([get(used) for used in self._parsed.fields])) + file

    def _render_folders(self, values: tuple[object, ...]) -> str:
        """Return all folders, with a slash after each."""
        fields = dict(zip(self._parsed.fields, values, strict=True))
        required_id(self.id_field, self.mode, fields.get(self.id_field))
        return "".join([segment.render(fields) + "/" for segment in self._parsed.segments])

    def parse(self, reference: str) -> dict[str, str | int] | None:
        """Return what a reference tells about its media item; None where the path is not of this layout.

        That is `name`, `ext`, the ids of the template (empty where shortened: the sidecar has them) and, where the
        template or a name of our own form holds them, `message_idx` and `part_idx`.
        """
        if (found := self._parsed.pattern.fullmatch(reference)) is None:
            return None
        values = list(found.groups())
        file = values.pop()
        if keys.is_sidecar(file) or keys.is_temporary(file):
            return None
        return _read_segments(self._parsed.segments, values, _read_file_name(file))

    def ids_above(self, reference: str) -> dict[str, str | int] | None:
        """Return the ids of the folder above a file, however deep it lies; None where it is of no such folder.

        Programs write trees below a run's folder (`runs/r1/part/year=2026/x.parquet`): all of that is the run's.
        """
        leading = self._parsed.leading
        *above, _ = reference.split("/", leading)
        found = self._parsed.leading_pattern.fullmatch("/".join(above)) if len(above) == leading else None
        return None if found is None else _read_segments(self._parsed.segments[:leading], list(found.groups()), {})

    def folders(self, value: str) -> tuple[str, ...]:
        """Return every folder in which media of one id of the mode may lie, the one that `folder` gives first.

        The others are those of programs that do not escape: the id as it is, and with `_` in the place of what other
        systems' paths can't hold, as PromptKit has it. Media of several ids may lie in these.
        """
        ours = self.folder(value)
        at = self._parsed.leading - 1
        alone = self._parsed.segments[at].pattern == "([^/]+)"
        parts = ours.split("/")
        if _PLAIN.fullmatch(value) or not alone or len(parts) <= at:
            return (ours,)
        spelled = dict.fromkeys((value, _MERGED.sub("_", value)))
        others = ["/".join([*parts[:at], each, *parts[at + 1 :]]) for each in spelled]
        return (ours, *(each for each in others if each != ours and keys.is_reference(f"{each}/-")))

    def reaches(self, folder: str) -> bool:
        """Return whether a media item of this layout could lie in that folder at the top, whatever its ids are."""
        return re.fullmatch(self._parsed.segments[0].pattern, folder, re.IGNORECASE) is not None

    def _render_leading(self, value: str) -> str:
        """Return what `folder` remembers."""
        fields = {self.id_field: required_id(self.id_field, self.mode, value)}
        known = takewhile(lambda segment: fields.keys() >= set(segment.fields), self._parsed.segments)
        return "/".join([segment.render(fields) for segment in known])


def _is_good_file(file: str) -> bool:
    """Return whether a file name can be that of a media item, in a folder."""
    if _COMMON_FILE.fullmatch(file):
        return True
    fits = "/" not in file and len(file) <= MAX_NAME and keys.is_reference(f"-/{file}")
    return fits and (file.isascii() or len(file.encode()) <= MAX_NAME)


def _read_segments(
    segments: tuple[Segment, ...], values: list[str], fields: dict[str, str | int]
) -> dict[str, str | int] | None:
    """Add to the fields what the groups of some segments mean; None where the layout never renders them."""
    return fields if all(segment.read(values, fields) for segment in segments if segment.fields) else None


def _read_file_name(file: str) -> dict[str, str | int]:
    """Split a file name: our own form at the end of the unique part, any other at its last dot."""
    if (own := keys.parse_own_name(file)) is None:
        return dict(zip(("name", "ext"), split_file_name(file), strict=True))
    name = file[: len(file) - len(own.ext)]
    return {"name": name, "ext": own.ext, "message_idx": own.message_idx, "part_idx": own.part_idx}


def split_file_name(file: str) -> tuple[str, str]:
    """Split a file name that is not of our own form at its last dot; dots in front begin a name, not an extension."""
    dot = file.rfind(".")
    if dot <= 0 or not file[:dot].strip("."):
        return file, ""
    return file[:dot], file[dot:]


def layouts(overrides: Mapping[str, str] | None = None) -> dict[str, Layout]:
    """Return the layout of each mode, in the same order; `overrides` stand in place of PromptKit's folders."""
    chosen = {**DEFAULT_TEMPLATES, **{str(mode): template for mode, template in (overrides or {}).items()}}
    return {mode: Layout(template, mode) for mode, template in chosen.items()}


def parse_any(known: Mapping[str, Layout], reference: str) -> tuple[Layout, dict[str, str | int]] | None:
    """Return the first of the layouts that a reference is of, and what it tells; None where none is."""
    return _told(known, reference, Layout.parse)


def _told(
    known: Mapping[str, Layout], reference: str, *ways: Callable[[Layout, str], dict[str, str | int] | None]
) -> tuple[Layout, dict[str, str | int]] | None:
    for read in ways:
        for layout in known.values():
            if (fields := read(layout, reference)) is not None:
                return layout, fields
    return None


def ids_of_path(known: Mapping[str, Layout], reference: str) -> tuple[Layout, dict[str, str | int]] | None:
    """Return what a path tells of whose a media item is: `parse_any`, else the folders above it.

    This is the one rule: what a file's path says counts wherever its sidecar names no such id.
    """
    return _told(known, reference, Layout.parse, Layout.ids_above)


def fields_at(
    known: Mapping[str, Layout], id_field: str, reference: str, given: Mapping[str, Any]
) -> dict[str, str | int]:
    """Return the ids and indices that a chosen path tells and a caller has not given; InvalidMediaError: they differ.

    `given`: the caller's, by name. `id_field`: the id that the store is organized by. A media item that has one must
    lie in its folder, for only that is listed to find it.
    """
    parsed = ids_of_path(known, reference)
    told = {} if parsed is None else {name: value for name, value in parsed[1].items() if name in _TOLD}
    for name in _TOLD:
        wanted, here = given.get(name), told.get(name)
        if wanted in (None, "") or wanted == here or (here is None and name != id_field):
            continue
        # A shortened id tells no more than its digest.
        if here == "" and isinstance(wanted, str) and f"{_MARK}{_short_digest(wanted.encode())}" in reference:
            continue
        raise InvalidMediaError(
            f"{name} is {str(wanted)[:MAX_NAME]!r}, and the path says {'none' if here in (None, '') else repr(here)}",
            next_step=f"choose a path in the folder of that {name}, or leave {name} out: the path tells it",
            reference=reference,
        )
    return {name: value for name, value in told.items() if value != "" and given.get(name) in (None, "")}


# -- views -------------------------------------------------------------------------------------------------
#
# They show the media items of a store in other folders than those they lie in. A view takes any fields in any order, so
# the item that a path means is looked up; two items may render to one path, and who builds the tree tells them apart.

_VIEW_NAME = re.compile(r"[a-z0-9_-]{1,100}")
_ONE_FOLDER = END[1:]
_TYPE = (Piece("text", "mime_type"),)
_TYPE_FOLDERS = ((Piece("text", "type"),), (Piece("text", "subtype"),))

PLAIN_FOLDERS: Final = frozenset(template.partition("/")[0] for template in DEFAULT_TEMPLATES.values())
"""Folders at the top that are never views, so that a path below them is known as a media item's without a look."""


@dataclass(frozen=True, slots=True)
class View:
    """A template that shows all media items of a store; equal, hashed and pickled by name and template.

    `name`: the folder at the top of `media://`: of `[a-z0-9_-]`, at most 100. `template`: as a layout's (see `Layout`),
    but no id is needed, fields may come again, and `{name}{ext}` alone will do. A folder `{mime_type}` becomes two, as
    in `image/png`. What a media item does not have is `~_`. Raises `InvalidLayoutError`: saying what is wrong and what
    to write.
    """

    name: str
    template: str
    fields: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The fields that it shows, in order, each once."""
    _segments: tuple[Segment, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _VIEW_NAME.fullmatch(self.name):
            problem = f"{str(self.name)[:MAX_NAME]!r} can't be the name of a view"
            raise InvalidLayoutError(problem, next_step="use a-z, 0-9, '-' and '_', like 'by-day'")
        segments = _read_view(self.template)
        used = [name for segment in segments for name in segment.fields]
        shown = dict.fromkeys("mime_type" if name in ("type", "subtype") else name for name in used)
        object.__setattr__(self, "_segments", segments)
        object.__setattr__(self, "fields", tuple(shown))

    def __reduce__(self) -> tuple[Any, ...]:
        return View, (self.name, self.template)

    @property
    def finest(self) -> int:
        """Seconds of the smallest unit of time that it shows; a day where it shows none."""
        units = (("%S", 1), ("%M", 60), ("%H", 3600))
        return next((seconds for unit, seconds in units if unit in self.template), 86_400)

    def folders(self, values: Sequence[object]) -> tuple[str, ...]:
        """Return the folders of a media item with these values of `fields`, below the view's own; as many for each.

        A value of a wrong type is shown as a missing one: a view shows what is there.
        """
        given = dict(zip(self.fields, values, strict=True))
        if "mime_type" in given:
            kind = given["mime_type"]
            given["type"], _, given["subtype"] = (kind if isinstance(kind, str) else "").partition("/")
        return tuple([_render_or_unknown(segment, given) for segment in self._segments])


def _read_view(template: str) -> tuple[Segment, ...]:
    if not isinstance(template, str):
        raise InvalidLayoutError(f"a template is text, not {type(template).__name__}", next_step=f"like 'by-run{END}'")
    if template == _ONE_FOLDER:
        return ()
    inner = template[: -len(END)]
    if not template.endswith(END) or "{name" in inner or "{ext" in inner:
        refuse(template, "the file name is not '{name}{ext}'", f"end with '{END}', and use both only there")
    segments = []
    for pieces in chain.from_iterable(_TYPE_FOLDERS if each == _TYPE else (each,) for each in read_folders(template)):
        if "".join(piece.name for piece in pieces if piece.kind == "literal") in (".", "..") and len(pieces) == 1:
            refuse(template, "a folder may not be named '.' or '..'", "take another name")
        segments.append(_fitting_segment(template, pieces, first=False))
    return tuple(segments)


def _render_or_unknown(segment: Segment, given: Mapping[str, object]) -> str:
    try:
        return segment.render(given)
    except MediaError:
        return _EMPTY


DEFAULT_VIEWS: Final = tuple(View(mode, f"{{{ID_FIELDS[mode]}}}{END}") for mode in VIEWS)
"""The views that every store has."""


def may_be_view(name: str) -> bool:
    """Return whether a folder at the top may be a view that a user named; only the settings tell whether it is."""
    return name not in PLAIN_FOLDERS and _VIEW_NAME.fullmatch(name) is not None


def views(templates: Mapping[str, str], layouts: Mapping[str, Layout]) -> dict[str, View]:
    """Return a user's views by name; InvalidLayoutError where a name is taken, or a template refused.

    No item of the same store's layouts may lie where a view is shown.
    """
    found = {name: View(name, template) for name, template in templates.items()}
    for name in found:
        if name in VIEWS or name in PLAIN_FOLDERS:
            what = "a view that every store has" if name in VIEWS else "a folder that media lie in"
            raise InvalidLayoutError(f"the name {name!r} is taken by {what}", next_step="take another", key=name)
        for layout in layouts.values():
            if layout.reaches(name):
                raise InvalidLayoutError(
                    f"the layout of {layout.mode}, {layout.template!r}, could put media where the view {name!r} is",
                    next_step="take another name, or begin the layout with a folder such as 'media/'",
                    key=name,
                )
    return found


def mode_of(template: str) -> str:
    """Return the mode of the id that stands first in a template; `Layout` refuses a template without one."""
    places = {mode: template.find(f"{{{field}}}") for mode, field in ID_FIELDS.items()}
    named = {mode: place for mode, place in places.items() if place >= 0}
    return min(named, key=lambda mode: named[mode], default="by-run")


VIEW_MAX_AGE: Final = timedelta(minutes=1)
"""Default of `view_max_age`: how old the data of views may be."""


def as_age(value: float | timedelta) -> timedelta:
    """Return an age as a timedelta; numbers are seconds.

    Raises `InvalidMediaError`: the value is negative, not finite or not a number.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        value = timedelta(seconds=value)
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise InvalidMediaError(
            f"view_max_age must be a timedelta or seconds from 0, not {value!r}", next_step="None never looks again"
        )
    return value
