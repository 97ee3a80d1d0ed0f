"""Shared bytes: generations of a blob, markers of the references that use them, marks of those about to be deleted.

There are no locks and no counter. A store that wants to share bytes writes its marker first and then looks for
condemned marks, and after those for the data. A release that wants to delete them writes its mark first and then looks
for markers. Whichever is second sees the other, so bytes that a visible reference names are never deleted. Each read
and each write here is one step in docs/format.md.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from fsmedia.errors import CorruptMediaError
from fsmedia.format import keys
from fsmedia.format.keys import Pointer
from fsmedia.storage import Backend, Entry
from fsmedia.storage.port import delete_one

_CHUNK = 2**20
_TEXT = "text/plain; charset=utf-8"


def find_generation(backend: Backend, digest: str, size: int) -> Pointer | None:
    """Return a generation that has its data and no condemned mark; None if there is none."""
    condemned: set[str] = set()
    found: str | None = None
    # Names sort condemned, data, refs: all marks are known before the first data, and the listing ends where the
    # markers begin, however many there are.
    for entry in backend.entries(keys.blob_folder(digest)):
        parsed = keys.parse_blob_key(entry.key)
        if parsed is None:
            continue
        if parsed.kind == "refs":
            break
        if parsed.kind == "condemned":
            condemned.add(parsed.generation)
        # Another size: an upload under way, or damage. Neither may be shared.
        elif parsed.generation not in condemned and entry.size == size:
            found = parsed.generation
    return None if found is None else Pointer(size, digest, found)


def put_marker(backend: Backend, pointer: Pointer, reference: str) -> str:
    """Record that a reference uses a generation; return the name of the marker."""
    # Fresh for each attempt: with one name for all, an attempt that withdraws would remove another one's marker.
    marker = keys.new_marker(reference)
    put_named_marker(backend, pointer, marker, reference)
    return marker


def put_named_marker(backend: Backend, pointer: Pointer, marker: str, reference: str) -> None:
    """Write a marker under a known name, to put back one that was there."""
    backend.write(pointer.marker_key(marker), reference.encode(), _TEXT)


def live_data(backend: Backend, pointer: Pointer) -> Entry | None:
    """Look at the data of a generation; None where they are gone or about to be deleted."""
    # Marks before data. A release removes the data first and its mark last: data seen first could be deleted before
    # the look for marks, and the mark be gone again by then.
    if backend.holds(pointer.condemned_folder):
        return None
    return _data(backend, pointer)


def is_rotten(backend: Backend, pointer: Pointer, found: Entry, md5: Callable[[], bytes | None]) -> bool:
    """Return whether data of the right size are other bytes than their name says, as far as it costs no transfer.

    `md5`: of the right bytes; None where nobody has read them.
    """
    if found.md5 is not None and backend.tells_md5:
        right = md5()
        if right is None or found.md5 == right.hex():
            return False
    elif backend.in_one_process or backend.local_path(pointer.data_key) is not None:
        pass  # reading them takes no longer than hashing what is stored
    else:
        return False
    try:
        digest = digest_of(backend, pointer.data_key, size=found.size)
    except CorruptMediaError:
        return True
    if not digest:
        return False  # a marker holds them: who takes them nevertheless must not be covered up here
    rotten = digest != pointer.digest
    if found.md5 is not None and not rotten:
        # An ETag that is no MD5: of objects encrypted by a key. Read once a process, not at every store.
        backend.tells_md5 = False
    return rotten


def digest_of(backend: Backend, key: str, *, size: int | None = None) -> str:
    """Read an object, and return its digest; empty if there is none. A size that is sure spares buckets a look."""
    hashed = sha256()
    try:
        with backend.open(key, size=size) as file:
            while data := file.read(_CHUNK):
                hashed.update(data)
    except FileNotFoundError:
        return ""
    return hashed.hexdigest()


def is_used(backend: Backend, pointer: Pointer, marker: str | None) -> bool:
    """Return whether a generation has this marker and is alive; what the sidecar of a slow store relies on."""
    # The marker before the marks: once it is seen, a release that comes later sees it too and leaves the data.
    return has_marker(backend, pointer, marker) and live_data(backend, pointer) is not None


def is_kept(backend: Backend, pointer: Pointer, marker: str | None) -> bool:
    """Return whether a generation has this marker and its data; what a rewritten sidecar relies on."""
    # Condemned marks don't count here: a crash may leave one on data in use, and whoever writes one looks for markers
    # before the data go. The marker does: a delete removes it while the data of other references stay.
    return has_marker(backend, pointer, marker) and _data(backend, pointer) is not None


def release(backend: Backend, pointer: Pointer) -> bool:
    """Delete a generation if nothing uses it any more; the caller's own marker must be gone already.

    Returns whether the data were deleted. Raises `StorageError`: a step was not answered. What was done stays, the mark
    too: it only keeps new references away.
    """
    if backend.holds(pointer.refs_folder):
        return False
    # The mark before the second look for markers: a store that puts its marker after that look finds the mark.
    mark = pointer.condemned_key()
    backend.write(mark, b"", _TEXT)
    used = backend.holds(pointer.refs_folder)
    if not used:
        delete_one(backend, pointer.data_key)
    # Only now: without an answer the deletion may still be under way, and a store must not take the data for alive.
    delete_one(backend, mark)
    return not used


def withdraw(backend: Backend, pointer: Pointer, marker: str) -> None:
    """Take back the marker of an attempt that came too late, and release the generation."""
    delete_one(backend, pointer.marker_key(marker))
    # The release that was in the way may have met this marker and left the data, so nobody else would delete them.
    release(backend, pointer)


def has_marker(backend: Backend, pointer: Pointer, marker: str | None) -> bool:
    """Return whether a generation has this marker."""
    return marker is not None and backend.head(pointer.marker_key(marker)) is not None


def _data(backend: Backend, pointer: Pointer) -> Entry | None:
    found = backend.head(pointer.data_key)
    return found if found is not None and found.size == pointer.size else None
