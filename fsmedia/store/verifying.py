"""The part of a store that proves that it is whole, and mends it where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.core.telemetry import observed
from fsmedia.maintenance.orphans import check_grace
from fsmedia.maintenance.verify import verify
from fsmedia.store.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from datetime import timedelta

    from fsmedia.models import Finding, VerifyReport

    Progress = Callable[[int], object] | None


class Verifying(Root):
    """Methods of `MediaStore` about whether it is whole."""

    @observed("verify")
    def verify(  # noqa: PLR0913 - each is asked by its name
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
        """Look at everything that lies in the store and tell what is wrong; with `repair` mend it.

        One listing of the store and one read of each sidecar and hold; `deep` also reads all bytes once. Without
        `repair` and `adopt` nothing is written. `report.whole` says whether the store is whole: what is younger than
        the grace may be on its way, and other programs' files are theirs, so neither makes it less than whole.

        A repair does what `finding.repair` says and nothing else: it gives media back what they lack, removes what
        belongs to none, and moves to `.fsmedia/quarantine/` what it can't judge. It never touches what is held, younger
        than the grace, or foreign. Others may read, store, delete and sweep meanwhile.

        Parameters
        ----------
        deep
            Read all bytes and compare size, digest and type; shared ones once.
        repair
            Mend what is found.
        adopt
            Write a sidecar for each file of others: ids from its path, type, size and digest from its bytes, no policy.
        dry_run
            Write nothing, with `repair` and `adopt` too; the findings say what would be done.
        grace
            Age from which something may be mended; None is the store's.
        nobody_writes
            Allows a grace shorter than the store's. Say so only when every writer is stopped.
        executor
            Any `concurrent.futures.Executor`; it gets 256 media at a time.
        progress
            Called with the number of objects listed so far, every 1,000.
        found
            Called with each `Finding`; the report holds the first 1,000 of each kind, and counts them all.

        Raises
        ------
        InvalidMediaError
            The grace is too short.
        StorageError
            The store can't be listed; what failed for single things is in the report.
        ReadOnlyStoreError
            The store was opened read-only, and something is to be written.
        """
        if (repair or adopt) and not dry_run:
            self._check_writable()
        wanted = check_grace(grace, self._founding.refresh().orphan_grace, nobody_writes=nobody_writes)
        return verify(
            self._backend,
            self._founding,
            wanted,
            deep=deep,
            repair=repair,
            adopt=adopt,
            dry_run=dry_run,
            executor=executor,
            progress=progress,
            found=found,
        )
