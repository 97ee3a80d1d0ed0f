"""Damage: corrupt sidecars, halves of media, a store.json that can't be read. Said readably, and never made worse.

And bytes on their way back: what is read is what was stored, or an error says that it is not. What a test shows by
damaged bytes it shows a second time with the checks off: then the damage must come through, or it would see nothing.
"""

import hashlib
import io
import json
import logging
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from fsmedia import MediaContent, MediaFileSystem, MediaMetadata, MediaStore, errors
from fsmedia.core import records
from fsmedia.format import keys
from tests.conftest import on, storages
from tests.contract.specimens import PNG, R1, STORE_JSON, png, put, raised, traces, with_sidecars
from tests.protocol.wire import costs
from tests.servers import WrongAnswer
from tests.storages import FILE_SERVERS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE, ObjectStorage

storage = storages(LOCAL, MEMORY, S3_RCLONE)
GOOD = {"run_id": "r1", "message_idx": 0, "part_idx": 0, "mime_type": "image/png", "size_bytes": 4, "fsmedia": 1}
SIDECARS = {
    "garbage": b"\x00\xff\xfe garbage", "truncated": json.dumps(GOOD).encode()[:-20], "two documents": b"{}{}",
    "null": b"null", "latin-1": '{"run_id": "é"}'.encode("latin-1"),
    "not a number": b'{"run_id": "r1", "content": {"duration": NaN}}',
    "deep": b'{"xattrs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a newer format": {"fsmedia": 2}, "index a text": {"message_idx": "three"}, "expires_at a list": {"expires_at": []},
    "width a text": {"content": {"width": "wide"}}, "xattrs a list": {"xattrs": [1]},
}  # fmt: skip
"""What is damaged, or what stands in an otherwise good sidecar; more is in the unit tests of sidecars."""


def test_a_corrupt_sidecar_names_its_media_and_hides_no_bytes(storage, store, caplog):
    neighbour = store.store_media(png(), R1)
    damaged = {}
    for number, (name, data) in enumerate(SIDECARS.items()):
        reference = f"runs/r1/0000_00_u{number:026}.png"
        storage.write(reference, PNG)
        storage.write(f"{reference}.meta", data if isinstance(data, bytes) else json.dumps({**GOOD, **data}).encode())
        damaged[reference] = name
    before = storage.keys()
    for reference, name in damaged.items():
        for read in (store.info, store.retrieve_media):
            error = raised(errors.CorruptSidecarError, read, reference)
            assert error.reference == reference, name
            assert reference in str(error), name
            assert "; " in str(error), name
            assert len(str(error)) < 500, name
            assert isinstance(error, ValueError)
        assert store.exists(reference) is True
        with store.open(reference) as file:
            assert file.read() == PNG
    everything = sorted([neighbour, *damaged])
    assert list(store.list()) == list(store.list(run_id="r1")) == everything
    with caplog.at_level(logging.WARNING, "fsmedia"):
        assert list(store.list(mime_type="image/png")) == everything  # by their names
    assert all(any(reference in message for message in caplog.messages) for reference in damaged)
    assert storage.keys() == before
    for reference in damaged:
        store.delete_media(reference)
    assert storage.keys() == {STORE_JSON, *with_sidecars(neighbour)}


def test_a_sidecar_of_megabytes_is_not_one_of_ours(storage, store):
    key = "runs/r1/x.png"
    storage.write(key, PNG)
    storage.write(f"{key}.meta", b'{"run_id": "' + b"x" * (5 << 20) + b'"}')
    assert len(str(raised(errors.CorruptSidecarError, store.info, key, match=r"runs/r1/x\.png: .*larger"))) < 500
    assert list(store.list()) == [key]
    with store.open(key) as file:
        assert file.read() == PNG


def test_what_must_be_small_is_read_by_a_bounded_range(storage, store):
    """A hold that is too large holds; other records are refused by name; quarantine gets all of a sidecar."""
    reference = store.store_media(png(), R1)
    limit = keys.MAX_SIDECAR_BYTES
    storage.write(keys.hold_key(reference), b"{" + b" " * 2 * limit)
    assert "can't be read" in str(raised(errors.HeldMediaError, store.delete_media, reference))
    backend = store._backend
    assert len(backend.read(keys.hold_key(reference))) == limit + 1
    storage.remove(keys.hold_key(reference))
    storage.write(f"{reference}.meta", b"")
    assert backend.read(f"{reference}.meta") == b""
    large = b'{"run_id": "r1"}' + b" " * 2 * limit
    storage.write(f"{reference}.meta", large)
    assert len(backend.read(f"{reference}.meta")) == limit + 1
    assert "sidecar" in {
        each.kind for each in store.verify(repair=True, grace=timedelta(0), nobody_writes=True).findings
    }
    assert large in [data for key, data in storage.contents().items() if key.startswith(keys.QUARANTINE)]
    storage.write(STORE_JSON, json.dumps({"fsmedia": 1}).encode() + b" " * keys.MAX_SETTINGS_BYTES)
    error = raised(
        errors.StorageError, lambda: MediaStore(storage.url, storage_options=storage.options).info(reference)
    )
    assert error.key == STORE_JSON
    assert "larger than 1048576 bytes" in str(error)


def test_what_promptkit_left_out_is_no_damage(storage, store):
    store.create()
    theirs = {name: value for name, value in GOOD.items() if name != "fsmedia"}
    sidecars = {
        "runs/r1/none.wav": {},
        "runs/r1/nulls.wav": dict.fromkeys([*theirs, "timestamp", "content", "xattrs"]),
        "runs/r1/zeros.wav": {"run_id": "r1", "size_bytes": 0, "timestamp": "0001-01-01T00:00:00Z"},
        "runs/r1/unknown.wav": {"run_id": "r1", "policy_name": "retain-5weeks", "colour": "red", "content": {"a": 1}},
        "runs/r1/nanoseconds.wav": {"run_id": "r1", "timestamp": "2026-01-02T03:04:05.123456789+02:00"},
        "runs/r1/a.png": {**theirs, "timestamp": "2026-01-02T03:04:05Z", "policy_name": "retain-1days"},
    }
    for key, values in sidecars.items():
        storage.write(key, PNG)
        storage.write(f"{key}.meta", json.dumps(values).encode())
        record = store.info(key)
        assert (record.mime_type, record.size_bytes) == ("image/png" if "png" in key else "audio/wav", len(PNG))
        assert record.timestamp is not None
    exact = datetime(2026, 1, 2, 1, 4, 5, 123456, tzinfo=UTC)
    assert store.info("runs/r1/nanoseconds.wav").timestamp == exact
    assert store.info("runs/r1/unknown.wav").expires_at is None
    # And what it wrote expires by its policy.
    assert store.info("runs/r1/a.png").expires_at == datetime(2026, 1, 3, 3, 4, 5, tzinfo=UTC)
    assert list(store.list(expires_before=datetime(2026, 2, 1, tzinfo=UTC))) == ["runs/r1/a.png"]


def test_half_a_media_is_none(storage, store):
    """Bytes of our own form without a sidecar, a sidecar without bytes, and bytes that go while they are read."""
    bare, told, going = (put(store) for _ in range(3))
    assert store.exists(bare) is store.exists(told) is True
    storage.remove(f"{bare}.meta")
    storage.remove(told)
    content = store.retrieve_media(going)
    storage.remove(going)
    for words in ({}, {"run_id": "r1"}, {"mime_type": "image/*"}):
        assert list(store.list(**words)) == []
    for reference, reads in ((bare, ()), (told, (store.open,))):
        assert store.exists(reference) is False
        for read in (store.info, store.retrieve_media, *reads):
            assert raised(errors.MediaNotFoundError, read, reference).reference == reference
    assert storage.read(bare) == PNG
    raised(errors.MediaNotFoundError, content.read_bytes)


SETTINGS = {
    "empty": b"", "garbage": b"\xff\x00", "truncated": b'{"fsmedia": 1, "organ', "deep": b"[" * 100_000,
    "another program's": b'{"name": "store"}', "organization unknown": {"organization": "by-user"},
    "layouts a list": {"layouts": ["x"]}, "policies a list": {"policies": ["x"]},
    "layouts out of the root": {"layouts": {"by-run": "../{run_id}/{name}{ext}"}},
    "policy for too long": {"policies": {"audit": {"keep_for_seconds": 1e300}}},
    "default policy unknown": {"default_policy": "audit"}, "default policy a list": {"default_policy": []},
}  # fmt: skip
"""The same of settings; more is in the unit tests of settings."""
NEWER = {
    "a newer format": {"fsmedia": 2, "organization": "by-run"},
    "a setting of tomorrow": {"organization": "by-run", "encryption": "aes"},
}


@pytest.mark.parametrize(
    ("cases", "error_kind", "step"),
    [(SETTINGS, errors.StorageError, "restore it"),
     (NEWER, errors.StoreConflictError, "pip install --upgrade fsmedia")],
    ids=["damaged", "newer"],
)  # fmt: skip
def test_settings_that_can_not_be_read_are_said_and_left_as_they_are(storage, open_store, cases, error_kind, step):
    for name, data in cases.items():
        storage.write(STORE_JSON, data if isinstance(data, bytes) else json.dumps({"fsmedia": 1, **data}).encode())
        before = traces(storage)
        error = raised(error_kind, open_store)
        assert traces(storage) == before
        assert error.key == STORE_JSON
        assert str(error).startswith(f"{STORE_JSON}: "), name
        assert "; " in str(error), name
        assert step in str(error), name
        assert len(str(error)) < 500, name


def test_a_moved_away_store_json_leaves_the_media_readable(storage, open_store):
    reference = open_store().store_media(png(), R1)
    storage.write(STORE_JSON, b"garbage")
    raised(errors.MediaError, open_store)
    storage.remove(STORE_JSON)
    store = open_store()
    assert list(store.list()) == [reference]
    second = store.store_media(MediaContent.from_text("x"), MediaMetadata(run_id="r1"))
    assert list(store.list(run_id="r1")) == sorted([reference, second])
    assert json.loads(storage.read(STORE_JSON))["fsmedia"] == 1


# Bytes on their way back.
DATA = bytes(range(256)) * 80
LARGE = bytes(range(256)) * 2_400
FLIPPED = DATA[:-1] + bytes([DATA[-1] ^ 1])
PAGE = b"<html><head><title>We are down</title></head><body>Try again later.</body></html>"
NAMED = "runs/r1/made-by-a-client.bin"
ON_MOTO = on(S3_MOTO, of=(S3_MOTO,))  # the server that can be told what to answer


def copied(store, reference):
    target = io.BytesIO()
    store.fs.get_file(reference, target)
    return target.getvalue()


def by(read, opened="open"):
    """Return a way to read a media by its file."""

    def way(store, reference):
        with (store.fs if opened == "media://" else store).open(reference) as file:
            return bytes(read(file))

    return way


def in_pieces(size):
    return lambda file: b"".join(iter(lambda: file.read(size), b""))


def into_buffers(file):
    found, buffer = b"", bytearray(5_000)
    while number := file.readinto(buffer):
        found += buffer[:number]
    return found


def head_first(file):
    """Read as libraries of pictures do: some bytes, the size, and all of it from the start."""
    file.read(20)
    file.seek(0, io.SEEK_END)
    file.seek(0)
    return file.read()


WAYS = {
    "read_bytes": lambda store, reference: store.retrieve_media(reference).read_bytes(),
    "read": lambda store, reference: store.read(reference),
    "stream": lambda store, reference: b"".join(store.stream(reference)),
    "open": by(in_pieces(10**6)),
    "open().read()": by(lambda file: file.read()),
    "in pieces": by(in_pieces(7_000)),
    "readinto": by(into_buffers),
    "lines": by(b"".join),
    "head first": by(head_first),
    "media:// open": by(in_pieces(7_000), "media://"),
    "media:// cat": lambda store, reference: store.fs.cat(reference),
    "media:// cat_file": lambda store, reference: store.fs.cat_file(reference),
    "media:// get to a file object": copied,
}
KINDS = ("plain", "deduplicated", "a client's name")


@pytest.fixture(params=KINDS)
def kind(request):
    return str(request.param)


def stored(store, kind, data=DATA):
    if kind == "a client's name":
        store.create()
        store.fs.pipe_file(NAMED, data)
        return NAMED
    return store.store_media(MediaContent.from_bytes(data, "application/x-test"), MediaMetadata(run_id="r1"))


def damage(storage, reference, data):
    """Change the bytes; where a client chose the name, not later than the sidecar, which would be an overwrite."""
    storage.write(keys.bytes_key(reference), data)
    storage.write(f"{reference}.meta", storage.read(f"{reference}.meta"))


def refusal(way, *arguments):
    """Return with which error a read is refused, or what it reads."""
    try:
        return None, way(*arguments)
    except errors.CorruptMediaError as error:
        return error, b""


def test_damaged_bytes_are_no_media_by_whatever_way_they_are_read(open_store, storage, kind, tmp_path):
    store, unchecked = open_store(deduplicate=kind == "deduplicated"), open_store(verify_reads=False)
    reference = stored(store, kind)
    for name, way in WAYS.items():
        assert way(store, reference) == DATA, name
    for case, wrong in {"flip": FLIPPED, "cut": DATA[:-1], "longer": DATA + b"x", "page": PAGE, "nothing": b""}.items():
        damage(storage, reference, wrong)
        # Of what an object store has too much, nobody who knows the length reads more than was stored.
        readable = len(wrong) > len(DATA)
        for name, way in WAYS.items():
            error, found = refusal(way, store, reference)
            if error is None:
                assert (found, readable) == (DATA, True), (case, name)
            else:
                assert error.reference == reference, (case, name)
                assert "verify --deep" in str(error), (case, name)
        if isinstance(storage, ObjectStorage) and not readable:
            raised(errors.CorruptMediaError, store.retrieve_media(reference).local_path)
        target = tmp_path / case
        error, _ = refusal(store.fs.get, reference, str(target))
        assert target.exists() == (error is None), case
        assert error is not None or (target.read_bytes() == DATA and readable), case
        assert unchecked.fs.cat_file(reference) == wrong, case


def test_what_is_said_without_a_digest_or_of_the_size_alone_refuses_nothing(open_store, storage):
    """A wrong size beside the right digest, as an importer may leave it; PromptKit's sidecars; a damaged one; none."""
    store = open_store()
    reference = stored(store, "a client's name")
    ours = json.loads(storage.read(f"{reference}.meta"))
    theirs = {"run_id": "r1", "mime_type": "audio/L16", "file_path": reference}
    for said, sizes in ((ours, (0, len(DATA) - 44)), (theirs, (0, len(DATA) - 44, len(DATA)))):
        for size in sizes:
            storage.write(f"{reference}.meta", json.dumps({**said, "size_bytes": size}).encode())
            for name, way in WAYS.items():
                assert way(store, reference) == DATA, (said, size, name)
            assert said is ours or store.fs.cat_file(reference, -10) == DATA[-10:]
    storage.write(f"{reference}.meta", b"{")
    assert WAYS["open().read()"](store, reference) == store.fs.cat_file(reference) == DATA
    storage.remove(f"{reference}.meta")
    assert store.read(reference) == WAYS["open"](store, reference) == store.fs.cat_file(reference) == DATA


def test_bytes_newer_than_their_sidecar_are_an_overwrite_that_died(open_store, storage, caplog, monkeypatch):
    store = open_store()
    reference = stored(store, "a client's name")
    storage.write(reference, b"the bytes of an overwrite whose process was killed")
    new = storage.read(reference)
    # Many storages tell whole seconds: the test says which of the two was written later.
    real = records.ReadCheck._is_adopted

    def later(check, there, beside):
        return real(check, there, beside._replace(modified=beside.modified.replace(year=2000)))

    monkeypatch.setattr(records.ReadCheck, "_is_adopted", later)
    for name, way in WAYS.items():
        caplog.clear()
        with caplog.at_level(logging.WARNING, "fsmedia"):
            assert way(store, reference) == new, name
        assert "newer than its sidecar" in caplog.text, name


def test_a_running_overwrite_is_read_once_more(open_store, storage, monkeypatch):
    """The sidecar of the old bytes was read just before an overwrite came to its end."""
    store = open_store()
    reference = stored(store, "a client's name")
    old, new, real = storage.read(f"{reference}.meta"), DATA[::-1] + b"longer", records.facts_of_sidecar
    stale = []

    def late(text, key):
        return real(stale.pop() if stale else text, key)

    for module in ("core.records", "store"):
        monkeypatch.setattr(f"fsmedia.{module}.facts_of_sidecar", late)
    for name, way in WAYS.items():
        store.fs.pipe_file(reference, new)
        stale.append(old)
        assert way(store, reference) == new, name
        assert stale == [], name


def test_ranges_are_as_long_as_they_were_asked_for(open_store, storage, kind):
    store, size = open_store(deduplicate=kind == "deduplicated"), len(DATA)
    reference = stored(store, kind)
    ranges = [(0, 10), (5, 5), (10, 5), (-10, None), (None, -10), (100, None), (size - 5, size + 5)]
    ranges += [(size + 5, size + 10), (None, 10**9), (-(10**9), None), (-20, -10)]
    for start, end in ranges:
        assert store.fs.cat_file(reference, start, end) == DATA[start:end], (start, end)
    # A seek is not checked, and a read behind the end of cut bytes is.
    damage(storage, reference, FLIPPED)
    with store.open(reference) as file:
        file.seek(1_000)
        assert file.read() == FLIPPED[1_000:]
    damage(storage, reference, DATA[:5_000])
    for start, end in [(-10, None), (4_000, 6_000), (100, None), (6_000, 7_000)]:
        raised(errors.CorruptMediaError, store.fs.cat_file, reference, start, end)
    assert store.fs.cat_file(reference, 0, 100) == DATA[:100]
    with store.open(reference) as file:
        file.seek(1_000)
        raised(errors.CorruptMediaError, file.read)


def test_a_wrong_word_is_refused(open_store, storage):
    raised(errors.InvalidMediaError, open_store, match="verify_reads", verify_reads="sometimes")
    there = {"root": storage.url, "storage_options": storage.options}
    raised(errors.InvalidMediaError, MediaFileSystem, match="verify_reads", **there, verify_reads=1)


REFUSED = (errors.CorruptMediaError, errors.StorageError)
# botocore compares checksums of whole objects where the server tells them; not all do, and of ranges none.
UNCHECKED = {"config_kwargs": {"response_checksum_validation": "when_required"}}
ANSWERS = {
    "a page": {"body": PAGE, "headers": {"Content-Type": "text/html"}},
    "flipped": {"change": "flipped"},
    "short": {"change": "short"},
    "nothing": {"change": "empty"},
}
USUAL = [(kind, answer) for kind in KINDS for answer in ANSWERS if kind == "plain" or answer == "flipped"]
FULL = [pytest.param(*case, marks=pytest.mark.full) for case in product(KINDS, ANSWERS) if case not in USUAL]


@ON_MOTO
@pytest.mark.parametrize(("kind", "answer"), [*USUAL, *FULL])
def test_a_wrong_answer_of_s3_is_no_media(open_store, storage, kind, answer):
    store = open_store(deduplicate=kind == "deduplicated", storage_options=storage.options | UNCHECKED)
    reference = stored(store, kind, LARGE)
    target = rf"{keys.bytes_key(reference)}$"
    for name, way in WAYS.items():
        wrong = WrongAnswer("GET", target, **ANSWERS[answer])
        with storage.counted() as requests, storage.server.answering(wrong), pytest.raises(REFUSED):
            print(name, way(store, reference)[:100])
        # Nobody asks for the rest of a page again and again.
        assert sum(requests.values()) <= 14, (name, requests)
    if answer == "a page":
        return  # an answer without an ETag is none, whatever is checked
    unchecked = open_store(verify_reads=False, storage_options=storage.options | UNCHECKED)
    with storage.server.answering(WrongAnswer("GET", target, **ANSWERS[answer])):
        assert unchecked.fs.cat_file(reference) != LARGE
    # Wrong once is looked at again.
    for name in ("media:// cat_file", "open().read()", "read_bytes"):
        with storage.server.answering(WrongAnswer("GET", target, times=1, **ANSWERS[answer])):
            assert WAYS[name](store, reference) == LARGE, name


@ON_MOTO
def test_a_wrong_answer_of_s3_is_no_range(open_store, storage, kind):
    store = open_store(deduplicate=kind == "deduplicated")
    reference = stored(store, kind, LARGE)
    for answer in ("a page", "short", "nothing"):
        wrong = WrongAnswer("GET", rf"{keys.bytes_key(reference)}$", **ANSWERS[answer])
        with storage.server.answering(wrong), pytest.raises(REFUSED):
            store.fs.cat_file(reference, 1_000, 9_000)
        with storage.server.answering(wrong), store.open(reference) as file:
            file.seek(300_000)
            raised(REFUSED, file.read, 250_000)
        if answer != "a page":
            with storage.server.answering(wrong):
                assert len(open_store(verify_reads=False).fs.cat_file(reference, 1_000, 9_000)) != 8_000


@pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
def test_a_sync_heals_what_its_target_lost(open_store, storage, tmp_path, deduplicate):
    source = MediaStore(tmp_path / "source", deduplicate=deduplicate)
    reference = stored(source, "plain")
    held = source.store_media(MediaContent.from_bytes(DATA[::-1], "application/x-test"), MediaMetadata(run_id="r2"))

    def synced(**options):
        report = source.sync_to(storage.url, storage_options=storage.options, **options)
        assert report.failed == ()
        return report.copied, report.unchanged

    synced()
    mirror = open_store()
    for wrong in (None, b"short", FLIPPED):
        copy = next(iter(mirror.list(run_id="r1")))
        if wrong is None:
            storage.remove(keys.bytes_key(copy))
        else:
            storage.write(keys.bytes_key(copy), wrong)
        # Of one size, nobody sees it who does not read.
        checks = {"verify_copies": "read"} if wrong == FLIPPED else {}
        if wrong == FLIPPED:
            assert synced() == (0, 2)
            raised(errors.CorruptMediaError, mirror.fs.cat_file, copy)
        assert synced(**checks, dry_run=True) == (1, 1), wrong
        assert synced(**checks) == (1, 1), wrong
        assert {mirror.fs.cat_file(each) for each in mirror.list()} == {DATA, DATA[::-1]}
        assert mirror.verify(deep=True).findings == ()
        assert synced(verify_copies="read") == (0, 2)
    assert source.exists(reference)
    assert source.exists(held)


def test_a_sync_that_joins_rotten_bytes_heals_them(open_store, storage, tmp_path):
    """Another media at the target shares them already."""
    source = MediaStore(tmp_path / "source", deduplicate=True)
    stored(source, "deduplicated")
    mirror = open_store(deduplicate=True)
    there = mirror.store_media(MediaContent.from_bytes(DATA, "application/x-test"), MediaMetadata(run_id="r9"))
    storage.write(keys.bytes_key(there), FLIPPED)
    report = source.sync_to(storage.url, storage_options=storage.options, verify_copies="read")
    assert (report.copied, report.failed) == (1, ())
    assert [mirror.fs.cat_file(each) for each in mirror.list()] == [DATA, DATA]


def test_a_sync_never_heals_with_rotten_bytes(tmp_path):
    source, mirror = (MediaStore(tmp_path / name, deduplicate=True) for name in ("source", "target"))
    reference = stored(source, "deduplicated")
    source.sync_to(mirror.url)
    (tmp_path / "source" / keys.bytes_key(reference)).write_bytes(FLIPPED)
    copy = tmp_path / "target" / keys.bytes_key(next(iter(mirror.list())))
    copy.unlink()
    report = source.sync_to(mirror.url)
    assert (report.copied, report.unchanged, len(report.failed)) == (0, 0, 1)
    assert not copy.exists()


def test_bytes_that_are_stored_again_do_not_join_a_copy_of_another_size(open_store, storage):
    store = open_store(deduplicate=True)
    places = [keys.bytes_key(stored(store, "deduplicated"))]
    for wrong in (b"short", None):
        if wrong is None:
            storage.remove(places[-1])
        else:
            storage.write(places[-1], wrong)
        again = stored(store, "deduplicated")
        assert store.fs.cat_file(again) == DATA
        places.append(keys.bytes_key(again))
    assert len(set(places)) == 3


@pytest.mark.parametrize("size", [len(DATA), 20 * 2**20], ids=["small", "from a stage"])
def test_bytes_that_are_stored_again_heal_rotten_ones_of_their_size(open_store, storage, size, tmp_path):
    """The right bytes are in hand, so all references that share them are healed."""
    if (size > len(DATA) and isinstance(storage, ObjectStorage)) or storage.name in FILE_SERVERS:
        pytest.skip("the storage tells no MD5 of what came in parts, or none at all: deep verify and reads find it")
    data = DATA * (size // len(DATA))
    source = tmp_path / "source"
    source.write_bytes(data)
    store = open_store(deduplicate=True)
    metadata = MediaMetadata(run_id="r1")
    first = store.store_media(MediaContent.from_path(source, "application/x-test"), metadata)
    place = keys.bytes_key(first)
    storage.write(place, data[:-1] + bytes([data[-1] ^ 1]))
    raised(errors.CorruptMediaError, store.fs.cat_file, first)
    second = store.store_media(MediaContent.from_path(source, "application/x-test"), metadata)
    assert keys.bytes_key(second) == place
    assert storage.read(place) == data
    assert store.fs.cat_file(first) == store.fs.cat_file(second) == data
    assert store.verify(deep=True).findings == ()


@ON_MOTO
def test_an_etag_that_is_no_md5_is_found_out_once(storage, open_store):
    """Of objects encrypted by a key S3's ETag only looks like one: the bytes are read once, and nothing is written."""
    store = open_store(deduplicate=True)
    reference = stored(store, "deduplicated")
    etag = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    modified = "Sat, 28 Nov 2026 12:00:00 GMT"
    told = {"ETag": f'"{etag[::-1]}"', "Content-Length": str(len(DATA)), "Last-Modified": modified}
    wrong = WrongAnswer("HEAD", rf"{keys.bytes_key(reference)}$", headers=told, body=b"")
    with storage.server.answering(wrong):
        for reads in ({"get": 1}, {}):
            costs(storage, lambda: stored(store, "deduplicated"), list=2, head=1, put=2, **reads)


def test_a_deep_verify_sees_damage_where_etags_are_quoted_in_one_answer_only(open_store, storage):
    """rclone quotes the ETag of a look, and not those of a listing."""
    store = open_store()
    reference = stored(store, "plain")
    storage.write(reference, FLIPPED)
    findings = store.verify(deep=True).findings
    assert [(each.kind, each.key) for each in findings] == [("digest", reference)]
