"""Thumbnail pictures out of strangers' large ones, by Pillow: only formats that are pictures, sizes looked at first.

Nothing global of Pillow is changed. Whatever the bytes are, the answer is a small picture or an `UnshowableError`.
"""

from __future__ import annotations

import functools
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING

import imagesize
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features

from fsmedia.display.previewer import Preview, UnshowableError, decoding

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_PIXELS = 50_000_000  # larger pictures are not decoded: a hundred bytes can claim to be any size

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA")
# Not EPS, which runs a program; nor ICO, whose inner pictures may be larger than it says; nor others whose decoders few
# people look at.
_PLAIN = {"PNG", "JPEG", "GIF", "WEBP", "BMP", "PPM", "TGA"}
# Not TIFF, AVIF and JPEG 2000: they are made of pieces, whose decoders may take more than the picture's size.
_HELD = {"WEBP": 8, "AVIF": 5, "TIFF": 4}  # bytes of a pixel that the decoder has beside the picture
_LONGEST_SIDE = 100_000  # each line of a picture takes memory of its own, however short it is
_QUALITY = 74  # method 1 takes a quarter of the time of 3, for a tenth more bytes
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def thumbnail(data: bytes, side: int) -> Preview:
    """Return a picture that fits into a square of so many pixels; UnshowableError if there is none to show."""
    with _looked_at(data) as picture:
        width, height = _turned(picture)
        picture.draft("RGB", (side, side))  # JPEG decodes to an eighth as fast as that saves work
        small = _plain(picture)
        small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        if small.mode == "F":
            small = _levelled(small)
        image = packed(ImageOps.exif_transpose(_with_exif(small, picture)))
        return Preview(kind="picture", image=image, width=width, height=height)


@contextmanager
def _looked_at(data: bytes) -> Iterator[Image.Image]:
    """Open a picture of which nothing is decoded yet; UnshowableError where it can't be, and for what the block raises.

    Sizes are looked at by the header, by Pillow, and of the tiles inside.
    """
    with decoding("the picture is broken or cut off"):
        try:
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
        picture.draft("RGB", (side, side))
        own = 1 if picture.mode in ("1", "L", "P") else 2 if "16" in picture.mode else 4
        converted = 0 if picture.mode in ("F", "RGB") else 4  # RGBA too: it is made smaller as another mode
        if _is_seen_through(picture) and picture.mode != "RGBA":
            converted = 8
        return held + (own + converted + 1) * picture.width * picture.height, name in _PLAIN


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
        picture.save(file, "WEBP", quality=_QUALITY, method=1, exif=b"", icc_profile=None, xmp=b"")
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
