"""`fsmedia enforce`: delete media whose policy let them go, once or again and again."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated

import typer

from fsmedia.cli import output
from fsmedia.cli.app import (
    DONE,
    FAILED,
    All,
    AsJson,
    DryRun,
    Store,
    Threads,
    Yes,
    can_ask,
    confirm,
    parse_duration,
    parse_instant,
    thread_pool,
)
from fsmedia.cli.signals import StopSignal
from fsmedia.errors import MediaError
from fsmedia.maintenance.expiry import FARTHEST_AHEAD
from fsmedia.models import EnforcementReport
from fsmedia.models.text import size_text
from fsmedia.store import utc_now

HELP = """Delete every media whose policy let it go, and tell what went, what stayed, what failed, and why.

The cost follows what is due, not what is stored. `--dry-run` makes the same plan and changes nothing. `--every` sweeps
at once and then again and again, until Ctrl-C or SIGTERM: it ends after the media it has in hand, a second signal ends
it there. One sweep that is stopped so exits with 130 or 143; `--every` exits with how its last sweep went. With
`--json` one document for each sweep, with all media in it.

One sweep says how many would go and asks first where a person sits at the terminal; `--yes` does not ask. A `--now`
that lies ahead needs `--dry-run`.

Examples:
  fsmedia enforce --store ./media --dry-run
  fsmedia enforce --dry-run --now 7d
  fsmedia enforce --store s3://bucket/media --every 5m
  fsmedia enforce --json | jq -r '.deleted[].reference'
"""


_Sweep = Callable[..., EnforcementReport]
_Show = Callable[..., None]


def enforce(
    *,
    dry_run: DryRun = False,
    every: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Sweep again and again, with such a pause: 30s, 5m, 1h, 1d.")
    ] = None,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="What time it is: 2026-01-01T00:00:00Z, 7d (from now).")
    ] = None,
    delete_shared: Annotated[
        bool, typer.Option("--delete-shared", help="Also what PromptKit's index names, which other runs may share.")
    ] = False,
    threads: Threads = None,
    yes: Yes = False,
    everything: All = False,
    as_json: AsJson = False,
    location: Store,
) -> None:
    """Sweep."""
    pause = None if every is None else parse_duration(every, "--every")
    if pause is not None and not pause:
        raise typer.BadParameter("must be longer than nothing, e.g. 1m", param_hint="--every")
    instant = _instant(now, repeated=pause is not None, dry_run=dry_run)
    show = partial(output.print_report, as_json=as_json, rows=None if everything else output.ROWS, all_by="--all")
    # Before the signals are caught: Ctrl-C at the question is an answer.
    if pause is None and not (yes or dry_run) and can_ask():
        with location.open_for_work("looking", threads, read_only=True) as (opened, work):
            plan = opened.enforce_policy(now=instant, dry_run=True, delete_shared=delete_shared, **work)
        if plan.deleted:
            freed = size_text(plan.bytes_freed)
            confirm(f"Delete {len(plan.deleted):,} media ({freed}) of {opened.url} that are due?")
    # Before the store is opened: whoever stops a program that just began wants the same end.
    with (
        StopSignal() as stop,
        location.open_existing(read_only=dry_run) as opened,
        thread_pool(threads) as executor,
    ):
        sweep = partial(
            opened.enforce_policy,
            now=instant,
            dry_run=dry_run,
            executor=executor,
            delete_shared=delete_shared,
            stopped=stop.asked,
        )
        if pause is None:
            code = _sweep(sweep, show)
            raise typer.Exit(stop.code or code)
        raise typer.Exit(_repeat(sweep, show, stop, pause, as_json=as_json))


def _instant(text: str | None, *, repeated: bool, dry_run: bool) -> datetime | None:
    """Read `--now`, and refuse what would delete too early."""
    clock = utc_now()
    instant = parse_instant(text, "--now", now=clock, ahead=True)
    if instant is None:
        return None
    if repeated:
        raise typer.BadParameter("stands still, and --every goes on: give one of them", param_hint="--now")
    if instant - clock > FARTHEST_AHEAD and not dry_run:
        raise typer.BadParameter(
            f"{instant:%Y-%m-%d %H:%M}Z lies ahead, and what is to be kept until then would be deleted; add --dry-run",
            param_hint="--now",
        )
    return instant


def _repeat(sweep: _Sweep, show: _Show, stop: StopSignal, pause: timedelta, *, as_json: bool) -> int:
    """Sweep until a signal comes; a sweep that fails is printed, and the next one comes at its time."""
    code, hinted = DONE, False
    while not stop.asked():
        try:
            code = _sweep(sweep, show, hint=not hinted)
            hinted = True
        except MediaError as error:
            code = FAILED
            output.error(output.error_text(error))
            if as_json:
                output.json_line({"now": utc_now().isoformat(), "error": output.error_text(error)})
        sys.stdout.flush()  # who reads along sees each sweep when it is done
        if stop.wait(pause.total_seconds()):
            break
    output.note("stopped")
    return code


def _sweep(sweep: _Sweep, show: _Show, *, hint: bool = True) -> int:
    """Sweep once, print the report, and return the exit code."""
    with output.without_reported_failures(), output.count_progress("sweeping", None) as meter:
        report = sweep(progress=meter.reach)
    show(report, notes=hint, bytes_freed=report.bytes_freed)
    return FAILED if report.failed else DONE
