"""Importing what a source holds into a store: what is there already stays, the rest is stored many at a time.

What is there is asked of the store itself: the folder of each id is listed once and its sidecars read, 256 at a time.
At most 32 MiB of small media are in memory; larger ones stream.
"""

from __future__ import annotations

import io
import os
import stat
import time
from collections import OrderedDict
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypedDict, TypeVar, Unpack

from fsmedia.core.ingest import HashingWriter, WavWriter, stored_name
from fsmedia.errors import (
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    MediaTooLargeError,
    ReadOnlyStoreError,
)
from fsmedia.format import keys, wav
from fsmedia.format.policy import is_due
from fsmedia.models import (
    SOURCE_ATTRIBUTE,
    Imported,
    ImportReport,
    MediaContent,
    MediaMetadata,
    MediaRecord,
    NotImported,
    PassedOver,
    mime,
)
from fsmedia.models.attributes import fitting
from fsmedia.models.text import safe_file_name
from fsmedia.storage import open_backend
from fsmedia.storage.address import resolve_root
from fsmedia.storage.listing import NestedStores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from fsmedia.store import MediaStore

SMALL = 4 * 2**20  # bytes up to which a media is read whole
_TOGETHER = 64
_TOGETHER_BYTES = 32 * 2**20
_CHUNK = 2**20
_REMEMBERED_IDS = 256
_GIVEN = ("run_id", "conversation_id", "session_id", "provider_id", "policy_name")
_UNKNOWN = "application/octet-stream"
_HEAD = 8192  # as many bytes as show what the rest is
_TIMEOUT = timedelta(seconds=60)
_ANOTHER_STORE = "is another store's: nothing in it is taken"
_MOST_PARTS = 64  # of a path that a stranger names: each is a look at the storage


class ImportWords(TypedDict, total=False):
    """The keywords that all importers take.

    `policy_name`: the policy of what is stored. `dry_run`: read all, store nothing. `unless_stored`: also leave out
    what the run, or what else the store is organized by, has under the same file name with the same bytes, wherever it
    came from. `progress`: called with the number of things examined so far.
    """

    policy_name: str | None
    dry_run: bool
    unless_stored: bool
    progress: Callable[[int], None] | None


class TreeImportWords(ImportWords, total=False):
    """The keywords of importers of a tree in any storage.

    `ids`: `run_id`, `conversation_id`, `session_id`, `provider_id` of media whose source tells none of that kind.
    `storage_options`: what the fsspec filesystem of the place takes.
    """

    ids: Mapping[str, str] | None
    storage_options: Mapping[str, Any] | None


IMPORT_DEFAULTS = {
    "dry_run": False,
    "unless_stored": False,
}  # what stands for those that are not given, where that is not None


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One media of a source.

    `source` says where it lies, in words that stay the same when it is found again. `open` may raise `MediaError` or
    `OSError`. `metadata` and `content` are values of `MediaMetadata` and `MediaContent`, unchecked, for they come from
    strangers; of the attributes among them those that can't be kept are left out. An empty or missing MIME type is
    guessed, by the `name` of a file if there is one, which is also the media's file name where the content says none
    (or None). `sha256` is what the source promises.
    """

    source: str
    open: Callable[[], BinaryIO]
    metadata: dict[str, Any]
    content: dict[str, Any] = field(default_factory=dict)
    size: int | None = None
    name: str = ""
    sha256: str | None = None


FoundItem = SourceItem | PassedOver | NotImported  # a media of a source, or why something in it is none


class Importer:
    """One import into a store under way; see `TreeImportWords` for its keywords.

    `given` are values of metadata that count where the source tells none: ids that are not empty, and the policy.
    """

    def __init__(self, store: MediaStore, **words: Unpack[TreeImportWords]) -> None:
        self.store = store
        self.given = check_ids(words.get("ids"), words.get("policy_name"))
        self._options = words.get("storage_options")
        self._dry_run = words.get("dry_run", False)
        self._unless_stored = words.get("unless_stored", False)
        self._log = ImportLog(dry_run=self._dry_run, progress=words.get("progress"))
        self._id_field = store.organization.id_field
        self._known: OrderedDict[str, KnownMedia] = OrderedDict()
        self._waiting: list[tuple[SourceItem, MediaContent, MediaMetadata, str]] = []
        self._waiting_bytes = 0

    def source(self, place: str | os.PathLike[str]) -> AbstractContextManager[SourceTree]:
        """Open the tree that is imported, for a `with` block."""
        return closing(SourceTree(place, self._options))

    def run(self, items: Iterable[FoundItem]) -> ImportReport:
        """Import all items and report what became of them."""
        self._log.take(items, self._import)
        self._flush()
        return self.store._pictured(self._log.report())

    def _import(self, item: SourceItem) -> None:
        data, head = self._first_bytes(item)
        fields = {name: value for name, value in item.content.items() if value is not None}
        shown = mime.guess_from_name(item.name) or mime.guess_from_bytes(head) or _UNKNOWN
        kind = fields.pop("mime_type", None) or shown
        # A name that a store made up says nothing; a source may have none of its own although it lies in a file.
        name = item.content.get("file_name", "" if keys.is_own_name(item.name) else item.name)
        fields["file_name"] = safe_file_name(name) if isinstance(name, str) else None
        source = {SOURCE_ATTRIBUTE: printable(item.source)}
        values = {name: value for name, value in item.metadata.items() if value is not None}
        # First and last: it is what importing again looks for, so nothing may crowd it out or stand in its place.
        values["attributes"] = fitting({**source, **values.get("attributes", {}), **source})
        metadata = MediaMetadata(**values)
        if data is not None:
            content = MediaContent(data=data, mime_type=kind, **fields)
            self._plan(item, content, metadata, stored_digest([data], content, len(data)), len(data))
            return
        content = MediaContent(data=io.BytesIO(), mime_type=kind, **fields)  # opened when it is stored
        known = self._known_of(metadata)
        # Read once only to know the digest: where it decides whether anything is stored, and where the stored bytes
        # differ from those of the file, because raw sound gets a header.
        may_be_known = known.of(item.source) or (self._unless_stored and content.file_name in known.names)
        if self._dry_run or may_be_known or wav.is_raw(content.mime_type):
            with item.open() as file:
                reader = _HashingReader(file, item.sha256)
                digest = stored_digest(iter(lambda: reader.read(_CHUNK), b""), content, item.size)
            self._plan(item, content, metadata, digest, reader.intake.size)
        else:
            self._stream(item, content, metadata)

    def _first_bytes(self, item: SourceItem) -> tuple[bytes | None, bytes]:
        """Return all bytes of a small media, else None, and those that show what it is."""
        large = item.size is not None and item.size > SMALL
        with item.open() as file:
            data = read_up_to(file, _HEAD if large else SMALL + 1)
        if large or len(data) > SMALL:
            return None, data[:_HEAD]
        if item.sha256 is not None:
            _check_digest(sha256(data).hexdigest(), item.sha256)
        return data, data[:_HEAD]

    def _plan(self, item: SourceItem, content: MediaContent, metadata: MediaMetadata, digest: str, size: int) -> None:
        known = self._known_of(metadata)
        if digest in known.of(item.source):
            self._log.unchanged += 1
            return
        key = known.key(content, digest) if self._unless_stored else None
        if key in known.named and not known.named[key]:
            self._flush()  # what it equals has no reference before it is stored, and may fail
        if key in known.named:
            self._log.already_stored.append(Imported(printable(item.source), known.named[key]))
            return
        if self._dry_run:
            with suppress(ReadOnlyStoreError):  # whose plan is as good as another's
                self.store.create_media(metadata, content.mime_type)  # raises what storing would; is never entered
            self._note(item, content, metadata, digest, size, "")
        elif not isinstance(content.data, bytes):
            self._stream(item, content, metadata, digest)
        else:
            # Noted before it is stored: the same thing may be found twice in one window.
            known.add(item.source, content, digest, "")
            self._waiting.append((item, content, metadata, digest))
            self._waiting_bytes += size
            if len(self._waiting) >= _TOGETHER or self._waiting_bytes >= _TOGETHER_BYTES:
                self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        pairs = ((content, metadata) for _, content, metadata, _ in waiting)
        answers: list[Any]
        try:
            answers = list(self.store.store_many(pairs, on_error="return"))
        except ReadOnlyStoreError:
            raise
        except MediaError as error:  # the store's settings can't be read: nothing of these was begun
            answers = [error] * len(waiting)
        for (item, content, metadata, digest), answer in zip(waiting, answers, strict=True):
            if isinstance(answer, MediaError):
                self._log.failed.append(not_imported(item.source, answer))
                self._known_of(metadata).discard(item.source, content, digest)
            else:
                self._note(item, content, metadata, digest, len(content.data), answer)

    def _stream(
        self, item: SourceItem, content: MediaContent, metadata: MediaMetadata, digest: str | None = None
    ) -> None:
        """Store a large media from its file, in one pass; `digest` is that of the stored bytes, where it is known."""
        self._flush()
        with item.open() as file:
            reader = _HashingReader(file, item.sha256)
            reference = self.store.store_media(content.model_copy(update={"data": reader}), metadata)
        intake = reader.intake
        self._note(item, content, metadata, digest or intake.sha256, intake.size, reference)

    def _note(
        self, item: SourceItem, content: MediaContent, metadata: MediaMetadata, digest: str, size: int, reference: str
    ) -> None:
        known, policy = self._known_of(metadata), metadata.policy_name or content.policy_name
        if metadata.timestamp is not None:
            due = self.store._settings_file.configuration.expires_at(policy, metadata.timestamp)
            self._log.already_due += is_due(due, self.store._now())
        self._log.add_stored(item.source, reference, size, digest, duplicate=digest in known.digests)
        known.add(item.source, content, digest, reference)

    def _known_of(self, metadata: MediaMetadata) -> KnownMedia:
        """Return what the store has under the id of its mode; asked once, for media of one id come together."""
        wanted = getattr(metadata, self._id_field)
        if wanted in self._known:
            self._known.move_to_end(wanted)
            return self._known[wanted]
        known = self._known[wanted] = KnownMedia(self.store, self._id_field, wanted)
        # One of these may be what this import would store, so nobody must overlook it.
        self._log.failed += [not_imported(each.reference or wanted, each) for each in known.failed]
        # What waits to be stored is noted in these: none may go before it was.
        if len(self._known) > _REMEMBERED_IDS and not self._waiting:
            self._known.popitem(last=False)
        return known


Found = TypeVar("Found", SourceItem, "TreeFile")


class ImportLog:
    """Collects what becomes of the items of an import, for its report."""

    def __init__(self, *, dry_run: bool, progress: Callable[[int], None] | None) -> None:
        self.failed: list[NotImported] = []
        self.unchanged = self.already_due = 0
        self.already_stored: list[Imported] = []
        self._skipped: list[PassedOver] = []
        self._dry_run = dry_run
        self._progress = progress or (lambda _: None)
        self._began = time.monotonic()
        self._stored: list[Imported] = []
        self._seen: set[bytes] = set()
        self._examined = self._bytes = self._duplicates = self._duplicate_bytes = 0

    def take(self, items: Iterable[Found | PassedOver | NotImported], work: Callable[[Found], None]) -> None:
        """Do the work for each item that may be a media, and note what becomes of all of them."""
        for item in items:
            if isinstance(item, PassedOver):
                self._skipped.append(item)
            elif isinstance(item, NotImported):
                self.failed.append(item)
            else:
                try:
                    work(item)
                except ReadOnlyStoreError:
                    raise
                except (MediaError, OSError) as error:
                    self.failed.append(not_imported(item.source, error))
            self._examined += 1
            self._progress(self._examined)

    def add_stored(self, source: str, reference: str, size: int, sha256: str, *, duplicate: bool = False) -> None:
        """Note a media that was stored, or would be in a dry run.

        `sha256` is that of the stored bytes: a second media of the same import with it counts as a duplicate, and so
        does one whose bytes the store had before (`duplicate`).
        """
        digest = bytes.fromhex(sha256)
        if duplicate or digest in self._seen:
            self._duplicates += 1
            self._duplicate_bytes += size
        self._seen.add(digest)
        self._bytes += size
        self._stored.append(Imported(printable(source), reference))

    def report(self) -> ImportReport:
        """Return what was collected."""
        return ImportReport(
            dry_run=self._dry_run,
            examined=self._examined,
            stored=tuple(self._stored),
            bytes=self._bytes,
            unchanged=self.unchanged,
            already_stored=tuple(self.already_stored),
            duplicates=self._duplicates,
            duplicate_bytes=self._duplicate_bytes,
            already_due=self.already_due,
            skipped=tuple(self._skipped),
            failed=tuple(self.failed),
            took=timedelta(seconds=time.monotonic() - self._began),
        )


def check_ids(ids: Mapping[str, str] | None, policy_name: str | None = None) -> dict[str, Any]:
    """Return the metadata of media whose source tells none: ids that are not empty, and the policy."""
    if unknown := set(ids or {}) - set(_GIVEN):
        raise InvalidMediaError(f"unknown ids {', '.join(sorted(unknown))}", next_step=f"give {', '.join(_GIVEN)}")
    given: dict[str, Any] = {name: value for name, value in (ids or {}).items() if value}
    return given if policy_name is None else {**given, "policy_name": policy_name}


def is_below(name: str) -> bool:
    """Tell whether a path that a stranger wrote leads below the place where it stands."""
    return "\0" not in name and "\\" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


def not_imported(source: str, error: BaseException) -> NotImported:
    """Return what the report says of an item for which something was raised."""
    if not isinstance(error, MediaError):
        text = f"can't be read ({type(error).__name__}: {printable(error)[:200]})"
        error = InvalidMediaError(text, key=printable(source))
    return NotImported(source=printable(source), error=error)


def invalid(source: str, problem: str, next_step: str = "") -> NotImported:
    """Return what the report says of an item that is not as its format wants it."""
    return not_imported(source, InvalidMediaError(problem, next_step=next_step, key=printable(source)))


def skipped(source: str, reason: str) -> PassedOver:
    """Return what the report says of an item that is no media to import."""
    return PassedOver(printable(source), reason)


def printable(text: object) -> str:
    """Return a stranger's text in a form that every storage and terminal can hold."""
    return str(text).encode("utf-8", "backslashreplace").decode()


class KnownMedia:
    """What a store has under one id of its mode: one listing, and the sidecars.

    `digests` of all; `named`: references by file name and digest, empty for what is yet to be stored; `failed`: errors
    of those whose sidecars can't be read.
    """

    def __init__(self, store: MediaStore, id_field: str, wanted: str) -> None:
        self.digests: set[str] = set()
        self.names: set[str | None] = set()
        self.named: dict[tuple[str | None, str] | None, str] = {}
        self.failed: list[MediaError] = []
        self._sources: dict[str, set[str]] = {}
        selection: dict[str, Any] = {id_field: wanted}
        # Without its id nothing is stored.
        for answer in store.info_many(store.list(**selection), on_error="return") if wanted else ():
            if not isinstance(answer, MediaRecord):
                if not isinstance(answer, MediaNotFoundError):  # what was deleted since it was listed is no error
                    self.failed.append(answer)
            elif answer.sha256 is not None:
                self.digests.add(answer.sha256)
                self.add(answer.attributes.get(SOURCE_ATTRIBUTE), answer, answer.sha256, answer.reference)

    def of(self, source: str) -> set[str]:
        """Return the digests of media that came from there."""
        return self._sources.get(printable(source), set())

    def key(self, content: MediaContent | MediaRecord, digest: str) -> tuple[str | None, str] | None:
        """Return the name and the digest that a content has once it is stored; None for one without a name."""
        name = stored_name(content.file_name, content.mime_type)
        return None if name is None else (name, digest)

    def add(self, source: object, content: MediaContent | MediaRecord, digest: str, reference: str) -> None:
        """Note a media, and that it came from there if a source is named."""
        if isinstance(source, str):
            self._sources.setdefault(printable(source), set()).add(digest)
        if (key := self.key(content, digest)) is not None:
            self.named[key] = reference
            self.names.add(content.file_name)

    def discard(self, source: str, content: MediaContent, digest: str) -> None:
        """Forget a media that could not be stored."""
        self.of(source).discard(digest)
        self.named.pop(self.key(content, digest), None)


class _HashingReader:
    """A stream that counts and hashes what is read; at its end it refuses bytes that were promised otherwise."""

    def __init__(self, file: BinaryIO, promised: str | None) -> None:
        self._file = file
        self._promised = promised
        self.intake = HashingWriter(None, None)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.intake.write(data)
        if not data:
            _check_digest(self.intake.sha256, self._promised)
        return data


def _check_digest(found: str, promised: str | None) -> None:
    if promised not in (None, found):
        raise InvalidMediaError(
            "its bytes are not those that its name promises: it was cut short or changed",
            next_step="look at the file; import it by `import folder` to take it as it is",
        )


def read_up_to(file: BinaryIO, most: int) -> bytes:
    """Read up to so many bytes, also from what gives them in pieces."""
    parts: list[bytes] = []
    while most > 0 and (data := file.read(most)):
        parts.append(data)
        most -= len(data)
    return b"".join(parts)


def stored_digest(chunks: Iterable[bytes], content: MediaContent, size: int | None) -> str:
    """Return the digest that the bytes have once they are stored: raw sound gets a header there."""
    sound = wav.pcm_format(content.mime_type, content.channels)
    intake = HashingWriter(None, None) if sound is None else WavWriter(None, None, sound, size)
    for chunk in chunks:
        intake.write(chunk)
    intake.finish()
    return intake.sha256


class SourceTree:
    """A tree of files in any storage, opened to be read; MediaNotFoundError if there is nothing at that place."""

    def __init__(self, place: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> None:
        self.backend = open_backend(*resolve_root(place, options), timeout=_TIMEOUT)
        self._folder = self.backend.local_path("")
        if not self.backend.holds(""):
            raise MediaNotFoundError(
                "no such folder to import, or nothing in it", next_step="check the path", key=self.backend.url
            )

    def files(self) -> Iterator[TreeFile]:
        """Walk over all that is there, in the order of the paths; links are not followed."""
        if self._folder is None:
            nested = NestedStores()
            for entry in nested.entries(self.backend):
                yield TreeFile(entry.key, entry.size, entry.modified, _hidden(entry.key))
            yield from (TreeFile(f"{folder}/", reason=_ANOTHER_STORE) for folder in nested.folders)
            return
        # Without recursion: a stranger's tree may be deeper than Python's stack.
        waiting = [self._scanned("")]
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
            elif isinstance(found, str):
                waiting.append(self._scanned(found))
            else:
                yield found

    def _scanned(self, prefix: str) -> Iterator[TreeFile | str]:
        """Yield the files of one folder, and the folders to go into as text."""
        try:
            with os.scandir(f"{self._folder}{prefix}") as found:
                items = sorted(found, key=lambda item: item.name)
        except OSError as error:
            yield TreeFile(prefix or "/", error=error)
            return
        if prefix and any(self._is_of_a_store(f"{prefix}{item.name}") for item in items if keys.is_internal(item.name)):
            yield TreeFile(prefix, reason=_ANOTHER_STORE)
            return
        for item in items:
            path = prefix + item.name
            try:
                if item.is_dir(follow_symlinks=False):
                    yield TreeFile(f"{path}/", reason="is hidden") if item.name.startswith(".") else f"{path}/"
                    continue
                seen = item.stat(follow_symlinks=False)
            except OSError as error:
                yield TreeFile(path, error=error)
                continue
            yield TreeFile(path, seen.st_size, _time_of(seen.st_mtime), _reason(path, seen.st_mode))

    def _is_of_a_store(self, path: str) -> bool:
        """Tell whether a folder is the one that a store keeps its own files in."""
        try:
            with os.scandir(f"{self._folder}{path}") as found:
                names = [f"{item.name}/" if item.is_dir(follow_symlinks=False) else item.name for item in found]
        except OSError:
            return True  # what can't be looked into is left alone
        return any(keys.is_in_store(f"{keys.INTERNAL}/{name}") for name in names)

    def path_of(self, url: str) -> str | None:
        """Return where another root lies below this one, empty for the same place; None if it does not."""
        own, other = f"{self.backend.url.rstrip('/')}/", f"{url.rstrip('/')}/"
        return other.removeprefix(own).rstrip("/") if other.startswith(own) else None

    def open(self, path: str) -> BinaryIO:
        """Open one file; a link that leads out is refused, and what can't be read is a `MediaError`."""
        try:
            return self.backend.open(path)
        except FileNotFoundError:
            raise MediaNotFoundError("no such file, or no longer", key=printable(path)) from None
        except MediaError:
            raise
        except OSError as error:
            raise MediaNotFoundError(f"can't be read ({error.strerror or error})", key=printable(path)) from error

    def opener(self, path: str) -> Callable[[], BinaryIO]:
        """Return what opens a file later."""
        return partial(self.open, path)

    def read(self, path: str, most: int) -> bytes:
        """Return the bytes of a file; MediaTooLargeError if it has more than so many."""
        with self.open(path) as file:
            data = read_up_to(file, most + 1)
        if len(data) > most:
            raise MediaTooLargeError(
                f"has more than {most} bytes, too many to be read at once",
                next_step="look whether it is what it should be",
                key=printable(path),
            )
        return data

    def close(self) -> None:
        """Close the storage."""
        self.backend.close()


class TreeFile(NamedTuple):
    """One name in a tree, whether it may be imported or not; what ends in `/` is a folder.

    `reason` says why it can't be taken (empty for a regular file), `error` what went wrong when it was looked at.
    """

    path: str
    size: int = 0
    modified: datetime | None = None
    reason: str = ""
    error: OSError | None = None

    @property
    def source(self) -> str:
        """What reports and sidecars call it."""
        return f"folder:{self.path}"


def tree_items(tree: SourceTree, wanted: Callable[[TreeFile], bool]) -> Iterator[TreeFile | PassedOver | NotImported]:
    """Walk over the files of a tree that are wanted; of those that can't be media it is said why."""
    for file in tree.files():
        if not wanted(file):
            continue
        if file.error is not None:
            yield not_imported(file.source, file.error)
        elif keys.is_sidecar(file.path) and not file.reason:
            yield skipped(file.source, "is a sidecar: open the tree as a store to read what it says")
        elif keys.is_temporary(file.path.rstrip("/")):
            yield skipped(file.source, "is a temporary file")
        else:
            yield skipped(file.source, file.reason) if file.reason else file


def locate(tree: SourceTree, named: str) -> str:
    """Return the path of a file in a tree that a stranger names from another working directory, or raise MediaError.

    Leading parts are left away until something is there, but never down to a bare name: that could be anything.
    """
    text = named if "/" in named else named.replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    step = "only files below the folder that is imported are read"
    if ".." in parts or "://" in text or "\0" in text or len(parts) > _MOST_PARTS:
        raise MediaNotFoundError("leads out of the folder that is imported", next_step=step, key=printable(named))
    if parts and (keys.is_sidecar(parts[-1]) or keys.INTERNAL in parts):
        raise MediaNotFoundError("is no media", next_step=step, key=printable(named))
    for start in range(max(1, len(parts) - 1)):
        path = "/".join(parts[start:])
        if tree.backend.head(path) is not None:
            return path
    raise MediaNotFoundError("no such file below the folder that is imported", next_step=step, key=printable(named))


def is_inside_store(store: MediaStore, roots: Iterable[str]) -> bool:
    """Tell whether a place, by all its spellings, is a store's root or lies below it."""
    for root in roots:
        with suppress(InvalidReferenceError):  # the store knows all spellings of its own URL
            store.media_url(f"{root.rstrip('/')}/x")
            return True
    return False


def _hidden(path: str) -> str:
    return "is hidden" if any(part.startswith(".") for part in path.split("/")) else ""


def _reason(path: str, mode: int) -> str:
    """Say why a name of this machine is no file to take."""
    if stat.S_ISLNK(mode):
        return "is a link, which may lead anywhere"
    if not stat.S_ISREG(mode):
        return "is no regular file"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name has no UTF-8 form"
    return _hidden(path)


def _time_of(seconds: float) -> datetime | None:
    with suppress(ValueError, OverflowError, OSError):  # a stranger's file from the year 36812
        return datetime.fromtimestamp(seconds, UTC)
    return None
