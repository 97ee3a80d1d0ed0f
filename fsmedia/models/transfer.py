"""What bringing the media of one store to another did, or would do."""

from __future__ import annotations

from datetime import timedelta

from fsmedia.models.conversion import Moved
from fsmedia.models.metadata import Reference
from fsmedia.models.report import Report
from fsmedia.models.retention import Failed, Skipped


class SyncReport(Report):
    """What one sync did, or in a dry run would do."""

    target: str = ""
    """The root that media were brought to, without user, password or query."""
    dry_run: bool = False
    examined: int = 0
    """Media of the source that were looked at."""
    copied: int = 0
    """Media that the target had not, or had with other bytes under a name that others choose."""
    bytes_copied: int = 0
    """Bytes of those; deduplicated media whose bytes the target had already count too."""
    unchanged: int = 0
    updated: int = 0
    """Media whose metadata, policy, attributes or hold differed, so that only those were written."""
    deleted: tuple[Reference, ...] = ()
    """Media of the target, by their references there, that the source has not (any more)."""
    skipped: tuple[Skipped, ...] = ()
    """Media that were left out, and why; those that were not deleted by their references at the target."""
    failed: tuple[Failed, ...] = ()
    """What went wrong; syncing again takes these up."""
    moved: tuple[Moved, ...] = ()
    """Reference at the source and at the target of each media for which they differ, whether it was copied now or
    before; in a dry run without those that are not known yet."""
    mappings: tuple[str, ...] = ()
    """Keys of the objects in the target that keep the pairs of what was copied now: JSON lines of `old` and `new`."""
    stopped: bool = False
    """Whether it ended early because it was told to; nothing was deleted then."""
    took: timedelta = timedelta(0)

    def __str__(self) -> str:
        words = ("would copy", "would update", "would delete") if self.dry_run else ("copied", "updated", "deleted")
        return (
            f"{self.examined} examined, {words[0]} {self.copied} ({self.bytes_copied} bytes), {words[1]} "
            f"{self.updated}, {self.unchanged} unchanged, {words[2]} {len(self.deleted)}, {len(self.skipped)} skipped, "
            f"{len(self.failed)} failed{', stopped early' if self.stopped else ''}"
        )
