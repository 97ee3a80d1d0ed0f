"""HTML of a store in numbers, and of the first rows of its catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsmedia.display.telling import ROWS, Part, Told, minute_text, told_html
from fsmedia.display.text import plural, sentence, size_text

if TYPE_CHECKING:
    from fsmedia.catalog import Catalog
    from fsmedia.models import StoreStatistics, Tally

_NUMBERS = ("message_idx", "part_idx", "size_bytes")
_INSTANTS = ("timestamp", "expires_at")
_COLUMNS = ("reference", "run_id", *_NUMBERS[:2], "mime_type", "size_bytes", *_INSTANTS, "policy_name", "caption")


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
    return told_html(
        Told(
            "What the store holds",
            (f"{found.media:,} media", size_text(found.bytes), saved, f"as of {minute_text(found.refreshed_at)} UTC"),
            (f"{found.problems:,} sidecars can't be read." if found.problems else "",),
            (_tallied(title, rows, rest) for title, rows, rest in tables),
            form="fsm-row",
        )
    )


def _tallied(title: str, rows: tuple[Tally, ...], rest: Tally | None) -> Part:
    shown = [*rows[: ROWS - 1], *([] if rest is None else [rest])]
    return Part(
        f"By {title}" if title != "expires" else "Expires",
        (title, "media", "bytes"),
        ((each.name or "(none)", f"{each.media:,}", size_text(each.bytes)) for each in shown),
        len(rows) + (rest is not None),
        right=(1, 2),
        things="row",
    )


def catalog_html(found: Catalog) -> str:
    """Return the first rows of a catalog, with the columns that fit on a page."""
    columns = [each for each in _COLUMNS if each in found.to_arrow().column_names]
    rows = found.to_arrow().slice(0, ROWS).select(columns).to_pylist()
    return told_html(
        Told(
            f"Catalog of {found.url}",
            (
                f"{len(found):,} media",
                plural(len(found.to_arrow().column_names), "column"),
                f"as of {minute_text(found.refreshed_at)} UTC",
            ),
            (f"{len(found.problems):,} sidecars can't be read: see .problems" if found.problems else "",),
            (
                Part(
                    "Rows",
                    tuple(columns),
                    (tuple(_cell(name, row[name]) for name in columns) for row in rows),
                    len(found),
                    right=tuple(index for index, name in enumerate(columns) if name in _NUMBERS),
                ),
            ),
            form="fsm-wide",
        )
    )


def _cell(name: str, value: Any) -> object:
    if value is None:
        return ""
    if name in _INSTANTS:
        return minute_text(value)
    if isinstance(value, str):
        return sentence(value, most=60)
    return f"{value:,}"
