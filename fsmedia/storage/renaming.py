"""Filesystems of which it is not known that a write is atomic: written aside, then moved.

As whole as the filesystem's own `mv` is; SFTP and the like rename.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fsmedia.format import keys
from fsmedia.storage.objects import FsspecBackend
from fsmedia.storage.port import Backend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fsmedia.errors import MediaError
    from fsmedia.storage.port import Write


class RenamingBackend(FsspecBackend):
    """A root on a filesystem that nobody has told us about."""

    def write_many(self, writes: Sequence[Write]) -> dict[int, MediaError]:
        """Write one after another: what is sent at once would not be written aside."""
        return Backend.write_many(self, writes)

    def _put(self, key: str, data: bytes, **options: Any) -> None:
        self._by_rename(key, lambda path: self.fs.pipe_file(path, data, **options))

    def _put_file(self, key: str, file: Path, size: int, content_type: str) -> None:
        del size, content_type
        self._ask(key, lambda: self._by_rename(key, lambda path: self.fs.put_file(str(file), path)))

    def _by_rename(self, key: str, put: Callable[[str], object]) -> None:
        folder = self._path(key).rpartition("/")[0]
        temporary = f"{folder}/{keys.temporary_name()}"
        self.fs.makedirs(folder, exist_ok=True)
        try:
            put(temporary)
            self.fs.mv(temporary, self._path(key))
        except BaseException:
            with suppress(Exception):
                self.fs.rm_file(temporary)
            raise
