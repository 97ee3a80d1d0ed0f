"""Players for notebooks: a content at full size, whose bytes stand in the output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from fsmedia.display.html import data_url, style
from fsmedia.display.previewer import PLAYED, family_of
from fsmedia.errors import InvalidMediaError, MediaTooLargeError
from fsmedia.models import mime
from fsmedia.models.text import sentence, size_text, visible, visible_lines

if TYPE_CHECKING:
    from fsmedia.models import MediaContent

SHOWN_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif")
"""Pictures that browsers show and that can hold no script."""

_HEAD = 8192
_MOST_TEXT = 200_000


class Player:
    """A content at full size, read now; a notebook shows it.

    MediaTooLargeError if it has more bytes than `max_size` (None: any number), InvalidMediaError if a browser can't
    show it.
    """

    def __init__(self, content: MediaContent, max_size: int | None) -> None:
        file = content.open()
        data = file.read() if max_size is None else file.read(max_size + 1)
        if file is not content.data:
            file.close()
        if max_size is not None and len(data) > max_size:
            raise MediaTooLargeError(
                f"is larger than {size_text(max_size)}, too much for a notebook",
                next_step="pass max_size=None to do it all the same, or play .local_path()",
                reference=content.storage_reference,
            )
        self._tag, self._type = playable(data, content.mime_type)
        self._data = data
        self._label = sentence(content.caption or content.mime_type, most=200)

    def __repr__(self) -> str:
        return f"<Player of {size_text(len(self._data))} {self._type}>"

    def _repr_html_(self) -> str:
        if self._tag == "text":
            text = visible_lines(self._data[:_MOST_TEXT].decode("utf-8-sig", errors="replace"))
            inner = Markup('<pre tabindex="0">{}</pre>').format(text)
        elif self._tag == "image":
            inner = Markup('<img src="{}" alt="{}">').format(data_url(self._type, self._data), self._label)
        else:
            inner = Markup('<{0} controls preload="metadata" src="{1}" aria-label="{2}"></{0}>').format(
                self._tag,
                data_url(self._type, self._data),
                self._label,
            )
        return str(Markup('<div class="fsm fsm-player">{}{}</div>').format(style(), inner))


def playable(data: bytes, mime_type: str) -> tuple[str, str]:
    """Return how a browser may be given some bytes: ("image" | "audio" | "video" | "text", type).

    InvalidMediaError if no way is safe and of use.
    """
    found = mime.detect(data[:_HEAD])
    if found in SHOWN_PICTURES:
        return "image", found
    if found in PLAYED:
        family = "video" if found.startswith("video/") and not mime_type.startswith("audio/") else "audio"
        return family, PLAYED[found]
    if (found is None or family_of(found) == "text") and mime.is_text(data[:_HEAD]):
        return "text", "text/plain"
    raise InvalidMediaError(
        f"a browser can't show {found or visible(mime.essence(mime_type), most=100)}",
        next_step="use .local_path() and a program that can",
    )
