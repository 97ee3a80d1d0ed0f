"""What a browser is given when somebody opens a media: its own bytes where they are safe and shown, else what is made.

Whatever the bytes are, there is an answer, which may say only why nothing is shown. Markup of strangers never leaves
this module as markup, apart from SVG that was written anew for an <img>.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import imagesize

from fsmedia.display.previewer import (
    HEAD,
    PLAYED,
    OpenedSource,
    UnshowableError,
    decoding,
    family_of,
    kind_of,
    pretty_json,
    text_of,
)
from fsmedia.errors import INSTALL, MediaError
from fsmedia.format import keys
from fsmedia.models import MediaRecord, mime
from fsmedia.models.text import size_text, visible, visible_lines

if TYPE_CHECKING:
    from fsmedia.models import MediaContent

SHOWN_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif")
"""Pictures that browsers show and that can hold no script."""
MOST_BYTES = 64 * 2**20
"""Largest original that is brought to a browser whole."""
MOST_TEXT = 2**20  # bytes of a text that are shown
MOST_PIXELS = 100_000_000  # a browser takes four bytes for each
_SIDE = 4096  # longest side of a picture that is converted: a page of A4 as a scanner reads it
_PAGE_SIDE = 1600
_MOST_READ = 64 * 2**20  # bytes of a picture or paper of which something smaller is made
_ENDS = {"image/png": b"IEND", "image/jpeg": b"\xff\xd9"}
_PDF, _SVG, _MARKDOWN = "application/pdf", "image/svg+xml", "text/markdown"
_CONVERTED = {"image/tiff", "image/jp2", "image/vnd.microsoft.icon", "image/heic", "image/heif"}
_CONVERTED |= {"image/x-portable-pixmap", "image/x-portable-graymap", "image/x-portable-bitmap", "image/x-tga"}
_ELSEWHERE = "save it and open it with another program"


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What is shown of a media at full size.

    `data` and its `type` for an <img>, <audio> or <video>; `text` for a <pre>; of "html", `html` is this package's own
    rendering of Markdown, and `text` its source. `why` says in plain words why there is nothing (kind "none"), or what
    to know of what is shown: the page, sound that was left out, a codec that only some browsers have; it stands beside
    what is shown, and in its place where that can't be played. `name` is a file name for `data`; `peaks` are from 0 to
    255, `seconds` of sounds and films.
    """

    kind: Literal["image", "audio", "video", "text", "html", "none"] = "none"
    type: str = ""
    data: bytes = b""
    text: str = ""
    html: str = ""
    why: str = ""
    name: str = ""
    peaks: tuple[int, ...] = ()
    seconds: float | None = None


def original_of(opened: BinaryIO, record: MediaRecord | MediaContent, *, most: int) -> Original:
    """Return what a browser is given of an open file that can seek, with at most `most` bytes.

    Never raises for what the bytes are; MediaError where the storage fails.
    """
    source = _WatchedSource(opened)
    try:
        made = _original(source, mime.essence(record.mime_type), most) if source.size else Original(why="it is empty")
    except UnshowableError as error:
        if source.failed is not None:
            raise source.failed from None
        return Original(why=str(error))
    except MemoryError:
        return Original(why="there is not enough memory")
    return replace(made, name=_name(record, made.type)) if made.data else made


class _WatchedSource(OpenedSource):
    """A file that remembers how its storage failed: to a decoder it is as if the file ended there."""

    failed: MediaError | None = None

    def part(self, start: int, end: int) -> bytes:
        try:
            return super().part(start, end)
        except MediaError as error:
            self.failed = error
            raise


def _original(source: OpenedSource, said: str, most: int) -> Original:
    head = source.part(0, HEAD)
    found = kind_of(head) or ""
    family = family_of(found or said)
    if found == _SVG and (said == _SVG or family_of(said) != "text"):
        made = _drawn(source, most)
    elif family == "text" or (not found and text_of(head, cut=source.size > HEAD) is not None):
        made = _text(source, said, most)
    elif found and family in ("audio", "video"):
        made = _played(source, found, most)
    elif found in SHOWN_PICTURES:
        made = _picture(_whole(source, most), found)
    elif found == _PDF:
        page = _decoder("decoders", "its first page").page(_whole(source, _MOST_READ), _PAGE_SIDE)
        made = Original(kind="image", type=page.image_type, data=page.image, why=f"page 1 of {page.pages}")
    elif found in _CONVERTED or (family == "image" and not found):
        facts, data = _decoder("decoders", "it").converted(_whole(source, _MOST_READ), _SIDE)
        made = Original(kind="image", type=facts.sound_type, data=data, why=facts.reason)
    else:
        kind = found or visible(said, most=100) or "an unknown type"
        made = Original(why=f"browsers do not show {kind}: {_ELSEWHERE}")
    if len(made.data) > most:
        raise UnshowableError(f"what is shown of it is more than {size_text(most)}: {_ELSEWHERE}")
    return made


def _whole(source: OpenedSource, most: int) -> bytes:
    if source.size > most:
        raise UnshowableError(f"{size_text(source.size)} are more than the {size_text(most)} that are shown here")
    return source.part(0, source.size)


def _decoder(name: str, what: str) -> Any:
    try:
        return import_module(f"fsmedia.display.{name}")
    except ImportError as error:
        raise UnshowableError(f"to see {what}: {INSTALL['notebook']}") from error


def _picture(data: bytes, kind: str) -> Original:
    width = height = 0
    with suppress(UnshowableError), decoding("its header can't be read"):  # a browser may read it all the same
        width, height = imagesize.get(io.BytesIO(data))
    if width * height > MOST_PIXELS:
        return Original(why=f"{width:,} x {height:,} pixels are more than a browser is given: {_ELSEWHERE}")
    is_cut = _ENDS.get(kind, b"") not in data
    return Original(
        kind="image", type=kind, data=data, why="it is cut off, and shown as far as it goes" if is_cut else ""
    )


def _drawn(source: OpenedSource, most: int) -> Original:
    try:
        pictures = _decoder("pictures", "it drawn")
        return Original(kind="image", type=_SVG, data=pictures.drawing(source.whole(pictures.MOST_DRAWN)).image)
    except UnshowableError as error:
        return replace(_text(source, _SVG, most), why=f"{error}: this is its text")


def _text(source: OpenedSource, said: str, most: int) -> Original:
    room = min(most, MOST_TEXT)
    cut = source.size > room
    text = text_of(source.part(0, room), cut=cut)
    if text is None:
        raise UnshowableError(f"the bytes are no text, or in an encoding that is not known: {_ELSEWHERE}")
    if said.endswith("json") and not cut:
        text = pretty_json(text)
    text, html = visible_lines(text, most=room), ""
    why = [f"the first {size_text(room)} of {size_text(source.size)}"] if cut else []
    if said == _MARKDOWN:
        try:
            if find_spec("markdown_it") is None:
                raise UnshowableError(f"to see it rendered: {INSTALL['notebook']}")
            html = _decoder("decoders", "it rendered").markdown(text)
        except UnshowableError as error:
            why.append(str(error))
    return Original(kind="html" if html else "text", type="text/plain", text=text, html=html, why="; ".join(why))


def _played(source: OpenedSource, found: str, most: int) -> Original:
    if find_spec("av") is None:
        if found not in PLAYED:
            raise UnshowableError(f"to play it: {INSTALL['notebook']}")
        kind: Literal["audio", "video"] = "video" if found.startswith("video/") else "audio"
        return Original(kind=kind, type=PLAYED[found], data=_whole(source, most))
    decoders = _decoder("decoders", "it")
    peaks: tuple[int, ...] = ()
    with decoders.children():
        facts, data = decoders.played(source, found, most)
        kind = "video" if facts.kind == "film" else "audio"
        with suppress(UnshowableError):
            peaks = (
                tuple(each * 255 // 100 for each in decoders.outline(source, found).peaks) if kind == "audio" else ()
            )
    made = Original(kind=kind, type=facts.sound_type, why=facts.reason, peaks=peaks, seconds=facts.duration)
    if not data and source.size > most:
        why = f"{size_text(source.size)} are more than the {size_text(most)} that are played here"
        return replace(made, kind="none", type="", why=why)
    return replace(made, data=data or source.part(0, source.size))


def _name(record: MediaRecord | MediaContent, kind: str) -> str:
    """Return a file name for what is given, which may be of another type than the media."""
    reference = record.reference if isinstance(record, MediaRecord) else record.storage_reference
    name = record.file_name or (keys.file_name(reference) if reference else "media")
    if mime.guess_from_name(name) == kind:
        return name
    return f"{name.rpartition('.')[0] or name}{mime.extension_for(kind)}"
