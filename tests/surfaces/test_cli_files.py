"""The command line: files and folders become media, media become files, media go."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import stat
import tarfile
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.cli import cmd_get, cmd_messages
from fsmedia.format.messages import media_fields, parse_json
from tests.messages import OPENAI_CHAT
from tests.storages import LocalStorage, S3Storage, Storage
from tests.surfaces.commands import DEADLINE, answers, child, exits, fsmedia, places, put, refused, started, tells

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9


def test_files_make_the_round_trip(at: list[str], here: Path) -> None:
    Path("a.png").write_bytes(PNG)
    Path("b.txt").write_bytes(b"")
    fields = ["--message", "3", "--part", "5", "--provider", "openai", "--policy", "retain-30days", "--caption", "two"]
    result = exits(0, "store", "a.png", "b.txt", "--run", "r 1", *fields, *at)
    assert result.stderr == ""
    first, second = result.stdout.splitlines()
    records = answers("info", first, second, *at)
    for number, record in enumerate(records):
        assert (record["message_idx"], record["part_idx"]) == (3, 5 + number)
        assert (record["run_id"], record["provider_id"], record["caption"]) == ("r 1", "openai", "two")
        assert record["policy_name"] == "retain-30days"
    assert [record["mime_type"] for record in records] == ["image/png", "text/plain"]
    got = exits(0, "get", first, second, "-o", "out/", *at)
    assert [Path(line).read_bytes() for line in got.stdout.splitlines()] == [PNG, b""]
    assert fsmedia("get", first, "-o", "-", *at).stdout_bytes == PNG
    assert sorted(os.listdir("out")) == ["a.png", "b.txt"]
    by_reference = exits(0, "get", first, second, "-o", "refs/", "--reference-names", *at).stdout.splitlines()
    assert [Path(line).name for line in by_reference] == [Path(line).name for line in (first, second)]


def test_the_environment_of_the_storage_is_enough(rclone_storage: S3Storage, here: Path) -> None:
    names = {"AWS_ENDPOINT_URL": "endpoint_url", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    env = {"FSMEDIA_URL": rclone_storage.url, **{name: rclone_storage.options[own] for name, own in names.items()}}
    (here / "a.png").write_bytes(PNG)
    stored = child("store", "a.png", "--run", "r1", cwd=here, env=env)
    assert stored.returncode == 0, stored.stderr
    assert rclone_storage.read(stored.stdout.decode().strip()) == PNG


def test_standard_input_is_stored_as_it_comes(url: str, here: Path) -> None:
    words = ["store", "-", "--run", "r", "-s", url]
    named = fsmedia(*words, "--name", "x.mp3", stdin=PNG)
    assert MediaStore(url).info(named.stdout.strip()).mime_type == "audio/mpeg"
    for stdin, more, kind in (
        (PNG, [], "image/png"),
        (b"hello", [], "text/plain"),
        (b"\0\1", ["--mime", "audio/pcm"], "audio/"),
        (b"", ["--mime", "text/csv"], "text/csv"),
    ):
        (record,) = answers(*words, *more, stdin=stdin)
        assert record["mime_type"].startswith(kind)
        assert kind == "audio/" or record["sha256"] == hashlib.sha256(stdin).hexdigest()
    assert "--mime" in refused(fsmedia(*words, stdin=b"\0\1"), 2)
    assert "only once" in refused(fsmedia(*words, "-", stdin=PNG), 2)
    reader, writer = os.pipe()  # as a shell's <(...)
    os.write(writer, PNG)
    os.close(writer)
    reference = fsmedia("store", f"/dev/fd/{reader}", *words[2:]).stdout.strip()
    os.close(reader)
    assert MediaStore(url).retrieve_media(reference).read_bytes() == PNG
    assert reference.endswith(".png")


def test_what_can_not_be_stored_is_refused_before_anything_is(url: str, here: Path) -> None:
    (here / "a.png").write_bytes(PNG)
    (here / "folder").mkdir()
    for line, code, said in (
        ("a.png folder --run r", 1, "no files in it"),
        ("- folder --run r", 2, "together with a folder"),
        ("a.png b.png --run r", 3, "no such file"),
        ("a.png --run r --policy bogus", 1, "unknown policy"),
        ("a.png --run r --mime bogus", 1, "no MIME type"),
        ("a.png", 2, "--run is required"),
    ):
        assert said in refused(fsmedia("store", *line.split(), "-s", url), code)
    assert not Path(url).exists()
    fsmedia("init", "--organization", "by-conversation", "-s", url)
    assert "--conversation is required" in refused(fsmedia("store", "a.png", "--run", "r", "-s", url), 2)


def test_get_takes_the_name_of_the_reference_and_replaces_nothing(url: str, here: Path) -> None:
    reference, other = put(url, data=b"new"), put(url)
    name, get = Path(reference).name, ["get", "-s", url, reference]
    assert fsmedia(*get).stdout == f"{name}\n"
    umask = os.umask(0)
    os.umask(umask)
    assert (here / name).stat().st_mode & 0o777 == 0o666 & ~umask
    (here / name).write_bytes(b"old")
    (here / "link").symlink_to("nowhere")
    for words in ([], ["-o", name], ["-o", "."], ["-o", "link"]):
        assert "exists already" in refused(fsmedia(*get, *words), 1)
    assert (here / name).read_bytes() == b"old"
    exits(0, *get, "--force")
    assert (here / name).read_bytes() == b"new"
    assert sorted(os.listdir(here)) == sorted([name, "link"])
    assert "no such folder" in refused(fsmedia(*get, "-o", "no/such"), 1)
    assert "is no folder" in refused(fsmedia(*get, other, "-o", name), 1)
    exits(0, *get, "-o", "/dev/null")
    exits(0, *get, other, "-o", "new")
    assert len(os.listdir("new")) == 2
    digest = hashlib.sha256(b"some bytes").hexdigest()
    told = {"reference": other, "path": "x", "size_bytes": 10, "sha256": digest}
    assert answers("get", other, "-s", url, "-o", "x") == [told]


def test_get_writes_the_names_that_files_had(url: str, here: Path) -> None:
    """Two of one name, by whatever case, become two files; what was there before is never written over unasked."""
    names = ["photo.jpg", "Photo.JPG", "photo (2).jpg", "-rf \u200e\x1b.txt", "r\u00e9sum\u00e9"]
    for number, name in enumerate([*names, "photo.jpg"]):
        (here / f"in{number}").mkdir()
        (here / f"in{number}" / name).write_bytes(b"%d" % number)
    stored = exits(0, "store", *sorted(here.glob("in*/*")), "--run", "r1", "-s", url).stdout.split()
    piped = exits(0, "store", "-", "--run", "r1", "--part", "9", "-s", url, stdin=b"6").stdout.strip()
    get = ["get", "--run", "r1", "-s", url, "-o", "out/"]
    expected = [
        "photo.jpg",
        "Photo (2).JPG",
        "photo (2) (2).jpg",
        "rf .txt",
        names[4],
        "photo (3).jpg",
        Path(piped).name,
    ]
    told = {f"out/{name}": b"%d" % number for number, name in enumerate(expected)}
    assert [each["path"] for each in answers(*get, "--dry-run")] == list(told)
    assert exits(0, *get).stdout.splitlines() == list(told)
    assert {f"out/{path.name}": path.read_bytes() for path in (here / "out").iterdir()} == told
    (here / "out/photo.jpg").write_bytes(b"mine")
    os.remove("out/rf .txt")
    again = exits(1, *get)
    assert again.stdout.splitlines() == ["out/rf .txt"]
    assert (again.stderr.count("exists already"), Path("out/photo.jpg").read_bytes()) == (len(told) - 1, b"mine")
    exits(0, *get, "--force")
    assert {f"out/{path.name}": path.read_bytes() for path in (here / "out").iterdir()} == told
    exits(0, "get", stored[0], "-s", url, "-o", "mine.jpg")
    exits(0, "get", stored[0], "-s", url)
    assert {path.name for path in here.glob("*.jpg")} == {"mine.jpg", "photo.jpg"}
    exits(0, "get", *stored, "-s", url, "-o", "refs/", "--reference-names")
    assert sorted(os.listdir("refs")) == sorted(Path(each).name for each in stored)
    (named,) = answers("store", "-", "--name", "a/b/song.mp3", "--run", "r2", "-s", url, stdin=b"ID3")
    assert named["file_name"] == "song.mp3"
    tells(exits(0, "info", stored[0], "-s", url).stdout, "file name", "photo.jpg")


def test_get_writes_no_name_with_a_dash_or_a_dot_in_front_unasked(url: str, here: Path) -> None:
    """A stranger's store had files `-rf` and `.bash_profile`, and `get` in a home folder wrote just these."""
    store = MediaStore(url).create()
    odd = [f"runs/r1/{name}" for name in ("-rf", ".bash_profile", "--", "...", "_-rf")]
    for reference in odd:
        store.fs.pipe_file(reference, reference.encode())
    names = ["_-rf", "_.bash_profile", "_--", "_...", "_-rf (2)"]
    for target, words in (("", []), ("out/", ["-o", "out/"]), ("refs/", ["-o", "refs/", "--reference-names"])):
        assert exits(0, "get", *odd, *words, "-s", url).stdout.splitlines() == [f"{target}{name}" for name in names]
        assert sorted(set(os.listdir(target or ".")) - {"out", "refs"}) == sorted(names)
    exits(0, "get", odd[1], "-s", url, "-o", ".bash_profile")
    exits(0, "get", odd[0], "-s", url, "--output=-rf")
    assert [Path(name).read_text() for name in (".bash_profile", "-rf")] == [odd[1], odd[0]]
    # Names in an export are its own.
    exits(0, "export", "webdataset", "shards/", "--run", "r1", "-s", url)
    with tarfile.open("shards/media-000000.tar") as shard:
        assert all(re.fullmatch(r"[0-9a-f]{32}\.\w+", name) for name in shard.getnames())


def test_get_checks_the_digest_leaves_nothing_half_and_reads_past_a_damaged_sidecar(url: str, here: Path) -> None:
    reference, other = put(url, data=b"right"), put(url)
    Path(url, reference).write_bytes(b"wrong")
    assert "its bytes are damaged: SHA-256" in refused(fsmedia("get", reference, "-s", url), 1)
    assert os.listdir(here) == []
    assert exits(1, "get", reference, "-s", url, "-o", "-").stdout == ""  # what is damaged is not passed on
    refused(fsmedia("get", "runs/r1/none", "-s", url), 3)
    refused(fsmedia("get", "runs/r1", "-s", url), 1)
    both = exits(3, "get", "runs/r1/none", other, "-s", url)
    assert (here / both.stdout.strip()).read_bytes() == b"some bytes"
    Path(url, other + ".meta").write_bytes(b"{")
    assert exits(0, "get", other, "-s", url, "-o", "x").stderr.startswith("warning: ")
    assert (here / "x").read_bytes() == b"some bytes"


@pytest.mark.parametrize("links", [True, False])
def test_a_name_taken_meanwhile_is_not_replaced(
    links: bool, url: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = put(url)

    def no_links(*_: object) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr(cmd_get.os, "link", no_links)
    assert fsmedia("get", reference, "-s", url, "-o", "first").exit_code == 0
    copy = cmd_get._copy

    def late(*words: Any, **more: bool) -> str:
        (here / "x").write_bytes(b"theirs")
        return copy(*words, **more)

    monkeypatch.setattr(cmd_get, "_copy", late)
    assert "exists already" in refused(fsmedia("get", reference, "-s", url, "-o", "x"), 1)
    assert (here / "x").read_bytes() == b"theirs"
    assert sorted(os.listdir(here)) == ["first", "x"]


def test_rm_deletes_says_what_was_gone_refuses_folders_and_goes_on(at: list[str], opened: MediaStore) -> None:
    first, second = (exits(0, "store", "-", "--run", "r", *at, stdin=b"hello").stdout.strip() for _ in range(2))
    rm = ["rm", first, "runs/r/none", *at]
    assert exits(0, *rm, "-n").stdout.splitlines() == [f"would delete  {first}", "not there  runs/r/none"]
    for words in (["-n"], []):
        assert opened.exists(second)
        result = exits(1, "rm", "runs/r", second, *words, *at)
        assert "is a folder" in result.stderr
        assert result.stdout.endswith(f"{second}\n")
    assert (opened.exists(first), opened.exists(second)) == (True, False)
    done = exits(0, *rm)
    assert (done.stdout.splitlines(), done.stderr) == ([f"deleted  {first}", "not there  runs/r/none"], "")
    assert answers("rm", first, *at) == [{"reference": first, "there": False, "deleted": False}]


# -- folders, addresses ---------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name in ("b.jpg", "a.png", "drafts/c.png", "deep/drafts/d.png", ".hidden", ".git/config"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (folder / "link.png").symlink_to(folder / "a.png")
    (folder / "elsewhere").symlink_to(tmp_path)
    return folder


def test_a_folder_is_all_files_below_it_in_order(
    storage: Storage, at: list[str], opened: MediaStore, pictures: Path
) -> None:
    """Links and hidden files were left out without a word."""
    done = exits(0, "store", f"{pictures}/", "--run", "r1", "--part", "4", *at)
    tells(done.stderr, "left out 2 hidden and 2 linked")
    lines = done.stdout.splitlines()
    assert [opened.info(line).part_idx for line in lines] == [4, 5, 6, 7]
    data = [opened.retrieve_media(line).read_bytes() for line in lines]
    assert data == [b"a.png", b"b.jpg", b"deep/drafts/d.png", b"drafts/c.png"]
    assert sorted(opened.list()) == sorted(lines)


def test_folders_and_files_may_stand_together_and_what_fails_is_told_by_name(url: str, pictures: Path) -> None:
    store = ["store", pictures, "--run", "r", "-s", url]
    done = exits(0, *store, pictures / "b.jpg", "--json")
    assert done.stderr.count("\n") == 1
    assert [json.loads(line)["part_idx"] for line in done.stdout.splitlines()] == [0, 1, 2, 3, 4]
    failed = exits(1, *store, "--mime", "image")
    assert (failed.stdout, failed.stderr.count("no MIME type")) == ("", 4)
    tells(failed.stderr, "drafts/c.png", "4 of 4 files could not be stored")
    nothing = exits(1, *store, "--include", "*.gif")
    assert (nothing.stdout, "no files in it to store" in nothing.stderr) == ("", True)


def test_a_folder_is_stored_every_hour_and_only_what_is_new_is_stored(
    storage: Storage, at: list[str], opened: MediaStore, pictures: Path
) -> None:
    (pictures / "drafts/a.png").write_bytes(b"a.png")
    (pictures / "sound.pcm").write_bytes(b"\1\2" * 50)
    hourly = ["store", pictures, "--run", "r1", "--unless-stored", "--exclude", "deep", *at]
    first = exits(0, *hourly)
    references = first.stdout.splitlines()  # a.png, b.jpg, sound.pcm, drafts/a.png, drafts/c.png
    assert (len(references), references[3]) == (5, references[0])
    assert [opened.info(each).part_idx for each in references] == [0, 1, 2, 0, 4]
    tells(first.stderr, "1 of 5 files were stored already")
    before = storage.contents()
    second = exits(0, *hourly)
    assert (second.stdout, storage.contents()) == (first.stdout, before)
    tells(second.stderr, "5 of 5 files were stored already")
    (pictures / "b.jpg").write_bytes(b"another")
    (pictures / "a.png").rename(pictures / "new.png")
    third = exits(0, *hourly).stdout.splitlines()  # b.jpg, new.png, sound.pcm, drafts/a.png, drafts/c.png
    assert [each in references for each in third] == [False, False, True, True, True]
    assert [opened.info(each).file_name for each in third[:2]] == ["b.jpg", "new.png"]
    one = answers("store", pictures / "b.jpg", "--run", "r1", "--unless-stored", *at)
    assert [(each["reference"], each["source"]) for each in one] == [(third[0], str(pictures / "b.jpg"))]
    assert exits(0, "store", pictures / "b.jpg", "--run", "r2", "--unless-stored", *at).stdout.strip() not in third
    assert exits(0, "store", pictures / "b.jpg", "--run", "r1", *at).stdout.strip() not in third
    said = refused(fsmedia("store", "-", "--run", "r1", "--unless-stored", *at, stdin=b"x"), 2)
    assert "--unless-stored compares files" in said


def test_what_can_not_be_compared_is_told_and_a_pipe_is_read_once(url: str, here: Path) -> None:
    store = ["store", "a.txt", "--run", "r1", "--unless-stored", "-s", url]
    (here / "a.txt").write_text("a")
    reference = exits(0, *store).stdout.strip()
    Path(url, f"{reference}.meta").write_text("{")
    again = exits(0, *store)
    assert again.stdout.strip() != reference
    tells(again.stderr, reference, "not compared")
    os.mkfifo("pipe.txt")
    writer = threading.Thread(target=Path("pipe.txt").write_text, args=("through a pipe",))
    writer.start()
    (record,) = answers("store", "pipe.txt", "--run", "r1", "--unless-stored", "-s", url)
    writer.join()
    assert record["size_bytes"] == len("through a pipe")


def test_url_opens_and_is_signed_for_as_long_as_asked(rclone_storage: S3Storage, tmp_path: Path) -> None:
    url = str(tmp_path / "with blank")
    address = fsmedia("url", put(url, data=PNG, run_id="ä b"), "-s", url).stdout.strip()
    assert address.startswith("file:///")
    exits(3, "url", "runs/r1/none.png", "-s", url)
    assert "is not a duration" in refused(fsmedia("url", "x.png", "--expires", "soon", "-s", url), 2)
    store = MediaStore(rclone_storage.url, storage_options=rclone_storage.options)
    reference = store.store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="r1"))
    signed = answers("url", reference, "--expires", "15m", *places(rclone_storage))[0]["url"]
    assert "X-Amz-Expires=900" in signed
    for each in (address, signed):
        with urllib.request.urlopen(each) as answer:
            assert answer.read() == PNG


# -- stores below folders -------------------------------------------------------------------------------------


@pytest.fixture
def full(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Make a store with two runs; its parameter says whether media share their bytes."""
    store = MediaStore(tmp_path / "full", deduplicate=getattr(request, "param", None))
    for run in ("r1", "r 2"):
        store.store_media(MediaContent.from_text(run, caption="told"), MediaMetadata(run_id=run))
    return tmp_path / "full"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    return tmp_path / "copies"


def followed(said: str, root: Path) -> MediaStore:
    """Run the command that an error names, and return the store that it filled."""
    command = said.partition("metadata: ")[2].partition("; or ")[0].strip()
    words = shlex.split(command)
    assert words[:2] == ["fsmedia", "sync"], said
    exits(0, *words[1:])
    return MediaStore(root)


@pytest.mark.parametrize("full", [False, True], indirect=True)
def test_a_store_is_no_folder_of_files_and_a_run_of_it_is_synced_as_one(full: Path, copies: Path) -> None:
    """The README stored a whole store, sidecars and all, as media of a run."""
    run = full / MediaStore(full).folder(run_id="r 2")
    for folder, runs in ((run, ["r 2"]), (full, ["r 2", "r1"])):
        said = refused(fsmedia("store", folder, "--run", "r", "-s", copies), 2)
        assert runs == ["r 2", "r1"] or not list(copies.rglob("*.meta"))
        copied = followed(said, copies)
        records = [copied.info(each) for each in copied.list()]
        assert sorted(each.run_id for each in records) == runs
        assert {each.caption for each in records} == {"told"}
    words = ["--include", "*.txt", "--run", "r", "-s", copies]
    assert "lies in a store" in refused(fsmedia("store", run, *words), 2), "its media lost their metadata"


def test_a_store_below_a_folder_is_named(full: Path, copies: Path) -> None:
    project = full.with_name("project")
    (project / "a").mkdir(parents=True)
    (project / "plan.txt").write_text("plan")
    full.rename(project / "a" / "old")
    (project / "a" / "old" / ".fsmedia").rename(project / "a" / "old" / ".FSMedia")
    words = ["store", project, "--run", "r", "-s", copies]
    said = refused(fsmedia(*words), 2)
    assert f"holds the store {project}/a/old" in said
    assert len(exits(0, *words, *shlex.split(said.rpartition("leave it out: ")[2])).stdout.splitlines()) == 1


def test_a_store_of_promptkit_is_one_by_its_sidecars(full: Path, copies: Path) -> None:
    """It has no `.fsmedia`."""
    shutil.rmtree(full / ".fsmedia")
    for folder, count in ((full / "runs" / "r1", 1), (full, 2)):
        said = refused(fsmedia("store", folder, "--run", "r", "-s", copies), 2)
        assert len(list(followed(said, copies).list())) == count


def test_a_shell_names_sidecars_too(full: Path, copies: Path) -> None:
    files = sorted(str(path) for path in (full / "runs" / "r1").iterdir())
    assert len(files) == 2
    said = refused(fsmedia("store", *files, "--run", "r", "-s", copies), 2)
    assert "is the metadata of" in said
    assert len(list(followed(said, copies).list())) == 1
    exits(0, "store", files[0], "--run", "r", "-s", copies)  # one media alone may be copied


def test_what_lies_in_the_store_itself_is_stored_already(full: Path) -> None:
    before = sorted(full.rglob("*"))
    assert "in this store already" in refused(fsmedia("store", full / "runs" / "r1", "--run", "r", "-s", full), 2)
    assert sorted(full.rglob("*")) == before
    (full.parent / "plan.txt").write_text("plan")
    done = exits(0, "store", full.parent, "--run", "r", "-s", full)
    assert len(done.stdout.splitlines()) == 1, "the store below the folder is left out"


def test_meta_files_of_others_can_be_left_out(tmp_path: Path, copies: Path) -> None:
    """Unity has a `.meta` beside each picture."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("a.png", "a.png.meta", "alone.meta"):
        (folder / name).write_bytes(b"x")
    words = ["store", folder, "--run", "r", "-s", copies]
    assert "holds sidecars" in refused(fsmedia(*words), 2)
    stored = answers(*words, "--exclude", "a.png.meta")
    assert [Path(each["source"]).name for each in stored] == ["a.png", "alone.meta"]


def test_files_of_a_folder_are_chosen_and_json_tells_the_source_of_each(pictures: Path, url: str) -> None:
    at = ["--run", "r", "-s", url]
    for line, names in {
        "--include *.png": ["a.png", "deep/drafts/d.png", "drafts/c.png"],
        "--include *.png --exclude drafts/*": ["a.png", "deep/drafts/d.png"],
        "--exclude drafts": ["a.png", "b.jpg"],
        "--include *.jpg --include deep/*": ["b.jpg", "deep/drafts/d.png"],
    }.items():
        stored = answers("store", pictures, *at, *line.split())
        assert [Path(each["source"]).relative_to(pictures).as_posix() for each in stored] == names
        assert len({each["reference"] for each in stored}) == len(names)
    files = [str(pictures / name) for name in ("b.jpg", "a.png")]
    assert [each["source"] for each in answers("store", *files, *at)] == files
    assert answers("store", "-", "--mime", "text/plain", *at, stdin=b"x")[0]["source"] == "-"


def test_who_stops_a_folder_is_told_what_is_stored(tmp_path: Path) -> None:
    """After Ctrl-C nobody knew which files were stored."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1500):
        (folder / f"{number:04d}.txt").write_text(f"{number}")
    media = tmp_path / "media"
    words = ["store", str(folder), "--run", "r", "-s", str(media)]
    with started(*words, cwd=tmp_path) as process:
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


# -- pipes, devices, private files ----------------------------------------------------------------------------


@pytest.fixture
def read_from(tmp_path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """Give a named pipe, and what was read from it."""
    pipe, found = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    yield pipe, found
    if reader.is_alive() and stat.S_ISFIFO(pipe.stat().st_mode):  # nobody wrote: let it go
        os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
    reader.join(5)


@pytest.mark.parametrize("what", ["result", "page"])
def test_a_result_goes_into_a_pipe_or_device_and_replaces_none(
    what: str, read_from: tuple[Path, list[bytes]], url: str, tmp_path: Path
) -> None:
    """`-o /dev/null` by the superuser made a plain file of the device, for all programs of the machine."""
    pipe, found = read_from
    if what == "page":
        MediaStore(url).gallery().save(pipe)
    else:
        chat = tmp_path / "chat.json"
        chat.write_text('{"a": 1}')
        exits(0, "messages", "externalize", chat, "--run", "r1", "-o", pipe, "-s", url)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    while not found:
        threading.Event().wait(0.01)
    assert found[0].startswith(b"<!doctype html>" if what == "page" else b'{"a": 1}')


def test_what_is_private_stays_so_while_it_is_replaced(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file of a private one lay there for everybody to read until its mode was set."""
    chat = tmp_path / "chat.json"
    chat.write_text('{"secret": true}')
    chat.chmod(0o600)
    modes = []
    real = os.fsync

    def watched(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(cmd_messages.os, "fsync", watched)
    exits(0, "messages", "externalize", chat, "--run", "r1", "--in-place", "-s", url)
    assert modes == [0o600]
    assert stat.S_IMODE(chat.stat().st_mode) == 0o600


def test_a_deep_and_wide_document_takes_no_more_than_its_text() -> None:
    """The way to each of a million objects, two hundred levels down, took two thousand times their text."""
    document = parse_json("[" * 250 + "[" + ",".join(["{}"] * 50_000) + "]" + "]" * 250)
    tracemalloc.start()
    try:
        assert list(media_fields([document, OPENAI_CHAT]))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


# -- conditions in the place of references ----------------------------------------------------------------------


@pytest.fixture
def three(url: str) -> list[str]:
    """Store two media of a run, of two types, and one of another run."""
    fields = [("r1", "text/plain"), ("r1", "image/png"), ("r2", "text/plain")]
    return [put(url, run_id=run, mime_type=kind) for run, kind in fields]


def test_conditions_mean_what_ls_lists(url: str, three: list[str], tmp_path: Path) -> None:
    get = ["get", "--run", "r1", "-o", f"{tmp_path}/out/", "-s", url]
    for words in (["--run", "r1"], ["--mime", "text"], ["--run", "r1", "--mime", "image/*"], ["--until", "1d"]):
        meant = fsmedia("ls", *words, "-s", url).stdout.split()
        for command in (["rm"], ["policy", "hold", "--reason", "why"]):
            planned = fsmedia(*command, *words, "--dry-run", "-s", url)
            assert [line.split()[-1] for line in planned.stdout.splitlines()] == meant
        plan = answers("get", *words, "-o", f"{tmp_path}/out/", "--dry-run", "-s", url)
        assert [each["reference"] for each in plan] == meant
    assert not (tmp_path / "out").exists()
    assert sorted(MediaStore(url).list()) == sorted(three)
    got = fsmedia(*get).stdout.split()
    assert sorted(os.listdir(tmp_path / "out")) == sorted(Path(path).name for path in got)
    assert len(got) == 2
    tells(fsmedia(*get, "--dry-run").stderr, "exists already")
    assert [each["deleted"] for each in answers("rm", "--run", "r1", "-s", url)] == [True, True]
    assert list(MediaStore(url).list()) == [three[2]]
    assert fsmedia("rm", "--run", "none", "-s", url).stdout == ""


def test_a_hold_stays_in_a_plan_and_release_means_what_is_held(url: str, three: list[str]) -> None:
    fsmedia("policy", "hold", three[0], "--reason", "case 1", "-s", url)
    planned = exits(1, "rm", "--run", "r1", "--dry-run", "-s", url)
    tells(planned.stderr, "is held: 'case 1'")
    assert planned.stdout.split() == ["would", "delete", three[1]]
    release = ["policy", "release", "--run", "r1", "-s", url]
    for dry in (["--dry-run"], []):
        said = fsmedia(*release, *dry).stdout
        assert (said.split()[-1], said.count("release")) == (three[0], 1)
    assert fsmedia(*release).stdout == ""


def test_quiet_is_results_and_errors_only(url: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".hidden").touch()
    (tmp_path / "out" / "a.txt").write_text("a")
    words = ["store", tmp_path / "out", "--run", "r1", "-s", url]
    tells(fsmedia(*words).stderr, "left out 1 hidden")
    for quiet in (exits(0, *words, "--quiet"), exits(0, "-q", *words)):
        assert (quiet.stderr, quiet.stdout[:8]) == ("", "runs/r1/")
    tells(fsmedia(*words).stderr, "left out 1 hidden")  # it is said anew each time
    tells(fsmedia("info", "runs/r1/none", "-q", "-s", url).stderr, "no such media")


def test_conditions_mean_no_files_of_other_programs(url: str, local_storage: LocalStorage) -> None:
    """`rm --until 90d` of any folder deleted what nobody had ever stored."""
    local_storage.write("runs/r1/thesis.md", b"mine")
    for words in (["rm", "--yes"], ["policy", "apply", "retain-1days"], ["policy", "hold", "--reason", "why"]):
        done = exits(0, *words, "--run", "r1", "-s", url)
        assert (done.stdout, "left out 1 files" in done.stderr) == ("", True)
    assert local_storage.keys() == {"runs/r1/thesis.md"}
    assert exits(0, "rm", "runs/r1/thesis.md", "-s", url).stdout.startswith("deleted")


def test_nothing_that_matches_is_said(url: str, tmp_path: Path) -> None:
    held, other = put(url), put(url)
    exits(0, "policy", "hold", held, "--reason", "why", "-s", url)
    assert exits(0, "rm", "--not-held", "--dry-run", "-s", url).stdout.split()[-1] == other
    assert exits(0, "policy", "release", "--held", "-s", url).stdout.split() == ["released", held]
    for words in (["rm"], ["get"], ["policy", "release"], ["policy", "apply", "retain"]):
        tells(exits(0, *words, "--run", "typo", "-s", url).stderr, "no media match")
    page = tmp_path / "good.html"
    page.write_text("a good one")
    assert "no page is written" in refused(fsmedia("gallery", "--run", "typo", "-o", page, "-s", url), 1)
    assert page.read_text() == "a good one"
    tells(exits(0, "policy", "apply", "retain-30days", other, "-n", "-s", url).stdout, "would be retain-30days")
