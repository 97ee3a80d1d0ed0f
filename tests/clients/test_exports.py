"""Exports are read by the libraries they are for: Hugging Face datasets and webdataset; every value is compared."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import wave
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, export_audiofolder, export_imagefolder, export_webdataset
from tests.exchange.test_exports import HOSTILE

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 3, 4, 12, 0, 0, 500, tzinfo=UTC)
COLUMNS = ("reference", "run_id", "message_idx", "provider_id", "mime_type", "size_bytes", "sha256", "text", "width")

FOLDER = """
import json, sys, hashlib, io
from datasets import load_dataset
kind, folder, cache = sys.argv[1:]
found = {}
for split, rows in load_dataset("imagefolder", data_dir=folder, cache_dir=cache).items():
    for row in rows:
        picture = row.pop("image")
        row["pixels"] = hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest()
        row["timestamp"] = str(row["timestamp"])
        found.setdefault(split, []).append(row)
print("FOUND", json.dumps(found))
"""
SOUND = """
import json, sys, hashlib
from datasets import load_dataset
kind, folder, cache = sys.argv[1:]
found = []
# `datasets` decodes sound by torchcodec, gigabytes that no test needs: its builder finds and pairs without.
rows = load_dataset("audiofolder", data_dir=folder, cache_dir=cache, split="train", streaming=True)
for _, row in rows._ex_iterable:
    audio = row.pop("audio")
    path = audio["path"] if isinstance(audio, dict) else audio
    row["digest"] = hashlib.sha256(open(path, "rb").read()).hexdigest()
    row["timestamp"] = str(row["timestamp"])
    found.append(row)
print("FOUND", json.dumps(found))
"""
SHARDS = """
import json, sys, hashlib
import webdataset
found = []
for row in webdataset.WebDataset(sys.argv[2], shardshuffle=False).decode():
    [media] = [name for name in row if name not in ("json", "__key__", "__url__", "__local_path__")]
    value = row[media]
    data = value.encode() if isinstance(value, str) else value
    found.append({**row["json"], "key": row["__key__"], "kind": media, "digest": hashlib.sha256(data).hexdigest()})
print("FOUND", json.dumps(found))
"""


def read(program: str, *words: object, cwd: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *map(str, words)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "FOUND" in done.stdout, done.stdout + done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("FOUND")[2])


def picture(colour: int) -> tuple[bytes, str]:
    from PIL import Image

    made = Image.new("RGB", (8, 6), (colour, 7, 9))
    file = io.BytesIO()
    made.save(file, "PNG")
    return file.getvalue(), hashlib.sha256(made.tobytes()).hexdigest()


def sound(length: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(b"\1\2" * length)
    return file.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> MediaStore:
    return MediaStore(tmp_path / "store", durability="rename")


def put(store: MediaStore, data: bytes, mime_type: str, run: str, **fields: Any) -> str:
    metadata = MediaMetadata(run_id=run, message_idx=4, timestamp=NOON, provider_id=HOSTILE)
    return store.store_media(MediaContent(data=data, mime_type=mime_type, **fields), metadata)


@pytest.mark.parametrize("table", ["jsonl", "parquet"])
def test_datasets_reads_pictures_and_all_that_is_known_of_them(store: MediaStore, tmp_path: Path, table: Any) -> None:
    pixels = {}
    for number in range(5):
        data, digest = picture(number)
        run = "test" if number == 4 else f"dev/{number}"  # words that readers take for splits, in names
        reference = put(store, data, "image/png", run, caption=f"{number} {HOSTILE}" if number else None)
        pixels[reference] = digest
    store.fs.pipe({"runs/r9/train valid.png": picture(9)[0]})
    pixels["runs/r9/train valid.png"] = picture(9)[1]
    out = tmp_path / "out"
    export_imagefolder(store, out, table=table)
    export_imagefolder(store, out, table=table, split="test", run_id="test")
    found = read(FOLDER, "imagefolder", out, tmp_path / "cache", cwd=tmp_path)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 6, "test": 1}
    for row in [*found["train"], *found["test"]]:
        record = store.info(row["reference"])
        assert row["pixels"] == pixels[row["reference"]]
        expected = {**vars(record), "text": record.caption or ""}
        assert {name: row[name] for name in COLUMNS} == {name: expected[name] for name in COLUMNS}
        if record.timestamp == NOON:
            assert row["timestamp"] in ("2026-03-04T12:00:00.000500Z", "2026-03-04 12:00:00.000500+00:00")


def test_datasets_finds_sound_and_all_that_is_known_of_it(store: MediaStore, tmp_path: Path) -> None:
    for number in range(3):
        put(store, sound(800 * number), "audio/wav", f"r{number}", caption=HOSTILE)
    put(store, b"\1\2" * 100, "audio/pcm", "r9")
    export_audiofolder(store, tmp_path / "out")
    found = read(SOUND, "audiofolder", tmp_path / "out", tmp_path / "cache", cwd=tmp_path)
    assert len(found) == 4
    for row in found:
        record = store.info(row["reference"])
        assert row["digest"] == row["sha256"] == record.sha256
        assert (row["run_id"], row["text"], row["mime_type"]) == (record.run_id, record.caption or "", "audio/wav")
        assert row["duration"] == pytest.approx(record.duration)


def test_webdataset_reads_every_media_with_its_json(store: MediaStore, tmp_path: Path) -> None:
    for number in range(4):
        put(store, bytes([number]) * 2000, "application/octet-stream", f"a.b/{number}", caption=HOSTILE)
    put(store, b"hello", "text/plain", "text")
    store.fs.pipe({"runs/r9/x.tar.gz.bin": b"foreign", "runs/r9/.tar.bin": b"dots"})
    out = tmp_path / "out"
    report = export_webdataset(store, out, shard_count=3)
    assert len(report.files) == 3
    found = read(SHARDS, "webdataset", f"{out}/media-{{000000..000002}}.tar", cwd=tmp_path)
    assert [row["reference"] for row in found] == list(store.list())
    assert len({row["key"] for row in found}) == 7
    for row in found:
        record = store.info(row["reference"])
        data = store.retrieve_media(row["reference"]).read_bytes()
        assert row["digest"] == hashlib.sha256(data).hexdigest()
        assert (row["run_id"], row["text"], row["size_bytes"]) == (
            record.run_id,
            record.caption or "",
            record.size_bytes,
        )
        assert "." not in row["key"]
