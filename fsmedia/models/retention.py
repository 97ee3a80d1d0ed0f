"""What retention says of media: holds, records of deletions, and the reports of sweeps and rebuilds."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, PlainSerializer

from fsmedia.errors import MediaError
from fsmedia.models.base import Model
from fsmedia.models.fields import Instant, PolicyName, Text, checked_text
from fsmedia.models.metadata import Reference
from fsmedia.models.report import Report

DueIndex = Literal["complete", "partial"]
"""Whether every media with an expiry has an entry in the due index."""

Failure = Annotated[MediaError, PlainSerializer(str)]
"""An error of this package; in JSON its text."""

_LONGEST_REASON = 65536


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


class Retention(Model):
    """The part of a sidecar that decides when a media may go."""

    timestamp: Instant = None
    policy_name: PolicyName = None
    expires_at: Instant = None


class Hold(Model):
    """Why nothing may delete or replace a media."""

    reference: Reference
    reason: Annotated[str, Field(max_length=_LONGEST_REASON), AfterValidator(checked_text), AfterValidator(_not_blank)]
    """Why, as whoever placed it said."""
    who: Text = ""
    """Who placed it."""
    when: Instant = None
    """When, aware, in UTC."""


class Deletion(Model):
    """One media that was deleted, or, in a dry run, would be."""

    reference: Reference
    sha256: str | None = None
    """Digest of its bytes, where the sidecar had one."""
    size_bytes: int = 0
    """Size as its sidecar said; PromptKit may have written 0."""
    policy_name: str | None = None
    expires_at: Instant = None
    """When its policy let it go; None if it was deleted for another reason."""
    deleted_at: Instant = None
    """The sweep's or the store's clock, aware, in UTC."""
    reason: str = ""


class Skipped(Model):
    """One media that was due and stays."""

    reference: Reference
    reason: str


class Failed(Model):
    """One media, or place in the store, that something went wrong with."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    reference: Reference
    error: Failure


class EnforcementReport(Report):
    """What one sweep did, or in a dry run would do."""

    now: Instant
    """The instant that decided what is due."""
    dry_run: bool = False
    due_index: DueIndex = "complete"
    """"partial": all sidecars were read, for the index does not name all media; `rebuild_due_index()` mends that."""
    examined: int = 0
    """Media looked at: due entries, or with a partial index all sidecars."""
    deleted: tuple[Deletion, ...] = ()
    """Media that are gone; what is left of one, should a later step have failed, stands in `failed` too."""
    skipped: tuple[Skipped, ...] = ()
    failed: tuple[Failed, ...] = ()
    stopped: bool = False
    """Whether it ended early because it was told to."""
    took: timedelta = timedelta(0)

    @property
    def bytes_freed(self) -> int:
        """Bytes of what was deleted, as the sidecars said."""
        return sum(each.size_bytes for each in self.deleted)

    def __str__(self) -> str:
        verb = "would delete" if self.dry_run else "deleted"
        index = "" if self.due_index == "complete" else ", due index partial"
        return (
            f"{self.examined} examined, {verb} {len(self.deleted)} ({self.bytes_freed} bytes), "
            f"{len(self.skipped)} skipped, {len(self.failed)} failed{index}{', stopped early' if self.stopped else ''}"
        )


class RebuildReport(Report):
    """What a rebuild of the due index found and wrote."""

    examined: int = 0
    """Sidecars read."""
    written: int = 0
    """Due entries that were missing."""
    failed: tuple[Failed, ...] = ()
    due_index: DueIndex = "complete"
    took: timedelta = timedelta(0)

    def __str__(self) -> str:
        return (
            f"{self.examined} examined, {self.written} due entries written, {len(self.failed)} failed, "
            f"due index {self.due_index}"
        )


LeftoverKind = Literal["marker", "generation", "mark", "bytes", "temporary", "due", "unmarked", "foreign"]
"""What a crash can leave; `unmarked` is a media whose marker is missing, `foreign` what this package did not write."""


class Leftover(Model):
    """One thing that lies in a store and belongs to no media, or a media that lacks something."""

    kind: LeftoverKind
    key: str
    size_bytes: int = 0
    action: str = ""
    """What was done, or in a dry run would be; empty for what stays."""


class OrphanReport(Report):
    """What one look for leftovers found and mended."""

    dry_run: bool = False
    examined: int = 0
    """Objects listed."""
    mended: tuple[Leftover, ...] = ()
    kept: tuple[Leftover, ...] = ()
    """What stays: foreign files, marks on living generations, what is not old enough to be judged is not here."""
    failed: tuple[Failed, ...] = ()
    took: timedelta = timedelta(0)

    @property
    def bytes_freed(self) -> int:
        """Bytes of what was removed."""
        return sum(each.size_bytes for each in self.mended)

    def __str__(self) -> str:
        verb = "would mend" if self.dry_run else "mended"
        return (
            f"{self.examined} examined, {verb} {len(self.mended)} ({self.bytes_freed} bytes), "
            f"{len(self.kept)} kept, {len(self.failed)} failed"
        )
