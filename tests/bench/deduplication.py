"""Deduplication on local disk: unique contents at the start and at the end of a growing store, hits, last deletes.

PromptKit's index is one file that is written whole for each store, so its cost grows with the store; here it must not.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time

from fsmedia import MediaContent, MediaMetadata, MediaStore

COUNT = int(os.environ.get("FSMEDIA_BENCH_CONTENTS", "20000"))
_SAMPLE = 500
_SIZE = 2_000


def _content(number: int) -> MediaContent:
    return MediaContent.from_bytes(number.to_bytes(8, "big") * (_SIZE // 8), "application/octet-stream")


def _timed(store: MediaStore, numbers: range, run: str) -> tuple[float, list[str]]:
    """Return the median seconds of a store, and the references."""
    taken, references = [], []
    for number in numbers:
        content, metadata = _content(number), MediaMetadata(run_id=run, message_idx=number % 1000)
        begun = time.perf_counter()
        references.append(store.store_media(content, metadata))
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken), references


def _deleted(store: MediaStore, references: list[str]) -> float:
    taken = []
    for reference in references:
        begun = time.perf_counter()
        store.delete_media(reference)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def run() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="fsmedia-bench-") as folder:
        store = MediaStore(f"{folder}/store", deduplicate=True, durability="rename")
        plain = MediaStore(f"{folder}/plain", durability="rename")
        begun = time.perf_counter()
        first, early = _timed(store, range(_SAMPLE), "r0")
        delete_early = _deleted(store, early[: _SAMPLE // 2])
        for start in range(_SAMPLE, COUNT - _SAMPLE, 1000):
            _timed(store, range(start, min(start + 1000, COUNT - _SAMPLE)), f"r{start}")
        last, late = _timed(store, range(COUNT - _SAMPLE, COUNT), "last")
        hits, shared = _timed(store, range(COUNT - _SAMPLE, COUNT), "hits")
        delete_shared = _deleted(store, shared)
        delete_last = _deleted(store, late[: _SAMPLE // 2])
        plainly, stored = _timed(plain, range(_SAMPLE), "r0")
        delete_plain = _deleted(plain, stored)
        took = time.perf_counter() - begun
        print(f"\n{COUNT:,} unique contents of {_SIZE:,} bytes on local disk, durability=rename ({took:.0f} s)")
        for name, seconds in (
            ("store, the first 500", first),
            ("store, the last 500", last),
            ("store, already there", hits),
            ("store, without deduplication", plainly),
            ("delete of a last reference, early", delete_early),
            ("delete of a last reference, late", delete_last),
            ("delete of a shared reference", delete_shared),
            ("delete, without deduplication", delete_plain),
        ):
            print(f"  {name:<42}{seconds * 1e6:>12.1f} us")
        mixed = MediaStore(f"{folder}/mixed", deduplicate=True, durability="rename")
        begun = time.perf_counter()
        for number in range(COUNT // 10):
            _timed(mixed, range(number % (COUNT // 100), number % (COUNT // 100) + 1), f"m{number % 10}")
        each = (time.perf_counter() - begun) / (COUNT // 10)
        print(f"  {'store, 90 % duplicates':<42}{each * 1e6:>12.1f} us")
