"""`fsmedia import`: import results of PromptArena, trees of files, logs of inspect_ai, and what `export` wrote."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fsmedia.cli import output
from fsmedia.cli.app import (
    FAILED,
    AsJson,
    StorageOptions,
    StoreLocation,
    StoreUrl,
    command_group,
    parse_storage_options,
)
from fsmedia.exchange import (
    adopt_folder,
    import_folder,
    import_imagefolder,
    import_inspect,
    import_promptarena,
    import_webdataset,
)
from fsmedia.exchange.folders import DEFAULT_PATTERN
from fsmedia.models import ImportReport
from fsmedia.models.text import size_text
from fsmedia.store import MediaStore

IMPORT_HELP = """Take in media that others left: PromptArena's results, any tree of files, logs of inspect_ai, exports.

Each media keeps where it came from (the attribute user.source). Importing again stores what is new and nothing twice,
so an import that was killed goes on where it was; run one at a time. `--dry-run` reads all and says what would happen.

Examples:
  fsmedia import promptarena out/ --store ./media
  fsmedia import folder pictures/ --pattern "{run_id}/{name}{ext}"
  fsmedia import inspect logs/*.eval --dry-run
"""

PROMPTARENA_HELP = """Import what PromptArena left: media inside its results, and those in its own store beside.

PATH is the folder of the results (usually out/), one of them, or any fsspec URL. Media go to the run whose message
shows them. Nothing outside the folder is read, and no URL is fetched.

Examples:
  fsmedia import promptarena out/ --store ./media --dry-run
  fsmedia import promptarena out/ --store s3://bucket/media --policy retain-30days
"""

FOLDER_HELP = """Import the files of a tree; the pattern says what their paths tell.

Fields of a pattern: {run_id}, {conversation_id}, {session_id}, {provider_id}, {message_idx}, {part_idx},
{timestamp:%Y-%m-%d}; it ends with {name}{ext}. What the path does not tell is given: --run, --conversation, --session.
The time of a media is its file's, and policies count from it. Links, hidden files and sidecars are skipped.

`--in-place` moves no bytes: the tree itself becomes the store, with the pattern as its layout and a sidecar beside each
file.

Examples:
  fsmedia import folder pictures/ --store ./media
  fsmedia import folder pictures/ --pattern "{name}{ext}" --run holiday --store ./media
  fsmedia import folder /data/old --in-place --pattern "by-date/{timestamp:%Y-%m-%d}/{run_id}/{name}{ext}"
"""

INSPECT_HELP = """Import the pictures, sound, video and documents in logs of inspect_ai (needs: pip install inspect-ai).

A log is a .eval or .json file, or a folder of them. The run is the evaluation's run, the conversation is
<task>/<sample>/<epoch>.

Examples:
  fsmedia import inspect logs/ --store ./media
  fsmedia import inspect logs/*.eval --policy retain-30days --json
"""

IMAGEFOLDER_HELP = """Import what `fsmedia export imagefolder` and `audiofolder` wrote, or any imagefolder with a table.

Ids, positions, times, captions and digests come from metadata.jsonl or metadata.parquet, in DIR or in its splits. What
a row does not tell is given: --run, --conversation, --session. Policies and attributes are in no export.

Examples:
  fsmedia import imagefolder dataset/ --store ./media
  fsmedia import imagefolder pictures/ --run holiday --store ./media --dry-run
"""

WEBDATASET_HELP = """Import what `fsmedia export webdataset` wrote, or any shards (*.tar) of WebDataset.

Ids, positions, times, captions and digests come from the JSON beside each media. What it does not tell is given: --run,
--conversation, --session. Policies and attributes are in no export.

Examples:
  fsmedia import webdataset shards/ --store ./media
  fsmedia import webdataset s3://bucket/shards --run r1 --source-option anon=true
"""

DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Store nothing, say what would be stored.")]
Policy = Annotated[
    str | None, typer.Option(metavar="NAME", show_default=False, help="Retention of what is stored: retain-30days, ...")
]
_Likewise = Annotated[str, typer.Option(metavar="ID", show_default=False, help="Likewise.")]
SourceOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--source-option",
        metavar="KEY=VALUE",
        show_default=False,
        help="As --option, for where it comes from.",
    ),
]


def promptarena(
    context: typer.Context,
    *,
    path: Annotated[str, typer.Argument(metavar="PATH", help="The folder of the results, or one of them.")],
    policy: Policy = None,
    source_option: SourceOptions = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Import results of PromptArena."""
    options = parse_storage_options(source_option)

    def import_into(opened: MediaStore, progress: Callable[[int], None]) -> ImportReport:
        return import_promptarena(
            opened, path, policy_name=policy, storage_options=options, dry_run=dry_run, progress=progress
        )

    _run(StoreLocation.of(context, store, option), import_into, as_json=as_json)


def folder(
    context: typer.Context,
    *,
    path: Annotated[str, typer.Argument(metavar="DIR", help="The top of the tree.")],
    pattern: Annotated[str, typer.Option(metavar="TEMPLATE", help="What the paths below it tell.")] = DEFAULT_PATTERN,
    in_place: Annotated[bool, typer.Option("--in-place", help="Make a store of the tree itself.")] = False,
    run: Annotated[str, typer.Option(metavar="ID", show_default=False, help="Where the path tells no run.")] = "",
    conversation: _Likewise = "",
    session: _Likewise = "",
    provider: _Likewise = "",
    policy: Policy = None,
    source_option: SourceOptions = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Import a tree of files."""
    location = StoreLocation.of(context, store, option)
    ids = {"run_id": run, "conversation_id": conversation, "session_id": session, "provider_id": provider}
    options = parse_storage_options(source_option)
    if in_place:
        if location.url is not None:
            raise typer.BadParameter("the tree itself becomes the store: leave --store away", param_hint="--in-place")
        with output.count_progress("adopting", None) as meter:
            report = adopt_folder(
                path,
                pattern=pattern,
                ids=ids,
                policy_name=policy,
                storage_options={**location.options, **options},
                dry_run=dry_run,
                progress=meter.reach,
            )
        _show(report, as_json=as_json)
        return

    def import_into(opened: MediaStore, progress: Callable[[int], None]) -> ImportReport:
        return import_folder(
            opened,
            path,
            pattern=pattern,
            ids=ids,
            policy_name=policy,
            storage_options=options,
            dry_run=dry_run,
            progress=progress,
        )

    _run(location, import_into, as_json=as_json)


def inspect(
    context: typer.Context,
    *,
    logs: Annotated[list[Path], typer.Argument(metavar="LOG", help="Log files, or folders of them.")],
    policy: Policy = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Import logs of inspect_ai."""

    def import_into(opened: MediaStore, progress: Callable[[int], None]) -> ImportReport:
        return import_inspect(opened, logs, policy_name=policy, dry_run=dry_run, progress=progress)

    _run(StoreLocation.of(context, store, option), import_into, as_json=as_json)


def _run(
    location: StoreLocation, run_import: Callable[[MediaStore, Callable[[int], None]], ImportReport], *, as_json: bool
) -> None:
    """Open the store, import under a progress bar, and print the report."""
    with location.open() as opened, output.count_progress("importing", None) as meter:
        report = run_import(opened, meter.reach)
    _show(report, as_json=as_json)


def _show(report: ImportReport, *, as_json: bool) -> None:
    """Print a report; what failed is an exit code too."""
    for failure in report.failed:
        text = output.error_text(failure.error)
        output.error(text if failure.source in text else f"{failure.source}: {text}")
    if as_json:
        facts = report.model_dump(mode="json")
        facts |= {"stored": [each._asdict() for each in report.stored], "took": report.took.total_seconds()}
        facts["skipped"] = [each._asdict() for each in report.skipped]
        output.json_line(facts)
    else:
        output.Screen().print(output.facts_table(_rows(report)))
        if report.examined == 0:
            output.note("nothing was found there that could be media")
    if report.failed:
        raise typer.Exit(FAILED)


def _rows(report: ImportReport) -> list[tuple[str, str]]:
    verb = "would store" if report.dry_run else "stored"
    rows = [
        ("examined", f"{report.examined:,}"),
        (verb, f"{len(report.stored):,} media of {output.exact_size_text(report.bytes)}"),
    ]
    if report.duplicates:
        size = size_text(report.duplicate_bytes)
        rows.append(("duplicates", f"{report.duplicates:,} of these, {size}, have bytes that are there already"))
    if report.unchanged:
        rows.append(("unchanged", f"{report.unchanged:,} were imported before"))
    reasons = Counter(each.reason for each in report.skipped)
    first = {each.reason: each.source for each in reversed(report.skipped)}
    for reason, count in reasons.most_common():
        rows.append(("skipped", f"{count:,}: {output.visible(reason)} (first: {output.visible(first[reason])})"))
    if report.failed:
        rows.append(("failed", f"{len(report.failed):,}, see above"))
    return rows


def _described_command(run_import: Callable[..., ImportReport], kind: str) -> Callable[..., None]:
    """Return the command of a format whose tables tell of each media."""

    def command(
        context: typer.Context,
        *,
        path: Annotated[str, typer.Argument(metavar="DIR", help=kind)],
        run: Annotated[str, typer.Option(metavar="ID", show_default=False, help="Where a row tells no run.")] = "",
        conversation: _Likewise = "",
        session: _Likewise = "",
        provider: _Likewise = "",
        policy: Policy = None,
        source_option: SourceOptions = None,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        store: StoreUrl = None,
        option: StorageOptions = None,
    ) -> None:
        """Import what an export wrote."""
        options = parse_storage_options(source_option)
        ids = {"run_id": run, "conversation_id": conversation, "session_id": session, "provider_id": provider}

        def import_into(opened: MediaStore, progress: Callable[[int], None]) -> ImportReport:
            return run_import(
                opened, path, ids=ids, policy_name=policy, storage_options=options, dry_run=dry_run, progress=progress
            )

        _run(StoreLocation.of(context, store, option), import_into, as_json=as_json)

    return command


group = command_group(
    IMPORT_HELP,
    (
        ("promptarena", promptarena, PROMPTARENA_HELP),
        ("folder", folder, FOLDER_HELP),
        ("inspect", inspect, INSPECT_HELP),
        ("imagefolder", _described_command(import_imagefolder, "The folder of the export."), IMAGEFOLDER_HELP),
        ("webdataset", _described_command(import_webdataset, "The folder of the shards."), WEBDATASET_HELP),
    ),
)
