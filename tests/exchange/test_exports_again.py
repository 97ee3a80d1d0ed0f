"""What an export wrote is imported again: the same media with all that the tables tell, once."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fsmedia import (
    MediaContent,
    MediaMetadata,
    MediaNotFoundError,
    MediaRecord,
    MediaStore,
    export_audiofolder,
    export_imagefolder,
    export_webdataset,
    import_imagefolder,
    import_webdataset,
)
from fsmedia.cli import typer_app
from fsmedia.cli.cmd_demo import sample_run
from tests.storages import Storage

MADE = datetime(2026, 3, 4, 5, 6, 7, 890123, UTC)
LOST = {
    "reference",
    "policy_name",
    "expires_at",
    "xattrs",
    "format",
    "detail",
    "bit_rate",
    "channels",
    "fps",
    "size_kb",
}
"""What no table holds, and what is read from the bytes anew."""


@pytest.fixture
def full(tmp_path: Path) -> MediaStore:
    """Store pictures, sounds, a text and JSON, in two runs."""
    store = MediaStore(tmp_path / "full")
    for number, sample in enumerate(sample_run()):
        metadata = MediaMetadata(
            run_id=f"r {number % 2}", conversation_id="c1", session_id="s1", provider_id="openai", message_idx=number,
            part_idx=1, timestamp=MADE,
        )  # fmt: skip
        store.store_media(MediaContent.from_bytes(sample.data, sample.mime_type, caption=sample.caption), metadata)
    store.store_media(
        MediaContent.from_text('{"a": 1}', "application/json"), MediaMetadata(run_id="r1", timestamp=MADE)
    )
    return store


def described(store: MediaStore, **words: Any) -> list[dict[str, Any]]:
    """Return what a store knows of its media, but for what no table holds."""
    records: list[MediaRecord] = store.info_many(store.list(**words))
    told = [each.model_dump(exclude=LOST) for each in records]
    return sorted(told, key=lambda each: (each["run_id"], each["message_idx"]))


def test_a_webdataset_comes_back(full: MediaStore, storage: Storage, tmp_path: Path) -> None:
    again = MediaStore(storage.url, storage_options=storage.options)
    export_webdataset(full, tmp_path / "shards", shard_count=2)
    planned = import_webdataset(again, tmp_path / "shards", dry_run=True)
    assert storage.keys() == set()
    report = import_webdataset(again, tmp_path / "shards")
    assert (report.failed, report.skipped, len(report.stored)) == ((), (), len(list(full.list())))
    assert len(planned.stored) == len(report.stored)
    assert described(again) == described(full)
    assert import_webdataset(again, tmp_path / "shards").unchanged == len(report.stored)
    assert again.verify(deep=True).whole


@pytest.mark.parametrize("table", ["jsonl", "parquet"])
def test_folders_of_pictures_and_sound_come_back(table: Any, full: MediaStore, tmp_path: Path) -> None:
    again = MediaStore(tmp_path / "again")
    export_imagefolder(full, tmp_path / "pictures", table=table)
    export_imagefolder(full, tmp_path / "pictures", table=table, split="test", run_id="r 0")
    export_audiofolder(full, tmp_path / "sounds", table=table)
    for folder in ("pictures", "sounds"):
        report = import_imagefolder(again, tmp_path / folder)
        assert (report.failed, report.skipped) == ((), ())
        assert import_imagefolder(again, tmp_path / folder).stored == ()
    assert described(again, mime_type="audio") == described(full, mime_type="audio")
    pictures = described(full, mime_type="image")
    assert [each for each in described(again, mime_type="image") if each["run_id"] == "r 1"] == [
        each for each in pictures if each["run_id"] == "r 1"
    ]
    assert again.verify(deep=True).whole


def test_a_folder_of_others_takes_what_is_given(tmp_path: Path) -> None:
    """Its table has a file and a text, as Hugging Face asks for, and names what it likes."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "secret.txt").write_text("not theirs")
    rows = [
        {"file_name": "a.png", "text": "a cat"}, {"file_name": "../secret.txt"}, {"file_name": "/etc/passwd"}, {"x": 1},
        {"file_name": "gone.png"}, {"file_name": "a.png", "timestamp": "soon"},
        {"file_name": "a.png", "message_idx": -1},
    ]  # fmt: skip
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n5\n")
    store = MediaStore(tmp_path / "media")
    report = import_imagefolder(store, folder, ids={"run_id": "theirs"}, policy_name="retain-30days")
    (record,) = store.info_many(store.list())
    assert (record.run_id, record.caption, record.policy_name) == ("theirs", "a cat", "retain-30days")
    assert len(report.failed) == 7
    with pytest.raises(MediaNotFoundError, match=r"no metadata\.jsonl or metadata\.parquet"):
        import_imagefolder(store, tmp_path)


def test_shards_of_others_take_what_is_given(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        files = {
            "a/1.jpg": b"\xff\xd8\xff", "a/1.json": b'{"text": "one"}', "a/2.jpg": b"\xff\xd8\xff.",
            "3.json": b"5", "3.jpg": b"x",
        }  # fmt: skip
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("4.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / "y.tar").write_bytes(b"no tar")
    store = MediaStore(tmp_path / "media")
    report = import_webdataset(store, tmp_path, ids={"run_id": "theirs"})
    assert sorted(each.caption or "" for each in store.info_many(store.list())) == ["", "one"]
    assert sorted(each.source for each in report.failed) == ["webdataset:x.tar/3.jpg", "webdataset:y.tar"]


def test_what_changed_on_the_way_is_refused(full: MediaStore, tmp_path: Path) -> None:
    export_imagefolder(full, tmp_path / "pictures")
    changed = next(path for path in (tmp_path / "pictures" / "train").iterdir() if path.suffix != ".jsonl")
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    report = import_imagefolder(MediaStore(tmp_path / "again"), tmp_path / "pictures")
    assert [Path(each.source).name for each in report.failed] == [changed.name]


def test_the_commands(full: MediaStore, tmp_path: Path) -> None:
    for kind in ("imagefolder", "webdataset"):
        for words in (["export", kind, f"{tmp_path}/{kind}", "-s", full.url],
                      ["import", kind, f"{tmp_path}/{kind}", "-s", f"{tmp_path}/again", "--json"]):  # fmt: skip
            done = CliRunner().invoke(typer_app, words)
            assert done.exit_code == 0, done.output
        assert len(json.loads(done.stdout)["stored"]) >= 1
