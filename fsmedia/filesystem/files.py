"""A media that is written at a path somebody chose: its sidecar comes from the path, the bytes and what was there."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from fsspec.transaction import Transaction

from fsmedia.core import commit, holds, promptkit, telemetry
from fsmedia.core.ingest import HashingWriter
from fsmedia.errors import ErrorContext, InvalidMediaError, UnknownPolicyError
from fsmedia.format import keys
from fsmedia.format.layout import parse_any
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.sidecar import Sidecar, measure
from fsmedia.models import ContentFields, MediaMetadata, mime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from types import TracebackType

    from fsmedia.core.ingest import WriteContext
    from fsmedia.storage import Stage

_OCTETS = "application/octet-stream"
_NOTHING = ContentFields()
_DEFAULTS: dict[str, Any] = dict(vars(MediaMetadata()))
_CHUNK = 2**20


def told_by_path(context: WriteContext, key: str) -> dict[str, Any]:
    """Return the ids and indices that a path tells by the store's layouts."""
    settings = context.configuration
    parsed = parse_any({settings.organization: settings.layout, **settings.layouts}, key)
    fields = {} if parsed is None else parsed[1]
    return {name: value for name, value in fields.items() if name in _DEFAULTS and name != "mime_type" and value != ""}


class Placement:
    """One media on its way to a key: begun, filled, committed or discarded.

    Parameters
    ----------
    exclusive
        Refuse to replace what is there.
    mime_type
        What the bytes are, where the caller knows; None asks the name.
    """

    def __init__(
        self, context: WriteContext, key: str, *, exclusive: bool = False, mime_type: str | None = None
    ) -> None:
        self._mime_type = None if mime_type is None else mime.check(mime_type)
        self.key = key
        self._write_context = context
        self._exclusive = exclusive
        self._stage: Stage | None = None
        self._data: bytes | None = None
        self._told: Mapping[str, Any] = {}
        self._intake = HashingWriter(None, context.max_file_size)

    def take(self, data: bytes) -> Placement:
        """Take all bytes at once."""
        data = data if type(data) is bytes else bytes(memoryview(data))  # of a number, bytes() would make zeros
        with ErrorContext(self.key):
            self._intake.write(data)
        self._data = data
        return self

    def begin(self) -> None:
        """Open a stage for bytes that come in pieces."""
        with ErrorContext(self.key):
            self._stage = self._write_context.backend.stage(self.key)
        self._intake = HashingWriter(self._stage, self._write_context.max_file_size)

    def write(self, data: bytes | memoryview) -> None:
        """Take some bytes."""
        with ErrorContext(self.key):
            self._intake.write(data)

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self._intake.size

    def prepare(self, old: bytes | None) -> commit.StoreOperation:
        """Return the media ready for the steps of a store.

        Parameters
        ----------
        old
            The sidecar of what the new bytes replace.
        """
        stored = self._data if self._stage is None else self._stage
        if stored is None:
            raise InvalidMediaError("nothing was written", reference=self.key)
        before = None if old is None else Sidecar.parse(old, self.key)
        sidecar, instant = self._sidecar(before)
        self._told = sidecar.values
        mime_type = sidecar.values["mime_type"]
        context = self._write_context
        return commit.StoreOperation(
            context.backend,
            self.key,
            stored,
            mime_type,
            sidecar.dump(),
            context.now,
            instant,
            context.configuration.orphan_grace,
        )

    def _sidecar(self, before: Sidecar | None) -> tuple[Sidecar, datetime | None]:
        """Return the new sidecar, and when its policy lets the media go."""
        context, intake = self._write_context, self._intake
        kept = {} if before is None else before.values
        settings = context.configuration
        name = settings.default_policy if before is None else kept.get("policy_name")
        try:
            policy = find_policy(name, settings.policies) if name else None
        except UnknownPolicyError:
            if before is None:
                raise
            policy = None  # PromptKit stores any name
        timestamp = context.now()
        instant = expires_at(policy, timestamp)
        mime_type = self._mime_type or mime.guess_from_name(self.key) or kept.get("mime_type") or _OCTETS
        fresh = Sidecar.build(
            {
                **_DEFAULTS,
                **told_by_path(context, self.key),
                "mime_type": mime_type,
                "size_bytes": intake.size,
                "timestamp": timestamp,
                "policy_name": name,
            },
            measure(_NOTHING, mime_type, intake.head, intake.size),
            sha256=intake.sha256,
            expires_at=instant,
            detected_mime_type=mime.agrees(mime_type, intake.head),
        )
        return (fresh if before is None else before.replaced(fresh)), instant

    def commit(self) -> None:
        """Make the media exist, with what the sidecar of its predecessor keeps."""
        watch = None if self._write_context.observer is None else self._write_context.observer.begin("store")
        if watch is None:
            self._commit()
            return
        with watch:
            self._commit()
            self.tell()

    def tell(self) -> None:
        """Say to whoever watches what was stored."""
        if telemetry.is_observed():
            telemetry.add_facts("store", reference=self.key, size_bytes=self.size, **telemetry.media_facts(self._told))

    def _commit(self) -> None:
        with ErrorContext(self.key):
            old = None if self._exclusive else self._replaced()
        steps = commit.create if self._exclusive else commit.store
        commit.raise_first(steps([self.prepare(old)]))

    def _replaced(self) -> bytes | None:
        """Return the sidecar of what the new bytes replace.

        Raises
        ------
        HeldMediaError
            Nothing may replace it.
        """
        wanted = [keys.sidecar_key(self.key), keys.hold_key(self.key)]
        if not keys.is_own_name(self.key):
            wanted.append(keys.DEDUP_INDEX_KEY)
        answers = self._write_context.backend.fetch(reads=wanted, heads=[self.key])
        sidecar, hold, *index = answers.reads
        if hold is not None:
            raise holds.refusal(self.key, hold)
        if any(index):
            promptkit.forget(
                self._write_context.backend, [self.key], index[0]
            )  # it would give these bytes out for the old
        # Without bytes it is what a half-done delete left: a new media owes it nothing.
        return None if answers.heads[0] is None else sidecar

    def discard(self) -> None:
        """Leave nothing behind; does nothing to what was committed."""
        if self._stage is not None:
            self._stage.discard()


class PlacedFile(io.BufferedIOBase, BinaryIO):
    """What `open(path, "wb")` returns: the media exists once it is closed, or once its transaction ends.

    Left by an error out of its own `with` block, or never closed, it leaves nothing.
    """

    mode = "wb"

    def __init__(
        self,
        placement: Placement,
        *,
        autocommit: bool = True,
        before: Callable[[], BinaryIO | None] = lambda: None,
    ) -> None:
        self.path = placement.key
        self._placement = placement
        self._autocommit = autocommit
        self._state = "open"
        placement.begin()
        try:
            source = before()
            if source is not None:
                with source:
                    while data := source.read(_CHUNK):
                        placement.write(data)
        except BaseException:
            self.discard()
            raise

    def __repr__(self) -> str:
        return f"<media {self.path!r} {self._state}>"

    def write(self, data: Any, /) -> int:
        """Take bytes.

        Raises
        ------
        MediaTooLargeError
            They are more than the store takes; the media is given up.
        """
        if self._state != "open":
            raise ValueError("I/O operation on closed file")
        view = memoryview(data).cast("B")
        try:
            self._placement.write(view)
        except BaseException:
            # Count and digest may be ahead of what was written: nothing that is interrupted here may be stored.
            self._state = "failed"
            self._placement.discard()
            raise
        return len(view)

    @property
    def given_up(self) -> bool:
        """Whether its writer let go of it: a transaction passes it over."""
        return self._state == "discarded"

    def writable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return False."""
        return False

    def seekable(self) -> bool:
        """Return False: bytes are hashed as they come."""
        return False

    def tell(self) -> int:
        """Return how many bytes were taken."""
        return self._placement.size

    def close(self) -> None:
        """Commit, unless a transaction will; may be called again."""
        if self._state == "open":
            self._state = "written"
            if self._autocommit:
                try:
                    self.commit()
                finally:
                    super().close()
                return
        super().close()

    def commit(self) -> None:
        """Make the media exist."""
        if self._state != "written":
            raise InvalidMediaError("was not written whole", next_step="write it again", reference=self.path)
        self._state = "failed"
        try:
            self._placement.commit()
            self._state = "stored"
        finally:
            self._placement.discard()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._state = "discarded"
        self._placement.discard()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._state == "open":
            self.discard()
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_state", "") == "open":
            with suppress(Exception):
                self.discard()


class MediaTransaction(Transaction):
    """fsspec's transaction, which also ends when a commit fails.

    fsspec's own stays open then, and the filesystem, which is shared, would swallow every later write.
    """

    _begun = False

    def start(self) -> None:
        """Begin.

        Raises
        ------
        InvalidMediaError
            It has begun already, here or in another thread: what it holds would be forgotten.
        """
        if self._begun:
            raise InvalidMediaError(
                "a transaction is under way on this filesystem",
                next_step="end it first; a thread of its own takes fsspec.filesystem(..., skip_instance_cache=True)",
            )
        self._begun = True
        super().start()

    def refuse_append(self, key: str) -> None:
        """Refuse to append to what was written here: only the bytes that are stored already would be kept.

        Raises
        ------
        InvalidMediaError
            A file of that place waits for the end.
        """
        filesystem: Any = self.fs
        place_of = filesystem._backend.place_of
        if any(place_of(file.path) == place_of(key) and not file.given_up for file in self.files):
            raise InvalidMediaError(
                "was written in this transaction, so nothing can be appended to it yet",
                next_step="write it at once, or end the transaction first",
                reference=key,
            )

    def complete(self, commit: bool = True) -> None:
        """Commit or discard all files; what comes after a failed commit is discarded."""
        try:
            while self.files:
                file = self.files.popleft()
                if commit and not file.given_up:
                    file.commit()
                else:
                    file.discard()
        finally:
            while self.files:
                self.files.popleft().discard()
            filesystem: Any = self.fs
            self.fs: Any = None
            if filesystem is not None:
                filesystem._intrans = False
                filesystem._transaction = None
