"""The catalog of a large local store: first refresh, one without a change, against one plain `find` of fsspec.

Each figure is of a process of its own, with its peak memory (VmHWM) beside that of one that only opens the store.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

from tests.bench.retention import COUNT, filled

CHILD = """
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


def measured(what: str, root: str) -> tuple[float, int, float]:
    """Return seconds, things counted, and MiB of peak memory of a child."""
    done = subprocess.run([sys.executable, "-c", CHILD, what, root], capture_output=True, text=True, check=True)
    took, count, peak = json.loads(done.stdout)
    return took, count, peak


def run() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="fsmedia-bench-") as folder:
        root = f"{folder}/media"
        filled(root, COUNT, 0)
        print(f"catalog of {COUNT:,} media on a local disk")
        print(f"  {'':34}{'seconds':>9}{'rows/s':>10}{'peak MiB':>10}")
        for title, what in (
            ("only open the store", "open"),
            ("fsspec find, detail=True", "find"),
            ("list(mime_type=...), no catalog", "list"),
            ("first refresh", "refresh"),
            ("refresh, nothing changed", "refresh"),
            ("list(mime_type=...), with catalog", "list"),
            ("read the snapshot and filter", "filter"),
        ):
            took, count, peak = measured(what, root)
            print(f"  {title:34}{took:>9.2f}{count / took:>10,.0f}{peak:>10.0f}")
