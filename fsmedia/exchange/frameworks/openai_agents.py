"""Sessions of openai-agents without their media: what a session keeps holds references, what a run gets holds media."""

from __future__ import annotations

from asyncio import to_thread
from typing import TYPE_CHECKING, Any

from fsmedia.exchange import frameworks
from fsmedia.models import MediaMetadata

if TYPE_CHECKING:
    from agents.memory import Session


class FsmediaSession:
    """A session over another one; see `agents.memory.Session` for the methods.

    `session`: keeps the items, with references in the place of images, sounds and files. `metadata`: whose the media
    are; None: run, conversation and session are the session's id. `at_least`: media of fewer bytes stay where they are.
    `place` and `settings` name the store as `frameworks.opened` says. Its media stay when a session is cleared, for
    another may have been made of its items: a retention policy, longer than sessions are kept, lets them go.
    """

    def __init__(
        self,
        session: Session,
        place: Any = None,
        *,
        metadata: MediaMetadata | None = None,
        at_least: int = 1,
        **settings: Any,
    ) -> None:
        self.session, self.at_least = session, at_least
        self.store = frameworks.opened(place, **settings)
        self.session_id, self.session_settings = session.session_id, session.session_settings
        own = dict.fromkeys(("run_id", "conversation_id", "session_id"), session.session_id)
        self.metadata = MediaMetadata(**own) if metadata is None else metadata

    async def get_items(self, limit: int | None = None) -> list[Any]:
        """Return the items, or the last of them; `MediaNotFoundError`: a media was deleted, or its policy let it go."""
        items: list[Any] = await to_thread(self.store.inline, await self.session.get_items(limit))
        return items

    async def add_items(self, items: list[Any]) -> None:
        """Store the media of items, then keep the items."""
        small = await to_thread(self.store.externalize, items, self.metadata, at_least=self.at_least)
        await self.session.add_items(small)

    async def pop_item(self) -> Any:
        """Remove and return the last item; None where there is none."""
        return await to_thread(self.store.inline, await self.session.pop_item())

    async def clear_session(self) -> None:
        """Remove all items."""
        await self.session.clear_session()
