"""Sizes of pictures and lengths of sound and films, from the first and last bytes of a media.

Pictures are measured by imagesize, FLAC, AIFF and MP4 by tinytag. WAV, Ogg, MP3 and WebM are read here, for tinytag
believes the lengths of a stream's header, needs all bytes of Ogg, and guesses the length of an MP3 of varying bit rate.
What comes out is right or left out. The bytes are strangers': every loop ends with the bytes that are there.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from math import isfinite
from typing import Any, BinaryIO, cast

from fsmedia.errors import ForeignCall
from fsmedia.models import mime

HEAD_BYTES = 256 * 1024
"""First bytes of a media that are looked at: those of a camera's picture have some 100 KiB before the size."""
TAIL_BYTES = 256 * 1024
"""Last bytes that are looked at: MP4 keeps its table of all frames there, 100 KiB for 10 minutes of sound."""

# Pixels, seconds. Whatever says more is damaged, and would not fit the columns of a table.
_LARGEST_SIDE = 2**31
_LONGEST = 2**31
_SHORT = 4096  # as much as a header of text takes


def measure(mime_type: str, head: bytes, tail: bytes, size: int) -> dict[str, Any]:
    """Return width and height in pixels, duration in seconds, channels, bit rate: those of them that the bytes tell.

    `head`, `tail`: the first and the last bytes, which may overlap. `size`: of all of them.
    """
    read: Callable[[_View], dict[str, Any]] | None = None
    if mime_type[:6].lower() == "image/":
        read = _measure_image
    elif mime_type[:6].lower() in {"audio/", "video/"}:
        read = _READERS.get(mime.read_as(mime_type, head) or "")
    found: dict[str, Any] = {}
    # Raises many things at a stranger's bytes; what can't be measured is left out.
    with ForeignCall():
        found = read(_View(head, tail, size)) if read else {}
    seconds = found.pop("duration", None)
    if seconds and isfinite(seconds) and 0 < seconds < _LONGEST and round(seconds, 6):
        found["duration"] = int(seconds) if float(seconds).is_integer() else round(seconds, 6)
    return {name: value for name, value in found.items() if value}


class _View:
    """Bytes of which only the first and the last are known, as a file; what lies between reads as its end."""

    def __init__(self, head: bytes, tail: bytes, size: int) -> None:
        if len(head) < size <= len(head) + len(tail):
            head += tail[len(head) - size :]
        self.size = size
        self.head = head
        self.tail = b"" if len(head) >= size else tail
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int = -1) -> bytes:
        data, start = self.head, self._at
        if start >= len(data):
            data, start = self.tail, start - (self.size - len(self.tail))
        found = b"" if start < 0 else data[start : start + count if count >= 0 else None]
        self._at += len(found)
        return found

    @property
    def is_whole(self) -> bool:
        return len(self.head) >= self.size


def _measure_image(view: _View) -> dict[str, Any]:
    head, file = view.head, cast("BinaryIO", view)
    # As imagesize reads the commonest kind of all; it takes longer to look what it was given than a sidecar takes.
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR" and len(head) >= 24:
        return _within(*struct.unpack_from(">II", head, 16))
    import imagesize  # 14 ms

    svg = mime.svg_tag(head[:_SHORT])
    if svg is not None:
        file = io.BytesIO(b"<svg " + svg)
    elif head[:1] == b"P":
        file = io.BytesIO(head[:_SHORT])  # adds a digit to the others, one by one
    elif head[:2] == b"\xff\xd8":
        file = io.BytesIO(head)  # read byte by byte
    elif head[4:8] == b"ftyp":
        # Where Exif data lie: a few bytes there take hours to read, and HEIF tells to turn a picture by another box.
        view.head = head.replace(b"iloc", b"free")
    return _within(*imagesize.get(file))


def _within(width: float, height: float) -> dict[str, Any]:
    """Return the size of a picture; nothing where no picture has such a size."""
    if not (1 <= width < _LARGEST_SIDE and 1 <= height < _LARGEST_SIDE):
        return {}
    return {"width": int(width), "height": int(height)}


def _measure_tagged(view: _View) -> dict[str, Any]:
    from tinytag import TinyTag

    # A film whose length was not known when its header was written says the largest number.
    if re.search(rb"mvhd(?:\0.{15}\xff{4}|\x01.{23}\xff{8})", view.head + view.tail, re.DOTALL):
        return {}
    found = TinyTag.get(file_obj=cast("BinaryIO", view), tags=False)
    seconds = found.duration or 0
    # Samples that are not there: the header of AIFF, too, may have been written before the sound.
    is_short = view.head[:4] == b"FORM" and found.is_lossless and seconds * (found.bitrate or 0) * 125 > view.size
    return {"duration": None if is_short else seconds, "channels": found.channels}


def _measure_wav(view: _View) -> dict[str, Any]:
    """Measure WAV; a length that was not known when the header was written is that of the rest of the file."""
    order = ">" if view.head[:4] == b"RIFX" else "<"
    at, rate, channels, frame, bits, coded, long, samples = 12, 0, 0, 0, 0, 0, 0, 0
    while len(chunk := view.head[at : at + 8]) == 8:
        name, count = chunk[:4], struct.unpack(order + "I", chunk[4:])[0]
        at += 8
        if name == b"fmt ":
            coded, channels, rate, _, frame, bits = struct.unpack_from(order + "HHIIHH", view.head, at)
            if coded == _EXTENSIBLE:
                (coded,) = struct.unpack_from(order + "H", view.head, at + 24)
        elif name == b"ds64":
            (long,) = struct.unpack_from("<Q", view.head, at + 8)
        elif name == b"fact":
            (samples,) = struct.unpack_from(order + "I", view.head, at)
        elif name == b"data":
            rest = view.size - at
            told = long if long and count == 0xFFFFFFFF else count
            count = told if 0 < told <= rest else rest
            if coded not in _PLAIN:
                return {"duration": samples / rate if samples < 0xFFFFFFFF else None, "channels": channels}
            if told > rest == 0 or not bits or frame != channels * ((bits + 7) // 8):
                return {}
            return {"duration": count // frame / rate, "channels": channels, "bit_rate": rate * frame * 8}
        at += count + count % 2
    return {}


_EXTENSIBLE = 0xFFFE
_PLAIN = {1, 3, 6, 7}  # integers, floats, A-law, µ-law: each frame takes the same number of bytes


def _measure_ogg(view: _View) -> dict[str, Any]:
    """Measure Ogg by the time in the last page of the first sound in it."""
    at = 0
    codecs: dict[int, tuple[int, int, int] | None] = {}
    while (page := view.head[at : at + 27])[:4] == b"OggS" and len(page) == 27:
        (serial,) = struct.unpack_from("<I", page, 14)
        sizes = view.head[at + 27 : at + 27 + page[26]]
        body = at + 27 + len(sizes)
        at = body + sum(sizes)
        if not page[5] & 2:
            break  # all streams have begun
        codecs[serial] = _ogg_codec(view.head[body:at])
    serial, codec = next(((serial, codec) for serial, codec in codecs.items() if codec), (0, None))
    if codec is None:
        return {}
    channels, rate, skipped = codec
    pages = [
        struct.unpack("<qI", match[1]) for match in re.finditer(rb"OggS\0.(.{12})", view.head + view.tail, re.DOTALL)
    ]
    times = [time for time, number in pages if number == serial and time > 0]
    # Another stream follows the first, or a broadcast was joined late: nobody knows how long what is missing is.
    if not times or times[0] > _PAGE_SECONDS * rate or {number for _, number in pages} - codecs.keys():
        return {"channels": channels}
    return {"duration": (times[-1] - skipped) / rate, "channels": channels}


_PAGE_SECONDS = 60  # no page holds more


def _ogg_codec(packet: bytes) -> tuple[int, int, int] | None:
    """Return channels, samples a second, and samples to skip of a stream of sound."""
    if packet.startswith(b"\1vorbis"):
        channels, rate = struct.unpack_from("<BI", packet, 11)
        return channels, rate, 0
    if packet.startswith(b"OpusHead"):
        channels, skipped = struct.unpack_from("<BH", packet, 9)
        return channels, 48_000, skipped
    if packet.startswith(b"Speex   "):
        rate, _, _, channels = struct.unpack_from("<IIII", packet, 36)
        return channels, rate, 0
    if packet.startswith(b"\x7fFLAC"):
        (bits,) = struct.unpack_from(">Q", packet, 27)
        return (bits >> 41 & 7) + 1, bits >> 44, 0
    return None


# Thousands of bits a second, of MPEG 1 and of MPEG 2 and 2.5: layer 1, 2, 3.
_BIT_RATES = {
    (True, 1): range(32, 480, 32),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = (44_100, 48_000, 32_000)


class _Frame:
    """Header of a frame of MPEG sound; a ValueError if it is none."""

    def __init__(self, data: bytes, at: int) -> None:
        if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] < 0xE0:
            raise ValueError("no frame")
        version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
        bits, rate = data[at + 2] >> 4, data[at + 2] >> 2 & 3
        if version == 1 or layer == 4 or bits in {0, 15} or rate == 3:
            raise ValueError("no frame")
        is_first = version == 3
        self.kind = data[at + 1] & 0xFE, rate  # the same in all frames of a file
        self.bits = _BIT_RATES[is_first, layer][bits - 1] * 1000
        self.rate = _SAMPLE_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
        self.samples = 384 if layer == 1 else 576 if layer == 3 and not is_first else 1152
        self.channels = 1 if data[at + 3] >> 6 == 3 else 2
        slot = 4 if layer == 1 else 1
        self.length = (self.samples // 8 // slot * self.bits // self.rate + (data[at + 2] >> 1 & 1)) * slot
        # Where the frames are counted that follow this one: behind the parts that it has to have.
        self.table = at + 4 + ((32, 17) if is_first else (17, 9))[self.channels == 1]


def _measure_mp3(view: _View) -> dict[str, Any]:
    """Measure MP3 by its table of frames, by all frames, or by the bit rate if all frames that are known have one."""
    data, at = view.head, 0
    while data[at : at + 3] == b"ID3":
        size = data[at + 6 : at + 10]
        at += 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
    if data[at : at + 4] == b"fLaC":
        return _measure_tagged(view)
    at = len(data) - len(data[at:].lstrip(b"\0"))
    first = _Frame(data, at)
    found, samples = {"channels": first.channels}, 0
    if data[first.table : first.table + 4] in {b"Xing", b"Info"}:
        flags, frames = struct.unpack_from(">II", data, first.table + 4)
        samples = frames * first.samples if flags & 1 else 0
        if flags & 15 == 15 and data[first.table + 120 : first.table + 124] in _ENCODERS:
            # What the encoder put in front and behind to fill its frames.
            (filled,) = struct.unpack_from(">I", data, first.table + 140)
            samples = max(0, samples - (filled >> 12 & 0xFFF) - (filled & 0xFFF))
        at += first.length
    elif data[at + 36 : at + 40] == b"VBRI":
        samples = struct.unpack_from(">I", data, at + 50)[0] * first.samples
    if not samples:
        samples = _count_samples(view, at, first)
    return {**found, "duration": samples / first.rate}


_ENCODERS = {b"LAME", b"Lavc", b"Lavf"}


def _count_samples(view: _View, at: int, first: _Frame) -> int:
    """Return how many samples the frames hold; 0 where that can't be known."""
    end = view.size - 128 * ((view.tail or view.head)[-128:].startswith(b"TAG"))
    count, rates, stop = _frames(view.head, at, first)
    if view.is_whole:
        return count * first.samples if stop >= end else 0
    # What lies between is not looked at: the frames at the end have the same bit rate, or it is not known.
    sync = re.compile(re.escape(view.head[at : at + 2]))
    starts = (match.start() for match in sync.finditer(view.tail[:_SHORT]))
    later = next((each for each in starts if _frames(view.tail[each : each + _SHORT], 0, first)[0] > 2), None)
    if later is None or len(rates) != 1 or _frames(view.tail, later, first)[1] != rates:
        return 0
    return round((end - at) * 8 * first.rate / first.bits / first.samples) * first.samples


def _frames(data: bytes, at: int, first: _Frame) -> tuple[int, set[int], int]:
    """Return how many frames follow each other, their bit rates, and where they end."""
    count, rates = 0, set[int]()
    with ForeignCall():
        while (frame := _Frame(data, at)).kind == first.kind:
            at += frame.length
            rates.add(frame.bits)
            count += 1
    return count, rates, at


# Identifiers of Matroska: all of it, what describes it, the nanoseconds of its unit of time, its length in that unit.
_SEGMENT, _INFO, _SCALE, _LENGTH = b"\x18\x53\x80\x67", b"\x15\x49\xa9\x66", b"\x2a\xd7\xb1", b"\x44\x89"


def _measure_matroska(view: _View) -> dict[str, Any]:
    """Measure WebM and Matroska by what describes it; a recording that was streamed says no length."""
    data, at, scale, length = view.head, 0, 1_000_000, 0.0
    end = len(data)
    while at < end:
        width = 9 - data[at].bit_length()
        name, at = data[at : at + width], at + width
        width = 9 - data[at].bit_length()
        size, at = int.from_bytes(data[at : at + width], "big") & ~(-1 << 7 * width), at + width
        if name == _INFO:
            end = min(end, at + size)
        elif name == _SCALE:
            scale = int.from_bytes(data[at : at + size], "big")
        elif name == _LENGTH:
            (length,) = struct.unpack(">f" if size == 4 else ">d", data[at : at + size])
        if name not in {_SEGMENT, _INFO}:  # what lies in these comes next
            at += size
    return {"duration": length * scale / 1e9}


_READERS: dict[str, Callable[[_View], dict[str, Any]]] = {
    **dict.fromkeys(("audio/flac", "audio/aiff", "audio/mp4", "video/mp4", "video/quicktime"), _measure_tagged),
    **dict.fromkeys(("video/x-m4v", "video/3gpp", "video/3gpp2"), _measure_tagged),
    **dict.fromkeys(("audio/ogg", "audio/opus", "video/ogg"), _measure_ogg),
    **dict.fromkeys(("video/webm", "video/x-matroska"), _measure_matroska),
    "audio/wav": _measure_wav,
    "audio/mpeg": _measure_mp3,
}
