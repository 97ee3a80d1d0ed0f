"""Keys of deduplicated media: names that tell where their bytes lie, and what lies there.

A reference ends in `<index>_<index>_<unique>.<size>-<digest>-<generation><ext>`: it names its blob's key and true size
without a request. In the digest's folder lie, in this order in every listing, condemned marks, data, and markers.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from fsmedia.errors import InvalidReferenceError
from fsmedia.format.keys.forms import INTERNAL, new_unique, parse_own_name

BLOBS: Final = f"{INTERNAL}/blobs"
"""The folder of all shared bytes."""

_POINTER = re.compile(r"\.(0|[1-9][0-9]{0,18})-([0-9a-f]{64})-([0-9a-z]{26})((?:\.[^/]*)?)", re.DOTALL)
_KEY = re.compile(
    rf"{re.escape(BLOBS)}/[0-9a-f]{{2}}/([0-9a-f]{{64}})/"
    r"(?:(data)/([0-9a-z]+)|(condemned|refs)/([0-9a-z]+)/([0-9a-z-]+))"
)
_REMEMBERED = 4096

SHORTEST: Final = len("0000_00_u") + 26 + len(".0-") + 64 + len("-") + 26
"""Characters of the shortest deduplicated name."""


class Pointer(NamedTuple):
    """What a deduplicated name tells.

    Attributes
    ----------
    size
        Bytes.
    digest
        SHA-256 of the bytes, 64 lower-case hex digits.
    generation
        Which copy of these bytes: a blob that was deleted and stored again is another one.
    """

    size: int
    digest: str
    generation: str

    @property
    def data_key(self) -> str:
        """The key of the bytes."""
        return f"{blob_folder(self.digest)}/data/{self.generation}"

    @property
    def condemned_folder(self) -> str:
        """Where marks lie that say: about to be deleted, take no reference to it."""
        return f"{blob_folder(self.digest)}/condemned/{self.generation}"

    @property
    def refs_folder(self) -> str:
        """Where markers lie that say: a reference uses it."""
        return f"{blob_folder(self.digest)}/refs/{self.generation}"

    def marker_key(self, marker: str) -> str:
        """Return the key of a marker."""
        return f"{self.refs_folder}/{marker}"

    def condemned_key(self) -> str:
        """Return a fresh key for a condemned mark."""
        return f"{self.condemned_folder}/{new_generation()}"


class BlobKey(NamedTuple):
    """What a key below `BLOBS` is.

    Attributes
    ----------
    kind
        `data`, `condemned` or `refs`.
    name
        Of the mark or marker; empty for data.
    """

    digest: str
    kind: str
    generation: str
    name: str


def blob_folder(digest: str) -> str:
    """Return the folder of all generations of some bytes."""
    return f"{BLOBS}/{digest[:2]}/{digest}"


def parse_blob_key(key: str) -> BlobKey | None:
    """Read a key below `BLOBS`; None for anything else that lies there."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    if found[2]:
        return BlobKey(found[1], "data", found[3], "")
    return BlobKey(found[1], found[4], found[5], found[6])


@lru_cache(maxsize=_REMEMBERED)
def pointer_of(reference: str) -> Pointer | None:
    """Return what a deduplicated name tells; None for every other name, and for sidecars."""
    own = parse_own_name(reference)
    found = None if own is None else _POINTER.fullmatch(own.ext)
    return None if found is None else Pointer(int(found[1]), found[2], found[3])


def shared_name(plain_name: str, pointer: Pointer) -> str:
    """Return the name, without extension, of a media that shares its bytes."""
    return f"{plain_name}.{pointer.size}-{pointer.digest}-{pointer.generation}"


def moved_name(reference: str, pointer: Pointer) -> str:
    """Return the reference that a plain media of our own form gets when it shares its bytes: all but that is kept.

    Raises
    ------
    InvalidReferenceError
        The name is not of our own form, or tells already where its bytes lie.
    """
    own = parse_own_name(reference)
    if own is None or pointer_of(reference) is not None:
        raise InvalidReferenceError("is not the name of a plain media of this package", reference=reference)
    plain = reference[: len(reference) - len(own.ext)]
    return shared_name(plain, pointer) + own.ext


def plain_reference(reference: str) -> str | None:
    """Return the reference that `moved_name` made this one of; None where it is not deduplicated."""
    pointer, own = pointer_of(reference), parse_own_name(reference)
    if pointer is None or own is None:
        return None
    inner = f".{pointer.size}-{pointer.digest}-{pointer.generation}"
    return reference[: len(reference) - len(own.ext)] + own.ext[len(inner) :]


def bytes_key(reference: str) -> str:
    """Return the key of a media's bytes: the reference itself, but for a deduplicated one."""
    pointer = pointer_of(reference)
    return reference if pointer is None else pointer.data_key


def file_name(reference: str) -> str:
    """Return the name under which a person would save a media: without size, digest and generation."""
    name = reference.rpartition("/")[2]
    pointer = pointer_of(reference)
    if pointer is None:
        return name
    inner = f".{pointer.size}-{pointer.digest}-{pointer.generation}"
    return name.replace(inner, "", 1)


def new_generation() -> str:
    """Return a name that was never given before, 26 of `[0-9a-z]`, sorted by time: for generations and marks."""
    return new_unique()[1:]


def new_marker(reference: str) -> str:
    """Return a fresh name for a marker of this reference; two attempts never share one."""
    return f"{marker_prefix(reference)}{new_generation()}"


def marker_prefix(reference: str) -> str:
    """Return what the names of all markers of a reference begin with."""
    return f"{sha256(reference.encode()).hexdigest()[:32]}-"


def check_marker(marker: object, reference: str) -> str:
    """Return a marker's name as a sidecar gives it, if it is one of this reference.

    Raises
    ------
    InvalidReferenceError
        It is another's, or no name at all: nothing may be removed by it.
    """
    if not isinstance(marker, str) or not re.fullmatch(rf"{re.escape(marker_prefix(reference))}[0-9a-z]+", marker):
        raise InvalidReferenceError(
            "its sidecar names no marker of its own", next_step="verify the store", reference=reference
        )
    return marker
