"""Programs for pictures, sound and video, and programs that walk over folders of them, through `media://`."""

import io
import json
import multiprocessing
import re
import sys
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
from fsmedia.errors import InvalidMediaError, MediaError
from fsmedia.models import mime
from tests.clients.children import run_installed, size_of
from tests.clients.conftest import Lab
from tests.contract.specimens import raised
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


RANDOM = np.random.default_rng(5)
COLOURS = RANDOM.integers(0, 256, (4, 6, 3), dtype=np.uint8)


class OnlyArray:
    """What a tensor on the CPU shows NumPy."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self.array


class OnlyDlpack:
    """What an array of another library may show and nothing else."""

    def __init__(self, array: np.ndarray) -> None:
        self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__


RGBA = np.dstack([COLOURS, COLOURS[..., 0]])
PICTURES = {
    "pillow": (Image.fromarray(COLOURS), COLOURS), "array": (COLOURS, COLOURS), "tensor": (OnlyArray(COLOURS), COLOURS),
    "dlpack": (OnlyDlpack(COLOURS), COLOURS), "view": (COLOURS[::-1, ::2], COLOURS[::-1, ::2]), "alpha": (RGBA, RGBA),
    "grey": (COLOURS[..., 0], COLOURS[..., 0]), "one colour": (COLOURS[..., :1], COLOURS[..., 0]),
    "doubles": (COLOURS / 255, COLOURS), "floats": ((COLOURS / 255).astype("f4"), COLOURS),
    "mask": (COLOURS > 99, (COLOURS > 99) * np.uint8(255)),
}  # fmt: skip


@pytest.mark.parametrize("case", PICTURES)
def test_a_picture_in_memory_becomes_a_file_of_the_same_pixels(memory_storage, case):
    image, pixels = PICTURES[case]
    content = MediaContent.from_image(image, caption="c")
    assert (np.asarray(Image.open(content.open())) == pixels).all()
    record = (store := MediaStore(memory_storage.url)).info(store.store_media(content, MediaMetadata(run_id="r1")))
    assert (record.mime_type, record.format, record.caption, record.detected_mime_type) == (
        "image/png",
        "png",
        "c",
        None,
    )
    assert (record.height, record.width) == (content.height, content.width) == pixels.shape[:2]


def test_a_picture_is_written_in_other_formats_and_a_photograph_stands_upright():
    for name in ("jpeg", "jpg", "WEBP", "gif"):
        content = MediaContent.from_image(COLOURS, format=name)
        assert mime.detect(content.data) == content.mime_type == mime.guess_from_name(f"x.{name}")
    lying, exif, file = Image.new("RGB", (30, 20)), Image.Exif(), io.BytesIO()
    lying.putpixel((0, 0), (255, 255, 255))
    exif[0x0112], exif[0x013B] = 6, "Ada"  # to be turned to the right; and whose it is
    lying.save(file, "tiff", exif=exif)
    content = MediaContent.from_image(Image.open(file))
    assert (content.width, content.height) == (20, 30)
    assert Image.open(content.open()).getpixel((19, 0)) == (255, 255, 255)
    assert b"Ada" not in content.data


NO_PICTURES = {
    r"\(3, 4, 54\), colours first; transpose.*\(1, 2, 0\)": np.moveaxis(COLOURS.repeat(9, 1), 2, 0),
    r"from 0 to 1; these reach from \d+ to 25\d; .*astype\('uint8'\)": COLOURS * 1.0,
    "reach from -0.5 to 0": np.array([[0.0, -0.5]]), "reach from 0 to inf": np.array([[0.0, np.inf]]),
    "have NaN": np.array([[0.0, np.nan]]), r"int64; .*uint8": COLOURS.astype("i8"), r"\(0, 6, 3\)": COLOURS[:0],
    r"\(1, 4, 6, 3\); .*one picture": COLOURS[None], r"shape \(3,\)": COLOURS[0, 0],
    "not str; from_path": "x.png", "not bytes.*from_bytes": PNG, "not list": [[1]],
}  # fmt: skip


@pytest.mark.parametrize("said", NO_PICTURES)
def test_what_is_no_picture_is_refused_with_the_next_step(said):
    raised(InvalidMediaError, MediaContent.from_image, NO_PICTURES[said], match=said)


def test_a_format_that_pillow_does_not_write_or_that_can_not_hold_a_picture_is_refused():
    for name in ("pdf", "docx", "", None):
        raised(InvalidMediaError, MediaContent.from_image, COLOURS, format=name, match=f"{name!r}; use 'png'")
    step = r"RGBA as JPEG\); .*convert\('RGB'\)"
    raised(InvalidMediaError, MediaContent.from_image, RGBA, format="jpeg", match=step)


WAVE = np.sin(np.arange(2400) / 9)


SOUNDS = {
    "doubles": (WAVE, 2), "floats": (WAVE.astype("f4"), 2), "tensor": (OnlyArray(WAVE), 2),
    "column": (WAVE[:, None], 2), "stereo": (np.column_stack([WAVE, -WAVE]), 2),
    "16 bits": ((WAVE * 32767).astype("i2"), 2), "big-endian view": ((WAVE * 32767).astype(">i2")[::2], 2),
    "32 bits": ((WAVE * (2**31 - 1)).astype("i4"), 4),
}  # fmt: skip


@pytest.mark.parametrize("case", SOUNDS)
def test_sound_in_memory_becomes_a_wav_file_of_the_same_samples(memory_storage, case):
    samples, width = SOUNDS[case]
    array = np.asarray(samples)
    content = MediaContent.from_audio(samples, np.int64(24_000), caption="c")
    heard, rate = soundfile.read(content.open(), dtype="int32", always_2d=True)
    wanted = array if array.dtype.kind == "i" else (array * 32767).round()
    assert rate == 24_000
    assert (heard >> 32 - 8 * width == wanted.reshape(heard.shape)).all()
    record = (store := MediaStore(memory_storage.url)).info(store.store_media(content, MediaMetadata(run_id="r1")))
    channels = 1 if array.ndim == 1 else array.shape[1]
    assert (record.duration, record.channels) == (content.duration, content.channels) == (len(array) / 24_000, channels)
    assert (record.mime_type, record.bit_rate, record.caption) == ("audio/wav", 24_000 * channels * width * 8, "c")


NO_SOUNDS = {
    r"from -1 to 1; these reach from -1\.0\d+ to 1\.0\d+; .*clip": WAVE * 1.01, "have NaN": WAVE * np.nan,
    r"\(2, 2400\); .*samples\.T": np.stack([WAVE, WAVE]), r"shape \(0,\)": WAVE[:0],
    r"shape \(1, 1, 2400\)": WAVE[None, None], "uint8; give floats": WAVE.astype("u1"), "can't be str": np.array(["a"]),
    "not str; from_path": "x.wav", "not list": [0.5],
}  # fmt: skip


@pytest.mark.parametrize("said", NO_SOUNDS)
def test_what_is_no_sound_is_refused_with_the_next_step(said):
    raised(InvalidMediaError, MediaContent.from_audio, NO_SOUNDS[said], 24_000, match=said)


@pytest.mark.parametrize("rate", [0, -1, 44_100.0, None, 10**7, "8000"])
def test_a_sample_rate_is_a_whole_number(rate):
    raised(InvalidMediaError, MediaContent.from_audio, WAVE, rate, match=rf"sample_rate .*not {rate!r}; give")


def test_a_missing_library_is_named_with_its_pip_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    raised(
        MediaError, MediaContent.from_audio, OnlyArray(WAVE), 8000, match="numpy is not installed; pip install numpy"
    )
    monkeypatch.setitem(sys.modules, "PIL", None)
    raised(MediaError, MediaContent.from_image, COLOURS, match="pillow is not installed; pip install pillow")


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
