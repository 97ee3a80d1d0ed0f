"""Reports, catalogs and contents as HTML for notebooks."""

from __future__ import annotations

from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fsmedia.catalog import Catalog
from fsmedia.display.card import caption_line, facts, length, player_line, short_name
from fsmedia.display.html import joined, style, table, view
from fsmedia.display.previewer import OpenedSource, Preview, family_of, preview_of
from fsmedia.errors import MediaError
from fsmedia.models import MediaContent, MediaRecord, StoreStatistics, VerifyReport, mime
from fsmedia.models.attributes import value_text
from fsmedia.models.base import Columns, Report, ReportTable
from fsmedia.models.text import minute_text, plural, sentence, visible

if TYPE_CHECKING:
    from collections.abc import Iterable

ROWS = 20  # rows of one table that are shown

_COLUMNS = (
    "reference", "file_name", "run_id", "message_idx", "part_idx", "mime_type", "size_bytes", "timestamp", "expires_at",
    "policy_name", "caption",
)  # fmt: skip
_NO_FACTS = ("attributes", "xattrs")
_SIDE = 640  # of the small picture of a content, in pixels


def html_of(thing: Any) -> str | None:
    """Return the HTML of a content, a report or a catalog; None for anything else."""
    if isinstance(thing, MediaContent):
        return content_html(thing)
    if isinstance(thing, Report):
        return report_html(thing)
    if isinstance(thing, MediaRecord):
        return record_html(thing)
    return catalog_html(thing) if isinstance(thing, Catalog) else None


def content_html(content: MediaContent) -> str:
    """Return a content as one card."""
    kind = family_of(content.mime_type)
    size, preview = _looked_at(content)
    name = _name(content)
    caption = sentence(content.caption or "")
    return str(
        Markup(
            '<div class="fsm fsm-single">{0}<article class="fsm-card"><div class="fsm-view">{1}</div>'
            '<div class="fsm-facts">'
            '<div class="fsm-name" title="{2}">{2}</div><div class="fsm-meta">{3}</div>{4}{5}</div></article></div>'
        ).format(
            style(),
            view(preview, kind, caption or name, length(content, kind, preview)),
            name,
            facts(content, kind, preview, size),
            caption_line(caption),
            player_line("content.player()", kind, preview),
        )
    )


def report_html(report: Report) -> str:
    """Return the HTML of a report: its facts, then tables with the first rows of each."""
    told = report._view()
    is_dry = getattr(report, "dry_run", False) and not isinstance(report, VerifyReport)
    failed: Columns = {"what": itemgetter(0), "error": lambda pair: getattr(pair[1], "problem", pair[1])}
    tables = [*told.tables, *([ReportTable("failed", told.failed, failed, "thing")] if told.failed else [])]
    notes = ["A dry run: nothing was changed."] * is_dry + [*told.warnings, *told.notes]
    beside = "fsm-row" if isinstance(report, StoreStatistics) else ""
    return panel_html(told.title, told.facts, notes, joined(map(_folding_table, tables)), beside)


def record_html(record: MediaRecord) -> str:
    """Return what is known of a media item, a fact a line, then its attributes."""
    known = [(name, str(value)) for name, value in record if name not in _NO_FACTS and value not in (None, "")]
    told = ((name, value_text(value)) for name, value in sorted(record.attributes.items()))
    rows = [map(visible, row) for row in (*known, *told)]
    kind = visible(mime.essence(record.mime_type), most=100)
    return panel_html(short_name(record.reference), kind, [], table(("", ""), rows))


def catalog_html(found: Catalog) -> str:
    """Return the first rows of a catalog, with the columns that fit on a page."""
    arrow = found.to_arrow()
    names = [each for each in _COLUMNS if each in arrow.column_names]
    rows = arrow.slice(0, ROWS).select(names).to_pylist()
    shown = ReportTable("rows", rows, {name: partial(_cell, name) for name in names}, more=len(found) - len(rows))
    columns = plural(len(arrow.column_names), "column")
    told = f"{len(found):,} media, {columns}, as of {minute_text(found.refreshed_at)}"
    problems = f"{len(found.problems):,} sidecars can't be read: see .problems" if found.problems else ""
    return panel_html(f"Catalog of {found.url}", told, [problems], _folding_table(shown) if rows else "", "fsm-wide")


def panel_html(title: str, facts: str, notes: Iterable[str], body: Markup | str, css_class: str = "") -> str:
    """Return the HTML of a title, facts, notes and what stands below them; everything in it is escaped here.

    `css_class` is that of what holds the body: `fsm-row` puts tables side by side, `fsm-wide` lets them scroll.
    """
    return str(
        Markup(
            '<div class="fsm">{}<div class="fsm-head"><h2>{}</h2><span class="fsm-total">{}</span>{}</div>'
            '<div class="{}">{}</div></div>'
        ).format(
            style(),
            visible(title, most=300),
            visible(facts),
            joined(Markup('<p class="fsm-note">{}</p>').format(visible(note)) for note in notes if note),
            css_class,
            body,
        )
    )


def _folding_table(shown: ReportTable) -> Markup:
    rows = [map(visible, cells) for cells in shown.rows(ROWS)]
    more = shown.count - len(rows)
    rest = Markup('<p class="fsm-total">and {} more</p>').format(f"{more:,}") if more > 0 else ""
    cells, count = table(shown.columns, rows, right=shown.numbers), plural(shown.count, shown.things)
    group = Markup('<details class="fsm-group" open><summary>{}<span class="fsm-sum">{}</span></summary>{}{}</details>')
    return group.format(shown.title.capitalize(), count, cells, rest)


def _cell(name: str, row: dict[str, Any]) -> object:
    return sentence(row[name], most=60) if isinstance(row[name], str) else row[name]


def _name(content: MediaContent) -> str:
    if content.file_name is not None:
        return visible(content.file_name)
    name = content.storage_reference or Path(content.file_path or "").name
    return short_name(name) if name else visible(mime.essence(content.mime_type), most=100)


def _looked_at(content: MediaContent) -> tuple[int | None, Preview]:
    """Return size and preview of a content, as far as looking costs nothing that nobody asked for."""
    reason = ""
    if content.url is not None:
        reason = "only its URL is known, and nothing is fetched from it"
    elif not (content.data is None or isinstance(content.data, bytes)):
        reason = "a stream, which can be read only once"
    elif content.data is None and content.file_path is None and not content.is_attached:
        reason = "only its reference is known: store.retrieve_media(...) brings it"
    if reason:
        return None, Preview(reason=reason)
    try:
        with content.open() as file:
            source = OpenedSource(file)
            return source.size, preview_of(source, content.mime_type, _SIDE)
    except MediaError as error:
        return None, Preview(reason=visible(error.problem))
    except OSError as error:
        return None, Preview(reason=f"it can't be read ({error.strerror or type(error).__name__})")
