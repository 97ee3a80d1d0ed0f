"""`fsmedia export`: write media as Hugging Face's folders and WebDataset's shards."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import typer

from fsmedia.cli import output
from fsmedia.cli.app import (
    FAILED,
    AsJson,
    Conversation,
    Mime,
    Provider,
    Run,
    Session,
    Since,
    StorageOptions,
    StoreLocation,
    StoreUrl,
    Until,
    command_group,
    conditions,
    parse_size,
    parse_storage_options,
)
from fsmedia.exchange import export_audiofolder, export_imagefolder, export_webdataset
from fsmedia.exchange.webdataset import SHARD_BYTES, SHARD_COUNT
from fsmedia.models import ExportReport
from fsmedia.store import MediaStore

EXPORT_HELP = """Hand out media as other programs read them: imagefolder and audiofolder of Hugging Face, WebDataset.

Which media: the words of `fsmedia ls`. Files appear whole or not at all, and nothing that is there is replaced without
`--overwrite`; exporting again writes what is missing, also after a kill.

Examples:
  fsmedia export imagefolder dataset/ --run r1 --store ./media
  fsmedia export audiofolder dataset/ --parquet
  fsmedia export webdataset shards/ --shard-size 100MB --mime 'image/*'
"""

IMAGEFOLDER_HELP = """Export pictures for datasets.load_dataset("imagefolder", data_dir=DIR).

DIR/<split>/ gets the files and metadata.jsonl (or metadata.parquet): file_name, reference, ids, positions, type, size,
digest, timestamp, the caption as `text`, width and height.

Examples:
  fsmedia export imagefolder dataset/ --store ./media
  fsmedia export imagefolder dataset/ --split test --since 2d --parquet
"""

AUDIOFOLDER_HELP = """Export sound for datasets.load_dataset("audiofolder", data_dir=DIR).

The same as imagefolder, with durations in seconds. `datasets` itself needs torchcodec to load sound.

Examples:
  fsmedia export audiofolder dataset/ --store ./media
  fsmedia export audiofolder dataset/ --provider openai --dry-run
"""

WEBDATASET_HELP = """Export shards for webdataset.WebDataset("DIR/media-{000000..000012}.tar").

For each media <key>.<ext> and <key>.json, which holds what imagefolder puts into its table. The same media make the
same shards, byte for byte.

Examples:
  fsmedia export webdataset shards/ --store ./media
  fsmedia export webdataset s3://bucket/shards --prefix train --shard-size 1GB --target-option anon=false
"""

Target = Annotated[str, typer.Argument(metavar="DIR", help="A folder, or any fsspec URL; no store.")]
TargetOptions = Annotated[
    list[str] | None,
    typer.Option("--target-option", metavar="KEY=VALUE", show_default=False, help="As --option, for where it goes."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Write nothing, say what would be written.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what lies there under these names.")]
Split = Annotated[str, typer.Option(metavar="NAME", help="train, validation or test.")]
Parquet = Annotated[bool, typer.Option("--parquet", help="A Parquet table instead of JSON lines (needs pyarrow).")]
Limit = Annotated[int | None, typer.Option(min=0, metavar="N", help="At most so many.")]


def _folder_command(export: Callable[..., ExportReport]) -> Callable[..., None]:
    """Return the command of a folder format that `datasets` loads."""

    def command(
        context: typer.Context,
        *,
        target: Target,
        split: Split = "train",
        parquet: Parquet = False,
        run: Run = None,
        conversation: Conversation = None,
        session: Session = None,
        provider: Provider = None,
        mime: Mime = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = None,
        overwrite: Overwrite = False,
        dry_run: DryRun = False,
        as_json: AsJson = False,
        target_option: TargetOptions = None,
        store: StoreUrl = None,
        option: StorageOptions = None,
    ) -> None:
        """Export a folder."""
        selection = conditions(
            run=run, conversation=conversation, session=session, provider=provider, mime=mime, since=since, until=until
        )
        settings: dict[str, Any] = {
            "split": split,
            "table": "parquet" if parquet else "jsonl",
            "overwrite": overwrite,
            "dry_run": dry_run,
        }
        options = parse_storage_options(target_option)
        _run(
            StoreLocation.of(context, store, option),
            lambda opened, progress: export(
                opened, target, storage_options=options, limit=limit, progress=progress, **settings, **selection
            ),
            as_json=as_json,
        )

    return command


def webdataset(
    context: typer.Context,
    *,
    target: Target,
    prefix: Annotated[str, typer.Option(metavar="NAME", help="How the shards are called.")] = "media",
    shard_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", show_default=False, help="Of a shard: 500MB, 1GiB; else 256 MiB."),
    ] = None,
    shard_count: Annotated[int, typer.Option(min=1, metavar="N", help="Media of a shard at most.")] = SHARD_COUNT,
    run: Run = None,
    conversation: Conversation = None,
    session: Session = None,
    provider: Provider = None,
    mime: Mime = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    target_option: TargetOptions = None,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Export shards."""
    selection = conditions(
        run=run, conversation=conversation, session=session, provider=provider, mime=mime, since=since, until=until
    )
    settings: dict[str, Any] = {
        "prefix": prefix,
        "shard_count": shard_count,
        "overwrite": overwrite,
        "dry_run": dry_run,
    }
    settings["shard_bytes"] = SHARD_BYTES if shard_size is None else parse_size(shard_size, "--shard-size")
    options = parse_storage_options(target_option)
    _run(
        StoreLocation.of(context, store, option),
        lambda opened, progress: export_webdataset(
            opened, target, storage_options=options, limit=limit, progress=progress, **settings, **selection
        ),
        as_json=as_json,
    )


def _run(
    location: StoreLocation, run_export: Callable[[MediaStore, Callable[[int], None]], ExportReport], *, as_json: bool
) -> None:
    """Open the store, export under a progress bar, and print the report."""
    with location.open_existing(read_only=True) as opened, output.count_progress("exporting", None) as meter:
        report = run_export(opened, meter.reach)
    for failure in report.failed:
        output.error(output.error_text(failure.error))
    if as_json:
        output.json_line({**report.model_dump(mode="json"), "took": report.took.total_seconds()})
    else:
        output.Screen().print(output.facts_table(_rows(report)))
        if report.examined == 0:
            output.note("no media match, so nothing was written")
    if report.failed:
        raise typer.Exit(FAILED)


def _rows(report: ExportReport) -> list[tuple[str, str]]:
    verb = "would export" if report.dry_run else "exported"
    rows = [
        ("examined", f"{report.examined:,}"),
        (verb, f"{report.exported:,} media of {output.exact_size_text(report.bytes)}"),
    ]
    if report.unchanged:
        rows.append(("unchanged", f"{report.unchanged:,} are there already"))
    if report.files:
        more = f" and {len(report.files) - 1:,} more" if len(report.files) > 1 else ""
        rows.append(("would write" if report.dry_run else "wrote", output.visible(report.files[0]) + more))
    reasons = Counter(each.reason for each in report.skipped)
    rows += [("skipped", f"{count:,}: {output.visible(reason)}") for reason, count in reasons.most_common()]
    if report.failed:
        rows.append(("failed", f"{len(report.failed):,}, see above"))
    return rows


group = command_group(
    EXPORT_HELP,
    (
        ("imagefolder", _folder_command(export_imagefolder), IMAGEFOLDER_HELP),
        ("audiofolder", _folder_command(export_audiofolder), AUDIOFOLDER_HELP),
        ("webdataset", webdataset, WEBDATASET_HELP),
    ),
)
