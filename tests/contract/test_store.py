"""Storing, looked at from outside: what lies in the storage, byte for byte, whatever the source was."""

from __future__ import annotations

import base64
import io
import os
import re
import stat
import threading
from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata, Reference
from tests.contract.specimens import (
    KEEPS_CONTENT_TYPE,
    ON_OBJECT_STORES,
    PNG,
    R1,
    STORE_JSON,
    UNIQUE,
    WAV,
    of_size,
    png,
)

MIB = 2**20


class Trickle:
    """A stream that can't seek and gives a few bytes at a time, whatever it is asked for."""

    def __init__(self, data: bytes, at_most: int = 7) -> None:
        self._rest = memoryview(data)
        self._at_most = at_most

    def read(self, size: int = -1) -> bytes:
        """Read less than asked."""
        size = min(self._at_most, size) if size >= 0 else self._at_most
        given, self._rest = self._rest[:size], self._rest[size:]
        return bytes(given)


def from_file(folder: Path) -> MediaContent:
    path = folder / "picture.png"
    path.write_bytes(PNG)
    return MediaContent(file_path=str(path), mime_type="image/png")


def from_open_file(folder: Path) -> MediaContent:
    path = folder / "picture.png"
    path.write_bytes(b"read already" + PNG)
    file = path.open("rb")
    file.seek(len(b"read already"))
    return MediaContent(data=file, mime_type="image/png")


def from_pipe(_: Path) -> MediaContent:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end:
        end.write(PNG)
    return MediaContent(data=os.fdopen(reading, "rb"), mime_type="image/png")


SOURCES = {
    "bytes": lambda _: MediaContent(data=PNG, mime_type="image/png"),
    "bytearray": lambda _: MediaContent(data=bytearray(PNG), mime_type="image/png"),
    "base64": lambda _: MediaContent(data=base64.b64encode(PNG).decode(), mime_type="image/png"),
    "base64 in lines": lambda _: MediaContent(data=base64.encodebytes(PNG).decode(), mime_type="image/png"),
    "json": lambda _: MediaContent.model_validate_json(png().model_dump_json()),
    "from_bytes": lambda _: MediaContent.from_bytes(PNG),
    "BytesIO": lambda _: MediaContent(data=io.BytesIO(PNG), mime_type="image/png"),
    "file path": from_file,
    "from_path": lambda folder: MediaContent.from_path(from_file(folder).file_path),
    "open file": from_open_file,
    "pipe": from_pipe,
    "short reads": lambda _: MediaContent.from_stream(Trickle(PNG), "image/png"),
    "data before file_path": lambda _: MediaContent(data=PNG, file_path="/nowhere", mime_type="image/png"),
}


def test_every_source_becomes_its_bytes_and_a_sidecar(storage, store, tmp_path):
    for source, make in SOURCES.items():
        content = make(tmp_path)
        reference = store.store_media(content, MediaMetadata(run_id="r1", message_idx=3, part_idx=1))
        assert type(reference) is Reference
        assert re.fullmatch(rf"runs/r1/0003_01_{UNIQUE}\.png", reference), source
        assert storage.keys() == {reference, f"{reference}.meta", STORE_JSON}, source
        assert storage.read(reference) == PNG, source
        if hasattr(content.data, "close"):
            assert not content.data.closed  # it is the caller's
            content.data.close()
        store.delete_media(reference)


def test_a_writer_makes_a_media_at_the_end_of_its_block(storage, store):
    with store.create_media(MediaMetadata(run_id="r1", message_idx=12345, part_idx=678), "audio/wav") as writer:
        assert writer.write(WAV[:5]) == 5
        assert writer.write(bytearray(WAV[5:9])) == 4
        assert writer.write(b"") == 0
        assert writer.write(memoryview(WAV[9:])) == len(WAV) - 9
        keys = storage.keys()
        assert not any(key.endswith(".meta") for key in keys)
        assert list(store.list()) == []
    assert re.fullmatch(rf"runs/r1/12345_678_{UNIQUE}\.wav", writer.reference)
    assert storage.keys() == {writer.reference, f"{writer.reference}.meta", STORE_JSON}
    assert storage.read(writer.reference) == WAV


def test_a_writer_counts_the_bytes_of_wider_items(storage, store):
    numbers = memoryview(bytes(range(64))).cast("I")
    with store.create_media(R1, "application/octet-stream") as writer:
        assert writer.write(numbers) == 64
    assert storage.read(writer.reference) == bytes(range(64))


def test_a_writer_into_which_nothing_was_written_makes_an_empty_media(storage, store):
    with store.create_media(R1, "text/plain") as writer:
        pass
    assert storage.read(writer.reference) == b""
    assert store.info(writer.reference).size_bytes == 0


@pytest.mark.parametrize("size", [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1])
def test_sizes_around_the_bound_of_the_spool(storage, store, spool, size):
    data = of_size(size)
    reference = store.store_media(MediaContent.from_stream(io.BytesIO(data), "video/mp4"), R1)
    assert storage.read(reference) == data
    assert store.info(reference).size_bytes == size
    assert list(spool.iterdir()) == []
    if storage.name in KEEPS_CONTENT_TYPE:
        assert storage.content_type(reference) == "video/mp4"


def test_twenty_megabytes_in_one_piece_and_in_uneven_pieces(storage, store, spool):
    data = of_size(20_000_000)
    whole = store.store_media(MediaContent(data=data, mime_type="video/mp4"), R1)
    assert storage.read(whole) == data
    with store.create_media(R1, "video/mp4") as writer:
        for start in range(0, len(data), 3_333_333):
            writer.write(data[start : start + 3_333_333])
    assert storage.read(writer.reference) == data
    assert list(spool.iterdir()) == []


def test_a_spooled_media_is_private_while_it_waits(storage, store, spool):
    with store.create_media(R1, "video/mp4") as writer:
        writer.write(of_size(9 * MIB))
        modes = [stat.S_IMODE(file.stat().st_mode) for file in spool.iterdir()]
        assert modes == ([0o600] if storage.name != "local" else [])
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize("storage", sorted(KEEPS_CONTENT_TYPE), indirect=True)
def test_object_stores_know_the_content_type(storage, store):
    picture = store.store_media(png(), R1)
    text = store.store_media(MediaContent.from_text("é", "text/plain; charset=utf-8"), R1)
    assert storage.content_type(picture) == "image/png"
    assert storage.content_type(text) == "text/plain; charset=utf-8"
    assert storage.content_type(f"{picture}.meta") == "application/json"
    assert storage.content_type(STORE_JSON) == "application/json"


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_files_are_for_the_owner_and_folders_for_the_group(local_storage, umask):
    from fsmedia import MediaStore

    before = os.umask(umask)
    try:
        store = MediaStore(local_storage.url)
        store.store_media(png(), R1)
        with store.create_media(MediaMetadata(run_id="r2"), "image/png") as writer:
            writer.write(PNG)
            temporary = [path for path in Path(store.url).rglob("*") if path.name.startswith(".")]
            assert {stat.S_IMODE(path.stat().st_mode) for path in temporary if path.is_file()} == {0o600}
    finally:
        os.umask(before)
    found = [Path(local_storage.url), *Path(local_storage.url).rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o750}


def test_what_the_caller_handed_in_is_not_changed(store):
    content, metadata = png(caption="as it was"), MediaMetadata(run_id="r1", mime_type="image/gif")
    before = content.model_dump(), metadata.model_dump()
    store.store_media(content, metadata)
    with store.create_media(metadata, "image/png") as writer:
        writer.write(PNG)
    assert (content.model_dump(), metadata.model_dump()) == before


@pytest.mark.parametrize(
    ("mime_type", "extension"),
    [
        ("application/pdf", ".pdf"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".docx"),
        ("application/json", ".json"),
        ("application/json; charset=utf-8", ".json"),
        ("image/svg+xml", ".svg"),
        ("image/heic", ".heic"),
        ("IMAGE/JPEG", ".jpg"),
        ("audio/opus", ".opus"),
        ("audio/webm;codecs=opus", ".weba"),
        ("application/x-of-no-table", ".bin"),
        ("application/vnd.of-no-table+json", ".json"),
    ],
)
def test_the_extension_follows_the_mime_type(memory_storage, mime_type, extension):
    from fsmedia import MediaStore

    store = MediaStore(memory_storage.url)
    reference = store.store_media(MediaContent(data=b"{}", mime_type=mime_type), R1)
    assert re.fullmatch(rf"runs/r1/0000_00_{UNIQUE}{re.escape(extension)}", reference)
    assert store.info(reference).mime_type == mime_type
    assert store.retrieve_media(reference).mime_type == mime_type


def test_the_same_bytes_twice_are_two_media(storage, store):
    first, second = store.store_media(png(), R1), store.store_media(png(), R1)
    assert first != second
    store.delete_media(first)
    assert storage.keys() == {second, f"{second}.meta", STORE_JSON}


def test_bytes_are_stored_before_the_sidecar_that_makes_them_visible(object_storage):
    from fsmedia import MediaStore

    store = MediaStore(object_storage.url, storage_options=object_storage.options).create()
    with object_storage.counted() as requests:
        reference = store.store_media(png(), R1)
    assert requests == {"put": 2}
    if object_storage.name in ON_OBJECT_STORES[:2]:  # GCS has the key in the body
        written = [call.key for call in requests.calls]
        assert written == [f"{object_storage.prefix}{reference}", f"{object_storage.prefix}{reference}.meta"]


def test_a_reader_of_a_folder_never_sees_half_of_a_media(local_storage):
    """Between the first byte and the end of the block nothing but a temporary name lies in the folder."""
    from fsmedia import MediaStore

    store = MediaStore(local_storage.url)
    seen: set[str] = set()
    with store.create_media(R1, "video/mp4") as writer:
        writer.write(of_size(3 * MIB))
        seen |= local_storage.keys()
    assert all(re.fullmatch(rf"runs/r1/\.tmp-{UNIQUE}", key) for key in seen)
    assert len(seen) == 1


def test_a_long_upload_is_no_media_for_other_threads(memory_storage):
    from fsmedia import MediaStore

    store = MediaStore(memory_storage.url).create()
    listed: list[list[str]] = []
    with store.create_media(R1, "image/png") as writer:
        writer.write(PNG)
        thread = threading.Thread(target=lambda: listed.append(list(MediaStore(memory_storage.url).list())))
        thread.start()
        thread.join(30)
    assert listed == [[]]
    assert list(store.list()) == [writer.reference]
