"""Deleting a window of media: the journal first, then the steps of every delete, with its look for holds.

Plain functions over picklable values, so any executor can run them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fsmedia.core import commit, holds, records
from fsmedia.core.removals import Removal
from fsmedia.errors import HeldMediaError, MediaError
from fsmedia.format import keys
from fsmedia.maintenance.erasure import journal
from fsmedia.maintenance.erasure.finding import Target, check_process
from fsmedia.maintenance.erasure.subject import marker_of, told
from fsmedia.models import Remaining

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from fsmedia.format.configuration import Configuration
    from fsmedia.maintenance.erasure.subject import Subject
    from fsmedia.storage import Backend

WINDOW = 1000
"""Media deleted together: the keys of each step fill one bulk request."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a window needs to know."""

    backend: Backend
    configuration: Configuration
    subject: Subject
    now: datetime
    process: int | None = None


@dataclass(slots=True)
class Gone:
    """What became of a window, or of all of them.

    Attributes
    ----------
    pages
        Keys of the journal that may go: nothing on them is half done.
    """

    erased: list[Target] = field(default_factory=list)
    held: list[Remaining] = field(default_factory=list)
    failed: list[Remaining] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    def add(self, other: Gone) -> None:
        """Take in another window's."""
        self.erased += other.erased
        self.held += other.held
        self.failed += other.failed
        self.pages += other.pages

    def fail(self, reference: str, error: MediaError) -> None:
        """Note what went wrong; held is not wrong."""
        kept = Remaining(reference=reference, reason=error.problem)  # type: ignore[arg-type]
        (self.held if isinstance(error, HeldMediaError) else self.failed).append(kept)


def plan_window(ground: Ground, targets: Sequence[Target]) -> Gone:
    """Say what would become of some media."""
    check_process(ground.backend, ground.process)
    return _without_held(ground.backend, targets)


def erase_window(ground: Ground, targets: Sequence[Target]) -> Gone:
    """Delete some media; what fails is reported and the rest goes on."""
    check_process(ground.backend, ground.process)
    gone = _without_held(ground.backend, targets)
    if not gone.erased:
        return gone
    going, gone.erased = gone.erased, []
    try:
        page = journal.write(ground.backend, ground.subject, going, ground.now)
    except MediaError as error:
        for each in going:
            gone.fail(each.reference, error)
        return gone
    removal = Removal(ground.backend, ground.configuration, lambda: ground.now)
    failed = removal.many([each.reference for each in going])
    gone.erased = [each for each in going if each.reference not in failed]
    for reference, failure in failed.items():
        gone.fail(reference, failure)
    if all(isinstance(error, HeldMediaError) for error in failed.values()):
        gone.pages.append(page)
    moved = _moved(ground, gone)
    if moved:
        gone.add(erase_window(ground, moved))
    return gone


def _without_held(backend: Backend, targets: Sequence[Target]) -> Gone:
    """Leave out what is held, with the reason that whoever holds it gave."""
    gone = Gone()
    try:
        listed = holds.among(holds.held(backend), [each.reference for each in targets])
        read = backend.fetch(reads=[keys.hold_key(each) for each in listed]).reads
    except MediaError as error:
        for each in targets:
            gone.fail(each.reference, error)
        return gone
    for reference, data in zip(listed, read, strict=True):
        gone.fail(reference, holds.refusal(reference, data))
    gone.erased = [each for each in targets if each.reference not in listed]
    return gone


def _moved(ground: Ground, gone: Gone) -> list[Target]:
    """Return what a conversion that is under way has given other names since the store was listed."""
    plain = {each.reference: each for each in gone.erased if records.may_have_moved(each.reference)}
    if not ground.configuration.deduplicate or not plain:
        return []
    try:
        moved = records.moved_many(ground.backend, list(plain))
    except MediaError as error:
        for reference in plain:
            gone.fail(reference, error)
        return []
    found = []
    for (old, new), data in zip(
        moved.items(), records.read_sidecars(ground.backend, list(moved.values())), strict=True
    ):
        if isinstance(data, MediaError):
            gone.fail(new, data)
        elif data is not None:
            marker = marker_of(told(data, new)[0], new)
            found.append(plain[old]._replace(reference=new, marker=marker, note=f"was {old}"))
    return found


def finish(ground: Ground, pages: Iterable[journal.Page], *, dry_run: bool) -> Gone:
    """Take the steps of the deletes that died, as far as the journal tells; what has a sidecar is no such thing.

    A page on which media of the subject still stand stays: it is that of an erasure under way, or of one that failed.
    """
    gone = Gone()
    for page in pages:
        try:
            half, is_done = _half_done(ground, page, gone)
        except MediaError as error:
            gone.fail(page.key, error)
            continue
        own = [] if dry_run else [each for each in half if keys.is_own_name(each.reference)]
        answers = commit.delete([commit.Deleting(ground.backend, each.reference, marker=each.marker) for each in own])
        errors = {each.reference: error for each, error in zip(own, answers, strict=True) if error is not None}
        for reference, failure in errors.items():
            gone.fail(reference, failure)
        gone.erased += [each for each in half if each.reference not in errors]
        if is_done and not errors:
            gone.pages.append(page.key)
    return gone


def _half_done(ground: Ground, page: journal.Page, gone: Gone) -> tuple[list[Target], bool]:
    """Return what has lost its sidecar, and whether nothing else on the page is still to be erased.

    Names that clients chose lose their bytes before their sidecar, so nothing is left of them without one.
    """
    names = [each.reference for each in page.targets]
    held = holds.among(holds.held(ground.backend), names)
    half, is_done = [], True
    for each, sidecar in zip(page.targets, records.read_sidecars(ground.backend, names), strict=True):
        if isinstance(sidecar, MediaError):
            gone.fail(each.reference, sidecar)
            is_done = False
        elif sidecar is None and each.reference not in held:
            half.append(each)
        elif each.reference not in held and ground.subject.owner(each.reference, sidecar) == "subject":
            is_done = False
    return half, is_done


def lost(targets: list[Target], error: Exception) -> Gone:
    """Say of a window that its worker did not answer; erasing again finishes what it began."""
    reason = error.problem if isinstance(error, MediaError) else f"its worker failed ({type(error).__name__})"
    return Gone(failed=[Remaining(reference=each.reference, reason=reason) for each in targets])  # type: ignore[arg-type]
