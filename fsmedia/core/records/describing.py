"""Saying what is known of a media: from its sidecar, and where that is silent from path and storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsmedia.core import holds, promptkit, telemetry
from fsmedia.core.records.finding import find
from fsmedia.errors import CorruptSidecarError, InvalidMediaError, UnknownPolicyError
from fsmedia.format import keys
from fsmedia.format.layout import parse_any
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import MediaContent, MediaRecord, Reference

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from fsmedia.core.records.finding import Found
    from fsmedia.format.configuration import Configuration
    from fsmedia.models import MediaMetadata
    from fsmedia.storage import Backend, Entry


def record_of(found: Found, configuration: Configuration) -> MediaRecord:
    """Return all that is known of a media; ids, MIME type and time come from path and storage where no sidecar tells.

    Raises
    ------
    CorruptSidecarError
        Its sidecar can't be read.
    """
    updates: dict[str, object] = {}
    if found.hold is not None:
        updates["hold"] = holds.parse(found.hold, found.entry.key).reason
    if found.sidecar is None:
        return foreign_record(found.entry, configuration).model_copy(update=updates)
    reference = found.entry.key
    record = _parsed(found.sidecar, reference).record(reference, found.entry.size)
    mime_type = promptkit.mime_type_of(record.mime_type, reference)
    if mime_type != record.mime_type:
        updates["mime_type"] = mime_type
    if record.timestamp is None:
        updates["timestamp"] = found.entry.modified
    if record.expires_at is None and record.policy_name:
        updates["expires_at"] = _by_policy(record.policy_name, record.timestamp or found.entry.modified, configuration)
    return record.model_copy(update=updates) if updates else record


def shared_url(backend: Backend, reference: str, lifetime: timedelta, configuration: Configuration) -> str:
    """Return a URL of a deduplicated media under its own type and name; its bytes may lie under another's."""
    record = record_of(find(backend, reference), configuration)
    mime_type, filename = record.mime_type, keys.file_name(reference)
    return backend.sign(keys.bytes_key(reference), lifetime, mime_type=mime_type, filename=filename)


def _parsed(data: bytes, reference: str) -> Sidecar:
    sidecar = Sidecar.parse(data, reference)
    if not sidecar.agrees(reference):
        raise CorruptSidecarError(
            "its sidecar speaks of other bytes than its name", next_step="verify the store", reference=reference
        )
    return sidecar


def expiry_of(
    sidecar: Sidecar, reference: str, configuration: Configuration, modified: datetime | None = None
) -> datetime | None:
    """Return when a media's policy lets it go: what its sidecar says, else what its policy's name means.

    Parameters
    ----------
    modified
        When its bytes were written, for a sidecar without a time.

    Raises
    ------
    CorruptSidecarError
        The sidecar has wrong values.
    """
    said = sidecar.retention(reference)
    if said.expires_at is not None or not said.policy_name:
        return said.expires_at
    return _by_policy(said.policy_name, said.timestamp or modified, configuration)


def expiry_or_none(data: bytes, reference: str, configuration: Configuration) -> datetime | None:
    """Return what a sidecar's bytes say of it, for those to whom damage makes no difference: None."""
    if b"expires_at" not in data and b"policy_name" not in data:
        return None
    try:
        return expiry_of(Sidecar.parse(data, reference), reference, configuration)
    except CorruptSidecarError:
        return None


def _by_policy(name: str, timestamp: datetime | None, configuration: Configuration) -> datetime | None:
    try:
        policy = find_policy(name, configuration.policies)
        return None if timestamp is None else expires_at(policy, timestamp)
    except UnknownPolicyError:
        return None  # PromptKit stores any name and never enforces those it does not know


def content_of(found: Found, configuration: Configuration, path: str | None) -> MediaContent:
    """Return a media as a content that names its bytes: by their path on this machine, else by reference.

    Raises
    ------
    CorruptSidecarError
        Its sidecar can't be read.
    """
    reference = found.entry.key
    if found.sidecar is None:
        metadata: MediaMetadata = foreign_record(found.entry, configuration)
        fields: dict[str, Any] = {"mime_type": metadata.mime_type}
    else:
        sidecar = _parsed(found.sidecar, reference)
        metadata = sidecar.metadata(reference)  # damage anywhere in it is told, not only where this looks
        fields = sidecar.content_values(reference)
        fields["mime_type"] = promptkit.mime_type_of(fields["mime_type"], reference)
    fields["size_kb"] = -(-found.entry.size // 1024)
    if path is None:
        fields["storage_reference"] = Reference(reference)
    else:
        fields["file_path"] = path
    if telemetry.is_watched():
        telemetry.tell(
            "retrieve", reference=reference, size_bytes=found.entry.size, **telemetry.told_of(vars(metadata))
        )
    try:
        return MediaContent(**fields)
    except InvalidMediaError as error:
        raise CorruptSidecarError(
            f"its sidecar has wrong values ({error.problem})",
            next_step="verify the store; store.open(reference) still reads the bytes",
            reference=reference,
        ) from None


def foreign_record(entry: Entry, configuration: Configuration) -> MediaRecord:
    """Describe a file that no store wrote, by its path."""
    ordered = {configuration.organization: configuration.layout, **configuration.layouts}
    parsed = parse_any(ordered, entry.key)
    fields: dict[str, Any] = {
        name: value for name, value in (parsed[1] if parsed else {}).items() if name in MediaRecord.model_fields
    }
    fields |= {
        "reference": Reference(entry.key),
        "size_bytes": entry.size,
        "mime_type": promptkit.mime_type_of("", entry.key),
        "timestamp": entry.modified,
    }
    return MediaRecord(**fields)
