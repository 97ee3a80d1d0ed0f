"""Making a sidecar from what is there: the path, the bytes, and what can still be read of the old one. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from fsmedia.core import promptkit, records
from fsmedia.errors import CorruptSidecarError, MediaError
from fsmedia.format import keys, measures
from fsmedia.format.sidecar import MAX_SIDECAR_BYTES, Sidecar
from fsmedia.models import ContentFields, MediaMetadata, mime

if TYPE_CHECKING:
    from datetime import datetime

    from fsmedia.format.configuration import Configuration
    from fsmedia.maintenance.verify.contents import Content
    from fsmedia.storage import Entry

_OCTETS = "application/octet-stream"
_FROM_BYTES = ("size_bytes", "sha256", "detected_mime_type", "fsmedia", "marker")


def readable(data: bytes) -> dict[str, Any]:
    """Return what a damaged sidecar still says; nothing if it is no JSON object."""
    try:
        found = from_json(data, allow_inf_nan=False) if len(data) <= MAX_SIDECAR_BYTES else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def made(entry: Entry, content: Content, configuration: Configuration, now: datetime) -> Sidecar:
    """Return the sidecar of bytes that have none: ids from the path, facts from the bytes, no policy."""
    record = records.foreign_record(entry, configuration)
    named = mime.guess_from_name(keys.file_name(entry.key))
    mime_type = named or mime.detect(content.head) or _OCTETS
    fields = {name: getattr(record, name) for name in MediaMetadata.model_fields}
    fields |= {"mime_type": mime_type, "size_bytes": content.size, "timestamp": entry.modified or now}
    return Sidecar.build(
        fields,
        measures.measured(ContentFields(), mime_type, content.head, content.size),
        sha256=content.sha256,
        expires_at=None,
        detected_mime_type=mime.agrees(mime_type, content.head),
    )


def rebuilt(
    entry: Entry, content: Content, old: dict[str, Any], configuration: Configuration, now: datetime
) -> Sidecar:
    """Return the sidecar that a damaged one should have been: what of it makes sense, and facts from the bytes."""
    base = made(entry, content, configuration, now).values
    described = old.get("content")
    parts: list[dict[str, Any]] = [
        {name: value} for name, value in old.items() if name not in (*_FROM_BYTES, "content")
    ]
    if isinstance(described, dict):
        known = base.get("content", {})
        parts += [{"content": {**known, name: value}} for name, value in described.items()]
    for part in parts:
        if "content" in part:
            part = {"content": {**base.get("content", {}), **part["content"]}}  # noqa: PLW2901 - one more of its fields
        if _makes_sense({**base, **part}, entry):
            base = {**base, **part}
    return with_facts(Sidecar(base), entry.key, content)


def _makes_sense(values: dict[str, Any], entry: Entry) -> bool:
    candidate = Sidecar(values)
    try:
        Sidecar.parse(candidate.dump(), entry.key).record(entry.key, entry.size)
        candidate.retention(entry.key)
        mime.check(values["mime_type"])
    except (MediaError, ValueError):
        return False
    return True


def with_facts(sidecar: Sidecar, reference: str, content: Content) -> Sidecar:
    """Return a sidecar that says of the bytes what they are; all else stays."""
    values = {**sidecar.values, "size_bytes": content.size, "sha256": content.sha256}
    values.pop("detected_mime_type", None)
    seen = mime.agrees(promptkit.mime_type_of(str(values.get("mime_type") or ""), reference), content.head)
    if seen is not None:
        values["detected_mime_type"] = seen
    return Sidecar(values)


def overwritten(sidecar: Sidecar, entry: Entry, content: Content, ground: tuple[Configuration, datetime]) -> Sidecar:
    """Return the sidecar that an overwriting would have left that died before it: as `media://` makes it."""
    configuration, now = ground
    fresh = made(entry, content, configuration, now)
    renewed = sidecar.replaced(fresh)
    values = {name: value for name, value in renewed.values.items() if name != "expires_at"}
    try:
        instant = records.expiry_of(Sidecar(values), entry.key, configuration, entry.modified)
    except CorruptSidecarError:
        return renewed
    return renewed.with_policy(values.get("policy_name"), instant, None)
