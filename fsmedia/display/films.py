"""Posters of films and outlines of sounds, by PyAV: with a known container, few frames, few bytes, and a deadline.

The container is named by the first bytes and never guessed by FFmpeg, whose playlists open other files and hosts.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import av

from fsmedia.display.pictures import MOST_PIXELS, film_frame
from fsmedia.display.previewer import PEAKS, Preview, UnshowableError, decoding

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10.0  # longest work on one film or sound
LONGEST_SOUND = 20 * 60  # seconds of a sound whose outline is drawn; the rest is left out

_FRAMES = 40
_RATE = 8000
_CONTAINERS = {
    "video/mp4": "mp4", "video/quicktime": "mov", "audio/mp4": "mp4", "audio/x-m4a": "mp4", "video/3gpp": "mp4",
    "video/x-m4v": "mp4", "video/webm": "webm", "audio/webm": "webm", "video/x-matroska": "matroska",
    "video/x-msvideo": "avi", "video/ogg": "ogg", "audio/ogg": "ogg", "audio/opus": "ogg", "audio/wav": "wav",
    "audio/mpeg": "mp3", "audio/flac": "flac", "audio/aac": "aac", "audio/aiff": "aiff", "video/mpeg": "mpeg",
    "video/mp2t": "mpegts", "audio/amr": "amr",
}  # fmt: skip
_OPTIONS = {"probesize": "2000000", "analyzeduration": "3000000"}


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
        frame = _first(container.decode(stream), timed)
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
        return _outline_of(container, timed)


class _DeadlineFile:
    """A file that gives no byte after the deadline: what reads on and on comes to an end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._until = time.monotonic() + SECONDS
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        self.check()
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        self.check()
        return self._file.seek(offset, whence)

    def check(self) -> None:
        if time.monotonic() > self._until:
            raise UnshowableError(f"takes longer than {SECONDS:.0f} s to read")


@contextmanager
def _opened(file: BinaryIO, kind: str) -> Iterator[tuple[Any, _DeadlineFile]]:
    name = _CONTAINERS.get(kind)
    if name is None:
        raise UnshowableError(f"{kind} is not looked into")
    timed = _DeadlineFile(file)
    # Frames may be larger than the head says, or grow on the way: the decoder is told too.
    options = {**_OPTIONS, "max_pixels": str(MOST_PIXELS)}
    with (
        decoding("the file is broken or cut off"),
        # The format is named, never guessed: FFmpeg's guesses include playlists, which open other files and hosts.
        av.open(timed, format=name, options=options, metadata_errors="ignore") as container,
    ):
        yield container, timed


def _first(frames: Iterator[Any], timed: _DeadlineFile) -> Any:
    """Return a frame that was decoded whole, the first that is not nearly black among a few."""
    found = None
    for found in islice(frames, _FRAMES + 1):
        timed.check()
        if not _is_dark(found):
            break
    if found is None:
        raise UnshowableError("there is no frame in it")
    return found


def _is_dark(frame: Any) -> bool:
    tiny = frame.reformat(width=16, height=16, format="gray").to_image().convert("L")
    low, high = tiny.getextrema()
    return not isinstance(high, int | float) or high < 24 or high - low < 4


def _outline_of(container: Any, timed: _DeadlineFile) -> Preview:
    """Return the loudest sample of each of `PEAKS` stretches, in per cent of the loudest of all."""
    if not container.streams.audio:
        raise UnshowableError("there is no sound in it")
    resampler = av.AudioResampler(format="s16", layout="mono", rate=_RATE)
    samples = bytearray()
    for frame in container.decode(container.streams.audio[0]):
        timed.check()
        # At a hertz, a few bytes of silence last for hours.
        if frame.samples > LONGEST_SOUND * frame.sample_rate:
            raise UnshowableError("one piece of it is longer than is drawn")
        for piece in resampler.resample(frame):
            samples += bytes(piece.planes[0])[: piece.samples * 2]
        if len(samples) > 2 * _RATE * LONGEST_SOUND:
            break
    values = memoryview(samples).cast("h")
    if not values:
        raise UnshowableError("there is no sound in it")
    count, loudest = len(values), []
    for column in range(min(PEAKS, count)):
        start = column * count // PEAKS
        part = values[start : max((column + 1) * count // PEAKS, start + 1)]
        high, low = max(part), min(part)
        loudest.append(max(high, -low))
    top = max(loudest) or 1
    peaks = tuple(min(100, round(100 * each / top)) for each in loudest)
    return Preview(kind="sound", peaks=peaks, duration=_duration(container) or count / _RATE)


def _duration(container: Any) -> float | None:
    return None if not container.duration else container.duration / av.time_base
