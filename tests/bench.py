"""Figures: `python -m tests.bench NAME ...` runs benches, without a name it says which there are.

Not part of the tests: a machine's load would fail them. The README's test command installs all they need. Candidates
take turns: each runs once a round, and the median of its rounds counts.
"""

import asyncio
import gc
import hashlib
import itertools
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import fsspec

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.catalog.views import CatalogRows, Tree
from fsmedia.core.telemetry import Observer, observed
from fsmedia.format import keys
from fsmedia.format.layout import DEFAULT_VIEWS, View
from fsmedia.storage.fsspec_backend import CONCURRENCY
from tests.servers import RcloneServer, S3Server, SeaweedServer
from tests.surfaces.commands import started
from tests.surfaces.specimens import picture
from tests.surfaces.test_browse import entered

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

ROUNDS = 5


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def interleaved(candidates: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            gc.collect()
            taken[name].append(seconds(run))
    return {name: statistics.median(each) for name, each in taken.items()}


def show(title: str, figures: Mapping[str, float], base: str, per: int, goal: str = "") -> None:
    """Print the figures of one comparison, as microseconds for each item and as ratios to one of them."""
    print(f"\n{title}{f'   (goal: {goal})' if goal else ''}")
    for name, taken in figures.items():
        print(f"  {name:<42}{taken / per * 1e6:>12.1f} us{taken / figures[base]:>9.2f} x")


def compare(title: str, candidates: dict[str, Any], base: str, per: int, goal: str = "", rounds: int = ROUNDS) -> None:
    show(title, interleaved(candidates, rounds), base, per, goal)


def measured(code: str, *arguments: str) -> Any:
    """Return what a child prints of itself, as JSON; it finds the tests where this program is run."""
    child = [sys.executable, "-c", code, *arguments]
    return json.loads(subprocess.run(child, stdout=subprocess.PIPE, check=True).stdout)


def repeated(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fsmedia-bench-") as folder:
        yield Path(folder)


@contextmanager
def s3_server(kind: type[S3Server] = RcloneServer) -> Iterator[S3Server]:
    """Start a server in a process of its own; rclone is the fastest, but reads a folder anew for each page of it."""
    server = kind().start()
    try:
        yield server
    finally:
        server.stop()


# -- single calls on local disk: 20 KB, 500 MB, shared bytes, imports, being watched ---------------------------------
COUNT = 300
DATA = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480) + os.urandom(20_456)


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
    with scratch() as folder:
        sample = MediaStore(folder / "sample")
        reference = sample.store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1"))
        sidecar = (folder / "sample" / f"{reference}.meta").read_bytes()
        for name in ("rename", "fsync"):
            floor = Floor(folder / f"floor-{name}", sidecar, sync=name == "fsync")
            pairs = (("floor", floor), ("fsmedia", Ours(folder / f"ours-{name}", name)))
            goals = {"store": "<= 1.5 x", "retrieve": "<= 3 x", "delete": "<= 3.5 x, with fsync 1.3 x"}
            taken = interleaved({f"{who} {what}": getattr(item, what) for what in goals for who, item in pairs})
            for what, goal in goals.items():
                figures = {who: taken[f"{who} {what}"] for who, _ in pairs}
                show(f"local, {name}: {what} 20 KB", figures, "floor", COUNT, goal)


LARGE_SIZE = 500 * 10**6
IN_AND_OUT = """
import json, shutil, sys
from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.protocol.streaming_child import peak
engine, options = sys.argv[4:] or (None, "null")
store = MediaStore(sys.argv[2], durability="rename", storage_options=json.loads(options), engine=engine).create()
store.retrieve_media(store.store_media(MediaContent(data=b"x", mime_type="text/plain"), MediaMetadata(run_id="r")))
before = peak()
reference = store.store_media(MediaContent.from_path(sys.argv[1]), MediaMetadata(run_id="r"))
with store.open(reference) as source, open(sys.argv[3], "wb") as target:
    shutil.copyfileobj(source, target, 2**20)
store.delete_media(reference)
print(json.dumps(peak() - before))
"""


def large() -> None:
    with scratch() as folder:
        source = folder / "source.mp4"
        with source.open("wb") as file:
            file.writelines(os.urandom(10**6) for _ in range(LARGE_SIZE // 10**6))
        _compare_large(folder, source)
        with s3_server(SeaweedServer) as server:  # rclone answers ranges by 200, which obstore does not take
            _compare_large_on_s3(folder, source, *server.new_root(direct=True))


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
    added = measured(IN_AND_OUT, str(source), str(folder / "child"), str(folder / "out"))
    print(f"\npeak memory that 500 MB in and out add to a child: {added / 2**20:.1f} MiB   (goal: < 64 MiB)")


def _compare_large_on_s3(folder: Path, source: Path, url: str, options: dict[str, Any]) -> None:
    raw, taken = obstore_of(url, options), folder / "taken"
    stores = {engine: MediaStore(url, storage_options=options, engine=engine).create() for engine in ENGINES}

    def own_in() -> None:
        with source.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        raw.put("raw", source, attributes={"Content-Type": "video/mp4"})

    def ours_in(engine: str) -> None:
        stores[engine].store_media(MediaContent.from_path(source), MediaMetadata(run_id=engine))

    def own_out() -> None:
        digest = hashlib.sha256()
        with taken.open("wb") as target:
            for piece in raw.get("raw").stream():
                digest.update(piece)
                target.write(piece)

    def ours_out(engine: str) -> None:
        with stores[engine].open(next(stores[engine].list(run_id=engine))) as file, taken.open("wb") as target:
            shutil.copyfileobj(file, target, 2**20)

    for what, own, call in (("in", own_in, ours_in), ("out", own_out, ours_out)):
        calls = {"obstore + sha256": own} | {f"fsmedia by {engine}": partial(call, engine) for engine in ENGINES}
        compare(f"S3: 500 MB {what}", calls, "obstore + sha256", 1, "<= 1.15 x", 3)
    for engine in ENGINES:
        added = measured(IN_AND_OUT, str(source), url, str(taken), engine, json.dumps(options))
        print(f"peak memory that 500 MB in and out add, by {engine}: {added / 2**20:.1f} MiB   (goal: < 64 MiB)")


def reads() -> None:
    with s3_server() as server:
        _compare_reads("S3", *server.new_root(direct=True))
    with scratch() as folder:
        _compare_reads("local disk, in the page cache", folder, {})


def read_bytes(store: MediaStore, reference: str) -> None:
    store.retrieve_media(reference).read_bytes()


def in_pieces(store: MediaStore, reference: str) -> None:
    with store.open(reference) as file:
        while file.read(2**20):
            pass


def _compare_reads(where: str, url: str, options: dict[str, Any]) -> None:
    opened = partial(MediaStore, url, storage_options=options)
    stores = {"unchecked": opened(verify_reads=False), "checked": opened()}
    for size, times in ((20_000, 100), (500_000_000, 1)):
        content = MediaContent.from_bytes(os.urandom(size), "application/x-bench")
        reference = stores["checked"].store_media(content, MediaMetadata(run_id="reads"))

        for way in (read_bytes, in_pieces):
            ways = {name: partial(repeated, partial(way, store, reference), times) for name, store in stores.items()}
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
        candidates = {"not watched": bare, "nobody listens": unheard, "a hook": Ours(folder / "c", hooks=(str,))}
        _rounds("OpenTelemetry not loaded", candidates)
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider

        _empty("OpenTelemetry's API loaded, not set up")
        trace.set_tracer_provider(TracerProvider())
        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
        _rounds("OpenTelemetry's SDK set up", {"not watched": bare, "spans": unheard})


CONTENTS, CONTENT_SIZE, _SAMPLE = int(os.environ.get("FSMEDIA_BENCH_CONTENTS", "20000")), 2_000, 500


def _timed(store: MediaStore, numbers: range, run: str) -> tuple[float, list[str]]:
    """Return the median seconds of a store, and the references."""
    references: list[str] = []

    def put(number: int) -> None:
        content = MediaContent.from_bytes(number.to_bytes(8, "big") * (CONTENT_SIZE // 8), "application/octet-stream")
        references.append(store.store_media(content, MediaMetadata(run_id=run, message_idx=number % 1000)))

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


# -- large local stores: sweeps, the catalog, verify and views ---------------------------------------------
STORED = int(os.environ.get("FSMEDIA_BENCH_MEDIA", "100000"))


def filled(root: str, count: int, due: int, *, runs: int = 100, **settings: Any) -> None:
    """Store tiny media: `due` of them have expired, all others do so later."""
    store = MediaStore(root, durability="rename", **settings)
    content = MediaContent.from_bytes(b"x", "text/plain")
    now = datetime.now(UTC)

    def pairs():
        for number in range(count):
            past = number % (count // due) == 0 if due else False
            timestamp = now - timedelta(days=2, minutes=number % 600) if past else now
            policy = "retain-1days" if past else "retain-30days"
            ids = {"run_id": f"r{number % runs}", "session_id": f"s{number % 700}"}
            yield content, MediaMetadata(**ids, timestamp=timestamp, policy_name=policy)

    store.store_many(pairs())


def walk(root: str, *, delete: bool = False) -> int:
    """Open every sidecar, compare its time, remove what is past: the least that a sweep without an index does."""
    now, found = datetime.now(UTC), 0
    for folder, _, names in os.walk(root):
        for path in (f"{folder}/{name}" for name in names if name.endswith(".meta")):
            with open(path, "rb") as file:
                expires_at = json.loads(file.read()).get("expires_at")
            if expires_at and datetime.fromisoformat(expires_at) <= now:
                found += 1
                if delete:
                    os.unlink(path)
                    os.unlink(path.removesuffix(".meta"))
    return found


def retention() -> None:
    with scratch() as folder:
        idle, due = f"{folder}/idle", f"{folder}/due"
        filled(idle, STORED, 0)
        sweeps = {
            "walk that opens every sidecar": lambda: walk(idle),
            "sweep, idle": lambda: MediaStore(idle).enforce_policy(),
        }
        compare(f"sweep of {STORED:,} media, none due", sweeps, "sweep, idle", 1, "walk at least 100 x", rounds=3)
        shutil.rmtree(idle)
        part = STORED // 100
        filled(due, STORED, part)
        copies = [f"{folder}/copy-{number}" for number in range(3)]
        for copy in copies:
            shutil.copytree(due, copy, copy_function=os.link)
        sweeps = {
            "walk, opens every sidecar, deletes": lambda: walk(copies[0], delete=True),
            "sweep, durability=rename": lambda: MediaStore(copies[1], durability="rename").enforce_policy(),
            "sweep, durability=fsync": lambda: MediaStore(copies[2]).enforce_policy(),
        }
        title = f"sweep of {STORED:,} media, {part:,} due"
        compare(title, sweeps, "sweep, durability=rename", 1, "walk at least 5 x", rounds=1)
        assert walk(copies[1]) == walk(copies[2]) == 0
        assert Path(due).exists()


CATALOG_CHILD = """
import json, sys, time
what, root = sys.argv[1:]
if what == "find":
    import fsspec
    fs = fsspec.filesystem("file")
else:
    import pyarrow, pyarrow.compute, pyarrow.parquet
    from fsmedia import MediaStore
    store = MediaStore(root, durability="rename")
begun = time.perf_counter()
count = len({
    "find": lambda: fs.find(root, detail=True),
    "open": lambda: (),
    "list": lambda: list(store.list(mime_type="text/*")),
    "filter": lambda: store.catalog(refresh=False).filter(mime_type="text/*", policy_name="retain-30days"),
    "refresh": lambda: store.catalog(),
}[what]())
took = time.perf_counter() - begun
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([took, count, peak / 1024]))
"""


def catalog() -> None:
    with scratch() as folder:
        root = f"{folder}/media"
        filled(root, STORED, 0)
        print(f"catalog of {STORED:,} media on a local disk")
        print(f"  {'':34}{'seconds':>9}{'rows/s':>10}{'peak MiB':>10}")
        for title, what in (
            ("only open the store", "open"), ("fsspec find, detail=True", "find"),
            ("list(mime_type=...), no catalog", "list"), ("first refresh", "refresh"),
            ("refresh, nothing changed", "refresh"), ("list(mime_type=...), with catalog", "list"),
            ("read the snapshot and filter", "filter"),
        ):  # fmt: skip
            took, count, peak = measured(CATALOG_CHILD, what, root)
            print(f"  {title:34}{took:>9.2f}{count / took:>10,.0f}{peak:>10.0f}")


def attributes() -> None:
    """Listing by one of ten attributes, beside listing by an id; both ask a young catalog."""
    with scratch() as folder:
        store = MediaStore(folder / "media", durability="rename")
        content = MediaContent.from_bytes(b"x", "text/plain")
        texts = {
            "model": "gpt-image-{}",
            "prompt": "a cat, number {}, on the moon",
            "size": "{0}x{0}",
            "sampler": "s{}",
        }

        def metadata(number: int) -> MediaMetadata:
            given: dict[str, Any] = {name: text.format(number % 97) for name, text in texts.items()}
            given |= {"seed": number, "steps": number % 40, "score": number % 50 / 10, "cfg": 7.5}
            given |= {"draft": number % 3 == 0, "tags": ["night", f"t{number % 100}"]}
            return MediaMetadata(run_id=f"r{number % 100}", provider_id=f"p{number % 5}", attributes=given)

        store.store_many((content, metadata(number)) for number in range(STORED))
        print(f"catalog of {STORED:,} media with ten attributes on a local disk")
        for what in ("first refresh", "nothing changed", "nothing changed"):  # the first finds some too young
            took, _, peak = measured(CATALOG_CHILD, "refresh", str(store.url))
            print(f"  {what:34}{took:>9.2f} s{peak:>10.0f} MiB at most")
        asked: dict[str, dict[str, Any]] = {
            "provider_id": {"provider_id": "p3"}, "model, text": {"attributes": {"model": "gpt-image-3*"}},
            "prompt, text": {"attributes": {"prompt": "*number 9*"}}, "no draft": {"attributes": {"draft": None}},
            "score, a range": {"attributes": {"score": (4, None)}}, "tags, lists": {"attributes": {"tags": "t3*"}},
        }  # fmt: skip
        calls = {name: partial(_counted, store, words) for name, words in asked.items()}
        compare("list(...), with a young catalog", calls, "provider_id", STORED, "<= 1.3 x")


def _counted(store: MediaStore, words: dict[str, Any]) -> int:
    return sum(1 for _ in store.list(**words))


VERIFY_SIZE = 2_000
VERIFY_CHILD = """
import json, sys, time
from fsmedia import MediaStore
from tests.protocol.streaming_child import peak
store = MediaStore(sys.argv[1], read_only=True)
before = peak()
begun = time.perf_counter()
report = store.verify(deep=sys.argv[2] == "deep")
took = time.perf_counter() - begun
assert report.whole and report.media == int(sys.argv[3]), report
print(json.dumps([took, peak() - before]))
"""


def _filled_to_verify(root: str, *, shared: bool) -> None:
    """Store media that all expire: each has a due entry, and a marker where bytes are shared."""
    MediaStore(root, durability="rename", deduplicate=shared).store_many(
        (
            MediaContent.from_bytes(number.to_bytes(8, "big") * (VERIFY_SIZE // 8), "application/octet-stream"),
            MediaMetadata(run_id=f"r{number % 100}", policy_name="retain-30days"),
        )
        for number in range(STORED)
    )


def verify() -> None:
    print(f"\nverify of {STORED:,} media of {VERIFY_SIZE:,} bytes on local disk, each with a policy")
    for shared in (False, True):
        with scratch() as folder:
            _filled_to_verify(f"{folder}/store", shared=shared)
            for depth in ("shallow", "deep"):
                took, added = measured(VERIFY_CHILD, f"{folder}/store", depth, str(STORED))
                name = f"{'shared' if shared else 'plain'}, {depth}"
                print(
                    f"  {name:<20}{took:>8.1f} s{took / STORED * 1e6:>10.1f} us a media{added / 2**20:>10.1f} MiB "
                    f"more{added / STORED:>8.0f} bytes a media"
                )


MEDIA, RUNS = 100_000, 1000
BY_DAY = View("by-day", "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}")
LOOKS = 200


def views() -> None:
    with scratch() as folder:
        _trees()
        _store(folder / "m")


def _line(what: str, took: float, goal: str = "") -> None:
    print(f"  {what:<58}{took * 1000:>12.3f} ms{f'   (goal: {goal})' if goal else ''}")


def _columns() -> Callable[[str], list[Any]]:
    """Columns as a catalog gives them, without a store."""
    begun = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**6
    names = [keys.plain_name(number % 9, 0, keys.new_unique()) for number in range(MEDIA)]
    references = sorted(f"runs/run-{number % RUNS:04d}/{name}.png" for number, name in enumerate(names))
    times = [begun + number * 26_000_000 for number in range(MEDIA)]
    columns: dict[str, list[Any]] = {
        "reference": references, "run_id": [each.split("/")[1] for each in references],
        "session_id": [f"session-{number % 700}" for number in range(MEDIA)], "conversation_id": [None] * MEDIA,
        "mime_type": ["image/png"] * MEDIA, "size_bytes": list(range(MEDIA)), "timestamp": times, "modified": times,
    }  # fmt: skip
    return columns.__getitem__


def _trees() -> None:
    print(f"\ntrees of {MEDIA:,} rows")
    column = _columns()

    def grown(view: View) -> Tree:
        return Tree(view, CatalogRows(column))

    for name, took in interleaved({view.name: partial(grown, view) for view in (*DEFAULT_VIEWS, BY_DAY)}, 3).items():
        _line(f"rows and tree of {name}", took)
    tracemalloc.start()
    rows = CatalogRows(column)
    before, _ = tracemalloc.get_traced_memory()
    trees = [Tree(view, rows) for view in (*DEFAULT_VIEWS, BY_DAY)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"  memory: names {before / 2**20:.1f} MiB, {len(trees)} trees {(after - before) / 2**20:.1f} MiB")


def _store(root: Path) -> None:
    filled(str(root), MEDIA, 0, runs=RUNS, views={BY_DAY.name: BY_DAY.template})
    print(f"\na store of {MEDIA:,} media on local disk")
    opened = partial(fsspec.filesystem, "media", root=str(root), skip_instance_cache=True)
    _line("first look, no catalog in the store (reads every sidecar)", seconds(lambda: opened().ls("by-run")))
    _line("writing a catalog", seconds(MediaStore(root).catalog))
    young = opened(view_max_age=3600)
    _line("first look, a young catalog in the store", seconds(lambda: young.ls("by-run")))
    _line("the next view of the same rows", seconds(lambda: young.ls("by-session")))
    old = opened(view_max_age=0)
    _line("first look, an old catalog in the store (lists it)", seconds(lambda: old.ls("by-run")))
    _line("a later look, nothing changed", seconds(lambda: old.ls("by-run")))
    path = young.ls("by-run/r7", detail=False)[5]
    calls: dict[str, Callable[[], object]] = {
        "ls of a folder of 100": lambda: young.ls("by-run/r7"),
        "ls of the folder of folders (1,000)": lambda: young.ls("by-run"),
        "info": lambda: young.info(path),
        "glob in a folder": lambda: young.glob("by-run/r7/*.txt"),
        "open": lambda: young.open(path).close(),
        "cat_file": lambda: young.cat_file(path),
    }
    taken = interleaved({what: partial(repeated, call, LOOKS) for what, call in calls.items()})
    for what, took in taken.items():
        _line(what, took / LOOKS, "< 5 ms")


# -- over S3: bulk calls, `media://`, syncs and a gallery ------------------------------------------------------------
BULK, LOOPS, LISTED = 1000, 200, 100_000
ENGINES = ("obstore", "fsspec")


def objects() -> None:
    with s3_server() as server:
        _compare_objects(*server.new_root(direct=True))
        _compare_engines(*server.new_root(direct=True))
        _compare_loops(*server.new_root(direct=True))
    with s3_server(SeaweedServer) as server:
        _compare_listings(*server.new_root(direct=True))


def obstore_of(url: str, options: dict[str, Any]) -> Any:
    from obstore.store import S3Store

    login = {"access_key_id": options["key"], "secret_access_key": options["secret"]}
    place = {"aws_endpoint_url_s3": options["endpoint_url"], "region": "us-east-1"}
    return S3Store(url.removeprefix("s3://"), config={**login, **place}, client_options={"allow_http": True})


def at_once(calls: Iterator[Callable[[], Any]]) -> None:
    """Make asynchronous calls as fsmedia does: so many under way at a time."""

    async def all_of() -> None:
        async def work() -> None:
            for call in calls:
                await call()

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))

    asyncio.run(all_of())


def _compare_engines(url: str, options: dict[str, Any]) -> None:
    """Both engines beside obstore's own calls for the same objects, in the same order: bytes before sidecars."""
    raw, turn = obstore_of(url, options), itertools.count()
    stores = {engine: MediaStore(url, storage_options=options, engine=engine).create() for engine in ENGINES}
    first = stores["fsspec"].store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="first"))
    sidecar = bytes(raw.get(f"{first}.meta").bytes())
    stored: dict[str, list[str]] = {}
    put = partial(raw.put_async, attributes={"Content-Type": "image/png"})

    def own_puts() -> None:
        # Names as fsmedia's own: what a PUT takes depends on the folder, and on how deep it lies.
        run = f"runs/own{next(turn)}"
        paths = [f"{run}/{keys.plain_name(0, 0, keys.new_unique())}.png" for _ in range(BULK)]
        at_once(partial(put, path, DATA) for path in paths)
        at_once(partial(put, f"{path}.meta", sidecar) for path in paths)

    def puts(engine: str) -> None:
        run = MediaMetadata(run_id=f"r{next(turn)}")
        stored[engine] = stores[engine].store_many(
            (MediaContent(data=DATA, mime_type="image/png"), run) for _ in range(BULK)
        )

    async def own_get(name: str) -> None:
        bytes(await (await raw.get_async(name)).bytes_async())

    def own_looks() -> None:
        names = stored["obstore"]
        at_once(
            itertools.chain(
                (partial(own_get, f"{each}.meta") for each in names), (partial(raw.head_async, each) for each in names)
            )
        )

    def own_reads() -> None:
        at_once(partial(own_get, each) for each in stored["obstore"])

    def looks(engine: str) -> None:
        stores[engine].retrieve_many(stored[engine])

    def reads(engine: str) -> None:
        stores[engine].fs.cat(stored[engine])

    for title, own, call, per, goal in (
        (f"store_many of {BULK} x 20 KB", own_puts, puts, BULK, "<= 1.2 x"),
        (f"retrieve_many of {BULK}", own_looks, looks, BULK, "<= 1.2 x"),
        (f"cat of {BULK} by media://", own_reads, reads, BULK, "<= 1.2 x"),
    ):
        calls = {"obstore's own calls": own} | {f"fsmedia by {engine}": partial(call, engine) for engine in ENGINES}
        compare(f"S3: {title}", calls, "obstore's own calls", per, goal)


def _compare_loops(url: str, options: dict[str, Any]) -> None:
    raw, turn = obstore_of(url, options), itertools.count()
    stores = {engine: MediaStore(url, storage_options=options, engine=engine).create() for engine in ENGINES}

    def own_loop() -> None:
        run = f"runs/own{next(turn)}"
        for _ in range(LOOPS):
            path = f"{run}/{keys.plain_name(0, 0, keys.new_unique())}.png"
            raw.put(path, DATA, attributes={"Content-Type": "image/png"})
            raw.put(f"{path}.meta", bytes(900))

    def loop(engine: str) -> None:
        content, metadata = MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id=f"r{next(turn)}")
        for _ in range(LOOPS):
            stores[engine].store_media(content, metadata)

    calls = {"obstore's own calls": own_loop} | {f"fsmedia by {engine}": partial(loop, engine) for engine in ENGINES}
    compare(f"S3: {LOOPS} x store_media in a loop", calls, "obstore's own calls", LOOPS, "<= 1.3 x")


def _compare_listings(url: str, options: dict[str, Any]) -> None:
    raw = obstore_of(url, options)
    MediaStore(url, storage_options=options).create()
    names = [f"runs/r{run}/0000_00_{keys.new_unique()}.png" for run in range(100) for _ in range(LISTED // 100)]
    at_once(partial(raw.put_async, f"{name}{suffix}", b"{}") for suffix in ("", ".meta") for name in names)
    calls: dict[str, Callable[[], object]] = {
        "obstore's own listing": lambda: sum(len(page) for page in raw.list("runs"))
    }
    for engine in ENGINES:
        store = MediaStore(url, storage_options=options, engine=engine)
        calls[f"fsmedia list, by {engine}"] = partial(_counted, store, {})
    compare(f"S3: list of {LISTED:,} media, with their sidecars", calls, "obstore's own listing", LISTED, "<= 1.5 x", 3)


def _compare_objects(url: str, options: dict[str, Any]) -> None:
    store = MediaStore(url, storage_options=options).create()
    raw = fsspec.filesystem("s3", use_listings_cache=False, config_kwargs=RcloneServer.config, **options)
    root = url.removeprefix("s3://")
    first = store.store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="first"))
    sidecar = raw.cat_file(f"{root}/{first}.meta")
    turn = itertools.count()
    stored: list[str] = []

    def ours() -> None:
        run_id = f"r{next(turn)}"
        pairs = ((MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id=run_id)) for _ in range(BULK))
        stored[:] = store.store_many(pairs)

    def s3fs_put() -> None:
        paths = [f"{root}/raw{next(turn)}/{i}" for i in range(BULK)]
        raw.pipe(dict.fromkeys(paths, DATA) | {f"{path}.meta": sidecar for path in paths})

    puts = {"s3fs pipe, the same objects": s3fs_put, "fsmedia store_many": ours}
    compare(f"S3: store {BULK} x 20 KB with sidecars", puts, "s3fs pipe, the same objects", BULK, "<= 1.15 x")

    gets = {
        "s3fs cat of the bytes": lambda: raw.cat([f"{root}/{reference}" for reference in stored]),
        "s3fs cat of the sidecars": lambda: raw.cat([f"{root}/{reference}.meta" for reference in stored]),
        "fsmedia retrieve_many": lambda: [content.mime_type for content in store.retrieve_many(stored)],
    }
    compare(f"S3: look at {BULK} media (a GET and a HEAD each)", gets, "s3fs cat of the bytes", BULK)

    def ours_delete() -> None:
        store.delete_many(stored)
        ours()

    both = {"fsmedia store_many + delete_many": ours_delete, "fsmedia store_many": ours}
    compare("S3: delete_many, beside store_many", both, "fsmedia store_many", BULK, rounds=1)


READS = 1000
FOLDER = 10_000


def filesystem() -> None:
    with scratch() as folder:
        for root, protocol in ((str(folder / "m"), "file"), ("memory://bench", "memory")):
            _single(root, fsspec.filesystem(protocol))
    with s3_server() as server:
        _bulk(*server.new_root(direct=True))


def _opened(fs: Any, path: str) -> bytes:
    with fs.open(path, "rb") as file:
        data: bytes = file.read()
    return data


def _single(root: str, raw: Any) -> None:
    store = MediaStore(root, durability="rename").create()
    fs = store.fs
    reference = store.store_media(MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1"))
    fs.pipe_file("runs/r1/x.png", DATA)
    below = root.removeprefix("memory:/")
    title = "memory" if root.startswith("memory") else "local"
    pairs: dict[str, Callable[[Any, str], Any]] = {
        "cat_file": lambda each, path: each.cat_file(path),
        "cat_file of 100 bytes": lambda each, path: each.cat_file(path, 100, 200),
        "open and read": _opened,
        "info": lambda each, path: each.info(path),
        "exists": lambda each, path: each.exists(path),
        "isdir": lambda each, path: each.isdir(path),
        "ls": lambda each, path: each.ls(path.rpartition("/")[0]),
    }
    for what, call in pairs.items():
        places = {"raw": (raw, f"{below}/{reference}"), "media://": (fs, "runs/r1/x.png")}
        places["media://, own name"] = (fs, reference)
        calls = {name: partial(repeated, partial(call, *place), READS) for name, place in places.items()}
        compare(f"{title}: {what}", calls, "raw", READS, "<= 1.2 x or + 5 us")
    raw.makedirs(f"{below}/runs/many")
    for number in range(FOLDER):
        raw.pipe_file(f"{below}/runs/many/{number:05d}.png", b"x")
        raw.pipe_file(f"{below}/runs/many/{number:05d}.png.meta", b"{}")
    both = {"raw": lambda: raw.ls(f"{below}/runs/many"), "media://": lambda: fs.ls("runs/many")}
    compare(f"{title}: ls of {FOLDER} media (raw lists the sidecars too)", both, "raw", FOLDER)


def _bulk(url: str, options: dict[str, Any]) -> None:
    store = MediaStore(url, storage_options=options).create()
    pairs = ((MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1")) for _ in range(BULK))
    references = store.store_many(pairs)
    raw = fsspec.filesystem("s3", use_listings_cache=False, config_kwargs=RcloneServer.config, **options)
    root = url.removeprefix("s3://")
    fs = store.fs
    paths = [f"{root}/{reference}" for reference in references]
    cats: dict[str, Callable[[], object]] = {
        "raw": lambda: raw.cat(paths),
        "raw, one request each": lambda: raw.cat(paths, max_concurrency=1),
        "media://": lambda: fs.cat(references),
    }
    compare(f"S3 (rclone): cat of {BULK} x 20 KB", cats, "raw", BULK)
    lists = {"raw": lambda: raw.ls(f"{root}/runs/r1", detail=True), "media://": lambda: fs.ls("runs/r1")}
    compare(f"S3 (rclone): ls of {BULK} media", lists, "raw", BULK)


SYNCED = 500
LARGE = 64 * 2**20


def sync() -> None:
    with s3_server() as server, scratch() as folder:
        for name, count, size, rounds in (("small", SYNCED, 20_000, ROUNDS), ("large", 3, LARGE, 3)):
            source = MediaStore(folder / name, durability="rename").create()
            contents = (MediaContent(data=os.urandom(size), mime_type="image/png") for _ in range(count))
            source.store_many((content, MediaMetadata(run_id="r1")) for content in contents)
            _synced(source, server, folder / f"{name} copies", f"{count} x {size:,} bytes", count, rounds)


def _synced(source: MediaStore, server: RcloneServer, folder: Path, title: str, count: int, rounds: int) -> None:
    turn = itertools.count()
    url, options = server.new_root(direct=True)
    raw = fsspec.filesystem("s3", use_listings_cache=False, config_kwargs=RcloneServer.config, **options)
    bucket, far = url.removeprefix("s3://"), f"{url}/far"
    source.sync_to(far, storage_options=options)

    def put() -> None:
        raw.put(f"{source.url}/runs", f"{bucket}/raw{next(turn)}", recursive=True)

    def ours(store: MediaStore) -> None:
        assert store.sync_to(f"{url}/ours{next(turn)}", storage_options=options).copied == count

    def again() -> None:
        assert source.sync_to(far, storage_options=options).unchanged == count

    puts = {"s3fs put -r": put, "fsmedia sync": partial(ours, source), "fsmedia sync, nothing new": again}
    compare(f"local -> S3: {title}", puts, "s3fs put -r", count, "<= 1.5 x", rounds)

    def get() -> None:
        raw.get(f"{bucket}/far/runs", str(folder / f"raw{next(turn)}"), recursive=True)

    def ours_back() -> None:
        store = MediaStore(far, storage_options=options, durability="rename")
        assert store.sync_to(folder / f"ours{next(turn)}").copied == count

    gets = {"s3fs get -r": get, "fsmedia sync": ours_back}
    compare(f"S3 -> local: {title}", gets, "s3fs get -r", count, "<= 1.5 x", rounds)

    def copy() -> None:
        raw.copy(f"{bucket}/far/runs", f"{bucket}/raw{next(turn)}", recursive=True)

    copies = {"s3fs cp -r": copy, "fsmedia sync": lambda: ours(MediaStore(far, storage_options=options))}
    compare(f"S3 -> S3, in the storage: {title}", copies, "s3fs cp -r", count, "<= 1.5 x", rounds)


PICTURES = int(os.environ.get("FSMEDIA_BENCH_PICTURES", "1000"))
_SIDES = (1024, 768)


def gallery() -> None:
    with s3_server() as server, scratch() as cache:
        url, options = server.new_root()
        store = MediaStore(url, storage_options=options)
        os.environ["FSMEDIA_CACHE"] = str(cache)
        data = picture(_SIDES, "JPEG")
        store.store_many(
            (MediaContent.from_bytes(data, "image/jpeg"), MediaMetadata(run_id="r1", message_idx=index))
            for index in range(PICTURES)
        )
        print(f"\nA gallery of {PICTURES:,} JPEGs of {_SIDES[0]} x {_SIDES[1]} ({len(data):,} bytes) on rclone's S3")
        for name in ("first", "again"):
            begun = time.perf_counter()
            with server.counted() as requests:
                html = store.gallery(run_id="r1", limit=PICTURES, progress=False).html()
            took = time.perf_counter() - begun
            print(f"  {name:<10}{took:>8.1f} s  {dict(requests)}, a page of {len(html.encode()):,} bytes")


def browse() -> None:
    """The page of a large store, from its own process: its first screen, what is asked of it then, and its memory."""
    with scratch() as folder:
        root, data = f"{folder}/media", picture((1152, 868), "JPEG")
        filled(root, STORED, 0)
        store = MediaStore(root)
        for index in range(30):
            store.store_media(
                MediaContent.from_bytes(data, "image/jpeg"),
                MediaMetadata(run_id="a", session_id="first", message_idx=index),
            )
        store.catalog()
        with started("browse", "--no-open", "-s", root, cwd=folder, env={"FSMEDIA_CACHE": f"{folder}/cache"}) as child:
            assert child.stdout
            site, shown = entered(child.stdout.readline().decode().strip()), list[str]()

            def screen() -> None:
                shown[:] = [each["thumb"] for each in site.get("/api/media?session_id=first&limit=30")["items"]]
                with ThreadPoolExecutor(6) as browser:
                    assert {each.status for each in browser.map(lambda path: site.ask(f"/{path}"), shown)} == {200}

            print(f"the page of {STORED:,} media on a local disk, with a young catalog")
            asked = (
                "media?sort=newest",
                "media?sort=newest&offset=90000",
                "media?q=text+r7",
                "facets",
                "media?refresh=1",
            )
            calls = [("30 thumbnails of 1 megapixel, first", screen), ("30 thumbnails, again", screen)]
            for what, call in [*calls, *((path, partial(site.get, f"/api/{path}")) for path in asked)]:
                _line(what, seconds(call))
            status = Path(f"/proc/{child.pid}/status").read_text()
            print(f"  memory: {int(status.partition('VmHWM:')[2].split()[0]) / 1024:.0f} MiB at most")
            child.terminate()


BENCHES = {
    "Single calls on local disk, against the same work by hand": (local, large, reads, deduplication, telemetry),
    "Large local stores, against the least work there is": (retention, catalog, attributes, views, verify, browse),
    "Over S3 (rclone, in its own process), against raw s3fs": (objects, filesystem, sync, gallery),
}  # fmt: skip

if __name__ == "__main__":
    named = {bench.__name__: bench for group in BENCHES.values() for bench in group}
    unknown = set(sys.argv[1:]) - named.keys()
    if unknown:
        sys.exit(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(named)}")
    for title, group in BENCHES.items() if len(sys.argv) == 1 else ():
        print(f"{title}: {', '.join(bench.__name__ for bench in group)}")
    for name in sys.argv[1:]:
        named[name]()
