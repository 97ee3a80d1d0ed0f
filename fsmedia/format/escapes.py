"""Ids as path segments: `escape_id` renders any id, `unescape_id` gives it back, and no two ids share a segment.

`[A-Za-z0-9._-]` stand for themselves. Any other character is `~` and two lower-case hex digits for each of its UTF-8
bytes. So are the dots of the ids `.` and `..` and the dot of a trailing `.meta`; the empty id is `~_`. An id whose
segment would be too long is cut and ends with `~~` and 32 hex digits of its SHA-256: still its own, but the id itself
can then only be read in the sidecar. Nothing is normalised: an id in NFC and the same in NFD are two ids.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Final

from fsmedia.errors import InvalidLayoutError, InvalidMediaError
from fsmedia.format.keys import MAX_NAME

__all__ = ["MINIMUM_LIMIT", "PLAIN", "escape_id", "read_id", "unescape_id"]

MINIMUM_LIMIT: Final = 40
"""Smallest limit an id can be escaped to: `~~`, 32 hex digits and a prefix that a reader can tell apart."""
PLAIN: Final = "A-Za-z0-9._-"
"""The characters that stand for themselves, for the END of a class in a regular expression (it ends with `-`)."""

_EMPTY = "~_"
_DIGEST_DIGITS = 32
_MARK = "~~"
_CACHED = 4096  # ids of runs come in bursts: one id, many media
_PLAIN = re.compile(rf"[{PLAIN}]+")
_ESCAPED = re.compile(rf"(?:[{PLAIN}]|~[0-9a-f]{{2}})+")
_ESCAPE = re.compile(r"~([0-9a-f]{2})")
_SHORTENED = re.compile(rf"[~{PLAIN}]*~~[0-9a-f]{{{_DIGEST_DIGITS}}}")
_OF_BYTE = tuple(chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"~{byte:02x}" for byte in range(256))
_DOTS = {"": _EMPTY, ".": "~2e", "..": "~2e~2e"}


def escape_id(text: str, *, limit: int = MAX_NAME) -> str:
    """Render an id as a path segment, or as a part of one.

    Parameters
    ----------
    text
        Any string.
    limit
        Longest result in bytes, at least `MINIMUM_LIMIT`.

    Returns
    -------
    str
        ASCII, of `[A-Za-z0-9._~-]`, never empty, `.` or `..`, and never ending with `.meta`.

    Raises
    ------
    InvalidMediaError
        The id holds a lone surrogate, so it has no UTF-8 form.
    InvalidLayoutError
        The limit leaves no room for a shortened id.
    """
    return _escape(text, limit)


@lru_cache(maxsize=_CACHED)
def _escape(text: str, limit: int) -> str:
    """Do the work of `escape_id`, remembering recent ids."""
    if limit < MINIMUM_LIMIT:
        problem = f"an id can't be escaped to {limit} bytes"
        raise InvalidLayoutError(problem, next_step=f"give it at least {MINIMUM_LIMIT}")
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        problem = f"the id {text!r} holds a lone surrogate and has no UTF-8 form"
        raise InvalidMediaError(problem, next_step="decode the id from its true encoding") from None
    escaped = _whole(raw)
    return escaped if len(escaped) <= limit else _shortened(raw, escaped, limit)


def _whole(raw: bytes) -> str:
    """Return the escaped form of an id's bytes, however long it becomes."""
    escaped = "".join([_OF_BYTE[byte] for byte in raw])
    if escaped.endswith(".meta"):  # a sidecar's suffix
        return f"{escaped[:-5]}~2emeta"
    return _DOTS.get(escaped, escaped)


def _shortened(raw: bytes, escaped: str, limit: int) -> str:
    """Return a prefix of the escaped form that cuts no escape, and the digest of the id."""
    end = limit - len(_MARK) - _DIGEST_DIGITS
    start_of_cut_escape = escaped.find("~", max(0, end - 2), end)
    if start_of_cut_escape >= 0:
        end = start_of_cut_escape
    return f"{escaped[:end]}{_MARK}{sha256(raw).hexdigest()[:_DIGEST_DIGITS]}"


def unescape_id(segment: str, *, limit: int = MAX_NAME) -> str | None:
    """Return the id that `escape_id` rendered as this segment.

    Parameters
    ----------
    segment
        What stands in the path.
    limit
        The limit it was escaped with.

    Returns
    -------
    str or None
        The id; None for a shortened one (it stands in the sidecar), and for whatever `escape_id` never renders.
    """
    return _unescape(segment, limit)


@lru_cache(maxsize=_CACHED)
def _unescape(segment: str, limit: int) -> str | None:
    """Do the work of `unescape_id`, remembering recent segments."""
    if segment == _EMPTY:
        return ""
    if len(segment) > limit or not _ESCAPED.fullmatch(segment):
        return None
    raw = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), segment).encode("latin-1")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return text if _whole(raw) == segment else None


def read_id(segment: str, *, limit: int = MAX_NAME) -> str:
    """Return the id of a folder that we or PromptKit named.

    Parameters
    ----------
    segment
        What stands in the path.
    limit
        The limit it would have been escaped with.

    Returns
    -------
    str
        The unescaped id; empty where it was shortened; the segment itself where it is no escaped form, since
        PromptKit wrote ids as they are.
    """
    text = _unescape(segment, limit)
    if text is not None:
        return text
    return "" if _SHORTENED.fullmatch(segment) else segment
