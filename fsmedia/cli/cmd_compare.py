"""`fsmedia compare`: write what several runs made at the same position side by side into one HTML file."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from pathlib import Path
from typing import Annotated, Literal

import typer

from fsmedia.cli import app, output

HELP = """A row is a message and part, a column a run; what a run lacks is an empty cell. Needs the packages of the
extra `notebook`.

Examples:
  fsmedia compare r1 r2 -o compare.html
  fsmedia compare r1 r2 r3 --by conversation -o compare.html
"""


def compare(
    *,
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Run ids, as a rule two or more.")],
    target: app.HtmlFile = Path("compare.html"),
    by: Annotated[
        Literal["message", "conversation"],
        typer.Option(help="Compare messages, or messages of the same conversation only."),
    ] = "message",
    limit: Annotated[int, typer.Option(min=1, max=2000, metavar="N", help="At most so many media of each run.")] = 200,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Write a comparison."""
    with location.open_existing(read_only=True) as opened, output.count_progress("making previews", None) as meter:
        made = opened.compare(runs, by=by, limit=limit, progress=meter.reach)
    if not len(made):
        raise app.CommandError("none of these runs has media here; see: fsmedia ls")
    path = made.save(target)
    if as_json:
        output.json_line({"path": str(path), "runs": made.runs, "positions": len(made), "missing": len(made.missing)})
        return
    output.line(f"{path}: {len(made.runs)} runs, {len(made):,} positions, {len(made.missing):,} missing in a run")
