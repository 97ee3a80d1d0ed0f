"""What happens to media items: holds, deletions, failures, and the events that hooks are given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, PlainSerializer

from fsmedia.errors import MediaError
from fsmedia.models.base import Model
from fsmedia.models.metadata import Instant, Reference, Text

Failure = Annotated[MediaError, PlainSerializer(str)]
"""An error of this package; in JSON its text."""
_LONGEST_REASON = 65536


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


class Hold(Model):
    """A hold: nothing may delete or replace the media item."""

    reference: Reference
    reason: Annotated[str, Field(max_length=_LONGEST_REASON), AfterValidator(_not_blank)] = Field(
        description="Why, as whoever placed it said."
    )
    who: Text = Field(default="", description="Who placed it.")
    when: Instant = Field(default=None, description="When, aware, in UTC.")


class Deletion(Model):
    """One media item that was deleted, or, in a dry run, would be."""

    reference: Reference
    sha256: str | None = Field(default=None, description="Digest of its bytes, where the sidecar had one.")
    size_bytes: int = Field(default=0, description="Size as its sidecar said; PromptKit may have written 0.")
    policy_name: str | None = None
    expires_at: Instant = Field(
        default=None, description="When it expired by its policy; None if it was deleted for another reason."
    )
    deleted_at: Instant = Field(default=None, description="The sweep's or the store's clock, aware, in UTC.")
    reason: str = ""


class Skipped(Model):
    """One media item that was due and stays."""

    reference: Reference
    reason: str


class Failed(Model):
    """One media item, or place in the store, that something went wrong with."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    reference: Reference
    error: Failure


_EVENT_NAMES = {
    "store": "media.stored", "retrieve": "media.retrieved", "delete": "media.deleted", "open": "media.opened",
    "get_url": "media.url_given", "apply_policy": "media.policy_applied", "hold": "media.held",
    "release": "media.released", "enforce_policy": "media.swept", "verify": "media.verified", "erase": "media.erased",
}  # fmt: skip
"""Names of what succeeded, the first three as PromptKit has them; of any other operation it is `media.<operation>`."""
_FAILED_EVENT = "media.store_error"  # PromptKit's, whatever the operation was


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One operation on a store that has ended, as hooks are given it.

    Each call is one event. Bulk calls and sweeps are also one event for each media item that they stored, retrieved or
    deleted, and for each that failed; those say `within` which call, have no duration, and come before the call's own.

    Attributes
    ----------
    operation, within
        `store`, `retrieve`, `delete`, `get_url`, `open`, ...: the method's name, without `_media`; and the operation
        that this is a part of. `cancel`: a coroutine of `AsyncMediaStore` was cancelled while its storage gave no
        answer; what it is `within` may still happen, and then tells its own event.
    backend, url
        Protocol of the store's URL (`file`, `memory`, `s3`, `gs`, ...), and its root, without user, password or query.
    reference, mime_type, size_bytes, run_id, conversation_id, session_id, message_idx, part_idx
        Of the media item, as far as they are known; None where there is none (yet), or where many are meant. The size
        of a sweep is what it freed.
    duration
        Time from call to answer; None for one item of many.
    reason
        Of a deletion: `explicit`, or `policy`.
    count, failed, skipped, examined
        Of bulk calls and sweeps: items that were done, that failed, that had to stay, that were looked at.
    dry_run
        Whether nothing was changed.
    error_type, error
        Class name and text of what went wrong; the text only of this package's errors, at most 500 characters,
        without user, password or query of any URL in it.
    """

    operation: str
    backend: str
    url: str
    reference: str | None = None
    mime_type: str | None = None
    size_bytes: int | None = None
    duration: timedelta | None = None
    run_id: str | None = None
    conversation_id: str | None = None
    session_id: str | None = None
    message_idx: int | None = None
    part_idx: int | None = None
    within: str | None = None
    reason: str | None = None
    count: int | None = None
    failed: int | None = None
    skipped: int | None = None
    examined: int | None = None
    dry_run: bool = False
    error_type: str | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """The event's name: `media.stored`, `media.retrieved`, `media.deleted`, ...; `media.store_error` of failures.

        The first three and the last are PromptKit's.
        """
        return _FAILED_EVENT if self.error_type else _EVENT_NAMES.get(self.operation, f"media.{self.operation}")
