"""The record of deletions: one line for each media that is gone for good, where its store was asked to keep one.

A record is written once the removal is confirmed. `"store"` keeps JSON lines below `.fsmedia/deletions/`, one object
for each call or window of a sweep; anything else is a function that gets each `Deletion`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic_core import to_json

from fsmedia.errors import InvalidMediaError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.models import Deletion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from fsmedia.format.sidecar import Sidecar
    from fsmedia.storage import Backend

    DeletionLog = Callable[[Deletion], object] | Literal["store"] | None

IN_STORE = "store"
_LINES = "application/x-ndjson"


def check_log(log: object) -> None:
    """Refuse what can't keep a record.

    Raises
    ------
    InvalidMediaError
        It is neither a function, nor "store", nor None.
    """
    if log is not None and log != IN_STORE and not callable(log):
        raise InvalidMediaError(
            f"deletion_log must be a function or {IN_STORE!r}, not {type(log).__name__}",
            next_step="it is called with a fsmedia.Deletion for each media that was deleted",
        )


def deletion_of(reference: str, sidecar: Sidecar | None, expires_at: datetime | None, reason: str) -> Deletion:
    """Describe the deletion of a media by its sidecar; values of a wrong kind are left out."""
    values = {} if sidecar is None else sidecar.values
    facts = {name: values[name] for name in ("sha256", "size_bytes", "policy_name") if values.get(name)}
    try:
        return Deletion(reference=reference, expires_at=expires_at, reason=reason, **facts)  # type: ignore[arg-type]
    except MediaError:
        return Deletion(reference=reference, expires_at=expires_at, reason=reason)  # type: ignore[arg-type]


def record(backend: Backend, log: DeletionLog, deletions: Sequence[Deletion]) -> dict[str, MediaError]:
    """Write the record; return what could not be recorded, by reference. The media are gone either way."""
    if log is None or not deletions:
        return {}
    if callable(log):
        failed: dict[str, MediaError] = {}
        for each in deletions:
            try:
                log(each)
            except Exception as error:  # noqa: BLE001 - the caller's function raises what it likes
                failed[str(each.reference)] = _unrecorded(each, f"{type(error).__name__}: {error}")
        return failed
    lines = b"".join(to_json(each.model_dump()) + b"\n" for each in deletions)
    when = max(each.deleted_at for each in deletions if each.deleted_at is not None)
    try:
        backend.write(keys.deletions_key(when), lines, _LINES)
    except MediaError as error:
        return {str(each.reference): _unrecorded(each, str(error)) for each in deletions}
    return {}


def _unrecorded(deletion: Deletion, why: str) -> StorageError:
    return StorageError(
        f"was deleted, but its record could not be written ({why[:200]})",
        next_step="write it down elsewhere",
        reference=deletion.reference,
    )
