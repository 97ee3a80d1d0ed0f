"""Verification: everything in a store is compared with docs/format.md, and repaired where that is asked for.

One listing, windows of media, then the objects that no media uses. That order matters for repairs: media first, with
the markers they lack, then what seems to belong to none.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Final, Literal, TypeVar

from fsmedia.catalog.schema import COARSEST
from fsmedia.core import promptkit, records
from fsmedia.core.named import ContentDigest, read_digest
from fsmedia.core.parallel import WindowOptions, run_windows, windows
from fsmedia.core.records import ListedPair
from fsmedia.core.settings_file import SettingsFile, refuse_nesting
from fsmedia.errors import CorruptSidecarError, InvalidMediaError, MediaError, StorageError
from fsmedia.format import keys, wav
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance import leftovers
from fsmedia.maintenance.leftovers import Generation, GenerationItem, MissingMarkerItem, ObjectItem
from fsmedia.maintenance.quarantine import set_aside
from fsmedia.maintenance.repair import (
    DamagedBlobItem,
    HoldItem,
    Repairer,
    RepairItem,
    SidecarChangedError,
    SpentDueItem,
    digest_window,
    heal_window,
    lone_bytes,
    repair_window,
    unsteady,
)
from fsmedia.maintenance.survey import (
    YOUNG,
    CatalogComparison,
    MediaNeeds,
    Survey,
    VerifyContext,
    VerifyResult,
    before,
    check_listing,
    read_digests,
)
from fsmedia.models import Finding, FindingKind, VerifyReport, mime
from fsmedia.storage import Backend, Entry
from fsmedia.storage.port import storage_time

Item = TypeVar("Item")
LEFTOVERS: Final = "leftovers"
KEPT = 1000  # findings of each kind in the report; all are counted
_NESTED = (
    "another store lies here, below this one: nothing in it was looked at, and nothing of this store does anything to "
    "it; move one of the two out of the other"
)
_WINDOW = 256
_FEW = 32
_LOOKS = 4  # comparisons of a media whose sidecar changes meanwhile
_LEFTOVERS_WINDOW = 100
_READ_TOGETHER = 500
_FILE = "it has no sidecar: another program's, or a client's whose store died"


def verify(
    backend: Backend,
    settings_file: SettingsFile,
    grace: timedelta,
    *,
    deep: bool,
    measure: bool = False,
    repair: bool | Literal["leftovers"],
    dry_run: bool,
    force: bool = False,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
    found: Callable[[Finding], object] | None = None,
) -> VerifyReport:
    """Verify a store; see `MediaStore.verify`."""
    if repair not in (False, True, LEFTOVERS):
        raise InvalidMediaError(f"repair must be True, False or {LEFTOVERS!r}, not {repair!r}")
    if repair == LEFTOVERS and (deep or measure):
        raise InvalidMediaError(
            f"repair={LEFTOVERS!r} looks at no media",
            next_step=f"give {'deep' if deep else 'measure'} with repair=True, --repair",
        )
    writes = bool(repair) and not dry_run
    # A repair goes by the storage's clock, as the grace does. Without one nothing is written, also not to ask the time.
    now = storage_time(backend) if writes else datetime.now(UTC)
    if now is None:
        raise StorageError(f"{backend.url} tells no times, so it can't be told what is old")
    completing, refused = repair is True and settings_file.configuration.due_index != "complete", VerifyResult()
    # Read again only where it matters: another process may have made the index complete meanwhile.
    configuration = settings_file.reload() if completing else settings_file.configuration
    if completing and not settings_file.is_settled:
        # Before the first entry: where no settings can be written, the index stays partial.
        with refused.guard(keys.CONFIGURATION_KEY):
            refuse_nesting(backend, is_used=True)
        completing = not refused.failed
    context = VerifyContext(backend, configuration, before(now, grace), now, deep, writes, measure, completing)
    survey = Survey(CatalogComparison(backend, settings_file, datetime.now(UTC) - COARSEST))
    verification = Verification(context, settings_file, survey, bool(repair), force, executor, progress, found, refused)
    return verification.run(only_leftovers=repair == LEFTOVERS)


@dataclass(slots=True)
class Verification:
    """One verification of one store."""

    context: VerifyContext
    settings_file: SettingsFile
    survey: Survey
    repair: bool = False  # also where only the plan of one is told
    force: bool = False  # repair also where so little was listed that it may be wrong
    executor: Executor | None = None
    progress: Callable[[int], object] | None = None
    found: Callable[[Finding], object] | None = None  # called with each finding, after its repair
    _total: VerifyResult = field(default_factory=VerifyResult)
    _findings: list[Finding] = field(default_factory=list)
    _counts: Counter[FindingKind] = field(default_factory=Counter)
    _left: int = 0
    _mended: int = 0
    _freed: int = 0
    _unmarked: list[RepairItem] = field(default_factory=list)
    _undated: list[RepairItem] = field(default_factory=list)

    def run(self, *, only_leftovers: bool) -> VerifyReport:
        """Verify the whole store, or only look for leftovers; what failed for single things is in the report."""
        begun = time.monotonic()
        survey, total, backend = self.survey, self._total, self.context.backend
        if only_leftovers:
            self._sweep_leftovers()
        else:
            self._check_all()
        self._check_spool()
        # A look that repairs nothing frees nothing, and does not ask the bucket what it would keep.
        freed = self._freed if self.repair else 0
        kept = freed > 0 and backend.keeps_versions
        return VerifyReport(
            findings=tuple(self._findings),
            counts=dict(self._counts),
            left=self._left,
            mended=self._mended,
            bytes_freed=0 if kept else freed,
            versions_kept=kept,
            examined=survey.examined,
            media=total.media,
            bytes=total.bytes,
            bytes_read=total.bytes_read,
            quarantined=survey.quarantined,
            due_index=self.settings_file.configuration.due_index,
            failed=tuple(total.failed),
            deep=self.context.deep,
            only_leftovers=only_leftovers,
            dry_run=not self.context.repairs,
            nested_stores=survey.nested.told(backend),
            took=timedelta(seconds=time.monotonic() - begun),
        )

    def _sweep_leftovers(self) -> None:
        """Look for leftovers only, by a listing; no sidecar is read."""
        listing = leftovers.find_leftovers(self.context.backend, self.progress)
        self.survey.examined, self.survey.nested = listing.examined, listing.nested
        # All missing markers are restored before any leftover goes: a generation without markers is released.
        for items in (listing.unmarked(), listing.items()):
            self._run(leftovers.mend_window, items, _LEFTOVERS_WINDOW)

    def _check_all(self) -> None:
        """Look at all media, then at what belongs to none."""
        survey, total = self.survey, self._total
        self._check_aside()
        self._run(check_window, survey.pairs(self.context.backend, self.progress), _WINDOW)
        self._check_listing()
        # All markers that media lack are there before anything is released: bytes without a marker would go.
        self._flush(0)
        self._complete_due_index()
        if self.context.deep:
            self._run(digest_window, survey.data.entries(used=True), _FEW)
        absent = (DamagedBlobItem(key, tuple(references)) for key, references in survey.absent.items())
        self._run(heal_window, chain(absent, map(DamagedBlobItem, total.broken)), 1)
        self._run(repair_window, self._unused_items(), _FEW)
        self._check_uploads()
        self._check_records()

    def _complete_due_index(self) -> None:
        """Mark a partial due index as complete once it names all media whose sidecars can be read."""
        if not (self.context.completing and self.context.repairs) or self._total.failed:
            return
        # Where store.json of this package's own media is gone, nobody knows what it said: that is a finding.
        if self.survey.own and not self.survey.settings:
            return
        result = VerifyResult()
        with result.guard(keys.CONFIGURATION_KEY):
            self.settings_file.complete_due_index()
        self._add(result)

    def _check_aside(self) -> None:
        """Put back what a deletion had caught when it died, before the listing: it may be another's than was to go."""
        backend, context, result = self.context.backend, self.context, VerifyResult()
        for entry in list(backend.entries(keys.ASIDE)) if backend.renames else ():
            reference, detail = keys.parse_aside(entry.key), "bytes that a deletion had taken aside when it died"
            if reference is None or not context.is_old(entry):
                result.find("bytes", entry.key, detail, YOUNG, harmless=True)
                continue
            with result.guard(reference):
                name = keys.media_key(reference) if keys.is_sidecar(reference) else reference
                # The rename replaces: where there is a lock, nobody else writes the name between the look and it.
                with backend.lock([name]) if context.repairs and backend.locks else nullcontext():
                    free = backend.head(reference) is None
                    if context.repairs and free:
                        backend.rename(entry.key, reference)
                content = read_digest(backend, entry.key, entry.size) if context.repairs and not free else None
                if content is not None:
                    set_aside(context, reference, detail, objects={entry.key: content})
                    backend.remove(entry.key)
                plan = "back to its name" if free else "to quarantine: others lie at its name"
                result.find("bytes", entry.key, detail, plan, done=context.repairs)
        self._add(result)

    def _check_listing(self) -> None:
        """Stop where the listing was none of this whole store; what follows goes by what it did not show.

        What was repaired by then was looked at again, each media for itself.
        """
        survey, backend, file = self.survey, self.context.backend, self.settings_file
        file.look_again()
        if file.is_settled and not survey.settings:
            raise StorageError(
                f"{backend.url} lists {survey.examined:,} objects but not store.json, so it proves nothing",
                next_step="verify again",
                key=keys.CONFIGURATION_KEY,
            )
        if self.context.repairs and not self.force:
            beside = "its due index has entries" if len(survey.due) else ""
            check_listing(backend, file, self._total.media, whole=True, force=False, beside=beside)

    # -- results of windows --------------------------------------------------------------------------------

    def _run(self, work: Callable[[VerifyContext, list[Item]], VerifyResult], items: Iterable[Item], size: int) -> None:
        options = WindowOptions(backends=[self.context.backend], again="verify again", executor=self.executor)
        run_windows(work, self.context, windows(items, size), self._total, handle=self._take, **options)

    def _add(self, result: VerifyResult) -> None:
        """Add what was found outside a window."""
        self._take(result)
        self._total.add(result)

    def _take(self, result: VerifyResult) -> None:
        """Count findings, and mark what media use; what they lack waits for the next flush."""
        for finding in result.findings:
            self._count(finding)
        survey, configuration = self.survey, self.context.configuration
        # Entries of other instants, of policies before: they would be leftovers right after this repair.
        for reference in result.removed:
            survey.forget(reference)
        for media in result.needs:
            pointer = keys.pointer_of(media.key)
            marker = None if pointer is None or media.marker is None else pointer.marker_key(media.marker)
            if marker is not None and not survey.markers.mark_used(marker):
                self._unmarked.append(MissingMarkerItem(media.key))
            # What a partial index lacks is nothing wrong.
            expected = configuration.due_index == "complete" or self.context.completing
            if media.due is not None and not survey.due.mark_used(media.due) and expected:
                self._undated.append(media)
        self._flush(_READ_TOGETHER)

    def _flush(self, most: int) -> None:
        """Repair media that lack a marker or a due entry, if that many wait."""
        for waiting in (self._unmarked, self._undated):
            if len(waiting) > most:
                items = waiting.copy()
                waiting.clear()
                self._run(repair_window, items, _FEW)

    def _count(self, finding: Finding) -> None:
        self._counts[finding.kind] += 1
        self._mended += finding.done
        self._left += not finding.done and not finding.harmless
        self._freed += finding.size_bytes if finding.repair and not finding.harmless else 0
        if self._counts[finding.kind] <= KEPT:
            self._findings.append(finding)
        if self.found is not None:
            self.found(finding)

    # -- what no media uses --------------------------------------------------------------------------------

    def _unused_items(self) -> Iterator[RepairItem]:
        """Yield generations, files, due entries and holds that no listed media uses."""
        survey = self.survey
        yield from self._blobs()
        for entry in survey.strays.entries(used=False):
            yield ObjectItem("temporary" if keys.is_left_over(entry.key) else "foreign", entry)
        for entry in survey.due.entries(used=False):
            due = keys.parse_due(entry.key)
            if due is not None and not survey.has_sidecar(due.reference):
                yield ObjectItem("due", entry)
            elif due is not None and due.minute < self.context.before:
                yield SpentDueItem(entry, due)
        yield from (HoldItem(key, met) for key, met in survey.holds.items())

    def _blobs(self) -> Iterator[RepairItem]:
        """Yield the generations that have a condemned mark, unused data, or a marker that no sidecar names."""
        odd: dict[tuple[str, str], Generation] = defaultdict(Generation)
        names: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for entry in self.survey.marks:
            odd[leftovers.place_of(entry.key)].marks.append(entry)
        for entries in windows(self.survey.markers.entries(used=False), _READ_TOGETHER):
            for entry, reference in self._authors(entries):
                place = leftovers.place_of(entry.key)
                if reference is not None and self.survey.has_sidecar(reference):
                    names[place][keys.marker_prefix(reference)] = reference
                elif reference is not None:
                    odd[place].markers.append(entry)
                else:
                    # Nobody can tell whose it is, so its generation counts as named and is not released.
                    names[place][""] = ""
                    result = VerifyResult()
                    detail = "it names no media, so who wrote it can't be told; it holds its bytes"
                    result.find("marker", entry.key, detail, harmless=True)
                    self._add(result)
        for entry in self.survey.data.entries(used=False):
            odd[leftovers.place_of(entry.key)].data = entry
        used = set(map(leftovers.place_of, self.survey.absent))
        # An odd generation that media use is not released, whatever markers it has.
        for entry in self.survey.data.entries(used=True) if odd else ():
            place = leftovers.place_of(entry.key)
            if place in odd:
                used.add(place)
                odd[place].data = entry
        for place, parts in odd.items():
            named = names.get(place, {}) | ({"used": ""} if place in used else {})
            yield GenerationItem.of(place, parts, named)

    def _authors(self, entries: list[Entry]) -> Iterator[tuple[Entry, str | None]]:
        """Yield markers with the reference in each; None where it does not fit the marker's name."""
        try:
            bodies = self.context.backend.fetch(reads=[entry.key for entry in entries]).reads
        except MediaError as error:
            result = VerifyResult()
            result.fail_each({entry.key: error for entry in entries})
            self._add(result)
            return
        for entry, body in zip(entries, bodies, strict=True):
            if body is None:
                continue  # gone since it was listed
            reference = body.decode(errors="replace")
            yield entry, reference if leftovers.marker_name(entry).startswith(keys.marker_prefix(reference)) else None

    def _check_uploads(self) -> None:
        """Report unfinished uploads, where the storage lists them."""
        result = VerifyResult()
        try:
            found = self.context.backend.uploads()
            uploads = (upload for upload in found if not self.survey.nested.covers(upload.key))
            self._run(repair_window, uploads, _FEW)
        except MediaError as error:
            result.find("upload", "", f"unfinished uploads could not be listed: {error.problem}", harmless=True)
        self._add(result)

    def _check_spool(self) -> None:
        """Report what killed processes left in the temporary folder of this machine, and remove it."""
        context, result = self.context, VerifyResult()
        detail, plan = "a copy of bytes in the temporary folder of this machine, whose process died", "it is removed"
        try:
            for path, size in leftovers.spooled(context.now - context.before):
                if context.repairs:
                    Path(path).unlink(missing_ok=True)
                result.find("temporary", path, detail, plan, done=context.repairs, harmless=True, size_bytes=size)
        except OSError as error:
            problem = f"the temporary folder of this machine could not be cleared: {error}"
            result.find("temporary", error.filename or "", problem, harmless=True)
        self._add(result)

    def _check_records(self) -> None:
        """Check the catalog, PromptKit's index and the settings."""
        result, survey = VerifyResult(), self.survey
        survey.catalog.report(result, repairs=self.context.repairs, now=self.context.now)
        if survey.index_error is not None:
            result.find("index", keys.DEDUP_INDEX_KEY, survey.index_error.problem)
        lonely = set(chain.from_iterable(survey.index.values())) - survey.index_met
        for digest in sorted(lonely):
            detail = "PromptKit's index names bytes that are not there; it would answer a store with them"
            result.find("index", f"{keys.DEDUP_INDEX_KEY}#{digest}", detail, harmless=True)
        if survey.own and not survey.settings:
            detail = "media of this package lie here, and store.json is gone; make it again: create(), fsmedia init"
            result.find("settings", keys.CONFIGURATION_KEY, detail)
        for folder in survey.nested.folders:
            result.find("foreign", folder, _NESTED, harmless=True)
        self._add(result)


def check_window(context: VerifyContext, pairs: Sequence[ListedPair]) -> VerifyResult:
    """Check what lies at some names, and repair it where that is asked for."""
    checker = _Checker(context)
    known: list[ListedPair] = []
    for pair in pairs:
        if records.is_reference(pair.key):
            known.append(pair)
        else:
            checker.result.find("foreign", pair.key, "no reference can name it, so no store can use it", harmless=True)
    media = [pair for pair in known if pair.sidecar is not None]
    sidecars = records.read_listed_sidecars(context.backend, [pair.key for pair in media])
    # In a deep verification the bytes of plain media; shared ones are read once for all media, and not here.
    plain = [pair.data for pair in media if pair.data is not None and keys.pointer_of(pair.key) is None]
    entries = plain if context.deep else []
    read = dict(zip([each.key for each in entries], read_digests(context.backend, entries), strict=True))
    for pair in media:
        with checker.result.guard(pair.key):
            checker.check(pair, sidecars[pair.key], read.get(pair.key))
    alone = [pair for pair in known if pair.sidecar is None]
    lone_bytes(context, [pair.data for pair in alone if pair.data and keys.is_own_name(pair.key)], checker.result)
    for entry in (pair.data for pair in alone if pair.data and not keys.is_own_name(pair.key)):
        checker.result.media += 1
        checker.result.bytes += entry.size
        checker.result.find("file", entry.key, _FILE, harmless=True)
    return checker.result


class _Checker:
    """Compares media of a window with their sidecars."""

    def __init__(self, context: VerifyContext) -> None:
        self.context = context
        self.result = VerifyResult()
        self.repairer = Repairer(context, self.result)

    def check(self, pair: ListedPair, data: bytes | MediaError | None, read: ContentDigest | MediaError | None) -> None:
        """Check one media."""
        if isinstance(data, MediaError):
            raise data
        if data is None:
            return  # deleted since it was listed
        reference, pointer = pair.key, keys.pointer_of(pair.key)
        if pointer is None and pair.data is None:
            self.repairer.missing_bytes(pair)
            return
        self.result.media += 1
        if pointer is not None and pair.data is not None:
            self.result.find("foreign", reference, "bytes lie at a name whose bytes lie elsewhere", harmless=True)
        size = pointer.size if pointer is not None else pair.data.size if pair.data is not None else 0
        self.result.bytes += size
        self.result.bytes_read += read.size if isinstance(read, ContentDigest) else 0
        found = self.result.findings
        for _ in range(_LOOKS):
            begun = len(found)
            try:
                self._compare(pair, size, data, read)
            except SidecarChangedError as changed:
                found[begun:] = [each for each in found[begun:] if each.done]  # the rest is found again, if it stands
                state = changed.state
                data = state.sidecar or b""
                # As old as it is: what was listed may be older, and what somebody is writing is not repaired.
                pair = pair._replace(sidecar=self.context.backend.head(keys.sidecar_key(reference)))
                if pointer is not None or state.data is None or (state.data == pair.data and state.data.token):
                    continue
                pair, size = pair._replace(data=state.data), state.data.size
                if self.context.deep and (read := self._read(state.data)) is None:
                    break
            else:
                return
        raise unsteady(reference)

    def _read(self, entry: Entry) -> ContentDigest | None:
        read = read_digest(self.context.backend, entry.key, entry.size)
        self.result.bytes_read += 0 if read is None else read.size
        return read

    def _compare(self, pair: ListedPair, size: int, data: bytes, read: ContentDigest | MediaError | None) -> None:
        """Compare a media with its sidecar; `SidecarChangedError` where another one lies there by now."""
        reference, pointer = pair.key, keys.pointer_of(pair.key)
        # Shared bytes may be much older than this media.
        written = pair.data if pointer is None else pair.sidecar
        modified = None if written is None else written.modified
        try:
            sidecar = Sidecar.parse(data, reference)
            sidecar.record(reference, size)
            media = self._needs(sidecar, reference, modified)
        except CorruptSidecarError as error:
            self.repairer.broken_sidecar(pair, data, error)
            return
        self.result.needs.append(media)
        try:
            self._type(pair, sidecar, data)
            if pointer is None:
                self._bytes(pair, sidecar, data, read)
            elif sidecar.values.get("size_bytes") != size:
                wrong = CorruptSidecarError("its sidecar speaks of other bytes than its name (another size)")
                self.repairer.broken_sidecar(pair, data, wrong)
            # Last, for it changes the sidecar that the others compare.
            if self.context.measure:
                self.repairer.unmeasured(pair, sidecar, data, size, read if isinstance(read, ContentDigest) else None)
        except SidecarChangedError:
            self.result.needs.pop()  # the other sidecar may need others
            raise

    def _needs(self, sidecar: Sidecar, reference: str, modified: datetime | None) -> MediaNeeds:
        """Return the objects that a media needs besides its bytes and its sidecar."""
        instant = records.expiry_of(sidecar, reference, self.context.configuration, modified)
        media = MediaNeeds(reference, None if instant is None else keys.due_key(instant, reference))
        if keys.pointer_of(reference) is not None:
            if not sidecar.agrees(reference):
                raise CorruptSidecarError("its sidecar speaks of other bytes than its name")
            media.marker = sidecar.marker(reference)
            if media.marker is None:
                raise CorruptSidecarError("its sidecar names no marker of its own")
        return media

    def _bytes(self, pair: ListedPair, sidecar: Sidecar, data: bytes, read: ContentDigest | MediaError | None) -> None:
        """Compare a plain media's size, and in a deep verification digest and type."""
        entry, values = pair.data, sidecar.values
        if entry is None:
            return
        said, digest = values.get("size_bytes"), values.get("sha256")
        # PromptKit writes no digest, and sizes that are 0 or without the header that it put before raw sound.
        is_raw = wav.is_raw(str(values.get("mime_type") or ""))
        is_promptkits = digest is None and (not said or (is_raw and said + wav.HEADER_BYTES == entry.size))
        wrong_size = said != entry.size and not is_promptkits
        if isinstance(read, MediaError):
            raise read
        if read is not None:
            stem = keys.file_name(pair.key).partition(".")[0]  # by its deduplication names are digests
            wanted = digest or (stem if keys.is_digest(stem) else None)
            if wanted is not None and read.sha256 != wanted:
                detail = f"its bytes have another digest than its {'sidecar' if digest else 'name'} says"
                if wrong_size:
                    detail += f", and another size: {entry.size} for {said}"
                self.repairer.wrong_bytes(pair, data, "size" if wrong_size else "digest", detail, read)
                return
        if wrong_size:
            detail = f"it has {entry.size} bytes, and its sidecar says {said}"
            self.repairer.wrong_bytes(pair, data, "size", detail, read)
        elif read is not None:
            mime_type = promptkit.mime_type_of(str(values.get("mime_type") or ""), pair.key)
            if mime.agrees(mime_type, read.head) != values.get("detected_mime_type"):
                self.repairer.wrong_type(pair, data, read.head)

    def _type(self, pair: ListedPair, sidecar: Sidecar, data: bytes) -> None:
        """Compare the type with the extension that was made of it; bytes are read only where they differ.

        The table of extensions may have been another one when it was stored, so a difference alone is nothing.
        """
        own = keys.parse_own_name(pair.key)
        if own is None or (self.context.deep and keys.pointer_of(pair.key) is None):
            return
        named = mime.guess_from_name(keys.file_name(pair.key))
        said = mime.extension_for(str(sidecar.values.get("mime_type") or ""))
        if named is not None and said != mime.extension_for(named):
            self.repairer.wrong_type(pair, data)
