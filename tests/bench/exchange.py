"""Imports and exports of many small files on local disk, against copying the files with their digests."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from fsmedia import MediaStore, adopt_folder, export_imagefolder, export_webdataset, import_folder
from tests.bench.rounds import interleaved, show

COUNT = int(os.environ.get("FSMEDIA_BENCH_MEDIA", "3000"))
ROUNDS = 3
_RUNS = 30
_SIZE = 20_000
_HEAD = b"\x89PNG\r\n\x1a\n"


def planted(top: Path) -> Path:
    """Write the files that are imported."""
    for number in range(COUNT):
        file = top / f"r{number % _RUNS}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((_HEAD + number.to_bytes(8, "big")).ljust(_SIZE, b"x"))
    return top


def copied(tree: Path, target: Path) -> None:
    """Copy every file and take its digest: the least that an import does."""
    for file in sorted(tree.rglob("*.png")):
        data = file.read_bytes()
        hashlib.sha256(data).hexdigest()
        place = target / file.relative_to(tree)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def archived(tree: Path, target: Path) -> None:
    """Put every file into one tar file: the least that an export of shards does."""
    with tarfile.open(target, "w") as archive:
        for file in sorted(tree.rglob("*.png")):
            archive.add(file, file.name)


def run() -> None:
    """Measure, and print figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = planted(folder / "tree")
        store = MediaStore(folder / "known", durability="rename")
        import_folder(store, tree)
        adopted = planted(folder / "adopted")
        numbers = iter(range(10**6))

        def fresh() -> Path:
            return folder / f"x{next(numbers)}"

        def on(work: Callable[[Path], object]) -> Callable[[], None]:
            def once() -> None:
                place = fresh()
                work(place)
                shutil.rmtree(place) if place.is_dir() else place.unlink()

            return once

        def adopt() -> None:
            adopt_folder(adopted)
            for file in adopted.rglob("*.meta"):
                file.unlink()

        times = interleaved(
            {
                "copy with digests": on(lambda place: copied(tree, place)),
                "tar": on(lambda place: archived(tree, place)),
                "import": on(lambda place: import_folder(MediaStore(place, durability="rename"), tree)),
                "import again": lambda: import_folder(store, tree),
                "adopt in place (fsync)": adopt,
                "export imagefolder": on(lambda place: export_imagefolder(store, place)),
                "export webdataset": on(lambda place: export_webdataset(store, place)),
            },
            ROUNDS,
        )
        show(f"exchange, {COUNT} files of {_SIZE} bytes in {_RUNS} runs, per file", times, "copy with digests", COUNT)
