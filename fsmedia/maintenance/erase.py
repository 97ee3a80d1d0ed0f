"""Erasing a subject: find their media, delete them, clean the store's own records, and write a receipt.

One pass: what was stored before it began is gone at its end; what is stored meanwhile may stay, and goes with the next
erasure. Media of others are not touched.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import to_json

from fsmedia import catalog
from fsmedia.core import commit, holds, lifetime, promptkit, records
from fsmedia.core.lifetime import Deleter, DeletionLog
from fsmedia.core.parallel import JobResult, WindowOptions, run_windows, windows
from fsmedia.core.records import ListedPair
from fsmedia.core.settings_file import SettingsFile
from fsmedia.errors import HeldMediaError, InvalidMediaError, InvalidReferenceError, MediaError
from fsmedia.format import keys
from fsmedia.format.settings import Configuration
from fsmedia.maintenance.leftovers import marker_prefix_of
from fsmedia.maintenance.quarantine import QuarantineFolder, json_object, read_quarantine
from fsmedia.maintenance.subject import (
    SEARCH_WINDOW,
    CleanupResult,
    EraseItem,
    Names,
    SearchResult,
    Subject,
    Traces,
    VersionSearch,
    VersionsLeft,
    digest_prefix,
    is_anothers,
    owned_pairs,
    search_window,
    sidecar_values,
)
from fsmedia.maintenance.survey import check_listing
from fsmedia.models import Cleaned, Deletion, Erased, Receipt, ReceiptReport, Reference, Remaining, Trace
from fsmedia.models.reports import RECEIPT_FORMAT, TraceKind
from fsmedia.storage import Backend
from fsmedia.storage.listing import NestedStores

REASON = "erased by request"
SHARED = "PromptKit's index named it: runs that left no trace may have used its bytes"
_CALLED_GONE = "that the receipt calls gone, or the same ones again"
LARGEST = 2**30  # bytes of a receipt that is read; a million media take a quarter of that
WINDOW = 1000  # media deleted together: their keys fill one bulk request for each step


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """Options of an erasure, and the erasure."""

    words: Mapping[str, str | None]  # ids that a media must all have
    clock: Callable[[], datetime]
    dry_run: bool = False
    force: bool = False  # go on also where so little was listed that it may be wrong
    forget_log: bool = False  # also take the subject's lines out of the store's records of deletions, and write none
    versions: bool = False  # also remove older versions of all that goes, where the bucket keeps any
    executor: Executor | None = None
    progress: Callable[[int], object] | None = None
    log: DeletionLog = None
    forget_previews: Callable[[Collection[str]], int] = lambda _: 0  # of keys whose bytes are gone; returns how many

    def run(self, backend: Backend, settings_file: SettingsFile) -> Receipt:
        """Erase once; what fails after the first deletion is in the receipt."""
        settings_file.refresh()
        subject = Subject.of(self.words, settings_file.reload())
        begun = self.clock()
        # Before the listing: pages that this erasure writes are no earlier one's, which died half way.
        pages = read_journal(backend, subject)
        nested = NestedStores()
        options = WindowOptions(backends=[backend], again="erase again", executor=self.executor)
        search, parts = SearchResult(), windows(owned_pairs(nested.entries(backend)), SEARCH_WINDOW)
        found = run_windows(search_window, (backend, subject), parts, search, progress=self.progress, **options)
        # A page that an older version wrote may name what lies in another store.
        for page in pages:
            page.items[:] = [each for each in page.items if not nested.covers(each.reference)]
        # Before the first deletion, and before a receipt says that there was nothing.
        # What an erasure that died has taken is in the catalog still, and no sign that the listing is short.
        shown = found.examined + sum(len(page.items) for page in pages)
        is_due = not (shown or self.force) and backend.holds(f"{keys.DUE}/")
        beside = "its due index has entries" if is_due else ""
        check_listing(backend, settings_file, shown, whole=True, force=self.force, beside=beside)
        context = EraseContext(backend, settings_file.configuration, subject, begun)
        going = windows(_with_notes(backend, found.items), WINDOW)
        gone = run_windows(plan_window if self.dry_run else erase_window, context, going, EraseResult(), **options)
        # What an earlier erasure left half done has no sidecar any more, so only its journal tells.
        gone.add(finish_interrupted(context, pages, dry_run=self.dry_run))
        return _ReceiptJob(self, backend, subject, found, gone, nested).receipt(begun, settings_file)


@dataclass(frozen=True, slots=True)
class EraseContext:
    """Settings of an erasure that its windows share."""

    backend: Backend
    configuration: Configuration
    subject: Subject
    now: datetime


@dataclass(slots=True)
class EraseResult(JobResult):
    """Result of a window of an erasure."""

    erased: list[EraseItem] = field(default_factory=list)
    held: list[Remaining] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)  # keys of journal pages that may go: nothing on them is half done

    def fail(self, key: str, error: MediaError) -> None:
        """Note what went wrong; that a media is held is nothing wrong."""
        if isinstance(error, HeldMediaError):
            self.held.append(Remaining(reference=Reference(key), reason=error.problem))
        else:
            JobResult.fail(self, key, error)


def erase_window(context: EraseContext, items: Sequence[EraseItem]) -> EraseResult:
    """Delete some media; what fails is reported and the rest goes on."""
    result = plan_window(context, items)
    if not result.erased:
        return result
    going, result.erased = result.erased, []
    # The page comes before the first deletion: once a sidecar is gone nothing else says whose the leftovers are.
    try:
        page = write_journal(context.backend, context.subject, going, context.now)
    except MediaError as error:
        result.fail_each({each.reference: error for each in going})
        return result
    removal = Deleter(context.backend, context.configuration, lambda: context.now)
    failed = removal.many([each.reference for each in going])
    result.erased = [each for each in going if each.reference not in failed]
    result.fail_each(failed)
    # A held media was not touched; after any other failure the page must stay for whoever finishes the deletion.
    if all(isinstance(error, HeldMediaError) for error in failed.values()):
        result.pages.append(page)
    return result


def plan_window(context: EraseContext, items: Sequence[EraseItem]) -> EraseResult:
    """Return all media but the held ones, which are reported with the reason of their hold."""
    result = EraseResult()
    try:
        listed = holds.among(holds.held(context.backend), [each.reference for each in items])
        read = context.backend.fetch(reads=[keys.hold_key(each) for each in listed]).reads
    except MediaError as error:
        # Without an answer nobody knows what is held, so nothing of this window is deleted.
        result.fail_each({each.reference: error for each in items})
        return result
    result.fail_each({each: holds.refusal(each, data) for each, data in zip(listed, read, strict=True)})
    result.erased = [each for each in items if each.reference not in listed]
    return result


def finish_interrupted(context: EraseContext, pages: Iterable[JournalPage], *, dry_run: bool) -> EraseResult:
    """Finish the deletes that died, as far as the journal tells: media on its pages that have no sidecar any more.

    A page with media that still have one stays: it is that of an erasure under way, or of one that failed.
    """
    result = EraseResult()
    for page in pages:
        try:
            half, is_done = _half_done(context, page, result)
        except MediaError as error:
            result.fail(page.key, error)
            continue
        # Other names lose their bytes before their sidecar: without one nothing is left of them.
        own = [] if dry_run else [each for each in half if keys.is_own_name(each.reference)]
        deletes = [commit.DeleteOperation(context.backend, each.reference, marker=each.marker) for each in own]
        answers = zip(own, commit.delete(deletes), strict=True)
        errors = {each.reference: error for each, error in answers if error is not None}
        result.fail_each(errors)
        result.erased += [each for each in half if each.reference not in errors]
        if is_done and not errors:
            result.pages.append(page.key)
    return result


def _half_done(context: EraseContext, page: JournalPage, result: EraseResult) -> tuple[list[EraseItem], bool]:
    """Return the media of a page without a sidecar, and whether none of the others is still to be erased.

    Names that clients chose lose their bytes before their sidecar, so nothing is left of them without one.
    """
    names = [each.reference for each in page.items]
    held = holds.among(holds.held(context.backend), names)
    half, is_done = [], True
    for each, sidecar in zip(page.items, records.read_sidecars(context.backend, names), strict=True):
        if isinstance(sidecar, MediaError):
            result.fail(each.reference, sidecar)
            is_done = False
        elif sidecar is None and each.reference not in held:
            half.append(each)
        elif each.reference not in held and context.subject.owns(each.reference, sidecar):
            is_done = False
    return half, is_done


class JournalPage(NamedTuple):
    """One object of the journal of an erasure, read."""

    key: str
    items: list[EraseItem]


def write_journal(backend: Backend, subject: Subject, items: Sequence[EraseItem], now: datetime) -> str:
    """Write a page of the journal: what is about to be deleted; return its key."""
    key = keys.dated_key(keys.ERASURES, now)
    # Their digest and not the ids: the ids are what shall be gone.
    lines = [to_json({"subject": subject.digest})]
    for each in items:
        values = {"reference": each.reference, "size_bytes": each.size, "sha256": each.sha256, "marker": each.marker}
        lines.append(to_json(values))
    backend.write(key, b"\n".join(lines) + b"\n", lifetime.JSON_LINES)
    return key


def read_journal(backend: Backend, subject: Subject) -> list[JournalPage]:
    """Return the pages of earlier erasures of this subject, and of those under way."""
    pages = []
    # A page that is still being written names nothing that was deleted.
    for key in [entry.key for entry in backend.entries(keys.ERASURES) if not keys.is_temporary(entry.key)]:
        lines = [json_object(line) for line in (backend.read(key) or b"").split(b"\n") if line]
        if lines and lines[0].get("subject") == subject.digest:
            pages.append(JournalPage(key, [item for line in lines[1:] if (item := _journal_item(line)) is not None]))
    return pages


def _journal_item(values: dict[str, object]) -> EraseItem | None:
    """Return the item in a line; None for one that no erasure can have written."""
    reference, size, digest = values.get("reference"), values.get("size_bytes"), values.get("sha256")
    try:
        reference = keys.check_reference(reference)
        marker = None if values.get("marker") is None else keys.check_marker(values["marker"], reference)
    except InvalidReferenceError:
        return None
    size = size if isinstance(size, int) and size >= 0 else 0
    digest = digest if isinstance(digest, str) else None
    return EraseItem(reference, size, digest, marker, "an earlier erasure began it")


@dataclass(slots=True)
class _ReceiptJob:
    """Cleans the store's own records once the media are gone, and makes the receipt."""

    erasure: Erasure
    backend: Backend
    subject: Subject
    found: SearchResult
    gone: EraseResult
    nested: NestedStores
    result: CleanupResult = field(default_factory=CleanupResult)

    def receipt(self, begun: datetime, settings_file: SettingsFile) -> Receipt:
        """Clean the records of the store, and return the receipt of all of it."""
        dry_run = self.erasure.dry_run
        unique = {each.reference: each for each in reversed(self.gone.erased)}
        staying = {each.reference for each in self.gone.held} | {each.reference for each in self.gone.failed}
        result = self.result
        traces = Traces(self.backend, self.subject, unique, staying, dry_run, result)
        traces.clear_leftovers(settings_file.configuration)
        with_media = 0 if dry_run else sum(each.expires for each in unique.values())
        erased = self._erased(list(unique.values())[::-1])
        gone = [keys.bytes_key(each.reference) for each in erased if each.data == "gone"]
        # In this order: the catalog is refreshed on the way, and shows what is there by then.
        cleaned = Cleaned(
            due_entries=with_media + result.due_entries,
            leftovers=result.leftovers,
            mappings=traces.remove(keys.REFERENCES),
            index_entries=traces.remove(keys.DEDUP_INDEX_KEY),
            quarantined=traces.remove(keys.QUARANTINE),
            snapshots=self._snapshots(settings_file, unique),
            log_lines=traces.remove(keys.DELETIONS) if self.erasure.forget_log else 0,
            previews=0 if dry_run else self.erasure.forget_previews(gone),
        )
        stale = traces.stale_holds()
        if not dry_run:
            self._record(erased)
            self._tidy([] if result.failed else self.gone.pages)
        # When all is gone that goes, the journal too: whoever erases again finds what was the subject's by the older
        # versions of its sidecars.
        left = self._versions(erased, staying)
        erased = [_with_versions(each, left) for each in erased]
        cleaned = cleaned.model_copy(update={"versions": left.removed})
        failed = [(each.reference, str(each.error)) for each in (*result.failed, *self.found.failed)]
        failed += [(each.reference, each.error.problem) for each in self.gone.failed]
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
            waiting=_sorted(result.waiting),
            unclear=_sorted(self.found.unclear),
            failed=_sorted(Remaining(reference=reference, reason=reason) for reference, reason in failed),
            versions=_sorted(left.left),
            kept_until=left.until,
            cleaned=cleaned,
            nested_stores=self.nested.told(self.backend),
        ).with_checksum()

    def _snapshots(self, settings_file: SettingsFile, references: Collection[str]) -> int:
        """Take the media out of the catalog; return how many snapshots went."""
        erasure = self.erasure
        with self.result.guard(keys.CATALOG):
            forgotten = catalog.forget(
                self.backend,
                settings_file,
                references,
                self.subject.words,
                now=erasure.clock(),
                dry_run=erasure.dry_run,
                executor=erasure.executor,
            )
            self.result.fail_each(forgotten.failed)
            return len(forgotten.gone)
        return 0

    def _versions(self, erased: list[Erased], staying: Collection[str]) -> VersionsLeft:
        """Remove older versions where that is asked for, and return what stays of them."""
        erasure, references = self.erasure, [str(each.reference) for each in erased]
        gone = frozenset(each.sha256 for each in erased if each.sha256 is not None and each.data == "gone")
        stay = {*staying, *(str(each.reference) for each in self.found.unclear)}
        search = VersionSearch(
            self.backend, references, gone, stay, self.subject, forget_log=erasure.forget_log, nested=self.nested
        )
        with self.result.guard(self.backend.url):
            return search.clear(remove=erasure.versions, dry_run=erasure.dry_run, now=erasure.clock())
        return VersionsLeft(is_known=False)

    def _erased(self, items: list[EraseItem]) -> list[Erased]:
        """Return the entries of the receipt: which bytes are gone, by sidecars and markers of all that stays."""
        gone = {each.reference for each in items}
        staying = [each.sha256 for each in self.found.items if each.sha256 and each.reference not in gone]
        others = sorted([*self.found.others, *map(digest_prefix, staying)])
        kept = self._kept(gone)
        # Digests by their first 64 bits: where two share them the receipt calls bytes shared that are gone, never the
        # other way round. Bytes that several erased media shared are freed once.
        freed: set[keys.Pointer] = set()
        erased = []
        for each in items:
            pointer = keys.pointer_of(each.reference)
            shared = 0
            if each.sha256 is not None:
                wanted = digest_prefix(each.sha256)
                shared = bisect_right(others, wanted) - bisect_left(others, wanted)
            there, frees = pointer in kept, pointer is None or not (pointer in kept or pointer in freed)
            if pointer is not None:
                shared = max(shared, kept.get(pointer, 0))
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
        """Return the shared bytes that are still there, with the number of markers of other media."""
        pointers = sorted({pointer for each in references if (pointer := keys.pointer_of(each)) is not None})
        own = {keys.marker_prefix(each) for each in references}
        kept: dict[keys.Pointer, int] = {}
        with self.result.guard(keys.BLOBS):
            for window in windows(pointers, SEARCH_WINDOW):
                heads = self.backend.fetch(heads=[pointer.data_key for pointer in window]).heads
                for pointer in [each for each, head in zip(window, heads, strict=True) if head is not None]:
                    markers = self.backend.entries(pointer.refs_folder)
                    others = sum(marker_prefix_of(entry) not in own for entry in markers)
                    if others or not self.erasure.dry_run:  # in a dry run the own markers are no reason to stay
                        kept[pointer] = others
        return kept

    def _record(self, erased: list[Erased]) -> None:
        log = self.erasure.log
        if log is None or (log == lifetime.IN_STORE and self.erasure.forget_log):
            return
        now = self.erasure.clock()
        gone = (
            Deletion(
                reference=each.reference, sha256=each.sha256, size_bytes=each.size_bytes, deleted_at=now, reason=REASON
            )
            for each in erased
        )
        for window in windows(gone, WINDOW):
            self.result.fail_each(lifetime.record(self.backend, log, window))

    def _tidy(self, pages: list[str]) -> None:
        """Remove the journal, and folders that are empty now.

        Where something could not be cleaned the journal stays: by it the next erasure knows which leftovers are the
        subject's and need not wait for the grace.
        """
        with self.result.guard(keys.ERASURES):
            self.result.fail_each(self.backend.delete(pages) if pages else {})
            for folder in self.subject.folders.values():
                self.backend.remove_folder(folder.rstrip("/"))


def _with_notes(backend: Backend, items: list[EraseItem]) -> list[EraseItem]:
    """Note which media PromptKit's index names."""
    try:
        named = promptkit.named(backend, [each.reference for each in items])
    except MediaError:
        return items  # an index that can't be read makes the deletions fail, and that is reported
    return [each._replace(note=each.note or SHARED) if each.reference in named else each for each in items]


def _with_versions(erased: Erased, left: VersionsLeft) -> Erased:
    """Return the entry of a media as it is where the bucket keeps its bytes."""
    if not left.keeps(keys.bytes_key(erased.reference)):
        return erased
    return erased.model_copy(update={"data": "kept" if erased.data == "gone" else erased.data, "freed_bytes": 0})


def _sorted(found: Iterable[Remaining]) -> tuple[Remaining, ...]:
    return tuple(sorted(found, key=lambda each: (each.reference, each.reason)))


def _version() -> str:
    try:
        return version("fsmedia")
    except PackageNotFoundError:
        return ""


# -- checking a receipt ---------------------------------------------------------------------------------


def read_receipt(given: Receipt | Mapping[str, Any] | str | PathLike[str]) -> Receipt:
    """Return a receipt, from its file, its JSON values or itself; one that was changed, or of a dry run, is refused."""
    receipt = given if isinstance(given, Receipt) else _receipt_of(given)
    if not receipt.is_unchanged:
        raise InvalidMediaError("the receipt was changed since it was written", next_step="look for another copy of it")
    if receipt.dry_run:
        raise InvalidMediaError("this is the receipt of a dry run, which erased nothing", next_step="erase without it")
    return receipt


def _receipt_of(given: Mapping[str, Any] | str | PathLike[str]) -> Receipt:
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        if path.stat().st_size > LARGEST:
            raise InvalidMediaError(f"{path}: too large for a receipt")
        values = json_object(path.read_bytes())
    else:
        values = dict(given)
    if not isinstance(values.get("receipt"), int):
        raise InvalidMediaError(
            "this is no receipt of an erasure", next_step="give the file that erase --receipt wrote"
        )
    if values["receipt"] > RECEIPT_FORMAT:
        raise InvalidMediaError("the receipt was written by a newer fsmedia", next_step="pip install --upgrade fsmedia")
    try:
        return Receipt.model_validate(values)
    except InvalidMediaError as error:
        raise InvalidMediaError(
            f"the receipt is damaged ({error.problem[:300]})", next_step="look for another copy of it"
        ) from None


def check_receipt(
    backend: Backend,
    settings_file: SettingsFile,
    receipt: Receipt,
    *,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
) -> ReceiptReport:
    """Look for everything that a receipt calls erased; raises where something can't be read: nothing is proved then."""
    begun = time.monotonic()
    references = frozenset(str(each.reference) for each in receipt.erased)
    gone = frozenset(each.sha256 for each in receipt.erased if each.sha256 is not None and each.data == "gone")
    check = _ReceiptCheck(backend, receipt, references, gone)
    for look in (check.objects, check.blobs, check.records, check.quarantine, check.versions):
        look()
    examined = check.digests(executor, progress)
    settings_file.look_again()
    return ReceiptReport(
        store=backend.url,
        same_store=backend.url == receipt.store,
        erased=len(receipt.erased),
        examined=examined,
        traces=tuple(sorted(set(check.traces))),
        took=timedelta(seconds=time.monotonic() - begun),
    )


@dataclass(slots=True)
class _ReceiptCheck:
    backend: Backend
    receipt: Receipt
    references: frozenset[str]
    gone: frozenset[str]  # digests of bytes that it calls gone
    traces: list[Trace] = field(default_factory=list)

    def _find(self, kind: TraceKind, key: str, reason: str) -> None:
        self.traces.append(Trace(kind, key, reason))

    def objects(self) -> None:
        """Look for bytes, sidecars and holds of each reference."""
        for window in windows(sorted(self.references), SEARCH_WINDOW):
            wanted: list[Trace] = []
            for each in window:
                wanted.append(Trace("sidecar", keys.sidecar_key(each), "its sidecar is there"))
                wanted.append(Trace("hold", keys.hold_key(each), f"a hold names {each}"))
                # Of a deduplicated one, too, where somebody uploaded them.
                wanted.append(Trace("reference", keys.plain_reference(each) or each, "its bytes are there"))
            heads = self.backend.fetch(heads=[trace.key for trace in wanted]).heads
            self.traces += [trace for trace, head in zip(wanted, heads, strict=True) if head is not None]

    def blobs(self) -> None:
        """Look for shared bytes, whatever holds them, of digests that are called gone."""
        for digest in sorted(self.gone):
            for entry in self.backend.entries(keys.blob_folder(digest)):
                parsed = keys.parse_blob_key(entry.key)
                if parsed is not None and parsed.kind == "data":
                    self._find(
                        "bytes", entry.key, "bytes are there that the receipt calls gone, or the same ones again"
                    )

    def records(self) -> None:
        """Look through catalog, due index and journals."""
        for key, reference in catalog.rows_of(self.backend, self.references).items():
            self._find("catalog", key, f"it has a row of {reference}" if reference else "it can't be read; remove it")
        for entry in self.backend.entries(keys.DUE):
            due = keys.parse_due(entry.key)
            if due is not None and due.reference in self.references:
                self._find("due", entry.key, "a due entry names it")
        for entry in self.backend.entries(keys.ERASURES):
            data = self.backend.read(entry.key) or b""
            if any(each.encode() in data for each in self.references):
                self._find("journal", entry.key, "an erasure that names it has not finished; erase again")

    def quarantine(self) -> None:
        """Look through what repairs set aside: by names, digests and notes, as an erasure does."""
        names, others = Names(self.references), []
        for aside in read_quarantine(self.backend):
            if names.stand_for(aside) and not is_anothers(self.receipt.words, aside):
                self._find_aside(aside)
            else:
                others.append(replace(aside, texts={}))
        digests = {pointer.digest for each in self.references if (pointer := keys.pointer_of(each)) is not None}
        gone = (digests & self.gone) - {digest for aside in others for digest in aside.needed}
        for aside in others:
            if aside.blobs and aside.blobs <= gone:
                self._find_aside(aside)

    def versions(self) -> None:
        """Look for older versions, in buckets that keep them."""
        search = VersionSearch(self.backend, self.references, self.gone)
        for key, reason in search.readable(self.receipt.kept_until, self.receipt.finished).items():
            self._find("version", key, reason)

    def _find_aside(self, aside: QuarantineFolder) -> None:
        for key in aside.keys:
            self._find("quarantine", key, "a repair set it aside")

    def digests(self, executor: Executor | None, progress: Callable[[int], object] | None) -> int:
        """Read every sidecar, and compare its digest; return how many media were looked at."""
        if not self.gone:
            return 0
        listed = owned_pairs(NestedStores().entries(self.backend))
        parts = windows((item for item in listed if item.has_sidecar), SEARCH_WINDOW)
        options = WindowOptions(backends=[self.backend], again="check again", executor=executor)
        context, total, look = (self.backend, self.gone), ReceiptCheckResult(), check_receipt_window
        run_windows(look, context, parts, total, handle=_raise_failure, progress=progress, **options)
        for reference in total.found:
            self._find("bytes", reference, f"a media has bytes {_CALLED_GONE}")
        return total.examined


@dataclass(slots=True)
class ReceiptCheckResult(JobResult):
    """Result of a window of a check."""

    found: list[str] = field(default_factory=list)  # media with bytes that should be gone


def check_receipt_window(context: tuple[Backend, frozenset[str]], window: Sequence[ListedPair]) -> ReceiptCheckResult:
    """Read some sidecars, and compare their digests with those that should be gone."""
    backend, gone = context
    names = [item.key for item in window if records.is_reference(item.key)]
    result = ReceiptCheckResult(examined=len(names))
    for reference, data in records.read_listed_sidecars(backend, names).items():
        if isinstance(data, MediaError):
            result.fail(reference, data)
        elif data is not None and sidecar_values(data, reference)[0].get("sha256") in gone:
            result.found.append(reference)
    return result


def _raise_failure(result: ReceiptCheckResult) -> None:
    """Raise what went wrong: a check that missed a sidecar proves nothing."""
    if result.failed:
        raise result.failed[0].error
