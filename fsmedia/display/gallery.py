"""Galleries: media as a page that needs nothing else, for notebooks and files.

A page is at most `BUDGET` bytes: previews that do not fit are left out, then cards, and the page says so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from markupsafe import Markup

from fsmedia.display.card import (
    BUDGET,
    PreviewBudget,
    bare,
    card,
    family,
    fitting,
    nothing,
    page_head,
    previews_of,
    room_of_page,
)
from fsmedia.display.html import document, joined, save_page, script, style
from fsmedia.display.items import GalleryItem, Sort, Totals, select_items
from fsmedia.display.previewer import show_in_place
from fsmedia.errors import InvalidMediaError
from fsmedia.models import MediaRecord
from fsmedia.models.attributes import condition_text
from fsmedia.models.selection import Selection
from fsmedia.models.text import plural, size_text, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from fsmedia.display.previewer import Preview, Progress
    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Backend

PAGE = 24  # cards on a page
GroupBy = Literal["conversation", "run", "message"]  # what the cards of a gallery are grouped by

_WORDS = {"image": "Images", "audio": "Audio", "video": "Video", "text": "Text", "file": "Files"}
_SORTS = (
    ("", "as grouped"), ("newest", "newest first"), ("oldest", "oldest first"),
    ("largest", "largest first"), ("smallest", "smallest first"), ("name", "by name"),
)  # fmt: skip
_TITLES = (
    ("run_id", "Run"), ("conversation_id", "conversation"), ("session_id", "session"), ("provider_id", "provider"),
    ("mime_type", "type"), ("policy_name", "policy"), ("since", "since"), ("until", "until"),
    ("expires_before", "expires before"),
)  # fmt: skip
_numbers = count(1)


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Media to look at, and previews of them in the same order. A notebook shows it; `save` writes it to a file.

    `totals` count all that the selection means. Expiry is counted from `now`.
    """

    title: str
    items: list[GalleryItem] = field(repr=False)
    previews: list[Preview] = field(repr=False)
    totals: Totals
    group_by: GroupBy | None
    now: datetime

    _ipython_display_ = show_in_place

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
        """Return a piece of HTML for a page; several on one page do not disturb each other.

        With `ask`, each card asks for all of its bytes; for a widget that answers.
        """
        return str(self._page(ask=ask))

    def _page(self, *, ask: bool) -> Markup:
        place = f"fsm-{next(_numbers)}-{token_hex(3)}"
        cards, left_out, dropped = self._cards(ask=ask)
        pages = max((each.page for each in cards), default=1)
        total = self.totals.media
        empty = f"{plural(total, 'media')}, none shown: limit=0" if total else "No media here."
        return Markup(
            '<div class="fsm fsm-gallery" id="{}" data-page="{}">{}{}{}<div class="fsm-body">{}</div></div>{}'
        ).format(
            place,
            PAGE,
            style(_paging_rules(pages)),
            page_head(visible(self.title, most=300), self._counted(), self._notice(left_out, dropped)),
            _tools(place, cards, pages),
            _nested(cards, _LEVELS[self.group_by]) if cards else nothing(empty),
            "" if ask else script(),
        )

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it as one HTML file that needs nothing else; see `save_page`."""
        return save_page(document(visible(f"{self.title} - fsmedia", most=200), self._page(ask=False)), path)

    def _counted(self) -> str:
        shown, (total, size, more) = len(self.items), self.totals
        amount = f"{size_text(size)}{' and more' if more else ''}"
        if shown == total and not more:
            return f"{plural(total, 'media')}, {amount}"
        return f"{shown:,} of {'more than ' if more else ''}{total:,} media, {amount} in all"

    def _notice(self, left_out: int, dropped: int) -> Markup:
        if not (dropped or left_out):
            return Markup("")
        what = f"{plural(dropped, 'card')} and {plural(left_out, 'preview')} are"
        if not dropped:
            what = f"{plural(left_out, 'preview')} {'is' if left_out == 1 else 'are'}"
        return Markup(
            '<p class="fsm-note" role="note">{} left out: a gallery holds at most {}. '
            "Show fewer with limit=, or narrow the selection.</p>"
        ).format(what, size_text(BUDGET))

    def _cards(self, *, ask: bool) -> tuple[list[PlacedCard], int, int]:
        """Return the cards that fit, and how many previews and cards are left out.

        Cards first, without pictures: what a media is called matters more than how it looks.
        """
        records = self.records
        mixes_runs = self.group_by != "run" and len({record.run_id for record in records}) > 1

        def made(index: int, preview: Preview, page: int) -> Markup:
            item = self.items[index]
            notes = (visible(item.record.run_id, most=60),) if mixes_runs and item.record.run_id else ()
            return card(item, preview, self.now, page=page, notes=notes, full=index if ask else None)

        order = _ordered(records, self.group_by)
        # 200 more for each: a card may have a group of its own.
        kept, room = fitting(
            (len(made(each, bare(self.previews[each]), 1).encode()) + 200 for each in order), room_of_page()
        )
        budget = PreviewBudget(room)
        placed = []
        for position, index in enumerate(order[:kept]):
            page = position // PAGE + 1
            placed.append(PlacedCard(records[index], page, made(index, budget.fit(self.previews[index]), page)))
        return placed, budget.left_out, len(order) - kept


class PlacedCard(NamedTuple):
    """The card of a media, and its place in the gallery."""

    record: MediaRecord
    page: int
    html: Markup


def _ordered(records: list[MediaRecord], group_by: GroupBy | None) -> list[int]:
    """Return the places of the records in the order in which groups show them: groups as they first appear."""
    seen: dict[tuple[str, ...], int] = {}
    ranks = []
    for record in records:
        path = tuple(_group_name(record, level) for level in _LEVELS[group_by])
        ranks.append(tuple(seen.setdefault(path[: depth + 1], len(seen)) for depth in range(len(path))))
    return sorted(range(len(records)), key=lambda index: ranks[index])


def _tools(place: str, cards: list[PlacedCard], pages: int) -> Markup:
    """Return what filters, pages and sorts; pages and filters work without a script too."""
    if len(cards) < 2:
        return Markup("")
    counts = Counter(family(each.record) for each in cards)
    counted = Markup('{}<span class="fsm-count">{}</span>')
    types = [(kind, "", counted.format(word, counts[kind])) for kind, word in _WORDS.items() if kind in counts]
    numbers = [(page, Markup(' aria-label="Page {}"').format(page), page) for page in range(1, pages + 1)]
    options = joined(Markup('<option value="{}">{}</option>').format(value, word) for value, word in _SORTS)
    return Markup('<div class="fsm-tools">{}{}<label class="fsm-sort">Sort <select>{}</select></label></div>').format(
        _choice("types", "Type", f"{place}-t", [("all", "", counted.format("All", len(cards))), *types])
        if len(types) > 1
        else "",
        _choice("pages", "Page", f"{place}-p", numbers) if pages > 1 else "",
        options,
    )


def _choice(what: str, label: str, name: str, options: Sequence[tuple[object, str, object]]) -> Markup:
    """Return a choice of one among values, each with more attributes and what is shown; the first is chosen."""
    labels = (
        Markup('<label><input type="radio" name="{}" value="{}"{}{}>{}</label>').format(
            name, value, "" if number else Markup(" checked"), more, shown
        )
        for number, (value, more, shown) in enumerate(options)
    )
    return Markup('<fieldset class="fsm-set fsm-{}" aria-label="{}">{}</fieldset>').format(what, label, joined(labels))


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


def _nested(cards: list[PlacedCard], levels: tuple[str, ...]) -> Markup:
    if not levels:
        return Markup('<div class="fsm-grid">{}</div>').format(joined(each.html for each in cards))
    groups: dict[str, list[PlacedCard]] = {}
    for each in cards:
        groups.setdefault(_group_name(each.record, levels[0]), []).append(each)
    inner = joined(_group(name, members, levels[1:]) for name, members in groups.items())
    return inner if len(levels) > 1 else Markup('<div class="fsm-row">{}</div>').format(inner)


def _group(name: str, members: list[PlacedCard], inner: tuple[str, ...]) -> Markup:
    families = " ".join(sorted({family(each.record) for each in members}))
    pages = " ".join(map(str, sorted({each.page for each in members})))
    total = f"{plural(len(members), 'media')}, {size_text(sum(each.record.size_bytes for each in members))}"
    return Markup(
        '<details class="fsm-group" open data-t="{}" data-p="{}"><summary>{}'
        '<span class="fsm-sum">{}</span></summary>{}</details>'
    ).format(families, pages, name, total, _nested(members, inner))


def _group_name(record: MediaRecord, level: str) -> str:
    if level == "message":
        return f"Message {record.message_idx}"
    name = visible(getattr(record, f"{level}_id"), most=300)
    return f"{level.capitalize()} {name}" if name else f"No {level}"


_LEVELS: dict[str | None, tuple[str, ...]] = {
    None: (), "conversation": ("conversation", "message"), "run": ("run", "message"), "message": ("message",),
}  # fmt: skip


def gallery_of(
    backend: Backend,
    configuration: Configuration,
    selection: Selection,
    *,
    group_by: GroupBy | None,
    sort: Sort,
    limit: int,
    now: datetime,
    progress: Progress,
    verify_reads: bool,
) -> Gallery:
    """Return a gallery of a selection, with a preview of each of its media."""
    if group_by is not None and group_by not in get_args(GroupBy):
        raise InvalidMediaError(
            f"unknown group_by {group_by!r}", next_step=f"use None or one of {', '.join(get_args(GroupBy))}"
        )
    items, totals = select_items(backend, configuration, selection, limit=limit, sort=sort)
    return Gallery(
        title=_title(selection, backend.url),
        items=items,
        previews=previews_of(backend, items, progress, verify_reads=verify_reads),
        totals=totals,
        group_by=group_by,
        now=now,
    )


def _title(selection: Selection, url: str) -> str:
    """Return a selection in words; the root where it has no conditions."""
    said = [
        f"{word} {visible(value) if isinstance(value, str) else f'{value:%Y-%m-%d %H:%M %Z}'}"
        for name, word in _TITLES
        if (value := selection.words.get(name)) is not None
    ]
    said += [visible(condition_text(*each)) for each in selection.words.get("attributes", {}).items()]
    title = ", ".join(said)
    return title[:1].upper() + title[1:] or url
