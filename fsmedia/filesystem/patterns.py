"""Names and patterns: what a path of a bulk call means, and where the files it names go.

A name that exists is never taken for a pattern, whatever characters it holds; only such names cost a look more.
Targets are fsspec's by its rules, which fsspec itself gets wrong for names at the top of a filesystem without a leading
slash.
"""

from __future__ import annotations

import os
from glob import has_magic
from typing import TYPE_CHECKING, Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.utils import common_prefix, stringify_path

from fsmedia.errors import InvalidMediaError
from fsmedia.filesystem.attributes import Attributes

if TYPE_CHECKING:
    from collections.abc import Callable


class Patterns(Attributes):
    """Methods of `MediaFileSystem` that take several files at once."""

    def _names(self, path: Any) -> list[str]:
        several = [path] if isinstance(path, str | os.PathLike) else list(path)
        names: list[str] = self._strip_protocol(several)
        return names

    def expand_path(
        self,
        path: Any,
        recursive: bool = False,  # noqa: FBT001, FBT002 - fsspec's signature
        maxdepth: int | None = None,
        assume_literal: bool = False,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> list[str]:
        """Return the keys that names and patterns mean, with `recursive` those below folders too.

        Raises
        ------
        FileNotFoundError
            A pattern matches nothing, and nothing else was found.
        """
        names = self._names(path)
        literal = [] if assume_literal else [name for name in names if has_magic(name) and self.exists(name)]
        if not literal:
            found: list[str] = super().expand_path(names, recursive, maxdepth, assume_literal, **kwargs)
            return found
        keys = set(super().expand_path(literal, recursive, maxdepth, assume_literal=True, **kwargs))
        for name in names:
            if name not in literal:
                try:
                    keys |= set(super().expand_path([name], recursive, maxdepth, **kwargs))
                except FileNotFoundError:
                    continue  # as a pattern without a match beside others
        return sorted(keys)

    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,  # noqa: FBT001, FBT002 - fsspec's signature
        maxdepth: int | None = None,
        on_error: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files, and with `recursive` what is below folders; into the target where that is a folder."""
        sources, targets = self._paired(path1, path2, self.isdir, recursive=recursive, maxdepth=maxdepth)
        super().copy(sources, targets, recursive, maxdepth, on_error, **kwargs)

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,  # noqa: FBT001, FBT002 - fsspec's signature
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files to this machine, see `copy`."""
        sources, targets = self._fetched(rpath, lpath, recursive=recursive, maxdepth=maxdepth)
        super().get(sources, targets, recursive, callback, maxdepth, **kwargs)

    def put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,  # noqa: FBT001, FBT002 - fsspec's signature
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files of this machine, see `copy`."""
        sources, targets = self._sent(lpath, rpath, recursive=recursive, maxdepth=maxdepth)
        super().put(sources, targets, recursive, callback, maxdepth, **kwargs)

    def _sent(self, source: Any, target: Any, *, recursive: bool, maxdepth: int | None) -> tuple[Any, Any]:
        """Return what goes where if a name of this machine only looks like a pattern; the rest is left to fsspec."""
        if isinstance(target, list) and isinstance(source, list) and len(source) != len(target):
            raise _unequal()
        if not isinstance(source, str | os.PathLike) or isinstance(target, list):
            return source, target
        name = make_path_posix(stringify_path(source))
        if not has_magic(name) or not os.path.lexists(name):
            return source, target
        local, end = LocalFileSystem(), stringify_path(target)
        base = name.rstrip("/")
        names = local.expand_path([base], recursive, maxdepth, assume_literal=True)
        if not recursive or maxdepth is not None:
            names = [each for each in names if not local.isdir(each)]
        if not name.endswith("/") and (end.endswith("/") or self.isdir(end)):
            base = base.rpartition("/")[0]
        return names, [joined(end, each[len(base) :].lstrip("/")) for each in names]

    def _fetched(self, source: Any, target: Any, *, recursive: bool, maxdepth: int | None) -> tuple[Any, Any]:
        """Return what goes where on this machine."""
        end = make_path_posix(target) if isinstance(target, str | os.PathLike) else target
        return self._paired(source, end, LocalFileSystem().isdir, recursive=recursive, maxdepth=maxdepth)

    def _paired(
        self, source: Any, target: Any, is_folder: Callable[[str], bool], *, recursive: bool, maxdepth: int | None
    ) -> tuple[list[str], list[str]]:
        """Return sources and their targets, by fsspec's rules."""
        if isinstance(target, list):
            if isinstance(source, list) and len(source) == len(target):
                return source, target
            raise _unequal()
        target = stringify_path(target)
        if not isinstance(source, str | os.PathLike):
            names = self.expand_path(source, recursive, maxdepth)
            return names, [joined(target, name.rpartition("/")[2]) for name in names]
        source = stringify_path(source)
        [key] = self._names(source)
        pattern = has_magic(key) and not self.exists(key)
        names = self.expand_path([key], recursive, maxdepth, assume_literal=not pattern)
        if not recursive or maxdepth is not None:
            names = [name for name in names if not self.isdir(name)]
        if pattern:
            base, inside = common_prefix(names) if names else "", len(names) == 1
        else:
            base = key
            inside = not source.endswith("/") and (target.endswith("/") or is_folder(target))
        if inside:
            base = base.rpartition("/")[0]
        return names, [joined(target, name[len(base) :].lstrip("/")) for name in names]


def _unequal() -> InvalidMediaError:
    return InvalidMediaError("as many targets as sources are needed", next_step="give two lists of one length")


def joined(folder: str, name: str) -> str:
    """Return the path of a name in a folder; of the folder itself without a name."""
    return f"{folder.rstrip('/')}/{name}" if name else folder.rstrip("/")
