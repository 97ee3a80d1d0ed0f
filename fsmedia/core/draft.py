"""A media that is being written: checked against the store, staged, then committed or discarded.

`MediaStore.store_media` and `create_media` both go through here, so every source meets the same checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Self

from fsmedia.core import sharing, telemetry
from fsmedia.core.commit import Storing, about, confirmed, store
from fsmedia.core.intake import Intake, SoundIntake
from fsmedia.core.sharing import Sharing
from fsmedia.errors import InvalidMediaError
from fsmedia.format import keys, measures, wav
from fsmedia.format.policy import expires_at, find_policy
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import AttributedMetadata, Reference, mime

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

    from fsmedia.core.telemetry import Observer, Watch
    from fsmedia.format.configuration import Configuration
    from fsmedia.format.keys import Pointer
    from fsmedia.models import ContentFields, MediaMetadata
    from fsmedia.storage import Backend, Stage


_INCOMING = f"{keys.BLOBS}/incoming"
_LONGEST = keys.Pointer(10**15, "0" * 64, "0" * 26)


@dataclass(frozen=True, slots=True)
class Desk:
    """What of a store a draft needs."""

    backend: Backend
    configuration: Configuration
    max_file_size: int | None
    now: Callable[[], datetime]
    settle: Callable[[str, Configuration], None]
    """Writes `store.json` if this is the first write; called when nothing can be refused any more."""
    observer: Observer | None = None


class Draft:
    """One media before its commit.

    Raises
    ------
    InvalidMediaError, InvalidLayoutError, UnknownPolicyError
        The metadata do not fit the store; nothing was written.
    """

    def __init__(
        self, desk: Desk, metadata: MediaMetadata, mime_type: str, content: ContentFields, policy_name: str | None
    ) -> None:
        configuration = desk.configuration
        self._sound = wav.pcm_format(mime_type, content.channels)
        if self._sound is not None:
            mime_type = wav.WAV
        now = desk.now()
        if now.tzinfo is None:
            raise InvalidMediaError(
                "the store's clock gives naive times", next_step="use now=lambda: datetime.now(UTC)"
            )
        now = now.astimezone(UTC)
        timestamp = metadata.timestamp or now
        name = metadata.policy_name or policy_name or configuration.default_policy
        policy = find_policy(name, configuration.policies) if name else None
        self._expires_at = expires_at(policy, timestamp)
        self._desk = desk
        self._content = content
        self._xattrs = metadata.xattrs if isinstance(metadata, AttributedMetadata) else None
        self._fields = {**vars(metadata), "mime_type": mime_type, "timestamp": timestamp, "policy_name": name}
        own = keys.plain_name(metadata.message_idx, metadata.part_idx, keys.new_unique(int(now.timestamp() * 1000)))
        self._own, self._ext = own, mime.extension_for(mime_type)
        self.reference = Reference(configuration.layout.render(self._fields, own, self._ext))
        longest = self._name_of(_LONGEST) if configuration.deduplicate else self.reference
        keys.check_lengths(longest, desk.backend.root_length)
        self._data: bytes | None = None
        self._stage: Stage | None = None
        self._intake: Intake | None = None

    def take(self, data: bytes) -> None:
        """Take all bytes at once, where they are in memory anyway."""
        if self._sound is not None and not wav.is_wav(data):
            data = wav.header(self._sound, len(data)) + data
        self._data = data
        self._intake = Intake(None, self._desk.max_file_size)
        with about(self.reference):
            self._intake.write(data)

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return 0 if self._intake is None else self._intake.size

    def begin(self, expected: int | None = None) -> None:
        """Open a stage for bytes that come in pieces; `expected` is how many, where that is known."""
        limit = self._desk.max_file_size
        with about(self.reference):
            # Where shared bytes will lie is known when all of them are.
            key = _INCOMING if self._desk.configuration.deduplicate else self.reference
            self._stage = self._desk.backend.stage(key)
        if self._sound is None:
            self._intake = Intake(self._stage, limit)
        else:
            self._intake = SoundIntake(self._stage, limit, self._sound, expected)

    def write(self, data: bytes | memoryview) -> None:
        """Take some bytes."""
        if self._intake is None:
            raise InvalidMediaError("nothing can be written here", next_step="use it in a `with` statement")
        with about(self.reference):
            self._intake.write(data)

    def _name_of(self, pointer: Pointer) -> str:
        """Return the reference under which this media would share a generation."""
        return self._desk.configuration.layout.render(self._fields, keys.shared_name(self._own, pointer), self._ext)

    def commit(self) -> Reference:
        """Make the media exist."""
        prepared = self.prepare()
        if isinstance(prepared, Sharing):
            sharing.store_shared(prepared)
        else:
            confirmed(store([prepared]))
        return self.settled(prepared)

    def settled(self, prepared: Storing | Sharing) -> Reference:
        """Return the reference under which it was stored."""
        self.reference = Reference(prepared.reference)
        if telemetry.is_watched():
            telemetry.tell("store", reference=self.reference, size_bytes=self.size, **telemetry.told_of(self._fields))
        return self.reference

    def prepare(self) -> Storing | Sharing:
        """Return the media ready for the steps of a store; nothing can be refused any more."""
        intake, stored = self._intake, self._data if self._stage is None else self._stage
        if intake is None or stored is None:
            raise InvalidMediaError("nothing was written")
        with about(self.reference):
            intake.finish()
        mime_type = self._fields["mime_type"]
        measured = measures.measured(self._content, mime_type, intake.head, intake.size)
        sidecar = Sidecar.build(
            {**self._fields, "size_bytes": intake.size},
            {**vars(self._content), **measured},
            sha256=intake.sha256,
            expires_at=self._expires_at,
            detected_mime_type=mime.agrees(mime_type, intake.head),
            xattrs=self._xattrs,
        )
        with about(self.reference):
            self._desk.settle(self.reference, self._desk.configuration)
        desk = self._desk
        if desk.configuration.deduplicate:
            return Sharing(
                backend=desk.backend,
                digest=intake.sha256,
                size=intake.size,
                data=stored,
                mime_type=mime_type,
                name_of=self._name_of,
                sidecar_of=lambda marker: sidecar.with_marker(marker).dump(),
                now=desk.now,
                expires_at=self._expires_at,
                grace=desk.configuration.orphan_grace,
            )
        return Storing(
            desk.backend,
            self.reference,
            stored,
            mime_type,
            sidecar.dump(),
            desk.now,
            self._expires_at,
            desk.configuration.orphan_grace,
        )

    def discard(self) -> None:
        """Leave nothing behind; does nothing to what was committed."""
        if self._stage is not None:
            self._stage.discard()


class MediaWriter:
    """What `create_media` hands out: a context manager to write bytes as they come.

    The media exists when the `with` block ends without an error, and not at all otherwise.
    """

    def __init__(self, draft: Draft, observer: Observer | None = None) -> None:
        self._draft = draft
        self._state = "new"
        self._observer = observer
        self._watch: Watch | None = None

    def __enter__(self) -> Self:
        if self._state != "new":
            raise InvalidMediaError("was used already", next_step="call create_media again")
        self._watch = None if self._observer is None else self._observer.begin("store")
        try:
            self._draft.begin()
        except BaseException as error:
            if self._watch is not None:
                with self._watch as watch:
                    watch.fail(error)
            raise
        self._state = "open"
        return self

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes and return how many.

        Raises
        ------
        MediaTooLargeError
            They are more than the store takes; the media is given up.
        """
        if self._state != "open":
            raise InvalidMediaError("is not open", next_step="write inside the `with` block")
        if isinstance(data, str):
            raise InvalidMediaError("takes bytes, not str", next_step="encode text first")
        try:
            view = memoryview(data)
        except TypeError:
            raise InvalidMediaError(f"takes bytes, not {type(data).__name__}") from None
        view = view.cast("B") if view.c_contiguous else memoryview(bytes(view))
        try:
            self._draft.write(view)
        except BaseException:
            # Count and digest may be ahead of what was written: nothing that is interrupted here may be stored.
            self._state = "failed"
            self._draft.discard()
            raise
        return len(view)

    def give_up(self) -> None:
        """Let go of what was written; nothing will be stored. Does nothing to what is stored."""
        if self._state == "open":
            self._state = "failed"
            self._draft.discard()

    def writable(self) -> bool:
        """Tell that this is for writing, as file objects do."""
        return self._state == "open"

    @property
    def reference(self) -> Reference:
        """The reference, once the media is stored."""
        if self._state != "stored":
            raise InvalidMediaError("is not stored yet", next_step="read .reference after the `with` block")
        return self._draft.reference

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is None:
            self._leave(error)
            return
        with self._watch as watch:
            if error is not None:
                watch.fail(error)
            self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        if self._state != "open":
            if error is None:
                raise InvalidMediaError("was given up: an earlier write failed", next_step="store it again")
            return
        self._state = "failed"
        try:
            if error is None:
                self._draft.commit()
                self._state = "stored"
        finally:
            self._draft.discard()

    def __repr__(self) -> str:
        return f"<MediaWriter {self._state} {self._draft.reference!r}>"
