"""fsspec's infos read as entries, whatever each filesystem calls its fields."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fsmedia.storage.port import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

_MODIFIED = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_TOKENS = ("ETag", "etag", "md5Hash", "ino")


def entry_of(key: str, info: Mapping[str, Any]) -> Entry:
    """Read an fsspec info, whatever the filesystem calls its fields."""
    token = next((str(info[name]) for name in _TOKENS if info.get(name)), None)
    modified = next((info[name] for name in _MODIFIED if info.get(name) is not None), None)
    return Entry(key, int(info.get("size") or 0), _instant(modified), token)


def _instant(value: Any) -> datetime | None:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, int | float):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            return None
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return None


def inline(filename: str) -> str:
    """Return a Content-Disposition that shows the bytes and names them, whatever characters the name holds."""
    return f"inline; filename*=UTF-8''{quote(filename, safe='')}"
