"""Names that clients choose: what keeps two who change one of them at once from undoing each other.

A name of our own form is fresh, and nobody else writes it. Under any other, bytes and sidecar are two objects that
two writers, a delete, a sweep or a move can leave of different minds. Where a storage keeps conditions, the sidecar is
the one place where all of them meet: each replaces only the sidecar that it has read, and whoever deletes marks it
first. Where there is a lock, both objects change under it. Elsewhere everybody looks afterwards, and describes what
lies there. docs/format.md gives the reasons ("Names that clients choose").

The functions below are steps of `fsmedia.core.commit`: each takes any number of media and returns what failed, by
index.
"""

# Longer than 1,000 lines: whoever stores, deletes or rewrites one name follows one protocol.

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import update_wrapper
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from fsmedia.core import blobs, promptkit
from fsmedia.core.parallel import attempt_each
from fsmedia.errors import CorruptSidecarError, MediaError, MediaNotFoundError, StoreConflictError
from fsmedia.format import keys
from fsmedia.format.measures import HEAD_BYTES, TAIL_BYTES
from fsmedia.format.sidecar import Sidecar, leaving, with_leaving, without_leaving
from fsmedia.models import mime
from fsmedia.storage import Backend, Entry, Exclusion, PreconditionFailed, Stage, Write
from fsmedia.storage.port import check_token, delete_one, replace_object, storage_time

if TYPE_CHECKING:
    from fsmedia.core.commit import DeleteOperation, StoreOperation

Failures = Mapping[int, MediaError]
SIDECAR_TYPE = "application/json"
DUE_TYPE = "application/octet-stream"  # content type of due entries, which are empty: their keys say it all
ROUNDS = 8  # how often a writer tries again whose sidecar was not taken
LOOKS = 8  # how often it is looked whether somebody's deletion has ended: about five seconds
DEAD_AFTER = timedelta(minutes=10)
"""Age by the storage's clock from which a deletion's mark is that of a dead process: its requests were given up."""
# Each is given up after the timeout, once asked again: none can still be under way then.
PIECE = 8 * 2**20
_READ_AT_ONCE = 4 * PIECE  # bytes of all media of one step that are held in memory to compare them
_TRIES = 2
_log = logging.getLogger("fsmedia")
_LOCKED_AT_ONCE = 64
"""Names whose locks are held together: each is an open file, of which macOS allows 256, and others wait for them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A sidecar as it was read."""

    text: bytes | None = None  # its bytes; None: there was none
    token: str | None = None  # with which it can be replaced where the storage keeps conditions


class Overtaken(StoreConflictError):  # noqa: N818 - what became of a deletion, as HTTP says PreconditionFailed
    """What was to be deleted was changed meanwhile, and is not to be deleted any more."""


class ContentDigest(NamedTuple):
    """What was read: size, digest, and the first and last bytes, which tell type and measures."""

    size: int
    sha256: str
    head: bytes
    tail: bytes = b""


def read_digest(backend: Backend, key: str, size: int) -> ContentDigest | None:
    """Read all bytes of an object; None if it is gone. Its size by the listing spares the request after the last."""
    digest, start, head, tail = sha256(), 0, b"", b""
    while True:
        piece = backend.read_range(key, start, start + PIECE)
        if piece is None:
            return None
        if not start:
            head = piece[:HEAD_BYTES]
        digest.update(piece)
        tail = (tail + piece[-TAIL_BYTES:])[-TAIL_BYTES:]
        start += len(piece)
        if len(piece) < PIECE or start == size:
            return ContentDigest(start, digest.hexdigest(), head, tail)


def with_facts(sidecar: Sidecar, reference: str, content: ContentDigest) -> Sidecar:
    """Return a sidecar with size, digest and type of the bytes; all else stays."""
    values = {**sidecar.values, "size_bytes": content.size, "sha256": content.sha256}
    values.pop("detected_mime_type", None)
    seen = mime.agrees(promptkit.mime_type_of(str(values.get("mime_type") or ""), reference), content.head)
    if seen is not None:
        values["detected_mime_type"] = seen
    return Sidecar(values)


def see(backend: Backend, reference: str) -> Seen:
    """Read a sidecar."""
    found = backend.fetch(reads=[keys.sidecar_key(reference)])
    return Seen(found.reads[0], found.tokens[0])


def put_due_entry(backend: Backend, reference: str, expires_at: datetime | None) -> None:
    """Write the due entry of a media item that expires."""
    if expires_at is not None:
        backend.write(keys.due_key(expires_at, reference), b"", DUE_TYPE)


def _put_over(backend: Backend, reference: str, text: bytes, seen: Seen) -> str | None:
    """Write a sidecar over the one that was read, and over no other; return its token."""
    key = keys.sidecar_key(reference)
    return replace_object(backend, key, text, SIDECAR_TYPE, found=seen.text, token=seen.token)


# -- marks of deletions ------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Marks:
    """The marks of one process: what they begin with, and which of them are of deletions under way."""

    process: int = field(default_factory=os.getpid)
    prefix: str = field(default_factory=keys.new_generation)
    under_way: set[str] = field(default_factory=set)

    def ended(self, mark: str) -> bool:
        """Tell whether a mark is of a deletion that this process began and that failed."""
        return mark.startswith(f"{self.prefix}-") and mark not in self.under_way


_marks: WeakKeyDictionary[Backend, _Marks] = WeakKeyDictionary()


def _marks_of(backend: Backend) -> _Marks:
    found = _marks.get(backend)
    if found is None or found.process != os.getpid():
        found = _marks[backend] = _Marks()
    return found


def _is_dead(backend: Backend, reference: str) -> bool:
    """Tell whether whoever put the mark is dead, by the storage's own times."""
    entry, now = backend.head(keys.sidecar_key(reference)), storage_time(backend)
    if entry is None:
        return True
    return entry.modified is not None and now is not None and now - entry.modified > _longest(backend)


def _longest(backend: Backend) -> timedelta:
    return max(DEAD_AFTER, _TRIES * backend.timeout)


def at_rest(backend: Backend, reference: str, seen: Seen, *, deletes: bool = False) -> Seen:
    """Return the sidecar as it is once nobody deletes the media any more; it waits for that, but not for ever.

    `deletes`: whoever deletes goes over a mark of a deletion of this process that failed.
    """
    for attempt in range(LOOKS):
        mark = leaving(seen.text)
        if mark is None or (deletes and _marks_of(backend).ended(mark)):
            return seen
        if attempt == 0 and _is_dead(backend, reference):
            return seen  # who replaces it replaces only this one
        backend.wait(attempt)
        seen = see(backend, reference)
    if leaving(seen.text) is None:
        return seen
    raise StoreConflictError(
        "somebody deletes it, or has died while deleting it",
        next_step=f"delete it again, or wait until its mark is {_longest(backend)} old",
        reference=reference,
    )


# -- copies ------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Bytes and sidecar of a media, as they were seen to fit."""

    entry: Entry  # the bytes, under the media's reference
    seen: Seen  # the sidecar; without text for another program's file


def find_pair(backend: Backend, reference: str, target: str, find: Callable[[], Pair]) -> Pair:
    """Look for a media whose sidecar speaks of its bytes; while somebody writes it, it is waited, but not for ever."""
    found = find()
    # Never overwritten; or looked at again under the lock, which names of our own form are not written under.
    if keys.is_own_name(reference) or (backend.exclusion is Exclusion.LOCK and not keys.is_own_name(target)):
        return found
    for attempt in range(LOOKS):
        if leaving(found.seen.text) is not None:
            at_rest(backend, reference, found.seen)
            found = find()
        if _is_proven(backend, reference, found):
            return found
        backend.wait(attempt)
        found = find()
    raise _torn(reference)


def _torn(reference: str) -> StoreConflictError:
    return StoreConflictError(
        "its bytes are not those that its sidecar speaks of: somebody is writing it, or died while writing it",
        next_step="try again; if it stays so, verify the store, deep and with repair",
        reference=reference,
    )


def _said_of(pair: Pair) -> dict[str, Any]:
    """Return what a sidecar says of its bytes; empty for another program's, which tells nothing."""
    said = {} if pair.seen.text is None else Sidecar.parse(pair.seen.text, pair.entry.key).values
    return said if "sha256" in said else {}


def _is_proven(backend: Backend, reference: str, pair: Pair) -> bool:
    """Tell whether a sidecar is that of some bytes: by their digest, of large ones by their size alone."""
    if not (said := _said_of(pair)):
        return True
    if pair.entry.size != said.get("size_bytes"):
        return False
    if pair.entry.size > PIECE:
        return True
    content = read_digest(backend, reference, pair.entry.size)
    return content is not None and content.sha256 == said["sha256"]


@dataclass(slots=True)
class CopiedBytes:
    """Bytes of another media of the root on their way to a key: to the steps of a store, a stage."""

    backend: Backend
    source: str
    target: str
    pair: Pair  # the source, as it was when its bytes were copied
    find: Callable[[], Pair]  # looks for the source
    landed: bool = False  # whether bytes of the source, of whatever time, have come to the key
    _stage: Stage | None = None
    _anew: bool = False
    _digest: str = ""

    def ready(self) -> None:
        """Bring the bytes to the storage, where they only get their name by `commit`."""
        self.discard()
        self._stage, digest = self.backend.stage(self.target), sha256()
        compared = not keys.is_own_name(self.source)
        try:
            with self.backend.open(keys.bytes_key(self.source)) as file:
                while data := file.read(PIECE):
                    self._stage.write(data)
                    if compared:
                        digest.update(data)
        except FileNotFoundError:
            raise _gone(self.source) from None
        self._stage.ready()
        self._digest = digest.hexdigest()

    def commit(self, content_type: str) -> None:
        """Put the bytes there: what was copied is what lay at the source before and after that."""
        if self._stage is not None:
            self._stage.commit(content_type)
            return
        for _ in range(ROUNDS):
            try:
                size = self.pair.entry.size
                self.backend.copy(keys.bytes_key(self.source), self.target, content_type, size=size)
            except FileNotFoundError:
                raise _gone(self.source) from None
            self.landed = True
            if keys.is_own_name(self.source) or self.backend.head(self.source) == self.pair.entry:
                return
            self.look_again()
        raise _contended(self.source)

    def is_current(self) -> bool:
        """Tell, under the lock of the source, whether it is what was copied."""
        if keys.is_own_name(self.source):
            return True
        found = self.backend.fetch(reads=[keys.sidecar_key(self.source)], heads=[self.source])
        if found.reads[0] != self.pair.seen.text or found.heads[0] != self.pair.entry:
            return False
        # Nobody writes under the lock: who wrote these bytes died before their sidecar. A copy would hide that.
        if (said := _said_of(self.pair)) and said["sha256"] != self._digest:
            raise _torn(self.source)
        return True

    def look_again(self) -> None:
        """Take note of what lies at the source now."""
        self.pair = find_pair(self.backend, self.source, self.target, self.find)
        self._anew = True

    def take_change(self) -> bool:
        """Tell, once, whether the source is another than the sidecar was made of."""
        changed, self._anew = self._anew, False
        return changed

    def discard(self) -> None:
        """Leave nothing behind."""
        stage, self._stage = self._stage, None
        if stage is not None:
            stage.discard()


# -- stores ------------------------------------------------------------------------------------------------

Operation = TypeVar("Operation", "StoreOperation", "DeleteOperation")


def for_each(
    operations: Sequence[Operation], step: Callable[[Operation], None], chosen: Sequence[int] | None = None
) -> Failures:
    """Take a step for each media, or those of some indexes, at once where the storage gains from it."""
    chosen = range(len(operations)) if chosen is None else chosen
    answers = attempt_each(step, [operations[each] for each in chosen], operations[0].backend) if chosen else []
    return {index: error for index, error in zip(chosen, answers, strict=True) if error is not None}


def each(step: Callable[[Operation], None]) -> Callable[[Sequence[Operation]], Failures]:
    """Make a step for any number of media of one for a single media."""
    return update_wrapper(lambda operations: for_each(operations, step), step)


def _see_all(operations: Sequence[Operation]) -> None:
    """Read the sidecars that were not read yet, in one round trip."""
    unseen = [item for item in operations if item.seen is None]
    if unseen:
        found = unseen[0].backend.fetch(reads=[keys.sidecar_key(item.reference) for item in unseen])
        for item, text, token in zip(unseen, found.reads, found.tokens, strict=True):
            item.seen = Seen(text, token)


def yield_to_deletes(operations: Sequence[StoreOperation]) -> Failures:
    """Wait for deletions under way: bytes that came under a mark would go with the old ones."""
    _see_all(operations)

    def wait(item: StoreOperation) -> None:
        if item.seen is None:
            return
        # Before the bytes: those would lie there beside a sidecar that can't be replaced.
        check_token(keys.sidecar_key(item.reference), item.seen.text, item.seen.token)
        if leaving(item.seen.text) is not None:
            _renew(item, at_rest(item.backend, item.reference, item.seen))

    there = any(item.seen is not None and item.seen.text is not None for item in operations)
    return for_each(operations, wait) if there else {}


def _renew(item: StoreOperation, seen: Seen) -> None:
    """Make the sidecar anew beside the one that is there now; its due entry comes before it."""
    item.seen = seen
    if item.remake is None:
        return
    # What is left of a deletion gives nothing on, nor what lies at a name that had to be free.
    item.before = None if item.exclusive or leaving(seen.text) is not None else seen.text
    item.sidecar, item.expires_at = item.remake(item.before)
    # Also of the same minute: whoever has deleted meanwhile may have taken it along.
    put_due_entry(item.backend, item.reference, item.expires_at)


def put_bytes(operations: Sequence[StoreOperation]) -> Failures:
    """Write the bytes at their key; no listing shows them before the sidecar is there."""
    return operations[0].backend.write_many([Write(each.reference, each.data, each.mime_type) for each in operations])


def put_sidecar(operations: Sequence[StoreOperation]) -> Failures:
    """Write the sidecar: from here on the media item exists."""
    return operations[0].backend.write_many(
        [Write(keys.sidecar_key(each.reference), each.sidecar, SIDECAR_TYPE) for each in operations]
    )


def put_bytes_to_settle(operations: Sequence[StoreOperation]) -> Failures:
    """Write the bytes; where a copy can't tell what it copied, that is described before it gives up."""
    failures = put_bytes(operations)
    for index in failures:
        _describe_landed(operations[index])
    return failures


def _describe_landed(item: StoreOperation) -> None:
    """Give what a copy brought a sidecar that fits, if it brought anything: else it would look like a stranger's."""
    if not isinstance(item.data, CopiedBytes) or not item.data.landed:
        return
    backend, reference = item.backend, item.reference
    for _ in range(ROUNDS):
        seen = at_rest(backend, reference, see(backend, reference))
        entry = backend.head(reference)
        content = None if entry is None else read_digest(backend, reference, entry.size)
        if content is None:
            return
        said = {} if seen.text is None else Sidecar.parse(seen.text, reference).values
        if said.get("sha256") == content.sha256:
            return
        fitting = with_facts(Sidecar.parse(item.sidecar, reference), reference, content)
        text = fitting.with_write(keys.new_generation()).dump()
        if backend.exclusion is not Exclusion.CONDITIONS:
            backend.write(keys.sidecar_key(reference), text, SIDECAR_TYPE)
            return
        with suppress(PreconditionFailed):
            _put_over(backend, reference, text, seen)
            return


def _follow(item: StoreOperation) -> None:
    """Make the sidecar of a copy anew whose source had changed when its bytes were copied."""
    if isinstance(item.data, CopiedBytes) and item.data.take_change():
        _renew(item, item.seen or Seen())


def put_sidecar_conditionally(operations: Sequence[StoreOperation]) -> Failures:
    """Write each sidecar over the one that was read, and nothing else; who is refused looks whose bytes lie there."""
    return for_each(operations, _settle)


def _settle(item: StoreOperation) -> None:
    backend, reference = item.backend, item.reference
    seen = item.seen or Seen()
    for attempt in range(ROUNDS):
        _follow(item)
        text = item.sidecar
        if item.remake is not None or attempt or seen.text is not None:
            # Fresh in each round: where a token is a digest, equal sidecars would be taken for each other. So it is for
            # a sync too, which may put the sidecar back that somebody else has read; where none was it stays as it is.
            text = Sidecar.parse(text, reference).with_write(keys.new_generation()).dump()
        with suppress(PreconditionFailed):
            _put_over(backend, reference, text, seen)
            return
        # The sidecar first, and the bytes after its answer: bytes that were seen before may be another's by now,
        # whose sidecar has come meanwhile and would be described away.
        seen = at_rest(backend, reference, see(backend, reference))
        if seen.text == text:
            return  # asked again for want of an answer, it was refused because of its own first success
        lying = _lying(item)
        if lying == "another's":
            if item.exclusive:
                raise taken()
            return  # overwritten: their writer is bound to describe them
        _renew(item, seen)
        if lying == "nothing":
            _put_again(item)
    raise _contended(reference)


def _contended(reference: str, rounds: int = ROUNDS) -> StoreConflictError:
    return StoreConflictError(
        f"others have changed it {rounds} times meanwhile", next_step="try again", reference=reference
    )


def _lying(item: StoreOperation) -> Literal["mine", "another's", "nothing"]:
    """Tell whose bytes lie at the name, by what they are: tokens differ where an upload went in parts."""
    entry = item.backend.head(item.reference)
    if entry is None:
        return "nothing"
    said = Sidecar.parse(item.sidecar, item.reference).values
    if "sha256" not in said:
        return "mine"  # another program's sidecar that a sync brings: nobody can tell
    if entry.size != said.get("size_bytes"):
        return "another's"
    content = read_digest(item.backend, item.reference, entry.size)
    if content is None:
        return "nothing"
    return "mine" if content.sha256 == said["sha256"] else "another's"


def _put_again(item: StoreOperation) -> None:
    for error in put_bytes([item]).values():
        raise error


@each
def put_under_lock(item: StoreOperation) -> None:
    """Write bytes and sidecar while nobody else changes the name; the bytes are brought to the storage before that."""
    backend, reference, stage = item.backend, item.reference, item.data
    if isinstance(stage, bytes):
        stage = backend.stage(reference)
        stage.write(item.data)  # type: ignore[arg-type] # the bytes
    try:
        for _ in range(ROUNDS):
            stage.ready()
            if _put_ready(item, stage):
                return
        raise _contended(reference)
    finally:
        if stage is not item.data:
            stage.discard()


def _put_ready(item: StoreOperation, stage: Stage) -> bool:
    """Put bytes and sidecar under the lock; False: the source of a copy has changed, and was looked at again."""
    backend, reference = item.backend, item.reference
    with backend.lock(item.names):
        current = not isinstance(stage, CopiedBytes) or stage.is_current()
        if current:
            found = backend.fetch(reads=[keys.sidecar_key(reference)], heads=[reference])
            if item.exclusive and found.heads[0] is not None:
                raise taken()
            # Without bytes it is what a half-done delete left: a new media owes it nothing.
            before = None if found.heads[0] is None else found.reads[0]
            if before != item.before:
                _renew(item, Seen(before))
            # A delete that had the lock before may have taken along the entry that was written for this.
            if item.expires_at is not None and backend.head(keys.due_key(item.expires_at, reference)) is None:
                put_due_entry(backend, reference, item.expires_at)
            stage.commit(item.mime_type)
            if item.sidecar:  # a sync brings other programs' files without one
                backend.write(keys.sidecar_key(reference), item.sidecar, SIDECAR_TYPE)
    if isinstance(stage, CopiedBytes) and not current:
        stage.look_again()
        _follow(item)
    return current


def taken(reference: str | None = None) -> StoreConflictError:
    """Say that a name is not free."""
    step = "choose another name, or delete what is there first"
    return StoreConflictError("exists already", next_step=step, reference=reference)


@each
def put_bytes_noted(item: StoreOperation) -> None:
    """Write the bytes, and note what tells them from another's."""
    if isinstance(item.data, bytes):
        item.token = item.backend.put(item.reference, item.data, item.mime_type)
        return
    try:
        item.data.commit(item.mime_type)
    except MediaError:
        _describe_landed(item)
        raise


def put_sidecar_and_look(operations: Sequence[StoreOperation]) -> Failures:
    """Write the sidecars, then look whether others have written meanwhile; what lies there then is described."""
    for item in operations:
        _follow(item)
    failed = dict(put_sidecar(operations))
    going = [index for index in range(len(operations)) if index not in failed]
    # Without a token a look at the bytes tells no more than their size: small ones are read instead.
    read, room = list[int](), _READ_AT_ONCE
    for index in going:
        said = _said(operations[index])
        # Bytes that were just written are told from another's by their digest: small ones without a token.
        tells = operations[index].token is None and "sha256" in said
        if tells and (size := said.get("size_bytes", PIECE + 1)) <= min(PIECE, room):
            read.append(index)
            room -= size
    looked = [index for index in going if index not in {*read}]
    sidecars = [keys.sidecar_key(operations[index].reference) for index in going]
    found = operations[0].backend.fetch(
        reads=[*sidecars, *(operations[index].reference for index in read)],
        heads=[operations[index].reference for index in looked],
    )
    owned = {
        index: data is not None and sha256(data).hexdigest() == _said(operations[index])["sha256"]
        for index, data in zip(read, found.reads[len(going) :], strict=True)
    }
    owned |= {index: _is_own(operations[index], entry) for index, entry in zip(looked, found.heads, strict=True)}
    for index, text in zip(going, found.reads, strict=False):
        if text == operations[index].sidecar and owned[index]:
            continue
        try:
            _reconcile(operations[index])
        except MediaError as error:
            failed[index] = error
    return failed


def _said(item: StoreOperation) -> dict[str, Any]:
    return Sidecar.parse(item.sidecar, item.reference).values


def _is_own(item: StoreOperation, entry: Entry | None) -> bool:
    """Tell whether a look shows the bytes that were just written; of large ones without token by their size alone."""
    # A token that goes into a condition is as the server spells it; entries have ETags without their quotes.
    if entry is None or (item.token is not None and entry.token != item.token.strip('"')):
        return False
    said = _said(item)
    return "sha256" not in said or entry.size == said.get("size_bytes")


def _reconcile(item: StoreOperation) -> None:
    for _ in range(ROUNDS):
        lying = _lying(item)
        if lying == "nothing":
            _put_again(item)
        if lying == "another's":
            describe(item.backend, item.reference, item.sidecar)
            if item.exclusive:
                # Two looked first and found nothing, where nothing better can be done: the one who wrote last has it.
                raise taken()
        else:
            item.backend.write(keys.sidecar_key(item.reference), item.sidecar, SIDECAR_TYPE)
        if is_described(item.backend, item.reference):
            return
    raise _contended(item.reference)


def describe(backend: Backend, reference: str, fallback: bytes) -> None:
    """Give the bytes at a name a sidecar that fits: with ids, policy and attributes of the one there, or `fallback`."""
    entry = backend.head(reference)
    content = None if entry is None else read_digest(backend, reference, entry.size)
    if content is None:
        return
    text = backend.read(keys.sidecar_key(reference))
    try:
        sidecar = Sidecar.parse(fallback if text is None else text, reference)
    except CorruptSidecarError:
        return  # nobody's business here: verify tells of it
    if text is None or sidecar.values.get("sha256") != content.sha256:
        fitting = with_facts(sidecar.without_leaving(), reference, content)
        backend.write(keys.sidecar_key(reference), fitting.dump(), SIDECAR_TYPE)


def is_described(backend: Backend, reference: str) -> bool:
    """Tell whether bytes and sidecar fit, and stayed the same while that was looked at; or there is no media."""
    text, entry = backend.read(keys.sidecar_key(reference)), backend.head(reference)
    if entry is None:
        return True
    content = read_digest(backend, reference, entry.size)
    if content is None or text is None:
        return False
    said = Sidecar.parse(text, reference).values.get("sha256", content.sha256)
    return said == content.sha256 and backend.head(reference) == entry


# -- deletions ---------------------------------------------------------------------------------------------


def mark_leaving(operations: Sequence[DeleteOperation]) -> Failures:
    """Mark each sidecar, over the one that was read: whoever meets the mark waits, and nobody goes over it."""
    _see_all(operations)
    return for_each(operations, _mark)


def _mark(item: DeleteOperation) -> None:
    backend, reference = item.backend, item.reference
    seen = first = item.seen or Seen()
    for _ in range(ROUNDS):
        if leaving(seen.text) is not None:
            if item.still is not None and not _is_dead(backend, reference):
                raise overtaken("somebody else deletes it")
            seen = at_rest(backend, reference, seen, deletes=True)
        item.seen = seen
        if seen.text is None and (first.text is not None or item.entry is None):
            # The bytes that have no sidecar go, whoever wrote them; a sidecar that comes is left alone.
            if first.text is not None:
                # Somebody else has deleted the media. What lies there since then is another, and nobody asked for its
                # end.
                if item.still is not None:
                    raise overtaken("was deleted by somebody else")
                item.stays = True
                item.due_keys = ()  # its entry went with it; one of the same minute is that of the other
            return
        if _put_mark(item, seen):
            _look_at_bare(item)
            return
        now = see(backend, reference)
        if item.marked is not None and now.text == item.marked.text:
            item.marked = now  # asked again for want of an answer, it was refused because of its own first success
            _look_at_bare(item)
            return
        finished([item])
        item.marked = None
        if item.still is not None and now.text not in (None, seen.text) and not item.still(now.text):
            raise overtaken("was changed meanwhile")
        seen = now
    raise _contended(reference)


def _look_at_bare(item: DeleteOperation) -> None:
    """Look whether another program's file, which had no sidecar, still is the one that a move copied.

    The sidecar that marks it holds nothing else. Whoever writes the file for the first time meets that, as any mark.
    """
    if item.seen is None or item.seen.text is not None or item.backend.head(item.reference) == item.entry:
        return
    remove_marked(item)
    raise overtaken("was overwritten meanwhile")


def _put_mark(item: DeleteOperation, seen: Seen) -> bool:
    """Put a mark over the sidecar that was read; False if that was replaced."""
    backend, marks = item.backend, _marks_of(item.backend)
    mark = f"{marks.prefix}-{keys.new_generation()}"
    text = with_leaving(seen.text or b"{}", mark)
    item.marked = Seen(text)
    marks.under_way.add(mark)
    try:
        token = _put_over(backend, item.reference, text, seen)
    except PreconditionFailed:
        return False
    item.marked = Seen(text, token)
    return True


def overtaken(problem: str) -> Overtaken:
    """Say why something is not deleted."""
    return Overtaken(problem, next_step="look at it, then do it again")


def take_back(item: DeleteOperation, error: MediaError) -> None:
    """Take a mark back whose deletion the storage refused; of one without an answer nobody knows, so that stays."""
    if item.marked is None or item.seen is None:
        return
    if error.__cause__ is None or isinstance(error.__cause__, TimeoutError | ConnectionError):
        return
    # What was read may bear the mark of a deletion that has died: that is over, too.
    text = b"" if item.seen.text is None else without_leaving(item.seen.text)
    try:
        if text:
            _put_over(item.backend, item.reference, text, item.marked)
        else:
            remove_marked(item)
    except MediaError as failed:
        _log.warning("a deletion's mark stays: %s", failed)


def remove_marked(item: DeleteOperation) -> None:
    """Remove the sidecar that was marked, and no other: who was away for longer than a mark counts comes too late."""
    if item.marked is None:
        return
    key = keys.sidecar_key(item.reference)
    try:
        item.backend.remove(key, if_token=item.marked.token)
    except PreconditionFailed:
        _log.warning("%s was written while it was deleted, and stays", item.reference)


def finished(operations: Sequence[DeleteOperation]) -> None:
    """Note that deletions are over, well or badly: who deletes again in this process goes over their marks."""
    for item in operations:
        mark = None if item.marked is None else leaving(item.marked.text)
        if mark is not None:
            _marks_of(item.backend).under_way.discard(mark)


def remove_under_lock(operations: Sequence[DeleteOperation]) -> Failures:
    """Remove bytes and sidecars while nobody else changes the names, if they still are to go."""
    failed: dict[int, MediaError] = {}
    for start in range(0, len(operations), _LOCKED_AT_ONCE):
        some = operations[start : start + _LOCKED_AT_ONCE]
        try:
            answers = _remove_locked(some)
        except MediaError as error:
            # Somebody held a lock for too long, or nobody could look: nothing of these was removed, and the others are.
            answers = {index: anew(error) for index in range(len(some))}
        failed |= {start + index: error for index, error in answers.items()}
    return failed


def anew(error: MediaError) -> MediaError:
    """Return an error of the same kind and words: each operation is given its own reference."""
    anew = type(error)(error.problem, next_step=error.next_step)
    anew.__cause__ = error.__cause__
    return anew


def _remove_locked(operations: Sequence[DeleteOperation]) -> dict[int, MediaError]:
    backend, failed = operations[0].backend, dict[int, MediaError]()
    # Bytes of our own form never change, and go afterwards, the folder with them: only what changes goes here.
    own = keys.is_own_name(operations[0].reference)
    judged = [] if own and all(item.still is None for item in operations) else operations
    with backend.lock([item.reference for item in operations]):
        texts = backend.fetch(reads=[keys.sidecar_key(item.reference) for item in judged]).reads if judged else []
        for index, (item, text) in enumerate(zip(judged, texts, strict=True)):
            changed = item.seen is not None and text != item.seen.text
            if own:
                if item.still is not None and changed and text is not None and not item.still(text):
                    failed[index] = overtaken("was changed meanwhile")
                continue
            # Bytes without the sidecar that was read are another program's: it wrote them after somebody's deletion.
            another = changed and text is None and backend.head(item.reference) is not None
            if item.still is not None and changed and (another or not item.still(text)):
                failed[index] = overtaken("was changed meanwhile")
            elif item.entry is not None and backend.head(item.reference) != item.entry:
                failed[index] = overtaken("was overwritten meanwhile")
        for key_of in (keys.sidecar_key,) if own else (str, keys.sidecar_key):
            going = {key_of(item.reference): index for index, item in enumerate(operations) if index not in failed}
            answers = backend.delete(going, keep_folders=own or operations[0].keep_folders) if going else {}
            failed |= {going[key]: error for key, error in answers.items() if key in going}
        # Before the lock goes: who writes next looks under it for its entry, which may be of the same minute.
        spent = {key: at for at, each in enumerate(operations) if not own and at not in failed for key in each.due_keys}
        answers = backend.delete(spent) if spent else {}
        failed |= {spent[key]: error for key, error in answers.items() if key in spent}
    return failed


def look_before_removal(operations: Sequence[DeleteOperation]) -> Failures:
    """Look, as late as can be, whether what was decided upon still lies there."""
    failed: dict[int, MediaError] = {}
    judged = [index for index, item in enumerate(operations) if item.still is not None and item.seen is not None]
    if not judged:
        return failed
    found = operations[0].backend.fetch(
        reads=[keys.sidecar_key(operations[index].reference) for index in judged],
        heads=[operations[index].reference for index in judged],
    )
    for index, text, entry in zip(judged, found.reads, found.heads, strict=True):
        item = operations[index]
        changed = item.seen is not None and text != item.seen.text
        # Bytes without the sidecar that was read: another sweep has caught that, and may give it back.
        caught = changed and text is None and entry is not None
        if item.still is not None and changed and (caught or not item.still(text)):
            failed[index] = overtaken("was changed meanwhile")
        elif (entry is not None and not _fits(text, entry)) or (item.entry is not None and entry != item.entry):
            failed[index] = overtaken("is being overwritten")
        else:
            item.entry = entry
    return failed


@each
def catch_bytes(item: DeleteOperation) -> None:
    """Move the bytes away that a sweep or a move decided upon, look what was caught, and delete only that."""

    def is_meant(aside: str) -> bool:
        caught = item.backend.head(aside)
        return caught is not None and caught._replace(key=item.reference) == item.entry

    guarded = item.still is not None and item.seen is not None
    if guarded and item.entry is None:
        return  # none were seen, so whatever lies there now was not meant
    # Whoever asks for the end of a media may also end an overwrite of it.
    if not _catch(item, item.reference, is_meant if guarded else None):
        _describe_what_lies(item)  # it may have come back over what somebody wrote in just this moment
        raise overtaken("was overwritten meanwhile")


@each
def catch_sidecar(item: DeleteOperation) -> None:
    """Do the same with the sidecar: a writer's that has come meanwhile says how long the media is kept now."""

    def is_meant(aside: str) -> bool:
        return item.seen is not None and item.backend.read(aside) == item.seen.text

    _catch(item, keys.sidecar_key(item.reference), None if item.still is None else is_meant)


def _catch(item: DeleteOperation, key: str, is_meant: Callable[[str], bool] | None) -> bool:
    """Move an object away, look whether it is what was meant, and delete it; False: it was another, and is back."""
    backend = item.backend
    aside = None if is_meant is None else keys.aside_key(key, backend.root_length)
    if is_meant is None or aside is None:
        for error in backend.delete([key], keep_folders=item.keep_folders).values():
            raise error
        return True
    if not backend.rename(key, aside):
        return True
    meant = is_meant(aside)
    # Back with what somebody has written meanwhile, unless something newer lies there already.
    if not meant and backend.head(key) is None:
        backend.rename(aside, key)
    else:
        delete_one(backend, aside)
    return meant


def _fits(text: bytes | None, entry: Entry) -> bool:
    """Tell whether a sidecar could be that of some bytes, as far as their size tells."""
    if text is None or b"sha256" not in text:
        return True
    try:
        return Sidecar.parse(text, entry.key).values.get("size_bytes") == entry.size
    except CorruptSidecarError:
        return True


def look_after_removal(operations: Sequence[DeleteOperation]) -> Failures:
    """Look whether somebody wrote meanwhile whose sidecar went with the old one, and describe what lies there."""
    found = operations[0].backend.fetch(heads=[item.reference for item in operations])
    back = [index for index, entry in enumerate(found.heads) if entry is not None]
    return for_each(operations, _describe_what_lies, back)


def _describe_what_lies(item: DeleteOperation) -> None:
    text = item.seen.text if item.seen is not None else None
    for _ in range(ROUNDS):
        describe(item.backend, item.reference, text or b"{}")
        if is_described(item.backend, item.reference):
            return


# -- sidecars ----------------------------------------------------------------------------------------------


class Rewritten(NamedTuple):
    """A sidecar that replaces another."""

    text: bytes
    expires_at: datetime | None  # when its policy lets the media go; None: never


def rewrite(
    backend: Backend,
    reference: str,
    seen: Seen | None,
    changed: Rewritten,
    change: Callable[[bytes], Rewritten] | None = None,
    *,
    rounds: int = ROUNDS,
) -> Entry:
    """Replace a sidecar over the one that was read; see `commit.rewrite_sidecar`."""

    def beside(text: bytes | None) -> Rewritten:
        # Where there was none when it was read, it may still be made.
        if text is None and (seen is None or seen.text is not None):
            raise _gone(reference)
        return changed if change is None or text is None or (seen is not None and text == seen.text) else change(text)

    if backend.exclusion is Exclusion.CONDITIONS:
        return _rewrite_conditionally(backend, reference, seen or see(backend, reference), beside, rounds)
    if backend.exclusion is Exclusion.LOCK:
        with backend.lock([reference]):
            return write_and_look(backend, reference, beside(backend.read(keys.sidecar_key(reference))))
    return write_and_look(backend, reference, changed)


def _rewrite_conditionally(
    backend: Backend, reference: str, seen: Seen, beside: Callable[[bytes | None], Rewritten], rounds: int
) -> Entry:
    for _ in range(rounds):
        seen = at_rest(backend, reference, seen)
        changed = beside(seen.text)
        # Before the sidecar: a crash between the two leaves a hint too many, not a policy that no sweep hears of.
        put_due_entry(backend, reference, changed.expires_at)
        text = Sidecar.parse(changed.text, reference).with_write(keys.new_generation()).dump()
        try:
            _put_over(backend, reference, text, seen)
        except PreconditionFailed:
            seen = see(backend, reference)
            if seen.text != text:  # else it was asked again for want of an answer
                continue
        return _look_after_rewrite(backend, reference, changed)
    raise _contended(reference, rounds)


def _withdraw(backend: Backend, reference: str, seen: Seen) -> None:
    """Remove the sidecar that brought back what a dead delete had begun to remove: as a delete does, marked first."""
    mark = f"{_marks_of(backend).prefix}-{keys.new_generation()}"
    text = with_leaving(seen.text or b"{}", mark)
    try:
        _put_over(backend, reference, text, seen)
    except PreconditionFailed:
        # Unless it was asked again for want of an answer: a mark that nobody stands behind would keep all waiting.
        if see(backend, reference).text != text:
            return  # somebody writes the name again: theirs
    delete_one(backend, keys.sidecar_key(reference))


def drop_sidecar(backend: Backend, reference: str, seen: Seen, entry: Entry | None = None) -> None:
    """Remove a sidecar beside no bytes, or beside others than its own; one changed since it was read stays."""
    key = keys.sidecar_key(reference)
    # Of a name of our own form too: a sync may have brought its bytes back, and somebody annotated it since.
    if backend.exclusion not in (Exclusion.CONDITIONS, Exclusion.LOCK):
        delete_one(backend, key)
    elif backend.exclusion is Exclusion.CONDITIONS:
        _withdraw(backend, reference, seen)
    else:
        with backend.lock([reference]):
            found = backend.fetch(reads=[key], heads=[reference])
            if found.reads[0] == seen.text and found.heads[0] == entry:
                delete_one(backend, key)


def write_and_look(backend: Backend, reference: str, changed: Rewritten) -> Entry:
    """Write a sidecar over whatever lies there, and look that its bytes are there; deduplicated: its marker, too."""
    # Before the sidecar, as in `_rewrite_conditionally`.
    put_due_entry(backend, reference, changed.expires_at)
    backend.write(keys.sidecar_key(reference), changed.text, SIDECAR_TYPE)
    return _look_after_rewrite(backend, reference, changed)


def _look_after_rewrite(backend: Backend, reference: str, changed: Rewritten) -> Entry:
    """Look whether a media whose sidecar was just written has its bytes, and return them as they were seen."""
    due = [] if changed.expires_at is None else [keys.due_key(changed.expires_at, reference)]
    pointer = keys.pointer_of(reference)
    # After the sidecar: a delete of our own names removes it first and the bytes later, so bytes that are gone here
    # mean that this write has brought it back; under names that clients choose a delete that died after its bytes left
    # it. Or the storage has answered wrongly: nothing is removed on the strength of one absence. A sidecar too many is
    # found by verify, but one too few makes sound bytes a leftover.
    there = backend.fetch(heads=[reference, *due]).heads
    entry = there[0]
    if pointer is not None:
        # The marker that the new sidecar names: one that came meanwhile may name another.
        marker = Sidecar.parse(changed.text, reference).marker(reference)
        entry = Entry(reference, pointer.size) if blobs.is_kept(backend, pointer, marker) else None
    if entry is None:
        raise MediaNotFoundError(
            "was changed, and then its bytes were not there: somebody deleted it meanwhile, or the storage erred",
            next_step="change it again; if it is still not found, verify the store",
            reference=reference,
        )
    if due and there[1] is None:
        # A sweep that still read the old sidecar took the new entry for an outdated one.
        backend.write(due[0], b"", DUE_TYPE)
    return entry


def _gone(reference: str) -> MediaNotFoundError:
    return MediaNotFoundError("was deleted meanwhile", next_step="list the store", reference=reference)
