"""Finding what is a subject's: one listing of the whole store, and a look into every sidecar. Reads only.

Nothing is left out because of where it lies: a folder alone proves nothing. What has a sidecar and no bytes counts
too, for the sidecar says who and what.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.core import records
from fsmedia.errors import MediaError, StorageError
from fsmedia.format import keys
from fsmedia.maintenance.erasure.subject import marker_of, told
from fsmedia.models import Remaining
from fsmedia.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fsmedia.maintenance.erasure.subject import Subject
    from fsmedia.storage import Backend

WINDOW = 500
"""Media whose sidecars are read together."""

_UNREADABLE = "its sidecar can't be read, and nothing tells whose it is; look at it, or verify the store"
_ELSEWHERE = "it lies where the subject's media lie, but its sidecar names another"
_NAMELESS = "it lies where the subject's media lie, but no reference can name it: remove it with the storage's tools"


class Item(NamedTuple):
    """What a listing shows of one name.

    Attributes
    ----------
    entry
        Its bytes; None where only a sidecar lies there.
    """

    key: str
    entry: Entry | None
    has_sidecar: bool


class Target(NamedTuple):
    """One media of the subject, as it will stand in the receipt."""

    reference: str
    size: int
    sha256: str | None
    marker: str | None
    note: str = ""
    expires: bool = False


@dataclass(frozen=True, slots=True)
class Ground:
    """What a window needs to know.

    Attributes
    ----------
    process
        The process that it began in, where only that one sees the storage.
    """

    backend: Backend
    subject: Subject
    process: int | None = None


@dataclass(slots=True)
class Found:
    """What a window, or all of them, showed.

    Attributes
    ----------
    others
        The first 64 bits of the digests of everybody else's media: eight bytes each, whatever the store's size.
    """

    examined: int = 0
    targets: list[Target] = field(default_factory=list)
    unclear: list[Remaining] = field(default_factory=list)
    failed: list[Remaining] = field(default_factory=list)
    others: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, other: Found) -> None:
        """Take in another window's."""
        self.examined += other.examined
        self.targets += other.targets
        self.unclear += other.unclear
        self.failed += other.failed
        self.others.extend(other.others)


def items(entries: Iterator[Entry]) -> Iterator[Item]:
    """Pair bytes with sidecars in a listing in key order; also sidecars alone, and bytes alone.

    `x` and `x.meta` need not be neighbours (`x-y` sorts between them), but nothing that sorts after `x.meta` lies
    between them.
    """
    waiting: dict[str, Item] = {}
    for entry in entries:
        if keys.is_sidecar(entry.key) and not keys.is_internal(entry.key):
            name = keys.media_key(entry.key)
            beside = waiting.get(name)
            waiting[name] = Item(name, _bytes_of(name, entry, beside), has_sidecar=True)
        elif not keys.is_hidden(entry.key):
            waiting[entry.key] = Item(entry.key, entry, has_sidecar=False)
        while waiting:
            first = next(iter(waiting.values()))
            if not first.has_sidecar and keys.sidecar_key(first.key) >= entry.key:
                break  # its sidecar may still come
            del waiting[first.key]
            yield first
    yield from waiting.values()


def _bytes_of(name: str, sidecar: Entry, beside: Item | None) -> Entry | None:
    """Return the bytes of a media with a sidecar: where they are shared the name tells their size."""
    pointer = keys.pointer_of(name)
    if pointer is not None:
        return Entry(name, pointer.size, sidecar.modified)
    return None if beside is None else beside.entry


def judged(listed: Iterator[Item]) -> Iterator[Item]:
    """Give what has an owner: not the bytes of a store under way, which are a leftover at most."""
    return (item for item in listed if item.has_sidecar or not keys.is_own_name(item.key))


def find_window(ground: Ground, window: Sequence[Item]) -> Found:
    """Read the sidecars of some media and tell whose they are."""
    check_process(ground.backend, ground.process)
    found = Found(examined=len(window))
    named: list[Item] = []
    for item in window:
        if records.is_reference(item.key):
            named.append(item)
        elif ground.subject.lies_in(item.key):
            found.unclear.append(Remaining(reference=item.key, reason=_NAMELESS))  # type: ignore[arg-type]
    asked = [item.key for item in named if item.has_sidecar]
    read = dict(zip(asked, records.read_sidecars(ground.backend, asked), strict=True))
    for item in named:
        data = read.get(item.key)
        if isinstance(data, MediaError):
            found.failed.append(Remaining(reference=item.key, reason=str(data)))  # type: ignore[arg-type]
        elif data is not None or not item.has_sidecar:
            _judge(ground.subject, item, data, found)
    return found


def _judge(subject: Subject, item: Item, data: bytes | None, found: Found) -> None:
    values, readable = ({}, True) if data is None else told(data, item.key)
    owner = subject.owner(item.key, None) if data is None else subject.judged(item.key, values, readable=readable)
    digest = _digest(item.key, values)
    if owner == "subject":
        note = "" if readable else "its sidecar could not be read"
        if data is None:
            note = "it had no sidecar"
        size = 0 if item.entry is None else item.entry.size
        expires = values.get("expires_at") is not None
        found.targets.append(Target(item.key, size, digest, marker_of(values, item.key), note, expires))
        return
    if digest is not None:
        found.others.append(beginning(digest))
    if owner in ("unclear", "elsewhere"):
        reason = _UNREADABLE if owner == "unclear" else _ELSEWHERE
        found.unclear.append(Remaining(reference=item.key, reason=reason))  # type: ignore[arg-type]


def _digest(reference: str, values: dict[str, object]) -> str | None:
    """Return the digest that a deduplicated name tells, or a sidecar says, if it is one."""
    pointer = keys.pointer_of(reference)
    if pointer is not None:
        return pointer.digest
    said = values.get("sha256")
    if not isinstance(said, str) or len(said) != 64 or not set(said) <= set("0123456789abcdef"):  # noqa: PLR2004
        return None
    return said


def beginning(digest: str) -> int:
    """Return the first 64 bits of a digest: enough to count by."""
    return int(digest[:16], 16)


def lost(window: list[Item], error: Exception) -> Found:
    """Say of a window that its worker did not answer."""
    reason = str(error) if isinstance(error, MediaError) else f"its worker failed ({type(error).__name__})"
    return Found(failed=[Remaining(reference=item.key, reason=reason) for item in window])  # type: ignore[arg-type]


def check_process(backend: Backend, process: int | None) -> None:
    """Refuse to look at a storage that only another process sees.

    Raises
    ------
    StorageError
        It is.
    """
    if process is not None and process != os.getpid():
        raise StorageError(
            f"{backend.url} is seen by one process only", next_step="give an executor of threads, or none"
        )
