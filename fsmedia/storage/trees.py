"""What a file system shows of any storage that fsspec knows: folders, ranges, copies; on fsspec's loop too."""

from __future__ import annotations

import errno
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fsmedia.storage.errors import explained
from fsmedia.storage.infos import entry_of
from fsmedia.storage.port import Backend, Entry, Listing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fsmedia.storage.port import OnLoop

T = TypeVar("T")

_BAD_RANGE = ("InvalidRange", "416", "Range Not Satisfiable", "not satisfiable")


class LoopReads(NamedTuple):
    """The reads of an asynchronous filesystem, see `OnLoop`; what goes wrong is explained."""

    reader: Callable[[str, int | None, int | None], Awaitable[bytes | None]]
    downloader: Callable[[str, str, Any], Awaitable[bool]]
    secrets: frozenset[str]

    def __repr__(self) -> str:
        return "LoopReads()"

    async def read_range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        """Read a part, or all of it."""
        with explained(key, self.secrets):
            return await self.reader(key, start, end)

    async def download(self, key: str, path: str, callback: Any) -> bool:
        """Write the bytes to a file of this machine as they come."""
        with explained(key, self.secrets):
            return await self.downloader(key, path, callback)


class Trees(Backend):
    """The part of `FsspecBackend` that reads folders and parts of files."""

    _secrets: frozenset[str]
    _storage_options: dict[str, Any]

    @property
    @abstractmethod
    def fs(self) -> Any:
        """The filesystem behind."""

    @abstractmethod
    def _path(self, key: str) -> str: ...

    @abstractmethod
    def _key(self, path: str) -> str: ...

    @abstractmethod
    def _ask(self, key: str | None, call: Callable[[], T]) -> T: ...

    @abstractmethod
    def _sync(self, function: Callable[..., Awaitable[T]], *args: Any, size: int = 0, **options: Any) -> T: ...

    @abstractmethod
    async def _cat(self, path: str) -> bytes: ...

    @property
    def asynchronous(self) -> bool:  # type: ignore[override]
        """Whether the filesystem behind has coroutines."""
        return bool(self.fs.async_impl)

    def read_range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        """Read a part, or all of it."""
        if self.asynchronous:
            return self._ask(key, lambda: self._sync(self._range, key, start, end))

        def read() -> bytes | None:
            try:
                data: bytes = self.fs.cat_file(self._path(key), start=start, end=end)
            except (FileNotFoundError, IsADirectoryError):
                return None
            return data

        return self._ask(key, read)

    def on_loop(self) -> OnLoop | None:
        """Return the coroutines, where the filesystem behind has any."""
        return LoopReads(self._range, self._download, self._secrets) if self.asynchronous else None

    async def _range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        path = self._path(key)
        try:
            if start is None and end is None:
                return await self._cat(path)
            if start is not None and end is not None and (start == end or 0 <= end < start):
                return b""
            data: bytes = await self.fs._cat_file(path, start=start, end=end)
        except (FileNotFoundError, IsADirectoryError):
            return None
        except Exception as error:
            # What begins past the end has no bytes; servers call it an error.
            if any(word in str(error) for word in _BAD_RANGE):
                return b""
            raise
        return data

    async def _download(self, key: str, path: str, callback: Any) -> bool:
        try:
            await self.fs._get_file(self._path(key), path, callback=callback)
        except FileNotFoundError:
            return False
        return True

    def local_path(self, key: str) -> str | None:
        """Nothing of this storage lies on this machine."""
        del key
        return None

    def children(self, folder: str = "", *, until: str | None = None) -> Listing:
        """List by fsspec's `ls`."""
        del until
        entries: list[Entry] = []
        folders: list[str] = []
        path = self._path(folder)

        def listed() -> list[dict[str, Any]]:
            try:
                self.fs.invalidate_cache()
                found: list[dict[str, Any]] = self.fs.ls(path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return found

        for info in self._ask(folder or None, listed):
            name = info["name"].rstrip("/")
            if name.strip("/") == path.strip("/"):
                continue
            if info["type"] == "directory":
                folders.append(self._key(name))
            else:
                entries.append(entry_of(self._key(name), info))
        return Listing(entries, folders)

    def is_folder(self, key: str) -> bool:
        """Ask whether anything is in it."""
        return self.holds(key)

    def copy(self, source: str, target: str, content_type: str) -> None:
        """Let the storage copy where it can; the content type comes along."""
        if not self.asynchronous:
            super().copy(source, target, content_type)
            return
        self._copied(self.fs._cp_file, source, self._path(source), target)

    def reaches(self, other: Backend) -> bool:
        """Tell whether the other root is opened the same way; chains of filesystems are not looked into."""
        if type(self) is not type(other) or not isinstance(other, Trees) or not self.asynchronous:
            return False
        return "::" not in self.url + other.url and self._storage_options == other._storage_options

    def copy_from(self, other: Backend, source: str, target: str, size: int) -> None:
        """Let the storage copy from another root of its own."""
        if not isinstance(other, Trees):
            super().copy_from(other, source, target, size)
            return
        self._copied(self._copier(size), source, other._path(source), target)

    def _copier(self, size: int) -> Callable[[str, str], Awaitable[object]]:
        """Return the coroutine that copies a file of that size."""
        del size
        copier: Callable[[str, str], Awaitable[object]] = self.fs._cp_file
        return copier

    @property
    def endpoint(self) -> str | None:
        """What the options say; filesystems call it by several names."""
        named = (self._storage_options, self._storage_options.get("client_kwargs") or {})
        return next((str(each["endpoint_url"]) for each in named if each.get("endpoint_url")), None)

    def _copied(self, copier: Callable[[str, str], Awaitable[object]], source: str, path: str, target: str) -> None:
        def copied() -> None:
            try:
                self._sync(copier, path, self._path(target))
            except FileNotFoundError:
                missing.append(source)

        missing: list[str] = []
        self._ask(target, copied)
        if missing:
            raise FileNotFoundError(errno.ENOENT, "no such object", source)
