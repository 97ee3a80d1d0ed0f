"""Trees of files become media by a pattern, and what is no media is told with its reason."""

import hashlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

from fsmedia import MediaStore, errors, import_folder, import_promptarena
from fsmedia.exchange import importing
from fsmedia.exchange.importing import SMALL
from tests.contract.specimens import raised
from tests.exchange.conftest import PNG, inline, part, write
from tests.protocol.faults import CRASHES, Fault, Faults
from tests.protocol.worlds import World, each_call, fresh_world
from tests.protocol.worlds import run as run_in
from tests.storages import LOCAL, MEMORY, Storage
from tests.style.project import PACKAGE, ROOT, run

FILES = {
    "r1/a.png": PNG, "r1/b.png": PNG, "r1/note.txt": b"hello", "r1/data": b"\0\1\2", "r3/empty.png": b"",
    "r~2f2/\N{SNOWMAN}.png": PNG + b"2", "r 2/x.png": PNG + b"4", "r3/two\nlines.png": PNG + b"3",
}  # fmt: skip

MADE = 1_700_000_000
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
CHILD = """
import sys
from fsmedia import MediaStore, import_folder
import_folder(MediaStore(sys.argv[1]), sys.argv[2], progress=lambda count: print(count, flush=True))
"""


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
    names = {name: name.rpartition("/")[2].replace("\n", "") for name in FILES}
    assert {name: found[f"folder:{name}"].file_name for name in FILES} == names
    for name, data in FILES.items():
        record = found[f"folder:{name}"]
        told = (record.sha256, record.run_id, record.timestamp)
        run = name.split("/")[0].replace("~2f", "/")
        assert told == (hashlib.sha256(data).hexdigest(), run, datetime.fromtimestamp(MADE, UTC))
        assert store.retrieve_media(record.reference).read_bytes() == data
    kinds = [found[f"folder:r1/{name}"].mime_type for name in ("a.png", "note.txt", "data")]
    assert kinds == ["image/png", "text/plain", "application/octet-stream"]
    assert (report.duplicates, report.duplicate_bytes) == (1, len(PNG))
    assert import_folder(store, tree).unchanged == len(FILES)
    # A file that changed is another media.
    (tree / "r1/a.png").write_bytes(PNG + b"!")
    os.utime(tree / "r1/b.png", (1, 1))
    report = import_folder(store, tree)
    assert ([each.source for each in report.stored], len(list(store.list(run_id="r1")))) == (["folder:r1/a.png"], 5)


def test_what_is_no_media_is_skipped_with_its_reason(memory: MediaStore, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tree / "r1/out.png").symlink_to(tmp_path / "secret")
    (tree / "r1/inside.png").symlink_to(tree / "r1/a.png")
    (tree / "linked").symlink_to(tmp_path)
    os.mkfifo(tree / "r1/pipe.png")
    plant(tree, {"r1/a.png.meta": b"{}", "r1/.tmp-u01m8343t30ehsv9fkm039etnz4": b""})
    plant(tree, dict.fromkeys(["top.png", "r1/deep/er.png", "r1/.hidden.png", ".git/r1/x.png"], PNG))
    os.close(os.open(os.fsencode(tree) + b"/r1/\xff.png", os.O_CREAT | os.O_WRONLY))
    report = import_folder(memory, tree)
    assert (len(report.stored), report.failed) == (len(FILES), ())
    reasons = {each.source.removeprefix("folder:"): each.reason for each in report.skipped}
    assert reasons == {
        **dict.fromkeys(["r1/out.png", "r1/inside.png", "linked"], "is a link, which may lead anywhere"),
        **dict.fromkeys(["top.png", "r1/deep/er.png"], "its path does not match the pattern"),
        **dict.fromkeys(["r1/.hidden.png", ".git/"], "is hidden"),
        "r1/pipe.png": "is no regular file",
        "r1/a.png.meta": "is a sidecar: open the tree as a store to read what it says",
        "r1/.tmp-u01m8343t30ehsv9fkm039etnz4": "is a temporary file",
        "r1/\\udcff.png": "its name has no UTF-8 form",
    }
    assert report.examined == len(FILES) + len(reasons)


@pytest.mark.parametrize(("call", "end", "lost"), [("open", "a.png", 1), ("scandir", "/r1", 4)])
def test_what_can_not_be_read_is_told_and_the_rest_goes_on(memory, tree, call, end, lost: int, monkeypatch) -> None:
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
    files = {"openai/s1/2026-03-04/c-1/0007_02/x.y.png": PNG, "openai/s1/no/c-1/0007_02/x.png": b""}
    tree = plant(tmp_path / "t", files)
    ids = "{provider_id}/{session_id}/{timestamp:%Y-%m-%d}/{conversation_id}/{message_idx:04d}+{part_idx}"
    given = {"run_id": "given", "session_id": "the path wins"}
    assert import_folder(memory, tree, pattern=f"{ids}/{{name}}{{ext}}", ids=given).stored == ()
    (tree / "openai/s1/2026-03-04/c-1/0007_02").rename(tree / "openai/s1/2026-03-04/c-1/0007+2")
    record = memory.info(import_folder(memory, tree, pattern=f"{ids}/{{name}}{{ext}}", ids=given).stored[0].reference)
    found = (record.provider_id, record.session_id, record.conversation_id, record.message_idx, record.part_idx)
    assert (*found, record.run_id) == ("openai", "s1", "c-1", 7, 2, "given")


def test_a_flat_folder_takes_its_ids_from_the_caller_and_names_stores_keep_are_like_others(memory, tmp_path) -> None:
    for top in ("by-run", ".hidden-not", "x"):
        tree = plant(tmp_path / top, {"a.png": PNG, "b/c.png": PNG})
        report = import_folder(memory, tree, pattern="{name}{ext}", ids={"run_id": top}, policy_name="retain-1days")
        assert (report.already_due, "stored 1" in str(report), "1 already due" in str(report)) == (1, True, True)
        (record,) = (memory.info(each.reference) for each in report.stored)
        assert (record.run_id, record.expires_at) == (top, datetime.fromtimestamp(MADE, UTC) + timedelta(days=1))
        assert [each.source for each in report.skipped] == ["folder:b/c.png"]
    report = import_folder(memory, plant(tmp_path / "t", {"by-run/a.png": PNG, "runs/b.png": PNG}))
    assert [memory.info(each.reference).run_id for each in report.stored] == ["by-run", "runs"]
    assert (report.already_due, "due" in str(report)) == (0, False)
    # So it is by the default of the store, for the plan, and for what is streamed.
    keeper = MediaStore(tmp_path / "keeper", default_policy="retain-30days")
    tree = plant(tmp_path / "large", {"r1/a.png": PNG + bytes(SMALL)})
    for dry_run in (True, False):
        report = import_folder(keeper, tree, dry_run=dry_run)
        assert (report.already_due, "the next sweep deletes" in (report._repr_html_() or "")) == (1, True)


def test_patterns_that_mean_nothing_are_refused(memory: MediaStore, tree: Path) -> None:
    for pattern, said in (
        ("{name}{ext}", "run_id is not in the pattern"), ("{run_id}/{name}", "does not end with"),
        ("{run_id}/{other}/{name}{ext}", "is no field"), ("../{run_id}/{name}{ext}", "'..'"), (7, "does not end with"),
        ("{run_id.__class__}/{name}{ext}", "run_id is not in the pattern"),
        ("{run_id}/{mime_type.__class__}/{name}{ext}", "is no field"),
    ):  # fmt: skip
        raised(errors.InvalidLayoutError, import_folder, memory, tree, match=said, pattern=pattern)
    with pytest.raises(errors.InvalidMediaError, match="colour"):
        import_folder(memory, tree, pattern="{run_id}/{name}{ext}", ids={"colour": "red"})
    assert list(memory.list()) == []


def test_large_files_stream_in_one_pass_and_are_known_again(store: MediaStore, tree: Path, monkeypatch) -> None:
    monkeypatch.setattr(importing, "SMALL", 1000)
    plant(tree, {"r1/large.bin": bytes(300_000), "r1/twice.bin": bytes(300_000), "r1/sound.pcm": b"\1\2" * 5000})
    planned = import_folder(store, tree, dry_run=True)
    report = import_folder(store, tree)
    assert [each.source for each in planned.stored] == sorted(each.source for each in report.stored)
    assert all(getattr(planned, name) == getattr(report, name) for name in ("bytes", "duplicates", "duplicate_bytes"))
    assert (report.duplicates, report.duplicate_bytes) == (2, len(PNG) + 300_000)
    sound = next(each.reference for each in report.stored if each.source.endswith(".pcm"))
    assert (store.info(sound).mime_type, store.info(sound).size_bytes) == ("audio/wav", 10_044)
    assert import_folder(store, tree).unchanged == len(FILES) + 3


@pytest.mark.parametrize("small", [importing.SMALL, 1], ids=["read whole", "streamed"])
def test_what_the_run_has_under_its_name_is_left_out_if_asked_wherever_it_lay(store, tmp_path, small, monkeypatch):
    monkeypatch.setattr(importing, "SMALL", small)
    old = {"a.png": PNG, "b.png": PNG + b"b", "sound.pcm": b"\1\2" * 50}
    first = import_folder(store, plant(tmp_path / "old", old), pattern="{name}{ext}", ids={"run_id": "r1"})
    known = {each.source.removeprefix("folder:"): each.reference for each in first.stored}
    new = {"x/a.png": PNG, "y/a.png": PNG, "x/b.png": PNG + b"!", "x/sound.pcm": b"\1\2" * 50}
    new |= {"x/other.png": PNG, "y/other.png": PNG, "x/fresh.png": PNG + b"?"}
    moved = plant(tmp_path / "new", new)
    take = partial(import_folder, store, moved, pattern="{provider_id}/{name}{ext}", unless_stored=True)
    wanted = [f"folder:{name}" for name in ("x/b.png", "x/fresh.png", "x/other.png")]
    planned, report = take(ids={"run_id": "r1"}, dry_run=True), take(ids={"run_id": "r1"})
    assert [each.source for each in planned.stored] == sorted(each.source for each in report.stored) == wanted
    other = next(each.reference for each in report.stored if each.source.endswith("other.png"))
    left_out = {
        "x/a.png": known["a.png"],
        "y/a.png": known["a.png"],
        "x/sound.pcm": known["sound.pcm"],
        "y/other.png": other,
    }
    assert {each.source.removeprefix("folder:"): each.reference for each in report.already_stored} == left_out
    assert (report.unchanged, report.failed, "4 already stored" in str(report)) == (0, (), True)
    again = take(ids={"run_id": "r1"})
    assert (len(again.stored), again.unchanged, len(again.already_stored)) == (0, 3, 4)
    # Another run has none of them, and who does not ask gets all of them.
    assert len(take(ids={"run_id": "r2"}).stored) == 5
    assert len(take(ids={"run_id": "r1"}, unless_stored=False).stored) == 4


def test_what_equals_a_file_that_could_not_be_stored_is_stored(memory: MediaStore, tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"x/a.png": PNG, "y/a.png": PNG})
    refused = Mock(wraps=memory, organization=memory.organization)
    answers = iter([[errors.StorageError("is full")]])
    refused.store_many.side_effect = lambda pairs, **how: next(answers, None) or memory.store_many(pairs, **how)
    report = import_folder(refused, tree, pattern="{provider_id}/{name}{ext}", ids={"run_id": "r"}, unless_stored=True)
    assert [each.source for each in report.failed] == ["folder:x/a.png"]
    assert [each.source for each in report.stored] == ["folder:y/a.png"]


def test_what_is_too_large_for_the_store_is_refused(memory: MediaStore, memory_storage: Storage, tree: Path) -> None:
    report = import_folder(MediaStore(memory_storage.url, max_file_size=50), tree)
    large = {f"folder:{name}" for name, data in FILES.items() if len(data) > 50}
    assert {each.source for each in report.failed} == large
    assert all("max_file_size" in str(each.error) for each in report.failed)
    # A media whose sidecar is damaged is told.
    (reference,) = (each.reference for each in import_folder(memory, tree).stored if each.source == "folder:r1/a.png")
    memory_storage.write(f"{reference}.meta", b"{")
    assert reference in str(import_folder(memory, tree).failed[0].error)


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
        raised(errors.InvalidMediaError, import_folder, store, place, match="can't import itself")
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


def test_a_store_that_is_read_only_or_gives_no_answer_is_an_error_unless_it_is_only_read(memory, tree, monkeypatch):
    memory.create()
    store = MediaStore(memory.url, read_only=True)
    assert len(import_folder(store, tree, dry_run=True).stored) == len(FILES)
    raised(errors.ReadOnlyStoreError, import_folder, store, tree)
    raised(errors.MediaNotFoundError, import_folder, memory, tree / "nowhere")
    # No media of a window is lost from the report.
    refused = Mock(side_effect=errors.StorageError("gave no answer", next_step="try again"))
    monkeypatch.setattr(MediaStore, "store_many", refused)
    report = import_folder(memory, tree)
    assert len(report.failed) == report.examined == len(FILES)


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    (tmp_path / "tree" / "r1").mkdir(parents=True)
    with (tmp_path / "tree" / "r1" / "large.bin").open("wb") as file:
        file.truncate(200 * 2**20)
    path = os.pathsep.join([str(PACKAGE.parent), str(ROOT)])  # the tests too, but an installed package first
    done = run(sys.executable, "-W", "error", "-c", MEASURED, cwd=tmp_path, env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.split()[-1]) < 64


# -- an import dies at any call, or is killed: the next one stores what is missing, and nothing twice -------------
@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A result with equal and different pictures, inline and beside."""
    folder = plant(tmp_path / "out", {"media/large.png": PNG + bytes(3000)})
    write(folder, "r", [inline(), inline(), part(storage_reference="out/media/large.png"), inline(PNG + b"2")])
    return folder


def check(world: World) -> None:
    store = world.open()
    records = [store.info(reference) for reference in store.list(run_id="r")]
    wanted = (PNG, PNG, PNG + bytes(3000), PNG + b"2")
    assert Counter(each.sha256 for each in records) == Counter(hashlib.sha256(data).hexdigest() for data in wanted)
    assert {each.xattrs["user.source"] for each in records} == {f"promptarena:r#Messages/0/parts/{n}" for n in range(4)}


@pytest.mark.parametrize("deduplicate", [False, True])
@pytest.mark.parametrize(("kind", "level"), [(MEMORY, "calls"), (LOCAL, "syscalls")])
def test_an_import_that_dies_anywhere_goes_on(kind: str, level: str, deduplicate, out, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(importing, "SMALL", 2000)
    monkeypatch.setattr(importing, "_TOGETHER", 2)
    for fault in CRASHES:
        for faults in each_call(partial(Faults, fault=fault)):
            world = fresh_world(kind, tmp_path, first=True, deduplicate=deduplicate, durability="rename")
            run_in(world, faults, level, lambda store: import_promptarena(store, out))
            report = import_promptarena(world.open(), out)
            assert (report.failed, len(report.stored) + report.unchanged) == ((), 4)
            check(world)
            assert import_promptarena(world.open(), out).unchanged == 4


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOST])
def test_what_a_storage_refuses_is_told_and_stored_by_the_next_import(fault: Fault, out: Path, tmp_path: Path) -> None:
    for faults in each_call(partial(Faults, fault=fault)):
        world = fresh_world(MEMORY, tmp_path, first=True)
        report = None
        with suppress(OSError):
            report = run_in(world, faults, "calls", lambda store: import_promptarena(store, out))
        if report is not None and faults.hit is not None and fault is Fault.FAIL:
            assert report.failed or len(report.stored) == 4
        assert import_promptarena(world.open(), out).failed == ()
        # An answer that got lost may leave a media that the first report calls failed: it is known again.
        check(world)


@pytest.mark.parametrize("after", [150, *(pytest.param(each, marks=pytest.mark.full) for each in (70, 299))])
def test_an_import_that_is_killed_goes_on(tmp_path: Path, after: int) -> None:
    tree = plant(tmp_path / "tree", {f"r{n % 3}/{n}.bin": str(n).encode() * 50 for n in range(300)})
    words = [sys.executable, "-c", CHILD, str(tmp_path / "store"), str(tree)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if int(line) == after:
                child.send_signal(signal.SIGKILL)
                break
        child.wait()
    assert child.returncode == -signal.SIGKILL
    store = MediaStore(tmp_path / "store")
    there = len(list(store.list()))
    assert 0 < there < 300
    report = import_folder(store, tree)
    assert (len(report.stored), report.unchanged, report.failed) == (300 - there, there, ())
    sources = [store.info(reference).xattrs["user.source"] for reference in store.list()]
    assert sorted(sources) == sorted(f"folder:r{n % 3}/{n}.bin" for n in range(300))
