"""Carrying what an importer found into a store: what is there already stays, the rest goes in many at a time.

What is there is told by the store itself: the folder of each id is listed once and its sidecars read, 256 at a time.
At most 32 MiB of small media are in memory; larger ones stream.
"""

from __future__ import annotations

import io
import os
import stat
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self

from fsmedia.core.ingest import HashingWriter, WavWriter
from fsmedia.errors import (
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    MediaTooLargeError,
    ReadOnlyStoreError,
)
from fsmedia.format import keys, wav
from fsmedia.models import (
    SOURCE_ATTRIBUTE,
    AttributedMetadata,
    Imported,
    ImportReport,
    MediaContent,
    MediaRecord,
    NotImported,
    PassedOver,
    mime,
)
from fsmedia.storage import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from fsmedia.storage import Entry
    from fsmedia.store import MediaStore


@dataclass(frozen=True, slots=True)
class Found:
    """One media of a source.

    Attributes
    ----------
    source
        Where it lies, in words that stay the same when it is found again.
    open
        Opens its bytes; may raise `MediaError` or `OSError`.
    metadata
        Values of a `MediaMetadata`, unchecked, for they come from strangers.
    content
        Values of a `MediaContent` other than its source, unchecked; an empty or missing MIME type is guessed.
    size
        Bytes, where that is known.
    name
        A file name to guess the MIME type from.
    sha256
        Digest that the source promises.
    """

    source: str
    open: Callable[[], BinaryIO]
    metadata: dict[str, Any]
    content: dict[str, Any] = field(default_factory=dict)
    size: int | None = None
    name: str = ""
    sha256: str | None = None


def in_memory(source: str, data: bytes, metadata: dict[str, Any], content: dict[str, Any]) -> Found:
    """Return a media whose bytes stood in the source itself."""
    return Found(source, lambda: io.BytesIO(data), metadata, content, len(data))


def shown(text: object) -> str:
    """Return a stranger's text in a form that every storage and terminal can hold."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def wrong(source: str, problem: str, next_step: str = "") -> NotImported:
    """Say what is wrong with one thing of a source."""
    return NotImported(source=shown(source), error=InvalidMediaError(problem, next_step=next_step, key=shown(source)))


def failed(source: str, error: BaseException) -> NotImported:
    """Take what was raised for one thing of a source."""
    if not isinstance(error, MediaError):
        error = InvalidMediaError(f"can't be read ({type(error).__name__}: {shown(error)[:200]})", key=shown(source))
    return NotImported(source=shown(source), error=error)


def passed(source: str, reason: str) -> PassedOver:
    """Say why one thing of a source is no media to take."""
    return PassedOver(shown(source), reason)


SMALL = 4 * 2**20
"""Bytes up to which a media is read whole."""
_TOGETHER = 64
_TOGETHER_BYTES = 32 * 2**20
_CHUNK = 2**20
_REMEMBERED_IDS = 256
_UNKNOWN = "application/octet-stream"
_HEAD = 8192


class Carrier:
    """One import under way.

    Parameters
    ----------
    store
        Where media go.
    dry_run
        Read all, write nothing.
    progress
        Called with the number of things examined so far.
    """

    def __init__(self, store: MediaStore, *, dry_run: bool, progress: Callable[[int], None] | None) -> None:
        self._store = store
        self._dry_run = dry_run
        self._progress = progress or (lambda _: None)
        self._id_field = store.organization.id_field
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._seen: set[bytes] = set()
        self._waiting: list[tuple[Found, MediaContent, AttributedMetadata, str]] = []
        self._waiting_bytes = 0
        self._examined = self._unchanged = self._duplicates = self._duplicate_bytes = self._bytes = 0
        self._stored: list[Imported] = []
        self._skipped: list[PassedOver] = []
        self._failed: list[NotImported] = []

    def carry(self, findings: Iterable[Found | PassedOver | NotImported]) -> ImportReport:
        """Take in everything that is found, and say what became of it."""
        begun = time.monotonic()
        for finding in findings:
            self._examined += 1
            if isinstance(finding, PassedOver):
                self._skipped.append(finding)
            elif isinstance(finding, NotImported):
                self._failed.append(finding)
            else:
                try:
                    self._take(finding)
                except ReadOnlyStoreError:
                    raise
                except (MediaError, OSError) as error:
                    self._failed.append(failed(finding.source, error))
            self._progress(self._examined)
        self._flush()
        return ImportReport(
            dry_run=self._dry_run,
            examined=self._examined,
            stored=tuple(self._stored),
            bytes=self._bytes,
            unchanged=self._unchanged,
            duplicates=self._duplicates,
            duplicate_bytes=self._duplicate_bytes,
            skipped=tuple(self._skipped),
            failed=tuple(self._failed),
            took=timedelta(seconds=time.monotonic() - begun),
        )

    # -- one media ---------------------------------------------------------------------------------------------

    def _take(self, finding: Found) -> None:
        data, head = self._first_bytes(finding)
        fields = {name: value for name, value in finding.content.items() if value is not None}
        kind = fields.pop("mime_type", None) or guessed(finding.name, head)
        metadata = AttributedMetadata(
            **{name: value for name, value in finding.metadata.items() if value is not None},
            xattrs={SOURCE_ATTRIBUTE: shown(finding.source)},
        )
        if data is not None:
            content = MediaContent(data=data, mime_type=kind, **fields)
            self._plan(finding, content, metadata, _digest([data], content, len(data)), len(data))
            return
        content = MediaContent(data=_Unread(), mime_type=kind, **fields)
        known = self._known_of(metadata)
        if self._dry_run or finding.source in known.sources or wav.is_raw(content.mime_type):
            with finding.open() as file:
                counted = _Counted(file, finding.sha256)
                digest = _digest(iter(lambda: counted.read(_CHUNK), b""), content, finding.size)
            self._plan(finding, content, metadata, digest, counted.size)
            return
        self._stream(finding, content, metadata)

    def _first_bytes(self, finding: Found) -> tuple[bytes | None, bytes]:
        """Return all bytes of a small media, else None, and those that show what it is."""
        large = finding.size is not None and finding.size > SMALL
        with finding.open() as file:
            data = _read(file, _HEAD if large else SMALL + 1)
        if large or len(data) > SMALL:
            return None, data[:_HEAD]
        if finding.sha256 is not None:
            _Counted.check(_digest([data], None, len(data)), finding.sha256)
        return data, data[:_HEAD]

    def _plan(
        self, finding: Found, content: MediaContent, metadata: AttributedMetadata, digest: str, size: int
    ) -> None:
        """Decide what becomes of a media whose digest is known."""
        known = self._known_of(metadata)
        if digest in known.sources.get(shown(finding.source), ()):
            self._unchanged += 1
            return
        if self._dry_run:
            with suppress(ReadOnlyStoreError):  # whose plan is as good as another's
                self._store.create_media(metadata, content.mime_type)  # raises what storing would; is never entered
            self._note(finding, known, digest, size, "")
            return
        if not isinstance(content.data, bytes):
            self._stream(finding, content, metadata, digest)
            return
        # Noted before it is stored: the same thing may be found twice in one window.
        known.sources.setdefault(shown(finding.source), set()).add(digest)
        self._waiting.append((finding, content, metadata, digest))
        self._waiting_bytes += size
        if len(self._waiting) >= _TOGETHER or self._waiting_bytes >= _TOGETHER_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Store the small media that wait."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        pairs = ((content, metadata) for _, content, metadata, _ in waiting)
        answers: list[Any]
        try:
            answers = list(self._store.store_many(pairs, on_error="return"))
        except ReadOnlyStoreError:
            raise
        except MediaError as error:  # the store's settings can't be read: nothing of these was begun
            answers = [error] * len(waiting)
        for (finding, content, metadata, digest), answer in zip(waiting, answers, strict=True):
            if isinstance(answer, MediaError):
                self._failed.append(failed(finding.source, answer))
                self._known_of(metadata).sources.get(shown(finding.source), set()).discard(digest)
            else:
                self._note(finding, self._known_of(metadata), digest, len(content.data), answer)

    def _stream(
        self, finding: Found, content: MediaContent, metadata: AttributedMetadata, digest: str | None = None
    ) -> None:
        """Store a large media from its file, in one pass; `digest` is that of the stored bytes, where it is known."""
        self._flush()
        with finding.open() as file:
            counted = _Counted(file, finding.sha256)
            reference = self._store.store_media(content.model_copy(update={"data": counted}), metadata)
        self._note(finding, self._known_of(metadata), digest or counted.sha256, counted.size, reference)

    def _note(self, finding: Found, known: Known, digest: str, size: int, reference: str) -> None:
        raw = bytes.fromhex(digest)
        if raw in self._seen or digest in known.digests:
            self._duplicates += 1
            self._duplicate_bytes += size
        self._seen.add(raw)
        known.sources.setdefault(shown(finding.source), set()).add(digest)
        self._bytes += size
        self._stored.append(Imported(shown(finding.source), reference))

    # -- what is there -----------------------------------------------------------------------------------------

    def _known_of(self, metadata: AttributedMetadata) -> Known:
        """Return what the store has under the id of its mode; asked once, for media of one id come together."""
        wanted = getattr(metadata, self._id_field)
        if wanted in self._known:
            self._known.move_to_end(wanted)
            return self._known[wanted]
        known = Known()
        if wanted:  # without its id nothing is stored
            self._look(wanted, known)
        self._known[wanted] = known
        if len(self._known) > _REMEMBERED_IDS and not self._waiting:
            self._known.popitem(last=False)
        return known

    def _look(self, wanted: str, known: Known) -> None:
        references = self._store.list(**{self._id_field: wanted})  # type: ignore[arg-type]
        for answer in self._store.info_many(references, on_error="return"):
            if isinstance(answer, MediaRecord):
                known.add(answer)
            elif not isinstance(answer, MediaNotFoundError):  # what was deleted since it was listed is no error
                # It may be what this import would store, so nobody must overlook it.
                self._failed.append(failed(answer.reference or wanted, answer))


class Known:
    """Media that lie under one id of the store's mode."""

    def __init__(self) -> None:
        self.sources: dict[str, set[str]] = {}
        self.digests: set[str] = set()

    def add(self, record: MediaRecord) -> None:
        """Note one."""
        source = record.xattrs.get(SOURCE_ATTRIBUTE)
        if record.sha256 is None:
            return
        self.digests.add(record.sha256)
        if isinstance(source, str):
            self.sources.setdefault(source, set()).add(record.sha256)


class _Unread:
    """Stands for bytes that are opened later."""

    def read(self, _size: int = -1) -> bytes:
        raise InvalidMediaError("was not opened")


class _Counted:
    """A stream that counts and hashes what is read; at its end it refuses bytes that were promised otherwise."""

    def __init__(self, file: BinaryIO, promised: str | None) -> None:
        self._file = file
        self._promised = promised
        self._intake = HashingWriter(None, None)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._intake.write(data)
        if not data and self._promised is not None:
            self.check(self.sha256, self._promised)
        return data

    @property
    def size(self) -> int:
        return self._intake.size

    @property
    def sha256(self) -> str:
        return self._intake.sha256

    @staticmethod
    def check(found: str, promised: str) -> None:
        if found != promised:
            raise InvalidMediaError(
                "its bytes are not those that its name promises: it was cut short or changed",
                next_step="look at the file; import it by `import folder` to take it as it is",
            )


def _read(file: BinaryIO, most: int) -> bytes:
    """Read up to so many bytes, also from what gives them in pieces."""
    parts: list[bytes] = []
    while most > 0 and (data := file.read(most)):
        parts.append(data)
        most -= len(data)
    return b"".join(parts)


def guessed(name: str, head: bytes) -> str:
    """Return the MIME type that a file's name tells, else its first bytes."""
    kind = mime.guess_from_name(name) or mime.detect(head)
    return kind or ("text/plain" if head and mime.is_text(head) else _UNKNOWN)


def _digest(chunks: Iterable[bytes], content: MediaContent | None, size: int | None) -> str:
    """Return the digest that the bytes have once they are stored: raw sound gets a header there."""
    sound = None if content is None else wav.pcm_format(content.mime_type, content.channels)
    intake = HashingWriter(None, None) if sound is None else WavWriter(None, None, sound, size)
    for chunk in chunks:
        intake.write(chunk)
    intake.finish()
    return intake.sha256


_TIMEOUT = timedelta(seconds=60)


class File(NamedTuple):
    """One name in a tree.

    Attributes
    ----------
    path
        Below the tree's root, with `/`.
    modified
        When its bytes were last written, where that is known.
    reason
        Why it can't be taken; empty for a regular file. What ends in `/` is a folder.
    error
        What went wrong when it was looked at.
    """

    path: str
    size: int = 0
    modified: datetime | None = None
    reason: str = ""
    error: OSError | None = None


class Tree:
    """One opened tree.

    Raises
    ------
    MediaNotFoundError
        There is nothing at that place.
    """

    def __init__(self, place: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> None:
        self.backend = open_backend(os.fspath(place), options, timeout=_TIMEOUT)
        self._folder = self.backend.local_path("")
        if not self.backend.holds(""):
            raise MediaNotFoundError(
                "no such folder to import, or nothing in it", next_step="check the path", key=self.backend.url
            )

    def files(self) -> Iterator[File]:
        """Walk over all that is there, in the order of the paths; links are not followed."""
        if self._folder is None:
            for entry in self.backend.entries():
                yield File(entry.key, entry.size, entry.modified, _hidden(entry.key))
        else:
            yield from self._walk("")

    def _walk(self, top: str) -> Iterator[File]:
        """Walk without recursion: a stranger's tree may be deeper than Python's stack."""
        waiting = [self._scanned(top)]
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
            elif isinstance(found, str):
                waiting.append(self._scanned(found))
            else:
                yield found

    def _scanned(self, prefix: str) -> Iterator[File | str]:
        """Yield the files of one folder, and the folders to go into as text."""
        try:
            with os.scandir(f"{self._folder}{prefix}") as found:
                items = sorted(found, key=lambda item: item.name)
        except OSError as error:
            yield File(prefix or "/", error=error)
            return
        for item in items:
            path = prefix + item.name
            try:
                if item.is_dir(follow_symlinks=False):
                    yield File(f"{path}/", reason="is hidden") if item.name.startswith(".") else f"{path}/"
                    continue
                seen = item.stat(follow_symlinks=False)
            except OSError as error:
                yield File(path, error=error)
                continue
            yield File(path, seen.st_size, _time(seen.st_mtime), _reason(path, seen.st_mode))

    def place_of(self, url: str) -> str | None:
        """Return where another root lies below this one, empty for the same place; None if it does not."""
        own = self.backend.url.rstrip("/")
        other = url.rstrip("/")
        if other == own:
            return ""
        return other[len(own) + 1 :] if other.startswith(f"{own}/") else None

    def head(self, path: str) -> Entry | None:
        """Look at one file; a link that leads out is refused."""
        return self.backend.head(path)

    def open(self, path: str) -> BinaryIO:
        """Open one file; a link that leads out is refused."""
        try:
            return self.backend.open(path)
        except FileNotFoundError:
            raise MediaNotFoundError("no such file, or no longer", key=shown(path)) from None

    def read(self, path: str, most: int) -> bytes:
        """Return the bytes of a file that may have at most so many.

        Raises
        ------
        MediaTooLargeError
            It has more.
        """
        parts, size = [], 0
        with self.open(path) as file:
            while data := file.read(_CHUNK):
                parts.append(data)
                size += len(data)
                if size > most:
                    raise MediaTooLargeError(
                        f"has more than {most} bytes, too many to be read at once",
                        next_step="look whether it is what it should be",
                        key=shown(path),
                    )
        return b"".join(parts)

    def close(self) -> None:
        """Let go of what is held open."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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


def _time(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None  # a stranger's file from the year 36812


def lies_in(store: MediaStore, roots: Iterable[str]) -> bool:
    """Tell whether a place, by all its spellings, is a store's root or lies below it."""
    for root in roots:
        try:
            store.media_url(f"{root.rstrip('/')}/x")
        except InvalidReferenceError:
            continue
        return True
    return False


def located(tree: Tree, named: str) -> str:
    """Return the path of a file in a tree that a stranger names from another working directory.

    Leading parts are left away until something is there, but never down to a bare name: that could be anything.

    Raises
    ------
    MediaError
        Nothing below the tree is meant: it climbs out, is a URL, or is not there.
    """
    text = named if "/" in named else named.replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    step = "only files below the folder that is imported are read"
    if ".." in parts or "://" in text or "\0" in text or len(parts) > _MOST_PARTS:
        raise MediaNotFoundError("leads out of the folder that is imported", next_step=step, key=shown(named))
    if parts and (keys.is_sidecar(parts[-1]) or keys.INTERNAL in parts):
        raise MediaNotFoundError("is no media", next_step=step, key=shown(named))
    for start in range(max(1, len(parts) - 1)):
        path = "/".join(parts[start:])
        if tree.head(path) is not None:
            return path
    raise MediaNotFoundError("no such file below the folder that is imported", next_step=step, key=shown(named))


_MOST_PARTS = 64


def opener(tree: Tree, path: str) -> Any:
    """Return what opens a file of a tree."""

    def opened() -> BinaryIO:
        try:
            return tree.open(path)
        except MediaError:
            raise
        except OSError as error:
            raise MediaNotFoundError(f"can't be read ({error.strerror or error})", key=shown(path)) from error

    return opened
