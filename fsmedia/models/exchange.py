"""What went in from elsewhere and what was handed out: the reports of importers and exporters."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field

from fsmedia.models.base import Model
from fsmedia.models.fields import checked_text
from fsmedia.models.metadata import MediaMetadata
from fsmedia.models.report import Report
from fsmedia.models.retention import Failed, Failure, Skipped

SOURCE_ATTRIBUTE = "user.source"
"""The attribute in which an importer keeps where a media came from; importing again looks for it."""

_LONGEST_VALUE = 65536


def _of_users(names: dict[str, str]) -> dict[str, str]:
    for name in names:
        if not name.startswith("user.") or name == "user.":
            raise ValueError("names of attributes begin with 'user.'")
    return names


class AttributedMetadata(MediaMetadata):
    """Metadata with attributes that are stored in the very write that makes the media visible."""

    xattrs: Annotated[
        dict[str, Annotated[str, Field(max_length=_LONGEST_VALUE), AfterValidator(checked_text)]],
        AfterValidator(_of_users),
    ] = Field(default_factory=dict)
    """Attributes `user.*`, text only."""

    def __hash__(self) -> int:
        return hash((*vars(self).values(),)[:-1])


class Imported(NamedTuple):
    """One media that went in; a plain tuple, for an import may have millions."""

    source: str
    """Where it came from, as its attribute `user.source` says."""
    reference: str
    """Its reference; empty in a dry run, where it has none yet."""


class PassedOver(NamedTuple):
    """One thing of the source that is no media, or can't be taken, and why."""

    source: str
    reason: str


class NotImported(Model):
    """One media, or file of the source, that something went wrong with."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    source: str
    error: Failure


class ImportReport(Report):
    """What one import did, or in a dry run would do."""

    dry_run: bool = False
    examined: int = 0
    """Media found in the source, with what was skipped and what failed."""
    stored: tuple[Imported, ...] = ()
    """Where each new media came from, and its reference."""
    bytes: int = 0
    """Bytes of the new media, as the source has them."""
    unchanged: int = 0
    """Media that an earlier import stored: same source, same bytes."""
    duplicates: int = 0
    """New media whose bytes the import, or the run it belongs to, has already; each is stored all the same."""
    duplicate_bytes: int = 0
    """Bytes of those: what a store that deduplicates does not write."""
    skipped: tuple[PassedOver, ...] = ()
    failed: tuple[NotImported, ...] = ()
    took: timedelta = timedelta(0)

    def __str__(self) -> str:
        verb = "would store" if self.dry_run else "stored"
        return (
            f"{self.examined} examined, {verb} {len(self.stored)} ({self.bytes} bytes, {self.duplicates} of them "
            f"duplicates of {self.duplicate_bytes} bytes), {self.unchanged} unchanged, {len(self.skipped)} skipped, "
            f"{len(self.failed)} failed"
        )


class ExportReport(Report):
    """What one export did, or in a dry run would do."""

    dry_run: bool = False
    examined: int = 0
    """Media that the selection means."""
    exported: int = 0
    """Media written now."""
    bytes: int = 0
    """Bytes of those."""
    unchanged: int = 0
    """Media that an earlier export, finished or not, wrote."""
    files: tuple[str, ...] = ()
    """Tables and shards that were written, below the target."""
    skipped: tuple[Skipped, ...] = ()
    """Media of types that the format's readers do not take."""
    failed: tuple[Failed, ...] = ()
    took: timedelta = timedelta(0)

    def __str__(self) -> str:
        verb = "would export" if self.dry_run else "exported"
        return (
            f"{self.examined} examined, {verb} {self.exported} ({self.bytes} bytes), {self.unchanged} unchanged, "
            f"{len(self.skipped)} skipped, {len(self.failed)} failed"
        )
