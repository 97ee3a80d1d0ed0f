"""A look over a large local store, plain and shared: time, and what it adds to the memory of its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from fsmedia import MediaContent, MediaMetadata, MediaStore

COUNT = int(os.environ.get("FSMEDIA_BENCH_MEDIA", "100000"))
_RUNS = 100
_SIZE = 2_000

_CHILD = """
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


def _filled(root: str, *, shared: bool) -> None:
    """Store media that all expire: each has a due entry, and a marker where bytes are shared."""
    store = MediaStore(root, durability="rename", deduplicate=shared)
    store.store_many(
        (
            MediaContent.from_bytes(number.to_bytes(8, "big") * (_SIZE // 8), "application/octet-stream"),
            MediaMetadata(run_id=f"r{number % _RUNS}", policy_name="retain-30days"),
        )
        for number in range(COUNT)
    )


def run() -> None:
    """Print the figures."""
    print(f"\nverify of {COUNT:,} media of {_SIZE:,} bytes on local disk, each with a policy")
    for shared in (False, True):
        with tempfile.TemporaryDirectory(prefix="fsmedia-bench-") as folder:
            _filled(f"{folder}/store", shared=shared)
            for depth in ("shallow", "deep"):
                command = [sys.executable, "-c", _CHILD, f"{folder}/store", depth, str(COUNT)]
                answer = subprocess.run(command, check=True, capture_output=True)
                took, kilobytes = json.loads(answer.stdout)
                name = f"{'shared' if shared else 'plain'}, {depth}"
                print(
                    f"  {name:<20}{took:>8.1f} s{took / COUNT * 1e6:>10.1f} us a media{kilobytes / 1024:>10.1f} MiB "
                    f"more{kilobytes * 1024 / COUNT:>8.0f} bytes a media"
                )
