"""S3 through s3fs: one request for one thing, and every answer of a bulk delete is read.

Where obstore is wanted and can stand in it reads and writes the objects, with the credentials, the endpoint and the
region that botocore has found.
"""

# Longer than 1,000 lines: one storage, whose filesystem, uploads and answers speak S3 and nobody else does.

from __future__ import annotations

import asyncio
import errno
import math
import os
import re
from base64 import b64decode, b64encode
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import partial
from html import unescape
from importlib import import_module
from itertools import count
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar, cast
from urllib.parse import unquote_plus, urlsplit

from botocore import UNSIGNED, handlers
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import ClientError
from botocore.session import Session
from fsspec.callbacks import DEFAULT_CALLBACK, Callback
from s3fs import S3FileSystem
from s3fs.core import S3_RETRYABLE_ERRORS, _error_wrapper, _inner_fetch
from s3fs.errors import translate_boto_error

from fsmedia.errors import MediaError, StorageError
from fsmedia.format import keys
from fsmedia.storage import obstore_engine as rust
from fsmedia.storage.errors import PreconditionFailed, UnexpectedAnswerError
from fsmedia.storage.fsspec_backend import (
    MD5,
    PATIENCE_BYTES,
    FsspecBackend,
    headers_of_answer,
    knows_not,
    lifetime_of_url,
    read_up_to,
    repeated,
)
from fsmedia.storage.listing import Page, pages
from fsmedia.storage.port import Entry, SignedUpload, StorageClock, Upload, Version, VersionRules

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence

    from fsmedia.storage.port import Stage

T = TypeVar("T")
PART_BYTES = 5 * 2**20
"""Size of a part of a large upload, the least S3 takes; larger where 10,000 parts would not do.

Four at a time added 48 MiB to a process that uploads 200 MB (s3fs's own 50 MiB parts add 500)."""
LARGEST_COPY = 5 * 2**30
"""What one request copies, or puts, at most."""
UNORDERED_BUCKETS = "--x-s3"
"""How the names of directory buckets (S3 Express) end, which list in no order."""
_PARTS_AT_ONCE = 4
_POURED_BYTES = 2**20
_MOST_PARTS = 10_000
_BULK = 1000
# The last: servers that have no uploads.
_NOT_KNOWN = ("NotImplemented", "MethodNotAllowed", "not implemented", "NoSuchUpload")
_CHECKSUMS = ("request_checksum_calculation", "response_checksum_validation")
_HIDDEN = "; without s3:ListBucket S3 answers 403 for what is not there, too"
_PAYER = "x-amz-request-payer"
_CHECKSUM = "x-amz-checksum-sha256"
_WHOLE_SHA256 = re.compile("[A-Za-z0-9+/]{43}=")
_ENCRYPTION = {
    "ServerSideEncryption": "server_side_encryption",
    "SSEKMSKeyId": "sse_kms_key_id",
    "BucketKeyEnabled": "sse_bucket_key_enabled",
}
"""Words of botocore -> words of obstore."""
# Read by obstore alone, and no option of its undoes them.
_VARIABLES = ("CHECKSUM_ALGORITHM", "SERVER_SIDE_ENCRYPTION", "SSE_BUCKET_KEY_ENABLED", "SSE_CUSTOMER_KEY_BASE64",
              "SSE_KMS_KEY_ID")  # fmt: skip
_CARRIED: dict[str, frozenset[str] | None] = {
    **dict.fromkeys((
        "anon", "endpoint_url", "key", "secret", "token", "username", "password", "profile", "session", "use_ssl",
        "requester_pays", "default_block_size", "default_fill_cache", "default_cache_type", "max_concurrency",
        "use_listings_cache", "listings_expiry_time", "max_paths", "skip_instance_cache",
    )),
    "client_kwargs": frozenset((
        "region_name", "endpoint_url", "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "use_ssl",
    )),
    "config_kwargs": frozenset((
        "region_name", "signature_version", "connect_timeout", "read_timeout", "retries", "s3", "proxies",
        "max_pool_connections", *_CHECKSUMS,
    )),
    "s3_additional_kwargs": frozenset(_ENCRYPTION),
}  # fmt: skip
"""Options of s3fs that mean the same with obstore; their values are looked at when the client is made."""
_PARSED = "before-parse.s3.*"
_LAST, _AFTER = b"</Contents>", b"<NextContinuationToken>"
_TRUNCATED = b"<IsTruncated>true</IsTruncated>"
_follow: ContextVar[Sequence[Callable[[str], None]]] = ContextVar("_follow", default=())
"""What the coroutine that asks for a page does with the token of the next one, as soon as that has come. Empty when it
has: connections that were opened meanwhile keep its context, and would keep the pages."""
_TURNS = 3
"""Of the loop, until a request is sent that was begun: that of its task, that of what writes it, and one to spare."""
_LONGEST_HEAD = 64 * 1024  # far more than any; the expression takes 70 bytes of memory for each of its bytes
_OF_OBJECTS = ("Key", "Size", "LastModified", "ETag", "StorageClass")
# What all known servers write of XML: elements without attributes, and at most one level of others in them. A plus sign
# after another keeps the expression from going back; not around groups, which Python 3.11 then loses count of. No
# element fits two of the branches: a stranger's page would take for ever.
_HEAD = re.compile(
    r'(?:<\?xml version="1\.0"(?: encoding="(?:UTF|utf)-8")?\?>)?\s*<ListBucketResult(?: xmlns="[^"<&]*")?>\s*'
    r"(?:<(\w+)>[^<&]*</\1>\s*|<\w+ ?/>\s*)*",
    re.ASCII,
)
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]++)?"
_OBJECT = re.compile(
    r"<Contents>\s*+(?:<(?:Key>([^<>]++)</Key|Size>([0-9]++)</Size|LastModified>("
    rf"{_TIME})Z?</LastModified|ETag>([^<>]*+)</ETag|StorageClass>([^<>&]*+)</StorageClass|"
    rf"(?!(?:{'|'.join(_OF_OBJECTS)})>)([A-Za-z]++)>"
    r"(?:\s*+(?:<([A-Za-z]++)>[^<>&]*+</\7>\s*+)+|[^<>&]*+)</\6)>\s*+)*</Contents>\s*+",
    re.ASCII,
)
_ESCAPED = re.compile("(?:[^&]|&(?:amp|lt|gt|quot|apos|#34|#39);)*")
_NEVER = bytes({*range(0x20)} - {0x0A}), (b"\xef\xbf\xbe", b"\xef\xbf\xbf")
"""Bytes, and the two characters, that XML does not hold, or not as they are."""
_RANGES_BY_200: set[str] = set()
"""Endpoints that do not answer a range by 206, as rclone; of any other answer obstore makes nothing."""
_RANGE = re.compile("bytes=([0-9]*)-([0-9]*)")
_IN_VAIN = (301, 307, 400, 403)
"""Statuses that obstore gets for good where s3fs gets none: another region, a clock that is wrong, a header missing."""
_BLOCKED_SECONDS = 5.0
"""Longest call that blocks a thread, and with it Ctrl-C."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]+")
_AWS = (".amazonaws.com", ".amazonaws.com.cn")
_LEGACY_ATTEMPTS = 5  # botocore's own, where nothing is said
_FIRST_WAIT = 0.5  # obstore's own is a tenth: a server that starts anew would be given up after a second
_RETRY_SECONDS = 180  # obstore's own; who waits gives up earlier


def _is_listing(answer: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Tell whether a parsed answer is a listing of what was asked for.

    botocore makes an empty listing of an empty body and of any well-formed XML. AWS and all servers known to the tests
    send Name, MaxKeys and IsTruncated; rclone leaves out KeyCount where it is 0, servers of version 1 always do.
    """
    contents, prefixes = answer.get("Contents", ()), answer.get("CommonPrefixes", ())
    named = bool(answer.get("Name")) and "MaxKeys" in answer and "IsTruncated" in answer
    counted = bool(answer.get("KeyCount")) == bool(contents or prefixes)
    goes_on = not answer.get("IsTruncated") or bool(answer.get("NextContinuationToken"))
    begin = asked.get("Prefix", "")
    # A page of another folder, from a cache that keeps too little of the question, is no answer either.
    echoed = _begins(answer.get("Prefix") or begin, begin) and _begins(begin, answer.get("Prefix") or begin)
    inside = all(_begins(item.get("Key", ""), begin) and "Size" in item for item in contents)
    return named and counted and goes_on and echoed and inside


def _is_version_listing(answer: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Tell whether a parsed answer lists versions of what was asked for."""
    goes_on = not answer.get("IsTruncated") or bool(answer.get("NextKeyMarker"))
    named = bool(answer.get("Name")) and "IsTruncated" in answer and goes_on
    items = (*answer.get("Versions", ()), *answer.get("DeleteMarkers", ()))
    begin = asked.get("Prefix", "")
    return named and all(_begins(item.get("Key", ""), begin) and "VersionId" in item for item in items)


def _begins(name: str, begin: str) -> bool:
    """Tell whether a name begins so; SeaweedFS does not escape it, and botocore then reads a plus as a space."""
    return name.startswith(begin) or unquote_plus(name).startswith(unquote_plus(begin))


def _has(*names: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], bool]:
    return lambda answer, _: all(answer.get(name) for name in names)


def _has_status(status: int) -> Callable[[Mapping[str, Any], Mapping[str, Any]], bool]:
    return lambda answer, _: answer["ResponseMetadata"]["HTTPStatusCode"] == status


def _is_tagged(tag: str | None, wanted: str | None) -> bool:
    """Tell whether bytes have an ETag, and that of the condition they were asked for on; some servers quote none."""
    return bool(tag) and (wanted is None or str(tag).strip('"') == wanted.strip('"'))


PROOFS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], bool]] = {
    "list_objects_v2": _is_listing,
    "list_object_versions": _is_version_listing,
    "list_multipart_uploads": _has("Bucket"),
    "put_object": _has("ETag"),
    "get_object": lambda answer, asked: _is_tagged(answer.get("ETag"), asked.get("IfMatch")),
    "head_object": _has("ETag"),
    "delete_object": _has_status(204),
    "copy_object": lambda answer, _: bool(answer.get("CopyObjectResult", {}).get("ETag")),
    "create_multipart_upload": _has("UploadId"),
    "upload_part": _has("ETag"),
    "upload_part_copy": lambda answer, _: bool(answer.get("CopyPartResult", {}).get("ETag")),
    "complete_multipart_upload": _has("ETag"),
    "abort_multipart_upload": _has_status(204),
}
"""What an answer with status 2xx must hold to be one; a bulk delete is compared key by key where it is asked for."""


def _prove(method: str, answer: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise `UnexpectedAnswerError` unless an answer holds what belongs to it."""
    proof = PROOFS.get(method)
    if proof is not None and not proof(answer, asked):
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        raise UnexpectedAnswerError(f"{method} was answered with status {status} and without what belongs to it")


def _of_every_put(client: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the root's options add to each PUT, such as how it is encrypted, and the headers that say so."""
    members = client.meta.service_model.operation_model("PutObject").input_shape.members
    headers = {name: each.serialization for name, each in members.items() if name in given}
    if any(name.startswith("SSECustomer") for name in headers):
        problem = "who uploads by a ticket would have to be given the key that the root's objects are encrypted with"
        raise StorageError(problem, next_step="store it through the program")
    names = {name: said["name"] for name, said in headers.items() if said.get("location") == "header"}
    texts = {name: str(given[name]).lower() if given[name] in (True, False) else str(given[name]) for name in names}
    return {name: given[name] for name in names}, {names[name]: text for name, text in texts.items()}


def _pay_in_query(request: Any, signature_version: str, **_: Any) -> None:
    """Move who pays from a header into the query of a URL that is signed: nobody who opens one sends that header."""
    if str(signature_version).endswith("-query") and _PAYER in request.headers:
        request.params = {**request.params, _PAYER: request.headers[_PAYER]}
        del request.headers[_PAYER]


async def _read_listing(operation_model: Any, response_dict: Any, **rest: Any) -> None:
    """Tell whoever wants to know it what the next page is asked for with; then read the objects of this one."""
    if operation_model.name != "ListObjectsV2":
        return
    if (begin := _follow.get()) and (told := _after(response_dict["body"])):
        begin[0](told)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
    _read_objects(response_dict, **rest)


def _after(body: bytes) -> str:
    """Return what the next page is asked for with, as far as this shows at a glance; empty: nothing."""
    begin = body.find(_AFTER) + len(_AFTER)
    end = body.find(b"<", begin)
    is_told = _TRUNCATED in body and begin >= len(_AFTER) and end >= 0
    return unescape(body[begin:end].decode(errors="replace")) if is_told else ""


def _read_objects(response_dict: Any, customized_response_dict: Any, **_: Any) -> None:
    """Read the objects of a listing in a tenth of botocore's time; it reads the rest, and all where anything is odd."""
    body = response_dict["body"]
    begin, end = body.find(b"<Contents>"), body.rfind(_LAST) + len(_LAST)
    found: list[dict[str, Any]] = []
    at = 0
    try:
        head, objects, rest = body[: max(begin, 0)].decode(), body[begin:end].decode(), body[:begin] + body[end:]
        if (
            len(head) > _LONGEST_HEAD
            or not _HEAD.fullmatch(head)
            or b"Contents" in rest
            or len(body.translate(None, _NEVER[0])) < len(body)
        ):
            return
        for told in _OBJECT.finditer(objects):
            if told.start() != at:
                return
            at = told.end()
            key, size, modified, etag, storage_class = told.group(1, 2, 3, 4, 5)
            each = {"Key": _read_text(key), "Size": int(size), "LastModified": datetime.fromisoformat(f"{modified}Z")}
            if etag is not None:
                each["ETag"] = _read_text(etag.replace("&#34;", '"').replace("&quot;", '"'))
            if storage_class is not None:
                each["StorageClass"] = storage_class
            found.append(each)
    except (TypeError, ValueError):
        return
    once = all(objects.count(f"<{name}>") == sum(name in each for each in found) for name in _OF_OBJECTS)
    if once and at == len(objects) and not any(each in body for each in _NEVER[1]):
        # botocore's parser refuses it unless all that came was well-formed.
        response_dict["body"], customized_response_dict["Contents"] = rest, found


def _read_text(text: str) -> str:
    """Return what a text without elements says in XML; `ValueError` where it says it in some other way."""
    if "&" not in text:
        return text
    if len(text) > _LONGEST_HEAD or not _ESCAPED.fullmatch(text):
        raise ValueError(text)
    return unescape(text)


class CheckedS3FileSystem(S3FileSystem):
    """s3fs, but what is no answer raises; s3fs and botocore take most of it for an empty one.

    `obstore`: "auto" or "obstore" lets that make the calls that it can make in s3fs's place.
    """

    def __init__(self, *args: Any, obstore: rust.Engine = "fsspec", **options: Any) -> None:
        super().__init__(*args, **options)
        self.versioned: dict[str, bool] = {}
        """By bucket, what deletions told: where versions are kept each leaves a marker, elsewhere none does."""
        self.clock = StorageClock()
        self.rust = rust.StandIn(obstore, self.clock, self._find_obstacle, self._new_store)
        self._listening: Any = None

    async def set_session(self, *args: Any, **options: Any) -> Any:
        """Connect, and let listings be read faster."""
        client = await super().set_session(*args, **options)
        if client is not self._listening:
            self._listening = client
            self.rust.forget()
            # Before botocore looks whether an answer is an error after all: it reads all of a listing for that.
            events, looks = client.meta.events, getattr(handlers, "_handle_200_error", None)
            events.unregister(_PARSED, looks)
            for handler in filter(None, (_read_listing, looks)):
                events.register_first(_PARSED, handler)
        return client

    async def by_obstore(self, method: str, asked: Mapping[str, Any]) -> tuple[Any, int]:
        """Make a call by obstore; None where s3fs has to, with the status that obstore was refused with, else 0."""
        call, known = _CALLS.get(method, (None, frozenset()))
        if call is None or not known.issuperset(asked) or not self.rust.takes(asked["Key"]):
            return None, 0
        # Not each time: it looks at all connections of s3fs.
        endpoint = (self._s3 or await self.set_session()).meta.endpoint_url
        reads = method == "get_object"
        store = self.rust.reader(asked["Bucket"]) if reads else self.rust.client(asked["Bucket"])
        if store is None or ("Range" in asked and endpoint in _RANGES_BY_200):
            return None, 0
        try:
            answer = await call(store, asked)
        except rust.failures() as failure:
            refusal = rust.translated(failure, asked["Key"])
            if not isinstance(refusal, rust.Refusal):
                if reads:
                    return None, 0  # asked once: s3fs asks again
                raise refusal from None
            if "non-partial" in refusal.message:
                _RANGES_BY_200.add(endpoint)
            # Of anything else s3fs gives its own account: it knows other regions, and tells what is no answer. So of a
            # page without S3's own code; only what a HEAD is answered has none.
            code = refusal.code or (method == "head_object" and str(refusal.status))
            if refusal.status not in rust.DEFINITE or not code:
                return None, refusal.status
            told = {"Error": {"Code": code, "Message": refusal.message or code}}
            status = {"ResponseMetadata": {"HTTPStatusCode": refusal.status}}
            error = translate_boto_error(ClientError({**told, **status}, method))
            raise error from error.__cause__
        if answer is None:
            return None, 0
        _prove(method, answer, asked)
        if reads:
            answer["Body"].broke_off = self.rust.note_break
        return answer, 0

    def put_here(self, bucket: str, key: str, data: bytes, content_type: str, limit: float) -> bool:
        """Put a small object by obstore in the calling thread; False: a call on the loop must do it."""
        # Keys that change are fetched on the loop.
        if self._s3 is None or hasattr(self._s3._request_signer._credentials, "_expiry_time"):
            return False
        if (store := self.rust.blocking(bucket, key, limit, self._new_store)) is None:
            return False
        try:
            rust.put(store, key, data, content_type)
        except (rust.Refusal, ConnectionError):
            return False
        return True

    def _find_obstacle(self) -> str:
        """Return what botocore's client has that obstore's could not have; empty: nothing."""
        client = self._s3
        config, signer, session = client.meta.config, client._request_signer, client._endpoint.http_session
        s3 = config.s3 or {}
        of_endpoint = ("use_accelerate_endpoint", "use_dualstack_endpoint", "payload_signing_enabled")
        found = {
            "endpoints that are dual-stack, FIPS or accelerated": (
                config.use_dualstack_endpoint or config.use_fips_endpoint or any(s3.get(each) for each in of_endpoint)
            ),
            "adaptive retries": (config.retries or {}).get("mode") == "adaptive",
            "a bundle of certificates in place of the system's": (
                urlsplit(client.meta.endpoint_url).scheme == "https" and session._verify is not True
            ),
            "certificates of clients, or for proxies": session._cert_file or config.proxies_config,
            "a signature of another version than 4": signer.signature_version not in ("s3v4", "v4", UNSIGNED),
            "a check of answers' checksums": (
                config.response_checksum_validation == "when_supported" and not client.meta.endpoint_url.endswith(_AWS)
            ),
            "an encryption whose kind is left to the bucket": (
                self.s3_additional_kwargs and not self.s3_additional_kwargs.get("ServerSideEncryption")
            ),
            "no credentials": signer._credentials is None and signer.signature_version is not UNSIGNED,
        }
        obstacle = next((what for what, is_so in found.items() if is_so), "")
        return obstacle and f"botocore is set up with {obstacle}"

    def _new_store(self, bucket: str, limit: float | None = None, *, retries: bool = True) -> Any:
        """Make a client of obstore's that asks as botocore's does; with a limit, in seconds, for calls that block."""
        store_class: Any = import_module("obstore.store").S3Store
        client = self._s3
        config, signer, http = client.meta.config, client._request_signer, client._endpoint.http_session
        place = urlsplit(client.meta.endpoint_url)
        style = (config.s3 or {}).get("addressing_style")
        in_host = "." not in bucket and (style == "virtual" or (style != "path" and str(place.hostname).endswith(_AWS)))
        endpoint = place._replace(netloc=f"{bucket}.{place.netloc}" if in_host else place.netloc).geturl()
        anonymous = signer.signature_version is UNSIGNED

        async def login() -> dict[str, Any]:
            found = await signer._credentials.get_frozen_credentials()
            expiry = getattr(signer._credentials, "_expiry_time", None)
            keys = {"access_key_id": found.access_key, "secret_access_key": found.secret_key}
            # obstore takes Python's own UTC alone, botocore has a zone of dateutil's.
            return {**keys, "token": found.token, "expires_at": expiry and expiry.astimezone(UTC)}

        def known() -> dict[str, Any]:
            found = signer._credentials
            keys = {"access_key_id": found.access_key, "secret_access_key": found.secret_key}
            return {**keys, "token": found.token, "expires_at": None}

        # The strongest that both know, where botocore would send one: a bucket with object lock takes nothing without.
        checked = {"checksum_algorithm": "sha256"} if config.request_checksum_calculation == "when_supported" else {}
        attempts = (config.retries or {}).get("total_max_attempts", _LEGACY_ATTEMPTS)
        return store_class(
            bucket,
            config={
                "aws_endpoint_url_s3": endpoint, "region": signer.region_name, "conditional_put": "etag",
                "virtual_hosted_style_request": in_host, "skip_signature": anonymous, "unsigned_payload": False,
                "request_payer": bool(self.req_kw), "s3_express": False, **checked,
                **{_ENCRYPTION[name]: value for name, value in self.s3_additional_kwargs.items()},
            },
            client_options=rust.client_options(
                endpoint, http._proxy_config.proxy_url_for(client.meta.endpoint_url), config.connect_timeout,
                config.read_timeout, limit,
            ),
            # One that blocks has no second try: the loop makes it. The waits in between are as long as botocore's.
            retry_config={
                "max_retries": attempts - 1 if retries and limit is None else 0,
                "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
                "backoff": {"init_backoff": timedelta(seconds=_FIRST_WAIT)},
            },
            credential_provider=None if anonymous else login if limit is None else known,
        )  # fmt: skip

    def invalidate_cache(self, path: str | None = None) -> None:
        """Do nothing: no listing is kept, and s3fs looks for each folder above a path."""

    def split_path(self, path: str) -> tuple[str, str, None]:
        """Return the bucket and the key: no key has `?versionId=`, for which s3fs looks with expressions each time."""
        bucket, _, key = self._strip_protocol(path).lstrip("/").partition("/")
        return bucket, key, None

    async def _call_s3(self, method: str, *defaults: Any, **asked: Any) -> Any:
        answer, refused = await self.by_obstore(method, asked)
        if answer is None:
            answer = await self.by_botocore(method, *defaults, **asked)
            self.note_refusal(asked, refused)
        return answer

    def note_refusal(self, asked: Mapping[str, Any], refused: int) -> None:
        """Count that s3fs was given what obstore was refused with a status that stays; 0: it was not asked."""
        if refused in _IN_VAIN:
            self.rust.note_refusal(asked["Bucket"])

    async def by_botocore(self, method: str, *defaults: Any, **asked: Any) -> Any:
        """Make a call by s3fs."""
        # A bucket whose requesters pay wants to hear it in each request that knows the word; s3fs says it in some.
        try:
            answer = await super()._call_s3(method, self.req_kw, *defaults, **asked)
        except PermissionError as error:
            # Other codes are about the credentials themselves.
            if _told(error)[1] not in ("AccessDenied", "403"):
                raise
            refusal = PermissionError(f"{error}{_HIDDEN if method in ('get_object', 'head_object') else ''}")
            refusal.errno = errno.EACCES
            raise refusal from error.__cause__
        self.clock.note_date(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}), "date")
        _prove(method, answer, asked)
        if method in ("delete_object", "delete_objects") and "VersionId" not in asked:
            gone = [answer] if method == "delete_object" else answer.get("Deleted", ())
            marked = any(each.get("DeleteMarker") is True for each in gone)
            self.versioned[asked["Bucket"]] = marked or self.versioned.get(asked["Bucket"], False)
        return answer

    async def _put_file(self, lpath: str, rpath: str, *args: Any, **options: Any) -> None:
        try:
            await super()._put_file(lpath, rpath, *args, **options)
        except FileNotFoundError as error:
            if _told(error)[1] != "NoSuchUpload":
                raise
            # Its end had no answer, or somebody aborted it: nobody can tell, so all of it is sent once more.
            raise UnexpectedAnswerError("the upload is not known any more") from error

    async def _upload_file_part_concurrent(
        self,
        bucket: str,
        key: str,
        mpu: Mapping[str, Any],
        f0: BinaryIO,
        chunksize: int,
        callback: Callback = DEFAULT_CALLBACK,
        max_concurrency: int | None = None,
    ) -> list[dict[str, Any]]:
        """Upload the parts of a file, the next one as soon as one is done.

        s3fs's own begins the next batch of them when the last of a batch is done, so that one which a server takes a
        second for holds up all.
        """
        parts: list[dict[str, Any]] = []

        async def upload() -> None:
            while piece := f0.read(chunksize):
                place = len(parts)
                parts.append({})
                part = {"Bucket": bucket, "Key": key, "UploadId": mpu["UploadId"], "PartNumber": place + 1}
                parts[place] = await self._call_s3("upload_part", Body=piece, **part)
                callback.relative_update(len(piece))

        failures: Sequence[Exception] = ()
        try:
            # A group, for the failure of one ends the others: what comes after an upload is aborted stays for ever.
            async with asyncio.TaskGroup() as group:
                for _ in range(max_concurrency or self.max_concurrency):
                    group.create_task(upload())
        except ExceptionGroup as failed:
            failures = failed.exceptions
        if failures:  # not where the group is its context: a cycle, which Dask's pickles follow without an end
            raise failures[0]
        return parts

    async def _get_file(self, rpath: str, lpath: str, callback: Callback = DEFAULT_CALLBACK, **_: Any) -> None:
        """Bring an object to this machine by one answer, and what is missing of it by others of the same object.

        s3fs asks on no condition for parts of 50 MiB, of which it holds ten at once.
        """
        bucket, key, _version = self.split_path(rpath)
        ask = partial(self._call_s3, "get_object", Bucket=bucket, Key=key)
        answer = await ask()  # before there is a file
        with _created(lpath) as file:
            for number in count(1):
                if not file.tell():
                    size, tag = answer.get("ContentLength"), answer["ETag"]
                    callback.set_size(size)
                try:
                    await _pour(answer["Body"], file, callback)
                    if size is None or file.tell() == size:  # not every server tells one
                        return
                    raise UnexpectedAnswerError(f"{file.tell()} bytes came of {size}")
                except (*S3_RETRYABLE_ERRORS, ConnectionError, TimeoutError):
                    if number >= self.retries:
                        raise
                await asyncio.sleep(0.1 * 1.7**number)  # as s3fs waits
                rest = await _rest_of(ask, file.tell(), size, tag) if size and file.tell() else None
                if rest is None:
                    file.seek(0)
                    file.truncate()
                answer = rest or await ask()

    async def _url(self, path: str, *args: Any, **options: Any) -> Any:
        if self.req_kw:
            await self.set_session()
            client = await self.get_s3(self.split_path(path)[0])
            for method in ("GetObject", "PutObject"):
                client.meta.events.register(f"before-sign.s3.{method}", _pay_in_query, unique_id=f"fsmedia-{method}")
        return await super()._url(path, *args, **self.req_kw, **options)


def _created(path: str) -> BinaryIO:
    return Path(path).open("wb")


async def _rest_of(ask: Callable[..., Awaitable[Any]], start: int, size: int, tag: str) -> Any:
    """Return the answer with the rest of an object; None where it is another one by now."""
    try:
        answer = await ask(Range=f"bytes={start}-", IfMatch=tag)
    except UnexpectedAnswerError:
        return None  # of a server that knows no conditions, and tells the ETag
    except OSError as error:
        if _told(error)[0] in (412, 416):
            return None
        raise
    if start + answer["ContentLength"] == size:
        return answer
    answer["Body"].close()
    return None


async def _pour(body: Any, file: BinaryIO, callback: Callback) -> None:
    """Write what is left of an answer into a file, as it comes."""
    try:
        while piece := await body.read(_POURED_BYTES):
            file.write(piece)
            callback.absolute_update(file.tell())
    finally:
        with suppress(Exception):  # of one that could not be read
            body.close()


async def _get_object(store: Any, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    key = asked["Key"]
    given = (("if_match", asked.get("IfMatch")), ("version", asked.get("VersionId")))
    options: dict[str, Any] = {name: value for name, value in given if value}
    if "Range" in asked:
        if (limits := _RANGE.fullmatch(asked["Range"])) is None:
            return None  # a range of s3fs's own, from more than the size before the end
        start, end = limits.groups()
        both = (int(start), int(end) + 1) if start and end else None
        options["range"] = both or ({"offset": int(start)} if start else {"suffix": int(end)})
    found = await store.get_async(key, options=options)
    body = rust.Body(found, key)
    return {"Body": body, "ContentLength": body.size, "ETag": found.meta["e_tag"]}


async def _head_object(store: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    found = await store.head_async(asked["Key"])
    told = {"ContentLength": found["size"], "ETag": found["e_tag"]}
    # The beginning of all time stands where nothing was told.
    return told | ({"LastModified": found["last_modified"]} if found["last_modified"].timestamp() else {})


async def _put_object(store: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    key = asked["Key"]
    mode = "create" if "IfNoneMatch" in asked else {"e_tag": asked["IfMatch"]} if "IfMatch" in asked else "overwrite"
    attributes = {"Content-Type": asked["ContentType"]} if "ContentType" in asked else {}
    told = await store.put_async(key, asked["Body"], attributes=attributes, mode=mode, use_multipart=False)
    return {"ETag": told["e_tag"]}


_CALLS: dict[str, tuple[Callable[..., Any], frozenset[str]]] = {
    name: (call, frozenset(("Bucket", "Key", "RequestPayer", *asked)))
    for name, call, asked in (
        ("get_object", _get_object, ("Range", "IfMatch", "VersionId")),
        ("head_object", _head_object, ()),
        ("put_object", _put_object, ("IfMatch", "IfNoneMatch", "Body", "ContentType")),
    )
}
"""The calls that obstore makes, with what it can be asked; what is asked beyond that s3fs is asked."""


class UploadStage:
    """A stage whose bytes are sent in parts as they come, and seen once all have; a part that fails ends it.

    For a key that nobody else writes to.
    """

    def __init__(self, backend: S3Backend, key: str, part_bytes: int, content_type: str) -> None:
        self._backend, self._key, self._content_type = backend, key, content_type
        self._part_bytes = part_bytes
        self._next = bytearray()
        self._size = 0
        self._asked = backend._object(key)
        self._upload: str | None = None
        self._tags: dict[int, str] = {}
        self._number = 0
        # As many bytes at once of larger parts, which a file of more than 50 GB has.
        self._at_once = max(1, _PARTS_AT_ONCE * PART_BYTES // part_bytes)
        self._under_way: set[asyncio.Task[None]] = set()
        self._beginning: asyncio.Task[Any] | None = None
        self._completing: asyncio.Task[Any] | None = None
        self._has_begun = self._is_over = False

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes; waits where too many are under way, and raises what an earlier part failed with."""
        self._size += len(data)
        rest = memoryview(data)
        while len(self._next) + len(rest) >= self._part_bytes:
            room = self._part_bytes - len(self._next)
            self._next += rest[:room]
            rest = rest[room:]
            self._send()
        self._next += rest

    def _send(self) -> None:
        part, self._next, self._has_begun = self._next, bytearray(), True
        self._run(partial(self._begin, part))

    def _run(self, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        # Each of its requests has its own limit, and those that have no answer are made once more.
        self._backend._ask(self._key, lambda: self._backend._sync(call, size=None), once=True)

    async def _call(self, method: str, size: int = 0, **asked: Any) -> Any:
        async def call() -> Any:
            async with asyncio.timeout(self._backend._patience(size)):
                return await self._backend.fs._call_s3(method, **self._asked, **asked)

        return await repeated(call)

    async def _begin(self, part: bytearray) -> None:
        """Begin to send a part, once there is room for it."""
        self._beginning = asyncio.current_task()
        if self._upload is None and not self._is_over:
            answer = await self._call("create_multipart_upload", **self._backend._put_options(self._content_type))
            self._upload = answer["UploadId"]
        await self._finish_parts(self._at_once - 1)
        # Who was interrupted gave all up, and this goes on: what is sent after an upload is aborted stays for ever.
        if self._is_over:
            raise ConnectionError("given up")
        self._number += 1
        self._under_way.add(asyncio.ensure_future(self._send_part(self._number, part)))

    async def _send_part(self, number: int, part: bytearray) -> None:
        words = {"UploadId": self._upload, "PartNumber": number, "Body": part}
        # A slow line is shared by all that are under way.
        answer = await self._call("upload_part", self._at_once * len(part), **words)
        self._tags[number] = answer["ETag"]

    async def _finish_parts(self, most: int) -> None:
        """Wait until no more than so many parts are under way; raises what one failed with."""
        while True:
            for done in [each for each in self._under_way if each.done()]:
                self._under_way.remove(done)
                if isinstance(done.exception(), FileNotFoundError):
                    raise self._lost()
                done.result()
            if len(self._under_way) <= most:
                return
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    def ready(self) -> None:
        """Do nothing: what has come is on its way."""

    def commit(self, content_type: str) -> None:
        """Send the rest, and let all of it be seen."""
        if not self._number:
            self._backend.write(self._key, bytes(self._next), content_type)
            self._is_over = True
            return
        if self._next:
            self._send()
        self._run(self._complete)

    async def _complete(self) -> None:
        self._completing = asyncio.current_task()
        await self._finish_parts(0)
        parts = [{"PartNumber": number, "ETag": self._tags[number]} for number in range(1, self._number + 1)]
        words = {"UploadId": self._upload, "MultipartUpload": {"Parts": parts}}
        is_known = True
        try:
            await self._call("complete_multipart_upload", self._size, **words)
        except FileNotFoundError:
            is_known = False
        # One without an answer may have been done, and is over then. What lies there is nobody else's.
        if not (is_known or await self._lies_there()):
            raise self._lost()
        self._is_over = True

    async def _lies_there(self) -> bool:
        async def look() -> Entry | None:
            async with asyncio.timeout(self._backend._patience(0)):
                return await self._backend._look(self._key)

        there = await repeated(look)
        return there is not None and there.size == self._size

    def _lost(self) -> StorageError:
        # Not in the storage's words, which may show a secret.
        problem = "the storage does not know the upload any more: somebody aborted it"
        return StorageError(problem, next_step="store it again", key=self._key)

    def discard(self) -> None:
        """Abort what was sent."""
        self._next, is_over, self._is_over = bytearray(), self._is_over, True
        if is_over or not self._has_begun:
            return
        with suppress(MediaError):  # what stays is an upload that a repair ends
            self._run(self._abort)

    async def _abort(self) -> None:
        # What begins an upload is waited for: only its answer tells which one.
        for each in (*self._under_way, self._completing):
            if each is not None:
                each.cancel()
        calls = [each for each in (self._beginning, self._completing, *self._under_way) if each is not None]
        await asyncio.gather(*calls, return_exceptions=True)
        if self._upload is not None:
            await self._call("abort_multipart_upload", UploadId=self._upload)


class S3Backend(FsspecBackend):
    """A root in a bucket."""

    lists_versions = True
    largest_upload = LARGEST_COPY
    filesystem_class = CheckedS3FileSystem
    options: ClassVar[dict[str, Any]] = {"use_listings_cache": False}
    takes_size: ClassVar[bool] = True
    one_level: ClassVar[dict[str, Any] | None] = {"Delimiter": "/"}
    page_size: ClassVar[str | None] = "MaxKeys"
    conditional: ClassVar[bool] = True
    knows_obstore: ClassVar[bool] = True
    streams: ClassVar[bool] = True

    def _forced_options(self) -> dict[str, Any]:
        """Sign URLs by version 4, as every region takes them; botocore falls back to version 2 unless told."""
        given = self._options().get("config_kwargs") or {}
        forced = {"signature_version": "s3v4", **self._checksums(), **given}
        return {**self.options, "config_kwargs": forced, "obstore": self.wanted}

    def why_not_obstore(self) -> str:
        """Look at the options, the bucket and the environment; what botocore makes of them shows at the first call."""
        bucket = self._given_url.partition("://")[2].partition("/")[0]
        variable = next((each for each in _VARIABLES if f"AWS_{each}" in os.environ), None)
        if variable:
            return f"AWS_{variable} is set, which s3fs does not read"
        if not _BUCKET.fullmatch(bucket) or bucket.endswith(UNORDERED_BUCKETS):
            return f"{bucket!r} is no plain bucket"
        return rust.not_carried(self._options(), _CARRIED)

    def _checksums(self) -> dict[str, str]:
        """Return botocore's settings for checksums where an endpoint is given, by options, environment or profile.

        Servers that are not AWS answer a range with the checksum of the whole object, or refuse one behind a body; and
        fsmedia has its own SHA-256. What the environment or the profile says of checksums stays.
        """
        options = self._options()
        session = options.get("session") or Session(profile=options.get("profile"))
        profile = session.get_scoped_config()
        endpoint = self.endpoint or ConfiguredEndpointProvider(session.full_config, profile, "s3").provide()
        chosen = [name for name in _CHECKSUMS if os.environ.get(f"AWS_{name.upper()}") or profile.get(name)]
        return {name: "when_required" for name in _CHECKSUMS if endpoint and name not in chosen}

    def _lists_unordered(self) -> bool:
        return self._bucket.endswith(UNORDERED_BUCKETS)

    def _object(self, key: str) -> dict[str, Any]:
        bucket, name = self._split(key)
        return {"Bucket": bucket, "Key": name}

    def _request(self, key: str | None, method: str, **asked: Any) -> Any:
        return self._ask(key, lambda: self._sync(self.fs._call_s3, method, **asked))

    def _put_options(self, content_type: str) -> dict[str, Any]:
        return {"ContentType": content_type}

    def _file_options(self, size: int) -> dict[str, Any]:
        # s3fs makes parts larger only where it chooses their size.
        part_bytes = max(PART_BYTES, math.ceil(size / _MOST_PARTS))
        return {"chunksize": part_bytes, "max_concurrency": _PARTS_AT_ONCE}

    def stage_file(self, key: str, size: int, content_type: str) -> Stage:
        """Send what is more than one part while it is read: so there is no copy of it on this machine."""
        self.check(key)
        part_bytes: int = self._file_options(size)["chunksize"]
        return self.stage(key) if size < 2 * part_bytes else UploadStage(self, key, part_bytes, content_type)

    def put(
        self, key: str, data: bytes, content_type: str, *, if_absent: bool = False, if_token: str | None = None
    ) -> str | None:
        """Put by one request; the token is the ETag."""
        condition = {"IfNoneMatch": "*"} if if_absent else {} if if_token is None else {"IfMatch": if_token}
        asked = {**self._object(key), **self._put_options(content_type), **condition}
        call = partial(self.fs._call_s3, "put_object", Body=data, **asked)
        put = partial(self._conditioned, key, call, is_given=bool(condition))
        answer: dict[str, Any] = self._ask(key, lambda: self._sync(put, size=len(data)))
        return answer.get("ETag")

    def remove(self, key: str, *, if_token: str | None = None) -> None:
        """Remove by one request, on a condition where one is given; servers that do not know it ignore it."""
        asked = self._object(key) if if_token is None else {**self._object(key), "IfMatch": if_token}
        call = partial(self.fs._call_s3, "delete_object", **asked)
        remove = partial(self._conditioned, key, call, is_given=if_token is not None, is_removal=True)
        self._ask(key, lambda: self._sync(remove))

    def _put(self, key: str, data: bytes, **options: Any) -> None:
        # In this thread where that can be: two turns of fsspec's loop take as long as a third of a request to a server
        # nearby. What is large waits on the loop, where it can be interrupted.
        patience, place = self._patience(0), self._split(key)
        limit = min(patience, _BLOCKED_SECONDS)
        try:
            small = len(data) < PATIENCE_BYTES
            if small and self.fs.put_here(*place, data, options["ContentType"], limit):
                return
        except TimeoutError:
            # Else the whole patience is over.
            if limit == patience:
                raise
        super()._put(key, data, **options)

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Put bytes on the condition that there are none; servers that ignore the condition answer True."""
        # Servers that ignore the condition of a PUT (rclone) would replace what is there.
        if self.head(key) is not None:
            return False
        try:
            self.put(key, data, content_type, if_absent=True)
        except PreconditionFailed:
            return False
        except StorageError as error:
            if not knows_not(error):
                raise
            self.write(key, data, content_type)  # a server that refuses the condition itself: the look was all
        return True

    def _is_missing(self, error: Exception) -> bool:
        """Tell whether nothing is there; s3fs has its own word for some of the answers."""
        return isinstance(error, FileNotFoundError) or _told(error)[0] == 404

    def _is_refused(self, error: Exception) -> bool:
        """Tell whether nothing is there, something else is, or somebody is writing it just now."""
        status, code = _told(error)
        return isinstance(error, FileExistsError) or status in (409, 412) or code in ("NoSuchKey", "PreconditionFailed")

    async def _copy_object(self, path: str, target: str, size: int | None, version: str | None) -> None:
        # By one request where S3 can; s3fs would look at the object first.
        copy = self.fs._copy_basic if size is not None and size <= LARGEST_COPY else self.fs._cp_file
        await copy(path, target, **({} if version is None else {"CopySourceIfMatch": version}))

    async def _cat(self, path: str, most: int | None = None) -> bytes:
        # s3fs asks for the size first where it may read in several parts.
        return (await self._read(path, most))[0]

    async def _read(self, path: str, most: int | None, **asked: str) -> tuple[bytes, str | None]:
        """Read by one request that tells the ETag too, which s3fs keeps to itself."""
        bucket, _, key = path.partition("/")
        asked |= {"Bucket": bucket, "Key": key}
        answer, refused = await self.fs.by_obstore("get_object", asked)
        if answer is not None:
            body = answer["Body"]
            try:
                data = body.read() if most is None or body.size <= most else read_up_to(body.read, most)
                return await data, answer["ETag"]
            except ConnectionError:
                pass  # nothing but this one is read again where many are read

        async def read() -> tuple[bytes, str | None]:
            answer = await self.fs.by_botocore("get_object", **asked)
            try:
                return await read_up_to(answer["Body"].read, most), answer.get("ETag")
            finally:
                answer["Body"].close()

        # What ends in the middle of the bytes is read again, as s3fs does.
        found = cast("tuple[bytes, str | None]", await _error_wrapper(read, retries=self.fs.retries))
        self.fs.note_refusal(asked, refused)
        return found

    async def _part(self, file: Any, key: str, start: int, end: int) -> bytes:
        # On the condition, and of the version, that the file was opened with.
        place = file.bucket, file.key, file.version_id
        return cast("bytes", await _inner_fetch(self.fs, *place, start, end, file.req_kw, file.details))

    async def _body(self, file: Any, start: int) -> rust.Body | None:
        if self.fs.clock.is_wanted:
            return None  # the next part is asked for in a way that tells it
        # On the same condition, and of the same version, as `_part`.
        version = {"VersionId": file.version_id} if file.version_id else {}
        asked = {"Bucket": file.bucket, "Key": file.key, "Range": f"bytes={start}-", **version, **file.req_kw}
        answer, _ = await self.fs.by_obstore("get_object", asked)
        if answer is None:
            raise UnexpectedAnswerError("obstore gives no answer to this")
        return cast("rust.Body", answer["Body"])

    async def _info(self, path: str, **asked: str) -> dict[str, Any]:
        bucket, _, key = path.partition("/")
        # One request also where nothing is: s3fs then looks for a folder of that name by a listing.
        found = await self.fs._call_s3("head_object", Bucket=bucket, Key=key, **asked)
        return {**found, "size": found["ContentLength"], "type": "file"}

    def sign(self, key: str, expiry: timedelta, *, mime_type: str | None = None, filename: str | None = None) -> str:
        """Sign with the credentials of this root; no request is made."""
        seconds = lifetime_of_url("S3", expiry, key)
        options = headers_of_answer("ResponseContentType", mime_type, "ResponseContentDisposition", filename)
        return str(self._ask(key, lambda: self._sync(self.fs._url, self._path(key), expires=seconds, **options)))

    def sign_upload(
        self, key: str, expiry: timedelta, *, mime_type: str, size: int, sha256: str | None, form: bool = False
    ) -> SignedUpload:
        """Sign a PUT of bytes of that size, type and digest where nothing is; or the policy of a form, without that."""
        seconds = lifetime_of_url("S3", expiry, key)
        checksum = None if sha256 is None else b64encode(bytes.fromhex(sha256)).decode()
        place = self._object(key)
        client = self._ask(key, lambda: self._sync(self._client, place["Bucket"]))
        more, said = _of_every_put(client, self.fs.s3_additional_kwargs)
        headers = {"Content-Type": mime_type} | said | ({} if checksum is None else {_CHECKSUM: checksum})
        if form:

            async def policy() -> dict[str, Any]:
                rules = [["content-length-range", size, size], *({name: text} for name, text in headers.items())]
                how = {"Fields": headers, "Conditions": rules, "ExpiresIn": seconds}
                return cast("dict[str, Any]", await client.generate_presigned_post(**place, **how))

            made: dict[str, Any] = self._ask(key, lambda: self._sync(policy))
            return SignedUpload(made["url"], {}, made["fields"])
        rules = {**more, "ContentType": mime_type, "ContentLength": size, "IfNoneMatch": "*"}
        rules |= {} if checksum is None else {"ChecksumSHA256": checksum}
        sign = partial(self.fs._url, self._path(key), expires=seconds, client_method="put_object", **rules)
        return SignedUpload(str(self._ask(key, lambda: self._sync(sign))), {**headers, "If-None-Match": "*"})

    async def _client(self, bucket: str) -> Any:
        await self.fs.set_session()
        return await self.fs.get_s3(bucket)

    async def _details(self, path: str) -> dict[str, Any]:
        found = await self._info(path, ChecksumMode="ENABLED")
        told = {"contentType": found.get("ContentType"), "contentEncoding": found.get("ContentEncoding")}
        told["version_to_copy"] = found["ETag"]
        # That of an upload in parts is a checksum of checksums, which ends in their number.
        if _WHOLE_SHA256.fullmatch(found.get("ChecksumSHA256") or ""):
            told["sha256"] = b64decode(found["ChecksumSHA256"]).hex()
        return {**found, **told}

    def _pages(self, folder: str, waiting: Event | None = None, /, **options: Any) -> Iterator[Page]:
        """List what lies below a folder, 1,000 keys or names a request.

        Who waits for a page wants the next one, too: that is asked for when the answer has come, before it is read.
        """
        early: dict[str, asyncio.Task[dict[str, Any]]] = {}

        async def listed(token: str | None) -> dict[str, Any]:
            _follow.set(follow := [begin])
            after = {} if token is None else {"ContinuationToken": token}
            try:
                return cast("dict[str, Any]", await self.fs._call_s3(**self._listing(folder), **options, **after))
            finally:
                follow.clear()

        def begin(token: str) -> None:
            # One that nobody has asked for yet is enough.
            if waiting is not None and waiting.is_set() and not early:
                early[token] = asyncio.ensure_future(listed(token))
                # Where nobody wants the page after all its failure is nobody's affair.
                early[token].add_done_callback(lambda done: done.cancelled() or done.exception())

        async def page(token: str | None) -> dict[str, Any]:
            begun = None if token is None else early.pop(token, None)
            return await (begun or listed(token))

        def ask(token: str | None) -> Page:
            found: dict[str, Any] = self._ask(folder or None, lambda: self._sync(page, token))
            contents, prefixes = found.get("Contents", ()), [each["Prefix"] for each in found.get("CommonPrefixes", ())]
            after = found.get("NextContinuationToken") if found.get("IsTruncated") else None
            return Page(self._listed_entries(contents), [self._named(each).rstrip("/") for each in prefixes], after)

        return pages(ask, folder.rstrip("/"))

    def _listed_entries(self, contents: Iterable[Mapping[str, Any]]) -> list[Entry]:
        """Return what `_page_of` would, of S3's own words alone: it takes most of the time of a large listing."""
        begin, found = len(self._root) - len(self._bucket), []
        for item in contents:
            name, token = item["Key"], item.get("ETag")
            # What ends with a slash is some program's mark of a folder.
            if not name.endswith("/"):
                token = token and token.strip('"')
                md5 = token if token and MD5.fullmatch(token) else None
                found.append(Entry(name[begin:], item["Size"], item.get("LastModified"), token, md5))
        return found

    def _listing(self, folder: str, method: str = "list_objects_v2") -> dict[str, str]:
        bucket, path = self._split(folder.rstrip("/"))
        return {"method": method, "Bucket": bucket, "Prefix": f"{path}/" if path else ""}

    def _page(self, folder: str, method: str = "list_objects_v2", **options: Any) -> dict[str, Any]:
        return cast("dict[str, Any]", self._request(folder or None, **self._listing(folder, method), **options))

    def _marked_pages(self, folder: str, method: str, second: str) -> Iterator[dict[str, Any]]:
        """Give the pages of a listing that goes on behind a key and a second marker."""
        after: dict[str, str] = {}
        while True:
            page = self._page(folder, method, **after)
            yield page
            if not page.get("IsTruncated"):
                return
            after = {"KeyMarker": page["NextKeyMarker"]}
            if page.get(f"Next{second}"):
                after[second] = page[f"Next{second}"]

    def holds(self, folder: str) -> bool:
        """Ask for one key."""
        return bool(self._page(folder, MaxKeys=1).get("KeyCount"))

    def uploads(self) -> Iterator[Upload]:
        """List multipart uploads, 1,000 a request; servers that know no such listing have none to tell of."""
        try:
            for page in self._marked_pages("", "list_multipart_uploads", "UploadIdMarker"):
                for item in page.get("Uploads", ()):
                    yield Upload(self._named(item["Key"]), item["UploadId"], item.get("Initiated"))
        except StorageError as error:
            if not any(word in error.problem for word in _NOT_KNOWN):
                raise

    def abort(self, upload: Upload) -> None:
        """Abort a multipart upload."""
        ask = {**self._object(upload.key), "UploadId": upload.name}
        try:
            self._request(upload.key, "abort_multipart_upload", **ask)
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError) and "NoSuchUpload" not in error.problem:
                raise

    # -- versions ------------------------------------------------------------------------------------------

    def version_rules(self) -> VersionRules:
        """Ask the bucket; one whose versioning is suspended has the versions of before."""
        try:
            answer = self._request(None, "get_bucket_versioning", Bucket=self._bucket)
        except StorageError as error:
            if any(word in error.problem for word in _NOT_KNOWN):
                return VersionRules()
            return VersionRules(None, unknown=error.problem)
        # An answer without a status is that of a bucket which never had versions, and looks like any other XML: what
        # deletions told counts too.
        kept = answer.get("Status") in ("Enabled", "Suspended") or self.fs.versioned.get(self._bucket, False)
        return VersionRules(versions=kept)

    @property
    def keeps_versions(self) -> bool | None:
        """Whether the bucket keeps versions: by what the answers to deletions told, else it is asked once."""
        told: bool | None = self.fs.versioned.get(self._bucket)
        return super().keeps_versions if told is None else told

    def versions(self, prefix: str = "") -> Iterator[Version]:
        """List versions and markers, 1,000 a request, by key and the newest first."""
        for page in self._marked_pages(prefix, "list_object_versions", "VersionIdMarker"):
            items = (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            for item in sorted(items, key=lambda each: self._named(each["Key"])):
                size, is_current = item.get("Size") or 0, bool(item.get("IsLatest"))
                yield Version(self._named(item["Key"]), item["VersionId"], size, is_current, "Size" not in item)

    async def _read_version(self, version: Version) -> bytes:
        return (await self._read(self._path(version.key), keys.largest(version.key), VersionId=version.name))[0]

    def delete_versions(self, versions: Sequence[Version]) -> dict[Version, MediaError]:
        """Remove by bulk requests of 1,000, and read the answer for every version."""
        return self._delete_in_bulk({(self._split(each.key)[1], each.name): each for each in versions})

    def delete(self, keys: Iterable[str], *, keep_folders: bool = False) -> dict[str, MediaError]:
        """Remove one by one request each, more by bulk requests of 1,000, and read the answer for every key."""
        wanted = list(keys)
        # One key costs one request either way, and its status is all there is to read.
        if len(wanted) == 1:
            return super().delete(wanted, keep_folders=keep_folders)
        return self._delete_in_bulk({(self._split(key)[1], None): key for key in wanted})

    async def _delete_one(self, key: str) -> MediaError | None:
        """Remove an object; a "not found" is asked for once more.

        S3 confirms a removal by 204, also where nothing is. Some servers answer 404 there, and whoever stands in
        between may answer it for an object that stays.
        """
        path = self._path(key)

        async def remove() -> None:
            try:
                await self.fs._rm_file(path)
            except FileNotFoundError:
                await self.fs._rm_file(path)

        return await self._done(key, remove)

    def _delete_in_bulk(self, wanted: Mapping[tuple[str, str | None], T]) -> dict[T, MediaError]:
        """Remove objects or versions, by name and version."""

        def asked_for(item: Mapping[str, Any]) -> tuple[str, str | None]:
            pair = item["Key"], item.get("VersionId")
            return pair if pair in wanted else (item["Key"], None)

        failed: dict[T, MediaError] = {}
        pairs = list(wanted)
        for start in range(0, len(pairs), _BULK):
            some = pairs[start : start + _BULK]
            objects = [{"Key": name} | ({} if version is None else {"VersionId": version}) for name, version in some]
            # Not quiet: what was removed is named too, and only that counts.
            request = {"Objects": objects, "Quiet": False}
            keys = [self._named(name) for name, _ in some]
            try:
                answer = self._request(keys[0], "delete_objects", Bucket=self._bucket, Delete=request)
            except MediaError as error:
                failed |= {
                    wanted[pair]: StorageError(error.problem, next_step=error.next_step, key=key)
                    for pair, key in zip(some, keys, strict=True)
                }
                continue
            done = {asked_for(item) for item in answer.get("Deleted", ())}
            errors = {asked_for(item): item for item in answer.get("Errors", ())}
            # What is in neither list was not answered for, and counts as not removed.
            failed |= {
                wanted[pair]: _not_confirmed(key, errors.get(pair, {}))
                for pair, key in zip(some, keys, strict=True)
                if pair not in done
            }
        return failed


def _not_confirmed(key: str, told: Mapping[str, Any]) -> StorageError:
    why = told.get("Message") or told.get("Code") or "no answer for it"
    error = StorageError(f"the storage did not confirm its removal ({why})", next_step="try again", key=key)
    if told.get("Code") == "AccessDenied":
        # As for a single object: a refusal is an answer, and whoever asked knows that nothing was removed.
        error.__cause__ = PermissionError(errno.EACCES, "AccessDenied")
    return error


def _told(error: Exception) -> tuple[int | None, str]:
    """Return the status and the code of the answer behind an error."""
    answer = getattr(error.__cause__ or error, "response", None) or {}
    return answer.get("ResponseMetadata", {}).get("HTTPStatusCode"), answer.get("Error", {}).get("Code", "")
