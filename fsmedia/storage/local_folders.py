"""Folders of this machine, as a file system shows them: listed, made, removed."""

from __future__ import annotations

import errno
import os
import stat
from abc import abstractmethod
from datetime import UTC, datetime

from fsmedia.errors import InvalidReferenceError, StoreConflictError
from fsmedia.format import keys
from fsmedia.storage.errors import explained
from fsmedia.storage.local_files import entry_of
from fsmedia.storage.port import Backend, Entry, Listing

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_IN_USE = (*_ABSENT, errno.ENOTEMPTY, errno.EEXIST)


class LocalFolders(Backend):
    """The part of `LocalBackend` that knows folders."""

    keeps_folders = True
    path: str

    @abstractmethod
    def _make_folders(self, folder: str) -> None:
        """Make a folder and its parents."""

    def children(self, folder: str = "", *, until: str | None = None) -> Listing:
        """Read one folder; symlinks count as `entries` has them: only to files, only inside."""
        del until
        prefix = f"{folder}/" if folder else ""
        entries: list[Entry] = []
        folders: list[str] = []
        with explained(folder or None):
            try:
                with os.scandir(self._inside(folder) if folder else self.path) as found:
                    items = list(found)
            except OSError as error:
                if error.errno in _ABSENT:
                    return Listing([], [])
                raise
            for item in items:
                key = prefix + item.name
                # A sidecar's own size and time only matter where it stands for bytes that lie elsewhere.
                plain = len(item.name) < keys.SHORTEST
                if plain and key.endswith(keys.SIDECAR_SUFFIX) and item.is_file(follow_symlinks=False):
                    entries.append(Entry(key, 0))
                elif item.is_dir(follow_symlinks=False):
                    folders.append(key)
                elif (entry := self.entry_at(item, key)) is not None:
                    entries.append(entry)
        return Listing(entries, folders)

    def entry_at(self, item: os.DirEntry[str], key: str) -> Entry | None:
        """Describe a file of a folder; None for what is no file, is gone, has no text for a name, or leads out."""
        try:
            if not key.isascii():
                key.encode()
            if item.is_symlink():
                self._inside(key)
            found = item.stat()
        except (OSError, UnicodeEncodeError, InvalidReferenceError):
            return None
        return entry_of(key, found) if stat.S_ISREG(found.st_mode) else None

    def head_beside(self, key: str, beside: str) -> Entry | None:
        """Look; the way to both is the same and needs one check."""
        found = self.head(key)
        if found is None:
            return None
        with explained(beside):
            try:
                return found if stat.S_ISREG(os.stat(f"{self.path}/{beside}").st_mode) else None
            except OSError as error:
                if error.errno in _ABSENT:
                    return None
                raise

    def is_folder(self, key: str) -> bool:
        """Look."""
        with explained(key or None):
            found = self._seen(key) if key else os.stat(self.path)
            return found is not None and stat.S_ISDIR(found.st_mode)

    def make_folder(self, key: str) -> None:
        """Make the folder and its parents, 0750."""
        with explained(key):
            path = self._inside(key)
            try:
                while not os.path.isdir(path):
                    self._make_folders(path)
            except (NotADirectoryError, FileExistsError):
                raise StoreConflictError("is a file, not a folder", next_step="choose another name", key=key) from None

    def remove_folder(self, key: str) -> None:
        """Remove the folder if it is empty."""
        with explained(key):
            try:
                os.rmdir(self._inside(key))
            except OSError as error:
                if error.errno not in _IN_USE:
                    raise

    def touched(self, entry: Entry) -> datetime | None:
        """Return the later of mtime, which programs may set, and ctime, which they can't; None if it is gone."""
        try:
            found = os.lstat(f"{self.path}/{entry.key}")
        except OSError:
            return None
        return datetime.fromtimestamp(max(found.st_mtime, found.st_ctime), UTC)

    def place_of(self, key: str) -> str:
        """Return the path with its folders' symlinks resolved."""
        folder, _, name = f"{self.path}/{key}".rpartition("/")
        return f"{os.path.realpath(folder)}/{name}"

    def is_link(self, key: str) -> bool:
        """Look at the name itself; the root may be a link."""
        return bool(key) and os.path.islink(f"{self.path}/{key}")

    def check(self, key: str) -> None:
        """Refuse a key behind a symlink that leads out."""
        self._inside(key)

    # -- staying inside ------------------------------------------------------------------------------------

    def _inside(self, key: str) -> str:
        """Return the path of a key, refused if a symlink below the root leads out of it.

        Each part below the root is looked at; only where one is a symlink is the whole path resolved.
        """
        end = len(self.path)
        path = f"{self.path}/{key}"
        while end < len(path):
            end = path.find("/", end + 1)
            if end < 0:
                end = len(path)
            try:
                is_link = stat.S_ISLNK(os.lstat(path[:end]).st_mode)
            except OSError:
                break  # nothing here, so nothing below: whatever is wrong shows when the path is used
            if is_link:
                self._check_link(key)
                break
        return path

    def _seen(self, key: str) -> os.stat_result | None:
        """Return what is at a key, checked as `_inside` does; None if nothing is."""
        end = len(self.path)
        path = f"{self.path}/{key}"
        length = len(path)
        try:
            while end < length:
                end = path.find("/", end + 1)
                if end < 0:
                    end = length
                found = os.lstat(path[:end])
                if stat.S_ISLNK(found.st_mode):
                    self._check_link(key)
                    return os.stat(path)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return found

    def _check_link(self, key: str) -> None:
        root = os.path.realpath(self.path)
        real = os.path.realpath(f"{self.path}/{key}")
        there = real[len(root) + 1 :]
        # A link to a sidecar would show it as a media, unless it stands for the sidecar of a linked media.
        shows = keys.is_hidden(there) and not (keys.is_sidecar(key) and keys.is_sidecar(there))
        if not real.startswith(f"{root}/") or shows:
            raise InvalidReferenceError(
                "a symlink on its way leads out of the store's media",
                next_step="replace the link by a real folder or file",
                key=key,
            )
