"""The gallery: media of a selection as a page that needs nothing else, for notebooks and files.

A page is at most `BUDGET` bytes: previews that do not fit are left out, then cards, and the page says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING

from markupsafe import Markup

from fsmedia.display import saving
from fsmedia.display.cards import card, family
from fsmedia.display.grouping import GroupBy, Placed, grouped, ordered
from fsmedia.display.markup import document, joined, script, style
from fsmedia.display.text import plural, size_text, visible

if TYPE_CHECKING:
    from datetime import datetime
    from os import PathLike
    from pathlib import Path

    from fsmedia.display.gathering import Gathered, Totals
    from fsmedia.display.previews import Preview
    from fsmedia.models import MediaRecord

BUDGET = 2 * 2**20
"""Most bytes of a gallery, its style and script included."""
PAGE = 24
"""Cards on a page."""

_FULL = "left out: the page is at its limit"
_WORDS = {"image": "Images", "audio": "Audio", "video": "Video", "text": "Text", "file": "Files"}
_SORTS = (
    ("", "as grouped"), ("newest", "newest first"), ("oldest", "oldest first"),
    ("largest", "largest first"), ("smallest", "smallest first"), ("name", "by name"),
)  # fmt: skip
_numbers = count(1)


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Media to look at. A notebook shows it; `save` writes it to a file.

    Attributes
    ----------
    title
        What it shows.
    items
        What is known of each media, in order.
    previews
        What is seen of each, in the same order.
    totals
        How many media the selection means, and how large they are.
    group_by
        How cards are grouped.
    now
        The instant from which expiry is counted.
    """

    title: str
    items: list[Gathered] = field(repr=False)
    previews: list[Preview] = field(repr=False)
    totals: Totals
    group_by: GroupBy | None
    now: datetime

    def __len__(self) -> int:
        return len(self.items)

    @property
    def records(self) -> list[MediaRecord]:
        """What the store knows of each media, in the order in which they were chosen."""
        return [item.record for item in self.items]

    def __repr__(self) -> str:
        return f"<Gallery of {visible(self.title, most=100)}: {self._counted()}>"

    def _repr_html_(self) -> str:
        return self.html()

    def html(self, *, ask: bool = False) -> str:
        """Return it as a piece of HTML for a page; several on one page do not disturb each other.

        Parameters
        ----------
        ask
            Let each card ask for all of its bytes; for a widget that answers.
        """
        place = f"fsm-{next(_numbers)}-{token_hex(3)}"
        cards, left_out, dropped = self._cards(ask=ask)
        pages = max((each.page for each in cards), default=1)
        body = (
            grouped(cards, self.group_by)
            if cards
            else Markup('<div class="fsm-empty">{}</div>').format(self._nothing())
        )
        return str(
            Markup(
                '<div class="fsm fsm-gallery" id="{}" data-page="{}">{}<div class="fsm-head"><h2>{}</h2>'
                '<span class="fsm-total">{}</span>{}</div>{}<div class="fsm-body">{}</div></div>{}'
            ).format(
                place,
                PAGE,
                style(_paging_rules(pages)),
                visible(self.title, most=300),
                self._counted(),
                self._notice(left_out, dropped),
                _tools(place, cards, pages),
                body,
                "" if ask else script(),
            )
        )

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it as one HTML file that needs nothing else; an old file is replaced whole.

        Raises
        ------
        StorageError
            The file can't be written.
        """
        return saving.save(document(visible(f"{self.title} - fsmedia", most=200), Markup(self.html())), path)  # noqa: S704 - made above

    def _counted(self) -> str:
        shown, (total, size, more) = len(self.items), self.totals
        amount = f"{size_text(size)}{' and more' if more else ''}"
        if shown == total and not more:
            return f"{plural(total, 'media')}, {amount}"
        return f"{shown:,} of {'more than ' if more else ''}{total:,} media, {amount} in all"

    def _nothing(self) -> str:
        return (
            "No media here." if not self.totals.media else f"{plural(self.totals.media, 'media')}, none shown: limit=0"
        )

    def _notice(self, left_out: int, dropped: int) -> Markup:
        notes = []
        if dropped:
            notes.append(f"{plural(dropped, 'card')} and {plural(left_out, 'preview')} are left out")
        elif left_out:
            notes.append(f"{plural(left_out, 'preview')} {'is' if left_out == 1 else 'are'} left out")
        if not notes:
            return Markup("")
        text = (
            f"{notes[0]}: a gallery holds at most {size_text(BUDGET)}. Show fewer with limit=, or narrow the selection."
        )
        return Markup('<p class="fsm-note" role="note">{}</p>').format(text)

    def _cards(self, *, ask: bool) -> tuple[list[Placed], int, int]:
        """Return the cards that fit, and how many previews and cards are left out."""
        order = ordered(self.records, self.group_by)
        bare = [self._card(index, self.previews[index].lighter(_FULL), 1, ask=ask) for index in order]
        room = BUDGET - len(style()) - len(script()) - 20_000
        kept = 0
        for html in bare:
            if len(html.encode()) + 200 > room:
                break
            room -= len(html.encode()) + 200  # a card may have a group of its own
            kept += 1
        placed, left_out = [], 0
        for position, index in enumerate(order[:kept]):
            page, record = position // PAGE + 1, self.items[index].record
            preview, html = self.previews[index], bare[position]
            if preview.image or preview.sound:
                if preview.weight + 600 <= room:
                    room -= preview.weight + 600
                else:
                    preview, left_out = preview.lighter(_FULL), left_out + 1
            html = self._card(index, preview, page, ask=ask)
            placed.append(Placed(record, family(record), page, html))
        return placed, left_out, len(order) - kept

    def _card(self, index: int, preview: Preview, page: int, *, ask: bool) -> Markup:
        item = self.items[index]
        notes = (visible(item.record.run_id, most=60),) if self._mixes_runs and item.record.run_id else ()
        return card(item, preview, self.now, page=page, notes=notes, full=index if ask else None)

    @property
    def _mixes_runs(self) -> bool:
        return self.group_by != "run" and len({item.record.run_id for item in self.items}) > 1


def _tools(place: str, cards: list[Placed], pages: int) -> Markup:
    """Return what filters, pages and sorts; pages and filters work without a script too."""
    counts: dict[str, int] = {}
    for each in cards:
        counts[each.family] = counts.get(each.family, 0) + 1
    if len(cards) < 2:  # noqa: PLR2004 - one needs no order
        return Markup("")
    kinds = [
        ("all", "All", len(cards)),
        *((kind, word, counts[kind]) for kind, word in _WORDS.items() if kind in counts),
    ]
    types = joined(
        Markup(
            '<label><input type="radio" name="{0}-t" value="{1}"{2}>{3}<span class="fsm-count">{4}</span></label>'
        ).format(place, kind, Markup(" checked") if kind == "all" else "", word, number)
        for kind, word, number in kinds
    )
    paging = joined(
        Markup('<label><input type="radio" name="{0}-p" value="{1}"{2} aria-label="Page {1}">{1}</label>').format(
            place, page, Markup(" checked") if page == 1 else ""
        )
        for page in range(1, pages + 1)
    )
    options = joined(Markup('<option value="{}">{}</option>').format(value, word) for value, word in _SORTS)
    return Markup('<div class="fsm-tools">{}{}<label class="fsm-sort">Sort <select>{}</select></label></div>').format(
        Markup('<fieldset class="fsm-set fsm-types" aria-label="Type">{}</fieldset>').format(types)
        if len(kinds) > 2  # noqa: PLR2004 - all of one type: nothing to choose
        else "",
        Markup('<fieldset class="fsm-set fsm-pages" aria-label="Page">{}</fieldset>').format(paging)
        if pages > 1
        else "",
        options,
    )


def _paging_rules(pages: int) -> str:
    """Return the style that filters and pages where no script runs: what is not chosen is not shown."""
    plain = ".fsm-gallery:not(.fsm-js)"
    rules = [
        f'{plain}:has(.fsm-types [value="{kind}"]:checked) [data-t]:not([data-t~="{kind}"]){{display:none}}'
        for kind in _WORDS
    ]
    # A filter shows all pages of its type: a page of it would have holes.
    paged = f'{plain}:not(:has(.fsm-types :checked:not([value="all"])))'
    if pages > 1:
        rules += [
            f'{paged}:has(.fsm-pages [value="{page}"]:checked) [data-p]:not([data-p~="{page}"]){{display:none}}'
            for page in range(1, pages + 1)
        ]
    return "\n".join(["", *rules])
