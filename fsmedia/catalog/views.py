"""Views over a catalog: trees of folders and names, made once, for one store and any number of threads.

Two media that would have the same path both get a mark made of their reference, so neither takes the other's path.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from hashlib import sha256
from itertools import repeat
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fsmedia.catalog import Catalog, snapshots
from fsmedia.catalog.refresh import refresh
from fsmedia.catalog.schema import arrow
from fsmedia.format import keys
from fsmedia.format.keys import MAX_NAME
from fsmedia.format.layout import View, split_file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Backend, Entry

FOLDER: Final = -1  # what stands in a tree where a folder is; a media is its row's number
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNKNOWN = -(1 << 63)
_OCTETS = "application/octet-stream"
_SHARED = -2
_MARK_DIGITS = 8
_MORE_DIGITS = 64
_INSTANTS: Final = frozenset({"timestamp", "modified"})
_NOTHING = timedelta(0)


class ViewTrees:
    """The trees of one store; safe with any number of threads.

    `load` gives the rows of now, and may hand out those it gave before if nothing changed. `max_age` is how old what is
    shown may be: 0 looks each time, None never looks again. Where looking takes longer than that, what was found will
    do for as long as it took.
    """

    def __init__(self, load: Callable[[], LoadedRows], max_age: timedelta | None, now: Callable[[], datetime]) -> None:
        self._load = load
        self._max_age = max_age
        self._now = now
        self._made: _TreeCache | None = None
        self._loading = Lock()
        self._planting = Lock()

    def tree(self, view: View) -> Tree:
        """Return the tree of a view."""
        made = self._current()
        if view not in made.trees:
            with self._planting:
                if view not in made.trees:
                    made.trees[view] = Tree(view, made.rows)
        return made.trees[view]

    def _current(self) -> _TreeCache:
        made = self._made
        if made is not None and self._is_fresh(made):
            return made
        # What may not be old at all, and what was never looked at, is waited for.
        if not self._loading.acquire(blocking=made is None or self._max_age == _NOTHING):
            return made  # type: ignore[return-value] # - it is there, or this had waited
        try:
            made = self._made
            if made is None or not self._is_fresh(made):
                begun = self._now()
                rows, since = self._load()
                trees = made.trees if made is not None and made.rows is rows else {}
                age = self._max_age
                until = None if age is None else max(since + age, (ended := self._now()) + (ended - begun))
                self._made = made = _TreeCache(rows, begun, until, trees)
            return made
        finally:
            self._loading.release()

    def _is_fresh(self, made: _TreeCache) -> bool:
        if made.until is None:
            return True
        # A clock that was set back must not keep the old for ever.
        return self._max_age != _NOTHING and made.begun <= self._now() <= made.until


class _TreeCache(NamedTuple):
    """Rows, from when until when they are fresh enough, and the trees over them by view."""

    rows: CatalogRows
    begun: datetime
    until: datetime | None
    trees: dict[View, Tree]


class LoadedRows(NamedTuple):
    """Rows, and when the listing began that they show."""

    rows: CatalogRows
    since: datetime


@dataclass
class RowsLoader:
    """Loads the rows of a store, anew at each call; one call at a time.

    A snapshot that is at most `max_age` old is taken as it is; None takes any.
    """

    _backend: Backend
    _configuration: Callable[[], Configuration]
    _max_age: timedelta | None
    _now: Callable[[], datetime]
    _newest: str | None = None
    _catalog: Catalog | None = None
    _rows: CatalogRows | None = None

    def __call__(self) -> LoadedRows:
        """Return the rows of now; the same object as before if they are the same."""
        arrow()
        now = self._now()
        before = self._catalog
        found = self._later(before)
        if found is None or not self._is_fresh(found, now):
            previous = None if found is None else found.to_arrow()
            found = Catalog(refresh(self._backend, self._configuration(), previous, now=now).table)
        same = before is not None and before.to_arrow().equals(found.to_arrow())
        if self._rows is None or not same:
            self._rows = CatalogRows(partial(_column, found.to_arrow()))
        self._catalog = found
        return LoadedRows(self._rows, found.refreshed_at)

    def _later(self, before: Catalog | None) -> Catalog | None:
        """Return the newest snapshot if it is newer than what was loaded before, else that."""
        entries = snapshots.names(self._backend)
        if not entries or entries[-1].key == self._newest:
            return before
        self._newest = entries[-1].key
        found = snapshots.newest(self._backend, entries, tolerant=True)
        if found is None or (before is not None and found.header.refreshed_at <= before.refreshed_at):
            return before
        return Catalog(found.table)

    def _is_fresh(self, found: Catalog, now: datetime) -> bool:
        if self._max_age is None:
            return True
        return self._max_age > _NOTHING and _NOTHING <= now - found.refreshed_at <= self._max_age


def _column(table: Any, name: str) -> list[Any]:
    column = table.column(name)
    values: list[Any] = (column.cast("int64") if name in _INSTANTS else column).to_pylist()
    return values


class Tree:
    """One view of all rows. Paths are below the view's own folder; that folder is the empty path."""

    def __init__(self, view: View, rows: CatalogRows) -> None:
        self.rows = rows
        self._folders: dict[str, dict[str, int]] = {"": {}}
        self._place(view, self._place_own(view.name))

    def find(self, path: str) -> int | None:
        """Return what is at a path: a row's number, `FOLDER`, or None."""
        if path in self._folders:
            return FOLDER
        folder, slash, name = path.rpartition("/")
        found = self._folders.get(folder, {}).get(name, _SHARED) if folder or not slash else _SHARED
        return None if found == _SHARED or self.rows.is_gone(found) else found

    def children(self, folder: str) -> Iterator[tuple[str, int]]:
        """Give the names in a folder, and what each is."""
        for name, found in self._folders[folder].items():
            if found != _SHARED and not self.rows.is_gone(found):
                yield name, found

    def below(self, folder: str, depth: int | None) -> Iterator[tuple[str, int]]:
        """Give all paths below a folder, in no order, to a depth from 1 if one is given, and what each is."""
        waiting = [(folder, depth)]
        while waiting:
            folder, left = waiting.pop()
            for name, found in self.children(folder):
                path = f"{folder}/{name}" if folder else name
                yield path, found
                if found == FOLDER and left != 1:
                    waiting.append((path, None if left is None else left - 1))

    # -- making --------------------------------------------------------------------------------------------

    def _place_own(self, name: str) -> range:
        """Place media that really lie in a folder of the view's name at their own paths, and return their rows.

        So a path that is a reference means that media and no other.
        """
        begin = f"{name}/"
        references = self.rows.references
        own = range(bisect_left(references, begin), bisect_left(references, f"{name}0"))  # "0" follows "/"
        for index in own:
            folder, _, file = references[index][len(begin) :].rpartition("/")
            self._folder(folder.split("/") if folder else ())[file] = index
        return own

    def _place(self, view: View, own: range) -> None:
        rows = self.rows
        made: dict[tuple[object, ...], dict[str, int]] = {}
        given: Iterable[tuple[object, ...]] = repeat((), len(rows))
        if view.fields:
            given = zip(*(_values(view, rows, name) for name in view.fields), strict=True)
        times = view.fields.index("timestamp") if "timestamp" in view.fields else None
        for index, values in enumerate(given):
            if index in own:
                continue
            if values not in made:
                known = values
                if times is not None:
                    known = (*values[:times], instant(values[times]), *values[times + 1 :])  # type: ignore[arg-type] # - microseconds
                made[values] = self._folder(view.folders(known))
            children, name = made[values], rows.names[index]
            if name in children:
                self._place_apart(children, name, index, own)
            else:
                children[name] = index

    def _place_apart(self, children: dict[str, int], name: str, index: int, own: range) -> None:
        """Place a media whose name is taken; the one that took it moves away too, unless it really lies there."""
        first = children[name]
        apart = [index]
        if first >= 0 and first not in own:
            children[name] = _SHARED
            apart = [first, index]
        for each in apart:
            reference = self.rows.references[each]
            marked = _marked(name, reference, _MARK_DIGITS)
            while marked in children:  # somebody chose such a name
                name = f"~{name}"
                marked = _marked(name, reference, _MORE_DIGITS)
            children[marked] = each

    def _folder(self, parts: Sequence[str]) -> dict[str, int]:
        """Return the names in a folder, which is made if it is not there."""
        if (found := self._folders.get("/".join(parts))) is not None:
            return found
        path, here = "", self._folders[""]
        for part in parts:
            name = part
            while here.get(name, FOLDER) != FOLDER:
                name += "~"  # a file that really lies there has the name
            here[name] = FOLDER
            path = f"{path}/{name}" if path else name
            here = self._folders.setdefault(path, {})
        return here


def _values(view: View, rows: CatalogRows, name: str) -> Sequence[object]:
    values = rows.values(name)
    if name != "timestamp":
        return values
    step = view.finest * 1_000_000  # all media of one day share a folder, and the work for it
    return [None if value is None else value // step * step for value in values]


def _marked(name: str, reference: str, digits: int) -> str:
    """Return a name with a mark before its extension, no longer than a disk takes."""
    mark = f"~{sha256(reference.encode(errors='surrogatepass')).hexdigest()[:digits]}"
    stem, ext = split_file_name(name)
    room = MAX_NAME - len(mark) - len(ext.encode(errors="surrogatepass"))
    if room < 1:
        stem, ext, room = name, "", MAX_NAME - len(mark)
    if len(stem.encode(errors="surrogatepass")) > room:
        stem = stem.encode(errors="surrogatepass")[:room].decode(errors="ignore")
    return f"{stem}{mark}{ext}"


class CatalogRows:
    """Rows of a catalog, by number.

    A column comes by name, as a list with None where there is nothing: `reference`, `size_bytes`, `modified` and
    `timestamp` (both in microseconds since 1970), `mime_type`, `bytes_token`, and the fields of views.
    """

    def __init__(self, column: Callable[[str], Sequence[Any]]) -> None:
        self._column = column
        self.references: list[str] = list(column("reference"))
        # File names, without what a deduplicated name tells of its bytes.
        names = ((each, each.rpartition("/")[2]) for each in self.references)
        self.names = [keys.file_name(each) if len(name) >= keys.SHORTEST else name for each, name in names]
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self.references)

    def values(self, name: str) -> Sequence[Any]:
        """Return a column."""
        return self._column(name)

    def summary(self, index: int) -> MediaSummary:
        """Return a media as the catalog shows it."""
        modified = instant(self._modified[index])
        return MediaSummary(self.references[index], self._sizes[index], modified, self._types[index])

    @cached_property
    def _sizes(self) -> array[int]:
        return array("q", [value or 0 for value in self._column("size_bytes")])

    @cached_property
    def _modified(self) -> array[int]:
        return array("q", [_UNKNOWN if value is None else value for value in self._column("modified")])

    @cached_property
    def _types(self) -> list[str]:
        known: dict[str, str] = {}  # of many media few types
        return [known.setdefault(value or _OCTETS, value or _OCTETS) for value in self._column("mime_type")]

    @cached_property
    def _tokens(self) -> list[str | None]:
        return list(self._column("bytes_token"))

    def is_as_shown(self, index: int, entry: Entry) -> bool:
        """Tell whether bytes are still those of the catalog, by token, size and time."""
        summary, token = self.summary(index), self._tokens[index]
        if token is not None and entry.token is not None:
            etag = entry.token.replace('"', "")  # some servers quote it in one answer and not in another
            return summary.size == entry.size and token.replace('"', "").startswith(f"{etag}-")
        seen, now = summary.modified, entry.modified
        if seen is not None and now is not None and not (seen.microsecond and now.microsecond):
            seen, now = seen.replace(microsecond=0), now.replace(microsecond=0)  # one was told in whole seconds
        return (summary.size, seen) == (entry.size, now)

    def is_gone(self, index: int) -> bool:
        """Tell whether a media was not found any more."""
        return index in self._gone

    def forget(self, index: int) -> None:
        """Show a media no more: it was not found."""
        self._gone.add(index)

    def renew(self, index: int, size: int, modified: datetime | None = None) -> None:
        """Show what a media is now: other bytes took its name. Without a time the old one stays."""
        self._sizes[index] = size
        if modified is not None:
            self._modified[index] = (modified - _EPOCH) // timedelta(microseconds=1)
            self._tokens[index] = None


class MediaSummary(NamedTuple):
    """A media as the catalog shows it; `modified` is aware, None where the storage does not say."""

    reference: str
    size: int
    modified: datetime | None
    mime_type: str


def instant(microseconds: int | None) -> datetime | None:
    """Return an instant of a column; None where there is none, or none that a datetime can hold."""
    if microseconds is None or microseconds == _UNKNOWN:
        return None
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
