"""Films and sounds by PyAV: posters, outlines, and what browsers play; with a known container, and a deadline.

The container is named by the first bytes and never guessed by FFmpeg, whose playlists open other files and hosts.
"""

from __future__ import annotations

import io
import time
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO

import av
from av.stream import Disposition

from fsmedia.display.pictures import MOST_PIXELS, film_frame
from fsmedia.display.previewer import PEAKS, Preview, UnshowableError, decoding
from fsmedia.models.text import size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SECONDS = 10.0  # longest work on one film or sound
LONGEST_SOUND = 20 * 60  # seconds of a sound that is decoded whole for its outline; of longer ones, pieces are

_FRAMES = 40
_LONG_SECONDS = 25.0  # longest work on what is made for a browser
_OPUS = 8_000  # bytes of a second
_STRETCHES = 4096  # loudest samples that are gathered at least
_PIECE = 0.2  # seconds of a long sound for each of its columns
_RATE = 8000
_CONTAINERS = {
    "video/mp4": "mp4", "video/quicktime": "mov", "audio/mp4": "mp4", "audio/x-m4a": "mp4", "video/3gpp": "mp4",
    "video/x-m4v": "mp4", "video/webm": "webm", "audio/webm": "webm", "video/x-matroska": "matroska",
    "video/x-msvideo": "avi", "video/ogg": "ogg", "audio/ogg": "ogg", "audio/opus": "ogg", "audio/wav": "wav",
    "audio/mpeg": "mp3", "audio/flac": "flac", "audio/aac": "aac", "audio/aiff": "aiff", "video/mpeg": "mpeg",
    "video/mp2t": "mpegts", "audio/amr": "amr", "audio/basic": "au", "audio/x-caf": "caf", "image/webp": "webp_pipe",
    "image/avif": "mov",
}  # fmt: skip
_OPTIONS = {"probesize": "2000000", "analyzeduration": "3000000", "fflags": "+genpts+fastseek"}
_PLAYED = {
    "mp4": ({"h264", "av1", "vp9", "hevc"}, {"aac", "mp3", "opus", "flac"}),
    "webm": ({"vp8", "vp9", "av1"}, {"opus", "vorbis"}),
    "ogg": (set(), {"opus", "vorbis", "flac"}), "mp3": (set(), {"mp3"}), "aac": (set(), {"aac"}),
    "flac": (set(), {"flac"}),
    "wav": (set(), {"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_mulaw", "pcm_alaw"}),
}  # fmt: skip
"""What browsers play: of each container, codecs of films and of sounds."""
_HOMES = {"mov": "mp4"}
_NOTHING: tuple[set[str], set[str]] = (set(), set())
_SOME = "its codec HEVC plays in some browsers only: where nothing is seen, save it and open it with a player"


def poster(file: BinaryIO, kind: str, side: int) -> Preview:
    """Return a frame from near the start of a film, not the very first, which is often black; else UnshowableError.

    `kind` is what the first bytes are, as a MIME type.
    """
    with _opened(file, kind) as (container, timed):
        if not container.streams.video:
            return _outline_of(container, timed)
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MOST_PIXELS:
            raise UnshowableError(f"{width:,} x {height:,} pixels are more than is shown")
        stream.codec_context.thread_count = 1  # each has a stack, and frames under way
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        duration = _duration(container)
        if duration and duration > 1:
            container.seek(int(min(1.0, duration / 10) * av.time_base))
        frame = _first(container.decode(stream), timed, is_picture=kind.startswith("image/"))
        if frame is None:  # streams without an index
            container.seek(0)
            frame = _first(container.decode(stream), timed, is_picture=kind.startswith("image/"))
        if frame is None:
            raise UnshowableError("there is no frame in it")
        scale = min(1.0, side / max(width, height, 1))
        size = {"width": max(1, round(width * scale)), "height": max(1, round(height * scale))}
        rotation = int(getattr(frame, "rotation", 0) or 0)
        image = film_frame(frame.reformat(**size, format="rgb24").to_image(), side, rotation)
        if rotation % 180:
            width, height = height, width
        return Preview(kind="film", image=image, width=width, height=height, duration=duration)


def outline(file: BinaryIO, kind: str) -> Preview:
    """Return the outline of a sound, or raise UnshowableError."""
    with _opened(file, kind) as (container, timed):
        length = _duration(container)
        if not length or length <= LONGEST_SOUND:
            return _outline_of(container, timed)
        loudest = []
        with suppress(av.FFmpegError):  # one in which nothing can be found is decoded from its start
            for column in range(PEAKS):
                container.seek(int(column * length / PEAKS * av.time_base))
                frames = container.decode(container.streams.audio[0])
                loudest.append(max(_loudest(_piece(frames), timed)[0], default=0))
            return _drawn(loudest, length)
    file.seek(0)
    with _opened(file, kind) as (container, timed):
        return _outline_of(container, timed)


def played(file: BinaryIO, kind: str, most: int) -> tuple[Preview, bytes]:
    """Return how a browser plays a film or sound: facts, with the type, and its packets in another container.

    No bytes where the file plays as it is. Sound that no browser plays becomes WAV, and one of more than `most` bytes
    Opus; in a film such sound is left out, and the reason says so. UnshowableError if there is no way.
    """
    large = file.seek(0, io.SEEK_END) > most
    file.seek(0)
    with _opened(file, kind, _LONG_SECONDS) as (container, timed):
        films = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
        film, sound = (next(iter(found), None) for found in (films, container.streams.audio))
        codec, heard = ("" if each is None else each.codec_context.codec.canonical_name for each in (film, sound))
        if not codec and not heard:
            raise UnshowableError("there is neither picture nor sound in it")
        home = _HOMES.get(_CONTAINERS[kind], _CONTAINERS[kind])
        found = [each for each in (home, "webm", "mp4") if not codec or codec in _PLAYED.get(each, _NOTHING)[0]]
        if codec and not found:
            raise UnshowableError(f"its codec {codec} plays in no browser: save it and open it with a player")
        reasons = [_SOME] if codec == "hevc" else []
        # Of those that have the picture, the first that has the sound too.
        target = next((each for each in found if not heard or heard in _PLAYED.get(each, _NOTHING)[1]), "")
        if not target and codec:
            reasons.append(f"its sound, {heard}, plays in no browser")
            target, sound = (home, sound) if home in found else (found[0], None)
        length = _duration(container)
        anew = "" if codec else "webm" if large and length and length * _OPUS < most else "" if target else "wav"
        if anew == "webm":
            reasons.append(f"it is larger than {size_text(most)}, and encoded anew for this")
        facts = Preview(
            kind="film" if codec else "sound",
            duration=length,
            sound_type=f"{'video' if codec else 'audio'}/{'mpeg' if target == 'mp3' and not anew else anew or target}",
            reason="; ".join(reasons),
        )
        if not anew and target == home:
            return facts, b""
        out = _LimitedFile(most)
        with decoding("it can't be put into a container that browsers read"):
            if anew:
                _encode(container, sound, out, anew, timed)
            else:
                _copy(container, [each for each in (film, sound) if each is not None], out, target, timed)
        if out.is_full:
            raise UnshowableError(f"what a browser plays of it is more than {size_text(most)}")
        return facts, out.getvalue()


def _copy(container: Any, streams: list[Any], file: BinaryIO, target: str, timed: _DeadlineFile) -> None:
    untimed: dict[int, list[Any]] = {each.index: [] for each in streams}
    with av.open(file, "w", format=target) as out:
        copies = {each.index: out.add_stream_from_template(each, opaque=True) for each in streams}
        for packet in container.demux(streams):
            timed.check()
            index = packet.stream.index
            untimed[index].append(packet)
            # Matroska does not say when the first frames are decoded, only when they are shown: as long before the
            # first that says it. A packet of no bytes is the mark of the end.
            if packet.dts is None and packet.size:
                continue
            packets, untimed[index] = untimed[index], []
            for before, each in enumerate(reversed(packets)):
                if each.dts is None and packet.dts is not None:
                    each.dts = packet.dts - before * (packet.duration or 1)
            for each in packets:
                if each.size and each.dts is not None:
                    each.stream = copies[index]
                    out.mux(each)


def _encode(container: Any, stream: Any, file: BinaryIO, target: str, timed: _DeadlineFile) -> None:
    """Write a sound as WAV, or as Opus in WebM: at the least effort, an hour in half a minute."""
    codec, rate, span = ("libopus", 48_000, 2_880) if target == "webm" else ("pcm_s16le", stream.rate, None)
    layout = stream.layout.name if target == "wav" or stream.channels == 1 else "stereo"
    with av.open(file, "w", format=target) as out:
        options = {"frame_duration": "60", "compression_level": "0", "b": str(8 * _OPUS)} if span else {}
        written: Any = out.add_stream(codec, rate=rate, layout=layout, options=options)
        resampler = av.AudioResampler(written.codec_context.format.name, layout, rate, frame_size=span)
        for frame in chain(container.decode(stream), [None]):
            timed.check()
            for piece in resampler.resample(frame):
                out.mux(written.encode(piece))
        out.mux(written.encode(None))


class _LimitedFile(io.BytesIO):
    """What is made for a browser, in memory; what does not fit is lost, and told: a muxer hides what is raised."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self.is_full = most, False

    def write(self, data: Any) -> int:
        self.is_full = self.is_full or self.tell() + len(data) > self._most
        return len(data) if self.is_full else super().write(data)


class _DeadlineFile:
    """A file that gives no byte after the deadline: what reads on and on comes to an end."""

    def __init__(self, file: BinaryIO, seconds: float) -> None:
        self._file, self._seconds = file, seconds
        self._until = time.monotonic() + seconds
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        self.check()
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        self.check()
        return self._file.seek(offset, whence)

    def check(self) -> None:
        if time.monotonic() > self._until:
            raise UnshowableError(f"takes longer than {self._seconds:.0f} s to read")


@contextmanager
def _opened(file: BinaryIO, kind: str, seconds: float = SECONDS) -> Iterator[tuple[Any, _DeadlineFile]]:
    name = _CONTAINERS.get(kind)
    if name is None:
        raise UnshowableError(f"{kind} is not looked into")
    timed = _DeadlineFile(file, seconds)
    # Frames may be larger than the head says, or grow on the way: the decoder is told too.
    options = {**_OPTIONS, "max_pixels": str(MOST_PIXELS)}
    with (
        decoding("the file is broken or cut off"),
        # The format is named, never guessed: FFmpeg's guesses include playlists, which open other files and hosts.
        av.open(timed, format=name, options=options, metadata_errors="ignore") as container,
    ):
        yield container, timed


def _first(frames: Iterator[Any], timed: _DeadlineFile, *, is_picture: bool) -> Any:
    """Return a frame that was decoded whole, the first that is not nearly black among a few."""
    found = None
    for found in islice(frames, _FRAMES + 1):
        timed.check()
        if is_picture or not _is_dark(found):
            break
    return found


def _is_dark(frame: Any) -> bool:
    tiny = frame.reformat(width=16, height=16, format="gray").to_image().convert("L")
    low, high = tiny.getextrema()
    return not isinstance(high, int | float) or high < 24 or high - low < 4


def _outline_of(container: Any, timed: _DeadlineFile) -> Preview:
    if not container.streams.audio:
        raise UnshowableError("there is no sound in it")
    loudest, total = _loudest(container.decode(container.streams.audio[0]), timed)
    return _drawn(loudest, _duration(container) or total / _RATE)


def _drawn(loudest: list[int], length: float) -> Preview:
    """Return the loudest sample of each of `PEAKS` stretches, in per cent of the loudest of all."""
    if not loudest:
        raise UnshowableError("there is no sound in it")
    count, top = min(PEAKS, len(loudest)), max(loudest) or 1
    columns = (loudest[each * len(loudest) // count : (each + 1) * len(loudest) // count] for each in range(count))
    return Preview(kind="sound", peaks=tuple(round(100 * max(each) / top) for each in columns), duration=length)


def _loudest(frames: Iterable[Any], timed: _DeadlineFile) -> tuple[list[int], int]:
    """Return the loudest sample of each of many equal stretches, and the number of samples; little of it in memory."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=_RATE)
    found, rest, span, total = list[int](), bytearray(), 8, 0
    for frame in frames:
        timed.check()
        # At a hertz, a few bytes of silence last for hours.
        if frame.samples > LONGEST_SOUND * frame.sample_rate:
            raise UnshowableError("one piece of it is longer than is drawn")
        for piece in resampler.resample(frame):
            rest += bytes(piece.planes[0])[: piece.samples * 2]
            total += piece.samples
        values = memoryview(bytes(rest)).cast("h")
        for start in range(0, len(values) - span + 1, span):
            high, low = max(values[start : start + span]), min(values[start : start + span])
            found.append(max(high, -low))
        del rest[: len(values) // span * span * 2]
        while len(found) > 2 * _STRETCHES:
            found, span = [max(found[each : each + 2]) for each in range(0, len(found), 2)], span * 2
    return found, total


def _piece(frames: Iterable[Any]) -> Iterator[Any]:
    seconds = 0.0
    for frame in frames:
        yield frame
        seconds += frame.samples / frame.sample_rate
        if seconds >= _PIECE:
            return


def _duration(container: Any) -> float | None:
    return None if not container.duration else container.duration / av.time_base
