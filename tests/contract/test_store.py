"""Storing, looked at from outside: what lies in the storage, byte for byte, and what stands in a sidecar."""

import base64
import copy
import hashlib
import io
import json
import os
import pickle
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaRecord, MediaStore, Reference, RetentionPolicy
from fsmedia.errors import InvalidMediaError
from fsmedia.models import mime
from tests.conftest import on, storages
from tests.contract.specimens import PNG, R1, STORE_JSON, UNIQUE, WAV, Trickle, of_size, png, put, raised, written
from tests.storages import ALL_STORAGES, GCS, LOCAL, OBJECT_STORAGES, S3_MOTO, S3_RCLONE

MIB = 2**20
NOW = "2026-03-04T05:06:07.890123Z"
SHA = hashlib.sha256(PNG).hexdigest()
storage = storages(LOCAL, S3_RCLONE)


def from_file(folder, before=b""):
    path = folder / "picture.png"
    path.write_bytes(before + PNG)
    return MediaContent(file_path=str(path), mime_type="image/png")


def from_open_file(folder):
    file = open(from_file(folder, b"read already").file_path, "rb")  # noqa: SIM115 - whoever stores it closes it
    file.seek(len(b"read already"))
    return png(data=file)


def from_pipe(_):
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as end:
        end.write(PNG)
    return png(data=os.fdopen(reading, "rb"))


SOURCES = {
    "bytes": lambda _: png(),
    "bytearray": lambda _: png(data=bytearray(PNG)),
    "base64": lambda _: png(data=base64.b64encode(PNG).decode()),
    "base64 in lines": lambda _: png(data=base64.encodebytes(PNG).decode()),
    "json": lambda _: MediaContent.model_validate_json(png().model_dump_json()),
    "from_bytes": lambda _: MediaContent.from_bytes(PNG),
    "BytesIO": lambda _: png(data=io.BytesIO(PNG)),
    "file path": from_file,
    "from_path": lambda folder: MediaContent.from_path(from_file(folder).file_path),
    "open file": from_open_file,
    "pipe": from_pipe,
    "short reads": lambda _: MediaContent.from_stream(Trickle(PNG), "image/png"),
    "data before file_path": lambda _: png(file_path="/nowhere"),
}


@on(*ALL_STORAGES)
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


@on(*ALL_STORAGES)
def test_a_writer_makes_a_media_at_the_end_of_its_block(storage, store):
    with store.create_media(MediaMetadata(run_id="r1", message_idx=12345, part_idx=678), "audio/wav") as writer:
        assert writer.write(WAV[:5]) == 5
        assert writer.write(bytearray(WAV[5:9])) == 4
        assert writer.write(b"") == 0
        assert writer.write(memoryview(WAV[9:])) == len(WAV) - 9
        assert not any(key.endswith(".meta") for key in sorted(storage.keys()))
        assert list(store.list()) == []
    assert re.fullmatch(rf"runs/r1/12345_678_{UNIQUE}\.wav", writer.reference)
    assert storage.keys() == {writer.reference, f"{writer.reference}.meta", STORE_JSON}
    assert storage.read(writer.reference) == WAV


def test_a_writer_counts_the_bytes_of_wider_items_and_makes_an_empty_media_of_nothing(storage, store):
    numbers = memoryview(bytes(range(64))).cast("I")
    with store.create_media(R1, "application/octet-stream") as writer:
        assert writer.write(numbers) == 64
    assert storage.read(writer.reference) == bytes(range(64))
    empty = written(store, mime_type="text/plain")
    assert (storage.read(empty), store.info(empty).size_bytes) == (b"", 0)


def test_sizes_around_the_bound_of_the_spool(storage, store, spool):
    for size in (0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1):
        data = of_size(size)
        reference = store.store_media(MediaContent.from_stream(io.BytesIO(data), "video/mp4"), R1)
        assert storage.read(reference) == data, size
        assert store.info(reference).size_bytes == size
        assert list(spool.iterdir()) == []
        if storage.name in (S3_MOTO, GCS):
            assert storage.content_type(reference) == "video/mp4"


@on(LOCAL, S3_RCLONE, GCS)
def test_twenty_megabytes_in_one_piece_and_in_uneven_pieces(storage, store, spool):
    data = of_size(20_000_000)
    whole = store.store_media(MediaContent(data=data, mime_type="video/mp4"), R1)
    assert storage.read(whole) == data
    with store.create_media(R1, "video/mp4") as writer:
        for start in range(0, len(data), 3_333_333):
            writer.write(data[start : start + 3_333_333])
        modes = [stat.S_IMODE(file.stat().st_mode) for file in spool.iterdir()]
        named = storage.name != LOCAL and not Path("/proc/self/fd").exists()
        assert modes == ([0o600] if named else []), "private while it waits, or without a name"
    assert storage.read(writer.reference) == data
    assert list(spool.iterdir()) == []


@on(S3_MOTO, GCS, of=(S3_MOTO, GCS))
def test_object_stores_know_the_content_type(storage, store):
    picture, text = put(store), put(store, "r1", MediaContent.from_text("é", "text/plain; charset=utf-8"))
    types = {picture: "image/png", text: "text/plain; charset=utf-8"}
    types |= dict.fromkeys((f"{picture}.meta", STORE_JSON), "application/json")
    assert {key: storage.content_type(key) for key in types} == types


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_files_are_for_the_owner_and_folders_for_the_group(local_storage, umask):
    def modes(paths, kind):
        return {stat.S_IMODE(path.stat().st_mode) for path in paths if kind(path)}

    before, root = os.umask(umask), Path(local_storage.url)
    try:
        store = MediaStore(local_storage.url)
        put(store)
        with store.create_media(MediaMetadata(run_id="r2"), "image/png") as writer:
            writer.write(PNG)
            assert modes([path for path in root.rglob("*") if path.name.startswith(".")], Path.is_file) == {0o600}
    finally:
        os.umask(before)
    found = [root, *root.rglob("*")]
    assert (modes(found, Path.is_file), modes(found, Path.is_dir)) == ({0o600}, {0o750})


EXTENSIONS = {
    "application/json; charset=utf-8": ".json", "image/svg+xml": ".svg", "IMAGE/JPEG": ".jpg", "image/heic": ".heic",
    "audio/opus": ".opus", "audio/webm;codecs=opus": ".weba", "application/x-of-no-table": ".bin",
    "application/vnd.of-no-table+json": ".json",
}  # fmt: skip


def test_the_extension_follows_the_mime_type(memory_storage):
    store = MediaStore(memory_storage.url)
    for mime_type, extension in EXTENSIONS.items():
        reference = put(store, "r1", png(data=b"{}", mime_type=mime_type))
        assert re.fullmatch(rf"runs/r1/0000_00_{UNIQUE}{re.escape(extension)}", reference)
        assert store.info(reference).mime_type == store.retrieve_media(reference).mime_type == mime_type


def test_nobody_sees_half_of_a_media_or_a_long_upload(local_storage, memory_storage):
    """Between the first byte and the end of the block nothing but a temporary name lies in the folder."""
    with MediaStore(local_storage.url).create_media(R1, "video/mp4") as writer:
        writer.write(of_size(3 * MIB))
        (seen,) = local_storage.keys()
    assert re.fullmatch(rf"runs/r1/\.tmp-{UNIQUE}", seen)
    store = MediaStore(memory_storage.url).create()
    with store.create_media(R1, "image/png") as writer, ThreadPoolExecutor(1) as pool:
        writer.write(PNG)
        assert pool.submit(lambda: list(MediaStore(memory_storage.url).list())).result(30) == []
    assert list(store.list()) == [writer.reference]


# Sidecars, read as any other program would.
def stored(storage, content=PNG, store=None, **fields):
    """Store a picture in a new store; return its sidecar."""
    reference = put(store or MediaStore(storage.url), fields.pop("run_id", ""), content, **fields)
    return json.loads(storage.read(f"{reference}.meta"))


def test_a_full_sidecar_has_promptkits_names_in_their_order_and_its_record_all_that_is_known(storage, store):
    """Its text, letter by letter, stands in the unit tests of sidecars."""
    ids = {"run_id": "r/1", "conversation_id": "c1", "session_id": "s1", "message_idx": 3, "part_idx": 1}
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    metadata = MediaMetadata(**ids, provider_id="openai", timestamp=when, policy_name="retain-7days")
    content = {"format": "png", "detail": "high", "caption": 'ein Bär "ü"\n', "duration": 1.5, "bit_rate": 1}
    content |= {"channels": 2, "width": 640, "height": 480, "fps": 25}
    reference = store.store_media(png(**content), metadata)
    expected = {
        **ids, "mime_type": "image/png", "size_bytes": len(PNG), "provider_id": "openai",
        "timestamp": "2026-01-02T01:04:05Z", "policy_name": "retain-7days", "sha256": SHA,
        "expires_at": "2026-01-09T01:04:05Z", "content": content, "fsmedia": 1,
    }  # fmt: skip
    text = storage.read(f"{reference}.meta").decode()
    assert text == json.dumps(expected, indent=2, ensure_ascii=False)
    record = store.info(reference)
    flat = {**expected, **content, "timestamp": when, "expires_at": when + timedelta(days=7), "reference": reference}
    flat |= {"detected_mime_type": None, "xattrs": {}}
    wanted = {name: value for name, value in flat.items() if name not in ("content", "fsmedia")}
    assert {name: getattr(record, name) for name in wanted} == wanted
    assert (type(record), type(record.reference)) == (MediaRecord, Reference)
    assert record.timestamp.utcoffset() == timedelta(0)


@on(*ALL_STORAGES)
def test_what_was_not_said_is_left_out(storage, store):
    reference = store.store_media(png(), R1)
    expected = f"""{{
  "run_id": "r1",
  "message_idx": 0,
  "part_idx": 0,
  "mime_type": "image/png",
  "size_bytes": {len(PNG)},
  "timestamp": "{NOW}",
  "sha256": "{SHA}",
  "fsmedia": 1
}}"""
    assert storage.read(f"{reference}.meta").decode() == expected


def test_run_id_stands_in_it_even_where_it_is_empty_and_size_digest_and_type_are_those_of_the_content(memory_storage):
    store = MediaStore(memory_storage.url, organization="by-session")
    said = {"session_id": "s1", "size_bytes": 12, "mime_type": "image/x-png"}
    found = stored(memory_storage, png(size_kb=77), store, **said)
    assert list(found)[:4] == ["run_id", "session_id", "message_idx", "part_idx"]
    assert found == found | {"run_id": "", "size_bytes": len(PNG), "sha256": SHA, "mime_type": "image/png"}


def test_a_written_media_has_the_same_sidecar_as_a_stored_one(storage, store):
    """And what the caller handed in is not changed."""
    content = png()
    said = {"provider_id": "p", "policy_name": "retain-2hours", "size_bytes": 999, "mime_type": "image/x-png"}
    metadata = MediaMetadata(run_id="r1", **said)
    before = content.model_dump(), metadata.model_dump()
    whole = store.store_media(content, metadata)
    with store.create_media(metadata, "image/png") as writer:
        for byte in PNG:
            writer.write(bytes([byte]))
    assert storage.read(f"{whole}.meta") == storage.read(f"{writer.reference}.meta")
    assert (content.model_dump(), metadata.model_dump()) == before


ZEROS = (None, 0, "0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC))


def test_no_timestamp_in_any_spelling_is_the_clock_which_is_asked_for_each_media(memory_storage, clock):
    store = MediaStore(memory_storage.url, now=clock)
    for zero in ZEROS:  # Go's, the year 1, Unix's
        found = stored(memory_storage, store=store, run_id="r1", timestamp=zero, policy_name="delete-after-90min")
        assert (found["timestamp"], found["expires_at"]) == (NOW, "2026-03-04T06:36:07.890123Z"), zero
    first = put(store)
    clock.advance(timedelta(days=1))
    second = put(store)
    assert json.loads(memory_storage.read(f"{second}.meta"))["timestamp"] == "2026-03-05T05:06:07.890123Z"
    assert first < second  # names sort by time


POLICY_ORDER = [
    # metadata, content, default -> the one that counts
    ("retain-1days", "retain-2days", "retain-3days", "retain-1days"),
    (None, "retain-2days", "retain-3days", "retain-2days"),
    ("", "retain-2days", "retain-3days", "retain-2days"),
    (None, None, "retain-3days", "retain-3days"),
    (None, "", "retain-3days", "retain-3days"),
    ("retain-1days", None, None, "retain-1days"),
    (None, None, None, None),
]


def test_metadata_then_content_then_default_say_the_policy(memory_storage, clock):
    for number, (of_metadata, of_content, default, counts) in enumerate(POLICY_ORDER):
        place = replace(memory_storage, url=f"{memory_storage.url}/{number}")
        store = MediaStore(place.url, default_policy=default, now=clock)
        found = [stored(place, png(policy_name=of_content), store, run_id="r1", policy_name=of_metadata)]
        if of_content is None:
            with store.create_media(MediaMetadata(run_id="r1", policy_name=of_metadata), "image/png") as writer:
                writer.write(PNG)
            found.append(json.loads(place.read(f"{writer.reference}.meta")))
        expires_at = f"2026-03-0{4 + int(counts[7])}T05:06:07.890123Z" if counts else None
        told = {(each.get("policy_name"), each.get("expires_at")) for each in found}
        assert told == {(counts, expires_at)}, POLICY_ORDER[number]


def test_named_policies_and_keep_for_ever(memory_storage, clock):
    policies = [RetentionPolicy(name="audit", keep_for=timedelta(days=365)), RetentionPolicy(name="legal")]
    for settings in ({"policies": policies}, {}):  # they stand in the store
        store = MediaStore(memory_storage.url, **settings, now=clock)
        for name, expires_at in {"audit": "2027-03-04T05:06:07.890123Z", "legal": None, "retain": None}.items():
            found = stored(memory_storage, store=store, run_id="r1", policy_name=name)
            assert (found["policy_name"], found.get("expires_at")) == (name, expires_at)


@pytest.mark.parametrize(
    ("declared", "data", "detected"),
    [("image/jpeg", PNG, "image/png"), ("image/png", b"no picture at all\n", "text/plain"), ("image/png", PNG, None),
     ("application/octet-stream", PNG, None)],
)  # fmt: skip
def test_a_mime_type_that_the_bytes_contradict_is_noted_and_not_refused(memory_storage, declared, data, detected):
    store = MediaStore(memory_storage.url)
    whole = put(store, "r1", MediaContent(data=data, mime_type=declared, caption="c"))
    in_pieces = written(store, *(bytes([byte]) for byte in data), mime_type=declared)
    for reference in (whole, in_pieces):
        found = json.loads(memory_storage.read(f"{reference}.meta"))
        assert (found["mime_type"], found.get("detected_mime_type")) == (declared, detected)
        assert store.info(reference).detected_mime_type == detected
    # It stands after what PromptKit knows.
    names = ["run_id", "message_idx", "part_idx", "mime_type", "size_bytes", "timestamp", "sha256"]
    names += [*(["detected_mime_type"] if detected else []), "content", "fsmedia"]
    assert list(json.loads(memory_storage.read(f"{whole}.meta"))) == names


def texts(kind=None, text="hi"):
    return MediaContent.from_text(text, kind)


UTF8 = "text/plain;charset=utf-8"
OCTETS = "application/octet-stream"
AS_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
WHAT_WAS_SAID = {
    "a guess of bytes": (lambda: MediaContent.from_bytes(PNG), "image/apng", "image/apng"),
    "a guess that is wrong": (lambda: MediaContent.from_bytes(PNG), "image/jpeg", "image/jpeg"),
    "a guess, though nothing is said of the bytes": (lambda: MediaContent.from_bytes(PNG), OCTETS, OCTETS),
    "a guess of a stream": (lambda: MediaContent.from_stream(io.BytesIO(PNG)), "image/apng", "image/apng"),
    "a guess of an URL": (lambda: MediaContent.from_url(AS_URL), "image/apng", "image/apng"),
    "what an URL says of itself": (lambda: MediaContent(url=AS_URL, mime_type=OCTETS), "image/apng", "image/apng"),
    "text": (texts, "text/markdown", "text/markdown"),
    "json": (lambda: MediaContent.from_json({"type": "Point"}), "application/geo+json", "application/geo+json"),
    "a copy": (lambda: MediaContent.from_bytes(PNG).model_copy(update={"caption": "c"}), "image/apng", "image/apng"),
    "a pickle": (lambda: pickle.loads(pickle.dumps(texts())), "text/markdown", "text/markdown"),
    "a deep copy": (lambda: copy.deepcopy(texts()), "text/markdown", "text/markdown"),
    "nothing in the metadata": (lambda: MediaContent.from_bytes(PNG), "", "image/png"),
    "a guess that says more": (lambda: MediaContent.from_url(f"data:{UTF8},hi"), "text/plain", UTF8),
    "the same": (lambda: texts("text/plain"), "Text/Plain", "text/plain"),
    "another spelling": (png, "image/x-png", "image/png"),
    "parameters here": (lambda: texts(UTF8), "text/plain", UTF8),
    "parameters there": (lambda: texts("text/plain"), UTF8, UTF8),
    "the same parameters": (lambda: texts(UTF8), 'text/plain; charset="UTF-8"', UTF8),
    "unknown there": (png, OCTETS, "image/png"),
    "unknown here": (lambda: png(mime_type=OCTETS), "image/apng", "image/apng"),
    "raw sound": (lambda: MediaContent.from_bytes(bytes(8)), "audio/pcm;rate=8000", "audio/wav"),
    "sound that becomes WAV": (lambda: MediaContent(data=bytes(8), mime_type="audio/L16"), "audio/wav", "audio/wav"),
    "two that differ": (lambda: MediaContent.from_bytes(PNG, "image/png"), "image/jpeg", None),
    "what its maker wrote": (lambda: MediaContent(data=PNG, mime_type="image/png"), "image/jpeg", None),
    "other parameters": (lambda: texts(UTF8), "text/plain;charset=utf-16", None),
    "a copy of another type": (lambda: texts().model_copy(update={"mime_type": "text/csv"}), "text/markdown", None),
}


@pytest.mark.parametrize(("make", "said", "stored"), WHAT_WAS_SAID.values(), ids=WHAT_WAS_SAID)
def test_a_type_that_was_said_wins_over_a_guess_and_two_that_differ_are_refused(memory_storage, make, said, stored):
    store, metadata = MediaStore(memory_storage.url), MediaMetadata(run_id="r1", mime_type=said)
    if stored is None:
        named = rf"{re.escape(make().mime_type)}.*{re.escape(said)}"
        raised(InvalidMediaError, store.store_media, make(), metadata, match=named)
        [error] = store.store_many([(make(), metadata)], on_error="return")
        assert re.search(named, str(error))
        assert memory_storage.keys() == set()
        return
    references = [store.store_media(make(), metadata), *store.store_many([(make(), metadata)])]
    for reference in references:
        assert json.loads(memory_storage.read(f"{reference}.meta"))["mime_type"] == stored
        assert reference.endswith(mime.extension_for(stored))


def test_what_a_store_told_was_not_said_by_whoever_stores_it_again(memory_storage):
    store = MediaStore(memory_storage.url)
    old = put(store)
    back, record = store.retrieve_media(old), store.info(old)
    assert store.info(put(store, content=back, mime_type="image/apng")).mime_type == "image/apng"
    for content, kind in ((back, "image/png"), (texts(), "text/plain"), (texts("text/csv"), "text/csv")):
        assert store.info(store.store_media(content, record)).mime_type == kind
    with pytest.raises(InvalidMediaError, match=r"image/jpeg.*image/png"):
        store.create_media(MediaMetadata(run_id="r1", mime_type="image/png"), "image/jpeg")


@on(S3_RCLONE, GCS, of=OBJECT_STORAGES)
def test_nothing_secret_lies_in_a_store(storage, store):
    put(store)
    secrets = [secret for name in ("key", "secret") if (secret := getattr(storage.server, name, "").encode())]
    contents = storage.contents()
    assert STORE_JSON in contents
    assert not [key for key, data in contents.items() for secret in secrets if secret in data]
