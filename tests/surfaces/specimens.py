"""Media for the tests of displays, made on the spot: good ones, strange ones, broken ones, and those that lie."""

import io
import math
import struct
import wave
import zlib
from functools import cache

import av
from PIL import Image, ImageDraw

from fsmedia import MediaContent, MediaMetadata, MediaStore

HOSTILE = '"><script>document.title="ran"</script><img src=x onerror="document.title=\'ran\'">\u202e\x1b'
"""A name that tries to be markup, to turn the line around and to command a terminal."""


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(size: tuple[int, int] = (400, 300), kind: str = "PNG", mode: str = "RGB", **options: object) -> bytes:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 2, size[1]), fill=(220, 40, 30))
    return encoded(image.convert(mode), kind, **options)


@cache
def noise() -> bytes:
    """A picture that no encoder makes small."""
    return encoded(Image.effect_noise((300, 200), 90))


def turned_jpeg() -> bytes:
    """A picture of 400 x 300 that the camera held upright, with a place in its EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x8825] = {1: "N", 2: (52.0, 30.0, 0.0)}
    exif[0x010E] = "secret-place"
    return picture(kind="JPEG", exif=exif)


def deep_png() -> bytes:
    """Sixteen bits of grey, of which only a few are used."""
    image = Image.new("I;16", (64, 64))
    image.putdata([1000 + 4 * x for _ in range(64) for x in range(64)])
    return encoded(image)


def moving_gif() -> bytes:
    frames = [Image.new("P", (40, 40), index * 80) for index in range(3)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


def png(width: int, height: int, rows: bytes = b"", kind: int = 2) -> bytes:
    """A PNG of eight bits that claims to be of any size."""
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    made = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")):
        made += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return made


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a hundred bytes that claims to be 3.6 gigapixels."""
    return png(width, height)


def jpeg_with_preview() -> bytes:
    """A JPEG that carries a small one in its EXIF data, as cameras write them."""
    small = picture((160, 120), "JPEG")
    # TIFF header, an empty IFD0, then IFD1 with the two tags that say where the small picture lies.
    first = struct.pack("<2sHIHI", b"II", 42, 8, 0, 14)
    start = len(first) + 2 + 2 * 12 + 4
    second = struct.pack("<H", 2) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((0x0201, start), (0x0202, len(small)))
    )
    return picture((1200, 900), "JPEG", exif=b"Exif\x00\x00" + first + second + struct.pack("<I", 0) + small)


@cache
def sound(seconds: float = 1.0, rate: int = 8000) -> bytes:
    count = int(seconds * rate)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        out.writeframes(struct.pack(f"<{count}h", *(int(30000 * i / count * math.sin(i / 3)) for i in range(count))))
    return file.getvalue()


@cache
def film(seconds: float = 2.0, container: str = "mp4", size: tuple[int, int] = (160, 120)) -> bytes:
    """A film that begins in black: the first half second shows nothing."""
    file = io.BytesIO()
    codec = "mpeg4" if container == "mp4" else "libvpx"
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(int(seconds * 10)):
            colour = (0, 0, 0) if index < 5 else (30, 160, 90)
            image = Image.new("RGB", size, colour)
            ImageDraw.Draw(image).ellipse((index, 20, index + 40, 60), fill=(250, 220, 90) if index >= 5 else colour)
            for packet in stream.encode(av.VideoFrame.from_image(image)):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return file.getvalue()


@cache
def paper(pages: int = 2) -> bytes:
    sheets = [Image.new("RGB", (300, 420), "white") for _ in range(pages)]
    ImageDraw.Draw(sheets[0]).rectangle((20, 20, 280, 120), fill=(60, 90, 200))
    return encoded(sheets[0], "PDF", save_all=True, append_images=sheets[1:])


SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" onload="document.title=\'ran\'">'
    b'<script>document.title="ran"</script></svg>'
)
HTML = b"<!doctype html><script>document.title='ran'</script><h1>hello</h1>"
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


def put(store: MediaStore, data: bytes, mime_type: str, **fields: object) -> str:
    """Store a media of run r1, unless told otherwise."""
    caption = fields.pop("caption", None)
    metadata = MediaMetadata(**{"run_id": "r1", "conversation_id": "c1", **fields})  # type: ignore[arg-type]
    return store.store_media(MediaContent.from_bytes(data, mime_type, caption=caption), metadata)
