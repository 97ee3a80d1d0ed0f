"""Previews as plain values that a cache can keep, and the sources of bytes that they are made from.

Reading one back trusts nothing: a checksum guards it, and each part must be of the kind and size it may have.
"""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsmedia.storage import Backend

Kind = Literal["picture", "sound", "film", "text", "none"]
MOST_SOUND = 256 * 1024
"""Bytes of a sound that may stand in a page."""
PEAKS = 96
"""Columns of the outline of a sound."""
_MAGIC = b"fsmedia preview 1\n"
_MOST_PICTURE = 4 * 2**20
_MOST_TEXT = 8192
_PICTURES = {b"RIFF": "image/webp", b"\x89PNG": "image/png"}
_DIGEST = 32
_BLOCK = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What is shown of one media.

    Attributes
    ----------
    image
        A small picture as WebP or PNG, of this package's own making; empty where there is none.
    width, height
        Of the original, in pixels.
    duration
        In seconds.
    peaks
        The outline of a sound: numbers from 0 to 100, `PEAKS` of them.
    sound
        The bytes of a short sound, as they are in the store.
    sound_type
        What they are, of a fixed list.
    text
        The first lines of a document.
    pages
        Of a document, where they were counted.
    reason
        Why there is no more to see.
    """

    kind: Kind = "none"
    image: bytes = b""
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    peaks: tuple[int, ...] = ()
    sound: bytes = b""
    sound_type: str = ""
    text: str = ""
    pages: int | None = None
    reason: str = ""

    @property
    def image_type(self) -> str:
        """The type of the small picture, by its first bytes; empty where they are none of ours."""
        return _PICTURES.get(self.image[:4], "")

    @property
    def weight(self) -> int:
        """Bytes it adds to a page, about: base64 makes four of three."""
        return (len(self.image) + len(self.sound)) * 4 // 3 + len(self.text) + 8 * len(self.peaks)

    def lighter(self, reason: str) -> Preview:
        """Return it without its bytes, and why."""
        return replace(self, image=b"", sound=b"", reason=reason)

    def pack(self) -> bytes:
        """Return it as bytes for a cache."""
        values = {name: value for name, value in asdict(self).items() if name not in ("image", "sound")}
        head = json.dumps({**values, "image": len(self.image), "sound": len(self.sound)}).encode()
        body = len(head).to_bytes(4, "big") + head + self.image + self.sound
        return _MAGIC + hashlib.sha256(body).digest() + body

    @classmethod
    def unpack(cls, data: bytes) -> Preview | None:
        """Read what `pack` made; None for anything else, however it came to be."""
        start = len(_MAGIC) + _DIGEST
        body = data[start:]
        if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
            return None
        try:
            end = 4 + int.from_bytes(body[:4], "big")
            values = json.loads(body[4:end])
            middle = end + int(values.pop("image"))
            last = middle + int(values.pop("sound"))
            values["peaks"] = tuple(values["peaks"])
            found = cls(**values, image=body[end:middle], sound=body[middle:last])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        return found if last == len(body) and found._is_sound() else None

    def _is_sound(self) -> bool:
        numbers = (self.width, self.height, self.duration, self.pages)
        return (
            self.kind in get_args(Kind)
            and len(self.image) <= _MOST_PICTURE
            and (not self.image or bool(self.image_type))
            and len(self.sound) <= MOST_SOUND
            and all(isinstance(value, str) for value in (self.text, self.reason, self.sound_type))
            and len(self.text) <= _MOST_TEXT
            and len(self.peaks) <= PEAKS
            and all(type(peak) is int and 0 <= peak <= 100 for peak in self.peaks)
            and all(value is None or type(value) in (int, float) for value in numbers)
        )


class UnshowableError(Exception):
    """There is nothing to show; the text is the reason, for the person who looks."""


@contextmanager
def decoding(reason: str) -> Iterator[None]:
    """Turn what a decoder raises on a stranger's bytes, which may be anything, into `UnshowableError`.

    Parameters
    ----------
    reason
        What the person who looks is told. The decoder's own words are not shown: they may quote the bytes.
    """
    try:
        yield
    except UnshowableError:
        raise
    except Exception as error:
        raise UnshowableError(reason) from error


class Source(Protocol):
    """Bytes of one media."""

    size: int

    def part(self, start: int, end: int) -> bytes:
        """Read from start to before end, less where it ends before; `FileNotFoundError` where it is gone."""

    def whole(self, most: int) -> bytes:
        """Read all, or if it is more than that the first `most + 1` bytes."""


class StoredSource:
    """A media in a storage; one request for each read."""

    def __init__(self, backend: Backend, key: str, size: int) -> None:
        self._backend, self._key, self.size = backend, key, size

    def part(self, start: int, end: int) -> bytes:
        """See `Source.part`."""
        return self._there(self._backend.read_range(self._key, start, end))

    def whole(self, most: int) -> bytes:
        """See `Source.whole`."""
        if self.size > most:
            return self.part(0, most + 1)
        return self._there(self._backend.read_range(self._key, None, None))[: most + 1]

    def _there(self, data: bytes | None) -> bytes:
        if data is None:
            raise FileNotFoundError(self._key)
        return data


class OpenedSource:
    """A file object that can seek."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)

    def part(self, start: int, end: int) -> bytes:
        """See `Source.part`."""
        self._file.seek(start)
        return self._file.read(end - start)

    def whole(self, most: int) -> bytes:
        """See `Source.whole`."""
        return self.part(0, most + 1)


class RangedFile(io.RawIOBase, BinaryIO):
    """A large media as a file object that reads blocks of 1 MiB, keeps them, and ends after so many.

    Raises
    ------
    OSError
        At the read that would be one block too many.
    """

    def __init__(self, source: Source, most_blocks: int) -> None:
        self._source = source
        self._size = source.size
        self._blocks: dict[int, bytes] = {}
        self._left = most_blocks
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read on, within one block at a time."""
        size = self._size if size is None or size < 0 else size
        number, inside = divmod(self._position, _BLOCK)
        if size == 0 or self._position >= self._size:
            return b""
        data = self._block(number)[inside : inside + size]
        self._position += len(data)
        return data

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            if self._left == 0:
                raise OSError("more of the file would have to be read than a preview is worth")
            self._left -= 1
            self._blocks[number] = self._source.part(number * _BLOCK, min((number + 1) * _BLOCK, self._size))
        return self._blocks[number]

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move; nothing is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """Tell where it stands."""
        return self._position

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be moved in."""
        return True
