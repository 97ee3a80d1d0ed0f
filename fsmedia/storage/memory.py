"""fsspec's memory filesystem: shared by the process, gone with it. Looks things up without walking over all keys."""

from __future__ import annotations

import errno
import io
import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from fsmedia.errors import StoreConflictError
from fsmedia.format import keys
from fsmedia.storage.errors import ErrorTranslator, locked
from fsmedia.storage.fsspec_backend import FsspecBackend
from fsmedia.storage.port import SEEK_BLOCK, Entry, Exclusion, Fetched, Listing, refuse_larger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


LOCK_PATIENCE = 30.0
"""Seconds to wait for somebody who changes a name."""


class MemoryBackend(FsspecBackend):
    """A root in memory, which keeps no versions."""

    concurrency = 1
    keeps_folders = True
    looking_is_free = True
    in_one_process = True
    _creating: ClassVar[threading.Lock] = threading.Lock()
    _changing: ClassVar[threading.Lock] = threading.Lock()

    @property
    def exclusion(self) -> Exclusion:
        """All that can write here are threads of one process."""
        return Exclusion.LOCK

    @contextmanager
    def lock(self, names: Sequence[str]) -> Iterator[None]:
        """Take the one lock there is: it is never held for long."""
        lock = self._changing
        if not lock.acquire(timeout=LOCK_PATIENCE):
            raise locked(names[0])
        try:
            yield
        finally:
            lock.release()

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Put bytes unless there are any; whole for all threads of the process."""
        # A look and a write, which another thread must not come between.
        with self._creating:
            return super().create(key, data, content_type)

    def open(self, key: str, *, block_size: int = SEEK_BLOCK, size: int | None = None) -> BinaryIO:
        """Open a copy: fsspec hands the same object, with one position, to every reader."""
        if (data := self.read_range(key, None, None)) is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", key)
        return io.BytesIO(data)

    def head(self, key: str) -> Entry | None:
        """Look into the dict."""
        with ErrorTranslator(key):
            file = self.fs.store.get(self._path(key))
            return None if file is None else Entry(key, file.size, file.modified, None)

    def head_beside(self, key: str, beside: str) -> Entry | None:
        """Look into the dict twice."""
        return None if self.head(beside) is None else self.head(key)

    def fetch(self, reads: Sequence[str] = (), heads: Sequence[str] = (), *, patient: bool = False) -> Fetched:
        """Look into the dict."""
        found = [refuse_larger(key, self._small(key)) for key in reads]
        return Fetched(found, [self.head(key) for key in heads], [None] * len(found))

    def _small(self, key: str) -> bytes | None:
        limit = keys.largest(key)
        return self.read_range(key, None, None) if limit is None else self.read_range(key, 0, limit + 1)

    def read_range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        """Copy out of the stored bytes."""
        with ErrorTranslator(key):
            if (file := self.fs.store.get(self._path(key))) is None:
                return None
            return file.getvalue() if start is None and end is None else bytes(file.getbuffer()[start:end])

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """List in the order of the keys."""
        begin = f"{self._path(prefix.rstrip('/'))}/"
        size = len(f"{self._path('')}/")
        with ErrorTranslator(prefix or None):
            for path in sorted(self.fs.store):
                file = self.fs.store.get(path) if path.startswith(begin) else None
                if file is not None:
                    yield Entry(path[size:], file.size, file.modified, None)

    def children(self, folder: str = "", *, until: str | None = None) -> Listing:
        """Look through all keys once, as the filesystem itself must."""
        prefix = f"{self._path(folder)}/"
        size = len(prefix)
        below = f"{folder}/" if folder else ""
        entries: list[Entry] = []
        folders: dict[str, None] = {}
        # A copy of the dict is one step for other threads; a list of pairs is not, collecting garbage may come between.
        with ErrorTranslator(folder or None):
            found = self.fs.store.copy()
        for path, file in found.items():
            if not path.startswith(prefix):
                continue
            name, slash, _ = path[size:].partition("/")
            if slash:
                folders[below + name] = None
            else:
                entries.append(Entry(below + name, file.size, file.modified, None))
        for path in list(self.fs.pseudo_dirs):
            if path.startswith(prefix):
                folders[below + path[size:].partition("/")[0]] = None
        return Listing(entries, list(folders))

    def is_folder(self, key: str) -> bool:
        """Look for the name, and for names below it."""
        path = self._path(key)
        prefix = f"{path}/"
        with ErrorTranslator(key or None):
            return path in self.fs.pseudo_dirs or any(
                each.startswith(prefix) for each in (*self.fs.store, *self.fs.pseudo_dirs)
            )

    def make_folder(self, key: str) -> None:
        """Note the folder's name."""
        with ErrorTranslator(key):
            try:
                self.fs.makedirs(self._path(key), exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise StoreConflictError("is a file, not a folder", next_step="choose another name", key=key) from None

    def remove_folder(self, key: str) -> None:
        """Forget the folder's name."""
        with ErrorTranslator(key), suppress(FileNotFoundError):
            try:
                self.fs.rmdir(self._path(key))
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise


def _new_lock() -> None:
    """Replace the locks in a forked child: the parent's may have been held, and nobody would release them."""
    MemoryBackend._creating, MemoryBackend._changing = threading.Lock(), threading.Lock()


os.register_at_fork(after_in_child=_new_lock)
