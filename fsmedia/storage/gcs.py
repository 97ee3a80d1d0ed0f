"""Google Cloud Storage through gcsfs: pages of listings, content types, conditional creation."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from fsmedia.errors import InvalidMediaError, StorageError
from fsmedia.storage.errors import ErrorTranslator
from fsmedia.storage.fsspec_backend import FsspecBackend, entry_of, inline
from fsmedia.storage.port import Listing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fsmedia.storage.port import Entry

LONGEST_SIGNATURE = timedelta(days=7)
"""What signature version 4 allows."""

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

    def sign(self, key: str, expiry: timedelta, *, mime_type: str | None = None, filename: str | None = None) -> str:
        """Sign where the credentials hold a key; no request is made."""
        if expiry > LONGEST_SIGNATURE:
            raise InvalidMediaError(
                f"GCS signs URLs for at most {LONGEST_SIGNATURE.days} days, not {expiry}",
                next_step="ask for a shorter lifetime, and sign again when it ends",
                key=key,
            )
        signer = getattr(self.fs.credentials, "credentials", None)
        if not hasattr(signer, "sign_bytes"):
            kind = type(signer).__name__ if signer is not None else "anonymous"
            raise StorageError(
                f"these credentials ({kind}) hold no key to sign a URL with",
                next_step="open the store with a service account's key: storage_options={'token': 'key.json'}",
                key=key,
            )
        seconds = max(1, math.ceil(expiry.total_seconds()))
        with ErrorTranslator(key, self._secrets):
            asked = {
                "response_type": mime_type,
                "response_disposition": None if filename is None else inline(filename),
            }
            options = {name: value for name, value in asked.items() if value is not None}
            signed: str = self.fs.sign(self._path(key), expiration=seconds, version="v4", **options)
        return signed

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

    def children(self, folder: str = "", *, until: str | None = None) -> Listing:
        """List one level, page by page."""
        bucket, _, begin = self._path(folder).partition("/")
        begin = f"{begin}/" if begin else ""
        entries: list[Entry] = []
        folders: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self._page(bucket, begin, delimiter="/", **token)
            entries += [
                entry_of(self._key(f"{bucket}/{item['name']}"), item)
                for item in page.get("items", ())
                if not item["name"].endswith("/")
            ]
            folders += [self._key(f"{bucket}/{prefix}").rstrip("/") for prefix in page.get("prefixes", ())]
            if not page.get("nextPageToken") or (until and folders and folders[-1] > until):
                return Listing(entries, folders)
            token = {"pageToken": page["nextPageToken"]}

    def _page(self, bucket: str, begin: str, **options: Any) -> dict[str, Any]:
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
        return page

    def holds(self, folder: str) -> bool:
        """Ask for one key."""
        bucket, _, begin = self._path(folder).partition("/")
        return bool(self._page(bucket, f"{begin}/" if begin else "", maxResults="1").get("items"))
