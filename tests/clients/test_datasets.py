"""Hugging Face datasets and inspect_ai: what works, and what would scatter keys is refused."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from typing import Any

import fsspec
import pytest
from PIL import Image

from fsmedia import MediaStore
from tests.clients.test_media import PNG


def run(program: str, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def pictures(lab: Any) -> None:
    lab.fs.pipe({f"runs/r1/{kind}/{number}.png": PNG.getvalue() for kind in ("cat", "dog") for number in range(2)})


FROM_FILES = """
import json, os, sys
from datasets import load_dataset
data = load_dataset("imagefolder", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2],
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
INSPECT = """
import sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
try:
    task = Task(dataset=[Sample(input="hey", target="hey")])
    logs = eval(task, model="mockllm/model", log_dir=sys.argv[1], display="none")
except BaseException as error:
    print("RAISED", repr(error), repr(error.__context__))
    raise
print("STATUS", logs[0].status, logs[0].location, logs[0].error)
"""


def environment(lab: Any) -> dict[str, str]:
    options = lab.storage.options
    return {
        "FSMEDIA_URL": lab.root,
        "AWS_ACCESS_KEY_ID": options["key"],
        "AWS_SECRET_ACCESS_KEY": options["secret"],
        "AWS_ENDPOINT_URL": options["endpoint_url"],
    }


def test_imagefolder_by_chain(lab, tmp_path):
    import json

    pictures(lab)
    done = run(FROM_FILES, lab.url("runs/r1/**/*.png"), str(tmp_path), env={"OPTIONS": json.dumps(lab.options)})
    assert "ROWS 4 (8, 6)" in done.stdout, done.stdout + done.stderr[-3000:]


def test_imagefolder_streaming_by_environment(lab):
    pictures(lab)
    done = run(STREAM, "media://runs/r1/**/*.png", env=environment(lab))
    assert "ROWS 4" in done.stdout, done.stdout + done.stderr[-3000:]


def test_save_to_disk_on_a_chain_is_refused_and_leaves_no_key(lab):
    import json

    before = set(lab.server_keys())
    done = run(SAVE, lab.url("runs/r1/data"), env={"OPTIONS": json.dumps(lab.options)})
    assert done.returncode != 0
    assert "no store at" in done.stderr, done.stderr[-3000:]
    assert set(lab.server_keys()) == before


def test_save_to_disk_by_environment(lab):
    done = run(SAVE, "media://runs/r1/data", env={"OPTIONS": "{}", **environment(lab)})
    assert done.returncode == 0, done.stderr[-3000:]
    assert lab.fs.exists("runs/r1/data/dataset_info.json")


def test_inspect_ai_on_a_chain_is_refused_and_leaves_no_key(lab):
    before = set(lab.server_keys())
    done = run(INSPECT, lab.url("runs/logs"), env=environment(lab))
    assert done.returncode != 0
    assert "STATUS" not in done.stdout
    assert "do not have write permission" in done.stdout, (done.stdout + done.stderr)[-3000:]
    assert set(lab.server_keys()) == before


def test_inspect_ai_by_environment(lab):
    done = run(INSPECT, "media://runs/logs", env=environment(lab))
    # Whatever the evaluation itself comes to (its tokenizer may want the network), its log lies in the store.
    assert "STATUS" in done.stdout, (done.stdout + done.stderr)[-3000:]
    [log] = lab.fs.glob("runs/logs/*.eval")
    with lab.fs.open(log) as file, zipfile.ZipFile(file) as archive:
        assert "_journal/start.json" in archive.namelist()


def test_a_name_joined_onto_a_chain_is_refused_and_leaves_no_key(lab):
    before = set(lab.server_keys())
    joined = lab.url("runs/r1") + "/x.txt"
    with pytest.raises(PermissionError, match="no store at"), fsspec.open(joined, "wb", **lab.options) as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="another store"):
        lab.fs.pipe_file(joined, b"x")
    assert set(lab.server_keys()) == before


COLORS = """
import sys
import datasets
datasets.disable_progress_bars()
for url in sys.argv[1:]:
    data = datasets.load_dataset("imagefolder", data_files=url, split="train")
    print("COLOR", data[0]["image"].getpixel((0, 0)))
"""


def test_two_stores_named_by_chains_share_no_picture_in_the_cache(tmp_path):
    """Its cache knows a picture by its URL: with a plain one, $FSMEDIA_URL decided, and the first store's was given."""
    urls = []
    for name, color in (("lab", "red"), ("prod", "blue")):
        picture = io.BytesIO()
        Image.new("RGB", (8, 8), color).save(picture, "png")
        MediaStore(tmp_path / name).create().fs.pipe_file("runs/r1/x.png", picture.getvalue())
        urls.append(f"media://runs/r1/*.png::file://{tmp_path / name}")
    done = run(COLORS, *urls, env={"HF_HOME": str(tmp_path / "hf")})
    assert [line for line in done.stdout.splitlines() if "COLOR" in line] == [
        "COLOR (255, 0, 0)",
        "COLOR (0, 0, 255)",
    ], done.stdout + done.stderr[-2000:]
