"""`fsmedia import` and `fsmedia export`: what they do, say, refuse and return."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore
from tests.contract.specimens import traces
from tests.exchange.arena import PNG, inline, part, real, write
from tests.exchange.test_folder import plant
from tests.surfaces.test_cli import HOSTILE, fsmedia, put, refused

if TYPE_CHECKING:
    from tests.storages import LocalStorage


@pytest.fixture
def url(local_storage: LocalStorage) -> str:
    return local_storage.url


@pytest.mark.parametrize(
    ("group", "commands"),
    [("import", ("promptarena", "folder", "inspect")), ("export", ("imagefolder", "audiofolder", "webdataset"))],
)
def test_help_teaches_with_examples(group: str, commands: tuple[str, ...]) -> None:
    assert group in fsmedia("--help").stdout
    shown = fsmedia(group)
    assert shown.exit_code == 0
    for command in commands:
        assert command in shown.stdout
        text = fsmedia(group, command, "--help").stdout
        assert f"fsmedia {group} {command} " in text
        assert "--dry-run" in text
        assert "--store" in text


# -- import ------------------------------------------------------------------------------------------------


def test_import_says_what_it_would_do_does_it_and_says_so(url: str, tmp_path: Path) -> None:
    out = real(tmp_path)
    dry = fsmedia("import", "promptarena", out, "-s", url, "-n")
    assert dry.exit_code == 0, dry.output
    assert "would store 7 (271.1 KiB; 4 of them, 112.4 KiB, have bytes that are there already)" in dry.stdout
    assert not Path(url).exists()
    done = fsmedia("import", "promptarena", out, "-s", url)
    assert done.exit_code == 0, done.output
    assert "stored 7 (" in done.stdout
    again = fsmedia("import", "--store", url, "promptarena", out)
    assert "stored 0 (" in again.stdout
    assert "7 unchanged" in again.stdout
    assert len(list(MediaStore(url).list())) == 7


def test_import_as_json(url: str, tmp_path: Path) -> None:
    write(tmp_path / "out", "r", [inline(), part(url="http://x/y.png"), part(data="?")])
    result = fsmedia("import", "promptarena", tmp_path / "out", "-s", url, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    (stored,) = report["stored"]
    assert stored["source"] == "promptarena:r#Messages/0/parts/0"
    assert MediaStore(url).exists(stored["reference"])
    assert report["skipped"] == [
        {"source": "promptarena:r#Messages/0/parts/1", "reason": "names only a URL, and URLs are not fetched"}
    ]
    assert "base64" in report["failed"][0]["error"]
    assert report["took"] >= 0


def test_what_failed_is_told_line_by_line_without_control_characters(url: str, tmp_path: Path) -> None:
    write(tmp_path / "out", HOSTILE, [part(data="?"), part(storage_reference=f"../{HOSTILE}"), inline()])
    result = fsmedia("import", "promptarena", tmp_path / "out", "-s", url)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert [line[:19] for line in lines] == ["error: promptarena:"] * 2
    assert [f"#Messages/0/parts/{n}: " in line for n, line in enumerate(lines)] == [True, True]
    assert "\x1b" not in result.output
    assert "failed" in result.stdout


def test_import_folder_with_ids_and_pattern(url: str, tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"a.png": PNG, f"{HOSTILE.replace('/', '')}.png": PNG, "deep/b.png": PNG})
    words = ("import", "folder", tree, "-s", url, "--pattern", "{name}{ext}")
    assert "put '{run_id}' into it" in refused(fsmedia(*words), 1)
    result = fsmedia(*words, "--run", "r9", "--provider", "p", "--policy", "retain-30days")
    assert result.exit_code == 0, result.output
    assert "skipped  1  its path does not match the pattern  folder:deep/b.png" in result.stdout
    store = MediaStore(url)
    records = [store.info(each) for each in store.list(run_id="r9")]
    assert [(each.provider_id, each.policy_name) for each in records] == [("p", "retain-30days")] * 2


def test_import_folder_in_place(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"r1/a.png": PNG, "r1/b.png": PNG})
    words = ("import", "folder", tree, "--in-place")
    dry = fsmedia(*words, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert not (tree / ".fsmedia").exists()
    assert "--in-place" in refused(fsmedia(*words, "--store", tmp_path), 2)
    assert fsmedia(*words).exit_code == 0
    assert fsmedia("ls", "-s", tree).stdout.split() == ["r1/a.png", "r1/b.png"]
    assert "2 unchanged" in fsmedia(*words).stdout


def test_import_inspect_refuses_what_is_no_log(url: str, tmp_path: Path) -> None:
    (tmp_path / "x.eval").write_bytes(b"no log")
    result = fsmedia("import", "inspect", tmp_path / "x.eval", "-s", url)
    assert result.exit_code == 1
    assert "x.eval" in result.stderr
    assert "no such log" in refused(fsmedia("import", "inspect", tmp_path / "y.eval", "-s", url), 3)


def test_an_import_of_nothing_says_so(url: str, tmp_path: Path) -> None:
    assert "no such folder" in refused(fsmedia("import", "folder", tmp_path / "no", "-s", url), 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x.txt").write_text("x")
    assert "nothing was found" in fsmedia("import", "promptarena", tmp_path / "out", "-s", url).stderr
    assert not Path(url).exists()


# -- export ------------------------------------------------------------------------------------------------


def test_export_says_what_it_would_do_does_it_and_says_so(
    url: str, local_storage: LocalStorage, tmp_path: Path
) -> None:
    fsmedia("import", "promptarena", real(tmp_path), "-s", url)
    before = traces(local_storage)
    words = ("export", "imagefolder", tmp_path / "set", "-s", url)
    dry = fsmedia(*words, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "would export 6 (224.2 KiB)" in dry.stdout
    assert not (tmp_path / "set").exists()
    done = fsmedia(*words)
    assert "exported 6 (" in done.stdout
    assert "wrote  train/metadata.jsonl" in done.stdout
    assert "6 unchanged" in fsmedia(*words).stdout
    assert "lists media" in refused(fsmedia(*words, "--limit", "1"), 1)
    assert fsmedia(*words, "--limit", "1", "--overwrite").exit_code == 0
    assert traces(local_storage) == before


@pytest.mark.parametrize("command", ["imagefolder", "audiofolder", "webdataset"])
def test_export_as_json(command: str, url: str, tmp_path: Path) -> None:
    fsmedia("import", "promptarena", real(tmp_path), "-s", url)
    result = fsmedia("export", command, tmp_path / "set", "-s", url, "--since", "2026-01-01", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["exported"] == {"imagefolder": 6, "audiofolder": 1, "webdataset": 7}[command]
    assert all((tmp_path / "set" / name).is_file() for name in report["files"])
    nothing = fsmedia("export", command, tmp_path / "none", "-s", url, "--run", "nobody")
    assert nothing.exit_code == 0
    assert "no media match" in nothing.stderr


@pytest.mark.parametrize(("size", "shards"), [("1KB", 7), ("120KiB", 3), ("1GB", 1)])
def test_shards_of_a_size(size: str, shards: int, url: str, tmp_path: Path) -> None:
    fsmedia("import", "promptarena", real(tmp_path), "-s", url)
    result = fsmedia("export", "webdataset", tmp_path / "set", "-s", url, "--shard-size", size, "--prefix", "p")
    assert result.exit_code == 0, result.output
    found = sorted(each.name for each in (tmp_path / "set").iterdir())
    assert found[0] == "p-000000.tar"
    assert len(found) == shards


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["webdataset", "x", "--shard-size", "much"], 2, "--shard-size"),
        (["webdataset", "x", "--shard-size", "0"], 2, "--shard-size"),
        (["webdataset", "x", "--shard-count", "0"], 2, "--shard-count"),
        (["webdataset", "x", "--prefix", "a/b"], 1, "prefix"),
        (["imagefolder", "x", "--split", "dev"], 1, "split"),
        (["imagefolder", "x", "--since", "soon"], 2, "--since"),
        (["imagefolder"], 2, "DIR"),
    ],
)
def test_export_refuses_before_it_begins(
    words: list[str], code: int, said: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(url)
    monkeypatch.chdir(tmp_path)
    assert said in refused(fsmedia("export", *words, "-s", url), code)
    assert not (tmp_path / "x").exists()


def test_export_into_a_store_is_refused(url: str) -> None:
    put(url)
    assert "can't go into a store" in refused(fsmedia("export", "webdataset", f"{url}/x", "-s", url), 1)


def test_export_tells_what_failed(url: str, local_storage: LocalStorage, tmp_path: Path) -> None:
    reference = put(url, data=PNG)
    local_storage.write(reference, b"damaged")
    result = fsmedia("export", "webdataset", tmp_path / "set", "-s", url)
    assert result.exit_code == 1
    assert reference in result.stderr
    assert not (tmp_path / "set").exists()
