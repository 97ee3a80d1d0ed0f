"""Thumbnail pictures out of strangers' large ones, by Pillow: only formats that are pictures, sizes looked at first.

Nothing global of Pillow is changed. Whatever the bytes are, the answer is a small picture or an `UnshowableError`.
"""

from __future__ import annotations

import functools
import io
from dataclasses import replace

import imagesize
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features

from fsmedia.display.previewer import Preview, UnshowableError, decoding

MOST_PIXELS = 50_000_000  # larger pictures are not decoded: a hundred bytes can claim to be any size

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA")
# Not EPS, which runs a program; nor ICO, whose inner pictures may be larger than it says; nor others whose decoders few
# people look at.
_LONGEST_SIDE = 100_000  # each line of a picture takes memory of its own, however short it is
_QUALITY = 74  # method 1 takes a quarter of the time of 3, for a tenth more bytes
_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def thumbnail(data: bytes, side: int) -> Preview:
    """Return a picture that fits into a square of so many pixels; UnshowableError if there is none to show."""
    with decoding("the picture is broken or cut off"):
        try:
            # Sizes are looked at before anything is decoded: by the header, by Pillow, and of the tiles inside.
            _refuse_large(*_claimed_size(data))
            with Image.open(io.BytesIO(data), formats=_formats()) as picture:
                _refuse_large(*picture.size)
                # Decoding a TIFF's tile takes its memory, however little of it the picture shows.
                tags = getattr(picture, "tag_v2", {})
                _refuse_large(int(tags.get(_TILE_WIDTH, 0)), int(tags.get(_TILE_LENGTH, 0)))
                width, height = _turned(picture)
                picture.draft("RGB", (side, side))  # JPEG decodes to an eighth as fast as that saves work
                small = _plain(picture)
                small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
                image = packed(ImageOps.exif_transpose(_with_exif(small, picture)))
                return Preview(kind="picture", image=image, width=width, height=height)
        except UnidentifiedImageError as error:
            raise UnshowableError("not a picture that can be read") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # a warning may be an error
            raise UnshowableError(f"more than {MOST_PIXELS // 10**6} megapixels") from error


def embedded(head: bytes, side: int) -> Preview:
    """Return the preview that a camera put into the first bytes of a JPEG; UnshowableError if there is none."""
    try:
        with decoding("its head is broken"), Image.open(io.BytesIO(head), formats=("JPEG",)) as picture:
            exif = picture.info["exif"].removeprefix(b"Exif\x00\x00")
            found = picture.getexif().get_ifd(ExifTags.IFD.IFD1)
            width, height = _turned(picture)
            start = found[_THUMBNAIL_OFFSET]
            inner = thumbnail(exif[start : start + found[_THUMBNAIL_LENGTH]], side)
    except UnshowableError as error:
        raise UnshowableError("too large to be read for a preview") from error
    return replace(inner, width=width, height=height)


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
    """Return the first frame in eight bits a channel: RGB, or RGBA where something shows through."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _levelled(picture)
    seen_through = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
    return picture.convert("RGBA" if seen_through else "RGB")


def _levelled(picture: Image.Image) -> Image.Image:
    """Return deep greys so that the darkest is black and the brightest white: 16 bits rarely use all of them."""
    deep = picture.convert("F")
    low, high = deep.getextrema()
    if not (isinstance(low, float) and isinstance(high, float)) or not high > low:
        return Image.new("RGB", picture.size, "#808080")
    scale = 255.0 / (high - low)
    return deep.point(lambda value: value * scale + -low * scale).convert("L").convert("RGB")
