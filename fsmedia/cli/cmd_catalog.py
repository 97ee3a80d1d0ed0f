"""`fsmedia catalog`: bring the table of all media up to date, and show what it is."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import TYPE_CHECKING, cast

from rich.text import Text

from fsmedia.catalog import COLUMNS, Catalog
from fsmedia.catalog.schema import arrow
from fsmedia.cli import output
from fsmedia.cli.app import AsJson, Store, StoreLocation, Threads, command_group
from fsmedia.errors import MediaError, StorageError
from fsmedia.models.text import distance_text
from fsmedia.store import utc_now

if TYPE_CHECKING:
    from fsmedia.models import CatalogRefresh

CATALOG_HELP = """The catalog: one row per media, kept in the store as Parquet.

`fsmedia query` asks it by SQL, `fsmedia stats` adds it up, and any tool that reads Parquet reads its files. It needs
pyarrow: pip install 'fsmedia[catalog]'

Examples:
  fsmedia catalog refresh --store ./media
  fsmedia catalog show
  fsmedia query "select run_id, sum(size_bytes) from media group by run_id"
"""

REFRESH_HELP = """Bring the catalog up to date: list the store once, read the sidecars that changed.

Where nothing changed, nothing is read but the listing, and nothing is written. Others may store, delete and refresh
meanwhile. What is wrong with a media's sidecar stands in its row, and is told here.

Examples:
  fsmedia catalog refresh
  fsmedia catalog refresh --threads 16
  fsmedia catalog refresh --json | jq -r .file
"""

SHOW_HELP = """Show the catalog as it lies in the store: its age, its rows, its file, its columns with their units.

Nothing is refreshed. `--json` gives all of it for programs.

Examples:
  fsmedia catalog show
  duckdb -c "select count(*) from '$(fsmedia catalog show --json | jq -r .file)'"
"""

_MOST_WARNINGS = 20


def refresh(
    *,
    threads: Threads = None,
    as_json: AsJson = False,
    location: Store,
) -> None:
    """Bring the catalog up to date."""
    with location.open_for_work("media", threads) as (opened, work):
        found = opened.catalog(**work)
    problems = found.problems
    for reason in list(problems.values())[:_MOST_WARNINGS]:
        output.warning(reason)
    if len(problems) > _MOST_WARNINGS:
        output.warning(f"and {len(problems) - _MOST_WARNINGS:,} more; fsmedia query shows the column problem")
    report = cast("CatalogRefresh", found.report)  # there is one: it was refreshed
    output.print_report(report, as_json=as_json, file=_file_of(found), problems=len(problems))
    if report.snapshot and not as_json:
        output.line(str(_file_of(found)))


def show(*, as_json: AsJson = False, location: Store) -> None:
    """Show what the catalog is."""
    with location.open_existing(read_only=True) as opened:
        found = opened.catalog(refresh=False)
    if as_json:
        output.json_line(
            {
                "media": len(found),
                "refreshed_at": found.refreshed_at.isoformat(),
                "file": _file_of(found),
                "problems": len(found.problems),
                "columns": [{"name": each.name, "type": each.kind, "about": each.about} for each in COLUMNS],
            }
        )
        return
    screen = output.Screen()
    age = distance_text(found.refreshed_at, utc_now())
    screen.print(f"{len(found):,} media, as of {output.time_text(found.refreshed_at)} ({age})")
    screen.print(Text(output.visible(str(_file_of(found))), overflow="fold"))
    table = output.list_table()
    for name in ("column", "type", "what"):
        table.add_column(name, no_wrap=name != "what", overflow="fold")
    for each in COLUMNS:
        table.add_row(each.name, each.kind, Text(each.about))
    screen.print(table)


def _file_of(found: Catalog) -> str | None:
    """Return where the rows lie as Parquet; None where they are in memory only."""
    try:
        (file,) = found.files
    except MediaError:
        return None
    return file


def catalog_of(location: StoreLocation, *, refresh: bool, threads: int | None = None) -> Catalog:
    """Return the catalog that is asked; with `refresh`, brought up to date: in the store, else in memory alone."""
    if refresh:
        arrow()  # without it there is no second way
        try:
            return _open_catalog(location, threads, refresh=True, read_only=False)
        except StorageError as error:
            output.note(f"trying again without writing: {output.error_text(error)}")
    return _open_catalog(location, threads, refresh=refresh, read_only=True)


def _open_catalog(location: StoreLocation, threads: int | None, *, refresh: bool, read_only: bool) -> Catalog:
    with location.open_for_work("media", threads, read_only=read_only) as (opened, work):
        return opened.catalog(refresh=refresh, **work)


group = command_group(CATALOG_HELP, (("refresh", refresh, REFRESH_HELP), ("show", show, SHOW_HELP)))
