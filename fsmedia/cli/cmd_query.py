"""`fsmedia query`: SQL on the table of all media, by DuckDB, which sees that table and nothing else.

The SQL may be a stranger's: it can read no file, write none, load nothing and change no setting of that.
"""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import csv
import math
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain, islice
from typing import Annotated, Any

import typer
from rich.text import Text

from fsmedia.catalog import Catalog
from fsmedia.cli import output
from fsmedia.cli.app import AsJson, CommandError, Store
from fsmedia.cli.cmd_catalog import catalog_of

HELP = """Ask the catalog by SQL; the table is called media, a row per media. `-` reads the SQL from standard input.

The catalog is brought up to date first (`--no-refresh`: as it is). `fsmedia catalog show` tells the columns. The SQL is
DuckDB's; it sees no files and changes nothing in the store. Times are UTC. It needs pyarrow and duckdb:
pip install 'fsmedia[catalog]'

Examples:
  fsmedia query "select run_id, count(*), sum(size_bytes) from media group by run_id order by 3 desc"
  fsmedia query "select run_id, sum(size_bytes) bytes from media where mime_type like 'image/%' \
and expires_at between now() and now() + interval 7 days group by run_id"
  fsmedia query --json "select reference, caption from media where caption ilike '%cat%'" --limit 10
  fsmedia query --csv "select * from media" > media.csv
"""

_BATCH = 1000
_SHOWN = 1000  # rows of a table on a screen
_OPTIONS = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "temp_directory": "",
}
_LOCKED = "SET TimeZone = 'UTC'; SET enable_external_access = false; SET lock_configuration = true"


def query(
    *,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="What is asked of `media`; - reads standard input.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values, with a head.")] = False,
    limit: Annotated[int | None, typer.Option(min=0, metavar="N", help="At most so many rows.")] = None,
    no_refresh: Annotated[bool, typer.Option("--no-refresh", help="Ask the catalog as it is, however old.")] = False,
    as_json: AsJson = False,
    location: Store,
) -> None:
    """Ask the catalog."""
    if as_json and as_csv:
        raise typer.BadParameter("are two ways to show the same: choose one", param_hint="--json, --csv")
    text = sys.stdin.read() if sql == "-" else sql
    if not text.strip():
        raise typer.BadParameter("is empty", param_hint="SQL")
    duckdb = _duckdb()
    found = catalog_of(location, refresh=not no_refresh)
    try:
        with duckdb.connect(":memory:", config=_OPTIONS) as connection:
            names, rows = _execute(connection, found, text)
            rows = islice(rows, limit)
            if as_json:
                _show_json(names, rows)
            elif as_csv:
                _show_csv(names, rows)
            else:
                _show_table(names, rows)
    except duckdb.Error as error:
        raise CommandError(_error_line(str(error))) from None


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise CommandError(
            f"query needs a package that is not installed ({error}): pip install 'fsmedia[catalog]'"
        ) from None
    return duckdb


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
    table = output.list_table()
    shown = list(islice(rows, _SHOWN))
    for index, name in enumerate(names):
        numbers = any(isinstance(row[index], int | float | Decimal) for row in shown[:1])
        table.add_column(output.visible(name), justify="right" if numbers else "left", overflow="fold")
    for row in shown:
        table.add_row(*("-" if value is None else Text(output.visible(_text(value)), overflow="fold") for value in row))
    output.Screen().print(table)
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
