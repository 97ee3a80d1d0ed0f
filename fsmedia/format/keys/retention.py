"""Keys of what retention keeps below `.fsmedia`: due entries, holds, records of what went and moved, the clock's probe.

A due entry's key alone says which media may go when: `due/<day>/<hour>/<minute>/<reference>`, the minute at or after
the instant. Sorted, the keys are in the order of time, so what is due is found by listing what is past.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple

from fsmedia.errors import InvalidReferenceError
from fsmedia.format.keys.forms import INTERNAL, new_unique, temporary_name
from fsmedia.format.keys.references import check_reference

DUE: Final = f"{INTERNAL}/due"
"""The folder of the due index."""
HOLDS: Final = f"{INTERNAL}/holds"
"""The folder of the holds."""
DELETIONS: Final = f"{INTERNAL}/deletions"
"""The folder of the records of deletions."""
REFERENCES: Final = f"{INTERNAL}/references"
"""The folder of the records of references that changed."""
ERASURES: Final = f"{INTERNAL}/erasures"
"""The folder of the journals of erasures that are under way, or died."""

_MINUTE = timedelta(minutes=1)
_ENTRY = re.compile(
    rf"{re.escape(DUE)}/([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})/([0-9]{{2}})/([0-9]{{2}})/(.+)", re.DOTALL
)


class Due(NamedTuple):
    """What a due entry's key says.

    Attributes
    ----------
    minute
        The media's `expires_at`, rounded up to a minute, in UTC.
    """

    minute: datetime
    reference: str


def due_minute(instant: datetime) -> datetime:
    """Return the minute at or after an aware instant, in UTC; the last one of the year 9999 stays that."""
    whole = instant.astimezone(UTC).replace(second=0, microsecond=0)
    try:
        return whole if whole == instant else whole + _MINUTE
    except OverflowError:
        return whole


def due_key(instant: datetime, reference: str) -> str:
    """Return the key of the entry that says: this media may go at that instant."""
    minute = due_minute(instant)
    return f"{DUE}/{minute.date().isoformat()}/{minute:%H/%M}/{reference}"


def parse_due(key: str) -> Due | None:
    """Read a due entry's key; None for anything else that lies there."""
    found = _ENTRY.fullmatch(key)
    if found is None:
        return None
    try:
        year, month, day, hour, minute = (int(part) for part in found.groups()[:5])
        return Due(datetime(year, month, day, hour, minute, tzinfo=UTC), check_reference(found[6]))
    except (ValueError, InvalidReferenceError):
        return None


def due_folders(now: datetime) -> tuple[str, str, str]:
    """Return the folders of the day, the hour and the minute that an aware instant lies in."""
    instant = now.astimezone(UTC)
    day = f"{DUE}/{instant.date().isoformat()}"
    return day, f"{day}/{instant:%H}", f"{day}/{instant:%H/%M}"


def hold_key(reference: str) -> str:
    """Return the key of a media's hold: of one length, whatever the reference is."""
    return f"{HOLDS}/{sha256(reference.encode()).hexdigest()}"


def deletions_key(now: datetime) -> str:
    """Return a fresh key for a record of deletions, JSON lines, sorted by time."""
    return _dated(DELETIONS, now)


def references_key(now: datetime) -> str:
    """Return a fresh key for a record of references that changed, JSON lines, sorted by time."""
    return _dated(REFERENCES, now)


def erasures_key(now: datetime) -> str:
    """Return a fresh key for what an erasure is about to delete, JSON lines; removed when it is done."""
    return _dated(ERASURES, now)


def _dated(folder: str, now: datetime) -> str:
    instant = now.astimezone(UTC)
    return f"{folder}/{instant.date().isoformat()}/{instant:%H%M%S}-{new_unique()}.jsonl"


def probe_key() -> str:
    """Return a fresh key for an object whose time tells the storage's clock; a temporary name, should it stay."""
    return f"{INTERNAL}/{temporary_name()}"
