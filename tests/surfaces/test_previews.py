"""Previews and their cache: there is a card whatever the bytes are, it costs what was promised, no bomb goes off."""

import io
import os
import random
import stat
import struct
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.display import decoders, films, pictures, previewer
from fsmedia.display.card import BUDGET, request_of
from fsmedia.display.items import select_items
from fsmedia.display.previewer import (
    MOST_SOUND,
    MOST_WHOLE,
    PEAKS,
    OpenedSource,
    Preview,
    PreviewCache,
    UnshowableError,
    near_groups,
    picture_hashes,
    preview_of,
)
from fsmedia.models.selection import Selection
from fsmedia.models.text import sentence
from tests import transfers
from tests.contract.specimens import raised
from tests.protocol.wire import costs
from tests.storages import LocalStorage, MemoryStorage, S3Storage
from tests.style.project import run_python
from tests.surfaces import specimens
from tests.surfaces.specimens import film, paper, picture, put, scene, sound

SIDE = 256


def seen(data: bytes, mime_type: str) -> Preview:
    return preview_of(OpenedSource(io.BytesIO(data)), mime_type, SIDE)


def opened(preview: Preview) -> Image.Image:
    return Image.open(io.BytesIO(preview.image)).convert("RGB")


@pytest.mark.parametrize(("data", "kind", "size"), [
    (picture(), "png", (256, 192)), (picture(kind="JPEG"), "jpeg", (256, 192)),
    (picture(kind="JPEG", mode="CMYK"), "jpeg", (256, 192)), (picture(kind="GIF", mode="P"), "gif", (256, 192)),
    (picture(kind="WEBP", mode="RGBA"), "webp", (256, 192)), (picture(kind="TIFF", mode="F"), "tiff", (256, 192)),
    (picture(kind="BMP", mode="1"), "bmp", (256, 192)), (picture(mode="LA"), "png", (256, 192)),
    (picture((3000, 20)), "png", (256, 2)), (picture((1, 1)), "png", (1, 1)),
    (specimens.deep_png(), "png", (64, 64)), (specimens.moving_gif(), "gif", (40, 40)),
])  # fmt: skip
def test_pictures_of_all_kinds_become_small_ones(data: bytes, kind: str, size: tuple[int, int]) -> None:
    preview = seen(data, f"image/{kind}")
    assert preview.kind == "picture", preview.reason
    assert (preview.image_type, opened(preview).size) == ("image/webp", size)
    assert preview.width
    assert len(preview.image) < 20_000


def test_what_shows_through_stays_so_and_is_told() -> None:
    glass = Image.new("RGBA", (400, 300), (200, 0, 0, 90))
    for kind in ("PNG", "WEBP", "AVIF", "TIFF"):
        preview = seen(specimens.encoded(glass, kind), f"image/{kind.lower()}")
        small = Image.open(io.BytesIO(preview.image))
        assert (preview.alpha, small.mode) == (True, "RGBA")
        assert abs(small.getpixel((20, 20))[3] - 90) < 4  # type: ignore[index]
        solid = seen(specimens.encoded(glass.convert("RGB").convert("RGBA"), kind), f"image/{kind.lower()}")
        assert (solid.alpha, Image.open(io.BytesIO(solid.image)).mode) == (False, "RGB")
    assert previewer.reduced_preview(preview, 64).alpha


def test_fifteen_hundred_pictures_fit_into_a_page() -> None:
    side = previewer.side_for(1500)
    photograph = Image.effect_noise((12, 9), 120).resize((800, 600), Image.Resampling.BICUBIC).convert("RGB")
    assert len(pictures.thumbnail(specimens.encoded(photograph), side).image) < 1024
    assert [previewer.side_for(count) for count in (1, 100, 400)] == [960, 256, 160]


def test_a_picture_stands_as_the_camera_was_held_and_tells_no_place() -> None:
    data = specimens.turned_jpeg()
    assert b"secret-place" in data
    preview = seen(data, "image/jpeg")
    assert (preview.width, preview.height) == (300, 400)
    assert opened(preview).size == (192, 256)
    top, bottom = opened(preview).getpixel((96, 20)), opened(preview).getpixel((96, 236))
    assert top[0] > 180 > top[1] + 90  # the red half is above now
    assert abs(bottom[0] - bottom[1]) < 30
    assert [word for word in (b"secret-place", b"Exif") if word in preview.image] == []


@pytest.mark.parametrize(("data", "mime_type", "said"), [
    (b"", "image/png", "empty"), (picture()[:300], "image/png", "broken or cut off"),
    (picture(kind="JPEG")[:900], "image/jpeg", "broken or cut off"),
    (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "image/png", "broken or cut off"),
    (b"\x00\x01\x02\x03" * 50, "image/png", "not a picture"), (specimens.bomb(), "image/png", "are more than"),
    (specimens.bomb(20_000, 6_000), "image/png", "are more than"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "image/png", "postscript"),
    (b"PK\x03\x04" + bytes(100), "image/png", "zip"), (film()[:200], "video/mp4", "broken or cut off"),
    (b"\x00\x00\x00\x18ftypmp42" + bytes(300), "video/mp4", "broken or cut off"),
    (sound()[:44], "audio/wav", "no sound"), (b"OggS" + bytes(200), "audio/ogg", "broken or cut off"),
    (b"\x00" * 500, "audio/mpeg", "not looked into"), (b"%PDF-1.7\nnothing", "application/pdf", "can't be drawn"),
    (b"no pdf", "application/pdf", "no PDF"), (bytes(100), "text/plain", "no text"),
    (b"PK\x03\x04", "application/zip", "not looked into"), (b"anything", "", "unknown type"),
])  # fmt: skip
def test_what_can_not_be_shown_says_why(data: bytes, mime_type: str, said: str) -> None:
    preview = seen(data, mime_type)
    assert said in preview.reason
    assert not preview.image


def test_a_bomb_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one in a format whose size nobody looked at before Pillow: its limits are not touched, for anybody."""
    limit = Image.MAX_IMAGE_PIXELS
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "TIFF", compression="group4")
    assert "are more than" in seen(file.getvalue(), "image/tiff").reason
    assert limit == Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(pictures.imagesize, "get", lambda _file: (-1, -1))
    assert seen(specimens.bomb(), "image/png").reason == "more than 50 megapixels"


def test_bytes_are_believed_more_than_types_and_markup_is_only_ever_text() -> None:
    assert [seen(data, "audio/wav").kind for data in (picture(), film())] == ["picture", "film"]
    assert [seen(data, "image/png").kind for data in (sound(), film())] == ["sound", "film"]
    assert seen(b"just words, no picture", "image/jpeg").reason == "not a picture that can be read"
    low, high = opened(seen(specimens.deep_png(), "image/png")).convert("L").getextrema()
    assert (low < 20, high > 230) == (True, True)  # sixteen bits of grey of which few are used are seen
    for data in (specimens.SVG, specimens.HTML):
        for mime_type in ("image/svg+xml", "text/html", "image/png", "application/xhtml+xml"):
            preview = seen(data, mime_type)
            assert not preview.image
            assert not preview.sound
            assert preview.kind == "text" or preview.reason


def test_text_is_its_first_lines_and_captions_are_one_line_and_keep_their_letters_together() -> None:
    assert sentence("two\nlines\t\u202ehere") == "two lines \\u202ehere"
    assert sentence("\U0001f469\u200d\U0001f680") == "\U0001f469\u200d\U0001f680"
    assert len(sentence("x" * 5000)) == 400
    preview = seen("\ufeffgr\u00fc\u00df\u202egott\x1b[31m\n".encode() + b"line\n" * 5000, "text/markdown")
    assert preview.text.startswith("gr\u00fc\u00df\\u202egott\\x1b[31m\nline\n")
    assert preview.text.endswith("line\n...")
    assert len(preview.text.splitlines()) == 17
    assert len(seen(b"x" * 100_000, "application/json").text) < 200
    # Cut in the middle of a character: no replacement sign.
    assert "\ufffd" not in seen("\u00e9".encode() * 5000, "text/plain").text


def test_a_short_sound_comes_along_and_a_long_one_only_as_an_outline() -> None:
    short = seen(sound(), "audio/wav")
    assert short.sound == sound()
    assert (short.sound_type, short.duration) == ("audio/wav", pytest.approx(1, abs=0.05))
    assert len(short.peaks) == PEAKS
    assert short.peaks[-1] > 90
    assert short.peaks[0] < 10
    long = seen(sound(20), "audio/wav")
    assert len(sound(20)) > MOST_SOUND
    assert not long.sound
    assert (len(long.peaks), long.duration) == (PEAKS, pytest.approx(20, abs=0.1))


@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_a_film_has_a_poster_which_is_not_its_black_start(container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = film(container=container)
    preview = seen(data, f"video/{container}")
    assert preview.kind == "film", preview.reason
    assert (preview.width, preview.height, preview.duration) == (160, 120, pytest.approx(2, abs=0.2))
    assert max(opened(preview).getpixel((100, 90))) > 60
    monkeypatch.setattr(films.time, "monotonic", iter([0.0, *[99.0] * 1000]).__next__)
    raised(UnshowableError, films.poster, io.BytesIO(data), f"video/{container}", SIDE, match="takes longer than")


@pytest.mark.parametrize("mime_type", ["video/mp4", "audio/mpeg", "video/mp2t"])
def test_a_playlist_opens_nothing(mime_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg would open what a playlist names; it is told the container, and never looks for one."""
    names = []
    real = av.open

    def watched(*args: object, **options: object) -> object:
        names.append(options["format"])
        return real(*args, **options)

    monkeypatch.setattr(films.av, "open", watched)
    for decode, *words in ((films.poster, mime_type, SIDE), (films.outline, mime_type)):
        raised(UnshowableError, decode, io.BytesIO(specimens.PLAYLIST), *words)
    assert len(names) == 2
    assert set(names) <= {"mp4", "mp3", "mpegts"}
    with pytest.raises(UnshowableError, match="not looked into"):
        films.poster(io.BytesIO(specimens.PLAYLIST), "application/vnd.apple.mpegurl", SIDE)
    preview = seen(specimens.PLAYLIST, mime_type)
    assert not preview.image
    assert not preview.peaks


def test_a_paper_shows_its_first_page_or_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    preview = seen(paper(), "application/pdf")
    assert (preview.pages, opened(preview).size[1]) == (2, SIDE)
    assert opened(preview).getpixel((90, 40))[2] > 150
    monkeypatch.setattr(decoders, "SECONDS", 0.3)
    monkeypatch.setattr(decoders, "_PROGRAM", "while True: pass")
    assert "takes longer" in seen(paper(), "application/pdf").reason
    monkeypatch.setattr(decoders, "SECONDS", 30.0)
    for code in ("import os; os.abort()", "print('x')", "print('P' * 17)"):
        monkeypatch.setattr(decoders, "_PROGRAM", code)
        assert "the process that decoded it ended" in seen(paper(), "application/pdf").reason
    answer = (
        "import sys; sys.stdin.readline(); print('P' + chr(0) * 7 + chr(5) + chr(0) * 8 + 'hello', flush=True); input()"
    )
    monkeypatch.setattr(decoders, "_PROGRAM", answer)
    assert seen(paper(), "application/pdf").reason == "it can't be decoded"


class Counted(OpenedSource):
    """A source that says it is large, and counts."""

    def __init__(self, data: bytes, size: int = MOST_WHOLE + 1) -> None:
        super().__init__(io.BytesIO(data))
        self.size = max(size, self.size)
        self.reads: list[int] = []

    def part(self, start: int, end: int) -> bytes:
        data = super().part(start, end)
        self.reads.append(len(data))
        return data

    def whole(self, most: int) -> bytes:
        raise AssertionError(f"read whole, up to {most}")


def test_a_large_picture_shows_the_preview_inside_it_for_one_block_and_a_large_film_is_read_in_few() -> None:
    source = Counted(specimens.jpeg_with_preview() + bytes(2 * 2**20))
    preview = preview_of(source, "image/jpeg", SIDE)
    assert (preview.width, preview.height) == (1200, 900)
    assert opened(preview).size == (160, 120)
    assert source.reads == [2**20]
    plain = Counted(picture())
    assert preview_of(plain, "image/png", SIDE).reason == "too large to be read for a preview"
    assert len(plain.reads) == 1
    source = Counted(film())
    assert preview_of(source, "video/mp4", SIDE).kind == "film"
    assert len(source.reads) <= 9
    assert not preview_of(Counted(bytes(100)), "audio/wav", SIDE).peaks
    file = previewer.RangedFile(Counted(bytes(5 * 2**20), size=0), 2)
    assert len(file.read(10)) == 10
    file.seek(-10, 2)
    assert len(file.read(100)) == 10
    file.seek(2 * 2**20)
    raised(OSError, file.read, 1, match="more of the file")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previewer, "_optional_module", lambda _name: None)
    monkeypatch.setattr(previewer, "find_spec", lambda _name: None)
    shown = {"image/png": picture(), "video/mp4": film(), "audio/wav": sound(20), "application/pdf": paper()}
    for mime_type, data in shown.items():
        assert "pip install pillow av" in seen(data, mime_type).reason


# -- the cache: private, bounded, never believed --------------------------------------------------------------
PICTURE = Preview(kind="picture", image=b"\x89PNG" + bytes(100), width=10, height=20)
SOUND = Preview(kind="sound", peaks=(1, 2, 100), sound=b"RIFFxyz", sound_type="audio/wav", duration=1.5, reason="why")
TEXT = Preview(kind="text", text="gr\u00fc\u00df\n")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_put_in_comes_out_of_many_threads_too(tmp_path: Path) -> None:
    cache = PreviewCache(tmp_path / "c")
    for number, preview in enumerate((PICTURE, SOUND, TEXT, Preview())):
        assert cache.get(["a", number]) is None
        cache.put(["a", number], preview)
        assert cache.get(["a", number]) == preview
    assert (cache.get(["a", 9]), cache.get(["a1"]), len(files(tmp_path))) == (None, None, 4)

    def work(_: int) -> list[object]:
        found = []
        for _ in range(50):
            cache.put(["b"], SOUND)
            found.append(cache.get(["b"]))
        return found

    with ThreadPoolExecutor(4) as pool:
        assert [each for found in pool.map(work, range(4)) for each in found] == [SOUND] * 200
    assert len(files(tmp_path)) == 5


def test_only_its_owner_reads_it_and_a_full_disk_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "c"
    folder.mkdir(mode=0o755)
    PreviewCache(folder).put(["a"], PICTURE)
    (file,) = files(folder)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, file.parent, file)] == [0o700, 0o700, 0o600]
    for place in (None, file / "c"):
        cache = PreviewCache(place)
        cache.put(["a"], PICTURE)
        assert cache.get(["a"]) is None
        cache.trim()
    monkeypatch.setattr(previewer.os, "getuid", lambda: os.geteuid() + 1)
    cache = PreviewCache(tmp_path / "another user's")
    cache.put(["a"], PICTURE)
    assert cache.get(["a"]) is None
    assert files(tmp_path) == [file]


SPOILED = {
    "empty": lambda data: data[:0],
    "short": lambda data: data[:-1],
    "long": lambda data: data + b"x",
    "flipped": lambda data: data[:60] + b"\xff" + data[61:],
    "other version": lambda data: data.replace(b"preview 2", b"preview 1"),
    "no magic": lambda data: b"\x80\x04pickle" + data,
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_file_is_as_none(how: str, tmp_path: Path) -> None:
    cache = PreviewCache(tmp_path / "c")
    cache.put(["a"], SOUND)
    (file,) = files(tmp_path)
    file.write_bytes(SPOILED[how](file.read_bytes()))
    assert cache.get(["a"]) is None
    cache.put(["a"], SOUND)
    assert cache.get(["a"]) == SOUND


@pytest.mark.parametrize("values", [
    {"kind": "markup"}, {"image": b"<svg onload=x>"}, {"image": b"\x89PNG" + bytes(5 * 2**20)}, {"peaks": (1, 200)},
    {"peaks": ("<b>",)}, {"peaks": tuple(range(97))}, {"width": "<b>"}, {"text": "x" * 9000},
    {"sound": bytes(2**18 + 1)}, {"reason": 7},
])  # fmt: skip
def test_what_no_preview_can_be_is_refused_though_its_checksum_fits(values: dict[str, object]) -> None:
    assert Preview.unpack(Preview(**values).pack()) is None  # type: ignore[arg-type]


def test_it_stays_within_its_limit_and_forgets_what_was_not_looked_at(tmp_path: Path) -> None:
    cache = PreviewCache(tmp_path / "c", most_bytes=40_000)
    for number in range(10):
        cache.put([number], Preview(kind="picture", image=b"\x89PNG" + bytes(8_000)))
    for path in files(tmp_path):
        os.utime(path, (1, 1))
    assert cache.get([7]) is not None  # looking makes it younger
    cache.trim()
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 36_000
    assert cache.get([7]) is not None


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previewer.sys, "platform", "linux")
    monkeypatch.setenv("HOME", "/home/somebody")
    home = "/home/somebody/.cache/fsmedia/previews"
    for said, elsewhere, folder in (
        ("off", None, None), ("OFF ", None, None), ("", None, home), ("/tmp/x", None, "/tmp/x/previews"),
        ("~/y", None, "/home/somebody/y/previews"), (None, "relative", home),
        (None, "/var/x", "/var/x/fsmedia/previews"),
    ):  # fmt: skip
        for name, value in (("FSMEDIA_CACHE", said), ("XDG_CACHE_HOME", elsewhere)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        assert previewer.default_folder() == (folder and Path(folder))


def test_an_erasure_takes_the_previews_of_what_is_gone(url: str, cache_folder: Path) -> None:
    store = MediaStore(url)
    for run in ("r1", "r2"):
        store.store_media(MediaContent.from_text(f"hello {run}"), MediaMetadata(run_id=run))
    store.gallery().html()
    before = len(list(cache_folder.glob("*/*")))
    erased = store.erase(run_id="r1").cleaned.previews
    assert 0 < erased < before
    assert len(list(cache_folder.glob("*/*"))) == before - erased
    assert store.erase(run_id="r2").cleaned.previews == before - erased


# -- small files that would take gigabytes or hours -----------------------------------------------------------
def bits(*numbers: tuple[int, int]) -> bytes:
    text = "".join(f"{value:0{width}b}" for value, width in numbers)
    return bytes(int(text[start : start + 8], 2) for start in range(0, len(text), 8))


def remainder(data: bytes, polynomial: int, width: int) -> bytes:
    value = 0
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (width - 1) else 0)
            value &= (1 << width) - 1
    return value.to_bytes(width // 8, "big")


def silence(rate: int, samples: int = 65_535) -> bytes:
    """One frame of FLAC that says one value: a few bytes, whatever their time."""
    info = bits((samples, 16), (samples, 16), (0, 48), (rate, 20), (0, 3), (15, 5), (samples, 36)) + bytes(16)
    head = bits((0b11111111111110, 14), (0, 2), (0b0111, 4), (0, 8), (0b100, 3), (0, 1), (0, 8))
    head += struct.pack(">H", samples - 1)
    frame = head + remainder(head, 7, 8) + b"\0" + struct.pack(">h", 100)
    return b"fLaC\x80" + len(info).to_bytes(3, "big") + info + frame + remainder(frame, 0x8005, 16)


def tiled(side: int) -> bytes:
    """A TIFF of 50 x 50 pixels in one tile of any size."""
    data = zlib.compress(bytes(side * side), 9)
    tags = [(256, 50), (257, 50), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 8)]
    tags.append((325, len(data)))
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + table + bytes(4)


def strip(width: int, height: int) -> bytes:
    return specimens.png(width, height, bytes((width + 1) * height), kind=0)


def growing(*sides: int) -> bytes:
    """A film whose head says the first size, and whose frames are black first, then white and of other sizes."""
    packets = []
    for number, side in enumerate(sides):
        codec = av.CodecContext.create("libvpx-vp9", "w")
        codec.width = codec.height = side
        codec.pix_fmt, codec.time_base = "yuv420p", Fraction(1, 25)
        frame = av.VideoFrame(side, side, "yuv420p")
        for plane, value in zip(frame.planes, (235 if number else 16, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        packets += [*codec.encode(frame), *codec.encode(None)]
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.width = stream.height = sides[0]
        for moment, packet in enumerate(packets):
            fresh = av.Packet(bytes(packet))
            fresh.pts = fresh.dts = moment
            fresh.time_base, fresh.stream, fresh.is_keyframe = Fraction(1, 25), stream, True
            container.mux(fresh)
    return file.getvalue()


def test_a_sound_of_one_hertz_is_not_stretched() -> None:
    """81 bytes took a gigabyte and more: an hour of silence at eight thousand samples a second."""
    for rate in (1, 8, 50):
        preview = seen(silence(rate), "audio/flac")
        assert "longer than is drawn" in preview.reason
        assert not preview.peaks
    assert seen(silence(8000), "audio/flac").peaks


def test_a_tile_is_no_larger_than_a_picture_may_be() -> None:
    """A TIFF of two megabytes took two gigabytes: only a corner of its tile is picture."""
    assert seen(tiled(64), "image/tiff").image
    assert "8,000 x 8,000 pixels are more" in seen(tiled(8000), "image/tiff").reason


def test_a_line_is_not_endless() -> None:
    """Few pixels, but a line each: the pointers and the working memory of a line outweigh them."""
    for width, height in ((1, 2_000_000), (2_000_000, 1)):
        assert "pixels are more" in seen(strip(width, height), "image/png").reason
        assert seen(strip(min(width, 2000), min(height, 2000)), "image/png").image


def test_a_number_of_a_million_digits_is_not_read() -> None:
    """Reading the size of such a picture took time by the square of the digits: twenty megabytes, an hour."""
    begun = time.monotonic()
    assert "broken" in seen(b"P6\n" + b"1" * 2_000_000 + b" 1\n255\n", "image/x-portable-pixmap").reason
    assert time.monotonic() - begun < 5
    plain = seen(b"P6\n60 50\n255\n" + bytes(60 * 50 * 3), "image/x-portable-pixmap")
    assert (plain.width, plain.height) == (60, 50)
    assert "more than 50 megapixels" in seen(b"P6\n60000 50000\n255\n", "image/x-portable-pixmap").reason


def test_a_film_can_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head said 64 x 64, a later frame was of 256 million pixels."""
    grown = growing(64, 640)
    assert max(opened(seen(grown, "video/webm")).getpixel((10, 10))) > 200
    for module in (films, pictures):
        monkeypatch.setattr(module, "MOST_PIXELS", 100_000)
    raised(UnshowableError, films.poster, io.BytesIO(grown), "video/webm", SIDE, match="broken or cut off")


PEAK = """
import os, resource, threading
from pathlib import Path
from fsmedia import MediaStore

os.environ["FSMEDIA_CACHE"] = "off"
store = MediaStore("store")

def resident():
    total, waiting = 0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
            for each in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += each.read_text().split()
        except OSError:  # ended meanwhile
            pass
    return total

before, seen, done = resident(), [0], threading.Event()
def watch():
    while not done.wait(0.005):
        seen.append(resident())
watcher = threading.Thread(target=watch)
watcher.start()
made = store.gallery()
made.html()
done.set()
watcher.join()
shown = sum(bool(each.image) for each in made.previews)
print((max(seen) - before) // 2**20, shown, sum("too large to preview" in each.reason for each in made.previews))
"""


@pytest.fixture
def linux() -> None:
    if not Path("/proc/self/task").exists():
        pytest.skip("other systems have no limit of memory, nor tell what children take")


@pytest.mark.usefixtures("linux")
def test_twenty_hostile_pictures_at_once_take_half_a_gigabyte_and_no_more(tmp_path: Path) -> None:
    """Some hundred KiB of files took 2.3 GiB: as many as there are cores were decoded at once, however large."""
    store = MediaStore(tmp_path / "store", durability="rename")
    lossy = {"quality_mode": "rates", "quality_layers": [200]}
    for mode, kind, count, words in (
        ("1", "PNG", 10, {}), ("L", "PNG", 4, {}), ("RGBA", "PNG", 3, {"compress_level": 1}),
        ("RGB", "JPEG2000", 1, lossy), ("RGB", "WEBP", 2, {"method": 0}), ("RGB", "AVIF", 2, {"speed": 10}),
        ("F", "TIFF", 2, {"compression": "tiff_deflate"}),
    ):  # fmt: skip
        file = io.BytesIO()
        side = 6200 if mode == "RGBA" else 7000  # just below what is decoded, and above for the last two
        Image.new(mode, (side, side)).save(file, kind, **words)
        mime_type = {"JPEG2000": "image/jp2"}.get(kind, f"image/{kind.lower()}")
        for number in range(count):
            content = MediaContent(data=file.getvalue() + bytes([number]), mime_type=mime_type)
            store.store_media(content, MediaMetadata(run_id="r1"))
    done = run_python(PEAK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    peak, shown, told = map(int, done.stdout.split())
    assert peak <= decoders.BOUND // 2**20
    assert (shown, told) == (22, 2)


CHILD = """
import json, os, sys, time
sys.path[:] = json.loads(sys.argv[1])
from fsmedia.display import decoders, pictures
thumbnail = pictures.thumbnail
def odd(data, side):
    if data.endswith(b"die"):
        os.abort()
    while data.endswith(b"slow"):
        pass
    print("to standard output")
    return thumbnail(data, side)
pictures.thumbnail = odd
decoders.serve()
"""


def test_a_child_that_dies_or_takes_too_long_costs_its_picture_only(
    memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "_PROGRAM", CHILD)
    store, tiff = MediaStore(memory_storage.url), picture(kind="TIFF")
    for number, end in enumerate((b"", b"die", b"1", b"die", b"2", b"3")):
        content = MediaContent(data=tiff + end, mime_type="image/tiff")
        store.store_media(content, MediaMetadata(run_id="r1", message_idx=number))
    made = store.gallery().previews
    assert [bool(each.image) for each in made].count(True) == 4
    assert ["the process that decoded it ended" in each.reason for each in made if not each.image] == [True] * 2
    assert (decoders._state.waiting, decoders._state.users) == ([], 0)
    monkeypatch.setattr(decoders, "SECONDS", 3.0)
    assert "takes longer than 3 s" in seen(tiff + b"slow", "image/tiff").reason
    monkeypatch.setattr(decoders.sys, "executable", "")
    assert "no process could be started" in seen(tiff, "image/tiff").reason
    assert decoders._state.budget._left == decoders._SHARED


@pytest.mark.usefixtures("linux")
def test_what_takes_more_than_its_header_says_is_stopped_by_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "memory_needed", lambda _data, _side: (0, False))
    file = io.BytesIO()
    Image.new("LA", (7000, 7000)).save(file, "PNG", compress_level=1)
    assert "too large to preview" in seen(file.getvalue(), "image/png").reason


def test_trimming_removes_nothing_that_is_not_the_caches(tmp_path: Path) -> None:
    """Somebody names a folder that has a `previews` with work in it."""
    work = tmp_path / "previews" / "2026" / "holiday.raw"
    work.parent.mkdir(parents=True)
    work.write_bytes(bytes(1000))
    left = tmp_path / "previews" / "ab" / ".tmp-killed"
    left.parent.mkdir()
    left.write_bytes(bytes(1000))
    for path in (work, left):
        os.utime(path, (1, 1))
    cache = PreviewCache(tmp_path / "previews", most_bytes=500)
    for number in range(20):
        cache.put([number], Preview(kind="text", text="x" * 100))
    cache.trim()
    assert work.read_bytes() == bytes(1000)
    assert not left.exists()


def test_a_comparison_keeps_to_its_limit_however_much_there_is(memory_storage: MemoryStorage) -> None:
    """Thousands of positions with long captions made a page of 22 MiB that said it had 2."""
    store = MediaStore(memory_storage.url)
    content = MediaContent(data=b"text", mime_type="text/plain", caption="<" * 400)
    positions = [{"run_id": run, "message_idx": number} for run in ("a", "b") for number in range(300)]
    store.store_many([(content, MediaMetadata(**each, conversation_id='"' * 200)) for each in positions])
    made = store.compare(["a", "b"], limit=300, by="conversation")
    page = made.html()
    assert len(made) == 300
    assert BUDGET * 0.9 < len(page.encode()) <= BUDGET
    assert "positions left out: a page holds at most 2.0 MiB" in page
    assert "left out" not in store.compare(["a", "b"], limit=20).html()


# -- pictures that look alike ----------------------------------------------------------------------------------
def requests(store: MediaStore) -> list[previewer.PreviewRequest]:
    found, _ = select_items(store._backend, store._settings_file.refresh(), Selection(), limit=100, sort="position")
    return [request_of(each, verify_reads=True) for each in found]


def test_few_large_originals_are_in_memory_at_once(tmp_path: Path, cache_folder: Path) -> None:
    """Sixteen threads, each with the twenty MiB of a photograph, took as much as all decoding may."""
    store = MediaStore(tmp_path / "store", durability="rename")
    for number in range(16):
        put(store, picture(kind="JPEG") + bytes(12 * 2**20) + bytes([number]), "image/jpeg")
    tracemalloc.start()
    made = previewer.Previewer(store._backend, 96).of(requests(store), progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(each.image for each in made)
    assert peak < 80 * 2**20, peak


def test_a_picture_made_smaller_or_written_anew_has_nearly_the_same_hash_and_others_have_not(
    moto_storage: S3Storage, cache_folder: Path
) -> None:
    store = transfers.opened(moto_storage).create()
    kept = [scene(0), scene(0, (320, 240)), scene(0, kind="PNG"), scene(0, quality=20), scene(5), scene(9)]
    for index, data in enumerate([*kept, specimens.encoded(Image.new("RGB", (90, 90), "red")), b"a text", film()]):
        kind = MediaContent.from_bytes(data).mime_type
        put(store, data, kind, message_idx=index)
    asked = requests(store)
    hashes = picture_hashes(store._backend, asked)
    first, *same = hashes[:4]
    assert first is not None
    assert all(each is not None and (first ^ each).bit_count() <= 4 for each in same)
    assert all(each is not None and (first ^ each).bit_count() > 10 for each in (*hashes[4:6], hashes[8]))
    assert hashes[6:8] == [None, None]  # of one colour, and a text
    assert near_groups(hashes, 6) == [[0, 1, 2, 3]]
    # Kept by digest beside the preview: neither the bytes nor the preview are looked at again, nor one that is spoiled.
    made = len(files(cache_folder))
    for path in files(cache_folder):
        if len(path.read_bytes()) > 1_000:
            path.unlink()
    assert len(files(cache_folder)) < made - 6
    assert costs(moto_storage, lambda: picture_hashes(store._backend, asked[:6])) == hashes[:6]


def test_an_erasure_forgets_the_hash_too(local_storage: LocalStorage, cache_folder: Path) -> None:
    store = transfers.opened(local_storage).create()
    put(store, scene(1), "image/jpeg", session_id="s1")
    picture_hashes(store._backend, requests(store))
    assert len(files(cache_folder)) == 2  # the preview, and the hash
    store.erase(session_id="s1")
    assert files(cache_folder) == []


def test_groups_hold_together_by_their_nearest_and_a_hundred_thousand_take_seconds() -> None:
    chain = [0, 0b111, 0b111111, 0b111111 << 30, None]
    assert near_groups(chain, 3) == [[0, 1, 2]]
    assert near_groups(chain, 2) == []
    assert near_groups([7, None, 7, None], 0) == [[0, 2]]
    dice = random.Random(4)
    many: list[int | None] = [dice.getrandbits(64) for _ in range(20_000)]
    for index in (3, 500, 19_000):
        many.append((many[index] or 0) ^ (1 << dice.randrange(64)))
    assert near_groups(many, 4) == [[3, 20_000], [500, 20_001], [19_000, 20_002]]
    begun = time.process_time()
    near_groups([1] * 50_000 + list(range(2, 9_000)), 6)
    assert time.process_time() - begun < 20
