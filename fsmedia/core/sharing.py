"""The order in which a deduplicated media is stored or copied; FORMAT.md gives the reasons, `blobs.py` the steps.

Each reference has its own sidecar and its own marker, the bytes exist once. The name of a reference tells where its
bytes lie, so it is only known once a generation was chosen.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fsmedia.core import blobs, commit
from fsmedia.errors import MediaError, StorageError, StoreConflictError
from fsmedia.format import keys
from fsmedia.format.configuration import ORPHAN_GRACE
from fsmedia.format.keys import Pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from fsmedia.storage import Backend


class Aimed(Protocol):
    """Bytes that lie elsewhere until it is known where they belong: a stage, or another media's."""

    def aim(self, key: str) -> None:
        """Choose where they go."""

    def commit(self, content_type: str) -> None:
        """Put them there, atomically."""


@dataclass(slots=True)
class Sharing:
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
    data: bytes | Aimed
    mime_type: str
    name_of: Callable[[Pointer], str]
    sidecar_of: Callable[[str], bytes]
    now: Callable[[], datetime]
    expires_at: datetime | None = None
    grace: timedelta = ORPHAN_GRACE
    reference: str = ""
    marker: str = ""
    started: datetime | None = None


def store(sharing: Sharing) -> str:
    """Store one media: beside the same bytes, where they are and stay, else as their first user.

    Raises
    ------
    StorageError
        A step was not answered; it stops there and undoes nothing.
    """
    found = blobs.find_generation(sharing.backend, sharing.digest, sharing.size)
    if found is None or not _joined(sharing, found):
        found = Pointer(sharing.size, sharing.digest, keys.new_generation())
        _begun(sharing, found)
    _finished(sharing, found)
    return sharing.reference


def store_many(sharings: Sequence[Sharing]) -> list[MediaError | None]:
    """Store several, at once where the storage gains from it; of those with the same bytes one goes first."""
    answers: dict[int, MediaError | None] = {}
    first = {item.digest: index for index, item in reversed(list(enumerate(sharings)))}
    leaders = set(first.values())
    for turn in (sorted(leaders), [index for index in range(len(sharings)) if index not in leaders]):
        if len(turn) > 1 and sharings[0].backend.concurrency > 1:
            with ThreadPoolExecutor(min(len(turn), sharings[0].backend.concurrency)) as threads:
                found = list(threads.map(_stored, [sharings[index] for index in turn]))
        else:
            found = [_stored(sharings[index]) for index in turn]
        answers.update(zip(turn, found, strict=True))
    return [answers[index] for index in range(len(sharings))]


def _stored(sharing: Sharing) -> MediaError | None:
    try:
        store(sharing)
    except MediaError as error:
        return error
    return None


def _joined(sharing: Sharing, pointer: Pointer) -> bool:
    """Use a generation that is there: marker, then the look; False if it is about to go, and nothing is left then."""
    _put_marker(sharing, pointer)
    if blobs.is_alive(sharing.backend, pointer):
        return True
    blobs.withdraw(sharing.backend, pointer, sharing.marker)
    return False


def _begun(sharing: Sharing, pointer: Pointer) -> None:
    """Begin a generation: marker first, so that the data are never without one."""
    _put_marker(sharing, pointer)
    with commit.about(sharing.reference):
        if isinstance(sharing.data, bytes):
            sharing.backend.write(pointer.data_key, sharing.data, sharing.mime_type)
        else:
            sharing.data.aim(pointer.data_key)
            sharing.data.commit(sharing.mime_type)


def _put_marker(sharing: Sharing, pointer: Pointer) -> None:
    """Write the due entry, for this generation's name, then the marker."""
    sharing.reference = sharing.name_of(pointer)
    sharing.started = sharing.started or sharing.now()
    with commit.about(sharing.reference):
        if sharing.expires_at is not None:
            due = keys.due_key(sharing.expires_at, sharing.reference)
            sharing.backend.write(due, b"", commit.DUE_TYPE)
        sharing.marker = blobs.put_marker(sharing.backend, pointer, sharing.reference)


def _finished(sharing: Sharing, pointer: Pointer) -> None:
    """Write the sidecar: from here on the media exists. A slow store looks whether it was taken for a leftover."""
    backend, reference = sharing.backend, sharing.reference
    with commit.about(reference):
        backend.write(keys.sidecar_key(reference), sharing.sidecar_of(sharing.marker), commit.SIDECAR_TYPE)
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
            backend.write(keys.due_key(sharing.expires_at, reference), b"", commit.DUE_TYPE)


def copy(sharing: Sharing, pointer: Pointer) -> None:
    """Let one more reference use a generation: a marker and a sidecar, no bytes move.

    Raises
    ------
    StoreConflictError
        The generation is about to go: somebody deletes its last reference in this moment.
    """
    if not _joined(sharing, pointer):
        raise StoreConflictError(
            "its bytes are being deleted in this moment", next_step="copy it again", reference=sharing.reference
        )
    _finished(sharing, pointer)
