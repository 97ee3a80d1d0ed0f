"""A store that says where a media will lie before its bytes are written, so that a span can name it at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fsmedia.core.draft import Desk, Draft
from fsmedia.models import MediaContent, MediaMetadata
from fsmedia.store import MediaStore

if TYPE_CHECKING:
    from fsmedia.models import Reference


@dataclass(frozen=True, slots=True)
class Promise:
    """A media that is not stored yet.

    Attributes
    ----------
    url
        Where any fsspec client will find it: a `media://` URL, without secrets.
    """

    url: str
    draft: Draft

    @property
    def reference(self) -> Reference:
        """Under which it will be stored."""
        return self.draft.reference

    def keep(self, data: bytes) -> None:
        """Store it.

        Raises
        ------
        MediaTooLargeError, StorageError
            It can't be, and its reference names nothing.
        """
        self.draft.take(data)
        self.draft.commit()


class Shelf(MediaStore):
    """A `MediaStore` for what is named first and written later.

    Bytes always lie at their reference, also in a store that shares equal ones, where a name is only known once they
    are written; `MediaStore.deduplicate` lets them share later, and finds them by the old reference.
    """

    def promise(self, mime_type: str, metadata: MediaMetadata) -> Promise:
        """Name a media; nothing is written yet, and in a store that was made (`create`) nothing is read either.

        Raises
        ------
        InvalidMediaError, InvalidLayoutError, UnknownPolicyError
            It can't be stored like that.
        """
        desk = self._desk()
        settings = desk.configuration
        plain = Desk(desk.backend, replace(settings, deduplicate=False), desk.max_file_size, desk.now, desk.settle)
        content = MediaContent(data=b"", mime_type=mime_type)
        draft = Draft(plain, self._with_id(metadata, settings.organization.id_field), content.mime_type, content, None)
        return Promise(self.media_url(draft.reference), draft)

    def _with_id(self, metadata: MediaMetadata, needed: str) -> MediaMetadata:
        """Give a media without the id that this store is organized by that of its run, a trace."""
        if getattr(metadata, needed):
            return metadata
        return metadata.model_copy(update={needed: metadata.run_id})
