"""`fsmedia sweep-orphans`: remove what crashes left and no media needs."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import Annotated

import typer
from rich.text import Text

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
from fsmedia.models import OrphanReport
from fsmedia.models.reports import kept_words
from fsmedia.models.text import size_text

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
    for failure in report.failed:
        output.error(output.error_text(failure.error))
    if as_json:
        output.json_line({**report.model_dump(mode="json"), "bytes_freed": report.bytes_freed})
    else:
        _show(report)
    raise typer.Exit(FAILED if report.failed else DONE)


def _show(report: OrphanReport) -> None:
    screen = output.Screen()
    if report.mended or report.kept:
        table = output.list_table()
        table.add_column("kind", no_wrap=True)
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("would be" if report.dry_run else "done", overflow="fold")
        table.add_column("key", overflow="fold")
        for each in (*report.mended, *report.kept):
            size = size_text(each.size_bytes) if each.size_bytes else "-"
            table.add_row(each.kind, size, each.action or "kept", Text(output.visible(each.key), overflow="fold"))
        screen.print(table)
    verb = "would mend" if report.dry_run else "mended"
    screen.print(
        f"{report.examined:,} objects listed, {verb} {len(report.mended):,} "
        f"({size_text(report.bytes_freed)}), kept {len(report.kept):,}, failed {len(report.failed):,}"
        f"{kept_words(report.versions_kept)}"
    )
