"""`fsmedia gallery` and `fsmedia compare`: media to look at, as one HTML file that needs nothing else."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fsmedia.cli import output
from fsmedia.cli.app import (
    AsJson,
    CommandError,
    Conversation,
    ExpiresBefore,
    Mime,
    Place,
    Policy,
    Provider,
    Run,
    Session,
    Since,
    StorageOptions,
    StoreUrl,
    Until,
    conditions,
)
from fsmedia.cli.output import counter
from fsmedia.display.text import size_text

GALLERY_HELP = """Write media as cards into one HTML file: previews, facts, policy and expiry, references, captions.

The file needs nothing else and loads nothing: open it in any browser, send it to anybody who may see the media. It
holds small pictures and short sounds, at most 2 MiB. Conditions are those of `fsmedia ls`. Previews are kept in the
cache folder of this machine ($FSMEDIA_CACHE; "off" keeps none). Needs pip install 'fsmedia\\[notebook]'.

Examples:
  fsmedia gallery --run r1 -o gallery.html
  fsmedia gallery --mime 'image/*' --since 2d --sort newest --limit 200 -o pictures.html
"""

COMPARE_HELP = """Write what several runs made at the same position side by side into one HTML file.

A row is a message and part, a column a run; what a run lacks is an empty cell. Needs pip install
'fsmedia\\[notebook]'.

Examples:
  fsmedia compare r1 r2 -o compare.html
  fsmedia compare r1 r2 r3 --by conversation -o compare.html
"""


class Sort(StrEnum):
    """Which media are taken where there are more than the limit."""

    POSITION = "position"
    NEWEST = "newest"
    OLDEST = "oldest"
    LARGEST = "largest"


class Group(StrEnum):
    """How cards are grouped."""

    CONVERSATION = "conversation"
    RUN = "run"
    MESSAGE = "message"
    NONE = "none"


class By(StrEnum):
    """What a position is."""

    MESSAGE = "message"
    CONVERSATION = "conversation"


Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The HTML file; replaced if it is there.")]


def gallery(
    context: typer.Context,
    *,
    target: Output = Path("gallery.html"),
    run: Run = None,
    conversation: Conversation = None,
    session: Session = None,
    provider: Provider = None,
    mime: Mime = None,
    policy: Policy = None,
    since: Since = None,
    until: Until = None,
    expires_before: ExpiresBefore = None,
    group_by: Annotated[Group, typer.Option(help="How cards are grouped.")] = Group.CONVERSATION,
    sort: Annotated[Sort, typer.Option(help="Which are taken first.")] = Sort.POSITION,
    limit: Annotated[int, typer.Option(min=1, max=2000, metavar="N", help="At most so many cards.")] = 50,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Write a gallery."""
    asked = conditions(
        run=run,
        conversation=conversation,
        session=session,
        provider=provider,
        mime=mime,
        policy=policy,
        since=since,
        until=until,
        expires_before=expires_before,
    )
    with Place.of(context, store, option).open(read_only=True) as opened, counter("making previews", limit) as meter:
        made = opened.gallery(
            **asked,
            group_by=None if group_by is Group.NONE else group_by.value,  # type: ignore[arg-type]
            sort=sort.value,
            limit=limit,
            progress=meter.reach,
        )
    path = made.save(target)
    if as_json:
        output.json_line({"path": str(path), "shown": len(made), "total": made.totals.media})
        return
    output.line(f"{path}: {len(made):,} of {made.totals.media:,} media, {size_text(path.stat().st_size)}")
    if not len(made):
        output.note("nothing matches: the page is empty")


def compare(
    context: typer.Context,
    *,
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Two or more run ids.")],
    target: Output = Path("compare.html"),
    by: Annotated[By, typer.Option(help="Compare messages, or messages of the same conversation only.")] = By.MESSAGE,
    limit: Annotated[int, typer.Option(min=1, max=2000, metavar="N", help="At most so many media of each run.")] = 200,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Write a comparison."""
    with Place.of(context, store, option).open(read_only=True) as opened, counter("making previews", None) as meter:
        made = opened.compare(runs, by=by.value, limit=limit, progress=meter.reach)
    if not len(made):
        raise CommandError("none of these runs has media here; see: fsmedia ls")
    path = made.save(target)
    if as_json:
        output.json_line({"path": str(path), "runs": made.runs, "positions": len(made), "missing": len(made.missing)})
        return
    output.line(f"{path}: {len(made.runs)} runs, {len(made):,} positions, {len(made.missing):,} missing in a run")
