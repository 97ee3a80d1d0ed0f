"""fsspec's memory filesystem: shared by the process, gone with it. Looks things up without walking over all keys."""

from __future__ import annotations

import errno
import io
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

from fsmedia.backends.infos import entry_of
from fsmedia.backends.objects import FsspecBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsmedia.backends.port import Entry

_CREATING = threading.Lock()


class MemoryBackend(FsspecBackend):
    """A root in memory."""

    concurrency = 1

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Put bytes unless there are any; whole for all threads of the process."""
        with _CREATING:
            return super().create(key, data, content_type)

    def open(self, key: str) -> BinaryIO:
        """Open a copy: fsspec hands the same object, with one position, to every reader."""
        try:
            return io.BytesIO(self.fs.cat_file(self._path(key)))
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such object", key) from None

    def _looker(self, key: str) -> Callable[[], Any]:
        def look() -> Entry | None:
            file = self.fs.store.get(self._path(key))
            return None if file is None else entry_of(key, {"size": file.size, "mtime": file.modified})

        return look
