"""`fsmedia sweep-orphans`: remove what crashes left and no media needs."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import Annotated

import typer

from fsmedia.cli import output
from fsmedia.cli.app import (
    DONE,
    FAILED,
    AsJson,
    NobodyWrites,
    StorageOptions,
    StoreLocation,
    StoreUrl,
    Yes,
    confirm,
    parse_duration,
)

HELP = """Remove what crashes left and no media needs; put back what a media lacks.

Lists the whole store. What is younger than the grace (the store's, 24 hours unless it was made with another) may be a
store under way and stays. Files that fsmedia did not write are told and stay. `--dry-run` only tells.

A `--grace` shorter than the store's needs `--nobody-writes`: say so only when every program that stores is stopped,
for media on their way would lose their bytes. It asks first where a person sits at the terminal; `--yes` does not ask.

Examples:
  fsmedia sweep-orphans --dry-run
  fsmedia sweep-orphans --grace 2d
  fsmedia sweep-orphans --grace 0s --nobody-writes
"""


def sweep_orphans(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Change nothing, say what would be done.")] = False,
    grace: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Age from which a leftover goes, e.g. 2d.", show_default=False),
    ] = None,
    nobody_writes: NobodyWrites = False,
    yes: Yes = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Remove leftovers."""
    age = None if grace is None else parse_duration(grace, "--grace")
    with StoreLocation.of(context, store, option).open_existing(read_only=dry_run) as opened:
        if not (yes or dry_run):
            question = f"Remove what crashes left in {opened.url}?"
            if nobody_writes:
                question = f"Is every program that writes to {opened.url} stopped?"
            confirm(question, "nothing was removed")
        with output.count_progress("listing", None) as meter:
            report = opened.sweep_orphans(grace=age, nobody_writes=nobody_writes, dry_run=dry_run, progress=meter.reach)
    output.print_report(report, as_json=as_json, bytes_freed=report.bytes_freed)
    raise typer.Exit(FAILED if report.failed else DONE)
