"""LangChain's messages: their media go into a store, references stand in their place, and `back` puts them in again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from fsmedia.exchange import frameworks
from fsmedia.exchange.frameworks import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from langchain_core.messages import BaseMessage

    from fsmedia.models import MediaMetadata

    MessageT = TypeVar("MessageT", bound=BaseMessage)

_FIELDS = ("content", "additional_kwargs")


class FsmediaMessages:
    """Takes the media out of messages, and puts them back; each is a function for `RunnableLambda`.

    `metadata`: whose they are, as for `MediaStore.externalize`, which says what is taken out of `content` and
    `additional_kwargs`: blocks of LangChain, and those of OpenAI, Anthropic, Gemini and others. `place` and `settings`
    name the store as `frameworks.opened` says. Messages are copied, never changed; all else in them stays as it is.
    """

    def __init__(self, place: Any = None, *, metadata: MediaMetadata, **settings: Any) -> None:
        self.store = frameworks.opened(place, **settings)
        self.metadata = metadata

    def out(self, messages: Sequence[MessageT], *, at_least: int = 1) -> list[MessageT]:
        """Return messages with references in the place of their media, of so many bytes on: small ones, to keep."""
        return _changed(messages, lambda values: self.store.externalize(values, self.metadata, at_least=at_least))

    def back(
        self, messages: Sequence[MessageT], *, urls: bool = False, expiry: timedelta | None = None
    ) -> list[MessageT]:
        """Return messages with their media, or signed URLs of them, to send; see `MediaStore.inline`.

        Raises `MediaNotFoundError`: a media was deleted, or its retention policy let it go; it says which.
        """
        return _changed(messages, lambda values: self.store.inline(values, urls=urls, expiry=expiry))

    aout, aback = in_thread(out), in_thread(back)


def _changed(messages: Sequence[MessageT], change: Callable[[Any], Any]) -> list[MessageT]:
    # All at once: a media that stands in several messages is stored once, and positions are those of the list.
    values = [{"type": each.type} | {name: getattr(each, name) for name in _FIELDS} for each in messages]
    changed = ({name: value[name] for name in _FIELDS} for value in change(values))
    return [each.model_copy(update=update) for each, update in zip(messages, changed, strict=True)]
