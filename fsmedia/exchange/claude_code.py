"""Session logs of Claude Code: `<project>/<session>.jsonl`, and those of its agents in `<session>/subagents`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from fsmedia.exchange import importing, session_logs
from fsmedia.exchange.importing import ImportWords
from fsmedia.exchange.session_logs import LogMessage, SessionLog
from fsmedia.models.selection import shows_words

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from fsmedia.models import ImportReport
    from fsmedia.store import MediaStore


@shows_words(ImportWords, importing.IMPORT_DEFAULTS)
def import_claude_code(
    store: MediaStore,
    place: str | os.PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
    **words: Unpack[ImportWords],
) -> ImportReport:
    """Import the media in session logs of Claude Code; the logs stay as they are. Importing again stores what is new.

    run_id and session_id are the session, conversation_id too, or the agent that the session started. message_idx
    counts the lines of a log that are messages, part_idx the parts of one, with those in results of tools. Attributes
    are the `tool` that a media is a result of, and the `model` that called it. `report.inline` says what base64 costs.

    Parameters
    ----------
    place
        The folder of the logs (`~/.claude/projects`), or one in it; a path or any fsspec URL. Nothing outside is read.
    storage_options
        What the fsspec filesystem of the place takes.
    words
        See `ImportWords`.

    Raises
    ------
    MediaNotFoundError
        There is nothing at the place. What is wrong with single lines and media is in the report.
    """
    return session_logs.import_logs(store, place, _ClaudeCode, storage_options, words)


class _ClaudeCode(SessionLog):
    kind = "claude-code"

    def take(self, line: dict[str, Any]) -> LogMessage | None:
        kind, message = line["type"], line.get("message")
        if "payload" in line:
            raise KeyError("payload")  # is of Codex
        self.session = self.named(line.get("sessionId")) or self.session
        self.conversation = self.named(line.get("agentId"))
        if kind not in ("user", "assistant") or not isinstance(message, dict):
            return None
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        self.model = self.named(message.get("model")) if kind == "assistant" else None
        calls = []
        for part in parts:
            told = part if isinstance(part, dict) else {}
            if told.get("type") == "tool_use":
                self.called(told.get("id"), told.get("name"))
            calls.append(self.call(told.get("tool_use_id")))
        return LogMessage(("message", "content"), parts, calls, self.model)
