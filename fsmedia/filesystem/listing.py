"""Files and folders as fsspec's calls describe them, and which names are shown at all."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fsmedia.core.telemetry import set_reference
from fsmedia.errors import InvalidReferenceError, MediaNotFoundError
from fsmedia.format import keys
from fsmedia.models import mime
from fsmedia.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsmedia.models import MediaRecord
    from fsmedia.storage.port import Listing

OCTETS = "application/octet-stream"
_LOOK = "list its folder"
# Names that are asked for again and again: checking one takes longer than a read from memory.
_REMEMBERED = 4096
_NOT_TOLD = frozenset({"reference", "size_bytes", "xattrs"})


@lru_cache(maxsize=_REMEMBERED)
def is_hidden(key: str) -> bool:
    """Return whether no file or folder can have this name; the text alone decides."""
    try:
        keys.check_reference(key)
    except InvalidReferenceError:
        return True
    return False


@lru_cache(maxsize=_REMEMBERED)
def is_own_name(key: str) -> bool:
    """Return whether the store generated the name: its bytes alone, without a sidecar, are no media."""
    return keys.is_own_name(key)


def existing_key(key: str) -> str:
    """Return a key that may be that of a stored file, after telling it to whoever watches the operation.

    Raises
    ------
    MediaNotFoundError
        Nothing of that name can exist.
    """
    if not is_hidden(key):
        set_reference(key)
        return key
    if key == "":
        raise MediaNotFoundError("the root is no media", next_step=_LOOK, reference=key)
    try:
        return keys.check_reference(key)
    except InvalidReferenceError as error:
        problem = f"no such media ({error.problem})"
        raise MediaNotFoundError(problem, next_step=_LOOK, reference=key) from None


def not_found(key: str) -> MediaNotFoundError:
    """Return the error for a path at which nothing visible exists."""
    return MediaNotFoundError("no such media or folder", next_step=_LOOK, reference=key)


def folder_info(key: str) -> dict[str, Any]:
    """Return the `info()` of a folder."""
    return {"name": key, "size": 0, "type": "directory"}


def file_info(entry: Entry) -> dict[str, Any]:
    """Return the `info()` of a file from its listing entry; the MIME type is guessed from the name."""
    key, modified = entry.key, entry.modified
    return {
        "name": key,
        "size": entry.size,
        "type": "file",
        "mtime": modified,
        "created": modified,
        "ETag": entry.token,
        "mime_type": mime.guess_from_name(key) or OCTETS,
    }


def record_fields(record: MediaRecord) -> dict[str, Any]:
    """Return the fields that `info()` adds from a sidecar; unknown values are left out."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _NOT_TOLD and value is not None and value != ""
    }


def visible(listing: Listing) -> Iterator[dict[str, Any]]:
    """Yield the `info()` of what a raw listing shows: folders, and files that are complete media."""
    for folder in listing.folders:
        if not keys.is_hidden(folder.rpartition("/")[2]):
            yield folder_info(folder)
    entries: list[Entry] = []
    sidecars: set[str] = set()
    # Sidecars first: a storage lists a file before its sidecar, and a deduplicated file has no entry of its own.
    for entry in listing.entries:
        if entry.key.endswith(keys.SIDECAR_SUFFIX):
            sidecars.add(entry.key)
            name = entry.key[: -len(keys.SIDECAR_SUFFIX)]
            pointer = keys.pointer_of(name) if len(name) >= keys.SHORTEST else None
            if pointer is not None:
                yield file_info(Entry(name, pointer.size, entry.modified, pointer.generation))
        else:
            entries.append(entry)
    for entry in entries:
        key = entry.key
        if keys.is_own_name(key):
            # An object at a deduplicated name is not that file's bytes; the file was listed through its sidecar above.
            if keys.sidecar_key(key) in sidecars and keys.pointer_of(key) is None:
                yield file_info(entry)
        elif not keys.is_hidden(key):
            yield file_info(entry)
