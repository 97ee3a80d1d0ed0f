"""`AsyncMediaStore`: `MediaStore` for asyncio. Its methods await their namesakes in worker threads."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial, wraps
from inspect import cleandoc, signature
from itertools import islice
from typing import (
    TYPE_CHECKING,
    Any,
    BinaryIO,
    Concatenate,
    NoReturn,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    overload,
)

from fsmedia.core import telemetry
from fsmedia.errors import InvalidMediaError, StorageError
from fsmedia.models import Event
from fsmedia.models.selection import shows_words
from fsmedia.store import DEFAULTS, MediaStore, StoreSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from os import PathLike
    from types import TracebackType
    from typing import Literal, Unpack

    from fsmedia.core.ingest import MediaWriter
    from fsmedia.errors import MediaError
    from fsmedia.filesystem import MediaFileSystem
    from fsmedia.models import MediaContent, MediaMetadata, MediaRecord, Reference, SettingsRecord
    from fsmedia.models.interfaces import OnError
    from fsmedia.storage.address import NestedOptions

P = ParamSpec("P")
T = TypeVar("T")
_THREADS = 32
GRACE = 0.25
"""Seconds that a cancellation waits for a call that has begun: nearly all end in it, and have happened or not then."""
MOST_ABANDONED = 64
"""Cancelled calls of a process that may wait for their storages, each in a thread of its own."""
_ABANDONED: set[Future[Any]] = set()
os.register_at_fork(after_in_child=_ABANDONED.clear)
_log = logging.getLogger("fsmedia")
# Items of an iterator that are fetched at once: few at first, for an early answer, then more and more.
_FIRST_BATCH = 8
_LARGEST_BATCH = 256
# Bytes of lines that are fetched at once: a thread for each line would cost more than most lines take to read.
_LINES_AHEAD = 64 * 1024


class Workers:
    """Worker threads for the blocking calls of a loop; started at first use, and anew in a forked child.

    One thread of its own keeps the calls of a file in order, and its buffers in one place: an allocator with an arena
    for each thread would keep the largest read of each.
    """

    def __init__(self, threads: int = _THREADS) -> None:
        self._threads = threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Workers, (self._threads,)

    async def finish(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call in a thread, whatever happens: for what must not be left open."""
        return await self.call(partial(function, *args, **kwargs), take_back=False)

    async def call(
        self,
        function: Callable[[], T],
        *,
        take_back: bool = True,
        cancelled: Callable[[], object] = bool,
        patience: float | None = GRACE,
        abandoned: Callable[[], object] = bool,
        undo: Callable[[], object] = bool,
    ) -> T:
        """Call in a thread. A cancellation takes the call back, or waits so many seconds for its end if it had begun.

        `cancelled` is called where one comes, so that what asks from time to time whether to stop hears of it;
        `abandoned` where the call has not ended in time, and `undo` in its thread once it ends then. `patience` None:
        it is waited for. Raises `StorageError` where too many calls wait for their storages already.
        """
        if take_back and len(_ABANDONED) >= MOST_ABANDONED:
            problem = f"{MOST_ABANDONED} calls that were cancelled still wait for their storages in this process"
            raise StorageError(problem, next_step="try again when they have ended, or give stores a shorter timeout")
        # A fork copies the pool but not its threads: a call handed to it would wait for ever.
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(self._threads, thread_name_prefix="fsmedia"))
        # Not in the future, which its thread holds a little longer than whoever waits for it.
        answer: list[T] = []
        future = self._pool[1].submit(copy_context().run, lambda: answer.append(function()))
        waiter = asyncio.wrap_future(future)
        try:
            await asyncio.shield(waiter)
        except asyncio.CancelledError as error:
            cancelled()
            # What has begun can't be taken back, so it is waited for: nearly always the caller knows then what has
            # happened. A storage that hangs would keep whoever asked for a second waiting for minutes. Such a call goes
            # on in its thread, and is told of: a write under way that nobody knows of would be worse than the wait.
            if not (take_back and future.cancel()) and not await _ended(waiter, patience):
                self._abandon(future, answer, undo)
                abandoned()
                error.add_note(_GOES_ON)
                raise
            # What lasts as long as an answer, such as a temporary copy, goes before the cancellation comes out.
            answer.clear()
            raise
        return answer.pop()

    def _abandon(self, future: Future[Any], answer: list[T], undo: Callable[[], object]) -> None:
        def ended(_: Future[Any]) -> None:
            # Last: until what it has begun is undone it has not ended.
            try:
                undo()
            finally:
                answer.clear()
                _ABANDONED.discard(future)

        _ABANDONED.add(future)
        future.add_done_callback(ended)
        # The next calls get a pool with all its threads; this one ends with what it has.
        self.close()

    def close(self) -> None:
        """Shut the threads down, without waiting for calls under way."""
        if self._pool is not None:
            self._pool[1].shutdown(wait=False)
            self._pool = None


_GOES_ON = "the call goes on in its thread: its storage gave no answer"


def _goes_on(error: BaseException | None) -> bool:
    """Tell whether the call that was cancelled goes on: what it uses is its thread's until it ends."""
    return _GOES_ON in getattr(error, "__notes__", ())


async def _ended(waiter: asyncio.Future[Any], patience: float | None) -> bool:
    """Wait until a begun call has ended, however often the task is cancelled; False: it has not in so many seconds."""
    # Read, or the loop would log that nobody did.
    waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
    loop = asyncio.get_running_loop()
    until = None if patience is None else loop.time() + patience
    while not waiter.done():
        try:
            await asyncio.wait([waiter], timeout=None if until is None else max(0, until - loop.time()))
        except asyncio.CancelledError:
            continue
        if until is not None and loop.time() >= until:
            break
    return waiter.done()


class AsyncMediaWriter:
    """Writer of a media file whose bytes come in pieces, from `AsyncMediaStore.create_media`; see `MediaWriter`."""

    def __init__(self, workers: Workers, begin: Callable[[], MediaWriter], tell: Callable[..., object]) -> None:
        self._workers = workers
        self._begin = begin
        self._writer: MediaWriter | None = None
        self._drafts = telemetry.Drafts()
        self._tell_abandoned = partial(tell, "store", self._drafts)

    async def __aenter__(self) -> Self:
        def enter() -> None:
            telemetry.drafts.set(self._drafts)
            writer = self._begin()
            writer.__enter__()
            self._writer = writer

        try:
            await self._workers.call(enter, undo=self._leave)
        except asyncio.CancelledError as error:
            # Entered after all, and `__aexit__` will not be called.
            if self._writer is not None and not _goes_on(error):
                await self._workers.finish(self._writer.__exit__, type(error), error, None)
            raise
        return self

    def _leave(self) -> None:
        """Leave what was entered, or written to, by a call that was given up: nothing is stored."""
        if self._writer is not None:
            error = asyncio.CancelledError()
            self._writer.__exit__(type(error), error, None)

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes and return how many.

        A write that is cancelled once it has begun gives the media up: whether its bytes arrived can't be told.
        """
        writer = self._opened()
        try:
            return await self._workers.call(partial(writer.write, data), undo=self._leave)
        except asyncio.CancelledError as error:
            self._is_left = _goes_on(error)
            if not self._is_left:
                await self.give_up()
            raise

    async def give_up(self) -> None:
        """Let go of what was written; nothing will be stored. Does nothing to what is stored."""
        await self._workers.finish(self._opened().give_up)

    def writable(self) -> bool:
        """Tell that this is for writing, as file objects do."""
        return self._writer is not None and self._writer.writable()

    @property
    def reference(self) -> Reference:
        """The reference, once the media is stored."""
        return self._opened().reference

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Where a write goes on, its thread leaves the writer when it ends.
        if self._is_left:
            return
        leave = partial(self._opened().__exit__, kind, error, trace)
        tell = self._tell_abandoned if error is None else bool
        await self._workers.call(leave, take_back=False, abandoned=tell)

    _is_left = False

    def _opened(self) -> MediaWriter:
        if self._writer is None:
            raise InvalidMediaError("is not open", next_step="use it in an `async with` statement")
        return self._writer


class AsyncMediaReader:
    """Binary file of a stored media, from `AsyncMediaStore.open`; its calls run in a thread of its own, one by one.

    A call that is cancelled closes the file, for where it stands then can't be told. `async for` gives lines.
    """

    def __init__(self, worker: Workers, file: BinaryIO) -> None:
        self._worker = worker
        self._file = file
        self._lines: deque[bytes] = deque()
        self._is_left = False

    def __repr__(self) -> str:
        return f"<awaitable {self._file!r}>"

    async def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes, all by default.

        Raises
        ------
        CorruptMediaError
            This read comes to the end, and the bytes are not those that were stored.
        """
        return await self._call(lambda: self._file.read(-1 if size is None else size))

    async def readline(self, size: int | None = -1) -> bytes:
        """Read up to the end of a line."""
        return await self._call(lambda: self._file.readline(-1 if size is None else size))

    async def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position and return it; after a seek past what was read only lengths are checked."""
        return await self._call(lambda: self._file.seek(offset, whence))

    async def tell(self) -> int:
        """Return the position."""
        return await self._call(self._file.tell)

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._is_left or self._file.closed

    async def close(self) -> None:
        """Close, after the calls under way and whatever is cancelled; may be called again."""
        self._lines.clear()
        if self._is_left:  # its thread closes it
            return
        try:
            await self._worker.finish(self._file.close)
        finally:
            self._worker.close()

    async def _call(self, function: Callable[[], T]) -> T:
        """Call in a thread, from where the reader of lines stands."""
        if self._is_left:
            raise ValueError("I/O operation on closed file.")
        ahead = sum(map(len, self._lines))
        self._lines.clear()

        def run() -> T:
            if ahead:
                self._file.seek(-ahead, io.SEEK_CUR)
            return function()

        try:
            return await self._worker.call(run, undo=self._file.close)
        except asyncio.CancelledError as error:
            self._is_left = _goes_on(error)
            await self.close()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._lines:
            self._lines.extend(await self._call(lambda: self._file.readlines(_LINES_AHEAD)))
        if not self._lines:
            raise StopAsyncIteration
        return self._lines.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class AsyncItems(AsyncGenerator[T, None]):
    """Asynchronous generator; who awaits it, or iterates over it without `async`, gets the `advice` what to write."""

    def __init__(self, items: AsyncGenerator[T, None], advice: str) -> None:
        self._items = items
        self._advice = advice

    async def asend(self, value: None) -> T:
        """Continue, see `AsyncGenerator`."""
        return await self._items.asend(value)

    async def athrow(self, *error: Any) -> T:
        """Raise an exception in it, see `AsyncGenerator`."""
        return await self._items.athrow(*error)

    def __await__(self) -> NoReturn:
        raise TypeError(f"it is iterated, not awaited: {self._advice}")

    def __iter__(self) -> NoReturn:
        raise TypeError(f"it is iterated by `async for`: {self._advice}")


def _described(call: T, method: Callable[..., Any], note: str = "") -> T:
    """Name a twin, and say after the first line of its docstring what is different here."""
    summary, _, rest = cleandoc(method.__doc__ or "").partition("\n\n")
    here = f"Runs `MediaStore.{method.__name__}` in a worker thread. {note}".strip()
    twin: Any = call
    twin.__doc__ = "\n\n".join(part for part in (summary, here, rest) if part)
    twin.__qualname__, twin.__module__ = f"AsyncMediaStore.{method.__name__}", __name__
    return call


def _threaded(
    method: Callable[Concatenate[MediaStore, P], T], *, note: str = "", stoppable: bool = False, waits: bool = False
) -> Callable[Concatenate[AsyncMediaStore, P], Coroutine[Any, Any, T]]:
    """Make a method of `MediaStore` a coroutine function with the same parameters.

    Where it is `stoppable`, a cancellation also makes the method's `stopped` say True; there, and where it `waits`, one
    comes out when the call has ended, however long that takes.
    """
    # By name at each call, so that who replaces a method of the store replaces it here too.
    name = method.__name__

    @wraps(method)
    async def call(self: AsyncMediaStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        def run(**more: Any) -> T:
            result: T = getattr(self._opened(), name)(*args, **{**kwargs, **more})
            return result

        if not stoppable:
            drafts = telemetry.Drafts()
            tell = partial(self._tell_abandoned, name.removesuffix("_media"), drafts)

            def drafted() -> T:
                telemetry.drafts.set(drafts)
                return run()

            return await self._workers.call(drafted, patience=None if waits else GRACE, abandoned=tell)
        # The caller's own `stopped` counts besides.
        asked: Any = kwargs.get("stopped", bool)
        told = threading.Event()
        stopping = partial(run, stopped=lambda: told.is_set() or asked())
        return await self._workers.call(stopping, cancelled=told.set, patience=None)

    return _described(call, method, note)


class _StoresMany(Protocol):
    """`store_many` as type checkers see it: `_threaded` shows them the first overload only."""

    @overload
    def __call__(
        self, pairs: Iterable[tuple[MediaContent, MediaMetadata]], *, on_error: Literal["raise"] = "raise"
    ) -> Coroutine[Any, Any, list[Reference]]: ...

    @overload
    def __call__(
        self, pairs: Iterable[tuple[MediaContent, MediaMetadata]], *, on_error: OnError
    ) -> Coroutine[Any, Any, list[Reference | MediaError]]: ...


class _AnswersMany(Protocol[T]):
    """`info_many` and its like, as type checkers see them."""

    @overload
    def __call__(
        self, references: Iterable[str], *, on_error: Literal["raise"] = "raise"
    ) -> Coroutine[Any, Any, list[T]]: ...

    @overload
    def __call__(
        self, references: Iterable[str], *, on_error: OnError
    ) -> Coroutine[Any, Any, list[T | MediaError]]: ...


def _iterated(
    method: Callable[Concatenate[MediaStore, P], Iterator[T]], *, advice: str, most: int = _LARGEST_BATCH
) -> Callable[Concatenate[AsyncMediaStore, P], AsyncGenerator[T, None]]:
    """Make a method of `MediaStore` that returns an iterator an asynchronous generator with the same parameters.

    At most `most` items are fetched at once, and so are in memory together.
    """
    name = method.__name__

    async def iterate(self: AsyncMediaStore, *args: Any, **kwargs: Any) -> AsyncGenerator[T, None]:
        worker = Workers(1)
        try:
            items = await worker.call(lambda: getattr(self._opened(), name)(*args, **kwargs))
            size = min(_FIRST_BATCH, most)
            try:
                close = getattr(items, "close", bool)
                while batch := await worker.call(partial(list[T], islice(items, size)), undo=close):
                    for item in batch:
                        yield item
                    size = min(2 * size, most)
            finally:
                # What a generator has open is closed by it, however the iteration ends.
                if not _goes_on(sys.exception()):
                    await worker.finish(close)
        finally:
            worker.close()

    @wraps(method)
    def call(self: AsyncMediaStore, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        return AsyncItems(iterate(self, *args, **kwargs), advice)

    own = signature(method)
    vars(call)["__signature__"] = own.replace(return_annotation=f"Async{own.return_annotation}")
    return _described(call, method)


class AsyncMediaStore:
    """`MediaStore` for asyncio: same constructor, same methods as coroutines, iterators are asynchronous.

    The root is opened by the first call (or `async with`), so that the constructor never blocks the loop; what a
    constructor of `MediaStore` raises for what is in the root is raised there.
    """

    @shows_words(StoreSettings, DEFAULTS)
    def __init__(self, url: str | PathLike[str] | None = None, **settings: Unpack[StoreSettings]) -> None:
        # Made by the first call: its constructor may look at the storage.
        self._make = partial(MediaStore, url, **settings)
        self._store: MediaStore | None = None
        self._workers = Workers()

    async def create(self) -> Self:
        """Write the store's settings file now instead of with the first write; a store that has one is left as it is.

        Runs `MediaStore.create` in a worker thread.
        """
        await self._workers.call(lambda: self._opened().create())
        return self

    async def close(self) -> None:
        """Close connections and open files; the store can be used again afterwards.

        Runs `MediaStore.close` in a worker thread.
        """
        if self._store is not None:
            await self._workers.finish(self._store.close)
        self._workers.close()

    async def __aenter__(self) -> Self:
        await self._workers.call(self._opened)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncMediaStore({self._store.url!r})" if self._store else "AsyncMediaStore(not open yet)"

    def _opened(self) -> MediaStore:
        """Open the store in the calling thread; two at once both open it, and one of the two is kept."""
        if self._store is None:
            self._store = self._make()
        return self._store

    @property
    def fs(self) -> MediaFileSystem:
        """The store as an fsspec filesystem, see `MediaStore.fs`; opens the store if no call did yet."""
        return self._opened().fs

    @property
    def settings(self) -> Coroutine[Any, Any, SettingsRecord]:
        """The settings of the store, read now in a worker thread: ``await store.settings``."""
        return self._workers.call(lambda: self._opened().settings)

    @property
    def engine(self) -> str:
        """What reads and writes objects, see `MediaStore.engine`."""
        return self._opened().engine

    @property
    def url_options(self) -> NestedOptions:
        """Storage options to pass along with `media_url`, see `MediaStore.url_options`."""
        return self._opened().url_options

    def media_url(self, reference: str) -> str:
        """Return the URL by which any fsspec client opens a media file or folder; see `MediaStore.media_url`."""
        return self._opened().media_url(reference)

    def object_url(self, reference: str) -> str:
        """Return where the bytes lie, for programs that open the storage themselves; see `MediaStore.object_url`."""
        return self._opened().object_url(reference)

    def create_media(self, metadata: MediaMetadata, mime_type: str) -> AsyncMediaWriter:
        """Return a writer, a context manager, for a media file that comes in pieces; see `MediaStore.create_media`."""
        begin = partial(self._begin, metadata, mime_type)
        return AsyncMediaWriter(self._workers, begin, self._tell_abandoned)

    def _begin(self, metadata: MediaMetadata, mime_type: str) -> MediaWriter:
        return self._opened().create_media(metadata, mime_type)

    def _tell_abandoned(self, operation: str, drafts: telemetry.Drafts) -> None:
        """Tell the log and the hooks of a cancelled call that goes on."""
        drafts.abandoned = True
        references: list[str | None] = [*drafts.references]
        for reference in references or [None]:
            _log.warning(
                "%s: %s was cancelled, and may still happen: its storage gave no answer", reference or self, operation
            )
            if self._store is not None:
                observer = self._store._observer
                facts: dict[str, Any] = {"backend": observer.backend, "url": observer.url, "reference": reference}
                observer.notify(Event(operation="cancel", within=operation, **facts))

    change_settings = _threaded(MediaStore.change_settings)
    folder = _threaded(MediaStore.folder)
    store_media = _threaded(MediaStore.store_media)
    store_many: _StoresMany = cast("_StoresMany", _threaded(MediaStore.store_many))
    retrieve_media = _threaded(MediaStore.retrieve_media)
    retrieve_many: _AnswersMany[MediaContent] = cast("Any", _threaded(MediaStore.retrieve_many))
    info = _threaded(MediaStore.info)
    info_many: _AnswersMany[MediaRecord] = cast("Any", _threaded(MediaStore.info_many))
    exists = _threaded(MediaStore.exists)

    async def open(self, reference: str) -> AsyncMediaReader:
        """Open a media file's bytes for reading by `await`; seeks fetch 256 KiB at a time from an object store.

        Runs `MediaStore.open` in a worker thread, and so does each call of the file that it returns.
        """
        worker, opened = Workers(1), list[BinaryIO]()
        try:
            await worker.call(
                lambda: opened.append(self._opened().open(reference)), undo=lambda: [file.close() for file in opened]
            )
        except BaseException:
            # Cancelled, and opened after all: nobody else will close it.
            for file in opened:
                await worker.finish(file.close)
            worker.close()
            raise
        return AsyncMediaReader(worker, opened.pop())

    read = _threaded(MediaStore.read)
    stream = _iterated(
        MediaStore.stream, advice="async for chunk in store.stream(...), or await store.read(...)", most=1
    )
    get_url = _threaded(MediaStore.get_url)
    upload_url = _threaded(MediaStore.upload_url)
    accept_upload = _threaded(MediaStore.accept_upload)
    confirm_upload = _threaded(MediaStore.confirm_upload)
    list = _iterated(MediaStore.list, advice="async for each in store.list(), or [each async for each in store.list()]")
    catalog = _threaded(MediaStore.catalog)
    stats = _threaded(MediaStore.stats)
    delete_media = _threaded(MediaStore.delete_media)
    delete_many: _AnswersMany[None] = cast("Any", _threaded(MediaStore.delete_many))
    annotate = _threaded(MediaStore.annotate)
    apply_policy = _threaded(MediaStore.apply_policy)
    enforce_policy = _threaded(
        MediaStore.enforce_policy, stoppable=True, note="A cancellation comes out once the media in hand are done."
    )
    hold = _threaded(MediaStore.hold)
    release = _threaded(MediaStore.release)
    externalize = _threaded(MediaStore.externalize)
    externalize_text = _threaded(MediaStore.externalize_text)
    externalize_stream = _iterated(
        MediaStore.externalize_stream, advice="async for piece in store.externalize_stream(...)", most=1
    )
    inline = _threaded(MediaStore.inline)
    inline_text = _threaded(MediaStore.inline_text)
    inline_stream = _iterated(MediaStore.inline_stream, advice="async for text in store.inline_stream(...)", most=1)
    gallery = _threaded(MediaStore.gallery)
    compare = _threaded(MediaStore.compare)
    browse = _threaded(MediaStore.browse)
    adopt = _threaded(MediaStore.adopt)
    verify = _threaded(MediaStore.verify)
    sync_to = _threaded(
        MediaStore.sync_to, stoppable=True, note="A cancellation comes out once the media in hand are done."
    )
    erase = _threaded(
        MediaStore.erase,
        waits=True,
        note="A cancellation comes out once all is erased: half would have no receipt.",
    )
    check_receipt = _threaded(MediaStore.check_receipt)
    check_storage = _threaded(
        MediaStore.check_storage, stoppable=True, note="A cancellation comes out once its folder is removed."
    )
