"""A tree becomes a store where it is: no byte moves, every file that matches is a media with all its facts."""

import hashlib
import json
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, adopt_folder, errors
from fsmedia.exchange import folders, importing
from fsmedia.exchange.folders import DEFAULT_PATTERN
from tests.contract.specimens import raised
from tests.exchange.arena import PNG
from tests.exchange.test_folder import MADE, plant
from tests.protocol.faults import Crash, Fault, Faults, faulty_os
from tests.protocol.worlds import each_call
from tests.storages import Storage

FILES = {"r1/a.png": PNG, "r1/b.png": PNG, "r2/note": b"hello", "top.txt": b"top"}
MEDIA = ("r1/a.png", "r1/b.png", "r2/note")
EACH_FAULT = [Fault.CRASH_BEFORE, Fault.TORN, pytest.param(Fault.CRASH_AFTER, marks=pytest.mark.full)]


def snapshot(top: Path) -> dict[str, tuple[int, int, int, bytes]]:
    files = {str(path.relative_to(top)): (path.stat(), path.read_bytes()) for path in top.rglob("*") if path.is_file()}
    return {name: (seen.st_ino, seen.st_mode, seen.st_mtime_ns, data) for name, (seen, data) in files.items()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree", FILES)


def test_a_tree_becomes_a_store_without_moving_a_byte(tree: Path) -> None:
    before = snapshot(tree)
    planned = adopt_folder(tree, policy_name="retain-30days", dry_run=True)
    assert snapshot(tree) == before
    report = adopt_folder(tree, policy_name="retain-30days")
    assert [each.source for each in planned.stored] == [each.source for each in report.stored]
    assert (planned.examined, planned.bytes, planned.skipped) == (report.examined, report.bytes, report.skipped)
    assert report.failed == ()
    assert [tuple(each) for each in report.stored] == [(f"folder:{name}", name) for name in MEDIA]
    assert [each.source for each in report.skipped] == ["folder:top.txt"]
    assert (report.bytes, report.duplicates, report.duplicate_bytes) == (2 * len(PNG) + 5, 1, len(PNG))
    after = snapshot(tree)
    assert {name: after[name] for name in before} == before
    again = adopt_folder(tree, policy_name="retain-30days")
    assert ((again.stored, again.unchanged), snapshot(tree)) == (((), 3), after)
    store = MediaStore(tree)
    assert list(store.list(run_id="r1")) == ["r1/a.png", "r1/b.png"]
    record, at = store.info("r1/a.png"), datetime.fromtimestamp(MADE, UTC)
    assert (record.run_id, record.mime_type, record.width) == ("r1", "image/png", 1)
    assert record.sha256 == hashlib.sha256(PNG).hexdigest()
    assert (record.timestamp, record.expires_at) == (at, at + timedelta(days=30))
    assert record.xattrs == {"user.source": "folder:r1/a.png"}
    assert store.info("r2/note").mime_type == "text/plain"
    store.delete_media("r1/a.png")
    assert not (tree / "r1/a.png").exists()
    due = store.enforce_policy(now=at + timedelta(days=31))
    assert {each.reference for each in due.deleted} == {"r1/b.png", "r2/note"}
    assert (tree / "top.txt").read_bytes() == b"top"
    plant(tree, {"r3/new.png": PNG})
    assert [each.reference for each in adopt_folder(tree).stored] == ["r3/new.png"]


def test_any_layout_and_mode(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"2026-03-04/s1/r/0003+1/x.png": PNG})
    pattern = "{timestamp:%Y-%m-%d}/{session_id}/{run_id}/{message_idx:04d}+{part_idx}/{name}{ext}"
    adopt_folder(tree, pattern=pattern, ids={"provider_id": "openai"})
    settings = json.loads((tree / ".fsmedia/store.json").read_text())
    assert (settings["organization"], settings["layouts"]["by-session"]) == ("by-session", pattern)
    record = MediaStore(tree).info("2026-03-04/s1/r/0003+1/x.png")
    told = (record.session_id, record.run_id, record.message_idx, record.part_idx, record.provider_id)
    assert told == ("s1", "r", 3, 1, "openai")
    other = plant(tmp_path / "other", {"s1/r/x.png": PNG})
    adopt_folder(other, pattern="{session_id}/{run_id}/{name}{ext}", organization="by-run")
    assert MediaStore(other).organization == "by-run"


def test_on_every_storage(storage: Storage) -> None:
    for name, data in FILES.items():
        storage.write(name, data)
    assert len(adopt_folder(storage.url, storage_options=storage.options).stored) == 3
    assert adopt_folder(storage.url, storage_options=storage.options).unchanged == 3
    store = MediaStore(storage.url, storage_options=storage.options)
    assert store.info("r1/a.png").sha256 == hashlib.sha256(PNG).hexdigest()
    assert all(storage.read(name) == data for name, data in FILES.items())


def test_what_can_be_no_media_is_skipped(tree: Path, tmp_path: Path) -> None:
    none = ["r1/0003_01_u01m8343t30ehsv9fkm039etnz4.png", "r1/a::b.png", "r1/.hidden"]
    plant(tree, dict.fromkeys([*none, f"r1/{'x' * 252}"], PNG))
    (tmp_path / "secret").write_text("secret")
    links = ["r1/link.png", "r1/link.png.meta", "r1/a.png.meta"]
    for link in links:
        (tree / link).symlink_to(tmp_path / "secret")
    os.mkfifo(tree / "r1/pipe")
    report = adopt_folder(tree)
    assert [each.reference for each in report.stored] == ["r1/b.png", "r2/note"]
    assert {each.source for each in report.skipped} == {f"folder:{n}" for n in (*none, *links, "top.txt", "r1/pipe")}
    assert [each.source[:12] for each in report.failed] == ["folder:r1/a.", "folder:r1/xx"]
    assert (tmp_path / "secret").read_text() == "secret"


def test_what_is_refused_is_refused_before_a_byte_is_written(tree: Path, tmp_path: Path) -> None:
    before = snapshot(tree)
    for error, options in (
        (errors.UnknownPolicyError, {"policy_name": "for ever"}),
        (errors.InvalidLayoutError, {"pattern": "{name}{ext}"}),
        (errors.InvalidLayoutError, {"pattern": "by-run/{run_id}/{name}{ext}"}),
        (errors.InvalidLayoutError, {"pattern": "{run_id}/{name}{ext}", "organization": "by-session"}),
        (errors.InvalidLayoutError, {"pattern": ".fsmedia/{run_id}/{name}{ext}"}),
    ):
        raised(error, adopt_folder, tree, **options)
        assert snapshot(tree) == before
    raised(errors.MediaNotFoundError, adopt_folder, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    MediaStore(tree, layouts={"by-run": "x/{run_id}/{name}{ext}"}).create()
    raised(errors.StoreConflictError, adopt_folder, tree, match="layouts")


def test_a_file_that_is_written_meanwhile_is_no_media_yet(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importing.SourceTree.open

    def growing(self: importing.SourceTree, path: str) -> object:
        if path == "r1/a.png":
            (tree / path).write_bytes(PNG + b"more")
        return real(self, path)

    monkeypatch.setattr(importing.SourceTree, "open", growing)
    report = adopt_folder(tree)
    assert [each.source for each in report.failed] == ["folder:r1/a.png"]
    assert "changed while" in str(report.failed[0].error)
    monkeypatch.undo()
    assert [each.reference for each in adopt_folder(tree).stored] == ["r1/a.png"]


@pytest.mark.parametrize("fault", EACH_FAULT)
def test_an_adoption_that_is_killed_goes_on(fault: Fault, tmp_path: Path) -> None:
    files = {"r1/a.png": PNG, "r2/note": b"hello"}
    for number, faults in enumerate(each_call(partial(Faults, fault=fault))):
        tree = plant(tmp_path / str(number), files)
        with faulty_os(faults), suppress(Crash):
            adopt_folder(tree, policy_name="retain-1days")
        report = adopt_folder(tree, policy_name="retain-1days")
        assert (report.failed, len(report.stored) + report.unchanged) == ((), 2)
        store = MediaStore(tree)
        for name, data in files.items():
            assert store.info(name).sha256 == hashlib.sha256(data).hexdigest()
            assert (tree / name).read_bytes() == data
        due = store.enforce_policy(now=datetime.fromtimestamp(MADE, UTC) + timedelta(days=2), dry_run=True)
        assert {each.reference for each in due.deleted} == set(files)


def test_adopting_keeps_what_a_client_of_the_live_store_writes_meanwhile(tmp_path: Path, monkeypatch) -> None:
    """The client's bytes were there already, its sidecar comes while the adoption reads them."""
    tree = plant(tmp_path / "tree", {"r1/a.png": PNG})
    store = MediaStore(tree, organization="by-run", layouts={"by-run": DEFAULT_PATTERN}).create()
    guessed = folders.guess_mime_type

    def guessed_late(*args: Any) -> str:
        store.fs.pipe_file("r1/a.png", PNG)
        store.apply_policy("r1/a.png", "retain-9days")
        return guessed(*args)

    monkeypatch.setattr(folders, "guess_mime_type", guessed_late)
    adopt_folder(tree)
    assert store.info("r1/a.png").policy_name == "retain-9days"


def test_a_store_in_the_tree_is_left_alone_and_no_tree_around_one_becomes_one(tree: Path) -> None:
    """Its media and sidecars were adopted as files of the outer one."""
    inner = MediaStore(tree / "labs" / "x")
    inner.store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="r1"))
    (tree / "labs" / "x" / "-1.png").write_bytes(PNG)
    before = snapshot(tree / "labs")
    report = adopt_folder(tree)
    assert {each.source: each.reason for each in report.skipped}["folder:labs/x/"].startswith("is another store's")
    assert ([each.reference for each in report.stored], snapshot(tree / "labs")) == (list(MEDIA), before)
    # No tree around a store becomes one.
    MediaStore(tree.parent / "outer" / "x").create()
    before = snapshot(tree.parent)
    raised(errors.StoreConflictError, adopt_folder, tree.parent / "outer", match="around the store at")
    assert snapshot(tree.parent) == before
