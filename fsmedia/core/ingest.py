"""A media that is being written: checked against the store, staged, then committed or discarded.

`MediaStore.store_media` and `create_media` both go through here, so every source meets the same checks.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self

from fsmedia.core import commit, telemetry
from fsmedia.core.commit import SharedStoreOperation, StoreOperation, about, confirmed, store
from fsmedia.core.download import open_url
from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, MediaTooLargeError, StorageError
from fsmedia.format import keys, wav
from fsmedia.format import sidecar as measures
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import AttributedMetadata, Reference, mime
from fsmedia.models.urls import read_data_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import timedelta
    from types import TracebackType

    from fsmedia.core.telemetry import Observer, Watch
    from fsmedia.format.keys import Pointer
    from fsmedia.format.settings import Configuration
    from fsmedia.format.wav import PcmFormat
    from fsmedia.models import ContentFields, MediaContent, MediaMetadata
    from fsmedia.storage import Backend, Stage

HEAD_BYTES = 8192
"""Bytes kept from the beginning, to tell what they are."""
_WORTH_A_THREAD = 256 * 1024


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


class Intake:
    """Takes bytes as they come: counts, hashes, keeps the first, passes them on.

    Parameters
    ----------
    stage
        Where they go; None only looks at them.
    max_size
        Most bytes to take; None takes any number.
    """

    def __init__(self, stage: Stage | None, max_size: int | None) -> None:
        self._stage = stage
        self._max_size = max_size
        self._digest = hashlib.sha256()
        self._hasher: ThreadPoolExecutor | None = None
        self.size = 0
        self.head = b""

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes.

        Raises
        ------
        MediaTooLargeError
            They are too many.
        """
        self.size += len(data)
        if self._max_size is not None and self.size > self._max_size:
            raise too_large(self._max_size)
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(data[: HEAD_BYTES - len(self.head)])
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
                hashed.result()  # before the caller may change the bytes

    def finish(self) -> None:
        """Take note that all bytes have come."""
        if self._hasher is not None:
            self._hasher.shutdown(wait=False)

    @property
    def sha256(self) -> str:
        """Digest of what was taken so far, as lower-case hex."""
        return self._digest.hexdigest()


class SoundIntake(Intake):
    """Takes raw sound and puts a WAV header in front; what is a WAV file already stays as it is.

    The header tells how much sound follows it. If that was not known or was wrong, it is corrected at the end and
    the stage is read once more for the digest.

    Parameters
    ----------
    form
        Format of the samples.
    expected
        Bytes of sound that will come, where the source can tell.
    """

    def __init__(self, stage: Stage | None, max_size: int | None, form: PcmFormat, expected: int | None) -> None:
        super().__init__(stage, max_size)
        self._form = form
        self._written = expected if expected is not None and 0 <= expected <= wav.LARGEST else 0
        self._first: bytes | None = b""
        self._wrapped = False

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes; the first few decide whether they are raw."""
        if self._first is None:
            super().write(data)
        else:
            self._first += bytes(data)
            if len(self._first) >= wav.HEADER_BYTES:
                self._decide()
        if self._wrapped:
            wav.header(self._form, self.size - wav.HEADER_BYTES)  # raises once it is too much for a WAV file

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
            if not self._wrapped and not wav.is_wav(self._first):
                self._written = len(self._first)
            self._decide()
        sound = self.size - wav.HEADER_BYTES
        if not self._wrapped or sound == self._written:
            return
        header = wav.header(self._form, sound)
        self.head = header + self.head[len(header) :]
        if self._stage is None:
            raise InvalidMediaError("the size of the sound was not known in time")
        self._stage.patch(header)
        self._digest = hashlib.sha256()
        for data in self._stage.reread():
            self._digest.update(data)


def too_large(max_size: int) -> MediaTooLargeError:
    """Say that a media is over the limit."""
    return MediaTooLargeError(
        f"larger than the store's max_file_size of {max_size} bytes", next_step="open the store with a larger one"
    )


_INCOMING = f"{keys.BLOBS}/incoming"
_LONGEST = keys.Pointer(10**15, "0" * 64, "0" * 26)


@dataclass(frozen=True, slots=True)
class WriteContext:
    """What of a store a draft needs."""

    backend: Backend
    configuration: Configuration
    max_file_size: int | None
    now: Callable[[], datetime]
    settle: Callable[[str, Configuration], None]
    """Writes `store.json` if this is the first write; called when nothing can be refused any more."""
    observer: Observer | None = None


class Draft:
    """One media before its commit.

    Raises
    ------
    InvalidMediaError, InvalidLayoutError, UnknownPolicyError
        The metadata do not fit the store; nothing was written.
    """

    def __init__(
        self,
        context: WriteContext,
        metadata: MediaMetadata,
        mime_type: str,
        content: ContentFields,
        policy_name: str | None,
    ) -> None:
        configuration = context.configuration
        self._sound = wav.pcm_format(mime_type, content.channels)
        if self._sound is not None:
            mime_type = wav.WAV
        now = context.now()
        if now.tzinfo is None:
            raise InvalidMediaError(
                "the store's clock gives naive times", next_step="use now=lambda: datetime.now(UTC)"
            )
        now = now.astimezone(UTC)
        timestamp = metadata.timestamp or now
        name = metadata.policy_name or policy_name or configuration.default_policy
        policy = find_policy(name, configuration.policies) if name else None
        self._expires_at = expires_at(policy, timestamp)
        self._write_context = context
        self._content = content
        self._xattrs = metadata.xattrs if isinstance(metadata, AttributedMetadata) else None
        self._fields = {**vars(metadata), "mime_type": mime_type, "timestamp": timestamp, "policy_name": name}
        own = keys.plain_name(metadata.message_idx, metadata.part_idx, keys.new_unique(int(now.timestamp() * 1000)))
        self._own, self._ext = own, mime.extension_for(mime_type)
        self.reference = Reference(configuration.layout.render(self._fields, own, self._ext))
        longest = self._name_of(_LONGEST) if configuration.deduplicate else self.reference
        keys.check_lengths(longest, context.backend.root_length)
        self._data: bytes | None = None
        self._stage: Stage | None = None
        self._intake: Intake | None = None

    def take(self, data: bytes) -> None:
        """Take all bytes at once, where they are in memory anyway."""
        if self._sound is not None and not wav.is_wav(data):
            data = wav.header(self._sound, len(data)) + data
        self._data = data
        self._intake = Intake(None, self._write_context.max_file_size)
        with about(self.reference):
            self._intake.write(data)

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return 0 if self._intake is None else self._intake.size

    def begin(self, expected: int | None = None) -> None:
        """Open a stage for bytes that come in pieces; `expected` is how many, where that is known."""
        limit = self._write_context.max_file_size
        with about(self.reference):
            # Where shared bytes will lie is known when all of them are.
            key = _INCOMING if self._write_context.configuration.deduplicate else self.reference
            self._stage = self._write_context.backend.stage(key)
        if self._sound is None:
            self._intake = Intake(self._stage, limit)
        else:
            self._intake = SoundIntake(self._stage, limit, self._sound, expected)

    def write(self, data: bytes | memoryview) -> None:
        """Take some bytes."""
        if self._intake is None:
            raise InvalidMediaError("nothing can be written here", next_step="use it in a `with` statement")
        with about(self.reference):
            self._intake.write(data)

    def _name_of(self, pointer: Pointer) -> str:
        """Return the reference under which this media would share a generation."""
        return self._write_context.configuration.layout.render(
            self._fields, keys.shared_name(self._own, pointer), self._ext
        )

    def commit(self) -> Reference:
        """Make the media exist."""
        prepared = self.prepare()
        if isinstance(prepared, SharedStoreOperation):
            commit.store_shared(prepared)
        else:
            confirmed(store([prepared]))
        return self.settled(prepared)

    def settled(self, prepared: StoreOperation | SharedStoreOperation) -> Reference:
        """Return the reference under which it was stored."""
        self.reference = Reference(prepared.reference)
        if telemetry.is_watched():
            telemetry.tell("store", reference=self.reference, size_bytes=self.size, **telemetry.told_of(self._fields))
        return self.reference

    def prepare(self) -> StoreOperation | SharedStoreOperation:
        """Return the media ready for the steps of a store; nothing can be refused any more."""
        intake, stored = self._intake, self._data if self._stage is None else self._stage
        if intake is None or stored is None:
            raise InvalidMediaError("nothing was written")
        with about(self.reference):
            intake.finish()
        mime_type = self._fields["mime_type"]
        measured = measures.measured(self._content, mime_type, intake.head, intake.size)
        sidecar = Sidecar.build(
            {**self._fields, "size_bytes": intake.size},
            {**vars(self._content), **measured},
            sha256=intake.sha256,
            expires_at=self._expires_at,
            detected_mime_type=mime.agrees(mime_type, intake.head),
            xattrs=self._xattrs,
        )
        with about(self.reference):
            self._write_context.settle(self.reference, self._write_context.configuration)
        context = self._write_context
        if context.configuration.deduplicate:
            return SharedStoreOperation(
                backend=context.backend,
                digest=intake.sha256,
                size=intake.size,
                data=stored,
                mime_type=mime_type,
                name_of=self._name_of,
                sidecar_of=lambda marker: sidecar.with_marker(marker).dump(),
                now=context.now,
                expires_at=self._expires_at,
                grace=context.configuration.orphan_grace,
            )
        return StoreOperation(
            context.backend,
            self.reference,
            stored,
            mime_type,
            sidecar.dump(),
            context.now,
            self._expires_at,
            context.configuration.orphan_grace,
        )

    def discard(self) -> None:
        """Leave nothing behind; does nothing to what was committed."""
        if self._stage is not None:
            self._stage.discard()


class MediaWriter:
    """What `create_media` hands out: a context manager to write bytes as they come.

    The media exists when the `with` block ends without an error, and not at all otherwise.
    """

    def __init__(self, draft: Draft, observer: Observer | None = None) -> None:
        self._draft = draft
        self._state = "new"
        self._observer = observer
        self._watch: Watch | None = None

    def __enter__(self) -> Self:
        if self._state != "new":
            raise InvalidMediaError("was used already", next_step="call create_media again")
        self._watch = None if self._observer is None else self._observer.begin("store")
        try:
            self._draft.begin()
        except BaseException as error:
            if self._watch is not None:
                with self._watch as watch:
                    watch.fail(error)
            raise
        self._state = "open"
        return self

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes and return how many.

        Raises
        ------
        MediaTooLargeError
            They are more than the store takes; the media is given up.
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
            self._draft.write(view)
        except BaseException:
            # Count and digest may be ahead of what was written: nothing that is interrupted here may be stored.
            self._state = "failed"
            self._draft.discard()
            raise
        return len(view)

    def give_up(self) -> None:
        """Let go of what was written; nothing will be stored. Does nothing to what is stored."""
        if self._state == "open":
            self._state = "failed"
            self._draft.discard()

    def writable(self) -> bool:
        """Tell that this is for writing, as file objects do."""
        return self._state == "open"

    @property
    def reference(self) -> Reference:
        """The reference, once the media is stored."""
        if self._state != "stored":
            raise InvalidMediaError("is not stored yet", next_step="read .reference after the `with` block")
        return self._draft.reference

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is None:
            self._leave(error)
            return
        with self._watch as watch:
            if error is not None:
                watch.fail(error)
            self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        if self._state != "open":
            if error is None:
                raise InvalidMediaError("was given up: an earlier write failed", next_step="store it again")
            return
        self._state = "failed"
        try:
            if error is None:
                self._draft.commit()
                self._state = "stored"
        finally:
            self._draft.discard()

    def __repr__(self) -> str:
        return f"<MediaWriter {self._state} {self._draft.reference!r}>"


CHUNK_BYTES = 2**20
"""Bytes read at once from a source."""
_UNTOLD = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class SourceRules:
    """What a store allows its sources.

    Attributes
    ----------
    max_size
        Most bytes of one media; None takes any number.
    timeout
        Longest wait for a connection to a URL, and for each of its answers.
    allow_private
        Whether a URL may lead to this machine or its own network.
    open_stored
        Opens a media of the same store.
    """

    max_size: int | None
    timeout: timedelta
    allow_private: bool
    open_stored: Callable[[str], BinaryIO]


class Source(NamedTuple):
    """An opened source.

    Attributes
    ----------
    chunks
        The bytes, to be taken once.
    data
        The bytes, if they are in memory anyway.
    size
        How many there will be, where the source can tell; a hint, not a promise.
    mime_type
        What the source says they are, where that tells more than the content does.
    """

    chunks: Iterable[bytes]
    data: bytes | None = None
    size: int | None = None
    mime_type: str | None = None


def small_bytes(content: MediaContent) -> bytes | None:
    """Return the bytes if the content has them in memory."""
    return content.data if isinstance(content.data, bytes) else None


def is_small_file(content: MediaContent, most: int) -> bool:
    """Tell whether the content names a regular file of at most so many bytes; a pipe is not even opened."""
    try:
        found = Path(content.file_path or "").stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size <= most


@contextmanager
def opened(content: MediaContent, rules: SourceRules) -> Iterator[Source]:
    """Open the source of a content; what it can tell of its size is checked before it is read.

    Raises
    ------
    InvalidMediaError
        The source can't be read as bytes, or leads where it must not.
    MediaNotFoundError
        The file or the stored media does not exist.
    MediaTooLargeError
        It says that it is too large.
    StorageError
        It can't be read now.
    """
    if content.data is not None:
        data = small_bytes(content)
        yield Source(_stream(content.data), None, _size_of(content)) if data is None else Source((data,), data)
    elif content.file_path is not None:
        with _file(content.file_path, rules.max_size) as file:
            yield Source(_stream(file), None, _left_of(file))
    elif content.url is not None:
        with _opened_url(content.url, content.mime_type, rules) as source:
            yield source
    else:
        with _stored(content, rules) as file:
            yield Source(_stream(file))


def _stored(content: MediaContent, rules: SourceRules) -> BinaryIO:
    """Open by the content's own way to its bytes, which may lead to another store; else in this one."""
    if content.is_attached:
        return content.open()
    return rules.open_stored(content.storage_reference or "")


@contextmanager
def _opened_url(url: str, mime_type: str, rules: SourceRules) -> Iterator[Source]:
    if url[:5].lower() == "data:":
        kind, data = read_data_url(url, max_size=rules.max_size)
        yield Source((data,), data, len(data), kind if mime_type == _UNTOLD else None)
        return
    with open_url(url, timeout=rules.timeout, max_size=rules.max_size, allow_private=rules.allow_private) as download:
        yield Source(download.chunks(), None, download.size, download.mime_type if mime_type == _UNTOLD else None)


def _size_of(content: MediaContent) -> int | None:
    """Return how many bytes a source will give, where it can tell without being read or moved.

    A stranger's stream is never moved to ask it: some (gzip over a pipe) say that they can seek, and lose what they
    pass.
    """
    stream = content.data
    if isinstance(stream, bytes):
        return len(stream)
    try:
        if isinstance(stream, io.BytesIO):
            return max(0, stream.getbuffer().nbytes - stream.tell())
        if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO):
            return _left_of(stream)
    except Exception:  # noqa: BLE001 - only a hint: a stream that can't tell is read all the same
        return None
    return None


def _left_of(file: BinaryIO) -> int | None:
    """Return the bytes left in a regular file; None for a pipe and the like."""
    try:
        found = os.fstat(file.fileno())
        return max(0, found.st_size - file.tell()) if stat.S_ISREG(found.st_mode) else None
    except (OSError, ValueError):
        return None


def _stream(stream: BinaryIO) -> Iterator[bytes]:
    while True:
        try:
            data = stream.read(CHUNK_BYTES)
        except MediaError:
            raise
        except Exception as error:  # a codec's, an archive's: streams raise what they like
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


def _file(path: str, max_size: int | None) -> BinaryIO:
    """Open a caller's file, refusing what is no file before anything is written."""
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - the caller closes it
    except (FileNotFoundError, NotADirectoryError):
        raise MediaNotFoundError("no such file to store", next_step="check file_path", key=path) from None
    except IsADirectoryError:
        raise InvalidMediaError("is a folder, not a file", next_step="store its files one by one", key=path) from None
    except (OSError, ValueError) as error:
        reason = errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__)
        raise StorageError(f"can't be read ({reason})", next_step="check file_path", key=path) from error
    found = os.fstat(file.fileno())
    if max_size is not None and stat.S_ISREG(found.st_mode) and found.st_size > max_size:
        file.close()
        raise too_large(max_size)
    return file
