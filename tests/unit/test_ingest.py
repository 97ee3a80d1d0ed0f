"""Sources and their intake: one pass, counted, hashed, measured, stopped where it gets too large, sound made WAV."""

import hashlib
import io
import os
import struct
import wave
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsmedia.core.ingest import CHUNK_BYTES, HEAD_BYTES, HashingWriter, SourceRules, WavWriter, open_source, small_bytes
from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, MediaTooLargeError, StorageError
from fsmedia.format import wav
from fsmedia.format.measures import measure
from fsmedia.format.wav import PcmFormat
from fsmedia.models import ContentFields, MediaContent
from tests.contract.specimens import raised
from tests.surfaces.specimens import png

MONO = wav.PcmFormat(24_000, 1)
CHUNKS = st.lists(st.binary(max_size=50), max_size=8)


class Stage:
    """Where bytes go; of huge ones only the number is kept, and what `patch` was given."""

    def __init__(self, *, counting: bool = False) -> None:
        self.counting = counting
        self.size = 0
        self.taken = b""

    def write(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        self.taken += b"" if self.counting else bytes(data)

    def patch(self, data: bytes) -> None:
        self.taken = data + self.taken[len(data) :]

    def reread(self) -> Iterator[bytes]:
        yield from (self.taken[i : i + 7] for i in range(0, len(self.taken), 7))


class Stream(io.BytesIO):
    """A stream that counts what was asked of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.sizes: list[int | None] = []

    def read(self, size: int | None = -1) -> bytes:
        self.sizes.append(size)
        return super().read(size)


def rules(max_size: int | None = None, open_stored: Any = None) -> SourceRules:
    return SourceRules(max_size, timedelta(seconds=5), allow_private=False, open_stored=open_stored)


def read(content: MediaContent, max_size: int | None = None) -> bytes:
    with open_source(content, rules(max_size)) as source:
        return b"".join(source.chunks)


def of(data: Any) -> MediaContent:
    return MediaContent(data=data, mime_type="image/png")


# -- intake ------------------------------------------------------------------------------------------------------
@given(CHUNKS, st.none() | st.integers(0, 200))
def test_an_intake_counts_hashes_passes_on_and_stops_at_its_limit(pieces: list[bytes], limit: int | None) -> None:
    stage = Stage()
    intake = HashingWriter(stage, limit)
    data = b"".join(pieces)

    def take() -> None:
        for number, chunk in enumerate(pieces):
            intake.write(memoryview(chunk) if number % 2 else chunk)

    if limit is not None and len(data) > limit:
        raised(MediaTooLargeError, take, match=f"max_file_size of {limit} bytes")
        assert len(stage.taken) <= limit
    else:
        take()
        assert (intake.size, stage.taken, intake.head) == (len(data), data, data[:HEAD_BYTES])
        assert intake.sha256 == hashlib.sha256(data).hexdigest()


@given(st.lists(st.integers(0, 6000), max_size=6))
def test_the_head_is_the_first_bytes_however_they_come(sizes: list[int]) -> None:
    data = os.urandom(64) * 600
    intake, start = HashingWriter(None, None), 0
    for size in sizes:
        intake.write(data[start : start + size])
        start += size
    assert intake.head == data[: min(start, HEAD_BYTES)]
    assert type(intake.head) is bytes


# -- in memory ---------------------------------------------------------------------------------------------------
def test_small_bytes_are_in_memory_anyway_and_files_are_read_or_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"ab")
    assert (small_bytes(of(b"ab")), small_bytes(of("YWI="))) == (b"ab", b"ab")
    assert small_bytes(of(io.BytesIO(b"ab"))) is None
    assert small_bytes(MediaContent.from_path(tmp_path / "x.png")) is None
    assert small_bytes(of(b"")) == b""
    unknown = "application/octet-stream"
    with open_source(MediaContent(url="data:image/gif;base64,YWI=", mime_type=unknown), rules()) as source:
        assert (source.data, source.size, source.mime_type) == (b"ab", 2, "image/gif")
    with open_source(MediaContent(url="data:image/gif,ab", mime_type="image/png"), rules()) as source:
        assert (source.data, source.mime_type) == (b"ab", None)
    raised(MediaTooLargeError, read, MediaContent(url="data:image/gif;base64,YWJj", mime_type="image/gif"), 2)
    for size in [0, 1, 3 * CHUNK_BYTES]:
        data = b"x" * size
        with open_source(of(data), rules()) as source:
            assert source.data is data
            assert [chunk is data for chunk in source.chunks] == [True]
    intake = HashingWriter(None, 4)
    for piece in (b"ab", b"cd", b""):
        intake.write(piece)
    raised(MediaTooLargeError, intake.write, b"e")
    path = tmp_path / "x.png"
    path.write_bytes(b"x" * (CHUNK_BYTES + 3))
    with open_source(MediaContent.from_path(path), rules(CHUNK_BYTES + 3)) as source:
        assert (source.size, [len(chunk) for chunk in source.chunks]) == (CHUNK_BYTES + 3, [CHUNK_BYTES, 3])
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(50 * 2**30)
    raised(MediaTooLargeError, read, MediaContent.from_path(tmp_path / "x.png"), 10)
    path = tmp_path / "y.png"
    path.write_bytes(b"abc")
    assert read(MediaContent.from_path(path), 3) == b"abc"
    raised(MediaTooLargeError, read, MediaContent.from_path(path), 2)
    (tmp_path / "file").write_bytes(b"")
    for path in ("missing.png", "file/x.png"):
        with pytest.raises(MediaNotFoundError, match="check file_path") as info:
            read(MediaContent(file_path=str(tmp_path / path), mime_type="image/png"))
        assert info.value.key == str(tmp_path / path)
    raised(InvalidMediaError, read, MediaContent(file_path=str(tmp_path), mime_type="image/png"), match="is a folder")
    for path in ("a\0b", str(tmp_path / ("x" * 300))):
        raised(StorageError, read, MediaContent(file_path=path, mime_type="image/png"), match="can't be read")


# -- streams -----------------------------------------------------------------------------------------------------
def test_streams_are_read_once_to_their_end_and_stay_the_callers() -> None:
    stream = Stream(b"skip" + b"x" * (2 * CHUNK_BYTES + 5))
    stream.seek(4)
    with open_source(of(stream), rules()) as source:
        assert source.size == 2 * CHUNK_BYTES + 5
        assert source.data is None
        assert [len(chunk) for chunk in source.chunks] == [CHUNK_BYTES, CHUNK_BYTES, 5]
    assert set(stream.sizes) == {CHUNK_BYTES}
    assert not stream.closed  # the caller's
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb", buffering=0) as writer, os.fdopen(read_end, "rb", buffering=0) as reader:
        writer.write(b"ab")
        with open_source(of(reader), rules()) as source:
            assert source.size is None
            taken = iter(source.chunks)
            assert next(taken) == b"ab"
            writer.write(b"cd")
            assert next(taken) == b"cd"
            writer.close()
            assert list(taken) == []
    stream = io.BytesIO(b"ab")
    content = of(stream)
    stream.close()
    raised(InvalidMediaError, read, content, match="closed")


@pytest.mark.parametrize(("answer", "reason"), [
    ("text", "gives text"), (None, "gives nothing"), (OSError("cable cut"), "OSError: cable cut"),
    (ValueError("I/O operation on closed file"), "closed file"), (OSError("x" * 5000), "OSError: x"),
])  # fmt: skip
def test_a_stream_that_gives_no_bytes_is_refused(answer: object, reason: str) -> None:
    def give(_: int = -1) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    caught = raised(InvalidMediaError, read, of(SimpleNamespace(read=give)), match=reason)
    assert "binary mode" in caught.next_step
    assert len(str(caught)) < 500
    assert caught.__cause__ is (answer if isinstance(answer, Exception) else None)


# -- files -------------------------------------------------------------------------------------------------------
# An unclosed file would be a ResourceWarning, which is an error here.
def test_a_reference_is_opened_in_the_store_that_takes_it_or_brings_its_own_way() -> None:
    content = MediaContent(storage_reference="runs/r1/x.png", mime_type="image/png")
    asked: list[str] = []

    def open_stored(reference: str) -> io.BytesIO:
        asked.append(reference)
        return Stream(b"ab")

    with open_source(content, rules(open_stored=open_stored)) as source:
        assert (b"".join(source.chunks), asked) == (b"ab", ["runs/r1/x.png"])

    stored = Stream(b"ab" * CHUNK_BYTES)
    assert read(content.attach(SimpleNamespace(open=lambda: stored))) == b"ab" * CHUNK_BYTES
    assert stored.closed
    assert set(stored.sizes) == {CHUNK_BYTES}


MOST_SOUND = 2**32 - 1 - 36  # RIFF counts all but its first 8 bytes in 32 bits


def by_python(form: PcmFormat, samples: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setparams((form.channels, 2, form.rate, 0, "NONE", ""))
        sound.writeframes(samples)
    return out.getvalue()


@given(form=st.builds(PcmFormat, st.integers(1, 1_000_000), st.integers(1, 64)), samples=st.binary(max_size=300))
@example(form=MONO, samples=b"")
@example(form=MONO, samples=b"\1")
@example(form=PcmFormat(1_000_000, 64), samples=b"\0\1" * 64)
def test_header_is_pythons(form: PcmFormat, samples: bytes) -> None:
    header = wav.header(form, len(samples))
    assert len(header) == wav.HEADER_BYTES == 44
    assert header + samples == by_python(form, samples)
    assert wav.is_wav(header)


def test_formats_and_wav_are_known_and_other_types_are_not_looked_at() -> None:
    for mime_type, channels, expected in [
        ("audio/pcm", None, (24_000, 1)), ("audio/L16", None, (24_000, 1)), ("AUDIO/PCM", 2, (24_000, 2)),
        ("audio/l16", 6, (24_000, 6)), ("audio/pcm;rate=16000", None, (16_000, 1)),
        ("audio/pcm; rate=16000", 2, (16_000, 2)), ("audio/L16;rate=8000;channels=2", 1, (8_000, 2)),
        ("audio/L16; Channels=2; RATE=44100", None, (44_100, 2)), ('audio/pcm;rate="48000"', None, (48_000, 1)),
        ("audio/pcm;codec=s16le;bitrate=9", None, (24_000, 1)), ("audio/pcm;", None, (24_000, 1)),
        ("audio/pcm;rate=1;channels=64", None, (1, 64)), ("audio/pcm;rate=1000000", 1, (1_000_000, 1)),
    ]:  # fmt: skip
        assert wav.pcm_format(mime_type, channels) == expected
    for head, expected in [
        (b"RIFF\0\0\0\0WAVE", True), (b"RIFF\0\0\0\0WAVEfmt ", True), (b"RIFF\0\0\0\0WAV", False),
        (b"RIFF\0\0\0\0WEBP", False), (b"RIFF", False), (b"", False),
    ]:  # fmt: skip
        assert wav.is_wav(head) == expected
    for mime_type in ["audio/wav", "audio/mpeg", "audio/pcmu", "audio/pcma", "audio/l24", "", "pcm"]:
        assert not wav.is_raw(mime_type)
        assert wav.pcm_format(f"{mime_type};rate=odd", 10**9) is None
    for mime_type in ["audio/mpeg", "video/mp4", "application/pdf", "text/plain", "audio/pcm"]:
        assert (ask(mime_type, png(9, 9)), ask(mime_type, sound(8000, 1, 8000))) == ({}, {})


@pytest.mark.parametrize(("mime_type", "channels"), [
    ("audio/pcm;rate=0", None), ("audio/pcm;rate=-8000", None), ("audio/pcm;rate=1000001", None),
    ("audio/pcm;rate=16k", None), ("audio/pcm;rate=16000.0", None), ("audio/pcm;rate=", None), ("audio/pcm;rate", None),
    ('audio/pcm;rate=""', None), ("audio/pcm;rate=9" + "9" * 200, None), ("audio/pcm;rate=²", None),
    ("audio/pcm;channels=0", None), ("audio/pcm;channels=65", None), ("audio/pcm;channels=stereo", 2),
    ("audio/L16", 65), ("audio/L16", 10**9),
])  # fmt: skip
def test_odd_parameters_are_refused(mime_type: str, channels: int | None) -> None:
    assert raised(InvalidMediaError, wav.pcm_format, mime_type, channels).next_step


@given(st.text(st.characters(codec="ascii"), max_size=60), st.none() | st.integers(0, 2**40))
def test_any_parameters(parameters: str, channels: int | None) -> None:
    try:
        form = wav.pcm_format(f"audio/pcm;{parameters}", channels)
    except InvalidMediaError:
        return
    assert form is not None
    assert len(wav.header(form, MOST_SOUND)) == 44


def test_four_gigabytes_are_too_much_and_the_header_says_what_came_at_last() -> None:
    header = wav.header(MONO, MOST_SOUND)
    assert (header[4:8], int.from_bytes(header[40:44], "little")) == (b"\xff" * 4, MOST_SOUND)
    for size in (MOST_SOUND + 1, 2**32, 2**40):
        raised(MediaTooLargeError, wav.header, MONO, size)
    WavWriter(None, 144, MONO, 100).write(b"s" * 100)
    raised(MediaTooLargeError, WavWriter(None, 143, MONO, 100).write, b"s" * 100)
    short = WavWriter(None, 43, MONO, None)
    short.write(b"s")
    raised(MediaError, short.finish)
    stage = Stage(counting=True)
    intake = WavWriter(stage, None, MONO, None)
    intake.write(b"s" * 100)
    huge = CountedBytes(b"s" * 100)
    huge.claimed = 2**30
    for _ in range(3):
        intake.write(huge)
    assert stage.size == 44 + 100 + 3 * 2**30
    raised(MediaTooLargeError, intake.write, huge)
    stage = Stage(counting=True)
    intake = WavWriter(stage, None, MONO, None)
    intake.write(b"s" * 100)
    huge = CountedBytes(b"s" * 100)
    huge.claimed = MOST_SOUND - 100
    intake.write(huge)
    intake.finish()
    assert stage.taken == wav.header(MONO, MOST_SOUND)
    assert (intake.head[:44], intake.size) == (stage.taken, 2**32 + 7)
    assert intake.sha256 == hashlib.sha256(stage.taken).hexdigest()


class CountedBytes(bytes):
    """A few bytes that say they are many: 4 GiB are counted, and none of them exists."""

    claimed = 0

    def __len__(self) -> int:
        return self.claimed or super().__len__()


@given(pieces=st.lists(st.binary(max_size=90), max_size=6), announced=st.none() | st.integers(-100, 2**33))
@example(pieces=[b"s" * 50], announced=2**32)
@example(pieces=[b"s" * 50], announced=-50)
@example(pieces=[b"", b"s" * 43, b""], announced=7)
@example(pieces=[b"s" * 43, b"s"], announced=44)
@example(pieces=[b"RIFF", b"\0\0\0\0WA", b"VE"], announced=10)
@example(pieces=[by_python(PcmFormat(8_000, 2), b"s" * 50)], announced=None)
def test_pieces_and_announced_sizes_do_not_matter(pieces: list[bytes], announced: int | None) -> None:
    """The announced size is a hint: whatever it is, what comes out is the header for what really came."""
    stage = Stage()
    intake = WavWriter(stage, None, MONO, announced)
    for piece in pieces:
        intake.write(memoryview(piece))
    intake.finish()
    sound = b"".join(pieces)
    assert stage.taken == (sound if wav.is_wav(sound) else by_python(MONO, sound))
    assert (intake.size, intake.sha256) == (len(stage.taken), hashlib.sha256(stage.taken).hexdigest())
    assert intake.head == stage.taken[:HEAD_BYTES]


NOTHING = ContentFields()
PNG = b"\x89PNG\r\n\x1a\n"


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


def jpeg(width: int, height: int, before: bytes = b"") -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\1\x11\0\2\x11\1\3\x11\1"
    return b"\xff\xd8" + before + b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBPVP8" + kind + struct.pack("<I", len(body)) + body


def sound(rate: int, channels: int, frames: int) -> bytes:
    return by_python(PcmFormat(rate, channels), b"\0\0" * frames * channels)


PICTURES = {
    "image/png": png,
    "image/gif": gif,
    "image/jpeg": jpeg,
    "image/webp": lambda w, h: webp(b"L", b"\x2f" + struct.pack("<I", (w - 1) | (h - 1) << 14) + b"\0" * 8),
    "image/webp;a=b": lambda w, h: webp(b"X", struct.pack("<IHBHB", 0, w - 1, 0, h - 1, 0)),
    "IMAGE/WEBP": lambda w, h: webp(b" ", b"\x10\2\0\x9d\1\x2a" + struct.pack("<HH", w, h) + b"\0" * 8),
}


def ask(mime_type: str, data: bytes, content: ContentFields = NOTHING, size: int | None = None) -> dict[str, Any]:
    """Measure as a draft does, with at most 8 KiB of the bytes."""
    found = measure(mime_type, data[:8192], b"", len(data) if size is None else size)
    return {name: value for name, value in found.items() if getattr(content, name) is None}


def test_pictures_and_sound_are_measured_also_what_pillow_wrote_and_a_photograph_with_other_segments() -> None:
    for mime_type, made in PICTURES.items():
        for sides in [(1, 1), (640, 480), (480, 640), (16383, 16383)]:
            assert ask(mime_type, made(*sides)) == {"width": sides[0], "height": sides[1]}
    for rate in [8000, 24_000, 44_100]:
        for channels in [1, 2, 6]:
            found = ask("audio/wav", sound(rate, channels, rate * 3 // 2))
            assert found == {"duration": 1.5, "channels": channels, "bit_rate": rate * channels * 16}
            assert ask("audio/x-wav", sound(rate, channels, rate)) in ({}, found | {"duration": 1})
    for frames, duration in [(1, 0.000042), (24_000, 1), (36_000, 1.5), (8000, 0.333333)]:
        found = ask("audio/wav", wav.header(PcmFormat(24_000, 1), frames * 2) + b"\0" * frames * 2)
        assert (found["duration"], isinstance(found["duration"], int)) == (duration, frames % 24_000 == 0)
    given_all = ContentFields(width=1, height=2, duration=3.5, channels=4, bit_rate=5)
    assert (ask("image/png", png(9, 9), given_all), ask("audio/wav", sound(8000, 1, 8000), given_all)) == ({}, {})
    assert ask("image/png", png(9, 8), ContentFields(width=1)) == {"height": 8}
    assert ask("image/png", png(9, 8), ContentFields(width=0)) == {"height": 8}
    assert ask("audio/wav", sound(8000, 1, 8000), ContentFields(channels=2)) == {"duration": 1, "bit_rate": 128_000}
    size = 2**32 - 100
    found = ask("audio/wav", wav.header(PcmFormat(24_000, 1), size) + b"\0" * 100, size=size + 44)
    assert found["duration"] == pytest.approx(size / 48_000, abs=1e-6)
    found = ask("audio/wav", wav.header(PcmFormat(24_000, 1), 1000) + b"\0" * 24)
    assert found["duration"] == 0.0005, "it promises more than there is"
    image = pytest.importorskip("PIL.Image").new("RGB", (37, 21), "red")
    for kind in ("png", "gif", "jpeg", "webp", "bmp", "tiff"):
        out = io.BytesIO()
        image.save(out, kind)
        assert ask(f"image/{kind}", out.getvalue()) == {"width": 37, "height": 21}, kind
    exif = b"\xff\xe1" + struct.pack(">H", 6002) + b"Exif\0\0" + b"\0" * 5994
    assert ask("image/jpeg", jpeg(4000, 3000, exif)) == {"width": 4000, "height": 3000}
    assert ask("image/jpeg", jpeg(4000, 3000, exif * 2)) == {}, "beyond the first 8 KiB"


def test_broken_and_lying_headers_tell_nothing() -> None:
    for mime_type, data in [
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
        ("audio/wav", wav.header(PcmFormat(24_000, 1), 44)),  # cut right behind its header
        ("audio/wav", b"RIFF\xff\xff\xff\xff" + wav.header(PcmFormat(8000, 1), 2**32 - 100)[8:]),
        ("audio/wav", wav.header(PcmFormat(8000, 1), 8)[:24] + b"\0\0\0\0" + wav.header(PcmFormat(8000, 1), 8)[28:]),
        ("audio/wav", wav.header(PcmFormat(8000, 1), 8)[:22] + b"\0\0" + wav.header(PcmFormat(8000, 1), 8)[24:]),
        ("audio/wav", wav.header(PcmFormat(8000, 1), 8)[:34] + b"\0\0" + wav.header(PcmFormat(8000, 1), 8)[36:]),
        ("audio/wav", b"ID3" + sound(8000, 1, 8)),
    ]:  # fmt: skip
        assert ask(mime_type, data) == {}


HEADS = [b"", PNG, b"\xff\xd8\xff", b"GIF89a", b"RIFF\x20\0\0\0WEBPVP8 ", b"RIFF\x20\0\0\0WEBPVP8X", b"II*\0", b"MM\0*"]
HEADS += [b"II+\0", b"BM", b"P6 ", b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x18ftypheic", b"<svg ", b"<?xml ", b"8BPS"]
HEADS += [b"RIFF\x20\0\0\0WAVEfmt ", b"RIFF\x20\0\0\0WAVEfmt \x10\0\0\0\1\0", wav.header(PcmFormat(8000, 1), 8)[:40]]


@given(
    mime_type=st.sampled_from(["image/png", "image/jpeg", "image/svg+xml", "image/heic", "audio/wav"]),
    head=st.sampled_from(HEADS), rest=st.binary(max_size=400), size=st.none() | st.integers(0, 2**40),
)  # fmt: skip
@example(mime_type="image/svg+xml", head=b"<svg ", rest=b'width="1e9" height="nan"/>', size=None)
def test_any_bytes(mime_type: str, head: bytes, rest: bytes, size: int | None) -> None:
    found = ask(mime_type, head + rest, size=size)
    ContentFields(**found)  # what is told can be stored
    assert found.keys() == {"width", "height"} or found.keys() <= {"duration", "channels", "bit_rate"}
    assert all(value > 0 for value in found.values())
    assert all(found[name] < 2**31 for name in ("width", "height") if name in found)
