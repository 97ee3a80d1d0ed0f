"""Sweeping in the background: a handler sweeps its store at once and then at every interval, until it is stopped.

A sweep that fails is logged and reported, and the next one comes at its time. Nothing outlives the interpreter: the
thread is stopped and awaited at exit.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from fsmedia.errors import InvalidMediaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from fsmedia.aio import AsyncMediaStore
    from fsmedia.models import EnforcementReport
    from fsmedia.store import MediaStore

    OnSweep = Callable[[EnforcementReport | Exception], object] | None

_MINUTE = timedelta(minutes=1)
_logger = logging.getLogger("fsmedia.retention")


class _Sweeps:
    """State that both handlers share.

    `last_report` is that of the last sweep that came to an end, None before the first; `last_error` is what stopped the
    last one, None if it came to an end.
    """

    last_report: EnforcementReport | None = None
    last_error: Exception | None = None
    _store: MediaStore | AsyncMediaStore
    _is_alive: Callable[[], bool] = staticmethod(lambda: False)

    def __init__(self, interval: timedelta, on_sweep: OnSweep) -> None:
        if not isinstance(interval, timedelta) or interval <= timedelta(0):
            raise InvalidMediaError(f"interval must be a positive timedelta, not {interval!r}")
        self._seconds = min(interval.total_seconds(), threading.TIMEOUT_MAX)
        self._on_sweep = on_sweep

    def _note(self, outcome: EnforcementReport | Exception) -> None:
        """Record the outcome of a sweep and report it; a failing listener stops nothing."""
        if isinstance(outcome, Exception):
            self.last_error = outcome
            _logger.warning("sweep failed: %s", outcome)
        else:
            self.last_error, self.last_report = None, outcome
        try:
            if self._on_sweep is not None:
                self._on_sweep(outcome)
        except Exception:
            _logger.exception("on_sweep failed")

    @property
    def is_running(self) -> bool:
        """Whether a thread or a task sweeps; a forked child has none."""
        return self._is_alive()

    def __repr__(self) -> str:
        state = "running" if self.is_running else "stopped"
        return f"<{type(self).__name__} {state}, every {timedelta(seconds=self._seconds)} over {self._store!r}>"


class TimeBasedPolicyHandler(_Sweeps):
    """Enforces a store's policies in a thread; a `PolicyHandler`.

    Parameters
    ----------
    store
        The store to sweep.
    interval
        Time from the end of a sweep to the beginning of the next; `InvalidMediaError` where it is not positive.
    on_sweep
        Called in the thread with each report, or with what a sweep failed with.

    Examples
    --------
    >>> with TimeBasedPolicyHandler(store, timedelta(minutes=5)):  # doctest: +SKIP
    ...     serve()
    """

    def __init__(self, store: MediaStore, interval: timedelta = _MINUTE, *, on_sweep: OnSweep = None) -> None:
        super().__init__(interval, on_sweep)
        self._store: MediaStore = store
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._changing = threading.RLock()

    def apply_policy(self, reference: str, policy_name: str | None) -> None:
        """Put a media under a policy; see `MediaStore.apply_policy`."""
        self._store.apply_policy(reference, policy_name)

    def enforce_policy(self) -> EnforcementReport:
        """Sweep once, now, in the calling thread; see `MediaStore.enforce_policy`."""
        return self._store.enforce_policy()

    def start(self) -> Self:
        """Begin to sweep; does nothing while it already does. After a stop it begins once that sweep has ended."""
        with self._changing:
            before = self._thread if self.is_running else None
            if before is None or self._stop.is_set():
                self._stop = threading.Event()
                # A daemon, so that an exit does not wait for the interval; `_running` stops it first.
                self._thread = threading.Thread(
                    target=self._sweep_until, args=(self._stop, before), name="fsmedia-retention", daemon=True
                )
                self._is_alive = self._thread.is_alive
                _running.add(self)
                self._thread.start()
        return self

    def stop(self, timeout: timedelta | None = None) -> bool:
        """End the sweeps; one under way ends after the media it has in hand.

        It waits until that is done, or for a timeout, and returns whether no sweep is running any more. Stopping what
        does not run is True.
        """
        with self._changing:
            self._stop.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(None if timeout is None else max(0.0, timeout.total_seconds()))
        return not self.is_running

    def _sweep_until(self, stop: threading.Event, before: threading.Thread | None) -> None:
        try:
            if before is not None:
                before.join()
            while not stop.is_set():
                try:
                    outcome: EnforcementReport | Exception = self._store.enforce_policy(stopped=stop.is_set)
                except Exception as error:  # noqa: BLE001 - the next sweep may do better
                    outcome = error
                self._note(outcome)
                stop.wait(self._seconds)
        finally:
            with self._changing:
                if self._stop is stop:  # else a later start needs the exit to know of it
                    _running.discard(self)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


_running: weakref.WeakSet[TimeBasedPolicyHandler] = weakref.WeakSet()


os.register_at_fork(after_in_child=_running.clear)  # the threads stay with the parent


@atexit.register
def _stop_all() -> None:
    """Leave no thread behind that would write while the interpreter goes down."""
    for handler in list(_running):
        handler.stop()


class AsyncTimeBasedPolicyHandler(_Sweeps):
    """Enforces a store's policies in a task of the running loop, as `TimeBasedPolicyHandler` does in a thread."""

    def __init__(self, store: AsyncMediaStore, interval: timedelta = _MINUTE, *, on_sweep: OnSweep = None) -> None:
        super().__init__(interval, on_sweep)
        self._store: AsyncMediaStore = store
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def apply_policy(self, reference: str, policy_name: str | None) -> None:
        """Put a media under a policy; see `MediaStore.apply_policy`."""
        await self._store.apply_policy(reference, policy_name)

    async def enforce_policy(self) -> EnforcementReport:
        """Sweep once, now; see `MediaStore.enforce_policy`."""
        return await self._store.enforce_policy()

    async def start(self) -> Self:
        """Begin to sweep; does nothing while it already does. After a stop it begins once that sweep has ended."""
        before = self._task if self.is_running else None
        if before is None or self._stop.is_set():
            self._stop = asyncio.Event()
            self._task = task = asyncio.create_task(self._sweep_until(self._stop, before), name="fsmedia-retention")
            self._is_alive = lambda: not task.done()
        return self

    async def stop(self, timeout: timedelta | None = None) -> bool:  # noqa: ASYNC109 - as the twin has it
        """End the sweeps; one under way ends after the media it has in hand. See `TimeBasedPolicyHandler.stop`."""
        self._stop.set()
        task = self._task
        if task is not None and task is not asyncio.current_task() and not task.done():
            await asyncio.wait([task], timeout=None if timeout is None else timeout.total_seconds())
        return not self.is_running

    async def _sweep_until(self, stop: asyncio.Event, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        while not stop.is_set():
            try:
                outcome: EnforcementReport | Exception = await self._store.enforce_policy(stopped=stop.is_set)
            except Exception as error:  # noqa: BLE001 - the next sweep may do better
                outcome = error
            self._note(outcome)
            try:
                async with asyncio.timeout(self._seconds):
                    await stop.wait()
            except TimeoutError:
                continue

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
