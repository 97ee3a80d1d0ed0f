"""A tree becomes a store where it is: no byte moves, every file that can be a media is one with all its facts."""

import hashlib
import json
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, errors
from fsmedia.exchange.folders import DEFAULT_PATTERN
from fsmedia.format.layout import mode_of
from fsmedia.maintenance import adopt as adoption
from fsmedia.models import ImportReport
from tests.conftest import on
from tests.exchange.conftest import PNG
from tests.exchange.test_folder import MADE, plant
from tests.protocol.faults import Crash, Fault, Faults, faulty_os
from tests.protocol.worlds import each_call
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE, Storage

FILES = {"r1/a.png": PNG, "r1/b.png": PNG, "r2/note": b"hello", "top.txt": b"top"}
EACH_FAULT = [Fault.CRASH_BEFORE, Fault.TORN, pytest.param(Fault.CRASH_AFTER, marks=pytest.mark.full)]


def adopted(
    place: Path | str,
    pattern: str = DEFAULT_PATTERN,
    organization: str | None = None,
    storage_options: Any = None,
    **words: Any,
) -> ImportReport:
    """Make a store of a tree that reads by a pattern, and adopt its files."""
    mode = organization or mode_of(pattern)
    store = MediaStore(place, organization=mode, layouts={mode: pattern}, storage_options=storage_options)
    return store.adopt(**words)


def snapshot(top: Path) -> dict[str, tuple[int, int, int, bytes]]:
    files = {str(path.relative_to(top)): (path.stat(), path.read_bytes()) for path in top.rglob("*") if path.is_file()}
    return {name: (seen.st_ino, seen.st_mode, seen.st_mtime_ns, data) for name, (seen, data) in files.items()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree", FILES)


def test_a_tree_becomes_a_store_without_moving_a_byte(tree: Path) -> None:
    before = snapshot(tree)
    planned = adopted(tree, policy_name="retain-30days", dry_run=True)
    assert snapshot(tree) == before
    report = adopted(tree, policy_name="retain-30days", allow_due=True)
    assert [each.source for each in planned.stored] == [each.source for each in report.stored]
    assert (planned.examined, planned.bytes, planned.skipped) == (report.examined, report.bytes, report.skipped)
    assert (report.failed, report.skipped) == ((), ())
    assert [tuple(each) for each in report.stored] == [(name, name) for name in FILES]
    assert (planned.in_place, report.in_place, "adopted 4" in str(report)) == (True, True, True)
    assert (report.bytes, report.duplicates, report.duplicate_bytes) == (2 * len(PNG) + 8, 1, len(PNG))
    after = snapshot(tree)
    assert {name: after[name] for name in before} == before
    again = adopted(tree, policy_name="retain-30days")  # what is adopted already is not looked at again
    assert ((again.stored, again.unchanged), snapshot(tree)) == (((), 4), after)
    store = MediaStore(tree)
    assert list(store.list(run_id="r1")) == ["r1/a.png", "r1/b.png"]
    record, at = store.info("r1/a.png"), datetime.fromtimestamp(MADE, UTC)
    assert (record.run_id, record.mime_type, record.width) == ("r1", "image/png", 1)
    assert record.sha256 == hashlib.sha256(PNG).hexdigest()
    assert (record.timestamp, record.expires_at) == (at, at + timedelta(days=30))
    assert (store.info("r2/note").mime_type, store.info("top.txt").run_id) == ("text/plain", "")
    assert store.verify(deep=True).counts == {}
    store.delete_media("r1/a.png")
    assert not (tree / "r1/a.png").exists()
    due = store.enforce_policy(now=at + timedelta(days=31))
    assert {each.reference for each in due.deleted} == {"r1/b.png", "r2/note", "top.txt"}
    plant(tree, {"r3/new.png": PNG})
    assert [each.reference for each in adopted(tree).stored] == ["r3/new.png"]


@on(LOCAL, MEMORY, S3_MOTO)
def test_old_files_are_not_adopted_under_a_policy_that_lets_them_go_at_once(storage: Storage) -> None:
    """A tree of photographs was adopted under `retain-30days`, and the next sweep deleted the only copies."""
    for name, data in FILES.items():
        storage.write(name, data)
    later = datetime.now(UTC) + timedelta(days=29)  # nothing is due yet, then all of it
    words: dict[str, Any] = {"policy_name": "retain-30days"}
    settings: dict[str, Any] = {"layouts": {"by-run": DEFAULT_PATTERN}, "storage_options": storage.options}
    early = MediaStore(storage.url, now=lambda: later, **settings).adopt(dry_run=True, **words)
    assert (early.already_due, "due" in str(early)) == (0, False)
    late = MediaStore(storage.url, now=lambda: later + timedelta(days=2), **settings)
    planned = late.adopt(dry_run=True, **words)
    assert (planned.already_due, "would adopt 4" in str(planned), ", 4 already due" in str(planned)) == (4, True, True)
    assert "the files themselves" in (planned._repr_html_() or "")
    before = set(storage.keys())
    with pytest.raises(errors.InvalidMediaError, match=r"4 files already due.*allow_due=True"):
        late.adopt(**words)
    assert set(storage.keys()) == before == set(FILES)
    report = late.adopt(allow_due=True, **words)
    assert (report.already_due, len(report.stored), report.failed) == (4, 4, ())
    storage.write("r9/new", b"new")
    assert late.adopt().already_due == 0


def test_an_old_file_that_comes_after_the_look_fails_alone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in tree.rglob("*.*"):
        os.utime(file)
    (tree / "r2/note").unlink()
    real = adoption._refuse_due
    monkeypatch.setattr(adoption, "_refuse_due", lambda *words: (real(*words), plant(tree, {"r3/old.png": PNG})))
    report = adopted(tree, policy_name="retain-30days")
    assert ([each.source for each in report.failed], len(report.stored)) == (["r3/old.png"], 3)
    assert "already due" in str(report.failed[0].error)
    assert MediaStore(tree).enforce_policy().deleted == ()


def test_any_layout_and_mode_and_ids_of_what_tells_none(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"2026-03-04/s1/r/0003+1/x.png": PNG, "top.png": PNG})
    pattern = "{timestamp:%Y-%m-%d}/{session_id}/{run_id}/{message_idx:04d}+{part_idx}/{name}{ext}"
    adopted(tree, pattern=pattern, provider_id="openai", run_id="loose")
    settings = json.loads((tree / ".fsmedia/store.json").read_text())
    assert (settings["organization"], settings["layouts"]["by-session"]) == ("by-session", pattern)
    record = MediaStore(tree).info("2026-03-04/s1/r/0003+1/x.png")
    told = (record.session_id, record.run_id, record.message_idx, record.part_idx, record.provider_id)
    assert told == ("s1", "r", 3, 1, "openai")
    assert MediaStore(tree).info("top.png").run_id == "loose"
    other = plant(tmp_path / "other", {"s1/r/x.png": PNG})
    adopted(other, pattern="{session_id}/{run_id}/{name}{ext}", organization="by-run")
    assert MediaStore(other).organization == "by-run"


def test_on_every_storage(storage: Storage) -> None:
    for name, data in FILES.items():
        storage.write(name, data)
    assert len(adopted(storage.url, storage_options=storage.options).stored) == 4
    assert adopted(storage.url, storage_options=storage.options).unchanged == 4
    store = MediaStore(storage.url, storage_options=storage.options)
    assert store.info("r1/a.png").sha256 == hashlib.sha256(PNG).hexdigest()
    assert all(storage.read(name) == data for name, data in FILES.items())


def test_what_can_be_no_media_is_skipped(tree: Path, tmp_path: Path) -> None:
    none = ["r1/0003_01_u01m8343t30ehsv9fkm039etnz4.png", "r1/a::b.png", "r1/.hidden", "r1/.git/config"]
    plant(tree, dict.fromkeys([*none, f"r1/{'x' * 252}"], PNG))
    (tmp_path / "secret").write_text("secret")
    for link in ("r1/link.png", "r1/link.png.meta", "r1/a.png.meta"):
        (tree / link).symlink_to(tmp_path / "secret")
    os.mkfifo(tree / "r1/pipe")
    report = adopted(tree)
    assert [each.reference for each in report.stored] == ["r1/b.png", "r2/note", "top.txt"]
    assert {each.source for each in report.skipped} == set(none)
    assert sorted(each.source[:5] for each in report.failed) == ["r1/a.", "r1/xx"]
    assert (tmp_path / "secret").read_text() == "secret"


def test_what_is_refused_is_refused_before_a_byte_is_written(tree: Path, tmp_path: Path) -> None:
    before = snapshot(tree)
    for error, options in (
        (errors.UnknownPolicyError, {"policy_name": "for ever"}),
        (errors.InvalidLayoutError, {"pattern": "{name}{ext}"}),
        (errors.InvalidLayoutError, {"pattern": "by-run/{run_id}/{name}{ext}"}),
        (errors.InvalidLayoutError, {"pattern": "{run_id}/{name}{ext}", "organization": "by-session"}),
        (errors.InvalidLayoutError, {"pattern": ".fsmedia/{run_id}/{name}{ext}"}),
        (errors.InvalidMediaError, {"run_id": "\udc00"}),
    ):
        with pytest.raises(error):
            adopted(tree, **options)
        assert snapshot(tree) == before
    # It would be a store for good, and no media would have an id.
    for dry_run in (True, False):
        with pytest.raises(errors.InvalidMediaError, match="how its paths read"):
            MediaStore(tree).adopt(dry_run=dry_run)
        assert snapshot(tree) == before
    with pytest.raises(errors.MediaNotFoundError):
        adopted(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(errors.ReadOnlyStoreError):
        MediaStore(tree, read_only=True).adopt()
    MediaStore(tree, layouts={"by-run": "x/{run_id}/{name}{ext}"}).create()
    with pytest.raises(errors.StoreConflictError, match="layouts"):
        adopted(tree)


def test_a_file_that_is_written_meanwhile_is_no_media_yet(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = adoption.read_digests

    def growing(*words: Any) -> list[Any]:
        found = real(*words)
        (tree / "r1/a.png").write_bytes(PNG + b"more")
        (tree / "r1/b.png").unlink()
        return found

    monkeypatch.setattr(adoption, "read_digests", growing)
    report = adopted(tree)
    assert [each.source for each in report.failed] == ["r1/a.png", "r1/b.png"]
    assert "changed while" in str(report.failed[0].error)
    assert not list(tree.rglob("*.png.meta"))
    monkeypatch.undo()
    assert [each.reference for each in adopted(tree).stored] == ["r1/a.png"]


@pytest.mark.parametrize("meanwhile", ["replaced", "written", "policy", "deleted", "stored again"])
@on(LOCAL, MEMORY, S3_RCLONE, S3_MOTO)
def test_what_happens_to_a_file_while_it_is_adopted(
    meanwhile: str, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adopted was what could not be read; and a client's acknowledged sidecar was taken for the adoption's own."""
    key, new = "runs/r1/a.png", PNG + b"new"
    storage.write(key, PNG)
    store = MediaStore(storage.url, storage_options=storage.options).create()
    backend, done = type(store._backend), list[int]()
    real = backend.create

    def create(self: Any, name: str, *words: Any, **more: Any) -> bool:
        if name != f"{key}.meta" or done:
            return real(self, name, *words, **more)
        done.append(1)
        if meanwhile == "replaced":
            storage.write(key, new)
        if meanwhile == "written":
            store.fs.pipe_file(key, new)
        created = real(self, name, *words, **more)
        if meanwhile in ("deleted", "stored again"):
            store.delete_media(key)
        if meanwhile == "stored again":
            store.fs.pipe_file(key, new)
        if meanwhile in ("policy", "stored again"):
            store.apply_policy(key, "retain-7days")
        return created

    monkeypatch.setattr(backend, "create", create)
    store.adopt()
    assert done
    again = MediaStore(storage.url, storage_options=storage.options)
    assert again.exists(key) == (meanwhile != "deleted")
    if meanwhile != "deleted":
        assert again.read(key) == (PNG if meanwhile == "policy" else new)
    if meanwhile in ("policy", "stored again"):
        assert again.info(key).policy_name == "retain-7days"
    assert again.adopt().failed == ()
    assert again.verify(deep=True).whole


def test_bytes_written_in_place_under_their_old_time_are_noticed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = adoption.read_digests

    def rewriting(*words: Any) -> list[Any]:
        found, path = real(*words), tree / "r1/a.png"
        path.write_bytes(PNG[::-1])
        os.utime(path, (MADE, MADE))
        return found

    monkeypatch.setattr(adoption, "read_digests", rewriting)
    assert [each.source for each in adopted(tree).failed] == ["r1/a.png"]


@pytest.mark.parametrize("fault", EACH_FAULT)
def test_an_adoption_that_is_killed_goes_on(fault: Fault, tmp_path: Path) -> None:
    files = {"r1/a.png": PNG, "r2/note": b"hello"}
    for number, faults in enumerate(each_call(partial(Faults, fault=fault))):
        tree = plant(tmp_path / str(number), files)
        with faulty_os(faults), suppress(Crash):
            adopted(tree, policy_name="retain-1days", allow_due=True)
        report = adopted(tree, policy_name="retain-1days", allow_due=True)
        assert (report.failed, len(report.stored) + report.unchanged) == ((), 2)
        store = MediaStore(tree)
        for name, data in files.items():
            assert store.info(name).sha256 == hashlib.sha256(data).hexdigest()
            assert (tree / name).read_bytes() == data
        due = store.enforce_policy(now=datetime.fromtimestamp(MADE, UTC) + timedelta(days=2), dry_run=True)
        assert {each.reference for each in due.deleted} == set(files)


def test_adopting_keeps_what_a_client_of_the_live_store_writes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's bytes were there already, its sidecar comes while the adoption makes its own."""
    tree = plant(tmp_path / "tree", {"r1/a.png": PNG})
    store = MediaStore(tree, organization="by-run", layouts={"by-run": DEFAULT_PATTERN}).create()
    real = adoption.Sidecar.of_bytes

    def late(*words: Any, **more: Any) -> Any:
        monkeypatch.undo()
        store.fs.pipe_file("r1/a.png", PNG)
        store.apply_policy("r1/a.png", "retain-9days")
        return real(*words, **more)

    monkeypatch.setattr(adoption.Sidecar, "of_bytes", late)
    assert adopted(tree).stored == ()
    assert store.info("r1/a.png").policy_name == "retain-9days"


def test_a_store_in_the_tree_is_left_alone_and_no_tree_around_one_becomes_one(tree: Path) -> None:
    """Its media and sidecars were adopted as files of the outer one."""
    MediaStore(tree / "labs" / "x").store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="r1"))
    (tree / "labs" / "x" / "-1.png").write_bytes(PNG)
    before = snapshot(tree / "labs")
    report = adopted(tree)
    assert {each.source: each.reason for each in report.skipped}["labs/x/"].startswith("is another store's")
    assert ([each.source for each in report.stored], snapshot(tree / "labs")) == (list(FILES), before)
    MediaStore(tree.parent / "outer" / "x").create()
    plant(tree.parent / "outer", {"r1/a.png": PNG})
    before = snapshot(tree.parent / "outer")
    for dry_run in (True, False):
        with pytest.raises(errors.StoreConflictError, match="around the store at"):
            adopted(tree.parent / "outer", dry_run=dry_run)
    assert snapshot(tree.parent / "outer") == before
