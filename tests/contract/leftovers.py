"""Leftovers of every kind, made past the package as a crash would leave them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from tests.contract.specimens import PNG
from tests.deduplicated import told

if TYPE_CHECKING:
    from fsmedia.models import Finding, VerifyReport
    from tests.storages import Storage


def put(store: MediaStore, name: str = "r1", data: bytes = PNG) -> str:
    """Store a picture."""
    return store.store_media(MediaContent(data=data, mime_type="image/png"), MediaMetadata(run_id=name))


def mended(report: VerifyReport) -> list[Finding]:
    """Return what a repair mended, or by its plan would."""
    return [each for each in report.findings if each.repair and not each.harmless]


def kept(report: VerifyReport) -> list[Finding]:
    """Return what a repair leaves as it is."""
    return [each for each in report.findings if each.harmless]


class Leftover:
    """One kind of leftover: makes it, and says what a sweep must call it. What it returns is all that may go."""

    @staticmethod
    def orphan_marker(storage: Storage, reference: str) -> dict[str, str]:
        gone = f"runs/r9/{reference.rpartition('/')[2]}"
        key = f"{told(reference).refs}/{keys.new_marker(gone)}"
        storage.write(key, gone.encode())
        return {key: "marker"}

    @staticmethod
    def generation_without_markers(storage: Storage, reference: str) -> dict[str, str]:
        key = f"{told(reference).blob}/data/{keys.new_generation()}"
        storage.write(key, PNG)
        return {key: "generation"}

    @staticmethod
    def generation_with_a_dead_storers_marker(storage: Storage, reference: str) -> dict[str, str]:
        generation = keys.new_generation()
        gone = reference.replace(told(reference).generation, generation)
        marker = f"{told(gone).refs}/{keys.new_marker(gone)}"
        storage.write(marker, gone.encode())
        storage.write(told(gone).data, PNG)
        return {marker: "marker", told(gone).data: "generation"}

    @staticmethod
    def marker_without_data(storage: Storage, reference: str) -> dict[str, str]:
        gone = reference.replace(told(reference).generation, keys.new_generation())
        marker = f"{told(gone).refs}/{keys.new_marker(gone)}"
        storage.write(marker, gone.encode())
        return {marker: "marker"}

    @staticmethod
    def condemned_mark_without_data(storage: Storage, reference: str) -> dict[str, str]:
        key = f"{told(reference).blob}/condemned/{keys.new_generation()}/{keys.new_generation()}"
        storage.write(key, b"")
        return {key: "mark"}

    @staticmethod
    def half_a_release(storage: Storage, reference: str) -> dict[str, str]:
        """Whoever released died between its mark and the removal of the data."""
        generation = keys.new_generation()
        mark = f"{told(reference).blob}/condemned/{generation}/{keys.new_generation()}"
        data = f"{told(reference).blob}/data/{generation}"
        storage.write(mark, b"")
        storage.write(data, PNG)
        return {data: "generation", mark: "mark"}

    @staticmethod
    def temporary_file(storage: Storage, _: str) -> dict[str, str]:
        names = (f"runs/r1/{keys.temporary_name()}", f".fsmedia/blobs/{keys.temporary_name()}")
        for name in names:
            storage.write(name, b"half")
        return dict.fromkeys(names, "temporary")

    @staticmethod
    def temporary_marker(storage: Storage, reference: str) -> dict[str, str]:
        """A process that died while it wrote a marker, on a disk: bytes in the folder, but no marker."""
        generation = keys.new_generation()
        names = {f"{told(reference).blob}/refs/{generation}/{keys.temporary_name()}": "temporary"}
        names[f"{told(reference).blob}/data/{generation}"] = "generation"
        for name in names:
            storage.write(name, PNG)
        return names

    @staticmethod
    def plain_bytes_without_sidecar(storage: Storage, _: str) -> dict[str, str]:
        key = f"runs/r1/0000_00_{keys.new_unique()}.png"
        storage.write(key, PNG)
        return {key: "bytes"}

    @staticmethod
    def due_entry_without_media(storage: Storage, _: str) -> dict[str, str]:
        key = keys.due_key(datetime(2026, 3, 4, 5, 6, tzinfo=UTC), f"runs/r1/0000_00_{keys.new_unique()}.png")
        storage.write(key, b"")
        return {key: "due"}


KINDS = [name for name in vars(Leftover) if not name.startswith("_")]
