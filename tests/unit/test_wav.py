"""The 44 bytes in front of raw sound, held against Python's own writer, and the format that a MIME type names."""

from __future__ import annotations

import hashlib
import io
import wave
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsmedia import InvalidMediaError, MediaTooLargeError
from fsmedia.core.ingest import HEAD_BYTES, HashingWriter, WavWriter
from fsmedia.errors import MediaError
from fsmedia.format import wav
from fsmedia.format.wav import PcmFormat

MONO = PcmFormat(24_000, 1)
MOST_SOUND = 2**32 - 1 - 36  # RIFF counts all but its first 8 bytes in 32 bits


def by_python(form: PcmFormat, samples: bytes) -> bytes:
    """Return a WAV file as Python's standard library writes it."""
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


@pytest.mark.parametrize(
    ("mime_type", "channels", "expected"),
    [
        ("audio/pcm", None, (24_000, 1)), ("audio/L16", None, (24_000, 1)), ("AUDIO/PCM", 2, (24_000, 2)),
        ("audio/l16", 6, (24_000, 6)), ("audio/pcm;rate=16000", None, (16_000, 1)),
        ("audio/pcm; rate=16000", 2, (16_000, 2)), ("audio/L16;rate=8000;channels=2", 1, (8_000, 2)),
        ("audio/L16; Channels=2; RATE=44100", None, (44_100, 2)), ('audio/pcm;rate="48000"', None, (48_000, 1)),
        ("audio/pcm;codec=s16le;bitrate=9", None, (24_000, 1)), ("audio/pcm;", None, (24_000, 1)),
        ("audio/pcm;rate=1;channels=64", None, (1, 64)), ("audio/pcm;rate=1000000", 1, (1_000_000, 1)),
    ],
)  # fmt: skip
def test_format(mime_type: str, channels: int | None, expected: tuple[int, int]) -> None:
    assert wav.pcm_format(mime_type, channels) == expected


@pytest.mark.parametrize(
    ("mime_type", "channels"),
    [
        ("audio/pcm;rate=0", None), ("audio/pcm;rate=-8000", None), ("audio/pcm;rate=1000001", None),
        ("audio/pcm;rate=16k", None), ("audio/pcm;rate=16000.0", None), ("audio/pcm;rate=", None),
        ("audio/pcm;rate", None), ('audio/pcm;rate=""', None), ("audio/pcm;rate=9" + "9" * 200, None),
        ("audio/pcm;rate=²", None), ("audio/pcm;channels=0", None), ("audio/pcm;channels=65", None),
        ("audio/pcm;channels=stereo", 2), ("audio/L16", 65), ("audio/L16", 10**9),
    ],
)  # fmt: skip
def test_odd_parameters_are_refused(mime_type: str, channels: int | None) -> None:
    with pytest.raises(InvalidMediaError) as caught:
        wav.pcm_format(mime_type, channels)
    assert caught.value.next_step


@pytest.mark.parametrize("mime_type", ["audio/wav", "audio/mpeg", "audio/pcmu", "audio/pcma", "audio/l24", "", "pcm"])
def test_what_is_no_raw_sound(mime_type: str) -> None:
    assert not wav.is_raw(mime_type)
    assert wav.pcm_format(f"{mime_type};rate=odd", 10**9) is None


@given(st.text(st.characters(codec="ascii"), max_size=60), st.none() | st.integers(0, 2**40))
def test_any_parameters(parameters: str, channels: int | None) -> None:
    try:
        form = wav.pcm_format(f"audio/pcm;{parameters}", channels)
    except InvalidMediaError:
        return
    assert form is not None
    assert len(wav.header(form, MOST_SOUND)) == 44


def test_four_gigabytes_are_too_much() -> None:
    header = wav.header(MONO, MOST_SOUND)
    assert header[4:8] == b"\xff" * 4
    assert int.from_bytes(header[40:44], "little") == MOST_SOUND
    for size in (MOST_SOUND + 1, 2**32, 2**40):
        with pytest.raises(MediaTooLargeError):
            wav.header(MONO, size)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"RIFF\0\0\0\0WAVE", True), (b"RIFF\0\0\0\0WAVEfmt ", True), (b"RIFF\0\0\0\0WAV", False),
        (b"RIFF\0\0\0\0WEBP", False), (b"RIFF", False), (b"", False),
    ],
)  # fmt: skip
def test_is_wav(head: bytes, expected: bool) -> None:
    assert wav.is_wav(head) == expected


class CountingStage:
    """Holds nothing but the number of bytes and what `patch` was given."""

    def __init__(self) -> None:
        self.size = 0
        self.patched = b""

    def write(self, data: bytes | memoryview) -> None:
        self.size += len(data)

    def patch(self, data: bytes) -> None:
        self.patched = data

    def reread(self) -> Iterator[bytes]:
        yield self.patched

    def commit(self, content_type: str) -> None: ...

    def discard(self) -> None: ...


class CountedBytes(bytes):
    """A few bytes that say they are many: 4 GiB are counted, and none of them exists."""

    claimed = 0

    def __len__(self) -> int:
        return self.claimed or super().__len__()


def test_a_stream_over_four_gigabytes_is_stopped() -> None:
    stage = CountingStage()
    intake = WavWriter(stage, None, MONO, None)
    intake.write(b"s" * 100)
    huge = CountedBytes(b"s" * 100)
    huge.claimed = 2**30
    for _ in range(3):
        intake.write(huge)
    assert stage.size == 44 + 100 + 3 * 2**30
    with pytest.raises(MediaTooLargeError):
        intake.write(huge)


def test_the_header_says_what_came_at_last() -> None:
    stage = CountingStage()
    intake = WavWriter(stage, None, MONO, None)
    intake.write(b"s" * 100)
    huge = CountedBytes(b"s" * 100)
    huge.claimed = MOST_SOUND - 100
    intake.write(huge)
    intake.finish()
    assert stage.patched == wav.header(MONO, MOST_SOUND)
    assert intake.head[:44] == stage.patched
    assert intake.size == 2**32 + 7
    assert intake.sha256 == hashlib.sha256(stage.patched).hexdigest()


@given(pieces=st.lists(st.binary(max_size=90), max_size=6), announced=st.none() | st.integers(-100, 2**33))
@example(pieces=[b"s" * 50], announced=2**32)
@example(pieces=[b"s" * 50], announced=-50)
@example(pieces=[b"", b"s" * 43, b""], announced=7)
@example(pieces=[b"s" * 43, b"s"], announced=44)
@example(pieces=[b"RIFF", b"\0\0\0\0WA", b"VE"], announced=10)
def test_pieces_and_announced_sizes_do_not_matter(pieces: list[bytes], announced: int | None) -> None:
    """The announced size is a hint: whatever it is, what comes out is the header for what really came."""
    written = bytearray()

    class Stage(CountingStage):
        def write(self, data: bytes | memoryview) -> None:
            written.extend(data)

        def patch(self, data: bytes) -> None:
            written[: len(data)] = data

        def reread(self) -> Iterator[bytes]:
            yield bytes(written)

    intake = WavWriter(Stage(), None, MONO, announced)
    for piece in pieces:
        intake.write(memoryview(piece))
    intake.finish()
    sound = b"".join(pieces)
    assert written == (sound if wav.is_wav(sound) else by_python(MONO, sound))
    assert intake.size == len(written)
    assert intake.sha256 == hashlib.sha256(written).hexdigest()
    assert intake.head == written[:HEAD_BYTES]


def test_the_limit_counts_the_header() -> None:
    WavWriter(None, 144, MONO, 100).write(b"s" * 100)
    with pytest.raises(MediaTooLargeError):
        WavWriter(None, 143, MONO, 100).write(b"s" * 100)
    short = WavWriter(None, 43, MONO, None)
    short.write(b"s")
    with pytest.raises(MediaError):
        short.finish()


def test_plain_bytes_only_pass() -> None:
    intake = HashingWriter(None, 10)
    intake.write(b"RIFF")
    intake.write(memoryview(b"\0" * 6))
    intake.finish()
    assert (intake.size, intake.head) == (10, b"RIFF" + b"\0" * 6)
    with pytest.raises(MediaTooLargeError):
        intake.write(b"x")
