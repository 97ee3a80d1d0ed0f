"""Large local stores: sweeps, the catalog, verify, erasures and views, against the least work there is."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import fsspec

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.catalog.views import CatalogRows, Tree
from fsmedia.format import keys
from fsmedia.format.layout import DEFAULT_VIEWS, View
from tests.bench.rounds import compare, interleaved, repeated, scratch, seconds

COUNT = int(os.environ.get("FSMEDIA_BENCH_MEDIA", "100000"))
_RUNS = 100


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


def sidecars(root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Open and parse every sidecar: the least that whoever has no index, or trusts no folder, does."""
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(".meta"):
                with open(f"{folder}/{name}", "rb") as file:
                    yield f"{folder}/{name}", json.loads(file.read())


def walk(root: str, *, delete: bool = False) -> int:
    """Count what is past by its sidecar, and remove it: the least that a sweep without an index does."""
    now, found = datetime.now(UTC), 0
    for path, sidecar in sidecars(root):
        expires_at = sidecar.get("expires_at")
        if expires_at and datetime.fromisoformat(expires_at) <= now:
            found += 1
            if delete:
                os.unlink(path)
                os.unlink(path.removesuffix(".meta"))
    return found


def read_all(root: str) -> int:
    return sum(sidecar["run_id"] == "r7" for _, sidecar in sidecars(root))


def retention() -> None:
    with scratch() as folder:
        idle, due = f"{folder}/idle", f"{folder}/due"
        filled(idle, COUNT, 0)
        sweeps = {
            "walk that opens every sidecar": lambda: walk(idle),
            "sweep, idle": lambda: MediaStore(idle).enforce_policy(),
        }
        compare(f"sweep of {COUNT:,} media, none due", sweeps, "sweep, idle", 1, "walk at least 100 x", rounds=3)
        shutil.rmtree(idle)
        part = COUNT // 100
        filled(due, COUNT, part)
        copies = [f"{folder}/copy-{number}" for number in range(3)]
        for copy in copies:
            shutil.copytree(due, copy, copy_function=os.link)
        sweeps = {
            "walk, opens every sidecar, deletes": lambda: walk(copies[0], delete=True),
            "sweep, durability=rename": lambda: MediaStore(copies[1], durability="rename").enforce_policy(),
            "sweep, durability=fsync": lambda: MediaStore(copies[2]).enforce_policy(),
        }
        title = f"sweep of {COUNT:,} media, {part:,} due"
        compare(title, sweeps, "sweep, durability=rename", 1, "walk at least 5 x", rounds=1)
        assert walk(copies[1]) == walk(copies[2]) == 0
        assert Path(due).exists()


CATALOG_CHILD = """
import json, sys, time
what, root = sys.argv[1:]
begun = None
if what == "find":
    import fsspec
    fs = fsspec.filesystem("file")
    begun = time.perf_counter()
    count = len(fs.find(root, detail=True))
else:
    import pyarrow, pyarrow.compute, pyarrow.parquet
    from fsmedia import MediaStore
    store = MediaStore(root, durability="rename")
    begun = time.perf_counter()
    if what == "open":
        count = 0
    elif what == "list":
        count = len(list(store.list(mime_type="text/*")))
    elif what == "filter":
        count = len(store.catalog(refresh=False).filter(mime_type="text/*", policy_name="retain-30days"))
    else:
        count = len(store.catalog())
took = time.perf_counter() - begun
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([took, count, peak / 1024]))
"""


def measured(code: str, *arguments: str) -> list[Any]:
    """Return the figures that a child prints."""
    child = [sys.executable, "-c", code, *arguments]
    figures: list[Any] = json.loads(subprocess.run(child, stdout=subprocess.PIPE, check=True).stdout)
    return figures


def catalog() -> None:
    with scratch() as folder:
        root = f"{folder}/media"
        filled(root, COUNT, 0)
        print(f"catalog of {COUNT:,} media on a local disk")
        print(f"  {'':34}{'seconds':>9}{'rows/s':>10}{'peak MiB':>10}")
        for title, what in (
            ("only open the store", "open"), ("fsspec find, detail=True", "find"),
            ("list(mime_type=...), no catalog", "list"), ("first refresh", "refresh"),
            ("refresh, nothing changed", "refresh"), ("list(mime_type=...), with catalog", "list"),
            ("read the snapshot and filter", "filter"),
        ):  # fmt: skip
            took, count, peak = measured(CATALOG_CHILD, what, root)
            print(f"  {title:34}{took:>9.2f}{count / took:>10,.0f}{peak:>10.0f}")


VERIFY_SIZE = 2_000
VERIFY_CHILD = """
import json, resource, sys, time
from fsmedia import MediaStore
store = MediaStore(sys.argv[1], read_only=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun = time.perf_counter()
report = store.verify(deep=sys.argv[2] == "deep")
took = time.perf_counter() - begun
assert report.whole and report.media == int(sys.argv[3]), report
print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


def _filled_to_verify(root: str, *, shared: bool) -> None:
    """Store media that all expire: each has a due entry, and a marker where bytes are shared."""
    store = MediaStore(root, durability="rename", deduplicate=shared)
    store.store_many(
        (
            MediaContent.from_bytes(number.to_bytes(8, "big") * (VERIFY_SIZE // 8), "application/octet-stream"),
            MediaMetadata(run_id=f"r{number % _RUNS}", policy_name="retain-30days"),
        )
        for number in range(COUNT)
    )


def verify() -> None:
    print(f"\nverify of {COUNT:,} media of {VERIFY_SIZE:,} bytes on local disk, each with a policy")
    for shared in (False, True):
        with scratch() as folder:
            _filled_to_verify(f"{folder}/store", shared=shared)
            for depth in ("shallow", "deep"):
                took, kilobytes = measured(VERIFY_CHILD, f"{folder}/store", depth, str(COUNT))
                name = f"{'shared' if shared else 'plain'}, {depth}"
                print(
                    f"  {name:<20}{took:>8.1f} s{took / COUNT * 1e6:>10.1f} us a media{kilobytes / 1024:>10.1f} MiB "
                    f"more{kilobytes * 1024 / COUNT:>8.0f} bytes a media"
                )


PICTURE = bytes(range(256)) * 4096


def erasure() -> None:
    with scratch() as folder:
        root = f"{folder}/media"
        filled(root, COUNT, 0)
        reads = {
            "read and parse every sidecar": lambda: read_all(root),
            "erase, dry run": lambda: MediaStore(root).erase(run_id="r7", dry_run=True),
        }
        title = f"one run of {COUNT // 100:,} among {COUNT:,} media"
        compare(title, reads, "erase, dry run", 1, "no budget", rounds=3)
        tracemalloc.start()
        receipt = MediaStore(root).erase(run_id="r7")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"  erased {len(receipt.erased):,}, peak {peak / 2**20:.0f} MiB with its receipt")
        assert read_all(root) == 0
        shutil.rmtree(root)
        store = MediaStore(f"{folder}/messages", durability="rename")
        data = base64.b64encode(PICTURE).decode()
        text = json.dumps({"messages": [{"content": [{"inlineData": {"mimeType": "video/mp4", "data": data}}]}] * 20})
        small = store.externalize_text(text, MediaMetadata(run_id="r1")).text
        assert store.inline_text(small) == text
        ways = {
            "json.loads and dumps": lambda: json.dumps(json.loads(text)),
            "externalize_text": lambda: store.externalize_text(text, MediaMetadata(run_id="r1")),
            "inline_text": lambda: store.inline_text(small),
        }
        title = f"20 times 1 MiB in {len(text) / 2**20:.0f} MiB of JSON"
        compare(title, ways, "externalize_text", 1, "no budget", rounds=3)


MEDIA, RUNS = 100_000, 1000
BY_DAY = View("by-day", "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}")
CALLS = 200


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

    taken = interleaved({view.name: partial(grown, view) for view in (*DEFAULT_VIEWS, BY_DAY)}, 3)
    for name, took in taken.items():
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
    taken = interleaved({what: partial(repeated, call, CALLS) for what, call in calls.items()})
    for what, took in taken.items():
        _line(what, took / CALLS, "< 5 ms")
