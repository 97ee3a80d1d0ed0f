"""Interfaces: what a media storage, a policy handler and a store for LLM messages must offer.

They are structural types: any class with these methods fits, `MediaStore` does. Conformance is tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, runtime_checkable

from fsmedia.models import ContentHandle

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from fsmedia.errors import MediaError
    from fsmedia.models import EnforcementReport, MediaContent, MediaMetadata, MediaRecord, Reference

__all__ = ["ContentHandle", "MediaStorageService", "MessageStore", "OnError", "PolicyHandler"]

OnError = Literal["raise", "return"]
"""What a call on many media does about some that fail: raise `BulkError` at the end, or return errors among results."""
LARGEST_DOCUMENT = 1 << 30
"""Characters of a message, or of a document of messages, with its media in it."""


@runtime_checkable
class MediaStorageService(Protocol):
    """Stores media and gives them back, as PromptKit's interface of that name does."""

    def store_media(self, content: MediaContent, metadata: MediaMetadata) -> Reference:
        """Store a media and return the reference to keep."""

    def retrieve_media(self, reference: str) -> MediaContent:
        """Return a stored media; its bytes are not loaded."""

    def get_url(self, reference: str, expiry: timedelta | None = None) -> str:
        """Return a URL under which other programs get the bytes."""

    def delete_media(self, reference: str) -> None:
        """Delete a media; deleting what is gone succeeds."""


@runtime_checkable
class PolicyHandler(Protocol):
    """Gives media policies and deletes those whose time has come, as PromptKit's interface of that name does."""

    def apply_policy(self, reference: str, policy_name: str | None) -> None:
        """Put a media under a policy; None keeps it for ever."""

    def enforce_policy(self) -> EnforcementReport:
        """Delete what its policy lets go."""


class MessageStore(Protocol):
    """The part of a store that `externalize` and `inline` use for the media of LLM messages."""

    def store_many(
        self, pairs: Iterable[tuple[MediaContent, MediaMetadata]], *, on_error: Literal["return"]
    ) -> list[Reference | MediaError]:
        """Store many media; return their references in the same order, and errors in their places."""

    def info(self, reference: str) -> MediaRecord:
        """Return all that is known of a media."""

    def get_url(self, reference: str, expiry: timedelta | None = None) -> str:
        """Return a URL under which other programs get the bytes."""

    def open(self, reference: str) -> BinaryIO:
        """Open a media's bytes for reading."""
