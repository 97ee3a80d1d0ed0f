"""Pictures and sound that a program holds in memory become files: pictures by Pillow, sound as WAV.

NumPy and Pillow are imported when something is encoded. Values are never clipped or scaled by guess: what does not fit
is an error that says what was seen.
"""

from __future__ import annotations

import io
import math
import operator
import wave
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fsmedia.errors import InvalidMediaError, MediaError, MediaTooLargeError
from fsmedia.format import wav
from fsmedia.models import mime

if TYPE_CHECKING:
    from collections.abc import Iterator

_ARRAYS = ("__array_interface__", "__array__", "__dlpack__")
_COLORS = (1, 3, 4)
_RATES = range(1, 1_000_001)
_MOST_CHANNELS = 64


def encode_image(image: Any, format_name: str) -> tuple[bytes, dict[str, Any]]:
    """Return a PIL image, or an array of one, as a file, and its content fields; see `MediaContent.from_image`."""
    with _needed("pillow"):
        from PIL import ExifTags, Image, ImageOps
    Image.init()
    extension = f".{format_name}".lower()
    encoding, mime_type = Image.registered_extensions().get(extension, ""), mime.guess_from_name(extension) or ""
    if encoding not in Image.SAVE or not mime_type.startswith("image/"):
        problem = f"Pillow writes no picture of the format {format_name!r}"
        raise InvalidMediaError(problem, next_step="use 'png', 'jpeg' or 'webp'")
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_pixels(image))
    file = io.BytesIO()
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            # Only pixels are written, so the picture itself must stand as the camera was held.
            image = ImageOps.exif_transpose(image)
        image.save(file, encoding)
    except (OSError, ValueError, KeyError) as error:
        step = "png takes most modes, and image.convert('RGB') fits all formats"
        raise InvalidMediaError(f"can't be written as {format_name} ({error})", next_step=step) from error
    fields = {"format": extension[1:], "width": image.width, "height": image.height}
    return file.getvalue(), {"mime_type": mime_type, **fields}


def encode_sound(samples: Any, sample_rate: int) -> tuple[bytes, dict[str, Any]]:
    """Return samples as a WAV file, and its content fields; see `MediaContent.from_audio`."""
    try:
        rate = operator.index(sample_rate)
    except TypeError:
        rate = 0
    if rate not in _RATES:
        problem = f"sample_rate must be a whole number of samples a second, up to a million, not {sample_rate!r}"
        raise InvalidMediaError(problem, next_step="give what the model or the file says, such as 24000")
    array = _array(samples, "samples", "from_path takes a file of sound, from_bytes the bytes of one")
    frames, channels = array.shape if array.ndim == 2 else (*array.shape, 1) if array.ndim == 1 else (0, 0)
    # More channels than samples: it is the other way round, as (channels, n) of torchaudio is.
    if not 1 <= channels <= min(_MOST_CHANNELS, frames):
        step = "give (n,), or (n, channels) with up to 64 channels; of (channels, n) the transpose, samples.T"
        raise InvalidMediaError(f"samples can't have the shape {array.shape}", next_step=step)
    if array.dtype.kind == "f":
        array = (_within(array, -1.0, "samples / 32768 of 16 bits, or numpy.clip") * 32767).round().astype("<i2")
    elif array.dtype.name not in ("int16", "int32"):
        step = "give floats from -1 to 1, int16 or int32"
        raise InvalidMediaError(f"samples can't be {array.dtype.name}", next_step=step)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if array.nbytes > wav.LARGEST:
        raise MediaTooLargeError("a WAV file holds at most 4 GiB", next_step="split the sound, or store it compressed")
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((channels, array.itemsize, rate, frames, "NONE", ""))
        sound.writeframes(array.tobytes())
    duration = frames / rate
    seconds = int(duration) if duration.is_integer() else round(duration, 6)
    return file.getvalue(), {"mime_type": wav.WAV, "format": "wav", "duration": seconds, "channels": channels}


def _pixels(image: Any) -> Any:
    """Return the array of a picture as bytes, without an axis of one colour."""
    array = _array(image, "image", "from_path takes a file of a picture, from_bytes the bytes of one")
    shape = array.shape
    if array.ndim == 3 and shape[0] in _COLORS and shape[2] not in _COLORS:
        step = "transpose it: image.transpose(1, 2, 0), of a torch tensor image.permute(1, 2, 0)"
        raise InvalidMediaError(f"image has the shape {shape}, colours first", next_step=step)
    if 0 in shape or not (array.ndim == 2 or (array.ndim == 3 and shape[2] in _COLORS)):
        step = "give (height, width), or (height, width, 1, 3 or 4), one picture at a time"
        raise InvalidMediaError(f"image can't have the shape {shape}", next_step=step)
    if array.dtype.kind == "b":
        array = array.astype("u1") * 255
    elif array.dtype.kind == "f":
        array = (_within(array, 0.0, "values from 0 to 255: image.astype('uint8'); others: numpy.clip") * 255).round()
    elif array.dtype.name != "uint8":
        step = "values from 0 to 255: image.astype('uint8'); others: scaled to floats from 0 to 1"
        raise InvalidMediaError(f"image can't be {array.dtype.name}", next_step=step)
    return array.reshape(shape[:2] if shape[2:] == (1,) else shape).astype("u1", copy=False)


def _array(given: Any, name: str, otherwise: str) -> Any:
    """Return what is like an array as one of NumPy."""
    if not any(hasattr(given, each) for each in _ARRAYS):
        kind = f"{'a PIL image or ' if name == 'image' else ''}an array"
        raise InvalidMediaError(f"{name} must be {kind}, not {type(given).__name__}", next_step=otherwise)
    with _needed("numpy"):
        import numpy as np
    try:
        return np.asarray(given) if any(hasattr(given, each) for each in _ARRAYS[:2]) else np.from_dlpack(given)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:  # a GPU's, with gradients, of other numbers
        step = "move it to the CPU, as numbers that NumPy has: tensor.detach().cpu().float().numpy()"
        raise InvalidMediaError(f"{name} can't be read as an array ({str(error)[:200]})", next_step=step) from error


def _within(array: Any, low: float, step: str) -> Any:
    """Return floats that lie from `low` to 1; else InvalidMediaError names the range that they have."""
    least, most = float(array.min()), float(array.max())
    if not (low <= least and most <= 1.0):  # so is NaN, which is neither
        seen = "have NaN among them" if math.isnan(most) else f"reach from {least:g} to {most:g}"
        raise InvalidMediaError(f"floats must lie from {low:g} to 1; these {seen}", next_step=step)
    return array.astype("f8" if array.dtype.itemsize > 4 else "f4", copy=False)


@contextmanager
def _needed(package: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MediaError(f"{package} is not installed", next_step=f"pip install {package}") from error
