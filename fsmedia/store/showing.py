"""The part of a store that people look at: galleries, comparisons, the summary in a notebook. Nothing here writes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fsmedia.core.telemetry import observed
from fsmedia.errors import MediaError
from fsmedia.models.selection import Selection
from fsmedia.store.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from fsmedia.display.comparison import By, Comparison
    from fsmedia.display.gallery import Gallery
    from fsmedia.display.gathering import Sort
    from fsmedia.display.grouping import GroupBy

    Progress = bool | Callable[[int], object]


class Showing(Root):
    """Methods of `MediaStore` whose results a notebook shows."""

    @observed("gallery")
    def gallery(  # noqa: PLR0913 - the words of a selection, and of a page
        self,
        *,
        run_id: str | None = None,
        conversation_id: str | None = None,
        session_id: str | None = None,
        provider_id: str | None = None,
        mime_type: str | None = None,
        policy_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        expires_before: datetime | None = None,
        group_by: GroupBy | None = "conversation",
        sort: Sort = "position",
        limit: int = 50,
        interactive: bool = False,
        progress: Progress = True,
    ) -> Gallery:
        """Show media as cards: preview, facts, policy and expiry, reference, caption; `.save("gallery.html")` keeps it.

        The words of a selection are those of `list`. One listing finds and counts the media; each that is shown costs
        its sidecar and, the first time, one read of its bytes. Previews stay in the cache folder of this machine
        (``$FSMEDIA_CACHE``; "off" keeps none).

        Parameters
        ----------
        group_by
            "conversation" (and in it messages), "run" (and in it messages), "message", or None.
        sort
            "position" takes media in the order of their keys; "newest", "oldest" (these read all sidecars of the
            selection) and "largest" choose which are shown.
        limit
            Most cards. A page holds at most 2 MiB; what does not fit is left out, and it says so.
        interactive
            Make a widget whose cards bring full sizes and players from the store when asked; needs anywidget.
        progress
            True shows a bar to whoever waits; a function gets the number of previews that are ready.

        Raises
        ------
        InvalidMediaError
            A condition can't be meant.
        MediaError
            What draws it is not installed: ``pip install 'fsmedia[notebook]'``.
        """
        conditions = {
            "run_id": run_id,
            "conversation_id": conversation_id,
            "session_id": session_id,
            "provider_id": provider_id,
            "mime_type": mime_type,
            "policy_name": policy_name,
            "since": since,
            "until": until,
            "expires_before": expires_before,
        }
        made: Gallery = _display("exhibits").gallery_of(
            self._backend,
            self._founding.refresh(),
            Selection(**conditions),  # type: ignore[arg-type]
            group_by=group_by,
            sort=sort,
            limit=limit,
            now=self._now(),
            progress=progress,
        )
        if interactive:
            widget: Gallery = _display("interactive").interactive_of(made, self._opened_bytes)
            return widget
        return made

    @observed("compare")
    def compare(
        self, run_ids: Iterable[str], *, by: By = "message", limit: int = 200, progress: Progress = True
    ) -> Comparison:
        """Show what several runs made at the same position side by side; what one of them lacks is an empty cell.

        Parameters
        ----------
        by
            "message" compares message and part; "conversation" media of the same conversation only.
        limit
            Most media of each run.
        progress
            True shows a bar to whoever waits; a function gets the number of previews that are ready.

        Raises
        ------
        InvalidMediaError
            The runs are one text, none or too many.
        MediaError
            What draws it is not installed: ``pip install 'fsmedia[notebook]'``.
        """
        made: Comparison = _display("exhibits").comparison_of(
            self._backend,
            self._founding.refresh(),
            run_ids,
            by=by,
            limit=limit,
            now=self._now(),
            progress=progress,
        )
        return made

    def _repr_html_(self) -> str | None:
        try:
            summary = _display("summary")
        except MediaError:
            return None
        try:
            html: str = summary.summary_html(
                self._backend,
                self._founding.refresh(),
                self._now(),
                settled=self._founding.is_settled,
                read_only=self._read_only,
            )
        except MediaError as error:
            return str(summary.failed_html(self.url, error.problem))
        return html


def _display(name: str) -> Any:
    """Load a module of the room of displays, which needs libraries that not everybody has."""
    try:
        return import_module(f"fsmedia.display.{name}")
    except ImportError as error:
        package = "anywidget" if (error.name or "").startswith("anywidget") else "'fsmedia[notebook]'"
        raise MediaError(
            f"what draws it is not installed ({error.name or error})", next_step=f"pip install {package}"
        ) from error
