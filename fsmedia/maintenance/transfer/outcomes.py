"""What became of a window of media: counts, and what the report names one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fsmedia.errors import MediaError, MediaNotFoundError
from fsmedia.models import Failed, Moved, Skipped

if TYPE_CHECKING:
    from fsmedia.maintenance.transfer.passages import Passage


@dataclass(slots=True)
class Outcome:
    """What became of some media.

    Attributes
    ----------
    settled
        Reference at the source and at the target of all that are there now.
    fresh
        Those of them that were copied just now under another reference.
    """

    examined: int = 0
    copied: int = 0
    bytes_copied: int = 0
    unchanged: int = 0
    updated: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    settled: list[Moved] = field(default_factory=list)
    fresh: list[Moved] = field(default_factory=list)

    def skip(self, reference: str, reason: str) -> None:
        """Note why a media was left out."""
        self.skipped.append(Skipped(reference=reference, reason=reason))  # type: ignore[arg-type]

    def fail(self, reference: str, error: MediaError) -> None:
        """Note what went wrong; that a media was deleted at the source meanwhile is nothing wrong."""
        if isinstance(error, MediaNotFoundError):
            self.skip(reference, "was deleted while the sync ran")
        else:
            self.failed.append(Failed(reference=reference, error=error))  # type: ignore[arg-type]

    def arrive(self, passage: Passage, reference: str, *, copied: bool = False) -> None:
        """Note under which reference a media is at the target."""
        pair = Moved(passage.reference, reference)
        self.settled.append(pair)
        if copied:
            self.copied += 1
            self.bytes_copied += passage.entry.size
            if pair.old != pair.new:
                self.fresh.append(pair)

    def add(self, other: Outcome) -> None:
        """Take in what became of other media, but for the pairs of those whose reference stayed."""
        self.examined += other.examined
        self.copied += other.copied
        self.bytes_copied += other.bytes_copied
        self.unchanged += other.unchanged
        self.updated += other.updated
        self.skipped += other.skipped
        self.failed += other.failed
