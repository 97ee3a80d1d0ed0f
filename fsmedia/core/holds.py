"""Holds: objects that keep a media item from being deleted or replaced.

Each hold is an object of its own. Whatever deletes, replaces or moves a media item looks here first; a hold that is
placed while such an operation runs may come too late.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

from pydantic_core import from_json, to_json

from fsmedia.core.parallel import windows
from fsmedia.errors import HeldMediaError, MediaError
from fsmedia.format import keys
from fsmedia.models import Hold, Reference
from fsmedia.storage import Backend

# Up to so many holds are read, each by a request, which also tells their reasons; for more, all are listed.
_FEW = 4
# Holds that are read together.
_AT_ONCE = 256
_log = logging.getLogger("fsmedia")
# The reference in a hold that is no JSON any more: an erasure must still find whose it is.
_NAMED = re.compile(rb'"reference"\s*:\s*"((?:[^"\\]|\\.)*)')


def place(backend: Backend, hold: Hold) -> None:
    """Write a hold; the last one for a media item wins."""
    # Never into the sidecar: there a rewrite that read it before would write it back without the hold.
    backend.write(keys.hold_key(hold.reference), to_json(hold.model_dump(), indent=2), "application/json")


def parse(data: bytes, reference: str) -> Hold:
    """Read a hold; a damaged one is returned without its reason."""
    try:
        return Hold.model_validate({**from_json(data), "reference": reference})
    except (ValueError, TypeError, MediaError):
        # That it is there is what counts: damage must not let anybody delete what somebody wanted to keep.
        return Hold(reference=Reference(reference), reason="its hold can't be read")


def reference_of(data: bytes, key: str) -> str | None:
    """Return the reference in a hold; None for one that can't be read, or that lies under another's key."""
    try:
        reference = Hold.model_validate(from_json(data)).reference
    except (ValueError, TypeError, MediaError):
        return None
    return str(reference) if keys.hold_key(reference) == key else None


def named(data: bytes) -> str | None:
    """Return the reference in the text of a hold, also of a damaged one; cut off where the text is."""
    found = _NAMED.search(data)
    try:
        return None if found is None else str(from_json(f'"{found[1].decode(errors="ignore")}"'))
    except ValueError:
        return None


def refusal(reference: str, data: bytes | None = None) -> HeldMediaError:
    """Return the error for a held media item, with the reason where the hold was read."""
    hold = None if data is None else parse(data, reference)
    by = f" by {hold.who}" if hold is not None and hold.who else ""
    why = "" if hold is None else f"{by}: {hold.reason[:200]!r}"
    return HeldMediaError(f"is held{why}", next_step="release it first", reference=reference)


def held(backend: Backend) -> frozenset[str]:
    """Return the keys of all holds, by one listing; compare with `keys.hold_key(reference)`."""
    return frozenset(entry.key for entry in backend.entries(keys.HOLDS))


def held_references(backend: Backend) -> list[str]:
    """Return the references of all media items that are held, in the order of their keys.

    One listing, and a read of each hold. One that is damaged beyond its reference is logged: nobody can tell what it
    holds, and it holds it all the same.
    """
    found: list[str] = []
    for batch in windows(sorted(held(backend)), _AT_ONCE):
        for key, data in zip(batch, backend.fetch(reads=batch).reads, strict=True):
            if data is None:
                continue  # released since
            reference = reference_of(data, key) or named(data)
            if reference is None or keys.hold_key(reference) != key:
                _log.warning("%s can't be read: what it holds is not listed; see fsmedia verify", key)
            else:
                found.append(reference)
    return sorted(found)


def refusals(backend: Backend, references: Sequence[str]) -> dict[str, HeldMediaError]:
    """Return the errors for those of the media items that are held."""
    if len(references) <= _FEW:
        found = backend.fetch(reads=[keys.hold_key(each) for each in references]).reads
        return {each: refusal(each, data) for each, data in zip(references, found, strict=True) if data is not None}
    return among(held(backend), references)


def among(held_keys: frozenset[str], references: Iterable[str]) -> dict[str, HeldMediaError]:
    """Return the errors for those of the media items that a listing of holds names."""
    # Most stores hold nothing: no digest of any reference is made then.
    return {each: refusal(each) for each in references if held_keys and keys.hold_key(each) in held_keys}


def refuse(backend: Backend, *references: str) -> None:
    """Raise if one of the media items is held."""
    for error in refusals(backend, references).values():
        raise error
