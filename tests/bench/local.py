"""20 KB on local disk: store, retrieve and delete against the same bytes by hand."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.bench.rounds import interleaved, show

COUNT = 300
DATA = b"\x89PNG\r\n\x1a\n" + os.urandom(20_472)


class Floor:
    """The least that must be done by hand: write + rename + sidecar; stat + read + json; two unlinks."""

    def __init__(self, folder: Path, sidecar: bytes, *, sync: bool) -> None:
        self.folder = str(folder)
        os.makedirs(self.folder)
        self.sidecar = sidecar
        self.sync = sync

    def _sync_folder(self) -> None:
        if self.sync:
            descriptor = os.open(self.folder, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def _write(self, path: str, data: bytes) -> None:
        temporary = f"{path}.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, data)
        if self.sync:
            os.fsync(descriptor)
        os.close(descriptor)
        os.rename(temporary, path)
        self._sync_folder()

    def store(self) -> None:
        for i in range(COUNT):
            self._write(f"{self.folder}/{i}", DATA)
            self._write(f"{self.folder}/{i}.meta", self.sidecar)

    def retrieve(self) -> None:
        for i in range(COUNT):
            os.stat(f"{self.folder}/{i}")
            with open(f"{self.folder}/{i}.meta", "rb") as file:
                json.loads(file.read())

    def delete(self) -> None:
        for i in range(COUNT):
            os.unlink(f"{self.folder}/{i}.meta")
            self._sync_folder()
            os.unlink(f"{self.folder}/{i}")
            self._sync_folder()


class Ours:
    """The same through a store."""

    def __init__(self, folder: Path, *, sync: bool) -> None:
        self.media = MediaStore(folder, durability="fsync" if sync else "rename").create()
        self.references: list[str] = []

    def store(self) -> None:
        self.references = [
            self.media.store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1"))
            for _ in range(COUNT)
        ]

    def retrieve(self) -> None:
        for reference in self.references:
            self.media.retrieve_media(reference)

    def delete(self) -> None:
        for reference in self.references:
            self.media.delete_media(reference)


def run() -> None:
    """Print the ratios for both durabilities."""
    folder = Path(tempfile.mkdtemp())
    try:
        sample = MediaStore(folder / "sample")
        reference = sample.store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1"))
        sidecar = (folder / "sample" / f"{reference}.meta").read_bytes()
        for sync in (False, True):
            floor, ours = Floor(folder / f"floor-{sync}", sidecar, sync=sync), Ours(folder / f"ours-{sync}", sync=sync)
            name = "fsync" if sync else "rename"
            figures: dict[str, dict[str, float]] = {"store": {}, "retrieve": {}, "delete": {}}
            taken = interleaved(
                {
                    f"{who} {what}": getattr(item, what)
                    for what in figures
                    for who, item in (("floor", floor), ("fsmedia", ours))
                }
            )
            for what in ("store", "retrieve", "delete"):
                goal = {"store": "<= 1.5 x with rename", "retrieve": "<= 60 us"}.get(what, "")
                figures[what] = {who: taken[f"{who} {what}"] for who in ("floor", "fsmedia")}
                show(f"local, {name}: {what} 20 KB", figures[what], "floor", COUNT, goal)
    finally:
        shutil.rmtree(folder)
