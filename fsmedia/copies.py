"""Temporary copies on this machine: files that go when nobody holds their path any more."""

from __future__ import annotations

import tempfile
import weakref
from os import getpid
from pathlib import Path
from typing import TYPE_CHECKING

from fsmedia import mime

if TYPE_CHECKING:
    from collections.abc import Iterable


class CopyPath(type(Path())):  # type: ignore[misc] # the class of this system's paths
    """A path whose file is removed with the path object, or at exit.

    Whoever passes only its text on must keep the object, or the content it came from.
    """


def local_copy(chunks: Iterable[bytes], mime_type: str) -> Path:
    """Write bytes to a temporary file (0600) and return its path; the file goes with the path object."""
    with tempfile.NamedTemporaryFile(prefix="fsmedia-", suffix=mime.extension_for(mime_type), delete=False) as file:
        path = CopyPath(file.name)
        finalizer = weakref.finalize(path, _remove, file.name, getpid())
        try:
            for chunk in chunks:
                file.write(chunk)
        except BaseException:
            finalizer()
            raise
    return path


def _remove(name: str, owner: int) -> None:
    """Remove the file, but not in a forked child, whose parent still needs it."""
    if getpid() == owner:
        Path(name).unlink(missing_ok=True)
