"""`fsmedia erase`: erase everything of a run, conversation, session or provider, with a receipt."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fsmedia.cli import app, output
from fsmedia.models import Receipt
from fsmedia.models.text import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    from fsmedia.store import MediaStore

HELP = """All ids that are given must fit. Besides the media go their due entries, rows of the catalog and whatever else
in the store names them. Held media stay and are told, see `fsmedia policy release`; bytes that others use stay too. It
looks into every sidecar of the store, and may be repeated: what was interrupted is finished.

`--receipt FILE` keeps what was done as JSON: it names the subject, so keep it like the media. `--check FILE` looks
later whether anything is there again. Records below .fsmedia/deletions/ are evidence and stay, unless `--forget-log`
is given. A bucket may keep older versions of what is deleted: the receipt says of which, unless `--versions` removes
them, for good. Exits with 1 if something of the subject stays.

Examples:
  fsmedia erase --run r1 --dry-run
  fsmedia erase --conversation c7 --receipt c7-erased.json
  fsmedia erase --check c7-erased.json
  fsmedia erase --session s1 --store s3://bucket/media --threads 8 --yes --json
"""


@contextmanager
def open_receipt(path: Path | None) -> Iterator[Callable[[Receipt], object]]:
    """Give a function that writes the receipt; whether it can be written is known before anything is erased.

    The file appears whole, and replaces none.
    """
    if path is None:
        yield lambda _: None
        return
    if path.exists():
        raise app.CommandError(f"{path}: is there already; a receipt replaces nothing")
    with app.temporary_file(path) as beside:
        beside.touch(mode=0o600)

        def keep(receipt: Receipt) -> None:
            text = receipt.model_dump_json(indent=2) + "\n"
            try:
                beside.write_text(text, encoding="utf-8")
                beside.rename(path)
            except OSError:
                sys.stdout.write(text)  # what went can't be asked again
                raise

        yield keep


def check_receipt_file(location: app.StoreLocation, path: Path, *, threads: int | None, as_json: bool) -> int:
    """Check a receipt's file against a store, print what is there, and return the exit code."""
    if not path.exists():
        raise app.CommandError(f"{path}: no such file", code=app.NOT_FOUND)
    with location.open_for_work("looking", threads, read_only=True) as (opened, work):
        report = opened.check_receipt(path, **work)
    output.print_report(report, as_json=as_json, holds=report.holds)
    return app.DONE if report.holds else app.FAILED


def erase(
    *,
    named: Annotated[
        dict[str, Any], app.OptionGroup(app.conditions, without=("mime", "policy", "since", "until", "expires_before"))
    ],
    dry_run: app.DryRun = False,
    force: app.Force = False,
    forget_log: Annotated[bool, typer.Option("--forget-log", help="Also out of the records of deletions.")] = False,
    versions: Annotated[
        bool, typer.Option("--versions", help="Also the older versions that the bucket keeps, for good.")
    ] = False,
    receipt: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the receipt here.")] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Erase nothing; look whether what a receipt names is gone.")
    ] = None,
    threads: app.Threads = None,
    yes: app.Yes = False,
    as_json: app.AsJson = False,
    location: app.Store,
) -> None:
    """Erase a subject."""
    if check is not None:
        if named or receipt is not None or dry_run or forget_log or versions:
            raise typer.BadParameter("takes nothing but the store, and erases nothing", param_hint="--check")
        raise typer.Exit(check_receipt_file(location, check, threads=threads, as_json=as_json))
    if not named:
        hint = "--run, --conversation, --session, --provider"
        raise typer.BadParameter("must name whose media shall go", param_hint=hint)
    with location.open_existing(read_only=dry_run) as opened, app.thread_pool(threads) as executor:
        if not (yes or dry_run) and app.can_ask():
            plan = _erase(opened, executor, named, dry_run=True, force=force, versions=versions)
            older = f" and {plan.cleaned.versions:,} older versions" if versions else ""
            what = f"{len(plan.erased)} media ({size_text(plan.bytes_freed)}){older}"
            app.confirm(f"Erase {what} from {opened.url}?", "nothing went")
        how = {"dry_run": dry_run, "force": force, "forget_log": forget_log, "versions": versions}
        with open_receipt(receipt) as keep:
            done = _erase(opened, executor, named, **how)
            keep(done)
    # Asked again with --json, the command has nothing left to tell of what went.
    output.print_report(done, as_json=as_json, all_by="--json" if receipt is None else str(receipt))
    if receipt is not None and not as_json:
        output.line(f"receipt: {receipt}")
    raise typer.Exit(app.DONE if done.is_complete else app.FAILED)


def _erase(opened: MediaStore, executor: Executor | None, named: dict[str, Any], **options: Any) -> Receipt:
    with output.count_progress("looking", None) as meter:
        return opened.erase(**named, **options, executor=executor, progress=meter.reach)
