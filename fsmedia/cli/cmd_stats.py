"""`fsmedia stats`: count media and bytes."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import Annotated

import typer

from fsmedia.catalog import statistics
from fsmedia.cli import app, output
from fsmedia.cli.cmd_catalog import catalog_of
from fsmedia.store import utc_now

HELP = """Brings the catalog up to date first, see `fsmedia catalog refresh`; `--no-refresh` takes it as it is. It needs
pyarrow.

Examples:
  fsmedia stats --store ./media
  fsmedia stats --top 5
  fsmedia stats --json | jq .expires_within_week.bytes
"""


def stats(
    *,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Most runs, types and policies to tell apart.")] = 10,
    no_refresh: Annotated[bool, typer.Option("--no-refresh", help="Add up the catalog as it is.")] = False,
    threads: app.Threads = None,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Show a store in numbers."""
    catalog = catalog_of(location, refresh=not no_refresh, threads=threads)
    found = statistics(catalog, now=utc_now(), top=top)
    output.print_report(found, as_json=as_json, rows=None, stored_bytes=found.stored_bytes)
