"""Erasing one run of many from a local store, and pictures out of messages; against the least work there is."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
import tracemalloc

from fsmedia import MediaMetadata, MediaStore
from tests.bench.retention import filled
from tests.bench.rounds import interleaved, show

COUNT = int(os.environ.get("FSMEDIA_BENCH_MEDIA", "100000"))
PICTURE = bytes(range(256)) * 4096
ROUNDS = 3


def read_all(root: str) -> int:
    """Read every sidecar and parse it: the least that whoever trusts no folder does."""
    found = 0
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(".meta"):
                with open(f"{folder}/{name}", "rb") as file:
                    found += json.loads(file.read())["run_id"] == "r7"
    return found


def run() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="fsmedia-bench-") as folder:
        root = f"{folder}/media"
        filled(root, COUNT, 0)
        figures = interleaved(
            {
                "read and parse every sidecar": lambda: read_all(root),
                "erase, dry run": lambda: MediaStore(root).erase(run_id="r7", dry_run=True),
            },
            ROUNDS,
        )
        show(f"one run of {COUNT // 100:,} among {COUNT:,} media", figures, "erase, dry run", 1, "no budget")
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
        figures = interleaved(
            {
                "json.loads and dumps": lambda: json.dumps(json.loads(text)),
                "externalize_text": lambda: store.externalize_text(text, MediaMetadata(run_id="r1")),
                "inline_text": lambda: store.inline_text(small),
            },
            ROUNDS,
        )
        show(f"20 times 1 MiB in {len(text) / 2**20:.0f} MiB of JSON", figures, "externalize_text", 1, "no budget")
