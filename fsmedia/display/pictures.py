"""Thumbnail pictures out of strangers' large ones, by Pillow: only formats that are pictures, sizes looked at first.

Nothing global of Pillow is changed. Whatever the bytes are, the answer is a small picture or an `UnshowableError`. SVG
is not drawn but written anew, without what runs or explodes.
"""

from __future__ import annotations

import functools
import io
import re
import struct
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import imagesize
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features

from fsmedia.display.previewer import Preview, UnshowableError, decoding

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_PIXELS = 50_000_000  # larger pictures are not decoded: a hundred bytes can claim to be any size

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO", "HEIF")
# Not EPS, which runs a program; nor others whose decoders few people look at. ICO is looked into by `_unwrapped` first;
# HEIF is there in a child that has registered it.
_PLAIN = {"PNG", "JPEG", "GIF", "WEBP", "BMP", "PPM", "TGA"}
# Not TIFF, AVIF, JPEG 2000, HEIF: they are made of pieces, whose decoders may take more than the picture's size.
_HELD = {"WEBP": 8, "AVIF": 5, "TIFF": 4}  # bytes of a pixel that the decoder has beside the picture
_LONGEST_SIDE = 100_000  # each line of a picture takes memory of its own, however short it is
_QUALITY = 74  # method 1 takes a quarter of the time of 3, for a tenth more bytes
_SMALL, _LIGHT_QUALITY = 128, 50  # longest side of pictures of which a page has hundreds: there each byte counts
_FULL_QUALITY = 90
_FEW_PIXELS = 512 * 512  # up to which a converted picture is written without a loss
_ICON, _DIB, _PNG = struct.Struct("<HHH"), struct.Struct("<Iii"), b"\x89PNG"
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_CELLS = tuple((row, column) for row in range(8) for column in range(8))


def thumbnail(data: bytes, side: int) -> Preview:
    """Return a picture that fits into a square of so many pixels; UnshowableError if there is none to show."""
    small, found = _small(data, side)
    with decoding("its small picture can't be written"):
        return replace(found, image=packed(small))


def converted(data: bytes, side: int) -> tuple[Preview, bytes]:
    """Return a picture as PNG or JPEG, of the first page where there are several, at most so large; and its facts.

    UnshowableError if there is none to show.
    """
    small, found = _small(data, side)
    kind, file = "image/jpeg", io.BytesIO()
    if found.alpha or small.width * small.height <= _FEW_PIXELS:
        kind = "image/png"
    with decoding("it can't be written as another format"):
        small.save(file, kind[6:].upper(), quality=_FULL_QUALITY, exif=b"", icc_profile=None)
    reason = f"page 1 of {found.pages}" if found.pages else ""
    return replace(found, sound_type=kind, reason=reason), file.getvalue()


def _small(data: bytes, side: int) -> tuple[Image.Image, Preview]:
    with _looked_at(data) as picture:
        width, height = _turned(picture)
        pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
        picture.draft("RGB", (side, side))  # JPEG decodes to an eighth as fast as that saves work
        if halved := _halved(data, picture, side):
            picture.reduce = halved  # type: ignore[method-assign, assignment] # of JPEG 2000 it is a number
            picture.load()  # now, for this is when its size changes
        small = _plain(picture)
        small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        if small.mode == "F":
            small = _levelled(small)
        alpha = small.mode == "RGBA" and min(small.getchannel("A").tobytes()) < 255
        if small.mode == "RGBA" and not alpha:
            small = small.convert("RGB")  # fewer bytes, and nothing to see through
        small = ImageOps.exif_transpose(_with_exif(small, picture))
        told = Preview(kind="picture", width=width, height=height, alpha=alpha, pages=pages if pages > 1 else None)
        return small, told


@contextmanager
def _looked_at(data: bytes) -> Iterator[Image.Image]:
    """Open a picture of which nothing is decoded yet; UnshowableError where it can't be, and for what the block raises.

    Sizes are looked at by the header, by Pillow, and of the tiles inside.
    """
    with decoding("the picture is broken or cut off"):
        try:
            if data[:4] == b"\0\0\1\0":
                data = _unwrapped(data)
            _refuse_large(*_claimed_size(data))
            with Image.open(io.BytesIO(data), formats=_formats()) as picture:
                _refuse_large(*picture.size)
                # Decoding a TIFF's tile takes its memory, however little of it the picture shows.
                tags = getattr(picture, "tag_v2", {})
                _refuse_large(int(tags.get(_TILE_WIDTH, 0)), int(tags.get(_TILE_LENGTH, 0)))
                yield picture
        except UnidentifiedImageError as error:
            raise UnshowableError("not a picture that can be read") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # a warning may be an error
            raise UnshowableError(f"more than {MOST_PIXELS // 10**6} megapixels") from error


def memory_needed(data: bytes, side: int) -> tuple[int, bool]:
    """Return about how many bytes decoding takes, by the header, and whether the format keeps to what that claims.

    UnshowableError if nothing would be shown.
    """
    with _looked_at(data) as picture:
        bands, pixels, name = len(picture.getbands()), picture.width * picture.height, picture.format or ""
        # Of a progressive JPEG all coefficients are held; of others what is shown is decoded.
        held = 2 * bands * pixels if picture.info.get("progressive") else 0
        held += 4 * bands * pixels if name == "JPEG2000" else _HELD.get(name, 0) * pixels
        part = 4 ** _halved(data, picture, side)
        picture.draft("RGB", (side, side))
        own = 1 if picture.mode in ("1", "L", "P") else 2 if "16" in picture.mode else 4
        converted = 0 if picture.mode in ("F", "RGB") else 4  # RGBA too: it is made smaller as another mode
        if _is_seen_through(picture) and picture.mode != "RGBA":
            converted = 8
        return (held + (own + converted + 1) * picture.width * picture.height) // part, name in _PLAIN


def embedded(head: bytes) -> tuple[bytes, tuple[int, int]]:
    """Return the preview that a camera put into the first bytes of a JPEG, and the picture's width and height.

    UnshowableError if there is none.
    """
    try:
        with decoding("its head is broken"), Image.open(io.BytesIO(head), formats=("JPEG",)) as picture:
            exif = picture.info["exif"].removeprefix(b"Exif\x00\x00")
            found = picture.getexif().get_ifd(ExifTags.IFD.IFD1)
            width, height = _turned(picture)
            start = found[_THUMBNAIL_OFFSET]
            return exif[start : start + found[_THUMBNAIL_LENGTH]], (width, height)
    except UnshowableError as error:
        raise UnshowableError("too large to be read for a preview") from error


def packed(picture: Image.Image) -> bytes:
    """Return a small picture as WebP, or PNG where Pillow was built without; nothing but pixels comes along."""
    file = io.BytesIO()
    if features.check("webp"):
        method, quality = (4, _LIGHT_QUALITY) if max(picture.size) <= _SMALL else (1, _QUALITY)
        picture.save(file, "WEBP", quality=quality, method=method, exif=b"", icc_profile=None, xmp=b"")
    else:
        picture.save(file, "PNG", optimize=True, exif=b"", icc_profile=None)
    return file.getvalue()


def film_frame(picture: Image.Image, side: int, rotation: int) -> bytes:
    """Return one frame of a film as a small picture, turned as the film says."""
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return packed(picture.rotate(rotation, expand=True) if rotation % 360 else picture)


def reduced(image: bytes, side: int) -> bytes:
    """Return a smaller form of a picture that `packed` made."""
    with Image.open(io.BytesIO(image), formats=("WEBP", "PNG")) as picture:
        _refuse_large(*picture.size)
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        return packed(picture)


def difference_hash(image: bytes) -> int:
    """Return the dHash of a picture that `packed` made: 64 bits, one where grey grows clearly brighter to the right.

    What shows through is white. By more than 2 of 255: what encoders leave in an area of one colour is no picture.
    """
    with Image.open(io.BytesIO(image), formats=("WEBP", "PNG")) as picture:
        _refuse_large(*picture.size)
        flat = Image.new("RGBA", picture.size, "white")
        flat.alpha_composite(picture.convert("RGBA"))
    grey = flat.convert("L").resize((9, 8), Image.Resampling.LANCZOS, reducing_gap=2.0).tobytes()
    return sum(
        (grey[9 * row + column] + 2 < grey[9 * row + column + 1]) << (8 * row + column) for row, column in _CELLS
    )


@functools.cache
def _formats() -> tuple[str, ...]:
    """Return those of the formats that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _claimed_size(data: bytes) -> tuple[int, int]:
    """Return the size that a header claims, before Pillow looks; 0 x 0 where nothing is understood."""
    # "<" would be read as XML, for the size of an SVG; a number in a "P6" may be as long as the file, read by squares.
    if data.lstrip()[:1] == b"<" or data[:1] == b"P":
        return 0, 0
    try:
        with decoding("its header can't be read"):
            width, height = imagesize.get(io.BytesIO(data))
    except UnshowableError:  # Pillow says what is wrong
        return 0, 0
    return int(width), int(height)


def _halved(data: bytes, picture: Image.Image, side: int) -> int:
    """Return how often a JPEG 2000 can be halved while it is decoded, which saves the memory; 0 for other formats."""
    start = data.find(b"\xff\x52", data.find(b"\xff\x4f\xff\x51"))  # the marker that tells the levels
    if picture.format != "JPEG2000" or start < 0:
        return 0
    levels = data[start + 9 : start + 10] or b"\0"
    return min(levels[0], max(1, max(picture.size) // side).bit_length() - 1)


def _unwrapped(data: bytes) -> bytes:
    """Return the largest picture of an ICO, alone: a PNG, or an ICO whose picture is no larger than may be.

    The picture may be larger than its entry says, and Pillow believes the picture.
    """
    entries = [data[start : start + 16] for start in range(6, 6 + 16 * min(_ICON.unpack_from(data)[2], 64), 16)]
    entry = max(entries, key=lambda each: (each[0] or 256) * (each[1] or 256))
    size, start = struct.unpack_from("<II", entry, 8)
    inner = data[start : start + size]
    if inner[:4] == _PNG:
        return inner
    length, width, height = _DIB.unpack_from(inner)
    if length < 40:
        raise UnshowableError("not a picture that can be read")
    _refuse_large(abs(width), abs(height))
    return _ICON.pack(0, 1, 1) + entry[:8] + struct.pack("<II", len(inner), 22) + inner


def _refuse_large(width: int, height: int) -> None:
    if width * height > MOST_PIXELS or max(width, height) > _LONGEST_SIDE:
        raise UnshowableError(f"{width:,} x {height:,} pixels are more than the {MOST_PIXELS // 10**6} million shown")


def _turned(picture: Image.Image) -> tuple[int, int]:
    """Return width and height as the camera was held."""
    lying = picture.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    width, height = picture.size
    return (height, width) if lying else (width, height)


def _with_exif(small: Image.Image, original: Image.Image) -> Image.Image:
    """Let the small picture know how the camera was held: converting drops it for some formats."""
    orientation = original.getexif().get(ExifTags.Base.Orientation)
    if orientation:
        small.getexif()[ExifTags.Base.Orientation] = orientation
    return small


def _plain(picture: Image.Image) -> Image.Image:
    """Return the first frame as RGB, as RGBA where something shows through, deep greys as F."""
    mode = "F" if _is_deep(picture) else "RGBA" if _is_seen_through(picture) else "RGB"
    # Itself where it can be: a copy would take as much again.
    return picture if picture.mode == mode else picture.convert(mode)


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def _is_seen_through(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info


def _levelled(deep: Image.Image) -> Image.Image:
    """Return deep greys from black for the darkest to white for the brightest: 16 bits rarely use all of them."""
    low, high = deep.getextrema()
    if not (isinstance(low, float) and isinstance(high, float)) or not high > low:
        return Image.new("RGB", deep.size, "#808080")
    scale = 255.0 / (high - low)
    return deep.point(lambda value: value * scale + -low * scale).convert("L").convert("RGB")


# -- drawings ---------------------------------------------------------------------------------------------------
MOST_DRAWN = 2 * 2**20  # bytes of an SVG that is looked into
_MOST_ELEMENTS = 200_000  # of a drawing, each counted as often as it is drawn
_WEIGHTS = {"stop": 0, "filter": 1000}  # a gradient is one thing; each pixel is filtered
_DEEPEST = 100
_NOT_DRAWN = {"script", "foreignobject", "iframe", "object", "embed", "link", "base", "meta", "handler", "listener"}
_NAMED, _URL_NAMED = re.compile(r"#([^\s\"')]+)"), re.compile(r"url\(\s*[\"']?#([^\s\"')]+)", re.IGNORECASE)
_PIXELS = re.compile(r"\s*(\d{1,9})(?:\.\d*)?(?:px)?\s*")
_INNER_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|avif);base64,[\w+/=]*")
_OUTSIDE = re.compile(r"//|\\|javascript:|image/svg|@import")  # addresses; what hides one; a drawing in the drawing
_NAMESPACES = {"xmlns": "http://www.w3.org/2000/svg", "xmlns:xlink": "http://www.w3.org/1999/xlink"}


def drawing(data: bytes) -> Preview:
    """Return an SVG written anew, as an image that runs nothing, names no address and is drawn in a moment.

    UnshowableError where it declares entities, is no XML, or has parts that draw parts so often that it would take
    minutes.
    """
    if len(data) > MOST_DRAWN:
        raise UnshowableError("the drawing is too large to be looked into")
    with decoding("the drawing is broken or cut off"):
        return _Redrawing().of(data)


@dataclass(slots=True)
class _Part:
    """What is drawn where an id is named: so many elements, the parts inside of it, and those that these name."""

    elements: int = 0
    names: Counter[str] = field(default_factory=Counter)


class _Redrawing:
    """An SVG that is written again while it is parsed, and whose parts are counted."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._open: list[tuple[str, str]] = []  # element and id
        self._parts = {"": _Part()}  # by id; all of it by no id
        self._styled: set[str] = set()  # ids that a style sheet names, for any element
        self._style: list[str] | None = None
        self._seen = self._skipped = 0  # open elements from the first that is left out
        self._size: dict[str, int] = {}

    def of(self, data: bytes) -> Preview:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler, parser.EntityDeclHandler = self._text, self._refuse
        parser.Parse(data, True)
        if self._seen < 2:
            raise UnshowableError("the drawing is empty")
        # A style sheet may name a part for any element, also for those of other parts: each multiplies.
        costs: dict[str, int] = {}
        drawn = [cost for name in self._styled if (cost := self._cost(name, costs, 0, 0)) > 1]
        styled = len(drawn) * min(_MOST_ELEMENTS, prod(cost - 1 for cost in drawn))
        self._cost("", {}, styled, 0)
        image, size = "".join(self._written).encode(), self._size
        return Preview(kind="picture", image=image, alpha=True, width=size.get("width"), height=size.get("height"))

    def _refuse(self, *_: object) -> None:
        raise UnshowableError("the drawing declares entities, which are not looked into")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        local = tag.rpartition(":")[2]
        if not self._open:
            if local != "svg":
                raise UnshowableError("it is no drawing")
            attributes = {**_NAMESPACES, **attributes}
            self._measure(attributes)
        if self._skipped or self._style is not None or local.lower() in _NOT_DRAWN:
            self._skipped += 1
            return
        name, around = attributes.get("id", ""), [each for _, each in self._open]
        kept = {each: value for each, value in attributes.items() if _is_kept(each, value)}
        named = {unquote(each) for value in kept.values() for each in _NAMED.findall(value)}
        if name and name not in around:
            self._parts.setdefault(around[-1] if around else "", _Part()).names[name] += 1
        name = name or (around[-1] if around else "")
        part = self._parts.setdefault(name, _Part())
        part.elements += _WEIGHTS.get(local, 1)
        # What names a part that it is inside of is never drawn, as what Inkscape calls its labels.
        part.names.update(named.difference(around, [name]))
        self._open.append((tag, name))
        self._seen += 1
        if len(self._open) > _DEEPEST or self._seen > _MOST_ELEMENTS:
            raise UnshowableError("the drawing has more parts than are looked into")
        self._written.append(f"<{tag}{''.join(f' {each}={quoteattr(value)}' for each, value in kept.items())}>")
        self._style = [] if local.lower() == "style" else None

    def _text(self, text: str) -> None:
        if not self._skipped and self._open:
            (self._written if self._style is None else self._style).append(escape(text))

    def _end(self, tag: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        self._open.pop()
        if self._style is not None:
            text, self._style = "".join(self._style), None
            if not _OUTSIDE.search(_INNER_PICTURE.sub("", text).lower()):
                self._styled.update(_URL_NAMED.findall(text))
                self._written.append(text)
        self._written.append(f"</{tag}>")

    def _measure(self, attributes: dict[str, str]) -> None:
        box = attributes.get("viewBox", "").replace(",", " ").split()
        for index, side in enumerate(("width", "height")):
            said = _PIXELS.fullmatch(attributes.get(side, "")) or _PIXELS.fullmatch("".join(box[index + 2 : index + 3]))
            if said and int(said[1]):
                self._size[side] = int(said[1])

    def _cost(self, name: str, known: dict[str, int], styled: int, depth: int) -> int:
        """Return how many elements are drawn for a name, of which each may draw what style sheets name."""
        if depth > 2 * _DEEPEST:
            raise UnshowableError("the drawing has parts that draw each other")
        if name not in known:
            part = self._parts.get(name, _Part())
            cost = part.elements * (1 + styled)
            for each, count in part.names.items():
                cost += count * self._cost(each, known, styled, depth + 1)
            known[name] = cost
        if known[name] > _MOST_ELEMENTS:
            raise UnshowableError("the drawing has parts that draw parts too often")
        return known[name]


def _is_kept(name: str, value: str) -> bool:
    """Return whether an attribute of a drawing runs nothing and leads nowhere."""
    local, squeezed = name.rpartition(":")[2].lower(), "".join(value.split())
    if name.partition(":")[0] == "xmlns":
        return True
    return not local.startswith("on") and not _OUTSIDE.search(_INNER_PICTURE.sub("", squeezed).lower())
