"""Programs for pictures, sound and video, and programs that walk over folders of them, through `media://`."""

import io
import json
import multiprocessing
import re
import wave

import av
import fsspec
import numpy as np
import pytest
import soundfile
import webdataset
import zarr
from fsspec.generic import rsync
from PIL import Image
from upath import UPath

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.clients.children import run_installed, size_of
from tests.clients.conftest import Lab
from tests.style.project import PACKAGE
from tests.surfaces.specimens import sound

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
OPENS = """
import fsspec, json, os, sys
with fsspec.open(sys.argv[1], **json.loads(os.environ["OPTIONS"])) as file:
    print(len(file.read()))
"""
SECTION = (PACKAGE / "docs/pipelines.md").read_text().split("## media://")[1].split("\n## ")[0]
[CHAIN] = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
[LINES] = re.findall(r"```py\n(.*?)```", SECTION, re.DOTALL)


def painted(colour: str | tuple[int, int, int]) -> bytes:
    """Return a small picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(file, "png")
    return file.getvalue()


PNG = painted("red")


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


def test_pillow_and_sound(lab):
    with fsspec.open(lab.url("runs/r1/x.png"), "wb", **lab.options) as file:
        Image.new("RGB", (8, 6), "red").save(file, "png")
    with fsspec.open(lab.url("runs/r1/x.png"), **lab.options) as file:
        assert Image.open(file).size == (8, 6)
    record = lab.store.info("runs/r1/x.png")
    assert (record.width, record.height) == (8, 6)
    lab.fs.pipe_file("runs/r1/x.wav", sound(0.1))
    with lab.fs.open("runs/r1/x.wav") as file:
        samples, rate = soundfile.read(file)
    assert (samples.shape, rate) == ((800,), 8000)
    with fsspec.open(lab.url("runs/r1/x.wav"), **lab.options) as file, wave.open(file) as heard:
        assert heard.getnframes() == 800


def test_pyav_seeks_without_fetching_the_film(lab):
    data = film()
    assert len(data) > 4_000_000
    lab.fs.pipe_file("runs/r1/film.mp4", data)
    with lab.storage.counted() as requests, lab.fs.open("runs/r1/film.mp4") as file, av.open(file) as container:
        stream = container.streams.video[0]
        container.seek(int(45 / stream.time_base), stream=stream)
        assert 44 <= next(container.decode(stream)).time <= 46
    # Head and tail of the file and one place in it, in blocks of 256 KiB, not 4 MB.
    assert (requests["get"] <= 5, requests["head"]) == (True, 1), requests


def test_upath_finds_the_class_of_our_paths_and_warns_of_nothing(tmp_path):
    """Every path of ours warned, and one of a named store lost the name where it became text."""
    MediaStore(tmp_path / "lab").create()
    told = run_installed(ANYWHERE, tmp_path, FSMEDIA_STORE_LAB=str(tmp_path / "lab"))
    assert told.split() == ["fsmedia.filesystem", "MediaPath"]


@pytest.mark.usefixtures("media_paths")
def test_upath_and_zarr_on_a_chain(lab):
    base = UPath(lab.url("runs/r1"), **lab.options)
    (base / "a.txt").write_text("hey")
    (base / "sub" / "b.txt").write_bytes(b"there")
    assert (base / "a.txt").read_text() == "hey"
    with (base / "sub" / "b.txt").open("rb") as file:
        assert file.read() == b"there"
    assert sorted(path.name for path in base.iterdir()) == ["a.txt", "sub"]
    assert [path.name for path in base.glob("**/*.txt")] == ["a.txt", "b.txt"]
    (base / "a.txt").rename(base / "c.txt")
    assert ((base / "a.txt").exists(), (base / "c.txt").read_text()) == (False, "hey")
    assert lab.store.info("runs/r1/c.txt").run_id == "r1"
    group = zarr.open_group(lab.url("runs/r1/cube.zarr"), mode="w", storage_options=lab.options)
    array = group.create_array("x", shape=(20, 20), chunks=(10, 10), dtype="i4")
    array[:] = np.arange(400).reshape(20, 20)
    again = zarr.open_group(lab.url("runs/r1/cube.zarr"), mode="r", storage_options=lab.options)
    assert int(again["x"][13, 7]) == 267


def test_rsync_with_options_and_by_environment(lab, tmp_path, monkeypatch):
    lab.fs.pipe({"runs/r1/a.txt": b"a", "runs/r1/sub/b.txt": b"bb"})
    assert lab.rsynced("media://runs/r1", tmp_path / "copy") == {"a.txt": b"a", "sub/b.txt": b"bb"}
    lab.named(monkeypatch)
    rsync((tmp_path / "copy").as_uri(), "media://runs/r7")
    assert lab.fs.cat("runs/r7/sub/b.txt") == b"bb"
    assert lab.store.info("runs/r7/a.txt").run_id == "r7"


@pytest.mark.parametrize("cache", ["filecache", "simplecache"])
def test_cache_in_front(lab, tmp_path, cache):
    lab.fs.pipe_file("runs/r1/a.txt", b"hey")
    options = {**lab.options, cache: {"cache_storage": str(tmp_path / "cache")}}
    opened = [fsspec.open(f"{cache}::{lab.url('runs/r1/a.txt')}", **options) for _ in range(2)]
    with opened[0] as file:
        assert file.read() == b"hey"
    lab.fs.rm_file("runs/r1/a.txt")
    with opened[1] as file:
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


def test_a_url_opens_in_a_process_that_only_has_fsspec(lab, run):
    content = MediaContent(data=PNG, mime_type="image/png")
    url = lab.store.media_url(lab.store.store_media(content, MediaMetadata(run_id="r1")))
    _, shown, said = run(OPENS, url, library="fsspec", OPTIONS=json.dumps(lab.store.url_options))
    assert shown.split() == [str(len(PNG))], said


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


# -- the README's lines ---------------------------------------------------------------------------------------
def test_the_chain(lab):
    exec(CHAIN, {"MediaStore": MediaStore})
    assert MediaStore("memory://lab").info("runs/r1/table.csv").run_id == "r1"


@pytest.mark.filterwarnings("ignore")
def test_each_line(moto_storage, monkeypatch, tmp_path):
    lab = Lab(moto_storage).named(monkeypatch)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    files = {"table.csv": b"a,b\n1,2\n", "x.png": PNG, "x.wav": sound(0.1), "x.mp4": film(2)}
    lab.fs.pipe({f"runs/r1/{name}": data for name, data in files.items()})
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
    assert (tmp_path / "copy" / "x.png").read_bytes() == PNG
    names["duckdb"].unregister_filesystem("media")
    del webdataset.gopen_schemes["media"]
