"""Taking in a media item: its source is opened, its bytes are counted, hashed and staged, then committed or discarded.

`MediaStore.store_media` and `create_media` both use `MediaUpload`, so every source meets the same checks. Whatever can
be refused is refused before anything is visible.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self, cast

from fsmedia.core import commit, telemetry
from fsmedia.core.commit import SharedStoreOperation, StoreOperation
from fsmedia.core.download import open_url
from fsmedia.core.telemetry import Observer, RunningOperation
from fsmedia.errors import (
    ErrorContext,
    ForeignCall,
    InvalidMediaError,
    InvalidReferenceError,
    MediaError,
    MediaNotFoundError,
    StorageError,
    StoreConflictError,
)
from fsmedia.format import keys, wav
from fsmedia.format.keys import VIEWS, Pointer
from fsmedia.format.layout import fields_at
from fsmedia.format.measures import HEAD_BYTES, TAIL_BYTES
from fsmedia.format.settings import Configuration
from fsmedia.format.sidecar import Sidecar
from fsmedia.format.wav import PcmFormat
from fsmedia.models import ContentFields, MediaContent, MediaMetadata, MediaRecord, Reference, mime
from fsmedia.models.text import safe_file_name
from fsmedia.models.urls import read_data_url, refuse_over
from fsmedia.storage import Backend, SpooledStage, Stage

CHUNK_BYTES = 2**20  # bytes read at once from a source
# Below this, handing a piece to another thread takes longer than hashing it.
_WORTH_A_THREAD = 256 * 1024
_INCOMING = f"{keys.BLOBS}/incoming"
# Stands for the generation while that is not known: a name that does not fit is refused before a byte is written.
_LONGEST_POINTER = keys.Pointer(10**15, "0" * 64, "0" * 26)
_UNKNOWN_TYPE = "application/octet-stream"


class HashingWriter:
    """Counts and hashes bytes, keeps the first and the last of them, and writes them to a stage.

    `stage`: where they go; None only counts and hashes. `max_size`: most bytes to take; None takes any number.
    """

    def __init__(self, stage: Stage | None, max_size: int | None) -> None:
        self._stage = stage
        self._max_size = max_size
        self._digest = hashlib.sha256()
        self._hasher: ThreadPoolExecutor | None = None
        self.size = 0
        self._head, self._tail = bytearray(), bytearray()

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes, unless they are too many."""
        self.size += len(data)
        refuse_over(self._max_size, self.size)
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]
        if self.size > HEAD_BYTES:
            self._tail += data[-TAIL_BYTES:]
            # Seldom, for a caller may write byte by byte.
            if len(self._tail) > 2 * TAIL_BYTES:
                del self._tail[:-TAIL_BYTES]
        if self._stage is None:
            self._digest.update(data)
        elif len(data) < _WORTH_A_THREAD:
            self._digest.update(data)
            self._stage.write(data)
        else:
            # Hashing and writing take about as long, and neither needs the other.
            if self._hasher is None:
                self._hasher = ThreadPoolExecutor(1, thread_name_prefix="fsmedia-digest")
            hashed = self._hasher.submit(self._digest.update, data)
            try:
                self._stage.write(data)
            finally:
                # Not before the digest has them, also after an error: the caller may reuse its buffer from here on.
                hashed.result()

    @property
    def head(self) -> bytes:
        """The first bytes."""
        return bytes(self._head)

    @property
    def tail(self) -> bytes:
        """The last bytes, where there are more than the first."""
        return bytes(self._tail[-TAIL_BYTES:])

    def finish(self) -> None:
        """End it: all bytes have come."""
        if self._hasher is not None:
            self._hasher.shutdown(wait=False)

    @property
    def sha256(self) -> str:
        """Digest of what was taken so far, as lower-case hex."""
        return self._digest.hexdigest()


class WavWriter(HashingWriter):
    """Puts a WAV header in front of raw sound; what is a WAV file already stays as it is.

    The header says how much sound follows it. If that was not known or was wrong, it is corrected at the end and the
    stage is read once more for the digest.

    `form`: format of the samples. `expected`: bytes of sound that will come, where the source can tell.
    """

    def __init__(self, stage: SpooledStage | None, max_size: int | None, form: PcmFormat, expected: int | None) -> None:
        super().__init__(stage, max_size)
        self._spooled = stage
        self._form = form
        self._written = expected if expected is not None and 0 <= expected <= wav.LARGEST else 0
        self._first: bytes | None = b""
        self._wrapped = False

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes; the first few show whether they are raw."""
        if self._first is None:
            super().write(data)
        else:
            self._first += bytes(data)
            if len(self._first) >= wav.HEADER_BYTES:
                self._decide()
        if self._wrapped:
            # For its error alone, once there is too much for a WAV file: not after gigabytes more have come.
            wav.header(self._form, self.size - wav.HEADER_BYTES)

    def _decide(self) -> None:
        first, self._first = self._first or b"", None
        if not wav.is_wav(first):
            self._wrapped = True
            super().write(wav.header(self._form, self._written))
        super().write(first)

    def finish(self) -> None:
        """Correct the header if another number of bytes came than it says."""
        super().finish()
        if self._first is not None:
            # Too short to have shown what it is: now all of it is here, and its length is known.
            if not self._wrapped and not wav.is_wav(self._first):
                self._written = len(self._first)
            self._decide()
        sound = self.size - wav.HEADER_BYTES
        if not self._wrapped or sound == self._written:
            return
        header = wav.header(self._form, sound)
        self._head[: len(header)] = header
        if self._spooled is None:
            raise InvalidMediaError("the size of the sound was not known in time")
        # The header was written and hashed with the wrong length, and a digest can't be changed at its beginning.
        self._spooled.patch(header)
        self._digest = hashlib.sha256()
        for data in self._spooled.reread():
            self._digest.update(data)


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class WriteContext:
    """Context shared by all writes of one store."""

    backend: Backend
    configuration: Configuration
    max_file_size: int | None
    now: Callable[[], datetime]
    settle: Callable[[str, Configuration], None]
    """Creates `store.json` if this is the first write; called when nothing can be refused any more."""
    observer: Observer | None = None
    is_settled: bool = False
    """Whether the root has settings: none has to be refused any more."""

    def timestamp(self) -> datetime:
        """Return the time of what is stored now without one.

        By the clock that was given, believed as a timestamp is; this machine's own is put right by the storage's,
        for a sweep would take at once what a clock wrote that is hours behind.
        """
        now = self.now()
        if now.tzinfo is None:
            raise InvalidMediaError(
                "the store's clock gives naive times", next_step="use now=lambda: datetime.now(UTC)"
            )
        return now.astimezone(UTC) + self.backend.skew if self.now is utc_now else now.astimezone(UTC)


def stored_name(file_name: str | None, mime_type: str) -> str | None:
    """Return what a file is called once it is stored: what gets a header is no file of raw sound any more."""
    if file_name is None or not wav.is_raw(mime_type):
        return file_name
    return safe_file_name(f"{file_name.rpartition('.')[0] or file_name}.wav")


class MediaUpload:
    """One media item on its way into a store: checked at once, then written or taken, then committed or discarded.

    `path`: the reference that it gets, which must be free; None: one of our own form.
    """

    def __init__(
        self,
        context: WriteContext,
        metadata: MediaMetadata,
        mime_type: str,
        content: ContentFields,
        policy: str | None,
        path: str | None = None,
    ) -> None:
        configuration = context.configuration
        self._sound = wav.pcm_format(mime_type, content.channels)
        if self._sound is not None:
            name = stored_name(content.file_name, mime_type)
            mime_type, content = wav.WAV, content.model_copy(update={"file_name": name})
        now = context.timestamp()
        timestamp = metadata.timestamp or now
        # The metadata's own policy wins over the content's, and both over the store's default.
        name = metadata.policy_name or policy or configuration.default_policy
        self.expires_at = configuration.expires_at(name, timestamp)
        self._context = context
        self._content = content
        self._fields = {**vars(metadata), "mime_type": mime_type, "timestamp": timestamp, "policy_name": name}
        self._is_named = path is not None
        # A name that a client chose can't say where shared bytes lie, so its bytes lie under it.
        self._shares = configuration.deduplicate and path is None
        # Fresh for each attempt, so a store can be repeated, and no other writer can mean the same key.
        own = keys.plain_name(metadata.message_idx, metadata.part_idx, keys.new_unique(int(now.timestamp() * 1000)))
        self._own, self._ext = own, mime.extension_for(mime_type)
        if path is not None:
            self.reference = Reference(self._chosen(path, metadata))
        else:
            self.reference = Reference(configuration.layout.render(self._fields, own, self._ext))
            # The root counts too: a store under a deep prefix takes shorter names.
            longest = self._name_of(_LONGEST_POINTER) if self._shares else self.reference
            keys.check_lengths(longest, context.backend.root_length)
        self._data: bytes | None = None
        self._stage: Stage | None = None
        self._started: datetime | None = None
        self._writer: HashingWriter | None = None
        telemetry.note_draft(self.reference)

    def _chosen(self, path: str, metadata: MediaMetadata) -> str:
        """Check a path that a caller chose, and take the ids from it that the metadata leave open."""
        configuration = self._context.configuration
        key = keys.check_new_reference(path, self._context.backend.root_length)
        if (first := key.partition("/")[0]) in (*VIEWS, *configuration.views):
            problem = f"media:// shows a view in the folder {first}/, so nothing can be stored there"
            raise InvalidReferenceError(problem, next_step="choose another name", reference=key)
        given = {name: value for name, value in vars(metadata).items() if name in metadata.model_fields_set}
        id_field = configuration.organization.id_field
        self._fields |= fields_at(configuration.ordered_layouts, id_field, key, given)
        return key

    def _refuse_in_the_way(self, backend: Backend) -> None:
        """Refuse a path that a disk can't have beside what is there: a folder, or below a file."""
        parts = self.reference.split("/")
        above = (backend.head("/".join(parts[:number])) for number in range(1, len(parts)))
        if backend.is_folder(self.reference) or any(above):
            problem = "a folder has this name, or a file that of a folder in it"
            raise StoreConflictError(problem, next_step="choose another name")

    def take(self, data: bytes) -> None:
        """Take all bytes at once, where they are in memory anyway; they need no stage."""
        if self._sound is not None and not wav.is_wav(data):
            data = wav.header(self._sound, len(data)) + data
        self._data = data
        self._writer = HashingWriter(None, self._context.max_file_size)
        with ErrorContext(self.reference):
            self._writer.write(data)

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return 0 if self._writer is None else self._writer.size

    def begin(self, expected: int | None = None, *, is_here: bool = False) -> None:
        """Open a stage for bytes that come in pieces; `expected` is how many, where that is known.

        `is_here`: they lie on this machine, and come without a pause.
        """
        limit, backend = self._context.max_file_size, self._context.backend
        with ErrorContext(self.reference):
            # A repair aborts what has been under way for long, so what may pause is sent once all has come. So is what
            # may go to another key or need another header, what may meet another media there, and what is the first of
            # a root, which may turn out to lie in another store.
            is_sure = self._context.is_settled and not (self._shares or self._is_named or self._sound)
            if is_here and expected is not None and is_sure:
                refuse_over(limit, expected)
                # The storage may date the bytes by when they began to be sent.
                self._started = self._context.now()
                self._stage = backend.stage_file(self.reference, expected, self._fields["mime_type"])
                self._writer = HashingWriter(self._stage, limit)
                return
            # Where shared bytes will lie depends on their digest, which is known when all of them have come.
            self._stage = stage = backend.stage(_INCOMING if self._shares else self.reference)
        if self._sound is None:
            self._writer = HashingWriter(stage, limit)
        else:
            self._writer = WavWriter(stage, limit, self._sound, expected)

    def write(self, data: bytes | memoryview) -> None:
        """Take some bytes."""
        if self._writer is None:
            raise InvalidMediaError("nothing can be written here", next_step="use it in a `with` statement")
        with ErrorContext(self.reference):
            self._writer.write(data)

    def _name_of(self, pointer: Pointer) -> str:
        """Return the reference with which this item would share a generation."""
        return self._context.configuration.layout.render(self._fields, f"{self._own}{pointer.infix}", self._ext)

    def commit(self) -> Reference:
        """Store it: run the steps of a store and return the reference."""
        prepared = self.prepare()
        if isinstance(prepared, SharedStoreOperation):
            commit.store_shared(prepared)
        else:
            commit.raise_first((commit.create if self._is_named else commit.store)([prepared]))
        return self.settled(prepared)

    def settled(self, prepared: StoreOperation | SharedStoreOperation) -> Reference:
        """Note that it is stored and return its reference."""
        telemetry.forget_draft(self.reference)
        self.reference = Reference(prepared.reference)
        if telemetry.is_observed():
            telemetry.add_facts(
                "store", reference=self.reference, size_bytes=self.size, **telemetry.media_facts(self._fields)
            )
        return self.reference

    def prepare(self) -> StoreOperation | SharedStoreOperation:
        """Return the operation that stores it; nothing can be refused any more."""
        writer, stored = self._writer, self._data if self._stage is None else self._stage
        if writer is None or stored is None:
            raise InvalidMediaError("nothing was written")
        with ErrorContext(self.reference):
            writer.finish()
        mime_type, expires_at, context = self._fields["mime_type"], self.expires_at, self._context
        sidecar = Sidecar.of_bytes(self._fields, self._content, writer, expires_at=expires_at)
        # After all checks and before the first key of the item: a store that can't take it does not come into being,
        # and no item lies in a root without settings.
        with ErrorContext(self.reference):
            context.settle(self.reference, context.configuration)
            if self._is_named and context.backend.looking_is_free:
                self._refuse_in_the_way(context.backend)
        backend, rest = context.backend, (context.now, expires_at, context.configuration.orphan_grace)
        if not self._shares:
            text = sidecar.dump()
            facts = (backend, self.reference, stored, mime_type, text)
            operation = StoreOperation(*facts, *rest, started=self._started)
            if self._is_named:
                # It replaces nothing, so whatever lies there gives it nothing.
                operation.remake = lambda _: (text, expires_at)
            return operation

        def sidecar_of(marker: str) -> bytes:
            return sidecar.with_marker(marker).dump()

        data = cast("bytes | SpooledStage", stored)
        shared = (backend, writer.sha256, writer.size, self._name_of, *rest)
        return SharedStoreOperation(*shared, data=data, mime_type=mime_type, sidecar_of=sidecar_of)

    def discard(self) -> None:
        """Remove what was staged; does nothing to what was committed."""
        if self._stage is not None:
            self._stage.discard()


def draft_of(
    context: Callable[[], WriteContext], content: MediaContent, metadata: MediaMetadata, path: str | None = None
) -> MediaUpload:
    """Return the draft of a caller's media; the context is asked for once both are of their kinds."""
    for name, value, kind in (("content", content, MediaContent), ("metadata", metadata, MediaMetadata)):
        if not isinstance(value, kind):
            raise InvalidMediaError(
                f"{name} must be a {kind.__name__}, not {type(value).__name__}",
                next_step=f"make one: {kind.__name__}(...)",
            )
    return MediaUpload(context(), metadata, _stored_type(content, metadata), content, content.policy_name, path)


def _said(metadata: MediaMetadata) -> str:
    """Return the MIME type that a caller put into metadata; a record's is what a store told."""
    return "" if isinstance(metadata, MediaRecord) else metadata.mime_type


def _stored_type(content: MediaContent, metadata: MediaMetadata) -> str:
    """Return the MIME type as which a content is stored: what was said before what was guessed.

    InvalidMediaError if content and metadata say different ones.
    """
    own, said = content.mime_type, _said(metadata)
    if not said or (wav.is_raw(own) and mime.reconcile(wav.WAV, said)):  # raw sound is stored as WAV
        return own
    if content.is_type_guessed and mime.essence(own) != mime.essence(said):
        return said
    found = mime.reconcile(own, said)
    if found is None:
        raise InvalidMediaError(
            f"the content is said to be {own}, and its metadata {said}",
            next_step="give mime_type once, in MediaContent or in MediaMetadata",
        )
    return found


def store_media(
    context: Callable[[], WriteContext],
    content: MediaContent,
    metadata: MediaMetadata,
    rules: Callable[[], SourceRules],
    path: str | None = None,
) -> Reference:
    """Store a media from whatever its content names; see `MediaStore.store_media`."""
    draft = draft_of(context, content, metadata, path)
    data = small_bytes(content)
    if data is not None:
        draft.take(data)
        return draft.commit()
    with open_source(content, rules()) as source:
        if source.mime_type is not None and not _said(metadata):
            # The source knows better than its content: the name ends in the type, so it is another draft.
            telemetry.forget_draft(draft.reference)
            draft = MediaUpload(context(), metadata, source.mime_type, content, content.policy_name, path)
        try:
            if source.data is not None:
                draft.take(source.data)
            else:
                draft.begin(source.size, is_here=content.url is None)
                for chunk in source.chunks:
                    draft.write(chunk)
            return draft.commit()
        finally:
            draft.discard()


class MediaWriter:
    """Writer that `create_media` returns: a context manager that takes bytes as they come.

    The media item exists once the `with` block has ended without an error, and not at all otherwise.
    """

    def __init__(self, upload: MediaUpload, observer: Observer | None = None) -> None:
        self._upload = upload
        self._state = "new"
        self._observer = observer
        self._running: RunningOperation | None = None

    def __enter__(self) -> Self:
        if self._state != "new":
            raise InvalidMediaError("was used already", next_step="call create_media again")
        self._running = None if self._observer is None else self._observer.begin("store")
        try:
            self._upload.begin()
        except BaseException as error:
            if self._running is not None:
                with self._running as running:
                    running.fail(error)
            raise
        self._state = "open"
        return self

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes and return how many.

        Raises
        ------
        MediaTooLargeError
            They are more than the store takes; nothing will be stored.
        """
        if self._state != "open":
            raise InvalidMediaError("is not open", next_step="write inside the `with` block")
        if isinstance(data, str):
            raise InvalidMediaError("takes bytes, not str", next_step="encode text first")
        try:
            view = memoryview(data)
        except TypeError:
            raise InvalidMediaError(f"takes bytes, not {type(data).__name__}") from None
        view = view.cast("B") if view.c_contiguous else memoryview(bytes(view))
        try:
            self._upload.write(view)
        except BaseException:
            # Count and digest may be ahead of what was written: nothing that is interrupted here may be stored.
            self._state = "failed"
            self._upload.discard()
            raise
        return len(view)

    def give_up(self) -> None:
        """Discard what was written; nothing will be stored. Does nothing to what is stored."""
        if self._state == "open":
            self._state = "failed"
            self._upload.discard()

    def writable(self) -> bool:
        """Return whether it takes bytes now, as file objects do."""
        return self._state == "open"

    @property
    def reference(self) -> Reference:
        """The reference, once the item is stored."""
        if self._state != "stored":
            raise InvalidMediaError("is not stored yet", next_step="read .reference after the `with` block")
        return self._upload.reference

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._running or nullcontext():
            if error is not None and self._running is not None:
                self._running.fail(error)
            if self._state == "open":
                # Until it is stored: an error in the commit, an interrupt too, leaves it failed.
                self._state = "failed"
                try:
                    if error is None:
                        self._upload.commit()
                        self._state = "stored"
                finally:
                    self._upload.discard()
            elif error is None:
                raise InvalidMediaError("was given up: an earlier write failed", next_step="store it again")

    def __repr__(self) -> str:
        return f"<MediaWriter {self._state} {self._upload.reference!r}>"


@dataclass(frozen=True, slots=True)
class SourceRules:
    """Limits that a store sets to its sources."""

    max_size: int | None  # most bytes of one media item; None takes any number
    timeout: timedelta  # longest wait for a connection to a URL, and for each of its answers
    allow_private: bool  # whether a URL may lead to this machine or its own network
    open_stored: Callable[[str], BinaryIO]  # opens a media item of the same store
    trust_proxy: bool = False  # whether URLs are asked for through the proxy of the environment


class Source(NamedTuple):
    """An opened source."""

    chunks: Iterable[bytes]  # the bytes, to be taken once
    data: bytes | None = None  # the bytes, if they are in memory anyway
    size: int | None = None  # how many there will be, where the source can tell; a hint, not a promise
    mime_type: str | None = None  # what the source says they are, where that tells more than the content does


def small_bytes(content: MediaContent) -> bytes | None:
    """Return the bytes if the content has them in memory."""
    return content.data if isinstance(content.data, bytes) else None


def is_small_file(content: MediaContent, most: int) -> bool:
    """Return whether the content names a regular file of at most so many bytes; a pipe is not even opened."""
    try:
        found = Path(content.file_path or "").stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size <= most


@contextmanager
def open_source(content: MediaContent, rules: SourceRules) -> Iterator[Source]:
    """Open the source of a content; what it can tell of its size is checked before it is read."""
    # `data` wins over `file_path`, as PromptKit has it; `url` never stands beside either.
    if isinstance(content.data, bytes):
        yield Source((content.data,), content.data)
    elif content.data is not None:
        yield Source(read_chunks(content.data), None, _known_size(content.data))
    elif content.file_path is not None:
        with _open_file(content.file_path, rules.max_size) as file:
            yield Source(read_chunks(file), None, _bytes_left(file))
    elif content.url is not None:
        with _open_url_source(content.url, content.mime_type, rules) as source:
            yield source
    else:
        # By the content's own way to its bytes, which may lead to another store; else in this one.
        stored = content.open() if content.is_attached else rules.open_stored(content.storage_reference or "")
        with stored as file:
            yield Source(read_chunks(file))


@contextmanager
def _open_url_source(url: str, mime_type: str, rules: SourceRules) -> Iterator[Source]:
    is_unknown, max_size = mime_type == _UNKNOWN_TYPE, rules.max_size
    if url[:5].lower() == "data:":
        kind, data = read_data_url(url, max_size=max_size)
        yield Source((data,), data, len(data), kind if is_unknown else None)
        return
    private, proxy = rules.allow_private, rules.trust_proxy
    with open_url(url, timeout=rules.timeout, max_size=max_size, allow_private=private, trust_proxy=proxy) as download:
        yield Source(download.chunks(), None, download.size, download.mime_type if is_unknown else None)


def _known_size(stream: BinaryIO) -> int | None:
    """Return how many bytes a source will give; None where only reading it would show that."""
    # Only streams of known kinds: some others (gzip over a pipe) say that they can seek, and lose what they pass.
    # Only a hint: a stream that can't tell is read all the same.
    with ForeignCall():
        if isinstance(stream, io.BytesIO):
            return max(0, stream.getbuffer().nbytes - stream.tell())
        if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO):
            return _bytes_left(stream)
    return None


def _bytes_left(file: BinaryIO) -> int | None:
    """Return the bytes left in a regular file; None for a pipe and the like."""
    try:
        found = os.fstat(file.fileno())
        return max(0, found.st_size - file.tell()) if stat.S_ISREG(found.st_mode) else None
    except (OSError, ValueError):
        return None


def read_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Read a caller's stream in pieces; `InvalidMediaError` where it gives no bytes."""
    while True:
        try:
            data = stream.read(CHUNK_BYTES)
        except MediaError:
            raise
        except Exception as error:
            # A codec's, an archive's: streams raise what they like.
            raise InvalidMediaError(
                f"the source can't be read ({type(error).__name__}: {str(error)[:200]})",
                next_step="open it in binary mode, and keep it open",
            ) from error
        if data is None or isinstance(data, str):
            kind = "text" if isinstance(data, str) else "nothing (it does not block)"
            raise InvalidMediaError(f"the source gives {kind}, not bytes", next_step="open it in binary mode")
        if not data:
            return
        yield data


def _open_file(path: str, max_size: int | None) -> BinaryIO:
    """Open a caller's file of an allowed size, which the caller closes; what is no file is refused."""
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - the caller closes it
    except (FileNotFoundError, NotADirectoryError):
        raise MediaNotFoundError("no such file to store", next_step="check file_path", key=path) from None
    except IsADirectoryError:
        raise InvalidMediaError("is a folder, not a file", next_step="store its files one by one", key=path) from None
    except (OSError, ValueError) as error:
        reason = errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__)
        raise StorageError(f"can't be read ({reason})", next_step="check file_path", key=path) from error
    try:
        # The size of a pipe or a device says nothing.
        refuse_over(max_size, _bytes_left(file) or 0)
    except MediaError:
        file.close()
        raise
    return file
