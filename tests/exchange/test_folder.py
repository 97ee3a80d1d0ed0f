"""Trees of files become media by a pattern, and what is no media is told with its reason."""

import hashlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fsmedia import (
    InvalidLayoutError,
    InvalidMediaError,
    MediaNotFoundError,
    MediaStore,
    ReadOnlyStoreError,
    StorageError,
    import_folder,
)
from fsmedia.exchange import importing
from tests.exchange.arena import PNG
from tests.storages import Storage
from tests.style.project import PACKAGE, ROOT, run

FILES = {
    "r1/a.png": PNG,
    "r1/b.png": PNG,
    "r1/note.txt": b"hello",
    "r1/data": b"\0\1\2",
    "r~2f2/\N{SNOWMAN}.png": PNG + b"2",
    "r 2/x.png": PNG + b"4",
    "r3/two\nlines.png": PNG + b"3",
    "r3/empty.png": b"",
}

MADE = 1_700_000_000


def plant(top: Path, files: dict[str, bytes] | None = None) -> Path:
    for name, data in (FILES if files is None else files).items():
        file = top / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, (MADE, MADE))
    return top


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree")


def test_every_file_becomes_a_media(store: MediaStore, tree: Path) -> None:
    report = import_folder(store, tree)
    assert (report.failed, report.skipped) == ((), ())
    found = {each.source: store.info(each.reference) for each in report.stored}
    assert found.keys() == {f"folder:{name}" for name in FILES}
    for name, data in FILES.items():
        record = found[f"folder:{name}"]
        assert record.sha256 == hashlib.sha256(data).hexdigest()
        assert record.run_id == name.split("/")[0].replace("~2f", "/")
        assert record.timestamp == datetime.fromtimestamp(MADE, UTC)
        assert store.retrieve_media(record.reference).read_bytes() == data
    kinds = [found[f"folder:r1/{name}"].mime_type for name in ("a.png", "note.txt", "data")]
    assert kinds == ["image/png", "text/plain", "application/octet-stream"]
    assert (report.duplicates, report.duplicate_bytes) == (1, len(PNG))
    assert import_folder(store, tree).unchanged == len(FILES)


def test_a_file_that_changed_is_another_media(memory: MediaStore, tree: Path) -> None:
    import_folder(memory, tree)
    (tree / "r1/a.png").write_bytes(PNG + b"!")
    os.utime(tree / "r1/b.png", (1, 1))
    report = import_folder(memory, tree)
    assert [each.source for each in report.stored] == ["folder:r1/a.png"]
    assert len(list(memory.list(run_id="r1"))) == 5


def test_what_is_no_media_is_skipped_with_its_reason(memory: MediaStore, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tree / "r1/out.png").symlink_to(tmp_path / "secret")
    (tree / "r1/inside.png").symlink_to(tree / "r1/a.png")
    (tree / "linked").symlink_to(tmp_path)
    os.mkfifo(tree / "r1/pipe.png")
    plant(tree, {"r1/a.png.meta": b"{}", "r1/.tmp-u01m8343t30ehsv9fkm039etnz4": b""})
    plant(tree, dict.fromkeys(["top.png", "r1/deep/er.png", "r1/.hidden.png", ".git/r1/x.png"], PNG))
    report = import_folder(memory, tree)
    assert len(report.stored) == len(FILES)
    assert report.failed == ()
    reasons = {each.source.removeprefix("folder:"): each.reason for each in report.skipped}
    assert reasons == {
        **dict.fromkeys(["r1/out.png", "r1/inside.png", "linked"], "is a link, which may lead anywhere"),
        **dict.fromkeys(["top.png", "r1/deep/er.png"], "its path does not match the pattern"),
        **dict.fromkeys(["r1/.hidden.png", ".git/"], "is hidden"),
        "r1/pipe.png": "is no regular file",
        "r1/a.png.meta": "is a sidecar: open the tree as a store to read what it says",
        "r1/.tmp-u01m8343t30ehsv9fkm039etnz4": "is a temporary file",
    }
    assert report.examined == len(FILES) + len(reasons)


def test_a_name_without_a_utf_8_form_is_skipped(memory: MediaStore, tree: Path) -> None:
    os.close(os.open(os.fsencode(tree) + b"/r1/\xff.png", os.O_CREAT | os.O_WRONLY))
    (skipped,) = import_folder(memory, tree).skipped
    assert (skipped.source, skipped.reason) == ("folder:r1/\\udcff.png", "its name has no UTF-8 form")


@pytest.mark.parametrize(("call", "end", "lost"), [("open", "/a.png", 1), ("scandir", "/r1", 4)])
def test_what_can_not_be_read_is_told_and_the_rest_goes_on(
    memory: MediaStore, tree: Path, call: str, end: str, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(os, call)  # the tests may run as root, who can read everything

    def refused(path: object, *rest: object, **more: object) -> object:
        if str(path).rstrip("/").endswith(end):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refused)
        report = import_folder(memory, tree)
    (failure,) = report.failed
    assert "r1/" in failure.source
    assert "EACCES" in str(failure.error) or "Permission denied" in str(failure.error)
    assert len(report.stored) == len(FILES) - lost


def test_the_pattern_tells_what_the_path_means(memory: MediaStore, tmp_path: Path) -> None:
    tree = plant(
        tmp_path / "t", {"openai/s1/2026-03-04/c-1/0007_02/x.y.png": PNG, "openai/s1/no/c-1/0007_02/x.png": b""}
    )
    ids = "{provider_id}/{session_id}/{timestamp:%Y-%m-%d}/{conversation_id}/{message_idx:04d}+{part_idx}"
    given = {"run_id": "given", "session_id": "the path wins"}
    assert import_folder(memory, tree, pattern=f"{ids}/{{name}}{{ext}}", ids=given).stored == ()
    (tree / "openai/s1/2026-03-04/c-1/0007_02").rename(tree / "openai/s1/2026-03-04/c-1/0007+2")
    report = import_folder(memory, tree, pattern=f"{ids}/{{name}}{{ext}}", ids=given)
    record = memory.info(report.stored[0].reference)
    found = (record.provider_id, record.session_id, record.conversation_id, record.message_idx, record.part_idx)
    assert found == ("openai", "s1", "c-1", 7, 2)
    assert record.run_id == "given"


@pytest.mark.parametrize("top", ["by-run", ".hidden-not", "x"])
def test_a_flat_folder_takes_its_ids_from_the_caller(memory: MediaStore, tmp_path: Path, top: str) -> None:
    tree = plant(tmp_path / top, {"a.png": PNG, "b/c.png": PNG})
    report = import_folder(memory, tree, pattern="{name}{ext}", ids={"run_id": "r"}, policy_name="retain-1days")
    assert [memory.info(each.reference).run_id for each in report.stored] == ["r"]
    record = memory.info(report.stored[0].reference)
    assert record.expires_at == datetime.fromtimestamp(MADE, UTC) + timedelta(days=1)
    assert [each.source for each in report.skipped] == ["folder:b/c.png"]


def test_names_that_stores_keep_for_themselves_are_names_like_others(memory: MediaStore, tmp_path: Path) -> None:
    tree = plant(tmp_path / "t", {"by-run/a.png": PNG, "runs/b.png": PNG})
    report = import_folder(memory, tree)
    assert [memory.info(each.reference).run_id for each in report.stored] == ["by-run", "runs"]


@pytest.mark.parametrize(
    ("pattern", "ids", "error", "said"),
    [
        ("{name}{ext}", {}, InvalidLayoutError, "run_id is not in the pattern"),
        ("{run_id}/{name}", {}, InvalidLayoutError, "does not end with"),
        ("{run_id}/{other}/{name}{ext}", {}, InvalidLayoutError, "is no field"),
        ("{run_id.__class__}/{name}{ext}", {}, InvalidLayoutError, "run_id is not in the pattern"),
        ("{run_id}/{mime_type.__class__}/{name}{ext}", {}, InvalidLayoutError, "is no field"),
        ("../{run_id}/{name}{ext}", {}, InvalidLayoutError, "'..'"),
        ("{run_id}/{name}{ext}", {"colour": "red"}, InvalidMediaError, "colour"),
        (7, {}, InvalidLayoutError, "does not end with"),
    ],
)
def test_patterns_that_mean_nothing_are_refused(
    memory: MediaStore, tree: Path, pattern: str, ids: dict[str, str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said.replace("{", r"\{")):
        import_folder(memory, tree, pattern=pattern, ids=ids)
    assert list(memory.list()) == []


def test_large_files_stream_in_one_pass_and_are_known_again(
    store: MediaStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SMALL", 1000)
    plant(tree, {"r1/large.bin": bytes(300_000), "r1/twice.bin": bytes(300_000), "r1/sound.pcm": b"\1\2" * 5000})
    planned = import_folder(store, tree, dry_run=True)
    report = import_folder(store, tree)
    assert [each.source for each in planned.stored] == sorted(each.source for each in report.stored)
    assert (planned.bytes, planned.duplicates, planned.duplicate_bytes) == (
        report.bytes, report.duplicates, report.duplicate_bytes,
    )  # fmt: skip
    assert (report.duplicates, report.duplicate_bytes) == (2, len(PNG) + 300_000)
    sound = next(each.reference for each in report.stored if each.source.endswith(".pcm"))
    assert (store.info(sound).mime_type, store.info(sound).size_bytes) == ("audio/wav", 10_044)
    assert import_folder(store, tree).unchanged == len(FILES) + 3


def test_what_is_too_large_for_the_store_is_refused(memory_storage: Storage, tree: Path) -> None:
    store = MediaStore(memory_storage.url, max_file_size=50)
    report = import_folder(store, tree)
    large = {f"folder:{name}" for name, data in FILES.items() if len(data) > 50}
    assert {each.source for each in report.failed} == large
    assert all("max_file_size" in str(each.error) for each in report.failed)


def test_a_media_whose_sidecar_is_damaged_is_told(memory: MediaStore, memory_storage: Storage, tree: Path) -> None:
    first = import_folder(memory, tree)
    reference = next(each.reference for each in first.stored if each.source == "folder:r1/a.png")
    memory_storage.write(f"{reference}.meta", b"{")
    report = import_folder(memory, tree)
    assert reference in str(report.failed[0].error)


def test_the_tree_may_lie_on_any_storage(storage: Storage, memory: MediaStore) -> None:
    for name, data in FILES.items():
        if "\n" not in name:  # moto has no route to it
            storage.write(name, data)
    report = import_folder(memory, storage.url, storage_options=storage.options)
    assert report.failed == ()
    assert {each.source for each in report.stored} == {f"folder:{name}" for name in FILES if "\n" not in name}


def test_a_store_does_not_import_itself(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", FILES)
    store = MediaStore(tree / "media")
    for _ in range(2):
        report = import_folder(store, tree, pattern="{run_id}/{name}{ext}")
        assert len(report.stored) + report.unchanged == len(FILES)
    for place in (tree / "media", tree / "media" / "runs", f"file://{tree}/media"):
        with pytest.raises(InvalidMediaError, match="can't import itself"):
            import_folder(store, place)
    assert len(list(store.list())) == len(FILES)
    deep = import_folder(store, tree, pattern="{session_id}/{provider_id}/{run_id}/{name}{ext}")
    assert deep.stored == ()
    assert not any(each.source.startswith("folder:media/") for each in deep.skipped)


@pytest.fixture
def deep_tree(tmp_path: Path) -> Iterator[Path]:
    """Give a tree that goes however the test ends: what removes it later with recursion, as pytest does, would fail."""
    here = os.open(plant(tmp_path, {"r1/a.png": PNG}), os.O_RDONLY)
    try:
        for _ in range(1900):
            os.mkdir("d", dir_fd=here)
            above, here = here, os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(above)
        os.close(os.open("x.png", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        yield tmp_path
    finally:
        run("rm", "-rf", tmp_path / "d")
        assert not (tmp_path / "d").exists()


def test_trees_deeper_than_the_stack(memory: MediaStore, deep_tree: Path) -> None:
    report = import_folder(memory, deep_tree)
    assert [each.source for each in report.stored] == ["folder:r1/a.png"]
    assert [each.source.endswith("d/x.png") for each in report.skipped] == [True]


def test_a_store_that_is_read_only_is_an_error_unless_nothing_is_written(memory: MediaStore, tree: Path) -> None:
    memory.create()
    store = MediaStore(memory.url, read_only=True)
    assert len(import_folder(store, tree, dry_run=True).stored) == len(FILES)
    with pytest.raises(ReadOnlyStoreError):
        import_folder(store, tree)
    with pytest.raises(MediaNotFoundError):
        import_folder(memory, tree / "nowhere")


def test_no_media_of_a_window_is_lost_from_the_report(
    memory: MediaStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> object:
        raise StorageError("gave no answer", next_step="try again")

    monkeypatch.setattr(MediaStore, "store_many", refused)
    report = import_folder(memory, tree)
    assert len(report.failed) == report.examined == len(FILES)


MEASURED = """
import sys
from fsmedia import MediaStore, import_folder
from tests.protocol.streaming_child import peak
store = MediaStore("store", durability="rename")
list(store.list())
before = peak()
report = import_folder(store, "tree")
assert len(report.stored) == 1, report.failed
print((peak() - before) // 2**20)
"""


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    (tmp_path / "tree" / "r1").mkdir(parents=True)
    with (tmp_path / "tree" / "r1" / "large.bin").open("wb") as file:
        file.truncate(200 * 2**20)
    path = os.pathsep.join([str(PACKAGE.parent), str(ROOT)])  # the tests too, but an installed package first
    done = run(sys.executable, "-W", "error", "-c", MEASURED, cwd=tmp_path, env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.split()[-1]) < 64
