"""The card of one media: what is seen of it, its name, facts, policy and expiry, reference, caption."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from markupsafe import Markup

from fsmedia.display.making import family_of
from fsmedia.display.markup import copied, joined, view
from fsmedia.display.text import (
    distance_text,
    duration_text,
    instant_text,
    length_text,
    plural,
    sentence,
    size_text,
    visible,
)
from fsmedia.format import keys
from fsmedia.models import mime

if TYPE_CHECKING:
    from datetime import datetime

    from fsmedia.display.gathering import Gathered
    from fsmedia.display.previews import Preview
    from fsmedia.models import MediaRecord

SOON = timedelta(days=7)
"""What expires within it is marked."""


def family(record: MediaRecord) -> str:
    """Return how a media is shown: by what its bytes are, where the store noticed that its type lies."""
    return family_of(record.detected_mime_type or record.mime_type)


def short_name(reference: str) -> str:
    """Return a name without what makes it unique: `0003_01.png`; other people's names as they are."""
    name = keys.file_name(reference)
    own = keys.parse_own_name(name)
    if own is None:
        return visible(name)
    return visible(f"{own.message_idx:04d}_{own.part_idx:02d}{own.ext}")


def card(
    item: Gathered,
    preview: Preview,
    now: datetime,
    *,
    page: int = 1,
    notes: tuple[str, ...] = (),
    full: int | None = None,
) -> Markup:
    """Return the HTML of a card.

    Parameters
    ----------
    now
        The instant from which expiry is counted.
    page
        Which page it is on, from 1, where no script counts anew.
    notes
        More badges.
    full
        The number by which a widget asks for all of its bytes; None: nothing can be asked.
    """
    record, kind = item.record, family(item.record)
    name, said = short_name(record.reference), " \u00b7 ".join(facts(record, preview))
    caption = sentence(record.caption or "")
    time = "" if record.timestamp is None else str(int(record.timestamp.timestamp()))
    return Markup(
        '<article class="fsm-card" data-t="{}" data-p="{}" data-size="{}" data-time="{}" data-name="{}">'
        '<div class="fsm-view">{}</div><div class="fsm-facts">'
        '<div class="fsm-name" title="{}">{}</div><div class="fsm-meta" title="{}">{}</div>'
        '<div class="fsm-badges">{}</div>{}'
        '<div class="fsm-foot">{}{}{}</div></div></article>'
    ).format(
        kind,
        page,
        record.size_bytes,
        time,
        name,
        view(preview, kind, caption or name, _length(record, preview)),
        visible(keys.file_name(record.reference)),
        name,
        said,
        said,
        joined([*badges(item, now), *(_badge(note) for note in notes)]),
        Markup('<p class="fsm-caption" title="{0}">{0}</p>').format(caption) if caption else "",
        _player_line(record, preview, kind) if full is None else "",
        "" if full is None else Markup('<button type="button" class="fsm-full" data-n="{}">Open</button>').format(full),
        copied(record.reference, f"Copy the reference of {name}"),
    )


def facts(record: MediaRecord, preview: Preview) -> list[str]:
    """Return size in pixels or seconds, size in bytes, and type."""
    found = []
    width, height = preview.width or record.width, preview.height or record.height
    if width and height:
        found.append(f"{width:,} \u00d7 {height:,}")
    if length := _length(record, preview):
        found.append(length)
    if preview.pages:
        found.append(plural(preview.pages, "page"))
    return [*found, size_text(record.size_bytes), visible(mime.essence(record.mime_type), most=100) or "unknown type"]


def badges(item: Gathered, now: datetime) -> list[Markup]:
    """Return what becomes of a media: held, expiring, due or kept; its policy; what is wrong with it."""
    record = item.record
    found = [_badge("held", "fsm-held", "nothing may delete or replace it until it is released")] if item.held else []
    expires = record.expires_at
    if expires is not None:
        left = expires - now
        if left <= timedelta(0):
            word, style = f"due since {duration_text(-left)}", "fsm-due"
        else:
            word, style = f"expires {distance_text(expires, now)}", "fsm-soon" if left <= SOON else ""
        found.append(_badge(word, style, instant_text(expires)))
    else:
        found.append(_badge("kept", "", "no policy lets it go"))
    if record.policy_name:
        found.append(_badge(visible(record.policy_name, most=80), "", "its retention policy"))
    if record.detected_mime_type:
        found.append(_badge(f"looks like {visible(record.detected_mime_type, most=80)}", "fsm-odd"))
    if item.trouble:
        found.append(_badge("damaged", "fsm-odd", visible(item.trouble)))
    return found


def _badge(text: str, style: str = "", title: str = "") -> Markup:
    return Markup('<span class="fsm-badge {}" title="{}">{}</span>').format(style, title or text, text)


def _length(record: MediaRecord, preview: Preview) -> str:
    seconds = preview.duration or record.duration
    return "" if not seconds or family(record) not in ("audio", "video") else length_text(seconds)


def _player_line(record: MediaRecord, preview: Preview, kind: str) -> Markup:
    """Return the line of code that plays what does not play here."""
    if kind not in ("audio", "video") or preview.sound:
        return Markup("")
    code = f"store.retrieve_media({str(record.reference)!r}).player()"
    return copied(code, "Copy the code that plays it")
