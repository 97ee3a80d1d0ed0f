"""Hugging Face datasets and webdataset read and write `media://` and exports; what would scatter keys is refused."""

import hashlib
import json

import fsspec
import pytest

from fsmedia import MediaStore, export_audiofolder, export_imagefolder, export_webdataset
from tests.clients.test_media import PNG, painted
from tests.contract.specimens import raised
from tests.exchange.test_exports import ATTRIBUTES, HOSTILE, MIXED, MIXED_COLUMNS, NOON, noted, put
from tests.surfaces.specimens import sound

FROM_FILES = """
import json, os, sys
from datasets import load_dataset
for url in sys.argv[2:]:
    data = load_dataset("imagefolder", data_files=url, split="train", cache_dir=sys.argv[1],
                        storage_options=json.loads(os.environ["OPTIONS"]))
    print("ROWS", len(data), data[0]["image"].size, sorted(set(data["label"])))
"""
STREAM = """
import sys
from datasets import load_dataset
data = load_dataset("imagefolder", data_files=sys.argv[1], split="train", streaming=True)
print("ROWS", len([row["image"].size for row in data]))
"""
SAVE = """
import json, os, sys
from datasets import Dataset
Dataset.from_dict({"a": [1, 2]}).save_to_disk(sys.argv[1], storage_options=json.loads(os.environ["OPTIONS"]))
"""
COLORS = """
import sys
import datasets
for url in sys.argv[1:]:
    data = datasets.load_dataset("imagefolder", data_files=url, split="train")
    print("COLOR", data[0]["image"].getpixel((0, 0)))
"""
COLUMNS = ("reference", "run_id", "message_idx", "provider_id", "mime_type", "size_bytes", "sha256", "text", "width")
FOLDER = """
import json, sys, hashlib, io
from datasets import load_dataset
folder, cache = sys.argv[1:]
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
folder, cache = sys.argv[1:]
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
for row in webdataset.WebDataset(sys.argv[1], shardshuffle=False).decode():
    [media] = [name for name in row if name not in ("json", "__key__", "__url__", "__local_path__")]
    value = row[media]
    data = value.encode() if isinstance(value, str) else value
    found.append({**row["json"], "key": row["__key__"], "kind": media, "digest": hashlib.sha256(data).hexdigest()})
print("FOUND", json.dumps(found))
"""


def pictures(lab):
    lab.fs.pipe({f"runs/r1/{kind}/{number}.png": PNG for kind in ("cat", "dog") for number in range(2)})


def test_imagefolder_by_chain_and_streaming_by_environment(lab, run, tmp_path):
    pictures(lab)
    _, shown, said = run(FROM_FILES, tmp_path, lab.url("runs/r1/**/*.png"), OPTIONS=json.dumps(lab.options))
    assert "ROWS 4 (8, 6)" in shown, said
    _, shown, said = run(STREAM, "media://runs/r1/**/*.png", **lab.environment)
    assert "ROWS 4" in shown, said


def test_save_to_disk_works_by_environment_and_on_a_chain_is_refused_and_leaves_no_key(lab, run):
    before = lab.server_keys()
    code, _, said = run(SAVE, lab.url("runs/r1/data"), OPTIONS=json.dumps(lab.options))
    assert (code != 0, "no store at" in said, lab.server_keys()) == (True, True, before)
    # Neither does a name that is joined onto a chain.
    joined = lab.url("runs/r1") + "/x.txt"
    with pytest.raises(PermissionError, match="no store at"), fsspec.open(joined, "wb", **lab.options) as file:
        file.write(b"x")
    raised(ValueError, lab.fs.pipe_file, joined, b"x", match="another store")
    assert lab.server_keys() == before
    code, _, said = run(SAVE, "media://runs/r1/data", OPTIONS="{}", **lab.environment)
    assert code == 0, said
    assert lab.fs.exists("runs/r1/data/dataset_info.json")


def test_two_stores_named_by_chains_share_no_picture_in_the_cache(run, tmp_path):
    """Its cache knows a picture by its URL: with a plain one, $FSMEDIA_URL decided, and the first store's was given."""
    urls = []
    for name, color in (("lab", "red"), ("prod", "blue")):
        MediaStore(tmp_path / name).create().fs.pipe_file("runs/r1/x.png", painted(color))
        urls.append(f"media://runs/r1/*.png::file://{tmp_path / name}")
    _, shown, said = run(COLORS, *urls)
    found = [line for line in shown.splitlines() if "COLOR" in line]
    assert found == ["COLOR (255, 0, 0)", "COLOR (0, 0, 255)"], said


# -- exports: every value is compared --------------------------------------------------------------------------
def found_by(run, program, *words, library="datasets"):
    _, shown, said = run(program, *words, library=library)
    assert "FOUND" in shown, said
    return json.loads(shown.rpartition("FOUND")[2])


def colored(red):
    colour = (red, 7, 9)
    return painted(colour), hashlib.sha256(bytes(colour) * 48).hexdigest()


@pytest.fixture
def store(tmp_path):
    return MediaStore(tmp_path / "store", durability="rename")


@pytest.mark.parametrize("table", ["jsonl", "parquet"])
def test_datasets_reads_pictures_and_all_that_is_known_of_them(store, run, tmp_path, table):
    pixels = {}
    for number in range(5):
        data, digest = colored(number)
        run_id = "test" if number == 4 else f"dev/{number}"  # words that readers take for splits, in names
        pixels[put(store, data, "image/png", run_id, caption=f"{number} {HOSTILE}" if number else None)] = digest
    data, pixels["runs/r9/train valid.png"] = colored(9)
    store.fs.pipe({"runs/r9/train valid.png": data})
    out = tmp_path / "out"
    export_imagefolder(store, out, table=table)
    export_imagefolder(store, out, table=table, split="test", run_id="test")
    found = found_by(run, FOLDER, out, tmp_path / "cache")
    assert {split: len(rows) for split, rows in found.items()} == {"train": 6, "test": 1}
    for row in [*found["train"], *found["test"]]:
        record = store.info(row["reference"])
        assert row["pixels"] == pixels[row["reference"]]
        assert row["original_name"] == (record.file_name or "")
        expected = {**vars(record), "text": record.caption or ""}
        assert {name: row[name] for name in COLUMNS} == {name: expected[name] for name in COLUMNS}
        if record.timestamp == NOON:
            assert row["timestamp"] in ("2026-03-04T12:00:00.000500Z", "2026-03-04 12:00:00.000500+00:00")


@pytest.mark.parametrize("table", ["jsonl", "parquet"])
def test_datasets_has_a_column_for_each_attribute(store, run, tmp_path, table):
    """Also where rows disagree, the first ones have none, and a name is that of a file or of the picture."""
    for number, each in enumerate([{}] * 20 + [*MIXED, ATTRIBUTES]):
        noted(store, number, **each)
    export_imagefolder(store, tmp_path / "out", table=table)
    (found,) = found_by(run, FOLDER, tmp_path / "out", tmp_path / "cache").values()
    assert len(found) == 20 + len(MIXED) + 1
    told = {row["message_idx"]: row for row in found}
    for name, values in MIXED_COLUMNS.items():
        assert [told[number][name] for number in range(len(told) - 1)] == [None] * 20 + values
    taken = ("text", "Width", "image", "file_name", "old_file_name", "file_names", "x.attribute", "text.attribute")
    wanted = {f"{name}.attribute" if name in taken else name: value for name, value in ATTRIBUTES.items()}
    assert {name: told[26][name] for name in wanted} == {**wanted, "text.attribute": "t", "text.attribute.attribute": 2}


def test_datasets_finds_sound_and_all_that_is_known_of_it(store, run, tmp_path):
    for number in range(3):
        put(store, sound(0.1 * number), "audio/wav", f"r{number}", caption=HOSTILE)
    put(store, b"\1\2" * 100, "audio/pcm", "r9")
    export_audiofolder(store, tmp_path / "out")
    found = found_by(run, SOUND, tmp_path / "out", tmp_path / "cache")
    assert len(found) == 4
    for row in found:
        record = store.info(row["reference"])
        assert row["digest"] == row["sha256"] == record.sha256
        assert (row["run_id"], row["text"], row["mime_type"]) == (record.run_id, record.caption or "", "audio/wav")
        assert row["duration"] == pytest.approx(record.duration)


def test_webdataset_reads_every_media_with_its_json(store, run, tmp_path):
    for number in range(4):
        put(store, bytes([number]) * 2000, "application/octet-stream", f"a.b/{number}", caption=HOSTILE)
    put(store, b"hello", "text/plain", "text")
    store.fs.pipe({"runs/r9/x.tar.gz.bin": b"foreign", "runs/r9/.tar.bin": b"dots"})
    out = tmp_path / "out"
    assert len(export_webdataset(store, out, shard_count=3).files) == 3
    found = found_by(run, SHARDS, f"{out}/media-{{000000..000002}}.tar", library="webdataset")
    assert ([row["reference"] for row in found], len({row["key"] for row in found})) == (list(store.list()), 7)
    for row in found:
        record = store.info(row["reference"])
        assert row["digest"] == hashlib.sha256(store.retrieve_media(row["reference"]).read_bytes()).hexdigest()
        expected = (record.run_id, record.caption or "", record.size_bytes)
        assert (row["run_id"], row["text"], row["size_bytes"]) == expected
        assert "." not in row["key"]
