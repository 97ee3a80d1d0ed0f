"""`fsmedia gallery`: write media as cards into one HTML file that needs nothing else."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from pathlib import Path
from typing import Annotated, Literal

import typer

from fsmedia.cli import app, output
from fsmedia.models.text import size_text

HELP = """The file needs nothing else and loads nothing: open it in any browser, send it to anybody who may see the
media. It holds small pictures, at most 2 MiB with the page, and as many originals as `--originals` lets in: these open
at full size, play and can be saved. Conditions are those of `fsmedia ls`. Previews are kept in the cache folder of this
machine ($FSMEDIA_CACHE; "off" keeps none). Needs the packages of the extra `notebook`.

Examples:
  fsmedia gallery --run r1 -o gallery.html
  fsmedia gallery --mime 'image/*' --since 2d --sort newest --limit 200 -o pictures.html
  fsmedia gallery --run r1 --originals 200MB -o all.html
"""

Sort = Literal["position", "newest", "oldest", "largest"]
Group = Literal["conversation", "run", "message", "none"]


def gallery(
    *,
    target: app.HtmlFile = Path("gallery.html"),
    selection: app.Selection,
    group_by: Annotated[Group, typer.Option(help="How media are grouped.")] = "conversation",
    sort: Annotated[Sort, typer.Option(help="Which are taken first.")] = "position",
    limit: Annotated[int, typer.Option(min=1, max=2000, metavar="N", help="At most so many media.")] = 50,
    originals: Annotated[
        str, typer.Option(metavar="SIZE", help="Bytes of originals in the file, the first that fit; 0 for none.")
    ] = "16MiB",
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Write a gallery."""
    most = 0 if originals.strip() == "0" else app.parse_size(originals, "--originals")
    with location.open_existing(read_only=True) as opened, output.count_progress("making previews", limit) as meter:
        made = opened.gallery(
            **selection, group_by=None if group_by == "none" else group_by, sort=sort, limit=limit, progress=meter.reach
        )
    if not len(made):
        raise app.CommandError("no media match, so no page is written; see: fsmedia ls")
    path = made.save(target, originals=most)
    if as_json:
        output.json_line({"path": str(path), "shown": len(made), "total": made.totals.media})
        return
    output.line(f"{path}: {len(made):,} of {made.totals.media:,} media, {size_text(path.stat().st_size)}")
