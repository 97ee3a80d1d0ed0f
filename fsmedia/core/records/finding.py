"""Looking for media by their references: the bytes, the sidecar, the hold, in as few round trips as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from fsmedia.errors import InvalidReferenceError, MediaError, MediaNotFoundError
from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsmedia.storage import Backend, Entry

_LOOK = "list the store, or read the last sweep's report"


class Found(NamedTuple):
    """A media that is there.

    Attributes
    ----------
    entry
        Its bytes: size, time.
    sidecar
        The bytes of its sidecar, not yet parsed; None where it has none.
    hold
        The bytes of its hold; None where it has none, or nobody asked.
    """

    entry: Entry
    sidecar: bytes | None
    hold: bytes | None = None


def not_found(reference: str) -> MediaNotFoundError:
    """Say that there is no such media."""
    return MediaNotFoundError("no such media", next_step=_LOOK, reference=reference)


def find(backend: Backend, reference: str, *, with_hold: bool = False) -> Found:
    """Look at a media and read its sidecar, and its hold where that is asked for, in one round trip.

    Raises
    ------
    MediaNotFoundError
        It is not there, or only half.
    InvalidReferenceError
        The reference names a folder.
    """
    wanted = [keys.sidecar_key(reference)]
    if with_hold:
        wanted.append(keys.hold_key(reference))
    answers = backend.fetch(reads=wanted, heads=[keys.bytes_key(reference)])
    sidecar, entry = answers.reads[0], _named(answers.heads[0], reference)
    if entry is None:
        refuse_folder(backend, reference)
        raise not_found(reference)
    if sidecar is None and keys.is_own_name(reference):
        raise not_found(reference)
    return Found(entry, sidecar, answers.reads[1] if with_hold else None)


def _named(entry: Entry | None, reference: str) -> Entry | None:
    """Give the bytes of a deduplicated media the name that they go by."""
    return entry if entry is None or entry.key == reference else entry._replace(key=reference)


def find_many(backend: Backend, references: Sequence[str]) -> list[Found | MediaError]:
    """Look at several media and read their sidecars, all at once; what is wrong with one stands in its place."""
    try:
        wanted = [keys.bytes_key(key) for key in references]
        answers = backend.fetch(reads=[keys.sidecar_key(key) for key in references], heads=wanted)
    except MediaError:
        return [_find_or_error(backend, key) for key in references]
    found: list[Found | MediaError] = []
    for key, sidecar, head in zip(references, answers.reads, answers.heads, strict=True):
        entry = _named(head, key)
        if entry is None or (sidecar is None and keys.is_own_name(key)):
            found.append(_find_or_error(backend, key))
        else:
            found.append(Found(entry, sidecar))
    return found


def read_sidecars(backend: Backend, references: Sequence[str]) -> list[bytes | MediaError | None]:
    """Read sidecars, all at once; if that fails one by one, and what is wrong with one stands in its place."""
    wanted = [keys.sidecar_key(each) for each in references]
    try:
        return [*backend.fetch(reads=wanted).reads]
    except MediaError:
        return [_read_or_error(backend, key) for key in wanted]


def _read_or_error(backend: Backend, key: str) -> bytes | MediaError | None:
    try:
        return backend.read(key)
    except MediaError as error:
        return error


def _find_or_error(backend: Backend, reference: str) -> Found | MediaError:
    try:
        return find(backend, reference)
    except MediaError as error:
        return error


def refuse_folder(backend: Backend, reference: str) -> None:
    """Raise if media lie below the reference."""
    if backend.holds(reference):
        raise InvalidReferenceError(
            "is a folder, not a media", next_step="list the store for the media in it", reference=reference
        )


def exists(backend: Backend, reference: str) -> bool:
    """Tell whether there is a whole media."""
    answers = backend.fetch(heads=[keys.bytes_key(reference), keys.sidecar_key(reference)])
    return answers.heads[0] is not None and (answers.heads[1] is not None or not keys.is_own_name(reference))


def may_have_moved(reference: str) -> bool:
    """Tell whether a conversion could have given a media of this name another one."""
    return keys.is_own_name(reference) and keys.pointer_of(reference) is None


def moved_to(backend: Backend, reference: str) -> str | None:
    """Return what a plain media is called since its bytes are shared; lists its folder. None if there is no such."""
    return moved_many(backend, [reference]).get(reference)


def moved_many(backend: Backend, references: Sequence[str]) -> dict[str, str]:
    """Return what plain media are called since their bytes are shared; lists each of their folders once."""
    found: dict[str, str] = {}
    wanted = {each for each in references if may_have_moved(each)}
    for folder in {each.rpartition("/")[0] for each in wanted}:
        for entry in sorted(backend.children(folder).entries):
            if not keys.is_sidecar(entry.key):
                continue
            key = keys.media_key(entry.key)
            old = keys.plain_reference(key)
            if old in wanted and old not in found and exists(backend, key):
                found[old] = key
    return found


def brought_as(backend: Backend, reference: str) -> str | None:
    """Return what a deduplicated media is called that a sync brought here under another generation; None: it is not.

    It has the same bytes, and the same name but for the generation; lists its folder.
    """
    pointer = keys.pointer_of(reference)
    if pointer is None:
        return None
    plain = keys.plain_reference(reference)
    for entry in sorted(backend.children(reference.rpartition("/")[0]).entries):
        key = keys.media_key(entry.key) if keys.is_sidecar(entry.key) else ""
        other = keys.pointer_of(key)
        same = other is not None and other[:2] == pointer[:2] and key != reference
        if same and keys.plain_reference(key) == plain and exists(backend, key):
            return key
    return None


def open_bytes(backend: Backend, reference: str) -> BinaryIO:
    """Open a media's bytes; only a deduplicated one is looked for by its sidecar too.

    Raises
    ------
    MediaNotFoundError
        They are not there.
    """
    key = keys.bytes_key(reference)
    try:
        if key == reference or backend.head(keys.sidecar_key(reference)) is not None:
            pointer = keys.pointer_of(reference)
            return backend.open(key, size=None if pointer is None else pointer.size)
        raise FileNotFoundError(reference)
    except MediaError:
        raise
    except FileNotFoundError:
        refuse_folder(backend, reference)
        raise not_found(reference) from None
