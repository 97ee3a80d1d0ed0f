"""What can go wrong: one tree of errors, all under `MediaError`.

Every error names the thing it is about (`.reference` or `.key`), says in its text what to do next, survives
pickling, and is also the builtin exception that fits, so that `except FileNotFoundError` works too.
"""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


_USER = re.compile(r"(://)[^/\s?#]*@")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_QUERY = re.compile(r"(://[^\s?#]*)[?#]\S*")


def without_secrets(text: str) -> str:
    """Return text without user, password, query and fragment of any URL in it."""
    # A stranger's URL may be a signed one: whoever reads its query can do what it allows.
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text)) if "://" in text else text


class MediaError(Exception):
    """Base of all errors of this package.

    Parameters
    ----------
    problem, next_step
        What is wrong, without the name of the thing; what the reader can do now.
    reference, key
        The reference of the media item it is about, or the key (path below the root) of a sidecar, ``store.json``.
    """

    def __init__(
        self, problem: str, *, next_step: str = "", reference: str | None = None, key: str | None = None
    ) -> None:
        self.problem = problem
        self.next_step = next_step
        self.reference = None if reference is None else str(reference)
        self.key = key
        self.args = (str(self),)

    def __str__(self) -> str:
        """Return `name: problem; next step`, on one line whatever characters the name holds."""
        name = self.reference if self.reference is not None else self.key
        text = self.problem if name is None else f"{_printable(name)}: {self.problem}"
        return f"{text}; {self.next_step}" if self.next_step else text

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes: the builtin bases have constructors of their own."""
        return _rebuild, (type(self), dict(self.__dict__))

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        """Restore what `__reduce__` kept."""
        self.__dict__.update(state or {})
        self.args = (str(self),)


def _rebuild(cls: type[MediaError], state: dict[str, Any]) -> MediaError:
    """Make an error again in the process that unpickles it."""
    error = cls.__new__(cls)
    error.__setstate__(state)
    return error


def _printable(name: str) -> str:
    """Return a name as it is if it can stand in a line of text, else quoted and escaped."""
    shown = name if len(name) <= 300 else f"{name[:200]}...({len(name)} characters)"
    return shown if shown.isprintable() and shown.strip() == shown and shown else repr(shown)


class InvalidMediaError(MediaError, ValueError):
    """The content or the metadata can't be stored as given."""


class InvalidReferenceError(MediaError, ValueError):
    """The reference can't name a media item of this store."""


class InvalidLayoutError(MediaError, ValueError):
    """A template or an id renders to a path that a store must not hold."""


class UnknownPolicyError(MediaError, ValueError):
    """The policy name is neither of the known forms nor given to the store."""


class MediaTooLargeError(MediaError, ValueError):
    """The bytes are more than the store's `max_file_size`."""


class MediaNotFoundError(MediaError, FileNotFoundError):
    """There is no such media item, or not any more."""


class HeldMediaError(MediaError, PermissionError):
    """The media item is held: nothing may delete or replace it."""


class ReadOnlyStoreError(MediaError, PermissionError):
    """The store was opened with `read_only=True`."""


class StoreConflictError(MediaError, FileExistsError):
    """The store says one thing and the caller another."""


class CorruptSidecarError(MediaError, ValueError):
    """A sidecar exists and can't be read as one."""


class CorruptMediaError(MediaError, OSError):
    """The bytes that were read are not those that were stored: another length, or another digest."""


class StorageError(MediaError, OSError):
    """The storage failed or gave no answer."""


class BulkError(MediaError):
    """Some of many operations failed; raised after all were tried.

    Attributes
    ----------
    results, errors
        What succeeded and what failed, as `MediaError`: index in the input -> result or error.
    """

    def __init__(self, results: Mapping[int, Any], errors: Mapping[int, MediaError]) -> None:
        self.results = dict(results)
        self.errors = dict(errors)
        first = next(iter(self.errors.values()), None)
        count = len(self.results) + len(self.errors)
        super().__init__(
            f"{len(self.errors)} of {count} failed, first: {first}",
            next_step="`.errors` maps each index to its error, `.results` holds what succeeded",
        )


def add_reference(error: MediaError, reference: str) -> MediaError:
    """Add the reference to an error that names none."""
    if error.reference is None:
        error.reference = str(reference)
        error.args = (str(error),)
    return error


class ErrorContext:
    """Adds a reference to every error of this package that leaves the block."""

    # A class, not a generator: it stands around each step of a store, and a generator costs several times as much.
    __slots__ = ("_reference",)

    def __init__(self, reference: str) -> None:
        self._reference = reference

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, MediaError):
            add_reference(error, self._reference)


class LocalFileContext:
    """Names a file of this machine in what a full disk or a limit says of it: the system names none at a write."""

    __slots__ = ("_path",)

    def __init__(self, path: object) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Other numbers may be a connection's, whose errors must not name this file.
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            raise OSError(error.errno, error.strerror, str(self._path)) from error


class ForeignCall:
    """Keeps whatever code that is not ours raises in the block, as `error`: one failure must not end the whole."""

    __slots__ = ("error",)

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # No interrupt and no exit of the process is kept, only errors.
        if not isinstance(error, Exception):
            return False
        self.error = error
        return True


INSTALL: Final = {
    "s3": "pip install s3fs",
    "gcs": "pip install gcsfs",
    "azure": "pip install adlfs",
    "fast": "pip install obstore",
    "catalog": "pip install pyarrow duckdb",
    "notebook": "pip install pillow av tinytag markupsafe pypdfium2 markdown-it-py anywidget",
    "browse": "pip install starlette uvicorn pyarrow duckdb pillow av markupsafe pypdfium2 markdown-it-py",
}
"""What installs the packages of an extra, wherever this package came from: an index, a file or a clone."""
