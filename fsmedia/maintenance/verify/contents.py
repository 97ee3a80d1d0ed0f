"""Reading bytes once, piece by piece: size, digest and beginning; several at once where the storage gains from it."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from fsmedia.core.intake import HEAD_BYTES
from fsmedia.errors import MediaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsmedia.storage import Backend, Entry

PIECE = 10 * 2**20
"""Bytes of one request: what was stored by one PUT is read by one GET."""

_AT_ONCE = 4


class Content(NamedTuple):
    """What bytes say of themselves."""

    size: int
    sha256: str
    head: bytes


def read(backend: Backend, key: str, size: int) -> Content | None:
    """Read bytes whole; None if they are gone.

    Parameters
    ----------
    size
        As the storage told it: spares the look for more where that is all.
    """
    digest, start, head = hashlib.sha256(), 0, b""
    while True:
        piece = backend.read_range(key, start, start + PIECE)
        if piece is None:
            return None
        if not start:
            head = piece[:HEAD_BYTES]
        digest.update(piece)
        start += len(piece)
        if len(piece) < PIECE or start == size:
            return Content(start, digest.hexdigest(), head)


def read_many(backend: Backend, entries: Sequence[Entry]) -> list[Content | MediaError | None]:
    """Read several; what went wrong with one stands in its place."""

    def one(entry: Entry) -> Content | MediaError | None:
        try:
            return read(backend, entry.key, entry.size)
        except MediaError as error:
            return error

    if len(entries) < 2 or backend.concurrency < 2:  # noqa: PLR2004 - nothing to do at once
        return [one(entry) for entry in entries]
    with ThreadPoolExecutor(min(len(entries), backend.concurrency, _AT_ONCE)) as threads:
        return list(threads.map(one, entries))
