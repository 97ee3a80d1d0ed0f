"""Orders of writes as data: the steps of a store and of a delete, and how a step that fails ends an operation.

docs/format.md gives the reasons for each order. Any process may die between two steps, and any storage may fail in one;
what must hold then is that a listing never shows part of a media item and that no visible reference loses its bytes.
A step counts only when the storage has answered. If it does not answer, the operation stops there, undoes nothing and
raises an error with the reference.

Each step takes any number of operations at once and returns the failed ones by index, so one media item and a thousand
take the same path.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from fsmedia.core import blobs, named
from fsmedia.core.named import Rewritten, Seen
from fsmedia.core.parallel import attempt, attempt_each
from fsmedia.errors import (
    CorruptSidecarError,
    ErrorContext,
    MediaError,
    MediaNotFoundError,
    StorageError,
    StoreConflictError,
    add_reference,
)
from fsmedia.format import keys
from fsmedia.format.keys import Pointer
from fsmedia.format.settings import ORPHAN_GRACE
from fsmedia.format.sidecar import Sidecar
from fsmedia.storage import Backend, Entry, Exclusion, SpooledStage, Stage, Write

Failures = named.Failures
Outcomes = list[MediaError | None]
StoreSteps = tuple[Callable[[Sequence["StoreOperation"]], Failures], ...]
DeleteSteps = tuple[Callable[[Sequence["DeleteOperation"]], Failures], ...]
_log = logging.getLogger("fsmedia")
SIDECAR_TYPE, DUE_TYPE = named.SIDECAR_TYPE, named.DUE_TYPE
OperationT = TypeVar("OperationT", "StoreOperation", "DeleteOperation")


class DeferredUpload(Protocol):
    """Bytes that lie elsewhere until their key is known: a stage, or those of another media item."""

    def retarget(self, key: str) -> None:
        """Choose the key they go to."""

    def commit(self, content_type: str) -> None:
        """Put them there, atomically."""

    def reread(self) -> Iterable[bytes] | None:
        """Give them in pieces; None where they still lie elsewhere."""


@dataclass(slots=True)
class StoreOperation:
    """One store of a media item under its own key; everything is checked, nothing is visible yet."""

    backend: Backend
    reference: str
    data: bytes | Stage  # the bytes, or the stage that holds them
    mime_type: str
    sidecar: bytes
    now: Callable[[], datetime]  # the store's clock
    expires_at: datetime | None = None  # when the policy in the sidecar lets the item expire; None: never
    grace: timedelta = ORPHAN_GRACE  # age from which leftovers of the store may go: a store must not take longer
    started: datetime | None = None  # when the first step began; set by the steps, or by who sent bytes before them
    # Makes the sidecar, and the instant at which its policy lets the item expire, anew beside the sidecar of what the
    # bytes replace; None: the sidecar stays as it is. As the following, only asked under names that clients choose.
    remake: Callable[[bytes | None], tuple[bytes, datetime | None]] | None = None
    before: bytes | None = None  # the sidecar of what the bytes replace, of which this one was made
    seen: Seen | None = None  # the sidecar that lay there, whatever it spoke of; None: nobody has looked
    exclusive: bool = False  # nothing may be replaced
    source: str | None = None  # of a copy: the name whose bytes these are
    # Of the bytes that were written; set by the steps, where the storage tells it, or by who confirms an upload.
    token: str | None = None
    marker: str | None = None  # of an upload to be confirmed whose bytes others may share
    version: str | None = None  # of that upload, as it was proven; see `Uploaded`

    @property
    def names(self) -> list[str]:
        """The names that must not change while it is written."""
        return [self.reference] if self.source is None else [self.reference, self.source]


@dataclass(slots=True)
class Reservation:
    """One media item that is to share equal bytes, as far as it takes to hold those."""

    backend: Backend
    digest: str  # as the size, of the bytes as they will be stored
    size: int
    name_of: Callable[[Pointer], str]  # makes the reference for a generation
    now: Callable[[], datetime]  # this and the following as in `StoreOperation`
    expires_at: datetime | None = None
    grace: timedelta = ORPHAN_GRACE
    reference: str = ""  # what was chosen, and so is the marker; empty before
    marker: str = ""
    started: datetime | None = None  # as in `StoreOperation`


@dataclass(slots=True, kw_only=True)
class SharedStoreOperation(Reservation):
    """One store of a media item that shares equal bytes; everything is checked, nothing is visible yet."""

    data: bytes | DeferredUpload
    mime_type: str
    sidecar_of: Callable[[str], bytes]  # makes the sidecar's bytes for a marker


@dataclass(slots=True)
class DeleteOperation:
    """One delete of a media item."""

    backend: Backend
    reference: str
    keep_folders: bool = False  # leave the folder that gets empty, where the storage has folders
    due_keys: tuple[str, ...] = ()  # its entries in the due index, as far as they are known
    stays: bool = False  # the media item stays: only these due entries are removed
    # Of a deduplicated item, as its sidecar names it. Without its sidecar nobody knows the marker, and none is touched.
    marker: str | None = None
    # The sidecar upon which the delete was decided; None: nobody has looked. As the following, only asked under names
    # that clients choose.
    seen: Seen | None = None
    # Tells of a sidecar that came meanwhile whether the item is to be deleted all the same; None: it is.
    still: Callable[[bytes | None], bool] | None = None
    entry: Entry | None = None  # the bytes that are to be deleted and no others; None: whatever lies there
    marked: Seen | None = None  # the sidecar with the mark of this delete; set by the steps


# -- steps of a store --------------------------------------------------------------------------------------


def put_due(operations: Sequence[StoreOperation]) -> Failures:
    """Write a due entry for each media item that expires."""
    due: list[tuple[int, Write]] = []
    for index, operation in enumerate(operations):
        # The clock starts with the first write: from here on a sweep may meet what this store leaves.
        operation.started = operation.started or operation.now()
        if operation.expires_at is not None:
            due.append((index, Write(keys.due_key(operation.expires_at, operation.reference), b"", DUE_TYPE)))
    failed = operations[0].backend.write_many([write for _, write in due]) if due else {}
    return {due[at][0]: error for at, error in failed.items()}


put_bytes, put_sidecar = named.put_bytes, named.put_sidecar


@named.each
def create_bytes(operation: StoreOperation) -> None:
    """Write the bytes at keys that must be free."""
    if isinstance(operation.data, bytes):
        made = operation.backend.create(operation.reference, operation.data, operation.mime_type)
    else:
        # Under names that clients choose nothing is sent before it is known what lies there.
        made = cast("SpooledStage", operation.data).commit_new(operation.mime_type)
    if not made:
        raise named.taken()


def look_after_slow(operations: Sequence[StoreOperation]) -> Failures:
    """Check, after more than half the grace, whether a sweep took the bytes for a leftover."""

    def look(operation: StoreOperation) -> None:
        if operation.backend.head(operation.reference) is None:
            # The sidecar stays: one absence may be a wrong answer, and without a sidecar sound bytes would be a
            # leftover. Of a name of our own form a sidecar alone is no media item, and verify sets it aside.
            raise _taken_as_leftover()
        _renew_due(operation)

    return named.for_each(operations, look, [index for index, each in enumerate(operations) if _is_slow(each)])


@named.each
def copy_upload(operation: StoreOperation) -> None:
    """Bring what was uploaded to where others may share it, unless the bytes are there."""
    backend, pointer = operation.backend, pointer_of(operation)
    # The marker was written before the upload, so nobody has let these bytes go meanwhile.
    if not blobs.has_marker(backend, pointer, operation.marker):
        raise _gone_meanwhile()
    there = backend.head(pointer.data_key)
    if there is not None and there.size == pointer.size:
        return
    # What was proven and nothing else: another one that confirms removes the upload, and then its URL takes any bytes.
    proven: Any = {"size": pointer.size, "version": operation.version}
    try:
        backend.copy(operation.source or "", pointer.data_key, operation.mime_type, **proven)
    except FileNotFoundError:
        raise _gone_meanwhile() from None


@named.each
def create_sidecar(operation: StoreOperation) -> None:
    """Write the sidecar unless there is one: who confirmed the same upload meanwhile has written it."""
    # Never over another's: since then somebody may have set a policy, or deleted the item.
    operation.backend.create(keys.sidecar_key(operation.reference), operation.sidecar, SIDECAR_TYPE)


@named.each
def look_after_confirming(operation: StoreOperation) -> None:
    """Check that the bytes are still those that were looked at, and held by the marker where others may share them."""
    found = _confirmed_bytes(operation) or _confirmed_bytes(operation)  # one absence may be a wrong answer
    again = found is not None and None not in (operation.token, found.token) and found.token != operation.token
    if found is None or again:
        # Who deleted the item was done before the sidecar came. Left there, it would make a media item of whatever its
        # URL takes next, unseen; or of bytes that others share, held by no marker.
        seen = named.see(operation.backend, operation.reference)
        if seen.text == operation.sidecar:
            named.drop_sidecar(operation.backend, operation.reference, seen, found)
        if operation.marker is not None:
            blobs.release(operation.backend, pointer_of(operation))  # what was copied after that, for nobody
        if again:
            raise StoreConflictError("was uploaded again while it was confirmed", next_step="confirm it again")
        raise _gone_meanwhile()
    if _is_slow(operation):
        _renew_due(operation)


def _renew_due(operation: StoreOperation) -> None:
    """Write the due entry again: a sweep may have taken it while there was no sidecar yet."""
    named.put_due_entry(operation.backend, operation.reference, operation.expires_at)


def _confirmed_bytes(operation: StoreOperation) -> Entry | None:
    pointer = keys.pointer_of(operation.reference)
    if pointer is None:
        return operation.backend.head(operation.reference)
    is_kept = blobs.is_kept(operation.backend, pointer, operation.marker)
    return Entry(operation.reference, pointer.size) if is_kept else None


def _gone_meanwhile() -> MediaNotFoundError:
    problem = "was gone when it was confirmed: somebody deleted it meanwhile, or a sweep took it for a leftover"
    return MediaNotFoundError(problem, next_step="look for it again; if it is gone, upload it by a new ticket")


def remove_upload(operations: Sequence[StoreOperation]) -> Failures:
    """Remove what was uploaded and is where others share it now."""
    first = operations[0]
    failed = first.backend.delete([each.source or "" for each in operations])
    return {index: failed[each.source or ""] for index, each in enumerate(operations) if each.source in failed}


# -- steps of a delete -------------------------------------------------------------------------------------


def mark_moved(operations: Sequence[DeleteOperation]) -> Failures:
    """Mark the sidecar of what was moved, over the one that was copied: if it was changed since then, both stay."""
    first = operations[0]
    moved = first.entry is not None and first.backend.exclusion is Exclusion.CONDITIONS
    return named.mark_leaving(operations) if moved else {}


def remove_sidecar(operations: Sequence[DeleteOperation]) -> Failures:
    """Remove the sidecar, under the lock where there is one; where the storage refuses, a mark is taken back."""
    try:
        locks = _locks_for(operations)
    except MediaError as unknown:
        return {index: named.anew(unknown) for index in range(len(operations))}
    if locks:
        # Whoever changes it under the lock has written it before, and it goes, or finds then that it is gone.
        going = [index for index, each in enumerate(operations) if not each.stays]
        failed = named.remove_under_lock([operations[index] for index in going])
        return {going[at]: error for at, error in failed.items()}
    failures = remove_sidecar_again(operations)
    for index, error in failures.items():
        named.take_back(operations[index], error)
    return failures


def _locks_for(operations: Sequence[DeleteOperation]) -> bool:
    """Tell whether sidecars are removed under a lock: not those of clients' names, whose deletes have their own."""
    first = operations[0]
    # To ask makes a file on a disk, which a delete of nothing must not. Who has not looked may delete something.
    asks = any(not each.stays and (each.seen is None or each.seen.text) for each in operations)
    asks = asks or first.backend.known_exclusion is not None
    return asks and keys.is_own_name(first.reference) and first.backend.locks


def remove_bytes(operations: Sequence[DeleteOperation]) -> Failures:
    """Remove the bytes."""
    return _delete_keys(operations, lambda each: () if each.stays else (each.reference,))


def remove_bytes_under_mark(operations: Sequence[DeleteOperation]) -> Failures:
    """Remove the bytes, under the mark in their sidecar; where the storage refuses, the mark is taken back."""
    failures = remove_bytes(operations)
    for index, error in failures.items():
        named.take_back(operations[index], error)
    return failures


def remove_marked_sidecar(operations: Sequence[DeleteOperation]) -> Failures:
    """Remove the sidecar that was marked; one that came where there was none is somebody else's."""
    if len(operations) == 1:
        return named.for_each(operations, named.remove_marked)
    # Bulk requests know no condition. Nobody goes over a mark that is not dead, so it guards only against a process
    # that slept for as long.
    return _delete_keys(operations, lambda each: () if each.marked is None else (keys.sidecar_key(each.reference),))


def remove_marker(operations: Sequence[DeleteOperation]) -> Failures:
    """Remove the markers with which deduplicated media items hold their bytes."""

    def keys_of(operation: DeleteOperation) -> tuple[str, ...]:
        return () if operation.marker is None else (pointer_of(operation).marker_key(operation.marker),)

    return _delete_keys(operations, keys_of, keep_folders=False)


def remove_sidecar_again(operations: Sequence[DeleteOperation]) -> Failures:
    """Remove a sidecar that was rewritten meanwhile: its writer looked at the marker while that was still there."""
    return _delete_keys(operations, lambda each: () if each.stays else (keys.sidecar_key(each.reference),))


def release_bytes(operations: Sequence[DeleteOperation]) -> Failures:
    """Delete the bytes that no marker holds any more, once for all media items that shared them."""
    failures: dict[int, MediaError] = {}
    outcomes: dict[Pointer, bool | MediaError] = {}
    for index, operation in enumerate(operations):
        # No marker is known, so none was removed by this delete: the generation is not this one's to release.
        if operation.marker is None:
            continue
        pointer = pointer_of(operation)
        if pointer not in outcomes:
            outcomes[pointer] = attempt(partial(blobs.release, operation.backend), pointer)
        failed = outcomes[pointer]
        if isinstance(failed, MediaError):
            # One error object for each operation: each of them is given its own reference.
            failures[index] = StorageError(failed.problem, next_step=failed.next_step, key=failed.key)
    return failures


def remove_due(operations: Sequence[DeleteOperation]) -> Failures:
    """Remove the due entries, which nothing needs any more."""
    return _delete_keys(operations, lambda each: each.due_keys, keep_folders=False)


# -- orders: see "Orders of writes" in docs/format.md ------------------------------------------------------

# The due entry first: a process that dies later leaves a hint about nothing, never an item whose expiry nobody sees.
# The sidecar after the bytes: what a listing shows is whole.
STORE: StoreSteps = (put_due, put_bytes, put_sidecar, look_after_slow)
CREATE: StoreSteps = (put_due, create_bytes, put_sidecar, look_after_slow)
# As a store whose bytes are there already. Two may confirm at once: one sidecar is written, by the first.
CONFIRM: StoreSteps = (put_due, create_sidecar, look_after_confirming)
# Strangers send the bytes, so they come to where others share them only when they are proven.
CONFIRM_SHARED: StoreSteps = (put_due, copy_upload, create_sidecar, look_after_confirming, remove_upload)
# Under names that clients choose. With conditions the sidecar is written over the one that was read, and nothing else;
# with a lock both objects change under it; with neither it is looked afterwards.
STORE_CONDITIONAL: StoreSteps = (
    named.yield_to_deletes,
    put_due,
    named.put_bytes_to_settle,
    named.put_sidecar_conditionally,
    look_after_slow,
)
STORE_LOCKED: StoreSteps = (put_due, named.put_under_lock, look_after_slow)
STORE_NAMED: StoreSteps = (put_due, named.put_bytes_noted, named.put_sidecar_and_look, look_after_slow)
CREATE_CONDITIONAL: StoreSteps = (put_due, create_bytes, named.put_sidecar_conditionally, look_after_slow)
CREATE_NAMED: StoreSteps = (put_due, create_bytes, named.put_sidecar_and_look, look_after_slow)
# The sidecar before the bytes: what is half deleted is not listed. The due entry last: it finds what a crash leaves.
DELETE: DeleteSteps = (mark_moved, remove_sidecar, remove_bytes, remove_due)
# The other way round for names that are not of our own form: their bytes alone would be listed as a media item
# again, one without policy and hold.
_REMOVED: DeleteSteps = (named.look_after_removal, remove_due)
DELETE_NAMED: DeleteSteps = (named.look_before_removal, remove_bytes, remove_sidecar, *_REMOVED)
DELETE_CAUGHT: DeleteSteps = (named.look_before_removal, named.catch_bytes, named.catch_sidecar, *_REMOVED)
# The due entry last: by it a sweep finds, and finishes, what died with a mark.
DELETE_MARKED: DeleteSteps = (named.mark_leaving, remove_bytes_under_mark, remove_marked_sidecar, remove_due)
# Under the lock also the due entry: who writes next may need one of the same minute, and looks for it.
DELETE_LOCKED: DeleteSteps = (named.remove_under_lock,)
# The sidecar twice: a rewrite between the two looks at the marker, finds it, and would leave a sidecar behind.
DELETE_SHARED: DeleteSteps = (
    mark_moved,
    remove_sidecar,
    remove_marker,
    remove_sidecar_again,
    release_bytes,
    remove_due,
)


def store(operations: Sequence[StoreOperation]) -> Outcomes:
    """Store media items of one root; return what stopped each, None where nothing did."""
    return _run_orders(operations, _store_order)


def create(operations: Sequence[StoreOperation]) -> Outcomes:
    """Store media items of one root under names that must be free."""
    for operation in operations:
        operation.exclusive = True
    return _run_orders(operations, _store_order)


def confirm(operation: StoreOperation) -> None:
    """Make a media item of bytes that were uploaded."""
    shared = keys.pointer_of(operation.reference) is not None
    raise_first(run_steps(CONFIRM_SHARED if shared else CONFIRM, [operation]))


def delete(operations: Sequence[DeleteOperation]) -> Outcomes:
    """Delete media items of one root; repeating a delete that stopped half-way finishes it."""
    try:
        return _run_orders(operations, _delete_order)
    finally:
        named.finished(operations)


def _run_orders(operations: Sequence[OperationT], order_of: Callable[[OperationT], str]) -> Outcomes:
    """Run the steps of each operation's order: for all that have the same at once."""
    outcomes: Outcomes = [None] * len(operations)
    chosen = [order_of(operation) for operation in operations]
    for order in dict.fromkeys(chosen):
        same = [index for index, each in enumerate(chosen) if each == order]
        # Looked up at the call, so that a test can put another order in its place.
        steps: tuple[Callable[[Sequence[OperationT]], Failures], ...] = globals()[order]
        for index, error in zip(same, run_steps(steps, [operations[each] for each in same]), strict=True):
            outcomes[index] = error
    return outcomes


def _store_order(operation: StoreOperation) -> str:
    if keys.is_own_name(operation.reference):
        return "CREATE" if operation.exclusive else "STORE"
    order = _ORDERS[operation.backend.exclusion][0]
    return f"CREATE{order.removeprefix('STORE')}" if operation.exclusive and order != "STORE_LOCKED" else order


def run_steps(
    steps: Sequence[Callable[[Sequence[OperationT]], Failures]], operations: Sequence[OperationT]
) -> Outcomes:
    """Run each step for those operations whose step before was confirmed."""
    outcomes: Outcomes = [None] * len(operations)
    going = list(range(len(operations)))
    for step in steps:
        if not going:
            break
        failures = step([operations[index] for index in going])
        for position, error in failures.items():
            index = going[position]
            outcomes[index] = add_reference(error, operations[index].reference)
        # An unanswered step may have happened or not. Going on, or undoing it, could hit what somebody else relies on.
        going = [index for position, index in enumerate(going) if position not in failures]
    return outcomes


def raise_first(outcomes: Outcomes) -> None:
    """Raise the first error that stopped an operation."""
    for error in outcomes:
        if error is not None:
            raise error


def rewrite_sidecar(
    backend: Backend,
    reference: str,
    sidecar: bytes,
    expires_at: datetime | None,
    *,
    seen: Seen | None = None,
    change: Callable[[bytes], Rewritten] | None = None,
    rounds: int = named.ROUNDS,
) -> Entry:
    """Replace a sidecar, check that the media item is still there, and return its bytes as they were seen.

    What others change meanwhile stays, where the storage keeps conditions or locks; elsewhere the last writer wins. A
    due entry for another instant stays: it is a hint, and the sweep that meets it reads the sidecar.

    `seen`: the sidecar of which this one was made; None: nobody has looked, and a name of our own form is written over
    whatever it says by now, under the lock where there is one. `change`: makes it anew of one that came meanwhile;
    None: it stays as it is. `rounds`: how often it is tried. Raises `MediaNotFoundError`: the sidecar that was read is
    gone, or its bytes, or its marker, are not seen after the write: somebody deleted the media item meanwhile, or the
    storage answered wrongly. A sidecar that was written stays.
    """
    changed = Rewritten(sidecar, expires_at)
    if keys.pointer_of(reference) is not None and Sidecar.parse(sidecar, reference).marker(reference) is None:
        raise CorruptSidecarError(
            "its sidecar names no marker of its own", next_step="verify the store", reference=reference
        )
    if seen is None and keys.is_own_name(reference) and not backend.locks:
        return named.write_and_look(backend, reference, changed)
    return named.rewrite(backend, reference, seen, changed, change, rounds=rounds)


def store_shared(operation: SharedStoreOperation) -> str:
    """Store one media item beside equal bytes where there are some, else as their first user."""
    pointer = blobs.find_generation(operation.backend, operation.digest, operation.size)
    joined = None if pointer is None else _join_generation(operation, pointer)
    if pointer is not None and joined is not None:
        _heal(operation, pointer, joined)
    else:
        # Never the same generation again: somebody may be about to delete it under its old name.
        pointer = Pointer(operation.size, operation.digest, keys.new_generation())
        _start_generation(operation, pointer)
    _finish_store(operation, pointer)
    return operation.reference


def reserve(operation: Reservation) -> None:
    """Hold a generation for bytes that are to come: one that has them, or a fresh one. Nothing else is written."""
    pointer = blobs.find_generation(operation.backend, operation.digest, operation.size)
    if pointer is None or _join_generation(operation, pointer) is None:
        _put_marker(operation, Pointer(operation.size, operation.digest, keys.new_generation()))


def store_many(operations: Sequence[SharedStoreOperation]) -> Outcomes:
    """Store several media items that share equal bytes, concurrently where the storage gains from it."""
    if not operations:
        return []
    outcomes: Outcomes = [None] * len(operations)
    # Of those with equal bytes one goes first and the others join it: at once, each would upload its own copy.
    first = {each.digest: index for index, each in reversed(list(enumerate(operations)))}
    leaders = set(first.values())
    for group in (sorted(leaders), [index for index in range(len(operations)) if index not in leaders]):
        answers = attempt_each(store_shared, [operations[index] for index in group], operations[0].backend)
        for index, answer in zip(group, answers, strict=True):
            outcomes[index] = answer if isinstance(answer, MediaError) else None
    return outcomes


def copy(operation: SharedStoreOperation, pointer: Pointer) -> None:
    """Add a reference to a generation that nobody deletes: a marker and a sidecar are written, no bytes move."""
    if _join_generation(operation, pointer) is None:
        raise StoreConflictError(
            "its bytes are being deleted in this moment", next_step="copy it again", reference=operation.reference
        )
    _finish_store(operation, pointer)


def _join_generation(operation: Reservation, pointer: Pointer) -> Entry | None:
    """Use an existing generation; None if it is about to be deleted, and then the marker is taken back."""
    # Marker first, then the look. A release writes its mark first and then looks for markers, so at least one of the
    # two sees the other.
    _put_marker(operation, pointer)
    found = blobs.live_data(operation.backend, pointer)
    if found is None:
        blobs.withdraw(operation.backend, pointer, operation.marker)
    return found


def _heal(operation: SharedStoreOperation, pointer: Pointer, found: Entry) -> None:
    """Write the bytes over shared ones that are rotten.

    In place, because all references are healed by it, the write is atomic, and a reader gets the right bytes or those
    it got before. Only after the look of `_join_generation`: from there on the marker keeps the data, so nothing that
    is about to go is brought back.
    """

    def md5() -> bytes | None:
        pieces = [operation.data] if isinstance(operation.data, bytes) else operation.data.reread()
        if pieces is None:
            return None
        hashed = hashlib.md5(usedforsecurity=False)
        for piece in pieces:
            hashed.update(piece)
        return hashed.digest()

    with ErrorContext(operation.reference):
        if blobs.is_rotten(operation.backend, pointer, found, md5):
            _log.warning("%s: its shared bytes were rotten; they are written anew", operation.reference)
            _put_data(operation, pointer)


def _start_generation(operation: SharedStoreOperation, pointer: Pointer) -> None:
    # Marker first: data without a marker are a leftover that anybody may release.
    _put_marker(operation, pointer)
    with ErrorContext(operation.reference):
        _put_data(operation, pointer)


def _put_data(operation: SharedStoreOperation, pointer: Pointer) -> None:
    if isinstance(operation.data, bytes):
        operation.backend.write(pointer.data_key, operation.data, operation.mime_type)
    else:
        operation.data.retarget(pointer.data_key)
        operation.data.commit(operation.mime_type)


def _put_marker(operation: Reservation, pointer: Pointer) -> None:
    """Write the due entry and the marker for a generation."""
    operation.reference = operation.name_of(pointer)
    # A second attempt keeps the first one's start: the grace counts from the first write.
    operation.started = operation.started or operation.now()
    with ErrorContext(operation.reference):
        # The reference holds the generation, so the entry can't be written before that is known.
        named.put_due_entry(operation.backend, operation.reference, operation.expires_at)
        operation.marker = blobs.put_marker(operation.backend, pointer, operation.reference)


def _finish_store(operation: SharedStoreOperation, pointer: Pointer) -> None:
    """Write the sidecar, from which on the media item exists; a slow store looks whether it was swept."""
    backend, reference = operation.backend, operation.reference
    with ErrorContext(reference):
        backend.write(keys.sidecar_key(reference), operation.sidecar_of(operation.marker), SIDECAR_TYPE)
        if not _is_slow(operation):
            return
        if not blobs.is_used(backend, pointer, operation.marker):
            # The sidecar stays, as after a rewrite.
            raise _taken_as_leftover()
        # Marker and data are there, but the entry may have been swept before the sidecar was.
        named.put_due_entry(backend, reference, operation.expires_at)


def _is_slow(operation: StoreOperation | SharedStoreOperation) -> bool:
    """Return whether a store took more than half the grace since its first write."""
    # Half, so that the look and its answer are over before anybody may remove what is older than the grace. By the
    # wall clock: a monotonic one may stand still while the machine sleeps.
    started = operation.started or operation.now()
    return operation.now() - started > operation.grace / 2


def _taken_as_leftover() -> StorageError:
    return StorageError(
        "took so long to store that its bytes may have been removed as a leftover",
        next_step="store it again; verify shows what is left of this one",
    )


def _delete_order(operation: DeleteOperation) -> str:
    if operation.stays:
        return "DELETE"  # its due entries go along with whatever else goes
    if keys.pointer_of(operation.reference) is not None:
        return "DELETE_SHARED"
    return "DELETE" if keys.is_own_name(operation.reference) else _ORDERS[operation.backend.exclusion][1]


_ORDERS = {
    Exclusion.CONDITIONS: ("STORE_CONDITIONAL", "DELETE_MARKED"),
    Exclusion.LOCK: ("STORE_LOCKED", "DELETE_LOCKED"),
    Exclusion.RENAME: ("STORE_NAMED", "DELETE_CAUGHT"),
    Exclusion.NONE: ("STORE_NAMED", "DELETE_NAMED"),
}


def _delete_keys(
    operations: Sequence[DeleteOperation],
    keys_of: Callable[[DeleteOperation], tuple[str, ...]],
    *,
    keep_folders: bool | None = None,
) -> Failures:
    """Delete the keys of all operations in one call."""
    wanted = {key: index for index, operation in enumerate(operations) for key in keys_of(operation)}
    if not wanted:
        return {}
    first = operations[0]
    # What lies in `.fsmedia` has folders that are nobody's to keep, so those steps say so themselves.
    failed = first.backend.delete(wanted, keep_folders=first.keep_folders if keep_folders is None else keep_folders)
    return {wanted[key]: error for key, error in failed.items() if key in wanted}


def pointer_of(operation: StoreOperation | DeleteOperation) -> Pointer:
    """Return the generation of an item that shares its bytes."""
    pointer = keys.pointer_of(operation.reference)
    if pointer is None:
        raise ValueError("only deduplicated media items have markers")
    return pointer
