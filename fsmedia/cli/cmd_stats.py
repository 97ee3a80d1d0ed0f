"""`fsmedia stats`: count media and bytes."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from fsmedia.catalog import statistics
from fsmedia.cli import output
from fsmedia.cli.app import AsJson, Store, Threads
from fsmedia.cli.cmd_catalog import catalog_of
from fsmedia.models import StoreStatistics, Tally
from fsmedia.models.text import size_text
from fsmedia.store import utc_now

HELP = """Count media and bytes: by run, type, policy and age; what expires soon; what deduplication saves.

Brings the catalog up to date first, see `fsmedia catalog refresh`; `--no-refresh` takes it as it is. It needs pyarrow:
pip install 'fsmedia[catalog]'

Examples:
  fsmedia stats --store ./media
  fsmedia stats --top 5
  fsmedia stats --json | jq .expires_within_week.bytes
"""


def stats(
    *,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Most runs, types and policies to tell apart.")] = 10,
    no_refresh: Annotated[bool, typer.Option("--no-refresh", help="Add up the catalog as it is.")] = False,
    threads: Threads = None,
    as_json: AsJson = False,
    location: Store,
) -> None:
    """Show a store in numbers."""
    catalog = catalog_of(location, refresh=not no_refresh, threads=threads)
    found = statistics(catalog, now=utc_now(), top=top)
    if as_json:
        output.json_line({**found.model_dump(mode="json"), "stored_bytes": found.stored_bytes})
        return
    _show(found)


def _show(found: StoreStatistics) -> None:
    screen = output.Screen()
    screen.print(f"{found.media:,} media, {output.exact_size_text(found.bytes)}")
    if found.saved_bytes:
        stored, saved = size_text(found.stored_bytes), size_text(found.saved_bytes)
        screen.print(f"{stored} are stored: deduplication saves {saved}")
    if found.problems:
        output.warning(f"{found.problems:,} sidecars can't be read: fsmedia query shows the column problem")
    _print_tallies(screen, "run", "(none)", [*found.by_run, *_rest(found.other_runs)])
    _print_tallies(screen, "type", "(none)", [*found.by_mime_type, *_rest(found.other_mime_types)])
    _print_tallies(screen, "policy", "(none)", [*found.by_policy, *_rest(found.other_policies)])
    _print_tallies(screen, "age", "", found.by_age)
    _print_tallies(screen, "expires", "", [found.expired, found.expires_within_day, found.expires_within_week])


def _rest(tally: Tally | None) -> list[Tally]:
    return [] if tally is None else [tally]


def _print_tallies(screen: output.Screen, title: str, unnamed: str, tallies: Sequence[Tally]) -> None:
    if not tallies:
        return
    table = output.list_table()
    table.add_column("media", justify="right", no_wrap=True, min_width=9)
    table.add_column("size", justify="right", no_wrap=True, min_width=10)
    table.add_column(title, overflow="fold")
    for each in tallies:
        name = Text(unnamed if each.name is None else output.visible(each.name), overflow="fold")
        table.add_row(f"{each.media:,}", size_text(each.bytes), name)
    screen.print()
    screen.print(table)
