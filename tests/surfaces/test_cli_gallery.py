"""`fsmedia gallery` and `fsmedia compare`: a page in a file, one line about it, and errors that help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from tests.surfaces import specimens
from tests.surfaces.specimens import put
from tests.surfaces.test_cli import fsmedia, refused
from tests.surfaces.test_cli_files import places

if TYPE_CHECKING:
    from tests.storages import LocalStorage, S3Storage


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_a_gallery_is_written(moto_storage: S3Storage) -> None:
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    put(store, specimens.picture(), "image/png")
    put(store, b"text", "text/plain", message_idx=1)
    words = ["gallery", *places(moto_storage), "--run", "r1"]
    done = fsmedia(*words, "--mime", "image/*", "-o", "g.html")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("g.html: 1 of 1 media, ")
    assert Path("g.html").read_text().count("<article") == 1
    assert fsmedia(*words, "--limit", "1", "--group-by", "none", "--sort", "largest").exit_code == 0
    assert Path("gallery.html").read_text().count("<article") == 1
    said = json.loads(fsmedia(*words, "--json").stdout)
    assert said == {"path": "gallery.html", "shown": 2, "total": 2}


def test_a_gallery_of_nothing_says_so(local_storage: LocalStorage) -> None:
    assert "no store at" in refused(fsmedia("gallery", "--store", local_storage.url), 3)
    assert not Path(local_storage.url).exists()
    MediaStore(local_storage.url).create()
    done = fsmedia("gallery", "--store", local_storage.url)
    assert done.exit_code == 0
    assert "nothing matches" in done.stderr
    assert "No media here." in Path("gallery.html").read_text()


def test_a_file_that_can_not_be_written_is_one_line(local_storage: LocalStorage) -> None:
    MediaStore(local_storage.url).create()
    assert "no-such/g.html" in refused(fsmedia("gallery", "--store", local_storage.url, "-o", "no-such/g.html"), 1)
    assert "--limit" in refused(fsmedia("gallery", "--store", local_storage.url, "--limit", "0"), 2)
    assert "--sort" in refused(fsmedia("gallery", "--store", local_storage.url, "--sort", "random"), 2)


def test_runs_are_compared(local_storage: LocalStorage) -> None:
    store = MediaStore(local_storage.url)
    put(store, specimens.picture(), "image/png")
    put(store, b"x", "text/plain", message_idx=1)
    put(store, specimens.picture(), "image/png", run_id="r2")
    done = fsmedia("compare", "r1", "r2", "--store", local_storage.url)
    assert done.stdout == "compare.html: 2 runs, 2 positions, 1 missing in a run\n"
    said = json.loads(fsmedia("compare", "r1", "r2", "--store", local_storage.url, "-o", "c.html", "--json").stdout)
    assert said == {"path": "c.html", "runs": ["r1", "r2"], "positions": 2, "missing": 1}
    assert "none of these runs" in refused(fsmedia("compare", "a", "b", "--store", local_storage.url), 1)
