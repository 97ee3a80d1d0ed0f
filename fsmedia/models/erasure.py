"""What an erasure did and what may prove it later: the receipt, and the answer of checking one. Pure."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from fsmedia.models.base import Model
from fsmedia.models.fields import Instant
from fsmedia.models.metadata import Reference
from fsmedia.models.report import Report

if TYPE_CHECKING:
    from typing import Self

RECEIPT_FORMAT = 1
"""Version of the receipt that this code writes."""

BytesLeft = Literal["gone", "shared", "kept"]
"""What became of bytes: nothing has them any more, media of others have the same, or a leftover keeps them for now."""

TraceKind = Literal["reference", "sidecar", "due", "catalog", "bytes", "quarantine", "hold", "journal"]
"""Where something that a receipt calls erased can still lie."""


class Erased(Model):
    """One media that is gone, or, in a dry run, would be."""

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


class Remaining(Model):
    """One thing that is the subject's, or may be, and stays."""

    reference: Reference
    """A media's reference, or the key of what is no media."""
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
    previews: int = 0
    """Pictures of them that galleries kept in this machine's cache; other machines have caches of their own."""


class Receipt(Report):
    """What one erasure did: JSON to keep, which `check_receipt` holds against the store later.

    It names the subject and its references, so it is personal data itself. `digest` shows a change of the text by
    accident or without care; who wants proof against forgery signs the file, or writes the digest down elsewhere.
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
    cleaned: Cleaned = Field(default_factory=Cleaned)
    digest: str = ""
    """SHA-256 over the canonical JSON of everything else: sorted keys, no blanks, ASCII."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the subject stays that this erasure knows of."""
        return not (self.held or self.waiting or self.unclear or self.failed)

    @property
    def bytes_freed(self) -> int:
        """Bytes that the store holds less."""
        return sum(each.freed_bytes for each in self.erased)

    def sealed(self) -> Self:
        """Return the receipt with its digest."""
        return self.model_copy(update={"digest": self._digest()})

    @property
    def is_sealed(self) -> bool:
        """Whether the digest is the one of the rest."""
        return self.digest == self._digest()

    def _digest(self) -> str:
        values = self.model_dump(mode="json", exclude={"digest"})
        return sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def __str__(self) -> str:
        verb = "would erase" if self.dry_run else "erased"
        return (
            f"{verb} {len(self.erased)} of {self.examined} ({self.bytes_freed} bytes), {len(self.held)} held, "
            f"{len(self.waiting)} waiting, {len(self.unclear)} unclear, {len(self.failed)} failed"
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

    def __str__(self) -> str:
        return f"{self.erased} erased media looked for, {len(self.traces)} traces found"
