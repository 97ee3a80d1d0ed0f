"""Carrying media into a store in the background: a bounded queue, a few threads, an end that waits a bounded time.

Whoever hands something over gets its URL at once, or None; neither a slow nor a broken storage reaches them. What
does not fit into the queue is refused, what can't be stored is logged, both with their reference. Forked children
start with an empty queue.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from opentelemetry import context
from opentelemetry.trace import format_trace_id

from fsmedia.core.ingest import MediaUpload, WriteContext
from fsmedia.errors import MediaError
from fsmedia.models import MediaContent, MediaMetadata
from fsmedia.store import MediaStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from os import PathLike
    from typing import Unpack

    from opentelemetry.trace import Span

    from fsmedia.models import Reference
    from fsmedia.store import StoreSettings


@dataclass(frozen=True, slots=True)
class Promise:
    """A media that is not stored yet.

    Attributes
    ----------
    url
        Where any fsspec client will find it: a `media://` URL, without secrets.
    """

    url: str
    draft: MediaUpload

    @property
    def reference(self) -> Reference:
        """Under which it will be stored."""
        return self.draft.reference

    def keep(self, data: bytes) -> None:
        """Store it.

        Raises
        ------
        MediaTooLargeError, StorageError
            It can't be, and its reference names nothing.
        """
        self.draft.take(data)
        self.draft.commit()


class Shelf(MediaStore):
    """A `MediaStore` for what is named first and written later.

    Bytes always lie at their reference, also in a store that shares equal ones, where a name is only known once they
    are written; `MediaStore.deduplicate` lets them share later, and finds them by the old reference.
    """

    def promise(self, mime_type: str, metadata: MediaMetadata) -> Promise:
        """Name a media; nothing is written yet, and in a store that was made (`create`) nothing is read either.

        Raises
        ------
        InvalidMediaError, InvalidLayoutError, UnknownPolicyError
            It can't be stored like that.
        """
        write_context = self._write_context()
        settings = write_context.configuration
        plain = WriteContext(
            write_context.backend,
            replace(settings, deduplicate=False),
            write_context.max_file_size,
            write_context.now,
            write_context.settle,
        )
        content = MediaContent(data=b"", mime_type=mime_type)
        draft = MediaUpload(
            plain, self._with_id(metadata, settings.organization.id_field), content.mime_type, content, None
        )
        return Promise(self.media_url(draft.reference), draft)

    def _with_id(self, metadata: MediaMetadata, needed: str) -> MediaMetadata:
        """Give a media without the id that this store is organized by that of its run, a trace."""
        if getattr(metadata, needed):
            return metadata
        return metadata.model_copy(update={needed: metadata.run_id})


_THREADS = 4
_REMEMBERED = 1024
_WAITING = 256
_WAITING_BYTES = 256 * 2**20
_PATIENCE = timedelta(seconds=10)
_log = logging.getLogger("fsmedia.sinks")


@dataclass(frozen=True, slots=True)
class _Parcel:
    """One media on its way."""

    promise: Promise
    produce: Callable[[], bytes]
    size: int
    same: tuple[str, str, str] | None


class _Queue:
    """What is on its way, in one process.

    Its threads are daemons, so that the program's end waits for `_finish_all` and no longer.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.process = os.getpid()
        self.count = self.size = 0
        self.closed = False
        self.known: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self._waiting: SimpleQueue[_Parcel | None] = SimpleQueue()
        self._threads = 0

    def take(self, parcel: _Parcel, most: int, most_bytes: int) -> bool:
        """Take a parcel; False if there is no room. A single one may be of any size."""
        with self.changed:
            if self.closed or self.count >= most or (self.count and self.size + parcel.size > most_bytes):
                why = "the sink was shut down" if self.closed else f"{self.count} media wait already"
                _log.warning("%s: dropped, %s", parcel.promise.reference, why)
                return False
            self.count += 1
            self.size += parcel.size
            if parcel.same is not None:
                self.known[parcel.same] = parcel.promise.url
                if len(self.known) > _REMEMBERED:
                    self.known.popitem(last=False)
            if self._threads < min(_THREADS, self.count):
                self._threads += 1
                threading.Thread(target=self._work, name="fsmedia-sink", daemon=True).start()
            self._waiting.put(parcel)
            return True

    def _work(self) -> None:
        context.attach(_unwatched())  # the thread is ours alone
        while (parcel := self._waiting.get()) is not None:
            stored = False
            try:
                parcel.promise.keep(parcel.produce())
                stored = True
            except Exception as error:  # noqa: BLE001 - nobody waits for an answer
                text = f": {error}" if isinstance(error, MediaError) else ""
                _log.warning("%s: not stored, %s%s", parcel.promise.reference, type(error).__name__, text)
            finally:
                self._done(parcel, stored=stored)

    def _done(self, parcel: _Parcel, *, stored: bool) -> None:
        with self.changed:
            self.count -= 1
            self.size -= parcel.size
            if not stored and parcel.same is not None:
                self.known.pop(parcel.same, None)
            self.changed.notify_all()

    def close(self) -> None:
        """Let the threads go; what no thread has begun is given up."""
        with suppress(Empty):
            while True:
                parcel = self._waiting.get_nowait()
                if parcel is not None:
                    self._done(parcel, stored=False)
        for _ in range(self._threads):
            self._waiting.put(None)


class Courier:
    """Stores what it is given, later.

    Parameters
    ----------
    url
        The store's root; None takes `$FSMEDIA_URL`.
    most, most_bytes
        How many media, and how many bytes of them, may wait; what comes then is refused.
    patience
        How long the end of the program waits for what is still on its way.
    options
        What `MediaStore` takes: `storage_options`, `default_policy`, ...

    Raises
    ------
    MediaError
        The store can't be opened, or its settings can't be written.
    """

    def __init__(
        self,
        url: str | PathLike[str] | None = None,
        *,
        most: int = _WAITING,
        most_bytes: int = _WAITING_BYTES,
        patience: timedelta = _PATIENCE,
        **options: Unpack[StoreSettings],
    ) -> None:
        self._most, self._most_bytes = most, most_bytes
        self.patience = patience
        self._store = Shelf(url, **options).create()
        self._queue = _Queue()
        _couriers.add(self)

    @property
    def url(self) -> str:
        """The store's root, without user, password or query."""
        return self._store.url

    def send(self, data: bytes, mime_type: str, metadata: MediaMetadata, *, digest: str) -> str | None:
        """Hand over a media; return its URL, or None if it is refused.

        Bytes that this run handed over before, as the same type, are not stored again.

        Parameters
        ----------
        digest
            Hex SHA-256 of the bytes.
        """
        queue = self._here()
        same = (metadata.run_id, digest, mime_type)
        with queue.changed:
            if same in queue.known:
                queue.known.move_to_end(same)
                return queue.known[same]
        return self.make(lambda: data, len(data), mime_type, metadata, same=same)

    def make(
        self,
        produce: Callable[[], bytes],
        size: int,
        mime_type: str,
        metadata: MediaMetadata,
        *,
        same: tuple[str, str, str] | None = None,
    ) -> str | None:
        """Hand over a media whose bytes are made in the background; return its URL, or None if it is refused.

        Parameters
        ----------
        size
            About how many bytes it holds meanwhile.
        same
            What it has in common with others that need not be stored again.
        """
        queue = self._here()
        token = context.attach(_unwatched())
        try:
            promise = self._store.promise(mime_type, metadata)
        except MediaError as error:
            _log.warning("refused: %s", error)
            return None
        finally:
            context.detach(token)
        parcel = _Parcel(promise, produce, size, same)
        return promise.url if queue.take(parcel, self._most, self._most_bytes) else None

    def _here(self) -> _Queue:
        """Return this process's queue: a forked child has neither the threads nor what they carried."""
        if self._queue.process != os.getpid():
            self._queue = _Queue()
        return self._queue

    def flush(self, timeout: timedelta = _PATIENCE) -> bool:
        """Wait until nothing is on its way; False if that took too long."""
        queue = self._here()
        with queue.changed:
            return queue.changed.wait_for(lambda: not queue.count, max(0.0, timeout.total_seconds()))

    def shutdown(self, timeout: timedelta = _PATIENCE) -> bool:
        """Take nothing any more, and wait as `flush` does; what is then still waiting is given up."""
        queue = self._here()
        with queue.changed:
            queue.closed = True
        done = self.flush(timeout)
        if not done:
            _log.warning("%d media were not stored in time", queue.count)
        queue.close()
        return done

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.url}>"


def seconds(number: float) -> timedelta:
    """Return a time that others give in seconds, at most a year."""
    return timedelta(seconds=min(max(0.0, number), 365 * 86400.0))


def _unwatched() -> context.Context:
    """Return a context in which instrumented clients make no spans: what keeps traces must not make new ones."""
    return context.set_value("suppress_instrumentation", value=True)


_couriers: weakref.WeakSet[Courier] = weakref.WeakSet()


def _finish_all() -> None:
    """Give what is on its way its time, and no more."""
    for courier in list(_couriers):
        courier.shutdown(courier.patience)


# Before the pools of threads close, without which an object store's client can't look up names any more; an ordinary
# exit function comes after them.
getattr(threading, "_register_atexit", atexit.register)(_finish_all)
UNTRACED = "untraced"
"""The run of what belongs to no trace."""
_CONVERSATION = "gen_ai.conversation.id"
_SESSION = "session.id"
_PROVIDERS = ("gen_ai.provider.name", "llm.provider", "gen_ai.system")


def metadata_of(span: Span | None, attributes: Mapping[str, Any] | None = None) -> MediaMetadata:
    """Return run, conversation, session and provider; what is not said, or can't be an id, stays empty.

    Parameters
    ----------
    attributes
        Asked first; then those of the span, where it lets them be read.
    """
    said = {**(getattr(span, "attributes", None) or {}), **(attributes or {})}
    trace = span.get_span_context() if span is not None else None
    run = format_trace_id(trace.trace_id) if trace is not None and trace.is_valid else UNTRACED
    try:
        return MediaMetadata(
            run_id=run,
            conversation_id=_first(said, _CONVERSATION),
            session_id=_first(said, _SESSION),
            provider_id=_first(said, *_PROVIDERS),
        )
    except MediaError:
        return MediaMetadata(run_id=run)


def _first(said: Mapping[str, Any], *names: str) -> str:
    return next((said[name] for name in names if isinstance(said.get(name), str)), "")
