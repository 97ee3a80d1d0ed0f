"""`fsmedia export`: media as other programs read them, Hugging Face's folders and WebDataset's shards."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import re
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from fsmedia.cli import app as endings
from fsmedia.cli import app as words
from fsmedia.cli import output
from fsmedia.cli.app import (
    FAILED,
    AsJson,
    Conversation,
    Mime,
    Place,
    Provider,
    Run,
    Session,
    Since,
    StorageOptions,
    StoreUrl,
    Until,
    conditions,
    text_of,
)
from fsmedia.cli.output import counter
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

app = typer.Typer(
    cls=endings.Commands,
    help=output.unwrapped(EXPORT_HELP),
    invoke_without_command=True,
    rich_markup_mode="rich",
)

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

_SIZE = re.compile(r"(\d+) *([kMGT]?)(i?)B?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@app.callback()
def _export(context: typer.Context, *, store: StoreUrl = None, option: StorageOptions = None) -> None:
    """Take what stands before the command."""
    context.obj = Place.of(context, store, option)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _folder(export: Callable[..., ExportReport]) -> Callable[..., None]:
    """Make the command of a folder that `datasets` loads."""

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
        chosen = conditions(
            run=run, conversation=conversation, session=session, provider=provider, mime=mime, since=since, until=until
        )
        way: dict[str, Any] = {
            "split": split,
            "table": "parquet" if parquet else "jsonl",
            "overwrite": overwrite,
            "dry_run": dry_run,
        }
        options = words.storage_options(target_option)
        _run(
            Place.of(context, store, option),
            lambda opened, progress: export(
                opened, target, storage_options=options, limit=limit, progress=progress, **way, **chosen
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
    chosen = conditions(
        run=run, conversation=conversation, session=session, provider=provider, mime=mime, since=since, until=until
    )
    way: dict[str, Any] = {"prefix": prefix, "shard_count": shard_count, "overwrite": overwrite, "dry_run": dry_run}
    way["shard_bytes"] = SHARD_BYTES if shard_size is None else _bytes(shard_size)
    options = words.storage_options(target_option)
    _run(
        Place.of(context, store, option),
        lambda opened, progress: export_webdataset(
            opened, target, storage_options=options, limit=limit, progress=progress, **way, **chosen
        ),
        as_json=as_json,
    )


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise typer.BadParameter("is no size: write 500MB or 1GiB", param_hint="--shard-size")
    base = 1024 if found[3] else 1000
    size: int = int(found[1]) * base ** _POWERS[found[2].lower()]
    if size < 1:
        raise typer.BadParameter("must be at least one byte", param_hint="--shard-size")
    return size


def _run(place: Place, work: Callable[[MediaStore, Callable[[int], None]], ExportReport], *, as_json: bool) -> None:
    """Open the store, do the work under a bar, and tell what became of it."""
    with place.open(read_only=True) as opened, counter("exporting", None) as meter:
        report = work(opened, meter.reach)
    for failure in report.failed:
        output.error(text_of(failure.error))
    if as_json:
        output.json_line({**report.model_dump(mode="json"), "took": report.took.total_seconds()})
    else:
        output.Screen().print(_table(report))
        if report.examined == 0:
            output.note("no media match, so nothing was written")
    if report.failed:
        raise typer.Exit(FAILED)


def _table(report: ExportReport) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
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
    for name, value in rows:
        table.add_row(name, Text(value, overflow="fold"))
    return table


for _name, _command, _help in (
    ("imagefolder", _folder(export_imagefolder), IMAGEFOLDER_HELP),
    ("audiofolder", _folder(export_audiofolder), AUDIOFOLDER_HELP),
    ("webdataset", webdataset, WEBDATASET_HELP),
):
    app.command(_name, help=output.unwrapped(_help))(_command)
