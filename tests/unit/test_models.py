"""Models: contents, metadata, records, policies and selections: what they take, refuse, show, mean and come back as."""

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
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from fsmedia import models
from fsmedia.errors import InvalidMediaError, MediaError, MediaNotFoundError, MediaTooLargeError, StorageError
from fsmedia.models import ContentFields, MediaContent, MediaMetadata, MediaRecord, Reference, RetentionPolicy
from fsmedia.models.selection import Selection
from tests.contract.specimens import Trickle, raised
from tests.unit.templates import TEXTS, metadata

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(24))
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"
BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
ALMOST_BASE64 = st.text(alphabet=st.sampled_from("aGVz+/09=\r\n"), max_size=16)


def model_refused(model: type[BaseModel], **fields: Any) -> str:
    caught = raised(InvalidMediaError, model, **fields)
    assert caught.__cause__ is None
    assert caught.__suppress_context__
    assert "\n" not in str(caught)
    assert SECRET not in str(caught) + repr(caught)
    return str(caught)


refused = partial(model_refused, MediaContent)


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
            raised(MediaError, MediaContent.from_url, source["url"])


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


PICTURE = PNG + bytes(range(256)) * 40


@pytest.mark.parametrize("text", [base64.b64encode(PNG), base64.encodebytes(PICTURE)])
def test_bytes_that_are_base64_text_of_a_media_warn_and_name_the_way(text: bytes) -> None:
    for make in (
        lambda: MediaContent(data=text, mime_type="image/png"),
        lambda: MediaContent(data=bytearray(text), mime_type="application/octet-stream"),
        lambda: MediaContent.from_bytes(text),
        lambda: MediaContent.from_bytes(text, "image/jpeg"),
        lambda: MediaContent.model_validate({"data": text, "mime_type": "image/png"}),
    ):
        with pytest.warns(UserWarning, match=r"base64 text of image/png.*as str, or base64\.b64decode") as warned:
            assert make().data == text  # it stays as it is
        assert [each.filename for each in warned] == [__file__]


def test_text_real_media_and_base64_in_a_str_do_not_warn() -> None:
    for data in (
        PICTURE,
        b"x" * 1000,
        b"helloworld",
        hashlib.sha256().hexdigest().encode(),
        b"",
        b"iVBORw0KGgo= is one",
    ):
        for kind in ("image/png", None):
            MediaContent.from_bytes(data, kind)
    MediaContent.from_bytes(base64.b64encode(PNG), "text/plain")
    MediaContent.from_text(base64.b64encode(PNG).decode())
    assert MediaContent(data=base64.b64encode(PNG).decode(), mime_type="image/png").data == PNG


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
            raised(InvalidMediaError, MediaContent.from_bytes, data, mime_type)
    content = MediaContent.from_text("héllo", caption="a note")
    assert (content.data, content.mime_type, content.caption) == ("héllo".encode(), "text/plain", "a note")
    assert MediaContent.from_text("# x", "text/markdown").mime_type == "text/markdown"
    raised(InvalidMediaError, MediaContent.from_text, "\ud800")


@dataclass
class Score:
    value: float
    when: datetime


def test_a_value_becomes_the_json_that_json_dumps_writes_and_what_has_none_is_refused() -> None:
    value = {"text": "héllo", "list": [1, 2.5, None, True], "by": {1: "one"}}
    content = MediaContent.from_json(value, caption="c")
    assert content.data == json.dumps(value, ensure_ascii=False).encode()
    assert (content.mime_type, content.caption) == ("application/json", "c")
    assert MediaContent.from_json([], "application/geo+json").mime_type == "application/geo+json"
    inner = [Score(1.5, datetime(2026, 3, 4, tzinfo=UTC)), RetentionPolicy(name="audit"), Path("a")]
    assert json.loads(MediaContent.from_json({"inner": inner}).data) == {
        "inner": [{"value": 1.5, "when": "2026-03-04T00:00:00Z"}, {"name": "audit", "keep_for": None}, "a"]
    }
    circle: list[Any] = []
    circle.append(circle)
    not_a_number = Score(float("nan"), datetime.now(UTC))
    for wrong in (float("nan"), [float("inf")], not_a_number, {(1, 2): 3}, "\ud800", b"\xff", object(), circle):
        raised(InvalidMediaError, MediaContent.from_json, wrong, match=r"no JSON form \(.+\); give dict")


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
    assert SECRET not in str(raised(InvalidMediaError, MediaContent.from_url, f"data:{SECRET}"))


def test_contents_come_from_paths_and_streams_and_what_is_wrong_with_a_path(tmp_path: Path) -> None:
    for spelled in (str, Path):
        for name, data, kind in (("x.PNG", b"", "image/png"), ("x", PNG, "image/png"), ("y", b"hi", "text/plain")):
            path = tmp_path / name
            path.write_bytes(data)
            content = MediaContent.from_path(spelled(path), height=2)
            assert (content.file_path, content.mime_type, content.height) == (str(path), kind, 2)
            assert (content.read_bytes(), content.local_path()) == (data, path)
            assert MediaContent(file_path=spelled(path), mime_type=kind).file_path == str(path)
    raised(MediaNotFoundError, MediaContent.from_path, tmp_path / "missing", match="file_path")
    for wrong in (tmp_path, "a\0b"):
        raised(StorageError, MediaContent.from_path, wrong, match="file_path")
    later = MediaContent.from_path(tmp_path / "missing.png")  # nothing is read before it is needed
    raised(MediaNotFoundError, later.open)
    stream = io.BytesIO(b"skip" + PNG)
    stream.seek(4)
    content = MediaContent.from_stream(stream)
    assert content.mime_type == "image/png"
    assert content.data is stream
    assert (stream.tell(), content.read_bytes()) == (4, PNG)
    pipe = MediaContent.from_stream(Trickle(PNG, len(PNG)))
    assert (pipe.mime_type, pipe.read_bytes()) == ("application/octet-stream", PNG)
    (tmp_path / "x.gif").write_bytes(PNG)
    with (tmp_path / "x.gif").open("rb") as file:
        assert MediaContent.from_stream(file).mime_type == "image/gif"
        assert MediaContent.from_stream(file, "image/x-own").mime_type == "image/x-own"


URL = f"https://user:{SECRET}@host.example:8443/a/x.png?sig={SECRET}&more=1#{SECRET}"
LIMIT = 20 * 2**20


def handle(data: bytes, path: Path | None = None) -> Any:
    """Another way to bytes than the store's."""
    return SimpleNamespace(open=lambda: io.BytesIO(data), local_path=lambda: path)


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
        "fps": 25, "policy_name": "", "file_name": "é.png",
    }  # fmt: skip
    plain = MediaContent.model_validate_json(json.dumps(document))
    assert plain == MediaContent.from_promptkit({**document, "later_key": {"a": [1]}, "SizeKB": 3})
    assert (plain.data, plain.duration, plain.fps, plain.policy_name) == (PNG, 3, 25, None)
    assert all(getattr(plain, name) == document[name] for name in models.CONTENT_FIELDS)
    caught = raised(InvalidMediaError, MediaContent, match="later_key: ", **document, later_key=SECRET)
    assert SECRET not in str(caught)
    raised(InvalidMediaError, MediaContent.from_promptkit, {"mime_type": "image/png"})
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
    assert content.attach(handle(PNG, tmp_path / "copy.png")) is content
    assert content.open().read() == content.read_bytes() == PNG
    assert (content.local_path(), base64.b64decode(content.base64())) == (tmp_path / "copy.png", PNG)
    content = MediaContent(storage_reference="a/b", mime_type="image/png").attach(handle(PNG))
    assert content.model_copy(update={"caption": "c"}).read_bytes() == PNG
    assert copy.copy(content).read_bytes() == PNG


@pytest.mark.parametrize(("source", "value"), [("url", URL), ("storage_reference", "runs/r1/x.png")])
def test_a_content_that_only_names_its_bytes_says_so(source: str, value: str) -> None:
    content = MediaContent(mime_type="image/png", **{source: value})
    for read in (content.open, content.read_bytes, content.local_path, content.base64, content.data_url):
        caught = raised(InvalidMediaError, read, match=rf"{source}; store it, or open")
        assert SECRET not in str(caught)
        assert caught.reference == content.storage_reference


def test_a_local_copy_is_made_once_and_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    raised(OSError, MediaContent.from_stream(Broken(PNG), "image/png").local_path, match="cable cut")
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
        assert str(LIMIT) in str(raised(MediaTooLargeError, getattr(larger, name), match="max_size=None"))
        assert len(getattr(larger, name)(max_size=None)) > LIMIT * 4 // 3
        assert getattr(small, name)(max_size=4)
        raised(MediaTooLargeError, getattr(small, name), max_size=3)
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(50 * 2**30)
    raised(MediaTooLargeError, MediaContent.from_path(tmp_path / "x.png").base64, max_size=10)
    content = MediaContent.from_text("x", "text/plain; charset=utf-8")
    assert content.data_url() == "data:text/plain;charset=utf-8;base64,eA==", "no blanks"


# -- what must not get out ---------------------------------------------------------------------------------------
def test_repr_shows_size_and_digest_never_the_data_no_query_no_user_and_contents_are_frozen() -> None:
    content = MediaContent(data=SECRET.encode(), mime_type="image/png", caption="y" * 1000)
    for text in (repr(content), str(content), f"{content}", repr([content])):
        assert SECRET not in text
        assert f"{len(SECRET)} bytes" in text
        assert hashlib.sha256(SECRET.encode()).hexdigest()[:12] in text
        assert [said for said in ("y" * 81, "None") if said in text] == []
    assert "BytesIO, not read" in repr(MediaContent(data=io.BytesIO(SECRET.encode()), mime_type="image/png"))
    content = MediaContent.from_bytes(PNG)
    for name in ("data", "mime_type", "caption"):
        raised(ValidationError, setattr, content, name, None, match="frozen")
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
    content.attach(handle(SECRET.encode()))
    pickled = pickle.dumps(content)
    assert [said for said in (SECRET.encode(), b"SimpleNamespace") if said in pickled] == []
    again = pickle.loads(pickled)
    assert again == MediaContent(storage_reference="runs/r1/x.png", mime_type="image/png", caption="c")
    raised(InvalidMediaError, again.open, match=r"store\.open")
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
        lambda: MediaContent(**fields), lambda: MediaContent.model_validate(fields),
        lambda: MediaContent.from_promptkit({**fields, "width": -1}),
        lambda: MediaContent.model_validate_json(document), lambda: MediaContent.model_validate_json(document[:-1]),
    ):  # fmt: skip
        caught = raised(InvalidMediaError, make)
        assert SECRET not in str(caught) + repr(caught)
        assert caught.__cause__ is None
        assert caught.__suppress_context__


def test_a_content_inside_another_model_keeps_its_place_in_errors() -> None:
    class Conversion(BaseModel):
        model_config = ConfigDict(hide_input_in_errors=True)
        media: list[MediaContent]

    turn = Conversion(media=[{"data": PNG, "mime_type": "image/png"}])
    assert (turn.media[0].data, Conversion.model_validate_json(turn.model_dump_json())) == (PNG, turn)
    assert Conversion(media=[turn.media[0]]).media[0] is turn.media[0]
    wrong = {"data": "!" + SECRET, "mime_type": "image/png"}
    caught = raised(ValidationError, Conversion, media=[turn.media[0], wrong])
    assert [error["loc"] for error in caught.errors()] == [("media", 1, "data")]
    assert "from_text" in str(caught)
    assert SECRET not in str(caught)


NOON = datetime(2026, 3, 4, 12, 30, 5, 890123, tzinfo=UTC)
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1), timezones=st.timezones())
METADATA = metadata(st.none() | INSTANTS)


@given(METADATA, INSTANTS, st.sampled_from([None, NOON]), st.dictionaries(TEXTS, st.none() | st.booleans() | TEXTS))
def test_metadata_and_records_come_back_from_json_and_timestamps_become_utc(metadata, instant, expires_at, xattrs):
    facts = {"sha256": "0" * 64, "expires_at": expires_at, "caption": "é", "xattrs": xattrs}
    record = MediaRecord(**dict(metadata), reference="runs/r1/x.png", **facts)
    assert MediaRecord.model_validate_json(record.model_dump_json()) == record
    assert type(record.reference) is Reference
    assert MediaMetadata.model_validate_json(metadata.model_dump_json()) == metadata
    assert MediaMetadata.model_validate(metadata.model_dump()) == metadata
    assert pickle.loads(pickle.dumps(metadata)) == metadata
    timestamp = MediaMetadata(timestamp=instant).timestamp
    assert timestamp.timestamp() == instant.timestamp()  # == is never true for a time in a zone's repeated hour
    assert timestamp.tzinfo is UTC


def test_metadata_has_promptkits_keys_none_is_required_and_records_add_content_fields_and_facts() -> None:
    assert list(MediaMetadata.model_fields) == [
        "run_id", "conversation_id", "session_id", "message_idx", "part_idx", "mime_type", "size_bytes", "provider_id",
        "timestamp", "policy_name", "attributes",
    ]  # fmt: skip
    metadata = MediaMetadata()
    assert (metadata.run_id, metadata.message_idx, metadata.timestamp, metadata.policy_name) == ("", 0, None, None)
    assert MediaMetadata(policy_name="").policy_name is None
    assert MediaRecord(reference="a", policy_name="").policy_name is None
    modes = {"by-session": "session_id", "by-conversation": "conversation_id", "by-run": "run_id"}
    assert {str(mode): mode.id_field for mode in models.OrganizationMode} == modes
    assert models.OrganizationMode("by-run") == "by-run"
    assert all(mode.id_field in MediaMetadata.model_fields for mode in models.OrganizationMode)
    for keep_for in [None, timedelta(seconds=1), timedelta(days=365), timedelta(days=999999999)]:
        policy = RetentionPolicy(name="audit", keep_for=keep_for)
        assert policy.keep_for == keep_for
        assert RetentionPolicy.model_validate_json(policy.model_dump_json()) == policy
    own = set(MediaRecord.model_fields) - set(MediaMetadata.model_fields) - set(models.CONTENT_FIELDS)
    assert own == {"reference", "sha256", "expires_at", "detected_mime_type", "xattrs", "hold"}
    assert "reference: " in model_refused(MediaRecord)
    assert MediaRecord(reference="a").xattrs is not MediaRecord(reference="a").xattrs
    assert tuple(ContentFields.model_fields) == models.CONTENT_FIELDS
    assert set(models.CONTENT_FIELDS) < set(MediaContent.model_fields)


def test_timestamps_mean_an_instant_or_that_none_was_given() -> None:
    for value, instant in [
        ("2026-03-04T12:30:05.890123Z", NOON), ("2026-03-04T12:30:05.890123456Z", NOON),  # Go writes nanoseconds
        ("2026-03-04T12:30:05.890123999Z", NOON), ("2026-03-04T14:30:05.890123456+02:00", NOON),
        ("2026-03-04T05:00:05.890123-07:30", NOON), (NOON.astimezone(timezone(timedelta(hours=-7))), NOON),
        ("1969-12-31T23:59:59Z", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ]:  # fmt: skip
        assert MediaMetadata(timestamp=value).timestamp == instant
    for value in [
        None, 0, 0.0, "0001-01-01T00:00:00Z",  # Go's zero time
        "0001-01-01T02:00:00+02:00", datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1,
        tzinfo=timezone(timedelta(hours=14))),
        "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000000Z", "1970-01-01T01:00:00+01:00",
        datetime(1970, 1, 1, tzinfo=UTC),
    ]:  # fmt: skip
        assert MediaMetadata(timestamp=value).timestamp is None
    for value in ["x" * 4096, "", "..", "a/b\0\n", "😀é"]:
        assert MediaMetadata(run_id=value).run_id == value


REFUSED_FIELDS: dict[tuple[type[BaseModel], str, str], list[Any]] = {
    (MediaMetadata, "timestamp", "time zone"): [datetime(2026, 3, 4), "2026-03-04T12:30:05", date(2026, 3, 4)],
    (MediaMetadata, "timestamp", ""): ["yesterday", "", float("nan"), 1e30, True, "2026-02-30T00:00:00Z"],
    (MediaMetadata, "timestamp", "9999"): ["9999-12-31T23:59:59-05:00"],
    **{
        (MediaMetadata, name, ""): ["\ud800", "a\udce9b", None, 5, True, "x" * 4097, ["r1"]]
        for name in ("run_id", "conversation_id", "session_id", "provider_id")
    },
    **{(MediaMetadata, name, ""): [-1, True, False, "1", 1.0, 10**9, None] for name in ("message_idx", "part_idx")},
    (MediaMetadata, "size_bytes", ""): [-1],
    (MediaMetadata, "mime_type", ""): ["nonsense", "image/png\r\nX-Evil: 1", None],
    (MediaMetadata, "policy_name", ""): ["x" * 256, 5],
    (MediaMetadata, "reference", ""): ["runs/r1/x.png"],  # a field of the record only
    (MediaMetadata, "bogus", ""): [SECRET],
    (ContentFields, "width", ""): [-1],
    (ContentFields, "height", ""): [1.5],
    (ContentFields, "bit_rate", ""): [-1],
    (ContentFields, "channels", ""): ["many"],
    (ContentFields, "duration", ""): [-0.5, float("nan")],
    (ContentFields, "fps", ""): [float("inf")],
    (ContentFields, "caption", ""): ["x" * 65537, "\ud800"],
    (ContentFields, "format", ""): ["x" * 4097],
    (ContentFields, "detail", ""): [5],
    (ContentFields, "file_name", "must be a file name"): [
        "", ".", "..", "a/b", "a\\b", ".hidden", "-rf", " a", "a.", "a ", "a\0", "a\n", "a\x85", "a\u202eb", "a\u2066b",
        "a\u200fb", "a\u200bb", "a\u2028b", "\ud800", "\u200d", "x" * 201, "é" * 101, "x" * 10**6,
    ],
    (ContentFields, "file_name", ""): [5, ["a"]],
    # They would delete at once; a bare number is meant as days, and would delete after six minutes.
    (RetentionPolicy, "keep_for", ""): [
        timedelta(0), timedelta(seconds=-1), timedelta(days=-1), timedelta(milliseconds=999), timedelta(seconds=1.5),
        "x", 365, 30.0, True,
    ],
    (RetentionPolicy, "name", ""): ["", "x" * 256, None, 5, "\ud800"],
}  # fmt: skip


@pytest.mark.parametrize(("model", "name", "said"), REFUSED_FIELDS)
def test_fields_that_are_refused(model: type[BaseModel], name: str, said: str) -> None:
    for value in REFUSED_FIELDS[model, name, said]:
        text = model_refused(model, **({"name": "audit"} if model is RetentionPolicy else {}) | {name: value})
        assert text.startswith(f"{model.__name__}: {name}: "), value
        assert said in text
        assert SECRET not in text
        text.encode()
    assert MediaMetadata(message_idx=10**9 - 1, part_idx=10**9 - 1).part_idx == 10**9 - 1


def test_all_that_is_wrong_is_said_at_once_in_one_line_without_quoting() -> None:
    text = model_refused(MediaMetadata, run_id=5, message_idx=-1, bogus=1)
    assert all(f"{name}: " in text for name in ("run_id", "message_idx", "bogus"))
    caught = raised(InvalidMediaError, MediaMetadata.model_validate_json, '{"run_id": "' + SECRET, match="Invalid JSON")
    assert SECRET not in str(caught)
    # Field names come from documents, and errors end in logs.
    for name in ("a\nERROR b", "\x1b[31mred", "\u2028"):
        assert model_refused(MediaMetadata, **{name: 1}).isprintable()
    for validate in (MediaMetadata.model_validate, TypeAdapter(MediaMetadata).validate_python):
        caught = raised(ValueError, validate, SECRET, match="valid dictionary")
        assert SECRET not in str(caught)


@pytest.mark.parametrize("model", [MediaMetadata(run_id="r"), RetentionPolicy(name="a"), MediaRecord(reference="a")])
def test_models_are_frozen_and_hashable_where_they_can(model: BaseModel) -> None:
    name = next(iter(type(model).model_fields))
    before = model.model_dump()
    for change in (partial(setattr, model, name, "other"), partial(delattr, model, name)):
        raised(ValidationError, change, match="frozen")
    assert model.model_dump() == before
    if not isinstance(model, MediaRecord):  # its xattrs are a dict
        assert hash(model) == hash(model.model_copy())


def test_a_reference_is_a_str_that_pickles_and_stands_in_models() -> None:
    reference = Reference("runs/r1/x.png")
    assert (reference, {reference: 1}["runs/r1/x.png"]) == ("runs/r1/x.png", 1)
    assert (str(reference), f"{reference}", repr(reference)) == (reference, "runs/r1/x.png", "'runs/r1/x.png'")
    assert not hasattr(reference, "__dict__")

    class Note(BaseModel):
        reference: Reference
        others: list[Reference] = []

    note = Note(reference="runs/r1/x.png", others=["a", Reference("b")])
    assert type(note.reference) is Reference
    assert [type(other) for other in note.others] == [Reference, Reference]
    again = Note.model_validate_json(note.model_dump_json())
    assert again == note
    assert type(again.reference) is Reference
    assert type(note.model_dump(mode="json")["reference"]) is str
    assert type(pickle.loads(pickle.dumps(note.reference))) is Reference
    assert Note.model_json_schema()["properties"]["reference"]["type"] == "string"
    raised(ValidationError, Note, match="valid string", reference=7)


HOUR = timedelta(hours=1)
RECORD = MediaRecord(
    reference="runs/r1/x.png", run_id="r1", conversation_id="c1", session_id="s1", provider_id="openai",
    mime_type="Image/PNG; x=1", policy_name="retain-30days", timestamp=NOON, expires_at=NOON + 30 * 24 * HOUR,
)  # fmt: skip
BARE = MediaRecord(reference="x.bin")
IDS = ["run_id", "conversation_id", "session_id", "provider_id", "policy_name"]
SOME = st.sampled_from(["", "a", "b"])


def means(record: MediaRecord, **words: Any) -> bool:
    return Selection(**words).matches(record)


def test_a_selection_means_ids_instants_and_patterns_of_types() -> None:
    for name in IDS:
        value = getattr(RECORD, name)
        assert means(RECORD, **{name: value})
        for other in (value.upper(), value[:-1], value + "x", "*", "", "?"):
            assert not means(RECORD, **{name: other})
        assert not means(BARE, **{name: value})
        assert means(BARE, **{name: ""})
    for words, expected in [
        ({"since": NOON}, True), ({"since": NOON + timedelta(microseconds=1)}, False), ({"until": NOON}, False),
        ({"until": NOON + timedelta(microseconds=1)}, True), ({"since": NOON - HOUR, "until": NOON + HOUR}, True),
        ({"since": NOON + HOUR, "until": NOON - HOUR}, False), ({"expires_before": NOON + 30 * 24 * HOUR}, False),
        ({"expires_before": NOON + 31 * 24 * HOUR}, True),
    ]:  # fmt: skip
        assert means(RECORD, **words) is expected
        assert not means(BARE, **words)  # it has no time, and never expires
    for pattern, expected in [
        ("image/png", True), ("IMAGE/png", True), ("image/*", True), ("*/png", True), ("*", True), ("image/???", True),
        ("image/[jp]*", True), ("image/jpeg", False), ("image", True), ("Image/", True), ("video", False),
        ("image/png; x=1", False), ("video/*", False),
    ]:  # fmt: skip
        assert means(RECORD, mime_type=pattern) is expected
    assert means(RECORD)
    assert means(BARE)
    assert not Selection().asks()
    assert Selection(run_id="r1").asks()
    assert not Selection(run_id="r1").asks(beyond=models.OrganizationMode.BY_RUN)
    assert Selection(run_id="r1").asks(beyond=models.OrganizationMode.BY_SESSION)
    assert Selection(run_id="r1", mime_type="image/*").asks(beyond=models.OrganizationMode.BY_RUN)
    assert Selection(run_id="").asks()
    assert not Selection().asks(beyond=models.OrganizationMode.BY_RUN)
    raised(TypeError, Selection, "r1")
    with pytest.raises(AttributeError):
        Selection().words = {}  # type: ignore[misc]
    assert Selection(run_id="r1") == Selection(run_id="r1")


def test_words_of_a_selection_that_are_refused() -> None:
    for name in (*IDS, "mime_type"):
        for value in (5, b"r1", ["r1"], True):
            raised(InvalidMediaError, Selection, match=f"{name} must be a str", **{name: value})
    for name in ("since", "until", "expires_before"):
        for instant in (datetime(2026, 3, 4), "2026-03-04T00:00:00Z", 0, NOON.date()):
            caught = raised(InvalidMediaError, Selection, match=f"{name} must be an aware datetime", **{name: instant})
            assert "UTC" in caught.next_step
    # `mime_type="png"` gave nothing without a word.
    spellings = {"png": "image/png", ".jpg": "image/jpeg", "pictures": "image/\\*", "": "image/\\*"}
    for word, spelling in spellings.items():
        raised(InvalidMediaError, Selection, match=f"no MIME type; use .*{spelling}", mime_type=word)


@given(st.fixed_dictionaries(dict.fromkeys(IDS, SOME)), st.fixed_dictionaries({}, optional=dict.fromkeys(IDS, SOME)))
def test_all_conditions_must_be_met(fields: dict[str, str], words: dict[str, str]) -> None:
    record = MediaRecord(reference="x", **fields)
    assert means(record, **words) == all(fields[name] == wanted for name, wanted in words.items())
