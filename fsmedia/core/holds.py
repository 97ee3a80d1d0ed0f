"""Holds: objects of their own that say "nothing may delete or replace this media".

A hold is no part of the sidecar, which the last writer wins. Whatever deletes, replaces or moves a media asks here
first; a hold placed while it runs may come too late.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic_core import from_json, to_json

from fsmedia.errors import HeldMediaError, MediaError
from fsmedia.format import keys
from fsmedia.models import Hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fsmedia.storage import Backend

_FEW = 4
"""Up to so many media, their holds are read; for more, all holds are listed."""
_NAMED = re.compile(rb'"reference"\s*:\s*"((?:[^"\\]|\\.)*)')


def place(backend: Backend, hold: Hold) -> None:
    """Write a hold; the last one for a media wins."""
    backend.write(keys.hold_key(hold.reference), to_json(hold.model_dump(), indent=2), "application/json")


def parse(data: bytes, reference: str) -> Hold:
    """Read a hold; one that is damaged still holds."""
    try:
        return Hold.model_validate({**from_json(data), "reference": reference})
    except (ValueError, TypeError, MediaError):
        return Hold(reference=reference, reason="its hold can't be read")  # type: ignore[arg-type]


def reference_of(data: bytes, key: str) -> str | None:
    """Return the media that a hold speaks of; None for one that can't be read, or that lies under another's key."""
    try:
        reference = Hold.model_validate(from_json(data)).reference
    except (ValueError, TypeError, MediaError):
        return None
    return str(reference) if keys.hold_key(reference) == key else None


def named(data: bytes) -> str | None:
    """Return the media that a hold's text names, also where it is damaged; cut off where the text is."""
    found = _NAMED.search(data)
    try:
        return None if found is None else str(from_json(f'"{found[1].decode(errors="ignore")}"'))
    except ValueError:
        return None


def refusal(reference: str, data: bytes | None = None) -> HeldMediaError:
    """Say that a media is held, and why where the hold was read."""
    hold = None if data is None else parse(data, reference)
    by = f" by {hold.who}" if hold is not None and hold.who else ""
    why = "" if hold is None else f"{by}: {hold.reason[:200]!r}"
    return HeldMediaError(f"is held{why}", next_step="release it first", reference=reference)


def held(backend: Backend) -> frozenset[str]:
    """Return the keys of all holds, by one listing; compare with `keys.hold_key(reference)`."""
    return frozenset(entry.key for entry in backend.entries(keys.HOLDS))


def refusals(backend: Backend, references: Sequence[str]) -> dict[str, HeldMediaError]:
    """Return which of the media are held."""
    if len(references) <= _FEW:
        found = backend.fetch(reads=[keys.hold_key(each) for each in references]).reads
        return {each: refusal(each, data) for each, data in zip(references, found, strict=True) if data is not None}
    return among(held(backend), references)


def among(held_keys: frozenset[str], references: Iterable[str]) -> dict[str, HeldMediaError]:
    """Return which of the media a listing of holds names."""
    return {each: refusal(each) for each in references if held_keys and keys.hold_key(each) in held_keys}


def refuse(backend: Backend, *references: str) -> None:
    """Raise if one of the media is held.

    Raises
    ------
    HeldMediaError
        It is.
    """
    for error in refusals(backend, references).values():
        raise error
