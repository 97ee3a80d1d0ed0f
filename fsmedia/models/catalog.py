"""What a refresh of the catalog did, and what a store holds in numbers."""

from __future__ import annotations

from datetime import timedelta

from fsmedia.models.base import Model


class CatalogRefresh(Model):
    """What one refresh of the catalog found and did."""

    media: int = 0
    """Rows that it shows now."""
    read: int = 0
    """Sidecars that were read: of new and changed media, and of those that were too young to be told apart."""
    removed: int = 0
    """Rows of before whose media are gone."""
    snapshot: str | None = None
    """Key of the snapshot with these rows; None: none was written, and none has them."""
    written: bool = False
    """Whether a new snapshot was written; without a change there is no need."""
    took: timedelta = timedelta(0)

    def __str__(self) -> str:
        wrote = "a new snapshot" if self.written else "nothing to write"
        return f"{self.media} media, {self.read} sidecars read, {self.removed} rows removed, {wrote}"
