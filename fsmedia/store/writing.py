"""The half of a store that writes: store, create, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from fsmedia.core.draft import Draft, MediaWriter
from fsmedia.core.removals import Removal
from fsmedia.core.sources import Source, SourceRules, opened, small_bytes
from fsmedia.core.telemetry import observed
from fsmedia.errors import InvalidMediaError
from fsmedia.format import keys
from fsmedia.models import MediaContent, MediaMetadata
from fsmedia.store.root import Root

if TYPE_CHECKING:
    from fsmedia.models import Reference


class Writing(Root):
    """Methods of `MediaStore` that change what lies in the store."""

    @observed("store")
    def store_media(self, content: MediaContent, metadata: MediaMetadata) -> Reference:
        """Store a media and return the reference to keep.

        Parameters
        ----------
        content
            The bytes and their MIME type; its own MIME type wins over the metadata's.
        metadata
            Whose it is. Only the id of the store's organization mode is required.

        Raises
        ------
        InvalidMediaError, InvalidLayoutError, UnknownPolicyError, MediaTooLargeError
            It can't be stored as given; nothing was written.
        StorageError
            The storage failed; `.reference` says what may be there in part, which no listing shows.
        """
        draft = self._checked_draft(content, metadata)
        data = small_bytes(content)
        if data is not None:
            draft.take(data)
            return draft.commit()
        with opened(content, self._source_rules()) as source:
            if source.mime_type is not None:
                draft = self._draft(metadata, source.mime_type, content)
            try:
                return self._filled(draft, source).commit()
            finally:
                draft.discard()

    def _filled(self, draft: Draft, source: Source) -> Draft:
        if source.data is not None:
            draft.take(source.data)
            return draft
        draft.begin(source.size)
        for chunk in source.chunks:
            draft.write(chunk)
        return draft

    def _source_rules(self) -> SourceRules:
        return SourceRules(self._max_file_size, self._timeout, self._allow_private_urls, self._open_stored)

    def _open_stored(self, reference: str) -> BinaryIO:
        return self._opened_bytes(reference)

    def create_media(self, metadata: MediaMetadata, mime_type: str) -> MediaWriter:
        """Return a context manager to write a media's bytes as they come.

        It is stored when the block ends without an error, then `.reference` names it.

        Raises
        ------
        InvalidMediaError, InvalidLayoutError, UnknownPolicyError
            It can't be stored as given.
        """
        _check_type("metadata", metadata, MediaMetadata)
        content = MediaContent(data=b"", mime_type=mime_type)
        return MediaWriter(self._draft(metadata, content.mime_type, content), self._observer)

    def _removal(self) -> Removal:
        return Removal(self._backend, self._founding.configuration, self._now, self._deletion_log)

    def _checked_draft(self, content: MediaContent, metadata: MediaMetadata) -> Draft:
        _check_type("content", content, MediaContent)
        _check_type("metadata", metadata, MediaMetadata)
        return self._draft(metadata, content.mime_type, content)

    def _draft(self, metadata: MediaMetadata, mime_type: str, content: MediaContent) -> Draft:
        return Draft(self._desk(), metadata, mime_type, content, content.policy_name)

    @observed("delete")
    def delete_media(self, reference: str) -> None:
        """Delete a media: its sidecar, then its bytes. Deleting what is gone succeeds.

        Raises
        ------
        HeldMediaError
            It is held; the text says why.
        InvalidReferenceError
            The reference can't name a media of this store.
        StorageError
            The storage failed; deleting again finishes it.
        """
        self._check_writable()
        key, removal = self._key(reference), self._removal()
        if removal.one(key):
            if keys.pointer_of(key) is not None:
                return
        else:
            self._look_for_conversion(key)
        # Asked also when there was something: a conversion under way, or one that was stopped, has it under both names.
        moved = self._moved(key)
        if moved is not None:
            removal.one(moved)


def _check_type(name: str, value: object, kind: type[MediaContent | MediaMetadata]) -> None:
    if not isinstance(value, kind):
        raise InvalidMediaError(
            f"{name} must be a {kind.__name__}, not {type(value).__name__}",
            next_step=f"make one: {kind.__name__}(...)",
        )
