"""The media store of pydantic-ai's harness: `media+sha256://<digest>` is the media `media/<digest>`, stored once."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic_ai.messages import ModelMessagesTypeAdapter
from pydantic_ai_harness.media import MediaContext, externalize_media, media_uri_for, parse_media_uri, restore_media

from fsmedia.errors import CorruptMediaError, MediaNotFoundError, StorageError
from fsmedia.exchange import frameworks
from fsmedia.exchange.frameworks import in_thread
from fsmedia.models import MediaMetadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_ai.messages import ModelMessage

_NOTHING = MediaContext()
_OWN = "pydantic_ai."


class FsmediaStore:
    """Bytes of messages in a store, which `place` and `settings` name as `frameworks.opened` says; see `MediaStore`.

    What is put again lives as long again, and keeps the metadata of its first put. What its retention policy has let
    go is a `FileNotFoundError`, as what was never put.
    """

    def __init__(self, place: Any = None, **settings: Any) -> None:
        self.store = frameworks.opened(place, **settings)

    async def externalize(self, messages: Sequence[ModelMessage], *, at_least: int = 64 * 1024) -> Any:
        """Return messages as JSON values, with references in the place of media and texts from so many bytes on."""
        values = ModelMessagesTypeAdapter.dump_python(list(messages), mode="json")
        return await externalize_media(values, media_store=self, threshold_bytes=at_least)

    async def restore(self, values: Any) -> list[ModelMessage]:
        """Return the messages that `externalize` was given; `FileNotFoundError` where one of their media is gone."""
        restored = await restore_media(values, media_store=self)
        messages: list[ModelMessage] = ModelMessagesTypeAdapter.validate_python(restored)
        return messages

    def _put(self, data: bytes, *, context: MediaContext = _NOTHING) -> str:
        uri = media_uri_for(data)
        content = frameworks.content_of(data, context.media_type, context.filename)
        metadata = MediaMetadata(attributes=frameworks.as_attributes(context.metadata, _OWN))
        frameworks.store_once(self.store, content, metadata, _path(uri))
        return str(uri)

    def _get(self, uri: str, *, context: MediaContext = _NOTHING) -> bytes:
        del context  # the digest says all
        data = self.store.read(path := _path(uri))
        if sha256(data).hexdigest() != parse_media_uri(uri):  # somebody wrote it by that name
            raise CorruptMediaError("holds other bytes than its name says", next_step="delete it", reference=path)
        return data

    def _exists(self, uri: str, *, context: MediaContext = _NOTHING) -> bool:
        del context
        return self.store.exists(_path(uri))

    def _public_url(self, uri: str, *, context: MediaContext = _NOTHING) -> str | None:
        del context
        try:
            url = self.store.get_url(_path(uri))
        except (StorageError, MediaNotFoundError):
            return None  # of a disk in memory, without a key to sign with, or of nothing
        return None if url.startswith("file:") else url

    def _metadata(self, uri: str, *, context: MediaContext = _NOTHING) -> dict[str, str]:
        del context
        said = frameworks.from_attributes(self.store.info(_path(uri)), _OWN)
        return {name: value for name, value in said.items() if isinstance(value, str)}

    put, get, exists = in_thread(_put), in_thread(_get), in_thread(_exists)
    public_url, get_metadata = in_thread(_public_url), in_thread(_metadata)


def _path(uri: str) -> str:
    return f"media/{parse_media_uri(uri)}"
