"""Comparisons: what several runs made at the same positions, side by side, as a page that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

from markupsafe import Markup

from fsmedia.display.card import (
    BUDGET,
    CODE,
    LINE,
    QUIET,
    SOFT,
    PreviewBudget,
    bare,
    facts,
    family,
    figure,
    fitting,
    length,
    line,
    name_of,
    previews_of,
    sound,
    states,
)  # fmt: skip
from fsmedia.display.html import document, joined, save_page
from fsmedia.display.items import GalleryItem, Totals, check_limit, select_items
from fsmedia.display.previewer import show_in_place
from fsmedia.display.reports import known_text, panel
from fsmedia.errors import InvalidMediaError
from fsmedia.models.selection import Selection
from fsmedia.models.text import plural, sentence, size_text, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from os import PathLike
    from pathlib import Path

    from fsmedia.display.previewer import Preview, Progress
    from fsmedia.format.settings import Configuration
    from fsmedia.models import MediaRecord
    from fsmedia.storage import Backend

By = Literal["message", "conversation"]
"""What makes a position in a comparison: message and part, or the conversation too."""
MOST_RUNS = 12  # runs side by side
Position = tuple[str, int, int]  # conversation (empty where it does not count), message, part
_STYLE = Markup(
    "<style>.fsm-compare .fsm-cell:has(>details[open]){grid-column:1/-1}"
    ".fsm-compare details[open] :is(img,.fsm-text){max-height:none!important}</style>"
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several runs side by side: a column each, a row for each position that any of them has.

    By "message", positions are message and part; by "conversation", and the conversation too. Expiry is counted from
    `now`.
    """

    runs: list[str]
    items: dict[str, list[GalleryItem]] = field(repr=False)
    previews: dict[str, list[Preview]] = field(repr=False)
    totals: dict[str, Totals] = field(repr=False)
    by: By
    now: datetime

    _ipython_display_ = show_in_place

    def __len__(self) -> int:
        return len(self.positions)

    def __repr__(self) -> str:
        return f"<Comparison of {plural(len(self.runs), 'run')}, {plural(len(self), 'position')}>"

    def _repr_html_(self) -> str:
        return self.html()

    @property
    def positions(self) -> list[Position]:
        """All positions that any of the runs has, in order."""
        return sorted({self._position(item.record) for items in self.items.values() for item in items})

    @property
    def missing(self) -> list[tuple[str, Position]]:
        """Runs and positions at which others have something and they have nothing."""
        return [(run, where) for where in self.positions for run in self.runs if not self._cells.get((run, where))]

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it as one HTML file that needs nothing else; see `save_page`."""
        title = visible(f"{', '.join(self.runs)} - fsmedia", most=200)
        return save_page(document(title, self._page()), path)

    def html(self) -> str:
        """Return it as a piece of HTML for a page."""
        return str(self._page())

    def _page(self) -> Markup:
        positions, missing = self.positions, line("nothing at this position", f"{SOFT};border:{LINE};padding:24px 8px")
        named = [f"{visible(run, most=200)}: {self._counted(run)}" for run in self.runs]
        kept, room = fitting(map(self._needed, positions), BUDGET - 20_000 - sum(6 * len(each) + 200 for each in named))
        budget = PreviewBudget(room)
        rows = joined(self._row(where, budget.fit, missing) for where in positions[:kept])
        counts = ((len(positions) - kept, "position"), (budget.left_out, "preview"))
        left_out = " and ".join(plural(count, name) for count, name in counts if count)
        absent = f"{len(self.missing):,} of them missing in a run"
        return panel(
            f"{plural(len(self.runs), 'run')} side by side",
            f"{plural(len(positions), 'position')}, {absent}",
            [f"{left_out} left out: a page holds at most {size_text(BUDGET)}." if left_out else ""],
            Markup('{}<div class="fsm-compare">{}{}</div>').format(
                _STYLE, joined(map(line, named)), rows or line("No media of these runs here.", f"{SOFT};padding:24px 0")
            ),
        )

    def _row(self, where: Position, fit: Callable[[Preview], Preview], missing: Markup) -> Markup:
        """Return what the runs have at a position, each below its run's name: side by side, or stacked on a phone."""
        cell = Markup('<div class="fsm-cell" style="min-width:0"><div style="{}">{}</div>{}</div>')
        bold = "font-weight:600;overflow-wrap:anywhere;margin-bottom:4px"
        cells = (
            cell.format(bold, visible(run, most=60), joined(self._cell(where, run, fit)) or missing)
            for run in self.runs
        )
        return Markup(
            '<section><h3 style="margin:20px 0 8px;padding:4px 0 0;border:0;border-top:{};font-size:14px;'
            'font-weight:600;line-height:1.4;{}">{}</h3><div style="display:grid;gap:14px;'
            'grid-template-columns:repeat(auto-fit,minmax(200px,1fr))">{}</div></section>'
        ).format(LINE, SOFT, self._named(where), joined(cells))

    def _needed(self, where: Position) -> int:
        return len(self._row(where, bare, Markup("")).encode()) + 250 * len(self.runs)

    def _cell(self, where: Position, run: str, fit: Callable[[Preview], Preview]) -> Iterator[Markup]:
        """Yield what a run has at a position; `fit` says how much of each preview is shown.

        Opening it shows the picture as wide as the page, and all that is known of the media item.
        """
        for item, preview in self._cells.get((run, where), ()):
            record, shown, name = item.record, fit(preview), name_of(item.record)
            kind, caption = family(record), sentence(record.caption or "")
            label, said = caption or name, known_text(record, most=1_500)
            yield Markup(
                '<details class="fsm-card" style="margin:0"><summary style="display:block;cursor:pointer" {0}>'
                '{1}<div style="font-weight:600;overflow-wrap:anywhere;margin-top:4px">{2}</div></summary>'
                '<div style="{3};white-space:pre-wrap;overflow-wrap:anywhere">{4}</div></details>{5}{6}'
            ).format(
                QUIET,
                figure(shown, kind, label, length(record, kind, shown), height=340),
                name,
                CODE,
                said,
                sound(shown, label),
                joined(
                    [
                        line(facts(record, kind, shown, record.size_bytes), SOFT),
                        line(caption),
                        line(
                            ", ".join([*self._same(item, where, run), *states(item, self.now)]),
                            "font-weight:600;margin-bottom:10px",
                        ),
                    ]
                ),
            )

    @cached_property
    def _cells(self) -> dict[tuple[str, Position], list[tuple[GalleryItem, Preview]]]:
        """Media and previews by run and position."""
        found: dict[tuple[str, Position], list[tuple[GalleryItem, Preview]]] = {}
        for run in self.runs:
            for item, preview in zip(self.items[run], self.previews[run], strict=True):
                found.setdefault((run, self._position(item.record)), []).append((item, preview))
        return found

    def _position(self, record: MediaRecord) -> Position:
        return (record.conversation_id if self.by == "conversation" else "", record.message_idx, record.part_idx)

    def _named(self, where: Position) -> str:
        conversation = f"{visible(where[0], most=200)}, " if where[0] else ""
        return f"{conversation}message {where[1]}, part {where[2]}"

    def _counted(self, run: str) -> str:
        total, shown = self.totals[run], len(self.items[run])
        of = "" if shown == total.media and not total.more else f"{shown:,} of "
        return f"{of}{plural(total.media, 'media')}, {size_text(total.size)}"

    def _same(self, item: GalleryItem, where: Position, run: str) -> tuple[str, ...]:
        """Say in which earlier column the very same bytes stand."""
        digest = item.record.sha256
        for other in self.runs[: self.runs.index(run)]:
            if digest and any(found.record.sha256 == digest for found, _ in self._cells.get((other, where), ())):
                return (f"same bytes as {visible(other, most=40)}",)
        return ()


def comparison_of(
    backend: Backend,
    configuration: Configuration,
    run_ids: Iterable[str],
    *,
    by: By,
    limit: int,
    now: datetime,
    progress: Progress,
    verify_reads: bool,
) -> Comparison:
    """Return runs side by side."""
    if isinstance(run_ids, str | bytes):
        raise InvalidMediaError("give several runs, not one text", next_step='e.g. store.compare(["r1", "r2"])')
    runs = list(dict.fromkeys(run_ids))
    if not runs or len(runs) > MOST_RUNS or not all(isinstance(run, str) and run for run in runs):
        raise InvalidMediaError(f"give 1 to {MOST_RUNS} run ids, not {len(runs)}", next_step="each a str")
    if by not in get_args(By):
        raise InvalidMediaError(f"unknown by {by!r}", next_step=f"use one of {', '.join(get_args(By))}")
    check_limit(limit)
    found = {
        run: select_items(backend, configuration, Selection(run_id=run), limit=limit, sort="position") for run in runs
    }
    together = [item for run in runs for item in found[run][0]]
    previews = iter(previews_of(backend, together, progress, verify_reads=verify_reads))
    return Comparison(
        runs=runs,
        items={run: found[run][0] for run in runs},
        previews={run: [next(previews) for _ in found[run][0]] for run in runs},
        totals={run: found[run][1] for run in runs},
        by=by,
        now=now,
    )
