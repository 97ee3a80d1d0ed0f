"""`MediaContent` once it is made: where it opens, how it travels as JSON and pickle, what it never shows."""

from __future__ import annotations

import base64
import copy
import gc
import hashlib
import io
import json
import os
import pickle
import stat
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError

from fsmedia.errors import InvalidMediaError, MediaTooLargeError
from fsmedia.models import CONTENT_FIELDS, MediaContent

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(24))
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"
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


def test_a_file_object_has_no_json_form() -> None:
    with pytest.raises(PydanticSerializationError, match="no JSON form"):
        MediaContent(data=io.BytesIO(PNG), mime_type="image/png").model_dump_json()


def test_promptkits_json_validates_and_its_unknown_keys_are_dropped() -> None:
    document = {
        "data": base64.b64encode(PNG).decode(),
        "mime_type": "image/png",
        "format": "png",
        "size_kb": 1,
        "detail": "high",
        "caption": "é",
        "duration": 3,
        "bit_rate": 128,
        "channels": 2,
        "width": 4,
        "height": 5,
        "fps": 25,
        "policy_name": "",
    }
    plain = MediaContent.model_validate_json(json.dumps(document))
    assert plain == MediaContent.from_promptkit({**document, "later_key": {"a": [1]}, "SizeKB": 3})
    assert (plain.data, plain.duration, plain.fps, plain.policy_name) == (PNG, 3, 25, None)
    assert all(getattr(plain, name) == document[name] for name in CONTENT_FIELDS)
    with pytest.raises(InvalidMediaError, match="later_key: ") as info:
        MediaContent(**document, later_key=SECRET)
    assert SECRET not in str(info.value)
    with pytest.raises(InvalidMediaError):
        MediaContent.from_promptkit({"mime_type": "image/png"})


# -- opening -----------------------------------------------------------------------------------------------------


def test_bytes_open_again_and_again() -> None:
    content = MediaContent.from_bytes(PNG)
    assert content.open().read() == content.open().read() == content.read_bytes() == PNG


def test_a_file_is_opened_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(PNG)
    content = MediaContent(file_path=str(path), mime_type="image/png")
    with content.open() as file:
        assert file.read(4) == PNG[:4]
    assert content.local_path() == path
    del content, file
    gc.collect()
    assert path.read_bytes() == PNG  # the caller's file is no copy of ours


@pytest.mark.parametrize(
    "source", [{"url": URL}, {"storage_reference": "runs/r1/x.png"}], ids=lambda source: next(iter(source))
)
def test_a_content_that_only_names_its_bytes_says_so(source: dict[str, str]) -> None:
    content = MediaContent(mime_type="image/png", **source)
    for read in (content.open, content.read_bytes, content.local_path, content.base64, content.data_url):
        with pytest.raises(InvalidMediaError, match=rf"{next(iter(source))}; store it, or open") as info:
            read()
        assert SECRET not in str(info.value)
        assert info.value.reference == content.storage_reference


def test_an_attached_handle_brings_the_bytes(tmp_path: Path) -> None:
    content = MediaContent(storage_reference="runs/r1/x.png", mime_type="image/png")
    assert content.attach(Handle(PNG, tmp_path / "copy.png")) is content
    assert content.open().read() == content.read_bytes() == PNG
    assert content.local_path() == tmp_path / "copy.png"
    assert base64.b64decode(content.base64()) == PNG


def test_a_local_copy_is_made_once_and_goes_when_nobody_holds_it() -> None:
    content = MediaContent.from_bytes(PNG)
    path = content.local_path()
    assert content.local_path() == path
    assert path.suffix == ".png"
    assert path.read_bytes() == PNG
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


def test_a_stream_that_breaks_leaves_no_local_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_data_url_holds_no_blanks() -> None:
    content = MediaContent.from_text("x", "text/plain; charset=utf-8")
    assert content.data_url() == "data:text/plain;charset=utf-8;base64,eA=="


@pytest.mark.parametrize("name", ["base64", "data_url"])
def test_too_much_to_hold_inline_is_refused_unless_told(name: str) -> None:
    inline = getattr(MediaContent.from_bytes(bytes(LIMIT), "image/png"), name)
    assert len(inline()) >= LIMIT * 4 // 3
    larger = MediaContent.from_bytes(bytes(LIMIT + 1), "image/png")
    with pytest.raises(MediaTooLargeError, match="max_size=None") as info:
        getattr(larger, name)()
    assert str(LIMIT) in str(info.value)
    assert len(getattr(larger, name)(max_size=None)) > LIMIT * 4 // 3
    assert getattr(MediaContent.from_bytes(b"abc", "image/png"), name)(max_size=3)
    with pytest.raises(MediaTooLargeError):
        getattr(MediaContent.from_bytes(b"abcd", "image/png"), name)(max_size=3)


def test_a_large_file_is_not_read_whole_to_be_refused(tmp_path: Path) -> None:
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(50 * 2**30)
    with pytest.raises(MediaTooLargeError):
        MediaContent.from_path(tmp_path / "x.png").base64(max_size=10)


# -- what must not get out ---------------------------------------------------------------------------------------


def test_repr_shows_size_and_digest_never_the_data() -> None:
    content = MediaContent(data=SECRET.encode(), mime_type="image/png", caption="y" * 1000)
    for text in (repr(content), str(content), f"{content}", repr([content])):
        assert SECRET not in text
        assert f"{len(SECRET)} bytes" in text
        assert hashlib.sha256(SECRET.encode()).hexdigest()[:12] in text
        assert "y" * 81 not in text
        assert "None" not in text
    assert "BytesIO, not read" in repr(MediaContent(data=io.BytesIO(SECRET.encode()), mime_type="image/png"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "https://host.example:8443/a/x.png?..."),
        (f"https://host/x@y.png#{SECRET}", "https://host/x@y.png"),
        (f"HTTP://{SECRET}@[::1]:80/x", "http://[::1]:80/x"),
        (f"https://a@b:{SECRET}@host/x", "https://host/x"),
        (f"data:image/png;base64,{SECRET}", "data:image/png;base64,..."),
        (f"DATA:image/png,{SECRET}", "DATA:image/png,..."),
    ],
)
def test_repr_shows_no_query_and_no_user(url: str, shown: str) -> None:
    content = MediaContent(url=url, mime_type="image/png")
    assert repr(content) == f"MediaContent(url={shown!r}, mime_type='image/png')"
    assert content.url == url


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


def test_a_copy_may_still_open() -> None:
    content = MediaContent(storage_reference="a/b", mime_type="image/png").attach(Handle(PNG))
    assert content.model_copy(update={"caption": "c"}).read_bytes() == PNG
    assert copy.copy(content).read_bytes() == PNG


@pytest.mark.parametrize(
    "fields",
    [
        {"data": "!" + SECRET}, {"data": SECRET.encode(), "url": URL}, {"data": SECRET.encode(), "width": -1},
        {"url": "ftp" + URL}, {"url": URL, "bogus": SECRET},
    ],
    ids=["base64", "two sources", "width", "scheme", "unknown"],
)  # fmt: skip
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
    assert turn.media[0].data == PNG
    assert Conversion.model_validate_json(turn.model_dump_json()) == turn
    assert Conversion(media=[turn.media[0]]).media[0] is turn.media[0]
    with pytest.raises(ValidationError) as info:
        Conversion(media=[turn.media[0], {"data": "!" + SECRET, "mime_type": "image/png"}])
    assert [error["loc"] for error in info.value.errors()] == [("media", 1, "data")]
    assert "from_text" in str(info.value)
    assert SECRET not in str(info.value)


def test_contents_are_frozen() -> None:
    content = MediaContent.from_bytes(PNG)
    for name in ("data", "mime_type", "caption"):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(content, name, None)
    assert content.data == PNG
    assert hash(content) == hash(MediaContent.from_bytes(PNG))
