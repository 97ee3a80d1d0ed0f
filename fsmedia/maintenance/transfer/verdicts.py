"""What is to be done with each media: decided from both sidecars, before anything is written. Dry runs end here.

The source wins, but for three things: a hold at the target, bytes under a name that this package gave (they never
change, so two that differ are a mistake of somebody), and names that were made of metadata, where two media of the
source may meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from fsmedia.core import records
from fsmedia.errors import MediaError, StoreConflictError
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsmedia.maintenance.transfer.passages import Passage
    from fsmedia.storage import Backend

Kind = Literal["copy", "update", "unchanged", "skip", "fail"]

_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with a media.

    Attributes
    ----------
    reason
        Why it is left out.
    marker
        Of a deduplicated media that stays: the one that its sidecar at the target names.
    """

    kind: Kind
    reason: str = ""
    error: MediaError | None = None
    marker: str | None = None


UNCHANGED, COPY = Verdict("unchanged"), Verdict("copy")


def verdicts(backend: Backend, passages: Sequence[Passage], held: frozenset[str]) -> list[Verdict]:
    """Compare media with what the target has; reads its sidecars, all at once.

    Parameters
    ----------
    held
        Keys of the holds at the target.
    """
    wanted = [each.known.reference for each in passages if each.known is not None and each.known.has_sidecar]
    texts = dict(zip(wanted, records.read_sidecars(backend, wanted), strict=True)) if wanted else {}
    found = []
    for each in passages:
        text = texts.get(each.known.reference) if each.known is not None else None
        try:
            if isinstance(text, MediaError):
                raise text
            verdict = _verdict(backend, each, text)
        except MediaError as error:
            verdict = Verdict("fail", error=error)
        found.append(_with_holds(each, verdict, held))
    return found


def _with_holds(passage: Passage, verdict: Verdict, held: frozenset[str]) -> Verdict:
    known = passage.known
    if known is None:
        return verdict
    is_held = keys.hold_key(known.reference) in held
    if verdict.kind == "copy" and is_held:
        return Verdict("skip", "is held at the target, where it differs")
    if verdict.kind == "unchanged" and passage.held and not is_held:
        return Verdict("update", marker=verdict.marker)
    return verdict


def _verdict(backend: Backend, passage: Passage, text: bytes | None) -> Verdict:
    known = passage.known
    if known is None:
        return COPY
    if not known.has_sidecar:
        return _beside_bare_bytes(backend, passage)
    if text is None:
        return COPY  # deleted since it was listed
    if passage.sidecar is None:
        if known.size == passage.entry.size:
            return UNCHANGED
        return Verdict("skip", "has other bytes, and metadata, at the target, and none here")
    return _beside_sidecar(passage, Sidecar.parse(text, known.reference))


def _beside_sidecar(passage: Passage, there: Sidecar) -> Verdict:
    known, sidecar = passage.known, passage.sidecar
    assert known is not None and sidecar is not None  # noqa: PT018, S101 - said by the caller, for mypy
    marker = there.marker(known.reference)
    values = {name: value for name, value in there.values.items() if name != "marker"}
    whole = known.size == passage.entry.size
    if values == sidecar.values:
        return Verdict("unchanged", marker=marker) if whole else COPY
    theirs = str(values.get("sha256") or "")
    if theirs == passage.digest and whole:
        if keys.pointer_of(known.reference) is not None and marker is None:
            return COPY  # its sidecar names no marker, so it can't be rewritten
        return Verdict("update", marker=marker)
    if passage.is_own or passage.relaid:
        raise StoreConflictError(
            "the target has other bytes under the name that it would get",
            next_step=f"compare it with {known.reference} there, and delete the wrong one",
            reference=passage.reference,
        )
    return COPY


def _beside_bare_bytes(backend: Backend, passage: Passage) -> Verdict:
    """Compare with a file that has no sidecar there: another program's, or what a sync left that was killed."""
    known = passage.known
    assert known is not None  # noqa: S101 - said by the caller, for mypy
    same_size = known.size == passage.entry.size
    if passage.relaid:
        if same_size and (not passage.digest or digest_of(backend, known.reference) == passage.digest):
            return COPY if passage.sidecar is not None else UNCHANGED
        raise StoreConflictError(
            "the target has another file under the name that it would get",
            next_step=f"move {known.reference} away there",
            reference=passage.reference,
        )
    if passage.sidecar is None and same_size and not _is_newer(passage):
        return UNCHANGED
    return COPY


def _is_newer(passage: Passage) -> bool:
    """Tell whether the source's file was written after the target's, by the storages' clocks; in doubt it was not."""
    here, there = passage.entry.modified, passage.known.modified if passage.known is not None else None
    if here is None or there is None:
        return False
    return (here if there.microsecond else here.replace(microsecond=0)) > there  # many storages tell whole seconds


def digest_of(backend: Backend, key: str) -> str:
    """Read bytes and return their digest; empty where there are none."""
    hashed = sha256()
    try:
        with backend.open(key) as file:
            while data := file.read(_CHUNK):
                hashed.update(data)
    except FileNotFoundError:
        return ""
    return hashed.hexdigest()
