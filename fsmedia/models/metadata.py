"""Metadata of media items: organization modes, references, ids, content fields, and the record that a store keeps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, PrivateAttr, SkipValidation
from pydantic_core import core_schema

from fsmedia.models import mime
from fsmedia.models.attributes import AttributeValue, checked_attributes
from fsmedia.models.base import NOWHERE, Model, Origin, html_of
from fsmedia.models.text import checked_file_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import GetCoreSchemaHandler

MAX_ID_LENGTH = 4096
"""Longest id in characters; what does not fit a file name stands in full in the sidecar."""
_LARGEST_INDEX = 10**9 - 1
_EPOCH = datetime.fromtimestamp(0, UTC)
_SHOWN = 40  # characters of a text that is longer than twice as many


def _instant(value: Any) -> Any:
    """Return None for every spelling of "no time given"."""
    # None, 0, the year 1 (Go's zero) and 1970 (Unix's).
    if isinstance(value, str):
        return None if value.startswith(("0001-01-01T", "1970-01-01T00:00:00Z")) else value
    return None if isinstance(value, int | float) and value == 0 else value


def _utc(value: datetime | None) -> datetime | None:
    """Convert an aware time to UTC; a naive one has no meaning on another machine."""
    if value is None:
        return None
    if value.utcoffset() is None:
        raise ValueError("needs a time zone, e.g. datetime.now(UTC)")
    if value.year == 1:
        return None
    try:
        instant = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999 in UTC") from None
    return None if instant == _EPOCH else instant


Text = Annotated[str, Field(max_length=MAX_ID_LENGTH)]
"""An id or a name from a caller: any characters a storage can hold; to measure it pydantic refuses lone surrogates."""
Index = Annotated[int, Field(ge=0, le=_LARGEST_INDEX, strict=True)]
"""Position of a message or of a part in it, from 0."""
Instant = Annotated[datetime | None, BeforeValidator(_instant), AfterValidator(_utc)]
"""An aware instant in UTC; None where none was given."""


# PromptKit writes "no policy" as an empty string.
PolicyName = Annotated[
    Annotated[str, Field(max_length=255)] | None, BeforeValidator(lambda value: None if value == "" else value)
]
"""Name of a retention policy, None for none."""
DueIndex = Literal["complete", "partial"]
"""Whether every media item with an expiry has an entry in the due index."""
Permissions = Literal["private", "shared"]
"""Who may use the files of a store on local disk besides their owner: nobody, or whom the umask allows."""
_LARGEST_NUMBER = 2**63 - 1
Number = Annotated[int, Field(ge=0, le=_LARGEST_NUMBER)]
Seconds = Annotated[int | float, Field(ge=0, le=_LARGEST_NUMBER, allow_inf_nan=False)]


class ContentFields(Model):
    """What is known of a content besides its bytes; all optional, kept in the sidecar."""

    format: Text | None = Field(default=None, description='Short name of the encoding, e.g. "png".')
    detail: Text | None = Field(
        default=None, description='Level of detail a model is asked to look with: "low", "high", "auto".'
    )
    caption: Annotated[str, Field(max_length=65536)] | None = Field(
        default=None, description="A text shown with the media item."
    )
    file_name: Annotated[str, AfterValidator(checked_file_name)] | None = Field(
        default=None, description='What its file is called, e.g. "photo.jpg": at most 200 bytes, no path.'
    )
    duration: Seconds | None = Field(default=None, description="Length in seconds.")
    bit_rate: Number | None = Field(default=None, description="Bits per second.")
    channels: Number | None = Field(default=None, description="Number of audio channels.")
    width: Number | None = Field(default=None, description="Width in pixels.")
    height: Number | None = Field(default=None, description="Height in pixels.")
    fps: Seconds | None = Field(default=None, description="Frames per second.")


CONTENT_FIELDS = tuple(ContentFields.model_fields)
"""Names of the fields above, in the order in which a sidecar holds them."""


class OrganizationMode(StrEnum):
    """Which layout a store writes in."""

    BY_SESSION = "by-session"
    BY_CONVERSATION = "by-conversation"
    BY_RUN = "by-run"

    @property
    def id_field(self) -> str:
        """Name of the metadata field this mode needs: `session_id`, `conversation_id` or `run_id`."""
        return f"{self.value.removeprefix('by-')}_id"


class Reference(str):
    """The string a caller keeps: the path of a media item below its store's root.

    It is an ordinary `str`, stays valid when the store moves to another URL, and holds no secret.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Return the schema of references as fields of models."""
        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )


def _mime_or_empty(value: str) -> str:
    return mime.check(value) if value else value


class MediaMetadata(Model):
    """Ids, position, type and time of one media item; JSON keys are PromptKit's.

    Only the id of the store's organization mode is required, and only when storing.
    """

    run_id: Text = Field(default="", description="The run: one execution of a program or an evaluation.")
    conversation_id: Text = Field(default="", description="The conversation: messages that belong together.")
    session_id: Text = Field(default="", description="The streaming or user session.")
    message_idx: Index = Field(default=0, description="Position of the message in its conversation, from 0.")
    part_idx: Index = Field(default=0, description="Position of the part in its message, from 0.")
    mime_type: Annotated[str, AfterValidator(_mime_or_empty)] = Field(
        default="",
        description="MIME type; when storing it wins over a guess, and may not contradict the content's own.",
    )
    size_bytes: int = Field(default=0, ge=0, description="Size in bytes; when storing it is measured, not believed.")
    provider_id: Text = Field(default="", description='Who made it, e.g. "openai".')
    timestamp: Instant = Field(
        default=None,
        description="When it was made, aware, in UTC; None (also 0, the year 1 or 1970) is the store's clock.",
    )
    policy_name: PolicyName = Field(
        default=None, description="Name of the retention policy; None asks the content, then the store's default."
    )
    attributes: Annotated[Mapping[str, AttributeValue], PlainValidator(checked_attributes)] = Field(
        default_factory=dict,
        description="What made it, in the caller's own words (prompt, model, seed, score, tags): at most 64 names.",
    )

    def __hash__(self) -> int:
        return hash((*(value for value in vars(self).values() if not isinstance(value, dict)),))


class MediaRecord(MediaMetadata, ContentFields):
    """All that a store knows of one media item: its metadata, content fields and the store's own facts."""

    reference: Reference = Field(description="The string that names it in every method: its path below the root.")
    sha256: str | None = Field(
        default=None,
        description="SHA-256 of the stored bytes, 64 hex digits; None where the writer left none (PromptKit).",
    )
    expires_at: Instant = Field(default=None, description="When it expires by its policy; None: never.")
    detected_mime_type: str | None = Field(
        default=None, description="What the bytes look like, where that contradicts `mime_type`."
    )
    attributes: Annotated[Mapping[str, AttributeValue], SkipValidation] = Field(
        default_factory=dict, description="Those of `xattrs` that are attributes, by their names without `user.`."
    )
    xattrs: dict[str, Any] = Field(
        default_factory=dict, description="What stands in the sidecar for users and other programs, as it does there."
    )
    hold: str | None = Field(
        default=None,
        description="Why nothing may delete or replace it; None: it is not held, or nobody asked (`info` does).",
    )

    _origin: Origin = PrivateAttr(default=NOWHERE)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show what says something, the reference first; of long texts the beginning, and no attribute twice."""
        yield "reference", str(self.reference)
        for name, value in self:
            if name not in ("reference", "xattrs") and value not in (None, "", {}):
                yield name, _shortened(value)

    def _repr_html_(self) -> str | None:
        return html_of(self)


def _shortened(value: Any) -> Any:
    """Return a value as a repr shows it: long texts cut, times to the second."""
    if isinstance(value, Mapping):
        return {name: _shortened(each) for name, each in value.items()}
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}Z"
    return f"{value[:_SHOWN]}..." if isinstance(value, str) and len(value) > 2 * _SHOWN else value


def _whole_seconds(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1):
        raise ValueError("must be at least one second: zero and negative durations would delete at once")
    if value.microseconds:
        raise ValueError("must be whole seconds")
    return value


class RetentionPolicy(Model):
    """A named rule: how long after its timestamp a media item is kept."""

    name: str = Field(min_length=1, max_length=255, description="Name by which media and settings refer to it.")
    keep_for: Annotated[timedelta, Field(strict=True), AfterValidator(_whole_seconds)] | None = Field(
        default=None, description="How long, in whole seconds, at least one; None keeps for ever."
    )


class Retention(Model):
    """The part of a sidecar that decides when a media item may go."""

    timestamp: Instant = None
    policy_name: PolicyName = None
    expires_at: Instant = None


SOURCE_ATTRIBUTE = "source"
"""The attribute in which an importer keeps where a media item came from; importing again looks for it."""
