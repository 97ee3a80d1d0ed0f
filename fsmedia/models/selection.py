"""Which media are meant: the words that `list`, catalog, gallery, exports and syncs all understand."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from fsmedia.errors import InvalidMediaError
from fsmedia.models import mime

if TYPE_CHECKING:
    from fsmedia.models import MediaRecord, OrganizationMode

_IDS = ("run_id", "conversation_id", "session_id", "provider_id", "policy_name")
_INSTANTS = ("since", "until", "expires_before")
_F = TypeVar("_F", bound=Callable[..., Any])


# The top-level types of RFC 6838: `image` alone can only mean `image/*`.
_TOP_LEVEL = {"application", "audio", "font", "haptics", "image", "message", "model", "multipart", "text", "video"}


class SelectionWords(TypedDict, total=False):
    """The words of a selection as keywords, for signatures: `**words: Unpack[SelectionWords]`; see `Selection`."""

    run_id: str | None
    conversation_id: str | None
    session_id: str | None
    provider_id: str | None
    mime_type: str | None
    policy_name: str | None
    since: datetime | None
    until: datetime | None
    expires_before: datetime | None


class ListWords(SelectionWords, total=False):
    """What `MediaStore.list` takes: a selection, held ones only, and how many at most."""

    held: bool | None
    newest: int | None
    limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Conditions that a record must all meet; None asks nothing.

    Attributes
    ----------
    mime_type
        A type or a pattern of one: `image/*`, which `image` stands for too.
    since, until
        The timestamp is at or after, and before.
    expires_before
        The media expires, and before that instant.
    """

    run_id: str | None = None
    conversation_id: str | None = None
    session_id: str | None = None
    provider_id: str | None = None
    mime_type: str | None = None
    policy_name: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    expires_before: datetime | None = None

    def __post_init__(self) -> None:
        for name in (*_IDS, "mime_type"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InvalidMediaError(f"{name} must be a str, not {type(value).__name__}")
        if self.mime_type is not None:
            object.__setattr__(self, "mime_type", _mime_pattern(self.mime_type))
        for name in _INSTANTS:
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, datetime) or value.tzinfo is None:
                raise InvalidMediaError(
                    f"{name} must be an aware datetime, not {value!r}", next_step="e.g. datetime.now(UTC)"
                )

    def asks(self, *, beyond: OrganizationMode | None = None) -> bool:
        """Tell whether it asks anything, but for the id of the given mode."""
        skipped = beyond.id_field if beyond else ""
        return any(getattr(self, item.name) is not None for item in fields(self) if item.name != skipped)

    def matches(self, record: MediaRecord) -> bool:
        """Tell whether a record meets all conditions."""
        for name in _IDS:
            wanted = getattr(self, name)
            if wanted is not None and (getattr(record, name) or "") != wanted:
                return False
        if self.mime_type is not None and not fnmatchcase(mime.essence(record.mime_type), self.mime_type.lower()):
            return False
        return _within(record.timestamp, self.since, self.until) and _within(
            record.expires_at, None, self.expires_before
        )


def _mime_pattern(text: str) -> str:
    """Return the pattern that a caller means.

    Raises
    ------
    InvalidMediaError
        Nothing could ever meet it.
    """
    pattern = text.lower()
    if pattern.rstrip("/") in _TOP_LEVEL:
        return f"{pattern.rstrip('/')}/*"
    if "/" in pattern or any(sign in pattern for sign in "*?["):
        return pattern
    known = mime.guess_from_name(f"x.{pattern.lstrip('.')}")
    step = f"use {known!r}" if known else "use a type such as 'image/png', or a pattern such as 'image/*'"
    raise InvalidMediaError(f"{text!r} is no MIME type", next_step=step)


def _within(instant: datetime | None, since: datetime | None, until: datetime | None) -> bool:
    if since is None and until is None:
        return True
    if instant is None:
        return False
    return (since is None or instant >= since) and (until is None or instant < until)


def shows_selection(function: _F) -> _F:
    """Spell out the words of a selection in the signature of a function that takes them as `**words`.

    `help` and notebooks show that signature; type checkers and editors know the words by `Unpack`.
    """
    own = inspect.signature(function)
    before = [item for item in own.parameters.values() if item.kind is not item.VAR_KEYWORD]
    words = inspect.signature(Selection).parameters.values()
    vars(function)["__signature__"] = own.replace(parameters=[*before, *words])
    return function
