"""Reports, catalogs and contents as HTML for notebooks."""

from __future__ import annotations

from functools import partial
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fsmedia.catalog import Catalog
from fsmedia.display.card import (
    CODE,
    FONT,
    LINE,
    QUIET,
    SOFT,
    STRIP,
    TINY,
    Seen,
    facts,
    family,
    figure,
    length,
    line,
    looked_at,
    name_of,
    short_name,
    small,
    sound,
    strip,
)  # fmt: skip
from fsmedia.display.html import joined
from fsmedia.display.previewer import OpenedSource, Preview, family_of, preview_of
from fsmedia.errors import MediaError
from fsmedia.models import MediaContent, MediaRecord, StoreStatistics, VerifyReport, mime
from fsmedia.models.attributes import value_text
from fsmedia.models.base import Columns, Report, ReportTable
from fsmedia.models.text import minute_text, place_text, plural, sentence, shown_of, visible

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

ROWS = 20  # rows of one table that are shown

_COLUMNS = (
    "reference", "file_name", "run_id", "message_idx", "part_idx", "mime_type", "size_bytes", "timestamp", "expires_at",
    "policy_name", "caption",
)  # fmt: skip
_NO_FACTS = ("attributes", "xattrs")
_SIDE = 640  # of the small picture of a content, in pixels
_UNBROKEN = 28  # characters of a cell that stands on one line
_CELL = f"padding:3px 14px 3px 0;border:0;border-bottom:{LINE};vertical-align:top;background:none"


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
    """Return a content: what is seen of it, what it is called, its facts."""
    kind = family_of(content.mime_type)
    size, preview = _looked_at(content)
    name, caption = _name(content), sentence(content.caption or "")
    how = "" if kind not in ("audio", "video") or preview.sound else "content.player()"
    seen = figure(preview, kind, caption or name, length(content, kind, preview), height=480)
    told = (seen, sound(preview, caption or name), line(name, "font-weight:600;margin-top:4px"),
            line(facts(content, kind, preview, size), SOFT), line(caption), line(how, CODE))  # fmt: skip
    return str(Markup('<div class="fsm" style="{};max-width:640px">{}</div>').format(FONT, joined(told)))


def report_html(report: Report) -> str:
    """Return the HTML of a report: its facts, a few pictures of what it names, tables with the first rows of each."""
    told = report._view()
    is_dry = getattr(report, "dry_run", False) and not isinstance(report, VerifyReport)
    failed: Columns = {"what": itemgetter(0), "error": lambda pair: getattr(pair[1], "problem", pair[1])}
    tables = [*told.tables, *([ReportTable("failed", told.failed, failed, "thing")] if told.failed else [])]
    notes = ["A dry run: nothing was changed."] * is_dry + [*told.warnings, *told.notes]
    images = (each for each in told.pictured if (mime.guess_from_name(each) or "").startswith("image/"))
    pictures = strip(report._origin, [Seen(each) for each in islice(images, STRIP)])
    shown = (beside if isinstance(report, StoreStatistics) else joined)(map(_folding_table, tables))
    return str(panel(told.title, told.facts, notes, joined([pictures, shown])))


def record_html(record: MediaRecord) -> str:
    """Return a media item: its picture, what it is and where it stands, its attributes; all else is folded away."""
    kind, name = family(record), name_of(record)
    (preview,) = looked_at(record._origin, [Seen.of(record)], _SIDE) or [Preview()]
    caption = sentence(record.caption or "")
    kept = f"expires {minute_text(record.expires_at)}" if record.expires_at else "never expires"
    told = (
        line(caption),
        line(facts(record, kind, preview, record.size_bytes), SOFT),
        line(place_text(record), SOFT),
        line(", ".join(filter(None, [minute_text(record.timestamp), visible(record.provider_id)])), SOFT),
        line(f"{kept}, policy {visible(record.policy_name)}" if record.policy_name else kept, SOFT),
        line(f"held: {visible(record.hold, most=300)}" if record.hold else "", "font-weight:600"),
    )
    seen = [figure(preview, kind, caption or name, length(record, kind, preview)), sound(preview, name)]
    marks = [(visible(name), sentence(value_text(value))) for name, value in sorted(record.attributes.items())]
    parts = [joined(seen)] * (record._origin.backend is not None) + [joined(told)] + [table((), marks)] * bool(marks)
    known = Markup(
        '<details style="margin-top:6px"><summary style="cursor:pointer;{0}" {1}>All that is known</summary>'
        '<div style="{2};white-space:pre-wrap;overflow-wrap:anywhere">{3}</div></details>'
    ).format(SOFT, QUIET, CODE, known_text(record))
    return str(panel(name, "", [], joined([beside(parts), known])))


def known_text(record: MediaRecord, *, most: int = 100_000) -> str:
    """Return all that is known of a media item, a fact a line; cut where that takes more characters."""
    known = [(name, str(value)) for name, value in record if name not in _NO_FACTS and value not in (None, "")]
    known += ((name, value_text(value)) for name, value in sorted(record.attributes.items()))
    text = "\n".join(f"{name}: {visible(value)}" for name, value in known)
    return text if len(text) <= most else f"{text[:most]}..."


def catalog_html(found: Catalog) -> str:
    """Return the first rows of a catalog, with the columns that fit on a page, and pictures where there are any."""
    count = shown_of(len(found), ROWS)
    rows = found.to_arrow().slice(0, count).to_pylist()
    names = [each for each in _COLUMNS if each in found.to_arrow().column_names]
    kinds = (row["detected_mime_type"] or row["mime_type"] or "" for row in rows)
    wanted = [Seen(row["reference"], kind, row["sha256"]) for row, kind in zip(rows, kinds, strict=True)]
    seen = looked_at(found._origin, wanted, TINY)
    shown = ReportTable("rows", rows, {name: partial(_cell, name) for name in names})
    cells = [[visible(cell) for cell in row] for row in shown.rows()]
    if any(each.image for each in seen):
        cells = [[small(preview, "", TINY), *row] for preview, row in zip(seen, cells, strict=True)]
        names = ["", *names]
    numbers = [place for place, name in enumerate(names) if name.endswith(("_idx", "_bytes"))]
    columns = plural(len(found.to_arrow().column_names), "column")
    told = f"{len(found):,} media, {columns}, as of {minute_text(found.refreshed_at)}"
    problems = f"{len(found.problems):,} sidecars can't be read: see .problems" if found.problems else ""
    body = _folded("Rows", plural(len(found), "media"), table(names, cells, right=numbers), len(found) - count)
    return str(panel(f"Catalog of {found.url}", told, [problems], body if rows else Markup("")))


def panel(title: str, facts: str, notes: Iterable[str], body: Markup) -> Markup:
    """Return a title, facts and notes, which are escaped here, and what stands below them."""
    noted = joined(line(f"\u26a0 {visible(note)}", "font-weight:600") for note in notes if note)
    return Markup(
        '<div class="fsm" style="{}"><h2 style="margin:0;padding:0;border:0;font-size:17px;font-weight:600;'
        'line-height:1.3;overflow-wrap:anywhere">{}</h2>{}{}{}</div>'
    ).format(FONT, visible(title, most=300), line(visible(facts), f"{SOFT};margin-bottom:8px"), noted, body)


def table(heads: Collection[str], rows: Iterable[Iterable[object]], *, right: Iterable[int] = ()) -> Markup:
    """Return a table; numbers stand to the right, short texts on one line, long ones break where they must.

    Without heads, the first column says what the others are.
    """
    numbers = set(right)

    def cells(tag: str, values: Iterable[object]) -> Markup:
        made = []
        for place, value in enumerate(values):
            short = not isinstance(value, str) or isinstance(value, Markup) or len(value) <= _UNBROKEN or tag == "th"
            how = "white-space:nowrap" if short else "white-space:normal;overflow-wrap:anywhere;min-width:24em"
            made.append(Markup('<{0} style="{1};{2};text-align:{3}">{4}</{0}>').format(
                tag, _CELL, how, "right" if place in numbers else "left", value))  # fmt: skip
        return Markup('<tr style="background:none">{}</tr>').format(joined(made))

    head = Markup("<thead>{}</thead>").format(cells("th", heads)) if heads else Markup("")
    return Markup(
        '<div style="overflow-x:auto;max-width:100%" tabindex="0" {}><table style="border-collapse:collapse;border:0;'
        'margin:4px 0;font-size:13px;table-layout:auto;width:auto">{}<tbody>{}</tbody></table></div>'
    ).format(QUIET, head, joined(cells("td", row) for row in rows))


def beside(parts: Iterable[Markup]) -> Markup:
    """Return parts side by side, where there is room."""
    placed = joined(Markup('<div style="min-width:0;max-width:100%">{}</div>').format(each) for each in parts)
    return Markup('<div style="display:flex;flex-wrap:wrap;gap:12px 40px">{}</div>').format(placed)


def _folding_table(shown: ReportTable) -> Markup:
    rows = [[*map(visible, cells)] for cells in shown.rows(ROWS)]
    cells = table(shown.columns, rows, right=shown.numbers)
    return _folded(shown.title.capitalize(), plural(shown.count, shown.things), cells, shown.count - len(rows))


def _folded(title: str, count: str, cells: Markup, more: int) -> Markup:
    group = Markup(
        '<details open style="margin:6px 0"><summary style="cursor:pointer;font-weight:600" {}>{}'
        ' <span style="font-weight:400;{}">\u00b7 {}</span></summary>{}{}</details>'
    )
    return group.format(QUIET, title, SOFT, count, cells, line(f"and {more:,} more" if more > 0 else "", SOFT))


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
