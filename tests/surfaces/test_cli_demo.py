"""`fsmedia demo`: five media that open, a real run in any storage, checked, and commands that work when pasted."""

from __future__ import annotations

import hashlib
import html
import io
import os
import re
import shlex
import struct
import subprocess
import sys
import wave
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fsmedia import MediaStore
from fsmedia.cli import cmd_demo
from fsmedia.cli.cmd_demo import sample_run
from fsmedia.models import mime
from tests.storages import MemoryStorage, Storage
from tests.surfaces.commands import answers, child, environment, exits, fsmedia, tells

pytestmark = pytest.mark.usefixtures("here")


def test_the_demo_stores_a_run_and_checks_it(storage: Storage, at: list[str], opened: MediaStore) -> None:
    first = exits(0, "demo", *at)
    assert first.stderr == ""
    references = list(opened.list())
    samples = sample_run()
    for reference, sample in zip(references, samples, strict=True):
        tells(first.stdout, reference, sample.caption, sample.mime_type)
        assert opened.retrieve_media(reference).read_bytes() == sample.data
        assert opened.info(reference).caption == sample.caption
    tells(first.stdout, "sha256 ok", ": new\n")
    for secret in ("key", "secret"):
        assert storage.options.get(secret, "no secret") not in first.stdout
    tells(exits(0, "demo", *at).stdout, "it was there already")
    assert len(list(opened.list())) == 2 * len(samples)
    assert len({opened.info(reference).run_id for reference in opened.list()}) == 2


def test_the_demo_goes_to_a_folder_here_whatever_the_environment_says(here: Path, tmp_path: Path) -> None:
    exits(0, "demo", env={"FSMEDIA_URL": str(tmp_path / "mine")})
    assert sorted(os.listdir(here)) == ["fsmedia-demo", "fsmedia-demo.html"]
    assert not (tmp_path / "mine").exists()


def test_the_demo_ends_with_a_gallery_that_it_wrote_and_offers_a_page_of_all(here: Path) -> None:
    for _ in range(2):  # the second run's replaces the first one's
        *_, last, offer = fsmedia("demo").stdout.splitlines()
        assert offer == "To look through all of it: fsmedia browse --store ./fsmedia-demo"
        assert last == str(here / "fsmedia-demo.html")
        page = Path(last).read_text()
        assert all(html.escape(sample.caption) in page for sample in sample_run())
        assert page.count("<img") >= 3


def test_the_next_commands_work_when_they_are_pasted(here: Path) -> None:
    for plan in ("plan.png", "demo-*-plan.png"):  # the second time there is a plan already
        commands = pasted(fsmedia("demo").stdout)
        assert [command[1] for command in commands] == ["ls", "ls", "info", "get", "store"]
        for command in commands:
            done = fsmedia(*command[1:])
            assert (command[0], done.exit_code, done.stderr) == ("fsmedia", 0, "")
            assert done.stdout
        found = list(here.glob(plan))
        assert len(found) == 1
        assert found[0].read_bytes().startswith(b"\x89PNG")


def pasted(shown: str) -> list[list[str]]:
    """Return the commands that a demo shows, cut into words as a shell does."""
    return [shlex.split(line) for line in shown.partition("Try next:\n")[2].splitlines() if line.startswith("  ")]


def test_the_next_commands_are_for_the_way_it_was_started(here: Path, memory_storage: MemoryStorage) -> None:
    command = pasted(child("demo", cwd=here).stdout.decode())[3]
    assert command[:4] == [sys.executable, "-m", "fsmedia.cli", "get"]
    done = subprocess.run(command, cwd=here, env=environment(), capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (here / done.stdout.decode().strip()).exists()
    assert "  fsmedia ls --store ./fsmedia-demo --long\n" in fsmedia("demo").stdout
    assert "Try next" not in fsmedia("demo", "-s", memory_storage.url).stdout


def test_the_demo_for_programs(here: Path) -> None:
    (document,) = answers("demo")
    assert (document["url"], document["created"]) == (str(here / "fsmedia-demo"), True)
    store = MediaStore(document["url"])
    assert document["references"] == list(store.list(run_id=document["run_id"]))
    with store.open(document["read_back"]["reference"]) as file:
        assert hashlib.sha256(file.read()).hexdigest() == document["read_back"]["sha256"]


def test_the_demo_fits_a_store_of_any_organization_and_needs_no_pillow(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    for mode in ("by-session", "by-conversation", "by-run"):
        exits(0, "init", "-s", f"{url}-{mode}", "--organization", mode)
        assert exits(0, "demo", "-s", f"{url}-{mode}").stderr == ""
        assert len(list(MediaStore(f"{url}-{mode}").list())) == len(sample_run())
    monkeypatch.setitem(sys.modules, "fsmedia.display.gallery", None)
    assert re.match("no gallery: .*pip install", exits(0, "demo", "-s", url).stderr)


def test_a_wrong_digest_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    retrieve = MediaStore.retrieve_media

    def spoil(self: MediaStore, reference: str, **words: Any) -> object:
        with Path(self.url, reference).open("ab") as file:
            file.write(b"!")
        return retrieve(self, reference, **words)

    monkeypatch.setattr(MediaStore, "retrieve_media", spoil)
    result = exits(1, "demo")
    assert "sha256 ok" not in result.stdout
    assert ("bytes were read where" in result.stderr, result.stderr.count("\n")) == (True, 1)


def test_names_of_runs_tell_their_time_and_differ_by_the_millisecond() -> None:
    now = datetime(2026, 3, 4, 23, 59, 59, 999_000, tzinfo=UTC)
    names = [cmd_demo.run_name(now - timedelta(milliseconds=back)) for back in (86_399_999, 2, 1, 0)]
    assert names == sorted(set(names))
    assert names[0] == "demo-20260304-000000"
    assert all(len(name) == len(names[0]) for name in names)


def test_the_sample_run_is_a_few_hundred_kilobytes_of_several_kinds_that_open() -> None:
    run = {sample.mime_type: sample for sample in sample_run()}
    assert sorted(run) == ["application/pdf", "audio/wav", "image/jpeg", "image/png", "text/markdown"]
    found = [(sample.message_idx, sample.part_idx) for sample in run.values()]
    assert found == sorted(set(found))
    assert min(found) >= (0, 0)
    assert len({sample.file_name for sample in run.values()}) == len(run)
    for sample in run.values():
        assert mime.guess_from_name(sample.file_name) == sample.mime_type
        assert mime.agrees(sample.mime_type, sample.data) is None
        assert 10 < len(sample.caption) < 120
    assert 200_000 < sum(len(sample.data) for sample in run.values()) < 600_000
    for kind, size in (("png", (640, 400)), ("jpeg", (800, 600))):
        data = run[f"image/{kind}"].data
        Image.open(io.BytesIO(data)).verify()
        picture = Image.open(io.BytesIO(data))
        assert (picture.format, picture.size) == (kind.upper(), size)
        assert len(picture.convert("RGB").quantize(64).getcolors() or ()) > 20  # drawn, not blank
    with wave.open(io.BytesIO(run["audio/wav"].data)) as sound:
        assert sound.getparams()[:4] == (1, 2, 24_000, 48_000)
        samples = struct.unpack("<48000h", sound.readframes(48_000))
    assert 8_000 < max(map(abs, samples)) < 32_767  # loud enough, never clipped
    assert max(map(abs, samples[-100:])) < 200  # ends without a click
    data = run["application/pdf"].data
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) == 2
    assert set(re.findall(rb"\(D:(\d{14})", data)) == {b"20250301080000"}
