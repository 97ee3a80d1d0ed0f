"""MIME types: the tables, names, first bytes of real and hostile files, and strings that must never reach a header."""

import gzip
import io
import random
import re
import tarfile
import zipfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import features

from fsmedia.errors import InvalidMediaError
from fsmedia.models import mime
from tests.contract.specimens import raised
from tests.surfaces.specimens import picture, sound

# What PromptKit calls ".bin"; the types that it knows are held against its own answers in tests/golden.
NAMES = {
    "photo.JPEG": "image/jpeg", "/a/b.c/voice.m4a": "audio/mp4", "x.tar.gz": "application/gzip", "x.oga": "audio/ogg",
    "x.ndjson": "application/jsonl", "x.tif": "image/tiff", ".png": "image/png",
    **dict.fromkeys(["x.bin", "x", "png", "", "a.png/b", "x.png "]),
}  # fmt: skip
NORMAL = {
    "IMAGE/JPEG": ("image/jpeg", "image/jpeg"), "audio/L16;rate=24000": ("audio/l16;rate=24000", "audio/l16"),
    "Text/Plain; charset=UTF-8": ("text/plain; charset=UTF-8", "text/plain"), "text/html;": ("text/html", "text/html"),
    "text/html ; ; ": ("text/html", "text/html"), 'a/b; x="C;D"': ('a/b; x="C;D"', "a/b"),
}  # fmt: skip


def test_types_have_extensions_and_normal_forms_names_say_types_and_the_tables_pass() -> None:
    extensions = BETTER | OTHERS
    assert {kind: mime.extension_for(kind) for kind in extensions} == extensions
    assert {name: mime.guess_from_name(name) for name in NAMES} == NAMES
    assert {kind: (mime.normalize(kind), mime.essence(kind)) for kind in NORMAL} == NORMAL
    assert [normal for normal, _ in NORMAL.values() if mime.normalize(normal) != normal] == []
    passing = [
        *BETTER, "text/plain; charset=utf-8", "text/plain;charset=utf-8;format=flowed", "text/html;",
        "video/webm;codecs=vp9,opus", 'audio/mp4; codecs="mp4a.40.2"', r'text/plain; name="a \"b\" c"',
        "application/vnd.a-b_c.d+json;v=1", "x/" + "y" * 127,
    ]  # fmt: skip
    assert [mime.check(kind) for kind in passing] == passing
    words = [word for entry in re.split(r"[;\n]", mime._TABLE) for word in entry.split()]
    assert sorted(words) == sorted(set(words))
    assert all(word == word.lower() for word in words)
    assert all(word.startswith(".") or mime._MIME.fullmatch(word) for word in words)
    standard = set(mime._STANDARD.values()) | {mime._OLE, "image/x-canon-cr3"}
    named = {*mime._PATTERNS, *mime._OOXML.values(), *mime._OLE_STREAMS.values(), *mime._OLE_STARTS.values()}
    named |= {*mime._MAGIC.values(), *mime._CHUNKS.values(), *mime._BRANDS.values(), *mime._FAMILY}
    named |= {*mime._INSIDE, *mime._MADE_OF_TEXT, *mime._COMPRESSED, *mime._RAW, *mime._ALWAYS_MARKED}
    assert {name for name in named if "/" in name} <= standard
    assert [mime.check(kind) for kind in KNOWN] == KNOWN


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


@given(st.text() | st.sampled_from(KNOWN).flatmap(lambda kind: st.text(max_size=9).map(lambda tail: kind + tail)))
@example("a/b+")
@example("a/b+../../json")
def test_an_extension_is_a_safe_part_of_a_name(kind: str) -> None:
    assert re.fullmatch(r"[.][a-z0-9]{1,10}", mime.extension_for(kind))


@given(st.sampled_from(KNOWN), st.text(max_size=20), st.booleans())
def test_a_name_with_the_extension_of_a_type_says_that_type(kind: str, stem: str, upper: bool) -> None:
    extension = mime.extension_for(kind)
    assert extension != ".bin"
    assert mime.guess_from_name(stem + (extension.upper() if upper else extension)) == mime._STANDARD[kind]


@pytest.mark.parametrize("kind", [
    "", "image", "image/", "/png", "image/png/x", " image/png", "image/png ", "image/png\n", "image/png\r\nX-Evil: 1",
    "image/png; a=b\r\nX-Evil: 1", 'image/png; a="b\r\nX-Evil: 1"', 'image/png; a="b\tc"', "image/png\0",
    "image/p\x7fng", "image/*", "*/*", "image/png, text/html", "image/png; charset", "image/png; a=b c",
    'image/png; a="b', "imäge/png", "image/png\u2028", "x/" + "y" * 128, "text/plain; a=" + "b" * 300, "<b>/<i>",
])  # fmt: skip
def test_header_injection_and_nonsense_are_refused(kind: str) -> None:
    caught = raised(InvalidMediaError, mime.check, kind, match="no MIME type; give type/subtype")
    assert str(caught).isprintable()
    assert len(str(caught)) < 800


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


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name in names:
            out.writestr(name, b"application/epub+zip" if name == "mimetype" else b"<a/>" * 9)
    return file.getvalue()


def tape() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as out:
        out.addfile(tarfile.TarInfo("a"))
    return file.getvalue()


def box(brand: bytes, others: bytes = b"isommp41") -> bytes:
    return (16 + len(others)).to_bytes(4, "big") + b"ftyp" + brand + b"\0\0\2\0" + others + bytes(64)


EPUB, ODT, OLE = (
    b"application/epub+zip",
    b"application/vnd.oasis.opendocument.text",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
)
REAL = {
    "image/png": picture(kind="PNG"), "image/jpeg": picture(kind="JPEG"), "image/gif": picture(kind="GIF"),
    "image/webp": picture(kind="WEBP"), "image/bmp": picture(kind="BMP"), "image/tiff": picture(kind="TIFF"),
    "image/vnd.microsoft.icon": picture(kind="ICO"), "application/pdf": picture(kind="PDF"), "audio/wav": sound(),
    "application/zip": archive("a.txt"), "application/epub+zip": archive("mimetype", "a.xhtml"),
    DOCX: archive("[Content_Types].xml", "_rels/.rels", "word/document.xml"),
    XLSX: archive("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"), "application/gzip": gzip.compress(b"text"),
    "application/x-tar": tape(), "video/mp4": box(b"isom"), "audio/mp4": box(b"M4A "),
    "video/quicktime": box(b"qt  ", b"qt  "), "video/3gpp": box(b"3gp4"), "image/heic": box(b"mif1", b"mif1heic"),
    "video/webm": b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\xf7\x81\1B\xf2\x81\4B\xf3\x81\x08B\x82\x84webm" + bytes(64),
    "video/x-matroska": b"\x1aE\xdf\xa3\xa3B\x86\x81\1B\xf7\x81\1B\xf2\x81\4B\xf3\x81\x08B\x82\x88matroska" + bytes(64),
    "audio/ogg": b"OggS\0\2" + bytes(22) + b"\1vorbis" + bytes(64),
    "audio/opus": b"OggS\0\2" + bytes(22) + b"OpusHead" + bytes(64),
    "video/ogg": b"OggS\0\2" + bytes(22) + b"\x80theora" + bytes(64), "audio/flac": b"fLaC\0\0\0\x22" + bytes(64),
    "audio/mpeg": b"\xff\xf3\xe4\xc4" + bytes(64), "audio/aac": b"\xff\xf1\x50\x80" + bytes(64),
    "audio/aiff": b"FORM\0\0\1\0AIFFCOMM" + bytes(64), "application/wasm": b"\0asm\1\0\0\0",
    "image/svg+xml": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "application/rtf": rb"{\rtf1 hello}", "image/x-tga": picture(kind="TGA"), "image/x-icns": b"icns" + bytes(64),
    "image/x-portable-pixmap": picture(kind="PPM"), "image/x-portable-graymap": b"P5 # a\n3 2\n255\n" + bytes(6),
    "video/mp2t": (b"G@\0\x10" + bytes(184)) * 9, "audio/ac3": b"\x0bw\xdd\x9e\x14\x40" + bytes(64),
    "audio/eac3": b"\x0bw\1\xff\x3f\x84" + bytes(64), "audio/basic": b".snd\0\0\0\x18" + bytes(64),
    "application/vnd.oasis.opendocument.text": archive("mimetype", "content.xml").replace(EPUB, ODT),
    "application/msword": OLE + "WordDocument".encode("utf-16-le") + bytes(9), "application/x-bzip2": b"BZh91AY&SY\0",
    "application/vnd.ms-excel": OLE + bytes(504) + b"\t\x08\x10\0", "application/x-xz": b"\xfd7zXZ\0\0",
    "application/vnd.sqlite3": b"SQLite format 3\0", "application/dicom": bytes(128) + b"DICM\0",
    "font/woff2": b"wOF2\0",
    "image/jp2": b"\0\0\0\x0cjP  \r\n\x87\n", "video/mpeg": b"\0\0\1\xba\x44\0", "video/x-flv": b"FLV\1\5\0",
}  # fmt: skip
if features.check("avif"):
    REAL["image/avif"] = picture(kind="AVIF")


@pytest.mark.parametrize("kind", REAL)
def test_bytes_show_what_they_are_and_agree(kind: str) -> None:
    head = REAL[kind]
    assert (mime.detect(head), mime.detect(head + b" " * 20_000)) == (kind, kind)
    spellings = [spelling for spelling in KNOWN if mime._STANDARD[spelling] == kind]
    for spelling in [*spellings, kind.upper(), f"{kind}; a=b"]:
        assert mime.agrees(spelling, head) is None


KIN = [
    ("audio/mp4", "video/mp4"), ("audio/x-m4a", "video/quicktime"), ("video/quicktime", "video/mp4"),
    ("audio/webm;codecs=opus", "video/webm"), ("video/webm", "video/x-matroska"), ("audio/opus", "audio/ogg"),
    ("application/ogg", "video/ogg"), ("video/ogg", "audio/opus"), ("image/heif", "image/heic"),
    ("image/apng", "image/png"), (DOCX, "application/zip"), ("application/zip", DOCX),
    ("application/java-archive", "application/zip"), ("application/vnd.oasis.opendocument.text", "application/zip"),
    ("application/vnd.company.thing", "application/zip"), ("application/x-tar", "application/gzip"),
    ("image/svg+xml", "application/gzip"), ("text/xml", "image/svg+xml"), ("text/x-nobody", "image/svg+xml"),
    ("image/x-canon-cr2", "image/tiff"), ("application/illustrator", "application/pdf"),
    ("application/octet-stream", "image/png"), ("binary/octet-stream", "application/pdf"),
    ("application/x-nobody-knows", "image/png"),
]  # fmt: skip
LIES = [
    ("image/png", "image/jpeg"), ("image/jpeg", "image/webp"), ("image/webp", "audio/wav"), ("audio/mpeg", "audio/wav"),
    ("audio/wav", "audio/mpeg"), ("audio/webm", "audio/ogg"), ("audio/pcm", "audio/wav"),
    ("audio/L16;rate=24000", "audio/wav"), ("text/plain", "image/png"), ("text/plain", "application/pdf"),
    ("application/json", "application/gzip"), ("application/pdf", DOCX), ("video/mp4", "image/heic"),
    ("image/png", "image/svg+xml"), ("audio/x-nobody-knows", "image/png"),
]  # fmt: skip
NOISE = bytes([1, 2, 3, 4, 250, 0]) * 50
WITHOUT_MAGIC = [
    ("image/png", NOISE, "application/octet-stream"), ("video/mp4", NOISE, "application/octet-stream"),
    (DOCX, NOISE, "application/octet-stream"), ("application/pdf", NOISE, "application/octet-stream"),
    ("image/png", b'{"error": "quota"}', "text/plain"), ("audio/mpeg", b"<html>502</html>", "text/plain"),
    ("application/msword", "Grüße".encode(), "text/plain"), ("audio/mpeg", NOISE, None), ("audio/pcm", NOISE, None),
    ("audio/pcm", b"plain letters are samples too", None), ("audio/l16", REAL["image/png"], None),
    ("application/pdf", b"junk before\n%PDF-1.4", None), ("application/x-hdf5", NOISE, None),
    ("image/x-portable-pixmap", b"P3 1 1 255 0 0 0", None), ("audio/flac", b"ID3\4\0\0" + bytes(64), None),
    ("audio/aac", b"ID3\4\0\0" + bytes(64), None), ("audio/wav", b"ID3\4\0\0" + bytes(64), "audio/mpeg"),
    ("text/plain", "Grüße".encode("utf-16"), None), ("text/plain", b"\xe4\xf6\xfc in Latin-1", None),
    ("application/json", b"[]", None), ("image/svg+xml", b"<svg/>", None), ("model/obj", b"v 0 0 0", None),
    ("image/png", b"", None), ("nonsense", NOISE, None), ("", NOISE, None),
]  # fmt: skip
SENTENCES = ["BMW is a car", "MZ", "GIF89a is old", "%!TEX root = a.tex", "ID3 tags", "BZh", "PAR1", "I'm free"]
SENTENCES += ["#!AMR", "%PDF is a format", "%PDF ", r"{\rtf", r"{\rtf is how RTF begins}", "P3 is a station", "P3"]
SENTENCES.append("G" * 9000)
TEXTS = {
    '{"a": [1, 2]}': "application/json", " [1,\n 2]\n": "application/json", "\ufeff{}": "application/json",
    '{"a": 1}\n{"a": 2}\n': "application/jsonl", "[note] call her": "text/plain", "{a}": "text/plain",
    "[": "text/plain",
    '["' + "a" * 9000: "application/json", "[" * 9000: "text/plain", "12": "text/plain", '{"a"': "text/plain",
    "<?xml version='1.0'?><a/>": "application/xml", "<?xmlish": "text/plain", "<a/>": "text/plain",
    "<!DOCTYPE html><p>": "text/html", "<!-- a -->\n<HTML lang=en>": "text/html", "<header>": "text/plain",
    "<!--" * 2000: "text/plain", "WEBVTT\n\n00:00.000 --> 00:01.000\na": "text/vtt", "WEBVTT": "text/vtt",
    "WEBVTTs": "text/plain", "hello": "text/plain", "a,b\n1,2": "text/plain",
    "<!-- -->" * 1000: "text/plain", "P2 # a\n2 1 9\n1 2": "image/x-portable-graymap",
}  # fmt: skip
SVG = {
    "<svg/>": True, "\ufeff<?xml version='1.0'?><!-- a --><!DOCTYPE svg [<!ENTITY a 'b'>]>\n<svg:svg>": True,
    "<!doctype html><p><svg/></p>": False, "about <svg/>": False, "<svgfoo/>": False, "<" * 8000: False,
    "<!" * 4000: False,
}  # fmt: skip


def test_a_lie_is_named_by_what_the_bytes_are_kin_are_no_false_alarm_and_text_only_begins_like_a_format() -> None:
    assert {case: mime.agrees(case[0], REAL[case[1]]) for case in KIN} == dict.fromkeys(KIN)
    assert {case: mime.agrees(case[0], REAL[case[1]]) for case in LIES} == {case: case[1] for case in LIES}
    assert [(*case[:2], mime.agrees(*case[:2])) for case in WITHOUT_MAGIC] == WITHOUT_MAGIC
    for sentence in map(str.encode, SENTENCES):
        assert mime.detect(sentence) is None
        assert mime.agrees("text/plain", sentence) is mime.agrees("text/markdown", sentence * 900) is None
    assert {text: mime.guess_from_bytes(text.encode()[:8192]) for text in TEXTS} == TEXTS
    assert {mime.agrees(kind, text.encode()) for text, kind in TEXTS.items()} == {None}
    assert {text: mime.detect(text.encode()) == "image/svg+xml" for text in SVG} == SVG
    assert {mime.detect(text.encode()) for text in SVG} == {"image/svg+xml", None}
    text = ("a" + "ß" * 5000).encode()
    assert mime.is_text(text)
    assert mime.is_text(text[:1024]), "a character is cut in two"
    assert [each for each in (b"\xc3", b"", b"a\0b") if mime.is_text(each)] == []


def test_a_row_of_skippable_zstandard_frames_does_not_exhaust_the_stack() -> None:
    head = b"\x50\x2a\x4d\x18\0\0\0\0" * 1024  # what calls itself once a frame fails
    assert mime.detect(head) == mime.agrees("image/png", head) == "application/zstd"
    rng = random.Random(1)
    for kind in ("application/octet-stream", "audio/pcm", "application/x-nobody-knows"):
        assert {mime.agrees(kind, rng.randbytes(64)) for _ in range(200)} <= {None, "audio/wav"}


MAGICS = [
    *mime._MAGIC,
    *mime._RARE,
    *(head[:40] for head in REAL.values()),
    b"\0\0\0\x0cJXL \r\n",
    b"\x50\x2a\x4d\x18",
    b"",
]


@given(st.sampled_from([*KNOWN, "nonsense", "text/x", "image/x"]), st.sampled_from(MAGICS), st.binary(max_size=600))
def test_any_bytes_get_an_answer(declared: str, magic: bytes, rest: bytes) -> None:
    for seen in (mime.detect(magic + rest), mime.agrees(declared, magic + rest)):
        assert seen is None or mime.check(seen) == seen
