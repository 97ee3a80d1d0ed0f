"""Keys of the catalog's snapshots: sorted, they are in the order of the listings they were made from."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

from fsmedia.format.keys.forms import INTERNAL, new_unique

CATALOG: Final = f"{INTERNAL}/catalog"
"""The folder of the catalog's snapshots."""

_SNAPSHOT = re.compile(
    rf"{re.escape(CATALOG)}/([0-9]{{4}})([0-9]{{2}})([0-9]{{2}})T([0-9]{{2}})([0-9]{{2}})([0-9]{{2}})([0-9]{{3}})Z"
    r"-(u[0-9a-z]{26})\.parquet"
)


class SnapshotKey(NamedTuple):
    """What a snapshot's key says.

    Attributes
    ----------
    time
        When the listing began that it was made from, by the clock of who made it, to the millisecond.
    unique
        Tells two of the same time apart.
    """

    time: datetime
    unique: str


def snapshot_key(instant: datetime) -> str:
    """Return a fresh key for a snapshot whose listing began at an aware instant."""
    time = instant.astimezone(UTC)
    day = time.date().isoformat().replace("-", "")
    return f"{CATALOG}/{day}T{time:%H%M%S}{time.microsecond // 1000:03d}Z-{new_unique()}.parquet"


def parse_snapshot(key: str) -> SnapshotKey | None:
    """Read a snapshot's key; None for anything else that lies there."""
    found = _SNAPSHOT.fullmatch(key)
    if found is None:
        return None
    *day, milliseconds = (int(part) for part in found.groups()[:7])
    try:
        return SnapshotKey(datetime(*day, milliseconds * 1000, tzinfo=UTC), found[8])  # type: ignore[arg-type,misc]
    except ValueError:
        return None
