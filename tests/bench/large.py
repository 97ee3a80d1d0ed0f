"""500 MB in and out of local disk: time against cp + sha256, peak memory of a child."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.bench.rounds import interleaved, show

SIZE = 500 * 10**6
CHILD = """
import re, shutil, sys
from fsmedia import MediaContent, MediaMetadata, MediaStore

def peak():  # not ru_maxrss, which begins with the peak of the process that made this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

store = MediaStore(sys.argv[2], durability="rename").create()
store.retrieve_media(store.store_media(MediaContent(data=b"x", mime_type="text/plain"), MediaMetadata(run_id="r")))
before = peak()
reference = store.store_media(MediaContent.from_path(sys.argv[1]), MediaMetadata(run_id="r"))
with store.open(reference) as source, open(sys.argv[3], "wb") as target:
    shutil.copyfileobj(source, target, 2**20)
store.delete_media(reference)
print((peak() - before) / 1024)
"""


def run() -> None:
    """Print the ratios and the memory."""
    folder = Path(tempfile.mkdtemp())
    try:
        source = folder / "source.mp4"
        with source.open("wb") as file:
            for _ in range(SIZE // 10**6):
                file.write(os.urandom(10**6))
        _compare(folder, source)
    finally:
        shutil.rmtree(folder)


def _compare(folder: Path, source: Path) -> None:
    store = MediaStore(folder / "store", durability="rename").create()

    def floor_in() -> None:
        (folder / "copy").unlink(missing_ok=True)  # as below: no candidate leaves the next one more dirty pages
        subprocess.run(["cp", source, folder / "copy"], check=True)
        with source.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    def ours_in() -> None:
        for reference in store.list():
            store.delete_media(reference)
        store.store_media(MediaContent.from_path(source), MediaMetadata(run_id="r1"))

    def floor_out() -> None:
        (folder / "copy").unlink(missing_ok=True)
        subprocess.run(["cp", source, folder / "copy"], check=True)
        with source.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    def ours_out() -> None:
        (folder / "out").unlink(missing_ok=True)
        digest = hashlib.sha256()
        with store.open(reference) as file, (folder / "out").open("wb") as target:
            while data := file.read(2**20):
                digest.update(data)
                target.write(data)

    show("500 MB in, rename", interleaved({"cp + sha256": floor_in, "fsmedia": ours_in}), "cp + sha256", 1, "<= 1.2 x")
    reference = next(store.list())
    show("500 MB out", interleaved({"cp + sha256": floor_out, "fsmedia": ours_out}), "cp + sha256", 1, "<= 1.2 x")
    child = [sys.executable, "-c", CHILD, str(source), str(folder / "child"), str(folder / "out")]
    added = subprocess.run(child, check=True, capture_output=True, text=True).stdout.strip()
    print(f"\npeak memory that 500 MB in and out add to a child: {float(added):.1f} MiB   (goal: < 64 MiB)")
