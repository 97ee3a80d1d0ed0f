"""What a window of work needs to know, and what comes of it; both can be pickled."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fsmedia.errors import MediaError, StorageError
from fsmedia.models import Failed, Finding

if TYPE_CHECKING:
    from datetime import datetime

    from fsmedia.format.configuration import Configuration
    from fsmedia.models import FindingKind
    from fsmedia.storage import Backend, Entry

HELD = "it is held, and stays as it is"
YOUNG = "younger than the grace: it may be on its way"


@dataclass(frozen=True, slots=True)
class Ground:
    """What everybody who looks at a part of the store must know.

    Attributes
    ----------
    before
        What was last touched before this instant is old.
    now
        The time of what is written.
    repairs, adopts
        Whether to do what is planned.
    adopting
        Whether adoption is planned; without it files without sidecar are only told.
    process
        The process that it began in, where only that one sees the storage.
    """

    backend: Backend
    configuration: Configuration
    before: datetime
    now: datetime
    deep: bool = False
    repairs: bool = False
    adopting: bool = False
    adopts: bool = False
    process: int | None = None

    def check_process(self) -> None:
        """Refuse to work where the storage can't be seen."""
        if self.process is not None and self.process != os.getpid():
            raise StorageError(
                f"{self.backend.url} is seen by one process only", next_step="give an executor of threads, or none"
            )

    def is_old(self, entry: Entry | None) -> bool:
        """Tell whether something lies there for longer than the grace, by the storage's own times."""
        touched = None if entry is None else self.backend.touched(entry)
        return touched is not None and touched < self.before


@dataclass(slots=True)
class Fact:
    """What a media needs besides its bytes and its sidecar, as far as the sidecar says."""

    reference: str
    due: str | None = None
    marker: str | None = None


@dataclass(slots=True)
class Outcome:
    """What came of a window."""

    findings: list[Finding] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Keys of shared bytes that are not what they are called."""
    media: int = 0
    bytes: int = 0
    bytes_read: int = 0

    def find(
        self, kind: FindingKind, key: str, detail: str, repair: str = "", *, done: bool = False, harmless: bool = False
    ) -> None:
        """Note what is not as it should be."""
        found = Finding(kind=kind, key=key, detail=detail, repair=repair, done=done, harmless=harmless)
        self.findings.append(found)

    def fail(self, key: str, error: MediaError) -> None:
        """Note what could not be looked at or mended."""
        self.failed.append(Failed(reference=key, error=error))  # type: ignore[arg-type]


def lost(keys: list[str], error: Exception) -> Outcome:
    """Say of each thing in a window that its worker did not answer."""
    failure = (
        error
        if isinstance(error, MediaError)
        else StorageError(f"its worker failed ({type(error).__name__}: {str(error)[:200]})", next_step="verify again")
    )
    outcome = Outcome()
    for key in keys:
        outcome.fail(key, failure)
    return outcome
