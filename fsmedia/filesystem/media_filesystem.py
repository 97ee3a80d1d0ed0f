"""The part of the filesystem that looks and lists, one call at a time. Nothing is served from a cache.

What no listing of a store shows (sidecars, `.fsmedia/`, temporary names, bytes of our own form without a sidecar) is
not there; only the exact name of a media's bytes is read without looking for its sidecar.
"""

from __future__ import annotations

import errno
import io
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fsspec.asyn import AsyncFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.compression import compr
from fsspec.core import get_compression
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.utils import common_prefix, stringify_path, tokenize
from pydantic_core import to_jsonable_python

from fsmedia.core import commit, holds, lifetime, promptkit, records
from fsmedia.core.commit import SharedStoreOperation
from fsmedia.core.ingest import WriteContext
from fsmedia.core.lifetime import Removal
from fsmedia.core.settings_file import SettingsFile
from fsmedia.core.telemetry import name_media, observed
from fsmedia.errors import (
    CorruptSidecarError,
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    ReadOnlyStoreError,
    StoreConflictError,
)
from fsmedia.filesystem.files import PlacedFile, Placement, told_by_path
from fsmedia.format import keys
from fsmedia.format.settings import Configuration, Settings
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import mime
from fsmedia.storage import SEEK_BLOCK, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from fsmedia.core.lifetime import DeletionLog
    from fsmedia.core.telemetry import Observer
    from fsmedia.format.settings import Configuration
    from fsmedia.models import MediaRecord
    from fsmedia.storage import Backend
    from fsmedia.storage.port import Listing

_THREADS = 32
_REMEMBERED = 4096
_LOOK = "list its folder"


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


# Longer than 1,000 lines: one filesystem is one class.
class Grounds(AsyncFileSystem):
    """One opened root."""

    _backend: Backend
    _max_file_size: int | None
    _read_only: bool
    _block_size: int | None
    _now: Callable[[], datetime]
    _deletion_log: DeletionLog
    _observer: Observer
    _settings_file: SettingsFile | None = None

    # -- the store's settings ------------------------------------------------------------------------------

    def _founded(self) -> SettingsFile:
        if self._settings_file is None:
            self._settings_file = SettingsFile(self._backend, Settings())
        return self._settings_file

    def _configuration(self) -> Configuration:
        return self._founded().configuration

    def _write_context(self) -> WriteContext:
        """Return what a write needs.

        Raises
        ------
        ReadOnlyStoreError
            Nothing may be written here; nothing was.
        """
        if self._read_only:
            raise ReadOnlyStoreError("the store was opened read-only", next_step="open it without read_only=True")
        settings_file = self._founded()
        settings = settings_file.configuration if settings_file.is_settled else settings_file.refresh()
        if not settings_file.is_settled:
            url = self._backend.url
            raise ReadOnlyStoreError(
                f"there is no store at {url} (it holds no {keys.CONFIGURATION_KEY}), so nothing was written",
                next_step=f"check that nothing was joined onto the URL; to make a store there: "
                f"MediaStore({url!r}).create(), or `fsmedia init --store {url}`",
            )
        return WriteContext(self._backend, settings, self._max_file_size, self._now, _settled, self._observer)

    # -- paths ---------------------------------------------------------------------------------------------

    def _key(self, path: str) -> str:
        """Return the key of a path; it need not be one that can hold a media."""
        if type(path) is str and path[:6] != "media:":
            return path.strip("/")
        key: str = self._strip_protocol(path)
        return key

    def _existing_key(self, path: str) -> str:
        """Return the key of a media that may be there.

        Raises
        ------
        MediaNotFoundError
            Nothing of that name can be.
        """
        key = self._key(path)
        if not is_hidden(key):
            name_media(key)
            return key
        try:
            return keys.check_reference(key)
        except InvalidReferenceError as error:
            raise _hidden(key, error) from None

    def _free_key(self, path: str, *, is_folder: bool = False) -> str:
        """Return the key of a media, or folder, that is to be written.

        Raises
        ------
        InvalidReferenceError
            The name can't be that of a media.
        """
        key = keys.check_reference(self._key(path))
        if keys.pointer_of(key) is not None:
            raise InvalidReferenceError(
                "names of this form belong to deduplicated media", next_step="choose another name", reference=key
            )
        first = key.partition("/")[0]
        problem = None
        if first.startswith("@"):
            problem = "a name at the top that begins with @ stands for a named store"
        else:
            parts = key.split("/")
            if any(keys.is_hidden(part) for part in (parts if is_folder else parts[:-1])):
                problem = "no listing shows what lies in a folder of this name"
        if problem:
            raise InvalidReferenceError(problem, next_step="choose another name", reference=key)
        keys.check_lengths(key, self._backend.root_length)
        return key

    def _refuse_link(self, key: str) -> None:
        """Refuse to remove or move what lies behind a link to a folder.

        Raises
        ------
        InvalidReferenceError
            The key is such a link.
        """
        if self._backend.is_link(key):
            raise InvalidReferenceError(
                "is a symlink to a folder",
                next_step="remove the link itself outside of the store; the folder has a name of its own",
                reference=key,
            )

    # -- threads -------------------------------------------------------------------------------------------

    _workers: tuple[int, ThreadPoolExecutor] | None = None

    def _threads(self) -> ThreadPoolExecutor:
        """Return the threads that do blocking work for a loop; a forked child has its own."""
        workers = self._workers
        if workers is None or workers[0] != os.getpid():
            workers = self._workers = (os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="fsmedia"))
        return workers[1]


@lru_cache(maxsize=_REMEMBERED)
def is_hidden(key: str) -> bool:
    """Tell whether nothing of that name is shown, or can be there at all; the text alone says so."""
    try:
        keys.check_reference(key)
    except InvalidReferenceError:
        return True
    return False


@lru_cache(maxsize=_REMEMBERED)
def is_own_name(key: str) -> bool:
    """Tell whether the name is of the store's own form, so that its bytes alone are no media."""
    return keys.is_own_name(key)


def _settled(_reference: str, _drafted: Configuration) -> None:
    """Do nothing: the store has its settings before anything is written here."""


def _hidden(key: str, error: MediaError) -> MediaError:
    if key == "":
        return MediaNotFoundError("the root is no media", next_step=_LOOK, reference=key)
    return MediaNotFoundError(f"no such media ({error.problem})", next_step=_LOOK, reference=key)


def not_found(key: str) -> MediaNotFoundError:
    """Say that nothing visible is there."""
    return MediaNotFoundError("no such media or folder", next_step=_LOOK, reference=key)


USER = "user."
OWN = "fsmedia."
_HIDDEN_FIELDS = frozenset({"reference", "size_bytes", "xattrs"})
_POLICY = "fsmedia.policy_name"
_OCTETS = "application/octet-stream"


def folder_info(key: str) -> dict[str, Any]:
    """Describe a folder."""
    return {"name": key, "size": 0, "type": "directory"}


def file_info(entry: Entry) -> dict[str, Any]:
    """Describe a file by what a listing tells; the MIME type is what the name says."""
    key, modified = entry.key, entry.modified
    return {
        "name": key,
        "size": entry.size,
        "type": "file",
        "mtime": modified,
        "created": modified,
        "ETag": entry.token,
        "mime_type": mime.guess_from_name(key) or _OCTETS,
    }


def record_fields(record: MediaRecord) -> dict[str, Any]:
    """Return the fields of `info()` that a sidecar tells; what is not known is not there."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _HIDDEN_FIELDS and value is not None and value != ""
    }


class Attributes(Grounds):
    """Methods of `MediaFileSystem` about metadata."""

    def _full_info(self, found: records.Found) -> dict[str, Any]:
        record = records.record_of(found, self._configuration())
        return {**file_info(found.entry), **record_fields(record)}

    def metadata(self, path: str) -> dict[str, Any]:
        """Return all that the store knows of a media, as `info(path, metadata=True)` does, without the file's facts."""
        key = self._existing_key(path)
        with commit.about(key):
            found = records.find(self._backend, key, with_hold=True)
            return record_fields(records.record_of(found, self._configuration()))

    def listxattr(self, path: str) -> list[str]:
        """Return the names of a media's attributes."""
        return list(self._attributes(path))

    def getxattr(self, path: str, attr: str) -> Any:
        """Return one attribute.

        Raises
        ------
        KeyError
            The media has none of that name.
        """
        return self._attributes(path)[attr]

    def setxattrs(self, path: str, attributes: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set attributes of a media; None removes one. Names begin with `user.`, values are what JSON can hold.

        Raises
        ------
        ReadOnlyStoreError
            A name begins with `fsmedia.`: those are the store's own, but for `fsmedia.policy_name`.
        HeldMediaError, UnknownPolicyError
            As `MediaStore.apply_policy` says; nothing was changed.
        InvalidMediaError
            A name is of another form, or a value is none that JSON can hold.
        """
        changes = {**(attributes or {}), **more}
        policy = changes.pop(_POLICY, self)
        for name, value in changes.items():
            if not isinstance(name, str):
                raise InvalidMediaError(f"{name!r} is no attribute's name", next_step="use user.<name>")
            if name.startswith(OWN):
                raise ReadOnlyStoreError(f"{name} is the store's own field", next_step="set user.* attributes")
            if not name.startswith(USER) or name == USER:
                raise InvalidMediaError(f"{name!r} is no attribute's name", next_step="use user.<name>")
            try:
                to_jsonable_python(value, inf_nan_mode="constants")
            except ValueError:
                raise InvalidMediaError(
                    f"the value of {name} can't be stored ({type(value).__name__})", next_step="use text or numbers"
                ) from None
        context = self._write_context()
        key = self._existing_key(path)
        if policy is not self:
            lifetime.apply_policy(context, key, policy)
        if not changes:
            return
        with commit.about(key):
            found = records.find(self._backend, key)
            if found.sidecar is None:
                raise InvalidMediaError(
                    "has no sidecar to keep attributes in: another program wrote it",
                    next_step="write it through media:// first, or copy it",
                )
            sidecar = Sidecar.parse(found.sidecar, key)
            kept = {**(sidecar.values.get("xattrs") or {}), **changes}
            values = {**sidecar.values, "xattrs": {name: value for name, value in kept.items() if value is not None}}
            instant = records.expiry_of(sidecar, key, context.configuration, found.entry.modified)
            try:
                text = Sidecar(values).dump()
                Sidecar.parse(text, key)  # what could not be read again would make the media unreadable for ever
            except ValueError as error:
                problem = f"with these attributes its sidecar could not be read again ({str(error)[:120]})"
                raise InvalidMediaError(problem, next_step="store large or deep values as media of their own") from None
            commit.rewrite_sidecar(context.backend, key, text, instant, sidecar.marker(key))

    def removexattr(self, path: str, attr: str) -> None:
        """Remove one attribute; one that is not there is gone already."""
        self.setxattrs(path, {attr: None})

    def _attributes(self, path: str) -> dict[str, Any]:
        key = self._existing_key(path)
        with commit.about(key):
            record = records.record_of(records.find(self._backend, key), self._configuration())
        own = {f"{OWN}{name}": value for name, value in record_fields(record).items()}
        own["fsmedia.size_bytes"] = record.size_bytes
        return {**record.xattrs, **own}


class Patterns(Attributes):
    """Methods of `MediaFileSystem` that take several files at once."""

    def _names(self, path: Any) -> list[str]:
        several = [path] if isinstance(path, str | os.PathLike) else list(path)
        names: list[str] = self._strip_protocol(several)
        return names

    def expand_path(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        assume_literal: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Return the keys that names and patterns mean, with `recursive` those below folders too.

        Raises
        ------
        FileNotFoundError
            A pattern matches nothing, and nothing else was found.
        """
        names = self._names(path)
        literal = [] if assume_literal else [name for name in names if has_magic(name) and self.exists(name)]
        if not literal:
            found: list[str] = super().expand_path(names, recursive, maxdepth, assume_literal, **kwargs)
            return found
        keys = set(super().expand_path(literal, recursive, maxdepth, assume_literal=True, **kwargs))
        for name in names:
            if name not in literal:
                try:
                    keys |= set(super().expand_path([name], recursive, maxdepth, **kwargs))
                except FileNotFoundError:
                    continue  # as a pattern without a match beside others
        return sorted(keys)

    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        on_error: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files, and with `recursive` what is below folders; into the target where that is a folder."""
        sources, targets = self._paired(path1, path2, self.isdir, recursive=recursive, maxdepth=maxdepth)
        super().copy(sources, targets, recursive, maxdepth, on_error, **kwargs)

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files to this machine, see `copy`."""
        sources, targets = self._fetched(rpath, lpath, recursive=recursive, maxdepth=maxdepth)
        super().get(sources, targets, recursive, callback, maxdepth, **kwargs)

    def put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files of this machine, see `copy`."""
        sources, targets = self._sent(lpath, rpath, recursive=recursive, maxdepth=maxdepth)
        super().put(sources, targets, recursive, callback, maxdepth, **kwargs)

    def _sent(self, source: Any, target: Any, *, recursive: bool, maxdepth: int | None) -> tuple[Any, Any]:
        """Return what goes where if a name of this machine only looks like a pattern; the rest is left to fsspec."""
        if isinstance(target, list) and isinstance(source, list) and len(source) != len(target):
            raise _unequal()
        if not isinstance(source, str | os.PathLike) or isinstance(target, list):
            return source, target
        name = make_path_posix(stringify_path(source))
        if not has_magic(name) or not os.path.lexists(name):
            return source, target
        local, end = LocalFileSystem(), stringify_path(target)
        base = name.rstrip("/")
        names = local.expand_path([base], recursive, maxdepth, assume_literal=True)
        if not recursive or maxdepth is not None:
            names = [each for each in names if not local.isdir(each)]
        if not name.endswith("/") and (end.endswith("/") or self.isdir(end)):
            base = base.rpartition("/")[0]
        return names, [joined(end, each[len(base) :].lstrip("/")) for each in names]

    def _fetched(self, source: Any, target: Any, *, recursive: bool, maxdepth: int | None) -> tuple[Any, Any]:
        """Return what goes where on this machine."""
        end = make_path_posix(target) if isinstance(target, str | os.PathLike) else target
        return self._paired(source, end, LocalFileSystem().isdir, recursive=recursive, maxdepth=maxdepth)

    def _paired(
        self, source: Any, target: Any, is_folder: Callable[[str], bool], *, recursive: bool, maxdepth: int | None
    ) -> tuple[list[str], list[str]]:
        """Return sources and their targets, by fsspec's rules."""
        if isinstance(target, list):
            if isinstance(source, list) and len(source) == len(target):
                return source, target
            raise _unequal()
        target = stringify_path(target)
        if not isinstance(source, str | os.PathLike):
            names = self.expand_path(source, recursive, maxdepth)
            return names, [joined(target, name.rpartition("/")[2]) for name in names]
        source = stringify_path(source)
        [key] = self._names(source)
        pattern = has_magic(key) and not self.exists(key)
        names = self.expand_path([key], recursive, maxdepth, assume_literal=not pattern)
        if not recursive or maxdepth is not None:
            names = [name for name in names if not self.isdir(name)]
        if pattern:
            base, inside = common_prefix(names) if names else "", len(names) == 1
        else:
            base = key
            inside = not source.endswith("/") and (target.endswith("/") or is_folder(target))
        if inside:
            base = base.rpartition("/")[0]
        return names, [joined(target, name[len(base) :].lstrip("/")) for name in names]


def _unequal() -> InvalidMediaError:
    return InvalidMediaError("as many targets as sources are needed", next_step="give two lists of one length")


def joined(folder: str, name: str) -> str:
    """Return the path of a name in a folder; of the folder itself without a name."""
    return f"{folder.rstrip('/')}/{name}" if name else folder.rstrip("/")


_CHUNK = 2**20


class Reading(Patterns):
    """Methods of `MediaFileSystem` that leave the store as it is."""

    # -- looking -------------------------------------------------------------------------------------------

    def info(self, path: str, *, metadata: bool = False, **_: Any) -> dict[str, Any]:
        """Describe a file or folder: name, size, type, mtime, created, ETag, mime_type (by its name).

        Parameters
        ----------
        metadata
            Add all that the sidecar tells: ids, policy, digest, expiry, what the content is; this reads it. Where
            the look at a media reads its sidecar anyway (object stores, names of the store's own form) it is there
            without asking.

        Raises
        ------
        MediaNotFoundError
            There is neither.
        """
        key = self._key(path)
        if not key:
            return folder_info("")
        if not is_hidden(key):
            found = self._described(key, metadata=metadata)
            if found is not None:
                return found
            if self._backend.is_folder(key):
                return folder_info(key)
        raise not_found(key)

    def _described(self, key: str, *, metadata: bool) -> dict[str, Any] | None:
        """Describe a file; None if there is none."""
        backend = self._backend
        own = is_own_name(key)
        pointer = keys.pointer_of(key) if own else None
        if pointer is not None:
            return self._described_shared(key, pointer, metadata=metadata)
        if not metadata and not (own and backend.asynchronous):
            entry = backend.head_beside(key, keys.sidecar_key(key)) if own else backend.head(key)
            return None if entry is None else file_info(entry)
        answers = backend.fetch(reads=[keys.sidecar_key(key)], heads=[key])
        entry, text = answers.heads[0], answers.reads[0]
        if entry is None or (own and text is None):
            return None
        try:
            return self._full_info(records.Found(entry, text))
        except CorruptSidecarError:
            if metadata:
                raise
            return file_info(entry)

    def _described_shared(self, key: str, pointer: keys.Pointer, *, metadata: bool) -> dict[str, Any] | None:
        """Describe a deduplicated file by its sidecar, which is there as long as the file, and by its name."""
        sidecar = keys.sidecar_key(key)
        wanted = [sidecar] if metadata or self._backend.asynchronous else []
        answers = self._backend.fetch(reads=wanted, heads=[sidecar])
        if answers.heads[0] is None:
            return None
        entry = Entry(key, pointer.size, answers.heads[0].modified, pointer.generation)
        text = answers.reads[0] if wanted else None
        if text is None:
            return file_info(entry)
        try:
            return self._full_info(records.Found(entry, text))
        except CorruptSidecarError:
            if metadata:
                raise
            return file_info(entry)

    def exists(self, path: str, **_: Any) -> bool:
        """Tell whether there is a file or folder."""
        key = self._key(path)
        if not key:
            return True
        return not is_hidden(key) and (self._is_file(key) or self._backend.is_folder(key))

    def isfile(self, path: str) -> bool:
        """Tell whether there is a file."""
        key = self._key(path)
        return bool(key) and not is_hidden(key) and self._is_file(key)

    def isdir(self, path: str) -> bool:
        """Tell whether there is a folder."""
        key = self._key(path)
        return not key or (not is_hidden(key) and self._backend.is_folder(key))

    def _is_file(self, key: str) -> bool:
        if is_own_name(key):
            if keys.pointer_of(key) is not None:
                return self._backend.head(keys.sidecar_key(key)) is not None
            return self._backend.head_beside(key, keys.sidecar_key(key)) is not None
        return self._backend.head(key) is not None

    def created(self, path: str) -> datetime:
        """Return when the bytes at a path were written, aware; media are written once, so this is `modified`."""
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        """Return when the bytes at a path were written, aware."""
        found: datetime = self.info(path)["mtime"]
        return found

    def ukey(self, path: str) -> str:
        """Return a text that changes when the file does."""
        found = self.info(path)
        key: str = tokenize([str(found.get(name)) for name in ("name", "size", "mtime", "ETag")])
        return key

    def checksum(self, path: str) -> int:
        """Return a number that changes when the file does."""
        return int(self.ukey(path), 16)

    @observed("get_url")
    def sign(self, path: str, expiration: int = 3600, **_: Any) -> str:
        """Return a URL under which other programs get the bytes, for that many seconds; see `MediaStore.get_url`."""
        key = self._existing_key(path)
        with commit.about(key):
            if keys.pointer_of(key) is not None:
                return records.shared_url(self._backend, key, timedelta(seconds=expiration), self._configuration())
            url = self._backend.sign(key, timedelta(seconds=expiration))
            if not records.exists(self._backend, key):
                raise not_found(key)
        return url

    # -- listing -------------------------------------------------------------------------------------------

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List a folder, or a file alone.

        Raises
        ------
        MediaNotFoundError
            There is neither.
        """
        key = self._key(path)
        if key and is_hidden(key):
            raise not_found(key)
        found = list(_visible(self._backend.children(key)))
        if not found and key and not (self._backend.keeps_folders and self._backend.is_folder(key)):
            found = [self.info(key)]
            if found[0]["type"] == "directory":
                found = []
        return found if detail else sorted(info["name"] for info in found)

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: Any,
    ) -> Any:
        """List all files below a folder, with folders if asked; a file is found by its own name."""
        prefix = kwargs.pop("prefix", "")
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        key = self._key(path)
        found = {} if key and is_hidden(key) else self._found(key, maxdepth, withdirs=withdirs)
        if prefix:
            begin = f"{key}/{prefix}" if key else prefix
            found = {name: info for name, info in found.items() if name.startswith(begin) or name == key}
        return dict(sorted(found.items())) if detail else sorted(found)

    def _found(self, key: str, maxdepth: int | None, *, withdirs: bool) -> dict[str, dict[str, Any]]:
        backend = self._backend
        if maxdepth == 1 or (backend.keeps_folders and (withdirs or maxdepth is not None)):
            found = self._walked(key, maxdepth, withdirs=withdirs)
        else:
            found = self._listed(key, maxdepth, withdirs=withdirs)
        if not found and key:
            try:
                info = self.info(key)
            except MediaError:
                return {}
            if info["type"] == "file" or withdirs:
                return {key: info}
        elif withdirs and key:
            found[key] = folder_info(key)
        return found

    def _walked(self, key: str, maxdepth: int | None, *, withdirs: bool) -> dict[str, dict[str, Any]]:
        """Look into folder after folder: right where folders are kept, or where only one level is asked for."""
        found: dict[str, dict[str, Any]] = {}
        level = [key]
        depth = 0
        while level and (maxdepth is None or depth < maxdepth):
            depth += 1
            folders: list[str] = []
            for folder in level:
                for info in _visible(self._backend.children(folder)):
                    is_folder = info["type"] == "directory"
                    if is_folder:
                        folders.append(info["name"])
                    if withdirs or not is_folder:
                        found[info["name"]] = info
            level = folders
        return found

    def _listed(self, key: str, maxdepth: int | None, *, withdirs: bool) -> dict[str, dict[str, Any]]:
        """List everything below a folder at once, and make its folders up from the names."""
        found: dict[str, dict[str, Any]] = {}
        begin = f"{key}/" if key else ""
        for item in records.listed(self._backend.entries(key)):
            name = item.entry.key
            inside = name[len(begin) :].split("/")
            if any(keys.is_hidden(part) for part in inside[:-1]):
                continue
            if withdirs:
                for end in range(1, min(len(inside), (maxdepth or len(inside)) + 1)):
                    folder = begin + "/".join(inside[:end])
                    found.setdefault(folder, folder_info(folder))
            if maxdepth is None or len(inside) <= maxdepth:
                found[name] = file_info(item.entry)
        return found

    def du(
        self,
        path: str,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **_: Any,
    ) -> Any:
        """Return the bytes of all media below a path, or of each by name."""
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True)
        sizes = {name: info["size"] for name, info in found.items()}
        return sum(sizes.values()) if total else sizes


def _visible(listing: Listing) -> Iterator[dict[str, Any]]:
    """Describe what a listing shows: folders, and files that are whole media."""
    for folder in listing.folders:
        if not keys.is_hidden(folder.rpartition("/")[2]):
            yield folder_info(folder)
    entries: list[Entry] = []
    sidecars: set[str] = set()
    for entry in listing.entries:
        if entry.key.endswith(keys.SIDECAR_SUFFIX):
            sidecars.add(entry.key)
            name = entry.key[: -len(keys.SIDECAR_SUFFIX)]
            pointer = keys.pointer_of(name) if len(name) >= keys.SHORTEST else None
            if pointer is not None:
                yield file_info(Entry(name, pointer.size, entry.modified, pointer.generation))
        else:
            entries.append(entry)
    for entry in entries:
        key = entry.key
        if keys.is_own_name(key):
            # What somebody put at a deduplicated name is not its bytes; its sidecar was shown above.
            if keys.sidecar_key(key) in sidecars and keys.pointer_of(key) is None:
                yield file_info(entry)
        elif not keys.is_hidden(key):
            yield file_info(entry)


class Contents(Reading):
    """Methods of `MediaFileSystem` that read bytes."""

    def _bytes_key(self, key: str) -> str:
        """Return the key of a file's bytes; a deduplicated file must have its sidecar.

        Raises
        ------
        MediaNotFoundError
            It has none.
        """
        found = keys.bytes_key(key)
        if found != key and self._backend.head(keys.sidecar_key(key)) is None:
            raise not_found(key)
        return found

    @observed("retrieve")
    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Return the bytes of a file, or a part of them.

        Raises
        ------
        MediaNotFoundError
            There is no such file.
        """
        key = self._existing_key(path)
        data = self._backend.read_range(self._bytes_key(key), start, end)
        if data is None:
            raise self._absent(key)
        return data

    @observed("retrieve")
    def get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **_: Any) -> None:
        """Copy a file to this machine; of a folder only the folder itself."""
        key = self._key(rpath)
        if outfile is None and hasattr(lpath, "write"):
            outfile = lpath
        try:
            source = self._opened(key)
        except IsADirectoryError:
            os.makedirs(lpath, exist_ok=True)  # noqa: PTH103 - lpath may be anything that os takes
            return
        with source:
            callback.set_size(source.seek(0, os.SEEK_END))
            source.seek(0)
            if outfile is not None:
                self._poured(source, outfile, callback)
                return
            Path(lpath).parent.mkdir(parents=True, exist_ok=True)
            with Path(lpath).open("wb") as target:
                self._poured(source, target, callback)

    @staticmethod
    def _poured(source: BinaryIO, target: Any, callback: Any) -> None:
        while data := source.read(_CHUNK):
            target.write(data)
            callback.relative_update(len(data))

    def _opened(self, path: str, block_size: int | None = None) -> BinaryIO:
        """Open a file for reading; a folder is an `IsADirectoryError`."""
        if self.root_marker == self._key(path):
            raise _folder("")
        key = self._existing_key(path)
        with commit.about(key):
            try:
                pointer = keys.pointer_of(key)
                return self._backend.open(
                    self._bytes_key(key),
                    block_size=block_size or self._block_size or SEEK_BLOCK,
                    size=None if pointer is None else pointer.size,
                )
            except FileNotFoundError:
                error: Exception = self._absent(key, look=True)
        raise error

    def _absent(self, key: str, *, look: bool = False) -> Exception:
        """Return the error for what is no file; where a look at folders costs a request, only if told to look."""
        if (look or self._backend.keeps_folders) and self._backend.is_folder(key):
            return _folder(key)
        return not_found(key)


def _folder(key: str) -> IsADirectoryError:
    return IsADirectoryError(errno.EISDIR, "is a folder, not a media; list it", key)


_TOGETHER = 128
_REMOVED_TOGETHER = 500
_MODES = ("overwrite", "create")


class Writing(Contents):
    """Methods of `MediaFileSystem` that change what lies in the store."""

    # -- bytes ---------------------------------------------------------------------------------------------

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Any = None,
        content_type: str | None = None,
        **kwargs: Any,
    ) -> BinaryIO:
        """Open a media's bytes: "rb", "wb", "xb" or "ab"; `content_type` says what is written better than its name."""
        del cache_options
        kwargs.pop("cache_type", None)
        kwargs.pop("size", None)
        if kwargs:
            raise InvalidMediaError(f"open takes no {', '.join(sorted(kwargs))}", next_step="leave it out")
        if mode == "rb":
            return self._opened_to_read(path, block_size)
        if mode not in ("wb", "xb", "ab"):
            raise InvalidMediaError(f"media can't be opened with mode {mode!r}", next_step="use rb, wb, xb or ab")
        context, key = self._write_context(), self._free_key(path)
        if mode == "xb" and self.exists(key):
            raise _exists(key)
        self._refuse_folder(key)
        if mode == "ab" and self._transaction is not None:
            self._transaction.refuse_append(key)
        before = self._appended(key) if mode == "ab" else None
        placement = Placement(context, key, exclusive=mode == "xb", mime_type=content_type)
        return PlacedFile(placement, autocommit=autocommit, before=lambda: before)

    @observed("open")
    def _opened_to_read(self, path: str, block_size: int | None) -> BinaryIO:
        return self._opened(path, block_size)

    def _appended(self, key: str) -> BinaryIO | None:
        try:
            return self._backend.open(key)
        except FileNotFoundError:
            return None

    def _refuse_folder(self, key: str) -> None:
        """Refuse to write a file where folders are kept and one has the name."""
        if self._backend.keeps_folders and self._backend.is_folder(key):
            raise IsADirectoryError(errno.EISDIR, "is a folder: choose another name", key)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Write all bytes of a file.

        Raises
        ------
        StoreConflictError
            `mode="create"`, and there is such a file.
        """
        self._check_mode(mode)
        if self._intrans:
            with self.open(path, "xb" if mode == "create" else "wb") as file:
                file.write(value)
            return
        context, key = self._write_context(), self._free_key(path)
        self._refuse_folder(key)
        Placement(context, key, exclusive=mode == "create").take(value).commit()

    @observed("store_many")
    def _piped(self, values: Mapping[str, bytes]) -> None:
        """Write many small files, at once where the storage gains from it."""
        context = self._write_context()
        placements = [Placement(context, self._free_key(path)).take(value) for path, value in values.items()]
        for some in _batches(placements, _TOGETHER):
            there = self._backend.fetch([keys.sidecar_key(item.key) for item in some], [item.key for item in some])
            old = [text if head else None for text, head in zip(there.reads, there.heads, strict=True)]
            holds.refuse(self._backend, *(item.key for item in some))
            promptkit.forget_replaced(self._backend, [item.key for item in some])
            commit.confirmed(commit.store([item.prepare(text) for item, text in zip(some, old, strict=True)]))
            for item in some:
                item.tell()

    def pipe(self, path: Any, value: bytes | None = None, **kwargs: Any) -> None:
        """Write one file, or all of a dict path -> bytes."""
        if isinstance(path, dict):
            if self._intrans or kwargs or not self._backend.asynchronous:
                for each, data in path.items():
                    self.pipe_file(each, data, **kwargs)
            else:
                self._piped(path)
            return
        if value is None:
            raise InvalidMediaError("nothing to write was given", next_step="pipe(path, bytes) or pipe({path: bytes})")
        self.pipe_file(path, value, **kwargs)

    def put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **_: Any
    ) -> None:
        """Copy a file of this machine; of a folder only the folder itself."""
        self._check_mode(mode)
        if os.path.isdir(lpath):  # noqa: PTH112 - lpath may be anything that os takes
            self.makedirs(rpath, exist_ok=True)
            return
        with Path(lpath).open("rb") as source:
            callback.set_size(os.fstat(source.fileno()).st_size)
            with self.open(rpath, "xb" if mode == "create" else "wb") as target:
                while data := source.read(_CHUNK):
                    target.write(data)
                    callback.relative_update(len(data))

    def touch(self, path: str, truncate: bool = True, **_: Any) -> None:
        """Make an empty file, or empty the one that is there; without `truncate` a file stays as it is."""
        if truncate or not self.exists(path):
            self.pipe_file(path, b"")

    @staticmethod
    def _check_mode(mode: str) -> None:
        if mode not in _MODES:
            raise InvalidMediaError(f"unknown mode {mode!r}", next_step=f"use one of {', '.join(_MODES)}")

    # -- removing ------------------------------------------------------------------------------------------

    @observed("delete")
    def rm_file(self, path: str) -> None:
        """Delete one media: its sidecar, then its bytes.

        Raises
        ------
        MediaNotFoundError
            There is none.
        """
        self._write_context()
        key = self._existing_key(path)
        if not self._is_file(key):
            raise self._absent(key, look=True)
        self._removed([key])

    @observed("delete_many")
    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete media, and with `recursive` all below folders. A name that exists is never taken for a pattern."""
        self._write_context()
        files: dict[str, None] = {}
        folders: dict[str, None] = {}
        for each in [path] if isinstance(path, str | os.PathLike) else path:
            for key, is_folder in self._meant(stringify_path(each), recursive=recursive, maxdepth=maxdepth):
                (folders if is_folder else files)[key] = None
        if folders and not recursive:
            raise IsADirectoryError(errno.EISDIR, "is a folder: remove it with recursive=True", next(iter(folders)))
        self._removed(list(files))
        if maxdepth is None:
            for folder in sorted(folders, reverse=True):
                if folder:
                    self._backend.remove_folder(folder)

    def _meant(self, path: str, *, recursive: bool, maxdepth: int | None) -> Iterator[tuple[str, bool]]:
        """Return the keys that a path or pattern means, and whether each is a folder's."""
        key = self._key(path)
        literal = not has_magic(key) or self.exists(key)
        names = [key] if literal else self.glob(path)
        if not names:
            raise not_found(key)
        for name in names:
            info = self.info(name)
            is_folder = info["type"] == "directory"
            if is_folder:
                self._refuse_link(name)
            yield name, is_folder
            if is_folder and recursive:
                found = self.find(name, maxdepth=maxdepth, withdirs=True, detail=True)
                yield from ((below, each["type"] == "directory") for below, each in found.items())

    def _removed(self, wanted: list[str]) -> None:
        removal = Removal(self._backend, self._configuration(), self._now, self._deletion_log, keep_folders=True)
        if len(wanted) == 1:
            removal.one(wanted[0])
            return
        for some in _batches(wanted, _REMOVED_TOGETHER):
            for error in removal.many(some).values():
                raise error

    # -- folders -------------------------------------------------------------------------------------------

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Make a folder, where the storage keeps folders without files; elsewhere there is nothing to do.

        Raises
        ------
        StoreConflictError
            Something has the name already.
        """
        key = self._folder_key(path)
        if not self._backend.keeps_folders:
            return
        if self.exists(key):
            raise _exists(key)
        parent = key.rpartition("/")[0]
        if not create_parents and not self.isdir(parent):
            raise not_found(parent)
        self._backend.make_folder(key)

    def makedirs(self, path: str, exist_ok: bool = False, **_: Any) -> None:
        """Make a folder and its parents, see `mkdir`."""
        self._write_context()
        if not self._key(path):
            return
        key = self._folder_key(path)
        if not self._backend.keeps_folders:
            return
        if not exist_ok and self.exists(key):
            raise _exists(key)
        self._backend.make_folder(key)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder.

        Raises
        ------
        OSError
            It is not empty (errno ENOTEMPTY).
        """
        key = self._folder_key(path)
        self._refuse_link(key)
        if not self.isdir(key):
            if self._backend.keeps_folders:
                raise not_found(key)
            return
        listing = self._backend.children(key)
        if listing.entries or listing.folders:
            raise OSError(errno.ENOTEMPTY, "is not empty: remove what is in it first", key)
        self._backend.remove_folder(key)

    def _folder_key(self, path: str) -> str:
        self._write_context()
        return self._free_key(path, is_folder=True)


def _exists(key: str) -> StoreConflictError:
    return StoreConflictError("exists already", next_step="choose another name, or overwrite it", reference=key)


def _batches(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


class Copying(Writing):
    """Methods of `MediaFileSystem` that copy and move."""

    @observed("copy")
    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a media with its sidecar: policy, attributes and ids come along, but for ids that the new path tells."""
        context = self._write_context()
        source = self._existing_key(path1)
        target = self._target_key(source, path2)
        if self._backend.place_of(source) == self._backend.place_of(target):
            return  # onto itself, perhaps through a link
        with commit.about(source):
            try:
                found = records.find(self._backend, source)
            except (InvalidReferenceError, MediaNotFoundError):
                if not self._backend.is_folder(source):
                    raise not_found(source) from None
                self.makedirs(target, exist_ok=True)
                return
        self._refuse_folder(target)
        if found.sidecar is None:
            self._written_anew(context, source, target)
            return
        values = {
            name: value for name, value in Sidecar.parse(found.sidecar, source).values.items() if name != "marker"
        }
        values |= told_by_path(context, target)
        mime_type = str(values.get("mime_type") or "application/octet-stream")
        sidecar = Sidecar(values)
        instant = records.expiry_of(sidecar, source, context.configuration, found.entry.modified)
        pointer = keys.pointer_of(target)
        with commit.about(target):
            holds.refuse(self._backend, target)
            if pointer is not None:
                commit.copy(
                    SharedStoreOperation(
                        backend=self._backend,
                        digest=pointer.digest,
                        size=pointer.size,
                        data=b"",
                        mime_type=mime_type,
                        name_of=lambda _: target,
                        sidecar_of=lambda marker: sidecar.with_marker(marker).dump(),
                        now=self._now,
                        expires_at=instant,
                        grace=context.configuration.orphan_grace,
                    ),
                    pointer,
                )
                return
            promptkit.forget_replaced(self._backend, [target])
            if instant is not None:
                self._backend.write(keys.due_key(instant, target), b"", commit.DUE_TYPE)
            try:
                self._backend.copy(keys.bytes_key(source), target, mime_type)
            except FileNotFoundError:
                raise not_found(source) from None
            self._backend.write(keys.sidecar_key(target), sidecar.dump(), "application/json")

    def _target_key(self, source: str, path: str) -> str:
        """Return the key of a copy: a deduplicated name only for a media that has the same bytes.

        Raises
        ------
        InvalidReferenceError
            The name can't be that of a copy of this media.
        """
        key = self._key(path)
        pointer = keys.pointer_of(key)
        if pointer is None or pointer != keys.pointer_of(source):
            return self._free_key(path)
        self._free_key(f"{key.rpartition('/')[0]}/{keys.file_name(key)}".lstrip("/"))
        keys.check_lengths(key, self._backend.root_length)
        return keys.check_reference(key)

    def _written_anew(self, context: WriteContext, source: str, target: str) -> None:
        """Copy what has no sidecar: read, and written as new bytes are."""
        with self._opened(source) as file, PlacedFile(Placement(context, target)) as written:
            while data := file.read(_CHUNK):
                written.write(data)

    @observed("move")
    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **_: Any) -> None:  # noqa: C901, PLR0912
        """Move: copy all, then remove what was copied. Onto itself it does nothing."""
        self._write_context()
        files: list[str] = []
        folders: list[str] = []
        targets: list[str] = []
        places: list[str] = []  # of the folders
        several = not isinstance(path1, str)
        ends = list(path2) if not isinstance(path2, str) else None
        if ends is not None and (not several or len(ends) != len(path1)):
            raise InvalidMediaError("as many targets as sources are needed", next_step="give two lists of one length")
        if not several and self._key(path1) == self._key(path2) and self.exists(path1):
            return
        into = several or path2.endswith("/") or self.isdir(path2)
        for index, each in enumerate(path1 if several else [path1]):
            key = self._key(each)
            literal = not has_magic(key) or self.exists(key)
            for name, is_folder in self._meant(each, recursive=recursive, maxdepth=maxdepth):
                # `base` is what the caller named: its last part moves along where the target is a folder
                base = key if literal else next((top for top in folders if name.startswith(f"{top}/")), name)
                end = self._key(path2 if ends is None else ends[index])
                if ends is None and (into or not literal):
                    end = f"{end}/{base.rpartition('/')[2]}".lstrip("/")
                end = joined(end, name[len(base) :].lstrip("/"))
                if is_folder:
                    folders.append(name)
                    places.append(end)
                elif name not in files:
                    files.append(name)
                    targets.append(end)
        if folders and not recursive:
            raise IsADirectoryError(errno.EISDIR, "is a folder: move it with recursive=True", folders[0])
        pairs = [(old, new) for old, new in zip(files, targets, strict=True) if old != new]
        news = {self._target_key(old, new) for old, new in pairs}
        # Two names may be one file, where a folder is a link to another.
        spots = [self._backend.place_of(name) for name in (*(old for old, _ in pairs), *news)]
        if len(set(spots)) < len(spots):
            raise StoreConflictError("two of the names are one place", next_step="move to a place of its own")
        if len(set(targets)) < len(targets) or news & set(files):
            raise StoreConflictError("two of the files would have one name", next_step="move them one by one")
        holds.refuse(self._backend, *(name for pair in pairs for name in pair))
        for place in places if maxdepth is None else ():
            self.makedirs(place, exist_ok=True)  # an empty folder moves too
        for old, new in pairs:
            self.cp_file(old, new)
        self._removed([old for old, _ in pairs])
        if maxdepth is None:
            for folder in sorted(set(folders), reverse=True):
                if folder and folder not in places and not any(new.startswith(f"{folder}/") for new in targets):
                    self._backend.remove_folder(folder)


_TEXT_OPTIONS = ("encoding", "errors", "newline")


class CompressedMedia(io.BufferedIOBase):
    """Bytes that are compressed on their way into a media; commits and lets go as `PlacedFile` does."""

    def __init__(self, layer: Any, file: PlacedFile) -> None:
        self._layer = layer
        self._file = file

    def __repr__(self) -> str:
        return f"<compressed {self._file!r}>"

    def write(self, data: Any, /) -> int:
        """Take bytes."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        written: int = self._layer.write(data)
        return written

    def writable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Write what the compression ends with, then commit; may be called again."""
        if self.closed:
            return
        try:
            self._layer.close()
        except BaseException:
            self.discard()
            raise
        try:
            self._file.close()
        finally:
            super().close()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._file.discard()
        with suppress(Exception):  # it can't write its end any more
            self._layer.close()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self.closed:
            self.discard()
        self.close()

    def __del__(self) -> None:
        if not self.closed:
            with suppress(Exception):
                self.discard()


class TextMedia(io.TextIOWrapper):
    """Text on its way into a media; commits and lets go as `PlacedFile` does."""

    def __init__(self, file: Any, **options: Any) -> None:
        self._file: PlacedFile | CompressedMedia = file
        super().__init__(file, **options)

    def discard(self) -> None:
        """Leave nothing behind."""
        self._file.discard()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self.closed:
            self.discard()
        self.close()

    def __del__(self) -> None:
        with suppress(Exception):  # never begun, or detached
            if not self.closed:
                self.discard()


class Opening(Copying):
    """Methods of `MediaFileSystem` that open files and begin transactions."""

    def start_transaction(self) -> Any:
        """Begin a transaction; `end_transaction` stores its files.

        Raises
        ------
        InvalidMediaError
            One is under way.
        """
        transaction = self.transaction
        transaction.start()
        return transaction

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a media: bytes or text, compressed on its way if asked.

        What is written exists once the file is closed; an error that leaves its `with` block lets go of it, in every
        mode.

        Raises
        ------
        InvalidMediaError
            The mode is none of these, an option is unknown, or the file was written in this transaction already and
            can't be appended to.
        ValueError
            The compression is unknown.
        """
        packing = get_compression(self._key(path), compression)
        is_text = "b" not in mode
        if "r" in mode or not (is_text or packing):
            file = super().open(path, mode, block_size, cache_options, compression, **kwargs)
            return _sized(file) if mode == "rb" and packing is None else file
        options = {name: kwargs.pop(name) for name in _TEXT_OPTIONS if is_text and name in kwargs}
        plain = mode.replace("t", "") + "b" * is_text
        placed: PlacedFile = super().open(path, plain, block_size, cache_options, **kwargs)
        try:
            file = CompressedMedia(compr[packing](placed, mode=plain[0]), placed) if packing else placed
            return TextMedia(file, **options) if is_text else file
        except BaseException:
            placed.discard()
            raise


def _sized(file: Any) -> Any:
    """Give a file opened for reading its size: fsspec's `tail` and `read_block`, and others, ask it for that."""
    if not hasattr(file, "size"):
        file.size = file.seek(0, os.SEEK_END)
        file.seek(0)
    return file
