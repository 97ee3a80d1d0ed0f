"""What the first bytes tell of a picture's size and a sound's length, read by libraries from the header alone. Pure."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING, Any

import imagesize

from fsmedia.format import wav
from fsmedia.models import mime

if TYPE_CHECKING:
    from fsmedia.models import ContentFields

_LARGEST_SIDE = 2**31


def measured(content: ContentFields, mime_type: str, head: bytes, size: int) -> dict[str, Any]:
    """Return the fields that the content leaves open and the bytes tell.

    Parameters
    ----------
    head
        The first bytes of the media, at least its header.
    size
        Bytes of the whole media.
    """
    kind = mime.essence(mime_type)
    found: dict[str, Any] = {}
    if kind.startswith("image/"):
        found = _picture(head)
    elif kind == "audio/wav":
        found = _sound(head, size)
    return {name: value for name, value in found.items() if getattr(content, name) is None}


def _picture(head: bytes) -> dict[str, Any]:
    try:
        width, height = imagesize.get(io.BytesIO(head))
    except Exception:  # noqa: BLE001 - a stranger's bytes; what can't be read is simply not told
        return {}
    if not (1 <= width < _LARGEST_SIDE and 1 <= height < _LARGEST_SIDE):
        return {}
    return {"width": int(width), "height": int(height)}


def _sound(head: bytes, size: int) -> dict[str, Any]:
    try:
        with wave.open(io.BytesIO(head)) as sound:
            frames, rate, channels = sound.getnframes(), sound.getframerate(), sound.getnchannels()
            width = sound.getsampwidth()
    except (wave.Error, EOFError, ValueError, ArithmeticError, RuntimeError):
        return {}
    if rate < 1 or channels < 1 or frames * channels * width + wav.HEADER_BYTES > size:
        return {}  # a header written before the length was known
    duration = frames / rate
    return {
        "duration": int(duration) if duration.is_integer() else round(duration, 6),
        "channels": channels,
        "bit_rate": rate * channels * width * 8,
    }
