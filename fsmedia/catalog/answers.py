"""Answering `list` from the catalog: a row counts only while the listing shows the sidecar that it was made of."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from fsmedia.catalog import snapshots
from fsmedia.catalog.refresh import PreviousRows
from fsmedia.catalog.schema import settings_digest
from fsmedia.catalog.table import mask
from fsmedia.errors import MediaError

if TYPE_CHECKING:
    import pyarrow as pa

    from fsmedia.core.records import ListedItem
    from fsmedia.format.settings import Configuration
    from fsmedia.models.selection import Selection
    from fsmedia.storage import Backend

_WORTH: Final = {False: 4096, True: 64}
"""Sidecars after which a catalog is looked for, by whether the storage is asked over a network.

On a disk so many are read in the time that importing pyarrow takes."""

_log = logging.getLogger("fsmedia")


@dataclass(frozen=True, slots=True)
class CatalogAnswers:
    """Answers to a selection from the newest catalog; see `fsmedia.core.records.SelectionIndexLoader`."""

    backend: Backend
    configuration: Configuration
    selection: Selection

    @property
    def after(self) -> int:
        """Number of sidecars after which a catalog is looked for."""
        return _WORTH[self.backend.asynchronous]

    def load(self) -> RowAnswers | None:
        """Read the newest snapshot; None without pyarrow, without a catalog, or with one that can't be read."""
        if self.backend.in_one_process or find_spec("pyarrow") is None:
            return None  # memory tells no tokens, and is as fast
        try:
            found = snapshots.newest(self.backend, snapshots.names(self.backend), tolerant=True)
        except MediaError as error:
            _log.warning("listing without the catalog: %s", error)
            return None
        if found is None or found.header.settings != settings_digest(self.configuration):
            return None
        return RowAnswers(found.table, self.selection)


class RowAnswers:
    """Rows of a catalog, matched against a selection all at once."""

    def __init__(self, table: pa.Table, selection: Selection) -> None:
        self._before = PreviousRows(table)
        chunks = mask(table, selection).cast("uint8").chunks
        self._met = b"".join(
            memoryview(each.buffers()[1]).cast("B")[each.offset : each.offset + len(each)]
            for each in chunks
            if len(each)
        )

    def meets(self, item: ListedItem) -> bool | None:
        """Tell whether a media meets the selection; None: its sidecar or its bytes changed."""
        number = self._before.unchanged(item, _ANY_TIME)
        return None if number is None else bool(self._met[number])


_ANY_TIME = datetime.max.replace(tzinfo=UTC)
"""A row that has tokens was old enough when it was made, so what shows the same now is."""
