"""The half of a store that reads: retrieve, look, open, list. Nothing here writes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO

from fsmedia.catalog import CatalogAnswers
from fsmedia.core import commit, records
from fsmedia.core.handle import StoredBytes
from fsmedia.core.telemetry import observed
from fsmedia.errors import InvalidMediaError
from fsmedia.format import keys
from fsmedia.models import MediaMetadata
from fsmedia.models.selection import Selection
from fsmedia.store.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from fsmedia.models import MediaContent, MediaRecord, Reference


class Reading(Root):
    """Methods of `MediaStore` that leave the store as it is."""

    @observed("retrieve")
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
        return self._reached(reference, lambda key: self._content_of(records.find(self._backend, key)))

    def _content_of(self, found: records.Found) -> MediaContent:
        key = found.entry.key
        path = self._backend.local_path(keys.bytes_key(key))
        content = records.content_of(found, self._founding.configuration, path)
        if content.file_path is None:
            content.attach(StoredBytes(self._backend, key, content.mime_type))
        return content

    @observed("info")
    def info(self, reference: str) -> MediaRecord:
        """Return all that the store knows of a media.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        CorruptSidecarError
            Its sidecar can't be read.
        """
        return self._reached(reference, lambda key: self._record(key, with_hold=True))

    def _record(self, key: str, *, with_hold: bool = False) -> MediaRecord:
        return records.record_of(records.find(self._backend, key, with_hold=with_hold), self._founding.configuration)

    @observed("metadata")
    def metadata(self, reference: str) -> MediaMetadata:
        """Return a media's metadata: ids, position, MIME type, size, time, policy.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        CorruptSidecarError
            Its sidecar can't be read.
        """
        record = self._reached(reference, self._record)
        return MediaMetadata(**{name: getattr(record, name) for name in MediaMetadata.model_fields})

    @observed("exists")
    def exists(self, reference: str) -> bool:
        """Tell whether there is such a media; a folder is none."""
        key = self._key(reference)
        with commit.about(key):
            return records.exists(self._backend, key) or self._moved(key) is not None

    @observed("get_url")
    def get_url(self, reference: str, expiry: timedelta | None = None) -> str:
        """Return a URL under which other programs get a media's bytes: file:// locally, signed on object stores.

        Parameters
        ----------
        expiry
            How long a signed URL lives; None, zero or less takes the store's `url_expiry`.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        InvalidMediaError
            The storage can't sign for so long (S3 and GCS: 7 days).
        StorageError
            The storage has no URLs, or the credentials can't sign.
        """
        if expiry is not None and not isinstance(expiry, timedelta):
            raise InvalidMediaError(f"expiry must be a timedelta, not {expiry!r}")
        lifetime = expiry if expiry and expiry > timedelta(0) else self._url_expiry
        return self._reached(reference, lambda key: self._signed(key, lifetime))

    def _signed(self, key: str, lifetime: timedelta) -> str:
        if keys.pointer_of(key) is not None:
            return records.shared_url(self._backend, key, lifetime, self._founding.configuration)
        url = self._backend.sign(key, lifetime)
        if not records.exists(self._backend, key):
            records.refuse_folder(self._backend, key)
            raise records.not_found(key)
        return url

    @observed("open")
    def open(self, reference: str) -> BinaryIO:
        """Open a media's bytes for reading; seeks fetch 256 KiB at a time from an object store.

        Raises
        ------
        MediaNotFoundError
            There is no such media.
        """
        return self._opened_bytes(reference)

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

        An id of the store's organization mode costs one listing of its folder; anything else reads sidecars. Where many
        are to be read and the store has a catalog, the catalog answers for those that did not change since.

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
        configuration = self._founding.refresh()
        shortcut = CatalogAnswers(self._backend, configuration, selection)
        return records.select(self._backend, configuration, selection, limit=limit, shortcut=shortcut)

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
        configuration = self._founding.refresh()
        mode = configuration.organization
        if list(named) != [mode.id_field]:
            raise InvalidMediaError(
                f"this store is organized {mode}: only media of one {mode.id_field} share a folder",
                next_step=f"give {mode.id_field} alone, or use list(...)",
            )
        return configuration.layout.folder(named[mode.id_field])
