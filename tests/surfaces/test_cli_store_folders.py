"""`fsmedia store DIR`: never the sidecars of a store, files by pattern, what was left out, what a stop leaves."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from tests.surfaces.test_cli import fsmedia, refused
from tests.surfaces.test_cli_process import DEADLINE, started


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """Make a store with two runs."""
    store = MediaStore(tmp_path / "full")
    for run in ("r1", "r 2"):
        store.store_media(MediaContent.from_text(run, caption="told"), MediaMetadata(run_id=run))
    return tmp_path / "full"


def followed(said: str, root: Path) -> MediaStore:
    """Run the command that an error names, and return the store that it filled."""
    command = said.partition("metadata: ")[2].partition("; or ")[0].strip()
    words = shlex.split(command)
    assert words[:2] == ["fsmedia", "sync"], said
    assert fsmedia(*words[1:]).exit_code == 0
    return MediaStore(root)


@pytest.mark.parametrize("deduplicate", [False, True])
def test_a_store_is_no_folder_of_files(deduplicate: bool, tmp_path: Path) -> None:
    """The README stored a whole store, sidecars and all, as media of a run."""
    full, copies = tmp_path / "full", tmp_path / "copies"
    store = MediaStore(full, deduplicate=deduplicate)
    store.store_media(MediaContent.from_text("x", caption="told"), MediaMetadata(run_id="r1"))
    said = refused(fsmedia("store", full, "--run", "r", "-s", copies), 2)
    assert not list(copies.rglob("*.meta"))
    copied = followed(said, copies)
    assert [copied.info(each).caption for each in copied.list()] == ["told"]


def test_a_run_of_a_store_is_synced_as_one(full: Path, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    folder = MediaStore(full).folder(run_id="r 2")
    said = refused(fsmedia("store", full / folder, "--run", "r", "-s", copies), 2)
    copied = followed(said, copies)
    assert [copied.info(each).run_id for each in copied.list()] == ["r 2"]
    words = ["--include", "*.txt", "--run", "r", "-s", copies]
    assert "lies in a store" in refused(fsmedia("store", full / folder, *words), 2), "its media lost their metadata"


def test_a_store_below_a_folder_is_named(full: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "a").mkdir(parents=True)
    (project / "plan.txt").write_text("plan")
    full.rename(project / "a" / "old")
    (project / "a" / "old" / ".fsmedia").rename(project / "a" / "old" / ".FSMedia")
    copies = tmp_path / "copies"
    said = refused(fsmedia("store", project, "--run", "r", "-s", copies), 2)
    assert f"holds the store {project}/a/old" in said
    exclude = shlex.split(said.rpartition("leave it out: ")[2])
    done = fsmedia("store", project, "--run", "r", "-s", copies, *exclude)
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1), done.output


def test_a_store_of_promptkit_is_one_by_its_sidecars(full: Path, tmp_path: Path) -> None:
    """It has no `.fsmedia`."""
    copies = tmp_path / "copies"
    for file in sorted((full / ".fsmedia").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (full / ".fsmedia").rmdir()
    for folder, count in ((full / "runs" / "r1", 1), (full, 2)):
        said = refused(fsmedia("store", folder, "--run", "r", "-s", copies), 2)
        assert len(list(followed(said, copies).list())) == count


def test_a_shell_names_sidecars_too(full: Path, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    files = sorted(str(path) for path in (full / "runs" / "r1").iterdir())
    assert len(files) == 2
    said = refused(fsmedia("store", *files, "--run", "r", "-s", copies), 2)
    assert "is the metadata of" in said
    assert len(list(followed(said, copies).list())) == 1
    assert fsmedia("store", files[0], "--run", "r", "-s", copies).exit_code == 0, "one media alone may be copied"


def test_what_lies_in_the_store_itself_is_stored_already(full: Path) -> None:
    before = sorted(full.rglob("*"))
    assert "in this store already" in refused(fsmedia("store", full / "runs" / "r1", "--run", "r", "-s", full), 2)
    assert sorted(full.rglob("*")) == before
    (full.parent / "plan.txt").write_text("plan")
    done = fsmedia("store", full.parent, "--run", "r", "-s", full)
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1), "the store below the folder is left out"


def test_meta_files_of_others_can_be_left_out(tmp_path: Path) -> None:
    """Unity has a `.meta` beside each picture."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("a.png", "a.png.meta", "alone.meta"):
        (folder / name).write_bytes(b"x")
    assert "holds sidecars" in refused(fsmedia("store", folder, "--run", "r", "-s", tmp_path / "media"), 2)
    done = fsmedia("store", folder, "--run", "r", "-s", tmp_path / "media", "--exclude", "a.png.meta", "--json")
    assert [Path(json.loads(line)["source"]).name for line in done.stdout.splitlines()] == ["a.png", "alone.meta"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name in ("a.png", "b.jpg", "drafts/c.png", "deep/drafts/d.png", ".hidden", ".git/config"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (folder / "link.png").symlink_to(folder / "a.png")
    (folder / "elsewhere").symlink_to(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--include", "*.png"], ["a.png", "deep/drafts/d.png", "drafts/c.png"]),
        (["--include", "*.png", "--exclude", "drafts/*"], ["a.png", "deep/drafts/d.png"]),
        (["--exclude", "drafts"], ["a.png", "b.jpg"]),
        (["--include", "*.jpg", "--include", "deep/*"], ["b.jpg", "deep/drafts/d.png"]),
    ],
)
def test_files_of_a_folder_are_chosen(words: list[str], names: list[str], pictures: Path, tmp_path: Path) -> None:
    done = fsmedia("store", pictures, "--run", "r", "-s", tmp_path / "media", "--json", *words)
    assert done.exit_code == 0, done.output
    stored = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(each["source"]).relative_to(pictures).as_posix() for each in stored] == names
    assert len({each["reference"] for each in stored}) == len(names)


def test_what_is_left_out_is_told(pictures: Path, tmp_path: Path) -> None:
    """Links and hidden files were left out without a word."""
    done = fsmedia("store", pictures, "--run", "r", "-s", tmp_path / "media")
    assert "left out 2 hidden and 2 linked" in done.stderr
    nothing = fsmedia("store", pictures, "--run", "r", "-s", tmp_path / "media", "--include", "*.gif")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert "no files in it to store" in nothing.stderr


def test_json_tells_the_source_of_each(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    files = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    done = fsmedia("store", *files, "--run", "r", "-s", tmp_path / "media", "--json")
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == files
    piped = fsmedia("store", "-", "--mime", "text/plain", "--run", "r", "-s", tmp_path / "media", "--json", stdin=b"x")
    assert json.loads(piped.stdout)["source"] == "-"


def test_who_stops_a_folder_is_told_what_is_stored(tmp_path: Path) -> None:
    """After Ctrl-C nobody knew which files were stored."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1500):
        (folder / f"{number:04d}.txt").write_text(f"{number}")
    media = tmp_path / "media"
    words = ["store", str(folder), "--run", "r", "-s", str(media)]
    with started(*words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        end, pause = time.monotonic() + DEADLINE, threading.Event()
        while not list(media.glob("runs/r/*.txt")) and time.monotonic() < end:
            pause.wait(0.01)
        process.send_signal(signal.SIGINT)
        told, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == 130, said
    stored = [str(each) for each in MediaStore(media).list()]
    assert 0 < len(stored) < 1500
    assert sorted(told.decode().split()) == stored
    assert f"interrupted: {len(stored):,} of 1,500 files were stored".encode() in said
    assert os.listdir(media / "runs")
