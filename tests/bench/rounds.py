"""Interleaved rounds: every candidate runs once a round, and the median of its rounds counts."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.servers import RcloneServer

ROUNDS = 5


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def interleaved(candidates: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of each candidate."""
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


def compare(
    title: str, candidates: dict[str, Callable[[], object]], base: str, per: int, goal: str = "", rounds: int = ROUNDS
) -> None:
    """Measure candidates, and print the figures."""
    show(title, interleaved(candidates, rounds), base, per, goal)


def repeated(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fsmedia-bench-") as folder:
        yield Path(folder)


@contextmanager
def s3_server() -> Iterator[RcloneServer]:
    """Give an S3 server in a process of its own."""
    server = RcloneServer().start()
    try:
        yield server
    finally:
        server.stop()
