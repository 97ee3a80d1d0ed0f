"""The part of an asynchronous store that proves that it is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.aio.opening import AsyncRoot
from fsmedia.store import MediaStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from datetime import timedelta

    from fsmedia.models import Finding, VerifyReport
    from fsmedia.store.verifying import Progress


class AsyncVerifying(AsyncRoot):
    """Methods of `AsyncMediaStore` about whether it is whole."""

    async def verify(  # noqa: PLR0913 - each is asked by its name
        self,
        *,
        deep: bool = False,
        repair: bool = False,
        adopt: bool = False,
        dry_run: bool = False,
        grace: timedelta | None = None,
        nobody_writes: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
        found: Callable[[Finding], object] | None = None,
    ) -> VerifyReport:
        """Look at everything that lies in the store and tell what is wrong; see `MediaStore.verify`."""
        return await self._call(
            MediaStore.verify,
            deep=deep,
            repair=repair,
            adopt=adopt,
            dry_run=dry_run,
            grace=grace,
            nobody_writes=nobody_writes,
            executor=executor,
            progress=progress,
            found=found,
        )
