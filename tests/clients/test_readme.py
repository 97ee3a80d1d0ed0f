"""The README's section on `media://`: each line of it runs."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from fsmedia import MediaStore
from tests.clients.test_media import PNG, film

SECTION = (Path(__file__).parents[2] / "README.md").read_text().split("## media://")[1].split("\n## ")[0]
[CHAIN] = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
[LINES] = re.findall(r"```py\n(.*?)```", SECTION, re.DOTALL)


def test_the_chain(lab):
    exec(CHAIN, {"MediaStore": MediaStore})
    assert MediaStore("memory://lab").info("runs/r1/table.csv").run_id == "r1"


@pytest.mark.filterwarnings("ignore")
def test_each_line(lab, monkeypatch, tmp_path):
    lab.environment(monkeypatch)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros((100, 2)), 8000, format="wav")
    lab.fs.pipe(
        {
            "runs/r1/table.csv": b"a,b\n1,2\n",
            "runs/r1/x.png": PNG.getvalue(),
            "runs/r1/x.wav": sound.getvalue(),
            "runs/r1/x.mp4": film(2),
        }
    )
    import av
    import dask.dataframe
    import datasets
    import duckdb
    import fsspec.generic
    import pandas  # noqa: ICN001
    import PIL
    import polars  # noqa: ICN001
    import pyarrow.dataset
    import pyarrow.parquet
    import upath
    import webdataset
    import zarr

    assert Image.registered_extensions()
    names = {
        "av": av,
        "dask": dask,
        "datasets": datasets,
        "duckdb": duckdb,
        "fsspec": fsspec,
        "pandas": pandas,
        "PIL": PIL,
        "polars": polars,
        "pyarrow": pyarrow,
        "soundfile": soundfile,
        "upath": upath,
        "webdataset": webdataset,
        "zarr": zarr,
    }
    lines = [line for line in LINES.splitlines() if line]
    assert len(lines) == 18
    for line in lines:
        exec(line.replace("file:///tmp/copy", (tmp_path / "copy").as_uri()), names)
    assert lab.fs.read_text("runs/r1/note.txt") == "hey"
    assert (tmp_path / "copy" / "x.png").read_bytes() == PNG.getvalue()
    duckdb.unregister_filesystem("media")
    del webdataset.gopen_schemes["media"]
