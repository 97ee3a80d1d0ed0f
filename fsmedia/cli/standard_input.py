"""Standard input that a signal can end, also one that comes right before a read begins to wait for bytes.

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
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_LARGEST = 2**20


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes; none at the end."""


@contextmanager
def standard_input(stream: TextIO) -> Iterator[Readable]:
    """Give the bytes of an input: by its descriptor, or as they are where somebody put something else in its place."""
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
