"""What importers find in a source: media to store, what they pass over, and what went wrong; one after the other."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from fsmedia.errors import InvalidMediaError, MediaError
from fsmedia.models import NotImported, PassedOver

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Found:
    """One media of a source.

    Attributes
    ----------
    source
        Where it lies, in words that stay the same when it is found again.
    open
        Opens its bytes; may raise `MediaError` or `OSError`.
    metadata
        Values of a `MediaMetadata`, unchecked, for they come from strangers.
    content
        Values of a `MediaContent` other than its source, unchecked; an empty or missing MIME type is guessed.
    size
        Bytes, where that is known.
    name
        A file name to guess the MIME type from.
    sha256
        Digest that the source promises.
    """

    source: str
    open: Callable[[], BinaryIO]
    metadata: dict[str, Any]
    content: dict[str, Any] = field(default_factory=dict)
    size: int | None = None
    name: str = ""
    sha256: str | None = None


def in_memory(source: str, data: bytes, metadata: dict[str, Any], content: dict[str, Any]) -> Found:
    """Return a media whose bytes stood in the source itself."""
    return Found(source, lambda: io.BytesIO(data), metadata, content, len(data))


def shown(text: object) -> str:
    """Return a stranger's text in a form that every storage and terminal can hold."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def wrong(source: str, problem: str, next_step: str = "") -> NotImported:
    """Say what is wrong with one thing of a source."""
    return NotImported(source=shown(source), error=InvalidMediaError(problem, next_step=next_step, key=shown(source)))


def failed(source: str, error: BaseException) -> NotImported:
    """Take what was raised for one thing of a source."""
    if not isinstance(error, MediaError):
        error = InvalidMediaError(f"can't be read ({type(error).__name__}: {shown(error)[:200]})", key=shown(source))
    return NotImported(source=shown(source), error=error)


def passed(source: str, reason: str) -> PassedOver:
    """Say why one thing of a source is no media to take."""
    return PassedOver(shown(source), reason)
