"""What every part of a store stands on: its constructor, its settings, the spelling of references, its life."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, TypeVar

from fsmedia.core import commit, records
from fsmedia.core.deletions import check_log
from fsmedia.core.draft import Desk
from fsmedia.core.settings_file import Founding
from fsmedia.core.telemetry import Observer, checked_hooks, name_media
from fsmedia.errors import InvalidMediaError, InvalidReferenceError, MediaNotFoundError, ReadOnlyStoreError
from fsmedia.filesystem import MediaFileSystem
from fsmedia.filesystem.sighting import VIEW_MAX_AGE, as_age
from fsmedia.format import keys
from fsmedia.format.configuration import Settings
from fsmedia.format.messages import Marker
from fsmedia.storage import open_backend
from fsmedia.storage.environment import find_store, url_from_environment
from fsmedia.storage.naming import SCHEME, conf_stores, cut, is_root, media_url, nested_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from os import PathLike
    from types import TracebackType

    from fsmedia.core.deletions import DeletionLog
    from fsmedia.core.telemetry import Hook
    from fsmedia.models import OrganizationMode, RetentionPolicy
    from fsmedia.storage.naming import NestedOptions

Durability = Literal["fsync", "rename"]
T = TypeVar("T")


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


class Root:
    """One opened root; `MediaStore` documents the parameters."""

    def __init__(  # noqa: PLR0913 - the constructor of the service: all its settings, by keyword
        self,
        url: str | PathLike[str] | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        organization: OrganizationMode | str | None = None,
        layouts: Mapping[str, str] | None = None,
        views: Mapping[str, str] | None = None,
        policies: Mapping[str, RetentionPolicy | timedelta] | Iterable[RetentionPolicy] | None = None,
        default_policy: str | None = None,
        deduplicate: bool | None = None,
        orphan_grace: timedelta | None = None,
        max_file_size: int | None = 1 << 30,
        durability: Durability = "fsync",
        read_only: bool = False,
        url_expiry: timedelta = timedelta(hours=1),
        view_max_age: timedelta | None = VIEW_MAX_AGE,
        timeout: timedelta = timedelta(seconds=60),
        allow_private_urls: bool = False,
        hooks: Iterable[Hook] = (),
        deletion_log: DeletionLog = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        settings = Settings.read(
            organization, layouts, policies, default_policy, deduplicate, orphan_grace, view_templates=views
        )
        _check_limits(max_file_size, durability, timeout, url_expiry)
        check_log(deletion_log)
        if view_max_age is not None:
            as_age(view_max_age)
        root = url_from_environment() if url is None else text_of(url)
        self._root = root
        self._storage_options = dict(storage_options or {})
        self._durability = durability
        self._fs: MediaFileSystem | None = None
        self._backend = open_backend(root, storage_options, timeout=timeout, durability=durability)
        self._max_file_size = max_file_size
        self._read_only = read_only
        self._now = now
        self._url_expiry = url_expiry
        self._view_max_age = view_max_age
        self._timeout = timeout
        self._allow_private_urls = allow_private_urls
        self._deletion_log = deletion_log
        self._founding = Founding(self._backend, settings)
        self._observer = Observer(self._backend.url, checked_hooks(hooks))

    def create(self) -> Self:
        """Write the store's settings now; without it the first write does. Does nothing to a store that has them.

        Raises
        ------
        StoreConflictError
            The store has other settings.
        """
        self._check_writable()
        self._founding.refresh()
        self._founding.settle()
        return self

    @property
    def url(self) -> str:
        """The root, without user, password or query."""
        return self._backend.url

    @property
    def organization(self) -> OrganizationMode:
        """Which layout writing uses."""
        return self._founding.refresh().organization

    @property
    def fs(self) -> MediaFileSystem:
        """The store as an fsspec filesystem whose paths are references: `store.fs.ls("runs")`."""
        if self._fs is None:
            self._fs = MediaFileSystem(
                root=self._root,
                storage_options=self._storage_options,
                durability=self._durability,
                max_file_size=self._max_file_size,
                read_only=self._read_only,
                timeout=self._timeout,
                view_max_age=self._view_max_age,
                now=self._now,
                hooks=self._observer.hooks,
                deletion_log=self._deletion_log,
            )
        return self._fs

    @property
    def url_options(self) -> NestedOptions:
        """Storage options to give along with `media_url`; they hold the store's secrets, their repr does not."""
        return nested_options(self._root, self._storage_options)

    def media_url(self, reference: str) -> str:
        """Return the URL under which any fsspec client opens a media, or a folder: `media://runs/r1/x.png::s3://b/m`.

        It holds no secret: credentials come from the environment, or from `url_options`. A copy of it in another
        process needs no settings but those.

        Raises
        ------
        InvalidReferenceError
            The reference is not of this store.
        """
        return media_url(self._key(reference), self._backend.url)

    def _desk(self) -> Desk:
        """Return what a write needs."""
        self._check_writable()
        founding = self._founding
        return Desk(self._backend, founding.refresh(), self._max_file_size, self._now, founding.settle)

    def _check_writable(self) -> None:
        if self._read_only:
            raise ReadOnlyStoreError("the store was opened read-only", next_step="open it without read_only=True")

    def _key(self, reference: str) -> str:
        """Return the key a reference names, whichever way it is spelled."""
        key = self._spelled(reference)
        name_media(key)
        return key

    def _spelled(self, reference: str) -> str:
        if not isinstance(reference, str) or (reference[:1] != "/" and "://" not in reference):
            return keys.check_reference(reference)
        if reference.startswith(SCHEME):
            return keys.check_reference(self._key_of_url(reference))
        return keys.check_reference(keys.relative_to_root(reference, self._backend.roots()))

    def _key_of_url(self, url: str) -> str:
        """Return the key that a media:// URL names; a root in it must be this one.

        The text that `externalize` puts in a media's place is such a URL too.
        """
        marker = Marker.parse(url)
        if marker is not None:
            return marker.reference
        key, rest, name = cut(url)
        if name:
            rest = find_store(name, conf_stores())[0]
        if rest and not is_root(rest, self._backend.roots()):
            raise InvalidReferenceError(
                f"the URL is of another store than this one at {self.url}",
                next_step="open the store that the part after :: names",
                reference=key,
            )
        return key

    def _reached(self, reference: str, act: Callable[[str], T]) -> T:
        """Do something with a media; where it is not found, under the name that a conversion gave it."""
        key = self._key(reference)
        with commit.about(key):
            try:
                return act(key)
            except MediaNotFoundError:
                self._look_for_conversion(key)
                moved = self._moved(key)
                if moved is None:
                    raise
        with commit.about(moved):
            return act(moved)

    def _look_for_conversion(self, key: str) -> None:
        """Read the settings anew where a media was not found: somebody may have converted the store meanwhile."""
        founding = self._founding
        if records.may_have_moved(key) and founding.is_settled and not founding.configuration.deduplicate:
            founding.reload()

    def _moved(self, key: str) -> str | None:
        """Return what a media is called since the store was converted, or since a sync brought it here.

        Asked only for what was not found.
        """
        founding = self._founding  # a root without settings was never converted, and is not listed to assume any
        if not (founding.is_settled and founding.configuration.deduplicate):
            return None
        if keys.pointer_of(key) is not None:
            return records.brought_as(self._backend, key)
        return records.moved_to(self._backend, key) if records.may_have_moved(key) else None

    def _opened_bytes(self, reference: str) -> BinaryIO:
        """Open a media's bytes; some storages tell only at the first read that there are none, too late to look on."""

        def opened(key: str) -> BinaryIO:
            founding = self._founding
            converted = founding.is_settled and founding.configuration.deduplicate and records.may_have_moved(key)
            if converted and not records.exists(self._backend, key):
                raise records.not_found(key)
            return records.open_bytes(self._backend, key)

        return self._reached(reference, opened)

    def close(self) -> None:
        """Let go of what the store holds open; it may be used again."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"MediaStore({self.url!r}{', read_only=True' if self._read_only else ''})"


def text_of(url: object) -> str:
    """Return the text of a root, which may be a path object."""
    text = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise InvalidReferenceError(
            f"the root of a store must be a path or a URL, not {type(url).__name__}",
            next_step="e.g. /data/media or s3://bucket/media",
        )
    return text


def _check_limits(max_file_size: int | None, durability: str, timeout: timedelta, url_expiry: timedelta) -> None:
    sized = isinstance(max_file_size, int) and not isinstance(max_file_size, bool)
    if max_file_size is not None and (not sized or max_file_size < 1):
        raise InvalidMediaError(
            f"max_file_size must be a number of bytes from 1, not {max_file_size!r}", next_step="None takes any size"
        )
    if durability not in ("fsync", "rename"):
        raise InvalidMediaError(f"unknown durability {durability!r}", next_step="use 'fsync' or 'rename'")
    for name, value in (("timeout", timeout), ("url_expiry", url_expiry)):
        if not isinstance(value, timedelta) or value <= timedelta(0):
            raise InvalidMediaError(f"{name} must be a positive timedelta, not {value!r}")
