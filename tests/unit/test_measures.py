"""Sizes and lengths: a table of files with the truth beside it, streamed and cut in any way, and strangers' bytes."""

import io
import random
import struct
import time
from collections.abc import Callable
from fractions import Fraction
from functools import cache, partial
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format.measures import HEAD_BYTES, TAIL_BYTES, measure
from tests.surfaces.specimens import encoded, picture, turned_jpeg

# -- files ---------------------------------------------------------------------------------------------------------


Words = tuple[tuple[str, str], ...]


class Pipe(io.RawIOBase):
    """Where nothing that was written can be changed: what an API streams."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


def tone(seconds: float, rate: int, channels: int) -> np.ndarray[Any, Any]:
    # Silence, then noise: an encoder of varying bit rate takes a hundred times as much of the second half.
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (channels, int(seconds * rate))).astype("float32")
    wave[:, : wave.shape[1] // 2] = 0
    return wave


@cache
def sounding(
    container: str, codec: str, seconds: float = 2.0, rate: int = 48_000, *, channels: int = 1, pipe: bool = False,
    kind: str = "fltp", bit_rate: int = 0, options: Words = (), settings: Words = (),
) -> bytes:  # fmt: skip
    file: Any = Pipe() if pipe else io.BytesIO()
    with av.open(file, "w", format=container, options=dict(options)) as out:
        layout = "mono" if channels == 1 else "stereo"
        stream = out.add_stream(codec, rate=rate, options=dict(settings), layout=layout, format=kind)
        if bit_rate:
            stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(tone(seconds, rate, channels), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        frames = av.AudioResampler(kind, layout, rate, stream.codec_context.frame_size or 1024).resample(frame)
        for each in [*frames, None]:
            out.mux(stream.encode(each))
    return bytes(file.data if pipe else file.getvalue())


@cache
def film(container: str, codec: str, seconds: int = 3, options: Words = (), size: int = 64) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=dict(options)) as out:
        stream = out.add_stream(codec, rate=10)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, 10)
        rng = np.random.default_rng(0)
        for number in range(seconds * 10):
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 255, (size, size, 3), np.uint8), "rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def wav(
    form: int = 1, bits: int = 16, seconds: float = 1.0, *, told: int | None = None, extensible: bool = False,
    front: bytes = b"", behind: bytes = b"", channels: int = 1,
) -> bytes:  # fmt: skip
    frame = bits // 8 * channels
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else form, channels, 24_000, 24_000 * frame, frame, bits)
    if extensible:
        head += struct.pack("<HHIH", 22, bits, 4, form) + bytes.fromhex("000000001000800000aa00389b71")
    sound = bytes(int(24_000 * seconds) * frame)
    size = len(sound) if told is None else told
    body = (
        b"WAVEfmt " + struct.pack("<I", len(head)) + head + front + b"data" + struct.pack("<I", size) + sound + behind
    )
    return b"RIFF" + struct.pack("<I", min(2**32 - 1, len(body) if told is None else told + 36)) + body


def rf64(seconds: float = 1.0) -> bytes:
    count = int(24_000 * seconds) * 2
    sizes = b"ds64" + struct.pack("<IQQQI", 28, count + 72, count, count // 2, 0)
    told = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 24_000, 48_000, 2, 16)
    behind = b"LIST\4\0\0\0INFO"
    return b"RF64\xff\xff\xff\xffWAVE" + sizes + told + b"data\xff\xff\xff\xff" + bytes(count) + behind


def with_parts(jpeg: bytes, count: int) -> bytes:
    """A camera's picture: so many bytes stand before its size."""
    parts = b"".join(
        b"\xff\xe1" + struct.pack(">H", min(65_000, count - start) + 2) + b"X" * min(65_000, count - start)
        for start in range(0, count, 65_000)
    )
    return jpeg[:2] + parts + jpeg[2:]


def tiff(side: tuple[int, int] = (400, 300)) -> bytes:
    image = Image.frombytes("RGB", side, random.Random(0).randbytes(side[0] * side[1] * 3))
    return encoded(image, "TIFF", compression="tiff_lzw")


def tagged(data: bytes) -> bytes:
    return b"ID3\4\0\0" + bytes([0, 0, 2000 >> 7, 2000 & 127]) + bytes(2000) + data


def mp3(**words: Any) -> bytes:
    return sounding("mp3", "libmp3lame", **words)


def unknown_length(mp4: bytes) -> bytes:
    at = mp4.index(b"mvhd")
    return mp4[: at + 20] + b"\xff" * 4 + mp4[at + 24 :]


def streamed_aiff() -> bytes:
    data = sounding("aiff", "pcm_s16be", kind="s16")
    at = data.index(b"COMM")
    return data[: at + 10] + b"\x7f\xff\xff\xff" + data[at + 14 :]


def ogg_flac(start: int = 0) -> bytes:
    def page(flags: int, granule: int, body: bytes) -> bytes:
        sizes = bytes([*[255] * (len(body) // 255), len(body) % 255])
        return b"OggS\0" + struct.pack("<BqIIIB", flags, granule, 7, 0, 0, len(sizes)) + sizes + body

    flac = sounding("flac", "flac", kind="s16")
    return page(2, 0, b"\x7fFLAC\1\0\0\1" + flac[:42]) + page(4, start + 96_000, flac[-5000:])


opus = partial(sounding, "ogg", "libopus", kind="flt")
vorbis = partial(sounding, "ogg", "vorbis", 3, channels=2, settings=(("strict", "experimental"),))
BIG_JPEG = picture(kind="JPEG") + bytes(600_000)  # a telephone's film behind its picture
FAST, FRAGMENTS = (("moov_size", "20000"),), (("movflags", "frag_keyframe+empty_moov"),)
PLAIN, VARYING = (("write_xing", "0"),), (("flags", "+qscale"), ("global_quality", "1062"))
SVG = '<?xml version="1.0"?><!-- <svg width="9" height="9"/> -->\n<svg xmlns="a" {}><rect width="3" height="4"/></svg>'

# What it is, its MIME type, what makes it, and what is true of it: pixels, seconds. None: nobody can tell.
FILES: dict[str, tuple[str, Callable[[], bytes], Any]] = {
    "JPEG": ("image/jpeg", lambda: picture((640, 480), "JPEG"), (640, 480)),
    "JPEG, 20,000 bytes before its size": ("image/jpeg", lambda: with_parts(picture(kind="JPEG"), 20_000), (400, 300)),
    "JPEG, 200,000 bytes before": ("image/jpeg", lambda: with_parts(BIG_JPEG, 200_000), (400, 300)),
    "JPEG, a million bytes before its size": ("image/jpeg", lambda: with_parts(picture(kind="JPEG"), 10**6), None),
    "JPEG, turned": ("image/jpeg", turned_jpeg, (300, 400)),
    "TIFF, its directory at the end": ("image/tiff", tiff, (400, 300)),
    "TIFF of 2 MB": ("image/tiff", lambda: tiff((1000, 700)), (1000, 700)),
    "PNG": ("image/png", picture, (400, 300)),
    "GIF": ("image/gif", lambda: picture(kind="GIF"), (400, 300)),
    "WebP": ("image/webp", lambda: picture(kind="WEBP"), (400, 300)),
    "WebP, lossless": ("image/webp", lambda: picture(kind="WEBP", lossless=True), (400, 300)),
    "BMP": ("image/bmp", lambda: picture(kind="BMP"), (400, 300)),
    "PPM": ("image/x-portable-pixmap", lambda: picture(kind="PPM"), (400, 300)),
    "JPEG 2000": ("image/jp2", lambda: picture(kind="JPEG2000"), (400, 300)),
    "SVG": ("image/svg+xml", lambda: SVG.format('width="70px" height="50"').encode(), (70, 50)),
    "SVG without a size": ("image/svg+xml", lambda: SVG.format('viewBox="0 0 1 1"').encode(), None),
    "WAV": ("audio/wav", wav, 1),
    "WAV, streamed: 0xFFFFFFFF": ("audio/wav", lambda: wav(told=2**32 - 1), 1),
    "WAV, streamed: 0x7FFFFFFF": ("audio/wav", lambda: wav(told=2**31 - 1), 1),
    "WAV, streamed: 2,000,000,000": ("audio/wav", lambda: wav(told=2 * 10**9), 1),
    "WAV, streamed: 0": ("audio/wav", lambda: wav(told=0), 1),
    "WAV, streamed by ffmpeg": ("audio/wav", lambda: sounding("wav", "pcm_s16le", kind="s16", pipe=True), 2),
    "WAV without sound": ("audio/wav", lambda: wav(seconds=0), None),
    "WAV, float": ("audio/wav", lambda: wav(3, 32), 1),
    "WAV, extensible": ("audio/wav", lambda: wav(extensible=True), 1),
    "WAV, 24 bits, extensible": ("audio/wav", lambda: wav(1, 24, 0.5, extensible=True, channels=6), 0.5),
    "WAV, float, 64 bits, extensible": ("audio/wav", lambda: wav(3, 64, extensible=True), 1),
    "WAV, A-law": ("audio/wav", lambda: wav(6, 8), 1),
    "WAV, ADPCM": ("audio/wav", lambda: sounding("wav", "adpcm_ima_wav", kind="s16p"), 2),
    "WAV, chunks around": ("audio/wav", lambda: wav(front=b"LIST\3\0\0\0abc\0", behind=b"LIST\4\0\0\0INFO"), 1),
    "WAV, RF64": ("audio/wav", rf64, 1),
    "FLAC": ("audio/flac", lambda: sounding("flac", "flac", kind="s16"), 2),
    "FLAC, streamed": ("audio/flac", lambda: sounding("flac", "flac", kind="s16", pipe=True), None),
    "FLAC behind ID3": ("audio/flac", lambda: tagged(sounding("flac", "flac", kind="s16")), 2),
    "Ogg FLAC": ("audio/ogg", ogg_flac, 2),
    "Opus": ("audio/opus", opus, 2),
    "Opus of a megabyte, streamed": ("audio/ogg", lambda: opus(90, bit_rate=128_000, pipe=True), 90),
    "Ogg, one after another": ("audio/ogg", lambda: opus() + vorbis(), None),
    "Ogg, joined late": ("audio/ogg", lambda: ogg_flac(10**9), None),
    "Ogg Vorbis": ("audio/ogg", vorbis, 3),
    "MP3": ("audio/mpeg", mp3, 2),
    "MP3, varying": ("audio/mpeg", lambda: mp3(seconds=60, settings=VARYING), 60),
    "MP3, varying, without a table": ("audio/mpeg", lambda: mp3(seconds=150, settings=VARYING, options=PLAIN), None),
    "MP3, short, varying, without a table": ("audio/mpeg", lambda: mp3(settings=VARYING, options=PLAIN), 2),
    "MP3, streamed": ("audio/mpeg", lambda: mp3(seconds=5, rate=24_000, pipe=True), 5),
    "MP3, streamed, 90 seconds": ("audio/mpeg", lambda: mp3(seconds=90, bit_rate=64_000, pipe=True), 90),
    "MP3 that begins with FF E3": ("audio/mpeg", lambda: mp3(rate=8_000, pipe=True), 2),
    "MP3 behind and before a tag": ("audio/mpeg", lambda: tagged(mp3(options=PLAIN)) + b"TAG" + bytes(125), 2),
    "MP2": ("audio/mpeg", lambda: sounding("mp2", "mp2", kind="s16"), 2),
    "AIFF": ("audio/aiff", lambda: sounding("aiff", "pcm_s16be", kind="s16", channels=2), 2),
    "AIFF, streamed": ("audio/aiff", streamed_aiff, None),
    "M4A": ("audio/mp4", lambda: sounding("ipod", "aac"), 2),
    "M4A, its table in front": ("audio/mp4", lambda: sounding("ipod", "aac", options=FAST), 2),
    "MP4": ("video/mp4", lambda: film("mp4", "libx264"), 3),
    "MP4 of a megabyte, its table at the end": ("video/mp4", lambda: film("mp4", "mpeg4", 10, size=256), 10),
    "MP4, its table in front": ("video/mp4", lambda: film("mp4", "libx264", options=FAST), 3),
    "MP4 in fragments": ("video/mp4", lambda: film("mp4", "libx264", options=FRAGMENTS), None),
    "MP4, length not known": ("video/mp4", lambda: unknown_length(film("mp4", "libx264")), None),
    "QuickTime": ("video/quicktime", lambda: film("mov", "libx264"), 3),
    "WebM": ("video/webm", lambda: film("webm", "libvpx"), 3),
    "WebM, sound": ("audio/webm", lambda: sounding("webm", "libopus", kind="flt"), 2),
    "WebM, streamed": ("audio/webm", lambda: sounding("webm", "libopus", kind="flt", pipe=True), None),
    "Matroska": ("video/x-matroska", lambda: film("matroska", "libx264"), 3),
    "MPEG-TS": ("video/mp2t", lambda: film("mpegts", "libx264"), None),
    "PNG of no width": ("image/png", lambda: picture()[:16] + bytes(4) + picture()[20:], None),
    "PNG wider than any": ("image/png", lambda: picture()[:16] + b"\x80" + picture()[17:], None),
    "text under a picture's name": ("image/png", lambda: b"hello", None),
    "nothing": ("audio/mpeg", lambda: b"", None),
}  # fmt: skip
if features.check("avif"):
    FILES["AVIF"] = ("image/avif", lambda: picture(kind="AVIF"), (400, 300))


def measured(mime_type: str, data: bytes) -> Any:
    found = measure(mime_type, data[:HEAD_BYTES], data[-TAIL_BYTES:], len(data))
    assert all(found.values()), "never 0"
    return (found["width"], found["height"]) if "width" in found else found.get("duration")


@pytest.mark.parametrize("name", FILES)
def test_sizes_and_lengths_are_those_of_the_file_or_left_out(name: str) -> None:
    mime_type, make, truth = FILES[name]
    found = measured(mime_type, make())
    # A frame of sound may be half empty, and an encoder begins a little earlier.
    assert found == (truth if truth is None or isinstance(truth, tuple) else pytest.approx(truth, abs=0.13))
    for other in ("application/octet-stream", "text/plain"):
        assert measured(other, make()) is None


def test_a_store_measures_the_same_however_the_bytes_come_and_says_nothing_over_the_caller() -> None:
    store = MediaStore("memory://measures")
    for mime_type, make, _ in FILES.values():
        data = make()
        if not data:
            continue
        content = MediaContent(data=data, mime_type=mime_type)
        one = store.info(store.store_media(content, MediaMetadata(run_id="r1")))
        with store.create_media(MediaMetadata(run_id="r1"), mime_type) as file:
            for start in range(0, len(data), 70_001):
                file.write(data[start : start + 70_001])
        two = store.info(file.reference)
        facts = [(each.width, each.height, each.duration, each.channels, each.bit_rate) for each in (one, two)]
        assert facts[0] == facts[1]
        shape = facts[0][:2] if one.width else facts[0][2]
        assert shape == measured(mime_type, data)
    said = MediaContent(data=wav(), mime_type="audio/wav", duration=7, channels=None)
    info = store.info(store.store_media(said, MediaMetadata(run_id="r1")))
    assert (info.duration, info.channels, info.bit_rate) == (7, 1, 384_000)


def heif_bomb() -> bytes:
    """Where parts of it lie, in parts of no bytes: 65,535 of them for six bytes each."""
    entries = b"".join(struct.pack(">HHH", number % 65_536, 0, 65_535) for number in range(40_000))
    place = b"iloc\0\0\0\0\0\0" + struct.pack(">H", 40_000) + entries
    meta = bytes(4) + struct.pack(">I", len(place) + 4) + place
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + struct.pack(">I", len(meta) + 8) + b"meta" + meta


BOMBS = [
    heif_bomb(), b"\xff\xd8" + bytes(HEAD_BYTES), b"P6 " + b"1" * HEAD_BYTES, b"ID3" * HEAD_BYTES,
    b"\xff\xfb\x90" * HEAD_BYTES, b"\xff\xfb\x14\xc0" + b"\xff\xfb" * HEAD_BYTES, b"OggS\0\2" * HEAD_BYTES,
    b"OggS\0\2" + bytes(HEAD_BYTES), b"RIFF\0\0\0\0WAVE" + bytes(HEAD_BYTES), b"<svg " + b"<!--" * HEAD_BYTES,
    b"FORM\0\0\0\0AIFF" + bytes(HEAD_BYTES), b"fLaC" + bytes(HEAD_BYTES), b"\x1aE\xdf\xa3" + b"\xec\x80" * HEAD_BYTES,
    b"II*\0\x08\0\0\0\xff\xff" * 30_000, b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * HEAD_BYTES,
    b"\0\0\0\x18ftypisom" + b"\0\0\0\x08free" * 60_000, b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x08free" * 60_000,
    b"fLaC\4" + bytes(7) + b"\xff" * 4 + bytes(HEAD_BYTES),
]  # fmt: skip


@pytest.mark.parametrize("data", BOMBS, ids=range(len(BOMBS)))
def test_strangers_headers_cost_no_time(data: bytes) -> None:
    began = time.process_time()
    for kind in ("image/x-nobody-knows", "audio/mpeg"):
        measured(kind, data)
    assert time.process_time() - began < 2


KINDS = sorted({kind for kind, _, _ in FILES.values()})


@settings(deadline=2000, max_examples=150)
@given(
    name=st.sampled_from(sorted(FILES)),
    kind=st.sampled_from(KINDS),
    cuts=st.lists(st.integers(0, 600_000), max_size=3),
    noise=st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=12)), max_size=6),
)
def test_any_bytes_are_measured_or_not(name: str, kind: str, cuts: list[int], noise: list[tuple[int, bytes]]) -> None:
    data = bytearray(FILES[name][1]())
    for start, some in noise:
        data[start : start + len(some)] = some
    for cut in cuts:
        del data[cut : cut + 1000]
    measured(kind, bytes(data))
    measured(FILES[name][0], bytes(data[:HEAD_BYTES]))
