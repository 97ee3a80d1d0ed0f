"""`fsmedia sync`: bring the media of one store to another root, in any storage."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fsmedia.cli import app, output
from fsmedia.cli.signals import StopSignal
from fsmedia.models import SyncReport, public_url
from fsmedia.store import MediaStore

HELP = """What DST has already stays as it is, what differs in metadata only is updated. It may be interrupted: doing it
again goes on. All bytes are compared with their digest before a media exists in DST. DST gets the settings of SRC,
unless it holds a store with settings of its own.

References stay valid where the layout stays and the media do not share their bytes; else `--mapping FILE` gets old and
new ones as JSON lines. `--delete` deletes media of DST that SRC has not; held ones, and files of other programs, stay.
It stops where SRC lists too few, see `--force`, and asks first.

Examples:
  fsmedia sync ./media s3://bucket/media --dry-run
  fsmedia sync ./media s3://bucket/media --to-option endpoint_url=http://localhost:9000
  fsmedia sync s3://bucket/media ./copy --run r1 --run r2
  fsmedia sync ./media ./shared --deduplicate --mapping moved.jsonl
  fsmedia sync ./media ./sessions --organization by-session --missing-id unknown
  fsmedia sync @lab /mnt/mirror --delete
"""


def sync(
    *,
    source: Annotated[str, typer.Argument(metavar="SRC", help="The store that media come from, see --store.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="The root that they are brought to.")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete media of DST that SRC has not.")] = False,
    force: app.Force = False,
    yes: app.Yes = False,
    dry_run: app.DryRun = False,
    run: Annotated[list[str] | None, typer.Option("--run", metavar="ID", help="Of this run; repeatable.")] = None,
    selection: Annotated[dict[str, Any], app.OptionGroup(app.conditions, without=("run",))],
    organization: Annotated[
        str | None, typer.Option(metavar="MODE", help="Of a new DST: by-run, by-conversation, by-session.")
    ] = None,
    layout: Annotated[
        list[str] | None, typer.Option(metavar="MODE=TEMPLATE", help="Of a new DST: folders of a mode; repeatable.")
    ] = None,
    deduplicate: Annotated[
        bool | None, typer.Option("--deduplicate/--plain", help="Of a new DST: whether media share equal bytes.")
    ] = None,
    missing_id: Annotated[
        str | None, typer.Option(metavar="ID", help="For media without the id that DST is organized by; else left out.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add old and new references to this file.")
    ] = None,
    verify_copies: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="size: of what the storage copied by itself; read: all bytes at DST, and rotten ones come again.",
        ),
    ] = "size",
    threads: app.Threads = None,
    everything: app.All = False,
    as_json: app.AsJson = False,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="A storage option of SRC; repeatable.")
    ] = None,
    to_option: Annotated[
        list[str] | None, typer.Option("--to-option", metavar="KEY=VALUE", help="One of DST; repeatable.")
    ] = None,
) -> None:
    """Bring media elsewhere."""
    if dry_run and mapping is not None:
        problem = "has nothing to hold in a dry run: new references come with the work"
        raise typer.BadParameter(problem, param_hint="--mapping")
    settings: dict[str, Any] = {
        "storage_options": app.parse_storage_options(to_option),
        **selection,
        "delete": delete,
        "force": force,
        "dry_run": dry_run,
        "organization": organization,
        "layouts": app.parse_pairs(layout, "--layout", "MODE=TEMPLATE, e.g. 'by-run=runs/{run_id}'") or None,
        "deduplicate": deduplicate,
        "missing_id": missing_id,
        "mapping": mapping,
        "verify_copies": verify_copies,
    }
    location = app.StoreLocation(source, app.parse_storage_options(option))
    # Before the signals are caught: Ctrl-C at the question is an answer.
    if delete and not (yes or dry_run) and app.can_ask():
        _ask(location, target, run or [None], {**settings, "dry_run": True, "mapping": None})
    with StopSignal() as stop, location.open(read_only=True) as opened, app.thread_pool(threads) as executor:
        report = _sync_runs(opened, target, run or [None], stop, {**settings, "executor": executor})
    output.print_report(report, as_json=as_json, rows=None if everything else output.ROWS, all_by="--all")
    raise typer.Exit(stop.code or (app.FAILED if report.failed else app.DONE))


def _ask(location: app.StoreLocation, target: str, runs: Sequence[str | None], settings: dict[str, Any]) -> None:
    """Ask whether as many media shall be deleted as a dry run tells."""
    with StopSignal() as stop, location.open(read_only=True) as opened:
        plan, source = _sync_runs(opened, target, runs, stop, settings), opened.url
    if stop.asked():
        raise typer.Exit(stop.code)
    if plan.deleted:
        what = f"{len(plan.deleted):,} media of {public_url(target) if '://' in target else target}"
        app.confirm(f"Delete {what} that {source} has not?", "nothing was done")


def _sync_runs(
    opened: MediaStore, target: str, runs: Sequence[str | None], stop: StopSignal, settings: dict[str, Any]
) -> SyncReport:
    """Sync one run after the other, and add the reports up."""
    total = SyncReport()
    with output.transfer_progress("syncing") as meter:
        for run in dict.fromkeys(runs):
            before = total

            def reach(media: int, size: int, before: SyncReport = before) -> None:
                meter.reach(before.examined + media, before.bytes_copied + size)

            report = opened.sync_to(target, run_id=run, stopped=stop.asked, progress=reach, **settings)
            total = _add(before, report)
            if report.stopped:
                break
    return total


def _add(one: SyncReport, other: SyncReport) -> SyncReport:
    counts = ("examined", "copied", "bytes_copied", "unchanged", "updated", "took")
    lists = ("deleted", "skipped", "failed", "moved", "mappings")
    added = {name: getattr(one, name) + getattr(other, name) for name in (*counts, *lists)}
    added["nested_stores"] = tuple(dict.fromkeys((*one.nested_stores, *other.nested_stores)))
    return other.model_copy(update=added)
