"""A gallery as a widget: it brings originals from whatever storage, tells what is selected, and writes ratings.

The browser names media by their number in the gallery and nothing else, so nothing but what the gallery shows can be
had or rated.

What a notebook keeps is the gallery as HTML, under a random key. The widget is never displayed: JupyterLab and Notebook
show an error in its place when a notebook is opened again, whatever HTML stands beside it. Its module, which runs once
the page knows the widget, looks for that HTML and takes it over; without a kernel the HTML is still a gallery.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any, BinaryIO

import anywidget
import traitlets

from fsmedia.display.gallery import file_name_of, known_of
from fsmedia.display.html import asset, told_of
from fsmedia.display.originals import MOST_BYTES, Original, original_of
from fsmedia.display.previewer import show_in_place
from fsmedia.errors import MediaError
from fsmedia.models.text import size_text, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fsmedia.display.gallery import Gallery
    from fsmedia.models import MediaRecord

    Rate = Callable[[str, Mapping[str, int | None]], Any]

RATING = "rating"
"""The attribute that rating writes: `user.rating` among the xattrs of a sidecar, from 1 to 5."""
_LONGEST_ID = 100


class InteractiveGallery(anywidget.AnyWidget):
    """A gallery as a Jupyter widget; made by `MediaStore.gallery(interactive=True)`.

    It has what the gallery has; `save` writes it as it is without a kernel.

    Attributes
    ----------
    selected
        References of the media that are selected in the browser, in the order of the gallery; `observe` tells changes.
    """

    _esm = asset("viewer.js")
    key = traitlets.Unicode().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)
    css = traitlets.Unicode().tag(sync=True)
    selected = traitlets.List(traitlets.Unicode(), read_only=True)

    _ipython_display_ = show_in_place

    def __init__(self, gallery: Gallery, rate: Rate | None = None, **options: Any) -> None:
        data = {**gallery.data(), "rates": rate is not None, "selects": True}
        super().__init__(key=token_hex(16), data=data, css=asset("viewer.css"), **options)
        self.gallery = gallery
        self.items, self.totals, self.save = gallery.items, gallery.totals, gallery.save
        self._rate = rate
        self.on_msg(self._answer)

    @property
    def records(self) -> list[Any]:
        """What the store knows of each media, ratings that were given here too."""
        return self.gallery.records

    def __repr__(self) -> str:
        return repr(self.gallery)

    def __len__(self) -> int:
        return len(self.gallery)

    def open(self) -> None:
        """Open the channel to the page, where there is one."""
        # Whatever runs notebooks without a page (nbclient) keeps in them all that widgets say, and what makes HTML of
        # such a notebook lets it load the code of widgets from a CDN. Jupyter's server names the notebook to kernels.
        if _is_viewed() or "JPY_SESSION_NAME" in os.environ:
            super().open()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        kept = {"text/plain": repr(self), "text/html": self.gallery.html(key=self.key)}
        if not _is_viewed():
            return kept
        bundle, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        return bundle | kept, metadata

    def _answer(self, _widget: object, content: object, _buffers: object) -> None:
        # A page is a stranger: nothing but numbers of media that are shown, and of stars, is taken from it.
        message = content if isinstance(content, dict) else {}
        if "select" in message:
            self._select(message["select"])
            return
        number, asked = self._shown(message.get("i")), message.get("id")
        if number is None or not isinstance(asked, str) or len(asked) > _LONGEST_ID:
            return
        if (make := _MAKERS.get(str(message.get("ask")))) is not None:
            original = self._brought(number, make)
            self.send({"id": asked, **told_of(original)}, [original.data] if original.data else [])
        elif self._rate is not None and _is_rating(stars := message.get("rate", 0)):
            self.send({"id": asked, **self._rated(self._rate, number, stars)})

    def _shown(self, number: object) -> int | None:
        if not isinstance(number, int) or isinstance(number, bool):
            return None
        return number if 0 <= number < len(self.items) else None

    def _select(self, given: object) -> None:
        numbers = {self._shown(each) for each in given} if isinstance(given, list) else {None}
        if None not in numbers:
            shown = [item.record.reference for index, item in enumerate(self.items) if index in numbers]
            self.set_trait("selected", [str(each) for each in shown])

    def _brought(self, number: int, make: Callable[[BinaryIO, MediaRecord], Original]) -> Original:
        record = self.items[number].record
        try:
            with self.gallery.references.open(record.reference) as file:
                return make(file, record)
        except MediaError as error:
            return Original(why=visible(error.problem))

    def _rated(self, rate: Rate, number: int, stars: int | None) -> dict[str, str]:
        item = self.items[number]
        try:
            (record,) = rate(item.record.reference, {RATING: stars})
        except MediaError as error:
            return {"why": visible(error.problem)}
        self.items[number] = replace(item, record=record)
        # In place: views know it already, and a page that is loaded again asks for all of it.
        self.data["items"][number]["attributes"] = known_of(self.items[number : number + 1])[0].get("attributes", {})
        return {}


def _shown_original(file: BinaryIO, record: MediaRecord) -> Original:
    return original_of(file, record, most=MOST_BYTES)


def _saved_file(file: BinaryIO, record: MediaRecord) -> Original:
    """Return the bytes as they are: what is shown may be a picture or a text that was made of them."""
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        return Original(why=f"larger than {size_text(MOST_BYTES)}: save it by the code beside it")
    # Of no type that a browser would open: it is a stranger's file.
    return Original(type="application/octet-stream", data=data, name=file_name_of(record))


_MAKERS = {"original": _shown_original, "file": _saved_file}


def _is_viewed() -> bool:
    """Return whether the page knows widgets by their views only: in Colab and VS Code."""
    return "google.colab" in sys.modules or "VSCODE_PID" in os.environ


def _is_rating(stars: object) -> bool:
    return stars is None or (isinstance(stars, int) and not isinstance(stars, bool) and 1 <= stars <= 5)
