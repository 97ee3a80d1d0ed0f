"""Stores that PromptKit's own Go code wrote (see promptkit/README.md), put on local disk, in memory and on S3."""

import hashlib
import json
import shutil
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fsmedia import MediaStore
from tests.conftest import make_storage
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE, LocalStorage, Storage

FOLDER = Path(__file__).with_name("promptkit")
INDEX = ".dedup_index.json"
ASIDE = ".fsmedia/promptkit/dedup_index.json"
BY_RUN, BY_SESSION, ARENA = "by-run", "by-session-dedup", "arena"
ORGANIZATIONS = {BY_RUN: "by-run", BY_SESSION: "by-session", ARENA: "by-run"}


KEPT_FOR = {
    "delete-after-10min": timedelta(minutes=10), "retain-2hours": timedelta(hours=2),
    "retain-7days": timedelta(days=7), "retain-30days": timedelta(days=30),
}  # fmt: skip


class Item(NamedTuple):
    """One media as PromptKit stored it: what must come out again."""

    label: str
    reference: str
    sha256: str
    size: int
    sidecar: dict[str, Any]

    @property
    def timestamp(self) -> datetime:
        """The time as Go wrote it, cut to microseconds."""
        return datetime.fromisoformat(self.sidecar["timestamp"]).astimezone(UTC)

    @property
    def expires_at(self) -> datetime | None:
        keep_for = KEPT_FOR.get(self.sidecar.get("policy_name") or "")
        return None if keep_for is None else self.timestamp + keep_for


@cache
def manifest() -> dict[str, dict[str, Any]]:
    return {store["name"]: store for store in json.loads((FOLDER / "manifest.json").read_text())["stores"]}


@cache
def vectors() -> dict[str, list[dict[str, Any]]]:
    return json.loads((FOLDER / "vectors.json").read_text())


def unpack(name: str, into: Path) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    if name == ARENA:
        return Path(shutil.copytree(FOLDER / "arena" / "out" / "media", into / "media"))
    with tarfile.open(FOLDER / f"{name}.tar.gz") as archive:
        archive.extractall(into, filter="data")
    return into / name


def items_of(name: str, folder: Path) -> tuple[Item, ...]:
    """Return the media of a store, each reference once."""
    if name == ARENA:
        sidecars = {str(file.relative_to(folder))[:-5]: json.loads(file.read_text()) for file in folder.rglob("*.meta")}
        found = []
        for reference, sidecar in sorted(sidecars.items()):
            data = (folder / reference).read_bytes()
            found.append(Item(Path(reference).stem, reference, hashlib.sha256(data).hexdigest(), len(data), sidecar))
        return tuple(found)
    by_reference: dict[str, Item] = {}
    for entry in manifest()[name]["items"]:
        # A dedup hit has the first store's reference, and neither a sidecar nor bytes of its own.
        if entry["error"] is None and entry["reference"] not in by_reference:
            by_reference[entry["reference"]] = Item(
                entry["label"], entry["reference"], entry["stored_sha256"], entry["stored_size"], entry["sidecar"]
            )
    return tuple(by_reference.values())


@dataclass
class Adopted:
    """One store of PromptKit's on one storage; it was moved there from wherever it was written."""

    name: str
    storage: Storage
    items: tuple[Item, ...]

    @property
    def organization(self) -> str:
        return ORGANIZATIONS[self.name]

    @property
    def id_field(self) -> str:
        return f"{self.organization.removeprefix('by-')}_id"

    @property
    def references(self) -> list[str]:
        return sorted(item.reference for item in self.items)

    def open(self, **options: Any) -> MediaStore:
        return MediaStore(self.storage.url, storage_options=self.storage.options, **options)

    def item(self, label: str) -> Item:
        return next(item for item in self.items if item.label == label)

    def lies(self, *keys: str) -> list[bool]:
        there = self.storage.keys()
        return [key in there for key in keys]

    def index(self) -> dict[str, str]:
        """Return PromptKit's index, where it was set aside if it was."""
        return json.loads(self.storage.read(INDEX if INDEX in self.storage.keys() else ASIDE))  # noqa: SIM118 - no dict

    def snapshot(self) -> dict[str, Any]:
        """Return all there is: keys and bytes; on disk also times, modes and the folders."""
        keys = self.storage.keys()
        found: dict[str, Any] = {key: self.storage.read(key) for key in keys}
        if self.storage.name == LOCAL:
            for path in [Path(self.storage.url), *Path(self.storage.url).rglob("*")]:
                seen = path.stat()
                found[f"stat {path}"] = (seen.st_mode, seen.st_mtime_ns, seen.st_ino, seen.st_nlink)
        return found


def adopt(name: str, storage_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Adopted:
    """Put a store onto a storage, past the package."""
    folder = unpack(name, tmp_path / "unpacked")
    items = items_of(name, folder)
    storage = make_storage(storage_name, request, tmp_path)
    if storage_name == LOCAL:
        folder.rename(storage.url)
        return Adopted(name, storage, items)
    # What rclone serves are files: put there before it first looks, they cost no requests.
    oracle = rclone_files(storage) if storage_name == S3_RCLONE else storage
    for file in folder.rglob("*"):
        key = file.relative_to(folder).as_posix()
        if file.is_file() and storable(storage_name, key):
            oracle.write(key, file.read_bytes())
    return Adopted(name, storage, tuple(item for item in items if storable(storage_name, item.reference)))


def rclone_files(storage: Storage) -> LocalStorage:
    return LocalStorage(LOCAL, str(storage.server.data_folder / storage.bucket))


def storable(storage_name: str, key: str) -> bool:
    """Tell whether the server takes the key: moto has no route to one with a newline in it, rclone shows another."""
    return storage_name not in (S3_MOTO, S3_RCLONE) or "\n" not in key


def adopted_on(usual: dict[str, tuple[str, ...]], full: tuple[str, ...] = (LOCAL, MEMORY, S3_RCLONE, S3_MOTO)) -> Any:
    """Return a fixture that gives stores on these storages, and in the full run the same stores on those."""
    cases = [
        f"{name}@{each}" if each in storages else pytest.param(f"{name}@{each}", marks=pytest.mark.full)
        for name, storages in usual.items()
        for each in (*storages, *(each for each in full if each not in storages))
    ]

    @pytest.fixture(params=cases)
    def made(request: pytest.FixtureRequest, tmp_path: Path) -> Adopted:
        return adopt(*request.param.split("@"), request, tmp_path)

    return made


adopted = adopted_on({BY_RUN: (LOCAL, MEMORY), BY_SESSION: (MEMORY, S3_RCLONE), ARENA: (LOCAL,)})
"""Each store of PromptKit's on storages of every kind."""
indexed = adopted_on({BY_SESSION: (LOCAL, S3_RCLONE)})
"""The store with a deduplication index, on a disk and on an object store."""
