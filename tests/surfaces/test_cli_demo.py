"""`fsmedia demo`: a real run in any storage, checked, and commands that work when they are pasted."""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaStore
from fsmedia.cli import cmd_demo
from fsmedia.cli.cmd_demo import sample_run
from tests.surfaces.test_cli import child, environment, fsmedia
from tests.surfaces.test_cli_files import places

if TYPE_CHECKING:
    from tests.storages import LocalStorage, MemoryStorage, Storage


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_demo_stores_a_run_and_checks_it(storage: Storage) -> None:
    first = fsmedia("demo", *places(storage))
    assert first.exit_code == 0, first.output
    assert first.stderr == ""
    store = MediaStore(storage.url, storage_options=storage.options)
    references = list(store.list())
    samples = sample_run()
    assert len(references) == len(samples)
    for reference, sample in zip(references, samples, strict=True):
        assert reference in first.stdout
        assert sample.caption in first.stdout
        assert sample.mime_type in first.stdout
        assert store.retrieve_media(reference).read_bytes() == sample.data
        assert store.info(reference).caption == sample.caption
    assert "sha256 ok" in first.stdout
    assert ": new\n" in first.stdout
    for secret in ("key", "secret"):
        assert storage.options.get(secret, "no secret") not in first.stdout
    second = fsmedia("demo", *places(storage))
    assert second.exit_code == 0
    assert "it was there already" in second.stdout
    assert len(list(store.list())) == 2 * len(samples)
    assert len({store.info(reference).run_id for reference in store.list()}) == 2


def test_the_demo_goes_to_a_folder_here_whatever_the_environment_says(here: Path, tmp_path: Path) -> None:
    result = fsmedia("demo", env={"FSMEDIA_URL": str(tmp_path / "mine")})
    assert result.exit_code == 0
    assert os.listdir(here) == ["fsmedia-demo"]
    assert not (tmp_path / "mine").exists()


def test_the_next_commands_work_when_they_are_pasted(here: Path) -> None:
    for plan in ("plan.png", "demo-*-plan.png"):  # the second time there is a plan already
        commands = pasted(fsmedia("demo").stdout)
        assert [command[1] for command in commands] == ["ls", "ls", "info", "get", "store", "gallery"]
        for command in commands:
            done = fsmedia(*command[1:])
            assert (command[0], done.exit_code, done.stderr) == ("fsmedia", 0, "")
            assert done.stdout
        found = list(here.glob(plan))
        assert len(found) == 1
        assert found[0].read_bytes().startswith(b"\x89PNG")


def pasted(shown: str) -> list[list[str]]:
    """Return the commands that a demo shows, cut into words as a shell does."""
    return [shlex.split(line) for line in shown.partition("Try next:\n")[2].splitlines()]


def test_the_next_commands_are_for_the_way_it_was_started(here: Path, memory_storage: MemoryStorage) -> None:
    command = pasted(child("demo", cwd=here).stdout.decode())[3]
    assert command[:4] == [sys.executable, "-m", "fsmedia.cli", "get"]
    done = subprocess.run(command, cwd=here, env=environment(), capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (here / done.stdout.decode().strip()).exists()
    assert "  fsmedia ls --store ./fsmedia-demo --long\n" in fsmedia("demo").stdout
    assert "Try next" not in fsmedia("demo", "-s", memory_storage.url).stdout


def test_the_demo_for_programs(here: Path) -> None:
    document = json.loads(fsmedia("demo", "--json").stdout)
    assert document["url"] == str(here / "fsmedia-demo")
    assert document["created"] is True
    store = MediaStore(document["url"])
    assert document["references"] == list(store.list(run_id=document["run_id"]))
    with store.open(document["read_back"]["reference"]) as file:
        assert hashlib.sha256(file.read()).hexdigest() == document["read_back"]["sha256"]


def test_the_demo_fits_a_store_of_any_organization(local_storage: LocalStorage) -> None:
    for mode in ("by-session", "by-conversation", "by-run"):
        url = f"{local_storage.url}-{mode}"
        assert fsmedia("init", "-s", url, "--organization", mode).exit_code == 0
        assert fsmedia("demo", "-s", url).exit_code == 0
        assert len(list(MediaStore(url).list())) == len(sample_run())


def test_a_wrong_digest_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    retrieve = MediaStore.retrieve_media

    def spoil(self: MediaStore, reference: str, **words: Any) -> object:
        with Path(self.url, reference).open("ab") as file:
            file.write(b"!")
        return retrieve(self, reference, **words)

    monkeypatch.setattr(MediaStore, "retrieve_media", spoil)
    result = fsmedia("demo")
    assert result.exit_code == 1
    assert "sha256 ok" not in result.stdout
    assert "bytes were read where" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_demo_needs_no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *words: object, **more: object) -> object:
        if name.partition(".")[0] == "PIL":
            raise ImportError(name)
        return real(name, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    done = fsmedia("demo")
    assert (done.exit_code, done.stderr) == (0, "")


def test_names_of_runs_tell_their_time_and_differ_by_the_millisecond() -> None:
    now = datetime(2026, 3, 4, 23, 59, 59, 999_000, tzinfo=UTC)
    names = [cmd_demo.run_name(now - timedelta(milliseconds=back)) for back in (86_399_999, 2, 1, 0)]
    assert names == sorted(set(names))
    assert names[0] == "demo-20260304-000000"
    assert all(len(name) == len(names[0]) for name in names)
