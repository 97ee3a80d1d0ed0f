"""Base64 as LLM APIs and PromptKit write it, read strictly."""

from __future__ import annotations

import base64
import binascii
import re


def from_base64(text: str) -> bytes:
    """Decode strictly: standard alphabet, whole groups of four, the padding they need; CR and LF are skipped."""
    body = re.sub(r"[\r\n]", "", text).encode("ascii")
    padding = len(body) - len(body.rstrip(b"="))
    if len(body) % 4 or padding > 2:  # noqa: PLR2004 - a group of four ends in at most two
        raise binascii.Error("wrong padding")
    return base64.b64decode(body, validate=True)


def looks_like_text(text: str) -> bool:
    """Tell whether valid base64 is more likely a word of plain text: short of padding, and no text inside."""
    try:
        from_base64(text).decode()
    except (ValueError, UnicodeDecodeError):
        return True
    return False
