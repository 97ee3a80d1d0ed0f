"""The half of a store that reads: retrieve, look, open, list. Nothing here writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from fsmedia import commit, records
from fsmedia.errors import InvalidMediaError
from fsmedia.handle import StoredBytes
from fsmedia.models import CONTENT_FIELDS, MediaContent, MediaMetadata
from fsmedia.selection import Selection
from fsmedia.store.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from fsmedia.models import MediaRecord, Reference


class Reading(Root):
    """Methods of `MediaStore` that leave the store as it is."""

    def retrieve_media(self, reference: str) -> MediaContent:
        """Return a stored media, its bytes not loaded: `.open()`, `.read_bytes()`, `.local_path()` bring them.

        `file_path` is set where the media lies on this machine, `storage_reference` elsewhere.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        CorruptSidecarError
            Its sidecar can't be read; `open` still reads the bytes.
        """
        record = self.info(reference)
        fields: dict[str, Any] = {name: getattr(record, name) for name in CONTENT_FIELDS}
        fields |= {"mime_type": record.mime_type, "policy_name": record.policy_name}
        fields["size_kb"] = -(-record.size_bytes // 1024)
        path = self._backend.local_path(record.reference)
        if path is not None:
            return MediaContent(file_path=str(path), **fields)
        content = MediaContent(storage_reference=record.reference, **fields)
        return content.attach(StoredBytes(self._backend, record.reference, record.mime_type))

    def info(self, reference: str) -> MediaRecord:
        """Return all that the store knows of a media.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        CorruptSidecarError
            Its sidecar can't be read.
        """
        key = self._key(reference)
        with commit.about(key):
            return records.record_of(records.find(self._backend, key), self._founding.configuration)

    def metadata(self, reference: str) -> MediaMetadata:
        """Return a media's metadata: ids, position, MIME type, size, time, policy.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        CorruptSidecarError
            Its sidecar can't be read.
        """
        record = self.info(reference)
        return MediaMetadata(**{name: getattr(record, name) for name in MediaMetadata.model_fields})

    def exists(self, reference: str) -> bool:
        """Tell whether there is such a media; a folder is none."""
        key = self._key(reference)
        with commit.about(key):
            return records.exists(self._backend, key)

    def open(self, reference: str) -> BinaryIO:
        """Open a media's bytes for reading; seeks fetch 256 KiB at a time from an object store.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        """
        key = self._key(reference)
        with commit.about(key):
            return records.open_bytes(self._backend, key)

    def list(  # noqa: PLR0913 - the words of a selection
        self,
        *,
        run_id: str | None = None,
        conversation_id: str | None = None,
        session_id: str | None = None,
        provider_id: str | None = None,
        mime_type: str | None = None,
        policy_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        expires_before: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[Reference]:
        """List references, in the order of their keys; without arguments all of them.

        An id of the store's organization mode costs one listing of its folder; anything else reads sidecars.

        Parameters
        ----------
        mime_type
            A MIME type or a pattern of one: ``image/*``.
        since, until
            Timestamp at or after, and before; aware.
        expires_before
            Expires, and before that instant.
        limit
            Most references to give.

        Raises
        ------
        InvalidMediaError
            A condition can't be meant.
        """
        selection = Selection(
            run_id=run_id,
            conversation_id=conversation_id,
            session_id=session_id,
            provider_id=provider_id,
            mime_type=mime_type,
            policy_name=policy_name,
            since=since,
            until=until,
            expires_before=expires_before,
        )
        return records.select(self._backend, self._founding.configuration, selection, limit=limit)

    def folder(
        self, *, run_id: str | None = None, conversation_id: str | None = None, session_id: str | None = None
    ) -> str:
        """Return the path below the root in which the media of one id lie.

        Raises
        ------
        InvalidMediaError
            Not exactly one id is given, or not the one this store is organized by.
        """
        given = {"run_id": run_id, "conversation_id": conversation_id, "session_id": session_id}
        named = {name: value for name, value in given.items() if value is not None}
        mode = self._founding.configuration.organization
        if list(named) != [mode.id_field]:
            raise InvalidMediaError(
                f"this store is organized {mode}: only media of one {mode.id_field} share a folder",
                next_step=f"give {mode.id_field} alone, or use list(...)",
            )
        return self._founding.configuration.layout.folder(named[mode.id_field])
