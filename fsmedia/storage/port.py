"""The port: the few things a store asks of a storage. Every backend promises all of what stands here.

Keys are paths below the root, with `/`. A write is atomic: a reader sees the old bytes or the new, never a part.
What is missing is an answer (None), not an error; everything else that goes wrong is a `StorageError` that names
the key and no secret. All methods may be called from any thread, in a forked child, and under a running loop.
"""

from __future__ import annotations

import errno
import io
import logging
import math
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, cast

from fsmedia.errors import INSTALL, InvalidMediaError, MediaError, StorageError, StoreConflictError
from fsmedia.format import keys
from fsmedia.storage.errors import PreconditionFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    from fsmedia.models import Permissions

SEEK_BLOCK = 256 * 1024
"""Bytes that a seek in an opened media fetches; fsspec's default on S3 is 50 MiB."""
SMALLEST_SKEW = timedelta(minutes=1)
"""Difference of clocks that makes a difference: due entries are of minutes, and the dates of answers of seconds."""
_COPY_CHUNK = 2**20
_NOT_ASKED = object()
_log = logging.getLogger("fsmedia.retention")
SHORTEST_WAIT = 0.05
LONGEST_WAIT = 1.0
"""Seconds between two looks at what somebody else is changing."""


class Entry(NamedTuple):
    """One file or object, as a listing or a look at it tells."""

    key: str
    size: int
    modified: datetime | None = None  # by the storage's clock, aware; None where it does not say
    token: str | None = None  # changes when the bytes do: an etag, or inode and time
    md5: str | None = None  # in hex, where it is told; an ETag of S3 that looks like one may be none


class Listing(NamedTuple):
    """What lies directly in one folder: files, and the names of folders as keys; hidden ones too.

    Of sidecars only the keys are sure to be right.
    """

    entries: list[Entry]
    folders: list[str]


class ReadableFile(io.BufferedIOBase, BinaryIO):
    """A binary file for reading over another one; tells of itself what fsspec's own files do.

    Subclasses give `read`, `seek`, `peek` and `size`, and keep `_position`.
    """

    # typing's BinaryIO would say None, and programs like `wave` believe it.
    mode = "rb"

    def __init__(self, file: Any, path: str) -> None:
        self.path = path
        self.blocksize = int(getattr(file, "blocksize", None) or SEEK_BLOCK)
        self._file = file
        self._position = 0

    def __repr__(self) -> str:
        return f"<media {self.path!r}{' closed' if self.closed else ''}>"

    def read1(self, size: int = -1, /) -> bytes:
        """Read as `read` does."""
        return self.read(size)

    @property
    def name(self) -> str:
        """The path."""
        return self.path

    @property
    def loc(self) -> int:
        """The position."""
        return self._position

    def tell(self) -> int:
        """Return the position."""
        self._check_open()
        return self._position

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close; may be called again."""
        if not self.closed:
            # Nothing was written through it, and what was read is right: a connection that was lost is no news.
            with suppress(Exception):
                self._file.close()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class Upload(NamedTuple):
    """A large upload that somebody began and has not finished: it takes room, and no listing of files shows it."""

    key: str
    name: str  # what the storage calls it
    started: datetime | None = None  # by the storage's clock, aware


class VersionRules(NamedTuple):
    """What a storage does with bytes that are deleted or replaced, as it says itself."""

    versions: bool | None = False  # whether it keeps them as older versions, or may still have some; None: nobody knows
    soft: timedelta = timedelta(0)  # for how long it keeps what was deleted, whoever asks to remove it
    unknown: str = ""  # why nobody can tell


class Version(NamedTuple):
    """One version of an object, or a mark in their place that says that it was deleted."""

    key: str
    name: str  # what the storage calls this version
    size: int = 0
    is_current: bool = False  # whether it is what a reader of the key gets
    is_marker: bool = False  # whether it has no bytes


class SignedUpload(NamedTuple):
    """A request by which a plain HTTP client puts bytes at one key."""

    url: str
    headers: dict[str, str]  # which it must have
    fields: dict[str, str] | None = None  # of a form, sent before the bytes; None: the bytes are the body


class Uploaded(NamedTuple):
    """What a storage tells of bytes that somebody else put there."""

    entry: Entry
    mime_type: str | None = None  # None where it keeps none
    sha256: str | None = None  # in hex, where it has computed it
    version: str | None = None  # by which a copy names these bytes and no others, where the storage can
    encoding: str | None = None  # how they are to be unpacked, as whoever put them there says


class Write(NamedTuple):
    """One object to write: bytes, or a stage that was begun for the same key."""

    key: str
    data: bytes | Stage
    content_type: str


class Fetched(NamedTuple):
    """Answers of `Backend.fetch`, in the order of the questions; None where there is nothing."""

    reads: list[bytes | None]
    heads: list[Entry | None]
    tokens: list[str | None]  # of what was read, as `Backend.put` takes them; None where there are no conditions


class Exclusion(StrEnum):
    """What a storage offers to keep two writers of one name apart, the strongest first."""

    CONDITIONS = "conditions"
    """A small object is replaced only if it still is the one that was read."""
    LOCK = "lock"
    """A lock that dies with its holder, for all processes that can write here."""
    RENAME = "rename"
    """An object can be taken away whole, and then be looked at."""
    NONE = "none"
    """Nothing: who writes last wins, and finds out afterwards."""


class Stage(Protocol):
    """Bytes on their way to a key: written as they come, visible only after `commit`."""

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes."""

    def ready(self) -> None:
        """Do all that may take long, so that `commit` is short."""

    def commit(self, content_type: str) -> None:
        """Put what was written at the key, atomically."""

    def discard(self) -> None:
        """Leave nothing behind; does nothing after `commit`."""


class SpooledStage(Stage, Protocol):
    """Bytes that are kept until `commit`: till then the key can be another, and so can they."""

    def retarget(self, key: str) -> None:
        """Change the key that `commit` writes to: some keys are known only when all bytes are."""

    def commit_new(self, content_type: str) -> bool:
        """Put what was written at the key unless something is there; False if there was."""

    def patch(self, data: bytes) -> None:
        """Replace the first bytes; for a header that needs to know how much came after it."""

    def reread(self) -> Iterator[bytes]:
        """Give what was written so far again, in pieces."""


class StorageClock:
    """How far this machine's clock is behind a storage's, by what answers tell that come anyway; looked at every hour.

    A clock that is ahead is left alone: what it writes is kept for longer. So neither an answer that was under way for
    long nor one from a cache can let a media go too early.
    """

    def __init__(self) -> None:
        self.skew = timedelta(0)
        """What to add to this machine's time; zero where that is less than `SMALLEST_SKEW`."""
        self._again = -math.inf

    @property
    def is_wanted(self) -> bool:
        """Whether it is time to be told."""
        return monotonic() >= self._again

    def note(self, told: datetime) -> None:
        """Take what time it is for the storage, aware."""
        behind = told - datetime.now(UTC)
        self._again, self.skew = monotonic() + 3600, behind if behind >= SMALLEST_SKEW else timedelta(0)
        if self.skew:
            _log.warning(
                "this machine's clock is %s behind the storage's, whose time counts for what is stored", behind
            )

    def note_date(self, headers: Mapping[str, str], name: str) -> None:
        """Take the date of an HTTP answer, where it has one."""
        if not self.is_wanted:
            return
        with suppress(ValueError):  # as good as none
            told = parsedate_to_datetime(headers.get(name, ""))
            self.note(told if told.tzinfo else told.replace(tzinfo=UTC))


class Backend(ABC):
    """A storage below one root URL."""

    url: str
    """The root, without user, password or query."""
    root_length: int
    """Bytes of the root's own path, which count towards the longest key."""
    concurrency: int = 1
    """How many operations are worth having under way at once."""
    keeps_folders: bool = False
    """Whether there are folders without files."""
    tells_md5: bool = True
    """Whether `Entry.md5` is believed; False once one was seen that was none, as of objects encrypted by a key."""
    looking_is_free: bool = False
    """Whether a look at a file costs no request."""
    lists_versions: bool = False
    """Whether `versions` and what goes with it are there."""
    in_one_process: bool = False
    """Whether no other process sees what lies here."""
    renames: bool = False
    """Whether `rename` can be asked for."""
    permissions: Permissions = "private"
    """Who may use what is written here; it says something only where files have modes."""
    largest_upload: int | None = None
    """Most bytes that `sign_upload` signs for; None: any number."""
    timeout: timedelta = timedelta(0)
    """Longest wait for one answer; zero where answers are the operating system's."""
    engine: str = "fsmedia's own"
    """What reads and writes the bytes, and why where it is not the fastest that was asked for."""

    @property
    def exclusion(self) -> Exclusion:
        """What keeps two writers of one name apart; some storages are asked once in a process."""
        return Exclusion.NONE

    @property
    def known_exclusion(self) -> Exclusion | None:
        """What `exclusion` says where that needs no write; None: nobody has asked this storage yet."""
        return self.exclusion

    @property
    def locks(self) -> bool:
        """Whether names can be locked; asked only where that costs no request."""
        known = self.known_exclusion
        return (self.exclusion if known is None and self.looking_is_free else known) is Exclusion.LOCK

    @property
    def asynchronous(self) -> bool:
        """Whether bulk calls are concurrent, on fsspec's own loop."""
        return False

    @property
    def endpoint(self) -> str | None:
        """Where the storage is reached; None: where its client looks by itself, or there is only one place."""
        return None

    @property
    def skew(self) -> timedelta:
        """How far this machine's clock is behind the storage's, as far as its answers told; see `StorageClock`."""
        return timedelta(0)

    @abstractmethod
    def roots(self) -> Sequence[str]:
        """Return the spellings of the root that an absolute reference may start with."""

    def store_above(self) -> str | None:
        """Return the root above this one that has a store, the nearest; None: none, or none that may be looked at."""
        return None

    def below(self, folder: str) -> Self:
        """Return a new client of a folder below this root, as of another program: it shares no cache with this one."""
        raise NotImplementedError(f"{self.url} can't be opened at {folder}")

    @abstractmethod
    def write(self, key: str, data: bytes, content_type: str) -> None:
        """Put bytes at a key, replacing what is there."""

    def write_many(self, writes: Sequence[Write]) -> dict[int, MediaError]:
        """Do several writes, at once where the storage gains from it; return what failed, by index."""
        failed: dict[int, MediaError] = {}
        # All are tried: one that fails is no reason for the others.
        for index, write in enumerate(writes):
            try:
                if isinstance(write.data, bytes):
                    self.write(write.key, write.data, write.content_type)
                else:
                    write.data.commit(write.content_type)
            except MediaError as error:
                failed[index] = error
        return failed

    @abstractmethod
    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Put bytes at a key if nothing is there; False if there was.

        Where the storage knows no condition two creators may both hear True: read back what counts.
        """

    def put(
        self, key: str, data: bytes, content_type: str, *, if_absent: bool = False, if_token: str | None = None
    ) -> str | None:
        """Put bytes at a key if nothing is there, or what has this token; return the token of what lies there then.

        `PreconditionFailed` where the condition does not hold: nothing was written. Only storages whose `exclusion` is
        `CONDITIONS` know conditions. A request that was asked again for want of an answer may be refused because of its
        own first success: look what lies there.
        """
        if if_absent or if_token is not None:
            raise NotImplementedError(f"{self.url} knows no conditions")
        self.write(key, data, content_type)
        return None

    def lock(self, names: Sequence[str]) -> AbstractContextManager[None]:
        """Keep others away who lock one of the same names; only where `exclusion` is `LOCK`.

        `StoreConflictError` where somebody held it for too long.
        """
        raise NotImplementedError(f"{self.url} has no locks, asked for {len(names)}")

    def rename(self, source: str, target: str) -> bool:
        """Give an object another name, at once; False if it is not there. Only where `renames` says so."""
        raise NotImplementedError(f"{self.url} can't rename {source} to {target}")

    def wait(self, attempt: int) -> None:
        """Let others go on before a look is repeated, longer each time."""
        time.sleep(min(SHORTEST_WAIT * 2**attempt, LONGEST_WAIT))

    def place_of(self, key: str) -> str:
        """Return what is the same for two keys only if they are one place; keys themselves, where nothing links."""
        return key

    def is_link(self, key: str) -> bool:
        """Tell whether a key only leads to another place."""
        return False

    def check(self, key: str) -> None:
        """Raise if a key can't be written whatever the bytes are; looks, and changes nothing."""
        del key

    @abstractmethod
    def stage(self, key: str) -> SpooledStage:
        """Begin to write a media that comes in pieces."""

    def stage_file(self, key: str, size: int, content_type: str) -> Stage:
        """Begin to write what lies on this machine, some `size` bytes, and comes without a pause.

        It may be sent as it comes: the key, which nobody else writes to, and the type are those of `commit`.
        """
        del size, content_type
        return self.stage(key)

    @abstractmethod
    def fetch(self, reads: Sequence[str] = (), heads: Sequence[str] = (), *, patient: bool = False) -> Fetched:
        """Read small objects whole and look at others, in one round trip where the storage can.

        No more of an object is read than `keys.largest` says and one byte: see `refuse_larger`. `patient` means no
        limit of time: bytes of media, of any size, are among them.
        """

    @abstractmethod
    def open(self, key: str, *, block_size: int = SEEK_BLOCK, size: int | None = None) -> BinaryIO:
        """Open for reading; `FileNotFoundError` now or, on object stores, at the first read.

        An object store is spared a look where the caller knows the `size`.
        """

    @abstractmethod
    def read_range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        """Read the bytes from start to before end, counted from the end where negative; None: no such file."""

    async def read_on_loop(self, key: str, start: int | None, end: int | None) -> bytes | None:
        """Do what `read_range` does, awaited on fsspec's loop. Only where `asynchronous`."""
        raise NotImplementedError(f"{self.url} has no coroutines to read {key} from {start} to {end}")

    def download(self, key: str, path: str, callback: Any) -> bool:
        """Bring a file to a path of this machine, as its bytes come; False: no such file. Only where `asynchronous`."""
        raise NotImplementedError(f"{self.url} opens {key} instead, for {path} and {callback}")

    @abstractmethod
    def children(self, folder: str = "", *, until: str | None = None) -> Listing:
        """List what lies directly in a folder, in no particular order; nothing where there is no such folder.

        Folders whose keys sort after `until` may be left out, where that saves requests.
        """

    @abstractmethod
    def is_folder(self, key: str) -> bool:
        """Tell whether there is such a folder: one with something in it, or one that the storage keeps empty."""

    def make_folder(self, key: str) -> None:
        """Make a folder and its parents, where the storage keeps folders without files."""
        del key

    def remove_folder(self, key: str) -> None:
        """Remove a folder that nothing is in; one that is not empty stays."""
        del key

    def copy(
        self, source: str, target: str, content_type: str, *, size: int | None = None, version: str | None = None
    ) -> None:
        """Put the bytes of one key at another, replacing what is there; `FileNotFoundError` without a source.

        An object store is spared a look where the caller knows the `size`. Of another `version` than that of `uploaded`
        nothing is copied, where the storage told one: `FileNotFoundError`.
        """
        stage = self.stage(target)
        # Nothing is seen at the target before all bytes are there, whatever happens to the source meanwhile.
        try:
            with self.open(source) as file:
                while data := file.read(_COPY_CHUNK):
                    stage.write(data)
            stage.commit(content_type)
        finally:
            stage.discard()

    def reaches(self, other: Backend) -> bool:
        """Tell whether this storage itself can copy from another root, so that no bytes pass this machine."""
        return False

    def copy_from(self, other: Backend, source: str, target: str, size: int) -> None:
        """Put the bytes, and the content type, of another root that this one `reaches` at a key of this one.

        `FileNotFoundError` without a source.
        """
        raise NotImplementedError(f"{self.url} reaches no other root, asked for {size} bytes of {other.url}")

    @abstractmethod
    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """List all files below a folder (not the folder's own name), in the order of their keys."""

    def listed(self, folder: str, most: int) -> list[str] | None:
        """List the keys below a folder by pages of so many, in the storage's own order; None: it lists no pages."""
        return None

    @abstractmethod
    def holds(self, folder: str) -> bool:
        """Tell whether anything lies below a folder."""

    @property
    def hides_absence(self) -> bool:
        """Whether what is not there is refused instead of not found, as S3 and GCS do to who may not list."""
        return False

    @abstractmethod
    def delete(self, keys: Iterable[str], *, keep_folders: bool = False) -> Mapping[str, MediaError]:
        """Remove; return what was not confirmed. What is not there counts as removed.

        Folders that this leaves empty go too, where the storage has any, unless they shall be kept.
        """

    def remove(self, key: str, *, if_token: str | None = None) -> None:
        """Remove one object, of that token if one is given; what is not there counts as removed.

        `PreconditionFailed` where something else lies there, and nothing was removed. Only some of the storages that
        know conditions keep one for this.
        """
        delete_one(self, key)

    @abstractmethod
    def local_path(self, key: str) -> str | None:
        """Return where the bytes lie on this machine; None if they do not."""

    def uploads(self) -> Iterator[Upload]:
        """List large uploads below the root that were begun and not finished, where the storage tells; else none."""
        return iter(())

    def abort(self, upload: Upload) -> None:
        """Abort an upload and free what it takes; one that is gone already counts as aborted."""
        del upload

    # -- versions ------------------------------------------------------------------------------------------

    def version_rules(self) -> VersionRules:
        """Ask what becomes of bytes that are deleted; the storages without versions need not be asked."""
        return VersionRules()

    @property
    def keeps_versions(self) -> bool | None:
        """Whether deleted bytes stay as older versions or for a time; asked once, None: nobody can tell."""
        if self._keeps_versions is _NOT_ASKED:
            rules = self.version_rules()
            self._keeps_versions = True if rules.soft else rules.versions
        return cast("bool | None", self._keeps_versions)

    _keeps_versions: object = _NOT_ASKED

    def versions(self, prefix: str = "") -> Iterator[Version]:
        """List all versions below a folder, key by key, those of one key together."""
        return iter(())

    def read_versions(self, versions: Sequence[Version]) -> list[bytes | None]:
        """Read some small versions whole; None for each that is gone."""
        return [None for _ in versions]

    def delete_versions(self, versions: Sequence[Version]) -> Mapping[Version, MediaError]:
        """Remove versions for good; return what was not confirmed."""
        return {}

    def touched(self, entry: Entry) -> datetime | None:
        """Return when something last happened to a file, by the storage's own clock; ages are counted from it."""
        return entry.modified

    def sign(self, key: str, expiry: timedelta, *, mime_type: str | None = None, filename: str | None = None) -> str:
        """Return a URL under which a plain HTTP client gets the bytes, for as long as `expiry`.

        `mime_type` and `filename` are what the answer shall call the bytes, where that is not what they lie under.
        Raises `StorageError`: it has no URLs, or its credentials can't sign; `InvalidMediaError`: not for so long.
        """
        problem = f"{self.url} has no URLs that others could open"
        step = "use store.open(reference), or retrieve_media(reference).local_path()"
        raise StorageError(problem, next_step=step, key=key)

    def sign_upload(
        self, key: str, expiry: timedelta, *, mime_type: str, size: int, sha256: str | None, form: bool = False
    ) -> SignedUpload | None:
        """Return a request by which others put bytes at a key, for as long as `expiry`; None: there are no such URLs.

        It is made on the condition that nothing lies there, unless it is a `form`: those know no conditions. Size and
        digest are signed where the storage takes them; whether it keeps to them shows by `uploaded`. Raises as `sign`.
        """
        del expiry, mime_type, size, sha256
        if form:
            raise InvalidMediaError(
                f"{self.url} takes no forms", next_step="leave method out (--form): only S3 has them", key=key
            )
        return None

    def uploaded(self, key: str) -> Uploaded | None:
        """Look at bytes that somebody else put at a key."""
        found = self.head(key)
        return None if found is None else Uploaded(found)

    def read(self, key: str) -> bytes | None:
        """Read one small object whole."""
        return self.fetch(reads=[key]).reads[0]

    def head(self, key: str) -> Entry | None:
        """Look at one object."""
        return self.fetch(heads=[key]).heads[0]

    def head_beside(self, key: str, beside: str) -> Entry | None:
        """Look at one object; None unless another one, in the same folder, is there too."""
        found, other = self.fetch(heads=[key, beside]).heads
        return None if other is None else found

    def close(self) -> None:
        """Close what the backend holds open; most hold nothing."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def may_be_absent(backend: Backend, error: StorageError, key: str | None = None) -> bool:
    """Tell whether a refusal, of this key or of a listing, may only say that nothing is there.

    Enough for who reads, never for who deletes.
    """
    if error.errno != errno.EACCES or not backend.asynchronous:
        return False
    if key is None or backend.hides_absence:
        return backend.hides_absence
    # Who may list under a condition on prefixes is refused what is not there, too, and can look for it.
    return all(each.key != key for each in backend.children(key.rpartition("/")[0]).entries)


def missing_package(protocol: str, extra: str | None, error: Exception) -> StorageError:
    """Return the error that names the package a URL needs."""
    hint = INSTALL[extra] if extra else f"install the fsspec filesystem for {protocol}://"
    return StorageError(f"{protocol}:// needs a package that is not installed ({error})", next_step=hint)


def refuse_larger(key: str, data: bytes | None) -> bytes | None:
    """Return what was read of a small object, with one byte past its limit if it has more: then `StorageError`.

    Where `keys.is_read_cut` says so it is returned as it is, and its readers refuse it.
    """
    limit = keys.largest(key)
    if data is None or limit is None or len(data) <= limit or keys.is_read_cut(key):
        return data
    problem = f"is larger than {limit} bytes, so it is not what belongs there, and is not read"
    raise StorageError(problem, next_step="look who wrote it, and move it away", key=key)


def storage_time(backend: Backend) -> datetime | None:
    """Return what time it is for the storage, aware; None where it tells no times. Leaves nothing behind."""
    key = keys.probe_key()
    # The storage stamps what it writes: there is no other way to ask all of them for their time.
    backend.write(key, b"", "application/octet-stream")
    entry = backend.head(key)
    for error in backend.delete([key]).values():
        _log.warning("%s", error)
    return None if entry is None else entry.modified


def replace_object(
    backend: Backend, key: str, data: bytes, content_type: str, *, found: bytes | None, token: str | None
) -> str | None:
    """Put a small object over the one that was read, and over no other; only where `exclusion` is `CONDITIONS`.

    `found` and `token` are what was read, None where nothing was there; the answer is the token of what lies there now.
    `PreconditionFailed` where something else lies there, `StorageError` as `check_token`; nothing was written.
    """
    check_token(key, found, token)
    return backend.put(key, data, content_type, if_absent=found is None, if_token=token)


def check_token(key: str, found: bytes | None, token: str | None) -> None:
    """Refuse to replace what was read without a token: unconditionally, it would go over what others have written."""
    if found is not None and token is None:
        raise StorageError(
            "can't be replaced safely: the storage keeps conditions, and told no ETag or generation to make one of",
            next_step="look for a proxy in between that drops ETag or x-goog-generation from answers",
            key=key,
        )


UPDATE_ROUNDS = 16
"""How often an object is read and changed again that others replace meanwhile."""


def delete_one(backend: Backend, key: str) -> None:
    """Delete one object, or raise what went wrong; an answer that it is not there is asked for twice."""
    for error in backend.delete([key]).values():
        raise error


def update_object(
    backend: Backend, key: str, change: Callable[[bytes | None], bytes | None], content_type: str
) -> None:
    """Read a small object that several processes change, and replace it, so that what they change stays too.

    Where the storage keeps neither conditions nor locks the last writer wins. `change` makes the new bytes of those
    that are there, None where they need no change; it is called again for what others wrote meanwhile.
    `StoreConflictError` where they kept replacing it.
    """
    for _ in range(UPDATE_ROUNDS):
        found = backend.fetch(reads=[key])
        changed = change(found.reads[0])
        # Also where a request was asked again for want of an answer, and refused because of its own first success.
        if changed is None:
            return
        if backend.exclusion is Exclusion.LOCK:
            with backend.lock([key]):
                if (changed := change(backend.read(key))) is not None:
                    backend.write(key, changed, content_type)
            return
        if backend.exclusion is not Exclusion.CONDITIONS:
            backend.write(key, changed, content_type)
            return
        try:
            replace_object(backend, key, changed, content_type, found=found.reads[0], token=found.tokens[0])
        except PreconditionFailed:
            continue
        return
    raise StoreConflictError("others keep changing it", next_step="try again", key=key)
