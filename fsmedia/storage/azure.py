"""Azure Blob Storage through adlfs: one flat listing instead of one for each folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsmedia.storage.errors import ErrorTranslator
from fsmedia.storage.fsspec_backend import FsspecBackend, entry_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsmedia.storage.port import Entry


class AzureBackend(FsspecBackend):
    """A root in a container."""

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """List by adlfs's own `find`, which asks for all blobs below a name and raises what goes wrong."""
        folder = self._path(prefix.rstrip("/"))
        with ErrorTranslator(prefix or None, self._secrets):
            self.fs.invalidate_cache()
            found: Any = self.fs.find(folder, detail=True)
        # Of a single blob adlfs returns its name in a list; nothing lies below one.
        infos = found if isinstance(found, dict) else {}
        for path in sorted(infos):
            key = self._key(path)
            if infos[path]["type"] == "file" and path.rstrip("/") != folder and not key.endswith("/"):
                yield entry_of(key, infos[path])
