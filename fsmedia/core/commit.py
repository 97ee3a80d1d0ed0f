"""The order of writes, as data: which steps a store and a delete consist of, and what a failure leaves.

docs/format.md gives the reasons. Any process may die between two steps, and any storage may fail in one; what must hold
then is that a listing never shows part of a media and that no visible reference loses its bytes. A step counts only
when the storage has answered; if it does not, the operation stops there, undoes nothing and says which media.

Each step takes any number of media at once and answers with the failed ones by index, so one media and a thousand
go the same way.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from fsmedia.core import blobs
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
from fsmedia.storage import Write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta

    from fsmedia.storage import Backend, Stage

    Failures = Mapping[int, MediaError]
    Outcomes = list[MediaError | None]

SIDECAR_TYPE = "application/json"
DUE_TYPE = "application/octet-stream"
"""Content type of due entries, which are empty: their keys say it all."""
OperationT = TypeVar("OperationT", "StoreOperation", "DeleteOperation")


@dataclass(slots=True)
class StoreOperation:
    """One media on its way in: everything is checked, nothing is visible yet.

    Attributes
    ----------
    data
        The bytes, or the stage that holds them.
    sidecar
        The sidecar's bytes.
    now
        The store's clock.
    expires_at
        When the policy in the sidecar lets the media go; None: never.
    grace
        Age from which the store's leftovers may be mended, so a store must not take longer.
    """

    backend: Backend
    reference: str
    data: bytes | Stage
    mime_type: str
    sidecar: bytes
    now: Callable[[], datetime]
    expires_at: datetime | None = None
    grace: timedelta = ORPHAN_GRACE
    started: datetime | None = None


@dataclass(slots=True)
class DeleteOperation:
    """One media on its way out.

    Attributes
    ----------
    keep_folders
        Leave the folder that it may be the last in, where the storage has folders.
    due_keys
        Its entries in the due index, as far as they are known.
    stays
        The media stays: only these entries have had their time.
    marker
        Of a deduplicated media, as its sidecar names it. Without its sidecar nobody knows the marker, and none is
        touched.
    """

    backend: Backend
    reference: str
    keep_folders: bool = False
    due_keys: tuple[str, ...] = ()
    stays: bool = False
    marker: str | None = None


def put_due(storings: Sequence[StoreOperation]) -> Failures:
    """Write an entry into the due index for each media that expires: whoever dies after this loses no policy."""
    due: dict[int, str] = {}
    for index, item in enumerate(storings):
        item.started = item.now()
        if item.expires_at is not None:
            due[index] = keys.due_key(item.expires_at, item.reference)
    if not due:
        return {}
    failed = storings[0].backend.write_many([Write(key, b"", DUE_TYPE) for key in due.values()])
    places = list(due)
    return {places[index]: error for index, error in failed.items()}


def put_bytes(storings: Sequence[StoreOperation]) -> Failures:
    """Write the bytes at the media's key. Until its sidecar is there, no listing shows them."""
    return storings[0].backend.write_many([Write(item.reference, item.data, item.mime_type) for item in storings])


def create_bytes(storings: Sequence[StoreOperation]) -> Failures:
    """Write the bytes where none are."""
    failures: dict[int, MediaError] = {}
    for index, item in enumerate(storings):
        try:
            if isinstance(item.data, bytes):
                made = item.backend.create(item.reference, item.data, item.mime_type)
            else:
                made = item.data.commit_new(item.mime_type)
        except MediaError as error:
            failures[index] = error
            continue
        if not made:
            failures[index] = StoreConflictError("exists already", next_step="choose another name, or overwrite it")
    return failures


def put_sidecar(storings: Sequence[StoreOperation]) -> Failures:
    """Write the sidecar: from here on the media exists."""
    return storings[0].backend.write_many(
        [Write(keys.sidecar_key(item.reference), item.sidecar, SIDECAR_TYPE) for item in storings]
    )


def look_after_slow(storings: Sequence[StoreOperation]) -> Failures:
    """After more than half the grace (machines sleep), look whether somebody took the bytes for a leftover.

    The same somebody may have taken the due entry, so it is written again.
    """
    failures: dict[int, MediaError] = {}
    for index, storing in enumerate(storings):
        begun = storing.started or storing.now()
        if storing.now() - begun <= storing.grace / 2:
            continue
        try:
            if storing.backend.head(storing.reference) is not None:
                again = put_due([storing])
                if again:
                    failures[index] = again[0]
                continue
        except MediaError as error:
            failures[index] = error
            continue
        sidecar = keys.sidecar_key(storing.reference)
        failures[index] = storing.backend.delete([sidecar]).get(sidecar) or StorageError(
            "took so long to store that its bytes were removed as a leftover", next_step="store it again"
        )
    return failures


def remove_sidecar(deletings: Sequence[DeleteOperation]) -> Failures:
    """Remove the sidecar."""
    return _delete_keys(deletings, lambda item: () if item.stays else (keys.sidecar_key(item.reference),))


def remove_bytes(deletings: Sequence[DeleteOperation]) -> Failures:
    """Remove the bytes."""
    return _delete_keys(deletings, lambda item: () if item.stays else (item.reference,))


def remove_marker(deletings: Sequence[DeleteOperation]) -> Failures:
    """Remove the markers with which deduplicated media hold their bytes; their folders are nobody's to keep."""

    def keys_of(item: DeleteOperation) -> tuple[str, ...]:
        return () if item.marker is None else (_pointer(item).marker_key(item.marker),)

    return _delete_keys(deletings, keys_of, keep_folders=False)


def remove_sidecar_again(deletings: Sequence[DeleteOperation]) -> Failures:
    """Remove the sidecar once more: who rewrote it meanwhile looked at the marker while that was still there."""
    return remove_sidecar(deletings)


def release_bytes(deletings: Sequence[DeleteOperation]) -> Failures:
    """Delete the bytes that no marker holds any more; once for all media that shared them."""
    failures: dict[int, MediaError] = {}
    outcomes: dict[Pointer, MediaError | None] = {}
    for index, item in enumerate(deletings):
        if item.marker is None:
            continue
        pointer = _pointer(item)
        if pointer not in outcomes:
            outcomes[pointer] = None
            try:
                blobs.release(item.backend, pointer)
            except MediaError as error:
                outcomes[pointer] = error
        failed = outcomes[pointer]
        if failed is not None:
            failures[index] = StorageError(failed.problem, next_step=failed.next_step, key=failed.key)
    return failures


def _pointer(item: DeleteOperation) -> Pointer:
    pointer = keys.pointer_of(item.reference)
    if pointer is None:
        raise ValueError("only deduplicated media have markers")
    return pointer


def remove_due(deletings: Sequence[DeleteOperation]) -> Failures:
    """Remove the due entries: there is nothing left that they could be needed for."""
    return _delete_keys(deletings, lambda item: item.due_keys, keep_folders=False)


def _delete_keys(
    deletings: Sequence[DeleteOperation],
    keys_of: Callable[[DeleteOperation], tuple[str, ...]],
    *,
    keep_folders: bool | None = None,
) -> Failures:
    wanted = {key: index for index, item in enumerate(deletings) for key in keys_of(item)}
    if not wanted:
        return {}
    first = deletings[0]
    failed = first.backend.delete(wanted, keep_folders=first.keep_folders if keep_folders is None else keep_folders)
    return {wanted[key]: error for key, error in failed.items() if key in wanted}


STORE: tuple[Callable[[Sequence[StoreOperation]], Failures], ...] = (put_due, put_bytes, put_sidecar, look_after_slow)
CREATE: tuple[Callable[[Sequence[StoreOperation]], Failures], ...] = (
    put_due,
    create_bytes,
    put_sidecar,
    look_after_slow,
)
DELETE: tuple[Callable[[Sequence[DeleteOperation]], Failures], ...] = (remove_sidecar, remove_bytes, remove_due)
DELETE_NAMED: tuple[Callable[[Sequence[DeleteOperation]], Failures], ...] = (remove_bytes, remove_sidecar, remove_due)
"""For names that are not of our own form: their bytes alone would be a media again, one without policy and hold."""
DELETE_SHARED: tuple[Callable[[Sequence[DeleteOperation]], Failures], ...] = (
    remove_sidecar,
    remove_marker,
    remove_sidecar_again,
    release_bytes,
    remove_due,
)


def store(storings: Sequence[StoreOperation]) -> list[MediaError | None]:
    """Take the steps of a store for media of one root; return what stopped each, None where nothing did."""
    return run_steps(STORE, storings)


def create(storings: Sequence[StoreOperation]) -> list[MediaError | None]:
    """Take the steps of a store for media whose names must be free."""
    return run_steps(CREATE, storings)


def rewrite_sidecar(
    backend: Backend, reference: str, sidecar: bytes, expires_at: datetime | None, marker: str | None = None
) -> None:
    """Replace a sidecar, its due entry first, then look that entry and bytes are still there; the last writer wins.

    An entry for another instant stays: it is a hint, and the sweep that meets it looks into the sidecar.

    Raises
    ------
    MediaNotFoundError
        They are not: somebody deleted the media meanwhile, and its sidecar is gone again.
    CorruptSidecarError
        A deduplicated media's sidecar names no marker, so nobody could look; nothing was written.
    """
    key = keys.sidecar_key(reference)
    pointer = keys.pointer_of(reference)
    if pointer is not None and marker is None:
        raise CorruptSidecarError(
            "its sidecar names no marker of its own", next_step="verify the store", reference=reference
        )
    due = None if expires_at is None else keys.due_key(expires_at, reference)
    if due is not None:
        backend.write(due, b"", DUE_TYPE)
    backend.write(key, sidecar, SIDECAR_TYPE)
    there = backend.fetch(heads=[reference] if due is None else [reference, due]).heads
    if there[0] is None if pointer is None else not blobs.is_kept(backend, pointer, marker):
        failed = backend.delete([key]).get(key)
        if failed is not None:
            raise add_reference(failed, reference)
        raise MediaNotFoundError("was deleted while it was changed", next_step="list the store", reference=reference)
    if due is not None and there[1] is None:
        # A sweep that still read the old sidecar took the entry for one that has had its time.
        backend.write(due, b"", DUE_TYPE)


def delete(deletings: Sequence[DeleteOperation]) -> list[MediaError | None]:
    """Take the steps of a delete; repeating one that stopped half-way finishes it."""
    answers: Outcomes = [None] * len(deletings)
    kinds: dict[str, list[int]] = {}
    for index, item in enumerate(deletings):
        kinds.setdefault(_delete_order(item), []).append(index)
    for kind, chosen in kinds.items():
        steps = {"plain": DELETE, "named": DELETE_NAMED, "shared": DELETE_SHARED}[kind]
        for index, error in zip(chosen, run_steps(steps, [deletings[each] for each in chosen]), strict=True):
            answers[index] = error
    return answers


def _delete_order(item: DeleteOperation) -> str:
    if item.stays:
        return "plain"  # its due entries go along with whatever else goes
    if keys.pointer_of(item.reference) is not None:
        return "shared"
    return "plain" if keys.is_own_name(item.reference) else "named"


def run_steps(
    steps: Sequence[Callable[[Sequence[OperationT]], Failures]], operations: Sequence[OperationT]
) -> Outcomes:
    """Take each step for those operations whose step before was confirmed."""
    answers: Outcomes = [None] * len(operations)
    going = list(range(len(operations)))
    for step in steps:
        if not going:
            break
        failures = step([operations[index] for index in going])
        for position, error in failures.items():
            index = going[position]
            answers[index] = add_reference(error, operations[index].reference)
        going = [index for position, index in enumerate(going) if position not in failures]
    return answers


def raise_first_error(answers: Outcomes) -> None:
    """Raise what stopped an operation."""
    for error in answers:
        if error is not None:
            raise error


class DeferredUpload(Protocol):
    """Bytes that lie elsewhere until it is known where they belong: a stage, or another media's."""

    def aim(self, key: str) -> None:
        """Choose where they go."""

    def commit(self, content_type: str) -> None:
        """Put them there, atomically."""


@dataclass(slots=True)
class SharedStoreOperation:
    """One media on its way in: everything is checked, nothing is visible yet.

    Attributes
    ----------
    digest, size
        Of the bytes as they will be stored.
    name_of
        Makes the reference for a generation.
    sidecar_of
        Makes the sidecar's bytes for a marker.
    reference, marker
        What was chosen; empty before.
    """

    backend: Backend
    digest: str
    size: int
    data: bytes | DeferredUpload
    mime_type: str
    name_of: Callable[[Pointer], str]
    sidecar_of: Callable[[str], bytes]
    now: Callable[[], datetime]
    expires_at: datetime | None = None
    grace: timedelta = ORPHAN_GRACE
    reference: str = ""
    marker: str = ""
    started: datetime | None = None


def store_shared(sharing: SharedStoreOperation) -> str:
    """Store one media: beside the same bytes, where they are and stay, else as their first user.

    Raises
    ------
    StorageError
        A step was not answered; it stops there and undoes nothing.
    """
    found = blobs.find_generation(sharing.backend, sharing.digest, sharing.size)
    if found is None or not _join_generation(sharing, found):
        found = Pointer(sharing.size, sharing.digest, keys.new_generation())
        _start_generation(sharing, found)
    _finish_store(sharing, found)
    return sharing.reference


def store_many(sharings: Sequence[SharedStoreOperation]) -> list[MediaError | None]:
    """Store several, at once where the storage gains from it; of those with the same bytes one goes first."""
    answers: dict[int, MediaError | None] = {}
    first = {item.digest: index for index, item in reversed(list(enumerate(sharings)))}
    leaders = set(first.values())
    for turn in (sorted(leaders), [index for index in range(len(sharings)) if index not in leaders]):
        if len(turn) > 1 and sharings[0].backend.concurrency > 1:
            with ThreadPoolExecutor(min(len(turn), sharings[0].backend.concurrency)) as threads:
                found = list(threads.map(_store_or_error, [sharings[index] for index in turn]))
        else:
            found = [_store_or_error(sharings[index]) for index in turn]
        answers.update(zip(turn, found, strict=True))
    return [answers[index] for index in range(len(sharings))]


def _store_or_error(sharing: SharedStoreOperation) -> MediaError | None:
    try:
        store_shared(sharing)
    except MediaError as error:
        return error
    return None


def _join_generation(sharing: SharedStoreOperation, pointer: Pointer) -> bool:
    """Use a generation that is there: marker, then the look; False if it is about to go, and nothing is left then."""
    _put_marker(sharing, pointer)
    if blobs.is_alive(sharing.backend, pointer):
        return True
    blobs.withdraw(sharing.backend, pointer, sharing.marker)
    return False


def _start_generation(sharing: SharedStoreOperation, pointer: Pointer) -> None:
    """Begin a generation: marker first, so that the data are never without one."""
    _put_marker(sharing, pointer)
    with ErrorContext(sharing.reference):
        if isinstance(sharing.data, bytes):
            sharing.backend.write(pointer.data_key, sharing.data, sharing.mime_type)
        else:
            sharing.data.aim(pointer.data_key)
            sharing.data.commit(sharing.mime_type)


def _put_marker(sharing: SharedStoreOperation, pointer: Pointer) -> None:
    """Write the due entry, for this generation's name, then the marker."""
    sharing.reference = sharing.name_of(pointer)
    sharing.started = sharing.started or sharing.now()
    with ErrorContext(sharing.reference):
        if sharing.expires_at is not None:
            due = keys.due_key(sharing.expires_at, sharing.reference)
            sharing.backend.write(due, b"", DUE_TYPE)
        sharing.marker = blobs.put_marker(sharing.backend, pointer, sharing.reference)


def _finish_store(sharing: SharedStoreOperation, pointer: Pointer) -> None:
    """Write the sidecar: from here on the media exists. A slow store looks whether it was taken for a leftover."""
    backend, reference = sharing.backend, sharing.reference
    with ErrorContext(reference):
        backend.write(keys.sidecar_key(reference), sharing.sidecar_of(sharing.marker), SIDECAR_TYPE)
        begun = sharing.started or sharing.now()
        if sharing.now() - begun <= sharing.grace / 2:
            return
        if not blobs.is_used(backend, pointer, sharing.marker):
            for error in backend.delete([keys.sidecar_key(reference)]).values():
                raise error
            raise StorageError(
                "took so long to store that its bytes were removed as a leftover", next_step="store it again"
            )
        if sharing.expires_at is not None:
            backend.write(keys.due_key(sharing.expires_at, reference), b"", DUE_TYPE)


def copy(sharing: SharedStoreOperation, pointer: Pointer) -> None:
    """Let one more reference use a generation: a marker and a sidecar, no bytes move.

    Raises
    ------
    StoreConflictError
        The generation is about to go: somebody deletes its last reference in this moment.
    """
    if not _join_generation(sharing, pointer):
        raise StoreConflictError(
            "its bytes are being deleted in this moment", next_step="copy it again", reference=sharing.reference
        )
    _finish_store(sharing, pointer)
