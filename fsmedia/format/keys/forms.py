"""Every key a store uses is built and parsed here, and nowhere else.

A key is a path below the root, segments separated by `/`. What is said of a key here depends on its text alone:
nothing is looked up. Names of our own form (`0003_01_<unique>.png`) sort by time and are never PromptKit's.
"""

from __future__ import annotations

import re
from secrets import token_hex
from typing import Final, NamedTuple

import uuid_utils

from fsmedia.errors import InvalidLayoutError, InvalidMediaError, InvalidReferenceError

__all__ = [
    "CONFIGURATION_KEY",
    "DEDUP_INDEX_KEY",
    "INTERNAL",
    "KEY_RESERVE",
    "MAX_KEY",
    "MAX_NAME",
    "SIDECAR_SUFFIX",
    "VIEWS",
    "OwnName",
    "check_lengths",
    "is_hidden",
    "is_own_name",
    "is_sidecar",
    "is_temporary",
    "media_key",
    "new_unique",
    "parse_own_name",
    "plain_name",
    "sidecar_key",
    "temporary_name",
]

INTERNAL: Final = ".fsmedia"
"""The folder at the root that holds what is not media."""
CONFIGURATION_KEY: Final = f"{INTERNAL}/store.json"
"""What a store is; see `fsmedia.format.configuration`."""
SIDECAR_SUFFIX: Final = ".meta"
"""What a sidecar's key has more than its media's."""
DEDUP_INDEX_KEY: Final = ".dedup_index.json"
"""PromptKit's index of shared bytes, at the root of its stores."""
VIEWS: Final = ("by-session", "by-conversation", "by-run")
"""Names at the top of `media://` that show the store in another order; never stored."""
MAX_NAME: Final = 250
"""Bytes of one segment: disks take 255, and a sidecar's name is 5 longer than its media's."""
MAX_KEY: Final = 1024
"""Bytes of a whole key: the limit of S3 and GCS."""
KEY_RESERVE: Final = 30
"""Bytes kept free in a key for what stands before or after the reference: due entries, `.meta`."""

_UNIQUE = "u[0-9a-z]{26}"
# Crockford's base 32 in lower case: the order of its characters is the order of their values. Two at a time.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
_RANDOM_BITS = 80  # of the 128 of a uuid7; the 48 above them are milliseconds
_MAX_MILLISECONDS = 1 << 48
_INDEX_LIMIT = 10**18

_TEMPORARY_PREFIX = ".tmp-"
_TEMPORARY = re.compile(rf"\.tmp-{_UNIQUE}")
_OWN_NAME = re.compile(
    rf"([0-9]{{4}}|[1-9][0-9]{{4,17}})_([0-9]{{2}}|[1-9][0-9]{{2,17}})_({_UNIQUE})((?:\.[^/]*)?)", re.DOTALL
)


class OwnName(NamedTuple):
    """The parts of a file name that a store of ours gave.

    Attributes
    ----------
    message_idx, part_idx
        The indices of the metadata.
    unique
        `u` and 26 characters of `[0-9a-z]`; its order is the order in time.
    ext
        What follows: empty, or from a dot to the end (so with whatever a deduplicated name holds there).
    """

    message_idx: int
    part_idx: int
    unique: str
    ext: str


def sidecar_key(reference: str) -> str:
    """Return the key of a media's sidecar."""
    return reference + SIDECAR_SUFFIX


def media_key(sidecar: str) -> str:
    """Return the reference whose sidecar this key is.

    Raises
    ------
    InvalidReferenceError
        The key is no sidecar's; look with `is_sidecar` first.
    """
    if not is_sidecar(sidecar):
        raise InvalidReferenceError("not a sidecar", next_step="a sidecar's key ends with .meta", reference=sidecar)
    return sidecar[: -len(SIDECAR_SUFFIX)]


def is_sidecar(key: str) -> bool:
    """Return whether a key is that of a sidecar: a file name, and `.meta` after it."""
    return key.endswith(SIDECAR_SUFFIX) and key != SIDECAR_SUFFIX and not key.endswith("/" + SIDECAR_SUFFIX)


def new_unique(milliseconds: int | None = None) -> str:
    """Return a name that was never given before.

    Parameters
    ----------
    milliseconds
        Since 1970 in UTC; None is now.

    Returns
    -------
    str
        `u` and a version 7 UUID in 26 characters of `[0-9a-z]`: sorted as strings, names are sorted by time.
    """
    value = uuid_utils.uuid7().int
    if milliseconds is not None:
        if not 0 <= milliseconds < _MAX_MILLISECONDS:
            problem = f"{milliseconds} ms since 1970 is no time that a name can hold"
            raise InvalidMediaError(problem, next_step="give a time from 1970 to 10889")
        value = milliseconds << _RANDOM_BITS | value & (1 << _RANDOM_BITS) - 1
    pair = _PAIRS
    return (
        f"u{pair[value >> 120]}{pair[value >> 110 & 1023]}{pair[value >> 100 & 1023]}{pair[value >> 90 & 1023]}"
        f"{pair[value >> 80 & 1023]}{pair[value >> 70 & 1023]}{pair[value >> 60 & 1023]}{pair[value >> 50 & 1023]}"
        f"{pair[value >> 40 & 1023]}{pair[value >> 30 & 1023]}{pair[value >> 20 & 1023]}{pair[value >> 10 & 1023]}"
        f"{pair[value & 1023]}"
    )


def plain_name(message_idx: int, part_idx: int, unique: str) -> str:
    """Return the name, without extension, of a media whose bytes lie at its own key.

    Raises
    ------
    InvalidMediaError
        An index is negative or has more than 18 digits: the name would not be of our form.
    """
    if not (0 <= message_idx < _INDEX_LIMIT and 0 <= part_idx < _INDEX_LIMIT):
        problem = f"message_idx {message_idx} and part_idx {part_idx} can't stand in a name"
        raise InvalidMediaError(problem, next_step="count messages and parts from 0")
    return f"{message_idx:04d}_{part_idx:02d}_{unique}"


def parse_own_name(name: str) -> OwnName | None:
    """Return the parts of a file name of our own form.

    Parameters
    ----------
    name
        A file name, or a key ending with one.

    Returns
    -------
    OwnName or None
        None for any other name, and for sidecars.
    """
    found = _OWN_NAME.fullmatch(name, name.rfind("/") + 1)
    if found is None or name.endswith(SIDECAR_SUFFIX):
        return None
    return OwnName(int(found[1]), int(found[2]), found[3], found[4])


def is_own_name(name: str) -> bool:
    """Return whether a file name, or that of a key, is of our own form (see `parse_own_name`)."""
    return _OWN_NAME.fullmatch(name, name.rfind("/") + 1) is not None and not name.endswith(SIDECAR_SUFFIX)


def temporary_name() -> str:
    """Return a fresh file name for bytes that are on their way; 32 characters, whatever they will be called."""
    return f"{_TEMPORARY_PREFIX}u{token_hex(13)}"


def is_temporary(name: str) -> bool:
    """Return whether a file name, or that of a key, is one that `temporary_name` gives."""
    return _TEMPORARY_PREFIX in name and _TEMPORARY.fullmatch(name, name.rfind("/") + 1) is not None


def is_hidden(key: str) -> bool:
    """Return whether no listing may show this key.

    Parameters
    ----------
    key
        Of a file; a folder's ends with a slash, since PromptKit may have named a folder `x.meta/`.

    Returns
    -------
    bool
        True for `.fsmedia` in any case and all below it, sidecars, temporary names and PromptKit's index.
    """
    if key.endswith(SIDECAR_SUFFIX) or key == DEDUP_INDEX_KEY or is_temporary(key):
        return True
    return is_internal(key)


def is_internal(key: str) -> bool:
    """Return whether a key is `.fsmedia`, in any case, or below it."""
    return key.startswith(".") and key.partition("/")[0].casefold() == INTERNAL


def check_lengths(reference: str, root_path_bytes: int) -> None:
    """Refuse a reference that some storage could not hold.

    Parameters
    ----------
    reference
        The path below the root.
    root_path_bytes
        Length of the root's own path (S3: of the prefix below the bucket; 0 where there is none).

    Raises
    ------
    InvalidLayoutError
        A segment is over `MAX_NAME` bytes, or root, `/`, `KEY_RESERVE` and reference are over `MAX_KEY`.
    """
    key = reference if reference.isascii() else reference.encode(errors="surrogatepass").decode("latin-1")
    longest = max(map(len, key.split("/")))
    if longest > MAX_NAME:
        problem = f"a name has at most {MAX_NAME} bytes, one here has {longest}"
        raise InvalidLayoutError(problem, next_step="use shorter names or ids", reference=reference)
    total = root_path_bytes + bool(root_path_bytes) + KEY_RESERVE + len(key)
    if total > MAX_KEY:
        problem = f"root, reserve and reference are {total} bytes, over the {MAX_KEY} that a key may have"
        step = "use shorter ids, a layout with fewer of them, or a shorter root"
        raise InvalidLayoutError(problem, next_step=step, reference=reference)
