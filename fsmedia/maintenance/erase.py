"""A whole erasure: find, delete, clear what crashes left, take the subject out of the store's own records, and seal it.

One pass: what was stored before it began is gone at its end; what is stored meanwhile may stay, and goes with the next
one. Nothing else of the store is touched.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from fsmedia import catalog
from fsmedia.core import commit, holds, lifetime, promptkit, records
from fsmedia.core.lifetime import Deleter
from fsmedia.core.parallel import JobResult, run_windows, windows
from fsmedia.errors import HeldMediaError, MediaError
from fsmedia.format import keys
from fsmedia.maintenance import subject as finding
from fsmedia.maintenance import subject as journal
from fsmedia.maintenance.erase_traces import Traces, clear_leftovers
from fsmedia.maintenance.subject import Subject, Target, marker_of, told
from fsmedia.models import Cleaned, Deletion, Erased, Receipt, Reference, Remaining

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from concurrent.futures import Executor
    from datetime import datetime

    from fsmedia.core.lifetime import DeletionLog
    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.format.settings import Configuration
    from fsmedia.maintenance.subject import Target
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

    def run(self, backend: Backend, settings_file: SettingsFile) -> Receipt:
        """Erase once.

        Raises
        ------
        InvalidMediaError
            Nobody is named.
        StorageError
            The store can't be listed; nothing has been deleted then. All else that fails is in the receipt.
        """
        settings_file.refresh()
        subject = Subject.of(self.words, settings_file.reload())
        begun = self.clock()
        pages = journal.read(backend, subject)
        found = self._found(backend, subject)
        # Again: somebody may have begun to convert the store while it was looked through.
        context = EraseContext(backend, settings_file.reload(), subject, begun)
        gone = self._gone(context, _noted(backend, found.targets))
        gone.add(finish(context, pages, dry_run=self.dry_run))
        work = _Work(self, backend, subject, found, gone)
        return work.receipt(begun, settings_file)

    def _found(self, backend: Backend, subject: Subject) -> finding.SearchResult:
        return run_windows(
            finding.find_window,
            finding.SubjectContext(backend, subject),
            windows(finding.owned(backend.entries()), finding.WINDOW),
            finding.SearchResult(),
            backends=[backend],
            key=lambda item: item.key,
            again="erase again",
            executor=self.executor,
            progress=self.progress,
        )

    def _gone(self, context: EraseContext, targets: list[Target]) -> EraseResult:
        return run_windows(
            plan_window if self.dry_run else erase_window,
            context,
            windows(targets, WINDOW),
            EraseResult(),
            backends=[context.backend],
            key=lambda each: each.reference,
            again="erase again",
            executor=self.executor,
        )


@dataclass(slots=True)
class _Work:
    """What follows once the media are gone."""

    erasure: Erasure
    backend: Backend
    subject: Subject
    found: finding.SearchResult
    gone: EraseResult
    failed: list[Remaining] = field(default_factory=list)

    def receipt(self, begun: datetime, settings_file: SettingsFile) -> Receipt:
        """Clean the store's own records, and write down all of it."""
        dry_run = self.erasure.dry_run
        unique = {each.reference: each for each in reversed(self.gone.erased)}
        staying = {each.reference for each in self.gone.held} | {each.reference for each in self.gone.failed}
        cleared = clear_leftovers(
            self.backend, self.subject, unique, settings_file.configuration.orphan_grace, dry_run=dry_run
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
            snapshots=self._snapshots(settings_file, unique),
            log_lines=traces.log_lines() if self.erasure.forget_log else 0,
            previews=0 if dry_run else self.erasure.forget_previews(gone),
        )
        stale = traces.stale_holds()
        if not dry_run:
            self._record(erased)
            self._tidy([] if cleared.failed or traces.failed or self.failed else self.gone.pages)
        failed = [*cleared.failed, *traces.failed, *self.failed]
        failed += [Remaining(reference=each.reference, reason=str(each.error)) for each in self.found.failed]
        failed += [Remaining(reference=each.reference, reason=each.error.problem) for each in self.gone.failed]
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
            failed=_sorted(failed),
            cleaned=cleaned,
        ).sealed()

    def _snapshots(self, settings_file: SettingsFile, references: Collection[str]) -> int:
        """Take the media out of the catalog, last of all: it shows what is there by then."""
        try:
            forgotten = catalog.forget(
                self.backend,
                settings_file,
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
                    reference=Reference(each.reference),
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
        if log is None or (log == lifetime.IN_STORE and self.erasure.forget_log):
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
        for window in windows(gone, WINDOW):
            for reference, error in lifetime.record(self.backend, log, window).items():
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
        self.failed.append(Remaining(reference=Reference(key), reason=str(error)))


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


WINDOW = 1000
"""Media deleted together: the keys of each step fill one bulk request."""


@dataclass(frozen=True, slots=True)
class EraseContext:
    """What a window needs to know."""

    backend: Backend
    configuration: Configuration
    subject: Subject
    now: datetime


@dataclass(slots=True)
class EraseResult(JobResult):
    """What became of a window, or of all of them.

    Attributes
    ----------
    pages
        Keys of the journal that may go: nothing on them is half done.
    """

    erased: list[Target] = field(default_factory=list)
    held: list[Remaining] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    def fail(self, key: str, error: MediaError) -> None:
        """Note what went wrong; that a media is held is nothing wrong."""
        if isinstance(error, HeldMediaError):
            self.held.append(Remaining(reference=Reference(key), reason=error.problem))
        else:
            JobResult.fail(self, key, error)


def plan_window(context: EraseContext, targets: Sequence[Target]) -> EraseResult:
    """Say what would become of some media."""
    return _without_held(context.backend, targets)


def erase_window(context: EraseContext, targets: Sequence[Target]) -> EraseResult:
    """Delete some media; what fails is reported and the rest goes on."""
    gone = _without_held(context.backend, targets)
    if not gone.erased:
        return gone
    going, gone.erased = gone.erased, []
    try:
        page = journal.write(context.backend, context.subject, going, context.now)
    except MediaError as error:
        for each in going:
            gone.fail(each.reference, error)
        return gone
    removal = Deleter(context.backend, context.configuration, lambda: context.now)
    failed = removal.many([each.reference for each in going])
    gone.erased = [each for each in going if each.reference not in failed]
    for reference, failure in failed.items():
        gone.fail(reference, failure)
    if all(isinstance(error, HeldMediaError) for error in failed.values()):
        gone.pages.append(page)
    moved = _moved(context, gone)
    if moved:
        gone.add(erase_window(context, moved))
    return gone


def _without_held(backend: Backend, targets: Sequence[Target]) -> EraseResult:
    """Leave out what is held, with the reason that whoever holds it gave."""
    gone = EraseResult()
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


def _moved(context: EraseContext, gone: EraseResult) -> list[Target]:
    """Return what a conversion that is under way has given other names since the store was listed."""
    plain = {each.reference: each for each in gone.erased if records.may_have_moved(each.reference)}
    if not context.configuration.deduplicate or not plain:
        return []
    try:
        moved = records.moved_many(context.backend, list(plain))
    except MediaError as error:
        for reference in plain:
            gone.fail(reference, error)
        return []
    found = []
    for (old, new), data in zip(
        moved.items(), records.read_sidecars(context.backend, list(moved.values())), strict=True
    ):
        if isinstance(data, MediaError):
            gone.fail(new, data)
        elif data is not None:
            marker = marker_of(told(data, new)[0], new)
            found.append(plain[old]._replace(reference=new, marker=marker, note=f"was {old}"))
    return found


def finish(context: EraseContext, pages: Iterable[journal.Page], *, dry_run: bool) -> EraseResult:
    """Take the steps of the deletes that died, as far as the journal tells; what has a sidecar is no such thing.

    A page on which media of the subject still stand stays: it is that of an erasure under way, or of one that failed.
    """
    gone = EraseResult()
    for page in pages:
        try:
            half, is_done = _half_done(context, page, gone)
        except MediaError as error:
            gone.fail(page.key, error)
            continue
        own = [] if dry_run else [each for each in half if keys.is_own_name(each.reference)]
        answers = commit.delete(
            [commit.DeleteOperation(context.backend, each.reference, marker=each.marker) for each in own]
        )
        errors = {each.reference: error for each, error in zip(own, answers, strict=True) if error is not None}
        for reference, failure in errors.items():
            gone.fail(reference, failure)
        gone.erased += [each for each in half if each.reference not in errors]
        if is_done and not errors:
            gone.pages.append(page.key)
    return gone


def _half_done(context: EraseContext, page: journal.Page, gone: EraseResult) -> tuple[list[Target], bool]:
    """Return what has lost its sidecar, and whether nothing else on the page is still to be erased.

    Names that clients chose lose their bytes before their sidecar, so nothing is left of them without one.
    """
    names = [each.reference for each in page.targets]
    held = holds.among(holds.held(context.backend), names)
    half, is_done = [], True
    for each, sidecar in zip(page.targets, records.read_sidecars(context.backend, names), strict=True):
        if isinstance(sidecar, MediaError):
            gone.fail(each.reference, sidecar)
            is_done = False
        elif sidecar is None and each.reference not in held:
            half.append(each)
        elif each.reference not in held and context.subject.owner(each.reference, sidecar) == "subject":
            is_done = False
    return half, is_done
