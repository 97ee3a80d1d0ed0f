"""Google Cloud Storage through gcsfs: pages of listings, content types, conditional creation."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from secrets import token_hex
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import quote

from fsspec.spec import AbstractBufferedFile
from gcsfs.core import GCSFileSystem
from gcsfs.retry import retry_request, validate_response

from fsmedia.errors import MediaError, StorageError
from fsmedia.format import keys
from fsmedia.storage.errors import ErrorTranslator, UnexpectedAnswerError
from fsmedia.storage.fsspec_backend import FsspecBackend, headers_of_answer, lifetime_of_url, read_up_to
from fsmedia.storage.listing import Page, pages
from fsmedia.storage.port import SignedUpload, StorageClock, Version, VersionRules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from fsmedia.storage.port import Entry

PART_BYTES = 8 * 2**20
"""Size of a part of a large upload, a multiple of 256 KiB as the service asks."""


def _is_object(answer: Any, name: str | None = None) -> bool:
    """Tell whether a parsed answer describes an object, and the one of that name where one is given."""
    if not isinstance(answer, dict) or answer.get("kind") != "storage#object":
        return False
    whole = all(isinstance(answer.get(field), str) for field in ("name", "size", "generation"))
    return whole and name in (None, answer["name"])


def _is_listing(answer: Any, begin: str) -> bool:
    """Tell whether a parsed answer lists objects whose names begin so; an empty listing says its kind too."""
    if not isinstance(answer, dict) or answer.get("kind") != "storage#objects":
        return False
    items, prefixes = answer.get("items", []), answer.get("prefixes", [])
    if not isinstance(items, list) or not isinstance(prefixes, list):
        return False
    # A page of another folder, from a cache that keeps too little of the question, is no answer either.
    return all(_is_object(item) and item["name"].startswith(begin) for item in items)


def _is_of_object(headers: Mapping[str, str]) -> bool:
    """Tell whether headers are those of an object's bytes."""
    return "ETag" in headers or "X-Goog-Generation" in headers


def _proof(method: str, path: str, args: tuple[str, ...], asked: dict[str, Any]) -> Callable[[Any], bool] | None:
    """Return what tells a proper answer in JSON from another, by what was asked for; None: not known here."""
    if method == "GET" and path == "b/{}/o":
        return lambda answer: _is_listing(answer, asked.get("prefix") or "")
    if method == "GET" and path == "b/{}":
        return lambda answer: isinstance(answer, dict) and answer.get("kind") == "storage#bucket"
    if method == "GET" and path == "b/{}/o/{}":
        return lambda answer: _is_object(answer, args[1])
    if method == "POST" and "/upload/" in path:
        return _is_object
    if method == "POST" and "/rewriteTo/" in path:
        return lambda answer: isinstance(answer, dict) and answer.get("kind") == "storage#rewriteResponse"
    return None


# Not the class that gcsfs chooses: that one asks for each bucket's type by gRPC, at every call, and a minute long where
# only HTTP passes. What a hierarchical bucket has more than another is folders of its own, and none are asked for here.
class CheckedGCSFileSystem(GCSFileSystem):
    """gcsfs, but what is no answer raises; gcsfs takes most of it for an empty one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.clock = StorageClock()

    async def _request(self, method: str, path: str, *args: Any, **asked: Any) -> Any:
        status, headers, info, contents = await super()._request(method, path, *args, **asked)
        self.clock.note_date(headers, "Date")
        proved = True
        if method == "DELETE" and status != 204:
            # The emulator answers 200 and `null`. Nothing, or anything else, says nothing about the object.
            proved = contents.strip() == b"null"
        elif method == "GET" and "alt=media" in path:
            proved = _is_of_object(headers)
        elif method == "POST" and "upload_id=" in path and status in (200, 201):
            # The last part of a large upload; before it the status is 308, and gcsfs takes no body for success.
            proved = contents.lstrip().startswith(b"{") and _is_object(json.loads(contents))
        if not proved:
            raise UnexpectedAnswerError(f"{method} was answered with status {status} and without what belongs to it")
        return status, headers, info, contents

    async def _call(self, method: str, path: str, *args: Any, json_out: bool = False, **asked: Any) -> Any:
        proof = _proof(method, path, args, asked) if json_out else None
        try:
            answer = await super()._call(method, path, *args, json_out=json_out, **asked)
        except json.JSONDecodeError as error:
            raise UnexpectedAnswerError(f"{method} was answered with something else than JSON") from error
        if proof is not None and not proof(answer):
            raise UnexpectedAnswerError(f"{method} was answered with JSON of another kind")
        return answer

    async def _read_up_to(self, path: str, most: int | None, **asked: str) -> tuple[bytes, str | None]:
        """Read an object as `_call` does, and its generation; `most` bytes and one, where gcsfs reads all that come."""
        await self._set_session()
        where = {"params": self._get_params(asked), "headers": self._get_headers(None)}
        async with self.session.get(self.url(path), timeout=self.requests_timeout, **where) as answer:
            data = await read_up_to(answer.content.read, most)
            self.clock.note_date(answer.headers, "Date")
            validate_response(answer.status, data, path)
            if not _is_of_object(answer.headers):
                raise UnexpectedAnswerError(f"GET was answered with status {answer.status} and without an ETag")
            return data, answer.headers.get("x-goog-generation")

    read_up_to = retry_request(retries=GCSFileSystem.retries)(_read_up_to)


class GCSBackend(FsspecBackend):
    """A root in a bucket."""

    lists_versions = True
    filesystem_class = CheckedGCSFileSystem
    takes_size: ClassVar[bool] = True
    options: ClassVar[dict[str, Any]] = {"use_listings_cache": False}
    one_level: ClassVar[dict[str, Any] | None] = {"delimiter": "/"}
    page_size: ClassVar[str | None] = "maxResults"
    conditional: ClassVar[bool] = True
    _never_there: ClassVar[str] = "1"

    def _file_options(self, size: int) -> dict[str, Any]:
        return {"chunksize": PART_BYTES}

    def _put_options(self, content_type: str) -> dict[str, Any]:
        return {"content_type": content_type}

    def put(
        self, key: str, data: bytes, content_type: str, *, if_absent: bool = False, if_token: str | None = None
    ) -> str | None:
        """Put by one multipart upload of our own, for gcsfs has one condition only; the token is the generation."""
        bucket, name = self._split(key)
        expected = {"ifGenerationMatch": "0" if if_absent else if_token} if if_absent or if_token is not None else {}
        cut = f"fsmedia-{token_hex(16)}"
        head = json.dumps({"name": name, "contentType": content_type})
        body = (
            f"--{cut}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{head}\r\n"
            f"--{cut}\r\nContent-Type: {content_type}\r\n\r\n"
        ).encode()
        asked = {
            "uploadType": "multipart",
            "headers": {"Content-Type": f'multipart/related; boundary="{cut}"'},
            "data": body + data + f"\r\n--{cut}--".encode(),
            "json_out": True,
            **expected,
        }
        path = f"{self.fs._location}/upload/storage/v1/b/{quote(bucket)}/o"
        put = partial(self._conditioned, key, partial(self.fs._call, "POST", path, **asked), is_given=bool(expected))
        answer: dict[str, Any] = self._ask(key, lambda: self._sync(put, size=len(data)))
        return None if (found := answer.get("generation")) is None else str(found)

    def remove(self, key: str, *, if_token: str | None = None) -> None:
        """Remove by one request, on the condition of its generation where one is given."""
        bucket, name = self._split(key)
        expected = {} if if_token is None else {"ifGenerationMatch": if_token}
        call = partial(self.fs._call, "DELETE", "b/{}/o/{}", bucket, name, **expected)
        remove = partial(self._conditioned, key, call, is_given=bool(expected), is_removal=True)
        self._ask(key, lambda: self._sync(remove))

    def _open_sized(self, path: str, block_size: int, found: Entry) -> AbstractBufferedFile:
        # gcsfs's own file asks for the size by three requests, told or not.
        return AbstractBufferedFile(self.fs, path, "rb", block_size, cache_type="none", size=found.size)

    async def _read(self, path: str, most: int | None) -> tuple[bytes, str | None]:
        """Read by one request that tells the generation too."""
        return cast("tuple[bytes, str | None]", await self.fs.read_up_to(path, most))

    async def _info(self, path: str) -> dict[str, Any]:
        bucket, _, key = path.partition("/")
        # One request: gcsfs looks for a folder of that name too, by two more.
        found = await self.fs._call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        return {**found, "size": int(found["size"]), "type": "file"}

    async def _details(self, path: str) -> dict[str, Any]:
        found = await self._info(path)
        return {**found, "version_to_copy": found.get("generation")}

    async def _copy_object(self, path: str, target: str, size: int | None, version: str | None) -> None:
        if version is None:
            await super()._copy_object(path, target, size, version)
            return
        asked, places = {"sourceGeneration": version}, (*path.split("/", 1), *target.split("/", 1))
        while True:  # what is large takes several requests
            answer = await self.fs._call("POST", "b/{}/o/{}/rewriteTo/b/{}/o/{}", *places, json_out=True, **asked)
            if answer["done"]:
                return
            asked["rewriteToken"] = answer["rewriteToken"]

    def sign(self, key: str, expiry: timedelta, *, mime_type: str | None = None, filename: str | None = None) -> str:
        """Sign where the credentials hold a key; no request is made."""
        options = headers_of_answer("response_type", mime_type, "response_disposition", filename)
        return self._signed(key, expiry, **options)

    def sign_upload(
        self, key: str, expiry: timedelta, *, mime_type: str, size: int, sha256: str | None, form: bool = False
    ) -> SignedUpload | None:
        """Sign a PUT of bytes of that size and type where nothing is; the service knows no SHA-256."""
        if form:
            return super().sign_upload(key, expiry, mime_type=mime_type, size=size, sha256=sha256, form=form)
        headers = {
            "Content-Type": mime_type,
            "x-goog-content-length-range": f"{size},{size}",
            "x-goog-if-generation-match": "0",
        }
        return SignedUpload(self._signed(key, expiry, method="PUT", headers={**headers}), headers)

    def _signed(self, key: str, expiry: timedelta, **options: Any) -> str:
        seconds = lifetime_of_url("GCS", expiry, key)
        # Asked for here: without a key the signing library fails with an error that names no next step.
        signer = getattr(self.fs.credentials, "credentials", None)
        if not hasattr(signer, "sign_bytes"):
            kind = type(signer).__name__ if signer is not None else "anonymous"
            problem = f"these credentials ({kind}) hold no key to sign a URL with"
            step = "open the store with a service account's key: storage_options={'token': 'key.json'}"
            raise StorageError(problem, next_step=step, key=key)
        # Whose project pays, of a bucket whose requesters do.
        options["query_parameters"] = self.fs._get_params({})
        with ErrorTranslator(key, self._secrets):
            return str(self.fs.sign(self._path(key), expiration=seconds, version="v4", **options))

    def _pages(self, folder: str, waiting: Event | None = None, /, **options: Any) -> Iterator[Page]:
        def ask(token: str | None) -> Page:
            found = self._page(folder, **options, **({} if token is None else {"pageToken": token}))
            after = found.get("nextPageToken") or None
            return self._page_of(found.get("items", ()), "name", found.get("prefixes", ()), after)

        return pages(ask, folder.rstrip("/"))

    def _page(self, folder: str, **options: Any) -> dict[str, Any]:
        bucket, path = self._split(folder.rstrip("/"))
        asked = {"prefix": f"{path}/" if path else "", "json_out": True, **options}
        return cast("dict[str, Any]", self._request(folder or None, "GET", "b/{}/o", bucket, **asked))

    def _request(self, key: str | None, *args: Any, **options: Any) -> Any:
        return self._ask(key, lambda: self._sync(self.fs._call, *args, **options))

    def holds(self, folder: str) -> bool:
        """Ask for one key."""
        return bool(self._page(folder, maxResults="1").get("items"))

    # -- versions ------------------------------------------------------------------------------------------

    def version_rules(self) -> VersionRules:
        """Ask the bucket for its versioning and its soft delete; one without versioning may have versions of before."""
        fields = "kind,versioning,softDeletePolicy"
        try:
            found = self._request(None, "GET", "b/{}", self._bucket, fields=fields, json_out=True)
        except StorageError as error:
            return VersionRules(None, unknown=error.problem)
        seconds = int((found.get("softDeletePolicy") or {}).get("retentionDurationSeconds") or 0)
        return VersionRules(bool((found.get("versioning") or {}).get("enabled")), timedelta(seconds=seconds))

    def versions(self, prefix: str = "") -> Iterator[Version]:
        """List all generations, page by page; what was replaced or deleted has a time when that was."""
        token = None
        while True:
            page = self._page(prefix, versions="true", **({} if token is None else {"pageToken": token}))
            for item in page.get("items", ()):
                is_current = "timeDeleted" not in item
                yield Version(self._named(item["name"]), item["generation"], int(item["size"]), is_current)
            if not (token := page.get("nextPageToken")):
                return

    async def _read_version(self, version: Version) -> bytes:
        path, most = self._path(version.key), keys.largest(version.key)
        return cast("bytes", (await self.fs.read_up_to(path, most, generation=version.name))[0])

    def delete_versions(self, versions: Sequence[Version]) -> dict[Version, MediaError]:
        """Remove by one request each, at once."""
        jobs = []
        for each in versions:
            asked = ("DELETE", "b/{}/o/{}", *self._split(each.key))
            jobs.append(partial(self._done, each.key, partial(self.fs._call, *asked, generation=each.name)))
        failed = self._failures([each.key for each in versions], jobs)
        return {versions[index]: error for index, error in failed.items()}
