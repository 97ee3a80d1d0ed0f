"""Giving an error the reference it is about, where it was raised by something that only knew keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.errors import MediaError

if TYPE_CHECKING:
    from types import TracebackType


def named(error: MediaError, reference: str) -> MediaError:
    """Give an error the reference it is about."""
    if error.reference is None:
        error.reference = str(reference)
        error.args = (str(error),)
    return error


class about:  # noqa: N801 - reads as a preposition where it is used
    """Give every error that leaves a block the reference it is about."""

    __slots__ = ("_reference",)

    def __init__(self, reference: str) -> None:
        self._reference = reference

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, MediaError):
            named(error, self._reference)
