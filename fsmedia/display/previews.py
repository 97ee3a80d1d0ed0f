"""What is shown of one media, as plain values that a cache can keep: a picture, a sound's outline, first lines.

Reading one back trusts nothing: a checksum guards it, and each part must be of the kind and size it may have.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

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
            and all(type(peak) is int and 0 <= peak <= 100 for peak in self.peaks)  # noqa: PLR2004 - per cent
            and all(value is None or type(value) in (int, float) for value in numbers)
        )
