"""What a browser is given of an opened media: each kind plays or is shown, or says in plain words why it is not."""

import io
import struct
import wave
from base64 import b64encode
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import av
import pytest
from PIL import Image

from fsmedia import MediaContent, errors
from fsmedia.display import decoders, films, originals, pictures
from fsmedia.display.originals import Original, original_of
from fsmedia.display.previewer import OpenedSource, UnshowableError, preview_of
from tests.surfaces import specimens
from tests.surfaces.specimens import coded, encoded, paper, picture

MOST = 64 * 2**20


def opened(data: bytes, mime_type: str, *, most: int = MOST, name: str = "a.bin") -> Original:
    return original_of(io.BytesIO(data), MediaContent(data=data, mime_type=mime_type, file_name=name), most=most)


@pytest.fixture(scope="module", autouse=True)
def children() -> Iterator[None]:
    """Keep the processes that decode, for all of these tests."""
    with decoders.children():
        yield


def scan(pages: int) -> bytes:
    sheets = [Image.new("RGB", (300, 400), colour) for colour in ("navy", "white", "red")[:pages]]
    return encoded(sheets[0], "TIFF", save_all=True, append_images=sheets[1:])


def moving(kind: str) -> bytes:
    frames = [Image.new("RGB", (40, 40), (index * 80, 0, 0)) for index in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)


UMLAUTS, KANA = "Gr\u00f6\u00dfe, caf\u00e9, na\u00efve\n" * 3, "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\n" * 4
ICON = encoded(Image.new("RGB", (64, 64), "navy"), "ICO", bitmap_format="bmp", sizes=[(64, 64)])
# -- kind: its bytes; what they are said to be; what is shown, as which type; words that stand beside it or in it
KINDS: dict[str, tuple[Callable[[], bytes], str, str, str, str]] = {
    "png": (picture, "image/png", "image", "image/png", ""),
    "animated gif": (lambda: moving("GIF"), "image/gif", "image", "image/gif", ""),
    "animated webp": (lambda: moving("WEBP"), "image/webp", "image", "image/webp", ""),
    "animated png": (lambda: moving("PNG"), "image/png", "image", "image/png", ""),
    "avif": (lambda: picture(kind="AVIF"), "image/avif", "image", "image/avif", ""),
    "bmp": (lambda: picture(kind="BMP"), "image/bmp", "image", "image/bmp", ""),
    "svg": (lambda: specimens.DRAWN, "image/svg+xml", "image", "image/svg+xml", ""),
    "svg that only runs": (lambda: specimens.SVG, "image/svg+xml", "text", "text/plain", "is empty: this is its text"),
    "tiff": (lambda: picture(kind="TIFF"), "image/tiff", "image", "image/png", ""),
    "tiff, large": (lambda: picture((2000, 3000), "TIFF"), "image/tiff", "image", "image/jpeg", ""),
    "tiff, nothing shows through": (
        lambda: encoded(Image.new("RGBA", (900, 900), "navy"), "TIFF"), "image/tiff", "image", "image/jpeg", "",
    ),
    "tiff of pages": (lambda: scan(3), "image/tiff", "image", "image/png", "page 1 of 3"),
    "jpeg 2000": (lambda: picture((900, 700), "JPEG2000"), "image/jp2", "image", "image/jpeg", ""),
    "icon": (lambda: picture((64, 64), "ICO"), "image/vnd.microsoft.icon", "image", "image/png", ""),
    "old icon": (lambda: ICON, "image/x-icon", "image", "image/png", ""),
    "icon that lies": (
        lambda: ICON[:26] + struct.pack("<ii", 9000, 18_000) + ICON[34:], "image/x-icon", "none", "", "are more than",
    ),
    "ppm": (lambda: picture(kind="PPM"), "image/x-portable-pixmap", "image", "image/png", ""),
    "heic": (lambda: b"\0\0\0\x18ftypheic" + bytes(99), "image/heic", "none", "", "pip install pillow-heif"),
    "cut png": (lambda: picture()[:900], "image/png", "image", "image/png", "it is cut off"),
    "no png": (lambda: bytes(range(200)), "image/png", "none", "", "not a picture"),
    "bomb": (specimens.bomb, "image/png", "none", "", "are more than a browser is given"),
    "mp4": (lambda: coded("mp4", "libx264", "aac"), "video/mp4", "video", "video/mp4", ""),
    "mov": (lambda: coded("mov", "libx264", "pcm_s16le"), "video/quicktime", "video", "video/mp4", "sound, pcm_s16le,"),
    "webm": (lambda: coded("webm", "libvpx-vp9", "libopus"), "video/webm", "video", "video/webm", ""),
    "mkv": (lambda: coded("matroska", "libx264", "aac"), "video/x-matroska", "video", "video/mp4", ""),
    "mkv, vp9": (lambda: coded("matroska", "libvpx-vp9", "libopus"), "video/x-matroska", "video", "video/webm", ""),
    "mkv, ac3": (lambda: coded("matroska", "libx264", "ac3"), "video/x-matroska", "video", "video/mp4", "sound, ac3,"),
    "avi": (lambda: coded("avi", "libx264", "libmp3lame"), "video/x-msvideo", "video", "video/mp4", ""),
    "avi, mpeg4": (lambda: coded("avi", "mpeg4", "mp2"), "video/x-msvideo", "none", "", "codec mpeg4 plays in no"),
    "mpeg-ts": (lambda: coded("mpegts", "libx264", "aac"), "video/mp2t", "video", "video/mp4", ""),
    "hevc": (lambda: coded("mp4", "libx265"), "video/mp4", "video", "video/mp4", "HEVC plays in some browsers only"),
    "cut mp4": (lambda: coded("mp4", "libx264")[:900], "video/mp4", "none", "", "broken or cut off"),
    "wav": (specimens.sound, "audio/wav", "audio", "audio/wav", ""),
    "mp3": (lambda: coded("mp3", "", "libmp3lame"), "audio/mpeg", "audio", "audio/mpeg", ""),
    "aac": (lambda: coded("adts", "", "aac"), "audio/aac", "audio", "audio/aac", ""),
    "m4a": (lambda: coded("ipod", "", "aac"), "audio/mp4", "audio", "audio/mp4", ""),
    "opus": (lambda: coded("ogg", "", "libopus"), "audio/ogg", "audio", "audio/ogg", ""),
    "flac": (lambda: coded("flac", "", "flac"), "audio/flac", "audio", "audio/flac", ""),
    "aiff": (lambda: coded("aiff", "", "pcm_s16be"), "audio/aiff", "audio", "audio/wav", ""),
    "alac": (lambda: coded("ipod", "", "alac"), "audio/mp4", "audio", "audio/wav", ""),
    "mka": (lambda: coded("matroska", "", "libopus"), "audio/x-matroska", "audio", "audio/webm", ""),
    "cut wav": (lambda: specimens.sound()[:30], "audio/wav", "none", "", "broken or cut off"),
    "no sound": (lambda: bytes(range(200)), "audio/mpeg", "none", "", "browsers do not show audio/mpeg"),
    "utf-8": (UMLAUTS.encode, "text/plain", "text", "text/plain", UMLAUTS),
    "utf-16": (lambda: KANA.encode("utf-16"), "text/plain", "text", "text/plain", KANA),
    "utf-16, other end": (lambda: b"\xfe\xff" + KANA.encode("utf-16-be"), "text/plain", "text", "text/plain", KANA),
    "latin-1": (lambda: UMLAUTS.encode("latin-1"), "text/plain", "text", "text/plain", UMLAUTS),
    "shift-jis": (lambda: KANA.encode("shift-jis"), "text/csv", "text", "text/plain", KANA),
    "old cyrillic": (lambda: "\u041f\u0440\u0438\u0432".encode("cp1251"), "text/plain", "none", "", "encoding"),
    "json": (lambda: b'{"a":[1.50]}', "application/json", "text", "text/plain", '{\n  "a": [\n    1.5\n  ]\n}'),
    "json, not exact": (lambda: b'{"a":1e400}', "application/json", "text", "text/plain", '{"a":1e400}'),
    "markdown": (lambda: b"# A *b*", "text/markdown", "html", "text/plain", "<h1>A <em>b</em></h1>"),
    "html": (lambda: specimens.HTML, "text/html", "text", "text/plain", specimens.HTML.decode()),
    "pdf": (paper, "application/pdf", "image", "image/webp", "page 1 of 2"),
    "locked pdf": (specimens.locked_paper, "application/pdf", "none", "", "it is encrypted"),
    "cut pdf": (lambda: paper()[:600], "application/pdf", "none", "", "can't be drawn"),
    "zip": (lambda: b"PK\3\4" + bytes(99), "application/zip", "none", "", "browsers do not show application/zip"),
    "nothing": (lambda: b"", "image/png", "none", "", "it is empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_shown_or_says_why(name: str) -> None:
    make, said, kind, shown_as, words = KINDS[name]
    data = make()
    found = opened(data, said)
    assert (found.kind, found.type) == (kind, shown_as), found.why
    assert words in (found.text, found.html) or words in found.why or words in found.html
    assert bool(found.data) == (kind in ("image", "audio", "video"))
    assert (len(found.peaks), max(found.peaks, default=0)) == ((96, 255) if kind == "audio" else (0, 0))
    if kind in ("audio", "video"):
        with av.open(io.BytesIO(found.data)) as container:
            assert container.duration / av.time_base == pytest.approx(1, abs=0.25)
            assert found.seconds == pytest.approx(1, abs=0.25)
            assert next(container.decode(video=0) if kind == "video" else container.decode(audio=0))
    player = MediaContent(data=data, mime_type=said).player()._repr_html_()
    tag = {"image": "<img src", "video": "<video controls", "audio": "<audio controls", "text": "<div tabindex"}.get(
        kind, "<div"
    )
    assert tag in player


PLAYED = """() => Promise.all([...document.querySelectorAll("img, audio, video")].map(async (each) => {
  if (!each.play) return [each.id, each.naturalWidth > 0 ? "shown" : "not shown"];
  const ended = new Promise((done) => { each.onended = () => done("ended"); setTimeout(done, 30000, "never ends"); });
  return [each.id, await each.play().then(() => ended, () => each.error.message)];
}))"""


def test_a_browser_shows_and_plays_all_that_it_is_given(browser: Any) -> None:
    page, tags = [], {"image": "img", "audio": "audio", "video": "video"}
    for name, (make, said, *_) in KINDS.items():
        found = opened(make(), said)
        if tag := tags.get(found.kind):
            page.append(f'<{tag} id="{name}" src="data:{found.type};base64,{b64encode(found.data).decode()}"></{tag}>')
    tab = browser.new_page()
    tab.set_content("".join(page))
    seen = dict(tab.evaluate(PLAYED))
    tab.close()
    assert len(seen) > 30
    assert "NO_SUPPORTED_STREAMS" in seen.pop("hevc")  # which is what is said of it
    assert set(seen.values()) == {"shown", "ended"}


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[tuple[str, ...]] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add((tag, *sorted(name for name, _ in attrs)))


def test_markdown_is_text_with_a_shape_and_nothing_that_loads_leads_or_runs() -> None:
    text = (
        "[a](javascript:alert(1)) <https://e.test/x> ![p](https://e.test/p.png) [b](https://e.test '\"><script>')\n\n"
        "<script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\n- *one*\n\n3. x\n\n|a|b|\n|-|:-|\n|1|~~2~~|\n\n"
        '```"><script>\nx\n```\n\n> # end\n\n[r]: https://e.test "t"\n\u202e[r]'
    )
    found = opened(text.encode(), "text/markdown")
    plain = "p ul ol li em h1 blockquote pre table thead tbody tr th td s"
    known = {("span", "title"), ("code", "class"), ("ol", "start"), ("th", "style"), ("td", "style")}
    assert Elements(found.html).found <= {(tag,) for tag in plain.split()} | known
    assert '<span title="https://e.test">r</span>' in found.html
    assert "&lt;script&gt;" in found.html
    assert "\u202e" not in found.html + found.text
    assert opened(b"[x](" * 30_000, "text/markdown").text  # however long it takes to see that it is no link


USE = b'<use href="#%s"/>'
NESTED = b"".join(b'<g id="a%d">%s</g>' % (each, USE % b"a%d" % (each - 1) * 10) for each in range(1, 9))
STYLED = b"".join(b'<pattern id="p%d">%s</pattern>' % (each, b"<rect/><rect/>") for each in range(20))


@pytest.mark.parametrize(("inner", "said"), [
    (b'<rect onclick="a()" fill="url(//e.test)"/><a href="javascript:a()"><g/></a>', ""),
    (b'<script>a()</script><foreignObject><iframe/></foreignObject><image href="https://e.test/a.png"/>', ""),
    (b'<image href="data:image/svg+xml,x"/><style>@import "https://e.test"</style>', ""),
    (b"<style><g/>*{fill:u\\72l(//e.test)}</style>", ""),
    (b'<g id="x" xmlns:i="i" i:label="#x"><use href="#x"/></g><linearGradient id="l"><stop/></linearGradient>', ""),
    (b'<style>.a{fill:url(#g)}</style><radialGradient id="g"/>' + b'<path class="a"/>' * 5000, ""),
    (b'<g id="a0"><rect/></g>' + NESTED, "draw parts too often"),
    (b"<style>" + b"".join(b".c{fill:url('#p%d')}" % each for each in range(20)) + b"</style>" + STYLED, "too often"),
    (b'<filter id="f"/>' + b'<rect filter="url(#f)"/>' * 300, "too often"),
    (b'<g id="a"><use href="#%62"/></g><g id="b"><use href="#a"/></g>', "draw each other"),
    (b"<g>" * 200 + b"</g>" * 200, "more parts"), (b"<g>", "broken or cut off"), (b"", "is empty"),
])  # fmt: skip
def test_a_drawing_runs_nothing_leads_nowhere_and_does_not_explode(inner: bytes, said: str) -> None:
    data = b'<svg xmlns="http://www.w3.org/2000/svg" onload="a()" viewBox="0 0 30 20">' + inner + b"</svg>"
    found = opened(data, "image/svg+xml")
    assert found.type == ("text/plain" if said else "image/svg+xml"), found.why
    assert said in found.why
    assert [word for word in (b"e.test", b"a()", b"onload", b"iframe", b"image/svg") if word in found.data] == []
    small = preview_of(OpenedSource.of(data), "image/svg+xml", 256)
    assert (small.kind, small.width, small.height) == (("text", None, None) if said else ("picture", 30, 20)) or len(
        found.data
    ) > 16_000


def test_a_drawing_that_declares_entities_is_text() -> None:
    data = b'<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;">]>' + specimens.DRAWN
    assert "declares entities" in opened(data, "image/svg+xml").why
    public = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
    assert opened(public + specimens.DRAWN, "image/svg+xml").type == "image/svg+xml"
    with pytest.raises(UnshowableError, match="too large"):
        pictures.drawing(bytes(pictures.MOST_DRAWN + 1))


def test_an_hour_of_sound_has_an_outline_and_one_that_is_too_large_comes_as_opus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 1, 8000, 0, "NONE", ""))
        for minute in range(60):
            out.writeframes(struct.pack("<BB", 128, 128 + minute) * 240_000)
    found = opened(file.getvalue(), "audio/wav")
    assert (found.type, found.seconds, len(found.peaks), len(found.data)) == (
        "audio/wav",
        3600,
        96,
        len(file.getvalue()),
    )
    assert list(found.peaks) == sorted(found.peaks)
    short = specimens.sound(60)
    found = opened(short, "audio/wav", most=len(short) - 1, name="a.wav")
    assert (found.type, found.name, len(found.peaks)) == ("audio/webm", "a.weba", 96)
    assert "encoded anew" in found.why
    assert len(found.data) < len(short)
    found = opened(short, "audio/wav", most=1000)
    assert (found.kind, found.data, len(found.peaks)) == ("none", b"", 96)
    assert "are more than the 1000 B that are played here" in found.why
    monkeypatch.setattr(films, "_STRETCHES", 96)
    assert films.outline(io.BytesIO(short), "audio/wav").peaks[::16] == (1, 17, 34, 51, 67, 84)


def test_what_is_given_has_a_name_that_fits_and_no_more_bytes_than_asked() -> None:
    assert opened(picture(), "image/png", name="a.png").name == "a.png"
    assert opened(picture(), "image/jpeg", name="a.jpg").name == "a.png"
    assert opened(scan(1), "image/tiff", name="s.tiff").name == "s.png"
    for data, said in (
        (picture(), "image/png"),
        (scan(1), "image/tiff"),
        (coded("matroska", "libx264"), "video/x-matroska"),
    ):
        found = opened(data, said, most=100)
        assert (found.kind, found.data) == ("none", b"")
        assert "more than" in found.why
        assert "100 B" in found.why
    assert found.why == "what a browser plays of it is more than 100 B"
    long = opened(b"word\n" * 1_000_000, "text/plain")
    assert (len(long.text), long.why) == (2**20, "the first 1.0 MiB of 4.8 MiB")


class Failing(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise errors.StorageError("the network is down", next_step="try again", key="a.mkv")
        return super().read(size)


def test_a_storage_that_fails_is_an_error_and_not_a_broken_film(monkeypatch: pytest.MonkeyPatch) -> None:
    film = MediaContent(data=b"x", mime_type="video/x-matroska")
    data = coded("matroska", "libx264", "aac") + bytes(3 * 2**20)
    monkeypatch.setattr(decoders, "SECONDS", 20.0)
    with pytest.raises(errors.StorageError, match="network is down"):
        original_of(Failing(data), film, most=MOST)


def test_without_the_libraries_what_browsers_know_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "find_spec", lambda _name: None)
    assert opened(specimens.film(), "video/mp4").type == "video/mp4"
    assert "pip install pillow av" in opened(coded("aiff", "", "pcm_s16be"), "audio/aiff").why
    noted = opened(b"# A", "text/markdown")
    assert (noted.kind, noted.text) == ("text", "# A")
    assert "pip install" in noted.why
