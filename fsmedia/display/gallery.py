"""Galleries and comparisons: media as a page that needs nothing else, for notebooks and files.

A page is at most `BUDGET` bytes: previews that do not fit are left out, then cards, and the page says so.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from markupsafe import Markup

from fsmedia.core.records import StoredFacts
from fsmedia.display.html import copied, document, joined, script, style, view
from fsmedia.display.items import GalleryItem, Sort, Totals, check_limit, select_items
from fsmedia.display.previewer import Previewer, PreviewRequest, family_of, side_for
from fsmedia.errors import InvalidMediaError, StorageError
from fsmedia.format import keys
from fsmedia.models import MediaContent, MediaRecord, mime
from fsmedia.models.attributes import condition_text
from fsmedia.models.selection import Selection
from fsmedia.models.text import (
    distance_text,
    duration_text,
    instant_text,
    length_text,
    plural,
    sentence,
    size_text,
    visible,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from os import PathLike

    from fsmedia.display.previewer import Preview, Progress
    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Backend

SOON = timedelta(days=7)  # what expires within it is marked
BUDGET = 2 * 2**20  # most bytes of a gallery, its style and script included
PAGE = 24  # cards on a page
GroupBy = Literal["conversation", "run", "message"]  # what the cards of a gallery are grouped by
By = Literal["message", "conversation"]
"""What makes a position in a comparison: message and part, or the conversation too."""
MOST_RUNS = 12  # runs side by side
Position = tuple[str, int, int]  # conversation (empty where it does not count), message, part

_AROUND_PREVIEW = 600  # bytes of HTML
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
            _head(visible(self.title, most=300), self._counted(), self._notice(left_out, dropped)),
            _tools(place, cards, pages),
            _nested(cards, _LEVELS[self.group_by]) if cards else _empty(empty),
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
        kept, room = _fitting(
            (len(made(each, _bare(self.previews[each]), 1).encode()) + 200 for each in order), _room()
        )
        budget = PreviewBudget(room)
        placed = []
        for position, index in enumerate(order[:kept]):
            page = position // PAGE + 1
            placed.append(PlacedCard(records[index], page, made(index, budget.fit(self.previews[index]), page)))
        return placed, budget.left_out, len(order) - kept


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several runs side by side: a column each, a row for each position that any of them has.

    By "message", positions are message and part; by "conversation", and the conversation too. Expiry is counted from
    `now`.
    """

    runs: list[str]
    items: dict[str, list[GalleryItem]] = field(repr=False)
    previews: dict[str, list[Preview]] = field(repr=False)
    totals: dict[str, Totals] = field(repr=False)
    by: By
    now: datetime

    def __len__(self) -> int:
        return len(self.positions)

    def __repr__(self) -> str:
        return f"<Comparison of {plural(len(self.runs), 'run')}, {plural(len(self), 'position')}>"

    def _repr_html_(self) -> str:
        return self.html()

    @property
    def positions(self) -> list[Position]:
        """All positions that any of the runs has, in order."""
        return sorted({self._position(item.record) for items in self.items.values() for item in items})

    @property
    def missing(self) -> list[tuple[str, Position]]:
        """Runs and positions at which others have something and they have nothing."""
        return [(run, where) for where in self.positions for run in self.runs if not self._cells.get((run, where))]

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it as one HTML file that needs nothing else; see `save_page`."""
        title = visible(f"{', '.join(self.runs)} - fsmedia", most=200)
        return save_page(document(title, self._page()), path)

    def html(self) -> str:
        """Return it as a piece of HTML for a page."""
        return str(self._page())

    def _page(self) -> Markup:
        positions, missing = self.positions, Markup('<div class="fsm-missing">nothing at this position</div>')
        room = _room() - 2_500 * len(self.runs)  # for the head of each column: a run's name, escaped
        kept, room = _fitting(map(self._needed, positions), room)
        budget = PreviewBudget(room)
        rows = [
            _row(self._named(where), [self._cell(where, run, budget.fit) or missing for run in self.runs])
            for where in positions[:kept]
        ]
        column = Markup('<th scope="col">{}<br><span class="fsm-sum">{}</span></th>')
        heads = joined(column.format(visible(run, most=200), self._counted(run)) for run in self.runs)
        counts = ((len(positions) - kept, "position"), (budget.left_out, "preview"))
        left_out = " and ".join(plural(count, name) for count, name in counts if count)
        notice = Markup('<p class="fsm-note">{} left out: a page holds at most {}.</p>')
        body = Markup(
            '<div class="fsm-scroll"><table class="fsm-versus"><thead><tr><th scope="col">Position</th>{}</tr></thead>'
            "<tbody>{}</tbody></table></div>"
        ).format(heads, joined(rows))
        head = _head(
            f"{plural(len(self.runs), 'run')} side by side",
            f"{plural(len(positions), 'position')}, {len(self.missing):,} of them missing in a run",
            notice.format(left_out, size_text(BUDGET)) if left_out else "",
        )
        return Markup('<div class="fsm fsm-gallery">{}{}<div class="fsm-compared">{}</div></div>{}').format(
            style(), head, body if rows else _empty("No media of these runs here."), script()
        )

    def _needed(self, where: Position) -> int:
        row = _row(self._named(where), [self._cell(where, run, _bare) for run in self.runs])
        return len(row.encode()) + 100 * len(self.runs)

    def _cell(self, where: Position, run: str, fit: Callable[[Preview], Preview]) -> Markup:
        """Return the cards of a run at a position; `fit` says how much of each preview is shown."""
        return joined(
            card(item, fit(preview), self.now, notes=self._same(item, where, run))
            for item, preview in self._cells.get((run, where), ())
        )

    @cached_property
    def _cells(self) -> dict[tuple[str, Position], list[tuple[GalleryItem, Preview]]]:
        """Media and previews by run and position."""
        found: dict[tuple[str, Position], list[tuple[GalleryItem, Preview]]] = {}
        for run in self.runs:
            for item, preview in zip(self.items[run], self.previews[run], strict=True):
                found.setdefault((run, self._position(item.record)), []).append((item, preview))
        return found

    def _position(self, record: MediaRecord) -> Position:
        return (record.conversation_id if self.by == "conversation" else "", record.message_idx, record.part_idx)

    def _named(self, where: Position) -> str:
        conversation = f"{visible(where[0], most=200)}, " if where[0] else ""
        return f"{conversation}message {where[1]}, part {where[2]}"

    def _counted(self, run: str) -> str:
        total, shown = self.totals[run], len(self.items[run])
        of = "" if shown == total.media and not total.more else f"{shown:,} of "
        return f"{of}{plural(total.media, 'media')}, {size_text(total.size)}"

    def _same(self, item: GalleryItem, where: Position, run: str) -> tuple[str, ...]:
        """Say in which earlier column the very same bytes stand."""
        digest = item.record.sha256
        for other in self.runs[: self.runs.index(run)]:
            if digest and any(found.record.sha256 == digest for found, _ in self._cells.get((other, where), ())):
                return (f"same bytes as {visible(other, most=40)}",)
        return ()


def _head(title: str, total: str, notice: Markup | str) -> Markup:
    return Markup('<div class="fsm-head"><h2>{}</h2><span class="fsm-total">{}</span>{}</div>').format(
        title, total, notice
    )


def _empty(text: str) -> Markup:
    return Markup('<div class="fsm-empty">{}</div>').format(text)


def _room() -> int:
    # 20,000 for what stands around them: head, tools, the rules of paging.
    return BUDGET - len(style()) - len(script()) - 20_000


def _bare(preview: Preview) -> Preview:
    return preview.lighter("left out: the page is at its limit")


def _fitting(sizes: Iterable[int], room: int) -> tuple[int, int]:
    """Return how many parts of a page, from the first on, fit into so many bytes, and how many bytes are left."""
    kept = 0
    for size in sizes:
        if size > room:
            break
        room -= size
        kept += 1
    return kept, room


class PlacedCard(NamedTuple):
    """The card of a media, and its place in the gallery."""

    record: MediaRecord
    page: int
    html: Markup


class PreviewBudget:
    """The bytes that are left on a page for pictures and sounds, and how many previews did not fit."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.left_out = 0

    def fit(self, preview: Preview) -> Preview:
        """Return a preview as it is if it fits, else without its bytes."""
        if not (preview.image or preview.sound):
            return preview
        needed = preview.weight + _AROUND_PREVIEW
        if needed > self._room:
            self.left_out += 1
            return _bare(preview)
        self._room -= needed
        return preview


def card(
    item: GalleryItem,
    preview: Preview,
    now: datetime,
    *,
    page: int = 1,
    notes: tuple[str, ...] = (),
    full: int | None = None,
) -> Markup:
    """Return the HTML of a card.

    `page` is the one it is on where no script counts anew; `notes` are more badges; `full` is the number by which a
    widget asks for all of its bytes (None: nothing can be asked).
    """
    record, kind = item.record, family(item.record)
    full_name = visible(keys.file_name(record.reference))
    name, caption = short_name(record.reference), sentence(record.caption or "")
    if record.file_name is not None:
        name = visible(record.file_name)
        full_name = f"{name} ({full_name})"
    time = "" if record.timestamp is None else str(int(record.timestamp.timestamp()))
    code = f"store.retrieve_media({str(record.reference)!r}).player()"
    return Markup(
        '<article class="fsm-card" data-t="{0}" data-p="{1}" data-size="{2}" data-time="{3}" data-name="{4}">'
        '<div class="fsm-view">{5}</div><div class="fsm-facts">'
        '<div class="fsm-name" title="{6}">{4}</div><div class="fsm-meta" title="{7}">{7}</div>'
        '<div class="fsm-badges">{8}</div>{9}<div class="fsm-foot">{10}{11}{12}</div></div></article>'
    ).format(
        kind,
        page,
        record.size_bytes,
        time,
        name,
        view(preview, kind, caption or name, length(record, kind, preview)),
        full_name,
        facts(record, kind, preview, record.size_bytes),
        joined([*badges(item, now), *map(_badge, notes)]),
        caption_line(caption),
        player_line(code, kind, preview) if full is None else "",
        "" if full is None else Markup('<button type="button" class="fsm-full" data-n="{}">Open</button>').format(full),
        copied(record.reference, f"Copy the reference of {name}"),
    )


def facts(media: MediaRecord | MediaContent, kind: str, preview: Preview, size: int | None) -> str:
    """Return size in pixels or seconds, pages, size in bytes, and type; `kind` is as of `family`."""
    width, height = preview.width or media.width, preview.height or media.height
    found = (
        f"{width:,} \u00d7 {height:,}" if width and height else "",
        length(media, kind, preview),
        plural(preview.pages, "page") if preview.pages else "",
        "" if size is None else size_text(size),
        visible(mime.essence(media.mime_type), most=100) or "unknown type",
    )
    return " \u00b7 ".join(filter(None, found))


def length(media: MediaRecord | MediaContent, kind: str, preview: Preview) -> str:
    """Return how long a sound or a film is; empty for all else."""
    seconds = preview.duration or media.duration
    return length_text(seconds) if seconds and kind in ("audio", "video") else ""


def caption_line(caption: str) -> Markup:
    """Return a caption, if there is one."""
    return Markup('<p class="fsm-caption" title="{0}">{0}</p>').format(caption) if caption else Markup("")


def player_line(code: str, kind: str, preview: Preview) -> Markup:
    """Return the line of code that plays what does not play here."""
    if kind not in ("audio", "video") or preview.sound:
        return Markup("")
    return copied(code, "Copy the code that plays it")


def badges(item: GalleryItem, now: datetime) -> list[Markup]:
    """Return what becomes of a media: held, expiring, due or kept; its policy; what is wrong with it."""
    record = item.record
    found = [_badge("held", "fsm-held", "nothing may delete or replace it until it is released")] if item.held else []
    if (expires := record.expires_at) is None:
        found.append(_badge("kept", "", "no policy lets it go"))
    elif (left := expires - now) <= timedelta(0):
        found.append(_badge(f"due since {duration_text(-left)}", "fsm-due", instant_text(expires)))
    else:
        soon = "fsm-soon" if left <= SOON else ""
        found.append(_badge(f"expires {distance_text(expires, now)}", soon, instant_text(expires)))
    if record.policy_name:
        found.append(_badge(visible(record.policy_name, most=80), "", "its retention policy"))
    if record.detected_mime_type:
        found.append(_badge(f"looks like {visible(record.detected_mime_type, most=80)}", "fsm-odd"))
    if item.problem:
        found.append(_badge("damaged", "fsm-odd", visible(item.problem)))
    return found


def family(record: MediaRecord) -> str:
    """Return how a media is shown: by what its bytes are, where the store noticed that its type lies."""
    return family_of(record.detected_mime_type or record.mime_type)


def short_name(reference: str) -> str:
    """Return a name without what makes it unique: `0003_01.png`; other people's names as they are."""
    name = keys.file_name(reference)
    own = keys.parse_own_name(name)
    return visible(name if own is None else f"{own.message_idx:04d}_{own.part_idx:02d}{own.ext}")


def _ordered(records: list[MediaRecord], group_by: GroupBy | None) -> list[int]:
    """Return the places of the records in the order in which groups show them: groups as they first appear."""
    seen: dict[tuple[str, ...], int] = {}
    ranks = []
    for record in records:
        path = tuple(_group_name(record, level) for level in _LEVELS[group_by])
        ranks.append(tuple(seen.setdefault(path[: depth + 1], len(seen)) for depth in range(len(path))))
    return sorted(range(len(records)), key=lambda index: ranks[index])


def save_page(text: str, path: str | PathLike[str]) -> Path:
    """Write a page to a file, or raise StorageError; whoever reads sees the old file or the new one."""
    target = Path(path).expanduser()
    staged = target.with_name(f".fsmedia-{token_hex(8)}.html")
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            target.write_text(text, encoding="utf-8")  # /dev/null, a named pipe: written into, never replaced
            return target
        # Not tempfile, whose files nobody else may read: a page is shared as any file is.
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        staged.replace(target)
    except OSError as error:
        with suppress(OSError):
            staged.unlink()
        raise StorageError(
            f"can't be written ({error.strerror or type(error).__name__})",
            next_step="choose another path; folders are not made",
            key=str(target),
        ) from error
    return target


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


def _badge(text: str, style: str = "", title: str = "") -> Markup:
    return Markup('<span class="fsm-badge {}" title="{}">{}</span>').format(style, title or text, text)


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


def _row(name: str, cells: Iterable[Markup]) -> Markup:
    return Markup('<tr><th scope="row">{}</th>{}</tr>').format(
        name, joined(Markup("<td>{}</td>").format(cell) for cell in cells)
    )


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
        previews=_previews(backend, items, progress, verify_reads=verify_reads),
        totals=totals,
        group_by=group_by,
        now=now,
    )


def comparison_of(
    backend: Backend,
    configuration: Configuration,
    run_ids: Iterable[str],
    *,
    by: By,
    limit: int,
    now: datetime,
    progress: Progress,
    verify_reads: bool,
) -> Comparison:
    """Return runs side by side."""
    if isinstance(run_ids, str | bytes):
        raise InvalidMediaError("give several runs, not one text", next_step='e.g. store.compare(["r1", "r2"])')
    runs = list(dict.fromkeys(run_ids))
    if not runs or len(runs) > MOST_RUNS or not all(isinstance(run, str) and run for run in runs):
        raise InvalidMediaError(f"give 1 to {MOST_RUNS} run ids, not {len(runs)}", next_step="each a str")
    if by not in get_args(By):
        raise InvalidMediaError(f"unknown by {by!r}", next_step=f"use one of {', '.join(get_args(By))}")
    check_limit(limit)
    found = {
        run: select_items(backend, configuration, Selection(run_id=run), limit=limit, sort="position") for run in runs
    }
    together = [item for run in runs for item in found[run][0]]
    previews = iter(_previews(backend, together, progress, verify_reads=verify_reads))
    return Comparison(
        runs=runs,
        items={run: found[run][0] for run in runs},
        previews={run: [next(previews) for _ in found[run][0]] for run in runs},
        totals={run: found[run][1] for run in runs},
        by=by,
        now=now,
    )


def _previews(backend: Backend, items: list[GalleryItem], progress: Progress, *, verify_reads: bool) -> list[Preview]:
    requests = []
    for entry, record in ((item.selected.entry, item.record) for item in items):
        promised = StoredFacts(entry.size, record.sha256) if verify_reads and record.sha256 else None
        requests.append(PreviewRequest(entry, record.detected_mime_type or record.mime_type, promised))
    return Previewer(backend, side_for(len(requests))).of(requests, progress)


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
