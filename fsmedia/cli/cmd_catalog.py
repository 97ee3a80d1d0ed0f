"""`fsmedia catalog`: brings the table of all media up to date, and tells what it is."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import typer
from rich.table import Table
from rich.text import Text

from fsmedia.catalog import COLUMNS, Catalog
from fsmedia.catalog.schema import arrow
from fsmedia.cli import app as endings
from fsmedia.cli import output
from fsmedia.cli.app import AsJson, Place, StorageOptions, StoreUrl, text_of
from fsmedia.cli.cmd_enforce import Threads, hands
from fsmedia.cli.output import counter
from fsmedia.display.text import distance_text
from fsmedia.errors import MediaError, StorageError
from fsmedia.store import utc_now

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

app = typer.Typer(
    cls=endings.Commands,
    help=output.unwrapped(CATALOG_HELP),
    invoke_without_command=True,
    rich_markup_mode="rich",
)

_MOST_TOLD = 20


@app.callback()
def _catalog(context: typer.Context, *, store: StoreUrl = None, option: StorageOptions = None) -> None:
    """Take what stands before the command."""
    context.obj = Place.of(context, store, option)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("refresh", help=output.unwrapped(REFRESH_HELP))
def refresh(
    context: typer.Context,
    *,
    threads: Threads = None,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Bring the catalog up to date."""
    place = Place.of(context, store, option)
    with place.open() as opened, hands(threads) as executor, counter("media", None) as meter:
        found = opened.catalog(executor=executor, progress=meter.reach)
    problems = found.problems
    for reason in list(problems.values())[:_MOST_TOLD]:
        output.warning(reason)
    if len(problems) > _MOST_TOLD:
        output.warning(f"and {len(problems) - _MOST_TOLD:,} more; fsmedia query shows the column problem")
    report = found.report
    assert report is not None  # noqa: S101 - it was refreshed
    if as_json:
        told = {**report.model_dump(mode="json"), "file": file_of(found), "problems": len(problems)}
        output.json_line(told)
        return
    same = "nothing changed" if report.snapshot else "nothing written"
    output.line(
        f"{report.media:,} media, {report.read:,} sidecars read, {report.removed:,} rows removed, "
        f"{'a new snapshot' if report.written else same} ({report.took.total_seconds():.1f} s)"
    )
    if report.snapshot:
        output.line(output.visible(str(file_of(found))))


@app.command("show", help=output.unwrapped(SHOW_HELP))
def show(
    context: typer.Context, *, as_json: AsJson = False, store: StoreUrl = None, option: StorageOptions = None
) -> None:
    """Show what the catalog is."""
    with Place.of(context, store, option).open(read_only=True) as opened:
        found = opened.catalog(refresh=False)
    if as_json:
        output.json_line(
            {
                "media": len(found),
                "refreshed_at": found.refreshed_at.isoformat(),
                "file": file_of(found),
                "problems": len(found.problems),
                "columns": [{"name": each.name, "type": each.kind, "about": each.about} for each in COLUMNS],
            }
        )
        return
    screen = output.Screen()
    age = distance_text(found.refreshed_at, utc_now())
    screen.print(f"{len(found):,} media, as of {output.time_text(found.refreshed_at)} ({age})")
    screen.print(Text(output.visible(str(file_of(found))), overflow="fold"))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("column", "type", "what"):
        table.add_column(name, no_wrap=name != "what", overflow="fold")
    for each in COLUMNS:
        table.add_row(each.name, each.kind, Text(each.about))
    screen.print(table)


def file_of(found: Catalog) -> str | None:
    """Return where the rows lie as Parquet; None: nowhere."""
    try:
        (file,) = found.files
    except MediaError:
        return None
    return file


def catalog_of(place: Place, *, refresh: bool, threads: int | None = None) -> Catalog:
    """Return the catalog that is asked; with `refresh`, brought up to date: in the store, else in memory alone."""
    if refresh:
        arrow()  # without it there is no second way
        try:
            return _opened(place, threads, refresh=True, read_only=False)
        except StorageError as error:
            output.note(f"trying again without writing: {text_of(error)}")
    return _opened(place, threads, refresh=refresh, read_only=True)


def _opened(place: Place, threads: int | None, *, refresh: bool, read_only: bool) -> Catalog:
    with place.open(read_only=read_only) as opened, hands(threads) as executor, counter("media", None) as meter:
        return opened.catalog(refresh=refresh, executor=executor, progress=meter.reach)
