"""`fsmedia init`: make a store, or show the settings of the one that is there."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import Annotated, Any

import typer
from rich.text import Text

from fsmedia.cli import app, output

HELP = """Not needed before `store`, which makes one with the defaults. Policies, the default policy, views and the
orphan grace can be changed afterwards (`fsmedia config set`); `fsmedia sync` brings the media to a new store that has
another organization or other layouts. Doing it again with the same settings, or with none, changes nothing and shows
what is there; with other settings it is an error.

Examples:
  fsmedia init --store ./media
  fsmedia init --store s3://bucket/media --organization by-session
  fsmedia init --store ./media --default-policy retain-30days
  fsmedia init --store ./media --policy audit=365d --policy scratch=12h
  fsmedia init --store ./media --deduplicate --orphan-grace 2d
  fsmedia init --store ./media --layout 'by-run=runs/{run_id}/{provider_id}/{name}{ext}'
  fsmedia init --store /srv/team/media --permissions shared
  fsmedia init --store ./media --view 'by-day={timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}'
"""


def init(
    *,
    organization: Annotated[
        str | None, typer.Option(metavar="MODE", help="by-run (the default), by-conversation or by-session.")
    ] = None,
    layout: Annotated[
        list[str] | None, typer.Option(metavar="MODE=TEMPLATE", help="The folders of a mode; repeatable.")
    ] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEMPLATE", help="Read-only folders in which media:// shows all media; repeatable."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DURATION", help="A retention policy: audit=365d, legal=forever; repeatable."),
    ] = None,
    default_policy: Annotated[
        str | None, typer.Option(metavar="NAME", help="Policy of media that name none, e.g. retain-30days.")
    ] = None,
    deduplicate: Annotated[
        bool, typer.Option("--deduplicate", help="Let media with the same bytes share them.", show_default=False)
    ] = False,
    orphan_grace: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Age from which leftovers of crashes may be removed, e.g. 2d; else 24h."),
    ] = None,
    permissions: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="On local disk: private (the default), or shared: as the umask allows."),
    ] = None,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Make a store."""
    layouts = app.parse_pairs(layout, "--layout", "MODE=TEMPLATE, e.g. 'by-run=runs/{run_id}'") or None
    views = app.parse_pairs(view, "--view", "NAME=TEMPLATE, e.g. 'by-day={timestamp:%Y-%m-%d}/{name}{ext}'") or None
    before = location.read_settings()
    with location.open(
        organization=organization,
        layouts=layouts,
        views=views,
        policies=app.parse_policies(policy),
        default_policy=default_policy,
        deduplicate=deduplicate or None,
        orphan_grace=None if orphan_grace is None else app.parse_duration(orphan_grace, "--orphan-grace"),
        permissions=permissions,
    ) as opened:
        opened.create()
        url = opened.url
    made = location.read_settings()
    if made is None:
        raise app.CommandError(f"{url}: the settings are gone again; somebody deletes the store")
    facts = app.settings_document(made.record())
    if as_json:
        output.json_line({"url": url, "created": before is None, **facts})
        return
    word = "made a store in" if before is None else "there was a store already in"
    output.Screen().print(Text(f"{word} {output.visible(url)}"), soft_wrap=True)
    output.print_facts(_rows(facts))


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    mode = facts["organization"]
    policies = [f"{name} ({app.spell_duration(seconds)})" for name, seconds in facts["policies"].items()]
    rows = (
        ("organization", mode),
        ("layout", facts["layouts"][mode]),
        ("views", ", ".join(["by-session", "by-conversation", "by-run", *sorted(facts["views"])])),
        ("policies", ", ".join(policies) or "none of its own"),
        ("default policy", facts["default_policy"] or "none: media are kept"),
        ("equal bytes", "shared" if facts["deduplicate"] else "stored for each media"),
        ("orphan grace", app.spell_duration(facts["orphan_grace"])),
        ("permissions", facts["permissions"]),
    )
    return [(f"  {name}", output.visible(value)) for name, value in rows]
