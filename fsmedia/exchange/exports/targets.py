"""Where an export goes: a folder of this machine or any URL that a store could have as its root, but no store.

Each file appears whole, by rename or one PUT, and replaces nothing unless that was asked for.
"""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from fsmedia.errors import InvalidMediaError, InvalidReferenceError, StoreConflictError
from fsmedia.format import keys
from fsmedia.storage import open_backend

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from fsmedia.storage import Entry, Stage
    from fsmedia.store import MediaStore

CHUNK = 2**20
_TIMEOUT = timedelta(seconds=60)
_OCTETS = "application/octet-stream"


class Target:
    """An opened place to export to.

    Raises
    ------
    InvalidMediaError
        It is a store, or lies in the one that is exported.
    """

    def __init__(
        self,
        store: MediaStore,
        place: str | os.PathLike[str],
        options: Mapping[str, Any] | None,
        *,
        overwrite: bool,
    ) -> None:
        self.backend = open_backend(os.fspath(place), options, timeout=_TIMEOUT, durability="rename")
        self.overwrite = overwrite
        if _lies_in(store, self.backend.roots()) or self.backend.read(keys.CONFIGURATION_KEY) is not None:
            raise InvalidMediaError(
                "an export can't go into a store: its files would be listed as media",
                next_step="name another folder",
                key=self.backend.url,
            )

    def heads(self, names: Sequence[str]) -> list[Entry | None]:
        """Look at several files."""
        return self.backend.fetch(heads=names).heads

    def put(self, name: str, chunks: Iterable[bytes], content_type: str = _OCTETS, *, replace: bool = False) -> None:
        """Write a file.

        Raises
        ------
        StoreConflictError
            There is one of that name.
        """
        stage = self.backend.stage(name)
        try:
            for chunk in chunks:
                stage.write(chunk)
            self.commit(stage, name, content_type, replace=replace)
        finally:
            stage.discard()

    def commit(self, stage: Stage, name: str, content_type: str, *, replace: bool) -> None:
        """Let a file that was staged appear."""
        if replace or self.overwrite:
            stage.commit(content_type)
        elif not stage.commit_new(content_type):
            raise there_is(name)

    def close(self) -> None:
        """Let go of what is held open."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lies_in(store: MediaStore, roots: Iterable[str]) -> bool:
    for root in roots:
        try:
            store.media_url(f"{root.rstrip('/')}/x")
        except InvalidReferenceError:
            continue
        return True
    return False


def there_is(name: str) -> StoreConflictError:
    """Say that something else is in the way."""
    return StoreConflictError(
        "something else lies there already", next_step="export to an empty folder, or overwrite", key=name
    )


class Checked:
    """The bytes of one media as they are read: at their end they must be those that its record speaks of."""

    def __init__(self, file: BinaryIO, row: Mapping[str, Any]) -> None:
        self._file = file
        self._row = row
        self._digest = hashlib.sha256()
        self._size = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        data = self._file.read(CHUNK)
        if data:
            self._digest.update(data)
            self._size += len(data)
            return data
        wanted = self._row["sha256"]
        if self._size != self._row["size_bytes"] or (wanted and self._digest.hexdigest() != wanted):
            raise InvalidMediaError(
                "its bytes are not those that its sidecar speaks of",
                next_step="verify the store",
                reference=self._row["reference"],
            )
        raise StopIteration
