"""Writing a page to a file: whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from fsmedia.errors import StorageError

if TYPE_CHECKING:
    from os import PathLike


def save(text: str, path: str | PathLike[str]) -> Path:
    """Write text to a file and return its path; whoever reads sees the old file or the new one.

    Raises
    ------
    StorageError
        It can't be written; an old file is as it was.
    """
    target = Path(path).expanduser()
    try:
        if target.exists() and not (target.is_file() or target.is_dir()):
            target.write_text(text, encoding="utf-8")  # /dev/null, a named pipe: written into, never replaced
            return target
    except OSError as error:
        raise _unwritten(target, error) from error
    staged = target.with_name(f".fsmedia-{token_hex(8)}.html")
    try:
        # Not tempfile, whose files nobody else may read: a page is shared as any file is.
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        staged.replace(target)
    except OSError as error:
        with suppress(OSError):
            staged.unlink()
        raise _unwritten(target, error) from error
    return target


def _unwritten(target: Path, error: OSError) -> StorageError:
    return StorageError(
        f"can't be written ({error.strerror or type(error).__name__})",
        next_step="choose another path; folders are not made",
        key=str(target),
    )
