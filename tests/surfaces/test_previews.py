"""Previews: whatever the bytes are, there is a card, and it costs what was promised and no more."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import av
import pytest
from PIL import Image

from fsmedia.display import documents, films, pictures, previewer
from fsmedia.display.previewer import MOST_SOUND, MOST_WHOLE, PEAKS, OpenedSource, Preview, RangedFile, preview_of
from fsmedia.models.text import sentence
from tests.surfaces import specimens

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 256


def seen(data: bytes, mime_type: str) -> Preview:
    return preview_of(OpenedSource(io.BytesIO(data)), mime_type, SIDE)


def opened(preview: Preview) -> Image.Image:
    return Image.open(io.BytesIO(preview.image)).convert("RGB")


@pytest.mark.parametrize(
    ("data", "mime_type", "size"),
    [
        (specimens.picture(), "image/png", (256, 192)),
        (specimens.picture(kind="JPEG"), "image/jpeg", (256, 192)),
        (specimens.picture(kind="JPEG", mode="CMYK"), "image/jpeg", (256, 192)),
        (specimens.picture(kind="GIF", mode="P"), "image/gif", (256, 192)),
        (specimens.picture(kind="WEBP", mode="RGBA"), "image/webp", (256, 192)),
        (specimens.picture(kind="TIFF", mode="F"), "image/tiff", (256, 192)),
        (specimens.picture(kind="BMP", mode="1"), "image/bmp", (256, 192)),
        (specimens.picture(mode="LA"), "image/png", (256, 192)),
        (specimens.picture((3000, 20)), "image/png", (256, 2)),
        (specimens.picture((1, 1)), "image/png", (1, 1)),
        (specimens.deep_png(), "image/png", (64, 64)),
        (specimens.moving_gif(), "image/gif", (40, 40)),
    ],
)
def test_pictures_of_all_kinds_become_small_ones(data: bytes, mime_type: str, size: tuple[int, int]) -> None:
    preview = seen(data, mime_type)
    assert preview.kind == "picture", preview.reason
    assert preview.image_type == "image/webp"
    assert opened(preview).size == size
    assert preview.width
    assert len(preview.image) < 20_000


def test_deep_greys_are_seen() -> None:
    low, high = opened(seen(specimens.deep_png(), "image/png")).convert("L").getextrema()
    assert low < 20
    assert high > 230


def test_a_picture_stands_as_the_camera_was_held_and_tells_no_place() -> None:
    data = specimens.turned_jpeg()
    assert b"secret-place" in data
    preview = seen(data, "image/jpeg")
    assert (preview.width, preview.height) == (300, 400)
    assert opened(preview).size == (192, 256)
    top, bottom = opened(preview).getpixel((96, 20)), opened(preview).getpixel((96, 236))
    assert top[0] > 180 > top[1] + 90  # the red half is above now
    assert abs(bottom[0] - bottom[1]) < 30
    assert b"secret-place" not in preview.image
    assert b"Exif" not in preview.image


@pytest.mark.parametrize(
    ("data", "mime_type", "said"),
    [
        (b"", "image/png", "empty"),
        (specimens.picture()[:300], "image/png", "broken or cut off"),
        (specimens.picture(kind="JPEG")[:900], "image/jpeg", "broken or cut off"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "image/png", "broken or cut off"),
        (b"\x00\x01\x02\x03" * 50, "image/png", "not a picture"),
        (specimens.bomb(), "image/png", "are more than"),
        (specimens.bomb(20_000, 6_000), "image/png", "are more than"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "image/png", "postscript"),
        (b"PK\x03\x04" + bytes(100), "image/png", "zip"),
        (specimens.film()[:200], "video/mp4", "broken or cut off"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(300), "video/mp4", "broken or cut off"),
        (specimens.sound()[:44], "audio/wav", "no sound"),
        (b"OggS" + bytes(200), "audio/ogg", "broken or cut off"),
        (b"\x00" * 500, "audio/mpeg", "not looked into"),
        (b"%PDF-1.7\nnothing", "application/pdf", "can't be drawn"),
        (b"no pdf", "application/pdf", "no PDF"),
        (bytes(100), "text/plain", "no text"),
        (b"PK\x03\x04", "application/zip", "not looked into"),
        (b"anything", "", "unknown type"),
    ],
)
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


def test_bytes_are_believed_more_than_types() -> None:
    assert seen(specimens.picture(), "audio/wav").kind == "picture"
    assert seen(specimens.sound(), "image/png").kind == "sound"
    assert seen(specimens.film(), "image/png").kind == "film"
    assert seen(b"just words, no picture", "image/jpeg").reason == "not a picture that can be read"


@pytest.mark.parametrize("data", [specimens.SVG, specimens.HTML])
@pytest.mark.parametrize("mime_type", ["image/svg+xml", "text/html", "image/png", "application/xhtml+xml"])
def test_markup_is_only_ever_text(data: bytes, mime_type: str) -> None:
    preview = seen(data, mime_type)
    assert not preview.image
    assert not preview.sound
    assert preview.kind == "text" or preview.reason


def test_captions_are_one_line_and_keep_their_letters_together() -> None:
    assert sentence("two\nlines\t\u202ehere") == "two lines \\u202ehere"
    assert sentence("\U0001f469\u200d\U0001f680") == "\U0001f469\u200d\U0001f680"
    assert len(sentence("x" * 5000)) == 400


def test_text_is_its_first_lines() -> None:
    preview = seen("\ufeffgr\u00fc\u00df\u202egott\x1b[31m\n".encode() + b"line\n" * 5000, "text/markdown")
    assert preview.text.startswith("gr\u00fc\u00df\\u202egott\\x1b[31m\nline\n")
    assert preview.text.endswith("line\n...")
    assert len(preview.text.splitlines()) == 17
    assert len(seen(b"x" * 100_000, "application/json").text) < 200
    # Cut in the middle of a character: no replacement sign.
    assert "\ufffd" not in seen("\u00e9".encode() * 5000, "text/plain").text


def test_a_short_sound_comes_along_and_a_long_one_only_as_an_outline() -> None:
    short = seen(specimens.sound(), "audio/wav")
    assert short.sound == specimens.sound()
    assert short.sound_type == "audio/wav"
    assert short.duration == pytest.approx(1, abs=0.05)
    assert len(short.peaks) == PEAKS
    assert short.peaks[-1] > 90
    assert short.peaks[0] < 10
    long = seen(specimens.sound(seconds=20), "audio/wav")
    assert len(specimens.sound(seconds=20)) > MOST_SOUND
    assert not long.sound
    assert len(long.peaks) == PEAKS
    assert long.duration == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(("container", "mime_type"), [("mp4", "video/mp4"), ("webm", "video/webm")])
def test_a_film_has_a_poster_that_is_not_the_black_at_its_start(container: str, mime_type: str) -> None:
    preview = seen(specimens.film(container=container), mime_type)
    assert preview.kind == "film", preview.reason
    assert (preview.width, preview.height) == (160, 120)
    assert preview.duration == pytest.approx(2, abs=0.2)
    assert max(opened(preview).getpixel((100, 90))) > 60


@pytest.mark.parametrize("mime_type", ["video/mp4", "audio/mpeg", "video/mp2t"])
def test_a_playlist_opens_nothing(mime_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg would open what a playlist names; it is told the container, and never looks for one."""
    names = []
    real = av.open

    def watched(*args: object, **options: object) -> object:
        names.append(options["format"])
        return real(*args, **options)

    monkeypatch.setattr(films.av, "open", watched)
    preview = seen(specimens.PLAYLIST, mime_type)
    assert not preview.image
    assert not preview.peaks
    assert set(names) <= {"mp4", "mp3", "mpegts"}
    with pytest.raises(films.UnshowableError, match="not looked into"):
        films.poster(io.BytesIO(specimens.PLAYLIST), "application/vnd.apple.mpegurl", SIDE)


def test_work_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films.time, "monotonic", iter([0.0, *[99.0] * 1000]).__next__)
    assert "takes longer than" in seen(specimens.film(), "video/mp4").reason


def test_a_paper_shows_its_first_page() -> None:
    preview = seen(specimens.paper(), "application/pdf")
    assert preview.pages == 2
    assert opened(preview).size[1] == SIDE
    assert opened(preview).getpixel((90, 40))[2] > 150


def test_a_paper_that_takes_for_ever_or_kills_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    monkeypatch.setattr(documents, "__file__", str(program))
    monkeypatch.setattr(documents, "SECONDS", 0.3)
    program.write_text("while True: pass")
    assert "takes longer" in seen(specimens.paper(), "application/pdf").reason
    monkeypatch.setattr(documents, "SECONDS", 30.0)
    for code in ("import os; os.abort()", "print('x')", "print('1')"):
        program.write_text(code)
        assert "can't be drawn" in seen(specimens.paper(), "application/pdf").reason


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


def test_a_large_picture_shows_the_preview_inside_it_for_one_block() -> None:
    source = Counted(specimens.jpeg_with_preview() + bytes(2 * 2**20))
    preview = preview_of(source, "image/jpeg", SIDE)
    assert (preview.width, preview.height) == (1200, 900)
    assert opened(preview).size == (160, 120)
    assert source.reads == [2**20]
    plain = Counted(specimens.picture())
    assert preview_of(plain, "image/png", SIDE).reason == "too large to be read for a preview"
    assert len(plain.reads) == 1


def test_a_large_film_is_read_in_few_blocks() -> None:
    source = Counted(specimens.film())
    assert preview_of(source, "video/mp4", SIDE).kind == "film"
    assert len(source.reads) <= 9
    assert not preview_of(Counted(bytes(100)), "audio/wav", SIDE).peaks


def test_a_ranged_file_ends_when_it_has_read_enough() -> None:
    source = Counted(bytes(5 * 2**20), size=0)
    file = RangedFile(source, 2)
    assert len(file.read(10)) == 10
    file.seek(-10, 2)
    assert len(file.read(100)) == 10
    file.seek(2 * 2**20)
    with pytest.raises(OSError, match="more of the file"):
        file.read(1)


@pytest.mark.parametrize("mime_type", ["image/png", "video/mp4", "audio/wav", "application/pdf"])
def test_what_is_not_installed_is_named(mime_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {
        "image/png": specimens.picture(),
        "video/mp4": specimens.film(),
        "audio/wav": specimens.sound(seconds=20),
        "application/pdf": specimens.paper(),
    }[mime_type]
    monkeypatch.setattr(previewer, "_optional_module", lambda _name: None)
    monkeypatch.setattr(previewer, "find_spec", lambda _name: None)
    assert "pip install 'fsmedia[notebook]'" in seen(data, mime_type).reason
