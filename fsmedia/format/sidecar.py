"""Sidecars: the `<key>.meta` JSON beside each media item, read and written, and what bytes tell for it.

PromptKit's keys stand at the top level in its order and types, ours follow; keys that this version does not know
survive a rewrite. Pure: bytes in, bytes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from fsmedia.errors import CorruptSidecarError, InvalidMediaError, InvalidReferenceError, MediaError
from fsmedia.format.keys import MAX_SIDECAR_BYTES, check_marker, pointer_of
from fsmedia.format.measures import measure
from fsmedia.models import (
    CONTENT_FIELDS,
    ContentFields,
    MediaMetadata,
    MediaRecord,
    Reference,
    Retention,
    attributes,
    mime,
)
from fsmedia.models.base import explain
from fsmedia.models.text import safe_file_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

FORMAT = 1
"""Version of the sidecar format that this code writes."""
_ROOM = 1024  # bytes that stay free below the limit: for what a policy, a write and a deletion's mark add later
# Attributes stand among the xattrs.
METADATA_FIELDS = tuple(name for name in MediaMetadata.model_fields if name != "attributes")
"""Names of the metadata in a sidecar, in PromptKit's order."""
_TYPES: dict[str, type] = {
    **dict.fromkeys(("run_id", "conversation_id", "session_id", "mime_type", "provider_id", "timestamp"), str),
    **dict.fromkeys(("policy_name", "sha256", "expires_at", "detected_mime_type", "marker", "write", "leaving"), str),
    **dict.fromkeys(("message_idx", "part_idx", "size_bytes"), int),
    **dict.fromkeys(("content", "xattrs"), dict),
}
_OPTIONAL = ("conversation_id", "session_id", "provider_id", "policy_name")
_USERS = {"run_id", "conversation_id", "session_id", "provider_id", "message_idx", "part_idx", "policy_name", "xattrs"}
# What describes the bytes, or one write of them.
_FACT_KEYS = {"fsmedia", *_TYPES} - _USERS
ModelT = TypeVar("ModelT", MediaRecord, Retention)
_VERIFY = "verify the store; store.open(reference) still reads the bytes"


def timestamp_text(instant: datetime) -> str:
    """Write an aware UTC instant as RFC 3339 with `Z`."""
    return instant.isoformat().replace("+00:00", "Z")


class ReadBytes(Protocol):
    """What is known of bytes once all of them were read."""

    @property
    def size(self) -> int:
        """How many they are."""

    @property
    def sha256(self) -> str:
        """Their digest."""

    @property
    def head(self) -> bytes:
        """The first of them, with the header of an image or of sound."""

    @property
    def tail(self) -> bytes:
        """The last of them, where some formats say how long they are."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One sidecar: the JSON document as it lies in the store, with all its keys, known or not."""

    values: dict[str, Any]

    @classmethod
    def build(
        cls,
        metadata: Mapping[str, Any],
        content: Mapping[str, Any],
        *,
        sha256: str | None,
        expires_at: datetime | None,
        detected_mime_type: str | None = None,
    ) -> Sidecar:
        """Make the sidecar of a media item that is being stored.

        The metadata are checked values of all fields of `MediaMetadata`, the timestamp among them; attributes may be
        left out. The content's are those of `ContentFields` that are known, others are not looked at.
        """
        values: dict[str, Any] = {}
        # The order of the fields is PromptKit's; its reader needs the others also where they are empty.
        for name in METADATA_FIELDS:
            value = metadata[name]
            if value or name not in _OPTIONAL:
                values[name] = value
        values["timestamp"] = timestamp_text(values["timestamp"])
        if sha256 is not None:
            values["sha256"] = sha256
        if expires_at is not None:
            values["expires_at"] = timestamp_text(expires_at)
        if detected_mime_type is not None:
            values["detected_mime_type"] = detected_mime_type
        described = {name: value for name in CONTENT_FIELDS if (value := content.get(name)) is not None}
        if described:
            values["content"] = described
        if metadata.get("attributes"):
            values["xattrs"] = attributes.as_xattrs(metadata["attributes"])
        values["fsmedia"] = FORMAT
        return cls(values)

    @classmethod
    def of_bytes(
        cls,
        metadata: Mapping[str, Any],
        content: ContentFields,
        read: ReadBytes,
        *,
        expires_at: datetime | None,
    ) -> Sidecar:
        """Make the sidecar of bytes that were read: size, digest, type and measures are theirs."""
        kind = metadata["mime_type"]
        given = {name: value for name, value in vars(content).items() if value is not None}
        return cls.build(
            {**metadata, "size_bytes": read.size},
            {**measure(kind, read.head, read.tail, read.size), **given},
            sha256=read.sha256,
            expires_at=expires_at,
            detected_mime_type=mime.agrees(kind, read.head),
        )

    def replaced(self, fresh: Sidecar) -> Sidecar:
        """Return the sidecar of new bytes under an old name: facts from their fresh one; ids, policy and so on stay."""
        # What describes the bytes comes from the new ones, and goes where they have none; all else is the user's.
        kept = {name: value for name, value in self.values.items() if name not in _FACT_KEYS}
        facts = {name: value for name, value in fresh.values.items() if name in _FACT_KEYS}
        return Sidecar({**fresh.values, **kept, **facts})

    @classmethod
    def parse(cls, data: bytes, reference: str) -> Sidecar:
        """Read a sidecar's bytes; `CorruptSidecarError` where they are no JSON object, or of a newer format."""
        try:
            if len(data) > MAX_SIDECAR_BYTES:
                raise ValueError(f"larger than {MAX_SIDECAR_BYTES} bytes")
            values = from_json(data, allow_inf_nan=False)
        except ValueError as error:
            raise _corrupt(f"is no JSON ({str(error)[:120]})", reference) from None
        if not isinstance(values, dict):
            raise _corrupt("is no JSON object", reference)
        # A newer version may keep in it what this one would drop or misread, so it is not touched.
        version = values.get("fsmedia", FORMAT)
        if not isinstance(version, int) or version > FORMAT:
            problem = f"is of format {str(version)[:40]}, this version reads up to {FORMAT}"
            raise _corrupt(problem, reference, "upgrade fsmedia")
        # Once here, so that whoever takes a single value may rely on its type; exactly, for a bool is an int to Python.
        inner = []
        for name, value in values.items():
            kind, wanted = type(value), _TYPES.get(name)
            if wanted is not None and value is not None and kind is not wanted:
                raise _corrupt(f"has {name} of {kind.__name__}, not {wanted.__name__}", reference)
            if kind is dict or kind is list or kind is float:
                inner.append(value)
        _refuse_infinity(inner, reference)
        return cls(values)

    def dump(self) -> bytes:
        """Write the document: UTF-8 JSON, two blanks of indentation, as PromptKit does."""
        return to_json(self.values, indent=2)

    def metadata(self, reference: str) -> dict[str, Any]:
        """Return those of PromptKit's fields that it has, checked as `MediaMetadata` checks them."""
        # Without making one, which took longer than the check: who retrieves a media wants to know no more.
        values = {name: value for name, value in self.values.items() if value is not None}
        try:
            checked: dict[str, Any] = _metadata_validator().validate_python(values)
        except ValidationError as error:
            raise _wrong(explain(error, MediaMetadata.__name__), reference) from None
        return checked

    def content_values(self, reference: str) -> dict[str, Any]:
        """Return what makes a `MediaContent`, unchecked: type, policy and what describes it."""
        named = {"mime_type": self._value("mime_type") or "", "policy_name": self._value("policy_name")}
        return self._content(reference) | named

    def record(self, reference: str, size_bytes: int) -> MediaRecord:
        """Return all of it, with the size that the storage measured."""
        # PromptKit may have written 0.
        fields: dict[str, Any] = {name: self._value(name) for name in METADATA_FIELDS}
        fields |= self._content(reference)
        for name in ("sha256", "expires_at", "detected_mime_type", "xattrs"):
            fields[name] = self._value(name)
        if fields["xattrs"]:
            fields["attributes"] = attributes.readable(fields["xattrs"])
        fields |= {"reference": Reference(reference), "size_bytes": size_bytes}
        return _model(MediaRecord, fields, fields, reference)

    def with_marker(self, marker: str) -> Sidecar:
        """Return the sidecar of a deduplicated media item."""
        return Sidecar({**self.values, "marker": marker})

    def with_write(self, write: str) -> Sidecar:
        """Return the sidecar as one attempt to write it: no other is the same, whatever it says; no deletion's mark."""
        return Sidecar({**self.without_leaving().values, "write": write})

    def without_leaving(self) -> Sidecar:
        """Return the sidecar of a media that nobody is deleting."""
        return Sidecar({name: value for name, value in self.values.items() if name != "leaving"})

    def marker(self, reference: str) -> str | None:
        """Return the marker of a deduplicated media item; None where it names none of this reference."""
        try:
            return check_marker(self._value("marker"), reference)
        except InvalidReferenceError:
            return None

    def agrees(self, reference: str) -> bool:
        """Return whether its digest is the one in a deduplicated name; every other name says nothing."""
        pointer = pointer_of(reference)
        return pointer is None or self._value("sha256") == pointer.digest

    def retention(self, reference: str) -> Retention:
        """Return the fields that decide when the media item expires."""
        return _model(Retention, Retention.model_fields, self.values, reference)

    def with_policy(self, name: str | None, expires_at: datetime | None, timestamp: datetime | None) -> Sidecar:
        """Return the sidecar under another policy; a time is only set where it has none."""
        values = {key: value for key, value in self.values.items() if key not in ("policy_name", "expires_at")}
        if name is not None:
            values["policy_name"] = name
        if expires_at is not None:
            values["expires_at"] = timestamp_text(expires_at)
        if timestamp is not None:
            values["timestamp"] = timestamp_text(timestamp)
        return Sidecar(values)

    def with_values(self, reference: str, values: Mapping[str, Any], xattrs: Mapping[str, Any]) -> Sidecar:
        """Return the sidecar with other values and xattrs, None removes one; `InvalidMediaError`: it could not be read.

        A sidecar that can't be read again would make the media unreadable for ever.
        """
        kept = {**(self.values.get("xattrs") or {}), **xattrs}
        attributes = {name: value for name, value in kept.items() if value is not None}
        changed = {**self.values, **values, "xattrs": attributes or None}
        made = Sidecar({name: value for name, value in changed.items() if value is not None})
        try:
            Sidecar.parse(made.dump() + b" " * _ROOM, reference)
        except ValueError as error:
            problem = f"with these attributes its sidecar could not be read again ({str(error)[:120]})"
            raise InvalidMediaError(problem, next_step="store large or deep values as media of their own") from None
        return made

    def _value(self, name: str) -> Any:
        return self.values.get(name)

    def _content(self, reference: str) -> dict[str, Any]:
        content = self.values.get("content") or {}
        if not isinstance(content, dict):
            raise _corrupt("has content that is no object", reference)
        found = {name: value for name, value in content.items() if name in CONTENT_FIELDS}
        if "file_name" in found:
            # Whatever a stranger wrote there: it is to name a file, and is no reason to refuse the media.
            name = found["file_name"]
            found["file_name"] = safe_file_name(name) if isinstance(name, str) else None
        return found


def _corrupt(problem: str, reference: str, next_step: str = _VERIFY) -> CorruptSidecarError:
    return CorruptSidecarError(f"its sidecar {problem}", next_step=next_step, reference=reference)


def leaving(data: bytes | None) -> str | None:
    """Return the mark of whoever is deleting the media; None where nobody is, or where the sidecar can't be read."""
    if data is None or b'"leaving"' not in data:
        return None
    mark = _object(data).get("leaving")
    return mark if isinstance(mark, str) else None


def with_leaving(data: bytes, mark: str) -> bytes:
    """Return a sidecar's bytes, which may be damaged, with a deletion's mark."""
    return to_json({**_object(data), "leaving": mark}, indent=2)


def without_leaving(data: bytes) -> bytes:
    """Return a sidecar's bytes without a deletion's mark; empty where there is nothing else in it."""
    if leaving(data) is None:
        return data
    values = {name: value for name, value in _object(data).items() if name != "leaving"}
    return to_json(values, indent=2) if values else b""


def _object(data: bytes) -> dict[str, Any]:
    try:
        values = from_json(data, allow_inf_nan=False)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _refuse_infinity(waiting: list[Any], reference: str) -> None:
    """Refuse numbers such as 1e400, which no rewrite could write again; takes the values out of the list."""
    # With a list instead of recursion: a stranger's document may be nested deeper than Python's stack.
    while waiting:
        value = waiting.pop()
        kind = type(value)
        if kind is dict:
            waiting.extend(value.values())
        elif kind is list:
            waiting.extend(value)
        elif kind is float and not isfinite(value):
            raise _corrupt("holds a number too large", reference)


def _model(kind: type[ModelT], names: Iterable[str], values: Mapping[str, Any], reference: str) -> ModelT:
    # null stands for a missing key, as in Go.
    try:
        return kind(**{name: value for name in names if (value := values.get(name)) is not None})
    except MediaError as error:
        raise _wrong(error, reference) from None


def _wrong(error: MediaError, reference: str) -> CorruptSidecarError:
    return _corrupt(f"has wrong values ({error.problem})", reference)


@cache
def _metadata_validator() -> Any:
    """Return what checks a mapping as `MediaMetadata` does, and leaves out what is none of its fields."""
    fields = {name: MediaMetadata.model_fields[name].rebuild_annotation() for name in METADATA_FIELDS}
    make: Any = TypedDict  # of names that no type checker can know
    return TypeAdapter(make("Metadata", fields, total=False)).validator
