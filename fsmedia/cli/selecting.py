"""Which media a command means: the options of a selection, and their values as `MediaStore.list` takes them."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import Annotated, Any

import typer

from fsmedia.cli import words
from fsmedia.store import utc_now

Run = Annotated[str | None, typer.Option("--run", metavar="ID", help="Of this run.")]
Conversation = Annotated[str | None, typer.Option(metavar="ID", help="Of this conversation.")]
Session = Annotated[str | None, typer.Option(metavar="ID", help="Of this session.")]
Provider = Annotated[str | None, typer.Option(metavar="ID", help="Of this provider.")]
Mime = Annotated[str | None, typer.Option(metavar="TYPE", help="Of this type, or pattern: 'image/*'.")]
Policy = Annotated[str | None, typer.Option(metavar="NAME", help="Under this retention policy.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Made at or after: 2026-03-04, 2d.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Made before: 2026-03-04, 12h.")]
ExpiresBefore = Annotated[str | None, typer.Option(metavar="TIME", help="Expires before: 2026-03-04, 2d (from now).")]


def conditions(  # noqa: PLR0913 - the words of a selection
    *,
    run: str | None = None,
    conversation: str | None = None,
    session: str | None = None,
    provider: str | None = None,
    mime: str | None = None,
    policy: str | None = None,
    since: str | None = None,
    until: str | None = None,
    expires_before: str | None = None,
) -> dict[str, Any]:
    """Return the conditions that are asked, by their names in Python.

    Raises
    ------
    typer.BadParameter
        A time can't be read.
    """
    now = utc_now()
    asked = {
        "run_id": run,
        "conversation_id": conversation,
        "session_id": session,
        "provider_id": provider,
        "mime_type": mime,
        "policy_name": policy,
        "since": words.instant(since, "--since", now=now),
        "until": words.instant(until, "--until", now=now),
        "expires_before": words.instant(expires_before, "--expires-before", now=now, ahead=True),
    }
    return {name: value for name, value in asked.items() if value is not None}
