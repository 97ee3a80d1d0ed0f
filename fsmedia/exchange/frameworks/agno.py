"""agno's media storage: an upload is the media `agno/<media id>/<digest><extension>`, and stored once."""

from __future__ import annotations

import logging
from datetime import timedelta
from hashlib import sha256
from typing import Any

from agno.media.storage.base import AsyncMediaStorage, MediaStorage

from fsmedia.errors import InvalidReferenceError, MediaError, MediaNotFoundError, StorageError
from fsmedia.exchange import frameworks
from fsmedia.exchange.frameworks import in_thread
from fsmedia.models import MediaMetadata, mime

_LONGEST = 200  # bytes of a media id in a path
_log = logging.getLogger("fsmedia")


class FsmediaStorage(MediaStorage):
    """Media of agents in a store, which `place` and `settings` name as `frameworks.opened` says; see `MediaStorage`.

    Keys are references. `persist_remote_urls`: agno downloads media that it only has a URL of, and stores them too.
    """

    backend_name = "fsmedia"

    def __init__(self, place: Any = None, *, persist_remote_urls: bool = False, **settings: Any) -> None:
        self.store = frameworks.opened(place, **settings)
        self.bucket, self.persist_remote_urls = self.store.url, persist_remote_urls

    def upload(
        self,
        media_id: str,
        content: bytes,
        *,
        mime_type: str | None = None,
        filename: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> str:
        """Store bytes and return their key; the same bytes of the same id again keep it, and live as long again."""
        media = frameworks.content_of(content, mime_type, filename)
        folder = frameworks.folder_name(media_id, _LONGEST)
        path = f"agno/{folder}/{sha256(content).hexdigest()}{mime.extension_for(media.mime_type)}"
        attributes = frameworks.as_attributes(metadata or {}, "agno.", media_id=media_id)
        return frameworks.store_once(self.store, media, MediaMetadata(attributes=attributes), path)

    def download(self, storage_key: str) -> bytes:
        """Return the bytes; `FileNotFoundError` where they were deleted, or their retention policy let them go."""
        return self.store.read(storage_key)

    def get_url(self, storage_key: str, *, expires_in: int | None = None) -> str | None:
        """Return a signed URL that lives so many seconds, else as long as the store says; None: there are none."""
        try:
            url = self.store.get_url(storage_key, None if expires_in is None else timedelta(seconds=expires_in))
        except (StorageError, MediaNotFoundError, InvalidReferenceError):
            return None  # a download tells what is wrong
        return None if url.startswith("file:") else url

    def delete(self, storage_key: str) -> bool:
        """Delete a media; False where that failed, or it is held."""
        return FsmediaStorage.delete_many(self, [storage_key]) == 1

    def delete_many(self, storage_keys: list[str]) -> int:
        """Delete media and return how many are gone; why others are not is logged."""
        answers = self.store.delete_many(storage_keys, on_error="return")
        for error in answers:
            if error is not None:
                _log.warning("%s", error)
        return answers.count(None)

    def exists(self, storage_key: str) -> bool:
        """Return whether there is such a media."""
        try:
            return self.store.exists(storage_key)
        except MediaError:
            return False


class AsyncFsmediaStorage(AsyncMediaStorage):
    """`FsmediaStorage` for agents that are awaited."""

    backend_name = FsmediaStorage.backend_name
    __init__ = FsmediaStorage.__init__
    upload, download = in_thread(FsmediaStorage.upload), in_thread(FsmediaStorage.download)
    delete, delete_many = in_thread(FsmediaStorage.delete), in_thread(FsmediaStorage.delete_many)
    get_url, exists = in_thread(FsmediaStorage.get_url), in_thread(FsmediaStorage.exists)
