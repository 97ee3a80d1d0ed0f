"""Storing media in the background: a bounded queue, a few threads, and an end that waits a bounded time.

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Unpack

from opentelemetry import context
from opentelemetry.trace import Span, format_trace_id

from fsmedia.core.ingest import MediaUpload
from fsmedia.errors import MediaError
from fsmedia.models import MediaContent, MediaMetadata
from fsmedia.models.attributes import fitting
from fsmedia.store import MediaStore, StoreSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike

UNTRACED = "untraced"  # the run of what belongs to no trace

_CONVERSATION = "gen_ai.conversation.id"
_SESSION = "session.id"
_PROVIDERS = ("gen_ai.provider.name", "llm.provider", "gen_ai.system")
_MODELS = (
    "gen_ai.response.model", "llm.response.model_name", "gen_ai.request.model", "llm.request.model_name",
    "llm.model_name",
)  # fmt: skip
_RESPONSE = "gen_ai.response.id"
_FINISHES = ("gen_ai.response.finish_reasons", "llm.finish_reason")
_THREADS = 4
_REMEMBERED = 1024  # media whose bytes need not be stored again
_REMEMBERED_FOR = timedelta(minutes=5)  # and how long: somebody may have deleted one, and nobody asks the storage
_WAITING = 256
_WAITING_BYTES = 256 * 2**20
_PATIENCE = timedelta(seconds=10)
_LONGEST_TIMEOUT = 365 * 86_400.0
_log = logging.getLogger("fsmedia.sinks")


class BackgroundUploader:
    """Stores media in background threads.

    It takes what `MediaStore` takes. Bytes always lie at their reference, also in a store that shares equal ones, where
    a name is only known once they are written. So many media (`most`) and bytes of them may wait; what comes then is
    refused. At the end of the program the queue has as much time as the patience.
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
        self._store = MediaStore(url, **options).create()
        self._queue = _UploadQueue()
        _uploaders.add(self)

    def send(self, data: bytes, mime_type: str, metadata: MediaMetadata, *, digest: str) -> str | None:
        """Queue a media; return its URL, or None if it is refused.

        Bytes of the same digest (hex SHA-256) and type that this run handed over in the last 5 minutes are not stored
        again, unless their policy has let them go since.
        """
        queue = self._queue_of_process()
        same = (metadata.run_id, digest, mime_type)
        if (known := queue.known_url(same, self._store._now())) is not None:
            return known
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
        """Queue a media whose bytes are made in the background; return its URL, or None if it is refused.

        It holds about so many bytes meanwhile; `same` is what it has in common with others that need not be stored
        again.
        """

        def produced() -> bytes:
            # In the background, for the media that are named after this one.
            self._store._settings_file.current()
            return produce()

        queue = self._queue_of_process()
        token = context.attach(_uninstrumented())
        try:
            upload = self._named(mime_type, metadata)
            job = _UploadJob(upload, self._store.media_url(upload.reference), produced, size, same, self._store._now())
        except MediaError as error:
            _log.warning("refused: %s", error)
            return None
        finally:
            context.detach(token)
        return job.url if queue.take(job, self._most, self._most_bytes) else None

    def _named(self, mime_type: str, metadata: MediaMetadata) -> MediaUpload:
        """Name a media; nothing is written yet, and as the store was made (`create`), nothing is read either."""
        write_context = self._store._write_context(self._store._settings_file.configuration)
        settings = replace(write_context.configuration, deduplicate=False)
        needed = settings.organization.id_field
        if not getattr(metadata, needed):  # gets the id of its run, a trace
            metadata = metadata.model_copy(update={needed: metadata.run_id})
        content = MediaContent(data=b"", mime_type=mime_type)
        return MediaUpload(replace(write_context, configuration=settings), metadata, content.mime_type, content, None)

    def flush(self, timeout: timedelta = _PATIENCE) -> bool:
        """Wait until the queue is empty and its threads are idle; False if that took too long."""
        queue = self._queue_of_process()
        with queue.changed:
            return queue.changed.wait_for(lambda: not queue.count, max(0.0, timeout.total_seconds()))

    def shutdown(self, timeout: timedelta = _PATIENCE) -> bool:
        """Take nothing any more, and wait as `flush` does; what is then still waiting is given up."""
        queue = self._queue_of_process()
        with queue.changed:
            queue.closed = True
        done = self.flush(timeout)
        if not done:
            _log.warning("%d media were not stored in time", queue.count)
        queue.close()
        return done

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self._store.url}>"

    def _queue_of_process(self) -> _UploadQueue:
        """Return this process's queue: a forked child has neither the threads nor their jobs."""
        if self._queue.process != os.getpid():
            self._queue = _UploadQueue()
        return self._queue


def span_metadata(span: Span | None, attributes: Mapping[str, Any] | None = None) -> MediaMetadata:
    """Return run, conversation, session and provider of a span; what it lacks, or can't be an id, stays empty.

    Its model, the id of the response and why that ended become attributes `model`, `response_id` and `finish_reason`.
    The attributes given are asked first; then those of the span, where it lets them be read.
    """
    values = {**(getattr(span, "attributes", None) or {}), **(attributes or {})}
    trace = span.get_span_context() if span is not None else None
    run = format_trace_id(trace.trace_id) if trace is not None and trace.is_valid else UNTRACED
    reasons = next((found for name in _FINISHES if isinstance(found := values.get(name), str | list | tuple)), "")
    made = {
        "model": _first(values, *_MODELS),
        "response_id": _first(values, _RESPONSE),
        "finish_reason": reasons[0] if isinstance(reasons, list | tuple) and len(reasons) == 1 else reasons,
    }
    kept = fitting({name: value for name, value in made.items() if value})
    try:
        return MediaMetadata(
            run_id=run,
            attributes=kept,
            conversation_id=_first(values, _CONVERSATION),
            session_id=_first(values, _SESSION),
            provider_id=_first(values, *_PROVIDERS),
        )
    except MediaError:
        return MediaMetadata(run_id=run, attributes=kept)


def timeout_of(seconds: float) -> timedelta:
    """Return a timeout that other libraries give in seconds, at most a year."""
    return timedelta(seconds=min(max(0.0, seconds), _LONGEST_TIMEOUT))


@contextmanager
def logged_failure(what: str) -> Iterator[None]:
    """Log that something did not happen where a block raises, and end the block: an instrumented program must go on.

    Of errors of other packages only the type is logged: their texts may quote what a user said.
    """
    try:
        yield
    except MediaError as error:
        _log.warning("%s, %s: %s", what, type(error).__name__, error)
    except Exception as error:  # noqa: BLE001 - serializers and clients of storages raise what they like
        _log.warning("%s, %s", what, type(error).__name__)


@dataclass(frozen=True, slots=True)
class _UploadJob:
    upload: MediaUpload
    url: str
    produce: Callable[[], bytes]
    size: int
    same: tuple[str, str, str] | None
    sent: datetime  # by the store's clock


class _UploadQueue:
    """The jobs of one process.

    Its threads are daemons, so that the program's end waits for `_finish_all` and no longer.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.process = os.getpid()
        self.count = self.size = 0
        self.closed = False
        self._known: OrderedDict[tuple[str, str, str], tuple[str, datetime, datetime | None]] = OrderedDict()
        self._waiting: SimpleQueue[_UploadJob | None] = SimpleQueue()
        self._threads = 0

    def known_url(self, same: tuple[str, str, str], now: datetime) -> str | None:
        """Return the URL of the same bytes where they were taken a short time ago and have not expired, else None."""
        with self.changed:
            if same not in self._known:
                return None
            url, sent, expires_at = self._known[same]
            # From zero: a clock that was set back must not keep it for ever.
            if timedelta(0) <= now - sent < _REMEMBERED_FOR and (expires_at is None or now < expires_at):
                self._known.move_to_end(same)
                return url
            del self._known[same]
            return None

    def take(self, job: _UploadJob, most: int, most_bytes: int) -> bool:
        """Take a job; False if there is no room. A single one may be of any size."""
        with self.changed:
            if self.closed or self.count >= most or (self.count and self.size + job.size > most_bytes):
                why = "the sink was shut down" if self.closed else f"{self.count} media wait already"
                _log.warning("%s: dropped, %s", job.upload.reference, why)
                return False
            self.count += 1
            self.size += job.size
            if job.same is not None:
                self._known[job.same] = job.url, job.sent, job.upload.expires_at
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
            if self._threads < min(_THREADS, self.count):
                self._threads += 1
                threading.Thread(target=self._work, name="fsmedia-sink", daemon=True).start()
            self._waiting.put(job)
            return True

    def close(self) -> None:
        """End the threads; jobs that no thread has begun are given up."""
        with suppress(Empty):
            while True:
                job = self._waiting.get_nowait()
                if job is not None:
                    self._done(job, stored=False)
        for _ in range(self._threads):
            self._waiting.put(None)

    def _work(self) -> None:
        context.attach(_uninstrumented())  # the thread is ours alone
        while (job := self._waiting.get()) is not None:
            stored = False
            try:
                with logged_failure(f"{job.upload.reference}: not stored"):
                    job.upload.take(job.produce())
                    job.upload.commit()
                    stored = True
            finally:
                self._done(job, stored=stored)

    def _done(self, job: _UploadJob, *, stored: bool) -> None:
        with self.changed:
            self.count -= 1
            self.size -= job.size
            # The URL of what was not stored names nothing: the same bytes are to be stored the next time they come.
            if not stored and job.same is not None:
                self._known.pop(job.same, None)
            self.changed.notify_all()


def _first(values: Mapping[str, Any], *names: str) -> str:
    return next((found for name in names if isinstance(found := values.get(name), str) and found), "")


def _uninstrumented() -> context.Context:
    """Return a context in which instrumented clients make no spans: what keeps traces must not make new ones."""
    return context.set_value("suppress_instrumentation", value=True)


_uploaders: weakref.WeakSet[BackgroundUploader] = weakref.WeakSet()


def _finish_all() -> None:
    """Give the jobs of all uploaders their time, and no more."""
    for uploader in list(_uploaders):
        uploader.shutdown(uploader.patience)


# Before the pools of threads close, without which an object store's client can't look up names any more; an ordinary
# exit function comes after them.
getattr(threading, "_register_atexit", atexit.register)(_finish_all)
