"""What turning a plain store into a deduplicated one did: the report, and which reference became which."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from fsmedia.models.report import Report
from fsmedia.models.retention import Failed, Skipped


class Moved(NamedTuple):
    """One media's reference before and after; a plain tuple, for a store may hold millions."""

    old: str
    new: str


class DeduplicationReport(Report):
    """What one conversion of a store did, or in a dry run would do."""

    dry_run: bool = False
    examined: int = 0
    """Media looked at that do not share their bytes yet; those that do are not counted."""
    converted: int = 0
    bytes_before: int = 0
    """Bytes that the converted media took, each by itself."""
    bytes_saved: int = 0
    """Bytes of those among them whose bytes were there already, so that they are stored once now."""
    skipped: tuple[Skipped, ...] = ()
    """Held media, and media whose names can't tell where shared bytes lie."""
    failed: tuple[Failed, ...] = ()
    """What went wrong; these media are there as before, converting again takes them up."""
    moved: tuple[Moved, ...] = ()
    """Old and new reference of each media; in a dry run the new ones are not known yet, and this is empty."""
    mappings: tuple[str, ...] = ()
    """Keys of the objects in the store that keep `moved`: JSON lines with `old` and `new`."""
    took: timedelta = timedelta(0)

    def __str__(self) -> str:
        verb, saves = ("would convert", "would save") if self.dry_run else ("converted", "saved")
        return (
            f"{self.examined} examined, {verb} {self.converted} ({self.bytes_before} bytes), {saves} "
            f"{self.bytes_saved} bytes, {len(self.skipped)} skipped, {len(self.failed)} failed"
        )
