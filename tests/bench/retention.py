"""A sweep of a large local store, idle and with 1 % due, against a walk that opens every sidecar, as PromptKit's."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.bench.rounds import interleaved, show

COUNT = int(os.environ.get("FSMEDIA_BENCH_MEDIA", "100000"))
ROUNDS = 3
_RUNS = 100


def filled(root: str, count: int, due: int) -> None:
    """Store tiny media: `due` of them have expired, all others do so later."""
    store = MediaStore(root, durability="rename")
    content = MediaContent.from_bytes(b"x", "text/plain")
    now = datetime.now(UTC)

    def pairs():
        for number in range(count):
            past = number % (count // due) == 0 if due else False
            timestamp = now - timedelta(days=2, minutes=number % 600) if past else now
            policy = "retain-1days" if past else "retain-30days"
            yield content, MediaMetadata(run_id=f"r{number % _RUNS}", timestamp=timestamp, policy_name=policy)

    store.store_many(pairs())


def walk(root: str, *, delete: bool = False) -> int:
    """Open every sidecar, compare its time and remove what is past: the least that a sweep without an index does."""
    now, found = datetime.now(UTC), 0
    for folder, _, names in os.walk(root):
        for name in names:
            if not name.endswith(".meta"):
                continue
            path = f"{folder}/{name}"
            with open(path, "rb") as file:
                expires_at = json.loads(file.read()).get("expires_at")
            if expires_at and datetime.fromisoformat(expires_at) <= now:
                found += 1
                if delete:
                    os.unlink(path)
                    os.unlink(path.removesuffix(".meta"))
    return found


def run() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="fsmedia-bench-") as folder:
        idle, due = f"{folder}/idle", f"{folder}/due"
        filled(idle, COUNT, 0)
        figures = interleaved(
            {
                "walk that opens every sidecar": lambda: walk(idle),
                "sweep, idle": lambda: MediaStore(idle).enforce_policy(),
            },
            ROUNDS,
        )
        show(f"sweep of {COUNT:,} media, none due", figures, "sweep, idle", 1, "walk at least 100 x")
        shutil.rmtree(idle)
        part = COUNT // 100
        filled(due, COUNT, part)
        copies = [f"{folder}/copy-{number}" for number in range(3)]
        for copy in copies:
            shutil.copytree(due, copy, copy_function=os.link)
        figures = interleaved(
            {
                "walk, opens every sidecar, deletes": lambda: walk(copies[0], delete=True),
                "sweep, durability=rename": lambda: MediaStore(copies[1], durability="rename").enforce_policy(),
                "sweep, durability=fsync": lambda: MediaStore(copies[2]).enforce_policy(),
            },
            1,
        )
        show(f"sweep of {COUNT:,} media, {part:,} due", figures, "sweep, durability=rename", 1, "walk at least 5 x")
        assert walk(copies[1]) == walk(copies[2]) == 0
        assert Path(due).exists()
