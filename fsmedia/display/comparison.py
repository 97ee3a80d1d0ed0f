"""The comparison: what several runs made at the same position of the same message, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from markupsafe import Markup

from fsmedia.display.gallery import BUDGET, LEFT_OUT, PreviewBudget, card, save_page
from fsmedia.display.html import document, joined, script, style
from fsmedia.errors import InvalidMediaError
from fsmedia.models.text import plural, size_text, visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from os import PathLike
    from pathlib import Path

    from fsmedia.display.items import GalleryItem, Totals
    from fsmedia.display.previewer import Preview
    from fsmedia.models import MediaRecord

By = Literal["message", "conversation"]
MOST_RUNS = 12
"""Runs side by side."""

Position = tuple[str, int, int]
"""Conversation (empty where it does not count), message, part."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several runs side by side: a column each, a row for each position that any of them has.

    Attributes
    ----------
    runs
        Their ids, in the order of the columns.
    items, previews
        What each run made, in order.
    totals
        What each run has in all.
    by
        "message": positions are message and part; "conversation": and the conversation too.
    now
        The instant from which expiry is counted.
    """

    runs: list[str]
    items: dict[str, list[GalleryItem]] = field(repr=False)
    previews: dict[str, list[Preview]] = field(repr=False)
    totals: dict[str, Totals] = field(repr=False)
    by: By
    now: datetime

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
        found = self._cells()
        return [(run, where) for where in self.positions for run in self.runs if not found.get((run, where))]

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it as one HTML file that needs nothing else; an old file is replaced whole.

        Raises
        ------
        StorageError
            The file can't be written.
        """
        title = visible(f"{', '.join(self.runs)} - fsmedia", most=200)
        return save_page(document(title, self._page()), path)

    def html(self) -> str:
        """Return it as a piece of HTML for a page."""
        return str(self._page())

    def _page(self) -> Markup:
        cells = self._cells()
        kept, room = self._kept(cells)
        budget = PreviewBudget(room)
        rows = []
        for where in kept:
            row = []
            for run in self.runs:
                cards = [
                    card(item, budget.fit(preview), self.now, notes=self._same(item, where, run, cells))
                    for item, preview in cells.get((run, where), ())
                ]
                row.append(
                    joined(cards) if cards else Markup('<div class="fsm-missing">nothing at this position</div>')
                )
            rows.append(_row(self._named(where), row))
        heads = joined(
            Markup('<th scope="col">{}<br><span class="fsm-sum">{}</span></th>').format(
                visible(run, most=200), self._counted(run)
            )
            for run in self.runs
        )
        dropped = len(self.positions) - len(kept)
        counts = ((dropped, "position"), (budget.left_out, "preview"))
        left_out = [plural(count, name) for count, name in counts if count]
        notice = Markup('<p class="fsm-note">{} left out: a page holds at most {}.</p>').format(
            " and ".join(left_out), size_text(BUDGET)
        )
        body = Markup(
            '<div class="fsm-scroll"><table class="fsm-versus"><thead><tr><th scope="col">Position</th>{}</tr></thead>'
            "<tbody>{}</tbody></table></div>"
        ).format(heads, joined(rows))
        return Markup(
            '<div class="fsm fsm-gallery">{}<div class="fsm-head"><h2>{}</h2>'
            '<span class="fsm-total">{}</span>{}</div>'
            '<div class="fsm-compared">{}</div></div>{}'
        ).format(
            style(),
            f"{plural(len(self.runs), 'run')} side by side",
            f"{plural(len(self.positions), 'position')}, {len(self.missing):,} of them missing in a run",
            notice if left_out else "",
            body if rows else Markup('<div class="fsm-empty">No media of these runs here.</div>'),
            script(),
        )

    def _kept(self, cells: dict[tuple[str, Position], list[tuple[GalleryItem, Preview]]]) -> tuple[list[Position], int]:
        """Return the positions that fit onto the page without pictures, and the bytes that are left for those."""
        # 20,000 bytes for what stands around the table, and 2,500 for the head of each column: a run's name, escaped.
        room = BUDGET - len(style()) - len(script()) - 20_000 - 2_500 * len(self.runs)
        kept: list[Position] = []
        for where in self.positions:
            needed = len(_row(self._named(where), ()).encode())
            for run in self.runs:
                needed += 100
                for item, preview in cells.get((run, where), ()):
                    notes = self._same(item, where, run, cells)
                    needed += len(card(item, preview.lighter(LEFT_OUT), self.now, notes=notes).encode())
            if needed > room:
                break
            room -= needed
            kept.append(where)
        return kept, room

    def _cells(self) -> dict[tuple[str, Position], list[tuple[GalleryItem, Preview]]]:
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

    def _same(
        self,
        item: GalleryItem,
        where: Position,
        run: str,
        cells: dict[tuple[str, Position], list[tuple[GalleryItem, Preview]]],
    ) -> tuple[str, ...]:
        """Say in which earlier column the very same bytes stand."""
        digest = item.record.sha256
        for other in self.runs[: self.runs.index(run)]:
            if digest and any(found.record.sha256 == digest for found, _ in cells.get((other, where), ())):
                return (f"same bytes as {visible(other, most=40)}",)
        return ()


def check_runs(run_ids: Iterable[str], by: object) -> list[str]:
    """Return the runs, each once, in the order given.

    Raises
    ------
    InvalidMediaError
        They are one text, none, or too many, or there is no such way to compare.
    """
    if isinstance(run_ids, str | bytes):
        raise InvalidMediaError("give several runs, not one text", next_step='e.g. store.compare(["r1", "r2"])')
    runs = list(dict.fromkeys(run_ids))
    if not runs or len(runs) > MOST_RUNS or not all(isinstance(run, str) and run for run in runs):
        raise InvalidMediaError(f"give 1 to {MOST_RUNS} run ids, not {len(runs)}", next_step="each a str")
    if by not in get_args(By):
        raise InvalidMediaError(f"unknown by {by!r}", next_step=f"use one of {', '.join(get_args(By))}")
    return runs


def _row(name: str, cells: Iterable[Markup]) -> Markup:
    return Markup('<tr><th scope="row">{}</th>{}</tr>').format(
        name, joined(Markup("<td>{}</td>").format(cell) for cell in cells)
    )
