"""The files that `fsmedia externalize` and `fsmedia inline` read and write: byte for byte, whole or not at all."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import os
import stat
import sys
from pathlib import Path
from typing import Annotated

import typer

from fsmedia.cli import output
from fsmedia.cli.app import FAILED, NOT_FOUND, CommandError
from fsmedia.core.externalize import LARGEST_DOCUMENT
from fsmedia.display.text import size_text
from fsmedia.format.keys import temporary_name

_STREAM = "-"
MessageFile = Annotated[str, typer.Argument(metavar="FILE", help="JSON or JSON Lines; - reads standard input.")]
OutputFile = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write the result here.", show_default=False)
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the file by the result.")]


def read_messages(file: str) -> str:
    """Read a file as it is: line ends and a byte order mark stay.

    Raises
    ------
    CommandError
        It is not there, too large, or no UTF-8.
    """
    if file == _STREAM:
        data = sys.stdin.buffer.read(LARGEST_DOCUMENT + 1)
    else:
        try:
            with Path(file).open("rb") as opened:
                data = opened.read(LARGEST_DOCUMENT + 1)
        except FileNotFoundError as error:
            raise CommandError(output.error_text(error), code=NOT_FOUND) from None
    if len(data) > LARGEST_DOCUMENT:
        raise CommandError(f"{shown_name(file)}: larger than {size_text(LARGEST_DOCUMENT)}; cut it into its messages")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"{shown_name(file)}: no UTF-8 at byte {error.start:,}", code=FAILED) from None


def write_messages(text: str, target: Path | None) -> None:
    """Write the result to a file, or to standard output for None; an existing file keeps its mode."""
    data = text.encode("utf-8", "surrogatepass")
    if target is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = target.resolve()
    state = target.stat() if target.exists() else None
    if state is not None and not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
        target.write_bytes(data)  # /dev/null, a named pipe: to be written into, never replaced
        return
    beside = target.with_name(temporary_name())
    # What nobody else may read is readable to nobody else on the way there either.
    mode = 0o666 if state is None else 0o600
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if state is not None:
            beside.chmod(stat.S_IMODE(state.st_mode))
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def result_path(file: str, out: Path | None, *, in_place: bool) -> Path | None:
    """Return where the result goes, None for standard output; refuse options that do not fit together."""
    if in_place and (out is not None or file == _STREAM):
        raise typer.BadParameter("needs a file, and no --output beside it", param_hint="--in-place")
    if out is not None and str(out) == _STREAM:
        return None
    return Path(file) if in_place else out


def shown_name(file: str) -> str:
    """Return what messages call a file."""
    return "standard input" if file == _STREAM else output.visible(file)
