"""The part of an asynchronous store that forgets somebody, with a receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fsmedia.aio.opening import AsyncRoot
from fsmedia.store import MediaStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor
    from os import PathLike

    from fsmedia.models import Receipt, ReceiptReport
    from fsmedia.store.erasing import Progress


class AsyncErasing(AsyncRoot):
    """Methods of `AsyncMediaStore` that erase a subject and prove it."""

    async def erase(  # noqa: PLR0913 - the words of a selection
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
        """Erase everything of a subject, wherever it lies; see `MediaStore.erase`.

        A cancellation comes out once the erasure is done: half of one would have no receipt.
        """
        return await self._call(
            MediaStore.erase,
            run_id=run_id,
            conversation_id=conversation_id,
            session_id=session_id,
            provider_id=provider_id,
            forget_log=forget_log,
            dry_run=dry_run,
            executor=executor,
            progress=progress,
        )

    async def check_receipt(
        self,
        receipt: Receipt | Mapping[str, Any] | str | PathLike[str],
        *,
        executor: Executor | None = None,
        progress: Progress = None,
    ) -> ReceiptReport:
        """Look whether anything is there that a receipt calls erased; see `MediaStore.check_receipt`."""
        return await self._call(MediaStore.check_receipt, receipt, executor=executor, progress=progress)
