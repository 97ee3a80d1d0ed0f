"""`fsmedia confirm-upload`: make media of what was uploaded by tickets."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import Annotated

import typer

from fsmedia.cli import app, output

HELP = """Looks whether what lies there is what the ticket was made for, and prints the media's reference; asked again,
the same one. $FSMEDIA_TICKET_KEY must be that of `upload-url`, and the store named by the same URL.

Examples:
  fsmedia confirm-upload eyJzdG9yZSI6... --store s3://bucket/media
"""


def confirm_upload(
    *,
    tokens: Annotated[list[str], typer.Argument(metavar="TOKEN", help="Tokens, as upload-url shows them.")],
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Confirm uploads."""

    def confirm(token: str) -> None:
        reference = opened.confirm_upload(token)
        if as_json:
            output.json_record(opened.info(reference))
        else:
            output.line(reference)

    with location.open_existing() as opened:
        app.each_media(tokens, confirm, "uploads")
