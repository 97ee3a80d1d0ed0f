"""`fsmedia dedupe`: let media with the same bytes share them, also those that are stored already."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Annotated, TextIO

import typer

from fsmedia.cli import output
from fsmedia.cli.app import (
    AsJson,
    CommandError,
    MappingFile,
    StorageOptions,
    StoreLocation,
    StoreUrl,
    Yes,
    check_mapping,
    confirm,
    exit_code_of,
)
from fsmedia.models import DeduplicationReport
from fsmedia.models.text import size_text

HELP = """Let media with the same bytes share them: those that are there, and those stored from now on.

Each media gets a new reference, which says where its bytes lie; ids, policy, attributes and expiry stay. The old
references still work for single media. Old and new ones are written to .fsmedia/references/ in the store, and to
`--mapping FILE` as JSON lines. Held media, and files under names that are not fsmedia's, stay as they are.

All bytes are read once and compared with their digest. It may be interrupted: doing it again goes on. Run one at a
time. There is no way back but copying the media to another store, so it asks first where a person sits at the
terminal; `--yes` does not ask.

Examples:
  fsmedia dedupe --dry-run
  fsmedia dedupe --mapping moved.jsonl
  fsmedia dedupe --store s3://bucket/media --threads 4
"""


def dedupe(
    context: typer.Context,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Change nothing, read sidecars only, say what would be saved.")
    ] = False,
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=256, metavar="N", help="Windows of 200 media at once.")
    ] = 1,
    mapping: MappingFile = None,
    yes: Yes = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Let media share equal bytes."""
    check_mapping(mapping, dry_run=dry_run)
    location = StoreLocation.of(context, store, option)
    with ExitStack() as stack:
        opened = stack.enter_context(location.open_existing(read_only=dry_run))
        if location.read_settings() is None:
            raise CommandError(f"{opened.url}: the store has no settings that could say so; sync it to a new one")
        if not (yes or dry_run):
            confirm(
                f"Give the media of {opened.url} new references, to share equal bytes? There is no way back.",
                "nothing was changed",
            )
        # Before the work: that the file can't be written must not be found out after it.
        file = None if mapping is None else stack.enter_context(mapping.open("a", encoding="utf-8"))
        executor = None if threads == 1 else stack.enter_context(ThreadPoolExecutor(threads))
        with output.count_progress("deduplicating", None) as meter:
            report = opened.deduplicate(dry_run=dry_run, executor=executor, progress=meter.reach)
        if file is not None:
            _write(report, file)
    for failure in report.failed:
        output.error(output.error_text(failure.error))
    if as_json:
        output.json_line({**report.model_dump(mode="json"), "moved": [pair._asdict() for pair in report.moved]})
    else:
        output.Screen().print(output.facts_table(_rows(report)))
    raise typer.Exit(exit_code_of(failure.error for failure in report.failed))


def _write(report: DeduplicationReport, file: TextIO) -> None:
    file.writelines(output.json_text(pair._asdict()) + "\n" for pair in report.moved)


def _rows(report: DeduplicationReport) -> list[tuple[str, str]]:
    words = ("would convert", "would save") if report.dry_run else ("converted", "saved")
    rows = [
        ("examined", f"{report.examined:,} media that do not share their bytes"),
        (words[0], f"{report.converted:,} media of {size_text(report.bytes_before)}"),
        (words[1], output.exact_size_text(report.bytes_saved)),
    ]
    reasons = Counter(each.reason for each in report.skipped)
    rows += [("skipped", f"{count:,}: {output.visible(reason)}") for reason, count in reasons.most_common()]
    rows += [("failed", f"{len(report.failed):,}, left as they were")] if report.failed else []
    rows += [("references", output.visible(key)) for key in report.mappings[:1]]
    rows += [("", f"and {len(report.mappings) - 1:,} more there")] if len(report.mappings) > 1 else []
    return rows
