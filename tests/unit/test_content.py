"""`MediaContent`: which sources it takes, where it opens, how it travels as JSON and pickle, what it never shows."""

from __future__ import annotations

import base64
import copy
import gc
import hashlib
import io
import json
import os
import pickle
import re
import stat
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError

from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, MediaTooLargeError, StorageError
from fsmedia.models import CONTENT_FIELDS, MediaContent, Reference

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


@given(st.binary(), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 76))
def test_base64_text_becomes_bytes_and_its_line_breaks_are_skipped(data: bytes, line_break: str, width: int) -> None:
    text = base64.b64encode(data).decode()
    wrapped = line_break.join(text[i : i + width] for i in range(0, len(text), width)) + line_break
    for spelled in (text, wrapped):
        assert MediaContent(data=spelled, mime_type="image/png").data == data


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


REFUSED = {
    "MediaContent.from_text": [
        {"data": text}
        for text in ("aGVsbG8", "aGVsbG8==", "=aGVs", "aGVsbG8=aGVs", "aGVs bG8=", "aGVs\tbG8=", "-_-_", "aGVs!", "é")
    ] + [{"data": "data:,x"}, {"data": "="}],
    "data: ": [{"data": each} for each in (5, 1.5, [1, 2], {"a": 1}, io.StringIO("text"))],
    "url: ": [
        {"url": url}
        for url in (
            "ftp://h/x", "file:///etc/passwd", "x.png", "", "http://", "https:///x", "javascript:1", "s3://b/k",
            " data:,",
            # Whoever reads these later would fail, in `repr` even; or show a password as if it were a port.
            "https://[::1/x.png", f"https://user:{SECRET}/more@host/x", "https://h:port/x",
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize("said", REFUSED)
def test_sources_that_are_refused(said: str) -> None:
    for source in REFUSED[said]:
        assert said in refused(**source, mime_type="image/png"), source
        if "url" in source:
            with pytest.raises(MediaError):
                MediaContent.from_url(source["url"])


def test_text_that_is_handed_in_as_base64_warns_and_names_from_text() -> None:
    for text in ("hello", "hello123", "Hi", "a note about cats"):
        for mime_type in ("text/plain", "Text/Markdown; charset=utf-8"):
            with pytest.warns(UserWarning, match=r"MediaContent\.from_text") as warned, suppress(InvalidMediaError):
                MediaContent(data=text, mime_type=mime_type)
            assert warned[0].filename == __file__
            assert text not in str(warned[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = MediaContent(data=base64.b64encode(b"hello there").decode(), mime_type="text/plain")
        MediaContent(data="hello123", mime_type="image/png")
    assert content.data == b"hello there"


# -- sources -----------------------------------------------------------------------------------------------------


def test_contents_come_from_bytes_of_any_kind_from_text_that_utf_8_holds_and_from_urls() -> None:
    for data in [b"ab", bytearray(b"ab"), memoryview(b"ab")]:
        content = MediaContent(data=data, mime_type="image/png")
        assert type(content.data) is bytes
        assert content.data == b"ab"
    for mime_type in [None, "image/x-own"]:
        assert MediaContent.from_bytes(PNG, mime_type, width=3).mime_type == (mime_type or "image/png")
        assert MediaContent.from_bytes(PNG, width=3).width == 3
        assert MediaContent.from_bytes(b"hello").mime_type == "text/plain"
        assert MediaContent.from_bytes(b"").mime_type == "application/octet-stream"
        assert MediaContent.from_bytes(b"\0\1\2").mime_type == "application/octet-stream"
    for url, mime_type in [
        ("https://h/a/b.PNG?x=y.jpg", "image/png"), ("http://h/a", "application/octet-stream"),
        ("data:image/gif;base64,R0lG", "image/gif"), ("DATA:image/gif,x", "image/gif"), ("data:,hello", "text/plain"),
        ("data:;base64,aGk=", "text/plain"), ("data:text/html;charset=utf-8,x", "text/html;charset=utf-8"),
        ("data:;charset=utf-8,x", "text/plain;charset=utf-8"),  # RFC 2397: the type alone may be left out
    ]:  # fmt: skip
        content = MediaContent.from_url(url, caption="c")
        assert (content.url, content.mime_type, content.caption) == (url, mime_type, "c")
        assert MediaContent.from_url(url, "image/x-own").mime_type == "image/x-own"
    buffer = bytearray(b"ab")
    content = MediaContent.from_bytes(buffer, "image/png")
    buffer[:] = b"xx"
    assert content.data == b"ab"
    for data in (5, "aGVs", [1, 2], None):  # `bytes(5)` would be five zeros
        for mime_type in (None, "image/png"):
            with pytest.raises(InvalidMediaError):
                MediaContent.from_bytes(data, mime_type)  # type: ignore[arg-type]
    content = MediaContent.from_text("héllo", caption="a note")
    assert (content.data, content.mime_type, content.caption) == ("héllo".encode(), "text/plain", "a note")
    assert MediaContent.from_text("# x", "text/markdown").mime_type == "text/markdown"
    with pytest.raises(InvalidMediaError):
        MediaContent.from_text("\ud800")


def test_one_source_and_a_mime_type_are_needed() -> None:
    url = "https://example.org/x.png"
    assert "no source" in refused(mime_type="image/png")
    assert "no source" in refused(mime_type="image/png", storage_reference="")
    assert "file_path: " in refused(mime_type="image/png", file_path="")
    assert "name one source" in refused(mime_type="image/png", url=url, data=b"")
    assert "name one source" in refused(mime_type="image/png", url=url, file_path="x")
    both = MediaContent(data=b"ab", file_path="x.png", mime_type="image/png")
    assert (both.read_bytes(), MediaContent(data=b"", mime_type="image/png").read_bytes()) == (b"ab", b"")
    assert type(MediaContent(storage_reference="a/b", mime_type="image/png").storage_reference) is Reference
    assert "mime_type: " in refused(data=b"")
    assert "mime_type: " in refused(data=b"", mime_type="")
    assert "mime_type: " in refused(data=b"", mime_type="png")
    assert "mime_type: " in refused(data=b"", mime_type="image/png\r\nX-Evil: 1")
    assert MediaContent(data=b"", mime_type="Text/Plain; charset=utf-8").mime_type == "Text/Plain; charset=utf-8"
    assert "url: " in refused(url=f"data:{SECRET}", mime_type="image/png")
    with pytest.raises(InvalidMediaError) as info:
        MediaContent.from_url(f"data:{SECRET}")
    assert SECRET not in str(info.value)


def test_contents_come_from_paths_and_streams_and_what_is_wrong_with_a_path(tmp_path: Path) -> None:
    for spelled in (str, Path):
        for name, data, kind in (("x.PNG", b"", "image/png"), ("x", PNG, "image/png"), ("y", b"hi", "text/plain")):
            path = tmp_path / name
            path.write_bytes(data)
            content = MediaContent.from_path(spelled(path), height=2)
            assert (content.file_path, content.mime_type, content.height) == (str(path), kind, 2)
            assert (content.read_bytes(), content.local_path()) == (data, path)
            assert MediaContent(file_path=spelled(path), mime_type=kind).file_path == str(path)
    with pytest.raises(MediaNotFoundError, match="file_path"):
        MediaContent.from_path(tmp_path / "missing")
    for wrong in (tmp_path, "a\0b"):
        with pytest.raises(StorageError, match="file_path"):
            MediaContent.from_path(wrong)
    later = MediaContent.from_path(tmp_path / "missing.png")  # nothing is read before it is needed
    with pytest.raises(MediaNotFoundError):
        later.open()
    stream = io.BytesIO(b"skip" + PNG)
    stream.seek(4)
    content = MediaContent.from_stream(stream)
    assert content.mime_type == "image/png"
    assert content.data is stream
    assert (stream.tell(), content.read_bytes()) == (4, PNG)
    pipe = MediaContent.from_stream(Pipe(PNG))  # type: ignore[arg-type]
    assert (pipe.mime_type, pipe.read_bytes()) == ("application/octet-stream", PNG)
    (tmp_path / "x.gif").write_bytes(PNG)
    with (tmp_path / "x.gif").open("rb") as file:
        assert MediaContent.from_stream(file).mime_type == "image/gif"
        assert MediaContent.from_stream(file, "image/x-own").mime_type == "image/x-own"


class Pipe(io.RawIOBase):
    """A stream that can only be read once, from front to back."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._inner.readinto(buffer)


URL = f"https://user:{SECRET}@host.example:8443/a/x.png?sig={SECRET}&more=1#{SECRET}"
LIMIT = 20 * 2**20


class Handle:
    """What a store attaches."""

    def __init__(self, data: bytes, path: Path | None = None) -> None:
        self.data = data
        self.path = path

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.data)

    def local_path(self) -> Path:
        assert self.path is not None
        return self.path


FIELDS = st.fixed_dictionaries(
    {"mime_type": st.sampled_from(["image/png", "text/plain; charset=utf-8"])},
    optional={
        "format": st.sampled_from(["png", ""]), "caption": st.text(st.characters(exclude_categories=["Cs"])),
        "duration": st.integers(0, 10**6) | st.floats(0, 1e9), "width": st.integers(0, 2**40),
        "size_kb": st.integers(0, 2**40), "policy_name": st.sampled_from(["retain", "retain-30days"]),
    },
)  # fmt: skip
SOURCES = st.one_of(
    st.fixed_dictionaries({"data": st.binary()}),
    st.fixed_dictionaries({"data": st.binary(), "file_path": st.just("x.png"), "storage_reference": st.just("a/b")}),
    st.fixed_dictionaries({"url": st.just("https://u:p@h/x?sig=1")}),
    st.fixed_dictionaries({"storage_reference": st.just("runs/r1/x.png")}),
)


@given(FIELDS, SOURCES)
def test_a_content_comes_back_from_json(fields: dict[str, Any], source: dict[str, Any]) -> None:
    content = MediaContent(**fields, **source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of bytes that are no text under a text type
        assert MediaContent.model_validate_json(content.model_dump_json()) == content
        assert MediaContent.model_validate_json(content.model_dump_json(exclude_none=True)) == content
        assert MediaContent.from_promptkit(json.loads(content.model_dump_json())) == content
    assert pickle.loads(pickle.dumps(content)) == content
    if "data" in source:
        assert json.loads(content.model_dump_json())["data"] == base64.b64encode(source["data"]).decode()


def test_promptkits_json_validates_and_a_file_object_has_no_json_form() -> None:
    document = {
        "data": base64.b64encode(PNG).decode(), "mime_type": "image/png", "format": "png", "size_kb": 1,
        "detail": "high", "caption": "é", "duration": 3, "bit_rate": 128, "channels": 2, "width": 4, "height": 5,
        "fps": 25, "policy_name": "",
    }  # fmt: skip
    plain = MediaContent.model_validate_json(json.dumps(document))
    assert plain == MediaContent.from_promptkit({**document, "later_key": {"a": [1]}, "SizeKB": 3})
    assert (plain.data, plain.duration, plain.fps, plain.policy_name) == (PNG, 3, 25, None)
    assert all(getattr(plain, name) == document[name] for name in CONTENT_FIELDS)
    with pytest.raises(InvalidMediaError, match="later_key: ") as info:
        MediaContent(**document, later_key=SECRET)
    assert SECRET not in str(info.value)
    with pytest.raises(InvalidMediaError):
        MediaContent.from_promptkit({"mime_type": "image/png"})
    with pytest.raises(PydanticSerializationError, match="no JSON form"):
        MediaContent(data=io.BytesIO(PNG), mime_type="image/png").model_dump_json()


# -- opening -----------------------------------------------------------------------------------------------------


def test_bytes_files_and_handles_open_again_and_again_and_a_copy_may_still_open(tmp_path: Path) -> None:
    content = MediaContent.from_bytes(PNG)
    assert content.open().read() == content.open().read() == content.read_bytes() == PNG
    path = tmp_path / "x.png"
    path.write_bytes(PNG)
    content = MediaContent(file_path=str(path), mime_type="image/png")
    with content.open() as file:
        assert file.read(4) == PNG[:4]
    assert content.local_path() == path
    del content, file
    gc.collect()
    assert path.read_bytes() == PNG  # the caller's file is no copy of ours
    content = MediaContent(storage_reference="runs/r1/x.png", mime_type="image/png")
    assert content.attach(Handle(PNG, tmp_path / "copy.png")) is content
    assert content.open().read() == content.read_bytes() == PNG
    assert (content.local_path(), base64.b64decode(content.base64())) == (tmp_path / "copy.png", PNG)
    content = MediaContent(storage_reference="a/b", mime_type="image/png").attach(Handle(PNG))
    assert content.model_copy(update={"caption": "c"}).read_bytes() == PNG
    assert copy.copy(content).read_bytes() == PNG


@pytest.mark.parametrize(("source", "value"), [("url", URL), ("storage_reference", "runs/r1/x.png")])
def test_a_content_that_only_names_its_bytes_says_so(source: str, value: str) -> None:
    content = MediaContent(mime_type="image/png", **{source: value})
    for read in (content.open, content.read_bytes, content.local_path, content.base64, content.data_url):
        with pytest.raises(InvalidMediaError, match=rf"{source}; store it, or open") as info:
            read()
        assert SECRET not in str(info.value)
        assert info.value.reference == content.storage_reference


def test_a_local_copy_is_made_once_goes_when_nobody_holds_it_and_is_not_left_by_a_stream_that_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = MediaContent.from_bytes(PNG)
    path = content.local_path()
    assert (content.local_path(), path.suffix, path.read_bytes()) == (path, ".png", PNG)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    name = str(path)
    del path
    gc.collect()
    assert os.path.exists(name)  # the content still knows it
    path = content.local_path()
    del content
    gc.collect()
    assert path.read_bytes() == PNG  # so does the caller
    del path
    gc.collect()
    assert not os.path.exists(name)

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError("cable cut")
            return super().read(3)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OSError, match="cable cut"):
        MediaContent.from_stream(Broken(PNG), "image/png").local_path()
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=100))
def test_base64_and_data_url(data: bytes) -> None:
    content = MediaContent.from_bytes(data, "image/png")
    assert content.base64() == base64.b64encode(data).decode()
    assert content.data_url() == "data:image/png;base64," + base64.b64encode(data).decode()
    assert MediaContent(data=content.base64(), mime_type="image/png") == content


def test_too_much_to_hold_inline_is_refused_unless_told_and_no_file_is_read_whole_for_that(tmp_path: Path) -> None:
    small, large, larger = (MediaContent.from_bytes(bytes(size), "image/png") for size in (4, LIMIT, LIMIT + 1))
    for name in ("base64", "data_url"):
        assert len(getattr(large, name)()) >= LIMIT * 4 // 3
        with pytest.raises(MediaTooLargeError, match="max_size=None") as info:
            getattr(larger, name)()
        assert str(LIMIT) in str(info.value)
        assert len(getattr(larger, name)(max_size=None)) > LIMIT * 4 // 3
        assert getattr(small, name)(max_size=4)
        with pytest.raises(MediaTooLargeError):
            getattr(small, name)(max_size=3)
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(50 * 2**30)
    with pytest.raises(MediaTooLargeError):
        MediaContent.from_path(tmp_path / "x.png").base64(max_size=10)
    content = MediaContent.from_text("x", "text/plain; charset=utf-8")
    assert content.data_url() == "data:text/plain;charset=utf-8;base64,eA==", "no blanks"


# -- what must not get out ---------------------------------------------------------------------------------------


def test_repr_shows_size_and_digest_never_the_data_no_query_no_user_and_contents_are_frozen() -> None:
    content = MediaContent(data=SECRET.encode(), mime_type="image/png", caption="y" * 1000)
    for text in (repr(content), str(content), f"{content}", repr([content])):
        assert SECRET not in text
        assert f"{len(SECRET)} bytes" in text
        assert hashlib.sha256(SECRET.encode()).hexdigest()[:12] in text
        assert "y" * 81 not in text
        assert "None" not in text
    assert "BytesIO, not read" in repr(MediaContent(data=io.BytesIO(SECRET.encode()), mime_type="image/png"))
    content = MediaContent.from_bytes(PNG)
    for name in ("data", "mime_type", "caption"):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(content, name, None)
    assert (content.data, hash(content)) == (PNG, hash(MediaContent.from_bytes(PNG)))
    for url, shown in [
        (URL, "https://host.example:8443/a/x.png?..."), (f"https://host/x@y.png#{SECRET}", "https://host/x@y.png"),
        (f"HTTP://{SECRET}@[::1]:80/x", "http://[::1]:80/x"), (f"https://a@b:{SECRET}@host/x", "https://host/x"),
        (f"data:image/png;base64,{SECRET}", "data:image/png;base64,..."),
        (f"DATA:image/png,{SECRET}", "DATA:image/png,..."),
    ]:  # fmt: skip
        content = MediaContent(url=url, mime_type="image/png")
        assert (repr(content), content.url) == (f"MediaContent(url={shown!r}, mime_type='image/png')", url)


def test_a_pickle_leaves_the_handle_and_the_copy_behind() -> None:
    content = MediaContent(storage_reference="runs/r1/x.png", mime_type="image/png", caption="c")
    content.attach(Handle(SECRET.encode()))
    pickled = pickle.dumps(content)
    assert SECRET.encode() not in pickled
    assert b"Handle" not in pickled
    again = pickle.loads(pickled)
    assert again == MediaContent(storage_reference="runs/r1/x.png", mime_type="image/png", caption="c")
    with pytest.raises(InvalidMediaError, match=r"store\.open"):
        again.open()
    assert content.read_bytes() == SECRET.encode()  # its own handle stays
    assert "handle" not in content.model_dump_json().lower()

    inline = MediaContent.from_bytes(PNG)
    path = inline.local_path()
    assert pickle.loads(pickle.dumps(inline)).local_path() != path
    assert path.name.encode() not in pickle.dumps(inline)


@pytest.mark.parametrize("fields", [
    {"data": "!" + SECRET}, {"data": SECRET.encode(), "url": URL}, {"data": SECRET.encode(), "width": -1},
    {"url": "ftp" + URL}, {"url": URL, "bogus": SECRET},
], ids=["base64", "two sources", "width", "scheme", "unknown"])  # fmt: skip
def test_errors_quote_no_input(fields: dict[str, Any]) -> None:
    fields["mime_type"] = "image/png"
    document = json.dumps({name: v.decode() if isinstance(v, bytes) else v for name, v in fields.items()})
    for make in (
        lambda: MediaContent(**fields),
        lambda: MediaContent.model_validate(fields),
        lambda: MediaContent.from_promptkit({**fields, "width": -1}),
        lambda: MediaContent.model_validate_json(document),
        lambda: MediaContent.model_validate_json(document[:-1]),
    ):
        with pytest.raises(InvalidMediaError) as info:
            make()
        assert SECRET not in str(info.value) + repr(info.value)
        assert info.value.__cause__ is None
        assert info.value.__suppress_context__


def test_a_content_inside_another_model_keeps_its_place_in_errors() -> None:
    class Conversion(BaseModel):
        model_config = ConfigDict(hide_input_in_errors=True)
        media: list[MediaContent]

    turn = Conversion(media=[{"data": PNG, "mime_type": "image/png"}])
    assert (turn.media[0].data, Conversion.model_validate_json(turn.model_dump_json())) == (PNG, turn)
    assert Conversion(media=[turn.media[0]]).media[0] is turn.media[0]
    with pytest.raises(ValidationError) as info:
        Conversion(media=[turn.media[0], {"data": "!" + SECRET, "mime_type": "image/png"}])
    assert [error["loc"] for error in info.value.errors()] == [("media", 1, "data")]
    assert "from_text" in str(info.value)
    assert SECRET not in str(info.value)
