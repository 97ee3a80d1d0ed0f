r"""How bytes are spelled as base64: read it, and name the spelling so exactly that it can be written again.

A spelling is `b64` or `b64url`, then what is odd about it: `+bare` (no padding), `+76n` or `+76r` (lines of so many
characters, ended by \n or \r\n), `+end` (the last line is ended too), `+slash` (JSON text with `\/`). A text that
comes out differently when it is written again has no spelling, and is no base64 here.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

SPELLING = re.compile(r"b64(?:url)?(?:\+bare)?(?:\+[1-9][0-9]{0,3}[nr])?(?:\+end)?(?:\+slash)?")
_LOOKS = re.compile(r"[A-Za-z0-9+/_\-\r\n]+={0,2}(?:\r?\n)?")
_LONGEST_LINE = 9999


class Decoded(NamedTuple):
    """Bytes, and the spelling of the text that they were read from."""

    data: bytes
    spelling: str


def decoded(text: str) -> Decoded | None:
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
    return Decoded(data, spelling) if encoded(data, spelling) == text else None


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
