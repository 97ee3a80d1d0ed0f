"""`MediaFileSystem`: a store as a filesystem of fsspec's. No listing is cached; each call asks the storage.

What no listing of a store shows (sidecars, `.fsmedia/`, temporary names, bytes under a generated name without their
sidecar) does not exist here; only the exact name of a media's bytes is read without a look at its sidecar. Orders of
writes are sequences of blocking calls: coroutines run them in worker threads, and over local disk and memory no loop is
involved.
"""

# Longer than 1,000 lines: fsspec's interface is one class, and each call has one body here.

from __future__ import annotations

import asyncio
import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from glob import has_magic
from hashlib import file_digest
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, ParamSpec, TypeVar, cast

from fsspec.asyn import AsyncFileSystem, get_loop, sync
from fsspec.caching import caches
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.compression import compr
from fsspec.core import get_compression
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.spec import make_instance
from fsspec.utils import common_prefix, stringify_path, tokenize
from pydantic_core import to_jsonable_python

from fsmedia.core import commit, holds, lifetime, promptkit, records
from fsmedia.core.ingest import WriteContext, utc_now
from fsmedia.core.named import CopiedBytes, Pair, Rewritten, Seen, find_pair, taken
from fsmedia.core.parallel import windows
from fsmedia.core.records import VerifyReads
from fsmedia.core.telemetry import Observer, checked_hooks, observed
from fsmedia.errors import (
    CorruptMediaError,
    CorruptSidecarError,
    ErrorContext,
    InvalidMediaError,
    InvalidReferenceError,
    LocalFileContext,
    MediaError,
    MediaNotFoundError,
    ReadOnlyStoreError,
    StorageError,
    StoreConflictError,
)
from fsmedia.filesystem import files
from fsmedia.filesystem.views import LazySettingsFile, ViewReader, Views
from fsmedia.format import keys
from fsmedia.format.layout import VIEW_MAX_AGE, as_age
from fsmedia.format.sidecar import Sidecar
from fsmedia.storage import SEEK_BLOCK, Entry, address, open_backend
from fsmedia.storage.fsspec_backend import each_of
from fsmedia.storage.listing import NestedStores

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping

    from fsmedia.core.lifetime import DeletionLog
    from fsmedia.core.telemetry import Hook
    from fsmedia.filesystem.files import AsyncMediaFile
    from fsmedia.format.settings import Configuration
    from fsmedia.storage import Engine
    from fsmedia.storage.address import NestedOptions

__all__ = ["MediaFileSystem"]

P = ParamSpec("P")
T = TypeVar("T")
_InstanceCache: Any = type(AsyncFileSystem)
_FSSPEC_OPTIONS = ("use_listings_cache", "listings_expiry_time", "max_paths")
_TEXT_OPTIONS = ("encoding", "errors", "newline")
_TUNING_OPTIONS = frozenset({
    "buffering", "default_block_size", "default_cache", "default_cache_type", "default_fill_cache", "fill_cache",
    "max_blocks", "max_concurrency", "size", "trim",
})  # fmt: skip
"""What other filesystems' `open` takes and what only tunes their caches: it changes no result."""
# What reads ahead as our own files do, and what gives zeros or an error for bytes that were not fetched before.
_UNUSED_CACHES = (None, "readahead", "parts")
_MODES = ("overwrite", "create")
_USER_ATTRIBUTE = "user."
_OWN_ATTRIBUTE = "fsmedia."
_POLICY_ATTRIBUTE = "fsmedia.policy_name"
# What a sidecar says of where its bytes lie, and of one attempt to write it.
_NOT_COPIED = ("marker", "write")
# How fsspec's calls for trees find sources and targets.
_PAIRED = {"copy": "_paired", "get": "_paired_to_local", "put": "_paired_from_local"}
_CURRENT_FOLDER = "_here"
"""Argument that tells the instances of a relative root apart."""
_TIMEOUT = timedelta(seconds=60)
_THREADS = 32
_AT_ONCE = 64
"""Coroutines of one call under way at once; as many as fsspec begins, 1,280, are in each other's way."""
# A batch's sidecars are in memory together, and nothing of the next batch begins before all of this one is confirmed.
_WRITES_PER_BATCH = 128
# After an error nothing of the next batch is deleted.
_DELETIONS_PER_BATCH = 500


def _in_worker_thread(name: str, most: int | None = None) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the coroutine of a blocking call: its steps block, so all of it runs in a worker thread.

    `most`: as many arguments mean the same to both by position; the next one of fsspec's coroutine is a batch size.
    """

    async def call(self: MediaFileSystem, *args: Any, **kwargs: Any) -> Any:
        if most is not None:
            kwargs.pop("batch_size", None)
        return await self._in_thread(getattr(self, name), *args[:most], **kwargs)

    call.__name__ = f"_{name}"
    return call


def _paired_first(name: str) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return fsspec's coroutine for trees with sources and targets that are paired first, in a worker thread."""
    call: Any = getattr(AsyncFileSystem, f"_{name}")
    parameters = signature(call)

    async def paired(self: MediaFileSystem, *args: Any, **kwargs: Any) -> None:
        bound = parameters.bind(self, *args, **kwargs)
        given = bound.arguments
        ends = list(given)[1:3]
        known = [*(given[end] for end in ends), given.get("recursive", False), given.get("maxdepth")]
        given.update(zip(ends, await self._in_thread(getattr(self, _PAIRED[name]), *known), strict=True))
        await call(*bound.args, **bound.kwargs)

    return paired


class _CachedByFolder(_InstanceCache):
    """fsspec's cache of instances, in which a relative root in another current directory is another instance."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        here = address.relied_on_directory(kwargs)
        return super().__call__(*args, **kwargs, **({} if here is None else {_CURRENT_FOLDER: here}))


class _StripProtocol:
    """`_strip_protocol`: of the class it takes any URL, of an instance it refuses URLs of other stores."""

    def __get__(self, instance: MediaFileSystem | None, owner: type) -> Any:
        return _path_of_url if instance is None else instance.own_path


class MovePlan(NamedTuple):
    """What a move does: the new name of each file and folder, in the order in which they were found."""

    files: dict[str, str]
    folders: list[tuple[str, str]]


class MediaFileSystem(AsyncFileSystem, metaclass=_CachedByFolder):
    """A store as a filesystem. Paths are references; folders are those of the store's layout.

    Parameters
    ----------
    root
        A folder or any fsspec URL; None takes `fsspec.conf["media"]` or ``$FSMEDIA_URL``.
    url
        The same, as configuration spells it (`fsspec.url_to_fs` has an argument of that name, so it can't pass it on).
    storage_options
        Options for the filesystem of the root. They appear in no text that this class makes; a pickle contains them.
    store
        Name of a configured store instead of a URL; ``media://@name/...`` is the same.
    stores
        Configured stores by name: URL, or ``{"url": ..., "storage_options": {...}}``.
    fo, target_protocol, target_options
        The root as a chained URL gives it.
    engine, durability, max_file_size, read_only, verify_reads, timeout, hooks, deletion_log, now
        As in `MediaStore`; a timeout may be given in seconds.
    block_size
        Bytes that a seek in an opened media fetches from an object store; None is 256 KiB.
    view_max_age
        How old the data of views may be, in seconds or as a timedelta; 0 looks each time, None only once.

    Raises
    ------
    InvalidMediaError
        No store is named, or an option is out of place; the text says where it belongs.
    """

    # The name in pickles, in `to_dict` and in fsspec's registry.
    __module__ = "fsmedia.filesystem"

    protocol = "media"
    root_marker = ""
    transaction_type = files.MediaTransaction
    _extra_tokenize_attributes = ("ambient",)
    ambient = address.EnvironmentDigest()
    _strip_protocol = _StripProtocol()
    _pid: int
    _workers: tuple[int, ThreadPoolExecutor] | None = None

    def __init__(
        self,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        *,
        root: str | None = None,
        url: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        store: str | None = None,
        stores: Mapping[str, Any] | None = None,
        engine: Engine | None = None,
        durability: Literal["fsync", "rename"] = "fsync",
        max_file_size: int | None = 1 << 30,
        read_only: bool = False,
        verify_reads: VerifyReads = True,
        timeout: float | timedelta = _TIMEOUT,
        block_size: int | None = None,
        view_max_age: float | timedelta | None = VIEW_MAX_AGE,
        now: Callable[[], datetime] = utc_now,
        hooks: Iterable[Hook] = (),
        deletion_log: DeletionLog = None,
        asynchronous: bool = False,
        loop: Any = None,
        batch_size: int | None = None,
        **others: Any,
    ) -> None:
        # fsspec's options of its cache of listings are accepted and have no effect: nothing is cached.
        for name in (*_FSSPEC_OPTIONS, _CURRENT_FOLDER):
            others.pop(name, None)
        root, url = (None if each is None else stringify_path(each) for each in (root, url))
        given = address.StoreOptions(fo, target_protocol, target_options, root, url, storage_options, store, stores)
        self._address = given.resolve(others)
        age = view_max_age if view_max_age is None else as_age(view_max_age)
        limit = timeout if isinstance(timeout, timedelta) else timedelta(seconds=timeout)
        self._settings: dict[str, Any] = {
            "engine": engine,
            "durability": durability,
            "max_file_size": max_file_size,
            "read_only": read_only,
            "verify_reads": verify_reads,
            "timeout": limit.total_seconds(),
            "block_size": block_size,
            "view_max_age": None if age is None else age.total_seconds(),
            "now": now,
            "hooks": checked_hooks(hooks),
            "deletion_log": deletion_log,
            "asynchronous": asynchronous,
            "batch_size": batch_size,
        }
        lifetime.check_log(deletion_log)
        records.check_mode(verify_reads)
        if durability not in ("fsync", "rename"):
            raise InvalidMediaError(f"unknown durability {durability!r}", next_step="use 'fsync' or 'rename'")
        self._verify_reads: VerifyReads = verify_reads
        self._now = now
        self._block_size = block_size or SEEK_BLOCK
        options = dict(self._address.options)
        if address.protocol_of(self._address.url) not in address.LOCAL:
            # fsspec would reuse a filesystem that took its credentials from an environment that has changed since.
            options["skip_instance_cache"] = True
        self._backend = open_backend(self._address.url, options, timeout=limit, durability=durability, engine=engine)
        self._observer = Observer(self._backend.url, self._settings["hooks"])
        self._settings_file = LazySettingsFile(self._backend, now)
        self._views = Views(self._backend, self._settings_file, age, now)
        # After the root was opened: a relative root becomes absolute, so that a chdir changes nothing later.
        if address.is_relative(self._address.url):
            self._address = replace(self._address, url=self._backend.url)
        # fsspec's metaclass reads both. Over a storage that blocks, no loop is ever involved.
        self.async_impl = asynchronous or self._backend.asynchronous
        self.mirror_sync_methods = self._backend.asynchronous and not asynchronous
        at_once = batch_size or _AT_ONCE
        super().__init__(asynchronous=asynchronous, loop=loop, batch_size=at_once, use_listings_cache=False)

    # -- identity ------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the root that was found here, whatever is configured where it is unpickled."""
        here = self._address
        named: dict[str, Any] = {"root": here.url, "storage_options": here.options}
        if here.form == "name":
            named = {"store": here.name, "stores": {here.name: {"url": here.url, "storage_options": here.options}}}
        elif here.form == "chain":
            protocol = address.protocol_of(here.url)
            named = {"fo": _below(here.url), "target_protocol": protocol, "target_options": here.options}
        return make_instance, (type(self), (), {**named, **self._settings})

    @property
    def _fs_token(self) -> str:
        """What tells two filesystems apart: the root, how it was named, and the settings."""
        here = self._address
        return str(tokenize(type(self), here.url, here.options, here.form, here.name, self._settings))

    def __repr__(self) -> str:
        return f"MediaFileSystem({self._backend.url!r})"

    @classmethod
    def _get_kwargs_from_urls(cls, path: str) -> dict[str, Any]:
        name = address.split_media_url(stringify_path(path))[2]
        return {"store": name} if name else {}

    def own_path(self, path: Any) -> Any:
        """Return the path below the root; `InvalidReferenceError` for a URL of another store."""
        if isinstance(path, list | tuple):
            return [self.own_path(each) for each in path]
        text = stringify_path(path)
        key, rest, name = address.split_media_url(text)
        elsewhere = rest and not address.is_root(rest, [*self._backend.roots(), self._address.url])
        if elsewhere or (name and name != self._address.name):
            problem = f"the URL is of another store than this one at {self._backend.url}"
            step = "open it with fsspec.open, or leave the part after :: away; nothing can be joined onto it"
            raise InvalidReferenceError(problem, next_step=step, reference=key)
        return key

    def unstrip_protocol(self, name: str) -> str:
        """Return the URL of a path, in the form in which this filesystem was opened."""
        key = self._strip_protocol(name)
        if self._address.form == "chain":
            return address.media_url(key, self._backend.url)
        if self._address.form == "name":
            return f"{address.SCHEME}@{self._address.name}/{key}"
        return f"{address.SCHEME}{key}"

    @property
    def url_options(self) -> NestedOptions:
        """Storage options that belong to a chained URL of this store; they contain its secrets, the repr does not."""
        return address.nested_options(self._address.url, self._address.options)

    @property
    def fsid(self) -> str:
        """Identifier of the store."""
        return f"media_{self._backend.url}"

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Return what `from_dict` takes; like a pickle it contains the secrets, unless told not to."""
        _, (_, _, options) = self.__reduce__()
        options = {name: value for name, value in options.items() if name not in ("now", "hooks", "deletion_log")}
        if not include_password:
            options = {name: value for name, value in options.items() if not name.endswith(("_options", "stores"))}
            shown = {"root": self._backend.url, "fo": _below(self._backend.url)}
            options |= {name: url for name, url in shown.items() if name in options}
        kind = type(self)
        return {"cls": f"{kind.__module__}:{kind.__name__}", "protocol": self.protocol, "args": (), **options}

    # -- settings and paths --------------------------------------------------------------------------------

    def _configuration(self) -> Configuration:
        return self._settings_file.open().configuration

    def _write_context(self) -> WriteContext:
        """Return what a write needs; `ReadOnlyStoreError` where nothing may be written."""
        if self._settings["read_only"]:
            raise ReadOnlyStoreError("the store was opened read-only", next_step="open it without read_only=True")
        settings_file = self._settings_file.open()
        # A root without settings is looked at again for each write: somebody may have made the store meanwhile.
        settings = settings_file.current()
        if not settings_file.is_settled:
            url = self._backend.url
            raise ReadOnlyStoreError(
                f"there is no store at {url} (it holds no {keys.CONFIGURATION_KEY}), so nothing was written",
                next_step=f"check that nothing was joined onto the URL; to make a store there: "
                f"MediaStore({url!r}).create(), or `fsmedia init --store {url}`",
            )
        # What the first write to a root does is done: the store has its settings.
        largest = self._settings["max_file_size"]
        return WriteContext(self._backend, settings, largest, self._now, lambda *_: None, self._observer)

    def _key(self, path: Any) -> str:
        """Return the key of a path; it need not be one that a media can have."""
        # Nearly all paths are plain text: the general way costs more than a read from memory.
        if type(path) is str and path[:6] != "media:":
            return path.strip("/")
        # No str(): a list would become a name of its own, and be written to.
        return cast("str", self._strip_protocol(path))

    def _new_key(self, key: str, *, is_folder: bool = False) -> str:
        """Return the key of a file, or folder, to be written; refuse names in views and those no media can have."""
        self._views.refuse([key])
        return keys.check_new_reference(key, self._backend.root_length, is_folder=is_folder)

    def _new_folder_key(self, path: str) -> str:
        self._write_context()
        return self._new_key(self._key(path), is_folder=True)

    def _refuse_link(self, key: str) -> None:
        """Refuse to remove or move what lies behind a link to a folder."""
        if self._backend.is_link(key):
            problem = "is a symlink to a folder"
            step = "remove the link itself outside of the store; the folder has a name of its own"
            raise InvalidReferenceError(problem, next_step=step, reference=key)

    def _refuse_folder(self, key: str) -> None:
        """Refuse to write a file where the storage keeps folders and one has the name."""
        if self._backend.keeps_folders and self._backend.is_folder(key):
            raise IsADirectoryError(errno.EISDIR, "is a folder: choose another name", key)

    def _missing(self, key: str, *, look: bool = False) -> Exception:
        """Return the error for a key that is no file; `look` also where telling a folder costs a request."""
        if (look or self._backend.keeps_folders) and self._backend.is_folder(key):
            return _folder_error(key)
        return files.not_found(key)

    # -- looking -------------------------------------------------------------------------------------------

    def info(self, path: str, *, metadata: bool = False, **_: Any) -> dict[str, Any]:
        """Describe a file or folder: name, size, type, mtime, created, ETag, mime_type (by its name).

        A file in a view is described as the catalog knows it, with the media's own path as `reference`. `metadata` adds
        all fields of the sidecar: ids, policy, digest, expiry, what the content is; this reads it. Where the sidecar is
        read anyway (object stores, names that the store generated) they are there without asking.
        """
        key = self._key(path)
        if (view := self._views.of(key)) is not None:
            return self._viewed_metadata(view, key) if metadata else view.info(key)
        if not key:
            return files.folder_info("")
        if not files.is_hidden(key):
            if (found := self._file_info(key, metadata=metadata)) is not None:
                return found
            if self._backend.is_folder(key):
                return files.folder_info(key)
        raise files.not_found(key)

    def _viewed_metadata(self, view: ViewReader, key: str) -> dict[str, Any]:
        described = view.info(key)
        if described["type"] == "directory":
            return described
        with view.resolve(key).media() as reference:
            if (found := self._file_info(reference, metadata=True)) is None:
                raise files.not_found(reference)
        return {**found, "name": key, "reference": reference}

    def _file_info(self, key: str, *, metadata: bool) -> dict[str, Any] | None:
        backend, sidecar = self._backend, keys.sidecar_key(key)
        own = files.is_own_name(key)
        pointer = keys.pointer_of(key) if own else None
        if pointer is not None:
            # A deduplicated file exists as long as its sidecar; size and generation are in its name.
            wanted = [sidecar] if metadata or backend.asynchronous else []
            answers = backend.fetch(reads=wanted, heads=[sidecar])
            if answers.heads[0] is None:
                return None
            entry = Entry(key, pointer.size, answers.heads[0].modified, pointer.generation)
            text = answers.reads[0] if wanted else None
            return files.file_info(entry) if text is None else self._described(entry, text, strict=metadata)
        if not metadata and not (own and backend.asynchronous):
            head = backend.head_beside(key, sidecar) if own else backend.head(key)
            return None if head is None else files.file_info(head)
        # Both in one round trip. Bytes under a generated name without a sidecar are an upload under way, or a leftover.
        answers = backend.fetch(reads=[sidecar], heads=[key])
        head, text = answers.heads[0], answers.reads[0]
        if head is None or (own and text is None):
            return None
        return self._described(head, text, strict=metadata)

    def _described(self, entry: Entry, sidecar: bytes | None, *, strict: bool) -> dict[str, Any]:
        """Describe a file by its entry and its sidecar; a corrupt sidecar is an error only if `strict`."""
        try:
            record = records.record_of(records.StoredItem(entry, sidecar), self._configuration())
        except CorruptSidecarError:
            if strict:
                raise
            return files.file_info(entry)
        return {**files.file_info(entry), **files.record_fields(record)}

    def exists(self, path: str, **_: Any) -> bool:
        """Return whether there is a file or folder."""
        return self._is_kind(path, "file", "directory")

    def isfile(self, path: str) -> bool:
        """Return whether there is a file."""
        return self._is_kind(path, "file")

    def isdir(self, path: str) -> bool:
        """Return whether there is a folder."""
        return self._is_kind(path, "directory")

    def _is_kind(self, path: str, *kinds: str) -> bool:
        key = self._key(path)
        if (view := self._views.of(key)) is not None:
            return view.kind(key) in kinds
        if not key or files.is_hidden(key):
            return not key and "directory" in kinds
        return ("file" in kinds and self._is_file(key)) or ("directory" in kinds and self._backend.is_folder(key))

    def _is_file(self, key: str) -> bool:
        if files.is_own_name(key):
            if keys.pointer_of(key) is not None:
                return self._backend.head(keys.sidecar_key(key)) is not None
            return self._backend.head_beside(key, keys.sidecar_key(key)) is not None
        return self._backend.head(key) is not None

    def created(self, path: str) -> datetime:
        """Return when the bytes at a path were written, aware; a file is written once, so this is `modified`."""
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        """Return when the bytes at a path were written, aware; `StorageError` where the storage does not tell."""
        if (seconds := self.info(path).get("mtime")) is None:
            problem = "its storage tells no time"
            raise StorageError(problem, next_step="ask metadata(path)['timestamp']", reference=self._key(path))
        return datetime.fromtimestamp(seconds, UTC)

    def ukey(self, path: str) -> str:
        """Return a text that changes when the file does, and that files of two stores never share."""
        found = self.info(path)
        return str(tokenize([self.fsid, *(str(found.get(name)) for name in ("name", "size", "mtime", "ETag"))]))

    def checksum(self, path: str) -> int:
        """Return a number that changes when the file does; see `ukey`."""
        return int(self.ukey(path), 16)

    @observed("get_url")
    def sign(self, path: str, expiration: int = 3600, **_: Any) -> str:
        """Return a URL under which other programs get the bytes, for that many seconds; see `MediaStore.get_url`."""
        lifetime_of_url = timedelta(seconds=expiration)
        with self._media_at(path) as key:
            try:
                return records.signed_url(self._backend, key, lifetime_of_url, self._configuration())
            except (InvalidReferenceError, MediaNotFoundError):  # a folder, or nothing
                raise files.not_found(key) from None

    @contextmanager
    def _media_at(self, path: str) -> Iterator[str]:
        """Give the key of the media at a path, which may be in a view; errors name it."""
        with self._views.media_at(self._key(path)) as reference:
            key = files.existing_key(reference)
            with ErrorContext(key):
                yield key

    # -- listing -------------------------------------------------------------------------------------------

    def ls(self, path: str, detail: bool = True, *, views: bool = True, **_: Any) -> list[Any]:
        """List a folder, or a file alone; the top shows views too, unless told not to."""
        key = self._key(path)
        if (view := self._views.of(key)) is not None:
            found = view.ls(key)
        else:
            found = self._children(key)
            if not key and views:
                # In an adopted store media may lie in a folder of a view's name: it is shown once.
                there = {info["name"] for info in found}
                found += [files.folder_info(each.name) for each in self._views.all() if each.name not in there]
        return found if detail else sorted(info["name"] for info in found)

    def _children(self, key: str) -> list[dict[str, Any]]:
        if key and files.is_hidden(key):
            raise files.not_found(key)
        nested = NestedStores()
        found = self._shown_in(key, nested)
        if self._lies_in_another_store(key, nested):
            found = []
        if not found and key and not (self._backend.keeps_folders and self._backend.is_folder(key)):
            info = self.info(key)
            # A folder whose files are all hidden is empty; a file lists itself.
            found = [] if info["type"] == "directory" else [info]
        return found

    def _shown_in(self, folder: str, nested: NestedStores) -> list[dict[str, Any]]:
        """List what a folder shows; nothing of another store, which `nested` is told of."""
        listing = self._backend.children(folder)
        return [] if nested.is_root(self._backend, folder, listing.folders) else list(files.visible(listing))

    def _lies_in_another_store(self, key: str, nested: NestedStores) -> bool:
        """Look for a store between the root and a folder, where that costs no request."""
        if self._backend.looking_is_free:
            nested.look_above(self._backend, [key])
        return nested.covers(key)

    def walk(
        self, path: str, maxdepth: int | None = None, topdown: bool = True, on_error: Any = "omit", **kwargs: Any
    ) -> Iterator[Any]:
        """Walk over folders; from the top not into views, which show the same media again."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        detail, nested = kwargs.pop("detail", False), NestedStores()
        # Without recursion, as fsspec's own walk has it: folders may be nested deeper than Python's calls.
        waiting: list[tuple[str, int, Any]] = [(self._key(path), 1, None)]
        while waiting:
            key, depth, seen = waiting.pop()
            if seen is not None:
                yield seen
                continue
            try:
                infos = self._walked(key, nested, is_top=depth == 1, **kwargs)
            except OSError as error:
                if on_error == "raise":
                    raise
                if callable(on_error):
                    on_error(error)
                continue
            found: dict[str, dict[str, Any]] = {"directory": {}, "file": {}}
            for info in infos:
                found[info["type"]][info["name"][len(key) :].lstrip("/")] = info
            seen = (key, *(each if detail else list(each) for each in found.values()))
            if topdown:
                yield seen
            else:
                waiting.append((key, depth, seen))
            # After the `yield`: who walks may have taken folders out.
            if maxdepth is None or depth < maxdepth:
                waiting += [(f"{key}/{name}".lstrip("/"), depth + 1, None) for name in reversed([*seen[1]])]

    def _walked(
        self, key: str, nested: NestedStores, *, is_top: bool, views: bool = False, **_: Any
    ) -> list[dict[str, Any]]:
        """List a folder of a walk; only above its top another store may still lie that was not seen."""
        if is_top or self._views.of(key) is not None:
            return self.ls(key, views=views)
        return self._shown_in(key, nested)

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kwargs: Any
    ) -> Any:
        """List all files below a folder, with folders if asked; a file is found by its own name.

        From the top it does not look into views, which show the same media again.
        """
        prefix = kwargs.get("prefix", "")
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        key = self._key(path)
        if (view := self._views.of(key)) is not None:
            return view.find(key, maxdepth, withdirs=withdirs, detail=detail, prefix=prefix)
        found = {} if key and files.is_hidden(key) else self._found_below(key, maxdepth, withdirs=withdirs)
        if prefix:
            begin = f"{key}/{prefix}" if key else prefix
            found = {name: info for name, info in found.items() if name.startswith(begin) or name == key}
        return dict(sorted(found.items())) if detail else sorted(found)

    def _found_below(
        self, key: str, maxdepth: int | None, *, withdirs: bool, nested: NestedStores | None = None
    ) -> dict[str, dict[str, Any]]:
        """List below a folder; `nested` is told of other stores, which are left out."""
        nested = NestedStores() if nested is None else nested
        # Folder after folder where empty folders are kept, or where one level is enough; else one listing of all.
        by_folder = maxdepth == 1 or (self._backend.keeps_folders and (withdirs or maxdepth is not None))
        look = self._find_by_folder if by_folder else self._find_at_once
        found = look(key, maxdepth, nested, withdirs=withdirs)
        if not found and key:
            try:
                info = self.info(key)
            except MediaError:
                return {}
            return {key: info} if info["type"] == "file" or withdirs else {}
        if withdirs and key:
            found[key] = files.folder_info(key)
        return found

    def _find_by_folder(
        self, key: str, maxdepth: int | None, nested: NestedStores, *, withdirs: bool
    ) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        level = [] if self._lies_in_another_store(key, nested) else [key]
        depth = 0
        while level and (maxdepth is None or depth < maxdepth):
            depth += 1
            infos = [info for folder in level for info in self._shown_in(folder, nested)]
            found |= {info["name"]: info for info in infos if withdirs or info["type"] == "file"}
            level = [info["name"] for info in infos if info["type"] == "directory"]
        return found

    def _find_at_once(
        self, key: str, maxdepth: int | None, nested: NestedStores, *, withdirs: bool
    ) -> dict[str, dict[str, Any]]:
        """List everything below a folder with one listing; its folders are derived from the names."""
        found: dict[str, dict[str, Any]] = {}
        begin = f"{key}/" if key else ""
        for item in records.listed(nested.entries(self._backend, key)):
            name = item.entry.key
            inside = name[len(begin) :].split("/")
            if any(keys.is_hidden(part) for part in inside[:-1]) or not records.is_reference(name):
                continue
            if withdirs:
                for end in range(1, min(len(inside), (maxdepth or len(inside)) + 1)):
                    folder = begin + "/".join(inside[:end])
                    found.setdefault(folder, files.folder_info(folder))
            if maxdepth is None or len(inside) <= maxdepth:
                found[name] = files.file_info(item.entry)
        return found

    def du(self, path: str, total: bool = True, maxdepth: int | None = None, withdirs: bool = False, **_: Any) -> Any:
        """Return the bytes of all media below a path, or of each by name."""
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True)
        sizes = {name: info["size"] for name, info in found.items()}
        return sum(sizes.values()) if total else sizes

    def expand_path(
        self,
        path: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        assume_literal: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Return the keys that names and patterns mean, with `recursive` those below folders too."""
        names: list[str] = self._strip_protocol(_as_list(path))
        # fsspec takes every name with [, ? or * for a pattern; here a file of that very name comes first.
        literal = [] if assume_literal else [name for name in names if has_magic(name) and self.exists(name)]
        if not literal:
            return list(super().expand_path(names, recursive, maxdepth, assume_literal, **kwargs))
        keys = set(super().expand_path(literal, recursive, maxdepth, assume_literal=True, **kwargs))
        for name in set(names) - set(literal):
            # As fsspec does with a pattern without a match beside others.
            with suppress(FileNotFoundError):
                keys |= set(super().expand_path([name], recursive, maxdepth, **kwargs))
        return sorted(keys)

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """Return what a pattern means; see `fsspec.AbstractFileSystem.glob`."""
        # Here and not on the loop: a worker thread that waited for the coroutine would wait for a second one.
        return super().glob(path, maxdepth, **kwargs)

    # -- reading -------------------------------------------------------------------------------------------

    @observed("retrieve")
    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, *, bulk: bool = False, **_: Any
    ) -> bytes:
        """Return the bytes of a file, or a part of them.

        `bulk`: it is one of many, and of plain files on an object store only lengths are checked, see `verify_reads`.
        `StorageError` where a part is asked for, through a view, of a media that was overwritten since it was made.
        """
        key = self._key(path)
        if (view := self._views.of(key)) is None:
            return self._read(key, start, end, bulk=bulk)
        entry = view.resolve(key)
        with entry.media() as reference:
            data = self._read(reference, start, end, bulk=bulk)
            if not entry.may_change:
                return data
            if start is None and end is None:
                entry.renew(len(data))
                return data
            # After the bytes: a media that is overwritten between the two is taken for overwritten, never the reverse.
            if (current := self._backend.head(reference)) is None:
                raise files.not_found(reference)
        entry.refuse_replaced(current)
        return data

    def _read(self, key: str, start: int | None, end: int | None, *, bulk: bool = False) -> bytes:
        key = files.existing_key(key)
        verify = self._verification(key, bulk=bulk)
        data = records.read_found(self._backend, key, start, end, verify_reads=verify)
        if data is None:
            raise self._missing(key)
        return data

    def _verification(self, key: str, *, bulk: bool) -> VerifyReads:
        """Return how a whole read is checked: of one of many plain files the sidecar would double the requests."""
        many = bulk and self._verify_reads != "always" and self._backend.asynchronous
        return self._verify_reads if not many or keys.pointer_of(key) is not None else False

    @observed("retrieve")
    def get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **_: Any) -> None:
        """Copy a file to this machine; of a folder only the folder itself."""
        key = self._key(rpath)
        if outfile is None and hasattr(lpath, "write"):
            outfile = lpath
        try:
            # Over a folder s3fs does nothing and says nothing: opening it tells.
            direct = outfile is None and self._backend.asynchronous and not _is_local_folder(lpath)
            if direct and self._views.of(key) is None:
                self._download(key, lpath, callback)
                return
            source = self._open_to_read(key)
        except IsADirectoryError:
            Path(lpath).mkdir(parents=True, exist_ok=True)
            return
        with source:
            callback.set_size(source.seek(0, os.SEEK_END))
            source.seek(0)
            if outfile is not None:
                _pour(source, outfile, callback)
            else:
                _write_out(source, Path(lpath), callback)

    def _download(self, key: str, path: Any, callback: Any) -> None:
        """Bring a file to this machine by one request for all its bytes, which are checked where they lie then."""
        if not key:
            raise _folder_error("")
        key = files.existing_key(key)
        where, sidecar, facts = keys.bytes_key(key), keys.sidecar_key(key), records.facts_of_name(key)
        # The sidecar first: of a deleted file no local file must be made.
        found = where == key or self._backend.head(sidecar) is not None
        if where == key and self._verify_reads:
            facts = records.facts_of_sidecar(self._backend.read(sidecar), key)
        if found:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            found = self._backend.download(where, path, callback)
        if not found:
            raise self._missing(key, look=True)
        if self._verify_reads and facts is not None and _digest_of(path) != facts.sha256:
            # Once more, sidecar and then bytes: it may have been overwritten between the two requests.
            with self._open_bytes(key, None) as source:
                _write_out(source, Path(path), DEFAULT_CALLBACK)

    def _open_to_read(self, key: str, block_size: int | None = None) -> BinaryIO:
        """Open a file for reading; a folder is an `IsADirectoryError`."""
        if (view := self._views.of(key)) is None:
            return self._open_bytes(key, block_size)
        entry = view.resolve(key)
        with entry.media() as reference:
            file = self._open_bytes(reference, block_size)
        if entry.may_change:
            # The file knows its true size; the view shows it from now on.
            entry.renew(file.seek(0, os.SEEK_END))
            file.seek(0)
        return file

    def _open_bytes(self, key: str, block_size: int | None) -> BinaryIO:
        if not key:
            raise _folder_error("")
        key = files.existing_key(key)
        with ErrorContext(key):
            try:
                block_size = block_size or self._block_size
                return records.open_found(self._backend, key, verify_reads=self._verify_reads, block_size=block_size)
            except FileNotFoundError:
                error = self._missing(key, look=True)
        raise error

    @observed("open")
    def _open_observed(self, key: str, block_size: int | None, cache_type: str | None, cache_options: Any) -> Any:
        """Open a file for reading; through one of fsspec's caches each part is a request of its own."""
        block_size = block_size or self._block_size
        if cache_type in _UNUSED_CACHES or cache_type not in caches:
            plain: Any = self._open_to_read(key, block_size)
            # What fsspec's own files tell: `tail`, `read_block` and other programs ask for it.
            if not hasattr(plain, "size"):
                plain.size = plain.seek(0, os.SEEK_END)
                plain.seek(0)
            if not hasattr(plain, "path"):
                plain.path, plain.blocksize = key, block_size
            return plain
        view = self._views.of(key)
        reference = key if view is None else view.resolve(key).reference
        with self._open_to_read(key, block_size) as file:
            size = file.seek(0, os.SEEK_END)

        def fetch(start: int, end: int) -> bytes:
            if start <= 0 and end >= size:
                return self._read(reference, None, None)  # whole, so that the digest is compared
            if (data := self._backend.read_range(keys.bytes_key(reference), start, end)) is None:
                raise files.not_found(reference)
            with ErrorContext(reference):
                return records.check_range(self._backend, reference, data, start, end) if self._verify_reads else data

        options = {"block_size": block_size, "cache_type": cache_type, "cache_options": dict(cache_options or {})}
        return files.CachedMediaFile(self, key, fetch, size=size, **options)

    # -- opening files -------------------------------------------------------------------------------------

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file: bytes or text, compressed or decompressed on the way if asked.

        What is written is stored once the file is closed, or collected unclosed with a `ResourceWarning`. If its `with`
        block ends with an error, nothing is stored, in every mode. `block_size`, `cache_type` and `cache_options` are
        those of every filesystem; without a `cache_type` that fsspec knows, small reads of an object store get more and
        more ahead. Other words that only tune a cache have no effect.

        Raises `InvalidMediaError`: the mode or an option is unknown, or the file to append to was written in this
        transaction.
        """
        packing = get_compression(self._key(path), compression)
        is_text = "b" not in mode
        if "r" in mode or not (is_text or packing):
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        options = {name: kwargs.pop(name) for name in _TEXT_OPTIONS if is_text and name in kwargs}
        plain = mode.replace("t", "") + "b" * is_text
        file = super().open(path, plain, block_size, cache_options, **kwargs)
        # fsspec's own wrappers would store what was written before an error when they are closed.
        try:
            wrapped = files.CompressedMediaFile(compr[packing](file, mode=plain[0]), file) if packing else file
            return files.TextMediaFile(wrapped, **options) if is_text else wrapped
        except BaseException:
            file.discard()
            raise

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Any = None,
        content_type: str | None = None,
        cache_type: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a file's bytes: "rb", "wb", "xb" or "ab"; `content_type` is the MIME type, else the name's."""
        if unknown := kwargs.keys() - _TUNING_OPTIONS:
            raise InvalidMediaError(f"open takes no {', '.join(sorted(unknown))}", next_step="leave it out")
        key = self._key(path)
        if mode == "rb":
            size = block_size if isinstance(block_size, int) else None  # "default" is fsspec's word for it
            return self._open_observed(key, size, cache_type, cache_options)
        if mode not in ("wb", "xb", "ab"):
            raise InvalidMediaError(f"media can't be opened with mode {mode!r}", next_step="use rb, wb, xb or ab")
        context, key = self._write_context(), self._new_key(key)
        # Early, so that nobody uploads for nothing; what decides is the exclusive commit.
        if mode == "xb" and self.exists(key):
            raise taken(key)
        self._refuse_folder(key)
        if mode == "ab" and self._transaction is not None:
            self._transaction.refuse_append(key)
        before = None
        with suppress(FileNotFoundError):
            before = self._backend.open(key) if mode == "ab" else None
        upload = files.FileUpload(context, key, exclusive=mode == "xb", mime_type=content_type)
        return files.WritableMediaFile(upload, autocommit=autocommit, before=before)

    def start_transaction(self) -> Any:
        """Begin a transaction; `end_transaction` stores its files. `InvalidMediaError` while one is under way."""
        transaction = self.transaction
        transaction.start()
        return transaction

    # -- writing -------------------------------------------------------------------------------------------

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Write all bytes of a file; with `mode="create"` an existing one is a `StoreConflictError`."""
        _check_mode(mode)
        if self._intrans:
            with self.open(path, "xb" if mode == "create" else "wb") as file:
                file.write(value)
            return
        context, key = self._write_context(), self._new_key(self._key(path))
        self._refuse_folder(key)
        files.FileUpload(context, key, exclusive=mode == "create").take(value).commit()

    def pipe(self, path: Any, value: bytes | None = None, **kwargs: Any) -> None:
        """Write one file, or all of a dict path -> bytes."""
        if isinstance(path, dict):
            if self._intrans or kwargs or not self._backend.asynchronous:
                for each, data in path.items():
                    self.pipe_file(each, data, **kwargs)
            else:
                self._pipe_many(path)
            return
        if value is None:
            raise InvalidMediaError("nothing to write was given", next_step="pipe(path, bytes) or pipe({path: bytes})")
        self.pipe_file(path, value, **kwargs)

    @observed("store_many")
    def _pipe_many(self, values: Mapping[str, bytes]) -> None:
        """Write many small files, each step of a batch at once."""
        context = self._write_context()
        uploads = [
            files.FileUpload(context, self._new_key(self._key(path))).take(value) for path, value in values.items()
        ]
        for some in windows(uploads, _WRITES_PER_BATCH):
            there = self._backend.fetch([keys.sidecar_key(item.key) for item in some], [item.key for item in some])
            # A sidecar without bytes is left of a half-done delete: nothing of it is kept.
            old = [text if head else None for text, head in zip(there.reads, there.heads, strict=True)]
            # Holds, then PromptKit's index, then the steps of a store: what is refused is refused before a write.
            holds.refuse(self._backend, *(item.key for item in some))
            promptkit.forget(self._backend, [item.key for item in some], adopted=context.configuration.adopted)
            seen = [Seen(text, token) for text, token in zip(there.reads, there.tokens, strict=True)]
            made = [item.prepare(before, each) for item, before, each in zip(some, old, seen, strict=True)]
            commit.raise_first(commit.store(made))
            for item in some:
                item.tell()

    def put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **_: Any
    ) -> None:
        """Copy a file of this machine; of a folder only the folder itself."""
        _check_mode(mode)
        if _is_local_folder(lpath):
            self.makedirs(rpath, exist_ok=True)
            return
        with Path(lpath).open("rb") as source:
            callback.set_size(os.fstat(source.fileno()).st_size)
            with self.open(rpath, "xb" if mode == "create" else "wb") as target:
                _pour(source, target, callback)

    def touch(self, path: str, truncate: bool = True, **_: Any) -> None:
        """Create an empty file, or empty the one that exists; without `truncate` a file stays as it is."""
        self._views.refuse([self._key(path)])
        if truncate or not self.exists(path):
            self.pipe_file(path, b"")

    # -- removing ------------------------------------------------------------------------------------------

    @observed("delete")
    def rm_file(self, path: str, **_: Any) -> None:
        """Delete one file: its sidecar, then its bytes; `MediaNotFoundError` if there is none."""
        key = self._key(path)
        self._views.refuse([key])
        self._write_context()
        key = files.existing_key(key)
        if not self._is_file(key):
            raise self._missing(key, look=True)
        self._remove_files([key])

    @observed("delete_many")
    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None, **_: Any) -> None:
        """Delete files, and with `recursive` all below folders. A name that exists is never taken for a pattern."""
        paths = _as_list(path)
        self._views.refuse(map(self._key, paths))
        self._write_context()
        found: dict[str, None] = {}
        folders: dict[str, None] = {}
        for each in paths:
            for key, is_folder in self._selected(each, recursive=recursive, maxdepth=maxdepth):
                (folders if is_folder else found)[key] = None
        if folders and not recursive:
            raise IsADirectoryError(errno.EISDIR, "is a folder: remove it with recursive=True", next(iter(folders)))
        self._remove_files(list(found))
        # With a depth, deeper files stay, and so do their folders. Inner folders go first: "a/b" sorts after "a".
        if maxdepth is None:
            for folder in sorted(folders, reverse=True):
                if folder:
                    self._backend.remove_folder(folder)

    def _selected(self, path: Any, *, recursive: bool, maxdepth: int | None) -> Iterator[tuple[str, bool]]:
        """Yield the keys that a path or pattern means, each with whether it is a folder's."""
        path = stringify_path(path)
        key = self._key(path)
        names = [key]
        if not self._is_literal(key):
            # What a pattern means is listed from the last folder before its first sign on.
            nested = NestedStores()
            above = re.split(r"[*?\[]", key, maxsplit=1)[0].rpartition("/")[0]
            nested.look_above(self._backend, [f"{above}/*"])
            _refuse_another_store(nested, key)
            names = self.glob(path)
        if not names:
            raise files.not_found(key)
        for name in names:
            is_folder = self.info(name)["type"] == "directory"
            if is_folder:
                self._refuse_link(name)
            yield name, is_folder
            if is_folder and recursive:
                found = self._own_below(name, maxdepth)
                yield from ((below, each["type"] == "directory") for below, each in found.items())

    def _own_below(self, key: str, maxdepth: int | None) -> dict[str, dict[str, Any]]:
        """List what is to go with a folder; refuse one that is, holds or lies in another store."""
        nested = NestedStores()
        # A listing of the folder does not show a store above it. Asked first, for all of it is about to go.
        nested.look_above(self._backend, [key])
        found = {} if nested.folders else self._found_below(key, maxdepth, withdirs=True, nested=nested)
        _refuse_another_store(nested, key)
        return dict(sorted(found.items()))

    def _is_literal(self, key: str) -> bool:
        """Return whether a key is a name: it looks like no pattern, or a file or folder of that very name exists."""
        return not has_magic(key) or self.exists(key)

    def _remove_files(self, wanted: list[str]) -> None:
        if len(wanted) == 1:
            self._deleter().one(wanted[0])
        else:
            self._remove_in_batches(wanted, self._deleter().many)

    def _remove_in_batches(self, wanted: list[str], remove: Callable[[list[str]], Mapping[Any, MediaError]]) -> None:
        for some in windows(wanted, _DELETIONS_PER_BATCH):
            for error in remove(some).values():
                raise error

    def _deleter(self) -> lifetime.Deleter:
        log: DeletionLog = self._settings["deletion_log"]
        return lifetime.Deleter(self._backend, self._configuration(), self._now, log, keep_folders=True)

    # -- folders -------------------------------------------------------------------------------------------

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        """Create a folder, where the storage keeps folders without files; `StoreConflictError` if the name is taken."""
        self._make_folder(path, exist_ok=False, create_parents=create_parents)

    def makedirs(self, path: str, exist_ok: bool = False, **_: Any) -> None:
        """Create a folder and its parents, see `mkdir`."""
        self._write_context()
        if self._key(path):
            self._make_folder(path, exist_ok=exist_ok)

    def _make_folder(self, path: str, *, exist_ok: bool, create_parents: bool = True) -> None:
        key = self._new_folder_key(path)
        if not self._backend.keeps_folders:
            return
        if not exist_ok and self.exists(key):
            raise taken(key)
        parent = key.rpartition("/")[0]
        if not create_parents and not self.isdir(parent):
            raise files.not_found(parent)
        self._backend.make_folder(key)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder; another is an `OSError` (ENOTEMPTY)."""
        key = self._new_folder_key(path)
        self._refuse_link(key)
        if not self.isdir(key):
            if self._backend.keeps_folders:
                raise files.not_found(key)
            return
        # The raw listing: a folder that holds only hidden files is not empty.
        listing = self._backend.children(key)
        if listing.entries or listing.folders:
            raise OSError(errno.ENOTEMPTY, "is not empty: remove what is in it first", key)
        self._backend.remove_folder(key)

    # -- copying and moving --------------------------------------------------------------------------------

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a file with its sidecar: policy, attributes and ids are kept, but for ids that the new path contains."""
        self._copy_file(path1, path2)

    @observed("copy")
    def _copy_file(self, path1: str, path2: str, *, checked: bool = False) -> Pair | None:
        """Copy a file; return it as it was copied, None where nothing was: onto itself, or a folder.

        `checked`: it was looked already that the target is not held.
        """
        context = self._write_context()
        try:
            source_context = self._views.media_at(self._key(path1))
        except IsADirectoryError:
            self.makedirs(path2, exist_ok=True)
            return None
        with source_context as reference:
            source = files.existing_key(reference)
            target = self._target_key(source, self._key(path2))
            # A copy onto itself, perhaps through a link to a folder, must not touch the bytes.
            if self._backend.place_of(source) == self._backend.place_of(target):
                return None

            def find() -> Pair:
                found = records.find(self._backend, source)
                return Pair(found.entry, found.seen)

            with ErrorContext(source):
                try:
                    pair = find_pair(self._backend, source, target, find)
                except (InvalidReferenceError, MediaNotFoundError):
                    if not self._backend.is_folder(source):
                        raise files.not_found(source) from None
                    self.makedirs(target, exist_ok=True)
                    return None
            self._refuse_folder(target)
            if pair.seen.text is None:
                # Without a sidecar: written as new bytes are.
                with (
                    self._open_bytes(source, None) as file,
                    files.WritableMediaFile(files.FileUpload(context, target)) as written,
                ):
                    _pour(file, written, DEFAULT_CALLBACK)
                return pair
            with ErrorContext(target):
                if keys.pointer_of(target) is None:
                    copied = CopiedBytes(self._backend, source, target, pair, find)
                    return self._copy_with_sidecar(context, target, copied, checked=checked)
                self._share(context, target, pair)
            return pair

    def _copy_with_sidecar(self, context: WriteContext, target: str, copied: CopiedBytes, *, checked: bool) -> Pair:
        def made(_: bytes | None) -> tuple[bytes, datetime | None]:
            sidecar, instant = self._sidecar_of_copy(context, copied.pair, target)
            return sidecar.dump(), instant

        seen = self._replaced_by_copy(target, checked=checked)
        sidecar, instant = self._sidecar_of_copy(context, copied.pair, target)
        bytes_: Any = copied  # of a stage only `ready` and `commit` are asked here
        what = self._backend, target, bytes_, str(sidecar.values.get("mime_type") or files.OCTETS), sidecar.dump()
        grace = context.configuration.orphan_grace
        operation = commit.StoreOperation(
            *what, self._now, instant, grace, remake=made, seen=seen, source=copied.source
        )
        try:
            commit.raise_first(commit.store([operation]))
        finally:
            copied.discard()
        return copied.pair

    def _replaced_by_copy(self, target: str, *, checked: bool) -> Seen | None:
        """Return the sidecar that a copy replaces, of a name that a client chose; a held target is refused."""
        if keys.is_own_name(target):
            holds.refuse(self._backend, *([] if checked else [target]))
            return None
        adopted = self._configuration().adopted
        wanted = [keys.sidecar_key(target), *promptkit.index_keys(adopted=adopted)]
        answers = self._backend.fetch(reads=wanted if checked else [*wanted, keys.hold_key(target)])
        hold = None if checked else answers.reads.pop()
        if hold is not None:
            raise holds.refusal(target, hold)
        promptkit.forget(self._backend, [target], answers.reads[1:], adopted=adopted)
        return Seen(answers.reads[0], answers.tokens[0])

    def _share(self, context: WriteContext, target: str, pair: Pair) -> None:
        """Let one more deduplicated name use the bytes of another: no bytes move."""
        sidecar, instant = self._sidecar_of_copy(context, pair, target)
        if (pointer := keys.pointer_of(target)) is None:
            raise ValueError("only deduplicated names share bytes")
        holds.refuse(self._backend, target)
        operation = commit.SharedStoreOperation(
            backend=self._backend,
            digest=pointer.digest,
            size=pointer.size,
            data=b"",
            mime_type=str(sidecar.values.get("mime_type") or files.OCTETS),
            name_of=lambda _: target,
            sidecar_of=lambda marker: sidecar.with_marker(marker).dump(),
            now=self._now,
            expires_at=instant,
            grace=context.configuration.orphan_grace,
        )
        commit.copy(operation, pointer)

    def _sidecar_of_copy(self, context: WriteContext, pair: Pair, target: str) -> tuple[Sidecar, datetime | None]:
        """Return the sidecar of a copy, and when its policy lets it be deleted."""
        source = pair.entry.key
        before = Sidecar.parse(pair.seen.text or b"{}", source).without_leaving()
        values = {name: value for name, value in before.values.items() if name not in _NOT_COPIED}
        sidecar = Sidecar(values | files.ids_of_path(context, target))
        return sidecar, records.expiry_of(sidecar, source, context.configuration, pair.entry.modified)

    def _target_key(self, source: str, key: str) -> str:
        """Return the key of a copy: a deduplicated name only for a media that has the same bytes."""
        pointer = keys.pointer_of(key)
        if pointer is None or pointer != keys.pointer_of(source):
            return self._new_key(key)
        # All but the pointer in the name is checked as any new name is.
        self._new_key(f"{key.rpartition('/')[0]}/{keys.file_name(key)}".lstrip("/"))
        keys.check_lengths(key, self._backend.root_length)
        return keys.check_reference(key)

    @observed("move")
    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **_: Any) -> None:
        """Move: copy all, then remove what was copied. Onto itself it does nothing."""
        sources, targets = _as_list(path1), _as_list(path2)
        self._views.refuse(map(self._key, (*sources, *targets)))
        self._write_context()
        into: bool | None = None
        if _is_path(path2):
            if _is_path(path1) and self._key(path1) == self._key(path2) and self.exists(path1):
                return
            into = not _is_path(path1) or stringify_path(path2).endswith("/") or self.isdir(path2)
            targets *= len(sources)
        elif _is_path(path1) or len(sources) != len(targets):
            raise _unequal_error()
        plan = self._plan_move(zip(sources, targets, strict=True), into=into, recursive=recursive, maxdepth=maxdepth)
        pairs = {old: new for old, new in plan.files.items() if old != new}
        self._check_move(plan, pairs)
        # With a depth, deeper files stay where they are, and so do the folders. Else an empty folder moves too.
        folders = plan.folders if maxdepth is None else []
        for _folder, place in folders:
            self.makedirs(place, exist_ok=True)
        # All copies are complete before the first file is removed: whatever fails, each file still exists.
        copied = {old: self._copy_file(old, new, checked=True) for old, new in pairs.items()}
        # It may have been written over, or its sidecar changed, since it was copied: then both stay.
        named = {old: pair for old, pair in copied.items() if pair is not None}
        deleter = self._deleter()
        self._remove_in_batches(list(named), lambda some: deleter.moved({old: named[old] for old in some}))
        for folder in _emptied(plan) if folders else ():
            self._backend.remove_folder(folder)

    def _plan_move(
        self, pairs: Iterable[tuple[Any, Any]], *, into: bool | None, recursive: bool, maxdepth: int | None
    ) -> MovePlan:
        """Return what moves where.

        `into`: sources keep their last name below the target, as they do below a folder; of patterns all matches do.
        None if each source has a target of its own.
        """
        plan = MovePlan({}, [])
        for source, target in pairs:
            key, end = self._key(source), self._key(target)
            literal = self._is_literal(key)
            for name, is_folder in self._selected(source, recursive=recursive, maxdepth=maxdepth):
                # The base is what the caller named, or what the pattern matched first: its name moves along.
                base = key if literal else next((top for top, _ in plan.folders if name.startswith(f"{top}/")), name)
                keeps_name = into is not None and (into or not literal)
                place = _joined(end, base.rpartition("/")[2]).lstrip("/") if keeps_name else end
                place = _joined(place, name[len(base) :].lstrip("/"))
                if is_folder:
                    plan.folders.append((name, place))
                else:
                    plan.files.setdefault(name, place)
        if plan.folders and not recursive:
            raise IsADirectoryError(errno.EISDIR, "is a folder: move it with recursive=True", plan.folders[0][0])
        return plan

    def _check_move(self, plan: MovePlan, pairs: Mapping[str, str]) -> None:
        """Refuse a move that would lose a file, or touch a held one, before anything is copied."""
        new_keys = {self._target_key(old, new) for old, new in pairs.items()}
        # Two names may be one file, where a folder is a link to another.
        places = [self._backend.place_of(name) for name in (*pairs, *new_keys)]
        if len(set(places)) < len(places):
            raise StoreConflictError("two of the names are one place", next_step="move to a place of its own")
        if len(set(plan.files.values())) < len(plan.files) or new_keys & set(plan.files):
            raise StoreConflictError("two of the files would have one name", next_step="move them one by one")
        holds.refuse(self._backend, *(name for pair in pairs.items() for name in pair))

    # -- copying trees -------------------------------------------------------------------------------------

    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        on_error: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files, and with `recursive` all below folders; into the target if that is a folder."""
        self._over_tree("copy", path1, path2, recursive, maxdepth, on_error=on_error, **kwargs)

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
        self._over_tree("get", rpath, lpath, recursive, maxdepth, callback=callback, **kwargs)

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
        self._over_tree("put", lpath, rpath, recursive, maxdepth, callback=callback, **kwargs)

    def _over_tree(
        self, name: str, source: Any, target: Any, recursive: bool, maxdepth: int | None, **options: Any
    ) -> None:
        """Do one of fsspec's calls for trees with sources and targets that were paired first."""
        if self.mirror_sync_methods:
            sync(self.loop, getattr(self, f"_{name}"), source, target, recursive, maxdepth=maxdepth, **options)
        else:
            pairs = getattr(self, _PAIRED[name])(source, target, recursive, maxdepth)
            getattr(super(), name)(*pairs, recursive, maxdepth=maxdepth, **options)

    def _paired(
        self, source: Any, target: Any, recursive: bool, maxdepth: int | None, *, is_local: bool = False
    ) -> tuple[list[str], list[str]]:
        """Return sources and their targets, by fsspec's rules but with literal names taken literally."""
        if isinstance(target, list):
            if isinstance(source, list) and len(source) == len(target):
                return source, target
            raise _unequal_error()
        target = stringify_path(target)
        if not _is_path(source):
            names = self.expand_path(source, recursive, maxdepth)
            return names, [_joined(target, name.rpartition("/")[2]) for name in names]
        source = stringify_path(source)
        literal = self._is_literal(self._key(source))
        there = LocalFileSystem() if is_local else self
        return _pairs_below(self, source, there, target, recursive, maxdepth, literal=literal)

    def _paired_to_local(self, source: Any, target: Any, recursive: bool, maxdepth: int | None) -> tuple[Any, Any]:
        end = make_path_posix(target) if _is_path(target) else target
        return self._paired(source, end, recursive, maxdepth, is_local=True)

    def _paired_from_local(self, source: Any, target: Any, recursive: bool, maxdepth: int | None) -> tuple[Any, Any]:
        """Return sources on this machine and their targets if a source only looks like a pattern; else fsspec does."""
        if isinstance(target, list) and isinstance(source, list) and len(source) != len(target):
            raise _unequal_error()
        if not _is_path(source) or isinstance(target, list):
            return source, target
        name = make_path_posix(stringify_path(source))
        if not has_magic(name) or not os.path.lexists(name):
            return source, target
        return _pairs_below(LocalFileSystem(), name, self, stringify_path(target), recursive, maxdepth, literal=True)

    # -- attributes ----------------------------------------------------------------------------------------

    def metadata(self, path: str) -> dict[str, Any]:
        """Return all metadata of a file: the fields that `info(path, metadata=True)` adds."""
        with self._media_at(path) as key:
            found = records.find(self._backend, key, with_hold=True)
            return files.record_fields(records.record_of(found, self._configuration()))

    def listxattr(self, path: str) -> list[str]:
        """Return the names of a file's attributes."""
        return list(self._attributes(path))

    def getxattr(self, path: str, attr: str) -> Any:
        """Return one attribute; `KeyError` if the file has none of that name."""
        return self._attributes(path)[attr]

    def _attributes(self, path: str) -> dict[str, Any]:
        with self._media_at(path) as key:
            record = records.record_of(records.find(self._backend, key), self._configuration())
        own = {f"{_OWN_ATTRIBUTE}{name}": value for name, value in files.record_fields(record).items()}
        own["fsmedia.size_bytes"] = record.size_bytes
        return {**record.xattrs, **own}

    def setxattrs(self, path: str, attributes: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set attributes of a file; None removes one. Names begin with `user.`, values are what JSON can hold.

        Raises `InvalidMediaError` for others, and `ReadOnlyStoreError` for names that begin with `fsmedia.`: those are
        the store's own, but for `fsmedia.policy_name`, which is set as `MediaStore.apply_policy` says. Nothing was
        changed then.
        """
        key = self._key(path)
        self._views.refuse([key])
        changes = {**(attributes or {}), **more}
        sets_policy = _POLICY_ATTRIBUTE in changes
        policy = changes.pop(_POLICY_ATTRIBUTE, None)
        # All names and values are checked before the policy is set: nothing is changed by a call that is refused.
        for name, value in changes.items():
            _check_attribute(name, value)
        context, key = self._write_context(), files.existing_key(key)
        if sets_policy:
            lifetime.apply_policy(context, key, policy)
        if changes:
            with ErrorContext(key):
                self._rewrite_attributes(context, key, changes)

    def _rewrite_attributes(self, context: WriteContext, key: str, changes: Mapping[str, Any]) -> None:
        found = records.find(self._backend, key)
        if found.sidecar is None:
            problem = "has no sidecar to keep attributes in: another program wrote it"
            raise InvalidMediaError(problem, next_step="write it through media:// first, or copy it")

        def changed(text: bytes) -> Rewritten:
            sidecar = Sidecar.parse(text, key)
            instant = records.expiry_of(sidecar, key, context.configuration, found.entry.modified)
            return Rewritten(sidecar.with_values(key, {}, changes).dump(), instant)

        first = changed(found.sidecar)
        commit.rewrite_sidecar(context.backend, key, first.text, first.expires_at, seen=found.seen, change=changed)

    def removexattr(self, path: str, attr: str) -> None:
        """Remove one attribute; nothing happens if there is none of that name."""
        self.setxattrs(path, {attr: None})

    # -- coroutines ----------------------------------------------------------------------------------------

    @property
    def loop(self) -> Any:
        """The loop that coroutines run on; a forked child has fsspec's own of that process."""
        if self._pid != os.getpid() and not self.asynchronous:
            self._pid = os.getpid()
            self._loop = get_loop()
        return self._loop

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a worker thread, with the caller's context: what is observed there is below the caller's span."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads(), copy_context().run, partial(function, *args, **kwargs))

    def _threads(self) -> ThreadPoolExecutor:
        """Return the threads for blocking calls; a forked child has its own, for threads are not forked."""
        workers = self._workers
        if workers is None or workers[0] != os.getpid():
            workers = self._workers = (os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="fsmedia"))
        return workers[1]

    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, *, bulk: bool = False, **_: Any
    ) -> bytes:
        key, whole = self._key(path), start is None and end is None
        # What a single request answers is awaited here: two changes of threads take a quarter of a small read's time.
        on_loop = self._backend.asynchronous and not self.asynchronous and not self._views.may_hold(key)
        if on_loop and keys.pointer_of(key) is None and not (whole and self._verification(key, bulk=bulk)):
            return await self._cat_plain(key, start, end)
        return await self._in_thread(self.cat_file, path, start, end, bulk=bulk)

    @observed("retrieve")
    async def _cat_plain(self, key: str, start: int | None, end: int | None) -> bytes:
        """Read a plain file by one request on fsspec's loop; what has to look again does so in a thread."""
        key = files.existing_key(key)
        if (data := await self._backend.read_on_loop(key, start, end)) is None:
            raise self._missing(key)
        exact = start is not None and end is not None and len(data) == end - start
        if exact or not self._verify_reads or (start is None and end is None):
            return data
        with ErrorContext(key):
            return await self._in_thread(records.check_range, self._backend, key, data, start, end)

    async def _cat(
        self, path: Any, recursive: bool = False, on_error: str = "raise", batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        if not (recursive or not _is_path(path) or has_magic(stringify_path(path))):
            return await super()._cat(path, recursive, on_error, batch_size, **kwargs)
        if on_error != "raise":
            return await super()._cat(path, recursive, on_error, batch_size, bulk=True, **kwargs)
        # fsspec's own way makes a task for each, and looks at all that are under way whenever one is done.
        paths, at_once = await self._expand_path(path, recursive=recursive), batch_size or self.batch_size
        jobs = [partial(self._cat_file, each, bulk=True, **kwargs) for each in paths]
        found = await each_of(jobs, len(paths) if at_once == -1 else at_once)
        is_one = len(paths) == 1 and not isinstance(path, list) and paths[0] == self._strip_protocol(path)
        return found[0] if is_one else dict(zip(paths, found, strict=True))

    async def _get_file(self, rpath: str, lpath: Any, callback: Any = DEFAULT_CALLBACK, **kwargs: Any) -> None:
        # `_get` makes local folders first: what is one here is a folder there, and needs no request.
        if not _is_local_folder(lpath):
            await self._in_thread(self.get_file, rpath, lpath, callback, **kwargs)

    async def _walk(self, path: str, maxdepth: int | None = None, on_error: Any = "omit", **kwargs: Any) -> Any:
        found = self.walk(path, maxdepth, on_error=on_error, **kwargs)
        while (each := await self._in_thread(next, found, None)) is not None:
            yield each

    async def open_async(self, path: str, mode: str = "rb", **kwargs: Any) -> AsyncMediaFile:
        """Open for coroutines: `read`, `write`, `seek`, `close` are awaited."""
        if "b" not in mode or kwargs.pop("compression", None):
            raise ValueError("open_async takes binary modes without compression")
        file = await self._in_thread(self._open, self._key(path), mode, **kwargs)
        return files.AsyncMediaFile(self, file, mode, self._in_thread)


# The calls above, as coroutines.
for _name in (
    *("cp_file", "du", "exists", "expand_path", "find", "glob", "info", "isdir", "isfile", "ls", "makedirs", "mkdir"),
    *("pipe_file", "put_file", "rm_file", "rmdir", "touch"),
):
    setattr(MediaFileSystem, f"_{_name}", _in_worker_thread(_name))
for _name in ("pipe", "rm"):
    setattr(MediaFileSystem, f"_{_name}", _in_worker_thread(_name, 2))
for _name in _PAIRED:
    setattr(MediaFileSystem, f"_{_name}", _paired_first(_name))


# -- helpers -------------------------------------------------------------------------------------------------


def _path_of_url(path: Any) -> Any:
    """Return the path in any `media://` URL, or those of several."""
    if isinstance(path, list | tuple):
        return [_path_of_url(each) for each in path]
    return address.split_media_url(stringify_path(path))[0]


def _below(url: str) -> str:
    return url.partition("://")[2] if "://" in url else url


def _is_path(path: Any) -> bool:
    return isinstance(path, str | os.PathLike)


def _as_list(path: Any) -> list[Any]:
    return [path] if _is_path(path) else list(path)


def _joined(folder: str, name: str) -> str:
    """Return the path of a name in a folder; of the folder itself without a name."""
    return f"{folder.rstrip('/')}/{name}" if name else folder.rstrip("/")


def _pairs_below(
    here: Any, source: str, there: Any, target: str, recursive: bool, maxdepth: int | None, *, literal: bool
) -> tuple[list[str], list[str]]:
    """Return what a name or a pattern means, and the target of each, by fsspec's rules."""
    base = here._strip_protocol(source)
    names = here.expand_path([base], recursive, maxdepth, assume_literal=literal)
    if not recursive or maxdepth is not None:
        names = [name for name in names if not here.isdir(name)]
    if literal:
        inside = not source.endswith("/") and (target.endswith("/") or there.isdir(target))
    else:
        base, inside = common_prefix(names) if names else "", len(names) == 1
    if inside:
        base = base.rpartition("/")[0]
    return names, [_joined(target, name[len(base) :].lstrip("/")) for name in names]


def _is_local_folder(path: Any) -> bool:
    return _is_path(path) and Path(path).is_dir()


def _pour(source: BinaryIO, target: Any, callback: Any) -> None:
    """Copy all bytes, and tell fsspec's callback how many."""
    while data := source.read(files.CHUNK):
        target.write(data)
        callback.relative_update(len(data))


def _write_out(source: BinaryIO, path: Path, callback: Any) -> None:
    """Write bytes to a file of this machine; what turns out not to be the media goes again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with LocalFileContext(path), path.open("wb") as target:
            _pour(source, target, callback)
    except CorruptMediaError:
        # Nobody may take it for the media.
        path.unlink(missing_ok=True)
        raise


def _digest_of(path: Any) -> str:
    with Path(path).open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _emptied(plan: MovePlan) -> Iterator[str]:
    """Yield the folders that a move leaves empty, inner ones first."""
    places = {place for _, place in plan.folders}
    for folder in sorted({name for name, _ in plan.folders}, reverse=True):
        moved_into = any(new.startswith(f"{folder}/") for new in plan.files.values())
        if folder and folder not in places and not moved_into:
            yield folder


def _check_mode(mode: str) -> None:
    if mode not in _MODES:
        raise InvalidMediaError(f"unknown mode {mode!r}", next_step=f"use one of {', '.join(_MODES)}")


def _check_attribute(name: Any, value: Any) -> None:
    """Refuse an attribute that no caller may set, or that JSON can't hold."""
    if isinstance(name, str) and name.startswith(_OWN_ATTRIBUTE):
        raise ReadOnlyStoreError(f"{name} is the store's own field", next_step="set user.* attributes")
    if not isinstance(name, str) or not name.startswith(_USER_ATTRIBUTE) or name == _USER_ATTRIBUTE:
        raise InvalidMediaError(f"{name!r} is no attribute's name", next_step="use user.<name>")
    try:
        to_jsonable_python(value, inf_nan_mode="constants")
    except ValueError:
        problem = f"the value of {name} can't be stored ({type(value).__name__})"
        raise InvalidMediaError(problem, next_step="use text or numbers") from None


def _refuse_another_store(nested: NestedStores, key: str) -> None:
    if nested.folders:
        problem = f"another store lies at {nested.folders[0]}, and nothing of it is touched from here"
        step = "open that store to remove or move what is in it, or name what lies beside it"
        raise StoreConflictError(problem, next_step=step, reference=key)


def _folder_error(key: str) -> IsADirectoryError:
    return IsADirectoryError(errno.EISDIR, "is a folder, not a media; list it", key)


def _unequal_error() -> InvalidMediaError:
    return InvalidMediaError("as many targets as sources are needed", next_step="give two lists of one length")
