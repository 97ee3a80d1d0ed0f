"""Google Cloud Storage through gcsfs: pages of listings, content types, conditional creation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from fsmedia.backends.objects import FsspecBackend, entry_of
from fsmedia.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fsmedia.backends.port import Entry

PART_BYTES = 8 * 2**20
"""Size of a part of a large upload, a multiple of 256 KiB as the service asks."""


class GCSBackend(FsspecBackend):
    """A root in a bucket."""

    options: ClassVar[dict[str, Any]] = {"use_listings_cache": False}

    def _key_part(self) -> str:
        return self._root.partition("/")[2]

    def _put_options(self, content_type: str) -> dict[str, Any]:
        return {"content_type": content_type}

    def _put_file(self, key: str, file: Path, size: int, content_type: str) -> None:
        self._ask(
            key,
            lambda: self._sync(
                self.fs._put_file,
                str(file),
                self._path(key),
                chunksize=PART_BYTES,
                size=size,
                content_type=content_type,
            ),
        )

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Put bytes on the condition that there are none."""
        path, options = self._path(key), self._put_options(content_type)
        try:
            self._ask(key, lambda: self._sync(self.fs._pipe_file, path, data, mode="create", **options))
        except StorageError:
            if self.head(key) is None:
                raise
            return False
        return True

    async def _info(self, path: str) -> dict[str, Any]:
        bucket, _, key = path.partition("/")
        found = await self.fs._call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        return {**found, "size": int(found["size"]), "type": "file"}

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """List page by page."""
        bucket, _, begin = self._path(prefix.rstrip("/")).partition("/")
        begin = f"{begin}/" if begin else ""
        token: dict[str, str] = {}
        while True:
            page = self._page(bucket, begin, **token)
            for item in page.get("items", ()):
                if not item["name"].endswith("/"):
                    yield entry_of(self._key(f"{bucket}/{item['name']}"), item)
            if not page.get("nextPageToken"):
                return
            token = {"pageToken": page["nextPageToken"]}

    def _page(self, bucket: str, begin: str, **options: Any) -> dict[str, Any]:
        try:
            page: dict[str, Any] = self._ask(
                begin,
                lambda: self._sync(
                    self.fs._call,
                    "GET",
                    "b/{}/o",
                    bucket,
                    prefix=begin,
                    json_out=True,
                    **options,
                ),
            )
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return {}  # no such bucket: nothing is in it
            raise
        return page

    def holds(self, folder: str) -> bool:
        """Ask for one key."""
        bucket, _, begin = self._path(folder).partition("/")
        return bool(self._page(bucket, f"{begin}/" if begin else "", maxResults="1").get("items"))
