"""Holding a receipt against a store: is anything there that it calls erased? Reads only.

Looked at are the references, their sidecars, holds and due entries, the rows of the catalog, what repairs set aside,
journals of erasures, and the digests of bytes that the receipt calls gone: shared ones, and those of every sidecar.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsmedia import catalog, keys, records
from fsmedia.erasure import finding
from fsmedia.erasure.finding import check_process
from fsmedia.erasure.names import Names, is_anothers
from fsmedia.erasure.subject import told
from fsmedia.errors import InvalidMediaError, MediaError, StorageError
from fsmedia.models import Receipt, ReceiptReport, Trace
from fsmedia.models.erasure import RECEIPT_FORMAT
from fsmedia.quarantine import read_set_aside
from fsmedia.spreading import spread, windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor
    from os import PathLike

    from fsmedia.backends import Backend
    from fsmedia.erasure.finding import Item
    from fsmedia.models.erasure import TraceKind
    from fsmedia.quarantine import SetAside

LARGEST = 2**30
"""Bytes of a receipt's file; a million media take a quarter of that."""


def read_receipt(given: Receipt | Mapping[str, Any] | str | PathLike[str]) -> Receipt:
    """Return a receipt, from its file, its JSON values or itself.

    Raises
    ------
    InvalidMediaError
        It is none, was changed since it was written, or is that of a dry run.
    """
    receipt = given if isinstance(given, Receipt) else _parsed(given)
    if not receipt.is_sealed:
        raise InvalidMediaError("the receipt was changed since it was written", next_step="look for another copy of it")
    if receipt.dry_run:
        raise InvalidMediaError("this is the receipt of a dry run, which erased nothing", next_step="erase without it")
    return receipt


def _parsed(given: Mapping[str, Any] | str | PathLike[str]) -> Receipt:
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        if path.stat().st_size > LARGEST:
            raise InvalidMediaError(f"{path}: too large for a receipt")
        try:
            values = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            values = None
    else:
        values = dict(given)
    if not isinstance(values, dict) or not isinstance(values.get("receipt"), int):
        raise InvalidMediaError(
            "this is no receipt of an erasure", next_step="give the file that erase --receipt wrote"
        )
    if values["receipt"] > RECEIPT_FORMAT:
        raise InvalidMediaError("the receipt was written by a newer fsmedia", next_step="pip install --upgrade fsmedia")
    try:
        return Receipt.model_validate(values)
    except InvalidMediaError as error:
        raise InvalidMediaError(
            f"the receipt is damaged ({error.problem[:300]})", next_step="look for another copy of it"
        ) from None


def check_receipt(
    backend: Backend,
    receipt: Receipt,
    *,
    executor: Executor | None = None,
    progress: Callable[[int], object] | None = None,
) -> ReceiptReport:
    """Look for everything that a receipt calls erased.

    Raises
    ------
    StorageError
        The store can't be listed or read: then nothing is proved.
    """
    begun = time.monotonic()
    check = _Check(backend, receipt)
    check.objects()
    check.blobs()
    check.records()
    check.quarantine()
    examined = check.digests(executor, progress)
    return ReceiptReport(
        store=backend.url,
        same_store=backend.url == receipt.store,
        erased=len(receipt.erased),
        examined=examined,
        traces=tuple(sorted(set(check.traces))),
        took=timedelta(seconds=time.monotonic() - begun),
    )


@dataclass(slots=True)
class _Check:
    backend: Backend
    receipt: Receipt
    traces: list[Trace] = field(default_factory=list)
    references: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.references = frozenset(str(each.reference) for each in self.receipt.erased)
        self.gone = frozenset(
            each.sha256 for each in self.receipt.erased if each.sha256 is not None and each.data == "gone"
        )

    def _find(self, kind: TraceKind, key: str, reason: str) -> None:
        self.traces.append(Trace(kind, key, reason))

    def objects(self) -> None:
        """Look for bytes, sidecars and holds of each reference."""
        for window in windows(sorted(self.references), finding.WINDOW):
            wanted: list[str] = []
            for each in window:
                plain = keys.pointer_of(each) is None
                wanted += [keys.sidecar_key(each), keys.hold_key(each), each if plain else keys.sidecar_key(each)]
            heads = self.backend.fetch(heads=wanted).heads
            for number, each in enumerate(window):
                sidecar, hold, data = heads[3 * number : 3 * number + 3]
                if sidecar is not None:
                    self._find("sidecar", keys.sidecar_key(each), "its sidecar is there")
                if hold is not None:
                    self._find("hold", keys.hold_key(each), f"a hold names {each}")
                if data is not None and keys.pointer_of(each) is None:
                    self._find("reference", each, "its bytes are there")

    def blobs(self) -> None:
        """Look for shared bytes, whatever holds them, of digests that are called gone."""
        for digest in sorted(self.gone):
            for entry in self.backend.entries(keys.blob_folder(digest)):
                parsed = keys.parse_blob_key(entry.key)
                if parsed is not None and parsed.kind == "data":
                    self._find(
                        "bytes", entry.key, "bytes are there that the receipt calls gone, or the same ones again"
                    )

    def records(self) -> None:
        """Look through catalog, due index and journals."""
        for key, reference in catalog.rows_of(self.backend, self.references).items():
            self._find("catalog", key, f"it has a row of {reference}" if reference else "it can't be read; remove it")
        for entry in self.backend.entries(keys.DUE):
            due = keys.parse_due(entry.key)
            if due is not None and due.reference in self.references:
                self._find("due", entry.key, "a due entry names it")
        for entry in self.backend.entries(keys.ERASURES):
            data = self.backend.read(entry.key) or b""
            if any(each.encode() in data for each in self.references):
                self._find("journal", entry.key, "an erasure that names it has not finished; erase again")

    def quarantine(self) -> None:
        """Look through what repairs set aside: by names, digests and notes, as an erasure does."""
        names, others = Names(self.references), []
        for aside in read_set_aside(self.backend):
            if names.stand_for(aside) and not is_anothers(self.receipt.words, aside):
                self._find_aside(aside)
            else:
                others.append(aside._replace(texts={}))
        digests = {pointer.digest for each in self.references if (pointer := keys.pointer_of(each)) is not None}
        gone = (digests & self.gone) - {digest for aside in others for digest in aside.needed}
        for aside in others:
            if aside.blobs and aside.blobs <= gone:
                self._find_aside(aside)

    def _find_aside(self, aside: SetAside) -> None:
        for key in aside.keys:
            self._find("quarantine", key, "a repair set it aside")

    def digests(self, executor: Executor | None, progress: Callable[[int], object] | None) -> int:
        """Read every sidecar, and compare its digest; return how many media were looked at."""
        if not self.gone:
            return 0
        ground = Ground(self.backend, self.gone, os.getpid() if self.backend.in_one_process else None)
        examined = 0
        for part in spread(look_window, ground, windows(self._listed(), finding.WINDOW), executor, bool, _lost):
            if isinstance(part, MediaError):
                raise part
            examined += part[0]
            for reference in part[1]:
                self._find("bytes", reference, "a media has bytes that the receipt calls gone, or the same ones again")
            if progress is not None:
                progress(examined)
        return examined

    def _listed(self) -> Iterator[Item]:
        return (item for item in finding.items(self.backend.entries()) if item.has_sidecar)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a window needs to know."""

    backend: Backend
    gone: frozenset[str]
    process: int | None = None


def look_window(ground: Ground, window: Sequence[Item]) -> tuple[int, list[str]] | MediaError:
    """Return how many sidecars were read, and which media have bytes that should be gone."""
    check_process(ground.backend, ground.process)
    names = [item.key for item in window if records.is_reference(item.key)]
    found = []
    for reference, data in zip(names, records.read_sidecars(ground.backend, names), strict=True):
        if isinstance(data, MediaError):
            return data
        if data is not None and told(data, reference)[0].get("sha256") in ground.gone:
            found.append(reference)
    return len(names), found


def _lost(window: list[Item], error: Exception) -> tuple[int, list[str]] | MediaError:
    del window
    if isinstance(error, MediaError):
        return error
    return StorageError(f"a worker failed ({type(error).__name__}: {str(error)[:200]})", next_step="check again")
