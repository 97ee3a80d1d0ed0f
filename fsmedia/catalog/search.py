"""What a page asks of a catalog: rows in an order, a piece at a time, their sums, and facets with counts.

A table is narrowed to a scope before anything is asked of it, so that no answer can tell of what lies outside.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.catalog.refresh import refresh
from fsmedia.catalog.schema import ATTRIBUTES, MIXED, AttributeColumns, TableHeader, arrow, completed, schema
from fsmedia.catalog.snapshots import names, newest
from fsmedia.catalog.table import Catalog, mask
from fsmedia.core import holds
from fsmedia.errors import InvalidMediaError, MediaError
from fsmedia.format import keys
from fsmedia.models.attributes import read_conditions
from fsmedia.models.selection import Selection
from fsmedia.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.models import AttributeValue, MediaRecord
    from fsmedia.storage import Backend

FACETS = ("run_id", "conversation_id", "session_id", "mime_type", "policy_name", "provider_id")
"""Columns that are counted by value, before the attributes; they are also the words that may be given several times."""
_INSTANTS = ("since", "until", "expires_before")
_WORDS = (*FACETS, *_INSTANTS, "a", "q", "held")
_SEARCHED = ("reference", *FACETS[:4], "provider_id", "caption", "file_name", "xattrs")
_ORDERS = {
    "position": (), "newest": (("timestamp", "descending"),), "oldest": (("timestamp", "ascending"),),
    "largest": (("size_bytes", "descending"),),
}  # fmt: skip
_KINDS = {"int64": "number", "double": "number", "string": "text"}
_MOST_VALUES = 100  # of one word, and words of a search
_SCOPES = 256  # whose rows are kept
_KEPT = 16  # questions whose rows are kept: who scrolls asks the same again and again
_PATIENCE = 0.5  # seconds that are waited for a refresh under way, before older rows are shown
_YOUNG = 60.0  # seconds in which a snapshot that somebody wrote needs no refresh
_SHARE = 10  # a refresh is repeated after so many times as long as it took
_LONGEST = 600.0  # but after so many seconds in any case; so long an older state is told
_log = logging.getLogger("fsmedia")


@dataclass(frozen=True)
class Question:
    """Which rows are meant: of each word any of its values, all words of a text, held or not."""

    asked: frozenset[tuple[str, str]]
    conditions: Mapping[str, Sequence[Selection]] = field(compare=False)
    text: Sequence[str] = field(compare=False)
    held: bool | None = field(compare=False)

    @classmethod
    def read(cls, pairs: Iterable[tuple[str, str]]) -> Question:
        """Read the words of a URL: those of `MediaStore.list`, `a` for attributes and `q` for text.

        InvalidMediaError for a word that means nothing, or a value that it can't have.
        """
        pairs, values = list(pairs), defaultdict[str, list[str]](list)
        for name, value in pairs:
            values[name].append(value)
        for name, given in values.items():
            if name not in _WORDS:
                raise InvalidMediaError(f"unknown word {name!r}", next_step=f"use {', '.join(_WORDS)}")
            if len(given) > (1 if name in (*_INSTANTS, "held") else _MOST_VALUES):
                raise InvalidMediaError(f"{name} is given {len(given)} times")
        conditions = {
            name: [selection_of({name: _instant(name, each) if name in _INSTANTS else each}) for each in values[name]]
            for name in (*FACETS, *_INSTANTS)
            if name in values
        }
        try:
            attributes = read_conditions(values.get("a", ()))
        except ValueError as error:
            raise InvalidMediaError(str(error)) from None
        for name, wanted in attributes.items():
            conditions[f"{ATTRIBUTES}.{name}"] = [Selection(attributes={name: wanted})]
        text = [word for each in values.get("q", ()) for word in each.lower().split()][:_MOST_VALUES]
        held = next(iter(values.get("held", ())), None)
        if held not in (None, "true", "false"):
            raise InvalidMediaError("held is true or false")
        return cls(frozenset(pairs), conditions, text, None if held is None else held == "true")

    @property
    def selection(self) -> Selection:
        """What can be said as one selection, for a title."""
        words: dict[str, Any] = {}
        for found in (each[0] for each in self.conditions.values() if len(each) == 1):
            attributes = words.get(ATTRIBUTES, {}) | found.words.get(ATTRIBUTES, {})
            words |= {**found.words, ATTRIBUTES: attributes}
        return selection_of(words)


def selection_of(words: Mapping[str, Any]) -> Selection:
    """Return a selection of words that were read."""
    return Selection(**words)


def _instant(name: str, text: str) -> datetime:
    try:
        found = datetime.fromtimestamp(float(text), UTC) if text.replace(".", "").isdigit() else None
        found = found or datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise InvalidMediaError(f"{name} is no time", next_step="write 2026-03-04T05:06:07Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Facet(NamedTuple):
    """Values of a column with their numbers of rows, most first; a value None: rows that have none."""

    name: str
    kind: str
    values: list[tuple[AttributeValue | None, int]]
    others: int  # values that are not among them
    least: float | None = None
    most: float | None = None


class FoundItem(NamedTuple):
    """A media item by its row: its record, its bytes as they were listed, and what is wrong with its sidecar."""

    record: MediaRecord
    entry: Entry
    held: bool
    problem: str


class CatalogSearch:
    """Rows of a catalog that somebody may see; `held` are the keys of the store's holds."""

    def __init__(self, table: pa.Table, held: frozenset[str]) -> None:
        self.table, self.held = table, held
        self._text: Any = None
        self._found: dict[tuple[Question, str], tuple[pa.Array, int]] = {}

    def rows(self, question: Question, sort: str = "position") -> tuple[pa.Array, int]:
        """Return the numbers of the rows that are meant, in an order, and their bytes; what has no time comes last."""
        if sort not in _ORDERS:
            raise InvalidMediaError("unknown sort", next_step=f"use one of {', '.join(_ORDERS)}")
        kept = self._found.pop((question, sort), None)
        if kept is None:
            compute, met = arrow().compute, _all(self._parts(question).values())
            found = arrow().array(range(len(self.table)), "int64") if met is None else compute.indices_nonzero(met)
            if order := _ORDERS[sort]:
                ranked = self.table.select([order[0][0], "reference"]).take(found)
                by = [*order, ("reference", "ascending")]
                found = found.take(compute.sort_indices(ranked, sort_keys=by))
            # As decimals: sums of what strangers' names claim may exceed 64 bits.
            sizes = self.table.column("size_bytes").take(found).cast(arrow().decimal128(38, 0))
            kept = found, int(compute.sum(sizes).as_py() or 0)
        self._found[question, sort] = kept
        for old in list(self._found)[:-_KEPT]:
            self._found.pop(old, None)
        return kept

    def items(self, numbers: pa.Array | Sequence[int]) -> list[FoundItem]:
        """Return what the catalog knows of rows."""
        some = self.table.take(arrow().array(numbers, "int64"))
        columns = (some.column(name).to_pylist() for name in ("modified", "bytes_token", "problem"))
        return [
            FoundItem(
                record,
                # A token of a row is the storage's, and size and time behind it; None for what was too young.
                Entry(record.reference, record.size_bytes, modified, mark and mark.rsplit("-", 2)[0]),
                held=keys.hold_key(record.reference) in self.held,
                problem=problem or "",
            )
            for record, modified, mark, problem in zip(Catalog(some), *columns, strict=True)
        ]

    def facets(self, question: Question, top: int, *, only: str = "", find: str = "") -> Iterator[Facet]:
        """Count the values of each facet over what is meant without that facet's own word.

        `only` one facet, of whose values `find` is a part.
        """
        parts = self._parts(question)
        for name, kind, column in self._columns():
            if only in ("", name):
                met = _all(each for word, each in parts.items() if word != name)
                found = _counted(name, kind, column if met is None else column.filter(met), top, find)
                if found is not None:
                    yield found

    def positions(
        self, of_runs: Sequence[pa.Array], *, conversations: bool
    ) -> list[tuple[tuple[str, int, int], list[list[int]]]]:
        """Return conversation (empty where it does not count), message and part, in order, and the rows of each run."""
        found = defaultdict[tuple[str, int, int], list[list[int]]](lambda: [[] for _ in of_runs])
        for place, numbers in enumerate(of_runs):
            some = self.table.select(["conversation_id", "message_idx", "part_idx"]).take(numbers)
            columns = [column.to_pylist() for column in some.columns]
            for number, conversation, message, part in zip(numbers.to_pylist(), *columns, strict=True):
                found[(conversation or "") if conversations else "", message or 0, part or 0][place].append(number)
        return sorted(found.items())

    def _parts(self, question: Question) -> dict[str, Any]:
        """Return which rows meet each word."""
        compute, pa = arrow().compute, arrow()
        parts: dict[str, Any] = {
            name: reduce(compute.or_, (mask(self.table, each) for each in any_of))
            for name, any_of in question.conditions.items()
        }
        for number, word in enumerate(question.text):
            parts[f"q{number}"] = compute.match_substring(self._searched(), word)
        if question.held is not None:
            references = self.table.column("reference").to_pylist() if self.held else []
            held = [keys.hold_key(each) in self.held for each in references] or [False] * len(self.table)
            parts["held"] = pa.chunked_array([[each is question.held for each in held]], pa.bool_())
        return parts

    def _searched(self) -> Any:
        """Return all text of each row in lower case, made when the first search needs it."""
        if self._text is None:
            compute, columns = arrow().compute, [self.table.column(name) for name in _SEARCHED]
            self._text = compute.utf8_lower(
                compute.binary_join_element_wise(*columns, "\n", null_handling="skip").cast("large_string")
            )
        return self._text

    def _columns(self) -> Iterator[tuple[str, str, Any]]:
        compute = arrow().compute
        for name in FACETS:
            column = self.table.column(name)
            if name == "mime_type":  # without its parameters, as `mime.essence`
                first = compute.list_element(compute.split_pattern(column, ";", max_splits=1), 0)
                column = compute.utf8_lower(compute.utf8_trim_whitespace(first))
            yield name, "text", column
        columns = AttributeColumns.read(self.table.schema.metadata)
        for name, kind in ({} if columns is None else columns.kinds).items():
            yield f"{ATTRIBUTES}.{name}", kind, compute.struct_field(self.table.column(ATTRIBUTES), name)


def _shown(table: pa.Table) -> pa.Table:
    return table.drop_columns(["sidecar_token", "bytes_token"])


def _all(parts: Iterable[Any]) -> Any:
    """Return the rows that meet all parts; None for no parts."""
    met = list(parts)
    return reduce(arrow().compute.and_, met) if met else None


def _counted(name: str, kind: str, column: Any, top: int, find: str) -> Facet | None:
    """Count the values of a column; None where there are none."""
    pa, compute, missing = arrow(), arrow().compute, column.null_count
    least = most = None
    if kind == "list":
        # A text that stands twice in a list counts once.
        lists = column.combine_chunks()
        pairs = pa.table({"row": compute.list_parent_indices(lists), "value": compute.list_flatten(lists)})
        column = pairs.group_by(["row", "value"]).aggregate([]).column("value")
    values = column.drop_null()
    if not len(values):
        return None
    if kind in ("int64", "double"):
        least, most = (compute.min_max(values)[end].as_py() for end in ("min", "max"))
    counts = compute.value_counts(values)
    found = pa.table({"value": counts.field("values"), "count": counts.field("counts")})
    if find:
        found = found.filter(compute.match_substring(found.column("value").cast("string"), find, ignore_case=True))
    shown = found.sort_by([("count", "descending"), ("value", "ascending")]).slice(0, top)
    pairs = list(zip(*(each.to_pylist() for each in shown.columns), strict=True))
    if missing and not find:
        pairs.append((None, missing))
    return Facet(name, _KINDS.get(kind, kind), pairs, len(found) - len(shown), least, most)


class CatalogState:
    """The catalog of one instant, in memory, called by its version; and what each scope may see of it."""

    def __init__(self, table: pa.Table, held: frozenset[str]) -> None:
        self.version = token_hex(8)
        self.refreshed_at = TableHeader.read(table.schema.metadata).refreshed_at
        self.whole = CatalogSearch(table, held)
        self._lock = threading.Lock()
        self._scopes: dict[tuple[tuple[str, str], ...], CatalogSearch] = {}

    def within(self, scope: Selection) -> CatalogSearch:
        """Return the rows of a scope, whose words are all texts."""
        if not scope.asks():
            return self.whole
        name, table = tuple(sorted(scope.words.items())), self.whole.table
        with self._lock:
            found = self._scopes.pop(name, None)
            if found is not None:
                self._scopes[name] = found
                return found
        found = CatalogSearch(_narrowed(table, scope), self.whole.held)  # others do not wait for it
        with self._lock:
            self._scopes[name] = found
            # All that is kept is no larger than the catalog itself, and of scopes without a row there are not too many.
            while len(self._scopes) > 1 and (
                len(self._scopes) > _SCOPES or sum(len(each.table) for each in self._scopes.values()) > len(table)
            ):
                del self._scopes[next(iter(self._scopes))]
        return found


def _narrowed(table: pa.Table, scope: Selection) -> pa.Table:
    """Return the rows of a scope; which attributes have a column, and of what kind, is what they alone would have."""
    rows, header = table.filter(mask(table, scope)), TableHeader.read(table.schema.metadata)
    known = header.attributes
    if known is None or not (known.others or {MIXED, "double"} & {*known.kinds.values()}):
        return rows
    rows, columns = completed(rows.drop_columns([ATTRIBUTES]), schema().empty_table())
    return rows.replace_schema_metadata(header._replace(attributes=columns).dump())


class LiveCatalog:
    """The catalog of a store as others write to it: in memory, refreshed while it is asked; nothing is written."""

    def __init__(self, backend: Backend, settings_file: SettingsFile, now: Callable[[], datetime]) -> None:
        self._backend, self._settings_file, self._now = backend, settings_file, now
        self._states: list[CatalogState] = []
        self._due = self._begun = self._changed = 0.0  # by the monotonic clock
        self._expired = False
        self._refreshing, self._lock = threading.Lock(), threading.Lock()
        self._work: threading.Thread | None = None

    def state(self, version: str = "", *, wait: bool = False) -> CatalogState:
        """Return the state of that version while it is one of the two newest, else the newest.

        `wait` for one that shows all that was stored before the call.
        """
        # Who only looks never waits for the lock of a refresh under way, which may take minutes.
        if wait or not (self._states or self._loaded()):
            self._refresh(time.monotonic())
        elif self._expired or time.monotonic() >= self._due:
            with self._lock:
                if self._work is None or not self._work.is_alive():
                    self._work = threading.Thread(target=self._try_refresh, name="fsmedia-catalog", daemon=True)
                    self._work.start()
            self._work.join(0 if version else _PATIENCE)
        # What was erased is told no longer to who knows an older version.
        states = self._states if time.monotonic() - self._changed < _LONGEST else self._states[-1:]
        return next((each for each in states if each.version == version and not wait), states[-1])

    def expire(self) -> None:
        """Refresh when it is asked the next time."""
        self._expired = True

    def _loaded(self) -> bool:
        """Take the newest snapshot where nothing is in memory yet; False if there is none."""
        with self._refreshing:
            if not self._states and (found := newest(self._backend, names(self._backend), tolerant=True)) is not None:
                age = (self._now() - found.header.refreshed_at).total_seconds()
                self._due = time.monotonic() + (_YOUNG - age if 0 <= age < _YOUNG else 0)
                self._states.append(CatalogState(found.table, holds.held(self._backend)))
        return bool(self._states)

    def _try_refresh(self) -> None:
        try:
            self._refresh(time.monotonic())
        except MediaError as error:
            self._due = time.monotonic() + _YOUNG
            _log.warning("the catalog stays as it was: %s", error)

    def _refresh(self, asked: float) -> None:
        with self._refreshing:
            if self._begun > asked:
                return  # who waited for one that began later has all that it wanted
            begun, last = time.monotonic(), self._states[-1] if self._states else None
            self._expired = False  # before the listing, which may not show what is written from now on
            previous = None if last is None else last.whole.table
            made = refresh(self._backend, self._settings_file.refresh(), previous, now=self._now()).table
            held, took, self._begun = holds.held(self._backend), time.monotonic() - begun, begun
            self._due = time.monotonic() + min(max(1.0, _SHARE * took), _LONGEST)
            if last is not None and held == last.whole.held and _shown(made).equals(_shown(last.whole.table)):
                # The same rows, so their numbers are; what was too young has its tokens now.
                last.whole.table, last.refreshed_at = made, TableHeader.read(made.schema.metadata).refreshed_at
                return
            self._states, self._changed = [*self._states[-1:], CatalogState(made, held)], time.monotonic()
