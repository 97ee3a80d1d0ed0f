"""Making previews: what kind of media it is decides what is read of it and which library looks at it.

A media costs one read, of all of it up to `MOST_WHOLE` bytes or of its beginning; large films a few blocks. Whatever
the bytes are, there is a preview: the worst says why there is nothing to see.
"""

from __future__ import annotations

import io
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fsmedia.display.documents import first_page
from fsmedia.display.previews import MOST_SOUND, Preview
from fsmedia.display.reading import RangedFile
from fsmedia.display.text import size_text, visible_lines
from fsmedia.errors import MediaError
from fsmedia.models import mime

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from fsmedia.display.reading import Source

MOST_WHOLE = 20 * 2**20
"""Bytes up to which an original is read whole."""
INSTALL = "pip install 'fsmedia[notebook]'"

_OPEN: AbstractContextManager[Any] = nullcontext()
_HEAD = 8192
_LINES_READ = 4096
_LINES, _COLUMNS = 16, 160
_EMBEDDED = 2**20
_PDF = "application/pdf"
_FILM_BLOCKS = 8
_TEXTS = {
    "application/json", "application/ld+json", "application/xml", "application/x-yaml", "application/yaml",
    "application/toml", "application/javascript", "application/x-ndjson", "application/jsonl", "application/sql",
    "image/svg+xml", "application/xhtml+xml", "application/x-sh", "application/csv", "application/x-ipynb+json",
}  # fmt: skip
PLAYED = {
    "audio/wav": "audio/wav", "audio/mpeg": "audio/mpeg", "audio/ogg": "audio/ogg", "audio/opus": "audio/ogg",
    "audio/flac": "audio/flac", "audio/mp4": "audio/mp4", "audio/x-m4a": "audio/mp4", "audio/webm": "audio/webm",
    "audio/aac": "audio/aac",
    "video/mp4": "video/mp4", "video/webm": "video/webm", "video/ogg": "video/ogg", "video/quicktime": "video/mp4",
    "video/x-m4v": "video/mp4",
}  # fmt: skip
"""What browsers play, by what the bytes are: the type to give them."""


def family_of(mime_type: str) -> str:
    """Return "image", "audio", "video", "text" or "file": how a media of that type is shown and filtered."""
    kind = mime.essence(mime_type)
    if kind in _TEXTS or kind.startswith("text/") or kind.endswith(("+json", "+xml", "+yaml")):
        return "text"
    first = kind.partition("/")[0]
    return first if first in ("image", "audio", "video") else "file"


def preview_of(source: Source, mime_type: str, side: int, gate: AbstractContextManager[Any] = _OPEN) -> Preview:
    """Return what is shown of a media; never raises for what its bytes are.

    Parameters
    ----------
    mime_type
        What it is said to be; its first bytes are believed more.
    side
        Longest side of a small picture, in pixels.
    gate
        Entered while a picture or sound is decoded, which takes memory.

    Raises
    ------
    MediaError
        The storage failed.
    """
    if source.size == 0:
        return Preview(reason="it is empty")
    try:
        return _made(source, mime.essence(mime_type), side, gate)
    except FileNotFoundError as error:
        if isinstance(error, MediaError):
            raise
        return Preview(reason="its bytes are gone: somebody deleted it")
    except MemoryError:
        return Preview(reason="there is not enough memory")


def _made(source: Source, kind: str, side: int, gate: AbstractContextManager[Any]) -> Preview:
    family = family_of(kind)
    if family == "text":
        return _text(source.part(0, _LINES_READ + 1))
    if kind == _PDF:
        return _page(source, side, gate)
    if family == "file":
        return Preview(reason=f"{kind or 'an unknown type'} is not looked into")
    return _seen(source, family, side, gate)


def _seen(source: Source, family: str, side: int, gate: AbstractContextManager[Any]) -> Preview:
    large = source.size > MOST_WHOLE
    if large and family == "audio":
        return Preview(kind="sound", reason=f"{size_text(source.size)} are not read for an outline")
    data = source.part(0, _EMBEDDED) if large else source.whole(MOST_WHOLE)
    found = mime.detect(data[:_HEAD]) or ""
    seen = family_of(found) if found else family
    with gate:
        if seen == "text":
            made = _text(data[: _LINES_READ + 1])
        elif seen == "image":
            made = _picture(data, side, large=large)
        elif seen == "audio" and not large:
            made = _sound(data, found)
        elif seen == "video":
            made = _film(RangedFile(source, _FILM_BLOCKS) if large else io.BytesIO(data), found, side)
        else:
            made = Preview(reason=f"the bytes are {found}" if found else "the bytes are of no kind that is shown")
    return made


def _page(source: Source, side: int, gate: AbstractContextManager[Any]) -> Preview:
    """Return the first page of a PDF."""
    if source.size > MOST_WHOLE:
        return Preview(reason=f"{size_text(source.size)} are not read for a page")
    if find_spec("pypdfium2") is None or find_spec("PIL") is None:
        return Preview(reason=f"to see its first page: {INSTALL}")
    data = source.whole(MOST_WHOLE)
    if mime.detect(data[:_HEAD]) != _PDF:
        return Preview(reason="the bytes are no PDF")
    with gate:
        found = first_page(data, side)
    if isinstance(found, str):
        return Preview(reason=found)
    return Preview(kind="picture", image=found[0], pages=found[1])


def _text(data: bytes) -> Preview:
    """Return the first lines, as text and nothing else, whatever language they are written in."""
    cut = len(data) > _LINES_READ
    data = data[:_LINES_READ]
    if not mime.is_text(data):
        return Preview(reason="the bytes are no text")
    text = data.decode("utf-8-sig", errors="ignore" if cut else "replace")
    lines = text.splitlines()
    shown = "\n".join(line[:_COLUMNS] for line in lines[:_LINES])
    more = "\n..." if cut or len(lines) > _LINES else ""
    return Preview(kind="text", text=visible_lines(shown) + more)


def _picture(data: bytes, side: int, *, large: bool) -> Preview:
    pictures = _room("pictures")
    if pictures is None:
        return Preview(reason=f"to see it: {INSTALL}")
    try:
        small = pictures.embedded(data, side) if large else pictures.thumbnail(data, side)
    except pictures.UnshowableError as error:
        return Preview(reason=str(error))
    return Preview(kind="picture", image=small.image, width=small.width, height=small.height)


def _sound(data: bytes, kind: str) -> Preview:
    played = PLAYED.get(kind, "")
    short = {"sound": data, "sound_type": played} if played and len(data) <= MOST_SOUND else {}
    films = _room("films")
    if films is None:
        return Preview(kind="sound", **short, reason="" if short else f"to see its outline: {INSTALL}")  # type: ignore[arg-type]
    try:
        found = films.outline(io.BytesIO(data), kind)
    except films.UnshowableError as error:
        return Preview(kind="sound", **short, duration=_told_duration(data), reason=str(error))  # type: ignore[arg-type]
    return Preview(kind="sound", **short, peaks=found.peaks, duration=found.duration)  # type: ignore[arg-type]


def _told_duration(data: bytes) -> float | None:
    """Return the length that the tags of a sound tell, where decoding it failed."""
    try:
        tags = import_module("tinytag").TinyTag.get(file_obj=io.BytesIO(data))
    except Exception:  # noqa: BLE001 - a stranger's bytes, or the library is not there
        return None
    return float(tags.duration) if tags.duration else None


def _film(file: Any, kind: str, side: int) -> Preview:
    films = _room("films")
    if films is None:
        return Preview(kind="film", reason=f"to see a picture of it: {INSTALL}")
    try:
        found = films.poster(file, kind, side)
    except films.UnshowableError as error:
        return Preview(kind="film", reason=str(error))
    if not found.image:
        return Preview(kind="sound", peaks=found.peaks, duration=found.duration)
    return Preview(kind="film", image=found.image, width=found.width, height=found.height, duration=found.duration)


def _room(name: str) -> Any | None:
    """Return the module that looks at pictures or films; None where its library is not installed."""
    try:
        return import_module(f"fsmedia.display.{name}")
    except ImportError:
        return None
