"""Signals: work that ends between two media, and programs that end while they load."""

from __future__ import annotations

import os
import select
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

SIGNALLED = 128
"""Added to a signal's number, the exit code of a process that it ended."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LONGEST_WAIT = 1e9  # seconds; more than select takes on some systems is no longer than for ever


class StopSignal:
    """Tells whether SIGINT or SIGTERM came since its block began.

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


@contextmanager
def interrupt_while_loading() -> Iterator[None]:
    """End the process without a traceback if Ctrl-C comes in the block, in which nothing is done yet."""
    own = threading.current_thread() is threading.main_thread()
    # Not where somebody else handles it, or has it ignored as nohup does.
    if not own or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, _frame: object) -> NoReturn:
    # At once: an exception out of the middle of an import may be caught there, and taken for another.
    os.write(2, b"interrupted\n")
    os._exit(SIGNALLED + number)
