"""Whose media it is: organization modes, references, metadata and the record that a store keeps."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import core_schema

from fsmedia.models import mime
from fsmedia.models.base import Model
from fsmedia.models.fields import ContentFields, Index, Instant, PolicyName, Text

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler


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
    """The string a caller keeps: the path of a media below its store's root.

    It is an ordinary `str`, stays valid when the store moves to another URL, and holds no secret.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Let models have references as fields."""
        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )


def _mime_or_empty(value: str) -> str:
    return mime.check(value) if value else value


class MediaMetadata(Model):
    """Ids, position, type and time of one media; JSON keys are PromptKit's.

    Only the id of the store's organization mode is required, and only when storing.
    """

    run_id: Text = ""
    conversation_id: Text = ""
    session_id: Text = ""
    message_idx: Index = 0
    """Position of the message in its conversation, from 0."""
    part_idx: Index = 0
    """Position of the part in its message, from 0."""
    mime_type: Annotated[str, AfterValidator(_mime_or_empty)] = ""
    """MIME type; when storing, the content's own wins."""
    size_bytes: Annotated[int, Field(ge=0)] = 0
    """Size in bytes; when storing it is measured, not believed."""
    provider_id: Text = ""
    """Who made it, e.g. "openai"."""
    timestamp: Instant = None
    """When it was made, aware, in UTC; None (also 0, the year 1 or 1970) is the store's clock."""
    policy_name: PolicyName = None
    """Name of the retention policy; None asks the content, then the store's default."""


class MediaRecord(MediaMetadata, ContentFields):
    """All that a store knows of one media: its metadata, content fields and the store's own facts."""

    reference: Reference
    sha256: str | None = None
    """Digest of the stored bytes, 64 lower-case hex digits; None where the writer left none (PromptKit)."""
    expires_at: Instant = None
    """When its policy lets it go; None: never."""
    detected_mime_type: str | None = None
    """What the bytes look like, where that contradicts `mime_type`."""
    xattrs: dict[str, Any] = Field(default_factory=dict)
    """Attributes that users set."""
    hold: str | None = None
    """Why nothing may delete or replace it; None: it is not held, or nobody asked (`info` does)."""


def _whole_seconds(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1):
        raise ValueError("must be at least one second: zero and negative durations would delete at once")
    if value.microseconds:
        raise ValueError("must be whole seconds")
    return value


class RetentionPolicy(Model):
    """A named rule: how long after its timestamp a media is kept."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    keep_for: Annotated[timedelta, Field(strict=True), AfterValidator(_whole_seconds)] | None = None
    """How long, in whole seconds, at least one; None keeps for ever."""
