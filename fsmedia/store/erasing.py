"""The part of a store that forgets somebody: everything of a run, conversation, session or provider, with a receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsmedia.core.telemetry import observed
from fsmedia.display.cache import PreviewCache, default_folder, place_of
from fsmedia.maintenance.erasure import Erasure, check_receipt, read_receipt
from fsmedia.store.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from concurrent.futures import Executor
    from os import PathLike

    from fsmedia.models import Receipt, ReceiptReport

    Progress = Callable[[int], object] | None


class Erasing(Root):
    """Methods of `MediaStore` that erase a subject and prove it."""

    @observed("erase")
    def erase(  # noqa: PLR0913 - the words of a selection
        self,
        *,
        run_id: str | None = None,
        conversation_id: str | None = None,
        session_id: str | None = None,
        provider_id: str | None = None,
        forget_log: bool = False,
        dry_run: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
    ) -> Receipt:
        """Erase everything of a subject, wherever it lies, and return a receipt to keep.

        All ids that are given must fit. Every sidecar of the store is read, for a folder alone tells nothing. Besides
        the media go their due entries, rows of the catalog, lines of conversions, entries of PromptKit's index, what
        repairs set aside, and what crashes left of them if it is older than the grace. Held media stay and are
        reported. Bytes that media of others use stay too; the receipt says of each media whether its bytes are gone.

        What was stored before is gone afterwards; what is stored meanwhile may stay, and goes when it is erased again.
        So does what an erasure left that was killed. Previews that galleries keep on this machine go too; snapshots and
        copies of the whole storage are out of reach.

        Parameters
        ----------
        forget_log
            Also take the subject out of the records below `.fsmedia/deletions/`. They are evidence of deletions, and
            stay unless this says so.
        dry_run
            Change nothing; the receipt says what would be erased.
        executor
            Any `concurrent.futures.Executor`; it gets 500 media at a time to read, 1,000 to delete.
        progress
            Called with the number of media looked at so far.

        Raises
        ------
        InvalidMediaError
            No id is given, or an empty one.
        StorageError
            The store can't be listed; nothing was deleted. What failed later stands in the receipt.
        ReadOnlyStoreError
            The store was opened read-only, and this is no dry run.
        """
        if not dry_run:
            self._check_writable()
        erasure = Erasure(
            words={
                "run_id": run_id,
                "conversation_id": conversation_id,
                "session_id": session_id,
                "provider_id": provider_id,
            },
            clock=self._now,
            dry_run=dry_run,
            forget_log=forget_log,
            executor=executor,
            progress=progress,
            log=self._deletion_log,
            forget_previews=self._forget_previews,
        )
        return erasure.run(self._backend, self._founding)

    def _forget_previews(self, keys: Collection[str]) -> int:
        """Remove what galleries kept on this machine of bytes that are gone."""
        cache = PreviewCache(None if self._backend.in_one_process else default_folder())
        return cache.forget(place_of(self._backend.url, key) for key in keys)

    @observed("check_receipt")
    def check_receipt(
        self,
        receipt: Receipt | Mapping[str, Any] | str | PathLike[str],
        *,
        executor: Executor | None = None,
        progress: Progress = None,
    ) -> ReceiptReport:
        """Look whether anything is there that a receipt calls erased.

        Parameters
        ----------
        receipt
            What `erase` returned, its JSON values, or the path of its file.
        executor
            Any `concurrent.futures.Executor`; it gets 500 media at a time.
        progress
            Called with the number of media looked at so far.

        Raises
        ------
        InvalidMediaError
            It is no receipt, was changed since it was written, or is that of a dry run.
        StorageError
            The store can't be read, so nothing is proved.
        """
        found = read_receipt(receipt)
        return check_receipt(self._backend, found, executor=executor, progress=progress)
