"""How a content that a store handed out reaches its bytes: opened at the storage, or downloaded once."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from fsmedia.core import commit, records
from fsmedia.core.sources import CHUNK_BYTES
from fsmedia.models import local_copy

if TYPE_CHECKING:
    from pathlib import Path

    from fsmedia.storage import Backend


class StoredBytes:
    """The bytes of one stored media; a download lasts as long as this object or its path."""

    def __init__(self, backend: Backend, reference: str, mime_type: str) -> None:
        self._backend = backend
        self._reference = reference
        self._mime_type = mime_type
        self._copy: Path | None = None

    def __repr__(self) -> str:
        return f"StoredBytes({self._reference!r})"

    def open(self) -> BinaryIO:
        """Open the stored bytes."""
        return records.open_bytes(self._backend, self._reference)

    def local_path(self) -> Path:
        """Return the path of a temporary copy, made at the first call, removed with the content and the path."""
        if self._copy is None:
            with commit.about(self._reference), self.open() as file:
                self._copy = local_copy(iter(lambda: file.read(CHUNK_BYTES), b""), self._mime_type)
        return self._copy
