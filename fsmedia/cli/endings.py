"""How a command ends: one readable line on standard error, and an exit code that says what kind of end it was.

No traceback for anything a user, a storage or a closed pipe can cause; a traceback is left for bugs.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from fsmedia.cli import output
from fsmedia.errors import MediaError, MediaNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

DONE = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
NOT_WHOLE = 4
INTERRUPTED = 130
TERMINATED = 143
PIPE_CLOSED = 141

CODES = """\
Exit codes: 0 done, 1 failed (the line on standard error says why), 2 wrong usage, 3 no such media or file,
4 the store is not whole (verify), 130 interrupted, 141 the reader of a pipe went away."""


class CommandError(Exception):
    """A command can't go on.

    Parameters
    ----------
    text
        One line for the user.
    code
        The exit code.
    """

    def __init__(self, text: str, *, code: int = FAILED) -> None:
        self.code = code
        super().__init__(text)


def code_of(errors: Iterable[BaseException]) -> int:
    """Return the exit code of a command that met these errors: "not found" only if that was all of it."""
    codes = {error.code if isinstance(error, CommandError) else _code(error) for error in errors}
    return DONE if not codes else codes.pop() if len(codes) == 1 else FAILED


def _code(error: BaseException) -> int:
    return NOT_FOUND if isinstance(error, MediaNotFoundError) else FAILED


def text_of(error: BaseException) -> str:
    """Return what an error says, in one line and without Python's own ornaments."""
    if isinstance(error, OSError) and not isinstance(error, MediaError):
        reason = error.strerror or str(error) or type(error).__name__
        return reason if error.filename is None else f"{os.fsdecode(error.filename)}: {reason}"
    return str(error) or type(error).__name__


class Commands(TyperGroup):
    """The group of all commands: what they raise becomes a line and an exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command line; exits unless `standalone_mode` is False, as typer's own does."""
        alone = extra.get("standalone_mode", True)
        extra["standalone_mode"] = False
        if not alone:
            return super().main(*args, **extra)
        try:
            code = super().main(*args, **extra)
        except typer.Abort:
            output.note("interrupted")
            code = INTERRUPTED
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            _tell_usage(error)
            code = getattr(error, "exit_code", USAGE)
        sys.exit(code if isinstance(code, int) else DONE)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except typer.BadParameter as error:
            if error.ctx is None:  # raised by a command, not by its parser
                _tell_usage(error, f"{ctx.command_path} {ctx.invoked_subcommand}")
                raise typer.Exit(USAGE) from None
            raise
        except (CommandError, MediaError) as error:
            output.error(text_of(error))
            raise typer.Exit(code_of([error])) from None
        except BrokenPipeError:
            _drop_stdout()
            raise typer.Exit(PIPE_CLOSED) from None
        except KeyboardInterrupt:
            output.note("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            output.error(text_of(error))
            raise typer.Exit(FAILED) from None
        return result


def _tell_usage(error: Any, command: str = "") -> None:
    """Say in one line what is wrong with the command line, and where it is explained."""
    context = getattr(error, "ctx", None)
    command = command or ("" if context is None else context.command_path)
    text = " ".join(str(error.format_message()).split())
    output.error(f"{text.rstrip('.')}; see: {command} --help" if command else text)


def _drop_stdout() -> None:
    """Send what is still buffered nowhere, or Python would complain about it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
