"""Many keys in little memory: what a listing showed, struck off as media name it; what is left belongs to none.

A key costs some 100 bytes for its hash and what its text takes compressed, about a fifth to a half.
"""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fsmedia.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 512


class Ledger:
    """Entries of a listing, in its order, each known by a text that whoever names it can tell."""

    def __init__(self) -> None:
        self._struck: dict[int, bool] = {}
        self._chunks: list[bytes] = []
        self._open: list[tuple[int, str, int, float | None]] = []

    def __len__(self) -> int:
        return len(self._struck)

    def add(self, text: str, entry: Entry) -> None:
        """Take an entry down under a text."""
        name = hash(text)
        self._struck.setdefault(name, False)
        modified = None if entry.modified is None else entry.modified.timestamp()
        self._open.append((name, entry.key, entry.size, modified))
        if len(self._open) >= _CHUNK:
            # Names of a disk may hold what is no UTF-8; as ASCII with escapes they come back as they were.
            self._chunks.append(zlib.compress(json.dumps(self._open).encode(), 1))
            self._open = []

    def strike(self, text: str) -> bool:
        """Say that something names it; False if it was never taken down."""
        name = hash(text)
        if name not in self._struck:
            return False
        self._struck[name] = True
        return True

    def struck(self) -> Iterator[Entry]:
        """Give the entries that something names, in the order of the listing."""
        return self._entries(struck=True)

    def left(self) -> Iterator[Entry]:
        """Give the entries that nothing names."""
        return self._entries(struck=False)

    def _entries(self, *, struck: bool) -> Iterator[Entry]:
        if struck not in self._struck.values():
            return
        for rows in (*map(_read, self._chunks), self._open):
            for name, key, size, modified in rows:
                if self._struck[name] is struck:
                    yield Entry(key, size, None if modified is None else datetime.fromtimestamp(modified, UTC))


def _read(chunk: bytes) -> list[tuple[int, str, int, float | None]]:
    rows: list[tuple[int, str, int, float | None]] = json.loads(zlib.decompress(chunk))
    return rows
