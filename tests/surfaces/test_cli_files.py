"""The command line: files become media, media become files, media go."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from fsmedia.cli import cmd_get
from tests.surfaces.test_cli import child, fsmedia, put, refused

if TYPE_CHECKING:
    from tests.storages import LocalStorage, MemoryStorage, S3Storage, Storage

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    return local_storage.url


def places(storage: Storage) -> list[str]:
    """Return the words that name a storage."""
    words = ["--store", storage.url]
    for name, value in storage.options.items():
        words += ["--option", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return words


# -- store and get -----------------------------------------------------------------------------------------


def test_files_make_the_round_trip(storage: Storage, here: Path) -> None:
    at = places(storage)
    Path("a.png").write_bytes(PNG)
    Path("b.txt").write_bytes(b"")
    fields = ["--message", "3", "--part", "5", "--provider", "openai", "--policy", "retain-30days", "--caption", "two"]
    result = fsmedia("store", "a.png", "b.txt", "--run", "r 1", *fields, *at)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    first, second = result.stdout.splitlines()
    records = [json.loads(line) for line in fsmedia("info", "--json", first, second, *at).stdout.splitlines()]
    for number, record in enumerate(records):
        assert (record["message_idx"], record["part_idx"]) == (3, 5 + number)
        assert (record["run_id"], record["provider_id"], record["caption"]) == ("r 1", "openai", "two")
        assert record["policy_name"] == "retain-30days"
    assert [record["mime_type"] for record in records] == ["image/png", "text/plain"]
    got = fsmedia("get", first, second, "-o", "out/", *at)
    assert got.exit_code == 0, got.output
    assert [Path(line).read_bytes() for line in got.stdout.splitlines()] == [PNG, b""]
    assert fsmedia("get", first, "-o", "-", *at).stdout_bytes == PNG
    assert sorted(os.listdir("out")) == sorted(Path(line).name for line in (first, second))
    assert here == Path.cwd()


def test_the_environment_of_the_storage_is_enough(moto_storage: S3Storage, here: Path) -> None:
    env = {
        "FSMEDIA_URL": moto_storage.url,
        "AWS_ENDPOINT_URL": moto_storage.options["endpoint_url"],
        "AWS_ACCESS_KEY_ID": moto_storage.options["key"],
        "AWS_SECRET_ACCESS_KEY": moto_storage.options["secret"],
    }
    (here / "a.png").write_bytes(PNG)
    stored = child("store", "a.png", "--run", "r1", cwd=here, env=env)
    assert stored.returncode == 0, stored.stderr
    assert child("ls", "--run", "r1", cwd=here, env=env).stdout == stored.stdout
    got = child("get", stored.stdout.decode().strip(), cwd=here, env=env)
    assert (here / got.stdout.decode().strip()).read_bytes() == PNG


def test_a_store_in_memory_lives_as_long_as_its_process(memory_storage: MemoryStorage, here: Path) -> None:
    (here / "a.png").write_bytes(PNG)
    reference = fsmedia("store", "a.png", "--run", "r", "-s", memory_storage.url).stdout.strip()
    assert memory_storage.read(reference) == PNG


def test_standard_input_is_stored_as_it_comes(url: str, here: Path) -> None:
    stored = child("store", "-", "--run", "r", "-s", url, "--name", "x.mp3", cwd=here, stdin=PNG)
    assert MediaStore(url).info(stored.stdout.decode().strip()).mime_type == "audio/mpeg"
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
    reference = put(url, data=b"new")
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


def test_get_says_where_it_can_not_write(url: str, here: Path) -> None:
    references = [put(url), put(url)]
    assert "no such folder" in refused(fsmedia("get", references[0], "-s", url, "-o", "no/such"), 1)
    (here / "file").write_bytes(b"")
    assert "is no folder" in refused(fsmedia("get", *references, "-s", url, "-o", "file"), 1)
    assert fsmedia("get", references[0], "-s", url, "-o", "/dev/null").exit_code == 0
    assert fsmedia("get", *references, "-s", url, "-o", "new").exit_code == 0
    assert len(os.listdir("new")) == len(references)
    assert json.loads(fsmedia("get", references[0], "-s", url, "-o", "x", "--json").stdout) == {
        "reference": references[0],
        "path": "x",
        "size_bytes": 10,
        "sha256": hashlib.sha256(b"some bytes").hexdigest(),
    }


def test_get_checks_the_digest_and_leaves_nothing_half(url: str, here: Path) -> None:
    reference = put(url, data=b"right")
    Path(url, reference).write_bytes(b"wrong")
    assert "its bytes are damaged: SHA-256" in refused(fsmedia("get", reference, "-s", url), 1)
    assert os.listdir(here) == []
    result = fsmedia("get", reference, "-s", url, "-o", "-")
    assert (result.exit_code, result.stdout) == (1, "")  # what is damaged is not passed on


def test_get_reads_past_a_damaged_sidecar(url: str, here: Path) -> None:
    reference = put(url)
    Path(url, reference + ".meta").write_bytes(b"{")
    result = fsmedia("get", reference, "-s", url, "-o", "x")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: ")
    assert (here / "x").read_bytes() == b"some bytes"


def test_get_of_what_is_not_there(url: str, here: Path) -> None:
    reference = put(url)
    refused(fsmedia("get", "runs/r1/none", "-s", url), 3)
    refused(fsmedia("get", "runs/r1", "-s", url), 1)
    both = fsmedia("get", "runs/r1/none", reference, "-s", url)
    assert both.exit_code == 3
    assert (here / both.stdout.strip()).read_bytes() == b"some bytes"


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

    def late(*words: object) -> str:
        (here / "x").write_bytes(b"theirs")
        return copy(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(cmd_get, "_copy", late)
    assert "exists already" in refused(fsmedia("get", reference, "-s", url, "-o", "x"), 1)
    assert (here / "x").read_bytes() == b"theirs"
    assert sorted(os.listdir(here)) == ["first", "x"]


# -- rm ----------------------------------------------------------------------------------------------------


def test_rm_deletes_and_says_what_was_gone(storage: Storage) -> None:
    at = places(storage)
    store = MediaStore(storage.url, storage_options=storage.options)
    reference = fsmedia("store", "-", "--run", "r", *at, stdin=b"hello").stdout.strip()
    assert fsmedia("rm", "-n", reference, "runs/r/none", *at).stdout.splitlines() == [
        f"would delete  {reference}",
        "not there  runs/r/none",
    ]
    assert store.exists(reference)
    first = fsmedia("rm", reference, "runs/r/none", *at)
    assert (first.exit_code, first.stderr) == (0, "")
    assert first.stdout.splitlines() == [f"deleted  {reference}", "not there  runs/r/none"]
    assert not store.exists(reference)
    again = fsmedia("rm", reference, "--json", *at)
    assert again.exit_code == 0
    assert json.loads(again.stdout) == {"reference": reference, "there": False, "deleted": False}


@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_rm_refuses_folders_and_goes_on(words: list[str], url: str) -> None:
    reference = put(url)
    result = fsmedia("rm", "runs/r1", reference, "-s", url, *words)
    assert result.exit_code == 1
    assert "is a folder" in result.stderr
    assert result.stdout.endswith(f"{reference}\n")
