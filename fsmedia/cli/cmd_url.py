"""`fsmedia url`: print URLs under which other programs get media."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import Annotated

import typer

from fsmedia.cli import app, output

HELP = """Whoever has a signed URL can read that media until it expires: treat it as a password. On S3 and GCS a
browser saves it under the name of the file that was stored.

Examples:
  fsmedia url runs/r1/0003_01_u01m8.png --store s3://bucket/media --expires 15m
"""


def url(
    *,
    references: app.References,
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long a signed URL lives, e.g. 15m, 12h, 7d; else 1h.")
    ] = None,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Print URLs."""
    lifetime = None if expires is None else app.parse_duration(expires, "--expires")
    with location.open_existing(read_only=True) as opened:
        for reference in references:
            address = opened.get_url(reference, lifetime)
            if as_json:
                output.json_line({"reference": reference, "url": address})
            else:
                output.line(address)
