"""The bytes of a media on their way: read at the source, compared with their digest, put at the target.

Small ones are held in memory, many at once; large ones go in pieces through a stage, which puts nothing at its key
before all of them were compared; and where both roots are in one storage, that copies them itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from fsmedia.core import records
from fsmedia.core.intake import Intake
from fsmedia.errors import CorruptSidecarError, MediaError, MediaNotFoundError, StorageError, StoreConflictError
from fsmedia.format import keys
from fsmedia.maintenance.transfer.verdicts import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fsmedia.maintenance.transfer.passages import Passage
    from fsmedia.storage import Backend, Stage

Check = Literal["size", "read"]
"""What is looked at when bytes lie at the target: their size, where the storage copied them; or all of them, always."""

SMALL = 4 * 2**20
"""Bytes of what is held in memory."""

_TOGETHER = 32 * 2**20
_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Road:
    """The way from one root to another.

    Attributes
    ----------
    check
        What is looked at when bytes have arrived.
    copies
        Whether the storage copies by itself.
    told
        Called with the number of bytes that have just come over; None where nobody listens.
    """

    source: Backend
    target: Backend
    check: Check
    copies: bool
    told: Callable[[int], None] | None = None

    def tell(self, size: int) -> None:
        """Say that bytes have come over."""
        if self.told is not None:
            self.told(size)


@dataclass(slots=True)
class Cargo:
    """Bytes of one media; to `commit` and `sharing` a thing that can be aimed and committed.

    Attributes
    ----------
    data
        The bytes, where they are in memory.
    stage
        What holds them, where they are many.
    spoiled
        Whether they can't be stored: they are not what their sidecar says, or gone.
    """

    road: Road
    passage: Passage
    data: bytes | None = None
    stage: Stage | None = None
    spoiled: bool = False
    _key: str = ""
    _begun: str = ""

    @property
    def is_plain_data(self) -> bool:
        """Whether it can be put together with others, and nothing needs to be looked at then."""
        return self.data is not None and self.road.check == "size"

    def aim(self, key: str) -> None:
        """Choose where the bytes go."""
        self._key = key
        if self.stage is not None and key != self._begun:
            self.stage.aim(key)

    def commit(self, content_type: str) -> None:
        """Put the bytes there, and look at them as it was asked.

        Raises
        ------
        StorageError
            Other bytes lie there than were sent, or the storage failed.
        MediaNotFoundError, StoreConflictError
            The source's were deleted or changed meanwhile.
        """
        if self.stage is None and self.data is None:
            if self.road.copies:
                self._let_copy()
                return
            self.fetch()
        if self.stage is not None:
            self.stage.commit(content_type)
        elif self.data is not None:
            self.road.target.write(self._key, self.data, content_type)
        if self.road.check == "read":
            self._look()

    def _let_copy(self) -> None:
        passage, road = self.passage, self.road
        try:
            road.target.copy_from(road.source, passage.source_key, self._key, passage.entry.size)
        except FileNotFoundError:
            raise self._gone() from None
        found = road.target.head(self._key)
        if found is None or found.size != passage.entry.size:
            raise self._other(f"{0 if found is None else found.size} bytes instead of {passage.entry.size}")
        if road.check == "read":
            self._look()
        road.tell(passage.entry.size)

    def _look(self) -> None:
        """Read what lies at the target."""
        digest = self.passage.digest
        try:
            found = digest_of(self.road.target, self._key) if digest else ""
        except MediaError as error:  # some clients compare checksums themselves
            raise self._other(f"bytes that can't be read again ({error.problem})") from error
        if found != digest:
            raise self._other("other bytes than were sent")

    def _other(self, what: str) -> StorageError:
        """Say what arrived, and take it away: nothing refers to it."""
        self.spoiled = True
        if self.passage.known is None:
            self.road.target.delete([self._key])
        return StorageError(
            f"the target has {what}",
            next_step="sync again; if it stays so, verify both",
            reference=self.passage.reference,
        )

    # -- reading at the source --------------------------------------------------------------------------------

    def take(self, data: bytes | MediaError | None) -> None:
        """Take bytes that were read together with others.

        Raises
        ------
        MediaNotFoundError, CorruptSidecarError, StoreConflictError, StorageError
            They can't be read, or are not what the sidecar says.
        """
        if isinstance(data, MediaError):
            raise data
        if data is None:
            raise self._gone()
        self._compare(len(data), sha256(data).hexdigest())
        self.data = data
        self.road.tell(len(data))

    def fetch(self) -> None:
        """Read the bytes, compare them, and hold them in memory or in a stage; see `take`."""
        if self.passage.entry.size <= SMALL:
            self.take(self.road.source.read_range(self.passage.source_key, None, None))
            return
        self._begun = self._key or self.passage.name
        self.stage = self.road.target.stage(self._begun)
        intake = Intake(self.stage, None)
        try:
            for data in self._pieces():
                intake.write(data)
                self.road.tell(len(data))
            self._compare(intake.size, intake.sha256)
        except BaseException:
            self.discard()
            raise
        finally:
            intake.finish()

    def _pieces(self) -> Iterator[bytes]:
        try:
            with self.road.source.open(self.passage.source_key, size=self.passage.entry.size) as file:
                while data := file.read(_CHUNK):
                    yield data
        except (FileNotFoundError, MediaNotFoundError):
            raise self._gone() from None

    def _compare(self, size: int, digest: str) -> None:
        passage = self.passage
        if size == passage.entry.size and digest == (passage.digest or digest):
            passage.digest = digest
            return
        self.spoiled = True
        text = self.road.source.read(keys.sidecar_key(passage.reference))
        if text is None and passage.text is not None:
            raise self._gone()
        if text != passage.text:
            raise StoreConflictError(
                "was changed while it was read", next_step="sync again", reference=passage.reference
            )
        raise CorruptSidecarError(
            f"its sidecar or listing speaks of other bytes ({passage.entry.size} with digest "
            f"{passage.digest[:12] or 'none'}) than were read ({size} with {digest[:12]}); nothing was stored",
            next_step="sync again; if it stays so, verify the source",
            reference=passage.reference,
        )

    def _gone(self) -> MediaNotFoundError:
        self.spoiled = True
        return records.not_found(self.passage.reference)

    def discard(self) -> None:
        """Leave nothing behind."""
        if self.stage is not None:
            self.stage.discard()


def batches(cargoes: Sequence[Cargo]) -> Iterator[list[Cargo]]:
    """Cut into lists that fit into memory together; what is large comes alone."""
    together: list[Cargo] = []
    size = 0
    for each in cargoes:
        length = each.passage.entry.size
        if together and size + length > _TOGETHER:
            yield together
            together, size = [], 0
        if length > SMALL:
            yield [each]
            continue
        together.append(each)
        size += length
    if together:
        yield together


def load(cargoes: Sequence[Cargo]) -> dict[int, MediaError]:
    """Read the bytes of several media, small ones at once; return what went wrong, by index."""
    failed: dict[int, MediaError] = {}
    small = [each for each in cargoes if each.passage.entry.size <= SMALL]
    found = iter(_read(small[0].road.source, [each.passage.source_key for each in small]) if small else ())
    for index, each in enumerate(cargoes):
        try:
            if each.passage.entry.size <= SMALL:
                each.take(next(found))
            else:
                each.fetch()
        except MediaError as error:
            failed[index] = error
    return failed


def _read(backend: Backend, wanted: Sequence[str]) -> list[bytes | MediaError | None]:
    """Read files whole, all at once; if that fails one by one."""
    try:
        return [*backend.fetch(reads=wanted).reads]
    except MediaError:
        return [_read_one(backend, key) for key in wanted]


def _read_one(backend: Backend, key: str) -> bytes | MediaError | None:
    try:
        return backend.read(key)
    except MediaError as error:
        return error
