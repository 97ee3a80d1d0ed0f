"""A folder of this machine. Promises: modes as asked, bytes appear by rename, symlinks never lead out.

Private files are 0600 and folders 0750; shared ones are what the umask leaves of 0666 and 0777. Nothing is chmodded: a
setgid folder gives its group to what is made in it.

What is opened, written, moved or removed is reached by descriptors, from the root down: a path is followed anew by each
call, and whoever can write here may put a symlink in the place of a folder between a look and its use.

`durability="fsync"` makes each step durable before the next begins: the file before its rename, the folder after
it, and the parent of each new folder. `"rename"` leaves that to the kernel: safe against a killed process, not
against a power cut.
"""

# Longer than 1,000 lines: reads, writes, listings and locks go the same ways, which stand here once.

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time
import unicodedata
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ParamSpec, TypeVar
from urllib.parse import quote
from weakref import WeakValueDictionary

from fsmedia.errors import InvalidReferenceError, MediaError, StorageError, StoreConflictError
from fsmedia.format import keys
from fsmedia.storage.errors import ErrorTranslator, locked, storage_error
from fsmedia.storage.listing import depth_first
from fsmedia.storage.port import (
    LONGEST_WAIT,
    SEEK_BLOCK,
    Backend,
    Entry,
    Exclusion,
    Fetched,
    Listing,
    StorageClock,
    refuse_larger,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Literal, Self

P = ParamSpec("P")
T = TypeVar("T")
# Of files and folders.
_MODES = {"private": (0o600, 0o750), "shared": (0o666, 0o777)}
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # not to wait for somebody's pipe of that name
# O_PATH asks for no permission to list the folder; where there is none the way needs it.
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_STEP = _FOLDER | os.O_NOFOLLOW
_LINKED = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
"""What systems say of a symlink where O_NOFOLLOW asks for none, and of a file where a folder is asked for."""
_SWAPS = 8
"""How often a way is followed anew on which somebody swaps folders and links."""
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)
_ATTEMPTS = 100
_REMEMBERED = 10_000
_CHUNK = 2**20
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_IN_USE = (*_ABSENT, errno.ENOTEMPTY, errno.EEXIST)


def unless_absent(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Make a call to the operating system; None where nothing has the name."""
    try:
        return call(*args, **kwargs)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def scanned(path: str) -> list[os.DirEntry[str]]:
    """Read a folder whole."""
    with os.scandir(path) as found:
        return list(found)


def entry_of(key: str, found: os.stat_result) -> Entry:
    """Read a stat as an entry; a file is as old as its bytes and its name are, whichever is later."""
    try:
        modified = datetime.fromtimestamp(max(found.st_mtime, found.st_ctime), UTC)
    except (ValueError, OverflowError, OSError):
        modified = None  # a stranger's file from the year 36812 must not hide the others
    return Entry(key, found.st_size, modified, f"{found.st_ino}-{found.st_mtime_ns}")


class LocalStage:
    """A temporary file beside its target; gone or renamed, never left, unless the process is killed.

    `folder`: that of both, where it stays open until the commit; it is not closed here.
    """

    def __init__(
        self, backend: LocalBackend, key: str, descriptor: int, temporary: str, folder: int | None = None
    ) -> None:
        self._backend = backend
        self._key = key
        self._descriptor: int | None = descriptor
        self._temporary: str | None = temporary
        self._folder = folder
        self._owner = os.getpid()

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        with ErrorTranslator(self._key):
            view = memoryview(data)
            while view:
                view = view[os.write(self._open_descriptor(), view) :]

    def patch(self, data: bytes) -> None:
        """Replace the first bytes."""
        with ErrorTranslator(self._key):
            os.pwrite(self._open_descriptor(), data, 0)

    def reread(self) -> Iterator[bytes]:
        """Give what was written so far."""
        with ErrorTranslator(self._key):
            position = 0
            while data := os.pread(self._open_descriptor(), _CHUNK, position):
                position += len(data)
                yield data

    def retarget(self, key: str) -> None:
        """Choose another key, in any folder: the root is one file system."""
        self._key, self._folder = key, None
        self._backend.prepared(key)

    def ready(self) -> None:
        """Make the bytes durable now, so that only the rename is left."""
        if self._descriptor is not None:
            with ErrorTranslator(self._key):
                self._backend.sync_file(self._descriptor)

    def commit(self, content_type: str) -> None:
        """Rename the file to its name."""
        with ErrorTranslator(self._key):
            # The bytes are durable before they have a name: after a power cut no name leads to a part of them.
            temporary = self._finish()
            try:
                self._backend.move(temporary, self._key, self._folder)
            except FileNotFoundError:
                # Another's delete took the folder away as empty since it was chosen.
                self._backend.prepared(self._key)
                self._backend.move(temporary, self._key)
            self._temporary = None
            self._backend.sync_folder(self._backend.folder_path(self._key))

    def commit_new(self, content_type: str) -> bool:
        """Give the file its name unless something has it."""
        with ErrorTranslator(self._key):
            temporary = self._finish()
            # A link refuses a name that is taken, in one step; a rename replaces it.
            try:
                self._backend.link(temporary, self._key, self._folder)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                # A file system without hard links: looking first is the best it can do.
                if os.path.lexists(self._backend.local_path(self._key)):
                    return False
                self._backend.move(temporary, self._key)
                self._temporary = None
            self._backend.sync_folder(self._backend.folder_path(self._key))
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
            with suppress(OSError, MediaError):  # what can't be removed is hidden, and a leftover
                self._backend.unlink(temporary)
            self._backend.prune(self._backend.folder_path(temporary))

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("written to after it was committed or discarded")
        return self._descriptor

    def _finish(self) -> str:
        descriptor = self._open_descriptor()
        self._backend.sync_file(descriptor)
        # Forgotten first: if the closing fails, the number must not be closed a second time.
        self._descriptor = None
        os.close(descriptor)
        if self._temporary is None:
            raise ValueError("committed twice")
        return self._temporary


class _OpenFolder:
    """A folder's descriptor, and a name in it, for a block. A class, not a generator: it stands around every call."""

    __slots__ = ("_descriptor", "_name")

    def __init__(self, descriptor: int, name: str = "") -> None:
        self._descriptor = descriptor
        self._name = name

    def __enter__(self) -> tuple[int, str]:
        return self._descriptor, self._name

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


class _LastFolder:
    """Keeps the folder of the last key open, so that the next key in the same folder needs no walk of its own."""

    # Only for keys that follow each other: a folder that is removed meanwhile stays empty, so what is not found in it
    # was absent at a moment of this call, and not before what was answered last. Made anew, it may hold the key again.

    __slots__ = ("_backend", "_folder", "_parent")

    def __init__(self, backend: LocalBackend) -> None:
        self._backend = backend
        self._folder: int | None = None
        self._parent = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            os.close(folder)

    def opened(self, key: str, flags: int) -> int:
        """Open what is at a key; a symlink on its way is an error, see `_LINKED`."""
        parent, _, name = key.rpartition("/")
        if self._folder is None or parent != self._parent:
            self.__exit__()
            self._folder, self._parent = self._backend._walked(parent, _FOLDER), parent
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=self._folder)

    def seen(self, key: str) -> os.stat_result | None:
        """Look at what is at a key, if its folder is open; at a symlink itself."""
        parent, _, name = key.rpartition("/")
        if self._folder is None or parent != self._parent:
            return None
        return os.stat(name, dir_fd=self._folder, follow_symlinks=False)


class LocalBackend(Backend):
    """A store's root that is a folder; the folder is made by the first write."""

    keeps_folders = True
    looking_is_free = True
    renames = True
    concurrency = 4
    """Waiting for the disk (fsync) overlaps; more threads only wait for each other."""

    def __init__(self, path: str, *, durability: Literal["fsync", "rename"] = "fsync") -> None:
        self.path = str(Path(path).absolute())
        self.url = self.path
        self.root_length = len(os.fsencode(self.path))
        self._sync = durability == "fsync"
        self._topmost_made: str | None = None
        self._synced: set[str] = set()
        self._durability = durability
        self._locks: LockFiles | None = None
        self._clock = _clocks.setdefault(self.path, StorageClock())

    def __reduce__(self) -> tuple[object, ...]:
        return partial(LocalBackend, durability=self._durability), (self.path,), {"permissions": self.permissions}

    def __repr__(self) -> str:
        return f"LocalBackend({self.path!r}, durability={self._durability!r})"

    def below(self, folder: str) -> LocalBackend:
        """Return a backend of a folder."""
        return LocalBackend(f"{self.path}/{folder}", durability=self._durability)

    @property
    def skew(self) -> timedelta:
        """What the files tell that are written: known from the first one on."""
        return self._clock.skew

    def roots(self) -> Sequence[str]:
        """Return the folder as given, as a URL, and with its symlinks resolved."""
        real = os.path.realpath(self.path)
        plain = [self.path, f"file://{self.path}", f"file://{quote(self.path)}", f"local://{self.path}"]
        return plain if real == self.path else [*plain, real, f"file://{real}", f"file://{quote(real)}"]

    def store_above(self) -> str | None:
        """Look into every folder above; only the real ones count, for a store does not reach through links."""
        with ErrorTranslator(None):
            for parent in Path(os.path.realpath(self.path)).parents:
                try:
                    if stat.S_ISREG(os.stat(parent / keys.CONFIGURATION_KEY).st_mode):
                        return str(parent)
                except OSError as error:
                    # Who may not look into a folder can't be told whether it has a store, and may still have one below.
                    if error.errno not in (*_ABSENT, errno.EACCES, errno.EPERM):
                        raise
        return None

    # -- writing -------------------------------------------------------------------------------------------

    @property
    def file_mode(self) -> int:
        """Mode of a new file, before the umask."""
        return _MODES[self.permissions][0]

    def write(self, key: str, data: bytes, content_type: str) -> None:
        """Put bytes at a key; a file system keeps no content type."""
        self._put(key, data, lambda stage: stage.commit(content_type))

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Put bytes at a key unless there is one: a hard link refuses an existing name, a rename does not."""
        return self._put(key, data, lambda stage: stage.commit_new(content_type))

    def _put(self, key: str, data: bytes, commit: Callable[[LocalStage], T]) -> T:
        """Stage bytes and commit them, by one way to their folder."""

        def put(folder: int) -> T:
            stage = self._begun(key, folder, folder)
            try:
                stage.write(data)
                return commit(stage)
            finally:
                stage.discard()

        with ErrorTranslator(key):
            return self._in_made(key.rpartition("/")[0], put)

    @property
    def exclusion(self) -> Exclusion:
        """Locks, unless the file system has none: some network mounts."""
        return self._lock_files().exclusion

    @property
    def known_exclusion(self) -> Exclusion | None:
        """What was found, if a write of this process has tried: that makes a file."""
        return self._lock_files().shared.exclusion

    def _lock_files(self) -> LockFiles:
        if self._locks is None or self._locks.process != os.getpid():
            self._locks = LockFiles(self)
        return self._locks

    def lock(self, names: Sequence[str]) -> AbstractContextManager[None]:
        """Lock one of 256 files for each name, in their order: two who need two can't wait for each other."""
        if self.exclusion is not Exclusion.LOCK or self._locks is None:
            raise NotImplementedError(f"{self.path} has no locks")
        return self._locks.held([self._locked_as(name) for name in names])

    def _locked_as(self, name: str) -> str:
        """Return what is the same for all names of one file: through links to folders, and on disks that ignore case.

        It is the name itself where none of this is, whatever path the root has on another machine.
        """
        place, parent = name, name.rpartition("/")[0]
        with suppress(OSError):  # what can't be looked at leads nowhere
            if parent and stat.S_ISLNK(self._on_way(parent).st_mode):
                place = self.place_of(name).removeprefix(os.path.realpath(self.path)).removeprefix("/")
        return unicodedata.normalize("NFC", place.casefold())

    def rename(self, source: str, target: str) -> bool:
        """Rename, and make both names durable."""
        with ErrorTranslator(source):
            old, new = self._inside(source), self.prepared(target)
            try:
                self.move(source, target)
            except FileNotFoundError:
                return False
            for folder in {os.path.dirname(old), os.path.dirname(new)}:
                self.sync_folder(folder)
            return True

    def stage(self, key: str) -> LocalStage:
        """Open a temporary file in the folder of the key."""
        with ErrorTranslator(key):
            return self._in_made(key.rpartition("/")[0], partial(self._begun, key))

    def _begun(self, key: str, folder: int, kept: int | None = None) -> LocalStage:
        """Open a temporary file in a folder that is open; `kept`: the folder, if it stays so until the commit."""
        parent, slash, name = key.rpartition("/")
        self._refuse_link_out(folder, name, key)
        temporary = keys.temporary_name()
        descriptor = os.open(temporary, _NEW, self.file_mode, dir_fd=folder)
        # A disk that several machines share has the clock of one of them.
        if self._clock.is_wanted:
            self._clock.note(datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC))
        stage = LocalStage(self, key, descriptor, f"{parent}{slash}{temporary}", kept)
        try:
            self._sync_once(self.folder_path(key))
        except BaseException:
            stage.discard()
            raise
        return stage

    def prepared(self, key: str) -> str:
        """Return the path of a key, its folder made and durable."""
        with ErrorTranslator(key):
            path = self._inside(key)
            folder = os.path.dirname(path)
            if not os.path.isdir(folder):
                self._in_made(key.rpartition("/")[0], int)
            self._sync_once(folder)
            return path

    def _in_made(self, parent: str, call: Callable[[int], T]) -> T:
        """Make a folder where it is missing, as are those above it, and do something with its descriptor."""
        for _ in range(_ATTEMPTS):
            try:
                with _OpenFolder(self._opened(parent, _FOLDER, make=True)) as (folder, _):
                    return call(folder)
            except FileNotFoundError:
                # The root is absent, or somebody's delete has removed a folder as empty since it was made or found.
                if not os.path.isdir(self.path):
                    self._make_root()
        raise OSError(errno.ENOENT, "its folder can't be made, or vanishes each time", f"{self.path}/{parent}")

    def _made(self, place: str, folder: str) -> int:
        """Open a folder at a place below the root, as `_walked` does, and make what is missing, each with its mode.

        `folder`: its path as it was asked for, which is that of the place unless symlinks lead there.
        """
        if not place:
            return os.open(self.path, _FOLDER)
        above: int | None = None
        parts = place.split("/")
        for left, part in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
            name = part if above is not None else f"{self.path}/{part}"
            try:
                try:
                    descriptor = os.open(name, _STEP, dir_fd=above)
                except FileNotFoundError:
                    self._synced.discard(folder.rsplit("/", left)[0])
                    with suppress(FileExistsError):  # by another process, or it is no folder, as opening it will show
                        os.mkdir(name, _MODES[self.permissions][1], dir_fd=above)
                    descriptor = os.open(name, _STEP, dir_fd=above)
            finally:
                if above is not None:
                    os.close(above)
            above = descriptor
        return descriptor

    def _make_root(self) -> None:
        """Make the root and what is missing above it, each with its mode; others may make or remove them meanwhile."""
        missing, refused = [self.path], 0
        while missing:
            folder = missing[-1]
            self._synced.discard(folder)
            try:
                os.mkdir(folder, _MODES[self.permissions][1])
            except FileExistsError:
                if os.path.lexists(folder) and not os.path.isdir(folder):
                    raise NotADirectoryError(errno.ENOTDIR, "is a file, not a folder", folder) from None
            except FileNotFoundError:
                missing.append(os.path.dirname(folder))
                # Others may remove it as often as it is made; but /proc, for one, says so of every folder.
                refused += os.path.isdir(missing[-1])
                if refused > _ATTEMPTS:
                    raise
                continue
            else:
                # Kept in mind, to remove what was made here if nothing comes.
                if len(folder) <= len(self._topmost_made or self.path):
                    self._topmost_made = folder
            missing.pop()

    def _sync_once(self, folder: str) -> None:
        """Make a folder's own name durable, and its parents', the first time this process uses it.

        Whoever made it may have been killed, or be about to sync it.
        """
        chain = []
        while self._sync and len(folder) >= len(self.path) and folder not in self._synced:
            chain.append(folder)
            folder = os.path.dirname(folder)
        # From the top: a folder whose own name is lost takes all below it along.
        for each in reversed(chain):
            try:
                self.sync_folder(os.path.dirname(each))
            except PermissionError:
                # Whoever gave us a root in a folder that we may not read made it durable.
                if each != self.path:
                    raise
        if len(self._synced) >= _REMEMBERED:
            self._synced.clear()
        self._synced.update(chain)  # only now: another thread may rely on it

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
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise
        finally:
            with suppress(OSError):  # nothing was written through it
                os.close(descriptor)

    def sync_file(self, descriptor: int) -> None:
        """Make a file's bytes durable."""
        if self._sync:
            os.fsync(descriptor)

    # -- reading -------------------------------------------------------------------------------------------

    def fetch(self, reads: Sequence[str] = (), heads: Sequence[str] = (), *, patient: bool = False) -> Fetched:
        """Read and look, one after another; names of one folder that follow each other share the way there."""
        with _LastFolder(self) as last:
            found = [refuse_larger(key, self._read(key, None, None, keys.largest(key), last)) for key in reads]
            return Fetched(found, [self.head(key, last) for key in heads], [None] * len(found))

    def read_range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        """Read at a position, without reading what comes before it."""
        return self._read(key, start, end, None)

    def _read(
        self, key: str, start: int | None, end: int | None, most: int | None, last: _LastFolder | None = None
    ) -> bytes | None:
        with ErrorTranslator(key):
            if (descriptor := unless_absent(self._opened, key, _READ, last)) is None:
                return None
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    return None
                if start is not None or end is not None:
                    begin, stop, _ = slice(start, end).indices(found.st_size)
                    return os.pread(descriptor, max(0, stop - begin), begin)
                if most is not None and found.st_size > most:
                    return os.read(descriptor, most + 1)
                # One byte more than it had: who appends meanwhile is read to the end.
                data = os.read(descriptor, found.st_size + 1)
                while len(data) > found.st_size and (more := os.read(descriptor, _CHUNK)):
                    data += more
                return data
            finally:
                os.close(descriptor)

    def head(self, key: str, last: _LastFolder | None = None) -> Entry | None:
        """Look; what the way to a file is checked with tells of the file too, unless it is a link."""
        with ErrorTranslator(key):
            found = self._seen(key, last)
            return None if found is None or not stat.S_ISREG(found.st_mode) else entry_of(key, found)

    def head_beside(self, key: str, beside: str) -> Entry | None:
        """Look; the way to both is the same and needs one check."""
        if (found := self.head(key)) is None:
            return None
        with ErrorTranslator(beside):
            other = unless_absent(os.stat, f"{self.path}/{beside}")
            return found if other is not None and stat.S_ISREG(other.st_mode) else None

    def open(self, key: str, *, block_size: int = SEEK_BLOCK, size: int | None = None) -> BinaryIO:
        """Open the file; the operating system reads ahead as it likes."""

        def opened(_: str, flags: int) -> int:
            # Opened first, then looked at: between a look and an opening the name may become a pipe that nobody writes.
            descriptor = self._opened(key, flags | os.O_NONBLOCK)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "no regular file", key)

        try:
            file = open(self.local_path(key), "rb", opener=opened)  # noqa: SIM115 - the caller closes it
        except OSError as error:
            if error.errno in (*_ABSENT, errno.EISDIR):
                raise FileNotFoundError(errno.ENOENT, "no such file", key) from None
            raised = storage_error(error, key)
            raise raised from raised.__cause__
        return file

    def touched(self, entry: Entry) -> datetime | None:
        """Return the later of mtime, which programs may set, and ctime, which they can't; None if it is gone."""
        try:
            return entry_of(entry.key, os.lstat(f"{self.path}/{entry.key}")).modified
        except OSError:
            return None

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

    def local_path(self, key: str) -> str:
        """Return the file's path; whether it leads out is checked where it is read."""
        return f"{self.path}/{key}"

    def sign(self, key: str, expiry: timedelta, *, mime_type: str | None = None, filename: str | None = None) -> str:
        """Return a file:// URL; it does not expire, and a file has no other name than its own."""
        return Path(self._inside(key)).as_uri()

    # -- listing ----------------------------------------------------------------------------------------------

    def children(self, folder: str = "", *, until: str | None = None) -> Listing:
        """Read one folder; symlinks count as `entries` has them: only to files, only inside."""
        prefix = f"{folder}/" if folder else ""
        entries: list[Entry] = []
        folders: list[str] = []
        with ErrorTranslator(folder or None):
            for item in unless_absent(scanned, self._inside(folder) if folder else self.path) or ():
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
        is_link = item.is_symlink()
        try:
            if not key.isascii():
                key.encode()
            if is_link:
                self._inside(key)
            found = item.stat()
        except (UnicodeEncodeError, InvalidReferenceError):
            return None
        except OSError as error:
            # A link may lead nowhere. A file that is there and can't be looked at would be a media less.
            if is_link or error.errno in _ABSENT:
                return None
            raise
        return entry_of(key, found) if stat.S_ISREG(found.st_mode) else None

    def is_folder(self, key: str) -> bool:
        """Look."""
        with ErrorTranslator(key or None):
            found = self._seen(key) if key else os.stat(self.path)
            return found is not None and stat.S_ISDIR(found.st_mode)

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Walk the folder; symlinked folders are not entered, symlinked files only count if they stay inside."""
        with ErrorTranslator(prefix or None):
            found = unless_absent(self._on_way, prefix.rstrip("/")) if prefix else None
            if prefix and (found is None or stat.S_ISLNK(found.st_mode)):
                return
            yield from self._walk(f"{prefix.rstrip('/')}/" if prefix else "")

    def _walk(self, prefix: str) -> Iterator[Entry]:
        def inside(each: tuple[str, os.DirEntry[str] | None]) -> list[tuple[str, os.DirEntry[str] | None]] | None:
            folder, item = each
            if item is not None and folder[-1] != "/":
                return None
            found = unless_absent(scanned, f"{self.path}/{folder}") or ()
            # Sorted in memory, folder by folder, as the keys below it sort: the kernel gives names in no order.
            named = ((f"{folder}{each.name}{'/' * each.is_dir(follow_symlinks=False)}", each) for each in found)
            return sorted(named, key=itemgetter(0))

        top: tuple[str, os.DirEntry[str] | None] = (prefix, None)
        for key, item in depth_first(top, inside):
            if item is not None and (entry := self.entry_at(item, key)) is not None:
                yield entry

    def holds(self, folder: str) -> bool:
        """Tell whether the folder has any entry."""
        with ErrorTranslator(folder or None):
            found = unless_absent(os.scandir, self._inside(folder) if folder else self.path)
            if found is None:
                return False
            with found:
                return next(found, None) is not None

    # -- folders ----------------------------------------------------------------------------------------------

    def make_folder(self, key: str) -> None:
        """Make the folder and its parents."""
        with ErrorTranslator(key):
            path = self._inside(key)
            try:
                if not os.path.isdir(path):
                    self._in_made(key, int)
            except (NotADirectoryError, FileExistsError):
                raise StoreConflictError("is a file, not a folder", next_step="choose another name", key=key) from None

    def remove_folder(self, key: str) -> None:
        """Remove the folder if it is empty."""
        with ErrorTranslator(key):
            try:
                self._inside(key)
                with self.at(key) as (descriptor, name):
                    os.rmdir(name, dir_fd=descriptor)
            except OSError as error:
                if error.errno not in _IN_USE:
                    raise

    # -- removing ------------------------------------------------------------------------------------------

    def delete(self, keys: Iterable[str], *, keep_folders: bool = False) -> dict[str, MediaError]:
        """Remove files, make that durable once for each folder, then remove the folders that this left empty."""
        failed: dict[str, MediaError] = {}
        folders: dict[str, list[str]] = {}
        for key in keys:
            try:
                with ErrorTranslator(key):
                    folder, gone = self._remove(key)
            except MediaError as error:
                failed[key] = error
            else:
                folders.setdefault(folder, [])
                if gone:
                    folders[folder].append(key)
        for folder, gone_keys in folders.items():
            try:
                with ErrorTranslator(gone_keys[0] if gone_keys else None):
                    # Durable before anything is removed that relies on it: the next step of a delete may survive a
                    # power cut that this one does not.
                    if gone_keys:
                        self.sync_folder(folder)
                    if not keep_folders:
                        self.prune(folder)
            except MediaError as error:
                failed |= {key: StorageError(error.problem, next_step=error.next_step, key=key) for key in gone_keys}
        return failed

    def _remove(self, key: str) -> tuple[str, bool]:
        """Remove a file; return its folder, and whether there was one."""
        try:
            with self.at(key) as (folder, name):
                self._refuse_link_out(folder, name, key)
                os.unlink(name, dir_fd=folder)
        except OSError as error:
            # Systems differ in the error they give for a folder.
            if os.path.isdir(self.local_path(key)):
                raise InvalidReferenceError("is a folder, not a media", key=key) from None
            if error.errno not in _ABSENT:
                raise
            return self.folder_path(key), False
        return self.folder_path(key), True

    def prune(self, folder: str) -> None:
        """Remove a folder and its parents up to the root while they are empty; asking costs less than looking.

        The root itself and what was made above it go too: a refused first write leaves nothing behind.
        """
        # Above the root only what this process made: other empty folders may be waiting for somebody.
        shortest = len(self._topmost_made or f"{self.path}/")
        while len(folder) >= shortest:
            self._synced.discard(folder)
            try:
                with self._above(folder) as (descriptor, name):
                    os.rmdir(name, dir_fd=descriptor)
            except (OSError, MediaError) as error:
                if getattr(error, "errno", None) not in _ABSENT:
                    return  # not empty, or not ours to remove: it does no harm
            folder = os.path.dirname(folder)

    # -- staying inside ------------------------------------------------------------------------------------

    def _inside(self, key: str) -> str:
        """Return the path of a key, refused if a symlink below the root leads out of it.

        Each part below the root is looked at; only where one is a symlink is the whole path resolved.
        """
        with suppress(OSError):  # whatever is wrong shows when the path is used
            self._seen(key)
        return f"{self.path}/{key}"

    def _seen(self, key: str, last: _LastFolder | None = None) -> os.stat_result | None:
        """Return what is at a key, checked as `_inside` does; None if nothing is."""
        try:
            found = None if last is None else last.seen(key)
            if found is None or stat.S_ISLNK(found.st_mode):
                found = self._on_way(key)
            if stat.S_ISLNK(found.st_mode):
                self._check_link(key)
                found = os.stat(f"{self.path}/{key}")
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return found

    def _on_way(self, key: str) -> os.stat_result:
        """Look at each part of the way to a key; return what the first symlink on it is, else what is at the key."""
        end, path = len(self.path), f"{self.path}/{key}"
        while True:
            end = path.find("/", end + 1)
            found = os.lstat(path if end < 0 else path[:end])
            if end < 0 or stat.S_ISLNK(found.st_mode):
                return found

    def _refuse_link_out(self, folder: int, name: str, key: str) -> None:
        """Refuse a key whose own name is a symlink that leads out, as `_inside` does; its folder is open."""
        with suppress(OSError):  # whatever is wrong shows when the name is used
            if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                self._check_link(key)

    def _opened(self, key: str, flags: int, last: _LastFolder | None = None, *, make: bool = False) -> int:
        """Open what is at a key, refused as by `_inside`; links that stay inside are resolved, then not followed.

        `last`: whose folder is used if it is the key's. `make`: the key is a folder's, and is made if it is missing.
        """
        place = key
        for _ in range(_SWAPS):
            try:
                if make:
                    return self._made(place, f"{self.path}/{key}")
                return last.opened(key, flags) if last is not None and place == key else self._walked(place, flags)
            except OSError as error:
                if error.errno not in _LINKED:
                    raise
                failed = error
            place = self._check_link(key)
        found = self._seen(key)
        if found is None or (flags & os.O_DIRECTORY and stat.S_ISREG(found.st_mode)):
            raise failed
        raise OSError(errno.ELOOP, "folders on its way are swapped for symlinks all the time")

    def _walked(self, place: str, flags: int) -> int:
        """Open what is at a place below the root, folder by folder; a symlink on its way is an error, see `_LINKED`."""
        *parents, name = place.split("/")
        if not parents:
            return os.open(f"{self.path}/{name}", flags | os.O_NOFOLLOW) if name else os.open(self.path, flags)
        # Together with the root, whose own path may hold links: only the last part of it is not followed.
        folder = os.open(f"{self.path}/{parents[0]}", _STEP)
        try:
            for part in parents[1:]:
                above, folder = folder, os.open(part, _STEP, dir_fd=folder)
                os.close(above)
            return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)

    def at(self, key: str, folder: int | None = None) -> AbstractContextManager[tuple[int, str]]:
        """Give the descriptor of a key's folder, `folder` if that is open already, and the key's name in it."""
        parent, _, name = key.rpartition("/")
        return _OpenFolder(self._opened(parent, _FOLDER), name) if folder is None else nullcontext((folder, name))

    def _above(self, path: str) -> AbstractContextManager[tuple[int | None, str]]:
        """Do what `at` does for a path; the root itself, and what is above it, has its whole path for a name."""
        return nullcontext((None, path)) if len(path) <= len(self.path) else self.at(path[len(self.path) + 1 :])

    def folder_path(self, key: str) -> str:
        """Return the path of a key's folder."""
        return f"{self.path}/{key}".rpartition("/")[0]

    def move(self, source: str, target: str, folder: int | None = None) -> None:
        """Rename a file, whose new folder is there; `folder`: that of both, if it is open."""
        same = self.folder_path(source) == self.folder_path(target)
        with self.at(source, folder) as (old, name), self.at(target, old if same else None) as (new, new_name):
            os.rename(name, new_name, src_dir_fd=old, dst_dir_fd=new)

    def link(self, source: str, target: str, folder: int | None = None) -> None:
        """Give a file a second name, unless that is taken; `folder`: that of both, if it is open."""
        same = self.folder_path(source) == self.folder_path(target)
        with self.at(source, folder) as (old, name), self.at(target, old if same else None) as (new, new_name):
            os.link(name, new_name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)

    def unlink(self, key: str) -> None:
        """Remove a file."""
        with self.at(key) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def _check_link(self, key: str) -> str:
        """Return the place below the root that the symlinks on the way of a key lead to, refused if it is outside."""
        root = os.path.realpath(self.path)
        real = os.path.realpath(f"{self.path}/{key}")
        there = real[len(root) + 1 :]
        # A link to a sidecar would show it as a media, unless it stands for the sidecar of a linked media.
        shows = there != key and keys.is_hidden(there) and not (keys.is_sidecar(key) and keys.is_sidecar(there))
        if not real.startswith(f"{root}/") or shows:
            problem = "a symlink on its way leads out of the store's media"
            raise InvalidReferenceError(problem, next_step="replace the link by a real folder or file", key=key)
        return there


LOCK_PATIENCE = 30.0
"""Seconds to wait for somebody who changes a name, or another that shares its lock."""
_FIRST_WAIT = 0.001
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_HELD = (errno.EACCES, errno.EAGAIN)


class LockFiles:
    """The locks of one root: a thread's lock and a file's for each of 256 names.

    Record locks (`lockf`) hold for a process, so threads need locks of their own. They are lost as soon as the process
    closes *any* descriptor of the file: a file is opened and closed only by whoever has its thread's lock, so nobody
    else of this process can hold it then. A forked child has none of its parent's locks, and makes its own.
    """

    def __init__(self, backend: LocalBackend) -> None:
        self.process = os.getpid()
        self._backend = backend
        with _sharing:
            self.shared = _SHARED.setdefault((self.process, os.path.realpath(backend.path)), _Shared())

    @property
    def exclusion(self) -> Exclusion:
        """What the file system offers; asked once for a root."""
        if self.shared.exclusion is None:
            try:
                with self.held([""]):
                    self.shared.exclusion = Exclusion.LOCK
            except StorageError as error:
                if getattr(error.__cause__, "errno", None) not in _NO_LOCKS:
                    raise
                self.shared.exclusion = Exclusion.RENAME
        return self.shared.exclusion

    def held(self, names: Sequence[str]) -> AbstractContextManager[None]:
        """Hold the locks of some names."""
        # In the order of the files: two who need two can't wait for each other.
        wanted = sorted({keys.lock_key(name) for name in names})
        return self._held(wanted[0], names[0]) if len(wanted) == 1 else self._all_held(wanted, names)

    @contextmanager
    def _all_held(self, wanted: Sequence[str], names: Sequence[str]) -> Iterator[None]:
        with ExitStack() as held:
            for key in wanted:
                held.enter_context(self._held(key, names[0]))
            yield

    @contextmanager
    def _held(self, key: str, name: str) -> Iterator[None]:
        with _sharing:
            lock = self.shared.threads.setdefault(key, threading.Lock())
        if not lock.acquire(timeout=LOCK_PATIENCE):
            raise locked(name)
        try:
            with ErrorTranslator(key):
                descriptor = self._backend._in_made(key.rpartition("/")[0], partial(self._locked, key, name))
            try:
                yield
            finally:
                _open.discard(descriptor)
                os.close(descriptor)  # which lets the lock go
        finally:
            lock.release()

    def _locked(self, key: str, name: str, folder: int) -> int:
        """Return a descriptor of the file that lies there, locked: somebody may have taken it away meanwhile."""
        self._backend._sync_once(self._backend.folder_path(key))
        file = key.rpartition("/")[2]
        until, pause = time.monotonic() + LOCK_PATIENCE, _FIRST_WAIT
        while True:
            descriptor = _open_lock(folder, file, self._backend.file_mode)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), os.stat(file, dir_fd=folder)):
                    _open.add(descriptor)
                    return descriptor
            except OSError as error:
                if error.errno not in (*_HELD, errno.ENOENT):
                    os.close(descriptor)
                    raise
            os.close(descriptor)
            if time.monotonic() > until:
                raise locked(name)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_WAIT / 20)


def _open_lock(folder: int, file: str, mode: int) -> int:
    try:
        return os.open(file, _LOCK, dir_fd=folder)
    except FileNotFoundError:
        descriptor = os.open(file, _LOCK | os.O_CREAT, mode, dir_fd=folder)
    owner = os.stat("..", dir_fd=folder)
    if os.geteuid() == 0 and owner.st_uid != 0:
        # A sweep that root runs must not keep those out whose store it is: a lock is opened for writing.
        os.chown(".", owner.st_uid, owner.st_gid, dir_fd=folder)
        os.chown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


class _Shared:
    """What all backends of one root share in a process."""

    def __init__(self) -> None:
        self.threads: dict[str, threading.Lock] = {}
        self.exclusion: Exclusion | None = None


_LOCK = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_SHARED: WeakValueDictionary[tuple[int, str], _Shared] = WeakValueDictionary()
_sharing = threading.Lock()
_clocks: dict[str, StorageClock] = {}
_open: set[int] = set()
"""Descriptors of lock files that are locked."""


def _after_fork() -> None:
    """Leave the parent's locks to the parent, which does not lose them by what its child closes."""
    global _sharing  # noqa: PLW0603 - another thread may have held it
    _sharing = threading.Lock()
    for descriptor in _open:
        with suppress(OSError):
            os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)
