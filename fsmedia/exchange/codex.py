"""Session logs of Codex: `YYYY/MM/DD/rollout-<time>-<id>.jsonl`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from fsmedia.exchange import importing, session_logs
from fsmedia.exchange.importing import ImportWords
from fsmedia.exchange.session_logs import LogMessage, SessionLog, ToolCall
from fsmedia.models.selection import shows_words

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from fsmedia.models import ImportReport
    from fsmedia.store import MediaStore

_MADE = {"image_generation_call": "image_generation"}  # what a tool of the API itself made
_UUID = 36


@shows_words(ImportWords, importing.IMPORT_DEFAULTS)
def import_codex(
    store: MediaStore,
    place: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
    **words: Unpack[ImportWords],
) -> ImportReport:
    """Import the media in session logs of Codex; the logs stay as they are. Importing again stores what is new.

    run_id, session_id and conversation_id are the session. message_idx counts the items of a log that go to the model
    or come from it (messages, calls of tools and their results), part_idx the parts of one. Attributes are the `tool`
    that a media is a result of, and the `model` that made it or called the tool; a model is also the provider of what
    it made. `report.inline` says what base64 costs.

    Parameters
    ----------
    place
        The folder of the logs (`~/.codex/sessions`), or one in it; a path or any fsspec URL. Nothing outside is read.
    storage_options
        What the fsspec filesystem of the place takes.
    words
        See `ImportWords`.

    Raises
    ------
    MediaNotFoundError
        There is nothing at the place. What is wrong with single lines and media is in the report.
    """
    return session_logs.import_logs(store, place, _Codex, storage_options, words)


class _Codex(SessionLog):
    kind = "codex"

    def __init__(self, name: str) -> None:
        super().__init__(name[-_UUID:] if name.startswith("rollout-") else name)
        self._is_named = False

    def take(self, line: dict[str, Any]) -> LogMessage | None:
        kind, payload = line["type"], line["payload"]
        if kind == "session_meta" and not self._is_named:  # a fork has that of the log it goes on from, too
            self.session, self._is_named = self.named(payload.get("id")) or self.session, True
        elif kind == "turn_context":
            self.model = self.named(payload.get("model"))
        if kind != "response_item":
            return None
        item = payload["type"]
        self.called(payload.get("call_id"), payload.get("name"))
        call = self.call(payload.get("call_id")) if item.endswith("_output") else ToolCall()
        if made := item in _MADE:
            call = ToolCall(_MADE[item], self.model)
        parts = next((each for name in ("content", "output") if isinstance(each := payload.get(name), list)), [])
        made = made or payload.get("role") == "assistant"
        return LogMessage(("payload",), parts, [call], self.model if made else None)
