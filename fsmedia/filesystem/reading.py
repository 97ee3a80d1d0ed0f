"""The part of the filesystem that looks and lists, one call at a time. Nothing is served from a cache.

What no listing of a store shows (sidecars, `.fsmedia/`, temporary names, bytes of our own form without a sidecar) is
not there; only the exact name of a media's bytes is read without looking for its sidecar.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fsspec.utils import tokenize

from fsmedia.core import commit, records
from fsmedia.core.telemetry import observed
from fsmedia.errors import CorruptSidecarError, MediaError
from fsmedia.filesystem.attributes import file_info, folder_info
from fsmedia.filesystem.grounds import is_hidden, is_own_name, not_found
from fsmedia.filesystem.patterns import Patterns
from fsmedia.format import keys
from fsmedia.storage import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from fsmedia.storage.port import Listing

_CHUNK = 2**20


class Reading(Patterns):
    """Methods of `MediaFileSystem` that leave the store as it is."""

    # -- looking -------------------------------------------------------------------------------------------

    def info(self, path: str, *, metadata: bool = False, **_: Any) -> dict[str, Any]:
        """Describe a file or folder: name, size, type, mtime, created, ETag, mime_type (by its name).

        Parameters
        ----------
        metadata
            Add all that the sidecar tells: ids, policy, digest, expiry, what the content is; this reads it. Where
            the look at a media reads its sidecar anyway (object stores, names of the store's own form) it is there
            without asking.

        Raises
        ------
        MediaNotFoundError
            There is neither.
        """
        key = self._key(path)
        if not key:
            return folder_info("")
        if not is_hidden(key):
            found = self._described(key, metadata=metadata)
            if found is not None:
                return found
            if self._backend.is_folder(key):
                return folder_info(key)
        raise not_found(key)

    def _described(self, key: str, *, metadata: bool) -> dict[str, Any] | None:
        """Describe a file; None if there is none."""
        backend = self._backend
        own = is_own_name(key)
        pointer = keys.pointer_of(key) if own else None
        if pointer is not None:
            return self._described_shared(key, pointer, metadata=metadata)
        if not metadata and not (own and backend.asynchronous):
            entry = backend.head_beside(key, keys.sidecar_key(key)) if own else backend.head(key)
            return None if entry is None else file_info(entry)
        answers = backend.fetch(reads=[keys.sidecar_key(key)], heads=[key])
        entry, text = answers.heads[0], answers.reads[0]
        if entry is None or (own and text is None):
            return None
        try:
            return self._full_info(records.Found(entry, text))
        except CorruptSidecarError:
            if metadata:
                raise
            return file_info(entry)

    def _described_shared(self, key: str, pointer: keys.Pointer, *, metadata: bool) -> dict[str, Any] | None:
        """Describe a deduplicated file by its sidecar, which is there as long as the file, and by its name."""
        sidecar = keys.sidecar_key(key)
        wanted = [sidecar] if metadata or self._backend.asynchronous else []
        answers = self._backend.fetch(reads=wanted, heads=[sidecar])
        if answers.heads[0] is None:
            return None
        entry = Entry(key, pointer.size, answers.heads[0].modified, pointer.generation)
        text = answers.reads[0] if wanted else None
        if text is None:
            return file_info(entry)
        try:
            return self._full_info(records.Found(entry, text))
        except CorruptSidecarError:
            if metadata:
                raise
            return file_info(entry)

    def exists(self, path: str, **_: Any) -> bool:
        """Tell whether there is a file or folder."""
        key = self._key(path)
        if not key:
            return True
        return not is_hidden(key) and (self._is_file(key) or self._backend.is_folder(key))

    def isfile(self, path: str) -> bool:
        """Tell whether there is a file."""
        key = self._key(path)
        return bool(key) and not is_hidden(key) and self._is_file(key)

    def isdir(self, path: str) -> bool:
        """Tell whether there is a folder."""
        key = self._key(path)
        return not key or (not is_hidden(key) and self._backend.is_folder(key))

    def _is_file(self, key: str) -> bool:
        if is_own_name(key):
            if keys.pointer_of(key) is not None:
                return self._backend.head(keys.sidecar_key(key)) is not None
            return self._backend.head_beside(key, keys.sidecar_key(key)) is not None
        return self._backend.head(key) is not None

    def created(self, path: str) -> datetime:
        """Return when the bytes at a path were written, aware; media are written once, so this is `modified`."""
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        """Return when the bytes at a path were written, aware."""
        found: datetime = self.info(path)["mtime"]
        return found

    def ukey(self, path: str) -> str:
        """Return a text that changes when the file does."""
        found = self.info(path)
        key: str = tokenize([str(found.get(name)) for name in ("name", "size", "mtime", "ETag")])
        return key

    def checksum(self, path: str) -> int:
        """Return a number that changes when the file does."""
        return int(self.ukey(path), 16)

    @observed("get_url")
    def sign(self, path: str, expiration: int = 3600, **_: Any) -> str:
        """Return a URL under which other programs get the bytes, for that many seconds; see `MediaStore.get_url`."""
        key = self._existing_key(path)
        with commit.about(key):
            if keys.pointer_of(key) is not None:
                return records.shared_url(self._backend, key, timedelta(seconds=expiration), self._configuration())
            url = self._backend.sign(key, timedelta(seconds=expiration))
            if not records.exists(self._backend, key):
                raise not_found(key)
        return url

    # -- listing -------------------------------------------------------------------------------------------

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002 - fsspec's signature
        """List a folder, or a file alone.

        Raises
        ------
        MediaNotFoundError
            There is neither.
        """
        key = self._key(path)
        if key and is_hidden(key):
            raise not_found(key)
        found = list(_visible(self._backend.children(key)))
        if not found and key and not (self._backend.keeps_folders and self._backend.is_folder(key)):
            found = [self.info(key)]
            if found[0]["type"] == "directory":
                found = []
        return found if detail else sorted(info["name"] for info in found)

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002 - fsspec's signature
        detail: bool = False,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> Any:
        """List all files below a folder, with folders if asked; a file is found by its own name."""
        prefix = kwargs.pop("prefix", "")
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        key = self._key(path)
        found = {} if key and is_hidden(key) else self._found(key, maxdepth, withdirs=withdirs)
        if prefix:
            begin = f"{key}/{prefix}" if key else prefix
            found = {name: info for name, info in found.items() if name.startswith(begin) or name == key}
        return dict(sorted(found.items())) if detail else sorted(found)

    def _found(self, key: str, maxdepth: int | None, *, withdirs: bool) -> dict[str, dict[str, Any]]:
        backend = self._backend
        if maxdepth == 1 or (backend.keeps_folders and (withdirs or maxdepth is not None)):
            found = self._walked(key, maxdepth, withdirs=withdirs)
        else:
            found = self._listed(key, maxdepth, withdirs=withdirs)
        if not found and key:
            try:
                info = self.info(key)
            except MediaError:
                return {}
            if info["type"] == "file" or withdirs:
                return {key: info}
        elif withdirs and key:
            found[key] = folder_info(key)
        return found

    def _walked(self, key: str, maxdepth: int | None, *, withdirs: bool) -> dict[str, dict[str, Any]]:
        """Look into folder after folder: right where folders are kept, or where only one level is asked for."""
        found: dict[str, dict[str, Any]] = {}
        level = [key]
        depth = 0
        while level and (maxdepth is None or depth < maxdepth):
            depth += 1
            folders: list[str] = []
            for folder in level:
                for info in _visible(self._backend.children(folder)):
                    is_folder = info["type"] == "directory"
                    if is_folder:
                        folders.append(info["name"])
                    if withdirs or not is_folder:
                        found[info["name"]] = info
            level = folders
        return found

    def _listed(self, key: str, maxdepth: int | None, *, withdirs: bool) -> dict[str, dict[str, Any]]:
        """List everything below a folder at once, and make its folders up from the names."""
        found: dict[str, dict[str, Any]] = {}
        begin = f"{key}/" if key else ""
        for item in records.listed(self._backend.entries(key)):
            name = item.entry.key
            inside = name[len(begin) :].split("/")
            if any(keys.is_hidden(part) for part in inside[:-1]):
                continue
            if withdirs:
                for end in range(1, min(len(inside), (maxdepth or len(inside)) + 1)):
                    folder = begin + "/".join(inside[:end])
                    found.setdefault(folder, folder_info(folder))
            if maxdepth is None or len(inside) <= maxdepth:
                found[name] = file_info(item.entry)
        return found

    def du(
        self,
        path: str,
        total: bool = True,  # noqa: FBT001, FBT002 - fsspec's signature
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002
        **_: Any,
    ) -> Any:
        """Return the bytes of all media below a path, or of each by name."""
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True)
        sizes = {name: info["size"] for name, info in found.items()}
        return sum(sizes.values()) if total else sizes


def _visible(listing: Listing) -> Iterator[dict[str, Any]]:
    """Describe what a listing shows: folders, and files that are whole media."""
    for folder in listing.folders:
        if not keys.is_hidden(folder.rpartition("/")[2]):
            yield folder_info(folder)
    entries: list[Entry] = []
    sidecars: set[str] = set()
    for entry in listing.entries:
        if entry.key.endswith(keys.SIDECAR_SUFFIX):
            sidecars.add(entry.key)
            name = entry.key[: -len(keys.SIDECAR_SUFFIX)]
            pointer = keys.pointer_of(name) if len(name) >= keys.SHORTEST else None
            if pointer is not None:
                yield file_info(Entry(name, pointer.size, entry.modified, pointer.generation))
        else:
            entries.append(entry)
    for entry in entries:
        key = entry.key
        if keys.is_own_name(key):
            # What somebody put at a deduplicated name is not its bytes; its sidecar was shown above.
            if keys.sidecar_key(key) in sidecars and keys.pointer_of(key) is None:
                yield file_info(entry)
        elif not keys.is_hidden(key):
            yield file_info(entry)
