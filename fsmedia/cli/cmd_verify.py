"""`fsmedia verify`: check that a store is whole, and repair it; the exit code says which."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from collections import Counter
from enum import StrEnum
from typing import Annotated, Any

import typer

from fsmedia.cli import app, output
from fsmedia.models import Finding, VerifyReport

HELP = """Lists the store once and reads every sidecar; `--deep` also reads all bytes and compares their digests.
Without `--repair` nothing is written. Exits with 0 if the store is whole and with 4 if it is not; after a repair that
is said of what is left.

A repair asks first, does what the line says and nothing else. What is held stays, and so does what is younger than the
grace (the store's, 24 hours unless it was made with another): it may be on its way. What can't be judged, such as bytes
of another digest than their sidecar says, moves to .fsmedia/quarantine/ with a note beside it. Other programs' files
are told and stay; `fsmedia adopt` makes media of them. A partial due index, which a store that PromptKit began has, is
made complete: PromptKit must have stopped writing for good.

`--repair=leftovers` lists the store, reads no sidecar, and only removes what crashes left and no media needs, and puts
back markers that media lack.

`--measure` also reads the first and last bytes of pictures, sound and films whose sidecar tells no size or length, as
those of older versions; with `--repair` it gets what they say.

A `--grace` shorter than the store's needs `--nobody-writes`: say so only when every program that stores is stopped.

Examples:
  fsmedia verify
  fsmedia verify --deep --threads 4 --store s3://bucket/media
  fsmedia verify --repair --dry-run
  fsmedia verify --measure && fsmedia verify --measure --repair
  fsmedia verify --repair && echo whole again
  fsmedia verify --repair=leftovers --grace 2d
  fsmedia verify --json | jq .counts
"""


class Repair(StrEnum):
    """What is repaired."""

    all = "all"
    leftovers = "leftovers"


class VerifyCommand(app.Command):
    """The command; its `--repair` may stand without a value, for which typer's options have no way."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        return super().parse_args(ctx, [f"{each}={Repair.all}" if each == "--repair" else each for each in args])


COMMAND = VerifyCommand


def verify(
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Read all bytes and compare their digests.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Find sizes and lengths that sidecars lack; `--repair` adds them.")
    ] = False,
    repair: Annotated[
        Repair | None,
        typer.Option(
            metavar="[=leftovers]",
            help="Mend what is found, as its line says; with `=leftovers` only what crashes left.",
            show_default=False,
        ),
    ] = None,
    dry_run: app.DryRun = False,
    force: app.Force = False,
    grace: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Age from which something is mended, e.g. 2d.", show_default=False),
    ] = None,
    nobody_writes: Annotated[
        bool, typer.Option("--nobody-writes", help="Every writer is stopped: a short grace does no harm.")
    ] = False,
    yes: app.Yes = False,
    threads: app.Threads = None,
    everything: app.All = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Look over a store."""
    if repair is Repair.leftovers and (deep or measure):
        which = "--deep" if deep else "--measure"
        raise typer.BadParameter(f"looks at no media; leave {which} out", param_hint="--repair=leftovers")
    age = None if grace is None else app.parse_duration(grace, "--grace")
    writes = repair is not None and not dry_run
    printer = _FindingPrinter(as_json=as_json, everything=everything, planned=repair is not None)
    with location.open_existing(read_only=not writes) as opened, app.thread_pool(threads) as executor:
        if (repair or nobody_writes) and writes and not yes:
            question = f"Repair {opened.url}? It removes leftovers and sets aside what it can't judge."
            if repair is Repair.leftovers:
                question = f"Remove what crashes left in {opened.url}?"
            if nobody_writes:
                question = f"Is every program that writes to {opened.url} stopped?"
            app.confirm(question, "nothing was changed")
        with output.count_progress("verifying", None) as meter:
            report = opened.verify(
                deep=deep,
                measure=measure,
                repair="leftovers" if repair is Repair.leftovers else repair is not None,
                dry_run=dry_run,
                force=force,
                grace=age,
                nobody_writes=nobody_writes,
                executor=executor,
                progress=meter.reach,
                found=printer.print,
            )
    printer.print_report(report)
    raise typer.Exit(app.FAILED if report.failed else app.DONE if report.whole else app.NOT_WHOLE)


class _FindingPrinter:
    """Prints findings as they come, and the report at the end."""

    def __init__(self, *, as_json: bool, everything: bool, planned: bool) -> None:
        self._as_json, self._everything, self._planned = as_json, everything, planned
        self._counts: Counter[str] = Counter()
        self._after: dict[str, str] = {}  # the first of each kind that is not shown: one that is hidden alone is told

    def print(self, finding: Finding) -> None:
        """Print one finding."""
        self._counts[finding.kind] += 1
        if self._as_json:
            if self._everything:
                output.json_line(finding.model_dump(mode="json"))
        elif self._everything or self._counts[finding.kind] <= output.ROWS + 1:
            what = f"{finding.kind}{' (harmless)' if finding.harmless else ''}"
            text = f"{what}: {finding.key}: {finding.detail}{self._repair_text(finding)}"
            if self._everything or self._counts[finding.kind] <= output.ROWS:
                output.line(text)
            else:
                self._after[finding.kind] = text

    def _repair_text(self, finding: Finding) -> str:
        if not finding.repair:
            return ""
        if finding.done:
            return f"; done: {finding.repair}"
        if finding.harmless:
            return f"; {finding.repair}"
        return f"; {'to do' if self._planned else '--repair'}: {finding.repair}"

    def print_report(self, report: VerifyReport) -> None:
        """Print the report; a terminal, and whoever asked for all, has been given the findings."""
        for kind, count in report.counts.items():
            if not (self._as_json or self._everything) and count > output.ROWS:
                more = f"and {count - output.ROWS:,} more of {kind}; --all shows them"
                output.line(self._after[kind] if count == output.ROWS + 1 else more)
        told = report if self._as_json else report.model_copy(update={"findings": ()})
        rows = None if self._everything else output.ROWS
        printed = ("findings",) if self._everything else ()
        output.print_report(told, as_json=self._as_json, rows=rows, all_by="--all", without=printed, whole=report.whole)
        if report.counts.get("file") and not (self._planned or self._as_json):
            output.note("files without sidecar are other programs'; to make them media: fsmedia adopt")
