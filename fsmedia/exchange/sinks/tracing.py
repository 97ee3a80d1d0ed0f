"""Whose a media is, as the span that it belongs to says: its trace is the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import format_trace_id

from fsmedia.errors import MediaError
from fsmedia.models import MediaMetadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

UNTRACED = "untraced"
"""The run of what belongs to no trace."""

_CONVERSATION = "gen_ai.conversation.id"
_SESSION = "session.id"
_PROVIDERS = ("gen_ai.provider.name", "llm.provider", "gen_ai.system")


def metadata_of(span: Span | None, attributes: Mapping[str, Any] | None = None) -> MediaMetadata:
    """Return run, conversation, session and provider; what is not said, or can't be an id, stays empty.

    Parameters
    ----------
    attributes
        Asked first; then those of the span, where it lets them be read.
    """
    said = {**(getattr(span, "attributes", None) or {}), **(attributes or {})}
    trace = span.get_span_context() if span is not None else None
    run = format_trace_id(trace.trace_id) if trace is not None and trace.is_valid else UNTRACED
    try:
        return MediaMetadata(
            run_id=run,
            conversation_id=_first(said, _CONVERSATION),
            session_id=_first(said, _SESSION),
            provider_id=_first(said, *_PROVIDERS),
        )
    except MediaError:
        return MediaMetadata(run_id=run)


def _first(said: Mapping[str, Any], *names: str) -> str:
    return next((said[name] for name in names if isinstance(said.get(name), str)), "")
