"""The media of a gallery: one listing, and a sidecar each for those that are shown; or the media of given references.

Nothing is read twice: a sidecar that selecting took is not asked for again.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass, replace
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from fsmedia.catalog import Catalog
from fsmedia.core import bulk, holds, records
from fsmedia.core.parallel import attempt, windows
from fsmedia.errors import CorruptSidecarError, InvalidMediaError, MediaError
from fsmedia.format import keys
from fsmedia.models.text import visible
from fsmedia.storage.listing import NestedStores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fsmedia.core.records import References, SelectedItem, StoredItem
    from fsmedia.format.settings import Configuration
    from fsmedia.models import MediaRecord
    from fsmedia.models.selection import Selection
    from fsmedia.storage import Backend, Entry

    Near = Callable[[list["GalleryItem"]], list[int | None]]  # how far away each is; None: too far

Sort = Literal["position", "newest", "oldest", "largest"]
"""In the order of the keys (which is that of messages) or of given references, by timestamp, or by size."""
MOST_COUNTED = 100_000  # media that are counted for a gallery's total; beyond it says "more than"
MOST_SHOWN = 2_000  # largest limit of a gallery: a page of more is no use
_BATCH = 64
_COMPARED = 512  # media whose pictures are compared together


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryItem:
    """A media of a gallery: what the storage said of its bytes and what the store knows of it.

    Where something is wrong with its sidecar (`problem`), the record speaks by path alone.
    """

    record: MediaRecord
    entry: Entry
    held: bool = False
    problem: str = ""


class Totals(NamedTuple):
    """How many media and bytes a selection has, shown or not; `more`: counting stopped before the end.

    Of given references that nobody looked at the bytes are not known: `size` is 0.
    """

    media: int
    size: int
    more: bool


def select_items(
    backend: Backend,
    configuration: Configuration,
    selection: Selection,
    *,
    limit: int,
    sort: Sort,
    near: Near | None = None,
) -> tuple[list[GalleryItem], Totals]:
    """Return the media to show, in order, and the totals of the whole selection; with `near` of those that are near."""
    _check(limit, sort)
    counts = Counter[str]()
    counter = _counted(records.selected(backend, configuration, selection, nested=NestedStores()), counts)
    if near is not None:
        found = _nearest(_read(backend, configuration, counter), near)
        shown, counts["media"] = found[:limit], len(found)
        counts["size"] = sum(each.entry.size for each in found)
    elif sort == "position":
        shown = list(_read(backend, configuration, islice(counter, limit)))
        deque(counter, maxlen=0)  # counts the rest
    elif sort == "largest":
        largest = heapq.nsmallest(limit, counter, key=lambda each: (-each.entry.size, each.entry.key))
        shown = list(_read(backend, configuration, largest))
    else:
        shown = _first(_read(backend, configuration, counter), sort, limit)
    if shown and (held := holds.held(backend)):
        shown = [replace(each, held=keys.hold_key(each.record.reference) in held) for each in shown]
    return shown, Totals(counts["media"], counts["size"], bool(counts["more"]))


def referenced_items(
    references: References,
    configuration: Configuration,
    wanted: Iterable[str],
    *,
    limit: int,
    sort: Sort,
    near: Near | None = None,
) -> tuple[list[GalleryItem], Totals]:
    """Return the media of given references to show, in order, and their totals; what is not there is an error.

    For the order in which they are given no more are looked at than are shown.
    """
    _check(limit, sort)
    wanted = list(dict.fromkeys(wanted))
    looked = wanted[:limit] if sort == "position" and near is None else wanted
    backend = references.backend

    def item(found: StoredItem) -> GalleryItem:
        return replace(item_of(found.entry, found.sidecar, configuration), held=found.hold is not None)

    def by_other_name(key: str) -> GalleryItem:
        return item(references.apply(key, lambda name: records.find(backend, name, with_hold=True)))

    answers = [
        attempt(by_other_name, key) if key and isinstance(found, MediaError) else attempt(item, found)
        for key, found in bulk.find(backend, looked, references.key, _BATCH, with_holds=True)
    ]
    if len(answers) == 1 and isinstance(answers[0], MediaError):
        raise answers[0]
    shown: list[GalleryItem] = bulk.collected(answers, "raise")
    if near is not None:
        shown = _nearest(shown, near)
        return shown[:limit], Totals(len(shown), sum(each.entry.size for each in shown), more=False)
    size = sum(each.entry.size for each in shown) if len(looked) == len(wanted) else 0
    return shown if sort == "position" else _first(shown, sort, limit), Totals(len(wanted), size, more=False)


def references_in(media: Any) -> list[str]:
    """Return the references that a caller gives: one, several, a catalog, or a table with a column of them."""
    table: Any = media.to_arrow() if isinstance(media, Catalog) else [media] if isinstance(media, str) else media
    names = getattr(table, "column_names", getattr(table, "columns", None))
    if names is not None and "reference" not in list(names):
        has = ", ".join(visible(str(name), most=60) for name in list(names)[:20])
        raise InvalidMediaError("the table has no column `reference`", next_step=f"it has {has or 'none'}")
    column = table if names is None else table["reference"]
    try:
        found = column.to_pylist() if hasattr(column, "to_pylist") else list(column)
    except TypeError:
        raise InvalidMediaError(
            f"{type(media).__name__} names no media",
            next_step="give references, a catalog, or a DataFrame with a column `reference`",
        ) from None
    for index, each in enumerate(found):
        if not isinstance(each, str):
            raise InvalidMediaError(
                f"reference {index} is of type {type(each).__name__}", next_step="each must be a str"
            )
    return found


def _check(limit: object, sort: object) -> None:
    check_limit(limit)
    if sort not in get_args(Sort):
        raise InvalidMediaError(f"unknown sort {sort!r}", next_step=f"use one of {', '.join(get_args(Sort))}")


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
            if data is not None or not each.listed.has_sidecar:
                yield item_of(each.entry, data, configuration)


def item_of(entry: Entry, data: bytes | MediaError | None, configuration: Configuration) -> GalleryItem:
    """Return a media by its sidecar, as it was read; by its path where that can't be."""
    problem = "its sidecar can't be read"
    try:
        if not isinstance(data, Exception):
            return GalleryItem(record=records.record_of(records.StoredItem(entry, data), configuration), entry=entry)
    except CorruptSidecarError as error:
        problem = error.problem
    return GalleryItem(record=records.foreign_record(entry, configuration), entry=entry, problem=problem)


def _nearest(items: Iterable[GalleryItem], near: Near) -> list[GalleryItem]:
    """Return the items that are near, the nearest first."""
    found = [
        (bits, item)
        for window in windows(items, _COMPARED)
        for bits, item in zip(near(window), window, strict=True)
        if bits is not None
    ]
    return [item for _, item in sorted(found, key=itemgetter(0))]


def _first(items: Iterable[GalleryItem], sort: Sort, limit: int) -> list[GalleryItem]:
    """Return so many items that come first in an order which is not that of their keys."""

    def rank(item: GalleryItem) -> tuple[float, str]:
        value = -item.entry.size if sort == "largest" else _age(item.record, newest=sort == "newest")
        return value, item.record.reference

    return heapq.nsmallest(limit, items, key=rank)


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
