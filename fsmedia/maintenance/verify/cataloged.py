"""Whether the catalog can be read and is in step, told by the same listing; bringing it up to date is its own room's.

A catalog that is behind is nothing wrong: whoever asks it brings it up to date. One that can't be read is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fsmedia.catalog import refreshed, snapshots
from fsmedia.catalog.before import Before
from fsmedia.catalog.rows import tokens
from fsmedia.core.records import Listed
from fsmedia.errors import MediaError, StoreConflictError
from fsmedia.format import keys
from fsmedia.storage import Entry

if TYPE_CHECKING:
    from datetime import datetime

    from fsmedia.core.settings_file import Founding
    from fsmedia.maintenance.verify.ground import Outcome
    from fsmedia.maintenance.verify.survey import Pair
    from fsmedia.storage import Backend


@dataclass(slots=True)
class CatalogWatch:
    """Compares a listing with the newest snapshot of the catalog; reads that once, when the first media is met.

    Attributes
    ----------
    entries
        The snapshots that the listing showed.
    young
        Objects written from then on may change and show the same.
    """

    backend: Backend
    founding: Founding
    young: datetime
    entries: list[Entry] = field(default_factory=list)
    _rows: Before | None = None
    _begun: bool = False
    _problem: str = ""
    _unreadable: bool = False
    _met: int = 0
    _differ: int = 0

    def meet(self, pair: Pair) -> None:
        """Compare a media with its row."""
        if not self._begun:
            self._begin()
        pointer = keys.pointer_of(pair.reference)
        is_media = pair.sidecar is not None and (pair.data is not None or pointer is not None)
        if self._rows is None or not (is_media or (pair.data is not None and not keys.is_own_name(pair.reference))):
            return
        row = self._rows.marks(pair.reference)
        if row is None:
            self._differ += 1
            return
        self._met += 1
        entry = pair.data
        if pointer is not None and pair.sidecar is not None:
            entry = Entry(pair.reference, pointer.size, pair.sidecar.modified, pointer.generation)
        if entry is not None and None not in row:
            now = tokens(Listed(entry, pair.sidecar), self.young)
            self._differ += None not in now and now != row

    def _begin(self) -> None:
        self._begun = True
        if not self.entries:
            return
        self.entries.sort()
        try:
            found = snapshots.newest(self.backend, self.entries)
        except StoreConflictError as error:
            self._problem = error.problem
        except MediaError as error:
            self._problem = f"it could not be looked at: {error.problem}"
        else:
            self._unreadable = found is None or not found.is_newest
            self._rows = None if found is None else Before(found.table)

    def tell(self, outcome: Outcome, *, repairs: bool, now: datetime) -> None:
        """Tell of the catalog, and bring it up to date where that is asked for."""
        if not self._begun:
            self._begin()
        if not self.entries:
            return
        key = self.entries[-1].key
        if self._problem:
            outcome.find("catalog", key, self._problem, harmless=True)
            return
        gone = 0 if self._rows is None else len(self._rows.table) - self._met
        if not (self._unreadable or gone or self._differ):
            return
        detail = (
            f"it is behind: {self._differ:,} media are new or changed, {gone:,} of its rows are of media that are gone"
        )
        if self._unreadable:
            detail = "the newest snapshot can't be read"
        if repairs:
            try:
                refreshed(self.backend, self.founding, now=now)
            except MediaError as error:
                outcome.fail(key, error)
                return
        outcome.find("catalog", key, detail, "brought up to date", done=repairs, harmless=not self._unreadable)
