"""Many media in one call: at once where the storage gains from it, and with an answer for every one."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fsmedia.core import commit, records, sharing
from fsmedia.core.sharing import Sharing
from fsmedia.core.sources import CHUNK_BYTES, is_small_file, opened, small_bytes
from fsmedia.core.telemetry import observed
from fsmedia.errors import BulkError, InvalidMediaError, MediaError
from fsmedia.store.reading import Reading
from fsmedia.store.writing import Writing

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fsmedia.core.draft import Draft
    from fsmedia.core.removals import Removal
    from fsmedia.models import MediaContent, MediaMetadata, Reference

    Answer = Any | MediaError

OnError = Literal["raise", "return"]
T = TypeVar("T")

_WINDOW = 1000
"""Media looked at or deleted together: the keys of each step fill one bulk request."""

_STORED_TOGETHER = 128
_STORED_BYTES = 32 * 2**20
_SMALL = 4 * 2**20


class Bulk(Reading, Writing):
    """Methods of `MediaStore` for many media."""

    @observed("store_many")
    def store_many(
        self, pairs: Iterable[tuple[MediaContent, MediaMetadata]], *, on_error: OnError = "raise"
    ) -> builtins.list[Reference]:
        """Store many media, concurrently on object stores, and return their references in the same order.

        Parameters
        ----------
        pairs
            Content and metadata of each; taken as they are needed, so a generator of any length will do.
        on_error
            "raise" tries all and then raises `BulkError`; "return" puts each error in its place.

        Raises
        ------
        BulkError
            Some could not be stored; `.results` and `.errors` say by index which.
        """
        self._check_writable()
        references: list[Reference] = _settled(self._stored(pairs), on_error)
        return references

    def _stored(self, pairs: Iterable[tuple[MediaContent, MediaMetadata]]) -> Iterator[Answer]:
        """Gather small media to commit together; a large one commits the gathered first, then goes alone."""
        waiting: list[Draft | MediaError] = []
        waiting_bytes = 0
        for pair in _items(pairs):
            if isinstance(pair, MediaError):
                waiting.append(pair)
                continue
            draft = _attempt(self._small_draft, pair)
            if draft is None:
                yield from self._committed(waiting)
                waiting, waiting_bytes = [], 0
                yield _attempt(lambda each: self.store_media(*each), pair)
                continue
            waiting.append(draft)
            waiting_bytes += 0 if isinstance(draft, MediaError) else draft.size
            if len(waiting) >= _STORED_TOGETHER or waiting_bytes >= _STORED_BYTES:
                yield from self._committed(waiting)
                waiting, waiting_bytes = [], 0
        yield from self._committed(waiting)

    def _small_draft(self, pair: tuple[MediaContent, MediaMetadata]) -> Draft | None:
        """Return a draft that holds its bytes; None for what is too large to hold, or not in memory."""
        try:
            content, metadata = pair
        except (TypeError, ValueError):
            raise InvalidMediaError(
                "each item must be a pair of MediaContent and MediaMetadata", next_step="pass an iterable of pairs"
            ) from None
        draft = self._checked_draft(content, metadata)
        data = self._small_data(content)
        if data is None:
            return None
        draft.take(data)
        return draft

    def _small_data(self, content: MediaContent) -> bytes | None:
        """Return the bytes of what is in memory, or in a file that may be; None for all else."""
        data = small_bytes(content)
        if data is None and content.data is None and content.file_path is not None and is_small_file(content, _SMALL):
            with opened(content, self._source_rules()) as source:
                if source.size is not None and source.size <= _SMALL:
                    data = b"".join(islice(source.chunks, _SMALL // CHUNK_BYTES + 1))
        return data if data is not None and len(data) <= _SMALL else None

    def _committed(self, drafts: builtins.list[Draft | MediaError]) -> Iterator[Answer]:
        answers: list[Answer] = list(drafts)
        ready = [(index, draft) for index, draft in enumerate(drafts) if not isinstance(draft, MediaError)]
        prepared = [(index, draft, _attempt(lambda each: each.prepare(), draft)) for index, draft in ready]
        plain = iter(commit.store([each for _, _, each in prepared if isinstance(each, commit.Storing)]))
        shared = iter(sharing.store_many([each for _, _, each in prepared if isinstance(each, Sharing)]))
        for index, draft, each in prepared:
            if isinstance(each, MediaError):
                answers[index] = each
                continue
            error = next(shared if isinstance(each, Sharing) else plain)
            answers[index] = draft.settled(each) if error is None else error
        yield from answers

    @observed("retrieve_many")
    def retrieve_many(self, references: Iterable[str], *, on_error: OnError = "raise") -> builtins.list[MediaContent]:
        """Return many stored media, their bytes not loaded, in the same order.

        Raises
        ------
        BulkError
            Some could not be retrieved.
        """
        contents: list[MediaContent] = _settled(self._retrieved(references), on_error)
        return contents

    def _retrieved(self, references: Iterable[str]) -> Iterator[Answer]:
        for names in self._windows(references):
            found = iter(records.find_many(self._backend, [name for name in names if isinstance(name, str)]))
            for name in names:
                answer = next(found) if isinstance(name, str) else name
                yield answer if isinstance(answer, MediaError) else _attempt(self._content_of, answer)

    @observed("delete_many")
    def delete_many(self, references: Iterable[str], *, on_error: OnError = "raise") -> builtins.list[None]:
        """Delete many media: all sidecars, then the bytes of those whose sidecar is gone; held ones are refused.

        Object stores are asked by bulk requests, and the answer for each key is read.

        Raises
        ------
        BulkError
            Some could not be deleted; deleting them again finishes it.
        """
        self._check_writable()
        nothing: list[None] = _settled(self._deleted(references), on_error)
        return nothing

    def _deleted(self, references: Iterable[str]) -> Iterator[Answer]:
        removal = self._removal()
        for names in self._windows(references):
            wanted = list(dict.fromkeys(name for name in names if isinstance(name, str)))
            failed = removal.many(wanted)
            failed |= self._moved_away(removal, [name for name in wanted if name not in failed])
            for name in names:
                yield failed.get(name) if isinstance(name, str) else name

    def _moved_away(self, removal: Removal, names: Sequence[str]) -> dict[str, MediaError]:
        """Delete what a conversion gave other names, as `delete_media` does; errors go by the names that were given."""
        if not self._founding.configuration.deduplicate:
            return {}
        try:
            moved = records.moved_many(self._backend, names)
        except MediaError as error:
            return dict.fromkeys(filter(records.may_have_moved, names), error)
        failed = removal.many(list(moved.values()))
        return {old: failed[new] for old, new in moved.items() if new in failed}

    def _windows(self, references: Iterable[str]) -> Iterator[builtins.list[str | MediaError]]:
        given = _items(references)
        while window := list(islice(given, _WINDOW)):
            yield [each if isinstance(each, MediaError) else _attempt(self._key, each) for each in window]


def _items(given: Iterable[T]) -> Iterator[T | MediaError]:
    """Give the items; if the iterable fails, its error takes the place of the rest, and what was done is not lost."""
    try:
        if isinstance(given, str | bytes):
            raise TypeError("give several, not one text")  # each of its characters would be taken for a reference
        yield from given
    except Exception as error:  # noqa: BLE001 - the caller's generator raises what it likes
        failed = InvalidMediaError(f"what should come next could not be read ({type(error).__name__}: {error})")
        failed.__cause__ = error
        yield failed


def _attempt(function: Callable[[T], Any], value: T) -> Any:
    """Call, and return what goes wrong in place of the result."""
    try:
        return function(value)
    except MediaError as error:
        return error


def _settled(answers: Iterator[Answer], on_error: OnError) -> Any:
    """Return all answers, or raise those that are errors once all are there."""
    if on_error not in ("raise", "return"):
        raise InvalidMediaError(f"unknown on_error {on_error!r}", next_step="use 'raise' or 'return'")
    found = list(answers)
    errors = {index: answer for index, answer in enumerate(found) if isinstance(answer, MediaError)}
    if errors and on_error == "raise":
        raise BulkError({i: answer for i, answer in enumerate(found) if i not in errors}, errors)
    return found
