"""A temporary file beside its target: how bytes reach a folder of this machine."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from fsmedia.storage.errors import explained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsmedia.storage.local import LocalBackend

_CHUNK = 2**20
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class LocalStage:
    """A temporary file beside its target; gone or renamed, never left, unless the process is killed."""

    def __init__(self, backend: LocalBackend, key: str, descriptor: int, temporary: str, target: str) -> None:
        self._backend = backend
        self._key = key
        self._descriptor: int | None = descriptor
        self._temporary: str | None = temporary
        self._target = target
        self._owner = os.getpid()

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        with explained(self._key):
            view = memoryview(data)
            while view:
                view = view[os.write(self._open_descriptor(), view) :]

    def patch(self, data: bytes) -> None:
        """Replace the first bytes."""
        with explained(self._key):
            os.pwrite(self._open_descriptor(), data, 0)

    def reread(self) -> Iterator[bytes]:
        """Give what was written so far."""
        with explained(self._key):
            position = 0
            while data := os.pread(self._open_descriptor(), _CHUNK, position):
                position += len(data)
                yield data

    def aim(self, key: str) -> None:
        """Choose another key, in any folder: the root is one file system."""
        self._key = key
        self._target = self._backend.prepared(key)

    def commit(self, content_type: str) -> None:
        """Rename the file to its name."""
        del content_type
        with explained(self._key):
            temporary = self._finish()
            try:
                os.rename(temporary, self._target)
            except FileNotFoundError:
                # Another's delete took the folder away as empty since it was chosen.
                os.rename(temporary, self._backend.prepared(self._key))
            self._temporary = None
            self._backend.sync_folder(os.path.dirname(self._target))

    def commit_new(self, content_type: str) -> bool:
        """Give the file its name unless something has it."""
        del content_type
        with explained(self._key):
            temporary = self._finish()
            try:
                os.link(temporary, self._target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                # A file system without hard links: looking first is the best it can do.
                if os.path.lexists(self._target):
                    return False
                os.rename(temporary, self._target)
                self._temporary = None
            self._backend.sync_folder(os.path.dirname(self._target))
            return True

    def discard(self) -> None:
        """Remove the temporary file, and the folders made for it while they are empty."""
        # Each is forgotten before it is let go: a number that was closed may be another thread's file by now.
        descriptor, self._descriptor = self._descriptor, None
        temporary, self._temporary = self._temporary, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)
        if temporary is not None and os.getpid() == self._owner:  # a forked child leaves it to its parent
            with suppress(OSError):  # what can't be removed is hidden, and a leftover
                os.unlink(temporary)
            self._backend.prune(os.path.dirname(temporary))

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("written to after it was committed or discarded")
        return self._descriptor

    def _finish(self) -> str:
        descriptor = self._open_descriptor()
        self._backend.sync_file(descriptor)
        self._descriptor = None
        os.close(descriptor)
        if self._temporary is None:
            raise ValueError("committed twice")
        return self._temporary
