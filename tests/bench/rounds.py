"""Interleaved rounds: every candidate runs once a round, and the median of its rounds counts."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 5


def interleaved(candidates: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median seconds of each candidate."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            gc.collect()
            begun = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def show(title: str, figures: Mapping[str, float], base: str, per: int, goal: str = "") -> None:
    """Print the figures of one comparison, as microseconds for each item and as ratios to one of them."""
    print(f"\n{title}{f'   (goal: {goal})' if goal else ''}")
    for name, seconds in figures.items():
        print(f"  {name:<42}{seconds / per * 1e6:>12.1f} us{seconds / figures[base]:>9.2f} x")
