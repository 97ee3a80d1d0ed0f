"""`fsmedia policy lifecycle`: the rules a bucket can keep by itself, for the storage's own tool to set."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from fsmedia.cli import output
from fsmedia.cli.cmd_ls import batches
from fsmedia.cli.endings import DONE, FAILED, USAGE, CommandError
from fsmedia.cli.place import AsJson, Place, StorageOptions, StoreUrl
from fsmedia.maintenance.bucket_rules import CONDITIONS, Backstop, Lifecycle, plan, spoils
from fsmedia.store import MediaStore, utc_now

if TYPE_CHECKING:
    from fsmedia.errors import MediaError

LIFECYCLE_HELP = """Print rules by which the bucket itself ends unfinished uploads and, as a backstop, expires media.

Nothing is applied. A bucket's rules know prefixes and days only: of the policies, the default one can become a rule, if
it counts whole days and nothing below the same prefix is known to stay longer. Everything that can't be a rule is told
on standard error with its reason. `--check` reads all sidecars, and prints no rule that expires media while it would
take one too early. What you set replaces all rules that the bucket has.

Examples:
  fsmedia policy lifecycle --store s3://bucket/media > rules.json
  aws s3api put-bucket-lifecycle-configuration --bucket bucket \\
    --lifecycle-configuration file://rules.json
  fsmedia policy lifecycle --store gs://bucket/media --check > rules.json
  gcloud storage buckets update gs://bucket --lifecycle-file=rules.json
"""

_ROWS = 50


class _Early(NamedTuple):
    """A media that a rule would take too early, and why."""

    reference: str
    reason: str


class Provider(StrEnum):
    """Whose rules."""

    s3 = "s3"
    gcs = "gcs"


_PROTOCOLS = {"s3": Provider.s3, "s3a": Provider.s3, "gs": Provider.gcs, "gcs": Provider.gcs}


def lifecycle(
    context: typer.Context,
    *,
    provider: Annotated[
        Provider | None, typer.Option("--for", help="Whose rules; else what the URL says.", show_default=False)
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Read all sidecars: would it take a media too early?")] = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Print rules."""
    place = Place.of(context, store, option)
    url = place.named()
    kind = provider or _PROTOCOLS.get(url.partition("://")[0])
    if kind is None or "://" not in url or url.startswith(("file:", "local:", "memory:")):
        raise CommandError(
            f"{output.visible(url.partition('?')[0])} is in no bucket whose rules are known here; for a store that "
            "speaks S3 or GCS under another name add --for s3 or --for gcs; elsewhere fsmedia enforce does it",
            code=USAGE,
        )
    settings = place.settings()
    if settings is None:
        raise CommandError("no store was made yet: fsmedia init, or the first write, does")
    found = plan(settings, url)
    early: list[_Early] = []
    if check and found.backstop is not None:
        with place.open(read_only=True) as opened:
            early = _check(opened, found, found.backstop)
        if early:
            found = Lifecycle(found.root, None, found.cannot)
    document = found.document(kind.value)
    if as_json:
        output.json_line(
            {
                "for": kind.value,
                "rules": document["Rules" if kind is Provider.s3 else "rule"],
                "cannot": [each._asdict() for each in found.cannot],
                "conditions": list(CONDITIONS) if found.backstop else [],
                "too_early": [each._asdict() for each in early],
            }
        )
    else:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        _tell(found)
    for each in early[:_ROWS]:
        output.error(f"{each.reference}: {each.reason}; a rule would take it too early")
    if len(early) > _ROWS:
        output.error(f"and {len(early) - _ROWS:,} more; --json names all")
    raise typer.Exit(FAILED if early else DONE)


def _tell(found: Lifecycle) -> None:
    """Say on standard error what stands in no rule, and what the rules can't do."""
    for each in found.cannot:
        output.note(f"no rule for {'media without a policy' if each.policy is None else each.policy}: {each.reason}")
    if found.backstop is not None:
        days, prefix = found.backstop.days, found.backstop.prefix
        output.warning(f"all below {prefix} goes {days} days after it was written, whether anybody sweeps or not")
        for condition in CONDITIONS:
            output.warning(condition)
        output.note("to see whether that is right today: --check")
    output.note("nothing was applied; setting these replaces all rules that the bucket has")


def _check(opened: MediaStore, found: Lifecycle, backstop: Backstop) -> list[_Early]:
    """Find what the rule would take too early; what can't be read counts as that."""
    now = utc_now()
    errors: list[MediaError] = []
    early = []
    for batch in batches(opened, opened.list(), errors):
        for record in batch:
            reason = spoils(record, found.root, backstop, now)
            if reason is not None:
                early.append(_Early(record.reference, reason))
    return early + [_Early(error.reference or error.key or "", "its sidecar can't tell") for error in errors]
