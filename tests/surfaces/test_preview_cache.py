"""The cache of previews: private, bounded, and never believed: what is spoiled is made anew."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.display import previewer as caches
from fsmedia.display.previewer import Preview, PreviewCache, default_folder

if TYPE_CHECKING:
    from tests.storages import LocalStorage

PICTURE = Preview(kind="picture", image=b"\x89PNG" + bytes(100), width=10, height=20)
SOUND = Preview(kind="sound", peaks=(1, 2, 100), sound=b"RIFFxyz", sound_type="audio/wav", duration=1.5, reason="why")
TEXT = Preview(kind="text", text="gr\u00fc\u00df\n")


@pytest.mark.parametrize("preview", [PICTURE, SOUND, TEXT, Preview()])
def test_what_was_put_in_comes_out(preview: Preview, tmp_path: Path) -> None:
    cache = PreviewCache(tmp_path / "c")
    assert cache.get(["a", 1]) is None
    cache.put(["a", 1], preview)
    assert cache.get(["a", 1]) == preview
    assert cache.get(["a", 2]) is None
    assert cache.get(["a1"]) is None


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir(mode=0o755)
    PreviewCache(folder).put(["a"], PICTURE)
    (file,) = files(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_another_users_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches.os, "getuid", lambda: os.geteuid() + 1)
    cache = PreviewCache(tmp_path / "c")
    cache.put(["a"], PICTURE)
    assert cache.get(["a"]) is None
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:0],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:60] + b"\xff" + data[61:],
        lambda data: data.replace(b"preview 2", b"preview 1"),
        lambda data: b"\x80\x04pickle" + data,
    ],
    ids=["empty", "short", "long", "flipped", "other version", "no magic"],
)
def test_a_spoiled_file_is_as_none(spoil, tmp_path: Path) -> None:
    cache = PreviewCache(tmp_path / "c")
    cache.put(["a"], SOUND)
    (file,) = files(tmp_path)
    file.write_bytes(spoil(file.read_bytes()))
    assert cache.get(["a"]) is None
    cache.put(["a"], SOUND)
    assert cache.get(["a"]) == SOUND


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "markup"},
        {"image": b"<svg onload=x>"},
        {"image": b"\x89PNG" + bytes(5 * 2**20)},
        {"peaks": (1, 200)},
        {"peaks": ("<b>",)},
        {"peaks": tuple(range(97))},
        {"width": "<b>"},
        {"text": "x" * 9000},
        {"sound": bytes(2**18 + 1)},
        {"reason": 7},
    ],
)
def test_what_no_preview_can_be_is_refused_though_its_checksum_fits(values: dict[str, object]) -> None:
    assert Preview.unpack(Preview(**values).pack()) is None  # type: ignore[arg-type]


def test_it_stays_within_its_limit_and_forgets_what_was_not_looked_at(tmp_path: Path) -> None:
    cache = PreviewCache(tmp_path / "c", most_bytes=40_000)
    for number in range(10):
        cache.put([number], Preview(kind="picture", image=b"\x89PNG" + bytes(8_000)))
    for path in files(tmp_path):
        os.utime(path, (1, 1))
    assert cache.get([7]) is not None  # looking makes it younger
    cache.trim()
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 36_000
    assert cache.get([7]) is not None


def test_a_disk_that_takes_nothing_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for folder in (None, tmp_path / "file" / "c"):
        cache = PreviewCache(folder)
        cache.put(["a"], PICTURE)
        assert cache.get(["a"]) is None
        cache.trim()


def test_many_threads_may_write_the_same(tmp_path: Path) -> None:
    cache = PreviewCache(tmp_path / "c")
    wrong = []

    def work() -> None:
        for _ in range(50):
            cache.put(["a"], SOUND)
            wrong.extend(found for found in [cache.get(["a"])] if found != SOUND)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(files(tmp_path)) == 1


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches.sys, "platform", "linux")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for said, folder in {
        "off": None,
        "OFF ": None,
        "": Path("/home/somebody/.cache/fsmedia/previews"),
        "/tmp/x": Path("/tmp/x/previews"),
        "~/y": Path("/home/somebody/y/previews"),
    }.items():
        monkeypatch.setenv("FSMEDIA_CACHE", said)
        assert default_folder() == folder
    monkeypatch.delenv("FSMEDIA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == Path("/home/somebody/.cache/fsmedia/previews")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/x")
    assert default_folder() == Path("/var/x/fsmedia/previews")


def test_an_erasure_takes_the_previews_of_what_is_gone(
    local_storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSMEDIA_CACHE", str(tmp_path / "cache"))
    store = MediaStore(local_storage.url)
    for run in ("r1", "r2"):
        store.store_media(MediaContent.from_text(f"hello {run}"), MediaMetadata(run_id=run))
    store.gallery().html()
    previews = tmp_path / "cache" / "previews"
    before = len(list(previews.glob("*/*")))
    erased = store.erase(run_id="r1").cleaned.previews
    assert 0 < erased < before
    assert len(list(previews.glob("*/*"))) == before - erased
    assert store.erase(run_id="r2").cleaned.previews == before - erased
