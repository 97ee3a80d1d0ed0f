"""The card of one media item: its preview, its facts, what becomes of it; and what keeps a page of cards bounded."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from markupsafe import Markup

from fsmedia.core.records import StoredFacts
from fsmedia.display.html import copied, joined, script, style, view
from fsmedia.display.previewer import Previewer, PreviewRequest, family_of, side_for
from fsmedia.format import keys
from fsmedia.models import MediaContent, MediaRecord, mime
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
    from collections.abc import Iterable
    from datetime import datetime

    from fsmedia.display.items import GalleryItem
    from fsmedia.display.previewer import Preview, Progress
    from fsmedia.storage import Backend

SOON = timedelta(days=7)  # what expires within it is marked
BUDGET = 2 * 2**20  # most bytes of a page, its style and script included

_AROUND_PREVIEW = 600  # bytes of HTML


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
            return bare(preview)
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
        joined([*badges(item, now), *map(badge, notes)]),
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
    found = [badge("held", "fsm-held", "nothing may delete or replace it until it is released")] if item.held else []
    if (expires := record.expires_at) is None:
        found.append(badge("kept", "", "no policy lets it go"))
    elif (left := expires - now) <= timedelta(0):
        found.append(badge(f"due since {duration_text(-left)}", "fsm-due", instant_text(expires)))
    else:
        soon = "fsm-soon" if left <= SOON else ""
        found.append(badge(f"expires {distance_text(expires, now)}", soon, instant_text(expires)))
    if record.policy_name:
        found.append(badge(visible(record.policy_name, most=80), "", "its retention policy"))
    if record.detected_mime_type:
        found.append(badge(f"looks like {visible(record.detected_mime_type, most=80)}", "fsm-odd"))
    if item.problem:
        found.append(badge("damaged", "fsm-odd", visible(item.problem)))
    return found


def family(record: MediaRecord) -> str:
    """Return how a media is shown: by what its bytes are, where the store noticed that its type lies."""
    return family_of(record.detected_mime_type or record.mime_type)


def short_name(reference: str) -> str:
    """Return a name without what makes it unique: `0003_01.png`; other people's names as they are."""
    name = keys.file_name(reference)
    own = keys.parse_own_name(name)
    return visible(name if own is None else f"{own.message_idx:04d}_{own.part_idx:02d}{own.ext}")


def page_head(title: str, total: str, notice: Markup | str) -> Markup:
    """Return the head of a page: title, totals, and what is left out."""
    return Markup('<div class="fsm-head"><h2>{}</h2><span class="fsm-total">{}</span>{}</div>').format(
        title, total, notice
    )


def nothing(text: str) -> Markup:
    """Return what stands where there is nothing to show."""
    return Markup('<div class="fsm-empty">{}</div>').format(text)


def room_of_page() -> int:
    """Return how many bytes of a page are left for cards."""
    # 20,000 for what stands around them: head, tools, the rules of paging.
    return BUDGET - len(style()) - len(script()) - 20_000


def bare(preview: Preview) -> Preview:
    """Return a preview without its bytes, which says that the page is full."""
    return preview.lighter("left out: the page is at its limit")


def fitting(sizes: Iterable[int], room: int) -> tuple[int, int]:
    """Return how many parts of a page, from the first on, fit into so many bytes, and how many bytes are left."""
    kept = 0
    for size in sizes:
        if size > room:
            break
        room -= size
        kept += 1
    return kept, room


def badge(text: str, style: str = "", title: str = "") -> Markup:
    """Return a few words in a frame; `title` is what they say at length."""
    return Markup('<span class="fsm-badge {}" title="{}">{}</span>').format(style, title or text, text)


def previews_of(backend: Backend, items: list[GalleryItem], progress: Progress, *, verify_reads: bool) -> list[Preview]:
    """Return previews of media, in their order."""
    requests = []
    for entry, record in ((item.selected.entry, item.record) for item in items):
        promised = StoredFacts(entry.size, record.sha256) if verify_reads and record.sha256 else None
        requests.append(PreviewRequest(entry, record.detected_mime_type or record.mime_type, promised))
    return Previewer(backend, side_for(len(requests))).of(requests, progress)
