"""A storage in a dict whose every request is one step that a scheduler grants; its clock is the test's.

As on an object store, one request is atomic and two are not: several keys of one call are several requests, and a
listing takes a request for every two keys, each of which sees what is there at that moment.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fsmedia.errors import MediaError
from fsmedia.storage import Backend, Entry, Exclusion
from fsmedia.storage.errors import refused
from fsmedia.storage.fsspec_backend import BufferedStage
from fsmedia.storage.port import Fetched, Listing
from tests.interleavings.turns import Process

PAGE = 2
"""Keys that one request of a listing answers with; small, so that changes come between pages."""

TICK = timedelta(microseconds=1)
"""Between two changes."""

START = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


class Cell(NamedTuple):
    data: bytes
    modified: datetime


class Cells:
    """The objects, and the time that both the storage and its users see."""

    def __init__(self) -> None:
        self.objects: dict[str, Cell] = {}
        self.locks: dict[str, Process] = {}
        self.now = START

    def clock(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by

    def put(self, key: str, data: bytes) -> None:
        self.now += TICK
        self.objects[key] = Cell(bytes(data), self.now)

    def data(self, key: str, start: int | None = None, end: int | None = None) -> bytes | None:
        cell = self.objects.get(key)
        return None if cell is None else cell.data[start:end]

    def create(self, key: str, data: bytes) -> bool:
        absent = key not in self.objects
        if absent:
            self.put(key, data)
        return absent

    def rename(self, source: str, target: str) -> bool:
        cell = self.objects.pop(source, None)
        self.objects |= {} if cell is None else {target: cell}
        return cell is not None

    def token(self, key: str) -> str | None:
        """As S3's: the same for the same bytes, so that it does not tell when they were written."""
        data = self.data(key)
        return None if data is None else sha256(data).hexdigest()

    def entry(self, key: str) -> Entry | None:
        cell = self.objects.get(key)
        return None if cell is None else Entry(key, len(cell.data), cell.modified, self.token(key))

    def page(self, prefix: str, after: str) -> list[Entry]:
        """One more than a page: whether that is there tells whether there is another page."""
        found = sorted(key for key in self.objects if key > after and key.startswith(prefix))
        return [entry for key in found[: PAGE + 1] if (entry := self.entry(key)) is not None]


class SteppingBackend(Backend):
    """A root in `Cells`. Which process asks is set before each run; without one, nothing is scheduled."""

    url = "memory://interleavings"
    root_length = 0
    in_one_process = True

    def __init__(self, cells: Cells, exclusion: Exclusion = Exclusion.NONE) -> None:
        self.cells = cells
        self.kept = exclusion
        self.process: Process | None = None

    @property
    def exclusion(self) -> Exclusion:
        return self.kept

    @property
    def renames(self) -> bool:  # type: ignore[override] # as the test has it
        return self.kept is Exclusion.RENAME

    def _step(self, kind: str, key: str, do: Callable[[], Any], *, changes: bool = False) -> Any:
        return do() if self.process is None else self.process.step(kind, key, do, changes=changes)

    def roots(self) -> Sequence[str]:
        return [self.url]

    # -- changes -------------------------------------------------------------------------------------------
    def write(self, key: str, data: bytes, content_type: str) -> None:
        self._step("write", key, lambda: self.cells.put(key, data), changes=True)

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        return self._step("create", key, lambda: self.cells.create(key, data), changes=True)

    def put(
        self, key: str, data: bytes, content_type: str, *, if_absent: bool = False, if_token: str | None = None
    ) -> str | None:
        def do() -> str | None:
            there = self.cells.token(key)
            if (if_absent and there is not None) or (if_token is not None and there != if_token):
                raise refused(key)
            self.cells.put(key, data)
            return self.cells.token(key)

        if self.exclusion is not Exclusion.CONDITIONS:
            assert not if_absent
            assert if_token is None
        return self._step("put", key, do, changes=True)

    def rename(self, source: str, target: str) -> bool:
        return self._step("rename", target, lambda: self.cells.rename(source, target), changes=True)

    @contextmanager
    def lock(self, names: Sequence[str]) -> Iterator[None]:
        """Lock them one after another; a lock whose holder was killed is free."""
        process, locks = self.process, self.cells.locks
        if process is None:
            yield
            return

        def free(name: str) -> bool:
            holder = locks.get(name)
            return holder is None or holder.dead or holder.run is not process.run

        taken = sorted(set(names))
        for name in taken:
            process.wait_until(lambda name=name: free(name))
            process.step("lock", name, lambda name=name: locks.update({name: process}), changes=False)
        try:
            yield
        finally:
            for name in taken:
                if locks.get(name) is process:
                    del locks[name]

    def wait(self, attempt: int) -> None:
        process = self.process
        if process is not None:
            begun = len(process.run.trace)
            process.wait_until(lambda: len(process.run.trace) > begun)

    def stage(self, key: str) -> BufferedStage:
        return BufferedStage(self, key)

    def put_file(self, key: str, path: Path, size: int, content_type: str) -> None:
        self.write(key, path.read_bytes(), content_type)

    def delete(self, keys: Iterable[str], *, keep_folders: bool = False) -> dict[str, MediaError]:
        failed: dict[str, MediaError] = {}
        for key in list(keys):
            try:
                self._step("delete", key, lambda key=key: self.cells.objects.pop(key, None), changes=True)
            except MediaError as error:
                failed[key] = error
        return failed

    # -- looks ---------------------------------------------------------------------------------------------
    def fetch(self, reads: Sequence[str] = (), heads: Sequence[str] = (), *, patient: bool = False) -> Fetched:
        del patient
        cells = self.cells
        found = [self._step("read", key, lambda key=key: (cells.data(key), cells.token(key))) for key in reads]
        return Fetched([data for data, _ in found], [self.head(key) for key in heads], [token for _, token in found])

    def head(self, key: str) -> Entry | None:
        return self._step("head", key, lambda: self.cells.entry(key))

    def read(self, key: str) -> bytes | None:
        return self.read_range(key, None, None)

    def read_range(self, key: str, start: int | None, end: int | None) -> bytes | None:
        return self._step("read", key, lambda: self.cells.data(key, start, end))

    def open(self, key: str, *, block_size: int = 0, size: int | None = None) -> BinaryIO:
        data = self.read_range(key, None, None)
        if data is None:
            raise FileNotFoundError(key)
        return io.BytesIO(data)

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        prefix, after = f"{prefix.rstrip('/')}/" if prefix else "", ""
        while True:
            page = self._step("list", prefix, lambda after=after: self.cells.page(prefix, after))
            yield from page[:PAGE]
            if len(page) <= PAGE:
                return
            after = page[PAGE - 1].key

    def children(self, folder: str = "", *, until: str | None = None) -> Listing:
        entries, folders = [], {}
        size = len(folder) + 1 if folder else 0
        for entry in self.entries(folder):
            name, slash, _ = entry.key[size:].partition("/")
            if slash:
                folders[entry.key[:size] + name] = None
            else:
                entries.append(entry)
        return Listing(entries, list(folders))

    def holds(self, folder: str) -> bool:
        prefix = f"{folder}/"
        return self._step("holds", prefix, lambda: any(key.startswith(prefix) for key in self.cells.objects))

    def is_folder(self, key: str) -> bool:
        return self.holds(key)

    def local_path(self, key: str) -> str | None:
        return None
