"""A whole look over a store: one listing, windows of media, then what no media named; one report.

The order matters where it repairs: media first, with the markers they lack, then what seems to belong to none.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from fsmedia.catalog.schema import COARSEST
from fsmedia.core import promptkit, records
from fsmedia.core.parallel import run_windows, windows
from fsmedia.errors import CorruptSidecarError, MediaError, StorageError
from fsmedia.format import keys, wav
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance import survey
from fsmedia.maintenance.leftovers import Blob, Generation, Lone, Unmarked, before
from fsmedia.maintenance.repair import (
    Broken,
    Dated,
    Held,
    Mender,
    Remainder,
    Undated,
    Unfinished,
    adopt,
    digest_window,
    heal_window,
    lone_bytes,
    mend_leftovers,
)
from fsmedia.maintenance.survey import CatalogWatch, Fact, Survey, VerifyContext, VerifyResult
from fsmedia.models import VerifyReport, mime
from fsmedia.storage.port import storage_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

    from fsmedia.core.records import ListedPair
    from fsmedia.models import Finding, FindingKind
    from fsmedia.storage import Entry

    Progress = Callable[[int], object] | None
    from collections.abc import Callable, Sequence

    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.maintenance.survey import Content
    from fsmedia.storage import Backend

Item = TypeVar("Item")

KEPT = 1000
"""Findings of each kind that stand in the report; all are counted."""
_WINDOW = 256
_FEW = 32
_READ_TOGETHER = 500


@dataclass(slots=True)
class Verification:
    """One look over one store.

    Attributes
    ----------
    found
        Called with each finding, once what is to be done about it is done.
    """

    context: VerifyContext
    catalog: CatalogWatch
    executor: Executor | None = None
    progress: Progress = None
    found: Callable[[Finding], object] | None = None
    _survey: Survey = field(init=False)
    _total: VerifyResult = field(default_factory=VerifyResult)
    _findings: list[Finding] = field(default_factory=list)
    _counts: Counter[FindingKind] = field(default_factory=Counter)
    _left: int = 0
    _mended: int = 0
    _unmarked: list[Remainder] = field(default_factory=list)
    _undated: list[Remainder] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._survey = Survey(self.catalog)

    def run(self) -> VerifyReport:
        """Look at everything.

        Raises
        ------
        StorageError
            The store can't be listed; what failed for single things is in the report.
        """
        begun = time.monotonic()
        survey, total = self._survey, self._total
        pairs = survey.pairs(self.context.backend, self.progress)
        self._run(check_window, windows(pairs, _WINDOW), lambda pair: pair.key)
        self._flush(0)
        if self.context.deep:
            self._run(digest_window, windows(survey.data.struck(), _FEW), lambda entry: entry.key)
        absent = (Broken(key, tuple(references)) for key, references in survey.absent.items())
        tasks = chain(absent, map(Broken, total.broken))
        self._run(heal_window, windows(tasks, 1), lambda task: task.key)
        self._mend(self._remainders())
        self._uploads()
        self._tell()
        return VerifyReport(
            findings=tuple(self._findings),
            counts=dict(self._counts),
            left=self._left,
            mended=self._mended,
            examined=survey.examined,
            media=total.media,
            bytes=total.bytes,
            bytes_read=total.bytes_read,
            quarantined=survey.quarantined,
            failed=tuple(total.failed),
            deep=self.context.deep,
            dry_run=not (self.context.repairs or self.context.adopts),
            took=timedelta(seconds=time.monotonic() - begun),
        )

    # -- what windows bring --------------------------------------------------------------------------------

    def _run(
        self,
        work: Callable[[VerifyContext, list[Item]], VerifyResult],
        parts: Iterable[list[Item]],
        key: Callable[[Item], str],
    ) -> None:
        run_windows(
            work,
            self.context,
            parts,
            self._total,
            backends=[self.context.backend],
            key=key,
            again="verify again",
            executor=self.executor,
            handle=self._take,
        )

    def _add(self, outcome: VerifyResult) -> None:
        """Take what was found outside a window."""
        self._take(outcome)
        self._total.add(outcome)

    def _take(self, outcome: VerifyResult) -> None:
        """Count what was found, and strike off what media name."""
        for finding in outcome.findings:
            self._note(finding)
        survey, configuration = self._survey, self.context.configuration
        for fact in outcome.facts:
            pointer = keys.pointer_of(fact.reference)
            marker = None if pointer is None or fact.marker is None else pointer.marker_key(fact.marker)
            if marker is not None and not survey.markers.strike(marker):
                self._unmarked.append(Unmarked(fact.reference))
            if fact.due is not None and not survey.due.strike(fact.due) and configuration.due_index == "complete":
                self._undated.append(Undated(fact))
        self._flush(_READ_TOGETHER)

    def _flush(self, most: int) -> None:
        """Give media what they lack, before anything is taken away."""
        for waiting in (self._unmarked, self._undated):
            if len(waiting) > most:
                tasks = waiting.copy()
                waiting.clear()
                self._mend(tasks)

    def _note(self, finding: Finding) -> None:
        self._counts[finding.kind] += 1
        self._mended += finding.done
        self._left += not finding.done and not finding.harmless
        if self._counts[finding.kind] <= KEPT:
            self._findings.append(finding)
        if self.found is not None:
            self.found(finding)

    def _mend(self, tasks: Iterable[Remainder]) -> None:
        self._run(mend_leftovers, windows(tasks, _FEW), lambda task: task.key)

    # -- what no media named -------------------------------------------------------------------------------

    def _remainders(self) -> Iterator[Remainder]:
        survey = self._survey
        yield from self._blobs()
        for entry in survey.lone.left():
            yield Lone("temporary" if keys.is_temporary(entry.key) else "foreign", entry)
        for entry in survey.due.left():
            due = keys.parse_due(entry.key)
            if due is not None and not survey.has_sidecar(due.reference):
                yield Lone("due", entry)
            elif due is not None and due.minute < self.context.before:
                yield Dated(entry, due.reference)
        yield from (Held(key, met) for key, met in survey.holds.items())

    def _blobs(self) -> Iterator[Remainder]:
        """Give the generations that something is odd about: a marker no sidecar names, data, a mark."""
        odd: dict[tuple[str, str], Generation] = {}
        names: dict[tuple[str, str], dict[str, str]] = {}
        for entry in self._survey.marks:
            _generation(odd, entry).marks.append(entry)
        for entries in windows(self._survey.markers.left(), _READ_TOGETHER):
            for entry, reference in self._authors(entries):
                blob = keys.parse_blob_key(entry.key)
                place = ("", "") if blob is None else (blob.digest, blob.generation)
                if reference is not None and self._survey.has_sidecar(reference):
                    names.setdefault(place, {})[keys.marker_prefix(reference)] = reference
                elif reference is not None:
                    _generation(odd, entry).markers.append(entry)
                else:
                    names.setdefault(place, {})[""] = ""
                    self._note_unknown(entry)
        for entry in self._survey.data.left():
            _generation(odd, entry).data = entry
        used = {(blob.digest, blob.generation) for key in self._survey.absent if (blob := keys.parse_blob_key(key))}
        for entry in self._survey.data.struck() if odd else ():
            blob = keys.parse_blob_key(entry.key)
            if blob is not None and (blob.digest, blob.generation) in odd:
                used.add((blob.digest, blob.generation))
                odd[blob.digest, blob.generation].data = entry
        for place, parts in odd.items():
            size = 0 if parts.data is None else parts.data.size
            named = names.get(place, {}) | ({"used": ""} if place in used else {})
            yield Blob(keys.Pointer(size, *place), parts, named)

    def _authors(self, entries: list[Entry]) -> Iterator[tuple[Entry, str | None]]:
        """Give markers with the reference that each holds its bytes for; None where that can't be told."""
        try:
            bodies = self.context.backend.fetch(reads=[entry.key for entry in entries]).reads
        except MediaError as error:
            outcome = VerifyResult()
            for entry in entries:
                outcome.fail(entry.key, error)
            self._add(outcome)
            return
        for entry, body in zip(entries, bodies, strict=True):
            if body is None:
                continue  # gone since it was listed
            reference = body.decode(errors="replace")
            name = entry.key.rpartition("/")[2]
            yield entry, reference if name.startswith(keys.marker_prefix(reference)) else None

    def _note_unknown(self, entry: Entry) -> None:
        outcome = VerifyResult()
        detail = "it names no media, so who wrote it can't be told; it holds its bytes"
        outcome.find("marker", entry.key, detail, harmless=True)
        self._add(outcome)

    def _uploads(self) -> None:
        """Look for uploads that nobody finished, where the storage lists them."""
        outcome = VerifyResult()
        try:
            self._mend(Unfinished(upload) for upload in self.context.backend.uploads())
        except MediaError as error:
            outcome.find("upload", "", f"unfinished uploads could not be listed: {error.problem}", harmless=True)
        self._add(outcome)

    def _tell(self) -> None:
        """Tell of the catalog, of PromptKit's index and of the settings."""
        outcome, survey = VerifyResult(), self._survey
        self.catalog.tell(outcome, repairs=self.context.repairs, now=self.context.now)
        if survey.index_error is not None:
            outcome.find("index", keys.DEDUP_INDEX_KEY, survey.index_error.problem)
        lonely = set(chain.from_iterable(survey.index.values())) - survey.index_met
        for digest in sorted(lonely):
            detail = "PromptKit's index names bytes that are not there; it would answer a store with them"
            outcome.find("index", f"{keys.DEDUP_INDEX_KEY}#{digest}", detail, harmless=True)
        if survey.own and not survey.settings:
            detail = "media of this package lie here, and store.json is gone; make it again: create(), fsmedia init"
            outcome.find("settings", keys.CONFIGURATION_KEY, detail)
        self._add(outcome)


def _generation(odd: dict[tuple[str, str], Generation], entry: Entry) -> Generation:
    blob = keys.parse_blob_key(entry.key)
    return odd.setdefault(("", "") if blob is None else (blob.digest, blob.generation), Generation())


def verify(
    backend: Backend,
    settings_file: SettingsFile,
    grace: timedelta,
    *,
    deep: bool,
    repair: bool,
    adopt: bool,
    dry_run: bool,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
    found: Callable[[Finding], object] | None = None,
) -> VerifyReport:
    """Look over a store; see `MediaStore.verify`."""
    writes = (repair or adopt) and not dry_run
    if writes and adopt:
        settings_file.settle()
    # Who writes nothing goes by this machine's clock.
    now = storage_time(backend) if writes else datetime.now(UTC)
    if now is None:
        raise StorageError(f"{backend.url} tells no times, so it can't be told what is old")
    context = VerifyContext(
        backend,
        settings_file.configuration,
        before(now, grace),
        now,
        deep=deep,
        repairs=repair and writes,
        adopting=adopt,
        adopts=adopt and writes,
    )
    watch = CatalogWatch(backend, settings_file, datetime.now(UTC) - COARSEST)
    return Verification(context, watch, executor, progress, found).run()


_DIGEST_LENGTH = 64


def check_window(context: VerifyContext, pairs: Sequence[ListedPair]) -> VerifyResult:
    """Look at what lies at some names, and mend it where that is asked for."""
    checker = _Checker(context)
    known = [pair for pair in pairs if records.is_reference(pair.key)]
    for pair in pairs:
        if not records.is_reference(pair.key):
            detail = "no reference can name it, so no store can use it"
            checker.outcome.find("foreign", pair.key, detail, harmless=True)
    media = [pair for pair in known if pair.sidecar is not None]
    sidecars = records.read_sidecars(context.backend, [pair.key for pair in media])
    read = _read(context, media)
    for pair, data in zip(media, sidecars, strict=True):
        checker.guarded(pair.key, partial(checker.media, pair, data, read.get(pair.key)))
    alone = [pair for pair in known if pair.sidecar is None]
    lone_bytes(context, [pair.data for pair in alone if pair.data and keys.is_own_name(pair.key)], checker.outcome)
    adopt(context, [pair.data for pair in alone if pair.data and not keys.is_own_name(pair.key)], checker.outcome)
    return checker.outcome


def _read(context: VerifyContext, media: Sequence[ListedPair]) -> dict[str, Content | MediaError | None]:
    """Read the bytes of plain media; shared ones are read once, and not here."""
    if not context.deep:
        return {}
    entries = [pair.data for pair in media if pair.data is not None and keys.pointer_of(pair.key) is None]
    return dict(zip([each.key for each in entries], survey.read_many(context.backend, entries), strict=True))


class _Checker:
    def __init__(self, context: VerifyContext) -> None:
        self.context = context
        self.outcome = VerifyResult()
        self.mender = Mender(context, self.outcome)

    def guarded(self, key: str, act: Callable[[], None]) -> None:
        """Act; what goes wrong with one media is told, and the next comes."""
        try:
            act()
        except MediaError as error:
            self.outcome.fail(key, error)

    def media(self, pair: ListedPair, data: bytes | MediaError | None, read: Content | MediaError | None) -> None:
        """Look at one media."""
        if isinstance(data, MediaError):
            raise data
        if data is None:
            return  # deleted since it was listed
        reference, pointer = pair.key, keys.pointer_of(pair.key)
        if pointer is None and pair.data is None:
            self.mender.missing_bytes(pair)
            return
        self.outcome.media += 1
        if pointer is not None and pair.data is not None:
            self.outcome.find("foreign", reference, "bytes lie at a name whose bytes lie elsewhere", harmless=True)
        size = pointer.size if pointer is not None else pair.data.size if pair.data is not None else 0
        self.outcome.bytes += size
        modified = None if pair.data is None else pair.data.modified
        try:
            sidecar = Sidecar.parse(data, reference)
            sidecar.record(reference, size)
            fact = self._fact(sidecar, reference, modified)
        except CorruptSidecarError as error:
            self.mender.broken_sidecar(pair, data, error)
            return
        self.outcome.facts.append(fact)
        self._type(pair, sidecar, data)
        if pointer is None:
            self._bytes(pair, sidecar, data, read)
        elif sidecar.values.get("size_bytes") != size:
            wrong = CorruptSidecarError("its sidecar speaks of other bytes than its name (another size)")
            self.mender.broken_sidecar(pair, data, wrong)

    def _fact(self, sidecar: Sidecar, reference: str, modified: datetime | None) -> Fact:
        """Return what else there must be.

        Raises
        ------
        CorruptSidecarError
            The sidecar is not the one that a deduplicated name speaks of.
        """
        instant = records.expiry_of(sidecar, reference, self.context.configuration, modified)
        fact = Fact(reference, None if instant is None else keys.due_key(instant, reference))
        if keys.pointer_of(reference) is not None:
            if not sidecar.agrees(reference):
                raise CorruptSidecarError("its sidecar speaks of other bytes than its name")
            fact.marker = sidecar.marker(reference)
            if fact.marker is None:
                raise CorruptSidecarError("its sidecar names no marker of its own")
        return fact

    def _bytes(self, pair: ListedPair, sidecar: Sidecar, data: bytes, read: Content | MediaError | None) -> None:
        """Compare size, and in a deep look digest and type, of a plain media."""
        entry, values = pair.data, sidecar.values
        if entry is None:
            return
        said, digest = values.get("size_bytes"), values.get("sha256")
        wrong_size = said != entry.size and not (digest is None and _is_promptkits(values, entry.size))
        if isinstance(read, MediaError):
            raise read
        if read is not None:
            self.outcome.bytes_read += read.size
            wanted = digest or _promptkit_digest(pair.key)
            if wanted is not None and read.sha256 != wanted:
                detail = f"its bytes have another digest than its {'sidecar' if digest else 'name'} says"
                if wrong_size:
                    detail += f", and another size: {entry.size} for {said}"
                self.mender.wrong_bytes(pair, data, "size" if wrong_size else "digest", detail, read)
                return
        if wrong_size:
            detail = f"it has {entry.size} bytes, and its sidecar says {said}"
            self.mender.wrong_bytes(pair, data, "size", detail, read)
        elif read is not None:
            mime_type = promptkit.mime_type_of(str(values.get("mime_type") or ""), pair.key)
            if mime.agrees(mime_type, read.head) != values.get("detected_mime_type"):
                self.mender.wrong_type(pair, data, read.head)

    def _type(self, pair: ListedPair, sidecar: Sidecar, data: bytes) -> None:
        """Compare the type with the extension, which a store of ours made of it; bytes are read only where they differ.

        The table of extensions may have been another one when it was stored, so a difference alone is nothing.
        """
        own = keys.parse_own_name(pair.key)
        if own is None or (self.context.deep and keys.pointer_of(pair.key) is None):
            return
        named = mime.guess_from_name(keys.file_name(pair.key))
        said = mime.extension_for(str(sidecar.values.get("mime_type") or ""))
        if named is not None and said != mime.extension_for(named):
            self.mender.wrong_type(pair, data)


def _is_promptkits(values: dict[str, Any], size: int) -> bool:
    """Tell whether a size is as PromptKit writes it: 0, or that of raw sound without the header that it put before."""
    said = values.get("size_bytes")
    return not said or (wav.is_raw(str(values.get("mime_type") or "")) and said + wav.HEADER_BYTES == size)


def _promptkit_digest(reference: str) -> str | None:
    """Return the digest that a name of PromptKit's deduplication is; None for other names."""
    stem = reference.rpartition("/")[2].partition(".")[0]
    return stem if len(stem) == _DIGEST_LENGTH and not set(stem) - set("0123456789abcdef") else None
