"""Sidecars of older versions lack sizes and lengths: a verification finds them, and a repair writes them."""

import json
import struct

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, errors
from fsmedia.format.measures import HEAD_BYTES
from tests.conftest import on, storages
from tests.contract.specimens import AT_ONCE, R1, raised
from tests.protocol.wire import counted
from tests.storages import LOCAL, MEMORY, OBJECT_STORAGES, S3_RCLONE

storage = storages(LOCAL, MEMORY, S3_RCLONE)

# A directory behind everything else, of two entries: width and height.
TIFF = b"II*\0" + struct.pack("<I", HEAD_BYTES * 2) + bytes(HEAD_BYTES * 2 - 8)
TIFF += struct.pack("<H", 2) + struct.pack("<HHIIHHII", 256, 4, 1, 70, 257, 4, 1, 50) + bytes(4)
WAV = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\xc0]\0\0\x80\xbb\0\0\2\0\x10\0data\xff\xff\xff\xff" + bytes(
    24_000
)
GIF = b"GIF89a\7\0\5\0" + bytes(20)


def stripped(storage, reference: str, **content: object) -> dict[str, object]:
    """Leave in a sidecar what an older version wrote."""
    sidecar = json.loads(storage.read(f"{reference}.meta"))
    sidecar.pop("content", None)
    sidecar |= {"content": content} if content else {}
    storage.write(f"{reference}.meta", json.dumps(sidecar).encode())
    return sidecar


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("deduplicate", [False, True])
def test_a_verification_tells_what_sidecars_lack_and_a_repair_adds_it(open_store, storage, deduplicate, deep):
    store: MediaStore = open_store(deduplicate=deduplicate)
    kinds = {
        "tiff": (TIFF, "image/tiff"),
        "wav": (WAV, "audio/wav"),
        "gif": (GIF, "image/gif"),
        "whole": (GIF, "image/gif"),
    }
    kinds |= {"lie": (b"hello", "image/png"), "text": (b"hello", "text/plain"), "foreign": (GIF, "image/gif")}
    put = {
        name: store.store_media(MediaContent(data=data, mime_type=kind, caption=name), MediaMetadata(run_id=name))
        for name, (data, kind) in kinds.items()
    }
    store.hold(put["gif"], reason="a trial")
    before = {name: stripped(storage, put[name], caption=name) for name in kinds if name != "whole"}
    before["wav"] = stripped(storage, put["wav"], caption="wav", duration=0)
    foreign = {name: value for name, value in before["foreign"].items() if name != "fsmedia"}
    storage.write(f"{put['foreign']}.meta", json.dumps(foreign).encode())
    lying = {name: storage.read(f"{reference}.meta") for name, reference in put.items()}

    assert "measures" not in store.verify(deep=deep, **AT_ONCE).counts
    for repair in (False, True):
        report = store.verify(deep=deep, measure=True, repair=repair, dry_run=True, **AT_ONCE)
        told = {each.key: each.detail for each in report.findings if each.kind == "measures"}
        assert set(told) == {put["tiff"], put["wav"], put["gif"]}
        assert "width 70, height 50" in told[put["tiff"]]
        assert report.mended == 0
    assert {name: storage.read(f"{reference}.meta") for name, reference in put.items()} == lying

    report = store.verify(deep=deep, measure=True, repair=True, **AT_ONCE)
    assert sorted(each.key for each in report.findings if each.kind == "measures" and each.done) == sorted(
        [put["tiff"], put["wav"]]
    )
    sizes = {name: (info.width, info.height, info.duration) for name in kinds for info in [store.info(put[name])]}
    assert (sizes["tiff"], sizes["wav"]) == ((70, 50, None), (None, None, 0.5))
    assert sizes["whole"] == (7, 5, None)
    assert {sizes[name] for name in ("gif", "lie", "text", "foreign")} == {(None, None, None)}
    for name in ("tiff", "wav"):
        now = json.loads(storage.read(f"{put[name]}.meta"))
        assert now.pop("content")["caption"] == name
        assert {key: now[key] for key in before[name] if key != "content"} == {
            key: value for key, value in before[name].items() if key != "content"
        }
    report = store.verify(deep=deep, measure=True, **AT_ONCE)
    assert [each.key for each in report.findings if each.kind == "measures"] == [put["gif"]]


def test_what_leftovers_are_can_not_be_measured(store):
    store.create()
    error = raised(errors.InvalidMediaError, store.verify, repair="leftovers", measure=True, match="looks at no media")
    assert "measure with repair=True" in error.next_step


@on(S3_RCLONE, of=OBJECT_STORAGES)
def test_only_media_that_lack_something_are_read_in_two_ranges(store, storage):
    put = [store.store_media(MediaContent(data=TIFF, mime_type="image/tiff"), R1) for _ in range(3)]
    _, plain = counted(storage, store.verify)
    _, nothing = counted(storage, lambda: store.verify(measure=True))
    assert nothing == plain
    stripped(storage, put[0])
    report, n = counted(storage, lambda: store.verify(measure=True))
    assert report.counts == {"measures": 1}
    assert report.whole
    # The two ranges, and one look at sidecar, hold and bytes.
    assert sum(n.values()) - sum(plain.values()) <= 5
    assert report.bytes_read < len(TIFF)
