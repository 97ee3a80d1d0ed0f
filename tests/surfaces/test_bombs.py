"""Small files that would take gigabytes or hours: each is refused before the memory or the time is taken."""

from __future__ import annotations

import io
import os
import struct
import time
import zlib
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.display import films, pictures
from fsmedia.display.gallery import BUDGET
from fsmedia.display.previewer import OpenedSource, Preview, PreviewCache, preview_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.storages import MemoryStorage

SIDE = 256


def seen(data: bytes, mime_type: str) -> Preview:
    return preview_of(OpenedSource(io.BytesIO(data)), mime_type, SIDE)


def bits(*numbers: tuple[int, int]) -> bytes:
    text = "".join(f"{value:0{width}b}" for value, width in numbers)
    return bytes(int(text[start : start + 8], 2) for start in range(0, len(text), 8))


def remainder(data: bytes, polynomial: int, width: int) -> bytes:
    value = 0
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (width - 1) else 0)
            value &= (1 << width) - 1
    return value.to_bytes(width // 8, "big")


def silence(rate: int, samples: int = 65_535) -> bytes:
    """One frame of FLAC that says one value: a few bytes, whatever their time."""
    info = bits((samples, 16), (samples, 16), (0, 48), (rate, 20), (0, 3), (15, 5), (samples, 36)) + bytes(16)
    head = bits((0b11111111111110, 14), (0, 2), (0b0111, 4), (0, 8), (0b100, 3), (0, 1), (0, 8))
    head += struct.pack(">H", samples - 1)
    frame = head + remainder(head, 7, 8) + b"\0" + struct.pack(">h", 100)
    return b"fLaC\x80" + len(info).to_bytes(3, "big") + info + frame + remainder(frame, 0x8005, 16)


def tiled(side: int) -> bytes:
    """A TIFF of 50 x 50 pixels in one tile of any size."""
    data = zlib.compress(bytes(side * side), 9)
    tags = [(256, 50), (257, 50), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 8)]
    tags.append((325, len(data)))
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + table + bytes(4)


def strip(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes((width + 1) * height), 9))
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b"")


def growing(*sides: int) -> bytes:
    """A film whose head says the first size, and whose frames are black first, then white and of other sizes."""
    packets = []
    for number, side in enumerate(sides):
        codec = av.CodecContext.create("libvpx-vp9", "w")
        codec.width = codec.height = side
        codec.pix_fmt, codec.time_base = "yuv420p", Fraction(1, 25)
        frame = av.VideoFrame(side, side, "yuv420p")
        for plane, value in zip(frame.planes, (235 if number else 16, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        packets += [*codec.encode(frame), *codec.encode(None)]
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.width = stream.height = sides[0]
        for moment, packet in enumerate(packets):
            fresh = av.Packet(bytes(packet))
            fresh.pts = fresh.dts = moment
            fresh.time_base, fresh.stream, fresh.is_keyframe = Fraction(1, 25), stream, True
            container.mux(fresh)
    return file.getvalue()


@pytest.mark.parametrize("rate", [1, 8, 50])
def test_a_sound_of_one_hertz_is_not_stretched(rate: int) -> None:
    """81 bytes took a gigabyte and more: an hour of silence at eight thousand samples a second."""
    preview = seen(silence(rate), "audio/flac")
    assert "longer than is drawn" in preview.reason
    assert not preview.peaks
    assert seen(silence(8000), "audio/flac").peaks


def test_a_tile_is_no_larger_than_a_picture_may_be() -> None:
    """A TIFF of two megabytes took two gigabytes: only a corner of its tile is picture."""
    assert seen(tiled(64), "image/tiff").image
    assert "8,000 x 8,000 pixels are more" in seen(tiled(8000), "image/tiff").reason


@pytest.mark.parametrize(("width", "height"), [(1, 2_000_000), (2_000_000, 1)])
def test_a_line_is_not_endless(width: int, height: int) -> None:
    """Few pixels, but a line each: the pointers and the working memory of a line outweigh them."""
    assert "pixels are more" in seen(strip(width, height), "image/png").reason
    assert seen(strip(min(width, 2000), min(height, 2000)), "image/png").image


def test_a_number_of_a_million_digits_is_not_read() -> None:
    """Reading the size of such a picture took time by the square of the digits: twenty megabytes, an hour."""
    begun = time.monotonic()
    assert "broken" in seen(b"P6\n" + b"1" * 2_000_000 + b" 1\n255\n", "image/x-portable-pixmap").reason
    assert time.monotonic() - begun < 5
    plain = b"P6\n60 50\n255\n" + bytes(60 * 50 * 3)
    assert (seen(plain, "image/x-portable-pixmap").width, seen(plain, "image/x-portable-pixmap").height) == (60, 50)
    assert "more than 50 megapixels" in seen(b"P6\n60000 50000\n255\n", "image/x-portable-pixmap").reason


def test_a_film_can_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head said 64 x 64, a later frame was of 256 million pixels."""
    grown = growing(64, 640)
    assert max(opened_pixel(seen(grown, "video/webm"))) > 200
    for module in (films, pictures):
        monkeypatch.setattr(module, "MOST_PIXELS", 100_000)
    assert "broken or cut off" in seen(grown, "video/webm").reason


def opened_pixel(preview: Preview) -> tuple[int, ...]:
    with pictures.Image.open(io.BytesIO(preview.image)) as picture:
        found = picture.convert("RGB").getpixel((10, 10))
    assert isinstance(found, tuple)
    return found


def test_trimming_removes_nothing_that_is_not_the_caches(tmp_path: Path) -> None:
    """Somebody names a folder that has a `previews` with work in it."""
    work = tmp_path / "previews" / "2026" / "holiday.raw"
    work.parent.mkdir(parents=True)
    work.write_bytes(bytes(1000))
    left = tmp_path / "previews" / "ab" / ".tmp-killed"
    left.parent.mkdir()
    left.write_bytes(bytes(1000))
    for path in (work, left):
        os.utime(path, (1, 1))
    cache = PreviewCache(tmp_path / "previews", most_bytes=500)
    for number in range(20):
        cache.put([number], Preview(kind="text", text="x" * 100))
    cache.trim()
    assert work.read_bytes() == bytes(1000)
    assert not left.exists()


def test_a_comparison_keeps_to_its_limit_however_much_there_is(memory_storage: MemoryStorage) -> None:
    """Thousands of positions with long captions made a page of 22 MiB that said it had 2."""
    store = MediaStore(memory_storage.url)
    content = MediaContent(data=b"text", mime_type="text/plain", caption="<" * 400)
    store.store_many(
        [
            (content, MediaMetadata(run_id=run, conversation_id='"' * 200, message_idx=number))
            for run in ("a", "b")
            for number in range(300)
        ]
    )
    made = store.compare(["a", "b"], limit=300, by="conversation")
    page = made.html()
    assert len(made) == 300
    assert BUDGET * 0.9 < len(page.encode()) <= BUDGET
    assert "positions left out: a page holds at most 2.0 MiB" in page
    assert "left out" not in store.compare(["a", "b"], limit=20).html()
