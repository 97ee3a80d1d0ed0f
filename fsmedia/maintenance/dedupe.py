"""Converting a whole store: one walk, windows of media, one report."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import to_json

from fsmedia.core import blobs, commit, holds, records
from fsmedia.core.commit import DUE_TYPE, DeleteOperation, SharedStoreOperation, rewrite_sidecar
from fsmedia.core.parallel import PER_WINDOW, JobResult, run_windows, windows
from fsmedia.errors import (
    CorruptSidecarError,
    ErrorContext,
    InvalidLayoutError,
    MediaError,
    MediaNotFoundError,
    StoreConflictError,
)
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import DeduplicationReport, Moved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.format.keys import Pointer
    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Backend, Entry

_CHUNK = 2**20
_ANY_TYPE = "application/octet-stream"


@dataclass(slots=True)
class Conversion:
    """One media that is being converted; to `SharedStoreOperation` it is also the bytes that will be shared.

    Attributes
    ----------
    text
        Its sidecar's bytes when the turn began.
    entry
        Its bytes when the turn began; who overwrites them changes it.
    twins
        Deduplicated media that have its name already: an earlier conversion stopped before the old one went.
    new
        The reference under which it shares its bytes; empty before.
    copied
        Whether the bytes were not there yet.
    joined
        Whether they were.
    disturbed
        Whether somebody changed the media before its new sidecar was written.
    """

    backend: Backend
    reference: str
    sidecar: Sidecar
    text: bytes
    entry: Entry
    twins: tuple[str, ...] = ()
    expires_at: datetime | None = None
    new: str = ""
    copied: bool = False
    joined: bool = False
    disturbed: bool = False
    _pointer: Pointer | None = None
    _mark: str = ""
    _target: str = ""

    @property
    def digest(self) -> str:
        """What its sidecar says its bytes are."""
        return str(self.sidecar.values.get("sha256") or "")

    def check(self) -> None:
        """Compare what its sidecar says with what lies there, before anything is read.

        Raises
        ------
        CorruptSidecarError
            It says nothing of its bytes, or something else.
        InvalidLayoutError
            The new name would be too long.
        """
        self._compare_facts(self.entry.size, self.digest)
        longest = keys.Pointer(self.entry.size, self.digest, keys.new_generation())
        keys.check_lengths(keys.moved_name(self.reference, longest), self.backend.root_length)

    def read(self) -> None:
        """Read all bytes once and compare them with the sidecar.

        Raises
        ------
        CorruptSidecarError
            They are not the bytes it speaks of.
        MediaNotFoundError
            Somebody deleted them.
        """
        hashed, size = sha256(), 0
        try:
            with ErrorContext(self.reference), records.open_bytes(self.backend, self.reference) as file:
                while data := file.read(_CHUNK):
                    hashed.update(data)
                    size += len(data)
        except MediaError:
            raise
        except FileNotFoundError:  # object stores tell at the first read
            raise records.not_found(self.reference) from None
        self._compare_facts(size, hashed.hexdigest())

    def _compare_facts(self, size: int, digest: str) -> None:
        said = self.sidecar.values.get("size_bytes")
        if not self.digest or said != size or digest != self.digest:
            raise CorruptSidecarError(
                f"its sidecar speaks of other bytes ({said} with digest {self.digest[:12] or 'none'}) than lie there "
                f"({size} with {digest[:12] or 'none'})",
                next_step="look at both, then store it again or delete it",
                reference=self.reference,
            )

    # -- stored already -------------------------------------------------------------------------------------

    def meet_twin(self) -> bool:
        """Tell whether an earlier conversion stored it again; what was changed since on either side is kept.

        Raises
        ------
        StoreConflictError
            Its name exists with other bytes.
        """
        for twin in self.twins:
            pointer = keys.pointer_of(twin)
            if pointer is None or keys.moved_name(self.reference, pointer) != twin:
                continue
            text = self.backend.read(keys.sidecar_key(twin))
            sidecar = None if text is None else Sidecar.parse(text, twin)
            marker = None if sidecar is None else sidecar.marker(twin)
            if sidecar is None or marker is None or not blobs.is_used(self.backend, pointer, marker):
                continue  # deleted since it was listed, or never whole
            if pointer.digest != self.digest:
                raise StoreConflictError(
                    f"was overwritten after it was stored again as {twin}",
                    next_step="delete one of the two, then deduplicate again",
                    reference=self.reference,
                )
            if sidecar.values != self.sidecar.with_marker(marker).values and self._was_changed_last(twin):
                changed = self.sidecar.with_marker(marker).dump()
                rewrite_sidecar(self.backend, twin, changed, self.expires_at, marker)
            self.new = twin
            return True
        return False

    def _was_changed_last(self, twin: str) -> bool:
        """Tell whose sidecar is the younger; in doubt the old one's, for that is the reference people have."""
        here, there = self.backend.fetch(heads=[keys.sidecar_key(self.reference), keys.sidecar_key(twin)]).heads
        if here is None or there is None or here.modified is None or there.modified is None:
            return True
        return here.modified >= there.modified

    # -- storing it again: what `sharing.store` asks ----------------------------------------------------------

    def sharing(self, grace: timedelta) -> SharedStoreOperation:
        """Return the media ready for the steps of a store."""
        return SharedStoreOperation(
            backend=self.backend,
            digest=self.digest,
            size=self.entry.size,
            data=self,
            mime_type=str(self.sidecar.values.get("mime_type") or _ANY_TYPE),
            name_of=self._name_of,
            sidecar_of=self._sidecar_of,
            now=_now,
            expires_at=self.expires_at,
            grace=grace,
        )

    def _name_of(self, pointer: Pointer) -> str:
        self._pointer = pointer
        return keys.moved_name(self.reference, pointer)

    def _sidecar_of(self, marker: str) -> bytes:
        """Return the new sidecar, unless the old one changed or went while the bytes were seen to."""
        self._compare(self.backend.read(keys.sidecar_key(self.reference)), self.text)
        return self.sidecar.with_marker(marker).dump()

    def retarget(self, key: str) -> None:
        """See `commit.DeferredUpload`."""
        self._target = key

    def commit(self, content_type: str) -> None:
        """Let the storage copy the bytes, behind a condemned mark.

        Between the reading and the copy somebody may have overwritten them. The mark keeps everybody from sharing
        this generation until a second look has shown that nobody did; a crash leaves it to `sweep_orphans`.
        """
        if self._pointer is None:
            raise ValueError("no generation was chosen")
        self.copied, self._mark = True, self._pointer.condemned_key()
        self.backend.write(self._mark, b"", DUE_TYPE)
        try:
            self.backend.copy(self.reference, self._target, content_type)
        except MediaError:
            raise
        except FileNotFoundError:
            self._compare(None, self.entry)
        self._compare(self.backend.head(self.reference), self.entry)
        self._remove(self._mark)

    def _compare(self, found: object, expected: object) -> None:
        if found == expected:
            return
        self.disturbed = True
        raise records.not_found(self.reference) if found is None else changed(self.reference)

    def stored(self, sharing: SharedStoreOperation, error: MediaError | None) -> None:
        """Note what came of storing it; let go of what was begun for a media that changed meanwhile.

        Raises
        ------
        StorageError
            That was not answered; `sweep_orphans` finishes it.
        """
        self.new = sharing.reference
        self.joined = error is None and not self.copied
        if self.disturbed and self._pointer is not None:
            # No sidecar names this marker, and none will: the name of a marker is never given twice.
            blobs.withdraw(self.backend, self._pointer, sharing.marker)
            if self._mark:
                self._remove(self._mark)

    def _remove(self, key: str) -> None:
        for error in self.backend.delete([key]).values():
            raise error

    # -- the old one goes -------------------------------------------------------------------------------------

    def compare(self, found: records.StoredItem) -> None:
        """Look whether it is what it was when the turn began.

        Raises
        ------
        StoreConflictError
            It is not.
        """
        if found.sidecar != self.text or found.entry != self.entry:
            raise changed(self.reference)

    def leaving(self) -> DeleteOperation:
        """Return the old media ready for the steps of a delete."""
        due = () if self.expires_at is None else (keys.due_key(self.expires_at, self.reference),)
        return DeleteOperation(self.backend, self.reference, due_keys=due)


def changed(reference: str) -> StoreConflictError:
    """Say that somebody changed a media meanwhile."""
    return StoreConflictError("was changed while it was converted", next_step="deduplicate again", reference=reference)


def _now() -> datetime:
    """Return this machine's time: how long a store takes is told by no store's clock."""
    return datetime.now(UTC)


_WINDOW = 200
_LINES = "application/x-ndjson"
_FOREIGN = "its name is not of this package's form, so it can't tell where shared bytes lie"


class Candidate(NamedTuple):
    """A plain media that may be converted, with the deduplicated ones that have its name already."""

    reference: str
    twins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DedupeContext:
    """What a window needs to know."""

    backend: Backend
    configuration: Configuration
    dry_run: bool


@dataclass(slots=True)
class DedupeResult(JobResult):
    """What became of a window of a conversion.

    Attributes
    ----------
    planned
        In a dry run: digest and size of each media that would be converted.
    """

    converted: int = 0
    bytes_before: int = 0
    bytes_saved: int = 0
    moved: list[Moved] = field(default_factory=list)
    mappings: list[str] = field(default_factory=list)
    planned: list[tuple[str, int]] = field(default_factory=list, metadata=PER_WINDOW)

    def fail(self, key: str, error: MediaError) -> None:
        """Note what went wrong with a media; that it was deleted meanwhile is nothing wrong."""
        if not isinstance(error, MediaNotFoundError):
            JobResult.fail(self, key, error)


def deduplicate(
    backend: Backend,
    settings_file: SettingsFile,
    *,
    dry_run: bool = False,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
) -> DeduplicationReport:
    """Let new media share their bytes from now on, then convert what is there, window by window.

    Raises
    ------
    StorageError
        The store can't be listed, or its settings not written; what failed for single media is in the report.
    """
    begun = time.monotonic()
    settings_file.refresh()
    configuration = settings_file.configuration if dry_run else settings_file.share_bytes()
    outcome, known = DedupeResult(), set[str]()

    def plan(result: DedupeResult) -> None:
        for digest, size in result.planned:
            outcome.bytes_saved += size if digest in known else 0
            known.add(digest)

    run_windows(
        convert_window,
        DedupeContext(backend, configuration, dry_run),
        windows(_candidates(backend, outcome, known if dry_run else None), _WINDOW),
        outcome,
        backends=[backend],
        key=lambda each: each.reference,
        again="deduplicate again",
        executor=executor,
        handle=plan,
        progress=progress,
    )
    if not dry_run:
        # a rebuild of the due index that ran meanwhile may have written the old setting back
        settings_file.share_bytes()
    return DeduplicationReport(
        dry_run=dry_run,
        examined=outcome.examined,
        converted=outcome.converted,
        bytes_before=outcome.bytes_before,
        bytes_saved=outcome.bytes_saved,
        skipped=tuple(outcome.skipped),
        failed=tuple(outcome.failed),
        moved=tuple(outcome.moved),
        mappings=tuple(outcome.mappings),
        took=timedelta(seconds=time.monotonic() - begun),
    )


def _candidates(backend: Backend, outcome: DedupeResult, known: set[str] | None) -> Iterator[Candidate]:
    """Walk over the store; note in passing what can't be converted, and which bytes are shared already.

    Keys come in order, so the names that a media had and has stand together.
    """
    found = (each.entry.key for each in records.listed(_noted(backend, known)))
    for _, group in groupby(filter(records.is_reference, found), _stem):
        together = list(group)
        shared = tuple(key for key in together if keys.pointer_of(key) is not None)
        for key in together:
            if keys.is_own_name(key) and key not in shared:
                yield Candidate(key, shared)
            elif key not in shared:
                outcome.examined += 1
                outcome.skip(key, _FOREIGN)


def _noted(backend: Backend, known: set[str] | None) -> Iterator[Entry]:
    """Pass a listing on, and note the digests of the shared bytes in it; `.fsmedia/` comes first."""
    for entry in backend.entries():
        if known is not None:
            blob = keys.parse_blob_key(entry.key)
            if blob is not None and blob.kind == "data":
                known.add(blob.digest)
        yield entry


def _stem(key: str) -> str:
    """Return what the old and the new name of a media have in common."""
    own = keys.parse_own_name(key)
    return key if own is None else key[: len(key) - len(own.ext)]


def convert_window(context: DedupeContext, candidates: Sequence[Candidate]) -> DedupeResult:
    """Convert some media; what fails or was changed meanwhile is reported, and the rest goes on."""
    backend = context.backend
    outcome = DedupeResult(examined=len(candidates))
    turns = _begun(context, candidates, outcome)
    if context.dry_run:
        outcome.converted = len(turns)
        outcome.planned = [(turn.digest, turn.entry.size) for turn in turns]
        outcome.bytes_before = sum(turn.entry.size for turn in turns)
        return outcome
    turns = _each(turns, Conversion.read, outcome)
    turns = _stored(turns, context, outcome)
    _leave(backend, _unchanged(backend, turns, outcome), outcome)
    return outcome


def _begun(context: DedupeContext, candidates: Sequence[Candidate], outcome: DedupeResult) -> list[Conversion]:
    """Look at holds, sidecars and bytes; return what can be converted."""
    backend, references = context.backend, [each.reference for each in candidates]
    turns = []
    for each, found in zip(candidates, _found(backend, references, outcome, "is held"), strict=True):
        if found is None or found.sidecar is None:
            continue
        try:
            sidecar = Sidecar.parse(found.sidecar, each.reference)
            instant = records.expiry_of(sidecar, each.reference, context.configuration, found.entry.modified)
            turn = Conversion(backend, each.reference, sidecar, found.sidecar, found.entry, each.twins, instant)
            turn.check()
        except InvalidLayoutError as error:
            outcome.skip(each.reference, f"its new name would be too long: {error.problem}")
        except MediaError as error:
            outcome.fail(each.reference, error)
        else:
            turns.append(turn)
    return turns


def _found(
    backend: Backend, references: Sequence[str], outcome: DedupeResult, when_held: str
) -> list[records.StoredItem | None]:
    """Look at media, at once where the storage can; None for what is held or gone, or can't be looked at."""
    if not references:
        return []
    found: list[records.StoredItem | None] = []
    try:
        held = holds.refusals(backend, references)
    except MediaError as error:
        for reference in references:
            outcome.fail(reference, error)
        return [None] * len(references)
    for reference, answer in zip(references, records.find_many(backend, references), strict=True):
        found.append(None if reference in held or isinstance(answer, MediaError) else answer)
        if isinstance(answer, MediaError):
            outcome.fail(reference, answer)
        elif reference in held:
            outcome.skip(reference, when_held)
    return found


def _each(turns: Sequence[Conversion], step: Callable[[Conversion], object], outcome: DedupeResult) -> list[Conversion]:
    """Take a step for each media, at once where the storage gains from it; return those that it went well for."""

    def attempt(turn: Conversion) -> MediaError | None:
        try:
            step(turn)
        except MediaError as error:
            return error
        return None

    at_once = min(len(turns), turns[0].backend.concurrency) if turns else 0
    if at_once > 1:
        with ThreadPoolExecutor(at_once) as threads:
            answers = list(threads.map(attempt, turns))
    else:
        answers = [attempt(turn) for turn in turns]
    for turn, error in zip(turns, answers, strict=True):
        if error is not None:
            outcome.fail(turn.reference, error)
    return [turn for turn, error in zip(turns, answers, strict=True) if error is None]


def _stored(turns: Sequence[Conversion], context: DedupeContext, outcome: DedupeResult) -> list[Conversion]:
    """Store each again beside equal bytes, but what an earlier conversion stored already."""
    known = _each(turns, Conversion.meet_twin, outcome)
    going = [turn for turn in known if not turn.new]
    stored = [turn for turn in known if turn.new]
    sharings = [turn.sharing(context.configuration.orphan_grace) for turn in going]
    for turn, each, error in zip(going, sharings, commit.store_many(sharings), strict=True):
        finished = _each([turn], partial(Conversion.stored, sharing=each, error=error), outcome)
        if error is None:
            stored += finished
        else:
            outcome.fail(turn.reference, error)
    return stored


def _unchanged(backend: Backend, turns: Sequence[Conversion], outcome: DedupeResult) -> list[Conversion]:
    """Look once more, right before the old media go: who changed or held one meanwhile shall not lose that."""
    again = "is held since it was stored again, so it is there twice: release it, then deduplicate again"
    leaving = []
    for turn, found in zip(turns, _found(backend, [each.reference for each in turns], outcome, again), strict=True):
        if found is not None:
            leaving += _each([turn], partial(Conversion.compare, found=found), outcome)
    return leaving


def _leave(backend: Backend, turns: Sequence[Conversion], outcome: DedupeResult) -> None:
    """Write down what the media are called now, then let the old ones go; who dies between leaves that trace."""
    if not turns:
        return
    pairs = [Moved(turn.reference, turn.new) for turn in turns]
    key = keys.references_key(datetime.now(UTC))
    try:
        backend.write(key, b"".join(to_json(pair._asdict()) + b"\n" for pair in pairs), _LINES)
    except MediaError as error:
        for turn in turns:
            outcome.fail(turn.reference, error)
        return
    outcome.mappings, outcome.moved = [key], pairs
    for turn, failure in zip(turns, commit.delete([turn.leaving() for turn in turns]), strict=True):
        if failure is not None:
            outcome.fail(turn.reference, failure)
            continue
        outcome.converted += 1
        outcome.bytes_before += turn.entry.size
        outcome.bytes_saved += turn.entry.size if turn.joined else 0
