"""Tickets: uploads that do not pass the program. One is made, its bytes are uploaded, and then they are confirmed.

Nothing is kept between the three. What has to be remembered stands in a token that the program signs; what was uploaded
is, until it is confirmed, what a store under way leaves: bytes of our own form without a sidecar. See "Uploads by
ticket" in docs/orders.md for the order and what it rests on.
"""

from __future__ import annotations

import binascii
import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256 as digest_of
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple, NoReturn, cast

from pydantic import AfterValidator, Field

from fsmedia.core import blobs, commit, named, records, telemetry
from fsmedia.core.commit import Reservation, StoreOperation
from fsmedia.core.ingest import HashingWriter, MediaUpload, WriteContext, draft_of, read_chunks
from fsmedia.core.named import ContentDigest
from fsmedia.errors import (
    ErrorContext,
    InvalidMediaError,
    MediaNotFoundError,
    MediaTooLargeError,
    StorageError,
    StoreConflictError,
)
from fsmedia.format import keys, wav
from fsmedia.format.measures import HEAD_BYTES
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import ContentFields, MediaContent, MediaMetadata, Reference, RetentionPolicy, mime
from fsmedia.models.base import Model
from fsmedia.models.selection import fits_pattern, mime_pattern
from fsmedia.models.urls import refuse_over
from fsmedia.storage import Backend, Exclusion
from fsmedia.storage.port import SignedUpload, Uploaded

Method = Literal["PUT", "POST"]
KEY_VARIABLE = "FSMEDIA_TICKET_KEY"
"""Environment variable with the key, where none is given."""
SHORTEST_KEY = 16
"""Bytes of a key at least: who holds a token may try keys on it for as long as they like."""
EXPIRY = timedelta(minutes=15)
"""How long a ticket takes its upload unless told."""
ROUTE = "upload"
"""Where a program takes what its storage has no URL for: `upload/<token>`, below its own address."""
LONGEST_TOKEN = 12 * 1024
"""Characters of a token: servers take requests with a head of 16 KiB, and it may stand in their first line."""
_MOST_AHEAD = timedelta(minutes=5)  # how far apart the clocks of two programs may be
_DOMAIN = b"fsmedia upload ticket 1\n"  # no signature of the same key for something else is one of a ticket
_ANEW = "upload it by a new ticket"


class UploadTicket(Model):
    """Leave to upload one media file to its place. Its repr shows no URL and no token, which are as good as passwords.

    For a browser: `ticket.model_dump(mode="json")`.
    """

    url: str = Field(repr=False, description="Where to send the bytes; relative where the program itself takes them.")
    method: Method = Field(description="PUT: the bytes are the body. POST: they are the last field of a form, `file`.")
    headers: dict[str, str] = Field(repr=False, description="Headers that the request must have.")
    fields: dict[str, str] = Field(repr=False, description="Fields of the form, to be sent before `file`.")
    token: str = Field(
        repr=False, description="What `confirm_upload` takes. Signed, not encrypted: metadata are in it."
    )
    reference: Reference = Field(description="The media's reference, once it is confirmed.")
    expires_at: datetime = Field(description="Until when the upload may begin; it can be confirmed for longer.")


class _Promise(Model):
    """What a token says: the media as it will be, and until when."""

    store: str  # digest of the root: its path is nothing that a browser needs to see
    reference: Annotated[str, AfterValidator(keys.check_reference)]
    metadata: MediaMetadata  # with size, type and policy; the timestamp only if the caller gave one
    sha256: str | None = None
    allowed: tuple[str, ...] | None = None
    keep_for: timedelta | None = None  # of the policy, which may have gone when this is confirmed
    issued: datetime
    expires_at: datetime
    deadline: datetime  # by the grace of when it was made: that may only have grown since
    marker: str | None = None

    @property
    def place(self) -> str:
        """Where the bytes are uploaded: to where others share them nobody else may write."""
        return keys.plain_reference(self.reference) or self.reference

    def signed(self, key: bytes) -> str:
        """Return the token."""
        text = self.model_dump_json(exclude_defaults=True).encode()
        return f"{_text(text)}.{_text(_mac(key, text))}"


class _Request(NamedTuple):
    """What a ticket is asked for."""

    mime_type: str
    size: int
    sha256: str | None
    expiry: timedelta
    method: Method
    allowed: tuple[str, ...] | None


def checked_key(given: object) -> bytes | None:
    """Return a key as bytes; None where there is none. Its text is in no error."""
    if given is None or given == "":
        return None
    try:
        # As the environment gives bytes that are no UTF-8.
        key = given.encode(errors="surrogateescape") if isinstance(given, str) else given
    except UnicodeEncodeError:  # which shows it
        key = None
    if not isinstance(key, bytes) or len(key) < SHORTEST_KEY:
        problem = f"ticket_key must be a str or bytes, at least {SHORTEST_KEY} of them"
        raise InvalidMediaError(problem, next_step=_MAKE)
    return key


_MAKE = "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"


def key_of(given: object) -> bytes:
    """Return the key to sign with: the one given, else that of the environment."""
    key = checked_key(given) or checked_key(os.environ.get(KEY_VARIABLE))
    if key is None:
        raise InvalidMediaError(
            "there is no key to sign tickets with",
            next_step=f"give MediaStore(ticket_key=...) or set ${KEY_VARIABLE}, the same in all programs that make and "
            f"confirm tickets; {_MAKE}",
        )
    return key


# -- making one --------------------------------------------------------------------------------------------


def issue(
    context: WriteContext,
    key: bytes,
    metadata: MediaMetadata,
    *,
    mime_type: str,
    size_bytes: int,
    sha256: str | None,
    expiry: timedelta,
    method: Method,
    allowed_types: Collection[str] | str | None,
    max_bytes: int | None,
) -> UploadTicket:
    """Make a ticket; see `MediaStore.upload_url`."""
    patterns = None if allowed_types is None else tuple(map(mime_pattern, _words(allowed_types)))
    content = MediaContent(data=b"", mime_type=mime_type)
    asked = _Request(content.mime_type, size_bytes, sha256, expiry, method, patterns)
    backend, configuration = context.backend, context.configuration
    issued = context.timestamp()
    _check_request(asked, configuration.orphan_grace, (context.max_file_size, backend.largest_upload, max_bytes))
    draft = draft_of(lambda: context, content, metadata)
    telemetry.forget_draft(draft.reference)
    asked = asked._replace(mime_type=draft._fields["mime_type"])
    telemetry.set_reference(draft.reference)
    promise = _Promise(
        store=_root(backend),
        reference=draft.reference,
        metadata=_promised(metadata, draft, asked),
        sha256=asked.sha256,
        allowed=patterns,
        keep_for=_keep_for(context, draft),
        issued=issued,
        expires_at=issued + expiry,
        deadline=issued + configuration.orphan_grace / 2,
    )
    _check_length(promise.signed(key))
    with ErrorContext(draft.reference):
        request = _signed(backend, promise, asked, shared=configuration.deduplicate)
        # Settings before the bytes: those alone would look like another program's.
        context.settle(draft.reference, configuration)
        if configuration.deduplicate:
            promise = _reserved(context, promise, draft)
    token = promise.signed(key)
    url, headers, fields = request or SignedUpload(f"{ROUTE}/{token}", {"Content-Type": asked.mime_type})
    how: dict[str, Any] = {"url": url, "method": method, "headers": headers, "fields": fields or {}}
    return UploadTicket(**how, token=token, reference=Reference(promise.reference), expires_at=promise.expires_at)


def _check_request(asked: _Request, grace: timedelta, limits: tuple[int | None, int | None, int | None]) -> None:
    """Refuse what can't be meant, or is not allowed; asks no storage."""
    own, storage, most = limits
    for name, size in (("size_bytes", asked.size), ("max_bytes", 0 if most is None else most)):
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidMediaError(f"{name} must be a number of bytes, not {size!r}")
    refuse_over(own, asked.size)
    for limit, step in ((most, "ask for fewer bytes"), (storage, "store it through the program, in parts")):
        if limit is not None and asked.size > limit:
            raise MediaTooLargeError(f"{asked.size} bytes are more than the {limit} of one upload", next_step=step)
    if asked.sha256 is not None and not keys.is_digest(asked.sha256):
        raise InvalidMediaError("sha256 must be 64 lower-case hex digits", next_step="hashlib.sha256(data).hexdigest()")
    if not isinstance(asked.expiry, timedelta) or not timedelta(0) < asked.expiry <= grace / 4:
        raise InvalidMediaError(
            f"a ticket lives for more than 0 and at most {grace / 4}, a quarter of the store's orphan_grace",
            next_step="give a shorter expiry, or the store a longer grace",
        )
    if asked.method not in ("PUT", "POST"):
        raise InvalidMediaError(f"method must be 'PUT' or 'POST', not {asked.method!r}")
    if wav.is_raw(asked.mime_type):
        raise InvalidMediaError(
            f"{asked.mime_type} gets a WAV header when it is stored, which an upload can't",
            next_step="upload audio/wav, or store it through the program",
        )
    if not _fits(asked.mime_type, asked.allowed):
        raise InvalidMediaError(f"{asked.mime_type} is none of the types allowed", next_step="see allowed_types")


def _words(given: Collection[str] | str) -> Collection[str]:
    return (given,) if isinstance(given, str) else given


def _fits(mime_type: str, patterns: Collection[str] | None) -> bool:
    return patterns is None or any(fits_pattern(mime_type, each) for each in patterns)


def _signed(backend: Backend, promise: _Promise, asked: _Request, *, shared: bool) -> SignedUpload | None:
    """Return the request that puts the bytes there; None where the app takes them."""
    if shared and asked.sha256 is None:
        problem = "a deduplicated store names media by their digest"
        raise InvalidMediaError(problem, next_step="give sha256, as the uploader knows it")
    form = asked.method == "POST"
    if shared and form:
        problem = "a form can be sent twice, so that other bytes than the proven ones could be shared"
        raise InvalidMediaError(problem, next_step="leave method out (--form)")
    facts: Any = {"mime_type": asked.mime_type, "size": asked.size, "sha256": asked.sha256, "form": form}
    request = backend.sign_upload(promise.place, asked.expiry, **facts)
    if shared and request is not None and backend.exclusion is not Exclusion.CONDITIONS:
        problem = "the storage keeps no conditions, so a PUT that comes twice could bring others' shared bytes to harm"
        raise StorageError(problem, next_step="store it through the program, or upload to a store of plain media")
    return request


def _reserved(context: WriteContext, promise: _Promise, draft: MediaUpload) -> _Promise:
    """Hold the generation that the media will share, and name it in the promise."""
    # Before the upload: what is there now must still be there when it is confirmed.
    size = promise.metadata.size_bytes
    held = Reservation(context.backend, promise.sha256 or "", size, draft._name_of, context.now)
    commit.reserve(held)
    telemetry.set_reference(held.reference)
    return promise.model_copy(update={"reference": held.reference, "marker": held.marker})


def _check_length(token: str) -> None:
    if len(token) > LONGEST_TOKEN:
        problem = f"its metadata make a token of {len(token)} characters, more than the {LONGEST_TOKEN} of a ticket"
        raise InvalidMediaError(problem, next_step="leave long attributes out, and annotate it later")


def _promised(metadata: MediaMetadata, draft: MediaUpload, asked: _Request) -> MediaMetadata:
    facts = {name: draft._fields[name] for name in MediaMetadata.model_fields if name in draft._fields}
    facts |= {"size_bytes": asked.size, "timestamp": metadata.timestamp}
    return MediaMetadata(**facts)


def _keep_for(context: WriteContext, draft: MediaUpload) -> timedelta | None:
    name = draft._fields["policy_name"]
    return None if name is None else find_policy(name, context.configuration.policies).keep_for


# -- the token ---------------------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, _DOMAIN + text, "sha256")


def _root(backend: Backend) -> str:
    return digest_of(backend.url.encode()).hexdigest()[:16]


def _read(context: WriteContext, key: bytes, token: str) -> _Promise:
    """Return what a token says, if it is of this key and this store."""
    problem = "the token is none that this key has signed"
    try:
        if not isinstance(token, str) or len(token) > 2 * LONGEST_TOKEN:
            raise ValueError(problem)
        text, mac = (urlsafe_b64decode(f"{part}==".encode("ascii")) for part in token.strip().split("."))
        # Of all texts that decode to the same bytes only the one that was signed: who notes used tokens relies on it.
        is_ours = hmac.compare_digest(mac, _mac(key, text)) and f"{_text(text)}.{_text(mac)}" == token.strip()
    except (ValueError, binascii.Error):
        is_ours = False
    if not is_ours:
        raise InvalidMediaError(problem, next_step="give the token of an UploadTicket, and the key that made it")
    promise = _Promise.model_validate_json(text)
    if promise.store != _root(context.backend):
        # Whose token it is may hear of it, and not where this store lies.
        raise InvalidMediaError("the ticket is of another store", next_step="use it where it was made, by the same URL")
    telemetry.set_reference(promise.reference)
    telemetry.note_draft(promise.reference)
    return promise


# -- uploads that pass the program -------------------------------------------------------------------------


def accept(
    context: WriteContext, key: bytes, token: str, stream: BinaryIO | Iterable[bytes], mime_type: str | None
) -> None:
    """Take the bytes of a ticket's upload; see `MediaStore.accept_upload`."""
    promise = _read(context, key, token)
    size = promise.metadata.size_bytes
    with ErrorContext(promise.reference):
        if context.timestamp() > promise.expires_at:
            raise InvalidMediaError("the time to upload is over", next_step="ask for a new ticket")
        _check_type(promise, mime_type)
        stage = context.backend.stage(promise.place)
        writer = HashingWriter(stage, None)
        try:
            for data in read_chunks(cast("BinaryIO", stream)) if hasattr(stream, "read") else stream:
                if not isinstance(data, bytes):
                    raise InvalidMediaError(f"takes pieces of bytes, not {type(data).__name__}", next_step="[data]")
                # Before they are written: a stranger may send without end.
                _check_size(promise, max(size, writer.size + len(data)))
                writer.write(data)
            _check_size(promise, writer.size)
            _check_digest(promise, writer.sha256)
            if not stage.commit_new(promise.metadata.mime_type):
                raise StoreConflictError("was uploaded already", next_step="confirm it")
        finally:
            writer.finish()
            stage.discard()


# -- confirming --------------------------------------------------------------------------------------------


def confirm(context: WriteContext, key: bytes, token: str) -> Reference:
    """Make a media of what was uploaded; see `MediaStore.confirm_upload`."""
    promise = _read(context, key, token)
    with ErrorContext(promise.reference):
        if not _is_confirmed(context, promise):
            _check_time(context, promise)
            try:
                _confirm(context, promise)
            except MediaNotFoundError:
                # Another one that confirmed it meanwhile has removed the upload.
                if not _is_confirmed(context, promise):
                    raise
    return Reference(promise.reference)


def _is_confirmed(context: WriteContext, promise: _Promise) -> bool:
    """Return whether it is a media already; `MediaNotFoundError`: it was one."""
    backend, reference, pointer = context.backend, promise.reference, keys.pointer_of(promise.reference)
    sidecar = backend.read(keys.sidecar_key(reference))
    if sidecar is None:
        return False
    if not (backend.head(reference) if pointer is None else blobs.is_kept(backend, pointer, promise.marker)):
        _refuse_missing("was confirmed, and is gone")
    # Who confirmed it may have stopped because the due entry, which a sweep had taken, could not be written again.
    named.put_due_entry(backend, reference, records.expiry_or_none(sidecar, reference, context.configuration))
    return True


def _confirm(context: WriteContext, promise: _Promise) -> None:
    """Take the steps of a confirmation."""
    uploaded = context.backend.uploaded(promise.place)
    if uploaded is None:
        _refuse_missing("nothing was uploaded by this ticket", "upload it, then confirm it again")
    content = _proven(context.backend, promise, uploaded)
    # Again: to read the bytes may have taken long. From here on a sweep is half the grace away.
    _check_time(context, promise)
    context.settle(promise.reference, context.configuration)
    operation, facts = _operation(context, promise, content, uploaded)
    commit.confirm(operation)
    telemetry.add_facts("confirm_upload", size_bytes=content.size, **telemetry.media_facts(facts))


def _proven(backend: Backend, promise: _Promise, uploaded: Uploaded) -> ContentDigest:
    """Return what the bytes are; refuse others than the ticket is for."""
    place, size = promise.place, promise.metadata.size_bytes
    _check_size(promise, uploaded.entry.size)
    _check_type(promise, uploaded.mime_type)
    # Clients unpack what they read, also to a thousand times its size; and URLs of shared bytes would be answered so.
    if uploaded.encoding not in (None, "", "identity"):
        problem = f"it was uploaded with Content-Encoding {uploaded.encoding[:100]!r}"
        raise InvalidMediaError(problem, next_step=_ANEW)
    if promise.sha256 is not None and uploaded.sha256 is not None:
        head, tail = records.read_ends(backend, place, size)
        # What is here whole need not be believed.
        told = uploaded.sha256 if len(head) < size else digest_of(head).hexdigest()
        is_there = len(head) == min(size, HEAD_BYTES)
        content: ContentDigest | None = ContentDigest(size, told, head, tail) if is_there else None
    else:
        content = named.read_digest(backend, place, size)
    if content is None:
        _refuse_missing("was deleted while it was confirmed")
    _check_size(promise, content.size)
    _check_digest(promise, content.sha256)
    seen = mime.agrees(promise.metadata.mime_type, content.head)
    if seen is not None and not _fits(seen, promise.allowed):
        raise InvalidMediaError(f"its bytes are {seen}, which is none of the types allowed", next_step=_ANEW)
    return content


def _operation(
    context: WriteContext, promise: _Promise, content: ContentDigest, uploaded: Uploaded
) -> tuple[StoreOperation, Mapping[str, Any]]:
    """Return the operation that makes it a media, and its metadata."""
    timestamp = promise.metadata.timestamp or context.timestamp()
    fields = {**vars(promise.metadata), "timestamp": timestamp}
    name = fields["policy_name"]
    instant = None if name is None else expires_at(RetentionPolicy(name=name, keep_for=promise.keep_for), timestamp)
    sidecar = Sidecar.of_bytes(fields, ContentFields(), content, expires_at=instant)
    if promise.marker is not None:
        sidecar = sidecar.with_marker(promise.marker)
    rest = (context.now, instant, context.configuration.orphan_grace)
    operation = StoreOperation(context.backend, promise.reference, b"", fields["mime_type"], sidecar.dump(), *rest)
    operation.token, operation.marker = uploaded.entry.token, promise.marker
    if promise.marker is not None:
        operation.source, operation.version = promise.place, uploaded.version
    return operation, fields


def _check_time(context: WriteContext, promise: _Promise) -> None:
    if not promise.issued - _MOST_AHEAD <= context.timestamp() <= promise.deadline:
        problem = f"its ticket can be confirmed from {promise.issued:%Y-%m-%d %H:%M}Z to {promise.deadline:%d %H:%M}Z"
        raise InvalidMediaError(f"{problem}, and not now", next_step=f"{_ANEW}; or look at the clocks")


def _check_size(promise: _Promise, size: int) -> None:
    if size != promise.metadata.size_bytes:
        problem = f"{size} bytes were uploaded, and the ticket is for {promise.metadata.size_bytes}"
        raise InvalidMediaError(problem, next_step=_ANEW)


def _check_type(promise: _Promise, mime_type: str | None) -> None:
    wanted = promise.metadata.mime_type
    if mime_type is not None and mime.essence(mime_type) != mime.essence(wanted):
        problem = f"it was uploaded as {mime_type[:100]!r}, and the ticket is for {wanted}"
        raise InvalidMediaError(problem, next_step=_ANEW)


def _check_digest(promise: _Promise, sha256: str) -> None:
    if promise.sha256 is not None and sha256 != promise.sha256:
        problem = f"other bytes were uploaded: SHA-256 {sha256[:12]}..., the ticket is for {promise.sha256[:12]}..."
        raise InvalidMediaError(problem, next_step=_ANEW)


def _refuse_missing(problem: str, next_step: str = _ANEW) -> NoReturn:
    raise MediaNotFoundError(problem, next_step=next_step)
