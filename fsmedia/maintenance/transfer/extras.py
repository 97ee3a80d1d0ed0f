"""What the target has and the source has not: planned, then deleted by the steps of a delete.

Only media go, never files that other programs put there. The target was listed before the source, so what came to both
meanwhile is not among them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fsmedia.core import records
from fsmedia.core.parallel import windows
from fsmedia.core.removals import Removal
from fsmedia.errors import CorruptSidecarError, HeldMediaError, MediaError
from fsmedia.format import keys
from fsmedia.maintenance.transfer.passages import identity
from fsmedia.models import Failed, Reference, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from fsmedia.core.deletions import DeletionLog
    from fsmedia.maintenance.transfer.passages import Known
    from fsmedia.maintenance.transfer.targets import Target
    from fsmedia.models.selection import Selection

_WINDOW = 1000
_FOREIGN = "is a file at the target that another program put there"
_CHANGED = "stays: the source has it, but there it is not among the media that are meant"
_HELD = "is held at the target, where the source has no such media"


@dataclass(slots=True)
class Removed:
    """What became of media that only the target has."""

    deleted: list[Reference] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def skip(self, reference: str, reason: str) -> None:
        """Note why a media stays."""
        self.skipped.append(Skipped(reference=Reference(reference), reason=reason))

    def fail(self, reference: str, error: MediaError) -> None:
        """Note what went wrong."""
        self.failed.append(Failed(reference=Reference(reference), error=error))


@dataclass(frozen=True, slots=True)
class Extras:
    """How they are looked at and deleted.

    Attributes
    ----------
    held
        Keys of the holds at the target.
    uncertain
        Why nothing can be told from what the source has; empty where it can.
    elsewhere
        What the source has besides the media that are meant, see `trait`: they are meant no more, and not gone.
    """

    target: Target
    selection: Selection
    held: frozenset[str]
    uncertain: str
    elsewhere: frozenset[str]
    dry_run: bool
    log: DeletionLog
    now: Callable[[], datetime]

    def remove(self, found: Iterable[Known]) -> Removed:
        """Delete media, or say which would be."""
        removed = Removed()
        removal = Removal(self.target.backend, self.target.configuration, self.now, self.log)
        for window in windows(found, _WINDOW):
            chosen = [each.reference for each in self._selected(window, removed)]
            staying = {each for each in chosen if keys.hold_key(each) in self.held}
            for each in chosen:
                if each in staying:
                    removed.skip(each, _HELD)
            going = [each for each in chosen if each not in staying]
            failed = {} if self.dry_run else removal.many(going)
            for each in going:
                error = failed.get(each)
                if error is None:
                    removed.deleted.append(Reference(each))
                elif isinstance(error, HeldMediaError):
                    removed.skip(each, _HELD)
                else:
                    removed.fail(each, error)
        return removed

    def _selected(self, window: Sequence[Known], removed: Removed) -> list[Known]:
        """Return the media that are meant; sidecars are read only where the selection asks for what is in them."""
        media = []
        for each in window:
            if not each.has_sidecar:
                removed.skip(each.reference, _FOREIGN)
            elif self.uncertain:
                removed.skip(each.reference, self.uncertain)
            elif trait(each.reference) in self.elsewhere:
                removed.skip(each.reference, _CHANGED)
            else:
                media.append(each)
        if not self.selection.asks():
            return media
        answers = records.find_many(self.target.backend, [each.reference for each in media])
        return [each for each, found in zip(media, answers, strict=True) if self._is_meant(each, found, removed)]

    def _is_meant(self, known: Known, found: records.Found | MediaError, removed: Removed) -> bool:
        if isinstance(found, MediaError):
            return False  # deleted since it was listed
        try:
            return self.selection.matches(records.record_of(found, self.target.configuration))
        except CorruptSidecarError as error:
            removed.fail(known.reference, error)
            return False


def trait(reference: str) -> str:
    """Return what a media keeps in every layout: the file name where this package gave it, else all of its name."""
    name = identity(reference)
    return name.rpartition("/")[2] if keys.is_own_name(name) else name
