"""The part of a store that keeps and lets go: policies, holds, sweeps, and bytes that are there twice."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

from fsmedia.core import keeping, records
from fsmedia.core.telemetry import observed
from fsmedia.maintenance.conversion import deduplicate
from fsmedia.maintenance.orphans import check_grace, sweep_orphans
from fsmedia.maintenance.retention import Enforcement, rebuild_due_index
from fsmedia.models import Hold, Reference
from fsmedia.store.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from datetime import datetime, timedelta

    from fsmedia.models import DeduplicationReport, EnforcementReport, OrphanReport, RebuildReport

    Progress = Callable[[int], object] | None


class Retaining(Root):
    """Methods of `MediaStore` about how long media stay."""

    @observed("apply_policy")
    def apply_policy(self, reference: str, policy_name: str | None) -> None:
        """Put a media under a policy: from its timestamp on it is kept for the policy's time. None keeps it for ever.

        Raises
        ------
        UnknownPolicyError
            The name means nothing here; nothing was written.
        MediaNotFoundError
            There is no such media, or somebody deleted it meanwhile.
        InvalidMediaError
            The media has no sidecar that could hold a policy.
        CorruptSidecarError
            Its sidecar can't be read.
        """
        desk = self._desk()
        self._reached(reference, lambda key: keeping.apply_policy(desk, key, policy_name))

    @observed("hold")
    def hold(self, reference: str, reason: str, *, who: str | None = None) -> None:
        """Keep a media from being deleted, replaced or moved, whatever its policy says, until `release`.

        Parameters
        ----------
        reason
            Why; shown to whoever is refused.
        who
            Who asks; None is the user of this process.

        Raises
        ------
        MediaNotFoundError
            There is no such media, or somebody deleted it meanwhile.
        """
        user, desk = _user() if who is None else who, self._desk()

        def place(key: str) -> None:
            keeping.hold(desk, Hold(reference=Reference(key), reason=reason, who=user, when=self._now()))

        self._reached(reference, place)

    @observed("release")
    def release(self, reference: str) -> None:
        """Take the hold from a media; without one there is nothing to do.

        What became due while it was held goes with the next sweep.

        Raises
        ------
        StorageError
            The storage failed; releasing again finishes it.
        """
        self._check_writable()
        key = self._key(reference)
        if not keeping.release(self._backend, self._founding.configuration, key):
            if records.may_have_moved(key) and self._founding.is_settled:
                self._founding.reload()  # `hold` looks again, so who held by an old reference must be able to release
            moved = self._moved(key)
            if moved is not None:
                keeping.release(self._backend, self._founding.configuration, moved)

    @observed("enforce_policy")
    def enforce_policy(
        self,
        *,
        now: datetime | None = None,
        dry_run: bool = False,
        executor: Executor | None = None,
        delete_shared: bool = False,
        stopped: Callable[[], bool] = bool,
        progress: Progress = None,
    ) -> EnforcementReport:
        """Delete every media whose policy let it go, and report what went, what stayed and what failed.

        The cost follows what is due, not what is stored. Where the due index is partial (stores that PromptKit began)
        all sidecars are read, and the report says so; see `rebuild_due_index`.

        Parameters
        ----------
        now
            The instant that decides, aware; None is the store's clock, which must agree with the storage's to within
            5 minutes.
        dry_run
            Change nothing; the report says what would be deleted.
        executor
            Any `concurrent.futures.Executor`, of threads, processes or a cluster; it gets 1,000 media at a time.
        delete_shared
            Also delete media that PromptKit's deduplication index names, which runs without a trace may share.
        stopped
            Asked between windows of 1,000 media; once it says True the sweep ends.
        progress
            Called with the number of media examined so far.

        Raises
        ------
        StorageError
            The clocks differ, or the store can't be listed; what failed for single media is in the report.
        ReadOnlyStoreError
            The store was opened read-only, and this is no dry run.
        """
        if not dry_run:
            self._check_writable()
        sweep = Enforcement(
            clock=self._now,
            now=now,
            dry_run=dry_run,
            delete_shared=delete_shared,
            executor=executor,
            stopped=stopped,
            progress=progress,
            log=self._deletion_log,
        )
        return sweep.run(self._backend, self._founding)

    @observed("sweep_orphans")
    def sweep_orphans(
        self,
        *,
        grace: timedelta | None = None,
        nobody_writes: bool = False,
        dry_run: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
    ) -> OrphanReport:
        """Remove what crashes left and nothing needs: bytes, markers, shared bytes without one, temporary files.

        Lists the whole store. What is younger than the grace, by the storage's own clock, may be a store under way
        and stays; files that others wrote are reported and stay.

        Parameters
        ----------
        grace
            Age from which a leftover is mended; None is the store's. Deduplicated media keep some 200 bytes of
            memory each while this runs.
        nobody_writes
            Allows a grace shorter than the store's. Say so only when every writer is stopped.
        dry_run
            Change nothing; the report says what would be done.
        executor
            Any `concurrent.futures.Executor`; it gets 100 things at a time.
        progress
            Called with the number of objects listed so far.

        Raises
        ------
        InvalidMediaError
            The grace is too short.
        StorageError
            The store can't be listed; what failed for single things is in the report.
        """
        if not dry_run:
            self._check_writable()
        wanted = check_grace(grace, self._founding.refresh().orphan_grace, nobody_writes=nobody_writes)
        return sweep_orphans(self._backend, wanted, dry_run=dry_run, executor=executor, progress=progress)

    @observed("rebuild_due_index")
    def rebuild_due_index(self, *, executor: Executor | None = None, progress: Progress = None) -> RebuildReport:
        """Read all sidecars, write the due entries that are missing, and mark the index complete.

        For stores that PromptKit began, and after accidents. Others may write and sweep meanwhile; writers that know
        no due index (PromptKit) must have stopped for good.

        Parameters
        ----------
        executor
            Any `concurrent.futures.Executor`; it gets 500 media at a time.
        progress
            Called with the number of sidecars read so far.

        Raises
        ------
        StorageError
            The store can't be listed; what failed for single media is in the report, and leaves the index partial.
        """
        self._check_writable()
        return rebuild_due_index(self._backend, self._founding, executor, progress)

    @observed("deduplicate")
    def deduplicate(
        self, *, dry_run: bool = False, executor: Executor | None = None, progress: Progress = None
    ) -> DeduplicationReport:
        """Let media with the same bytes share them, those that are stored from now on and those that are there.

        A plain media gets a new reference, which says where its bytes lie; ids, policy, attributes and the instant at
        which it expires stay. The report tells each old and new reference, and so does `.fsmedia/references/` in the
        store; where one media is asked for (`retrieve_media`, `delete_media`, `hold`, ...) the old one still does.

        Every media's bytes are read once and compared with its digest. Nothing is lost whenever it stops, and doing
        it again finishes it; until then some media may be listed twice. Others may read, store and delete meanwhile;
        what they change in a media in the very moment it is converted may come too late. Stores that were opened before
        should be opened again: until an error tells them they know no new names, and delete nothing under old ones.
        Run one conversion at a time: of two at once each may keep a media, under two references.

        Parameters
        ----------
        dry_run
            Change nothing and read sidecars only; the report says what would be saved.
        executor
            Any `concurrent.futures.Executor`; it gets 200 media at a time. Workers that meet the same bytes in the
            same moment may each keep a copy.
        progress
            Called with the number of media examined so far.

        Raises
        ------
        StorageError
            The store can't be listed; what failed for single media is in the report, and those stay as they were.
        ReadOnlyStoreError
            The store was opened read-only, and this is no dry run.
        """
        if not dry_run:
            self._check_writable()
        return deduplicate(self._backend, self._founding, dry_run=dry_run, executor=executor, progress=progress)


def _user() -> str:
    """Return the user's name; a container may have none for its number."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
