"""Views of 100,000 media: the first look, later ones, ls, info and open, and what the trees take in memory."""

from __future__ import annotations

import shutil
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import fsspec

from fsmedia import MediaMetadata, MediaStore
from fsmedia.catalog.views import CatalogRows, Tree
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.format.views import DEFAULT_VIEWS, View
from fsmedia.models import ContentFields
from tests.bench.rounds import ROUNDS, interleaved

MEDIA = 100_000
RUNS = 1000
BY_DAY = View("by-day", "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}")
CALLS = 200


def run() -> None:
    """Print the figures."""
    folder = Path(tempfile.mkdtemp())
    try:
        _trees()
        _store(folder / "m")
    finally:
        shutil.rmtree(folder)


def _line(what: str, seconds: float, goal: str = "") -> None:
    print(f"  {what:<58}{seconds * 1000:>12.3f} ms{f'   (goal: {goal})' if goal else ''}")


def _columns() -> Callable[[str], list[Any]]:
    """Columns as a catalog gives them, without a store."""
    begun = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**6
    names = [keys.plain_name(number % 9, 0, keys.new_unique()) for number in range(MEDIA)]
    references = sorted(f"runs/run-{number % RUNS:04d}/{name}.png" for number, name in enumerate(names))
    times = [begun + number * 26_000_000 for number in range(MEDIA)]
    columns: dict[str, list[Any]] = {
        "reference": references,
        "run_id": [each.split("/")[1] for each in references],
        "session_id": [f"session-{number % 700}" for number in range(MEDIA)],
        "conversation_id": [None] * MEDIA,
        "mime_type": ["image/png"] * MEDIA,
        "size_bytes": list(range(MEDIA)),
        "timestamp": times,
        "modified": times,
    }
    return columns.__getitem__


def _trees() -> None:
    print(f"\ntrees of {MEDIA:,} rows")
    column = _columns()
    taken = interleaved({view.name: partial(_grown, column, view) for view in (*DEFAULT_VIEWS, BY_DAY)}, 3)
    for name, seconds in taken.items():
        _line(f"rows and tree of {name}", seconds)
    tracemalloc.start()
    rows = CatalogRows(column)
    before, _ = tracemalloc.get_traced_memory()
    trees = [Tree(view, rows) for view in (*DEFAULT_VIEWS, BY_DAY)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"  memory: names {before / 2**20:.1f} MiB, {len(trees)} trees {(after - before) / 2**20:.1f} MiB")


def _grown(column: Callable[[str], list[Any]], view: View) -> Tree:
    return Tree(view, CatalogRows(column))


def _fill(root: Path) -> None:
    """Write media past the store: it is not what is measured."""
    store = MediaStore(root, views={BY_DAY.name: BY_DAY.template}).create()
    del store
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(MEDIA):
        name = keys.plain_name(number % 9, 0, keys.new_unique()) + ".png"
        folder = root / "runs" / f"run-{number % RUNS:04d}"
        if number < RUNS:
            folder.mkdir(parents=True)
        metadata = MediaMetadata(
            run_id=folder.name,
            session_id=f"session-{number % 700}",
            message_idx=number % 9,
            mime_type="image/png",
            size_bytes=1,
            timestamp=at,
        )
        values = dict(vars(metadata))
        sidecar = Sidecar.build(
            values, dict(vars(ContentFields())), sha256="ab" * 32, expires_at=None, detected_mime_type=None
        )
        (folder / name).write_bytes(b"x")
        (folder / f"{name}.meta").write_bytes(sidecar.dump())


def _once(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _store(root: Path) -> None:
    _fill(root)
    print(f"\na store of {MEDIA:,} media on local disk")
    opened = partial(fsspec.filesystem, "media", root=str(root), skip_instance_cache=True)
    _line("first look, no catalog in the store (reads every sidecar)", _once(lambda: opened().ls("by-run")))
    _line("writing a catalog", _once(MediaStore(root).catalog))
    young = opened(view_max_age=3600)
    _line("first look, a young catalog in the store", _once(lambda: young.ls("by-run")))
    _line("the next view of the same rows", _once(lambda: young.ls("by-session")))
    old = opened(view_max_age=0)
    _line("first look, an old catalog in the store (lists it)", _once(lambda: old.ls("by-run")))
    _line("a later look, nothing changed", _once(lambda: old.ls("by-run")))
    path = young.ls("by-run/run-0007", detail=False)[5]
    calls: dict[str, Callable[[], object]] = {
        "ls of a folder of 100": lambda: young.ls("by-run/run-0007"),
        "ls of the folder of folders (1,000)": lambda: young.ls("by-run"),
        "info": lambda: young.info(path),
        "glob in a folder": lambda: young.glob("by-run/run-0007/*.png"),
        "open": lambda: young.open(path).close(),
        "cat_file": lambda: young.cat_file(path),
    }
    taken = interleaved({what: partial(_repeat, call) for what, call in calls.items()}, ROUNDS)
    for what, seconds in taken.items():
        _line(what, seconds / CALLS, "< 5 ms")


def _repeat(call: Callable[[], object]) -> None:
    for _ in range(CALLS):
        call()
