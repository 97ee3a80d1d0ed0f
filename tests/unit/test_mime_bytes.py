"""What first bytes show: real files of many kinds, lying ones, and hostile ones."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import sys
import tarfile
import wave
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from fsmedia.models import mime

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
KNOWN = sorted(mime._STANDARD)


def picture(form: str, **options: object) -> bytes:
    """Return a small picture in a format of Pillow."""
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((24, 16)).save(file, form, **options)
    return file.getvalue()


def sound() -> bytes:
    """Return a short WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 24_000, 0, "NONE", ""))
        out.writeframes(bytes(range(200)))
    return file.getvalue()


def archive(*names: str) -> bytes:
    """Return a ZIP file with members of these names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name in names:
            out.writestr(name, b"application/epub+zip" if name == "mimetype" else b"<a/>" * 9)
    return file.getvalue()


def tape() -> bytes:
    """Return a tar file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as out:
        out.addfile(tarfile.TarInfo("a"))
    return file.getvalue()


def box(brand: bytes, others: bytes = b"isommp41") -> bytes:
    """Return the first box of an ISO media file."""
    return (16 + len(others)).to_bytes(4, "big") + b"ftyp" + brand + b"\0\0\2\0" + others + bytes(64)


REAL = {
    "image/png": picture("PNG"), "image/jpeg": picture("JPEG"), "image/gif": picture("GIF"),
    "image/webp": picture("WEBP"), "image/bmp": picture("BMP"), "image/tiff": picture("TIFF"),
    "image/vnd.microsoft.icon": picture("ICO"), "application/pdf": picture("PDF"), "audio/wav": sound(),
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
    "application/rtf": rb"{\rtf1 hello}",
}  # fmt: skip
if features.check("avif"):
    REAL["image/avif"] = picture("AVIF")


@pytest.mark.parametrize("kind", REAL)
def test_bytes_show_what_they_are_and_agree(kind: str) -> None:
    head = REAL[kind]
    assert mime.detect(head) == kind
    assert mime.detect(head + b" " * 20_000) == kind
    spellings = [spelling for spelling in KNOWN if mime._STANDARD[spelling] == kind]
    for spelling in [*spellings, kind.upper(), f"{kind}; a=b"]:
        assert mime.agrees(spelling, head) is None


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
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
    ],
)  # fmt: skip
def test_kin_are_no_false_alarm(declared: str, kind: str) -> None:
    assert mime.agrees(declared, REAL[kind]) is None


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("image/png", "image/jpeg"), ("image/jpeg", "image/webp"), ("image/webp", "audio/wav"),
        ("audio/mpeg", "audio/wav"), ("audio/wav", "audio/mpeg"), ("audio/webm", "audio/ogg"),
        ("audio/pcm", "audio/wav"), ("audio/L16;rate=24000", "audio/wav"), ("text/plain", "image/png"),
        ("text/plain", "application/pdf"), ("application/json", "application/gzip"), ("application/pdf", DOCX),
        ("video/mp4", "image/heic"), ("image/png", "image/svg+xml"), ("audio/x-nobody-knows", "image/png"),
    ],
)  # fmt: skip
def test_a_lie_is_named_by_what_the_bytes_are(declared: str, kind: str) -> None:
    assert mime.agrees(declared, REAL[kind]) == kind


NOISE = bytes([1, 2, 3, 4, 250, 0]) * 50


@pytest.mark.parametrize(
    ("declared", "head", "seen"),
    [
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
    ],
)  # fmt: skip
def test_bytes_without_a_magic(declared: str, head: bytes, seen: str | None) -> None:
    assert mime.agrees(declared, head) == seen


@pytest.mark.parametrize(
    "sentence", ["BMW is a car", "MZ", "GIF89a is old", "%!TEX root = a.tex", "ID3 tags", "BZh", "PAR1", "I'm free"]
)
def test_a_sentence_that_begins_like_a_format_is_text(sentence: str) -> None:
    assert mime.detect(sentence.encode()) is None
    assert mime.agrees("text/plain", sentence.encode()) is None
    assert mime.agrees("text/markdown", sentence.encode() * 900) is None


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("<svg/>", True), ("\ufeff<?xml version='1.0'?><!-- a --><!DOCTYPE svg [<!ENTITY a 'b'>]>\n<svg:svg>", True),
        ("<!doctype html><p><svg/></p>", False), ("about <svg/>", False), ("<svgfoo/>", False), ("<" * 8000, False),
        ("<!" * 4000, False),
    ],
)  # fmt: skip
def test_only_a_document_whose_first_element_is_svg_is_one(text: str, seen: bool) -> None:
    assert mime.detect(text.encode()) == ("image/svg+xml" if seen else None)


def test_a_character_cut_in_two_is_still_text() -> None:
    text = ("a" + "ß" * 5000).encode()
    assert mime.is_text(text)
    assert mime.is_text(text[:1024])
    assert not mime.is_text(b"\xc3")
    assert not mime.is_text(b"")
    assert not mime.is_text(b"a\0b")


def test_a_row_of_skippable_zstandard_frames_does_not_exhaust_the_stack() -> None:
    head = b"\x50\x2a\x4d\x18\0\0\0\0" * 1024  # filetype 1.2.0 calls itself once a frame: RecursionError
    assert mime.detect(head) == "application/zstd"
    assert mime.agrees("image/png", head) == "application/zstd"


MAGICS = [*mime._MAGIC, *(head[:40] for head in REAL.values()), b"\0\0\0\x0cJXL \r\n", b"\x50\x2a\x4d\x18", b""]


@given(st.sampled_from([*KNOWN, "nonsense", "text/x", "image/x"]), st.sampled_from(MAGICS), st.binary(max_size=600))
def test_any_bytes_get_an_answer(declared: str, magic: bytes, rest: bytes) -> None:
    for seen in (mime.detect(magic + rest), mime.agrees(declared, magic + rest)):
        assert seen is None or mime.check(seen) == seen


def test_random_bytes_under_an_honest_name_agree() -> None:
    rng = random.Random(1)
    for kind in ("application/octet-stream", "audio/pcm", "application/x-nobody-knows"):
        for _ in range(200):
            assert mime.agrees(kind, rng.randbytes(64)) in {None, "audio/wav"}


def test_the_library_is_not_imported_for_what_the_table_knows() -> None:
    code = (
        "import sys; from fsmedia.models import mime; mime.agrees('image/png', b'\\x89PNG\\r\\n\\x1a\\n'); "
        "mime.agrees('text/plain', b'hello'); mime.extension_for('image/png'); print('filetype' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
