"""What every part of the filesystem stands on: the opened root, its settings, keys out of paths, worker threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from fsspec.asyn import AsyncFileSystem

from fsmedia.core.draft import Desk
from fsmedia.core.settings_file import Founding
from fsmedia.core.telemetry import name_media
from fsmedia.errors import InvalidReferenceError, MediaError, MediaNotFoundError, ReadOnlyStoreError
from fsmedia.format import keys
from fsmedia.format.configuration import Configuration, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsmedia.core.deletions import DeletionLog
    from fsmedia.core.telemetry import Observer
    from fsmedia.format.configuration import Configuration
    from fsmedia.storage import Backend

_THREADS = 32
_REMEMBERED = 4096
_LOOK = "list its folder"


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


class Grounds(AsyncFileSystem):
    """One opened root."""

    _backend: Backend
    _max_file_size: int | None
    _read_only: bool
    _block_size: int | None
    _now: Callable[[], datetime]
    _deletion_log: DeletionLog
    _observer: Observer
    _founding: Founding | None = None

    # -- the store's settings ------------------------------------------------------------------------------

    def _founded(self) -> Founding:
        if self._founding is None:
            self._founding = Founding(self._backend, Settings())
        return self._founding

    def _configuration(self) -> Configuration:
        return self._founded().configuration

    def _desk(self) -> Desk:
        """Return what a write needs.

        Raises
        ------
        ReadOnlyStoreError
            Nothing may be written here; nothing was.
        """
        if self._read_only:
            raise ReadOnlyStoreError("the store was opened read-only", next_step="open it without read_only=True")
        founding = self._founded()
        settings = founding.configuration if founding.is_settled else founding.refresh()
        if not founding.is_settled:
            url = self._backend.url
            raise ReadOnlyStoreError(
                f"there is no store at {url} (it holds no {keys.CONFIGURATION_KEY}), so nothing was written",
                next_step=f"check that nothing was joined onto the URL; to make a store there: "
                f"MediaStore({url!r}).create(), or `fsmedia init --store {url}`",
            )
        return Desk(self._backend, settings, self._max_file_size, self._now, _settled, self._observer)

    # -- paths ---------------------------------------------------------------------------------------------

    def _key(self, path: str) -> str:
        """Return the key of a path; it need not be one that can hold a media."""
        if type(path) is str and path[:6] != "media:":
            return path.strip("/")
        key: str = self._strip_protocol(path)
        return key

    def _existing_key(self, path: str) -> str:
        """Return the key of a media that may be there.

        Raises
        ------
        MediaNotFoundError
            Nothing of that name can be.
        """
        key = self._key(path)
        if not is_hidden(key):
            name_media(key)
            return key
        try:
            return keys.check_reference(key)
        except InvalidReferenceError as error:
            raise _hidden(key, error) from None

    def _free_key(self, path: str, *, is_folder: bool = False) -> str:
        """Return the key of a media, or folder, that is to be written.

        Raises
        ------
        InvalidReferenceError
            The name can't be that of a media.
        """
        key = keys.check_reference(self._key(path))
        if keys.pointer_of(key) is not None:
            raise InvalidReferenceError(
                "names of this form belong to deduplicated media", next_step="choose another name", reference=key
            )
        first = key.partition("/")[0]
        problem = None
        if first.startswith("@"):
            problem = "a name at the top that begins with @ stands for a named store"
        else:
            parts = key.split("/")
            if any(keys.is_hidden(part) for part in (parts if is_folder else parts[:-1])):
                problem = "no listing shows what lies in a folder of this name"
        if problem:
            raise InvalidReferenceError(problem, next_step="choose another name", reference=key)
        keys.check_lengths(key, self._backend.root_length)
        return key

    def _refuse_link(self, key: str) -> None:
        """Refuse to remove or move what lies behind a link to a folder.

        Raises
        ------
        InvalidReferenceError
            The key is such a link.
        """
        if self._backend.is_link(key):
            raise InvalidReferenceError(
                "is a symlink to a folder",
                next_step="remove the link itself outside of the store; the folder has a name of its own",
                reference=key,
            )

    # -- threads -------------------------------------------------------------------------------------------

    _workers: tuple[int, ThreadPoolExecutor] | None = None

    def _threads(self) -> ThreadPoolExecutor:
        """Return the threads that do blocking work for a loop; a forked child has its own."""
        workers = self._workers
        if workers is None or workers[0] != os.getpid():
            workers = self._workers = (os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="fsmedia"))
        return workers[1]


@lru_cache(maxsize=_REMEMBERED)
def is_hidden(key: str) -> bool:
    """Tell whether nothing of that name is shown, or can be there at all; the text alone says so."""
    try:
        keys.check_reference(key)
    except InvalidReferenceError:
        return True
    return False


@lru_cache(maxsize=_REMEMBERED)
def is_own_name(key: str) -> bool:
    """Tell whether the name is of the store's own form, so that its bytes alone are no media."""
    return keys.is_own_name(key)


def _settled(_reference: str, _drafted: Configuration) -> None:
    """Do nothing: the store has its settings before anything is written here."""


def _hidden(key: str, error: MediaError) -> MediaError:
    if key == "":
        return MediaNotFoundError("the root is no media", next_step=_LOOK, reference=key)
    return MediaNotFoundError(f"no such media ({error.problem})", next_step=_LOOK, reference=key)


def not_found(key: str) -> MediaNotFoundError:
    """Say that nothing visible is there."""
    return MediaNotFoundError("no such media or folder", next_step=_LOOK, reference=key)
