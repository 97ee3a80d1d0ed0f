"""The summary of a store that a notebook shows: what it is, how much lies in it, what goes soon, what was saved.

It must cost little however much there is: a bounded number of listed names, and no sidecar is read. What was not
listed is said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING

from markupsafe import Markup

from fsmedia.core import records
from fsmedia.display.html import joined, style, table
from fsmedia.format import keys
from fsmedia.models import mime
from fsmedia.models.text import plural, size_text, visible
from fsmedia.storage.listing import NestedStores

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Backend, Entry

MOST_LISTED = 10_000
"""Names that are listed for a summary: 10 requests on an object store."""
SOON = timedelta(hours=24)
"""What expires within it is counted, by the days of the due index."""

_MOST_DUE = 2_000
_MOST_TYPES = 8


def summary_html(
    backend: Backend, configuration: Configuration, now: datetime, *, settled: bool, read_only: bool
) -> str:
    """Return the summary of a store; if it can't be listed, that and why."""
    summary = summarize(backend, configuration, now)
    count, size = sum(summary.counts.values()), sum(summary.sizes.values())
    least = "at least " if summary.cut else ""
    words = [str(configuration.organization)]
    words.append("deduplicated" if configuration.deduplicate else "each media with its own bytes")
    if read_only:
        words.append("read-only")
    if not settled:
        words.append("no store was made here yet")
    facts: list[tuple[object, object]] = [
        ("media", f"{least}{count:,} in {plural(summary.folders, 'folder')}"),
        ("bytes", f"{least}{size_text(size)}"),
    ]
    if configuration.deduplicate:
        facts.append(("saved by sharing", f"{least}{size_text(summary.shared)}"))
    if configuration.due_index == "complete":
        facts.append(("expire within a day", f"{'at least ' if summary.soon_cut else ''}{summary.soon:,}"))
    else:
        facts.append(("expiring", "not known without reading all sidecars: the due index is partial"))
    if configuration.default_policy:
        facts.append(("default policy", visible(configuration.default_policy)))
    notice = Markup('<p class="fsm-note">Only the first {} names were listed.</p>').format(f"{MOST_LISTED:,}")
    return str(
        Markup(
            '<div class="fsm">{}<div class="fsm-head"><h2>{}</h2><span class="fsm-total">{}</span>{}</div>'
            '<div class="fsm-side">{}{}</div></div>'
        ).format(
            style(),
            visible(backend.url, most=300),
            " \u00b7 ".join(words),
            notice if summary.cut else "",
            _facts(facts),
            _types(summary) if count else "",
        )
    )


def failed_html(url: str, problem: str) -> str:
    """Return what is shown of a store that can't be looked at."""
    return str(
        Markup('<div class="fsm">{}<div class="fsm-head"><h2>{}</h2><p class="fsm-note">{}</p></div></div>').format(
            style(), visible(url, most=300), visible(problem)
        )
    )


@dataclass
class Summary:
    """Numbers about a store, as far as a bounded listing tells.

    Attributes
    ----------
    counts, sizes
        Media and bytes by type, as names tell it.
    shared
        Bytes that sharing spares.
    soon
        Media that expire within a day, or did.
    cut, soon_cut
        Whether listing stopped before the end.
    """

    counts: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    folders: int = 0
    shared: int = 0
    soon: int = 0
    cut: bool = False
    soon_cut: bool = False


def summarize(backend: Backend, configuration: Configuration, now: datetime) -> Summary:
    """Count what lies in a store, as far as a bounded listing tells."""
    found = Summary()
    listing = _BoundedListing(_media_keys(backend))
    seen: set[str] = set()
    folders: set[str] = set()
    for item in records.listed(listing):
        kind = mime.guess_from_name(item.entry.key) or "unknown type"
        found.counts[kind] += 1
        found.sizes[kind] += item.entry.size
        folders.add(item.entry.key.rpartition("/")[0])
        if keys.pointer_of(item.entry.key) is not None:
            place = keys.bytes_key(item.entry.key)
            found.shared += item.entry.size if place in seen else 0
            seen.add(place)
    found.cut, found.folders = listing.cut, len(folders)
    if configuration.due_index == "complete":
        due = _BoundedListing(_due_keys(backend, now), _MOST_DUE)
        found.soon = sum(_goes_soon(entry, now) for entry in due)
        found.soon_cut = due.cut
    return found


class _BoundedListing:
    """The first entries of a listing, and whether there were more."""

    def __init__(self, entries: Iterator[Entry], most: int = MOST_LISTED) -> None:
        self._entries = entries
        self._left = most
        self.cut = False

    def __iter__(self) -> Iterator[Entry]:
        return self

    def __next__(self) -> Entry:
        entry = next(self._entries)
        if self._left == 0:
            self.cut = True
            raise StopIteration
        self._left -= 1
        return entry


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


def _goes_soon(entry: Entry, now: datetime) -> bool:
    due = keys.parse_due(entry.key)
    return due is not None and due.minute <= now + SOON


def _facts(facts: list[tuple[object, object]]) -> Markup:
    rows = joined(Markup('<tr><th scope="row">{}</th><td>{}</td></tr>').format(*fact) for fact in facts)
    return Markup('<div class="fsm-scroll"><table><tbody>{}</tbody></table></div>').format(rows)


def _types(summary: Summary) -> Markup:
    """Return bytes by type, the most first, each with a bar."""
    largest = max(summary.sizes.values()) or 1
    rows = []
    for kind, size in summary.sizes.most_common(_MOST_TYPES):
        bar = Markup('<span class="fsm-bar" style="width:{}px" aria-hidden="true"></span>').format(
            120 * size // largest
        )
        rows.append((visible(kind, most=80), f"{summary.counts[kind]:,}", size_text(size), bar))
    others = len(summary.sizes) - _MOST_TYPES
    more = Markup('<p class="fsm-total">and {}</p>').format(plural(others, "other type")) if others > 0 else Markup("")
    return Markup("<div>{}</div>").format(joined([table(("type", "media", "bytes", ""), rows, right=(1, 2)), more]))
