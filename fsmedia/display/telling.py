"""The shape in which a notebook shows what was done: a title, facts on one line, notes, tables with their first rows.

Everything told is escaped here, whoever wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from markupsafe import Markup

from fsmedia.display.markup import joined, style, table
from fsmedia.display.text import plural, visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

ROWS = 20
"""Rows of one table that are shown."""


@dataclass(frozen=True)
class Part:
    """One table. `count`: how many rows there are in all, named `things`; `right`: columns of numbers."""

    title: str
    heads: tuple[str, ...]
    rows: Iterable[tuple[object, ...]]
    count: int
    right: tuple[int, ...] = ()
    things: str = "media"


@dataclass(frozen=True)
class Told:
    """What is shown of a report: a title, facts on one line, notes of their own, tables."""

    title: str
    facts: Iterable[str]
    notes: Iterable[str] = ()
    parts: Iterable[Part] = ()
    form: str = ""
    """Class of what holds the tables: `fsm-row` puts them side by side, `fsm-wide` lets them scroll to the side."""


def told_html(told: Told) -> str:
    """Return the HTML of what is told; everything in it is escaped here."""
    return str(
        Markup(
            '<div class="fsm">{}<div class="fsm-head"><h2>{}</h2><span class="fsm-total">{}</span>{}</div>'
            '<div class="{}">{}</div></div>'
        ).format(
            style(),
            visible(told.title, most=300),
            " \u00b7 ".join(filter(None, told.facts)),
            joined(Markup('<p class="fsm-note">{}</p>').format(note) for note in told.notes if note),
            told.form,
            joined(_table(part) for part in told.parts if part.count),
        )
    )


def _table(part: Part) -> Markup:
    """Return a table that folds."""
    rows = [tuple(visible(each) if isinstance(each, str) else each for each in row) for row in islice(part.rows, ROWS)]
    more = part.count - len(rows)
    rest = Markup('<p class="fsm-total">and {} more</p>').format(f"{more:,}") if more > 0 else ""
    return Markup(
        '<details class="fsm-group" open><summary>{}<span class="fsm-sum">{}</span></summary>{}{}</details>'
    ).format(part.title, plural(part.count, part.things), table(part.heads, rows, right=part.right), rest)


def minute_text(instant: datetime | None) -> str:
    """Return an instant to the minute, in UTC; empty for none."""
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M}"
