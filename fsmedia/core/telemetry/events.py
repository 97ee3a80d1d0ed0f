"""What is told of one operation, and who may be told. Pure: values and names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fsmedia.errors import InvalidMediaError, MediaError, without_secrets

if TYPE_CHECKING:
    from datetime import timedelta

_NAMES = {
    "store": "media.stored",
    "retrieve": "media.retrieved",
    "delete": "media.deleted",
    "open": "media.opened",
    "get_url": "media.url_given",
    "apply_policy": "media.policy_applied",
    "hold": "media.held",
    "release": "media.released",
    "enforce_policy": "media.swept",
    "sweep_orphans": "media.orphans_swept",
    "rebuild_due_index": "media.due_index_rebuilt",
    "deduplicate": "media.deduplicated",
    "erase": "media.erased",
}
"""Names of what succeeded, the first three as PromptKit has them; of any other operation it is `media.<operation>`."""

_FAILED = "media.store_error"  # PromptKit's, whatever the operation was
_LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One operation on a store, once it has ended.

    Each call is one event. Bulk calls and sweeps also are one event for each media that they stored, retrieved or
    deleted, and for each that failed; those say `within` which call, have no duration, and come before the call's own.

    Attributes
    ----------
    operation
        `store`, `retrieve`, `delete`, `get_url`, `open`, ...: the method's name, without `_media`.
    backend
        Protocol of the store's URL: `file`, `memory`, `s3`, `gs`, ...
    url
        The store's root, without user, password or query.
    reference
        The media's; None where there is none (yet), or where many are meant.
    mime_type, size_bytes
        What is known of the media; of a sweep, the bytes that it freed.
    duration
        Time from call to answer; None for one media of many.
    run_id, conversation_id, session_id, message_idx, part_idx
        Of the media, where the operation knows them.
    within
        The operation that this is a part of.
    reason
        Of a deletion: `explicit`, or `policy`.
    count, failed, skipped, examined
        Of bulk calls and sweeps: media that were done, that failed, that had to stay, that were looked at.
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
        return _FAILED if self.error_type else _NAMES.get(self.operation, f"media.{self.operation}")


class Hook(Protocol):
    """Whoever wants to hear of each operation: called with its `Event`, in the thread that did it, before it returns.

    What it raises is logged once and stops nothing. What it does with a store is not told to any hook.
    """

    def __call__(self, event: Event, /) -> object:
        """Take note; quickly, for the operation waits."""


def checked_hooks(hooks: object) -> tuple[Hook, ...]:
    """Return what a caller gave as hooks.

    Raises
    ------
    InvalidMediaError
        They can't be called, or are not several.
    """
    try:
        found: tuple[Any, ...] = tuple(hooks)  # type: ignore[arg-type] # a stranger's value
    except TypeError:
        found = (None,)
    if not all(callable(each) for each in found):
        raise InvalidMediaError(
            f"hooks must be several functions, not {type(hooks).__name__}",
            next_step="hooks=[function]; each is called with a fsmedia.Event after each operation",
        )
    return found


def safe_text(error: BaseException) -> str | None:
    """Return the text of an error of this package; others may say anything."""
    return without_secrets(str(error))[:_LONGEST_ERROR] if isinstance(error, MediaError) else None
