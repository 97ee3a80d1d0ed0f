"""Traces of erased media elsewhere in a store: removed by an erasure, looked for when its receipt is checked.

These are mappings of a conversion, records of deletions, PromptKit's index, quarantine, and leftovers of crashes; no
media that stays needs them. A record of deletions is evidence, so it goes only where that is asked for. What fails is
reported, and the rest goes on.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsmedia import catalog
from fsmedia.core import holds, promptkit, records
from fsmedia.core.parallel import JobResult, run_windows, windows
from fsmedia.errors import InvalidMediaError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.maintenance.erase_versions import VersionSearch, versions_of
from fsmedia.maintenance.leftovers import (
    Generation,
    GenerationItem,
    LeftoverItem,
    LeftoverListing,
    ObjectItem,
    before,
    find_leftovers,
    marker_prefix_of,
    mend_window,
)
from fsmedia.maintenance.quarantine import QuarantineFolder, read_quarantine
from fsmedia.maintenance.subject import (
    SEARCH_WINDOW,
    Owner,
    json_object,
    names_another,
    owned_pairs,
    sidecar_values,
)
from fsmedia.maintenance.survey import VerifyContext
from fsmedia.models import Receipt, ReceiptReport, Reference, Remaining, Trace
from fsmedia.models.reports import RECEIPT_FORMAT
from fsmedia.storage.listing import NestedStores
from fsmedia.storage.port import storage_time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor
    from os import PathLike

    from fsmedia.core.records import ListedPair
    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.format.settings import Configuration
    from fsmedia.maintenance.subject import Subject
    from fsmedia.models import FindingKind
    from fsmedia.models.reports import TraceKind
    from fsmedia.storage import Backend, Entry

_JSON_LINES = "application/x-ndjson"
_READ_TOGETHER = 64
_STALE = "a hold names it, and it is not there: release it"
_DAMAGED = "a hold that can't be read names it, and it is not there: verify the store with repair, then erase again"
_YOUNG = "belongs to no media and is younger than the grace, so a store may be under way; erase again once it is older"
LARGEST = 2**30
"""Bytes of a receipt that is read; a million media take a quarter of that."""


@dataclass(slots=True)
class CleanupResult(JobResult):
    """Result of cleaning what is not the media themselves."""

    due_entries: int = 0
    leftovers: int = 0
    waiting: list[Remaining] = field(default_factory=list)


@dataclass(slots=True)
class Traces:
    """Finds and removes traces of a subject's media."""

    backend: Backend
    subject: Subject
    erased: Collection[str]  # references that are gone, or in a dry run would be
    staying: Collection[str]  # references of the subject that stay: held, or not deleted because something failed
    dry_run: bool
    result: CleanupResult

    def remove(self, folder: str) -> int:
        """Remove what one folder, or PromptKit's index, says of media that are not there; return how many things."""
        fields = ("old", "new") if folder == keys.REFERENCES else ("reference",)
        acts = {keys.DEDUP_INDEX_KEY: self._index, keys.QUARANTINE: self._quarantine}
        return self._guard(folder, acts.get(folder, partial(self._rewritten, folder, fields)))

    def stale_holds(self) -> list[Remaining]:
        """Return the holds of media that are not there; they stay, for only `release` removes a hold."""
        found: list[Remaining] = []

        def look() -> int:
            known = {keys.hold_key(each) for each in self.staying}
            others = (entry.key for entry in self.backend.entries(keys.HOLDS) if entry.key not in known)
            for window in windows(others, _READ_TOGETHER):
                for key, data in zip(window, self.backend.fetch(reads=window).reads, strict=True):
                    named = holds.named(data or b"")
                    if named is not None and records.is_reference(named) and self._is_stale(named):
                        reason = _STALE if keys.hold_key(named) == key else _DAMAGED
                        found.append(Remaining(reference=Reference(named), reason=f"{reason} ({key})"))
            return 0

        self._guard(keys.HOLDS, look)
        return found

    def _is_stale(self, reference: str) -> bool:
        """Tell whether a hold is the subject's and holds nothing."""
        return (reference in self.erased or self.subject.lies_in(reference)) and not self._there([reference])

    def _guard(self, key: str, act: Callable[[], int]) -> int:
        try:
            return act()
        except MediaError as error:
            self.result.fail(key, error)
            return 0

    def _delete(self, gone: Collection[str]) -> int:
        """Remove objects; return how many went."""
        failed = {} if self.dry_run or not gone else self.backend.delete(gone)
        for key, error in failed.items():
            self.result.fail(key, error)
        return len(gone) - len(failed)

    # -- JSON lines ----------------------------------------------------------------------------------------

    def _rewritten(self, folder: str, fields: tuple[str, ...]) -> int:
        """Rewrite objects without the subject's lines; what is no JSON stays."""
        count = 0
        listed = (entry.key for entry in self.backend.entries(folder) if not keys.is_temporary(entry.key))
        for window in windows(listed, _READ_TOGETHER):
            for key, data in zip(window, self.backend.fetch(reads=window).reads, strict=True):
                lines = [] if data is None else data.split(b"\n")
                going = self._going(lines, fields)
                if not going:
                    continue
                count += len(going)
                kept = [line for number, line in enumerate(lines) if number not in going]
                if not any(kept):
                    self._delete([key])
                elif not self.dry_run:
                    # One atomic write: whoever dies leaves the old lines or the new ones, and others' are in both.
                    self.backend.write(key, b"\n".join(kept), _JSON_LINES)
        return count

    def _going(self, lines: list[bytes], fields: tuple[str, ...]) -> set[int]:
        """Return the numbers of the lines that name media of the subject which are not there."""
        named: dict[int, list[str]] = {}
        for number, line in enumerate(lines):
            values = json_object(line)
            references = [value for name in fields if isinstance(value := values.get(name), str)]
            if any(self._is_subjects(each) for each in references):
                named[number] = [each for each in references if records.is_reference(each)]
        there = self._there({each for references in named.values() for each in references})
        return {number for number, references in named.items() if there.isdisjoint(references)}

    def _is_subjects(self, reference: str) -> bool:
        return reference in self.erased or (reference not in self.staying and self.subject.lies_in(reference))

    def _there(self, references: Iterable[str]) -> set[str]:
        """Return which of the media are there; what is to go in a dry run counts as gone."""
        asked = sorted(each for each in references if each not in self.erased)
        found: set[str] = set()
        for window in windows(asked, _READ_TOGETHER):
            heads = self.backend.fetch(heads=[keys.sidecar_key(each) for each in window]).heads
            found |= {each for each, head in zip(window, heads, strict=True) if head is not None}
        return found

    # -- PromptKit's index ---------------------------------------------------------------------------------

    def _index(self) -> int:
        index = promptkit.whole_index(self.backend)
        named = {name for path in index.values() for name in promptkit.endings(path)}
        going = {name for name in named if name in self.erased}
        dangling = {name for name in named - going if self._is_subjects(name) and records.is_reference(name)}
        heads = self.backend.fetch(heads=sorted(dangling)).heads if dangling else []
        going |= {name for name, head in zip(sorted(dangling), heads, strict=True) if head is None}
        if going and not self.dry_run:
            promptkit.forget(self.backend, going)
        return sum(not going.isdisjoint(promptkit.endings(path)) for path in index.values())

    # -- quarantine ----------------------------------------------------------------------------------------

    def _quarantine(self) -> int:
        """Remove what was the subject's, and shared bytes that stood in quarantine for media of the subject alone.

        What is set aside of a media that stays, stays with it: a hold's words may lie nowhere else.
        """
        staying = Names(self.staying)
        judged: list[tuple[QuarantineFolder, Owner]] = []
        for aside in read_quarantine(self.backend):
            owner: Owner = "other" if staying.stand_for(aside) else self._owner(aside)
            judged.append((aside._replace(texts={}), owner))
        media = {each for aside, owner in judged if owner == "subject" for each in aside.sidecars.values()}
        erased, lost = Names(self.erased), Names(media - self._there(filter(records.is_reference, media)))
        hers: list[QuarantineFolder] = []
        others: list[QuarantineFolder] = []
        for aside, owner in judged:
            is_hers = owner == "subject" or (owner == "unclear" and self._is_named(aside, erased, lost))
            (hers if is_hers else others).append(aside)
        digests = {digest for aside in hers for digest in aside.needed}
        digests |= {pointer.digest for each in self.erased if (pointer := keys.pointer_of(each)) is not None}
        digests -= {digest for aside in others for digest in aside.needed}
        shared = [aside for aside in others if aside.blobs and aside.blobs <= digests]
        alone = [aside for aside in shared if not any(map(self._is_used, aside.blobs))]
        return sum(map(self._forget, [*alone, *hers]))  # in this order: sidecars tell whose the shared bytes were

    def _owner(self, aside: QuarantineFolder) -> Owner:
        """Tell whose it is by a sidecar in it; `unclear` where that does not say, or there is none."""
        texts = ((media, aside.texts.get(key)) for key, media in aside.sidecars.items())
        if any(data is not None and self.subject.owner(media, data) == "subject" for media, data in texts):
            return "subject"
        return "other" if is_anothers(self.subject.words, aside) else "unclear"

    def _is_named(self, aside: QuarantineFolder, erased: Names, lost: Names) -> bool:
        """Tell whether names say that it is the subject's.

        Where they are not those of erased media, what is there speaks for itself, and a hold that is in force in the
        place of the one that was set aside may need its words.
        """
        if erased.stand_for(aside):
            return True
        if not lost.stand_for(aside) and not any(map(self.subject.lies_in, aside.references)):
            return False
        if self._there(filter(records.is_reference, aside.references)):
            return False
        return not (aside.holds and any(self.backend.fetch(heads=list(aside.holds.values())).heads))

    def _forget(self, aside: QuarantineFolder) -> int:
        """Remove what was set aside together; what tells whose it is goes last, and stays with what can't go."""
        telling = [key for key in aside.keys if key in aside.sidecars or not keys.parse_quarantined(key).key]
        rest = [key for key in aside.keys if key not in telling]
        count = self._delete(rest)
        return count + self._delete(telling) if count == len(rest) else count

    def _is_used(self, digest: str) -> bool:
        """Tell whether other media still share bytes of this digest, so that its damaged copy may be theirs, too."""
        own = {keys.marker_prefix(each) for each in self.erased}  # in a dry run they are still there
        markers = self.backend.entries(f"{keys.blob_folder(digest)}/refs")
        return any(marker_prefix_of(each) not in own for each in markers)


class Names:
    """Names of media, to look for in quarantine."""

    def __init__(self, references: Iterable[str]) -> None:
        self._names = {name for each in references for name in (each, keys.plain_reference(each)) if name is not None}

    @cached_property
    def _digests(self) -> set[str]:
        """Of references, as in a hold's key, and of all keys that may have been too long for quarantine."""
        spelled = (key for each in self._names for key in (each, keys.sidecar_key(each), keys.hold_key(each)))
        return {sha256(each.encode(errors="surrogatepass")).hexdigest() for each in spelled}

    def stand_for(self, aside: QuarantineFolder) -> bool:
        """Tell whether one of the media is named by what was set aside."""
        if not self._names:
            return False
        return not self._names.isdisjoint(aside.references) or (
            bool(aside.digests) and not self._digests.isdisjoint(aside.digests)
        )


def is_anothers(words: Mapping[str, str], aside: QuarantineFolder) -> bool:
    """Tell whether a sidecar that was set aside names somebody else: a name may have been others' before."""
    texts = ((media, aside.texts.get(key)) for key, media in aside.sidecars.items())
    return any(data is not None and names_another(words, sidecar_values(data, media)[0]) for media, data in texts)


def clear_leftovers(traces: Traces, configuration: Configuration) -> None:
    """List the store again, and remove leftovers of the subject; due entries of what was erased need not grow old."""
    backend, result, dry_run = traces.backend, traces.result, traces.dry_run
    try:
        listing = find_leftovers(backend)
        items = [*_lone(traces, listing), *_markers(traces, listing)]
        # Due entries of erased media need not grow old: no store of theirs is under way.
        _clear_due(traces, listing)
        if not items:
            return
        now = datetime.now(UTC) if dry_run else storage_time(backend)
        if now is None:
            raise StorageError(f"{backend.url} tells no times, so it can't be told what is old")
    except MediaError as error:
        result.fail(keys.INTERNAL, error)
        return
    context = VerifyContext(backend, configuration, before(now, configuration.orphan_grace), now, repairs=not dry_run)
    old: list[LeftoverItem] = []
    for item in items:
        entries = list(_entries(item))
        young = [entry for entry in entries if not context.is_old(entry)]
        result.waiting += [Remaining(reference=Reference(entry.key), reason=_YOUNG) for entry in young]
        if len(young) < len(entries):
            old.append(item)
    outcome = mend_window(context, old)
    mended = [each.kind for each in outcome.findings if not each.harmless]
    result.due_entries += mended.count("due")
    result.leftovers += len(mended) - mended.count("due")
    result.failed += outcome.failed


def _entries(item: LeftoverItem) -> Iterator[Entry]:
    if isinstance(item, ObjectItem):
        yield item.entry
    elif isinstance(item, GenerationItem):
        yield from item.parts.markers


def _lone(traces: Traces, listing: LeftoverListing) -> Iterator[LeftoverItem]:
    """Yield bytes, temporary files and due entries of the subject that belong to no media."""
    backend, subject, erased = traces.backend, traces.subject, traces.erased
    for entry in listing.temporary:
        if entry.key.startswith(f"{keys.ERASURES}/") and subject.digest.encode() in (backend.read(entry.key) or b""):
            yield ObjectItem("temporary", entry)  # a page of the journal, on a disk
    kinds: dict[FindingKind, list[Entry]] = {"temporary": listing.temporary, "bytes": listing.bytes_without}
    for kind, entries in kinds.items():
        for entry in entries:
            if entry.key not in erased and subject.lies_in(entry.key):
                yield ObjectItem(kind, entry)
    for entry, reference in listing.due:
        if reference not in erased and not listing.has_sidecar(reference) and subject.lies_in(reference):
            yield ObjectItem("due", entry)


def _markers(traces: Traces, listing: LeftoverListing) -> Iterator[LeftoverItem]:
    """Yield the generations with a marker of the subject that no media names; reads such markers only."""
    lonely: list[tuple[tuple[str, str], Entry]] = []
    for key, parts in listing.generations.items():
        named = listing.named.get(key, {})
        lonely += [(key, entry) for entry in parts.markers if marker_prefix_of(entry) not in named]
    for window in windows(lonely, SEARCH_WINDOW):
        bodies = traces.backend.fetch(reads=[entry.key for _, entry in window]).reads
        for (key, entry), body in zip(window, bodies, strict=True):
            reference = "" if body is None else body.decode(errors="replace")
            if records.is_reference(reference) and (reference in traces.erased or traces.subject.lies_in(reference)):
                alone = Generation(listing.generations[key].data, [entry], [])
                yield GenerationItem.of(key, alone, listing.named.get(key, {}))


def _clear_due(traces: Traces, listing: LeftoverListing) -> None:
    """Remove all due entries of erased media, old hints too, unless such a media was stored again meanwhile."""
    backend, result = traces.backend, traces.result
    spent = {entry.key: reference for entry, reference in listing.due if reference in traces.erased}
    if traces.dry_run:
        result.due_entries += len(spent)
        return
    for window in windows(spent.items(), SEARCH_WINDOW):
        # A sidecar that is there again is that of a media stored meanwhile, which keeps its entries.
        sidecars = records.read_sidecars(backend, [reference for _, reference in window])
        going = [key for (key, _), sidecar in zip(window, sidecars, strict=True) if sidecar is None]
        failed = backend.delete(going) if going else {}
        result.due_entries += len(going) - len(failed)
        for key, error in failed.items():
            result.fail(key, error)


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
        try:
            values = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            values = None
    else:
        values = dict(given)
    if not isinstance(values, dict) or not isinstance(values.get("receipt"), int):
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
    check.objects()
    check.blobs()
    check.records()
    check.quarantine()
    check.versions()
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
    """Looks for everything that a receipt calls erased."""

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
            wanted: list[str] = []
            for each in window:
                plain = keys.pointer_of(each) is None
                wanted += [keys.sidecar_key(each), keys.hold_key(each), each if plain else keys.sidecar_key(each)]
            heads = self.backend.fetch(heads=wanted).heads
            for number, each in enumerate(window):
                sidecar, hold, data = heads[3 * number : 3 * number + 3]
                if sidecar is not None:
                    self._find("sidecar", keys.sidecar_key(each), "its sidecar is there")
                if hold is not None:
                    self._find("hold", keys.hold_key(each), f"a hold names {each}")
                if data is not None and keys.pointer_of(each) is None:
                    self._find("reference", each, "its bytes are there")

    def blobs(self) -> None:
        """Look for shared bytes, whatever holds them, of digests that are called gone."""
        for digest in sorted(self.gone):
            for entry in self.backend.entries(keys.blob_folder(digest)):
                parsed = keys.parse_blob_key(entry.key)
                if parsed is not None and parsed.kind == "data":
                    reason = "bytes are there that the receipt calls gone, or the same ones again"
                    self._find("bytes", entry.key, reason)

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
                others.append(aside._replace(texts={}))
        digests = {pointer.digest for each in self.references if (pointer := keys.pointer_of(each)) is not None}
        gone = (digests & self.gone) - {digest for aside in others for digest in aside.needed}
        for aside in others:
            if aside.blobs and aside.blobs <= gone:
                self._find_aside(aside)

    def versions(self) -> None:
        """Look for older versions, in buckets that keep them."""
        search = VersionSearch(self.backend, self.references, self.gone)
        for key, reason in versions_of(search, self.receipt.kept_until, self.receipt.finished).items():
            self._find("version", key, reason)

    def _find_aside(self, aside: QuarantineFolder) -> None:
        for key in aside.keys:
            self._find("quarantine", key, "a repair set it aside")

    def digests(self, executor: Executor | None, progress: Callable[[int], object] | None) -> int:
        """Read every sidecar, and compare its digest; return how many media were looked at."""
        if not self.gone:
            return 0
        listed = owned_pairs(NestedStores().entries(self.backend))
        total = run_windows(
            check_receipt_window,
            (self.backend, self.gone),
            windows((item for item in listed if item.has_sidecar), SEARCH_WINDOW),
            ReceiptCheckResult(),
            backends=[self.backend],
            key=lambda item: item.key,
            again="check again",
            executor=executor,
            handle=_raise_failure,
            progress=progress,
        )
        for reference in total.found:
            self._find("bytes", reference, "a media has bytes that the receipt calls gone, or the same ones again")
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
