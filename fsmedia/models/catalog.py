"""What a refresh of the catalog did, and what a store holds in numbers."""

from __future__ import annotations

from datetime import timedelta

from fsmedia.models.base import Model
from fsmedia.models.fields import Instant
from fsmedia.models.report import Report


class CatalogRefresh(Report):
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


class Tally(Model):
    """So many media, and the bytes they add up to."""

    name: str | None = None
    """Of the run, type, policy or age; None: media without one, or all."""
    media: int = 0
    bytes: int = 0
    """Sum of the sizes of all references, shared bytes as often as they are referred to."""


class StoreStatistics(Report):
    """What a store holds, in numbers, as its catalog shows it."""

    at: Instant
    """What ages and expiries are counted from."""
    refreshed_at: Instant
    """When the listing began that the catalog shows."""
    media: int = 0
    bytes: int = 0
    """Sum of the sizes of all references."""
    saved_bytes: int = 0
    """Bytes that deduplication saves: those of all references, minus those of the copies that lie in the store."""
    problems: int = 0
    """Media whose sidecar could not be read; what is said of them is from their paths."""
    by_run: tuple[Tally, ...] = ()
    """The runs with most bytes, the largest first."""
    other_runs: Tally | None = None
    """All other runs together."""
    by_mime_type: tuple[Tally, ...] = ()
    """Types without parameters, the largest first."""
    other_mime_types: Tally | None = None
    by_policy: tuple[Tally, ...] = ()
    other_policies: Tally | None = None
    by_age: tuple[Tally, ...] = ()
    """By timestamp, the youngest first; only ages that there are."""
    expired: Tally = Tally()
    """Due at `at`: the next sweep lets them go unless they are held."""
    expires_within_day: Tally = Tally()
    """Due within 24 hours, but not yet."""
    expires_within_week: Tally = Tally()
    """Due within 7 days, but not yet; those of the next day are among them."""

    @property
    def stored_bytes(self) -> int:
        """Bytes that lie in the store for these media, sidecars not counted."""
        return self.bytes - self.saved_bytes

    def __str__(self) -> str:
        saved = f", deduplication saves {self.saved_bytes} bytes" if self.saved_bytes else ""
        problems = f", {self.problems} sidecars can't be read" if self.problems else ""
        return f"{self.media} media, {self.bytes} bytes{saved}{problems}"
