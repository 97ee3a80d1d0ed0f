"""`fsmedia adopt`: make media of files that other programs put into a root, where they are."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from typing import Annotated, Any

import typer

from fsmedia.cli import app, output
from fsmedia.format.layout import mode_of
from fsmedia.models.text import size_text

HELP = """Each file without a sidecar gets one beside it: ids from its path, type, size and digest from its bytes, which
are read once, and its own time. Hidden files are skipped; nothing is moved, renamed or changed. Adopting again goes on.

Where no store was made, `--pattern` says how its paths read, and becomes the layout of the store for good; {name}{ext}
stands at its end. `--run` and its like are ids of files whose path tells none of that kind. A policy counts from the
files' times: where some are already due, so that the next sweep would delete them, it wants `--allow-due`.

Examples:
  fsmedia adopt --store ./media --dry-run
  fsmedia adopt --store /data/old --pattern "{run_id}/{name}{ext}"
  fsmedia adopt --store s3://bucket/old --pattern "by-date/{timestamp:%Y-%m-%d}/{run_id}/{name}{ext}" --threads 8
"""


def adopt(
    *,
    pattern: Annotated[
        str | None, typer.Option(metavar="TEMPLATE", help="The layout of a root that is no store yet.")
    ] = None,
    ids: app.Ids,
    policy: app.PolicyName = None,
    allow_due: Annotated[
        bool, typer.Option("--allow-due", help="Adopt files that the next sweep deletes by the policy.")
    ] = False,
    dry_run: app.DryRun = False,
    threads: app.Threads = None,
    yes: app.Yes = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Adopt files."""
    settings: dict[str, Any] = {}
    if pattern is not None:
        mode = mode_of(pattern)
        settings = {"organization": mode, "layouts": {mode: pattern}}
    words = {"policy_name": policy, "allow_due": allow_due, **{name: value for name, value in ids.items() if value}}
    with location.open(**settings) as opened, app.thread_pool(threads) as executor:
        if not (yes or dry_run) and app.can_ask():
            with output.count_progress("looking", None) as meter:
                plan = opened.adopt(dry_run=True, executor=executor, progress=meter.reach, **words)
            what = f"{len(plan.stored):,} files ({size_text(plan.bytes)})"
            if plan.already_due:
                what += f", {plan.already_due:,} of them already due,"
            if allow_due or not plan.already_due:  # else it is refused below
                app.confirm(f"Adopt {what} in {opened.url}?", "nothing was changed")
        with output.count_progress("adopting", None) as meter:
            report = opened.adopt(dry_run=dry_run, executor=executor, progress=meter.reach, **words)
    output.print_report(report, as_json=as_json)
    if report.failed:
        raise typer.Exit(app.FAILED)
