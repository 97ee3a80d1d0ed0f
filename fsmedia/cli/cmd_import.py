"""`fsmedia import`: import results of PromptArena, trees of files, logs of others, and what `export` wrote."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fsmedia.cli import app, output
from fsmedia.exchange import (
    import_claude_code,
    import_codex,
    import_folder,
    import_imagefolder,
    import_inspect,
    import_promptarena,
    import_webdataset,
)
from fsmedia.exchange.folders import DEFAULT_PATTERN
from fsmedia.models import ImportReport

HELP = """Each media keeps where it came from (the attribute user.source). Importing again stores what is new and
nothing twice, so an import that was killed goes on where it was; run one at a time. `--unless-stored` also leaves out
what lay elsewhere before: same file name, same bytes, same run. `--dry-run` reads all.

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

To make a store of the tree itself, without moving a byte: `fsmedia adopt`.

Examples:
  fsmedia import folder pictures/ --store ./media
  fsmedia import folder pictures/ --pattern "{name}{ext}" --run holiday --store ./media
"""

INSPECT_HELP = """Import the pictures, sound, video and documents in logs of inspect_ai (needs: pip install inspect-ai).

A log is a .eval or .json file, or a folder of them. The run is the evaluation's run, the conversation is
<task>/<sample>/<epoch>.

Examples:
  fsmedia import inspect logs/ --store ./media
  fsmedia import inspect logs/*.eval --policy retain-30days --json
"""

CLAUDE_CODE_HELP = """Import the media in session logs of Claude Code; the logs themselves stay as they are.

DIR is ~/.claude/projects, or a folder in it. The run is the session, and the conversation the session or its agent; the
attributes `tool` and `model` say what a media is a result of. `--dry-run` says what base64 costs: how many media each
session holds, their bytes, and how much smaller its log would be. To take base64 out of a log: `fsmedia messages`.

Examples:
  fsmedia import claude-code ~/.claude/projects --dry-run --store ./media
  fsmedia import claude-code ~/.claude/projects --store ./media --policy retain-30days
"""

CODEX_HELP = """Import the media in session logs of Codex; the logs themselves stay as they are.

DIR is ~/.codex/sessions, or a folder in it. The run is the session; the attributes `tool` and `model` say how a media
came about. `--dry-run` says what base64 costs: how many media each session holds, their bytes, and how much smaller its
log would be. Copies of a picture in events and compacted histories are skipped. To take base64 out of a log: `fsmedia
messages`.

Examples:
  fsmedia import codex ~/.codex/sessions --dry-run --store ./media
  fsmedia import codex ~/.codex/sessions/2026/11 --store ./media --json
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


def settings_of(
    *,
    policy: app.PolicyName = None,
    source_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="As --option, for where it comes from.")
    ] = None,
    unless_stored: Annotated[
        bool, typer.Option("--unless-stored", help="Also leave out what the run has under that name, wherever it was.")
    ] = False,
    dry_run: app.DryRun = False,
) -> dict[str, Any]:
    """Return the settings that all imports take, by their names in Python."""
    settings: dict[str, Any] = {"policy_name": policy, "unless_stored": unless_stored, "dry_run": dry_run}
    if source_option is not None:
        settings["storage_options"] = app.parse_storage_options(source_option)
    return settings


Settings = Annotated[dict[str, Any], app.OptionGroup(settings_of)]


def promptarena(
    *,
    path: Annotated[str, typer.Argument(metavar="PATH", help="The folder of the results, or one of them.")],
    settings: Settings,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Import results of PromptArena."""
    _run(location, import_promptarena, path, as_json=as_json, **settings)


def folder(
    *,
    path: Annotated[str, typer.Argument(metavar="DIR", help="The top of the tree.")],
    pattern: Annotated[str, typer.Option(metavar="TEMPLATE", help="What the paths below it tell.")] = DEFAULT_PATTERN,
    ids: app.Ids,
    settings: Settings,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Import a tree of files."""
    _run(location, import_folder, path, as_json=as_json, pattern=pattern, ids=ids, **settings)


def inspect(
    *,
    logs: Annotated[list[Path], typer.Argument(metavar="LOG", help="Log files, or folders of them.")],
    settings: Annotated[dict[str, Any], app.OptionGroup(settings_of, without=("source_option",))],
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Import logs of inspect_ai."""
    _run(location, import_inspect, logs, as_json=as_json, **settings)


def _logs_command(run_import: Callable[..., ImportReport], kind: str) -> Callable[..., None]:
    """Return the command of a format of session logs, which tell all ids."""

    def command(
        *,
        path: Annotated[str, typer.Argument(metavar="DIR", help=kind)],
        settings: Settings,
        as_json: app.AsJson = False,
        location: app.Store,
    ) -> None:
        """Import session logs."""
        _run(location, run_import, path, as_json=as_json, **settings)

    return command


def _described_command(run_import: Callable[..., ImportReport], kind: str) -> Callable[..., None]:
    """Return the command of a format whose tables tell of each media."""

    def command(
        *,
        path: Annotated[str, typer.Argument(metavar="DIR", help=kind)],
        ids: app.Ids,
        settings: Settings,
        as_json: app.AsJson = False,
        location: app.Store,
    ) -> None:
        """Import what an export wrote."""
        _run(location, run_import, path, as_json=as_json, ids=ids, **settings)

    return command


def _run(
    location: app.StoreLocation,
    run_import: Callable[..., ImportReport],
    source: str | list[Path],
    *,
    as_json: bool,
    **settings: Any,
) -> None:
    """Open the store, import under a progress bar, and print the report."""
    with location.open() as opened, output.count_progress("importing", None) as meter:
        report = run_import(opened, source, progress=meter.reach, **settings)
    output.print_report(report, as_json=as_json)
    if report.failed:
        raise typer.Exit(app.FAILED)


group = app.command_group(
    (
        ("promptarena", promptarena, PROMPTARENA_HELP),
        ("folder", folder, FOLDER_HELP),
        ("inspect", inspect, INSPECT_HELP),
        ("claude-code", _logs_command(import_claude_code, "The folder of the logs."), CLAUDE_CODE_HELP),
        ("codex", _logs_command(import_codex, "The folder of the logs."), CODEX_HELP),
        ("imagefolder", _described_command(import_imagefolder, "The folder of the export."), IMAGEFOLDER_HELP),
        ("webdataset", _described_command(import_webdataset, "The folder of the shards."), WEBDATASET_HELP),
    )
)
