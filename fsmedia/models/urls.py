"""URLs that strangers name: which are taken, what of them may be shown, what they tell of a type. Nothing is opened."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from fsmedia.models import mime

_SHOWN = 80


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
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?...' if parts.query else ''}"


def guess_from_url(url: str) -> str | None:
    """Return the MIME type that a data: URL states, or that the path of another suggests; None without a clue."""
    if url[:5].lower() == "data:":
        if "," not in url:
            return None  # the validator says what is wrong with it
        kind = url[5:].split(",", 1)[0].removesuffix(";base64")
        return f"text/plain{kind}" if kind[:1] in ("", ";") else kind
    return mime.guess_from_name(_path_of(url))


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""  # the validator says what is wrong with it
