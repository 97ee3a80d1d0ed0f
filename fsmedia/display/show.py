"""Galleries and comparisons of a store: the media of a selection, and a preview of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.core.records import StoredFacts
from fsmedia.display.comparison import Comparison, check_runs
from fsmedia.display.gallery import Gallery, check_group
from fsmedia.display.items import check_limit, select_items
from fsmedia.display.previewer import Previewer, PreviewRequest, side_for
from fsmedia.models.selection import Selection
from fsmedia.models.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from fsmedia.display.comparison import By
    from fsmedia.display.gallery import GroupBy
    from fsmedia.display.items import GalleryItem, Sort
    from fsmedia.display.previewer import Preview, Progress
    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Backend

_TITLES = (
    ("run_id", "Run"), ("conversation_id", "conversation"), ("session_id", "session"), ("provider_id", "provider"),
    ("mime_type", "type"), ("policy_name", "policy"), ("since", "since"), ("until", "until"),
    ("expires_before", "expires before"),
)  # fmt: skip


def gallery_of(
    backend: Backend,
    configuration: Configuration,
    selection: Selection,
    *,
    group_by: GroupBy | None,
    sort: Sort,
    limit: int,
    now: datetime,
    progress: Progress,
    verify_reads: bool,
) -> Gallery:
    """Return a gallery of a selection."""
    check_group(group_by)
    items, totals = select_items(backend, configuration, selection, limit=limit, sort=sort)
    return Gallery(
        title=_title(selection, backend.url),
        items=items,
        previews=_previews(backend, items, progress, verify_reads=verify_reads),
        totals=totals,
        group_by=group_by,
        now=now,
    )


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
    runs = check_runs(run_ids, by)
    check_limit(limit)
    found = {
        run: select_items(backend, configuration, Selection(run_id=run), limit=limit, sort="position") for run in runs
    }
    together = [item for run in runs for item in found[run][0]]
    previews = iter(_previews(backend, together, progress, verify_reads=verify_reads))
    return Comparison(
        runs=runs,
        items={run: found[run][0] for run in runs},
        previews={run: [next(previews) for _ in found[run][0]] for run in runs},
        totals={run: found[run][1] for run in runs},
        by=by,
        now=now,
    )


def _previews(backend: Backend, items: list[GalleryItem], progress: Progress, *, verify_reads: bool) -> list[Preview]:
    requests = []
    for item in items:
        entry, record = item.selected.entry, item.record
        facts = StoredFacts(entry.size, record.sha256) if verify_reads and record.sha256 else None
        requests.append(PreviewRequest(entry, record.detected_mime_type or record.mime_type, facts))
    return Previewer(backend, side_for(len(requests))).of(requests, progress)


def _title(selection: Selection, url: str) -> str:
    """Return a selection in words; the root where it has no conditions."""
    words = []
    for name, word in _TITLES:
        value = getattr(selection, name)
        if value is not None:
            words.append(f"{word} {visible(value) if isinstance(value, str) else f'{value:%Y-%m-%d %H:%M %Z}'}")
    title = ", ".join(words) or url
    return title[:1].upper() + title[1:] if words else title
