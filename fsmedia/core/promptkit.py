"""Stores that PromptKit wrote: its deduplication index, and sound whose type is older than its bytes.

PromptKit maps digests to paths in one file at the root and trusts it blindly, so a media item that is deleted must be
removed from there first: else its next store of the same bytes would return a reference to nothing.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from pydantic_core import from_json, to_json

from fsmedia.errors import StorageError
from fsmedia.format import keys, wav
from fsmedia.models import mime
from fsmedia.storage.port import update_object

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from fsmedia.storage import Backend


class _IndexLock:
    """Lock around each change of an index: of two threads at once, each would write back what the other removes."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        """Replace the lock; a forked child may inherit a locked one without the thread that would unlock it."""
        self.lock = threading.Lock()


_index = _IndexLock()


def read_index(data: bytes | None) -> dict[str, object]:
    """Return PromptKit's index, digest -> path; empty where there is none.

    Raises
    ------
    StorageError
        It can't be read.
    """
    try:
        index = {} if data is None else from_json(data)
    except ValueError:
        index = None
    if not isinstance(index, dict):
        raise StorageError(
            "PromptKit's index is damaged, so it can't be told what else names this media",
            next_step="mend it or move it away, then delete again",
            key=keys.DEDUP_INDEX_KEY,
        )
    return index


def named(backend: Backend, references: Collection[str]) -> set[str]:
    """Return those of the media items that PromptKit's index names: runs without a trace may share their bytes."""
    wanted = {each for each in references if not keys.is_own_name(each)}
    if not wanted:
        return set()
    index = read_index(backend.read(keys.DEDUP_INDEX_KEY))
    return {name for path in index.values() for name in endings(path) if name in wanted}


def forget(backend: Backend, references: Collection[str], data: bytes | None = None) -> None:
    """Remove media items from PromptKit's index, if the root has one that names them.

    Raises
    ------
    StorageError
        The index can't be read or written; nothing has been deleted then.
    """
    # Its paths are absolute, or relative to a working directory long gone, so what counts is how they end. A path that
    # ends alike elsewhere goes too: that costs PromptKit one more copy of those bytes, an entry too many their loss.
    wanted = set(references)
    if data is not None and len(_without(read_index(data), wanted)) == len(read_index(data)):
        return

    def without(text: bytes | None) -> bytes | None:
        index = read_index(text)
        kept = _without(index, wanted)
        return None if len(kept) == len(index) else to_json(kept, indent=2)

    _update(backend, without)


def carry(backend: Backend, index: Mapping[str, object], references: Mapping[str, str]) -> None:
    """Add media items that were copied from another root to this root's index, as the other one's index names them.

    Parameters
    ----------
    index
        The other root's.
    references
        References there -> references here; the bytes are here already.

    Raises
    ------
    StorageError
        This root's index can't be read or written.
    """
    # Paths of this root: PromptKit trusts them, and those of the other root lead back there.
    found = {
        digest: backend.local_path(new) or new
        for digest, path in index.items()
        if (new := next((references[each] for each in endings(path) if each in references), None)) is not None
    }
    if not found:
        return

    def with_found(text: bytes | None) -> bytes | None:
        there = read_index(text)
        # An entry that is there stays: PromptKit may have handed it out.
        return None if found.keys() <= there.keys() else to_json({**found, **there}, indent=2)

    _update(backend, with_found)


def _update(backend: Backend, change: Callable[[bytes | None], bytes | None]) -> None:
    # The lock is for storages that have nothing of their own to keep two threads apart.
    with _index.lock:
        update_object(backend, keys.DEDUP_INDEX_KEY, change, "application/json")


def forget_replaced(backend: Backend, references: Collection[str]) -> None:
    """Remove media items whose bytes are about to be replaced from PromptKit's index; see `forget`."""
    foreign = [each for each in references if not keys.is_own_name(each)]
    if foreign:
        forget(backend, foreign)


def _without(index: dict[str, object], references: set[str]) -> dict[str, object]:
    return {digest: path for digest, path in index.items() if references.isdisjoint(endings(path))}


def endings(path: object) -> list[str]:
    """Return every suffix of a path, cut at slashes."""
    if not isinstance(path, str):
        return []
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def mime_type_of(mime_type: str, reference: str) -> str:
    """Return the type of the bytes: PromptKit wraps raw sound into a .wav file and goes on calling it raw."""
    if reference.endswith(".wav") and wav.is_raw(mime_type):
        return wav.WAV
    return mime_type or mime.guess_from_name(reference) or "application/octet-stream"
