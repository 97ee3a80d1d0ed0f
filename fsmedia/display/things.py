"""HTML of single things that a notebook shows by themselves: a content, the report of a sweep.

Showing a content reads its bytes where they are at hand or in its store, never from a URL and never a caller's stream.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fsmedia import mime
from fsmedia.display.amounts import duration_text, length_text, plural, sentence, size_text, visible
from fsmedia.display.cards import short_name
from fsmedia.display.making import family_of, preview_of
from fsmedia.display.markup import copied, joined, style, table, view
from fsmedia.display.previews import Preview
from fsmedia.display.reading import OpenedSource
from fsmedia.errors import MediaError
from fsmedia.models import EnforcementReport, MediaContent

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIDE = 640
_ROWS = 20


def html_of(thing: Any) -> str | None:
    """Return the HTML of a content or a report; None for anything else."""
    if isinstance(thing, MediaContent):
        return content_html(thing)
    if isinstance(thing, EnforcementReport):
        return report_html(thing)
    return None


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


def report_html(report: EnforcementReport) -> str:
    """Return the report of a sweep: what it did in one line, then what went, stayed and failed."""
    verb = "would be deleted" if report.dry_run else "deleted"
    facts = [
        f"{report.examined:,} examined",
        f"{len(report.deleted):,} {verb} ({size_text(report.bytes_freed)})",
        f"{len(report.skipped):,} skipped",
        f"{len(report.failed):,} failed",
        f"took {duration_text(report.took)}",
    ]
    notes = []
    if report.dry_run:
        notes.append("A dry run: nothing was changed.")
    if report.due_index != "complete":
        notes.append("The due index is partial: all sidecars were read. store.rebuild_due_index() mends that.")
    if report.stopped:
        notes.append("It was stopped before the end.")
    title = "Sweep" if report.now is None else f"Sweep of {report.now:%Y-%m-%d %H:%M} UTC"
    parts = [
        _part(
            verb.capitalize(),
            ("media", "size", "policy", "expired"),
            (
                (
                    visible(each.reference),
                    size_text(each.size_bytes),
                    visible(each.policy_name or ""),
                    "" if each.expires_at is None else f"{each.expires_at:%Y-%m-%d %H:%M}",
                )
                for each in report.deleted[:_ROWS]
            ),
            len(report.deleted),
        ),
        _part(
            "Skipped",
            ("media", "why"),
            ((visible(each.reference), visible(each.reason)) for each in report.skipped[:_ROWS]),
            len(report.skipped),
        ),
        _part(
            "Failed",
            ("media", "error"),
            ((visible(each.reference), visible(each.error.problem)) for each in report.failed[:_ROWS]),
            len(report.failed),
        ),
    ]
    return str(
        Markup(
            '<div class="fsm">{}<div class="fsm-head"><h2>{}</h2><span class="fsm-total">{}</span>{}</div>{}</div>'
        ).format(
            style(),
            title,
            " \u00b7 ".join(facts),
            joined(Markup('<p class="fsm-note">{}</p>').format(note) for note in notes),
            joined(parts),
        )
    )


def _part(title: str, heads: tuple[str, ...], rows: Iterable[Iterable[object]], count: int) -> Markup:
    """Return a table that folds; empty where there is nothing to tell."""
    if not count:
        return Markup("")
    more = count - _ROWS
    rest = Markup('<p class="fsm-total">and {} more</p>').format(f"{more:,}") if more > 0 else ""
    return Markup(
        '<details class="fsm-group" open><summary>{}<span class="fsm-sum">{}</span></summary>{}{}</details>'
    ).format(title, plural(count, "media"), table(heads, rows, right=(1,) if "size" in heads else ()), rest)
