"""`fsmedia init`: makes a store, or tells what the one that is there was made with."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from fsmedia.cli import app, output
from fsmedia.cli.app import AsJson, CommandError, Place, StorageOptions, StoreUrl
from fsmedia.format.settings import Configuration

INIT_HELP = """Make a store: write its settings. Not needed before `store`, which makes one with the defaults.

Settings can't be changed afterwards (but `fsmedia dedupe` lets media share equal bytes later). Doing it again with the
same settings, or with none, changes nothing and shows what is there; with other settings it is an error.

Examples:
  fsmedia init --store ./media
  fsmedia init --store s3://bucket/media --organization by-session
  fsmedia init --store ./media --default-policy retain-30days
  fsmedia init --store ./media --policy audit=365d --policy scratch=12h
  fsmedia init --store ./media --deduplicate --orphan-grace 2d
  fsmedia init --store ./media --layout 'by-run=runs/{run_id}/{provider_id}/{name}{ext}'
  fsmedia init --store ./media --view 'by-day={timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}'
"""


def init(
    context: typer.Context,
    *,
    organization: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="by-run (the default), by-conversation or by-session.", show_default=False),
    ] = None,
    layout: Annotated[
        list[str] | None,
        typer.Option(metavar="MODE=TEMPLATE", help="The folders of a mode; repeatable.", show_default=False),
    ] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TEMPLATE",
            help="More folders in which media:// shows all media, read-only; repeatable.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DURATION",
            help="A retention policy: audit=365d, legal=forever; repeatable.",
            show_default=False,
        ),
    ] = None,
    default_policy: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Policy of media that name none, e.g. retain-30days.", show_default=False),
    ] = None,
    deduplicate: Annotated[
        bool, typer.Option("--deduplicate", help="Let media with the same bytes share them.", show_default=False)
    ] = False,
    orphan_grace: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Age from which leftovers of crashes may be removed, e.g. 2d; else 24h.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Make a store."""
    place = Place.of(context, store, option)
    layouts = app.pairs(layout, "--layout", "MODE=TEMPLATE, e.g. 'by-run=runs/{run_id}'") or None
    views = app.pairs(view, "--view", "NAME=TEMPLATE, e.g. 'by-day={timestamp:%Y-%m-%d}/{name}{ext}'") or None
    before = place.settings()
    with place.open(
        organization=organization,
        layouts=layouts,
        views=views,
        policies=app.policies(policy),
        default_policy=default_policy,
        deduplicate=deduplicate or None,
        orphan_grace=None if orphan_grace is None else app.duration(orphan_grace, "--orphan-grace"),
    ) as opened:
        opened.create()
        url = opened.url
    made = place.settings()
    if made is None:
        raise CommandError(f"{url}: the settings are gone again; somebody deletes the store")
    facts = _facts(made)
    if as_json:
        output.json_line({"url": url, "created": before is None, **facts})
        return
    word = "made a store in" if before is None else "there was a store already in"
    output.Screen().print(Text(f"{word} {output.visible(url)}"), soft_wrap=True)
    output.Screen().print(_table(facts))


def _facts(made: Configuration) -> dict[str, Any]:
    return {
        "organization": str(made.organization),
        "layouts": {mode: layout.template for mode, layout in made.layouts.items()},
        "views": {name: view.template for name, view in made.views.items()},
        "policies": {
            name: None if policy.keep_for is None else int(policy.keep_for.total_seconds())
            for name, policy in made.policies.items()
        },
        "default_policy": made.default_policy,
        "deduplicate": made.deduplicate,
        "orphan_grace": int(made.orphan_grace.total_seconds()),
    }


def _table(facts: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    mode = facts["organization"]
    policies = [
        f"{name} ({'for ever' if seconds is None else app.spelled(seconds)})"
        for name, seconds in sorted(facts["policies"].items())
    ]
    rows = (
        ("organization", mode),
        ("layout", facts["layouts"][mode]),
        ("views", ", ".join(["by-session", "by-conversation", "by-run", *sorted(facts["views"])])),
        ("policies", ", ".join(policies) or "none of its own"),
        ("default policy", facts["default_policy"] or "none: media are kept"),
        ("equal bytes", "shared" if facts["deduplicate"] else "stored for each media"),
        ("orphan grace", app.spelled(facts["orphan_grace"])),
    )
    for name, value in rows:
        table.add_row("  " + name, Text(output.visible(value), overflow="fold"))
    return table
