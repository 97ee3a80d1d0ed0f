"""Reports of operations, and what they list."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AliasChoices, ConfigDict, Field

from fsmedia.models.base import Columns, Model, Report, ReportTable, ReportView
from fsmedia.models.events import Deletion, Failed, Failure, Skipped
from fsmedia.models.metadata import DueIndex, Instant, OrganizationMode, Permissions, Reference, RetentionPolicy
from fsmedia.models.text import minute_text, plural, size_text, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

_REASONED: Columns = {"media": "reference", "why": "reason"}


def _freed(size: int, kept: bool | None) -> str:
    """Return the bytes of what was deleted, and whether the bucket keeps them all the same."""
    if kept is None:
        return f"{size_text(size)}, if the bucket keeps no older versions"
    return f"{size_text(size)}{', and the bucket keeps them as older versions' if kept else ''}"


def _first_of(sources: Sequence[str]) -> str:
    """Return the first of what was skipped for one reason, and how many others there are: one more is told too."""
    first, *rest = sources
    return f"{first} and {f'{len(rest):,} more' if len(rest) > 1 else rest[0]}" if rest else first


def _by_reason(items: Sequence[Any], first: str) -> ReportTable:
    """Return a table of what was skipped, with a row for each reason."""
    sources: dict[str, list[str]] = {}
    for each in items:
        sources.setdefault(each.reason, []).append(getattr(each, first))
    rows = sorted(sources.items(), key=lambda row: -len(row[1]))
    columns = {
        "count": lambda row: len(row[1]),
        "why": lambda row: row[0],
        "what": lambda row: _first_of(row[1]),
    }
    return ReportTable("skipped", rows, columns, "reason")


class EnforcementReport(Report):
    """What one sweep did, or in a dry run would do."""

    now: Instant
    """The instant that decided what is due."""
    dry_run: bool = False
    due_index: DueIndex = "complete"
    """"partial": all sidecars were read, for the index does not name all media; `verify(repair=True)` mends that."""
    examined: int = 0
    """Media looked at: due entries, or with a partial index all sidecars."""
    deleted: tuple[Deletion, ...] = ()
    """Media that are gone; what is left of one, should a later step have failed, stands in `failed` too."""
    skipped: tuple[Skipped, ...] = ()
    failed: tuple[Failed, ...] = ()
    stopped: bool = False
    """Whether it ended early because it was told to."""
    nested_stores: tuple[str, ...] = ()
    """Folders that are other stores', below this one: nothing in them was looked at or changed."""
    versions_kept: bool | None = False
    """Whether the bucket keeps what was deleted, as older versions or for a time; None: nobody can tell."""
    took: timedelta = timedelta(0)

    @property
    def bytes_freed(self) -> int:
        """Bytes of what was deleted, as the sidecars said; none where the bucket keeps them."""
        return 0 if self.versions_kept else sum(each.size_bytes for each in self.deleted)

    def _told(self) -> ReportView:
        verb = "would delete" if self.dry_run else "deleted"
        gone: Columns = {
            "size": "size_bytes",
            "policy": "policy_name",
            "when": lambda each: f"expired {minute_text(each.expires_at)}" if each.expires_at else "",
            "media": "reference",
        }
        partial = "the due index is partial, so all sidecars were read; fsmedia verify --repair makes it complete"
        return ReportView(
            f"Sweep of {minute_text(self.now)}",
            f"{self.examined:,} examined, {verb} {len(self.deleted):,} "
            f"({_freed(self.bytes_freed, self.versions_kept)})",
            [ReportTable(verb, self.deleted, gone), ReportTable("skipped", self.skipped, _REASONED)],
            [partial if self.due_index == "partial" else ""],
            pictured=[each.reference for each in self.deleted] if self.dry_run else (),
        )


FindingKind = Literal[
    "sidecar", "mismatch", "missing-bytes", "size", "type", "digest", "measures", "unmarked", "missing-due", "bytes",
    "marker", "generation", "mark", "due", "hold", "temporary", "upload", "catalog", "index", "settings", "file",
    "foreign",
]  # fmt: skip
"""What can be wrong. Of media: a sidecar that can't be read, or that speaks of other bytes than its name does
(`mismatch`); bytes that are gone, or have another size, type or digest than the sidecar says; sizes and lengths that
the bytes tell and the sidecar does not (`measures`, only where they were asked for); a marker or a due entry
that is missing. Of other things: bytes, markers, generations, marks, due entries, holds, temporary files and uploads
that belong to no media; a catalog out of step; entries of PromptKit's index that lead nowhere; settings; files of
others that have no sidecar (`file`) or that no store can use (`foreign`)."""


class Finding(Model):
    """One thing that is not as docs/format.md says."""

    kind: FindingKind
    key: str
    """The reference of the media, or the key of what belongs to none."""
    detail: str = ""
    """What is wrong."""
    repair: str = ""
    """What repair would do, or did; empty where it leaves the thing as it is."""
    done: bool = False
    """Whether repair did it."""
    harmless: bool = False
    """Whether the store is whole all the same: it may be on its way, it is another program's, or it only takes room."""
    size_bytes: int = 0
    """Size of a leftover."""


class VerifyReport(Report):
    """What one look over a store found, and with repair did."""

    findings: tuple[Finding, ...] = ()
    """The first 1,000 of each kind; `counts` has them all, and `found=` is given every one."""
    counts: dict[FindingKind, int] = Field(default_factory=dict)
    """How many findings there are of each kind."""
    left: int = 0
    """Findings that are not harmless and were not mended."""
    mended: int = 0
    """Findings that were mended."""
    bytes_freed: int = 0
    """Bytes of leftovers that were removed, or by the plan would be; none where the bucket keeps them."""
    versions_kept: bool | None = False
    """Whether the bucket keeps what was removed, as older versions or for a time; None: nobody can tell."""
    examined: int = 0
    """Objects listed."""
    media: int = 0
    """Media looked at."""
    bytes: int = 0
    """Bytes of those media, as the storage or their names tell; shared ones count for each reference."""
    bytes_read: int = 0
    """Bytes that were read to compare digests."""
    quarantined: int = 0
    """Objects that lay in `.fsmedia/quarantine/` when it began; nothing ever takes them away by itself."""
    due_index: DueIndex = "complete"
    """"partial": sweeps read all sidecars; `verify(repair=True)` makes it complete."""
    failed: tuple[Failed, ...] = ()
    """What could not be looked at, or not be mended."""
    deep: bool = False
    """Whether all bytes were read."""
    only_leftovers: bool = False
    """Whether only what crashes left was looked for; nothing is said of the media then."""
    dry_run: bool = True
    """Whether nothing was written: no repair was asked for, or only its plan."""
    nested_stores: tuple[str, ...] = ()
    """Folders that are other stores', below this one: nothing in them was looked at or changed."""
    took: timedelta = timedelta(0)

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong, or nothing any more."""
        return not self.left and not self.failed

    def _told(self) -> ReportView:
        total, kinds = sum(self.counts.values()), ", ".join(f"{self.counts[kind]:,} {kind}" for kind in self.counts)
        read = f", {size_text(self.bytes_read)} read" if self.bytes_read else ""
        # Who looks for leftovers only counts no media, and a store is not empty for that.
        media = f"{self.media:,} media ({size_text(self.bytes)}{read}), " if self.media else ""
        columns = {"kind": "kind", "key": "key", "what is wrong": "detail"}
        columns |= {name: name for name in ("repair", "done", "harmless")}
        findings = sorted(self.findings, key=lambda each: each.harmless)
        freed = f" ({'to free: ' if self.dry_run else ''}{_freed(self.bytes_freed, self.versions_kept)})"
        freed = freed if self.bytes_freed or self.versions_kept else ""
        partial = "the due index is partial: sweeps read all sidecars; to make it complete: fsmedia verify --repair"
        lie = f"{self.quarantined:,} objects lie in .fsmedia/quarantine/, with notes that say why"
        state = "whole" if self.whole else "not whole"
        if self.only_leftovers:
            state = "no leftovers" if self.whole else "leftovers"
        return ReportView(
            state.capitalize() if self.only_leftovers else f"The store is {state}",
            f"{state}: {media}{self.examined:,} objects, "
            f"{plural(total, 'finding')}{f' ({kinds})' if kinds else ''}, "
            f"{self.mended:,} mended{freed}, {self.left:,} left",
            [ReportTable("found", findings, columns, "finding", total - len(findings))],
            [lie if self.quarantined else "", partial if self.due_index == "partial" else ""],
        )


CheckState = Literal["holds", "handled", "broken"]
"""Whether a storage does what fsmedia builds on, or does not and fsmedia makes up for it or does without, or does not
and what docs/guarantees.md says does not stand on it."""


class StorageCheck(NamedTuple):
    """One thing that a storage was tried for."""

    name: str
    state: CheckState
    seen: str
    """What it did."""
    effect: str
    """What fsmedia does then."""


class StorageReport(Report):
    """What a storage was found to do with what fsmedia asks of it."""

    url: str = ""
    """The root, without user, password or query."""
    backend: str = ""
    """The class of this package that speaks to it."""
    checks: tuple[StorageCheck, ...] = ()
    remains: tuple[str, ...] = ()
    """What could not be removed of what was written to try it: keys below the root."""
    stopped: bool = False
    """Whether it ended early because it was told to."""
    took: timedelta = timedelta(0)

    @property
    def stands(self) -> bool:
        """Whether everything was tried, and what docs/guarantees.md says stands on this storage."""
        return bool(self.checks) and not self.stopped and all(each.state != "broken" for each in self.checks)

    def _told(self) -> ReportView:
        states: tuple[CheckState, ...] = ("broken", "handled", "holds")
        found = {state: [each for each in self.checks if each.state == state] for state in states}
        columns: Columns = {"what": "name", "seen": "seen", "fsmedia then": "effect"}
        stand = "stand" if self.stands else "do not stand" if found["broken"] else "were not all tried"
        counts = f"{len(found['holds'])} hold, {len(found['handled'])} handled, {len(found['broken'])} broken"
        left = f"could not be removed: {', '.join(self.remains[:3])}{', ...' if self.remains[3:] else ''}"
        return ReportView(
            f"The guarantees {stand} on {self.url}",
            f"the guarantees {stand} on {self.url} ({self.backend}): {counts}",
            [ReportTable(state, found[state], columns, "check") for state in states],
            warnings=[left if self.remains else ""],
        )


class Moved(NamedTuple):
    """One media item's reference before and after; a plain tuple, for a store may hold millions."""

    old: str
    new: str


class SyncReport(Report):
    """What one sync did, or in a dry run would do."""

    target: str = ""
    """The root that media were brought to, without user, password or query."""
    dry_run: bool = False
    examined: int = 0
    """Media of the source that were looked at."""
    copied: int = 0
    """Media that the target had not, or had with other bytes under a name that others choose."""
    bytes_copied: int = 0
    """Bytes of those; deduplicated items whose bytes the target had already count too."""
    unchanged: int = 0
    updated: int = 0
    """Media whose metadata, policy, attributes or hold differed, so that only those were written."""
    deleted: tuple[Reference, ...] = ()
    """Media of the target, by their references there, that the source has not (any more)."""
    skipped: tuple[Skipped, ...] = ()
    """Media that were left out, and why; those that were not deleted by their references at the target."""
    failed: tuple[Failed, ...] = ()
    """What went wrong; syncing again takes these up."""
    moved: tuple[Moved, ...] = ()
    """Reference at the source and at the target of each media item for which they differ, whether it was copied now or
    before; in a dry run without those that are not known yet."""
    mappings: tuple[str, ...] = ()
    """Keys of the objects in the target that keep the pairs of what was copied now: JSON lines of `old` and `new`."""
    stopped: bool = False
    """Whether it ended early because it was told to; nothing was deleted then."""
    nested_stores: tuple[str, ...] = ()
    """Folders that are other stores', below this one: nothing in them was looked at or changed."""
    took: timedelta = timedelta(0)

    def _told(self) -> ReportView:
        done = ("would copy", "would update", "would delete") if self.dry_run else ("copied", "updated", "deleted")
        copied, updated, deleted = done
        seconds = 0 if self.dry_run else self.took.total_seconds()
        rate = f" at {size_text(int(self.bytes_copied / seconds))}/s" if self.bytes_copied and seconds else ""
        return ReportView(
            f"Sync to {self.target}",
            f"{self.examined:,} examined, {copied} {self.copied:,} ({size_text(self.bytes_copied)}{rate}), "
            f"{updated} {self.updated:,}, {self.unchanged:,} unchanged, {deleted} {len(self.deleted):,}",
            [
                ReportTable("moved", self.moved, {"at the source": "old", "at the target": "new"}),
                ReportTable("new references", self.mappings, {"object": str}, "object"),
                ReportTable(deleted, self.deleted, {"media": str}),
                ReportTable("skipped", self.skipped, _REASONED),
            ],
        )


class Imported(NamedTuple):
    """One media item that went in; a plain tuple, for an import may have millions."""

    source: str
    """Where it came from, as its attribute `user.source` says."""
    reference: str
    """Its reference; empty in a dry run, where it has none yet."""


class PassedOver(NamedTuple):
    """One thing of the source that is no media, or can't be taken, and why."""

    source: str
    reason: str


class NotImported(Model):
    """One media item, or file of the source, that something went wrong with."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    source: str
    error: Failure


class InlineCost(NamedTuple):
    """What base64 costs in the logs of one session; of a log only the lines that could be read count.

    `media`: places that hold media, copies too. `saved_bytes`: how much smaller the logs would be, about, with
    references in these places, as `externalize` writes them.
    """

    session: str
    media: int = 0
    base64_bytes: int = 0
    log_bytes: int = 0
    saved_bytes: int = 0


_INLINE: Columns = {
    "session": "session",
    "media": "media",
    "size": "base64_bytes",
    "of": lambda each: f"of {size_text(each.log_bytes)}",
    "less": lambda each: f"{size_text(each.saved_bytes)} less with references",
}


def _inline_text(costs: Sequence[InlineCost]) -> str:
    if not costs:
        return ""
    of = size_text(sum(each.log_bytes for each in costs))
    return (
        f"base64 of {sum(each.media for each in costs):,} media takes "
        f"{size_text(sum(each.base64_bytes for each in costs))} of the {of} of logs that hold it; with references they "
        f"would be {size_text(sum(each.saved_bytes for each in costs))} smaller"
    )


class ImportReport(Report):
    """What one import or adoption did, or in a dry run would do."""

    dry_run: bool = False
    in_place: bool = False
    """Whether the source is the store's own root: the media were adopted where they lie, and have no other name."""
    examined: int = 0
    """Media found in the source, with what was skipped and what failed."""
    stored: tuple[Imported, ...] = ()
    """Where each new media came from, and its reference."""
    bytes: int = 0
    """Bytes of the new media, as the source has them."""
    unchanged: int = 0
    """Media that an earlier import stored: same source, same bytes."""
    already_stored: tuple[Imported, ...] = ()
    """Where media came from that `unless_stored` left out, and the references under which their bytes are stored."""
    duplicates: int = 0
    """New media whose bytes the import, or the run it belongs to, has already; each is stored all the same."""
    duplicate_bytes: int = 0
    """Bytes of those: what a store that deduplicates does not write."""
    already_due: int = 0
    """New media that are older than their policy keeps them: the next sweep deletes them."""
    skipped: tuple[PassedOver, ...] = ()
    failed: tuple[NotImported, ...] = ()
    inline: tuple[InlineCost, ...] = ()
    """Of session logs what base64 in them costs, the most first."""
    took: timedelta = timedelta(0)

    def _told(self) -> ReportView:
        planned, done = ("would adopt", "adopted") if self.in_place else ("would store", "stored")
        verb = planned if self.dry_run else done
        named = {"from": "source", "reference": "reference"}
        unchanged = f"{self.unchanged:,} unchanged"
        if self.already_stored:
            unchanged += f", {len(self.already_stored):,} already stored"
        due = f", {self.already_due:,} already due" if self.already_due else ""
        sweep = "the next sweep deletes what is already due" + (", the files themselves" if self.in_place else "")
        again = f"{self.duplicates:,} of them, {size_text(self.duplicate_bytes)}, have bytes that are there already"
        return ReportView(
            "Adoption" if self.in_place else "Import",
            f"{self.examined:,} examined, {verb} {len(self.stored):,} "
            f"({size_text(self.bytes)}{f'; {again}' if self.duplicates else ''}){due}, {unchanged}",
            [
                # Adopted media are called what their files are.
                ReportTable(verb, self.stored, {"file": "source"} if self.in_place else named),
                ReportTable("already stored", self.already_stored, named),
                ReportTable("base64", self.inline, _INLINE, "session"),
                _by_reason(self.skipped, "source"),
            ],
            ["" if self.examined else "nothing was found there that could be media", _inline_text(self.inline)],
            warnings=[sweep if due else ""],
            pictured=() if self.dry_run else [each.reference for each in self.stored],
        )


class ExportReport(Report):
    """What one export did, or in a dry run would do."""

    dry_run: bool = False
    examined: int = 0
    """Media that the selection means."""
    exported: int = 0
    """Media written now."""
    bytes: int = 0
    """Bytes of those."""
    unchanged: int = 0
    """Media that an earlier export, finished or not, wrote."""
    files: tuple[str, ...] = ()
    """Tables and shards that were written, below the target."""
    skipped: tuple[Skipped, ...] = ()
    """Media of types that the format's readers do not take."""
    failed: tuple[Failed, ...] = ()
    took: timedelta = timedelta(0)

    def _told(self) -> ReportView:
        exported, wrote = ("would export", "would write") if self.dry_run else ("exported", "wrote")
        return ReportView(
            "Export",
            f"{self.examined:,} examined, {exported} {self.exported:,} ({size_text(self.bytes)}), "
            f"{self.unchanged:,} unchanged",
            [ReportTable(wrote, self.files, {"file": str}, "file"), _by_reason(self.skipped, "reference")],
            ["" if self.examined else "no media match, so nothing was written"],
        )


RECEIPT_FORMAT = 2
"""Version of the receipt that this code writes."""
BytesLeft = Literal["gone", "shared", "kept"]
"""What became of bytes: nothing has them any more, media of others have the same, or a leftover, an older version or
the bucket's soft delete keeps them for now."""
TraceKind = Literal["reference", "sidecar", "due", "catalog", "bytes", "quarantine", "hold", "journal", "version"]
"""Where something that a receipt calls erased can still lie."""


class Erased(Model):
    """One media item that is gone, or, in a dry run, would be."""

    reference: Reference
    sha256: str | None = None
    """Digest of its bytes, where its sidecar or its name had one."""
    size_bytes: int = 0
    freed_bytes: int = 0
    """What its going frees; of media that shared their bytes only one frees them."""
    data: BytesLeft = "gone"
    shared_by: int = 0
    """How many media that stay have the same bytes; their names are nobody's business here."""
    note: str = ""
    """What was odd about it: a sidecar that could not be read, bytes without one."""


def _bytes_left(item: Erased) -> str:
    return f"shared by {item.shared_by:,}" if item.data == "shared" else item.data


class Remaining(Model):
    """One thing that is the subject's, or may be, and stays."""

    reference: Reference
    """A media item's reference, or the key of what is no media."""
    reason: str


class Cleaned(Model):
    """How much of the store's own records went."""

    due_entries: int = 0
    snapshots: int = 0
    """Snapshots of the catalog that held rows of the subject."""
    mappings: int = 0
    """Lines below `.fsmedia/references/`."""
    index_entries: int = 0
    """Entries of PromptKit's index."""
    log_lines: int = 0
    """Lines below `.fsmedia/deletions/`, which only go where that was asked for."""
    quarantined: int = 0
    leftovers: int = 0
    """Bytes without sidecar, markers and temporary files of the subject that crashes left."""
    versions: int = 0
    """Older versions that the bucket kept of all this, which only go where that was asked for."""
    previews: int = 0
    """Pictures of them that galleries kept in this machine's cache; other machines have caches of their own."""


class Receipt(Report):
    """What one erasure did: JSON to keep, which `check_receipt` holds against the store later.

    It names the subject and its references, so it is personal data itself. `checksum` shows a change of the text by
    accident or without care, and anybody can make another: who wants proof against forgery signs the file, or writes
    the checksum down elsewhere.
    """

    receipt: int = RECEIPT_FORMAT
    fsmedia: str = ""
    """Version of the package that did it."""
    store: str = ""
    """URL of the store, without user, password or query."""
    words: dict[str, str]
    """What was asked: `run_id`, `conversation_id`, `session_id`, `provider_id`."""
    dry_run: bool = False
    begun: Instant
    finished: Instant
    examined: int = 0
    """Media and sidecars looked at: all of the store."""
    erased: tuple[Erased, ...] = ()
    held: tuple[Remaining, ...] = ()
    """What a hold kept."""
    waiting: tuple[Remaining, ...] = ()
    """Leftovers younger than the grace: stores that may be under way. Erase again once they are older."""
    unclear: tuple[Remaining, ...] = ()
    """What nobody can tell the owner of, or whose path and sidecar tell different ones. Look at it."""
    failed: tuple[Remaining, ...] = ()
    """What went wrong; erasing again goes on there."""
    versions: tuple[Remaining, ...] = ()
    """What stays readable as an older version, or until soft delete lets it go, and what nobody can tell of."""
    kept_until: Instant = None
    """When the bucket's soft delete lets go of what was deleted."""
    cleaned: Cleaned = Field(default_factory=Cleaned)
    nested_stores: tuple[str, ...] = ()
    """Folders that are other stores', below this one: nothing in them was looked at or changed."""
    checksum: Annotated[str, Field(validation_alias=AliasChoices("checksum", "digest"))] = ""
    """SHA-256 over the canonical JSON of everything else: sorted keys, no blanks, ASCII. Receipts of format 1 call it
    `digest`."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the subject stays that this erasure knows of."""
        return not (self.held or self.waiting or self.unclear or self.failed or self.versions)

    @property
    def bytes_freed(self) -> int:
        """Bytes that the store holds less."""
        return sum(each.freed_bytes for each in self.erased)

    def with_checksum(self) -> Self:
        """Return the receipt with its checksum."""
        return self.model_copy(update={"checksum": self._checksum()})

    @property
    def is_unchanged(self) -> bool:
        """Whether the checksum is the one of the rest."""
        return self.checksum == self._checksum()

    def _checksum(self) -> str:
        # A receipt of format 1 had none of these.
        later: dict[str, Any] = {"versions": True, "kept_until": True, "cleaned": {"versions"}, "nested_stores": True}
        values = self.model_dump(mode="json", exclude={"checksum": True, **(later if self.receipt < 2 else {})})
        return sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def _told(self) -> ReportView:
        verb = "would erase" if self.dry_run else "erased"
        stays = {"held": self.held, "waiting": self.waiting, "unclear": self.unclear}
        if self.versions:
            stays["with older versions"] = self.versions
        is_changed = bool(self.checksum) and not self.is_unchanged
        cleaned = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.cleaned if count)
        columns: Columns = {"size": "size_bytes", "bytes": _bytes_left, "media": "reference", "note": "note"}
        return ReportView(
            f"Receipt: {', '.join(f'{name}={value}' for name, value in self.words.items())}, "
            f"{minute_text(self.finished)}",
            f"{self.examined:,} examined, {verb} {len(self.erased):,} ({size_text(self.bytes_freed)}), "
            f"{f'besides {cleaned}, ' if cleaned else ''}"
            f"{', '.join(f'{len(items):,} {word}' for word, items in stays.items())}",
            [
                ReportTable(verb, self.erased, columns),
                *(ReportTable(word, items, _REASONED) for word, items in stays.items()),
            ],
            ["" if self.is_complete else "something of the subject stays: erase again once it can go"],
            warnings=["the checksum is not that of the text: it was changed"] if is_changed else [],
            pictured=[each.reference for each in self.erased] if self.dry_run else (),
        )


class Trace(NamedTuple):
    """One thing that a receipt calls erased and that is there; a plain tuple, for there may be many."""

    kind: TraceKind
    key: str
    reason: str


class ReceiptReport(Report):
    """What checking a receipt found."""

    store: str = ""
    """URL of the store that was looked at."""
    same_store: bool = True
    """Whether that is the URL in the receipt; a store that was moved or copied has another."""
    erased: int = 0
    """Media that the receipt calls erased."""
    examined: int = 0
    """Media of the store whose sidecars were read, to compare digests."""
    traces: tuple[Trace, ...] = ()
    took: timedelta = timedelta(0)

    @property
    def holds(self) -> bool:
        """Whether nothing is there that the receipt calls erased."""
        return not self.traces

    def _told(self) -> ReportView:
        found = "none of it is there" if self.holds else f"{plural(len(self.traces), 'trace')} of them are there"
        other = f"the receipt is that of another URL than {self.store}: a copy, or the wrong store?"
        return ReportView(
            "The receipt holds" if self.holds else "The receipt does not hold",
            f"{self.erased:,} media were erased: {found}",
            [ReportTable("there", self.traces, {"where": "kind", "key": "key", "what": "reason"}, "trace")],
            warnings=["" if self.same_store else other],
        )


class CatalogRefresh(Report):
    """What one refresh of the catalog found and did."""

    media: int = 0
    """Rows that it shows now."""
    read: int = 0
    """Sidecars that were read: of new and changed media, and of those that were too young to be told apart."""
    removed: int = 0
    """Rows of before whose media are gone."""
    snapshot: str | None = None
    """Key of the snapshot with these rows; None: none was written, and none has them."""
    written: bool = False
    """Whether a new snapshot was written; without a change there is no need."""
    nested_stores: tuple[str, ...] = ()
    """Folders that are other stores', below this one: nothing in them was looked at or changed."""
    took: timedelta = timedelta(0)

    def _told(self) -> ReportView:
        wrote = "a new snapshot" if self.written else "nothing changed" if self.snapshot else "nothing written"
        facts = f"{self.media:,} media, {self.read:,} sidecars read, {self.removed:,} rows removed, {wrote}"
        return ReportView("Catalog", facts)


class Tally(Model):
    """So many media, and the bytes they add up to."""

    name: str | None = None
    """Of the run, type, policy or age; None: media without one, or all."""
    media: int = 0
    bytes: int = 0
    """Sum of the sizes of all references, shared bytes as often as they are referred to."""


class StoreStatistics(Report):
    """What a store holds, in numbers, as its catalog shows it."""

    at: Instant
    """What ages and expiries are counted from."""
    refreshed_at: Instant
    """When the listing began that the catalog shows."""
    media: int = 0
    bytes: int = 0
    """Sum of the sizes of all references."""
    saved_bytes: int = 0
    """Bytes that deduplication saves: those of all references, minus those of the copies that lie in the store."""
    problems: int = 0
    """Media whose sidecar could not be read; what is said of them is from their paths."""
    by_run: tuple[Tally, ...] = ()
    """The runs with most bytes, the largest first."""
    other_runs: Tally | None = None
    """All other runs together."""
    by_mime_type: tuple[Tally, ...] = ()
    """Types without parameters, the largest first."""
    other_mime_types: Tally | None = None
    by_policy: tuple[Tally, ...] = ()
    other_policies: Tally | None = None
    by_age: tuple[Tally, ...] = ()
    """By timestamp, the youngest first; only ages that there are."""
    expired: Tally = Tally()
    """Due at `at`: the next sweep deletes them unless they are held."""
    expires_within_day: Tally = Tally()
    """Due within 24 hours, but not yet."""
    expires_within_week: Tally = Tally()
    """Due within 7 days, but not yet; those of the next day are among them."""

    @property
    def stored_bytes(self) -> int:
        """Bytes that lie in the store for these media, sidecars not counted."""
        return self.bytes - self.saved_bytes

    def _told(self) -> ReportView:
        saved = f", stored in {size_text(self.stored_bytes)}: deduplication saves {size_text(self.saved_bytes)}"
        saved = saved if self.saved_bytes else ""
        soon = (self.expired, self.expires_within_day, self.expires_within_week)
        tallies = {
            "run": (*self.by_run, self.other_runs),
            "type": (*self.by_mime_type, self.other_mime_types),
            "policy": (*self.by_policy, self.other_policies),
            "age": self.by_age,
            "expiry": tuple(each for each in soon if each.media),
        }
        tables = []
        for head, rows in tallies.items():
            columns: Columns = {"media": "media", "size": "bytes", head: lambda each: each.name or "(none)"}
            tables.append(ReportTable(f"media by {head}", list(filter(None, rows)), columns, "row"))
        unread = f"{self.problems:,} sidecars can't be read: fsmedia catalog query shows the column problem"
        return ReportView(
            "What the store holds",
            f"{self.media:,} media, {size_text(self.bytes)}{saved}, as of {minute_text(self.refreshed_at)}",
            tables,
            warnings=[unread if self.problems else ""],
        )


class SettingsRecord(Report):
    """The settings of a store, the same for everybody who opens it."""

    organization: OrganizationMode = OrganizationMode.BY_RUN
    """Which layout new media are written in."""
    layouts: dict[str, str] = Field(default_factory=dict)
    """The template of each mode."""
    views: dict[str, str] = Field(default_factory=dict)
    """Templates of the folders in which `media://` shows all media besides, by name."""
    policies: dict[str, RetentionPolicy] = Field(default_factory=dict)
    """Retention policies given to the store, by name."""
    default_policy: str | None = None
    """Policy of new media that name none; None: they are kept."""
    deduplicate: bool = False
    """Whether new media share equal bytes."""
    orphan_grace: timedelta = timedelta(hours=24)
    """Age from which leftovers of crashes may be mended."""
    permissions: Permissions = "private"
    """On local disk: "private" files are 0600 and folders 0750, "shared" ones 0666 and 0777 less the umask."""
    due_index: DueIndex = "complete"
    """"partial": sweeps read all sidecars; `verify(repair=True)` makes it complete."""
    adopted: bool = False
    """Whether media lay there before the store was made."""

    def _told(self) -> ReportView:
        def exact(duration: timedelta | None) -> str:
            return "for ever" if duration is None else str(duration).removesuffix(", 0:00:00")

        policies = [f"{name} ({exact(policy.keep_for)})" for name, policy in sorted(self.policies.items())]
        rows = [
            ("organization", self.organization),
            *((f"layout {mode}", template) for mode, template in self.layouts.items()),
            *((f"view {name}", template) for name, template in sorted(self.views.items())),
            ("policies", ", ".join(policies) or "none"),
            ("default policy", self.default_policy or "none"),
            ("equal bytes", "shared" if self.deduplicate else "stored for each media"),
            ("orphan grace", exact(self.orphan_grace)),
            ("permissions", self.permissions),
            ("due index", self.due_index),
        ]
        facts = ", ".join(visible(f"{name} {value}") for name, value in rows if not name.startswith("layout "))
        columns: Columns = {"setting": lambda row: row[0], "value": lambda row: row[1]}
        return ReportView("Settings of the store", facts, [ReportTable("set", rows, columns, "setting")])


class TakenOut(NamedTuple):
    """One place in a document where a media item stood; a plain tuple, for there may be many."""

    where: str
    """`$.messages[3].content[1].source.data`"""
    reference: str
    """Empty in a dry run."""
    mime_type: str
    size_bytes: int
    sha256: str


class Externalized(Model):
    """JSON text with references in the place of its media."""

    text: str
    """The same text as before but for the media; in a dry run the text as it was."""
    dry_run: bool = False
    taken_out: tuple[TakenOut, ...] = ()
    """In the order of the text; the same media in two places has one reference."""
    already: int = 0
    """Places where such a reference stood before."""
    kept: tuple[str, ...] = ()
    """Places whose base64 stays: smaller than asked for, spelled so that it could not be put back as it is, or nothing
    says what it is; of the last only texts of 10,000 characters and more.
    """

    @property
    def bytes_taken(self) -> int:
        """Bytes of the media, each once."""
        return sum({each.sha256: each.size_bytes for each in self.taken_out}.values())

    def __str__(self) -> str:
        verb = "would take out" if self.dry_run else "took out"
        kept = f", {len(self.kept)} stay as they are" if self.kept else ""
        already = f"{self.already} were references already"
        return f"{verb} {len(self.taken_out)} media ({self.bytes_taken} bytes), {already}{kept}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"
