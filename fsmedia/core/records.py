"""Reading media items: one or many by reference, pairs of bytes and sidecar in a listing, and those of a selection."""

# Longer than 1,000 lines: finding, opening and checking what is read is one subject.

from __future__ import annotations

import heapq
import io
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol, TypeVar, cast

from pydantic_core import from_json

from fsmedia.core import holds, promptkit, telemetry
from fsmedia.core.ingest import CHUNK_BYTES
from fsmedia.core.named import Seen, see
from fsmedia.core.parallel import attempt, windows
from fsmedia.core.settings_file import SettingsFile
from fsmedia.core.telemetry import set_reference
from fsmedia.errors import (
    CorruptMediaError,
    CorruptSidecarError,
    ErrorContext,
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    StorageError,
    UnknownPolicyError,
)
from fsmedia.format import keys
from fsmedia.format.layout import ids_of_path
from fsmedia.format.measures import HEAD_BYTES, TAIL_BYTES
from fsmedia.format.messages import InlineReference
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.settings import Configuration
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import MediaContent, MediaRecord, OrganizationMode, Reference, local_copy
from fsmedia.models.selection import Selection
from fsmedia.storage import SEEK_BLOCK, Backend, Entry, ReadableFile
from fsmedia.storage.address import SCHEME, conf_stores, find_store, is_root, split_media_url
from fsmedia.storage.errors import storage_error
from fsmedia.storage.listing import NestedStores
from fsmedia.storage.port import may_be_absent

T = TypeVar("T")
_log = logging.getLogger("fsmedia")
_NEXT_STEP = "list the store, or read the last sweep's report"
# Sidecars that are read in one call while a selection is judged; more would be read in vain where a limit ends it.
_BATCH = 64
_NO_TIME = datetime.min.replace(tzinfo=UTC)
_PATH_IDS = ("run_id", "conversation_id", "session_id", "provider_id")
VerifyReads = bool | Literal["always"]
"""Whether reads are checked; "always": the digests of plain media in a bulk `cat` of an object store too."""
_CORRUPT_STEP = "run fsmedia verify --deep; verify_reads=False reads it as it is"


class StoredFacts(NamedTuple):
    """What is known of the bytes of a media item before they are read; the digest is in hex."""

    size: int
    sha256: str

    def met_by(self, data: bytes) -> bool:
        """Return whether these are the bytes that were stored; the digest decides, whatever the size says."""
        return sha256(data).hexdigest() == self.sha256


def check_mode(verify_reads: object) -> None:
    """Refuse what is no way to check reads: it is none of True, False and "always"."""
    if not isinstance(verify_reads, bool) and verify_reads != "always":
        raise InvalidMediaError(
            f"verify_reads must be True, False or 'always', not {verify_reads!r}", next_step="leave it out"
        )


def facts_of_name(reference: str) -> StoredFacts | None:
    """Return what a deduplicated name says; None for every other name."""
    pointer = keys.pointer_of(reference)
    return None if pointer is None else StoredFacts(pointer.size, pointer.digest)


def facts_of_sidecar(sidecar: Sidecar | bytes | None, reference: str) -> StoredFacts | None:
    """Return what a sidecar says; None where there is none, it is damaged, or this package did not write it."""
    if isinstance(sidecar, bytes):
        try:
            sidecar = Sidecar.parse(sidecar, reference)
        except CorruptSidecarError:
            return None  # the bytes are still read, and nobody knows what they were
    values = {} if sidecar is None else sidecar.values
    # PromptKit writes no digest, and sizes that are 0 or without the header it adds to raw sound.
    size, digest = values.get("size_bytes"), values.get("sha256")
    return StoredFacts(size, digest) if size is not None and digest else None


@dataclass(frozen=True, slots=True)
class ReadCheck:
    """What one read of a media item is compared with."""

    backend: Backend
    reference: str
    facts: StoredFacts

    def check(self, data: bytes) -> bytes:
        """Return the bytes of a whole read; where they are not those that were stored, read them once more."""
        if self.facts.met_by(data):
            return data
        # Sidecar, then bytes: an overwrite writes the bytes first, so bytes read after a sidecar are at least as new.
        text = self.backend.read(keys.sidecar_key(self.reference))
        again = self.backend.read_range(keys.bytes_key(self.reference), None, None)
        facts = facts_of_name(self.reference) or facts_of_sidecar(text, self.reference)
        if again is None:
            raise not_found(self.reference)
        if facts is not None and not facts.met_by(again):
            self.judge(len(again), sha256(again).hexdigest())
        return again

    def judge(self, size: int, digest: str | None) -> None:
        """Decide on bytes that are not what was expected, by the sidecar and the bytes of now.

        `digest`: of all bytes; None where only their number is known. Raises `CorruptMediaError`: they are damaged.
        """
        sidecar, place = keys.sidecar_key(self.reference), keys.bytes_key(self.reference)
        answers = self.backend.fetch(reads=[sidecar], heads=[place, sidecar])
        text, (there, beside) = answers.reads[0], answers.heads
        facts = facts_of_name(self.reference) or facts_of_sidecar(text, self.reference)
        if facts is None or (size == facts.size if digest is None else digest == facts.sha256):
            return
        if there is not None and there.size == size and self._is_adopted(there, beside):
            _log.warning(
                "%s: its bytes are newer than its sidecar, which describes others; they are read as they are. "
                "fsmedia verify --repair writes the sidecar anew",
                self.reference,
            )
            return
        problem = f"its bytes are damaged: SHA-256 {(digest or '')[:12]}..., stored was {facts.sha256[:12]}..."
        if size != facts.size:
            problem = f"{size} bytes were read where {facts.size} were stored"
        raise CorruptMediaError(problem, next_step=_CORRUPT_STEP, reference=self.reference)

    def _is_adopted(self, there: Entry, beside: Entry | None) -> bool:
        # A client writes the bytes first. Under a name that a store generated nobody writes a second time.
        if keys.is_own_name(self.reference) or beside is None or there.modified is None or beside.modified is None:
            return False
        return there.modified > beside.modified


def check_range(backend: Backend, reference: str, data: bytes, start: int | None, end: int | None) -> bytes:
    """Return the bytes of a range if they are as many as were asked for; looks at the media item only in doubt."""
    if start is not None and end is not None and 0 <= start <= end and len(data) == end - start:
        return data
    # Fewer bytes than the range has: does the media end there, or was the answer cut?
    if (pointer := keys.pointer_of(reference)) is not None:
        size = pointer.size
    else:
        answers = backend.fetch(reads=[keys.sidecar_key(reference)], heads=[reference])
        facts, there = facts_of_sidecar(answers.reads[0], reference), answers.heads[0]
        if there is None:
            raise not_found(reference)
        if facts is not None and facts.size != there.size:
            ReadCheck(backend, reference, facts).judge(there.size, None)
        size = there.size
    first, last, _ = slice(start, end).indices(size)
    wanted = max(0, last - first)
    if len(data) != wanted:
        # Once more: it may have been overwritten between the two requests. Counted from the start, for some servers
        # answer with nothing where more of the last bytes are asked for than there are.
        data = backend.read_range(keys.bytes_key(reference), first, first + wanted) or b""
    if len(data) != wanted:
        raise CorruptMediaError(
            f"{len(data)} bytes came for a range of {wanted}", next_step=_CORRUPT_STEP, reference=reference
        )
    return data


def open_checked(
    backend: Backend, reference: str, facts: StoredFacts | None, *, size: int | None, block_size: int = SEEK_BLOCK
) -> BinaryIO:
    """Open the bytes of a media item, compared with facts where there are any; a size that is sure spares a look."""
    place = keys.bytes_key(reference)
    file = backend.open(place, block_size=block_size, size=size)
    if facts is None:
        return file
    return CheckedFile(file, ReadCheck(backend, reference, facts), lambda: backend.open(place, block_size=block_size))


class CheckedFile(ReadableFile):
    """A binary file for reading whose bytes are compared with what was stored once it was read from start to end.

    Reads may repeat earlier parts. After a seek past what was read only lengths are checked.

    `reopen`: opens the bytes anew: a whole read that fails is done once more.
    """

    _file: BinaryIO

    def __init__(self, file: BinaryIO, check: ReadCheck, reopen: Callable[[], BinaryIO]) -> None:
        super().__init__(file, check.reference)
        self._check = check
        self._reopen = reopen
        self._hashed = 0
        self._hash = sha256()
        self._confirmed = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, all by default; a read that comes to the end compares them."""
        if self._position == 0 and self._hashed == 0 and (size is None or size < 0):
            return self._read_whole()
        data = self._asked(self._file.read, size)
        self._account(data, at_end=size is None or size < 0 or (not data and size > 0))
        return data

    def _read_whole(self) -> bytes:
        data = b""
        # Whatever is wrong with the first answer shows by the digest, and is looked at below. What did not come in time
        # was asked for twice already.
        try:
            data = self._asked(self._file.read)
        except (CorruptMediaError, StorageError) as error:
            if isinstance(error.__cause__, TimeoutError):
                raise
        if not self._check.facts.met_by(data):
            # Nothing was handed out yet, so an overwrite under way is read again instead of refused.
            self._file.close()
            with ErrorContext(self.path):
                self._file = self._reopen()
                data = self._asked(self._file.read)
                if not self._check.facts.met_by(data):
                    self._check.judge(len(data), sha256(data).hexdigest())
        self._position = self._hashed = len(data)
        self._confirmed = True
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read up to the end of a line."""
        data = self._asked(self._file.readline, size)
        self._account(data, at_end=not data and size != 0)
        return data

    def _asked(self, call: Callable[[int], bytes], size: int | None = -1) -> bytes:
        with ErrorContext(self.path):
            try:
                return call(-1 if size is None else size)
            except OSError as error:
                # Of a file of this machine: the other storages have said it in our words.
                if isinstance(error, MediaError):
                    raise
                raise storage_error(error, self.path) from error

    def _account(self, data: bytes | memoryview, *, at_end: bool) -> None:
        """Add what was just read to the digest, and compare at the end."""
        start, self._position = self._position, self._position + len(data)
        facts = self._check.facts
        if start <= self._hashed < self._position:
            self._hash.update(data[self._hashed - start :] if self._hashed > start else data)
            self._hashed = self._position
        if self._confirmed or not (at_end or (data and self._position >= facts.size)):
            return
        if self._hashed == self._position:
            # A file that goes on behind its known end is longer than what was stored.
            while more := self._file.read(io.DEFAULT_BUFFER_SIZE):
                self._hash.update(more)
                self._hashed += len(more)
            if self._hashed != self._position:
                self._file.seek(self._position)
            if self._hash.hexdigest() != facts.sha256:
                self._check.judge(self._hashed, self._hash.hexdigest())
            self._confirmed = True
        elif self._position < facts.size:
            self._check.judge(self._position, None)

    def peek(self, size: int = 0, /) -> bytes:
        """Return bytes ahead without moving."""
        look = getattr(self._file, "peek", None)
        if look is not None:
            return cast("bytes", look(size))
        data = self._file.read(size or io.DEFAULT_BUFFER_SIZE)
        self._file.seek(self._position)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move; what is skipped is never compared with the digest."""
        self._position = self._file.seek(offset, whence)
        return self._position

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        known = getattr(self._file, "size", None)
        if not isinstance(known, int):
            known = self._file.seek(0, io.SEEK_END)
            self._file.seek(self._position)
        return known

    @property
    def name(self) -> str:
        """The path of a file of this machine; else the reference."""
        below = getattr(self._file, "name", None)
        # A key of an object store never begins with a slash, and may be that of shared bytes.
        return below if isinstance(below, str) and below.startswith("/") else self.path

    def fileno(self) -> int:
        """Return the descriptor of a file of this machine; what is read by it is not checked."""
        return self._file.fileno()


class StoredItem(NamedTuple):
    """A media item that is there."""

    entry: Entry  # its bytes: size, time
    sidecar: bytes | None  # the bytes of its sidecar, not yet parsed; None where it has none
    hold: bytes | None = None  # the bytes of its hold; None where it has none, or nobody asked
    token: str | None = None  # of its sidecar, where the storage keeps conditions

    @property
    def seen(self) -> Seen:
        """The sidecar as it was read."""
        return Seen(self.sidecar, self.token)


class ListedItem(NamedTuple):
    """What a listing shows of a media item."""

    entry: Entry  # its bytes
    sidecar: Entry | None = None  # its sidecar, under the sidecar's own key; None where it has none

    @property
    def has_sidecar(self) -> bool:
        """Whether it has a sidecar."""
        return self.sidecar is not None


class ListedPair(NamedTuple):
    """What a listing shows at one name: bytes, a sidecar, or both."""

    key: str
    data: Entry | None  # the bytes at the name itself; those of deduplicated media lie elsewhere
    sidecar: Entry | None

    @property
    def has_sidecar(self) -> bool:
        """Whether there is a sidecar."""
        return self.sidecar is not None

    @property
    def item(self) -> ListedItem | None:
        """The media item; None for bytes of a store under way, and for a sidecar without bytes."""
        pointer = None if self.sidecar is None else keys.pointer_of(self.key)
        if self.sidecar is not None and pointer is not None:
            # Its bytes lie elsewhere, whatever lies here: the name tells their size, and which they are.
            return ListedItem(Entry(self.key, pointer.size, self.sidecar.modified, pointer.generation), self.sidecar)
        if self.data is None or (self.sidecar is None and keys.is_own_name(self.key)):
            return None
        return ListedItem(self.data, self.sidecar)


class SelectedItem(NamedTuple):
    """A listed media item that meets a selection."""

    listed: ListedItem
    text: bytes | None = None  # its sidecar's bytes, if they were read to find that out

    @property
    def entry(self) -> Entry:
        """Its bytes, as they were listed."""
        return self.listed.entry


class SelectionIndex(Protocol):
    """Rows made from sidecars before, valid for items whose sidecars a listing shows unchanged."""

    def meets(self, item: ListedItem) -> bool | None:
        """Return whether an item meets the selection; None: its sidecar must be read."""

    def timestamp(self, item: ListedItem) -> datetime | None:
        """Return when an item was made; None: its sidecar must be read."""


class SelectionIndexLoader(Protocol):
    """Loads a selection's index, which costs requests itself."""

    @property
    def after(self) -> int:
        """Number of sidecars read from which on loading is worth it."""

    def load(self) -> SelectionIndex | None:
        """Load the index; None where there is none."""


def find(backend: Backend, reference: str, *, with_hold: bool = False) -> StoredItem:
    """Return a media item with its sidecar, and its hold on request, in one round trip; refuses what is only half."""
    wanted, heads = [keys.sidecar_key(reference)], [keys.bytes_key(reference)]
    try:
        answers = backend.fetch(reads=[*wanted, *([keys.hold_key(reference)] if with_hold else [])], heads=heads)
    except StorageError as error:
        # For those who look, not for those who delete: a role that may only read is told of no hold that is hidden.
        if not with_hold or not may_be_absent(backend, error, keys.hold_key(reference)):
            raise
        answers, with_hold = backend.fetch(reads=wanted, heads=heads), False
    sidecar, entry = answers.reads[0], answers.heads[0]
    if entry is None:
        refuse_folder(backend, reference)
        raise not_found(reference)
    # Bytes of our own form without a sidecar are a store under way or a leftover; of any other name, a stranger's file.
    if sidecar is None and keys.is_own_name(reference):
        raise not_found(reference)
    hold = answers.reads[1] if with_hold else None
    return StoredItem(_named(entry, reference), sidecar, hold, answers.tokens[0])


def _named(entry: Entry, reference: str) -> Entry:
    """Return what was seen of an item's bytes under its reference: shared data have a key of their own."""
    return entry if entry.key == reference else entry._replace(key=reference)


def find_many(
    backend: Backend, references: Sequence[str], held: frozenset[str] = frozenset()
) -> list[StoredItem | MediaError]:
    """Return several media items with their sidecars in one round trip; an error stands in the place of its item.

    `held`: keys of holds, as `holds.held` lists them; those of the items among them are read too.
    """
    kept = [key for key in references if held and keys.hold_key(key) in held]
    alone = partial(find, backend, with_hold=bool(held))
    try:
        wanted = [keys.bytes_key(key) for key in references]
        reads = [*map(keys.sidecar_key, references), *map(keys.hold_key, kept)]
        answers = backend.fetch(reads=reads, heads=wanted)
    except MediaError:
        # One that fails fails the whole call: asked one by one, the others are still found.
        return [attempt(alone, key) for key in references]
    found: list[StoredItem | MediaError] = []
    reasons = dict(zip(kept, answers.reads[len(references) :], strict=True))
    for key, sidecar, token, head in zip(references, answers.reads, answers.tokens, answers.heads, strict=False):
        if head is None or (sidecar is None and keys.is_own_name(key)):
            found.append(attempt(alone, key))
        else:
            found.append(StoredItem(_named(head, key), sidecar, reasons.get(key), token))
    return found


def see_sidecars(backend: Backend, references: Sequence[str]) -> list[Seen | MediaError]:
    """Read several sidecars in one round trip, as they can be replaced; an error in the place of its item."""
    try:
        found = backend.fetch(reads=[keys.sidecar_key(each) for each in references])
    except MediaError:
        return [attempt(partial(see, backend), each) for each in references]
    return [Seen(text, token) for text, token in zip(found.reads, found.tokens, strict=True)]


def read_sidecars(backend: Backend, references: Sequence[str]) -> list[bytes | MediaError | None]:
    """Read several sidecars in one round trip; None where there is none, an error in the place of its item."""
    return [each if isinstance(each, MediaError) else each.text for each in see_sidecars(backend, references)]


def read_listed_sidecars(backend: Backend, references: Sequence[str]) -> dict[str, bytes | MediaError | None]:
    """Read sidecars that a listing showed; one that is not found is asked for again before it counts as deleted.

    Neither a report that says whole or complete nor a table of all media must rest on one wrong "not found".
    """
    read = dict(zip(references, read_sidecars(backend, references), strict=True))
    absent = [reference for reference, data in read.items() if data is None]
    return read | dict(zip(absent, read_sidecars(backend, absent), strict=True)) if absent else read


def read_objects(backend: Backend, wanted: Sequence[str]) -> list[bytes | MediaError | None]:
    """Read several objects in one round trip; None where there is none, an error in the place of its object."""
    try:
        return [*backend.fetch(reads=wanted).reads]
    except MediaError:
        # One by one, to know which of them it was.
        return [attempt(backend.read, key) for key in wanted]


def read_each(backend: Backend, wanted: Iterable[str], together: int = _BATCH) -> Iterator[tuple[str, bytes]]:
    """Read many objects, so many in one round trip; yield those that are there, with their keys."""
    for window in windows(wanted, together):
        for key, data in zip(window, backend.fetch(reads=window).reads, strict=True):
            if data is not None:
                yield key, data


def read_ends(backend: Backend, key: str, size: int) -> tuple[bytes, bytes]:
    """Read the first and the last bytes of an object of known size, which tell type and measures."""
    head = backend.read_range(key, 0, HEAD_BYTES) or b"" if size else b""
    if size <= HEAD_BYTES:
        return head, b""
    return head, backend.read_range(key, max(HEAD_BYTES, size - TAIL_BYTES), size) or b""


def not_found(reference: str) -> MediaNotFoundError:
    """Return the error for a media item that is not there."""
    return MediaNotFoundError("no such media", next_step=_NEXT_STEP, reference=reference)


def refuse_folder(backend: Backend, reference: str) -> None:
    """Raise if the reference is a folder's."""
    if backend.holds(reference):
        raise InvalidReferenceError(
            "is a folder, not a media", next_step="list the store for the media in it", reference=reference
        )


def exists(backend: Backend, reference: str) -> bool:
    """Return whether there is a whole media item."""
    return next(_existing(backend, [reference]), None) is not None


def may_have_moved(reference: str) -> bool:
    """Return whether an item of this name could share its bytes under another one: a plain name of our own form.

    A sync gives it, and so did versions that turned a plain store over in place; what they left half-way is still read.
    """
    return keys.is_own_name(reference) and keys.pointer_of(reference) is None


def moved_many(backend: Backend, references: Iterable[str]) -> dict[str, str]:
    """Return the references that plain media items have since they share bytes; lists each of their folders once."""
    wanted = {each: each for each in references if may_have_moved(each)}
    return _found_in_folders(backend, wanted, keys.plain_reference)


def brought_many(backend: Backend, references: Iterable[str]) -> dict[str, str]:
    """Return the copies of deduplicated media items that a sync stored here; lists each of their folders once."""
    # They have the same bytes, and the same name but for the generation.
    wanted = {same: each for each in references if (same := _without_generation(each)) is not None}
    return _found_in_folders(backend, wanted, _without_generation)


def _without_generation(reference: str) -> tuple[str | None, int, str] | None:
    pointer = keys.pointer_of(reference)
    return None if pointer is None else (keys.plain_reference(reference), pointer.size, pointer.digest)


def _found_in_folders(backend: Backend, wanted: Mapping[T, str], same_of: Callable[[str], T | None]) -> dict[str, str]:
    """Return the present names of media items, by what the old and the present name have in common."""
    found: dict[str, str] = {}
    for folder in {each.rpartition("/")[0] for each in wanted.values()}:
        # In key order: where there are two, all processes take the same one.
        for entry in sorted(backend.children(folder).entries):
            if not keys.is_sidecar(entry.key):
                continue
            key = keys.media_key(entry.key)
            same = same_of(key)
            old = None if same is None else wanted.get(same)
            if old is not None and old != key and old not in found and exists(backend, key):
                found[old] = key
    return found


def refuse_renamed(backend: Backend, references: Sequence[str]) -> dict[str, MediaNotFoundError]:
    """Return the error for each name that is nobody's any more because its media was given another here.

    Ask only for what was not found: it reads all that is written down below `.fsmedia/references/`. Where nothing is,
    that is one listing.
    """
    errors: dict[str, MediaNotFoundError] = {}
    # What came from a store that shares bytes into one that does not has its plain name, line or no line.
    plain = {name: each for each in references if (name := keys.plain_reference(each)) is not None}
    errors |= {plain[name]: _renamed(plain[name], name) for name in _existing(backend, plain)}
    asked = {each: each for each in references if each not in errors}
    seen = set(asked)
    # A media may have been renamed more than once. Nobody comes back to a name.
    while asked:
        following = {new: asked[old] for old, new in _renamings(backend, asked) if new not in seen}
        seen.update(following)
        present = {name: name for name in _existing(backend, following)}
        present |= moved_many(backend, [each for each in following if each not in present])
        present |= brought_many(backend, [each for each in following if each not in present])
        for name, there in present.items():
            errors[following[name]] = _renamed(following[name], there)
        asked = {name: first for name, first in following.items() if first not in errors}
    return errors


def _existing(backend: Backend, references: Iterable[str]) -> Iterator[str]:
    """Yield those that are whole media items, some at a time."""
    for window in windows(references, _BATCH):
        wanted = [key for each in window for key in (keys.bytes_key(each), keys.sidecar_key(each))]
        heads = backend.fetch(heads=wanted).heads
        for each, data, sidecar in zip(window, heads[::2], heads[1::2], strict=True):
            if data is not None and (sidecar is not None or not keys.is_own_name(each)):
                yield each


def _renamings(backend: Backend, wanted: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of old and new reference that were written down for some old ones."""
    listed = (entry.key for entry in backend.entries(keys.REFERENCES) if not keys.is_temporary(entry.key))
    for _, data in read_each(backend, listed):
        for line in data.split(b"\n"):
            values: object = None
            with suppress(ValueError):
                values = from_json(line)
            old, new = (values.get("old"), values.get("new")) if isinstance(values, dict) else (None, None)
            if isinstance(old, str) and isinstance(new, str) and old in wanted and is_reference(new):
                yield old, new


def _renamed(reference: str, present: str) -> MediaNotFoundError:
    return MediaNotFoundError(
        f"has another name here since it was brought here, or shares its bytes: {present}",
        next_step="give that name",
        reference=reference,
    )


def open_bytes(backend: Backend, reference: str, *, verify_reads: VerifyReads = False) -> BinaryIO:
    """Open the bytes of a media item, compared with what was stored; not for those who hash them themselves."""
    try:
        return open_found(backend, reference, verify_reads=verify_reads, block_size=SEEK_BLOCK)
    except MediaError:
        raise
    except FileNotFoundError:
        refuse_folder(backend, reference)
        raise not_found(reference) from None


def open_found(backend: Backend, reference: str, *, verify_reads: VerifyReads, block_size: int) -> BinaryIO:
    """Do what `open_bytes` does; `FileNotFoundError` where there is nothing, without a look at what there is."""
    pointer, sidecar = keys.pointer_of(reference), keys.sidecar_key(reference)
    if pointer is not None:
        # Shared data outlive this item, so its sidecar is asked for; what they are, the name says.
        if backend.head(sidecar) is None:
            raise FileNotFoundError(reference)
        facts = facts_of_name(reference) if verify_reads else None
        return open_checked(backend, reference, facts, size=pointer.size, block_size=block_size)
    if not verify_reads:
        return backend.open(reference, block_size=block_size)
    # The sidecar beside the look that an object store takes before it reads, in one round trip.
    answers = backend.fetch(reads=[sidecar], heads=[reference])
    if answers.heads[0] is None:
        raise FileNotFoundError(reference)
    facts = facts_of_sidecar(answers.reads[0], reference)
    return open_checked(backend, reference, facts, size=answers.heads[0].size, block_size=block_size)


def read_found(
    backend: Backend,
    reference: str,
    start: int | None,
    end: int | None,
    *,
    verify_reads: VerifyReads,
) -> bytes | None:
    """Read a media item, all of it or a range that is counted as in slices; None where there is nothing."""
    where, sidecar, facts = keys.bytes_key(reference), keys.sidecar_key(reference), None
    whole = start is None and end is None
    pointer = keys.pointer_of(reference)
    at_once = whole and pointer is not None and backend.asynchronous and pointer.size <= CHUNK_BYTES
    # A deduplicated item exists as long as its sidecar.
    if where != reference and not at_once and backend.head(sidecar) is None:
        return None
    if verify_reads and pointer is not None and not whole:
        # Counted from the start, as the name tells the size: of bytes that are cut short the last ten would be others.
        first, last, _ = slice(start, end).indices(pointer.size)
        start, end = first, max(first, last)
    if at_once:
        answers = backend.fetch(reads=[where], heads=[sidecar])
        facts = facts_of_name(reference) if verify_reads else None
        data = None if answers.heads[0] is None else answers.reads[0]
    elif not (whole and verify_reads):
        data = backend.read_range(where, start, end)
    elif where != reference or not backend.asynchronous:
        # Sidecar, then bytes, as an overwrite writes them the other way round.
        text = None if where != reference else backend.read(sidecar)
        facts = facts_of_name(reference) or facts_of_sidecar(text, reference)
        data = backend.read_range(where, None, None)
    else:
        text, data = backend.fetch(reads=[sidecar, reference], patient=True).reads
        facts = facts_of_sidecar(text, reference)
    if data is None:
        return None
    with ErrorContext(reference):
        if not whole and verify_reads:
            return check_range(backend, reference, data, start, end)
        return data if facts is None else ReadCheck(backend, reference, facts).check(data)


def chunks_of(file: BinaryIO, start: int | None = None, end: int | None = None) -> Iterator[bytes]:
    """Read an open file in chunks of at most 1 MiB, all of it or a range that is counted as in slices."""
    size = file.seek(0, io.SEEK_END)
    first, last, _ = slice(start, end).indices(size)
    file.seek(first)
    left = max(0, last - first)
    while left and (data := file.read(min(CHUNK_BYTES, left))):
        left -= len(data)
        yield data
    if last == size:
        file.read(1)  # at its end a file finds out whether the media ends there


def signed_url(backend: Backend, reference: str, lifetime: timedelta, configuration: Configuration) -> str:
    """Return a URL under which other programs get a media's bytes, under the name that people know them by."""
    item = find(backend, reference)  # a signature says nothing of what is there
    if keys.pointer_of(reference) is not None:
        record = record_of(item, configuration)
        name = record.file_name or keys.file_name(reference)
        # The bytes were stored with the type of their first user, which may be another.
        return backend.sign(keys.bytes_key(reference), lifetime, mime_type=record.mime_type, filename=name)
    named = None
    with suppress(CorruptSidecarError):  # whose bytes are still read, by the name that they lie under
        named = record_of(item, configuration).file_name
    return backend.sign(reference, lifetime, filename=named)


@dataclass(repr=False, eq=False)
class StoredBytes:
    """The handle of a content that a store returned; a download lasts as long as this object or its path."""

    backend: Backend
    reference: str
    mime_type: str
    facts: StoredFacts | None = None
    verify_reads: VerifyReads = False
    _copy: Path | None = None

    def __repr__(self) -> str:
        return f"StoredBytes({self.reference!r})"

    def open(self) -> BinaryIO:
        """Open the stored bytes."""
        facts = self.facts
        if not self.verify_reads or facts is None or keys.pointer_of(self.reference) is not None:
            return open_bytes(self.backend, self.reference, verify_reads=self.verify_reads)
        # The sidecar was read when the content was made. The size of what a client named may have changed since.
        size = facts.size if keys.is_own_name(self.reference) else None
        try:
            return open_checked(self.backend, self.reference, facts, size=size)
        except FileNotFoundError:
            raise not_found(self.reference) from None

    def local_path(self) -> Path:
        """Return the path of a temporary copy, made at the first call, removed with the content and the path."""
        if self._copy is None:
            with ErrorContext(self.reference), self.open() as file:
                self._copy = local_copy(iter(lambda: file.read(CHUNK_BYTES), b""), self.mime_type)
        return self._copy


def record_of(item: StoredItem, configuration: Configuration) -> MediaRecord:
    """Return the record of a media item; path and storage fill in what no sidecar says."""
    updates: dict[str, object] = {}
    if item.hold is not None:
        updates["hold"] = holds.parse(item.hold, item.entry.key).reason
    if item.sidecar is None:
        return foreign_record(item.entry, configuration).model_copy(update=updates)
    reference = item.entry.key
    record = parsed_sidecar(item.sidecar, reference).record(reference, item.entry.size)
    mime_type = promptkit.mime_type_of(record.mime_type, reference)
    if mime_type != record.mime_type:
        updates["mime_type"] = mime_type
    # Names of our own form are given with their sidecar, which has all ids.
    if not keys.is_own_name(reference) and not all(getattr(record, name) for name in _PATH_IDS):
        parsed = ids_of_path(configuration.ordered_layouts, reference)
        fields = {} if parsed is None else parsed[1]
        updates |= {name: fields[name] for name in _PATH_IDS if fields.get(name) and not getattr(record, name)}
    if record.timestamp is None:
        updates["timestamp"] = item.entry.modified
    if record.expires_at is None and record.policy_name:
        updates["expires_at"] = _by_policy(record.policy_name, record.timestamp or item.entry.modified, configuration)
    return record.model_copy(update=updates) if updates else record


def foreign_record(entry: Entry, configuration: Configuration) -> MediaRecord:
    """Return the record of a file without a sidecar, by its path."""
    parsed = ids_of_path(configuration.ordered_layouts, entry.key)
    fields: dict[str, Any] = dict(parsed[1]) if parsed else {}
    fields = {name: value for name, value in fields.items() if name in MediaRecord.model_fields}
    facts = {"size_bytes": entry.size, "mime_type": promptkit.mime_type_of("", entry.key), "timestamp": entry.modified}
    return MediaRecord(**{**fields, **facts, "reference": Reference(entry.key)})


def content_of(entry: Entry, sidecar: Sidecar | None, configuration: Configuration, path: str | None) -> MediaContent:
    """Return the content of a media item, with its bytes named by a path of this machine, else by reference."""
    reference = entry.key
    if sidecar is None:
        metadata = vars(foreign_record(entry, configuration))
        fields: dict[str, Any] = {"mime_type": metadata["mime_type"]}
    else:
        # Validates all of it: damage is reported wherever it is, not only in the fields below.
        metadata = sidecar.metadata(reference)
        fields = sidecar.content_values(reference)
        fields["mime_type"] = promptkit.mime_type_of(fields["mime_type"], reference)
    fields["size_kb"] = -(-entry.size // 1024)
    if path is None:
        fields["storage_reference"] = Reference(reference)
    else:
        fields["file_path"] = path
    if telemetry.is_observed():
        facts = telemetry.media_facts(metadata)
        telemetry.add_facts("retrieve", reference=reference, size_bytes=entry.size, **facts)
    try:
        return MediaContent(**fields)._guessed()
    except InvalidMediaError as error:
        raise CorruptSidecarError(
            f"its sidecar has wrong values ({error.problem})",
            next_step="verify the store; store.open(reference) still reads the bytes",
            reference=reference,
        ) from None


def expiry_of(
    sidecar: Sidecar, reference: str, configuration: Configuration, modified: datetime | None = None
) -> datetime | None:
    """Return when a media item expires: by its sidecar, else by its policy's name, counted from `modified` in need."""
    retention = sidecar.retention(reference)
    # The sidecar's own instant is the truth; the name counts where none was written, as PromptKit does.
    if retention.expires_at is not None or not retention.policy_name:
        return retention.expires_at
    return _by_policy(retention.policy_name, retention.timestamp or modified, configuration)


def expiry_or_none(data: bytes, reference: str, configuration: Configuration) -> datetime | None:
    """Return when a media item expires by the bytes of its sidecar; None for a damaged one too."""
    # Most sidecars name no policy: looking for the words is much cheaper than parsing.
    if b"expires_at" not in data and b"policy_name" not in data:
        return None
    try:
        return expiry_of(Sidecar.parse(data, reference), reference, configuration)
    except CorruptSidecarError:
        return None


def paired(entries: Iterable[Entry], *, shown_only: bool = False) -> Iterator[ListedPair]:
    """Pair bytes with sidecars in a listing in key order; holds only the few names whose sidecar may still follow.

    `shown_only`: leave out what lies in `.fsmedia/`, temporary files and PromptKit's index.
    """
    waiting: dict[str, ListedPair] = {}
    for entry in entries:
        key = entry.key
        if keys.is_sidecar(key):
            if shown_only and keys.is_internal(key):
                continue
            name = key[: -len(keys.SIDECAR_SUFFIX)]
            beside = waiting.get(name)
            pair = ListedPair(name, None if beside is None else beside.data, entry)
            if beside is not None and len(waiting) == 1:
                waiting.clear()
                yield pair
                continue
            waiting[name] = pair
        elif shown_only and keys.is_hidden(key):
            continue
        else:
            waiting[key] = ListedPair(key, entry, None)
            if len(waiting) == 1:
                continue
        while waiting:
            first = next(iter(waiting.values()))
            # `x` and `x.meta` need not be neighbours (`x-y` sorts between them), but from the first name after
            # `x.meta` on no sidecar of `x` can come.
            if first.sidecar is None and keys.sidecar_key(first.key) >= key:
                break
            del waiting[first.key]
            yield first
    yield from waiting.values()


def listed(entries: Iterable[Entry]) -> Iterator[ListedItem]:
    """Yield the media of a listing in key order; neither bytes of a store under way nor sidecars without bytes."""
    return (item for pair in paired(entries, shown_only=True) if (item := pair.item) is not None)


def select(
    backend: Backend,
    configuration: Configuration,
    selection: Selection,
    *,
    limit: int | None = None,
    held: bool | None = None,
    shortcut: SelectionIndexLoader | None = None,
) -> Iterator[tuple[Reference, bool]]:
    """List the references that meet a selection, in the order of their keys, and whether each has a sidecar.

    Where the selection names the id of the store's organization mode, only that id's folder is listed.

    `held`: only media items that are held, or only those that are not. `shortcut`: an index to ask instead of reading
    unchanged sidecars; the result is the same with and without.
    """
    _check_limit(limit)

    def found() -> Iterator[tuple[Reference, bool]]:
        nested = NestedStores()
        kept = holds.held(backend) if held is False else frozenset()
        for each in selected(backend, configuration, selection, shortcut, nested=nested):
            if not (kept and keys.hold_key(each.entry.key) in kept):
                yield Reference(each.entry.key), each.listed.has_sidecar
        nested.told(backend)

    return islice(select_held(backend, configuration, selection) if held else found(), limit)


def _check_limit(limit: int | None) -> None:
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise InvalidMediaError(f"limit must be a number from 0, not {limit!r}")


def select_equal(
    backend: Backend,
    configuration: Configuration,
    selection: Selection,
    digest: str,
    *,
    limit: int | None = None,
    rows: Iterable[str] | None = None,
) -> Iterator[tuple[Reference, bool]]:
    """List the references of media items that meet a selection and have bytes of a digest, as `select` does.

    Where bytes are shared, by the markers of that digest: one listing, then markers and their sidecars, no more of them
    at once than are wanted. Elsewhere `rows` are candidates; None: all that are selected.
    """
    _check_limit(limit)
    together = _BATCH if limit is None else max(1, min(limit, _BATCH))

    def found() -> Iterator[tuple[Reference, bool]]:
        if configuration.deduplicate:
            items = _sharing(backend, digest, together)
        else:
            named = (key for key, _ in select(backend, configuration, selection)) if rows is None else rows
            items = (each for some in windows(named, together) for each in find_many(backend, some))
        for item in items:
            if isinstance(item, MediaError):
                if isinstance(item, MediaNotFoundError):
                    continue  # deleted since the catalog saw it
                raise item
            record = _record_or_path_record(item, configuration)
            if record.sha256 == digest and selection.matches(record):
                yield record.reference, item.sidecar is not None

    return islice(found(), limit)


def _sharing(backend: Backend, digest: str, together: int) -> Iterator[StoredItem | MediaError]:
    """Find the media items that share bytes of a digest: those whose sidecar names a marker that is there."""
    there = set[str]()

    def markers() -> Iterator[str]:
        for entry in backend.entries(keys.blob_folder(digest)):
            # Names sort condemned, data, refs: all data are seen before the first marker.
            parsed = keys.parse_blob_key(entry.key)
            if parsed is not None and parsed.kind == "data":
                there.add(parsed.generation)
            elif parsed is not None and parsed.kind == "refs" and parsed.generation in there:
                yield entry.key

    for some in windows(read_each(backend, markers(), together), together):
        # What a marker says is a stranger's word until the sidecar that it speaks of says the same.
        named = [(marker, data.decode(errors="replace")) for marker, data in some]
        named = [(marker, key) for marker, key in named if keys.is_reference(key) and keys.pointer_of(key) is not None]
        texts = read_sidecars(backend, [key for _, key in named])
        for (marker, key), text in zip(named, texts, strict=True):
            pointer = keys.pointer_of(key)
            if isinstance(text, MediaError):
                yield text
            elif text is not None and pointer is not None:
                with suppress(CorruptSidecarError):
                    own = Sidecar.parse(text, key).marker(key)
                    if own is not None and pointer.marker_key(own) == marker:
                        yield StoredItem(Entry(key, pointer.size), text)


def select_held(
    backend: Backend, configuration: Configuration, selection: Selection
) -> Iterator[tuple[Reference, bool]]:
    """List the references of held media items that meet a selection, as `select` does.

    One listing of the holds, and a read of each; sidecars of these media items alone.
    """
    for batch in windows(holds.held_references(backend), _BATCH):
        for found in find_many(backend, batch):
            if isinstance(found, MediaNotFoundError):
                continue  # deleted before it was held, or by somebody who knows no holds
            if isinstance(found, MediaError):
                raise found
            if selection.matches(_record_or_path_record(found, configuration)):
                yield Reference(found.entry.key), found.sidecar is not None


def select_newest(
    backend: Backend,
    configuration: Configuration,
    selection: Selection,
    count: int,
    shortcut: SelectionIndexLoader | None = None,
) -> Iterator[tuple[Reference, bool]]:
    """Give what `select` does of the media items with the latest timestamps, the newest first.

    All that are selected are looked at; only `count` of them are held in memory.
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise InvalidMediaError(f"newest must be a number from 0, not {count!r}")

    def dated() -> Iterator[tuple[datetime, str, bool]]:
        nested, reader = NestedStores(), _SidecarReader(backend, shortcut)
        items = selected(backend, configuration, selection, shortcut, nested=nested)
        for batch in windows(items, _BATCH):
            index, times = reader.index, dict[str, datetime | None]()
            times |= {each.entry.key: None if index is None else index.timestamp(each.listed) for each in batch}
            unknown = [each for each in batch if times[each.entry.key] is None]
            texts = reader.read([each.entry.key for each in unknown if each.text is None and each.listed.has_sidecar])
            for each in unknown:
                item = StoredItem(each.entry, each.text or texts.get(each.entry.key))
                times[each.entry.key] = _record_or_path_record(item, configuration).timestamp
            yield from ((times[each.entry.key] or _NO_TIME, each.entry.key, each.listed.has_sidecar) for each in batch)
        nested.told(backend)

    def found() -> Iterator[tuple[Reference, bool]]:
        yield from ((Reference(key), has_sidecar) for _, key, has_sidecar in heapq.nlargest(count, dated()))

    return found()


@dataclass(slots=True)
class _SidecarReader:
    """Reads sidecars for a selection, and loads its index once so many were read that this is worth it."""

    backend: Backend
    loader: SelectionIndexLoader | None
    index: SelectionIndex | None = None
    number: int = 0

    def read(self, references: Sequence[str]) -> dict[str, bytes | None]:
        if not references:
            return {}
        found = self.backend.fetch(reads=[keys.sidecar_key(each) for each in references]).reads
        self.number += len(references)
        # Loading the index costs requests as well: short listings never pay for it, and long ones do so once.
        if self.loader is not None and self.number >= self.loader.after:
            self.index, self.loader = self.loader.load(), None
        return dict(zip(references, found, strict=True))


def selected(
    backend: Backend,
    configuration: Configuration,
    selection: Selection,
    shortcut: SelectionIndexLoader | None = None,
    *,
    nested: NestedStores,
) -> Iterator[SelectedItem]:
    """List the media items that meet a selection, in the order of their keys; see `select`.

    `nested`: is told of the stores below this one, whose media are left out.
    """
    folders = folders_of(configuration, selection)
    # Where other fields stand before the id in the template, the folder says nothing about it; and media of other ids
    # may lie in those that we did not name.
    ours = folders[0] if folders[0] not in ("", configuration.layout.prefix) else None

    def found(folder: str) -> Iterator[SelectedItem]:
        known = configuration.organization if folder == ours else None
        item_filter = _SelectionFilter(configuration, selection, known, _SidecarReader(backend, shortcut))
        return item_filter.selected(listed(nested.entries(backend, folder)))

    # Keys sort as their folders do with a slash behind, and none lies in two of them.
    return chain.from_iterable(map(found, sorted(folders, key=lambda folder: f"{folder}/")))


def folders_of(configuration: Configuration, selection: Selection) -> tuple[str, ...]:
    """Return the folders that hold all media items of a selection, ours first; an empty one is the whole store."""
    value = selection.words.get(configuration.organization.id_field)
    # An adopted store may keep items of that id under names of another writer's making, or anywhere.
    return configuration.layout.folders(value) if value and not configuration.adopted else ("",)


def is_reference(key: str) -> bool:
    """Return whether a listed key can be a reference; one with an empty part, for instance, can't."""
    return keys.is_reference(key)


@dataclass(frozen=True, slots=True)
class _SelectionFilter:
    """Decides which listed items meet a selection: by the path, else by an index, else by the sidecar."""

    configuration: Configuration
    selection: Selection
    known: OrganizationMode | None
    sidecars: _SidecarReader

    def selected(self, items: Iterator[ListedItem]) -> Iterator[SelectedItem]:
        """Return those of the items that meet the selection."""
        meeting = self._meeting if self.selection.asks() else partial(map, SelectedItem)
        for batch in windows(items, _BATCH):
            yield from meeting([item for item in batch if is_reference(item.entry.key)])

    def _meeting(self, items: list[ListedItem]) -> Iterator[SelectedItem]:
        index, met = self.sidecars.index, dict.fromkeys((item.entry.key for item in items), True)
        wanted: list[ListedItem] = []
        # Nothing needs to be read where nothing is asked, or only what the folder says.
        is_told = self.known is not None and not self.selection.asks(beyond=self.known)
        for item in items:
            if is_told and keys.is_own_name(item.entry.key):
                continue
            answer = None if index is None or not item.has_sidecar else index.meets(item)
            if answer is None and item.has_sidecar:
                wanted.append(item)
            else:
                met[item.entry.key] = self._matches(item, None) if answer is None else answer
        texts = self.sidecars.read([item.entry.key for item in wanted])
        for item in wanted:
            data = texts[item.entry.key]
            # No sidecar any more: the item was deleted since it was listed.
            met[item.entry.key] = data is not None and self._matches(item, data)
        yield from (SelectedItem(item, texts.get(item.entry.key)) for item in items if met[item.entry.key])

    def _matches(self, item: ListedItem, data: bytes | None) -> bool:
        record = _record_or_path_record(StoredItem(item.entry, data), self.configuration)
        if self.known is not None and not getattr(record, self.known.id_field):
            # A folder whose name is a shortened id, and a client's sidecar that names none.
            field = self.known.id_field
            record = record.model_copy(update={field: self.selection.words.get(field)})
        return self.selection.matches(record)


def _record_or_path_record(item: StoredItem, configuration: Configuration) -> MediaRecord:
    """Return the record of an item; with a damaged sidecar, which is logged, the one its path gives."""
    try:
        return record_of(item, configuration)
    except CorruptSidecarError as error:
        _log.warning("listing by path and name only: %s", error)
        return foreign_record(item.entry, configuration)


def parsed_sidecar(data: bytes, reference: str) -> Sidecar:
    """Read the sidecar of a media item that is shown; `CorruptSidecarError` where it is damaged."""
    sidecar = Sidecar.parse(data, reference)
    # The name of a deduplicated item is a promise about its bytes, so both must name the same.
    if not sidecar.agrees(reference):
        raise CorruptSidecarError(
            "its sidecar speaks of other bytes than its name", next_step="verify the store", reference=reference
        )
    return sidecar


def _by_policy(name: str, timestamp: datetime | None, configuration: Configuration) -> datetime | None:
    try:
        policy = find_policy(name, configuration.policies)
        return None if timestamp is None else expires_at(policy, timestamp)
    except UnknownPolicyError:
        return None  # PromptKit stores any name and never enforces those it does not know


@dataclass(frozen=True, slots=True)
class References:
    """The references of one store."""

    backend: Backend
    settings_file: SettingsFile
    verify_reads: VerifyReads = False

    def key(self, reference: str) -> str:
        """Return the key that a reference names: below the root, as a URL of the root, or as a `media://` URL."""
        key = keys.check_reference(self._spelled(reference))
        set_reference(key)
        return key

    def _spelled(self, reference: str) -> str:
        if not isinstance(reference, str) or (reference[:1] != "/" and "://" not in reference):
            return reference
        if reference.startswith(SCHEME):
            return self._key_of_url(reference)
        return keys.relative_to_root(reference, self.backend.roots())

    def _key_of_url(self, url: str) -> str:
        """Return the key that a `media://` URL names; a root in it must be this one.

        The text that `externalize` puts in place of a media's bytes is such a URL too.
        """
        marker = InlineReference.parse(url)
        if marker is not None:
            return marker.reference
        key, rest, name = split_media_url(url)
        if name:
            rest = find_store(name, conf_stores())[0]
        if rest and not is_root(rest, self.backend.roots()):
            raise InvalidReferenceError(
                f"the URL is of another store than this one at {self.backend.url}",
                next_step="open the store that the part after :: names",
                reference=key,
            )
        return key

    def apply(self, reference: str, function: Callable[[str], T]) -> T:
        """Call a function with a media's key; where it finds nothing, again with the media's present name."""
        key = self.key(reference)
        with ErrorContext(key):
            try:
                return function(key)
            except MediaNotFoundError:
                moved = self.moved_to(key)
                if moved is None:
                    raise
        with ErrorContext(moved):
            return function(moved)

    def moved_to(self, key: str) -> str | None:
        """Return a media's name since it shares its bytes, or since a sync brought it here; None: it has none.

        It lists the media's folder, so ask only for what was not found.
        """
        settings_file = self.settings_file
        # A root without settings shares nothing, and is not listed to assume any.
        if not (settings_file.is_settled and settings_file.configuration.deduplicate):
            return None
        found = moved_many(self.backend, [key]) if keys.pointer_of(key) is None else brought_many(self.backend, [key])
        return found.get(key)

    def exists(self, reference: str) -> bool:
        """Tell whether there is such a media, under this name or its present one."""
        key = self.key(reference)
        with ErrorContext(key):
            return exists(self.backend, key) or self.moved_to(key) is not None

    def open(self, reference: str) -> BinaryIO:
        """Open a media's bytes."""
        return self.apply(reference, lambda key: open_bytes(self.backend, key, verify_reads=self.verify_reads))

    def read(self, reference: str, start: int | None, end: int | None) -> bytes:
        """Read a media's bytes, all or a range."""

        def found(key: str) -> bytes:
            data = read_found(self.backend, key, start, end, verify_reads=self.verify_reads)
            if data is None:
                refuse_folder(self.backend, key)
                raise not_found(key)
            return data

        return self.apply(reference, found)
