"""The command line: files and folders become media, media become files, media go."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import stat
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
from tests.storages import S3Storage, Storage
from tests.surfaces.commands import DEADLINE, child, exits, fsmedia, on_terminal, places, put, refused, started

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9


# -- store and get -----------------------------------------------------------------------------------------


def test_files_make_the_round_trip(storage: Storage, here: Path) -> None:
    at = places(storage)
    Path("a.png").write_bytes(PNG)
    Path("b.txt").write_bytes(b"")
    fields = ["--message", "3", "--part", "5", "--provider", "openai", "--policy", "retain-30days", "--caption", "two"]
    result = exits(0, "store", "a.png", "b.txt", "--run", "r 1", *fields, *at)
    assert result.stderr == ""
    first, second = result.stdout.splitlines()
    records = [json.loads(line) for line in fsmedia("info", "--json", first, second, *at).stdout.splitlines()]
    for number, record in enumerate(records):
        assert (record["message_idx"], record["part_idx"]) == (3, 5 + number)
        assert (record["run_id"], record["provider_id"], record["caption"]) == ("r 1", "openai", "two")
        assert record["policy_name"] == "retain-30days"
    assert [record["mime_type"] for record in records] == ["image/png", "text/plain"]
    got = exits(0, "get", first, second, "-o", "out/", *at)
    assert [Path(line).read_bytes() for line in got.stdout.splitlines()] == [PNG, b""]
    assert fsmedia("get", first, "-o", "-", *at).stdout_bytes == PNG
    assert sorted(os.listdir("out")) == sorted(Path(line).name for line in (first, second))


def test_the_environment_of_the_storage_is_enough(rclone_storage: S3Storage, here: Path) -> None:
    names = {"AWS_ENDPOINT_URL": "endpoint_url", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    env = {"FSMEDIA_URL": rclone_storage.url, **{name: rclone_storage.options[own] for name, own in names.items()}}
    (here / "a.png").write_bytes(PNG)
    stored = child("store", "a.png", "--run", "r1", cwd=here, env=env)
    assert stored.returncode == 0, stored.stderr
    assert rclone_storage.read(stored.stdout.decode().strip()) == PNG


def test_standard_input_is_stored_as_it_comes(url: str, here: Path) -> None:
    named = fsmedia("store", "-", "--run", "r", "-s", url, "--name", "x.mp3", stdin=PNG)
    assert MediaStore(url).info(named.stdout.strip()).mime_type == "audio/mpeg"
    for stdin, words, kind in (
        (PNG, [], "image/png"),
        (b"hello", [], "text/plain"),
        (b"\0\1", ["--mime", "audio/pcm"], "audio/"),
        (b"", ["--mime", "text/csv"], "text/csv"),
    ):
        result = fsmedia("store", "-", "--run", "r", "-s", url, "--json", *words, stdin=stdin)
        record = json.loads(result.stdout)
        assert record["mime_type"].startswith(kind)
        if kind != "audio/":
            assert record["sha256"] == hashlib.sha256(stdin).hexdigest()
    assert "--mime" in refused(fsmedia("store", "-", "--run", "r", "-s", url, stdin=b"\0\1"), 2)
    assert "only once" in refused(fsmedia("store", "-", "-", "--run", "r", "-s", url, stdin=PNG), 2)


def test_a_pipe_by_name_is_read_once(url: str) -> None:
    reader, writer = os.pipe()  # as a shell's <(...)
    os.write(writer, PNG)
    os.close(writer)
    reference = fsmedia("store", f"/dev/fd/{reader}", "--run", "r", "-s", url).stdout.strip()
    os.close(reader)
    assert MediaStore(url).retrieve_media(reference).read_bytes() == PNG
    assert reference.endswith(".png")


def test_what_can_not_be_stored_is_refused_before_anything_is(url: str, here: Path) -> None:
    (here / "a.png").write_bytes(PNG)
    (here / "folder").mkdir()
    at = ["--run", "r", "-s", url]
    assert "no files in it" in refused(fsmedia("store", "a.png", "folder", *at), 1)
    assert "together with a folder" in refused(fsmedia("store", "-", "folder", *at), 2)
    assert "no such file" in refused(fsmedia("store", "a.png", "b.png", *at), 3)
    assert "unknown policy" in refused(fsmedia("store", "a.png", "--policy", "bogus", *at), 1)
    assert "no MIME type" in refused(fsmedia("store", "a.png", "--mime", "bogus", *at), 1)
    assert "--run is required" in refused(fsmedia("store", "a.png", "-s", url), 2)
    assert not Path(url).exists()
    fsmedia("init", "--organization", "by-conversation", "-s", url)
    assert "--conversation is required" in refused(fsmedia("store", "a.png", *at), 2)


# -- get ---------------------------------------------------------------------------------------------------


def test_get_takes_the_name_of_the_reference_and_replaces_nothing(url: str, here: Path) -> None:
    reference, other = put(url, data=b"new"), put(url)
    name = Path(reference).name
    assert fsmedia("get", reference, "-s", url).stdout == f"{name}\n"
    umask = os.umask(0)
    os.umask(umask)
    assert (here / name).stat().st_mode & 0o777 == 0o666 & ~umask
    (here / name).write_bytes(b"old")
    (here / "link").symlink_to("nowhere")
    for words in ([], ["-o", name], ["-o", "."], ["-o", "link"]):
        assert "exists already" in refused(fsmedia("get", reference, "-s", url, *words), 1)
    assert (here / name).read_bytes() == b"old"
    assert fsmedia("get", reference, "-s", url, "--force").exit_code == 0
    assert (here / name).read_bytes() == b"new"
    assert sorted(os.listdir(here)) == sorted([name, "link"])
    assert "no such folder" in refused(fsmedia("get", reference, "-s", url, "-o", "no/such"), 1)
    assert "is no folder" in refused(fsmedia("get", reference, other, "-s", url, "-o", name), 1)
    assert fsmedia("get", reference, "-s", url, "-o", "/dev/null").exit_code == 0
    assert fsmedia("get", reference, other, "-s", url, "-o", "new").exit_code == 0
    assert len(os.listdir("new")) == 2
    told = json.loads(fsmedia("get", other, "-s", url, "-o", "x", "--json").stdout)
    digest = hashlib.sha256(b"some bytes").hexdigest()
    assert told == {"reference": other, "path": "x", "size_bytes": 10, "sha256": digest}


def test_get_checks_the_digest_leaves_nothing_half_and_reads_past_a_damaged_sidecar(url: str, here: Path) -> None:
    reference, other = put(url, data=b"right"), put(url)
    Path(url, reference).write_bytes(b"wrong")
    assert "its bytes are damaged: SHA-256" in refused(fsmedia("get", reference, "-s", url), 1)
    assert os.listdir(here) == []
    result = fsmedia("get", reference, "-s", url, "-o", "-")
    assert (result.exit_code, result.stdout) == (1, "")  # what is damaged is not passed on
    refused(fsmedia("get", "runs/r1/none", "-s", url), 3)
    refused(fsmedia("get", "runs/r1", "-s", url), 1)
    both = exits(3, "get", "runs/r1/none", other, "-s", url)
    assert (here / both.stdout.strip()).read_bytes() == b"some bytes"
    Path(url, other + ".meta").write_bytes(b"{")
    result = fsmedia("get", other, "-s", url, "-o", "x")
    assert (result.exit_code, result.stderr.startswith("warning: ")) == (0, True)
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


# -- rm ----------------------------------------------------------------------------------------------------


def test_rm_deletes_says_what_was_gone_refuses_folders_and_goes_on(storage: Storage) -> None:
    at = places(storage)
    store = MediaStore(storage.url, storage_options=storage.options)
    reference = fsmedia("store", "-", "--run", "r", *at, stdin=b"hello").stdout.strip()
    assert fsmedia("rm", "-n", reference, "runs/r/none", *at).stdout.splitlines() == [
        f"would delete  {reference}",
        "not there  runs/r/none",
    ]
    for words in (["-n"], []):
        assert store.exists(reference)
        result = fsmedia("rm", "runs/r", reference, *words, *at)
        assert (result.exit_code, "is a folder" in result.stderr) == (1, True)
        assert result.stdout.endswith(f"{reference}\n")
    assert not store.exists(reference)
    reference = fsmedia("store", "-", "--run", "r", *at, stdin=b"hello").stdout.strip()
    first = fsmedia("rm", reference, "runs/r/none", *at)
    assert (first.exit_code, first.stderr) == (0, "")
    assert first.stdout.splitlines() == [f"deleted  {reference}", "not there  runs/r/none"]
    again = exits(0, "rm", reference, "--json", *at)
    assert json.loads(again.stdout) == {"reference": reference, "there": False, "deleted": False}


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


def test_a_folder_is_all_files_below_it_in_order(storage: Storage, pictures: Path) -> None:
    """Links and hidden files were left out without a word."""
    done = fsmedia("store", f"{pictures}/", "--run", "r1", "--part", "4", *places(storage))
    assert (done.exit_code, "left out 2 hidden and 2 linked" in done.stderr) == (0, True)
    lines = done.stdout.splitlines()
    store = MediaStore(storage.url, storage_options=storage.options)
    assert [store.info(line).part_idx for line in lines] == [4, 5, 6, 7]
    wanted = [b"a.png", b"b.jpg", b"deep/drafts/d.png", b"drafts/c.png"]
    assert [storage.read(line) for line in lines] == wanted
    assert sorted(store.list()) == sorted(lines)


def test_folders_and_files_may_stand_together_and_what_fails_is_told_by_name(url: str, pictures: Path) -> None:
    done = fsmedia("store", pictures, pictures / "b.jpg", "--run", "r", "--json", "-s", url)
    assert (done.exit_code, done.stderr.count("\n")) == (0, 1)
    assert [json.loads(line)["part_idx"] for line in done.stdout.splitlines()] == [0, 1, 2, 3, 4]
    failed = fsmedia("store", pictures, "--run", "r", "--mime", "image", "-s", url)
    assert (failed.exit_code, failed.stdout, failed.stderr.count("no MIME type")) == (1, "", 4)
    for said in ("drafts/c.png", "4 of 4 files could not be stored"):
        assert said in failed.stderr
    nothing = fsmedia("store", pictures, "--run", "r", "-s", url, "--include", "*.gif")
    assert (nothing.exit_code, nothing.stdout) == (1, "")
    assert "no files in it to store" in nothing.stderr


def test_url_opens_and_is_signed_for_as_long_as_asked(rclone_storage: S3Storage, tmp_path: Path) -> None:
    url = str(tmp_path / "with blank")
    address = fsmedia("url", put(url, data=PNG, run_id="ä b"), "-s", url).stdout.strip()
    assert address.startswith("file:///")
    assert fsmedia("url", "runs/r1/none.png", "-s", url).exit_code == 3
    assert "is not a duration" in refused(fsmedia("url", "x.png", "--expires", "soon", "-s", url), 2)
    store = MediaStore(rclone_storage.url, storage_options=rclone_storage.options)
    reference = store.store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="r1"))
    done = fsmedia("url", reference, "--expires", "15m", "--json", *places(rclone_storage))
    signed = json.loads(done.stdout)["url"]
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


def followed(said: str, root: Path) -> MediaStore:
    """Run the command that an error names, and return the store that it filled."""
    command = said.partition("metadata: ")[2].partition("; or ")[0].strip()
    words = shlex.split(command)
    assert words[:2] == ["fsmedia", "sync"], said
    assert fsmedia(*words[1:]).exit_code == 0
    return MediaStore(root)


@pytest.mark.parametrize("full", [False, True], indirect=True)
def test_a_store_is_no_folder_of_files_and_a_run_of_it_is_synced_as_one(full: Path, tmp_path: Path) -> None:
    """The README stored a whole store, sidecars and all, as media of a run."""
    copies = tmp_path / "copies"
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


def test_files_of_a_folder_are_chosen_and_json_tells_the_source_of_each(pictures: Path, url: str) -> None:
    for line, names in {
        "--include *.png": ["a.png", "deep/drafts/d.png", "drafts/c.png"],
        "--include *.png --exclude drafts/*": ["a.png", "deep/drafts/d.png"],
        "--exclude drafts": ["a.png", "b.jpg"],
        "--include *.jpg --include deep/*": ["b.jpg", "deep/drafts/d.png"],
    }.items():
        done = exits(0, "store", pictures, "--run", "r", "-s", url, "--json", *line.split())
        stored = [json.loads(each) for each in done.stdout.splitlines()]
        assert [Path(each["source"]).relative_to(pictures).as_posix() for each in stored] == names
        assert len({each["reference"] for each in stored}) == len(names)
    files = [str(pictures / name) for name in ("b.jpg", "a.png")]
    done = fsmedia("store", *files, "--run", "r", "-s", url, "--json")
    assert [json.loads(each)["source"] for each in done.stdout.splitlines()] == files
    piped = fsmedia("store", "-", "--mime", "text/plain", "--run", "r", "-s", url, "--json", stdin=b"x")
    assert json.loads(piped.stdout)["source"] == "-"


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


def test_names_of_columns_command_no_terminal(url: str, tmp_path: Path) -> None:
    MediaStore(url).create()
    sql = 'select 1 as "\x1b]0;owned\x07"'
    for form in ("--csv", "--json"):
        code, shown = on_terminal("catalog", "query", form, sql, "-s", url, cwd=tmp_path)
        assert (code, b"\x1b]0" in shown, b"owned" in shown) == (0, False, True), shown


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
    for words in (["--run", "r1"], ["--mime", "text"], ["--run", "r1", "--mime", "image/*"], ["--until", "1d"]):
        meant = fsmedia("ls", *words, "-s", url).stdout.split()
        planned = fsmedia("rm", *words, "--dry-run", "-s", url)
        assert [line.split()[-1] for line in planned.stdout.splitlines()] == meant
        plan = fsmedia("get", *words, "-o", f"{tmp_path}/out/", "--dry-run", "--json", "-s", url).stdout
        assert [json.loads(line)["reference"] for line in plan.splitlines()] == meant
        held = fsmedia("policy", "hold", *words, "--reason", "why", "--dry-run", "-s", url).stdout
        assert [line.split()[-1] for line in held.splitlines()] == meant
    assert not (tmp_path / "out").exists()
    assert sorted(MediaStore(url).list()) == sorted(three)
    got = fsmedia("get", "--run", "r1", "-o", f"{tmp_path}/out/", "-s", url).stdout.split()
    assert sorted(os.listdir(tmp_path / "out")) == sorted(Path(path).name for path in got)
    assert len(got) == 2
    assert "exists already" in fsmedia("get", "--run", "r1", "-o", f"{tmp_path}/out/", "--dry-run", "-s", url).stderr
    assert fsmedia("rm", "--run", "r1", "--json", "-s", url).stdout.count('"deleted": true') == 2
    assert list(MediaStore(url).list()) == [three[2]]
    assert fsmedia("rm", "--run", "none", "-s", url).stdout == ""


def test_a_hold_stays_in_a_plan_and_release_means_what_is_held(url: str, three: list[str]) -> None:
    fsmedia("policy", "hold", three[0], "--reason", "case 1", "-s", url)
    planned = exits(1, "rm", "--run", "r1", "--dry-run", "-s", url)
    assert "is held: 'case 1'" in planned.stderr
    assert planned.stdout.split() == ["would", "delete", three[1]]
    for dry in (["--dry-run"], []):
        said = fsmedia("policy", "release", "--run", "r1", *dry, "-s", url).stdout
        assert said.split()[-1] == three[0]
        assert said.count("release") == 1
    assert fsmedia("policy", "release", "--run", "r1", "-s", url).stdout == ""


def test_quiet_is_results_and_errors_only(url: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".hidden").touch()
    (tmp_path / "out" / "a.txt").write_text("a")
    words = ["store", tmp_path / "out", "--run", "r1", "-s", url]
    assert "left out 1 hidden" in fsmedia(*words).stderr
    for quiet in (fsmedia(*words, "--quiet"), fsmedia("-q", *words)):
        assert (quiet.exit_code, quiet.stderr) == (0, "")
        assert quiet.stdout.startswith("runs/r1/")
    assert "left out 1 hidden" in fsmedia(*words).stderr, "it is said anew each time"
    assert "no such media" in fsmedia("info", "runs/r1/none", "-q", "-s", url).stderr


def test_conditions_mean_no_files_of_other_programs(url: str) -> None:
    """`rm --until 90d` of any folder deleted what nobody had ever stored."""
    folder = Path(url, "runs", "r1")
    folder.mkdir(parents=True)
    (folder / "thesis.md").write_text("mine")
    for words in (["rm", "--yes"], ["policy", "apply", "retain-1days"], ["policy", "hold", "--reason", "why"]):
        done = exits(0, *words, "--run", "r1", "-s", url)
        assert (done.stdout, "left out 1 files" in done.stderr) == ("", True)
    assert os.listdir(folder) == ["thesis.md"]
    assert exits(0, "rm", "runs/r1/thesis.md", "-s", url).stdout.startswith("deleted")


def test_nothing_that_matches_is_said(url: str, tmp_path: Path) -> None:
    held, other = put(url), put(url)
    exits(0, "policy", "hold", held, "--reason", "why", "-s", url)
    assert exits(0, "rm", "--not-held", "--dry-run", "-s", url).stdout.split()[-1] == other
    assert exits(0, "policy", "release", "--held", "-s", url).stdout.split() == ["released", held]
    for words in (["rm"], ["get"], ["policy", "release"], ["policy", "apply", "retain"]):
        assert "no media match" in exits(0, *words, "--run", "typo", "-s", url).stderr
    page = tmp_path / "good.html"
    page.write_text("a good one")
    assert "no page is written" in refused(fsmedia("gallery", "--run", "typo", "-o", page, "-s", url), 1)
    assert page.read_text() == "a good one"
    assert "would be retain-30days" in exits(0, "policy", "apply", "retain-30days", other, "-n", "-s", url).stdout
