"""`fsmedia check-storage`: try what a storage does; the exit code says whether the guarantees stand on it."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from dataclasses import replace
from typing import Annotated

import typer

from fsmedia.cli import app, output
from fsmedia.cli.signals import StopSignal

HELP = """Nothing is believed that a storage, or fsmedia's own code for it, says of itself: each line is measured, by
two clients, with some 120 small objects and one of 11 MiB in a folder .fsmedia/check-... below URL, which need hold no
store. The folder is removed at the end, older versions of what was in it too, also after Ctrl-C or an error. It takes a
second or two on a disk, and 600 to 900 requests to an object store.

A line says what was seen, and what fsmedia does then: `holds`; `handled` where the storage does less and fsmedia makes
up for it or does without, as the line says; `broken` where a guarantee of docs/guarantees.md does not stand. Exits with
0 if nothing is broken, with 4 if something is, with 1 if nothing can be written there at all.

Where a line is not what you expect, look for a cache or a proxy in between first, then at the server's version.

Examples:
  fsmedia check-storage ./media
  fsmedia check-storage s3://bucket/media
  fsmedia check-storage s3://bucket/media --option endpoint_url=http://localhost:9000
  fsmedia check-storage sftp://host/media --json | jq '.checks[] | select(.state != "holds")'
  fsmedia check-storage s3://bucket/new && fsmedia init --store s3://bucket/new
"""


def check_storage(
    *,
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="The root to try, as --store has it.", show_default=False)
    ] = None,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Try a storage."""
    if url is not None:
        if location.url not in (None, url):
            raise app.CommandError(
                f"two storages are named: {url} and --store {location.url}; name one", code=app.USAGE
            )
        location = replace(location, url=url)
    with StopSignal() as stop, location.open() as opened:
        report = opened.check_storage(stopped=stop.asked)
    output.print_report(report, as_json=as_json, rows=None, stands=report.stands)
    raise typer.Exit(stop.code or (app.DONE if report.stands else app.NOT_WHOLE))
