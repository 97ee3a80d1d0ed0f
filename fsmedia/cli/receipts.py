"""Receipts of erasures as files: written whole before anything can be lost, and checked against a store."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fsmedia.cli import output
from fsmedia.cli.app import DONE, FAILED, NOT_FOUND, CommandError, StoreLocation, thread_pool
from fsmedia.format.keys import temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fsmedia.models import Receipt, ReceiptReport

_ROWS = 50


@contextmanager
def open_receipt(path: Path | None) -> Iterator[Callable[[Receipt], object]]:
    """Give a function that writes the receipt; whether it can be written is known before anything is erased.

    The file appears whole, and replaces none.

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


def check_receipt_file(
    location: StoreLocation, path: Path, *, threads: int | None = None, as_json: bool = False
) -> int:
    """Check a receipt's file against a store, print what is there, and return the exit code."""
    if not path.exists():
        raise CommandError(f"{path}: no such file", code=NOT_FOUND)
    with (
        location.open(read_only=True) as opened,
        thread_pool(threads) as executor,
        output.count_progress("looking", None) as meter,
    ):
        report = opened.check_receipt(path, executor=executor, progress=meter.reach)
    if as_json:
        values: dict[str, Any] = report.model_dump(mode="json")
        values["traces"] = [each._asdict() for each in report.traces]
        output.json_line({**values, "holds": report.holds})
    else:
        _show_traces(report)
    return DONE if report.holds else FAILED


def _show_traces(report: ReceiptReport) -> None:
    if not report.same_store:
        output.warning(f"the receipt is that of another URL than {report.store}: a copy, or the wrong store?")
    for trace in report.traces[:_ROWS]:
        output.line(f"{trace.kind}  {trace.key}: {trace.reason}")
    if len(report.traces) > _ROWS:
        output.line(f"... and {len(report.traces) - _ROWS:,} more: --json has all")
    verdict = "none of it is there" if report.holds else f"{len(report.traces):,} traces of them are there"
    output.line(f"{report.erased:,} media were erased: {verdict}")
