"""Copies and moves through `media://`: a media goes with its sidecar, its policy and its attributes."""

from __future__ import annotations

import errno
from glob import has_magic
from typing import TYPE_CHECKING, Any

from fsmedia.core import commit, holds, promptkit, records, sharing
from fsmedia.core.sharing import Sharing
from fsmedia.core.telemetry import observed
from fsmedia.errors import InvalidMediaError, InvalidReferenceError, MediaNotFoundError, StoreConflictError
from fsmedia.filesystem.grounds import not_found
from fsmedia.filesystem.patterns import joined
from fsmedia.filesystem.placement import PlacedFile, Placement, told_by_path
from fsmedia.filesystem.writing import Writing
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar

if TYPE_CHECKING:
    from fsmedia.core.draft import Desk

_CHUNK = 2**20


class Copying(Writing):
    """Methods of `MediaFileSystem` that copy and move."""

    @observed("copy")
    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        """Copy a media with its sidecar: policy, attributes and ids come along, but for ids that the new path tells."""
        desk = self._desk()
        source = self._existing_key(path1)
        target = self._target_key(source, path2)
        if self._backend.place_of(source) == self._backend.place_of(target):
            return  # onto itself, perhaps through a link
        with commit.about(source):
            try:
                found = records.find(self._backend, source)
            except (InvalidReferenceError, MediaNotFoundError):
                if not self._backend.is_folder(source):
                    raise not_found(source) from None
                self.makedirs(target, exist_ok=True)
                return
        self._refuse_folder(target)
        if found.sidecar is None:
            self._written_anew(desk, source, target)
            return
        values = {
            name: value for name, value in Sidecar.parse(found.sidecar, source).values.items() if name != "marker"
        }
        values |= told_by_path(desk, target)
        mime_type = str(values.get("mime_type") or "application/octet-stream")
        sidecar = Sidecar(values)
        instant = records.expiry_of(sidecar, source, desk.configuration, found.entry.modified)
        pointer = keys.pointer_of(target)
        with commit.about(target):
            holds.refuse(self._backend, target)
            if pointer is not None:
                sharing.copy(
                    Sharing(
                        backend=self._backend,
                        digest=pointer.digest,
                        size=pointer.size,
                        data=b"",
                        mime_type=mime_type,
                        name_of=lambda _: target,
                        sidecar_of=lambda marker: sidecar.with_marker(marker).dump(),
                        now=self._now,
                        expires_at=instant,
                        grace=desk.configuration.orphan_grace,
                    ),
                    pointer,
                )
                return
            promptkit.forget_replaced(self._backend, [target])
            if instant is not None:
                self._backend.write(keys.due_key(instant, target), b"", commit.DUE_TYPE)
            try:
                self._backend.copy(keys.bytes_key(source), target, mime_type)
            except FileNotFoundError:
                raise not_found(source) from None
            self._backend.write(keys.sidecar_key(target), sidecar.dump(), "application/json")

    def _target_key(self, source: str, path: str) -> str:
        """Return the key of a copy: a deduplicated name only for a media that has the same bytes.

        Raises
        ------
        InvalidReferenceError
            The name can't be that of a copy of this media.
        """
        key = self._key(path)
        pointer = keys.pointer_of(key)
        if pointer is None or pointer != keys.pointer_of(source):
            return self._free_key(path)
        self._free_key(f"{key.rpartition('/')[0]}/{keys.file_name(key)}".lstrip("/"))
        keys.check_lengths(key, self._backend.root_length)
        return keys.check_reference(key)

    def _written_anew(self, desk: Desk, source: str, target: str) -> None:
        """Copy what has no sidecar: read, and written as new bytes are."""
        with self._opened(source) as file, PlacedFile(Placement(desk, target)) as written:
            while data := file.read(_CHUNK):
                written.write(data)

    @observed("move")
    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **_: Any) -> None:  # noqa: C901, FBT001, FBT002, PLR0912
        """Move: copy all, then remove what was copied. Onto itself it does nothing."""
        self._desk()
        files: list[str] = []
        folders: list[str] = []
        targets: list[str] = []
        places: list[str] = []  # of the folders
        several = not isinstance(path1, str)
        ends = list(path2) if not isinstance(path2, str) else None
        if ends is not None and (not several or len(ends) != len(path1)):
            raise InvalidMediaError("as many targets as sources are needed", next_step="give two lists of one length")
        if not several and self._key(path1) == self._key(path2) and self.exists(path1):
            return
        into = several or path2.endswith("/") or self.isdir(path2)
        for index, each in enumerate(path1 if several else [path1]):
            key = self._key(each)
            literal = not has_magic(key) or self.exists(key)
            for name, is_folder in self._meant(each, recursive=recursive, maxdepth=maxdepth):
                # `base` is what the caller named: its last part moves along where the target is a folder
                base = key if literal else next((top for top in folders if name.startswith(f"{top}/")), name)
                end = self._key(path2 if ends is None else ends[index])
                if ends is None and (into or not literal):
                    end = f"{end}/{base.rpartition('/')[2]}".lstrip("/")
                end = joined(end, name[len(base) :].lstrip("/"))
                if is_folder:
                    folders.append(name)
                    places.append(end)
                elif name not in files:
                    files.append(name)
                    targets.append(end)
        if folders and not recursive:
            raise IsADirectoryError(errno.EISDIR, "is a folder: move it with recursive=True", folders[0])
        pairs = [(old, new) for old, new in zip(files, targets, strict=True) if old != new]
        news = {self._target_key(old, new) for old, new in pairs}
        # Two names may be one file, where a folder is a link to another.
        spots = [self._backend.place_of(name) for name in (*(old for old, _ in pairs), *news)]
        if len(set(spots)) < len(spots):
            raise StoreConflictError("two of the names are one place", next_step="move to a place of its own")
        if len(set(targets)) < len(targets) or news & set(files):
            raise StoreConflictError("two of the files would have one name", next_step="move them one by one")
        holds.refuse(self._backend, *(name for pair in pairs for name in pair))
        for place in places if maxdepth is None else ():
            self.makedirs(place, exist_ok=True)  # an empty folder moves too
        for old, new in pairs:
            self.cp_file(old, new)
        self._removed([old for old, _ in pairs])
        if maxdepth is None:
            for folder in sorted(set(folders), reverse=True):
                if folder and folder not in places and not any(new.startswith(f"{folder}/") for new in targets):
                    self._backend.remove_folder(folder)
