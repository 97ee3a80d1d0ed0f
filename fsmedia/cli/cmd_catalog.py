"""`fsmedia catalog`: bring the table of all media up to date, show what it is, ask it by SQL.

DuckDB runs the SQL. It may be a stranger's: it can read no file, write none, load nothing, and change none of that.
"""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import csv
import math
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain, islice
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.text import Text

from fsmedia.catalog import COLUMNS, Catalog
from fsmedia.catalog.schema import MIXED, AttributeColumns, arrow
from fsmedia.cli import app, output
from fsmedia.errors import INSTALL, MediaError, StorageError
from fsmedia.models.text import distance_text, shown_of
from fsmedia.store import utc_now

if TYPE_CHECKING:
    from fsmedia.models import CatalogRefresh

HELP = """`fsmedia catalog query` asks it by SQL, `fsmedia stats` adds it up, and any tool that reads Parquet reads its
files. It needs pyarrow.

Examples:
  fsmedia catalog refresh --store ./media
  fsmedia catalog show
  fsmedia catalog query "select run_id, sum(size_bytes) from media group by run_id"
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

The names of attributes are told with the kind of their values. Nothing is refreshed. `--json` gives all of it for
programs.

Examples:
  fsmedia catalog show
  duckdb -c "select count(*) from '$(fsmedia catalog show --json | jq -r .file)'"
"""

QUERY_HELP = """Ask the catalog by SQL; the table is called media, a row per media. `-` reads the SQL from standard
input.

The catalog is brought up to date first (`--no-refresh`: as it is). `fsmedia catalog show` tells the columns. The SQL is
DuckDB's; it sees no files and changes nothing in the store. It takes 1 GiB of memory, and then a folder below $TMPDIR
that goes with it. Times are UTC. It needs pyarrow and duckdb.

Examples:
  fsmedia catalog query "select run_id, count(*), sum(size_bytes) from media group by run_id order by 3 desc"
  fsmedia catalog query "select run_id, sum(size_bytes) bytes from media where mime_type like 'image/%' \
and expires_at between now() and now() + interval 7 days group by run_id"
  fsmedia catalog query --json "select reference, caption from media where caption ilike '%cat%'" --limit 10
  fsmedia catalog query "select attributes['model'], count(*) from media where attributes['score'] >= 4 group by 1"
  fsmedia catalog query --csv "select * from media" > media.csv
"""

_MOST_WARNINGS = 20
_BATCH = 1000
_SHOWN = 1000  # rows of a table on a screen
_OPTIONS: dict[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "memory_limit": "1GiB",  # beside the table itself; what needs more goes to a temporary folder of its own
    "max_temp_directory_size": "16GiB",
}
_LOCKED = "SET TimeZone = 'UTC'; SET enable_external_access = false; SET lock_configuration = true"


def refresh(*, threads: app.Threads = None, as_json: app.AsJson = False, location: app.Store) -> None:
    """Bring the catalog up to date."""
    with location.open_for_work("media", threads) as (opened, work):
        found = opened.catalog(**work)
    problems = found.problems
    shown = shown_of(len(problems), _MOST_WARNINGS)
    for reason in list(problems.values())[:shown]:
        output.warning(reason)
    if len(problems) > shown:
        output.warning(f"and {len(problems) - shown:,} more; fsmedia catalog query shows the column problem")
    report = cast("CatalogRefresh", found.report)  # there is one: it was refreshed
    output.print_report(report, as_json=as_json, file=_file_of(found), problems=len(problems))
    if report.snapshot and not as_json:
        output.line(str(_file_of(found)))


def show(*, as_json: app.AsJson = False, location: app.Store) -> None:
    """Show what the catalog is."""
    with location.open_existing(read_only=True) as opened:
        found = opened.catalog(refresh=False)
    attributes = AttributeColumns.read(found.to_arrow().schema.metadata)
    kinds = {} if attributes is None else attributes.kinds
    if as_json:
        told = {"media": len(found), "refreshed_at": found.refreshed_at.isoformat(), "file": _file_of(found)}
        columns = [{"name": each.name, "type": each.kind, "about": each.about} for each in COLUMNS]
        output.json_line({**told, "problems": len(found.problems), "columns": columns, "attributes": kinds})
        return
    screen = output.Screen()
    age = distance_text(found.refreshed_at, utc_now())
    screen.print(f"{len(found):,} media, as of {output.time_text(found.refreshed_at)} ({age})")
    screen.print(Text(output.visible(str(_file_of(found)))), soft_wrap=True)
    table = output.list_table()
    for name in ("column", "type", "what"):
        table.add_column(name, no_wrap=name != "what", overflow="fold")
    for each in COLUMNS:
        table.add_row(each.name, each.kind, Text(each.about))
    for name, kind in kinds.items():
        table.add_row(Text(f"attributes['{name}']"), kind, Text("text of values that differ in type" * (kind == MIXED)))
    screen.print(table)


def _file_of(found: Catalog) -> str | None:
    """Return where the rows lie as Parquet; None where they are in memory only."""
    try:
        (file,) = found.files
    except MediaError:
        return None
    return file


def catalog_of(location: app.StoreLocation, *, refresh: bool, threads: int | None = None) -> Catalog:
    """Return the catalog that is asked; with `refresh`, brought up to date: in the store, else in memory alone."""

    def ask(*, read_only: bool) -> Catalog:
        with location.open_for_work("media", threads, read_only=read_only) as (opened, work):
            return opened.catalog(refresh=refresh, **work)

    if refresh:
        arrow()  # without it there is no second way
        try:
            return ask(read_only=False)
        except StorageError as error:
            output.note(f"trying again without writing: {output.error_text(error)}")
    return ask(read_only=True)


def query(
    *,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="What is asked of `media`; - reads standard input.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values, with a head.")] = False,
    limit: Annotated[int | None, typer.Option(min=0, metavar="N", help="At most so many rows.")] = None,
    no_refresh: Annotated[bool, typer.Option("--no-refresh", help="Ask the catalog as it is, however old.")] = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Ask the catalog."""
    if as_json and as_csv:
        raise typer.BadParameter("are two ways to show the same: choose one", param_hint="--json, --csv")
    text = sys.stdin.read() if sql == "-" else sql
    if not text.strip():
        raise typer.BadParameter("is empty", param_hint="SQL")
    try:
        import duckdb
    except ImportError as error:
        problem = f"query needs a package that is not installed ({error}): {INSTALL['catalog']}"
        raise app.CommandError(problem) from None
    found = catalog_of(location, refresh=not no_refresh)
    try:
        with (
            TemporaryDirectory(prefix="fsmedia-query-") as folder,
            duckdb.connect(":memory:", config={**_OPTIONS, "temp_directory": folder}) as connection,
        ):
            names, rows = _execute(connection, found, text)
            show = _show_json if as_json else _show_csv if as_csv else _show_table
            show(names, islice(rows, limit))
    except duckdb.Error as error:
        raise app.CommandError(_error_line(str(error))) from None


def _execute(connection: Any, found: Catalog, sql: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Execute SQL on the catalog; return the names of the columns, and the rows as they come."""
    connection.register("media", found.to_arrow())
    # Before the SQL, which may be a stranger's: from here on no file, no extension and no setting is in reach.
    connection.execute(_LOCKED)
    connection.execute(sql)
    names = [column[0] for column in connection.description or ()]
    batches = iter(lambda: connection.fetchmany(_BATCH), [])
    return names, chain.from_iterable(batches) if names else iter(())


def _error_line(text: str) -> str:
    """Return DuckDB's own words in one line, without its drawing of where."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^")]
    said = " ".join(line for line in lines if not line.startswith("LINE "))
    if "disabled by configuration" in said:
        said += " (a query sees the table media and nothing else)"
    return said


def _show_json(names: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    for row in rows:
        output.json_line(dict(zip(names, map(_plain, row), strict=True)))


def _show_csv(names: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    shown = output.visible if sys.stdout.isatty() else str
    writer.writerow(map(shown, names))
    writer.writerows(["" if value is None else shown(_text(value)) for value in row] for row in rows)


def _show_table(names: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    if not names:
        return
    shown = list(islice(rows, _SHOWN))
    numbers = {
        place for row in shown[:1] for place, value in enumerate(row) if isinstance(value, int | float | Decimal)
    }
    cells = (["-" if value is None else _text(value) for value in row] for row in shown)
    output.print_columns([names, *cells], right=numbers)
    if next(rows, None) is not None:
        output.note(f"more than {_SHOWN:,} rows: --limit, --json or --csv show others")
    if not shown:
        output.note("no rows")


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ").replace("+00:00", "Z")
    if isinstance(value, dict | list | tuple):
        return output.json_text({"": _plain(value)})[5:-1]
    return str(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, dict):
        return {str(_single(key)): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else _single(value)


def _single(value: Any) -> Any:
    """Return one value as JSON has it: instants in ISO 8601, whole decimals as numbers, bytes as hex."""
    if isinstance(value, datetime | date | time):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


group = app.command_group((("refresh", refresh, REFRESH_HELP), ("show", show, SHOW_HELP), ("query", query, QUERY_HELP)))
