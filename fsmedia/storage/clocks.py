"""The storage's own clock: the time of an object that is written to look at it. Ages are judged by it alone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fsmedia.format import keys

if TYPE_CHECKING:
    from datetime import datetime

    from fsmedia.storage import Backend

_log = logging.getLogger("fsmedia.retention")


def storage_time(backend: Backend) -> datetime | None:
    """Return what time it is for the storage, aware; None where it tells no times. Leaves nothing behind."""
    key = keys.probe_key()
    backend.write(key, b"", "application/octet-stream")
    entry = backend.head(key)
    for error in backend.delete([key]).values():
        _log.warning("%s", error)
    return None if entry is None else entry.modified
