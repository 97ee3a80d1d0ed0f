"""Shared bytes: generations of a blob, markers of those who use them, condemned marks of those about to go.

No locks and no counter. A store that wants to share puts its marker first and then looks for condemned marks, and
after those for the data; a release that wants to delete puts its mark first and then looks for markers. Whoever is
second sees the other, so bytes that a visible reference names are never deleted. Each look and each write here is one
step in docs/format.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.format import keys
from fsmedia.format.keys import Pointer

if TYPE_CHECKING:
    from fsmedia.storage import Backend

_TEXT = "text/plain; charset=utf-8"


def find_generation(backend: Backend, digest: str, size: int) -> Pointer | None:
    """Return a generation that has its data and no condemned mark; None if there is none.

    The folder's names sort condemned, data, refs: the listing ends where the markers begin, however many there are.
    """
    condemned: set[str] = set()
    found: str | None = None
    for entry in backend.entries(keys.blob_folder(digest)):
        parsed = keys.parse_blob_key(entry.key)
        if parsed is None:
            continue
        if parsed.kind == "refs":
            break
        if parsed.kind == "condemned":
            condemned.add(parsed.generation)
        elif parsed.generation not in condemned and entry.size == size:
            found = parsed.generation
    return None if found is None else Pointer(size, digest, found)


def put_marker(backend: Backend, pointer: Pointer, reference: str) -> str:
    """Say that a reference uses a generation; return the marker's name, which no other attempt has."""
    marker = keys.new_marker(reference)
    put_named_marker(backend, pointer, marker, reference)
    return marker


def put_named_marker(backend: Backend, pointer: Pointer, marker: str, reference: str) -> None:
    """Write a marker whose name is known; for those who put back what was there."""
    backend.write(pointer.marker_key(marker), reference.encode(), _TEXT)


def is_alive(backend: Backend, pointer: Pointer) -> bool:
    """Look for condemned marks first, then for the data: the other way round, both looks could miss a deletion."""
    if backend.holds(pointer.condemned_folder):
        return False
    found = backend.head(pointer.data_key)
    return found is not None and found.size == pointer.size


def is_used(backend: Backend, pointer: Pointer, marker: str | None) -> bool:
    """Look for one marker, then whether the generation is alive: what the sidecar of a slow store relies on."""
    if marker is None or backend.head(pointer.marker_key(marker)) is None:
        return False
    return is_alive(backend, pointer)


def is_kept(backend: Backend, pointer: Pointer, marker: str | None) -> bool:
    """Look for one marker, then for the data: what a rewritten sidecar relies on.

    A condemned mark says nothing here: a crash leaves one on bytes that are in use, and whoever writes one looks for
    markers before the bytes go.
    """
    if marker is None or backend.head(pointer.marker_key(marker)) is None:
        return False
    found = backend.head(pointer.data_key)
    return found is not None and found.size == pointer.size


def release(backend: Backend, pointer: Pointer) -> bool:
    """Delete a generation that nothing uses any more; the own marker must be gone already.

    Returns
    -------
    bool
        Whether the data were deleted.

    Raises
    ------
    StorageError
        A step was not answered. What was done stays, also the mark: it only takes no new references.
    """
    if backend.holds(pointer.refs_folder):
        return False
    mark = pointer.condemned_key()
    backend.write(mark, b"", _TEXT)
    used = backend.holds(pointer.refs_folder)
    if not used:
        _remove(backend, pointer.data_key)
    _remove(backend, mark)
    return not used


def withdraw(backend: Backend, pointer: Pointer, marker: str) -> None:
    """Take back the marker of an attempt that came too late, and let the generation go if it was the last one."""
    _remove(backend, pointer.marker_key(marker))
    release(backend, pointer)


def _remove(backend: Backend, key: str) -> None:
    for error in backend.delete([key]).values():
        raise error
