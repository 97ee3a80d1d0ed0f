"""Azure Blob Storage through adlfs: its credentials and its client, and requests of our own that check every answer.

adlfs lists into a cache, loses content types and conditions, and waits for minutes between two attempts.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from base64 import b64encode
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from adlfs import AzureBlobFileSystem
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, DecodeError, HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.storage.blob import BlobSasPermissions, ContentSettings, generate_blob_sas
from azure.storage.blob.aio import BlobPrefix
from fsspec.spec import AbstractBufferedFile

from fsmedia.errors import InvalidReferenceError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.storage import obstore_engine as rust
from fsmedia.storage.errors import ErrorTranslator, UnexpectedAnswerError, secrets_of
from fsmedia.storage.fsspec_backend import FsspecBackend, headers_of_answer, lifetime_of_url
from fsmedia.storage.listing import Page, pages
from fsmedia.storage.port import SignedUpload, StorageClock, Version, VersionRules

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from azure.storage.blob import BlobProperties

    from fsmedia.storage.port import Entry

_Listed = tuple[list[dict[str, Any]], list[str], str | None]
"""Blobs, folders, and what the next page is asked for with."""
PART_BYTES = 4 * 2**20
"""Size of a part of a large upload or download."""
_PARTS_AT_ONCE = 4
_LARGEST_PUT = 5000 * 2**20
_ONE_REQUEST = 8 * 2**20  # larger uploads go in parts, so that no more than four parts lie in memory
_HOST = ".core.windows.net"
# Azure reads a backslash as a slash, so that a name with one would be another object's; XML has no control characters.
_NO_NAME = re.compile(r"[^\x20-\x5b\x5d-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SECRET_PARTS = re.compile("(?:AccountKey|SharedAccessSignature|sig)=([^;&]+)")
_NO_VERSION = "none"  # of a current blob where none are kept, or a deleted one; no request for it is understood
_POLL_SECONDS = 0.5
_FIRST_WAIT = 0.5
"""Seconds before a busy server is asked again; the client's own 15 s are longer than most timeouts."""
_CONNECT_SECONDS, _READ_SECONDS = 20, 60  # as Azure's own client
_CARRIED: dict[str, frozenset[str] | None] = dict.fromkeys((
    "account_name", "account_key", "sas_token", "connection_string", "account_host", "blocksize", "max_concurrency",
    "default_fill_cache", "default_cache_type", "use_listings_cache", "listings_expiry_time", "max_paths",
    "skip_instance_cache",
))  # fmt: skip
"""Options of adlfs that mean the same with obstore."""
_TAG = re.compile('"?0x[0-9A-Fa-f]+"?')
_OWN_CODES = (
    "BlobNotFound",
    "ContainerNotFound",
    "ResourceNotFound",
    "ConditionNotMet",
    "BlobAlreadyExists",
    "InvalidRange",
)
"""Codes of refusals that Azure alone sends."""


def _is_folder(found: BlobProperties) -> bool:
    """Tell whether a blob only marks a folder, as accounts with a hierarchical namespace list them."""
    return {name.lower(): text for name, text in (found.metadata or {}).items()}.get("hdi_isfolder") == "true"


def _info(found: BlobProperties) -> dict[str, Any]:
    """Return a blob in fsspec's words."""
    md5 = found.content_settings.content_md5
    told = {"name": found.name, "size": found.size, "ETag": found.etag, "mtime": found.last_modified}
    told["md5Hash"] = None if md5 is None else b64encode(md5).decode()
    told["contentType"] = found.content_settings.content_type
    told["contentEncoding"], told["version_to_copy"] = found.content_settings.content_encoding, found.etag
    told["version"] = found.version_id or _NO_VERSION
    told["is_current"] = not found.deleted and (found.version_id is None or bool(found.is_current_version))
    return {**told, "type": "directory" if _is_folder(found) else "file"}


def _builtin(error: AzureError) -> Exception:
    """Return the builtin error that says the same; the client's own where none does."""
    status = error.status_code if isinstance(error, HttpResponseError) else None
    told = getattr(error, "error_code", None) or ""
    code = str(getattr(told, "value", told))
    first = str(error).partition("\n")[0]
    kinds: tuple[tuple[bool, Exception], ...] = (
        (code == "ContainerNotFound", FileNotFoundError(errno.ENOENT, "the bucket does not exist")),
        (status == 404, FileNotFoundError(errno.ENOENT, "no such blob")),
        # Other conflicts, like a lease or a legal hold, are not about a condition of ours.
        (code in ("ConditionNotMet", "BlobAlreadyExists"), FileExistsError(errno.EEXIST, code)),
        (status in (401, 403), PermissionError(errno.EACCES, f"{code}: {first}")),
        (isinstance(error, DecodeError), UnexpectedAnswerError("the answer is a document that can't be read")),
        (isinstance(error, ServiceRequestError | ServiceResponseError), ConnectionError(first)),
    )
    return next((builtin for fits, builtin in kinds if fits), error)


def _is_of_azure(headers: Mapping[str, str]) -> bool:
    return "x-ms-request-id" in headers


def _is_listing(page: Any, container: str, begin: str) -> bool:
    """Tell whether a page is one of what was asked for; caches may keep too little of the question."""
    return bool(page.container == container and (page.prefix or "") == begin)


class CheckedAzureFileSystem(AzureBlobFileSystem):
    """adlfs, but each call is one request where it can be, and what is no answer of Azure raises.

    `obstore`: "auto" or "obstore" lets that read and write blobs where it can.
    """

    def __init__(self, *args: Any, obstore: rust.Engine = "fsspec", **options: Any) -> None:
        super().__init__(*args, **options)
        self.clock = StorageClock()
        self.rust = rust.StandIn(obstore, self.clock, self._find_obstacle, self._new_store)
        self.versioned: bool | None = None
        """Whether older versions are kept, by what the last upload told; None: there was none yet."""
        settings = self.service_client._config
        settings.max_single_put_size = settings.max_single_get_size = _ONE_REQUEST
        settings.max_block_size = PART_BYTES
        retries = settings.retry_policy
        retries.initial_backoff, retries.increment_base, retries.random_jitter_range = _FIRST_WAIT, 2, _FIRST_WAIT

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        """Return container and path of a URL in each of adlfs's forms; adlfs cuts names at `#`."""
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        first, slash, rest = path.removeprefix(f"{path.partition('://')[0]}://").lstrip("/").partition("/")
        container, at, host = first.rpartition("@")
        return rest if host.endswith(_HOST) and not at else f"{container or host}{slash}{rest}"

    def _check(self, response: Any) -> None:
        """Raise unless an answer is the service's, where it says that something is done, or not there."""
        headers, status = response.http_response.headers, response.http_response.status_code
        self.clock.note_date(headers, "Date")
        if (status < 400 or status == 404) and not _is_of_azure(headers):
            raise UnexpectedAnswerError(f"status {status} came without what belongs to an answer of Azure")

    @contextmanager
    def _asking(self) -> Iterator[dict[str, Any]]:
        """Give what requests are made with so that their answers are checked; errors become builtin ones."""
        answers: list[Any] = []

        def check(answer: Any) -> None:
            answers.append(answer.http_response.internal_response)
            self._check(answer)

        try:
            yield {"raw_response_hook": check}
        except AzureError as error:
            if (builtin := _builtin(error)) is error:
                raise
            raise builtin from error
        finally:
            # Those that were given up; the connections of those that were read whole are free already.
            for each in answers:
                each.close()

    def target(self, path: str) -> Any:
        """Return the client of a blob to write; `InvalidReferenceError` where there can't be one of that name."""
        if _NO_NAME.search(path):
            problem = "Azure keeps no names with a backslash or a control character"
            raise InvalidReferenceError(problem, next_step="choose another name", key=path)
        return self.blob(path)

    def blob(self, path: str) -> Any:
        """Return the client of a blob; `FileNotFoundError` where there can't be one of that name."""
        if _NO_NAME.search(path):
            raise FileNotFoundError(errno.ENOENT, "no such blob")
        container, _, name = path.partition("/")
        return self.service_client.get_blob_client(container, name)

    def _find_obstacle(self) -> str:
        """Return what makes obstore no equal of the client that adlfs has made; empty: nothing."""
        client: Any = self.service_client
        if hasattr(client.credential, "account_key") or "sig=" in client._query_str:
            return ""
        return "the credentials are neither the account's key nor a shared access signature"

    def _new_store(self, container: str) -> Any:
        """Make a client of obstore's that asks as Azure's own does."""
        client: Any = self.service_client
        store_class: Any = import_module("obstore.store").AzureStore
        place = urlsplit(client.url)
        by_key = hasattr(client.credential, "account_key")
        login = {"account_key": client.credential.account_key} if by_key else {"sas_key": client._query_str.lstrip("?")}
        proxy = None if proxy_bypass(str(place.hostname)) else getproxies().get(place.scheme)
        return store_class(
            container,
            config={
                "account_name": client.account_name, "endpoint": place._replace(query="").geturl().rstrip("/"),
                "credential_type": "access_key" if by_key else "sas_token", "skip_signature": False,
                "use_emulator": False, "use_fabric_endpoint": False, **login,
            },
            client_options=rust.client_options(client.url, proxy, _CONNECT_SECONDS, _READ_SECONDS),
            retry_config={
                "max_retries": client._config.retry_policy.total_retries,
                "backoff": {"init_backoff": timedelta(seconds=_FIRST_WAIT)},
            },
        )  # fmt: skip

    def _store_for(self, path: str) -> tuple[Any, str]:
        """Return obstore's client for a blob, and its name; None where it can't be asked for it."""
        container, _, name = path.partition("/")
        if _NO_NAME.search(path) or not self.rust.takes(name):
            return None, name
        return self.rust.client(container), name

    async def upload(self, path: str, data: bytes | BinaryIO, content_type: str, **condition: Any) -> str:
        """Put bytes, those of more than one request only visible when all are there; return the ETag."""
        store, name = self._store_for(path) if isinstance(data, bytes) and len(data) <= _ONE_REQUEST else (None, "")
        if store is not None:
            tag = condition.get("etag")
            mode = "overwrite" if not condition else "create" if tag is None else {"e_tag": tag}
            attributes = {"Content-Type": content_type}
            call = store.put_async(name, data, attributes=attributes, mode=mode, use_multipart=False)
            if (told := await _unless_refused(call, name)) is not None:
                self.versioned = told["version"] is not None
                return str(told["e_tag"])
        with self._asking() as checked:
            settings = ContentSettings(content_type=content_type)
            how = {"content_settings": settings, "max_concurrency": _PARTS_AT_ONCE, "overwrite": not condition}
            answer = await self.target(path).upload_blob(data, **how, **condition, **checked)
        self.versioned = answer.get("version_id") is not None
        return str(answer["etag"])

    async def _pipe_file(self, path: str, value: bytes, content_type: str, **_: Any) -> None:
        await self.upload(path, value, content_type)

    async def _put_file(self, lpath: str, rpath: str, content_type: str, mode: str = "overwrite", **_: Any) -> None:
        condition = {"match_condition": MatchConditions.IfMissing} if mode == "create" else {}
        with open(lpath, "rb") as file:  # noqa: ASYNC230, PTH123 - as adlfs itself; a file descriptor may be its name
            await self.upload(rpath, file, content_type, **condition)

    async def read(self, path: str, start: int = 0, length: int | None = None, **version: str) -> tuple[bytes, str]:
        """Read a part of a blob, and return the ETag with it."""
        store, name = self._store_for(path)
        if store is not None and not version:
            end = {"offset": start} if length is None else (start, start + length)
            call = store.get_async(name, options={} if (start, length) == (0, None) else {"range": end})
            if (found := await _unless_refused(call, name)) is not None:
                return await rust.Body(found, name).read(), found.meta["e_tag"]
        # Without an offset where it can be: so the client reads an empty blob too.
        part = {} if (start, length) == (0, None) else {"offset": start, "length": length}
        with self._asking() as checked:
            stream = await self.blob(path).download_blob(**part, **version, max_concurrency=_PARTS_AT_ONCE, **checked)
            data = await stream.readall()
        if len(data) != stream.size:
            raise UnexpectedAnswerError(f"{len(data)} bytes came where {stream.size} were told")
        return data, stream.properties.etag

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        if any(each is not None and each < 0 for each in (start, end)):
            # Azure serves no ranges from the end.
            start, end, _step = slice(start, end).indices((await self._info(path))["size"])
            if start >= end:
                return b""
        return (await self.read(path, start or 0, None if end is None else end - (start or 0)))[0]

    async def _get_file(self, rpath: str, lpath: str, callback: Any = None, **_: Any) -> None:
        async def progress(done: int, size: int | None) -> None:
            if callback is not None:
                callback.set_size(size)
                callback.absolute_update(done)

        with self._asking() as checked:
            how = {"max_concurrency": _PARTS_AT_ONCE, "progress_hook": progress}
            stream = await self.blob(rpath).download_blob(**how, **checked)
            with open(lpath, "wb") as file:  # noqa: ASYNC230, PTH123 - as adlfs itself
                await stream.readinto(file)

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        with self._asking() as checked:
            return _info(await self.blob(path).get_blob_properties(**checked))

    async def _rm_file(self, path: str, **condition: Any) -> None:
        with self._asking() as checked:
            await self.blob(path).delete_blob(**condition, **checked)

    async def _cp_file(self, path1: str, path2: str, **condition: Any) -> None:
        with self._asking() as checked:
            target = self.target(path2)
            answer = await target.start_copy_from_url(self.blob(path1).url, **condition, **checked)
            # Within an account it is done at once, but nothing promises that: adlfs returns while it goes on.
            status = answer["copy_status"]
            while status == "pending":
                await asyncio.sleep(_POLL_SECONDS)
                status = (await target.get_blob_properties(**checked)).copy.status
            if status != "success":
                raise OSError(errno.EIO, f"the copy ended as {status}")

    async def signing_key(self, begin: datetime, end: datetime) -> Any:
        """Return a key to sign URLs with, for those who log in by Microsoft Entra ID."""
        with self._asking():
            client: Any = self.service_client
            return await client.get_user_delegation_key(begin, end)  # Azurite's answer has no name of the request

    async def soft_delete(self) -> timedelta:
        """Return for how long the account keeps what was deleted."""
        with self._asking() as checked:
            client: Any = self.service_client
            found = (await client.get_service_properties(**checked))["delete_retention_policy"]
        return timedelta(days=found.days or 0) if found.enabled else timedelta(0)

    async def page(
        self,
        container: str,
        begin: str,
        token: str | None,
        *,
        one_level: bool = False,
        most: int | None = None,
        older: bool = False,
    ) -> _Listed:
        """Return one page of the blobs whose names begin so, and of the folders, with the token of the next page."""
        if _NO_NAME.search(begin):
            return [], [], None
        with self._asking() as checked:
            client: Any = self.service_client.get_container_client(container)
            # With metadata: only there it says which blobs are folders.
            include = ["metadata", *(("versions", "deleted") if older else ())]
            asked = {"name_starts_with": begin, "include": include, "results_per_page": most, **checked}
            listing = client.walk_blobs(**asked, delimiter="/") if one_level else client.list_blobs(**asked)
            pager = listing.by_page(token)
            try:
                found = [each async for each in await anext(pager)]
            except (AttributeError, TypeError, ValueError) as error:
                raise UnexpectedAnswerError("a listing was answered with something else") from error
        if not _is_listing(pager, container, begin):
            raise UnexpectedAnswerError("a listing was answered with one of something else")
        blobs = [_info(each) for each in found if not isinstance(each, BlobPrefix) and not _is_folder(each)]
        return blobs, [each.name for each in found if isinstance(each, BlobPrefix)], pager.continuation_token or None


async def _unless_refused(call: Awaitable[Any], name: str) -> Any:
    """Make a call by obstore, with Azure's refusals as builtin errors; None: adlfs shall judge the answer."""
    try:
        found = await rust.asked(call, name)
        tag = (found if isinstance(found, dict) else found.meta)["e_tag"]
        # What is no answer of Azure has none of its tags.
        return found if _TAG.fullmatch(tag or "") else None
    except rust.Refusal as refusal:
        if refusal.code not in _OWN_CODES:
            return None
        error: Any = HttpResponseError(message=refusal.message)
        error.status_code, error.error_code = refusal.status, refusal.code
        raise _builtin(error) from None


class AzureBackend(FsspecBackend):
    """A root in a container."""

    lists_versions = True
    largest_upload = _LARGEST_PUT
    filesystem_class = CheckedAzureFileSystem
    takes_size: ClassVar[bool] = True
    page_size: ClassVar[str | None] = "most"
    options: ClassVar[dict[str, Any]] = {"use_listings_cache": False}
    one_level: ClassVar[dict[str, Any] | None] = {"one_level": True}
    conditional: ClassVar[bool] = True
    knows_obstore: ClassVar[bool] = True

    def _forced_options(self) -> dict[str, Any]:
        return {**self.options, "obstore": self.wanted}

    def why_not_obstore(self) -> str:
        """Look at the options and the environment; the credentials show at the first call."""
        if "AZURE_ENCRYPTION_KEY" in os.environ:
            return "AZURE_ENCRYPTION_KEY is set, which adlfs does not read"
        return rust.not_carried(self._options(), _CARRIED)

    def _open_filesystem(self) -> tuple[Any, str]:
        filesystem, root = super()._open_filesystem()
        login = filesystem.service_client.credential
        known = [
            getattr(filesystem, name) for name in ("connection_string", "account_key", "sas_token", "client_secret")
        ]
        known += [getattr(login, name, None) for name in ("account_key", "signature")]
        # Also those of the environment, and the secret parts alone, decoded too.
        parts = _SECRET_PARTS.findall(";".join(filter(None, known)))
        self._secrets |= secrets_of({"known": [*known, *parts, *map(unquote, parts)]})
        return filesystem, root

    @property
    def endpoint(self) -> str | None:
        """The address of the account."""
        client = self.fs.service_client
        return f"{client.scheme}://{client.primary_hostname}"

    def _put_options(self, content_type: str) -> dict[str, Any]:
        return {"content_type": content_type}

    def put(
        self, key: str, data: bytes, content_type: str, *, if_absent: bool = False, if_token: str | None = None
    ) -> str | None:
        """Put by one request; the token is the ETag."""
        condition = {"match_condition": MatchConditions.IfMissing} if if_absent else _if_match(if_token)
        call = partial(self.fs.upload, self._path(key), data, content_type, **condition)
        put = partial(self._conditioned, key, call, is_given=bool(condition))
        return cast("str", self._ask(key, lambda: self._sync(put, size=len(data))))

    def remove(self, key: str, *, if_token: str | None = None) -> None:
        """Remove by one request, on the condition of its ETag where one is given."""
        call = partial(self.fs._rm_file, self._path(key), **_if_match(if_token))
        remove = partial(self._conditioned, key, call, is_given=if_token is not None, is_removal=True)
        self._ask(key, lambda: self._sync(remove))

    async def _copy_object(self, path: str, target: str, size: int | None, version: str | None) -> None:
        await self.fs._cp_file(path, target, **{f"source_{name}": each for name, each in _if_match(version).items()})

    def _open_sized(self, path: str, block_size: int, found: Entry) -> AbstractBufferedFile:
        # adlfs's own file asks for the size, told or not.
        return AbstractBufferedFile(self.fs, path, "rb", block_size, cache_type="none", size=found.size)

    async def _read(self, path: str, most: int | None) -> tuple[bytes, str | None]:
        try:
            return cast("tuple[bytes, str]", await self.fs.read(path, 0, None if most is None else most + 1))
        except HttpResponseError as error:
            if error.status_code != 416:
                raise
        # Of an empty object no range can be served, and the refusal does not tell its ETag.
        found = await self.fs._info(path)
        if found["size"]:
            raise ConnectionError("it was replaced while it was read")
        return b"", found["ETag"]

    def sign(self, key: str, expiry: timedelta, *, mime_type: str | None = None, filename: str | None = None) -> str:
        """Sign for reading."""
        answer = headers_of_answer("content_type", mime_type, "content_disposition", filename)
        return self._signed(key, expiry, BlobSasPermissions(read=True), **answer)

    def sign_upload(
        self, key: str, expiry: timedelta, *, mime_type: str, size: int, sha256: str | None, form: bool = False
    ) -> SignedUpload | None:
        """Sign for creating a blob where there is none; the service keeps to nothing else."""
        if form:
            return super().sign_upload(key, expiry, mime_type=mime_type, size=size, sha256=sha256, form=form)
        url = self._signed(key, expiry, BlobSasPermissions(create=True))
        return SignedUpload(url, {"Content-Type": mime_type, "x-ms-blob-type": "BlockBlob"})

    def _signed(self, key: str, expiry: timedelta, permission: BlobSasPermissions, **answer: Any) -> str:
        """Sign a shared access signature for one blob: by the account's key, else by one that is asked for."""
        begin, seconds = datetime.now(UTC), lifetime_of_url("Azure", expiry, key)
        container, name = self._split(key)
        client, end = self.fs.service_client, begin + timedelta(seconds=seconds)
        login = client.credential
        if hasattr(login, "account_key"):
            signer: dict[str, Any] = {"account_name": login.account_name, "account_key": login.account_key}
        elif hasattr(login, "get_token"):
            ask = partial(self.fs.signing_key, begin, end)
            signer = {
                "account_name": self.fs.account_name,
                "user_delegation_key": self._ask(key, lambda: self._sync(ask)),
            }
        else:
            problem = "these credentials hold no key to sign a URL with"
            step = "open the store with storage_options={'account_name': ..., 'account_key': ...}"
            raise StorageError(problem, next_step=step, key=key)
        with ErrorTranslator(key, self._secrets):
            # Without a beginning: this machine's clock may be ahead.
            signer |= {"permission": permission, "expiry": end}
            signature = generate_blob_sas(container_name=container, blob_name=name, **signer, **answer)
            return f"{client.get_blob_client(container, name).url}?{signature}"

    def _page(self, folder: str, token: str | None, **asked: Any) -> _Listed:
        container, path = self._split(folder.rstrip("/"))
        page = partial(self.fs.page, container, f"{path}/" if path else "", token, **asked)
        answer: _Listed = self._ask(folder or None, lambda: self._sync(page))
        return answer

    def _pages(self, folder: str, waiting: Event | None = None, /, **options: Any) -> Iterator[Page]:
        """List what lies below a folder, 5,000 blobs a request."""

        def ask(token: str | None) -> Page:
            blobs, prefixes, after = self._page(folder, token, **options)
            return self._page_of(blobs, "name", prefixes, after)

        return pages(ask, folder.rstrip("/"))

    def holds(self, folder: str) -> bool:
        """Ask for one key; a page may be empty and not be the last."""
        return any(page.entries for page in self._pages(folder, most=1))

    def reaches(self, other: Any) -> bool:
        """Tell whether the other root is in the same account: URLs may name another one."""
        return super().reaches(other) and self.endpoint == other.endpoint

    # -- versions ------------------------------------------------------------------------------------------

    def version_rules(self) -> VersionRules:
        """Ask the account for its soft delete; whether it keeps versions only the answer to a write tells."""
        try:
            soft = self._ask(None, lambda: self._sync(self.fs.soft_delete))
        except StorageError as error:
            return VersionRules(None, unknown=error.problem)
        kept = self.fs.versioned
        return VersionRules(kept, soft, "" if kept is not None else "no write of this process has told yet")

    def versions(self, prefix: str = "") -> Iterator[Version]:
        """List all versions, and what soft delete keeps, page by page."""
        token = None
        while True:
            blobs, _, token = self._page(prefix, token, older=True)
            for each in blobs:
                yield Version(self._named(each["name"]), each["version"], each["size"], each["is_current"])
            if token is None:
                return

    async def _read_version(self, version: Version) -> bytes:
        most = keys.largest(version.key)
        length = None if most is None else most + 1
        return cast("bytes", (await self.fs.read(self._path(version.key), 0, length, version_id=version.name))[0])

    def delete_versions(self, versions: Sequence[Version]) -> dict[Version, MediaError]:
        """Remove by one request each, at once."""
        jobs = []
        for each in versions:
            remove = partial(self.fs._rm_file, self._path(each.key), version_id=each.name)
            jobs.append(partial(self._done, each.key, remove))
        failed = self._failures([each.key for each in versions], jobs)
        return {versions[index]: error for index, error in failed.items()}


def _if_match(token: str | None) -> Mapping[str, Any]:
    return {} if token is None else {"etag": token, "match_condition": MatchConditions.IfNotModified}
