"""A whole erasure: find, delete, clear what crashes left, take the subject out of the store's own records, and seal it.

One pass: what was stored before it began is gone at its end; what is stored meanwhile may stay, and goes with the next
one. Nothing else of the store is touched.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from fsmedia import catalog
from fsmedia.core import deletions, promptkit
from fsmedia.core.parallel import spread, windows
from fsmedia.errors import MediaError
from fsmedia.format import keys
from fsmedia.maintenance.erasure import finding, journal, removing
from fsmedia.maintenance.erasure.leftovers import clear_leftovers
from fsmedia.maintenance.erasure.subject import Subject
from fsmedia.maintenance.erasure.traces import Traces
from fsmedia.models import Cleaned, Deletion, Erased, Receipt, Remaining

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from concurrent.futures import Executor
    from datetime import datetime

    from fsmedia.core.deletions import DeletionLog
    from fsmedia.core.settings_file import Founding
    from fsmedia.maintenance.erasure.finding import Target
    from fsmedia.storage import Backend

REASON = "erased by request"
SHARED = "PromptKit's index named it: runs that left no trace may have used its bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What an erasure is told.

    Attributes
    ----------
    words
        The ids that a media must all have.
    forget_log
        Also take the subject's lines out of the store's records of deletions, and write none.
    progress
        Called with the number of media looked at so far.
    forget_previews
        Takes keys of bytes that are gone; removes what this machine keeps to show them, and says how much that was.
    """

    words: Mapping[str, str | None]
    clock: Callable[[], datetime]
    dry_run: bool = False
    forget_log: bool = False
    executor: Executor | None = None
    progress: Callable[[int], object] | None = None
    log: DeletionLog = None
    forget_previews: Callable[[Collection[str]], int] = lambda _: 0

    def run(self, backend: Backend, founding: Founding) -> Receipt:
        """Erase once.

        Raises
        ------
        InvalidMediaError
            Nobody is named.
        StorageError
            The store can't be listed; nothing has been deleted then. All else that fails is in the receipt.
        """
        founding.refresh()
        subject = Subject.of(self.words, founding.reload())
        begun = self.clock()
        pages = journal.read(backend, subject)
        found = self._found(backend, subject)
        process = os.getpid() if backend.in_one_process else None
        configuration = founding.reload()  # somebody may have begun to convert the store while it was looked through
        ground = removing.Ground(backend, configuration, subject, begun, process)
        gone = self._gone(ground, _noted(backend, found.targets))
        gone.add(removing.finish(ground, pages, dry_run=self.dry_run))
        work = _Work(self, backend, subject, found, gone)
        return work.receipt(begun, founding)

    def _found(self, backend: Backend, subject: Subject) -> finding.Found:
        found = finding.Found()
        ground = finding.Ground(backend, subject, os.getpid() if backend.in_one_process else None)
        parts = windows(finding.judged(finding.items(backend.entries())), finding.WINDOW)
        for part in spread(finding.find_window, ground, parts, self.executor, bool, finding.lost):
            found.add(part)
            if self.progress is not None:
                self.progress(found.examined)
        return found

    def _gone(self, ground: removing.Ground, targets: list[Target]) -> removing.Gone:
        gone = removing.Gone()
        work = removing.plan_window if self.dry_run else removing.erase_window
        for part in spread(work, ground, windows(targets, removing.WINDOW), self.executor, bool, removing.lost):
            gone.add(part)
        return gone


@dataclass(slots=True)
class _Work:
    """What follows once the media are gone."""

    erasure: Erasure
    backend: Backend
    subject: Subject
    found: finding.Found
    gone: removing.Gone
    failed: list[Remaining] = field(default_factory=list)

    def receipt(self, begun: datetime, founding: Founding) -> Receipt:
        """Clean the store's own records, and write down all of it."""
        dry_run = self.erasure.dry_run
        unique = {each.reference: each for each in reversed(self.gone.erased)}
        staying = {each.reference for each in (*self.gone.held, *self.gone.failed)}
        cleared = clear_leftovers(
            self.backend, self.subject, unique, founding.configuration.orphan_grace, dry_run=dry_run
        )
        traces = Traces(self.backend, self.subject, unique, staying, dry_run)
        with_media = 0 if dry_run else sum(each.expires for each in unique.values())
        erased = self._erased(list(unique.values())[::-1])
        gone = [keys.bytes_key(each.reference) for each in erased if each.data == "gone"]
        cleaned = Cleaned(
            due_entries=with_media + cleared.due_entries,
            leftovers=cleared.leftovers,
            mappings=traces.mappings(),
            index_entries=traces.index_entries(),
            quarantined=traces.quarantined(),
            snapshots=self._snapshots(founding, unique),
            log_lines=traces.log_lines() if self.erasure.forget_log else 0,
            previews=0 if dry_run else self.erasure.forget_previews(gone),
        )
        stale = traces.stale_holds()
        if not dry_run:
            self._record(erased)
            self._tidy([] if cleared.failed or traces.failed or self.failed else self.gone.pages)
        return Receipt(
            fsmedia=_version(),
            store=self.backend.url,
            words=self.subject.words,
            dry_run=dry_run,
            begun=begun,
            finished=self.erasure.clock(),
            examined=self.found.examined,
            erased=tuple(erased),
            held=_sorted([*self.gone.held, *stale]),
            waiting=_sorted(cleared.waiting),
            unclear=_sorted(self.found.unclear),
            failed=_sorted([*self.found.failed, *self.gone.failed, *cleared.failed, *traces.failed, *self.failed]),
            cleaned=cleaned,
        ).sealed()

    def _snapshots(self, founding: Founding, references: Collection[str]) -> int:
        """Take the media out of the catalog, last of all: it shows what is there by then."""
        try:
            forgotten = catalog.forget(
                self.backend,
                founding,
                references,
                self.subject.words,
                now=self.erasure.clock(),
                dry_run=self.erasure.dry_run,
                executor=self.erasure.executor,
            )
        except MediaError as error:
            self._fail(keys.CATALOG, error)
            return 0
        for key, failure in forgotten.failed.items():
            self._fail(key, failure)
        return len(forgotten.gone)

    def _erased(self, targets: list[Target]) -> list[Erased]:
        """Say of each media what became of its bytes: whether what stays has the same, by sidecars and markers."""
        gone = {each.reference for each in targets}
        staying = [each.sha256 for each in self.found.targets if each.sha256 and each.reference not in gone]
        others = sorted([*self.found.others, *map(finding.beginning, staying)])
        kept = self._kept(gone)
        freed: set[keys.Pointer] = set()
        erased = []
        for each in targets:
            pointer = keys.pointer_of(each.reference)
            shared = 0 if each.sha256 is None else _count(others, each.sha256)
            there = pointer is not None and pointer in kept
            if pointer is not None:
                shared = max(shared, kept.get(pointer, 0))
            frees = pointer is None or not (there or pointer in freed)
            if pointer is not None:
                freed.add(pointer)
            erased.append(
                Erased(
                    reference=each.reference,  # type: ignore[arg-type]
                    sha256=each.sha256,
                    size_bytes=each.size,
                    freed_bytes=each.size if frees else 0,
                    data="shared" if shared else "kept" if there else "gone",
                    shared_by=shared,
                    note=each.note,
                )
            )
        return erased

    def _kept(self, references: Collection[str]) -> dict[keys.Pointer, int]:
        """Return the shared bytes that are still there, with the number of markers of others."""
        pointers = sorted({pointer for each in references if (pointer := keys.pointer_of(each)) is not None})
        own = {keys.marker_prefix(each) for each in references}
        kept = {}
        try:
            for window in windows(pointers, finding.WINDOW):
                heads = self.backend.fetch(heads=[pointer.data_key for pointer in window]).heads
                there = [pointer for pointer, head in zip(window, heads, strict=True) if head is not None]
                for pointer in there:
                    names = [entry.key.rpartition("/")[2] for entry in self.backend.entries(pointer.refs_folder)]
                    others = [name for name in names if f"{name.partition('-')[0]}-" not in own]
                    if others or not self.erasure.dry_run:  # in a dry run the own markers are no reason to stay
                        kept[pointer] = len(others)
        except MediaError as error:
            self._fail(keys.BLOBS, error)
        return kept

    def _record(self, erased: list[Erased]) -> None:
        """Record the deletions where the store was asked to."""
        log = self.erasure.log
        if log is None or (log == deletions.IN_STORE and self.erasure.forget_log):
            return
        now = self.erasure.clock()
        gone = [
            Deletion(
                reference=each.reference,
                sha256=each.sha256,
                size_bytes=each.size_bytes,
                deleted_at=now,
                reason=REASON,
            )
            for each in erased
        ]
        for window in windows(gone, removing.WINDOW):
            for reference, error in deletions.record(self.backend, log, window).items():
                self._fail(reference, error)

    def _tidy(self, pages: list[str]) -> None:
        """Remove the journal, and folders that are empty now.

        Where something could not be cleaned the journal stays: the next erasure knows by it what need not grow old.
        """
        try:
            for key, error in (self.backend.delete(pages) if pages else {}).items():
                self._fail(key, error)
            for folder in self.subject.folders.values():
                self.backend.remove_folder(folder.rstrip("/"))
        except MediaError as error:
            self._fail(keys.ERASURES, error)

    def _fail(self, key: str, error: MediaError) -> None:
        self.failed.append(Remaining(reference=key, reason=str(error)))  # type: ignore[arg-type]


def _noted(backend: Backend, targets: list[Target]) -> list[Target]:
    """Note which media PromptKit's index names; what it can't be asked now fails when they are deleted."""
    try:
        named = promptkit.named(backend, [each.reference for each in targets])
    except MediaError:
        return targets
    return [each._replace(note=each.note or SHARED) if each.reference in named else each for each in targets]


def _count(others: list[int], digest: str) -> int:
    """Return how many media of others have a digest; the numbers are sorted."""
    wanted = finding.beginning(digest)
    return bisect_right(others, wanted) - bisect_left(others, wanted)


def _sorted(found: list[Remaining]) -> tuple[Remaining, ...]:
    return tuple(sorted(found, key=lambda each: (each.reference, each.reason)))


def _version() -> str:
    try:
        return version("fsmedia")
    except PackageNotFoundError:
        return ""
