"""Media for the tests of displays, made on the spot: good ones, strange ones, broken ones, and those that lie."""

import io
import json
import math
import random
import struct
import wave
import zlib
from functools import cache
from html.parser import HTMLParser
from typing import Any

import av
from PIL import Image, ImageDraw

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.storages import S3Storage
from tests.transfers import opened

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


def scene(number: int, size: tuple[int, int] = (640, 480), kind: str = "JPEG", **options: object) -> bytes:
    """A picture of soft spots where no other number has them."""
    dice = random.Random(number)
    spots = Image.frombytes("RGB", (9, 7), dice.randbytes(9 * 7 * 3))
    return encoded(spots.resize(size, Image.Resampling.BICUBIC), kind, **options)


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
def coded(container: str, video: str = "", audio: str = "", seconds: float = 1.0) -> bytes:
    """A film, or a sound without `video`, of any codecs in any container that FFmpeg writes."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        if video:
            options = {"x265-params": "log-level=none"} if video == "libx265" else {}
            film = out.add_stream(video, rate=10, options=options)
            film.width, film.height, film.pix_fmt = 160, 120, "yuv420p"
        if audio:
            heard = out.add_stream(audio, rate=48_000, layout="mono")
            span, shape = heard.codec_context.frame_size or None, heard.codec_context.format.name
            resampler = av.AudioResampler(shape, "mono", 48_000, frame_size=span)
            wave = av.AudioFrame(format="s16", layout="mono", samples=4800)
            wave.sample_rate = 48_000
            for index in range(int(seconds * 10)):
                values = (int(20_000 * math.sin(each / 9) * index / 10 / seconds) for each in range(4800))
                wave.planes[0].update(struct.pack("<4800h", *values))
                wave.pts = index * 4800
                for piece in resampler.resample(wave):
                    out.mux(heard.encode(piece))
            for piece in resampler.resample(None):
                out.mux(heard.encode(piece))
            out.mux(heard.encode(None))
        if video:
            for index in range(int(seconds * 10)):
                image = Image.new("RGB", (160, 120), (30, 60 + index, 90))
                ImageDraw.Draw(image).ellipse((index, 20, index + 40, 60), fill="white")
                out.mux(film.encode(av.VideoFrame.from_image(image)))
            out.mux(film.encode(None))
    return file.getvalue()


@cache
def paper(pages: int = 2) -> bytes:
    sheets = [Image.new("RGB", (300, 420), "white") for _ in range(pages)]
    ImageDraw.Draw(sheets[0]).rectangle((20, 20, 280, 120), fill=(60, 90, 200))
    return encoded(sheets[0], "PDF", save_all=True, append_images=sheets[1:])


def locked_paper() -> bytes:
    """A PDF that nobody has the password of."""
    lock = b"<</Filter/Standard/V 1/R 2/P -4/O<%s>/U<%s>>>" % (b"11" * 32, b"22" * 32)
    return _paper_of(lock, end=b"/Encrypt 4 0 R/ID[<00><00>]")


def hostile_paper() -> bytes:
    """A PDF that tells its reader to run a script, and to open an address, when it is opened."""
    script = b"<</S/JavaScript/JS(app.alert\\(1\\);document.title='ran')/Next<</S/URI/URI(http://127.0.0.1:9/ran)>>>>"
    return _paper_of(script, root=b"/OpenAction 4 0 R/AA<</O 4 0 R>>")


def _paper_of(last: bytes, *, root: bytes = b"", end: bytes = b"") -> bytes:
    parts = [
        b"<</Type/Catalog/Pages 2 0 R%s>>" % root, b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>", last,
    ]  # fmt: skip
    made, table = b"%PDF-1.4\n", b"xref\n0 5\n0000000000 65535 f \n"
    for number, part in enumerate(parts, 1):
        table += b"%010d 00000 n \n" % len(made)
        made += b"%d 0 obj%s endobj\n" % (number, part)
    return made + table + b"trailer<</Size 5/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF\n" % (end, len(made))


DRAWN = b'<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"><rect width="9" height="9"/></svg>'
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


class Page(HTMLParser):
    """A page read by a parser that is not the package's: its tags, and what stands in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        else:
            self.texts.append(data)

    def of(self, style: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if style in (attributes.get("class") or "").split()]

    def count(self, tag: str) -> int:
        return [name for name, _ in self.tags].count(tag)

    def handlers(self) -> list[str]:
        """What would run a stranger's code."""
        return [name for _, attributes in self.tags for name in attributes if name.startswith("on")]

    @property
    def data(self) -> dict[str, Any]:
        """The data of its gallery, as the viewer reads them."""
        (text,) = [text for attributes, text in self.scripts if attributes.get("class") == "fsm-data"]
        data: dict[str, Any] = json.loads(text)
        return {**data, "items": [data["common"] | each for each in data["items"]]}

    @property
    def originals(self) -> dict[int, dict[str, str | None]]:
        """The originals in it, by the numbers of their media, with their content."""
        return {
            int(attributes["data-i"] or ""): {**attributes, "content": text}
            for attributes, text in self.scripts
            if attributes.get("class") == "fsm-original"
        }


def filled(storage: S3Storage, count: int, data: bytes) -> None:
    """Copy one stored picture in the storage: a store call for each would only test the server."""
    first = put(opened(storage).create(), data, "image/png")
    sidecar = json.loads(storage.read(f"{first}.meta"))
    for index in range(1, count):
        key = first.replace("/0000_00_", f"/{index:04d}_00_")
        storage.write(key, data)
        storage.write(f"{key}.meta", json.dumps({**sidecar, "message_idx": index}).encode())
