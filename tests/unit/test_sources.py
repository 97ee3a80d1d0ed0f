"""Sources and their intake: one pass, counted, hashed, looked at, stopped where it gets too large, sound made WAV."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia.core.ingest import CHUNK_BYTES, HEAD_BYTES, HashingWriter, SourceRules, WavWriter, open_source, small_bytes
from fsmedia.errors import InvalidMediaError, MediaNotFoundError, MediaTooLargeError, StorageError
from fsmedia.format import wav
from fsmedia.models import MediaContent

MONO = wav.PcmFormat(24_000, 1)
CHUNKS = st.lists(st.binary(max_size=50), max_size=8)


class Stage:
    """Where bytes go."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: bytes | memoryview) -> None:
        self.taken += bytes(data)

    def patch(self, data: bytes) -> None:
        self.taken = data + self.taken[len(data) :]

    def reread(self) -> Iterator[bytes]:
        yield from (self.taken[i : i + 7] for i in range(0, len(self.taken), 7))

    def commit(self, content_type: str) -> None:
        raise AssertionError

    def discard(self) -> None:
        raise AssertionError


class Stream(io.BytesIO):
    """A stream that counts what was asked of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.sizes: list[int | None] = []

    def read(self, size: int | None = -1) -> bytes:
        self.sizes.append(size)
        return super().read(size)


class Gives:
    """A source whose `read` gives or raises one thing."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def read(self, size: int = -1) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def rules(max_size: int | None = None, stored: bytes = b"") -> SourceRules:
    """What a store allows."""
    return SourceRules(max_size, timedelta(seconds=5), allow_private=False, open_stored=lambda _: io.BytesIO(stored))


def chunks(content: MediaContent, max_size: int | None = None) -> list[bytes]:
    """The pieces in which a source comes."""
    with open_source(content, rules(max_size)) as source:
        return list(source.chunks)


def read(content: MediaContent, max_size: int | None = None) -> bytes:
    """All bytes of a source."""
    return b"".join(chunks(content, max_size))


def of(data: Any) -> MediaContent:
    """A content of any data."""
    return MediaContent(data=data, mime_type="image/png")


# -- intake ------------------------------------------------------------------------------------------------------


@given(CHUNKS)
def test_an_intake_counts_hashes_and_passes_on(pieces: list[bytes]) -> None:
    stage = Stage()
    intake = HashingWriter(stage, None)
    for number, chunk in enumerate(pieces):
        intake.write(memoryview(chunk) if number % 2 else chunk)
    data = b"".join(pieces)
    assert (intake.size, stage.taken, intake.head) == (len(data), data, data[:HEAD_BYTES])
    assert intake.sha256 == hashlib.sha256(data).hexdigest()


@given(st.lists(st.integers(0, 6000), max_size=6))
def test_the_head_is_the_first_bytes_however_they_come(sizes: list[int]) -> None:
    data = os.urandom(64) * 600
    intake, start = HashingWriter(None, None), 0
    for size in sizes:
        intake.write(data[start : start + size])
        start += size
    assert intake.head == data[: min(start, HEAD_BYTES)]
    assert type(intake.head) is bytes


@given(CHUNKS, st.integers(0, 200))
def test_an_intake_stops_where_it_gets_too_large(pieces: list[bytes], limit: int) -> None:
    stage = Stage()
    intake = HashingWriter(stage, limit)
    total = sum(map(len, pieces))

    def take() -> None:
        for chunk in pieces:
            intake.write(chunk)

    if total > limit:
        with pytest.raises(MediaTooLargeError, match=f"max_file_size of {limit} bytes"):
            take()
        assert len(stage.taken) <= limit
    else:
        take()
        assert len(stage.taken) == total


def test_exactly_the_limit_is_taken() -> None:
    intake = HashingWriter(None, 4)
    intake.write(b"ab")
    intake.write(b"cd")
    intake.write(b"")
    with pytest.raises(MediaTooLargeError):
        intake.write(b"e")


@given(st.binary(max_size=200), st.integers(1, 50), st.none() | st.integers(0, 200), st.booleans())
def test_raw_sound_becomes_a_wav_file_however_it_comes(
    data: bytes, size: int, expected: int | None, told: bool
) -> None:
    stage = Stage()
    intake = WavWriter(stage, None, MONO, len(data) if told else expected)
    for i in range(0, len(data), size):
        intake.write(data[i : i + size])
    intake.finish()
    whole = wav.header(MONO, len(data)) + data
    assert stage.taken == whole
    assert (intake.size, intake.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert intake.head == whole


@given(st.binary(max_size=100), st.integers(1, 50))
def test_what_is_wav_already_is_not_wrapped_twice(data: bytes, size: int) -> None:
    whole = wav.header(MONO, len(data)) + data
    stage = Stage()
    intake = WavWriter(stage, None, wav.PcmFormat(8_000, 2), None)
    for i in range(0, len(whole), size):
        intake.write(whole[i : i + size])
    intake.finish()
    assert stage.taken == whole
    assert intake.sha256 == hashlib.sha256(whole).hexdigest()


def test_the_header_counts_towards_the_limit() -> None:
    intake = WavWriter(Stage(), wav.HEADER_BYTES + 100, MONO, None)
    intake.write(bytes(100))
    with pytest.raises(MediaTooLargeError):
        intake.write(b"x")


# -- in memory ---------------------------------------------------------------------------------------------------


def test_small_bytes_are_those_in_memory_anyway(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"ab")
    assert small_bytes(of(b"ab")) == b"ab"
    assert small_bytes(of("YWI=")) == b"ab"
    assert small_bytes(of(io.BytesIO(b"ab"))) is None
    assert small_bytes(MediaContent.from_path(tmp_path / "x.png")) is None
    assert small_bytes(of(b"")) == b""


@pytest.mark.parametrize("size", [0, 1, 3 * CHUNK_BYTES])
def test_bytes_are_handed_on_as_they_are(size: int) -> None:
    data = b"x" * size
    with open_source(of(data), rules()) as source:
        assert source.data is data
        assert [chunk is data for chunk in source.chunks] == [True]


def test_a_data_url_is_in_memory_too_and_may_tell_its_type() -> None:
    with open_source(
        MediaContent(url="data:image/gif;base64,YWI=", mime_type="application/octet-stream"), rules()
    ) as source:
        assert (source.data, source.size, source.mime_type) == (b"ab", 2, "image/gif")
    with open_source(MediaContent(url="data:image/gif,ab", mime_type="image/png"), rules()) as source:
        assert (source.data, source.mime_type) == (b"ab", None)
    with pytest.raises(MediaTooLargeError):
        read(MediaContent(url="data:image/gif;base64,YWJj", mime_type="image/gif"), 2)


# -- streams -----------------------------------------------------------------------------------------------------


def test_a_stream_is_read_once_from_where_it_stands_in_chunks() -> None:
    stream = Stream(b"skip" + b"x" * (2 * CHUNK_BYTES + 5))
    stream.seek(4)
    with open_source(of(stream), rules()) as source:
        assert source.size == 2 * CHUNK_BYTES + 5
        assert source.data is None
        assert [len(chunk) for chunk in source.chunks] == [CHUNK_BYTES, CHUNK_BYTES, 5]
    assert set(stream.sizes) == {CHUNK_BYTES}
    assert not stream.closed  # the caller's


def test_a_stream_that_gives_less_than_asked_is_read_to_its_end() -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb", buffering=0) as writer, os.fdopen(read_end, "rb", buffering=0) as reader:
        writer.write(b"ab")
        with open_source(of(reader), rules()) as source:
            assert source.size is None
            taken = iter(source.chunks)
            assert next(taken) == b"ab"
            writer.write(b"cd")
            assert next(taken) == b"cd"
            writer.close()
            assert list(taken) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("text", "gives text"), (None, "gives nothing"), (OSError("cable cut"), "OSError: cable cut"),
        (ValueError("I/O operation on closed file"), "closed file"), (OSError("x" * 5000), "OSError: x"),
    ],
)  # fmt: skip
def test_a_stream_that_gives_no_bytes_is_refused(answer: object, reason: str) -> None:
    with pytest.raises(InvalidMediaError, match=reason) as info:
        read(of(Gives(answer)))
    assert "binary mode" in info.value.next_step
    assert len(str(info.value)) < 500
    assert info.value.__cause__ is (answer if isinstance(answer, Exception) else None)


def test_a_closed_stream_is_refused() -> None:
    stream = io.BytesIO(b"ab")
    content = of(stream)
    stream.close()
    with pytest.raises(InvalidMediaError, match="closed"):
        read(content)


# -- files -------------------------------------------------------------------------------------------------------


def test_a_file_is_read_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"x" * (CHUNK_BYTES + 3))
    with open_source(MediaContent.from_path(path), rules(CHUNK_BYTES + 3)) as source:
        assert source.size == CHUNK_BYTES + 3
        assert [len(chunk) for chunk in source.chunks] == [CHUNK_BYTES, 3]
    # An unclosed file would be a ResourceWarning, which is an error here.


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(50 * 2**30)
    with pytest.raises(MediaTooLargeError):
        read(MediaContent.from_path(tmp_path / "x.png"), 10)
    path = tmp_path / "y.png"
    path.write_bytes(b"abc")
    assert read(MediaContent.from_path(path), 3) == b"abc"
    with pytest.raises(MediaTooLargeError):
        read(MediaContent.from_path(path), 2)


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in ("missing.png", "file/x.png"):
        with pytest.raises(MediaNotFoundError, match="check file_path") as info:
            read(MediaContent(file_path=str(tmp_path / path), mime_type="image/png"))
        assert info.value.key == str(tmp_path / path)
    with pytest.raises(InvalidMediaError, match="is a folder"):
        read(MediaContent(file_path=str(tmp_path), mime_type="image/png"))
    for path in ("a\0b", str(tmp_path / ("x" * 300))):
        with pytest.raises(StorageError, match="can't be read"):
            read(MediaContent(file_path=path, mime_type="image/png"))


def test_a_reference_is_opened_in_the_store_that_takes_it() -> None:
    content = MediaContent(storage_reference="runs/r1/x.png", mime_type="image/png")
    asked = []

    def open_stored(reference: str) -> io.BytesIO:
        asked.append(reference)
        return Stream(b"ab")

    with open_source(
        content, SourceRules(None, timedelta(seconds=5), allow_private=False, open_stored=open_stored)
    ) as source:
        assert b"".join(source.chunks) == b"ab"
    assert asked == ["runs/r1/x.png"]


def test_a_content_of_another_store_brings_its_own_way() -> None:
    class Handle:
        def open(self) -> io.BytesIO:
            return stored

    stored = Stream(b"ab" * CHUNK_BYTES)
    content = MediaContent(storage_reference="runs/r1/x.png", mime_type="image/png")
    assert read(content.attach(Handle())) == b"ab" * CHUNK_BYTES  # type: ignore[arg-type]
    assert stored.closed
    assert set(stored.sizes) == {CHUNK_BYTES}
