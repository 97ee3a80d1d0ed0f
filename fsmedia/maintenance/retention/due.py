"""Reading the due index: the entries of minutes that are past, found by listing past folders and no others.

Idle, that is three listings: the days, the hours of today, the minutes of this hour. What lies in the future is not
looked at, however much it is.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.core import records
from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from fsmedia.storage import Backend


class Candidate(NamedTuple):
    """A media that may be due.

    Attributes
    ----------
    due_key
        Its entry in the due index; None if its sidecar was met in a walk.
    written
        When the entry, or the media's bytes, were written, by the storage's clock; None where that is unknown.
    """

    reference: str
    due_key: str | None
    written: datetime | None


def due_entries(backend: Backend, now: datetime) -> Iterator[Candidate]:
    """Give the entries of all minutes up to an instant, in no particular order."""
    day, hour, minute = keys.due_folders(now)
    past = chain(
        _before(backend, keys.DUE, day),
        _before(backend, day, hour),
        _before(backend, hour, minute, including=True),
    )
    for folder in past:
        for entry in backend.entries(folder):
            found = keys.parse_due(entry.key)
            if found is not None:
                yield Candidate(found.reference, entry.key, entry.modified)


def media_with_sidecar(backend: Backend) -> Iterator[Candidate]:
    """Give every media that has a sidecar, by one walk over the store."""
    for item in records.listed(backend.entries()):
        if item.has_sidecar and records.is_reference(item.entry.key):
            yield Candidate(item.entry.key, None, item.entry.modified)


def _before(backend: Backend, folder: str, limit: str, *, including: bool = False) -> list[str]:
    """List the folders in one whose names are lower; a level is only listed when the one above was gone through."""
    found = backend.children(folder, until=limit).folders
    return sorted(each for each in found if each < limit or (including and each == limit))
