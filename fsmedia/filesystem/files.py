"""Files of `media://` that are written, as bytes, compressed, as text or by coroutines, and the transaction they join.

A file written at a path that a client chose gets its sidecar from the path, the bytes, and the sidecar that was there.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
import warnings
from contextlib import nullcontext, suppress
from functools import lru_cache
from threading import Thread
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

from fsspec.asyn import AbstractAsyncStreamedFile, get_loop
from fsspec.spec import AbstractBufferedFile
from fsspec.transaction import Transaction

from fsmedia.core import commit, holds, promptkit, records, telemetry
from fsmedia.core.ingest import HashingWriter
from fsmedia.core.named import Seen
from fsmedia.core.telemetry import set_reference
from fsmedia.errors import (
    ErrorContext,
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    UnknownPolicyError,
)
from fsmedia.format import keys, layout
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import ContentFields, MediaMetadata, mime
from fsmedia.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from datetime import datetime
    from types import CodeType

    from fsmedia.core.ingest import WriteContext
    from fsmedia.models import MediaRecord
    from fsmedia.storage import Stage
    from fsmedia.storage.port import Listing

_log = logging.getLogger("fsmedia")
_UNSHARED = 2
"""References that `sys.getrefcount` counts of what one name holds."""
OCTETS = "application/octet-stream"
_LOOK = "list its folder"
# Names that are asked for again and again: checking one takes longer than a read from memory.
_REMEMBERED = 4096
_NOT_TOLD = frozenset({"reference", "size_bytes", "xattrs"})


@lru_cache(maxsize=_REMEMBERED)
def is_hidden(key: str) -> bool:
    """Return whether no file or folder can have this name; the text alone decides."""
    return not keys.is_reference(key)


@lru_cache(maxsize=_REMEMBERED)
def is_own_name(key: str) -> bool:
    """Return whether the store generated the name: its bytes alone, without a sidecar, are no media."""
    return keys.is_own_name(key)


def existing_key(key: str) -> str:
    """Return a key that may be a stored file's, and tell it to whoever watches; `MediaNotFoundError` for all others."""
    if not is_hidden(key):
        set_reference(key)
        return key
    if key == "":
        raise MediaNotFoundError("the root is no media", next_step=_LOOK, reference=key)
    try:
        return keys.check_reference(key)
    except InvalidReferenceError as error:
        problem = f"no such media ({error.problem})"
        raise MediaNotFoundError(problem, next_step=_LOOK, reference=key) from None


def not_found(key: str) -> MediaNotFoundError:
    """Return the error for a path at which nothing visible exists."""
    return MediaNotFoundError("no such media or folder", next_step=_LOOK, reference=key)


def times_of(modified: datetime | None) -> dict[str, float]:
    """Return the times of an `info()`, in seconds as fsspec's local filesystem gives them; none where unknown."""
    if modified is None:
        return {}
    seconds = modified.timestamp()
    return {"mtime": seconds, "created": seconds}


def folder_info(key: str) -> dict[str, Any]:
    """Return the `info()` of a folder."""
    return {"name": key, "size": 0, "type": "directory"}


def file_info(entry: Entry) -> dict[str, Any]:
    """Return the `info()` of a file from its listing entry; the MIME type is guessed from the name."""
    key = entry.key
    return {
        "name": key,
        "size": entry.size,
        "type": "file",
        **times_of(entry.modified),
        "ETag": entry.token,
        "mime_type": mime.guess_from_name(key) or OCTETS,
    }


def record_fields(record: MediaRecord) -> dict[str, Any]:
    """Return the fields that `info()` adds from a sidecar; unknown values are left out."""
    told = ((name, value) for name, value in vars(record).items() if name not in _NOT_TOLD)
    return {name: value for name, value in told if value is not None and value != ""}


def visible(listing: Listing) -> Iterator[dict[str, Any]]:
    """Yield the `info()` of what a raw listing shows: folders, and files that are complete media.

    What another program wrote under a name that can't be a reference is not there, for nothing could open it.
    """
    for folder in listing.folders:
        if not keys.is_hidden(folder.rpartition("/")[2]) and records.is_reference(folder):
            yield folder_info(folder)
    entries: list[Entry] = []
    sidecars: set[str] = set()
    # Sidecars first: a storage lists a file before its sidecar, and a deduplicated file has no entry of its own.
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
            # An object at a deduplicated name is not that file's bytes; the file was listed through its sidecar above.
            if keys.sidecar_key(key) in sidecars and keys.pointer_of(key) is None:
                yield file_info(entry)
        elif records.is_reference(key):
            yield file_info(entry)


_NOTHING = ContentFields()
_DEFAULTS: dict[str, Any] = dict(vars(MediaMetadata()))
CHUNK = 2**20


def ids_of_path(context: WriteContext, key: str) -> dict[str, Any]:
    """Return the ids and indices that a path contains, parsed by the store's layouts."""
    parsed = layout.ids_of_path(context.configuration.ordered_layouts, key)
    fields = {} if parsed is None else parsed[1]
    return {name: value for name, value in fields.items() if name in _DEFAULTS and name != "mime_type" and value != ""}


class FileUpload:
    """One upload to a key: begun, written, then committed or discarded.

    `exclusive` fails if the file exists; without a `mime_type` it is guessed from the name.
    """

    def __init__(
        self, context: WriteContext, key: str, *, exclusive: bool = False, mime_type: str | None = None
    ) -> None:
        self._mime_type = None if mime_type is None else mime.check(mime_type)
        self.key = key
        self._write_context = context
        self._exclusive = exclusive
        self._stored: bytes | Stage | None = None
        self._fields: Mapping[str, Any] = {}
        self._timestamp: datetime | None = None  # of all sidecars that are made for it, whoever comes between
        self._intake = HashingWriter(None, context.max_file_size)

    def take(self, data: bytes) -> FileUpload:
        """Set all bytes at once."""
        # Not bytes(data): of a number that would make so many zeros.
        data = data if type(data) is bytes else bytes(memoryview(data))
        with ErrorContext(self.key):
            self._intake.write(data)
        self._stored = data
        return self

    def begin(self) -> None:
        """Begin to write bytes in pieces."""
        with ErrorContext(self.key):
            self._stored = stage = self._write_context.backend.stage(self.key)
        self._intake = HashingWriter(stage, self._write_context.max_file_size)

    def write(self, data: bytes | memoryview) -> None:
        """Write some bytes."""
        with ErrorContext(self.key):
            self._intake.write(data)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._intake.size

    def prepare(self, old: bytes | None, seen: Seen | None = None) -> commit.StoreOperation:
        """Return what the steps of a store need: `old` is the replaced file's sidecar, `seen` what lies there."""
        if self._stored is None:
            raise InvalidMediaError("nothing was written", reference=self.key)
        text, instant = self._made(old)
        context = self._write_context
        what = context.backend, self.key, self._stored, self._fields["mime_type"], text
        grace = context.configuration.orphan_grace
        return commit.StoreOperation(*what, context.now, instant, grace, remake=self._made, before=old, seen=seen)

    def _made(self, old: bytes | None) -> tuple[bytes, datetime | None]:
        """Return the sidecar's bytes, and when its policy lets the media go."""
        before = None if old is None else Sidecar.parse(old, self.key)
        context, intake = self._write_context, self._intake
        kept = {} if before is None else before.values
        settings = context.configuration
        name = settings.default_policy if before is None else kept.get("policy_name")
        try:
            policy = find_policy(name, settings.policies) if name else None
        except UnknownPolicyError:
            if before is None:
                raise
            # PromptKit writes any name; the file keeps it, and no policy of ours applies.
            policy = None
        timestamp = self._timestamp = self._timestamp or context.timestamp()
        instant = expires_at(policy, timestamp)
        mime_type = self._mime_type or mime.guess_from_name(self.key) or kept.get("mime_type") or OCTETS
        own = {"mime_type": mime_type, "timestamp": timestamp, "policy_name": name}
        fresh = Sidecar.of_bytes(_DEFAULTS | ids_of_path(context, self.key) | own, _NOTHING, intake, expires_at=instant)
        sidecar = fresh if before is None else before.replaced(fresh)
        self._fields = sidecar.values
        return sidecar.dump(), instant

    def commit(self) -> None:
        """Store the file; ids, policy and attributes of a replaced one are kept."""
        observer = self._write_context.observer
        watch = None if observer is None else observer.begin("store")
        with nullcontext() if watch is None else watch:
            with ErrorContext(self.key):
                # An exclusive write replaces nothing: whether the name is free decides the storage, at the commit.
                old, seen = (None, None) if self._exclusive else self._replaced()
            steps = commit.create if self._exclusive else commit.store
            commit.raise_first(steps([self.prepare(old, seen)]))
            if watch is not None:
                self.tell()

    def tell(self) -> None:
        """Tell hooks and spans what was stored."""
        if telemetry.is_observed():
            telemetry.add_facts(
                "store", reference=self.key, size_bytes=self.size, **telemetry.media_facts(self._fields)
            )

    def _replaced(self) -> tuple[bytes | None, Seen]:
        """Return the sidecar of the file that is replaced, and the one that lies there; a held file is refused."""
        wanted = [keys.sidecar_key(self.key), keys.hold_key(self.key)]
        # PromptKit never indexes a name of our own form, so only other names cost this read.
        if not keys.is_own_name(self.key):
            wanted += promptkit.index_keys(adopted=self._write_context.configuration.adopted)
        answers = self._write_context.backend.fetch(reads=wanted, heads=[self.key])
        sidecar, hold, *index = answers.reads
        if hold is not None:
            raise holds.refusal(self.key, hold)
        if any(index):
            # Before the bytes: PromptKit's index would return the new bytes for the digest of the old.
            adopted = self._write_context.configuration.adopted
            promptkit.forget(self._write_context.backend, [self.key], index, adopted=adopted)
        # A sidecar without bytes is left of a half-done delete: nothing of it is kept.
        return None if answers.heads[0] is None else sidecar, Seen(sidecar, answers.tokens[0])

    def discard(self) -> None:
        """Remove what was written; a committed file stays."""
        if not isinstance(self._stored, bytes | None):
            self._stored.discard()


def _opener() -> CodeType | None:
    """Return the code of the function that opens a file, outside of this package and of fsspec."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in ("fsmedia", "fsspec"):
        frame = frame.f_back
    return frame.f_code


def _is_on_fsspecs_loop() -> bool:
    """Return whether this thread runs the loop that object stores answer on: waiting for them here never ends."""
    try:
        return asyncio.get_running_loop() is get_loop()
    except RuntimeError:
        return False


def _close_abandoned(outer: WritableMediaFile | CompressedMediaFile | TextMediaFile, file: WritableMediaFile) -> None:
    """Close a file object that nobody closed and that is collected now, as every file of fsspec's does.

    What was written is not stored by a forked child, whose parent may write on; nor while the interpreter exits, for
    threads and loops are gone; nor if an error ends the function that opened it, as if that were its `with` block.
    Closing `outer` writes what its layers still hold; `file` lies below all of them.
    """
    if not file.is_open or file.owner != os.getpid():
        outer.discard()
        return
    ended = None
    if sys.is_finalizing():
        ended = "the program ended"
    elif outer is file and not file.autocommit:
        ended = "its transaction was given up"
    elif file.is_left_by_error():
        ended = "an error ended what wrote it"
    if ended:
        size = file.tell()
        outer.discard()
        with suppress(Exception):  # of an interpreter that exits, modules may be gone
            _log.error("%s: %d bytes were not stored, for nobody had closed the file when %s", file.path, size, ended)
    elif _is_on_fsspecs_loop():
        # The collector runs in any thread. Such a thread is waited for when the interpreter exits.
        Thread(target=_store_abandoned, args=(outer, file), name="fsmedia-close").start()
    else:
        _store_abandoned(outer, file)


def _store_abandoned(outer: WritableMediaFile | CompressedMediaFile | TextMediaFile, file: WritableMediaFile) -> None:
    try:
        outer.close()
    except (MediaError, OSError, ValueError) as error:
        outer.discard()
        _log.error("%s: %d bytes that nobody had closed were not stored: %s", file.path, file.tell(), error)
        return
    # After the storing: a warning may be an error.
    _warn_of_unclosed(file)


def _warn_of_unclosed(file: WritableMediaFile) -> None:
    message = f"nobody closed {file.path!r}: its {file.tell()} bytes were stored when the file object was collected"
    warnings.warn(message, ResourceWarning, stacklevel=3, source=file)


class WritableMediaFile(io.BufferedIOBase, BinaryIO):
    """The file object of `open(path, "wb")`: the media is stored when it is closed, or when its transaction ends.

    If its `with` block ends with an error, nothing is stored. One that nobody closes is closed when it is collected.
    `before` are the bytes of the file that is appended to; without `autocommit` a transaction calls `commit`.
    """

    mode = "wb"
    blocksize = CHUNK

    def __init__(self, upload: FileUpload, *, autocommit: bool = True, before: BinaryIO | None = None) -> None:
        self.path = upload.key
        self._upload = upload
        self.autocommit = autocommit
        self._state = "failed"
        self.owner = os.getpid()
        self.has_layers = False  # whether a text or a compression of ours lies above, which closes it when collected
        self._opener = _opener()
        # Not the error itself, which would keep all that its frames hold.
        self._error_at_opening = id(sys.exc_info()[1])
        upload.begin()
        # Appending writes the whole file anew; until it is committed the old one is as it was.
        try:
            if before is not None:
                with before:
                    while data := before.read(CHUNK):
                        upload.write(data)
        except BaseException:
            self.discard()
            raise
        self._state = "open"

    def __repr__(self) -> str:
        return f"<media {self.path!r} {self._state}>"

    @property
    def is_open(self) -> bool:
        """Whether it was neither closed nor discarded, and no write failed."""
        return self._state == "open"

    def is_left_by_error(self) -> bool:
        """Return whether an error ends the function that opened it, and began after the opening."""
        error = sys.exc_info()[1]
        if error is None or id(error) == self._error_at_opening:
            return False
        return any(frame.f_code is self._opener for frame, _ in walk_tb(error.__traceback__))

    def write(self, data: Any, /) -> int:
        """Write bytes; of a file that exceeds `max_file_size` nothing will be stored."""
        if self._state != "open":
            raise ValueError("I/O operation on closed file")
        view = memoryview(data).cast("B")
        try:
            self._upload.write(view)
        except BaseException:
            # Count and digest may be ahead of what was written: nothing that is interrupted here may be stored.
            self._state = "failed"
            self._upload.discard()
            raise
        return len(view)

    @property
    def given_up(self) -> bool:
        """Whether its writer discarded it: a transaction skips it."""
        return self._state == "discarded"

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._upload.size

    @property
    def name(self) -> str:
        """The path, as other filesystems' files tell it."""
        return self.path

    @property
    def loc(self) -> int:
        """The position."""
        return self._upload.size

    def close(self) -> None:
        """Store the media, unless a transaction will; later calls do nothing."""
        try:
            if self._state == "open":
                self._state = "written"
                if self.autocommit:
                    self.commit()
        finally:
            super().close()

    def commit(self) -> None:
        """Store the media."""
        if self._state != "written":
            raise InvalidMediaError("was not written whole", next_step="write it again", reference=self.path)
        # Until the store has confirmed it: after an error or an interruption a second commit is refused.
        self._state = "failed"
        try:
            self._upload.commit()
            self._state = "stored"
        finally:
            self._upload.discard()

    def discard(self) -> None:
        """Store nothing; remove what was written."""
        self._state = "discarded"
        self._upload.discard()
        super().close()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._state == "open":
            self.discard()
        self.close()

    def __del__(self) -> None:
        # Of a cycle, this may be collected before the layer above it, which holds the last bytes.
        if getattr(self, "_state", "") == "open" and not self.has_layers:
            _close_abandoned(self, self)


class CachedMediaFile(AbstractBufferedFile):
    """The file object for reading where `open` is told which of fsspec's caches to read through."""

    def __init__(self, fs: Any, path: str, fetch: Callable[[int, int], bytes], **options: Any) -> None:
        self._fetch_range = fetch
        super().__init__(fs, path, "rb", **options)

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)


def _leave(self: CompressedMediaFile | TextMediaFile, kind: type[BaseException] | None, *_: object) -> None:
    """End a `with` block: an error means that nothing is stored."""
    # Before `close`, which would flush the rest of the text and store what was written so far.
    if kind is not None and not self.closed:
        self.discard()
    self.close()


class CompressedMediaFile(io.BufferedIOBase):
    """A file object that compresses what is written; stores or discards it as `WritableMediaFile` does."""

    def __init__(self, layer: Any, file: WritableMediaFile) -> None:
        self._layer = layer
        self.plain_file = file
        self.path = self.name = file.path
        # Of a cycle, the layer may be collected before this, and must not end the stream: bytes may follow. Layers that
        # are no Python objects have no finalizer.
        self._close_layer: Callable[[], object] = layer.close
        with suppress(AttributeError):
            layer.close = lambda: None
        self.has_layers = False
        file.has_layers = True

    def __repr__(self) -> str:
        return f"<compressed {self.plain_file!r}>"

    def write(self, data: Any, /) -> int:
        """Compress and write bytes."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return cast("int", self._layer.write(data))

    def writable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Write the end of the compressed stream, then store the media; later calls do nothing."""
        if self.closed:
            return
        try:
            self._close_layer()
        except BaseException:
            self.discard()
            raise
        # Only now: what the layer wrote at its close belongs to the file.
        try:
            self.plain_file.close()
        finally:
            super().close()

    def discard(self) -> None:
        """Store nothing; remove what was written."""
        # The file first: closing the layer writes its end, which must fail rather than be stored.
        self.plain_file.discard()
        with suppress(Exception):
            self._close_layer()
        super().close()

    __exit__ = _leave

    def __del__(self) -> None:
        if hasattr(self, "plain_file") and not self.closed and not self.has_layers:
            _close_abandoned(self, self.plain_file)


class TextMediaFile(io.TextIOWrapper):
    """A file object that encodes text; stores or discards it as `WritableMediaFile` does."""

    def __init__(self, file: Any, **options: Any) -> None:
        self._file: WritableMediaFile | CompressedMediaFile = file
        super().__init__(file, **options)
        self.path = file.path
        file.has_layers = True

    def detach(self) -> Any:
        """Return the file of bytes below, which is closed by itself from now on."""
        below = super().detach()
        self._file.has_layers = False
        return below

    def discard(self) -> None:
        """Store nothing; remove what was written."""
        self._file.discard()
        self.close()

    __exit__ = _leave

    def __del__(self) -> None:
        file = self._file
        # `has_layers` is False where __init__ failed or the file below was detached: `closed` would raise.
        if file.has_layers and not self.closed:
            _close_abandoned(self, file.plain_file if isinstance(file, CompressedMediaFile) else file)


class AsyncMediaFile(AbstractAsyncStreamedFile):
    """The file object of `open_async`: its blocking calls run in worker threads."""

    def __init__(self, fs: Any, file: Any, mode: str, in_thread: Callable[..., Awaitable[Any]]) -> None:
        self.fs = fs
        self.mode = mode
        self._file = file
        self._in_thread = in_thread

    def __repr__(self) -> str:
        return f"<awaitable {self._file!r}>"

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return bool(self._file.closed)

    def tell(self) -> int:
        """Return the current position."""
        return int(self._file.tell())

    async def read(self, length: int = -1) -> bytes:
        """Read up to `length` bytes; all by default."""
        return bytes(await self._in_thread(self._file.read, length))

    async def seek(self, loc: int, whence: int = 0) -> int:
        """Set the position and return it."""
        return int(self._file.seek(loc, whence))

    async def write(self, data: bytes) -> int:
        """Write bytes."""
        return int(await self._in_thread(self._file.write, data))

    async def flush(self, force: bool = False) -> None:
        """Do nothing: a media is stored as a whole, when it is closed."""

    async def close(self) -> None:
        """Close the file; what was written is stored."""
        await self._in_thread(self._file.close)

    def __del__(self) -> None:
        # fsspec's would call the coroutine `close`, which nobody awaits.
        file = getattr(self, "_file", None)
        if isinstance(file, WritableMediaFile) and file.is_open:
            message = f"nobody awaited the close of {file.path!r}: its {file.tell()} bytes are not stored"
            file.discard()
            warnings.warn(message, ResourceWarning, stacklevel=1, source=self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._in_thread(self._file.__exit__, *raised)


class MediaTransaction(Transaction):
    """A transaction of fsspec's that also ends when a commit fails.

    fsspec's own would stay open, and the filesystem, which all callers share, would keep every later write from being
    stored.
    """

    _begun = False

    def start(self) -> None:
        """Begin the transaction, unless one has begun, here or in another thread: its files would be lost."""
        if self._begun:
            problem = "a transaction is under way on this filesystem"
            step = "end it first; a thread of its own takes fsspec.filesystem(..., skip_instance_cache=True)"
            raise InvalidMediaError(problem, next_step=step)
        self._begun = True
        super().start()

    def refuse_append(self, key: str) -> None:
        """Refuse to append to a file of this transaction: what is not stored yet would be lost."""
        filesystem: Any = self.fs
        # By place, not by name: two names may be one file, where a folder is a link to another.
        place_of = filesystem._backend.place_of
        if any(place_of(file.path) == place_of(key) and not file.given_up for file in self.files):
            problem = "was written in this transaction, so nothing can be appended to it yet"
            raise InvalidMediaError(problem, next_step="write it at once, or end the transaction first", reference=key)

    def complete(self, commit: bool = True) -> None:
        """Commit or discard all files; those after a failed commit are discarded."""
        unclosed: list[WritableMediaFile] = []
        try:
            while self.files:
                file = self.files.popleft()
                if commit and not file.given_up:
                    # Held by nobody but this frame and the call, it was left to be collected. What somebody may still
                    # write to, perhaps through a layer that holds bytes back, is refused by its commit.
                    if file.is_open and sys.getrefcount(file) == _UNSHARED:
                        file.close()
                        unclosed.append(file)
                    try:
                        file.commit()
                    except BaseException:
                        file.discard()
                        raise
                else:
                    file.discard()
        finally:
            while self.files:
                self.files.popleft().discard()
            # fsspec resets these after `complete` returns, which it does not when a commit fails.
            filesystem: Any = self.fs
            self.fs: Any = None
            if filesystem is not None:
                filesystem._intrans = False
                filesystem._transaction = None
        for file in unclosed:
            _warn_of_unclosed(file)
