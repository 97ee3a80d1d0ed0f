"""The media of a gallery: one listing, and a sidecar each for those that are shown.

Nothing is read twice: a sidecar that selecting took is not asked for again.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from fsmedia.core import holds, records
from fsmedia.core.parallel import windows
from fsmedia.errors import CorruptSidecarError, InvalidMediaError
from fsmedia.format import keys
from fsmedia.storage.listing import NestedStores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fsmedia.core.records import SelectedItem
    from fsmedia.format.settings import Configuration
    from fsmedia.models import MediaRecord
    from fsmedia.models.selection import Selection
    from fsmedia.storage import Backend

Sort = Literal["position", "newest", "oldest", "largest"]
"""In the order of the keys (which is that of messages), by timestamp, or by size."""
MOST_COUNTED = 100_000  # media that are counted for a gallery's total; beyond it says "more than"
MOST_SHOWN = 2_000  # largest limit of a gallery: a page of more is no use
_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryItem:
    """A media of a gallery: what the listing said and what the store knows of it.

    Where something is wrong with its sidecar (`problem`), the record speaks by path alone.
    """

    record: MediaRecord
    selected: SelectedItem
    held: bool = False
    problem: str = ""


class Totals(NamedTuple):
    """How many media and bytes a selection has, shown or not; `more`: counting stopped before the end."""

    media: int
    size: int
    more: bool


def select_items(
    backend: Backend, configuration: Configuration, selection: Selection, *, limit: int, sort: Sort
) -> tuple[list[GalleryItem], Totals]:
    """Return the media to show, in order, and the totals of the whole selection."""
    check_limit(limit)
    if sort not in get_args(Sort):
        raise InvalidMediaError(f"unknown sort {sort!r}", next_step=f"use one of {', '.join(get_args(Sort))}")
    counts = Counter[str]()
    counter = _counted(records.selected(backend, configuration, selection, nested=NestedStores()), counts)
    if sort == "position":
        shown = list(_read(backend, configuration, islice(counter, limit)))
        deque(counter, maxlen=0)  # counts the rest
    elif sort == "largest":
        largest = heapq.nsmallest(limit, counter, key=lambda each: (-each.entry.size, each.entry.key))
        shown = list(_read(backend, configuration, largest))
    else:
        newest = sort == "newest"
        shown = heapq.nsmallest(
            limit,
            _read(backend, configuration, counter),
            key=lambda each: (_age(each.record, newest=newest), each.record.reference),
        )
    if shown and (held := holds.held(backend)):
        shown = [replace(each, held=keys.hold_key(each.record.reference) in held) for each in shown]
    return shown, Totals(counts["media"], counts["size"], bool(counts["more"]))


def check_limit(limit: object) -> None:
    """Check the number of media that a page is to show."""
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit <= MOST_SHOWN:
        raise InvalidMediaError(
            f"limit must be a number from 0 to {MOST_SHOWN:,}, not {limit!r}",
            next_step="narrow the selection to see others",
        )


def _read(backend: Backend, configuration: Configuration, chosen: Iterable[SelectedItem]) -> Iterator[GalleryItem]:
    """Read the sidecars that were not read yet, some at once; what was deleted meanwhile is left out."""
    for batch in windows(chosen, _BATCH):
        asked = [each.entry.key for each in batch if each.listed.has_sidecar and each.text is None]
        read = dict(zip(asked, records.read_sidecars(backend, asked), strict=True))
        for each in batch:
            data = read.get(each.entry.key, each.text)
            if data is None and each.listed.has_sidecar:
                continue
            problem = "its sidecar can't be read"
            try:
                if not isinstance(data, Exception):
                    record = records.record_of(records.StoredItem(each.entry, data), configuration)
                    yield GalleryItem(record=record, selected=each)
                    continue
            except CorruptSidecarError as error:
                problem = error.problem
            record = records.foreign_record(each.entry, configuration)
            yield GalleryItem(record=record, selected=each, problem=problem)


def _age(record: MediaRecord, *, newest: bool) -> float:
    """Return what sorts by time; what has none comes last."""
    if record.timestamp is None:
        return float("inf")
    return -record.timestamp.timestamp() if newest else record.timestamp.timestamp()


def _counted(found: Iterable[SelectedItem], counts: Counter[str]) -> Iterator[SelectedItem]:
    """Pass on what a listing gives, and count it."""
    for item in found:
        if counts["media"] >= MOST_COUNTED:
            counts["more"] = 1
            return
        counts["media"] += 1
        counts["size"] += item.entry.size
        yield item
