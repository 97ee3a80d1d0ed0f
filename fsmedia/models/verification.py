"""What a look over a whole store says: one finding for each thing that is wrong, and a report that counts them all."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from fsmedia.models.base import Model
from fsmedia.models.report import Report
from fsmedia.models.retention import Failed

FindingKind = Literal[
    "sidecar",
    "mismatch",
    "missing-bytes",
    "size",
    "type",
    "digest",
    "unmarked",
    "missing-due",
    "bytes",
    "marker",
    "generation",
    "mark",
    "due",
    "hold",
    "temporary",
    "upload",
    "catalog",
    "index",
    "settings",
    "file",
    "foreign",
]
"""What can be wrong. Of media: a sidecar that can't be read, or that speaks of other bytes than its name does
(`mismatch`); bytes that are gone, or have another size, type or digest than the sidecar says; a marker or a due entry
that is missing. Of other things: bytes, markers, generations, marks, due entries, holds, temporary files and uploads
that belong to no media; a catalog out of step; entries of PromptKit's index that lead nowhere; settings; files of
others that have no sidecar (`file`) or that no store can use (`foreign`)."""


class Finding(Model):
    """One thing that is not as FORMAT.md says."""

    kind: FindingKind
    key: str
    """The reference of the media, or the key of what belongs to none."""
    detail: str = ""
    """What is wrong."""
    repair: str = ""
    """What repair would do, or did; empty where it leaves the thing as it is."""
    done: bool = False
    """Whether repair did it."""
    harmless: bool = False
    """Whether the store is whole all the same: it may be on its way, it is another program's, or it only takes room."""


class VerifyReport(Report):
    """What one look over a store found, and with repair did."""

    findings: tuple[Finding, ...] = ()
    """The first 1,000 of each kind; `counts` has them all, and `found=` is given every one."""
    counts: dict[FindingKind, int] = Field(default_factory=dict)
    """How many findings there are of each kind."""
    left: int = 0
    """Findings that are not harmless and were not mended."""
    mended: int = 0
    """Findings that were mended."""
    examined: int = 0
    """Objects listed."""
    media: int = 0
    """Media looked at."""
    bytes: int = 0
    """Bytes of those media, as the storage or their names tell; shared ones count for each reference."""
    bytes_read: int = 0
    """Bytes that were read to compare digests."""
    quarantined: int = 0
    """Objects that lay in `.fsmedia/quarantine/` when it began; nothing ever takes them away by itself."""
    failed: tuple[Failed, ...] = ()
    """What could not be looked at, or not be mended."""
    deep: bool = False
    """Whether all bytes were read."""
    dry_run: bool = True
    """Whether nothing was written: no repair and no adoption was asked for, or only their plan."""
    took: timedelta = timedelta(0)

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong, or nothing any more."""
        return not self.left and not self.failed

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        return (
            f"{'whole' if self.whole else 'not whole'}: {self.media} media, {self.left} left to mend, "
            f"{self.mended} mended, {len(self.failed)} failed{f' ({kinds})' if kinds else ''}"
        )
