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
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fsmedia.cli.signals import SIGNALLED, interrupt_while_loading

if TYPE_CHECKING:
    from fsmedia.cli.commands import typer_app

__all__ = ["main", "typer_app"]


def main(program: str = "fsmedia") -> NoReturn:
    """Run the command line of this process; `program` is what a user types for it."""
    with interrupt_while_loading():
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


def __getattr__(name: str) -> Any:
    if name != "typer_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fsmedia.cli.commands import typer_app

    return typer_app
