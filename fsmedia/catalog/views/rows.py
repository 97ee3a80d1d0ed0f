"""The media that views show: references in order, and of each what a listing tells. Columns are asked for when needed.

Media that turned out to be gone, or to be others by now, are marked here, so that every view knows it at once.
"""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fsmedia.storage import Entry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNKNOWN = -(1 << 63)
_OCTETS = "application/octet-stream"


class Facts(NamedTuple):
    """What is known of a media without a look at the storage.

    Attributes
    ----------
    size
        Bytes.
    modified
        When its bytes were written, aware; None where the storage does not say.
    """

    reference: str
    size: int
    modified: datetime | None
    mime_type: str


class Rows:
    """All media of a store at one time.

    Parameters
    ----------
    column
        Gives a column by name, as a list with None where there is nothing: `reference`, `size_bytes`, `modified` and
        `timestamp` (both in microseconds since 1970), `mime_type`, `bytes_token`, and the fields of views.
    """

    def __init__(self, column: Callable[[str], Sequence[Any]]) -> None:
        self._column = column
        self.references: list[str] = list(column("reference"))
        self.names: list[str] = [_short(reference) for reference in self.references]
        """File names, without what a deduplicated name tells of its bytes."""
        self._gone: set[int] = set()
        self._sizes: array[int] | None = None
        self._modified: array[int] | None = None
        self._types: list[str] | None = None
        self._tokens: list[str | None] | None = None

    def __len__(self) -> int:
        return len(self.references)

    def values(self, name: str) -> Sequence[Any]:
        """Return a column."""
        return self._column(name)

    def facts(self, index: int) -> Facts:
        """Return what is known of a media."""
        if self._sizes is None or self._modified is None or self._types is None:
            self._sizes = array("q", [value or 0 for value in self._column("size_bytes")])
            modified = self._column("modified")
            self._modified = array("q", [_UNKNOWN if value is None else value for value in modified])
            known: dict[str, str] = {}  # of many media few types
            self._types = [known.setdefault(value or _OCTETS, value or _OCTETS) for value in self._column("mime_type")]
        return Facts(self.references[index], self._sizes[index], instant(self._modified[index]), self._types[index])

    def is_as_shown(self, index: int, entry: Entry) -> bool:
        """Tell whether bytes are those that the catalog saw, by all that a look at them tells."""
        facts = self.facts(index)
        if self._tokens is None:
            self._tokens = list(self._column("bytes_token"))
        token = self._tokens[index]
        if token is not None and entry.token is not None:
            etag = entry.token.replace('"', "")  # some servers quote it in one answer and not in another
            return facts.size == entry.size and token.replace('"', "").startswith(f"{etag}-")
        seen, now = facts.modified, entry.modified
        if seen is not None and now is not None and not (seen.microsecond and now.microsecond):
            seen, now = seen.replace(microsecond=0), now.replace(microsecond=0)  # one was told in whole seconds
        return (facts.size, seen) == (entry.size, now)

    def is_gone(self, index: int) -> bool:
        """Tell whether a media was not found any more."""
        return index in self._gone

    def forget(self, index: int) -> None:
        """Show a media no more: it was not found."""
        self._gone.add(index)

    def renew(self, index: int, size: int, modified: datetime | None = None) -> None:
        """Show what a media is now: other bytes took its name. Without a time the old one stays."""
        self.facts(index)
        if self._sizes is not None and self._modified is not None:
            self._sizes[index] = size
            if modified is not None:
                self._modified[index] = (modified - _EPOCH) // timedelta(microseconds=1)
                if self._tokens is not None:
                    self._tokens[index] = None


def instant(microseconds: int | None) -> datetime | None:
    """Return an instant of a column; None where there is none, or none that a datetime can hold."""
    if microseconds is None or microseconds == _UNKNOWN:
        return None
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None


def _short(reference: str) -> str:
    name = reference.rpartition("/")[2]
    return keys.file_name(reference) if len(name) >= keys.SHORTEST else name
