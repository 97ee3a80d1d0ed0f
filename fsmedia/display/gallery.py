"""Galleries: media as a page that needs nothing else, for notebooks and files.

A page has data that a viewer draws, and a contact sheet of the first media, which stays where no script may run. Where
its `BUDGET` is full no more media are shown: none lacks the picture that it could have.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from markupsafe import Markup

from fsmedia.core.parallel import attempt_each
from fsmedia.display.card import BUDGET, CODE, FONT, facts, family, previews_of, request_of, states
from fsmedia.display.html import (
    data_script,
    data_url,
    document,
    joined,
    json_text,
    original_script,
    save_page,
    viewer,
    viewer_text,
)
from fsmedia.display.items import GalleryItem, Sort, Totals, referenced_items, references_in, select_items
from fsmedia.display.originals import Original, original_of
from fsmedia.display.previewer import Preview, picture_hashes, progress_bar, reduced_preview, show_in_place, side_for
from fsmedia.errors import InvalidMediaError, MediaError
from fsmedia.format import keys
from fsmedia.models import mime
from fsmedia.models.attributes import condition_text
from fsmedia.models.text import plural, sentence, size_text, visible, visible_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from os import PathLike
    from pathlib import Path

    from fsmedia.core.records import References
    from fsmedia.display.items import Near
    from fsmedia.display.previewer import Progress
    from fsmedia.format.settings import Configuration
    from fsmedia.models import AttributeValue, MediaRecord
    from fsmedia.models.selection import Selection
    from fsmedia.storage import Backend

GroupBy = Literal["conversation", "run", "message"]  # what the cards of a gallery are grouped by
SIMILAR = 10
"""Bits of 64 in which the hashes of pictures differ at most that are similar."""
SHEET = 24  # media of a contact sheet
ORIGINALS = 16 * 2**20
"""Bytes of originals in a saved file unless told: in base64, and with the page, it still goes through most mail."""
_AROUND = 20_000  # bytes for what stands around the media: title, notes, counts, elements
_WINDOW = 64  # previews that are made together, then weighed
_SMALLER = (
    640,
    512,
    384,
    256,
    192,
    160,
    128,
    96,
    64,
)  # sides of pictures that are tried for a page that gets too heavy
_SEEN = 128  # the least of them where some media are left out in any case
_MANY = 250  # media from which on pictures begin with the same side
_FEW, _LONG, _SHORT = 64, 8_000, 300  # up to so many media texts may have so many characters, else so many
_TITLES = (
    ("run_id", "Run"), ("conversation_id", "conversation"), ("session_id", "session"), ("provider_id", "provider"),
    ("mime_type", "type"), ("policy_name", "policy"), ("since", "since"), ("until", "until"),
    ("expires_before", "expires before"),
)  # fmt: skip
_LEVELS: dict[str | None, tuple[str, ...]] = {
    None: (), "conversation": ("conversation", "message"), "run": ("run", "message"), "message": ("message",),
}  # fmt: skip
_KINDS = {"image": "picture", "audio": "sound", "video": "film", "text": "text", "file": "file"}


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Media to look at, in the order in which they are shown. A notebook shows it; `save` writes it to a file.

    `chosen` are more than the items where a page could not hold all. `totals` count all that the selection means.
    Expiry is counted from `now`.
    """

    title: str
    items: list[GalleryItem] = field(repr=False)
    previews: list[Preview] = field(repr=False)
    chosen: int
    totals: Totals
    group_by: GroupBy | None
    now: datetime
    references: References = field(repr=False, compare=False)

    _ipython_display_ = show_in_place

    def __len__(self) -> int:
        return len(self.items)

    @property
    def records(self) -> list[MediaRecord]:
        """What the store knows of each media."""
        return [item.record for item in self.items]

    def __repr__(self) -> str:
        return f"<Gallery of {visible(self.title, most=100)}: {self._counted()}>"

    def _repr_html_(self) -> str:
        return self.html()

    def html(self, *, key: str = "") -> str:
        """Return a piece of HTML for a page, of at most `BUDGET` bytes; short sounds play while there is room.

        `key` is that of a widget that takes it over where it is alive.
        """
        room = BUDGET - len(self._page({}, key=key).encode())
        sounds: dict[int, Original] = {}
        for index, (item, preview) in enumerate(zip(self.items, self.previews, strict=True)):
            if preview.sound and (needed := preview.weight + 500) <= room:
                room -= needed
                sounds[index] = Original(
                    kind="audio", type=preview.sound_type, data=preview.sound, name=file_name_of(item.record)
                )
        return str(self._page(sounds, key=key))

    def save(self, path: str | PathLike[str], *, originals: int = ORIGINALS) -> Path:
        """Write it as one HTML file that needs nothing else; whoever reads sees the old file or the new one.

        Parameters
        ----------
        originals
            Most bytes of originals in it, besides the page's own; they are read from the store now, in the order in
            which they are shown. Those that do not fit are left out, and it says so.

        Raises
        ------
        InvalidMediaError
            `originals` is no number from 0.
        StorageError
            The file can't be written.
        """
        if not isinstance(originals, int) or isinstance(originals, bool) or originals < 0:
            raise InvalidMediaError(f"originals must be a number of bytes from 0, not {originals!r}")
        page = self._page(self._originals(originals), originals)
        return save_page(document(visible(f"{self.title} - fsmedia", most=200), page, viewer_text()), path)

    def data(self) -> dict[str, Any]:
        """Return all that a viewer draws, as JSON has it; texts are made visible, times are seconds since 1970."""
        total, size, more = self.totals
        full = f": a page holds at most {size_text(BUDGET)}, narrow the selection" if len(self) < self.chosen else ""
        return {
            "v": 1,
            "title": visible(self.title, most=300),
            "root": visible(self.references.backend.url),
            "now": self.now.timestamp(),
            "counts": {"shown": len(self), "media": total, "bytes": size, "more": more},
            "notes": [f"first {self._counted()}{full}"] if self._is_cut else [],
            "group": self.group_by,
            "rates": False,
            "selects": False,
            "items": [
                known | seen_of(item, preview)
                for known, item, preview in zip(known_of(self.items), self.items, self.previews, strict=True)
            ],
        }

    def _page(self, originals: Mapping[int, Original], most: int | None = None, *, key: str = "") -> Markup:
        """Return the page; `most` are the bytes of originals that a saved file may have, None in a notebook."""
        data = self.data()
        if most is None:
            again = "" if key else " with interactive=True"
            data["beyond"] = f"not in this output: run the cell again{again}, or use the code beside it"
        elif left := len(self) - len(originals):
            data["notes"].append(
                f"{plural(left, 'original')} left out of this file (at most {size_text(most)} of them): open the store"
            )
        sheet = self._sheet(data)
        for item in data["items"][:SHEET]:
            if "thumb" in item:
                item["thumb"] = "sheet"
        common, items = _without_common(data["items"])
        scripts = joined(original_script(index, each) for index, each in sorted(originals.items()))
        return Markup('<section class="fsm-gallery" data-fsm="{}"{} aria-label="{}">{}{}{}{}</section>').format(
            "" if most is None else "page",
            Markup(' data-fsm-key="{}"').format(key) if key else "",
            data["title"],
            sheet,
            data_script({**data, "common": common, "items": items}),
            scripts,
            viewer(),
        )

    def _sheet(self, data: dict[str, Any]) -> Markup:
        """Return what is left to see where no script runs: the first media, with styles in attributes only."""
        parts, group = [], ""
        for index, (item, preview) in enumerate(zip(self.items[:SHEET], self.previews, strict=False)):
            name = _group_of(item, self.group_by)
            if name != group:
                group = name
                parts.append(_heading(name))
            parts.append(_figure(index, data["items"][index], item, preview, self.now))
        total, rest = self.totals.media, len(self) - SHEET
        if not parts:
            parts = [
                Markup("<p>{}</p>").format(
                    f"{plural(total, 'media')}, none shown: limit=0" if total else "No media here."
                )
            ]
        said = [*([] if self._is_cut else [self._counted()]), *data["notes"]]
        if rest > 0:
            said.append(
                f"{rest:,} more are shown where scripts may run: in a trusted notebook, or in a browser with JavaScript"
            )
        return Markup(
            '<div class="fsm-sheet" style="{}"><h2 style="font-size:17px;margin:0">{}</h2>'
            '<p style="margin:4px 0 12px">{}.</p>{}</div>'
        ).format(FONT, data["title"], ". ".join(said), joined(parts))

    def _originals(self, most: int) -> dict[int, Original]:
        """Read originals of at most so many bytes, the first that fit; why it has none stands for one that has none."""
        wanted, room = [], most
        for index, item in enumerate(self.items):
            if most and item.entry.size <= room:
                wanted.append(index)
                room -= item.entry.size

        def read(index: int) -> Original:
            record = self.items[index].record
            with self.references.open(record.reference) as file:
                return original_of(file, record, most=most)

        found: dict[int, Original] = {}
        room = most
        for index, original in zip(wanted, attempt_each(read, wanted, self.references.backend), strict=True):
            made = Original(why=visible(original.problem)) if isinstance(original, MediaError) else original
            # What is made of a media may be larger than that.
            size = len(made.data) + len(made.text.encode()) + len(made.html.encode())
            if size <= room:
                room -= size
                found[index] = made
        return found

    @property
    def _is_cut(self) -> bool:
        return len(self) < self.totals.media or self.totals.more

    def _counted(self) -> str:
        shown, (total, size, more) = len(self), self.totals
        amount = f", {size_text(size)}" if size or not total else ""
        if not self._is_cut:
            return f"{plural(total, 'media')}{amount}"
        return f"{shown:,} of {'more than ' if more else ''}{total:,} media{amount and f'{amount} in all'}"


def known_of(items: list[GalleryItem]) -> list[dict[str, Any]]:
    """Return what is known of media without looking at their bytes, for a viewer; what is empty is left out."""
    most = _LONG if len(items) <= _FEW else _SHORT
    return [_present(_known(item, most)) for item in items]


def _known(item: GalleryItem, most: int) -> dict[str, Any]:
    record = item.record
    looks = f"looks like {visible(record.detected_mime_type, most=80)}" if record.detected_mime_type else ""
    damaged = f"damaged: {visible(item.problem, most=300)}" if item.problem else ""
    return {
        "ref": str(record.reference),
        "shown": "" if (shown := visible(record.reference)) == record.reference else shown,
        "title": _title_of(record),
        "name": visible(keys.file_name(record.reference)),
        "kind": family(record),
        "type": visible(mime.essence(record.mime_type), most=100),
        "size": record.size_bytes,
        "run": visible(record.run_id, most=300),
        "session": visible(record.session_id, most=300),
        "conversation": visible(record.conversation_id, most=300),
        "message": record.message_idx,
        "part": record.part_idx,
        "time": _seconds(record.timestamp),
        "provider": visible(record.provider_id, most=300),
        "caption": sentence(record.caption or "", most=most),
        "policy": visible(record.policy_name or "", most=80),
        "expires": _seconds(record.expires_at),
        "held": item.held,
        "attributes": {name: _attribute(value, most) for name, value in sorted(record.attributes.items())},
        "wrong": [each for each in (looks, damaged) if each],
        "code": f"store.retrieve_media({str(record.reference)!r}).player()",
    }


def seen_of(item: GalleryItem, preview: Preview) -> dict[str, Any]:
    """Return what a preview shows of a media, for a viewer; what is empty is left out."""
    record = item.record
    return _present(
        {
            "w": preview.width or record.width,
            "h": preview.height or record.height,
            "seconds": (preview.duration or record.duration) if family(record) in ("audio", "video") else None,
            "pages": preview.pages,
            "thumb": data_url(preview.image_type, preview.image) if preview.image_type else None,
            "alpha": preview.alpha,
            "peaks": [round(peak * 2.55) for peak in preview.peaks],
            "text": preview.text,
            "why": visible(preview.reason, most=300),
        }
    )


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value or (value == 0 and value is not False)}


def _without_common(items: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what all items have in common, and the items without it and without what a viewer makes of references."""
    first = items[0] if items else {}
    common = {
        name: value
        for name, value in first.items()
        if name not in ("ref", "name", "code") and all(each.get(name) == value for each in items)
    }

    def rest(item: dict[str, Any]) -> dict[str, Any]:
        # Of a name with unseen characters the viewer would show these.
        made = ("name", "code") if "shown" not in item else ()
        return {name: value for name, value in item.items() if name not in common and name not in made}

    return common, [rest(each) for each in items]


def _title_of(record: MediaRecord) -> str:
    """Return what tells media apart: the name of its file, else whose it is and its position."""
    if record.file_name is not None:
        return visible(record.file_name)
    name = keys.file_name(record.reference)
    whose = record.run_id or record.conversation_id or record.session_id
    if not whose or not keys.is_own_name(record.reference):
        return visible(name, most=100)
    return f"{visible(whose, most=60)} \u00b7 {record.message_idx}.{record.part_idx}"


def file_name_of(record: MediaRecord) -> str:
    """Return under which name a media is saved."""
    return visible(record.file_name or keys.file_name(record.reference))


def _seconds(instant: datetime | None) -> float | None:
    return None if instant is None else round(instant.timestamp(), 3)


def _attribute(value: AttributeValue, most: int) -> AttributeValue:
    if isinstance(value, list):
        return [visible(each, most=most) for each in value[:_FEW]]
    if not isinstance(value, str):
        return value
    return visible_lines(value if len(value) <= most else f"{value[: most - 3]}...")


def _figure(index: int, known: dict[str, Any], item: GalleryItem, preview: Preview, now: datetime) -> Markup:
    """Return a media of a contact sheet."""
    record, kind = item.record, known["kind"]
    if "thumb" in known:
        seen = Markup(
            '<img data-i="{}" src="{}" alt="{}" style="max-width:100%;max-height:150px;display:block">'
        ).format(index, known["thumb"], known.get("caption") or known["title"])
    elif preview.text:
        seen = Markup('<div style="padding:6px 8px;white-space:pre-wrap;{}">{}</div>').format(CODE, preview.text)
    else:
        seen = Markup('<div style="padding:6px 8px">{}{}</div>').format(
            _KINDS[kind], f": {known['why']}" if "why" in known else ""
        )
    told = [facts(record, kind, preview, record.size_bytes), *states(item, now)]
    caption = Markup("<br>{}").format(sentence(known["caption"], most=160)) if "caption" in known else ""
    return Markup(
        '<figure style="display:inline-block;vertical-align:top;width:200px;margin:0 12px 16px 0">'
        '<div style="height:150px;overflow:hidden;background-color:rgba(128,128,128,.12)">{}</div>'
        '<figcaption style="font-size:12px;overflow-wrap:anywhere">'
        "<b>{}</b><br>{}{}</figcaption></figure> "
    ).format(seen, known["title"], " \u00b7 ".join(told), caption)


def _heading(name: str) -> Markup:
    return Markup('<h3 style="font-size:14px;margin:8px 0">{}</h3>').format(name)


def _group_of(item: GalleryItem, group_by: GroupBy | None) -> str:
    """Return the outermost group of a media; empty for no groups."""
    return _group_name(item.record, group_by) if group_by else ""


def _group_name(record: MediaRecord, level: str) -> str:
    if level == "message":
        return f"Message {record.message_idx}"
    name = visible(getattr(record, f"{level}_id"), most=300)
    return f"{level.capitalize()} {name}" if name else f"No {level}"


def _ordered(items: list[GalleryItem], group_by: GroupBy | None) -> list[GalleryItem]:
    """Return media in the order in which groups show them: groups as they first appear."""
    seen: dict[tuple[str, ...], int] = {}
    ranks = []
    for item in items:
        path = tuple(_group_name(item.record, level) for level in _LEVELS[group_by])
        ranks.append(tuple(seen.setdefault(path[: depth + 1], len(seen)) for depth in range(len(path))))
    return [items[index] for index in sorted(range(len(items)), key=lambda index: ranks[index])]


def gallery_of(
    references: References,
    configuration: Configuration,
    selection: Selection,
    *,
    media: Any = None,
    similar_to: str | None = None,
    group_by: GroupBy | None,
    sort: Sort,
    limit: int,
    now: datetime,
    progress: Progress,
    verify_reads: bool,
) -> Gallery:
    """Return a gallery of a selection, or of given media, with a preview of each that a page can hold."""
    if group_by is not None and group_by not in get_args(GroupBy):
        raise InvalidMediaError(
            f"unknown group_by {group_by!r}", next_step=f"use None or one of {', '.join(get_args(GroupBy))}"
        )
    backend, near, like = references.backend, None, ""
    with ExitStack() as stack:
        if similar_to is not None:
            (example,), _ = referenced_items(references, configuration, [similar_to], limit=1, sort="position")
            looked = stack.enter_context(progress_bar(progress, 0))
            near = _nearness(backend, example, looked, verify_reads=verify_reads)
            like = f"Similar to {_title_of(example.record)}"
        how: dict[str, Any] = {"limit": limit, "sort": sort, "near": near}
        if media is None:
            items, totals = select_items(backend, configuration, selection, **how)
        else:
            items, totals = referenced_items(references, configuration, references_in(media), **how)
    items = _ordered(items, group_by)
    previews = _fitting_previews(references, items, group_by, now, progress, verify_reads=verify_reads)
    said = title_of(selection, backend.url) if media is None or selection.words else "Chosen media"
    return Gallery(
        title=", ".join(filter(None, [like, said])),
        items=items[: len(previews)],
        previews=previews,
        chosen=len(items),
        totals=totals,
        group_by=group_by,
        now=now,
        references=references,
    )


def _nearness(backend: Backend, example: GalleryItem, looked: Callable[[int], object], *, verify_reads: bool) -> Near:
    """Return what tells of media in how many bits the hashes of their pictures differ from that of an example's."""
    (wanted,) = picture_hashes(backend, [request_of(example, verify_reads=verify_reads)])
    if wanted is None:
        raise InvalidMediaError(
            f"{example.record.reference} has no picture that others can be compared with",
            next_step="give the reference of a picture, a film or a PDF that is not of one colour",
        )
    count = 0

    def near(items: list[GalleryItem]) -> list[int | None]:
        nonlocal count
        hashes = picture_hashes(backend, [request_of(each, verify_reads=verify_reads) for each in items])
        count += len(items)
        looked(count)
        bits = [None if each is None else (each ^ wanted).bit_count() for each in hashes]
        return [None if each is None or each > SIMILAR else each for each in bits]

    return near


def _fitting_previews(
    references: References,
    items: list[GalleryItem],
    group_by: GroupBy | None,
    now: datetime,
    progress: Progress,
    *,
    verify_reads: bool,
) -> list[Preview]:
    """Make previews in order until a page is full: what can't be shown is not looked at."""
    room = BUDGET - len(viewer().encode()) - _AROUND
    common, known = _without_common(whole := known_of(items))
    side = side_for(min(len(items), _MANY))
    previews: list[Preview] = []

    def weight(index: int, preview: Preview) -> int:
        seen = seen_of(items[index], preview)
        if index >= SHEET:
            return len(json_text(known[index] | seen))
        figure = _figure(index, whole[index] | seen, items[index], preview, now)
        # A group of its own for each, at most.
        sheet = _heading(_group_of(items[index], group_by)) + figure
        return len(json_text(known[index] | seen | {"thumb": "sheet"})) + len(sheet.encode())

    def expected(first: list[Preview]) -> float:
        """Return the weight of all, if they are as the first."""
        return sum(map(weight, range(len(first)), first)) * len(items) / len(first)

    room -= len(json_text(common))
    with progress_bar(progress, len(items)) as advance:
        for start in range(0, len(items), _WINDOW):
            window = items[start : start + _WINDOW]
            moved = partial(_moved, advance, start)
            found = previews_of(references.backend, window, moved, verify_reads=verify_reads, side=side)
            if start == 0:
                side, found = _lighter(side, found, expected, room)
            for preview in found:
                room -= weight(len(previews), preview)
                if room < 0:
                    return previews
                previews.append(preview)
    return previews


def _lighter(
    side: int, found: list[Preview], expected: Callable[[list[Preview]], float], room: int
) -> tuple[int, list[Preview]]:
    """Return the first previews with pictures so small that all media fit; not too small where that is no use."""
    kept = side, found
    for smaller in (each for each in _SMALLER if each < side):
        if expected(found) <= room:
            return side, found
        side, found = smaller, [reduced_preview(each, smaller) for each in found]
        kept = (side, found) if smaller >= _SEEN else kept
    return (side, found) if expected(found) <= room else kept


def _moved(advance: Callable[[int], object], before: int, count: int) -> None:
    advance(before + count)


def title_of(selection: Selection, url: str) -> str:
    """Return a selection in words; the root where it has no conditions."""
    said = [
        f"{word} {visible(value) if isinstance(value, str) else f'{value:%Y-%m-%d %H:%M %Z}'}"
        for name, word in _TITLES
        if (value := selection.words.get(name)) is not None
    ]
    said += [visible(condition_text(*each)) for each in selection.words.get("attributes", {}).items()]
    title = ", ".join(said)
    return title[:1].upper() + title[1:] or url
