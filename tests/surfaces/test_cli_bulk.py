"""`fsmedia store DIR/` and `fsmedia url`."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.cli import typer_app

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def run(*words: str) -> tuple[int, list[str], str]:
    result = CliRunner().invoke(typer_app, list(words))
    return result.exit_code, result.stdout.splitlines(), result.stderr


def options_of(storage) -> list[str]:
    return [word for name, value in storage.options.items() for word in ("--option", f"{name}={json.dumps(value)}")]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name in ("b.png", "a.png", "deep/er/c.txt", ".hidden", ".git/config"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG if name.endswith("png") else b"text of " + name.encode())
    (folder / "link.png").symlink_to(folder / "a.png")
    return folder


def test_a_folder_is_all_files_below_it_in_order(storage, pictures: Path) -> None:
    words = ["store", f"{pictures}/", "--run", "r1", "--part", "4", "-s", storage.url, *options_of(storage)]
    code, lines, errors = run(*words)
    assert (code, "left out 2 hidden and 1 linked" in errors) == (0, True)
    assert len(lines) == 3
    store = MediaStore(storage.url, storage_options=storage.options)
    assert [store.info(line).part_idx for line in lines] == [4, 5, 6]
    assert [storage.read(line) for line in lines] == [PNG, PNG, b"text of deep/er/c.txt"]
    assert sorted(store.list()) == sorted(lines)


def test_folders_and_files_may_stand_together(tmp_path: Path, pictures: Path) -> None:
    url = str(tmp_path / "media")
    code, lines, errors = run("store", str(pictures), str(pictures / "b.png"), "--run", "r", "--json", "-s", url)
    assert (code, errors.count("\n")) == (0, 1)
    assert [json.loads(line)["part_idx"] for line in lines] == [0, 1, 2, 3]


def test_what_fails_in_a_folder_is_told_by_name(tmp_path: Path, pictures: Path) -> None:
    url = str(tmp_path / "media")
    code, lines, errors = run("store", str(pictures), "--run", "r", "--mime", "image", "-s", url)
    assert code == 1
    assert lines == []
    assert errors.count("no MIME type") == 3
    assert "c.txt" in errors
    assert "3 of 3 files could not be stored" in errors


def test_url_of_a_local_media_opens(tmp_path: Path) -> None:
    url = str(tmp_path / "with blank")
    reference = MediaStore(url).store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="ä b"))
    code, lines, _ = run("url", reference, "-s", url)
    assert code == 0
    assert lines[0].startswith("file:///")
    with urllib.request.urlopen(lines[0]) as answer:
        assert answer.read() == PNG


def test_url_is_signed_for_as_long_as_asked(rclone_storage) -> None:
    storage = rclone_storage
    store = MediaStore(storage.url, storage_options=storage.options)
    reference = store.store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="r1"))
    words = ["url", reference, "--expires", "15m", "--json", "-s", storage.url, *options_of(storage)]
    code, lines, _ = run(*words)
    assert code == 0
    address = json.loads(lines[0])["url"]
    assert "X-Amz-Expires=900" in address
    with urllib.request.urlopen(address) as answer:
        assert answer.read() == PNG


def test_url_refuses_readably(tmp_path: Path) -> None:
    url = str(tmp_path / "media")
    MediaStore(url).create()
    assert run("url", "runs/r1/none.png", "-s", url)[0] == 3
    code, _, errors = run("url", "x.png", "--expires", "soon", "-s", url)
    assert code == 2
    assert "is not a duration" in " ".join(errors.replace("│", " ").split())
