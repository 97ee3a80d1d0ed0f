"""Kinds of values that several models use: instants, ids, names, the fields that describe a content."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from fsmedia.models.base import Model

MAX_ID_LENGTH = 4096
"""Longest id in characters; what does not fit a file name stands in full in the sidecar."""

_LARGEST_INDEX = 10**9 - 1


def checked_text(text: str) -> str:
    """Refuse lone surrogates: no storage and no JSON document can hold them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has a lone surrogate, which no storage can hold") from None
    return text


def _instant(value: Any) -> Any:
    """Read "no time given" out of its many spellings: None, 0, the year 1 (Go's zero) and 1970 (Unix's)."""
    if value is None or (isinstance(value, int | float) and value == 0):
        return None
    if isinstance(value, str) and value.startswith(("0001-01-01T", "1970-01-01T00:00:00Z")):
        return None
    return value


def _utc(value: datetime | None) -> datetime | None:
    """Bring an aware time to UTC; a naive one has no meaning on another machine."""
    if value is None:
        return None
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError("needs a time zone, e.g. datetime.now(UTC)")
    if value.year == 1 or value.timestamp() == 0:
        return None
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999 in UTC") from None


Text = Annotated[str, Field(max_length=MAX_ID_LENGTH), AfterValidator(checked_text)]
"""An id or a name from a caller: any characters a storage can hold."""

Index = Annotated[int, Field(ge=0, le=_LARGEST_INDEX, strict=True)]
"""Position of a message or of a part in it, from 0."""

Instant = Annotated[datetime | None, BeforeValidator(_instant), AfterValidator(_utc)]
"""An aware instant in UTC; None where none was given."""


def _name_or_none(value: Any) -> Any:
    """PromptKit writes "no policy" as an empty string."""
    return None if value == "" else value


PolicyName = Annotated[Annotated[str, Field(max_length=255)] | None, BeforeValidator(_name_or_none)]
"""Name of a retention policy, None for none."""

_LARGEST_NUMBER = 2**63 - 1

Number = Annotated[int, Field(ge=0, le=_LARGEST_NUMBER)]
Seconds = Annotated[int | float, Field(ge=0, le=_LARGEST_NUMBER, allow_inf_nan=False)]


class ContentFields(Model):
    """What is known of a content besides its bytes; all optional, kept in the sidecar."""

    format: Text | None = None
    """Short name of the encoding, e.g. "png"."""
    detail: Text | None = None
    """Level of detail a model is asked to look with: "low", "high", "auto"."""
    caption: Annotated[str, Field(max_length=65536), AfterValidator(checked_text)] | None = None
    """A text shown with the media."""
    duration: Seconds | None = None
    """Length in seconds."""
    bit_rate: Number | None = None
    """Bits per second."""
    channels: Number | None = None
    """Number of audio channels."""
    width: Number | None = None
    """Width in pixels."""
    height: Number | None = None
    """Height in pixels."""
    fps: Seconds | None = None
    """Frames per second."""


CONTENT_FIELDS = tuple(ContentFields.model_fields)
"""Names of the fields above, in the order in which a sidecar holds them."""
