"""The order of writes, as data: which steps a store and a delete consist of, and what a failure leaves.

FORMAT.md gives the reasons. Any process may die between two steps, and any storage may fail in one; what must hold
then is that a listing never shows part of a media and that no visible reference loses its bytes. A step counts only
when the storage has answered; if it does not, the operation stops there, undoes nothing and says which media.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from fsmedia import keys
from fsmedia.errors import MediaError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from fsmedia.backends import Backend, Stage

ORPHAN_GRACE = timedelta(hours=24)
"""Age from which a leftover may be mended, so a store must not take longer between its bytes and its sidecar."""

_SIDECAR_TYPE = "application/json"


@dataclass(slots=True)
class Storing:
    """One media on its way in: everything is checked, nothing is visible yet.

    Attributes
    ----------
    data
        The bytes, or the stage that holds them.
    sidecar
        The sidecar's bytes.
    now
        The store's clock.
    """

    backend: Backend
    reference: str
    data: bytes | Stage
    mime_type: str
    sidecar: bytes
    now: Callable[[], datetime]
    started: datetime | None = None


@dataclass(slots=True)
class Deleting:
    """One media on its way out."""

    backend: Backend
    reference: str


def put_bytes(storing: Storing) -> None:
    """Write the bytes at the media's key. Until its sidecar is there, no listing shows them."""
    storing.started = storing.now()
    if isinstance(storing.data, bytes):
        storing.backend.write(storing.reference, storing.data, storing.mime_type)
    else:
        storing.data.commit(storing.mime_type)


def put_sidecar(storing: Storing) -> None:
    """Write the sidecar: from here on the media exists."""
    storing.backend.write(keys.sidecar_key(storing.reference), storing.sidecar, _SIDECAR_TYPE)


def look_after_slow(storing: Storing) -> None:
    """After more than half the grace (machines sleep), look whether somebody took the bytes for a leftover."""
    begun = storing.started or storing.now()
    if storing.now() - begun <= ORPHAN_GRACE / 2:
        return
    if storing.backend.head(storing.reference) is None:
        _confirmed(storing.backend, keys.sidecar_key(storing.reference))
        raise StorageError(
            "took so long to store that its bytes were removed as a leftover", next_step="store it again"
        )


def remove_sidecar(deleting: Deleting) -> None:
    """Remove the sidecar: from here on the media is gone."""
    _confirmed(deleting.backend, keys.sidecar_key(deleting.reference))


def remove_bytes(deleting: Deleting) -> None:
    """Remove the bytes."""
    _confirmed(deleting.backend, deleting.reference)


STORE: tuple[Callable[[Storing], None], ...] = (put_bytes, put_sidecar, look_after_slow)
DELETE: tuple[Callable[[Deleting], None], ...] = (remove_sidecar, remove_bytes)


def store(storing: Storing) -> None:
    """Take the steps of a store."""
    with about(storing.reference):
        for step in STORE:
            step(storing)


def delete(deleting: Deleting) -> None:
    """Take the steps of a delete; repeating one that stopped half-way finishes it."""
    with about(deleting.reference):
        for step in DELETE:
            step(deleting)


def _confirmed(backend: Backend, key: str) -> None:
    """Remove one key, or raise: the next step is only for what is known to be gone."""
    failed = backend.delete([key])
    if key in failed:
        raise failed[key]


@contextmanager
def about(reference: str) -> Iterator[None]:
    """Give every error the reference it is about."""
    try:
        yield
    except MediaError as error:
        if error.reference is None:
            error.reference = str(reference)
            error.args = (str(error),)
        raise
