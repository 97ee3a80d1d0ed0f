"""`MediaContent` while it is made: which sources it takes, how strict its base64 is, what it guesses."""

from __future__ import annotations

import base64
import io
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, StorageError
from fsmedia.models import MediaContent, Reference

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(24))
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"
BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
ALMOST_BASE64 = st.text(alphabet=st.sampled_from("aGVz+/09=\r\n"), max_size=16)


def refused(**fields: Any) -> str:
    """The text with which the constructor refuses fields; it quotes nothing."""
    with pytest.raises(InvalidMediaError) as info:
        MediaContent(**fields)
    assert info.value.__suppress_context__
    assert "\n" not in str(info.value)
    assert SECRET not in str(info.value) + repr(info.value)
    return str(info.value)


# -- base64 ------------------------------------------------------------------------------------------------------


@given(st.binary())
def test_base64_text_becomes_bytes(data: bytes) -> None:
    assert MediaContent(data=base64.b64encode(data).decode(), mime_type="image/png").data == data


@given(st.binary(min_size=1), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 76))
def test_line_breaks_in_base64_are_skipped(data: bytes, line_break: str, width: int) -> None:
    text = base64.b64encode(data).decode()
    wrapped = line_break.join(text[i : i + width] for i in range(0, len(text), width)) + line_break
    assert MediaContent(data=wrapped, mime_type="image/png").data == data


@given(ALMOST_BASE64)
@example("aGVs====")
@example("aGVs=")
@example("aGVs\n=\n")
def test_base64_is_strict(text: str) -> None:
    """As Go's `base64.StdEncoding`, which wrote PromptKit's documents."""
    if BASE64.fullmatch(text.replace("\r", "").replace("\n", "")):
        assert MediaContent(data=text, mime_type="image/png").data is not None
    else:
        assert "base64" in refused(data=text, mime_type="image/png")


@pytest.mark.parametrize(
    "text",
    ["aGVsbG8", "aGVsbG8==", "=aGVs", "aGVsbG8=aGVs", "aGVs bG8=", "aGVs\tbG8=", "-_-_", "aGVs!", "é", "data:,x", "="],
)
def test_base64_that_is_refused(text: str) -> None:
    assert "MediaContent.from_text" in refused(data=text, mime_type="image/png")


@pytest.mark.parametrize("text", ["hello", "hello123", "Hi", "a note about cats"])
@pytest.mark.parametrize("mime_type", ["text/plain", "Text/Markdown; charset=utf-8"])
def test_text_that_is_handed_in_as_base64_warns_and_names_from_text(text: str, mime_type: str) -> None:
    with pytest.warns(UserWarning, match=r"MediaContent\.from_text") as warned, suppress(InvalidMediaError):
        MediaContent(data=text, mime_type=mime_type)
    assert warned[0].filename == __file__
    assert text not in str(warned[0].message)


def test_base64_of_text_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = MediaContent(data=base64.b64encode(b"hello there").decode(), mime_type="text/plain")
        MediaContent(data="hello123", mime_type="image/png")
    assert content.data == b"hello there"


# -- sources -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"ab", bytearray(b"ab"), memoryview(b"ab")], ids=lambda data: type(data).__name__)
def test_bytes_of_any_kind(data: Any) -> None:
    content = MediaContent(data=data, mime_type="image/png")
    assert type(content.data) is bytes
    assert content.data == b"ab"


def test_bytes_do_not_change_with_the_callers_buffer() -> None:
    buffer = bytearray(b"ab")
    content = MediaContent.from_bytes(buffer, "image/png")
    buffer[:] = b"xx"
    assert content.data == b"ab"


@pytest.mark.parametrize("data", [5, 1.5, [1, 2], {"a": 1}, io.StringIO("text")], ids=lambda data: type(data).__name__)
def test_data_that_is_refused(data: object) -> None:
    assert "data: " in refused(data=data, mime_type="image/png")


def test_one_source_is_needed_and_url_stands_alone() -> None:
    url = "https://example.org/x.png"
    assert "no source" in refused(mime_type="image/png")
    assert "no source" in refused(mime_type="image/png", storage_reference="")
    assert "file_path: " in refused(mime_type="image/png", file_path="")
    assert "name one source" in refused(mime_type="image/png", url=url, data=b"")
    assert "name one source" in refused(mime_type="image/png", url=url, file_path="x")
    both = MediaContent(data=b"ab", file_path="x.png", mime_type="image/png")
    assert both.read_bytes() == b"ab"
    assert MediaContent(data=b"", mime_type="image/png").read_bytes() == b""
    assert type(MediaContent(storage_reference="a/b", mime_type="image/png").storage_reference) is Reference


@pytest.mark.parametrize(
    "url",
    ["ftp://h/x", "file:///etc/passwd", "x.png", "", "http://", "https:///x", "javascript:1", "s3://b/k", " data:,"],
)
def test_urls_that_are_refused(url: str) -> None:
    assert "url: " in refused(url=url, mime_type="image/png")


@pytest.mark.parametrize("url", ["https://[::1/x.png", f"https://user:{SECRET}/more@host/x", "https://h:port/x"])
def test_urls_that_can_not_be_read_are_refused(url: str) -> None:
    """Whoever reads them later would fail, in `repr` even; or show a password as if it were a port."""
    assert "url: " in refused(url=url, mime_type="image/png")
    with pytest.raises(MediaError):
        MediaContent.from_url(url)


def test_the_mime_type_is_required_and_checked() -> None:
    assert "mime_type: " in refused(data=b"")
    assert "mime_type: " in refused(data=b"", mime_type="")
    assert "mime_type: " in refused(data=b"", mime_type="png")
    assert "mime_type: " in refused(data=b"", mime_type="image/png\r\nX-Evil: 1")
    assert MediaContent(data=b"", mime_type="Text/Plain; charset=utf-8").mime_type == "Text/Plain; charset=utf-8"


@pytest.mark.parametrize("mime_type", [None, "image/x-own"])
def test_from_bytes(mime_type: str | None) -> None:
    assert MediaContent.from_bytes(PNG, mime_type, width=3).mime_type == (mime_type or "image/png")
    assert MediaContent.from_bytes(PNG, width=3).width == 3
    assert MediaContent.from_bytes(b"hello").mime_type == "text/plain"
    assert MediaContent.from_bytes(b"").mime_type == "application/octet-stream"
    assert MediaContent.from_bytes(b"\0\1\2").mime_type == "application/octet-stream"


@pytest.mark.parametrize("data", [5, "aGVs", [1, 2], None], ids=repr)
@pytest.mark.parametrize("mime_type", [None, "image/png"])
def test_from_bytes_takes_only_bytes(data: Any, mime_type: str | None) -> None:
    """`bytes(5)` would be five zeros."""
    with pytest.raises(InvalidMediaError):
        MediaContent.from_bytes(data, mime_type)


def test_from_text() -> None:
    content = MediaContent.from_text("héllo", caption="a note")
    assert (content.data, content.mime_type, content.caption) == ("héllo".encode(), "text/plain", "a note")
    assert MediaContent.from_text("# x", "text/markdown").mime_type == "text/markdown"


def test_from_text_refuses_what_utf_8_can_not_hold() -> None:
    with pytest.raises(InvalidMediaError):
        MediaContent.from_text("\ud800")


@pytest.mark.parametrize("spelled", [str, Path])
def test_from_path(tmp_path: Path, spelled: Any) -> None:
    for name, data, kind in (("x.PNG", b"", "image/png"), ("x", PNG, "image/png"), ("y", b"hi", "text/plain")):
        (tmp_path / name).write_bytes(data)
        content = MediaContent.from_path(spelled(tmp_path / name), height=2)
        assert (content.file_path, content.mime_type, content.height) == (str(tmp_path / name), kind, 2)
        assert content.read_bytes() == data
        assert content.local_path() == tmp_path / name
        assert MediaContent(file_path=spelled(tmp_path / name), mime_type=kind).file_path == str(tmp_path / name)


def test_from_path_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="file_path"):
        MediaContent.from_path(tmp_path / "missing")
    with pytest.raises(StorageError, match="file_path"):
        MediaContent.from_path(tmp_path)
    with pytest.raises(StorageError, match="file_path"):
        MediaContent.from_path("a\0b")
    later = MediaContent.from_path(tmp_path / "missing.png")  # nothing is read before it is needed
    with pytest.raises(MediaNotFoundError):
        later.open()


@pytest.mark.parametrize(
    ("url", "mime_type"),
    [
        ("https://h/a/b.PNG?x=y.jpg", "image/png"), ("http://h/a", "application/octet-stream"),
        ("data:image/gif;base64,R0lG", "image/gif"), ("DATA:image/gif,x", "image/gif"), ("data:,hello", "text/plain"),
        ("data:;base64,aGk=", "text/plain"), ("data:text/html;charset=utf-8,x", "text/html;charset=utf-8"),
        ("data:;charset=utf-8,x", "text/plain;charset=utf-8"),  # RFC 2397: the type alone may be left out
    ],
)  # fmt: skip
def test_from_url(url: str, mime_type: str) -> None:
    content = MediaContent.from_url(url, caption="c")
    assert (content.url, content.mime_type, content.caption) == (url, mime_type, "c")
    assert MediaContent.from_url(url, "image/x-own").mime_type == "image/x-own"


def test_a_data_url_without_a_comma_is_refused_and_not_quoted() -> None:
    assert "url: " in refused(url=f"data:{SECRET}", mime_type="image/png")
    with pytest.raises(InvalidMediaError) as info:
        MediaContent.from_url(f"data:{SECRET}")
    assert SECRET not in str(info.value)


class Pipe(io.RawIOBase):
    """A stream that can only be read once, from front to back."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._inner.readinto(buffer)


def test_from_stream(tmp_path: Path) -> None:
    stream = io.BytesIO(b"skip" + PNG)
    stream.seek(4)
    content = MediaContent.from_stream(stream)
    assert content.mime_type == "image/png"
    assert content.data is stream
    assert stream.tell() == 4
    assert content.read_bytes() == PNG
    pipe = MediaContent.from_stream(Pipe(PNG))  # type: ignore[arg-type]
    assert pipe.mime_type == "application/octet-stream"
    assert pipe.read_bytes() == PNG
    (tmp_path / "x.gif").write_bytes(PNG)
    with (tmp_path / "x.gif").open("rb") as file:
        assert MediaContent.from_stream(file).mime_type == "image/gif"
        assert MediaContent.from_stream(file, "image/x-own").mime_type == "image/x-own"
