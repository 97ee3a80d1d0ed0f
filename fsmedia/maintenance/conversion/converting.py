"""Converting a whole store: one walk, windows of media, one report."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import to_json

from fsmedia.core import commit, holds, records, sharing
from fsmedia.core.parallel import spread, windows
from fsmedia.errors import InvalidLayoutError, MediaError, MediaNotFoundError, StorageError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance.conversion.turning import Turn
from fsmedia.models import DeduplicationReport, Failed, Moved, Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from fsmedia.core.settings_file import Founding
    from fsmedia.format.configuration import Configuration
    from fsmedia.storage import Backend, Entry

_WINDOW = 200
_LINES = "application/x-ndjson"
_FOREIGN = "its name is not of this package's form, so it can't tell where shared bytes lie"


class Candidate(NamedTuple):
    """A plain media that may be converted, with the deduplicated ones that have its name already."""

    reference: str
    twins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ground:
    """What a window needs to know."""

    backend: Backend
    configuration: Configuration
    dry_run: bool
    process: int | None = None


@dataclass(slots=True)
class Converted:
    """What became of a window.

    Attributes
    ----------
    planned
        In a dry run: digest and size of each media that would be converted.
    """

    examined: int = 0
    converted: int = 0
    bytes_before: int = 0
    bytes_saved: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    mappings: list[str] = field(default_factory=list)
    planned: list[tuple[str, int]] = field(default_factory=list)

    def skip(self, reference: str, reason: str) -> None:
        """Note why a media stays as it is."""
        self.skipped.append(Skipped(reference=reference, reason=reason))  # type: ignore[arg-type]

    def fail(self, reference: str, error: MediaError) -> None:
        """Note what went wrong with a media; that it was deleted meanwhile is nothing wrong."""
        if not isinstance(error, MediaNotFoundError):
            self.failed.append(Failed(reference=reference, error=error))  # type: ignore[arg-type]

    def add(self, other: Converted) -> None:
        """Take in what became of another window, but for what a dry run plans."""
        self.examined += other.examined
        self.converted += other.converted
        self.bytes_before += other.bytes_before
        self.bytes_saved += other.bytes_saved
        self.skipped += other.skipped
        self.failed += other.failed
        self.moved += other.moved
        self.mappings += other.mappings


def deduplicate(
    backend: Backend,
    founding: Founding,
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
    founding.refresh()
    configuration = founding.configuration if dry_run else founding.share_bytes()
    ground = Ground(backend, configuration, dry_run, os.getpid() if backend.in_one_process else None)
    outcome, known = Converted(), set[str]()
    parts = windows(_candidates(backend, outcome, known if dry_run else None), _WINDOW)
    for part in spread(convert_window, ground, parts, executor, bool, _lost):
        outcome.add(part)
        for digest, size in part.planned:
            outcome.bytes_saved += size if digest in known else 0
            known.add(digest)
        if progress is not None:
            progress(outcome.examined)
    if not dry_run:
        founding.share_bytes()  # a rebuild of the due index that ran meanwhile may have written the old setting back
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


def _candidates(backend: Backend, outcome: Converted, known: set[str] | None) -> Iterator[Candidate]:
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


def convert_window(ground: Ground, candidates: Sequence[Candidate]) -> Converted:
    """Convert some media; what fails or was changed meanwhile is reported, and the rest goes on."""
    backend = ground.backend
    if ground.process is not None and ground.process != os.getpid():
        raise StorageError(
            f"{backend.url} is seen by one process only", next_step="give an executor of threads, or none"
        )
    outcome = Converted(examined=len(candidates))
    turns = _begun(ground, candidates, outcome)
    if ground.dry_run:
        outcome.converted = len(turns)
        outcome.planned = [(turn.digest, turn.entry.size) for turn in turns]
        outcome.bytes_before = sum(turn.entry.size for turn in turns)
        return outcome
    turns = _each(turns, Turn.read, outcome)
    turns = _stored(turns, ground, outcome)
    _leave(backend, _unchanged(backend, turns, outcome), outcome)
    return outcome


def _begun(ground: Ground, candidates: Sequence[Candidate], outcome: Converted) -> list[Turn]:
    """Look at holds, sidecars and bytes; return what can be converted."""
    backend, references = ground.backend, [each.reference for each in candidates]
    turns = []
    for each, found in zip(candidates, _found(backend, references, outcome, "is held"), strict=True):
        if found is None or found.sidecar is None:
            continue
        try:
            sidecar = Sidecar.parse(found.sidecar, each.reference)
            instant = records.expiry_of(sidecar, each.reference, ground.configuration, found.entry.modified)
            turn = Turn(backend, each.reference, sidecar, found.sidecar, found.entry, each.twins, instant)
            turn.check()
        except InvalidLayoutError as error:
            outcome.skip(each.reference, f"its new name would be too long: {error.problem}")
        except MediaError as error:
            outcome.fail(each.reference, error)
        else:
            turns.append(turn)
    return turns


def _found(
    backend: Backend, references: Sequence[str], outcome: Converted, when_held: str
) -> list[records.Found | None]:
    """Look at media, at once where the storage can; None for what is held or gone, or can't be looked at."""
    if not references:
        return []
    found: list[records.Found | None] = []
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


def _each(turns: Sequence[Turn], step: Callable[[Turn], object], outcome: Converted) -> list[Turn]:
    """Take a step for each media, at once where the storage gains from it; return those that it went well for."""

    def attempt(turn: Turn) -> MediaError | None:
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


def _stored(turns: Sequence[Turn], ground: Ground, outcome: Converted) -> list[Turn]:
    """Store each again beside equal bytes, but what an earlier conversion stored already."""
    known = _each(turns, Turn.meet_twin, outcome)
    going = [turn for turn in known if not turn.new]
    stored = [turn for turn in known if turn.new]
    sharings = [turn.sharing(ground.configuration.orphan_grace) for turn in going]
    for turn, each, error in zip(going, sharings, sharing.store_many(sharings), strict=True):
        finished = _each([turn], partial(Turn.stored, sharing=each, error=error), outcome)
        if error is None:
            stored += finished
        else:
            outcome.fail(turn.reference, error)
    return stored


def _unchanged(backend: Backend, turns: Sequence[Turn], outcome: Converted) -> list[Turn]:
    """Look once more, right before the old media go: who changed or held one meanwhile shall not lose that."""
    again = "is held since it was stored again, so it is there twice: release it, then deduplicate again"
    leaving = []
    for turn, found in zip(turns, _found(backend, [each.reference for each in turns], outcome, again), strict=True):
        if found is not None:
            leaving += _each([turn], partial(Turn.compare, found=found), outcome)
    return leaving


def _leave(backend: Backend, turns: Sequence[Turn], outcome: Converted) -> None:
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


def _lost(candidates: list[Candidate], error: Exception) -> Converted:
    """Say of a window that its worker did not answer; what it did is finished by converting again."""
    failure = (
        error
        if isinstance(error, MediaError)
        else StorageError(
            f"its worker failed ({type(error).__name__}: {str(error)[:200]})", next_step="deduplicate again"
        )
    )
    outcome = Converted(examined=len(candidates))
    for each in candidates:
        outcome.fail(each.reference, failure)
    return outcome
