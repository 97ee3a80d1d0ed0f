"""The command line: `fsmedia init`, `demo`, `store`, `ls`, `policy` and so on, over any storage that a URL names.

Results go to standard output, everything else to standard error; an error is one line and an exit code. Only this
package imports typer and rich, and it does so when a command is run.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fsmedia.cli.signals import SIGNALLED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsmedia.cli.commands import typer_app

__all__ = ["main", "typer_app"]


def main(program: str = "fsmedia") -> NoReturn:
    """Run the command line of this process; `program` is what a user types for it."""
    with _interrupt_while_loading():
        # Half a second: typer, rich and all commands.
        from fsmedia.cli.commands import typer_app
    with ExitStack() as stack:
        if sys.stdout is None:  # closed by whoever started this
            sys.stdout = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a name that the locale can't spell is no reason to fail
        # Clients of storages log tracebacks; errors are printed once, by the command.
        logging.getLogger().addHandler(logging.NullHandler())
        with suppress(ValueError):  # not in the main thread: somebody else's program calls this
            signal.signal(signal.SIGTERM, _terminate)  # so that temporary files go
        typer_app(prog_name=program)
    sys.exit(0)


def _terminate(_number: int, _frame: object) -> NoReturn:
    sys.exit(SIGNALLED + signal.SIGTERM)


@contextmanager
def _interrupt_while_loading() -> Iterator[None]:
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


def __getattr__(name: str) -> Any:
    if name != "typer_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fsmedia.cli.commands import typer_app

    return typer_app
