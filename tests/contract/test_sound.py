"""Raw sound becomes WAV whatever way it comes in, and what the bytes tell of a media stands in its sidecar."""

import base64
import hashlib
import io
import json
import os
import struct
import wave
from concurrent.futures import ThreadPoolExecutor

import pytest

from fsmedia import MediaContent, MediaMetadata
from fsmedia.errors import InvalidMediaError, MediaError, MediaTooLargeError
from fsmedia.storage.fsspec_backend import SPOOL_BYTES
from tests.conftest import on, storages
from tests.contract.specimens import Trickle, raised
from tests.storages import ALL_STORAGES, LOCAL, MEMORY, S3_RCLONE
from tests.transfers import opened

storage = storages(LOCAL, MEMORY, S3_RCLONE)
RUN = MediaMetadata(run_id="r1")
PCM = bytes(range(256)) * 30
LARGE = os.urandom(2**20) * (SPOOL_BYTES // 2**20 + 1)


def wav_of(samples, rate=24_000, channels=1):
    """Return a WAV file as Python's standard library writes it."""
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setparams((channels, 2, rate, 0, "NONE", ""))
        sound.writeframes(samples)
    return out.getvalue()


def check(storage, reference, expected):
    """Compare what lies there, past the package, and return the sidecar."""
    sidecar = json.loads(storage.read(f"{reference}.meta"))
    stored = storage.read(reference)
    assert stored == expected, (stored[:48], expected[:48], len(stored), len(expected))
    assert sidecar["sha256"] == hashlib.sha256(expected).hexdigest()
    assert sidecar["size_bytes"] == len(expected)
    assert sidecar["mime_type"] == "audio/wav"
    assert reference.endswith(".wav")
    assert storage.content_type(reference) in (None, "audio/wav")
    return sidecar


class Lying(io.BytesIO):
    """A stream whose end is not where it says."""

    def __init__(self, data, claim):
        super().__init__(data)
        self.claim = claim

    def seek(self, offset, whence=0):
        return self.claim if whence == os.SEEK_END else super().seek(offset, whence)


def written(store, data, piece=700, mime_type="audio/pcm"):
    with store.create_media(RUN, mime_type) as writer:
        for start in range(0, len(data), piece):
            writer.write(memoryview(data)[start : start + piece])
    return writer.reference


def sound(**source):
    return MediaContent(**{"mime_type": "audio/pcm", **source})


def ways(data, folder):
    """Return every way to hand in the same raw sound."""
    file = folder / "sound.raw"
    file.write_bytes(data)
    skipped = io.BytesIO(b"before" + data)
    encoded = base64.b64encode(data).decode()
    sources = {
        "bytes": lambda: {"data": data},
        "base64": lambda: {"data": encoded},
        "file": lambda: {"file_path": str(file)},
        "stream": lambda: {"data": io.BytesIO(data)},
        "rest of a stream": lambda: {"data": skipped} if skipped.seek(6) else {},
        "unseekable": lambda: {"data": Trickle(data, 1000)},
        "small pieces": lambda: {"data": Trickle(data, 7)},
        "data url": lambda: {"url": f"data:audio/pcm;base64,{encoded}"},
    }
    return {
        **{name: lambda store, make=make: store.store_media(sound(**make()), RUN) for name, make in sources.items()},
        "create_media": lambda store: written(store, data),
        "create_media in small pieces": lambda store: written(store, data, 13),
        "store_many": lambda store: store.store_many([(sound(data=data), RUN)])[0],
    }


@pytest.mark.parametrize("data", [PCM, b"", b"\1\2", b"s" * 43, b"s" * 44, b"s" * 45, b"odd" * 333], ids=len)
def test_every_way_in_gives_the_same_file(memory_storage, tmp_path, data):
    store = opened(memory_storage)
    for name, way in ways(data, tmp_path).items():
        reference = way(store)
        told = check(memory_storage, reference, wav_of(data))["content"]
        seconds = {"duration": pytest.approx(len(data) // 2 / 24_000, abs=1e-6)} if data else {}
        assert told == {**seconds, "channels": 1, "bit_rate": 384_000}, name


@on(*ALL_STORAGES)
def test_every_way_in_on_every_storage(storage, tmp_path):
    store, expected = opened(storage), wav_of(PCM)
    references = {name: way(store) for name, way in ways(PCM, tmp_path).items() if " " not in name}
    for reference in references.values():
        check(storage, reference, expected)
    content = store.retrieve_media(references["bytes"])
    with wave.open(io.BytesIO(content.read_bytes())) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (24_000, 1, 2)
        assert sound.readframes(sound.getnframes()) == PCM
    again = store.store_media(content, RUN)
    assert again not in references.values()
    check(storage, again, expected)


@pytest.mark.parametrize(
    ("mime_type", "channels", "expected"),
    [("audio/L16;rate=8000", None, (8000, 1)), ("audio/pcm; rate=16000; channels=2", 1, (16_000, 2)),
     ("audio/PCM", 2, (24_000, 2)), ("audio/l16", 6, (24_000, 6))],
)  # fmt: skip
def test_parameters(memory_storage, mime_type, channels, expected):
    store = opened(memory_storage)
    for data in (PCM, io.BytesIO(PCM), Trickle(PCM, 1000)):
        reference = store.store_media(sound(data=data, mime_type=mime_type, channels=channels), RUN)
        sidecar = check(memory_storage, reference, wav_of(PCM, *expected))
        assert sidecar["content"]["channels"] == (channels or expected[1])
    assert memory_storage.read(written(store, PCM, mime_type=mime_type))[24:28] == struct.pack("<I", expected[0])


@pytest.mark.parametrize("mime_type", ["audio/pcm;rate=0", "audio/L16;rate=fast", "audio/pcm;channels=65"])
def test_odd_parameters_are_refused_before_a_byte_is_written(memory_storage, mime_type):
    store = opened(memory_storage)
    for source in (
        {"data": PCM, "mime_type": mime_type}, {"data": io.BytesIO(PCM), "mime_type": mime_type},
        {"data": PCM, "channels": 1000},
    ):  # fmt: skip
        raised(InvalidMediaError, store.store_media, sound(**source), RUN)
    raised(InvalidMediaError, store.create_media, RUN, mime_type)
    assert memory_storage.keys() == set()


def test_a_stream_that_lies_about_its_end(storage):
    """What is announced is a hint: the header tells what came."""
    store = opened(storage)
    claims = (0, 1, 43, 44, len(PCM) - 1, len(PCM) + 1, 2**31, 2**32, 2**62, -1, -(2**40))
    # In memory, and in a temporary file.
    for data, claim in [*((PCM, claim) for claim in claims), (LARGE, 10)]:
        reference = store.store_media(sound(data=Lying(data, claim)), RUN)
        check(storage, reference, wav_of(data))
        assert store.info(reference).duration == pytest.approx(len(data) / 48_000, abs=1e-6)


@pytest.mark.parametrize("change", ["grows", "shrinks", "vanishes"])
def test_a_file_that_changes_while_it_is_read(local_storage, tmp_path, change):
    path = tmp_path / "sound.raw"
    path.write_bytes(LARGE)
    seen = []

    class Changing(io.FileIO):
        def read(self, size=-1):
            if not seen:
                end = {"grows": len(LARGE) + 500, "shrinks": 5_000_000, "vanishes": 0}[change]
                os.truncate(path, end)
                seen.append(end)
            return super().read(size)

    with Changing(path) as stream:
        reference = opened(local_storage).store_media(sound(data=stream), RUN)
    check(local_storage, reference, wav_of((LARGE + bytes(500))[: seen[0]]))


def test_a_stream_without_a_position_and_a_file_that_does_not_tell_its_size(local_storage, tmp_path):
    class Unfinished(io.BytesIO):
        def tell(self):
            raise NotImplementedError("of a class that never got all of its methods")

    store, fifo = opened(local_storage), tmp_path / "fifo"
    check(local_storage, store.store_media(sound(data=Unfinished(PCM)), RUN), wav_of(PCM))
    os.mkfifo(fifo)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(fifo.write_bytes, PCM * 20)
        reference = store.store_media(sound(file_path=str(fifo)), RUN)
    check(local_storage, reference, wav_of(PCM * 20))


@pytest.mark.parametrize(
    "data",
    [wav_of(PCM), wav_of(PCM, 8000, 2), wav_of(b""), b"RIFF\0\0\0\0WAVE", wav_of(PCM)[:43]],
    ids=["mono", "stereo", "empty", "12 bytes", "cut"],
)
def test_what_is_wav_already_stays(memory_storage, tmp_path, data):
    store = opened(memory_storage)
    for way in ways(data, tmp_path).values():
        check(memory_storage, way(store), data)


def test_the_limit_counts_the_header(storage, tmp_path):
    store = opened(storage, max_file_size=144).create()
    (tmp_path / "larger").mkdir()
    larger = ways(b"s" * 101, tmp_path / "larger")
    for name, way in ways(b"s" * 100, tmp_path).items():
        check(storage, way(store), wav_of(b"s" * 100))
        before = storage.keys()
        refused = raised(MediaError, larger[name], store)
        error = next(iter(getattr(refused, "errors", {0: refused}).values()))
        assert isinstance(error, MediaTooLargeError), name
        assert storage.keys() == before, name


# What the bytes tell.
PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 640, 480, 8, 2, 0, 0, 0)
GIF = b"GIF89a" + struct.pack("<HHBBB", 320, 200, 0, 0, 0) + b";"
FRAME = struct.pack(">BHHB", 8, 30, 40, 3) + b"\1\x11\0\2\x11\1\3\x11\1"
JPEG = b"\xff\xd8\xff\xc0" + struct.pack(">H", len(FRAME) + 2) + FRAME + b"\xff\xd9"
WEBP = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x63\0\0\x31\0\0"


@pytest.mark.parametrize(
    ("mime_type", "data", "sides"),
    [("image/png", PNG, (640, 480)), ("image/gif", GIF, (320, 200)), ("image/jpeg", JPEG, (40, 30)),
     ("image/webp", WEBP, (100, 50))],
)  # fmt: skip
def test_sizes_of_pictures(memory_storage, mime_type, data, sides):
    store = opened(memory_storage)
    expected = {"width": sides[0], "height": sides[1]}
    for source in (data, io.BytesIO(data), Trickle(data, 3)):
        reference = store.store_media(MediaContent(data=source, mime_type=mime_type), RUN)
        assert json.loads(memory_storage.read(f"{reference}.meta"))["content"] == expected
        retrieved = store.retrieve_media(reference)
        assert (retrieved.width, retrieved.height) == sides
    told = MediaContent(data=data, mime_type=mime_type, width=7, caption="c")
    assert store.info(store.store_media(told, RUN)).model_dump(include={"width", "height", "caption"}) == {
        "width": 7, "height": sides[1], "caption": "c",
    }  # fmt: skip
    assert (told.width, told.height) == (7, None), "the caller's object is never changed"
    assert store.info(written(store, data, mime_type=mime_type)).width == sides[0]


def test_sound_that_came_as_wav(storage):
    store = opened(storage)
    data = wav_of(b"\0" * 32_000, 8000, 2)
    record = store.info(store.store_media(MediaContent.from_bytes(data), RUN))
    assert (record.mime_type, record.duration, record.channels, record.bit_rate) == ("audio/wav", 1, 2, 256_000)
    own = MediaContent(data=data, mime_type="audio/wav", duration=2.5, bit_rate=1)
    record = store.info(store.store_media(own, RUN))
    assert (record.duration, record.channels, record.bit_rate) == (2.5, 2, 1)


@pytest.mark.parametrize("data", [PNG[:20], b"\x89PNG\r\n\x1a\n" + b"\xff" * 30, b"", b"BM", b"\xff" * 9000])
def test_broken_pictures_are_stored_without_a_size(memory_storage, data):
    store = opened(memory_storage)
    record = store.info(store.store_media(MediaContent(data=data, mime_type="image/png"), RUN))
    assert (record.width, record.height, record.size_bytes) == (None, None, len(data))
