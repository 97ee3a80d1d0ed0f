"""Signals: standard input that one can end at any instant, and work that ends between two media.

Python runs its handlers between its own steps. A signal in the instant before a blocking `read` would only be seen
when bytes come, on a silent pipe never. So a read first waits on two things: the input, and a pipe that the signal
itself writes to.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

SIGNALLED = 128
"""Added to a signal's number, the exit code of a process that it ended."""

_LARGEST = 2**20
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LONGEST_WAIT = 1e9  # seconds; more than select takes on some systems is no longer than for ever


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes; none at the end."""


@contextmanager
def standard_input(stream: TextIO) -> Iterator[Readable]:
    """Give the bytes of an input: by its descriptor, or from what was put in its place."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        yield stream.buffer
        return
    with StandardInput(descriptor) as source:
        yield source


class StandardInput:
    """The process's standard input, read by blocks.

    Parameters
    ----------
    descriptor
        Of the input.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._woken: tuple[int, int] | None = None
        self._before = -1

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, or all there are; none at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_LARGEST), b""))
        self._wait()
        return os.read(self._descriptor, min(size, _LARGEST)) if size else b""

    def _wait(self) -> None:
        """Wait for bytes; a signal's handler runs here, and what it raises comes out."""
        if self._woken is None:
            return
        woken = self._woken[0]
        while True:
            ready = select.select([self._descriptor, woken], [], [])[0]
            if woken in ready:
                os.read(woken, _LARGEST)
            if self._descriptor in ready:
                return

    def __enter__(self) -> Self:
        if os.name == "posix" and threading.current_thread() is threading.main_thread():
            self._woken = os.pipe()
            for end in self._woken:
                os.set_blocking(end, False)
            self._before = signal.set_wakeup_fd(self._woken[1], warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._woken is not None:
            signal.set_wakeup_fd(self._before)
            for end in self._woken:
                os.close(end)
            self._woken = None


class StopSignal:
    """Tells whether SIGINT or SIGTERM came since its block began.

    Attributes
    ----------
    number
        The signal that came; 0 for none.

    Notes
    -----
    A handler may run while the main thread is inside any lock, so it takes none: it sets a number and writes into a
    pipe, on which `wait` waits.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}
        self._pipe: tuple[int, int] = (-1, -1)

    @property
    def code(self) -> int:
        """The exit code for a work that was cut short."""
        return SIGNALLED + self.number if self.number else 0

    def asked(self) -> bool:
        """Return whether a signal came."""
        return bool(self.number)

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until a signal comes; return whether one came."""
        if not self.number:
            select.select([self._pipe[0]], [], [], min(seconds, _LONGEST_WAIT))
        return self.asked()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self._restore()  # the next one ends at once
        os.write(self._pipe[1], b"\0")

    def _restore(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def __enter__(self) -> Self:
        self._pipe = os.pipe()
        if threading.current_thread() is threading.main_thread():  # elsewhere Python has no handlers
            for number in _SIGNALS:
                before = signal.getsignal(number)
                # None: set by something other than Python, and could not be put back.
                # Ignored by whoever started this (nohup, a shell's background): stays so.
                if before not in (None, signal.SIG_IGN):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        for end in self._pipe:
            os.close(end)
