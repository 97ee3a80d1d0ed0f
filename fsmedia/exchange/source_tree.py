"""Trees of files that others left: walked without following links, and opened below their root only.

A tree may be a stranger's: its names, its depth and its links are taken as they come.
"""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self

from fsmedia.errors import InvalidReferenceError, MediaError, MediaNotFoundError, MediaTooLargeError
from fsmedia.exchange.importing import printable
from fsmedia.format import keys
from fsmedia.storage import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from fsmedia.storage import Entry
    from fsmedia.store import MediaStore

_TIMEOUT = timedelta(seconds=60)
_CHUNK = 2**20
_MOST_PARTS = 64  # of a path that a stranger names: each is a look at the storage


class SourceTree:
    """A tree of files in any storage, opened to be read.

    Raises
    ------
    MediaNotFoundError
        There is nothing at that place.
    """

    def __init__(self, place: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> None:
        self.backend = open_backend(os.fspath(place), options, timeout=_TIMEOUT)
        self._folder = self.backend.local_path("")
        if not self.backend.holds(""):
            raise MediaNotFoundError(
                "no such folder to import, or nothing in it", next_step="check the path", key=self.backend.url
            )

    def files(self) -> Iterator[TreeFile]:
        """Walk over all that is there, in the order of the paths; links are not followed."""
        if self._folder is None:
            for entry in self.backend.entries():
                yield TreeFile(entry.key, entry.size, entry.modified, _hidden(entry.key))
        else:
            yield from self._walk("")

    def _walk(self, top: str) -> Iterator[TreeFile]:
        """Walk without recursion: a stranger's tree may be deeper than Python's stack."""
        waiting = [self._scanned(top)]
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
            elif isinstance(found, str):
                waiting.append(self._scanned(found))
            else:
                yield found

    def _scanned(self, prefix: str) -> Iterator[TreeFile | str]:
        """Yield the files of one folder, and the folders to go into as text."""
        try:
            with os.scandir(f"{self._folder}{prefix}") as found:
                items = sorted(found, key=lambda item: item.name)
        except OSError as error:
            yield TreeFile(prefix or "/", error=error)
            return
        for item in items:
            path = prefix + item.name
            try:
                if item.is_dir(follow_symlinks=False):
                    yield TreeFile(f"{path}/", reason="is hidden") if item.name.startswith(".") else f"{path}/"
                    continue
                seen = item.stat(follow_symlinks=False)
            except OSError as error:
                yield TreeFile(path, error=error)
                continue
            yield TreeFile(path, seen.st_size, _time_of(seen.st_mtime), _reason(path, seen.st_mode))

    def path_of(self, url: str) -> str | None:
        """Return where another root lies below this one, empty for the same place; None if it does not."""
        own = self.backend.url.rstrip("/")
        other = url.rstrip("/")
        if other == own:
            return ""
        return other[len(own) + 1 :] if other.startswith(f"{own}/") else None

    def head(self, path: str) -> Entry | None:
        """Look at one file; a link that leads out is refused."""
        return self.backend.head(path)

    def open(self, path: str) -> BinaryIO:
        """Open one file; a link that leads out is refused."""
        try:
            return self.backend.open(path)
        except FileNotFoundError:
            raise MediaNotFoundError("no such file, or no longer", key=printable(path)) from None

    def read(self, path: str, most: int) -> bytes:
        """Return the bytes of a file that may have at most so many.

        Raises
        ------
        MediaTooLargeError
            It has more.
        """
        parts, size = [], 0
        with self.open(path) as file:
            while data := file.read(_CHUNK):
                parts.append(data)
                size += len(data)
                if size > most:
                    raise MediaTooLargeError(
                        f"has more than {most} bytes, too many to be read at once",
                        next_step="look whether it is what it should be",
                        key=printable(path),
                    )
        return b"".join(parts)

    def close(self) -> None:
        """Close the storage."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TreeFile(NamedTuple):
    """One name in a tree, whether it may be imported or not.

    Attributes
    ----------
    path
        Below the tree's root, with `/`.
    modified
        When its bytes were last written, where that is known.
    reason
        Why it can't be taken; empty for a regular file. What ends in `/` is a folder.
    error
        What went wrong when it was looked at.
    """

    path: str
    size: int = 0
    modified: datetime | None = None
    reason: str = ""
    error: OSError | None = None


def locate(tree: SourceTree, named: str) -> str:
    """Return the path of a file in a tree that a stranger names from another working directory.

    Leading parts are left away until something is there, but never down to a bare name: that could be anything.

    Raises
    ------
    MediaError
        Nothing below the tree is meant: it climbs out, is a URL, or is not there.
    """
    text = named if "/" in named else named.replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    step = "only files below the folder that is imported are read"
    if ".." in parts or "://" in text or "\0" in text or len(parts) > _MOST_PARTS:
        raise MediaNotFoundError("leads out of the folder that is imported", next_step=step, key=printable(named))
    if parts and (keys.is_sidecar(parts[-1]) or keys.INTERNAL in parts):
        raise MediaNotFoundError("is no media", next_step=step, key=printable(named))
    for start in range(max(1, len(parts) - 1)):
        path = "/".join(parts[start:])
        if tree.head(path) is not None:
            return path
    raise MediaNotFoundError("no such file below the folder that is imported", next_step=step, key=printable(named))


def opener(tree: SourceTree, path: str) -> Callable[[], BinaryIO]:
    """Return a function that opens a file of a tree; what can't be read is a `MediaError`."""

    def opened() -> BinaryIO:
        try:
            return tree.open(path)
        except MediaError:
            raise
        except OSError as error:
            raise MediaNotFoundError(f"can't be read ({error.strerror or error})", key=printable(path)) from error

    return opened


def is_inside_store(store: MediaStore, roots: Iterable[str]) -> bool:
    """Tell whether a place, by all its spellings, is a store's root or lies below it."""
    for root in roots:
        try:  # the store knows all spellings of its own URL
            store.media_url(f"{root.rstrip('/')}/x")
        except InvalidReferenceError:
            continue
        return True
    return False


def _hidden(path: str) -> str:
    return "is hidden" if any(part.startswith(".") for part in path.split("/")) else ""


def _reason(path: str, mode: int) -> str:
    """Say why a name of this machine is no file to take."""
    if stat.S_ISLNK(mode):
        return "is a link, which may lead anywhere"
    if not stat.S_ISREG(mode):
        return "is no regular file"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name has no UTF-8 form"
    return _hidden(path)


def _time_of(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None  # a stranger's file from the year 36812
