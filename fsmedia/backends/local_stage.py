"""A temporary file beside its target: how bytes reach a folder of this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from fsmedia.backends.failures import explained

if TYPE_CHECKING:
    from fsmedia.backends.local import LocalBackend


class LocalStage:
    """A temporary file beside its target; gone or renamed, never left, unless the process is killed."""

    def __init__(self, backend: LocalBackend, key: str, descriptor: int, temporary: str, target: str) -> None:
        self._backend = backend
        self._key = key
        self._descriptor: int | None = descriptor
        self._temporary: str | None = temporary
        self._target = target

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        with explained(self._key):
            view = memoryview(data)
            while view:
                view = view[os.write(self._open_descriptor(), view) :]

    def commit(self, content_type: str) -> None:
        """Rename the file to its name."""
        del content_type
        with explained(self._key):
            temporary = self._finish()
            os.rename(temporary, self._target)
            self._temporary = None
            self._backend.sync_folder(os.path.dirname(self._target))

    def link(self) -> bool:
        """Give the file its name unless something has it."""
        with explained(self._key):
            try:
                os.link(self._finish(), self._target)
            except FileExistsError:
                return False
            self._backend.sync_folder(os.path.dirname(self._target))
            return True

    def discard(self) -> None:
        """Remove the temporary file, and the folders made for it while they are empty."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary)
            self._backend.prune(os.path.dirname(self._temporary))
            self._temporary = None

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("written to after it was committed or discarded")
        return self._descriptor

    def _finish(self) -> str:
        descriptor = self._open_descriptor()
        self._backend.sync_file(descriptor)
        os.close(descriptor)
        self._descriptor = None
        if self._temporary is None:
            raise ValueError("committed twice")
        return self._temporary
