"""What is shown of one media item: its preview, its facts, what becomes of it; and what keeps a page bounded.

What `figure` and the constants make is styled inline: a host's rules for `pre` and `code` win over a style sheet, and
notebooks that nobody trusts lose theirs.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from fsmedia.core.records import StoredFacts, facts_of_sidecar
from fsmedia.display.html import data_url, icon, joined, wave
from fsmedia.display.previewer import Preview, Previewer, PreviewRequest, family_of, side_for
from fsmedia.errors import MediaError
from fsmedia.format import keys
from fsmedia.models import MediaContent, MediaRecord, mime
from fsmedia.models.base import Origin
from fsmedia.models.text import (
    distance_text,
    duration_text,
    length_text,
    plural,
    size_text,
    visible,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from typing import Self

    from fsmedia.display.items import GalleryItem
    from fsmedia.display.previewer import Progress
    from fsmedia.storage import Backend, Entry

SOON = timedelta(days=7)  # what expires within it is marked
BUDGET = 2 * 2**20  # most bytes of a page, its style and script included

FONT = (
    "font-family:var(--jp-ui-font-family,system-ui,-apple-system,'Segoe UI',Roboto,sans-serif);font-size:14px;"
    "line-height:1.45;text-align:left"
)
SOFT = "opacity:.75"  # of the host's own colour: it reads on light and dark
LINE = "1px solid rgba(128,128,128,.4)"
CODE = "font-family:monospace;font-size:12px"  # no variable: JupyterLab takes it out where nobody trusts
QUIET = Markup('data-lm-suppress-shortcuts="true"')  # JupyterLab's one-letter commands spare what has the focus

MOST_READ = 16 * 2**20  # bytes of media of which pictures are shown together: what goes beyond has none
STRIP = 8  # pictures of a report
TINY = 72  # longest side of a picture in a table, in pixels

_AROUND_PREVIEW = 600  # bytes of HTML
_STRIP_SIDE = 160


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


def figure(preview: Preview, kind: str, label: str, length: str = "", *, height: int = 240) -> Markup:
    """Return what is seen of a media item, at most so many pixels high, without its sound.

    `kind` is as of `family`, `label` what a screen reader says, `length` that of a film or a sound, as text.
    """
    if preview.kind == "text" and preview.text:
        shown = "white-space:pre-wrap;overflow-wrap:anywhere;overflow:hidden;padding:8px 10px;border-radius:4px"
        return Markup(
            '<div class="fsm-text" style="{};{};max-height:{}px;background:rgba(128,128,128,.1)">{}</div>'
        ).format(CODE, shown, height, preview.text)
    parts: list[Markup] = []
    if preview.image and preview.image_type:
        picture = Markup(
            '<img src="{}" alt="{}" decoding="async" style="display:block;margin:0;max-width:100%;max-height:{}px;'
            'width:auto;height:auto;border-radius:4px">'
        )
        parts.append(picture.format(data_url(preview.image_type, preview.image), label, height))
    if preview.peaks:
        parts.append(wave(preview.peaks, f"Outline of {label}"))
    if not parts:
        parts.append(Markup('<div style="width:46px;height:46px;{}">{}</div>').format(SOFT, icon(kind)))
    if preview.reason:
        word = "" if preview.image or preview.peaks or preview.sound else "no preview: "
        parts.append(line(f"{word}{visible(preview.reason, most=300)}", SOFT))
    if preview.image and length:
        parts.append(line(f"\u25b6 {length}", SOFT))
    return joined(parts)


def sound(preview: Preview, label: str) -> Markup:
    """Return what plays a short sound; empty for all else."""
    if not (preview.sound and preview.sound_type):
        return Markup("")
    return Markup('<audio controls preload="metadata" style="width:100%" src="{}" aria-label="{}" {}></audio>').format(
        data_url(preview.sound_type, preview.sound), label, QUIET
    )


def line(text: str, style: str = "") -> Markup:
    """Return a line of text, empty for none."""
    shown = Markup('<div style="overflow-wrap:anywhere;font-size:13px;{}">{}</div>')
    return shown.format(style, text) if text else Markup("")


def states(item: GalleryItem, now: datetime) -> list[str]:
    """Return what is odd about a media item or near: held, due or to expire within `SOON`, damaged, of another type."""
    record, left = item.record, None if item.record.expires_at is None else item.record.expires_at - now
    found = ["held"] if item.held or record.hold else []
    if record.expires_at is not None and left is not None and left <= SOON:
        due = left <= timedelta(0)
        found.append(f"due since {duration_text(-left)}" if due else f"expires {distance_text(record.expires_at, now)}")
    if record.detected_mime_type:
        found.append(f"looks like {visible(record.detected_mime_type, most=80)}")
    return [*found, f"damaged: {visible(item.problem)}"] if item.problem else found


def name_of(record: MediaRecord) -> str:
    """Return what a media item is called: its file's name, else its own without what makes it unique."""
    return short_name(record.reference) if record.file_name is None else visible(record.file_name)


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


def family(record: MediaRecord) -> str:
    """Return how a media is shown: by what its bytes are, where the store noticed that its type lies."""
    return family_of(record.detected_mime_type or record.mime_type)


def short_name(reference: str) -> str:
    """Return a name without what makes it unique: `0003_01.png`; other people's names as they are."""
    name = keys.file_name(reference)
    own = keys.parse_own_name(name)
    return visible(name if own is None else f"{own.message_idx:04d}_{own.part_idx:02d}{own.ext}")


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


def previews_of(
    backend: Backend, items: list[GalleryItem], progress: Progress, *, verify_reads: bool, side: int | None = None
) -> list[Preview]:
    """Return previews of media, in their order, and tell the records where theirs come from.

    Pictures are of at most `side` pixels; by default as fits their number.
    """
    origin = Origin(backend, verify_reads=verify_reads)
    for item in items:
        item.record._origin = origin
    requests = [request_of(item, verify_reads=verify_reads) for item in items]
    return Previewer(backend, side or side_for(len(requests))).of(requests, progress)


def request_of(item: GalleryItem, *, verify_reads: bool) -> PreviewRequest:
    """Return how the preview of a media item is asked for."""
    entry, record = item.entry, item.record
    promised = StoredFacts(entry.size, record.sha256) if verify_reads and record.sha256 else None
    return PreviewRequest(entry, record.detected_mime_type or record.mime_type, promised, record.sha256)


class Seen(NamedTuple):
    """A media item of which a picture is wanted."""

    reference: str
    mime_type: str = ""
    sha256: str | None = None

    @classmethod
    def of(cls, record: MediaRecord) -> Self:
        """Return what a record says."""
        return cls(record.reference, record.detected_mime_type or record.mime_type, record.sha256)


def looked_at(
    origin: Origin, wanted: Sequence[Seen], side: int, there: Sequence[Entry | None] | None = None
) -> list[Preview]:
    """Return previews of media, in order, as long as they have `MOST_READ` bytes together.

    It costs a look at each, unless a listing has told what is `there`, and a read of what no earlier look has kept.
    """
    if origin.backend is None or not wanted:
        return [Preview()] * len(wanted)
    try:
        if there is None:
            there = origin.backend.fetch(heads=[keys.bytes_key(each.reference) for each in wanted]).heads
        return _previews(origin, wanted, there, side)
    except MediaError as error:
        return [Preview(reason=error.problem)] * len(wanted)


def _previews(origin: Origin, wanted: Sequence[Seen], there: Sequence[Entry | None], side: int) -> list[Preview]:
    found, requests, left = [Preview(reason="its bytes are gone")] * len(wanted), {}, MOST_READ
    # What is read is compared with what was stored; only a sidecar, or a shared name, says what that was.
    asked = [each.reference for each in wanted if origin.verify_reads and not each.sha256]
    read = origin.backend.fetch(reads=[keys.sidecar_key(each) for each in asked]).reads if asked else []
    facts = {name: facts_of_sidecar(text, name) for name, text in zip(asked, read, strict=True)}
    for place, (each, entry) in enumerate(zip(wanted, there, strict=True)):
        kind = each.mime_type or mime.guess_from_name(each.reference) or ""
        if entry is None:
            continue
        if entry.size > left:
            found[place] = Preview(reason="too large to be shown here")
            continue
        left -= entry.size
        promised = StoredFacts(entry.size, each.sha256) if each.sha256 else facts.get(each.reference)
        promised = promised if origin.verify_reads else None
        requests[place] = PreviewRequest(entry._replace(key=each.reference), kind, promised)
    made = Previewer(origin.backend, side).of(list(requests.values()), progress=False)
    for place, preview in zip(requests, made, strict=True):
        found[place] = preview
    return found


def small(preview: Preview, label: str, side: int) -> Markup:
    """Return the picture of a preview, at most so many pixels wide and high; empty where it has none."""
    if not (preview.image and preview.image_type):
        return Markup("")
    return Markup(
        '<img src="{0}" alt="{1}" title="{1}" style="display:inline-block;margin:0;max-width:{2}px;max-height:{2}px;'
        'width:auto;height:auto;border-radius:3px;vertical-align:top">'
    ).format(data_url(preview.image_type, preview.image), label, side)


def strip(origin: Origin, wanted: Sequence[Seen], there: Sequence[Entry | None] | None = None) -> Markup:
    """Return pictures side by side, each with the name of its media item; empty where there are none."""
    found = looked_at(origin, wanted, _STRIP_SIDE, there)
    pairs = zip(wanted, found, strict=True)
    shown = joined(small(preview, visible(each.reference), _STRIP_SIDE) for each, preview in pairs)
    row = Markup('<div style="display:flex;flex-wrap:wrap;gap:8px;margin:6px 0 10px">{}</div>')
    return row.format(shown) if shown else shown
