"""S3 through s3fs: one request for one thing, and every answer of a bulk delete is read."""

from __future__ import annotations

import math
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from fsmedia.errors import InvalidMediaError, MediaError, StorageError
from fsmedia.storage.fsspec_backend import FsspecBackend, entry_of, inline
from fsmedia.storage.port import Listing, Upload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from fsmedia.storage.port import Entry

PART_BYTES = 5 * 2**20
"""Size of a part of a large upload, the least S3 takes; s3fs makes it larger where 10,000 parts would not do.

Four at a time added 48 MiB to a process that uploads 200 MB (s3fs's own 50 MiB parts add 500)."""

LARGEST_COPY = 5 * 2**30
"""What one request copies at most."""

LONGEST_SIGNATURE = timedelta(days=7)
"""What signature version 4 allows."""

_PARTS_AT_ONCE = 4
_BULK = 1000
_NOT_KNOWN = (
    "NotImplemented",
    "MethodNotAllowed",
    "not implemented",
    "NoSuchUpload",
)  # the last: servers that have none


class S3Backend(FsspecBackend):
    """A root in a bucket."""

    options: ClassVar[dict[str, Any]] = {"use_listings_cache": False}
    takes_size: ClassVar[bool] = True

    def _forced_options(self) -> dict[str, Any]:
        """Sign URLs by version 4, as every region takes them; botocore falls back to version 2 unless told."""
        given = self._storage_options.get("config_kwargs") or {}
        return {**self.options, "config_kwargs": {"signature_version": "s3v4", **given}}

    def _key_part(self) -> str:
        return self._root.partition("/")[2]

    def _object(self, key: str) -> dict[str, Any]:
        bucket, _, path = self._path(key).partition("/")
        return {"Bucket": bucket, "Key": path}

    def _put_options(self, content_type: str) -> dict[str, Any]:
        return {"ContentType": content_type}

    def _put_file(self, key: str, file: Path, size: int, content_type: str) -> None:
        self._ask(
            key,
            lambda: self._sync(
                self.fs._put_file,
                str(file),
                self._path(key),
                chunksize=PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
                size=size,
                ContentType=content_type,
            ),
        )

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Put bytes on the condition that there are none; servers that ignore the condition answer True."""
        options = self._put_options(content_type)
        path = self._path(key)
        if self.head(key) is not None:
            return False
        try:
            self._ask(key, lambda: self._sync(self.fs._pipe_file, path, data, mode="create", **options))
        except StorageError:
            # s3fs gives the refused condition several forms; what lies there now tells them from a failure.
            if self.head(key) is None:
                raise
            return False
        return True

    def _copier(self, size: int) -> Callable[[str, str], Awaitable[object]]:
        """Copy by one request where S3 can; s3fs would look at the object first."""
        copier: Callable[[str, str], Awaitable[object]] = (
            self.fs._copy_basic if size <= LARGEST_COPY else self.fs._cp_file
        )
        return copier

    async def _cat(self, path: str) -> bytes:
        data: bytes = await self.fs._cat_file(path, max_concurrency=1)
        return data

    async def _info(self, path: str) -> dict[str, Any]:
        bucket, _, key = path.partition("/")
        found = await self.fs._call_s3("head_object", Bucket=bucket, Key=key, **self.fs.req_kw)
        return {**found, "size": found["ContentLength"], "type": "file"}

    def sign(self, key: str, expiry: timedelta, *, mime_type: str | None = None, filename: str | None = None) -> str:
        """Sign with the credentials of this root; no request is made."""
        if expiry > LONGEST_SIGNATURE:
            raise InvalidMediaError(
                f"S3 signs URLs for at most {LONGEST_SIGNATURE.days} days, not {expiry}",
                next_step="ask for a shorter lifetime, and sign again when it ends",
                key=key,
            )
        seconds = max(1, math.ceil(expiry.total_seconds()))
        asked = {
            "ResponseContentType": mime_type,
            "ResponseContentDisposition": None if filename is None else inline(filename),
        }
        options: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        url: str = self._ask(key, lambda: self._sync(self.fs._url, self._path(key), expires=seconds, **options))
        return url

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """List page by page, 1,000 keys a request."""
        folder = self._object(f"{prefix.rstrip('/')}/" if prefix else "")
        begin = folder["Key"] if folder["Key"].endswith("/") or not folder["Key"] else f"{folder['Key']}/"
        token: dict[str, str] = {}
        while True:
            page = self._page(begin, **token)
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):
                    yield entry_of(self._key(f"{folder['Bucket']}/{item['Key']}"), {**item, "size": item["Size"]})
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def children(self, folder: str = "", *, until: str | None = None) -> Listing:
        """List one level, 1,000 names a request."""
        place = self._object(f"{folder}/" if folder else "")
        begin = place["Key"] if place["Key"].endswith("/") or not place["Key"] else f"{place['Key']}/"
        entries: list[Entry] = []
        folders: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self._page(begin, Delimiter="/", **token)
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):
                    found = {**item, "size": item["Size"]}
                    entries.append(entry_of(self._key(f"{place['Bucket']}/{item['Key']}"), found))
            prefixes = [item["Prefix"] for item in page.get("CommonPrefixes", ())]
            folders += [self._key(f"{place['Bucket']}/{prefix}").rstrip("/") for prefix in prefixes]
            if not page.get("IsTruncated") or (until and folders and folders[-1] > until):
                return Listing(entries, folders)
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _page(self, begin: str, **options: Any) -> dict[str, Any]:
        bucket = self._root.partition("/")[0]
        ask = {"Bucket": bucket, "Prefix": begin, **self.fs.req_kw, **options}
        page: dict[str, Any] = self._ask(
            begin,
            lambda: self._sync(self.fs._call_s3, "list_objects_v2", **ask),
        )
        return page

    def holds(self, folder: str) -> bool:
        """Ask for one key."""
        begin = self._object(f"{folder}/" if folder else "")["Key"]
        return bool(self._page(begin, MaxKeys=1).get("KeyCount"))

    def uploads(self) -> Iterator[Upload]:
        """List multipart uploads, 1,000 a request; servers that know no such listing have none to tell of."""
        begin = self._object("")["Key"]
        begin = f"{begin}/" if begin and not begin.endswith("/") else begin
        bucket = self._root.partition("/")[0]
        after: dict[str, str] = {}
        while True:
            ask = {"Bucket": bucket, "Prefix": begin, **self.fs.req_kw, **after}
            try:
                page = self._ask(None, partial(self._sync, self.fs._call_s3, "list_multipart_uploads", **ask))
            except StorageError as error:
                if any(word in str(error) for word in _NOT_KNOWN):
                    return
                raise
            for item in page.get("Uploads", ()):
                key = self._key(f"{bucket}/{item['Key']}")
                yield Upload(key, item["UploadId"], item.get("Initiated"))
            if not page.get("IsTruncated"):
                return
            after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def abort(self, upload: Upload) -> None:
        """Abort a multipart upload."""
        ask = {**self._object(upload.key), "UploadId": upload.name, **self.fs.req_kw}
        try:
            self._ask(upload.key, lambda: self._sync(self.fs._call_s3, "abort_multipart_upload", **ask))
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError) and "NoSuchUpload" not in str(error):
                raise

    def delete(self, keys: Iterable[str], *, keep_folders: bool = False) -> dict[str, MediaError]:
        """Remove one by one request each, more by bulk requests of 1,000, and read the answer for every key."""
        wanted = list(keys)
        if len(wanted) == 1:
            return super().delete(wanted, keep_folders=keep_folders)
        failed: dict[str, MediaError] = {}
        for start in range(0, len(wanted), _BULK):
            failed |= self._bulk(wanted[start : start + _BULK])
        return failed

    def _bulk(self, wanted: list[str]) -> dict[str, MediaError]:
        objects = {self._object(key)["Key"]: key for key in wanted}
        request = {"Objects": [{"Key": path} for path in objects], "Quiet": False}
        bucket = self._object("")["Bucket"]
        try:
            answer = self._ask(
                wanted[0],
                lambda: self._sync(self.fs._call_s3, "delete_objects", Bucket=bucket, Delete=request),
            )
        except MediaError as error:
            return {key: StorageError(error.problem, next_step=error.next_step, key=key) for key in wanted}
        done = {objects.get(item["Key"]) for item in answer.get("Deleted", ())}
        reasons = {
            objects.get(item["Key"]): item.get("Message") or item.get("Code") for item in answer.get("Errors", ())
        }
        return {
            key: StorageError(
                f"the storage did not confirm its removal ({reasons.get(key) or 'no answer for it'})",
                next_step="try again",
                key=key,
            )
            for key in wanted
            if key not in done
        }
