"""Exports write whole files under names of their own, go on where they were killed, and replace nothing unasked."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import (
    InvalidMediaError,
    MediaContent,
    MediaMetadata,
    MediaStore,
    StoreConflictError,
    export_audiofolder,
    export_imagefolder,
    export_webdataset,
)
from tests.exchange.arena import PNG
from tests.protocol.faults import CRASHES, Crash, Faults, faulty_os
from tests.protocol.worlds import each_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.storages import LocalStorage, Storage

NOON = datetime(2026, 3, 4, 12, 0, 0, 500, tzinfo=UTC)
HOSTILE = '../../test/\N{SNOWMAN}\n{"a": 1}'


def put(store: MediaStore, data: bytes, mime_type: str, run: str = "r1", **fields: Any) -> str:
    content = MediaContent(data=data, mime_type=mime_type, **fields)
    return store.store_media(content, MediaMetadata(run_id=run, message_idx=3, timestamp=NOON, provider_id=HOSTILE))


def fill(store: MediaStore) -> list[str]:
    """Two pictures, a picture that nobody reads, a sound, a text, a JSON document."""
    return [
        put(store, PNG, "image/png", caption=HOSTILE),
        put(store, PNG + b"2", "image/png", run=HOSTILE),
        put(store, b"<svg/>", "image/svg+xml"),
        put(store, b"\1\2" * 500, "audio/pcm"),
        put(store, b"hello", "text/plain"),
        put(store, b"{}", "application/json"),
    ]


@pytest.fixture
def pictures(memory: MediaStore) -> MediaStore:
    fill(memory)
    return memory


def files(top: Path) -> dict[str, bytes]:
    return {str(each.relative_to(top)): each.read_bytes() for each in top.rglob("*") if each.is_file()}


def rows(top: Path, table: str = "train/metadata.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (top / table).read_text().splitlines()]


# -- folders -----------------------------------------------------------------------------------------------


def test_pictures_and_a_table_of_them(store: MediaStore, tmp_path: Path) -> None:
    references = fill(store)
    report = export_imagefolder(store, tmp_path / "out")
    assert (report.examined, report.exported, report.bytes) == (3, 2, 2 * len(PNG) + 1)
    assert [(each.reference, each.reason) for each in report.skipped] == [
        (references[2], "imagefolder takes no image/svg+xml")
    ]
    assert report.files == ("train/metadata.jsonl",)
    told = {row["reference"]: row for row in rows(tmp_path / "out")}
    assert list(told) == sorted(references[:2])
    row = told[references[0]]
    assert row == {
        "file_name": references[0].rpartition("/")[2],
        "reference": references[0],
        "run_id": "r1",
        "conversation_id": "",
        "session_id": "",
        "message_idx": 3,
        "part_idx": 0,
        "provider_id": HOSTILE,
        "mime_type": "image/png",
        "size_bytes": len(PNG),
        "sha256": hashlib.sha256(PNG).hexdigest(),
        "timestamp": "2026-03-04T12:00:00.000500Z",
        "text": HOSTILE,
        "width": 1,
        "height": 1,
        "duration": None,
    }
    assert (tmp_path / "out/train" / row["file_name"]).read_bytes() == PNG
    assert len(files(tmp_path / "out")) == 3
    assert {each.name for each in tmp_path.iterdir()} <= {"out", "media"}


def test_a_second_export_changes_nothing_and_a_later_one_adds(pictures: MediaStore, tmp_path: Path) -> None:
    for form in ("jsonl", "parquet"):
        out = tmp_path / form
        export_imagefolder(pictures, out, table=form)
        before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("*")}
        again = export_imagefolder(pictures, out, table=form)
        assert (again.exported, again.unchanged, again.files) == (0, 2, ())
        assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("*")} == before
    put(pictures, PNG + b"3", "image/png")
    for form in ("jsonl", "parquet"):
        report = export_imagefolder(pictures, tmp_path / form, table=form)
        assert (report.exported, report.unchanged, report.files) == (1, 2, (f"train/metadata.{form}",))


def test_a_table_loses_no_row_unless_asked(pictures: MediaStore, tmp_path: Path) -> None:
    export_imagefolder(pictures, tmp_path)
    before = files(tmp_path)
    with pytest.raises(StoreConflictError, match=r"train/metadata\.jsonl: lists media"):
        export_imagefolder(pictures, tmp_path, run_id="r1")
    with pytest.raises(StoreConflictError, match=r"train/metadata\.jsonl"):
        export_imagefolder(pictures, tmp_path, table="parquet")
    assert files(tmp_path) == before
    report = export_imagefolder(pictures, tmp_path, run_id="r1", overwrite=True)
    assert (report.exported, len(rows(tmp_path))) == (1, 1)


@pytest.mark.parametrize("there", ["", "no json", "[1]\n", '{"reference": "x"}\n'])
def test_a_table_of_somebody_elses_is_left(pictures: MediaStore, tmp_path: Path, there: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/metadata.jsonl").write_text(there)
    if there:
        with pytest.raises(StoreConflictError):
            export_imagefolder(pictures, tmp_path)
        assert files(tmp_path) == {"train/metadata.jsonl": there.encode()}
    else:
        assert export_imagefolder(pictures, tmp_path).exported == 2


def test_a_file_in_the_way_is_left_and_told(pictures: MediaStore, tmp_path: Path) -> None:
    export_imagefolder(pictures, tmp_path)
    name = rows(tmp_path)[0]["file_name"]
    (tmp_path / "train/metadata.jsonl").unlink()
    (tmp_path / "train" / name).write_bytes(b"mine")
    report = export_imagefolder(pictures, tmp_path)
    assert "something else lies there" in str(report.failed[0].error)
    assert (tmp_path / "train" / name).read_bytes() == b"mine"
    assert name not in {row["file_name"] for row in rows(tmp_path)}
    assert export_imagefolder(pictures, tmp_path, overwrite=True).exported == 2
    assert (tmp_path / "train" / name).read_bytes() != b"mine"


def test_a_dry_run_writes_nothing(pictures: MediaStore, tmp_path: Path) -> None:
    for export in EXPORTS:
        planned = export(pictures, tmp_path / "out", dry_run=True)
        assert not (tmp_path / "out").exists()
        done = export(pictures, tmp_path / "out")
        assert planned.model_copy(update={"dry_run": False, "took": done.took}) == done
        assert "would export" in str(planned)
        for path in sorted((tmp_path / "out").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (tmp_path / "out").rmdir()


EXPORTS: list[Callable[..., Any]] = [export_imagefolder, export_audiofolder, export_webdataset]


@pytest.mark.parametrize("export", EXPORTS)
def test_nothing_goes_into_a_store(export: Callable[..., Any], tmp_path: Path) -> None:
    store = MediaStore(tmp_path / "media")
    fill(store)
    other = MediaStore(tmp_path / "other").create()
    before = files(tmp_path)
    for place in (tmp_path / "media", tmp_path / "media/runs/x", f"file://{tmp_path}/media/out", other.url):
        with pytest.raises(InvalidMediaError, match="can't go into a store"):
            export(store, place)
    assert files(tmp_path) == before


@pytest.mark.parametrize("export", EXPORTS)
def test_an_empty_selection_writes_nothing(export: Callable[..., Any], pictures: MediaStore, tmp_path: Path) -> None:
    report = export(pictures, tmp_path / "out", run_id="nobody")
    assert (report.examined, report.files) == (0, ())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("export", EXPORTS)
def test_damaged_media_are_told_and_left_out(
    export: Callable[..., Any], memory: MediaStore, memory_storage: Storage, tmp_path: Path
) -> None:
    kind = "audio/wav" if export is export_audiofolder else "image/png"
    good, bad, worse = (put(memory, PNG + bytes([n]), kind) for n in range(3))
    memory_storage.write(bad, PNG + b"x")
    memory_storage.write(f"{worse}.meta", b"{")
    report = export(memory, tmp_path)
    assert report.examined == report.exported + len(report.failed)  # also those whose sidecar can't be read
    assert {each.reference for each in report.failed} == {bad, worse}
    assert report.exported == 1
    text = b"".join(files(tmp_path).values())
    assert good.encode() in text
    assert bad.encode() not in text
    assert PNG + b"x" not in text


@pytest.mark.parametrize("export", EXPORTS)
def test_to_every_storage(export: Callable[..., Any], pictures: MediaStore, storage: Storage) -> None:
    report = export(pictures, storage.url, storage_options=storage.options)
    assert report.failed == ()
    assert set(report.files) <= storage.keys()
    before = {key: storage.read(key) for key in sorted(storage.keys())}
    assert export(pictures, storage.url, storage_options=storage.options).unchanged == report.exported
    assert {key: storage.read(key) for key in sorted(storage.keys())} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"split": "../x"}, "split"),
        ({"table": "csv"}, "table"),
        ({"mime_type": 7}, "mime_type"),
        ({"limit": -1}, "limit"),
    ],
)
def test_words_that_mean_nothing_are_refused(pictures: MediaStore, tmp_path: Path, words: Any, said: str) -> None:
    with pytest.raises(InvalidMediaError, match=said):
        export_imagefolder(pictures, tmp_path / "out", **words)
    assert not (tmp_path / "out").exists()


def test_files_that_strangers_named_get_names_of_ours(
    memory: MediaStore, memory_storage: Storage, tmp_path: Path
) -> None:
    memory.create()
    names = [
        "runs/r1/test.tar.gz.png",
        "runs/test/dev 1.png",
        "top.png",
        "runs/r1/\N{SNOWMAN}\n.png",
        f"runs/r1/{'x' * 240}.png",
    ]
    for name in names:
        memory_storage.write(name, PNG)
    assert export_imagefolder(memory, tmp_path / "a").exported == 5
    assert export_webdataset(memory, tmp_path / "b").exported == 5
    for row in rows(tmp_path / "a"):
        stem, dot, extension = row["file_name"].partition(".")
        assert (dot, extension) == (".", "png")
        assert len(stem) == 32
        assert set(stem) <= set("0123456789abcdef")
    with tarfile.open(tmp_path / "b/media-000000.tar") as archive:
        assert {name.partition(".")[2] for name in archive.getnames()} == {"png", "json"}


def test_deduplicated_media_have_names_without_dots(memory_storage: Storage, tmp_path: Path) -> None:
    store = MediaStore(memory_storage.url, deduplicate=True)
    fill(store)
    put(store, PNG, "image/png")
    report = export_webdataset(store, tmp_path)
    assert report.exported == 7
    with tarfile.open(tmp_path / "media-000000.tar") as archive:
        keys = [name.partition(".")[0] for name in archive.getnames()]
    assert len(set(keys)) == 7
    assert all(len(key) == len("0003_00_u") + 26 for key in keys)


# -- shards ------------------------------------------------------------------------------------------------


def test_shards_end_where_they_should_and_are_the_same_each_time(pictures: MediaStore, tmp_path: Path) -> None:
    report = export_webdataset(pictures, tmp_path / "a", shard_count=4, prefix="p")
    assert report.files == ("p-000000.tar", "p-000001.tar")
    export_webdataset(pictures, tmp_path / "b", shard_count=4, prefix="p")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    export_webdataset(pictures, tmp_path / "c", shard_bytes=3000, prefix="p")
    sizes = [len(data) for data in files(tmp_path / "c").values()]
    assert len(sizes) > 2
    for data in files(tmp_path / "c").values():
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            sizes = [512 + -(-member.size // 512) * 512 for member in archive]
        assert sum(sizes) <= 3000 or len(sizes) == 2
    with tarfile.open(tmp_path / "a/p-000000.tar") as archive:
        assert {(each.mode, each.mtime, each.uid, each.uname) for each in archive} == {(0o644, 0, 0, "")}


def test_missing_shards_are_written_again_and_others_refused(pictures: MediaStore, tmp_path: Path) -> None:
    export_webdataset(pictures, tmp_path, shard_count=2)
    whole = files(tmp_path)
    (tmp_path / "media-000001.tar").unlink()
    report = export_webdataset(pictures, tmp_path, shard_count=2)
    assert (report.files, report.unchanged) == (("media-000001.tar",), 4)
    assert files(tmp_path) == whole
    for words in ({"shard_count": 3}, {"shard_count": 2, "run_id": "r1"}, {"shard_count": 2, "limit": 2}):
        with pytest.raises(StoreConflictError, match="media-00000"):
            export_webdataset(pictures, tmp_path, **words)
        assert files(tmp_path) == whole
    (tmp_path / "media-000001.tar").write_bytes(whole["media-000001.tar"][:700])
    with pytest.raises(StoreConflictError, match="media-000001"):
        export_webdataset(pictures, tmp_path, shard_count=2)
    assert export_webdataset(pictures, tmp_path, shard_count=2, overwrite=True).exported == 6
    assert files(tmp_path) == whole


@pytest.mark.parametrize(
    "words", [{"prefix": "../x"}, {"prefix": "a.b"}, {"prefix": ""}, {"shard_bytes": 0}, {"shard_count": True}]
)
def test_shards_that_mean_nothing_are_refused(pictures: MediaStore, tmp_path: Path, words: Any) -> None:
    with pytest.raises(InvalidMediaError, match=next(iter(words))):
        export_webdataset(pictures, tmp_path / "out", **words)
    assert not (tmp_path / "out").exists()


# -- crashes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("export", [export_imagefolder, partial(export_webdataset, shard_count=3)])
def test_an_export_that_dies_anywhere_leaves_whole_files_and_goes_on(
    export: Callable[..., Any], pictures: MediaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsmedia.exchange import imagefolder

    monkeypatch.setattr(imagefolder, "_THREADS", 1)  # faults are counted one after the other
    export(pictures, tmp_path / "whole")
    whole = files(tmp_path / "whole")
    number = 0
    for fault in CRASHES:
        for faults in each_call(partial(Faults, fault=fault)):
            number += 1
            out = tmp_path / str(number)
            with faulty_os(faults), suppress(Crash):
                export(pictures, out)
            for name, data in files(out).items():
                assert name.rpartition("/")[2].startswith(".tmp-") or data == whole[name]
            assert export(pictures, out).failed == ()
            seen = {name: data for name, data in files(out).items() if not name.rpartition("/")[2].startswith(".tmp-")}
            assert seen == whole


def test_the_export_of_a_store_leaves_it_as_it_is(local_storage: LocalStorage, tmp_path: Path) -> None:
    store = MediaStore(local_storage.url)
    fill(store)
    before = files(Path(local_storage.url))
    reader = MediaStore(local_storage.url, read_only=True)
    for number, export in enumerate(EXPORTS):
        export(reader, tmp_path / f"out{number}")
    assert files(Path(local_storage.url)) == before
