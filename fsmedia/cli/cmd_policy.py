"""`fsmedia policy`: policies of a store and of media, holds, and sweeps that delete what is due."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.

import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

import typer
from rich.text import Text

from fsmedia.cli import app, output
from fsmedia.cli.signals import StopSignal
from fsmedia.errors import CorruptSidecarError, MediaError, UnknownPolicyError
from fsmedia.format.policy import FORMS, expires_at, find_policy
from fsmedia.format.settings import Configuration
from fsmedia.maintenance.expiry import FARTHEST_AHEAD
from fsmedia.models import EnforcementReport, MediaRecord, RetentionPolicy
from fsmedia.models.text import distance_text, size_text
from fsmedia.store import MediaStore, utc_now

HELP = """A policy lets a media go when its time since the media's timestamp is over; `fsmedia policy enforce` then
deletes it. Names such as retain-30days speak for themselves, others are given to a store by `fsmedia init --policy
audit=365d` or `fsmedia config set policies.audit=365d`.

Examples:
  fsmedia policy list --store ./media
  fsmedia policy apply retain-30days runs/r1/0003_01_u01m8.png
  fsmedia policy hold runs/r1/0003_01_u01m8.png --reason "case 4711"
"""
LIST_HELP = f"""Show the policies a store knows by name, its default policy, and whether its due index is complete.

In every store these names mean what they say: {FORMS}.

Examples:
  fsmedia policy list --store ./media
  fsmedia policy list --json | jq .policies
"""
ENFORCE_HELP = """Delete every media whose policy let it go, and tell what went, what stayed, what failed, and why.

The cost follows what is due, not what is stored. `--dry-run` makes the same plan and changes nothing. `--every` sweeps
at once and then again and again, until Ctrl-C or SIGTERM: it ends after the media it has in hand, a second signal ends
it there. One sweep that is stopped so exits with 130 or 143; `--every` exits with how its last sweep went. With
`--json` one document for each sweep, with all media in it.

One sweep says how many would go and asks first. A `--now` that lies ahead needs `--dry-run`.

Examples:
  fsmedia policy enforce --store ./media --dry-run
  fsmedia policy enforce --dry-run --now 7d
  fsmedia policy enforce --store s3://bucket/media --every 5m
  fsmedia policy enforce --json | jq -r '.deleted[].reference'
"""
APPLY_HELP = """Put media under a policy, from their timestamp on; `--forever` takes the policy away.

The policy stands first, then references, or the conditions of `fsmedia ls`. Prints for each media when it may go, and
how many may go already: the next sweep deletes them. It asks first where more than one is meant. A policy that was
redefined (`fsmedia config set`) counts for media that are under it when it is applied to them again.

Examples:
  fsmedia policy apply retain-30days runs/r1/0003_01_u01m8.png
  fsmedia policy apply audit --run r1 --mime 'image/*' --dry-run
  fsmedia policy apply audit --policy audit
  fsmedia policy apply --forever runs/r1/0003_01_u01m8.png
"""
HOLD_HELP = """Hold media: nothing may delete, replace or move them until they are released, whatever their policy says.

Which: references, or the conditions of `fsmedia ls`. The last hold of a media counts. `fsmedia info` shows its reason.

Examples:
  fsmedia policy hold runs/r1/0003_01_u01m8.png --reason "case 4711"
  fsmedia policy hold --run r1 --reason "case 4711" --who legal
"""
RELEASE_HELP = """Release media that were held. What became due meanwhile goes with the next sweep.

Which: references, or the conditions of `fsmedia ls`, which mean those of them that are held.

Examples:
  fsmedia policy release runs/r1/0003_01_u01m8.png
  fsmedia policy release --run r1 --dry-run
"""


_Sweep = Callable[..., EnforcementReport]
_Show = Callable[..., None]


def list_policies(*, as_json: app.AsJson = False, location: app.Store) -> None:
    """Show the policies."""
    with location.open_existing(read_only=True) as opened:
        url = opened.url
        settings = location.read_settings()
    facts = _facts(settings or Configuration(due_index="partial"))
    if as_json:
        output.json_line({"url": url, "made": settings is not None, **facts, "grammar": FORMS})
        return
    if settings is None:
        output.note(f"the store at {url} has no settings: another program wrote it")
    output.Screen().print(Text(f"policies of {output.visible(url)}"), soft_wrap=True)
    output.print_facts(_rows(facts))


def apply(
    *,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="POLICY REF", help="The policy, then references; or give conditions."),
    ] = None,
    selection: app.Selection,
    held: app.Held = None,
    forever: Annotated[
        bool, typer.Option("--forever", "--none", help="Take the policy away; then no POLICY is given.")
    ] = False,
    dry_run: app.DryRun = False,
    yes: app.Yes = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Put media under a policy."""
    words = arguments or []
    if not words and not forever:
        raise typer.BadParameter("none is given: it stands first, then references or conditions", param_hint="POLICY")
    name, references = (None, words) if forever else (words[0], words[1:])
    choice = app.MediaChoice.of(references=references, selection=selection, held=held)
    location.url_or_default()
    policy = None if name is None else _policy_of(name, location)
    question = f"under {name}? The next sweep deletes what is due then." if name else "under no policy, to be kept?"

    became_due: list[bool] = []

    def act(opened: MediaStore, reference: str) -> tuple[str, dict[str, Any]]:
        if dry_run:
            record = opened.info(reference)
            due = None if policy is None or record.timestamp is None else expires_at(policy, record.timestamp)
            record = record.model_copy(update={"policy_name": name, "expires_at": due})
        else:
            opened.apply_policy(reference, name)
            record = opened.info(reference)
        became_due.append(record.expires_at is not None and record.expires_at <= utc_now())
        facts = {"policy_name": record.policy_name, "expires_at": _iso(record)}
        return f"{'would be ' if dry_run else ''}{_until(record)}", facts

    question = "" if yes else f"Put {{}} media {question}"
    try:
        _for_each_media(location, choice, act, as_json=as_json, dry_run=dry_run, question=question)
    finally:
        if dry_run or any(became_due):
            would = "would be" if dry_run else "are"
            output.note(f"{sum(became_due):,} of {len(became_due):,} media {would} due already: the next sweep's")


def hold(
    *,
    choice: app.Choice,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; shown to whoever is refused.")],
    who: Annotated[str | None, typer.Option(metavar="NAME", help="Who asks; else the user.")] = None,
    dry_run: app.DryRun = False,
    yes: app.Yes = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Hold media."""

    def act(opened: MediaStore, reference: str) -> tuple[str, dict[str, Any]]:
        before = _hold_of(opened, reference)
        if not dry_run:
            opened.hold(reference, reason, who=who)
        instead = "" if before is None else f", in place of: {before}"
        said = "would hold" if dry_run else "held"
        return f"{said}{instead}", {"held": not dry_run or before is not None, "reason": reason, "before": before}

    question = "" if yes else "Hold {} media? Nothing deletes them until they are released."
    _for_each_media(location, choice, act, as_json=as_json, dry_run=dry_run, question=question)


def release(
    *,
    choice: app.Choice,
    dry_run: app.DryRun = False,
    yes: app.Yes = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Release media."""

    def act(opened: MediaStore, reference: str) -> tuple[str, dict[str, Any]]:
        try:
            before = _hold_of(opened, reference)
        except MediaError:
            if not dry_run:
                opened.release(reference)  # a hold may be left of what others deleted
            raise
        if not dry_run:
            opened.release(reference)
        said = "was not held" if before is None else "would release" if dry_run else "released"
        return said, {"held": dry_run and before is not None, "before": before}

    question = "" if yes else "Release {} media? What is due of them goes with the next sweep."
    _for_each_media(location, choice, act, as_json=as_json, dry_run=dry_run, question=question, held=True)


def _hold_of(opened: MediaStore, reference: str) -> str | None:
    """Return why a media is held; None if it is not, or nobody can tell."""
    try:
        return opened.info(reference).hold
    except CorruptSidecarError:
        return None  # such a media may be held and released like any other


def _for_each_media(
    location: app.StoreLocation,
    choice: app.MediaChoice,
    act: Callable[[MediaStore, str], tuple[str, dict[str, Any]]],
    *,
    as_json: bool,
    dry_run: bool,
    question: str,
    held: bool | None = None,
) -> None:
    """Call a function for each media, print what it did, and go on past what fails; ask first where many are meant."""

    def act_and_tell(reference: str) -> None:
        said, facts = act(opened, reference)
        if as_json:
            output.json_line({"reference": reference, **facts})
        else:
            output.line(f"{output.visible(said)}  {output.visible(reference)}")

    with location.open_existing(read_only=dry_run) as opened:
        references = choice.find(opened, held=held, own=not held)
        if len(references) > 1 and question and not dry_run:
            app.confirm(question.format(f"{len(references):,}"), "nothing was changed")
        app.each_media(references, act_and_tell)


def _facts(settings: Configuration) -> dict[str, Any]:
    policies = app.policy_seconds(settings)
    return {"policies": policies, "default_policy": settings.default_policy, "due_index": settings.due_index}


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [(name, app.spell_duration(seconds)) for name, seconds in facts["policies"].items()]
    partial = "partial: sweeps read all sidecars; to make it complete: fsmedia verify --repair"
    rows += [
        ("by their name", FORMS),
        ("default policy", facts["default_policy"] or "none: media that name no policy are kept for ever"),
        ("due index", "complete" if facts["due_index"] == "complete" else partial),
    ]
    return [("  " + output.visible(name), output.visible(value)) for name, value in rows]


def _policy_of(name: str, location: app.StoreLocation) -> RetentionPolicy:
    """Return the policy of a name; refuse one that means nothing, once for all references."""
    settings = location.read_settings()
    if settings is None:
        location.open_existing(read_only=True).close()
    try:
        return find_policy(name, {} if settings is None else settings.policies)
    except UnknownPolicyError as error:
        first = "" if "/" not in name else "; the policy stands before the references"
        raise app.CommandError(f"{output.error_text(error)}{first}") from None


def _until(record: MediaRecord) -> str:
    """Say until when a media stays."""
    if record.expires_at is None:
        return f"{record.policy_name}, kept for ever" if record.policy_name else "no policy, kept for ever"
    now = utc_now()
    due = record.expires_at <= now
    when = f"{output.time_text(record.expires_at)} ({distance_text(record.expires_at, now)})"
    return f"{record.policy_name}, {'due since' if due else 'until'} {when}"


def _iso(record: MediaRecord) -> str | None:
    return None if record.expires_at is None else record.model_dump(mode="json")["expires_at"]


def enforce(
    *,
    dry_run: app.DryRun = False,
    every: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Sweep again and again, with such a pause: 30s, 5m, 1h, 1d.")
    ] = None,
    now: Annotated[
        str | None, typer.Option(metavar="TIME", help="What time it is: 2026-01-01T00:00:00Z, 7d (from now).")
    ] = None,
    delete_shared: Annotated[
        bool, typer.Option("--delete-shared", help="Also what PromptKit's index names, which other runs may share.")
    ] = False,
    threads: app.Threads = None,
    yes: app.Yes = False,
    everything: app.All = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Sweep."""
    pause = None if every is None else app.parse_duration(every, "--every")
    if pause is not None and not pause:
        raise typer.BadParameter("must be longer than nothing, e.g. 1m", param_hint="--every")
    instant = _instant(now, repeated=pause is not None, dry_run=dry_run)
    show = partial(output.print_report, as_json=as_json, rows=None if everything else output.ROWS, all_by="--all")
    # Before the signals are caught: Ctrl-C at the question is an answer.
    if pause is None and not (yes or dry_run) and app.can_ask():
        with location.open_for_work("looking", threads, read_only=True) as (opened, work):
            plan = opened.enforce_policy(now=instant, dry_run=True, delete_shared=delete_shared, **work)
        if plan.deleted:
            freed = size_text(plan.bytes_freed)
            app.confirm(f"Delete {len(plan.deleted):,} media ({freed}) of {opened.url} that are due?")
    # Before the store is opened: whoever stops a program that just began wants the same end.
    with (
        StopSignal() as stop,
        location.open_existing(read_only=dry_run) as opened,
        app.thread_pool(threads) as executor,
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
    instant = app.parse_instant(text, "--now", now=clock, ahead=True)
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
    code, hinted = app.DONE, False
    while not stop.asked():
        try:
            code = _sweep(sweep, show, hint=not hinted)
            hinted = True
        except MediaError as error:
            code = app.FAILED
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
    return app.FAILED if report.failed else app.DONE


group = app.command_group(
    (
        ("list", list_policies, LIST_HELP),
        ("apply", apply, APPLY_HELP),
        ("hold", hold, HOLD_HELP),
        ("release", release, RELEASE_HELP),
        ("enforce", enforce, ENFORCE_HELP),
    )
)
