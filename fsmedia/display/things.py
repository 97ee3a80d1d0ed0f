"""HTML of single things that a notebook shows by themselves: a content, a report, the first rows of a catalog.

Showing a content reads its bytes where they are at hand or in its store, never from a URL and never a caller's stream.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fsmedia.catalog import Catalog
from fsmedia.display.cards import short_name
from fsmedia.display.figures import catalog_html, statistics_html
from fsmedia.display.making import family_of, preview_of
from fsmedia.display.markup import copied, style, view
from fsmedia.display.previews import Preview
from fsmedia.display.reading import OpenedSource
from fsmedia.display.reports import report_html
from fsmedia.display.text import length_text, sentence, size_text, visible
from fsmedia.errors import MediaError
from fsmedia.models import MediaContent, StoreStatistics, mime
from fsmedia.models.base import Model

_SIDE = 640


def html_of(thing: Any) -> str | None:
    """Return the HTML of a content, a report or a catalog; None for anything else."""
    if isinstance(thing, MediaContent):
        return content_html(thing)
    if isinstance(thing, StoreStatistics):
        return statistics_html(thing)
    if isinstance(thing, Model):
        return report_html(thing)
    return catalog_html(thing) if isinstance(thing, Catalog) else None


def content_html(content: MediaContent) -> str:
    """Return a content as one card."""
    kind = family_of(content.mime_type)
    size, preview = _looked_at(content)
    name = _name(content)
    caption = sentence(content.caption or "")
    seconds = preview.duration or content.duration
    length = length_text(seconds) if seconds and kind in ("audio", "video") else ""
    width, height = preview.width or content.width, preview.height or content.height
    facts = [
        f"{width:,} \u00d7 {height:,}" if width and height else "",
        length,
        "" if size is None else size_text(size),
        visible(mime.essence(content.mime_type), most=100),
    ]
    code = kind in ("audio", "video") and not preview.sound
    return str(
        Markup(
            '<div class="fsm fsm-single">{}<article class="fsm-card"><div class="fsm-view">{}</div>'
            '<div class="fsm-facts">'
            '<div class="fsm-name" title="{}">{}</div><div class="fsm-meta">{}</div>{}{}</div></article></div>'
        ).format(
            style(),
            view(preview, kind, caption or name, length),
            name,
            name,
            " \u00b7 ".join(filter(None, facts)),
            Markup('<p class="fsm-caption" title="{0}">{0}</p>').format(caption) if caption else "",
            copied("content.player()", "Copy the code that plays it") if code else "",
        )
    )


def _name(content: MediaContent) -> str:
    if content.storage_reference:
        return short_name(content.storage_reference)
    if content.file_path:
        return short_name(Path(content.file_path).name)
    return visible(mime.essence(content.mime_type), most=100)


def _looked_at(content: MediaContent) -> tuple[int | None, Preview]:
    """Return size and preview of a content, as far as looking costs nothing that nobody asked for."""
    if reason := _out_of_reach(content):
        return None, Preview(reason=reason)
    try:
        if isinstance(content.data, bytes):
            return len(content.data), preview_of(OpenedSource(io.BytesIO(content.data)), content.mime_type, _SIDE)
        with content.open() as file:
            source = OpenedSource(file)
            return source.size, preview_of(source, content.mime_type, _SIDE)
    except MediaError as error:
        return None, Preview(reason=visible(error.problem))
    except OSError as error:
        return None, Preview(reason=f"it can't be read ({error.strerror or type(error).__name__})")


def _out_of_reach(content: MediaContent) -> str:
    """Return why its bytes are not looked at; empty where they are."""
    if content.url is not None:
        return "only its URL is known, and nothing is fetched from it"
    if content.data is not None:
        return "" if isinstance(content.data, bytes) else "a stream, which can be read only once"
    if content.file_path is None and not content.is_attached:
        return "only its reference is known: store.retrieve_media(...) brings it"
    return ""
