"""URLs of sources: which are accepted, what of them may be shown, data: URLs and MIME types. Nothing is opened."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote, urlsplit

from fsmedia.errors import InvalidMediaError, MediaTooLargeError
from fsmedia.models import mime

AZURE_PLACE = re.compile(r"(?:abfss?|az)://[^/@:]*@([^/@:]+\.core\.windows\.net)(?:/|$)")
"""Matches a URL whose user is none, but the name of a container in an account."""
_SHOWN = 80
NAMED_BEFORE_HOST = frozenset({"github", "git"})
"""Schemes in which what stands before an @ is no user with a password: a repository, a path."""


def checked_url(value: str) -> str:
    """Return an http(s) or data: URL that can be read; raises ValueError, quoting nothing."""
    if re.match(r"(?i)data:", value):
        if "," not in value:
            raise ValueError("a data: URL has its bytes behind a comma")
        return value
    if not re.match(r"(?i)https?://[^/]", value):
        raise ValueError("must start with http://, https:// or data:")
    try:
        parts = urlsplit(value)
        readable = bool(parts.hostname) and (parts.port or True)
    except ValueError:
        readable = False
    if not readable:
        raise ValueError("has no readable host and port")
    return value


def public_url(url: str) -> str:
    """Return a URL without what may be secret: user, password, query, fragment, or a data URL's bytes."""
    if url[:5].lower() == "data:":
        return f"{url.split(',', 1)[0][:_SHOWN]},..."
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0][:_SHOWN]}://..."
    named = AZURE_PLACE.match(url) or parts.scheme in NAMED_BEFORE_HOST
    host = parts.netloc if named else parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?...' if parts.query else ''}"


def guess_from_url(url: str) -> str | None:
    """Return the MIME type that a data: URL states, or that the path of another suggests; None without a clue."""
    if url[:5].lower() == "data:":
        if "," not in url:
            return None  # the validator says what is wrong with it
        kind = url[5:].split(",", 1)[0].removesuffix(";base64")
        return f"text/plain{kind}" if kind[:1] in ("", ";") else kind
    try:
        return mime.guess_from_name(urlsplit(url).path)
    except ValueError:
        return None  # as above


_HALF_ESCAPED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPES = re.compile(rb"(?:%[0-9A-Fa-f]{2}){1,4096}")


def read_data_url(url: str, *, max_size: int | None) -> tuple[str, bytes]:
    """Return MIME type (``text/plain;charset=US-ASCII`` if it names none) and bytes of a data: URL (RFC 2397).

    `InvalidMediaError` where its body is neither standard padded base64 (line breaks are skipped) nor percent-encoded
    octets, quoting nothing of it, for all of it may be data; `MediaTooLargeError` for more than `max_size` bytes.
    """
    head, comma, body = url.partition(",")
    body = body.translate({10: None, 13: None})
    packed = head[-7:].lower() == ";base64"
    kind = unquote(head[5:-7] if packed else head[5:])
    kind = valid_mime_type(f"text/plain{kind or ';charset=US-ASCII'}" if kind[:1] in {"", ";"} else kind) or ""
    data, problem = b"", ""
    if head[:5].lower() != "data:" or not comma or not kind:
        problem = "needs a valid MIME type, and a comma before its bytes"
    elif not body.isascii() or not body.isprintable() or "#" in body or _HALF_ESCAPED.search(body):
        problem = "holds a character that must be percent-encoded: '#', '%', a control character, one beyond ASCII"
    elif not packed:
        refuse_over(max_size, len(body) - 2 * body.count("%"))
        data = _unescaped(body)
    else:
        text = _unescaped(body).translate(None, b"\r\n")
        size = len(text) // 4 * 3 - text[-2:].count(b"=")
        refuse_over(max_size, size)
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error:
            size = -1
        if len(data) != size:  # so it is, too, where Python lets surplus padding pass
            problem = "is not standard padded base64 (RFC 4648)"
    if problem:  # not inside `except`: the inner error must not hang on this one
        raise InvalidMediaError(f"the data: URL {problem}", next_step="write data:<type>/<subtype>;base64,<text>")
    return kind, data


def _unescaped(text: str) -> bytes:
    """Decode percent-escapes by runs: `unquote_to_bytes` takes a list item for each, gigabytes for a picture."""
    return _ESCAPES.sub(lambda run: bytes.fromhex(run[0].replace(b"%", b"").decode()), text.encode("ascii"))


def valid_mime_type(text: str) -> str | None:
    """Return a MIME type that a stranger declared, None if it is none."""
    try:
        return mime.check(text.strip())
    except InvalidMediaError:
        return None


def refuse_over(max_size: int | None, size: int) -> None:
    """Raise if a size is over a store's limit; None allows any."""
    if max_size is not None and size > max_size:
        problem = f"larger than the store's max_file_size of {max_size} bytes"
        raise MediaTooLargeError(problem, next_step="open the store with a larger one")


def from_base64(text: str) -> bytes:
    """Decode strictly: standard alphabet, whole groups of four, the padding they need; CR and LF are skipped."""
    body = re.sub(r"[\r\n]", "", text).encode("ascii")
    padding = len(body) - len(body.rstrip(b"="))
    if len(body) % 4 or padding > 2:
        raise binascii.Error("wrong padding")
    return base64.b64decode(body, validate=True)


def looks_like_text(text: str) -> bool:
    """Return whether valid base64 is more likely a word of plain text: short of padding, and no text inside."""
    try:
        from_base64(text).decode()
    except (ValueError, UnicodeDecodeError):
        return True
    return False
