"""`fsmedia stores`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import fsspec
import pytest
from fsspec.config import conf
from typer.testing import CliRunner

from fsmedia import AsyncMediaStore, InvalidMediaError, InvalidReferenceError, MediaContent, MediaMetadata, MediaStore
from fsmedia.cli import typer_app
from fsmedia.exchange import export_webdataset, import_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.storages import Storage


def run(*words: str) -> tuple[int, list[str], str]:
    result = CliRunner().invoke(typer_app, list(words))
    return result.exit_code, result.stdout.splitlines(), result.stderr


def test_names_come_from_the_environment_and_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSMEDIA_STORE_LAB", "s3://key-77:secret-77@bucket/media")
    monkeypatch.setitem(
        conf, "media", {"stores": {"cold": {"url": "gs://b/m", "storage_options": {"token": "secret-88"}}}}
    )
    code, lines, errors = run("stores")
    assert (code, lines, errors) == (0, ["@cold  gs://b/m", "@lab  s3://bucket/media"], "")
    code, lines, _ = run("stores", "--json")
    assert code == 0
    assert json.loads(lines[1]) == {"name": "lab", "url": "s3://bucket/media", "opens": "media://@lab/"}
    assert "secret" not in "".join(lines)


def test_no_names_are_said() -> None:
    code, lines, errors = run("stores")
    assert (code, lines) == (0, [])
    assert "no store has a name" in errors


def test_an_entry_of_another_form_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(conf, "media", {"stores": {"cold": 5}})
    code, _, errors = run("stores")
    assert code == 1
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1


@pytest.fixture
def lab(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a store with one media, which is called @lab from now on; return its reference."""
    stores = {"lab": {"url": storage.url, "storage_options": storage.options}}
    monkeypatch.setitem(conf, "media", {"stores": stores})
    made = MediaStore(storage.url, storage_options=storage.options)
    return made.store_media(MediaContent.from_text("hello"), MediaMetadata(run_id="r1"))


def test_a_named_store_is_named_everywhere(lab: str, storage: Storage, tmp_path: Path) -> None:
    """`MediaStore("@lab")` made a folder of that name."""
    named = MediaStore("@lab")
    assert named.url == MediaStore(storage.url, storage_options=storage.options).url
    assert list(named.list()) == [lab]
    assert named.fs.cat_file(lab) == b"hello"
    assert dict(named.url_options) == dict(MediaStore(storage.url, storage_options=storage.options).url_options)

    async def found() -> bool:
        async with AsyncMediaStore("@lab") as store:
            return await store.exists(lab)

    assert asyncio.run(found())
    assert run("ls", "--store", "@lab") == (0, [lab], "")
    assert run("policy", "list", "-s", "@lab")[0] == 0
    copy = tmp_path / "copy"
    assert run("sync", "@lab", str(copy))[0] == 0
    assert run("sync", str(copy), "@lab")[1][-1].startswith("1 examined, copied 0")
    assert MediaStore(copy).sync_to("@lab").unchanged == 1
    with pytest.raises(InvalidMediaError, match="can't go into a store"):
        export_webdataset(MediaStore(copy), "@lab")
    with pytest.raises(InvalidMediaError, match="can't import itself"):
        import_folder(named, "@lab")


def test_a_name_that_is_none_lists_those_that_are(lab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = run("ls", "-s", "@lap")
    assert (code, "no store is called @lap; known: @lab" in errors) == (1, True), errors
    with pytest.raises(InvalidReferenceError, match=r"@name alone; a folder of that name is \./@lab/runs"):
        MediaStore("@lab/runs")
    assert list(tmp_path.glob("@*")) == []
    assert MediaStore("./@lap").create().url == str(tmp_path / "@lap"), "a folder may be called so all the same"


def test_the_environment_may_give_a_name_too(lab: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSMEDIA_URL", "@lab")
    assert run("ls") == (0, [lab], "")
    assert list(MediaStore().list()) == [lab]
    assert fsspec.filesystem("media").cat_file(lab) == b"hello"


@pytest.mark.parametrize(
    ("url", "spelling"),
    [
        ("media://@lab", "write @lab"),
        ("media://@lab/runs/r1", "write @lab"),
        ("media://runs/r1::memory://lab", "write what stands behind ::"),
        ("media://runs/r1", "write the store's own URL"),
    ],
)
def test_media_is_no_root(url: str, spelling: str, tmp_path: Path) -> None:
    """A store behind media:// lost its sidecars to itself."""
    with pytest.raises(InvalidReferenceError, match="is no root of a store") as caught:
        MediaStore(url)
    assert spelling in str(caught.value)
    assert spelling in run("ls", "-s", url)[2]
    made = MediaStore(tmp_path / "media").create()
    made.store_media(MediaContent.from_text("hello"), MediaMetadata(run_id="r1"))
    with pytest.raises(InvalidReferenceError, match="is no root of a store"):
        made.sync_to(url)
