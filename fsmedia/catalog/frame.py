"""A pandas table whose column `thumbnail` a notebook shows as pictures.

pandas escapes all that it writes into HTML. So the column gives words that nobody can guess, and pictures of our own
making take their place afterwards: what strangers wrote into other columns stays text.
"""

from __future__ import annotations

import re
from importlib import import_module
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pandas as pd

from fsmedia.errors import INSTALL, StorageError
from fsmedia.models.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fsmedia.models.base import Origin

COLUMN = "thumbnail"
_MOST = 100  # pictures of one table, whatever pandas' options say


class Thumbnail:
    """A media item in a cell of a table; a notebook shows its picture, which is read then."""

    __slots__ = ("_origin", "_seen")

    def __init__(self, origin: Origin, *seen: str | None) -> None:
        self._origin, self._seen = origin, seen  # reference, MIME type, digest

    def __repr__(self) -> str:
        return f"<{visible(self._seen[1] or '', most=40) or 'thumbnail'}>"

    def _repr_html_(self) -> str:
        return _pictures([self])[0]


class PicturedFrame(pd.DataFrame):
    """A `pandas.DataFrame` in which thumbnails are seen, and whatever is made of it by choosing rows and columns."""

    @property
    def _constructor(self) -> type[PicturedFrame]:
        return PicturedFrame

    def _repr_html_(self) -> str | None:
        if COLUMN not in self.columns or not pd.get_option("display.notebook_repr_html"):
            html: str | None = super()._repr_html_()
            return html
        word, shown = f"thumbnail-{token_hex(8)}-", list[Thumbnail]()

        def as_word(value: Any) -> str:
            if not isinstance(value, Thumbnail) or len(shown) >= _MOST:
                return str(value)
            shown.append(value)
            return f"{word}{len(shown) - 1}-"

        most = pd.get_option("display.max_rows")
        text: str = self.to_html(
            notebook=True,
            formatters={COLUMN: as_word},
            max_rows=(pd.get_option("display.min_rows") or most) if most and len(self) > most else most,
            max_cols=pd.get_option("display.max_columns"),
            show_dimensions=pd.get_option("display.show_dimensions"),
        )
        pictures = _pictures(shown)
        return re.sub(rf"{word}(\d+)-", lambda found: pictures[int(found[1])], text)


def pictured(frame: Any, origin: Origin) -> PicturedFrame:
    """Return a catalog's table with a column of thumbnails before the others; StorageError: nothing can draw them."""
    try:
        import_module("fsmedia.display.card")
    except ImportError as error:
        raise StorageError(f"what draws pictures is not installed ({error})", next_step=INSTALL["notebook"]) from None
    columns = ("reference", "detected_mime_type", "mime_type", "sha256")
    rows = zip(*(frame[name].astype(object).where(frame[name].notna(), "") for name in columns), strict=True)
    found = [Thumbnail(origin, name, looks or kind, digest or None) for name, looks, kind, digest in rows]
    made = PicturedFrame(frame)
    made.insert(0, COLUMN, pd.Series(found, index=frame.index, dtype=object))
    return made


def _pictures(thumbnails: Iterable[Thumbnail]) -> list[str]:
    """Return the HTML of thumbnails; those of one store are read together."""
    # Loaded by its name, when something is looked at: the catalog knows no pictures.
    card = import_module("fsmedia.display.card")
    shown = list(thumbnails)
    found = [""] * len(shown)
    for origin in {id(each._origin): each._origin for each in shown}.values():
        wanted = {place: card.Seen(*each._seen) for place, each in enumerate(shown) if each._origin is origin}
        previews = card.looked_at(origin, list(wanted.values()), card.TINY)
        for (place, seen), preview in zip(wanted.items(), previews, strict=True):
            found[place] = str(card.small(preview, visible(seen.reference), card.TINY))
    return found
