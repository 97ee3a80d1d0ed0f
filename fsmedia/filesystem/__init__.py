"""`media://`: a store as a filesystem that every fsspec client can read and write.

Over local disk and memory its calls are plain function calls without an event loop; over object stores bulk calls
are concurrent. Found by fsspec through the entry point `fsspec.specs`, so a worker needs no import of this package.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from fsspec.asyn import AsyncFileSystem
from fsspec.spec import make_instance
from fsspec.utils import stringify_path, tokenize

from fsmedia.core.lifetime import check_log
from fsmedia.core.telemetry import Observer, checked_hooks
from fsmedia.errors import InvalidMediaError, InvalidReferenceError
from fsmedia.filesystem.base import utc_now
from fsmedia.filesystem.concurrent import Concurrent
from fsmedia.filesystem.files import MediaTransaction
from fsmedia.filesystem.views import VIEW_MAX_AGE, as_age
from fsmedia.storage import open_backend
from fsmedia.storage.address import (
    LOCAL,
    SCHEME,
    Address,
    Ambient,
    Given,
    cut,
    is_relative,
    is_root,
    media_url,
    nested_options,
    place_here,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from fsmedia.core.lifetime import DeletionLog
    from fsmedia.core.telemetry import Hook
    from fsmedia.storage import Backend
    from fsmedia.storage.address import NestedOptions

__all__ = ["MediaFileSystem"]

_FSSPEC_OPTIONS = ("use_listings_cache", "listings_expiry_time", "max_paths")
_HERE = "_here"  # the current directory, where it tells instances apart
_PATIENCE = timedelta(seconds=60)


class _Paths:
    """How paths are read: a class cuts any URL, an instance refuses URLs of other stores."""

    def __get__(self, instance: MediaFileSystem | None, owner: type) -> Any:
        return _cut if instance is None else instance.own_path


class _Cached(type(AsyncFileSystem)):  # type: ignore[misc] # fsspec's cache of instances has no type
    """fsspec's cache of instances, in which a relative root is another one in another current directory."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        here = place_here(kwargs)
        return super().__call__(*args, **kwargs, **({} if here is None else {_HERE: here}))


def _cut(path: Any) -> Any:
    if isinstance(path, list | tuple):
        return [_cut(each) for each in path]
    return cut(stringify_path(path))[0]


class MediaFileSystem(Concurrent, metaclass=_Cached):
    """A store as a filesystem. Paths are references; folders are those of the store's layout.

    Parameters
    ----------
    root
        A folder or any fsspec URL; None takes `fsspec.conf["media"]` or ``$FSMEDIA_URL``.
    url
        The same, as configuration spells it (`fsspec.url_to_fs` has an argument of that name, so it can't pass it on).
    storage_options
        What the filesystem of the root takes. They appear in no text this makes; a pickle takes them along.
    store
        Name of a configured store instead of a URL; ``media://@name/...`` is the same.
    stores
        Configured stores by name: URL, or ``{"url": ..., "storage_options": {...}}``.
    fo, target_protocol, target_options
        The root as a chained URL gives it.
    durability, max_file_size, read_only, timeout, hooks, deletion_log, now
        As in `MediaStore`; a timeout may be given in seconds.
    block_size
        Bytes that a seek in an opened media fetches from an object store; None is 256 KiB.
    view_max_age
        How old what views show may be, in seconds or as a timedelta; 0 looks each time, None only once.

    Raises
    ------
    InvalidMediaError
        No store is named, or an option is out of place; the text says where it belongs.
    """

    protocol = "media"
    root_marker = ""
    transaction_type = MediaTransaction
    _extra_tokenize_attributes = ("ambient",)
    ambient = Ambient()
    _strip_protocol = _Paths()

    def __init__(
        self,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        *,
        root: str | None = None,
        url: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        store: str | None = None,
        stores: Mapping[str, Any] | None = None,
        durability: Literal["fsync", "rename"] = "fsync",
        max_file_size: int | None = 1 << 30,
        read_only: bool = False,
        timeout: float | timedelta = _PATIENCE,
        block_size: int | None = None,
        view_max_age: float | timedelta | None = VIEW_MAX_AGE,
        now: Callable[[], datetime] = utc_now,
        hooks: Iterable[Hook] = (),
        deletion_log: DeletionLog = None,
        asynchronous: bool = False,
        loop: Any = None,
        batch_size: int | None = None,
        **others: Any,
    ) -> None:
        for name in (*_FSSPEC_OPTIONS, _HERE):
            others.pop(name, None)  # no listing is ever cached, whatever is asked
        given = Given(
            fo=fo,
            target_protocol=target_protocol,
            target_options=target_options,
            root=None if root is None else stringify_path(root),
            url=None if url is None else stringify_path(url),
            storage_options=storage_options,
            store=store,
            stores=stores,
        )
        self._address: Address = given.address(others)
        age = view_max_age if view_max_age is None else as_age(view_max_age)
        patience = timeout if isinstance(timeout, timedelta) else timedelta(seconds=timeout)
        self._hooks = checked_hooks(hooks)
        self._settings = {
            "durability": durability,
            "max_file_size": max_file_size,
            "read_only": read_only,
            "timeout": patience.total_seconds(),
            "block_size": block_size,
            "view_max_age": None if age is None else age.total_seconds(),
            "now": now,
            "hooks": self._hooks,
            "deletion_log": deletion_log,
            "asynchronous": asynchronous,
            "batch_size": batch_size,
        }
        check_log(deletion_log)
        if durability not in ("fsync", "rename"):
            raise InvalidMediaError(f"unknown durability {durability!r}", next_step="use 'fsync' or 'rename'")
        self._max_file_size = max_file_size
        self._read_only = read_only
        self._now = now
        self._deletion_log = deletion_log
        self._block_size = block_size
        self._view_max_age = age
        self._shown = {}
        self._backend = self._opened_root(patience, durability)
        self._observer = Observer(self._backend.url, self._hooks)
        if is_relative(self._address.url):  # what this is and what is pickled stays the same after a chdir
            self._address = replace(self._address, url=self._backend.url)
        # The metaclass reads both: over a storage that blocks, no loop is ever involved.
        self.async_impl = asynchronous or self._backend.asynchronous
        self.mirror_sync_methods = self._backend.asynchronous and not asynchronous
        super().__init__(asynchronous=asynchronous, loop=loop, batch_size=batch_size, use_listings_cache=False)

    def _opened_root(self, patience: timedelta, durability: Literal["fsync", "rename"]) -> Backend:
        options = dict(self._address.options)
        if self._protocol() not in LOCAL:
            # fsspec would reuse a filesystem that took its credentials from an environment that has changed since.
            options["skip_instance_cache"] = True
        return open_backend(self._address.url, options, timeout=patience, durability=durability)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the root that was found here, whatever is configured where it is unpickled."""
        address = self._address
        named: dict[str, Any] = {"root": address.url, "storage_options": address.options}
        if address.form == "name":
            entry = {"url": address.url, "storage_options": address.options}
            named = {"store": address.name, "stores": {address.name: entry}}
        elif address.form == "chain":
            named = {"fo": self._given_path(), "target_protocol": self._protocol(), "target_options": address.options}
        return make_instance, (type(self), (), {**named, **self._settings})

    @property
    def _fs_token(self) -> str:
        """What tells two filesystems apart: the root, how it was named, and the settings."""
        address = self._address
        token: str = tokenize(type(self), address.url, address.options, address.form, address.name, self._settings)
        return token

    def _protocol(self) -> str:
        return self._address.url.partition("://")[0] if "://" in self._address.url else "file"

    def _given_path(self) -> str:
        url = self._address.url
        return url.partition("://")[2] if "://" in url else url

    def __repr__(self) -> str:
        return f"MediaFileSystem({self._backend.url!r})"

    @classmethod
    def _get_kwargs_from_urls(cls, path: str) -> dict[str, Any]:
        name = cut(stringify_path(path))[2]
        return {"store": name} if name else {}

    def own_path(self, path: Any) -> Any:
        """Return the path below the root; a URL of another store is refused.

        Raises
        ------
        InvalidReferenceError
            The URL names another root.
        """
        if isinstance(path, list | tuple):
            return [self.own_path(each) for each in path]
        text = stringify_path(path)
        key, rest, name = cut(text)
        elsewhere = rest and not is_root(rest, [*self._backend.roots(), self._address.url])
        if elsewhere or (name and name != self._address.name):
            raise InvalidReferenceError(
                f"the URL is of another store than this one at {self._backend.url}",
                next_step="open it with fsspec.open, or leave the part after :: away; nothing can be joined onto it",
                reference=key,
            )
        return key

    def unstrip_protocol(self, name: str) -> str:
        """Return the URL of a path, in the form in which this filesystem was opened."""
        key = self._strip_protocol(name)
        if self._address.form == "chain":
            return media_url(key, self._backend.url)
        if self._address.form == "name":
            return f"{SCHEME}@{self._address.name}/{key}"
        return f"{SCHEME}{key}"

    @property
    def url_options(self) -> NestedOptions:
        """Storage options to give along with a chained URL of this store; they hold its secrets, the repr does not."""
        return nested_options(self._address.url, self._address.options)

    @property
    def fsid(self) -> str:
        """Which store this is."""
        return f"media_{self._backend.url}"

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Return what `from_dict` takes; like a pickle it holds the secrets, unless told not to."""
        _, (_, _, options) = self.__reduce__()
        options = {name: value for name, value in options.items() if name not in ("now", "hooks", "deletion_log")}
        if not include_password:
            options = {name: value for name, value in options.items() if not name.endswith(("_options", "stores"))}
            public = self._backend.url
            shown = {"root": public, "fo": public.partition("://")[2] if "://" in public else public}
            options |= {name: url for name, url in shown.items() if name in options}
        kind = type(self)
        return {"cls": f"{kind.__module__}:{kind.__name__}", "protocol": self.protocol, "args": (), **options}

    def invalidate_cache(self, path: str | None = None) -> None:
        """Do nothing: nothing is cached."""
