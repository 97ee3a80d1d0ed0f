"""The rows of an earlier refresh, found again by a listing that goes through the store in the order of the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.catalog.rows import tokens

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from fsmedia.core.records import Listed

_WINDOW = 8192


class Before:
    """Rows sorted by reference; a window of them at a time is held as Python objects.

    Parameters
    ----------
    table
        A whole catalog, or the part of one that a listing will meet.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._references = table.column("reference")
        self._end = 0
        self._first = self._last = ""
        self._window: dict[str, tuple[int, str | None, str | None]] = {}

    def holds(self, item: Listed, before: datetime) -> int | None:
        """Return the row of a listed media if sidecar and bytes are what it was made of; else None.

        Parameters
        ----------
        before
            See `fsmedia.catalog.rows.token`.
        """
        row = self._find(item.entry.key)
        if row is None:
            return None
        number, *marks = row
        if None in marks or tuple(marks) != tokens(item, before):
            return None
        return number

    def marks(self, reference: str) -> tuple[str | None, str | None] | None:
        """Return the tokens of a media's row, sidecar's and bytes'; None if it has none."""
        row = self._find(reference)
        return None if row is None else (row[1], row[2])

    def _find(self, key: str) -> tuple[int, str | None, str | None] | None:
        if key > self._last and self._end < len(self.table):
            self._load(self._end)
            if key > self._last:
                self._load(self._bisect(key))
        elif key < self._first:
            self._load(self._bisect(key))  # the listing went back: to the folders after the root's own files
        return self._window.get(key)

    def _bisect(self, key: str) -> int:
        """Return the number of the first row at or after a key."""
        low, high = 0, len(self.table)
        while low < high:
            middle = (low + high) // 2
            if self._references[middle].as_py() < key:
                low = middle + 1
            else:
                high = middle
        return low

    def _load(self, start: int) -> None:
        part = self.table.slice(start, _WINDOW)
        if not len(part):
            return
        self._end = start + len(part)
        names = part.column("reference").to_pylist()
        marks = (part.column("sidecar_token").to_pylist(), part.column("bytes_token").to_pylist())
        self._window = {
            name: (start + offset, sidecar, data)
            for offset, (name, sidecar, data) in enumerate(zip(names, *marks, strict=True))
        }
        self._first, self._last = names[0], names[-1]

    def below(self, first: str, last: str | None = None) -> pa.Table:
        """Return the rows of media below a folder, or from the first to the last of several, in the order of keys."""
        start, end = self._bisect(f"{first}/"), self._bisect(f"{last or first}0")  # "0" follows "/"
        return self.table.slice(start, max(0, end - start))
