"""What is read from the first bytes of a picture or a sound: right where it can be, nothing where it can't."""

from __future__ import annotations

import io
import struct
import wave
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsmedia.format import wav
from fsmedia.format.sidecar import measure
from fsmedia.format.wav import PcmFormat
from fsmedia.models import ContentFields

NOTHING = ContentFields()
PNG = b"\x89PNG\r\n\x1a\n"


def png(width: int, height: int) -> bytes:
    return PNG + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0) + b"\0\0\0\0"


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


def jpeg(width: int, height: int, before: bytes = b"") -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\1\x11\0\2\x11\1\3\x11\1"
    return b"\xff\xd8" + before + b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


def webp_lossless(width: int, height: int) -> bytes:
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\0" * 8
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


def webp_extended(width: int, height: int) -> bytes:
    body = b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBPVP8X" + struct.pack("<I", len(body)) + body


def webp_lossy(width: int, height: int) -> bytes:
    body = b"\x10\2\0\x9d\1\x2a" + struct.pack("<HH", width, height) + b"\0" * 8
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBPVP8 " + struct.pack("<I", len(body)) + body


def sound(rate: int, channels: int, frames: int, width: int = 2) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(b"\0" * frames * channels * width)
    return out.getvalue()


PICTURES = {
    "image/png": png, "image/gif": gif, "image/jpeg": jpeg,
    "image/webp": webp_lossless, "image/webp;a=b": webp_extended, "IMAGE/WEBP": webp_lossy,
}  # fmt: skip


def ask(mime_type: str, data: bytes, content: ContentFields = NOTHING, size: int | None = None) -> dict[str, Any]:
    """Measure as a draft does, with at most 8 KiB of the bytes."""
    return measure(content, mime_type, data[:8192], len(data) if size is None else size)


@pytest.mark.parametrize("mime_type", PICTURES)
@pytest.mark.parametrize("sides", [(1, 1), (640, 480), (480, 640), (16383, 16383)])
def test_pictures(mime_type: str, sides: tuple[int, int]) -> None:
    assert ask(mime_type, PICTURES[mime_type](*sides)) == {"width": sides[0], "height": sides[1]}


def test_pictures_that_pillow_wrote() -> None:
    image = pytest.importorskip("PIL.Image").new("RGB", (37, 21), "red")
    for kind in ("png", "gif", "jpeg", "webp", "bmp", "tiff"):
        out = io.BytesIO()
        image.save(out, kind)
        assert ask(f"image/{kind}", out.getvalue()) == {"width": 37, "height": 21}, kind


def test_a_photograph_has_its_size_behind_other_segments() -> None:
    exif = b"\xff\xe1" + struct.pack(">H", 6002) + b"Exif\0\0" + b"\0" * 5994
    assert ask("image/jpeg", jpeg(4000, 3000, exif)) == {"width": 4000, "height": 3000}
    assert ask("image/jpeg", jpeg(4000, 3000, exif * 2)) == {}, "beyond the first 8 KiB"


@pytest.mark.parametrize("rate", [8000, 24_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_sound(rate: int, channels: int) -> None:
    found = ask("audio/wav", sound(rate, channels, rate * 3 // 2))
    assert found == {"duration": 1.5, "channels": channels, "bit_rate": rate * channels * 16}
    assert ask("audio/x-wav", sound(rate, channels, rate)) in ({}, found | {"duration": 1})


@pytest.mark.parametrize(("frames", "duration"), [(0, 0), (1, 0.000042), (24_000, 1), (36_000, 1.5), (8000, 0.333333)])
def test_duration_is_whole_or_to_the_microsecond(frames: int, duration: float) -> None:
    found = ask("audio/wav", wav.header(PcmFormat(24_000, 1), frames * 2) + b"\0" * frames * 2)
    assert found["duration"] == duration
    assert isinstance(found["duration"], int) == (frames % 24_000 == 0)


def test_a_long_sound_is_told_by_its_header() -> None:
    size = 2**32 - 100
    found = ask("audio/wav", wav.header(PcmFormat(24_000, 1), size) + b"\0" * 100, size=size + 44)
    assert found["duration"] == pytest.approx(size / 48_000, abs=1e-6)


def test_the_callers_values_win() -> None:
    given_all = ContentFields(width=1, height=2, duration=3.5, channels=4, bit_rate=5)
    assert ask("image/png", png(9, 9), given_all) == {}
    assert ask("audio/wav", sound(8000, 1, 8000), given_all) == {}
    assert ask("image/png", png(9, 8), ContentFields(width=1)) == {"height": 8}
    assert ask("image/png", png(9, 8), ContentFields(width=0)) == {"height": 8}
    assert ask("audio/wav", sound(8000, 1, 8000), ContentFields(channels=2)) == {"duration": 1, "bit_rate": 128_000}


@pytest.mark.parametrize("mime_type", ["audio/mpeg", "video/mp4", "application/pdf", "text/plain", "audio/pcm"])
def test_other_types_are_not_looked_at(mime_type: str) -> None:
    assert ask(mime_type, png(9, 9)) == {}
    assert ask(mime_type, sound(8000, 1, 8000)) == {}


@pytest.mark.parametrize(
    ("mime_type", "data"),
    [
        ("image/png", b""), ("image/png", PNG), ("image/png", png(9, 9)[:20]), ("image/png", png(0, 9)),
        ("image/png", png(9, 0)), ("image/png", png(2**31, 9)), ("image/png", png(2**32 - 1, 2**32 - 1)),
        ("image/gif", gif(0, 0)), ("image/jpeg", b"\xff\xd8\xff"), ("image/jpeg", b"\xff\xd8\xff\xe0\0\0" * 1000),
        ("image/jpeg", b"\xff\xd8" + b"\xff\xe0\xff\xff" + b"\xff" * 8000), ("image/jpeg", jpeg(0, 0)),
        ("image/webp", b"RIFF\0\0\0\0WEBPVP8?" + b"\0" * 20), ("image/tiff", b"II*\0\xff\xff\xff\xff"),
        ("image/tiff", b"II+\0\x08\0\0\0" + b"\xff" * 8), ("image/bmp", b"BM" + b"\0" * 60),
        ("image/heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), ("image/svg+xml", b"<svg/>"),
        ("image/svg+xml", b'<svg width="100%" height="auto"/>'), ("image/svg+xml", b'<svg width="0.4" height="0.4"/>'),
        ("image/svg+xml", b'<svg width="' + b"9" * 2000 + b'" height="1"/>'),
        ("image/x-portable-pixmap", b"P6 " + b"9" * 6000 + b" 1 255 "), ("image/unheard-of", b"\0" * 100),
        ("audio/wav", b""), ("audio/wav", b"RIFF\0\0\0\0WAVE"),
        ("audio/wav", b"RIFF\xff\xff\xff\xffWAVE" + b"\xff" * 100),
        ("audio/wav", wav.header(PcmFormat(24_000, 1), 0)[:40]),
        ("audio/wav", wav.header(PcmFormat(24_000, 1), 1000) + b"\0" * 10),  # promises more than there is
        ("audio/wav", wav.header(PcmFormat(24_000, 1), 44)),  # cut right behind its header
        ("audio/wav", b"RIFF\xff\xff\xff\xff" + wav.header(PcmFormat(8000, 1), 2**32 - 100)[8:]),
        ("audio/wav", wav.header(PcmFormat(8000, 1), 8)[:24] + b"\0\0\0\0" + wav.header(PcmFormat(8000, 1), 8)[28:]),
        ("audio/wav", wav.header(PcmFormat(8000, 1), 8)[:22] + b"\0\0" + wav.header(PcmFormat(8000, 1), 8)[24:]),
        ("audio/wav", wav.header(PcmFormat(8000, 1), 8)[:34] + b"\0\0" + wav.header(PcmFormat(8000, 1), 8)[36:]),
        ("audio/wav", b"ID3" + sound(8000, 1, 8)),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else f"{value[:60]!r}",
)  # fmt: skip
def test_broken_and_lying_headers_tell_nothing(mime_type: str, data: bytes) -> None:
    assert ask(mime_type, data) == {}


HEADS = [b"", PNG, b"\xff\xd8\xff", b"GIF89a", b"RIFF\x20\0\0\0WEBPVP8 ", b"RIFF\x20\0\0\0WEBPVP8X", b"II*\0", b"MM\0*"]
HEADS += [b"II+\0", b"BM", b"P6 ", b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x18ftypheic", b"<svg ", b"<?xml ", b"8BPS"]
HEADS += [b"RIFF\x20\0\0\0WAVEfmt ", b"RIFF\x20\0\0\0WAVEfmt \x10\0\0\0\1\0", wav.header(PcmFormat(8000, 1), 8)[:40]]


@given(
    mime_type=st.sampled_from(["image/png", "image/jpeg", "image/svg+xml", "image/heic", "audio/wav"]),
    head=st.sampled_from(HEADS),
    rest=st.binary(max_size=400),
    size=st.none() | st.integers(0, 2**40),
)
@example(mime_type="image/svg+xml", head=b"<svg ", rest=b'width="1e9" height="nan"/>', size=None)
def test_any_bytes(mime_type: str, head: bytes, rest: bytes, size: int | None) -> None:
    found = ask(mime_type, head + rest, size=size)
    ContentFields(**found)  # what is told can be stored
    assert found.keys() in (set(), {"width", "height"}, {"duration", "channels", "bit_rate"})
    assert all(value > 0 for name, value in found.items() if name != "duration")
    assert all(found[name] < 2**31 for name in ("width", "height") if name in found)
    assert found.get("duration", 0) >= 0
