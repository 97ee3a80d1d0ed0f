"""The part of a store that brings its media elsewhere."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from fsmedia.core.telemetry import observed
from fsmedia.errors import MediaNotFoundError
from fsmedia.format.configuration import Settings
from fsmedia.maintenance.transfer import Wishes, open_target, sync
from fsmedia.models.selection import Selection
from fsmedia.storage import open_backend
from fsmedia.store.root import Root, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor
    from datetime import datetime
    from os import PathLike

    from fsmedia.maintenance.transfer import Check
    from fsmedia.models import OrganizationMode, SyncReport


class Transferring(Root):
    """Methods of `MediaStore` that bring media to another root."""

    @observed("sync")
    def sync_to(  # noqa: PLR0913 - the words of a selection, and what the target shall be like
        self,
        url: str | PathLike[str],
        *,
        storage_options: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        conversation_id: str | None = None,
        session_id: str | None = None,
        provider_id: str | None = None,
        mime_type: str | None = None,
        policy_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        expires_before: datetime | None = None,
        delete: bool = False,
        dry_run: bool = False,
        organization: OrganizationMode | str | None = None,
        layouts: Mapping[str, str] | None = None,
        deduplicate: bool | None = None,
        missing_id: str | None = None,
        mapping: str | PathLike[str] | None = None,
        verify_copies: Check = "size",
        executor: Executor | None = None,
        stopped: Callable[[], bool] = bool,
        progress: Callable[[int, int], object] | None = None,
    ) -> SyncReport:
        """Bring media to another root, in any storage: bytes, metadata, policies, attributes, holds.

        What is there already is left as it is, what differs in metadata only is updated, so syncing again costs two
        listings and a look at each sidecar of both sides. It may be killed: syncing again goes on. All bytes that
        pass are compared with their digest before the media exists at the target. Others may use both stores
        meanwhile; run one sync to a root at a time, for of two each may bring a media that shares its bytes.

        References stay valid where the layout stays. Where they change (another layout or organization, from or to
        `deduplicate`) the report tells old and new ones; the new name keeps what is unique in the old one, so the next
        sync finds it. So it does for media that share their bytes here and there, whose names tell where the bytes
        lie; single media (`retrieve_media`, `hold`, ...) are found there under the old reference too.

        Files under names that are not this package's keep those, and share no bytes.

        The target's listing is held in memory, some 300 bytes a media; bytes are not: large media come in pieces.

        Where both sides have a media that differs, the source wins; not over a hold, and not over other bytes under a
        name that this package gave: that is reported as failed. Holds are added, never released.

        Parameters
        ----------
        url
            The other root. Where it holds no store, one is made with this one's settings.
        storage_options
            What the fsspec filesystem of that URL takes.
        run_id, conversation_id, session_id, provider_id, mime_type, policy_name, since, until, expires_before
            Which media are meant, see `list`; without any of them all.
        delete
            Delete media at the target, of those that are meant, that this store has not. Held ones stay, and files
            of other programs. When this store can't be listed whole, the error comes before any of that.
        dry_run
            Change nothing; the report says what would be done.
        organization, layouts, deduplicate
            How a store that is made there shall be; None: as this one. One that is there must be so already.
        missing_id
            The id by which the target is organized for media that have none; None leaves them out.
        mapping
            A file to which old and new references are added, a JSON object a line: `old`, `new`.
        verify_copies
            What is looked at when bytes have arrived: "size" of what the storage copied by itself (two roots of one
            bucket, or one server with the same options), whose bytes nobody reads then; "read": all bytes, always.
        executor
            Any `concurrent.futures.Executor`; it gets 128 media at a time.
        stopped
            Asked between windows of 128 media; once it says True the sync ends, and deletes nothing.
        progress
            Called with the number of media looked at and the number of bytes brought over so far.

        Raises
        ------
        MediaNotFoundError
            Nothing at all lies at this store's root.
        InvalidMediaError
            The two roots are one place, or one lies in the other; or a condition can't be meant.
        StoreConflictError
            The store that is there has other settings than asked.
        StorageError
            One of the roots can't be listed; what failed for single media is in the report.
        """
        asked = Settings.read(organization, layouts, None, None, deduplicate)
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
        if not self._founding.is_settled and next(iter(self._backend.entries()), None) is None:
            raise MediaNotFoundError(f"no store and no media at {self.url}", next_step="check the URL")
        opening = open_backend(text_of(url), storage_options, timeout=self._timeout, durability=self._durability)
        with closing(opening) as backend:
            target = open_target(backend, asked, self._backend, configuration)
            wishes = Wishes(
                selection=selection,
                delete=delete,
                dry_run=dry_run,
                mapping=mapping,
                missing_id=missing_id,
                check=verify_copies,
                executor=executor,
                stopped=stopped,
                progress=progress,
                log=self._deletion_log,
                now=self._now,
            )
            return sync(self._backend, configuration, target, wishes)
