"""Temporary copies on this machine: files that go when nobody holds their path any more."""

from __future__ import annotations

import tempfile
import weakref
from contextlib import contextmanager, suppress
from os import getpid
from pathlib import Path
from typing import TYPE_CHECKING

from fsmedia.errors import StorageError
from fsmedia.models import mime

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class CopyPath(type(Path())):  # type: ignore[misc] # the class of this system's paths
    """A path whose file is removed with the path object, or at exit.

    Whoever passes only its text on must keep the object, or the content it came from.
    """


def local_copy(chunks: Iterable[bytes], mime_type: str) -> Path:
    """Write bytes to a temporary file (0600) and return its path; the file goes with the path object.

    Raises
    ------
    StorageError
        The disk for temporary files takes them not, or not all; nothing is left there. What goes wrong with the
        chunks comes out as it is.
    """
    with _on_disk():
        file = tempfile.NamedTemporaryFile(prefix="fsmedia-", suffix=mime.extension_for(mime_type), delete=False)  # noqa: SIM115
    path = CopyPath(file.name)
    finalizer = weakref.finalize(path, _remove, file.name, getpid())
    try:
        for chunk in chunks:
            with _on_disk():
                file.write(chunk)
        with _on_disk():
            file.close()
    except BaseException:
        with suppress(OSError):  # it flushes, and the disk may be full
            file.close()
        finalizer()
        raise
    return path


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(
            f"no temporary copy could be made ({reason})",
            next_step="free some space, or let $TMPDIR name another disk; .open() needs no copy",
        ) from error


def _remove(name: str, owner: int) -> None:
    """Remove the file, but not in a forked child, whose parent still needs it."""
    if getpid() == owner:
        Path(name).unlink(missing_ok=True)
