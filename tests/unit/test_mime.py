"""MIME types: the table, names, first bytes, and strings that must never reach an HTTP header."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsmedia.errors import InvalidMediaError
from fsmedia.models import mime

# What PromptKit (commit 86d9f367) gave each type, from running it; ".bin" there is what we do better.
PROMPTKIT = {
    "image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp", "audio/mpeg": ".mp3",
    "audio/wav": ".wav", "audio/ogg": ".ogg", "audio/webm": ".weba", "video/mp4": ".mp4", "video/webm": ".webm",
    "video/ogg": ".ogv",
}  # fmt: skip
BETTER = {
    "image/jpg": ".jpg", "IMAGE/JPEG": ".jpg", "image/svg+xml": ".svg", "image/heic": ".heic", "image/bmp": ".bmp",
    "image/tiff": ".tiff", "audio/mp3": ".mp3", "audio/x-wav": ".wav", "audio/flac": ".flac", "audio/aac": ".aac",
    "audio/mp4": ".m4a", "audio/pcm": ".pcm", "audio/L16": ".pcm", "audio/l16": ".pcm", "audio/L16;rate=24000": ".pcm",
    "audio/pcm;rate=16000": ".pcm", "video/quicktime": ".mov", "application/pdf": ".pdf", "text/plain": ".txt",
    "text/markdown": ".md", "application/json": ".json", "application/octet-stream": ".bin",
    "image/png; charset=binary": ".png",
}  # fmt: skip
OTHERS = {
    "audio/wave": ".wav", "audio/vnd.wave": ".wav", "audio/x-m4a": ".m4a", "audio/opus": ".opus",
    "audio/ogg; codecs=opus": ".ogg", "audio/aiff": ".aiff", "audio/amr": ".amr", "audio/midi": ".mid",
    "video/x-matroska": ".mkv", "video/x-msvideo": ".avi", "video/mpeg": ".mpeg", "video/3gpp": ".3gp",
    "image/heif": ".heif", "image/avif": ".avif", "image/jxl": ".jxl", "image/x-icon": ".ico",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.oasis.opendocument.text": ".odt", "application/epub+zip": ".epub",
    "application/x-ndjson": ".jsonl", "application/ld+json": ".jsonld", "application/problem+json": ".json",
    "application/vnd.someone.thing+xml": ".xml", "text/x-markdown": ".md", "text/csv; header=present": ".csv",
    "text/html": ".html", "text/xml": ".xml", "application/yaml": ".yaml", "text/rtf": ".rtf",
    "application/zip": ".zip", "application/gzip": ".gz", "application/x-tar": ".tar",
    "application/vnd.apache.parquet": ".parquet", "application/vnd.apache.arrow.file": ".arrow",
    "application/x-npy": ".npy", "application/wasm": ".wasm", "application/x-nobody-knows": ".bin", "nonsense": ".bin",
    "": ".bin",
}  # fmt: skip
KNOWN = sorted(mime._STANDARD)
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.mark.parametrize(("kind", "extension"), [*PROMPTKIT.items(), *BETTER.items(), *OTHERS.items()])
def test_a_type_has_its_extension(kind: str, extension: str) -> None:
    assert mime.extension_for(kind) == extension


@given(st.text() | st.sampled_from(KNOWN).flatmap(lambda kind: st.text(max_size=9).map(lambda tail: kind + tail)))
@example("a/b+")
@example("a/b+../../json")
def test_an_extension_is_a_safe_part_of_a_name(kind: str) -> None:
    assert re.fullmatch(r"[.][a-z0-9]{1,10}", mime.extension_for(kind))


@given(st.sampled_from(KNOWN), st.text(max_size=20), st.booleans())
def test_a_name_with_the_extension_of_a_type_says_that_type(kind: str, stem: str, upper: bool) -> None:
    extension = mime.extension_for(kind)
    assert extension != ".bin"
    guessed = mime.guess_from_name(stem + (extension.upper() if upper else extension))
    assert guessed == mime._STANDARD[kind]


def test_no_two_types_share_an_extension_or_a_spelling() -> None:
    words = [word for entry in re.split(r"[;\n]", mime._TABLE) for word in entry.split()]
    assert sorted(words) == sorted(set(words))
    assert all(word == word.lower() for word in words)
    assert all(word.startswith(".") or mime._MIME.fullmatch(word) for word in words)


def test_every_type_that_the_tables_name_is_a_standard_spelling() -> None:
    standard = set(mime._STANDARD.values()) | {mime._OLE, "image/x-canon-cr3"}
    named = {*mime._MAGIC.values(), *mime._CHUNKS.values(), *mime._BRANDS.values(), *mime._FAMILY}
    named |= {*mime._INSIDE, *mime._MADE_OF_TEXT, *mime._COMPRESSED, *mime._RAW, *mime._ALWAYS_MARKED}
    assert {name for name in named if "/" in name} <= standard


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("photo.JPEG", "image/jpeg"), ("/a/b.c/voice.m4a", "audio/mp4"), ("x.tar.gz", "application/gzip"),
        ("x.oga", "audio/ogg"), ("x.ndjson", "application/jsonl"), ("x.tif", "image/tiff"), (".png", "image/png"),
        ("x.bin", None), ("x", None), ("png", None), ("", None), ("a.png/b", None), ("x.png ", None),
    ],
)  # fmt: skip
def test_what_a_name_says(name: str, kind: str | None) -> None:
    assert mime.guess_from_name(name) == kind


@pytest.mark.parametrize(
    ("kind", "normal", "bare"),
    [
        ("IMAGE/JPEG", "image/jpeg", "image/jpeg"),
        ("audio/L16;rate=24000", "audio/l16;rate=24000", "audio/l16"),
        ("Text/Plain; charset=UTF-8", "text/plain; charset=UTF-8", "text/plain"),
        ("text/html;", "text/html", "text/html"),
        ("text/html ; ; ", "text/html", "text/html"),
        ('a/b; x="C;D"', 'a/b; x="C;D"', "a/b"),
    ],
)
def test_normal_forms(kind: str, normal: str, bare: str) -> None:
    assert mime.normalize(kind) == normal == mime.normalize(normal)
    assert mime.essence(kind) == bare


@pytest.mark.parametrize(
    "kind",
    [
        *BETTER, "text/plain; charset=utf-8", "text/plain;charset=utf-8;format=flowed", "text/html;",
        "video/webm;codecs=vp9,opus", 'audio/mp4; codecs="mp4a.40.2"', r'text/plain; name="a \"b\" c"',
        "application/vnd.a-b_c.d+json;v=1", "x/" + "y" * 127,
    ],
)  # fmt: skip
def test_types_pass_unchanged(kind: str) -> None:
    assert mime.check(kind) == kind


def test_every_known_type_passes() -> None:
    assert [mime.check(kind) for kind in KNOWN] == KNOWN


@pytest.mark.parametrize(
    "kind",
    [
        "", "image", "image/", "/png", "image/png/x", " image/png", "image/png ", "image/png\n",
        "image/png\r\nX-Evil: 1", "image/png; a=b\r\nX-Evil: 1", 'image/png; a="b\r\nX-Evil: 1"', 'image/png; a="b\tc"',
        "image/png\0", "image/p\x7fng", "image/*", "*/*", "image/png, text/html", "image/png; charset",
        "image/png; a=b c", 'image/png; a="b', "imäge/png", "image/png\u2028", "x/" + "y" * 128,
        "text/plain; a=" + "b" * 300, "<b>/<i>",
    ],
)  # fmt: skip
def test_header_injection_and_nonsense_are_refused(kind: str) -> None:
    with pytest.raises(InvalidMediaError, match="no MIME type; give type/subtype") as caught:
        mime.check(kind)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


@given(st.text(alphabet=st.sampled_from('aZ0/;="\\ \r\n\t\0+-.,*é') | st.characters(), max_size=40))
def test_what_passes_is_one_line_of_visible_ascii(kind: str) -> None:
    try:
        mime.check(kind)
    except InvalidMediaError:
        return
    assert kind.isascii()
    assert kind.isprintable()
    assert kind == kind.strip()
    assert mime.check(mime.normalize(kind))
