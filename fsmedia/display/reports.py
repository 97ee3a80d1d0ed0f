"""What each report has to tell in a notebook: what was done in one line, then in tables what came of it."""

from __future__ import annotations

from datetime import timedelta
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from fsmedia.display.telling import Part, Told, minute_text, told_html
from fsmedia.display.text import duration_text, plural, size_text
from fsmedia.models import (
    DeduplicationReport,
    EnforcementReport,
    ExportReport,
    ImportReport,
    OrphanReport,
    RebuildReport,
    Receipt,
    ReceiptReport,
    SyncReport,
    VerifyReport,
)

if TYPE_CHECKING:
    from collections.abc import Sized

DRY_RUN = "A dry run: nothing was changed."


def report_html(report: Any) -> str | None:
    """Return the HTML of a report; None for what is none."""
    told = _told(report)
    return None if told is None else told_html(told)


@singledispatch
def _told(report: Any) -> Told | None:  # noqa: ARG001 - what is no report has nothing to tell
    return None


def _counted(things: Sized, word: str) -> str:
    return f"{len(things):,} {word}"


def _took(report: Any) -> str:
    return f"took {duration_text(report.took)}" if report.took >= timedelta(seconds=1) else "took under a second"


def _skipped(report: Any) -> Part:
    return Part(
        "Skipped", ("media", "why"), ((each.reference, each.reason) for each in report.skipped), len(report.skipped)
    )


def _failed(report: Any) -> Part:
    return Part(
        "Failed",
        ("media", "error"),
        ((each.reference, each.error.problem) for each in report.failed),
        len(report.failed),
    )


def _stopped(report: Any) -> str:
    return "It was stopped before the end." if report.stopped else ""


@_told.register
def _(report: EnforcementReport) -> Told:
    verb = "would be deleted" if report.dry_run else "deleted"
    partial = "The due index is partial: all sidecars were read. store.rebuild_due_index() mends that."
    return Told(
        "Sweep" if report.now is None else f"Sweep of {minute_text(report.now)} UTC",
        (
            f"{report.examined:,} examined",
            f"{len(report.deleted):,} {verb} ({size_text(report.bytes_freed)})",
            _counted(report.skipped, "skipped"),
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (
            DRY_RUN if report.dry_run else "",
            partial if report.due_index != "complete" else "",
            _stopped(report),
        ),
        (
            Part(
                verb.capitalize(),
                ("media", "size", "policy", "expired"),
                (
                    (
                        each.reference,
                        size_text(each.size_bytes),
                        each.policy_name or "",
                        minute_text(each.expires_at),
                    )
                    for each in report.deleted
                ),
                len(report.deleted),
                right=(1,),
            ),
            _skipped(report),
            _failed(report),
        ),
    )


@_told.register
def _(report: RebuildReport) -> Told:
    return Told(
        "Due index rebuilt",
        (
            f"{report.examined:,} sidecars read",
            f"{report.written:,} entries written",
            _counted(report.failed, "failed"),
            f"the index is {report.due_index}",
            _took(report),
        ),
        parts=(_failed(report),),
    )


@_told.register
def _(report: OrphanReport) -> Told:
    verb = "would be mended" if report.dry_run else "mended"
    heads = ("kind", "key", "size", "what")
    return Told(
        "Leftovers",
        (
            f"{report.examined:,} examined",
            f"{len(report.mended):,} {verb} ({size_text(report.bytes_freed)})",
            _counted(report.kept, "kept"),
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (DRY_RUN if report.dry_run else "",),
        (
            *(
                Part(
                    title,
                    heads,
                    ((each.kind, each.key, size_text(each.size_bytes), each.action) for each in found),
                    len(found),
                    right=(2,),
                    things="leftover",
                )
                for title, found in ((verb.capitalize(), report.mended), ("Kept", report.kept))
            ),
            _failed(report),
        ),
    )


@_told.register
def _(report: DeduplicationReport) -> Told:
    verb, saved = ("would be converted", "would be saved") if report.dry_run else ("converted", "saved")
    return Told(
        "Deduplication",
        (
            f"{report.examined:,} examined",
            f"{report.converted:,} {verb} ({size_text(report.bytes_before)})",
            f"{size_text(report.bytes_saved)} {saved}",
            _counted(report.skipped, "skipped"),
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (DRY_RUN if report.dry_run else "",),
        (Part("Moved", ("old", "new"), report.moved, len(report.moved)), _skipped(report), _failed(report)),
    )


@_told.register
def _(report: SyncReport) -> Told:
    copied, updated, deleted = (
        ("would be copied", "would be updated", "would be deleted")
        if report.dry_run
        else ("copied", "updated", "deleted")
    )
    return Told(
        f"Sync to {report.target}",
        (
            f"{report.examined:,} examined",
            f"{report.copied:,} {copied} ({size_text(report.bytes_copied)})",
            f"{report.unchanged:,} unchanged",
            f"{report.updated:,} {updated}",
            _counted(report.deleted, deleted),
            _counted(report.skipped, "skipped"),
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (DRY_RUN if report.dry_run else "", _stopped(report)),
        (
            Part("Moved", ("at the source", "at the target"), report.moved, len(report.moved)),
            Part(deleted.capitalize(), ("media",), ((each,) for each in report.deleted), len(report.deleted)),
            _skipped(report),
            _failed(report),
        ),
    )


@_told.register
def _(report: VerifyReport) -> Told:
    total = sum(report.counts.values())
    read = f", {size_text(report.bytes_read)} of them read" if report.deep else ""
    return Told(
        "The store is whole" if report.whole else "The store is not whole",
        (
            f"{report.media:,} media ({size_text(report.bytes)}{read})",
            plural(total, "finding"),
            f"{report.mended:,} mended",
            f"{report.left:,} left to mend",
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (
            f"{report.quarantined:,} objects lie in quarantine." if report.quarantined else "",
            "" if report.whole or not report.left else "store.verify(repair=True) mends what can be mended.",
        ),
        (
            Part(
                "Findings",
                ("kind", "key", "what is wrong", "repair"),
                (
                    (
                        each.kind,
                        each.key,
                        each.detail,
                        f"{'done: ' if each.done else ''}{each.repair}" if each.repair else "stays",
                    )
                    for each in sorted(report.findings, key=lambda each: each.harmless)
                ),
                total,
                things="finding",
            ),
            _failed(report),
        ),
    )


@_told.register
def _(report: Receipt) -> Told:
    verb = "would be erased" if report.dry_run else "erased"
    subject = ", ".join(f"{name}={value}" for name, value in report.words.items())
    others = (
        ("Held", report.held),
        ("Waiting", report.waiting),
        ("Unclear", report.unclear),
        ("Failed", report.failed),
    )
    unsealed = "" if report.is_sealed or not report.digest else "Its digest is not that of its text: it was changed."
    return Told(
        f"Receipt: {subject}",
        (
            f"{report.examined:,} examined",
            f"{len(report.erased):,} {verb} ({size_text(report.bytes_freed)})",
            *(f"{len(found):,} {title.lower()}" for title, found in others),
            f"{minute_text(report.finished)} UTC",
        ),
        (
            DRY_RUN if report.dry_run else "",
            "" if report.is_complete else "Something of the subject stays: see below, and erase again.",
            unsealed,
        ),
        (
            Part(
                verb.capitalize(),
                ("media", "size", "bytes", "note"),
                ((each.reference, size_text(each.size_bytes), each.data, each.note) for each in report.erased),
                len(report.erased),
                right=(1,),
            ),
            *(
                Part(title, ("media", "why"), ((each.reference, each.reason) for each in found), len(found))
                for title, found in others
            ),
        ),
    )


@_told.register
def _(report: ReceiptReport) -> Told:
    return Told(
        "The receipt holds" if report.holds else "The receipt does not hold",
        (f"{report.erased:,} erased media looked for", plural(len(report.traces), "trace"), _took(report)),
        ("" if report.same_store else "The receipt is of a store at another URL.",),
        (Part("Traces", ("where", "key", "what"), report.traces, len(report.traces), things="trace"),),
    )


@_told.register
def _(report: ImportReport) -> Told:
    verb = "would be stored" if report.dry_run else "stored"
    return Told(
        "Import",
        (
            f"{report.examined:,} examined",
            f"{len(report.stored):,} {verb} ({size_text(report.bytes)})",
            f"{report.unchanged:,} unchanged",
            f"{report.duplicates:,} duplicates ({size_text(report.duplicate_bytes)})",
            _counted(report.skipped, "skipped"),
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (DRY_RUN if report.dry_run else "",),
        (
            Part(verb.capitalize(), ("from", "reference"), report.stored, len(report.stored)),
            Part("Skipped", ("from", "why"), report.skipped, len(report.skipped), things="thing"),
            Part(
                "Failed",
                ("from", "error"),
                ((each.source, each.error.problem) for each in report.failed),
                len(report.failed),
                things="thing",
            ),
        ),
    )


@_told.register
def _(report: ExportReport) -> Told:
    verb = "would be exported" if report.dry_run else "exported"
    return Told(
        "Export",
        (
            f"{report.examined:,} examined",
            f"{report.exported:,} {verb} ({size_text(report.bytes)})",
            f"{report.unchanged:,} unchanged",
            _counted(report.skipped, "skipped"),
            _counted(report.failed, "failed"),
            _took(report),
        ),
        (DRY_RUN if report.dry_run else "",),
        (
            Part("Files", ("file",), ((each,) for each in report.files), len(report.files), things="file"),
            _skipped(report),
            _failed(report),
        ),
    )
