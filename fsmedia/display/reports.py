"""Reports, statistics, catalogs and contents as HTML for notebooks.

A report is a panel: what was done in one line, then in tables what came of it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import timedelta
from functools import singledispatch
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fsmedia.catalog import Catalog
from fsmedia.display.gallery import short_name
from fsmedia.display.html import copied, joined, style, table, view
from fsmedia.display.previewer import OpenedSource, Preview, family_of, preview_of
from fsmedia.errors import MediaError
from fsmedia.models import (
    EnforcementReport,
    ExportReport,
    ImportReport,
    MediaContent,
    OrphanReport,
    RebuildReport,
    Receipt,
    ReceiptReport,
    StoreStatistics,
    SyncReport,
    VerifyReport,
    mime,
)
from fsmedia.models.base import Model
from fsmedia.models.reports import kept_words
from fsmedia.models.text import duration_text, length_text, plural, sentence, size_text, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized
    from datetime import datetime

    from fsmedia.models import Tally

ROWS = 20
"""Rows of one table that are shown."""

_DRY_RUN = "A dry run: nothing was changed."
_NUMBERS = ("message_idx", "part_idx", "size_bytes")
_INSTANTS = ("timestamp", "expires_at")
_COLUMNS = ("reference", "run_id", *_NUMBERS[:2], "mime_type", "size_bytes", *_INSTANTS, "policy_name", "caption")
_SIDE = 640  # of the small picture of a content, in pixels


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


def report_html(report: Any) -> str | None:
    """Return the HTML of a report; None for what is none."""
    panel = _panel_of(report)
    return None if panel is None else panel_html(panel)


def statistics_html(found: StoreStatistics) -> str:
    """Return what a store holds, by run, type, policy and age."""
    saved = f"sharing saves {size_text(found.saved_bytes)}" if found.saved_bytes else ""
    soon = (found.expired, found.expires_within_day, found.expires_within_week)
    tables = (
        ("run", found.by_run, found.other_runs),
        ("type", found.by_mime_type, found.other_mime_types),
        ("policy", found.by_policy, found.other_policies),
        ("age", found.by_age, None),
        ("expires", tuple(each for each in soon if each.media), None),
    )
    return panel_html(
        Panel(
            "What the store holds",
            (f"{found.media:,} media", size_text(found.bytes), saved, f"as of {_minute_text(found.refreshed_at)} UTC"),
            (f"{found.problems:,} sidecars can't be read." if found.problems else "",),
            (_tallied(title, rows, rest) for title, rows, rest in tables),
            css_class="fsm-row",
        )
    )


def catalog_html(found: Catalog) -> str:
    """Return the first rows of a catalog, with the columns that fit on a page."""
    columns = [each for each in _COLUMNS if each in found.to_arrow().column_names]
    rows = found.to_arrow().slice(0, ROWS).select(columns).to_pylist()
    return panel_html(
        Panel(
            f"Catalog of {found.url}",
            (
                f"{len(found):,} media",
                plural(len(found.to_arrow().column_names), "column"),
                f"as of {_minute_text(found.refreshed_at)} UTC",
            ),
            (f"{len(found.problems):,} sidecars can't be read: see .problems" if found.problems else "",),
            (
                PanelTable(
                    "Rows",
                    tuple(columns),
                    (tuple(_cell(name, row[name]) for name in columns) for row in rows),
                    len(found),
                    right=tuple(index for index, name in enumerate(columns) if name in _NUMBERS),
                ),
            ),
            css_class="fsm-wide",
        )
    )


@dataclass(frozen=True)
class Panel:
    """What is shown of a report: a title, facts on one line, notes, tables."""

    title: str
    facts: Iterable[str]
    notes: Iterable[str] = ()
    tables: Iterable[PanelTable] = ()
    css_class: str = ""
    """Class of what holds the tables: `fsm-row` puts them side by side, `fsm-wide` lets them scroll to the side."""


@dataclass(frozen=True)
class PanelTable:
    """A table of a panel. `count`: how many rows there are in all, named `things`; `right`: columns of numbers."""

    title: str
    heads: tuple[str, ...]
    rows: Iterable[tuple[object, ...]]
    count: int
    right: tuple[int, ...] = ()
    things: str = "media"


def panel_html(panel: Panel) -> str:
    """Return the HTML of a panel; everything in it is escaped here."""
    return str(
        Markup(
            '<div class="fsm">{}<div class="fsm-head"><h2>{}</h2><span class="fsm-total">{}</span>{}</div>'
            '<div class="{}">{}</div></div>'
        ).format(
            style(),
            visible(panel.title, most=300),
            " \u00b7 ".join(filter(None, panel.facts)),
            joined(Markup('<p class="fsm-note">{}</p>').format(note) for note in panel.notes if note),
            panel.css_class,
            joined(_folding_table(each) for each in panel.tables if each.count),
        )
    )


@singledispatch
def _panel_of(_report: Any) -> Panel | None:
    """Return the panel of a report; what is no report has none."""
    return None


@_panel_of.register
def _(report: EnforcementReport) -> Panel:
    verb = "would be deleted" if report.dry_run else "deleted"
    partial = "The due index is partial: all sidecars were read. store.rebuild_due_index() mends that."
    return Panel(
        "Sweep" if report.now is None else f"Sweep of {_minute_text(report.now)} UTC",
        (
            f"{report.examined:,} examined",
            f"{len(report.deleted):,} {verb} ({size_text(report.bytes_freed)}){kept_words(report.versions_kept)}",
            _counted(report.skipped, "skipped"),
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (
            _DRY_RUN if report.dry_run else "",
            partial if report.due_index != "complete" else "",
            _stopped(report),
        ),
        (
            PanelTable(
                verb.capitalize(),
                ("media", "size", "policy", "expired"),
                (
                    (
                        each.reference,
                        size_text(each.size_bytes),
                        each.policy_name or "",
                        _minute_text(each.expires_at),
                    )
                    for each in report.deleted
                ),
                len(report.deleted),
                right=(1,),
            ),
            _skipped(report),
            _failed(report),
        ),
    )


@_panel_of.register
def _(report: RebuildReport) -> Panel:
    return Panel(
        "Due index rebuilt",
        (
            f"{report.examined:,} sidecars read",
            f"{report.written:,} entries written",
            _counted(report.failed, "failed"),
            f"the index is {report.due_index}",
            _took(report),
        ),
        tables=(_failed(report),),
    )


@_panel_of.register
def _(report: OrphanReport) -> Panel:
    verb = "would be mended" if report.dry_run else "mended"
    heads = ("kind", "key", "size", "what")
    return Panel(
        "Leftovers",
        (
            f"{report.examined:,} examined",
            f"{len(report.mended):,} {verb} ({size_text(report.bytes_freed)}){kept_words(report.versions_kept)}",
            _counted(report.kept, "kept"),
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (_DRY_RUN if report.dry_run else "",),
        (
            *(
                PanelTable(
                    title,
                    heads,
                    ((each.kind, each.key, size_text(each.size_bytes), each.action) for each in found),
                    len(found),
                    right=(2,),
                    things="leftover",
                )
                for title, found in ((verb.capitalize(), report.mended), ("Kept", report.kept))
            ),
            _failed(report),
        ),
    )


@_panel_of.register
def _(report: SyncReport) -> Panel:
    copied, updated, deleted = (
        ("would be copied", "would be updated", "would be deleted")
        if report.dry_run
        else ("copied", "updated", "deleted")
    )
    return Panel(
        f"Sync to {report.target}",
        (
            f"{report.examined:,} examined",
            f"{report.copied:,} {copied} ({size_text(report.bytes_copied)})",
            f"{report.unchanged:,} unchanged",
            f"{report.updated:,} {updated}",
            _counted(report.deleted, deleted),
            _counted(report.skipped, "skipped"),
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (_DRY_RUN if report.dry_run else "", _stopped(report)),
        (
            PanelTable("Moved", ("at the source", "at the target"), report.moved, len(report.moved)),
            PanelTable(deleted.capitalize(), ("media",), ((each,) for each in report.deleted), len(report.deleted)),
            _skipped(report),
            _failed(report),
        ),
    )


@_panel_of.register
def _(report: VerifyReport) -> Panel:
    total = sum(report.counts.values())
    read = f", {size_text(report.bytes_read)} of them read" if report.deep else ""
    return Panel(
        "The store is whole" if report.whole else "The store is not whole",
        (
            f"{report.media:,} media ({size_text(report.bytes)}{read})",
            plural(total, "finding"),
            f"{report.mended:,} mended",
            f"{report.left:,} left to mend",
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (
            f"{report.quarantined:,} objects lie in quarantine." if report.quarantined else "",
            "" if report.whole or not report.left else "store.verify(repair=True) mends what can be mended.",
        ),
        (
            PanelTable(
                "Findings",
                ("kind", "key", "what is wrong", "repair"),
                (
                    (
                        each.kind,
                        each.key,
                        each.detail,
                        f"{'done: ' if each.done else ''}{each.repair}" if each.repair else "stays",
                    )
                    for each in sorted(report.findings, key=lambda each: each.harmless)
                ),
                total,
                things="finding",
            ),
            _failed(report),
        ),
    )


@_panel_of.register
def _(report: Receipt) -> Panel:
    verb = "would be erased" if report.dry_run else "erased"
    subject = ", ".join(f"{name}={value}" for name, value in report.words.items())
    others = (
        ("Held", report.held),
        ("Waiting", report.waiting),
        ("Unclear", report.unclear),
        ("Failed", report.failed),
        *((("Older versions", report.versions),) if report.versions else ()),
    )
    is_sound = report.is_unchanged or not report.checksum
    changed = "" if is_sound else "Its checksum is not that of its text: it was changed."
    return Panel(
        f"Receipt: {subject}",
        (
            f"{report.examined:,} examined",
            f"{len(report.erased):,} {verb} ({size_text(report.bytes_freed)})",
            *(f"{len(found):,} {title.lower()}" for title, found in others),
            f"{_minute_text(report.finished)} UTC",
        ),
        (
            _DRY_RUN if report.dry_run else "",
            "" if report.is_complete else "Something of the subject stays: see below, and erase again.",
            changed,
        ),
        (
            PanelTable(
                verb.capitalize(),
                ("media", "size", "bytes", "note"),
                ((each.reference, size_text(each.size_bytes), each.data, each.note) for each in report.erased),
                len(report.erased),
                right=(1,),
            ),
            *(
                PanelTable(title, ("media", "why"), ((each.reference, each.reason) for each in found), len(found))
                for title, found in others
            ),
        ),
    )


@_panel_of.register
def _(report: ReceiptReport) -> Panel:
    return Panel(
        "The receipt holds" if report.holds else "The receipt does not hold",
        (f"{report.erased:,} erased media looked for", plural(len(report.traces), "trace"), _took(report)),
        ("" if report.same_store else "The receipt is of a store at another URL.",),
        (PanelTable("Traces", ("where", "key", "what"), report.traces, len(report.traces), things="trace"),),
    )


@_panel_of.register
def _(report: ImportReport) -> Panel:
    verb = "would be stored" if report.dry_run else "stored"
    return Panel(
        "Import",
        (
            f"{report.examined:,} examined",
            f"{len(report.stored):,} {verb} ({size_text(report.bytes)})",
            f"{report.unchanged:,} unchanged",
            f"{report.duplicates:,} duplicates ({size_text(report.duplicate_bytes)})",
            _counted(report.skipped, "skipped"),
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (_DRY_RUN if report.dry_run else "",),
        (
            PanelTable(verb.capitalize(), ("from", "reference"), report.stored, len(report.stored)),
            PanelTable("Skipped", ("from", "why"), report.skipped, len(report.skipped), things="thing"),
            PanelTable(
                "Failed",
                ("from", "error"),
                ((each.source, each.error.problem) for each in report.failed),
                len(report.failed),
                things="thing",
            ),
        ),
    )


@_panel_of.register
def _(report: ExportReport) -> Panel:
    verb = "would be exported" if report.dry_run else "exported"
    return Panel(
        "Export",
        (
            f"{report.examined:,} examined",
            f"{report.exported:,} {verb} ({size_text(report.bytes)})",
            f"{report.unchanged:,} unchanged",
            _counted(report.skipped, "skipped"),
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (_DRY_RUN if report.dry_run else "",),
        (
            PanelTable("Files", ("file",), ((each,) for each in report.files), len(report.files), things="file"),
            _skipped(report),
            _failed(report),
        ),
    )


def _counted(things: Sized, word: str) -> str:
    return f"{len(things):,} {word}"


def _took(report: Any) -> str:
    return f"took {duration_text(report.took)}" if report.took >= timedelta(seconds=1) else "took under a second"


def _skipped(report: Any) -> PanelTable:
    return PanelTable(
        "Skipped", ("media", "why"), ((each.reference, each.reason) for each in report.skipped), len(report.skipped)
    )


def _failed(report: Any) -> PanelTable:
    return PanelTable(
        "Failed",
        ("media", "error"),
        ((each.reference, each.error.problem) for each in report.failed),
        len(report.failed),
    )


def _stopped(report: Any) -> str:
    return "It was stopped before the end." if report.stopped else ""


def _minute_text(instant: datetime | None) -> str:
    """Return an instant to the minute, in UTC; empty for none."""
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M}"


def _folding_table(folding: PanelTable) -> Markup:
    """Return a table that folds."""
    rows = [
        tuple(visible(each) if isinstance(each, str) else each for each in row) for row in islice(folding.rows, ROWS)
    ]
    more = folding.count - len(rows)
    rest = Markup('<p class="fsm-total">and {} more</p>').format(f"{more:,}") if more > 0 else ""
    return Markup(
        '<details class="fsm-group" open><summary>{}<span class="fsm-sum">{}</span></summary>{}{}</details>'
    ).format(
        folding.title, plural(folding.count, folding.things), table(folding.heads, rows, right=folding.right), rest
    )


def _tallied(title: str, rows: tuple[Tally, ...], rest: Tally | None) -> PanelTable:
    shown = [*rows[: ROWS - 1], *([] if rest is None else [rest])]
    return PanelTable(
        f"By {title}" if title != "expires" else "Expires",
        (title, "media", "bytes"),
        ((each.name or "(none)", f"{each.media:,}", size_text(each.bytes)) for each in shown),
        len(rows) + (rest is not None),
        right=(1, 2),
        things="row",
    )


def _cell(name: str, value: Any) -> object:
    if value is None:
        return ""
    if name in _INSTANTS:
        return _minute_text(value)
    if isinstance(value, str):
        return sentence(value, most=60)
    return f"{value:,}"


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
