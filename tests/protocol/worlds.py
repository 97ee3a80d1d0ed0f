"""Small stores to break, the operations under test, and what must hold of a store whatever happened to it."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.protocol.faults import CRASHES, Crash, Fault, Faults, faulty_backends, faulty_os
from tests.storages import LOCAL, MEMORY, LocalStorage, MemoryStorage, Storage

STORE_JSON = ".fsmedia/store.json"
WAYS = ("bytes", "file", "stream", "create")
DATA = {way: f"{way}:".encode() + bytes(range(256)) * 12 for way in WAYS}
_NUMBERS = count(1)
_IMAGES: dict[Any, tuple[dict[str, bytes], Any]] = {}


def rebuilt(name: Any, storage: Storage, build: Callable[[], Any]) -> Any:
    """Fill an empty storage as `build` does, and return what it returns; from the second time on, key by key.

    These tests make thousands of equal stores. Whoever asks for one of the same name gets the same references.
    """
    if name not in _IMAGES:
        answer = build()
        names = storage.keys()
        if isinstance(storage, LocalStorage):  # with its lock files: where there are none, making them is a call more
            root = Path(storage.url)
            names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        _IMAGES[name] = {key: storage.read(key) for key in sorted(names)}, answer
        return answer
    image, answer = _IMAGES[name]
    for key, data in image.items():
        storage.write(key, data)
    return answer


@dataclass
class World:
    """A store in a fresh storage, what surely is in it, and what an operation under test may add or take away."""

    storage: Storage
    options: dict[str, Any] = field(default_factory=dict)
    media: dict[str, bytes] = field(default_factory=dict)

    def open(self, **more: Any) -> MediaStore:
        """Open the store as a fresh process would."""
        return MediaStore(self.storage.url, storage_options=self.storage.options, **{**self.options, **more})

    def populate(self) -> "World":
        """Store neighbours: in the folder the tests use, and in another one."""

        def build() -> dict[str, bytes]:
            both = {"r1": b"neighbour", "r2": b"somebody else"}
            pairs = [(MediaContent.from_bytes(both[run], "text/plain"), MediaMetadata(run_id=run)) for run in both]
            return dict(zip([self.open().store_media(*pair) for pair in pairs], both.values(), strict=True))

        self.media = dict(rebuilt((type(self.storage), "neighbours", str(self.options)), self.storage, build))
        return self

    def check(self, *, besides: bytes | None = None) -> list[str]:
        """Check all that must hold; return references to `besides`, a media that may be there or not."""
        keys = self.storage.keys()
        for key in keys:
            if key.endswith(".meta"):
                assert key.removesuffix(".meta") in keys, f"sidecar without bytes: {key}"
        store = self.open()
        listed = list(store.list())
        assert set(self.media) <= set(listed), "a media is lost"
        extra = [reference for reference in listed if reference not in self.media]
        assert extra == [] or besides is not None, f"listed, but nobody stored it: {extra}"
        for reference in listed:
            data = self.media.get(reference, besides)
            assert data is not None
            assert self.storage.read(reference) == data
            sidecar = json.loads(self.storage.read(f"{reference}.meta"))
            assert sidecar["sha256"] == hashlib.sha256(data).hexdigest()
            assert sidecar["size_bytes"] == len(data)
            record = store.info(reference)
            assert (record.sha256, record.run_id) == (sidecar["sha256"], reference.split("/")[1])
            assert store.retrieve_media(reference).read_bytes() == data
            with store.open(reference) as file:
                assert file.read() == data
            assert store.exists(reference)
        for run in ("r1", "r2"):
            assert list(store.list(run_id=run)) == [key for key in listed if key.startswith(f"runs/{run}/")]
        return extra


def fresh_world(kind: str, tmp_path: Path, *, first: bool = False, **options: Any) -> World:
    """Return a store that nobody wrote to (`first`), or one with neighbours."""
    name = f"world-{next(_NUMBERS)}"
    local = kind == LOCAL
    world = World(
        LocalStorage(kind, str(tmp_path / name)) if local else MemoryStorage(kind, f"memory://{name}"), options
    )
    return world if first else world.populate()


def put(store: MediaStore, way: str, folder: Path) -> str:
    """Store `DATA[way]` in run r1, from one kind of source."""
    data, metadata = DATA[way], MediaMetadata(run_id="r1", message_idx=7)
    if way == "create":
        with store.create_media(metadata, "text/plain") as writer:
            for start in range(0, len(data), 1000):
                writer.write(data[start : start + 1000])
        return writer.reference
    if way == "file":
        path = folder / "source.txt"
        if not path.exists():
            path.write_bytes(data)
        content = MediaContent.from_path(path)
    elif way == "stream":
        content = MediaContent.from_stream(io.BytesIO(data), "text/plain")
    else:
        content = MediaContent.from_bytes(data, "text/plain")
    return store.store_media(content, metadata)


def faulty(faults: Faults, level: str) -> AbstractContextManager[Any]:
    """Let there be faults at the port ("calls") or below it ("syscalls")."""
    return faulty_os(faults) if level == "syscalls" else faulty_backends(faults)


def run(world: World, faults: Faults, level: str, operation: Callable[[MediaStore], Any]) -> Any:
    """Run an operation in a store with faults; return what it returns, None if it crashed; other errors come out."""
    with faulty(faults, level):
        try:
            return operation(world.open())
        except Crash:
            return None


def each_call(faults: Callable[[int], Faults]) -> Iterator[Faults]:
    """Yield faults at call 1, 2, 3, ... until one comes after the last call."""
    for number in count(1):
        made = faults(number)
        yield made
        if made.hit is None:
            assert number > 1, "no call was counted: the test sees nothing"
            return


def each_fault(*kinds: Fault, **more: Any) -> Iterator[Faults]:
    """Yield faults of each kind at call 1, 2, 3, ... until one comes after the last call."""
    for kind in kinds:
        yield from each_call(partial(Faults, fault=kind, **more))


def empty_folders(storage: Storage) -> set[str]:
    root = Path(storage.url)
    paths = root.rglob("*") if isinstance(storage, LocalStorage) else ()
    return {os.path.relpath(path, root) for path in paths if path.is_dir() and not any(path.iterdir())}


@dataclass(frozen=True)
class Place:
    """Where stores are broken: at the port of a storage ("calls"), or below it, at system calls ("syscalls")."""

    kind: str
    level: str
    tmp_path: Path
    options: dict[str, Any] = field(default_factory=dict)
    full_run: bool = False

    def world(self, *, first: bool = False) -> World:
        return fresh_world(self.kind, self.tmp_path, first=first, **self.options)

    def crashes(self) -> Iterator[Faults]:
        """Yield a crash at each call, of each kind that leaves something of its own.

        The one before a step leaves what the one after its predecessor does, and where nothing is written in pieces a
        torn one is a crash before: at full size all of them all the same.
        """
        own = Fault.TORN if self.level == "syscalls" else Fault.CRASH_AFTER
        return each_fault(*(CRASHES if self.full_run else (own,)))

    def run(self, world: World, faults: Faults, operation: Callable[[MediaStore], Any]) -> Any:
        return run(world, faults, self.level, operation)


CALLS_AND_SYSCALLS = pytest.mark.parametrize(
    "place", [(MEMORY, "calls"), (LOCAL, "calls"), (LOCAL, "syscalls", {"durability": "rename"})], indirect=True,
    ids=[MEMORY, LOCAL, "local-syscalls"],
)  # fmt: skip
