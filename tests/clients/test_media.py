"""Programs for pictures, sound and video, and programs that walk over folders of them, through `media://`."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tomllib
import wave
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
import soundfile
import webdataset
import zarr
from fsspec import generic
from fsspec.generic import rsync
from PIL import Image
from upath import UPath

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.clients.children import size_of
from tests.clients.conftest import Lab
from tests.style.project import PACKAGE

PNG = io.BytesIO()
Image.new("RGB", (8, 6), "red").save(PNG, "png")


def film(seconds: int = 60) -> bytes:
    """A film of noise, which does not compress: some megabytes."""
    out = io.BytesIO()
    random = np.random.default_rng(4)
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.bit_rate, stream.gop_size = 160, 120, 4_000_000, 10
        for _ in range(seconds * 10):
            frame = av.VideoFrame.from_ndarray(random.integers(0, 255, (120, 160, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


def test_pillow(lab):
    with fsspec.open(lab.url("runs/r1/x.png"), "wb", **lab.options) as file:
        Image.new("RGB", (8, 6), "red").save(file, "png")
    with fsspec.open(lab.url("runs/r1/x.png"), **lab.options) as file:
        assert Image.open(file).size == (8, 6)
    assert (lab.store.info("runs/r1/x.png").width, lab.store.info("runs/r1/x.png").height) == (8, 6)


def test_pyav_seeks_without_fetching_the_film(lab):
    data = film()
    assert len(data) > 4_000_000
    lab.fs.pipe_file("runs/r1/film.mp4", data)
    with lab.storage.counted() as requests, lab.fs.open("runs/r1/film.mp4") as file, av.open(file) as container:
        stream = container.streams.video[0]
        container.seek(int(45 / stream.time_base), stream=stream)
        frame = next(container.decode(stream))
        assert 44 <= frame.time <= 46
    # Head and tail of the file and one place in it, in blocks of 256 KiB, not 4 MB.
    assert requests["get"] <= 5, requests
    assert requests["head"] == 1, requests


def test_sound(lab):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((100, 2)), 8000, format="wav", subtype="PCM_16")
    lab.fs.pipe_file("runs/r1/x.wav", buffer.getvalue())
    with lab.fs.open("runs/r1/x.wav") as file:
        samples, rate = soundfile.read(file)
    assert (samples.shape, rate) == ((100, 2), 8000)
    with fsspec.open(lab.url("runs/r1/x.wav"), **lab.options) as file, wave.open(file) as sound:
        assert sound.getnframes() == 100


ANYWHERE = """
import pickle
from upath import UPath
path = UPath("media://@lab/runs/r1") / "a.txt"
path.write_text("hey")
assert [str(each) for each in path.parent.iterdir()] == ["media://@lab/runs/r1/a.txt"]
assert UPath(str(path)) == pickle.loads(pickle.dumps(path)) == path
assert UPath(str(path)).read_text() == "hey"
assert path.stat().st_mtime > 0
print(type(path).__module__, type(path).__name__)
"""


def test_upath_finds_the_class_of_our_paths_and_warns_of_nothing(tmp_path):
    """Every path of ours warned, and one of a named store lost the name where it became text."""
    root = Path(__file__).parents[2]
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]
    group = "universal_pathlib.implementations"
    # A distribution of the declared entry points alone: what is installed may be older.
    installed = tmp_path / "site" / "fsmedia_paths-0.dist-info"
    installed.mkdir(parents=True)
    installed.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: fsmedia-paths\nVersion: 0\n")
    lines = [f"{name} = {value}" for name, value in declared[group].items()]
    installed.joinpath("entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    MediaStore(tmp_path / "lab").create()
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", ANYWHERE],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(root)]),
            "FSMEDIA_STORE_LAB": str(tmp_path / "lab"),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout.split() == ["fsmedia.filesystem", "MediaPath"], done.stderr


@pytest.mark.usefixtures("media_paths")
def test_upath_on_a_chain(lab):
    base = UPath(lab.url("runs/r1"), **lab.options)
    (base / "a.txt").write_text("hey")
    (base / "sub" / "b.txt").write_bytes(b"there")
    assert (base / "a.txt").read_text() == "hey"
    with (base / "sub" / "b.txt").open("rb") as file:
        assert file.read() == b"there"
    assert sorted(path.name for path in base.iterdir()) == ["a.txt", "sub"]
    assert [path.name for path in base.glob("**/*.txt")] == ["a.txt", "b.txt"]
    (base / "a.txt").rename(base / "c.txt")
    assert not (base / "a.txt").exists()
    assert (base / "c.txt").read_text() == "hey"
    assert lab.store.info("runs/r1/c.txt").run_id == "r1"


def test_zarr_on_a_chain(lab):
    group = zarr.open_group(lab.url("runs/r1/cube.zarr"), mode="w", storage_options=lab.options)
    array = group.create_array("x", shape=(20, 20), chunks=(10, 10), dtype="i4")
    array[:] = np.arange(400).reshape(20, 20)
    again = zarr.open_group(lab.url("runs/r1/cube.zarr"), mode="r", storage_options=lab.options)
    assert int(again["x"][13, 7]) == 267


def test_rsync_with_options(lab, tmp_path):
    lab.fs.pipe({"runs/r1/a.txt": b"a", "runs/r1/sub/b.txt": b"bb"})
    generic.set_generic_fs("media", root=lab.root, storage_options=lab.storage.options)
    generic.set_generic_fs("file")
    try:
        # rsync maps names as text, so it takes plain URLs; a chain ends with its root and has no names below it.
        rsync("media://runs/r1", (tmp_path / "copy").as_uri(), inst_kwargs={"default_method": "generic"})
    finally:
        generic._generic_fs.clear()
    assert (tmp_path / "copy" / "a.txt").read_bytes() == b"a"
    assert (tmp_path / "copy" / "sub" / "b.txt").read_bytes() == b"bb"


def test_rsync_by_environment(named, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.txt").write_bytes(b"bb")
    (tmp_path / "a.txt").write_bytes(b"a")
    rsync(tmp_path.as_uri(), "media://runs/r7")
    assert named.fs.cat("runs/r7/sub/b.txt") == b"bb"
    assert named.store.info("runs/r7/a.txt").run_id == "r7"


@pytest.mark.parametrize("cache", ["filecache", "simplecache"])
def test_cache_in_front(lab, tmp_path, cache):
    lab.fs.pipe_file("runs/r1/a.txt", b"hey")
    options = {**lab.options, cache: {"cache_storage": str(tmp_path / "cache")}}
    with fsspec.open(f"{cache}::{lab.url('runs/r1/a.txt')}", **options) as file:
        assert file.read() == b"hey"
    lab.fs.rm_file("runs/r1/a.txt")
    with fsspec.open(f"{cache}::{lab.url('runs/r1/a.txt')}", **options) as file:
        assert file.read() == b"hey"  # of the cache


@pytest.mark.parametrize("start", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_pool_of_processes(lab, start):
    names = [f"runs/r1/{number}.txt" for number in range(4)]
    lab.fs.pipe({name: b"x" * index for index, name in enumerate(names)})
    with multiprocessing.get_context(start).Pool(2) as pool:
        by_url = pool.starmap(size_of, [(lab.url(name), lab.options, None) for name in names])
        by_fs = pool.starmap(size_of, [(name, {}, lab.fs) for name in names])
    assert by_url == by_fs == [0, 1, 2, 3]


OPENS = """
import json, os, sys
with fsspec.open(sys.argv[1], **json.loads(os.environ["OPTIONS"])) as file:
    print(len(file.read()))
"""


def test_a_url_opens_in_a_process_that_only_has_fsspec(lab, run):
    content = MediaContent(data=PNG.getvalue(), mime_type="image/png")
    url = lab.store.media_url(lab.store.store_media(content, MediaMetadata(run_id="r1")))
    _, shown, said = run(f"import fsspec{OPENS}", url, library="fsspec", OPTIONS=json.dumps(lab.store.url_options))
    assert shown.split() == [str(len(PNG.getvalue()))], said


def test_webdataset_by_its_registration_line(named):  # it has a use of its own for "::"
    with named.fs.open("runs/r1/shard.tar", "wb") as file, webdataset.TarWriter(file) as shard:
        for number in range(3):
            shard.write({"__key__": f"{number:03d}", "txt": str(number)})
    webdataset.gopen_schemes["media"] = lambda url, mode="rb", bufsize=0: fsspec.open(url, mode).open()  # noqa: ARG005
    try:
        found = [sample["txt"] for sample in webdataset.WebDataset("media://runs/r1/shard.tar", shardshuffle=False)]
    finally:
        del webdataset.gopen_schemes["media"]
    assert found == [b"0", b"1", b"2"]


# -- the lines of the page on pipelines ------------------------------------------------------------


SECTION = (PACKAGE / "docs/pipelines.md").read_text().split("## media://")[1].split("\n## ")[0]
[CHAIN] = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
[LINES] = re.findall(r"```py\n(.*?)```", SECTION, re.DOTALL)


def test_the_chain(lab):
    exec(CHAIN, {"MediaStore": MediaStore})
    assert MediaStore("memory://lab").info("runs/r1/table.csv").run_id == "r1"


@pytest.mark.filterwarnings("ignore")
def test_each_line(moto_storage, monkeypatch, tmp_path):
    lab = Lab(moto_storage).named(monkeypatch)
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
    modules = (
        "av", "dask.dataframe", "datasets", "duckdb", "fsspec.generic", "pandas", "PIL", "polars", "pyarrow.dataset",
        "pyarrow.parquet", "soundfile", "upath", "webdataset", "zarr",
    )  # fmt: skip
    names = {name.partition(".")[0]: __import__(name) for name in modules}
    assert Image.registered_extensions()
    lines = [line for line in LINES.splitlines() if line]
    assert len(lines) == 18
    for line in lines:
        exec(line.replace("file:///tmp/copy", (tmp_path / "copy").as_uri()), names)
    assert lab.fs.read_text("runs/r1/note.txt") == "hey"
    assert (tmp_path / "copy" / "x.png").read_bytes() == PNG.getvalue()
    names["duckdb"].unregister_filesystem("media")
    del webdataset.gopen_schemes["media"]
