"""Which media an export hands out, in the order of their references, and what its tables say of each."""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Any, TypedDict

from fsmedia.errors import MediaError, MediaNotFoundError
from fsmedia.format import keys
from fsmedia.models import Failed, MediaRecord, Reference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from fsmedia.store import MediaStore

_BATCH = 256
_DIGEST_DIGITS = 32


class Words(TypedDict, total=False):
    """The words of a selection, as `MediaStore.list` takes them."""

    run_id: str | None
    conversation_id: str | None
    session_id: str | None
    provider_id: str | None
    mime_type: str | None
    policy_name: str | None
    since: datetime | None
    until: datetime | None
    expires_before: datetime | None
    limit: int | None


def chosen(store: MediaStore, words: Words, failed: list[Failed]) -> Iterator[MediaRecord]:
    """Yield the records of the media that are meant; what can't be read goes to `failed`."""
    references = store.list(**words)
    while batch := list(islice(references, _BATCH)):
        for reference, answer in zip(batch, store.info_many(batch, on_error="return"), strict=True):
            if isinstance(answer, MediaRecord):
                yield answer
            elif not isinstance(answer, MediaNotFoundError):  # what was deleted since it was listed is no error
                failed.append(failure(reference, answer))


def failure(reference: str, error: MediaError) -> Failed:
    """Say what went wrong with one media."""
    return Failed(reference=Reference(reference), error=error)


def name_of(reference: str) -> str:
    """Return a name for a media without extension: of `[0-9a-z_]`, the same each time, no other media's.

    It holds no dot, no words (readers take `test` or `dev` in a name for a split), and nothing that a stranger chose.
    """
    own = keys.parse_own_name(reference)
    if own is not None:
        return f"{own.message_idx:04d}_{own.part_idx:02d}_{own.unique}"
    return hashlib.sha256(reference.encode()).hexdigest()[:_DIGEST_DIGITS]


def row_of(record: MediaRecord) -> dict[str, Any]:
    """Return what a table says of a media; the same columns, of the same types, for each."""
    return {
        "reference": str(record.reference),
        "run_id": record.run_id,
        "conversation_id": record.conversation_id,
        "session_id": record.session_id,
        "message_idx": record.message_idx,
        "part_idx": record.part_idx,
        "provider_id": record.provider_id,
        "mime_type": record.mime_type,
        "size_bytes": record.size_bytes,
        "sha256": record.sha256 or "",
        "timestamp": _instant(record.timestamp),
        "text": record.caption or "",
        "width": record.width,
        "height": record.height,
        "duration": None if record.duration is None else float(record.duration),
    }


def _instant(instant: datetime | None) -> str | None:
    # All of one precision: readers choose the type of a column by its first rows.
    return None if instant is None else instant.isoformat(timespec="microseconds").replace("+00:00", "Z")
