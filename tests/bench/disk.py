"""Single calls on local disk against the same work by hand: 20 KB, 500 MB, shared bytes, imports, being watched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fsmedia import (
    MediaContent,
    MediaMetadata,
    MediaStore,
    Reference,
    adopt_folder,
    export_imagefolder,
    export_webdataset,
    import_folder,
)
from fsmedia.core.telemetry import Observer, observed
from tests.bench.rounds import compare, interleaved, repeated, s3_server, scratch, seconds, show

COUNT = 300
DATA = b"\x89PNG\r\n\x1a\n" + os.urandom(20_472)


class Floor:
    """The least that must be done by hand: write + rename + sidecar; stat + read + json; two unlinks."""

    def __init__(self, folder: Path, sidecar: bytes, *, sync: bool) -> None:
        self.folder, self.sidecar, self.sync = str(folder), sidecar, sync
        os.makedirs(self.folder)

    def _close(self, descriptor: int) -> None:
        if self.sync:
            os.fsync(descriptor)
        os.close(descriptor)

    def _sync_folder(self) -> None:
        if self.sync:
            self._close(os.open(self.folder, os.O_RDONLY))

    def _write(self, path: str, data: bytes) -> None:
        temporary = f"{path}.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, data)
        self._close(descriptor)
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
            for path in (f"{self.folder}/{i}.meta", f"{self.folder}/{i}"):
                os.unlink(path)
                self._sync_folder()


class Ours:
    """The same through a store, or through its methods below what watches them."""

    def __init__(self, folder: Path, durability: str = "rename", hooks: tuple = (), *, below: bool = False) -> None:
        self.media = MediaStore(folder, durability=durability, hooks=hooks).create()
        methods = [getattr(MediaStore, name) for name in ("store_media", "retrieve_media", "delete_media")]
        self.methods = [method.__wrapped__ if below else method for method in methods]
        self.references: list[str] = []

    def store(self) -> None:
        content, metadata = MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1")
        self.references = [self.methods[0](self.media, content, metadata) for _ in range(COUNT)]

    def retrieve(self) -> None:
        for reference in self.references:
            self.methods[1](self.media, reference)

    def delete(self) -> None:
        for reference in self.references:
            self.methods[2](self.media, reference)


def local() -> None:
    """Print the ratios for both durabilities."""
    with scratch() as folder:
        sample = MediaStore(folder / "sample")
        reference = sample.store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1"))
        sidecar = (folder / "sample" / f"{reference}.meta").read_bytes()
        for name in ("rename", "fsync"):
            floor = Floor(folder / f"floor-{name}", sidecar, sync=name == "fsync")
            pairs = (("floor", floor), ("fsmedia", Ours(folder / f"ours-{name}", name)))
            goals = {"store": "<= 1.5 x with rename", "retrieve": "<= 60 us", "delete": ""}
            taken = interleaved({f"{who} {what}": getattr(item, what) for what in goals for who, item in pairs})
            for what, goal in goals.items():
                figures = {who: taken[f"{who} {what}"] for who, _ in pairs}
                show(f"local, {name}: {what} 20 KB", figures, "floor", COUNT, goal)


LARGE_SIZE = 500 * 10**6
IN_AND_OUT = """
import re, shutil, sys
from fsmedia import MediaContent, MediaMetadata, MediaStore

def peak():  # not ru_maxrss, which begins with the peak of the process that made this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

store = MediaStore(sys.argv[2], durability="rename").create()
store.retrieve_media(store.store_media(MediaContent(data=b"x", mime_type="text/plain"), MediaMetadata(run_id="r")))
before = peak()
reference = store.store_media(MediaContent.from_path(sys.argv[1]), MediaMetadata(run_id="r"))
with store.open(reference) as source, open(sys.argv[3], "wb") as target:
    shutil.copyfileobj(source, target, 2**20)
store.delete_media(reference)
print((peak() - before) / 1024)
"""


def large() -> None:
    with scratch() as folder:
        source = folder / "source.mp4"
        with source.open("wb") as file:
            file.writelines(os.urandom(10**6) for _ in range(LARGE_SIZE // 10**6))
        _compare_large(folder, source)


def _compare_large(folder: Path, source: Path) -> None:
    store = MediaStore(folder / "store", durability="rename").create()

    def by_hand() -> None:
        (folder / "copy").unlink(missing_ok=True)  # as below: no candidate leaves the next one more dirty pages
        subprocess.run(["cp", source, folder / "copy"], check=True)
        with source.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    def ours_in() -> None:
        for reference in store.list():
            store.delete_media(reference)
        store.store_media(MediaContent.from_path(source), MediaMetadata(run_id="r1"))

    def ours_out() -> None:
        (folder / "out").unlink(missing_ok=True)
        digest = hashlib.sha256()
        with store.open(reference) as file, (folder / "out").open("wb") as target:
            while data := file.read(2**20):
                digest.update(data)
                target.write(data)

    compare("500 MB in, rename", {"cp + sha256": by_hand, "fsmedia": ours_in}, "cp + sha256", 1, "<= 1.2 x")
    reference = next(store.list())
    compare("500 MB out", {"cp + sha256": by_hand, "fsmedia": ours_out}, "cp + sha256", 1, "<= 1.2 x")
    child = [sys.executable, "-c", IN_AND_OUT, str(source), str(folder / "child"), str(folder / "out")]
    added = subprocess.run(child, check=True, capture_output=True, text=True).stdout.strip()
    print(f"\npeak memory that 500 MB in and out add to a child: {float(added):.1f} MiB   (goal: < 64 MiB)")


def reads() -> None:
    with s3_server() as server:
        url, options = server.new_root(direct=True)
        _compare_reads("S3", url, options)
    with scratch() as folder:
        _compare_reads("local disk, in the page cache", folder, {})


def _compare_reads(where: str, url: str, options: dict[str, Any]) -> None:
    """Read the same media with and without checks."""
    opened = partial(MediaStore, url, storage_options=options)
    stores = {"unchecked": opened(verify_reads=False), "checked": opened()}
    for size, times in ((20_000, 100), (500_000_000, 1)):
        content = MediaContent.from_bytes(os.urandom(size), "application/x-bench")
        reference = stores["checked"].store_media(content, MediaMetadata(run_id="reads"))

        def read_bytes(store: MediaStore, reference: Reference = reference, times: int = times) -> None:
            for _ in range(times):
                store.retrieve_media(reference).read_bytes()

        def in_pieces(store: MediaStore, reference: Reference = reference, times: int = times) -> None:
            for _ in range(times):
                with store.open(reference) as file:
                    while file.read(2**20):
                        pass

        for way in (read_bytes, in_pieces):
            ways = {name: partial(way, store) for name, store in stores.items()}
            compare(f"{where}: {way.__name__}, {size:,} bytes", ways, "unchecked", times, "at most 1.15 x")


CALLS = 100_000


class Empty:
    """A method that does nothing, so that only the watching is seen."""

    _observer = Observer("/media")

    def plain(self) -> None:
        pass

    @observed("nothing")
    def watched(self) -> None:
        pass


def _rounds(title: str, candidates: dict[str, Ours]) -> None:
    for operation in ("store", "retrieve"):
        calls = {name: getattr(each, operation) for name, each in candidates.items()}
        compare(f"{operation}, {title}", calls, "not watched", COUNT, rounds=9)


def _empty(title: str) -> None:
    calls = {name: partial(repeated, getattr(Empty(), name), CALLS) for name in ("plain", "watched")}
    compare(f"an empty method, {title}", calls, "plain", CALLS, "under 2 us")


def telemetry() -> None:
    """Run without OpenTelemetry, then with its API, then with its SDK."""
    with scratch() as folder:
        if "opentelemetry.trace" not in sys.modules:
            _empty("OpenTelemetry not loaded")
        bare, unheard = Ours(folder / "a", below=True), Ours(folder / "b")
        hooked = Ours(folder / "c", hooks=(str,))
        candidates = {"not watched": bare, "nobody listens": unheard, "a hook": hooked}
        _rounds("OpenTelemetry not loaded", candidates)
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider

        _empty("OpenTelemetry's API loaded, not set up")
        trace.set_tracer_provider(TracerProvider())
        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
        _rounds("OpenTelemetry's SDK set up", {"not watched": bare, "spans": unheard})


CONTENTS = int(os.environ.get("FSMEDIA_BENCH_CONTENTS", "20000"))
_SAMPLE = 500
CONTENT_SIZE = 2_000


def _content(number: int) -> MediaContent:
    return MediaContent.from_bytes(number.to_bytes(8, "big") * (CONTENT_SIZE // 8), "application/octet-stream")


def _timed(store: MediaStore, numbers: range, run: str) -> tuple[float, list[str]]:
    """Return the median seconds of a store, and the references."""
    references: list[str] = []

    def put(number: int) -> None:
        references.append(store.store_media(_content(number), MediaMetadata(run_id=run, message_idx=number % 1000)))

    return statistics.median(seconds(partial(put, number)) for number in numbers), references


def _deleted(store: MediaStore, references: list[str]) -> float:
    return statistics.median(seconds(partial(store.delete_media, reference)) for reference in references)


def deduplication() -> None:
    with scratch() as folder:
        store = MediaStore(f"{folder}/store", deduplicate=True, durability="rename")
        plain = MediaStore(f"{folder}/plain", durability="rename")
        begun = time.perf_counter()
        first, early = _timed(store, range(_SAMPLE), "r0")
        delete_early = _deleted(store, early[: _SAMPLE // 2])
        for start in range(_SAMPLE, CONTENTS - _SAMPLE, 1000):
            _timed(store, range(start, min(start + 1000, CONTENTS - _SAMPLE)), f"r{start}")
        last, late = _timed(store, range(CONTENTS - _SAMPLE, CONTENTS), "last")
        hits, shared = _timed(store, range(CONTENTS - _SAMPLE, CONTENTS), "hits")
        delete_shared = _deleted(store, shared)
        delete_last = _deleted(store, late[: _SAMPLE // 2])
        plainly, stored = _timed(plain, range(_SAMPLE), "r0")
        delete_plain = _deleted(plain, stored)
        took = time.perf_counter() - begun
        print(f"\n{CONTENTS:,} unique contents of {CONTENT_SIZE:,} bytes, local, durability=rename ({took:.0f} s)")
        mixed = MediaStore(f"{folder}/mixed", deduplicate=True, durability="rename")

        def store_mixed() -> None:
            for number in range(CONTENTS // 10):
                _timed(mixed, range(number % (CONTENTS // 100), number % (CONTENTS // 100) + 1), f"m{number % 10}")

        for name, taken in {
            "store, the first 500": first, "store, the last 500": last, "store, already there": hits,
            "store, without deduplication": plainly, "delete of a last reference, early": delete_early,
            "delete of a last reference, late": delete_last, "delete of a shared reference": delete_shared,
            "delete, without deduplication": delete_plain,
            "store, 90 % duplicates": seconds(store_mixed) / (CONTENTS // 10),
        }.items():  # fmt: skip
            print(f"  {name:<42}{taken * 1e6:>12.1f} us")


FILES, FILE_SIZE, _RUNS = int(os.environ.get("FSMEDIA_BENCH_MEDIA", "3000")), 20_000, 30


def planted(top: Path) -> Path:
    """Write the files that are imported."""
    for number in range(FILES):
        file = top / f"r{number % _RUNS}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((DATA[:8] + number.to_bytes(8, "big")).ljust(FILE_SIZE, b"x"))
    return top


def copied(tree: Path, target: Path) -> None:
    """Copy every file and take its digest: the least that an import does."""
    for file in sorted(tree.rglob("*.png")):
        place = target / file.relative_to(tree)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data := file.read_bytes())
        hashlib.sha256(data).hexdigest()


def archived(tree: Path, target: Path) -> None:
    """Put every file into one tar file: the least that an export of shards does."""
    with tarfile.open(target, "w") as archive:
        for file in sorted(tree.rglob("*.png")):
            archive.add(file, file.name)


def exchange() -> None:
    with scratch() as folder:
        tree = planted(folder / "tree")
        store = MediaStore(folder / "known", durability="rename")
        import_folder(store, tree)
        adopted = planted(folder / "adopted")
        numbers = iter(range(10**6))

        def on(work: Callable[[Path], object]) -> Callable[[], None]:
            def once() -> None:
                place = folder / f"x{next(numbers)}"
                work(place)
                shutil.rmtree(place) if place.is_dir() else place.unlink()

            return once

        def adopt() -> None:
            adopt_folder(adopted)
            for file in adopted.rglob("*.meta"):
                file.unlink()

        candidates: dict[str, Callable[[], object]] = {
            "copy with digests": on(partial(copied, tree)),
            "tar": on(partial(archived, tree)),
            "import": on(lambda place: import_folder(MediaStore(place, durability="rename"), tree)),
            "import again": partial(import_folder, store, tree),
            "adopt in place (fsync)": adopt,
            "export imagefolder": on(partial(export_imagefolder, store)),
            "export webdataset": on(partial(export_webdataset, store)),
        }
        title = f"exchange, {FILES} files of {FILE_SIZE} bytes, per file"
        compare(title, candidates, "copy with digests", FILES, rounds=3)
