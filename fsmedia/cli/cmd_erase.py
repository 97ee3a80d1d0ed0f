"""`fsmedia erase`: everything of a run, conversation, session or provider goes, with a receipt that can be checked."""

# No `from __future__ import annotations`: typer reads these annotations when it runs.
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from fsmedia.cli import output
from fsmedia.cli.app import (
    DONE,
    FAILED,
    NOT_FOUND,
    AsJson,
    CommandError,
    Conversation,
    Place,
    Provider,
    Run,
    Session,
    StorageOptions,
    StoreUrl,
    conditions,
)
from fsmedia.cli.cmd_enforce import ROWS, Threads
from fsmedia.cli.cmd_rm import ask
from fsmedia.cli.output import counter
from fsmedia.display.text import size_text
from fsmedia.format.keys import temporary_name
from fsmedia.models import Receipt, ReceiptReport
from fsmedia.store import MediaStore

ERASE_HELP = """Erase everything of a run, conversation, session or provider, wherever it lies, and tell what went.

All ids that are given must fit. Besides the media go their due entries, rows of the catalog and whatever else in the
store names them. Held media stay and are told, see `fsmedia policy release`; bytes that others use stay too. It looks
into every sidecar of the store, and may be repeated: what was interrupted is finished.

`--receipt FILE` keeps what was done as JSON: it names the subject, so keep it like the media. `--check FILE` looks
later whether anything is there again. Records below .fsmedia/deletions/ are evidence and stay, unless `--forget-log`
is given. Exits with 1 if something of the subject stays. It asks first where a person sits at the terminal; `--yes`
does not ask.

Examples:
  fsmedia erase --run r1 --dry-run
  fsmedia erase --conversation c7 --receipt c7-erased.json
  fsmedia erase --check c7-erased.json
  fsmedia erase --session s1 --store s3://bucket/media --threads 8 --yes --json
"""


def erase(
    context: typer.Context,
    *,
    run: Run = None,
    conversation: Conversation = None,
    session: Session = None,
    provider: Provider = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Erase nothing, say what would be.")] = False,
    forget_log: Annotated[bool, typer.Option("--forget-log", help="Also out of the records of deletions.")] = False,
    receipt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the receipt here.", show_default=False)
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Erase nothing; look whether what a receipt names is gone.", show_default=False
        ),
    ] = None,
    threads: Threads = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
    store: StoreUrl = None,
    option: StorageOptions = None,
) -> None:
    """Erase a subject."""
    named = conditions(run=run, conversation=conversation, session=session, provider=provider)
    place = Place.of(context, store, option)
    if check is not None:
        if named or receipt is not None or dry_run or forget_log:
            raise typer.BadParameter("takes nothing but the store, and erases nothing", param_hint="--check")
        raise typer.Exit(check_file(place, check, threads=threads, as_json=as_json))
    if not named:
        raise typer.BadParameter(
            "must name whose media shall go", param_hint="--run, --conversation, --session, --provider"
        )
    with place.open(read_only=dry_run) as opened, _workers(threads) as executor:
        if not (yes or dry_run) and sys.stdin.isatty() and sys.stderr.isatty():
            plan = _run(opened, executor, named, dry_run=True)
            ask(
                f"Erase {len(plan.erased)} media ({size_text(plan.bytes_freed)}) from {opened.url}?",
                "nothing went",
            )
        with _kept(receipt) as keep:
            done = _run(opened, executor, named, dry_run=dry_run, forget_log=forget_log)
            if done.examined == 0 and place.settings() is None:  # a mistyped URL must not look like an erasure
                raise CommandError(f"no media, and no store, at {opened.url}", code=NOT_FOUND)
            keep(done)
    if as_json:
        output.json_line(done.model_dump(mode="json"))
    else:
        _show(done, receipt)
    raise typer.Exit(DONE if done.is_complete else FAILED)


@contextmanager
def _workers(threads: int | None) -> Iterator[Executor | None]:
    with nullcontext() if threads is None else ThreadPoolExecutor(threads) as executor:
        yield executor


def _run(opened: MediaStore, executor: Executor | None, named: dict[str, str], **how: bool) -> Receipt:
    with counter("looking", None) as meter:
        return opened.erase(**named, **how, executor=executor, progress=meter.reach)  # type: ignore[arg-type]


@contextmanager
def _kept(path: Path | None) -> Iterator[Callable[[Receipt], object]]:
    """Make sure before anything goes that the receipt can be written; it appears whole, and replaces none.

    Raises
    ------
    CommandError
        A file of that name is there.
    """
    if path is None:
        yield lambda _: None
        return
    if path.exists():
        raise CommandError(f"{path}: is there already; a receipt replaces nothing")
    beside = path.with_name(temporary_name())
    beside.touch(mode=0o600)
    try:

        def keep(receipt: Receipt) -> None:
            text = receipt.model_dump_json(indent=2) + "\n"
            try:
                beside.write_text(text, encoding="utf-8")
                beside.rename(path)
            except OSError:
                sys.stdout.write(text)  # what went can't be asked again
                raise

        yield keep
    finally:
        beside.unlink(missing_ok=True)


def _show(done: Receipt, path: Path | None) -> None:
    screen = output.Screen()
    verb = "would erase" if done.dry_run else "erased"
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name, justify in (("what", "left"), ("size", "right"), ("bytes", "left"), ("reference", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for each in done.erased[:ROWS]:
        shared = f"shared by {each.shared_by}" if each.data == "shared" else each.data
        size = size_text(each.size_bytes)
        note = f" ({each.note})" if each.note else ""
        table.add_row(verb, size, shared, Text(output.visible(each.reference) + note, overflow="fold"))
    for word, kept in (
        ("held", done.held),
        ("waiting", done.waiting),
        ("unclear", done.unclear),
        ("failed", done.failed),
    ):
        for left in kept[:ROWS]:
            text = f"{output.visible(left.reference)}: {output.visible(left.reason)}"
            table.add_row(word, "", "", Text(text, overflow="fold"))
    if table.row_count:
        screen.print(table)
    lists = (done.erased, done.held, done.waiting, done.unclear, done.failed)
    more = sum(max(0, len(each) - ROWS) for each in lists)
    if more:
        screen.print(f"... and {more:,} more: --json or --receipt has all")
    cleaned = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in done.cleaned if value)
    screen.print(
        f"{done.examined:,} looked at, {verb} {len(done.erased):,} ({size_text(done.bytes_freed)}), "
        f"held {len(done.held):,}, waiting {len(done.waiting):,}, unclear {len(done.unclear):,}, "
        f"failed {len(done.failed):,}{'; besides: ' if cleaned else ''}{cleaned}"
    )
    if path is not None:
        screen.print(f"receipt: {output.visible(str(path))}")


def check_file(place: Place, path: Path, *, threads: int | None = None, as_json: bool = False) -> int:
    """Hold a receipt's file against a store, tell what is there, and return the exit code."""
    if not path.exists():
        raise CommandError(f"{path}: no such file", code=NOT_FOUND)
    with place.open(read_only=True) as opened, _workers(threads) as executor, counter("looking", None) as meter:
        report = opened.check_receipt(path, executor=executor, progress=meter.reach)
    if as_json:
        values: dict[str, Any] = report.model_dump(mode="json")
        values["traces"] = [each._asdict() for each in report.traces]
        output.json_line({**values, "holds": report.holds})
    else:
        _tell(report)
    return DONE if report.holds else FAILED


def _tell(report: ReceiptReport) -> None:
    if not report.same_store:
        output.warning(f"the receipt is that of another URL than {report.store}: a copy, or the wrong store?")
    for trace in report.traces[:ROWS]:
        output.line(f"{trace.kind}  {trace.key}: {trace.reason}")
    if len(report.traces) > ROWS:
        output.line(f"... and {len(report.traces) - ROWS:,} more: --json has all")
    verdict = "none of it is there" if report.holds else f"{len(report.traces):,} traces of them are there"
    output.line(f"{report.erased:,} media were erased: {verdict}")
