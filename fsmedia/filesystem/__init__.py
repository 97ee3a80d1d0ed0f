"""`media://`: a store as a filesystem that every fsspec client can read and write.

fsspec finds it through the entry point `fsspec.specs`, and universal_pathlib the class of its paths through
`universal_pathlib.implementations`, so a worker needs no import of this package.
"""

from functools import lru_cache
from typing import Any

from fsmedia.filesystem.media_filesystem import MediaFileSystem
from fsmedia.storage.address import SCHEME

__all__ = ["MediaFileSystem"]


@lru_cache
def _media_path() -> type:
    """Return the class of `media://` paths; only here is universal_pathlib imported, which need not be installed."""
    from fsspec import get_filesystem_class
    from upath import UPath

    # universal_pathlib parses paths by the filesystem's class, and only if fsspec has loaded it.
    get_filesystem_class(str(MediaFileSystem.protocol))

    class MediaPath(UPath):
        """A path of a store, named in any form of a `media://` URL."""

        __slots__ = ()
        __qualname__ = "MediaPath"

        def __str__(self) -> str:
            text = super().__str__()
            name = self.storage_options.get("store")
            # universal_pathlib keeps the name with the options: the text of a path must lead to the same store.
            if name and text.startswith(SCHEME):
                return f"{SCHEME}@{name}/{text.removeprefix(SCHEME)}"
            return text

    return MediaPath


def __getattr__(name: str) -> Any:
    if name == "MediaPath":
        return _media_path()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
