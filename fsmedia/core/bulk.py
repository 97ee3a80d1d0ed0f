"""Many media in one call: items are taken as they come, go in windows, and every answer keeps its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from fsmedia.core import commit, holds, ingest, records
from fsmedia.core.ingest import MediaUpload, SourceRules, WriteContext
from fsmedia.core.lifetime import Deleter
from fsmedia.core.parallel import attempt, attempt_each, windows
from fsmedia.errors import BulkError, InvalidMediaError, MediaError, StorageError
from fsmedia.format.keys import hold_key
from fsmedia.models import MediaContent, MediaMetadata, Reference
from fsmedia.models.interfaces import OnError
from fsmedia.storage import Backend
from fsmedia.storage.port import may_be_absent

Answer = Any | MediaError
Pair = tuple[MediaContent, MediaMetadata]

T = TypeVar("T")
# Media looked at or deleted together: S3 deletes at most 1,000 keys a request, and each step's keys fill one.
_WINDOW = 1000
# Media committed together, at least and for each request that goes at once, and their bytes: all of them are in memory
# until then. Each step of a commit waits for the last request of the one before: with 128 on S3 a tenth of the time.
_GATHERED = 128
_GATHERED_EACH = 16
_GATHERED_BYTES = 32 * 2**20
# From this size on a media gains nothing by company, and is not held in memory.
_SMALL = 4 * 2**20


def taken(given: Iterable[T]) -> Iterator[T | MediaError]:
    """Give the items; if the iterable fails, its error takes the place of the rest, and what was done is not lost."""
    try:
        if isinstance(given, str | bytes):
            raise TypeError("give several, not one text")  # each of its characters would be taken for a reference
        yield from given
    except Exception as error:  # noqa: BLE001 - the caller's generator raises what it likes
        failed = InvalidMediaError(f"what should come next could not be read ({type(error).__name__}: {error})")
        failed.__cause__ = error
        yield failed


def collected(answers: Iterable[Answer], on_error: OnError) -> list[Any]:
    """Return all answers, or raise those that are errors once all are there."""
    if on_error not in ("raise", "return"):
        raise InvalidMediaError(f"unknown on_error {on_error!r}", next_step="use 'raise' or 'return'")
    found = list(answers)
    errors = {index: answer for index, answer in enumerate(found) if isinstance(answer, MediaError)}
    if errors and on_error == "raise":
        raise BulkError({index: answer for index, answer in enumerate(found) if index not in errors}, errors)
    return found


def key_windows(
    references: Iterable[str], key_of: Callable[[str], str], size: int = _WINDOW
) -> Iterator[list[str | MediaError]]:
    """Cut references into windows of their keys; what is none is an error in its place."""
    for window in windows(taken(references), size):
        yield [attempt(key_of, each) for each in window]


def find(
    backend: Backend,
    references: Iterable[str],
    key_of: Callable[[str], str],
    size: int = _WINDOW,
    *,
    with_holds: bool = False,
) -> Iterator[tuple[str | None, records.StoredItem | MediaError]]:
    """Look at many media and read sidecars, and holds on request, a window at a time; give keys and what was found."""
    # One listing of all holds, at the first window; who may not list asks for the hold of each.
    held: frozenset[str] | None = None
    listed = True
    for window in key_windows(references, key_of, size):
        wanted = [key for key in window if isinstance(key, str)]
        if held is None and with_holds:
            try:
                held = holds.held(backend)
            except StorageError as error:
                if not may_be_absent(backend, error):
                    raise
                listed, held = False, frozenset()
        shown = held if listed else frozenset(map(hold_key, wanted))
        found = iter(records.find_many(backend, wanted, shown or frozenset()))
        for key in window:
            yield (None, key) if isinstance(key, MediaError) else (key, next(found))


def each(
    work: Callable[[str], T], references: Iterable[str], key_of: Callable[[str], str], backend: Backend
) -> Iterator[T | MediaError]:
    """Apply a function to many media, a window at a time, at once where the storage gains from it; once to each."""
    for window in key_windows(references, key_of):
        # One that is given twice would be in its own way.
        wanted = list(dict.fromkeys(key for key in window if isinstance(key, str)))
        done = dict(zip(wanted, attempt_each(work, wanted, backend), strict=True))
        yield from (done[key] if isinstance(key, str) else key for key in window)


def delete(removal: Deleter, references: Iterable[str], key_of: Callable[[str], str]) -> Iterator[Answer]:
    """Delete many media, a window at a time, under their present names too; give None for each that is gone."""
    for window in key_windows(references, key_of):
        wanted = list(dict.fromkeys(key for key in window if isinstance(key, str)))
        failed = removal.many(wanted)
        failed |= removal.many_moved([key for key in wanted if key not in failed])
        for key in window:
            yield failed.get(key) if isinstance(key, str) else key


def store(
    pairs: Iterable[Pair],
    backend: Backend,
    context: Callable[[], WriteContext],
    rules: SourceRules,
    store_one: Callable[[MediaContent, MediaMetadata], Reference],
) -> Iterator[Answer]:
    """Gather small media to commit together; a large one commits the gathered first, then goes alone.

    `context`: returns what a write needs, as it is at that moment: a generator of pairs may run for hours. `rules`:
    what sources may be. `store_one`: stores a large one.
    """
    gathered: list[MediaUpload | MediaError] = []
    gathered_bytes = 0
    for pair in taken(pairs):
        draft = attempt(lambda each: _small_draft(each, context, rules), pair)
        if draft is None:
            # In order: answers keep their places, and the gathered are safe before a long upload begins.
            yield from _committed(gathered)
            gathered, gathered_bytes = [], 0
            yield attempt(lambda each: store_one(*each), pair)
            continue
        gathered.append(draft)
        gathered_bytes += 0 if isinstance(draft, MediaError) else draft.size
        is_full = len(gathered) >= _GATHERED and len(gathered) >= _GATHERED_EACH * _at_once(backend)
        if is_full or gathered_bytes >= _GATHERED_BYTES:
            yield from _committed(gathered)
            gathered, gathered_bytes = [], 0
    yield from _committed(gathered)


def _at_once(backend: Backend) -> int:
    """Return how many requests go at once; 1 where the storage can't be opened, as each of the answers says."""
    try:
        return backend.concurrency
    except MediaError:
        return 1


def _small_draft(pair: Pair, context: Callable[[], WriteContext], rules: SourceRules) -> MediaUpload | None:
    """Return a draft that holds its bytes; None for what is too large to hold, or not in memory."""
    try:
        content, metadata = pair
    except (TypeError, ValueError):
        raise InvalidMediaError(
            "each item must be a pair of MediaContent and MediaMetadata", next_step="pass an iterable of pairs"
        ) from None
    draft = ingest.draft_of(context, content, metadata)
    data = ingest.small_bytes(content)
    if content.data is None and content.file_path is not None and ingest.is_small_file(content, _SMALL):
        with ingest.open_source(content, rules) as source:
            if source.size is not None and source.size <= _SMALL:
                # One chunk more than should come: the file may be growing, and is then too large after all.
                data = b"".join(islice(source.chunks, _SMALL // ingest.CHUNK_BYTES + 1))
    if data is None or len(data) > _SMALL:
        return None
    draft.take(data)
    return draft


def _committed(drafts: Sequence[MediaUpload | MediaError]) -> Iterator[Answer]:
    """Take each step of a store for all drafts together; give references, and errors in their places."""
    prepared = [attempt(lambda each: (each, each.prepare()), draft) for draft in drafts]
    operations = [each[1] for each in prepared if not isinstance(each, MediaError)]
    plain = iter(commit.store([each for each in operations if isinstance(each, commit.StoreOperation)]))
    shared = iter(commit.store_many([each for each in operations if isinstance(each, commit.SharedStoreOperation)]))
    for each in prepared:
        if isinstance(each, MediaError):
            yield each
        else:
            draft, operation = each
            error = next(shared if isinstance(operation, commit.SharedStoreOperation) else plain)
            yield draft.settled(operation) if error is None else error
