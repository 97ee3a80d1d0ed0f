"""Bytes on their way back: what is read is compared with what the name or the sidecar says was stored.

A whole sequential read is compared by SHA-256 at its end, before its last bytes are handed out; every read by length.
A seek leaves a gap that no digest covers.
"""

from __future__ import annotations

import io
import logging
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, cast

from fsmedia.errors import (
    CorruptMediaError,
    CorruptSidecarError,
    ErrorContext,
    InvalidMediaError,
    MediaNotFoundError,
    StorageError,
)
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.storage import SEEK_BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fsmedia.storage import Backend, Entry

VerifyReads = bool | Literal["always"]
"""Whether reads are checked; "always": the digests of plain media in a bulk `cat` of an object store too."""

_log = logging.getLogger("fsmedia")
_NEXT_STEP = "run fsmedia verify --deep; verify_reads=False reads it as it is"


class StoredFacts(NamedTuple):
    """What is known of the bytes of a media item before they are read.

    Attributes
    ----------
    size
        Bytes.
    sha256
        Digest, in hex.
    """

    size: int
    sha256: str


def check_mode(verify_reads: object) -> None:
    """Refuse what is no way to check reads.

    Raises
    ------
    InvalidMediaError
        It is none of True, False and "always".
    """
    if not isinstance(verify_reads, bool) and verify_reads != "always":
        raise InvalidMediaError(
            f"verify_reads must be True, False or 'always', not {verify_reads!r}", next_step="leave it out"
        )


def facts_of_name(reference: str) -> StoredFacts | None:
    """Return what a deduplicated name says; None for every other name."""
    pointer = keys.pointer_of(reference)
    return None if pointer is None else StoredFacts(pointer.size, pointer.digest)


def facts_of_sidecar(text: bytes | None, reference: str) -> StoredFacts | None:
    """Return what a sidecar says; None where there is none, it is damaged, or this package did not write it."""
    if text is None:
        return None
    try:
        values = Sidecar.parse(text, reference).values
    except CorruptSidecarError:
        return None  # the bytes are still read, and nobody knows what they were
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
        """Return the bytes of a whole read; where they are not those that were stored, read them once more.

        Raises
        ------
        CorruptMediaError
            They are not.
        MediaNotFoundError
            They are gone by now.
        """
        if self.is_met(data):
            return data
        # Sidecar, then bytes: an overwrite writes the bytes first, so bytes read after a sidecar are at least as new.
        text = self.backend.read(keys.sidecar_key(self.reference))
        again = self.backend.read_range(keys.bytes_key(self.reference), None, None)
        if again is None:
            raise MediaNotFoundError("no such media", next_step="list the store", reference=self.reference)
        facts = facts_of_name(self.reference) or facts_of_sidecar(text, self.reference)
        if facts is not None and not facts_met(facts, again):
            self.judge(len(again), sha256(again).hexdigest())
        return again

    def is_met(self, data: bytes) -> bool:
        """Return whether these are the bytes that were stored."""
        return facts_met(self.facts, data)

    def judge(self, size: int, digest: str | None) -> None:
        """Decide on bytes that are not what was expected, by the sidecar and the bytes of now.

        Parameters
        ----------
        digest
            Of all bytes; None where only their number is known.

        Raises
        ------
        CorruptMediaError
            They are damaged.
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
        raise self.error(facts, size, digest)

    def _is_adopted(self, there: Entry, beside: Entry | None) -> bool:
        # A client writes the bytes first. Under a name that a store generated nobody writes a second time.
        if keys.is_own_name(self.reference) or beside is None or there.modified is None or beside.modified is None:
            return False
        return there.modified > beside.modified

    def error(self, facts: StoredFacts, size: int, digest: str | None) -> CorruptMediaError:
        """Return the error for bytes that are not those that were stored."""
        if size != facts.size:
            problem = f"{size} bytes were read where {facts.size} were stored"
        else:
            problem = f"its bytes are damaged: SHA-256 {(digest or '')[:12]}..., stored was {facts.sha256[:12]}..."
        return CorruptMediaError(problem, next_step=_NEXT_STEP, reference=self.reference)


def facts_met(facts: StoredFacts, data: bytes) -> bool:
    """Return whether these are the bytes that were stored; the digest decides, whatever the size says."""
    return sha256(data).hexdigest() == facts.sha256


def absolute_range(reference: str, start: int | None, end: int | None) -> tuple[int | None, int | None]:
    """Return a range counted from the start and cut at the end, where the name tells the size; else as it is."""
    pointer = keys.pointer_of(reference)
    if pointer is None or (start is None and end is None):
        return start, end
    # Of bytes that are cut short, the last ten would be ten others.
    first, last, _ = slice(start, end).indices(pointer.size)
    return first, max(first, last)


def check_range(backend: Backend, reference: str, data: bytes, start: int | None, end: int | None) -> bytes:
    """Return the bytes of a range if they are as many as were asked for; looks at the media item only in doubt.

    Raises
    ------
    CorruptMediaError
        They are not.
    """
    if start is not None and end is not None and 0 <= start <= end and len(data) == end - start:
        return data
    # Fewer bytes than the range has: does the media end there, or was the answer cut?
    pointer = keys.pointer_of(reference)
    if pointer is None:
        answers = backend.fetch(reads=[keys.sidecar_key(reference)], heads=[reference])
        facts, there = facts_of_sidecar(answers.reads[0], reference), answers.heads[0]
        if there is None:
            raise MediaNotFoundError("no such media", next_step="list the store", reference=reference)
        if facts is not None and facts.size != there.size:
            ReadCheck(backend, reference, facts).judge(there.size, None)
        size = there.size
    else:
        size = pointer.size
    wanted = len(range(*slice(start, end).indices(size)))
    if len(data) != wanted:
        # Once more: it may have been overwritten between the two requests.
        data = backend.read_range(keys.bytes_key(reference), start, end) or b""
    if len(data) != wanted:
        raise CorruptMediaError(
            f"{len(data)} bytes came for a range of {wanted}", next_step=_NEXT_STEP, reference=reference
        )
    return data


def open_checked(
    backend: Backend, reference: str, facts: StoredFacts | None, *, size: int | None, block_size: int = SEEK_BLOCK
) -> BinaryIO:
    """Open the bytes of a media item, to be compared with what was stored; without facts as they are.

    Parameters
    ----------
    size
        Of the bytes, where it is sure; object stores are spared a look then.

    Raises
    ------
    FileNotFoundError
        They are not there.
    """
    place = keys.bytes_key(reference)
    file = backend.open(place, block_size=block_size, size=size)
    if facts is None:
        return file
    return CheckedFile(file, ReadCheck(backend, reference, facts), lambda: backend.open(place, block_size=block_size))


class CheckedFile(io.BufferedIOBase, BinaryIO):
    """A binary file for reading whose bytes are compared with what was stored once it was read from start to end.

    Reads may repeat earlier parts. After a seek past what was read only lengths are checked.

    Parameters
    ----------
    reopen
        Opens the bytes anew: a whole read that fails is done once more.
    """

    def __init__(self, file: BinaryIO, check: ReadCheck, reopen: Callable[[], BinaryIO]) -> None:
        self._file = file
        self._check = check
        self._reopen = reopen
        self._position = 0
        self._hashed = 0
        self._hash = sha256()
        self._confirmed = False

    def __repr__(self) -> str:
        return f"<media {self._check.reference!r}{' closed' if self.closed else ''}>"

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes, all by default.

        Raises
        ------
        CorruptMediaError
            This read comes to the end, and the bytes are not those that were stored.
        """
        if self._position == 0 and self._hashed == 0 and (size is None or size < 0):
            return self._read_whole()
        with ErrorContext(self._check.reference):
            data = self._file.read(-1 if size is None else size)
        self._account(data, at_end=size is None or size < 0 or (not data and size > 0))
        return data

    def _read_whole(self) -> bytes:
        data = b""
        # Whatever is wrong with the first answer shows by the digest, and is looked at below.
        with suppress(CorruptMediaError, StorageError):
            data = self._file.read()
        if not self._check.is_met(data):
            # Nothing was handed out yet, so an overwrite under way is read again instead of refused.
            self._file.close()
            with ErrorContext(self._check.reference):
                self._file = self._reopen()
                data = self._file.read()
                if not self._check.is_met(data):
                    self._check.judge(len(data), sha256(data).hexdigest())
        self._position = self._hashed = len(data)
        self._confirmed = True
        return data

    def read1(self, size: int = -1, /) -> bytes:
        """Read some bytes, by one call of the file below."""
        with ErrorContext(self._check.reference):
            data = cast("Any", self._file).read1(size)
        self._account(data, at_end=not data and size != 0)
        return cast("bytes", data)

    def readinto(self, buffer: Any, /) -> int:
        """Read into a buffer."""
        view = memoryview(buffer).cast("B")
        with ErrorContext(self._check.reference):
            number = cast("Any", self._file).readinto(view) or 0
        self._account(view[:number], at_end=not number and len(view) > 0)
        return int(number)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read up to the end of a line."""
        with ErrorContext(self._check.reference):
            data = self._file.readline(-1 if size is None else size)
        self._account(data, at_end=not data and size != 0)
        return data

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
            self._hash_rest()
            if self._hash.hexdigest() != facts.sha256:
                self._check.judge(self._hashed, self._hash.hexdigest())
            self._confirmed = True
        elif self._position < facts.size:
            self._check.judge(self._position, None)

    def _hash_rest(self) -> None:
        before = self._hashed
        while more := self._file.read(io.DEFAULT_BUFFER_SIZE):
            self._hash.update(more)
            self._hashed += len(more)
        if self._hashed != before:
            self._file.seek(self._position)

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

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        known = getattr(self._file, "size", None)
        if not isinstance(known, int):
            known = self._file.seek(0, io.SEEK_END)
            self._file.seek(self._position)
        return known

    @property
    def name(self) -> Any:
        """What the file below is called: a path, where it is one of this machine."""
        return getattr(self._file, "name", self._check.reference)

    @property
    def mode(self) -> str:
        """How it was opened."""
        return "rb"

    def fileno(self) -> int:
        """Return the descriptor of a file of this machine; what is read by it is not checked."""
        return self._file.fileno()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether the file below can seek."""
        return self._file.seekable()

    def close(self) -> None:
        """Close; may be called again."""
        if not self.closed:
            self._file.close()
        super().close()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")
