"""The summary of a store that a notebook shows: what it is, how much lies in it, what goes soon, what was saved.

It must cost little however much there is: a bounded number of listed names, and a few pictures. What was not listed is
said.
"""

from __future__ import annotations

import heapq
from collections import Counter
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING

from markupsafe import Markup

from fsmedia.core import records
from fsmedia.display.card import MOST_READ, SOFT, Seen, line, strip
from fsmedia.display.html import joined
from fsmedia.display.reports import beside, panel, table
from fsmedia.format import keys
from fsmedia.models import mime
from fsmedia.models.text import plural, shown_of, size_text, visible
from fsmedia.storage.listing import NestedStores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsmedia.format.settings import Configuration
    from fsmedia.models.base import Origin
    from fsmedia.storage import Backend, Entry

MOST_LISTED = 10_000  # names that are listed for a summary: 10 requests on an object store
SOON = timedelta(hours=24)  # what expires within it is counted, by the days of the due index
NEWEST = 6  # pictures of a summary

_MOST_DUE = 2_000
_MOST_TYPES = 8
_BAR = "display:inline-block;height:8px;border-radius:4px;background:#4a90d9"


def summary_html(origin: Origin, configuration: Configuration, now: datetime, *, settled: bool, read_only: bool) -> str:
    """Return the summary of a store; what is told of its media is from the names of a bounded listing.

    Below it stand the newest pictures among them: a read of each sidecar and, the first time, of each picture.
    """
    backend = origin.backend
    listed, cut = _first(_media_keys(backend), MOST_LISTED)
    counts, sizes = Counter[str](), Counter[str]()
    folders, places, shared, pictures = set(), set(), 0, []
    for item in records.listed(listed):
        key, size = item.entry.key, item.entry.size
        kind = mime.guess_from_name(key) or "unknown type"
        counts[kind] += 1
        sizes[kind] += size
        folders.add(key.rpartition("/")[0])
        if kind.startswith("image/") and item.has_sidecar and item.entry.modified and size <= MOST_READ // NEWEST:
            pictures.append(item.entry)
        if keys.pointer_of(key) is not None:
            place = keys.bytes_key(key)
            shared += size if place in places else 0
            places.add(place)
    least = "at least " if cut else ""
    facts = {
        "media": f"{least}{counts.total():,} in {plural(len(folders), 'folder')}",
        "bytes": f"{least}{size_text(sizes.total())}",
    }
    if configuration.deduplicate:
        facts["saved by sharing"] = f"{least}{size_text(shared)}"
    if configuration.due_index == "complete":
        due, due_cut = _first(_due_keys(backend, now), _MOST_DUE)
        parsed = (keys.parse_due(entry.key) for entry in due)
        soon = sum(each is not None and each.minute <= now + SOON for each in parsed)
        facts["expire within a day"] = f"{'at least ' if due_cut else ''}{soon:,}"
    else:
        facts["expiring"] = "not known without reading all sidecars: the due index is partial"
    if configuration.default_policy:
        facts["default policy"] = visible(configuration.default_policy)
    words = [
        str(configuration.organization),
        "deduplicated" if configuration.deduplicate else "each media with its own bytes",
        "read-only" if read_only else "",
        "" if settled else "no store was made here yet",
    ]
    newest = heapq.nlargest(NEWEST, pictures, key=lambda entry: (entry.modified, entry.key))
    tables = [table((), facts.items()), *([_types(counts, sizes)] if counts else [])]
    seen = strip(origin, [Seen(entry.key) for entry in newest], newest)
    notes = [f"Only the first {MOST_LISTED:,} names were listed." if cut else ""]
    told = ", ".join(filter(None, words))
    return str(panel(backend.url, told, notes, joined([beside(tables), seen])))


def failed_html(url: str, problem: str) -> str:
    """Return what is shown of a store that can't be looked at."""
    return str(panel(url, "", [problem], Markup("")))


def _first(entries: Iterator[Entry], most: int) -> tuple[list[Entry], bool]:
    return list(islice(entries, most)), next(entries, None) is not None


def _media_keys(backend: Backend) -> Iterator[Entry]:
    """List all but what lies below `.fsmedia`, in the order of the keys within each folder of the root."""
    top, nested = backend.children(""), NestedStores()
    yield from sorted(top.entries)
    for folder in sorted(top.folders):
        if not keys.is_internal(folder):
            yield from nested.entries(backend, folder)


def _due_keys(backend: Backend, now: datetime) -> Iterator[Entry]:
    """List the due entries of past days, today and tomorrow."""
    last = keys.due_folders(now + SOON)[0]
    folders = (each for each in backend.children(keys.DUE, until=last).folders if each <= last)
    return chain.from_iterable(backend.entries(folder) for folder in sorted(folders))


def _types(counts: Counter[str], sizes: Counter[str]) -> Markup:
    """Return bytes by type, the most first, each with a bar."""
    largest = max(sizes.values()) or 1
    bar = Markup('<div style="{};width:{}px"></div>')
    shown = shown_of(len(sizes), _MOST_TYPES)
    rows = [
        (visible(kind, most=80), f"{counts[kind]:,}", size_text(size), bar.format(_BAR, 2 + 120 * size // largest))
        for kind, size in sizes.most_common(shown)
    ]
    others = len(sizes) - shown
    more = line(f"and {plural(others, 'other type')}" if others > 0 else "", SOFT)
    return joined([table(("type", "media", "bytes", ""), rows, right=(1, 2)), more])
