"""Stores that PromptKit wrote: its deduplication index, and sound whose type is older than its bytes.

PromptKit maps digests to paths in one file at the root and trusts it blindly, so before something goes that it names
the file is set aside: else PromptKit's next store of the same bytes would return a reference to nothing. Sweeps go on
reading what was set aside, for several runs may share what it names.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial

from pydantic_core import from_json, to_json

from fsmedia.errors import StorageError, StoreConflictError
from fsmedia.format import keys, wav
from fsmedia.models import mime
from fsmedia.storage import Backend, PreconditionFailed
from fsmedia.storage.port import UPDATE_ROUNDS, update_object

_TYPE = "application/json"


class _IndexLock:
    """Lock around each change of an index: of two threads at once, each would write back what the other removes."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        """Replace the lock; a forked child may inherit a locked one without the thread that would unlock it."""
        self.lock = threading.Lock()


_index = _IndexLock()


def read_index(data: bytes | None, key: str = keys.DEDUP_INDEX_KEY) -> dict[str, object]:
    """Return PromptKit's index, digest -> path; empty where there is none."""
    try:
        index = {} if data is None else from_json(data)
    except ValueError:
        index = None
    if not isinstance(index, dict):
        raise StorageError(
            "PromptKit's index is damaged, so it can't be told what else names this media",
            next_step="mend it or move it away, then delete again",
            key=key,
        )
    return index


def index_keys(*, adopted: bool) -> list[str]:
    """Return where to look before something goes: in roots that another program began an index may lie aside.

    Elsewhere an entry may stay there that names what is gone; sweeps keep more then, and nothing is lost.
    """
    return [keys.DEDUP_INDEX_KEY, keys.INDEX_ASIDE_KEY] if adopted else [keys.DEDUP_INDEX_KEY]


def whole_index(backend: Backend) -> dict[str, object]:
    """Return what PromptKit's index says, where it lies and where it was set aside."""
    places = index_keys(adopted=True)  # PromptKit may have come later than this package
    found = [read_index(data, key) for key, data in zip(places, backend.fetch(reads=places).reads, strict=True)]
    return {digest: path for index in reversed(found) for digest, path in index.items()}


def named(backend: Backend, references: Collection[str]) -> set[str]:
    """Return those of the media items that PromptKit's index names: runs without a trace may share their bytes."""
    wanted = {each for each in references if not keys.is_own_name(each)}
    if not wanted:
        return set()
    index = whole_index(backend)
    return {name for path in index.values() for name in endings(path) if name in wanted}


def forget(
    backend: Backend, references: Collection[str], found: Sequence[bytes | None] | None = None, *, adopted: bool = True
) -> None:
    """Set PromptKit's index aside if it names media items that are about to go, and take them out of what lies aside.

    `found`: what lies at `index_keys`, where that was read already. `adopted`: whether another program began the root.
    After an error nothing has been deleted.
    """
    # Its paths are absolute, or relative to a working directory long gone, so what counts is how they end. A path that
    # ends alike elsewhere goes too: that costs PromptKit one more copy of those bytes, an entry too many their loss.
    wanted = set(references)
    if not wanted:
        return
    places = index_keys(adopted=adopted)
    if found is None:
        found = backend.fetch(reads=places).reads
    touched = [
        any(_is_of(path, wanted) for path in read_index(data, key).values())
        for key, data in zip(places, found, strict=True)
    ]
    if not any(touched):
        return
    # The lock is for storages that have nothing of their own to keep two threads apart.
    with _index.lock:
        if touched[0]:
            _set_aside(backend, wanted)
        else:
            update_object(backend, keys.INDEX_ASIDE_KEY, partial(_joined, {}, wanted), _TYPE)


def _set_aside(backend: Backend, wanted: set[str]) -> None:
    """Move the index to where PromptKit does not look: whatever two processes do at once, nobody writes it back.

    Taking entries out of it in its place would not do where nothing keeps two writers apart: each would write back what
    the other has taken out, and PromptKit believes what it reads.
    """

    def joined(text: bytes | None) -> bytes | None:
        # Read here, so under the lock where there is one: an index that is gone brings back nothing others took out.
        return _joined(read_index(backend.read(keys.DEDUP_INDEX_KEY)), wanted, text)

    for _ in range(UPDATE_ROUNDS):
        there = backend.fetch(reads=[keys.DEDUP_INDEX_KEY])
        if there.reads[0] is None:
            break
        # First the copy, so that a crash leaves both and no entry is lost: sweeps keep what it names.
        update_object(backend, keys.INDEX_ASIDE_KEY, joined, _TYPE)
        with suppress(PreconditionFailed):  # a sync has added to it since it was read
            backend.remove(keys.DEDUP_INDEX_KEY, if_token=there.tokens[0])
            break
    else:
        raise StoreConflictError(
            "others keep writing PromptKit's index", next_step="stop PromptKit", key=keys.DEDUP_INDEX_KEY
        )
    # Somebody else who set it aside at the same time may have brought along what is to go.
    update_object(backend, keys.INDEX_ASIDE_KEY, partial(_joined, {}, wanted), _TYPE)


def _joined(index: Mapping[str, object], wanted: set[str], text: bytes | None) -> bytes | None:
    """Return what lies aside together with an index and without some media items; None if that is what lies there."""
    aside = read_index(text, keys.INDEX_ASIDE_KEY)
    joined = {**{digest: path for digest, path in aside.items() if digest not in index}, **index}
    kept = {digest: path for digest, path in joined.items() if not _is_of(path, wanted)}
    return None if kept == aside and (text is not None or not index) else to_json(kept, indent=2)


def carry(backend: Backend, index: Mapping[str, object], references: Mapping[str, str]) -> None:
    """Add media items that were copied from another root to this root's index, as the other one's index names them.

    `index`: the other root's. `references`: references there -> references here; the bytes are here already.
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

    with _index.lock:
        update_object(backend, keys.DEDUP_INDEX_KEY, with_found, _TYPE)


def _is_of(path: object, references: set[str]) -> bool:
    return not references.isdisjoint(endings(path))


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
