"""A gallery as a widget: its cards bring all bytes of a media, from whatever storage, when somebody asks.

The browser asks by the number of a card and nothing else, so nothing but what the gallery shows can be had. What is
sent is what a browser may be given: pictures without script, sound, film, plain text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import anywidget
import traitlets

from fsmedia.display.html import asset, playable
from fsmedia.display.previewer import show_in_place
from fsmedia.errors import MediaError, MediaTooLargeError
from fsmedia.models.text import size_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsmedia.display.gallery import Gallery

MOST_BYTES = 64 * 2**20  # largest media that is brought to a browser


class InteractiveGallery(anywidget.AnyWidget):
    """A gallery as a Jupyter widget; made by `MediaStore.gallery(interactive=True)`.

    It has what the gallery has; `save` writes it as it is without a kernel.
    """

    _esm = asset("script.js") + asset("widget.js")
    html = traitlets.Unicode().tag(sync=True)

    _ipython_display_ = show_in_place

    def __init__(self, gallery: Gallery, opened: Callable[[str], BinaryIO], **options: Any) -> None:
        super().__init__(html=gallery.html(ask=True), **options)
        self.gallery = gallery
        self.items, self.records, self.totals, self.save = gallery.items, gallery.records, gallery.totals, gallery.save
        self._opened = opened
        self.on_msg(self._answer)

    def __repr__(self) -> str:
        return repr(self.gallery)

    def __len__(self) -> int:
        return len(self.gallery)

    def _answer(self, _widget: object, content: object, _buffers: object) -> None:
        # A page is a stranger: nothing but the number of a card is taken from it.
        number = content.get("n") if isinstance(content, dict) else None
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(self.gallery.items):
            return
        record = self.gallery.items[number].record
        try:
            with self._opened(record.reference) as file:
                data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise MediaTooLargeError(
                    f"is larger than {size_text(MOST_BYTES)}", next_step="use store.open(reference)"
                )
            tag, kind = playable(data, record.mime_type)
        except MediaError as error:
            self.send({"n": number, "error": error.problem})
            return
        self.send({"n": number, "tag": tag, "type": kind}, [data])
