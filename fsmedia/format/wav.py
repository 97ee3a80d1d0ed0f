"""Raw PCM sound becomes a playable WAV file: what format it has, and the 44 bytes that go in front. Pure.

Both `audio/pcm` and `audio/L16` are taken as little-endian samples: that is what LLM APIs send under either name,
though RFC 3551 gives L16 the other order, and what PromptKit does.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from fsmedia.errors import InvalidMediaError, MediaTooLargeError
from fsmedia.models import mime

WAV = "audio/wav"
HEADER_BYTES = 44
DEFAULT_RATE = 24_000
"""Samples a second where the MIME type names none: OpenAI's and Gemini's output, and PromptKit's default."""

_RAW = ("audio/pcm", "audio/l16")
_SAMPLE_BYTES = 2
LARGEST = 0xFFFFFFFF - (HEADER_BYTES - 8)  # RIFF sizes are 32 bits and count all but the first 8 bytes
_RATES = range(1, 1_000_001)
_CHANNELS = range(1, 65)


class PcmFormat(NamedTuple):
    """16-bit samples: how many a second, and in how many channels."""

    rate: int
    channels: int


def is_raw(mime_type: str) -> bool:
    """Return whether a MIME type means samples without a header."""
    return mime.essence(mime_type) in _RAW


def pcm_format(mime_type: str, channels: int | None) -> PcmFormat | None:
    """Return the format of raw sound, `audio/pcm` or `audio/L16`; None if the type is no raw sound.

    The type's parameters `rate` and `channels` win over the `channels` of the content; InvalidMediaError if one can't
    be meant.
    """
    if not is_raw(mime_type):
        return None
    given = dict(part.strip().lower().partition("=")[::2] for part in mime_type.split(";")[1:])
    return PcmFormat(
        _number("rate", given.get("rate"), DEFAULT_RATE, _RATES),
        _number("channels", given.get("channels"), channels or 1, _CHANNELS),
    )


def _number(name: str, text: str | None, default: int, allowed: range) -> int:
    value = default if text is None else int(text.strip('"')) if text.strip('"').isdecimal() else -1
    if value not in allowed:
        problem = f"raw sound can't have {name} {text or default!r}"
        raise InvalidMediaError(problem, next_step=f"use {allowed.start} to {allowed.stop - 1}")
    return value


def header(form: PcmFormat, data_bytes: int) -> bytes:
    """Return the 44 bytes in front of so many bytes of samples; MediaTooLargeError above 4 GiB."""
    if data_bytes > LARGEST:
        raise MediaTooLargeError("a WAV file holds at most 4 GiB", next_step="split the sound, or store it compressed")
    frame = form.channels * _SAMPLE_BYTES
    rates = (form.rate, form.rate * frame, frame, _SAMPLE_BYTES * 8)
    riff = struct.pack("<4sI4s", b"RIFF", data_bytes + HEADER_BYTES - 8, b"WAVE")
    return riff + struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, form.channels, *rates, b"data", data_bytes)


def is_wav(head: bytes) -> bool:
    """Return whether bytes begin as a WAV file does: then they are not raw, whatever their type says."""
    return head[:4] == b"RIFF" and head[8:12] == b"WAVE"
