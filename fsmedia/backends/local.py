"""A folder of this machine. Promises: files 0600, folders 0750, bytes appear by rename, symlinks never lead out.

`durability="fsync"` makes each step durable before the next begins: the file before its rename, the folder after
it, and the parent of each new folder. `"rename"` leaves that to the kernel: safe against a killed process, not
against a power cut.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from fsmedia import keys
from fsmedia.backends.failures import explained, storage_error
from fsmedia.backends.local_stage import LocalStage
from fsmedia.backends.port import Backend, Entry, Fetched
from fsmedia.errors import InvalidReferenceError, MediaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Literal

FILE_MODE = 0o600
FOLDER_MODE = 0o750
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_ATTEMPTS = 100


class LocalBackend(Backend):
    """A store's root that is a folder; the folder is made by the first write."""

    def __init__(self, path: str, *, durability: Literal["fsync", "rename"] = "fsync") -> None:
        self.path = str(Path(path).absolute())
        self.url = self.path
        self.root_length = len(os.fsencode(self.path))
        self._sync = durability == "fsync"
        self._made_root = False
        self._durability = durability

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.path, self._durability)

    def __repr__(self) -> str:
        return f"LocalBackend({self.path!r}, durability={self._durability!r})"

    def roots(self) -> Sequence[str]:
        """Return the folder as given, as a URL, and with its symlinks resolved."""
        real = os.path.realpath(self.path)
        plain = [self.path, f"file://{self.path}", f"file://{quote(self.path)}", f"local://{self.path}"]
        return plain if real == self.path else [*plain, real, f"file://{real}", f"file://{quote(real)}"]

    # -- writing -------------------------------------------------------------------------------------------

    def write(self, key: str, data: bytes, content_type: str) -> None:
        """Put bytes at a key; a file system keeps no content type."""
        stage = self.stage(key)
        try:
            stage.write(data)
            stage.commit(content_type)
        finally:
            stage.discard()

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Put bytes at a key unless there is one: a hard link refuses an existing name, a rename does not."""
        del content_type
        stage = self.stage(key)
        try:
            stage.write(data)
            return stage.link()
        finally:
            stage.discard()

    def stage(self, key: str) -> LocalStage:
        """Open a temporary file in the folder of the key."""
        with explained(key):
            folder, _, name = self._inside(key).rpartition("/")
            for _ in range(_ATTEMPTS):
                temporary = f"{folder}/{keys.temporary_name()}"
                try:
                    descriptor = os.open(temporary, _NEW, FILE_MODE)
                except FileNotFoundError:
                    # Absent, or removed as empty by somebody's delete between the making and the opening.
                    self._make_folders(folder)
                    continue
                return LocalStage(self, key, descriptor, temporary, f"{folder}/{name}")
            raise OSError(errno.EAGAIN, "the folder vanishes each time it is made")

    def _make_folders(self, folder: str) -> None:
        """Make a folder and its parents, each with its mode; another process may make or remove them meanwhile."""
        parent = os.path.dirname(folder)
        try:
            os.mkdir(folder, FOLDER_MODE)
        except FileExistsError:
            if not os.path.isdir(folder) and not os.path.lexists(folder):
                return
            if not os.path.isdir(folder):
                raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", folder) from None
            return
        except FileNotFoundError:
            self._make_folders(parent)
            with suppress(FileNotFoundError, FileExistsError):  # the caller tries again
                os.mkdir(folder, FOLDER_MODE)
                self._made_root = self._made_root or folder == self.path
                self.sync_folder(parent)
            return
        self._made_root = self._made_root or folder == self.path
        self.sync_folder(parent)

    def sync_folder(self, folder: str) -> None:
        """Make the names in a folder durable."""
        if not self._sync:
            return
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return  # removed as empty by somebody else: nothing of ours was in it
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_file(self, descriptor: int) -> None:
        """Make a file's bytes durable."""
        if self._sync:
            os.fsync(descriptor)

    # -- reading -------------------------------------------------------------------------------------------

    def fetch(self, reads: Sequence[str] = (), heads: Sequence[str] = ()) -> Fetched:
        """Read and look, one after another."""
        return Fetched([self._read(key) for key in reads], [self._head(key) for key in heads])

    def _read(self, key: str) -> bytes | None:
        with explained(key):
            try:
                descriptor = os.open(self._inside(key), os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                if error.errno in _ABSENT:
                    return None
                raise
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                    return None
                return file.readall()

    def _head(self, key: str) -> Entry | None:
        with explained(key):
            try:
                found = os.stat(self._inside(key))
            except OSError as error:
                if error.errno in _ABSENT:
                    return None
                raise
            return _entry(key, found) if stat.S_ISREG(found.st_mode) else None

    def open(self, key: str) -> BinaryIO:
        """Open the file."""
        path = self._inside(key)
        try:
            return Path(path).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise FileNotFoundError(errno.ENOENT, "no such file", key) from None
        except OSError as error:
            raised = storage_error(error, key)
            raise raised from raised.__cause__

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Walk the folder; symlinked folders are not entered, symlinked files only count if they stay inside."""
        with explained(prefix or None):
            yield from self._walk(f"{prefix.rstrip('/')}/" if prefix else "")

    def _walk(self, prefix: str) -> Iterator[Entry]:
        try:
            with os.scandir(f"{self.path}/{prefix}") as found:
                items = [(item, item.is_dir(follow_symlinks=False)) for item in found]
        except OSError as error:
            if error.errno in _ABSENT:
                return
            raise
        for item, is_folder in sorted(items, key=_key_order):
            key = prefix + item.name
            if is_folder:
                yield from self._walk(f"{key}/")
                continue
            try:
                key.encode()
                if item.is_symlink():
                    self._inside(key)
                found_stat = item.stat()
            except (OSError, UnicodeEncodeError, InvalidReferenceError):
                continue  # gone since, a name that is no text, or a link that leads nowhere or out
            if stat.S_ISREG(found_stat.st_mode):
                yield _entry(key, found_stat)

    def holds(self, folder: str) -> bool:
        """Tell whether the folder has any entry."""
        with explained(folder or None):
            try:
                with os.scandir(self._inside(folder) if folder else self.path) as found:
                    return next(found, None) is not None
            except OSError as error:
                if error.errno in _ABSENT:
                    return False
                raise

    def local_path(self, key: str) -> Path:
        """Return the file's path."""
        return Path(self._inside(key))

    # -- removing ------------------------------------------------------------------------------------------

    def delete(self, keys: Iterable[str]) -> dict[str, MediaError]:
        """Remove files, then the folders that this left empty, without listing any."""
        failed: dict[str, MediaError] = {}
        for key in keys:
            try:
                with explained(key):
                    self._remove(key)
            except MediaError as error:
                failed[key] = error
        return failed

    def _remove(self, key: str) -> None:
        path = self._inside(key)
        folder = os.path.dirname(path)
        try:
            os.unlink(path)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
        else:
            self.sync_folder(folder)
        self.prune(folder)

    def prune(self, folder: str) -> None:
        """Remove a folder and its parents up to the root while they are empty; asking costs less than looking.

        The root itself goes too if this object made it: a refused first write leaves nothing behind.
        """
        shortest = len(self.path) if self._made_root else len(self.path) + 1
        while len(folder) >= shortest:
            try:
                os.rmdir(folder)
            except OSError as error:
                if error.errno not in _ABSENT:
                    return  # not empty, or not ours to remove: it does no harm
            folder = os.path.dirname(folder)

    # -- staying inside ------------------------------------------------------------------------------------

    def _inside(self, key: str) -> str:
        """Return the path of a key, refused if a symlink below the root leads out of it.

        Each part below the root is looked at once; only where one is a symlink is the whole path resolved.
        """
        path = self.path
        for part in key.split("/"):
            path = f"{path}/{part}"
            try:
                is_link = stat.S_ISLNK(os.lstat(path).st_mode)
            except OSError:
                break  # nothing here, so nothing below: whatever is wrong shows when the path is used
            if is_link:
                real, root = os.path.realpath(f"{self.path}/{key}"), os.path.realpath(self.path)
                if not real.startswith(f"{root}/"):
                    raise InvalidReferenceError(
                        "a symlink on its way leads out of the store",
                        next_step="replace the link by a real folder or file",
                        reference=key,
                    )
                break
        return f"{self.path}/{key}"


def _reopen(path: str, durability: Literal["fsync", "rename"]) -> LocalBackend:
    return LocalBackend(path, durability=durability)


def _key_order(item: tuple[os.DirEntry[str], bool]) -> str:
    """Sort a folder as the keys below it sort: by name and slash."""
    entry, is_folder = item
    return f"{entry.name}/" if is_folder else entry.name


def _entry(key: str, found: os.stat_result) -> Entry:
    modified = datetime.fromtimestamp(max(found.st_mtime, found.st_ctime), UTC)
    return Entry(key, found.st_size, modified, f"{found.st_ino}-{found.st_mtime_ns}")
