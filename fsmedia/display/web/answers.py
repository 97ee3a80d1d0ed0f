"""HTTP answers that hold a media's bytes: types, names, entity tags, ranges (RFC 9110), and pieces read as they go out.

What strangers stored may be any program for a browser. Only pictures, sounds and films are given as they are; all else
is sandboxed, no original is ever a script or a style of a page, and a browser believes the type that is said.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import TYPE_CHECKING

from anyio import sleep
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from fsmedia.display.previewer import family_of
from fsmedia.errors import CorruptMediaError
from fsmedia.format import keys
from fsmedia.models import mime
from fsmedia.models.text import content_disposition, safe_file_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request

    from fsmedia.display.items import GalleryItem
    from fsmedia.storage import Backend

KEPT = {"cache-control": "private, no-cache"}
"""A browser may keep it, and asks each time whether it may still show it: a scope may have changed."""
SANDBOX = {
    "content-security-policy": "sandbox; default-src 'none'; img-src data:; media-src data:; font-src data:; "
    "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}
_PIECE, _MOST_PIECE = 2**18, 2**20  # bytes read at once: small first, for most who seek leave soon
_WATCHED = 2**19  # bytes that a player gets at once
_TIMES, _LONGEST_PAUSE = 8, 2.0  # as fast as it plays, so many times, a player gets more; and seconds
_HELD_BACK = 1024
_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:; ?[\w-]+=(?:[\w.+:-]+|\"[\w .,+:-]*\"))*", re.ASCII)
_RANGE = re.compile(r"bytes=[ \t]*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*", re.ASCII | re.IGNORECASE)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_RUNS = {
    "script",
    "style",
    "worker",
    "sharedworker",
    "serviceworker",
    "audioworklet",
    "paintworklet",
    "xslt",
    "manifest",
}


def problem(status: int, error: str, next_step: str = "", **headers: str) -> JSONResponse:
    """Return what went wrong, as JSON."""
    return JSONResponse({"error": error, "next_step": next_step}, status, headers)


def is_same(given: str, wanted: str) -> bool:
    """Tell whether what a client gave is a secret; how long it takes does not tell how much of it was right."""
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


def unchanged(request: Request, headers: Mapping[str, str]) -> Response | None:
    """Return the answer for a browser that has the very thing already; tags are compared weakly (RFC 9110, 13.1.2)."""
    known = [each.removeprefix("W/") for each in _tags(request, "if-none-match")]
    return Response(status_code=304, headers=headers) if {"*", headers["etag"]} & {*known} else None


def _tags(request: Request, name: str) -> list[str]:
    return [each.strip() for told in request.headers.getlist(name) for each in told.split(",")]


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """Return the first byte of a range, and the one behind its last; None where no range, or several, are meant.

    ValueError: there are no such bytes.
    """
    found = _RANGE.fullmatch(text)
    if found is None or not size:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise ValueError
    return start, end


def bytes_answer(request: Request, backend: Backend, item: GalleryItem, *, verify: bool, shared: bool) -> Response:
    """Return a media's bytes, or the range of them that is asked for.

    `verify`: compared with what was stored, lengths always, the digest where all bytes go out. `shared`: pages of other
    origins may show it.
    """
    if request.headers.get("sec-fetch-dest") in _RUNS:
        return problem(403, "an original is no part of a page's program")
    record, size = item.record, item.entry.size
    digest = record.sha256 if record.sha256 and _DIGEST.fullmatch(record.sha256) else ""
    tag = f'"{digest or sha256(f"{size} {item.entry.token} {item.entry.modified}".encode()).hexdigest()[:32]}"'
    kind = record.mime_type if _TYPE.fullmatch(record.mime_type) else "application/octet-stream"
    family, name = family_of(kind), record.file_name or keys.file_name(record.reference)
    is_opened = (family != "file" or mime.essence(kind) == "application/pdf") and "download" not in request.query_params
    headers = {
        **({} if family in ("image", "audio", "video") else SANDBOX),
        **KEPT,
        "etag": tag,
        "accept-ranges": "bytes",
        "content-type": kind,
        "content-disposition": content_disposition(
            "inline" if is_opened else "attachment", safe_file_name(name) or "media"
        ),
        **({"cross-origin-resource-policy": "cross-origin"} if shared else {}),
    }
    # Compared strongly, and first (RFC 9110, 13.2.2).
    if "if-match" in request.headers and not {"*", tag} & {*_tags(request, "if-match")}:
        return problem(412, "it is another version than the one that is meant")
    if (known := unchanged(request, headers)) is not None:
        return known
    # A range of another version, of a date, or of a HEAD: all of it (RFC 9110, 13.1.5 and 14.2).
    is_asked = request.method == "GET" and request.headers.get("if-range", tag) == tag
    try:
        part = byte_range(request.headers.get("range", ""), size) if is_asked else None
    except ValueError:
        return problem(416, "there are no such bytes", **{"content-range": f"bytes */{size}"})
    start, end = part or (0, size)
    pause = 0.0
    if part and end - start > _WATCHED and request.headers.get("sec-fetch-dest") in ("audio", "video"):
        # A player asks for all that follows, and leaves: what is on its way then was read in vain. It asks for more
        # when it has this; a part of what was asked for is an answer, too (RFC 9110, 15.3.7).
        end = start + _WATCHED
        pause = min(_LONGEST_PAUSE, _WATCHED / size * (record.duration or 0) / _TIMES)
    headers["content-length"] = str(end - start)
    if part is not None:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_pieces(backend, item, start, end, digest if verify else "", pause), status, headers)


async def _pieces(
    backend: Backend, item: GalleryItem, start: int, end: int, digest: str, pause: float
) -> AsyncIterator[bytes]:
    """Read as the client takes: one piece is in memory, and none is read for one who is gone.

    `pause`: seconds before the very end.
    """
    key, size, hashed = keys.bytes_key(item.entry.key), _PIECE, sha256()
    is_whole = digest and end - start == item.entry.size

    def read(first: int, last: int) -> bytes:
        data = backend.read_range(key, first, last) or b""
        if is_whole:
            hashed.update(data)
        # Before the last piece goes out: a body that ends too early is an error to every client.
        if len(data) != last - first or (is_whole and last == end and hashed.hexdigest() != digest):
            raise CorruptMediaError(
                "its bytes are not those that were stored", next_step="run fsmedia verify --deep", key=key
            )
        return data

    while start < end:
        last = min(end, start + size)
        data = await run_in_threadpool(read, start, last)
        if pause and last == end:
            yield data[:-_HELD_BACK]
            await sleep(pause)
            data = data[-_HELD_BACK:]
        yield data
        start, size = last, min(2 * size, _MOST_PIECE)
