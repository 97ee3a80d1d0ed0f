"""Which media a gallery shows, and what the store says of them: one listing, a sidecar each for those that are shown.

Nothing is read twice: a sidecar that choosing took is not asked for again.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from markupsafe import Markup

from fsmedia.core import holds, records
from fsmedia.core.parallel import windows
from fsmedia.display.html import joined
from fsmedia.display.text import plural, size_text, visible
from fsmedia.errors import CorruptSidecarError, InvalidMediaError
from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fsmedia.core.records import SelectedItem
    from fsmedia.format.settings import Configuration
    from fsmedia.models import MediaRecord
    from fsmedia.models.selection import Selection
    from fsmedia.storage import Backend

Sort = Literal["position", "newest", "oldest", "largest"]
"""In the order of the keys (which is that of messages), by timestamp, or by size."""
MOST_COUNTED = 100_000
"""Media that are counted for a gallery's total; beyond it says "more than"."""
MOST_SHOWN = 2_000
"""Largest limit of a gallery: a page of more is no use."""
_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A media to show.

    Attributes
    ----------
    record
        What the store knows of it.
    selected
        What the listing said.
    held
        Whether something holds it.
    trouble
        What is wrong with its sidecar; then the record speaks by path alone.
    """

    record: MediaRecord
    selected: SelectedItem
    held: bool = False
    trouble: str = ""


class Totals(NamedTuple):
    """All that the selection means, shown or not.

    Attributes
    ----------
    more
        Whether counting stopped before the end.
    """

    media: int
    size: int
    more: bool


def gather(
    backend: Backend, configuration: Configuration, selection: Selection, *, limit: int, sort: Sort
) -> tuple[list[Gathered], Totals]:
    """Return the media to show, in order, and the totals of all that the selection means.

    Raises
    ------
    InvalidMediaError
        The limit or the order can't be meant.
    """
    check_limit(limit)
    if sort not in get_args(Sort):
        raise InvalidMediaError(f"unknown sort {sort!r}", next_step=f"use one of {', '.join(get_args(Sort))}")
    counter = _Counter(records.selected(backend, configuration, selection))
    if sort == "position":
        shown = list(_read(backend, configuration, islice(counter, limit)))
        counter.finish()
    elif sort == "largest":
        largest = heapq.nsmallest(limit, counter, key=lambda each: (-each.entry.size, each.entry.key))
        shown = list(_read(backend, configuration, largest))
    else:
        every = _read(backend, configuration, counter)
        newest = sort == "newest"
        shown = heapq.nsmallest(
            limit, every, key=lambda each: (_age(each.record, newest=newest), each.record.reference)
        )
    held = holds.held(backend) if shown else frozenset()
    if held:
        shown = [replace(each, held=keys.hold_key(each.record.reference) in held) for each in shown]
    return shown, counter.totals()


def check_limit(limit: object) -> None:
    """Refuse what is no number of media that a page can show."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit <= MOST_SHOWN:
        raise InvalidMediaError(
            f"limit must be a number from 0 to {MOST_SHOWN:,}, not {limit!r}",
            next_step="narrow the selection to see others",
        )


class _Counter:
    """Passes on what a listing gives, and counts it."""

    def __init__(self, found: Iterator[SelectedItem]) -> None:
        self._found = found
        self._count = self._size = 0
        self._more = False

    def __iter__(self) -> Iterator[SelectedItem]:
        return self

    def __next__(self) -> SelectedItem:
        if self._count >= MOST_COUNTED:
            self._more = next(self._found, None) is not None
            raise StopIteration
        item = next(self._found)
        self._count += 1
        self._size += item.entry.size
        return item

    def finish(self) -> None:
        """Count the rest."""
        for _ in self:
            pass

    def totals(self) -> Totals:
        """Return what was counted."""
        return Totals(self._count, self._size, self._more)


def _read(backend: Backend, configuration: Configuration, chosen: Iterable[SelectedItem]) -> Iterator[Gathered]:
    """Read the sidecars that were not read yet, some at once; what was deleted meanwhile is left out."""
    for batch in windows(chosen, _BATCH):
        yield from _batch(backend, configuration, batch)


def _batch(backend: Backend, configuration: Configuration, batch: Sequence[SelectedItem]) -> Iterator[Gathered]:
    asked = [each.entry.key for each in batch if each.listed.has_sidecar and each.text is None]
    read = dict(zip(asked, records.read_sidecars(backend, asked), strict=True))
    for each in batch:
        data = read.get(each.entry.key, each.text)
        if isinstance(data, Exception):
            record = records.foreign_record(each.entry, configuration)
            yield Gathered(record=record, selected=each, trouble="its sidecar can't be read")
        elif data is not None or not each.listed.has_sidecar:
            yield _described(each, data, configuration)


def _described(each: SelectedItem, data: bytes | None, configuration: Configuration) -> Gathered:
    try:
        record = records.record_of(records.StoredItem(each.entry, data), configuration)
    except CorruptSidecarError as error:
        record = records.foreign_record(each.entry, configuration)
        return Gathered(record=record, selected=each, trouble=error.problem)
    return Gathered(record=record, selected=each)


def _age(record: MediaRecord, *, newest: bool) -> float:
    """Return what sorts by time; what has none comes last."""
    if record.timestamp is None:
        return float("inf")
    return -record.timestamp.timestamp() if newest else record.timestamp.timestamp()


GroupBy = Literal["conversation", "run", "message"]


class Placed(NamedTuple):
    """A media's card and what places it."""

    record: MediaRecord
    family: str
    page: int
    html: Markup


def check_group(group_by: object) -> None:
    """Refuse a way of grouping that there is not."""
    if group_by is not None and group_by not in get_args(GroupBy):
        raise InvalidMediaError(
            f"unknown group_by {group_by!r}", next_step=f"use None or one of {', '.join(get_args(GroupBy))}"
        )


def ordered(records: list[MediaRecord], group_by: GroupBy | None) -> list[int]:
    """Return the places of the records in the order in which groups show them: groups as they first appear."""
    levels = _LEVELS[group_by]
    seen: dict[tuple[str, ...], int] = {}
    ranks = []
    for record in records:
        path = tuple(name(record) for name in levels)
        ranks.append(tuple(seen.setdefault(path[: depth + 1], len(seen)) for depth in range(len(path))))
    return sorted(range(len(records)), key=lambda index: ranks[index])


def grouped(cards: list[Placed], group_by: GroupBy | None) -> Markup:
    """Return cards in groups that fold, all open."""
    return _nested(cards, _LEVELS[group_by])


def _nested(cards: list[Placed], levels: tuple[Callable[[MediaRecord], str], ...]) -> Markup:
    if not levels:
        return Markup('<div class="fsm-grid">{}</div>').format(joined(each.html for each in cards))
    groups: dict[str, list[Placed]] = {}
    for each in cards:
        groups.setdefault(levels[0](each.record), []).append(each)
    inner = joined(_group(name, members, levels[1:]) for name, members in groups.items())
    return inner if len(levels) > 1 else Markup('<div class="fsm-row">{}</div>').format(inner)


def _group(name: str, members: list[Placed], inner: tuple[Callable[[MediaRecord], str], ...]) -> Markup:
    size = size_text(sum(each.record.size_bytes for each in members))
    return Markup(
        '<details class="fsm-group" open data-t="{}" data-p="{}"><summary>{}'
        '<span class="fsm-sum">{}, {}</span></summary>{}</details>'
    ).format(
        " ".join(sorted({each.family for each in members})),
        " ".join(str(page) for page in sorted({each.page for each in members})),
        name,
        plural(len(members), "media"),
        size,
        _nested(members, inner),
    )


def _conversation(record: MediaRecord) -> str:
    name = visible(record.conversation_id, most=300)
    return f"Conversation {name}" if name else "No conversation"


def _run(record: MediaRecord) -> str:
    name = visible(record.run_id, most=300)
    return f"Run {name}" if name else "No run"


def _message(record: MediaRecord) -> str:
    return f"Message {record.message_idx}"


_LEVELS: dict[str | None, tuple[Callable[[MediaRecord], str], ...]] = {
    None: (),
    "conversation": (_conversation, _message),
    "run": (_run, _message),
    "message": (_message,),
}
