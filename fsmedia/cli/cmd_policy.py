"""`fsmedia policy`: policies of a store and of media, holds, the due index."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.text import Text

from fsmedia.cli import output
from fsmedia.cli.app import (
    AsJson,
    CommandError,
    DryRun,
    References,
    Store,
    StoreLocation,
    Yes,
    command_group,
    confirm,
    each_media,
    policy_seconds,
    spell_duration,
)
from fsmedia.errors import CorruptSidecarError, MediaError, UnknownPolicyError
from fsmedia.format.policy import FORMS, expires_at, find_policy
from fsmedia.format.settings import Configuration
from fsmedia.models import MediaRecord, RetentionPolicy
from fsmedia.models.text import distance_text
from fsmedia.store import MediaStore, utc_now

POLICY_HELP = """How long media stay: put them under policies, hold and release them, list what policies there are.

A policy lets a media go when its time since the media's timestamp is over; `fsmedia enforce` then deletes it. Names
such as retain-30days speak for themselves, others are given to a store by `fsmedia init --policy audit=365d`.

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
APPLY_HELP = """Put media under a policy, from their timestamp on; `--forever` takes the policy away.

The policy stands first, so that references can come from elsewhere. Prints for each media when it may go; what may go
already is deleted by the next sweep. It asks first where more than one is named and a person sits at the terminal;
`--yes` does not ask, `--dry-run` only tells.

Examples:
  fsmedia policy apply retain-30days runs/r1/0003_01_u01m8.png
  fsmedia policy apply --forever runs/r1/0003_01_u01m8.png
  fsmedia ls --run r1 --null | xargs -0 fsmedia policy apply audit
"""
HOLD_HELP = """Hold media: nothing may delete, replace or move them until they are released, whatever their policy says.

The last hold of a media counts. `fsmedia info` shows its reason.

Examples:
  fsmedia policy hold runs/r1/0003_01_u01m8.png --reason "case 4711"
  fsmedia ls --run r1 --null | xargs -0 fsmedia policy hold --reason "case 4711" --who legal
"""
RELEASE_HELP = """Release media that were held. What became due meanwhile goes with the next sweep.

Examples:
  fsmedia policy release runs/r1/0003_01_u01m8.png
"""


def list_policies(*, as_json: AsJson = False, location: Store) -> None:
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
    screen = output.Screen()
    screen.print(Text(f"policies of {output.visible(url)}"), soft_wrap=True)
    screen.print(output.facts_table(_rows(facts)))


def apply(
    *,
    arguments: Annotated[
        list[str], typer.Argument(metavar="[POLICY] REF...", help="The policy, then references, as ls shows them.")
    ],
    forever: Annotated[
        bool, typer.Option("--forever", "--none", help="Take the policy away; then no POLICY is given.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
    location: Store,
) -> None:
    """Put media under a policy."""
    name, references = (None, arguments) if forever else (arguments[0], arguments[1:])
    location.url_or_default()
    if not references:
        raise typer.BadParameter("none is given: give the policy first, then one or more references", param_hint="REF")
    policy = None if name is None else _policy_of(name, location)
    if len(references) > 1 and not (yes or dry_run):
        confirm(
            f"Put {len(references):,} media under {name}? The next sweep deletes what is due then."
            if name
            else f"Keep {len(references):,} media for ever?",
            "nothing was changed",
        )

    def act(opened: MediaStore, reference: str) -> tuple[str, dict[str, Any]]:
        if dry_run:
            record = opened.info(reference)
            due = None if policy is None or record.timestamp is None else expires_at(policy, record.timestamp)
            record = record.model_copy(update={"policy_name": name, "expires_at": due})
        else:
            opened.apply_policy(reference, name)
            record = opened.info(reference)
        facts = {"policy_name": record.policy_name, "expires_at": _iso(record)}
        return _until(record), facts

    _for_each_media(location, references, act, as_json=as_json)


def hold(
    *,
    references: References,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; shown to whoever is refused.")],
    who: Annotated[str | None, typer.Option(metavar="NAME", help="Who asks; else the user.")] = None,
    as_json: AsJson = False,
    location: Store,
) -> None:
    """Hold media."""

    def act(opened: MediaStore, reference: str) -> tuple[str, dict[str, Any]]:
        before = _hold_of(opened, reference)
        opened.hold(reference, reason, who=who)
        instead = "" if before is None else f", in place of: {before}"
        return f"held{instead}", {"held": True, "reason": reason, "before": before}

    _for_each_media(location, references, act, as_json=as_json)


def release(
    *,
    references: References,
    as_json: AsJson = False,
    location: Store,
) -> None:
    """Release media."""

    def act(opened: MediaStore, reference: str) -> tuple[str, dict[str, Any]]:
        try:
            before = _hold_of(opened, reference)
        except MediaError:
            opened.release(reference)  # a hold may be left of what others deleted
            raise
        opened.release(reference)
        return "was not held" if before is None else "released", {"held": False, "before": before}

    _for_each_media(location, references, act, as_json=as_json)


def _hold_of(opened: MediaStore, reference: str) -> str | None:
    """Return why a media is held; None if it is not, or nobody can tell."""
    try:
        return opened.info(reference).hold
    except CorruptSidecarError:
        return None  # such a media may be held and released like any other


def _for_each_media(
    location: StoreLocation,
    references: list[str],
    act: Callable[[MediaStore, str], tuple[str, dict[str, Any]]],
    *,
    as_json: bool,
) -> None:
    """Call a function for each media, print what it did, and go on past what fails."""

    def act_and_tell(reference: str) -> None:
        said, facts = act(opened, reference)
        if as_json:
            output.json_line({"reference": reference, **facts})
        else:
            output.line(f"{output.visible(said)}  {output.visible(reference)}")

    with location.open_existing() as opened:
        each_media(references, act_and_tell)


def _facts(settings: Configuration) -> dict[str, Any]:
    return {
        "policies": policy_seconds(settings),
        "default_policy": settings.default_policy,
        "due_index": settings.due_index,
    }


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [(name, spell_duration(seconds)) for name, seconds in facts["policies"].items()]
    partial = "partial: sweeps read all sidecars; to make it complete: fsmedia verify --repair"
    rows += [
        ("by their name", FORMS),
        ("default policy", facts["default_policy"] or "none: media that name no policy are kept for ever"),
        ("due index", "complete" if facts["due_index"] == "complete" else partial),
    ]
    return [("  " + output.visible(name), output.visible(value)) for name, value in rows]


def _policy_of(name: str, location: StoreLocation) -> RetentionPolicy:
    """Return the policy of a name; refuse one that means nothing, once for all references."""
    settings = location.read_settings()
    if settings is None:
        location.open_existing(read_only=True).close()
    try:
        return find_policy(name, {} if settings is None else settings.policies)
    except UnknownPolicyError as error:
        first = "" if "/" not in name else "; the policy stands before the references"
        raise CommandError(f"{output.error_text(error)}{first}") from None


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


group = command_group(
    POLICY_HELP,
    (
        ("list", list_policies, LIST_HELP),
        ("apply", apply, APPLY_HELP),
        ("hold", hold, HOLD_HELP),
        ("release", release, RELEASE_HELP),
    ),
)
