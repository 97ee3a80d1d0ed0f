"""The grammar of layout templates: what is accepted, and the segments that it is made of.

A template that is accepted can be rendered and parsed without loss: within a segment, pieces of variable width are
separated by a character that neither of them can hold. A refusal names the template and what to write instead.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from fsmedia.errors import InvalidLayoutError
from fsmedia.format.escapes import MINIMUM_LIMIT
from fsmedia.format.keys import MAX_NAME, SIDECAR_SUFFIX
from fsmedia.format.layout.segment import RESERVED, Kind, Piece, Segment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["DEFAULT_TEMPLATES", "END", "ID_FIELDS", "MODES", "Grammar", "read_folders", "read_template", "refuse"]

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
    "run_id": "text",
    "conversation_id": "text",
    "session_id": "text",
    "provider_id": "text",
    "mime_type": "text",
    "message_idx": "index",
    "part_idx": "index",
    "timestamp": "time",
}
END = "/{name}{ext}"
"""What a template ends with: the file's name, as the store gave it."""
_TOKEN = re.compile(r"\{([^{}]*)\}|([^{}]+)|[{}]")
_LITERAL = re.compile(r"[A-Za-z0-9._+@,/-]*")
_INDEX_FORMAT = re.compile(r"0([1-9]|1[0-8])d")
_TIME_FORMAT = re.compile(r"[-_.]*(?:%[YmdHMSj][-_.]*)+")
_TEMPORARY_PREFIX = ".tmp-"


class Grammar(NamedTuple):
    """A template that was accepted."""

    segments: tuple[Segment, ...]
    prefix: str
    fields: tuple[str, ...]
    pattern: re.Pattern[str]


def read_template(template: str, mode: str) -> Grammar:
    """Check a template and take it apart.

    Parameters
    ----------
    template, mode
        As for `Layout`.

    Raises
    ------
    InvalidLayoutError
        Saying what is wrong and what to write.
    """
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
    pattern = "/".join([*(segment.pattern for segment in segments), "([^/]+)"])
    return Grammar(segments, prefix, tuple(dict.fromkeys(used)), re.compile(pattern))


def read_folders(template: str) -> list[tuple[Piece, ...]]:
    """Return the pieces of each folder of a template that ends with `END`.

    Raises
    ------
    InvalidLayoutError
        A field is unknown, or a character can't stand in a folder's name.
    """
    return _split(template, list(_read_pieces(template, template[: -len(END)])))


def _read_pieces(template: str, folders: str) -> Iterator[Piece]:
    """Yield literals and fields; literals may still hold slashes."""
    for token in _TOKEN.finditer(folders):
        inner, literal = token[1], token[2]
        if literal is not None:
            if not _LITERAL.fullmatch(literal):
                refuse(template, f"{literal!r} is more than [A-Za-z0-9._+@,-] and '/'", "leave other characters away")
            yield Piece("literal", literal)
        elif inner is None:
            refuse(template, "a brace has no other", "write fields as '{run_id}'; braces stand for nothing else")
        else:
            yield _read_field(template, inner)


def _read_field(template: str, inner: str) -> Piece:
    """Return the field that stands between two braces."""
    name, colon, spec = inner.partition(":")
    kind = _KINDS.get(name)
    if kind is None:
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


def _split(template: str, pieces: list[Piece]) -> list[tuple[Piece, ...]]:
    """Return the pieces of each folder."""
    folders: list[list[Piece]] = [[]]
    for piece in pieces:
        if piece.kind != "literal":
            folders[-1].append(piece)
            continue
        for index, text in enumerate(piece.name.split("/")):
            if index:
                folders.append([])
            if text:
                folders[-1].append(Piece("literal", text))
    if not all(folders):
        refuse(template, "a segment is empty", "write one '/' between segments, and none in front")
    return [tuple(folder) for folder in folders]


def _check_segment(template: str, pieces: tuple[Piece, ...], *, first: bool) -> Segment:
    """Return a folder's segment if it can be told apart from all else, and parsed without doubt."""
    head = pieces[0].name if pieces[0].kind == "literal" else ""
    tail = pieces[-1].name if pieces[-1].kind == "literal" else ""
    whole = head if len(pieces) == 1 else ""
    if whole in {".", ".."} or head.startswith(_TEMPORARY_PREFIX) or (first and whole.casefold() in RESERVED):
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
        if before is not None and {before.kind, piece.kind} != {"time"}:
            _check_separator(template, before, between, piece)
        before, between = piece, ""
    segment = Segment(pieces, first=first)
    if segment.share < (MINIMUM_LIMIT if any(piece.kind == "text" for piece in pieces) else 0):
        refuse(template, f"a segment of it does not fit into {MAX_NAME} bytes", "put '/' between its fields")
    return segment


def _check_separator(template: str, before: Piece, between: str, piece: Piece) -> None:
    """Refuse two neighbours whose border could not be found again."""
    if set(between) <= before.alphabet | piece.alphabet:
        problem = f"'{{{before.name}}}' and '{{{piece.name}}}' can't be told apart with {between!r} between them"
        refuse(template, problem, "put '/' or '+' between")


def refuse(template: str, problem: str, next_step: str) -> NoReturn:
    """Raise the error for a template."""
    raise InvalidLayoutError(problem, next_step=next_step, key=template)
