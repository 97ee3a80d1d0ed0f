"""`fsmedia export`: write media as Hugging Face's folders and WebDataset's shards."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from collections.abc import Callable
from typing import Annotated, Any

import typer

from fsmedia.cli import app, output
from fsmedia.exchange import export_audiofolder, export_imagefolder, export_webdataset
from fsmedia.exchange.webdataset import SHARD_BYTES, SHARD_COUNT
from fsmedia.models import ExportReport

HELP = """Which media: the words of `fsmedia ls`. Files appear whole or not at all, and nothing that is there is
replaced without `--overwrite`; exporting again writes what is missing, also after a kill.

Examples:
  fsmedia export imagefolder dataset/ --run r1 --store ./media
  fsmedia export audiofolder dataset/ --parquet
  fsmedia export webdataset shards/ --shard-size 100MB --mime 'image/*'
"""

IMAGEFOLDER_HELP = """Export pictures for datasets.load_dataset("imagefolder", data_dir=DIR).

DIR/<split>/ gets the files and metadata.jsonl (or metadata.parquet): file_name, reference, ids, positions, type, size,
digest, timestamp, the caption as `text`, width, height and original_name.

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


def _of_folders(
    *,
    split: Annotated[str, typer.Option(metavar="NAME", help="train, validation or test.")] = "train",
    parquet: Annotated[
        bool, typer.Option("--parquet", help="A Parquet table instead of JSON lines (needs pyarrow).")
    ] = False,
) -> dict[str, Any]:
    """Return the settings of the folder formats that `datasets` loads."""
    return {"split": split, "table": "parquet" if parquet else "jsonl"}


def _of_shards(
    *,
    prefix: Annotated[str, typer.Option(metavar="NAME", help="How the shards are called.")] = "media",
    shard_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of a shard: 500MB, 1GiB; else 256 MiB.")
    ] = None,
    shard_count: Annotated[int, typer.Option(min=1, metavar="N", help="Media of a shard at most.")] = SHARD_COUNT,
) -> dict[str, Any]:
    """Return the settings of WebDataset's shards."""
    shard_bytes = SHARD_BYTES if shard_size is None else app.parse_size(shard_size, "--shard-size")
    return {"prefix": prefix, "shard_count": shard_count, "shard_bytes": shard_bytes}


def _command(export: Callable[..., ExportReport], of_format: Callable[..., dict[str, Any]]) -> Callable[..., None]:
    """Return the command of a format: its function, and the function of its own options."""

    def command(
        *,
        target: Annotated[str, typer.Argument(metavar="DIR", help="A folder, or any fsspec URL; no store.")],
        settings: Annotated[dict[str, Any], app.OptionGroup(of_format)],
        selection: Annotated[dict[str, Any], app.OptionGroup(app.conditions, without=("policy", "expires_before"))],
        limit: Annotated[int | None, typer.Option(min=0, metavar="N", help="At most so many.")] = None,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace what lies there under these names.")
        ] = False,
        dry_run: app.DryRun = False,
        as_json: app.AsJson = False,
        target_option: Annotated[
            list[str] | None, typer.Option(metavar="KEY=VALUE", help="As --option, for where it goes.")
        ] = None,
        location: app.Store,
    ) -> None:
        """Export under a progress bar, and print the report."""
        options = app.parse_storage_options(target_option)
        with location.open_existing(read_only=True) as opened, output.count_progress("exporting", None) as meter:
            report = export(
                opened,
                target,
                storage_options=options,
                limit=limit,
                overwrite=overwrite,
                dry_run=dry_run,
                progress=meter.reach,
                **settings,
                **selection,
            )
        output.print_report(report, as_json=as_json)
        if report.failed:
            raise typer.Exit(app.FAILED)

    return command


group = app.command_group(
    (
        ("imagefolder", _command(export_imagefolder, _of_folders), IMAGEFOLDER_HELP),
        ("audiofolder", _command(export_audiofolder, _of_folders), AUDIOFOLDER_HELP),
        ("webdataset", _command(export_webdataset, _of_shards), WEBDATASET_HELP),
    )
)
